//! Nodes as the worker serves them: opening, accepting, refusing.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use engine::{Instant, PortId, PortSpec};
use sys::Cred;
use sys::poll::Interest;
use sys::unix::{self, Address};
use wire::OffloadSet;

use super::datagrams::Client;
use super::numbers::Numbers;
use super::slots::Slot;
use super::timers::Timer;
use super::{NetworkId, NodeId, OpenError, Source, Through, Worker, WorkerEvent};
use crate::link::datagram::DatagramLink;
use crate::link::shared::SharedSocket;
use crate::link::stream::StreamLink;
use crate::link::{CloseReason, Link, PortAbout};
use crate::node::admission::Admission;
use crate::node::{NodeKind, NodeTemplate, vde_directory_fits};

/// Connections accepted in one visit of a node.
const ACCEPTS: usize = 16;

/// How long accepting pauses when descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// A node of the worker.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) net: NetworkId,
    pub(super) kind: NodeKind,
    pub(super) socket: Rc<SharedSocket>,
    source: Slot,
    pub(super) template: NodeTemplate,
    pub(super) admission: Admission,
    numbers: Numbers,
    /// Datagram clients by name.
    pub(super) clients: HashMap<Address, Client>,
    /// A look at the clients is due.
    pub(super) looking: bool,
}

impl Node {
    pub(super) fn port_closed(&mut self, port: PortId, number: usize) {
        self.admission.closed();
        self.numbers.give_back(number);
        if self.kind == NodeKind::Dgram {
            self.clients.retain(|_, client| client.port != port);
        }
    }
}

impl Worker {
    /// Publishes ports behind `socket`: a listening socket (`stream`, `ctl`, `seqpacket`) or a
    /// bound one (`dgram`).
    ///
    /// # Errors
    /// When the socket is not of the kind's type, cannot be watched, or `ctl`'s directory does not
    /// fit; a sentence says so.
    pub fn open_node(
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
                "the node {} needs a {:?} socket but was given a {actual:?} one",
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
        // No protocol of a node has descriptors in it. Before Linux 6.16 the kernel closes them in our time.
        let _older = unix::refuse_descriptors(socket.as_fd())?;
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
            socket: Rc::new(socket),
            source,
            template,
            admission: Admission::new(),
            numbers: Numbers::new(),
            clients: HashMap::new(),
            looking: false,
        }));
        if let Some(entry) = self.sources.get_mut(source) {
            *entry = Source::Node(node);
        }
        Ok(node)
    }

    /// Stops accepting; ports that came through the node live on, except those of a `dgram` node,
    /// whose socket they share.
    pub fn close_node(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(id.0) else { return };
        drop(self.poller.remove(node.socket.as_fd()));
        self.sources.remove(node.source);
        for client in node.clients.values() {
            self.close_port(node.net, client.port, CloseReason::Requested);
        }
        let unfinished: Vec<Slot> =
            self.handshakes.iter().filter(|(_, h)| h.node == id).map(|(slot, _)| *slot).collect();
        for slot in unfinished {
            self.drop_handshake(slot);
        }
    }

    pub(super) fn visit_node(&mut self, now: Instant, id: NodeId) {
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

    pub(super) fn resume_accepting(&mut self, id: NodeId) {
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
                let why = format!("a connection failed before it became a port: {e}");
                self.refuse(now, id, Some(cred), why);
            }
        }
    }

    pub(super) fn check_admission(&self, id: NodeId, uid: u32) -> Result<(), String> {
        let Some(node) = self.nodes.get(id.0) else {
            return Err("the node was closed".into());
        };
        let Some(network) = self.networks.get(node.net.0) else {
            return Err("the network was stopped".into());
        };
        let t = &node.template;
        if t.port_name.is_some() {
            node.admission.check(&t.node, t.max_ports)
        } else {
            network.users.check(uid, t.max_ports, t.max_ports_per_user)
        }
    }

    /// Opens a port for a client of a node, and tells the owner.
    pub(super) fn open_from_node(
        &mut self,
        now: Instant,
        id: NodeId,
        link: Box<dyn Link>,
        cred: Cred,
        description: Option<String>,
    ) -> Result<PortId, String> {
        let Some(node) = self.nodes.get_mut(id.0) else {
            return Err("the node was closed".into());
        };
        let net = node.net;
        let Some(network) = self.networks.get(net.0) else {
            return Err("the network was stopped".into());
        };
        let name_of = |template: &NodeTemplate, number| match &template.port_name {
            Some(declared) if number == 1 => declared.clone(),
            Some(declared) => format!("{declared}-{number}"),
            None => format!("{}-{number}", node.kind),
        };
        let is_taken = |number: usize| network.names.contains_key(&name_of(&node.template, number));
        let number = node.numbers.take(is_taken);
        let name = name_of(&node.template, number);
        let user = node.template.port_name.is_none().then_some(cred.uid);
        let through = Through { node: id, number, user };
        let mut about = PortAbout::new(name, node.kind.link_kind(), now);
        about.declared.clone_from(&node.template.port_name);
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
        let opened = self.open_boxed(net, spec, link, about, Some(through));
        if let Some(node) = self.nodes.get_mut(id.0) {
            if opened.is_ok() {
                node.admission.opened();
            } else {
                node.numbers.give_back(number);
            }
        }
        match opened {
            Ok(port) => {
                self.outbox.push_back(WorkerEvent::PortOpened { net, port });
                Ok(port)
            }
            Err(e @ OpenError::Descriptor(_)) => {
                Err(format!("a connection to {what} cannot be served: {e}"))
            }
            Err(e) => Err(format!("a connection to {what} gets no port: {e}")),
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, id: NodeId, peer: Option<Cred>, why: String) {
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        let Some(why) = node.admission.tell(now, why) else { return };
        let (net, node) = (node.net, node.template.node.clone());
        self.tell(WorkerEvent::Refused { net, node, peer, why });
    }
}
