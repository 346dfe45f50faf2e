//! One class of buffers of the pool.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::{ClassUsage, INDEX_MAX, RESERVE};
use crate::frame::Body;

/// One class of equal buffers.
#[derive(Debug)]
pub(super) struct Class {
    chunks: Vec<Box<[u8]>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    limit: usize,
    reserve: usize,
    stride: usize,
    /// Buffers per chunk, as a power of two: finding a buffer must not take a division.
    chunk_shift: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    refs: u32,
    generation: u32,
}

impl Class {
    pub(super) fn new(limit: usize, stride: usize, chunk_shift: u32) -> Self {
        let limit = limit.min(INDEX_MAX);
        Self {
            chunks: Vec::new(),
            slots: Vec::new(),
            free: Vec::new(),
            limit,
            reserve: RESERVE.min(limit / 4),
            stride,
            chunk_shift,
        }
    }

    #[inline]
    pub(super) fn take(&mut self, large: bool) -> Option<Body> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.grow()?,
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.refs = 1;
        Some(Body::new(index, slot.generation, large))
    }

    /// Takes one more chunk from the allocator and returns its first buffer.
    #[cold]
    fn grow(&mut self) -> Option<u32> {
        let first = self.slots.len();
        let count = (1 << self.chunk_shift).min(self.limit.saturating_sub(first));
        if count == 0 {
            return None;
        }
        self.chunks.push(vec![0; count * self.stride].into_boxed_slice());
        self.slots.resize(first + count, Slot::default());
        // Room for every buffer, so that giving back never allocates.
        self.free.reserve(first + count);
        let range = u32::try_from(first).ok()?..u32::try_from(first + count).ok()?;
        self.free.extend(range.rev());
        self.free.pop()
    }

    #[inline]
    fn slot_mut(&mut self, body: Body) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(body.index() as usize)?;
        debug_assert_eq!(slot.generation, body.generation, "the frame belongs to another pool");
        (slot.generation == body.generation && slot.refs > 0).then_some(slot)
    }

    #[inline]
    pub(super) fn put(&mut self, body: Body) {
        if let Some(slot) = self.slot_mut(body) {
            slot.refs -= 1;
            if slot.refs == 0 {
                slot.generation = slot.generation.wrapping_add(1);
                self.free.push(body.index());
            }
        }
    }

    #[inline]
    pub(super) fn share(&mut self, body: Body) {
        if let Some(slot) = self.slot_mut(body) {
            slot.refs += 1;
        }
    }

    #[inline]
    pub(super) fn is_exclusive(&self, body: Body) -> bool {
        self.slots.get(body.index() as usize).is_some_and(|slot| slot.refs == 1)
    }

    /// A whole buffer.
    #[inline]
    pub(super) fn bytes(&self, body: Body) -> &[u8] {
        self.part(body, 0, self.stride)
    }

    /// `len` bytes of a buffer from `start` on; nothing if it has not so many.
    #[inline]
    pub(super) fn part(&self, body: Body, start: usize, len: usize) -> &[u8] {
        let index = body.index() as usize;
        let known = self.slots.get(index).is_some_and(|slot| slot.generation == body.generation);
        debug_assert!(known, "the frame belongs to another pool");
        let from = (index & ((1 << self.chunk_shift) - 1)) * self.stride + start;
        match self.chunks.get(index >> self.chunk_shift) {
            Some(chunk) if known && start + len <= self.stride => {
                chunk.get(from..from + len).unwrap_or_default()
            }
            _ => &[],
        }
    }

    #[inline]
    pub(super) fn bytes_mut(&mut self, body: Body) -> &mut [u8] {
        let index = body.index() as usize;
        let known = self.slots.get(index).is_some_and(|slot| slot.generation == body.generation);
        debug_assert!(known, "the frame belongs to another pool");
        let start = (index & ((1 << self.chunk_shift) - 1)) * self.stride;
        match self.chunks.get_mut(index >> self.chunk_shift) {
            Some(chunk) if known => chunk.get_mut(start..start + self.stride).unwrap_or_default(),
            _ => &mut [],
        }
    }

    #[inline]
    pub(super) fn available(&self) -> usize {
        self.free.len() + (self.limit - self.slots.len())
    }

    #[inline]
    pub(super) fn is_scarce(&self) -> bool {
        self.available() < self.reserve
    }

    pub(super) fn usage(&self) -> ClassUsage {
        ClassUsage {
            used: self.slots.len() - self.free.len(),
            grown: self.slots.len(),
            limit: self.limit,
        }
    }
}
