//! Counters that may not move unannounced.
//!
//! After each step of a scenario the test names every counter that moved, on every port, and by how
//! much. One that moved without being named, or was named and did not move, fails the test and the
//! port's counters are printed. So a test cannot overlook a second copy, a drop, or a frame that
//! was counted twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use engine::{Engine, PortCounters, PortId, Reason, Side};

/// The counters of all ports as they were after the last step.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    seen: BTreeMap<PortId, PortCounters>,
}

impl Ledger {
    /// Takes the counters as they are.
    #[track_caller]
    pub fn forget(&mut self, engine: &Engine, names: &[(String, PortId)]) {
        for (_, id) in names {
            if let Some(now) = engine.port_counters(*id) {
                self.seen.insert(*id, now.clone());
            }
        }
        conservation(engine);
    }

    /// Compares with the last step. `expected` has one line per port whose counters moved: its
    /// name, and the counters with what was added, `rx_bytes+60`; without a number, one.
    ///
    /// # Panics
    ///
    /// If anything moved otherwise, with the differences and the counters of the ports concerned.
    #[track_caller]
    pub fn moved(&mut self, engine: &Engine, names: &[(String, PortId)], expected: &[&str]) {
        let mut wanted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for line in expected {
            let mut words = line.split_whitespace();
            let port = words.next().expect("a port's name");
            for word in words {
                let (counter, count) = word.split_once('+').unwrap_or((word, "1"));
                let count = count.parse().expect("a number behind the +");
                assert!(wanted.insert((port, counter), count).is_none(), "{word} is named twice");
            }
        }
        let mut complaint = String::new();
        for (name, id) in names {
            let Some(now) = engine.port_counters(*id) else { continue };
            let before = self.seen.entry(*id).or_default();
            let mut wrong = false;
            for ((counter, is), (_, was)) in now.iter().zip(before.iter()) {
                let (moved, want) = (is - was, wanted.remove(&(name, counter)).unwrap_or(0));
                if moved != want {
                    wrong = true;
                    let _ = writeln!(complaint, "{name}: {counter} moved by {moved}, not {want}");
                }
            }
            if wrong {
                let _ = writeln!(complaint, "{}", Shown(name, now));
            }
            *before = now.clone();
        }
        for (port, counter) in wanted.keys() {
            let _ =
                writeln!(complaint, "{port} has no counter {counter}, or there is no such port");
        }
        assert!(complaint.is_empty(), "counters moved otherwise than announced:\n{complaint}");
        conservation(engine);
    }
}

struct Shown<'a>(&'a str, &'a PortCounters);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "  {}:", self.0)?;
        self.1.iter().filter(|(_, n)| *n > 0).try_for_each(|(name, n)| write!(f, " {name}={n}"))
    }
}

/// Holds the engine's counters against the conservation laws of `engine::PortCounters`: every frame
/// that was read has one verdict, and every copy that was offered is queued, taken or counted as
/// dropped.
///
/// # Panics
///
/// If a law is broken.
#[track_caller]
pub fn conservation(engine: &Engine) {
    let mut all = engine.retired_counters().clone();
    for port in engine.ports() {
        let counters = engine.port_counters(port).expect("a live port");
        let waiting = engine.queue_len(port).0 as u64;
        balanced(&port.to_string(), counters, waiting);
        all += counters;
    }
    let retired = engine.retired_counters();
    balanced("removed ports", retired, retired.dropped(Reason::LinkClosed));
    assert_eq!(
        all.tx_offered,
        all.rx_forwarded + all.rx_copies + all.tx_own,
        "copies offered are copies decided"
    );
}

#[track_caller]
fn balanced(name: &str, c: &PortCounters, waiting: u64) {
    let ingress: u64 =
        Reason::ALL.into_iter().filter(|r| r.side() == Side::Ingress).map(|r| c.dropped(r)).sum();
    let shown = Shown(name, c);
    let ended = c.rx_forwarded + c.rx_flooded + c.rx_answered + c.rx_consumed;
    assert_eq!(c.rx_frames, ended + ingress, "one verdict each\n{shown}");
    let refused = [
        Reason::QueueFull,
        Reason::QueueShare,
        Reason::NotAddressed,
        Reason::NotDestination,
        Reason::FilterOut,
    ];
    let refused: u64 = refused.into_iter().map(|reason| c.dropped(reason)).sum();
    assert_eq!(c.tx_offered, c.tx_queued + refused, "queued or refused\n{shown}");
    let spoiled = c.dropped(Reason::NoHeader) + c.dropped(Reason::SegmentFailed);
    assert_eq!(c.tx_queued, c.tx_taken + waiting + spoiled, "taken, waiting or spoiled\n{shown}");
}
