//! Streams of the host: TCP sockets, and Unix sockets to services of this process.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use sys::errno::is_transient;
use sys::inet::Carries;
use sys::tcp::{Failure, Progress};

use super::stream::{Connecting, Peek, Stream, StreamBackend, StreamError};
use crate::poll::{Poller, Token};

/// Makes [`HostStream`]s.
#[derive(Clone, Copy, Debug)]
pub struct HostStreams {
    peek_offset: [bool; 2],
}

impl HostStreams {
    /// Asks the kernel what it can do.
    #[must_use]
    pub fn new() -> Self {
        Self { peek_offset: [sys::tcp::has_peek_offset(false), sys::tcp::has_peek_offset(true)] }
    }

    /// As on a kernel that cannot peek at an offset.
    #[cfg(test)]
    pub(crate) fn without_peek_offset() -> Self {
        Self { peek_offset: [false; 2] }
    }

    /// A stream of a TCP connection that a listener of the host accepted; `local` is its own
    /// address.
    ///
    /// # Errors
    /// When it is no TCP socket.
    pub fn accepted(&self, fd: OwnedFd, local: SocketAddr) -> Result<HostStream, StreamError> {
        sys::tcp::prepare(fd.as_fd()).map_err(|error| StreamError::from_io(&error))?;
        let offsets = self.peek_offset[usize::from(local.is_ipv6())];
        Ok(HostStream {
            fd,
            is_tcp: true,
            v6: local.is_ipv6(),
            offset: if offsets { Offset::Unset } else { Offset::No },
        })
    }
}

impl Default for HostStreams {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamBackend for HostStreams {
    type Stream = HostStream;

    fn connect(
        &mut self,
        poller: &Poller,
        token: Token,
        target: SocketAddr,
    ) -> Result<HostStream, StreamError> {
        let fd =
            sys::tcp::connect_reporting(&target).map_err(|error| not_connected(target, &error))?;
        let offsets = self.peek_offset[usize::from(target.is_ipv6())];
        let offset = if offsets { Offset::Unset } else { Offset::No };
        let stream = HostStream { fd, is_tcp: true, v6: target.is_ipv6(), offset };
        stream.watch(poller, token)?;
        Ok(stream)
    }
}

/// Why a connection did not begin. EADDRNOTAVAIL means of IPv4 that all ports towards this destination are taken;
/// of IPv6 also that the host has no address to send from, as while its only ones are still being looked for on the
/// link, or belong to another scope.
fn not_connected(target: SocketAddr, error: &io::Error) -> StreamError {
    let no_address = error.kind() == io::ErrorKind::AddrNotAvailable;
    if no_address && target.is_ipv6() && !has_source(target) {
        return StreamError::NetUnreachable;
    }
    StreamError::from_io(error)
}

/// Whether the host has an address to send from: connecting a socket of UDP, which sends nothing, chooses one, and
/// says otherwise that no port is left.
fn has_source(target: SocketAddr) -> bool {
    let socket = sys::inet::datagram(Carries::Udp, target.is_ipv6()).map(UdpSocket::from);
    let chosen = socket.and_then(|socket| socket.connect(target));
    !chosen.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// A peer that did not answer is asked again after this time, as tcp(7) has it, or sooner if the guest
/// asks more often than that.
const KEEP_ALIVE_AGAIN: Duration = Duration::from_secs(75);

/// Where the kernel's next peek begins, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offset {
    /// There is no such thing here.
    No,
    Unset,
    At(usize),
}

/// One stream socket.
#[derive(Debug)]
pub struct HostStream {
    fd: OwnedFd,
    is_tcp: bool,
    v6: bool,
    offset: Offset,
}

impl HostStream {
    /// One end of a connected pair whose other end a service of this process has.
    ///
    /// # Errors
    /// No descriptor or memory is left.
    pub fn local_pair() -> Result<(Self, OwnedFd), StreamError> {
        let (ours, theirs) =
            sys::tcp::local_pair().map_err(|error| StreamError::from_io(&error))?;
        Ok((Self { fd: ours, is_tcp: false, v6: false, offset: Offset::Unset }, theirs))
    }
}

impl AsFd for HostStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Stream for HostStream {
    fn watch(&self, poller: &Poller, token: Token) -> Result<(), StreamError> {
        poller.add_edges(self.as_fd(), token).map_err(|_| StreamError::NoMemory)
    }

    fn connecting(&mut self) -> Connecting {
        match sys::tcp::progress(self.fd.as_fd(), self.v6) {
            Ok(Progress::Pending) => Connecting::Pending,
            Ok(Progress::Connected) => Connecting::Connected,
            Ok(Progress::Failed(Failure { error, report })) => {
                Connecting::Failed { error: StreamError::from_io(&error), report }
            }
            Err(error) => Connecting::Failed { error: StreamError::from_io(&error), report: None },
        }
    }

    fn failure(&mut self) -> Option<StreamError> {
        sys::tcp::take_error(self.as_fd()).err().map(|error| StreamError::from_io(&error))
    }

    fn peek(&mut self, offset: usize, room: &mut [u8]) -> Result<Peek, StreamError> {
        let found = match self.offset {
            Offset::No => sys::tcp::peek_from(self.fd.as_fd(), offset, room),
            Offset::At(at) if at == offset => sys::tcp::peek(self.fd.as_fd(), room).map(Some),
            Offset::Unset | Offset::At(_) => {
                let wanted = u32::try_from(offset).unwrap_or(u32::MAX);
                sys::tcp::set_peek_offset(self.fd.as_fd(), wanted)
                    .map_err(|error| StreamError::from_io(&error))?;
                self.offset = Offset::At(offset);
                sys::tcp::peek(self.fd.as_fd(), room).map(Some)
            }
        };
        match found {
            // Without offsets, no byte behind those that were skipped may as well mean that there is
            // none yet.
            Ok(Some(0)) if self.offset == Offset::No && offset > 0 => Ok(Peek::Nothing),
            Ok(Some(0)) => Ok(Peek::End),
            Ok(Some(n)) => {
                if let Offset::At(at) = &mut self.offset {
                    *at += n;
                }
                Ok(Peek::Bytes(n))
            }
            Ok(None) => Ok(Peek::Nothing),
            Err(error) if is_transient(&error) => Ok(Peek::Nothing),
            Err(error) => Err(StreamError::from_io(&error)),
        }
    }

    fn discard(&mut self, count: usize) -> Result<(), StreamError> {
        let taken = if self.is_tcp {
            sys::tcp::discard(self.fd.as_fd(), count)
        } else {
            sys::tcp::discard_copied(self.fd.as_fd(), count)
        };
        match taken {
            // The bytes were peeked at, so they are there.
            Ok(taken) if taken == count => {
                if let Offset::At(at) = &mut self.offset {
                    *at = at.saturating_sub(count);
                }
                Ok(())
            }
            Ok(_) => Err(StreamError::Reset),
            Err(error) => Err(StreamError::from_io(&error)),
        }
    }

    fn write(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, StreamError> {
        match sys::tcp::write(self.fd.as_fd(), pieces) {
            Ok(n) => Ok(n),
            Err(error) if is_transient(&error) => Ok(0),
            Err(error) => Err(StreamError::from_io(&error)),
        }
    }

    fn room(&self) -> usize {
        sys::tcp::send_room(self.fd.as_fd()).unwrap_or(0)
    }

    fn end(&mut self) -> Result<(), StreamError> {
        sys::tcp::shutdown_write(self.fd.as_fd()).map_err(|error| StreamError::from_io(&error))
    }

    fn is_acknowledged(&self) -> bool {
        !self.is_tcp || sys::tcp::unacknowledged(self.fd.as_fd()).map_or(true, |bytes| bytes == 0)
    }

    fn keep_alive(&mut self, idle: Duration) {
        if self.is_tcp {
            // Without it, a peer that is gone is found out later.
            let again = idle.min(KEEP_ALIVE_AGAIN);
            let _ = sys::tcp::keep_alive(self.fd.as_fd(), idle, again);
        }
    }

    fn abort(self) {
        sys::tcp::abort(self.fd);
    }
}

impl StreamError {
    /// What an error of connect(2), recv(2), send(2) or socket(2) means.
    #[must_use]
    pub fn from_io(error: &io::Error) -> Self {
        use sys::errno;
        match error.raw_os_error() {
            Some(errno::ECONNREFUSED) => Self::Refused,
            Some(errno::ETIMEDOUT) => Self::TimedOut,
            Some(errno::EHOSTUNREACH | errno::EHOSTDOWN) => Self::HostUnreachable,
            Some(errno::ENETUNREACH | errno::ENETDOWN | errno::EAFNOSUPPORT) => {
                Self::NetUnreachable
            }
            Some(errno::EACCES | errno::EPERM) => Self::Prohibited,
            Some(errno::EMFILE | errno::ENFILE) => Self::NoDescriptors,
            // The first: all ports towards this destination are taken (connect(2)).
            Some(
                errno::EADDRNOTAVAIL
                | errno::ENOBUFS
                | errno::ENOMEM
                | errno::ENOSPC
                | errno::EAGAIN,
            ) => Self::NoMemory,
            _ => Self::Reset,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt::{tcp_keepidle, tcp_keepintvl};

    use super::*;
    use crate::harness::few_ports;
    use crate::poll::Kind;

    /// It has them again soon, and the guest asks again by itself.
    #[test]
    fn a_host_without_a_port_left_is_not_one_without_a_route() {
        if let Err(why) = few_ports(2) {
            testkit::skip!("{why}");
        }
        let (poller, token) = (Poller::new().unwrap(), Token::new(Kind::Tcp, 0, 0));
        for address in ["127.0.0.1:5000", "[::1]:5000"] {
            let listener = std::net::TcpListener::bind(address).unwrap();
            let target = listener.local_addr().unwrap();
            let mut streams = HostStreams::new();
            let mut connect = || streams.connect(&poller, token, target);
            let taken = [connect().unwrap(), connect().unwrap()];
            assert_eq!(connect().unwrap_err(), StreamError::NoMemory, "{address}");
            taken.into_iter().for_each(Stream::abort);
            connect().unwrap();
        }
    }

    /// Of IPv4 the kernel sends from no address at all then, so that this has no twin.
    #[test]
    fn a_host_without_an_address_to_send_from_has_no_route() {
        use sys::netlink::{LinkChange, Netlink, NewRoute, PeerNamespace};
        if let Err(why) = few_ports(9) {
            testkit::skip!("{why}");
        }
        // Interfaces get no link-local address by themselves, and nothing here is loopback.
        std::fs::write("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "1").unwrap();
        let mut netlink = Netlink::open().unwrap();
        let (up, down) =
            (LinkChange { up: Some(true), ..Default::default() }, LinkChange::default());
        netlink.add_veth("near", &down, "far", &down, PeerNamespace::Same).unwrap();
        for name in ["near", "far"] {
            let index = netlink.link(name).unwrap().index;
            netlink.change_link(index, &up).unwrap();
        }
        let lo = netlink.link("lo").unwrap().index;
        netlink.change_link(lo, &LinkChange { up: Some(false), ..Default::default() }).unwrap();
        let interface = netlink.link("near").unwrap().index;
        let (destination, gateway) = ("::".parse().unwrap(), "fe80::1".parse().unwrap());
        let route = NewRoute { destination, prefix_len: 0, gateway, interface, metric: None };
        netlink.add_route(&route).unwrap();
        let (poller, token) = (Poller::new().unwrap(), Token::new(Kind::Tcp, 0, 0));
        let mut streams = HostStreams::new();
        let target = "[2001:db8::9]:443".parse().unwrap();
        let failed = sys::tcp::connect(&target).unwrap_err();
        assert_eq!(failed.kind(), io::ErrorKind::AddrNotAvailable);
        let error = streams.connect(&poller, token, target).unwrap_err();
        assert_eq!(error, StreamError::NetUnreachable);
        // As soon as it has one, it is on its way.
        netlink.add_address(interface, "2001:db8::1".parse().unwrap(), 64).unwrap();
        streams.connect(&poller, token, target).unwrap();
    }

    #[test]
    fn a_peer_that_does_not_answer_is_asked_again_soon() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let address = listener.local_addr().unwrap();
            let client = std::net::TcpStream::connect(address).unwrap();
            let mut stream = HostStreams::new().accepted(client.into(), address).unwrap();
            // A guest with the defaults of Linux, one that asks often, one that hardly asks.
            for (asked, idle, again) in [(7200, 7200, 75), (20, 20, 20), (100_000, 32_767, 75)] {
                stream.keep_alive(Duration::from_secs(asked));
                let fd = stream.as_fd();
                assert_eq!(tcp_keepidle(fd).unwrap().as_secs(), idle);
                assert_eq!(tcp_keepintvl(fd).unwrap().as_secs(), again);
            }
        }
    }
}
