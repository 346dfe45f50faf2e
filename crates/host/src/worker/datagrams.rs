//! The `dgram` node: one socket, many clients.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use engine::{BATCH, Instant, PortId};
use sys::Cred;
use sys::unix::{self, Address, PeerPath, SocketKind};
use wire::Offload;

use super::timers::Timer;
use super::{NetworkId, NodeId, Worker};
use crate::link::shared::SharedLink;
use crate::link::{CloseReason, Lost, copy_frame, raw_offload};
use crate::node::first_contact::{self, Contact};

/// How often silent clients are looked after.
const CLIENTS_EVERY: Duration = Duration::from_secs(10);

/// A client, known by the name of its socket.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) port: PortId,
    uid: u32,
    /// How it is reached, pinned: see [`PeerPath`].
    to: Address,
    heard: bool,
}

impl Worker {
    pub(super) fn receive_datagrams(&mut self, now: Instant, id: NodeId) {
        let Some(node) = self.nodes.get(id.0) else { return };
        let (net, socket) = (node.net, Rc::clone(&node.socket));
        // Taken out so that the rest of the worker can be used while its slots are read.
        let mut ring = std::mem::replace(&mut self.scratch.ring, sys::mmsg::ReceiveRing::empty());
        if let Ok(count) = ring.receive(socket.as_fd(), BATCH, 0, true) {
            let mut current = None;
            let mut lost = Lost::default();
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
                    self.ingest(now, net, current, &mut lost);
                    current = Some(port);
                }
                let mtu = self.networks.get(net.0).map_or(0, |n| n.plan.spec().mtu);
                let raw = self.nodes.get(id.0).is_some_and(|n| n.template.raw_offload);
                let offload =
                    if raw { raw_offload::infer(datagram.body, mtu) } else { Offload::NONE };
                copy_frame(&mut self.pool, &mut self.rx, &mut lost, datagram.body, offload);
            }
            self.ingest(now, net, current, &mut lost);
        }
        self.scratch.ring = ring;
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
        let link = SharedLink::new(Rc::clone(&node.socket), to, pinned);
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

/// Whether a socket still has this name. Nothing is sent: connecting to a socket that is connected
/// elsewhere fails with EPERM, which says that it lives.
fn is_alive(address: &Address) -> bool {
    let Ok(probe) = unix::socket(SocketKind::Datagram, true) else { return true };
    match unix::connect(probe.as_fd(), address) {
        Ok(()) => true,
        Err(e) => !matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound),
    }
}
