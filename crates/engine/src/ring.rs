//! The frames of a queue, in a ring of memory.
//!
//! A frame is copied from where it lies into the ring and out of it, in one piece. Places whose frame
//! was taken keep a handle that nobody uses any more, so nothing has to be written when a frame leaves.
//! An empty ring begins again at the front of its memory: a queue that stays short keeps to few lines of the
//! cache.

use alloc::vec::Vec;

use crate::frame::{Body, Frame};
use wire::Offload;

/// Frames that a ring has room for before it first grows; a power of two.
const INITIAL: usize = 32;

#[derive(Debug)]
pub(crate) struct Ring {
    /// As many as a power of two, all of them written, or none.
    places: Vec<Frame>,
    /// Where the first frame is.
    head: u32,
    len: u32,
}

impl Ring {
    /// An empty ring for a queue of so many frames.
    pub(crate) fn new(limit: usize) -> Self {
        let mut ring = Self { places: Vec::new(), head: 0, len: 0 };
        ring.resize(INITIAL.min(limit).next_power_of_two());
        ring
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    fn place(&self, nth: usize) -> usize {
        (self.head as usize + nth) & (self.places.len().wrapping_sub(1))
    }

    /// The `nth` frame from the head.
    #[inline]
    pub(crate) fn nth(&self, nth: usize) -> Option<&Frame> {
        if nth < self.len() { self.places.get(self.place(nth)) } else { None }
    }

    /// The first frames, at most so many, as they lie in one run of memory. None only if there are none.
    #[inline]
    pub(crate) fn front(&self, most: usize) -> &[Frame] {
        let head = self.head as usize;
        let end = self.places.len().min(head + most.min(self.len()));
        self.places.get(head..end).unwrap_or_default()
    }

    /// Adds a frame at the tail.
    #[inline]
    pub(crate) fn push(&mut self, frame: &Frame) {
        if self.len() == self.places.len() {
            self.resize(self.places.len() * 2);
        }
        let place = self.place(self.len());
        if let Some(room) = self.places.get_mut(place) {
            *room = frame.moved();
            self.len += 1;
        }
    }

    /// Forgets the first `count` frames, which there are.
    #[inline]
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.len());
        // At most as many as there are.
        let count = count as u32;
        self.len -= count;
        self.head = if self.len == 0 { 0 } else { self.place(count as usize) as u32 };
    }

    /// Makes the ring larger, and begins it at the front.
    #[cold]
    fn resize(&mut self, size: usize) {
        let size = size.max(1);
        let mut places = Vec::with_capacity(size);
        places.extend((0..self.len()).filter_map(|nth| self.nth(nth)).map(Frame::moved));
        places.resize_with(size, || Frame::of_body(Body::new(0, 0, false), 0, 0, Offload::NONE));
        self.places = places;
        self.head = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::VecDeque;
    use proptest::prelude::*;

    proptest! {
        /// The ring agrees with a deque.
        #[test]
        fn first_in_first_out(limit in 1usize..100, steps in prop::collection::vec(0usize..40, 1..200)) {
            let mut ring = Ring::new(limit);
            let mut model = VecDeque::new();
            let mut next = 0;
            for step in steps {
                if step % 2 == 0 {
                    for _ in 0..step {
                        ring.push(&Frame::of_body(Body::new(0, 0, false), 0, next, Offload::NONE));
                        model.push_back(next);
                        next += 1;
                    }
                } else {
                    let count = step.min(model.len());
                    ring.advance(count);
                    model.drain(..count);
                }
                prop_assert_eq!(ring.len(), model.len());
                let first: Vec<usize> = ring.front(step).iter().map(Frame::len).collect();
                prop_assert_eq!(first.is_empty(), step == 0 || model.is_empty());
                prop_assert!(first.len() <= step && first.iter().eq(model.range(..first.len())));
                let lens: VecDeque<usize> =
                    (0..ring.len()).filter_map(|nth| ring.nth(nth)).map(Frame::len).collect();
                prop_assert_eq!(&lens, &model);
                prop_assert!(ring.nth(model.len()).is_none());
            }
        }
    }
}
