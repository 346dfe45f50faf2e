//! Flows of datagrams: UDP and ICMP echo of guests on datagram sockets of the host.
//!
//! # Theory of operation
//!
//! Each address and port of a guest (for echo: address and identifier) has one host socket, which is
//! not connected: all that the guest sends from there leaves by that socket, whatever the
//! destination, and what arrives at it goes to the guest. In the words of RFC 4787 this is
//! *endpoint-independent mapping* (REQ-1) and *endpoint-independent filtering* (REQ-8): peers that
//! learn the mapping from a third party reach the guest. Two things are narrower than that: a
//! datagram that claims to be from the host itself is passed only as an answer of `host.internal`,
//! and the mapping's port is the kernel's choice and not the guest's, so that no guest can take the
//! port of a service of the host.
//!
//! Each mapping of UDP has a port of the host, of which there are fewer than descriptors, and others need
//! them too ([`ports`]).
//!
//! A mapping lives 120 seconds without traffic in either direction (REQ-5, REQ-6), 180 once answers
//! came, and 30 if it asked nobody but DNS servers. One of echo lives 60 (RFC 5508, REQ-2).
//!
//! **Sending.** Datagrams of one flow to one destination are collected while the worker hands in a
//! batch, and leave together: a run of equal size as one train (UDP_SEGMENT), others, and echo requests,
//! by sendmmsg. A large UDP frame of a guest is a train already. A lone datagram is sent by one call.
//!
//! **Receiving.** A batch by one call, trains of equal datagrams as one (UDP_GRO), and as large UDP
//! frames to the guest. Nothing is read for which the guest's queue has no room: the socket is then
//! not watched until [`Datagrams::retry`]. There guests take turns, and one that reads nothing costs
//! the others nothing.
//!
//! **Marks.** TTL, traffic class and whether a datagram may be cut pass from the guest's packet to
//! the socket, as options, which change only when the guest changes them. So traceroute works, and
//! path MTU discovery: the errors that come back are in the socket's error queue, and become ICMP.

mod errors;
mod ports;
mod receive;
mod send;
mod starved;

use std::hash::{Hash, Hasher};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use engine::{Frame, Instant};
use ipnet::IpNet;
use sys::inet::Carries;

use crate::GuestKey;
use crate::backend::datagram::{DatagramBackend, Marks};
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::flow_table::{FlowKey, FlowTable};
use crate::host_allow::AllowHost;
use crate::host_reach::HostReach;
use crate::keyed::{self, Keyed};
use crate::plan::Protocol;
use crate::poll::{Kind, Token};
use crate::report::{FlowReport, FlowState};

use starved::Starved;

pub(crate) use send::{Outgoing, Piece, not_sent};

/// Who a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) carries: Carries,
    pub(crate) guest: SocketAddr,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        keyed::write_end(state, self.guest, self.carries as u8);
    }
}

impl FlowKey for Key {
    /// Those that have a port of the host, by the version of it; for echo there are identifiers enough.
    fn kind(&self) -> usize {
        match self.carries {
            Carries::Echo => 0,
            Carries::Udp => 1 + usize::from(self.guest.is_ipv6()),
        }
    }
}

/// Timeouts, in the order of [`TIMEOUTS`].
const SHORT: usize = 0;
const ECHO: usize = 1;
const ONE_WAY: usize = 2;
const BOTH_WAYS: usize = 3;

const TIMEOUTS: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(180),
];

/// Flows that end in one call of [`Datagrams::handle_timeout`].
const EXPIRE_BATCH: usize = 256;

const DNS: u16 = 53;

/// One mapping.
#[derive(Debug)]
pub(crate) struct Flow<S> {
    socket: S,
    /// What the socket's options are set to.
    marks: Option<Marks>,
    /// The last destination, as the host sees it, and the epoch in which it was allowed.
    remote: SocketAddr,
    epoch: u32,
    /// It sent to something other than DNS.
    general: bool,
    answered: bool,
    /// Nothing is read until the guest's queue has room.
    starved: bool,
    /// Bytes of the largest train that was received, to judge how many fit.
    largest: usize,
    /// Reports in a row that found one datagram, see `receive::habit`.
    alone: u8,
    bytes_out: u64,
    bytes_in: u64,
}

impl<S> Flow<S> {
    fn class(&self, carries: Carries) -> usize {
        match (carries, self.general, self.answered) {
            (Carries::Echo, ..) => ECHO,
            (_, false, _) => SHORT,
            (_, _, false) => ONE_WAY,
            (_, _, true) => BOTH_WAYS,
        }
    }
}

/// The host's side, as all translations use it.
#[derive(Debug)]
pub(crate) struct Host<B> {
    pub(crate) backend: B,
    pub(crate) reach: HostReach,
    /// Ports of the host that guests may reach.
    pub(crate) allow: AllowHost,
    /// The last socket could not be had because no descriptor was left.
    pub(crate) out_of_descriptors: bool,
    /// Why ICMP sockets are refused: of IPv4, of IPv6.
    pub(crate) echo_refused: [Option<ErrorKind>; 2],
}

/// All flows of datagrams.
#[derive(Debug)]
pub(crate) struct Datagrams<B: DatagramBackend> {
    flows: FlowTable<Key, Flow<B::Socket>, 4>,
    /// What waits to be sent together, all of one flow to one destination.
    batch: Option<send::Batch>,
    waiting: Vec<(Frame, Piece)>,
    /// Flows that wait for room.
    starved: Starved,
    /// Some of them were not asked again yet.
    retries: bool,
}

impl<B: DatagramBackend> Datagrams<B> {
    pub(crate) fn new(keyed: Keyed) -> Self {
        Self {
            flows: FlowTable::new(TIMEOUTS, keyed),
            batch: None,
            waiting: Vec::new(),
            starved: Starved::new(keyed),
            retries: false,
        }
    }

    /// The flow of a guest's end. If the end has passed to another guest, the flow of the former
    /// owner ends.
    pub(crate) fn find(&mut self, ctx: &mut Ctx<'_>, key: &Key, guest: GuestKey) -> Option<u32> {
        let at = self.flows.find(key)?;
        if self.flows.guest(at) == Some(guest) {
            return Some(at);
        }
        self.close(ctx, at);
        None
    }

    /// Whose flow this is, if there is one.
    pub(crate) fn owner(&self, key: &Key) -> Option<GuestKey> {
        self.flows.guest(self.flows.find(key)?)
    }

    /// Whether this flow may send there without asking again.
    #[inline]
    pub(crate) fn may_send(&self, at: u32, to: SocketAddr, epoch: u32) -> bool {
        self.flows.get(at).is_some_and(|flow| flow.remote == to && flow.epoch == epoch)
    }

    /// Remembers that it may.
    pub(crate) fn allow(&mut self, at: u32, to: SocketAddr, epoch: u32) {
        if let Some(flow) = self.flows.get_mut(at) {
            flow.remote = to;
            flow.epoch = epoch;
        }
    }

    /// Opens a flow; the caller has made room for it.
    ///
    /// # Errors
    /// Why there is none, which the caller counts.
    pub(crate) fn open(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        host: &mut Host<B>,
        guest: GuestKey,
        key: Key,
        to: SocketAddr,
    ) -> Result<u32, Reason> {
        ctx.guests.may_open(guest)?;
        let v6 = to.is_ipv6();
        let socket = match host.backend.open(key.carries, v6) {
            Ok(socket) => socket,
            Err(error) if sys::errno::is_out_of_descriptors(&error) => {
                host.out_of_descriptors = true;
                return Err(Reason::OutOfDescriptors);
            }
            Err(error) if sys::errno::is_out_of_ports(&error) => return Err(Reason::OutOfPorts),
            Err(error) if key.carries == Carries::Echo => {
                host.echo_refused[usize::from(v6)] = Some(error.kind());
                return Err(Reason::EchoRefused);
            }
            Err(_) => return Err(Reason::SocketFailed),
        };
        host.out_of_descriptors = false;
        if key.carries == Carries::Echo {
            host.echo_refused[usize::from(v6)] = None;
        }
        let (at, generation) = self.flows.next_slot();
        let token = Token::new(kind(key.carries), generation, at);
        if host.backend.watch(ctx.poller, &socket, token).is_err() {
            return Err(Reason::SocketFailed);
        }
        ctx.guests.open(guest, protocol(key.carries))?;
        let flow = Flow {
            socket,
            marks: None,
            remote: to,
            epoch: host.reach.epoch(),
            general: false,
            answered: false,
            starved: false,
            largest: 0,
            alone: 0,
            bytes_out: 0,
            bytes_in: 0,
        };
        let class = flow.class(key.carries);
        Ok(self.flows.insert(now, key, guest, class, flow))
    }

    /// Ends a flow; its socket closes.
    fn close(&mut self, ctx: &mut Ctx<'_>, at: u32) {
        if self.batch.as_ref().is_some_and(|batch| batch.flow == at) {
            self.batch = None;
            for (frame, _) in self.waiting.drain(..) {
                ctx.counters.count(Reason::SendFailed);
                ctx.pool.release(frame);
            }
        }
        if let Some((key, guest, _)) = self.flows.remove(at) {
            ctx.guests.close(guest, protocol(key.carries));
        }
    }

    /// Ends the flow that this guest used longest ago; false if it has none.
    pub(crate) fn evict_oldest(&mut self, ctx: &mut Ctx<'_>, guest: GuestKey) -> bool {
        let Some((at, _)) = self.flows.oldest_of(guest) else { return false };
        self.close(ctx, at);
        ctx.counters.count(Reason::Evicted);
        true
    }

    /// Ends all flows of a guest.
    pub(crate) fn guest_gone(&mut self, ctx: &mut Ctx<'_>, guest: GuestKey) {
        while let Some((at, _)) = self.flows.oldest_of(guest) {
            self.close(ctx, at);
        }
        self.starved.forget(guest);
    }

    /// Addresses belong to nobody any more, or to another.
    pub(crate) fn addresses_gone(&mut self, ctx: &mut Ctx<'_>, addresses: IpNet) {
        let its: Vec<u32> = self
            .flows
            .iter()
            .filter(|(_, key, ..)| addresses.contains(&key.guest.ip()))
            .map(|(at, ..)| at)
            .collect();
        for at in its {
            self.close(ctx, at);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.flows.next_deadline()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        for _ in 0..EXPIRE_BATCH {
            let Some(at) = self.flows.expired(now) else { break };
            self.close(ctx, at);
            ctx.counters.count(Reason::Expired);
        }
    }

    /// The flows, for people.
    pub(crate) fn reports<'a>(
        &'a self,
        now: Instant,
        plan: &'a crate::GatewayPlan,
    ) -> impl Iterator<Item = FlowReport> + 'a {
        self.flows.iter().map(move |(_, key, guest, last, flow)| {
            let seen = SocketAddr::new(plan.as_guest_sees(flow.remote.ip()), flow.remote.port());
            FlowReport {
                protocol: protocol(key.carries),
                guest: Some(guest),
                guest_end: key.guest,
                remote: seen,
                host: (seen != flow.remote).then_some(flow.remote),
                inbound: false,
                state: if flow.answered { FlowState::Open } else { FlowState::Opening },
                bytes_out: flow.bytes_out,
                bytes_in: flow.bytes_in,
                idle: now.saturating_since(last),
            }
        })
    }
}

const fn kind(carries: Carries) -> Kind {
    match carries {
        Carries::Udp => Kind::Udp,
        Carries::Echo => Kind::Icmp,
    }
}

const fn protocol(carries: Carries) -> Protocol {
    match carries {
        Carries::Udp => Protocol::Udp,
        Carries::Echo => Protocol::Echo,
    }
}

#[cfg(test)]
mod tests;
