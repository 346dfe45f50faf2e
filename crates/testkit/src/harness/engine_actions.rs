//! Sequences of actions with time, on the engine and on the model at once.
//!
//! The bytes are read as a program: ports come and go and change, guests send frames of every kind,
//! links drain their queues, time passes. After every action the engine must agree with the
//! [`Model`]: the verdict, the MAC table, and every byte on every link; and its counters must obey
//! the conservation laws.

use std::time::Duration;

use engine::{
    MacKind, Mode, NetworkPlan, NetworkSpec, PoolLimits, PortCounters, PortId, PortPlan, PortSpec,
    Reason, SourceMode, Verdict, VlanMode,
};
use wire::{MacAddr, Tag};

use super::program::Program;
use crate::frames::{mac, tagged};
use crate::ledger::conservation;
use crate::model::{Model, trunk};
use crate::network::TestNetwork;

/// Ports at most.
const PORTS: usize = 6;

/// An address that the guests use. Most of the time one of a few, so that they meet; else one of
/// many, so that the MAC table grows and its clusters do.
fn numbered(byte: u8) -> MacAddr {
    mac(u32::from(if byte < 200 { byte % 8 } else { 8 + byte % 60 }))
}

/// Runs the program, and gives what was counted on all of its ports.
///
/// # Panics
///
/// If the engine and the model disagree, or a conservation law is broken.
pub fn engine_actions(bytes: &[u8]) -> PortCounters {
    let mut program = Program(bytes);
    let Some(mut world) = World::new(&mut program) else { return PortCounters::default() };
    loop {
        let done = world.step(&mut program);
        world.compare();
        if done.is_none() {
            break;
        }
    }
    for (name, id) in core::mem::take(&mut world.ports) {
        world.model.remove_port(id);
        world.net.unplug(&name);
    }
    world.net.nothing_held();
    world.net.engine.retired_counters().clone()
}

struct World {
    net: TestNetwork,
    model: Model,
    spec: NetworkSpec,
    ports: Vec<(String, PortId)>,
    named: u32,
}

impl World {
    fn new(program: &mut Program<'_>) -> Option<Self> {
        let spec = NetworkSpec {
            mtu: 200,
            mac_total: program.of(&[3, 12, 8192, 8192, 8192])?,
            mac_ageing: Duration::from_secs(program.of(&[1, 10, 300])?),
            ports: PORTS,
            mode: Mode::Switch,
            ..NetworkSpec::default()
        };
        // More buffers than the queues can hold, because the model knows no pool.
        let limits = PoolLimits { small: 1024, large: 8, headers: 512 };
        let mut net = TestNetwork::with_pool(spec.clone(), limits);
        let mut model = Model::new(spec.clone());
        model.advance(net.now);
        net.wait(Duration::ZERO);
        let mut world = Self { net, model, spec, ports: Vec::new(), named: 0 };
        for _ in 0..4 {
            world.add(program)?;
        }
        Some(world)
    }

    fn step(&mut self, program: &mut Program<'_>) -> Option<()> {
        match program.pick(24)? {
            0 => self.add(program),
            1 => self.remove(program),
            2 => self.change(program),
            3 => self.reserve(program),
            4 => self.apply(program),
            5 | 6 => self.wait(program),
            7..=9 => self.drain(program),
            _ => self.send(program),
        }
    }

    /// One of the ports; the inner `None` if there is none, when the program goes on with the next
    /// action.
    fn port(&self, program: &mut Program<'_>) -> Option<Option<(String, PortId)>> {
        let index = program.pick(self.ports.len())?;
        Some(self.ports.get(index).cloned())
    }

    fn add(&mut self, program: &mut Program<'_>) -> Option<()> {
        let spec = port_spec(program)?;
        if self.ports.len() == PORTS || !self.model.may_own(&spec.macs, None) {
            let plan = NetworkPlan::validate(self.spec.clone()).expect("a network");
            let plan = PortPlan::validate(spec, &plan).expect("a port");
            assert!(self.net.engine.add_port(plan).is_err(), "the port is refused");
            return Some(());
        }
        let name = format!("p{}", self.named);
        self.named += 1;
        let id = self.net.plug(&name, spec.clone());
        self.model.add_port(id, spec);
        self.ports.push((name, id));
        Some(())
    }

    fn remove(&mut self, program: &mut Program<'_>) -> Option<()> {
        let index = program.pick(self.ports.len())?;
        if index < self.ports.len() {
            let (name, id) = self.ports.remove(index);
            let queued = self.model.remove_port(id) as u64;
            let counters = self.net.unplug(&name);
            assert_eq!(counters.dropped(Reason::LinkClosed), queued);
        }
        Some(())
    }

    fn change(&mut self, program: &mut Program<'_>) -> Option<()> {
        let port = self.port(program)?;
        let spec = port_spec(program)?;
        if let Some((name, id)) = port
            && self.model.may_own(&spec.macs, Some(id))
        {
            self.net.change(&name, spec.clone());
            self.model.change_port(id, spec);
        }
        Some(())
    }

    fn reserve(&mut self, program: &mut Program<'_>) -> Option<()> {
        let mac = address(program)?;
        if program.pick(2)? == 0 {
            self.net.engine.reserve_mac(mac);
            self.model.reserve(mac);
        } else {
            self.net.engine.unreserve_mac(mac);
            self.model.unreserve(mac);
        }
        Some(())
    }

    fn apply(&mut self, program: &mut Program<'_>) -> Option<()> {
        self.spec.mode =
            program.of(&[Mode::Switch, Mode::Switch, Mode::Switch, Mode::Switch, Mode::Hub])?;
        self.spec.mtu = program.of(&[100, 200])?;
        self.spec.mac_total = program.of(&[3, 12, 8192, 8192, 8192])?;
        self.net.apply(self.spec.clone());
        self.model.apply(self.spec.clone());
        Some(())
    }

    fn wait(&mut self, program: &mut Program<'_>) -> Option<()> {
        let millis = program.of(&[1, 400, 1_000, 1_300, 9_000, 40_000, 150_000, 400_000])?;
        if program.pick(3)? == 0 {
            self.net.now = self.net.now + Duration::from_millis(millis);
            self.model.be_late(self.net.now);
        } else {
            self.net.wait(Duration::from_millis(millis));
            self.model.advance(self.net.now);
        }
        Some(())
    }

    fn drain(&mut self, program: &mut Program<'_>) -> Option<()> {
        let port = self.port(program)?;
        let count = program.of(&[1, 3, 100])?;
        if let Some((name, id)) = port {
            let frames = self.net.receive_some(&name, count);
            let got: Vec<Vec<u8>> = frames.into_iter().map(|frame| frame.bytes).collect();
            assert_eq!(got, self.model.transmit(id, count), "what {name} is sent");
        }
        Some(())
    }

    fn send(&mut self, program: &mut Program<'_>) -> Option<()> {
        let port = self.port(program)?;
        let count = program.of(&[1, 1, 2, 7, 40])?;
        let batch: Vec<Vec<u8>> = (0..count).map_while(|_| frame(program)).collect();
        if let Some((name, id)) = port {
            let verdicts = self.net.send_batch(&name, &batch);
            let expected: Vec<Verdict> =
                batch.iter().map(|bytes| self.model.ingress(id, bytes)).collect();
            assert_eq!(verdicts, expected, "{name} sends {batch:02x?}");
        }
        Some(())
    }

    fn compare(&mut self) {
        conservation(&self.net.engine);
        let now = self.net.now;
        let ageing = self.spec.mac_ageing;
        let mut table: Vec<(u16, MacAddr, PortId)> = self
            .net
            .engine
            .mac_table()
            .filter(|entry| entry.kind == MacKind::Learned)
            .filter(|entry| entry.seen.is_some_and(|seen| !aged(now, seen, ageing)))
            .filter_map(|entry| Some((entry.vlan?, entry.mac, entry.port?)))
            .collect();
        table.sort_unstable();
        assert_eq!(table, self.model.table(), "the MAC table");
        for (name, id) in &self.ports {
            let full = self.net.engine.port_counters(*id).expect("a live port");
            let full = full.dropped(Reason::QueueFull);
            assert_eq!(full, self.model.queue_full(*id), "{name}'s full queue");
        }
    }
}

/// As the engine counts age: in whole units of 2^20 ns.
fn aged(now: engine::Instant, seen: engine::Instant, ageing: Duration) -> bool {
    let ticks = |nanos: u64| nanos >> 20;
    let ageing = u64::try_from(ageing.as_nanos()).unwrap_or(u64::MAX).div_ceil(1 << 20);
    ticks(now.as_nanos()).saturating_sub(ticks(seen.as_nanos())) >= ageing
}

fn address(program: &mut Program<'_>) -> Option<MacAddr> {
    program.byte().map(numbered)
}

fn port_spec(program: &mut Program<'_>) -> Option<PortSpec> {
    let mut macs = Vec::new();
    for _ in 0..program.of(&[0, 0, 1, 2])? {
        let mac = address(program)?;
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    let learn = SourceMode::Learn { max_macs: program.of(&[1, 2, 64])? };
    let source = if macs.is_empty() || program.pick(2)? == 0 { learn } else { SourceMode::Static };
    let vlan = program.of(&[
        VlanMode::Access(1),
        VlanMode::Access(1),
        VlanMode::Access(2),
        trunk(None, &[1, 2]),
        trunk(Some(1), &[2]),
        trunk(Some(2), &[1, 2, 3]),
    ])?;
    Some(PortSpec {
        macs,
        source,
        vlan,
        isolated: program.pick(3)? == 0,
        queue_frames: program.of(&[1, 3, 50])?,
        queue_bytes: program.of(&[218, 1_000, 100_000])?,
        ..PortSpec::default()
    })
}

fn frame(program: &mut Program<'_>) -> Option<Vec<u8>> {
    let src = match program.byte()? {
        250 => MacAddr([0; 6]),
        251 => MacAddr([3, 0, 0, 0, 0, 1]),
        other => numbered(other),
    };
    let dst = match program.byte()? {
        240..=245 => MacAddr([0xff; 6]),
        246..=248 => MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        249 => MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]),
        250 => MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x10]),
        251 => MacAddr([0; 6]),
        other => numbered(other),
    };
    let mut tags = Vec::new();
    for _ in 0..program.of(&[0, 0, 0, 1, 1, 2])? {
        let tpid = program.of(&[0x8100, 0x8100, 0x8100, 0x88a8, 0x9100])?;
        let vid: u16 = program.of(&[0, 1, 2, 3, 4095])?;
        tags.push(Tag { tpid, tci: vid | program.of(&[0_u16, 0xe000, 0x1000])? });
    }
    let len = program.of(&[60, 60, 60, 114, 115, 214, 215, 216, 14])?;
    let mut bytes = tagged(dst, src, &tags, len);
    if program.pick(16)? == 0 {
        bytes.truncate(program.pick(20)?);
    }
    Some(bytes)
}
