//! Handles to frames and to leased buffers. The bytes are in the [`Pool`](crate::Pool).

use core::num::NonZeroU32;
use core::ops::Range;

use wire::{Gso, GsoKind, Offload, PartialChecksum};

/// Bytes of an Ethernet header and one tag, which an MTU does not count.
pub(crate) const HEADERS_MAX: usize = wire::ethernet::HEADER_LEN + wire::vlan::TAG_LEN;

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
// Half a line of the cache. It is moved half a dozen times between two links, so what is seldom asked
// for is packed.
#[derive(Debug)]
#[must_use = "a frame that is not released keeps its buffer for ever"]
pub struct Frame {
    pub(crate) body: Body,
    /// Where the frame's range of the body buffer begins, from the buffer's first byte, in the low
    /// 24 bits; facts about the frame above them.
    start_and_facts: u32,
    /// Bytes of the whole frame: those of the header piece, and those in the body.
    len: u32,
    /// The header piece's buffer, its index plus one.
    header: Option<NonZeroU32>,
    /// Its range of that buffer: five bits where it begins, eleven how many bytes.
    header_range: u16,
    /// The 802.1Q tag control information of the frame's VLAN, while the frame is inside the
    /// engine.
    pub(crate) tci: u16,
    /// The index of the port it came in by, or [`NO_ORIGIN`].
    pub(crate) origin: u16,
    /// The metadata's numbers; the facts say which of them count.
    checksum_start: u16,
    checksum_offset: u16,
    gso_size: u16,
}

const _: () = assert!(size_of::<Frame>() == 32);

/// The frame came in by no port: somebody in here made it.
const NO_ORIGIN: u16 = u16::MAX;

const START: u32 = (1 << 24) - 1;
/// Two bits for the [`Cast`].
const CAST: u32 = 3 << 24;
const MULTICAST: u32 = 1 << 24;
const BROADCAST: u32 = 2 << 24;
/// The payload begins with a tag of its own.
const INNER_TAG: u32 = 1 << 26;
/// A checksum is to be completed.
const CHECKSUM: u32 = 1 << 27;
/// Two bits for the [`GsoKind`], zero for none.
const GSO: u32 = 3 << 28;
const TCP4: u32 = 1 << 28;
const TCP6: u32 = 2 << 28;
const UDP: u32 = 3 << 28;
const ECN: u32 = 1 << 30;
const OFFLOAD: u32 = CHECKSUM | GSO | ECN;

const HEADER_LEN_BITS: u32 = 11;

impl Frame {
    #[inline]
    pub(crate) fn of_body(body: Body, start: usize, len: usize, offload: Offload) -> Self {
        // A buffer is far shorter than 2^24 bytes.
        #[expect(clippy::cast_possible_truncation)]
        let (start, len) = (start as u32, len as u32);
        let mut frame = Self {
            body,
            start_and_facts: start,
            len,
            header: None,
            header_range: 0,
            tci: 0,
            origin: NO_ORIGIN,
            checksum_start: 0,
            checksum_offset: 0,
            gso_size: 0,
        };
        if !offload.is_none() {
            frame.set_offload(offload);
        }
        frame
    }

    /// Length of the frame in bytes, from the destination address to the end of the payload,
    /// without a checksum.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frame has no bytes at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is missing from the bytes: a checksum, a segmentation.
    #[inline]
    #[must_use]
    pub fn offload(&self) -> Offload {
        let facts = self.start_and_facts;
        let kind = match facts & GSO {
            0 => None,
            TCP4 => Some(GsoKind::Tcp4),
            TCP6 => Some(GsoKind::Tcp6),
            _ => Some(GsoKind::Udp),
        };
        Offload {
            checksum: (facts & CHECKSUM != 0).then_some(PartialChecksum {
                start: self.checksum_start,
                offset: self.checksum_offset,
            }),
            gso: kind.map(|kind| Gso { kind, size: self.gso_size, ecn: facts & ECN != 0 }),
        }
    }

    /// Whether anything is missing.
    #[inline]
    pub(crate) fn has_offload(&self) -> bool {
        self.start_and_facts & OFFLOAD != 0
    }

    /// Whether the frame is one of the many: for one station, in a small buffer, and nothing to be done for
    /// its link, which `takes_partial` checksums or does not.
    #[inline]
    pub(crate) fn is_plain(&self, takes_partial: bool) -> bool {
        let more = if takes_partial { GSO | ECN } else { OFFLOAD };
        self.start_and_facts & (CAST | more) == 0 && !self.body.is_large()
    }

    /// Whether it is to be cut.
    #[inline]
    pub(crate) fn has_gso(&self) -> bool {
        self.start_and_facts & GSO != 0
    }

    pub(crate) fn set_offload(&mut self, offload: Offload) {
        self.start_and_facts &= !OFFLOAD;
        if let Some(checksum) = offload.checksum {
            self.start_and_facts |= CHECKSUM;
            self.checksum_start = checksum.start;
            self.checksum_offset = checksum.offset;
        }
        if let Some(gso) = offload.gso {
            self.start_and_facts |= match gso.kind {
                GsoKind::Tcp4 => TCP4,
                GsoKind::Tcp6 => TCP6,
                GsoKind::Udp => UDP,
            };
            self.start_and_facts |= if gso.ecn { ECN } else { 0 };
            self.gso_size = gso.size;
        }
    }

    /// The index of the port that the frame came in by, on the network whose engine saw it last;
    /// [`Engine::port_at`](crate::Engine::port_at) tells which port that is. `None` for a frame that
    /// no engine has taken in.
    #[inline]
    #[must_use]
    pub fn origin(&self) -> Option<u16> {
        (self.origin != NO_ORIGIN).then_some(self.origin)
    }

    /// To how many stations the frame is addressed, as far as an engine has looked.
    #[inline]
    pub(crate) fn cast(&self) -> Cast {
        match self.start_and_facts & CAST {
            0 => Cast::Unicast,
            MULTICAST => Cast::Multicast,
            _ => Cast::Broadcast,
        }
    }

    #[inline]
    pub(crate) fn is_unicast(&self) -> bool {
        self.start_and_facts & CAST == 0
    }

    #[inline]
    pub(crate) fn set_cast(&mut self, cast: Cast) {
        let bits = match cast {
            Cast::Unicast => 0,
            Cast::Multicast => MULTICAST,
            Cast::Broadcast => BROADCAST,
        };
        self.start_and_facts = self.start_and_facts & !CAST | bits;
    }

    /// Whether the payload begins with a tag of its own.
    #[inline]
    pub(crate) fn has_inner_tag(&self) -> bool {
        self.start_and_facts & INNER_TAG != 0
    }

    #[inline]
    pub(crate) fn set_inner_tag(&mut self, tagged: bool) {
        self.start_and_facts &= !INNER_TAG;
        self.start_and_facts |= if tagged { INNER_TAG } else { 0 };
    }

    /// Forgets what an engine found out about the frame, for the next one to find out.
    #[inline]
    pub(crate) fn forget_findings(&mut self) {
        self.start_and_facts &= !(CAST | INNER_TAG);
    }

    /// Where the frame's range of the body buffer begins, from the buffer's first byte.
    #[inline]
    pub(crate) fn start(&self) -> usize {
        (self.start_and_facts & START) as usize
    }

    /// How many bytes of it are in the body buffer.
    #[inline]
    pub(crate) fn body_len(&self) -> usize {
        self.len() - self.header_len()
    }

    /// The header piece's buffer.
    #[inline]
    pub(crate) fn header(&self) -> Option<u32> {
        self.header.map(|header| header.get() - 1)
    }

    #[inline]
    pub(crate) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    /// Bytes of the header piece.
    #[inline]
    pub(crate) fn header_len(&self) -> usize {
        usize::from(self.header_range & ((1 << HEADER_LEN_BITS) - 1))
    }

    /// Where the header piece begins in its buffer.
    #[inline]
    pub(crate) fn header_start(&self) -> usize {
        usize::from(self.header_range >> HEADER_LEN_BITS)
    }

    /// A second handle with the same body, without the header piece. The caller has counted it.
    #[inline]
    pub(crate) fn alias(&self) -> Self {
        Self { header: None, header_range: 0, len: self.len - self.header_len() as u32, ..*self }
    }

    /// The frame, taken from where it is: the handle that is left there must not be used again.
    ///
    /// A frame that is moved by value is taken apart and put together again; by this it is copied as
    /// it lies, from place to place.
    #[inline]
    pub(crate) fn moved(&self) -> Self {
        Self { ..*self }
    }

    /// Gives the frame this header piece, or the one that it has another range.
    #[inline]
    pub(crate) fn set_header(&mut self, header: u32, start: usize, len: usize) {
        let body = self.body_len();
        // A header buffer is shorter than 2^11 bytes, and the room before the piece than 2^5.
        #[expect(clippy::cast_possible_truncation)]
        let range = ((start << HEADER_LEN_BITS) | len) as u16;
        self.header = NonZeroU32::new(header + 1);
        self.header_range = range;
        #[expect(clippy::cast_possible_truncation)]
        let total = (body + len) as u32;
        self.len = total;
    }

    /// Takes `count` bytes from the front of the body range.
    pub(crate) fn advance(&mut self, count: usize) {
        let count = count.min(self.body_len()) as u32;
        self.start_and_facts += count;
        self.len -= count;
    }

    /// Adds `count` bytes, which are there already, to the front of the body range.
    pub(crate) fn extend_front(&mut self, count: usize) {
        #[expect(clippy::cast_possible_truncation)]
        let count = (count.min(self.start())) as u32;
        self.start_and_facts -= count;
        self.len += count;
    }

    /// Keeps only `range` of the body range.
    pub(crate) fn narrow(&mut self, range: Range<usize>) {
        let total = self.body_len();
        let end = range.end.min(total);
        let start = range.start.min(end);
        self.start_and_facts += start as u32;
        self.len = (self.header_len() + end - start) as u32;
    }
}

/// A whole large buffer on loan, to read into. It ends in [`Pool::fill`](crate::Pool::fill) or
/// [`Pool::give_back`](crate::Pool::give_back).
#[derive(Debug)]
#[must_use = "a lease that is not given back keeps its buffer for ever"]
pub struct Lease(pub(crate) Body);
