//! How much may be under way to a guest, and how long to wait for an acknowledgement.
//!
//! The window grows as RFC 5681 has it, from a beginning that a link inside one machine deserves,
//! and gives way by three tenths as CUBIC does (RFC 9438, 4.6), since most losses on such a link
//! are not congestion: what a full queue would lose is held back by the queue's credit. The time
//! is that of RFC 6298, with Linux's floor of 200 ms.

use std::time::Duration;

use engine::Instant;

/// Bytes under way at the beginning: one large frame.
const INITIAL: u32 = 65_536;

/// Bytes under way at most, more than any window that guests announce in practice.
const MAX: u32 = 16 << 20;

const RTO_MIN: Duration = Duration::from_millis(200);
const RTO_MAX: Duration = Duration::from_secs(120);

/// The window of one connection, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u32,
    threshold: u32,
    /// Bytes acknowledged since the last increase in congestion avoidance.
    credit: u32,
}

impl Window {
    pub(super) const fn new() -> Self {
        Self { size: INITIAL, threshold: u32::MAX, credit: 0 }
    }

    pub(super) const fn size(&self) -> u32 {
        self.size
    }

    /// `bytes` were acknowledged while `flight` had been under way. A window that was not used is
    /// not made larger (RFC 7661 in spirit).
    pub(super) fn acknowledged(&mut self, bytes: u32, flight: u32, mss: u32) {
        if flight < self.size / 2 {
            return;
        }
        if self.size < self.threshold {
            self.size = self.size.saturating_add(bytes).min(MAX);
            return;
        }
        self.credit = self.credit.saturating_add(bytes);
        if self.credit >= self.size {
            self.credit = 0;
            self.size = self.size.saturating_add(mss).min(MAX);
        }
    }

    /// A loss was found while later segments arrive.
    pub(super) fn reduce(&mut self, flight: u32, mss: u32) {
        let flight = u64::from(flight.min(self.size));
        let reduced = u32::try_from(flight * 7 / 10).unwrap_or(MAX);
        self.threshold = reduced.max(2 * mss);
        self.size = self.threshold;
        self.credit = 0;
    }

    /// Nothing arrived for the whole time.
    pub(super) fn collapse(&mut self, flight: u32, mss: u32, again: bool) {
        if !again {
            self.reduce(flight, mss);
        }
        self.size = mss;
        self.credit = 0;
    }
}

/// The round trip of one connection, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: u32,
    variation: u32,
}

impl RoundTrip {
    /// A measurement (RFC 6298, 2.2 and 2.3).
    pub(super) fn sample(&mut self, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).clamp(1, 60_000_000);
        if self.smoothed == 0 {
            self.smoothed = micros;
            self.variation = micros / 2;
        } else {
            let difference = self.smoothed.abs_diff(micros);
            self.variation = self.variation - self.variation / 4 + difference / 4;
            self.smoothed = self.smoothed - self.smoothed / 8 + micros / 8;
        }
    }

    /// The smoothed time, if there was a measurement.
    pub(super) fn smoothed(&self) -> Option<Duration> {
        (self.smoothed > 0).then(|| Duration::from_micros(u64::from(self.smoothed)))
    }

    /// How long to wait, after `backoff` times without an answer.
    pub(super) fn timeout(&self, backoff: u8) -> Duration {
        let base = match self.smoothed() {
            None => Duration::from_secs(1),
            Some(smoothed) => {
                smoothed + Duration::from_micros(u64::from(self.variation) * 4).max(RTO_MIN)
            }
        };
        base.saturating_mul(1 << backoff.min(10)).min(RTO_MAX)
    }

    /// How long to wait before the last segment is sent again to provoke an answer (RFC 8985, 7.2).
    pub(super) fn probe_timeout(&self) -> Duration {
        let smoothed = self.smoothed().unwrap_or(Duration::from_secs(1));
        (smoothed * 2).max(Duration::from_millis(10))
    }

    /// How long segments may be out of order before one is taken for lost (RFC 8985, 6.2).
    pub(super) fn reorder_window(&self) -> Duration {
        (self.smoothed().unwrap_or_default() / 4).max(Duration::from_millis(1))
    }
}

/// The one segment whose round trip is being timed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// The acknowledgement that ends it.
    pub(super) until: super::seq::Seq,
    pub(super) since: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_doubles_then_grows_by_segments_and_gives_way() {
        let mut window = Window::new();
        window.acknowledged(65_536, 65_536, 1000);
        assert_eq!(window.size(), 131_072);
        window.acknowledged(1000, 10_000, 1000);
        assert_eq!(window.size(), 131_072, "it was not used");
        window.reduce(100_000, 1000);
        assert_eq!(window.size(), 70_000);
        window.acknowledged(69_999, 70_000, 1000);
        assert_eq!(window.size(), 70_000);
        window.acknowledged(1, 70_000, 1000);
        assert_eq!(window.size(), 71_000);
        window.collapse(71_000, 1000, false);
        assert_eq!(window.size(), 1000);
        window.collapse(1000, 1000, true);
        for _ in 0..49 {
            window.acknowledged(1000, window.size(), 1000);
        }
        assert_eq!(window.size(), 50_000, "half of it comes back quickly");
        for _ in 0..200_000 {
            window.acknowledged(1 << 20, MAX, 1000);
        }
        assert_eq!(window.size(), MAX);
    }

    #[test]
    fn time_follows_the_round_trip_within_bounds() {
        let mut trip = RoundTrip::default();
        assert_eq!(trip.timeout(0), Duration::from_secs(1));
        assert_eq!(trip.timeout(2), Duration::from_secs(4));
        trip.sample(Duration::from_millis(100));
        assert_eq!(trip.timeout(0), Duration::from_millis(300));
        for _ in 0..100 {
            trip.sample(Duration::from_micros(50));
        }
        assert!(trip.timeout(0) >= RTO_MIN && trip.timeout(0) < Duration::from_millis(202));
        assert_eq!(trip.timeout(200), RTO_MAX);
        trip.sample(Duration::ZERO);
        trip.sample(Duration::MAX);
    }
}
