//! Who may have one more port, and how often refusals are told.

use std::collections::HashMap;
use std::time::Duration;

use ::nic::limiter::Limiter;
use engine::Instant;

/// Handshakes and connections that one user may have unfinished on one node.
pub(crate) const HANDSHAKES_PER_USER: usize = 16;

/// Unfinished handshakes of one node, all users together.
pub(crate) const HANDSHAKES: usize = 128;

/// Refusals told at once, and the time in which one more may be told.
const TOLD_AT_ONCE: u32 = 10;
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Who has how many of the ports that a network gives to anonymous clients, whatever the node they
/// came through. It belongs to the network: nodes come and go with the configuration.
#[derive(Debug, Default)]
pub(crate) struct Users {
    ports: usize,
    ports_of: HashMap<u32, usize>,
}

impl Users {
    /// Whether this user may have one more port.
    ///
    /// # Errors
    /// A sentence why not.
    pub(crate) fn check(
        &self,
        uid: u32,
        max_ports: usize,
        max_per_user: usize,
    ) -> Result<(), String> {
        let has = self.ports_of.get(&uid).copied().unwrap_or(0);
        if has >= max_per_user {
            return Err(format!(
                "user {uid} already has {has} ports of this network, which is the limit per user; \
                 close one or raise ports_per_user"
            ));
        }
        if self.ports >= max_ports {
            return Err(format!(
                "clients of nodes already have {} ports, and the others of this network are kept \
                 for guests and declared ports; close one or raise ports",
                self.ports
            ));
        }
        Ok(())
    }

    pub(crate) fn opened(&mut self, uid: u32) {
        self.ports += 1;
        *self.ports_of.entry(uid).or_default() += 1;
    }

    pub(crate) fn closed(&mut self, uid: u32) {
        self.ports = self.ports.saturating_sub(1);
        lower(&mut self.ports_of, uid);
    }
}

/// The books of one node.
#[derive(Debug)]
pub(crate) struct Admission {
    ports: usize,
    handshakes: usize,
    handshakes_of: HashMap<u32, usize>,
    /// Of refusals.
    lines: Limiter,
}

impl Admission {
    pub(crate) fn new() -> Admission {
        Admission {
            ports: 0,
            handshakes: 0,
            handshakes_of: HashMap::new(),
            lines: Limiter::new(TOLD_AT_ONCE, TOLD_EVERY),
        }
    }

    /// Whether a declared port's node may have one more connection.
    ///
    /// # Errors
    /// A sentence why not.
    pub(crate) fn check(&self, node: &str, max_ports: usize) -> Result<(), String> {
        if self.ports >= max_ports {
            return Err(format!(
                "{node} already has {} ports, which is its limit; close one or raise connections",
                self.ports
            ));
        }
        Ok(())
    }

    pub(crate) fn opened(&mut self) {
        self.ports += 1;
    }

    pub(crate) fn closed(&mut self) {
        self.ports = self.ports.saturating_sub(1);
    }

    /// Whether this user may begin one more handshake.
    ///
    /// # Errors
    /// A sentence why not.
    pub(crate) fn begin_handshake(&mut self, node: &str, uid: u32) -> Result<(), String> {
        let of_user = self.handshakes_of.get(&uid).copied().unwrap_or(0);
        if self.handshakes >= HANDSHAKES || of_user >= HANDSHAKES_PER_USER {
            return Err(format!(
                "user {uid} has {of_user} connections to {node} that have not said what they want; finish or close \
                them"
            ));
        }
        self.handshakes += 1;
        *self.handshakes_of.entry(uid).or_default() += 1;
        Ok(())
    }

    pub(crate) fn end_handshake(&mut self, uid: u32) {
        self.handshakes = self.handshakes.saturating_sub(1);
        lower(&mut self.handshakes_of, uid);
    }

    /// The refusal as it may be told now; `None` when too many were told lately. What was kept
    /// back is counted in the next one.
    pub(crate) fn tell(&mut self, now: Instant, mut why: String) -> Option<String> {
        let untold = self.lines.admit(now.as_nanos())?;
        if untold > 0 {
            why.push_str(&format!(" ({untold} more refusals were not logged)"));
        }
        Some(why)
    }
}

fn lower(counts: &mut HashMap<u32, usize>, uid: u32) {
    if let Some(count) = counts.get_mut(&uid) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&uid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_take_all_ports() {
        let mut users = Users::default();
        for _ in 0..3 {
            users.check(1000, 4, 3).unwrap();
            users.opened(1000);
        }
        let why = users.check(1000, 4, 3).unwrap_err();
        assert!(why.contains("user 1000") && why.contains("3 ports"), "{why}");
        users.check(1001, 4, 3).unwrap();
        users.opened(1001);
        assert!(users.check(1002, 4, 3).unwrap_err().contains("kept for guests"));
        users.closed(1000);
        users.check(1000, 4, 3).unwrap();
    }

    #[test]
    fn a_declared_port_has_as_many_connections_as_it_may() {
        let mut a = Admission::new();
        a.check("ports/web/stream", 1).unwrap();
        a.opened();
        assert!(a.check("ports/web/stream", 1).unwrap_err().contains("ports/web/stream"));
        a.closed();
        a.check("ports/web/stream", 1).unwrap();
    }

    #[test]
    fn unfinished_handshakes_are_bounded_per_user() {
        let mut a = Admission::new();
        for _ in 0..HANDSHAKES_PER_USER {
            a.begin_handshake("ctl", 7).unwrap();
        }
        assert!(a.begin_handshake("ctl", 7).is_err());
        a.begin_handshake("ctl", 8).unwrap();
        a.end_handshake(7);
        a.begin_handshake("ctl", 7).unwrap();
        a.end_handshake(99);
    }

    #[test]
    fn refusals_are_told_at_a_bounded_rate() {
        let mut a = Admission::new();
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let told = (0..100).filter(|_| a.tell(at(5), "no".into()).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(a.tell(at(900), "no".into()), None);
        let next = a.tell(at(1005), "no".into()).unwrap();
        assert_eq!(next, "no (91 more refusals were not logged)");
        assert_eq!(a.tell(at(1006), "no".into()), None);
    }
}
