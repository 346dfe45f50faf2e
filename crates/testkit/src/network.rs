//! One network as a test sees it: ports with names, frames in and out, a clock that the test turns.

use std::time::Duration;

use engine::{
    Budget, Engine, Instant, NetworkPlan, NetworkSpec, Pool, PoolLimits, PortCounters, PortId,
    PortPlan, PortSpec, RxBatch, TxBatch, Verdict,
};
use wire::Offload;

use crate::frames::Rich;
use crate::ledger::{Ledger, conservation};

/// An engine, a pool, and names for the ports.
#[derive(Debug)]
pub struct TestNetwork {
    /// The engine under test.
    pub engine: Engine,
    /// Its buffers.
    pub pool: Pool,
    /// The time that the next call gets.
    pub now: Instant,
    network: NetworkPlan,
    names: Vec<(String, PortId)>,
    ledger: Ledger,
}

impl TestNetwork {
    /// A network, with a pool that no ordinary test exhausts.
    ///
    /// # Panics
    ///
    /// If the spec makes no sense.
    #[must_use]
    pub fn new(spec: NetworkSpec) -> Self {
        Self::with_pool(spec, PoolLimits { small: 4096, large: 256, headers: 1024 })
    }

    /// A network with a pool of that size.
    ///
    /// # Panics
    ///
    /// If the spec makes no sense.
    #[must_use]
    pub fn with_pool(spec: NetworkSpec, limits: PoolLimits) -> Self {
        let network = NetworkPlan::validate(spec).expect("a network that makes sense");
        Self {
            engine: Engine::new(network.clone(), *b"a key for tests!"),
            pool: Pool::new(limits),
            now: Instant::from_nanos(1_000_000_000),
            network,
            names: Vec::new(),
            ledger: Ledger::default(),
        }
    }

    /// Adds a port.
    ///
    /// # Panics
    ///
    /// If the spec makes no sense or the engine refuses it.
    #[track_caller]
    pub fn plug(&mut self, name: &str, spec: PortSpec) -> PortId {
        let plan = PortPlan::validate(spec, &self.network).expect("a port that makes sense");
        let id = self.engine.add_port(plan).expect("a port");
        self.names.push((name.to_owned(), id));
        id
    }

    /// Removes a port.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    #[track_caller]
    pub fn unplug(&mut self, name: &str) -> PortCounters {
        let id = self.id(name);
        self.names.retain(|(other, _)| other != name);
        let counters = self.engine.remove_port(&mut self.pool, id).expect("a live port");
        conservation(&self.engine);
        counters
    }

    /// Changes a port.
    ///
    /// # Panics
    ///
    /// If the spec makes no sense or the engine refuses it.
    #[track_caller]
    pub fn change(&mut self, name: &str, spec: PortSpec) {
        let plan = PortPlan::validate(spec, &self.network).expect("a port that makes sense");
        self.engine.change_port(self.id(name), plan).expect("a changed port");
    }

    /// Changes the network.
    ///
    /// # Panics
    ///
    /// If the spec makes no sense.
    pub fn apply(&mut self, spec: NetworkSpec) {
        self.network = NetworkPlan::validate(spec).expect("a network that makes sense");
        self.engine.apply(self.network.clone());
    }

    /// The handle of a port.
    ///
    /// # Panics
    ///
    /// If there is none of that name.
    #[track_caller]
    #[must_use]
    pub fn id(&self, name: &str) -> PortId {
        self.names.iter().find(|(other, _)| other == name).expect("a port of that name").1
    }

    /// A plain frame from a port's guest.
    #[track_caller]
    pub fn send(&mut self, name: &str, bytes: &[u8]) -> Verdict {
        self.send_with(name, bytes, Offload::default())
    }

    /// A frame with metadata from a port's guest.
    #[track_caller]
    pub fn send_rich(&mut self, name: &str, frame: &Rich) -> Verdict {
        self.send_with(name, &frame.bytes, frame.offload)
    }

    /// Plain frames from a port's guest, in one batch of at most [`engine::BATCH`].
    #[track_caller]
    pub fn send_batch(&mut self, name: &str, frames: &[Vec<u8>]) -> Vec<Verdict> {
        let id = self.id(name);
        let mut batch = RxBatch::new();
        for bytes in frames {
            let frame = self.pool.copy_in(bytes, Offload::default()).expect("a free buffer");
            batch.push(frame).expect("room in the batch");
        }
        self.engine.ingress(self.now, &mut self.pool, id, &mut batch);
        batch.verdicts().to_vec()
    }

    #[track_caller]
    fn send_with(&mut self, name: &str, bytes: &[u8], offload: Offload) -> Verdict {
        let id = self.id(name);
        let mut batch = RxBatch::new();
        let frame = self.pool.copy_in(bytes, offload).expect("a free buffer");
        batch.push(frame).expect("room in the batch");
        self.engine.ingress(self.now, &mut self.pool, id, &mut batch);
        batch.verdicts()[0]
    }

    /// Everything that waits for a port's link, as the link would write it.
    #[track_caller]
    pub fn receive(&mut self, name: &str) -> Vec<Rich> {
        self.receive_some(name, usize::MAX)
    }

    /// At most `count` of the frames that wait.
    #[track_caller]
    pub fn receive_some(&mut self, name: &str, count: usize) -> Vec<Rich> {
        let id = self.id(name);
        let mut frames = Vec::new();
        let mut out = TxBatch::new();
        loop {
            let budget = Budget { frames: count - frames.len(), bytes: usize::MAX };
            if self.engine.poll_transmit(&mut self.pool, id, budget, &mut out) == 0 {
                break;
            }
            for frame in out.drain(..) {
                let bytes = self.pool.pieces(&frame).concat();
                assert_eq!(bytes.len(), frame.len(), "a frame is as long as its pieces");
                frames.push(Rich { bytes, offload: frame.offload() });
                self.pool.release(frame);
            }
        }
        frames
    }

    /// What a link does whose descriptor takes only `written` frames now: it takes a batch and gives
    /// the rest back.
    #[track_caller]
    pub fn stall(&mut self, name: &str, written: usize) {
        let id = self.id(name);
        let mut out = TxBatch::new();
        self.engine.poll_transmit(&mut self.pool, id, Budget::FULL, &mut out);
        let written = written.min(out.len());
        for frame in out.drain(..written) {
            self.pool.release(frame);
        }
        self.engine.keep(&mut self.pool, id, &mut out);
        assert!(out.is_empty(), "the engine takes back what it gave");
    }

    /// The bytes of everything that waits; none of it may have metadata.
    #[track_caller]
    pub fn receive_plain(&mut self, name: &str) -> Vec<Vec<u8>> {
        let frames = self.receive(name);
        assert!(frames.iter().all(|f| f.offload.is_none()), "{name} cannot take metadata");
        frames.into_iter().map(|f| f.bytes).collect()
    }

    /// Names every counter that moved since the last call; see [`Ledger::moved`].
    #[track_caller]
    pub fn moved(&mut self, expected: &[&str]) {
        self.ledger.moved(&self.engine, &self.names, expected);
    }

    /// Takes what moved until now as known; see [`Self::moved`].
    pub fn forget_moved(&mut self) {
        self.ledger.forget(&self.engine, &self.names);
    }

    /// Lets time pass, with every timeout handled on the way and at the end.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.engine.next_deadline().filter(|&at| at <= end) {
            self.now = self.now.max(deadline);
            self.engine.handle_timeout(self.now, &mut self.pool);
        }
        self.now = end;
    }

    /// The ports that the engine says have frames.
    pub fn ready(&mut self) -> Vec<String> {
        let mut ready = Vec::new();
        while let Some(id) = self.engine.poll_ready() {
            let (name, _) = self.names.iter().find(|(_, other)| *other == id).expect("live ports");
            ready.push(name.clone());
        }
        ready
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
