//! Numbers nobody can guess, from a key and a counter.
//!
//! Message identifiers and jitter are drawn for every question, and a system call for each would
//! cost more than the question. SipHash-2-4 of a counter is a pseudo-random function of its key.

use std::hash::Hasher;
use std::time::Duration;

use siphasher::sip::SipHasher24;

/// A source of numbers. Two with the same key and domain give the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Chance {
    hasher: SipHasher24,
    domain: u8,
    drawn: u64,
}

impl Chance {
    /// `domain` keeps several sources with one key apart.
    pub(crate) fn new(key: &[u8; 16], domain: u8) -> Self {
        Self { hasher: SipHasher24::new_with_key(key), domain, drawn: 0 }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(1);
        let mut hasher = self.hasher;
        hasher.write_u8(self.domain);
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    pub(crate) fn next_u16(&mut self) -> u16 {
        let [a, b, ..] = self.next().to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// Any time from `least` to `most`, equally likely to the nanosecond.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from(most.saturating_sub(least).as_nanos()).unwrap_or(u64::MAX);
        let drawn = (u128::from(self.next()) * (u128::from(span) + 1)) >> 64;
        least + Duration::from_nanos(u64::try_from(drawn).unwrap_or(span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_stay_between_their_ends_and_reach_both_halves() {
        let mut chance = Chance::new(&[7; 16], 1);
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(6));
        let drawn: Vec<_> = (0..200).map(|_| chance.between(least, most)).collect();
        assert!(drawn.iter().all(|time| (least..=most).contains(time)));
        let low = drawn.iter().filter(|time| **time < Duration::from_secs(4)).count();
        assert!((60..140).contains(&low), "{low} of 200 in the lower half");
        assert_eq!(chance.between(least, least), least);
    }

    #[test]
    fn domains_are_apart() {
        let draw = |domain| Chance::new(&[7; 16], domain).next();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
