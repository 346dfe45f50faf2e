//! What the translations stand on: host sockets.

pub mod datagram;
pub mod fake;
mod host;
mod host_stream;
mod stream;

pub use host::{Backend, HostBackend, HostRoom};
pub use host_stream::{HostStream, HostStreams};
pub use stream::{Connecting, Peek, Stream, StreamBackend, StreamError};
