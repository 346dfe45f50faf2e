//! Token buckets: rates without a timer and without allocation.

use crate::guard::Rate;
use crate::time::Instant;

/// Nanoseconds in a second, the unit that debts are counted in: one token is a debt of so much.
const TOKEN: u64 = 1_000_000_000;

/// What was taken and has not come in again since. It starts full whatever the clock says. Its [`Rate`] is kept
/// by the caller, who names the same one each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    debt: u64,
    at: u64,
}

impl Bucket {
    /// Takes one token, if there is one.
    #[inline]
    pub fn take(&mut self, now: Instant, rate: Rate) -> bool {
        self.take_many(now, rate, 1)
    }

    /// Takes `count` tokens, if there are as many.
    pub fn take_many(&mut self, now: Instant, rate: Rate, count: u32) -> bool {
        let debt = self.debt_at(now, rate);
        self.at = self.at.max(now.as_nanos());
        let after = debt + u64::from(count) * TOKEN;
        let fits = after <= u64::from(rate.burst) * TOKEN;
        self.debt = if fits { after } else { debt };
        fits
    }

    /// Whether nothing is missing: then it is as good as a new one.
    #[must_use]
    pub fn is_full(&self, now: Instant, rate: Rate) -> bool {
        self.debt_at(now, rate) == 0
    }

    #[inline]
    fn debt_at(&self, now: Instant, rate: Rate) -> u64 {
        let passed = now.as_nanos().saturating_sub(self.at);
        self.debt.saturating_sub(passed.saturating_mul(u64::from(rate.per_second)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate::new(10, 3);
        let mut bucket = Bucket::default();
        let mut now = Instant::EPOCH;
        for _ in 0..3 {
            assert!(bucket.take(now, rate));
        }
        assert!(!bucket.take(now, rate));
        now = now + Duration::from_millis(99);
        assert!(!bucket.take(now, rate));
        now = now + Duration::from_millis(1);
        assert!(bucket.take(now, rate) && !bucket.take(now, rate));
        now = now + Duration::from_secs(1000);
        assert!(bucket.take_many(now, rate, 3) && !bucket.take(now, rate));
        assert!(!bucket.take(Instant::EPOCH, rate), "a clock that goes back stands still");
        assert!(!Bucket::default().take(now, Rate::new(10, 0)));
    }

    #[test]
    fn a_bucket_is_full_when_all_that_was_taken_has_come_in_again() {
        let (rate, start) = (Rate::new(10, 3), Instant::from_nanos(5_000_000_000));
        let mut bucket = Bucket::default();
        assert!(bucket.is_full(Instant::EPOCH, rate) && bucket.take_many(start, rate, 2));
        assert!(!bucket.is_full(start, rate));
        assert!(!bucket.is_full(start + Duration::from_millis(199), rate));
        assert!(bucket.is_full(start + Duration::from_millis(200), rate));
    }

    /// Of two calls that are 0.99 tokens after one another, the time beyond one token counts too.
    #[test]
    fn the_rate_is_what_was_promised_however_calls_fall() {
        let rate = Rate::new(10, 4);
        let mut bucket = Bucket::default();
        let calls = (0..).map(|n| Duration::from_millis(99) * n);
        let calls = calls.take_while(|at| *at < Duration::from_secs(100));
        let taken = calls.filter(|at| bucket.take(Instant::EPOCH + *at, rate)).count();
        assert!((999..=1004).contains(&taken), "{taken}");
    }
}
