//! All connections of one gateway: finding them, admitting them, and giving each its turn.
//!
//! # Theory of operation
//!
//! A connection is in a *place* (`slots`), whose number is what everything else keeps: the `index` of
//! ends, the timer wheel, the lists below, and, with the place's generation, the token under which the
//! poller reports the stream. A place that became free is taken again (`free`), the one first that is
//! likely to be in the processor's caches, and its generation tells old names from new. Places are made
//! when all are taken and never given back: there are as many as there were connections at once.
//!
//! ```text
//!   segment ── index ──┐                        ┌── Rest::More ──────────────┐
//!   host_ready ─ token ┼──> flow notes it ──> work ──> turn: flow.serve ─────┼──> nothing to do
//!   handle_timeout ────┘                        └── waiting <── Rest::Room ──┘
//! ```
//!
//! What happens to a connection is noted in it, and it is put on the list of `work` once, whatever
//! happens to it before its turn (`queued`). [`Table::turn`] serves the list: each connection sends one
//! frame and goes to its end, so that they share what there is, however much each has. One whose
//! guest's queue is full is `waiting`: nobody says whose queue it was that drained, so each turn begins
//! with another try of those that wait, and without a turn there is one after a while. Neither list is
//! searched when a connection ends: a number whose place is empty, or whose connection is not `queued`,
//! is passed over.
//!
//! A connection goes through up to three forms. While it has a guest and a stream it counts for the
//! guest (`loads`) and in all (`live`). When both ends have come and the last acknowledgement was ours,
//! it is `lingering`: it has neither stream nor frames, counts for nobody, and only repeats itself for
//! some seconds. When the guest is gone and the stream has not taken what it sent, it is an orphan (see
//! [`leaving`]): it has a stream and frames, and neither owner nor name. So `index` has all but the
//! orphans.
//!
//! # Goals
//!
//! * What a segment costs does not depend on how many connections there are: one look-up with a keyed
//!   hash, no walk. Walks are for what is rare: a guest that leaves, a connection to give up.
//! * A guest that opens, sends or lets things wait as fast as it can takes nothing from another but its
//!   even part.
//!
//! # Limits
//!
//! * `live` by [`TcpLimits`], orphans among them, which are the first to give way; then somebody has to
//!   give up a connection who has clearly more than whoever asks.
//! * `lingering` has as many entries as connections may linger. Entries of those that ended before their
//!   time stay until they are the oldest, and keep the list no longer than that; beyond it the oldest
//!   is forgotten early, which costs a reset if its guest's last segment was lost.
//! * `unreachable` holds a few refusals, each with a frame; what is beyond is counted and not told.
//! * `waiting` and `work` have at most one valid entry a connection. A turn takes off as many of
//!   `waiting` as it may put on.
//! * Frames held by all inboxes are counted here (`held`), since only all together tell who may hold
//!   another one. Those of orphans give way to a guest that holds fewer.
//!
//! # Invariants
//!
//! * A connection that is `queued` is on one of the two lists, and one that can do something is `queued`.
//! * `live` is the number of connections that do not linger; a guest's load is that of those that it
//!   owns.
//! * The wheel fires no later than the connection's own deadline, perhaps earlier.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use engine::{Frame, Instant};
use wire::tcp::flag;

use super::emit::{self, Says};
use super::flow::{Env, Flow, Over, State};
use super::input::{Heard, Taken};
use super::interface::{IcmpError, Kept, Segment, TcpLimits, Unreachable};
use super::key::{Key, Secret};
use super::output::Rest;
use super::seq::Seq;
use super::wheel::Wheel;
use crate::backend::datagram::SocketError;
use crate::backend::{Connecting, Stream, StreamBackend, StreamError};
use crate::ctx::{Ctx, Packet};
use crate::plan::Protocol;
use crate::poll::{Event, Token};
use crate::report::FlowReport;
use crate::{GuestKey, Reason, icmp};

mod leaving;
mod opening;
mod pending;
mod places;

/// Services of one turn; each sends one large frame at most.
const TURN: usize = 256;

/// Frames sent by one turn: 4 MiB at most, a millisecond or so.
const TURN_FRAMES: usize = 64;

/// How long something waits for room without a word from whoever has the queue.
const ROOM_PATIENCE: Duration = Duration::from_millis(100);

/// Connections that linger after their end, at most. They have no stream.
const LINGERING_MAX: usize = 4096;

/// Refusals that wait for [`Table::poll_unreachable`].
const UNREACHABLE_MAX: usize = 64;

/// Connections looked at to find one to give up.
const EVICT_SCAN: usize = 4096;

/// Held pieces of one connection that are written at once, without waiting for the turn.
const HELD_SOON: usize = 256;

/// What one guest has.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    flows: usize,
    opening: usize,
    /// Frames held by the inboxes of its connections.
    held: usize,
}

/// A place for a connection. It keeps its generation when the connection is gone.
#[derive(Debug)]
struct Slot<S> {
    generation: u32,
    flow: Option<Box<Flow<S>>>,
}

/// The connections of one gateway's guests.
#[derive(Debug)]
pub struct Table<B: StreamBackend> {
    backend: B,
    limits: TcpLimits,
    secret: Secret,
    slots: Vec<Slot<B::Stream>>,
    free: Vec<u32>,
    index: HashMap<Key, u32, Secret>,
    loads: HashMap<GuestKey, Load>,
    /// Connections with a stream.
    live: usize,
    /// Frames held by all inboxes.
    held: usize,
    wheel: Wheel,
    work: VecDeque<u32>,
    /// Those of `work` that had no room last time.
    waiting: VecDeque<u32>,
    /// Connections in [`State::TimeWait`] in the order of their ends, with their generations.
    lingering: VecDeque<(u32, u32)>,
    /// Connections in [`State::Orphan`], the oldest first.
    orphans: VecDeque<leaving::Orphan>,
    unreachable: VecDeque<Unreachable>,
    last_turn: Instant,
    evict_at: usize,
}

impl<B: StreamBackend> Table<B> {
    /// An empty table. `hash_key` is secret and random.
    #[must_use]
    pub fn new(backend: B, limits: TcpLimits, hash_key: &[u8; 16]) -> Self {
        let secret = Secret::new(hash_key);
        Self {
            backend,
            limits,
            index: HashMap::with_hasher(secret.clone()),
            secret,
            slots: Vec::new(),
            free: Vec::new(),
            loads: HashMap::new(),
            live: 0,
            held: 0,
            wheel: Wheel::new(),
            work: VecDeque::new(),
            waiting: VecDeque::new(),
            lingering: VecDeque::new(),
            orphans: VecDeque::new(),
            unreachable: VecDeque::new(),
            last_turn: Instant::EPOCH,
            evict_at: 0,
        }
    }

    /// What makes the streams.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    pub(crate) fn backend_mut(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Takes other limits. Connections beyond them stay.
    pub fn set_limits(&mut self, limits: TcpLimits) {
        self.limits = limits;
    }

    /// Takes a segment of a guest, whose checksum is right or partial. Answers wait for
    /// [`Table::turn`].
    pub fn segment(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        guest: GuestKey,
        packet: &Packet<'_>,
    ) -> Segment {
        let Some(heard) = Heard::read(ctx.pool, packet) else {
            ctx.counters.count(Reason::Malformed);
            return Segment::Done;
        };
        let key = Key::new(packet.guest, packet.remote);
        let Some(&index) = self.index.get(&key) else {
            return unknown(ctx, &key, &heard);
        };
        let Some(flow) = flow_mut(&mut self.slots, index) else { return Segment::Done };
        match flow.owner {
            Some(owner) if owner != guest => {
                ctx.counters.count(Reason::TcpOtherGuest);
                return Segment::Done;
            }
            None if !flow.lingers => {
                flow.owner = Some(guest);
                let load = self.loads.entry(guest).or_default();
                load.flows += 1;
                load.opening += usize::from(flow.is_opening);
            }
            _ => {}
        }
        match flow.segment(&mut Env { now, ctx }, &heard) {
            Ok(Taken::Done(reason)) => {
                ctx.counters.count(reason);
                self.enqueue(index);
                Segment::Done
            }
            Ok(Taken::Keep { sequence, offset, len }) => {
                self.enqueue(index);
                Segment::Keep(Kept { index, sequence, offset, len })
            }
            Ok(Taken::Reopen) => {
                self.remove(ctx, index, Over::Abort);
                unknown(ctx, &key, &heard)
            }
            Err((over, reason)) => {
                ctx.counters.count(reason);
                // What came before the reset still counts.
                if let Some(stream) = &mut flow.stream {
                    let before = flow.inbox.len();
                    let _ = flow.inbox.write(ctx.pool, stream);
                    let (after, owner) = (flow.inbox.len(), flow.owner);
                    self.holds(owner, before, after);
                }
                self.remove(ctx, index, over);
                Segment::Done
            }
        }
    }

    /// Takes the frame of a segment whose payload [`Table::segment`] wanted, with no call in
    /// between.
    #[expect(clippy::needless_pass_by_value, reason = "it is good for one call")]
    pub fn keep(&mut self, ctx: &mut Ctx<'_>, kept: Kept, frame: Frame) {
        let Kept { index, sequence, offset, len } = kept;
        let usage = ctx.pool.usage();
        let scarce = [usage.small, usage.large].iter().any(|class| class.used > class.limit / 2);
        let Some(flow) = flow_mut(&mut self.slots, index) else {
            ctx.pool.release(frame);
            return;
        };
        // What is next in order and can be written at once is held only for a moment.
        let waits = flow.full || flow.rcv_nxt != sequence;
        let owner = flow.owner;
        if waits && (scarce || !self.may_hold(ctx, owner)) {
            ctx.counters.count(Reason::TcpNoRoom);
            ctx.pool.release(frame);
            return;
        }
        let Some(flow) = flow_mut(&mut self.slots, index) else {
            ctx.pool.release(frame);
            return;
        };
        ctx.counters.count(Reason::TcpOut);
        let before = flow.inbox.len();
        flow.keep(ctx.pool, (sequence, len, offset), frame);
        if flow.inbox.len() >= HELD_SOON
            && !flow.full
            && let Some(stream) = &mut flow.stream
        {
            // An error comes again at the turn.
            flow.full = matches!(flow.inbox.write(ctx.pool, stream), Ok(false));
        }
        let after = flow.inbox.len();
        self.holds(owner, before, after);
    }

    /// An inbox of this guest's has changed.
    fn holds(&mut self, owner: Option<GuestKey>, before: usize, after: usize) {
        self.held = (self.held + after).saturating_sub(before);
        if let Some(load) = owner.and_then(|owner| self.loads.get_mut(&owner)) {
            load.held = (load.held + after).saturating_sub(before);
        }
    }

    /// Answers `packet` with a reset.
    pub fn refuse(&mut self, ctx: &mut Ctx<'_>, packet: &Packet<'_>) {
        if let Some(heard) = Heard::read(ctx.pool, packet) {
            reset(ctx, &Key::new(packet.guest, packet.remote), &heard);
        }
    }

    /// Takes a report of the poller with a token of [`Kind::Tcp`](crate::poll::Kind::Tcp).
    pub fn host_ready(&mut self, now: Instant, ctx: &mut Ctx<'_>, token: Token, event: &Event) {
        let Some(slot) = self.slots.get_mut(token.index as usize) else { return };
        let (true, Some(flow)) = (token.is_of(slot.generation), &mut slot.flow) else { return };
        if flow.state == State::Connecting {
            if !event.writable && !event.hangup {
                return;
            }
            let Some(stream) = &mut flow.stream else { return };
            match stream.connecting() {
                Connecting::Pending => return,
                Connecting::Connected => {}
                Connecting::Failed { error, report } => {
                    let Some(mut flow) = self.take(ctx, token.index) else { return };
                    self.tell_failed(now, ctx, &mut flow, error, report);
                    return;
                }
            }
            flow.state = State::SynReceived;
            flow.send_syn(&mut Env { now, ctx });
            self.rewheel(token.index);
            return;
        }
        flow.readable |= event.readable || event.hangup;
        // A short read is not the last one where there may be a mark in between, or an end behind.
        flow.careful |= event.urgent || event.hangup;
        if event.writable || event.hangup {
            flow.full = false;
        }
        flow.notice_drained();
        // Where nothing is read, an error is not met by reading.
        if event.hangup && (flow.fin_at.is_some() || flow.is_shut()) && flow.has_failed() {
            ctx.counters.count(Reason::TcpReset);
            flow.send_reset(&mut Env { now, ctx });
            self.remove(ctx, token.index, Over::Abort);
            return;
        }
        self.enqueue(token.index);
    }

    /// The guest is told that there is no connection, in the way that a network would: by the ICMP
    /// message of whoever said so, where there is one.
    fn tell_failed(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        flow: &mut Flow<B::Stream>,
        error: StreamError,
        report: Option<SocketError>,
    ) {
        let report = report.filter(|report| icmp::passes(report, flow.key.is_v6()));
        match error {
            _ if report.is_some() => self.tell_unreachable(ctx, flow, error, report),
            StreamError::Refused | StreamError::Reset => {
                ctx.counters.count(Reason::TcpRefused);
                flow.send_reset(&mut Env { now, ctx });
            }
            // A guest whose SYN is not answered sends it again, and gives up in its own time.
            StreamError::TimedOut => ctx.counters.count(Reason::TcpUnanswered),
            StreamError::NoDescriptors => ctx.counters.count(Reason::OutOfDescriptors),
            StreamError::NoMemory => ctx.counters.count(Reason::SocketFailed),
            StreamError::HostUnreachable
            | StreamError::NetUnreachable
            | StreamError::Prohibited => self.tell_unreachable(ctx, flow, error, None),
        }
    }

    fn tell_unreachable(
        &mut self,
        ctx: &mut Ctx<'_>,
        flow: &Flow<B::Stream>,
        error: StreamError,
        report: Option<SocketError>,
    ) {
        ctx.counters.count(Reason::TcpUnreachable);
        if let Some(guest) = flow.owner
            && self.unreachable.len() < UNREACHABLE_MAX
            && let Some(quote) = emit::quote(ctx, &flow.key, flow.irs)
        {
            let ends = (flow.key.guest().ip(), flow.key.remote().ip());
            self.unreachable.push_back(Unreachable { guest, quote, ends, error, report });
        }
    }

    /// Takes an ICMP error that came from `sender`, a guest or a router behind its port, about a
    /// segment that we sent: from `remote` to `guest`, with this sequence number. What does not fit
    /// the connection is ignored (RFC 5927), and so is what another guest says about it.
    pub fn icmp_error(
        &mut self,
        ctx: &mut Ctx<'_>,
        sender: GuestKey,
        (guest, remote): (SocketAddr, SocketAddr),
        sequence: u32,
        error: IcmpError,
    ) -> Reason {
        let about = Reason::IcmpAboutTcp;
        let Some(&index) = self.index.get(&Key::new(guest, remote)) else { return about };
        let Some(flow) = flow_mut(&mut self.slots, index) else { return about };
        if flow.owner.is_some_and(|owner| owner != sender) {
            return Reason::TcpOtherGuest;
        }
        let sequence = Seq(sequence);
        if !(flow.una.upto(sequence) && sequence.before(flow.max)) {
            return about;
        }
        match error {
            IcmpError::TooBig { mtu } => {
                flow.shrink(u32::from(emit::mss_for(&flow.key, mtu)));
                self.enqueue(index);
            }
            IcmpError::Refused if flow.state == State::SynSent => {
                ctx.counters.count(Reason::TcpGuestRefused);
                self.remove(ctx, index, Over::Abort);
            }
            // An open connection outlives it (RFC 9293, 3.9.2.2).
            IcmpError::Refused | IcmpError::Passing => {}
        }
        about
    }

    /// Does what calls since the last turn left to do: acknowledges, writes to and reads from
    /// streams, a bounded amount. To be called after a batch of segments and reports, and again
    /// while [`Table::wants_turn`].
    pub fn turn(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        self.last_turn = now;
        let frames = ctx.out.len();
        for _ in 0..self.waiting.len().min(TURN) {
            let Some(index) = self.waiting.pop_front() else { break };
            self.work.push_back(index);
        }
        for _ in 0..TURN {
            if ctx.out.len() >= frames + TURN_FRAMES {
                break;
            }
            let Some(index) = self.work.pop_front() else { break };
            let Some(flow) = flow_mut(&mut self.slots, index).filter(|flow| flow.queued) else {
                continue;
            };
            flow.queued = false;
            let held = flow.inbox.len();
            let served = flow.serve(&mut Env { now, ctx });
            let (after, owner) = (flow.inbox.len(), flow.owner);
            self.holds(owner, held, after);
            match served {
                Ok(Rest::Nothing) => {}
                Ok(Rest::More) => self.enqueue(index),
                Ok(Rest::Room) => {
                    if let Some(flow) = flow_mut(&mut self.slots, index) {
                        flow.queued = true;
                    }
                    self.waiting.push_back(index);
                }
                Err(over) => {
                    self.remove(ctx, index, over);
                    continue;
                }
            }
            self.settle(ctx, index);
        }
    }

    /// Brings accounts and timers of a connection up to date.
    fn settle(&mut self, ctx: &mut Ctx<'_>, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let generation = slot.generation;
        let Some(flow) = &mut slot.flow else { return };
        if flow.is_opening
            && !matches!(flow.state, State::Connecting | State::SynReceived | State::SynSent)
        {
            flow.is_opening = false;
            if let Some(load) = flow.owner.and_then(|owner| self.loads.get_mut(&owner)) {
                load.opening = load.opening.saturating_sub(1);
            }
        }
        if flow.state == State::TimeWait && !flow.lingers {
            flow.lingers = true;
            self.live -= 1;
            let owner = flow.owner;
            self.unload(owner, false);
            self.lingering.push_back((index, generation));
            if self.lingering.len() > LINGERING_MAX
                && let Some((oldest, generation)) = self.lingering.pop_front()
                && self.slots.get(oldest as usize).is_some_and(|s| s.generation == generation)
            {
                self.remove(ctx, oldest, Over::Closed);
            }
        }
        self.rewheel(index);
    }

    /// Whether there is more for [`Table::turn`] to do now.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        !self.work.is_empty()
    }

    /// Whether something waits for room in a guest's queue.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next connection that could not be made in a way that deserves an ICMP error.
    pub fn poll_unreachable(&mut self) -> Option<Unreachable> {
        self.unreachable.pop_front()
    }

    /// When [`Table::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let room = (!self.waiting.is_empty()).then(|| self.last_turn + ROOM_PATIENCE);
        self.wheel.next().into_iter().chain(room).min()
    }

    /// Does what is due; [`Table::turn`] is to follow.
    pub fn handle_timeout(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        while let Some(index) = self.wheel.pop(now) {
            let Some(flow) = flow_mut(&mut self.slots, index) else { continue };
            flow.wheel_at = None;
            match flow.timeout(&mut Env { now, ctx }) {
                Ok(()) => {
                    self.enqueue(index);
                    self.rewheel(index);
                }
                Err(over) => self.remove(ctx, index, over),
            }
        }
    }

    /// Connections now, without those that only linger.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Connections of one guest.
    #[must_use]
    pub fn len_of(&self, guest: GuestKey) -> usize {
        self.loads.get(&guest).map_or(0, |load| load.flows)
    }

    /// Guests that have connections.
    pub(crate) fn owners(&self) -> impl Iterator<Item = GuestKey> + '_ {
        self.loads.keys().copied()
    }

    /// Frames of guests that are held until a stream takes them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// What people are shown of the connections.
    pub fn flows(&self, now: Instant) -> impl Iterator<Item = FlowReport> {
        self.slots.iter().filter_map(|slot| slot.flow.as_ref()).map(move |flow| FlowReport {
            protocol: Protocol::Tcp,
            guest: flow.owner,
            guest_end: flow.key.guest(),
            remote: flow.key.remote(),
            host: flow.host.filter(|host| *host != flow.key.remote()),
            inbound: flow.inbound,
            state: flow.report_state(),
            bytes_out: flow.bytes_out,
            bytes_in: flow.bytes_in,
            idle: now.saturating_since(flow.last_heard),
        })
    }

    fn enqueue(&mut self, index: u32) {
        if let Some(flow) = flow_mut(&mut self.slots, index)
            && !flow.queued
        {
            flow.queued = true;
            self.work.push_back(index);
        }
    }

    /// Sets the timer if it has to fire earlier than it would. One that fires too early is set
    /// again then, which costs less than to move it with every segment.
    fn rewheel(&mut self, index: u32) {
        if let Some(flow) = flow_mut(&mut self.slots, index) {
            let deadline = flow.deadline();
            if flow.wheel_at.is_none_or(|at| deadline < at) {
                flow.wheel_at = Some(deadline);
                self.wheel.set(index, deadline);
            }
        }
    }
}

fn flow_mut<S>(slots: &mut [Slot<S>], index: u32) -> Option<&mut Flow<S>> {
    slots.get_mut(index as usize)?.flow.as_deref_mut()
}

/// A segment of no connection (RFC 9293, 3.10.7.1).
fn unknown(ctx: &mut Ctx<'_>, key: &Key, heard: &Heard) -> Segment {
    if heard.has(flag::SYN) && heard.flags & (flag::ACK | flag::RST) == 0 {
        return Segment::Opening;
    }
    ctx.counters.count(Reason::TcpUnknown);
    reset(ctx, key, heard);
    Segment::Done
}

fn reset(ctx: &mut Ctx<'_>, key: &Key, heard: &Heard) {
    if heard.has(flag::RST) {
        return;
    }
    let (sequence, acknowledgement, flags) = if heard.has(flag::ACK) {
        (heard.acknowledgement, Seq(0), flag::RST)
    } else {
        (Seq(0), heard.end(), flag::RST | flag::ACK)
    };
    emit::control(ctx, key, &Says { sequence, acknowledgement, flags, window: 0, options: &[] });
}
