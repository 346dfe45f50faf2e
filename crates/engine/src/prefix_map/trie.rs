//! Longest-prefix match: a trie whose nodes decide as many bits as their prefixes are worth.
//!
//! # Theory of operation
//!
//! A *slot* is what is known about all addresses that share some first bits, in one number. It is
//!
//! * a *leaf*: the answer;
//! * an *entry*: up to 32 bits somewhere in the address, the slot for addresses that have them, and
//!   the slot for the others. Few prefixes are a chain of these, the longest first, which ends in a leaf;
//! * a *node*: a slot for each value of the next bits, side by side.
//!
//! How many bits a node decides follows from how many prefixes it has, and from how evenly they lie:
//! there is about one prefix for each of its slots. What is common to all of them is told apart by an
//! entry before it. (Nilsson and Karlsson, "IP-address lookup using LC-tries", 1999; but answers of
//! shorter prefixes are pushed down into the slots, so that a look-up never goes back.) However many
//! prefixes there are, a look-up among evenly spread ones reads a slot of the first node, and one or
//! two entries that lie side by side; where prefixes crowd, a slot or two more.
//!
//! The prefixes themselves are kept in order in a map. A change builds anew, from that map, the
//! slots that the prefix covers, or the one that it lies in: what it costs follows what is affected,
//! and is the whole table only for a default route. A node is built anew when it has come to have
//! four times the prefixes that it was made for, or a quarter, so that growing costs a few times
//! what building at once does.
//!
//! # Limits
//!
//! Memory follows the number of prefixes: a node has at most eight slots for each group of prefixes
//! that it tells apart, and no more slots than prefixes. If changes leave too much behind, all is
//! built anew. A look-up takes no more steps than addresses have bits, whatever
//! the prefixes; guests have no say in what these are.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

mod arena;
#[cfg(test)]
mod tests;

use arena::Arena;

/// Prefixes that are a chain of entries, not a node.
const CHAIN: usize = 4;

/// Bits that an entry has at most.
const ENTRY_BITS: u8 = 32;

/// The most bits that a node decides.
const NODE_BITS: u8 = 20;

/// What a slot is, in its upper bits. Below are a value, the place of an entry, or the bits and
/// the place of a node.
const KIND: u32 = 3 << 30;
const LEAF: u32 = 0;
const ENTRY: u32 = 1 << 30;
const NODE: u32 = 2 << 30;
/// Where a node says how many bits it decides.
const BITS_AT: u32 = 25;

/// The leaf of addresses that no prefix fits.
const NOTHING: u32 = LEAF | !KIND;

/// Slots, and entries, for each prefix and beyond these, with which there is too much that is free
/// or not worth its place. Built at once, a trie has at most two thirds of them.
const SPACE: usize = 24;
const SLACK: usize = 64;

/// Numbers before a node's first slot: how many prefixes it has, and for how many it was made.
const HEADER: u32 = 2;

/// The bits of an address, the first the most significant.
pub(crate) trait Bits: Copy + Ord + core::fmt::Debug {
    /// How many there are.
    const WIDTH: u8;
    /// The first 32.
    fn top(self) -> u32;
    /// Without the first `count`.
    fn skip(self, count: u8) -> Self;
    /// How many leading bits are the same.
    fn common(self, other: Self) -> u8;
    /// The first `len` bits, the others zero.
    fn first(self, len: u8) -> Self;
    /// The first `len` bits, the others one.
    fn last(self, len: u8) -> Self;
    /// The same with `count` bits of `value` behind the first `depth`, where it is zero.
    fn with(self, value: u32, depth: u8, count: u8) -> Self;
}

macro_rules! bits {
    ($number:ty) => {
        impl Bits for $number {
            const WIDTH: u8 = <$number>::BITS as u8;

            #[inline]
            fn top(self) -> u32 {
                (self >> (Self::BITS - 32)) as u32
            }

            #[inline]
            fn skip(self, count: u8) -> Self {
                self.checked_shl(count.into()).unwrap_or(0)
            }

            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn first(self, len: u8) -> Self {
                self & !<$number>::MAX.checked_shr(len.into()).unwrap_or(0)
            }

            fn last(self, len: u8) -> Self {
                self | <$number>::MAX.checked_shr(len.into()).unwrap_or(0)
            }

            fn with(self, value: u32, depth: u8, count: u8) -> Self {
                self | <$number>::from(value) << (Self::WIDTH - depth - count)
            }
        }
    };
}

bits!(u32);
bits!(u128);

/// Bits, and where to go on.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The bits, from the most significant.
    bits: u32,
    inside: u32,
    outside: u32,
    /// How many bits of the address stand before these.
    depth: u8,
    /// How many bits there are, from 1 to [`ENTRY_BITS`].
    len: u8,
    /// Entries of the block that this one is the first of.
    block: u8,
}

impl Entry {
    #[inline]
    fn fits(&self, top: u32) -> bool {
        (top ^ self.bits) >> (u32::from(ENTRY_BITS - self.len) & 31) == 0
    }
}

/// One prefix, when a part of the trie is built.
#[derive(Clone, Copy, Debug)]
struct Prefix<K> {
    path: K,
    len: u8,
    value: u32,
}

impl<K: Bits> Prefix<K> {
    /// `count` bits behind `depth`.
    fn chunk(&self, depth: u8, count: u8) -> usize {
        chunk(self.path.skip(depth).top(), count) as usize
    }
}

/// A map from prefixes to numbers below 2^30 - 1, with a note for each prefix.
#[derive(Debug)]
pub(crate) struct Trie<K, N> {
    /// What is known about every address.
    root: u32,
    slots: Arena<u32>,
    entries: Arena<Entry>,
    /// All prefixes.
    prefixes: BTreeMap<(K, u8), (u32, N)>,
    /// How many of them have each length.
    lengths: Vec<u32>,
}

impl<K: Bits, N: Copy> Trie<K, N> {
    pub(crate) fn new() -> Self {
        Self {
            root: NOTHING,
            slots: Arena::new(),
            entries: Arena::new(),
            prefixes: BTreeMap::new(),
            lengths: vec![0; usize::from(K::WIDTH) + 1],
        }
    }

    /// The value of the longest prefix with `key` in it.
    #[inline]
    pub(crate) fn find(&self, key: K) -> Option<u32> {
        let (mut slot, mut depth) = (self.root, 0);
        loop {
            match slot & KIND {
                ENTRY => {
                    let entry = self.entries.get(slot & !KIND)?;
                    slot = if entry.fits(key.skip(entry.depth).top()) {
                        depth = entry.depth + entry.len;
                        entry.inside
                    } else {
                        entry.outside
                    };
                }
                NODE => {
                    let (first, bits) = node(slot);
                    slot = *self.slots.get(first + chunk(key.skip(depth).top(), bits))?;
                    depth += bits;
                }
                _ => return (slot != NOTHING).then_some(slot),
            }
        }
    }

    /// Gives a prefix a value, and tells the one it had. Bits of `key` behind `len` are ignored.
    pub(crate) fn insert(&mut self, key: K, len: u8, value: u32, note: N) -> Option<u32> {
        let path = key.first(len);
        let old = self.prefixes.insert((path, len), (value, note)).map(|(value, _)| value);
        if old.is_none()
            && let Some(count) = self.lengths.get_mut(usize::from(len))
        {
            *count += 1;
        }
        if old != Some(value) {
            self.refresh(path, len, i32::from(old.is_none()));
        }
        old
    }

    /// Removes a prefix, and tells its value.
    pub(crate) fn remove(&mut self, key: K, len: u8) -> Option<u32> {
        let path = key.first(len);
        let (value, _) = self.prefixes.remove(&(path, len))?;
        if let Some(count) = self.lengths.get_mut(usize::from(len)) {
            *count -= 1;
        }
        self.refresh(path, len, -1);
        Some(value)
    }

    /// The value and the note of a prefix.
    pub(crate) fn get(&self, key: K, len: u8) -> Option<&(u32, N)> {
        self.prefixes.get(&(key.first(len), len))
    }

    /// All prefixes with their lengths, values and notes, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, u8, u32, N)> + '_ {
        self.prefixes.iter().map(|(&(path, len), &(value, note))| (path, len, value, note))
    }

    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Bytes that look-ups read from.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u32>() + self.entries.len() * size_of::<Entry>()
    }

    /// Builds anew what depends on a prefix that came (`change` 1), went (-1), or got another value.
    fn refresh(&mut self, path: K, len: u8, change: i32) {
        // The slot that the prefix lies in: its place, but for the root, and the bits that lead
        // there.
        let (mut place, mut depth) = (None, 0);
        let most = SLACK + SPACE * self.prefixes.len();
        let tidy = self.slots.len() <= most && self.entries.len() <= most;
        loop {
            if !tidy {
                break;
            }
            let (mut slot, mut below) = (self.slot(place), depth);
            while slot & KIND == ENTRY
                && let Some(entry) = self.entries.get(slot & !KIND)
                && len > below + entry.len
                && entry.fits(path.skip(below).top())
            {
                below += entry.len;
                slot = entry.inside;
            }
            if slot & KIND != NODE || len <= below {
                break;
            }
            let (first, bits) = node(slot);
            if !self.count(first, change) {
                break;
            }
            let at = first + chunk(path.skip(below).top(), bits);
            let end = below + bits;
            if len <= end {
                // It covers some slots of this node.
                for nth in 0..1 << (end - len) {
                    let its = path.with(nth, len, end - len);
                    self.rebuild(Some(at + nth), its, end);
                }
                return;
            }
            (place, depth) = (Some(at), end);
        }
        self.rebuild(place, path.first(depth), depth);
    }

    /// A slot; the root, if no place is given.
    fn slot(&self, place: Option<u32>) -> u32 {
        match place {
            Some(at) => self.slots.get(at).copied().unwrap_or(NOTHING),
            None => self.root,
        }
    }

    /// Changes the number of a node's prefixes. False if it has too many or too few then.
    fn count(&mut self, first: u32, change: i32) -> bool {
        let made_for = self.slots.get(first - 1).copied().unwrap_or(0);
        let Some(count) = self.slots.get_mut(first - HEADER) else { return false };
        *count = count.saturating_add_signed(change);
        *count < 4 * made_for && 4 * *count > made_for
    }

    /// Builds anew the slot of the addresses that begin with `depth` bits of `path`.
    fn rebuild(&mut self, place: Option<u32>, path: K, depth: u8) {
        if place.is_some() {
            self.free(self.slot(place));
        } else {
            // All of it: nothing of the old is kept.
            self.slots.clear();
            self.entries.clear();
        }
        let around = (0..=depth)
            .rev()
            .filter(|len| self.lengths.get(usize::from(*len)).is_some_and(|count| *count > 0))
            .find_map(|len| self.prefixes.get(&(path.first(len), len)))
            .map_or(NOTHING, |(value, _)| *value);
        let inside: Vec<_> = self
            .prefixes
            .range((path, 0)..=(path.last(depth), u8::MAX))
            .filter(|((_, len), _)| *len > depth)
            .map(|(&(path, len), &(value, _))| Prefix { path, len, value })
            .collect();
        let new = self.build(&inside, depth, around);
        match place {
            Some(at) => {
                if let Some(slot) = self.slots.get_mut(at) {
                    *slot = new;
                }
            }
            None => self.root = new,
        }
    }

    /// A slot for these prefixes, which are in order and all longer than the `depth` bits that lead
    /// there. `around` is the slot of addresses that are in none of them.
    fn build(&mut self, prefixes: &[Prefix<K>], depth: u8, around: u32) -> u32 {
        let (Some(first), Some(last)) = (prefixes.first(), prefixes.last()) else { return around };
        if prefixes.len() <= CHAIN {
            return self.chain(prefixes, depth, around);
        }
        let shortest = prefixes.iter().map(|prefix| prefix.len).min().unwrap_or(0);
        let shared = first.path.common(last.path).min(shortest);
        // The first in order is the shortest, if it is all that the others have in common.
        let (whole, rest) = match prefixes {
            [whole, rest @ ..] if whole.len == shared => (whole.value, rest),
            all => (around, all),
        };
        let bits = bits_for(rest, shared);
        let end = shared + bits;
        // A router has not so many routes by far.
        let count = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        let mut block = vec![whole; HEADER as usize + (1 << bits)];
        let (header, slots) = block.split_at_mut(HEADER as usize);
        header.fill(count);
        // Shorter prefixes come before the longer ones in them, which paint them over.
        for prefix in rest.iter().filter(|prefix| prefix.len <= end) {
            let start = prefix.chunk(shared, bits);
            let count = 1 << (end - prefix.len);
            slots.get_mut(start..start + count).unwrap_or_default().fill(prefix.value);
        }
        let longer: Vec<_> = rest.iter().filter(|prefix| prefix.len > end).copied().collect();
        for group in longer.chunk_by(|a, b| a.path.common(b.path) >= end) {
            let place = group.first().map_or(0, |prefix| prefix.chunk(shared, bits));
            if let Some(slot) = slots.get_mut(place) {
                *slot = self.build(group, end, *slot);
            }
        }
        let at = self.slots.take(&block, bits.into()) + HEADER;
        let node = NODE | u32::from(bits) << BITS_AT | at;
        let links = links(shared - depth);
        if links == 0 {
            return node;
        }
        let at = self.blank(links);
        self.link(at, first.path, depth..shared, node, around);
        ENTRY | at
    }

    /// A chain of these prefixes, the longest first.
    fn chain(&mut self, prefixes: &[Prefix<K>], depth: u8, around: u32) -> u32 {
        let mut order = prefixes.to_vec();
        order.sort_by_key(|prefix| prefix.len);
        let total = order.iter().map(|prefix| links(prefix.len - depth)).sum();
        let mut at = self.blank(total) + u32::from(total);
        let mut next = around;
        for prefix in order {
            at -= u32::from(links(prefix.len - depth));
            self.link(at, prefix.path, depth..prefix.len, prefix.value, next);
            next = ENTRY | at;
        }
        next
    }

    /// A block of entries, of which the first knows how many there are.
    fn blank(&mut self, count: u8) -> u32 {
        let blank =
            Entry { bits: 0, inside: NOTHING, outside: NOTHING, depth: 0, len: 1, block: count };
        self.entries.take(&vec![blank; count.into()], count.into())
    }

    /// Fills the entries from `at` on, so that what has these bits of `path` goes on at `inside`.
    fn link(&mut self, at: u32, path: K, range: Range<u8>, inside: u32, outside: u32) {
        let mut depth = range.start;
        for at in at.. {
            let Some(entry) = self.entries.get_mut(at) else { return };
            let len = ENTRY_BITS.min(range.end - depth);
            entry.bits = path.skip(depth).top();
            (entry.depth, entry.len) = (depth, len);
            entry.outside = outside;
            depth += len;
            if depth == range.end {
                entry.inside = inside;
                return;
            }
            entry.inside = ENTRY | (at + 1);
        }
    }

    /// Gives back all that a slot leads to.
    fn free(&mut self, slot: u32) {
        match slot & KIND {
            ENTRY => {
                let at = slot & !KIND;
                let count = self.entries.get(at).map_or(0, |entry| entry.block);
                for nth in 0..u32::from(count) {
                    if let Some(entry) = self.entries.get(at + nth)
                        && entry.inside & KIND == NODE
                    {
                        self.free(entry.inside);
                    }
                }
                self.entries.give(at, count.into());
            }
            NODE => {
                let (first, bits) = node(slot);
                for at in first..first + (1 << bits) {
                    self.free(self.slot(Some(at)));
                }
                self.slots.give(first - HEADER, bits.into());
            }
            _ => {}
        }
    }
}

/// The first slot of a node, and how many bits it decides.
#[inline]
fn node(slot: u32) -> (u32, u8) {
    let bits = (slot >> BITS_AT) as u8 & 31;
    (slot & ((1 << BITS_AT) - 1), bits)
}

/// The first `count` of 32 bits, from 1 to 31.
#[inline]
fn chunk(top: u32, count: u8) -> u32 {
    top >> ((32 - u32::from(count)) & 31)
}

/// How many entries as many bits take.
fn links(bits: u8) -> u8 {
    bits.div_ceil(ENTRY_BITS)
}

/// How many bits the node of these prefixes decides: as many as give each a slot, or fewer, if that
/// left most slots without one.
fn bits_for<K: Bits>(prefixes: &[Prefix<K>], depth: u8) -> u8 {
    let most = NODE_BITS.min(K::WIDTH - depth);
    let evenly = prefixes.len().max(2).ilog2();
    let mut bits = u8::try_from(evenly).unwrap_or(most).min(most);
    while bits > 1 {
        let groups = prefixes.chunk_by(|a, b| a.path.common(b.path) >= depth + bits).count();
        if groups * 8 >= 1 << bits {
            break;
        }
        bits -= 1;
    }
    bits
}
