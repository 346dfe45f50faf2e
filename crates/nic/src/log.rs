//! Lines to standard error: under systemd, the journal.

use std::io::Write;

/// Writes one line. Nothing in it can begin another one.
pub fn say(sentence: &str) {
    let line: String =
        sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2000).collect();
    // A log that cannot be written stops nothing.
    let _lost = std::io::stderr().lock().write_all(format!("netherd-nic: {line}\n").as_bytes());
}
