//! Sequence numbers, which wrap (RFC 9293, 3.4).

use std::ops::{Add, Sub};

/// A sequence number. Comparisons hold for numbers less than 2^31 apart, as all of one connection
/// at one time are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seq(pub(super) u32);

impl Seq {
    /// Whether this is before `other`.
    pub(super) const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this is `other` or before it.
    pub(super) const fn upto(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) <= 0
    }

    /// Bytes from `earlier` to this, zero if this is before it.
    pub(super) const fn since(self, earlier: Self) -> u32 {
        if self.before(earlier) { 0 } else { self.0.wrapping_sub(earlier.0) }
    }

    pub(super) fn max(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }

    pub(super) fn min(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for Seq {
    type Output = Self;

    fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl Sub<u32> for Seq {
    type Output = Self;

    fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_around_the_wrap() {
        for base in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let (a, b) = (Seq(base), Seq(base) + 5);
            assert!(a.before(b) && !b.before(a) && !a.before(a));
            assert!(a.upto(b) && a.upto(a) && !b.upto(a));
            assert_eq!((b.since(a), a.since(b)), (5, 0));
            assert_eq!((a.max(b), a.min(b), b - 5), (b, a, a));
        }
    }
}
