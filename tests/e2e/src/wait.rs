//! Waiting for a state, not for time to pass.

use std::time::{Duration, Instant};

/// How long a state may take that should come at once. Generous: the tests share two cores with a build.
pub const PATIENCE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(5);

/// Asks until an answer comes, at most [`PATIENCE`].
///
/// # Panics
/// When none came, with `what` was waited for.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    until_for(PATIENCE, what, ask)
}

/// Asks until an answer comes, at most `limit`.
///
/// # Panics
/// When none came, with `what` was waited for.
pub fn until_for<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {} s in vain for: {what}", limit.as_secs());
        std::thread::sleep(STEP);
    }
}

/// Asks until the answer is one, at most [`PATIENCE`].
///
/// # Panics
/// When none was, with `what` was waited for and the last thing that was said instead.
pub fn until_ok<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(instead) if Instant::now() >= end => {
                panic!("waited {} s in vain for: {what}: {instead}", PATIENCE.as_secs())
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}
