//! Packets of guests that come in fragments are put together before they are translated: a host
//! socket takes whole datagrams.
//!
//! # Theory of operation
//!
//! A packet under way is known by its addresses, protocol and identification (RFC 791, 3.2; RFC
//! 8200, 4.5). Its fragments stay in their buffers until the last one is here. Fragments that
//! overlap end the packet (RFC 5722; nothing honest sends them in IPv4 either), but one that is
//! repeated exactly is only dropped. Bounded: packets under way of one guest and of all, fragments
//! of one packet, of one guest and of all, bytes of one packet, and time. A guest that begins one
//! packet too many loses its oldest; if all together have too many, the guest with most does. A packet
//! whose fragments find no room is given up: the guest has more of them than are free, or the pool,
//! which frames on their way need, is half used.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use engine::{Frame, Instant};
use ipnet::IpNet;
use wire::Offload;
use wire::icmp_error::IcmpError;
use wire::ipv4::protocol;
use wire::parse::{L3, Parsed};

use crate::GuestKey;
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::keyed::Keyed;
use crate::packet::{self, ETHERNET};
use crate::{icmp, share};

/// How long fragments are waited for: what Linux waits for those of IPv4. IPv6 would allow 60
/// (RFC 8200, 4.5).
const TIMEOUT: Duration = Duration::from_secs(30);

/// Packets under way: of one guest, and of all.
const OF_GUEST: usize = 16;
const OF_ALL: usize = 128;

/// Fragments of one packet: of 65,535 bytes at the least MTU of IPv4 links in use.
const PIECES_MAX: usize = 128;

/// Fragments of all guests: a sixteenth of the pool's frames, or what sixteen guests send at once
/// when each sends a datagram of the greatest length over Ethernet, and as much again.
const PIECES_ALL: usize = 2048;

/// Longest payload that a packet can have.
const PAYLOAD_MAX: usize = 65_535 - 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    id: u32,
}

#[derive(Debug)]
struct Piece {
    /// Of the payload.
    offset: usize,
    len: usize,
    /// Where in the frame it begins.
    at: usize,
    frame: Frame,
}

#[derive(Debug)]
struct Packet {
    key: Key,
    guest: GuestKey,
    began: Instant,
    /// In the order of offsets.
    pieces: Vec<Piece>,
    /// Length of the payload, once the last fragment is here.
    total: Option<usize>,
    ttl: u8,
    class: u8,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Whole {
    /// It waits, or was dropped, and counted.
    Nothing,
    /// It was the one that was missing.
    Packet(Frame),
}

/// Packets under way, the oldest first.
#[derive(Debug)]
pub(crate) struct Fragments {
    packets: VecDeque<Packet>,
}

impl Fragments {
    pub(crate) fn new(_: Keyed) -> Self {
        // Few enough to be looked through one by one; nothing here is hashed.
        Self { packets: VecDeque::new() }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.packets.front().map(|packet| packet.began + TIMEOUT)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        while self.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.tell_expired(now, ctx);
            self.give_up(ctx, 0, Reason::FragmentExpired);
        }
    }

    /// The oldest packet has not become whole: its sender is told if the first fragment, which says what
    /// it was, is here (RFC 1122, 3.3.2; RFC 8200, 4.5).
    fn tell_expired(&self, now: Instant, ctx: &mut Ctx<'_>) {
        let Some(packet) = self.packets.front() else { return };
        let Some(first) = packet.pieces.first().filter(|piece| piece.offset == 0) else { return };
        let mut headers = [0; packet::HEADERS];
        let len = packet::gather(ctx.pool, &first.frame, &mut headers);
        if let Ok(parsed) = wire::parse(headers.get(..len).unwrap_or_default()) {
            let error = IcmpError::ReassemblyTimeExceeded;
            icmp::refuse(ctx, now, packet.guest, &parsed, &first.frame, error);
        }
    }

    /// A guest's port is gone: nothing more comes, and nobody is there to be told.
    pub(crate) fn guest_gone(&mut self, ctx: &mut Ctx<'_>, guest: GuestKey) {
        while let Some(at) = self.packets.iter().position(|packet| packet.guest == guest) {
            self.give_up(ctx, at, Reason::FragmentExpired);
        }
    }

    /// Addresses belong to nobody any more, or to another, who may use the same identifications.
    pub(crate) fn addresses_gone(&mut self, ctx: &mut Ctx<'_>, addresses: IpNet) {
        let its = |packet: &Packet| addresses.contains(&packet.key.source);
        while let Some(at) = self.packets.iter().position(its) {
            self.give_up(ctx, at, Reason::FragmentExpired);
        }
    }

    /// The gateway is taken away.
    pub(crate) fn clear(&mut self, ctx: &mut Ctx<'_>) {
        while !self.packets.is_empty() {
            self.give_up(ctx, 0, Reason::FragmentExpired);
        }
    }

    fn give_up(&mut self, ctx: &mut Ctx<'_>, at: usize, reason: Reason) {
        let Some(packet) = self.packets.remove(at) else { return };
        for piece in packet.pieces {
            ctx.counters.count(reason);
            ctx.pool.release(piece.frame);
        }
    }

    /// Takes a fragment.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        guest: GuestKey,
        parsed: &Parsed,
        frame: Frame,
    ) -> Whole {
        let mut headers = [0; packet::HEADERS];
        let filled = packet::gather(ctx.pool, &frame, &mut headers);
        let headers = headers.get(..filled).unwrap_or_default();
        let Some(found) = describe(headers, parsed).filter(|found| {
            // All but the last are multiples of eight bytes, and none leaves the packet.
            found.offset + found.len <= PAYLOAD_MAX
                && found.len > 0
                && (!found.more || found.len.is_multiple_of(8))
        }) else {
            ctx.counters.count(Reason::Fragment);
            ctx.pool.release(frame);
            return Whole::Nothing;
        };
        let at = match self.packets.iter().position(|packet| packet.key == found.key) {
            Some(at) if self.packets.get(at).is_some_and(|packet| packet.guest == guest) => at,
            Some(_) => {
                ctx.counters.count(Reason::Fragment);
                ctx.pool.release(frame);
                return Whole::Nothing;
            }
            None => self.begin(now, ctx, guest, &found),
        };
        self.add(ctx, at, &found, frame)
    }

    /// Makes room for one more packet under way.
    fn begin(&mut self, now: Instant, ctx: &mut Ctx<'_>, guest: GuestKey, found: &Found) -> usize {
        let theirs = |packet: &Packet| packet.guest == guest;
        if self.packets.iter().filter(|packet| theirs(packet)).count() >= OF_GUEST
            && let Some(oldest) = self.packets.iter().position(theirs)
        {
            self.give_up(ctx, oldest, Reason::FragmentFull);
        }
        if self.packets.len() >= OF_ALL
            && let Some(at) = self.oldest_of_richest()
        {
            self.give_up(ctx, at, Reason::FragmentFull);
        }
        self.packets.push_back(Packet {
            key: found.key,
            guest,
            began: now,
            pieces: Vec::new(),
            total: None,
            ttl: found.ttl,
            class: found.class,
        });
        self.packets.len() - 1
    }

    /// The oldest packet of the guest that has most under way.
    fn oldest_of_richest(&self) -> Option<usize> {
        let count = |guest| self.packets.iter().filter(|packet| packet.guest == guest).count();
        let richest = self.packets.iter().map(|packet| packet.guest).max_by_key(|g| count(*g))?;
        self.packets.iter().position(|packet| packet.guest == richest)
    }

    /// Whether one more fragment of a guest may wait.
    fn fits(&self, ctx: &Ctx<'_>, guest: GuestKey) -> bool {
        let usage = ctx.pool.usage();
        let scarce = [usage.small, usage.large].iter().any(|class| class.used > class.limit / 2);
        let pieces = |packet: &Packet| packet.pieces.len();
        let used = self.packets.iter().map(pieces).sum();
        let own = self.packets.iter().filter(|packet| packet.guest == guest).map(pieces).sum();
        !scarce && share::allows(own, used, PIECES_ALL)
    }

    fn add(&mut self, ctx: &mut Ctx<'_>, at: usize, found: &Found, frame: Frame) -> Whole {
        let fits = self.packets.get(at).is_some_and(|packet| self.fits(ctx, packet.guest));
        let Some(packet) = self.packets.get_mut(at) else {
            ctx.pool.release(frame);
            return Whole::Nothing;
        };
        let end = found.offset + found.len;
        let place = packet.pieces.partition_point(|piece| piece.offset < found.offset);
        let before = place.checked_sub(1).and_then(|before| packet.pieces.get(before));
        let after = packet.pieces.get(place);
        if after.is_some_and(|piece| piece.offset == found.offset && piece.len == found.len) {
            ctx.counters.count(Reason::Fragment);
            ctx.pool.release(frame);
            return Whole::Nothing;
        }
        let overlaps = before.is_some_and(|piece| piece.offset + piece.len > found.offset)
            || after.is_some_and(|piece| piece.offset < end);
        let last = packet.pieces.last().map_or(0, |piece| piece.offset + piece.len);
        let wrong_end = match packet.total {
            Some(total) => end > total || (!found.more && end != total),
            None => !found.more && last > end,
        };
        if overlaps || wrong_end || !fits || packet.pieces.len() >= PIECES_MAX {
            ctx.counters.count(Reason::FragmentFull);
            ctx.pool.release(frame);
            self.give_up(ctx, at, Reason::FragmentFull);
            return Whole::Nothing;
        }
        if !found.more {
            packet.total = Some(end);
        }
        let piece = Piece { offset: found.offset, len: found.len, at: found.at, frame };
        packet.pieces.insert(place, piece);
        let have: usize = packet.pieces.iter().map(|piece| piece.len).sum();
        if packet.total != Some(have) {
            ctx.counters.count(Reason::FragmentHeld);
            return Whole::Nothing;
        }
        match self.packets.remove(at) {
            Some(packet) => join(ctx, packet),
            None => Whole::Nothing,
        }
    }
}

/// Puts a packet together of all its fragments.
fn join(ctx: &mut Ctx<'_>, packet: Packet) -> Whole {
    let total = packet.total.unwrap_or(0);
    let headers = ETHERNET + packet::header_len(&packet.key.source);
    let mut bytes = vec![0; headers + total];
    let id = u16::try_from(packet.key.id & 0xffff).unwrap_or(0);
    packet::write_ip(
        &mut bytes,
        packet.key.source,
        packet.key.destination,
        packet.key.protocol,
        packet.class,
        id,
        total,
    );
    // Time to live goes on from where it was.
    if let Some(field) = bytes.get_mut(ETHERNET + if headers > 34 { 7 } else { 8 }) {
        *field = packet.ttl;
    }
    for piece in packet.pieces {
        let mut to = headers + piece.offset;
        for from in packet::slice(ctx.pool, &piece.frame, piece.at, piece.len) {
            if let Some(room) = bytes.get_mut(to..to + from.len()) {
                room.copy_from_slice(from);
            }
            to += from.len();
        }
        ctx.pool.release(piece.frame);
    }
    match ctx.pool.copy_in(&bytes, Offload::NONE) {
        Ok(frame) => {
            ctx.counters.count(Reason::Reassembled);
            Whole::Packet(frame)
        }
        Err(_) => {
            ctx.counters.count(Reason::PoolEmpty);
            Whole::Nothing
        }
    }
}

/// What a fragment says about itself.
#[derive(Clone, Copy, Debug)]
struct Found {
    key: Key,
    offset: usize,
    len: usize,
    at: usize,
    more: bool,
    ttl: u8,
    class: u8,
}

fn describe(headers: &[u8], parsed: &Parsed) -> Option<Found> {
    let end = parsed.claimed_len()?;
    match &parsed.l3 {
        Some(L3::Ipv4(ip)) => {
            let header = wire::ipv4::Header::new(headers.get(ETHERNET..)?).ok()?;
            let at = ETHERNET + header.header_len();
            Some(Found {
                key: Key {
                    source: ip.source.into(),
                    destination: ip.destination.into(),
                    protocol: ip.protocol,
                    id: header.id().into(),
                },
                offset: usize::from(header.fragment_offset()),
                len: end.checked_sub(at)?,
                at,
                more: headers.get(ETHERNET + 6)? & 0x20 != 0,
                ttl: ip.ttl,
                class: header.traffic_class(),
            })
        }
        Some(L3::Ipv6(ip)) => {
            // Extensions before the fragment header would have to be kept; behind a first router
            // there are none that matter here, and packets with them are refused.
            let header = wire::ipv6::Header::new(headers.get(ETHERNET..)?).ok()?;
            if header.next_header() != wire::ipv6::extension::FRAGMENT {
                return None;
            }
            let extension: &[u8; 8] = headers.get(ETHERNET + 40..)?.first_chunk()?;
            let field = u16::from_be_bytes([extension[2], extension[3]]);
            let at = ETHERNET + 48;
            let protocol = extension[0];
            if !matches!(protocol, protocol::UDP | protocol::TCP | protocol::ICMPV6) {
                return None;
            }
            Some(Found {
                key: Key {
                    source: ip.source.into(),
                    destination: ip.destination.into(),
                    protocol,
                    id: u32::from_be_bytes([
                        extension[4],
                        extension[5],
                        extension[6],
                        extension[7],
                    ]),
                },
                offset: usize::from(field & !7),
                len: end.checked_sub(at)?,
                at,
                more: field & 1 != 0,
                ttl: ip.hop_limit,
                class: header.traffic_class(),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
