//! Offload metadata: what a frame carries beside its bytes, and what of it a link can take.
//!
//! # Theory of operation
//!
//! A guest's network stack hands over large frames with work left undone: the transport checksum
//! holds only the pseudo header's sum, and the payload is to be cut into segments. As long as every
//! link on the way can take such a frame, the work is never done at all. Towards one that cannot,
//! [`crate::checksum::complete`] and [`crate::segment::Segmenter`] do it.
//!
//! The metadata of a guest is an instruction to write into its frame and to multiply it, so
//! [`check`] holds it against the *parsed* headers before anything acts on it (checks 57 to 59 of
//! the guard):
//!
//! - the checksum is that of the parsed transport header, no other place;
//! - the kind of segmentation is that of the parsed headers;
//! - length fields agree with the frame's length, fragments are refused;
//! - a segment is no longer than the MTU;
//! - the number of segments is bounded.
//!
//! A frame that passed can be completed and segmented without a further check, also after one VLAN
//! tag was pushed.
//!
//! # Why the floor of the segment size is low
//!
//! A floor on the size alone would break real traffic: Linux sends segments of the size its peer
//! announced, down to 48 bytes less options (`TCP_MIN_SND_MSS`, `TCP_MIN_GSO_SIZE` in
//! `include/net/tcp.h`), and UDP segments are as small as the program asks. The bomb is the number:
//! 64 KiB in segments of one byte. So the number is bounded, [`TCP_SEGMENTS_MAX`] and
//! [`UDP_SEGMENTS_MAX`], and the size only by what no TCP goes below. At the worst a frame of
//! 64 KiB becomes 2048 segments, with ordinary headers three times its bytes; whoever pulls them
//! counts each against its budget.

use crate::ipv4::Fragment;
use crate::parse::{L3, Parsed, Transport, parse};
use crate::{HEADER_MAX, icmpv4, icmpv6, tcp, udp, vlan};

/// Smallest payload of a TCP segment that a frame may ask for (Linux: `TCP_MIN_GSO_SIZE`, 48 bytes
/// less 40 of options).
pub const TCP_SIZE_MIN: u16 = 8;

/// Most segments of one TCP frame: 64 KiB in segments of 32 bytes.
pub const TCP_SEGMENTS_MAX: usize = 2048;

/// Most segments of one UDP frame (Linux: `UDP_MAX_SEGMENTS`).
pub const UDP_SEGMENTS_MAX: usize = 128;

/// A checksum that is still to be computed: the field holds the un-negated sum of the pseudo header
/// (`CHECKSUM_PARTIAL` in Linux, `VIRTIO_NET_HDR_F_NEEDS_CSUM` on the wire).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PartialChecksum {
    /// First summed byte, counted from the first byte of the Ethernet header.
    pub start: u16,
    /// The two-byte field, counted from `start`.
    pub offset: u16,
}

impl PartialChecksum {
    /// Where the field is, counted from the first byte of the Ethernet header.
    #[inline]
    #[must_use]
    pub fn field(self) -> usize {
        usize::from(self.start) + usize::from(self.offset)
    }
}

/// How a frame is to be cut.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either, each segment a datagram of its own (`VIRTIO_NET_HDR_GSO_UDP_L4`).
    Udp,
}

/// A frame that stands for several.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Gso {
    /// How to cut.
    pub kind: GsoKind,
    /// Payload bytes of each segment but the last, which may have fewer.
    pub size: u16,
    /// TCP only: the congestion-window-reduced flag belongs to the first segment alone.
    pub ecn: bool,
}

/// The metadata of one frame. The default is a plain frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Offload {
    /// A checksum to be completed.
    pub checksum: Option<PartialChecksum>,
    /// Segments to be cut.
    pub gso: Option<Gso>,
}

impl Offload {
    /// A plain frame.
    pub const NONE: Self = Self { checksum: None, gso: None };

    /// Whether nothing is left to do.
    #[inline]
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.checksum.is_none() && self.gso.is_none()
    }

    /// What a link must be able to take to be handed this frame as it is.
    #[inline]
    #[must_use]
    pub fn needs(&self) -> OffloadSet {
        let mut set = OffloadSet::empty();
        if self.checksum.is_some() {
            set |= OffloadSet::CSUM;
        }
        if let Some(gso) = self.gso {
            set |= OffloadSet::CSUM;
            set |= match gso.kind {
                GsoKind::Tcp4 => OffloadSet::TSO4,
                GsoKind::Tcp6 => OffloadSet::TSO6,
                // Links have both or neither.
                GsoKind::Udp => OffloadSet::USO4 | OffloadSet::USO6,
            };
            if gso.ecn {
                set |= OffloadSet::TSO_ECN;
            }
        }
        set
    }

    /// The metadata after a tag was inserted behind the addresses.
    #[inline]
    #[must_use]
    pub fn with_tag_pushed(self) -> Self {
        self.moved(|start| start.saturating_add(vlan::TAG_LEN as u16))
    }

    /// The metadata after a tag was taken out.
    #[inline]
    #[must_use]
    pub fn with_tag_popped(self) -> Self {
        self.moved(|start| start.saturating_sub(vlan::TAG_LEN as u16))
    }

    #[inline]
    fn moved(mut self, by: impl Fn(u16) -> u16) -> Self {
        if let Some(checksum) = &mut self.checksum {
            checksum.start = by(checksum.start);
        }
        self
    }
}

bitflags::bitflags! {
    /// What a link can take in one direction. The numbers are ours, not the kernel's.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
    pub struct OffloadSet: u8 {
        /// Partial checksums.
        const CSUM = 1;
        /// TCP segmentation over IPv4.
        const TSO4 = 1 << 1;
        /// TCP segmentation over IPv6.
        const TSO6 = 1 << 2;
        /// TCP segmentation of frames with the congestion-window-reduced flag.
        const TSO_ECN = 1 << 3;
        /// UDP segmentation over IPv4.
        const USO4 = 1 << 4;
        /// UDP segmentation over IPv6.
        const USO6 = 1 << 5;
    }
}

impl OffloadSet {
    /// Whether a link of this set can be handed the frame as it is.
    #[inline]
    #[must_use]
    pub fn takes(self, offload: &Offload) -> bool {
        offload.is_none() || self.contains(offload.needs())
    }

    /// The set's names in the order of the bits: `csum`, `tso4`, `tso6`, `tso-ecn`, `uso4`, `uso6`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().filter(move |(bit, _)| self.contains(*bit)).map(|(_, name)| name)
    }

    /// The bit of a name that [`OffloadSet::names`] gives.
    #[must_use]
    pub fn from_short_name(name: &str) -> Option<Self> {
        NAMES.into_iter().find(|(_, known)| *known == name).map(|(bit, _)| bit)
    }
}

const NAMES: [(OffloadSet, &str); 6] = [
    (OffloadSet::CSUM, "csum"),
    (OffloadSet::TSO4, "tso4"),
    (OffloadSet::TSO6, "tso6"),
    (OffloadSet::TSO_ECN, "tso-ecn"),
    (OffloadSet::USO4, "uso4"),
    (OffloadSet::USO6, "uso6"),
];

/// Why the metadata of a frame is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum OffloadError {
    /// The headers could not be read up to a transport header.
    #[error("offload metadata on a frame without a readable transport header")]
    NoTransport,
    /// The frame carries a fragment, whose checksum and segments are not its own.
    #[error("offload metadata on a fragment")]
    Fragment,
    /// The headers are longer than a header copy can be.
    #[error("offload metadata on a frame whose headers are too long")]
    HeadersTooLong,
    /// The partial checksum is not the parsed transport header's.
    #[error("the partial checksum is not where the transport header has it")]
    ChecksumPosition,
    /// The partial checksum lies in what the transport header carries, as a stack sends it that
    /// wraps a packet into another (VXLAN, GRE). It changes bytes that a later check may look at:
    /// whoever accepts it must complete it before anything else looks at the frame.
    #[error("the partial checksum is that of an inner packet")]
    InnerChecksum,
    /// Segmentation without a partial checksum (VIRTIO 1.2, 5.1.6.2 demands both).
    #[error("segmentation without a partial checksum")]
    GsoWithoutChecksum,
    /// The kind of segmentation is not that of the parsed headers.
    #[error("the kind of segmentation does not match the headers")]
    GsoKind,
    /// The ECN mark on what is not TCP.
    #[error("segmentation with the ECN mark on what is not TCP")]
    EcnWithoutTcp,
    /// The segment size is zero or below the floor.
    #[error("the segment size is too small")]
    SegmentTooSmall,
    /// A segment would not fit the MTU.
    #[error("the segment size is larger than the MTU allows")]
    SegmentTooLarge,
    /// More segments than one frame may become.
    #[error("the frame would become too many segments")]
    TooManySegments,
    /// A length field of the network or transport header is not the frame's, or nothing is left to
    /// cut.
    #[error("the length fields of the headers do not match the frame")]
    Length,
    /// The frame is not one to be cut.
    #[error("the frame carries no segmentation metadata")]
    NotGso,
}

/// Holds a guest's metadata against the frame's own headers.
///
/// `headers` is the frame or at least its first [`HEADER_MAX`] bytes, `frame_len` the whole frame's
/// length without vnet header, `mtu` the network's (bytes of the network layer's packet). A plain
/// frame passes unparsed; its length is the caller's to check.
///
/// # Errors
/// [`OffloadError`], the first rule that is broken.
#[inline]
pub fn check(
    offload: &Offload,
    headers: &[u8],
    frame_len: usize,
    mtu: usize,
) -> Result<(), OffloadError> {
    if offload.is_none() {
        return Ok(());
    }
    let parsed = parse(headers).map_err(|_| OffloadError::NoTransport)?;
    check_parsed(offload, &parsed, frame_len, mtu)
}

/// [`check`] for a caller that has parsed the frame already.
///
/// # Errors
/// As [`check`].
pub fn check_parsed(
    offload: &Offload,
    parsed: &Parsed,
    frame_len: usize,
    mtu: usize,
) -> Result<(), OffloadError> {
    if offload.is_none() {
        return Ok(());
    }
    // Room for a tag that may be pushed before the header copy is made.
    check_within(offload, parsed, frame_len, mtu, HEADER_MAX - vlan::TAG_LEN)
}

/// The rules of [`check`], with the bound of the headers as a parameter.
pub(crate) fn check_within(
    offload: &Offload,
    parsed: &Parsed,
    frame_len: usize,
    mtu: usize,
    headers_max: usize,
) -> Result<(), OffloadError> {
    let fragment = parsed.fragment();
    if fragment.is_part() {
        return Err(OffloadError::Fragment);
    }
    let (Some(l4), Some(headers_len)) = (parsed.l4, parsed.headers_len()) else {
        return Err(OffloadError::NoTransport);
    };
    if headers_len > frame_len {
        return Err(OffloadError::Length);
    }
    if headers_len > headers_max {
        return Err(OffloadError::HeadersTooLong);
    }
    if let Some(checksum) = offload.checksum {
        let at = match l4.transport {
            Transport::Tcp { .. } => Some(tcp::CHECKSUM_AT),
            Transport::Udp { .. } => Some(udp::CHECKSUM_AT),
            Transport::Icmpv4 { .. } => Some(icmpv4::CHECKSUM_AT),
            Transport::Icmpv6 { .. } => Some(icmpv6::CHECKSUM_AT),
            Transport::Other => None,
        };
        if checksum.start != l4.offset || at != Some(usize::from(checksum.offset)) {
            return Err(if usize::from(checksum.start) < headers_len {
                OffloadError::ChecksumPosition
            } else {
                OffloadError::InnerChecksum
            });
        }
    }
    let Some(gso) = offload.gso else {
        return Ok(());
    };
    if offload.checksum.is_none() {
        return Err(OffloadError::GsoWithoutChecksum);
    }
    if fragment != Fragment::Whole {
        return Err(OffloadError::Fragment);
    }
    let tcp = matches!(l4.transport, Transport::Tcp { .. });
    let matching = match gso.kind {
        GsoKind::Tcp4 => tcp && matches!(parsed.l3, Some(L3::Ipv4(_))),
        GsoKind::Tcp6 => tcp && matches!(parsed.l3, Some(L3::Ipv6(_))),
        GsoKind::Udp => matches!(l4.transport, Transport::Udp { .. }),
    };
    if !matching {
        return Err(OffloadError::GsoKind);
    }
    if gso.ecn && !tcp {
        return Err(OffloadError::EcnWithoutTcp);
    }
    let payload = frame_len - headers_len;
    if payload == 0 || parsed.claimed_len() != Some(frame_len) {
        return Err(OffloadError::Length);
    }
    if let Transport::Udp { len, .. } = l4.transport
        && usize::from(len) != udp::HEADER_LEN + payload
    {
        return Err(OffloadError::Length);
    }
    let (size_min, segments_max) =
        if tcp { (TCP_SIZE_MIN, TCP_SEGMENTS_MAX) } else { (1, UDP_SEGMENTS_MAX) };
    if gso.size < size_min {
        return Err(OffloadError::SegmentTooSmall);
    }
    let size = usize::from(gso.size);
    if payload.div_ceil(size) > segments_max {
        return Err(OffloadError::TooManySegments);
    }
    if headers_len - usize::from(parsed.l3_offset) + size > mtu {
        return Err(OffloadError::SegmentTooLarge);
    }
    Ok(())
}

/// Bytes of the longest frame that this one becomes on a wire: headers and one segment's payload
/// with segmentation, `frame_len` without. A frame whose headers cannot be read keeps its length.
#[inline]
#[must_use]
pub fn max_wire_len(offload: &Offload, headers: &[u8], frame_len: usize) -> usize {
    if offload.gso.is_none() {
        return frame_len;
    }
    match parse(headers) {
        Ok(parsed) => max_wire_len_parsed(offload, &parsed, frame_len),
        Err(_) => frame_len,
    }
}

/// [`max_wire_len`] for a caller that has parsed the frame already.
#[inline]
#[must_use]
pub fn max_wire_len_parsed(offload: &Offload, parsed: &Parsed, frame_len: usize) -> usize {
    match (offload.gso, parsed.headers_len()) {
        (Some(gso), Some(headers_len)) => frame_len.min(headers_len + usize::from(gso.size)),
        _ => frame_len,
    }
}

#[cfg(test)]
mod tests;
