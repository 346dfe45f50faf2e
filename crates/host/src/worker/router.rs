//! The router's place in the worker: a port on each network, without a descriptor.
//!
//! # Theory of operation
//!
//! A network that has a router has an engine port with [`Role::Router`] for it. What a guest sends
//! to the router's address is queued there like for any other port; when the worker pulls that
//! queue, it hands the frames to the [`Router`] instead of writing them
//! somewhere. What the router answers or forwards goes into the engine of the network it is for, by
//! that network's router port, so it is judged, counted and captured like every other frame. What
//! is for outside goes to the network's gateway ([`super::gateway`]).
//!
//! All of it happens in the turn in which the frame came, in batches of at most 64, without a copy
//! and without an allocation. It ends, because a packet that is forwarded loses one of its hops, and
//! a gateway answers a packet with a bounded number of others.
//!
//! Bindings of the engines are what the router knows for certain about its neighbours: the worker
//! tells it whatever the engines report.

use std::collections::VecDeque;
use std::net::IpAddr;

use engine::bindings::{Address, BindError, BindingSource, Lifetime, Owner};
use engine::router::{InterfaceId, InterfaceSpec, Output, Route, Router, RouterError};
use engine::{
    BATCH, BindingEnd, Budget, Event, Instant, PortId, PortPlan, PortSpec, Role, RxBatch,
    SourceMode,
};
use ipnet::IpNet;
use wire::OffloadSet;

use super::{NetworkId, OpenError, Worker, WorkerEvent};
use crate::link::{LinkKind, PortAbout};

/// Where the router stands in a network.
#[derive(Debug)]
pub(super) struct RouterPort {
    pub(super) port: PortId,
    pub(super) iface: InterfaceId,
    pub(super) about: PortAbout,
}

/// The router of a worker, and what is on its way through it.
pub(super) struct Routing {
    pub(super) router: Router,
    /// The networks, by the index of their interface.
    networks: Vec<Option<(InterfaceId, NetworkId)>>,
    /// Frames on their way from the router into one engine.
    batch: RxBatch,
    /// Gateways that were handed something since their answers were taken.
    pub(super) asked: VecDeque<NetworkId>,
    /// Gateways to which something was reported in this turn.
    pub(super) reported: Vec<NetworkId>,
}

impl Routing {
    pub(super) fn new(router: Router) -> Self {
        Self {
            router,
            networks: Vec::new(),
            batch: RxBatch::new(),
            asked: VecDeque::new(),
            reported: Vec::new(),
        }
    }

    fn network(&self, iface: InterfaceId) -> Option<NetworkId> {
        let (known, net) = (*self.networks.get(iface.index())?)?;
        (known == iface).then_some(net)
    }
}

/// Why a network could not have a router.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Router(#[from] RouterError),
}

impl Worker {
    /// Gives a network a router: a port of the engine, and an interface as `spec` says. VLANs other
    /// than 1 do not reach it.
    ///
    /// # Errors
    /// The engine takes no such port, or the router no such interface; nothing is changed.
    pub fn open_router(&mut self, net: NetworkId, spec: InterfaceSpec) -> Result<(), RouteError> {
        let now = self.now();
        let network = self.networks.get_mut(net.0).ok_or(OpenError::NoNetwork)?;
        let port = PortSpec {
            role: Role::Router,
            macs: vec![spec.mac],
            source: SourceMode::Static,
            offloads_to_guest: OffloadSet::all(),
            offloads_from_guest: OffloadSet::all(),
            ..PortSpec::default()
        };
        let plan = PortPlan::validate(port, &network.plan).map_err(OpenError::from)?;
        let port = network.engine.add_port(plan).map_err(OpenError::from)?;
        let iface = match self.routing.router.add_interface(spec) {
            Ok(iface) => iface,
            Err(error) => {
                network.engine.remove_port(&mut self.pool, port);
                return Err(error.into());
            }
        };
        // No guest can have this name.
        let about = PortAbout::new("(router)", LinkKind::Router, now);
        network.router = Some(RouterPort { port, iface, about });
        let place = iface.index();
        if self.routing.networks.len() <= place {
            self.routing.networks.resize(place + 1, None);
        }
        self.routing.networks[place] = Some((iface, net));
        self.tell_networks_of_each_other();
        self.resync_router(now, net);
        Ok(())
    }

    /// Changes the router's interface on a network that has one.
    ///
    /// # Errors
    /// As [`Worker::open_router`]; nothing is changed.
    pub fn change_router(&mut self, net: NetworkId, spec: InterfaceSpec) -> Result<(), RouteError> {
        let now = self.now();
        let network = self.networks.get_mut(net.0).ok_or(OpenError::NoNetwork)?;
        let Some(place) = &network.router else { return self.open_router(net, spec) };
        self.routing.router.change_interface(&mut self.pool, place.iface, spec)?;
        self.tell_networks_of_each_other();
        self.deliver(now, net);
        Ok(())
    }

    /// Takes the router out of a network.
    pub fn close_router(&mut self, net: NetworkId) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        let Some(place) = network.router.take() else { return };
        self.routing.router.remove_interface(&mut self.pool, place.iface);
        if let Some(known) = self.routing.networks.get_mut(place.iface.index()) {
            *known = None;
        }
        network.engine.remove_port(&mut self.pool, place.port);
        network.engine.set_other_networks(&[]);
        self.tell_networks_of_each_other();
    }

    /// Tells each network that has a router which prefixes are those of the others.
    fn tell_networks_of_each_other(&mut self) {
        let now = self.now();
        let its = |spec: &InterfaceSpec| -> Vec<IpNet> {
            let v4 = spec.v4.iter().map(|&(ip, len)| IpNet::new(ip.into(), len));
            v4.chain(spec.v6.iter().map(|&(ip, len)| IpNet::new(ip.into(), len)))
                .flatten()
                .collect()
        };
        let all: Vec<_> =
            self.routing.router.interfaces().map(|(iface, spec)| (iface, its(spec))).collect();
        for (iface, own) in &all {
            let Some(net) = self.routing.network(*iface) else { continue };
            let Some(network) = self.networks.get_mut(net.0) else { continue };
            let others = all.iter().filter(|(other, _)| other != iface);
            // What is this network's too, for it has a prefix within the other's, is no other's.
            let others: Vec<IpNet> = others
                .flat_map(|(_, prefixes)| prefixes)
                .filter(|prefix| {
                    !own.iter().any(|own| own.contains(*prefix) || prefix.contains(own))
                })
                .copied()
                .collect();
            network.engine.set_other_networks(&others);
            self.collect_engine_events(now, net);
        }
    }

    /// The router of all networks.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.routing.router
    }

    /// The router's interface on a network.
    #[must_use]
    pub fn interface(&self, net: NetworkId) -> Option<InterfaceId> {
        Some(self.networks.get(net.0)?.router.as_ref()?.iface)
    }

    /// The router's port on a network.
    #[must_use]
    pub fn router_port(&self, net: NetworkId) -> Option<PortId> {
        Some(self.networks.get(net.0)?.router.as_ref()?.port)
    }

    /// The network of an interface of the router.
    #[must_use]
    pub fn network_of(&self, iface: InterfaceId) -> Option<NetworkId> {
        self.routing.network(iface)
    }

    /// Adds a route to the router.
    ///
    /// # Errors
    /// There is one to that prefix, or it leads nowhere.
    pub fn add_route(&mut self, route: Route) -> Result<(), RouterError> {
        self.routing.router.add_route(route)
    }

    /// Removes a route of the router; false if there is none to exactly this prefix.
    pub fn remove_route(&mut self, prefix: IpNet) -> bool {
        self.routing.router.remove_route(prefix)
    }

    /// Binds an address to a port, for the engine and the router.
    ///
    /// # Errors
    /// As [`engine::Engine::bind`].
    pub fn bind(
        &mut self,
        net: NetworkId,
        port: PortId,
        address: Address,
        lifetime: Lifetime,
        source: BindingSource,
    ) -> Result<(), BindError> {
        let now = self.now();
        let network = self.networks.get_mut(net.0).ok_or(BindError::NoSuchPort(port))?;
        network.engine.bind(port, address, lifetime, source)?;
        self.collect_engine_events(now, net);
        Ok(())
    }

    /// Ends a binding, for the engine and the router; false if there was none.
    pub fn unbind(&mut self, net: NetworkId, address: Address) -> bool {
        let now = self.now();
        let Some(network) = self.networks.get_mut(net.0) else { return false };
        let ended = network.engine.unbind(address);
        self.collect_engine_events(now, net);
        ended
    }

    /// Pulls the queue of a network's router port, until it is empty.
    pub(super) fn route_from(&mut self, now: Instant, net: NetworkId) {
        loop {
            let Some(network) = self.networks.get_mut(net.0) else { return };
            let Some(place) = &network.router else { return };
            let (port, iface) = (place.port, place.iface);
            let pulled =
                network.engine.poll_transmit(&mut self.pool, port, Budget::FULL, &mut self.tx);
            for frame in self.tx.drain(..) {
                self.routing.router.receive(now, &mut self.pool, iface, frame);
            }
            if pulled == 0 {
                return;
            }
            self.traffic = true;
            self.deliver(now, net);
            if pulled < BATCH {
                return;
            }
        }
    }

    /// Takes what the router has, until it has nothing more: into engines and gateways, and what
    /// gateways answer back to the router. `from` is the network whose frames made it so.
    pub(super) fn deliver(&mut self, now: Instant, from: NetworkId) {
        loop {
            let mut target = None;
            while let Some(output) = self.routing.router.poll_output() {
                match output {
                    Output::Transmit { iface, frame } => {
                        let net = self.routing.network(iface);
                        if net != target || self.routing.batch.is_full() {
                            self.ingest_routed(now, target);
                            target = net;
                        }
                        let refused = match net {
                            Some(_) => self.routing.batch.push(frame).err(),
                            None => Some(frame),
                        };
                        if let Some(frame) = refused {
                            self.pool.release(frame);
                        }
                    }
                    Output::Gateway { iface, frame } => match self.routing.network(iface) {
                        Some(net) => self.ask_gateway(now, net, from, frame),
                        None => self.pool.release(frame),
                    },
                }
            }
            self.ingest_routed(now, target);
            if !self.collect_answers(now) {
                return;
            }
        }
    }

    /// Hands what is in the batch to the engine of a network, as the router's.
    fn ingest_routed(&mut self, now: Instant, net: Option<NetworkId>) {
        let frames = self.routing.batch.len();
        if frames == 0 {
            return;
        }
        let network = net.and_then(|net| self.networks.get_mut(net.0));
        let place = network.and_then(|it| Some((it.router.as_ref()?.port, it)));
        let Some((port, network)) = place else {
            return self.routing.batch.clear(&mut self.pool);
        };
        network.engine.ingress(now, &mut self.pool, port, &mut self.routing.batch);
        network.unflushed += frames;
        self.unsettled = true;
        self.traffic = true;
    }

    /// What an engine's event means for the router.
    pub(super) fn note_binding(&mut self, now: Instant, net: NetworkId, event: &Event) {
        let Some(iface) = self.interface(net) else { return };
        match *event {
            Event::BindingMade { port, address: Address::Ip(address), .. } => {
                self.note_neighbour(now, net, iface, address, port);
            }
            // What ends behind another VLAN is none of the router's.
            Event::BindingEnded { vlan, .. } if self.is_elsewhere(net, vlan) => return,
            Event::BindingEnded { port, address: Address::Ip(address), why, .. } => {
                // Somebody else may have had it in another VLAN than who has it here, or the same port.
                let bound = self.routing.router.neighbour_port(iface, address);
                let others = bound.is_some_and(|bound| usize::from(bound) != port.index());
                if others || self.is_its_at_router(net, address, port) {
                    return;
                }
                self.routing.router.purge_address(&mut self.pool, iface, address);
                // With the port everything ends that it had, whatever its addresses.
                if why != BindingEnd::PortRemoved {
                    self.forget_addresses(now, address.into());
                }
            }
            Event::BindingEnded { address: Address::Prefix(prefix), why, .. }
                if why != BindingEnd::PortRemoved =>
            {
                self.forget_addresses(now, prefix);
            }
            _ => return,
        }
        self.deliver(now, net);
    }

    fn note_neighbour(
        &mut self,
        now: Instant,
        net: NetworkId,
        iface: InterfaceId,
        address: IpAddr,
        port: PortId,
    ) {
        let Some(network) = self.networks.get(net.0) else { return };
        let Some(spec) = network.engine.port(port) else { return };
        // Somebody else may have the address in another VLAN than the router's.
        let Some(place) = &network.router else { return };
        let its = self.is_its_at_router(net, address, port);
        if !its || !network.engine.share_vlan(place.port, port) {
            return;
        }
        // With one address of its own and no other there is nothing to ask.
        let mac = match (spec.macs.as_slice(), spec.source) {
            ([mac], SourceMode::Static) => Some(*mac),
            _ => None,
        };
        // The index of a port is below 2^13.
        let index = u16::try_from(port.index()).ok();
        self.routing.router.learn_neighbour(now, &mut self.pool, iface, address, mac, index);
    }

    /// Whether what holds in a VLAN, or in every one, does not hold in the router's.
    fn is_elsewhere(&self, net: NetworkId, vlan: Option<u16>) -> bool {
        let routers = self.networks.get(net.0).and_then(|it| it.engine.router_vlan());
        vlan.zip(routers).is_some_and(|(vlan, routers)| vlan != routers)
    }

    /// Whether a port has an address in the router's VLAN.
    fn is_its_at_router(&self, net: NetworkId, address: IpAddr, port: PortId) -> bool {
        let owner = self.networks.get(net.0).and_then(|it| it.engine.owner_of(address));
        owner == Some(Owner::Port(port))
    }

    /// Tells the router all that an engine knows: at the beginning, and when events were lost.
    pub(super) fn resync_router(&mut self, now: Instant, net: NetworkId) {
        let Some(iface) = self.interface(net) else { return };
        let Some(network) = self.networks.get(net.0) else { return };
        let bound: Vec<(IpAddr, PortId)> = network
            .engine
            .bindings()
            .filter_map(|binding| match (binding.address, binding.port) {
                (Address::Ip(address), Some(port)) => Some((address, port)),
                _ => None,
            })
            .collect();
        let gone: Vec<IpAddr> = self
            .routing
            .router
            .neighbours()
            .filter(|it| it.iface == iface && it.port.is_some())
            .filter(|it| !matches!(network.engine.owner_of(it.addr), Some(Owner::Port(_))))
            .map(|it| it.addr)
            .collect();
        for address in gone {
            self.routing.router.purge_address(&mut self.pool, iface, address);
        }
        for (address, port) in bound {
            self.note_neighbour(now, net, iface, address, port);
        }
        self.deliver(now, net);
    }

    pub(super) fn collect_router_events(&mut self) {
        while let Some(event) = self.routing.router.poll_event() {
            self.tell(WorkerEvent::Router { event });
        }
    }
}
