//! What networks take of the one table of routes, held against each other before any of it is changed.
//!
//! `config/claims.rs` does this for what the file says, with the place in it; here is what was chosen at the start, and
//! what guests brought.

use std::collections::BTreeMap;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::change::Change;
use crate::address::Plan;
use crate::config;
use crate::daemon::served::Served;
use crate::daemon::served::outside::interface;
use crate::daemon::{Daemon, ServeError};
use crate::names::Name;
use crate::worker::NetworkId;

/// One network's part.
#[derive(Debug)]
struct Extent<'a> {
    network: &'a Name,
    /// Subnets of its router: those it has and, in a change, those it is to have.
    connected: Vec<IpNet>,
    /// Static routes.
    routes: Vec<IpNet>,
    /// Prefixes behind guests.
    guests: Vec<IpNet>,
}

impl<'a> Extent<'a> {
    fn of(served: &'a Served, change: Option<&'a Change>) -> Self {
        let mut connected = connected(&served.config, &served.plan);
        let config = change.map_or(&served.config, Change::config);
        if let Some(change) = change {
            connected.extend(self::connected(config, change.plan().unwrap_or(&served.plan)));
        }
        Self {
            network: &served.config.name,
            connected,
            routes: config.outside.routes.iter().map(|route| route.to).collect(),
            guests: served
                .guests
                .values()
                .flat_map(|guest| guest.behind().iter().copied())
                .collect(),
        }
    }
}

fn connected(config: &config::Network, plan: &Plan) -> Vec<IpNet> {
    let Some(spec) = interface(config, plan) else { return Vec::new() };
    let v4 = spec.v4.iter().filter_map(|(own, len)| Ipv4Net::new(*own, *len).ok()).map(IpNet::V4);
    let v6 = spec.v6.iter().filter_map(|(own, len)| Ipv6Net::new(*own, *len).ok()).map(IpNet::V6);
    v4.chain(v6).map(|net| net.trunc()).collect()
}

/// Whether all of them fit into one table.
///
/// # Errors
/// A sentence.
fn check(extents: &[Extent<'_>]) -> Result<(), String> {
    let mut routes: BTreeMap<IpNet, &Name> = BTreeMap::new();
    for (at, extent) in extents.iter().enumerate() {
        let name = extent.network;
        for net in &extent.connected {
            let overlaps = |other: &&IpNet| other.contains(net) || net.contains(*other);
            let others =
                extents[..at].iter().flat_map(|it| it.connected.iter().map(move |net| (it, net)));
            let mut others = others.filter(|(it, _)| it.network != name);
            if let Some((other, hit)) = others.find(|(_, other)| overlaps(other)) {
                return Err(format!(
                    "Network {name}: its {net} overlaps {hit} of network {}: choose another, or change the \
                    networks one after the other.",
                    other.network
                ));
            }
            let mut behind = extents.iter().flat_map(|it| &it.guests);
            if let Some(hit) = behind.find(overlaps) {
                return Err(format!(
                    "Network {name}: its {net} overlaps {hit}, which is behind a guest: choose another."
                ));
            }
        }
        for to in &extent.routes {
            if let Some(other) = extents.iter().find(|it| it.connected.contains(to)) {
                return Err(format!(
                    "Network {name} has a route to {to}, which belongs to network {} itself: leave it out.",
                    other.network
                ));
            }
            if extents.iter().any(|it| it.guests.contains(to)) {
                return Err(format!(
                    "Network {name} has a route to {to}, which is behind a guest: leave it out."
                ));
            }
            if let Some(other) = routes.insert(*to, name) {
                return Err(format!(
                    "Network {name} has a route to {to}, and network {other} has one already: leave one of them out."
                ));
            }
        }
    }
    Ok(())
}

impl Daemon {
    /// Whether the networks, as they are and as they are going to be, fit into one table of routes. `stays` tells which
    /// of those that run are still there then.
    ///
    /// # Errors
    /// A sentence.
    pub(in crate::daemon) fn check_extents(
        &self,
        stays: impl Fn(&Name) -> bool,
        changes: &[(NetworkId, Change)],
        opened: &[Served],
    ) -> Result<(), ServeError> {
        let change = |id| changes.iter().find(|(it, _)| *it == id).map(|(_, change)| change);
        let run = self.networks.iter().filter(|served| stays(&served.config.name));
        let mut extents: Vec<Extent<'_>> =
            run.map(|served| Extent::of(served, change(served.id))).collect();
        extents.extend(opened.iter().map(|served| Extent::of(served, None)));
        check(&extents).map_err(ServeError::Config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_leads_two_ways_is_found() {
        let names: [Name; 2] = ["a", "b"].map(|name| name.parse().expect("a name"));
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect("a prefix")).collect()
        };
        let said = |a: [&[&str]; 3], b: [&[&str]; 3]| {
            let extents = [(&names[0], a), (&names[1], b)].map(|(network, it)| Extent {
                network,
                connected: nets(it[0]),
                routes: nets(it[1]),
                guests: nets(it[2]),
            });
            check(&extents).err().unwrap_or_default()
        };
        let ten: &[&str] = &["10.1.0.0/20"];
        assert_eq!(
            said([ten, &["10.3.0.0/16"], &["10.4.0.0/16"]], [&["10.2.0.0/20"], &[], &[]]),
            ""
        );
        // What a network has and is to have may overlap, and so may ways of another length.
        assert_eq!(
            said(
                [&["10.1.0.0/20", "10.1.0.0/16"], &["10.0.0.0/8"], &[]],
                [&[], &["10.2.0.0/16"], &[]]
            ),
            ""
        );
        for (a, b, why) in [
            ([ten, &[], &[]], [&["10.1.0.0/16"], &[], &[]], "overlaps 10.1.0.0/20 of network a"),
            ([ten, &[], &[]], [&["fd00::/64"], ten, &[]], "belongs to network a itself"),
            ([&[], ten, &[]], [ten, &[], &[]], "belongs to network b itself"),
            ([&[], ten, &[]], [&[], ten, &[]], "network a has one already"),
            ([&[], ten, &[]], [&[], &[], ten], "behind a guest"),
            ([&[], &[], &["10.1.2.0/24"]], [ten, &[], &[]], "behind a guest"),
        ] as [([&[&str]; 3], [&[&str]; 3], &str); 6]
        {
            let said = said(a, b);
            assert!(said.contains(why), "{said:?} does not say {why:?}");
        }
    }
}
