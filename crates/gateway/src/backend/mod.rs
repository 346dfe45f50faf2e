//! What the translations stand on: host sockets.

mod host_stream;
mod stream;

pub use host_stream::{HostStream, HostStreams};
pub use stream::{Peek, Stream, StreamBackend, StreamError};
