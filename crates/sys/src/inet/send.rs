//! Sending: sendmmsg(2), and trains of equal datagrams in one call (UDP_SEGMENT, Linux 4.18).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Name;
use super::local::{self, Local};

/// Datagrams one call sends at most, and pieces of a train.
pub const BATCH: usize = 64;

/// Datagrams that the kernel makes of a train at most: 64 before Linux 6.10 (UDP_MAX_SEGMENTS).
pub const SEGMENTS_MAX: usize = 64;

/// A datagram in up to two pieces.
pub type Pieces<'a> = [&'a [u8]; 2];

#[repr(C, align(8))]
struct SegmentControl([u8; 24]);

/// Sends datagrams in order `to` one address, without blocking; at most [`BATCH`]. They leave from
/// the socket's own address, or from this one of the host's. Returns how many went: fewer than given
/// when the next one met an error, which the next call reports.
///
/// # Errors
/// That of the first when none went: EAGAIN, EMSGSIZE, ENETUNREACH, EACCES, EPERM, ENOBUFS; EINVAL
/// or ENETUNREACH where the host has this address no more; or an earlier error of the network, once.
pub fn datagrams<'a>(
    fd: BorrowedFd<'_>,
    from: Option<Local>,
    to: SocketAddr,
    datagrams: impl Iterator<Item = Pieces<'a>>,
) -> io::Result<usize> {
    let (mut name, name_len) = Name::of(to);
    let mut control = from.map(local::Control::of);
    let mut pieces = [[MaybeUninit::<libc::iovec>::uninit(); 2]; BATCH];
    let mut headers = [MaybeUninit::<libc::mmsghdr>::uninit(); BATCH];
    let mut count = 0;
    for ((datagram, room), header) in datagrams.zip(&mut pieces).zip(&mut headers) {
        for (piece, slot) in datagram.iter().zip(room.iter_mut()) {
            slot.write(iovec(piece));
        }
        let used = if datagram[1].is_empty() { 1 } else { 2 };
        // SAFETY: all-zero mmsghdr is valid (null pointers, zero lengths).
        let mut message: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_hdr.msg_name = name.as_mut_ptr().cast();
        message.msg_hdr.msg_namelen = name_len;
        message.msg_hdr.msg_iov = room.as_mut_ptr().cast();
        message.msg_hdr.msg_iovlen = used;
        if let Some((control, len)) = &mut control {
            message.msg_hdr.msg_control = control.as_mut_ptr();
            message.msg_hdr.msg_controllen = *len as _;
        }
        header.write(message);
        count += 1;
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    if count == 0 {
        return Ok(0);
    }
    if count == 1 {
        // SAFETY: the first header and its first piece were initialised; what they point to lives on
        // this stack frame, and the bytes behind the pieces are borrowed. The call for one piece
        // costs least.
        let n = unsafe {
            let header = headers[0].assume_init_ref().msg_hdr;
            let piece = pieces[0][0].assume_init();
            if header.msg_iovlen == 1 && header.msg_control.is_null() {
                let name = header.msg_name.cast();
                let (at, len) = (piece.iov_base, piece.iov_len);
                libc::sendto(fd.as_raw_fd(), at, len, flags, name, header.msg_namelen)
            } else {
                libc::sendmsg(fd.as_raw_fd(), &raw const header, flags)
            }
        };
        return if n < 0 { Err(io::Error::last_os_error()) } else { Ok(1) };
    }
    // SAFETY: the first `count` headers are initialised, as are the pieces they name; everything
    // outlives the call, and the kernel writes only msg_len.
    let n = unsafe {
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr().cast(), count as libc::c_uint, flags)
    };
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

/// Sends the pieces as one run of bytes, cut into datagrams of `segment` bytes; at most [`BATCH`]
/// pieces and [`SEGMENTS_MAX`] datagrams.
///
/// # Errors
/// As [`datagrams`]; EINVAL also where a segment is longer than the device's MTU, EIO where the
/// device cannot complete checksums: the caller then sends them one by one.
pub fn train<'a>(
    fd: BorrowedFd<'_>,
    to: SocketAddr,
    pieces: impl Iterator<Item = &'a [u8]>,
    segment: u16,
) -> io::Result<()> {
    let (mut name, name_len) = Name::of(to);
    let mut vectors = [MaybeUninit::<libc::iovec>::uninit(); BATCH];
    let mut count = 0;
    for (piece, slot) in pieces.filter(|piece| !piece.is_empty()).zip(&mut vectors) {
        slot.write(iovec(piece));
        count += 1;
    }
    let mut control = SegmentControl([0; 24]);
    // SAFETY: all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = name_len;
    message.msg_iov = vectors.as_mut_ptr().cast();
    message.msg_iovlen = count;
    message.msg_control = (&raw mut control.0).cast();
    // SAFETY: pure arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as _;
    // SAFETY: the control buffer is aligned and larger than CMSG_SPACE(2), which is 24 bytes at
    // most, so the first header and its data are within it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::IPPROTO_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(header).cast::<u16>().write_unaligned(segment);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the message and all it points to are initialised and outlive the call.
    let n = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn iovec(piece: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: piece.len() }
}
