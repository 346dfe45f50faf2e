//! Addresses that are no station's (checks 21, 23 and 34; RFC 6890), metadata services of clouds among
//! them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::Ipv6Net;

use crate::engine::Engine;
use crate::guard::fast::Packed;

/// The metadata services of clouds, whose answers are secrets of the host: what most of them use;
/// credentials of containers (two kinds); Alibaba; Oracle's old one; Azure's agent; Scaleway; Tencent.
const METADATA_V4: [[u8; 4]; 8] = [
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [168, 63, 129, 16],
    [169, 254, 42, 42],
    [169, 254, 0, 23],
];

/// The same in IPv6: Amazon's, and its credentials of containers; Google; Oracle; Scaleway; OpenStack.
const METADATA_V6: [Ipv6Addr; 6] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe),
];

/// Bits that are zero in all of `METADATA_V4` but the link-local ones, and in hardly any other address.
const ZERO_V4: u32 = 0x1380_1a27;

/// Bits of the first word that all of `METADATA_V6` but the link-local one have in common.
const ALIKE_V6: (u64, u64) = (0xffdf_0040_ffff_ffff, 0xfd00_0040_0000_0000);

pub(super) fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => METADATA_V4.contains(&ip.octets()),
        IpAddr::V6(ip) => METADATA_V6.contains(&ip),
    }
}

/// The IPv4 address of which the well-known prefix makes this one (RFC 6052, 2.1).
pub(super) fn of_nat64(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(Ipv4Addr::from_bits(ip.to_bits() as u32)),
        _ => None,
    }
}

/// Whether a destination is one that no wire leads to, or a metadata service: what the short way leaves
/// to the long one.
#[inline]
pub(super) fn is_special_v4(destination: u32) -> bool {
    let net = destination >> 24;
    net.wrapping_sub(1) >= 223
        || net == 127
        || destination >> 16 == 0xa9fe
        || destination & ZERO_V4 == 0 && is_metadata_after_all(Packed::v4(destination))
}

/// The same, and multicast.
#[inline]
pub(super) fn is_special_v6(destination: Packed) -> bool {
    // From fe00::/8 on, and 0000::/8.
    let apart = (destination.0 >> 56).wrapping_add(2) & 0xff <= 2;
    let (mask, alike) = ALIKE_V6;
    apart && !is_plain_link_local(destination)
        || destination.0 & mask == alike && is_metadata_after_all(destination)
}

/// Out of the way of the frames that are not asked about.
#[cold]
#[inline(never)]
fn is_metadata_after_all(destination: Packed) -> bool {
    is_metadata(destination.address())
}

#[cold]
#[inline(never)]
fn is_plain_link_local(destination: Packed) -> bool {
    destination.0 == 0xfe80 << 48 && !is_metadata(destination.address())
}

/// Whether what begins like this is for no station.
fn is_no_net(net: u64) -> bool {
    matches!(net >> 48, 0..=0xff | 0xfec0..=0xfeff | 0x2002 | 0xff00..)
        || net >> 32 == 0x2001_0000
        || net == 0x0100 << 48
}

/// Whether a prefix of 48 bits or more, which is longer than any of these but the last, has addresses in
/// it that nobody can be given: those of no station, of a link, of a cloud's metadata services.
pub(super) fn has_special(prefix: Ipv6Net) -> bool {
    let Packed(net, _) = Packed::v6(&prefix.network().octets());
    is_no_net(net)
        || prefix.network().is_unicast_link_local()
        || METADATA_V6.iter().any(|service| prefix.contains(service))
}

/// Of 0000::/8: nobody, this host, what is made of an IPv4 address, also by a translator (RFC 4291, 2.4;
/// RFC 8215). Of a site (RFC 3879), of a tunnel (6to4, Teredo), of many, for nobody (RFC 6666). And
/// whoever in a subnet is a router, or serves something (RFC 4291, 2.6.1; RFC 2526).
fn is_no_station_v6(ip: Ipv6Addr) -> bool {
    let Packed(net, interface) = Packed::v6(&ip.octets());
    is_no_net(net) || interface == 0 || interface | 0x7f == 0xfdff_ffff_ffff_ffff
}

/// Identifiers of a network's own prefix that it keeps for its router: no guest is given one.
const KEPT: u64 = 16;

impl Engine {
    /// Whether an address is one of the first of the network's own prefix.
    pub(super) fn is_kept(&self, ip: Ipv6Addr) -> bool {
        let own = || self.network.guard.announced.iter().any(|net| net.contains(&ip));
        Packed::v6(&ip.octets()).1 < KEPT && own()
    }

    /// Whether an address is of a kind that no guest can have: nobody's, everybody's, this host's, made
    /// of an IPv4 address, anybody's of several, or a cloud's metadata service.
    pub(super) fn is_no_station(&self, address: IpAddr) -> bool {
        is_metadata(address)
            || match address {
                IpAddr::V4(ip) => {
                    let of_subnet = self.network.guard.subnet.is_some_and(|subnet| {
                        subnet.prefix_len() < 31
                            && (ip == subnet.broadcast() || ip == subnet.network())
                    });
                    matches!(ip.octets()[0], 0 | 127 | 224..) || of_subnet
                }
                IpAddr::V6(ip) => is_no_station_v6(ip),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys() {
        let nobodys = |text: &str| is_no_station_v6(text.parse().expect("an address"));
        for it in
            ["::", "::1", "::10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1"]
        {
            assert!(nobodys(it), "{it}");
        }
        for it in ["fec0::1", "feff::1", "2002:a00:1::1", "2001::1", "100::1", "ff02::1"] {
            assert!(nobodys(it), "{it}");
        }
        for it in [
            "fe80::",
            "fd00::",
            "2001:db8::",
            "fd00::fdff:ffff:ffff:ff80",
            "fe80::fdff:ffff:ffff:fffe",
        ] {
            assert!(nobodys(it), "{it}");
        }
        for it in
            ["fe80::1", "fd00::1", "2001:1::1", "2001:db8::1", "2003::1", "100:0:0:1::1", "fdff::1"]
        {
            assert!(!nobodys(it), "{it}");
        }
        for it in
            ["fd00::fdff:ffff:ffff:ff7f", "fd00::fcff:ffff:ffff:ffff", "fd00::ffff:ffff:ffff:ffff"]
        {
            assert!(!nobodys(it), "{it}");
        }
    }

    #[test]
    fn the_short_way_leaves_metadata_services_alone() {
        for octets in METADATA_V4 {
            assert!(is_special_v4(u32::from_be_bytes(octets)), "{octets:?}");
            // What is beside one is none.
            let [first, second, ..] = octets;
            let beside = u32::from_be_bytes(octets) ^ 1;
            assert_eq!(is_special_v4(beside), (first, second) == (169, 254), "{octets:?}");
        }
        for ip in METADATA_V6 {
            let packed = Packed::new(ip.into());
            assert!(is_special_v6(packed), "{ip}");
            assert!(!is_special_v6(Packed(packed.0, packed.1 ^ 1)), "{ip}");
        }
        let special = |text: &str| match text.parse().expect("an address") {
            IpAddr::V4(ip) => is_special_v4(ip.into()),
            ip @ IpAddr::V6(_) => is_special_v6(Packed::new(ip)),
        };
        for it in ["0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "169.254.1.1", "::", "::1"] {
            assert!(special(it), "{it}");
        }
        for it in ["64:ff9b::1", "ff02::1", "fec0::1", "fe80:0:0:1::1", "::ffff:10.0.0.1"] {
            assert!(special(it), "{it}");
        }
        for it in
            ["1.0.0.0", "10.0.0.1", "192.0.0.1", "223.255.255.255", "169.253.1.1", "100.64.0.0"]
        {
            assert!(!special(it), "{it}");
        }
        for it in ["fd00::1", "2001:db8::1", "fe80::1", "100::1", "fd00:ec2:0:1::254", "fdff::"] {
            assert!(!special(it), "{it}");
        }
    }
}
