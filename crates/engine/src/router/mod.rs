//! The virtual router that joins the networks of one worker.
//!
//! # Theory of operation
//!
//! The router stands in each network as a station of its own: the network's engine has a port for
//! it, and what that port's queue has for it is handed to [`Router::receive`]. As the engine, the
//! router is a state machine without I/O and clock. Its owner drives it so:
//!
//! 1. For each network whose router port is ready: [`Engine::poll_transmit`](crate::Engine), with
//!    all offloads declared, and [`Router::receive`] for each frame.
//! 2. What gateways have for guests: [`Router::send`].
//! 3. [`Router::poll_output`] until it gives nothing: frames for a network go into `ingress` of its
//!    engine by the router's port, frames for a gateway to that gateway.
//! 4. [`Router::handle_timeout`], if [`Router::next_deadline`] has passed.
//!
//! Bindings of an engine are made known by [`Router::learn_neighbour`] and
//! [`Router::purge_address`], the end of a port by [`Router::purge_port`].
//!
//! # The way of a packet
//!
//! *Read*: the Ethernet address is ours or a group's; the IP header is sound. *Source*: it is no
//! martian, and the longest prefix with it in it leads back to where the packet came from (RFC 3704,
//! 2.2, strict). *Destination*: one look-up tells an own address, a broadcast address, a route, or
//! nothing. *Limits*: TTL, MTU (of a GSO frame: of its segments), whether the two networks are
//! routed and the packet may turn back. *Neighbour*: who the next hop is; a packet for one that is
//! not known waits. *Rewrite*: Ethernet addresses and TTL, in place or in a header piece; the body
//! is never copied, and GSO frames and partial checksums stay as they are. IPv4 packets that may be
//! fragmented are cut into pieces that share the body. A packet like most takes all of these steps
//! in one (`pass`).
//!
//! # What it promises
//!
//! * Every packet ends counted: see [`RouterCounters`].
//! * It never answers what must not be answered (errors, groups, fragments, sources that are no
//!   station's), and is limited in how often it answers what may: for each port, and for each
//!   network. So no guest can silence it for another, or use it to flood one.
//! * What guests can make it hold is bounded: neighbours, packets that wait, output.
//! * A bound address is answered for by its port alone. See `neighbour`.
//! * It sends no redirects, forwards no directed broadcasts (RFC 2644), and takes no source routes.
//! * A frame costs no allocation, and no hash when its source is that of the last one of its
//!   interface and its neighbour has been used a moment ago.
//!
//! Hints hold as long as the router's generation: it changes with every interface and route.

use alloc::collections::VecDeque;
use core::net::IpAddr;

use ipnet::IpNet;
use wire::MacAddr;

use crate::batch::TxBatch;
use crate::frame::Frame;
use crate::pool::Pool;
use crate::port::NO_PORT;
use crate::time::Instant;

mod counters;
mod decide;
mod deliver;
mod event;
mod hear;
mod interface;
mod limit;
mod neighbour;
mod packet;
mod pass;
mod rewrite;
mod routes;
mod speak;
mod spec;
mod waiting;

pub use counters::{RouterCounters, RouterReason};
pub use event::RouterEvent;
pub use spec::{
    ADDRESSES_MAX, INTERFACES_MAX, InterfaceId, InterfaceSpec, ROUTES_MAX, Route, RouteSource,
    RouterError, RouterLimits, Via,
};

use decide::Decision;
use event::Events;
use interface::{Interfaces, connect};
use neighbour::{Due, Neighbours};
use pass::Passed;
use routes::{Routes, Target};
use waiting::Waiting;

/// Frames that wait to be polled at most; an owner that polls after each batch never meets it.
const OUTPUT_MAX: usize = 1 << 14;

/// Neighbours that one step of the timers looks after.
const TIMER_STEP: usize = 256;

/// Where a frame came in.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    iface: InterfaceId,
    /// The index of the guest's port.
    port: Option<u16>,
    from_gateway: bool,
}

/// What the router has to give.
#[derive(Debug)]
#[must_use = "a frame that is not handed on keeps its buffer for ever"]
pub enum Output {
    /// For the network of that interface: into `ingress` of its engine, by the router's port.
    Transmit {
        /// The interface.
        iface: InterfaceId,
        /// A complete Ethernet frame.
        frame: Frame,
    },
    /// For the gateway of that interface: an IP packet behind an Ethernet header, whose addresses are
    /// those that it came with (zero if the router itself says something about a packet of the
    /// gateway). There is no padding behind it.
    Gateway {
        /// The interface whose gateway is meant.
        iface: InterfaceId,
        /// The frame.
        frame: Frame,
    },
}

/// What is known of a neighbour's Ethernet address (RFC 4861 section 7.3.2, for ARP too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// A binding says it, and it does not change until the binding does.
    Bound,
    /// A binding says which port it is behind; nobody has asked for it yet.
    Unknown,
    /// Asked for, and not answered yet.
    Incomplete,
    /// Confirmed a moment ago.
    Reachable,
    /// Not confirmed for a while, and not needed since.
    Stale,
    /// Needed again; about to be asked.
    Delay,
    /// Asked whether it is still there.
    Probe,
    /// Did not answer; packets for it are refused for a moment.
    Failed,
}

/// One neighbour, for `netherd show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface.
    pub iface: InterfaceId,
    /// Its IP address.
    pub addr: IpAddr,
    /// Its Ethernet address, if it is known.
    pub mac: Option<MacAddr>,
    /// How well it is known.
    pub state: NeighbourState,
    /// The index of the port that a binding says it is behind.
    pub port: Option<u16>,
    /// Packets that wait for it.
    pub waiting: usize,
}

/// The virtual router.
#[derive(Debug)]
pub struct Router {
    limits: RouterLimits,
    interfaces: Interfaces,
    routes: Routes,
    neighbours: Neighbours,
    waiting: Waiting,
    output: VecDeque<Output>,
    events: Events,
    /// Changes with every interface and route.
    generation: u32,
    /// Frames handed in for interfaces that are gone.
    strays: u64,
}

impl Router {
    /// A router without interfaces. `hash_key` must be random and unknown to guests.
    #[must_use]
    pub fn new(limits: RouterLimits, hash_key: [u8; 16]) -> Self {
        Self {
            limits,
            interfaces: Interfaces::default(),
            routes: Routes::new(),
            neighbours: Neighbours::new(limits.neighbours, &hash_key),
            waiting: Waiting::new(limits.waiting),
            output: VecDeque::new(),
            events: Events::default(),
            generation: 0,
            strays: 0,
        }
    }

    /// Its bounds.
    #[must_use]
    pub fn limits(&self) -> RouterLimits {
        self.limits
    }

    /// Adds an interface; its subnets are routed to it.
    ///
    /// # Errors
    ///
    /// What makes no sense, or overlaps with another interface.
    pub fn add_interface(&mut self, spec: InterfaceSpec) -> Result<InterfaceId, RouterError> {
        let spec = spec.possible();
        self.interfaces.check(&spec, None)?;
        let id = self.interfaces.add(spec.clone())?;
        connect(&mut self.routes, id, &spec);
        self.generation = self.generation.wrapping_add(1);
        Ok(id)
    }

    /// Changes an interface while it runs. Static routes by it stay, and so do neighbours that are
    /// still in its subnets.
    ///
    /// # Errors
    ///
    /// What makes no sense; nothing is changed.
    pub fn change_interface(
        &mut self,
        pool: &mut Pool,
        id: InterfaceId,
        spec: InterfaceSpec,
    ) -> Result<(), RouterError> {
        if self.interfaces.get(id).is_none() {
            return Err(RouterError::NoSuchInterface(id));
        }
        let spec = spec.possible();
        self.interfaces.check(&spec, Some(id))?;
        self.routes.remove_of(id, Some(RouteSource::Connected));
        connect(&mut self.routes, id, &spec);
        self.generation = self.generation.wrapping_add(1);
        let Some(interface) = self.interfaces.get_mut(id) else { return Ok(()) };
        interface.configure(spec);
        let Some(interface) = self.interfaces.get(id) else { return Ok(()) };
        let stays = |addr| interface.is_neighbour(addr) && !interface.owns(addr);
        for key in self.neighbours.keys_of(id.index, |addr| !stays(addr)) {
            self.forget(pool, &key);
        }
        Ok(())
    }

    /// Removes an interface, the routes by it, and what waits for its neighbours. Gives its last
    /// counters; `None` if it is gone already.
    pub fn remove_interface(&mut self, pool: &mut Pool, id: InterfaceId) -> Option<RouterCounters> {
        self.interfaces.get(id)?;
        for key in self.neighbours.keys_of(id.index, |_| true) {
            self.forget(pool, &key);
        }
        let gone = self.interfaces.remove(id)?;
        self.routes.remove_of(id, None);
        self.generation = self.generation.wrapping_add(1);
        Some(gone.counters)
    }

    /// The interfaces, in no order.
    pub fn interfaces(&self) -> impl Iterator<Item = (InterfaceId, &InterfaceSpec)> + '_ {
        self.interfaces.iter().map(|interface| (interface.id, &interface.spec))
    }

    /// What an interface is asked to be; `None` if it is gone.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&InterfaceSpec> {
        self.interfaces.get(id).map(|interface| &interface.spec)
    }

    /// Adds a static route.
    ///
    /// # Errors
    ///
    /// There is one to that prefix, its interface is gone, or its next hop is not on the interface's
    /// network.
    pub fn add_route(&mut self, route: Route) -> Result<(), RouterError> {
        let prefix = route.prefix.trunc();
        if let Some(id) = route.via.interface() {
            let interface = self.interfaces.get(id).ok_or(RouterError::NoSuchInterface(id))?;
            if let Via::NextHop { addr, .. } = route.via {
                let same_version = addr.is_ipv4() == matches!(prefix, IpNet::V4(_));
                if !same_version || !interface.is_neighbour(addr) || interface.owns(addr) {
                    return Err(RouterError::NextHopElsewhere { prefix, address: addr });
                }
            }
        }
        self.routes.add(prefix, Target::Via(route.via), RouteSource::Static)?;
        self.generation = self.generation.wrapping_add(1);
        Ok(())
    }

    /// Removes the static route to exactly this prefix. False if there is none.
    pub fn remove_route(&mut self, prefix: IpNet) -> bool {
        self.generation = self.generation.wrapping_add(1);
        self.routes.remove(prefix.trunc(), RouteSource::Static)
    }

    /// Every route, IPv4 first.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter()
    }

    /// Where a packet of a guest to this address would go by the routes; `None` if no route leads
    /// there. Own addresses are their interface's.
    #[must_use]
    pub fn route_to(&self, addr: IpAddr) -> Option<Via> {
        match self.routes.find(addr)? {
            Target::Via(via) => Some(via),
            Target::Own(id) | Target::Broadcast(id) => Some(Via::Interface(id)),
        }
    }

    /// Takes a frame that the network of `iface` had for the router's port.
    pub fn receive(&mut self, now: Instant, pool: &mut Pool, iface: InterfaceId, mut frame: Frame) {
        let Some(interface) = self.interfaces.get_mut(iface) else {
            self.strays += 1;
            return pool.release(frame);
        };
        interface.counters.received += 1;
        interface.counters.received_bytes += frame.len() as u64;
        match self.pass(now, pool, iface, &mut frame) {
            Some(Passed::Out(egress)) => {
                if let Some(interface) = self.interfaces.get_mut(iface) {
                    interface.counters.forwarded += 1;
                    interface.counters.forwarded_bytes += frame.len() as u64;
                }
                return self.output.push_back(Output::Transmit { iface: egress, frame });
            }
            Some(Passed::Gateway(gateway)) => {
                if let Some(interface) = self.interfaces.get_mut(iface) {
                    interface.counters.to_gateway += 1;
                }
                return self.output.push_back(Output::Gateway { iface: gateway, frame });
            }
            None => {}
        }
        let arrival = Arrival { iface, port: frame.origin(), from_gateway: false };
        let decision = self.decide(now, pool, arrival, &mut frame);
        self.act(now, pool, arrival, frame, decision.unwrap_or_else(Decision::from));
    }

    /// Takes all frames of a batch, as [`Self::receive`] takes one.
    pub fn receive_batch(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        iface: InterfaceId,
        frames: &mut TxBatch,
    ) {
        for frame in frames.drain(..) {
            self.receive(now, pool, iface, frame);
        }
    }

    /// Takes a frame that the gateway of `iface` has for a guest: an IP packet behind 14 bytes of
    /// room for an Ethernet header, the last two of which are the ethertype.
    ///
    /// It goes where the routes lead, and comes back as an ICMP error to the gateway if they lead
    /// nowhere or the guest does not answer. Groups are those of `iface`; and a destination address
    /// that is not zero is believed, for answers to guests that have no address yet.
    pub fn send(&mut self, now: Instant, pool: &mut Pool, iface: InterfaceId, frame: Frame) {
        let Some(interface) = self.interfaces.get_mut(iface) else {
            self.strays += 1;
            return pool.release(frame);
        };
        interface.counters.sent_by_gateway += 1;
        interface.counters.sent_by_gateway_bytes += frame.len() as u64;
        let arrival = Arrival { iface, port: None, from_gateway: true };
        let decision = self.decide_inwards(pool, arrival, &frame);
        self.act(now, pool, arrival, frame, decision.unwrap_or_else(Decision::from));
    }

    /// The next frame that the router has for a network or a gateway, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called. May be in the past: then there is more to do
    /// at once.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.neighbours.deadline()
    }

    /// Does what is due, a bounded amount.
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut Pool) {
        for _ in 0..TIMER_STEP {
            let Some((number, (egress, addr), due)) = self.neighbours.due(now) else { return };
            match due {
                Due::Rest => {}
                Due::Ask => self.solicit(now, pool, egress, addr, None),
                Due::Probe(mac) => self.solicit(now, pool, egress, addr, Some(mac)),
                Due::GiveUp => self.give_up(now, pool, number),
                Due::Forget => {
                    let left = self.neighbours.forget(number);
                    self.settle(pool, left);
                }
            }
        }
    }

    /// Takes note that an address belongs to a port (and to a MAC address, if that is known): what a
    /// binding of the network's engine says. From now on nobody else is believed about it. Without
    /// a port, the MAC address is what counts. Nothing happens if the address is in none of the
    /// interface's subnets, or the router's own.
    pub fn learn_neighbour(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        iface: InterfaceId,
        addr: IpAddr,
        mac: Option<MacAddr>,
        port: Option<u16>,
    ) {
        let Some(interface) = self.interfaces.get(iface) else { return };
        if !interface.is_neighbour(addr) || interface.owns(addr) {
            return;
        }
        let key = (iface.index, addr);
        let port = port.unwrap_or(NO_PORT);
        let number =
            self.neighbours.find(&key).unwrap_or_else(|| self.neighbours.add(key, now, Some(port)));
        if self.neighbours.bind(number, mac, port) {
            self.flush(pool, number);
        }
    }

    /// Forgets what is known of an address: its binding has ended.
    pub fn purge_address(&mut self, pool: &mut Pool, iface: InterfaceId, addr: IpAddr) {
        if self.interfaces.get(iface).is_some() {
            self.forget(pool, &(iface.index, addr));
        }
    }

    /// Forgets what a port has said about neighbours: it is gone.
    pub fn purge_port(&mut self, pool: &mut Pool, iface: InterfaceId, port: u16) {
        if self.interfaces.get(iface).is_some() {
            for key in self.neighbours.said_by(iface.index, port) {
                self.forget(pool, &key);
            }
        }
    }

    /// The port that an address is bound to, of a neighbour that is known.
    #[must_use]
    pub fn neighbour_port(&self, iface: InterfaceId, addr: IpAddr) -> Option<u16> {
        self.interfaces.get(iface)?;
        let number = self.neighbours.find(&(iface.index, addr))?;
        let (_, entry) = self.neighbours.table.at(number)?;
        entry.bound.filter(|port| *port != NO_PORT)
    }

    /// What is known of neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.neighbours.table.iter().filter_map(|(_, &(index, addr), entry)| {
            Some(Neighbour {
                iface: self.interfaces.at(index)?.id,
                addr,
                mac: entry.mac,
                state: entry.state,
                port: entry.bound.filter(|port| *port != NO_PORT),
                waiting: entry.waiting.len(),
            })
        })
    }

    /// Packets that wait for neighbours now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What was counted on an interface; `None` if it is gone.
    #[must_use]
    pub fn counters(&self, iface: InterfaceId) -> Option<&RouterCounters> {
        self.interfaces.get(iface).map(|interface| &interface.counters)
    }

    /// Frames that were handed in for interfaces that were gone, and are in no interface's counters.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop()
    }

    /// Carries out what was decided about a frame.
    fn act(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        arrival: Arrival,
        frame: Frame,
        decision: Decision,
    ) {
        match decision {
            Decision::Forward(way) => return self.deliver(now, pool, arrival, frame, way),
            Decision::Group(mac) => {
                return self.emit(pool, arrival, frame, arrival.iface.index, mac);
            }
            Decision::Gateway(iface) if self.output.len() < OUTPUT_MAX => {
                if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
                    interface.counters.to_gateway += 1;
                }
                return self.output.push_back(Output::Gateway { iface, frame });
            }
            Decision::Reply if self.output.len() < OUTPUT_MAX => {
                if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
                    interface.counters.answered += 1;
                    interface.counters.echoes_sent += 1;
                }
                return self.output.push_back(Output::Transmit { iface: arrival.iface, frame });
            }
            Decision::Gateway(_) | Decision::Reply => {
                self.drop(arrival, RouterReason::OutputFull);
            }
            Decision::Answered => {
                if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
                    interface.counters.answered += 1;
                }
            }
            Decision::Noted => {
                if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
                    interface.counters.noted += 1;
                }
            }
            Decision::Drop(reason) => self.drop(arrival, reason),
            Decision::Refuse(reason, error) => {
                self.drop(arrival, reason);
                self.complain(now, pool, arrival, &frame, error);
            }
        }
        pool.release(frame);
    }

    fn drop(&mut self, arrival: Arrival, reason: RouterReason) {
        if let Some(interface) = self.interfaces.get_mut(arrival.iface) {
            interface.drop(reason);
        }
    }
}
