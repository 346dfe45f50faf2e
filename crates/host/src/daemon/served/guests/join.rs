//! The call `join`: a name, addresses and forwards for a guest, and what it is told of its network.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use engine::MacKind;
use gateway::GatewayPlan;
use gateway::services::dns::of_host;
use ipnet::IpNet;
use wire::MacAddr;

use super::Guest;
use crate::address::{AssignError, Assignment, MTU_IPV6};
use crate::api::message::{Code, Failure, Join, Joined};
use crate::config::outside::DNS;
use crate::config::{self, Forward};
use crate::daemon::caller::Caller;
use crate::daemon::served::outside::{self, Publisher};
use crate::daemon::served::requests::Wishes;
use crate::daemon::served::{RESOLV_CONF, Served, with_length, with_length_v6};
use crate::directory;
use crate::log;
use crate::names::Name;
use crate::worker::{Token, Worker};

/// A guest that may join, but for what its network has no room for.
struct Joining {
    name: Name,
    /// The address that it or its network chose.
    mac: Option<MacAddr>,
    wishes: Wishes,
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

/// The resolvers that guests ask themselves where the network has no name server: those of the configuration, else the
/// host's. What a guest cannot ask is left out: its `resolv.conf` knows no ports, and no interfaces but its own, and
/// without a way out, or at its loopback address, the host's are not there for it.
pub(super) fn asked_by_guests(
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
        if let Some(guest) = self.guest_by_session(session) {
            let message =
                format!("This session belongs to guest {}: open another one.", guest.name);
            return Err(Failure::new(Code::WrongState, message));
        }
        let Joining { name, mac, wishes } = self.prepare_join(worker, caller, args, behind)?;
        self.publish_all(worker, &name, &wishes.publish)?;
        let before = self.plan.guest(&name).cloned();
        let assigned = if args.resume {
            self.plan.resume(&name, caller.uid(), mac)
        } else {
            self.plan.assign(&name, caller.uid(), mac)
        };
        let assigned = match assigned {
            Ok(assigned) => assigned,
            Err(why) => {
                self.unpublish_guest(worker, &name);
                return Err(why.into());
            }
        };
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
        self.kept.plan_changed(worker.now());
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

    /// What a guest that joins is called and asks for, if it may have that; nothing is changed.
    ///
    /// # Errors
    /// A sentence about the first that it may not have.
    fn prepare_join(
        &self,
        worker: &Worker,
        caller: Caller,
        args: &Join,
        behind: &[IpNet],
    ) -> Result<Joining, Failure> {
        let mac = match &args.mac {
            Some(text) => Some(text.parse::<MacAddr>().map_err(|_| {
                let message = format!(
                    "{text:?} is not a MAC address: give six bytes, such as 02:00:5e:00:53:01."
                );
                Failure::new(Code::BadArgument, message)
            })?),
            None => None,
        };
        if let Some(wanted) = args.uplink.as_deref() {
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
        // Whose name is taken is told so, whatever else he asks for; and forwards are taken back by the name alone.
        self.plan.check_name(&name, caller.uid(), args.resume)?;
        self.check_routes(worker, &wishes.routes, behind)?;
        Ok(Joining { name, mac, wishes })
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

    pub(super) fn unpublish_guest(&mut self, worker: &mut Worker, name: &Name) {
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
            Failure::new(Code::BadArgument, format!("{text:?} is not a valid guest name: {why}."))
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
}
