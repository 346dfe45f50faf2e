//! The one queue of an egress port.
//!
//! Bounded in frames and in bytes, and by its share of the worker's pool: it may hold no more
//! buffers of a class than are still free (the dynamic threshold of Choudhury and Hahne, 1998, with
//! factor one). So a port whose guest has stopped reading can take half of the pool at most, two
//! such ports a third each, and something is always left for the ports that drain. A frame that
//! finds no room is dropped at the tail and counted here, on the egress port.
//!
//! That alone leaves little when very many guests stop reading. So a part of the pool is kept in
//! reserve ([`Pool::is_scarce`]): a queue whose link is *stalled* (it gave frames back) takes none
//! of it, and gives up what it has of it when it stalls. The reserve is for ports that drain, and a
//! frame on such a port holds its buffer for one turn.
//!
//! A GSO frame that is being cut stays in the queue, as its head, until its last segment was taken.
//! What a link took and gave back stands before that, ready to go, and counts among the port's
//! buffers as well.

use alloc::collections::VecDeque;

use wire::segment::Segmenter;

use crate::frame::Frame;
use crate::pool::Pool;
use crate::reason::Reason;

/// Frames that a queue has room for before it first grows.
const INITIAL_FRAMES: usize = 32;

#[derive(Debug)]
pub(crate) struct Queue {
    frames: VecDeque<Frame>,
    /// What the link gave back, oldest first; before everything else.
    kept: VecDeque<Frame>,
    /// How many of all these frames are in small buffers, and in large ones.
    held: [usize; 2],
    /// The link gave frames back and has not asked for more since.
    pub(crate) stalled: bool,
    /// The frame that is being cut, and how far.
    pub(crate) cutting: Option<(Frame, Segmenter)>,
    limit_frames: usize,
    limit_bytes: usize,
    bytes: usize,
    /// The port is in the list of ready ports.
    pub(crate) listed: bool,
}

impl Queue {
    pub(crate) fn new(limit_frames: usize, limit_bytes: usize) -> Self {
        Self {
            frames: VecDeque::with_capacity(INITIAL_FRAMES.min(limit_frames)),
            kept: VecDeque::new(),
            held: [0; 2],
            stalled: false,
            cutting: None,
            limit_frames,
            limit_bytes,
            bytes: 0,
            listed: false,
        }
    }

    /// New limits. What is queued beyond them stays.
    pub(crate) fn set_limits(&mut self, frames: usize, bytes: usize) {
        self.limit_frames = frames;
        self.limit_bytes = bytes;
    }

    /// Frames that no link has taken yet, the one that is being cut included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.frames.len() + usize::from(self.cutting.is_some())
    }

    /// Bytes of those frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.cutting.is_none() && self.kept.is_empty()
    }

    /// Whether the queue takes this frame now. The frame itself counts among the buffers in use.
    #[inline]
    pub(crate) fn admit(&self, pool: &Pool, frame: &Frame) -> Result<(), Reason> {
        let len = self.len();
        let over = len > 0 && self.bytes + frame.len() > self.limit_bytes;
        if len >= self.limit_frames || over {
            return Err(Reason::QueueFull);
        }
        let large = frame.body.is_large();
        if self.held[usize::from(large)] > pool.available(large)
            || (self.stalled && pool.is_scarce(frame))
        {
            return Err(Reason::QueueShare);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.held[usize::from(frame.body.is_large())] += 1;
        self.frames.push_back(frame);
    }

    /// The frame at the head if nothing is left to do to it: no cut is under way, and it has no
    /// metadata.
    #[inline]
    pub(crate) fn finished(&self) -> Option<&Frame> {
        let frame = self.frames.front()?;
        (self.cutting.is_none() && frame.offload.is_none()).then_some(frame)
    }

    /// Takes the frame at the head, and forgets its bytes and buffer.
    #[inline]
    pub(crate) fn pop_settled(&mut self) -> Option<Frame> {
        let frame = self.frames.front()?;
        self.bytes -= frame.len();
        self.held[usize::from(frame.body.is_large())] -= 1;
        self.pop()
    }

    /// Takes the frame at the head; the caller tells [`Self::settle`] when it is through with it.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front();
        if self.frames.is_empty() {
            // Starts again at the front of its memory, so that a queue that stays short keeps to
            // few cache lines.
            self.frames.clear();
        }
        frame
    }

    /// Forgets a frame's bytes and buffer. `frame` is as it was in the queue.
    #[inline]
    pub(crate) fn settle(&mut self, frame: &Frame) {
        self.bytes -= frame.len();
        self.held[usize::from(frame.body.is_large())] -= 1;
    }

    /// Takes back, in order, what the link took last and cannot write yet.
    pub(crate) fn keep(&mut self, frames: impl DoubleEndedIterator<Item = Frame>) {
        self.stalled = true;
        for frame in frames.rev() {
            self.held[usize::from(frame.body.is_large())] += 1;
            self.kept.push_front(frame);
        }
    }

    /// Whether there is a frame that was given back.
    #[inline]
    pub(crate) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Takes the oldest of them.
    pub(crate) fn pop_kept(&mut self) -> Option<Frame> {
        let frame = self.kept.pop_front()?;
        self.held[usize::from(frame.body.is_large())] -= 1;
        if self.kept.is_empty() {
            // Few ports stall, and those that do not should not pay for it for ever.
            self.kept = VecDeque::new();
        }
        Some(frame)
    }

    /// Gives up every frame whose buffers come out of the pool's reserve. Tells how many that were,
    /// of those given back and of those never taken.
    pub(crate) fn give_up_reserve(&mut self, pool: &mut Pool) -> (u64, u64) {
        let (mut taken, mut untaken) = (0, 0);
        for _ in 0..self.kept.len() {
            let Some(frame) = self.pop_kept() else { break };
            if pool.is_scarce(&frame) {
                pool.release(frame);
                taken += 1;
            } else {
                self.held[usize::from(frame.body.is_large())] += 1;
                self.kept.push_back(frame);
            }
        }
        if let Some((frame, _)) = self.cutting.take_if(|(frame, _)| pool.is_scarce(frame)) {
            self.settle(&frame);
            pool.release(frame);
            untaken += 1;
        }
        for _ in 0..self.frames.len() {
            let Some(frame) = self.frames.pop_front() else { break };
            if pool.is_scarce(&frame) {
                self.settle(&frame);
                pool.release(frame);
                untaken += 1;
            } else {
                self.frames.push_back(frame);
            }
        }
        (taken, untaken)
    }

    /// Empties the queue and tells how many frames were in it: of those that were given back, and of
    /// those never taken.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> (u64, u64) {
        let mut counts = (0, 0);
        for frame in self.kept.drain(..) {
            pool.release(frame);
            counts.0 += 1;
        }
        let cut = self.cutting.take().map(|(frame, _)| frame);
        for frame in cut.into_iter().chain(self.frames.drain(..)) {
            pool.release(frame);
            counts.1 += 1;
        }
        self.bytes = 0;
        self.held = [0; 2];
        counts
    }
}
