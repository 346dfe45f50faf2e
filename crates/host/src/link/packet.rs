//! The packet-socket link: the outer end of a veth pair where no tap can be had.
//!
//! Two receive paths, chosen by what the last visit saw:
//!
//! * *small frames*: one `recvmmsg` into the shared ring, then a copy into small buffers;
//! * *large frames* (GSO): one `recvmsg` a frame straight into a leased buffer. A second copy of
//!   64 KiB costs more than the system calls that a batch would save.
//!
//! No ring is mapped (PACKET_RX_RING): the third version delays a lone frame until its block is
//! full or a timer fires, and the second takes memory for the longest frame in every slot.
//!
//! The kernel takes the outer VLAN tag out of a received frame and tells it beside
//! (PACKET_AUXDATA); it is put back, or tagged frames would pass for untagged ones.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::{BATCH, Pool, TxBatch};
use sys::{errno, packet};
use wire::{Offload, vnet};

use super::tap::encode_header;
use super::{CloseReason, Intake, Link, LinkState, Progress, Sent, copy_frame, release_front};

const HEADER_LEN: usize = packet::VNET_HDR_LEN as usize;

/// Bytes one visit reads at most, as for taps.
const VISIT_BYTES: usize = 512 * 1024;

/// Frames longer than this are large: the pool keeps them in large buffers.
const LARGE: usize = engine::SMALL_CAPACITY;

#[derive(Debug)]
pub(crate) struct PacketLink {
    fd: OwnedFd,
    /// The last visit saw large frames.
    large: bool,
    /// The interface was said to be down, and nothing came since.
    down: bool,
    /// The kernel's drop counter, which it resets at every reading.
    drops: u64,
}

impl PacketLink {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<PacketLink> {
        packet::bound_interface(fd.as_fd())?;
        packet::check_options(fd.as_fd())?;
        sys::unix::set_nonblocking(fd.as_fd(), true)?;
        Ok(PacketLink { fd, large: false, down: false, drops: 0 })
    }

    /// Small frames: many a call.
    fn receive_batch(&mut self, intake: &mut Intake<'_>) -> io::Result<()> {
        let Intake { pool, batch, scratch, limit, lost, .. } = intake;
        let count = scratch.ring.receive_packets(self.fd.as_fd(), *limit, HEADER_LEN)?;
        for i in 0..count {
            let Some(frame) = scratch.ring.take_packet(i) else { break };
            self.large |= frame.body.len() > LARGE;
            match vnet::decode(&frame.head) {
                Ok(offload) => {
                    let offload = if frame.tagged { offload.with_tag_pushed() } else { offload };
                    copy_frame(pool, batch, lost, frame.body, offload);
                }
                Err(_) => lost.bad_framing += 1,
            }
        }
        Ok(())
    }

    /// Large frames: one a call, where they stay.
    fn receive_large(&mut self, intake: &mut Intake<'_>) -> io::Result<()> {
        let mut bytes = 0;
        let mut any_large = false;
        while bytes < VISIT_BYTES && intake.batch.len() < intake.limit {
            let Ok(lease) = intake.pool.lease_large() else {
                // No large buffer: the batch path copies what fits small ones.
                self.large = false;
                return if bytes > 0 { Ok(()) } else { self.receive_batch(intake) };
            };
            let mut header = [0; HEADER_LEN];
            let buffer = intake.pool.lease_mut(&lease);
            match packet::receive(self.fd.as_fd(), &mut header, buffer) {
                Ok(received) => {
                    let len = received.range.len();
                    bytes += len;
                    any_large |= len > LARGE;
                    match vnet::decode(&header) {
                        Ok(offload) => {
                            let offload = tagged(offload, received.tagged);
                            let frame = intake.pool.fill(lease, received.range, offload);
                            intake.push(frame);
                        }
                        Err(_) => {
                            intake.pool.give_back(lease);
                            intake.lost.bad_framing += 1;
                        }
                    }
                }
                Err(e) => {
                    intake.pool.give_back(lease);
                    if bytes == 0 {
                        return Err(e);
                    }
                    break;
                }
            }
        }
        self.large = any_large;
        Ok(())
    }

    fn is_gone(&self) -> bool {
        packet::bound_interface(self.fd.as_fd()).is_err()
    }
}

fn tagged(offload: Offload, tagged: bool) -> Offload {
    if tagged { offload.with_tag_pushed() } else { offload }
}

impl Link for PacketLink {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        let result =
            if self.large { self.receive_large(intake) } else { self.receive_batch(intake) };
        match result {
            Ok(()) => {
                self.down = false;
                Ok(Progress::Done)
            }
            Err(e) if errno::is_transient(&e) && !self.down => Ok(Progress::Done),
            // ENETDOWN is told once when the interface is or goes down; it may come up. When it is
            // deleted, which it is after it went down, the socket is bound to nothing.
            Err(_) if self.is_gone() => Err(CloseReason::DeviceGone),
            Err(e) if errno::is_transient(&e) => Ok(Progress::Done),
            Err(e) if errno::is_down(&e) => {
                self.down = true;
                Ok(Progress::Recovered)
            }
            Err(e) => Err(CloseReason::of(&e)),
        }
    }

    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent {
        let mut refused = 0;
        while !batch.is_empty() {
            let mut headers = [[0; HEADER_LEN]; BATCH];
            for (header, frame) in headers.iter_mut().zip(batch.iter()) {
                let [front, rest] = pool.pieces(frame);
                encode_header(frame, front, rest, header);
            }
            let datagrams = headers.iter().zip(batch.iter()).map(|(header, frame)| {
                let [front, rest] = pool.pieces(frame);
                [&header[..], front, rest]
            });
            match sys::mmsg::send(self.fd.as_fd(), None, datagrams) {
                Ok(count) => release_front(pool, batch, count),
                Err(e) if errno::is_transient(&e) => {
                    return Sent { state: Ok(LinkState::Blocked), refused };
                }
                Err(_) if self.is_gone() => {
                    return Sent { state: Err(CloseReason::DeviceGone), refused };
                }
                // ENETDOWN, ENOBUFS, EMSGSIZE, EINVAL: this frame cannot be had out.
                Err(_) => {
                    release_front(pool, batch, 1);
                    refused += 1;
                }
            }
        }
        Sent { state: Ok(LinkState::Free), refused }
    }

    fn kernel_drops(&mut self) -> Option<u64> {
        let new = packet::take_statistics(self.fd.as_fd()).ok()?;
        self.drops += u64::from(new.drops);
        Some(self.drops)
    }
}
