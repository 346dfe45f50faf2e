//! The daemon's log: one line per event, a level and a sentence, to standard error.
//!
//! In the background standard error is the log file; under systemd it is the journal, which reads the level
//! from a prefix `<N>` (sd-daemon(3)). What a guest can cause is rate limited: it cannot fill the disk.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How important a line is; the numbers are syslog's (RFC 5424 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

impl Level {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// Lines that guests can cause: this many at once, and then one per interval.
const BURST: u32 = 32;
const INTERVAL: Duration = Duration::from_millis(500);

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static GUESTS: Mutex<Option<Limiter>> = Mutex::new(None);

/// A token bucket over lines. Time comes from the caller.
#[derive(Debug)]
struct Limiter {
    tokens: u32,
    last: Instant,
    suppressed: u64,
}

impl Limiter {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, last: now, suppressed: 0 }
    }

    /// Whether a line may be written, and how many were not since the last one.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        let intervals = now.saturating_duration_since(self.last).as_millis() / INTERVAL.as_millis();
        if intervals > 0 {
            let earned = u32::try_from(intervals).unwrap_or(BURST).min(BURST);
            self.tokens = (self.tokens + earned).min(BURST);
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

/// Lines less important than `level` are not written.
pub fn set_level(level: Level) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

fn write(level: Level, sentence: &str) {
    if level as u8 > LEVEL.load(Ordering::Relaxed) {
        return;
    }
    // One write per line, so lines of threads do not mix. A log that cannot be written stops nothing.
    let line = if std::env::var_os("JOURNAL_STREAM").is_some() {
        format!("<{}>{}\n", level as u8, escape(sentence))
    } else {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{} {}: {}\n", timestamp(since), level.word(), escape(sentence))
    };
    let _full = std::io::stderr().lock().write_all(line.as_bytes());
}

/// Names and texts of clients come into sentences; a control character of theirs must not fake a line.
fn escape(sentence: &str) -> String {
    let mut text = String::with_capacity(sentence.len());
    for c in sentence.trim_end().chars() {
        if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// `2026-01-31T23:59:59.123Z` (RFC 3339).
fn timestamp(since: Duration) -> String {
    let days = since.as_secs() / 86_400;
    let second = since.as_secs() % 86_400;
    // Days to a civil date: years that begin in March make the leap day the last of its year.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// Something failed that the daemon's user has to look at.
pub fn error(sentence: &str) {
    write(Level::Error, sentence);
}

/// Something is not as it should be; the daemon goes on.
pub fn warn(sentence: &str) {
    write(Level::Warning, sentence);
}

/// Something happened that the daemon's user did or asked for.
pub fn info(sentence: &str) {
    write(Level::Info, sentence);
}

/// For finding faults.
pub fn debug(sentence: &str) {
    write(Level::Debug, sentence);
}

/// Something that a guest or client caused: as [`info`], rate limited over all of them.
pub fn guest(sentence: &str) {
    let now = Instant::now();
    let Ok(mut limiter) = GUESTS.lock() else { return };
    if let Some(suppressed) = limiter.get_or_insert_with(|| Limiter::new(now)).admit(now) {
        if suppressed > 0 {
            write(Level::Warning, &format!("{suppressed} lines about guests were left out."));
        }
        write(Level::Info, sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_cannot_fill_the_log() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start);
        let written = (0..1000).filter(|_| limiter.admit(start).is_some()).count();
        assert_eq!(written, 32);
        assert_eq!(limiter.admit(start + INTERVAL), Some(968));
        assert_eq!(limiter.admit(start + INTERVAL), None);
        let later = start + INTERVAL * 1000;
        assert_eq!(limiter.admit(later), Some(1));
        assert_eq!(limiter.tokens, BURST - 1, "the bucket never holds more than a burst");
    }

    #[test]
    fn timestamps_are_civil() {
        let at = |seconds| timestamp(Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59.000Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(4_102_444_800), "2100-01-01T00:00:00.000Z");
        assert_eq!(timestamp(Duration::from_millis(1_709_251_199_999)), "2024-02-29T23:59:59.999Z");
    }

    #[test]
    fn a_client_cannot_fake_a_line() {
        assert_eq!(escape("guest x\nerror: y\u{1b}[31m\n"), "guest x\\nerror: y\\u{1b}[31m");
    }
}
