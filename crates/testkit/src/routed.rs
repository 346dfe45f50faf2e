//! Networks that a router joins: an engine each, one pool, one clock.
//!
//! A port is driven frame by frame ([`Routed::send`], [`Routed::receive`]) or has a whole stack
//! behind it ([`Routed::attach`]). What the router has for a gateway lies in a box
//! ([`Routed::for_gateway`]), and tests speak for the gateway by [`Routed::from_gateway`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use engine::router::{
    InterfaceId, InterfaceSpec, Output, Router, RouterCounters, RouterLimits, RouterReason,
};
use engine::{
    BATCH, Budget, Engine, Instant, NetworkPlan, NetworkSpec, Pool, PoolLimits, PortId, PortPlan,
    PortSpec, Role, RxBatch, SourceMode, TxBatch,
};
use wire::{MacAddr, Offload, OffloadSet};

use crate::frames::Rich;
use crate::guest::Guest;
use crate::ledger::conservation;

/// Turns after which a run that does not come to rest is called a livelock.
const TURNS_MAX: usize = 100_000;

/// Several networks and the router between them.
#[derive(Debug)]
pub struct Routed {
    /// The router under test.
    pub router: Router,
    /// The buffers of all.
    pub pool: Pool,
    /// The time that the next call gets.
    pub now: Instant,
    networks: Vec<Network>,
    seen: BTreeMap<InterfaceId, RouterCounters>,
}

/// One of the networks.
#[derive(Debug)]
pub struct Network {
    /// Its engine.
    pub engine: Engine,
    /// The router's interface in it.
    pub iface: InterfaceId,
    /// The router's port in it.
    pub router_port: PortId,
    plan: NetworkPlan,
    ports: Vec<(String, PortId)>,
    guests: Vec<(PortId, Guest)>,
    gateway: VecDeque<Rich>,
}

/// What a link may carry that the router stands behind.
fn everything() -> OffloadSet {
    OffloadSet::all()
}

impl Default for Routed {
    fn default() -> Self {
        Self::new(RouterLimits::default())
    }
}

impl Routed {
    /// A router without networks.
    #[must_use]
    pub fn new(limits: RouterLimits) -> Self {
        Self {
            router: Router::new(limits, *b"a key for routes"),
            pool: Pool::new(PoolLimits { small: 8192, large: 128, headers: 2048 }),
            now: Instant::from_nanos(1_000_000_000),
            networks: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Adds a network in which the router has that interface; its place among the networks.
    ///
    /// # Panics
    ///
    /// If something makes no sense.
    pub fn network(&mut self, spec: InterfaceSpec) -> usize {
        let plan = NetworkSpec { mtu: spec.mtu, ..NetworkSpec::default() };
        let plan = NetworkPlan::validate(plan).expect("a network that makes sense");
        let mut engine = Engine::new(plan.clone(), *b"a key for tests!");
        let port = PortSpec {
            macs: vec![spec.mac],
            source: SourceMode::Static,
            role: Role::Router,
            offloads_to_guest: everything(),
            offloads_from_guest: everything(),
            ..PortSpec::default()
        };
        let port = PortPlan::validate(port, &plan).expect("a port that makes sense");
        let router_port = engine.add_port(port).expect("a port");
        let iface = self.router.add_interface(spec).expect("an interface that makes sense");
        self.networks.push(Network {
            engine,
            iface,
            router_port,
            plan,
            ports: Vec::new(),
            guests: Vec::new(),
            gateway: VecDeque::new(),
        });
        self.networks.len() - 1
    }

    /// One of the networks.
    #[must_use]
    pub fn net(&mut self, net: usize) -> &mut Network {
        &mut self.networks[net]
    }

    /// Adds a port that owns an Ethernet address, behind a link that takes every offload.
    ///
    /// # Panics
    ///
    /// If the engine refuses it.
    pub fn plug(&mut self, net: usize, name: &str, mac: MacAddr) -> PortId {
        let spec = PortSpec {
            macs: vec![mac],
            offloads_to_guest: everything(),
            offloads_from_guest: everything(),
            ..PortSpec::default()
        };
        self.plug_as(net, name, spec)
    }

    /// Adds a port.
    ///
    /// # Panics
    ///
    /// If it makes no sense.
    pub fn plug_as(&mut self, net: usize, name: &str, spec: PortSpec) -> PortId {
        let network = &mut self.networks[net];
        let plan = PortPlan::validate(spec, &network.plan).expect("a port that makes sense");
        let id = network.engine.add_port(plan).expect("a port");
        network.ports.push((name.to_owned(), id));
        id
    }

    /// Adds a stack behind a port of its own. The networks' prefixes are /20 and /64, as
    /// [`Guest::new`] has them.
    pub fn attach(&mut self, net: usize, name: &str, mac: MacAddr, addresses: &[IpAddr]) {
        let port = self.plug_as(net, name, PortSpec { macs: vec![mac], ..PortSpec::default() });
        let network = &mut self.networks[net];
        let mtu = usize::from(network.plan.spec().mtu);
        let mut guest = Guest::new(mac, addresses, mtu, u64::from(mac.0[5]) + 1);
        let spec = self.router.interface(network.iface).expect("the router's interface");
        if let Some((ip, _)) = spec.v4.first() {
            guest.default_route((*ip).into());
        }
        if let Some((ip, _)) = spec.v6.first() {
            guest.default_route((*ip).into());
        }
        network.guests.push((port, guest));
    }

    /// The stack behind a port.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[track_caller]
    pub fn guest(&mut self, name: &str) -> &mut Guest {
        let (net, id) = self.find(name);
        let guests = &mut self.networks[net].guests;
        &mut guests.iter_mut().find(|(port, _)| *port == id).expect("a guest").1
    }

    #[track_caller]
    fn find(&self, name: &str) -> (usize, PortId) {
        let all = self.networks.iter().enumerate();
        let mut all = all.flat_map(|(net, it)| it.ports.iter().map(move |port| (net, port)));
        let (net, (_, id)) =
            all.find(|(_, (other, _))| other == name).expect("a port of that name");
        (net, *id)
    }

    /// The handle of a port.
    #[track_caller]
    #[must_use]
    pub fn id(&self, name: &str) -> PortId {
        self.find(name).1
    }

    /// A plain frame from a port's guest, and everything that follows from it.
    #[track_caller]
    pub fn send(&mut self, name: &str, bytes: &[u8]) {
        self.send_rich(name, &Rich { bytes: bytes.to_vec(), offload: Offload::NONE });
    }

    /// A frame with metadata from a port's guest, and everything that follows from it.
    ///
    /// # Panics
    ///
    /// If there is no buffer.
    #[track_caller]
    pub fn send_rich(&mut self, name: &str, rich: &Rich) {
        let (net, id) = self.find(name);
        let frame = self.pool.copy_in(&rich.bytes, rich.offload).expect("a free buffer");
        let mut batch = RxBatch::new();
        batch.push(frame).expect("room in the batch");
        self.networks[net].engine.ingress(self.now, &mut self.pool, id, &mut batch);
        self.settle();
    }

    /// A packet of the gateway of a network, and everything that follows from it.
    ///
    /// # Panics
    ///
    /// If there is no buffer.
    pub fn from_gateway(&mut self, net: usize, rich: &Rich) {
        let frame = self.pool.copy_in(&rich.bytes, rich.offload).expect("a free buffer");
        self.router.send(self.now, &mut self.pool, self.networks[net].iface, frame);
        self.settle();
    }

    /// What the router had for the gateway of a network.
    pub fn for_gateway(&mut self, net: usize) -> Vec<Rich> {
        self.networks[net].gateway.drain(..).collect()
    }

    /// Everything that waits for a port's link, as the link would write it.
    #[track_caller]
    pub fn receive(&mut self, name: &str) -> Vec<Rich> {
        let (net, id) = self.find(name);
        let mut frames = Vec::new();
        let mut out = TxBatch::new();
        let Self { networks, pool, .. } = self;
        while networks[net].engine.poll_transmit(pool, id, Budget::FULL, &mut out) > 0 {
            for frame in out.drain(..) {
                let bytes = pool.pieces(&frame).concat();
                frames.push(Rich { bytes, offload: frame.offload() });
                pool.release(frame);
            }
        }
        frames
    }

    /// The bytes of everything that waits; none of it may have metadata.
    #[track_caller]
    pub fn receive_plain(&mut self, name: &str) -> Vec<Vec<u8>> {
        let frames = self.receive(name);
        assert!(frames.iter().all(|f| f.offload.is_none()), "{name} gets plain frames");
        frames.into_iter().map(|f| f.bytes).collect()
    }

    /// Moves frames between the engines and the router until there are none on the way.
    ///
    /// # Panics
    ///
    /// If they do not come to rest, or a count is off.
    #[track_caller]
    pub fn settle(&mut self) {
        let mut tx = TxBatch::new();
        for _ in 0..TURNS_MAX {
            let Self { networks, router, pool, now, .. } = self;
            let mut moved = false;
            for network in networks.iter_mut() {
                let Network { engine, router_port, iface, .. } = network;
                while engine.poll_transmit(pool, *router_port, Budget::FULL, &mut tx) > 0 {
                    router.receive_batch(*now, pool, *iface, &mut tx);
                    moved = true;
                }
            }
            while let Some(output) = router.poll_output() {
                moved = true;
                match output {
                    Output::Transmit { iface, frame } => {
                        let network = networks.iter_mut().find(|it| it.iface == iface);
                        let network = network.expect("an interface that is there");
                        let mut batch = RxBatch::new();
                        batch.push(frame).expect("room in the batch");
                        network.engine.ingress(*now, pool, network.router_port, &mut batch);
                    }
                    Output::Gateway { iface, frame } => {
                        let network = networks.iter_mut().find(|it| it.iface == iface);
                        let network = network.expect("an interface that is there");
                        let bytes = pool.pieces(&frame).concat();
                        network.gateway.push_back(Rich { bytes, offload: frame.offload() });
                        pool.release(frame);
                    }
                }
            }
            if !moved {
                self.check();
                return;
            }
        }
        panic!("frames go round and round");
    }

    /// Lets time pass, with every timeout handled on the way.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let engines = self.networks.iter().filter_map(|it| it.engine.next_deadline());
            let due = engines.chain(self.router.next_deadline()).min();
            let Some(due) = due.filter(|&at| at <= end) else { break };
            self.now = self.now.max(due);
            for network in &mut self.networks {
                network.engine.handle_timeout(self.now, &mut self.pool);
            }
            self.router.handle_timeout(self.now, &mut self.pool);
            self.settle();
        }
        self.now = end;
    }

    /// Names every counter of the router that moved since the last call: one line for each interface
    /// whose counters moved, the place of its network first, and then the counters with what was
    /// added, `answered` or `forwarded+3`. Bytes need not be named.
    ///
    /// # Panics
    ///
    /// If anything moved otherwise.
    #[track_caller]
    pub fn moved(&mut self, expected: &[&str]) {
        let mut wanted: BTreeMap<(usize, &str), u64> = BTreeMap::new();
        for line in expected {
            let mut words = line.split_whitespace();
            let net = words.next().and_then(|word| word.parse().ok()).expect("a network's place");
            for word in words {
                let (counter, count) = word.split_once('+').unwrap_or((word, "1"));
                wanted.insert((net, counter), count.parse().expect("a number behind the +"));
            }
        }
        let mut complaint = String::new();
        for (net, network) in self.networks.iter().enumerate() {
            let Some(now) = self.router.counters(network.iface) else { continue };
            let before = self.seen.entry(network.iface).or_default();
            for ((counter, is), (_, was)) in now.iter().zip(before.iter()) {
                if counter.ends_with("_bytes") {
                    continue;
                }
                let (moved, want) = (is - was, wanted.remove(&(net, counter)).unwrap_or(0));
                if moved != want {
                    let _ = writeln!(complaint, "{net}: {counter} moved by {moved}, not {want}");
                }
            }
            *before = now.clone();
        }
        for (net, counter) in wanted.keys() {
            let _ = writeln!(complaint, "{net} has no counter {counter}");
        }
        assert!(complaint.is_empty(), "counters moved otherwise than announced:\n{complaint}");
    }

    /// Every frame that the router took is accounted for.
    #[track_caller]
    fn check(&self) {
        for network in &self.networks {
            conservation(&network.engine);
        }
        let counters = self.networks.iter().filter_map(|it| self.router.counters(it.iface));
        let (mut taken, mut ended) = (0, 0);
        for counters in counters {
            taken += counters.received + counters.sent_by_gateway;
            ended += counters.forwarded + counters.to_gateway + counters.answered + counters.noted;
            ended += RouterReason::ALL.into_iter().map(|r| counters.dropped(r)).sum::<u64>();
        }
        assert_eq!(taken, ended + self.router.waiting() as u64, "every frame has one end");
    }

    /// Runs the stacks until `done` says so. False if simulated time `limit` passed first, or nobody
    /// has anything left to do.
    ///
    /// # Panics
    ///
    /// If the run does not come to rest.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        for _ in 0..TURNS_MAX {
            if done(self) {
                return true;
            }
            if self.turn() {
                continue;
            }
            let now = self.now;
            let engines = self.networks.iter().filter_map(|it| it.engine.next_deadline());
            let due = engines.chain(self.router.next_deadline()).min();
            let guests = self.networks.iter_mut().flat_map(|it| it.guests.iter_mut());
            let guests = guests.filter_map(|(_, guest)| guest.poll_at(now)).min();
            match due.into_iter().chain(guests).min() {
                Some(at) if at <= end => self.now = at.max(now + Duration::from_micros(1)),
                _ => return false,
            }
        }
        panic!("the networks do not come to rest at {:?}", self.now);
    }

    fn turn(&mut self) -> bool {
        let mut moved = false;
        let mut rx = RxBatch::new();
        self.router.handle_timeout(self.now, &mut self.pool);
        let Self { networks, pool, now, .. } = self;
        for network in networks.iter_mut() {
            network.engine.handle_timeout(*now, pool);
            for (port, guest) in &mut network.guests {
                moved |= guest.poll(*now);
                for _ in 0..BATCH {
                    let Some(bytes) = guest.take() else { break };
                    moved = true;
                    let frame = pool.copy_in(&bytes, Offload::NONE).expect("a free buffer");
                    rx.push(frame).expect("room in the batch");
                }
                network.engine.ingress(*now, pool, *port, &mut rx);
            }
        }
        self.settle();
        let Self { networks, pool, .. } = self;
        let mut tx = TxBatch::new();
        for network in networks.iter_mut() {
            for (port, guest) in &mut network.guests {
                network.engine.poll_transmit(pool, *port, Budget::FULL, &mut tx);
                for frame in tx.drain(..) {
                    moved = true;
                    guest.give(pool.pieces(&frame).concat());
                    pool.release(frame);
                }
            }
        }
        moved
    }

    /// Every buffer is back in the pool.
    ///
    /// # Panics
    ///
    /// If one is not.
    #[track_caller]
    pub fn nothing_held(&self) {
        let usage = self.pool.usage();
        for class in [usage.small, usage.large, usage.headers] {
            assert_eq!(class.used, 0, "every frame was released: {usage:?}");
        }
    }
}
