//! The way in: from a link's batch to verdicts and queues.
//!
//! # Theory of operation
//!
//! A batch is worked on in passes, so that the memory one frame waits for is fetched while others
//! are worked on:
//!
//! 1. *classify*: read the Ethernet header and the tag of every frame, refuse what is malformed,
//!    and hash its addresses unless the port's last frame had the same;
//! 2. *touch*: read the first slot of the MAC table that each look-up will try. These reads do not
//!    depend on each other, so the misses of a large table overlap;
//! 3. *decide* and queue, in the order of the frames.
//!
//! The guard comes first in *decide*: whether the source address may be used is settled before
//! anything that accepts.

use wire::ethernet::ethertype;
use wire::vlan::is_tag;
use wire::{OffloadError, OffloadSet, offload};

use crate::batch::RxBatch;
use crate::capture::Subject;
use crate::engine::{Engine, mac_addr};
use crate::event::Event;
use crate::frame::{Cast, Frame};
use crate::keyed::{Key, NOWHERE, Place};
use crate::mac_table::{Destination, MacTable, Source, Tick, tick};
use crate::plan::{Mode, NetworkSpec, SourceMode};
use crate::pool::Pool;
use crate::port::{Hints, Port, PortId};
use crate::reason::Reason;
use crate::time::Instant;
use crate::verdict::Verdict;
use crate::vlan::VlanMode;

/// Bytes of an Ethernet header and one tag, which an MTU does not count.
pub(crate) const ETHERNET_AND_TAG: usize = ETHERNET + TAG;

const ETHERNET: usize = wire::ethernet::HEADER_LEN;
const TAG: usize = wire::vlan::TAG_LEN;

/// 01:80:c2:00:00:00, the first of sixteen addresses that never leave a link (IEEE 802.1Q table
/// 8-1).
const RESERVED_GROUP: u64 = 0x0180_c200_0000;

const BROADCAST: u64 = 0xffff_ffff_ffff;
const GROUP_BIT: u64 = 1 << 40;

/// At most one event about refused frames per port in this time: 2^10 ticks of 2^20 ns, 1.07 s.
const REFUSAL_PAUSE: Tick = 1 << 10;

/// What the passes tell each other about one frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Work {
    src: Key,
    dst: Key,
    src_hash: u32,
    dst_hash: u32,
    src_place: Place,
    dst_place: Place,
    /// The tag that was taken off.
    removed_tag: Option<u16>,
    refused: Option<Reason>,
}

/// What the third pass needs to know of the port that the batch came from.
struct From {
    id: PortId,
    /// The port's hints while the pass runs; put back at its end.
    hints: Hints,
    isolated: bool,
    static_source: bool,
    max_learned: u32,
    hub: bool,
}

impl Engine {
    /// Takes the frames of `batch`, which `port`'s link has read, and leaves one verdict for each.
    ///
    /// Frames that are to leave are in the queues of their ports when this returns:
    /// [`Engine::poll_ready`] names ports whose queue has turned non-empty, and
    /// [`Engine::poll_event`], [`Engine::poll_capture`] and [`Engine::next_deadline`] may have
    /// changed.
    pub fn ingress(&mut self, now: Instant, pool: &mut Pool, port: PortId, batch: &mut RxBatch) {
        batch.verdicts.clear();
        let hub = self.network.mode == Mode::Hub;
        let Some(target) = self.ports.get(port) else {
            for frame in batch.frames.drain(..) {
                self.strays += 1;
                batch.verdicts.push(Verdict::Drop(Reason::PortGone));
                pool.release(frame);
            }
            return;
        };
        let mut from = From {
            id: port,
            hints: Hints::NONE,
            isolated: target.spec.isolated,
            static_source: target.spec.source == SourceMode::Static,
            max_learned: target.max_learned(),
            hub,
        };
        let now_tick = tick(now);
        let mut work = core::mem::take(&mut self.work);
        self.classify(pool, port, hub, &mut batch.frames, &mut work);
        if !hub && self.macs.has_learned() {
            self.touch(batch.frames.len(), &mut work);
        }
        if let Some(port) = self.ports.get(port) {
            from.hints = port.hints;
        }
        let mut counts = Counts::default();
        for (frame, work) in batch.frames.drain(..).zip(work.iter()) {
            let verdict = self.decide(&mut from, now_tick, &frame, work);
            if self.capture.is_some() {
                self.show(now, pool, &from, &frame, work, verdict);
            }
            batch.verdicts.push(verdict);
            match verdict {
                Verdict::Forward(to) => {
                    counts.forwarded += 1;
                    self.offer(pool, to.index, frame);
                }
                Verdict::Flood { copies } => {
                    counts.flooded += 1;
                    counts.copies += u64::from(copies);
                    self.flood(pool, &from, frame);
                }
                Verdict::Drop(_) => pool.release(frame),
            }
        }
        self.work = work;
        self.settle(&from, &counts, &batch.verdicts);
    }

    /// Counts frames that a link read and could not hand in, on its port. `reason` is one of the
    /// ingress side: [`Reason::NoBuffer`], [`Reason::BadFraming`].
    pub fn receive_failed(&mut self, port: PortId, reason: Reason, frames: u64) {
        if let Some(port) = self.ports.get_mut(port) {
            port.counters.rx_frames += frames;
            port.counters.count_drop(reason, frames);
        }
    }

    /// The first pass.
    fn classify(
        &mut self,
        pool: &mut Pool,
        port: PortId,
        hub: bool,
        frames: &mut [Frame],
        work: &mut [Work],
    ) {
        let Self { network, ports, macs, .. } = self;
        let Some(port) = ports.get_mut(port) else { return };
        let (mut bytes, mut multicast, mut broadcast) = (0, 0, 0);
        for (frame, work) in frames.iter_mut().zip(work) {
            bytes += frame.len() as u64;
            *work = Work { src_place: NOWHERE, dst_place: NOWHERE, ..Work::default() };
            work.refused = read_headers(pool, network, port, hub, frame, work).err();
            multicast += u64::from(frame.cast == Cast::Multicast);
            broadcast += u64::from(frame.cast == Cast::Broadcast);
            if work.refused.is_none() && !hub {
                hash_addresses(macs, port, frame.cast, work);
            }
        }
        port.counters.rx_frames += frames.len() as u64;
        port.counters.rx_bytes += bytes;
        port.counters.rx_multicast += multicast;
        port.counters.rx_broadcast += broadcast;
        port.counters.rx_unicast += frames.len() as u64 - multicast - broadcast;
    }

    /// The second pass.
    fn touch(&self, count: usize, work: &mut [Work]) {
        let learned = self.macs.learned();
        for work in work.iter_mut().take(count) {
            if work.src_place == NOWHERE {
                work.src_place = learned.first_try(work.src, work.src_hash);
            }
            if work.dst_place == NOWHERE {
                work.dst_place = learned.first_try(work.dst, work.dst_hash);
            }
        }
    }

    /// The third pass, for one frame.
    #[inline]
    fn decide(&mut self, from: &mut From, now: Tick, frame: &Frame, work: &Work) -> Verdict {
        if let Some(reason) = work.refused {
            return Verdict::Drop(reason);
        }
        if let Err(reason) = self.check_source(from, now, work) {
            return Verdict::Drop(reason);
        }
        let vid = work.dst.vid();
        if from.hub || frame.cast != Cast::Unicast {
            return self.flood_verdict(from, vid, frame.inner_tag);
        }
        match self.find_destination(from, now, work) {
            Destination::Unknown => self.flood_verdict(from, vid, frame.inner_tag),
            Destination::Away => Verdict::Drop(Reason::MacAway),
            Destination::Port(index) if index == from.id.index => Verdict::Drop(Reason::SamePort),
            Destination::Port(index) => match self.ports.at(index) {
                // The usual case first: one test.
                Some(to) if to.carries(vid, frame.inner_tag) => {
                    if from.isolated && to.spec.isolated {
                        Verdict::Drop(Reason::Isolated)
                    } else {
                        Verdict::Forward(to.id)
                    }
                }
                Some(to) if to.carries(vid, false) => Verdict::Drop(Reason::VlanDouble),
                // Bound addresses hold in every VLAN; their port need not be in this one.
                _ => self.flood_verdict(from, vid, frame.inner_tag),
            },
        }
    }

    /// Whether the port may use the source address, and learns it if so.
    #[inline]
    fn check_source(&mut self, from: &mut From, now: Tick, work: &Work) -> Result<(), Reason> {
        if from.hints.own == Some(work.src.mac()) {
            return Ok(());
        }
        if !from.hub
            && !from.static_source
            && self.macs.refresh(work.src_place, work.src, from.id.index, now)
        {
            from.hints.source = (work.src, work.src_place);
            return Ok(());
        }
        self.check_new_source(from, now, work)
    }

    /// The same for an address that was not where the first passes expected it.
    fn check_new_source(&mut self, from: &mut From, now: Tick, work: &Work) -> Result<(), Reason> {
        let index = from.id.index;
        let mac = work.src.mac();
        let source = if from.static_source {
            let Some(port) = self.ports.at(index) else { return Err(Reason::PortGone) };
            if port.owns(mac_addr(mac)) {
                Source::Own
            } else {
                Source::Refused(Reason::MacForeign, None)
            }
        } else if from.hub {
            self.macs.check_bound(mac, index).unwrap_or_default()
        } else {
            let hash = match work.src_hash {
                // The hint of the last frame was wrong by now, so the first pass did not hash.
                0 => self.macs.learned().hash(work.src),
                hash => hash,
            };
            self.macs.learn(work.src, hash, index, from.max_learned, now)
        };
        match source {
            Source::Known(place) => from.hints.source = (work.src, place),
            Source::New(place) => {
                from.hints.source = (work.src, place);
                self.events.push(Event::MacLearned {
                    port: from.id,
                    mac: mac_addr(mac),
                    vlan: work.src.vid(),
                });
            }
            Source::Own => from.hints.own = Some(mac),
            Source::Refused(reason, owner) => {
                return Err(self.refuse(from, now, work, reason, owner));
            }
        }
        Ok(())
    }

    /// Raises an event about a refused source address, unless one was raised a moment ago.
    #[cold]
    fn refuse(
        &mut self,
        from: &From,
        now: Tick,
        work: &Work,
        reason: Reason,
        owner: Option<u16>,
    ) -> Reason {
        let owner = owner.and_then(|index| self.ports.at(index)).map(|port| port.id);
        let Some(port) = self.ports.get_mut(from.id) else { return reason };
        if port.refusal_told.is_some_and(|told| now < told + REFUSAL_PAUSE) {
            return reason;
        }
        port.refusal_told = Some(now);
        let (port, mac, vlan) = (from.id, mac_addr(work.src.mac()), work.src.vid());
        self.events.push(match (reason, owner) {
            (Reason::MacMoved, Some(owner)) => Event::MacMoveRefused { port, mac, vlan, owner },
            (Reason::MacBound, owner) => Event::MacBoundRefused { port, mac, owner },
            (Reason::MacLimit, _) => Event::MacLimit { port, mac },
            (Reason::MacTableFull, _) => Event::MacTableFull { port, mac },
            _ => Event::MacForeignRefused { port, mac },
        });
        reason
    }

    #[inline]
    fn find_destination(&self, from: &mut From, now: Tick, work: &Work) -> Destination {
        if self.macs.has_bound()
            && let Some(to) = self.find_bound(from, work)
        {
            return to;
        }
        let learned = self.macs.learned();
        let place = match learned.at(work.dst_place, work.dst) {
            Some(_) => work.dst_place,
            None => {
                let hash = match work.dst_hash {
                    0 => learned.hash(work.dst),
                    hash => hash,
                };
                match learned.find(work.dst, hash) {
                    Some(place) => place,
                    None => return Destination::Unknown,
                }
            }
        };
        from.hints.learned = (work.dst, place);
        self.macs.learned_at(place, work.dst, now)
    }

    /// Where the destination is, if it is bound.
    fn find_bound(&self, from: &mut From, work: &Work) -> Option<Destination> {
        let key = Key::new(0, work.dst.mac());
        if from.hints.bound.0 == key
            && let Some(to) = self.macs.bound_at(from.hints.bound.1, key)
        {
            return Some(to);
        }
        let (place, to) = self.macs.bound_destination(key)?;
        from.hints.bound = (key, place);
        Some(to)
    }

    /// How many ports a flooded frame is offered to.
    fn flood_verdict(&self, from: &From, vid: u16, inner_tag: bool) -> Verdict {
        let copies = self.ports.iter().filter(|to| may_flood(from, to, vid, inner_tag)).count();
        // There are fewer than 2^16 ports.
        #[expect(clippy::cast_possible_truncation)]
        let copies = copies as u16;
        Verdict::Flood { copies }
    }

    fn flood(&mut self, pool: &mut Pool, from: &From, frame: Frame) {
        let vid = frame.tci & 0xfff;
        let mut nth = 0;
        while let Some(index) = self.ports.nth(nth) {
            nth += 1;
            let Some(to) = self.ports.at_mut(index) else { continue };
            if !may_flood(from, to, vid, frame.inner_tag) {
                continue;
            }
            to.counters.tx_offered += 1;
            match to.queue.admit(pool, &frame) {
                Ok(()) => {
                    let copy = pool.share(&frame);
                    if enqueue(to, copy) {
                        self.ready.push_back(to.id);
                    }
                }
                Err(reason) => to.counters.count_drop(reason, 1),
            }
        }
        pool.release(frame);
    }

    /// Puts a frame into the queue of one port, or drops it there.
    #[inline]
    fn offer(&mut self, pool: &mut Pool, to: u16, frame: Frame) {
        let Some(to) = self.ports.at_mut(to) else { return pool.release(frame) };
        to.counters.tx_offered += 1;
        match to.queue.admit(pool, &frame) {
            Ok(()) => {
                if enqueue(to, frame) {
                    self.ready.push_back(to.id);
                }
            }
            Err(reason) => {
                to.counters.count_drop(reason, 1);
                pool.release(frame);
            }
        }
    }

    #[cold]
    fn show(
        &mut self,
        now: Instant,
        pool: &Pool,
        from: &From,
        frame: &Frame,
        work: &Work,
        verdict: Verdict,
    ) {
        let Some(capture) = &mut self.capture else { return };
        let wanted = match capture.plan.port {
            None => true,
            Some(port) if port == from.id => true,
            Some(port) => match verdict {
                Verdict::Forward(to) => to == port,
                Verdict::Flood { .. } => self
                    .ports
                    .get(port)
                    .is_some_and(|to| may_flood(from, to, work.dst.vid(), frame.inner_tag)),
                Verdict::Drop(_) => false,
            },
        };
        if wanted {
            let removed_tag = work.removed_tag;
            let subject = Subject { frame, removed_tag, port: from.id, verdict };
            self.capture_drops += u64::from(!capture.record(now, pool, &subject));
        }
    }

    /// Puts the hints back and counts the verdicts.
    fn settle(&mut self, from: &From, counts: &Counts, verdicts: &[Verdict]) {
        let Some(port) = self.ports.get_mut(from.id) else { return };
        port.hints = from.hints;
        port.counters.rx_forwarded += counts.forwarded;
        port.counters.rx_flooded += counts.flooded;
        port.counters.rx_copies += counts.copies;
        let accepted = counts.forwarded + counts.flooded;
        if accepted < verdicts.len() as u64 {
            for verdict in verdicts {
                if let Verdict::Drop(reason) = *verdict {
                    port.counters.count_drop(reason, 1);
                }
            }
        }
    }
}

/// Verdicts of one batch, counted as they are given.
#[derive(Default)]
struct Counts {
    forwarded: u64,
    flooded: u64,
    copies: u64,
}

#[inline]
fn may_flood(from: &From, to: &Port, vid: u16, inner_tag: bool) -> bool {
    to.id != from.id && to.carries(vid, inner_tag) && !(from.isolated && to.spec.isolated)
}

/// True if the port has to be listed as ready.
#[inline]
fn enqueue(to: &mut Port, frame: Frame) -> bool {
    let list = to.queue.is_empty() && !to.queue.listed;
    to.queue.listed |= list;
    to.counters.tx_queued += 1;
    to.queue.push(frame);
    list
}

/// Reads the addresses and the tag, takes the tag off, and refuses what is malformed.
#[inline]
fn read_headers(
    pool: &mut Pool,
    network: &NetworkSpec,
    port: &Port,
    hub: bool,
    frame: &mut Frame,
    work: &mut Work,
) -> Result<(), Reason> {
    let body = pool.body(frame);
    let Some(head) = body.first_chunk::<ETHERNET>() else { return Err(Reason::Runt) };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *head;
    let dst = u64::from_be_bytes([0, 0, d0, d1, d2, d3, d4, d5]);
    let src = u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]);
    let ethertype = u16::from_be_bytes([t0, t1]);
    if dst & GROUP_BIT != 0 {
        frame.cast = if dst == BROADCAST { Cast::Broadcast } else { Cast::Multicast };
    }
    if is_tag(ethertype) || port.access == 0 {
        let (tci, removed, inner_tag) = read_tag(body, ethertype, &port.spec.vlan)?;
        frame.tci = tci;
        frame.inner_tag = inner_tag;
        work.removed_tag = removed;
        if removed.is_some() {
            pool.remove_tag(frame);
        }
    } else {
        frame.tci = port.access;
    }
    let vid = frame.tci & 0xfff;
    work.src = Key::new(vid, src);
    work.dst = Key::new(vid, dst);
    if !frame.offload.is_none() {
        check_offload(pool, network, port.spec.offloads_from_guest, frame)?;
    }
    // With segmentation, the longest segment was held against the MTU above.
    let longest = usize::from(network.mtu) + ETHERNET + if frame.inner_tag { TAG } else { 0 };
    if frame.offload.gso.is_none() && frame.len() > longest {
        return Err(Reason::Oversize);
    }
    if src == 0 || src & GROUP_BIT != 0 {
        return Err(Reason::BadSource);
    }
    if dst & !0xf == RESERVED_GROUP && !hub {
        return Err(Reason::ReservedGroup);
    }
    Ok(())
}

/// The VLAN of a frame: its tag control information, the tag to be taken off, and whether a tag is
/// left in the payload.
fn read_tag(
    body: &[u8],
    ethertype: u16,
    mode: &VlanMode,
) -> Result<(u16, Option<u16>, bool), Reason> {
    if !is_tag(ethertype) {
        return match mode {
            VlanMode::Access(vid) | VlanMode::Trunk { native: Some(vid), .. } => {
                Ok((*vid, None, false))
            }
            VlanMode::Trunk { native: None, .. } => Err(Reason::VlanUntagged),
        };
    }
    let Some(&[hi, lo, t0, t1]) = body.get(ETHERNET..).and_then(|rest| rest.first_chunk()) else {
        return Err(Reason::Runt);
    };
    let tci = u16::from_be_bytes([hi, lo]);
    let (vid, rest) = (tci & 0xfff, tci & 0xf000);
    let inner_tag = is_tag(u16::from_be_bytes([t0, t1]));
    match mode {
        VlanMode::Access(_) if inner_tag => Err(Reason::VlanDouble),
        _ if ethertype != ethertype::VLAN => Err(Reason::VlanTagged),
        VlanMode::Access(own) if vid == 0 => Ok((rest | own, Some(tci), false)),
        VlanMode::Access(_) => Err(Reason::VlanTagged),
        VlanMode::Trunk { native: Some(native), .. } if vid == 0 => {
            Ok((rest | native, Some(tci), inner_tag))
        }
        VlanMode::Trunk { native: None, .. } if vid == 0 => Err(Reason::VlanUntagged),
        mode if mode.carries(vid, inner_tag) => Ok((tci, Some(tci), inner_tag)),
        VlanMode::Trunk { .. } => Err(Reason::VlanNotAllowed),
    }
}

/// Holds offload metadata against the port's link and against the frame.
#[cold]
fn check_offload(
    pool: &mut Pool,
    network: &NetworkSpec,
    declared: OffloadSet,
    frame: &mut Frame,
) -> Result<(), Reason> {
    if !declared.takes(&frame.offload) {
        return Err(Reason::OffloadUndeclared);
    }
    let mtu = usize::from(network.mtu);
    match offload::check(&frame.offload, pool.body(frame), frame.len(), mtu) {
        Ok(()) => Ok(()),
        Err(OffloadError::SegmentTooLarge) => Err(Reason::Oversize),
        // The sum of a packet inside a tunnel is completed here and now: nobody further on looks
        // for it there.
        Err(OffloadError::InnerChecksum)
            if frame.offload.gso.is_none() && pool.complete_in_place(frame) =>
        {
            Ok(())
        }
        Err(_) => Err(Reason::BadOffload),
    }
}

/// Hashes the addresses, unless the port's last frame had the same.
#[inline]
fn hash_addresses(macs: &MacTable, port: &Port, cast: Cast, work: &mut Work) {
    let Hints { own, source, learned, bound: _ } = port.hints;
    if own != Some(work.src.mac()) {
        if source.0 == work.src {
            work.src_place = source.1;
        } else {
            work.src_hash = macs.learned().hash(work.src);
        }
    }
    if cast == Cast::Unicast {
        if learned.0 == work.dst {
            work.dst_place = learned.1;
        } else if macs.has_learned() {
            work.dst_hash = macs.learned().hash(work.dst);
        }
    }
}
