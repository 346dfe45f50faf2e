//! Nodes as the worker serves them: accepting, VDE's handshake, the shared datagram socket.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use engine::{BATCH, Instant, PortId, PortSpec, Reason};
use sys::Cred;
use sys::poll::Interest;
use sys::unix::{self, Address, PeerPath, SocketKind};
use wire::{Offload, OffloadSet};

use super::slots::Slot;
use super::timers::Timer;
use super::{NetworkId, NodeId, OpenError, Source, Worker, WorkerEvent};
use crate::link::datagram::{BoundName, DatagramLink};
use crate::link::shared::{SharedLink, SharedSocket};
use crate::link::stream::StreamLink;
use crate::link::{CloseReason, Link, PortAbout, copy_frame, raw_offload};
use crate::node::admission::Admission;
use crate::node::first_contact::{self, Contact};
use crate::node::vde_request::{self, DataSocket, Parse, REQUEST_MAX, Request};
use crate::node::{NodeKind, NodeTemplate, vde_directory_fits};

/// Connections accepted in one visit of a node.
const ACCEPTS: usize = 16;

/// How long a client may take to say what it wants.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// How long accepting pauses when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// How often silent datagram clients are looked after.
const CLIENTS_EVERY: Duration = Duration::from_secs(10);

/// A node of the worker.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) net: NetworkId,
    pub(crate) kind: NodeKind,
    socket: Arc<SharedSocket>,
    source: Slot,
    pub(crate) template: NodeTemplate,
    admission: Admission,
    /// Datagram clients by name.
    clients: HashMap<Address, Client>,
    /// A look at the clients is due.
    looking: bool,
}

#[derive(Debug)]
struct Client {
    port: PortId,
    uid: u32,
    /// How it is reached, pinned: see [`PeerPath`].
    to: Address,
    heard: bool,
}

impl Node {
    pub(crate) fn port_closed(&mut self, port: PortId, uid: Option<u32>) {
        if let Some(uid) = uid {
            self.admission.closed(uid);
        }
        if self.kind == NodeKind::Dgram {
            self.clients.retain(|_, client| client.port != port);
        }
    }
}

/// A connection that has not said yet what it wants (VDE).
#[derive(Debug)]
pub(crate) struct Handshake {
    node: NodeId,
    fd: OwnedFd,
    cred: Cred,
    bytes: [u8; REQUEST_MAX],
    filled: usize,
}

impl Worker {
    pub(crate) fn open_node_inner(
        &mut self,
        net: NetworkId,
        kind: NodeKind,
        socket: OwnedFd,
        template: NodeTemplate,
    ) -> io::Result<NodeId> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        let actual = unix::kind_of(socket.as_fd())?;
        if actual != kind.socket_kind() {
            return Err(invalid(format!(
                "the node {} needs a {:?} socket and was given a {actual:?} one",
                template.node,
                kind.socket_kind()
            )));
        }
        if self.networks.get(net.0).is_none() {
            return Err(invalid("the network of the node does not exist any more".into()));
        }
        if kind == NodeKind::Ctl {
            vde_directory_fits(&template.directory_path).map_err(invalid)?;
            if template.directory.is_none() {
                return Err(invalid("ctl needs a descriptor of its directory".into()));
            }
        }
        let socket = if kind == NodeKind::Dgram {
            unix::set_pass_cred(socket.as_fd())?;
            SharedSocket::for_datagrams(socket)?
        } else {
            SharedSocket::listening(socket)?
        };
        let source = self.sources.insert(Source::Owner);
        let fd = socket.as_fd();
        if let Err(e) = self.poller.add(fd, source.to_bits(), Interest::READABLE) {
            self.sources.remove(source);
            return Err(e);
        }
        let node = NodeId(self.nodes.insert(Node {
            net,
            kind,
            socket: Arc::new(socket),
            source,
            template,
            admission: Admission::new(),
            clients: HashMap::new(),
            looking: false,
        }));
        if let Some(entry) = self.sources.get_mut(source) {
            *entry = Source::Node(node);
        }
        Ok(node)
    }

    pub(crate) fn close_node_inner(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(id.0) else { return };
        drop(self.poller.remove(node.socket.as_fd()));
        self.sources.remove(node.source);
        for client in node.clients.values() {
            self.close_port_inner(node.net, client.port, CloseReason::Requested);
        }
        let unfinished: Vec<Slot> =
            self.handshakes.iter().filter(|(_, h)| h.node == id).map(|(slot, _)| *slot).collect();
        for slot in unfinished {
            self.drop_handshake(slot);
        }
    }

    pub(crate) fn visit_node(&mut self, now: Instant, id: NodeId) {
        match self.nodes.get(id.0).map(|node| node.kind) {
            None => {}
            Some(NodeKind::Dgram) => self.receive_datagrams(now, id),
            Some(_) => self.accept(now, id),
        }
    }

    fn accept(&mut self, now: Instant, id: NodeId) {
        for _ in 0..ACCEPTS {
            let Some(node) = self.nodes.get(id.0) else { return };
            match unix::accept(node.socket.as_fd()) {
                Ok((fd, cred)) => self.welcome(now, id, fd, cred),
                Err(e) => match e.kind() {
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return,
                    _ => {
                        // EMFILE, ENFILE, ENOBUFS, ENOMEM: the connection stays in the backlog
                        // and the socket readable. Not watching it is what keeps us from spinning.
                        let why = format!(
                            "{} cannot take a connection now ({e}); it waits. Close ports or \
                             raise the limit on open files (ulimit -n)",
                            node.template.node
                        );
                        let (fd, source) = (node.socket.as_fd(), node.source);
                        if self.poller.modify(fd, source.to_bits(), Interest::NONE).is_ok() {
                            self.timers.set(now + ACCEPT_PAUSE, Timer::Accept(id));
                        }
                        self.refuse(now, id, None, why);
                        return;
                    }
                },
            }
        }
    }

    pub(crate) fn resume_accepting(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get(id.0) {
            let bits = node.source.to_bits();
            drop(self.poller.modify(node.socket.as_fd(), bits, Interest::READABLE));
        }
    }

    /// A new connection: a port at once, or a handshake first.
    fn welcome(&mut self, now: Instant, id: NodeId, fd: OwnedFd, cred: Cred) {
        if let Err(why) = self.check_admission(id, cred.uid) {
            return self.refuse(now, id, Some(cred), why);
        }
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        let raw = node.template.raw_offload;
        let link: io::Result<Box<dyn Link>> = match node.kind {
            NodeKind::Stream => StreamLink::new(fd, raw).map(|l| Box::new(l) as Box<dyn Link>),
            NodeKind::Seqpacket => DatagramLink::new(fd, raw).map(|l| Box::new(l) as Box<dyn Link>),
            NodeKind::Ctl => return self.begin_handshake(now, id, fd, cred),
            NodeKind::Dgram => return,
        };
        match link {
            Ok(link) => {
                if let Err(why) = self.open_from_node(now, id, link, cred, None) {
                    self.refuse(now, id, Some(cred), why);
                }
            }
            Err(e) => {
                let why = format!("a connection failed before it was a port: {e}");
                self.refuse(now, id, Some(cred), why);
            }
        }
    }

    fn check_admission(&self, id: NodeId, uid: u32) -> Result<(), String> {
        let Some(node) = self.nodes.get(id.0) else {
            return Err("the node was closed".into());
        };
        let t = &node.template;
        node.admission.check(&t.node, uid, t.max_ports, t.max_ports_per_user)
    }

    /// Opens a port for a client of a node, and tells the owner.
    fn open_from_node(
        &mut self,
        now: Instant,
        id: NodeId,
        link: Box<dyn Link>,
        cred: Cred,
        description: Option<String>,
    ) -> Result<PortId, String> {
        let Some(node) = self.nodes.get(id.0) else { return Err("the node was closed".into()) };
        let net = node.net;
        let name = self.free_name(node)?;
        let mut about = PortAbout::new(name, node.kind.link_kind(), now);
        about.node = Some(node.template.node.clone());
        about.peer = Some(cred);
        about.description = description.filter(|d| !d.is_empty());
        let spec = PortSpec {
            offloads_to_guest: OffloadSet::empty(),
            offloads_from_guest: if node.template.raw_offload {
                OffloadSet::CSUM | OffloadSet::TSO4 | OffloadSet::TSO6
            } else {
                OffloadSet::empty()
            },
            ..node.template.spec.clone()
        };
        let what = node.template.node.clone();
        match self.open_boxed(net, spec, link, about, Some(id)) {
            Ok(port) => {
                if let Some(node) = self.nodes.get_mut(id.0) {
                    node.admission.opened(cred.uid);
                }
                self.outbox.push_back(WorkerEvent::PortOpened { net, port });
                Ok(port)
            }
            Err(e @ OpenError::Descriptor(_)) => {
                Err(format!("a connection to {what} cannot be served: {e}"))
            }
            Err(e) => Err(format!("a connection to {what} gets no port: {e}")),
        }
    }

    /// `stream-1`, or the declared name.
    fn free_name(&self, node: &Node) -> Result<String, String> {
        let Some(network) = self.networks.get(node.net.0) else {
            return Err("the network was stopped".into());
        };
        let taken = |name: &str| network.ports.values().any(|p| p.about.name == name);
        let t = &node.template;
        let (base, first) = match &t.port_name {
            Some(declared) if !taken(declared) => return Ok(declared.clone()),
            Some(declared) => (declared.as_str(), 2),
            None => (node.kind.file_name(), 1),
        };
        (first..=network.ports.len() + 2)
            .map(|n| format!("{base}-{n}"))
            .find(|name| !taken(name))
            .ok_or_else(|| format!("{} finds no free name for a port", t.node))
    }

    fn refuse(&mut self, now: Instant, id: NodeId, peer: Option<Cred>, why: String) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        let Some(why) = node.admission.tell(now, why) else { return };
        let (net, node) = (node.net, node.template.node.clone());
        if self.outbox.len() < self.limits.events {
            self.outbox.push_back(WorkerEvent::Refused { net, node, peer, why });
        }
    }

    // VDE: a request on the control connection, then two sockets.

    fn begin_handshake(&mut self, now: Instant, id: NodeId, fd: OwnedFd, cred: Cred) {
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
        let handshake = Handshake { node: id, fd, cred, bytes: [0; REQUEST_MAX], filled: 0 };
        self.handshakes.insert(slot, handshake);
        self.timers.set(now + HANDSHAKE_TIME, Timer::Handshake(slot));
    }

    pub(crate) fn visit_handshake(&mut self, now: Instant, slot: Slot) {
        let Some(h) = self.handshakes.get_mut(&slot) else { return };
        let (node, cred) = (h.node, h.cred);
        match unix::receive(h.fd.as_fd(), &mut h.bytes[h.filled..]) {
            Ok(0) => self.drop_handshake(slot).map_or((), drop),
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
            Err(_) => self.drop_handshake(slot).map_or((), drop),
        }
    }

    pub(crate) fn handshake_expired(&mut self, slot: Slot) {
        let now = self.now();
        if let Some(h) = self.drop_handshake(slot) {
            let why = format!(
                "a client connected and did not say what it wants for {} seconds; it was closed",
                HANDSHAKE_TIME.as_secs()
            );
            self.refuse(now, h.node, Some(h.cred), why);
        }
    }

    /// Ends a handshake, whatever comes of it.
    fn drop_handshake(&mut self, slot: Slot) -> Option<Handshake> {
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

    // dgram: one socket, many clients.

    fn receive_datagrams(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get(id.0) else { return };
        let (net, socket) = (node.net, Arc::clone(&node.socket));
        // Taken out so that the rest of the worker can be used while its slots are read.
        let mut ring = std::mem::replace(&mut self.scratch.ring, sys::mmsg::ReceiveRing::empty());
        if let Ok(count) = ring.receive(socket.as_fd(), BATCH, 0, true) {
            let mut current = None;
            let mut no_buffer = 0;
            for i in 0..count {
                let Some(datagram) = ring.take(i) else { break };
                let named = !datagram.from.is_unnamed();
                let client =
                    self.nodes.get_mut(id.0).and_then(|node| node.clients.get_mut(&datagram.from));
                let owner = client.as_ref().map(|c| c.uid);
                let port = match first_contact::judge(named, datagram.cred, owner, datagram.body) {
                    Contact::Refused(why) => {
                        self.refuse(now, id, datagram.cred, why.to_string());
                        continue;
                    }
                    Contact::Greeting | Contact::Frame(_) => match client {
                        Some(client) => {
                            client.heard = true;
                            client.port
                        }
                        None => {
                            let cred = datagram.cred.unwrap_or_default();
                            match self.open_dgram(now, id, datagram.from, cred) {
                                Ok(port) => port,
                                Err(why) => {
                                    self.refuse(now, id, datagram.cred, why);
                                    continue;
                                }
                            }
                        }
                    },
                };
                if datagram.body == first_contact::GREETING {
                    continue;
                }
                if current != Some(port) {
                    self.ingest(now, net, current, &mut no_buffer);
                    current = Some(port);
                }
                let mtu = self.networks.get(net.0).map_or(0, |n| n.plan.spec().mtu);
                let raw = self.nodes.get(id.0).is_some_and(|n| n.template.raw_offload);
                let offload =
                    if raw { raw_offload::infer(datagram.body, mtu) } else { Offload::NONE };
                copy_frame(&mut self.pool, &mut self.rx, &mut no_buffer, datagram.body, offload);
            }
            self.ingest(now, net, current, &mut no_buffer);
        }
        self.scratch.ring = ring;
    }

    /// Hands the batch to the engine as `port`'s.
    fn ingest(&mut self, now: Instant, net: NetworkId, port: Option<PortId>, no_buffer: &mut u64) {
        let Some(port) = port else { return };
        let Some(network) = self.networks.get_mut(net.0) else {
            return self.rx.clear(&mut self.pool);
        };
        if *no_buffer > 0 {
            network.engine.receive_failed(port, Reason::NoBuffer, *no_buffer);
            *no_buffer = 0;
        }
        let frames = self.rx.len();
        if frames > 0 {
            network.engine.ingress(now, &mut self.pool, port, &mut self.rx);
            self.heard(net, port, frames);
            if self.unflushed >= BATCH {
                self.flush(now, net);
            }
        }
    }

    fn open_dgram(
        &mut self,
        now: Instant,
        id: NodeId,
        from: Address,
        cred: Cred,
    ) -> Result<PortId, String> {
        self.check_admission(id, cred.uid)?;
        let Some(node) = self.nodes.get(id.0) else { return Err("the node was closed".into()) };
        // Whatever can be sent to from here could be sent to by its owner as well, and nothing
        // else may be: a name that belongs to somebody else would receive what the client chose,
        // with our credentials.
        let (to, pinned) = match from.path() {
            Some(path) => {
                let pinned = PeerPath::open(path, cred.uid).map_err(|e| {
                    format!("a client sent from {} and gets no port: {e}", path.display())
                })?;
                (pinned.address(), Some(pinned))
            }
            None => (from, None),
        };
        let link = SharedLink::new(Arc::clone(&node.socket), to, pinned);
        let port = self.open_from_node(now, id, Box::new(link), cred, None)?;
        let Some(node) = self.nodes.get_mut(id.0) else { return Ok(port) };
        node.clients.insert(from, Client { port, uid: cred.uid, to, heard: true });
        if !node.looking {
            node.looking = true;
            self.timers.set(now + CLIENTS_EVERY, Timer::Clients(id));
        }
        Ok(port)
    }

    /// A datagram client cannot hang up. One that was silent is asked for: when nothing has its
    /// name any more, its port is closed.
    pub(crate) fn look_after_clients(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        let net = node.net;
        let mut gone = Vec::new();
        for client in node.clients.values_mut() {
            if !client.heard && !is_alive(&client.to) {
                gone.push(client.port);
            }
            client.heard = false;
        }
        for port in gone {
            self.close_port_inner(net, port, CloseReason::PeerClosed);
        }
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        node.looking = !node.clients.is_empty();
        if node.looking {
            self.timers.set(now + CLIENTS_EVERY, Timer::Clients(id));
        }
    }
}

/// Whether a socket still has this name. Nothing is sent: connecting to a socket that is connected
/// elsewhere fails with EPERM, which says that it lives.
fn is_alive(address: &Address) -> bool {
    let Ok(probe) = unix::socket(SocketKind::Datagram, true) else { return true };
    match unix::connect(probe.as_fd(), address) {
        Ok(()) => true,
        Err(e) => !matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
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
