//! Datagram sockets and routes, as the translations of UDP and echo see them.
//!
//! [`DatagramBackend`] is the border to the host: everything above it is bytes, addresses and time.
//! [`HostDatagrams`] are the kernel's sockets; [`super::fake`] has others for tests.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sys::inet::ring::{Received, Ring};
use sys::inet::{self, Carries, Fragmentation};
use sys::route::{Lookup, RouteKind, Watch};

pub use sys::inet::errqueue::{Origin, SocketError};
pub use sys::inet::local::Local;

use crate::poll::{Interest, Poller, Token};

/// Bytes before a received datagram: Ethernet, IPv6 and UDP headers.
pub const ROOM: usize = 14 + 40 + 8;

/// Datagrams that one call receives at most.
pub const RECEIVE_BATCH: usize = inet::ring::BATCH;

/// Datagrams that one call sends at most.
pub const SEND_BATCH: usize = inet::send::BATCH;

/// Datagrams in one train.
pub const TRAIN_MAX: usize = inet::send::SEGMENTS_MAX;

/// What the next datagrams of a socket carry in their IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Type of service, or traffic class.
    pub class: u8,
    /// It may be cut on the way.
    pub fragment: bool,
}

/// What the host does with destinations.
pub trait Routes {
    /// Asks about one.
    ///
    /// # Errors
    /// Of the question, not of the destination.
    fn kind(&mut self, destination: IpAddr) -> io::Result<RouteKind>;

    /// Becomes readable when answers may have changed.
    fn changes(&self) -> Option<BorrowedFd<'_>>;

    /// Takes the notices of changes; true if there was one.
    fn changed(&mut self) -> bool;
}

/// Datagram sockets.
pub trait DatagramBackend: Routes + std::fmt::Debug {
    /// One socket; dropping it closes it.
    type Socket: std::fmt::Debug;

    /// Opens a socket; it reports errors of the network. One of UDP has a port of the host from then on.
    ///
    /// # Errors
    /// As socket(2): EMFILE, ENFILE, ENOBUFS, EAFNOSUPPORT, EACCES; and EADDRINUSE, where the host has no
    /// port left.
    fn open(&mut self, carries: Carries, v6: bool) -> io::Result<Self::Socket>;

    /// Whether sockets for echo can be had; asked once, for people.
    ///
    /// # Errors
    /// Why not.
    fn probe_echo(&mut self, v6: bool) -> io::Result<()> {
        let _ = v6;
        Ok(())
    }

    /// Opens a UDP socket with a local address and port. One that is bound to all addresses of the host
    /// tells of each datagram, and of each error, which of them it is about.
    ///
    /// # Errors
    /// As bind(2): EADDRINUSE, EADDRNOTAVAIL, EACCES.
    fn bind(&mut self, address: SocketAddr) -> io::Result<Self::Socket>;

    /// Starts to watch a socket for what can be read.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn watch(&mut self, poller: &Poller, socket: &Self::Socket, token: Token) -> io::Result<()>;

    /// Changes what is waited for at a socket that is watched.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn rewatch(
        &mut self,
        poller: &Poller,
        socket: &Self::Socket,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;

    /// Changes the marks of what is sent from now on; `old` are those set before: none of a new socket, or after
    /// an error.
    ///
    /// # Errors
    /// As setsockopt(2); what is sent has no class then.
    fn mark(
        &mut self,
        socket: &Self::Socket,
        v6: bool,
        marks: Marks,
        old: Option<Marks>,
    ) -> io::Result<()>;

    /// Sends datagrams, from the socket's own address or this one of the host's, see
    /// [`inet::send::datagrams`].
    ///
    /// # Errors
    /// That of the first datagram.
    fn send<'a>(
        &mut self,
        socket: &Self::Socket,
        from: Option<Local>,
        to: SocketAddr,
        datagrams: impl Iterator<Item = [&'a [u8]; 2]>,
    ) -> io::Result<usize>;

    /// Sends a train, see [`inet::send::train`].
    ///
    /// # Errors
    /// Nothing was sent.
    fn send_train<'a>(
        &mut self,
        socket: &Self::Socket,
        to: SocketAddr,
        pieces: impl Iterator<Item = &'a [u8]>,
        segment: u16,
    ) -> io::Result<()>;

    /// Receives datagrams that are there; they are read with [`Self::received`].
    ///
    /// # Errors
    /// EAGAIN when there are none.
    fn receive(&mut self, socket: &Self::Socket, max: usize) -> io::Result<usize>;

    /// Datagram `i` of the last receive, with [`ROOM`] before it.
    fn received(&mut self, i: usize) -> Option<Received<'_>>;

    /// Takes one queued error of the network, and as much of its datagram as fits.
    ///
    /// # Errors
    /// EAGAIN when there is none.
    fn error(&mut self, socket: &Self::Socket, payload: &mut [u8]) -> io::Result<SocketError>;
}

/// The kernel's sockets.
#[derive(Debug)]
pub struct HostDatagrams {
    ring: Ring,
    lookup: Option<Lookup>,
    watch: Option<Watch>,
}

impl HostDatagrams {
    /// # Errors
    /// No descriptor is left for the look-up of routes and its notices.
    pub fn new() -> io::Result<Self> {
        Ok(Self { ring: Ring::new(ROOM), lookup: Some(Lookup::new()?), watch: Some(Watch::new()?) })
    }
}

impl Routes for HostDatagrams {
    fn kind(&mut self, destination: IpAddr) -> io::Result<RouteKind> {
        let lookup = match &mut self.lookup {
            Some(lookup) => lookup,
            none => none.insert(Lookup::new()?),
        };
        let kind = lookup.kind(destination);
        if kind.is_err() {
            // A socket that is out of step is replaced.
            self.lookup = None;
        }
        kind
    }

    fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    fn changed(&mut self) -> bool {
        self.watch.as_mut().is_some_and(|watch| watch.changed().unwrap_or(true))
    }
}

impl DatagramBackend for HostDatagrams {
    type Socket = OwnedFd;

    fn open(&mut self, carries: Carries, v6: bool) -> io::Result<OwnedFd> {
        let socket = inet::datagram(carries, v6)?;
        if carries == Carries::Udp {
            // The kernel would choose one with the first datagram; but where none is left, that fails as if
            // the socket's buffer were full.
            let any: IpAddr =
                if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            inet::bind(socket.as_fd(), SocketAddr::new(any, 0))?;
        }
        prepare(&socket, carries, v6)?;
        Ok(socket)
    }

    fn probe_echo(&mut self, v6: bool) -> io::Result<()> {
        inet::datagram(Carries::Echo, v6).map(drop)
    }

    fn bind(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        let socket = inet::datagram(Carries::Udp, address.is_ipv6())?;
        if address.ip().is_unspecified() {
            inet::local::set_receive_local(socket.as_fd(), address.is_ipv6())?;
        }
        inet::bind(socket.as_fd(), address)?;
        prepare(&socket, Carries::Udp, address.is_ipv6())?;
        Ok(socket)
    }

    fn watch(&mut self, poller: &Poller, socket: &OwnedFd, token: Token) -> io::Result<()> {
        poller.add(socket.as_fd(), token, Interest::READABLE)
    }

    fn rewatch(
        &mut self,
        poller: &Poller,
        socket: &OwnedFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        poller.modify(socket.as_fd(), token, interest)
    }

    fn mark(
        &mut self,
        socket: &OwnedFd,
        v6: bool,
        marks: Marks,
        old: Option<Marks>,
    ) -> io::Result<()> {
        let fd = socket.as_fd();
        let marked = mark(fd, v6, marks, old);
        if marked.is_err() {
            // The class that was set, or would have been, is not that of whatever is sent next.
            let _ = inet::set_traffic_class(fd, v6, 0);
        }
        marked
    }

    fn send<'a>(
        &mut self,
        socket: &OwnedFd,
        from: Option<Local>,
        to: SocketAddr,
        datagrams: impl Iterator<Item = [&'a [u8]; 2]>,
    ) -> io::Result<usize> {
        inet::send::datagrams(socket.as_fd(), from, to, datagrams)
    }

    fn send_train<'a>(
        &mut self,
        socket: &OwnedFd,
        to: SocketAddr,
        pieces: impl Iterator<Item = &'a [u8]>,
        segment: u16,
    ) -> io::Result<()> {
        inet::send::train(socket.as_fd(), to, pieces, segment)
    }

    fn receive(&mut self, socket: &OwnedFd, max: usize) -> io::Result<usize> {
        self.ring.receive(socket.as_fd(), max)
    }

    fn received(&mut self, i: usize) -> Option<Received<'_>> {
        self.ring.get(i)
    }

    fn error(&mut self, socket: &OwnedFd, payload: &mut [u8]) -> io::Result<SocketError> {
        inet::errqueue::receive(socket.as_fd(), payload)
    }
}

fn mark(fd: BorrowedFd<'_>, v6: bool, marks: Marks, old: Option<Marks>) -> io::Result<()> {
    if old.is_none_or(|old| old.ttl != marks.ttl) {
        inet::set_ttl(fd, v6, marks.ttl)?;
    }
    let class = old.map_or(0, |old| old.class);
    if class != marks.class && inet::set_traffic_class(fd, v6, marks.class).is_err() && class != 0 {
        // A filter may refuse it; then the datagram goes without, and not with that of another.
        let _ = inet::set_traffic_class(fd, v6, 0);
    }
    if old.is_none_or(|old| old.fragment != marks.fragment) {
        let may = if marks.fragment { Fragmentation::Allowed } else { Fragmentation::Refused };
        inet::set_fragmentation(fd, v6, may)?;
    }
    Ok(())
}

fn prepare(socket: &OwnedFd, carries: Carries, v6: bool) -> io::Result<()> {
    let fd = socket.as_fd();
    inet::set_error_queue(fd, v6, true)?;
    if carries == Carries::Udp {
        // Both are only faster, or nicer, than without.
        let _ = inet::set_gro(fd);
        let _ = inet::set_receive_traffic_class(fd, v6);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use sys::poll::Events;

    use super::*;

    /// Of IPv4, where the kernel refuses a TTL of zero.
    #[test]
    fn a_class_does_not_outlive_the_datagram_that_it_was_for() {
        let mut backend = HostDatagrams::new().unwrap();
        let socket = backend.open(Carries::Udp, false).unwrap();
        let hears = UdpSocket::bind("127.0.0.1:0").unwrap();
        inet::set_receive_traffic_class(hears.as_fd(), false).unwrap();
        let to = hears.local_addr().unwrap();
        let poller = sys::poll::Poller::new().unwrap();
        poller.add(hears.as_fd(), 1, Interest::READABLE).unwrap();
        let mut ring = Ring::new(0);
        let mut class_of = |backend: &mut HostDatagrams| {
            let one = std::iter::once([&b"x"[..], b""]);
            backend.send(&socket, None, to, one).unwrap();
            let wait = Some(std::time::Duration::from_secs(5));
            poller.wait(&mut Events::with_capacity(1), wait).unwrap();
            assert_eq!(ring.receive(hears.as_fd(), 1).unwrap(), 1);
            ring.get(0).unwrap().traffic_class
        };
        let marked = Marks { ttl: 9, class: 0xb8, fragment: false };
        backend.mark(&socket, false, marked, None).unwrap();
        assert_eq!(class_of(&mut backend), 0xb8);
        let bad = Marks { ttl: 0, ..marked };
        backend.mark(&socket, false, bad, Some(marked)).unwrap_err();
        // As the caller sees it, nothing is known now.
        backend.mark(&socket, false, Marks { class: 0, ..marked }, None).unwrap();
        assert_eq!(class_of(&mut backend), 0);
    }

    #[test]
    fn a_socket_has_its_port_from_the_beginning_or_there_is_none_left() {
        if let Err(why) = crate::harness::few_ports(2) {
            testkit::skip!("{why}");
        }
        let mut backend = HostDatagrams::new().unwrap();
        for v6 in [false, true] {
            let mut sockets = Vec::from([0, 1].map(|_| backend.open(Carries::Udp, v6).unwrap()));
            let mut ports: Vec<u16> = sockets
                .iter()
                .map(|socket| inet::local_address(socket.as_fd()).unwrap().port())
                .collect();
            ports.sort_unstable();
            assert_eq!(ports, [20_000, 20_001]);
            let error = backend.open(Carries::Udp, v6).unwrap_err();
            assert!(sys::errno::is_out_of_ports(&error), "{error}");
            sockets.pop();
            backend.open(Carries::Udp, v6).unwrap();
        }
    }
}
