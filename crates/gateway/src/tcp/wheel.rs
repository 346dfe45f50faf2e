//! Timers of many connections, at the same cost however many there are.
//!
//! A hierarchical wheel (Varghese and Lauck, 1987): four levels of 64 slots, of 1 ms, 64 ms, 4 s
//! and 262 s. A timer lies on the level whose turn its distance fits, and moves to a finer level
//! when its slot comes up. Each connection has at most one timer in the wheel,
//! the earliest of what it waits for, so that the lists go through arrays of neighbours: nothing is
//! allocated when a timer is set.

use std::time::Duration;

use engine::Instant;

const LEVELS: usize = 4;
const SLOTS: usize = 64;
const NONE: u32 = u32::MAX;
const MILLI: u64 = 1_000_000;

/// A timer's place.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// In milliseconds; meaningful while `slot` is not [`FREE`].
    at: u64,
    previous: u32,
    next: u32,
    slot: u16,
}

const FREE: u16 = u16::MAX;

/// Timers named by small numbers.
#[derive(Debug)]
pub(super) struct Wheel {
    nodes: Vec<Node>,
    heads: [u32; LEVELS * SLOTS],
    /// Which slots of a level have something.
    filled: [u64; LEVELS],
    /// Milliseconds up to which everything was taken out.
    now: u64,
}

impl Wheel {
    pub(super) fn new() -> Self {
        Self { nodes: Vec::new(), heads: [NONE; LEVELS * SLOTS], filled: [0; LEVELS], now: 0 }
    }

    /// Sets the timer `index` to `at`, instead of what it was set to.
    ///
    /// A timer never fires early, and at most a millisecond late.
    pub(super) fn set(&mut self, index: u32, at: Instant) {
        let at = at.as_nanos().div_ceil(MILLI).max(self.now + 1);
        let i = index as usize;
        if i >= self.nodes.len() {
            self.nodes.resize(i + 1, Node { at: 0, previous: NONE, next: NONE, slot: FREE });
        }
        match self.nodes.get(i) {
            Some(node) if node.slot != FREE && node.at == at => return,
            _ => self.clear(index),
        }
        self.put(index, at);
    }

    /// When the timer is set to, in milliseconds rounded up.
    #[cfg(test)]
    fn at(&self, index: u32) -> Option<u64> {
        self.nodes.get(index as usize).filter(|node| node.slot != FREE).map(|node| node.at)
    }

    pub(super) fn clear(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        let (slot, previous, next) = (node.slot, node.previous, node.next);
        if slot == FREE {
            return;
        }
        node.slot = FREE;
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = next;
        } else if let Some(head) = self.heads.get_mut(usize::from(slot)) {
            *head = next;
            if next == NONE {
                self.mark(slot, false);
            }
        }
    }

    fn mark(&mut self, slot: u16, filled: bool) {
        let bit = 1_u64 << (usize::from(slot) % SLOTS);
        if let Some(level) = self.filled.get_mut(usize::from(slot) / SLOTS) {
            *level = if filled { *level | bit } else { *level & !bit };
        }
    }

    fn put(&mut self, index: u32, at: u64) {
        let at = at.max(self.now + 1);
        // What is more than a turn of the last level away waits at its end.
        let reach = at.min(self.now + (1 << (6 * LEVELS as u32)) - 1);
        let level = (63 - (reach - self.now).leading_zeros()) / 6;
        let slot_in_level = (reach >> (6 * level)) as usize % SLOTS;
        let slot = (level as usize * SLOTS + slot_in_level) as u16;
        let next = self.heads.get(usize::from(slot)).copied().unwrap_or(NONE);
        if let Some(node) = self.nodes.get_mut(index as usize) {
            *node = Node { at, previous: NONE, next, slot };
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = index;
        }
        if let Some(head) = self.heads.get_mut(usize::from(slot)) {
            *head = index;
        }
        self.mark(slot, true);
    }

    /// When [`Wheel::pop`] may have something; not later than the earliest timer.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next_stop().map(|at| Instant::EPOCH + Duration::from_millis(at))
    }

    /// The earliest slot that has something: its beginning, in milliseconds.
    fn next_stop(&self) -> Option<u64> {
        let mut best: Option<u64> = None;
        for (level, filled) in self.filled.iter().enumerate() {
            if *filled == 0 {
                continue;
            }
            let shift = 6 * level as u32;
            let here = (self.now >> shift) as u32 % SLOTS as u32;
            // Slots behind the hand, counted from the next one; the one under the hand is a whole
            // turn away.
            let ahead = filled.rotate_right((here + 1) % SLOTS as u32).trailing_zeros();
            let unit = (self.now >> shift) + 1 + u64::from(ahead);
            let at = unit << shift;
            best = Some(best.map_or(at, |best| best.min(at)));
        }
        best
    }

    /// The next timer that is due, which is then no longer set.
    pub(super) fn pop(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos() / MILLI;
        loop {
            let stop = self.next_stop().filter(|stop| *stop <= now);
            let Some(stop) = stop else {
                // Nothing lies between: the hand may go on, one short of what it would skip.
                self.now = self.now.max(now.min(self.next_stop().map_or(now, |next| next - 1)));
                return None;
            };
            // Look at the slots that begin here, the coarse ones first; what is not due moves down.
            self.now = stop - 1;
            for level in (0..LEVELS).rev() {
                let shift = 6 * level as u32;
                if stop & ((1 << shift) - 1) != 0 {
                    continue;
                }
                let slot = level * SLOTS + (stop >> shift) as usize % SLOTS;
                let Some(index) = self.heads.get(slot).copied().filter(|head| *head != NONE) else {
                    continue;
                };
                let at = self.nodes.get(index as usize).map_or(0, |node| node.at);
                self.clear(index);
                if at <= stop {
                    return Some(index);
                }
                // Seen from the slot's own beginning it lies on a finer level.
                self.now = stop;
                self.put(index, at);
                self.now = stop - 1;
                break;
            }
            if self.next_stop().is_none_or(|next| next > stop) {
                self.now = stop;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(ms: u64) -> Instant {
        Instant::EPOCH + Duration::from_millis(ms)
    }

    proptest! {
        /// The wheel fires what an ordered map would, when it would.
        #[test]
        fn behaves_as_a_map(
            start in prop_oneof![Just(0), Just(16_777_200_u64), any::<u32>().prop_map(u64::from)],
            actions in prop::collection::vec(
                (0_u8..4, 0_u32..40, prop_oneof![0_u64..100, 0_u64..10_000, 0_u64..40_000_000]),
                1..200,
            ),
        ) {
            let mut wheel = Wheel::new();
            let mut model = BTreeMap::new();
            let mut now = start;
            prop_assert_eq!(wheel.pop(at(now)), None);
            for (action, index, amount) in actions {
                match action {
                    0 | 1 => {
                        wheel.set(index, at(now + amount));
                        model.insert(index, (now + amount).max(now + 1));
                    }
                    2 => {
                        wheel.clear(index);
                        model.remove(&index);
                    }
                    _ => {
                        now += amount;
                        let mut fired = Vec::new();
                        while let Some(index) = wheel.pop(at(now)) {
                            fired.push(index);
                            prop_assert!(fired.len() <= 40);
                        }
                        let mut due: Vec<u32> =
                            model.iter().filter(|(_, at)| **at <= now).map(|(i, _)| *i).collect();
                        model.retain(|_, at| *at > now);
                        fired.sort_unstable();
                        due.sort_unstable();
                        prop_assert_eq!(fired, due);
                    }
                }
                for index in 0..40 {
                    prop_assert_eq!(wheel.at(index), model.get(&index).copied());
                }
                // It is not woken too late, and not for ever too early.
                let earliest = model.values().min().copied();
                prop_assert_eq!(wheel.next_stop().is_some(), earliest.is_some());
                if let (Some(stop), Some(earliest)) = (wheel.next_stop(), earliest) {
                    prop_assert!(stop <= earliest && stop > now, "{} {} {}", now, stop, earliest);
                }
            }
        }
    }
}
