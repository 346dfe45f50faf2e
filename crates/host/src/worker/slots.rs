//! A slab whose identifiers are not reused: an index and a generation.

/// Generations go round behind this, so that the highest bit of a token is free to tell tokens that
/// are not of a slot: see [`gateway::poll`].
const GENERATION_MAX: u32 = u32::MAX >> 1;

/// An identifier of an entry. After the entry is removed it finds nothing, also when the place
/// holds a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot {
    index: u32,
    generation: u32,
}

impl Slot {
    /// The place, which another entry may have later.
    pub(super) fn index(self) -> u32 {
        self.index
    }

    /// As a token of the poller. Its highest bit is zero, see [`GENERATION_MAX`].
    pub(super) fn to_bits(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_bits(bits: u64) -> Slot {
        // Each half is 32 bits by construction.
        Slot { index: (bits & 0xffff_ffff) as u32, generation: (bits >> 32) as u32 }
    }
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Entries with generational identifiers.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Slots<T> {
        Slots { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn insert(&mut self, value: T) -> Slot {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return Slot { index, generation: entry.generation };
        }
        // Descriptors and networks are counted in thousands.
        let index = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        self.entries.push(Entry { generation: 0, value: Some(value) });
        Slot { index, generation: 0 }
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Option<T> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        if entry.generation != slot.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1) & GENERATION_MAX;
        self.free.push(slot.index);
        Some(value)
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&T> {
        let entry = self.entries.get(slot.index as usize)?;
        if entry.generation == slot.generation { entry.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        if entry.generation == slot.generation { entry.value.as_mut() } else { None }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        self.entries.iter().zip(0..).filter_map(|(e, index)| {
            Some((Slot { index, generation: e.generation }, e.value.as_ref()?))
        })
    }

    /// How many places there are, taken or free: for loops that need the slab itself meanwhile.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The identifier of the entry at a place, if there is one.
    pub(super) fn at(&self, place: usize) -> Option<Slot> {
        let entry = self.entries.get(place)?;
        entry.value.as_ref()?;
        Some(Slot { index: u32::try_from(place).ok()?, generation: entry.generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_identifier_finds_nothing_in_a_reused_place() {
        let mut slots = Slots::new();
        let a = slots.insert('a');
        let b = slots.insert('b');
        assert_eq!(slots.remove(a), Some('a'));
        assert_eq!(slots.remove(a), None);
        let c = slots.insert('c');
        assert_eq!(c.index, a.index);
        assert_ne!(c, a);
        assert_eq!((slots.get(a), slots.get(b), slots.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(slots.len(), 2);
        assert_eq!(Slot::from_bits(c.to_bits()), c);
        assert_eq!(slots.iter().map(|(_, v)| *v).collect::<String>(), "cb");
    }
}
