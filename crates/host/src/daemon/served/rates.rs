//! Rates of a port: means between the reports that somebody asked for.

use std::time::Duration;

use engine::{Instant, PortCounters};

use crate::report::Rates;

/// Means over less than this say little.
const SPAN_MIN: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    rx_frames: u64,
    rx_bytes: u64,
    tx_frames: u64,
    tx_bytes: u64,
}

/// What is remembered of one port.
#[derive(Debug, Clone, Copy)]
pub(in crate::daemon) struct RateMeter {
    since: Instant,
    at: Totals,
    last: Rates,
}

impl RateMeter {
    pub(in crate::daemon) fn new(opened: Instant) -> Self {
        Self { since: opened, at: Totals::default(), last: Rates::default() }
    }

    /// The rates since the last time, or those of the last time when that was less than a second ago.
    pub(in crate::daemon) fn read(&mut self, now: Instant, counters: &PortCounters) -> Rates {
        let span = now.saturating_since(self.since);
        if span < SPAN_MIN {
            return self.last;
        }
        let totals = Totals {
            rx_frames: counters.rx_frames,
            rx_bytes: counters.rx_bytes,
            tx_frames: counters.tx_frames,
            tx_bytes: counters.tx_bytes,
        };
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / span.as_secs_f64();
        self.last = Rates {
            rx_frames: per_second(totals.rx_frames, self.at.rx_frames),
            rx_bits: per_second(totals.rx_bytes, self.at.rx_bytes) * 8.0,
            tx_frames: per_second(totals.tx_frames, self.at.tx_frames),
            tx_bits: per_second(totals.tx_bytes, self.at.tx_bytes) * 8.0,
        };
        self.since = now;
        self.at = totals;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_means_since_the_last_report() {
        let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
        let mut meter = RateMeter::new(at(0));
        let mut counters = PortCounters::default();
        (counters.rx_frames, counters.rx_bytes, counters.tx_bytes) = (100, 10_000, 500);
        let first = meter.read(at(10), &counters);
        assert_eq!((first.rx_frames, first.rx_bits, first.tx_bits), (10.0, 8000.0, 400.0));
        counters.rx_frames = 1100;
        let soon = Instant::from_nanos(10_500_000_000);
        assert_eq!(meter.read(soon, &counters), first, "half a second says nothing new");
        assert_eq!(meter.read(at(12), &counters).rx_frames, 500.0);
        assert_eq!(meter.read(at(13), &counters), Rates::default());
    }
}
