//! Why a frame went no further.
//!
//! One table makes the enum, its numbers, its names and its sentences, so that counters, `netherd
//! show`, captures and the documentation cannot disagree. Numbers are positions in the table; they
//! appear in captures, so new reasons go to the end.

use crate::guard::Check;
use crate::named::named;

/// On which port a drop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// On the port the frame came from: the frame's verdict is this drop.
    Ingress,
    /// On the port the frame was to leave by: the verdict was to forward, and this copy met a limit
    /// on its way out.
    Egress,
}

macro_rules! check_of {
    () => {
        None
    };
    ($check:ident) => {
        Some(Check::$check)
    };
}

// A reason of a check is *blameless* where well-behaved guests meet it: it keeps them apart, spares
// others a question that leads nowhere, or refuses or limits what others can make a guest say: answers
// and errors. So it is where what others do is the cause: a receiver that left, a table that they
// filled, fragments that were lost before they came here.
macro_rules! speaks_against {
    () => {
        false
    };
    ($check:ident) => {
        true
    };
    ($check:ident blameless) => {
        false
    };
}

macro_rules! reasons {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident, $side:ident, $name:literal $(, $check:ident $($blameless:ident)?)?;
    )+) => {
        named! {
            /// Why a frame, or one copy of a flooded frame, was dropped.
            Reason: $($(#[doc = $doc])+ $variant, $name;)+
        }

        impl Reason {
            /// The name of this reason's counter: `drop.` and the short name.
            #[must_use]
            pub const fn counter(self) -> &'static str {
                match self { $(Self::$variant => concat!("drop.", $name),)+ }
            }

            /// The name of this reason's counter of audits: `audit.` and the short name.
            #[must_use]
            pub const fn audit_counter(self) -> &'static str {
                match self { $(Self::$variant => concat!("audit.", $name),)+ }
            }

            /// The check of the guard that this reason belongs to.
            #[must_use]
            pub const fn check(self) -> Option<Check> {
                match self { $(Self::$variant => check_of!($($check)?),)+ }
            }

            /// Whether a frame that is dropped for this reason speaks against its sender: it failed
            /// a check of the guard, and not for a reason that is blameless.
            #[must_use]
            pub const fn is_violation(self) -> bool {
                match self { $(Self::$variant => speaks_against!($($check $($blameless)?)?),)+ }
            }

            /// On which port this drop is counted.
            #[must_use]
            pub const fn side(self) -> Side {
                match self { $(Self::$variant => Side::$side,)+ }
            }
        }
    };
}

reasons! {
    /// The frame is shorter than an Ethernet header, or than its VLAN tag.
    Runt, Ingress, "runt", Length;
    /// The frame, or one segment of it, is longer than the network's MTU allows.
    Oversize, Ingress, "oversize", Length;
    /// The source address is zero, multicast or broadcast.
    BadSource, Ingress, "bad-source", SourceMac;
    /// The destination is one of 01:80:c2:00:00:00 to 0f, which IEEE 802.1Q 8.6.3 tells a bridge
    /// never to forward.
    ReservedGroup, Ingress, "reserved-group", BridgeControl;
    /// The frame carries a VLAN tag that this port does not accept.
    VlanTagged, Ingress, "vlan-tagged", Vlan;
    /// The frame carries no VLAN tag and this trunk port has no native VLAN.
    VlanUntagged, Ingress, "vlan-untagged", Vlan;
    /// The frame's VLAN is not among those that this trunk port carries.
    VlanNotAllowed, Ingress, "vlan-not-allowed", Vlan;
    /// The frame carries a second VLAN tag, and its sender or its receiver is not on a trunk.
    VlanDouble, Ingress, "vlan-double", Vlan;
    /// The frame asks for an offload that its link did not declare when it opened.
    OffloadUndeclared, Ingress, "offload-undeclared", Offload;
    /// The frame's offload metadata contradicts its bytes.
    BadOffload, Ingress, "bad-offload", Offload;
    /// The source address is not one of this port's own.
    MacForeign, Ingress, "mac-foreign", SourceMac;
    /// The source address is bound to another port, or reserved for a guest that is away.
    MacBound, Ingress, "mac-bound", MacTable;
    /// The source address is in use on another port that is alive.
    MacMoved, Ingress, "mac-moved", MacTable;
    /// The port already uses as many addresses as it may. A client that is the cable to a switch needs
    /// `max_macs`.
    MacLimit, Ingress, "mac-limit", MacTable;
    /// The port has used up its share of the table of addresses, and what the network has beyond
    /// the shares is used up, too.
    MacTableFull, Ingress, "mac-table-full", MacTable blameless;
    /// The destination is behind the port that the frame came from.
    SamePort, Ingress, "same-port", Apart blameless;
    /// Both ports are private (isolated, or of different communities): they may talk to ports that are
    /// not, not to each other.
    Isolated, Ingress, "isolated", Apart blameless;
    /// The destination belongs to a guest that is away.
    MacAway, Ingress, "mac-away";
    /// The link read a frame and the worker had no free buffer for it.
    NoBuffer, Ingress, "no-buffer";
    /// The link read bytes that are not a frame in its own framing.
    BadFraming, Ingress, "bad-framing";
    /// The port does not exist any more.
    PortGone, Ingress, "port-gone";
    /// The egress queue holds as many frames or bytes as it may.
    QueueFull, Egress, "queue-full";
    /// The egress queue already holds its share of the worker's free buffers.
    QueueShare, Egress, "queue-share";
    /// There was no free header buffer to tag, complete or segment the frame in.
    NoHeader, Egress, "no-header";
    /// The frame could not be completed or segmented for a link that needs it.
    SegmentFailed, Egress, "segment-failed";
    /// The link accepted the frame but had no room for it, until it closed or buffers ran short.
    LinkFull, Egress, "link-full";
    /// The link refused the frame.
    LinkRefused, Egress, "link-refused";
    /// The link or the port closed before the frame was delivered.
    LinkClosed, Egress, "link-closed";
    /// The port is cut off, for its violations or for a bridge's frame, until its time is over.
    Quarantined, Ingress, "quarantined";
    /// The destination is a group that bridges and switches use among themselves (CDP, MRP, MVRP).
    ControlGroup, Ingress, "control-group", BridgeControl;
    /// The EtherType is one of bridges and authenticators (LLDP, EAPOL, slow protocols, PAUSE).
    ControlEthertype, Ingress, "control-ethertype", BridgeControl;
    /// The frame is one that bridges send (BPDU, PVST): a guest that sends it wants to be a switch.
    Bpdu, Ingress, "bpdu", Bpdu;
    /// The frame has an 802.3 length and an LLC header, perhaps with an IP packet behind SNAP.
    Llc, Ingress, "llc", Llc;
    /// The EtherType is not among those that this port may send.
    Ethertype, Ingress, "ethertype", Ethertype;
    /// The frame wraps another (PPPoE, MPLS, NSH, PBB, MACsec), whose source nobody checks.
    Encapsulation, Ingress, "encapsulation", Encapsulation;
    /// The frame was flooded a moment ago and came back through another port: there is a loop.
    Loop, Ingress, "loop", Loop;
    /// The ARP packet is not one of IPv4 over Ethernet, or is cut short.
    ArpFormat, Ingress, "arp-format", ArpFormat;
    /// The sender's hardware address inside the ARP packet is not the frame's source.
    ArpSenderMac, Ingress, "arp-sender-mac", ArpSenderMac;
    /// The sender's IPv4 address inside the ARP packet is not one of this port's.
    ArpSenderIp, Ingress, "arp-sender-ip", ArpSenderIp;
    /// The port announces an IPv4 address that is not its own.
    ArpGratuitous, Ingress, "arp-gratuitous", ArpGratuitous;
    /// The ARP reply goes to many stations, or to another than it names.
    ArpReply, Ingress, "arp-reply", ArpReply;
    /// The operation is neither request nor reply.
    ArpOperation, Ingress, "arp-operation", ArpReply;
    /// Nobody has the IPv4 address, and somebody asked for it a moment ago.
    ArpNegative, Ingress, "arp-negative", ArpNegative blameless;
    /// The port sends more ARP packets than it may.
    ArpRate, Ingress, "arp-rate", ArpRate blameless;
    /// The port asks for more unknown IPv4 addresses than it may: a scan.
    ArpScan, Ingress, "arp-scan", ArpRate blameless;
    /// The RARP packet is not an announcement of the port's own hardware address.
    Rarp, Ingress, "rarp", Rarp;
    /// More than one RARP announcement a second.
    RarpRate, Ingress, "rarp-rate", Rarp;
    /// Version, header length or total length of the IPv4 packet is wrong, or it is cut short.
    Ipv4Header, Ingress, "ipv4-header", Ipv4Header;
    /// The checksum of the IPv4 header is wrong.
    Ipv4Checksum, Ingress, "ipv4-checksum", Ipv4Header;
    /// The source is not one of this port's IPv4 addresses.
    Ipv4Source, Ingress, "ipv4-source", Ipv4Source;
    /// The source cannot be the IPv4 address of a station: 0/8, loopback, multicast, reserved or broadcast.
    Ipv4SourceKind, Ingress, "ipv4-source-kind", Ipv4Source;
    /// The port already has as many first-come IPv4 addresses as it may.
    Ipv4SourceLimit, Ingress, "ipv4-source-limit", Ipv4Source;
    /// The source is 0.0.0.0, but the packet is not a DHCP request to all.
    Ipv4Unspecified, Ingress, "ipv4-unspecified", Ipv4Unspecified;
    /// The destination is never on a wire: loopback, unspecified, 0/8, 240/4, v4-mapped.
    Destination, Ingress, "destination", Destination;
    /// The destination is link-local (169.254/16), and this port may not use it.
    Ipv4LinkLocal, Ingress, "ipv4-link-local", Destination blameless;
    /// The destination is the metadata service of a cloud.
    Metadata, Ingress, "metadata", Destination;
    /// The IPv4 header has options, and they are not the router alert of IGMP.
    Ipv4Option, Ingress, "ipv4-option", Ipv4Option;
    /// The first fragment is too short, or the second begins inside the headers.
    FragmentTiny, Ingress, "fragment-tiny", Fragment;
    /// The fragment overlaps one that came before, or reaches beyond 64 KiB.
    FragmentOverlap, Ingress, "fragment-overlap", Fragment;
    /// The fragment belongs to a datagram whose first fragment was not seen, or was refused.
    FragmentOrphan, Ingress, "fragment-orphan", Fragment blameless;
    /// The fragment belongs to a message that the guard must see whole (DHCP, IGMP, ICMP redirects).
    FragmentGuarded, Ingress, "fragment-guarded", Fragment;
    /// The port has as many fragmented datagrams under way as it may.
    FragmentLimit, Ingress, "fragment-limit", Fragment blameless;
    /// The time to live, or hop limit, is zero.
    TtlZero, Ingress, "ttl-zero", Cast;
    /// The frame goes to a group and its packet to a single station, or the other way round, or to another group.
    CastMismatch, Ingress, "cast-mismatch", Cast;
    /// The ICMP message is not one that guests send: redirect, router advertisement, timestamp,
    /// mask, source quench.
    IcmpKind, Ingress, "icmp-kind", IcmpKind;
    /// The transport header is not complete in the packet, or in its first fragment.
    L4Header, Ingress, "l4-header", L4Header;
    /// The TCP flags are not those of any segment that a stack sends: none, SYN with FIN or RST, FIN without
    /// ACK.
    TcpFlags, Ingress, "tcp-flags", L4Header;
    /// The port sends a DHCP server's message.
    DhcpServer, Ingress, "dhcp-server", DhcpServer;
    /// The DHCP request is not from this port for itself: operation, hardware address, relay
    /// address or relay option.
    DhcpClient, Ingress, "dhcp-client", DhcpClient;
    /// The DHCP release or decline is for an address that is not this port's.
    DhcpRelease, Ingress, "dhcp-release", DhcpRelease;
    /// The port sends more DHCP messages than it may.
    DhcpRate, Ingress, "dhcp-rate", DhcpRate;
    /// The port asks for leases under more hardware addresses than it has.
    DhcpStarvation, Ingress, "dhcp-starvation", DhcpRate;
    /// Version or payload length of the IPv6 packet is wrong, or it is cut short.
    Ipv6Header, Ingress, "ipv6-header", Ipv6Source;
    /// The source is not one of this port's IPv6 addresses.
    Ipv6Source, Ingress, "ipv6-source", Ipv6Source;
    /// The source cannot be the IPv6 address of a station: loopback, multicast, v4-mapped, 6to4 or Teredo.
    Ipv6SourceKind, Ingress, "ipv6-source-kind", Ipv6Source;
    /// The port already has as many first-come IPv6 addresses as it may.
    Ipv6SourceLimit, Ingress, "ipv6-source-limit", Ipv6Source;
    /// The source is ::, but the packet is not duplicate address detection, a group report or a
    /// router solicitation.
    Ipv6Unspecified, Ingress, "ipv6-unspecified", Ipv6Unspecified;
    /// The neighbour discovery message has a hop limit below 255: it came from another link.
    NdHopLimit, Ingress, "nd-hop-limit", Ipv6Option;
    /// A hop-by-hop or destination option is a jumbogram's, or not known.
    Ipv6Option, Ingress, "ipv6-option", Ipv6Option;
    /// The packet has a routing header.
    Ipv6Routing, Ingress, "ipv6-routing", Ipv6Option;
    /// The chain of extension headers is too long, in headers or in bytes, or out of order.
    Ipv6Chain, Ingress, "ipv6-chain", Ipv6Chain;
    /// The transport header is not in the first fragment.
    Ipv6Hidden, Ingress, "ipv6-hidden", Ipv6Chain;
    /// The neighbour discovery message is fragmented.
    NdFragment, Ingress, "nd-fragment", Ipv6Chain;
    /// The port sends a router advertisement.
    RouterAdvertisement, Ingress, "router-advertisement", RouterAdvertisement;
    /// The port sends a redirect, a router renumbering or a node information message.
    Icmpv6Kind, Ingress, "icmpv6-kind", Icmpv6Kind;
    /// The neighbour solicitation names another sender or another group than it should, or is
    /// malformed.
    NeighbourSolicitation, Ingress, "neighbour-solicitation", NeighbourSolicitation;
    /// The neighbour advertisement is for an address that is not this port's, names another
    /// hardware address, claims to come from a router, or is malformed.
    NeighbourAdvertisement, Ingress, "neighbour-advertisement", NeighbourAdvertisement;
    /// The port sends more unsolicited neighbour advertisements than it may.
    AdvertisementRate, Ingress, "advertisement-rate", NeighbourAdvertisement blameless;
    /// The router solicitation is malformed or names another sender.
    RouterSolicitation, Ingress, "router-solicitation", RouterSolicitation;
    /// The port sends more router solicitations than it may.
    SolicitationRate, Ingress, "solicitation-rate", RouterSolicitation;
    /// Nobody has the IPv6 address, and somebody asked for it a moment ago.
    NdNegative, Ingress, "nd-negative", NdRate blameless;
    /// The port sends more neighbour discovery messages, or asks for more unknown addresses, than it
    /// may.
    NdRate, Ingress, "nd-rate", NdRate blameless;
    /// The port tries more addresses of others than it may.
    DuplicateRate, Ingress, "duplicate-rate", DuplicateRate;
    /// The MLD message is malformed: hop limit, source, router alert or length.
    MldFormat, Ingress, "mld-format", Mld;
    /// The MLD query does not come from the network's querier.
    MldQuery, Ingress, "mld-query", Mld;
    /// The port has joined as many IPv6 groups as it may.
    MldGroups, Ingress, "mld-groups", Mld blameless;
    /// The port sends more MLD messages than it may.
    MldRate, Ingress, "mld-rate", Mld blameless;
    /// The port sends a DHCPv6 server's or relay's message.
    Dhcpv6Server, Ingress, "dhcpv6-server", Dhcpv6;
    /// The DHCPv6 request does not come from the port's link-local address, or asks for a prefix
    /// that the port may not have.
    Dhcpv6Client, Ingress, "dhcpv6-client", Dhcpv6;
    /// The DHCPv6 client gives up an address that is not this port's.
    Dhcpv6Release, Ingress, "dhcpv6-release", Dhcpv6;
    /// The port sends more DHCPv6 messages than it may.
    Dhcpv6Rate, Ingress, "dhcpv6-rate", Dhcpv6;
    /// The port asks for DHCPv6 leases under more identifiers than it may.
    Dhcpv6Starvation, Ingress, "dhcpv6-starvation", Dhcpv6;
    /// The ICMPv6 message is of an unknown kind.
    Icmpv6Unknown, Ingress, "icmpv6-unknown", IcmpError;
    /// The port sends more ICMP or ICMPv6 errors than it may.
    ErrorRate, Ingress, "error-rate", IcmpError blameless;
    /// The port sends more broadcast than it may.
    StormBroadcast, Ingress, "storm-broadcast", Storm;
    /// The port sends more multicast than it may.
    StormMulticast, Ingress, "storm-multicast", Storm;
    /// The port sends more frames to unknown destinations than it may.
    StormUnknown, Ingress, "storm-unknown", Storm blameless;
    /// Nobody has joined the group.
    GroupUnregistered, Ingress, "group-unregistered", GroupUnregistered blameless;
    /// The IGMP message is malformed: time to live, router alert, length or checksum.
    IgmpFormat, Ingress, "igmp-format", Igmp;
    /// The IGMP query does not come from the network's querier.
    IgmpQuery, Ingress, "igmp-query", Igmp;
    /// The port has joined as many IPv4 groups as it may.
    IgmpGroups, Ingress, "igmp-groups", Igmp blameless;
    /// The port sends more IGMP messages than it may.
    IgmpRate, Ingress, "igmp-rate", Igmp blameless;
    /// Multicast DNS, LLMNR and SSDP between guests are turned off.
    Mdns, Ingress, "mdns", Mdns blameless;
    /// The destination is a guest, and guests of this network see only the router.
    Routed, Ingress, "routed", Routed blameless;
    /// The frame comes from outside and claims an address of a guest.
    OutsideIdentity, Ingress, "outside-identity", OutsideIdentity;
    /// The destination address is not one of the port's own, and nobody else is behind the port.
    NotAddressed, Egress, "not-addressed", NotAddressed blameless;
    /// The packet's destination is not one of the port's addresses.
    NotDestination, Egress, "not-destination", NotDestination blameless;
    /// The filter on what the port's guest sends refuses the frame.
    FilterIn, Ingress, "filter-in";
    /// The filter on what the port's guest receives refuses the frame.
    FilterOut, Egress, "filter-out";
    /// The network is asking outside whether somebody there has the address; the guest may use it if nobody answers.
    AddressAsked, Ingress, "address-asked", OutsideIdentity blameless;
    /// The datagram is for a DHCP client, or from or to a server port, but is not a DHCP message.
    DhcpPort, Ingress, "dhcp-port", DhcpServer blameless;
    /// The datagram is for a DHCPv6 client, or from or to a server port, but is not a DHCPv6
    /// message.
    Dhcpv6Port, Ingress, "dhcpv6-port", Dhcpv6 blameless;
}

impl Reason {
    /// The reason's number, as captures carry it.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The reason with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Index into an array of `COUNT` counters.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl core::fmt::Display for Reason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_sentences_are_distinct() {
        for (i, a) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(a.number()), i);
            assert_eq!(Reason::from_number(a.number()), Some(a));
            assert!(a.describe().ends_with('.'), "{a} is described by a sentence");
            assert!(a.counter().ends_with(a.name()));
            for b in &Reason::ALL[i + 1..] {
                assert_ne!(a.name(), b.name());
            }
        }
        assert_eq!(Reason::from_number(u8::MAX), None);
    }
}
