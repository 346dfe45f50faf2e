//! The one queue of an egress port.
//!
//! Bounded in frames and in bytes, and by its share of the worker's pool: it may hold no more
//! buffers of a class than are still free (the dynamic threshold of Choudhury and Hahne, 1998, with
//! factor one). So a port whose guest has stopped reading can take half of the pool at most, two
//! such ports a third each, and something is always left for the ports that drain. A frame that
//! finds no room is dropped at the tail and counted here, on the egress port.
//!
//! A GSO frame that is being cut stays in the queue, as its head, until its last segment was taken.

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
    /// The frame that is being cut, and how far.
    pub(crate) cutting: Option<(Frame, Segmenter)>,
    limit_frames: usize,
    limit_bytes: usize,
    bytes: usize,
    /// How many of the frames are in large buffers.
    large: usize,
    /// The port is in the list of ready ports.
    pub(crate) listed: bool,
}

impl Queue {
    pub(crate) fn new(limit_frames: usize, limit_bytes: usize) -> Self {
        Self {
            frames: VecDeque::with_capacity(INITIAL_FRAMES.min(limit_frames)),
            cutting: None,
            limit_frames,
            limit_bytes,
            bytes: 0,
            large: 0,
            listed: false,
        }
    }

    /// New limits. What is queued beyond them stays.
    pub(crate) fn set_limits(&mut self, frames: usize, bytes: usize) {
        self.limit_frames = frames;
        self.limit_bytes = bytes;
    }

    /// Frames in the queue, the one that is being cut included.
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
        self.frames.is_empty() && self.cutting.is_none()
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
        let held = if large { self.large } else { len - self.large };
        if held > pool.available(large) {
            return Err(Reason::QueueShare);
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.len();
        self.large += usize::from(frame.body.is_large());
        self.frames.push_back(frame);
    }

    /// Takes the frame at the head if nothing is left to do to it: no cut is under way, it has no
    /// metadata, and the port wants no tag.
    #[inline]
    pub(crate) fn pop_finished(&mut self, untagged: bool) -> Option<Frame> {
        if !untagged || self.cutting.is_some() || !self.frames.front()?.offload.is_none() {
            return None;
        }
        let frame = self.pop()?;
        self.settle(&frame);
        Some(frame)
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
        self.large -= usize::from(frame.body.is_large());
    }

    /// Empties the queue and tells how many frames were in it.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> u64 {
        let mut count = 0;
        let cut = self.cutting.take().map(|(frame, _)| frame);
        for frame in cut.into_iter().chain(self.frames.drain(..)) {
            pool.release(frame);
            count += 1;
        }
        self.bytes = 0;
        self.large = 0;
        count
    }
}
