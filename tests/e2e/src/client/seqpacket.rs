//! One frame per packet on a `SOCK_SEQPACKET` socket, as UML's BESS transport speaks.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

/// A client of a `seqpacket` node.
#[derive(Debug)]
pub struct Seqpacket {
    pub socket: OwnedFd,
}

impl Seqpacket {
    /// Connects to `node`.
    ///
    /// # Panics
    /// When it is refused.
    #[must_use]
    pub fn connect(node: &Path) -> Self {
        let socket = rustix::net::socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .expect("a seqpacket socket");
        let address = SocketAddrUnix::new(node).expect("the node's path is short");
        rustix::net::connect(&socket, &address)
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", node.display()));
        let patience = Some(crate::wait::PATIENCE);
        rustix::net::sockopt::set_socket_timeout(
            &socket,
            rustix::net::sockopt::Timeout::Recv,
            patience,
        )
        .expect("a socket takes a timeout");
        Self { socket }
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// When the other side is gone.
    pub fn send(&self, frame: &[u8]) {
        rustix::net::send(&self.socket, frame, SendFlags::NOSIGNAL).expect("the network reads");
    }

    /// The next frame, or `None` when the other side has closed.
    ///
    /// # Panics
    /// When none comes for 20 s.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 1 << 17];
        let (length, _) = rustix::net::recv(&self.socket, frame.as_mut_slice(), RecvFlags::empty())
            .expect("a frame comes");
        frame.truncate(length);
        (length > 0).then_some(frame)
    }
}
