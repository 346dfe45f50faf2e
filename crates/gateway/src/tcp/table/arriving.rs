//! Segments of guests: those of a connection, and those of none.

use engine::{Frame, Instant};
use wire::tcp::flag;

use super::super::emit::{self, Says};
use super::super::flow::{Env, Over};
use super::super::input::{Heard, Taken};
use super::super::interface::{Kept, Segment};
use super::super::key::Key;
use super::super::seq::Seq;
use super::{Table, flow_mut};
use crate::backend::StreamBackend;
use crate::ctx::{Ctx, Packet};
use crate::{GuestKey, Reason};

/// Held pieces of one connection that are written at once, without waiting for the turn.
const HELD_SOON: usize = 256;

impl<B: StreamBackend> Table<B> {
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
                self.loads.adopted(guest, flow.opening);
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
                    self.loads.holds(owner, before, after);
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
        self.loads.holds(owner, before, after);
    }

    /// Answers `packet` with a reset.
    pub fn refuse(&mut self, ctx: &mut Ctx<'_>, packet: &Packet<'_>) {
        if let Some(heard) = Heard::read(ctx.pool, packet) {
            reset(ctx, &Key::new(packet.guest, packet.remote), &heard);
        }
    }
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
