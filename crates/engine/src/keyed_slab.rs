//! A table whose keys are chosen by guests and whose entries have a number.
//!
//! Entries lie in a slab and keep their number until they are removed, so that timers, queues and
//! caches can name them. An index of eight-byte slots, eight to a cache line, finds the number of a
//! key: open addressing with linear probing, at most half full, deletion by moving back, as in
//! `keyed`. A slot holds 32 bits of the keyed hash (SipHash-1-3), so that a look-up reads one slot
//! and then one entry, and an absent key is told from the slots alone.
//!
//! The table grows at the insertion that needs it. How far is bounded by its owner.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use siphasher::sip::SipHasher13;

/// Slots of an empty index; a power of two.
const SLOTS_MIN: usize = 16;

/// The number of an entry.
pub(crate) type Number = u32;

/// A slot that holds nothing, and a number that no entry has.
pub(crate) const NO_NUMBER: Number = Number::MAX;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    number: Number,
}

const FREE: Slot = Slot { hash: 0, number: NO_NUMBER };

#[derive(Debug)]
pub(crate) struct KeyedSlab<K, V> {
    slots: Vec<Slot>,
    entries: Vec<Option<(K, V)>>,
    free: Vec<Number>,
    hasher: SipHasher13,
}

impl<K: Copy + Eq + Hash, V> KeyedSlab<K, V> {
    pub(crate) fn new(hash_key: &[u8; 16]) -> Self {
        Self {
            slots: vec![FREE; SLOTS_MIN],
            entries: Vec::new(),
            free: Vec::new(),
            hasher: SipHasher13::new_with_key(hash_key),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers are below this.
    pub(crate) fn numbers(&self) -> usize {
        self.entries.len()
    }

    fn hash(&self, key: &K) -> u32 {
        let mut hasher = self.hasher;
        key.hash(&mut hasher);
        // The low half is as good as the whole for an index of at most 2^32 slots.
        #[expect(clippy::cast_possible_truncation)]
        let hash = hasher.finish() as u32;
        hash
    }

    fn mask(&self) -> usize {
        self.slots.len() - 1
    }

    /// The slot of `key`.
    fn slot_of(&self, key: &K) -> Option<usize> {
        let hash = self.hash(key);
        let mut at = hash as usize & self.mask();
        // Ends: at least half of the slots are free.
        loop {
            let slot = *self.slots.get(at)?;
            if slot.number == NO_NUMBER {
                return None;
            }
            if slot.hash == hash && self.key(slot.number) == Some(key) {
                return Some(at);
            }
            at = (at + 1) & self.mask();
        }
    }

    /// The number of `key`.
    #[inline]
    pub(crate) fn find(&self, key: &K) -> Option<Number> {
        if self.is_empty() {
            return None;
        }
        self.slots.get(self.slot_of(key)?).map(|slot| slot.number)
    }

    fn key(&self, number: Number) -> Option<&K> {
        self.entries.get(number as usize)?.as_ref().map(|(key, _)| key)
    }

    /// The entry with this number.
    #[inline]
    pub(crate) fn at(&self, number: Number) -> Option<&(K, V)> {
        self.entries.get(number as usize)?.as_ref()
    }

    /// The value of the entry with this number.
    #[inline]
    pub(crate) fn at_mut(&mut self, number: Number) -> Option<(K, &mut V)> {
        self.entries.get_mut(number as usize)?.as_mut().map(|(key, value)| (*key, value))
    }

    /// Adds a key that is not in the table.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Number {
        if (self.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Number::try_from(self.entries.len() - 1).unwrap_or(NO_NUMBER)
        });
        if let Some(entry) = self.entries.get_mut(number as usize) {
            *entry = Some((key, value));
        }
        self.put(Slot { hash: self.hash(&key), number });
        number
    }

    fn grow(&mut self) {
        let slots = vec![FREE; self.slots.len() * 2];
        for slot in core::mem::replace(&mut self.slots, slots) {
            if slot.number != NO_NUMBER {
                self.put(slot);
            }
        }
    }

    fn put(&mut self, new: Slot) {
        let mask = self.mask();
        let mut at = new.hash as usize & mask;
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.number == NO_NUMBER {
                *slot = new;
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// Removes a key and gives what it had.
    pub(crate) fn remove(&mut self, key: &K) -> Option<(Number, V)> {
        let mut hole = self.slot_of(key)?;
        let mask = self.mask();
        let number = self.slots.get(hole)?.number;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = *self.slots.get(at)?;
            if slot.number == NO_NUMBER {
                break;
            }
            // The slot may fill the hole if its home is not behind the hole.
            let home = slot.hash as usize & mask;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots.swap(hole, at);
                hole = at;
            }
        }
        *self.slots.get_mut(hole)? = FREE;
        let (_, value) = self.entries.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some((number, value))
    }

    /// Every entry with its number, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Number, &K, &V)> + '_ {
        self.entries.iter().enumerate().filter_map(|(number, entry)| {
            let (key, value) = entry.as_ref()?;
            Some((Number::try_from(number).ok()?, key, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        /// The table agrees with an ordered map, and numbers stay.
        #[test]
        fn behaves_as_a_map(
            key in any::<[u8; 16]>(),
            actions in prop::collection::vec((0u8..3, 0u16..120, any::<u32>()), 1..400),
        ) {
            let mut table = KeyedSlab::new(&key);
            let mut model: BTreeMap<u16, (Number, u32)> = BTreeMap::new();
            for (action, key, value) in actions {
                match (action, model.get(&key).copied()) {
                    (0, known) => {
                        prop_assert_eq!(table.remove(&key), known);
                        model.remove(&key);
                    }
                    (_, None) => {
                        let number = table.insert(key, value);
                        model.insert(key, (number, value));
                    }
                    (_, Some((number, _))) => {
                        *table.at_mut(number).expect("an entry").1 = value;
                        model.insert(key, (number, value));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for key in 0..120 {
                    let found = table.find(&key);
                    prop_assert_eq!(found, model.get(&key).map(|(number, _)| *number));
                }
            }
            let all: BTreeMap<u16, (Number, u32)> =
                table.iter().map(|(number, key, value)| (*key, (number, *value))).collect();
            prop_assert_eq!(all, model);
        }
    }
}
