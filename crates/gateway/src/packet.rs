//! Packets towards guests: headers put in front of a payload, and cut into fragments where the
//! way to the guest carries less.

use std::net::{IpAddr, SocketAddr};

use engine::{Frame, Pool};
use wire::ethernet::ethertype;
use wire::ipv4::protocol;
use wire::{Gso, GsoKind, Offload, PartialChecksum, checksum};

use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::services::{ANSWER_MAX, Answer};

/// Ethernet header without a tag.
pub(crate) const ETHERNET: usize = 14;
const IPV4: usize = wire::ipv4::HEADER_LEN;
const IPV6: usize = wire::ipv6::HEADER_LEN;
const UDP: usize = wire::udp::HEADER_LEN;

/// Bytes from which the headers of every packet can be read (see [`wire::parse()`]).
pub(crate) const HEADERS: usize = 384;

/// Time to live of what the gateway sends.
const TTL: u8 = 64;

/// Longest datagram that a train towards guests is made of, with headers: what an IPv4 header can
/// say (IPv6 could say 40 more).
const PACKET_MAX: usize = 65_535;

/// Length of an IP header without options of the family of `address`.
#[inline]
pub(crate) const fn header_len(address: &IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => IPV4,
        IpAddr::V6(_) => IPV6,
    }
}

/// Sum of the pseudo header; zero if the families differ.
#[inline]
pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> u16 {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            checksum::pseudo_v4(source, destination, protocol, u16::try_from(len).unwrap_or(0))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            checksum::pseudo_v6(source, destination, protocol, u32::try_from(len).unwrap_or(0))
        }
        _ => 0,
    }
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = value;
    }
}

/// Writes Ethernet and IP headers at the front of `out`, for `len` bytes behind them. The Ethernet
/// addresses are zero: the router fills them in.
#[inline]
pub(crate) fn write_ip(
    out: &mut [u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    class: u8,
    id: u16,
    len: usize,
) {
    put(out, 0, [0; 12]);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            put(out, 12, ethertype::IPV4.to_be_bytes());
            let total = u16::try_from(IPV4 + len).unwrap_or(u16::MAX).to_be_bytes();
            let [id_high, id_low] = id.to_be_bytes();
            put(out, 14, [0x45, class, total[0], total[1], id_high, id_low, 0, 0]);
            put(out, 22, [TTL, protocol, 0, 0]);
            put(out, 26, source.octets());
            put(out, 30, destination.octets());
            let sum = out.get(14..34).map_or(0, checksum::sum);
            put(out, 24, (!sum).to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            put(out, 12, ethertype::IPV6.to_be_bytes());
            let word = 6 << 28 | u32::from(class) << 20;
            put(out, 14, word.to_be_bytes());
            let payload = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
            put(out, 18, [payload[0], payload[1], protocol, TTL]);
            put(out, 22, source.octets());
            put(out, 38, destination.octets());
        }
        _ => {}
    }
}

/// Sends a UDP datagram, or a train of them, to a guest. Its payload stands in `bytes` behind `room`
/// bytes for headers.
pub(crate) fn udp(
    ctx: &mut Ctx<'_>,
    bytes: &mut [u8],
    room: usize,
    source: SocketAddr,
    destination: SocketAddr,
    class: u8,
    segment: Option<u16>,
) {
    let ip = header_len(&destination.ip());
    let headers = ETHERNET + ip + UDP;
    let payload = bytes.len().saturating_sub(room);
    let longest = ctx.mtu_to(destination.ip()).saturating_sub(ip + UDP);
    let segment = segment.map(usize::from).filter(|segment| *segment < payload);
    let Some(segment) = segment else {
        if payload <= longest {
            let Some(frame) = bytes.get_mut(room - headers..) else { return };
            let offload = udp_headers(ctx, frame, ip, source, destination, class, None);
            emit(ctx, frame, offload);
        } else {
            whole_udp(ctx, bytes, room, source, destination, class);
        }
        return;
    };
    // As many segments at once as one packet and one set of metadata may have.
    let most = ((PACKET_MAX - ip - UDP) / segment).clamp(1, wire::offload::UDP_SEGMENTS_MAX);
    let mut at = room;
    while at < bytes.len() {
        let end = bytes.len().min(at + most * segment);
        if segment <= longest && end - at > segment {
            let Some(frame) = bytes.get_mut(at - headers..end) else { return };
            let gso = Gso {
                kind: GsoKind::Udp,
                size: u16::try_from(segment).unwrap_or(u16::MAX),
                ecn: false,
            };
            // The headers overwrite the tail of what was sent just before.
            let offload = udp_headers(ctx, frame, ip, source, destination, class, Some(gso));
            emit(ctx, frame, offload);
            at = end;
        } else {
            let end = bytes.len().min(at + segment);
            let Some(one) = bytes.get_mut(at - room..end) else { return };
            udp(ctx, one, room, source, destination, class, None);
            at = end;
        }
    }
}

fn udp_headers(
    ctx: &mut Ctx<'_>,
    frame: &mut [u8],
    ip: usize,
    source: SocketAddr,
    destination: SocketAddr,
    class: u8,
    gso: Option<Gso>,
) -> Offload {
    let l4 = frame.len().saturating_sub(ETHERNET + ip);
    let id = ctx.next_id();
    write_ip(frame, source.ip(), destination.ip(), protocol::UDP, class, id, l4);
    let at = ETHERNET + ip;
    put(frame, at, source.port().to_be_bytes());
    put(frame, at + 2, destination.port().to_be_bytes());
    put(frame, at + 4, u16::try_from(l4).unwrap_or(u16::MAX).to_be_bytes());
    let sum = pseudo(source.ip(), destination.ip(), protocol::UDP, l4);
    put(frame, at + 6, sum.to_be_bytes());
    Offload { checksum: Some(partial(at, wire::udp::CHECKSUM_AT)), gso }
}

fn partial(start: usize, offset: usize) -> PartialChecksum {
    PartialChecksum {
        start: u16::try_from(start).unwrap_or(u16::MAX),
        offset: u16::try_from(offset).unwrap_or(u16::MAX),
    }
}

/// A datagram that the network does not carry in one piece.
fn whole_udp(
    ctx: &mut Ctx<'_>,
    bytes: &mut [u8],
    room: usize,
    source: SocketAddr,
    destination: SocketAddr,
    class: u8,
) {
    let Some(message) = bytes.get_mut(room - UDP..) else { return };
    let len = message.len();
    put(message, 0, source.port().to_be_bytes());
    put(message, 2, destination.port().to_be_bytes());
    put(message, 4, u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    put(message, 6, [0; 2]);
    let sum = pseudo(source.ip(), destination.ip(), protocol::UDP, len);
    let sum = !checksum::add(sum, checksum::sum(message));
    put(message, 6, if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() });
    fragments(ctx, message, source.ip(), destination.ip(), protocol::UDP, class);
}

/// Sends an ICMP message whose checksum field is to be filled in. It stands in `bytes` behind
/// `room` bytes for headers.
pub(crate) fn icmp(
    ctx: &mut Ctx<'_>,
    bytes: &mut [u8],
    room: usize,
    source: IpAddr,
    destination: IpAddr,
    class: u8,
) {
    let ip = header_len(&destination);
    let (protocol, with_pseudo) = match destination {
        IpAddr::V4(_) => (protocol::ICMP, false),
        IpAddr::V6(_) => (protocol::ICMPV6, true),
    };
    let Some(message) = bytes.get_mut(room..) else { return };
    let len = message.len();
    put(message, 2, [0; 2]);
    let start = if with_pseudo { pseudo(source, destination, protocol, len) } else { 0 };
    let sum = !checksum::add(start, checksum::sum(message));
    put(message, 2, sum.to_be_bytes());
    if ip + len > ctx.mtu_to(destination) {
        fragments(ctx, message, source, destination, protocol, class);
        return;
    }
    let Some(frame) = bytes.get_mut(room - ip - ETHERNET..) else { return };
    let id = ctx.next_id();
    write_ip(frame, source, destination, protocol, class, id, len);
    emit(ctx, frame, Offload::NONE);
}

/// Sends an IP payload in as many fragments as it takes (RFC 791, 3.2; RFC 8200, 4.5).
fn fragments(
    ctx: &mut Ctx<'_>,
    payload: &[u8],
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    class: u8,
) {
    let v6 = destination.is_ipv6();
    let ip = header_len(&destination);
    let extension = if v6 { 8 } else { 0 };
    let size = ctx.mtu_to(destination).saturating_sub(ip + extension) & !7;
    let id = ctx.next_id();
    let mut frame = [0; ETHERNET + IPV6 + 8 + 2048];
    // One fragment is never longer than a small frame, so that an MTU of 64 KiB needs no buffer of
    // that size here.
    let size = size.min(2048);
    if size == 0 {
        return;
    }
    for (i, piece) in payload.chunks(size).enumerate() {
        let offset = i * size;
        let more = offset + piece.len() < payload.len();
        let start = ETHERNET + ip + extension;
        let next = if v6 { wire::ipv6::extension::FRAGMENT } else { protocol };
        write_ip(&mut frame, source, destination, next, class, id, extension + piece.len());
        let offset = u16::try_from(offset / 8).unwrap_or(u16::MAX);
        if v6 {
            put(&mut frame, ETHERNET + ip, [protocol, 0]);
            put(&mut frame, ETHERNET + ip + 2, (offset << 3 | u16::from(more)).to_be_bytes());
            // Both halves differ from one datagram to the next; the counter is 16 bits wide.
            put(
                &mut frame,
                ETHERNET + ip + 4,
                (u32::from(id) << 16 | u32::from(!id)).to_be_bytes(),
            );
        } else {
            put(&mut frame, ETHERNET + 6, (u16::from(more) << 13 | offset).to_be_bytes());
            put(&mut frame, ETHERNET + 10, [0; 2]);
            let sum = frame.get(ETHERNET..ETHERNET + ip).map_or(0, checksum::sum);
            put(&mut frame, ETHERNET + 10, (!sum).to_be_bytes());
        }
        let end = start + piece.len();
        if let Some(body) = frame.get_mut(start..end) {
            body.copy_from_slice(piece);
        }
        emit(ctx, frame.get(..end).unwrap_or_default(), Offload::NONE);
    }
}

/// Queues a frame towards a guest.
#[inline]
pub(crate) fn emit(ctx: &mut Ctx<'_>, frame: &[u8], offload: Offload) {
    match ctx.pool.copy_in(frame, offload) {
        Ok(frame) => ctx.out.push_back(frame),
        Err(_) => ctx.counters.count(Reason::PoolEmpty),
    }
}

/// Queues what a service answers. Apart, so that packets which are none do not pay for its buffer.
#[cold]
#[inline(never)]
pub(crate) fn emit_answer(ctx: &mut Ctx<'_>, answer: &Answer) {
    let mut buffer = [0; ANSWER_MAX];
    match answer.write(&mut buffer) {
        Ok(len) => emit(ctx, buffer.get(..len).unwrap_or_default(), Offload::NONE),
        Err(_) => ctx.counters.count(Reason::Malformed),
    }
}

/// `len` bytes of a frame from `offset` on, in its two pieces.
#[inline]
pub(crate) fn slice<'a>(pool: &'a Pool, frame: &Frame, offset: usize, len: usize) -> [&'a [u8]; 2] {
    let [a, b] = pool.pieces(frame);
    let end = offset + len;
    let first = a.get(offset.min(a.len())..end.min(a.len())).unwrap_or_default();
    let second = b
        .get(offset.saturating_sub(a.len()).min(b.len())..end.saturating_sub(a.len()).min(b.len()))
        .unwrap_or_default();
    if first.is_empty() { [second, &[]] } else { [first, second] }
}

/// Copies the front of a frame.
pub(crate) fn gather(pool: &Pool, frame: &Frame, out: &mut [u8]) -> usize {
    let mut at = 0;
    for piece in pool.pieces(frame) {
        let len = piece.len().min(out.len() - at);
        if let (Some(to), Some(from)) = (out.get_mut(at..at + len), piece.get(..len)) {
            to.copy_from_slice(from);
        }
        at += len;
    }
    at
}
