//! What commands print with.
//!
//! Data goes to standard output and is all there is when all is well; sentences about what went
//! wrong go to standard error, by [`failure::report`]. Colours are a courtesy to terminals: see
//! [`style`].

use std::io::{self, Write};
use std::time::Duration;

use anyhow::anyhow;

pub mod counters;
pub mod failure;
pub mod network;
pub mod style;
pub mod table;
pub mod tables;
pub mod unit;

use failure::ReaderGone;

/// Writes `text` to standard output.
///
/// # Errors
///
/// [`ReaderGone`], which ends the command quietly, when the reader has closed its end.
pub fn print(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// [`print()`] for bytes.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    written(io::stdout().lock().write_all(bytes))
}

/// What has become of something written to standard output, when the rest of it has left us as well.
///
/// # Errors
///
/// As [`print()`].
pub fn written(result: io::Result<()>) -> anyhow::Result<()> {
    match result.and_then(|()| io::stdout().flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(anyhow!(
            "standard output cannot be written: {error}; check whether its disk is full, or send it elsewhere"
        )),
    }
}

/// Says a sentence on standard error, where data does not go: with a capital and a full stop, as errors have them.
///
/// Nobody may be listening, and then there is nobody to tell that.
pub fn note(sentence: &str) {
    let _ = writeln!(io::stderr(), "netherd: {}", failure::finished(sentence));
}

/// How long [`note_in_passing`] waits for its reader.
const PASSING: Duration = Duration::from_millis(200);

/// [`note`], but without waiting for a reader that may never come: for who has signals and a guest to attend to while
/// standard error is a pipe or a terminal that the guest shares, and may have filled or stopped.
///
/// It is written by a thread of its own, which ends with the process. `O_NONBLOCK` is no way: it would be set for
/// everybody who has the same open file.
pub fn note_in_passing(sentence: &str) {
    let (said, wait) = std::sync::mpsc::channel();
    let sentence = sentence.to_owned();
    let writer = std::thread::Builder::new().name("note".to_owned()).spawn(move || {
        note(&sentence);
        let _ = said.send(());
    });
    if writer.is_ok() {
        let _ = wait.recv_timeout(PASSING);
    }
}

/// Writes `value` as indented JSON and a newline to standard output.
pub fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text)
}
