//! Blocks of several sizes in one array.

use alloc::vec::Vec;

/// One array in which blocks of several sizes lie.
#[derive(Debug)]
pub(super) struct Arena<T> {
    items: Vec<T>,
    /// Free blocks by their size, whatever a user means by the number.
    free: Vec<Vec<u32>>,
}

impl<T: Copy> Arena<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    #[inline]
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)
    }

    /// A block with these items, which are as many as all blocks of this size have.
    pub(super) fn take(&mut self, items: &[T], size: usize) -> u32 {
        if let Some(at) = self.free.get_mut(size).and_then(Vec::pop) {
            let start = at as usize;
            if let Some(block) = self.items.get_mut(start..start + items.len()) {
                block.copy_from_slice(items);
            }
            return at;
        }
        let at = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.items.extend_from_slice(items);
        at
    }

    pub(super) fn give(&mut self, at: u32, size: usize) {
        if self.free.len() <= size {
            self.free.resize_with(size + 1, Vec::new);
        }
        if let Some(list) = self.free.get_mut(size) {
            list.push(at);
        }
    }

    /// How many items the array has, the free ones with them.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Items in free blocks, by what a size stands for.
    #[cfg(test)]
    pub(super) fn free(&self, items: impl Fn(usize) -> usize) -> usize {
        self.free.iter().enumerate().map(|(size, list)| items(size) * list.len()).sum()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.free.clear();
    }
}
