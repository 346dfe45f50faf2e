//! Connecting, and why it failed: the kernel keeps what a router or the other host has said
//! (tcp(7), ip(7), ipv6(7)).
//!
//! An ICMP error that comes while a socket connects ends that, and stays with its sender, type and
//! code in the socket's error queue: for IPv4 always, for IPv6 where IPV6_RECVERR is set. Once a
//! connection is open, such an error is news for a retransmission only (RFC 9293, 3.9.2.2); but with
//! that option Linux hands it to the next call, which would end the connection. So the option is set
//! while the socket connects, and no longer.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::inet::errqueue::{self, SocketError};
use crate::inet::set_error_queue;

/// How far a socket of [`connect_reporting`] has come.
#[derive(Debug)]
pub enum Progress {
    /// Nobody has answered.
    Pending,
    Connected,
    Failed(Failure),
}

/// Why a socket is not connected.
#[derive(Debug)]
pub struct Failure {
    pub error: io::Error,
    /// The ICMP message that says so.
    pub report: Option<SocketError>,
}

/// States of a TCP socket (include/net/tcp_states.h).
mod state {
    pub(super) const SYN_SENT: u8 = 2;
    pub(super) const SYN_RECV: u8 = 3;
    pub(super) const CLOSE: u8 = 7;
}

/// A non-blocking TCP socket that has begun to connect to `target`. It is connected, or has failed,
/// when it is writable.
///
/// Small writes are not delayed (TCP_NODELAY): whoever wrote them has decided so before. Urgent
/// bytes stay in the stream (SO_OOBINLINE).
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS, ENOMEM; EAFNOSUPPORT; what connect(2) says at once: ENETUNREACH,
/// EACCES, EPERM, EADDRNOTAVAIL, ECONNREFUSED.
pub fn connect(target: &SocketAddr) -> io::Result<OwnedFd> {
    begin(target, false)
}

/// As [`connect`], and the socket keeps what routers say until [`progress`], which is to be asked
/// whenever it is reported, writable or failed, has said that it is connected.
///
/// # Errors
/// As [`connect`].
pub fn connect_reporting(target: &SocketAddr) -> io::Result<OwnedFd> {
    begin(target, target.is_ipv6())
}

fn begin(target: &SocketAddr, keeps_errors: bool) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    super::prepare(fd.as_fd())?;
    if keeps_errors {
        set_error_queue(fd.as_fd(), target.is_ipv6(), true)?;
    }
    match rustix::net::connect(&fd, target) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(fd),
        Err(error) => Err(error.into()),
    }
}

/// What became of a socket of [`connect_reporting`] to an address of IPv6, or of IPv4.
///
/// The socket's state decides, and not whether it has an error: an ICMP message is in the queue, and
/// the socket reported for it, before the error is noted.
///
/// # Errors
/// Only for what is no TCP socket.
pub fn progress(fd: BorrowedFd<'_>, v6: bool) -> io::Result<Progress> {
    let state = state_of(fd)?;
    if !matches!(state, state::SYN_SENT | state::SYN_RECV | state::CLOSE) {
        if v6 {
            set_error_queue(fd, true, false)?;
            match super::take_error(fd) {
                // What was said between the last step of connecting and this call.
                Err(error) if !ends(&error) => {}
                Err(error) => return Ok(Progress::Failed(Failure { error, report: None })),
                Ok(()) => {}
            }
        }
        return Ok(Progress::Connected);
    }
    let error = super::take_error(fd).err();
    let report = errqueue::receive(fd, &mut []).ok();
    Ok(match (error, report) {
        (Some(error), report) => {
            // An older message is not the reason for another error.
            let report = report.filter(|report| error.raw_os_error() == Some(report.errno));
            Progress::Failed(Failure { error, report })
        }
        (None, Some(report)) => {
            let error = io::Error::from_raw_os_error(report.errno);
            Progress::Failed(Failure { error, report: Some(report) })
        }
        (None, None) if state == state::CLOSE => {
            let error = io::Error::from_raw_os_error(libc::ECONNRESET);
            Progress::Failed(Failure { error, report: None })
        }
        (None, None) => Progress::Pending,
    })
}

/// Whether this error of an open connection is its end, and not what a router has said about it.
fn ends(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ECONNRESET | libc::EPIPE | libc::ETIMEDOUT))
}

/// The state of a TCP socket, the first byte of `struct tcp_info`.
fn state_of(fd: BorrowedFd<'_>) -> io::Result<u8> {
    let mut state = 0_u8;
    let mut len = size_of_val(&state) as libc::socklen_t;
    // SAFETY: one byte is writable, and the kernel writes no more than `len`.
    let r = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut state).cast(),
            &raw mut len,
        )
    };
    if r < 0 { Err(io::Error::last_os_error()) } else { Ok(state) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Loopback of IPv4, and of IPv6 where the host has it.
    fn listeners() -> impl Iterator<Item = (TcpListener, SocketAddr)> {
        ["127.0.0.1:0", "[::1]:0"].into_iter().filter_map(|address| {
            let listener = TcpListener::bind(address).ok()?;
            let address = listener.local_addr().unwrap();
            Some((listener, address))
        })
    }

    /// IPV6_RECVERR.
    fn keeps_errors(fd: &OwnedFd) -> bool {
        let mut value: libc::c_int = 0;
        let mut len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the value is writable for `len` bytes.
        let r = unsafe {
            libc::getsockopt(
                fd.as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVERR,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        assert_eq!(r, 0);
        value != 0
    }

    #[test]
    fn an_open_connection_is_not_ended_by_what_routers_say() {
        for (_listener, address) in listeners() {
            let fd = connect_reporting(&address).unwrap();
            assert!(!address.is_ipv6() || keeps_errors(&fd));
            assert!(matches!(
                progress(fd.as_fd(), address.is_ipv6()).unwrap(),
                Progress::Connected
            ));
            assert!(!address.is_ipv6() || !keeps_errors(&fd));
        }
    }

    #[test]
    fn a_refusal_is_told_once() {
        for (listener, address) in listeners() {
            drop(listener);
            let fd = match connect_reporting(&address) {
                Ok(fd) => fd,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                    continue;
                }
            };
            let Progress::Failed(failure) = progress(fd.as_fd(), address.is_ipv6()).unwrap() else {
                panic!("nothing listens there")
            };
            assert_eq!(failure.error.kind(), io::ErrorKind::ConnectionRefused);
            assert_eq!(failure.report, None, "a reset is no ICMP message");
            // Whoever asks again is not told that it is connected.
            assert!(matches!(
                progress(fd.as_fd(), address.is_ipv6()).unwrap(),
                Progress::Failed(_)
            ));
        }
    }

    #[test]
    fn without_an_answer_nothing_is_said() {
        for (listener, address) in listeners() {
            // With its backlog full, a listener answers no SYN.
            rustix::net::listen(&listener, 0).unwrap();
            let mut waiting = Vec::new();
            let pending = (0..64).any(|_| {
                let fd = connect_reporting(&address).unwrap();
                let progress = progress(fd.as_fd(), address.is_ipv6()).unwrap();
                waiting.push(fd);
                matches!(progress, Progress::Pending)
            });
            assert!(pending, "{address}");
        }
    }
}
