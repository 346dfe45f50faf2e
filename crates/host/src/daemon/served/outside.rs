//! The way out of a network: its router's addresses, its gateway, forwards into guests, and whose addresses are whose.
//!
//! # Theory of operation
//!
//! The worker moves frames (`worker/gateway.rs`); here is decided who has which address:
//!
//! * The router's addresses, and those that stand for the host, are bound to the router's port.
//! * Every address of the plan, and the link-local one of each guest in it, is planned in the engine for the MAC address
//!   that it belongs to, so that nobody else can take it while its guest is away, and bound to the guest's port while it
//!   is here.
//! * The gateway knows guests by their names, for the zone of the network, for DHCP, and for forwards.
//!
//! Forwards ([`OpenForward`]) are the configuration's, a guest's, which end with it, or made by the call `publish`.

use std::net::{IpAddr, Ipv6Addr};

use engine::bindings::{Address, BindingSource, Lifetime};
use engine::router::{InterfaceSpec, Route, Via};
use engine::{NetworkPlan, PortId};
use gateway::{Gateway, GatewayPlan, GuestAddresses, PublishId};
use ipnet::{IpNet, Ipv6Net};

use super::Served;
use crate::address::{Assignment, Declared, MTU_IPV6, Plan, zone};
use crate::api::message::{Code, Failure, Nothing};
use crate::config::{self, Forward, Outside, outside};
use crate::daemon::reload::rewire;
use crate::daemon::{Daemon, ServeError};
use crate::log;
use crate::names::{self, Name};
use crate::worker::{NetworkId, Worker};

/// Smallest MTU with which a network has a gateway: what every IPv4 host takes (RFC 791 section 3.1), in bytes.
const MTU_GATEWAY: u16 = 576;

/// Whose a forward is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::daemon) enum Publisher {
    Configuration,
    Guest(Name),
    Call,
}

impl Publisher {
    pub(in crate::daemon) fn name(&self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Guest(_) => "guest",
            Self::Call => "call",
        }
    }
}

/// A forward that the gateway has open.
#[derive(Debug, Clone)]
pub(in crate::daemon) struct OpenForward {
    pub(in crate::daemon) forward: Forward,
    pub(in crate::daemon) id: PublishId,
    pub(in crate::daemon) by: Publisher,
}

/// The plan of the engine, with what its guards have to know of the addresses.
pub(in crate::daemon) fn network_plan(config: &config::Network, plan: &Plan) -> NetworkPlan {
    let mut spec = config.plan.spec().clone();
    if config.outside.uplink.plans_addresses() {
        spec.guard.subnet = Some(plan.subnet());
        spec.guard.first_come = Some(plan.first_come());
        if config.outside.services.advertise {
            spec.guard.announced = Ipv6Net::new(plan.prefix(), 64).into_iter().collect();
        }
    }
    // The prefixes are those of nets, so they are prefixes.
    NetworkPlan::validate(spec).unwrap_or_else(|_| config.plan.clone())
}

/// The declared ports, as the plan of addresses has to know them.
pub(in crate::daemon) fn declared(config: &config::Network) -> Vec<Declared> {
    let planned = |port: &config::Port| {
        let mac = *port.spec.macs.first()?;
        Some(Declared { name: port.name.clone(), mac, ipv4: port.ipv4.first().copied() })
    };
    config.ports.iter().filter_map(planned).collect()
}

/// Where the router stands in the network; `None` where there is none.
pub(in crate::daemon) fn interface(config: &config::Network, plan: &Plan) -> Option<InterfaceSpec> {
    let Outside { uplink, gateway, routed, .. } = &config.outside;
    if !config.outside.has_router() {
        return None;
    }
    let mtu = config.plan.spec().mtu;
    let ipv6 = mtu >= MTU_IPV6;
    let mut spec = InterfaceSpec {
        mac: names::gateway_mac(&config.name),
        mtu,
        link_local: ipv6,
        gateway: gateway_plan(config, plan, &config.name).is_some(),
        discovery: answers_discovery(config),
        outside: uplink.is_nat() && mtu >= MTU_GATEWAY,
        routed: *routed,
        // What two ports may not tell each other, they may not tell each other by way of the router.
        hairpin: !config
            .ports
            .iter()
            .any(|port| port.spec.isolated || port.spec.community.is_some()),
        ..InterfaceSpec::default()
    };
    if uplink.plans_addresses() {
        spec.v4.push((plan.gateway(), plan.subnet().prefix_len()));
        spec.extra.push(plan.host().into());
        if ipv6 {
            spec.v6.push((plan.gateway_ipv6(), 64));
            spec.extra.push(plan.host_ipv6().into());
        }
    }
    for net in gateway {
        match net {
            IpNet::V4(net) => spec.v4.push((net.addr(), net.prefix_len())),
            IpNet::V6(net) if ipv6 => spec.v6.push((net.addr(), net.prefix_len())),
            IpNet::V6(_) => {}
        }
    }
    Some(spec)
}

/// Whether multicast DNS and LLMNR of guests are answered by the network.
fn answers_discovery(config: &config::Network) -> bool {
    config.plan.spec().guard.mdns == engine::MdnsPolicy::Proxy
}

/// What the network's gateway is to do; `None` where it has nothing to do.
pub(in crate::daemon) fn gateway_plan(
    config: &config::Network,
    plan: &Plan,
    zone: &Name,
) -> Option<GatewayPlan> {
    let Outside { uplink, services, resolvers, allow_host, .. } = &config.outside;
    let mtu = config.plan.spec().mtu;
    let mdns = answers_discovery(config);
    let useful = uplink.is_nat() || mdns || *services != outside::Services::NONE;
    if !uplink.plans_addresses() || !useful || mtu < MTU_GATEWAY {
        return None;
    }
    let prefix = Ipv6Net::new(plan.prefix(), 64).ok().filter(|_| mtu >= MTU_IPV6);
    let mac = names::gateway_mac(&config.name);
    Some(GatewayPlan {
        mtu,
        nat: uplink.is_nat(),
        dhcp: services.dhcp,
        advertise: services.advertise,
        dhcpv6: services.dhcpv6,
        dns: services.dns,
        mdns,
        // Who names resolvers for a network without a way out wants them to be asked.
        outside_names: *uplink != outside::Uplink::None || !resolvers.is_empty(),
        resolvers: resolvers.clone(),
        allow_host: allow_host.clone(),
        ..GatewayPlan::new(zone.as_str(), mac, Some(plan.subnet()), prefix)
    })
}

pub(in crate::daemon) fn static_route(
    worker: &Worker,
    id: NetworkId,
    route: &outside::Route,
) -> Result<Route, ServeError> {
    let via = match route.via {
        outside::Via::Unreachable => Via::Unreachable,
        outside::Via::Prohibit => Via::Prohibit,
        outside::Via::Station(addr) => {
            let iface = worker.interface(id).ok_or_else(|| {
                let why = "it has no router; give it the key `gateway`";
                ServeError::Config(format!("The route to {} needs a router: {why}.", route.to))
            })?;
            Via::NextHop { iface, addr }
        }
    };
    Ok(Route::new(route.to, via))
}

/// The router's own addresses, and those that stand for the host, belong to the router's port.
pub(in crate::daemon) fn bind_router(
    worker: &mut Worker,
    id: NetworkId,
    config: &config::Network,
    plan: &Plan,
) {
    let Some(port) = worker.router_port(id) else { return };
    let Some(spec) = interface(config, plan) else { return };
    for address in own_addresses(&spec) {
        bind(worker, id, port, address.into(), BindingSource::Configuration);
    }
}

/// All addresses of an interface of the router, and those that stand for the host.
pub(in crate::daemon) fn own_addresses(spec: &InterfaceSpec) -> Vec<IpAddr> {
    let own = spec.v4.iter().map(|(address, _)| IpAddr::V4(*address));
    let own = own.chain(spec.v6.iter().map(|(address, _)| IpAddr::V6(*address)));
    let link_local = spec.link_local.then(|| IpAddr::V6(link_local(spec.mac)));
    own.chain(spec.extra.iter().copied()).chain(link_local).collect()
}

/// The link-local address of a MAC address: modified EUI-64 (RFC 4291 appendix A).
fn link_local(mac: wire::MacAddr) -> Ipv6Addr {
    names::ipv6_address(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), mac)
}

/// Keeps all addresses of the plan for those they are planned for.
pub(in crate::daemon) fn plan_addresses(worker: &mut Worker, id: NetworkId, plan: &Plan) {
    for (_, guest) in plan.guests() {
        plan_guest(worker, id, guest);
    }
}

/// Ends that.
pub(in crate::daemon) fn unplan_addresses(worker: &mut Worker, id: NetworkId, plan: &Plan) {
    for (_, guest) in plan.guests() {
        unplan_guest(worker, id, guest);
    }
}

/// Keeps the addresses of one guest for it.
pub(in crate::daemon) fn plan_guest(worker: &mut Worker, id: NetworkId, guest: &Assignment) {
    let engine = worker.engine_mut(id);
    for address in addresses(guest) {
        if let Err(why) = engine.plan_address(address, guest.mac) {
            log::warn(&format!("{address} cannot be kept for its guest: {why}."));
        }
    }
}

/// Ends that.
pub(in crate::daemon) fn unplan_guest(worker: &mut Worker, id: NetworkId, guest: &Assignment) {
    for address in addresses(guest) {
        worker.engine_mut(id).unplan_address(address);
    }
}

/// The addresses that are a guest's: those that it is told, and the link-local one that its stack makes of its MAC
/// address, which follows from its name, so that anybody can compute it before the guest comes.
pub(in crate::daemon) fn addresses(guest: &Assignment) -> [IpAddr; 3] {
    [guest.ipv4.into(), guest.ipv6.into(), link_local(guest.mac).into()]
}

/// Binds an address to a port for as long as that lives. What is wrong is logged: a guest that is told its address and
/// cannot use it has to be able to find out why.
pub(super) fn bind(
    worker: &mut Worker,
    id: NetworkId,
    port: PortId,
    address: Address,
    source: BindingSource,
) {
    if let Err(why) = worker.bind(id, port, address, Lifetime::Forever, source) {
        log::warn(&format!("{address} is not bound to its port: {why}."));
    }
}

/// The port of a guest, or a declared one, is here with the addresses that are planned for it.
pub(in crate::daemon) fn bind_guest(
    worker: &mut Worker,
    id: NetworkId,
    name: &Name,
    guest: &Assignment,
    port: PortId,
) {
    for address in addresses(guest) {
        bind(worker, id, port, address.into(), BindingSource::Plan);
    }
    introduce(worker, id, name, guest, Some(port));
}

/// Tells the gateway where the addresses of a name are.
pub(in crate::daemon) fn introduce(
    worker: &mut Worker,
    id: NetworkId,
    name: &Name,
    guest: &Assignment,
    port: Option<PortId>,
) {
    let addresses = GuestAddresses {
        key: port.map(|port| worker.guest_key(id, port)),
        mac: Some(guest.mac),
        v4: Some(guest.ipv4),
        v6: Some(guest.ipv6).filter(|_| worker.engine(id).network().mtu >= MTU_IPV6),
    };
    worker.with_gateway(id, |gateway, _, _| gateway.set_guest(name.as_str(), addresses));
}

impl Daemon {
    /// Tells every gateway which prefixes are inside, and how many gateways there are: to be called when networks,
    /// routes or gateways have come or gone.
    pub(in crate::daemon) fn join_networks(&self, worker: &mut Worker) {
        // Those without a way out have no flows, but for questions to the network's own services.
        let has_flows = |network: &&Served| {
            worker.gateway(network.id).is_some_and(|gateway| gateway.plan().nat)
        };
        let gateways = self.networks.iter().filter(has_flows).count();
        for network in &self.networks {
            network.tell_around(worker, gateways);
        }
    }
}

impl Served {
    /// Opens the way out of a network that was just added to the worker.
    ///
    /// # Errors
    /// A sentence; what is open by then ends when the network is withdrawn.
    pub(super) fn open_outside(&mut self, worker: &mut Worker) -> Result<(), ServeError> {
        let (id, config, plan) = (self.id, &self.config, &self.plan);
        rewire::check(config, plan)?;
        plan_addresses(worker, id, plan);
        let wrong = |why: &dyn std::fmt::Display| {
            ServeError::Config(format!("Network {} cannot have its router: {why}.", config.name))
        };
        let Some(spec) = interface(config, plan) else { return Ok(()) };
        worker.open_router(id, spec).map_err(|why| wrong(&why))?;
        bind_router(worker, id, config, plan);
        match gateway_plan(config, plan, &self.zone) {
            Some(plan) => worker.open_gateway(id, plan).map_err(|why| {
                ServeError::Config(format!(
                    "Network {} cannot have its gateway: {why}.",
                    config.name
                ))
            })?,
            None if config.plan.spec().mtu < MTU_GATEWAY => log::warn(&format!(
                "Network {} has no gateway and no services: its MTU is below {MTU_GATEWAY}.",
                config.name
            )),
            None => {}
        }
        for route in &config.outside.routes {
            let added = static_route(worker, id, route)?;
            worker.add_route(added).map_err(|why| wrong(&why))?;
            self.routed.push(route.to);
        }
        for (name, guest) in plan.guests().filter(|(_, guest)| guest.is_declared()) {
            introduce(worker, id, name, guest, None);
        }
        Ok(())
    }

    /// The gateway, for changes.
    pub(in crate::daemon) fn gateway<T>(
        &self,
        worker: &mut Worker,
        change: impl FnOnce(&mut Gateway) -> T,
    ) -> Result<T, Failure> {
        worker.with_gateway(self.id, |gateway, _, _| change(gateway)).ok_or_else(|| {
            let message = format!(
                "Network {} has no gateway (uplink {:?}): set its `uplink` to \"nat\".",
                self.config.name,
                self.config.outside.uplink.to_string()
            );
            Failure::new(Code::WrongState, message)
        })
    }

    /// Opens a forward.
    ///
    /// # Errors
    /// A sentence: there is no way in, the port is taken, or this user may not have it.
    pub(in crate::daemon) fn publish(
        &mut self,
        worker: &mut Worker,
        forward: Forward,
        by: Publisher,
    ) -> Result<(), Failure> {
        self.check_publish()?;
        if let Some(other) = self.forwards.iter().find(|other| other.forward.collides(&forward)) {
            let message = format!(
                "{forward} cannot be forwarded: {} already uses that port of the host: choose another.",
                other.forward
            );
            return Err(Failure::new(Code::PortTaken, message));
        }
        let id = self.gateway(worker, |gateway| gateway.publish(forward.spec()))?;
        let id = id.map_err(|why| {
            Failure::new(Code::PortTaken, format!("{forward} cannot be forwarded: {why}."))
        })?;
        self.forwards.push(OpenForward { forward, id, by });
        Ok(())
    }

    /// Ends the forwards that `which` is about; how many.
    pub(in crate::daemon) fn unpublish(
        &mut self,
        worker: &mut Worker,
        which: impl Fn(&OpenForward) -> bool,
    ) -> usize {
        let (gone, kept): (Vec<_>, Vec<_>) = self.forwards.drain(..).partition(|it| which(it));
        self.forwards = kept;
        for published in &gone {
            worker.with_gateway(self.id, |gateway, _, _| gateway.unpublish(published.id));
        }
        gone.len()
    }

    /// Opens all forwards at a gateway that has none yet. What cannot be had any more is logged.
    pub(in crate::daemon) fn publish_again(&mut self, worker: &mut Worker) {
        for OpenForward { forward, by, .. } in std::mem::take(&mut self.forwards) {
            if let Err(failure) = self.publish(worker, forward, by) {
                log::error(&failure.message);
            }
        }
    }

    /// The call `allow-host`.
    pub(in crate::daemon) fn allow_host(
        &self,
        worker: &mut Worker,
        port: &str,
        guest: Option<&str>,
    ) -> Result<Nothing, Failure> {
        self.check_allow_host()?;
        let port = port.parse().map_err(|why: gateway::HostPortError| {
            Failure::new(Code::BadArgument, format!("{why}."))
        })?;
        let port_of_guest = self.port_of(worker, guest, None)?;
        let key = port_of_guest.map(|port| worker.guest_key(self.id, port));
        self.gateway(worker, |gateway| gateway.allow_host(key, port))?;
        Ok(Nothing {})
    }

    /// The forwards of the configuration.
    ///
    /// # Errors
    /// A sentence about the first that cannot be had.
    pub(in crate::daemon) fn publish_configured(
        &mut self,
        worker: &mut Worker,
    ) -> Result<(), ServeError> {
        for forward in self.config.outside.publish.clone() {
            self.publish(worker, forward, Publisher::Configuration).map_err(|failure| {
                ServeError::Config(format!("Network {}: {}", self.config.name, failure.message))
            })?;
        }
        Ok(())
    }

    /// What is inside for the gateway beside its own network: the prefixes of other networks that it is routed to,
    /// and those behind static routes and guests. And with how many gateways it shares the descriptors.
    fn tell_around(&self, worker: &mut Worker, gateways: usize) {
        let Some(own) = worker.interface(self.id) else { return };
        let router = worker.router();
        // What the router would refuse to forward from here is not announced here either.
        let routed = |iface| router.interface(iface).is_some_and(|spec| spec.routed);
        let reached = |iface| iface == own || (routed(own) && routed(iface));
        let mut inside: Vec<IpNet> = router
            .routes()
            .filter(|route| route.prefix.prefix_len() > 0)
            .filter(|route| match route.via {
                Via::Interface(iface) => iface != own && reached(iface),
                Via::NextHop { iface, .. } => reached(iface),
                Via::Gateway(_) | Via::Unreachable | Via::Prohibit => false,
            })
            .map(|route| route.prefix)
            .collect();
        inside.sort();
        // What a guest sends there does not come to its gateway, and may come to nobody.
        let mut unanswerable: Vec<IpNet> = router
            .routes()
            .filter(|route| !matches!(route.via, Via::Interface(i) | Via::Gateway(i) if i == own))
            .map(|route| route.prefix)
            .filter(|prefix| !inside.contains(prefix))
            .collect();
        unanswerable.sort();
        let Some(gateway) = worker.gateway(self.id) else { return };
        let now = gateway.plan();
        if (&now.inside, &now.unanswerable, now.gateways) == (&inside, &unanswerable, gateways) {
            return;
        }
        let plan = GatewayPlan { inside, unanswerable, gateways, ..now.clone() };
        let applied = worker.with_gateway(self.id, |gateway, now, _| gateway.apply(now, plan));
        if let Some(Err(why)) = applied {
            log::error(&format!(
                "Network {}: the gateway keeps its old plan: {why}.",
                self.config.name
            ));
        }
    }

    /// The domain of the guests' names.
    pub(in crate::daemon) fn domain(&self) -> String {
        format!("{}.{}", self.zone, zone::TOP)
    }

    /// A port that the configuration declares has a client.
    pub(in crate::daemon) fn declared_opened(&self, worker: &mut Worker, port: PortId, name: &str) {
        let Some(declared) = self.config.ports.iter().find(|port| port.name.as_str() == name)
        else {
            return;
        };
        if let Some(planned) = self.plan.guest(&declared.name).filter(|it| it.is_declared()) {
            bind_guest(worker, self.id, &declared.name, planned, port);
            for address in declared.addresses() {
                bind(worker, self.id, port, address.into(), BindingSource::Configuration);
            }
        }
        self.settle_routes(worker, &self.config);
    }

    /// It has gone.
    pub(in crate::daemon) fn declared_closed(&self, worker: &mut Worker, name: &str) {
        let planned = self.plan.guests().find(|(known, _)| known.as_str() == name);
        if let Some((name, guest)) = planned.filter(|(_, guest)| guest.is_declared()) {
            introduce(worker, self.id, name, guest, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_network_with_a_private_port_sends_no_packet_back_where_it_came_from() {
        for (ports, hairpin) in [
            ("", true),
            ("port.a = {}", true),
            ("port.a = {}\nport.b = { isolated = true }", false),
            ("port.a = {}\nport.b = { community = 1 }", false),
            ("port.a = { community = 1 }\nport.b = { community = 2 }", false),
        ] {
            let text = format!("[network.lab]\n{ports}");
            let checked = config::parse(&text, Path::new("n.toml")).expect("a good one");
            let network = &checked.networks()[0];
            let prefix = names::ipv6_prefix(&network.name);
            let subnet = "10.7.16.0/20".parse().expect("a subnet");
            let plan = Plan::new(network.name.clone(), subnet, prefix);
            let spec = interface(network, &plan).expect("a router");
            assert_eq!(spec.hairpin, hairpin, "{ports}");
        }
    }
}
