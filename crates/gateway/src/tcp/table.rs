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
//! guest and in all (`loads`). When both ends have come and the last acknowledgement was ours,
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
//! * Those that do not linger by [`TcpLimits`], orphans among them, which are the first to give way; then somebody has to
//!   give up a connection who has clearly more than whoever asks.
//! * `lingering` has as many entries as connections may linger. Entries of those that ended before their
//!   time stay until they are the oldest, and keep the list no longer than that; beyond it the oldest
//!   is forgotten early, which costs a reset if its guest's last segment was lost.
//! * `unreachable` holds a few refusals, each with a frame; what is beyond is counted and not told.
//! * `waiting` and `work` have at most one valid entry a connection. A turn takes off as many of
//!   `waiting` as it may put on.
//! * Frames held by all inboxes are counted here (`loads` too), since only all together tell who may hold
//!   another one. Those of orphans give way to a guest that holds fewer.
//!
//! # Invariants
//!
//! * A connection that is `queued` is on one of the two lists, and one that can do something is `queued`.
//! * `loads` has in all the connections that do not linger, and for a guest those that it owns.
//! * The wheel fires no later than the connection's own deadline, perhaps earlier.

use std::collections::{HashMap, VecDeque};

use engine::Instant;

use super::flow::Flow;
use super::interface::{TcpLimits, Unreachable};
use super::key::{Key, Secret};
use super::wheel::Wheel;
use crate::GuestKey;
use crate::backend::StreamBackend;
use crate::plan::Protocol;
use crate::report::FlowReport;
use loads::Loads;

mod arriving;
mod leaving;
mod loads;
mod opening;
mod pending;
mod places;
mod reported;
mod turns;

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
    loads: Loads,
    wheel: Wheel,
    work: VecDeque<u32>,
    /// Those of `work` that had no room last time.
    waiting: VecDeque<u32>,
    /// Connections in [`State::TimeWait`](super::flow::State) in the order of their ends, with their generations.
    lingering: VecDeque<(u32, u32)>,
    /// Connections in [`State::Orphan`](super::flow::State), the oldest first.
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
            loads: Loads::default(),
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

    /// Connections now, without those that only linger.
    #[must_use]
    pub fn len(&self) -> usize {
        self.loads.live()
    }

    /// Whether there is no connection.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.loads.live() == 0
    }

    /// Connections of one guest.
    #[must_use]
    pub fn len_of(&self, guest: GuestKey) -> usize {
        self.loads.of(guest).flows
    }

    /// Guests that have connections.
    pub(crate) fn owners(&self) -> impl Iterator<Item = GuestKey> + '_ {
        self.loads.owners()
    }

    /// Frames of guests that are held until a stream takes them.
    #[must_use]
    pub fn held(&self) -> usize {
        self.loads.held()
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
}

fn flow_mut<S>(slots: &mut [Slot<S>], index: u32) -> Option<&mut Flow<S>> {
    slots.get_mut(index as usize)?.flow.as_deref_mut()
}
