//! Gateways in the worker: a network's way out, and what the host's side has for its guests.
//!
//! # Theory of operation
//!
//! A [`Gateway`] has its sockets watched by the worker's own poller, beside links: a packet costs
//! one wait, not one more to find out which socket has it. Reports are handed to it as they come
//! ([`Gateway::host_ready`]); one [`Gateway::turn`] behind the turn's visits does what they lead to,
//! a bounded amount. What comes out goes through the router into the engine, in the same turn, so a
//! reply leaves for its guest without another system call than the wait, the read that brought it
//! and the write that delivers it.
//!
//! * **Credit.** The gateway asks [`QueueRoom`] before it reads from a socket: so much as the queue
//!   of the guest's port still takes. What does not fit waits in the kernel, and when that guest's
//!   queue has drained the gateway gets another turn ([`Gateway::wants_room`]).
//! * **Fairness.** A report of a stream only notes something, and one of datagrams reads one batch
//!   at most. The kernel's list of what is ready goes round, links among it, and a turn takes a part
//!   of it.
//! * **Latency.** Frames of a gateway's turn count as frames of the router's port, so a dialogue
//!   with the outside is polled for like one between guests ([`super::busy_poll`]).
//! * **Leases.** A lease is bound in the engine before the answer that announces it leaves.

use std::net::IpAddr;

use engine::bindings::{BindingSource, Lifetime, Owner};
use engine::{BATCH, Engine, Frame, Instant, Pool, PortId};
use gateway::poll::{Event as Ready, Poller, Token};
use gateway::{Gateway, GatewayError, GatewayEvent, GatewayPlan, GuestKey, Room};
use ipnet::IpNet;

use super::{NetworkId, Worker, WorkerEvent};

/// Turns of one gateway that follow each other because its guests' queues drained, in one turn of
/// the worker.
const REFILLS: usize = 4;

/// Bytes that may wait in a guest's queue for a gateway to fill it up. More would only be delay: the
/// kernel keeps the rest.
const FILL: usize = 1 << 20;

/// What may be sent at once to an address that no port is known to have: a large frame or two. The
/// router finds out whose it is, or throws it away.
const UNKNOWN: usize = 128 * 1024;

/// A gateway and the worker's watch of it.
#[derive(Debug)]
pub(super) struct GatewayPlace {
    pub(super) gateway: Gateway,
    /// Something was reported to it in this turn.
    reported: bool,
    /// A guest's queue has drained since the gateway's last turn.
    pub(super) drained: bool,
    /// The gateway's deadline when the worker began to wait.
    pub(super) due: Option<Instant>,
}

/// Room in the queues of one network's ports.
struct QueueRoom<'a> {
    engine: &'a Engine,
}

impl Room for QueueRoom<'_> {
    fn room(&self, destination: IpAddr) -> usize {
        // Who is not bound is found by the router, or not at all; the queue that it turns out to be
        // is full at its own limit.
        let Some(Owner::Port(port)) = self.engine.owner_of(destination) else { return UNKNOWN };
        let Some(spec) = self.engine.port(port) else { return UNKNOWN };
        let (frames, bytes) = self.engine.queue_len(port);
        if frames + BATCH > spec.queue_frames {
            return 0;
        }
        spec.queue_bytes.min(FILL).saturating_sub(bytes)
    }
}

/// What stands for a port of a network at every gateway.
fn key_of(net: NetworkId, index: u16) -> GuestKey {
    // A worker has at most 64 networks, so the low half of the place is all of it.
    GuestKey((net.0.index() & 0xffff) << 16 | u32::from(index))
}

/// What stands for who sent a frame that came in by no port.
const NOBODY: u16 = u16::MAX;

impl Worker {
    /// Gives a network a gateway. Its router must say that it has one.
    ///
    /// # Errors
    /// The plan cannot be carried out, or there are no descriptors.
    pub fn open_gateway(&mut self, net: NetworkId, plan: GatewayPlan) -> Result<(), GatewayError> {
        // A worker has at most 64 networks.
        let place = (net.0.index() & 0xffff) as u16;
        let poller = Poller::within(&self.poller, place).map_err(GatewayError::Poller)?;
        // What guests see of it (sequence numbers, identifiers) is of a key that serves nothing else.
        let key = sys::random::key().map_err(GatewayError::Random)?;
        let gateway = Gateway::with_poller(plan, key, poller)?;
        self.close_gateway(net);
        let Some(network) = self.networks.get_mut(net.0) else { return Ok(()) };
        network.gateway =
            Some(GatewayPlace { gateway, reported: false, drained: false, due: None });
        self.routing.asked.push_back(net);
        let now = self.now();
        self.deliver(now, net);
        Ok(())
    }

    /// Takes a network's gateway away; its flows end.
    pub fn close_gateway(&mut self, net: NetworkId) {
        let now = self.now();
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(mut place) = network.gateway.take() else { return };
        place.gateway.close(now, &mut self.pool, &QueueRoom { engine: &network.engine });
        while let Some(frame) = place.gateway.poll_frame() {
            self.pool.release(frame);
        }
    }

    /// The network is about to end: its guests are told that this is no way out any more.
    pub fn farewell(&mut self, net: NetworkId) {
        let now = self.now();
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(place) = &mut network.gateway else { return };
        place.gateway.farewell(now, &mut self.pool, &QueueRoom { engine: &network.engine });
        self.routing.asked.push_back(net);
        self.deliver(now, net);
        self.settle(now);
    }

    /// A network's gateway, to look at.
    #[must_use]
    pub fn gateway(&self, net: NetworkId) -> Option<&Gateway> {
        Some(&self.networks.get(net.0)?.gateway.as_ref()?.gateway)
    }

    /// Changes something at a network's gateway, and sends what it has to say about it.
    pub fn with_gateway<T>(
        &mut self,
        net: NetworkId,
        change: impl FnOnce(&mut Gateway, Instant, &mut Pool) -> T,
    ) -> Option<T> {
        let now = self.now();
        let place = self.networks.get_mut(net.0)?.gateway.as_mut()?;
        let done = change(&mut place.gateway, now, &mut self.pool);
        self.routing.asked.push_back(net);
        self.deliver(now, net);
        Some(done)
    }

    /// What stands for a port at the gateways.
    #[must_use]
    pub fn guest_key(&self, net: NetworkId, port: PortId) -> GuestKey {
        key_of(net, u16::try_from(port.index()).unwrap_or(NOBODY))
    }

    /// The live port that a gateway means by a key.
    #[must_use]
    pub fn guest_of(&self, key: GuestKey) -> Option<(NetworkId, PortId)> {
        let net = NetworkId(self.networks.at((key.0 >> 16) as usize)?);
        // The low half.
        let port = self.networks.get(net.0)?.engine.port_at((key.0 & 0xffff) as u16)?;
        Some((net, port))
    }

    /// A port is gone: what it had open outside ends.
    pub(super) fn forget_guest(&mut self, now: Instant, net: NetworkId, port: PortId) {
        let key = self.guest_key(net, port);
        for place in 0..self.networks.places() {
            let Some(slot) = self.networks.at(place) else { continue };
            let Some(network) = self.networks.get_mut(slot) else { continue };
            if let Some(place) = &mut network.gateway {
                let room = QueueRoom { engine: &network.engine };
                place.gateway.guest_gone(now, &mut self.pool, &room, key);
                self.routing.asked.push_back(NetworkId(slot));
            }
        }
    }

    /// Addresses of a guest are nobody's any more: what they had open outside ends, at every gateway
    /// that it may have gone through. What is sent about it goes when frames move next.
    pub(super) fn forget_addresses(&mut self, now: Instant, addresses: IpNet) {
        for place in 0..self.networks.places() {
            let Some(slot) = self.networks.at(place) else { continue };
            let Some(network) = self.networks.get_mut(slot) else { continue };
            if let Some(place) = &mut network.gateway {
                let room = QueueRoom { engine: &network.engine };
                place.gateway.addresses_gone(now, &mut self.pool, &room, addresses);
                self.routing.asked.push_back(NetworkId(slot));
            }
        }
    }

    /// Hands a packet of a port of `from` to the gateway of `net`.
    pub(super) fn ask_gateway(
        &mut self,
        now: Instant,
        net: NetworkId,
        from: NetworkId,
        frame: Frame,
    ) {
        let Some(network) = self.networks.get_mut(net.0) else { return self.pool.release(frame) };
        let Some(place) = &mut network.gateway else { return self.pool.release(frame) };
        let key = key_of(from, frame.origin().unwrap_or(NOBODY));
        let room = QueueRoom { engine: &network.engine };
        place.gateway.receive(now, &mut self.pool, &room, key, frame);
        if self.routing.asked.back() != Some(&net) {
            self.routing.asked.push_back(net);
        }
    }

    /// Takes what gateways have after they were asked something; whether the router has been given
    /// anything.
    pub(super) fn collect_answers(&mut self, now: Instant) -> bool {
        let mut frames = 0;
        while let Some(net) = self.routing.asked.pop_front() {
            frames += self.collect_gateway(now, net);
        }
        frames > 0
    }

    /// Takes the events and frames of one gateway; the number of frames.
    fn collect_gateway(&mut self, now: Instant, net: NetworkId) -> usize {
        if let Some(network) = self.networks.get_mut(net.0)
            && let Some(place) = &mut network.gateway
        {
            place.gateway.flush(now, &mut self.pool, &QueueRoom { engine: &network.engine });
        }
        loop {
            let Some(network) = self.networks.get_mut(net.0) else { return 0 };
            let Some(place) = &mut network.gateway else { return 0 };
            let Some(event) = place.gateway.poll_event() else { break };
            self.gateway_event(now, net, event);
        }
        let Some(network) = self.networks.get_mut(net.0) else { return 0 };
        let (Some(place), Some(router)) = (&mut network.gateway, &network.router) else { return 0 };
        let mut frames = 0;
        while let Some(frame) = place.gateway.poll_frame() {
            frames += 1;
            self.routing.router.send(now, &mut self.pool, router.iface, frame);
        }
        frames
    }

    fn gateway_event(&mut self, now: Instant, net: NetworkId, event: GatewayEvent) {
        match event {
            GatewayEvent::Bind { guest, address, lifetime, .. } => {
                let Some((net, port)) = self.guest_of(guest) else { return };
                let Some(network) = self.networks.get_mut(net.0) else { return };
                let lifetime = Lifetime::Until(now + lifetime);
                let bound = network.engine.bind(port, address, lifetime, BindingSource::Lease);
                let about = gateway::Subject::Lease(address);
                let event = if let Err(why) = bound {
                    // Its client is told when it renews, and nobody gets the address for a while.
                    if let (IpAddr::V4(address), Some(place)) = (address, &mut network.gateway) {
                        place.gateway.refuse_lease(now, address);
                    }
                    let name = network.ports.get(port).map_or("?", |it| it.about.name.as_str());
                    let sentence = format!("The lease of port {name} is not bound to it: {why}.");
                    GatewayEvent::Trouble { about, sentence }
                } else {
                    GatewayEvent::Well(about)
                };
                self.tell(WorkerEvent::Gateway { net, event });
            }
            GatewayEvent::Unbind { address } => {
                if let Some(network) = self.networks.get_mut(net.0) {
                    network.engine.end_lease(address);
                }
                let event = GatewayEvent::Well(gateway::Subject::Lease(address));
                self.tell(WorkerEvent::Gateway { net, event });
            }
            event => self.tell(WorkerEvent::Gateway { net, event }),
        }
    }

    /// The poller reports a socket of the gateway of the network at a place. What it leads to waits
    /// for [`Worker::visit_gateways`].
    pub(super) fn report_gateway(&mut self, now: Instant, place: u16, token: Token, event: &Ready) {
        let Some(slot) = self.networks.at(usize::from(place)) else { return };
        let Some(network) = self.networks.get_mut(slot) else { return };
        let Some(place) = &mut network.gateway else { return };
        let room = QueueRoom { engine: &network.engine };
        place.gateway.host_ready(now, &mut self.pool, &room, token, event);
        if !place.reported {
            place.reported = true;
            self.routing.reported.push(NetworkId(slot));
        }
    }

    /// Lets the gateways to which something was reported do what it leads to.
    pub(super) fn visit_gateways(&mut self, now: Instant) {
        while let Some(net) = self.routing.reported.pop() {
            self.visit_gateway(now, net);
        }
    }

    /// A gateway does what it can.
    pub(super) fn visit_gateway(&mut self, now: Instant, net: NetworkId) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(place) = &mut network.gateway else { return };
        (place.drained, place.reported) = (false, false);
        place.gateway.turn(now, &mut self.pool, &QueueRoom { engine: &network.engine });
        self.book_gateway(now, net);
    }

    /// What is due at a gateway. Deadlines that this turn has made are the next wait's business.
    pub(super) fn gateway_timeout(&mut self, now: Instant, net: NetworkId) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(place) = &mut network.gateway else { return };
        if place.due.take().is_none_or(|at| at > now) {
            return;
        }
        let room = QueueRoom { engine: &network.engine };
        place.gateway.handle_timeout(now, &mut self.pool, &room);
        self.routing.asked.push_back(net);
        self.deliver(now, net);
    }

    /// Sends what a gateway's turn has made, and counts it as a port's frames.
    fn book_gateway(&mut self, now: Instant, net: NetworkId) {
        let frames = self.collect_gateway(now, net);
        let router = self.networks.get(net.0).and_then(|it| Some(it.router.as_ref()?.port));
        let Some(router) = router.filter(|_| frames > 0) else { return };
        self.deliver(now, net);
        self.heard(now, net, router, frames);
    }

    /// Lets gateways go on whose guests' queues have drained. True if one would have more to do
    /// than a turn has time for.
    pub(super) fn refill(&mut self, now: Instant) -> bool {
        for _ in 0..REFILLS {
            let mut any = false;
            for place in 0..self.networks.places() {
                let Some(slot) = self.networks.at(place) else { continue };
                let Some(network) = self.networks.get_mut(slot) else { continue };
                let waiting = network
                    .gateway
                    .as_ref()
                    .is_some_and(|place| place.drained && place.gateway.wants_room());
                if waiting {
                    any = true;
                    self.visit_gateway(now, NetworkId(slot));
                    self.settle(now);
                }
            }
            if !any {
                return false;
            }
        }
        true
    }
}
