//! Flows by key, by index, and by age.
//!
//! # Theory of operation
//!
//! A slab of slots, each with a generation that changes when its flow ends, so that a report of the
//! poller that is late finds nobody. A keyed hash leads from what a guest chose to the slot. Each
//! flow is in two lists, both with the oldest first: that of its timeout, whose first flow is the
//! next to expire, and that of its guest, whose first flow is the one that the guest loses when it
//! opens too many.
//!
//! A guest has such a list for each of [`KINDS`] kinds of flows, since there are bounds of one kind alone.
//!
//! A flow moves to the end of its lists at most once a second: a packet costs a comparison. So ages
//! are right to a second, and so are timeouts, which are never shorter than they say.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use engine::Instant;

use crate::GuestKey;
use crate::keyed::Keyed;

const NONE: u32 = u32::MAX;

/// Kinds of flows.
const KINDS: usize = 3;

/// What leads to a flow, and tells its kind.
pub(crate) trait FlowKey: Copy + Eq + Hash {
    /// Below [`KINDS`]. Flows for which no bound of their own holds are of kind 0.
    fn kind(&self) -> usize {
        0
    }
}

/// Activity within this time leaves a flow where it is in the lists.
const GRAIN: Duration = Duration::from_secs(1);

/// The two neighbours of a slot in a list.
#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

const ALONE: Links = Links { previous: NONE, next: NONE };

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List { first: NONE, last: NONE };

/// What a guest has of each kind.
#[derive(Clone, Copy, Debug)]
struct Own {
    lists: [List; KINDS],
    flows: [usize; KINDS],
}

const NO_FLOWS: Own = Own { lists: [EMPTY; KINDS], flows: [0; KINDS] };

impl Own {
    fn all(&self) -> usize {
        self.flows.iter().sum()
    }
}

#[derive(Debug)]
struct Slot<K, T> {
    generation: u32,
    entry: Option<Entry<K, T>>,
}

#[derive(Debug)]
struct Entry<K, T> {
    key: K,
    guest: GuestKey,
    /// Number of its timeout.
    class: usize,
    last: Instant,
    /// In the list of the class, and of the guest.
    links: [Links; 2],
    flow: T,
}

/// Flows of one kind. `CLASSES` timeouts are told apart.
#[derive(Debug)]
pub(crate) struct FlowTable<K, T, const CLASSES: usize> {
    slots: Vec<Slot<K, T>>,
    free: Vec<u32>,
    index: HashMap<K, u32, Keyed>,
    by_class: [List; CLASSES],
    by_guest: HashMap<GuestKey, Own, Keyed>,
    /// Flows of each kind.
    flows: [usize; KINDS],
    timeouts: [Duration; CLASSES],
}

impl<K: FlowKey, T, const CLASSES: usize> FlowTable<K, T, CLASSES> {
    pub(crate) fn new(timeouts: [Duration; CLASSES], keyed: Keyed) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::with_hasher(keyed),
            by_class: [EMPTY; CLASSES],
            by_guest: HashMap::with_hasher(keyed),
            flows: [0; KINDS],
            timeouts,
        }
    }

    #[inline]
    pub(crate) fn find(&self, key: &K) -> Option<u32> {
        self.index.get(key).copied()
    }

    #[inline]
    fn entry(&self, at: u32) -> Option<&Entry<K, T>> {
        self.slots.get(at as usize)?.entry.as_ref()
    }

    #[inline]
    fn entry_mut(&mut self, at: u32) -> Option<&mut Entry<K, T>> {
        self.slots.get_mut(at as usize)?.entry.as_mut()
    }

    #[inline]
    pub(crate) fn get(&self, at: u32) -> Option<&T> {
        self.entry(at).map(|entry| &entry.flow)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.entry_mut(at).map(|entry| &mut entry.flow)
    }

    /// Whose flow it is.
    pub(crate) fn guest(&self, at: u32) -> Option<GuestKey> {
        self.entry(at).map(|entry| entry.guest)
    }

    /// What leads to it.
    pub(crate) fn key(&self, at: u32) -> Option<K> {
        self.entry(at).map(|entry| entry.key)
    }

    /// The generation of a slot that is in use.
    pub(crate) fn generation(&self, at: u32) -> Option<u32> {
        self.slots.get(at as usize).filter(|slot| slot.entry.is_some()).map(|slot| slot.generation)
    }

    /// The slot and generation that the next flow gets.
    pub(crate) fn next_slot(&self) -> (u32, u32) {
        match self.free.last() {
            Some(&at) => (at, self.slots.get(at as usize).map_or(0, |slot| slot.generation)),
            None => (u32::try_from(self.slots.len()).unwrap_or(NONE), 0),
        }
    }

    /// Puts in a flow whose key is not in the table.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        key: K,
        guest: GuestKey,
        class: usize,
        flow: T,
    ) -> u32 {
        let (at, _) = self.next_slot();
        if self.free.pop().is_none() {
            self.slots.push(Slot { generation: 0, entry: None });
        }
        if let Some(slot) = self.slots.get_mut(at as usize) {
            slot.entry = Some(Entry { key, guest, class, last: now, links: [ALONE; 2], flow });
        }
        let old = self.index.insert(key, at);
        debug_assert_eq!(old, None, "a key is in the table once");
        self.link(at);
        at
    }

    /// Takes out a flow.
    pub(crate) fn remove(&mut self, at: u32) -> Option<(K, GuestKey, T)> {
        self.entry(at)?;
        self.unlink(at);
        let slot = self.slots.get_mut(at as usize)?;
        let entry = slot.entry.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(at);
        self.index.remove(&entry.key);
        Some((entry.key, entry.guest, entry.flow))
    }

    /// Something passed: the flow is young again, and has the timeout of `class`.
    #[inline]
    pub(crate) fn touch(&mut self, now: Instant, at: u32, class: usize) {
        let Some(entry) = self.entry(at) else { return };
        if entry.class == class && now.saturating_since(entry.last) < GRAIN {
            return;
        }
        self.unlink(at);
        if let Some(entry) = self.entry_mut(at) {
            entry.last = now;
            entry.class = class;
        }
        self.link(at);
    }

    /// The flow that this guest used longest ago.
    pub(crate) fn oldest_of(&self, guest: GuestKey) -> Option<(u32, Instant)> {
        let lists = self.by_guest.get(&guest)?.lists.iter();
        let oldest = lists.filter_map(|list| Some((list.first, self.entry(list.first)?.last)));
        oldest.min_by_key(|(_, last)| *last)
    }

    /// That of one kind.
    pub(crate) fn oldest_of_kind(&self, guest: GuestKey, kind: usize) -> Option<u32> {
        let first = self.by_guest.get(&guest)?.lists.get(kind)?.first;
        Some(first).filter(|at| *at != NONE)
    }

    /// The flow that was used longest ago of those of the guest that has most.
    pub(crate) fn oldest_of_richest(&self) -> Option<u32> {
        let (richest, _) = self.by_guest.iter().max_by_key(|(_, own)| own.all())?;
        self.oldest_of(*richest).map(|(at, _)| at)
    }

    /// The guest that has most flows of a kind, and how many.
    pub(crate) fn richest_of_kind(&self, kind: usize) -> Option<(GuestKey, usize)> {
        let all = self.by_guest.iter();
        all.filter_map(|(guest, own)| Some((*guest, *own.flows.get(kind)?)))
            .max_by_key(|(_, flows)| *flows)
    }

    /// How many flows of a kind a guest has, and all together.
    pub(crate) fn count_of_kind(&self, guest: GuestKey, kind: usize) -> (usize, usize) {
        let own = self.by_guest.get(&guest).and_then(|own| own.flows.get(kind));
        (own.copied().unwrap_or(0), self.flows.get(kind).copied().unwrap_or(0))
    }

    /// A flow that nothing has passed through for its time.
    pub(crate) fn expired(&self, now: Instant) -> Option<u32> {
        self.heads().find(|(_, deadline)| *deadline <= now).map(|(at, _)| at)
    }

    /// When the next flow expires, if nothing passes.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.heads().map(|(_, deadline)| deadline).min()
    }

    fn heads(&self) -> impl Iterator<Item = (u32, Instant)> + '_ {
        self.by_class.iter().zip(&self.timeouts).filter_map(|(list, timeout)| {
            // The list is ordered by an age that may be a grain too old.
            Some((list.first, self.entry(list.first)?.last + *timeout + GRAIN))
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// All flows: slot, key, guest, last activity.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, K, GuestKey, Instant, &T)> + '_ {
        self.slots.iter().zip(0_u32..).filter_map(|(slot, at)| {
            let entry = slot.entry.as_ref()?;
            Some((at, entry.key, entry.guest, entry.last, &entry.flow))
        })
    }

    fn link(&mut self, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        let (class, guest, kind) = (entry.class, entry.guest, entry.key.kind());
        if let Some(mut list) = self.by_class.get(class).copied() {
            self.push(&mut list, 0, at);
            self.by_class[class] = list;
        }
        let mut own = self.by_guest.get(&guest).copied().unwrap_or(NO_FLOWS);
        self.push(&mut own.lists[kind], 1, at);
        own.flows[kind] += 1;
        self.flows[kind] += 1;
        self.by_guest.insert(guest, own);
    }

    fn unlink(&mut self, at: u32) {
        let Some(entry) = self.entry(at) else { return };
        let (class, guest, kind) = (entry.class, entry.guest, entry.key.kind());
        if let Some(mut list) = self.by_class.get(class).copied() {
            self.cut(&mut list, 0, at);
            self.by_class[class] = list;
        }
        if let Some(mut own) = self.by_guest.get(&guest).copied() {
            self.cut(&mut own.lists[kind], 1, at);
            own.flows[kind] -= 1;
            self.flows[kind] -= 1;
            if own.all() == 0 {
                self.by_guest.remove(&guest);
            } else {
                self.by_guest.insert(guest, own);
            }
        }
    }

    fn push(&mut self, list: &mut List, which: usize, at: u32) {
        let last = list.last;
        if let Some(entry) = self.entry_mut(at) {
            entry.links[which] = Links { previous: last, next: NONE };
        }
        match self.entry_mut(last) {
            Some(entry) => entry.links[which].next = at,
            None => list.first = at,
        }
        list.last = at;
    }

    fn cut(&mut self, list: &mut List, which: usize, at: u32) {
        let Some(entry) = self.entry_mut(at) else { return };
        let Links { previous, next } = std::mem::replace(&mut entry.links[which], ALONE);
        match self.entry_mut(previous) {
            Some(entry) => entry.links[which].next = next,
            None => list.first = next,
        }
        match self.entry_mut(next) {
            Some(entry) => entry.links[which].previous = previous,
            None => list.last = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd ones are of another kind than even ones.
    impl FlowKey for u16 {
        fn kind(&self) -> usize {
            usize::from(self % 2)
        }
    }

    fn table() -> FlowTable<u16, &'static str, 2> {
        let timeouts = [Duration::from_secs(10), Duration::from_secs(100)];
        FlowTable::new(timeouts, Keyed::new([1; 16]))
    }

    fn at(seconds: u64) -> Instant {
        Instant::EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn slots_are_used_again_with_another_generation() {
        let mut table = table();
        let a = table.insert(at(0), 1, GuestKey(1), 0, "a");
        assert_eq!((table.find(&1), table.generation(a)), (Some(a), Some(0)));
        assert_eq!(table.remove(a), Some((1, GuestKey(1), "a")));
        assert_eq!((table.find(&1), table.generation(a), table.remove(a)), (None, None, None));
        assert_eq!(table.next_slot(), (a, 1));
        assert_eq!(table.insert(at(0), 2, GuestKey(1), 0, "b"), a);
        assert_eq!(table.generation(a), Some(1));
    }

    #[test]
    fn the_oldest_expires_first_and_activity_makes_young() {
        let mut table = table();
        let a = table.insert(at(0), 1, GuestKey(1), 0, "a");
        let b = table.insert(at(2), 2, GuestKey(1), 0, "b");
        let c = table.insert(at(3), 3, GuestKey(2), 1, "c");
        assert_eq!(table.next_deadline(), Some(at(11)));
        assert_eq!(table.oldest_of(GuestKey(1)), Some((a, at(0))));
        table.touch(at(4), a, 0);
        assert_eq!(table.oldest_of(GuestKey(1)), Some((b, at(2))));
        assert_eq!(table.next_deadline(), Some(at(13)));
        assert_eq!(table.expired(at(12)), None);
        assert_eq!(table.expired(at(13)), Some(b));
        table.remove(b);
        // A longer timeout from now on.
        table.touch(at(5), a, 1);
        assert_eq!(table.expired(at(100)), None);
        assert_eq!(table.expired(at(104)), Some(c));
        table.remove(c);
        assert_eq!(table.expired(at(105)), None);
        assert_eq!(table.expired(at(106)), Some(a));
        table.remove(a);
        assert_eq!((table.next_deadline(), table.len()), (None, 0));
        assert_eq!(table.oldest_of(GuestKey(1)), None);
    }

    #[test]
    fn whoever_has_most_gives_the_oldest() {
        let mut table = table();
        assert_eq!(table.oldest_of_richest(), None);
        let few = table.insert(at(0), 1, GuestKey(1), 0, "few");
        let many: Vec<u32> =
            (2..5).map(|i| table.insert(at(i.into()), i, GuestKey(2), 0, "many")).collect();
        assert_eq!(table.oldest_of_richest(), Some(many[0]));
        // Activity changes the order, and not how many there are.
        table.touch(at(9), many[0], 1);
        assert_eq!(table.oldest_of_richest(), Some(many[1]));
        for gone in [many[1], many[2], many[0]] {
            table.remove(gone);
        }
        assert_eq!(table.oldest_of_richest(), Some(few));
    }

    #[test]
    fn kinds_are_counted_and_given_up_by_themselves() {
        let (a, b) = (GuestKey(1), GuestKey(2));
        let mut table = table();
        assert_eq!((table.richest_of_kind(1), table.count_of_kind(a, 1)), (None, (0, 0)));
        let even: Vec<u32> =
            [2, 4, 6].map(|key| table.insert(at(key.into()), key, a, 0, "even")).into();
        let odd = table.insert(at(7), 1, a, 0, "odd");
        let other = [3, 5].map(|key| table.insert(at(8), key, b, 0, "odd"));
        assert_eq!((table.count_of_kind(a, 0), table.count_of_kind(a, 1)), ((3, 3), (1, 3)));
        assert_eq!((table.count_of_kind(b, 0), table.count_of_kind(b, 1)), ((0, 3), (2, 3)));
        assert_eq!(
            (table.richest_of_kind(0), table.richest_of_kind(1)),
            (Some((a, 3)), Some((b, 2)))
        );
        assert_eq!(table.oldest_of(a), Some((even[0], at(2))));
        assert_eq!((table.oldest_of_kind(a, 1), table.oldest_of_kind(b, 0)), (Some(odd), None));
        assert_eq!(table.oldest_of_kind(b, 1), Some(other[0]));
        // Activity changes the order, and nothing else.
        for at_ in [even[0], even[1], even[2], other[0]] {
            table.touch(at(20), at_, 1);
        }
        assert_eq!(
            (table.oldest_of(a), table.oldest_of_kind(b, 1)),
            (Some((odd, at(7))), Some(other[1]))
        );
        assert_eq!(table.oldest_of_richest(), Some(odd));
        assert_eq!((table.count_of_kind(a, 0), table.count_of_kind(b, 1)), ((3, 3), (2, 3)));
        table.remove(other[1]);
        table.remove(odd);
        assert_eq!((table.count_of_kind(a, 1), table.count_of_kind(b, 1)), ((0, 1), (1, 1)));
        table.remove(other[0]);
        assert_eq!((table.oldest_of_kind(b, 1), table.count_of_kind(b, 1)), (None, (0, 0)));
    }

    #[test]
    fn the_lists_agree_with_a_sorted_copy() {
        // Every flow that is touched in some order comes out in that order.
        let mut table = table();
        let slots: Vec<u32> =
            (0..50).map(|i| table.insert(at(0), i, GuestKey(u32::from(i % 3)), 0, "")).collect();
        let mut order: Vec<u32> = Vec::new();
        for i in 0..50_u64 {
            let slot = slots[usize::try_from(i * 17 % 50).unwrap()];
            table.touch(at(10 + 2 * i), slot, 0);
            order.push(slot);
        }
        for slot in order {
            let guest = table.guest(slot).unwrap();
            assert_eq!(table.expired(at(1000)), Some(slot));
            assert_eq!(table.oldest_of(guest).unwrap().0, slot);
            table.remove(slot);
        }
        assert_eq!(table.len(), 0);
    }
}
