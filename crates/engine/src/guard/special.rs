//! Addresses that are no station's (checks 21, 23 and 34; RFC 6890), metadata services of clouds among
//! them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
        || destination & ZERO_V4 == 0 && is_metadata(IpAddr::V4(destination.into()))
}

/// The same, and multicast.
#[inline]
pub(super) fn is_special_v6(destination: Packed) -> bool {
    // From fe00::/8 on, and 0000::/8.
    let apart = (destination.0 >> 56).wrapping_add(2) & 0xff <= 2;
    let (mask, alike) = ALIKE_V6;
    apart && !is_plain_link_local(destination)
        || destination.0 & mask == alike && is_metadata(destination.address())
}

fn is_plain_link_local(destination: Packed) -> bool {
    destination.0 == 0xfe80 << 48 && !is_metadata(destination.address())
}

impl Engine {
    /// Whether an address is of a kind that no guest can have: nobody's, everybody's, this host's, made
    /// of an IPv4 address, or a cloud's metadata service.
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
                IpAddr::V6(ip) => {
                    ip.is_unspecified()
                        || ip.is_loopback()
                        || ip.is_multicast()
                        || ip.to_ipv4().is_some()
                        || ip.segments()[0] == 0x2002
                        || ip.segments()[..2] == [0x2001, 0]
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
