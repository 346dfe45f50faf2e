//! The QEMU stream link: length-prefixed frames on a connected stream socket.
//!
//! Both directions are batched: one read takes up to [`STREAM_READ`](crate::worker) bytes and
//! every frame in it, one write carries a whole batch. A write that is cut leaves its batch here,
//! with the number of bytes of the first frame that are already out; the rest follows before
//! anything else does.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{BATCH, Pool, TxBatch};
use wire::Offload;

use super::framing::{Decoder, PREFIX_LEN, RECORD_MAX, Step, prefix};
use super::{CloseReason, Held, Intake, Link, LinkState, Progress, Sent, copy_frame, raw_offload};

#[derive(Debug)]
pub(crate) struct StreamLink {
    fd: OwnedFd,
    decoder: Decoder,
    held: Held,
    raw_offload: bool,
}

impl StreamLink {
    pub(crate) fn new(fd: OwnedFd, raw_offload: bool) -> io::Result<StreamLink> {
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        Ok(StreamLink { fd, decoder: Decoder::new(), held: Held::default(), raw_offload })
    }
}

impl Link for StreamLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        let Intake { pool, batch, scratch, mtu, no_buffer, .. } = intake;
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
                Step::Frame(frame) => {
                    let offload = if self.raw_offload {
                        raw_offload::infer(frame, *mtu)
                    } else {
                        Offload::NONE
                    };
                    copy_frame(pool, batch, no_buffer, frame, offload);
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

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Result<Sent, CloseReason> {
        self.held.accept(batch);
        while !self.held.is_empty() {
            let (written, wanted) = match self.write(pool) {
                Ok(progress) => progress,
                Err(e) if is_transient(&e) => return Ok(sent(LinkState::Blocked)),
                Err(e) => return Err(CloseReason::of(&e)),
            };
            self.advance(pool, written);
            if written < wanted {
                return Ok(sent(LinkState::Blocked));
            }
        }
        Ok(sent(LinkState::Free))
    }

    fn abandon(&mut self, pool: &mut Pool) -> u64 {
        self.held.release_all(pool)
    }
}

impl StreamLink {
    /// One gathered write of everything held: how many bytes went, of how many.
    fn write(&self, pool: &Pool) -> io::Result<(usize, usize)> {
        let mut prefixes = [[0; PREFIX_LEN]; BATCH];
        for (prefix_bytes, frame) in prefixes.iter_mut().zip(self.held.frames()) {
            *prefix_bytes = prefix(frame.len());
        }
        let mut pieces = [IoSlice::new(&[]); 3 * BATCH];
        let mut count = 0;
        let mut wanted = 0;
        let mut skip = self.held.written;
        for (prefix_bytes, frame) in prefixes.iter().zip(self.held.frames()) {
            let [front, rest] = pool.pieces(frame);
            for piece in [&prefix_bytes[..], front, rest] {
                let skipped = skip.min(piece.len());
                skip -= skipped;
                let piece = &piece[skipped..];
                if !piece.is_empty() {
                    pieces[count] = IoSlice::new(piece);
                    count += 1;
                    wanted += piece.len();
                }
            }
        }
        let written = sys::unix::send_vectored(self.fd.as_fd(), &pieces[..count])?;
        Ok((written, wanted))
    }

    /// Releases what is out completely and remembers how far the next frame is.
    fn advance(&mut self, pool: &mut Pool, written: usize) {
        let mut progress = self.held.written + written;
        let mut done = 0;
        for frame in self.held.frames() {
            let total = PREFIX_LEN + frame.len();
            if progress < total {
                break;
            }
            progress -= total;
            done += 1;
        }
        self.held.release_front(pool, done);
        self.held.written = progress;
    }
}

fn is_transient(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
        // The kernel had no memory for a buffer just now; EPOLLOUT or the next frame tries again.
        || e.raw_os_error() == Some(NO_BUFFERS)
}

/// ENOBUFS on Linux.
const NO_BUFFERS: i32 = 105;

fn sent(state: LinkState) -> Sent {
    Sent { state, refused: 0 }
}
