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
    poll(limit, what, || ask().ok_or_else(|| "nothing came".to_owned()))
}

/// Asks until the answer is one, at most [`PATIENCE`].
///
/// # Panics
/// When none was, with `what` was waited for and the last thing that was said instead.
pub fn until_ok<T>(what: &str, ask: impl FnMut() -> Result<T, String>) -> T {
    poll(PATIENCE, what, ask)
}

fn poll<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + limit;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(instead) => {
                assert!(
                    Instant::now() < end,
                    "waited {} s in vain for: {what}: {instead}",
                    limit.as_secs()
                );
            }
        }
        std::thread::sleep(STEP);
    }
}
