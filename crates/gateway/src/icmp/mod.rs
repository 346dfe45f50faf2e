//! ICMP that the gateway itself says to guests: errors about their packets (RFC 792, RFC 4443),
//! those of the outside included, and answers to echo requests for its own addresses.
//!
//! An error that the outside sent about a packet of a guest's flow comes to us without its headers:
//! the kernel gives the payload, the type, and who sent it. The packet that it quotes is written
//! anew as the guest sent it, so that the guest finds its own flow in it, with valid checksums; the
//! source of the message is the router or host that sent it, so that traceroute shows the path.

use std::net::{IpAddr, SocketAddr};

use engine::{Frame, Instant};
use wire::build::{BufferFull, Builder, Ipv4, Ipv6};
use wire::checksum;
use wire::icmp_error::{self, IcmpError};
use wire::ipv4::protocol;
use wire::parse::{L3, Parsed, Transport};
use wire::{MacAddr, Offload};
use wire::{icmpv4, icmpv6};

use crate::GuestKey;
use crate::backend::datagram::{Origin, SocketError};
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::packet::{self, ETHERNET};

/// Longest message with its IP header: of IPv4 what every host takes (RFC 1812, 4.3.2.3), of IPv6
/// the least MTU (RFC 4443, 2.4).
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;

/// Room for the longest message as a frame.
const BUFFER: usize = ETHERNET + LONGEST_V6;

/// Tells a guest that its packet goes no further, if an error may be sent about it and the guest
/// has credit. The packet is counted by the caller.
pub(crate) fn refuse(
    ctx: &mut Ctx<'_>,
    now: Instant,
    guest: GuestKey,
    parsed: &Parsed,
    frame: &Frame,
    error: IcmpError,
) {
    let (source, destination) = match &parsed.l3 {
        Some(L3::Ipv4(ip)) => (IpAddr::V4(ip.source), IpAddr::V4(ip.destination)),
        Some(L3::Ipv6(ip)) => (IpAddr::V6(ip.source), IpAddr::V6(ip.destination)),
        Some(L3::Arp(_)) | None => return,
    };
    let mut quoted = [0; BUFFER];
    let len = quote(ctx, parsed, frame, &mut quoted);
    let quoted = quoted.get(ETHERNET..len).unwrap_or_default();
    if !icmp_error::may_answer(error, quoted) {
        return;
    }
    if !ctx.guests.may_err(now, guest) {
        ctx.counters.count(Reason::RateLimited);
        return;
    }
    let Some(from) = ctx.plan.speaks_as(destination, source.is_ipv6()) else { return };
    answer(ctx, from, error, quoted);
}

/// Sends `error` about the quoted packet to its source.
fn answer(ctx: &mut Ctx<'_>, from: IpAddr, error: IcmpError, quoted: &[u8]) {
    let mut out = [0; icmp_error::FRAME_LEN_MAX];
    let len =
        icmp_error::build(&mut out, MacAddr::ZERO, MacAddr::ZERO, from, error, &[quoted, &[]]);
    if let Ok(len) = len {
        packet::emit(ctx, out.get(..len).unwrap_or_default(), Offload::NONE);
    }
}

/// Copies the front of a packet, as long as a message may quote, with its transport checksum
/// completed. Returns the length with the Ethernet header.
fn quote(ctx: &Ctx<'_>, parsed: &Parsed, frame: &Frame, out: &mut [u8]) -> usize {
    let longest = match parsed.l3 {
        Some(L3::Ipv6(_)) => LONGEST_V6 - 40 - 8,
        _ => LONGEST_V4 - 20 - 8,
    };
    let claimed = parsed.claimed_len().unwrap_or(0);
    let len = claimed.min(ETHERNET + longest).min(out.len());
    let len = packet::gather(ctx.pool, frame, out.get_mut(..len).unwrap_or_default());
    if let Offload { checksum: Some(partial), gso: None } = frame.offload() {
        let start = usize::from(partial.start);
        let pieces = ctx.pool.pieces(frame);
        let sum = !checksum::sum_pieces(&pieces, &(start..claimed));
        let sum = if sum == 0 { 0xffff } else { sum };
        let field = partial.field();
        if let Some(bytes) = out.get_mut(field..field + 2) {
            bytes.copy_from_slice(&sum.to_be_bytes());
        }
    }
    len
}

/// The flow that an error of the outside is about, in the guest's words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) guest: GuestKey,
    pub(crate) protocol: u8,
    pub(crate) guest_end: SocketAddr,
    pub(crate) remote: SocketAddr,
    pub(crate) class: u8,
}

/// Tells a guest of an error of the outside. `payload` is what came back of the packet: for UDP what
/// is behind its header, for echo the message from its header on.
pub(crate) fn report(
    ctx: &mut Ctx<'_>,
    now: Instant,
    about: &About,
    error: &SocketError,
    payload: &[u8],
) {
    let mut buffer = [0; BUFFER];
    let Ok(len) = requote(&mut buffer, about, payload) else { return };
    let quoted = buffer.get(ETHERNET..len).unwrap_or_default();
    let ends = (about.guest_end.ip(), about.remote.ip());
    pass_on(ctx, now, about.guest, ends, error, quoted);
}

/// Whether an error of the outside is one that a guest is told.
pub(crate) fn passes(error: &SocketError, v6: bool) -> bool {
    translate(error, v6).is_some()
}

/// Tells a guest of an error of the outside about a packet between these ends, `quoted` as the guest
/// sent it.
pub(crate) fn pass_on(
    ctx: &mut Ctx<'_>,
    now: Instant,
    guest: GuestKey,
    (guest_end, remote): (IpAddr, IpAddr),
    error: &SocketError,
    quoted: &[u8],
) {
    let v6 = guest_end.is_ipv6();
    let Some((kind, code, rest)) = translate(error, v6) else {
        ctx.counters.count(Reason::IcmpIgnored);
        return;
    };
    if !ctx.guests.may_err(now, guest) {
        ctx.counters.count(Reason::RateLimited);
        return;
    }
    let own = ctx.plan.speaks_as(remote, v6);
    // Nobody outside speaks as one of the inside. An address of the host's own link is none to guests.
    let offender = error.offender.map(|offender| ctx.plan.as_guest_sees(offender)).filter(|ip| {
        ip.is_ipv6() == v6
            && is_unicast(*ip)
            && !ip.is_loopback()
            && !is_link_local(*ip)
            && !ctx.plan.is_guest(*ip)
    });
    let Some(from) = offender.or(own) else { return };
    say(ctx, from, guest_end, kind, code, rest, quoted);
    ctx.counters.count(Reason::IcmpErrorIn);
}

/// Tells a guest that what a flow sent went nowhere, where nothing is left of the packet.
pub(crate) fn report_refusal(ctx: &mut Ctx<'_>, now: Instant, about: &About, error: IcmpError) {
    if !ctx.guests.may_err(now, about.guest) {
        ctx.counters.count(Reason::RateLimited);
        return;
    }
    let v6 = about.guest_end.is_ipv6();
    let Some(from) = ctx.plan.speaks_as(about.remote.ip(), v6) else { return };
    let mut buffer = [0; BUFFER];
    let Ok(len) = requote(&mut buffer, about, &[]) else { return };
    answer(ctx, from, error, buffer.get(ETHERNET..len).unwrap_or_default());
}

/// Type, code and the word behind the checksum.
fn translate(error: &SocketError, v6: bool) -> Option<(u8, u8, u32)> {
    use sys::errno;
    match error.origin {
        Origin::Icmp { kind, code } if !v6 => match (kind, code) {
            (icmpv4::kind::UNREACHABLE, 4) => Some((kind, code, error.info & 0xffff)),
            (icmpv4::kind::UNREACHABLE | icmpv4::kind::TIME_EXCEEDED, _) => Some((kind, code, 0)),
            // A parameter problem points into a header that was not the guest's.
            _ => None,
        },
        Origin::Icmpv6 { kind, code } if v6 => match kind {
            icmpv6::kind::TOO_BIG => Some((kind, 0, error.info)),
            icmpv6::kind::UNREACHABLE | icmpv6::kind::TIME_EXCEEDED => Some((kind, code, 0)),
            _ => None,
        },
        Origin::Local if errno::is_too_long_code(error.errno) => Some(if v6 {
            (icmpv6::kind::TOO_BIG, 0, error.info)
        } else {
            (icmpv4::kind::UNREACHABLE, 4, error.info & 0xffff)
        }),
        Origin::Local => {
            let host = IcmpError::AddressUnreachable;
            let (kind, code, _) = if v6 { host.v6() } else { host.v4() };
            Some((kind, code, 0))
        }
        _ => None,
    }
}

/// Writes the packet that an error is about, as the guest sent it.
fn requote(buffer: &mut [u8], about: &About, payload: &[u8]) -> Result<usize, BufferFull> {
    let frame = Builder::new(buffer).ethernet(MacAddr::ZERO, MacAddr::ZERO);
    let (frame, room) = match (about.guest_end.ip(), about.remote.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header =
                Ipv4 { source, destination, traffic_class: about.class, ttl: 1, ..Ipv4::default() };
            (frame.ipv4(&header), LONGEST_V4 - 20 - 8 - 20 - 8)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6 {
                source,
                destination,
                traffic_class: about.class,
                hop_limit: 1,
                ..Ipv6::default()
            };
            (frame.ipv6(&header), LONGEST_V6 - 40 - 8 - 40 - 8)
        }
        _ => return Err(BufferFull),
    };
    let id = about.guest_end.port().to_be_bytes();
    match about.protocol {
        protocol::UDP => {
            let payload = payload.get(..room).unwrap_or(payload);
            frame.udp(about.guest_end.port(), about.remote.port()).payload(payload).finish()
        }
        protocol::ICMP => {
            // The kernel put its own identifier in.
            let sequence = payload.get(6..8).unwrap_or(&[0; 2]);
            let body = payload.get(8..).unwrap_or_default();
            let body = body.get(..room).unwrap_or(body);
            let rest = [id[0], id[1], sequence[0], sequence[1]];
            frame.icmpv4(icmpv4::kind::ECHO_REQUEST, 0, rest).payload(body).finish()
        }
        _ => {
            let sequence = payload.get(6..8).unwrap_or(&[0; 2]);
            let body = payload.get(8..).unwrap_or_default();
            let body = body.get(..room).unwrap_or(body);
            frame
                .icmpv6(icmpv6::kind::ECHO_REQUEST, 0)
                .payload(&id)
                .payload(sequence)
                .payload(body)
                .finish()
        }
    }
}

/// Sends a message with a word and a quoted packet behind its checksum.
fn say(ctx: &mut Ctx<'_>, from: IpAddr, to: IpAddr, kind: u8, code: u8, rest: u32, quoted: &[u8]) {
    const ROOM: usize = ETHERNET + 40;
    let mut bytes = [0; ROOM + 8 + LONGEST_V6];
    let end = ROOM + 8 + quoted.len();
    if let Some(message) = bytes.get_mut(ROOM..end) {
        message[0] = kind;
        message[1] = code;
        message[4..8].copy_from_slice(&rest.to_be_bytes());
        message[8..].copy_from_slice(quoted);
    }
    packet::icmp(ctx, bytes.get_mut(..end).unwrap_or_default(), ROOM, from, to, 0);
}

/// Answers an echo request for an address that the gateway speaks for.
pub(crate) fn answer_echo(
    ctx: &mut Ctx<'_>,
    parsed: &Parsed,
    frame: &Frame,
    source: IpAddr,
    destination: IpAddr,
) {
    const ROOM: usize = ETHERNET + 40;
    let Some(l4) = parsed.l4 else { return };
    let offset = usize::from(l4.offset);
    let len = parsed.claimed_len().unwrap_or(0).saturating_sub(offset);
    let mut bytes = vec![0; ROOM + len];
    let pieces = packet::slice(ctx.pool, frame, offset, len);
    let mut at = ROOM;
    for piece in pieces {
        if let Some(room) = bytes.get_mut(at..at + piece.len()) {
            room.copy_from_slice(piece);
            at += piece.len();
        }
    }
    if let Some(kind) = bytes.get_mut(ROOM) {
        *kind = if source.is_ipv6() { icmpv6::kind::ECHO_REPLY } else { icmpv4::kind::ECHO_REPLY };
    }
    packet::icmp(ctx, &mut bytes, ROOM, destination, source, 0);
}

/// Whether a packet is an ICMP error, or what has no ICMP header to tell.
pub(crate) fn is_error(parsed: &Parsed) -> bool {
    match parsed.l4.map(|l4| l4.transport) {
        Some(Transport::Icmpv4 { kind, .. }) => {
            matches!(kind, 3 | 4 | 5 | 11 | 12)
        }
        Some(Transport::Icmpv6 { kind, .. }) => kind < 128,
        _ => false,
    }
}

/// Whether packets can come from, and go to, one holder of this address.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    !address.is_unspecified() && !is_group(address)
}

/// Whether an address says something on its own link only (RFC 3927; RFC 4291, 2.5.6).
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// Whether this names more than one holder.
pub(crate) fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

#[cfg(test)]
mod tests;
