//! Clients of published UDP ports: each is a flow into the guest, with a way back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use engine::{Frame, Instant};
use ipnet::IpNet;
use sys::errno;
use wire::ipv4::protocol;

use super::{Listening, Publishing, way};
use crate::GuestKey;
use crate::backend::Backend;
use crate::backend::datagram::{
    DatagramBackend, Local, Marks, Origin, RECEIVE_BATCH, ROOM, SEND_BATCH,
};
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::flow_table::{FlowKey, FlowTable};
use crate::icmp::{self, About};
use crate::keyed::Keyed;
use crate::packet;
use crate::plan::Protocol;
use crate::poll::Token;
use crate::report::{FlowReport, FlowState};
use crate::udp::{self, Host, Piece};

/// Clients of all ports together. Of those of the guest that has most, the one that was silent longest
/// makes room for the next.
pub(super) const CLIENTS_MAX: usize = 8192;

/// How long a client is remembered that says nothing and hears nothing (RFC 4787, REQ-5).
const TIMEOUT: Duration = Duration::from_secs(180);

/// Clients that end in one call.
const EXPIRE_BATCH: usize = 256;

/// Ports that are tried for a client that the gateway stands in for.
const PORT_TRIES: u16 = 64;

/// Ports below this are of services, the gateway's own too.
const PORT_LEAST: u16 = 1024;

/// Times that a call is repeated because an error of an earlier datagram was in its way.
const RETRIES: usize = 4;

/// A datagram of a guest for a client, or a train of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) guest: SocketAddr,
    /// The client as the guest sees it.
    pub(crate) seen: SocketAddr,
    pub(crate) marks: Marks,
    pub(crate) piece: Piece,
}

/// A flow as the guest sees it: its own end, and the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    guest: SocketAddr,
    seen: SocketAddr,
}

impl FlowKey for Key {}

/// A flow as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Outside {
    /// Slot of the listener.
    listener: u32,
    /// The address of the host that the client asked, where the listener has all of them: the
    /// client takes answers from nobody else.
    local: Option<Local>,
    client: SocketAddr,
}

#[derive(Debug)]
struct Client {
    outside: Outside,
    bytes_in: u64,
    bytes_out: u64,
}

#[derive(Debug)]
pub(super) struct Clients {
    flows: FlowTable<Key, Client, 1>,
    /// By what tells them apart outside.
    index: HashMap<Outside, u32, Keyed>,
}

impl Clients {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self { flows: FlowTable::new([TIMEOUT], keyed), index: HashMap::with_hasher(keyed) }
    }

    fn close(&mut self, at: u32) {
        if let Some((_, _, client)) = self.flows.remove(at) {
            self.index.remove(&client.outside);
        }
    }

    pub(super) fn listener_gone(&mut self, listener: u32) {
        let theirs: Vec<u32> = self
            .flows
            .iter()
            .filter(|(.., client)| client.outside.listener == listener)
            .map(|(at, ..)| at)
            .collect();
        theirs.into_iter().for_each(|at| self.close(at));
    }

    /// A guest has gone: whoever comes with its key or addresses does not answer for it.
    pub(super) fn guest_gone(&mut self, guest: GuestKey) {
        while let Some((at, _)) = self.flows.oldest_of(guest) {
            self.close(at);
        }
    }

    pub(super) fn addresses_gone(&mut self, addresses: IpNet) {
        let its: Vec<u32> = self
            .flows
            .iter()
            .filter(|(_, key, ..)| addresses.contains(&key.guest.ip()))
            .map(|(at, ..)| at)
            .collect();
        its.into_iter().for_each(|at| self.close(at));
    }

    pub(super) fn len(&self) -> usize {
        self.flows.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.flows.next_deadline()
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        for _ in 0..EXPIRE_BATCH {
            let Some(at) = self.flows.expired(now) else { break };
            self.close(at);
            ctx.counters.count(Reason::Expired);
        }
    }

    /// A place for a new client; none if it cannot be told from another.
    fn open(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        outside: Outside,
        way: &super::Way,
    ) -> Option<u32> {
        let mut seen = way.client;
        if way.stand_in {
            let mut tries = 0;
            while seen.port() < PORT_LEAST
                || self.flows.find(&Key { guest: way.guest, seen }).is_some()
            {
                // Spread, so that neighbouring ports of many clients do not all look for the same.
                seen.set_port(seen.port().wrapping_mul(40_503).wrapping_add(12_345));
                tries += 1;
                if tries > PORT_TRIES {
                    return None;
                }
            }
        } else if let Some(at) = self.flows.find(&Key { guest: way.guest, seen }) {
            // The same client by another port or address of the host: it hears where it asked last.
            self.close(at);
        }
        if self.flows.len() >= CLIENTS_MAX
            && let Some(oldest) = self.flows.oldest_of_richest()
        {
            self.close(oldest);
            ctx.counters.count(Reason::Evicted);
        }
        let owner = way.owner.unwrap_or(GuestKey(u32::MAX));
        let flow = Client { outside, bytes_in: 0, bytes_out: 0 };
        let at = self.flows.insert(now, Key { guest: way.guest, seen }, owner, 0, flow);
        self.index.insert(outside, at);
        Some(at)
    }
}

impl<B: Backend> Publishing<B> {
    /// Takes datagrams, or errors, of a listener's socket.
    pub(crate) fn datagrams(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B::Datagrams>,
        token: Token,
        failed: bool,
    ) {
        if self.listener(token).is_none() {
            return;
        }
        if failed {
            self.errors(now, ctx, host, token.index, None);
        }
        let Some(slot) = self.slots.get(token.index as usize) else { return };
        let Some(listener) = &slot.listener else { return };
        let Listening::Udp(socket) = &listener.socket else { return };
        let Ok(count) = host.backend.receive(socket, RECEIVE_BATCH) else { return };
        let addresses = self.guests.get(&listener.guest).filter(|guest| guest.key.is_some());
        for i in 0..count {
            let Some(received) = host.backend.received(i) else {
                ctx.counters.count(Reason::Malformed);
                continue;
            };
            let client = received.from;
            let outside = Outside { listener: token.index, local: received.local, client };
            let way =
                addresses.and_then(|guest| way(ctx.plan, self.way6, guest, client, listener.to));
            let Some(way) = way else {
                ctx.counters.count(Reason::PublishedUnknown);
                continue;
            };
            let mut known = self.clients.index.get(&outside).copied();
            if known
                .and_then(|at| self.clients.flows.key(at))
                .is_some_and(|key| key.guest != way.guest)
            {
                // The guest came back with another address.
                if let Some(at) = known.take() {
                    self.clients.close(at);
                }
            }
            let at = match known {
                Some(at) => at,
                None => match self.clients.open(now, ctx, outside, &way) {
                    Some(at) => at,
                    None => {
                        ctx.counters.count(Reason::FlowLimit);
                        continue;
                    }
                },
            };
            self.clients.flows.touch(now, at, 0);
            let Some(key) = self.clients.flows.key(at) else { continue };
            let len = received.bytes.len() - ROOM;
            if let Some(flow) = self.clients.flows.get_mut(at) {
                flow.bytes_in += len as u64;
            }
            if ctx.room_for(key.guest.ip()) < len {
                // Clients of one socket share it, so what one guest has no room for is not left in
                // front of the others.
                ctx.counters.count(Reason::PublishedFull);
                continue;
            }
            ctx.counters.count(Reason::PublishedIn);
            let (class, segment) = (received.traffic_class, received.segment);
            packet::udp(ctx, received.bytes, ROOM, key.seen, key.guest, class, segment);
            ctx.spend(key.guest.ip(), ROOM + len);
        }
    }

    /// Sends what a guest answers to a client.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B::Datagrams>,
        answer: &Answer,
        frame: &Frame,
    ) {
        let Answer { guest, seen, marks, piece } = *answer;
        let Some(at) = self.clients.flows.find(&Key { guest, seen }) else { return };
        self.clients.flows.touch(now, at, 0);
        let Some(flow) = self.clients.flows.get_mut(at) else { return };
        flow.bytes_out += piece.len as u64;
        let Outside { listener, local, client } = flow.outside;
        let size = usize::from(piece.segment.unwrap_or(u16::MAX)).max(1);
        let (mut sent, mut retries) = (0, RETRIES);
        while sent < piece.len || (piece.len == 0 && sent == 0) {
            let Some(socket) = self.marked(host, listener, client.is_ipv6(), marks) else {
                ctx.counters.count(Reason::SendFailed);
                return;
            };
            let count = (piece.len - sent).div_ceil(size).clamp(1, SEND_BATCH);
            let datagrams = (0..count).map(|i| {
                let from = sent + i * size;
                packet::slice(ctx.pool, frame, piece.offset + from, size.min(piece.len - from))
            });
            match host.backend.send(socket, local, client, datagrams) {
                Ok(done) => {
                    ctx.counters.add(Reason::PublishedOut, done as u64);
                    sent += done.max(1) * size;
                }
                Err(error) => {
                    // An error of an earlier datagram may stand before this one, and whatever the
                    // error is, the queue may know more about it.
                    let told = self.errors(now, ctx, host, listener, Some(at));
                    let is_own = errno::is_transient(&error) || errno::is_too_long(&error);
                    if told && !is_own && retries > 0 {
                        retries -= 1;
                        continue;
                    }
                    if let Some(refusal) = udp::not_sent(ctx, &error)
                        && !told
                        && let Some(about) = self.about(at)
                    {
                        icmp::report_refusal(ctx, now, &about, refusal);
                    }
                    return;
                }
            }
        }
    }

    /// The socket of a listener, whose options are these marks.
    fn marked<'a>(
        &'a mut self,
        host: &mut Host<B::Datagrams>,
        listener: u32,
        v6: bool,
        marks: Marks,
    ) -> Option<&'a <B::Datagrams as DatagramBackend>::Socket> {
        let listener = self.slots.get_mut(listener as usize)?.listener.as_mut()?;
        let Listening::Udp(socket) = &listener.socket else { return None };
        if listener.marks != Some(marks) {
            let old = listener.marks.take();
            host.backend.mark(socket, v6, marks, old).ok()?;
            listener.marks = Some(marks);
        }
        Some(socket)
    }

    /// A client's flow, in the guest's words.
    fn about(&self, at: u32) -> Option<About> {
        let key = self.clients.flows.key(at)?;
        let listener = self.clients.flows.get(at)?.outside.listener;
        let listener = self.slots.get(listener as usize)?.listener.as_ref()?;
        Some(About {
            guest: self.clients.flows.guest(at)?,
            protocol: protocol::UDP,
            guest_end: key.guest,
            remote: key.seen,
            class: listener.marks.map_or(0, |marks| marks.class),
        })
    }

    /// Whether a guest sends to a client, or its ICMP error is about a client's datagram.
    pub(crate) fn is_about_client(&self, guest: SocketAddr, seen: SocketAddr) -> bool {
        self.clients.len() > 0 && self.clients.flows.find(&Key { guest, seen }).is_some()
    }

    /// The guest that a client speaks to.
    pub(crate) fn owner_of_client(&self, guest: SocketAddr, seen: SocketAddr) -> Option<GuestKey> {
        self.clients.flows.guest(self.clients.flows.find(&Key { guest, seen })?)
    }

    /// What clients answered with errors is told to the guest, and what the host itself found while
    /// it sent to the client `sending`. True if there was something.
    fn errors(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B::Datagrams>,
        listener: u32,
        sending: Option<u32>,
    ) -> bool {
        let mut payload = [0; 1280];
        let mut any = false;
        for _ in 0..16 {
            let slot = self.slots.get(listener as usize);
            let Some(Listening::Udp(socket)) =
                slot.and_then(|slot| slot.listener.as_ref()).map(|listener| &listener.socket)
            else {
                break;
            };
            let Ok(error) = host.backend.error(socket, &mut payload) else { break };
            any = true;
            let Some(client) = error.destination else { continue };
            // What the kernel found itself it tells without port and address of ours.
            let own = sending.filter(|at| {
                error.origin == Origin::Local
                    && self
                        .clients
                        .flows
                        .get(*at)
                        .is_some_and(|flow| flow.outside.client.ip() == client.ip())
            });
            let outside = Outside { listener, local: error.local, client };
            let Some(at) = own.or_else(|| self.clients.index.get(&outside).copied()) else {
                continue;
            };
            let Some(about) = self.about(at) else { continue };
            let quoted = payload.get(..error.len).unwrap_or_default();
            icmp::report(ctx, now, &about, &error, quoted);
        }
        any
    }

    /// The clients, for people.
    pub(crate) fn reports(&self, now: Instant) -> impl Iterator<Item = FlowReport> + '_ {
        self.clients.flows.iter().map(move |(_, key, guest, last, client)| FlowReport {
            protocol: Protocol::Udp,
            guest: Some(guest).filter(|guest| *guest != GuestKey(u32::MAX)),
            guest_end: key.guest,
            remote: key.seen,
            host: Some(client.outside.client).filter(|client| *client != key.seen),
            inbound: true,
            state: if client.bytes_out > 0 { FlowState::Open } else { FlowState::Opening },
            bytes_out: client.bytes_out,
            bytes_in: client.bytes_in,
            idle: now.saturating_since(last),
        })
    }
}
