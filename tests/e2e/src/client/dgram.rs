//! One frame per datagram on a unix socket, as vfkit, libkrun and krunkit speak: the client binds a path of its
//! own and connects to ours.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// What vfkit says first.
pub const VFKIT_GREETING: &[u8] = b"VFKT";

/// A client of a `dgram` node.
#[derive(Debug)]
pub struct Dgram {
    pub socket: UnixDatagram,
    path: PathBuf,
}

impl Dgram {
    /// Binds `own` and connects to `node`.
    ///
    /// # Panics
    /// When either fails.
    #[must_use]
    pub fn connect(node: &Path, own: &Path) -> Self {
        let socket = UnixDatagram::bind(own)
            .unwrap_or_else(|error| panic!("cannot bind {}: {error}", own.display()));
        super::open_to_all(own);
        socket
            .connect(node)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", node.display()));
        socket.set_read_timeout(Some(crate::wait::PATIENCE)).expect("a socket takes a timeout");
        Self { socket, path: own.to_owned() }
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// When the other side is gone.
    pub fn send(&self, frame: &[u8]) {
        self.socket.send(frame).expect("the network reads its datagrams");
    }

    /// The next frame.
    ///
    /// # Panics
    /// When none comes for 20 s.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 1 << 17];
        let length = self.socket.recv(&mut frame).expect("a frame comes");
        frame.truncate(length);
        frame
    }
}

impl Drop for Dgram {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
