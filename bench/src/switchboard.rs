//! The engine under load: many ports, many addresses, frames of 64 bytes.
//!
//! One round is what a busy worker does between two polls of the kernel: every port hands in a
//! batch, and after each of them the ports that have frames then are drained, as the worker does
//! when it has heard a batch (`heard` in `host/src/worker/turn.rs`). The frames are copied into the
//! pool and released after, as a link's read and write would, but no system call is made. Sources
//! are uniform over the port's own addresses and destinations over all addresses of the network,
//! which is the worst case for every cache: no frame resembles the last one, and a port has a frame
//! or two when it is drained.

use std::sync::Arc;
use std::time::Duration;

use bpf::expression::{Options, compile};
use engine::{
    BATCH, Budget, Engine, GuardSpec, Instant, NetworkPlan, NetworkSpec, Pool, PoolLimits,
    PortFilter, PortId, PortPlan, PortSpec, RxBatch, SourceMode, TxBatch,
};
use wire::{MacAddr, Offload};

use crate::mix::{self, Mix};

/// Bytes of a frame of 64 bytes without its checksum.
const FRAME: usize = 60;

/// Frames of one round per port.
pub const FRAMES_PER_PORT: usize = BATCH;

/// How the ports of a network under load come by their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// So many, dealt out among the ports, each learned from a frame.
    Learned(u32),
    /// One for each port, bound to it, as the guests of `netherd run` have it.
    Static,
    /// The same, under the frames of [`crate::mix`].
    Mixed {
        /// With every check of the guard.
        guarded: bool,
        /// With ARP, neighbour discovery and DHCP among them.
        control: bool,
    },
    /// The same without guard and control, and with [`FILTER`] on what every port sends.
    Filtered,
}

/// A filter of 24 instructions that lets all of the mix pass, and looks at its ports.
pub const FILTER: &str = "not port 25 and not udp port 69";

/// A network under load.
#[derive(Debug)]
pub struct Switchboard {
    engine: Engine,
    pool: Pool,
    ports: Vec<PortId>,
    addresses: u32,
    random: u64,
    now: Instant,
    rx: RxBatch,
    tx: TxBatch,
    /// Frames of many kinds instead of one.
    mix: Option<Mix>,
}

impl Switchboard {
    /// A network of `ports` ports. Every address is known to the engine when this returns.
    ///
    /// # Panics
    ///
    /// If the numbers make no network.
    #[must_use]
    pub fn new(ports: u32, how: Addresses) -> Self {
        let (addresses, source) = match how {
            Addresses::Static | Addresses::Mixed { .. } | Addresses::Filtered => {
                (ports, SourceMode::Static)
            }
            Addresses::Learned(count) => {
                let max_macs = u16::try_from(count.div_ceil(ports)).expect("addresses per port");
                (count, SourceMode::Learn { max_macs })
            }
        };
        let mut spec = NetworkSpec { mac_total: 2 * addresses as usize, ..NetworkSpec::default() };
        let guarded = matches!(how, Addresses::Mixed { guarded: true, .. });
        if guarded {
            spec.guard = mix::network_guard();
        }
        let network = NetworkPlan::validate(spec).expect("a network");
        let mut engine = Engine::new(network.clone(), *b"sixteen byte key");
        let program = (how == Addresses::Filtered).then(|| {
            Arc::new(compile(FILTER, &Options::default()).expect("a filter that makes sense"))
        });
        let filter = PortFilter { from_guest: program, to_guest: None };
        let ports = (0..ports)
            .map(|port| {
                let own = (source == SourceMode::Static).then(|| address(port));
                let guard = if guarded { mix::guard(port) } else { GuardSpec::default() };
                let spec = PortSpec {
                    source,
                    macs: own.into_iter().collect(),
                    guard,
                    filter: filter.clone(),
                    ..PortSpec::default()
                };
                let plan = PortPlan::validate(spec, &network).expect("a port");
                engine.add_port(plan).expect("room for a port")
            })
            .collect();
        let pool = Pool::new(PoolLimits { small: 16384, large: 64, headers: 1024 });
        let mut board = Self {
            engine,
            pool,
            ports,
            addresses,
            random: 0x9e37_79b9_7f4a_7c15,
            now: Instant::EPOCH,
            rx: RxBatch::new(),
            tx: TxBatch::new(),
            mix: match how {
                Addresses::Mixed { control, .. } => Some(Mix::new(addresses, control)),
                Addresses::Filtered => Some(Mix::new(addresses, false)),
                Addresses::Static | Addresses::Learned(_) => None,
            },
        };
        board.introduce();
        board
    }

    /// Frames of one round.
    #[must_use]
    pub fn frames_per_round(&self) -> usize {
        self.ports.len() * FRAMES_PER_PORT
    }

    /// Every address sends one frame to itself, which the engine drops as soon as it knows the
    /// address.
    fn introduce(&mut self) {
        for address in 0..self.addresses {
            let port = self.port_of(address);
            self.push(address, address);
            self.engine.ingress(self.now, &mut self.pool, port, &mut self.rx);
        }
        while self.engine.poll_event().is_some() {}
        self.drain();
        assert_eq!(self.engine.mac_table().count(), self.addresses as usize, "all are known");
    }

    fn port_of(&self, address: u32) -> PortId {
        self.ports[address as usize % self.ports.len()]
    }

    fn push_mixed(&mut self, from: u32, to: u32) -> bool {
        let Some(mix) = &mut self.mix else { return false };
        let bytes = mix.frame(from, to);
        let frame = self.pool.copy_in(bytes, Offload::default()).expect("a free buffer");
        self.rx.push(frame).expect("room in the batch");
        true
    }

    fn push(&mut self, from: u32, to: u32) {
        let mut bytes = [0; FRAME];
        bytes[..6].copy_from_slice(&address(to).0);
        bytes[6..12].copy_from_slice(&address(from).0);
        bytes[12..14].copy_from_slice(&[0x08, 0x00]);
        let frame = self.pool.copy_in(&bytes, Offload::default()).expect("a free buffer");
        self.rx.push(frame).expect("room in the batch");
    }

    /// One round; the frames that left.
    pub fn round(&mut self) -> usize {
        self.now = self.now + Duration::from_millis(1);
        let count = u32::try_from(self.ports.len()).unwrap_or(u32::MAX);
        let mut sent = 0;
        for port in 0..count {
            // The addresses of a port are those that leave its number as the remainder.
            let own = (self.addresses - port).div_ceil(count);
            for _ in 0..FRAMES_PER_PORT {
                let dice = self.dice();
                let from = scale(dice as u32, own) * count + port;
                let to = scale((dice >> 32) as u32, self.addresses);
                if !self.push_mixed(from, to) {
                    self.push(from, to);
                }
            }
            let id = self.ports[port as usize];
            self.engine.ingress(self.now, &mut self.pool, id, &mut self.rx);
            sent += self.drain();
        }
        sent
    }

    /// Writes what there is to write; how many frames that were.
    fn drain(&mut self) -> usize {
        let mut sent = 0;
        while let Some(port) = self.engine.poll_ready() {
            sent += self.engine.poll_transmit(&mut self.pool, port, Budget::FULL, &mut self.tx);
            self.pool.release_front(&mut self.tx, BATCH);
        }
        sent
    }

    /// The next of a sequence that looks random (xorshift64*, Vigna 2016).
    fn dice(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// A locally administered address that holds its number.
pub(crate) fn address(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([0x02, 0x00, a, b, c, d])
}

/// A number below `limit`, by multiplication instead of division.
fn scale(dice: u32, limit: u32) -> u32 {
    ((u64::from(dice) * u64::from(limit)) >> 32) as u32
}
