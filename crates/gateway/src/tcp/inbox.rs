//! Data of a guest that the host's socket has not taken: because the socket is full, or because
//! something before it is missing.
//!
//! Frames are held as they came, in the worker's pool; nothing is copied until the socket takes it.
//! Pieces are in order and do not overlap. The first `ready` of them follow each other without a
//! gap from what was written last.

use std::collections::VecDeque;
use std::io::IoSlice;

use engine::{Frame, Pool};

use super::options::BLOCKS_MAX;
use super::seq::Seq;
use crate::backend::{Stream, StreamError};

/// Frames of one connection that are held at most.
pub(super) const FRAMES_MAX: usize = 1024;

/// Frames written by one call.
const BATCH: usize = 32;

#[derive(Debug)]
struct Piece {
    from: Seq,
    len: u32,
    /// Offset of the first byte in the frame.
    offset: u32,
    frame: Frame,
}

impl Piece {
    fn end(&self) -> Seq {
        self.from + self.len
    }
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pieces: VecDeque<Piece>,
    ready: usize,
    /// The piece that came last, for the order of a selective acknowledgement.
    latest: Seq,
}

impl Inbox {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether nothing waits to be written. There may be pieces behind a gap.
    pub(super) fn is_written(&self) -> bool {
        self.ready == 0
    }

    /// Whether something is here behind a gap.
    pub(super) fn has_gap(&self) -> bool {
        self.pieces.len() > self.ready
    }

    /// Whether all of a segment is here already.
    pub(super) fn covers(&self, from: Seq, to: Seq) -> bool {
        let mut from = from;
        for piece in self.pieces.iter().skip(self.ready) {
            if from.before(piece.from) {
                return false;
            }
            from = from.max(piece.end());
            if to.upto(from) {
                return true;
            }
        }
        false
    }

    /// Takes a piece that begins at or behind `next`, the number up to which everything is here, and
    /// returns the new such number. What it has of bytes that are here already is left out; pieces
    /// that it covers are given up for it. The number of frames held changes by the difference of
    /// [`Inbox::len`].
    pub(super) fn insert(
        &mut self,
        pool: &mut Pool,
        next: Seq,
        (mut from, mut len, mut offset): (Seq, u32, u32),
        frame: Frame,
    ) -> Seq {
        let mut at = self.ready;
        while let Some(piece) = self.pieces.get(at)
            && piece.from.upto(from)
        {
            let skip = piece.end().since(from).min(len);
            (from, len, offset) = (from + skip, len - skip, offset + skip);
            at += 1;
        }
        while let Some(piece) = self.pieces.get(at) {
            if piece.end().upto(from + len) && len > 0 {
                if let Some(piece) = self.pieces.remove(at) {
                    pool.release(piece.frame);
                }
            } else {
                len = len.min(piece.from.since(from));
                break;
            }
        }
        if len == 0 {
            pool.release(frame);
            return next;
        }
        self.latest = from;
        self.pieces.insert(at, Piece { from, len, offset, frame });
        let mut next = next;
        while let Some(piece) = self.pieces.get(self.ready)
            && piece.from == next
        {
            next = piece.end();
            self.ready += 1;
        }
        next
    }

    /// Writes what is in order. Says whether the stream took all of it.
    pub(super) fn write<S: Stream>(
        &mut self,
        pool: &mut Pool,
        stream: &mut S,
    ) -> Result<bool, StreamError> {
        while self.ready > 0 {
            let mut slices = [IoSlice::new(&[]); 2 * BATCH];
            let pieces = self.pieces.iter().take(self.ready.min(BATCH));
            let mut used = 0;
            for (piece, pair) in pieces.zip(slices.as_chunks_mut::<2>().0) {
                let (offset, len) = (piece.offset as usize, piece.len as usize);
                let [a, b] = pool.pieces(&piece.frame);
                let border = a.len();
                let a = a.get(offset..(offset + len).min(border)).unwrap_or_default();
                let start = offset.saturating_sub(border);
                let b = b.get(start..start + len - a.len()).unwrap_or_default();
                *pair = [IoSlice::new(a), IoSlice::new(b)];
                used += 2;
            }
            let written = stream.write(slices.get(..used).unwrap_or_default())?;
            if written == 0 {
                return Ok(false);
            }
            self.consume(pool, written);
        }
        Ok(true)
    }

    fn consume(&mut self, pool: &mut Pool, mut count: usize) {
        while count > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            let len = piece.len as usize;
            if count < len {
                let count = count as u32;
                (piece.from, piece.len) = (piece.from + count, piece.len - count);
                piece.offset += count;
                return;
            }
            count -= len;
            self.ready = self.ready.saturating_sub(1);
            if let Some(piece) = self.pieces.pop_front() {
                pool.release(piece.frame);
            }
        }
    }

    /// What is here behind gaps, the latest first (RFC 2018, 4). Says how many of the blocks hold
    /// something.
    pub(super) fn blocks(&self) -> ([(Seq, Seq); BLOCKS_MAX], usize) {
        let mut blocks = [(Seq(0), Seq(0)); BLOCKS_MAX];
        let mut count = 0;
        let mut current: Option<(Seq, Seq)> = None;
        let mut put = |block: (Seq, Seq)| {
            let has_latest = block.0.upto(self.latest) && self.latest.before(block.1);
            if has_latest {
                blocks.copy_within(..BLOCKS_MAX - 1, 1);
                blocks[0] = block;
                count += 1;
            } else if let Some(place) = blocks.get_mut(count) {
                *place = block;
                count += 1;
            }
            count = count.min(BLOCKS_MAX);
        };
        for piece in self.pieces.iter().skip(self.ready) {
            match &mut current {
                Some(block) if block.1 == piece.from => block.1 = piece.end(),
                _ => {
                    if let Some(block) = current.replace((piece.from, piece.end())) {
                        put(block);
                    }
                }
            }
        }
        if let Some(block) = current {
            put(block);
        }
        (blocks, count)
    }

    /// Gives all frames back.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        for piece in self.pieces.drain(..) {
            pool.release(piece.frame);
        }
        self.ready = 0;
    }
}
