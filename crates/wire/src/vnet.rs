//! The virtio network header in front of a frame (`struct virtio_net_hdr_v1` of
//! `linux/virtio_net.h`; VIRTIO 1.2, 5.1.6).
//!
//! | offset | bytes | field | here |
//! |---|---|---|---|
//! | 0 | 1 | flags | bit 0: a partial checksum; bit 1: the sender vouches for the checksum |
//! | 1 | 1 | gso_type | 0 none, 1 TCPv4, 4 TCPv6, 5 UDP_L4; bit 7: ECN |
//! | 2 | 2 | hdr_len | a hint; never read, recomputed when written |
//! | 4 | 2 | gso_size | payload bytes per segment |
//! | 6 | 2 | csum_start | from the first byte behind this header |
//! | 8 | 2 | csum_offset | from csum_start |
//! | 10 | 2 | num_buffers | only in the 12-byte form; never read, written as 1 |
//!
//! `num_buffers` is not read because a tap leaves those bytes of our buffer as they were.
//! A claim that the checksum is valid (`DATA_VALID`) is never believed: it would let a guest vouch
//! for another guest's bytes. The receiver verifies the checksum in the frame instead.
//!
//! Byte order: little endian as VIRTIO 1.x has it, or the host's own for the legacy interfaces,
//! which are the taps without `TUNSETVNETLE` and packet sockets. On little-endian machines the two
//! are one.

use crate::parse::parse;
use crate::{Gso, GsoKind, Offload, PartialChecksum};

/// Bytes of the header with `num_buffers`, the form of VIRTIO 1.x.
pub const VNET_HDR_LEN: usize = 12;

/// Bytes of the legacy header without it.
pub const VNET_HDR_LEN_LEGACY: usize = 10;

const F_NEEDS_CSUM: u8 = 1;
const F_DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_UDP: u8 = 3;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// Byte order of the header's fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Endian {
    /// VIRTIO 1.x.
    Little,
    /// The host's: taps by default, packet sockets.
    Native,
}

/// Why a header is refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum VnetError {
    /// Fewer than ten bytes.
    #[error("the vnet header is shorter than 10 bytes")]
    Truncated,
    /// A flag other than NEEDS_CSUM and DATA_VALID.
    #[error("the vnet header has an unknown flag")]
    UnknownFlag,
    /// A kind of segmentation we never offered.
    #[error("the vnet header has an unknown kind of segmentation")]
    UnknownGso,
    /// UDP fragmentation offload, which we never offer: its fragments would escape every check.
    #[error("the vnet header asks for UDP fragmentation, which is not offered")]
    Ufo,
    /// The ECN bit without TCP segmentation.
    #[error("the vnet header has the ECN bit without TCP segmentation")]
    EcnWithoutTcp,
    /// Segmentation into segments of no bytes.
    #[error("the vnet header has a segment size of zero")]
    ZeroSize,
}

/// [`decode_with`] in the host's byte order.
///
/// # Errors
/// [`VnetError`].
#[inline]
pub fn decode(header: &[u8]) -> Result<Offload, VnetError> {
    decode_with(header, Endian::Native)
}

/// Reads the first ten bytes of a header of either form. What it says is still to be held against
/// the frame, see [`crate::offload::check`].
///
/// # Errors
/// [`VnetError`]: everything that we have not offered is refused.
#[inline]
pub fn decode_with(header: &[u8], endian: Endian) -> Result<Offload, VnetError> {
    let header: &[u8; VNET_HDR_LEN_LEGACY] = header.first_chunk().ok_or(VnetError::Truncated)?;
    let [flags, gso_type, _, _, size_a, size_b, start_a, start_b, offset_a, offset_b] = *header;
    let u16_from = match endian {
        Endian::Little => u16::from_le_bytes,
        Endian::Native => u16::from_ne_bytes,
    };
    if flags & !(F_NEEDS_CSUM | F_DATA_VALID) != 0 {
        return Err(VnetError::UnknownFlag);
    }
    let checksum = (flags & F_NEEDS_CSUM != 0).then(|| PartialChecksum {
        start: u16_from([start_a, start_b]),
        offset: u16_from([offset_a, offset_b]),
    });
    if gso_type == GSO_NONE {
        return Ok(Offload { checksum, gso: None });
    }
    let ecn = gso_type & GSO_ECN != 0;
    let kind = match gso_type & !GSO_ECN {
        GSO_TCPV4 => GsoKind::Tcp4,
        GSO_TCPV6 => GsoKind::Tcp6,
        GSO_UDP_L4 => GsoKind::Udp,
        GSO_UDP => return Err(VnetError::Ufo),
        GSO_NONE => return Err(VnetError::EcnWithoutTcp),
        _ => return Err(VnetError::UnknownGso),
    };
    if ecn && kind == GsoKind::Udp {
        return Err(VnetError::EcnWithoutTcp);
    }
    let size = u16_from([size_a, size_b]);
    if size == 0 {
        return Err(VnetError::ZeroSize);
    }
    Ok(Offload { checksum, gso: Some(Gso { kind, size, ecn }) })
}

/// [`encode_with`] in the host's byte order.
#[inline]
pub fn encode(offload: &Offload, frame_headers: &[u8], out: &mut [u8]) {
    encode_with(offload, frame_headers, out, Endian::Native);
}

/// Writes the header of a frame into `out`, whose length chooses the form: 12 bytes or more get
/// `num_buffers`, 10 or 11 do not, fewer get nothing. Bytes behind the form's are left alone.
///
/// `frame_headers`, the frame's first bytes, gives `hdr_len` of a frame to be segmented; it is
/// looked at only then.
#[inline]
pub fn encode_with(offload: &Offload, frame_headers: &[u8], out: &mut [u8], endian: Endian) {
    let bytes_of = match endian {
        Endian::Little => u16::to_le_bytes,
        Endian::Native => u16::to_ne_bytes,
    };
    let mut header = [0; VNET_HDR_LEN];
    if let Some(checksum) = offload.checksum {
        header[0] = F_NEEDS_CSUM;
        header[6..8].copy_from_slice(&bytes_of(checksum.start));
        header[8..10].copy_from_slice(&bytes_of(checksum.offset));
    }
    if let Some(gso) = offload.gso {
        let kind = match gso.kind {
            GsoKind::Tcp4 => GSO_TCPV4,
            GsoKind::Tcp6 => GSO_TCPV6,
            GsoKind::Udp => GSO_UDP_L4,
        };
        header[1] = if gso.ecn { kind | GSO_ECN } else { kind };
        let len = parse(frame_headers).ok().and_then(|parsed| parsed.headers_len());
        let len = len.and_then(|len| u16::try_from(len).ok()).unwrap_or(0);
        header[2..4].copy_from_slice(&bytes_of(len));
        header[4..6].copy_from_slice(&bytes_of(gso.size));
    }
    header[10..12].copy_from_slice(&bytes_of(1));
    if let Some(out) = out.first_chunk_mut::<VNET_HDR_LEN>() {
        *out = header;
    } else if let Some(out) = out.first_chunk_mut::<VNET_HDR_LEN_LEGACY>() {
        out.copy_from_slice(&header[..VNET_HDR_LEN_LEGACY]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacAddr;
    use crate::build::{self, Builder};

    const TSO: Offload = Offload {
        checksum: Some(PartialChecksum { start: 34, offset: 16 }),
        gso: Some(Gso { kind: GsoKind::Tcp4, size: 1448, ecn: true }),
    };

    #[test]
    fn bytes_of_a_tso_frame() {
        let mut frame = [0; 128];
        let len = Builder::new(&mut frame)
            .ethernet(MacAddr::BROADCAST, MacAddr([2; 6]))
            .ipv4(&build::Ipv4::default())
            .tcp(&build::Tcp { options: &[1, 1, 1, 0], ..build::Tcp::default() })
            .finish()
            .unwrap();
        let mut out = [0xee; 14];
        encode_with(&TSO, &frame[..len], &mut out, Endian::Little);
        assert_eq!(out, [1, 0x81, 58, 0, 0xa8, 0x05, 34, 0, 16, 0, 1, 0, 0xee, 0xee]);
        assert_eq!(decode_with(&out, Endian::Little), Ok(TSO));
    }

    #[test]
    fn both_forms_and_orders_round_trip() {
        for kind in [GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp] {
            let offload =
                Offload { gso: Some(Gso { kind, size: 1000, ecn: kind != GsoKind::Udp }), ..TSO };
            for endian in [Endian::Little, Endian::Native] {
                let mut out = [0; VNET_HDR_LEN];
                encode_with(&offload, &[], &mut out, endian);
                assert_eq!(decode_with(&out, endian), Ok(offload));
                let mut short = [0xee; VNET_HDR_LEN_LEGACY + 1];
                encode_with(&offload, &[], &mut short, endian);
                assert_eq!(short[..10], out[..10]);
                assert_eq!(short[10], 0xee);
                assert_eq!(decode_with(&short, endian), Ok(offload));
            }
        }
    }

    #[test]
    fn a_plain_frame() {
        let mut out = [0xff; VNET_HDR_LEN];
        encode(&Offload::NONE, &[], &mut out);
        assert_eq!(out[..10], [0; 10]);
        assert_eq!(decode(&out), Ok(Offload::NONE));
    }

    #[test]
    fn too_small_a_buffer_is_left_alone() {
        let mut out = [0xee; 9];
        encode(&TSO, &[], &mut out);
        assert_eq!(out, [0xee; 9]);
        assert_eq!(decode(&out), Err(VnetError::Truncated));
    }

    #[test]
    fn data_valid_is_not_believed() {
        let mut header = [0; 12];
        header[0] = 2;
        header[6] = 14;
        assert_eq!(decode(&header), Ok(Offload::NONE));
        header[0] = 3;
        assert!(decode(&header).unwrap().checksum.is_some());
    }

    #[test]
    fn only_what_we_offer() {
        for flags in 0..=u8::MAX {
            for gso in 0..=u8::MAX {
                let header = [flags, gso, 0, 0, 0x10, 0x10, 34, 0, 16, 0, 1, 0];
                let known_gso = matches!(gso, 0 | 1 | 4 | 5 | 0x81 | 0x84);
                assert_eq!(decode(&header).is_ok(), flags < 4 && known_gso, "{flags} {gso}");
            }
        }
        let with = |gso_type| decode(&[0, gso_type, 0, 0, 1, 1, 0, 0, 0, 0]);
        assert_eq!(with(3), Err(VnetError::Ufo));
        assert_eq!(with(0x83), Err(VnetError::Ufo));
        assert_eq!(with(0x80), Err(VnetError::EcnWithoutTcp));
        assert_eq!(with(0x85), Err(VnetError::EcnWithoutTcp));
        assert_eq!(with(2), Err(VnetError::UnknownGso));
        assert_eq!(decode(&[0, 1, 0, 0, 0, 0, 0, 0, 0, 0]), Err(VnetError::ZeroSize));
        assert_eq!(decode(&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Err(VnetError::UnknownFlag));
    }
}
