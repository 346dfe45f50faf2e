//! Prefixes that two networks of one file would have: subnets of their own, and those that they have routes to.
//!
//! One router serves all networks of a hypervisor, so a prefix leads to one place. What is chosen at the start and not in
//! the file is compared when it is applied (`daemon/reload/extent.rs`).

use std::collections::BTreeMap;
use std::ops::Range;

use ipnet::{IpNet, Ipv6Net};
use toml::Spanned;

use super::check::Fault;
use super::{Network, file};
use crate::names::Name;

/// Where one network's prefixes are said.
#[derive(Debug)]
pub(super) struct Places {
    subnet: Option<Range<usize>>,
    prefix: Option<Range<usize>>,
    gateway: Option<Range<usize>>,
    routes: Vec<Range<usize>>,
}

impl Places {
    pub(super) fn of(file: &file::Network) -> Self {
        let routes = file.route.as_ref().map(|routes| routes.get_ref().as_slice());
        Self {
            subnet: file.subnet.as_ref().map(Spanned::span),
            prefix: file.prefix.as_ref().map(Spanned::span),
            gateway: file.gateway.as_ref().map(Spanned::span),
            routes: routes.unwrap_or_default().iter().map(|route| route.to.span()).collect(),
        }
    }
}

/// A prefix of a network's own.
#[derive(Debug)]
struct Own {
    net: IpNet,
    owner: Name,
    /// Its stations are reached by the router.
    routed: bool,
    /// Its addresses are given to guests.
    planned: bool,
}

/// The prefixes of the networks so far.
#[derive(Debug, Default)]
pub(super) struct Claims {
    own: Vec<Own>,
    routes: Vec<(IpNet, Range<usize>, Name)>,
}

impl Claims {
    /// Takes those of another network.
    ///
    /// # Errors
    /// One of its subnets overlaps one of those before it.
    pub(super) fn take(&mut self, network: &Network, places: Places) -> Result<(), Fault> {
        let router = network.outside.uplink.plans_addresses();
        let subnet = network.subnet.map(|net| (IpNet::V4(net), &places.subnet, router, true));
        let prefix = network.prefix.and_then(|prefix| Ipv6Net::new(prefix, 64).ok());
        let prefix = prefix.map(|net| (IpNet::V6(net), &places.prefix, router, true));
        let gateway =
            network.outside.gateway.iter().map(|net| (net.trunc(), &places.gateway, true, false));
        for (net, span, routed, planned) in subnet.into_iter().chain(prefix).chain(gateway) {
            let other = self.own.iter().find(|other| {
                let overlaps = other.net.contains(&net) || net.contains(&other.net);
                let both = (routed && other.routed) || (planned && other.planned);
                overlaps && both && other.owner != network.name
            });
            if let Some(Own { net: other, owner, .. }) = other {
                let why = format!("{net} overlaps {other} of network {owner}; choose another");
                return Err(Fault { span: span.clone(), why });
            }
            self.own.push(Own { net, owner: network.name.clone(), routed, planned });
        }
        let routes = network.outside.routes.iter().zip(places.routes);
        self.routes.extend(routes.map(|(route, span)| (route.to, span, network.name.clone())));
        Ok(())
    }

    /// Whether each route is the only way to its prefix.
    ///
    /// # Errors
    /// The first that is not.
    pub(super) fn check_routes(self) -> Result<(), Fault> {
        let mut known: BTreeMap<IpNet, Name> = BTreeMap::new();
        for (to, span, owner) in self.routes {
            if let Some(own) = self.own.iter().find(|own| own.routed && own.net == to) {
                let why = format!(
                    "{to} belongs to network {} itself, and is reached without a route: leave it out",
                    own.owner
                );
                return Err(Fault { span: Some(span), why });
            }
            if let Some(other) = known.insert(to, owner) {
                let why =
                    format!("network {other} has a route to {to} already: leave one of them out");
                return Err(Fault { span: Some(span), why });
            }
        }
        Ok(())
    }
}
