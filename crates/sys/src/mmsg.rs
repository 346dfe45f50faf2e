//! Many datagrams a call: recvmmsg(2) and sendmmsg(2) over storage that is made once.
//!
//! [`ReceiveRing`] owns slots for a batch and hands out what arrived as slices: with the sender's
//! name and credentials where the socket gives them. The storage is large in address space but
//! only pages that were written count, so slots sized for the longest datagram cost little while
//! the traffic is small.
//!
//! What is received is copied on at once, so it should be in the first cache until then: slots are
//! no longer than the reader says that a datagram can be, lie side by side, and begin at odd
//! multiples of a cache line. (Slots that begin at pages compete for the same few lines, and take an
//! entry of the TLB each.)
//!
//! The first one begins at a cache line as well, as what the kernel copies from does. Where its copy
//! is `rep movsb` (CPUs that have FSRM), AMD's third Zen is twenty times slower when the destination
//! lies 1 to 31 bytes further in its page than the source in its own, and a large allocation begins
//! 16 bytes behind a page: a lone datagram of 1,514 bytes cost 0.8 us more for that.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::packet;
use crate::unix::{Address, Cred, collect_control};

/// Datagrams one call moves at most.
pub const BATCH: usize = 64;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Bytes of control data per message of a packet socket: a `tpacket_auxdata`, and a little more.
const CONTROL_LEN: usize = 64;

/// Bytes of control data per message where senders' names are wanted: exactly the credentials, which the kernel puts
/// first. Descriptors that a peer sends uninvited find no room: they are never ours, and the message is marked
/// (MSG_CTRUNC). To close them would be to wait for whoever serves the file.
// SAFETY: CMSG_SPACE only computes.
const CREDENTIALS_LEN: usize =
    unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as libc::c_uint) } as usize;

/// One datagram of the last receive.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// The first piece: what was asked to be split off the front (a vnet header), or empty.
    pub head: &'a [u8],
    pub body: &'a [u8],
    /// It was longer than the slot and its tail is lost (MSG_TRUNC).
    pub truncated: bool,
    pub from: Address,
    pub cred: Option<Cred>,
    /// It came with descriptors, which were not taken.
    pub descriptors: bool,
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

/// What the headers of a ring are set up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Layout {
    /// Bytes from slot to slot, at most the room for one.
    stride: usize,
    head_len: usize,
    names: bool,
    controls: bool,
}

/// Reusable storage for [`BATCH`] datagrams.
pub struct ReceiveRing {
    slot_len: usize,
    layout: Layout,
    slots: Vec<u8>,
    /// Where the first slot begins in `slots`.
    first: usize,
    names: Vec<libc::sockaddr_un>,
    controls: Vec<Control>,
    /// Their pointers point into the other vectors, and are used by the kernel only.
    headers: Vec<libc::mmsghdr>,
    pieces: Vec<[libc::iovec; 2]>,
    filled: usize,
}

impl std::fmt::Debug for ReceiveRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveRing")
            .field("slot_len", &self.slot_len)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

// SAFETY: the raw pointers in `headers` and `pieces` point only into the other vectors of the same
// value, whose memory does not move with it, so moving the value to another thread is sound.
unsafe impl Send for ReceiveRing {}

impl ReceiveRing {
    /// A ring without storage, which receives nothing: to stand in for one that is in use.
    #[must_use]
    pub fn empty() -> ReceiveRing {
        ReceiveRing {
            slot_len: 0,
            layout: Layout::default(),
            slots: Vec::new(),
            first: 0,
            names: Vec::new(),
            controls: Vec::new(),
            headers: Vec::new(),
            pieces: Vec::new(),
            filled: 0,
        }
    }

    /// Slots of `slot_len` bytes. Memory is zeroed lazily by the kernel, not touched here.
    #[must_use]
    pub fn new(slot_len: usize) -> ReceiveRing {
        let name = libc::sockaddr_un { sun_family: 0, sun_path: [0; 108] };
        // SAFETY: all-zero mmsghdr and iovec are valid (null pointers, zero lengths).
        let (header, pieces): (libc::mmsghdr, [libc::iovec; 2]) =
            unsafe { (MaybeUninit::zeroed().assume_init(), MaybeUninit::zeroed().assume_init()) };
        let slots = vec![0; slot_len * BATCH + LINE - 1];
        let first = slots.as_ptr().addr().wrapping_neg() % LINE;
        let mut ring = ReceiveRing {
            slot_len,
            layout: Layout::default(),
            slots,
            first,
            names: vec![name; BATCH],
            controls: vec![Control([0; CONTROL_LEN]); BATCH],
            headers: vec![header; BATCH],
            pieces: vec![pieces; BATCH],
            filled: 0,
        };
        for i in 0..BATCH {
            ring.set_up(i);
            ring.reset(i);
        }
        ring
    }

    /// Receives at most `max` datagrams that are there now; none is waited for. The first
    /// `head_len` bytes of each are given apart, as [`Datagram::head`]. Of those longer than `longest`
    /// at least so many bytes are kept; the shorter that is, the better the cache is used. `names`:
    /// whether senders' names and credentials are wanted (they cost a little).
    ///
    /// # Errors
    /// EAGAIN when there is nothing; ECONNRESET, ENETDOWN and others of recvmsg(2).
    pub fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        head_len: usize,
        longest: usize,
        names: bool,
    ) -> io::Result<usize> {
        let stride = odd_lines(longest.min(self.slot_len)).min(self.slot_len);
        self.fill(fd, max, Layout { stride, head_len, names, controls: names })
    }

    /// As [`ReceiveRing::receive`] on a packet socket, where VLAN tags come as control data; read
    /// with [`ReceiveRing::take_packet`]. `head_len` is that of the vnet header.
    ///
    /// # Errors
    /// As [`ReceiveRing::receive`].
    pub fn receive_packets(
        &mut self,
        fd: BorrowedFd<'_>,
        max: usize,
        head_len: usize,
    ) -> io::Result<usize> {
        let stride = self.slot_len;
        self.fill(fd, max, Layout { stride, head_len, names: false, controls: true })
    }

    fn fill(&mut self, fd: BorrowedFd<'_>, max: usize, layout: Layout) -> io::Result<usize> {
        let max = max.min(self.headers.len());
        let layout = Layout { head_len: layout.head_len.min(layout.stride), ..layout };
        let names = layout.names;
        if layout == self.layout {
            // Only what the last call filled has to be put back: with a frame or two a call,
            // setting up a whole batch would cost as much as receiving it.
            for i in 0..self.filled {
                self.reset(i);
            }
        } else {
            self.layout = layout;
            for i in 0..self.headers.len() {
                self.set_up(i);
                self.reset(i);
            }
        }
        self.filled = 0;
        if max == 1 {
            return self.fill_one(fd);
        }
        // A packet socket refuses MSG_CMSG_CLOEXEC (packet_recvmsg in net/packet/af_packet.c), and
        // only where names are asked for can descriptors come.
        let flags = libc::MSG_DONTWAIT | if names { libc::MSG_CMSG_CLOEXEC } else { 0 };
        // SAFETY: all headers are set up with pointers into our own vectors, whose memory stays
        // where it is for as long as they live (they are never resized); a null timeout means
        // none.
        let n = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                self.headers.as_mut_ptr(),
                max as libc::c_uint,
                flags,
                std::ptr::null_mut(),
            )
        };
        self.filled = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        Ok(self.filled)
    }

    /// One datagram by the call for one, which costs a third less.
    fn fill_one(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        let Layout { stride, names, controls, .. } = self.layout;
        let flags = libc::MSG_DONTWAIT | if names { libc::MSG_CMSG_CLOEXEC } else { 0 };
        let Some(header) = self.headers.first_mut() else { return Ok(0) };
        let n = if names || controls || header.msg_hdr.msg_iovlen > 1 {
            // SAFETY: as for recvmmsg in `fill`.
            unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut header.msg_hdr, flags) }
        } else {
            let slot = &mut self.slots[self.first..self.first + stride];
            // SAFETY: the slot is writable for its length.
            unsafe { libc::recv(fd.as_raw_fd(), slot.as_mut_ptr().cast(), slot.len(), flags) }
        };
        let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
        // The slot's length is the most that was asked for.
        header.msg_len = libc::c_uint::try_from(n).unwrap_or(0);
        self.filled = 1;
        Ok(1)
    }

    /// Points header `i` at its slot, name and control space.
    fn set_up(&mut self, i: usize) {
        let stride = self.layout.stride;
        let start = self.first + i * stride;
        let slot = &mut self.slots[start..start + stride];
        let (head, body) = slot.split_at_mut(self.layout.head_len);
        self.pieces[i] = [
            libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: head.len() },
            libc::iovec { iov_base: body.as_mut_ptr().cast(), iov_len: body.len() },
        ];
        let h = &mut self.headers[i].msg_hdr;
        // One piece where one is enough: the kernel has a shorter way for it.
        let skipped = usize::from(self.layout.head_len == 0);
        h.msg_iov = self.pieces[i][skipped..].as_mut_ptr();
        h.msg_iovlen = 2 - skipped;
        h.msg_name =
            if self.layout.names { (&raw mut self.names[i]).cast() } else { std::ptr::null_mut() };
        h.msg_control = if self.layout.controls {
            (&raw mut self.controls[i].0).cast()
        } else {
            std::ptr::null_mut()
        };
    }

    /// Puts back the lengths that the kernel overwrote in header `i`.
    fn reset(&mut self, i: usize) {
        let h = &mut self.headers[i].msg_hdr;
        h.msg_flags = 0;
        h.msg_namelen =
            if self.layout.names { size_of::<libc::sockaddr_un>() as libc::socklen_t } else { 0 };
        let room = if self.layout.names { CREDENTIALS_LEN } else { CONTROL_LEN };
        h.msg_controllen = if self.layout.controls { room as _ } else { 0 };
    }

    /// How many datagrams the last receive got.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Bytes of datagram `i` of the last receive, as far as they were kept.
    #[must_use]
    pub fn length(&self, i: usize) -> usize {
        self.headers.get(i).map_or(0, |header| header.msg_len as usize)
    }

    /// Datagram `i` of the last receive, in the order of arrival. Its control data is consumed:
    /// asking twice gives the credentials once.
    #[inline]
    #[must_use]
    pub fn take(&mut self, i: usize) -> Option<Datagram<'_>> {
        if i >= self.filled {
            return None;
        }
        let header = &mut self.headers[i];
        let mut cred = None;
        if !header.msg_hdr.msg_control.is_null() && header.msg_hdr.msg_controllen > 0 {
            // SAFETY: recvmmsg filled this header's control buffer, which we own and which was
            // not parsed before: its length is set to 0 below.
            unsafe { collect_control(&header.msg_hdr, None, &mut cred) };
            header.msg_hdr.msg_controllen = 0;
        }
        let from = if header.msg_hdr.msg_name.is_null() {
            Address::unnamed()
        } else {
            Address::from_kernel(&self.names[i], header.msg_hdr.msg_namelen)
        };
        // A truncated datagram reports what was stored (no MSG_TRUNC was asked for).
        let stride = self.layout.stride;
        let len = (header.msg_len as usize).min(stride);
        let start = self.first + i * stride;
        let slot = &self.slots[start..start + len];
        let (head, body) = slot.split_at(self.layout.head_len.min(len));
        let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let descriptors = header.msg_hdr.msg_flags & libc::MSG_CTRUNC != 0;
        Some(Datagram { head, body, truncated, from, cred, descriptors })
    }

    /// Most bytes that frame `i` of the last [`ReceiveRing::receive_packets`] may have: its own, and a
    /// tag's.
    #[must_use]
    pub fn packet_len(&self, i: usize) -> usize {
        let len = self.headers.get(i).map_or(0, |header| header.msg_len as usize);
        len.saturating_sub(self.layout.head_len) + 4
    }

    /// Frame `i` of the last [`ReceiveRing::receive_packets`], once: the VLAN tag that the kernel
    /// took out is put back in place.
    #[must_use]
    pub fn take_packet(&mut self, i: usize) -> Option<Packet<'_>> {
        if i >= self.filled {
            return None;
        }
        let header = &mut self.headers[i];
        let stride = self.layout.stride;
        let len = (header.msg_len as usize).min(stride);
        let from = self.first + i * stride;
        let slot = &mut self.slots[from..from + len];
        let mut start = self.layout.head_len.min(len);
        let mut head = [0; 12];
        for (to, from) in head.iter_mut().zip(&slot[..start]) {
            *to = *from;
        }
        // SAFETY: recvmmsg filled this header and its control buffer, which we own.
        let tag = unsafe { packet::taken_tag(&header.msg_hdr) };
        header.msg_hdr.msg_controllen = 0;
        let mut tagged = false;
        if let Some(tag) = tag
            && start >= tag.len()
            && len >= start + packet::ADDRESSES_LEN
        {
            // Into the room of the vnet header, which has been copied out.
            slot.copy_within(start..start + packet::ADDRESSES_LEN, start - tag.len());
            start -= tag.len();
            let at = start + packet::ADDRESSES_LEN;
            slot[at..at + tag.len()].copy_from_slice(&tag);
            tagged = true;
        }
        Some(Packet { head, body: &mut slot[start..], tagged })
    }
}

/// So many bytes, rounded up to an odd number of cache lines.
const fn odd_lines(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

/// One frame of a packet socket.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The vnet header; the rest of the array is zero.
    pub head: [u8; 12],
    /// The frame, with its VLAN tag; the reader's own, to change as he likes.
    pub body: &'a mut [u8],
    /// The tag was put back: offsets in `head` are 4 bytes short.
    pub tagged: bool,
}

/// One datagram to send, in up to three pieces.
pub type Pieces<'a> = [&'a [u8]; 3];

/// Sends datagrams in order without blocking and without SIGPIPE, all to the connected peer or
/// all `to` one address; at most [`BATCH`] a call. Returns how many went: fewer than given when
/// the next one met an error, which the next call then reports.
///
/// # Errors
/// That of the first datagram when none went: EAGAIN (full), ECONNREFUSED or ENOENT (the receiver
/// is gone), EMSGSIZE, ENOBUFS, EPERM.
pub fn send<'a>(
    fd: BorrowedFd<'_>,
    to: Option<&Address>,
    datagrams: impl Iterator<Item = Pieces<'a>>,
) -> io::Result<usize> {
    let mut pieces = [[MaybeUninit::<libc::iovec>::uninit(); 3]; BATCH];
    let mut headers = [MaybeUninit::<libc::mmsghdr>::uninit(); BATCH];
    let (name, name_len) = match to {
        Some(address) => {
            let (raw, len) = address.as_raw();
            (raw.cast_mut().cast(), len)
        }
        None => (std::ptr::null_mut(), 0),
    };
    let mut count = 0;
    for ((datagram, pieces), header) in datagrams.zip(&mut pieces).zip(&mut headers) {
        let mut used = 0;
        for piece in datagram {
            if !piece.is_empty() {
                pieces[used].write(libc::iovec {
                    iov_base: piece.as_ptr().cast_mut().cast(),
                    iov_len: piece.len(),
                });
                used += 1;
            }
        }
        // SAFETY: an all-zero mmsghdr is valid.
        let mut h: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        h.msg_hdr.msg_name = name;
        h.msg_hdr.msg_namelen = name_len;
        h.msg_hdr.msg_iov = pieces.as_mut_ptr().cast();
        h.msg_hdr.msg_iovlen = used;
        header.write(h);
        count += 1;
    }
    if count == 0 {
        return Ok(0);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if count == 1 {
        // SAFETY: the first header and its pieces are initialised, as below.
        let n = unsafe { send_one(fd, &headers[0].assume_init_ref().msg_hdr, flags) };
        return if n < 0 { Err(io::Error::last_os_error()) } else { Ok(1) };
    }
    // SAFETY: the first `count` headers are initialised; the pieces they point to are initialised
    // for msg_iovlen entries and live on this stack frame; the bytes behind them are borrowed for
    // 'a; the kernel writes only msg_len.
    let n = unsafe { libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr().cast(), count, flags) };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// One datagram by the call for one, which costs a fifth less; without a header to copy where
/// there is one piece and a connected peer.
///
/// # Safety
/// `message` must be valid for sendmsg(2), and its pieces initialised.
unsafe fn send_one(fd: BorrowedFd<'_>, message: &libc::msghdr, flags: libc::c_int) -> isize {
    if message.msg_name.is_null() && message.msg_iovlen == 1 {
        // SAFETY: by the contract there is one piece, readable for its length.
        unsafe {
            let piece = &*message.msg_iov;
            libc::send(fd.as_raw_fd(), piece.iov_base, piece.iov_len, flags)
        }
    } else {
        // SAFETY: by the contract.
        unsafe { libc::sendmsg(fd.as_raw_fd(), message, flags) }
    }
}

#[cfg(test)]
mod tests;
