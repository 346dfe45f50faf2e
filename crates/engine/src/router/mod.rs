//! The virtual router that joins the networks of one worker.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;

use wire::MacAddr;

use crate::frame::Frame;
use crate::pool::Pool;
use crate::time::Instant;

mod counters;
mod event;
mod spec;

pub use counters::{RouterCounters, RouterReason};
pub use event::RouterEvent;
pub use spec::{
    ADDRESSES_MAX, INTERFACES_MAX, InterfaceId, InterfaceSpec, ROUTES_MAX, Route, RouteSource,
    RouterError, RouterLimits, Via,
};

use event::Events;

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
    /// For the gateway of that interface. The Ethernet addresses are those that it came with; the
    /// ethertype is that of the packet, and there is no padding behind it.
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
    interfaces: Vec<(InterfaceId, Option<InterfaceSpec>, RouterCounters)>,
    routes: Vec<Route>,
    output: VecDeque<Output>,
    events: Events,
}

impl Router {
    /// A router without interfaces. `hash_key` must be random and unknown to guests.
    #[must_use]
    pub fn new(limits: RouterLimits, _hash_key: [u8; 16]) -> Self {
        Self {
            limits,
            interfaces: Vec::new(),
            routes: Vec::new(),
            output: VecDeque::new(),
            events: Events::default(),
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
        let index =
            u16::try_from(self.interfaces.len()).map_err(|_| RouterError::TooManyInterfaces)?;
        let id = InterfaceId { index, generation: 0 };
        self.interfaces.push((id, Some(spec), RouterCounters::default()));
        Ok(id)
    }

    /// Changes an interface while it runs. Routes by it stay, neighbours that are still in its
    /// subnets too.
    ///
    /// # Errors
    ///
    /// What makes no sense; nothing is changed.
    pub fn change_interface(
        &mut self,
        _now: Instant,
        _pool: &mut Pool,
        id: InterfaceId,
        spec: InterfaceSpec,
    ) -> Result<(), RouterError> {
        let place = self.interfaces.get_mut(id.index()).filter(|place| place.0 == id);
        place.ok_or(RouterError::NoSuchInterface(id))?.1 = Some(spec);
        Ok(())
    }

    /// Removes an interface, the routes by it, and what waits for its neighbours. False if it is
    /// gone already.
    pub fn remove_interface(&mut self, _now: Instant, _pool: &mut Pool, id: InterfaceId) -> bool {
        let place = self.interfaces.get_mut(id.index()).filter(|place| place.0 == id);
        place.is_some_and(|place| place.1.take().is_some())
    }

    /// The interfaces, in no order.
    pub fn interfaces(&self) -> impl Iterator<Item = (InterfaceId, &InterfaceSpec)> + '_ {
        self.interfaces.iter().filter_map(|(id, spec, _)| Some((*id, spec.as_ref()?)))
    }

    /// What an interface is asked to be; `None` if it is gone.
    #[must_use]
    pub fn interface(&self, id: InterfaceId) -> Option<&InterfaceSpec> {
        self.interfaces.get(id.index()).filter(|place| place.0 == id)?.1.as_ref()
    }

    /// Adds a route.
    ///
    /// # Errors
    ///
    /// There is one to that prefix, or it leads nowhere.
    pub fn add_route(&mut self, route: Route) -> Result<(), RouterError> {
        self.routes.push(route);
        Ok(())
    }

    /// Removes the static route to exactly this prefix. False if there is none.
    pub fn remove_route(&mut self, prefix: ipnet::IpNet) -> bool {
        let before = self.routes.len();
        self.routes.retain(|route| route.prefix != prefix.trunc());
        before != self.routes.len()
    }

    /// Every route, in no order.
    pub fn routes(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter().copied()
    }

    /// Takes a frame that the network of `iface` had for the router's port.
    pub fn receive(&mut self, _now: Instant, pool: &mut Pool, iface: InterfaceId, frame: Frame) {
        if let Some((.., counters)) = self.interfaces.get_mut(iface.index()) {
            counters.received += 1;
            counters.received_bytes += frame.len() as u64;
            counters.count_drop(RouterReason::NoRoute);
        }
        pool.release(frame);
    }

    /// Takes a frame that the gateway of `iface` has for a guest: an IP packet behind 14 bytes of
    /// room for an Ethernet header, the last two of which are the ethertype.
    pub fn send(&mut self, _now: Instant, pool: &mut Pool, iface: InterfaceId, frame: Frame) {
        if let Some((.., counters)) = self.interfaces.get_mut(iface.index()) {
            counters.sent_by_gateway += 1;
            counters.sent_by_gateway_bytes += frame.len() as u64;
            counters.count_drop(RouterReason::NoRoute);
        }
        pool.release(frame);
    }

    /// The next frame that the router has for a network or a gateway, oldest first.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due, a bounded amount.
    pub fn handle_timeout(&mut self, _now: Instant, _pool: &mut Pool) {}

    /// Takes note that an address belongs to a port (and to a MAC address, if that is known): what a
    /// binding of the network's engine says. From now on nobody else is believed about it.
    pub fn learn_neighbour(
        &mut self,
        _now: Instant,
        _pool: &mut Pool,
        _iface: InterfaceId,
        _addr: IpAddr,
        _mac: Option<MacAddr>,
        _port: Option<u16>,
    ) {
    }

    /// Forgets what is known of an address: its binding has ended.
    pub fn purge_address(
        &mut self,
        _now: Instant,
        _pool: &mut Pool,
        _iface: InterfaceId,
        _addr: IpAddr,
    ) {
    }

    /// What is known of neighbours, in no order.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> + '_ {
        core::iter::empty()
    }

    /// What was counted on an interface; `None` if it is gone.
    #[must_use]
    pub fn counters(&self, iface: InterfaceId) -> Option<&RouterCounters> {
        self.interfaces.get(iface.index()).filter(|place| place.0 == iface).map(|place| &place.2)
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<RouterEvent> {
        self.events.pop()
    }
}
