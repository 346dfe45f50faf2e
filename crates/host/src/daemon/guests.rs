//! Guests: their sessions, links and what it takes to enter them.

use std::os::fd::{AsFd, OwnedFd};

use engine::{MacKind, PortId};
use sys::Cred;
use wire::{MacAddr, OffloadSet};

use super::network::{Served, with_length, with_length_v6};
use crate::address::AssignError;
use crate::api::message::{
    Code, Entrance, Failure, GuestKind, Join, Joined, LinkArgs, LinkMechanism, Linked, NAMESPACES,
};
use crate::directory;
use crate::link::{CloseReason, LinkKind, LinkSetup, PortAbout};
use crate::log;
use crate::names::Name;
use crate::worker::{OpenError, Token, Worker};

/// A guest that is in the network.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) name: Name,
    pub(super) cred: Cred,
    pub(super) kind: GuestKind,
    /// The connection whose end is the guest's.
    pub(super) session: Token,
    pub(super) port: Option<PortId>,
    pub(super) init_pid: Option<i32>,
    entrance: Vec<(String, OwnedFd)>,
}

fn system(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(Code::System, format!("{what} failed: {error}."))
}

impl From<AssignError> for Failure {
    fn from(error: AssignError) -> Self {
        let code = match error {
            AssignError::Present(_) | AssignError::Expected(_) | AssignError::OtherUser { .. } => {
                Code::NameTaken
            }
            AssignError::MacTaken { .. } | AssignError::BadMac(_) => Code::BadArgument,
            AssignError::Full | AssignError::UserFull => Code::Limit,
        };
        Self::new(code, error.to_string())
    }
}

impl Served {
    /// The call `join`.
    pub(super) fn join(
        &mut self,
        worker: &mut Worker,
        session: Token,
        cred: Cred,
        control: bool,
        args: &Join,
    ) -> Result<Joined, Failure> {
        if let Some(guest) = self.guests.values().find(|guest| guest.session == session) {
            let message = format!("This session is guest {}'s: open another one.", guest.name);
            return Err(Failure::new(Code::WrongState, message));
        }
        let mac = match &args.mac {
            Some(text) => Some(text.parse::<MacAddr>().map_err(|_| {
                let message = format!(
                    "{text:?} is not a MAC address: give six bytes, such as 02:00:5e:00:53:01."
                );
                Failure::new(Code::BadArgument, message)
            })?),
            None => None,
        };
        let name = self.name_for(worker, cred, args)?;
        if let Some(mac) = mac {
            self.check_mac(worker, &name, mac, control)?;
        }
        let assigned = if args.resume {
            self.plan.resume(&name, cred.uid, mac)?
        } else {
            self.plan.assign(&name, cred.uid, mac)?
        };
        let engine = worker.engine_mut(self.id);
        for gone in assigned.evicted.iter().map(|(_, mac)| *mac).chain(assigned.previous_mac) {
            engine.unreserve_mac(gone);
        }
        if let Some((evicted, _)) = &assigned.evicted {
            log::info(&format!(
                "The plan is full: guest {evicted}, away longest, lost its addresses."
            ));
        }
        engine.reserve_mac(assigned.assignment.mac);
        self.plan_file.changed(worker.now());
        let mut covers = directory::covers();
        let own = self.published.path().to_owned();
        if !covers.iter().any(|cover| own.starts_with(cover)) {
            covers.push(own);
        }
        let guest = Guest {
            name: name.clone(),
            cred,
            kind: args.kind,
            session,
            port: None,
            init_pid: None,
            entrance: Vec::new(),
        };
        self.guests.insert(name.clone(), guest);
        log::guest(&format!("Guest {name} joined (uid {}, pid {}).", cred.uid, cred.pid));
        Ok(Joined {
            network: self.config.name.as_str().to_owned(),
            guest: name.as_str().to_owned(),
            mac: assigned.assignment.mac.to_string(),
            ipv4: with_length(&self.plan, assigned.assignment.ipv4),
            ipv6: with_length_v6(assigned.assignment.ipv6),
            mtu: self.config.plan.spec().mtu,
            covers,
            restart: self.restart(control),
            gateway4: None,
            gateway6: None,
            outside6: false,
            resolvers: Vec::new(),
            search: Vec::new(),
            host4: None,
            host6: None,
        })
    }

    fn name_for(&self, worker: &Worker, cred: Cred, args: &Join) -> Result<Name, Failure> {
        let is_port = |name: &Name| {
            self.is_declared(name.as_str()) || worker.port_named(self.id, name.as_str()).is_some()
        };
        let Some(text) = &args.guest else {
            let base = Name::from_command(&args.command);
            return self.plan.free_name(&base, cred.uid, is_port).ok_or_else(|| {
                let message = format!("No name like {base} is free: choose one with --name.");
                Failure::new(Code::Limit, message)
            });
        };
        let name: Name = text.parse().map_err(|why| {
            Failure::new(Code::BadArgument, format!("{text:?} is no name of a guest: {why}."))
        })?;
        // The plan says so itself, with the same sentence, when it is a guest's.
        if !self.guests.contains_key(&name) && is_port(&name) {
            let message = format!(
                "A port named {name} is in network {} already: choose another --name.",
                self.config.name
            );
            return Err(Failure::new(Code::NameTaken, message));
        }
        Ok(name)
    }

    /// Whether a guest may choose this address. What the plan or a guest in it has, the plan refuses.
    fn check_mac(
        &self,
        worker: &Worker,
        name: &Name,
        mac: MacAddr,
        control: bool,
    ) -> Result<(), Failure> {
        let refuse = |why: String| {
            let message =
                format!("The MAC address {mac} {why}: choose another --mac, or leave it out.");
            Err(Failure::new(Code::BadArgument, message))
        };
        if let Some(port) = self.config.ports.iter().find(|port| port.spec.macs.contains(&mac)) {
            return refuse(format!("belongs to the declared port {}", port.name));
        }
        if self.plan.guest(name).is_some_and(|guest| guest.mac == mac) {
            return Ok(());
        }
        // A bound address beats one that was learned: its user would lose his frames to the newcomer.
        let learned = worker
            .engine(self.id)
            .mac_table()
            .any(|entry| entry.mac == mac && entry.kind == MacKind::Learned);
        if learned {
            return refuse("is in use at an open port".to_owned());
        }
        // Addresses of real devices are the owner's to give: others could wait for one and take its place.
        if !control && !mac.is_local() {
            return refuse("is not locally administered (bit 1 of its first byte)".to_owned());
        }
        Ok(())
    }

    /// How many descriptors a `link` brings, after a look at its arguments.
    pub(super) fn check_link(&self, session: Token, args: &LinkArgs) -> Result<usize, Failure> {
        let Some(guest) = self.guests.values().find(|guest| guest.session == session) else {
            let message = "This session has no guest: call join first, on the same connection.";
            return Err(Failure::new(Code::WrongState, message));
        };
        if guest.port.is_some() {
            let message = format!("Guest {} has its link already.", guest.name);
            return Err(Failure::new(Code::WrongState, message));
        }
        if args.vnet_hdr_len != 10 && args.vnet_hdr_len != 12 {
            let message = format!("A vnet header has 10 or 12 bytes, not {}.", args.vnet_hdr_len);
            return Err(Failure::new(Code::BadArgument, message));
        }
        for (position, name) in args.namespaces.iter().enumerate() {
            if !NAMESPACES.contains(&name.as_str()) || args.namespaces[..position].contains(name) {
                let message = format!(
                    "{name:?} is no namespace, or is listed twice: name each at most once, of {}.",
                    NAMESPACES.join(", ")
                );
                return Err(Failure::new(Code::BadArgument, message));
            }
        }
        Ok(1 + args.namespaces.len())
    }

    /// The call `link`.
    pub(super) fn link(
        &mut self,
        worker: &mut Worker,
        session: Token,
        args: &LinkArgs,
        fds: Vec<OwnedFd>,
    ) -> Result<Linked, Failure> {
        let now = worker.now();
        let guest = self.guests.values_mut().find(|guest| guest.session == session);
        let mut fds = fds.into_iter();
        let (Some(guest), Some(fd)) = (guest, fds.next()) else {
            return Err(Failure::new(
                Code::WrongState,
                "This session has no guest: call join first.",
            ));
        };
        let offloads = args.offloads.iter().try_fold(OffloadSet::empty(), |set, name| {
            OffloadSet::from_short_name(name).map(|one| set | one).ok_or_else(|| {
                Failure::new(
                    Code::BadArgument,
                    format!("{name:?} is no offload that a link can have."),
                )
            })
        })?;
        let Some(planned) = self.plan.guest(&guest.name) else {
            return Err(Failure::new(
                Code::NoSuchGuest,
                "The guest has lost its addresses: join again.",
            ));
        };
        let (setup, kind) = match args.link {
            LinkMechanism::Tap => {
                (LinkSetup::Tap { fd, offloads, vnet_hdr_len: args.vnet_hdr_len }, LinkKind::Tap)
            }
            LinkMechanism::Packet => (LinkSetup::Packet { fd, offloads }, LinkKind::Packet),
        };
        let mut about = PortAbout::new(guest.name.as_str(), kind, now);
        about.peer = Some(guest.cred);
        about.guest = Some(guest.name.as_str().to_owned());
        about.ipv4 = vec![with_length(&self.plan, planned.ipv4)];
        about.ipv6 = vec![with_length_v6(planned.ipv6)];
        let mut spec = self.config.guest.clone();
        spec.macs = vec![planned.mac];
        let port = worker.open_link(self.id, spec, setup, about).map_err(|error| {
            let code = match error {
                OpenError::NameTaken(_) => Code::NameTaken,
                OpenError::Plan(_) | OpenError::Descriptor(_) => Code::BadArgument,
                _ => Code::Limit,
            };
            Failure::new(code, format!("The link of guest {} was not opened: {error}.", guest.name))
        })?;
        guest.port = Some(port);
        guest.init_pid = args.init_pid;
        guest.entrance = args.namespaces.iter().cloned().zip(fds).collect();
        Ok(Linked { port: guest.name.as_str().to_owned() })
    }

    /// The guest of that name, for those who may act on it.
    fn guest_of(&self, name: &str, cred: Cred, control: bool) -> Result<&Guest, Failure> {
        let guest = self.guests.iter().find(|(it, _)| it.as_str() == name).map(|(_, guest)| guest);
        // Whether another user's guest exists is not told to those who may not see it.
        guest.filter(|guest| control || guest.cred.uid == cred.uid).ok_or_else(|| {
            let message = format!(
                "There is no guest {name:?} in network {}: `netherd show` lists them.",
                self.config.name
            );
            Failure::new(Code::NoSuchGuest, message)
        })
    }

    /// The call `exec`: for the guest's owner only.
    pub(super) fn exec(&self, name: &str, cred: Cred) -> Result<(Entrance, Vec<OwnedFd>), Failure> {
        let guest = self.guest_of(name, cred, true)?;
        if guest.cred.uid != cred.uid {
            let owner = guest.cred.uid;
            let message = format!("Guest {name} is uid {owner}'s: only its owner may enter it.");
            return Err(Failure::new(Code::NotAllowed, message));
        }
        if guest.entrance.is_empty() {
            let message = format!(
                "Guest {name} cannot be entered: its keeper did not give its namespaces{}.",
                if guest.port.is_none() { " yet" } else { "" }
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
    pub(super) fn detach(
        &mut self,
        worker: &mut Worker,
        name: &str,
        cred: Cred,
        control: bool,
    ) -> Result<(Token, Name, GuestKind), Failure> {
        let guest = self.guest_of(name, cred, control)?;
        let (session, name, kind) = (guest.session, guest.name.clone(), guest.kind);
        self.remove_guest(worker, &name, CloseReason::Requested);
        Ok((session, name, kind))
    }

    /// The guest leaves: its port is closed, its addresses stay planned.
    pub(super) fn remove_guest(&mut self, worker: &mut Worker, name: &Name, why: CloseReason) {
        let Some(guest) = self.guests.remove(name) else { return };
        if let Some(port) = guest.port {
            worker.close_port(self.id, port, why);
        }
        self.plan.leave(name);
        self.plan_file.changed(worker.now());
        log::guest(&format!("Guest {name} left."));
    }

    /// The guest whose session this was, if any.
    pub(super) fn guest_of_session(&self, session: Token) -> Option<Name> {
        let guest = self.guests.values().find(|guest| guest.session == session)?;
        Some(guest.name.clone())
    }
}
