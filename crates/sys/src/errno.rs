//! What an error of reading or writing means to a link, beyond what [`io::ErrorKind`] tells
//! (errno(3), include/uapi/asm-generic/errno.h).

use std::io;

/// The numbers that netherd itself answers or tells apart.
pub use libc::{
    EACCES, EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ECONNREFUSED, EEXIST, EHOSTDOWN,
    EHOSTUNREACH, EINVAL, EIO, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENODEV, ENOENT,
    ENOMEM, ENOSPC, ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT, EPROTOTYPE, ESRCH, ETIMEDOUT,
    EUSERS,
};

/// Nothing to read, or no room to write, just now (EAGAIN, EINTR): it is tried again when the
/// descriptor is ready.
#[must_use]
pub fn is_transient(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The kernel had no memory for this (ENOBUFS, ENOMEM).
#[must_use]
pub fn is_no_memory(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(ENOBUFS | ENOMEM))
}

/// The message is longer than the socket can ever take (EMSGSIZE).
#[must_use]
pub fn is_too_long(e: &io::Error) -> bool {
    e.raw_os_error() == Some(libc::EMSGSIZE)
}

/// The network device behind a descriptor was deleted (EBADFD of a detached tap, ENODEV, ENXIO).
#[must_use]
pub fn is_device_gone(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(libc::EBADFD | ENODEV | libc::ENXIO))
}

/// The interface is down (ENETDOWN); it may come up again.
#[must_use]
pub fn is_down(e: &io::Error) -> bool {
    e.raw_os_error() == Some(ENETDOWN)
}

/// Whether an error number, as an error queue has it, is EMSGSIZE.
#[must_use]
pub fn is_too_long_code(errno: i32) -> bool {
    errno == libc::EMSGSIZE
}

/// The process or the system has as many descriptors as it may (EMFILE, ENFILE).
#[must_use]
pub fn is_out_of_descriptors(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(EMFILE | ENFILE))
}

/// The host has no port left to choose for a socket (EADDRINUSE of bind(2); EAGAIN of connect(2) and send(2),
/// where the kernel chooses it then, udp(7)).
#[must_use]
pub fn is_out_of_ports(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(EADDRINUSE | EAGAIN))
}

/// There is no way to the destination (ENETUNREACH, EHOSTUNREACH, ENETDOWN, EADDRNOTAVAIL: no
/// address of this family to send from).
#[must_use]
pub fn is_unreachable(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(ENETUNREACH | EHOSTUNREACH | ENETDOWN | EADDRNOTAVAIL))
}

/// A rule of the host forbids it (EACCES, EPERM).
#[must_use]
pub fn is_forbidden(e: &io::Error) -> bool {
    matches!(e.raw_os_error(), Some(EACCES | EPERM))
}
