//! A hash table whose keys are chosen by guests.
//!
//! Open addressing with linear probing over 16-byte entries, four to a cache line: one look-up
//! touches one line in the usual case, which a general map with its separate control bytes does
//! not. The hash is SipHash-1-3 with a key that the guests do not know, so that they cannot choose
//! addresses that fall on one line. The table is at most half full; deletion moves the following
//! entries back, so there are no tombstones and a look-up of an absent key is as short as the
//! cluster it falls on.
//!
//! The table doubles when it must, at the insertion that crosses the limit. How often that happens
//! is bounded by the owner's cap on entries, which it checks before it inserts.

use alloc::vec;
use alloc::vec::Vec;
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Marks a key as present, so that no key is zero.
const PRESENT: u64 = 1 << 63;

/// Slots of an empty table; a power of two.
const SLOTS_MIN: usize = 64;

/// A VLAN and an address in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Key(u64);

impl Key {
    /// No key at all, which is in no table.
    pub(crate) const NONE: Self = Self(0);

    /// `vid` is 12 bits (0 for keys that hold in every VLAN), `mac` 48.
    #[inline]
    pub(crate) const fn new(vid: u16, mac: u64) -> Self {
        Self(PRESENT | (vid as u64) << 48 | mac)
    }

    /// The key as one number, for ordered maps.
    #[inline]
    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    /// The key with these bits.
    pub(crate) const fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[inline]
    pub(crate) const fn mac(self) -> u64 {
        self.0 & 0xffff_ffff_ffff
    }

    #[inline]
    pub(crate) const fn vid(self) -> u16 {
        (self.0 >> 48) as u16 & 0xfff
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// Zero when the slot is free.
    key: u64,
    value: u64,
}

/// Where an entry is, until the next insertion or removal. Looking at a stale place is harmless:
/// see [`Keyed::at`].
pub(crate) type Place = u32;

/// A place that no entry has.
pub(crate) const NOWHERE: Place = Place::MAX;

#[derive(Debug)]
pub(crate) struct Keyed {
    entries: Vec<Entry>,
    len: usize,
    hasher: SipHasher13,
}

impl Keyed {
    pub(crate) fn new(hash_key: &[u8; 16]) -> Self {
        Self {
            entries: vec![Entry::default(); SLOTS_MIN],
            len: 0,
            hasher: SipHasher13::new_with_key(hash_key),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots of the table, the range of places.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len()
    }

    #[inline]
    pub(crate) fn hash(&self, key: Key) -> u32 {
        let mut hasher = self.hasher;
        hasher.write_u64(key.0);
        // The low half is as good as the whole for a table of at most 2^31 slots.
        #[expect(clippy::cast_possible_truncation)]
        let hash = hasher.finish() as u32;
        hash
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    /// The place of `key` if it is the first one that a look-up would try, else [`NOWHERE`].
    ///
    /// Reads one entry and does not branch on it: called in a row for a batch of keys, the reads
    /// that miss the cache run at the same time, and the look-ups that follow find their lines
    /// there.
    #[inline]
    pub(crate) fn first_try(&self, key: Key, hash: u32) -> Place {
        let home = self.home(hash);
        #[expect(clippy::cast_possible_truncation)]
        let place = home as Place;
        match self.entries.get(home) {
            Some(entry) if entry.key == key.0 => place,
            _ => NOWHERE,
        }
    }

    /// The value at `place`, if `key` is what is there.
    #[inline]
    pub(crate) fn at(&self, place: Place, key: Key) -> Option<u64> {
        self.entries.get(place as usize).filter(|entry| entry.key == key.0).map(|entry| entry.value)
    }

    /// Where `key` is.
    #[inline]
    pub(crate) fn find(&self, key: Key, hash: u32) -> Option<Place> {
        let mask = self.entries.len() - 1;
        let mut slot = self.home(hash);
        // Ends: at least half of the slots are free.
        loop {
            let found = self.entries.get(slot)?.key;
            if found == key.0 {
                return Place::try_from(slot).ok();
            }
            if found == 0 {
                return None;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The value of `key`.
    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<u64> {
        self.find(key, self.hash(key)).and_then(|place| self.at(place, key))
    }

    /// Key and value at `place`, if any.
    #[inline]
    pub(crate) fn peek(&self, place: usize) -> Option<(Key, u64)> {
        self.entries.get(place).filter(|entry| entry.key != 0).map(|e| (Key(e.key), e.value))
    }

    #[inline]
    pub(crate) fn set(&mut self, place: Place, value: u64) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.value = value;
        }
    }

    /// Adds a key that is not in the table. True if the places of other entries changed.
    pub(crate) fn insert(&mut self, key: Key, value: u64) -> (Place, bool) {
        let grow = (self.len + 1) * 2 > self.entries.len();
        if grow {
            let slots = self.entries.len() * 2;
            let old = core::mem::replace(&mut self.entries, vec![Entry::default(); slots]);
            for entry in old.into_iter().filter(|entry| entry.key != 0) {
                self.put(entry);
            }
        }
        self.len += 1;
        (self.put(Entry { key: key.0, value }), grow)
    }

    fn put(&mut self, new: Entry) -> Place {
        let mask = self.entries.len() - 1;
        let mut slot = self.home(self.hash(Key(new.key)));
        while let Some(entry) = self.entries.get_mut(slot) {
            if entry.key == 0 {
                *entry = new;
                break;
            }
            slot = (slot + 1) & mask;
        }
        Place::try_from(slot).unwrap_or(NOWHERE)
    }

    /// Removes what is at `place`. An entry that follows may move there.
    pub(crate) fn remove_at(&mut self, place: usize) {
        if self.peek(place).is_none() {
            return;
        }
        let mask = self.entries.len() - 1;
        let mut hole = place;
        let mut slot = place;
        loop {
            slot = (slot + 1) & mask;
            let Some((key, _)) = self.peek(slot) else { break };
            // The entry may fill the hole if its home is not behind the hole.
            let home = self.home(self.hash(key));
            if (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(hole) & mask) {
                self.entries.swap(hole, slot);
                hole = slot;
            }
        }
        if let Some(entry) = self.entries.get_mut(hole) {
            *entry = Entry::default();
        }
        self.len -= 1;
    }

    /// Removes every entry that `unwanted` says, and tells how many.
    pub(crate) fn remove_all(&mut self, mut unwanted: impl FnMut(Key, u64) -> bool) -> usize {
        let before = self.len;
        let mut place = 0;
        while place < self.entries.len() {
            match self.peek(place) {
                Some((key, value)) if unwanted(key, value) => self.remove_at(place),
                _ => place += 1,
            }
        }
        before - self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, u64)> + '_ {
        self.entries.iter().filter(|e| e.key != 0).map(|e| (Key(e.key), e.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    #[test]
    fn keys_are_taken_apart_again() {
        let key = Key::new(4094, 0x02ab_cdef_0123);
        assert_eq!((key.vid(), key.mac()), (4094, 0x02ab_cdef_0123));
        assert_ne!(Key::new(0, 0), Key(0));
    }

    proptest! {
        /// The table agrees with an ordered map, whatever is added, changed and removed.
        #[test]
        fn behaves_as_a_map(
            key in any::<[u8; 16]>(),
            actions in prop::collection::vec((0u8..4, 0u64..200, any::<u64>()), 1..600),
        ) {
            let mut table = Keyed::new(&key);
            let mut model = BTreeMap::new();
            for (action, mac, value) in actions {
                let key = Key::new((mac % 3) as u16, mac);
                let found = table.find(key, table.hash(key));
                match (action, found) {
                    (0, Some(place)) => {
                        table.remove_at(place as usize);
                        model.remove(&mac);
                    }
                    (1, Some(place)) => {
                        table.set(place, value);
                        model.insert(mac, value);
                    }
                    (2, _) => {
                        let removed = table.remove_all(|_, v| v % 5 == value % 5);
                        let before = model.len();
                        model.retain(|_, v| *v % 5 != value % 5);
                        prop_assert_eq!(removed, before - model.len());
                    }
                    (_, None) => {
                        let (place, _) = table.insert(key, value);
                        prop_assert_eq!(table.at(place, key), Some(value));
                        model.insert(mac, value);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len, model.len());
                for mac in 0..200 {
                    let key = Key::new((mac % 3) as u16, mac);
                    prop_assert_eq!(table.get(key), model.get(&mac).copied());
                }
            }
            let all: BTreeMap<u64, u64> = table.iter().map(|(k, v)| (k.mac(), v)).collect();
            prop_assert_eq!(all, model);
        }
    }
}
