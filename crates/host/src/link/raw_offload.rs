//! Frames whose offload metadata was lost on the way (`raw_offload`).
//!
//! libkrun's legacy network interfaces promise their guest checksum and segmentation offload
//! (`COMPAT_NET_FEATURES`) and then send over a socket that has no place for the virtio header.
//! What arrives are frames of up to 65,562 bytes whose TCP or UDP checksum may be only the sum of
//! the pseudo header. On a declared port with `raw_offload` the metadata is inferred again; the
//! engine then checks, completes and segments as for any other frame.
//!
//! What cannot be inferred stays as it is and is judged as a plain frame: a UDP datagram that is
//! longer than the MTU was meant to be fragmented, for which there is no metadata, and is dropped
//! as oversize.
//!
//! Towards the guest there is no metadata either, so it gets completed and segmented frames.

use wire::ipv4::{Fragment, protocol};
use wire::{Gso, GsoKind, L3, Offload, PartialChecksum, checksum, parse};

/// Offset of the checksum field in a TCP header (RFC 9293) and in a UDP header (RFC 768).
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

/// The metadata that a frame from such a guest must have had.
#[must_use]
pub fn infer(frame: &[u8], mtu: u16) -> Offload {
    infer_checked(frame, mtu).unwrap_or(Offload::NONE)
}

fn infer_checked(frame: &[u8], mtu: u16) -> Option<Offload> {
    let parsed = parse(&frame[..frame.len().min(wire::HEADER_MAX)]).ok()?;
    if parsed.fragment() != Fragment::Whole {
        return None;
    }
    let l4 = parsed.l4?;
    let l4_offset = usize::from(l4.offset);
    let l4_len = parsed.claimed_len()?.checked_sub(l4_offset)?;
    let field_offset = match l4.protocol {
        protocol::TCP => TCP_CHECKSUM,
        protocol::UDP => UDP_CHECKSUM,
        _ => return None,
    };
    let pseudo = match &parsed.l3? {
        L3::Ipv4(ip) => {
            checksum::pseudo_v4(ip.source, ip.destination, l4.protocol, u16::try_from(l4_len).ok()?)
        }
        L3::Ipv6(ip) => {
            checksum::pseudo_v6(ip.source, ip.destination, l4.protocol, u32::try_from(l4_len).ok()?)
        }
        L3::Arp(_) => return None,
    };
    let at = l4_offset + usize::from(field_offset);
    let field = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
    if field != pseudo {
        return None;
    }
    let partial = PartialChecksum { start: l4.offset, offset: field_offset };
    let headers = parsed.headers_len()?;
    // What one segment may carry: the MTU counts from the network header.
    let segment = (usize::from(parsed.l3_offset) + usize::from(mtu)).checked_sub(headers)?;
    let payload = frame.len().checked_sub(headers)?;
    let kind = match (l4.protocol, parsed.l3?) {
        (protocol::TCP, L3::Ipv4(_)) => Some(GsoKind::Tcp4),
        (protocol::TCP, L3::Ipv6(_)) => Some(GsoKind::Tcp6),
        _ => None,
    };
    let gso = match kind {
        Some(kind) if payload > segment && segment > 0 => {
            Some(Gso { kind, size: u16::try_from(segment).ok()?, ecn: false })
        }
        _ => None,
    };
    Some(Offload { checksum: Some(partial), gso })
}
