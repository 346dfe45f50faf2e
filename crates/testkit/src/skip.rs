//! Saying loudly what was not tested, and why.

use std::io::Write;

/// The variable that names the file which collects the skips of a run; `./test` prints and sums it at the end.
pub const SKIPS: &str = "NETHERD_TEST_SKIPS";

/// Notes that the running test, or a part of it, was skipped for `reason`: on standard error and in the file named by
/// [`SKIPS`]. For what goes on, or returns something; everything else says [`skip!`](crate::skip!).
///
/// # Panics
/// When that file is named and cannot be written: an unreported skip would be a silent one.
pub fn skipped(reason: &str) {
    // The harness gives the thread of a test the test's name.
    let thread = std::thread::current();
    let line = format!("SKIPPED: {}: {reason}\n", thread.name().unwrap_or("main"));
    eprint!("{line}");
    let Some(path) = std::env::var_os(SKIPS) else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    // One write, so that tests running side by side do not mix their lines.
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap_or_else(|error| {
        panic!("the skip could not be noted in {}: {error}", path.display())
    });
}

/// Ends the test here, with the reason noted: `skip!("{program} is not installed")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skipped(&format!($($reason)*));
        return;
    }};
}

/// Takes the value of an `Ok`, or skips with the reason in its `Err`.
#[macro_export]
macro_rules! need {
    ($have:expr) => {
        match $have {
            Ok(value) => value,
            Err(reason) => $crate::skip!("{reason}"),
        }
    };
}
