//! Words of the language, and names of ports and protocols.

use alloc::string::String;

use super::syntax::{Control, Proto};

/// A word that names a protocol.
pub(super) fn proto(word: &str) -> Option<Proto> {
    Some(match word {
        "ether" | "link" | "fddi" | "tr" | "wlan" | "ppp" | "slip" => Proto::Ether,
        "ip" => Proto::Ip,
        "ip6" => Proto::Ip6,
        "arp" => Proto::Arp,
        "rarp" => Proto::Rarp,
        "tcp" => Proto::Tcp,
        "udp" => Proto::Udp,
        "sctp" => Proto::Sctp,
        "icmp" => Proto::Icmp,
        "icmp6" => Proto::Icmp6,
        "igmp" => Proto::Igmp,
        "igrp" => Proto::Igrp,
        "pim" => Proto::Pim,
        "vrrp" => Proto::Vrrp,
        "carp" => Proto::Carp,
        "ah" => Proto::Ah,
        "esp" => Proto::Esp,
        "atalk" => Proto::Atalk,
        "aarp" => Proto::Aarp,
        "decnet" => Proto::Decnet,
        "lat" => Proto::Lat,
        "sca" => Proto::Sca,
        "moprc" => Proto::Moprc,
        "mopdl" => Proto::Mopdl,
        "ipx" => Proto::Ipx,
        "netbeui" => Proto::Netbeui,
        "stp" => Proto::Stp,
        "iso" => Proto::Iso,
        "clnp" => Proto::Clnp,
        "esis" | "es-is" => Proto::Esis,
        "isis" | "is-is" => Proto::Isis,
        _ => return None,
    })
}

/// Words that are neither protocols nor free for names.
const RESERVED: [&str; 21] = [
    "and",
    "or",
    "not",
    "src",
    "dst",
    "host",
    "net",
    "mask",
    "port",
    "portrange",
    "proto",
    "less",
    "greater",
    "len",
    "vlan",
    "mpls",
    "pppoed",
    "pppoes",
    "broadcast",
    "multicast",
    "llc",
];

/// Whether a word has a meaning of its own, so that a name that is one needs a backslash.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
        || proto(word).is_some()
        || isis_types(word).is_some()
        || constant(word).is_some()
        || refused(word).is_some()
}

/// The word of the language that this would be in small letters.
pub(super) fn in_small_letters(word: &str) -> Option<String> {
    let small = word.to_ascii_lowercase();
    (small != word && is_reserved(&small)).then_some(small)
}

/// Why a word of pcap-filter(7) cannot be had here.
pub(super) fn refused(word: &str) -> Option<&'static str> {
    Some(match word {
        "gateway" => "\"gateway\" needs names of hosts, which are not looked up",
        "protochain" => {
            "\"protochain\" needs jumps backward, which no filter may have; compare a header's \
             own field, as in ip6[6] = 17"
        }
        "geneve" | "vxlan" => {
            "where the inside of a tunnel begins, only the frame itself says; compare bytes of udp[]"
        }
        "inbound" | "outbound" => {
            "the direction is not in a frame; a port's filters are set for each direction"
        }
        "ifindex" => "the interface is not in a frame; filters and captures are set for each port",
        "rnr" => {
            "\"rnr\" is about a rule in a firewall's log, which is not Ethernet; Receiver Not Ready is llc rnr"
        }
        "ifname" | "on" | "rulenum" | "reason" | "rset" | "ruleset" | "srnr" | "subrulenum"
        | "action" => "a firewall's log is not Ethernet",
        "type" => "frames of 802.11 are not Ethernet; for an EtherType, write ether proto",
        "addr1" | "addr2" | "addr3" | "addr4" | "ra" | "ta" | "subtype" | "dir" | "radio" => {
            "frames of 802.11 are not Ethernet"
        }
        "lane" | "metac" | "bcc" | "oam" | "oamf4" | "oamf4e" | "oamf4ec" | "oamf4s"
        | "oamf4sc" | "sc" | "ilmic" | "vpi" | "vci" | "connectmsg" | "metaconnect" => {
            "cells of ATM are not Ethernet"
        }
        "fisu" | "lssu" | "lsu" | "msu" | "hfisu" | "hlssu" | "hmsu" | "sio" | "opc" | "dpc"
        | "sls" | "hsio" | "hopc" | "hdpc" | "hsls" => "SS7 is not Ethernet",
        _ => return None,
    })
}

/// The kinds of IEEE 802.2 frames (section 5.4: formats of the control field). Of an unnumbered one
/// the bit 0x10, which asks for an answer or is one, may be either.
pub(super) fn llc_type(word: &str) -> Option<Control> {
    let (mask, value) = match word {
        "i" => (0x01, 0x00),
        "s" => (0x03, 0x01),
        "u" => (0x03, 0x03),
        "rr" => (0x0f, 0x01),
        "rnr" => (0x0f, 0x05),
        "rej" => (0x0f, 0x09),
        "ui" => (0xef, 0x03),
        "dm" => (0xef, 0x0f),
        "disc" => (0xef, 0x43),
        "ua" => (0xef, 0x63),
        "sabme" => (0xef, 0x6f),
        "frmr" => (0xef, 0x87),
        "xid" => (0xef, 0xaf),
        "test" => (0xef, 0xe3),
        _ => return None,
    };
    Some(Control { mask, value })
}

/// The types of IS-IS packets that a word stands for (ISO/IEC 10589, section 9). The hello of a
/// point-to-point link is of both levels.
pub(super) fn isis_types(word: &str) -> Option<&'static [u32]> {
    const HELLO_1: u32 = 15;
    const HELLO_2: u32 = 16;
    const HELLO_BOTH: u32 = 17;
    const STATE_1: u32 = 18;
    const STATE_2: u32 = 20;
    const COMPLETE_1: u32 = 24;
    const COMPLETE_2: u32 = 25;
    const PARTIAL_1: u32 = 26;
    const PARTIAL_2: u32 = 27;
    Some(match word {
        "l1" => &[PARTIAL_1, COMPLETE_1, STATE_1, HELLO_1, HELLO_BOTH],
        "l2" => &[PARTIAL_2, COMPLETE_2, STATE_2, HELLO_2, HELLO_BOTH],
        "iih" => &[HELLO_BOTH, HELLO_1, HELLO_2],
        "lsp" => &[STATE_1, STATE_2],
        "snp" => &[PARTIAL_2, PARTIAL_1, COMPLETE_1, COMPLETE_2],
        "csnp" => &[COMPLETE_1, COMPLETE_2],
        "psnp" => &[PARTIAL_1, PARTIAL_2],
        _ => return None,
    })
}

/// The first byte of an OSI protocol (ISO/IEC TR 9577).
pub(super) fn iso_protocol(name: &str) -> Option<u32> {
    Some(match name {
        "clnp" => 0x81,
        "esis" => 0x82,
        "isis" => 0x83,
        _ => return None,
    })
}

/// Numbers with names, for use with `tcp[tcpflags]` and the like.
pub(super) fn constant(word: &str) -> Option<u32> {
    Some(match word {
        "tcpflags" => 13,
        "tcp-fin" => 0x01,
        "tcp-syn" => 0x02,
        "tcp-rst" => 0x04,
        "tcp-push" => 0x08,
        "tcp-ack" => 0x10,
        "tcp-urg" => 0x20,
        "tcp-ece" => 0x40,
        "tcp-cwr" => 0x80,
        "icmptype" | "icmp6type" => 0,
        "icmpcode" | "icmp6code" => 1,
        "icmp-echoreply" => 0,
        "icmp-unreach" => 3,
        "icmp-sourcequench" => 4,
        "icmp-redirect" => 5,
        "icmp-echo" => 8,
        "icmp-routeradvert" => 9,
        "icmp-routersolicit" => 10,
        "icmp-timxceed" => 11,
        "icmp-paramprob" => 12,
        "icmp-tstamp" => 13,
        "icmp-tstampreply" => 14,
        "icmp-ireq" => 15,
        "icmp-ireqreply" => 16,
        "icmp-maskreq" => 17,
        "icmp-maskreply" => 18,
        "icmp6-destinationunreach" => 1,
        "icmp6-packettoobig" => 2,
        "icmp6-timeexceeded" => 3,
        "icmp6-parameterproblem" => 4,
        "icmp6-echo" => 128,
        "icmp6-echoreply" => 129,
        "icmp6-multicastlistenerquery" => 130,
        "icmp6-multicastlistenerreportv1" => 131,
        "icmp6-multicastlistenerdone" => 132,
        "icmp6-routersolicit" => 133,
        "icmp6-routeradvert" => 134,
        "icmp6-neighborsolicit" => 135,
        "icmp6-neighboradvert" => 136,
        "icmp6-redirect" => 137,
        "icmp6-routerrenum" => 138,
        "icmp6-nodeinformationquery" => 139,
        "icmp6-nodeinformationresponse" => 140,
        "icmp6-ineighbordiscoverysolicit" => 141,
        "icmp6-ineighbordiscoveryadvert" => 142,
        "icmp6-multicastlistenerreportv2" => 143,
        "icmp6-homeagentdiscoveryrequest" => 144,
        "icmp6-homeagentdiscoveryreply" => 145,
        "icmp6-mobileprefixsolicit" => 146,
        "icmp6-mobileprefixadvert" => 147,
        "icmp6-certpathsolicit" => 148,
        "icmp6-certpathadvert" => 149,
        "icmp6-multicastrouteradvert" => 151,
        "icmp6-multicastroutersolicit" => 152,
        "icmp6-multicastrouterterm" => 153,
        _ => return None,
    })
}

/// The number of an Internet protocol (IANA, Assigned Internet Protocol Numbers), by the names that
/// systems have in /etc/protocols.
pub(super) fn ip_protocol(name: &str) -> Option<u32> {
    Some(match name {
        "ip" | "hopopt" => 0,
        "icmp" => 1,
        "igmp" => 2,
        "ggp" => 3,
        "ipencap" | "ip4" => 4,
        "st" => 5,
        "tcp" => 6,
        "egp" => 8,
        "igp" | "igrp" => 9,
        "pup" => 12,
        "udp" => 17,
        "hmp" => 20,
        "xns-idp" => 22,
        "rdp" => 27,
        "iso-tp4" => 29,
        "dccp" => 33,
        "xtp" => 36,
        "ddp" => 37,
        "idpr-cmtp" => 38,
        "ipv6" => 41,
        "ipv6-route" => 43,
        "ipv6-frag" => 44,
        "idrp" => 45,
        "rsvp" => 46,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "skip" => 57,
        "ipv6-icmp" | "icmp6" | "icmpv6" => 58,
        "ipv6-nonxt" => 59,
        "ipv6-opts" => 60,
        "rspf" => 73,
        "vmtp" => 81,
        "eigrp" => 88,
        "ospf" => 89,
        "ax.25" => 93,
        "ipip" => 94,
        "etherip" => 97,
        "encap" => 98,
        "pim" => 103,
        "ipcomp" => 108,
        "vrrp" | "carp" => 112,
        "l2tp" => 115,
        "isis" => 124,
        "sctp" => 132,
        "fc" => 133,
        "mobility-header" => 135,
        "udplite" => 136,
        "mpls-in-ip" => 137,
        "manet" => 138,
        "hip" => 139,
        "shim6" => 140,
        "wesp" => 141,
        "rohc" => 142,
        "ethernet" => 143,
        _ => return None,
    })
}

/// The number of a port with a name (IANA, Service Name and Transport Protocol Port Number
/// Registry). Only those that people filter by; others are given by number.
pub(super) fn port(name: &str) -> Option<u16> {
    Some(match name {
        "echo" => 7,
        "discard" => 9,
        "daytime" => 13,
        "chargen" => 19,
        "ftp-data" => 20,
        "ftp" => 21,
        "ssh" => 22,
        "telnet" => 23,
        "smtp" => 25,
        "time" => 37,
        "domain" => 53,
        "bootps" => 67,
        "bootpc" => 68,
        "tftp" => 69,
        "http" => 80,
        "kerberos" => 88,
        "pop3" => 110,
        "sunrpc" => 111,
        "ntp" => 123,
        "netbios-ns" => 137,
        "netbios-dgm" => 138,
        "netbios-ssn" => 139,
        "imap2" => 143,
        "snmp" => 161,
        "snmp-trap" => 162,
        "bgp" => 179,
        "ldap" => 389,
        "https" => 443,
        "microsoft-ds" => 445,
        "isakmp" => 500,
        "syslog" => 514,
        "submission" => 587,
        "dhcpv6-client" => 546,
        "dhcpv6-server" => 547,
        "ldaps" => 636,
        "domain-s" => 853,
        "rsync" => 873,
        "imaps" => 993,
        "pop3s" => 995,
        "openvpn" => 1194,
        "radius" => 1812,
        "nfs" => 2049,
        "mysql" => 3306,
        "ipsec-nat-t" => 4500,
        "mdns" => 5353,
        "postgresql" => 5432,
        "redis" => 6379,
        "iperf3" => 5201,
        _ => return None,
    })
}

/// The EtherType of a protocol, or its number in the header of IEEE 802.2.
pub(super) fn ether_protocol(name: &str) -> Option<Proto> {
    match name {
        "ipv6" => Some(Proto::Ip6),
        "ip" | "ip6" | "arp" | "rarp" | "atalk" | "aarp" | "decnet" | "sca" | "lat" | "mopdl"
        | "moprc" | "iso" | "stp" | "ipx" | "netbeui" => proto(name),
        _ => None,
    }
}
