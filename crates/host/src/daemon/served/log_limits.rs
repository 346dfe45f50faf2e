//! How often the log tells of what one port does wrong.
//!
//! The engine tells of a port's violations once a second. One that goes on with them would fill what the log has
//! for all ports, and keep others' out of it: so of each port there are some lines, and then one in a while. They are kept by
//! the port's place, which a client that closes and comes again gets again, and as many as there are places. What is
//! not told is counted, so that the next line says how many there were.

use std::collections::HashMap;
use std::time::Duration;

use ::nic::limiter::Limiter;
use engine::{Event, PortId};

/// Lines about one port at once, and then one in this time.
const BURST: u32 = 8;
const INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(in crate::daemon) struct Tellers(HashMap<usize, Teller>);

#[derive(Debug)]
struct Teller {
    limiter: Limiter,
    /// Violations of the events that were not told, and the port that committed them.
    untold: u32,
    of: PortId,
}

impl Tellers {
    /// Whether the log may tell of this. What it is told includes what it was not told before.
    pub(in crate::daemon) fn admit(&mut self, event: &mut Event) -> bool {
        self.admit_at(event, sys::clock::monotonic_nanos())
    }

    fn admit_at(&mut self, event: &mut Event, now: u64) -> bool {
        let Some(port) = wrongdoer(event) else { return true };
        let teller = self.0.entry(port.index());
        let limiter = || Limiter::new(BURST, INTERVAL);
        let teller = teller.or_insert_with(|| Teller { limiter: limiter(), untold: 0, of: port });
        if teller.of != port {
            (teller.untold, teller.of) = (0, port);
        }
        let admitted = teller.limiter.admit(now).is_some();
        if let Event::Violation { since, .. } = event {
            *since = since.saturating_add(std::mem::take(&mut teller.untold));
            if !admitted {
                teller.untold = *since;
            }
        }
        admitted
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
    use engine::{Engine, Fate, NetworkPlan, NetworkSpec, PortPlan, PortSpec, Reason, Summary};
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
        let summary = Summary {
            source: MacAddr([2, 0, 0, 0, 0, 1]),
            destination: MacAddr::BROADCAST,
            vlan: 1,
            ethertype: 0x0800,
            addresses: None,
            transport: None,
            len: 60,
        };
        let forged = |port| Event::MacForeignRefused { port, mac: summary.source, summary };
        let wrong = |port, since| Event::Violation {
            port,
            reason: Reason::Ipv4Source,
            fate: Fate::Dropped,
            summary,
            since,
        };
        let (mut tellers, now) = (Tellers::default(), 1);
        let interval = INTERVAL.as_nanos() as u64;
        let told = (0..100).filter(|_| tellers.admit_at(&mut forged(noisy), now)).count();
        assert_eq!(told, BURST as usize);
        assert!(tellers.admit_at(&mut wrong(quiet, 1), now));
        let until = engine::Instant::from_nanos(1);
        let mut cut_off = Event::Quarantined { port: noisy, reason: Reason::MacForeign, until };
        assert!(tellers.admit_at(&mut cut_off, now));
        assert!(!tellers.admit_at(&mut wrong(noisy, 3), now));
        assert!(!tellers.admit_at(&mut wrong(noisy, 4), now));
        // The line about one counts those that had none.
        let mut event = wrong(noisy, 5);
        assert!(tellers.admit_at(&mut event, now + interval));
        assert_eq!(event, wrong(noisy, 12));
        assert!(!tellers.admit_at(&mut wrong(noisy, 1), now + interval));
        let mut event = wrong(noisy, 1);
        assert!(tellers.admit_at(&mut event, now + interval * 2));
        assert_eq!(event, wrong(noisy, 2));
        let mut event = wrong(quiet, 7);
        assert!(tellers.admit_at(&mut event, now + interval * 2));
        assert_eq!(event, wrong(quiet, 7));
    }
}
