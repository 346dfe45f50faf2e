//! What an error of reading or writing means to a link, beyond what [`io::ErrorKind`] tells
//! (errno(3), include/uapi/asm-generic/errno.h).

use std::io;

/// The numbers that netherd itself answers or tells apart.
pub use libc::{
    EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, EAGAIN, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, EINVAL,
    EIO, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOBUFS, ENODEV, ENOENT, ENOMEM, ENOSPC, ENOSYS,
    EOPNOTSUPP, EPERM, EPROTONOSUPPORT, ESRCH, ETIMEDOUT, EUSERS,
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
    matches!(e.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
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
    e.raw_os_error() == Some(libc::ENETDOWN)
}
