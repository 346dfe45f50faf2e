//! The daemon's log: one line per event, a level and a sentence, to standard error.
//!
//! In the background standard error is the log file; under systemd it is the journal, which reads the level
//! from a prefix `<N>` (sd-daemon(3)). What a guest can cause is rate limited: it cannot fill the disk.
//!
//! # Theory of operation
//!
//! Writing can wait for as long as the reader likes: a terminal that is stopped (which a guest that shares it can do), a
//! pipe that nobody reads, a log file on a server that is away. So once frames are moved ([`start`]), a thread writes,
//! from a bounded queue, and whoever has something to say never waits. Lines that find the queue full are counted, and
//! the next one that is written is preceded by their number.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::nic::limiter::Limiter;

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

/// Lines that wait to be written.
const QUEUE: usize = 256;

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static GUESTS: Mutex<Option<Limiter>> = Mutex::new(None);
/// Of its own, so that who comes and goes cannot keep others' violations out of the log.
static FRAMES: Mutex<Option<Limiter>> = Mutex::new(None);
static WRITER: OnceLock<Writer> = OnceLock::new();

enum Item {
    Line(String),
    /// Everything before it was written.
    Mark(SyncSender<()>),
}

/// The thread that writes, seen from the others.
#[derive(Debug)]
struct Writer {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Writer {
    fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (queue, items) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("log".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || Self::run(out, &items, &theirs))?;
        Ok(Self { queue, lost })
    }

    /// A log that cannot be written stops nothing.
    fn run(mut out: impl Write, items: &Receiver<Item>, lost: &AtomicU64) {
        while let Ok(item) = items.recv() {
            let count = lost.swap(0, Ordering::Relaxed);
            if count > 0 {
                let why = "were lost, because the log was written too slowly.";
                let _full =
                    out.write_all(form(Level::Warning, &format!("{count} lines {why}")).as_bytes());
            }
            match item {
                Item::Line(line) => {
                    let _full = out.write_all(line.as_bytes());
                }
                Item::Mark(done) => {
                    let _gone = done.send(());
                }
            }
        }
    }

    fn put(&self, line: String) {
        if self.queue.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything was written, for a time.
    fn flush(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Item::Mark(done)).is_ok() {
            let _late = wait.recv_timeout(patience);
        }
    }
}

/// From now on lines are written by a thread. Where none can be had, they are written as before.
pub fn start() {
    // Not through `std::io::stderr`, whose lock would be held while a line waits.
    let writer = std::io::stderr().as_fd().try_clone_to_owned().map(File::from);
    match writer.and_then(Writer::start) {
        Ok(writer) => drop(WRITER.set(writer)),
        Err(error) => warn(&format!("The log has no thread of its own ({error}).")),
    }
}

/// Waits for the last lines to be written, for a time.
pub fn finish(patience: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.flush(patience);
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
    let line = form(level, sentence);
    match WRITER.get() {
        Some(writer) => writer.put(line),
        // One write per line, so lines of threads do not mix. A log that cannot be written stops nothing.
        None => drop(std::io::stderr().lock().write_all(line.as_bytes())),
    }
}

fn form(level: Level, sentence: &str) -> String {
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        format!("<{}>{}\n", level as u8, escape(sentence))
    } else {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{} {}: {}\n", timestamp(since), level.word(), escape(sentence))
    }
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
    limited(&GUESTS, sentence);
}

/// Something that a guest caused by its frames, likewise.
pub fn frames(sentence: &str) {
    limited(&FRAMES, sentence);
}

fn limited(limiter: &Mutex<Option<Limiter>>, sentence: &str) {
    let Ok(mut limiter) = limiter.lock() else { return };
    let limiter = limiter.get_or_insert_with(|| Limiter::new(BURST, INTERVAL));
    if let Some(suppressed) = limiter.admit(sys::clock::monotonic_nanos()) {
        if suppressed > 0 {
            write(Level::Warning, &format!("{suppressed} lines about guests were not logged."));
        }
        write(Level::Info, sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A guest that shares the terminal of `netherd up` stops it; nobody who has something to say waits for that.
    #[test]
    fn a_log_that_nobody_reads_stops_nobody() {
        use std::io::{BufRead, BufReader};
        let (reader, out) = std::io::pipe().unwrap();
        let writer = Writer::start(out).unwrap();
        // More than a pipe holds.
        let long = "x".repeat(1000);
        let said: usize = 2000;
        for n in 0..said {
            writer.put(format!("{n} {long}\n"));
        }
        writer.flush(Duration::ZERO);
        let queue = writer.queue.clone();
        let end = std::thread::spawn(move || queue.send(Item::Line("end\n".to_owned())).unwrap());
        let mut lines = 0;
        let mut lost = 0;
        for line in BufReader::new(reader).lines().map(Result::unwrap) {
            match line.split_once(" lines were lost") {
                Some((before, _)) => {
                    lost += before.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
                }
                None if line == "end" => break,
                None => lines += 1,
            }
        }
        end.join().unwrap();
        assert!(lost >= said - QUEUE - 100, "{lost} lines found the queue full");
        assert_eq!(lines + lost, said, "what was lost was counted");
        // Now it is read, and waiting for it ends.
        writer.flush(Duration::from_secs(20));
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
