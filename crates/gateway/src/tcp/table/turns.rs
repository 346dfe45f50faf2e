//! Whose turn it is, and what is due.

use std::time::Duration;

use engine::Instant;

use super::super::flow::{Env, Over, State};
use super::super::output::Rest;
use super::{Table, flow_mut};
use crate::backend::StreamBackend;
use crate::ctx::Ctx;

/// Services of one turn; each sends one large frame at most.
const TURN: usize = 256;

/// Frames sent by one turn: 4 MiB at most, a millisecond or so.
const TURN_FRAMES: usize = 64;

/// How long something waits for room without a word from whoever has the queue.
const ROOM_PATIENCE: Duration = Duration::from_millis(100);

/// Connections that linger after their end, at most. They have no stream.
const LINGERING_MAX: usize = 4096;

impl<B: StreamBackend> Table<B> {
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
            self.loads.holds(owner, held, after);
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
        if !matches!(flow.state, State::Connecting | State::SynReceived | State::SynSent)
            && let Some(opener) = flow.opening.take()
        {
            self.loads.is_open(flow.owner, opener);
        }
        if flow.state == State::TimeWait && !flow.lingers {
            flow.lingers = true;
            self.loads.lingers(flow.owner);
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

    pub(super) fn enqueue(&mut self, index: u32) {
        if let Some(flow) = flow_mut(&mut self.slots, index)
            && !flow.queued
        {
            flow.queued = true;
            self.work.push_back(index);
        }
    }

    /// Sets the timer if it has to fire earlier than it would. One that fires too early is set
    /// again then, which costs less than to move it with every segment.
    pub(super) fn rewheel(&mut self, index: u32) {
        if let Some(flow) = flow_mut(&mut self.slots, index) {
            let deadline = flow.deadline();
            if flow.wheel_at.is_none_or(|at| deadline < at) {
                flow.wheel_at = Some(deadline);
                self.wheel.set(index, deadline);
            }
        }
    }
}
