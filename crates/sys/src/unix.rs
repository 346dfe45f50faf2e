//! AF_UNIX sockets: names, peers, credentials and descriptors (unix(7)).
//!
//! **Names.** A socket name holds 107 bytes, directories are often longer. Binding and connecting
//! therefore go through `/proc/self/fd/N/NAME`, N being a descriptor of the directory: only NAME
//! is limited. The same trick with a descriptor of the socket *itself* (`PeerPath`) pins what was
//! checked: between the check of a path's owner and its use nobody can put another socket there.
//!
//! **Credentials** are the kernel's (SO_PEERCRED, SCM_CREDENTIALS), as seen from our user
//! namespace: an unmapped id reads as the overflow id 65534.

mod address;
mod message;
mod peer;

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub use address::Address;
pub use message::{FDS_MAX, Received, receive_any_fds, receive_with_fds, send_with_fds};
pub(crate) use message::{collect_control, header_payload};
pub use peer::{PeerPath, PeerPathError, SocketIs};

/// Bytes a path may have in `struct sockaddr_un` (108, less the NUL).
pub const PATH_MAX_BYTES: usize = 107;

/// Bytes of `struct sockaddr_un` on Linux: a family of two bytes and 108 of path.
pub const SOCKADDR_UN_LEN: usize = size_of::<libc::sockaddr_un>();

/// Who is at the other end, by the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Cred {
    /// 0 when the process is outside of our PID namespace.
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl fmt::Display for Cred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}, pid {}", self.uid, self.pid)
    }
}

/// The three socket types of AF_UNIX.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SocketKind {
    Stream,
    Datagram,
    Seqpacket,
}

impl SocketKind {
    fn raw(self) -> libc::c_int {
        match self {
            SocketKind::Stream => libc::SOCK_STREAM,
            SocketKind::Datagram => libc::SOCK_DGRAM,
            SocketKind::Seqpacket => libc::SOCK_SEQPACKET,
        }
    }
}

fn check(r: libc::c_int) -> io::Result<libc::c_int> {
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(r) }
}

fn check_len(r: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(r).map_err(|_| io::Error::last_os_error())
}

fn option_len<T>() -> libc::socklen_t {
    // Socket options are a handful of bytes.
    size_of::<T>() as libc::socklen_t
}

/// A new socket, close-on-exec, blocking or not.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM of socket(2).
pub fn socket(kind: SocketKind, nonblocking: bool) -> io::Result<OwnedFd> {
    let flags = if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no pointers; the result is checked.
    let fd =
        check(unsafe { libc::socket(libc::AF_UNIX, kind.raw() | libc::SOCK_CLOEXEC | flags, 0) })?;
    // SAFETY: socket(2) has just returned this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Two connected sockets, close-on-exec, blocking or not.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM of socketpair(2).
pub fn pair(kind: SocketKind, nonblocking: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    let mut fds = [0; 2];
    // SAFETY: `fds` is writable for two descriptors.
    check(unsafe {
        libc::socketpair(
            libc::AF_UNIX,
            kind.raw() | libc::SOCK_CLOEXEC | flags,
            0,
            fds.as_mut_ptr(),
        )
    })?;
    // SAFETY: socketpair(2) has just returned both descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Binds to a name made by the caller.
///
/// # Errors
/// EADDRINUSE when the name exists (also as a stale file), EACCES, ENOENT, ENOTDIR.
pub fn bind(fd: BorrowedFd<'_>, address: &Address) -> io::Result<()> {
    let (raw, len) = address.as_raw();
    // SAFETY: `raw` points to `len` readable bytes of `address`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), raw.cast(), len) })?;
    Ok(())
}

/// Connects to a name made by the caller.
///
/// # Errors
/// ECONNREFUSED when nobody listens, EAGAIN when a non-blocking stream finds the backlog full,
/// EPERM when a datagram peer is connected to somebody else, EPROTOTYPE for another socket type.
pub fn connect(fd: BorrowedFd<'_>, address: &Address) -> io::Result<()> {
    let (raw, len) = address.as_raw();
    loop {
        // SAFETY: `raw` points to `len` readable bytes of `address`, which outlives the call.
        match check(unsafe { libc::connect(fd.as_raw_fd(), raw.cast(), len) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| ()),
        }
    }
}

/// The name NAME in the directory behind `dir`, as a socket address that fits.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] when NAME is empty, has a slash or a NUL, or more than 80 bytes.
pub fn address_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Address> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 80 || bytes.contains(&b'/') || bytes == b".." {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("\"{}\" cannot name a socket in a directory", name.display()),
        ));
    }
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    path.push(name);
    Address::from_path(&path)
}

/// A bound socket NAME in the directory behind `dir`. Its mode is what the umask leaves of 0777.
///
/// # Errors
/// As [`socket`], [`address_at`] and [`bind`].
pub fn bind_at(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    kind: SocketKind,
    nonblocking: bool,
) -> io::Result<OwnedFd> {
    let address = address_at(dir, name)?;
    let fd = socket(kind, nonblocking)?;
    bind(as_fd(&fd), &address)?;
    Ok(fd)
}

/// A listening, non-blocking socket NAME in the directory behind `dir`.
///
/// # Errors
/// As [`bind_at`].
pub fn listen_at(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    kind: SocketKind,
    backlog: i32,
) -> io::Result<OwnedFd> {
    let fd = bind_at(dir, name, kind, true)?;
    listen(as_fd(&fd), backlog)?;
    Ok(fd)
}

/// listen(2).
///
/// # Errors
/// EOPNOTSUPP for a datagram socket, EINVAL for one without a name.
pub fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(|_| ())
}

/// A blocking socket connected to NAME in the directory behind `dir`.
///
/// # Errors
/// As [`socket`], [`address_at`] and [`connect`].
pub fn connect_at(dir: BorrowedFd<'_>, name: &OsStr, kind: SocketKind) -> io::Result<OwnedFd> {
    let address = address_at(dir, name)?;
    let fd = socket(kind, false)?;
    connect(as_fd(&fd), &address)?;
    Ok(fd)
}

/// A blocking socket connected to `path`, of any length: the directory is opened first.
///
/// # Errors
/// As open(2) of the directory and [`connect_at`].
pub fn connect_path(path: &Path, kind: SocketKind) -> io::Result<OwnedFd> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} does not name a socket in a directory", path.display()),
        ));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    connect_at(as_fd(&open_directory(parent)?), name, kind)
}

/// A descriptor of a directory for the `*_at` calls (O_PATH: search permission is enough).
///
/// # Errors
/// As open(2).
pub fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Removes NAME from the directory behind `dir`. It is not an error when it is not there.
///
/// # Errors
/// As unlinkat(2), except ENOENT.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Sets the permission bits of NAME in the directory behind `dir`. A symbolic link is not followed: it is an error, or
/// gets a mode that nobody looks at.
///
/// # Errors
/// As openat(2) and fchmodat(2).
pub fn set_mode_at(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let node = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    // fchmod(2) takes no O_PATH descriptors; their magic link leads to the node itself.
    let path = format!("/proc/self/fd/{}", node.as_raw_fd());
    Ok(rustix::fs::chmod(path, Mode::from_raw_mode(mode))?)
}

/// The next connection of a listening socket: non-blocking, close-on-exec, with its peer.
///
/// # Errors
/// EAGAIN when there is none; EMFILE, ENFILE, ENOBUFS, ENOMEM when the connection stays in the
/// backlog; ECONNABORTED when it went away.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<(OwnedFd, Cred)> {
    // SAFETY: null pointers say that the peer's name is not wanted.
    let fd = check(unsafe {
        libc::accept4(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
        )
    })?;
    // SAFETY: accept4(2) has just returned this descriptor.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let cred = peer_cred(as_fd(&fd))?;
    Ok((fd, cred))
}

/// Who connected (SO_PEERCRED): the process and effective ids at connect(2), or at listen(2) for
/// the other side.
///
/// # Errors
/// ENOTCONN-like errors of getsockopt(2) for what is not a connected AF_UNIX socket.
pub fn peer_cred(fd: BorrowedFd<'_>) -> io::Result<Cred> {
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = option_len::<libc::ucred>();
    // SAFETY: `cred` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &raw mut len,
        )
    })?;
    Ok(Cred { pid: cred.pid, uid: cred.uid, gid: cred.gid })
}

/// The supplementary groups of who connected (SO_PEERGROUPS, Linux 4.13), without its own group,
/// which [`peer_cred`] tells.
///
/// # Errors
/// As getsockopt(2).
pub fn peer_groups(fd: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    // NGROUPS_MAX is 65,536; who has more than some hundred is asked again.
    let mut groups = vec![0_u32; 256];
    loop {
        let mut len = libc::socklen_t::try_from(groups.len() * size_of::<u32>())
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: `groups` is writable for `len` bytes.
        let result = check(unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        });
        let count = len as usize / size_of::<u32>();
        match result {
            Ok(_) => {
                groups.truncate(count);
                return Ok(groups);
            }
            Err(e) if e.raw_os_error() == Some(libc::ERANGE) && count > groups.len() => {
                groups.resize(count, 0);
            }
            Err(e) => return Err(e),
        }
    }
}

/// The user that file permissions and the kernel's credentials know us as.
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// What kind of socket a descriptor is, when it is one of AF_UNIX (SO_DOMAIN, SO_TYPE).
///
/// # Errors
/// ENOTSOCK; [`io::ErrorKind::InvalidInput`] for another family or type.
pub fn kind_of(fd: BorrowedFd<'_>) -> io::Result<SocketKind> {
    let domain = int_option(fd, libc::SO_DOMAIN)?;
    match (domain, int_option(fd, libc::SO_TYPE)?) {
        (libc::AF_UNIX, libc::SOCK_STREAM) => Ok(SocketKind::Stream),
        (libc::AF_UNIX, libc::SOCK_DGRAM) => Ok(SocketKind::Datagram),
        (libc::AF_UNIX, libc::SOCK_SEQPACKET) => Ok(SocketKind::Seqpacket),
        (domain, kind) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the descriptor is a socket of family {domain} and type {kind}, not AF_UNIX"),
        )),
    }
}

pub(crate) fn int_option(fd: BorrowedFd<'_>, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = option_len::<libc::c_int>();
    // SAFETY: `value` is writable for `len` bytes.
    check(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    })?;
    Ok(value)
}

pub(crate) fn set_int_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: `value` is readable for its size.
    check(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            option_len::<libc::c_int>(),
        )
    })
    .map(|_| ())
}

/// Asks for SCM_CREDENTIALS with every message received (SO_PASSCRED).
///
/// # Errors
/// As setsockopt(2).
pub fn set_pass_cred(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_int_option(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, 1)
}

/// Ends a connection for both sides; never waits, as closing it might. What was sent can still be read.
///
/// # Errors
/// ENOTCONN when it has ended already.
pub fn end(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Both)?)
}

/// Whether the peer of a seqpacket socket sends no more, and nothing but empty packets is left of what it sent. Such a
/// socket is read as empty packets for ever, which look like those that a peer sends.
#[must_use]
pub fn has_ended(fd: BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::{RecvFlags, recv};
    let mut peer = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if !matches!(poll(&mut peer, Some(&now)), Ok(1)) {
        return false;
    }
    let mut first = [0; 1];
    // Whoever asked had nothing to read but what is gone by now; so an error is the end, too.
    recv(fd, &mut first[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)
        .map_or(true, |(_, len)| len == 0)
}

/// SO_PASSRIGHTS (include/uapi/asm-generic/socket.h, Linux 6.16).
const SO_PASSRIGHTS: libc::c_int = 83;

/// Whoever sends descriptors to this socket, or to one that it accepts, gets EPERM and sends nothing (SO_PASSRIGHTS
/// of 0). Without it the kernel closes in the receiver's time what the receiver did not ask for. Whether this kernel
/// can do it.
///
/// # Errors
/// As setsockopt(2).
pub fn refuse_descriptors(fd: BorrowedFd<'_>) -> io::Result<bool> {
    take_descriptors(fd, false)
}

/// Whether descriptors may be sent to this socket; see [`refuse_descriptors`].
///
/// # Errors
/// As setsockopt(2).
pub fn take_descriptors(fd: BorrowedFd<'_>, may: bool) -> io::Result<bool> {
    match set_int_option(fd, libc::SOL_SOCKET, SO_PASSRIGHTS, may.into()) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// The error a socket has pending, which reading it clears (SO_ERROR).
///
/// # Errors
/// As getsockopt(2).
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    Ok(match int_option(fd, libc::SO_ERROR)? {
        0 => None,
        e => Some(io::Error::from_raw_os_error(e)),
    })
}

/// Asks for socket buffers of these sizes in bytes; the kernel caps them at net.core.wmem_max and
/// rmem_max and doubles what it grants for its own bookkeeping. Returns what it granted (as the
/// kernel counts): a smaller buffer is slower, not wrong.
///
/// # Errors
/// As setsockopt(2).
pub fn set_buffers(fd: BorrowedFd<'_>, send: usize, receive: usize) -> io::Result<(usize, usize)> {
    let capped = |bytes: usize| libc::c_int::try_from(bytes / 2).unwrap_or(libc::c_int::MAX / 2);
    if send > 0 {
        set_int_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, capped(send))?;
    }
    if receive > 0 {
        set_int_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, capped(receive))?;
    }
    let granted = |o| int_option(fd, o).map(|v| usize::try_from(v).unwrap_or(0));
    Ok((granted(libc::SO_SNDBUF)?, granted(libc::SO_RCVBUF)?))
}

/// Socket buffers of `bytes` each way, beyond net.core.*mem_max where we have CAP_NET_ADMIN in the
/// first user namespace, else as far as those allow.
///
/// # Errors
/// As setsockopt(2).
pub fn force_buffers(fd: BorrowedFd<'_>, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    for (force, plain) in
        [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)]
    {
        if set_int_option(fd, libc::SOL_SOCKET, force, bytes).is_err() {
            set_int_option(fd, libc::SOL_SOCKET, plain, bytes)?;
        }
    }
    Ok(())
}

/// Makes a descriptor non-blocking or blocking (O_NONBLOCK of the open file description).
///
/// # Errors
/// As fcntl(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>, nonblocking: bool) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    let mut flags = fcntl_getfl(fd)?;
    flags.set(OFlags::NONBLOCK, nonblocking);
    Ok(fcntl_setfl(fd, flags)?)
}

/// Bytes (as the kernel charges them, with its overhead) sent from this socket that no receiver
/// has taken yet (SIOCOUTQ).
///
/// # Errors
/// As ioctl(2).
pub fn unsent(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut value: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (TIOCOUTQ) writes one int through the pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut value) })?;
    Ok(usize::try_from(value).unwrap_or(0))
}

/// Receives without blocking. 0 is the end of a stream (or an empty message).
///
/// # Errors
/// EAGAIN, ECONNRESET, ENOTCONN.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is writable for its length.
    check_len(unsafe {
        libc::recv(
            fd.as_raw_fd(),
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC,
        )
    })
}

/// Receives one message without blocking. The second value tells that it was longer than the buffer
/// and its tail is lost (MSG_TRUNC). Descriptors that a peer sends uninvited are closed by the
/// kernel.
///
/// # Errors
/// EAGAIN, ECONNRESET, ENOTCONN.
pub fn receive_message(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut piece = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is valid: no name, no control data.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    // SAFETY: the header and the buffer are writable and outlive the call.
    let len =
        check_len(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) })?;
    Ok((len, message.msg_flags & libc::MSG_TRUNC != 0))
}

/// Sends pieces in order without blocking and without SIGPIPE; returns how many bytes went. More
/// than 1024 pieces (UIO_MAXIOV) are refused by the kernel.
///
/// # Errors
/// EAGAIN when nothing fits, EPIPE and ECONNRESET when the peer is gone, EMSGSIZE.
pub fn send_vectored(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: an all-zero msghdr is valid (null pointers with zero lengths).
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // IoSlice is guaranteed to have the layout of struct iovec.
    message.msg_iov = pieces.as_ptr().cast_mut().cast();
    message.msg_iovlen = pieces.len();
    // SAFETY: the header and all pieces outlive the call; the kernel only reads them.
    check_len(unsafe {
        libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    })
}

fn as_fd(fd: &OwnedFd) -> BorrowedFd<'_> {
    use std::os::fd::AsFd;
    fd.as_fd()
}

#[cfg(test)]
#[path = "unix/tests.rs"]
mod tests;
