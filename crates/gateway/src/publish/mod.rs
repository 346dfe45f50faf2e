//! Ports of the host that lead to a guest.
//!
//! # Theory of operation
//!
//! A published range has one listener for each port and address: a TCP listener whose connections
//! are handed to the translation of TCP, or a UDP socket whose clients each are a flow of their own.
//! It leads to a *name*: the guest may come, go, and come again with another address, and whoever
//! connects while it is away is reset (TCP), or goes unheard (UDP).
//!
//! The guest sees the client's own address, unless it could not answer there, or would take it for
//! somebody else: loopback, link-local and unspecified addresses, those of the network's own
//! prefixes, those to which its router has no way by this gateway, those of the other version than
//! the guest has, and any at all where the network has no way out. These appear as the gateway,
//! *standing in*, with the client's port or, where two clients would be the same, another.
//!
//! What the guest answers goes back by the listener's socket, so that the client sees the port it
//! spoke to; where that listens at all addresses of the host, from the one that the client asked,
//! which need not be the one that the host would choose. It takes along what every datagram of a
//! guest does, by options of the socket, which change only when the guest changes them. An ICMP error
//! of the guest about a client's datagram is counted and not sent: no socket could send it.

mod clients;
mod error;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use engine::Instant;
use ipnet::IpNet;

pub(crate) use clients::Answer;
pub use error::PublishError;

use crate::GuestKey;
use crate::backend::datagram::{DatagramBackend, Marks};
use crate::backend::{Backend, Stream};
use crate::counters::Reason;
use crate::ctx::Ctx;
use crate::gateway::GuestAddresses;
use crate::keyed::Keyed;
use crate::plan::{GatewayPlan, Protocol};
use crate::poll::{Kind, Token};
use crate::tcp::{Incoming, Table};
use crate::udp::Host;

/// Ranges, and sockets of all of them.
const RANGES_MAX: usize = 1024;
const SOCKETS_MAX: usize = 4096;

/// Clients that one listener's turn takes.
const ACCEPT_BATCH: usize = 16;

/// Without descriptors or memory, or while their guest lets too many clients wait, listeners wait so long
/// before they try again.
const PAUSE: Duration = Duration::from_millis(100);

/// What to publish: a range of ports of the host, and the guest and ports they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSpec {
    pub protocol: Protocol,
    /// Where it listens; `None`: on both loopback addresses.
    pub bind: Option<IpAddr>,
    /// First and last port of the host.
    pub ports: (u16, u16),
    /// The guest's name.
    pub guest: String,
    /// First port of the guest; the others follow.
    pub to: u16,
}

impl PublishSpec {
    fn check(&self) -> Result<(), PublishError> {
        let (first, last) = self.ports;
        if first == 0 || last < first {
            return Err(PublishError::Range { first, last });
        }
        if self.to == 0 || self.to.checked_add(last - first).is_none() {
            return Err(PublishError::GuestRange { to: self.to, count: last - first });
        }
        if self.protocol == Protocol::Echo {
            return Err(PublishError::Protocol);
        }
        Ok(())
    }
}

/// The name of a published range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishId(pub u32);

/// One published range, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRange {
    pub id: PublishId,
    pub spec: PublishSpec,
    /// Where it listens: one address of each kind, with the first port.
    pub listening: Vec<SocketAddr>,
    /// The guest is here.
    pub reachable: bool,
}

#[derive(Debug)]
struct Range {
    spec: PublishSpec,
    listening: Vec<SocketAddr>,
    slots: Vec<u32>,
}

#[derive(Debug)]
enum Listening<B: Backend> {
    Tcp(B::Listener),
    Udp(<B::Datagrams as DatagramBackend>::Socket),
}

#[derive(Debug)]
struct Slot<B: Backend> {
    generation: u32,
    listener: Option<Listener<B>>,
}

#[derive(Debug)]
struct Listener<B: Backend> {
    socket: Listening<B>,
    guest: String,
    /// The guest's port.
    to: u16,
    /// What the options of a UDP socket are set to.
    marks: Option<Marks>,
}

/// Everything that is published.
#[derive(Debug)]
pub(crate) struct Publishing<B: Backend> {
    ranges: BTreeMap<PublishId, Range>,
    next: u32,
    slots: Vec<Slot<B>>,
    free: Vec<u32>,
    guests: HashMap<String, GuestAddresses>,
    clients: clients::Clients,
    /// Listeners that rest, and until when.
    paused: Vec<u32>,
    resume: Option<Instant>,
    /// Guests have a way out over IPv6: while the host has none, they have no route to its neighbours either.
    way6: bool,
}

impl<B: Backend> Publishing<B> {
    pub(crate) fn new(keyed: Keyed) -> Self {
        Self {
            ranges: BTreeMap::new(),
            next: 1,
            slots: Vec::new(),
            free: Vec::new(),
            guests: HashMap::new(),
            clients: clients::Clients::new(keyed),
            paused: Vec::new(),
            resume: None,
            way6: true,
        }
    }

    /// Whether guests have a way out over IPv6.
    pub(crate) fn set_way6(&mut self, way6: bool) {
        self.way6 = way6;
    }

    pub(crate) fn set_guest(&mut self, name: &str, addresses: GuestAddresses) {
        self.guests.insert(name.to_owned(), addresses);
    }

    pub(crate) fn remove_guest(&mut self, name: &str) {
        self.guests.remove(name);
    }

    /// The port behind a key is gone, and with it its guest, until it is told to be here again. Its
    /// clients of UDP are forgotten.
    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.clients.guest_gone(guest);
        for addresses in self.guests.values_mut() {
            if addresses.key == Some(guest) {
                addresses.key = None;
            }
        }
    }

    /// Addresses belong to nobody any more, or to another.
    pub(crate) fn addresses_gone(&mut self, addresses: IpNet) {
        self.clients.addresses_gone(addresses);
    }

    /// Clients of published UDP ports now.
    pub(crate) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// As many of them as there may be: none where no such port is published.
    pub(crate) fn clients_max(&self) -> usize {
        let udp = self.ranges.values().any(|range| range.spec.protocol == Protocol::Udp);
        if udp { clients::CLIENTS_MAX } else { 0 }
    }

    /// Opens all sockets of a range, or none.
    pub(crate) fn publish(
        &mut self,
        poller: &crate::poll::Poller,
        host: &mut Host<B::Datagrams>,
        spec: PublishSpec,
    ) -> Result<PublishId, PublishError> {
        spec.check()?;
        if self.ranges.len() >= RANGES_MAX {
            return Err(PublishError::TooMany(RANGES_MAX));
        }
        let addresses = match spec.bind {
            Some(address) => vec![address],
            None => vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
        };
        let (first, last) = spec.ports;
        let count = addresses.len() * (usize::from(last - first) + 1);
        if self.slots.len() - self.free.len() + count > SOCKETS_MAX {
            return Err(PublishError::TooManySockets(SOCKETS_MAX));
        }
        let mut range = Range { spec, listening: Vec::new(), slots: Vec::new() };
        for address in &addresses {
            let mut opened = Vec::new();
            let result = (first..=last).try_for_each(|port| {
                let to = range.spec.to + (port - first);
                let at = SocketAddr::new(*address, port);
                self.open(poller, host, &range.spec, at, to).map(|slot| opened.push(slot))
            });
            match result {
                Ok(()) => {
                    range.slots.append(&mut opened);
                    range.listening.push(SocketAddr::new(*address, first));
                }
                // A host without IPv6 has one loopback address, which is enough.
                Err(error) if range.spec.bind.is_none() && error.is_no_address() => {
                    opened.into_iter().for_each(|slot| self.close(slot));
                }
                Err(error) => {
                    let all = opened.into_iter().chain(range.slots);
                    all.for_each(|slot| self.close(slot));
                    return Err(error);
                }
            }
        }
        if range.listening.is_empty() {
            return Err(PublishError::NoLoopback);
        }
        let id = PublishId(self.next);
        self.next = self.next.wrapping_add(1).max(1);
        self.ranges.insert(id, range);
        Ok(id)
    }

    fn open(
        &mut self,
        poller: &crate::poll::Poller,
        host: &mut Host<B::Datagrams>,
        spec: &PublishSpec,
        at: SocketAddr,
        to: u16,
    ) -> Result<u32, PublishError> {
        let failed = |error| PublishError::socket(spec.protocol, at, error);
        let index = match self.free.last() {
            Some(index) => *index,
            None => u32::try_from(self.slots.len()).unwrap_or(u32::MAX),
        };
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        let socket = if spec.protocol == Protocol::Tcp {
            let token = Token::new(Kind::PublishTcp, generation, index);
            Listening::Tcp(B::listen(poller, token, at).map_err(failed)?)
        } else {
            let token = Token::new(Kind::PublishUdp, generation, index);
            let socket = host.backend.bind(at).map_err(failed)?;
            host.backend.watch(poller, &socket, token).map_err(failed)?;
            Listening::Udp(socket)
        };
        if self.free.pop().is_none() {
            self.slots.push(Slot { generation, listener: None });
        }
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.listener = Some(Listener { socket, guest: spec.guest.clone(), to, marks: None });
        }
        Ok(index)
    }

    fn close(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        if slot.listener.take().is_some() {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(index);
            self.clients.listener_gone(index);
        }
    }

    /// Closes a range; false if there is none of this name.
    pub(crate) fn unpublish(&mut self, id: PublishId) -> bool {
        let Some(range) = self.ranges.remove(&id) else { return false };
        range.slots.into_iter().for_each(|slot| self.close(slot));
        true
    }

    pub(crate) fn published(&self) -> impl Iterator<Item = PublishedRange> + '_ {
        self.ranges.iter().map(|(id, range)| PublishedRange {
            id: *id,
            spec: range.spec.clone(),
            listening: range.listening.clone(),
            reachable: self.guests.get(&range.spec.guest).is_some_and(|guest| guest.key.is_some()),
        })
    }

    fn listener(&self, token: Token) -> Option<&Listener<B>> {
        let slot = self.slots.get(token.index as usize)?;
        slot.listener.as_ref().filter(|_| token.is_of(slot.generation))
    }

    /// Where a client of this listener is led to.
    fn way(&self, plan: &GatewayPlan, listener: &Listener<B>, client: SocketAddr) -> Option<Way> {
        let addresses = self.guests.get(&listener.guest)?;
        addresses.key?;
        way(plan, self.way6, addresses, client, listener.to)
    }

    /// Takes clients of a listener.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        tcp: &mut Table<B::Streams>,
        token: Token,
    ) {
        for _ in 0..ACCEPT_BATCH {
            let Some(listener) = self.listener(token) else { return };
            let Listening::Tcp(socket) = &listener.socket else { return };
            // Whoever was accepted can only be reset; in the host's queue it may wait for its turn.
            let guest = self.guests.get(&listener.guest).and_then(|guest| guest.key);
            if guest.is_some_and(|guest| tcp.is_crowded(guest)) {
                ctx.counters.count(Reason::PublishedWaiting);
                return self.rest(now, ctx, token);
            }
            let (stream, client) = match B::accept(tcp.backend(), socket) {
                Ok(accepted) => accepted,
                Err(error) if sys::errno::is_transient(&error) => return,
                Err(error) => match no_room(&error) {
                    Some(reason) => {
                        ctx.counters.count(reason);
                        return self.rest(now, ctx, token);
                    }
                    // That client is gone; the next one may be there.
                    None => continue,
                },
            };
            match self.way(ctx.plan, listener, client) {
                Some(way) => {
                    ctx.counters.count(Reason::PublishedIn);
                    let incoming = Incoming {
                        stream,
                        client: way.client,
                        stand_in: way.stand_in,
                        guest: way.guest,
                        owner: way.owner,
                    };
                    tcp.accepted(now, ctx, incoming);
                }
                None => {
                    ctx.counters.count(Reason::PublishedUnknown);
                    stream.abort();
                }
            }
        }
    }

    /// Takes no client of a listener for a moment; they wait in the host's queue.
    fn rest(&mut self, now: Instant, ctx: &mut Ctx<'_>, token: Token) {
        if let Some(Listener { socket: Listening::Tcp(socket), .. }) = self.listener(token) {
            let _ = B::pause(ctx.poller, token, socket);
            self.paused.push(token.index);
            // One moment for all of them, which the next to rest does not put off.
            self.resume.get_or_insert(now + PAUSE);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.resume, self.clients.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        self.clients.handle_timeout(now, ctx);
        if self.resume.is_some_and(|resume| resume <= now) {
            self.resume = None;
            for index in std::mem::take(&mut self.paused) {
                if let Some(slot) = self.slots.get(index as usize)
                    && let Some(Listener { socket: Listening::Tcp(socket), .. }) = &slot.listener
                {
                    let token = Token::new(Kind::PublishTcp, slot.generation, index);
                    let _ = B::resume(ctx.poller, token, socket);
                }
            }
        }
    }
}

/// What this process, or the host, lacks for a client that still waits: its listener would be reported at
/// once again.
fn no_room(error: &std::io::Error) -> Option<Reason> {
    if sys::errno::is_out_of_descriptors(error) {
        Some(Reason::OutOfDescriptors)
    } else if sys::errno::is_no_memory(error) {
        Some(Reason::SocketFailed)
    } else {
        None
    }
}

/// Where a client is led to, and as whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Way {
    /// As the guest sees it.
    client: SocketAddr,
    stand_in: bool,
    guest: SocketAddr,
    owner: Option<GuestKey>,
}

fn way(
    plan: &GatewayPlan,
    way6: bool,
    addresses: &GuestAddresses,
    client: SocketAddr,
    to: u16,
) -> Option<Way> {
    let v4 = addresses.v4.map(IpAddr::V4);
    let v6 = addresses.v6.map(IpAddr::V6);
    let (same, other) = if client.is_ipv4() { (v4, v6) } else { (v6, v4) };
    let owner = addresses.key;
    let has_way = plan.nat && (way6 || client.is_ipv4());
    if let Some(guest) = same.filter(|_| has_way && is_answerable(plan, client.ip())) {
        let guest = SocketAddr::new(guest, to);
        return Some(Way { client, stand_in: false, guest, owner });
    }
    let gateway = |guest: IpAddr| match guest {
        IpAddr::V4(_) => plan.gateway4().map(IpAddr::V4),
        IpAddr::V6(_) => plan.gateway6().map(IpAddr::V6),
    };
    let (guest, gateway) =
        [same, other].into_iter().flatten().find_map(|guest| Some((guest, gateway(guest)?)))?;
    Some(Way {
        client: SocketAddr::new(gateway, client.port()),
        stand_in: true,
        guest: SocketAddr::new(guest, to),
        owner,
    })
}

/// Whether a guest that answers to this address reaches the client.
fn is_answerable(plan: &GatewayPlan, client: IpAddr) -> bool {
    let near = match client {
        IpAddr::V4(v4) => {
            // Routers send nothing there (RFC 1122, 3.2.1.3; RFC 1112, 4).
            matches!(v4.octets()[0], 0 | 240..) || v4.is_loopback() || v4.is_link_local()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback() || v6.is_unicast_link_local() || v6.to_ipv4_mapped().is_some()
        }
    };
    !near
        && crate::icmp::is_unicast(client)
        && !plan.is_inside(client)
        && !plan.is_own(client)
        && !plan.unanswerable.iter().any(|prefix| prefix.contains(&client))
}

#[cfg(test)]
mod tests;
