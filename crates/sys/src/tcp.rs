//! Stream sockets of the host as the translation uses them: read without taking away, taken away
//! without reading, and looked into (tcp(7), socket(7), unix(7)).

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

mod connect;

pub use connect::{Failure, Progress, connect, connect_reporting, progress};

/// Sets what [`connect`](fn@connect) sets on a TCP socket that came from elsewhere.
///
/// # Errors
/// ENOPROTOOPT, EOPNOTSUPP for what is not TCP.
pub fn prepare(fd: BorrowedFd<'_>) -> io::Result<()> {
    rustix::net::sockopt::set_tcp_nodelay(fd, true)?;
    rustix::net::sockopt::set_socket_oobinline(fd, true)?;
    Ok(())
}

/// The socket's pending error, which is taken: what ended the connection.
///
/// # Errors
/// That error.
pub fn take_error(fd: BorrowedFd<'_>) -> io::Result<()> {
    match rustix::net::sockopt::socket_error(fd)? {
        Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a stream of this address family can be peeked at an offset (SO_PEEK_OFF; TCP has it
/// since Linux 6.9).
#[must_use]
pub fn has_peek_offset(v6: bool) -> bool {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .is_ok_and(|fd| set_peek_offset(fd.as_fd(), 0).is_ok())
}

/// Where the next [`peek`] begins, in bytes from the oldest that was not taken. From then on each
/// peek moves it forward by what it read, and taking moves it back.
///
/// # Errors
/// EOPNOTSUPP where [`has_peek_offset`] says no.
pub fn set_peek_offset(fd: BorrowedFd<'_>, offset: u32) -> io::Result<()> {
    let offset = libc::c_int::try_from(offset).unwrap_or(libc::c_int::MAX);
    crate::inet::set(fd, libc::SOL_SOCKET, libc::SO_PEEK_OFF, offset)
}

/// Copies what has come in, from the peek offset on, without taking it. Zero at the end of the
/// stream.
///
/// # Errors
/// EAGAIN when nothing is there; ECONNRESET, ETIMEDOUT and others that end the connection.
pub fn peek(fd: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    let (n, _) = rustix::net::recv(fd, room, RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    Ok(n)
}

/// [`peek`] where there is no offset: everything from the oldest byte on is copied, and the first
/// `offset` bytes of it to nowhere. The result does not count them; `None` when there are not so
/// many yet.
///
/// # Errors
/// As [`peek`].
pub fn peek_from(fd: BorrowedFd<'_>, offset: usize, room: &mut [u8]) -> io::Result<Option<usize>> {
    /// Written to by the kernel, as often as it takes, and read by nobody.
    const DISCARD: usize = 65_536;
    let mut discard = [std::mem::MaybeUninit::<u8>::uninit(); DISCARD];
    let mut pieces = Vec::with_capacity(offset / DISCARD + 2);
    let mut rest = offset;
    while rest > 0 {
        let len = rest.min(DISCARD);
        pieces.push(libc::iovec { iov_base: discard.as_mut_ptr().cast(), iov_len: len });
        rest -= len;
    }
    pieces.push(libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() });
    // SAFETY: an all-zero msghdr is valid: no name, no control data.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: every piece is writable for its length and lives over the call. Those that name
    // `discard` overlap, which only means that what is in it afterwards is anything; it is not read.
    let n = unsafe {
        libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_PEEK | libc::MSG_DONTWAIT)
    };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    Ok(n.checked_sub(offset))
}

/// Takes away `count` bytes of a TCP stream without copying them. Says how many were there.
///
/// The kernel ends a read before an urgent byte, in line or not, and before a signal that waits
/// there, so that it may take more than one call.
///
/// # Errors
/// As [`peek`], when nothing was taken.
pub fn discard(fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
    /// More than there are marks, which is one, with some signals.
    const CALLS: usize = 16;
    let mut taken = 0;
    let mut failed = None;
    for _ in 0..CALLS {
        if taken == count {
            break;
        }
        // SAFETY: for TCP the kernel writes nothing to the buffer when MSG_TRUNC is given (tcp(7)), so
        // that a null one is allowed.
        let n = unsafe {
            libc::recv(
                fd.as_raw_fd(),
                std::ptr::null_mut(),
                count - taken,
                libc::MSG_TRUNC | libc::MSG_DONTWAIT,
            )
        };
        match usize::try_from(n) {
            Ok(0) => break,
            Ok(n) => taken += n,
            Err(_) => {
                let error = io::Error::last_os_error();
                let is_signal = crate::errno::is_transient(&error);
                failed = Some(error);
                if !is_signal {
                    break;
                }
            }
        }
    }
    failed.filter(|_| taken == 0).map_or(Ok(taken), Err)
}

/// Takes away `count` bytes of any stream, which copies them.
///
/// # Errors
/// As [`peek`].
pub fn discard_copied(fd: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
    let mut scratch = [0; 16_384];
    let mut taken = 0;
    while taken < count {
        let want = scratch.len().min(count - taken);
        let (n, _) = rustix::net::recv(fd, &mut scratch[..want], RecvFlags::DONTWAIT)?;
        if n == 0 {
            break;
        }
        taken += n;
    }
    Ok(taken)
}

/// Writes as much as the socket takes now, without SIGPIPE.
///
/// # Errors
/// EAGAIN when it takes nothing; EPIPE, ECONNRESET, ETIMEDOUT, EHOSTUNREACH when the connection has
/// ended; ENOBUFS, ENOMEM.
pub fn write(fd: BorrowedFd<'_>, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    Ok(rustix::net::sendmsg(fd, pieces, &mut SendAncillaryBuffer::default(), flags)?)
}

/// Bytes that the send buffer still has room for, by the kernel's own account, which counts its
/// overhead (SO_MEMINFO, include/uapi/linux/sock_diag.h).
///
/// # Errors
/// ENOPROTOOPT before Linux 4.12.
pub fn send_room(fd: BorrowedFd<'_>) -> io::Result<usize> {
    const WMEM_ALLOC: usize = 2;
    const SNDBUF: usize = 3;
    const WMEM_QUEUED: usize = 5;
    let mut info = [0_u32; 9];
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the array is writable for `len` bytes, and any bytes make numbers.
    let r = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    // TCP counts what it keeps for retransmission as queued, Unix sockets what the peer has not
    // read as allocated.
    let used = info[WMEM_ALLOC].max(info[WMEM_QUEUED]);
    Ok(info[SNDBUF].saturating_sub(used) as usize)
}

/// Bytes that the peer has not acknowledged, its end of stream included (SIOCOUTQ).
///
/// # Errors
/// EINVAL for a socket that listens.
pub fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ, which is SIOCOUTQ, writes one int.
    let r = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).unwrap_or(0)) }
}

/// Ends our direction: the peer reads the end of the stream behind what was written.
///
/// # Errors
/// ENOTCONN when the connection has ended already.
pub fn shutdown_write(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::shutdown(fd, rustix::net::Shutdown::Write)?)
}

/// Ends a connection so that a TCP peer gets a reset: what was written and not sent is lost.
pub fn abort(fd: OwnedFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the struct is readable for its size. If it fails, the connection ends in the usual
    // way.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        );
    }
    drop(fd);
}

/// The longest times of keep-alive that the kernel takes (`MAX_TCP_KEEPIDLE`), about nine hours.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(32_767);

/// Has the kernel ask a silent peer whether it is there, first after `idle` and then every
/// `interval`, eight times. Both are at least a second, and at most what the kernel takes.
///
/// # Errors
/// ENOPROTOOPT, EOPNOTSUPP for what is not TCP.
pub fn keep_alive(fd: BorrowedFd<'_>, idle: Duration, interval: Duration) -> io::Result<()> {
    use rustix::net::sockopt;
    let taken = |time: Duration| time.clamp(Duration::from_secs(1), KEEP_ALIVE_MAX);
    sockopt::set_tcp_keepidle(fd, taken(idle))?;
    sockopt::set_tcp_keepintvl(fd, taken(interval))?;
    sockopt::set_tcp_keepcnt(fd, 8)?;
    sockopt::set_socket_keepalive(fd, true)?;
    Ok(())
}

/// A pair of connected Unix stream sockets, both non-blocking.
///
/// # Errors
/// EMFILE, ENFILE, ENOMEM.
pub fn local_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socketpair has just returned these two; nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fd = connect(&listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        take_error(fd.as_fd()).unwrap();
        (peer, fd)
    }

    /// What the translation relies on: offsets move with peeks and takes, and the end of the
    /// stream is seen behind the last byte.
    fn peeks_move(mut peer: impl Write, fd: &OwnedFd, discard: impl Fn(usize) -> usize) {
        peer.write_all(b"abcdef").unwrap();
        let mut room = [0; 4];
        set_peek_offset(fd.as_fd(), 0).unwrap();
        assert_eq!((peek(fd.as_fd(), &mut room).unwrap(), &room), (4, b"abcd"));
        assert_eq!((peek(fd.as_fd(), &mut room).unwrap(), &room[..2]), (2, &b"ef"[..]));
        let error = peek(fd.as_fd(), &mut room).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(discard(3), 3);
        peer.write_all(b"g").unwrap();
        assert_eq!((peek(fd.as_fd(), &mut room).unwrap(), room[0]), (1, b'g'));
        set_peek_offset(fd.as_fd(), 1).unwrap();
        assert_eq!((peek(fd.as_fd(), &mut room).unwrap(), &room[..3]), (3, &b"efg"[..]));
        drop(peer);
        std::thread::yield_now();
        assert_eq!(peek(fd.as_fd(), &mut room).unwrap(), 0);
    }

    #[test]
    fn tcp_is_peeked_at_an_offset() {
        let (peer, fd) = pair();
        if has_peek_offset(false) {
            peeks_move(peer, &fd, |n| discard(fd.as_fd(), n).unwrap());
        }
    }

    #[test]
    fn a_local_stream_is_peeked_at_an_offset() {
        let (a, b) = local_pair().unwrap();
        let peer = std::os::unix::net::UnixStream::from(a);
        peeks_move(peer, &b, |n| discard_copied(b.as_fd(), n).unwrap());
    }

    #[test]
    fn without_offsets_the_front_is_skipped() {
        let (mut peer, fd) = pair();
        let sent: Vec<u8> = (0..100_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        peer.write_all(&sent).unwrap();
        let mut room = [0; 100];
        for offset in [0, 1, 65_536, 70_001] {
            let n = peek_from(fd.as_fd(), offset, &mut room).unwrap();
            assert_eq!((n, &room[..]), (Some(100), &sent[offset..offset + 100]), "{offset}");
        }
        assert_eq!(peek_from(fd.as_fd(), 100_000, &mut room).unwrap(), Some(0));
        assert_eq!(peek_from(fd.as_fd(), 100_001, &mut room).unwrap(), None);
    }

    /// A stream in which an urgent byte lies between others, all of them there.
    fn marked() -> (TcpStream, OwnedFd) {
        let (mut peer, fd) = pair();
        peer.write_all(b"abc").unwrap();
        rustix::net::send(&peer, b"U", SendFlags::OOB).unwrap();
        peer.write_all(b"def").unwrap();
        while unread(fd.as_fd()) < 7 {
            std::thread::yield_now();
        }
        (peer, fd)
    }

    /// An urgent byte is in the stream, and what lies on both of its sides is taken at once.
    #[test]
    fn an_urgent_mark_does_not_end_a_take() {
        let mut room = [0; 8];
        let (_peer, fd) = marked();
        // Without offsets nothing is seen behind the mark until it is the first byte.
        assert_eq!(peek_from(fd.as_fd(), 0, &mut room).unwrap(), Some(3));
        assert_eq!(discard(fd.as_fd(), 5).unwrap(), 5);
        assert_eq!(discard(fd.as_fd(), 7).unwrap(), 2, "no more than there are");
        discard(fd.as_fd(), 1).unwrap_err();
        if !has_peek_offset(false) {
            return;
        }
        let (_peer, fd) = marked();
        set_peek_offset(fd.as_fd(), 0).unwrap();
        assert_eq!((peek(fd.as_fd(), &mut room).unwrap(), &room[..3]), (3, &b"abc"[..]));
        assert_eq!((peek(fd.as_fd(), &mut room).unwrap(), &room[..4]), (4, &b"Udef"[..]));
        assert_eq!(discard(fd.as_fd(), 7).unwrap(), 7);
    }

    fn unread(fd: BorrowedFd<'_>) -> u64 {
        rustix::io::ioctl_fionread(fd).unwrap()
    }

    #[test]
    fn room_shrinks_with_what_waits_and_an_end_is_acknowledged() {
        let (mut peer, fd) = pair();
        let before = send_room(fd.as_fd()).unwrap();
        assert!(before > 0);
        let block = [7; 65_536];
        let mut written = 0;
        while let Ok(n) = write(fd.as_fd(), &[IoSlice::new(&block)]) {
            written += n;
        }
        assert_eq!(send_room(fd.as_fd()).unwrap(), 0);
        assert!(unacknowledged(fd.as_fd()).unwrap() > 0);
        shutdown_write(fd.as_fd()).unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), written);
        while unacknowledged(fd.as_fd()).unwrap() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn signs_of_life_are_asked_for_as_often_as_the_kernel_can() {
        use rustix::net::sockopt;
        let (_peer, fd) = pair();
        for (idle, interval, taken) in [
            (Duration::from_millis(1), Duration::from_secs(9), (1, 9)),
            (Duration::from_secs(100_000), Duration::MAX, (32_767, 32_767)),
        ] {
            keep_alive(fd.as_fd(), idle, interval).unwrap();
            let set = (sockopt::tcp_keepidle(&fd).unwrap(), sockopt::tcp_keepintvl(&fd).unwrap());
            assert_eq!((set.0.as_secs(), set.1.as_secs()), taken);
            assert!(sockopt::socket_keepalive(&fd).unwrap());
        }
    }

    #[test]
    fn an_abort_resets() {
        let (mut peer, fd) = pair();
        abort(fd);
        let error = peer.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
