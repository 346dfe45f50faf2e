//! How many lines of a log somebody may cause.

use std::time::{Duration, Instant};

/// A token bucket over lines: some at once, and then one per interval. Time comes from the caller.
#[derive(Debug)]
pub struct Limiter {
    burst: u32,
    interval: Duration,
    tokens: u32,
    last: Instant,
    suppressed: u64,
}

impl Limiter {
    #[must_use]
    pub fn new(burst: u32, interval: Duration, now: Instant) -> Self {
        Self { burst, interval, tokens: burst, last: now, suppressed: 0 }
    }

    /// Whether a line may be written: then how many were not since the last one.
    pub fn admit(&mut self, now: Instant) -> Option<u64> {
        let interval = self.interval.as_millis().max(1);
        let intervals = now.saturating_duration_since(self.last).as_millis() / interval;
        if intervals > 0 {
            let earned = u32::try_from(intervals).unwrap_or(u32::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(self.burst);
            self.last = now;
        }
        if self.tokens == 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_cannot_be_filled() {
        let (start, interval) = (Instant::now(), Duration::from_millis(500));
        let mut limiter = Limiter::new(32, interval, start);
        let written = (0..1000).filter(|_| limiter.admit(start).is_some()).count();
        assert_eq!(written, 32);
        assert_eq!(limiter.admit(start + interval), Some(968));
        assert_eq!(limiter.admit(start + interval), None);
        let later = start + interval * 1000;
        assert_eq!(limiter.admit(later), Some(1));
        let more = (0..1000).filter(|_| limiter.admit(later).is_some()).count();
        assert_eq!(more, 31, "the bucket never holds more than a burst");
    }
}
