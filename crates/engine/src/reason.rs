//! Why a frame went no further.
//!
//! One table makes the enum, its numbers, its names and its sentences, so that counters, `netherd
//! show`, captures and the documentation cannot disagree. Numbers are positions in the table; they
//! appear in captures, so new reasons go to the end.

/// On which port a drop is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// On the port the frame came from: the frame's verdict is this drop.
    Ingress,
    /// On the port the frame was to leave by: the verdict was to forward, and this copy met a limit
    /// on its way out.
    Egress,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident, $side:ident, $name:literal $(, $check:literal)?;)+) => {
        /// Why a frame, or one copy of a flooded frame, was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[doc = $doc])+ $variant,)+ }

        impl Reason {
            /// Every reason, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];

            /// How many reasons there are.
            pub const COUNT: usize = [$(Self::$variant),+].len();

            /// The short name that counters, captures and `netherd show` use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

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

            /// What happened, as a sentence.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The number of the guard's check that this reason belongs to; `docs/guard.md` has a
            /// line for each.
            #[must_use]
            pub const fn check(self) -> Option<u8> {
                #[allow(unused_mut, unused_assignments, reason = "most reasons are no check's")]
                match self {
                    $(Self::$variant => {
                        let mut check = None;
                        $(check = Some($check);)?
                        check
                    })+
                }
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
    Runt, Ingress, "runt", 1;
    /// The frame, or one segment of it, is longer than the network's MTU allows.
    Oversize, Ingress, "oversize", 1;
    /// The source address is zero, multicast or broadcast.
    BadSource, Ingress, "bad-source", 2;
    /// The destination is one of 01:80:c2:00:00:00 to 0f, which IEEE 802.1Q 8.6.3 tells a bridge
    /// never to forward.
    ReservedGroup, Ingress, "reserved-group", 4;
    /// The frame carries a VLAN tag that this port does not accept.
    VlanTagged, Ingress, "vlan-tagged", 7;
    /// The frame carries no VLAN tag and this trunk port has no native VLAN.
    VlanUntagged, Ingress, "vlan-untagged", 7;
    /// The frame's VLAN is not among those that this trunk port carries.
    VlanNotAllowed, Ingress, "vlan-not-allowed", 7;
    /// The frame carries a second VLAN tag, and its sender or its receiver is not on a trunk.
    VlanDouble, Ingress, "vlan-double", 7;
    /// The frame asks for an offload that its link did not declare when it opened.
    OffloadUndeclared, Ingress, "offload-undeclared", 57;
    /// The frame's offload metadata contradicts its bytes.
    BadOffload, Ingress, "bad-offload", 57;
    /// The source address is not one of this port's own.
    MacForeign, Ingress, "mac-foreign", 2;
    /// The source address is bound to another port, or reserved for a guest that is away.
    MacBound, Ingress, "mac-bound", 10;
    /// The source address is in use on another port that is alive.
    MacMoved, Ingress, "mac-moved", 10;
    /// The port already uses as many addresses as it may. A client that is the cable to a switch needs
    /// `max_macs`.
    MacLimit, Ingress, "mac-limit", 10;
    /// The port has used up its share of the table of addresses, and what the network has beyond
    /// the shares is used up, too.
    MacTableFull, Ingress, "mac-table-full", 10;
    /// The destination is behind the port that the frame came from.
    SamePort, Ingress, "same-port", 52;
    /// Both ports are private (isolated, or of different communities): they may talk to ports that are
    /// not, not to each other.
    Isolated, Ingress, "isolated", 52;
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
    ControlGroup, Ingress, "control-group", 4;
    /// The EtherType is one of bridges and authenticators (LLDP, EAPOL, slow protocols, PAUSE).
    ControlEthertype, Ingress, "control-ethertype", 4;
    /// The frame is one that bridges send (BPDU, PVST): a guest that sends it wants to be a switch.
    Bpdu, Ingress, "bpdu", 5;
    /// The frame has an 802.3 length and an LLC header, perhaps with an IP packet behind SNAP.
    Llc, Ingress, "llc", 6;
    /// The EtherType is not among those that this port may send.
    Ethertype, Ingress, "ethertype", 8;
    /// The frame wraps another (PPPoE, MPLS, NSH, PBB, MACsec), whose source nobody checks.
    Encapsulation, Ingress, "encapsulation", 9;
    /// The frame was flooded a moment ago and came back through another port: there is a loop.
    Loop, Ingress, "loop", 11;
    /// The ARP packet is not one of IPv4 over Ethernet, or is cut short.
    ArpFormat, Ingress, "arp-format", 12;
    /// The sender's hardware address inside the ARP packet is not the frame's source.
    ArpSenderMac, Ingress, "arp-sender-mac", 13;
    /// The sender's IPv4 address inside the ARP packet is not one of this port's.
    ArpSenderIp, Ingress, "arp-sender-ip", 14;
    /// The port announces an IPv4 address that is not its own.
    ArpGratuitous, Ingress, "arp-gratuitous", 15;
    /// The ARP reply goes to many stations, or to another than it names.
    ArpReply, Ingress, "arp-reply", 16;
    /// The operation is neither request nor reply.
    ArpOperation, Ingress, "arp-operation", 16;
    /// Nobody has the IPv4 address, and somebody asked for it a moment ago.
    ArpNegative, Ingress, "arp-negative", 17;
    /// The port sends more ARP packets than it may.
    ArpRate, Ingress, "arp-rate", 18;
    /// The port asks for more unknown IPv4 addresses than it may: a scan.
    ArpScan, Ingress, "arp-scan", 18;
    /// The RARP packet is not an announcement of the port's own hardware address.
    Rarp, Ingress, "rarp", 19;
    /// More than one RARP announcement a second.
    RarpRate, Ingress, "rarp-rate", 19;
    /// Version, header length or total length of the IPv4 packet is wrong, or it is cut short.
    Ipv4Header, Ingress, "ipv4-header", 20;
    /// The checksum of the IPv4 header is wrong.
    Ipv4Checksum, Ingress, "ipv4-checksum", 20;
    /// The source is not one of this port's IPv4 addresses.
    Ipv4Source, Ingress, "ipv4-source", 21;
    /// The source cannot be the IPv4 address of a station: 0/8, loopback, multicast, reserved or broadcast.
    Ipv4SourceKind, Ingress, "ipv4-source-kind", 21;
    /// The port already has as many first-come IPv4 addresses as it may.
    Ipv4SourceLimit, Ingress, "ipv4-source-limit", 21;
    /// The source is 0.0.0.0, but the packet is not a DHCP request to all.
    Ipv4Unspecified, Ingress, "ipv4-unspecified", 22;
    /// The destination is never on a wire: loopback, unspecified, 0/8, 240/4, v4-mapped.
    Destination, Ingress, "destination", 23;
    /// The destination is link-local (169.254/16), and this port may not use it.
    Ipv4LinkLocal, Ingress, "ipv4-link-local", 23;
    /// The destination is the metadata service of a cloud.
    Metadata, Ingress, "metadata", 23;
    /// The IPv4 header has options, and they are not the router alert of IGMP.
    Ipv4Option, Ingress, "ipv4-option", 24;
    /// The first fragment is too short, or the second begins inside the headers.
    FragmentTiny, Ingress, "fragment-tiny", 25;
    /// The fragment overlaps one that came before, or reaches beyond 64 KiB.
    FragmentOverlap, Ingress, "fragment-overlap", 25;
    /// The fragment belongs to a datagram whose first fragment was not seen, or was refused.
    FragmentOrphan, Ingress, "fragment-orphan", 25;
    /// The fragment belongs to a message that the guard must see whole (DHCP, IGMP, ICMP redirects).
    FragmentGuarded, Ingress, "fragment-guarded", 25;
    /// The port has as many fragmented datagrams under way as it may.
    FragmentLimit, Ingress, "fragment-limit", 25;
    /// The time to live, or hop limit, is zero.
    TtlZero, Ingress, "ttl-zero", 26;
    /// The frame goes to a group and its packet to a single station, or the other way round, or to another group.
    CastMismatch, Ingress, "cast-mismatch", 26;
    /// The ICMP message is not one that guests send: redirect, router advertisement, timestamp,
    /// mask, source quench.
    IcmpKind, Ingress, "icmp-kind", 27;
    /// The transport header is not complete in the packet, or in its first fragment.
    L4Header, Ingress, "l4-header", 28;
    /// The TCP flags are not those of any segment that a stack sends: none, SYN with FIN or RST, FIN without
    /// ACK.
    TcpFlags, Ingress, "tcp-flags", 28;
    /// The port sends a DHCP server's message.
    DhcpServer, Ingress, "dhcp-server", 29;
    /// The DHCP request is not from this port for itself: operation, hardware address, relay
    /// address or relay option.
    DhcpClient, Ingress, "dhcp-client", 30;
    /// The DHCP release or decline is for an address that is not this port's.
    DhcpRelease, Ingress, "dhcp-release", 31;
    /// The port sends more DHCP messages than it may.
    DhcpRate, Ingress, "dhcp-rate", 32;
    /// The port asks for leases under more hardware addresses than it has.
    DhcpStarvation, Ingress, "dhcp-starvation", 32;
    /// Version or payload length of the IPv6 packet is wrong, or it is cut short.
    Ipv6Header, Ingress, "ipv6-header", 34;
    /// The source is not one of this port's IPv6 addresses.
    Ipv6Source, Ingress, "ipv6-source", 34;
    /// The source cannot be the IPv6 address of a station: loopback, multicast, v4-mapped, 6to4 or Teredo.
    Ipv6SourceKind, Ingress, "ipv6-source-kind", 34;
    /// The port already has as many first-come IPv6 addresses as it may.
    Ipv6SourceLimit, Ingress, "ipv6-source-limit", 34;
    /// The source is ::, but the packet is not duplicate address detection, a group report or a
    /// router solicitation.
    Ipv6Unspecified, Ingress, "ipv6-unspecified", 35;
    /// The neighbour discovery message has a hop limit below 255: it came from another link.
    NdHopLimit, Ingress, "nd-hop-limit", 36;
    /// A hop-by-hop or destination option is a jumbogram's, or not known.
    Ipv6Option, Ingress, "ipv6-option", 36;
    /// The packet has a routing header.
    Ipv6Routing, Ingress, "ipv6-routing", 36;
    /// The chain of extension headers is too long, in headers or in bytes, or out of order.
    Ipv6Chain, Ingress, "ipv6-chain", 37;
    /// The transport header is not in the first fragment.
    Ipv6Hidden, Ingress, "ipv6-hidden", 37;
    /// The neighbour discovery message is fragmented.
    NdFragment, Ingress, "nd-fragment", 37;
    /// The port sends a router advertisement.
    RouterAdvertisement, Ingress, "router-advertisement", 38;
    /// The port sends a redirect, a router renumbering or a node information message.
    Icmpv6Kind, Ingress, "icmpv6-kind", 39;
    /// The neighbour solicitation names another sender or another group than it should, or is
    /// malformed.
    NeighbourSolicitation, Ingress, "neighbour-solicitation", 40;
    /// The neighbour advertisement is for an address that is not this port's, names another
    /// hardware address, claims to come from a router, or is malformed.
    NeighbourAdvertisement, Ingress, "neighbour-advertisement", 41;
    /// The port sends more unsolicited neighbour advertisements than it may.
    AdvertisementRate, Ingress, "advertisement-rate", 41;
    /// The router solicitation is malformed or names another sender.
    RouterSolicitation, Ingress, "router-solicitation", 42;
    /// The port sends more router solicitations than it may.
    SolicitationRate, Ingress, "solicitation-rate", 42;
    /// Nobody has the IPv6 address, and somebody asked for it a moment ago.
    NdNegative, Ingress, "nd-negative", 43;
    /// The port sends more neighbour discovery messages, or asks for more unknown addresses, than it
    /// may.
    NdRate, Ingress, "nd-rate", 43;
    /// The port tries more addresses of others than it may.
    DuplicateRate, Ingress, "duplicate-rate", 44;
    /// The MLD message is malformed: hop limit, source, router alert or length.
    MldFormat, Ingress, "mld-format", 45;
    /// The MLD query does not come from the network's querier.
    MldQuery, Ingress, "mld-query", 45;
    /// The port has joined as many IPv6 groups as it may.
    MldGroups, Ingress, "mld-groups", 45;
    /// The port sends more MLD messages than it may.
    MldRate, Ingress, "mld-rate", 45;
    /// The port sends a DHCPv6 server's or relay's message.
    Dhcpv6Server, Ingress, "dhcpv6-server", 46;
    /// The DHCPv6 request does not come from the port's link-local address, or asks for a prefix
    /// that the port may not have.
    Dhcpv6Client, Ingress, "dhcpv6-client", 46;
    /// The DHCPv6 client gives up an address that is not this port's.
    Dhcpv6Release, Ingress, "dhcpv6-release", 46;
    /// The port sends more DHCPv6 messages than it may.
    Dhcpv6Rate, Ingress, "dhcpv6-rate", 46;
    /// The port asks for DHCPv6 leases under more identifiers than it may.
    Dhcpv6Starvation, Ingress, "dhcpv6-starvation", 46;
    /// The ICMPv6 message is of an unknown kind.
    Icmpv6Unknown, Ingress, "icmpv6-unknown", 47;
    /// The port sends more ICMP or ICMPv6 errors than it may.
    ErrorRate, Ingress, "error-rate", 47;
    /// The port sends more broadcast than it may.
    StormBroadcast, Ingress, "storm-broadcast", 48;
    /// The port sends more multicast than it may.
    StormMulticast, Ingress, "storm-multicast", 48;
    /// The port sends more frames to unknown destinations than it may.
    StormUnknown, Ingress, "storm-unknown", 48;
    /// Nobody has joined the group.
    GroupUnregistered, Ingress, "group-unregistered", 49;
    /// The IGMP message is malformed: time to live, router alert, length or checksum.
    IgmpFormat, Ingress, "igmp-format", 50;
    /// The IGMP query does not come from the network's querier.
    IgmpQuery, Ingress, "igmp-query", 50;
    /// The port has joined as many IPv4 groups as it may.
    IgmpGroups, Ingress, "igmp-groups", 50;
    /// The port sends more IGMP messages than it may.
    IgmpRate, Ingress, "igmp-rate", 50;
    /// Multicast DNS, LLMNR and SSDP between guests are turned off.
    Mdns, Ingress, "mdns", 51;
    /// The destination is a guest, and guests of this network see only the router.
    Routed, Ingress, "routed", 55;
    /// The frame comes from outside and claims an address of a guest.
    OutsideIdentity, Ingress, "outside-identity", 56;
    /// The destination address is not one of the port's own, and nobody else is behind the port.
    NotAddressed, Egress, "not-addressed", 53;
    /// The packet's destination is not one of the port's addresses.
    NotDestination, Egress, "not-destination", 54;
    /// The filter on what the port's guest sends refuses the frame.
    FilterIn, Ingress, "filter-in";
    /// The filter on what the port's guest receives refuses the frame.
    FilterOut, Egress, "filter-out";
    /// The network is asking outside whether somebody there has the address; the guest may use it if nobody answers.
    AddressAsked, Ingress, "address-asked", 56;
    /// The datagram is for a DHCP client, or from or to a server port, but is not a DHCP message.
    DhcpPort, Ingress, "dhcp-port", 29;
    /// The datagram is for a DHCPv6 client, or from or to a server port, but is not a DHCPv6
    /// message.
    Dhcpv6Port, Ingress, "dhcpv6-port", 46;
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

    /// Whether a frame that is dropped for this reason speaks against its sender: it failed a check
    /// of the guard, and not one that keeps well-behaved guests apart, spares others a question that
    /// leads nowhere, or refuses or limits what others can make it say: answers and errors. Nor
    /// does what others do count against it: a receiver that left, a table that they filled, fragments that
    /// were lost before they came here.
    #[must_use]
    pub const fn is_violation(self) -> bool {
        self.check().is_some()
            && !matches!(
                self,
                Self::SamePort
                    | Self::Isolated
                    | Self::Routed
                    | Self::ArpRate
                    | Self::ArpNegative
                    | Self::ArpScan
                    | Self::NdRate
                    | Self::NdNegative
                    | Self::ErrorRate
                    | Self::AdvertisementRate
                    | Self::IgmpRate
                    | Self::MldRate
                    | Self::Ipv4LinkLocal
                    | Self::DhcpPort
                    | Self::Dhcpv6Port
                    | Self::AddressAsked
                    | Self::FragmentOrphan
                    | Self::FragmentLimit
                    | Self::StormUnknown
                    | Self::MacTableFull
                    | Self::IgmpGroups
                    | Self::MldGroups
                    | Self::GroupUnregistered
                    | Self::Mdns
                    | Self::NotAddressed
                    | Self::NotDestination
            )
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
