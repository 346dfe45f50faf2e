//! What the TCP translation needs of a stream: to read without taking, and to be told the truth.

use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::Duration;

use super::datagram::SocketError;
use crate::poll::{Poller, Token};

/// Makes streams to the outside. Host sockets are the first kind, see
/// [`HostStreams`](super::HostStreams); the tests have another.
pub trait StreamBackend: std::fmt::Debug {
    /// A stream it makes.
    type Stream: Stream;

    /// Begins to connect to `target`. Readiness of the stream is reported under `token`, by edges:
    /// each time that something came, that room became free after a write found none, or that it
    /// was connected or ended.
    ///
    /// # Errors
    /// Anything of [`StreamError`] that is known at once.
    fn connect(
        &mut self,
        poller: &Poller,
        token: Token,
        target: SocketAddr,
    ) -> Result<Self::Stream, StreamError>;
}

/// A byte stream, from a little before it is connected to its end.
///
/// Nothing here waits. What was received stays in the stream until [`Stream::discard`], and is
/// what a lost segment is sent again from.
pub trait Stream: std::fmt::Debug {
    /// Reports the readiness of a stream that was not made by [`StreamBackend::connect`].
    ///
    /// # Errors
    /// [`StreamError::NoMemory`].
    fn watch(&self, poller: &Poller, token: Token) -> Result<(), StreamError>;

    /// How far connecting has come. To be asked whenever the stream is reported, until it is
    /// connected.
    fn connecting(&mut self) -> Connecting;

    /// What has ended the connection since. It is told once.
    fn failure(&mut self) -> Option<StreamError>;

    /// Copies what was received into `room`, beginning `offset` bytes behind the first byte that
    /// was not discarded.
    ///
    /// # Errors
    /// What ended the connection.
    fn peek(&mut self, offset: usize, room: &mut [u8]) -> Result<Peek, StreamError>;

    /// Takes away bytes that were peeked at, from the front.
    ///
    /// # Errors
    /// What ended the connection.
    fn discard(&mut self, count: usize) -> Result<(), StreamError>;

    /// Writes what fits, and says how many bytes did. Zero: none, and readiness will be reported.
    ///
    /// # Errors
    /// What ended the connection.
    fn write(&mut self, pieces: &[IoSlice<'_>]) -> Result<usize, StreamError>;

    /// About how many bytes a write would take now.
    fn room(&self) -> usize;

    /// Ends our direction behind what was written.
    ///
    /// # Errors
    /// What ended the connection.
    fn end(&mut self) -> Result<(), StreamError>;

    /// Whether the peer has acknowledged all that was written, the end included.
    fn is_acknowledged(&self) -> bool;

    /// The guest asks its peer for signs of life after it was silent for `idle`: so should we, from
    /// the peer.
    fn keep_alive(&mut self, idle: Duration);

    /// Ends the connection so that the peer sees a reset.
    fn abort(self);
}

/// How far a stream has come that was not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connecting {
    /// Nobody has answered yet.
    Pending,
    Connected,
    Failed {
        error: StreamError,
        /// The ICMP message that says so.
        report: Option<SocketError>,
    },
}

/// What a peek found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peek {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// The peer has ended its direction; all its bytes are before this offset.
    End,
}

/// Why a stream could not be made, or what ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// ECONNREFUSED.
    #[error("nothing listens there")]
    Refused,
    /// ECONNRESET, EPIPE, and whatever else ends an open connection.
    #[error("the connection was reset")]
    Reset,
    /// ETIMEDOUT.
    #[error("the peer does not answer")]
    TimedOut,
    /// EHOSTUNREACH, EHOSTDOWN.
    #[error("there is no way to the host")]
    HostUnreachable,
    /// ENETUNREACH, EAFNOSUPPORT, ENETDOWN.
    #[error("there is no way to the network")]
    NetUnreachable,
    /// EACCES, EPERM: a firewall of the host.
    #[error("the host prohibits it")]
    Prohibited,
    /// EMFILE, ENFILE.
    #[error("no descriptor is left")]
    NoDescriptors,
    /// ENOBUFS, ENOMEM, ENOSPC; EADDRNOTAVAIL and EAGAIN, where ports are meant (connect(2)).
    #[error("the host has no memory for it")]
    NoMemory,
}
