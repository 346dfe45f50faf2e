//! How fast each guest may use a service.
//!
//! # Theory of operation
//!
//! One token bucket for each guest. One that is full again is forgotten at the next look, so the
//! table holds the guests of the last moments, as many as its burst takes to come in. It has at most [`GUESTS_MAX`]
//! entries; when it is full of guests that are all busy, a further one is refused, which only more guests than a
//! network has ports could cause.

use std::collections::HashMap;

use engine::{Bucket, Instant, Rate};

use crate::GuestKey;

/// Buckets at most.
const GUESTS_MAX: usize = 8192;

/// What each guest may send to one service.
#[derive(Debug)]
pub(crate) struct Pace {
    rate: Rate,
    buckets: HashMap<GuestKey, Bucket>,
}

impl Pace {
    /// Every guest may send messages at this rate.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes one message from the guest's bucket; false if it is empty.
    pub(crate) fn take(&mut self, now: Instant, guest: GuestKey) -> bool {
        let rate = self.rate;
        if self.buckets.len() >= GUESTS_MAX && !self.buckets.contains_key(&guest) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now, rate));
            if self.buckets.len() >= GUESTS_MAX {
                return false;
            }
        }
        self.buckets.entry(guest).or_default().take(now, rate)
    }

    /// The guest is gone.
    pub(crate) fn forget(&mut self, guest: GuestKey) {
        self.buckets.remove(&guest);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_guest_for_itself() {
        let mut pace = Pace::new(Rate::new(10, 3));
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
        let mut pace = Pace::new(Rate::new(1, 1));
        let now = Instant::EPOCH;
        for guest in 0..GUESTS_MAX as u32 {
            assert!(pace.take(now, GuestKey(guest)));
        }
        assert!(!pace.take(now, GuestKey(u32::MAX)));
        assert_eq!(pace.buckets.len(), GUESTS_MAX);
        let later = now + Duration::from_secs(2);
        assert!(pace.take(later, GuestKey(u32::MAX)));
        assert_eq!(pace.buckets.len(), 1);
    }
}
