//! The `dgram` node: one socket, many clients.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use engine::{BATCH, Instant, PortId};
use sys::Cred;
use sys::diag::{Diag, Found};
use sys::mmsg::Datagram;
use sys::unix::{self, Address, PeerPath, SocketIs, SocketKind};
use wire::Offload;

use super::timers::Timer;
use super::{NetworkId, NodeId, Worker};
use crate::link::datagram::longest;
use crate::link::shared::SharedLink;
use crate::link::{CloseReason, Lost, copy_frame, raw_offload};
use crate::node::first_contact::{self, Contact, Refusal};

/// How often silent clients are looked after.
const CLIENTS_EVERY: Duration = Duration::from_secs(10);

/// A client, known by the name of its socket and the process that sends.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) port: PortId,
    /// Who sends: the user never changes, the process when the one before has ended.
    cred: Cred,
    /// How it is reached, pinned: see [`PeerPath`].
    to: Address,
    /// What its name meant when it was looked at last.
    socket: SocketIs,
    heard: bool,
}

/// What a name means, looked at for one user.
struct Reached {
    to: Address,
    pinned: Option<PeerPath>,
    socket: SocketIs,
}

impl Worker {
    pub(super) fn receive_datagrams(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get(id.0) else { return };
        let (net, socket, raw) = (node.net, Rc::clone(&node.socket), node.template.raw_offload);
        let mtu = self.networks.get(net.0).map_or(0, |n| n.plan.spec().mtu);
        // Taken out so that the rest of the worker can be used while its slots are read.
        let mut ring = std::mem::replace(&mut self.scratch.ring, sys::mmsg::ReceiveRing::empty());
        if let Ok(count) = ring.receive(socket.as_fd(), BATCH, 0, longest(mtu, raw), true) {
            let mut current = None;
            let mut lost = Lost::default();
            for i in 0..count {
                let Some(datagram) = ring.take(i) else { break };
                let port = match self.sender(now, id, &datagram) {
                    Ok(port) => port,
                    Err(why) => {
                        self.refuse(now, id, datagram.cred, why);
                        continue;
                    }
                };
                if datagram.body == first_contact::GREETING {
                    continue;
                }
                if current != Some(port) {
                    self.ingest(now, net, current, &mut lost);
                    current = Some(port);
                }
                let offload =
                    if raw { raw_offload::infer(datagram.body, mtu) } else { Offload::NONE };
                copy_frame(&mut self.pool, &mut self.rx, &mut lost, datagram.body, offload);
            }
            self.ingest(now, net, current, &mut lost);
        }
        self.scratch.ring = ring;
    }

    /// The port that a datagram came in by, which is made if its sender has none.
    fn sender(
        &mut self,
        now: Instant,
        id: NodeId,
        datagram: &Datagram<'_>,
    ) -> Result<PortId, String> {
        if datagram.descriptors {
            return Err(Refusal::Descriptors.to_string());
        }
        let clients = self.nodes.get_mut(id.0).map(|node| &mut node.clients);
        let client = clients.and_then(|clients| clients.get_mut(&datagram.from));
        let owner = client.as_ref().map(|client| client.cred);
        let named = !datagram.from.is_unnamed();
        let cred = datagram.cred.unwrap_or_default();
        match first_contact::judge(named, datagram.cred, owner, datagram.body) {
            Contact::Refused(why) => return Err(why.to_string()),
            Contact::Other(why) => {
                if owner.is_some_and(|owner| sys::process::is_running(owner.pid)) {
                    return Err(why.to_string());
                }
                // Its child has the socket now, or another process has made one of that name.
                let reached = reach(&datagram.from, cred.uid)?;
                let Some(client) = client else { return Err(why.to_string()) };
                if client.socket == reached.socket {
                    client.cred = cred;
                    client.heard = true;
                    return Ok(client.port);
                }
                let port = client.port;
                let Some(net) = self.nodes.get(id.0).map(|node| node.net) else {
                    return Err(why.to_string());
                };
                self.close_port(net, port, CloseReason::PeerClosed);
            }
            Contact::Greeting | Contact::Frame(_) => {
                if let Some(client) = client {
                    client.heard = true;
                    return Ok(client.port);
                }
            }
        }
        self.open_dgram(now, id, datagram.from, cred)
    }

    /// Hands the batch to the engine as `port`'s.
    fn ingest(&mut self, now: Instant, net: NetworkId, port: Option<PortId>, lost: &mut Lost) {
        let Some(port) = port else { return };
        let Some(network) = self.networks.get_mut(net.0) else {
            return self.rx.clear(&mut self.pool);
        };
        std::mem::take(lost).report(&mut network.engine, port);
        let frames = self.rx.len();
        if frames > 0 {
            network.engine.ingress(now, &mut self.pool, port, &mut self.rx);
            self.heard(now, net, port, frames);
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
        let Reached { to, pinned, socket } = reach(&from, cred.uid)?;
        let link = SharedLink::new(Rc::clone(&node.socket), to, pinned);
        let port = self.open_from_node(now, id, Box::new(link), cred, None)?;
        let Some(node) = self.nodes.get_mut(id.0) else { return Ok(port) };
        node.clients.insert(from, Client { port, cred, to, socket, heard: true });
        if !node.looking {
            node.looking = true;
            self.timers.set(now + CLIENTS_EVERY, Timer::Clients(id));
        }
        Ok(port)
    }

    /// A datagram client cannot hang up. One that was silent is asked for: when nothing has its
    /// name any more, its port is closed.
    pub(super) fn look_after_clients(&mut self, now: Instant, id: NodeId) {
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
            self.close_port(net, port, CloseReason::PeerClosed);
        }
        let Some(node) = self.nodes.get_mut(id.0) else { return };
        node.looking = !node.clients.is_empty();
        if node.looking {
            self.timers.set(now + CLIENTS_EVERY, Timer::Clients(id));
        }
    }
}

/// What a client's name means here. Whatever can be sent to from here could be sent to by its owner as well, and nothing
/// else may be: a name that belongs to somebody else would receive what the client chose, with our credentials.
fn reach(from: &Address, uid: u32) -> Result<Reached, String> {
    if let Some(path) = from.path() {
        let pinned = PeerPath::open(path, uid)
            .map_err(|e| format!("a client sent from {} and gets no port: {e}", path.display()))?;
        return Ok(Reached { to: pinned.address(), socket: pinned.socket(), pinned: Some(pinned) });
    }
    // An abstract name has no owner in the file system, and means what it means in our network namespace: the
    // kernel is asked who made the socket that has it here.
    let gets_none = |why: &str| format!("a client sent from {from} and gets no port: {why}");
    let found = Diag::open().and_then(|mut diag| diag.find_abstract(from)).map_err(|e| {
        gets_none(&format!(
            "the kernel cannot be asked whose this name is ({e}); load the unix_diag module, or bind a socket file"
        ))
    })?;
    match found {
        Some(Found { id, uid: Some(owner) }) if owner == uid => {
            Ok(Reached { to: *from, pinned: None, socket: SocketIs::Socket(id) })
        }
        Some(Found { uid: Some(owner), .. }) => Err(gets_none(&format!(
            "the name is user {owner}'s in the network namespace of the hypervisor"
        ))),
        Some(Found { uid: None, .. }) => {
            Err(gets_none("the kernel does not tell whose this name is; bind a socket file"))
        }
        None => Err(gets_none(
            "nobody has this name in the network namespace of the hypervisor; from another one, bind a socket file",
        )),
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
