//! Guests leave, and what they have sent does not.
//!
//! What was acknowledged to a guest is the outside's, whatever becomes of the guest: a program may send,
//! close and end, and its stack has nothing more to do once everything is acknowledged. So a connection
//! whose guest has ended its direction is let go of and not reset: the kernel delivers what the socket
//! has taken. What it has not taken yet is written by the connection as an orphan, which has no guest
//! and no name any more, for a bounded time. The others are reset: their end never came, and a stream
//! that is cut must not look as if it were whole.

use engine::Instant;
use ipnet::IpNet;

use super::super::flow::{Env, Flow, Over, State};
use super::{Table, flow_mut};
use crate::backend::StreamBackend;
use crate::ctx::Ctx;
use crate::{GuestKey, Reason, share};

/// Connections without a guest, at most. Each has a descriptor, and frames.
const ORPHANS_MAX: usize = 64;

/// A connection in [`State::Orphan`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) index: u32,
    /// Whose it was. Another guest may have the same key by now, and gets no more by it.
    left_by: Option<GuestKey>,
}

impl<B: StreamBackend> Table<B> {
    /// A guest's port is gone, and so are its connections.
    pub fn guest_gone(&mut self, now: Instant, ctx: &mut Ctx<'_>, guest: GuestKey) {
        for index in 0..self.slots.len() as u32 {
            if flow_mut(&mut self.slots, index).is_some_and(|flow| flow.owner == Some(guest)) {
                self.bereave(now, ctx, index);
            }
        }
    }

    /// Addresses belong to nobody any more, or to another: their connections end.
    pub fn addresses_gone(&mut self, now: Instant, ctx: &mut Ctx<'_>, addresses: IpNet) {
        for index in 0..self.slots.len() as u32 {
            let flow = flow_mut(&mut self.slots, index);
            if flow.is_some_and(|flow| {
                flow.state != State::Orphan && addresses.contains(&flow.key.guest().ip())
            }) {
                self.bereave(now, ctx, index);
            }
        }
    }

    /// The gateway is taken away, and every connection ends as if its guest were gone, at once.
    pub fn close(&mut self, now: Instant, ctx: &mut Ctx<'_>) {
        while self.give_up_orphan(ctx) {}
        for index in 0..self.slots.len() as u32 {
            self.bereave(now, ctx, index);
        }
        while self.give_up_orphan(ctx) {}
    }

    /// A connection has no guest any more.
    fn bereave(&mut self, now: Instant, ctx: &mut Ctx<'_>, index: u32) {
        let Some(flow) = flow_mut(&mut self.slots, index) else { return };
        let (owner, before) = (flow.owner, flow.inbox.len());
        let left = flow.bequeath(&mut Env { now, ctx });
        let after = flow.inbox.len();
        self.loads.holds(owner, before, after);
        if let Err(over) = left {
            return self.remove(ctx, index, over);
        }
        let Some(flow) = flow_mut(&mut self.slots, index) else { return };
        let (key, was_opening) = (flow.key, flow.opening);
        (flow.owner, flow.opening) = (None, None);
        self.loads.orphaned(owner, was_opening, after);
        self.index.remove(&key);
        self.orphans.push_back(Orphan { index, left_by: owner });
        self.rewheel(index);
        while self.orphans.len() > ORPHANS_MAX {
            self.give_up_orphan(ctx);
        }
    }

    /// Ends an orphan, if there is one: the oldest of whoever has left most of them.
    pub(crate) fn give_up_orphan(&mut self, ctx: &mut Ctx<'_>) -> bool {
        let Some((at, _)) = self.most_left(|_| 1) else { return false };
        self.give_up(ctx, at);
        true
    }

    /// Whether a guest may hold one more frame. Orphans give way until it may, as long as somebody has
    /// left more frames behind than it holds: without a guest to ask for its part again, what they hold
    /// would stay, and grow with each guest that leaves; and whoever holds much takes nothing from who
    /// has left little.
    pub(super) fn may_hold(&mut self, ctx: &mut Ctx<'_>, guest: Option<GuestKey>) -> bool {
        let own = guest.map_or(0, |guest| self.loads.of(guest).held);
        while !share::allows(own, self.loads.held(), self.limits.held) {
            match self.most_left(|flow| flow.inbox.len()) {
                Some((at, held)) if held > own => self.give_up(ctx, at),
                _ => return false,
            }
        }
        true
    }

    fn give_up(&mut self, ctx: &mut Ctx<'_>, at: usize) {
        if let Some(orphan) = self.orphans.remove(at) {
            ctx.counters.count(Reason::TcpLeftBehind);
            self.remove(ctx, orphan.index, Over::Abort);
        }
    }

    /// Which orphan is the oldest of whoever has left most, and how much all of those weigh.
    fn most_left(&self, weight: impl Fn(&Flow<B::Stream>) -> usize) -> Option<(usize, usize)> {
        let mut heaps: Vec<(Option<GuestKey>, usize, usize)> = Vec::new();
        for (at, orphan) in self.orphans.iter().enumerate() {
            let slot = self.slots.get(orphan.index as usize);
            let weight = slot.and_then(|slot| slot.flow.as_deref()).map_or(0, &weight);
            match heaps.iter_mut().find(|(left_by, ..)| *left_by == orphan.left_by) {
                Some((.., sum)) => *sum += weight,
                None => heaps.push((orphan.left_by, at, weight)),
            }
        }
        // Of those who have left the same, the one whose oldest is older.
        let most = heaps.into_iter().rev().max_by_key(|(.., sum)| *sum);
        most.map(|(_, at, sum)| (at, sum))
    }
}
