//! Software segmentation of TCP over IPv4 and IPv6, and of UDP.
//!
//! # Theory of operation
//!
//! A [`Segmenter`] is made for one frame and holds no part of it: positions and the few header
//! fields that change from segment to segment. Each [`Segmenter::next`] writes one segment's
//! headers, checksums complete, into a buffer of the caller's and names the range of the frame that
//! is its payload. The payload is summed where it lies and never copied.
//!
//! The result is the Linux kernel's, byte for byte (`tcp_gso_segment`, `__udp_gso_segment`,
//! `inet_gso_segment`, `ipv6_gso_segment`), which a test holds against a running kernel:
//!
//! | field | first | between | last |
//! |---|---|---|---|
//! | IPv4 total length, IPv6 payload length, UDP length | the segment's | the segment's | the segment's |
//! | IPv4 identification | the frame's | + 1 each | + 1 |
//! | IPv4 header checksum | new | new | new |
//! | TCP sequence | the frame's | + size each | + size |
//! | TCP FIN, PSH | cleared | cleared | the frame's |
//! | TCP CWR | the frame's | cleared | cleared |
//! | everything else, options and extension headers too | the frame's | the frame's | the frame's |
//!
//! The transport checksum starts from the partial checksum in the frame, corrected for the length,
//! not from the addresses: with a routing header or a source route the pseudo header's destination
//! is not the one in the network header. A guest that wrote a wrong partial sum gets segments with
//! a wrong checksum, as from the kernel, and its peer drops them.
//!
//! In TCP a checksum of zero stays zero; in UDP it becomes 0xffff (RFC 768).

use core::num::NonZeroUsize;
use core::ops::Range;

use crate::checksum::{add, mangle, read, sum, sum_pieces, update_partial, write};
use crate::offload::{OffloadError, check_within};
use crate::parse::{L3, Transport, parse};
use crate::tcp::flag;
use crate::{HEADER_MAX, Offload, ipv4, ipv6, pieces, tcp, udp};

/// The state of a segmentation.
#[derive(Clone, Copy, Debug)]
pub struct Segmenter {
    /// First payload byte of the next segment; `frame_len` when all are done.
    position: usize,
    frame_len: usize,
    /// Payload bytes of each segment but the last.
    size: NonZeroUsize,
    /// Bytes up to the payload; at most [`HEADER_MAX`].
    headers_len: usize,
    l3: usize,
    l4: usize,
    network: Network,
    transport: Kind,
    /// The partial checksum without the length: the sum of the pseudo header's other words.
    pseudo: u16,
}

/// What changes in the network header.
#[derive(Clone, Copy, Debug)]
enum Network {
    V4 { header_len: usize, id: u16 },
    V6,
}

/// What changes in the transport header.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp { sequence: u32, flags: u8 },
    Udp,
}

/// One segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Bytes of the segment's headers, in the buffer given to [`Segmenter::next`].
    pub header_len: usize,
    /// Its payload: a range of the whole frame, over both pieces.
    pub payload: Range<usize>,
}

impl Segment {
    /// Bytes of the segment on the wire.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // it always has headers
    pub fn len(&self) -> usize {
        self.header_len + self.payload.len()
    }
}

impl Segmenter {
    /// Prepares the segmentation of `frame`, in two pieces that may join anywhere.
    ///
    /// # Errors
    /// [`OffloadError::NotGso`] without segmentation metadata, and whatever
    /// [`crate::offload::check`] finds, the MTU excepted: a frame that passed it passes here.
    pub fn new(offload: &Offload, frame: &[&[u8]; 2]) -> Result<Self, OffloadError> {
        let gso = offload.gso.ok_or(OffloadError::NotGso)?;
        let mut copy = [0; HEADER_MAX];
        // The headers are read in place when the first piece holds as much as they may need.
        let headers = if frame[0].len() >= HEADER_MAX || frame[1].is_empty() {
            frame[0]
        } else {
            let len = pieces::gather(frame, &mut copy);
            copy.get(..len).unwrap_or_default()
        };
        let frame_len = pieces::len(frame);
        let parsed = parse(headers).map_err(|_| OffloadError::NoTransport)?;
        check_within(offload, &parsed, frame_len, usize::MAX, HEADER_MAX)?;
        let (Some(l3), Some(l4)) = (parsed.l3, parsed.l4) else {
            return Err(OffloadError::NoTransport);
        };
        let l3_offset = usize::from(parsed.l3_offset);
        let l4_offset = usize::from(l4.offset);
        let network = match l3 {
            L3::Ipv4(ip) => Network::V4 {
                header_len: usize::from(ip.header_len),
                id: read(headers, l3_offset + ipv4::ID_AT),
            },
            L3::Ipv6(_) => Network::V6,
            L3::Arp(_) => return Err(OffloadError::GsoKind),
        };
        let transport = match l4.transport {
            Transport::Tcp { flags, .. } => Kind::Tcp {
                sequence: u32::from(read(headers, l4_offset + tcp::SEQUENCE_AT)) << 16
                    | u32::from(read(headers, l4_offset + tcp::SEQUENCE_AT + 2)),
                flags,
            },
            Transport::Udp { .. } => Kind::Udp,
            _ => return Err(OffloadError::GsoKind),
        };
        let headers_len = l4_offset + usize::from(l4.header_len);
        // The check above found the length fields to be the frame's, so that this is below 2^16.
        let old_len = (frame_len - l4_offset) as u16;
        let field = read(headers, l4_offset + transport.checksum_at());
        Ok(Self {
            position: headers_len,
            frame_len,
            size: NonZeroUsize::new(gso.size.into()).ok_or(OffloadError::SegmentTooSmall)?,
            headers_len,
            l3: l3_offset,
            l4: l4_offset,
            network,
            transport,
            pseudo: update_partial(field, old_len, 0),
        })
    }

    /// Number of segments that are still to come.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        (self.frame_len - self.position).div_ceil(self.size.get())
    }

    /// Bytes of all segments that are still to come, headers included.
    #[inline]
    #[must_use]
    pub fn remaining_bytes(&self) -> usize {
        self.remaining() * self.headers_len + (self.frame_len - self.position)
    }

    /// The next segment: its headers into `out`, its payload as a range of the frame. `frame` must be
    /// the frame that [`Segmenter::new`] saw. `None` when all are done, or when `frame` is shorter
    /// than that one was.
    #[inline]
    #[allow(clippy::should_implement_trait)] // the frame is lent for each step
    pub fn next(&mut self, frame: &[&[u8]; 2], out: &mut [u8; HEADER_MAX]) -> Option<Segment> {
        if self.position >= self.frame_len {
            return None;
        }
        let start = self.position;
        let end = self.frame_len.min(start + self.size.get());
        let last = end == self.frame_len;
        let header_len = self.headers_len;
        let header = out.get_mut(..header_len)?;
        if pieces::gather(frame, header) < header_len || pieces::len(frame) < end {
            return None;
        }
        self.position = end;
        let l4_len = header_len - self.l4 + (end - start);

        let (_, packet) = header.split_at_mut_checked(self.l3)?;
        let (l3, l4) = packet.split_at_mut_checked(self.l4 - self.l3)?;
        match &mut self.network {
            Network::V4 { header_len, id } => {
                let l3 = l3.get_mut(..*header_len)?;
                write(l3, ipv4::TOTAL_LEN_AT, (*header_len + l4_len) as u16);
                write(l3, ipv4::ID_AT, *id);
                write(l3, ipv4::CHECKSUM_AT, 0);
                let checksum = !sum(l3);
                write(l3, ipv4::CHECKSUM_AT, checksum);
                *id = id.wrapping_add(1);
            }
            Network::V6 => {
                let len = l3.len() - ipv6::HEADER_LEN + l4_len;
                write(l3, ipv6::PAYLOAD_LEN_AT, len as u16);
            }
        }
        let at = self.transport.checksum_at();
        match &mut self.transport {
            Kind::Tcp { sequence, flags } => {
                write(l4, tcp::SEQUENCE_AT, (*sequence >> 16) as u16);
                write(l4, tcp::SEQUENCE_AT + 2, *sequence as u16);
                let ending = if last { 0 } else { flag::FIN | flag::PSH };
                *l4.get_mut(tcp::FLAGS_AT)? = *flags & !ending;
                *sequence = sequence.wrapping_add(self.size.get() as u32);
                *flags &= !flag::CWR;
            }
            Kind::Udp => write(l4, udp::LEN_AT, l4_len as u16),
        }
        write(l4, at, 0);
        // The transport header has an even length, so that the payload's sum joins without a shift.
        let total = add(add(self.pseudo, l4_len as u16), sum(l4));
        let checksum = !add(total, sum_pieces(frame, &(start..end)));
        let checksum = match self.transport {
            Kind::Tcp { .. } => checksum,
            Kind::Udp => mangle(checksum),
        };
        write(l4, at, checksum);
        Some(Segment { header_len, payload: start..end })
    }
}

impl Kind {
    #[inline]
    fn checksum_at(self) -> usize {
        match self {
            Self::Tcp { .. } => tcp::CHECKSUM_AT,
            Self::Udp => udp::CHECKSUM_AT,
        }
    }
}

#[cfg(test)]
mod tests;
