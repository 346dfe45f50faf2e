//! The tap link: one frame a system call, each behind a virtio header.
//!
//! A frame is read straight into a leased large buffer, because its length is not known before;
//! the pool moves a short one to a small buffer, a long one stays where the kernel put it. A tap
//! has no batch calls, so the cost per frame is its two system calls; segmentation offload makes
//! up for it.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{Frame, Pool, TxBatch};
use sys::errno;
use wire::{HEADER_MAX, VNET_HDR_LEN, vnet};

use super::{CloseReason, Intake, Link, LinkState, Progress, Sent, release_front};

/// Bytes one visit reads at most: a few full-sized GSO frames.
const VISIT_BYTES: usize = 512 * 1024;

#[derive(Debug)]
pub(crate) struct TapLink {
    fd: OwnedFd,
    header_len: usize,
}

impl TapLink {
    pub(crate) fn new(fd: OwnedFd, vnet_hdr_len: u8) -> io::Result<TapLink> {
        let actual = sys::tap::vnet_hdr_len(fd.as_fd())?;
        let header_len = usize::from(actual);
        if actual != vnet_hdr_len || !(10..=VNET_HDR_LEN).contains(&header_len) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the tap has a vnet header of {actual} bytes where {vnet_hdr_len} were \
                     announced; 10 or 12 can be used"
                ),
            ));
        }
        Ok(TapLink { fd, header_len })
    }

    /// A descriptor that this process opened and set up itself, with a header of this length.
    pub(crate) fn of_our_own(fd: OwnedFd, vnet_hdr_len: u8) -> io::Result<TapLink> {
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        Ok(TapLink { fd, header_len: usize::from(vnet_hdr_len).min(VNET_HDR_LEN) })
    }

    /// Reads one frame into the pool. `None`: it was read and counted, but is none for the engine.
    fn read_one(&self, intake: &mut Intake<'_>) -> io::Result<usize> {
        let mut header = [0; VNET_HDR_LEN];
        let header = &mut header[..self.header_len];
        let Ok(lease) = intake.pool.lease_large() else {
            // No large buffer is free. A short frame may still find a small one.
            let n = sys::tap::read_frame(self.fd.as_fd(), header, &mut intake.scratch.bytes)?;
            match vnet::decode(header) {
                Ok(offload) => {
                    let bytes = &intake.scratch.bytes[..n];
                    super::copy_frame(intake.pool, intake.batch, &mut intake.lost, bytes, offload);
                }
                Err(_) => intake.lost.bad_framing += 1,
            }
            return Ok(n);
        };
        match sys::tap::read_frame(self.fd.as_fd(), header, intake.pool.lease_mut(&lease)) {
            Ok(n) => {
                match vnet::decode(header) {
                    Ok(offload) => {
                        let frame = intake.pool.fill(lease, 0..n, offload);
                        intake.push(frame);
                    }
                    Err(_) => {
                        intake.pool.give_back(lease);
                        intake.lost.bad_framing += 1;
                    }
                }
                Ok(n)
            }
            Err(e) => {
                intake.pool.give_back(lease);
                Err(e)
            }
        }
    }
}

impl Link for TapLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        let mut bytes = 0;
        for _ in 0..intake.limit {
            match self.read_one(intake) {
                Ok(n) => bytes += n,
                Err(e) if errno::is_transient(&e) => break,
                Err(e) => return Err(device_error(&e)),
            }
            if bytes >= VISIT_BYTES || intake.batch.is_full() {
                break;
            }
        }
        Ok(Progress::Done)
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent {
        let mut refused = 0;
        let mut done = 0;
        let mut state = Ok(LinkState::Free);
        for frame in batch.iter() {
            match write_one(self.fd.as_fd(), self.header_len, pool, frame) {
                Ok(_) => {}
                Err(e) if errno::is_transient(&e) => {
                    state = Ok(LinkState::Blocked);
                    break;
                }
                Err(e) if errno::is_device_gone(&e) => {
                    state = Err(CloseReason::DeviceGone);
                    break;
                }
                // The interface is down (EIO), the kernel is short of memory, or it does not like
                // this frame: each concerns this frame only.
                Err(_) => refused += 1,
            }
            done += 1;
        }
        release_front(pool, batch, done);
        Sent { state, refused }
    }
}

/// Writes one frame behind its virtio header; for taps and packet sockets.
pub(super) fn write_one(
    fd: BorrowedFd<'_>,
    header_len: usize,
    pool: &Pool,
    frame: &Frame,
) -> io::Result<()> {
    let mut header = [0; VNET_HDR_LEN];
    let header = &mut header[..header_len];
    if let Some((front, elsewhere)) = pool.foreign(frame)
        && let Some((memory, rest)) = super::borrowed::place(&elsewhere)
    {
        // From where it lies.
        encode_header(frame, front, &[], header);
        return sys::shared::write_frame(fd, header, front, memory, rest);
    }
    let [front, rest] = pool.pieces(frame);
    encode_header(frame, front, rest, header);
    sys::tap::write_frame(fd, &[IoSlice::new(header), IoSlice::new(front), IoSlice::new(rest)])
        .map(|_| ())
}

/// The virtio header of a frame in two pieces.
pub(super) fn encode_header(frame: &Frame, front: &[u8], rest: &[u8], out: &mut [u8]) {
    if frame.offload().gso.is_some() && !rest.is_empty() && front.len() < HEADER_MAX {
        // The header length wants the headers in one piece, and a tag that was put before shared
        // bytes makes a first piece of 16.
        let mut headers = [0; HEADER_MAX];
        let from_rest = rest.len().min(HEADER_MAX - front.len());
        headers[..front.len()].copy_from_slice(front);
        headers[front.len()..front.len() + from_rest].copy_from_slice(&rest[..from_rest]);
        vnet::encode(&frame.offload(), &headers[..front.len() + from_rest], out);
    } else {
        vnet::encode(&frame.offload(), front, out);
    }
}

fn device_error(e: &io::Error) -> CloseReason {
    if errno::is_device_gone(e) { CloseReason::DeviceGone } else { CloseReason::of(e) }
}
