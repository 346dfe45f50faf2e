//! What the loads have in common: sizes of frames, and when the next one is due.

use std::time::Duration;

/// Bytes of a frame that are not the UDP payload: Ethernet 14, IPv4 20, UDP 8. The frame check
/// sequence is not counted, as no virtual link carries it.
pub const UDP_IPV4_HEADERS: usize = 14 + 20 + 8;

/// Frames that are due at a constant rate.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Frames per second.
    rate: u64,
}

impl Pace {
    /// `rate` in frames per second; at least 1.
    pub fn new(rate: u64) -> Pace {
        Pace { rate: rate.max(1) }
    }

    /// How many frames are due at `elapsed` after the start, in all.
    pub fn due(self, elapsed: Duration) -> u64 {
        let total = u128::from(self.rate) * elapsed.as_nanos() / 1_000_000_000;
        u64::try_from(total).unwrap_or(u64::MAX)
    }

    /// When, after the start, frame number `count` (from 1) is due.
    pub fn when(self, count: u64) -> Duration {
        let nanos = u128::from(count) * 1_000_000_000 / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The value below which `percent` of the sorted samples lie; `None` without samples.
pub fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent.min(100) + 50) / 100).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_due_from_its_moment_on() {
        let pace = Pace::new(300_000);
        for count in [1, 2, 3, 299_999, 300_000, 7_654_321] {
            let moment = pace.when(count);
            assert!(
                pace.due(moment) == count || pace.due(moment + Duration::from_nanos(1)) == count
            );
            assert!(pace.due(moment.saturating_sub(Duration::from_nanos(4))) < count);
        }
    }

    #[test]
    fn percentiles_of_few_samples() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 50), Some(3));
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 100), Some(5));
    }
}
