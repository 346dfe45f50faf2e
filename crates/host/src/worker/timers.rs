//! The worker's own timers: few, and mostly far away.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use engine::{Instant, PortId};

use super::{NetworkId, NodeId};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Handshakes that are not finished by now are closed. One timer for all: clients can begin
    /// and drop them far faster than their time runs out.
    Handshakes,
    /// A link that nobody reports as writable is tried again.
    Retry(NetworkId, PortKey),
    /// Accepting is tried again after descriptors ran out.
    Accept(NodeId),
    /// Datagram clients are looked after.
    Clients(NodeId),
}

/// A port's identifier in an ordered place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortKey(pub(crate) PortId);

impl PartialOrd for PortKey {
    fn partial_cmp(&self, other: &PortKey) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PortKey {
    /// Timers are ordered by time and number; two of the same number do not exist.
    fn cmp(&self, _: &PortKey) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// A heap of deadlines. A timer cannot be taken back: what it names may be gone when it is due,
/// and then nothing happens.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    number: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Instant, timer: Timer) {
        self.number += 1;
        self.heap.push(Reverse((at, self.number, timer)));
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// How many are set.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, _, timer))| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_of_time_then_of_setting() {
        let node = |i| {
            let mut slots = super::super::slots::Slots::new();
            (0..=i).map(|_| NodeId(slots.insert(()))).last().unwrap()
        };
        let at = Instant::from_nanos;
        let mut timers = Timers::default();
        timers.set(at(5), Timer::Accept(node(1)));
        timers.set(at(3), Timer::Accept(node(2)));
        timers.set(at(3), Timer::Accept(node(0)));
        assert_eq!(timers.next(), Some(at(3)));
        assert_eq!(timers.due(at(2)), None);
        assert_eq!(timers.due(at(9)), Some(Timer::Accept(node(2))));
        assert_eq!(timers.due(at(9)), Some(Timer::Accept(node(0))));
        assert_eq!(timers.due(at(9)), Some(Timer::Accept(node(1))));
        assert_eq!(timers.due(at(9)), None);
    }
}
