//! How often the log tells of what one port does wrong.
//!
//! The engine tells of a port's violations once a second. One that goes on with them would fill what the log has
//! for all ports, and keep others' out of it: so of each port there are some lines, and then one in a while. They are kept by
//! the port's place, which a client that closes and comes again gets again, and as many as there are places.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ::nic::limiter::Limiter;
use engine::{Event, PortId};

/// Lines about one port at once, and then one in this time.
const BURST: u32 = 8;
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(in crate::daemon) struct Tellers(HashMap<usize, Limiter>);

impl Tellers {
    /// Whether the log may tell of this.
    pub(in crate::daemon) fn admit(&mut self, event: &Event) -> bool {
        self.admit_at(event, Instant::now())
    }

    fn admit_at(&mut self, event: &Event, now: Instant) -> bool {
        let Some(port) = wrongdoer(event) else { return true };
        let limiter = self.0.entry(port.index());
        limiter.or_insert_with(|| Limiter::new(BURST, INTERVAL, now)).admit(now).is_some()
    }
}

/// The port that did something it may not. That it was cut off, or may send again, is told in any case.
fn wrongdoer(event: &Event) -> Option<PortId> {
    match *event {
        Event::MacMoveRefused { port, .. }
        | Event::MacBoundRefused { port, .. }
        | Event::MacForeignRefused { port, .. }
        | Event::MacLimit { port, .. }
        | Event::MacTableFull { port, .. }
        | Event::Violation { port, .. } => Some(port),
        Event::MacLearned { .. }
        | Event::Quarantined { .. }
        | Event::Released { .. }
        | Event::BindingMade { .. }
        | Event::BindingEnded { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use engine::{Engine, NetworkPlan, NetworkSpec, PortPlan, PortSpec, Reason};
    use wire::MacAddr;

    use super::*;

    #[test]
    fn one_port_keeps_no_other_out_of_the_log() {
        let plan = NetworkPlan::validate(NetworkSpec::default()).expect("valid");
        let mut engine = Engine::new(plan.clone(), [7; 16]);
        let mut port = || {
            let spec = PortPlan::validate(PortSpec::default(), &plan).expect("valid");
            engine.add_port(spec).expect("room")
        };
        let (noisy, quiet) = (port(), port());
        let wrong = |port| Event::MacForeignRefused { port, mac: MacAddr([2, 0, 0, 0, 0, 1]) };
        let (mut tellers, now) = (Tellers::default(), Instant::now());
        let told = (0..100).filter(|_| tellers.admit_at(&wrong(noisy), now)).count();
        assert_eq!(told, BURST as usize);
        assert!(tellers.admit_at(&wrong(quiet), now));
        let until = engine::Instant::from_nanos(1);
        let cut_off = Event::Quarantined { port: noisy, reason: Reason::MacForeign, until };
        assert!(tellers.admit_at(&cut_off, now) && !tellers.admit_at(&wrong(noisy), now));
        assert!(tellers.admit_at(&wrong(noisy), now + INTERVAL));
        assert!(!tellers.admit_at(&wrong(noisy), now + INTERVAL));
    }
}
