//! The worker's own timers: few, and mostly far away.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use engine::{Instant, PortId};

use super::{NetworkId, NodeId};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Handshakes that are not finished by now are closed. One timer for all: clients can begin
    /// and drop them far faster than their time runs out.
    Handshakes,
    /// A link that nobody reports as writable is tried again.
    Retry(NetworkId, PortId),
    /// A link that recovered is looked at.
    Look(NetworkId, PortId),
    /// Accepting is tried again after descriptors ran out.
    Accept(NodeId),
    /// Datagram clients are looked after.
    Clients(NodeId),
    /// Nobody reads any more what a link that is gone has lent.
    Retired,
}

/// A timer that is set. Its place among others is when it is due, and of those due together, which
/// was set first: no two have the same number.
#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    timer: Timer,
}

impl Entry {
    fn place(&self) -> (Instant, u64) {
        (self.at, self.number)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.place().cmp(&other.place())
    }
}

/// A heap of deadlines. A timer cannot be taken back: what it names may be gone when it is due,
/// and then nothing happens.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<Entry>>,
    number: u64,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, timer: Timer) {
        self.number += 1;
        self.heap.push(Reverse(Entry { at, number: self.number, timer }));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// How many are set.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.timer)
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
