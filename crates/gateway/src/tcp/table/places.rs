//! Who may have a connection, who has to give one up, and what is kept until it is over.

use engine::Instant;

use super::super::flow::{Env, Flow, Opener, Over, State};
use super::{Slot, Table, flow_mut};
use crate::backend::{Stream, StreamBackend};
use crate::ctx::Ctx;
use crate::poll::{Kind, Token};
use crate::{GuestKey, Reason};

/// Connections looked at to find one to give up.
const EVICT_SCAN: usize = 4096;

impl<B: StreamBackend> Table<B> {
    /// Whether a guest has fewer connections than it may.
    pub(crate) fn may_open(&self, guest: GuestKey) -> bool {
        let load = self.loads.of(guest);
        load.flows < self.limits.flows_per_guest && load.opening < self.limits.opening_per_guest
    }

    /// Whether as many clients wait for this guest's answer as may.
    pub(crate) fn is_crowded(&self, guest: GuestKey) -> bool {
        self.loads.of(guest).arriving >= self.limits.arriving_per_guest
    }

    /// Whether one more client may connect to a guest. Clients do not keep it from opening connections
    /// itself: those that are not open yet have a bound of their own, and of all that it may have a
    /// quarter is not for them.
    fn may_be_reached(&self, guest: GuestKey) -> bool {
        let (flows, most) = (self.loads.of(guest).flows, self.limits.flows_per_guest);
        flows < most - most / 4 && !self.is_crowded(guest)
    }

    /// Whether a guest may have one more connection. It is made room for at the cost of a guest that
    /// has more.
    pub(super) fn admit(
        &mut self,
        now: Instant,
        ctx: &mut Ctx<'_>,
        guest: GuestKey,
        opener: Opener,
    ) -> bool {
        let may = match opener {
            Opener::Guest => self.may_open(guest),
            Opener::Client => self.may_be_reached(guest),
        };
        if !may {
            ctx.counters.count(Reason::GuestLimit);
            return false;
        }
        while self.loads.live() >= self.limits.flows && self.give_up_orphan(ctx) {}
        if self.loads.live() >= self.limits.flows && !self.evict(now, ctx, guest) {
            ctx.counters.count(Reason::FlowLimit);
            return false;
        }
        true
    }

    /// Ends a connection of the guest that has the most, if that is clearly more than `guest` has.
    fn evict(&mut self, now: Instant, ctx: &mut Ctx<'_>, guest: GuestKey) -> bool {
        let Some((rich, flows)) = self.loads.richest() else { return false };
        flows > self.len_of(guest) + 1 && self.evict_of(now, ctx, rich)
    }

    /// Ends a connection of this guest: of some of them that which is silent for the longest.
    pub(crate) fn evict_of(&mut self, now: Instant, ctx: &mut Ctx<'_>, rich: GuestKey) -> bool {
        let count = self.slots.len();
        let mut victim: Option<(Instant, usize)> = None;
        for step in 0..count.min(EVICT_SCAN) {
            let at = (self.evict_at + step) % count;
            let flow = self.slots.get(at).and_then(|slot| slot.flow.as_ref());
            // One that only lingers has nothing to give.
            if let Some(flow) = flow.filter(|flow| flow.owner == Some(rich) && !flow.lingers)
                && victim.is_none_or(|(heard, _)| flow.last_heard < heard)
            {
                victim = Some((flow.last_heard, at));
            }
        }
        self.evict_at = (self.evict_at + EVICT_SCAN) % count.max(1);
        let Some((_, at)) = victim else { return false };
        ctx.counters.count(Reason::Evicted);
        if let Some(flow) = flow_mut(&mut self.slots, at as u32) {
            flow.send_reset(&mut Env { now, ctx });
        }
        self.remove(ctx, at as u32, Over::Abort);
        true
    }

    /// A place for a connection, and the name of its stream.
    pub(super) fn reserve(&mut self) -> (u32, Token) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, flow: None });
            self.slots.len() as u32 - 1
        });
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        (index, Token::new(Kind::Tcp, generation, index))
    }

    pub(super) fn insert(&mut self, index: u32, flow: Flow<B::Stream>) {
        self.index.insert(flow.key, index);
        self.loads.opened(flow.owner, flow.opening);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.flow = Some(Box::new(flow));
        }
        self.rewheel(index);
    }

    pub(super) fn remove(&mut self, ctx: &mut Ctx<'_>, index: u32, over: Over) {
        if let Some(mut flow) = self.take(ctx, index)
            && let Some(stream) = flow.stream.take()
            && over == Over::Abort
        {
            stream.abort();
        }
    }

    /// Takes a connection out of the table, with everything that is kept for it.
    pub(super) fn take(&mut self, ctx: &mut Ctx<'_>, index: u32) -> Option<Box<Flow<B::Stream>>> {
        let slot = self.slots.get_mut(index as usize)?;
        let mut flow = slot.flow.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        if flow.state == State::Orphan {
            self.orphans.retain(|orphan| orphan.index != index);
        } else {
            self.index.remove(&flow.key);
        }
        self.wheel.clear(index);
        self.loads.holds(flow.owner, flow.inbox.len(), 0);
        flow.inbox.clear(ctx.pool);
        if !flow.lingers {
            self.loads.closed(flow.owner, flow.opening);
        }
        Some(flow)
    }
}
