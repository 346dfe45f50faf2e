//! Guests: their sessions, links and what it takes to enter them.
//!
//! # Theory of operation
//!
//! A guest is in the network while the connection that joined it is open; nothing else keeps it, and no timer does.
//!
//! | state | is entered by | the guest has |
//! |---|---|---|
//! | joined | [`Served::join`], the call `join` | a name, planned addresses, forwards; no port |
//! | linked | [`Served::link`], the call `link` | a port of its name as well, its routes, and what `exec` hands out |
//! | link lost | the worker, when the port closes by itself: [`Served::link_lost`] | what `exec` hands out, no port; its keeper is told, and may bring another link |
//! | gone | the end of the session, `detach`, `down`: [`Served::remove_guest`] | planned addresses only, to come back to |
//!
//! What a link puts in place beside its port is in [`Live`], and [`Served::unlink`] takes it back on every way out of
//! the state "linked", and nothing else: what is not there was never put there, or is somebody else's.
//!
//! A guest whose hypervisor died joins the next one with `resume`, by the name that it had: for a while after a start
//! the names of guests that were present are kept for them.

mod join;
mod link;

use std::os::fd::{AsFd, OwnedFd};

use engine::{FirstCome, GuardMode, PortId, PortSpec, SourceMode};
use ipnet::IpNet;
use sys::Cred;
use wire::MacAddr;

use super::Served;
use super::requests::Wishes;
use super::troubles::Subject;
use crate::address::Assignment;
use crate::api::message::{Code, Entrance, Failure, GuestKind};
use crate::config;
use crate::daemon::caller::Caller;
use crate::link::CloseReason;
use crate::log;
use crate::names::Name;
use crate::worker::{Token, Worker};

/// A guest that is in the network.
#[derive(Debug)]
pub(in crate::daemon) struct Guest {
    pub(in crate::daemon) name: Name,
    pub(in crate::daemon) cred: Cred,
    pub(in crate::daemon) kind: GuestKind,
    /// The connection whose end is the guest's.
    pub(in crate::daemon) session: Token,
    /// What its link put in place, while it has one.
    live: Option<Live>,
    pub(in crate::daemon) init_pid: Option<i32>,
    /// What it asked for beside its addresses.
    wishes: Wishes,
    entrance: Vec<(String, OwnedFd)>,
}

/// What the link of a guest put in place.
#[derive(Debug)]
struct Live {
    port: PortId,
    /// The address that the uplink was told of.
    mac: MacAddr,
    /// Routes that were really added: of the prefixes behind the guest, those that lead to this link.
    routes: Vec<IpNet>,
}

fn system(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::System, format!("{what} failed: {error}."))
}

/// What a guest's port is like.
fn guest_spec(template: &PortSpec, planned: &Assignment, wishes: &Wishes) -> PortSpec {
    let mut spec = template.clone();
    spec.macs = vec![planned.mac];
    spec.guard.addresses = vec![planned.ipv4.into(), planned.ipv6.into()];
    spec.guard.prefixes.clone_from(&wishes.routes);
    if wishes.macs > 0 {
        // A whole network is behind it, bridged: its stations take what they are given or find free.
        spec.source = SourceMode::Learn { max_macs: wishes.macs };
        if spec.guard.mode != GuardMode::Off {
            spec.guard.mode = GuardMode::Learn;
        }
        spec.guard.first_come = FirstCome::for_stations(wishes.macs);
    }
    spec
}

impl Guest {
    /// Its port, while it has a link.
    pub(in crate::daemon) fn port(&self) -> Option<PortId> {
        self.live.as_ref().map(|live| live.port)
    }

    /// The address that the uplink is to know, while it has a link.
    pub(in crate::daemon) fn live_mac(&self) -> Option<MacAddr> {
        self.live.as_ref().map(|live| live.mac)
    }

    /// Prefixes behind it.
    pub(in crate::daemon) fn behind(&self) -> &[IpNet] {
        &self.wishes.routes
    }

    /// What its port is like in a network of this configuration.
    pub(in crate::daemon) fn spec(
        &self,
        config: &config::Network,
        planned: &Assignment,
    ) -> PortSpec {
        let mut spec = guest_spec(&config.guest, planned, &self.wishes);
        super::uplink::guard_guests(config, &mut spec);
        spec
    }
}

impl Served {
    /// The guest of that name, for those who may act on it.
    fn guest_of(&self, name: &str, caller: Caller) -> Result<&Guest, Failure> {
        let guest = self.guests.iter().find(|(it, _)| it.as_str() == name).map(|(_, guest)| guest);
        // Whether another user's guest exists is not told to those who may not see it.
        guest.filter(|guest| caller.may_see(guest.cred.uid)).ok_or_else(|| {
            let message = format!(
                "There is no guest {name:?} in network {}: `netherd show` lists them.",
                self.config.name
            );
            Failure::new(Code::NoSuchGuest, message)
        })
    }

    /// The call `exec`: for the guest's owner only.
    pub(in crate::daemon) fn exec(
        &self,
        name: &str,
        caller: Caller,
    ) -> Result<(Entrance, Vec<OwnedFd>), Failure> {
        let guest = self.guest_of(name, caller)?;
        if guest.cred.uid != caller.uid() {
            let owner = guest.cred.uid;
            let message =
                format!("Guest {name} belongs to uid {owner}: only its owner may enter it.");
            return Err(Failure::new(Code::NotAllowed, message));
        }
        if guest.kind == GuestKind::Attach {
            let message = format!(
                "Guest {name} is a namespace that somebody else made, and only its interface is netherd's: enter it \
                 with the tool that made it, or with `nsenter --target PID --user --net`."
            );
            return Err(Failure::new(Code::WrongState, message));
        }
        if guest.entrance.is_empty() {
            let message = format!(
                "Guest {name} cannot be entered: its keeper did not hand over its namespaces{}.",
                if guest.live.is_none() { " yet" } else { "" }
            );
            return Err(Failure::new(Code::WrongState, message));
        }
        let copies: Result<Vec<OwnedFd>, _> =
            guest.entrance.iter().map(|(_, fd)| fd.as_fd().try_clone_to_owned()).collect();
        let fds = copies.map_err(|error| system("Copying the guest's descriptors", &error))?;
        let entrance = Entrance {
            guest: guest.name.as_str().to_owned(),
            kind: guest.kind,
            init_pid: guest.init_pid,
            namespaces: guest.entrance.iter().map(|(name, _)| name.clone()).collect(),
        };
        Ok((entrance, fds))
    }

    /// The call `detach`: the session to tell, and the guest that is gone.
    pub(in crate::daemon) fn detach(
        &mut self,
        worker: &mut Worker,
        name: &str,
        caller: Caller,
    ) -> Result<(Token, Name, GuestKind), Failure> {
        let guest = self.guest_of(name, caller)?;
        let (session, name, kind) = (guest.session, guest.name.clone(), guest.kind);
        self.remove_guest(worker, &name, CloseReason::Requested);
        Ok((session, name, kind))
    }

    /// The guest leaves: its port is closed, its addresses stay planned.
    pub(in crate::daemon) fn remove_guest(
        &mut self,
        worker: &mut Worker,
        name: &Name,
        why: CloseReason,
    ) {
        if let Some(live) = self.unlink(worker, name) {
            worker.close_port(self.id, live.port, why);
        }
        if self.guests.remove(name).is_none() {
            return;
        }
        self.unpublish_guest(worker, name);
        worker.with_gateway(self.id, |gateway, _, _| gateway.remove_guest(name.as_str()));
        let address = gateway::Subject::Address(name.as_str().to_owned());
        self.troubles.well(&Subject::Gateway(address));
        self.plan.leave(name);
        self.kept.plan_changed(worker.now());
        log::guest(&format!("Guest {name} left."));
    }

    /// The guest whose session this is, if any.
    pub(in crate::daemon) fn guest_by_session(&self, session: Token) -> Option<&Guest> {
        self.guests.values().find(|guest| guest.session == session)
    }
}

#[cfg(test)]
mod tests;
