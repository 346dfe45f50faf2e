//! Receiving: recvmmsg(2) over storage that is made once, with room before each datagram for the
//! headers that are put in front of it.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Name;
use super::local::{self, Local, With};

/// Datagrams one call receives at most.
pub const BATCH: usize = 16;

/// The longest datagram, or train of datagrams: what UDP's length field can say.
pub const DATAGRAM_MAX: usize = 65_535;

/// Bytes of control data per message: a segment size, a traffic class and an address of this host,
/// with their headers.
const CONTROL_LEN: usize = 96;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

/// Reusable storage for [`BATCH`] datagrams. The memory is large in address space, but only pages
/// that were written count.
pub struct Ring {
    room: usize,
    slot_len: usize,
    slots: Vec<u8>,
    names: Vec<Name>,
    controls: Vec<Control>,
    /// Their pointers point into the other vectors, and are used by the kernel only.
    headers: Vec<libc::mmsghdr>,
    pieces: Vec<libc::iovec>,
    filled: usize,
}

// SAFETY: the raw pointers in `headers` and `pieces` point only into the other vectors of the same
// value, whose memory does not move with it.
unsafe impl Send for Ring {}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("filled", &self.filled).finish_non_exhaustive()
    }
}

/// One datagram, or a train of them, of the last receive.
#[derive(Debug)]
pub struct Received<'a> {
    /// The room before it, and the datagram behind that.
    pub bytes: &'a mut [u8],
    pub from: SocketAddr,
    /// The address of this host that it was sent to, where the socket tells it.
    pub local: Option<Local>,
    /// It is a train of datagrams of this many bytes each, the last one perhaps fewer.
    pub segment: Option<u16>,
    /// Type of service or traffic class, where the socket tells it.
    pub traffic_class: u8,
    /// Its tail is lost.
    pub truncated: bool,
}

impl Ring {
    /// A ring with `room` bytes before each datagram.
    #[must_use]
    pub fn new(room: usize) -> Ring {
        let slot_len = (room + DATAGRAM_MAX).next_multiple_of(64);
        // SAFETY: all-zero mmsghdr and iovec are valid (null pointers, zero lengths).
        let (header, piece): (libc::mmsghdr, libc::iovec) =
            unsafe { (MaybeUninit::zeroed().assume_init(), MaybeUninit::zeroed().assume_init()) };
        let mut ring = Ring {
            room,
            slot_len,
            slots: vec![0; slot_len * BATCH],
            names: vec![Name::empty(); BATCH],
            controls: vec![Control([0; CONTROL_LEN]); BATCH],
            headers: vec![header; BATCH],
            pieces: vec![piece; BATCH],
            filled: 0,
        };
        for i in 0..BATCH {
            let slot = &mut ring.slots[i * slot_len..(i + 1) * slot_len];
            let body = &mut slot[room..room + DATAGRAM_MAX];
            ring.pieces[i] =
                libc::iovec { iov_base: body.as_mut_ptr().cast(), iov_len: body.len() };
            let header = &mut ring.headers[i].msg_hdr;
            header.msg_iov = &raw mut ring.pieces[i];
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut ring.names[i]).cast();
            header.msg_control = (&raw mut ring.controls[i].0).cast();
            ring.reset(i);
        }
        ring
    }

    /// Puts back the lengths that the kernel overwrote.
    fn reset(&mut self, i: usize) {
        let header = &mut self.headers[i].msg_hdr;
        header.msg_flags = 0;
        header.msg_namelen = Name::LEN;
        header.msg_controllen = CONTROL_LEN as _;
    }

    /// Receives at most `max` datagrams that are there now.
    ///
    /// # Errors
    /// EAGAIN when there is nothing; a queued error of the network, once (ECONNREFUSED,
    /// EHOSTUNREACH ...), where the socket has no error queue.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, max: usize) -> io::Result<usize> {
        for i in 0..self.filled {
            self.reset(i);
        }
        self.filled = 0;
        let max = max.min(BATCH);
        if max == 1 {
            return self.receive_one(fd);
        }
        // SAFETY: the first `max` headers point into our own vectors, which are never resized; a
        // null timeout means none.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                max as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// As [`Ring::receive`], by the call that costs less when there is one.
    fn receive_one(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let header = &mut self.headers[0];
        // SAFETY: the first header points into our own vectors, which are never resized.
        let n =
            unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header.msg_hdr, libc::MSG_DONTWAIT) };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        // A datagram has 16 bits of length.
        header.msg_len = n as libc::c_uint;
        self.filled = 1;
        Ok(1)
    }

    /// Datagram `i` of the last receive. None where there is none, or its sender has no address.
    #[must_use]
    pub fn get(&mut self, i: usize) -> Option<Received<'_>> {
        if i >= self.filled {
            return None;
        }
        let header = &self.headers[i];
        let len = (header.msg_len as usize).min(DATAGRAM_MAX);
        let (mut segment, mut traffic_class, mut local) = (None, 0, None);
        // SAFETY: recvmmsg filled this header and its control buffer, which we own.
        let mut control = unsafe { libc::CMSG_FIRSTHDR(&raw const header.msg_hdr) };
        // SAFETY: the kernel wrote whole control messages, and CMSG_NXTHDR stays within
        // msg_controllen; the data of each kind has at least the size that is read, unaligned.
        while let Some(message) = unsafe { control.as_ref() } {
            // SAFETY: as above.
            let data = unsafe { libc::CMSG_DATA(control) };
            match (message.cmsg_level, message.cmsg_type) {
                (libc::IPPROTO_UDP, libc::UDP_GRO) => {
                    // SAFETY: an int (udp_cmsg_recv, net/ipv4/udp.c).
                    let size = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                    segment = u16::try_from(size).ok().filter(|size| *size > 0);
                }
                // SAFETY: one byte (ip_cmsg_recv_tos, net/ipv4/ip_sockglue.c).
                (libc::IPPROTO_IP, libc::IP_TOS) => traffic_class = unsafe { data.read() },
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    // SAFETY: an int (ip6_datagram_recv_common_ctl, net/ipv6/datagram.c).
                    let class = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                    traffic_class = u8::try_from(class).unwrap_or(0);
                }
                // SAFETY: a whole message that the kernel wrote.
                _ => local = unsafe { local::of_control(control, With::Datagram) }.or(local),
            }
            // SAFETY: as for the loop.
            control = unsafe { libc::CMSG_NXTHDR(&raw const header.msg_hdr, control) };
        }
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let from = self.names[i].address()?;
        let start = i * self.slot_len;
        let bytes = &mut self.slots[start..start + self.room + len];
        Some(Received { bytes, from, local, segment, traffic_class, truncated })
    }
}
