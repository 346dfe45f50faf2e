//! The way out: from a port's queue to its link.
//!
//! Frames in the queue are as they came in, without a tag. Here, and only for the link that needs
//! it, a frame gets its tag, its checksum or its cuts, in header pieces of its own: the body stays
//! shared. A frame that is cut over several polls stays at the head of its queue with the state of
//! the cut beside it, so no poll does more than its budget.

use wire::Segmenter;

use crate::batch::{Budget, TxBatch};
use crate::counters::PortCounters;
use crate::engine::Engine;
use crate::filter::tag_for;
use crate::frame::{Cast, Frame};
use crate::pool::{Pool, RewriteError};
use crate::port::{Port, PortId};
use crate::reason::Reason;

impl Engine {
    /// A port whose queue has frames for its link.
    ///
    /// A port is listed once when its queue turns from empty to not empty (in `ingress` of another
    /// port), and again after a `poll_transmit` that left frames. A link that cannot write now need
    /// not do anything: it polls when it can.
    pub fn poll_ready(&mut self) -> Option<PortId> {
        while let Some(index) = self.ready.pop() {
            if let Some(port) = self.ports.at_mut(index) {
                port.queue.unlist();
                return Some(port.id);
            }
        }
        None
    }

    /// Moves frames from a port's queue to `out`, as the port's link can carry them, and tells how
    /// many it added.
    ///
    /// The link owns the frames then, and must release each, or give it back ([`Engine::keep`]).
    /// What it gave back comes first. Zero means that the queue is empty,
    /// that `out` is full or `budget` nothing, or that the port is gone.
    pub fn poll_transmit(
        &mut self,
        pool: &mut Pool,
        port: PortId,
        budget: Budget,
        out: &mut TxBatch,
    ) -> usize {
        let Some(target) = self.ports.get_mut(port) else { return 0 };
        target.queue.asked();
        let (given, bytes) = give_plain(target, budget, out);
        if target.queue.is_empty() {
            return given;
        }
        let frames = budget.frames - given;
        let left = Budget { frames, bytes: budget.bytes.saturating_sub(bytes) };
        given + self.poll_rest(pool, port, left, out)
    }

    /// What is left to give after the plain frames at the head of a queue.
    #[inline(never)]
    fn poll_rest(
        &mut self,
        pool: &mut Pool,
        port: PortId,
        left: Budget,
        out: &mut TxBatch,
    ) -> usize {
        let Some(target) = self.ports.get_mut(port) else { return 0 };
        let before = out.len();
        give_rest(target, pool, left, out);
        if !target.queue.is_listed() && !target.queue.is_empty() {
            target.queue.list();
            self.ready.push(port.index);
        }
        out.len() - before
    }

    /// Takes back frames that `port`'s link cannot write now, in the order in which it took them, and
    /// takes note that the link is stalled; `frames` may be empty. The next `poll_transmit` gives
    /// them again; the port is not listed as ready for them, because only its link knows when.
    ///
    /// So a link holds nothing between two calls, and all of a guest's buffers are in its port's
    /// account. When the pool runs short, a stalled port loses frames (`link-full`) and gets no
    /// more (`queue-share`), so that others find buffers.
    pub fn keep(&mut self, pool: &mut Pool, port: PortId, frames: &mut TxBatch) {
        let Some(target) = self.ports.get_mut(port) else {
            return frames.drain(..).for_each(|frame| pool.release(frame));
        };
        target.queue.keep(frames.drain(..));
        if pool.any_scarce() {
            let (taken, untaken) = target.queue.give_up_reserve(pool);
            target.counters.tx_taken += untaken;
            target.counters.count_drop(Reason::LinkFull, taken + untaken);
        }
    }

    /// Counts frames that a link took and could not deliver, on its port. `reason` is one of the
    /// egress side.
    pub fn transmit_failed(&mut self, port: PortId, reason: Reason, frames: u64) {
        if let Some(port) = self.ports.get_mut(port) {
            port.counters.count_drop(reason, frames);
        }
    }
}

/// Gives the plain frames at the head of the queue, which are all of them as a rule: they need nothing
/// that the link does not do, are copied from where they lie, and counted together. Tells how many, and their bytes.
#[inline(always)]
fn give_plain(port: &mut Port, budget: Budget, out: &mut TxBatch) -> (usize, usize) {
    let Port { access, takes_partial, queue, counters, .. } = port;
    let most = if *access == 0 { 0 } else { budget.frames.min(out.remaining_capacity()) };
    let (mut frames, mut bytes) = (0, 0);
    for frame in queue.front(most) {
        if !frame.is_plain(*takes_partial)
            || bytes >= budget.bytes
            || out.try_push(frame.moved()).is_err()
        {
            break;
        }
        frames += 1;
        bytes += frame.len();
    }
    queue.advance_plain(frames, bytes);
    let count = frames as u64;
    counters.tx_taken += count;
    counters.tx_frames += count;
    counters.tx_unicast += count;
    counters.tx_bytes += bytes as u64;
    (frames, bytes)
}

/// Gives what stands aside, what has to be changed for the link, and what is behind it.
fn give_rest(port: &mut Port, pool: &mut Pool, mut left: Budget, out: &mut TxBatch) {
    give_kept(port, &mut left, out);
    while left.frames > 0 && left.bytes > 0 && !out.is_full() {
        let Some(frame) = next(port, pool) else { break };
        left.frames -= 1;
        left.bytes = left.bytes.saturating_sub(frame.len());
        count_sent(&mut port.counters, &frame);
        out.push(frame);
    }
}

fn count_sent(counters: &mut PortCounters, frame: &Frame) {
    counters.tx_frames += 1;
    counters.tx_bytes += frame.len() as u64;
    match frame.cast() {
        Cast::Unicast => counters.tx_unicast += 1,
        Cast::Multicast => counters.tx_multicast += 1,
        Cast::Broadcast => counters.tx_broadcast += 1,
    }
}

/// Gives what the link gave back once more; it was counted when it was taken first.
#[cold]
fn give_kept(port: &mut Port, left: &mut Budget, out: &mut TxBatch) {
    while left.frames > 0 && left.bytes > 0 && !out.is_full() {
        let Some(frame) = port.queue.pop_kept() else { break };
        left.frames -= 1;
        left.bytes = left.bytes.saturating_sub(frame.len());
        out.push(frame);
    }
}

/// The next frame for the link, whatever it needs. Frames that cannot be made fit for it are
/// dropped on the way.
fn next(port: &mut Port, pool: &mut Pool) -> Option<Frame> {
    loop {
        if let Some((frame, segmenter)) = port.queue.take_cutting() {
            if let Some(segment) = next_cut(port, pool, frame, segmenter) {
                return Some(segment);
            }
            continue;
        }
        let frame = port.queue.pop()?;
        if !frame.has_offload() {
            port.queue.settle(&frame);
            if let Some(frame) = leave(port, pool, frame) {
                return Some(frame);
            }
            continue;
        }
        if let Some(frame) = rewrite(port, pool, frame) {
            return Some(frame);
        }
    }
}

/// A frame with offload metadata: as it is, completed, or the start of a cut.
fn rewrite(port: &mut Port, pool: &mut Pool, mut frame: Frame) -> Option<Frame> {
    let takes = port.spec.offloads_to_guest;
    if frame.has_gso() && !takes.takes(&frame.offload()) {
        match pool.segmenter(&frame) {
            Ok(segmenter) => port.queue.set_cutting(frame, segmenter),
            Err(error) => {
                port.queue.settle(&frame);
                give_up(port, pool, frame, error);
            }
        }
        return None;
    }
    port.queue.settle(&frame);
    if !takes.takes(&frame.offload()) {
        if let Err(error) = pool.complete(&mut frame) {
            give_up(port, pool, frame, error);
            return None;
        }
        port.counters.tx_completed += 1;
    }
    leave(port, pool, frame)
}

/// The next segment of a frame that is being cut. None when the cut ended early.
fn next_cut(
    port: &mut Port,
    pool: &mut Pool,
    frame: Frame,
    mut segmenter: Segmenter,
) -> Option<Frame> {
    let segment = match cut(pool, &frame, &mut segmenter, tag_for(&port.spec, &frame)) {
        Ok(segment) => segment,
        Err(error) => {
            port.queue.settle(&frame);
            give_up(port, pool, frame, error);
            return None;
        }
    };
    if segmenter.remaining() > 0 {
        port.queue.set_cutting(frame, segmenter);
    } else {
        port.queue.settle(&frame);
        port.counters.tx_taken += 1;
        port.counters.tx_segmented += 1;
        pool.release(frame);
    }
    Some(segment)
}

fn cut(
    pool: &mut Pool,
    frame: &Frame,
    segmenter: &mut Segmenter,
    tag: Option<u16>,
) -> Result<Frame, RewriteError> {
    let mut segment = pool.next_segment(frame, segmenter)?;
    if let Some(tci) = tag
        && pool.insert_tag(&mut segment, tci).is_err()
    {
        pool.release(segment);
        return Err(RewriteError::PoolEmpty);
    }
    Ok(segment)
}

/// Tags the frame if the port wants a tag.
fn leave(port: &mut Port, pool: &mut Pool, mut frame: Frame) -> Option<Frame> {
    if port.access == 0
        && let Some(tci) = tag_for(&port.spec, &frame)
        && pool.insert_tag(&mut frame, tci).is_err()
    {
        give_up(port, pool, frame, RewriteError::PoolEmpty);
        return None;
    }
    port.counters.tx_taken += 1;
    Some(frame)
}

fn give_up(port: &mut Port, pool: &mut Pool, frame: Frame, error: RewriteError) {
    let reason = match error {
        RewriteError::PoolEmpty => Reason::NoHeader,
        RewriteError::Refused => Reason::SegmentFailed,
    };
    port.counters.count_drop(reason, 1);
    pool.release(frame);
}
