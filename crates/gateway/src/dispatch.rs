//! Where each packet of a guest goes: to a service, to a published port's client, or out.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use engine::{Frame, Instant, Pool};
use sys::inet::Carries;
use wire::icmp_error::IcmpError;
use wire::ipv4::protocol;
use wire::parse::{L3, Parsed, Transport};
use wire::{checksum, icmpv4, icmpv6, ndp};

use crate::backend::Backend;
use crate::backend::datagram::Marks;
use crate::counters::Reason;
use crate::ctx::{Packet, Room};
use crate::fragments::Whole;
use crate::gateway::{Gateway, GuestKey, ctx};
use crate::host_reach::Reach;
use crate::icmp;
use crate::packet::{self, ETHERNET};
use crate::plan::Protocol;
use crate::services::{Datagram, Solicitation};
use crate::tcp::{self, Segment, Target};
use crate::udp::{Key, Outgoing, Piece};

/// Bytes from which the headers of every packet can be read (see [`wire::parse()`]).
pub(crate) const HEADERS: usize = 384;

/// A packet with its ends.
#[derive(Clone, Copy, Debug)]
struct Seen {
    parsed: Parsed,
    source: IpAddr,
    destination: IpAddr,
    /// TTL or hop limit.
    ttl: u8,
    class: u8,
    /// May be cut on the way: DF is not set, or it came in fragments.
    fragment: bool,
    /// Bytes of the frame that are the packet's, without padding.
    end: usize,
}

/// Where something ends that does not go on, and what the guest is told.
type Refusal = (Reason, Option<IcmpError>);

impl<B: Backend> Gateway<B> {
    /// Takes a packet and sees to it that it is counted and its buffer given back.
    pub(crate) fn dispatch(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        frame: Frame,
    ) {
        let seen = match read(pool, &frame) {
            Ok(seen) => seen,
            Err(reason) => {
                self.counters.count(reason);
                pool.release(frame);
                return;
            }
        };
        if seen.parsed.fragment().is_part() {
            let mut ctx = ctx!(self, pool, room);
            if let Whole::Packet(whole) =
                self.fragments.take(now, &mut ctx, guest, &seen.parsed, frame)
            {
                match read(pool, &whole) {
                    Ok(mut seen) => {
                        seen.fragment = true;
                        self.whole(now, pool, room, guest, &seen, whole);
                    }
                    Err(reason) => {
                        self.counters.count(reason);
                        pool.release(whole);
                    }
                }
            }
            return;
        }
        self.whole(now, pool, room, guest, &seen, frame);
    }

    /// Takes a packet that is no fragment.
    fn whole(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        seen: &Seen,
        frame: Frame,
    ) {
        if !has_good_checksum(pool, seen, &frame) {
            self.counters.count(Reason::Checksum);
            pool.release(frame);
            return;
        }
        let done = match seen.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Udp { source, destination, .. }) => {
                let ends = ends(seen, source, destination);
                self.udp(now, pool, room, guest, seen, ends, frame)
            }
            Some(Transport::Tcp { source, destination, .. }) => {
                let ends = ends(seen, source, destination);
                self.tcp(now, pool, room, guest, seen, ends, frame);
                Ok(())
            }
            Some(Transport::Icmpv4 { kind, .. } | Transport::Icmpv6 { kind, .. }) => {
                self.icmp(now, pool, room, guest, seen, kind, frame)
            }
            Some(Transport::Other) => {
                // Offset of the next-header field of a packet without extensions.
                let error = IcmpError::ProtocolUnreachable { pointer: 6 };
                Err((frame, (Reason::Protocol, Some(error))))
            }
            None => Err((frame, (Reason::Malformed, None))),
        };
        if let Err((frame, refusal)) = done {
            self.refuse(now, pool, room, guest, seen, &frame, refusal);
            pool.release(frame);
        }
    }

    /// Counts a packet that goes no further, and tells the guest.
    #[expect(clippy::too_many_arguments, reason = "a call's surroundings, and what it is about")]
    fn refuse(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        seen: &Seen,
        frame: &Frame,
        (reason, error): Refusal,
    ) {
        self.counters.count(reason);
        if let Some(error) = error {
            let mut ctx = ctx!(self, pool, room);
            icmp::refuse(&mut ctx, now, guest, &seen.parsed, frame, error);
        }
    }

    /// Whether a new flow may go to a destination, and where the host's socket then goes.
    fn way_out(
        &mut self,
        guest: GuestKey,
        source: IpAddr,
        remote: SocketAddr,
        carries: Protocol,
    ) -> Result<SocketAddr, Refusal> {
        let ip = remote.ip();
        if !icmp::is_unicast(source) || is_nobody(source) || self.plan.is_own(source) {
            return Err((Reason::Source, None));
        }
        if icmp::is_group(ip) {
            return Err((Reason::Multicast, None));
        }
        if !self.plan.nat {
            return Err((Reason::NoNat, Some(IcmpError::NoRoute)));
        }
        if self.plan.is_host_internal(ip) {
            return if self.host.allow.permits(guest, carries, remote.port()) {
                Ok(SocketAddr::new(self.plan.as_host_sees(ip), remote.port()))
            } else {
                Err((Reason::HostRefused, Some(IcmpError::Prohibited)))
            };
        }
        match self.host.reach.judge(&mut self.host.backend, ip) {
            Reach::Host => Err((Reason::HostRefused, Some(IcmpError::Prohibited))),
            Reach::Multicast => Err((Reason::Multicast, None)),
            Reach::LinkLocal => Err((Reason::LinkLocal, Some(IcmpError::BeyondScope))),
            Reach::NoRoute => Err((Reason::NoRoute, Some(IcmpError::NoRoute))),
            // The router sent it here, so nobody inside has this address.
            Reach::Outside if self.plan.is_inside(ip) => {
                Err((Reason::NoRoute, Some(IcmpError::AddressUnreachable)))
            }
            Reach::Outside => Ok(remote),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "a call's surroundings, and what it is about")]
    fn udp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        seen: &Seen,
        (guest_end, remote): (SocketAddr, SocketAddr),
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
        let Some(piece) = payload(seen, &frame) else {
            return Err((frame, (Reason::Malformed, None)));
        };
        {
            let mut ctx = ctx!(self, pool, room);
            if self.publishing.answer(
                now,
                &mut ctx,
                &mut self.host,
                guest_end,
                remote,
                &frame,
                piece,
            ) {
                pool.release(frame);
                return Ok(());
            }
        }
        if self.is_service(remote.ip()) {
            let [first, second] = packet::slice(pool, &frame, piece.offset, piece.len);
            let payload = if second.is_empty() {
                first
            } else {
                self.scratch.clear();
                self.scratch.extend_from_slice(first);
                self.scratch.extend_from_slice(second);
                &self.scratch
            };
            let datagram = Datagram {
                guest,
                mac: seen.parsed.src,
                source: guest_end,
                destination: remote,
                payload,
            };
            if self.services.datagram(now, &datagram) {
                self.counters.count(Reason::Service);
                pool.release(frame);
                return Ok(());
            }
            let refusal = if !self.plan.is_own(remote.ip()) {
                (Reason::Multicast, None)
            } else {
                (Reason::NoService, Some(IcmpError::PortUnreachable))
            };
            return Err((frame, refusal));
        }
        if guest_end.port() == 0 || remote.port() == 0 {
            return Err((frame, (Reason::Malformed, None)));
        }
        let key = Key { carries: Carries::Udp, guest: guest_end };
        self.datagram(now, pool, room, guest, seen, key, remote, piece, frame)
    }

    /// Sends a datagram or an echo request out.
    #[expect(clippy::too_many_arguments, reason = "a call's surroundings, and what it is about")]
    fn datagram(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        seen: &Seen,
        key: Key,
        remote: SocketAddr,
        piece: Piece,
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
        let epoch = self.host.reach.epoch();
        let mut to = SocketAddr::new(self.plan.as_host_sees(remote.ip()), remote.port());
        let at = {
            let mut ctx = ctx!(self, pool, room);
            self.datagrams.find(&mut ctx, &key, guest)
        };
        if !at.is_some_and(|at| self.datagrams.may_send(at, to, epoch)) {
            let protocol = match key.carries {
                Carries::Udp => Protocol::Udp,
                Carries::Echo => Protocol::Echo,
            };
            match self.way_out(guest, seen.source, remote, protocol) {
                Ok(way) => to = way,
                Err(refusal) => return Err((frame, refusal)),
            }
        }
        if seen.ttl == 0 {
            return Err((frame, (Reason::TtlExpired, Some(IcmpError::TimeExceeded))));
        }
        let at = match at {
            Some(at) => at,
            None => {
                if !self.make_room(pool, room, guest) {
                    return Err((frame, (Reason::GuestLimit, None)));
                }
                let mut ctx = ctx!(self, pool, room);
                match self.datagrams.open(now, &mut ctx, &mut self.host, guest, key, to) {
                    Some(at) => at,
                    None => {
                        // Counted there; where the host gives no such socket, the guest is told.
                        if key.carries == Carries::Echo
                            && self.host.echo_refused[usize::from(to.is_ipv6())].is_some()
                        {
                            let error = IcmpError::Prohibited;
                            icmp::refuse(&mut ctx, now, guest, &seen.parsed, &frame, error);
                        }
                        pool.release(frame);
                        return Ok(());
                    }
                }
            }
        };
        self.datagrams.allow(at, to, epoch);
        let marks = Marks { ttl: seen.ttl, class: seen.class, fragment: seen.fragment };
        let outgoing = Outgoing { flow: at, to, marks, piece };
        let mut ctx = ctx!(self, pool, room);
        self.datagrams.send(now, &mut ctx, &mut self.host, &outgoing, frame);
        Ok(())
    }

    /// Makes room for one more flow: a guest that has as many as it may gives its oldest flow of
    /// datagrams, and when all together have, the guest that has most of these does. False if there
    /// is nobody to give.
    fn make_room(&mut self, pool: &mut Pool, room: &dyn Room, guest: GuestKey) -> bool {
        let (of_guest, of_all) = (self.tcp.len_of(guest), self.tcp.len());
        let payer = match self.guests.may_open_beside(guest, of_guest, of_all) {
            Ok(()) => return true,
            Err(Reason::FlowLimit) => self.guests.largest().unwrap_or(guest),
            Err(_) => guest,
        };
        let mut ctx = ctx!(self, pool, room);
        self.datagrams.evict_oldest(&mut ctx, payer)
    }

    #[expect(clippy::too_many_arguments, reason = "a call's surroundings, and what it is about")]
    fn tcp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        seen: &Seen,
        (guest_end, remote): (SocketAddr, SocketAddr),
        frame: Frame,
    ) {
        let host = SocketAddr::new(self.plan.as_host_sees(remote.ip()), remote.port());
        let headers = seen.parsed.headers_len().unwrap_or(0);
        let packet = Packet {
            frame: &frame,
            parsed: &seen.parsed,
            guest: guest_end,
            remote,
            host,
            payload_len: seen.end.saturating_sub(headers),
        };
        let mut ctx = ctx!(self, pool, room);
        match self.tcp.segment(now, &mut ctx, guest, &packet) {
            Segment::Done => pool.release(frame),
            Segment::Keep(kept) => self.tcp.keep(&mut ctx, kept, frame),
            Segment::Opening => {
                match self.open_tcp(now, guest, seen, remote) {
                    Ok(target) => {
                        // Where there are no datagrams to give, the table gives of its own.
                        self.make_room(pool, room, guest);
                        let mut ctx = ctx!(self, pool, room);
                        self.tcp.open(now, &mut ctx, guest, &packet, target);
                    }
                    Err(reason) => {
                        self.counters.count(reason);
                        // To a group nobody answers, not even with a reset (RFC 9293, MUST-57).
                        if icmp::is_unicast(seen.source) && !icmp::is_group(remote.ip()) {
                            let mut ctx = ctx!(self, pool, room);
                            self.tcp.refuse(&mut ctx, &packet);
                        }
                    }
                }
                pool.release(frame);
            }
        }
    }

    /// Where a new connection of a guest leads.
    fn open_tcp(
        &mut self,
        now: Instant,
        guest: GuestKey,
        seen: &Seen,
        remote: SocketAddr,
    ) -> Result<Target<<B::Streams as crate::backend::StreamBackend>::Stream>, Reason> {
        if self.plan.is_own(remote.ip()) {
            if !self.services.takes_stream(remote) {
                return Err(Reason::NoService);
            }
            let (ours, theirs) =
                B::local(self.tcp.backend()).map_err(|_| Reason::OutOfDescriptors)?;
            self.services.stream(now, guest, theirs);
            self.counters.count(Reason::Service);
            return Ok(Target::Local(ours));
        }
        let to = self
            .way_out(guest, seen.source, remote, Protocol::Tcp)
            .map_err(|(reason, _)| reason)?;
        Ok(Target::Outside(to))
    }

    #[expect(clippy::too_many_arguments, reason = "a call's surroundings, and what it is about")]
    fn icmp(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        room: &dyn Room,
        guest: GuestKey,
        seen: &Seen,
        kind: u8,
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
        let v6 = seen.source.is_ipv6();
        if icmp::is_error(&seen.parsed) {
            let reason = self.icmp_error(pool, room, seen, &frame);
            self.counters.count(reason);
            pool.release(frame);
            return Ok(());
        }
        let offset = seen.parsed.l4.map_or(0, |l4| usize::from(l4.offset));
        let len = seen.end.saturating_sub(offset);
        if v6 && kind == ndp::kind::ROUTER_SOLICITATION {
            let IpAddr::V6(source) = seen.source else {
                return Err((frame, (Reason::Malformed, None)));
            };
            self.scratch.clear();
            for piece in packet::slice(pool, &frame, offset, len) {
                self.scratch.extend_from_slice(piece);
            }
            let solicitation = Solicitation {
                guest,
                mac: seen.parsed.src,
                source,
                hop_limit: seen.ttl,
                message: &self.scratch,
            };
            let taken = self.services.solicitation(now, &solicitation);
            self.counters.count(if taken { Reason::Service } else { Reason::NoService });
            pool.release(frame);
            return Ok(());
        }
        let request = if v6 { icmpv6::kind::ECHO_REQUEST } else { icmpv4::kind::ECHO_REQUEST };
        if kind != request {
            return Err((frame, (Reason::IcmpIgnored, None)));
        }
        if self.plan.is_own(seen.destination) || self.plan.is_host_internal(seen.destination) {
            if !icmp::is_unicast(seen.source) {
                return Err((frame, (Reason::Source, None)));
            }
            self.counters.count(Reason::EchoAnswered);
            let mut ctx = ctx!(self, pool, room);
            icmp::answer_echo(&mut ctx, &seen.parsed, &frame, seen.source, seen.destination);
            pool.release(frame);
            return Ok(());
        }
        let mut header = [0; 8];
        let mut filled = 0;
        for piece in packet::slice(pool, &frame, offset, header.len().min(len)) {
            for (to, from) in header.iter_mut().skip(filled).zip(piece) {
                *to = *from;
            }
            filled += piece.len();
        }
        if filled < header.len() {
            return Err((frame, (Reason::Malformed, None)));
        }
        let id = u16::from_be_bytes([header[4], header[5]]);
        let key = Key { carries: Carries::Echo, guest: SocketAddr::new(seen.source, id) };
        let remote = SocketAddr::new(seen.destination, 0);
        let piece = Piece { offset, len, segment: None };
        self.datagram(now, pool, room, guest, seen, key, remote, piece, frame)
    }

    /// An ICMP error of a guest, or of a router on the way to it, about a packet that we sent.
    fn icmp_error(
        &mut self,
        pool: &mut Pool,
        room: &dyn Room,
        seen: &Seen,
        frame: &Frame,
    ) -> Reason {
        let mut headers = [0; ETHERNET + HEADERS];
        let offset = seen.parsed.l4.map_or(0, |l4| usize::from(l4.offset));
        let len = seen.end.saturating_sub(offset).min(HEADERS);
        let mut message = [0; HEADERS];
        let mut filled = 0;
        for piece in packet::slice(pool, frame, offset, len) {
            if let Some(room) = message.get_mut(filled..filled + piece.len()) {
                room.copy_from_slice(piece);
            }
            filled += piece.len();
        }
        let Some((front, quoted)) = message.get(..filled).and_then(|all| all.split_at_checked(8))
        else {
            return Reason::Malformed;
        };
        // The quoted packet, as a frame, so that one parser reads it.
        let v6 = seen.source.is_ipv6();
        let ethertype =
            if v6 { wire::ethernet::ethertype::IPV6 } else { wire::ethernet::ethertype::IPV4 };
        headers[12..14].copy_from_slice(&ethertype.to_be_bytes());
        headers[ETHERNET..ETHERNET + quoted.len()].copy_from_slice(quoted);
        let Ok(inner) = wire::parse(&headers[..ETHERNET + quoted.len()]) else {
            return Reason::Malformed;
        };
        let (source, destination, protocol, at) = match &inner.l3 {
            Some(L3::Ipv4(ip)) => (
                IpAddr::V4(ip.source),
                IpAddr::V4(ip.destination),
                ip.protocol,
                ETHERNET + usize::from(ip.header_len),
            ),
            Some(L3::Ipv6(ip)) => (
                IpAddr::V6(ip.source),
                IpAddr::V6(ip.destination),
                ip.chain.protocol,
                ETHERNET + 40 + usize::from(ip.chain.len),
            ),
            _ => return Reason::IcmpIgnored,
        };
        // A quoted TCP header may end after eight bytes: ports and sequence number.
        let Some(&[a, b, c, d, s0, s1, s2, s3]) =
            headers.get(at..at + 8).and_then(|bytes| bytes.first_chunk::<8>())
        else {
            return Reason::IcmpIgnored;
        };
        let remote = SocketAddr::new(source, u16::from_be_bytes([a, b]));
        let guest_end = SocketAddr::new(destination, u16::from_be_bytes([c, d]));
        match protocol {
            protocol::UDP if self.publishing.is_about_client(guest_end, remote) => {
                Reason::IcmpFromGuest
            }
            protocol::TCP => {
                let mtu = if v6 {
                    (front[0] == icmpv6::kind::TOO_BIG)
                        .then(|| u32::from_be_bytes([front[4], front[5], front[6], front[7]]))
                } else {
                    (front[..2] == [icmpv4::kind::UNREACHABLE, 4])
                        .then(|| u32::from(u16::from_be_bytes([front[6], front[7]])))
                };
                let error = match mtu {
                    Some(mtu) => {
                        tcp::IcmpError::TooBig { mtu: usize::try_from(mtu).unwrap_or(usize::MAX) }
                    }
                    None => tcp::IcmpError::Unreachable,
                };
                let sequence = u32::from_be_bytes([s0, s1, s2, s3]);
                let mut ctx = ctx!(self, pool, room);
                self.tcp.icmp_error(&mut ctx, guest_end, remote, sequence, error);
                Reason::IcmpAboutTcp
            }
            _ => Reason::IcmpIgnored,
        }
    }

    /// Whether services listen at this destination, if at all.
    fn is_service(&self, destination: IpAddr) -> bool {
        const ALL_DHCP_AGENTS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
        match destination {
            IpAddr::V4(v4) => {
                let broadcast = self.plan.subnet.map(|subnet| subnet.broadcast());
                v4.is_broadcast() || broadcast == Some(v4) || self.plan.is_own(destination)
            }
            IpAddr::V6(v6) => v6 == ALL_DHCP_AGENTS || self.plan.is_own(destination),
        }
    }
}

/// Addresses that no guest can have.
fn is_nobody(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some(),
    }
}

fn ends(seen: &Seen, source: u16, destination: u16) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(seen.source, source), SocketAddr::new(seen.destination, destination))
}

/// Reads the headers of a packet and holds their lengths against the frame.
fn read(pool: &Pool, frame: &Frame) -> Result<Seen, Reason> {
    let [first, _] = pool.pieces(frame);
    let mut buffer = [0; HEADERS];
    let headers = if first.len() >= HEADERS.min(frame.len()) {
        first
    } else {
        let len = packet::gather(pool, frame, &mut buffer);
        buffer.get(..len).unwrap_or_default()
    };
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
fn payload(seen: &Seen, frame: &Frame) -> Option<Piece> {
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
fn has_good_checksum(pool: &Pool, seen: &Seen, frame: &Frame) -> bool {
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
