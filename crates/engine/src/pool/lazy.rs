//! The buffers of the large class: where their memory is from, and bytes that are elsewhere until
//! somebody looks at them.
//!
//! # Theory of operation
//!
//! To copy 64 KiB costs more than all else that is done to a frame, and most large frames are not
//! looked at behind their headers. So a link whose frames lie in memory of its own may give a frame of
//! which only the front is in the pool ([`Pool::borrow_in`](super::Pool::borrow_in)); the rest is
//! *foreign*. A link that can write from there asks for it ([`Pool::foreign`](super::Pool::foreign)).
//! Everybody else sees a frame like any other: its buffer is there and is filled, once, when its bytes
//! are asked for the first time, and the foreign place is given back at once. Foreign memory itself is
//! never seen as bytes here: whoever else has it may write to it at any time.
//!
//! The memory of the buffers is the allocator's, or was lent to the pool for ever, by somebody who has
//! shown it to another process that may read it.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::any::Any;
use core::cell::{Cell, OnceCell};
use core::fmt;
use core::ops::{Deref, DerefMut, Range};

/// Memory that is not the pool's, in which the rest of a frame may lie.
pub trait Foreign: Any + fmt::Debug {
    /// Copies what is in `place` now, from its byte `at` on, into `to`.
    fn read(&self, place: u32, at: usize, to: &mut [u8]);

    /// The frame in `place` is not needed there any more; said once for each that was borrowed.
    fn give_back(&self, place: u32);
}

/// The rest of a frame, where it lies.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// The memory.
    pub memory: Rc<dyn Foreign>,
    /// The place in it.
    pub place: u32,
    /// The bytes of the place that are the frame's.
    pub range: Range<usize>,
}

/// How a class keeps the bytes of a buffer.
pub(super) trait Storage<const N: usize>: fmt::Debug + Sized {
    /// `None`: this class has no use for such memory.
    fn new(memory: Memory<N>) -> Option<Self>;
    fn bytes(&self) -> Option<&[u8; N]>;
    fn bytes_mut(&mut self) -> Option<&mut [u8; N]>;
    /// The buffer has no frame any more.
    fn freed(&mut self);
}

impl<const N: usize> Storage<N> for Box<[u8; N]> {
    fn new(memory: Memory<N>) -> Option<Self> {
        if let Memory::Own(bytes) = memory { Some(bytes) } else { None }
    }

    #[inline]
    fn bytes(&self) -> Option<&[u8; N]> {
        Some(self)
    }

    #[inline]
    fn bytes_mut(&mut self) -> Option<&mut [u8; N]> {
        Some(self)
    }

    #[inline]
    fn freed(&mut self) {}
}

/// The memory of one buffer.
pub(super) enum Memory<const N: usize> {
    Own(Box<[u8; N]>),
    Lent(&'static mut [u8; N]),
}

impl<const N: usize> Deref for Memory<N> {
    type Target = [u8; N];

    #[inline]
    fn deref(&self) -> &[u8; N] {
        match self {
            Memory::Own(bytes) => bytes,
            Memory::Lent(bytes) => bytes,
        }
    }
}

impl<const N: usize> DerefMut for Memory<N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; N] {
        match self {
            Memory::Own(bytes) => bytes,
            Memory::Lent(bytes) => bytes,
        }
    }
}

/// A buffer whose bytes may be elsewhere.
pub(super) struct Lazy<const N: usize> {
    /// Empty while they are.
    here: OnceCell<Memory<N>>,
    away: Cell<Option<Away<N>>>,
}

/// Bytes that were not fetched yet, and the memory that they will be in.
struct Away<const N: usize> {
    room: Memory<N>,
    /// The buffer's first byte that is in the place, and from which byte of the place on.
    at: usize,
    elsewhere: Elsewhere,
}

impl<const N: usize> Away<N> {
    fn fetch(mut self) -> Memory<N> {
        let Elsewhere { memory, place, range } = self.elsewhere;
        if let Some(room) = self.room.get_mut(self.at..self.at + range.len()) {
            memory.read(place, range.start, room);
        }
        memory.give_back(place);
        self.room
    }
}

impl<const N: usize> Lazy<N> {
    /// Whether the memory is not the pool's own.
    pub(super) fn is_lent(&self) -> bool {
        matches!(self.here.get(), Some(Memory::Lent(_)))
    }

    // Out of the way of frames whose bytes are here.
    #[cold]
    #[inline(never)]
    fn fetch(&self) -> Option<&[u8; N]> {
        let away = self.away.take()?;
        Some(self.here.get_or_init(|| away.fetch()))
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self) {
        if let Some(away) = self.away.take() {
            away.elsewhere.memory.give_back(away.elsewhere.place);
            let _empty = self.here.set(away.room);
        }
    }

    /// What begins at byte `at` of this buffer is elsewhere.
    pub(super) fn borrow(&mut self, at: usize, elsewhere: Elsewhere) {
        self.freed();
        if let Some(room) = self.here.take() {
            self.away.set(Some(Away { room, at, elsewhere }));
        }
    }

    /// Where `range` of the buffer lies, if it is elsewhere.
    pub(super) fn elsewhere(&self, range: Range<usize>) -> Option<Elsewhere> {
        if self.here.get().is_some() {
            return None;
        }
        let away = self.away.take()?;
        let Elsewhere { memory, place, range: whole } = &away.elsewhere;
        let start = whole.start + range.start.checked_sub(away.at).unwrap_or(whole.len());
        let end = start.saturating_add(range.len());
        let found = (end <= whole.end).then(|| Elsewhere {
            memory: Rc::clone(memory),
            place: *place,
            range: start..end,
        });
        self.away.set(Some(away));
        found
    }
}

impl<const N: usize> Storage<N> for Lazy<N> {
    fn new(memory: Memory<N>) -> Option<Self> {
        Some(Self { here: OnceCell::from(memory), away: Cell::new(None) })
    }

    #[inline]
    fn bytes(&self) -> Option<&[u8; N]> {
        match self.here.get() {
            Some(memory) => Some(memory),
            None => self.fetch(),
        }
    }

    #[inline]
    fn bytes_mut(&mut self) -> Option<&mut [u8; N]> {
        self.bytes()?;
        self.here.get_mut().map(|memory| &mut **memory)
    }

    #[inline]
    fn freed(&mut self) {
        if self.here.get().is_none() {
            self.forget();
        }
    }
}

impl<const N: usize> fmt::Debug for Lazy<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy").field("here", &self.here.get().is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::cell::RefCell;

    use wire::{HEADER_MAX, Offload};

    use super::*;
    use crate::frame::Frame;
    use crate::pool::{Pool, PoolEmpty, PoolLimits};

    const LIMITS: PoolLimits = PoolLimits { small: 8, large: 4, headers: 4 };
    const LEN: usize = 5000;

    /// A memory of one place, and how often it was read and given back.
    #[derive(Debug)]
    struct Place {
        bytes: RefCell<Vec<u8>>,
        reads: Cell<u32>,
        given_back: Cell<u32>,
    }

    impl Foreign for Place {
        fn read(&self, place: u32, at: usize, to: &mut [u8]) {
            assert_eq!(place, 7);
            self.reads.update(|it| it + 1);
            to.copy_from_slice(&self.bytes.borrow()[at..at + to.len()]);
        }

        fn give_back(&self, place: u32) {
            assert_eq!(place, 7);
            self.given_back.update(|it| it + 1);
        }
    }

    fn borrowed(pool: &mut Pool) -> (Rc<Place>, Vec<u8>, Result<Frame, PoolEmpty>) {
        let bytes: Vec<u8> = (0..LEN).map(|i| i as u8 ^ (i >> 8) as u8).collect();
        let place = Place {
            bytes: RefCell::new(bytes.clone()),
            reads: Cell::new(0),
            given_back: Cell::new(0),
        };
        let place = Rc::new(place);
        let rest =
            Elsewhere { memory: Rc::<Place>::clone(&place), place: 7, range: HEADER_MAX..LEN };
        let frame = pool.borrow_in(&bytes[..HEADER_MAX], rest, Offload::NONE);
        (place, bytes, frame)
    }

    #[test]
    fn a_rest_that_nobody_looks_at_is_never_fetched() {
        let mut pool = Pool::new(LIMITS);
        let (place, bytes, frame) = borrowed(&mut pool);
        let frame = frame.unwrap();
        assert_eq!(frame.len(), LEN);
        assert_eq!(pool.front(&frame), Some(&bytes[..HEADER_MAX]));
        let (front, elsewhere) = pool.foreign(&frame).unwrap();
        assert_eq!((front, elsewhere.place), (&bytes[..HEADER_MAX], 7));
        assert_eq!(elsewhere.range, HEADER_MAX..LEN);
        // A flood shares it; the last one ends it.
        let other = pool.share(&frame).unwrap();
        pool.release(frame);
        assert_eq!((place.reads.get(), place.given_back.get()), (0, 0));
        pool.release(other);
        assert_eq!((place.reads.get(), place.given_back.get()), (0, 1));
        assert_eq!((pool.usage().large.used, pool.usage().headers.used), (0, 0));
    }

    #[test]
    fn whoever_looks_sees_all_of_it_and_it_changes_no_more() {
        let mut pool = Pool::new(LIMITS);
        let (place, bytes, frame) = borrowed(&mut pool);
        let mut frame = frame.unwrap();
        // The front was copied before.
        place.bytes.borrow_mut()[..HEADER_MAX].fill(0xff);
        pool.insert_tag(&mut frame, 5).unwrap();
        assert_eq!(pool.foreign(&frame).unwrap().1.range, HEADER_MAX..LEN);
        assert_eq!(pool.pieces(&frame).concat()[16..], bytes[12..]);
        assert_eq!((place.reads.get(), place.given_back.get()), (1, 1));
        place.bytes.borrow_mut().fill(0);
        assert_eq!(pool.pieces(&frame).concat()[16..], bytes[12..]);
        assert!(pool.foreign(&frame).is_none(), "it is here now");
        pool.release(frame);
        assert_eq!((place.reads.get(), place.given_back.get()), (1, 1));
        let again = pool.copy_in(&bytes, Offload::NONE).unwrap();
        assert_eq!(pool.pieces(&again).concat(), bytes);
        pool.release(again);
    }

    #[test]
    fn a_place_is_given_back_when_there_is_no_buffer() {
        let mut pool = Pool::new(PoolLimits { headers: 1, ..LIMITS });
        let (first, _, frame) = borrowed(&mut pool);
        let (second, _, none) = borrowed(&mut pool);
        assert!(none.is_err());
        assert_eq!((first.given_back.get(), second.given_back.get()), (0, 1));
        assert_eq!(pool.usage().large.used, 1);
        pool.release(frame.unwrap());
        let mut pool = Pool::new(PoolLimits { large: 0, ..LIMITS });
        let (place, _, none) = borrowed(&mut pool);
        assert!(none.is_err());
        assert_eq!(place.given_back.get(), 1);
    }

    #[test]
    fn the_first_buffers_are_of_the_memory_that_was_lent() {
        let memory = vec![0; Pool::memory_for(1) + 100].leak();
        let start = memory.as_ptr().addr();
        let mut pool = Pool::with_memory(LIMITS, memory);
        let first = pool.copy_in(&[1; LEN], Offload::NONE).unwrap();
        let second = pool.copy_in(&[2; LEN], Offload::NONE).unwrap();
        let small = pool.copy_in(&[3; 60], Offload::NONE).unwrap();
        let at = pool.lent_at(&first).unwrap();
        assert_eq!(pool.pieces(&first)[0].as_ptr().addr(), start + at);
        assert_eq!((pool.lent_at(&second), pool.lent_at(&small)), (None, None));
        for frame in [first, second, small] {
            pool.release(frame);
        }
    }
}
