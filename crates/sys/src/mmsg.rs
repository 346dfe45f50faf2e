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
//! entry of the TLB each: that was a quarter of what a switched VDE frame cost.)

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::packet;
use crate::unix::{Address, Cred, collect_control};

/// Datagrams one call moves at most.
pub const BATCH: usize = 64;

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
        let mut ring = ReceiveRing {
            slot_len,
            layout: Layout::default(),
            slots: vec![0; slot_len * BATCH],
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
            let slot = &mut self.slots[..stride];
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
        let slot = &mut self.slots[i * stride..(i + 1) * stride];
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

    /// Datagram `i` of the last receive, in the order of arrival. Its control data is consumed:
    /// asking twice gives the credentials once.
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
        let slot = &self.slots[i * stride..i * stride + len];
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
        let slot = &mut self.slots[i * stride..i * stride + len];
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
    const LINE: usize = 64;
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
mod tests {
    use super::*;
    use crate::unix::{self, SocketKind};
    use std::os::fd::AsFd;

    #[test]
    fn a_batch_keeps_order_pieces_and_lengths() {
        let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
        let frames: Vec<Vec<u8>> = (0..10_u8).map(|i| vec![i; 60 + usize::from(i)]).collect();
        let sent = send(
            a.as_fd(),
            None,
            frames.iter().map(|f| [&f[..7], &f[7..20], &f[20..]] as Pieces<'_>),
        )
        .unwrap();
        assert_eq!(sent, 10);
        let mut ring = ReceiveRing::new(65);
        assert_eq!(ring.receive(b.as_fd(), BATCH, 10, usize::MAX, false).unwrap(), 10);
        for (i, frame) in frames.iter().enumerate() {
            let d = ring.take(i).unwrap();
            assert_eq!(d.truncated, frame.len() > 65);
            let kept = frame.len().min(65);
            assert_eq!([d.head, d.body].concat(), frame[..kept]);
            assert_eq!(d.head.len(), 10);
        }
        assert!(ring.take(10).is_none());
        let again = ring.receive(b.as_fd(), BATCH, 0, usize::MAX, false).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn senders_are_told_apart_by_name_and_credentials() {
        let node = unix::socket(SocketKind::Datagram, true).unwrap();
        let here = Address::from_abstract(format!("mmsg-{}", std::process::id()).as_bytes());
        let here = here.unwrap();
        unix::bind(node.as_fd(), &here).unwrap();
        unix::set_pass_cred(node.as_fd()).unwrap();
        let named = unix::socket(SocketKind::Datagram, true).unwrap();
        let there = Address::from_abstract(format!("mmsg-c-{}", std::process::id()).as_bytes());
        let there = there.unwrap();
        unix::bind(named.as_fd(), &there).unwrap();
        let unnamed = unix::socket(SocketKind::Datagram, true).unwrap();
        for client in [&named, &unnamed] {
            send(client.as_fd(), Some(&here), std::iter::once([&b"hello"[..], b"", b""])).unwrap();
        }
        let mut ring = ReceiveRing::new(128);
        assert_eq!(ring.receive(node.as_fd(), BATCH, 0, 128, true).unwrap(), 2);
        let first = ring.take(0).unwrap();
        assert_eq!(first.from, there);
        assert_eq!(first.cred.unwrap().pid, i32::try_from(std::process::id()).unwrap());
        assert!(ring.take(1).unwrap().from.is_unnamed());
        send(node.as_fd(), Some(&there), std::iter::once([&b"back"[..], b"", b""])).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(unix::receive(named.as_fd(), &mut buffer).unwrap(), 4);
    }

    /// Whose close would be ours to wait for: a client's descriptors never become ours.
    #[test]
    fn descriptors_are_not_taken_with_datagrams() {
        let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
        unix::set_pass_cred(b.as_fd()).unwrap();
        let mut ring = ReceiveRing::new(65);
        for max in [1, BATCH] {
            let (kept, sent) = unix::pair(SocketKind::Stream, true).unwrap();
            let fds = [sent.as_fd(); 3];
            assert_eq!(unix::send_with_fds(a.as_fd(), b"frame", &fds).unwrap(), 5);
            unix::send_with_fds(a.as_fd(), b"other", &[]).unwrap();
            drop(sent);
            assert_eq!(ring.receive(b.as_fd(), max, 0, 65, true).unwrap(), max.min(2));
            // Not open in this process although nobody has looked at the control data: what holds
            // it is gone.
            assert_eq!(unix::receive(kept.as_fd(), &mut [0; 4]).unwrap(), 0);
            let d = ring.take(0).unwrap();
            assert!(d.descriptors);
            assert_eq!((d.body, d.cred.unwrap().uid), (&b"frame"[..], unix::effective_uid()));
            if max == 1 {
                assert_eq!(ring.receive(b.as_fd(), 1, 0, 65, true).unwrap(), 1);
            }
            let d = ring.take(ring.len() - 1).unwrap();
            assert!(!d.descriptors && d.cred.is_some());
        }
    }

    #[test]
    fn one_at_a_time_is_as_many_at_a_time() {
        let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
        let mut ring = ReceiveRing::new(65);
        for head_len in [0, 10] {
            for pieces in [[&[1; 64][..], b"", b""], [&[1; 14][..], &[1; 50][..], b""]] {
                assert_eq!(send(a.as_fd(), None, [pieces, pieces].into_iter()).unwrap(), 2);
                assert_eq!(send(a.as_fd(), None, std::iter::once(pieces)).unwrap(), 1);
                for max in [1, BATCH] {
                    let expected = if max == 1 { 1 } else { 2 };
                    assert_eq!(
                        ring.receive(b.as_fd(), max, head_len, 65, false).unwrap(),
                        expected
                    );
                    for i in 0..expected {
                        let d = ring.take(i).unwrap();
                        assert_eq!(d.head.len(), head_len);
                        assert_eq!([d.head, d.body].concat(), [1; 64]);
                    }
                    assert!(ring.take(expected).is_none());
                }
                let empty = ring.receive(b.as_fd(), 1, head_len, 65, false).unwrap_err();
                assert_eq!(empty.kind(), io::ErrorKind::WouldBlock);
                assert!(ring.is_empty());
            }
        }
        unix::set_pass_cred(b.as_fd()).unwrap();
        send(a.as_fd(), None, std::iter::once([&[2; 100][..], b"", b""])).unwrap();
        assert_eq!(ring.receive(b.as_fd(), 1, 0, 65, true).unwrap(), 1);
        let d = ring.take(0).unwrap();
        assert!(d.truncated);
        assert_eq!(d.body, [2; 65]);
        assert_eq!(d.cred.unwrap().pid, i32::try_from(std::process::id()).unwrap());
    }

    #[test]
    fn slots_are_as_close_as_the_longest_datagram_allows() {
        let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
        let mut ring = ReceiveRing::new(4000);
        for (longest, kept) in [(100, 192), (4000, 4000), (192, 192), (193, 320), (9000, 4000)] {
            for max in [1, BATCH] {
                let messages = [vec![1; 60], vec![2; 4001], vec![3; 192]];
                let pieces = messages.iter().map(|message| [&message[..], b"", b""]);
                assert_eq!(send(a.as_fd(), None, pieces).unwrap(), 3);
                let mut left = messages.iter();
                while left.len() > 0 {
                    let count = ring.receive(b.as_fd(), max, 0, longest, false).unwrap();
                    for i in 0..count {
                        let (datagram, sent) = (ring.take(i).unwrap(), left.next().unwrap());
                        assert_eq!(datagram.body, &sent[..sent.len().min(kept)]);
                        // Of one datagram alone the kernel is not asked how long it was.
                        assert!(max == 1 || datagram.truncated == (sent.len() > kept));
                    }
                }
            }
        }
    }

    #[test]
    fn the_error_of_a_full_or_dead_receiver_is_reported() {
        let (a, b) = unix::pair(SocketKind::Datagram, true).unwrap();
        let mut went = 0;
        let error = loop {
            match send(a.as_fd(), None, std::iter::repeat_n([&[0; 1000][..], b"", b""], BATCH)) {
                Ok(n) => went += n,
                Err(e) => break e,
            }
        };
        assert!(went > 0);
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(b);
        let error = send(a.as_fd(), None, std::iter::once([&b"x"[..], b"", b""])).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
