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
//! buffers as well. Both are rare and stand *aside*; one flag tells that there is any of it.

use alloc::collections::VecDeque;

use wire::segment::Segmenter;

use crate::frame::Frame;
use crate::pool::Pool;
use crate::reason::Reason;
use crate::ring::Ring;

/// Something is in `kept` or `cutting`.
const ASIDE: u8 = 1;
/// The link gave frames back and has not asked for more since.
const STALLED: u8 = 2;
/// The port is in the list of ready ports.
const LISTED: u8 = 4;

/// The order of the fields is that of their use: what every frame needs is close together.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Queue {
    frames: Ring,
    limit_frames: u32,
    /// How many of all frames, those aside included, are in large buffers.
    large: u32,
    limit_bytes: usize,
    bytes: usize,
    /// [`ASIDE`], [`STALLED`], [`LISTED`].
    state: u8,
    /// What the link gave back, oldest first; before everything else.
    kept: VecDeque<Frame>,
    /// The frame that is being cut, and how far.
    cutting: Option<(Frame, Segmenter)>,
}

impl Queue {
    pub(crate) fn new(limit_frames: usize, limit_bytes: usize) -> Self {
        let mut queue = Self {
            frames: Ring::new(limit_frames),
            limit_frames: 0,
            large: 0,
            limit_bytes: 0,
            bytes: 0,
            state: 0,
            kept: VecDeque::new(),
            cutting: None,
        };
        queue.set_limits(limit_frames, limit_bytes);
        queue
    }

    /// New limits. What is queued beyond them stays.
    pub(crate) fn set_limits(&mut self, frames: usize, bytes: usize) {
        self.limit_frames = u32::try_from(frames).unwrap_or(u32::MAX);
        self.limit_bytes = bytes;
    }

    /// Frames that no link has taken yet, the one that is being cut included.
    pub(crate) fn len(&self) -> usize {
        self.frames.len() + usize::from(self.cutting.is_some())
    }

    /// Bytes of those frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.len() == 0 && self.state & ASIDE == 0
    }

    /// Whether the port is in the list of ready ports.
    #[inline]
    pub(crate) fn is_listed(&self) -> bool {
        self.state & LISTED != 0
    }

    /// The port is taken out of that list.
    #[inline]
    pub(crate) fn unlist(&mut self) {
        self.state &= !LISTED;
    }

    /// The port is put into it.
    #[inline]
    pub(crate) fn list(&mut self) {
        self.state |= LISTED;
    }

    /// The link asks for frames, so it is not stalled.
    #[inline]
    pub(crate) fn asked(&mut self) {
        self.state &= !STALLED;
    }

    /// Whether the queue takes this frame now. The frame itself counts among the buffers in use.
    #[inline]
    pub(crate) fn admit(&self, pool: &Pool, frame: &Frame) -> Result<(), Reason> {
        let len = self.frames.len();
        // The usual case, in which no question has to be asked in full.
        let usual = self.state & (ASIDE | STALLED) == 0
            && len < self.limit_frames as usize
            && self.bytes + frame.len() <= self.limit_bytes
            && !frame.body.is_large()
            && len <= pool.available(false);
        if usual { Ok(()) } else { self.admit_asking(pool, frame) }
    }

    #[inline(never)]
    fn admit_asking(&self, pool: &Pool, frame: &Frame) -> Result<(), Reason> {
        let len = self.len();
        let over = self.bytes + frame.len() > self.limit_bytes && len > 0;
        if len >= self.limit_frames as usize || over {
            return Err(Reason::QueueFull);
        }
        let large = frame.body.is_large();
        let all = len + self.kept.len();
        let held = if large { self.large as usize } else { all - self.large as usize };
        if held > pool.available(large) || (self.state & STALLED != 0 && pool.is_scarce(frame)) {
            return Err(Reason::QueueShare);
        }
        Ok(())
    }

    /// Adds a frame at the end, and tells whether the port has to be listed as ready; it counts as
    /// listed then. The handle that the caller has is not to be used again.
    #[inline]
    pub(crate) fn push(&mut self, frame: &Frame) -> bool {
        let list = self.frames.len() == 0 && self.state & (ASIDE | LISTED) == 0;
        self.state |= if list { LISTED } else { 0 };
        self.bytes += frame.len();
        self.large += u32::from(frame.body.is_large());
        self.frames.push(frame);
        list
    }

    /// Frames at the head, at most so many, as they lie in one run of memory; none if something stands
    /// aside before them.
    #[inline]
    pub(crate) fn front(&self, most: usize) -> &[Frame] {
        if self.state & ASIDE == 0 { self.frames.front(most) } else { &[] }
    }

    /// Forgets the first `count` of them, which are plain, and their `bytes`.
    #[inline]
    pub(crate) fn advance_plain(&mut self, count: usize, bytes: usize) {
        self.frames.advance(count);
        self.bytes -= bytes;
    }

    /// Takes the frame at the head; the caller tells [`Self::settle`] when it is through with it.
    pub(crate) fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.nth(0)?.moved();
        self.frames.advance(1);
        Some(frame)
    }

    /// Forgets a frame's bytes and buffer. `frame` is as it was in the queue.
    pub(crate) fn settle(&mut self, frame: &Frame) {
        self.bytes -= frame.len();
        self.large -= u32::from(frame.body.is_large());
    }

    /// Puts the frame that is being cut back to the head.
    pub(crate) fn set_cutting(&mut self, frame: Frame, segmenter: Segmenter) {
        self.cutting = Some((frame, segmenter));
        self.state |= ASIDE;
    }

    /// Takes the frame that is being cut, if one is.
    pub(crate) fn take_cutting(&mut self) -> Option<(Frame, Segmenter)> {
        let cutting = self.cutting.take();
        self.look_aside();
        cutting
    }

    /// Takes note of whether anything stands aside.
    fn look_aside(&mut self) {
        self.state &= !ASIDE;
        if self.cutting.is_some() || !self.kept.is_empty() {
            self.state |= ASIDE;
        }
    }

    /// Takes back, in order, what the link took last and cannot write yet.
    pub(crate) fn keep(&mut self, frames: impl DoubleEndedIterator<Item = Frame>) {
        self.state |= STALLED;
        for frame in frames.rev() {
            self.large += u32::from(frame.body.is_large());
            self.kept.push_front(frame);
        }
        self.look_aside();
    }

    /// Takes the oldest of the frames that were given back.
    pub(crate) fn pop_kept(&mut self) -> Option<Frame> {
        let frame = self.kept.pop_front()?;
        self.large -= u32::from(frame.body.is_large());
        if self.kept.is_empty() {
            // Few ports stall, and those that do not should not pay for it for ever.
            self.kept = VecDeque::new();
            self.look_aside();
        }
        Some(frame)
    }

    /// Gives up every frame whose buffers come out of the pool's reserve. Tells how many that were,
    /// of those given back and of those never taken.
    pub(crate) fn give_up_reserve(&mut self, pool: &mut Pool) -> (u64, u64) {
        let (mut taken, mut untaken) = (0, 0);
        for _ in 0..self.kept.len() {
            let Some(frame) = self.kept.pop_front() else { break };
            if pool.is_scarce(&frame) {
                self.large -= u32::from(frame.body.is_large());
                pool.release(frame);
                taken += 1;
            } else {
                self.kept.push_back(frame);
            }
        }
        if let Some((frame, _)) = self.cutting.take_if(|(frame, _)| pool.is_scarce(frame)) {
            self.settle(&frame);
            pool.release(frame);
            untaken += 1;
        }
        self.look_aside();
        for _ in 0..self.frames.len() {
            let Some(frame) = self.pop() else { break };
            if pool.is_scarce(&frame) {
                self.settle(&frame);
                pool.release(frame);
                untaken += 1;
            } else {
                self.frames.push(&frame);
            }
        }
        (taken, untaken)
    }

    /// Empties the queue and tells how many frames were in it: of those that were given back, and of
    /// those never taken.
    pub(crate) fn clear(&mut self, pool: &mut Pool) -> (u64, u64) {
        let (kept, untaken) = (self.kept.len() as u64, self.len() as u64);
        self.kept.drain(..).for_each(|frame| pool.release(frame));
        if let Some((frame, _)) = self.cutting.take() {
            pool.release(frame);
        }
        while let Some(frame) = self.pop() {
            pool.release(frame);
        }
        self.look_aside();
        self.bytes = 0;
        self.large = 0;
        (kept, untaken)
    }
}
