//! The daemon: composition of everything that serves networks.
//!
//! # Theory of operation
//!
//! One thread runs [`Worker::turn`] and handles what it reports: connections to `api` and their requests
//! ([`calls`]), the lives of guests ([`served`]), signals, and deadlines. What may wait for others has threads of its own:
//! writing captures ([`crate::capture`]), plans and leases ([`served`]) and the log ([`crate::log`]), and closing what
//! clients sent ([`crate::closer`]). Nothing here waits for anybody.
//!
//! Start: leave the caller if asked to ([`startup`]), read the configuration, publish every network, confine the
//! process ([`crate::confine`]), say that all is ready. A start that fails leaves nothing behind. The end: SIGTERM,
//! SIGINT, the call `down`, or the idle time of the last network; all sessions are told, and the nodes removed.
//!
//! A guest lives as long as the connection that joined it ([`served`]). A network is *idle* when it has no port and no
//! connection to its `api`: a command that has just connected to join keeps it.

mod admission;
mod caller;
mod calls;
mod captures;
mod clients;
mod passed_descriptors;
mod reload;
mod reports;
mod served;
mod startup;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use engine::Instant;
use engine::router::RouterEvent;
use gateway::GatewayEvent;
use sd_notify::NotifyState;
use sys::poll::Interest;
use sys::signal::{SignalFd, SignalSet};

use crate::api::message::Ending;
use crate::capture::Remains;
use crate::config::{Checked, Overrides, Uplink};
use crate::confine;
use crate::link::CloseReason;
use crate::log;
use crate::names::{DEFAULT_NETWORK, Name};
use crate::worker::{NetworkId, Token, Worker, WorkerEvent, WorkerLimits};
use clients::Client;
use served::troubles::Subject;
use served::{Served, outer_networks};
use startup::Startup;

/// What `netherd up` was asked to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The network to serve; else those of the configuration, else `default`.
    pub network: Option<String>,
    /// The configuration file; an absolute path, because the daemon leaves its directory.
    pub config: Option<PathBuf>,
    /// Publish the one network here.
    pub dir: Option<PathBuf>,
    /// Group of the directory and its nodes, by name or number.
    pub group: Option<String>,
    /// Mode of the nodes.
    pub mode: Option<u32>,
    /// The way out of a network without a configuration; the default without it.
    pub uplink: Option<Uplink>,
    /// End after this long without guests; `None` stays.
    pub idle: Option<Duration>,
    /// Leave the caller's terminal, session, directory and descriptors.
    pub detached: bool,
    /// Number of the descriptor that gets the word of [`crate::start::Readiness`].
    pub ready_fd: Option<i32>,
    /// Log file, in place of standard error.
    pub log: Option<PathBuf>,
}

impl Options {
    /// What of it takes the place of keys of the one network.
    fn overrides(&self) -> Overrides {
        Overrides {
            dir: self.dir.clone(),
            group: self.group.clone(),
            mode: self.mode,
            idle: self.idle,
        }
    }
}

/// Why the daemon did not start, or ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Directory(#[from] crate::directory::DirectoryError),
    /// A sentence, with the place in the file where there is one.
    #[error("{0}")]
    Config(String),
    #[error("{what} failed: {source}.")]
    Io { what: &'static str, source: std::io::Error },
}

/// Serves until a signal, `down`, or the idle time ends it. Reports readiness, or the reason for failing, on
/// `ready_fd` and to systemd.
///
/// # Errors
/// A sentence; it was also written to the readiness descriptor.
pub fn serve(options: Options) -> Result<(), ServeError> {
    let mut startup = Startup::begin(&options)?;
    let started = Daemon::start(options, &mut startup).and_then(|(daemon, worker)| {
        confine::confine(&daemon.places())
            .map_err(|source| ServeError::Io { what: "Confining the daemon", source })?;
        Ok((daemon, worker))
    });
    match started {
        Ok((mut daemon, mut worker)) => {
            log::start();
            startup.ready();
            let ended = daemon.run(&mut worker);
            log::finish(LOG_PATIENCE);
            ended
        }
        Err(error) => {
            startup.failed(&error);
            Err(error)
        }
    }
}

/// Everything the daemon owns beside the worker.
#[derive(Debug)]
struct Daemon {
    options: Options,
    networks: Vec<Served>,
    clients: HashMap<Token, Client>,
    /// Clients with requests, each once, the one that is served next first ([`clients`]).
    line: VecDeque<Token>,
    /// Captures of networks that have ended, which still write what they have.
    remains: Remains,
    signals: SignalFd,
    signal_token: Token,
    stopping: bool,
}

/// So long the log may take for its last lines at the end of the process.
const LOG_PATIENCE: Duration = Duration::from_millis(300);
/// So long captures may write on at the end of the process.
const CAPTURE_PATIENCE: Duration = Duration::from_millis(300);
/// How often captures are looked at whose reader may have gone.
const CAPTURE_CHECK: Duration = Duration::from_millis(500);

impl Daemon {
    fn start(options: Options, startup: &mut Startup) -> Result<(Self, Worker), ServeError> {
        let failed = |what| move |source| ServeError::Io { what, source };
        let set = SignalSet::of(&[
            sys::detach::SIGTERM,
            sys::detach::SIGINT,
            sys::detach::SIGHUP,
            sys::detach::SIGPIPE,
        ]);
        sys::signal::block(&set).map_err(failed("Blocking signals"))?;
        let signals = SignalFd::new(&set).map_err(failed("Watching for signals"))?;
        let checked = configuration(&options)?;
        log::set_level(checked.level());
        confine::raise_descriptor_limit();
        let mut worker =
            Worker::new(WorkerLimits::default()).map_err(failed("Making the poller"))?;
        let signal_token = worker
            .register(signals.as_fd(), Interest::READABLE)
            .map_err(failed("Watching for signals"))?;
        let mut daemon = Self {
            options,
            networks: Vec::new(),
            clients: HashMap::new(),
            line: VecDeque::new(),
            remains: Remains::default(),
            signals,
            signal_token,
            stopping: false,
        };
        for network in checked.networks() {
            let network = outer_networks::settle(network.clone())?;
            let served = Served::open(&mut worker, network, startup)?;
            log::info(&format!(
                "Network {} is served in {} ({}, {}).",
                served.config.name,
                served.published.path().display(),
                served.plan.subnet(),
                served::with_length_v6(served.plan.prefix()),
            ));
            daemon.networks.push(served);
        }
        daemon.check_extents(|_| true, &[], &[])?;
        daemon.join_networks(&mut worker);
        Ok((daemon, worker))
    }

    /// Places that the daemon works with once it runs.
    fn places(&self) -> confine::Places {
        let places = self.networks.iter().flat_map(Served::places);
        confine::Places {
            writable: places.chain(self.networks.iter().flat_map(Served::uplink_places)).collect(),
            config: self.options.config.clone(),
        }
    }

    fn run(&mut self, worker: &mut Worker) -> Result<(), ServeError> {
        let mut result = Ok(());
        let mut deadline = self.deadline(worker.now());
        while !self.stopping {
            if let Err(source) = worker.turn(deadline) {
                result = Err(ServeError::Io { what: "Waiting for frames and requests", source });
                break;
            }
            self.pump_captures(worker);
            // A turn that only carried frames changes nothing here, and costs nothing here.
            let mut changed = deadline.is_some_and(|deadline| deadline <= worker.now());
            while let Some(event) = worker.poll_event() {
                changed = true;
                self.handle(worker, event);
            }
            if changed {
                self.resume_api(worker);
                self.end_refused(worker);
                self.serve_waiting(worker);
                self.close_idle(worker);
                self.retry_uplinks(worker);
                let now = worker.now();
                self.networks.iter_mut().for_each(|network| network.attend(worker, now));
                deadline = self.deadline(worker.now());
            }
        }
        startup::notify(&[NotifyState::Stopping]);
        for network in self.networks.iter().map(|it| it.id).collect::<Vec<_>>() {
            self.close_network(worker, network, "The hypervisor was stopped.");
        }
        self.flush_all();
        self.remains.wait(CAPTURE_PATIENCE);
        result
    }

    /// When something has to be done even if nothing happens.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        if !self.line.is_empty() {
            return Some(now);
        }
        let idle = self.networks.iter().filter_map(|network| network.life.deadline());
        let paused = self.networks.iter().filter_map(|network| network.api.paused_until());
        let attention = self.networks.iter().filter_map(Served::attention);
        let refused = self.next_refused();
        let mut deadline = idle.chain(paused).chain(attention).chain(refused).min();
        if self.networks.iter().any(|network| !network.captures.is_empty()) {
            let check = now + CAPTURE_CHECK;
            deadline = Some(deadline.map_or(check, |at| at.min(check)));
        }
        deadline
    }

    fn network(&self, id: NetworkId) -> Option<&Served> {
        self.networks.iter().find(|network| network.id == id)
    }

    fn network_mut(&mut self, id: NetworkId) -> Option<&mut Served> {
        self.networks.iter_mut().find(|network| network.id == id)
    }

    fn handle(&mut self, worker: &mut Worker, event: WorkerEvent) {
        match event {
            WorkerEvent::Ready { token, readable, writable: _, hangup } => {
                if token == self.signal_token {
                    self.signal(worker);
                } else if let Some(at) = self.networks.iter().position(|it| it.api.is(token)) {
                    self.accept(worker, at);
                } else if let Some(network) =
                    self.networks.iter().find(|it| it.place_token == Some(token))
                {
                    if !network.is_in_place() {
                        let id = network.id;
                        let path = network.published.path().display();
                        let why = format!("Somebody removed its directory {path}.");
                        self.close_network(worker, id, &why);
                    }
                } else {
                    self.visit(worker, token, readable, hangup);
                }
            }
            WorkerEvent::PortOpened { net, port } => self.port_opened(worker, net, port),
            WorkerEvent::PortClosed { net, port, about, why } => {
                let now = worker.now();
                let Some(network) = self.network_mut(net) else { return };
                network.uplink_closed(now, port, &why);
                network.declared_closed(worker, &about.name);
                network.rates.remove(&port);
                network.captures.port_closed(port);
                network.audited.remove(&port);
                log::guest(&format!("Port {} closed: {why}.", about.name));
                // The link failed under a guest that lives: its keeper is told and can bring another.
                let Some((name, session)) = network.link_lost(worker, port) else { return };
                self.join_networks(worker);
                let why = format!("The link of guest {name} is gone: {why}.");
                self.tell_closed(worker, session, &name, why, Ending::LinkLost);
            }
            WorkerEvent::Refused { net, node, peer, why } => {
                let network = self.network(net).map_or("?", |it| it.config.name.as_str());
                let who = peer.map_or_else(String::new, |it| format!(" of {it}"));
                log::guest(&format!(
                    "Network {network}: a client{who} was refused at {node}: {why}"
                ));
            }
            WorkerEvent::Router { event } => {
                if let Some(sentence) = self.router_event(worker, &event) {
                    log::guest(&sentence);
                }
            }
            WorkerEvent::Gateway { net, event } => self.gateway_event(worker, net, event),
            WorkerEvent::Engine { net, mut event } => {
                let may_tell = self.network_mut(net).is_none_or(|it| it.tellers.admit(&mut event));
                if !may_tell {
                    return;
                }
                let network = self.network(net).map_or("?", |it| it.config.name.as_str());
                if let Some(sentence) = reports::engine_event(worker, net, &event) {
                    log::frames(&format!("Network {network}: {sentence}"));
                }
            }
        }
    }

    fn port_opened(&self, worker: &mut Worker, net: NetworkId, port: engine::PortId) {
        let Some(about) = worker.port_about(net, port) else { return };
        let name = about.name.clone();
        if let Some(network) = self.network(net) {
            network.declared_opened(worker, port, &name);
        }
        let Some(about) = worker.port_about(net, port) else { return };
        let who = about.peer.map_or_else(String::new, |it| format!(" by {it}"));
        log::guest(&format!("Port {} ({}) opened{who}.", about.name, about.kind));
    }

    fn gateway_event(&mut self, worker: &mut Worker, net: NetworkId, event: GatewayEvent) {
        let now = worker.now();
        let Some(network) = self.network_mut(net) else { return };
        let name = network.config.name.clone();
        match event {
            GatewayEvent::LeasesChanged => network.leases_changed(now),
            GatewayEvent::OutsideChanged { v4, v6 } => {
                let has = |it: bool| if it { "a way out" } else { "no way out" };
                log::info(&format!(
                    "Network {name}: the host now has {} over IPv4 and {} over IPv6.",
                    has(v4),
                    has(v6)
                ));
            }
            GatewayEvent::Trouble { about, sentence } => {
                log::warn(&format!("Network {name}: {sentence}"));
                network.troubles.tell(Subject::Gateway(about), sentence);
            }
            GatewayEvent::Well(about) => network.troubles.well(&Subject::Gateway(about)),
            GatewayEvent::Bind { .. } | GatewayEvent::Unbind { .. } => {}
        }
    }

    /// What the router has to tell, as a sentence.
    fn router_event(&self, worker: &Worker, event: &RouterEvent) -> Option<String> {
        let (RouterEvent::AddressConflict { iface, addr, mac, port }
        | RouterEvent::Forged { iface, addr, mac, port }) = event;
        let network = self.network(worker.network_of(*iface)?)?;
        let port = port
            .and_then(|index| worker.engine(network.id).port_at(index))
            .and_then(|port| worker.port_about(network.id, port))
            .map_or_else(|| "a port".to_owned(), |about| format!("port {}", about.name));
        let name = &network.config.name;
        Some(match event {
            RouterEvent::AddressConflict { .. } => {
                format!(
                    "Network {name}: {port} ({mac}) uses {addr}, which is the router's address."
                )
            }
            RouterEvent::Forged { .. } => format!(
                "Network {name}: {port} says that {addr} is at {mac}, but the address belongs to another port."
            ),
        })
    }

    fn signal(&mut self, worker: &mut Worker) {
        while let Ok(Some(signal)) = self.signals.read() {
            match signal.signal {
                sys::detach::SIGHUP => match self.reload(worker, None) {
                    Ok(changes) if changes.is_empty() => {
                        log::info("Nothing in the configuration changed.");
                    }
                    Ok(changes) => changes.iter().for_each(|change| log::info(change)),
                    // Lines of the file and the mark under the place are for a terminal; a log has one line an event.
                    Err(failure) => {
                        log::error(failure.message.lines().next().unwrap_or_default());
                    }
                },
                sys::detach::SIGTERM | sys::detach::SIGINT => {
                    log::info("A signal asked the hypervisor to stop.");
                    self.stopping = true;
                }
                _ => {}
            }
        }
    }

    /// Ends one network; the daemon ends with its last.
    fn close_network(&mut self, worker: &mut Worker, id: NetworkId, why: &str) {
        let Some(at) = self.networks.iter().position(|network| network.id == id) else { return };
        let network = &mut self.networks[at];
        log::info(&format!("Network {} ends: {why}", network.config.name));
        let guests: Vec<(Token, Name)> =
            network.guests.values().map(|it| (it.session, it.name.clone())).collect();
        for (_, name) in &guests {
            network.remove_guest(worker, name, CloseReason::NetworkRemoved);
        }
        for (session, name) in guests {
            self.tell_closed(worker, session, &name, why.to_owned(), Ending::Unlinked);
        }
        let network = self.networks.remove(at);
        self.remains.add(network.close(worker));
        self.join_networks(worker);
        for client in self.clients.values_mut().filter(|client| client.network == id) {
            client.closing = true;
            client.captures.clear();
        }
        let tokens: Vec<Token> = self
            .clients
            .iter()
            .filter(|(_, client)| client.network == id)
            .map(|(token, _)| *token)
            .collect();
        for token in tokens {
            self.flush(worker, token);
        }
        if self.networks.is_empty() {
            self.stopping = true;
        }
    }

    fn close_idle(&mut self, worker: &mut Worker) {
        let now = worker.now();
        let busy: BTreeSet<NetworkId> = self.clients.values().map(|it| it.network).collect();
        let mut over = Vec::new();
        for network in &mut self.networks {
            let needed = busy.contains(&network.id)
                || worker.ports(network.id).any(|port| !network.is_uplink(port));
            network.life.note(needed, now);
            if network.life.is_over(now) {
                over.push(network.id);
            }
        }
        for id in over {
            self.close_network(worker, id, "Its last guest is gone.");
        }
    }
}

/// The configuration that the options ask for.
fn configuration(options: &Options) -> Result<Checked, ServeError> {
    let only =
        match &options.network {
            Some(text) => Some(Name::of_network(text).map_err(|why| {
                crate::directory::DirectoryError::Name { name: text.clone(), why }
            })?),
            None => None,
        };
    let checked = match &options.config {
        Some(_) if options.uplink.is_some() => {
            return Err(ServeError::Config(
                "--uplink is for a network without a configuration; set `uplink` in the file."
                    .to_owned(),
            ));
        }
        Some(path) => {
            let checked =
                crate::config::read(path).map_err(|error| ServeError::Config(error.to_string()))?;
            match &only {
                Some(name) => checked.only(name).ok_or_else(|| {
                    ServeError::Config(format!(
                        "{} has no network {name}: add a table [network.{name}], or name one that it has.",
                        path.display()
                    ))
                })?,
                None => checked,
            }
        }
        None => Checked::of_one(
            only.unwrap_or_else(|| Name::from_command(DEFAULT_NETWORK)),
            options.uplink.clone().unwrap_or_default(),
        ),
    };
    checked.overridden(&options.overrides()).ok_or_else(|| {
        ServeError::Config(
            "--dir, --group, --mode and --idle are for one network, and the configuration has several: name \
             one, or set the keys in the file."
                .to_owned(),
        )
    })
}
