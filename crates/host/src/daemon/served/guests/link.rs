//! The call `link`: a port for a guest, what goes with it, and taking that back.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use engine::PortId;
use engine::bindings::{BindingSource, Lifetime};
use engine::router::{Route, Via};
use ipnet::IpNet;
use wire::{MacAddr, OffloadSet};

use super::{Guest, Live};
use crate::address::Assignment;
use crate::api::message::{Code, Failure, LinkArgs, LinkMechanism, Linked, NAMESPACES};
use crate::daemon::served::{Served, outside, with_length, with_length_v6};
use crate::link::{CloseReason, LinkSetup, PortAbout};
use crate::names::Name;
use crate::worker::{OpenError, Token, Worker};

impl Served {
    /// The guest that a session has joined.
    fn joined_by(&self, session: Token) -> Result<&Guest, Failure> {
        self.guest_by_session(session).ok_or_else(|| {
            let message = "This session has no guest: call join first, on the same connection.";
            Failure::new(Code::WrongState, message)
        })
    }

    /// How many descriptors a `link` brings, after a look at its arguments.
    pub(in crate::daemon) fn check_link(
        &self,
        session: Token,
        args: &LinkArgs,
    ) -> Result<usize, Failure> {
        let guest = self.joined_by(session)?;
        if guest.live.is_some() {
            let message = format!("Guest {} already has its link.", guest.name);
            return Err(Failure::new(Code::WrongState, message));
        }
        if args.vnet_hdr_len != 10 && args.vnet_hdr_len != 12 {
            let message = format!("A vnet header has 10 or 12 bytes, not {}.", args.vnet_hdr_len);
            return Err(Failure::new(Code::BadArgument, message));
        }
        for (position, name) in args.namespaces.iter().enumerate() {
            if !NAMESPACES.contains(&name.as_str()) || args.namespaces[..position].contains(name) {
                let message = format!(
                    "{name:?} is not a namespace, or is listed twice: name each at most once, of {}.",
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
        let name = self.joined_by(session)?.name.clone();
        let fd = fds
            .next()
            .ok_or_else(|| Failure::new(Code::BadRequest, "A link comes with its descriptor."))?;
        let offloads = args.offloads.iter().try_fold(OffloadSet::empty(), |set, name| {
            OffloadSet::from_short_name(name).map(|one| set | one).ok_or_else(|| {
                Failure::new(
                    Code::BadArgument,
                    format!("{name:?} is not an offload that a link can have."),
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
    pub(super) fn connect(
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
    pub(super) fn unlink(&mut self, worker: &mut Worker, name: &Name) -> Option<Live> {
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
}
