//! The checks of the guard.
//!
//! One table makes the enum, its numbers and names, and the table of `docs/guard.md`, so that the
//! configuration, the commands and the documentation cannot disagree. Numbers and names are what
//! people write: they stay, and new checks go to the end.

use crate::named::named;
use crate::reason::Reason;

/// What can be asked of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its action is each port's to choose.
    Settable {
        /// Whether [`Action::Reject`](crate::Action::Reject) can tell a guest more than silence does.
        told: bool,
    },
    /// It holds the switch itself together: it is made for every port, and never anything but a drop.
    Fixed,
    /// It is no test of a frame but a property of how the network is built: nothing can fail it.
    Built,
}

const TOLD: Kind = Kind::Settable { told: true };
/// Nobody can be told: what fails the check is no IP packet, has no source to answer, is an ICMP message
/// that no error answers, is for many, or fails only on its way to somebody else, which is not the
/// sender's to know.
const SILENT: Kind = Kind::Settable { told: false };
const FIXED: Kind = Kind::Fixed;
const BUILT: Kind = Kind::Built;

macro_rules! checks {
    ($(
        $(#[doc = $doc:literal])+
        $variant:ident = $number:literal, $name:literal, $kind:ident, $standard:literal,
            $default:literal, $change:literal;
    )+) => {
        named! {
            /// What the guard holds a frame against: its description is the attack or mistake, its name the
            /// one by which people set its action.
            Check: $($(#[doc = $doc])+ $variant = $number, $name;)+
        }

        impl Check {
            /// What it follows, in Markdown.
            #[must_use]
            pub const fn standard(self) -> &'static str {
                match self { $(Self::$variant => $standard,)+ }
            }

            /// What is allowed unless something else is said, in Markdown.
            #[must_use]
            pub const fn default_text(self) -> &'static str {
                match self { $(Self::$variant => $default,)+ }
            }

            /// What in the configuration changes it, in Markdown; empty if nothing does.
            #[must_use]
            pub const fn change(self) -> &'static str {
                match self { $(Self::$variant => $change,)+ }
            }

            /// What can be asked of it.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => $kind,)+ }
            }
        }
    };
}

checks! {
    /// frames too short or too long for the network
    Length = 1, "length", FIXED, "IEEE 802.3",
        "MTU of the network, per segment", "`mtu`";
    /// Ethernet source of another, zero or a group
    SourceMac = 2, "source-mac", FIXED, "BCP 38",
        "own address", "`mac`, `max_macs`";
    /// frame changed after it was checked
    CopyFirst = 3, "copy-first", BUILT, "CWE-367",
        "links copy what they read before the check", "";
    /// LLDP, LACP, EAPOL, PAUSE, CDP, MRP, MVRP from a guest
    BridgeControl = 4, "bridge-control", SILENT, "IEEE 802.1Q 8.6.3",
        "drop", "action";
    /// a guest that wants to be a bridge: BPDU of customer and provider bridges, PVST
    Bpdu = 5, "bpdu", SILENT, "IEEE 802.1D, 802.1Q 13",
        "drop", "`bpdu_shutdown` cuts the port off";
    /// IP behind an 802.3 length and SNAP, past the checks of IP
    Llc = 6, "llc", SILENT, "IEEE 802.2",
        "drop", "action";
    /// VLAN hopping: foreign, double or wrong tags
    Vlan = 7, "vlan", FIXED, "IEEE 802.1Q",
        "VLANs of the port", "`vlan`, `trunk`";
    /// protocols that nobody checks
    Ethertype = 8, "ethertype", SILENT, "RFC 9542",
        "IPv4, ARP, IPv6", "`ethertypes`";
    /// frames in frames: PPPoE, MPLS, MACsec, PBB, NSH
    Encapsulation = 9, "encapsulation", SILENT, "RFC 2516, 3032, 8300",
        "drop", "`ethertypes`";
    /// MAC flooding; taking an address that is in use
    MacTable = 10, "mac-table", FIXED, "IEEE 802.1Q 8.8",
        "share of the table; no move while its port lives, see below", "`max_macs`";
    /// a loop: a frame comes back that was flooded
    Loop = 11, "loop", FIXED, "IEEE 802.1Q 13",
        "drop", "";
    /// ARP that is not IPv4 over Ethernet, or carries more
    ArpFormat = 12, "arp-format", SILENT, "RFC 826",
        "drop", "action";
    /// ARP sender MAC of another
    ArpSenderMac = 13, "arp-sender-mac", SILENT, "RFC 826",
        "frame's source", "action";
    /// ARP spoofing: sender IP of another
    ArpSenderIp = 14, "arp-sender-ip", SILENT, "RFC 826, 5227",
        "own address, or none in a probe", "action";
    /// take-over by gratuitous ARP
    ArpGratuitous = 15, "arp-gratuitous", SILENT, "RFC 5227",
        "own address", "action";
    /// ARP replies to all, or for others than they name
    ArpReply = 16, "arp-reply", SILENT, "RFC 826",
        "drop", "action";
    /// learning who is there; ARP storms
    ArpNegative = 17, "arp-negative", SILENT, "RFC 7342",
        "known addresses: answered by the network. Unknown ones: to the ports where they may be, \
         not twice in 0.9 s",
        "action";
    /// ARP floods and scans
    ArpRate = 18, "arp-rate", SILENT, "RFC 1122 2.3.2.1, 5227",
        "15/s burst 30, and as much to one station; for addresses that nobody has 10/s burst 30, \
         counted separately",
        "`rates`";
    /// RARP for others
    Rarp = 19, "rarp", SILENT, "RFC 903",
        "self-announcement to all, 1/s burst 5", "action";
    /// broken IPv4 headers and header checksums
    Ipv4Header = 20, "ipv4-header", TOLD, "RFC 791, 1812",
        "drop", "action";
    /// IPv4 source of another, or one that cannot belong to a station
    Ipv4Source = 21, "ipv4-source", TOLD, "BCP 38, RFC 1122",
        "own addresses", "mode, `ipv4`";
    /// 0.0.0.0 outside DHCP
    Ipv4Unspecified = 22, "ipv4-unspecified", SILENT, "RFC 2131",
        "DHCP to all; IGMP, which is not forwarded", "action";
    /// metadata services, loopback, reserved destinations
    Destination = 23, "destination", TOLD, "RFC 3927, 6890",
        "drop, link-local too", "`link_local_v4`";
    /// source routing, record route, unknown options
    Ipv4Option = 24, "ipv4-option", TOLD, "RFC 7126",
        "router alert in IGMP", "action";
    /// tiny, overlapping and orphaned fragments; headers hidden in them
    Fragment = 25, "fragment", TOLD, "RFC 1858, 3128, 5722",
        "in order, no overlap, first one checked; 64 under way", "action";
    /// group frames with packets for one, and the other way round
    Cast = 26, "cast", TOLD, "RFC 1122",
        "drop; TTL at least 1", "action";
    /// ICMP redirects, router advertisements, timestamps
    IcmpKind = 27, "icmp-kind", SILENT, "RFC 1812",
        "drop", "action";
    /// transport headers cut off; TCP flags that no stack sends
    L4Header = 28, "l4-header", TOLD, "RFC 9293",
        "drop", "action";
    /// rogue DHCP server; anything else to or from its ports
    DhcpServer = 29, "dhcp-server", TOLD, "RFC 2131",
        "drop", "action";
    /// DHCP for others, relayed, with option 82 or room to hide it (52), or that says twice what is
    /// asked, for whom or for what
    DhcpClient = 30, "dhcp-client", TOLD, "RFC 3046, 2132",
        "drop", "action";
    /// releasing or declining the lease of another
    DhcpRelease = 31, "dhcp-release", TOLD, "RFC 2131",
        "own lease, see below", "action";
    /// DHCP starvation
    DhcpRate = 32, "dhcp-rate", TOLD, "RFC 3118 1.1",
        "5/s burst 10; 4 clients besides one for each MAC that it has or may use; for DHCPv6, as \
         many associations",
        "`rates`";
    /// forged leases
    Lease = 33, "lease", BUILT, "RFC 7513",
        "bound only by answers of the router and of the [segment's servers](#beside-others) to \
         requests",
        "";
    /// IPv6 source of another, or one that cannot belong to a station
    Ipv6Source = 34, "ipv6-source", TOLD, "BCP 38, RFC 7039",
        "own addresses, 8 first-come", "mode, `ipv6`";
    /// :: outside DAD, reports and router solicitations
    Ipv6Unspecified = 35, "ipv6-unspecified", SILENT, "RFC 4862, 3810",
        "drop", "action";
    /// ND from another link; jumbograms, odd options, routing headers
    Ipv6Option = 36, "ipv6-option", TOLD, "RFC 4861, 5095, 8200",
        "drop", "action";
    /// long or misplaced extension headers; hidden transport; fragmented ND
    Ipv6Chain = 37, "ipv6-chain", TOLD, "RFC 7112, 6980",
        "8 headers, 256 bytes", "action";
    /// rogue router advertisement, behind whatever headers
    RouterAdvertisement = 38, "router-advertisement", SILENT, "RFC 4191, 6105, 7113",
        "drop; from outside only what the network itself says", "action";
    /// ICMPv6 redirect, router renumbering, node information
    Icmpv6Kind = 39, "icmpv6-kind", SILENT, "RFC 4861, 4890",
        "drop", "action";
    /// neighbour solicitation in another's name
    NeighbourSolicitation = 40, "neighbour-solicitation", SILENT, "RFC 4861",
        "drop", "action";
    /// neighbour advertisement for another, or as a router
    NeighbourAdvertisement = 41, "neighbour-advertisement", SILENT, "RFC 4861",
        "own addresses; unasked 5/s burst 10", "`rates`";
    /// router solicitation floods
    RouterSolicitation = 42, "router-solicitation", SILENT, "RFC 4861",
        "1/s burst 5, to routers", "`rates`";
    /// neighbour exhaustion, scans
    NdRate = 43, "nd-rate", SILENT, "RFC 6583",
        "as 17 and 18; ND 30/s burst 60, and as much to one station", "`rates`";
    /// refusing others their addresses by probes, or by answers to theirs (DAD)
    DuplicateRate = 44, "duplicate-rate", SILENT, "RFC 4862, 5227, 6620",
        "answered for owners, 5/s burst 10; two that try one address do not hear each other",
        "`rates`";
    /// forged MLD
    Mld = 45, "mld", SILENT, "RFC 3810",
        "hop limit 1, link-local, router alert; 32 groups", "`groups`";
    /// rogue DHCPv6 server or client; prefixes not allowed
    Dhcpv6 = 46, "dhcpv6", TOLD, "RFC 8415",
        "as 29 to 32; no delegated prefix", "`delegated_prefixes`";
    /// unknown ICMPv6; floods of errors
    IcmpError = 47, "icmp-error", SILENT, "RFC 4890",
        "drop; 100/s burst 200", "`rates`";
    /// storms of broadcast, multicast, unknown unicast (of a hub, which sends all frames to
    /// everybody, only the first two)
    Storm = 48, "storm", SILENT, "none; usual in switches",
        "1000/s of each; 12.5 MB/s of the first two together, and as much of the third", "`storm`";
    /// multicast for those who did not ask for it
    GroupUnregistered = 49, "group-unregistered", SILENT, "RFC 4541",
        "only those who asked get it", "`snooping` of the network";
    /// forged IGMP, queries of a guest
    Igmp = 50, "igmp", TOLD, "RFC 3376, 4541",
        "TTL 1, router alert, checksum; 32 groups, see below", "`groups`";
    /// mDNS, LLMNR, SSDP between guests
    Mdns = 51, "mdns", SILENT, "RFC 6762, 4795",
        "as other multicast", "`mdns` of the network: `off`, `proxy`, `reflect`";
    /// guests that should not meet; hairpins
    Apart = 52, "apart", FIXED, "RFC 5517",
        "all meet", "`isolated`, `community`";
    /// unknown unicast at guests whose addresses are known
    NotAddressed = 53, "not-addressed", SILENT, "IEEE 802.1Q 8.6",
        "not sent there", "action";
    /// packets for others at a guest
    NotDestination = 54, "not-destination", SILENT, "RFC 1122 3.2.1.3, 8200 3",
        "not sent there", "action";
    /// guests that see each other at all
    Routed = 55, "routed", SILENT, "RFC 4562",
        "off", "`only_router` of the network";
    /// the outside claims to be a guest; a guest takes what is in use outside
    OutsideIdentity = 56, "outside-identity", TOLD, "BCP 38, RFC 5227",
        "drop; first-come addresses are [asked for](#beside-others)", "action";
    /// forged offload metadata; a frame of thousands of segments
    Offload = 57, "offload", FIXED, "VIRTIO 1.2 5.1.6",
        "compared with the parsed packet; 512 segments, of at least 256 bytes of TCP",
        "`segments`, `segment_min`";
    /// "this checksum is good", says the guest
    ChecksumBelief = 58, "checksum-belief", BUILT, "VIRTIO 1.2 5.1.6",
        "never believed", "";
    /// partial checksums where nobody completes them
    PartialChecksum = 59, "partial-checksum", BUILT, "VIRTIO 1.2 5.1.6",
        "completed for links that cannot take them", "";
    /// use of an address after it changed hands
    Handover = 60, "handover", BUILT, "RFC 7039, 7513",
        "forgotten at once; an event tells everything that keeps something about it", "";
}

impl Check {
    /// Its number, from 1.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The check with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Whether a port may choose its action.
    #[must_use]
    pub const fn is_settable(self) -> bool {
        matches!(self.kind(), Kind::Settable { .. })
    }

    /// The reasons for which a frame can fail it.
    pub fn reasons(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| reason.check() == Some(self))
    }

    /// Index into an array of `COUNT` actions.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self as usize - 1
    }
}

impl core::fmt::Display for Check {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.number().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_distinct() {
        for (index, check) in Check::ALL.into_iter().enumerate() {
            assert_eq!((check.index(), usize::from(check.number())), (index, index + 1));
            assert_eq!(Check::from_number(check.number()), Some(check));
            for other in &Check::ALL[index + 1..] {
                assert_ne!(check.name(), other.name());
            }
        }
        assert_eq!(Check::from_number(0), None);
        assert_eq!(Check::from_number(61), None);
    }

    #[test]
    fn what_names_a_check_and_a_reason_names_one_check() {
        for check in Check::ALL {
            let reason = Reason::ALL.into_iter().find(|reason| reason.name() == check.name());
            assert!(reason.is_none_or(|it| it.check() == Some(check)), "{}", check.name());
        }
    }

    #[test]
    fn what_no_frame_can_fail_has_no_reasons() {
        for check in Check::ALL {
            let can_fail = check.reasons().next().is_some();
            assert_eq!(can_fail, check.kind() != Kind::Built, "{}", check.name());
        }
    }
}
