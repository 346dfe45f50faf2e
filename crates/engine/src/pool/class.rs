//! One class of buffers of the pool.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use core::slice::IterMut;

use super::lazy::{Elsewhere, Lazy, Memory, Storage};
use super::{ClassUsage, INDEX_MAX, RESERVE};
use crate::frame::Body;

/// One class of equal buffers, of `N` bytes each. Their size is known to the compiler, so that a frame
/// is found with one look at its slot.
#[derive(Debug)]
pub(super) struct Class<const N: usize, S = Box<[u8; N]>> {
    slots: Vec<Slot<S>>,
    free: Vec<u32>,
    /// Memory that the first buffers are made of.
    lent: IterMut<'static, [u8; N]>,
    limit: usize,
    /// How many buffers the allocator may still be asked for.
    more: usize,
    reserve: usize,
    /// How many buffers are taken from the allocator at a time.
    step: usize,
}

#[derive(Debug)]
struct Slot<S> {
    refs: u32,
    generation: u32,
    bytes: S,
}

/// A buffer that was taken just now.
pub(super) struct Taken<'a, const N: usize> {
    pub(super) index: u32,
    pub(super) generation: u32,
    pub(super) bytes: &'a mut [u8; N],
}

impl<const N: usize, S: Storage<N>> Class<N, S> {
    pub(super) fn new(limit: usize, step: usize) -> Self {
        let limit = limit.min(INDEX_MAX);
        let reserve = RESERVE.min(limit / 4);
        let lent = [].iter_mut();
        Self { slots: Vec::new(), free: Vec::new(), lent, limit, more: limit, reserve, step }
    }

    /// The same, whose first buffers are made of this memory.
    pub(super) fn with_memory(limit: usize, step: usize, memory: &'static mut [u8]) -> Self {
        Self { lent: memory.as_chunks_mut().0.iter_mut(), ..Self::new(limit, step) }
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<Taken<'_, N>> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.grow()?,
        };
        let slot = self.slots.get_mut(index as usize)?;
        slot.refs = 1;
        Some(Taken { index, generation: slot.generation, bytes: slot.bytes.bytes_mut()? })
    }

    /// Takes some more buffers from the allocator and returns the first of them.
    #[cold]
    fn grow(&mut self) -> Option<u32> {
        let first = self.slots.len();
        let count = self.step.min(self.more);
        if count == 0 {
            return None;
        }
        for _ in 0..count {
            let memory = match self.lent.next() {
                Some(lent) => Memory::Lent(lent),
                // Zeroed by the allocator, which mostly has such memory and need not touch it.
                None => Memory::Own(vec![0; N].into_boxed_slice().try_into().ok()?),
            };
            let bytes = S::new(memory)?;
            self.slots.push(Slot { refs: 0, generation: 0, bytes });
        }
        self.more -= count;
        // Room for every buffer, so that giving back never allocates.
        self.free.reserve(self.slots.len());
        let range = u32::try_from(first).ok()?..u32::try_from(first + count).ok()?;
        self.free.extend(range.rev());
        self.free.pop()
    }

    #[inline]
    fn slot(&self, body: Body) -> Option<&Slot<S>> {
        let slot = self.slots.get(body.index() as usize)?;
        debug_assert_eq!(slot.generation, body.generation, "the frame belongs to another pool");
        (slot.generation == body.generation).then_some(slot)
    }

    #[inline]
    fn slot_mut(&mut self, body: Body) -> Option<&mut Slot<S>> {
        let slot = self.slots.get_mut(body.index() as usize)?;
        debug_assert_eq!(slot.generation, body.generation, "the frame belongs to another pool");
        (slot.generation == body.generation).then_some(slot)
    }

    /// Whether there is such a buffer, and it has not been freed since.
    #[inline]
    pub(super) fn knows(&self, body: Body) -> bool {
        self.slot(body).is_some()
    }

    /// Counts one frame less; true if the handle was good.
    #[inline]
    pub(super) fn put(&mut self, body: Body) -> bool {
        let Some(slot) = self.slot_mut(body) else { return false };
        if slot.refs > 1 {
            slot.refs -= 1;
        } else {
            slot.refs = 0;
            slot.generation = slot.generation.wrapping_add(1);
            slot.bytes.freed();
            self.free.push(body.index());
        }
        true
    }

    #[inline]
    pub(super) fn share(&mut self, body: Body) {
        if let Some(slot) = self.slot_mut(body) {
            slot.refs += 1;
        }
    }

    /// Gives back a buffer that is never shared, and whose holder is known to have it.
    pub(super) fn put_owned(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize)
            && slot.refs > 0
        {
            slot.refs = 0;
            slot.bytes.freed();
            self.free.push(index);
        }
    }

    /// The bytes of such a buffer.
    #[inline]
    pub(super) fn owned(&self, index: u32) -> &[u8] {
        self.slots.get(index as usize).and_then(|slot| slot.bytes.bytes()).map_or(&[], |it| &it[..])
    }

    /// The same, to be changed.
    #[inline]
    pub(super) fn owned_mut(&mut self, index: u32) -> &mut [u8] {
        let slot = self.slots.get_mut(index as usize);
        slot.and_then(|slot| slot.bytes.bytes_mut()).map_or(&mut [], |it| &mut it[..])
    }

    /// `len` bytes of a buffer from `start` on; nothing if it has not so many.
    #[inline]
    pub(super) fn part(&self, body: Body, start: usize, len: usize) -> &[u8] {
        match self.slot(body).and_then(|slot| slot.bytes.bytes()) {
            Some(bytes) => bytes.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default(),
            None => &[],
        }
    }

    /// A whole buffer; nothing if the handle is stale.
    #[inline]
    pub(super) fn bytes_mut(&mut self, body: Body) -> &mut [u8] {
        self.slot_mut(body)
            .and_then(|slot| slot.bytes.bytes_mut())
            .map_or(&mut [], |it| &mut it[..])
    }

    /// A whole buffer, if no other frame shares it.
    #[inline]
    pub(super) fn exclusive_mut(&mut self, body: Body) -> Option<&mut [u8]> {
        let slot = self.slot_mut(body)?;
        if slot.refs == 1 { slot.bytes.bytes_mut().map(|it| &mut it[..]) } else { None }
    }

    #[inline]
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.more
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

impl<const N: usize> Class<N, Lazy<N>> {
    /// What begins at byte `at` of a buffer that was taken just now is elsewhere.
    pub(super) fn borrow(&mut self, body: Body, at: usize, elsewhere: Elsewhere) {
        if let Some(slot) = self.slot_mut(body) {
            slot.bytes.borrow(at, elsewhere);
        }
    }

    /// Where a range of a buffer lies, if it is elsewhere.
    pub(super) fn elsewhere(&self, body: Body, range: Range<usize>) -> Option<Elsewhere> {
        self.slot(body)?.bytes.elsewhere(range)
    }

    /// Where a buffer begins in the memory that was lent, if it is of that.
    pub(super) fn lent_at(&self, body: Body) -> Option<usize> {
        // The first buffers are, in their order.
        self.slot(body)?.bytes.is_lent().then(|| body.index() as usize * N)
    }
}
