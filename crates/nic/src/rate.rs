//! How much a connection may send.
//!
//! A token bucket that may go below zero: what was read has to be served, and the debt is paid by
//! not reading. Nothing is dropped for the rate; it waits where it came from. So this is another bucket than
//! the engine's, which never goes into debt and does not say how long to wait; and the engine is nothing that a
//! privileged program should bring along.

/// Nanoseconds of rate that may be used at once.
const BURST_NANOS: u64 = 100_000_000;

const SECOND: u64 = 1_000_000_000;

/// One limit, of frames or bytes in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    /// Of `1 / SECOND` of a unit.
    tokens: i128,
    last: u64,
}

impl Bucket {
    /// A full bucket at the time `now` (nanoseconds of any clock that only goes forward).
    #[must_use]
    pub(crate) fn new(per_second: u64, now: u64) -> Bucket {
        let mut bucket = Bucket { per_second, tokens: 0, last: now };
        bucket.tokens = bucket.most();
        bucket
    }

    fn most(&self) -> i128 {
        // At least one unit, or nothing would ever be allowed.
        i128::from(self.per_second).saturating_mul(BURST_NANOS.into()).max(i128::from(SECOND))
    }

    fn fill(&mut self, now: u64) {
        let earned =
            i128::from(now.saturating_sub(self.last)).saturating_mul(self.per_second.into());
        self.tokens = self.tokens.saturating_add(earned).min(self.most());
        self.last = self.last.max(now);
    }

    /// Takes `units`, going into debt if need be.
    pub(crate) fn take(&mut self, now: u64, units: u64) {
        self.fill(now);
        let spent = i128::from(units).saturating_mul(SECOND.into());
        self.tokens = self.tokens.saturating_sub(spent);
    }

    /// Takes one unit if there is one.
    pub(crate) fn try_one(&mut self, now: u64) -> bool {
        self.fill(now);
        let enough = self.tokens >= i128::from(SECOND);
        if enough {
            self.tokens -= i128::from(SECOND);
        }
        enough
    }

    /// Nanoseconds until the debt is paid; zero without one.
    #[must_use]
    pub(crate) fn wait(&mut self, now: u64) -> u64 {
        self.fill(now);
        if self.tokens >= 0 {
            return 0;
        }
        let rate = i128::from(self.per_second.max(1));
        u64::try_from(self.tokens.saturating_neg().saturating_add(rate - 1) / rate)
            .unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debt_is_paid_at_the_rate() {
        let mut bucket = Bucket::new(1000, 0);
        // The burst is 100 units.
        bucket.take(0, 100);
        assert_eq!(bucket.wait(0), 0);
        bucket.take(0, 50);
        assert_eq!(bucket.wait(0), 50_000_000);
        assert_eq!(bucket.wait(20_000_000), 30_000_000);
        assert_eq!(bucket.wait(50_000_000), 0);
        // Time that goes backwards earns nothing.
        assert_eq!(bucket.wait(0), 0);
        bucket.take(0, 1);
        assert_eq!(bucket.wait(50_000_000), 1_000_000);
    }

    #[test]
    fn what_is_not_used_is_forgotten_beyond_the_burst() {
        let mut bucket = Bucket::new(10, 0);
        // A tenth of a second's worth is one, however long it was quiet.
        assert!(bucket.try_one(3600 * SECOND));
        assert!(!bucket.try_one(3600 * SECOND));
        assert!(bucket.try_one(3600 * SECOND + SECOND / 10));
    }

    #[test]
    fn the_slowest_rate_lets_one_pass_now_and_then() {
        let mut bucket = Bucket::new(1, 0);
        assert!(bucket.try_one(0));
        assert!(!bucket.try_one(SECOND - 1));
        assert!(bucket.try_one(SECOND));
    }

    #[test]
    fn the_longest_debt_is_no_overflow() {
        let mut bucket = Bucket::new(u64::MAX, 0);
        bucket.take(u64::MAX, u64::MAX);
        let mut slow = Bucket::new(1, 0);
        slow.take(0, u64::MAX);
        assert_eq!(slow.wait(0), u64::MAX);
    }
}
