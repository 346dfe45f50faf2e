use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

impl<K: Bits, N: Copy> Trie<K, N> {
    /// Slots and entries that a look-up reads.
    fn steps(&self, key: K) -> usize {
        let (mut slot, mut depth, mut steps) = (self.root, 0, 0);
        while slot & KIND != LEAF {
            steps += 1;
            if slot & KIND == NODE {
                let (first, bits) = node(slot);
                slot = self.slot(Some(first + chunk(key.skip(depth).top(), bits)));
                depth += bits;
            } else if let Some(entry) = self.entries.get(slot & !KIND) {
                let fits = entry.fits(key.skip(entry.depth).top());
                slot = if fits { entry.inside } else { entry.outside };
                depth = if fits { entry.depth + entry.len } else { depth };
            }
        }
        steps
    }

    /// Nothing is kept for nobody.
    fn assert_empty(&self) {
        assert_eq!((self.root, self.len()), (NOTHING, 0));
        assert_eq!(self.slots.free(|bits| (1 << bits) + HEADER as usize), self.slots.len());
        assert_eq!(self.entries.free(|count| count), self.entries.len());
    }
}

/// The longest prefix by looking at all of them.
fn slow<K: Bits>(model: &BTreeMap<(u8, K), u32>, key: K) -> Option<u32> {
    let fitting = model.iter().rev().find(|((len, path), _)| key.first(*len) == *path);
    fitting.map(|(_, value)| *value)
}

fn agrees<K: Bits>(actions: &[(bool, K, u8, u32)]) {
    let mut trie = Trie::new();
    let mut model = BTreeMap::new();
    for &(add, key, len, value) in actions {
        let entry = (len, key.first(len));
        if add {
            assert_eq!(trie.insert(key, len, value, ()), model.insert(entry, value));
        } else {
            assert_eq!(trie.remove(key, len), model.remove(&entry));
        }
        for &(_, key, ..) in actions {
            assert_eq!(trie.find(key), slow(&model, key));
        }
    }
    assert_eq!(trie.len(), model.len());
    for (len, key) in model.clone().into_keys() {
        assert_eq!(trie.remove(key, len), model.remove(&(len, key)));
    }
    assert!(actions.iter().all(|&(_, key, ..)| trie.find(key).is_none()));
    trie.assert_empty();
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
        actions in prop::collection::vec((any::<bool>(), keys(), 0u8..=128, 0u32..9), 1..80),
    ) {
        agrees(&actions);
    }

    #[test]
    fn agrees_with_a_walk_over_all_prefixes_v4(
        actions in prop::collection::vec((any::<bool>(), keys(), 0u8..=32, 0u32..9), 1..80),
    ) {
        let actions: Vec<_> = actions
            .into_iter()
            .map(|(add, key, len, value)| (add, (key >> 96) as u32 ^ key as u32, len, value))
            .collect();
        agrees(&actions);
    }
}

/// Numbers that look as if they had no order, each once.
fn shuffled(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1).rotate_left(15).wrapping_mul(0x85eb_ca6b)
}

#[test]
fn many_prefixes_take_few_steps_and_little_memory() {
    let mut v4 = Trie::new();
    let mut v6 = Trie::new();
    for number in 0..20_000 {
        // One after the other, as tables are read, and in no order.
        v4.insert(0x0a00_0000 | number << 8, 24, number, ());
        v6.insert(u128::from(shuffled(number)) << 64 | 0x2001 << 112, 64, number, ());
    }
    for number in 0..20_000 {
        assert_eq!(v4.find(0x0a00_0007 | number << 8), Some(number));
        assert!(v4.steps(0x0a00_0007 | number << 8) <= 4);
        let key = u128::from(shuffled(number)) << 64 | 0x2001 << 112 | 7;
        assert_eq!(v6.find(key), Some(number));
        assert!(v6.steps(key) <= 12, "{}", v6.steps(key));
    }
    assert!(v4.bytes() / 20_000 <= 40 && v6.bytes() / 20_000 <= 40);
    for number in 0..20_000 {
        v4.remove(0x0a00_0000 | number << 8, 24);
        v6.remove(u128::from(shuffled(number)) << 64 | 0x2001 << 112, 64);
    }
    v4.assert_empty();
    v6.assert_empty();
}

/// Each prefix in the one before it, and beside each many others: the worst shape.
#[test]
fn memory_follows_the_prefixes_whatever_their_shape() {
    let mut trie = Trie::new();
    let path = u128::MAX;
    for len in 0..=128_u8 {
        trie.insert(path, len, u32::from(len), ());
    }
    for len in 0..128_u8 {
        assert_eq!(trie.find(path ^ 1 << (127 - len)), Some(u32::from(len)));
    }
    assert_eq!(trie.find(path), Some(128));
    for len in 8..120 {
        for beside in 0..64 {
            trie.insert(
                (path ^ 1 << (127 - len)).first(len + 1) | beside << (121 - len),
                len + 7,
                7,
                (),
            );
        }
    }
    let bytes = trie.bytes();
    assert!(bytes <= trie.len() * 16 * 16, "{bytes} for {}", trie.len());
}

#[test]
fn a_small_trie_is_small() {
    let mut trie = Trie::new();
    for (number, len) in [(0, 0), (1, 24), (2, 32), (3, 32)] {
        trie.insert(0x0a00_0000 | number, len, number, ());
    }
    assert!(trie.bytes() <= 64);
    assert_eq!((trie.find(0x0a00_0002), trie.find(9)), (Some(2), Some(0)));
}
