//! Changing a network's way out while it runs.

use std::net::IpAddr;

use gateway::GatewayPlan;
use ipnet::{Ipv4Net, Ipv6Net};

use crate::address::Plan;
use crate::config::{self, outside};
use crate::daemon::ServeError;
use crate::daemon::served::Served;
use crate::daemon::served::outside::{
    addresses, bind_guest, bind_router, gateway_plan, interface, introduce, network_plan,
    own_addresses, plan_addresses, static_route, unplan_addresses,
};
use crate::daemon::served::troubles::Subject;
use crate::worker::Worker;

/// Whether the way out makes sense with these addresses.
///
/// # Errors
/// A sentence.
pub(in crate::daemon) fn check(config: &config::Network, plan: &Plan) -> Result<(), ServeError> {
    let spec = interface(config, plan);
    for route in &config.outside.routes {
        let outside::Via::Station(station) = route.via else { continue };
        let near =
            spec.as_ref().is_some_and(|spec| match station {
                IpAddr::V4(station) => spec.v4.iter().any(|(own, len)| {
                    Ipv4Net::new(*own, *len).is_ok_and(|net| net.contains(&station))
                }),
                IpAddr::V6(station) => spec.v6.iter().any(|(own, len)| {
                    Ipv6Net::new(*own, *len).is_ok_and(|net| net.contains(&station))
                }),
            });
        if spec.as_ref().is_some_and(|spec| own_addresses(spec).contains(&station)) {
            return Err(ServeError::Config(format!(
                "Network {}: the route to {} leads through {station}, which is the network's own router: give another \
                 station.",
                config.name, route.to
            )));
        }
        if !near {
            return Err(ServeError::Config(format!(
                "Network {}: the route to {} leads through {station}, which is in no subnet of the network's router.",
                config.name, route.to
            )));
        }
    }
    Ok(())
}

impl Served {
    /// Changes the way out to what `config` says, with the addresses of `plan` if they are others; a sentence for each
    /// thing that is another now. The configuration was checked.
    pub(in crate::daemon) fn change_outside(
        &mut self,
        worker: &mut Worker,
        config: &config::Network,
        plan: Option<Plan>,
    ) -> Vec<String> {
        let name = &config.name;
        let mut changes = Vec::new();
        let before = (interface(&self.config, &self.plan), network_plan(&self.config, &self.plan));
        if let Some(plan) = plan {
            if plan.subnet() != self.plan.subnet() || plan.prefix() != self.plan.prefix() {
                changes.push(format!("Network {name} now has the subnet {}.", plan.subnet()));
            }
            self.change_addresses(worker, plan);
        }
        let network = network_plan(config, &self.plan);
        if network != before.1 {
            worker.apply(self.id, network);
        }
        let spec = interface(config, &self.plan);
        if spec != before.0 {
            for address in before.0.iter().flat_map(own_addresses) {
                worker.unbind(self.id, address.into());
            }
            if let Some(spec) = spec {
                match worker.change_router(self.id, spec) {
                    Ok(()) => changes.push(format!("The router of network {name} has changed.")),
                    Err(why) => changes
                        .push(format!("The router of network {name} stays as it was: {why}.")),
                }
            }
            bind_router(worker, self.id, config, &self.plan);
        }
        changes.extend(self.change_gateway(worker, config));
        changes.extend(self.change_routes(worker, config));
        changes
    }

    fn change_addresses(&mut self, worker: &mut Worker, plan: Plan) {
        // What ends is to end in every VLAN, as it was planned: so it ends before the plan does.
        for (name, had) in self.plan.guests() {
            let has = plan.guest(name);
            if has.is_some_and(|has| has.ipv4 == had.ipv4 && has.mac == had.mac) {
                continue;
            }
            for address in addresses(had) {
                worker.unbind(self.id, address.into());
            }
            worker.with_gateway(self.id, |gateway, _, _| gateway.remove_guest(name.as_str()));
            worker.engine_mut(self.id).unreserve_mac(had.mac);
            if let Some(has) = has {
                worker.engine_mut(self.id).reserve_mac(has.mac);
            }
        }
        unplan_addresses(worker, self.id, &self.plan);
        self.plan = plan;
        self.kept.plan_changed(worker.now());
        plan_addresses(worker, self.id, &self.plan);
        for (name, guest) in self.plan.guests().filter(|(_, guest)| guest.is_declared()) {
            match worker.port_named(self.id, name.as_str()) {
                Some(port) => bind_guest(worker, self.id, name, guest, port),
                None => introduce(worker, self.id, name, guest, None),
            }
        }
    }

    fn change_gateway(&mut self, worker: &mut Worker, config: &config::Network) -> Option<String> {
        let name = &config.name;
        let now = worker.gateway(self.id).map(|gateway| gateway.plan().clone());
        let wanted = gateway_plan(config, &self.plan, &self.zone);
        match (wanted, now) {
            (Some(wanted), Some(now)) => {
                let (inside, unanswerable) = (now.inside.clone(), now.unanswerable.clone());
                let wanted = GatewayPlan { inside, unanswerable, gateways: now.gateways, ..wanted };
                if wanted == now {
                    return None;
                }
                if (wanted.dns, &wanted.resolvers) != (now.dns, &now.resolvers) {
                    // What was said about others is over.
                    self.troubles.well(&Subject::Gateway(gateway::Subject::Names));
                }
                let applied =
                    worker.with_gateway(self.id, |gateway, now, _| gateway.apply(now, wanted));
                Some(match applied {
                    Some(Err(why)) => {
                        format!("The gateway of network {name} stays as it was: {why}.")
                    }
                    _ => format!("The gateway of network {name} has changed."),
                })
            }
            (Some(wanted), None) => Some(match worker.open_gateway(self.id, wanted) {
                Ok(()) => {
                    self.fill_gateway(worker, config);
                    format!("Network {name} now has a gateway.")
                }
                Err(why) => format!("Network {name} has no gateway: {why}."),
            }),
            (None, Some(_)) => {
                // For the gateway that may come again.
                self.finish_leases(worker);
                worker.close_gateway(self.id);
                self.troubles.without_gateway();
                Some(format!("Network {name} no longer has a gateway."))
            }
            (None, None) => None,
        }
    }

    /// Tells a gateway that was just opened what one has that was here from the beginning: the guests, the leases that
    /// are kept, the forwards.
    fn fill_gateway(&mut self, worker: &mut Worker, config: &config::Network) {
        for (name, guest) in self.plan.guests() {
            let joined = self.guests.get(name).filter(|_| config.outside.guests_planned);
            let port = match joined {
                Some(joined) => joined.port(),
                None if guest.is_declared() => worker.port_named(self.id, name.as_str()),
                None => continue,
            };
            introduce(worker, self.id, name, guest, port);
        }
        self.load_leases(worker);
        self.publish_again(worker);
    }

    /// Removes the routes that `config` does not have.
    pub(in crate::daemon) fn drop_routes(&mut self, worker: &mut Worker, config: &config::Network) {
        let wanted = &config.outside.routes;
        for route in self.config.outside.routes.iter().filter(|route| !wanted.contains(route)) {
            // One that was never added may be another network's by now.
            if let Some(at) = self.routed.iter().position(|to| *to == route.to) {
                self.routed.swap_remove(at);
                worker.remove_route(route.to);
            }
            self.unbind_route(worker, route);
        }
    }

    /// Adds those that it has anew; a sentence for each that is another now. They were checked.
    fn change_routes(&mut self, worker: &mut Worker, config: &config::Network) -> Vec<String> {
        let (had, wanted) = (&self.config.outside.routes, &config.outside.routes);
        let mut changes = Vec::new();
        for route in had.iter().filter(|route| !wanted.contains(route)) {
            changes.push(format!("Network {} no longer has a route to {}.", config.name, route.to));
        }
        for route in wanted.iter().filter(|route| !had.contains(route)) {
            let added = static_route(worker, self.id, route)
                .map_err(|error| error.to_string())
                .and_then(|it| worker.add_route(it).map_err(|error| error.to_string()));
            changes.push(match added {
                Ok(()) => {
                    self.routed.push(route.to);
                    format!("Network {} now has a route to {}.", config.name, route.to)
                }
                Err(why) => {
                    format!("Network {} has no route to {}: {why}.", config.name, route.to)
                }
            });
        }
        changes
    }
}
