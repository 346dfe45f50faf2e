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

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use engine::bindings::{BindingSource, Lifetime};
use engine::router::{Route, Via};
use engine::{FIRST_COME_MAX, FirstCome, GuardMode, MacKind, PortId, PortSpec, SourceMode};
use gateway::GatewayPlan;
use gateway::services::dns::of_host;
use ipnet::IpNet;
use sys::Cred;
use wire::{MacAddr, OffloadSet};

use super::outside::{self, Publisher};
use super::troubles::Subject;
use super::wishes::Wishes;
use super::{RESOLV_CONF, Served, with_length, with_length_v6};
use crate::address::{AssignError, Assignment, MTU_IPV6};
use crate::api::message::{
    Code, Entrance, Failure, GuestKind, Join, Joined, LinkArgs, LinkMechanism, Linked, NAMESPACES,
};
use crate::config::outside::DNS;
use crate::config::{self, Forward};
use crate::daemon::caller::Caller;
use crate::directory;
use crate::link::{CloseReason, LinkSetup, PortAbout};
use crate::log;
use crate::names::Name;
use crate::worker::{OpenError, Token, Worker};

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

impl From<AssignError> for Failure {
    fn from(error: AssignError) -> Self {
        let code = match error {
            AssignError::Present(_) | AssignError::Expected(_) | AssignError::OtherUser { .. } => {
                Code::NameTaken
            }
            AssignError::MacTaken { .. } | AssignError::BadMac(_) => Code::BadArgument,
            AssignError::AddressTaken { .. } => Code::BadConfiguration,
            AssignError::Full | AssignError::UserFull => Code::Limit,
        };
        Self::new(code, error.to_string())
    }
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
        let first_come = FirstCome::default();
        spec.guard.first_come = FirstCome {
            v4: wishes.macs.min(FIRST_COME_MAX),
            v6: wishes.macs.saturating_mul(first_come.v6).min(FIRST_COME_MAX),
        };
    }
    spec
}

/// The resolvers that guests ask themselves where the network has no name server: those of the configuration, else the
/// host's. What a guest cannot ask is left out: its `resolv.conf` knows no ports, and no interfaces but its own, and
/// without a way out, or at its loopback address, the host's are not there for it.
fn asked_by_guests(
    plan: &GatewayPlan,
    host: impl FnOnce() -> std::io::Result<Vec<SocketAddr>>,
) -> Vec<IpAddr> {
    let usable = |resolver: &SocketAddr| {
        let near = match resolver.ip() {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        resolver.port() == DNS && !near
    };
    let resolvers = match plan.resolvers.as_slice() {
        [] if plan.nat => host().unwrap_or_default(),
        configured => configured.to_vec(),
    };
    resolvers.iter().filter(|it| usable(it)).map(SocketAddr::ip).collect()
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
    /// The call `join`. `behind` is what is behind guests of all networks.
    pub(in crate::daemon) fn join(
        &mut self,
        worker: &mut Worker,
        session: Token,
        caller: Caller,
        args: &Join,
        behind: &[IpNet],
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
        if let Some(wanted) = args.uplink.as_deref().filter(|_| !args.resume) {
            self.check_uplink(wanted)?;
        }
        let name = self.name_for(worker, caller, args)?;
        if let Some(mac) = mac {
            self.check_mac(worker, &name, mac, caller)?;
        }
        let mac = mac.or_else(|| self.outside_mac(&name));
        let wishes = Wishes::read(args, &name, caller)?;
        if !wishes.allow_host.is_empty() {
            self.check_allow_host()?;
        }
        self.check_routes(worker, &wishes.routes, behind)?;
        let before = self.plan.guest(&name).cloned();
        let plan = self.plan.clone();
        let assigned = if args.resume {
            self.plan.resume(&name, caller.uid(), mac)?
        } else {
            self.plan.assign(&name, caller.uid(), mac)?
        };
        if let Err(failure) = self.publish_all(worker, &name, &wishes.publish) {
            // As if it had never asked: also who had to make room keeps it.
            self.plan = plan;
            return Err(failure);
        }
        let gone = assigned.evicted.iter().map(|(_, guest)| guest);
        let gone = gone.chain(before.iter().filter(|_| assigned.previous_mac.is_some()));
        let planned = self.config.outside.guests_planned;
        for gone in gone {
            if planned {
                outside::unplan_guest(worker, self.id, gone);
            }
            worker.engine_mut(self.id).unreserve_mac(gone.mac);
        }
        if planned {
            outside::plan_guest(worker, self.id, &assigned.assignment);
            outside::introduce(worker, self.id, &name, &assigned.assignment, None);
        }
        let engine = worker.engine_mut(self.id);
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
            cred: caller.cred,
            kind: args.kind,
            session,
            live: None,
            init_pid: None,
            wishes,
            entrance: Vec::new(),
        };
        self.guests.insert(name.clone(), guest);
        log::guest(&format!("Guest {name} joined ({}).", caller.cred));
        Ok(self.joined(worker, &name, &assigned.assignment, covers, caller))
    }

    fn joined(
        &self,
        worker: &Worker,
        name: &Name,
        addresses: &Assignment,
        covers: Vec<PathBuf>,
        caller: Caller,
    ) -> Joined {
        let mut joined = Joined {
            network: self.config.name.as_str().to_owned(),
            guest: name.as_str().to_owned(),
            mac: addresses.mac.to_string(),
            ipv4: with_length(&self.plan, addresses.ipv4),
            ipv6: with_length_v6(addresses.ipv6),
            mtu: self.config.plan.spec().mtu,
            covers,
            restart: self.restart(caller),
            domains: self.around.taken_domains(self.domain()),
            occupied: self.around.occupied(&self.plan),
            ..Joined::default()
        };
        let interface =
            worker.interface(self.id).and_then(|iface| worker.router().interface(iface));
        if let Some(interface) = interface {
            joined.gateway4 = interface.v4.first().map(|(address, _)| *address);
            joined.gateway6 = interface.v6.first().map(|(address, _)| *address);
        }
        if !self.config.outside.guests_planned {
            // The segment's own servers say.
            joined.ipv4.clear();
            joined.ipv6.clear();
        } else if !self.plans_ipv6() {
            joined.ipv6.clear();
        }
        let is_default6 = |route: &config::outside::Route| {
            route.to.prefix_len() == 0 && route.to.addr().is_ipv6()
        };
        joined.outside6 = self.config.outside.routes.iter().any(is_default6);
        let Some(gateway) = worker.gateway(self.id) else { return joined };
        let plan = gateway.plan();
        joined.outside6 |= plan.nat && gateway.status().outside_v6;
        if plan.dns {
            joined.resolvers.extend(plan.gateway4().map(IpAddr::V4));
            joined.resolvers.extend(plan.gateway6().map(IpAddr::V6));
            // Behind its own, those of the networks around: an outer guest has its bare name here as well.
            joined.search = self.around.taken_domains(self.domain());
        } else {
            joined.resolvers = asked_by_guests(plan, || of_host(RESOLV_CONF.as_ref()));
        }
        if plan.nat {
            joined.host4 = plan.host4();
            joined.host6 = plan.host6();
        }
        joined
    }

    /// Opens the forwards that a guest asked for, all or none.
    fn publish_all(
        &mut self,
        worker: &mut Worker,
        name: &Name,
        forwards: &[Forward],
    ) -> Result<(), Failure> {
        for forward in forwards {
            let by = Publisher::Guest(name.clone());
            if let Err(failure) = self.publish(worker, forward.clone(), by) {
                self.unpublish_guest(worker, name);
                return Err(failure);
            }
        }
        Ok(())
    }

    fn unpublish_guest(&mut self, worker: &mut Worker, name: &Name) {
        let by = Publisher::Guest(name.clone());
        self.unpublish(worker, |published| published.by == by);
    }

    /// Whether guests are given IPv6 addresses: where the segment is not the network's own, only of a configured
    /// prefix, and never where frames are too short for IPv6.
    pub(in crate::daemon) fn plans_ipv6(&self) -> bool {
        let outside = &self.config.outside;
        let planned = outside.guests_planned
            && (outside.uplink.plans_addresses() || self.config.prefix.is_some());
        planned && self.config.plan.spec().mtu >= MTU_IPV6
    }

    fn name_for(&self, worker: &Worker, caller: Caller, args: &Join) -> Result<Name, Failure> {
        let is_port = |name: &Name| {
            self.is_declared(name.as_str()) || worker.port_named(self.id, name.as_str()).is_some()
        };
        let Some(text) = &args.guest else {
            let base = Name::from_command(&args.command);
            return self.plan.free_name(&base, caller.uid(), is_port).ok_or_else(|| {
                let message = format!("No name like {base} is free: choose one with --name.");
                Failure::new(Code::Limit, message)
            });
        };
        let name = Name::of_guest(text).map_err(|why| {
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
        caller: Caller,
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
        if !caller.is_owner() && !mac.is_local() {
            return refuse("is not locally administered (bit 1 of its first byte)".to_owned());
        }
        Ok(())
    }

    /// How many descriptors a `link` brings, after a look at its arguments.
    pub(in crate::daemon) fn check_link(
        &self,
        session: Token,
        args: &LinkArgs,
    ) -> Result<usize, Failure> {
        let Some(guest) = self.guests.values().find(|guest| guest.session == session) else {
            let message = "This session has no guest: call join first, on the same connection.";
            return Err(Failure::new(Code::WrongState, message));
        };
        if guest.live.is_some() {
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
    pub(in crate::daemon) fn link(
        &mut self,
        worker: &mut Worker,
        session: Token,
        args: &LinkArgs,
        fds: Vec<OwnedFd>,
    ) -> Result<Linked, Failure> {
        let mut fds = fds.into_iter();
        let (Some(name), Some(fd)) = (self.guest_of_session(session), fds.next()) else {
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
        let setup = match args.link {
            LinkMechanism::Tap => LinkSetup::Tap { fd, offloads, vnet_hdr_len: args.vnet_hdr_len },
            LinkMechanism::Packet => LinkSetup::Packet { fd, offloads },
        };
        let mac = self.connect(worker, &name, setup)?;
        if let Some(guest) = self.guests.get_mut(&name) {
            guest.init_pid = args.init_pid;
            guest.entrance = args.namespaces.iter().cloned().zip(fds).collect();
        }
        let note = self.note_on(worker, &name, mac);
        Ok(Linked { port: name.as_str().to_owned(), note })
    }

    /// Opens a guest's port on its link, and puts in place what goes with it; the guest's address.
    ///
    /// # Errors
    /// A sentence; nothing is in place.
    fn connect(
        &mut self,
        worker: &mut Worker,
        name: &Name,
        setup: LinkSetup,
    ) -> Result<MacAddr, Failure> {
        let has_ipv6 = self.plans_ipv6();
        let (Some(guest), Some(planned)) = (self.guests.get_mut(name), self.plan.guest(name))
        else {
            return Err(Failure::new(
                Code::NoSuchGuest,
                "The guest has lost its addresses: join again.",
            ));
        };
        let planned = planned.clone();
        let mut about = PortAbout::new(name.as_str(), setup.kind(), worker.now());
        about.peer = Some(guest.cred);
        if self.config.outside.guests_planned {
            about.ipv4 = vec![with_length(&self.plan, planned.ipv4)];
            if has_ipv6 {
                about.ipv6 = vec![with_length_v6(planned.ipv6)];
            }
        }
        let spec = guest.spec(&self.config, &planned);
        let port = worker.open_link(self.id, spec, setup, about).map_err(|error| {
            let code = match error {
                OpenError::NameTaken(_) => Code::NameTaken,
                OpenError::Plan(_) | OpenError::Descriptor(_) => Code::BadArgument,
                _ => Code::Limit,
            };
            Failure::new(code, format!("The link of guest {name} was not opened: {error}."))
        })?;
        let mac = planned.mac;
        let wishes = guest.wishes.clone();
        guest.live = Some(Live { port, mac, routes: Vec::new() });
        worker.uplink_address(self.id, mac, true);
        if self.config.outside.guests_planned {
            outside::bind_guest(worker, self.id, name, &planned, port);
            self.settle_routes(worker, &self.config);
        }
        let key = worker.guest_key(self.id, port);
        for host_port in &wishes.allow_host {
            worker.with_gateway(self.id, |it, _, _| it.allow_host(Some(key), *host_port));
        }
        for prefix in wishes.routes {
            let routed = self.route_to(worker, &planned, port, prefix);
            match (routed, self.guests.get_mut(name).and_then(|guest| guest.live.as_mut())) {
                (Ok(true), Some(live)) => live.routes.push(prefix),
                (Ok(_), _) => {}
                (Err(failure), _) => {
                    self.unlink(worker, name);
                    worker.close_port(self.id, port, CloseReason::Requested);
                    return Err(failure);
                }
            }
        }
        Ok(mac)
    }

    /// Binds a prefix behind a guest to its port, and routes it there; whether there is a router to do so.
    fn route_to(
        &self,
        worker: &mut Worker,
        guest: &Assignment,
        port: PortId,
        prefix: IpNet,
    ) -> Result<bool, Failure> {
        let Some(iface) = worker.interface(self.id) else { return Ok(false) };
        let refuse = |why: &dyn std::fmt::Display| {
            Failure::new(Code::BadArgument, format!("{prefix} cannot be behind the guest: {why}."))
        };
        let (forever, source) = (Lifetime::Forever, BindingSource::Configuration);
        worker.bind(self.id, port, prefix.into(), forever, source).map_err(|why| refuse(&why))?;
        let addr = match prefix {
            IpNet::V4(_) => IpAddr::V4(guest.ipv4),
            IpNet::V6(_) => IpAddr::V6(guest.ipv6),
        };
        worker
            .add_route(Route::new(prefix, Via::NextHop { iface, addr }))
            .map_err(|why| refuse(&why))?;
        Ok(true)
    }

    /// Takes back what a guest's link put in place; the port, which is returned with it, is closed already or to be
    /// closed.
    fn unlink(&mut self, worker: &mut Worker, name: &Name) -> Option<Live> {
        let live = self.guests.get_mut(name)?.live.take()?;
        for prefix in &live.routes {
            worker.remove_route(*prefix);
        }
        worker.uplink_address(self.id, live.mac, false);
        Some(live)
    }

    /// A port has closed: if it was a guest's, that lives on without a link. Its name, and the session to tell.
    pub(in crate::daemon) fn link_lost(
        &mut self,
        worker: &mut Worker,
        port: PortId,
    ) -> Option<(Name, Token)> {
        let guest = self.guests.values().find(|guest| guest.port() == Some(port))?;
        let (name, session) = (guest.name.clone(), guest.session);
        self.unlink(worker, &name);
        Some((name, session))
    }

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
            let message = format!("Guest {name} is uid {owner}'s: only its owner may enter it.");
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
                "Guest {name} cannot be entered: its keeper did not give its namespaces{}.",
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
        self.plan_file.changed(worker.now());
        log::guest(&format!("Guest {name} left."));
    }

    /// The guest whose session this was, if any.
    pub(in crate::daemon) fn guest_of_session(&self, session: Token) -> Option<Name> {
        let guest = self.guests.values().find(|guest| guest.session == session)?;
        Some(guest.name.clone())
    }
}

#[cfg(test)]
mod tests;
