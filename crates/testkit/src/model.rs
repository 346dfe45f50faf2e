//! A switch written for being obviously right.
//!
//! Lists, copies and linear searches; no batches, no hints, no hashes, no sharing. What it does is
//! the engine's promise in the order a reader would tell it, and the property tests hold the engine
//! against it: same verdicts, same frames on every link, same drops. It knows nothing of offloads
//! and of the pool's limits; those have tests of their own.

use std::collections::VecDeque;

use engine::{
    Instant, Mode, NetworkSpec, PortId, PortSpec, Reason, SourceMode, Verdict, VlanMode, VlanSet,
};
use wire::MacAddr;

/// Ageing has this resolution, in nanoseconds.
const TICK: u64 = 1 << 20;

/// The model of a network.
#[derive(Debug)]
pub struct Model {
    spec: NetworkSpec,
    ports: Vec<ModelPort>,
    reserved: Vec<MacAddr>,
    learned: Vec<Learned>,
    sweep_due: Option<u64>,
    now: u64,
}

#[derive(Debug)]
struct ModelPort {
    id: PortId,
    spec: PortSpec,
    queue: VecDeque<Inside>,
    queue_full: u64,
}

#[derive(Clone, Debug)]
struct Learned {
    vlan: u16,
    mac: MacAddr,
    port: PortId,
    seen: u64,
}

/// A frame without its outer tag.
#[derive(Clone, Debug)]
struct Inside {
    dst: MacAddr,
    src: MacAddr,
    tci: u16,
    /// EtherType and what follows.
    rest: Vec<u8>,
}

impl Inside {
    fn vlan(&self) -> u16 {
        self.tci & 0xfff
    }

    fn len(&self) -> usize {
        12 + self.rest.len()
    }

    fn has_tag(&self) -> bool {
        is_tag(&self.rest)
    }
}

fn is_tag(rest: &[u8]) -> bool {
    matches!(rest, [0x81 | 0x91, 0x00, ..] | [0x88, 0xa8, ..])
}

impl Model {
    /// A network without ports.
    #[must_use]
    pub fn new(spec: NetworkSpec) -> Self {
        Self {
            spec,
            ports: Vec::new(),
            reserved: Vec::new(),
            learned: Vec::new(),
            sweep_due: None,
            now: 0,
        }
    }

    /// Another plan.
    pub fn apply(&mut self, spec: NetworkSpec) {
        self.spec = spec;
        if !self.learned.is_empty() {
            self.sweep_due = Some(0);
        }
        if self.spec.mode == Mode::Hub {
            self.learned.clear();
            self.sweep_due = None;
        }
    }

    /// Whether a port with these addresses may be added, or become of `me`.
    #[must_use]
    pub fn may_own(&self, macs: &[MacAddr], me: Option<PortId>) -> bool {
        macs.iter().all(|&mac| self.owner(mac).is_none_or(|owner| Some(owner) == me))
    }

    /// A port that the engine has added.
    pub fn add_port(&mut self, id: PortId, spec: PortSpec) {
        self.learned.retain(|entry| !spec.macs.contains(&entry.mac));
        self.ports.push(ModelPort { id, spec, queue: VecDeque::new(), queue_full: 0 });
    }

    /// A port that the engine has changed.
    pub fn change_port(&mut self, id: PortId, spec: PortSpec) {
        self.learned.retain(|entry| entry.port != id && !spec.macs.contains(&entry.mac));
        self.port(id).spec = spec;
    }

    /// A port that the engine has removed; what was in its queue.
    pub fn remove_port(&mut self, id: PortId) -> usize {
        self.learned.retain(|entry| entry.port != id);
        let queued = self.port(id).queue.len();
        self.ports.retain(|port| port.id != id);
        queued
    }

    /// Keeps an address for a guest that is away.
    pub fn reserve(&mut self, mac: MacAddr) {
        self.learned.retain(|entry| entry.mac != mac);
        if !self.reserved.contains(&mac) {
            self.reserved.push(mac);
        }
    }

    /// No longer keeps it.
    pub fn unreserve(&mut self, mac: MacAddr) {
        self.reserved.retain(|&other| other != mac);
    }

    /// Lets time pass; the timeouts that fall due on the way are handled at their time.
    pub fn advance(&mut self, now: Instant) {
        let end = now.as_nanos();
        while let Some(due) = self.sweep_due.filter(|due| due.saturating_mul(TICK) <= end) {
            let at = due.max(self.now);
            let ageing = self.ageing();
            self.learned.retain(|entry| at.saturating_sub(entry.seen) < ageing);
            let pause = at + (ageing / 8).max(1);
            self.sweep_due = self.learned.iter().map(|entry| pause.max(entry.seen + ageing)).min();
        }
        self.now = end / TICK;
    }

    /// Lets time pass without anybody handling the timeouts yet, as on a busy host.
    pub fn be_late(&mut self, now: Instant) {
        self.now = now.as_nanos() / TICK;
    }

    fn ageing(&self) -> u64 {
        u64::try_from(self.spec.mac_ageing.as_nanos()).unwrap_or(u64::MAX).div_ceil(TICK)
    }

    fn port(&mut self, id: PortId) -> &mut ModelPort {
        self.ports.iter_mut().find(|port| port.id == id).expect("a live port")
    }

    fn owner(&self, mac: MacAddr) -> Option<PortId> {
        self.ports.iter().find(|port| port.spec.macs.contains(&mac)).map(|port| port.id)
    }

    /// What is learned and has not aged: VLAN, address, port.
    #[must_use]
    pub fn table(&self) -> Vec<(u16, MacAddr, PortId)> {
        let ageing = self.ageing();
        let mut rows: Vec<_> = self
            .learned
            .iter()
            .filter(|entry| self.now.saturating_sub(entry.seen) < ageing)
            .map(|entry| (entry.vlan, entry.mac, entry.port))
            .collect();
        rows.sort_unstable();
        rows
    }

    /// Frames that found a port's queue full.
    #[must_use]
    pub fn queue_full(&mut self, id: PortId) -> u64 {
        self.port(id).queue_full
    }

    /// One frame from a port.
    pub fn ingress(&mut self, id: PortId, bytes: &[u8]) -> Verdict {
        match self.decide(id, bytes) {
            Err(reason) => Verdict::Drop(reason),
            Ok((frame, Some(to))) => {
                self.queue(to, &frame);
                Verdict::Forward(to)
            }
            Ok((frame, None)) => {
                let targets = self.flood_targets(id, &frame);
                for &to in &targets {
                    self.queue(to, &frame);
                }
                Verdict::Flood { copies: u16::try_from(targets.len()).expect("few ports") }
            }
        }
    }

    /// At most `count` frames for a port's link, as bytes.
    pub fn transmit(&mut self, id: PortId, count: usize) -> Vec<Vec<u8>> {
        let port = self.port(id);
        let count = count.min(port.queue.len());
        port.queue.drain(..count).map(|frame| outside(&port.spec.vlan, &frame)).collect()
    }

    fn queue(&mut self, to: PortId, frame: &Inside) {
        let port = self.port(to);
        let bytes: usize = port.queue.iter().map(Inside::len).sum();
        let fits = bytes == 0 || bytes + frame.len() <= port.spec.queue_bytes;
        if port.queue.len() < port.spec.queue_frames && fits {
            port.queue.push_back(frame.clone());
        } else {
            port.queue_full += 1;
        }
    }

    /// The frame, and the one port it goes to, if it is not flooded.
    fn decide(&mut self, id: PortId, bytes: &[u8]) -> Result<(Inside, Option<PortId>), Reason> {
        let hub = self.spec.mode == Mode::Hub;
        let spec = self.port(id).spec.clone();
        let frame = inside(&spec.vlan, bytes)?;
        let tag = if frame.has_tag() { 4 } else { 0 };
        if frame.len() > usize::from(self.spec.mtu) + 14 + tag {
            return Err(Reason::Oversize);
        }
        if frame.src.is_zero() || frame.src.is_multicast() {
            return Err(Reason::BadSource);
        }
        let reserved_group = frame.dst.0[..5] == [0x01, 0x80, 0xc2, 0, 0] && frame.dst.0[5] < 16;
        if reserved_group && !hub {
            return Err(Reason::ReservedGroup);
        }
        self.check_source(id, &spec, &frame)?;
        if hub || frame.dst.is_multicast() {
            return Ok((frame, None));
        }
        let Some(to) = self.find(&frame)? else { return Ok((frame, None)) };
        if to == id {
            return Err(Reason::SamePort);
        }
        let target = self.port(to).spec.clone();
        if !belongs(&target.vlan, frame.vlan()) {
            return Ok((frame, None));
        }
        if frame.has_tag() && matches!(target.vlan, VlanMode::Access(_)) {
            return Err(Reason::VlanDouble);
        }
        if spec.isolated && target.isolated {
            return Err(Reason::Isolated);
        }
        Ok((frame, Some(to)))
    }

    fn check_source(&mut self, id: PortId, spec: &PortSpec, frame: &Inside) -> Result<(), Reason> {
        let (vlan, mac) = (frame.vlan(), frame.src);
        if spec.macs.contains(&mac) {
            return Ok(());
        }
        let SourceMode::Learn { max_macs } = spec.source else {
            return Err(Reason::MacForeign);
        };
        if self.owner(mac).is_some() || self.reserved.contains(&mac) {
            return Err(Reason::MacBound);
        }
        if self.spec.mode == Mode::Hub {
            return Ok(());
        }
        let (now, ageing) = (self.now, self.ageing());
        let mine = self.learned.iter().filter(|entry| entry.port == id).count();
        let room = mine < usize::from(max_macs);
        let share = self.spec.mac_total / 2 / self.spec.ports;
        let common = self.spec.mac_total - share * self.spec.ports;
        let beyond = |entries: &[Learned]| -> usize {
            let of = |port: PortId| entries.iter().filter(|entry| entry.port == port).count();
            let ports: std::collections::BTreeSet<_> = entries.iter().map(|e| e.port).collect();
            ports.into_iter().map(|port| of(port).saturating_sub(share)).sum()
        };
        // As it is without an entry that would change hands.
        let rest: Vec<Learned> = self
            .learned
            .iter()
            .filter(|entry| entry.vlan != vlan || entry.mac != mac)
            .cloned()
            .collect();
        let full = mine >= share && beyond(&rest) >= common;
        let known = self.learned.iter_mut().find(|entry| entry.vlan == vlan && entry.mac == mac);
        match known {
            Some(entry) if entry.port == id => entry.seen = entry.seen.max(now),
            Some(entry) if now.saturating_sub(entry.seen) < ageing => return Err(Reason::MacMoved),
            _ if !room => return Err(Reason::MacLimit),
            _ if full => return Err(Reason::MacTableFull),
            Some(entry) => (entry.port, entry.seen) = (id, now),
            None => {
                self.learned.push(Learned { vlan, mac, port: id, seen: now });
                self.sweep_due.get_or_insert(now + ageing);
            }
        }
        Ok(())
    }

    fn find(&self, frame: &Inside) -> Result<Option<PortId>, Reason> {
        if let Some(owner) = self.owner(frame.dst) {
            return Ok(Some(owner));
        }
        if self.reserved.contains(&frame.dst) {
            return Err(Reason::MacAway);
        }
        let entry = self
            .learned
            .iter()
            .find(|entry| entry.vlan == frame.vlan() && entry.mac == frame.dst)
            .filter(|entry| self.now.saturating_sub(entry.seen) < self.ageing());
        Ok(entry.map(|entry| entry.port))
    }

    fn flood_targets(&self, from: PortId, frame: &Inside) -> Vec<PortId> {
        let isolated = self.ports.iter().any(|port| port.id == from && port.spec.isolated);
        self.ports
            .iter()
            .filter(|port| port.id != from)
            .filter(|port| belongs(&port.spec.vlan, frame.vlan()))
            .filter(|port| !frame.has_tag() || matches!(port.spec.vlan, VlanMode::Trunk { .. }))
            .filter(|port| !(isolated && port.spec.isolated))
            .map(|port| port.id)
            .collect()
    }
}

fn belongs(mode: &VlanMode, vlan: u16) -> bool {
    match mode {
        VlanMode::Access(own) => *own == vlan,
        VlanMode::Trunk { native, allowed } => *native == Some(vlan) || allowed.contains(vlan),
    }
}

/// Takes the outer tag off, if the port takes such frames.
fn inside(mode: &VlanMode, bytes: &[u8]) -> Result<Inside, Reason> {
    let (addresses, rest) = bytes.split_at_checked(12).ok_or(Reason::Runt)?;
    if rest.len() < 2 {
        return Err(Reason::Runt);
    }
    let address = |range: std::ops::Range<usize>| {
        MacAddr(<[u8; 6]>::try_from(&addresses[range]).expect("six bytes"))
    };
    let (dst, src) = (address(0..6), address(6..12));
    let frame = |tci: u16, rest: &[u8]| Inside { dst, src, tci, rest: rest.to_vec() };
    let untagged = match mode {
        VlanMode::Access(vlan) => Some(*vlan),
        VlanMode::Trunk { native, .. } => *native,
    };
    if !is_tag(rest) {
        return Ok(frame(untagged.ok_or(Reason::VlanUntagged)?, rest));
    }
    let [t0, t1, c0, c1, inner @ ..] = rest else { return Err(Reason::Runt) };
    if inner.len() < 2 {
        return Err(Reason::Runt);
    }
    let tci = u16::from_be_bytes([*c0, *c1]);
    let (priority, vlan) = (tci & 0xf000, tci & 0xfff);
    let double = is_tag(inner);
    match mode {
        VlanMode::Access(_) if double => Err(Reason::VlanDouble),
        _ if [*t0, *t1] != [0x81, 0x00] => Err(Reason::VlanTagged),
        _ if vlan == 0 => Ok(frame(priority | untagged.ok_or(Reason::VlanUntagged)?, inner)),
        VlanMode::Access(_) => Err(Reason::VlanTagged),
        trunk if belongs(trunk, vlan) => Ok(frame(tci, inner)),
        VlanMode::Trunk { .. } => Err(Reason::VlanNotAllowed),
    }
}

/// Puts the tag on that the port's link needs.
fn outside(mode: &VlanMode, frame: &Inside) -> Vec<u8> {
    let mut bytes = [frame.dst.0, frame.src.0].concat();
    let tagged = match mode {
        VlanMode::Access(_) => false,
        VlanMode::Trunk { native, .. } => *native != Some(frame.vlan()) || frame.has_tag(),
    };
    if tagged {
        bytes.extend([0x81, 0x00]);
        bytes.extend(frame.tci.to_be_bytes());
    }
    bytes.extend(&frame.rest);
    bytes
}

/// A trunk, for tests.
#[must_use]
pub fn trunk(native: Option<u16>, allowed: &[u16]) -> VlanMode {
    VlanMode::Trunk { native, allowed: allowed.iter().copied().collect::<VlanSet>() }
}
