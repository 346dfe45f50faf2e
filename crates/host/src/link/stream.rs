//! The QEMU stream link: length-prefixed frames on a connected stream socket.
//!
//! Both directions are batched: one read takes up to [`STREAM_READ`](super::scratch::STREAM_READ) bytes and
//! every frame in it, one write carries a whole batch. A write that is cut within a frame leaves a
//! copy of that frame's rest here, which goes before anything else: the frame itself cannot go back
//! to its queue, where it could be dropped.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{BATCH, Pool, TxBatch};
use sys::errno;
use wire::Offload;
use wire::ethernet::HEADER_LEN;

use super::framing::{Decoder, PREFIX_LEN, RECORD_MAX, Step, prefix};
use super::{
    CloseReason, Intake, Link, LinkState, Progress, Sent, copy_frame, raw_offload, release_front,
};

#[derive(Debug)]
pub(crate) struct StreamLink {
    fd: OwnedFd,
    decoder: Decoder,
    /// What is not out yet of a frame that was cut, with its prefix: at most one record. Allocated
    /// while there is something in it.
    rest: Vec<u8>,
    /// Bytes at the front of `rest` that went out later.
    rest_sent: usize,
    raw_offload: bool,
}

impl StreamLink {
    pub(crate) fn new(fd: OwnedFd, raw_offload: bool) -> io::Result<StreamLink> {
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        let (decoder, rest) = (Decoder::new(), Vec::new());
        Ok(StreamLink { fd, decoder, rest, rest_sent: 0, raw_offload })
    }
}

impl Link for StreamLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        let Intake { pool, batch, scratch, mtu, lost, .. } = intake;
        if scratch.from == scratch.to {
            match sys::unix::receive(self.fd.as_fd(), &mut scratch.bytes) {
                Ok(0) => return Err(CloseReason::PeerClosed),
                Ok(n) => (scratch.from, scratch.to) = (0, n),
                Err(e) if is_transient(&e) => return Ok(Progress::Done),
                Err(e) => return Err(CloseReason::of(&e)),
            }
        }
        let mut input = &scratch.bytes[scratch.from..scratch.to];
        while !batch.is_full() {
            match self.decoder.next(&mut input) {
                // A visit's worth of bytes holds very many empty records: they must cost as little
                // as they are worth. The first few get their verdict as every frame does.
                Step::Frame(frame) if frame.len() < HEADER_LEN && scratch.runts >= BATCH => {
                    lost.runts += 1;
                }
                Step::Frame(frame) => {
                    scratch.runts += usize::from(frame.len() < HEADER_LEN);
                    let offload = if self.raw_offload {
                        raw_offload::infer(frame, *mtu)
                    } else {
                        Offload::NONE
                    };
                    copy_frame(pool, batch, lost, frame, offload);
                }
                Step::Incomplete => {
                    scratch.forget();
                    return Ok(Progress::Done);
                }
                Step::BadLength(length) => {
                    scratch.forget();
                    return Err(CloseReason::Protocol(format!(
                        "the client sent a record of {length} bytes; a frame has at most \
                         {RECORD_MAX}, so this is not QEMU's stream framing"
                    )));
                }
            }
        }
        scratch.from = scratch.to - input.len();
        Ok(if input.is_empty() { Progress::Done } else { Progress::More })
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent {
        let mut state = LinkState::Free;
        while state == LinkState::Free && !(self.rest.is_empty() && batch.is_empty()) {
            match self.write(pool, batch) {
                Ok((written, wanted)) => {
                    self.advance(pool, batch, written);
                    if written < wanted {
                        state = LinkState::Blocked;
                    }
                }
                Err(e) if is_transient(&e) => state = LinkState::Blocked,
                Err(e) => return Sent { state: Err(CloseReason::of(&e)), refused: 0 },
            }
        }
        Sent { state: Ok(state), refused: 0 }
    }

    fn unfinished(&self) -> u64 {
        u64::from(!self.rest.is_empty())
    }
}

impl StreamLink {
    /// One gathered write of the rest and the batch: how many bytes went, of how many.
    fn write(&self, pool: &Pool, batch: &TxBatch) -> io::Result<(usize, usize)> {
        let mut prefixes = [[0; PREFIX_LEN]; BATCH];
        for (prefix_bytes, frame) in prefixes.iter_mut().zip(batch) {
            *prefix_bytes = prefix(frame.len());
        }
        let mut pieces = [IoSlice::new(&[]); 1 + 3 * BATCH];
        let mut count = 0;
        let mut wanted = 0;
        let mut add = |piece| {
            let piece: &[u8] = piece;
            if !piece.is_empty() {
                pieces[count] = IoSlice::new(piece);
                count += 1;
                wanted += piece.len();
            }
        };
        add(&self.rest[self.rest_sent..]);
        for (prefix_bytes, frame) in prefixes.iter().zip(batch) {
            let [front, rest] = pool.pieces(frame);
            add(prefix_bytes);
            add(front);
            add(rest);
        }
        let written = sys::unix::send_vectored(self.fd.as_fd(), &pieces[..count])?;
        Ok((written, wanted))
    }

    /// Releases what is out completely, and keeps the rest of a frame that is out in part.
    fn advance(&mut self, pool: &mut Pool, batch: &mut TxBatch, written: usize) {
        let of_rest = written.min(self.rest.len() - self.rest_sent);
        self.rest_sent += of_rest;
        if self.rest_sent == self.rest.len() {
            self.rest = Vec::new();
            self.rest_sent = 0;
        }
        let mut progress = written - of_rest;
        let mut done = 0;
        for frame in batch.iter() {
            let total = PREFIX_LEN + frame.len();
            if progress < total {
                break;
            }
            progress -= total;
            done += 1;
        }
        if let Some(cut) = batch.get(done).filter(|_| progress > 0) {
            let [front, rest] = pool.pieces(cut);
            let whole = [&prefix(cut.len())[..], front, rest];
            self.rest = whole.into_iter().flatten().skip(progress).copied().collect();
            done += 1;
        }
        release_front(pool, batch, done);
    }
}

/// ENOBUFS and ENOMEM are over soon as well: EPOLLOUT or the next frame tries again.
fn is_transient(e: &io::Error) -> bool {
    errno::is_transient(e) || errno::is_no_memory(e)
}
