//! The buffers of one worker, and the frames that live in them.
//!
//! # Theory of operation
//!
//! A worker owns one [`Pool`] and hands it to every call that touches frame bytes. There are three
//! classes of buffers: *small* (2 KiB, an ordinary frame), *large* (64 KiB and a little, a GSO or
//! jumbo frame) and *header* (256 bytes and room for a tag). Memory is taken from the allocator in
//! chunks, up to a limit per class, and never given back; no call allocates per frame. The free
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
//! * A buffer's generation changes each time it becomes free. A frame whose generation is not its
//!   buffer's came from another pool; it reads as empty, and releasing it does nothing.
//! * Bytes of a buffer outside the frame's range are never shown: they belong to earlier frames of
//!   other guests.
//!
//! Dropping a `Frame` or a `Lease` without giving it back leaks its buffer until the pool goes; the
//! tests compare [`Pool::usage`] to find that.

use core::ops::Range;

use wire::{HEADER_MAX, Offload};

use crate::batch::BATCH;
use crate::frame::{Frame, Lease};

mod class;
mod rewrite;

use class::Class;

/// Bytes before every frame body, for a VLAN tag or a link's own header.
pub const HEADROOM: usize = 64;

/// The longest frame that a small buffer holds, in bytes.
pub const SMALL_CAPACITY: usize = 2048;

/// The longest frame that a large buffer holds, in bytes: an IP packet of 64 KiB behind an Ethernet
/// header and two tags.
pub const LARGE_CAPACITY: usize = 65_536 + 256;

/// Bytes kept free before a header piece, so that a tag can be put in after the fact.
const HEADER_ROOM: usize = 16;

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
    small: Class,
    large: Class,
    headers: Class,
}

impl Pool {
    /// A pool that may grow to `limits`; it holds no memory yet.
    #[must_use]
    pub fn new(limits: PoolLimits) -> Self {
        // The strides are odd multiples of a cache line. With a power of two, the first lines of
        // all buffers, which is where the headers are, would compete for a few sets of the cache.
        Self {
            small: Class::new(limits.small, HEADROOM + SMALL_CAPACITY, 6),
            large: Class::new(limits.large, HEADROOM + LARGE_CAPACITY, 3),
            headers: Class::new(limits.headers, HEADER_ROOM + HEADER_MAX, 6),
        }
    }

    /// Makes a frame of a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`]; nothing is changed.
    #[inline]
    pub fn copy_in(&mut self, bytes: &[u8], offload: Offload) -> Result<Frame, PoolEmpty> {
        let large = bytes.len() > SMALL_CAPACITY;
        if bytes.len() > LARGE_CAPACITY {
            return Err(PoolEmpty);
        }
        let class = self.class_mut(large);
        let body = class.take(large).ok_or(PoolEmpty)?;
        if let Some(room) = class.bytes_mut(body).get_mut(HEADROOM..HEADROOM + bytes.len()) {
            room.copy_from_slice(bytes);
        }
        Ok(Frame::of_body(body, HEADROOM, bytes.len(), offload))
    }

    /// Lends a whole large buffer, to read a frame of unknown length straight into.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`]; nothing is changed.
    pub fn lease_large(&mut self) -> Result<Lease, PoolEmpty> {
        self.large.take(true).map(Lease).ok_or(PoolEmpty)
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
            && let Some(body) = self.small.take(false)
        {
            let from = self.large.bytes(lease.0).get(HEADROOM + start..HEADROOM + end);
            if let (Some(from), Some(to)) =
                (from, self.small.bytes_mut(body).get_mut(HEADROOM..HEADROOM + len))
            {
                to.copy_from_slice(from);
            }
            self.give_back(lease);
            return Frame::of_body(body, HEADROOM, len, offload);
        }
        Frame::of_body(lease.0, HEADROOM + start, len, offload)
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
        match frame.header {
            None => [self.body(frame), &[]],
            Some(header) => {
                let from = usize::from(frame.header_start);
                let to = from + usize::from(frame.header_len);
                [self.headers.bytes(header).get(from..to).unwrap_or_default(), self.body(frame)]
            }
        }
    }

    /// Ends a frame.
    #[inline]
    #[expect(clippy::needless_pass_by_value, reason = "the handle ends here")]
    pub fn release(&mut self, frame: Frame) {
        if let Some(header) = frame.header {
            self.headers.put(header);
        }
        self.class_mut(frame.body.is_large()).put(frame.body);
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

    /// The part of the frame that is in its body buffer.
    #[inline]
    pub(crate) fn body(&self, frame: &Frame) -> &[u8] {
        let class = if frame.body.is_large() { &self.large } else { &self.small };
        class.part(frame.body, frame.start as usize, frame.len as usize)
    }

    /// How many more buffers of this frame's class can be had.
    #[inline]
    pub(crate) fn available(&self, large: bool) -> usize {
        if large { self.large.available() } else { self.small.available() }
    }

    /// Whether the buffers that this frame is in have become so few that only the reserve is left.
    #[inline]
    pub(crate) fn is_scarce(&self, frame: &Frame) -> bool {
        let body = if frame.body.is_large() { &self.large } else { &self.small };
        body.is_scarce() || (frame.header.is_some() && self.headers.is_scarce())
    }

    /// Whether any class is down to its reserve.
    pub(crate) fn any_scarce(&self) -> bool {
        self.small.is_scarce() || self.large.is_scarce() || self.headers.is_scarce()
    }

    #[inline]
    fn class_mut(&mut self, large: bool) -> &mut Class {
        if large { &mut self.large } else { &mut self.small }
    }
}

/// [`Pool::body`] for callers that hold the header class mutably at the same time.
fn body_of<'a>(small: &'a Class, large: &'a Class, frame: &Frame) -> &'a [u8] {
    let class = if frame.body.is_large() { large } else { small };
    class.part(frame.body, frame.start as usize, frame.len as usize)
}
