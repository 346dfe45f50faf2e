//! Links with one frame per packet on a connected socket: VDE's data socket and seqpacket.
//!
//! Many packets move in one system call each way. A VDE port has a second socket, its control
//! connection, whose end closes the port, and a name in the network's directory, which is removed
//! with the link.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{BATCH, Pool, TxBatch};
use sys::mmsg;
use sys::unix::SocketKind;
use wire::Offload;

use super::{CloseReason, Held, Intake, Link, LinkState, Progress, Sent, copy_frame, raw_offload};

/// A socket file of ours, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct BoundName {
    pub(crate) directory: OwnedFd,
    pub(crate) name: OsString,
}

impl Drop for BoundName {
    fn drop(&mut self) {
        // The directory may be gone already, and there is nobody to tell.
        drop(sys::unix::unlink_at(self.directory.as_fd(), &self.name));
    }
}

#[derive(Debug)]
pub(crate) struct DatagramLink {
    fd: OwnedFd,
    control: Option<OwnedFd>,
    _name: Option<BoundName>,
    held: Held,
    /// Connection-oriented: a packet of no bytes is the end.
    seqpacket: bool,
    raw_offload: bool,
}

impl DatagramLink {
    pub(crate) fn new(fd: OwnedFd, raw_offload: bool) -> io::Result<DatagramLink> {
        let seqpacket = match sys::unix::kind_of(fd.as_fd())? {
            SocketKind::Seqpacket => true,
            SocketKind::Datagram => false,
            SocketKind::Stream => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a stream socket does not keep frames apart; a seqpacket or datagram socket \
                     is needed",
                ));
            }
        };
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        Ok(DatagramLink {
            fd,
            control: None,
            _name: None,
            held: Held::default(),
            seqpacket,
            raw_offload,
        })
    }

    pub(crate) fn vde(
        control: OwnedFd,
        data: OwnedFd,
        name: Option<BoundName>,
        raw_offload: bool,
    ) -> io::Result<DatagramLink> {
        sys::unix::set_nonblocking(control.as_fd(), true)?;
        let mut link = DatagramLink::new(data, raw_offload)?;
        link.control = Some(control);
        link._name = name;
        Ok(link)
    }
}

impl Link for DatagramLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn control(&self) -> Option<BorrowedFd<'_>> {
        self.control.as_ref().map(AsFd::as_fd)
    }

    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        let Intake { pool, batch, scratch, mtu, no_buffer, .. } = intake;
        let count = match scratch.ring.receive(self.fd.as_fd(), BATCH, 0, false) {
            Ok(count) => count,
            Err(e) if is_transient(&e) => return Ok(Progress::Done),
            Err(e) => return Err(CloseReason::of(&e)),
        };
        for i in 0..count {
            let Some(packet) = scratch.ring.take(i) else { break };
            if self.seqpacket && packet.body.is_empty() {
                return Err(CloseReason::PeerClosed);
            }
            // A truncated packet still has the length of a whole slot, which is more than any
            // network carries: the engine says `oversize`.
            let offload = if self.raw_offload {
                raw_offload::infer(packet.body, *mtu)
            } else {
                Offload::NONE
            };
            copy_frame(pool, batch, no_buffer, packet.body, offload);
        }
        Ok(Progress::Done)
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Result<Sent, CloseReason> {
        self.held.accept(batch);
        send_held(self.fd.as_fd(), None, &mut self.held, pool, usize::MAX)
            .map(|(sent, _)| sent)
            .map_err(|e| CloseReason::of(&e))
    }

    fn abandon(&mut self, pool: &mut Pool) -> u64 {
        self.held.release_all(pool)
    }
}

/// Sends the first `limit` frames of a held batch, one packet each, to the connected peer or to
/// one address; also returns how many left the batch.
///
/// # Errors
/// Only those that mean that the receiver is gone.
pub(super) fn send_held(
    fd: BorrowedFd<'_>,
    to: Option<&sys::unix::Address>,
    held: &mut Held,
    pool: &mut Pool,
    limit: usize,
) -> io::Result<(Sent, usize)> {
    let mut refused = 0;
    let mut left = limit;
    let sent = |held: &Held, left: usize, state, refused| {
        let state = if held.is_empty() { LinkState::Free } else { state };
        (Sent { state, refused }, limit - left)
    };
    while !held.is_empty() && left > 0 {
        let datagrams = held.frames().iter().take(left).map(|frame| {
            let [front, rest] = pool.pieces(frame);
            [front, rest, &[][..]]
        });
        match mmsg::send(fd, to, datagrams) {
            // Fewer than given: the next round meets the reason.
            Ok(count) => {
                held.release_front(pool, count);
                left -= count.min(left);
            }
            Err(e) if is_transient(&e) => {
                return Ok(sent(held, left, LinkState::Blocked, refused));
            }
            Err(e) if is_of_one_frame(&e) => {
                held.release_front(pool, 1);
                refused += 1;
                left -= 1;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(sent(held, left, LinkState::Blocked, refused))
}

pub(super) fn is_transient(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// EMSGSIZE (the frame is larger than the socket's buffer), ENOBUFS and ENOMEM (not now).
fn is_of_one_frame(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(90 | 105 | 12))
}
