//! When to open an uplink again that is gone or was not there.

use std::time::Duration;

use engine::Instant;

/// First and longest pause between two attempts.
const FIRST: Duration = Duration::from_millis(200);
const LAST: Duration = Duration::from_secs(10);

/// The pauses grow while nothing comes of it, and begin anew with an uplink that has worked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retry {
    next: Option<Instant>,
    pause: Duration,
}

impl Retry {
    /// It failed, or went away: the next attempt is in a while.
    pub fn failed(&mut self, now: Instant) {
        self.pause = if self.pause.is_zero() { FIRST } else { (self.pause * 2).min(LAST) };
        self.next = Some(now + self.pause);
    }

    /// It is open.
    pub fn opened(&mut self) {
        *self = Self::default();
    }

    /// When it is to be tried again; `None` while it is open.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether it is to be tried now.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.next.is_some_and(|next| next <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_begin_anew() {
        let mut retry = Retry::default();
        let mut now = Instant::from_nanos(0);
        assert_eq!((retry.deadline(), retry.is_due(now)), (None, false));
        let mut pauses = Vec::new();
        for _ in 0..8 {
            retry.failed(now);
            let next = retry.deadline().unwrap();
            assert!(!retry.is_due(now));
            assert!(retry.is_due(next));
            pauses.push(next.saturating_since(now).as_millis());
            now = next;
        }
        assert_eq!(pauses, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
        retry.opened();
        assert_eq!(retry.deadline(), None);
        retry.failed(now);
        assert_eq!(retry.deadline(), Some(now + FIRST));
    }
}
