//! Time as the caller tells it.
//!
//! The engine has no clock. Every call that can depend on time gets `now`, and all instants of one
//! engine must come from the same clock. The engine tolerates a clock that stands still; one that
//! goes back is treated as standing still, because every difference saturates at zero.

use core::ops::Add;
use core::time::Duration;

/// A point in time: nanoseconds since an epoch of the caller's choice (the host uses
/// `CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The epoch itself.
    pub const EPOCH: Self = Self(0);

    /// The instant `nanos` nanoseconds after the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time that passed since `earlier`, zero if `earlier` is in fact later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the far end (584 years), so that "never" can be written as a very long
    /// duration.
    fn add(self, length: Duration) -> Self {
        let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Time in units of 2^20 ns; 48 bits of it last 9,000 years.
pub(crate) type Tick = u64;

pub(crate) const TICK_SHIFT: u32 = 20;

/// The tick that an instant lies in.
#[inline]
pub(crate) fn tick(now: Instant) -> Tick {
    now.as_nanos() >> TICK_SHIFT
}

/// When a tick begins.
pub(crate) fn instant(tick: Tick) -> Instant {
    Instant::from_nanos(tick.saturating_mul(1 << TICK_SHIFT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_sums_saturate() {
        let early = Instant::from_nanos(5);
        let late = early + Duration::from_secs(1);
        assert_eq!(late.saturating_since(early), Duration::from_secs(1));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!((late + Duration::MAX).as_nanos(), u64::MAX);
    }
}
