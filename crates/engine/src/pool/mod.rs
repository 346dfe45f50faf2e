//! The buffers of one worker, and the frames that live in them.
//!
//! # Theory of operation
//!
//! A worker owns one [`Pool`] and hands it to every call that touches frame bytes. There are three
//! classes of buffers: *small* (2 KiB, an ordinary frame), *large* (64 KiB and a little, a GSO or
//! jumbo frame) and *header* (256 bytes and room for a tag). Memory is taken from the allocator some
//! buffers at a time, up to a limit per class, and never given back; no call allocates per frame. The free
//! list of each class is last-in first-out, so an idle network keeps to few pages.
//!
//! A [`Frame`] is an owning handle: a range of a body buffer, and optionally a header piece that
//! stands before it. The body may be shared by several frames (a flood; the segments of a GSO
//! frame) and is counted by a plain integer. The header piece belongs to one frame alone. A frame
//! that must be changed while its body is shared gets a header piece with the changed front, and
//! its range of the body starts later.
//!
//! Invariants:
//!
//! * The reference count of a body equals the number of frames that name it; a buffer with count
//!   zero is in the free list exactly once. Frames are neither `Copy` nor `Clone`, so only
//!   [`Pool::release`] can undo a count.
//! * A body's generation changes each time it becomes free. A frame whose generation is not its
//!   body's came from another pool, or is not to be used any more; it reads as empty, and releasing it
//!   does nothing. A header piece has none: it lives and ends with the body that its frame names.
//! * Bytes of a buffer outside the frame's range are never shown: they belong to earlier frames of
//!   other guests.
//!
//! Dropping a `Frame` or a `Lease` without giving it back leaks its buffer until the pool goes; the
//! tests compare [`Pool::usage`] to find that.

use core::ops::Range;

use wire::{HEADER_MAX, Offload};

use crate::batch::{BATCH, TxBatch};
use crate::frame::{Body, Frame, Lease};

mod class;
mod lazy;
mod rewrite;

use class::{Class, Taken};
use lazy::Lazy;
pub use lazy::{Elsewhere, Foreign};

/// Bytes before every frame body, for a VLAN tag or a link's own header.
pub const HEADROOM: usize = 64;

/// The longest frame that a small buffer holds, in bytes.
pub const SMALL_CAPACITY: usize = 2048;

/// The longest frame that a large buffer holds, in bytes: an IP packet of 64 KiB behind an Ethernet
/// header and two tags.
pub const LARGE_CAPACITY: usize = 65_536 + 256;

/// Bytes kept free before a header piece, so that a tag can be put in after the fact.
const HEADER_ROOM: usize = 16;

const CACHE_LINE: usize = 64;

/// Bytes of a small buffer: headroom, the frame, and what it takes to begin with a line of the cache
/// wherever the buffer is. With what common allocators add, an odd number of lines from one to the
/// next: with a power of two, the first lines of all buffers, which is where the headers are, would
/// compete for a few sets of the cache.
const SMALL: usize = HEADROOM + SMALL_CAPACITY + CACHE_LINE + 48;

/// Bytes of a large buffer.
const LARGE: usize = HEADROOM + LARGE_CAPACITY;

/// Bytes of a header buffer.
const HEADER: usize = HEADER_ROOM + HEADER_MAX;

/// The most buffers of one class; what a packed index can say.
const INDEX_MAX: usize = (1 << 31) - 2;

/// Buffers of each class that stalled links leave to others, or a quarter of the class if that is
/// less: several batches on their way from link to link.
const RESERVE: usize = 8 * BATCH;

/// How many buffers of each class a pool may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Buffers of 2 KiB.
    pub small: usize,
    /// Buffers of 64 KiB and a little.
    pub large: usize,
    /// Header buffers of 256 bytes.
    pub headers: usize,
}

/// How many buffers of one class are in use, and how many there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassUsage {
    /// Buffers that frames or leases hold now.
    pub used: usize,
    /// Buffers whose memory has been taken from the allocator.
    pub grown: usize,
    /// The limit.
    pub limit: usize,
}

/// What a pool holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// Buffers of 2 KiB.
    pub small: ClassUsage,
    /// Buffers of 64 KiB and a little.
    pub large: ClassUsage,
    /// Header buffers.
    pub headers: ClassUsage,
}

/// No buffer is free for this frame: the limit of its class is met, or it is longer than
/// [`LARGE_CAPACITY`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no buffer is free for the frame: the pool is used up to its limit, or the frame is too long"
)]
pub struct PoolEmpty;

/// Why a frame could not be completed or segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RewriteError {
    /// No header buffer is free.
    PoolEmpty,
    /// The metadata does not fit the bytes.
    Refused,
}

/// All buffers of one worker.
#[derive(Debug)]
pub struct Pool {
    small: Class<SMALL>,
    large: Large,
    headers: Class<HEADER>,
}

/// The large class.
type Large = Class<LARGE, Lazy<LARGE>>;

impl Pool {
    /// A pool that may grow to `limits`; it holds no memory yet.
    #[must_use]
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            small: Class::new(limits.small, 64),
            large: Class::new(limits.large, 8),
            headers: Class::new(limits.headers, 64),
        }
    }

    /// The same; the first large buffers are made of this memory, which somebody else may read.
    #[must_use]
    pub fn with_memory(limits: PoolLimits, memory: &'static mut [u8]) -> Self {
        Self { large: Class::with_memory(limits.large, 8, memory), ..Self::new(limits) }
    }

    /// Bytes of memory that so many large buffers are made of.
    #[must_use]
    pub const fn memory_for(large: usize) -> usize {
        large * LARGE
    }

    /// Makes a frame of a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`]; nothing is changed.
    #[inline]
    pub fn copy_in(&mut self, bytes: &[u8], offload: Offload) -> Result<Frame, PoolEmpty> {
        if bytes.len() > SMALL_CAPACITY {
            return self.copy_in_large(bytes, offload);
        }
        let Taken { index, generation, bytes: room } = self.small.take().ok_or(PoolEmpty)?;
        // The frame begins with a line of the cache, so that its headers are in one, or in two.
        let start = HEADROOM + (room.as_ptr().addr().wrapping_neg() & (CACHE_LINE - 1));
        if let Some(room) = room.get_mut(start..start + bytes.len()) {
            copy(room, bytes);
        }
        Ok(Frame::of_body(Body::new(index, generation, false), start, bytes.len(), offload))
    }

    fn copy_in_large(&mut self, bytes: &[u8], offload: Offload) -> Result<Frame, PoolEmpty> {
        if bytes.len() > LARGE_CAPACITY {
            return Err(PoolEmpty);
        }
        let Taken { index, generation, bytes: room } = self.large.take().ok_or(PoolEmpty)?;
        if let Some(room) = room.get_mut(HEADROOM..HEADROOM + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        Ok(Frame::of_body(Body::new(index, generation, true), HEADROOM, bytes.len(), offload))
    }

    /// Lends a whole large buffer, to read a frame of unknown length straight into.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`]; nothing is changed.
    pub fn lease_large(&mut self) -> Result<Lease, PoolEmpty> {
        let Taken { index, generation, .. } = self.large.take().ok_or(PoolEmpty)?;
        Ok(Lease(Body::new(index, generation, true)))
    }

    /// The bytes of a leased buffer, [`LARGE_CAPACITY`] of them. What is in them is left over from
    /// earlier frames.
    pub fn lease_mut(&mut self, lease: &Lease) -> &mut [u8] {
        self.large.bytes_mut(lease.0).get_mut(HEADROOM..).unwrap_or_default()
    }

    /// Makes a frame of `range` of a leased buffer.
    ///
    /// A frame that fits a small buffer is moved to one, so that a train of short frames does not
    /// hold 64 KiB each. A range that leaves the buffer is cut to it.
    pub fn fill(&mut self, lease: Lease, range: Range<usize>, offload: Offload) -> Frame {
        let end = range.end.min(LARGE_CAPACITY);
        let start = range.start.min(end);
        let len = end - start;
        if len <= SMALL_CAPACITY
            && let Some(Taken { index, generation, bytes: to }) = self.small.take()
        {
            let from = self.large.part(lease.0, HEADROOM + start, len);
            let at = HEADROOM + (to.as_ptr().addr().wrapping_neg() & (CACHE_LINE - 1));
            // A stale lease has no bytes at all.
            let len = from.len();
            if let Some(to) = to.get_mut(at..at + len) {
                copy(to, from);
            }
            self.give_back(lease);
            return Frame::of_body(Body::new(index, generation, false), at, len, offload);
        }
        Frame::of_body(lease.0, HEADROOM + start, len, offload)
    }

    /// Makes a frame of a copy of `front`, and of a rest that lies elsewhere: it is fetched when somebody asks for
    /// its bytes, if anybody does. What decides about the frame must be in the front.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`] if no buffer is free, or the front is not [`HEADER_MAX`] bytes long, or the frame too long;
    /// the place is given back.
    pub fn borrow_in(
        &mut self,
        front: &[u8],
        rest: Elsewhere,
        offload: Offload,
    ) -> Result<Frame, PoolEmpty> {
        let len = rest.range.len();
        let fits = front.len() == HEADER_MAX && front.len() + len <= LARGE_CAPACITY;
        let lease = if fits { self.lease_large() } else { Err(PoolEmpty) };
        let Ok(Lease(body)) = lease else {
            rest.memory.give_back(rest.place);
            return Err(PoolEmpty);
        };
        let Some(header) = self.headers.take().map(|it| it.index) else {
            self.large.put(body);
            rest.memory.give_back(rest.place);
            return Err(PoolEmpty);
        };
        if let Some(room) = self.headers.owned_mut(header).get_mut(HEADER_ROOM..) {
            copy(room.get_mut(..front.len()).unwrap_or_default(), front);
        }
        // Where the rest would be if all of the frame were here.
        let at = HEADROOM + front.len();
        self.large.borrow(body, at, rest);
        let mut frame = Frame::of_body(body, at, len, offload);
        frame.set_header(header, HEADER_ROOM, front.len());
        Ok(frame)
    }

    /// The piece before a frame's rest, and where the rest lies, if it is elsewhere and was not fetched.
    #[inline]
    #[must_use]
    pub fn foreign(&self, frame: &Frame) -> Option<(&[u8], Elsewhere)> {
        let header = frame.header().filter(|_| frame.body.is_large())?;
        let (start, len) = (frame.start(), frame.body_len());
        let elsewhere = self.large.elsewhere(frame.body, start..start + len)?;
        Some((self.piece(frame, header), elsewhere))
    }

    /// Where a frame's rest, or all of it, begins in the memory that the pool was made with, if it is there.
    #[inline]
    #[must_use]
    pub fn lent_at(&self, frame: &Frame) -> Option<usize> {
        if !frame.body.is_large() {
            return None;
        }
        self.large.lent_at(frame.body).map(|at| at + frame.start())
    }

    /// Takes back a lease that became no frame.
    #[expect(clippy::needless_pass_by_value, reason = "the handle ends here")]
    pub fn give_back(&mut self, lease: Lease) {
        self.large.put(lease.0);
    }

    /// The bytes of a frame, in at most two pieces; the second may be empty.
    #[inline]
    #[must_use]
    pub fn pieces<'a>(&'a self, frame: &Frame) -> [&'a [u8]; 2] {
        match frame.header() {
            None => [self.whole(frame), &[]],
            Some(header) => [self.piece(frame, header), self.body(frame)],
        }
    }

    /// Ends a frame.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the handle ends here")]
    pub fn release(&mut self, frame: Frame) {
        self.end(&frame);
    }

    /// Ends the first `count` frames of a batch, as a link does with those that it has written.
    #[inline]
    pub fn release_front(&mut self, batch: &mut TxBatch, count: usize) {
        if count >= batch.len() {
            // The usual case: all of them, none of which has to be moved.
            batch.iter().for_each(|frame| self.end(frame));
            batch.clear();
        } else {
            batch.drain(..count).for_each(|frame| self.end(&frame));
        }
    }

    /// What is in use now.
    #[must_use]
    pub fn usage(&self) -> PoolUsage {
        PoolUsage {
            small: self.small.usage(),
            large: self.large.usage(),
            headers: self.headers.usage(),
        }
    }

    /// Ends a frame whose handle is not used again.
    #[inline]
    pub(crate) fn end(&mut self, frame: &Frame) {
        let known = if frame.body.is_large() {
            put_large(&mut self.large, frame.body)
        } else {
            self.small.put(frame.body)
        };
        if let Some(header) = frame.header()
            && known
        {
            self.headers.put_owned(header);
        }
    }

    /// The part of the frame that is in its body buffer.
    #[inline]
    pub(crate) fn body(&self, frame: &Frame) -> &[u8] {
        body_of(&self.small, &self.large, frame)
    }

    /// All of a frame that has no header piece.
    #[inline]
    fn whole(&self, frame: &Frame) -> &[u8] {
        let (start, len) = (frame.start(), frame.len());
        if frame.body.is_large() {
            large_part(&self.large, frame.body, start, len)
        } else {
            self.small.part(frame.body, start, len)
        }
    }

    /// The part of the frame that is in its header piece, which is in this buffer.
    fn piece(&self, frame: &Frame, header: u32) -> &[u8] {
        let known = if frame.body.is_large() {
            self.large.knows(frame.body)
        } else {
            self.small.knows(frame.body)
        };
        let from = frame.header_start();
        let piece = self.headers.owned(header).get(from..from + frame.header_len());
        piece.filter(|_| known).unwrap_or_default()
    }

    /// How many more buffers of this frame's class can be had.
    #[inline]
    pub(crate) fn available(&self, large: bool) -> usize {
        if large { self.large.available() } else { self.small.available() }
    }

    /// Whether the buffers that this frame is in have become so few that only the reserve is left.
    #[inline]
    pub(crate) fn is_scarce(&self, frame: &Frame) -> bool {
        let body =
            if frame.body.is_large() { self.large.is_scarce() } else { self.small.is_scarce() };
        body || (frame.has_header() && self.headers.is_scarce())
    }

    /// Whether any class is down to its reserve.
    pub(crate) fn any_scarce(&self) -> bool {
        self.small.is_scarce() || self.large.is_scarce() || self.headers.is_scarce()
    }

    /// The whole body buffer of a frame, if no other frame shares it.
    #[inline]
    fn exclusive_mut(&mut self, body: Body) -> Option<&mut [u8]> {
        if body.is_large() {
            exclusive_large(&mut self.large, body)
        } else {
            self.small.exclusive_mut(body)
        }
    }
}

// What is done to large buffers stays out of the way of small frames: it is more, and matters less.

#[cold]
#[inline(never)]
fn large_part(large: &Large, body: Body, start: usize, len: usize) -> &[u8] {
    large.part(body, start, len)
}

#[cold]
#[inline(never)]
fn put_large(large: &mut Large, body: Body) -> bool {
    large.put(body)
}

#[cold]
#[inline(never)]
fn exclusive_large(large: &mut Large, body: Body) -> Option<&mut [u8]> {
    large.exclusive_mut(body)
}

/// [`Pool::body`] for callers that hold the header class mutably at the same time.
#[inline]
fn body_of<'a>(small: &'a Class<SMALL>, large: &'a Large, frame: &Frame) -> &'a [u8] {
    let (start, len) = (frame.start(), frame.body_len());
    if frame.body.is_large() {
        large_part(large, frame.body, start, len)
    } else {
        small.part(frame.body, start, len)
    }
}

/// Copies bytes to as many. Frames are mostly short, and a call to find out how short costs as much as
/// copying them: two moves of a fixed size, which may overlap, do for most.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        32..=64 => copy_ends::<32>(to, from),
        65..=128 => copy_ends::<64>(to, from),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first `N` and the last `N` bytes.
#[inline]
fn copy_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}
