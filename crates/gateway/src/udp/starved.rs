//! Flows that wait until their guest's queue has room.
//!
//! # Theory of operation
//!
//! Each guest that has such flows has a list of them, and is once in the order of turns. A guest is
//! asked for room by the first flow of its list ([`Starved::next`]). If it has some, the flow leaves
//! the list and the guest goes to the end of the order ([`Starved::goes_on`]); if not, the flow goes
//! to the end of the list, and the guest is out of the order until the call is over
//! ([`Starved::waits`], [`Starved::end`]). So a guest that reads nothing costs one question in each
//! call, however many flows it has, and no other guest waits behind it.
//!
//! Flows that end stay in the list. Those are found out when it is their turn, and all of them when
//! the list has doubled since they were last looked for.

use std::collections::{HashMap, VecDeque};

use crate::GuestKey;
use crate::keyed::Keyed;

/// Length of a list at which flows that have ended are looked for first.
const CLEAN_FIRST: usize = 64;

/// Slot and generation of a flow.
pub(super) type Waiting = (u32, u32);

#[derive(Debug)]
struct List {
    flows: VecDeque<Waiting>,
    /// Length at which those that have ended are taken out.
    clean_at: usize,
}

/// All flows that wait for room.
#[derive(Debug)]
pub(super) struct Starved {
    lists: HashMap<GuestKey, List, Keyed>,
    /// Guests in the order of their turns.
    turns: VecDeque<GuestKey>,
    /// Guests that had no room in this call.
    full: Vec<GuestKey>,
}

impl Starved {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self { lists: HashMap::with_hasher(keyed), turns: VecDeque::new(), full: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// A flow of this guest waits from now on. `is_live` knows flows that have ended.
    pub(super) fn push(
        &mut self,
        guest: GuestKey,
        flow: Waiting,
        is_live: impl Fn(&Waiting) -> bool,
    ) {
        let list = self.lists.entry(guest).or_insert_with(|| {
            self.turns.push_back(guest);
            List { flows: VecDeque::new(), clean_at: CLEAN_FIRST }
        });
        if list.flows.len() >= list.clean_at {
            list.flows.retain(is_live);
            list.clean_at = (2 * list.flows.len()).max(CLEAN_FIRST);
        }
        list.flows.push_back(flow);
    }

    /// The guest whose turn it is, and its first flow. [`Self::goes_on`] or [`Self::waits`] is to
    /// follow.
    pub(super) fn next(&mut self) -> Option<(GuestKey, Waiting)> {
        loop {
            let guest = self.turns.pop_front()?;
            if let Some(flow) = self.lists.get_mut(&guest).and_then(|list| list.flows.pop_front()) {
                return Some((guest, flow));
            }
            self.lists.remove(&guest);
        }
    }

    /// The flow waits no longer; the guest has another turn if it has another flow.
    pub(super) fn goes_on(&mut self, guest: GuestKey) {
        if self.lists.get(&guest).is_some_and(|list| !list.flows.is_empty()) {
            self.turns.push_back(guest);
        } else {
            self.lists.remove(&guest);
        }
    }

    /// There is no room: the guest has no other turn in this call.
    pub(super) fn waits(&mut self, guest: GuestKey, flow: Waiting) {
        if let Some(list) = self.lists.get_mut(&guest) {
            list.flows.push_back(flow);
            self.full.push(guest);
        }
    }

    /// The call is over. True if there are guests that were not asked for room.
    pub(super) fn end(&mut self) -> bool {
        let more = !self.turns.is_empty();
        self.turns.extend(self.full.drain(..));
        more
    }

    /// All flows of a guest have ended.
    pub(super) fn forget(&mut self, guest: GuestKey) {
        if self.lists.remove(&guest).is_some() {
            self.turns.retain(|known| *known != guest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GuestKey = GuestKey(1);
    const B: GuestKey = GuestKey(2);

    fn starved() -> Starved {
        Starved::new(Keyed::new([3; 16]))
    }

    #[test]
    fn guests_take_turns_and_one_without_room_is_asked_once() {
        let mut starved = starved();
        for at in 0..3 {
            starved.push(A, (at, 0), |_| true);
        }
        starved.push(B, (7, 0), |_| true);
        starved.push(B, (8, 0), |_| true);
        assert_eq!(starved.next(), Some((A, (0, 0))));
        starved.waits(A, (0, 0));
        for at in [7, 8] {
            assert_eq!(starved.next(), Some((B, (at, 0))));
            starved.goes_on(B);
        }
        assert_eq!((starved.next(), starved.end()), (None, false));
        // Another flow of the guest is asked first then: it may have another address.
        assert_eq!(starved.next(), Some((A, (1, 0))));
        starved.goes_on(A);
        assert!(starved.end(), "there was more");
        starved.forget(A);
        assert!(starved.is_empty() && starved.next().is_none());
        assert!(!starved.end());
    }

    #[test]
    fn what_has_ended_does_not_pile_up() {
        let mut starved = starved();
        // The same eight slots again and again, while the guest never has room.
        for generation in 0..10_000 {
            for at in 0..8 {
                starved.push(A, (at, generation), |flow| flow.1 == generation);
            }
            let (guest, flow) = starved.next().unwrap();
            starved.waits(guest, flow);
            starved.end();
        }
        assert!(starved.lists[&A].flows.len() <= CLEAN_FIRST);
    }
}
