//! The worker: one loop that owns its networks, their ports and nodes outright.
//!
//! # Theory of operation
//!
//! One [`Worker::turn`] is: wait (or spin) until something is ready, visit every ready descriptor
//! once, run due timers, and write what the engines have queued. All of it happens in one thread;
//! there is no lock and no atomic on the path of a frame.
//!
//! * **Fairness.** A visit reads at most a batch of 64 frames or one buffer of a stream. The poller
//!   reports level-triggered, so a descriptor with more to read comes again behind the others.
//! * **Egress.** After at most 64 frames have entered an engine, and at the end of the turn, every
//!   port whose queue is not empty is pulled and written until its queue or its descriptor is
//!   exhausted. A port whose descriptor takes no more is *blocked*: it is not pulled until the
//!   poller (or a timer, for the shared datagram socket) says that there is room. Nothing else
//!   stands still meanwhile.
//! * **Latency.** After traffic the worker does not sleep at once but polls for up to 50 us, when
//!   that has paid off lately ([`busy_poll`]). An idle worker sleeps in one system call.
//! * **Routing.** What a network has for its router, and what gateways have for guests, is moved in the
//!   same turn ([`router`], [`gateway`]).
//! * **Death.** A failing descriptor closes its own port, in the same visit, and nothing else.
//!
//! Identifiers are an index and a generation; what is reported by the poller for something that
//! was closed earlier in the same turn does not find it any more and is ignored.

mod busy_poll;
mod datagrams;
mod gateway;
mod handshakes;
mod nodes;
mod numbers;
mod port_table;
mod ports;
mod read_batch;
mod router;
mod slots;
mod standings;
mod timers;
mod turn;

pub use router::RouteError;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ::nic::slots::LENT_MAX;
use engine::{
    Engine, Frame, GuardSpec, Instant, NetworkPlan, PlanError, Pool, PoolLimits, PoolUsage,
    PortError, PortId, PortPlan, PortSpec, RxBatch, TxBatch,
};
use sys::poll::{Events, Interest, Poller};

use crate::link::datagram::DatagramLink;
use crate::link::nic::NicLink;
use crate::link::packet::PacketLink;
use crate::link::scratch::Scratch;
use crate::link::stream::StreamLink;
use crate::link::tap::TapLink;
use crate::link::{CloseReason, Link, LinkSetup, PortAbout};
use crate::node::admission::Users;
use ::gateway::GatewayEvent;
use busy_poll::{Speaker, Spin};
use engine::router::{Router, RouterEvent, RouterLimits};
use gateway::GatewayPlace;
use nodes::Node;
use port_table::PortTable;
use read_batch::Look;
use router::{RouterPort, Routing};
use slots::{Slot, Slots};
use standings::Standings;
use timers::Timers;

/// Bounds of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerLimits {
    /// Frame buffers, grown on demand and shared by all ports.
    pub pool: PoolLimits,
    /// Worker events waiting for [`Worker::poll_event`]; when they are full, refusals and what engines,
    /// router and gateways tell is dropped; ports that open or close and ready descriptors are not.
    pub events: usize,
}

impl Default for WorkerLimits {
    fn default() -> Self {
        // 32 MiB of ordinary frames and 32 MiB of large ones, if traffic ever needs them.
        WorkerLimits {
            pool: PoolLimits { small: 16_384, large: 512, headers: 16_384 },
            events: 1024,
        }
    }
}

/// A network of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkId(Slot);

/// A node of this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Slot);

/// A descriptor registered by the worker's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

/// What the worker has to tell its owner.
#[derive(Debug)]
pub enum WorkerEvent {
    /// A registered descriptor is ready. Level-triggered: reported each turn until it is served.
    Ready { token: Token, readable: bool, writable: bool, hangup: bool },
    /// A client opened a port through a node. (Not for [`Worker::open_link`]: its caller knows.)
    PortOpened { net: NetworkId, port: PortId },
    /// A port is gone, for whatever reason; its identifier means nothing any more.
    PortClosed { net: NetworkId, port: PortId, about: PortAbout, why: CloseReason },
    /// A client of a node was turned away; `why` is a sentence.
    Refused { net: NetworkId, node: String, peer: Option<sys::Cred>, why: String },
    /// What a network's engine reports.
    Engine { net: NetworkId, event: engine::Event },
    /// What the router reports.
    Router { event: RouterEvent },
    /// What a network's gateway reports, beside leases, which the worker binds itself.
    Gateway { net: NetworkId, event: GatewayEvent },
}

/// Why a link could not be opened. The descriptors are closed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the network does not exist any more")]
    NoNetwork,
    #[error("the name \"{0}\" is taken by another port of this network; choose another")]
    NameTaken(String),
    #[error("the port is not valid: {0}")]
    Plan(#[from] PlanError),
    #[error("the network accepts no more ports like this: {0}")]
    Port(#[from] PortError),
    #[error("the link's descriptor cannot be used: {0}")]
    Descriptor(#[from] io::Error),
}

/// A port: its link, and how it came.
struct Port {
    about: PortAbout,
    link: Box<dyn Link>,
    sources: [Option<Slot>; 2],
    through: Option<Through>,
    blocked: bool,
    /// What its last visits found.
    look: Look,
    /// EPOLLOUT is asked for.
    watching_write: bool,
    /// [`timers::Timer::Look`] is set: one at a time, however often its guest takes the device up and down.
    look_set: bool,
}

/// How a client came to its port.
#[derive(Clone, Copy, Debug)]
struct Through {
    node: NodeId,
    /// Of the port's name; see `numbers`.
    number: usize,
    /// The user in whose account it is; nobody for a declared port.
    user: Option<u32>,
}

struct Network {
    engine: Engine,
    plan: NetworkPlan,
    ports: PortTable<Port>,
    /// The ports by name.
    names: HashMap<String, PortId>,
    users: Users,
    /// Frames that entered the engine since the last flush.
    unflushed: usize,
    /// Where the router stands in the network.
    router: Option<RouterPort>,
    gateway: Option<GatewayPlace>,
    /// What stands against clients whose ports are gone.
    standings: Standings,
    /// Events of the engine that were lost, when that was last looked at.
    events_lost: u64,
}

/// What a token of the poller stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Port(NetworkId, PortId),
    PortControl(NetworkId, PortId),
    Node(NodeId),
    Handshake,
    Owner,
}

/// See the module documentation.
pub struct Worker {
    poller: Poller,
    polled: Events,
    pool: Pool,
    /// The memory of the pool's large buffers, for the helpers of network devices to read.
    memory: Option<OwnedFd>,
    /// What links have lent that are gone, and when nobody reads it any more.
    retired: VecDeque<(Instant, Vec<Frame>)>,
    limits: WorkerLimits,
    /// For the engines' tables, whose keys guests choose.
    hash_key: [u8; 16],
    networks: Slots<Network>,
    nodes: Slots<Node>,
    routing: Routing,
    /// A gateway has more for its guests than the last turn had time for.
    refilling: bool,
    /// The router has put frames into engines since they were flushed.
    unsettled: bool,
    sources: Slots<Source>,
    handshakes: HashMap<Slot, handshakes::Handshake>,
    /// The timer of handshakes is set.
    handshakes_timed: bool,
    timers: Timers,
    spin: Spin,
    scratch: Scratch,
    rx: RxBatch,
    tx: TxBatch,
    outbox: VecDeque<WorkerEvent>,
    /// The last turn moved frames.
    traffic: bool,
    /// Frames that ports handed in during this turn, and the last port that did.
    turn_frames: usize,
    speaker: Option<Speaker>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("networks", &self.networks.len())
            .field("nodes", &self.nodes.len())
            .field("handshakes", &self.handshakes.len())
            .field("pool", &self.pool.usage())
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// # Errors
    /// When the kernel gives no epoll descriptor or no randomness.
    pub fn new(limits: WorkerLimits) -> io::Result<Worker> {
        let hash_key = sys::random::key()?;
        // A kernel that cannot do it has large frames copied for their helper.
        let large = limits.pool.large.min(LENT_MAX / Pool::memory_for(1));
        let (pool, memory) = match sys::shared::lend(Pool::memory_for(large)) {
            Ok((memory, fd)) => (Pool::with_memory(limits.pool, memory), Some(fd)),
            Err(_) => (Pool::new(limits.pool), None),
        };
        Ok(Worker {
            poller: Poller::new()?,
            polled: Events::with_capacity(256),
            pool,
            memory,
            retired: VecDeque::new(),
            limits,
            hash_key,
            networks: Slots::new(),
            nodes: Slots::new(),
            routing: Routing::new(Router::new(RouterLimits::default(), hash_key)),
            refilling: false,
            unsettled: false,
            sources: Slots::new(),
            handshakes: HashMap::new(),
            handshakes_timed: false,
            timers: Timers::default(),
            spin: Spin::default(),
            scratch: Scratch::new(),
            rx: RxBatch::default(),
            tx: TxBatch::new(),
            outbox: VecDeque::new(),
            traffic: false,
            turn_frames: 0,
            speaker: None,
        })
    }

    /// The worker's clock, which engines and events use (CLOCK_MONOTONIC).
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(sys::clock::monotonic_nanos())
    }

    /// Adds an empty network.
    pub fn add_network(&mut self, plan: NetworkPlan) -> NetworkId {
        let engine = Engine::new(plan.clone(), self.hash_key);
        NetworkId(self.networks.insert(Network {
            engine,
            plan,
            ports: PortTable::new(),
            names: HashMap::new(),
            users: Users::default(),
            unflushed: 0,
            router: None,
            gateway: None,
            standings: Standings::default(),
            events_lost: 0,
        }))
    }

    /// Applies a changed plan to a live network.
    pub fn apply(&mut self, net: NetworkId, plan: NetworkPlan) {
        if let Some(network) = self.networks.get_mut(net.0) {
            network.plan = plan.clone();
            network.engine.apply(plan);
        }
    }

    /// Closes a network's nodes and ports and forgets it. Closings are reported as events.
    pub fn remove_network(&mut self, net: NetworkId) {
        let nodes: Vec<NodeId> =
            self.nodes.iter().filter(|(_, n)| n.net == net).map(|(s, _)| NodeId(s)).collect();
        for node in nodes {
            self.close_node(node);
        }
        for port in self.ports(net).collect::<Vec<_>>() {
            self.close_port(net, port, CloseReason::NetworkRemoved);
        }
        self.close_gateway(net);
        self.close_router(net);
        self.networks.remove(net.0);
    }

    /// # Panics
    /// When `net` was removed: the owner removed it.
    #[must_use]
    pub fn engine(&self, net: NetworkId) -> &Engine {
        &self.networks.get(net.0).expect("the owner of a worker knows its networks").engine
    }

    /// # Panics
    /// As [`Worker::engine`].
    pub fn engine_mut(&mut self, net: NetworkId) -> &mut Engine {
        &mut self.networks.get_mut(net.0).expect("the owner of a worker knows its networks").engine
    }

    /// How full the frame buffers are.
    #[must_use]
    pub fn pool_usage(&self) -> PoolUsage {
        self.pool.usage()
    }

    /// Opens a port on a link that the caller made. The spec's offloads are replaced by what the
    /// link carries.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is changed and the link's descriptors are closed.
    pub fn open_link(
        &mut self,
        net: NetworkId,
        mut spec: PortSpec,
        link: LinkSetup,
        about: PortAbout,
    ) -> Result<PortId, OpenError> {
        spec.offloads_from_guest = link.offloads();
        spec.offloads_to_guest = link.offloads();
        let link: Box<dyn Link> = match link {
            LinkSetup::Tap { fd, vnet_hdr_len, .. } => Box::new(TapLink::new(fd, vnet_hdr_len)?),
            LinkSetup::Macvtap { fd, vnet_hdr_len, .. } => {
                Box::new(TapLink::of_our_own(fd, vnet_hdr_len)?)
            }
            LinkSetup::Packet { fd, .. } => Box::new(PacketLink::new(fd)?),
            LinkSetup::Stream { fd } => Box::new(StreamLink::new(fd, false)?),
            LinkSetup::Vde { control, data } => {
                Box::new(DatagramLink::vde(control, data, None, false)?)
            }
            LinkSetup::Seqpacket { fd } => Box::new(DatagramLink::new(fd, false)?),
            LinkSetup::Nic { fd, slots, welcome, lent } => {
                Box::new(NicLink::new(fd, slots, &welcome, lent)?)
            }
        };
        self.open_boxed(net, spec, link, about, None)
    }

    /// The descriptor by which a helper of network devices reads what frames it is told of, without a copy for it.
    #[must_use]
    pub fn memory(&self) -> Option<BorrowedFd<'_>> {
        self.memory.as_ref().map(AsFd::as_fd)
    }

    /// Changes a live port. Its offloads stay what its link fixed when it opened.
    ///
    /// # Errors
    /// When the port is gone or the changed spec makes no sense.
    pub fn change_port(
        &mut self,
        net: NetworkId,
        port: PortId,
        mut spec: PortSpec,
    ) -> Result<(), OpenError> {
        let network = self.networks.get_mut(net.0).ok_or(OpenError::NoNetwork)?;
        if let Some(live) = network.engine.port(port) {
            spec.offloads_from_guest = live.offloads_from_guest;
            spec.offloads_to_guest = live.offloads_to_guest;
        }
        let plan = PortPlan::validate(spec, &network.plan)?;
        network.engine.change_port(port, plan)?;
        Ok(())
    }

    /// Changes the guard of a live port, and nothing else.
    ///
    /// # Errors
    /// When the port is gone, or the guard names an address that belongs to another.
    pub fn set_guard(
        &mut self,
        net: NetworkId,
        port: PortId,
        guard: GuardSpec,
    ) -> Result<(), OpenError> {
        let now = self.now();
        let network = self.networks.get_mut(net.0).ok_or(OpenError::NoNetwork)?;
        network.engine.set_guard(port, guard)?;
        self.collect_engine_events(now, net);
        Ok(())
    }

    #[must_use]
    pub fn port_about(&self, net: NetworkId, port: PortId) -> Option<&PortAbout> {
        let network = self.networks.get(net.0)?;
        match &network.router {
            Some(router) if router.port == port => Some(&router.about),
            _ => Some(&network.ports.get(port)?.about),
        }
    }

    /// The live ports of a network, in no particular order.
    pub fn ports(&self, net: NetworkId) -> impl Iterator<Item = PortId> + '_ {
        self.networks.get(net.0).into_iter().flat_map(|n| n.ports.ports())
    }

    /// The port with this name.
    #[must_use]
    pub fn port_named(&self, net: NetworkId, name: &str) -> Option<PortId> {
        self.networks.get(net.0)?.names.get(name).copied()
    }

    /// Frames the kernel dropped before the link could read them, where it tells.
    pub fn link_drops(&mut self, net: NetworkId, port: PortId) -> Option<u64> {
        self.networks.get_mut(net.0)?.ports.get_mut(port)?.link.kernel_drops()
    }

    /// Tells the uplinks of a network that a guest's address is, or is no longer, behind it. Guests
    /// that send need not be told of; this is for those that only listen.
    pub fn uplink_address(&mut self, net: NetworkId, mac: wire::MacAddr, present: bool) {
        let Some(network) = self.networks.get_mut(net.0) else { return };
        for port in network.ports.iter_mut() {
            port.link.address(mac, present);
        }
    }

    /// Addresses of guests of a network that its uplink does not take, each with what follows "it ...".
    #[must_use]
    pub fn uplink_refusals(&self, net: NetworkId) -> Vec<(wire::MacAddr, &'static str)> {
        let ports = self.networks.get(net.0).into_iter().flat_map(|network| network.ports.iter());
        ports.flat_map(|port| port.link.refusals()).collect()
    }

    /// Watches a descriptor for the owner, who is told by [`WorkerEvent::Ready`]. The owner keeps
    /// the descriptor and deregisters it before closing it.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn register(&mut self, fd: BorrowedFd<'_>, interest: Interest) -> io::Result<Token> {
        let slot = self.sources.insert(Source::Owner);
        match self.poller.add(fd, slot.to_bits(), interest) {
            Ok(()) => Ok(Token(slot.to_bits())),
            Err(e) => {
                self.sources.remove(slot);
                Err(e)
            }
        }
    }

    /// Changes what a registered descriptor is watched for.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn reregister(
        &mut self,
        token: Token,
        fd: BorrowedFd<'_>,
        interest: Interest,
    ) -> io::Result<()> {
        self.poller.modify(fd, token.0, interest)
    }

    /// Stops watching. Reports of it that wait in the queue of events are withdrawn.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    pub fn deregister(&mut self, token: Token, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.sources.remove(Slot::from_bits(token.0));
        self.outbox.retain(
            |e| !matches!(e, WorkerEvent::Ready { token: waiting, .. } if *waiting == token),
        );
        self.poller.remove(fd)
    }

    /// What happened, oldest first.
    pub fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.outbox.pop_front()
    }

    /// Keeps an event for the owner, unless as many wait as may.
    fn tell(&mut self, event: WorkerEvent) {
        if self.outbox.len() < self.limits.events {
            self.outbox.push_back(event);
        }
    }

    /// The poller's own descriptor, for an owner that sleeps elsewhere.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}
