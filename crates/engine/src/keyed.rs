//! A hash table whose keys are chosen by guests.
//!
//! Open addressing with linear probing over 16-byte entries, four to a cache line. A look-up begins at
//! the first entry of a line and compares all four without a branch between them: in a table that is
//! half full, one key in four is not in the first place that it could be in, and guessing which costs
//! more than looking. So one look-up touches one line in the usual case, which a general map with its
//! separate control bytes does not. The table is at most half full; deletion moves the following entries back, so there are no
//! tombstones and a look-up of an absent key is as short as the cluster it falls on.
//!
//! # The hash
//!
//! Guests choose the keys, so the hash has a secret key. It is `(a k + b) mod 2^128`, of which a look-up
//! takes the lowest bits of the upper 32, with secret 128-bit `a` and `b`: a strongly universal family
//! (Dietzfelbinger 1996), so that whoever does not know the secret cannot choose two addresses that meet
//! more often than chance has it. SipHash promises more, that the secret stays one whatever is observed.
//! Here that would protect little, because what a guest can gain is bounded by how many addresses it may
//! have: a port that may learn 16 can make a chain of four cache lines. And it would be most of a look-up:
//! 90 instructions against 9, two or three times for every frame.
//!
//! The table doubles when it must, at the insertion that crosses the limit. How often that happens
//! is bounded by the owner's cap on entries, which it checks before it inserts.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

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

    /// The key of an address, of 48 bits, in the VLAN of a key that has none.
    #[inline]
    pub(crate) const fn with(self, mac: u64) -> Self {
        Self(self.0 | mac)
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

    /// The same address in every VLAN.
    #[inline]
    pub(crate) const fn anywhere(self) -> Self {
        Self::new(0, self.mac())
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

/// Entries of a cache line; a power of two.
const LINE: usize = 4;

/// Lines of a table that stays near: half of a second-level cache of 512 KiB.
const LINES_NEAR: usize = 4096;

/// A cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line([Entry; LINE]);

impl Line {
    /// Which entry of the line is that of the key; any one if none is. Which one cannot be guessed, so
    /// this is calculated, without a branch.
    #[inline]
    fn nth(&self, key: Key) -> usize {
        let [_, b, c, d] = &self.0;
        let is = |entry: &Entry| usize::from(entry.key == key.0);
        is(b) | (is(c) * 2) | (is(d) * 3)
    }
}

/// Where an entry is, until the next insertion or removal. Looking at a stale place is harmless:
/// see [`Keyed::at`].
pub(crate) type Place = u32;

/// A place that no entry has.
pub(crate) const NOWHERE: Place = Place::MAX;

/// The secret of a table.
#[derive(Clone, Copy)]
struct Secret {
    a: u128,
    b: u128,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// 256 bits from 128, by SipHash as a pseudo-random function.
    fn new(hash_key: &[u8; 16]) -> Self {
        let sip = SipHasher13::new_with_key(hash_key);
        let word = |number: u8| u128::from(sip.hash(&[number]));
        Self { a: word(0) << 64 | word(1), b: word(2) << 64 | word(3) }
    }

    #[inline]
    fn hash(self, key: u64) -> u32 {
        (self.a.wrapping_mul(u128::from(key)).wrapping_add(self.b) >> 96) as u32
    }
}

#[derive(Debug)]
pub(crate) struct Keyed {
    lines: Vec<Line>,
    len: usize,
    secret: Secret,
}

impl Keyed {
    pub(crate) fn new(hash_key: &[u8; 16]) -> Self {
        Self {
            lines: vec![Line::default(); SLOTS_MIN / LINE],
            len: 0,
            secret: Secret::new(hash_key),
        }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots of the table, the range of places.
    pub(crate) fn slots(&self) -> usize {
        self.lines.len() * LINE
    }

    #[inline]
    fn entry(&self, slot: usize) -> Option<&Entry> {
        self.lines.get(slot / LINE).map(|line| &line.0[slot % LINE])
    }

    #[inline]
    fn entry_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.lines.get_mut(slot / LINE).map(|line| &mut line.0[slot % LINE])
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> + '_ {
        self.lines.iter().flat_map(|line| &line.0).filter(|entry| entry.key != 0)
    }

    /// The place where a look-up of `key` begins, the first of a line.
    #[inline]
    pub(crate) fn home(&self, key: Key) -> Place {
        // A table has at most 2^31 slots.
        #[expect(clippy::cast_possible_truncation)]
        let mask = (self.slots() - LINE) as Place;
        self.secret.hash(key.0) & mask
    }

    /// The value of `key` if it is in the line that begins at `home`, else zero.
    ///
    /// Reads one line: called in a row for a batch of keys, the reads that miss the cache run at the
    /// same time.
    #[inline]
    pub(crate) fn first_try(&self, home: Place, key: Key) -> u64 {
        let Some(line) = self.lines.get(home as usize / LINE) else { return 0 };
        let entry = line.0[line.nth(key)];
        if entry.key == key.0 { entry.value } else { 0 }
    }

    /// Whether the table is larger than the caches that a processor has for itself.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        self.lines.len() > LINES_NEAR
    }

    /// Something of the line that begins at `home`, which is in the cache then.
    #[inline]
    pub(crate) fn fetch(&self, home: Place) -> u64 {
        self.lines.get(home as usize / LINE).map_or(0, |line| line.0[0].key)
    }

    /// The same as [`Self::first_try`], to be changed.
    #[inline]
    pub(crate) fn first_try_mut(&mut self, home: Place, key: Key) -> Option<&mut u64> {
        let line = self.lines.get_mut(home as usize / LINE)?;
        let entry = &mut line.0[line.nth(key)];
        (entry.key == key.0).then_some(&mut entry.value)
    }

    /// The value at `place`, if `key` is what is there.
    #[inline]
    pub(crate) fn at(&self, place: Place, key: Key) -> Option<u64> {
        self.entry(place as usize).filter(|entry| entry.key == key.0).map(|entry| entry.value)
    }

    /// Where `key` is.
    pub(crate) fn find(&self, key: Key) -> Option<Place> {
        let mask = self.slots() - 1;
        let mut slot = self.home(key) as usize;
        // Ends: at least half of the slots are free.
        loop {
            let found = self.entry(slot)?.key;
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
    pub(crate) fn get(&self, key: Key) -> Option<u64> {
        self.find(key).and_then(|place| self.at(place, key))
    }

    /// Key and value at `place`, if any.
    #[inline]
    pub(crate) fn peek(&self, place: usize) -> Option<(Key, u64)> {
        self.entry(place).filter(|entry| entry.key != 0).map(|e| (Key(e.key), e.value))
    }

    #[inline]
    pub(crate) fn set(&mut self, place: Place, value: u64) {
        if let Some(entry) = self.entry_mut(place as usize) {
            entry.value = value;
        }
    }

    /// Adds a key that is not in the table. True if the places of other entries changed.
    pub(crate) fn insert(&mut self, key: Key, value: u64) -> (Place, bool) {
        let grow = (self.len + 1) * 2 > self.slots();
        if grow {
            let lines = vec![Line::default(); self.lines.len() * 2];
            for Line(entries) in core::mem::replace(&mut self.lines, lines) {
                for entry in entries.into_iter().filter(|entry| entry.key != 0) {
                    self.put(entry);
                }
            }
        }
        self.len += 1;
        (self.put(Entry { key: key.0, value }), grow)
    }

    fn put(&mut self, new: Entry) -> Place {
        let mask = self.slots() - 1;
        let mut slot = self.home(Key(new.key)) as usize;
        while let Some(entry) = self.entry_mut(slot) {
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
        let mask = self.slots() - 1;
        let mut hole = place;
        let mut slot = place;
        loop {
            slot = (slot + 1) & mask;
            let Some((key, value)) = self.peek(slot) else { break };
            // The entry may fill the hole if its home is not behind the hole.
            let home = self.home(key) as usize;
            if (slot.wrapping_sub(home) & mask) >= (slot.wrapping_sub(hole) & mask) {
                if let Some(entry) = self.entry_mut(hole) {
                    *entry = Entry { key: key.0, value };
                }
                hole = slot;
            }
        }
        if let Some(entry) = self.entry_mut(hole) {
            *entry = Entry::default();
        }
        self.len -= 1;
    }

    /// Removes every entry that `unwanted` says, and tells how many.
    pub(crate) fn remove_all(&mut self, mut unwanted: impl FnMut(Key, u64) -> bool) -> usize {
        let before = self.len;
        let mut place = 0;
        while place < self.slots() {
            match self.peek(place) {
                Some((key, value)) if unwanted(key, value) => self.remove_at(place),
                _ => place += 1,
            }
        }
        before - self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, u64)> + '_ {
        self.entries().map(|entry| (Key(entry.key), entry.value))
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
                let found = table.find(key);
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
                    // It may be behind the line; what is in it is the key's.
                    let first = table.first_try(table.home(key), key);
                    prop_assert!(first == 0 || Some(first) == table.get(key));
                    let first = table.first_try_mut(table.home(key), key).copied();
                    prop_assert!(first.is_none() || first == table.get(key));
                }
            }
            let all: BTreeMap<u64, u64> = table.iter().map(|(k, v)| (k.mac(), v)).collect();
            prop_assert_eq!(all, model);
        }
    }
}
