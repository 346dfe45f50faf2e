//! Token buckets: rates without a timer and without allocation.

use crate::guard::spec::Rate;
use crate::time::Instant;

/// Nanoseconds in a second, the unit that debts are counted in: one token is a debt of so much.
const TOKEN: u64 = 1_000_000_000;

/// What was taken and has not come in again since. It starts full whatever the clock says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bucket {
    debt: u64,
    at: u64,
}

impl Bucket {
    /// Takes one token, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        self.take_many(now, rate, 1)
    }

    /// Takes `count` tokens, if there are as many.
    pub(crate) fn take_many(&mut self, now: Instant, rate: Rate, count: u32) -> bool {
        let now = now.as_nanos();
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let debt = self.debt.saturating_sub(passed.saturating_mul(u64::from(rate.per_second)));
        let after = debt + u64::from(count) * TOKEN;
        let fits = after <= u64::from(rate.burst) * TOKEN;
        self.debt = if fits { after } else { debt };
        fits
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
}
