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

#[cfg(test)]
mod tests {
    use super::*;
    use wire::MacAddr;
    use wire::build::{Builder, Ipv4, Ipv6, Tcp};

    const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    /// A frame over IPv4 or IPv6, and its partial checksum where it was left so.
    fn frame(
        v6: bool,
        udp: bool,
        payload: usize,
        partial: bool,
    ) -> (Vec<u8>, Option<PartialChecksum>) {
        let mut buffer = vec![0; payload + 200];
        let b = Builder::new(&mut buffer).ethernet(B, A);
        let b = if v6 { b.ipv6(&Ipv6::default()) } else { b.ipv4(&Ipv4::default()) };
        let b = if udp { b.udp(1000, 2000) } else { b.tcp(&Tcp::default()) };
        let b = b.payload(&vec![0x5a; payload]);
        let (len, at) = if partial {
            let (len, at) = b.finish_partial().unwrap();
            (len, Some(at))
        } else {
            (b.finish().unwrap(), None)
        };
        buffer.truncate(len);
        (buffer, at)
    }

    #[test]
    fn complete_checksums_are_left_alone() {
        for v6 in [false, true] {
            for udp in [false, true] {
                let (frame, _) = frame(v6, udp, 100, false);
                assert_eq!(infer(&frame, 1500), Offload::NONE);
            }
        }
    }

    #[test]
    fn partial_checksums_are_found_where_they_are() {
        for v6 in [false, true] {
            for udp in [false, true] {
                let (frame, at) = frame(v6, udp, 100, true);
                assert_eq!(infer(&frame, 1500), Offload { checksum: at, gso: None });
            }
        }
    }

    #[test]
    fn tcp_longer_than_the_mtu_is_cut_to_it() {
        for (v6, kind, size) in [(false, GsoKind::Tcp4, 1460), (true, GsoKind::Tcp6, 1440)] {
            let (frame, at) = frame(v6, false, 60_000, true);
            let expected = Offload { checksum: at, gso: Some(Gso { kind, size, ecn: false }) };
            assert_eq!(infer(&frame, 1500), expected);
            assert!(wire::offload::check(&expected, &frame, frame.len(), 1500).is_ok());
            let (fits, _) = self::frame(v6, false, usize::from(size), true);
            assert_eq!(infer(&fits, 1500).gso, None);
        }
    }

    #[test]
    fn a_long_udp_datagram_has_no_metadata_that_would_let_it_pass() {
        for v6 in [false, true] {
            let (frame, at) = frame(v6, true, 8000, true);
            assert_eq!(infer(&frame, 1500), Offload { checksum: at, gso: None });
        }
    }

    #[test]
    fn what_is_no_transport_is_left_alone() {
        assert_eq!(infer(&[], 1500), Offload::NONE);
        assert_eq!(infer(&[0; 13], 1500), Offload::NONE);
        assert_eq!(infer(&[0xff; 60], 1500), Offload::NONE);
        let (whole, _) = frame(false, false, 10, true);
        for len in 0..whole.len() {
            // No panic; and a cut frame never asks for a checksum beyond its end.
            if let Some(at) = infer(&whole[..len], 1500).checksum {
                assert!(at.field() + 2 <= len);
            }
        }
    }
}
