//! Lines to standard error: under systemd, the journal.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static MUTE: AtomicBool = AtomicBool::new(false);

/// This process says no more: it is a relay of somebody about whom enough was said.
pub(crate) fn mute() {
    MUTE.store(true, Ordering::Relaxed);
}

/// Writes one line. Nothing in it can begin another one.
pub fn say(sentence: &str) {
    if MUTE.load(Ordering::Relaxed) {
        return;
    }
    let line: String =
        sentence.chars().map(|c| if c.is_control() { ' ' } else { c }).take(2000).collect();
    // A log that cannot be written stops nothing.
    let _lost = std::io::stderr().lock().write_all(format!("netherd-nic: {line}\n").as_bytes());
}
