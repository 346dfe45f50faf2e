//! The calls of the control interface.
//!
//! Who owns the daemon, and root, may make every call. Another user who may open the socket may bring guests of his
//! own and look after them, and sees nothing of others: he could open ports through the nodes as well.

use std::os::fd::OwnedFd;

use ipnet::IpNet;
use serde::Serialize;
use serde_json::Value;

use super::Daemon;
use super::caller::Caller;
use super::passed_descriptors;
use super::served::Served;
use super::served::outside::Publisher;
use super::served::requests::forward_of;
use crate::api::message::{
    Answer, Audience, Call, Code, Ending, Failure, GuestKind, Hello, LinkArgs, Linked, Metrics,
    Nothing, PAGE_MAX, Page, Published, Reloaded, VERSION,
};
use crate::log;
use crate::metrics;
use crate::report::Networks;
use crate::worker::{NetworkId, Token, Worker};

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

pub(super) fn gone() -> Failure {
    Failure::new(Code::WrongState, "The network is gone: it was stopped.")
}

/// Checks that a caller may make a call, and asks for no more than there can be.
///
/// # Errors
/// A sentence.
fn admit(call: &Call, caller: Caller) -> Result<(), Failure> {
    let about = call.about();
    if about.audience == Audience::Owner && !caller.is_owner() {
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
            "A page has 1 to {PAGE_MAX} rows, not {limit}: ask for that many or leave out `limit`, and ask for \
             the rest with `after`."
        );
        return Err(Failure::new(Code::BadArgument, message));
    }
    Ok(())
}

impl Daemon {
    pub(super) fn call(&mut self, worker: &mut Worker, token: Token, call: &Call) -> Done {
        let Some(client) = self.clients.get(&token) else { return done(Nothing {}) };
        let (caller, id) = (client.caller, client.network);
        admit(call, caller)?;
        self.hold(token, call)?;
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
            Call::Link(args) => done(self.link_guest(worker, token, args)?),
            Call::Detach { guest } => self.detach_guest(worker, id, caller, guest),
            Call::Exec { guest } => {
                let (entrance, fds) = network.exec(guest, caller)?;
                done(entrance).map(|(value, _)| (value, fds))
            }
            Call::Capture(args) => done(self.start_capture(worker, token, args)?),
            Call::Metrics {} => {
                let content_type = metrics::CONTENT_TYPE.to_owned();
                let text = metrics::text(&self.snapshots(worker));
                done(Metrics { content_type, text })
            }
            Call::Reload { config } => {
                let changes =
                    self.outlive(token, |daemon| daemon.reload(worker, config.as_deref()))?;
                done(Reloaded { changes })
            }
            Call::Down {} => {
                log::info(&format!("{} asked the network to stop.", caller.cred));
                let why = "The network was stopped with `netherd down`.";
                self.outlive(token, |daemon| daemon.close_network(worker, id, why));
                done(Nothing {})
            }
            Call::Stay { stay } => {
                network.life.set_stay(*stay);
                done(Nothing {})
            }
            Call::Publish { forward } => {
                let forward = forward_of(forward, None)?;
                network.publish(worker, forward.clone(), Publisher::Call)?;
                done(Published { forward: forward.to_string() })
            }
            Call::Unpublish { forward } => {
                let wanted = forward_of(forward, None)?;
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

    /// The call `link`.
    fn link_guest(
        &mut self,
        worker: &mut Worker,
        token: Token,
        args: &LinkArgs,
    ) -> Result<Linked, Failure> {
        let (id, uid) =
            self.clients.get(&token).map(|it| (it.network, it.caller.uid())).ok_or_else(gone)?;
        let count = self.network(id).ok_or_else(gone)?.check_link(token, args)?;
        let fds = passed_descriptors::check(args, self.take_fds(token, count)?, uid)?;
        let linked = self.network_mut(id).ok_or_else(gone)?.link(worker, token, args, fds)?;
        self.join_networks(worker);
        Ok(linked)
    }

    /// The call `detach`.
    fn detach_guest(
        &mut self,
        worker: &mut Worker,
        id: NetworkId,
        caller: Caller,
        guest: &str,
    ) -> Done {
        let network = self.network_mut(id).ok_or_else(gone)?;
        let (session, name, kind) = network.detach(worker, guest, caller)?;
        // An attached program was there before us and goes on without its eth0. Its keeper is asked for before it is
        // told, and ends.
        let (how, keeper) = match kind {
            GuestKind::Run => (Ending::GuestEnds, None),
            GuestKind::Attach => (Ending::Unlinked, self.keeper(session)),
        };
        self.join_networks(worker);
        let why = format!("Guest {name} was detached.");
        self.tell_closed(worker, session, &name, why, how);
        done(Nothing {}).map(|(value, _)| (value, keeper.into_iter().collect()))
    }

    /// Prefixes behind guests of all networks, whether or not they have their links: one table has the routes of all.
    fn behind_guests(&self) -> Vec<IpNet> {
        let guests = self.networks.iter().flat_map(|network| network.guests.values());
        guests.flat_map(|guest| guest.behind().iter().copied()).collect()
    }

    pub(super) fn take_fds(&mut self, token: Token, count: usize) -> Result<Vec<OwnedFd>, Failure> {
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

    /// Does what may end the caller's own network; his connection ends only once he has his answer.
    fn outlive<T>(&mut self, token: Token, act: impl FnOnce(&mut Self) -> T) -> T {
        // Set apart, it is not closed with the network's others.
        let client = self.clients.remove(&token);
        let result = act(self);
        if let Some(mut client) = client {
            if self.network(client.network).is_none() {
                client.captures.clear();
                client.more = false;
                client.closing = true;
            }
            self.clients.insert(token, client);
        }
        result
    }

    fn snapshots(&mut self, worker: &mut Worker) -> Vec<crate::report::Network> {
        self.networks
            .iter_mut()
            .filter_map(|network| Served::report(network, worker, None, None).ok())
            .collect()
    }
}
