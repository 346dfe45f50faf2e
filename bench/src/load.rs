//! What the loads have in common: sizes of frames, when the next one is due, and what things took.

use std::io;
use std::time::{Duration, Instant};

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
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last * percent.min(100) + 50) / 100).copied()
}

/// Times of one thing done again and again.
#[derive(Debug, Default)]
pub struct Times {
    nanos: Vec<u64>,
    /// How often no answer came.
    lost: u64,
    /// All of them together, with what was between them.
    spent: Duration,
}

impl Times {
    /// Does it for so long, with numbers from `first` on; without an answer it returns `None`.
    ///
    /// # Errors
    ///
    /// As the thing itself.
    pub fn take(
        length: Duration,
        first: u32,
        mut once: impl FnMut(u32) -> io::Result<Option<Duration>>,
    ) -> io::Result<Times> {
        let mut times = Times::default();
        let start = Instant::now();
        for number in first.. {
            if start.elapsed() >= length {
                break;
            }
            match once(number)? {
                Some(time) => times.nanos.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
                None => times.lost += 1,
            }
        }
        times.spent = start.elapsed();
        times.nanos.sort_unstable();
        Ok(times)
    }

    /// A line of JSON; `what` names those that were answered.
    pub fn to_json(&self, what: &str) -> String {
        let [median, p99] = [50, 99].map(|percent| {
            percentile(&self.nanos, percent)
                .map_or("null".into(), |nanos| format!("{:.2}", nanos as f64 / 1e3))
        });
        let (count, lost, spent) = (self.nanos.len(), self.lost, self.spent.as_secs_f64());
        format!(
            r#"{{"{what}": {count}, "lost": {lost}, "seconds": {spent:.4}, "median_us": {median}, "p99_us": {p99}}}"#
        )
    }
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
    fn what_was_lost_is_no_time() {
        let mut answers = [Some(3), None, Some(1), Some(2)].into_iter().cycle();
        let mut numbers = Vec::new();
        let times = Times::take(Duration::from_millis(1), 7, |number| {
            numbers.push(number);
            Ok(answers.next().flatten().map(Duration::from_micros))
        });
        let times = times.expect("no error");
        assert_eq!(numbers.first(), Some(&7), "the first number is the caller's");
        assert_eq!(times.nanos.len() + times.lost as usize, numbers.len());
        assert!(times.nanos.is_sorted());
        let failing = Times::take(Duration::from_secs(1), 0, |_| Err(io::Error::other("broken")));
        assert_eq!(failing.expect_err("its error").to_string(), "broken");
        let json = Times { nanos: vec![1000, 2000, 3000], lost: 1, spent: Duration::from_secs(2) };
        assert_eq!(
            json.to_json("things"),
            r#"{"things": 3, "lost": 1, "seconds": 2.0000, "median_us": 2.00, "p99_us": 3.00}"#
        );
    }

    #[test]
    fn percentiles_of_few_samples() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 50), Some(3));
        assert_eq!(percentile(&[1, 2, 3, 4, 5], 100), Some(5));
    }
}
