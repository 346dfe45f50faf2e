//! From the host's socket to the guest.

use std::net::SocketAddr;

use engine::Instant;
use sys::inet::Carries;

use super::starved::Waiting;
use super::{Datagrams, Host, Key, kind};
use crate::GuestKey;
use crate::backend::datagram::{DatagramBackend, RECEIVE_BATCH, ROOM};
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::host_reach::Reach;
use crate::packet;
use crate::plan::Protocol;
use crate::poll::{Interest, Token};

/// Room that a guest's queue must have before anything is read for it: an ordinary frame.
const ROOM_LEAST: usize = 2048;

/// Flows that go on in one call of [`Datagrams::retry`].
const RETRIES: usize = 64;

/// Reports in a row that found one datagram, before one is all that is asked for.
const HABIT: u8 = 4;

/// One report in so many asks for a batch nevertheless.
const PROBE: u8 = 8;

/// Datagrams to ask for after so many reports in a row that found one. In a dialogue there is never
/// a second, and looking for it costs as much as a tenth of the first; where there are more after all,
/// the poller reports the socket again at once.
const fn habit(alone: u8) -> usize {
    if alone < HABIT || alone == HABIT + PROBE - 1 { RECEIVE_BATCH } else { 1 }
}

/// The reports in a row, after one more; they go round once they are a habit.
const fn one_more(alone: u8) -> u8 {
    if alone == HABIT + PROBE - 1 { HABIT } else { alone + 1 }
}

impl<B: DatagramBackend> Datagrams<B> {
    /// The poller reports a socket.
    pub(crate) fn host_ready(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        token: Token,
        readable: bool,
        failed: bool,
    ) {
        let at = token.index;
        if !self.flows.generation(at).is_some_and(|generation| token.is_of(generation)) {
            return;
        }
        if failed {
            self.errors(now, ctx, host, at, None);
        }
        if readable {
            self.receive(now, ctx, host, at);
        }
    }

    /// Some guest's queue may have room again: a bounded number of flows goes on, guests in turns,
    /// and each guest that has no room is asked once.
    pub(crate) fn retry(&mut self, now: Instant, ctx: &mut Ctx<'_>, host: &mut Host<B>) {
        for _ in 0..RETRIES {
            let Some((guest, (at, generation), key)) = self.next_with_room(ctx) else { break };
            self.starved.goes_on(guest);
            let Some(key) = key else { continue };
            let Some(flow) = self.flows.get_mut(at) else { continue };
            flow.starved = false;
            let token = Token::new(kind(key.carries), generation, at);
            let _ = host.backend.rewatch(ctx.poller, &flow.socket, token, Interest::READABLE);
            self.receive(now, ctx, host, at);
        }
        self.retries = self.starved.end();
    }

    /// The next flow whose guest has room, or that has ended meanwhile and has no key any more.
    fn next_with_room(&mut self, ctx: &Ctx<'_>) -> Option<(GuestKey, Waiting, Option<Key>)> {
        loop {
            let (guest, flow) = self.starved.next()?;
            let is_live = self.flows.generation(flow.0) == Some(flow.1);
            match self.flows.key(flow.0).filter(|_| is_live) {
                Some(key) if ctx.room_for(key.guest.ip()) < ROOM_LEAST => {
                    self.starved.waits(guest, flow);
                }
                key => return Some((guest, flow, key)),
            }
        }
    }

    /// Whether a flow waits for room.
    pub(crate) fn wants_room(&self) -> bool {
        !self.starved.is_empty()
    }

    /// Whether the last [`Self::retry`] had no time for all.
    pub(crate) fn wants_retry(&self) -> bool {
        self.retries
    }

    fn receive(&mut self, now: Instant, ctx: &mut Ctx<'_>, host: &mut Host<B>, at: u32) {
        let (Some(key), Some(generation)) = (self.flows.key(at), self.flows.generation(at)) else {
            return;
        };
        let Some(guest) = self.flows.guest(at) else { return };
        let Some(flow) = self.flows.get_mut(at) else { return };
        let room = ctx.room_for(key.guest.ip());
        if room < ROOM_LEAST {
            if !flow.starved {
                flow.starved = true;
                let token = Token::new(kind(key.carries), generation, at);
                let _ = host.backend.rewatch(ctx.poller, &flow.socket, token, Interest::NONE);
                let flows = &self.flows;
                self.starved.push(guest, (at, generation), |(at, generation)| {
                    flows.generation(*at) == Some(*generation)
                });
            }
            return;
        }
        let fit = (room / flow.largest.max(ROOM_LEAST)).clamp(1, habit(flow.alone));
        let count = match host.backend.receive(&flow.socket, fit) {
            Ok(count) => count,
            Err(error) => {
                if !sys::errno::is_transient(&error) {
                    // The error is in the queue as well.
                    self.errors(now, ctx, host, at, None);
                }
                return;
            }
        };
        let (mut bytes_in, mut largest) = (0, 0);
        // Who was asked last, and may still be asked, may answer.
        let asked = (flow.epoch == host.reach.epoch()).then_some(flow.remote);
        for i in 0..count {
            let len = deliver(ctx, host, guest, (&key, asked), i);
            ctx.spend(key.guest.ip(), ROOM + len);
            bytes_in += len as u64;
            largest = largest.max(len);
        }
        if let Some(flow) = self.flows.get_mut(at) {
            flow.largest = largest.max(flow.largest / 2);
            flow.alone = if count > 1 { 0 } else { one_more(flow.alone) };
            flow.bytes_in += bytes_in;
            flow.answered |= bytes_in > 0;
            let class = flow.class(key.carries);
            self.flows.touch(now, at, class);
        }
    }
}

/// Sends one received datagram to the guest; tells its length.
fn deliver<B: DatagramBackend>(
    ctx: &mut Ctx<'_>,
    host: &mut Host<B>,
    guest: GuestKey,
    (key, asked): (&Key, Option<SocketAddr>),
    i: usize,
) -> usize {
    let Some(received) = host.backend.received(i) else {
        ctx.counters.count(Reason::Malformed);
        return 0;
    };
    let from = received.from;
    if from.is_ipv6() != key.guest.is_ipv6() {
        ctx.counters.count(Reason::Malformed);
        return 0;
    }
    let source = if asked == Some(from) {
        SocketAddr::new(ctx.plan.as_guest_sees(from.ip()), from.port())
    } else {
        match source_of(ctx, host, guest, from) {
            Ok(source) => source,
            Err(reason) => {
                ctx.counters.count(reason);
                return 0;
            }
        }
    };
    let Some(received) = host.backend.received(i) else { return 0 };
    let len = received.bytes.len() - ROOM;
    if received.truncated {
        ctx.counters.count(Reason::ReplyTruncated);
        return len;
    }
    match key.carries {
        Carries::Udp => {
            ctx.counters.count(Reason::UdpIn);
            packet::udp(
                ctx,
                received.bytes,
                ROOM,
                source,
                key.guest,
                received.traffic_class,
                received.segment,
            );
        }
        Carries::Echo => {
            if len < 8 {
                ctx.counters.count(Reason::Malformed);
                return len;
            }
            let id = key.guest.port().to_be_bytes();
            if let Some(field) = received.bytes.get_mut(ROOM + 4..ROOM + 6) {
                field.copy_from_slice(&id);
            }
            ctx.counters.count(Reason::EchoIn);
            packet::icmp(ctx, received.bytes, ROOM, source.ip(), key.guest.ip(), 0);
        }
    }
    len
}

/// The sender as the guest sees it, if the guest may hear it.
fn source_of<B: DatagramBackend>(
    ctx: &Ctx<'_>,
    host: &mut Host<B>,
    guest: GuestKey,
    from: SocketAddr,
) -> Result<SocketAddr, Reason> {
    let ip = from.ip();
    let seen = ctx.plan.as_guest_sees(ip);
    if seen != ip {
        // The host's loopback: only a port that guests may ask, and so never an uninvited one of
        // another.
        return if host.allow.permits(guest, Protocol::Udp, from.port()) {
            Ok(SocketAddr::new(seen, from.port()))
        } else {
            Err(Reason::HostRefused)
        };
    }
    match host.reach.judge(&mut host.backend, ip) {
        Reach::Host | Reach::Multicast => Err(Reason::HostRefused),
        // Whoever it is, and however it came here, it is not of the inside: nor is a neighbour of the
        // host one of the guest, whose link-local addresses may be the same.
        _ if ctx.plan.is_inside(ip) => Err(Reason::Source),
        Reach::LinkLocal => Err(Reason::Source),
        Reach::Outside | Reach::NoRoute => Ok(SocketAddr::new(ip, from.port())),
    }
}
