//! How fast each guest may use a service.
//!
//! # Theory of operation
//!
//! One token bucket for each guest: `burst` messages at once, `rate` a second on average. A bucket
//! that would be full again is forgotten at the next look, so the table holds the guests of the
//! last `burst / rate` seconds. It has at most [`GUESTS_MAX`] entries; when it is full of guests
//! that are all busy, a further one is refused, which only more guests than a network has ports
//! could cause.

use std::collections::HashMap;
use std::time::Duration;

use engine::Instant;

use crate::GuestKey;

/// Buckets at most.
const GUESTS_MAX: usize = 8192;

/// One message, in the unit of the buckets: nanoseconds of waiting.
#[derive(Debug)]
pub(crate) struct Pace {
    /// What one message costs.
    cost: u64,
    /// What a full bucket holds.
    full: u64,
    /// When each guest's bucket is full again.
    full_at: HashMap<GuestKey, Instant>,
}

impl Pace {
    /// `rate` messages a second, `burst` at once; both at least 1.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        let cost = 1_000_000_000 / u64::from(rate.max(1));
        let full = cost.saturating_mul(u64::from(burst.max(1)));
        Self { cost, full, full_at: HashMap::new() }
    }

    /// Takes one message from the guest's bucket; false if it is empty.
    pub(crate) fn take(&mut self, now: Instant, guest: GuestKey) -> bool {
        if self.full_at.len() >= GUESTS_MAX && !self.full_at.contains_key(&guest) {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= GUESTS_MAX {
                return false;
            }
        }
        let full_at = self.full_at.entry(guest).or_insert(now);
        let owed = full_at.saturating_since(now).as_nanos();
        let owed = u64::try_from(owed).unwrap_or(u64::MAX).saturating_add(self.cost);
        if owed > self.full {
            return false;
        }
        *full_at = now + Duration::from_nanos(owed);
        true
    }

    /// The guest is gone.
    pub(crate) fn forget(&mut self, guest: GuestKey) {
        self.full_at.remove(&guest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_guest_for_itself() {
        let mut pace = Pace::new(10, 3);
        let mut now = Instant::EPOCH + Duration::from_secs(5);
        let (one, other) = (GuestKey(1), GuestKey(2));
        assert_eq!([0; 4].map(|_| pace.take(now, one)), [true, true, true, false]);
        assert!(pace.take(now, other));
        now = now + Duration::from_millis(100);
        assert_eq!([0; 2].map(|_| pace.take(now, one)), [true, false]);
        now = now + Duration::from_secs(1000);
        assert_eq!([0; 4].map(|_| pace.take(now, one)), [true, true, true, false]);
        pace.forget(one);
        assert!(pace.take(now, one));
    }

    #[test]
    fn the_table_is_bounded_and_idle_guests_make_room() {
        let mut pace = Pace::new(1, 1);
        let now = Instant::EPOCH;
        for guest in 0..GUESTS_MAX as u32 {
            assert!(pace.take(now, GuestKey(guest)));
        }
        assert!(!pace.take(now, GuestKey(u32::MAX)));
        assert_eq!(pace.full_at.len(), GUESTS_MAX);
        let later = now + Duration::from_secs(2);
        assert!(pace.take(later, GuestKey(u32::MAX)));
        assert_eq!(pace.full_at.len(), 1);
    }
}
