//! Where each packet of a guest goes: to a service, to a published port's client, or out.

use std::net::{IpAddr, SocketAddr};

use engine::{Frame, Instant, Pool};
use sys::inet::Carries;
use wire::dhcp6::ALL_SERVERS;
use wire::icmp_error::IcmpError;
use wire::parse::{L3, Transport};

use crate::backend::datagram::Marks;
use crate::backend::{Backend, StreamBackend};
use crate::counters::Reason;
use crate::ctx::{Packet, Room};
use crate::fragments::Whole;
use crate::gateway::{Gateway, ctx};
use crate::guests::GuestKey;
use crate::host_reach::Reach;
use crate::icmp;
use crate::packet;
use crate::plan::Protocol;
use crate::publish::Answer;
use crate::services::Datagram;
use crate::tcp::{NoDescriptor, Segment, Target};
use crate::udp::{Key, Outgoing, Piece};

mod icmp_in;
mod places;
mod read;

use read::Seen;

/// Where something ends that does not go on, and what the guest is told.
type Refusal = (Reason, Option<IcmpError>);

/// What all of one packet's way is called with.
pub(crate) struct Call<'a> {
    pub(crate) now: Instant,
    pub(crate) pool: &'a mut Pool,
    pub(crate) room: &'a dyn Room,
    /// Who sent the packet.
    pub(crate) guest: GuestKey,
}

impl<B: Backend> Gateway<B> {
    /// Takes a packet and sees to it that it is counted and its buffer given back.
    pub(crate) fn dispatch(&mut self, call: &mut Call<'_>, frame: Frame) {
        let seen = match read::read(call.pool, &frame) {
            Ok(seen) => seen,
            Err(reason) => {
                self.counters.count(reason);
                call.pool.release(frame);
                return;
            }
        };
        if seen.parsed.fragment().is_part() {
            let mut ctx = ctx!(self, call.pool, call.room);
            if let Whole::Packet(whole) =
                self.fragments.take(call.now, &mut ctx, call.guest, &seen.parsed, frame)
            {
                match read::read(call.pool, &whole) {
                    Ok(mut seen) => {
                        seen.fragment = true;
                        self.whole(call, &seen, whole);
                    }
                    Err(reason) => {
                        self.counters.count(reason);
                        call.pool.release(whole);
                    }
                }
            }
            return;
        }
        self.whole(call, &seen, frame);
    }

    /// Takes a packet that is no fragment.
    fn whole(&mut self, call: &mut Call<'_>, seen: &Seen, frame: Frame) {
        if !read::has_good_checksum(call.pool, seen, &frame) {
            self.counters.count(Reason::Checksum);
            call.pool.release(frame);
            return;
        }
        let done = match seen.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Udp { source, destination, .. }) => {
                self.udp(call, seen, read::ends(seen, source, destination), frame)
            }
            Some(Transport::Tcp { source, destination, .. }) => {
                self.tcp(call, seen, read::ends(seen, source, destination), frame)
            }
            Some(Transport::Icmpv4 { kind, .. } | Transport::Icmpv6 { kind, .. }) => {
                self.icmp(call, seen, kind, frame)
            }
            Some(Transport::Other) => {
                let pointer = match &seen.parsed.l3 {
                    Some(L3::Ipv6(ip)) => ip.chain.pointer(),
                    _ => 0,
                };
                let error = IcmpError::ProtocolUnreachable { pointer };
                Err((frame, (Reason::Protocol, Some(error))))
            }
            None => Err((frame, (Reason::Malformed, None))),
        };
        if let Err((frame, (reason, error))) = done {
            self.counters.count(reason);
            if let Some(error) = error {
                let mut ctx = ctx!(self, call.pool, call.room);
                icmp::refuse(&mut ctx, call.now, call.guest, &seen.parsed, &frame, error);
            }
            call.pool.release(frame);
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
        self.host.reach.refresh(&mut self.host.backend);
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

    fn udp(
        &mut self,
        call: &mut Call<'_>,
        seen: &Seen,
        (guest_end, remote): (SocketAddr, SocketAddr),
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
        let Some(piece) = read::payload(seen, &frame) else {
            return Err((frame, (Reason::Malformed, None)));
        };
        if self.publishing.is_about_client(guest_end, remote) {
            let marks = match self.marks(seen, remote.ip()) {
                Ok(marks) => marks,
                Err(refusal) => return Err((frame, refusal)),
            };
            let answer = Answer { guest: guest_end, seen: remote, marks, piece };
            let mut ctx = ctx!(self, call.pool, call.room);
            self.publishing.answer(call.now, &mut ctx, &mut self.host, &answer, &frame);
            call.pool.release(frame);
            return Ok(());
        }
        if self.is_service(remote) {
            let [first, second] = packet::slice(call.pool, &frame, piece.offset, piece.len);
            let payload = if second.is_empty() {
                first
            } else {
                self.scratch.clear();
                self.scratch.extend_from_slice(first);
                self.scratch.extend_from_slice(second);
                &self.scratch
            };
            let datagram = Datagram {
                guest: call.guest,
                mac: seen.parsed.src,
                source: guest_end,
                destination: remote,
                payload,
            };
            if self.services.datagram(call.now, &datagram) {
                self.counters.count(Reason::Service);
                call.pool.release(frame);
                return Ok(());
            }
            let refusal = if !self.plan.is_own(remote.ip()) {
                (Reason::Multicast, None)
            } else {
                (Reason::NoService, Some(IcmpError::PortUnreachable))
            };
            return Err((frame, refusal));
        }
        // A source port of zero is one that expects no answer (RFC 768).
        if remote.port() == 0 {
            return Err((frame, (Reason::Malformed, None)));
        }
        let key = Key { carries: Carries::Udp, guest: guest_end };
        self.datagram(call, seen, key, remote, piece, frame)
    }

    /// Sends a datagram or an echo request out.
    fn datagram(
        &mut self,
        call: &mut Call<'_>,
        seen: &Seen,
        key: Key,
        remote: SocketAddr,
        piece: Piece,
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
        let epoch = self.host.reach.epoch();
        let mut to = SocketAddr::new(self.plan.as_host_sees(remote.ip()), remote.port());
        let at = {
            let mut ctx = ctx!(self, call.pool, call.room);
            self.datagrams.find(&mut ctx, &key, call.guest)
        };
        if !at.is_some_and(|at| self.datagrams.may_send(at, to, epoch)) {
            let protocol = match key.carries {
                Carries::Udp => Protocol::Udp,
                Carries::Echo => Protocol::Echo,
            };
            match self.way_out(call.guest, seen.source, remote, protocol) {
                Ok(way) => to = way,
                Err(refusal) => return Err((frame, refusal)),
            }
        }
        let marks = match self.marks(seen, remote.ip()) {
            Ok(marks) => marks,
            Err(refusal) => return Err((frame, refusal)),
        };
        let at = match at {
            Some(at) => at,
            None => {
                // Whose port or place is given is judged by what they sent last.
                self.send_waiting(call);
                if let Err(reason) = self.make_port(call, &key).and_then(|()| self.make_room(call))
                {
                    return Err((frame, (reason, None)));
                }
                match self.open_datagrams(call, key, to) {
                    Ok(at) => at,
                    Err(reason) => {
                        self.counters.count(reason);
                        // Where the host gives no such socket, the guest is told.
                        if reason == Reason::EchoRefused {
                            let mut ctx = ctx!(self, call.pool, call.room);
                            let (error, now) = (IcmpError::Prohibited, call.now);
                            icmp::refuse(&mut ctx, now, call.guest, &seen.parsed, &frame, error);
                        }
                        call.pool.release(frame);
                        return Ok(());
                    }
                }
            }
        };
        self.datagrams.allow(at, to, epoch);
        let outgoing = Outgoing { flow: at, to, marks, piece };
        let mut ctx = ctx!(self, call.pool, call.room);
        self.datagrams.send(call.now, &mut ctx, &mut self.host, &outgoing, frame);
        Ok(())
    }

    /// What a datagram takes along to the outside. The router leaves the TTL of what goes out to us:
    /// the two are one hop. The host itself, and whom the gateway stands in for, are at the end of it,
    /// and beyond it everybody else.
    fn marks(&self, seen: &Seen, remote: IpAddr) -> Result<Marks, Refusal> {
        let ends = self.plan.is_host_internal(remote) || self.plan.is_own(remote);
        let ttl = if ends { seen.ttl } else { seen.ttl.saturating_sub(1) };
        if ttl == 0 {
            return Err((Reason::TtlExpired, Some(IcmpError::TimeExceeded)));
        }
        Ok(Marks { ttl, class: seen.class, fragment: seen.fragment })
    }

    /// Opens a flow of datagrams; where no descriptor or port is left, somebody gives one.
    fn open_datagrams(
        &mut self,
        call: &mut Call<'_>,
        key: Key,
        to: SocketAddr,
    ) -> Result<u32, Reason> {
        let now = call.now;
        let mut ctx = ctx!(self, call.pool, call.room);
        let opened = self.datagrams.open(now, &mut ctx, &mut self.host, call.guest, key, to);
        let given = match opened {
            Err(Reason::OutOfPorts) => self.datagrams.take_port(&mut ctx, call.guest, &key),
            Err(Reason::OutOfDescriptors) => self.take_from_richest(call),
            _ => false,
        };
        if !given {
            return opened;
        }
        let mut ctx = ctx!(self, call.pool, call.room);
        self.datagrams.open(now, &mut ctx, &mut self.host, call.guest, key, to)
    }

    fn tcp(
        &mut self,
        call: &mut Call<'_>,
        seen: &Seen,
        (guest_end, remote): (SocketAddr, SocketAddr),
        frame: Frame,
    ) -> Result<(), (Frame, Refusal)> {
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
        let mut ctx = ctx!(self, call.pool, call.room);
        match self.tcp.segment(call.now, &mut ctx, call.guest, &packet) {
            Segment::Done => call.pool.release(frame),
            Segment::Keep(kept) => self.tcp.keep(&mut ctx, kept, frame),
            Segment::Opening => match self.open_tcp(call, seen, remote) {
                Ok(target) => {
                    self.open_connection(call, &packet, target);
                    call.pool.release(frame);
                }
                Err((Reason::NoService, _)) => {
                    // As any host does at a port where nothing listens.
                    self.counters.count(Reason::NoService);
                    let mut ctx = ctx!(self, call.pool, call.room);
                    self.tcp.refuse(&mut ctx, &packet);
                    call.pool.release(frame);
                }
                Err(refusal) => return Err((frame, refusal)),
            },
        }
        Ok(())
    }

    /// Opens a connection of a guest, if there is a place for it or somebody gives one.
    fn open_connection(
        &mut self,
        call: &mut Call<'_>,
        packet: &Packet<'_>,
        target: Target<<B::Streams as StreamBackend>::Stream>,
    ) {
        let guest = call.guest;
        // Nobody gives a place to a guest that may have no connection more.
        let room =
            if self.tcp.may_open(guest) { self.make_room(call) } else { Err(Reason::GuestLimit) };
        if let Err(reason) = room {
            self.counters.count(reason);
            return;
        }
        let now = call.now;
        let mut ctx = ctx!(self, call.pool, call.room);
        let Err(NoDescriptor(outside)) = self.tcp.open(now, &mut ctx, guest, packet, target) else {
            return;
        };
        let mut opened = false;
        if self.take_from_richest(call) {
            let mut ctx = ctx!(self, call.pool, call.room);
            let target = Target::Outside(outside);
            opened = self.tcp.open(now, &mut ctx, guest, packet, target).is_ok();
        }
        if !opened {
            self.counters.count(Reason::OutOfDescriptors);
        }
    }

    /// Where a new connection of a guest leads.
    fn open_tcp(
        &mut self,
        call: &Call<'_>,
        seen: &Seen,
        remote: SocketAddr,
    ) -> Result<Target<<B::Streams as StreamBackend>::Stream>, Refusal> {
        if self.plan.is_own(remote.ip()) {
            if !self.services.takes_stream(remote) {
                return Err((Reason::NoService, None));
            }
            // A guest whose SYN is not answered sends it again.
            let (ours, theirs) =
                B::local(self.tcp.backend()).map_err(|_| (Reason::OutOfDescriptors, None))?;
            self.services.stream(call.now, call.guest, theirs);
            self.counters.count(Reason::Service);
            return Ok(Target::Local(ours));
        }
        self.way_out(call.guest, seen.source, remote, Protocol::Tcp).map(Target::Outside)
    }

    /// Whether services listen at this destination, if at all.
    fn is_service(&self, destination: SocketAddr) -> bool {
        let ip = destination.ip();
        let every = match ip {
            IpAddr::V4(v4) => {
                let broadcast = self.plan.subnet.map(|subnet| subnet.broadcast());
                v4.is_broadcast() || broadcast == Some(v4)
            }
            IpAddr::V6(v6) => v6 == ALL_SERVERS,
        };
        every || self.plan.is_own(ip) || self.services.hears_group(destination)
    }
}

/// Addresses that no guest can have.
fn is_nobody(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(v4) => v4.is_loopback() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some(),
    }
}

#[cfg(test)]
mod tests;
