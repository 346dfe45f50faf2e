//! Longest-prefix match: a multibit trie with bitmaps instead of arrays.
//!
//! # Theory of operation
//!
//! A node stands for a prefix whose length is a multiple of six, and decides the next six bits. In
//! one bitmap of 126 bits it has the prefixes that end within those bits (2 of one bit more, 4 of
//! two, up to 64 of six), in one of 64 bits the children that go on. Values and children of a node
//! lie side by side in one array for all nodes, in the order of their bits, so that the number of
//! bits set below one is its place: a node takes 48 bytes for IPv4 and 64, a cache line, for IPv6,
//! however full it is. (Eatherton, Varghese and Dittia, "Tree bitmap", 2004.)
//!
//! A child need not be the next level: levels at which nothing branches are left out, and a node
//! keeps the bits of its own prefix, so that a look-up sees where it has left the path. The depth
//! of a look-up follows the number of routes, not the length of addresses.
//!
//! A look-up goes down from the root, remembers the last node in which a prefix fits, and counts
//! bits once, at its end. It never goes back.
//!
//! Blocks of children and of values are kept in free lists by their length, and are used again.

use alloc::vec;
use alloc::vec::Vec;

/// Bits that one node decides.
const STRIDE: u8 = 6;

/// A place that holds nothing.
const NOWHERE: u32 = u32::MAX;

/// For each value of six bits, the bits of the prefixes that fit it: of each length one.
const FITTING: [u128; 64] = {
    let mut masks = [0; 64];
    let mut chunk = 0;
    while chunk < 64 {
        let mut len = 1;
        while len <= STRIDE as u32 {
            masks[chunk] |= 1 << ((1 << len) - 2 + (chunk as u32 >> (STRIDE as u32 - len)));
            len += 1;
        }
        chunk += 1;
    }
    masks
};

/// The bits of an address, the first the most significant.
pub(crate) trait Bits: Copy + Eq + core::fmt::Debug {
    /// How many there are.
    const WIDTH: u8;
    /// Six bits from `depth`, which is below [`Self::WIDTH`]; zeros behind the last.
    fn chunk(self, depth: u8) -> usize;
    /// How many leading bits are the same.
    fn common(self, other: Self) -> u8;
    /// The first `len` bits, the others zero.
    fn first(self, len: u8) -> Self;
    /// All zero.
    fn zero() -> Self;
}

macro_rules! bits {
    ($number:ty) => {
        impl Bits for $number {
            const WIDTH: u8 = <$number>::BITS as u8;

            #[inline]
            fn chunk(self, depth: u8) -> usize {
                ((self << depth) >> (Self::WIDTH - STRIDE)) as usize & 63
            }

            #[inline]
            fn common(self, other: Self) -> u8 {
                (self ^ other).leading_zeros() as u8
            }

            fn first(self, len: u8) -> Self {
                let rest = u32::from(Self::WIDTH.saturating_sub(len));
                self.checked_shr(rest).and_then(|bits| bits.checked_shl(rest)).unwrap_or(0)
            }

            fn zero() -> Self {
                0
            }
        }
    };
}

bits!(u32);
bits!(u128);

#[derive(Clone, Copy, Debug)]
struct Node<K> {
    prefixes: u128,
    children: u64,
    /// The first of its children in the array of nodes.
    first_child: u32,
    /// The first of its values in the array of values.
    first_value: u32,
    /// The bits of its own prefix.
    path: K,
    depth: u8,
}

impl<K: Bits> Node<K> {
    fn new(path: K, depth: u8) -> Self {
        Self {
            prefixes: 0,
            children: 0,
            first_child: NOWHERE,
            first_value: NOWHERE,
            path: path.first(depth),
            depth,
        }
    }
}

/// A map from prefixes to numbers below 2^32 - 1.
#[derive(Debug)]
pub(crate) struct Trie<K> {
    /// The root is the first.
    nodes: Arena<Node<K>>,
    values: Arena<u32>,
    /// The value of the prefix of length zero.
    default: u32,
}

impl<K: Bits> Trie<K> {
    pub(crate) fn new() -> Self {
        let mut nodes = Arena::new(64);
        nodes.take(Node::new(K::zero(), 0), 1);
        Self { nodes, values: Arena::new(126), default: NOWHERE }
    }

    /// The value of the longest prefix with `key` in it.
    #[inline]
    pub(crate) fn find(&self, key: K) -> Option<u32> {
        let mut at = 0;
        // Of the last node with a prefix that fits: its prefixes below that one, and its values.
        let (mut below, mut first) = (0, NOWHERE);
        while let Some(node) = self.nodes.get(at) {
            if key.common(node.path) < node.depth {
                break;
            }
            let chunk = key.chunk(node.depth);
            let fitting = node.prefixes & FITTING.get(chunk).copied().unwrap_or(0);
            if fitting != 0 {
                let longest = 127 - fitting.leading_zeros();
                below = node.prefixes & ((1 << longest) - 1);
                first = node.first_value;
            }
            if node.children >> chunk & 1 == 0 {
                break;
            }
            at = node.first_child + (node.children & ((1 << chunk) - 1)).count_ones();
        }
        let value = if first == NOWHERE {
            self.default
        } else {
            self.values.get(first + below.count_ones()).copied().unwrap_or(NOWHERE)
        };
        (value != NOWHERE).then_some(value)
    }

    /// Gives a prefix a value, and tells the one it had. Bits of `key` behind `len` are ignored.
    pub(crate) fn insert(&mut self, key: K, len: u8, value: u32) -> Option<u32> {
        let Some(depth) = depth_of(len) else {
            let old = core::mem::replace(&mut self.default, value);
            return (old != NOWHERE).then_some(old);
        };
        let at = self.make_node(key, depth);
        let bit = bit_of(key, len, depth);
        let node = self.nodes.get_mut(at)?;
        let place = (node.prefixes & ((1 << bit) - 1)).count_ones();
        let count = node.prefixes.count_ones();
        if node.prefixes >> bit & 1 == 1 {
            let old = self.values.get_mut(node.first_value + place)?;
            return Some(core::mem::replace(old, value));
        }
        node.prefixes |= 1 << bit;
        node.first_value = self.values.insert(node.first_value, count, place, value);
        None
    }

    /// The node for `depth` bits of `key`, which is made if there is none.
    fn make_node(&mut self, key: K, depth: u8) -> u32 {
        let mut at = 0;
        while let Some(&node) = self.nodes.get(at) {
            if node.depth == depth {
                break;
            }
            let chunk = key.chunk(node.depth);
            let place = (node.children & ((1 << chunk) - 1)).count_ones();
            let count = node.children.count_ones();
            if node.children >> chunk & 1 == 0 {
                let first =
                    self.nodes.insert(node.first_child, count, place, Node::new(key, depth));
                if let Some(node) = self.nodes.get_mut(at) {
                    node.children |= 1 << chunk;
                    node.first_child = first;
                }
                return first + place;
            }
            let next = node.first_child + place;
            let Some(&child) = self.nodes.get(next) else { break };
            let common = child.path.common(key).min(child.depth).min(depth);
            let meet = common - common % STRIDE;
            if meet < child.depth {
                // The paths part before the child: a node where they do takes its place.
                let mut fork = Node::new(key, meet);
                fork.children = 1 << child.path.chunk(meet);
                fork.first_child = self.nodes.take(child, 1);
                if let Some(place) = self.nodes.get_mut(next) {
                    *place = fork;
                }
            }
            at = next;
        }
        at
    }

    /// Removes a prefix, and tells its value.
    pub(crate) fn remove(&mut self, key: K, len: u8) -> Option<u32> {
        let Some(depth) = depth_of(len) else {
            let old = core::mem::replace(&mut self.default, NOWHERE);
            return (old != NOWHERE).then_some(old);
        };
        // The nodes on the way, the wanted one last.
        let mut way = vec![0];
        loop {
            let at = *way.last()?;
            let node = self.nodes.get(at)?;
            if node.depth > depth || key.common(node.path) < node.depth {
                return None;
            }
            if node.depth == depth {
                break;
            }
            let chunk = key.chunk(node.depth);
            if node.children >> chunk & 1 == 0 {
                return None;
            }
            way.push(node.first_child + (node.children & ((1 << chunk) - 1)).count_ones());
        }
        let bit = bit_of(key, len, depth);
        let node = self.nodes.get_mut(*way.last()?)?;
        if node.prefixes >> bit & 1 == 0 {
            return None;
        }
        let place = (node.prefixes & ((1 << bit) - 1)).count_ones();
        let count = node.prefixes.count_ones();
        node.prefixes &= !(1 << bit);
        let (first, old) = self.values.remove(node.first_value, count, place)?;
        node.first_value = first;
        self.tidy(&way);
        Some(old)
    }

    /// Takes out the nodes at the end of a way that decide nothing any more.
    fn tidy(&mut self, way: &[u32]) {
        for pair in way.windows(2).rev() {
            let &[parent, at] = pair else { return };
            let Some(&node) = self.nodes.get(at) else { return };
            if node.prefixes != 0 || node.children.count_ones() > 1 {
                return;
            }
            if node.children != 0 {
                // One child: it takes the node's place.
                let Some(&child) = self.nodes.get(node.first_child) else { return };
                self.nodes.give(node.first_child, 1);
                if let Some(place) = self.nodes.get_mut(at) {
                    *place = child;
                }
                return;
            }
            let Some(parent) = self.nodes.get(parent).copied().map(|node| (parent, node)) else {
                return;
            };
            let (parent_at, mut above) = parent;
            let chunk = node.path.chunk(above.depth);
            let place = (above.children & ((1 << chunk) - 1)).count_ones();
            let count = above.children.count_ones();
            let Some((first, _)) = self.nodes.remove(above.first_child, count, place) else {
                return;
            };
            above.children &= !(1 << chunk);
            above.first_child = first;
            if let Some(place) = self.nodes.get_mut(parent_at) {
                *place = above;
            }
        }
    }
}

/// The depth of the node in which a prefix of this length is; none for length zero.
fn depth_of(len: u8) -> Option<u8> {
    let last = len.checked_sub(1)?;
    Some(last - last % STRIDE)
}

/// The bit of a prefix in the bitmap of its node.
fn bit_of<K: Bits>(key: K, len: u8, depth: u8) -> u32 {
    let bits = u32::from(len - depth);
    // Six bits at most.
    #[expect(clippy::cast_possible_truncation)]
    let chunk = key.chunk(depth) as u32;
    (1 << bits) - 2 + (chunk >> (u32::from(STRIDE) - bits))
}

/// One array in which blocks of any length up to a limit lie.
#[derive(Debug)]
struct Arena<T> {
    items: Vec<T>,
    /// Free blocks by their length.
    free: Vec<Vec<u32>>,
}

impl<T: Copy> Arena<T> {
    fn new(longest: usize) -> Self {
        Self { items: Vec::new(), free: vec![Vec::new(); longest + 1] }
    }

    #[inline]
    fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)
    }

    /// A block of `len` items, all `filling`.
    fn take(&mut self, filling: T, len: u32) -> u32 {
        if let Some(at) = self.free.get_mut(len as usize).and_then(Vec::pop) {
            let block = self.items.get_mut(at as usize..(at + len) as usize);
            block.unwrap_or_default().fill(filling);
            return at;
        }
        let at = u32::try_from(self.items.len()).unwrap_or(NOWHERE);
        self.items.resize(self.items.len() + len as usize, filling);
        at
    }

    fn give(&mut self, at: u32, len: u32) {
        if let Some(list) = self.free.get_mut(len as usize)
            && len > 0
        {
            list.push(at);
        }
    }

    /// Puts an item at `place` of a block of `len`, which moves; where it is then.
    fn insert(&mut self, block: u32, len: u32, place: u32, item: T) -> u32 {
        let fresh = self.take(item, len + 1);
        let (old, new) = (block as usize, fresh as usize);
        if len > 0 {
            let border = place as usize;
            self.items.copy_within(old..old + border, new);
            self.items.copy_within(old + border..old + len as usize, new + border + 1);
        }
        self.give(block, len);
        fresh
    }

    /// Takes the item at `place` out of a block of `len`, which moves; where it is then.
    fn remove(&mut self, block: u32, len: u32, place: u32) -> Option<(u32, T)> {
        let item = *self.get(block + place)?;
        let fresh = if len > 1 { self.take(item, len - 1) } else { NOWHERE };
        if len > 1 {
            let (old, new, border) = (block as usize, fresh as usize, place as usize);
            self.items.copy_within(old..old + border, new);
            self.items.copy_within(old + border + 1..old + len as usize, new + border);
        }
        self.give(block, len);
        Some((fresh, item))
    }
}

/// What the benchmarks look at: a map from IPv4 or IPv6 prefixes to numbers.
#[doc(hidden)]
#[derive(Debug)]
pub struct PrefixMap {
    v4: Trie<u32>,
    v6: Trie<u128>,
}

impl Default for PrefixMap {
    fn default() -> Self {
        Self { v4: Trie::new(), v6: Trie::new() }
    }
}

impl PrefixMap {
    /// Gives a prefix a value, and tells the one it had.
    pub fn insert(&mut self, prefix: ipnet::IpNet, value: u32) -> Option<u32> {
        match prefix {
            ipnet::IpNet::V4(net) => {
                self.v4.insert(net.network().to_bits(), net.prefix_len(), value)
            }
            ipnet::IpNet::V6(net) => {
                self.v6.insert(net.network().to_bits(), net.prefix_len(), value)
            }
        }
    }

    /// Removes a prefix, and tells its value.
    pub fn remove(&mut self, prefix: ipnet::IpNet) -> Option<u32> {
        match prefix {
            ipnet::IpNet::V4(net) => self.v4.remove(net.network().to_bits(), net.prefix_len()),
            ipnet::IpNet::V6(net) => self.v6.remove(net.network().to_bits(), net.prefix_len()),
        }
    }

    /// The value of the longest prefix with the address in it.
    #[inline]
    #[must_use]
    pub fn find(&self, address: core::net::IpAddr) -> Option<u32> {
        match address {
            core::net::IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            core::net::IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// The longest prefix by looking at all of them.
    fn slow<K: Bits + Ord>(model: &BTreeMap<(u8, K), u32>, key: K) -> Option<u32> {
        let fitting = model.iter().rev().find(|((len, path), _)| key.first(*len) == *path);
        fitting.map(|(_, value)| *value)
    }

    fn agrees<K: Bits + Ord>(actions: &[(bool, K, u8, u32)]) {
        let mut trie = Trie::new();
        let mut model = BTreeMap::new();
        for &(add, key, len, value) in actions {
            let entry = (len, key.first(len));
            if add {
                assert_eq!(trie.insert(key, len, value), model.insert(entry, value));
            } else {
                assert_eq!(trie.remove(key, len), model.remove(&entry));
            }
            for &(_, key, ..) in actions {
                assert_eq!(trie.find(key), slow(&model, key));
            }
        }
        for (len, key) in model.clone().into_keys() {
            assert_eq!(trie.remove(key, len), model.remove(&(len, key)));
        }
        assert!(actions.iter().all(|&(_, key, ..)| trie.find(key).is_none()));
        // Nothing is left but the root, and all blocks are free.
        let free = |lists: &[Vec<u32>]| -> usize {
            lists.iter().enumerate().map(|(len, list)| len * list.len()).sum()
        };
        assert_eq!(free(&trie.nodes.free) + 1, trie.nodes.items.len());
        assert_eq!(free(&trie.values.free), trie.values.items.len());
    }

    /// Keys that share long beginnings, so that paths part everywhere.
    fn keys() -> impl Strategy<Value = u128> {
        (any::<u128>(), 0u32..128, any::<u128>()).prop_map(|(pattern, shared, tail)| {
            let base = 0x2001_0db8_5a5a_a5a5_1234_5678_9abc_def0_u128;
            let mask = u128::MAX.checked_shr(shared).unwrap_or(0);
            (base & !mask) | (pattern & tail & mask)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn agrees_with_a_walk_over_all_prefixes_v6(
            actions in prop::collection::vec((any::<bool>(), keys(), 0u8..=128, 0u32..9), 1..60),
        ) {
            agrees(&actions);
        }

        #[test]
        fn agrees_with_a_walk_over_all_prefixes_v4(
            actions in prop::collection::vec((any::<bool>(), keys(), 0u8..=32, 0u32..9), 1..60),
        ) {
            let actions: Vec<_> = actions
                .into_iter()
                .map(|(add, key, len, value)| (add, (key >> 96) as u32 ^ key as u32, len, value))
                .collect();
            agrees(&actions);
        }
    }

    #[test]
    fn a_node_is_a_cache_line_at_most() {
        assert!(size_of::<Node<u32>>() <= 48);
        assert!(size_of::<Node<u128>>() <= 64);
    }
}
