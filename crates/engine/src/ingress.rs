//! The way in: from a link's batch to verdicts and queues.
//!
//! # Theory of operation
//!
//! A batch is worked on in passes, so that the memory one frame waits for is fetched while others
//! are worked on:
//!
//! 1. *classify* (a file of its own): read the Ethernet header and the tag of every frame, refuse
//!    what is malformed, and hash its addresses;
//! 2. *touch*: read the first slot of the MAC tables that each look-up will try. These reads do not
//!    depend on each other, so the misses of a large table overlap;
//! 3. *decide* and queue, in the order of the frames.
//!
//! The guard comes first in *decide*: whether the source address may be used is settled before
//! anything that accepts. The port's filter comes next, the destination last.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bpf::Program;

use crate::batch::RxBatch;
use crate::capture::Subject;
use crate::classify::Work;
use crate::engine::{Engine, mac_addr};
use crate::event::Event;
use crate::filter;
use crate::frame::{Cast, Frame};
use crate::guard::{self, Answer, Memory, Outcome, Packed, PortGuard, Reach, Role};
use crate::keyed::Key;
use crate::mac_table::{Destination, Source, Tick, tick};
use crate::plan::{Mode, SourceMode};
use crate::pool::{Pool, PoolEmpty};
use crate::port::{Port, PortId};
use crate::reason::Reason;
use crate::time::Instant;
use crate::verdict::Verdict;

/// At most one event about refused frames per port in this time: 2^10 ticks of 2^20 ns, 1.07 s.
const REFUSAL_PAUSE: Tick = 1 << 10;

/// What the third pass needs to know of the port that the batch came from.
pub(crate) struct Origin {
    pub(crate) id: PortId,
    /// The address that last passed as the port's own; put back at the end of the pass.
    own: u64,
    /// The port's guard while the pass runs; put back at its end.
    pub(crate) guard: Option<Box<PortGuard>>,
    /// The filter on what comes from the port, likewise.
    filter: Option<Arc<Program>>,
    /// A frame that the network itself sends to the port, after the one that is decided.
    pub(crate) answer: Option<Answer>,
    isolated: bool,
    community: Option<u16>,
    /// A guest whose network has all guests behind the router.
    routed: bool,
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
        let cut_off = self.guarded > 0 && self.prepare_guard(now, port);
        let Some(target) = self.ports.get(port) else {
            for frame in batch.frames.drain(..) {
                self.strays += 1;
                batch.verdicts.push(Verdict::Drop(Reason::PortGone));
                pool.release(frame);
            }
            return;
        };
        let mut from = Origin {
            id: port,
            own: target.own,
            guard: None,
            filter: None,
            answer: None,
            isolated: target.spec.isolated,
            community: target.spec.community,
            routed: self.network.guard.routed && target.spec.role == Role::Guest,
            static_source: target.spec.source == SourceMode::Static,
            max_learned: target.max_learned(),
            hub,
        };
        let now_tick = tick(now);
        let mut work = core::mem::take(&mut self.work);
        self.classify(pool, port, hub, &mut batch.frames, &mut work);
        if !hub {
            self.touch(work.iter_mut().take(batch.frames.len()));
        }
        if let Some(port) = self.ports.get_mut(port) {
            from.guard = port.guard.take();
            from.filter = port.spec.filter.from_guest.take();
        }
        if cut_off {
            work.iter_mut().for_each(|work| work.refused = Some(Reason::Quarantined));
        }
        let mut counts = Counts::default();
        for (frame, work) in batch.frames.drain(..).zip(work.iter_mut()) {
            let mut verdict = self.decide(&mut from, now, now_tick, pool, &frame, work);
            if let (Some(_), Verdict::Drop(reason)) = (&from.guard, verdict) {
                verdict = Verdict::Drop(self.failed(now, pool, &mut from, &frame, reason));
            }
            if self.capture.is_some() {
                self.show(now, pool, &from, &frame, work, verdict);
            }
            batch.verdicts.push(verdict);
            match verdict {
                Verdict::Forward(to) => {
                    counts.forwarded += 1;
                    self.offer(pool, to.index, work.destination, frame);
                }
                Verdict::Flood { copies } => {
                    counts.flooded += 1;
                    counts.copies += u64::from(copies);
                    if self.guarded > 0 {
                        self.memory.flooded(now, pool.front(&frame).unwrap_or_default());
                    }
                    self.flood(pool, work, frame);
                }
                Verdict::Answered => {
                    counts.answered += 1;
                    self.answer(pool, &mut from, frame);
                }
                Verdict::Consumed => {
                    counts.consumed += 1;
                    pool.release(frame);
                }
                Verdict::Drop(_) if from.answer.is_some() => self.answer(pool, &mut from, frame),
                Verdict::Drop(_) => pool.release(frame),
            }
        }
        self.work = work;
        self.ask_outside(pool);
        self.settle(from, &counts, &batch.verdicts);
    }

    /// Counts frames that a link read and could not hand in, on its port. `reason` is one of the
    /// ingress side: [`Reason::NoBuffer`], [`Reason::BadFraming`].
    pub fn receive_failed(&mut self, port: PortId, reason: Reason, frames: u64) {
        if let Some(port) = self.ports.get_mut(port) {
            port.counters.rx_frames += frames;
            port.counters.count_drop(reason, frames);
        }
    }

    /// The second pass.
    fn touch<'a>(&self, work: impl Iterator<Item = &'a mut Work>) {
        let (learned, bound) = (self.macs.learned(), self.macs.bound());
        let (has_learned, has_bound) = (self.macs.has_learned(), self.macs.has_bound());
        for work in work {
            if has_learned {
                work.src_place = learned.first_try(work.src_place, work.src);
                work.dst_place = learned.first_try(work.dst_place, work.dst);
            }
            if has_bound {
                let key = Key::new(0, work.dst.mac());
                work.bound_place = bound.first_try(work.bound_place, key);
            }
        }
    }

    /// The third pass, for one frame.
    #[inline]
    fn decide(
        &mut self,
        from: &mut Origin,
        now: Instant,
        tick: Tick,
        pool: &Pool,
        frame: &Frame,
        work: &mut Work,
    ) -> Verdict {
        if let Some(reason) = work.refused {
            return Verdict::Drop(reason);
        }
        if let Err(reason) = self.check_source(from, tick, work) {
            return Verdict::Drop(reason);
        }
        if work.judge {
            match self.guard(from, now, pool, frame, work) {
                Ok(Outcome::Pass) => {}
                Ok(Outcome::Answered) => return Verdict::Answered,
                Ok(Outcome::Consumed) => return Verdict::Consumed,
                Err(reason) => return Verdict::Drop(reason),
            }
        }
        if let Some(program) = &from.filter
            && !filter::wants(program, pool, frame, work.removed_tag)
        {
            return Verdict::Drop(Reason::FilterIn);
        }
        let vid = work.dst.vid();
        if from.hub || frame.cast != Cast::Unicast {
            return self.flood_verdict(from, now, pool, frame, work);
        }
        match self.find_destination(tick, work) {
            Destination::Unknown => self.flood_verdict(from, now, pool, frame, work),
            Destination::Away => Verdict::Drop(Reason::MacAway),
            Destination::Port(index) if index == from.id.index => Verdict::Drop(Reason::SamePort),
            Destination::Port(index) => match self.ports.at(index) {
                // The usual case first: one test.
                Some(to) if to.carries(vid, frame.inner_tag) => match from.refuses(to) {
                    Some(reason) => Verdict::Drop(reason),
                    None => Verdict::Forward(to.id),
                },
                Some(to) if to.carries(vid, false) => Verdict::Drop(Reason::VlanDouble),
                // Bound addresses hold in every VLAN; their port need not be in this one.
                _ => self.flood_verdict(from, now, pool, frame, work),
            },
        }
    }

    /// Whether the port may use the source address, and learns it if so.
    #[inline]
    fn check_source(&mut self, from: &mut Origin, now: Tick, work: &Work) -> Result<(), Reason> {
        if from.own == work.src.mac() {
            return Ok(());
        }
        if !from.hub
            && !from.static_source
            && self.macs.refresh(work.src_place, work.src, from.id.index, now)
        {
            return Ok(());
        }
        self.check_new_source(from, now, work)
    }

    /// The same for an address that was not where the first passes expected it.
    fn check_new_source(
        &mut self,
        from: &mut Origin,
        now: Tick,
        work: &Work,
    ) -> Result<(), Reason> {
        let index = from.id.index;
        let mac = work.src.mac();
        let source = if from.static_source {
            let Some(port) = self.ports.at(index) else { return Err(Reason::PortGone) };
            if port.owns(mac_addr(mac)) || self.macs.owner(mac) == Some(index) {
                Source::Own
            } else {
                Source::Refused(Reason::MacForeign, None)
            }
        } else if from.hub {
            // A hub learns nothing, so an address that is nobody's is anybody's.
            self.macs.check_bound(mac, index).unwrap_or(Source::Known)
        } else {
            self.macs.learn(work.src, index, from.max_learned, now)
        };
        match source {
            Source::Known => {}
            Source::New => {
                self.events.push(Event::MacLearned {
                    port: from.id,
                    mac: mac_addr(mac),
                    vlan: work.src.vid(),
                });
            }
            Source::Own => from.own = mac,
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
        from: &Origin,
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
    fn find_destination(&self, now: Tick, work: &Work) -> Destination {
        if self.macs.has_bound()
            && let Some(to) = self.macs.bound_destination(work.bound_place, work.dst.mac())
        {
            return to;
        }
        self.macs.learned_destination(work.dst_place, work.dst, now)
    }

    /// Which ports a flooded frame is offered to, if the port may send it to many.
    fn flood_verdict(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        work: &Work,
    ) -> Verdict {
        if let Some(reason) = self.check_storm(from, now, pool, frame) {
            return Verdict::Drop(reason);
        }
        let Self { ports, targets, servers, memory, .. } = self;
        let wanted = Flooding::new(from, frame, work);
        // Those that may be wanted at all. Most of what a guest says to all is for few.
        let candidates = match &wanted.reach {
            Reach::Nobody => &[],
            Reach::Port(index) => core::slice::from_ref(index),
            Reach::Servers | Reach::Router => &**servers,
            Reach::All | Reach::Open | Reach::Members(_) => ports.live(),
        };
        targets.clear();
        targets.extend(
            candidates
                .iter()
                .filter(|&&index| ports.at(index).is_some_and(|to| wanted.by(to, memory))),
        );
        // There are fewer than 2^16 ports.
        #[expect(clippy::cast_possible_truncation)]
        let copies = targets.len() as u16;
        Verdict::Flood { copies }
    }

    /// Offers a copy of the frame to each port that [`Self::flood_verdict`] found.
    fn flood(&mut self, pool: &mut Pool, work: &Work, frame: Frame) {
        for nth in 0..self.targets.len() {
            let to = self.targets.get(nth).and_then(|&index| self.ports.at_mut(index));
            let Some(to) = to else { continue };
            to.counters.tx_offered += 1;
            let takes = guard::takes(to, &self.bindings, pool, &frame, work.destination, false);
            match takes.and_then(|()| admit(to, pool, &frame)) {
                Ok(()) => match pool.share(&frame) {
                    Ok(copy) => {
                        if enqueue(to, copy) {
                            self.ready.push_back(to.id);
                        }
                    }
                    // Counted as queued first, because that is where drops for this reason are.
                    Err(PoolEmpty) => {
                        to.counters.tx_queued += 1;
                        to.counters.count_drop(Reason::NoHeader, 1);
                    }
                },
                Err(reason) => to.counters.count_drop(reason, 1),
            }
        }
        pool.release(frame);
    }

    /// Puts a frame into the queue of one port, or drops it there.
    #[inline]
    fn offer(&mut self, pool: &mut Pool, to: u16, destination: Packed, frame: Frame) {
        let Some(to) = self.ports.at_mut(to) else { return pool.release(frame) };
        to.counters.tx_offered += 1;
        let takes = guard::takes(to, &self.bindings, pool, &frame, destination, true);
        match takes.and_then(|()| admit(to, pool, &frame)) {
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
        from: &Origin,
        frame: &Frame,
        work: &Work,
        verdict: Verdict,
    ) {
        let Some(capture) = &self.capture else { return };
        let wanted = match capture.plan.port {
            None => true,
            Some(port) if port == from.id => true,
            Some(port) => match verdict {
                Verdict::Forward(to) => to == port,
                Verdict::Flood { .. } => {
                    self.ports.get(port).is_some() && self.targets.contains(&port.index)
                }
                Verdict::Answered | Verdict::Consumed | Verdict::Drop(_) => false,
            },
        };
        let Some(capture) = &mut self.capture else { return };
        let removed_tag = work.removed_tag;
        let wanted = if wanted { capture.wanted(pool, frame, removed_tag) } else { 0 };
        if wanted != 0 {
            let subject = Subject { frame, removed_tag, port: from.id, verdict, wanted };
            self.capture_drops += u64::from(!capture.record(now, pool, &subject));
        }
    }

    /// Puts hints and guard back and counts the verdicts.
    fn settle(&mut self, from: Origin, counts: &Counts, verdicts: &[Verdict]) {
        let Some(port) = self.ports.get_mut(from.id) else { return };
        port.own = from.own;
        port.guard = from.guard;
        port.spec.filter.from_guest = from.filter;
        port.counters.rx_forwarded += counts.forwarded;
        port.counters.rx_flooded += counts.flooded;
        port.counters.rx_copies += counts.copies;
        port.counters.rx_answered += counts.answered;
        port.counters.rx_consumed += counts.consumed;
        let accepted = counts.forwarded + counts.flooded + counts.answered + counts.consumed;
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
    answered: u64,
    consumed: u64,
}

impl Origin {
    /// Why the port exchanges no frames with another one, if it does not.
    #[inline]
    fn refuses(&self, to: &Port) -> Option<Reason> {
        if self.isolated || self.community.is_some() || self.routed {
            self.refuses_some(to)
        } else {
            None
        }
    }

    #[cold]
    fn refuses_some(&self, to: &Port) -> Option<Reason> {
        if guard::apart((self.isolated, self.community), (to.spec.isolated, to.spec.community)) {
            return Some(Reason::Isolated);
        }
        (self.routed && to.spec.role == Role::Guest).then_some(Reason::Routed)
    }
}

/// Which ports get a copy of a flooded frame.
struct Flooding<'a> {
    from: &'a Origin,
    vid: u16,
    inner_tag: bool,
    reach: Reach,
}

impl<'a> Flooding<'a> {
    fn new(from: &'a Origin, frame: &Frame, work: &Work) -> Self {
        Self { from, vid: work.dst.vid(), inner_tag: frame.inner_tag, reach: work.reach }
    }

    #[inline]
    fn by(&self, to: &Port, memory: &Memory) -> bool {
        to.id != self.from.id
            && to.carries(self.vid, self.inner_tag)
            && self.from.refuses(to).is_none()
            && self.reach.includes(to, memory)
    }
}

/// Whether a port's filter lets the frame out and its queue has room for it.
#[inline(always)]
fn admit(to: &Port, pool: &Pool, frame: &Frame) -> Result<(), Reason> {
    if !filter::lets_out(&to.spec, pool, frame) {
        return Err(Reason::FilterOut);
    }
    to.queue.admit(pool, frame)
}

/// True if the port has to be listed as ready.
#[inline]
pub(crate) fn enqueue(to: &mut Port, frame: Frame) -> bool {
    let list = !to.queue.listed && to.queue.is_empty();
    to.queue.listed |= list;
    to.counters.tx_queued += 1;
    to.queue.push(frame);
    list
}
