//! Which group of IP a membership is for, of those that have one Ethernet address (RFC 1112, 6.4;
//! RFC 2464, 7).

use core::net::{Ipv4Addr, Ipv6Addr};

/// Which one a group of IP is of those that have its Ethernet address: below 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(u8);

impl Share {
    /// The five bits that the Ethernet address does not have.
    pub(super) fn v4(group: Ipv4Addr) -> Self {
        let [a, b, ..] = group.octets();
        Self(a << 1 & 0x1e | b >> 7)
    }

    /// A number for the 96 bits that it does not have. Of two with the same, which is seldom, the port
    /// leaves both with either, until it answers the next query.
    pub(super) fn v6(group: Ipv6Addr) -> Self {
        let bits = group.to_bits();
        let folded = (bits >> 64) as u64 ^ (bits >> 32 & 0xffff_ffff) as u64;
        // By the golden ratio neighbours are far apart; scope and flags, in which groups with the same
        // identifier differ, are behind.
        Self((folded.rotate_left(16).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as u8)
    }

    pub(super) fn bit(self) -> u32 {
        1 << self.0
    }

    /// Some share, for tests.
    #[cfg(test)]
    pub(super) const fn nth(number: u8) -> Self {
        Self(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn shares() {
        let v4 = |a: u8, b: u8| Share::v4(Ipv4Addr::new(a, b, 2, 3)).0;
        let all: BTreeSet<u8> =
            (224..=239).flat_map(|a| [v4(a, 1), v4(a, 129), v4(a, 7)]).collect();
        assert_eq!(all, (0..32).collect());
        // The same group in every scope, and with the flags that there are.
        for flags in [0, 1, 3, 7] {
            let scopes = (1..15).map(|scope| {
                Share::v6(Ipv6Addr::new(0xff00 | flags << 4 | scope, 0, 0, 0, 0, 0, 0, 0xfb)).0
            });
            assert_eq!(scopes.collect::<BTreeSet<u8>>().len(), 14, "{flags}");
        }
    }
}
