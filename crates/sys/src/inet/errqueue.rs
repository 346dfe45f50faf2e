//! The error queue of a socket: what the network answered to what was sent
//! (MSG_ERRQUEUE, ip(7); `struct sock_extended_err`, linux/errqueue.h).

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::Name;
use super::local::{self, Local, With};

/// Who found the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This host, while it sent.
    Local,
    /// An ICMP message with this type and code.
    Icmp { kind: u8, code: u8 },
    /// An ICMPv6 message with this type and code.
    Icmpv6 { kind: u8, code: u8 },
}

/// One queued error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketError {
    pub origin: Origin,
    /// The error number that a system call would report.
    pub errno: i32,
    /// The path MTU, for what was too big.
    pub info: u32,
    /// Who sent the ICMP message.
    pub offender: Option<IpAddr>,
    /// Where the datagram was sent to; for echo the port is zero.
    pub destination: Option<SocketAddr>,
    /// The address of this host that it was sent from, where the socket tells it and the error is
    /// not its own.
    pub local: Option<Local>,
    /// Bytes of the datagram's payload that came back, and are in the caller's buffer.
    pub len: usize,
}

#[repr(C, align(8))]
struct Control([u8; 256]);

/// Takes one error, and as much of its datagram as `payload` holds. An error of another origin
/// (a timestamp, a zero-copy notice) is taken and skipped.
///
/// # Errors
/// EAGAIN when there is none.
pub fn receive(fd: BorrowedFd<'_>, payload: &mut [u8]) -> io::Result<SocketError> {
    loop {
        if let Some(error) = receive_one(fd, payload)? {
            return Ok(error);
        }
    }
}

fn receive_one(fd: BorrowedFd<'_>, payload: &mut [u8]) -> io::Result<Option<SocketError>> {
    let mut name = Name::empty();
    let mut control = Control([0; 256]);
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    // SAFETY: all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = Name::LEN;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = control.0.len() as _;
    let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
    // SAFETY: all pointers are to values of this frame or to `payload`, writable for the lengths
    // given.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    let destination = if message.msg_namelen == 0 { None } else { name.address() };
    let (mut error, mut local) = (None, None);
    // SAFETY: recvmsg filled the message and its control buffer.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: the kernel wrote whole control messages, and CMSG_NXTHDR stays within them.
    while let Some(at) = unsafe { header.as_ref() } {
        let kind = (at.cmsg_level, at.cmsg_type);
        if kind == (libc::IPPROTO_IP, libc::IP_RECVERR)
            || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)
        {
            // SAFETY: the data is a sock_extended_err with the offender's name behind it
            // (ip_recv_error, ipv6_recv_error); both are within our buffer, which is larger than
            // headers and both together, and are read unaligned.
            let (found, offender) = unsafe {
                let data = libc::CMSG_DATA(header);
                let found = data.cast::<libc::sock_extended_err>().read_unaligned();
                let offender = data.add(size_of::<libc::sock_extended_err>());
                (found, offender.cast::<Name>().read_unaligned())
            };
            let (kind, code) = (found.ee_type, found.ee_code);
            let origin = match found.ee_origin {
                libc::SO_EE_ORIGIN_LOCAL => Origin::Local,
                libc::SO_EE_ORIGIN_ICMP => Origin::Icmp { kind, code },
                libc::SO_EE_ORIGIN_ICMP6 => Origin::Icmpv6 { kind, code },
                _ => return Ok(None),
            };
            error = Some(SocketError {
                origin,
                errno: i32::try_from(found.ee_errno).unwrap_or(0),
                info: found.ee_info,
                offender: if origin == Origin::Local { None } else { offender.ip() },
                destination,
                local: None,
                len: len.min(payload.len()),
            });
        } else {
            // SAFETY: a whole message that the kernel wrote.
            local = unsafe { local::of_control(header, With::Error) }.or(local);
        }
        // SAFETY: as for the loop.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok(error.map(|error| SocketError { local, ..error }))
}
