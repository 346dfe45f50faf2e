//! The calls of the control interface.
//!
//! Who owns the daemon, and root, may make every call. Another user who may open the socket may bring guests of his
//! own and look after them, and sees nothing of others: he could open ports through the nodes as well.

use std::os::fd::OwnedFd;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use super::Daemon;
use super::brought;
use super::clients::Ending;
use super::served::Served;
use super::served::outside::Publisher;
use crate::api::message::{
    Answer, Audience, Call, Capturing, Code, Failure, GuestKind, Hello, Metrics, Nothing, PAGE_MAX,
    Page, Published, Reloaded, VERSION,
};
use crate::capture::{CaptureError, SNAPLEN_MAX, Wish};
use crate::config::Forward;
use crate::log;
use crate::metrics;
use crate::report::Networks;
use crate::worker::{Token, Worker};

/// The value of an answer, and descriptors that go with it.
type Done = Result<(Value, Vec<OwnedFd>), Failure>;

fn done(value: impl Serialize) -> Done {
    match serde_json::to_value(value) {
        Ok(value) => Ok((value, Vec::new())),
        Err(error) => {
            Err(Failure::new(Code::System, format!("The answer has no JSON form: {error}.")))
        }
    }
}

impl Daemon {
    pub(super) fn call(&mut self, worker: &mut Worker, token: Token, call: &Call) -> Done {
        let Some(client) = self.clients.get(&token) else { return done(Nothing {}) };
        let (caller, id) = (client.caller, client.network);
        let about = call.about();
        if !caller.is_owner() && about.audience == Audience::Owner {
            let message = format!(
                "The call {:?} is for the owner of this hypervisor (uid {}) and root; you are uid {}.",
                about.name,
                sys::user::uid(),
                caller.uid()
            );
            return Err(Failure::new(Code::NotAllowed, message));
        }
        if let Answer::Table(Page { limit: Some(limit), .. }) = about.answer
            && !(1..=PAGE_MAX).contains(limit)
        {
            let message = format!(
                "A page has 1 to {PAGE_MAX} rows, not {limit}: ask for so many, or leave `limit` out, and for the rest with \
                 `after`."
            );
            return Err(Failure::new(Code::BadArgument, message));
        }
        self.hold(token, call)?;
        let gone = || Failure::new(Code::WrongState, "The network is gone: it was stopped.");
        let network = self.network_mut(id).ok_or_else(gone)?;
        match call {
            Call::Hello {} => done(Hello {
                server: "netherd".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                api: VERSION,
                network: network.config.name.as_str().to_owned(),
                directory: network.published.path().to_owned(),
                pid: std::process::id(),
                control: caller.is_owner(),
                restart: network.restart(caller),
            }),
            Call::Networks {} => {
                let seen: Vec<_> = self
                    .networks
                    .iter()
                    .filter(|it| caller.is_owner() || it.id == id)
                    .map(|it| it.summary(worker))
                    .collect();
                done(Networks { networks: seen })
            }
            Call::Show { port } => {
                done(network.report(worker, port.as_deref(), caller.sees_only())?)
            }
            Call::Join(args) => {
                let behind = self.behind_guests();
                let network = self.network_mut(id).ok_or_else(gone)?;
                done(network.join(worker, token, caller, args, &behind)?)
            }
            Call::Link(args) => {
                let count = network.check_link(token, args)?;
                let fds = brought::check(args, self.take_fds(token, count)?, caller.uid())?;
                let network = self.network_mut(id).ok_or_else(gone)?;
                let linked = network.link(worker, token, args, fds)?;
                self.join_networks(worker);
                done(linked)
            }
            Call::Detach { guest } => {
                let (session, name, kind) = network.detach(worker, guest, caller)?;
                // An attached program was there before us and goes on without its eth0.
                let how = match kind {
                    GuestKind::Run => Ending::GuestEnds,
                    GuestKind::Attach => Ending::Unlinked,
                };
                // Asked before it is told, and ends.
                let keeper = match kind {
                    GuestKind::Run => None,
                    GuestKind::Attach => self.keeper(session),
                };
                let why = format!("Guest {name} was detached.");
                self.tell_closed(worker, session, &name, why, how);
                done(Nothing {}).map(|(value, _)| (value, keeper.into_iter().collect()))
            }
            Call::Exec { guest } => {
                let (entrance, fds) = network.exec(guest, caller)?;
                done(entrance).map(|(value, _)| (value, fds))
            }
            Call::Capture(args) => {
                let named = args.port.as_deref();
                let awaited = named.filter(|name| network.is_absent(worker, name));
                let named = named.filter(|_| awaited.is_none());
                let port = network.port_of(worker, named, None)?;
                let awaited = awaited.map(str::to_owned);
                let filter = network.filter(args.filter.as_deref())?;
                let fds = self.take_fds(token, 1)?;
                let Some(out) = fds.into_iter().next() else { return Err(gone()) };
                let now = worker.now();
                let network = self.network_mut(id).ok_or_else(gone)?;
                let engine = worker.engine_mut(id);
                let name = network.config.name.clone();
                let snaplen = match args.snaplen {
                    0 => SNAPLEN_MAX,
                    bytes => bytes.min(SNAPLEN_MAX),
                };
                let capture = network
                    .captures
                    .start(engine, now, &name, Wish { port, awaited, filter, snaplen }, out)
                    .map_err(|error| {
                        let code = match error {
                            CaptureError::TooMany => Code::Limit,
                            CaptureError::Io(_) => Code::System,
                        };
                        Failure::new(code, error.to_string())
                    })?;
                if let Some(client) = self.clients.get_mut(&token) {
                    client.captures.push(capture);
                }
                done(Capturing { snaplen })
            }
            Call::Metrics {} => {
                let content_type = metrics::CONTENT_TYPE.to_owned();
                let text = metrics::text(&self.snapshots(worker));
                done(Metrics { content_type, text })
            }
            Call::Reload { config } => {
                let changes = self.reload_for(worker, token, config.as_deref())?;
                done(Reloaded { changes })
            }
            Call::Down {} => {
                log::info(&format!("{} asks for the end.", caller.cred));
                self.answer_then_close(worker, token, id)
            }
            Call::Stay { stay } => {
                network.stay = *stay;
                done(Nothing {})
            }
            Call::Publish { forward } => {
                let forward = Forward::parse(forward, None).map_err(|why| {
                    Failure::new(Code::BadArgument, format!("{forward:?} is no forward: {why}."))
                })?;
                network.publish(worker, forward.clone(), Publisher::Call)?;
                done(Published { forward: forward.to_string() })
            }
            Call::Unpublish { forward } => {
                let wanted = Forward::parse(forward, None).map_err(|why| {
                    Failure::new(Code::BadArgument, format!("{forward:?} is no forward: {why}."))
                })?;
                if network.unpublish(worker, |it| it.forward == wanted) == 0 {
                    let message = format!(
                        "Nothing is forwarded as {wanted} in network {}: `netherd publish ls` lists what is.",
                        network.config.name
                    );
                    return Err(Failure::new(Code::NoSuchThing, message));
                }
                done(Nothing {})
            }
            Call::Published {} => done(network.publishes(worker)),
            Call::AllowHost { port, guest } => {
                done(network.allow_host(worker, port, guest.as_deref())?)
            }
            Call::FilterSet(args) => done(network.set_filter(worker, args)?),
            Call::Flows(page) => done(network.flows(worker, page)?),
            Call::Leases(page) => done(network.leases(worker, page)?),
            Call::Neighbours(page) => done(network.neighbours(worker, page)?),
            Call::Bindings(page) => done(network.bindings(worker, page)?),
            Call::Guard(page) => done(network.guards(worker, page)?),
            Call::GuardSet { port, check, action } => {
                done(network.guard_set(worker, port, check, action)?)
            }
            Call::GuardAudit { port, on } => done(network.guard_audit(worker, port, *on)?),
            Call::GuardRelease { port } => done(network.guard_release(worker, port)?),
            Call::Routes(page) => done(self.routes(worker, page)?),
        }
    }

    /// Prefixes behind guests of all networks, whether or not they have their links: one table has the routes of all.
    fn behind_guests(&self) -> Vec<IpNet> {
        let guests = self.networks.iter().flat_map(|network| network.guests.values());
        guests.flat_map(|guest| guest.behind().iter().copied()).collect()
    }

    fn take_fds(&mut self, token: Token, count: usize) -> Result<Vec<OwnedFd>, Failure> {
        match self.clients.get_mut(&token) {
            Some(client) => client.connection.take_fds(count),
            None => Err(Failure::new(Code::WrongState, "The connection is gone.")),
        }
    }

    /// A descriptor of the process that keeps a session, where the kernel gives one.
    fn keeper(&self, session: Token) -> Option<OwnedFd> {
        let connection = &self.clients.get(&session)?.connection;
        sys::peer::process(connection.fd(), connection.cred()).ok().flatten()
    }

    /// The network ends, but the caller's connection only once it has its answer.
    fn answer_then_close(
        &mut self,
        worker: &mut Worker,
        token: Token,
        id: crate::worker::NetworkId,
    ) -> Done {
        // Set apart, its connection is not closed with the others.
        let client = self.clients.remove(&token);
        self.close_network(worker, id, "The network was stopped with `netherd down`.");
        if let Some(mut client) = client {
            client.captures.clear();
            client.more = false;
            client.closing = true;
            self.clients.insert(token, client);
        }
        done(Nothing {})
    }

    /// The caller's own network may be among those that end; he is told what changed all the same.
    fn reload_for(
        &mut self,
        worker: &mut Worker,
        token: Token,
        text: Option<&str>,
    ) -> Result<Vec<String>, Failure> {
        // Set apart, his connection is not closed with the network's others.
        let client = self.clients.remove(&token);
        let reloaded = self.reload(worker, text);
        if let Some(mut client) = client {
            if self.network(client.network).is_none() {
                client.captures.clear();
                client.more = false;
                client.closing = true;
            }
            self.clients.insert(token, client);
        }
        reloaded
    }

    fn snapshots(&mut self, worker: &mut Worker) -> Vec<crate::report::Network> {
        self.networks
            .iter_mut()
            .filter_map(|network| Served::report(network, worker, None, None).ok())
            .collect()
    }
}
