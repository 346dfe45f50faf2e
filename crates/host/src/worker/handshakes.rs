//! VDE's handshake: a request on the control connection, then two sockets and an answer.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use engine::Instant;
use sys::Cred;
use sys::poll::Interest;
use sys::unix::{self, Address, PeerPath, SocketKind};

use super::slots::Slot;
use super::timers::Timer;
use super::{NodeId, Source, Worker};
use crate::link::datagram::{BoundName, DatagramLink};
use crate::node::vde_request::{self, DataSocket, Parse, REQUEST_MAX, Request};

/// How long a client may take to say what it wants.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// A connection that has not said yet what it wants (VDE).
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) node: NodeId,
    fd: OwnedFd,
    cred: Cred,
    bytes: [u8; REQUEST_MAX],
    filled: usize,
    /// When it is closed if it is not finished.
    until: Instant,
}

impl Worker {
    pub(super) fn begin_handshake(&mut self, now: Instant, id: NodeId, fd: OwnedFd, cred: Cred) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        if let Err(why) = node.admission.begin_handshake(&node.template.node, cred.uid) {
            return self.refuse(now, id, Some(cred), why);
        }
        let slot = self.sources.insert(Source::Handshake);
        if let Err(e) = self.poller.add(fd.as_fd(), slot.to_bits(), Interest::READABLE) {
            self.sources.remove(slot);
            node.admission.end_handshake(cred.uid);
            return self.refuse(now, id, Some(cred), format!("a connection failed: {e}"));
        }
        let until = now + HANDSHAKE_TIME;
        let bytes = [0; REQUEST_MAX];
        self.handshakes.insert(slot, Handshake { node: id, fd, cred, bytes, filled: 0, until });
        if !self.handshakes_timed {
            self.handshakes_timed = true;
            self.timers.set(until, Timer::Handshakes);
        }
    }

    pub(super) fn visit_handshake(&mut self, now: Instant, slot: Slot) {
        let Some(h) = self.handshakes.get_mut(&slot) else { return };
        let (node, cred) = (h.node, h.cred);
        match unix::receive(h.fd.as_fd(), &mut h.bytes[h.filled..]) {
            Ok(0) => drop(self.drop_handshake(slot)),
            Ok(n) => {
                h.filled += n;
                match vde_request::parse(&h.bytes[..h.filled]) {
                    Parse::Incomplete => {}
                    Parse::Bad(why) => {
                        self.drop_handshake(slot);
                        self.refuse(now, node, Some(cred), why);
                    }
                    Parse::Request(request) => {
                        let Some(h) = self.drop_handshake(slot) else { return };
                        if let Err(why) = self.open_vde(now, node, h.fd, cred, &request) {
                            self.refuse(now, node, Some(cred), why);
                        }
                    }
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => drop(self.drop_handshake(slot)),
        }
    }

    /// Closes the handshakes whose time is over. There are few: nodes bound them.
    pub(super) fn handshakes_expire(&mut self, now: Instant) {
        let over: Vec<Slot> =
            self.handshakes.iter().filter(|(_, h)| h.until <= now).map(|(slot, _)| *slot).collect();
        for slot in over {
            let Some(h) = self.drop_handshake(slot) else { continue };
            let why = format!(
                "a client connected but did not say what it wants within {} seconds; it was closed",
                HANDSHAKE_TIME.as_secs()
            );
            self.refuse(now, h.node, Some(h.cred), why);
        }
        let next = self.handshakes.values().map(|h| h.until).min();
        self.handshakes_timed = next.is_some();
        if let Some(next) = next {
            self.timers.set(next, Timer::Handshakes);
        }
    }

    /// Ends a handshake, whatever comes of it.
    pub(super) fn drop_handshake(&mut self, slot: Slot) -> Option<Handshake> {
        let h = self.handshakes.remove(&slot)?;
        self.sources.remove(slot);
        drop(self.poller.remove(h.fd.as_fd()));
        if let Some(node) = self.nodes.get_mut(h.node.0) {
            node.admission.end_handshake(h.cred.uid);
        }
        Some(h)
    }

    /// Connects to the client's data socket, binds ours, and answers.
    fn open_vde(
        &mut self,
        now: Instant,
        id: NodeId,
        control: OwnedFd,
        cred: Cred,
        request: &Request,
    ) -> Result<(), String> {
        self.check_admission(id, cred.uid)?;
        let Some(node) = self.nodes.get(id.0) else { return Err("the node was closed".into()) };
        let t = &node.template;
        let (to, pinned) = vde_peer(request, cred.uid)?;
        let failed = |what: &str, e: io::Error| format!("a VDE client was refused: {what}: {e}");
        let data = unix::socket(SocketKind::Datagram, true)
            .map_err(|e| failed("no socket can be made", e))?;
        let _older = unix::refuse_descriptors(data.as_fd())
            .map_err(|e| failed("descriptors cannot be kept out of its socket", e))?;
        // Connected before it is bound: there is no moment in which another process could send to
        // it (net/unix/af_unix.c, unix_may_send).
        unix::connect(data.as_fd(), &to)
            .map_err(|e| failed("its data socket cannot be reached", e))?;
        if pinned.is_none() {
            check_abstract(&data, &to, cred.uid)?;
        }
        drop(pinned);
        let directory = t.directory.as_ref().ok_or("ctl has no directory")?;
        let directory = directory
            .try_clone()
            .map_err(|e| failed("the network's directory cannot be opened again", e))?;
        let number = if request.port > 0 { request.port } else { self.free_vde_number(id) };
        let name = OsString::from(format!("{number:03}.{}", data.as_raw_fd()));
        let address = unix::address_at(directory.as_fd(), &name)
            .map_err(|e| failed("our data socket has no name", e))?;
        // What has this name was left by a hypervisor that was killed: the directory is ours, and
        // the descriptor's number makes the name unique among the living.
        unix::unlink_at(directory.as_fd(), &name)
            .map_err(|e| failed("a stale data socket cannot be removed", e))?;
        unix::bind(data.as_fd(), &address)
            .map_err(|e| failed("our data socket cannot be bound", e))?;
        let bound = BoundName { directory, name };
        // Another user's client must be able to connect; a connected socket takes datagrams from
        // its peer alone, so a wide mode opens nothing.
        let mode = if cred.uid == unix::effective_uid() { 0o600 } else { 0o666 };
        unix::set_mode_at(bound.directory.as_fd(), &bound.name, mode)
            .map_err(|e| failed("our data socket's mode cannot be set", e))?;
        let answer = Address::from_path(&t.directory_path.join(&bound.name))
            .map_err(|e| failed("our data socket's name cannot be told", e))?
            .to_wire();
        // The socket is empty, so the 110 bytes fit. What the client sends before its port is open
        // waits in the data socket.
        unix::send_vectored(control.as_fd(), &[io::IoSlice::new(&answer)])
            .map_err(|e| failed("it went away before it was answered", e))?;
        let link = DatagramLink::vde(control, data, Some(bound), t.raw_offload)
            .map_err(|e| failed("its sockets cannot be used", e))?;
        let description = Some(request.description.clone());
        self.open_from_node(now, id, Box::new(link), cred, description).map(|_| ())
    }

    /// A number for the name of a data socket; ports of VDE have no other use for it.
    fn free_vde_number(&self, id: NodeId) -> u32 {
        let ports = self.nodes.get(id.0).and_then(|node| self.networks.get(node.net.0));
        let ports = ports.map_or(0, |n| n.ports.len());
        u32::try_from(ports + 1).unwrap_or(1).min(vde_request::PORT_MAX)
    }
}

/// The client's data socket: a file is checked here, an abstract name ([`check_abstract`]) once we
/// are connected.
fn vde_peer(request: &Request, uid: u32) -> Result<(Address, Option<PeerPath>), String> {
    match &request.data {
        DataSocket::Path(path) => {
            let pinned = PeerPath::open(path, uid).map_err(|e| {
                format!("a VDE client named the data socket {}: {e}", path.display())
            })?;
            Ok((pinned.address(), Some(pinned)))
        }
        DataSocket::Abstract(name) => {
            Address::from_abstract(name).map(|address| (address, None)).map_err(|e| e.to_string())
        }
    }
}

/// An abstract name has no owner in the file system, so the kernel is asked who made the socket
/// that we are connected to.
fn check_abstract(data: &OwnedFd, name: &Address, uid: u32) -> Result<(), String> {
    let owner = sys::diag::Diag::open().and_then(|mut diag| diag.peer_owner(data.as_fd()));
    match owner {
        Ok(Some(owner)) if owner == uid => Ok(()),
        Ok(Some(_)) => {
            Err(format!("a VDE client named the data socket {name}, which is not its own"))
        }
        Ok(None) => Err(format!(
            "a VDE client named the data socket {name}, and the kernel does not tell whose it is; \
             a socket file works"
        )),
        Err(e) => Err(format!(
            "a VDE client named the data socket {name}, and the kernel cannot be asked whose it \
             is ({e}); load the unix_diag module, or use a socket file"
        )),
    }
}
