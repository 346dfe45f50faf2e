//! Links with one frame per packet on a connected socket: VDE's data socket and seqpacket.
//!
//! A seqpacket socket whose peer has gone is read as packets of no bytes, for ever, and a peer that is there may send
//! such packets as well: those are frames that are too short, as from anybody. The kernel marks neither, so the socket is
//! asked then whether the peer still sends ([`sys::unix::has_ended`]). Of those in one batch with a peer that does not,
//! the ones behind the last frame are taken for its end.
//!
//! Many packets move in one system call each way. A VDE port has a second socket, its control
//! connection, whose end closes the port, and a name in the network's directory, which is removed
//! with the link.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{BATCH, Pool, TxBatch};
use sys::unix::SocketKind;
use sys::{errno, mmsg};
use wire::Offload;

use super::{
    CloseReason, Intake, Link, LinkState, Progress, Sent, copy_frame, raw_offload, release_front,
};

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
    /// Connection-oriented: packets of no bytes may be the end.
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
        Ok(DatagramLink { fd, control: None, _name: None, seqpacket, raw_offload })
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
        let Intake { pool, batch, scratch, mtu, limit, lost, .. } = intake;
        let longest = longest(*mtu, self.raw_offload);
        let count = match scratch.ring.receive(self.fd.as_fd(), *limit, 0, longest, false) {
            Ok(count) => count,
            Err(e) if errno::is_transient(&e) => return Ok(Progress::Done),
            Err(e) => return Err(CloseReason::of(&e)),
        };
        let is_empty = |i: &usize| scratch.ring.length(*i) == 0;
        let empty_at_end =
            if self.seqpacket { (0..count).rev().take_while(is_empty).count() } else { 0 };
        let ended = empty_at_end > 0 && sys::unix::has_ended(self.fd.as_fd());
        let count = if ended { count - empty_at_end } else { count };
        for i in 0..count {
            let Some(packet) = scratch.ring.take(i) else { break };
            // A truncated packet still has the length of a whole slot, which is more than the
            // network carries: the engine says `oversize`.
            let offload = if self.raw_offload {
                raw_offload::infer(packet.body, *mtu)
            } else {
                Offload::NONE
            };
            copy_frame(pool, batch, lost, packet.body, offload);
        }
        if ended {
            return Err(CloseReason::PeerClosed);
        }
        Ok(Progress::Done)
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent {
        let mut refused = 0;
        let state = match send_batch(self.fd.as_fd(), None, batch, pool, BATCH, &mut refused) {
            Ok(_) if batch.is_empty() => Ok(LinkState::Free),
            Ok(_) => Ok(LinkState::Blocked),
            Err(e) => Err(CloseReason::of(&e)),
        };
        Sent { state, refused }
    }
}

/// Bytes to keep of a packet: more than the longest frame that a network with this MTU takes, with
/// every tag, so that the engine sees when it is too long. `raw_offload`: frames of any length come,
/// to be segmented.
pub(crate) fn longest(mtu: u16, raw_offload: bool) -> usize {
    const MORE_THAN_HEADERS: usize = 64;
    if raw_offload { usize::MAX } else { usize::from(mtu) + MORE_THAN_HEADERS }
}

/// Sends the first `limit` frames of a batch, one packet each, to the connected peer or to one
/// address. Returns how many left the batch: fewer than that when the socket takes no more. Those
/// that left it undelivered are added to `refused`.
///
/// # Errors
/// Only those that mean that the receiver is gone.
pub(super) fn send_batch(
    fd: BorrowedFd<'_>,
    to: Option<&sys::unix::Address>,
    batch: &mut TxBatch,
    pool: &mut Pool,
    limit: usize,
    refused: &mut u64,
) -> io::Result<usize> {
    let limit = limit.min(batch.len());
    let mut left = 0;
    while left < limit {
        let datagrams = batch.iter().take(limit - left).map(|frame| {
            let [front, rest] = pool.pieces(frame);
            [front, rest, &[][..]]
        });
        match mmsg::send(fd, to, datagrams) {
            // Fewer than given: the next round meets the reason.
            Ok(count) => {
                release_front(pool, batch, count);
                left += count;
            }
            Err(e) if errno::is_transient(&e) => break,
            // The frame is larger than the socket's buffer, or it cannot be had now.
            Err(e) if errno::is_too_long(&e) || errno::is_no_memory(&e) => {
                release_front(pool, batch, 1);
                *refused += 1;
                left += 1;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use engine::PoolLimits;

    use super::*;

    #[test]
    fn what_was_refused_is_told_also_when_the_same_batch_meets_the_end() {
        let (ours, theirs) = sys::unix::pair(SocketKind::Datagram, true).unwrap();
        sys::unix::set_buffers(ours.as_fd(), 4096, 4096).unwrap();
        let mut link = DatagramLink::new(ours, false).unwrap();
        drop(theirs);
        let mut pool = Pool::new(PoolLimits { small: 8, large: 8, headers: 0 });
        let mut batch = TxBatch::new();
        // One that is longer than the socket can ever take, and one for a client that is gone.
        for len in [60_000, 60] {
            batch.push(pool.copy_in(&vec![0; len], Offload::NONE).unwrap());
        }
        let sent = link.transmit(&mut pool, &mut batch);
        assert_eq!(sent, Sent { state: Err(CloseReason::PeerClosed), refused: 1 });
        assert_eq!(batch.len(), 1, "the other goes back to its port");
        release_front(&mut pool, &mut batch, 1);
        assert_eq!((pool.usage().small.used, pool.usage().large.used), (0, 0));
    }
}
