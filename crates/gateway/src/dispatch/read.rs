//! A packet of a guest, read and held against its frame.

use std::net::{IpAddr, SocketAddr};

use engine::{Frame, Pool};
use wire::checksum;
use wire::parse::{L3, Parsed, Transport};

use crate::counters::Reason;
use crate::packet::{self, ETHERNET, HEADERS};
use crate::udp::Piece;

/// A packet with its ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) parsed: Parsed,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// TTL or hop limit.
    pub(super) ttl: u8,
    pub(super) class: u8,
    /// May be cut on the way: DF is not set, or it came in fragments.
    pub(super) fragment: bool,
    /// Bytes of the frame that are the packet's, without padding.
    pub(super) end: usize,
}

pub(super) fn ends(seen: &Seen, source: u16, destination: u16) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(seen.source, source), SocketAddr::new(seen.destination, destination))
}

/// Reads the headers of a packet and holds their lengths against the frame.
pub(super) fn read(pool: &Pool, frame: &Frame) -> Result<Seen, Reason> {
    let [first, _] = pool.pieces(frame);
    if first.len() >= HEADERS.min(frame.len()) {
        return read_from(first, frame);
    }
    let mut buffer = [0; HEADERS];
    let len = packet::gather(pool, frame, &mut buffer);
    read_from(buffer.get(..len).unwrap_or_default(), frame)
}

fn read_from(headers: &[u8], frame: &Frame) -> Result<Seen, Reason> {
    let parsed = wire::parse(headers).map_err(|_| Reason::Malformed)?;
    if parsed.tags != 0 || parsed.malformed.is_some() {
        return Err(Reason::Malformed);
    }
    let end = parsed.claimed_len().unwrap_or(usize::MAX);
    if end > frame.len() || (frame.offload().gso.is_some() && end != frame.len()) {
        return Err(Reason::Malformed);
    }
    let at = |offset: usize| headers.get(ETHERNET + offset).copied().unwrap_or(0);
    let (source, destination, ttl, class, fragment) = match &parsed.l3 {
        Some(L3::Ipv4(ip)) => {
            (IpAddr::V4(ip.source), IpAddr::V4(ip.destination), ip.ttl, at(1), at(6) & 0x40 == 0)
        }
        Some(L3::Ipv6(ip)) => {
            let class = at(0) << 4 | at(1) >> 4;
            (IpAddr::V6(ip.source), IpAddr::V6(ip.destination), ip.hop_limit, class, false)
        }
        Some(L3::Arp(_)) | None => return Err(Reason::Malformed),
    };
    if parsed.headers_len().is_some_and(|headers| headers > end) {
        return Err(Reason::Malformed);
    }
    Ok(Seen { parsed, source, destination, ttl, class, fragment, end })
}

/// The payload of a UDP datagram; none if its length field does not fit the packet.
pub(super) fn payload(seen: &Seen, frame: &Frame) -> Option<Piece> {
    let offset = seen.parsed.headers_len()?;
    let Some(Transport::Udp { len, .. }) = seen.parsed.l4.map(|l4| l4.transport) else {
        return None;
    };
    let len = usize::from(len).checked_sub(wire::udp::HEADER_LEN)?;
    if offset + len > seen.end {
        return None;
    }
    Some(Piece { offset, len, segment: frame.offload().gso.map(|gso| gso.size) })
}

/// Whether the transport checksum is right, or still to be completed, or not there where it need
/// not be (RFC 768).
pub(super) fn has_good_checksum(pool: &Pool, seen: &Seen, frame: &Frame) -> bool {
    if frame.offload().checksum.is_some() {
        return true;
    }
    let Some(l4) = seen.parsed.l4 else { return true };
    let offset = usize::from(l4.offset);
    let v6 = seen.source.is_ipv6();
    let (end, pseudo) = match l4.transport {
        Transport::Udp { len, .. } => {
            let end = offset + usize::from(len);
            let at = offset + wire::udp::CHECKSUM_AT;
            let [first, second] = packet::slice(pool, frame, at, 2);
            if first.iter().chain(second).all(|byte| *byte == 0) {
                return !v6;
            }
            (end, packet::pseudo(seen.source, seen.destination, l4.protocol, usize::from(len)))
        }
        Transport::Tcp { .. } => {
            let len = seen.end - offset;
            (seen.end, packet::pseudo(seen.source, seen.destination, l4.protocol, len))
        }
        Transport::Icmpv4 { .. } => (seen.end, 0),
        Transport::Icmpv6 { .. } => {
            let len = seen.end - offset;
            (seen.end, packet::pseudo(seen.source, seen.destination, l4.protocol, len))
        }
        Transport::Other => return true,
    };
    if end > seen.end {
        return false;
    }
    let sum = checksum::sum_pieces(&pool.pieces(frame), &(offset..end));
    checksum::add(sum, pseudo) == 0xffff
}
