//! How long a network is served: as long as somebody needs it and a while longer, or until it is stopped.

use std::time::Duration;

use engine::Instant;

use crate::config::IDLE_TIMEOUT;

/// Of one network.
#[derive(Debug)]
pub(in crate::daemon) struct Life {
    opened: Instant,
    /// Nobody needs the network since then.
    idle_since: Option<Instant>,
    /// It is served whether somebody needs it or not.
    stay: bool,
    /// How long it stays when nobody needs it, where that is configured.
    idle: Option<Duration>,
}

impl Life {
    /// A network without a time to stay idle stays.
    pub(super) fn new(idle: Option<Duration>, now: Instant) -> Self {
        Self { opened: now, idle_since: None, stay: idle.is_none(), idle }
    }

    /// What the configuration says holds, whatever a caller of `stay` said before.
    pub(in crate::daemon) fn configure(&mut self, idle: Option<Duration>) {
        (self.stay, self.idle) = (idle.is_none(), idle);
    }

    /// A caller wants the network to stay, or not to.
    pub(in crate::daemon) fn set_stay(&mut self, stay: bool) {
        self.stay = stay;
    }

    /// Whether it stays when nobody needs it.
    pub(in crate::daemon) fn stays(&self) -> bool {
        self.stay
    }

    pub(in crate::daemon) fn uptime(&self, now: Instant) -> Duration {
        now.saturating_since(self.opened)
    }

    /// Whether somebody needs the network now.
    pub(in crate::daemon) fn note(&mut self, needed: bool, now: Instant) {
        if needed {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    /// When the network ends, if nothing happens before.
    pub(in crate::daemon) fn deadline(&self) -> Option<Instant> {
        if self.stay {
            return None;
        }
        Some(self.idle_since? + self.idle.unwrap_or(IDLE_TIMEOUT))
    }

    /// Whether it is to end.
    pub(in crate::daemon) fn is_over(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_network_ends_when_nobody_has_needed_it_for_its_time() {
        let mut life = Life::new(Some(Duration::from_secs(5)), at(1));
        assert_eq!((life.deadline(), life.is_over(at(100))), (None, false), "nobody has looked");
        life.note(false, at(2));
        life.note(false, at(4));
        assert_eq!(life.deadline(), Some(at(7)));
        life.note(true, at(5));
        assert_eq!(life.deadline(), None);
        life.note(false, at(6));
        assert_eq!((life.is_over(at(10)), life.is_over(at(11))), (false, true));
        assert_eq!(life.uptime(at(11)), Duration::from_secs(10));
    }

    #[test]
    fn one_that_stays_does_not_end_and_the_configuration_has_the_last_word() {
        let mut life = Life::new(None, at(1));
        life.note(false, at(2));
        assert!(life.stays() && !life.is_over(at(1_000_000)));
        life.set_stay(false);
        assert_eq!(life.deadline(), Some(at(2) + IDLE_TIMEOUT));
        life.configure(None);
        assert!(life.stays());
        life.configure(Some(Duration::from_secs(3)));
        assert_eq!(life.deadline(), Some(at(5)));
    }
}
