//! How many lines of a log somebody may cause.

use std::time::Duration;

/// Some lines at once, and then one per interval. It holds when all would be due if they came evenly (generic
/// cell rate algorithm, ITU-T I.371). It begins with nothing owed. Time comes from the caller, in nanoseconds
/// of a clock that only goes forward.
#[derive(Debug)]
pub struct Limiter {
    /// Nanoseconds until one more line.
    interval: u64,
    /// What may be owed, likewise.
    most: u64,
    /// When nothing is owed.
    full_at: u64,
    suppressed: u64,
}

impl Limiter {
    #[must_use]
    pub fn new(burst: u32, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let most = interval.saturating_mul(burst.into());
        Self { interval, most, full_at: 0, suppressed: 0 }
    }

    /// Whether a line may be written: then how many were not since the last one.
    pub fn admit(&mut self, now: u64) -> Option<u64> {
        let owed = self.full_at.saturating_sub(now).saturating_add(self.interval);
        if owed > self.most {
            self.suppressed += 1;
            return None;
        }
        self.full_at = now.saturating_add(owed);
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(500);

    #[test]
    fn a_log_cannot_be_filled() {
        let (start, interval) = (7_000_000_000, INTERVAL.as_nanos() as u64);
        let mut limiter = Limiter::new(32, INTERVAL);
        let written = (0..1000).filter(|_| limiter.admit(start).is_some()).count();
        assert_eq!(written, 32);
        assert_eq!(limiter.admit(start + interval), Some(968));
        assert_eq!(limiter.admit(start + interval), None);
        let later = start + interval * 1000;
        assert_eq!(limiter.admit(later), Some(1));
        let more = (0..1000).filter(|_| limiter.admit(later).is_some()).count();
        assert_eq!(more, 31, "no more is saved up than a burst");
    }

    /// Of two calls that are 0.99 intervals after one another, the time beyond one interval counts too.
    #[test]
    fn the_rate_is_what_was_promised_however_calls_fall() {
        let mut limiter = Limiter::new(4, INTERVAL);
        let (step, end) = (INTERVAL * 99 / 100, INTERVAL * 1000);
        let calls = (0..).map(|n| step * n).take_while(|at| *at < end);
        let written = calls.filter(|at| limiter.admit(at.as_nanos() as u64).is_some()).count();
        assert!((999..=1004).contains(&written), "{written}");
    }
}
