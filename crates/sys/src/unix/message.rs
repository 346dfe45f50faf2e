//! Messages with descriptors and credentials beside the bytes.

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::{Cred, check_len};

/// Descriptors that may ride with one message (SCM_MAX_FD in include/net/scm.h is 253).
pub const FDS_MAX: usize = 32;

/// Room for all descriptors that one message can have, one set of credentials and their headers, aligned as
/// `cmsghdr` needs. What finds no room is closed by the kernel within the call, which may wait.
#[repr(C, align(8))]
struct ControlBuffer([u8; 1280]);

/// Sends `bytes` with descriptors (SCM_RIGHTS), without SIGPIPE; blocks when the socket does.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for more than [`FDS_MAX`] descriptors or descriptors without a
/// byte to ride on; EAGAIN; EPIPE; ETOOMANYREFS when too many descriptors are in flight.
pub fn send_with_fds(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if fds.len() > FDS_MAX || (!fds.is_empty() && bytes.is_empty()) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} descriptors cannot be sent with {} bytes", fds.len(), bytes.len()),
        ));
    }
    let mut control = ControlBuffer([0; 1280]);
    let mut piece =
        libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let payload = size_of_val(fds) as libc::c_uint;
        const { assert!(size_of::<BorrowedFd<'_>>() == size_of::<RawFd>()) };
        message.msg_control = (&raw mut control.0).cast();
        // SAFETY: CMSG_SPACE only computes.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(payload) } as _;
        // SAFETY: the control buffer is larger than CMSG_SPACE of 32 descriptors (144 bytes), so
        // the first header and its data lie inside; it is aligned for cmsghdr.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(payload) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (i, fd) in fds.iter().enumerate() {
                data.add(i).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: everything the header points to outlives the call.
        let sent = check_len(unsafe {
            libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
        });
        match sent {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// What [`receive_with_fds`] got.
#[derive(Debug)]
pub struct Received {
    /// Bytes now in the buffer; 0 at the end of a stream.
    pub len: usize,
    /// The descriptors, all close-on-exec, in the sender's order.
    pub fds: Vec<OwnedFd>,
    /// SCM_CREDENTIALS, when [`super::set_pass_cred`] asked for them.
    pub cred: Option<Cred>,
    /// Some descriptors were lost: this process has no room for them.
    pub cut: bool,
}

/// Receives bytes and at most `max_fds` descriptors (at most [`FDS_MAX`]) from somebody who is trusted with the
/// time that closing a descriptor takes.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] when more descriptors came than that or the control data was
/// cut: all of them are closed, and the sender is not to be served further. EAGAIN; ECONNRESET.
pub fn receive_with_fds(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    max_fds: usize,
) -> io::Result<Received> {
    let received = receive_any_fds(fd, buffer)?;
    if received.cut || received.fds.len() > max_fds {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the peer sent more than the {max_fds} descriptors that are accepted here"),
        ));
    }
    Ok(received)
}

/// Receives bytes and whatever descriptors came with them; none is closed, so this never waits. Closing one can take as
/// long as its sender likes (close(2) asks the server of a file system, SO_LINGER waits for a far host).
///
/// # Errors
/// EAGAIN; ECONNRESET.
pub fn receive_any_fds(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Received> {
    let mut control = ControlBuffer([0; 1280]);
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len() as _;
    let len = loop {
        // SAFETY: the header, the buffer and the control space outlive the call and are writable.
        let got = check_len(unsafe {
            libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC)
        });
        match got {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    let cut = message.msg_flags & libc::MSG_CTRUNC != 0;
    let mut received = Received { len, fds: Vec::new(), cred: None, cut };
    // SAFETY: the kernel has filled `message.msg_controllen` bytes of well-formed headers.
    unsafe { collect_control(&message, Some(&mut received.fds), &mut received.cred) };
    Ok(received)
}

/// Takes credentials and descriptors out of received control data. Descriptors are always
/// adopted: into `fds`, or closed at once.
///
/// # Safety
/// `message` must be as recvmsg(2) or recvmmsg(2) left it, its control buffer still alive, and
/// not parsed before (it hands out ownership of the descriptors).
pub(crate) unsafe fn collect_control(
    message: &libc::msghdr,
    mut fds: Option<&mut Vec<OwnedFd>>,
    cred: &mut Option<Cred>,
) {
    // SAFETY: by the contract the headers are the kernel's; the CMSG_* macros walk them within
    // msg_controllen, and each payload is read unaligned within its cmsg_len.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(h) = header.as_ref() {
            let payload = header_payload(h);
            let data = libc::CMSG_DATA(header);
            match (h.cmsg_level, h.cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_RIGHTS) => {
                    for i in 0..payload / size_of::<RawFd>() {
                        let raw = data.cast::<RawFd>().add(i).read_unaligned();
                        let owned = OwnedFd::from_raw_fd(raw);
                        if let Some(fds) = &mut fds {
                            fds.push(owned);
                        }
                    }
                }
                (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
                    if payload >= size_of::<libc::ucred>() =>
                {
                    let c = data.cast::<libc::ucred>().read_unaligned();
                    *cred = Some(Cred { pid: c.pid, uid: c.uid, gid: c.gid });
                }
                _ => {}
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

/// Bytes of payload behind a control header.
pub(crate) fn header_payload(header: &libc::cmsghdr) -> usize {
    // SAFETY: CMSG_LEN only computes.
    let overhead = unsafe { libc::CMSG_LEN(0) } as usize;
    // socklen_t on some C libraries, size_t on others.
    #[allow(clippy::unnecessary_cast)]
    (header.cmsg_len as usize).saturating_sub(overhead)
}
