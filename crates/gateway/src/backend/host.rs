//! All that a gateway needs of the outside, in one: streams, listeners, datagrams, routes.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use super::datagram::{DatagramBackend, HostDatagrams};
use super::{HostStream, HostStreams, StreamBackend, StreamError};
use crate::poll::{Interest, Poller, Token};

/// What flows take of the host, and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostRoom {
    /// That this process may have.
    pub descriptors: usize,
    /// Ports that the host gives out by itself, for each version of IP.
    pub ports: usize,
}

/// Where a gateway's flows come from and go to.
pub trait Backend {
    /// Makes streams.
    type Streams: StreamBackend;
    /// Makes datagram sockets, and knows the routes.
    type Datagrams: DatagramBackend;
    /// Waits for clients.
    type Listener: std::fmt::Debug;

    /// What there is for all gateways of this process.
    fn room() -> HostRoom;

    /// The two halves, to be driven by the translations.
    fn split(self) -> (Self::Streams, Self::Datagrams);

    /// Waits for clients at an address, and reports them under `token`.
    ///
    /// # Errors
    /// As bind(2) and listen(2): EADDRINUSE, EADDRNOTAVAIL, EACCES, EMFILE.
    fn listen(poller: &Poller, token: Token, address: SocketAddr) -> io::Result<Self::Listener>;

    /// Takes the next client: its stream, and its address.
    ///
    /// # Errors
    /// EAGAIN when there is none; EMFILE, ENFILE, ENOMEM, ENOBUFS; ECONNABORTED.
    fn accept(
        streams: &Self::Streams,
        listener: &Self::Listener,
    ) -> io::Result<(<Self::Streams as StreamBackend>::Stream, SocketAddr)>;

    /// Stops to report clients; they wait.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn pause(poller: &Poller, token: Token, listener: &Self::Listener) -> io::Result<()>;

    /// Reports clients again.
    ///
    /// # Errors
    /// As epoll_ctl(2).
    fn resume(poller: &Poller, token: Token, listener: &Self::Listener) -> io::Result<()>;

    /// A stream to a service of this process, and its other end.
    ///
    /// # Errors
    /// EMFILE, ENFILE.
    fn local(
        streams: &Self::Streams,
    ) -> io::Result<(<Self::Streams as StreamBackend>::Stream, OwnedFd)>;
}

/// The host's sockets.
#[derive(Debug)]
pub struct HostBackend {
    streams: HostStreams,
    datagrams: HostDatagrams,
}

impl HostBackend {
    /// Asks the kernel what it can do.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { streams: HostStreams::new(), datagrams: HostDatagrams::new()? })
    }
}

impl Backend for HostBackend {
    type Streams = HostStreams;
    type Datagrams = HostDatagrams;
    type Listener = OwnedFd;

    fn room() -> HostRoom {
        let descriptors = sys::confine::descriptor_limit()
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        HostRoom { descriptors, ports: sys::inet::ports::given_out() }
    }

    fn split(self) -> (HostStreams, HostDatagrams) {
        (self.streams, self.datagrams)
    }

    fn listen(poller: &Poller, token: Token, address: SocketAddr) -> io::Result<OwnedFd> {
        let listener = sys::inet::listen(address)?;
        poller.add(listener.as_fd(), token, Interest::READABLE)?;
        Ok(listener)
    }

    fn accept(streams: &HostStreams, listener: &OwnedFd) -> io::Result<(HostStream, SocketAddr)> {
        let (fd, client) = sys::inet::accept(listener.as_fd())?;
        let local = sys::inet::local_address(fd.as_fd())?;
        let stream = streams.accepted(fd, local).map_err(|error| match error {
            StreamError::NoDescriptors => io::Error::from_raw_os_error(sys::errno::EMFILE),
            _ => io::ErrorKind::ConnectionAborted.into(),
        })?;
        Ok((stream, client))
    }

    fn pause(poller: &Poller, token: Token, listener: &OwnedFd) -> io::Result<()> {
        poller.modify(listener.as_fd(), token, Interest::NONE)
    }

    fn resume(poller: &Poller, token: Token, listener: &OwnedFd) -> io::Result<()> {
        poller.modify(listener.as_fd(), token, Interest::READABLE)
    }

    fn local(streams: &HostStreams) -> io::Result<(HostStream, OwnedFd)> {
        let _ = streams;
        HostStream::local_pair().map_err(|_| io::Error::from_raw_os_error(sys::errno::EMFILE))
    }
}
