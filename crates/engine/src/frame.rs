//! Handles to frames and to leased buffers. The bytes are in the [`Pool`](crate::Pool).

use core::num::NonZeroU32;
use core::ops::Range;

use wire::Offload;

/// A buffer of a pool, as it was when the handle was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// The buffer's index plus one, and the top bit if it is of the large class. Packed, because
    /// frames are moved around a lot: from the link's batch to a queue to another link's batch.
    place: NonZeroU32,
    pub(crate) generation: u32,
}

const LARGE: u32 = 1 << 31;

impl Body {
    /// `index` is below 2^31 - 1; a pool has fewer buffers.
    #[inline]
    pub(crate) fn new(index: u32, generation: u32, large: bool) -> Self {
        let flag = if large { LARGE } else { 0 };
        let place = NonZeroU32::new((index + 1) | flag).unwrap_or(NonZeroU32::MIN);
        Self { place, generation }
    }

    #[inline]
    pub(crate) fn index(self) -> u32 {
        (self.place.get() & !LARGE) - 1
    }

    #[inline]
    pub(crate) fn is_large(self) -> bool {
        self.place.get() & LARGE != 0
    }
}

/// To how many stations a frame is addressed; told from the destination address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cast {
    #[default]
    Unicast,
    Multicast,
    Broadcast,
}

/// One Ethernet frame: bytes in a pool, and the offload metadata that says what is still missing
/// from them.
///
/// A frame must end in [`Pool::release`](crate::Pool::release), by its owner or inside the engine.
#[derive(Debug)]
#[must_use = "a frame that is not released keeps its buffer for ever"]
pub struct Frame {
    pub(crate) body: Body,
    /// The frame's range of the body buffer, from the buffer's first byte.
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) header: Option<Body>,
    pub(crate) header_start: u16,
    pub(crate) header_len: u16,
    /// The 802.1Q tag control information of the frame's VLAN, while the frame is inside the
    /// engine.
    pub(crate) tci: u16,
    /// The payload begins with a tag of its own.
    pub(crate) inner_tag: bool,
    pub(crate) cast: Cast,
    /// The index of the port it came in by, or [`NO_ORIGIN`].
    pub(crate) origin: u16,
    pub(crate) offload: Offload,
}

/// The frame came in by no port: somebody in here made it.
const NO_ORIGIN: u16 = u16::MAX;

impl Frame {
    #[inline]
    pub(crate) fn of_body(body: Body, start: usize, len: usize, offload: Offload) -> Self {
        // A buffer is far shorter than 4 GiB.
        #[expect(clippy::cast_possible_truncation)]
        let (start, len) = (start as u32, len as u32);
        Self {
            body,
            start,
            len,
            header: None,
            header_start: 0,
            header_len: 0,
            tci: 0,
            inner_tag: false,
            cast: Cast::Unicast,
            origin: NO_ORIGIN,
            offload,
        }
    }

    /// Length of the frame in bytes, from the destination address to the end of the payload,
    /// without a checksum.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.header_len) + self.len as usize
    }

    /// Whether the frame has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is missing from the bytes: a checksum, a segmentation.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> &Offload {
        &self.offload
    }

    /// The index of the port that the frame came in by, on the network whose engine saw it last;
    /// [`Engine::port_at`](crate::Engine::port_at) tells which port that is. `None` for a frame that
    /// no engine has taken in.
    #[inline]
    #[must_use]
    pub fn origin(&self) -> Option<u16> {
        (self.origin != NO_ORIGIN).then_some(self.origin)
    }

    /// A second handle with the same content. The caller has counted it.
    #[inline]
    pub(crate) fn alias(&self) -> Self {
        Self { header: None, header_len: 0, ..*self }
    }

    #[inline]
    pub(crate) fn set_header(&mut self, header: Body, start: usize, len: usize) {
        #[expect(clippy::cast_possible_truncation)]
        let (start, len) = (start as u16, len as u16);
        self.header = Some(header);
        self.header_start = start;
        self.header_len = len;
    }

    /// Takes `count` bytes from the front of the body range.
    pub(crate) fn advance(&mut self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(self.len);
        self.start += count;
        self.len -= count;
    }

    /// Keeps only `range` of the body range.
    pub(crate) fn narrow(&mut self, range: Range<usize>) {
        let total = self.len;
        let end = u32::try_from(range.end).unwrap_or(u32::MAX).min(total);
        let start = u32::try_from(range.start).unwrap_or(u32::MAX).min(end);
        self.start += start;
        self.len = end - start;
    }
}

/// A whole large buffer on loan, to read into. It ends in [`Pool::fill`](crate::Pool::fill) or
/// [`Pool::give_back`](crate::Pool::give_back).
#[derive(Debug)]
#[must_use = "a lease that is not given back keeps its buffer for ever"]
pub struct Lease(pub(crate) Body);
