//! Frames between two guests: within one network, or between two by the router.
//!
//! A round reads frames as a link would, decides about them, and gives up what the receiver's link
//! would write. Between two networks that is twice the engine and once the router.

use std::net::Ipv4Addr;

use engine::router::{InterfaceId, InterfaceSpec, Output, Route, Router, RouterLimits, Via};
use engine::{
    BATCH, Budget, Engine, Instant, NetworkPlan, NetworkSpec, Pool, PoolLimits, PortId, PortPlan,
    PortSpec, Role, RxBatch, SourceMode, TxBatch,
};
use ipnet::Ipv4Net;
use wire::build::{Builder, Ipv4, Tcp};
use wire::{MacAddr, Offload, OffloadSet};

/// Whether the receiver is on the sender's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// It is.
    Switched,
    /// It is on another one.
    Routed,
}

/// The two guests and what is between them.
#[derive(Debug)]
pub struct Crossing {
    pool: Pool,
    engines: Vec<(Engine, InterfaceId, PortId)>,
    router: Router,
    sender: PortId,
    receiver: PortId,
    frames: Vec<Vec<u8>>,
    /// The next of them.
    next: usize,
    rx: RxBatch,
    tx: TxBatch,
}

/// An address in the route of this number, all over an eighth of the space: the bits of the
/// number in reverse order, so that neighbours in number are far apart.
fn behind(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x4000_0000 | (number.reverse_bits() >> 3) & 0x1fff_ff00 | 9)
}

const SENDER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const RECEIVER: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

impl Crossing {
    /// One or two networks, and frames to `flows` addresses of the receiver in turn.
    ///
    /// # Panics
    ///
    /// If the parts make no whole.
    #[must_use]
    pub fn new(place: Where, flows: u8) -> Self {
        Self::with_routes(place, flows, 0)
    }

    /// The same with that many routes behind the receiver, which is a router itself then; frames go
    /// to as many destinations behind them as there are routes, up to 4,096.
    ///
    /// # Panics
    ///
    /// If the parts make no whole.
    #[must_use]
    pub fn with_routes(place: Where, flows: u8, routes: u32) -> Self {
        let mut pool = Pool::new(PoolLimits { small: 4096, large: 64, headers: 1024 });
        let mut router = Router::new(RouterLimits::default(), *b"sixteen byte key");
        let networks = match place {
            Where::Switched => 1,
            Where::Routed => 2,
        };
        let plan = NetworkPlan::validate(NetworkSpec::default()).expect("a network");
        let mut engines = Vec::new();
        for net in 0..networks {
            let mac = MacAddr([2, 0, 0, 0, 1, net]);
            let iface = router
                .add_interface(InterfaceSpec {
                    mac,
                    v4: vec![(Ipv4Addr::new(10, net, 0, 1), 16)],
                    ..InterfaceSpec::default()
                })
                .expect("an interface");
            let mut engine = Engine::new(plan.clone(), *b"sixteen byte key");
            let port = port(&mut engine, &plan, mac, Role::Router);
            engines.push((engine, iface, port));
        }
        let last = networks - 1;
        let sender = port(&mut engines[0].0, &plan, SENDER, Role::Guest);
        let receiver = port(&mut engines[usize::from(last)].0, &plan, RECEIVER, Role::Guest);
        let to = match place {
            Where::Switched => RECEIVER,
            Where::Routed => MacAddr([2, 0, 0, 0, 1, 0]),
        };
        for number in 0..routes {
            let via = Via::NextHop { iface: engines[1].1, addr: Ipv4Addr::new(10, 1, 1, 0).into() };
            let prefix = Ipv4Net::new(behind(number), 24).expect("a prefix");
            router.add_route(Route::new(prefix.into(), via)).expect("a route");
        }
        let ways = if routes > 0 { routes.min(4096) } else { flows.into() };
        let step = routes.max(1) / ways.max(1);
        let frames = (0..ways)
            .map(|flow| {
                let near = Ipv4Addr::new(10, last, 1, if routes > 0 { 0 } else { flow as u8 });
                let destination = if routes > 0 { behind(flow * step) } else { near };
                if place == Where::Routed {
                    let iface = engines[1].1;
                    let its = Some(RECEIVER);
                    let now = Instant::EPOCH;
                    router.learn_neighbour(now, &mut pool, iface, near.into(), its, None);
                }
                let mut out = vec![0; 1600];
                let source = Ipv4Addr::new(10, 0, 0, 9);
                let len = Builder::new(&mut out)
                    .ethernet(to, SENDER)
                    .ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
                    .tcp(&Tcp::default())
                    .payload(&[0; 1446])
                    .finish()
                    .expect("a frame");
                out.truncate(len);
                out
            })
            .collect();
        let (rx, tx) = (RxBatch::new(), TxBatch::new());
        Self { pool, engines, router, sender, receiver, frames, next: 0, rx, tx }
    }

    /// Frames of one round.
    #[must_use]
    pub fn frames_per_round(&self) -> usize {
        BATCH
    }

    /// One batch from the sender to the receiver; how many frames arrived.
    ///
    /// # Panics
    ///
    /// If one of them does not.
    pub fn round(&mut self) -> usize {
        let now = Instant::EPOCH;
        let Self { pool, engines, router, rx, tx, .. } = self;
        for _ in 0..BATCH {
            self.next = (self.next + 1) % self.frames.len();
            let bytes = &self.frames[self.next];
            let frame = pool.copy_in(bytes, Offload::NONE).expect("a free buffer");
            rx.push(frame).expect("room in the batch");
        }
        engines[0].0.ingress(now, pool, self.sender, rx);
        if engines.len() == 2 {
            let (first, iface, port) = &mut engines[0];
            while first.poll_ready().is_some() {}
            first.poll_transmit(pool, *port, Budget::FULL, tx);
            router.receive_batch(now, pool, *iface, tx);
            while let Some(output) = router.poll_output() {
                let Output::Transmit { frame, .. } = output else { panic!("no gateway") };
                rx.push(frame).expect("room in the batch");
            }
            let (second, _, port) = &mut engines[1];
            second.ingress(now, pool, *port, rx);
        }
        let (last, ..) = engines.last_mut().expect("a network");
        while last.poll_ready().is_some() {}
        let count = last.poll_transmit(pool, self.receiver, Budget::FULL, tx);
        for frame in tx.drain(..) {
            pool.release(frame);
        }
        assert_eq!(count, BATCH, "all arrive");
        count
    }
}

fn port(engine: &mut Engine, plan: &NetworkPlan, mac: MacAddr, role: Role) -> PortId {
    let spec = PortSpec {
        macs: vec![mac],
        source: SourceMode::Static,
        role,
        offloads_to_guest: OffloadSet::all(),
        offloads_from_guest: OffloadSet::all(),
        ..PortSpec::default()
    };
    let plan = PortPlan::validate(spec, plan).expect("a port");
    engine.add_port(plan).expect("room for a port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_arrives() {
        for mut crossing in [
            Crossing::new(Where::Switched, 3),
            Crossing::new(Where::Routed, 3),
            Crossing::with_routes(Where::Routed, 1, 10),
            Crossing::with_routes(Where::Routed, 1, 5000),
        ] {
            for _ in 0..80 {
                assert_eq!(crossing.round(), BATCH);
            }
        }
    }
}
