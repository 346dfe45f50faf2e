//! QEMU's framing on a stream socket: a 32-bit big-endian length, then the frame.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// A client of a `stream` node.
#[derive(Debug)]
pub struct Stream {
    pub socket: UnixStream,
}

impl Stream {
    /// Connects to `node`.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn connect(node: &Path) -> Self {
        let socket = UnixStream::connect(node)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", node.display()));
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
        socket.set_write_timeout(Some(Duration::from_secs(20))).expect("a socket takes a timeout");
        Self { socket }
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// When the other side is gone or has not read for 20 s.
    pub fn send(&mut self, frame: &[u8]) {
        let length = u32::try_from(frame.len()).expect("a frame is short");
        let mut record = length.to_be_bytes().to_vec();
        record.extend_from_slice(frame);
        self.socket.write_all(&record).expect("the network reads its streams");
    }

    /// The next frame, or `None` at the end of the stream.
    ///
    /// # Panics
    /// When none comes for 20 s.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        match self.socket.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("no frame came: {error}"),
        }
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut frame).expect("a whole frame follows its length");
        Some(frame)
    }

    /// Reads until `wanted` holds for a frame, and returns it.
    ///
    /// # Panics
    /// When the stream ends or falls silent before.
    pub fn receive_until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        loop {
            let frame = self.receive().expect("the stream goes on until the frame came");
            if wanted(&frame) {
                return frame;
            }
        }
    }
}
