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

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use wire::segment::Segmenter;
use wire::{HEADER_MAX, Offload, PartialChecksum, checksum};

use crate::batch::BATCH;
use crate::frame::{Body, Frame, Lease};

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
        let start = frame.start as usize;
        let class = if frame.body.is_large() { &self.large } else { &self.small };
        class.bytes(frame.body).get(start..start + frame.len as usize).unwrap_or_default()
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

    /// The bytes in which the headers of a frame are, all of them: a header piece holds the first
    /// [`HEADER_MAX`] bytes of its frame or the whole frame, unless it is one that
    /// [`Self::next_segment`] made. None for such a one.
    #[inline]
    pub(crate) fn front(&self, frame: &Frame) -> Option<&[u8]> {
        match frame.header {
            None => Some(self.body(frame)),
            Some(_) if usize::from(frame.header_len) < HEADER_MAX && frame.len > 0 => None,
            Some(_) => Some(self.pieces(frame)[0]),
        }
    }

    /// The first `len` bytes of a frame, to be changed: in place where nobody shares them, else in a
    /// header piece, which the frame gets if it has none. The rest of the body stays where it is and
    /// is never copied.
    ///
    /// None, and nothing changed, if the frame or [`HEADER_MAX`] is shorter than that, or no header
    /// buffer is free.
    #[inline]
    pub fn header_mut(&mut self, frame: &mut Frame, len: usize) -> Option<&mut [u8]> {
        if frame.header.is_none() {
            let large = frame.body.is_large();
            if self.class_mut(large).is_exclusive(frame.body) {
                if len > frame.len as usize {
                    return None;
                }
                let start = frame.start as usize;
                return self.class_mut(large).bytes_mut(frame.body).get_mut(start..start + len);
            }
            self.add_header(frame)?;
        }
        let start = usize::from(frame.header_start);
        let piece = self.headers.bytes_mut(frame.header?);
        piece.get_mut(start..start + usize::from(frame.header_len))?.get_mut(..len)
    }

    /// Moves the front of a frame into a header piece of its own.
    #[cold]
    fn add_header(&mut self, frame: &mut Frame) -> Option<()> {
        let header = self.headers.take(false)?;
        let body = body_of(&self.small, &self.large, frame);
        let front = body.get(..HEADER_MAX).unwrap_or(body);
        let len = front.len();
        let room = self.headers.bytes_mut(header).get_mut(HEADER_ROOM..HEADER_ROOM + len);
        if let Some(room) = room {
            room.copy_from_slice(front);
        }
        frame.set_header(header, HEADER_ROOM, len);
        frame.advance(len);
        Some(())
    }

    /// Makes a frame of `front`, which is a header piece of its own, and of the bytes `range` of
    /// another frame behind it, which stay shared. The new frame has no metadata.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`] if no header buffer is free, or `front` and what of `range` has to stand with it
    /// are longer than [`HEADER_MAX`].
    pub(crate) fn compose(
        &mut self,
        front: &[u8],
        frame: &Frame,
        range: Range<usize>,
    ) -> Result<Frame, PoolEmpty> {
        let header = self.headers.take(false).ok_or(PoolEmpty)?;
        let mut piece = self.share_body(frame);
        piece.offload = Offload::NONE;
        piece.set_header(header, HEADER_ROOM, 0);
        let mut filled = self.append(&mut piece, front);
        // What of the range is in the other frame's header piece is copied; the body is not.
        let border = usize::from(frame.header_len);
        if let Some(other) = frame.header
            && range.start < border
        {
            let mut copy = [0; HEADER_MAX];
            let from = usize::from(frame.header_start);
            let part = from + range.start..from + range.end.min(border);
            let part = self.headers.bytes(other).get(part).unwrap_or_default();
            let len = part.len();
            if let Some(room) = copy.get_mut(..len) {
                room.copy_from_slice(part);
            }
            filled &= self.append(&mut piece, copy.get(..len).unwrap_or_default());
        }
        piece.narrow(range.start.saturating_sub(border)..range.end.saturating_sub(border));
        // The front is as complete as everybody who reads headers expects.
        let missing = HEADER_MAX.saturating_sub(usize::from(piece.header_len));
        let missing = missing.min(piece.len as usize);
        let mut copy = [0; HEADER_MAX];
        if let (Some(room), Some(part)) =
            (copy.get_mut(..missing), body_of(&self.small, &self.large, &piece).get(..missing))
        {
            room.copy_from_slice(part);
        }
        filled &= self.append(&mut piece, copy.get(..missing).unwrap_or_default());
        piece.advance(missing);
        if filled {
            return Ok(piece);
        }
        self.release(piece);
        Err(PoolEmpty)
    }

    /// Adds bytes at the end of a header piece. False if there is no room.
    fn append(&mut self, frame: &mut Frame, bytes: &[u8]) -> bool {
        let Some(header) = frame.header else { return false };
        let len = usize::from(frame.header_len);
        let at = usize::from(frame.header_start) + len;
        if len + bytes.len() > HEADER_MAX {
            return false;
        }
        let Some(room) = self.headers.bytes_mut(header).get_mut(at..at + bytes.len()) else {
            return false;
        };
        room.copy_from_slice(bytes);
        frame.set_header(header, usize::from(frame.header_start), len + bytes.len());
        true
    }

    /// Cuts a frame to its first `len` bytes.
    pub(crate) fn truncate(frame: &mut Frame, len: usize) {
        let front = usize::from(frame.header_len).min(len);
        // At most what it was.
        #[expect(clippy::cast_possible_truncation)]
        let front = front as u16;
        frame.header_len = front;
        frame.narrow(0..len - usize::from(front));
    }

    /// A second frame with the same content, on the same body.
    ///
    /// # Errors
    ///
    /// [`PoolEmpty`] if the frame has a header piece and no buffer is free for a copy.
    #[inline]
    pub(crate) fn share(&mut self, frame: &Frame) -> Result<Frame, PoolEmpty> {
        match frame.header {
            None => Ok(self.share_body(frame)),
            Some(header) => self.share_with(frame, header),
        }
    }

    #[cold]
    fn share_with(&mut self, frame: &Frame, header: Body) -> Result<Frame, PoolEmpty> {
        let copy = self.headers.take(false).ok_or(PoolEmpty)?;
        let mut bytes = [0; HEADER_MAX];
        let start = usize::from(frame.header_start);
        let len = usize::from(frame.header_len).min(HEADER_MAX);
        if let (Some(to), Some(from)) =
            (bytes.get_mut(..len), self.headers.bytes(header).get(start..start + len))
        {
            to.copy_from_slice(from);
        }
        if let Some(to) = self.headers.bytes_mut(copy).get_mut(HEADER_ROOM..HEADER_ROOM + len) {
            to.copy_from_slice(bytes.get(..len).unwrap_or_default());
        }
        let mut shared = self.share_body(frame);
        shared.set_header(copy, HEADER_ROOM, len);
        Ok(shared)
    }

    /// A second frame on the same body, without the header piece.
    #[inline]
    fn share_body(&mut self, frame: &Frame) -> Frame {
        self.class_mut(frame.body.is_large()).share(frame.body);
        frame.alias()
    }

    /// Removes four bytes behind the two addresses: the outer VLAN tag of a frame that was just read.
    /// False, and nothing done, if the frame is shorter than that or its bytes are shared.
    pub(crate) fn remove_tag(&mut self, frame: &mut Frame) -> bool {
        let start = frame.start as usize;
        let class = self.class_mut(frame.body.is_large());
        if frame.len < 18 || !class.is_exclusive(frame.body) {
            return false;
        }
        class.bytes_mut(frame.body).copy_within(start..start + 12, start + 4);
        frame.start += 4;
        frame.len -= 4;
        frame.offload = frame.offload.with_tag_popped();
        true
    }

    /// Puts an 802.1Q tag behind the two addresses, in place where nobody shares the bytes, else in
    /// a header piece.
    pub(crate) fn insert_tag(&mut self, frame: &mut Frame, tci: u16) -> Result<(), PoolEmpty> {
        let [hi, lo] = tci.to_be_bytes();
        let tag = [0x81, 0x00, hi, lo];
        if let Some(header) = frame.header {
            let start = usize::from(frame.header_start);
            let bytes = self.headers.bytes_mut(header);
            if start < 4 || start + 12 > bytes.len() {
                return Err(PoolEmpty);
            }
            bytes.copy_within(start..start + 12, start - 4);
            if let Some(room) = bytes.get_mut(start + 8..start + 12) {
                room.copy_from_slice(&tag);
            }
            frame.header_start -= 4;
            frame.header_len += 4;
        } else {
            let start = frame.start as usize;
            let class = self.class_mut(frame.body.is_large());
            if class.is_exclusive(frame.body) && start >= 4 {
                let bytes = class.bytes_mut(frame.body);
                bytes.copy_within(start..start + 12, start - 4);
                if let Some(room) = bytes.get_mut(start + 8..start + 12) {
                    room.copy_from_slice(&tag);
                }
                frame.start -= 4;
                frame.len += 4;
            } else {
                let mut front = [0; 16];
                let (addresses, rest) = front.split_at_mut(12);
                addresses.copy_from_slice(self.body(frame).get(..12).ok_or(PoolEmpty)?);
                rest.copy_from_slice(&tag);
                let header = self.headers.take(false).ok_or(PoolEmpty)?;
                if let Some(room) =
                    self.headers.bytes_mut(header).get_mut(HEADER_ROOM..HEADER_ROOM + 16)
                {
                    room.copy_from_slice(&front);
                }
                frame.set_header(header, HEADER_ROOM, 16);
                frame.advance(12);
            }
        }
        frame.offload = frame.offload.with_tag_pushed();
        Ok(())
    }

    /// Completes a partial checksum: in place where nobody shares the bytes, else in a header
    /// piece.
    pub(crate) fn complete(&mut self, frame: &mut Frame) -> Result<(), RewriteError> {
        if self.complete_in_place(frame) {
            return Ok(());
        }
        if frame.header.is_some() {
            return Err(RewriteError::Refused);
        }
        let header = self.headers.take(false).ok_or(RewriteError::PoolEmpty)?;
        let body = body_of(&self.small, &self.large, frame);
        let done = header_room(&mut self.headers, header)
            .and_then(|room| checksum::complete(&frame.offload, &[body, &[]], room).ok());
        if let Some(front) = done {
            frame.set_header(header, HEADER_ROOM, front);
            frame.advance(front);
            frame.offload = Offload::NONE;
            Ok(())
        } else {
            self.headers.put(header);
            Err(RewriteError::Refused)
        }
    }

    /// Completes a partial checksum where it is, wherever that is. False, and nothing done, if the
    /// frame's bytes are shared or the field is not in them.
    pub(crate) fn complete_in_place(&mut self, frame: &mut Frame) -> bool {
        let Some(partial) = frame.offload.checksum else { return false };
        if frame.header.is_some() {
            return self.complete_in_header(frame, partial);
        }
        let class = self.class_mut(frame.body.is_large());
        if !class.is_exclusive(frame.body) {
            return false;
        }
        let range = frame.start as usize..(frame.start + frame.len) as usize;
        let bytes = class.bytes_mut(frame.body).get_mut(range).unwrap_or_default();
        let Some(covered) = bytes.get_mut(usize::from(partial.start)..) else { return false };
        let sum = !checksum::sum(covered);
        let field =
            covered.get_mut(usize::from(partial.offset)..).and_then(|f| f.first_chunk_mut());
        let Some(field) = field else { return false };
        // Zero would mean "no checksum" in UDP (RFC 768); its other form does for every protocol.
        *field = if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() };
        frame.offload.checksum = None;
        true
    }

    /// The same for a frame with a header piece, which is nobody else's.
    #[cold]
    fn complete_in_header(&mut self, frame: &mut Frame, partial: PartialChecksum) -> bool {
        let sum =
            !checksum::sum_pieces(&self.pieces(frame), &(usize::from(partial.start)..frame.len()));
        let Some(header) = frame.header else { return false };
        let start = usize::from(frame.header_start);
        let piece = self.headers.bytes_mut(header);
        let piece = piece.get_mut(start..start + usize::from(frame.header_len));
        let field = piece
            .and_then(|piece| piece.get_mut(partial.field()..))
            .and_then(|field| field.first_chunk_mut());
        let Some(field) = field else { return false };
        *field = if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() };
        frame.offload.checksum = None;
        true
    }

    /// Starts to cut a GSO frame.
    pub(crate) fn segmenter(&self, frame: &Frame) -> Result<Segmenter, RewriteError> {
        Segmenter::new(&frame.offload, &self.pieces(frame)).map_err(|_| RewriteError::Refused)
    }

    /// The next segment of `frame`: a header piece of its own, and a range of the shared body.
    pub(crate) fn next_segment(
        &mut self,
        frame: &Frame,
        segmenter: &mut Segmenter,
    ) -> Result<Frame, RewriteError> {
        if frame.header.is_some() {
            return self.next_segment_behind_header(frame, segmenter);
        }
        let header = self.headers.take(false).ok_or(RewriteError::PoolEmpty)?;
        let body = body_of(&self.small, &self.large, frame);
        let segment = header_room(&mut self.headers, header)
            .and_then(|room| segmenter.next(&[body, &[]], room));
        let Some(segment) = segment else {
            self.headers.put(header);
            return Err(RewriteError::Refused);
        };
        let mut piece = self.share_body(frame);
        piece.offload = Offload::NONE;
        piece.set_header(header, HEADER_ROOM, segment.header_len);
        piece.narrow(segment.payload);
        Ok(piece)
    }

    /// The same for a frame whose front is in a header piece, with part of the payload perhaps.
    #[cold]
    fn next_segment_behind_header(
        &mut self,
        frame: &Frame,
        segmenter: &mut Segmenter,
    ) -> Result<Frame, RewriteError> {
        let mut room = [0; HEADER_MAX];
        let segment = segmenter.next(&self.pieces(frame), &mut room);
        let segment = segment.ok_or(RewriteError::Refused)?;
        let front = room.get(..segment.header_len).unwrap_or_default();
        self.compose(front, frame, segment.payload).map_err(|PoolEmpty| RewriteError::PoolEmpty)
    }

    #[inline]
    fn class_mut(&mut self, large: bool) -> &mut Class {
        if large { &mut self.large } else { &mut self.small }
    }
}

/// [`Pool::body`] for callers that hold the header class mutably at the same time.
fn body_of<'a>(small: &'a Class, large: &'a Class, frame: &Frame) -> &'a [u8] {
    let start = frame.start as usize;
    let class = if frame.body.is_large() { large } else { small };
    class.bytes(frame.body).get(start..start + frame.len as usize).unwrap_or_default()
}

fn header_room(headers: &mut Class, header: Body) -> Option<&mut [u8; HEADER_MAX]> {
    headers.bytes_mut(header).get_mut(HEADER_ROOM..)?.first_chunk_mut()
}

/// One class of equal buffers.
#[derive(Debug)]
struct Class {
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
    fn new(limit: usize, stride: usize, chunk_shift: u32) -> Self {
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
    fn take(&mut self, large: bool) -> Option<Body> {
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
    fn put(&mut self, body: Body) {
        if let Some(slot) = self.slot_mut(body) {
            slot.refs -= 1;
            if slot.refs == 0 {
                slot.generation = slot.generation.wrapping_add(1);
                self.free.push(body.index());
            }
        }
    }

    #[inline]
    fn share(&mut self, body: Body) {
        if let Some(slot) = self.slot_mut(body) {
            slot.refs += 1;
        }
    }

    #[inline]
    fn is_exclusive(&self, body: Body) -> bool {
        self.slots.get(body.index() as usize).is_some_and(|slot| slot.refs == 1)
    }

    #[inline]
    fn bytes(&self, body: Body) -> &[u8] {
        let index = body.index() as usize;
        let known = self.slots.get(index).is_some_and(|slot| slot.generation == body.generation);
        debug_assert!(known, "the frame belongs to another pool");
        let start = (index & ((1 << self.chunk_shift) - 1)) * self.stride;
        match self.chunks.get(index >> self.chunk_shift) {
            Some(chunk) if known => chunk.get(start..start + self.stride).unwrap_or_default(),
            _ => &[],
        }
    }

    #[inline]
    fn bytes_mut(&mut self, body: Body) -> &mut [u8] {
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
    fn available(&self) -> usize {
        self.free.len() + (self.limit - self.slots.len())
    }

    #[inline]
    fn is_scarce(&self) -> bool {
        self.available() < self.reserve
    }

    fn usage(&self) -> ClassUsage {
        ClassUsage {
            used: self.slots.len() - self.free.len(),
            grown: self.slots.len(),
            limit: self.limit,
        }
    }
}
