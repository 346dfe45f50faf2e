//! Token buckets: rates without a timer and without allocation.

use core::time::Duration;

use crate::time::Instant;

/// Nanoseconds in a second, the unit that debts are counted in: one token is a debt of so much.
const TOKEN: u64 = 1_000_000_000;

/// A token bucket: so many a second on average, so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come in a second. Zero means that none ever come.
    pub per_second: u32,
    /// Tokens that a quiet time saves up.
    pub burst: u32,
}

impl Rate {
    /// See the fields.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

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

/// Something that is done once in a while at most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether the last time was at least `pause` ago; if so, this is one.
    pub(crate) fn may(&mut self, now: Instant, pause: Duration) -> bool {
        let may = self.0.is_none_or(|last| now.saturating_since(last) >= pause);
        if may {
            self.0 = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seldom_is_once_in_its_pause() {
        let (mut seldom, pause) = (Seldom::default(), Duration::from_secs(1));
        let start = Instant::EPOCH;
        assert!(seldom.may(start, pause) && !seldom.may(start, pause));
        assert!(!seldom.may(start + Duration::from_millis(999), pause));
        assert!(seldom.may(start + pause, pause) && !seldom.may(start, pause));
    }

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
