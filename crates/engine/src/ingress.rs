//! The way in: from a link's batch to verdicts and queues.
//!
//! # Theory of operation
//!
//! A batch is worked on in passes, so that the memory one frame waits for is fetched while others
//! are worked on:
//!
//! 1. *classify* (a file of its own): read the Ethernet header and the tag of every frame, refuse
//!    what is malformed, and hash its addresses;
//! 2. *look up*: the first line of the MAC tables that each address may be in. These reads do not
//!    depend on each other, so the misses of a large table overlap; the more so as all of its lines are
//!    read before the first is looked at;
//! 3. *decide* and queue, in the order of the frames.
//!
//! What the second pass finds holds for the whole batch: an entry changes hands only when it has
//! aged, and then it was not found. What it does not find says nothing, and is looked up in full.
//!
//! The guard comes first in *decide*: whether the source address may be used is settled before
//! anything that accepts. The port's filter comes next, the destination last. An ordinary frame, whose
//! destination was found behind an access port of its VLAN, goes there at once ([`in_lane`]);
//! all others take a longer way, which knows every reason.
//!
//! Frames stay where the link put them until they are copied to a queue; each handle of the batch is
//! used up by exactly one push to a queue or one end, and the batch is cleared without looking at them
//! again.

use core::time::Duration;

use bpf::Program;

use wire::MacAddr;

use crate::batch::RxBatch;
use crate::bindings::Bindings;
use crate::classify::{Heard, Work};
use crate::engine::Engine;
use crate::event::Event;
use crate::filter;
use crate::frame::Frame;
use crate::guard::{self, Memory, Outcome, Packed, QUERIER, Reach};
use crate::mac_table::{Destination, Source};
use crate::origin::Origin;
use crate::plan::Mode;
use crate::pool::{Pool, PoolEmpty};
use crate::port::{Port, PortId};
use crate::ports::Ports;
use crate::ready::Ready;
use crate::reason::Reason;
use crate::time::{Instant, Tick, tick};
use crate::verdict::Verdict;

/// At most one event about refused frames per port in this time.
const REFUSAL_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Takes the frames of `batch`, which `port`'s link has read, and leaves one verdict for each.
    ///
    /// Frames that are to leave are in the queues of their ports when this returns:
    /// [`Engine::poll_ready`] names ports whose queue has turned non-empty, and
    /// [`Engine::poll_event`], [`Engine::poll_capture`] and [`Engine::next_deadline`] may have
    /// changed.
    pub fn ingress(&mut self, now: Instant, pool: &mut Pool, port: PortId, batch: &mut RxBatch) {
        let RxBatch { frames, verdicts } = batch;
        verdicts.clear();
        let cut_off = self.guarded > 0 && self.prepare_guard(now, port);
        let Some(mut from) = self.origin(port) else {
            self.strays += frames.len() as u64;
            verdicts.extend(frames.iter().map(|_| Verdict::Drop(Reason::PortGone)));
            return frames.drain(..).for_each(|frame| pool.release(frame));
        };
        let mut room = core::mem::take(&mut self.work);
        let work = room.get_mut(..frames.len()).unwrap_or_default();
        let Some(target) = self.ports.get(port) else { return };
        let heard = self.classify(pool, target, from.guard.as_deref(), frames, work);
        if cut_off {
            work.iter_mut().for_each(|work| work.refused = Some(Reason::Quarantined));
        }
        let now_tick = tick(now);
        if !from.hub {
            self.look_up(&from, now_tick, work);
        }
        let mut counts = Counts::default();
        for (frame, work) in frames.iter().zip(work) {
            let admitted = if work.plain {
                Ok(())
            } else {
                self.admit_source(&mut from, now, pool, frame, work)
            };
            let admitted = match &from.filter {
                Some(program) if admitted.is_ok() => wants(program, pool, frame, work.removed_tag),
                _ => admitted,
            };
            let verdict = match admitted {
                Ok(()) => {
                    if let Some(to) = in_lane(&mut self.ports, &from, work) {
                        // There is room for one of each frame. In this form it is no call.
                        let _ = verdicts.try_push(Verdict::Forward(to.id));
                        counts.forwarded += 1;
                        let Self { bindings, ready, .. } = self;
                        offer(to, bindings, ready, pool, frame, work.destination);
                        continue;
                    }
                    self.find_way(&mut from, now, pool, frame, work)
                }
                Err(verdict) => verdict,
            };
            verdicts.push(self.finish(&mut from, now, pool, frame, work, verdict, &mut counts));
        }
        // Each was queued or ended.
        frames.clear();
        self.work = room;
        self.ask_outside(pool);
        self.settle(from, &heard, &counts, verdicts);
    }

    /// What is left to do for a frame that does not go the ordinary way; its verdict, which the guard
    /// may know better.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "it is the second half of a loop")]
    fn finish(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &mut Pool,
        frame: &Frame,
        work: &Work,
        mut verdict: Verdict,
        counts: &mut Counts,
    ) -> Verdict {
        if let (Some(_), Verdict::Drop(reason)) = (&from.guard, verdict) {
            verdict = Verdict::Drop(self.failed(now, pool, from, frame, reason));
        }
        if self.capture.is_some() {
            self.show(now, pool, from, frame, work.removed_tag, verdict);
        }
        match verdict {
            Verdict::Forward(to) => {
                counts.forwarded += 1;
                let Self { ports, bindings, ready, .. } = self;
                match ports.at_mut(to.index) {
                    Some(to) => offer(to, bindings, ready, pool, frame, work.destination),
                    None => pool.end(frame),
                }
            }
            Verdict::Flood { copies } => {
                counts.flooded += 1;
                counts.copies += u64::from(copies);
                if self.guarded > 0 {
                    self.memory.flooded(now, pool.front(frame).unwrap_or_default());
                }
                self.flood(pool, work, frame);
            }
            Verdict::Answered => {
                counts.answered += 1;
                self.answer(pool, from, frame);
            }
            Verdict::Consumed => {
                counts.consumed += 1;
                pool.end(frame);
            }
            Verdict::Drop(_) if from.answer.is_some() => self.answer(pool, from, frame),
            Verdict::Drop(_) => pool.end(frame),
        }
        verdict
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
    // Each pass is a function of its own, so that its loop has the registers for itself.
    #[inline(never)]
    fn look_up(&mut self, from: &Origin, now: Tick, work: &mut [Work]) {
        let learns = !from.static_source && self.macs.has_learned();
        self.macs.fetch(work);
        for work in work {
            // What was refused has no addresses.
            if work.refused.is_none() {
                let own = from.own == work.src.mac()
                    || (learns && self.macs.try_source(work, from.id.index, now));
                work.plain = own && !work.judge;
                work.to = self.macs.try_destination(work, now);
            }
        }
    }

    /// The third pass for one frame that is not plain: whether its port may send it.
    #[inline(never)]
    fn admit_source(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        work: &mut Work,
    ) -> Result<(), Verdict> {
        if let Some(reason) = work.refused {
            return Err(Verdict::Drop(reason));
        }
        if let Err(reason) = self.check_source(from, now, pool, frame, work) {
            return Err(Verdict::Drop(reason));
        }
        if work.judge {
            match self.guard(from, now, pool, frame, work) {
                Ok(Outcome::Pass) => {}
                Ok(Outcome::Answered) => return Err(Verdict::Answered),
                Ok(Outcome::Consumed) => return Err(Verdict::Consumed),
                Err(reason) => return Err(Verdict::Drop(reason)),
            }
        }
        Ok(())
    }

    /// The third pass, for a frame that may go somewhere: where.
    #[inline(never)]
    fn find_way(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        work: &Work,
    ) -> Verdict {
        if from.hub || !frame.is_unicast() {
            return self.flood_verdict(from, now, pool, frame, work);
        }
        let vid = work.dst.vid();
        match self.macs.destination(work.dst, tick(now)) {
            Destination::Unknown => self.flood_verdict(from, now, pool, frame, work),
            Destination::Away => Verdict::Drop(Reason::MacAway),
            Destination::Port(index) if index == from.id.index => Verdict::Drop(Reason::SamePort),
            Destination::Port(index) => match self.ports.at(index) {
                Some(to) if to.carries(vid, frame.has_inner_tag()) => match from.refuses(to) {
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
    fn check_source(
        &mut self,
        from: &mut Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        work: &Work,
    ) -> Result<(), Reason> {
        let index = from.id.index;
        let mac = work.src.mac();
        if from.own == mac {
            return Ok(());
        }
        let tick = tick(now);
        let source = if from.static_source {
            let Some(port) = self.ports.at(index) else { return Err(Reason::PortGone) };
            if port.owns(MacAddr::from_u64(mac)) || self.macs.owner(mac) == Some(index) {
                Source::Own
            } else {
                Source::Refused(Reason::MacForeign, None)
            }
        } else if mac == QUERIER.as_u64() && from.is_guest() {
            // The network asks for groups from there. Outside there may be another network like it.
            Source::Refused(Reason::MacForeign, None)
        } else if from.hub && from.guard.is_none() {
            // Without a guard a hub learns nothing, so an address that is nobody's is anybody's.
            self.macs.check_bound(mac, index).unwrap_or(Source::Known)
        } else {
            self.macs.learn(work.src, index, from.max_learned, tick)
        };
        match source {
            Source::Known => {}
            Source::New => {
                self.events.push(Event::MacLearned {
                    port: from.id,
                    mac: MacAddr::from_u64(mac),
                    vlan: work.src.vid(),
                });
            }
            Source::Own => from.own = mac,
            Source::Refused(reason, owner) => {
                self.tell_refused(from, now, pool, frame, work, (reason, owner));
                return Err(reason);
            }
        }
        Ok(())
    }

    /// Raises an event about a refused source address, unless one was raised a moment ago.
    #[cold]
    fn tell_refused(
        &mut self,
        from: &Origin,
        now: Instant,
        pool: &Pool,
        frame: &Frame,
        work: &Work,
        (reason, owner): (Reason, Option<u16>),
    ) {
        let owner = owner.and_then(|index| self.ports.at(index)).map(|port| port.id);
        let Some(port) = self.ports.get_mut(from.id) else { return };
        if !port.refusal_told.may(now, REFUSAL_PAUSE) {
            return;
        }
        let (port, mac, vlan) = (from.id, MacAddr::from_u64(work.src.mac()), work.src.vid());
        let summary = guard::summary(pool, frame);
        self.events.push(match (reason, owner) {
            (Reason::MacMoved, Some(owner)) => {
                Event::MacMoveRefused { port, mac, vlan, owner, summary }
            }
            (Reason::MacBound, owner) => Event::MacBoundRefused { port, mac, owner, summary },
            (Reason::MacLimit, _) => Event::MacLimit { port, mac, summary },
            (Reason::MacTableFull, _) => Event::MacTableFull { port, mac },
            _ => Event::MacForeignRefused { port, mac, summary },
        });
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
        // A hub sends all of them to all ports: that is no storm of frames whose receiver nobody knows.
        let meant_for_one = from.hub && frame.is_unicast();
        if !meant_for_one && let Some(reason) = self.check_storm(from, now, pool, frame) {
            return Verdict::Drop(reason);
        }
        let Self { ports, targets, servers, memory, .. } = self;
        let wanted = Flooding::new(from, frame, work);
        // Those that may be wanted at all. Most of what a guest says to all is for few.
        let candidates = match &wanted.reach {
            Reach::Nobody => &[],
            Reach::Port(index) => core::slice::from_ref(index),
            Reach::Servers | Reach::Router => &**servers,
            Reach::All | Reach::Open | Reach::Probe(..) | Reach::Members(_) => ports.live(),
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
    fn flood(&mut self, pool: &mut Pool, work: &Work, frame: &Frame) {
        let hub = self.network.mode == Mode::Hub;
        for nth in 0..self.targets.len() {
            let to = self.targets.get(nth).and_then(|&index| self.ports.at_mut(index));
            let Some(to) = to else { continue };
            to.counters.tx_offered += 1;
            // A hub is for looking at what is others'.
            let takes = if hub {
                lets_out(to, pool, frame)
            } else {
                takes(to, &self.bindings, pool, frame, work.destination, false)
            };
            match takes.and_then(|()| to.queue.admit(pool, frame)) {
                Ok(()) => match pool.share(frame) {
                    Ok(copy) => to.enqueue(&mut self.ready, &copy),
                    // Counted as queued first, because that is where drops for this reason are.
                    Err(PoolEmpty) => {
                        to.counters.tx_queued += 1;
                        to.counters.count_drop(Reason::NoHeader, 1);
                    }
                },
                Err(reason) => to.counters.count_drop(reason, 1),
            }
        }
        pool.end(frame);
    }

    /// Puts hints and guard back and counts the verdicts.
    fn settle(&mut self, from: Origin, heard: &Heard, counts: &Counts, verdicts: &[Verdict]) {
        let Some(port) = self.ports.get_mut(from.id) else { return };
        let frames = verdicts.len() as u64;
        port.counters.rx_frames += frames;
        port.counters.rx_bytes += heard.bytes;
        port.counters.rx_multicast += heard.multicast;
        port.counters.rx_broadcast += heard.broadcast;
        port.counters.rx_unicast += frames - heard.multicast - heard.broadcast;
        port.own = from.own;
        port.guard = from.guard;
        port.spec.filter.from_guest = from.filter;
        port.counters.rx_forwarded += counts.forwarded;
        port.counters.rx_flooded += counts.flooded;
        port.counters.rx_copies += counts.copies;
        port.counters.rx_answered += counts.answered;
        port.counters.rx_consumed += counts.consumed;
        let accepted = counts.forwarded + counts.flooded + counts.answered + counts.consumed;
        if accepted < frames {
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
        if self.apart { self.privacy.refuses(&to.spec) } else { None }
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
        let reach = if work.judge { from.reach } else { Reach::All };
        Self { from, vid: work.dst.vid(), inner_tag: frame.has_inner_tag(), reach }
    }

    #[inline]
    fn by(&self, to: &Port, memory: &Memory) -> bool {
        to.id != self.from.id
            && to.carries(self.vid, self.inner_tag)
            && self.from.refuses(to).is_none()
            && self.reach.includes(to, memory)
    }
}

/// Whether the port's filter wants the frame.
#[inline]
fn wants(program: &Program, pool: &Pool, frame: &Frame, tag: Option<u16>) -> Result<(), Verdict> {
    if filter::wants(program, pool, frame, tag) {
        Ok(())
    } else {
        Err(Verdict::Drop(Reason::FilterIn))
    }
}

/// The port to which an ordinary frame goes, if it is one: its destination was found behind another port,
/// which is an access port of its VLAN, and everybody may send there.
#[inline(always)]
fn in_lane<'a>(ports: &'a mut Ports, from: &Origin, work: &Work) -> Option<&'a mut Port> {
    if !from.quick || work.to == from.id.index {
        return None;
    }
    ports.at_mut(work.to).filter(|to| to.access == work.lane)
}

/// Puts a frame into the queue of one port, or drops it there.
#[inline(always)]
fn offer(
    to: &mut Port,
    bindings: &Bindings,
    ready: &mut Ready,
    pool: &mut Pool,
    frame: &Frame,
    destination: Packed,
) {
    to.counters.tx_offered += 1;
    let asks = to.picky && !to.last_destinations.hold(bindings.generation(), destination);
    let takes = if asks { takes(to, bindings, pool, frame, destination, true) } else { Ok(()) };
    match takes.and_then(|()| to.queue.admit(pool, frame)) {
        Ok(()) => to.enqueue(ready, frame),
        Err(reason) => turn_away(to, pool, frame, reason),
    }
}

#[cold]
fn turn_away(to: &mut Port, pool: &mut Pool, frame: &Frame, reason: Reason) {
    to.counters.count_drop(reason, 1);
    pool.end(frame);
}

/// Whether the guard and the filter of a port let the frame out there.
#[inline(never)]
fn takes(
    to: &mut Port,
    bindings: &Bindings,
    pool: &Pool,
    frame: &Frame,
    destination: Packed,
    known: bool,
) -> Result<(), Reason> {
    guard::takes(to, bindings, pool, frame, destination, known)?;
    lets_out(to, pool, frame)
}

/// Whether the filter of a port does.
fn lets_out(to: &Port, pool: &Pool, frame: &Frame) -> Result<(), Reason> {
    if filter::lets_out(&to.spec, pool, frame) { Ok(()) } else { Err(Reason::FilterOut) }
}
