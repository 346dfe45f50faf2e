//! What is behind the stations that static routes lead through.
//!
//! # Theory of operation
//!
//! A static route says where packets to a prefix go. They are let through, there and back, only if the guard knows that
//! the prefix is behind that port, so it is bound to the port, as the prefix of a guest of `run --route` is:
//!
//! * The port is the one that has the station's address by the configuration or by the plan. An address that is leased,
//!   or that somebody used first, is whoever's came: an administrator who names it has not said who may speak for the
//!   prefix, and taking the address would be enough to do so.
//! * A default route is everything, what is bound to others included, and is bound to nobody.
//! * Two bound prefixes of two ports do not overlap (`engine::bindings`), so of two such routes the second is not bound.
//!
//! What is not bound for one of these reasons is a trouble that `show` tells. Bindings end with their ports; all else
//! is followed by [`Served::settle_routes`], which is called when a port that may be such a station opens, and at the
//! end of a reload. A station that is no port's is outside, and has no guard.

use std::net::IpAddr;

use engine::bindings::{BindingSource, Owner};
use engine::{GuardMode, PortId};
use ipnet::IpNet;

use super::{Served, outside};
use crate::config::{self, outside::Via};
use crate::worker::Worker;

/// Troubles that are told in full.
const MOST: usize = 4;

/// Who has the address of a station.
enum Holder {
    /// No port.
    Nobody,
    /// This one, by the configuration or the plan.
    Given(PortId),
    /// This one, until it goes or somebody else is given the address.
    Came(PortId, BindingSource),
}

/// The prefixes that are behind stations.
fn behind(config: &config::Network) -> impl Iterator<Item = (IpNet, IpAddr)> + '_ {
    config.outside.routes.iter().filter_map(|route| match route.via {
        Via::Station(station) => Some((route.to, station)),
        Via::Unreachable | Via::Prohibit => None,
    })
}

impl Served {
    fn holder(&self, worker: &Worker, station: IpAddr) -> Holder {
        let Some(binding) = worker.engine(self.id).binding_of(station) else {
            return Holder::Nobody;
        };
        let given = binding.planned.is_some() || binding.source >= BindingSource::Plan;
        match binding.port {
            Some(port) if given => Holder::Given(port),
            Some(port) => Holder::Came(port, binding.source),
            None => Holder::Nobody,
        }
    }

    fn bound_to(&self, worker: &Worker, prefix: IpNet) -> Option<PortId> {
        match worker.engine(self.id).owner_of(prefix) {
            Some(Owner::Port(port)) => Some(port),
            _ => None,
        }
    }

    /// Binds what is behind the static routes of `config` to the ports of their stations, as these are now.
    pub(in crate::daemon) fn settle_routes(&self, worker: &mut Worker, config: &config::Network) {
        for (to, station) in behind(config).filter(|(to, _)| to.prefix_len() > 0) {
            let wanted = match self.holder(worker, station) {
                Holder::Given(port) => Some(port),
                Holder::Nobody | Holder::Came(..) => None,
            };
            let has = self.bound_to(worker, to);
            if has == wanted {
                continue;
            }
            if has.is_some() {
                worker.unbind(self.id, to.into());
            }
            if let Some(port) = wanted {
                outside::bind(worker, self.id, port, to.into(), BindingSource::Configuration);
            }
        }
    }

    /// A static route of this network is gone, and what was open through it with it.
    pub(in crate::daemon) fn unbind_route(
        &self,
        worker: &mut Worker,
        route: &config::outside::Route,
    ) {
        if matches!(route.via, Via::Station(_)) {
            worker.unbind(self.id, route.to.into());
        }
    }

    /// Static routes through guarded ports that do not carry what comes back, a sentence each.
    pub(in crate::daemon) fn route_troubles(&self, worker: &Worker) -> Vec<String> {
        let mut troubles = Vec::new();
        let mut left_out = 0;
        for (to, station) in behind(&self.config) {
            let Some(why) = self.route_trouble(worker, to, station) else { continue };
            if troubles.len() < MOST {
                troubles.push(why);
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            troubles.push(format!("{left_out} more routes have the same problem."));
        }
        troubles
    }

    fn route_trouble(&self, worker: &Worker, to: IpNet, station: IpAddr) -> Option<String> {
        let (port, source) = match self.holder(worker, station) {
            Holder::Nobody => return None,
            Holder::Given(port) => (port, None),
            Holder::Came(port, source) => (port, Some(source)),
        };
        let guarded = worker.engine(self.id).port(port)?.guard.mode != GuardMode::Off;
        if !guarded || self.bound_to(worker, to) == Some(port) {
            return None;
        }
        let name = worker.port_about(self.id, port).map_or("?", |about| &about.name);
        let through = format!(
            "The route to {to} leads through port {name}, whose guard drops what comes from there"
        );
        Some(match source {
            Some(source) => format!(
                "{through}: it has the address {station} only by {}. Declare a port with that address, or start the \
                 guest with `run --route`.",
                if source == BindingSource::Lease { "lease" } else { "first use" }
            ),
            None if to.prefix_len() == 0 => format!(
                "{through}: no port can have all addresses. Declare the port with `guard = \"off\"` if it may send \
                 from any."
            ),
            None => format!(
                "{through}: another port or guest has a part of it (`netherd show bindings`). Route only what is \
                 behind this one."
            ),
        })
    }
}
