//! Frames for tests, complete and on one line.

use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::{Gso, GsoKind, MacAddr, Offload, Tag};

/// The shortest Ethernet frame without its checksum, in bytes.
pub const FRAME_MIN: usize = 60;

/// The EtherType of plain test frames: IEEE 802 local experimental 1.
pub const ETHERTYPE: u16 = 0x88b5;

/// A locally administered address that shows its number.
#[must_use]
pub const fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x02, 0x00, a, b, c, d])
}

/// A frame of `len` bytes whose payload counts up from its first byte.
#[must_use]
pub fn plain(dst: MacAddr, src: MacAddr, len: usize) -> Vec<u8> {
    tagged(dst, src, &[], len)
}

/// The same behind VLAN tags, outermost first. `len` does not count the tags.
#[must_use]
pub fn tagged(dst: MacAddr, src: MacAddr, tags: &[Tag], len: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(len + 4 * tags.len());
    frame.extend(dst.0);
    frame.extend(src.0);
    for tag in tags {
        frame.extend(tag.to_bytes());
    }
    frame.extend(ETHERTYPE.to_be_bytes());
    let payload = len.saturating_sub(14);
    frame.extend((0..payload).map(|i| i as u8));
    frame
}

/// The IP version, for tests that are twins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Ip {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

/// A frame with what is missing from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rich {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its metadata.
    pub offload: Offload,
}

/// A UDP datagram with `payload` bytes whose checksum is partial.
///
/// # Panics
///
/// If it does not fit 64 KiB.
#[must_use]
pub fn udp_partial(ip: Ip, dst: MacAddr, src: MacAddr, tags: &[Tag], payload: usize) -> Rich {
    let mut bytes = vec![0; 66_000];
    let builder = network(ip, &mut bytes, dst, src, tags).udp(4000, 5000);
    let (len, checksum) = builder.payload(&body(payload)).finish_partial().expect("a frame");
    bytes.truncate(len);
    Rich { bytes, offload: Offload { checksum: Some(checksum), gso: None } }
}

/// The same datagram with its checksum complete.
///
/// # Panics
///
/// If it does not fit 64 KiB.
#[must_use]
pub fn udp(ip: Ip, dst: MacAddr, src: MacAddr, tags: &[Tag], payload: usize) -> Vec<u8> {
    let mut bytes = vec![0; 66_000];
    let builder = network(ip, &mut bytes, dst, src, tags).udp(4000, 5000);
    let len = builder.payload(&body(payload)).finish().expect("a frame");
    bytes.truncate(len);
    bytes
}

/// A TCP frame of `payload` bytes to be cut into segments of `size`.
///
/// # Panics
///
/// If it does not fit 64 KiB.
#[must_use]
pub fn tcp_gso(ip: Ip, dst: MacAddr, src: MacAddr, payload: usize, size: u16) -> Rich {
    let mut bytes = vec![0; 66_000];
    let builder = network(ip, &mut bytes, dst, src, &[]).tcp(&Tcp::default());
    let (len, checksum) = builder.payload(&body(payload)).finish_partial().expect("a frame");
    bytes.truncate(len);
    let kind = match ip {
        Ip::V4 => GsoKind::Tcp4,
        Ip::V6 => GsoKind::Tcp6,
    };
    let gso = Some(Gso { kind, size, ecn: false });
    Rich { bytes, offload: Offload { checksum: Some(checksum), gso } }
}

/// A frame of UDP datagrams of `size` bytes each.
///
/// # Panics
///
/// If it does not fit 64 KiB.
#[must_use]
pub fn udp_gso(ip: Ip, dst: MacAddr, src: MacAddr, payload: usize, size: u16) -> Rich {
    let mut rich = udp_partial(ip, dst, src, &[], payload);
    rich.offload.gso = Some(Gso { kind: GsoKind::Udp, size, ecn: false });
    rich
}

fn network<'a>(ip: Ip, out: &'a mut [u8], dst: MacAddr, src: MacAddr, tags: &[Tag]) -> Builder<'a> {
    let mut builder = Builder::new(out).ethernet(dst, src);
    for &tag in tags {
        builder = builder.tag(tag);
    }
    match ip {
        Ip::V4 => builder.ipv4(&Ipv4::default()),
        Ip::V6 => builder.ipv6(&Ipv6::default()),
    }
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7) as u8).collect()
}
