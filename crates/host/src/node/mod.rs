//! Nodes: the files through which ports are opened.
//!
//! # Theory of operation
//!
//! A node is a listening socket (`stream`, `ctl`, `seqpacket`) or one bound datagram socket
//! (`dgram`). Whoever may open the file may have a port; who that is we take from the kernel
//! (SO_PEERCRED, SCM_CREDENTIALS). Each connection is one port, named after the node:
//! `stream-1`, `stream-2`, the lowest free number. A declared port's node gives the declared name.
//!
//! What users can hold is bounded (`admission`): ports of the network that are given to anonymous
//! clients, in total and per user, over all nodes; connections of a declared port; unfinished
//! handshakes per user. A refusal is a sentence in [`WorkerEvent::Refused`](crate::worker::WorkerEvent), at a
//! bounded rate; the client sees its connection closed, which is all that these protocols offer.
//!
//! When descriptors run out (EMFILE, ENFILE), accepting pauses: the connection stays in the
//! backlog, the listening socket is not watched for a moment, and nothing spins.

pub(crate) mod admission;
pub mod first_contact;
pub mod vde_request;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use engine::PortSpec;

use crate::link::LinkKind;

/// What is spoken on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NodeKind {
    /// QEMU's length-prefixed frames on a stream socket.
    Stream,
    /// The VDE v3 switch protocol.
    Ctl,
    /// One frame per datagram, many clients on one socket.
    Dgram,
    /// One frame per packet of a seqpacket connection.
    Seqpacket,
}

impl NodeKind {
    /// The file's name in the network's directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            NodeKind::Stream => "stream",
            NodeKind::Ctl => "ctl",
            NodeKind::Dgram => "dgram",
            NodeKind::Seqpacket => "seqpacket",
        }
    }

    #[must_use]
    pub fn link_kind(self) -> LinkKind {
        match self {
            NodeKind::Stream => LinkKind::Stream,
            NodeKind::Ctl => LinkKind::Vde,
            NodeKind::Dgram => LinkKind::Dgram,
            NodeKind::Seqpacket => LinkKind::Seqpacket,
        }
    }

    /// The type of socket the node needs.
    #[must_use]
    pub fn socket_kind(self) -> sys::unix::SocketKind {
        match self {
            NodeKind::Stream | NodeKind::Ctl => sys::unix::SocketKind::Stream,
            NodeKind::Dgram => sys::unix::SocketKind::Datagram,
            NodeKind::Seqpacket => sys::unix::SocketKind::Seqpacket,
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file_name())
    }
}

/// What the ports of a node are like.
#[derive(Debug)]
pub struct NodeTemplate {
    /// The node's path below the network's directory: `stream`, `ports/web/stream`.
    pub node: String,
    /// The directory the node is in, where VDE's data sockets are bound. Needed for `ctl` only.
    pub directory: Option<OwnedFd>,
    /// The same, absolute: VDE clients are told the name of our socket, which must fit
    /// `struct sockaddr_un`: this path has at most 95 bytes ([`vde_directory_fits`]).
    pub directory_path: PathBuf,
    /// Every port starts as this. The offloads are set by the link.
    pub spec: PortSpec,
    /// The name of a declared port; its second connection is `NAME-2` where `max_ports` allows it.
    pub port_name: Option<String>,
    /// Of a declared port: connections of this node. Else: ports that anonymous clients may have,
    /// through all nodes of the network together.
    pub max_ports: usize,
    /// How many of these one user may have, through all nodes. Not for a declared port.
    pub max_ports_per_user: usize,
    /// Frames come with partial checksums and unsegmented although the socket has no place for
    /// the metadata (libkrun's legacy network interfaces): [`crate::link::raw_offload`].
    pub raw_offload: bool,
}

/// The longest directory in which VDE's clients can be served: they are told
/// `DIRECTORY/PPP.FFFFFFF`, 12 bytes more, in the 107 bytes of a socket name.
pub const VDE_DIRECTORY_MAX: usize = sys::unix::PATH_MAX_BYTES - 12;

/// Whether `ctl` can be served in this directory.
///
/// # Errors
/// A sentence when it cannot.
pub fn vde_directory_fits(directory: &std::path::Path) -> Result<(), String> {
    let len = directory.as_os_str().len();
    if !directory.is_absolute() {
        return Err(format!(
            "ctl is not served: VDE clients need an absolute directory, and {} is relative; use \
             --dir with an absolute path",
            directory.display()
        ));
    }
    if len > VDE_DIRECTORY_MAX {
        return Err(format!(
            "ctl is not served: VDE clients cannot use a socket in {}, which has {len} bytes where at most \
            {VDE_DIRECTORY_MAX} fit; publish the network in a directory with a shorter path, with --dir",
            directory.display()
        ));
    }
    Ok(())
}
