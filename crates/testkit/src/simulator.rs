//! A network of whole stacks, in simulated time.
//!
//! The simulator does what a host does: it reads what the guests send, hands it to the engine in
//! batches, and writes what the engine has for them. When nobody has anything to do, the clock
//! jumps to the next moment at which somebody will. Order, stalls and losses are chosen by a seed,
//! so a run that fails can be run again.

use std::net::IpAddr;
use std::time::Duration;

use engine::{
    BATCH, Budget, Engine, Instant, NetworkPlan, NetworkSpec, Pool, PoolLimits, PortId, PortPlan,
    PortSpec, RxBatch, TxBatch,
};
use wire::{MacAddr, Offload};

use crate::guest::Guest;
use crate::ledger::conservation;
use crate::random::Random;

/// Turns after which a run that does not come to rest is called a livelock.
const TURNS_MAX: usize = 200_000;

/// Guests on one network.
#[derive(Debug)]
pub struct Simulator {
    /// The engine.
    pub engine: Engine,
    /// Its buffers.
    pub pool: Pool,
    /// The time.
    pub now: Instant,
    network: NetworkPlan,
    attachments: Vec<Attachment>,
    random: Random,
    /// One frame in this many is lost on its way from a guest; zero for none.
    loss: usize,
    rx: RxBatch,
    tx: TxBatch,
}

#[derive(Debug)]
struct Attachment {
    port: PortId,
    guest: Guest,
    /// The link cannot write before this time.
    stalled: Option<Instant>,
}

/// Names a guest of a simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(usize);

impl Simulator {
    /// A network without guests.
    ///
    /// # Panics
    ///
    /// If the spec makes no sense.
    #[must_use]
    pub fn new(spec: NetworkSpec, seed: u64) -> Self {
        let network = NetworkPlan::validate(spec).expect("a network that makes sense");
        let mut random = Random::new(seed);
        let mut key = [0; 16];
        random.fill(&mut key);
        Self {
            engine: Engine::new(network.clone(), key),
            pool: Pool::new(PoolLimits { small: 8192, large: 128, headers: 1024 }),
            now: Instant::EPOCH,
            network,
            attachments: Vec::new(),
            random,
            loss: 0,
            rx: RxBatch::new(),
            tx: TxBatch::new(),
        }
    }

    /// Loses one frame in `one_in`; zero for none.
    pub fn lose(&mut self, one_in: usize) {
        self.loss = one_in;
    }

    /// Adds a guest behind a new port.
    ///
    /// # Panics
    ///
    /// If the port makes no sense.
    pub fn add(&mut self, mac: MacAddr, addresses: &[IpAddr], spec: PortSpec) -> GuestId {
        let plan = PortPlan::validate(spec, &self.network).expect("a port that makes sense");
        let port = self.engine.add_port(plan).expect("a port");
        let mtu = usize::from(self.network.spec().mtu);
        let guest = Guest::new(mac, addresses, mtu, self.random.next_u64());
        self.attachments.push(Attachment { port, guest, stalled: None });
        GuestId(self.attachments.len() - 1)
    }

    /// The stack of a guest.
    pub fn guest(&mut self, id: GuestId) -> &mut Guest {
        &mut self.attachments[id.0].guest
    }

    /// The port of a guest.
    #[must_use]
    pub fn port(&self, id: GuestId) -> PortId {
        self.attachments[id.0].port
    }

    /// The guest reads nothing for this long.
    pub fn stall(&mut self, id: GuestId, time: Duration) {
        self.attachments[id.0].stalled = Some(self.now + time);
    }

    /// Runs until `done` says so. False if simulated time `limit` passed first, or nobody has
    /// anything left to do.
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
            match self.next_wake_up() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return false,
            }
        }
        panic!("the network does not come to rest at {:?}", self.now);
    }

    /// One turn of everybody. True if a frame moved or a socket changed.
    fn turn(&mut self) -> bool {
        self.engine.handle_timeout(self.now, &mut self.pool);
        let count = self.attachments.len();
        let first = self.random.below(count);
        let mut moved = false;
        for nth in 0..count {
            moved |= self.read((first + nth) % count);
        }
        while self.engine.poll_ready().is_some() {}
        for nth in 0..count {
            moved |= self.write((first + nth) % count);
        }
        conservation(&self.engine);
        moved
    }

    /// A guest's link reads what the guest says.
    fn read(&mut self, index: usize) -> bool {
        let Self { attachments, engine, pool, now, rx, random, loss, .. } = self;
        let attachment = &mut attachments[index];
        let mut moved = attachment.guest.poll(*now);
        for _ in 0..BATCH {
            let Some(bytes) = attachment.guest.take() else { break };
            moved = true;
            if *loss > 0 && random.one_in(*loss) {
                continue;
            }
            let frame = pool.copy_in(&bytes, Offload::default()).expect("a free buffer");
            rx.push(frame).expect("room in the batch");
        }
        if !rx.is_empty() {
            engine.ingress(*now, pool, attachment.port, rx);
        }
        moved
    }

    /// A guest's link writes what the engine has for it, a random part of a batch.
    fn write(&mut self, index: usize) -> bool {
        let Self { attachments, engine, pool, now, tx, random, .. } = self;
        let attachment = &mut attachments[index];
        if attachment.stalled.is_some_and(|until| until > *now) {
            return false;
        }
        attachment.stalled = None;
        let budget = Budget { frames: 1 + random.below(BATCH), bytes: usize::MAX };
        engine.poll_transmit(pool, attachment.port, budget, tx);
        let moved = !tx.is_empty();
        for frame in tx.drain(..) {
            assert!(frame.offload().is_none(), "the stacks take plain frames only");
            attachment.guest.give(pool.pieces(&frame).concat());
            pool.release(frame);
        }
        moved
    }

    fn next_wake_up(&mut self) -> Option<Instant> {
        let now = self.now;
        let engine = self.engine.next_deadline();
        let guests = self.attachments.iter_mut().flat_map(|attachment| {
            let stalled = attachment.stalled.filter(|&until| until > now);
            [attachment.guest.poll_at(now), stalled]
        });
        // A stack that wants to be polled in the past has just been polled and will be at the next
        // microsecond.
        let at = guests.chain([engine]).flatten().min()?;
        Some(at.max(now + Duration::from_micros(1)))
    }
}
