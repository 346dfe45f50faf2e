//! One network as the daemon serves it: its directory, nodes, plan, guests and captures.
//!
//! # Theory of operation
//!
//! [`Served`] is what a network has beside its engine, which the worker owns. Its parts have a module each: [`api_socket`],
//! [`life`] (how long it is served), [`kept`] (what outlives the daemon), [`outer_networks`] (the networks that this
//! hypervisor is in), [`guests`], [`outside`] (router, gateway and forwards), [`static_routes`] (what static routes lead
//! to), [`uplink`] (a network device), [`guard`] and [`filters`] (what callers set on open ports), [`rates`] and
//! [`write_behind`] (files written behind).
//!
//! * `id`, `published`, `api`, `around`, `zone` and `device` hold from the opening to the end.
//! * A reload replaces `config`, and with it `access`, `plan`, `nodes` and `routed` where they differ; what guests and callers
//!   brought stays: `guests`, their and the callers' `forwards`, `captures`, `rates`. What callers set on a port
//!   (`audited`, filters) ends with the port, or where the configuration of the port itself changes.
//! * Of all this only the plan and the leases are kept on disk; guests bring the rest again.

mod api_socket;
pub(super) mod filters;
mod guard;
mod guests;
mod kept;
mod life;
mod log_limits;
pub(super) mod outer_networks;
pub(super) mod outside;
pub(super) mod rates;
pub(in crate::daemon) mod requests;
mod static_routes;
pub(in crate::daemon) mod troubles;
mod uplink;
pub(super) mod write_behind;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use engine::PortId;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sys::dir::Dir;
use sys::poll::Interest;

use super::caller::Caller;
use super::{ServeError, Startup};
use crate::address::{Plan, store, subnet};
use crate::api::message::Restart;
use crate::capture::{Captures, Remains};
use crate::config;
use crate::config::Uplink;
use crate::directory::{self, Access, PORTS, PublishedDirectory};
use crate::log;
use crate::names::Name;
use crate::node::{NodeKind, NodeTemplate, vde_directory_fits};
use crate::worker::{NetworkId, NodeId, Token, Worker};
use api_socket::ApiSocket;
use guard::Audited;
use guests::Guest;
use kept::Kept;
use life::Life;
use log_limits::Tellers;
use outer_networks::Around;
use rates::RateMeter;
use troubles::Troubles;
use uplink::DeviceUplink;

/// Connections that wait to be accepted on `api` and the nodes.
const BACKLOG: i32 = 256;

/// Where programs of this machine learn their resolvers and the domains to search.
pub(in crate::daemon) const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Everything that belongs to one network.
#[derive(Debug)]
pub(in crate::daemon) struct Served {
    pub(in crate::daemon) id: NetworkId,
    pub(in crate::daemon) config: config::Network,
    pub(in crate::daemon) published: PublishedDirectory,
    pub(in crate::daemon) access: Access,
    pub(in crate::daemon) plan: Plan,
    pub(in crate::daemon) api: ApiSocket,
    /// Something happened where the directory is.
    pub(in crate::daemon) place_token: Option<Token>,
    pub(in crate::daemon) nodes: BTreeMap<String, Node>,
    pub(in crate::daemon) guests: BTreeMap<Name, Guest>,
    /// The label of the network's domain; mostly its name.
    pub(in crate::daemon) zone: Name,
    /// What was around the network when it was opened.
    pub(in crate::daemon) around: Around,
    /// Static routes of the configuration that were really added to the router, which all networks share.
    pub(in crate::daemon) routed: Vec<IpNet>,
    pub(in crate::daemon) forwards: Vec<outside::OpenForward>,
    /// The uplink, where it is a network device.
    pub(in crate::daemon) device: Option<DeviceUplink>,
    /// Ports whose guards only audit for a while.
    pub(in crate::daemon) audited: Audited,
    pub(in crate::daemon) tellers: Tellers,
    /// What is wrong with the way out.
    pub(in crate::daemon) troubles: Troubles,
    pub(in crate::daemon) captures: Captures,
    pub(in crate::daemon) rates: BTreeMap<PortId, RateMeter>,
    pub(in crate::daemon) life: Life,
    /// No configuration was given: the defaults and the command line are all there is to know.
    on_demand: bool,
    /// What outlives the daemon.
    pub(in crate::daemon) kept: Kept,
}

/// A node as it is published.
#[derive(Debug)]
pub(in crate::daemon) struct Node {
    pub(in crate::daemon) id: NodeId,
    pub(in crate::daemon) wanted: WantedNode,
}

/// A node as the configuration asks for it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::daemon) struct WantedNode {
    pub(in crate::daemon) kind: NodeKind,
    /// Below the network's directory: `stream`, `ports/web/stream`.
    pub(in crate::daemon) path: String,
    pub(in crate::daemon) access: Access,
    spec: engine::PortSpec,
    port_name: Option<String>,
    max_ports: usize,
    max_ports_per_user: usize,
    raw_offload: bool,
}

/// A network that is published and not served yet; dropping it cleans the directory.
struct Prepared {
    published: PublishedDirectory,
    access: Access,
    around: Around,
    plan: Plan,
    zone: Name,
    api: OwnedFd,
    /// The nodes, with their sockets.
    bound: Vec<(WantedNode, OwnedFd)>,
}

/// Publishes what a network has on disk: its plan and its sockets, to which nobody listens yet.
///
/// # Errors
/// A sentence; everything that was made is removed.
fn publish_directory(
    config: &config::Network,
    startup: &mut Startup,
) -> Result<Prepared, ServeError> {
    let path = directory::resolve(config.name.as_str(), config.dir.as_deref())?;
    let access = Access::named(None, config.group.as_deref(), config.mode)?;
    let mut published = PublishedDirectory::open(&path, &access, startup.sockets_in(&path))?;
    let (kept, complaint) = store::load(published.dir(), &config.name);
    if let Some(sentence) = complaint {
        log::warn(&sentence);
    }
    let around = Around::look(&config.name, &path);
    let mut plan = plan_for(config, kept.as_ref(), &around)?;
    plan.declare(&outside::declared(config))
        .map_err(|error| ServeError::Config(error.to_string()))?;
    let zone = around.zone(&config.name);
    write_behind::save(published.dir(), &plan);
    let api = published.bind("api", sys::unix::SocketKind::Stream, &access)?;
    let mut bound = Vec::new();
    for wanted in wanted_nodes(config, &access, published.path())? {
        // Whatever fails, the nodes that are bound by then go with `published`.
        let socket = published.bind(&wanted.path, wanted.kind.socket_kind(), &wanted.access)?;
        bound.push((wanted, socket));
    }
    Ok(Prepared { published, access, around, plan, zone, api, bound })
}

impl Served {
    /// Publishes a network and begins to serve it.
    ///
    /// # Errors
    /// A sentence; everything that was made is removed.
    pub(in crate::daemon) fn open(
        worker: &mut Worker,
        config: config::Network,
        startup: &mut Startup,
    ) -> Result<Self, ServeError> {
        let Prepared { published, access, around, plan, zone, api, bound } =
            publish_directory(&config, startup)?;
        // Nobody can connect before `start` lets them.
        let api = ApiSocket::new(worker, api)
            .map_err(|source| ServeError::Io { what: "Serving the nodes", source })?;
        let place_token =
            published.watch().and_then(|watch| worker.register(watch, Interest::READABLE).ok());
        let now = worker.now();
        let mut served = Self {
            id: worker.add_network(outside::network_plan(&config, &plan)),
            life: Life::new(config.idle, now),
            on_demand: startup.is_on_demand(),
            kept: Kept::new(&config, &plan, now),
            config,
            published,
            access,
            plan,
            api,
            place_token,
            nodes: BTreeMap::new(),
            guests: BTreeMap::new(),
            zone,
            around,
            routed: Vec::new(),
            forwards: Vec::new(),
            device: None,
            audited: Audited::new(),
            tellers: Tellers::default(),
            troubles: Troubles::default(),
            captures: Captures::default(),
            rates: BTreeMap::new(),
        };
        if let Err(error) = served.start(worker, bound) {
            served.withdraw(worker);
            return Err(error);
        }
        Ok(served)
    }

    /// Begins to serve a network that was just added to the worker.
    ///
    /// # Errors
    /// A sentence; what is begun by then ends when the network is withdrawn.
    fn start(
        &mut self,
        worker: &mut Worker,
        bound: Vec<(WantedNode, OwnedFd)>,
    ) -> Result<(), ServeError> {
        for (_, guest) in self.plan.guests() {
            worker.engine_mut(self.id).reserve_mac(guest.mac);
        }
        reserve_declared(worker, self.id, &self.config);
        self.open_outside(worker)?;
        self.serve(worker, bound)
            .map_err(|source| ServeError::Io { what: "Serving the nodes", source })?;
        self.load_leases(worker);
        self.publish_configured(worker)?;
        self.open_uplink(worker)
    }

    /// Lets clients connect to the nodes and `api`.
    fn serve(
        &mut self,
        worker: &mut Worker,
        bound: Vec<(WantedNode, OwnedFd)>,
    ) -> std::io::Result<()> {
        for (wanted, socket) in bound {
            let id = serve_node(worker, self.id, &self.published, &wanted, socket)?;
            self.nodes.insert(wanted.path.clone(), Node { id, wanted });
        }
        self.api.listen()
    }

    /// Takes a network out of the worker: what [`Served::start`] began, as far as it came.
    fn withdraw(&mut self, worker: &mut Worker) {
        self.api.deregister(worker);
        if let (Some(token), Some(watch)) = (self.place_token, self.published.watch()) {
            let _gone = worker.deregister(token, watch);
        }
        // Those that lead nowhere are no interface's, and would stay.
        for prefix in self.routed.drain(..) {
            worker.remove_route(prefix);
        }
        worker.remove_network(self.id);
    }

    /// Takes a network out of service. Its directory is cleaned when this is dropped.
    pub(in crate::daemon) fn close(mut self, worker: &mut Worker) -> Remains {
        self.finish_leases(worker);
        worker.farewell(self.id);
        let captures = std::mem::take(&mut self.captures);
        let remains = captures.finish(worker.engine_mut(self.id));
        self.withdraw(worker);
        self.finish_plan(worker.now());
        remains
    }

    /// Whether clients still find the network where it was published.
    pub(in crate::daemon) fn is_in_place(&self) -> bool {
        self.published.is_in_place()
    }

    /// Names that the network declares for ports, which guests cannot take.
    pub(in crate::daemon) fn is_declared(&self, name: &str) -> bool {
        self.config.ports.iter().any(|port| port.name.as_str() == name)
    }

    /// How its owner starts the network again if this daemon dies; `None` for other users, and where somebody serves
    /// it with a configuration, without which it would be another network.
    pub(in crate::daemon) fn restart(&self, caller: Caller) -> Option<Restart> {
        (self.on_demand && caller.is_owner()).then(|| Restart {
            stay: self.life.stays(),
            idle: self.config.idle.map(|idle| idle.as_secs_f64()),
            group: self.config.group.clone(),
            mode: self.config.mode,
            uplink: (self.config.outside.uplink != Uplink::default())
                .then(|| self.config.outside.uplink.to_string()),
        })
    }
}

/// The plan that was kept, moved when the configuration says so, or a new one.
fn plan_for(
    config: &config::Network,
    kept: Option<&Plan>,
    around: &Around,
) -> Result<Plan, ServeError> {
    hidden(config, around).iter().for_each(|sentence| log::warn(sentence));
    if let Some(kept) = kept.filter(|kept| around.suits(kept)) {
        let net = config.subnet.unwrap_or(kept.subnet());
        let by_name = || subnet::keep_prefix(&config.name, kept.prefix(), around.reached());
        let prefix = config.prefix.unwrap_or_else(by_name);
        if net == kept.subnet() && prefix == kept.prefix() {
            return Ok(kept.clone());
        }
        // Nobody is present yet, so the plan can always move.
        if let Some(moved) = kept.moved(net, prefix) {
            return Ok(moved);
        }
    }
    let none = |what: &str, key: &str| {
        ServeError::Config(format!(
            "No {what} is free for network {}: the host reaches all of those that could be used. Name one with \
             the key `{key}` in the configuration.",
            config.name
        ))
    };
    let net = match config.subnet {
        Some(net) => net,
        None => subnet::choose(&config.name, around.reached())
            .ok_or_else(|| none("private IPv4 subnet", "subnet"))?,
    };
    let prefix = match config.prefix {
        Some(prefix) => prefix,
        None => subnet::choose_prefix(&config.name, around.reached())
            .ok_or_else(|| none("unique local IPv6 prefix", "prefix"))?,
    };
    Ok(Plan::new(config.name.clone(), net, prefix))
}

/// What the addresses of the configuration hide from guests, a sentence each.
fn hidden(config: &config::Network, around: &Around) -> Vec<String> {
    if !matches!(config.outside.uplink, Uplink::Nat | Uplink::None) {
        return Vec::new();
    }
    let prefix = config.prefix.and_then(|prefix| Ipv6Net::new(prefix, 64).ok());
    let subnet = config.subnet.map(|net| (IpNet::V4(net), "subnet"));
    let own = subnet.into_iter().chain(prefix.map(|net| (IpNet::V6(net), "prefix")));
    own.filter_map(|(own, key)| {
        let hidden = around.hidden_by(own)?;
        Some(format!(
            "Network {}: its {key} {own} overlaps {hidden}, which the host reaches, but guests then cannot. Set \
            another `{key}`.",
            config.name
        ))
    })
    .collect()
}

/// `10.1.2.3/20`.
pub(in crate::daemon) fn with_length(plan: &Plan, address: std::net::Ipv4Addr) -> String {
    let length = plan.subnet().prefix_len();
    Ipv4Net::new(address, length).map_or_else(|_| address.to_string(), |net| net.to_string())
}

/// `fd..:1/64`.
pub(in crate::daemon) fn with_length_v6(address: std::net::Ipv6Addr) -> String {
    Ipv6Net::new(address, 64).map_or_else(|_| address.to_string(), |net| net.to_string())
}

pub(in crate::daemon) fn wanted_nodes(
    config: &config::Network,
    access: &Access,
    path: &std::path::Path,
) -> Result<Vec<WantedNode>, ServeError> {
    // Clients of nodes are anonymous and may be anybody's; a quarter of the ports stays for guests
    // of `run` and `attach` and for declared ports, which somebody named.
    let ports = config.plan.spec().ports;
    let for_clients = ports - ports / 4;
    let mut wanted = Vec::new();
    for kind in &config.nodes {
        wanted.push(WantedNode {
            kind: *kind,
            path: kind.file_name().to_owned(),
            access: access.clone(),
            spec: config.anonymous.clone(),
            port_name: None,
            max_ports: for_clients,
            max_ports_per_user: config.ports_per_user,
            raw_offload: false,
        });
    }
    for port in &config.ports {
        let own = Access::named(port.owner.as_deref(), port.group.as_deref(), port.mode)?;
        let own = Access {
            uid: own.uid,
            gid: own.gid.or(access.gid),
            mode: if port.mode.is_some() || port.group.is_some() { own.mode } else { access.mode },
        };
        for kind in &port.nodes {
            wanted.push(WantedNode {
                kind: *kind,
                path: format!("{PORTS}/{}/{}", port.name, kind.file_name()),
                access: own.clone(),
                spec: port.spec.clone(),
                port_name: Some(port.name.as_str().to_owned()),
                max_ports: port.connections,
                max_ports_per_user: port.connections,
                raw_offload: port.raw_offload,
            });
        }
    }
    // A VDE address that cannot be told to clients is left out with a sentence; the rest is served.
    wanted.retain(|node| {
        if node.kind != NodeKind::Ctl {
            return true;
        }
        match vde_directory_fits(&directory_of(path, &node.path)) {
            Ok(()) => true,
            Err(sentence) => {
                log::warn(&format!("{}: {sentence}.", path.join(&node.path).display()));
                false
            }
        }
    });
    Ok(wanted)
}

fn directory_of(path: &std::path::Path, node: &str) -> PathBuf {
    match node.rsplit_once('/') {
        Some((below, _)) => path.join(below),
        None => path.to_owned(),
    }
}

/// Begins to serve one node on its socket.
pub(in crate::daemon) fn serve_node(
    worker: &mut Worker,
    id: NetworkId,
    published: &PublishedDirectory,
    wanted: &WantedNode,
    socket: OwnedFd,
) -> std::io::Result<NodeId> {
    if wanted.kind != NodeKind::Dgram {
        sys::unix::listen(socket.as_fd(), BACKLOG)?;
    }
    let directory_path = directory_of(published.path(), &wanted.path);
    let directory = match wanted.kind {
        NodeKind::Ctl => Some(Dir::open(&directory_path)?.into()),
        _ => None,
    };
    let template = NodeTemplate {
        node: wanted.path.clone(),
        directory,
        directory_path,
        spec: wanted.spec.clone(),
        port_name: wanted.port_name.clone(),
        max_ports: wanted.max_ports,
        max_ports_per_user: wanted.max_ports_per_user,
        raw_offload: wanted.raw_offload,
    };
    worker.open_node(id, wanted.kind, socket, template)
}

/// The addresses of declared ports belong to them, present or not.
pub(in crate::daemon) fn reserve_declared(
    worker: &mut Worker,
    id: NetworkId,
    config: &config::Network,
) {
    for mac in config.ports.iter().flat_map(|port| &port.spec.macs) {
        worker.engine_mut(id).reserve_mac(*mac);
    }
}

/// Ends that.
pub(in crate::daemon) fn unreserve_declared(
    worker: &mut Worker,
    id: NetworkId,
    config: &config::Network,
) {
    for mac in config.ports.iter().flat_map(|port| &port.spec.macs) {
        worker.engine_mut(id).unreserve_mac(*mac);
    }
}
