//! What a network has to keep clear of: what the host reaches, other networks of the user, and, in a guest, all
//! that is around it. And what is told to those inside the network's own guests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::IpNet;
use wire::MacAddr;

use super::RESOLV_CONF;
use crate::address::{Plan, store, subnet, zone};
use crate::config::outside::{Parent, Route, Via};
use crate::config::{self, Uplink};
use crate::daemon::ServeError;
use crate::directory;
use crate::log;
use crate::names::{self, Name};
use crate::outer::{self, Outer};
use crate::uplink::{Routed, UplinkError, parent};

/// The surroundings of a network when it was opened.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Around {
    /// The guest that this daemon runs in.
    outer: Option<Outer>,
    /// What the host reaches, or what the guest does, and what is reached around it.
    reached: Vec<IpNet>,
    /// Domains that programs here search, and those of networks around.
    domains: Vec<String>,
}

impl Around {
    /// Looks around for the network `name`, which is published in `path`.
    pub(in crate::daemon) fn look(name: &Name, path: &Path) -> Self {
        let mut reached = subnet::occupied().unwrap_or_else(|error| {
            log::warn(&format!(
                "The host's routes cannot be read ({error}): the subnet of network {name} may collide with one."
            ));
            Vec::new()
        });
        // Networks of the same user may be routed to each other some day.
        for (name, other) in directory::list() {
            if other == path {
                continue;
            }
            let Ok(name) = name.parse::<Name>() else { continue };
            let Ok(dir) = sys::dir::Dir::open(&other) else { continue };
            if let Some(plan) = store::peek(&dir, &name) {
                reached.push(IpNet::V4(plan.subnet()));
            }
        }
        let outer = outer::around();
        let mut domains = zone::searched(RESOLV_CONF.as_ref());
        if let Some(outer) = &outer {
            reached.extend_from_slice(&outer.occupied);
            domains.extend_from_slice(&outer.domains);
        }
        Self { outer, reached, domains }
    }

    /// The address of an inner guest on the Ethernet around this network, where other networks of the same name
    /// have guests of the same name; `None` outside of guests.
    pub(in crate::daemon) fn inner_mac(&self, network: &Name, guest: &Name) -> Option<MacAddr> {
        let outer = self.outer.as_ref()?;
        let path = format!("{}/{}/{network}", outer.network, outer.guest);
        Some(names::mac_within(&path, guest))
    }

    /// What is reached at addresses of a prefix that the configuration gives the network: its guests cannot reach it.
    pub(in crate::daemon) fn hidden_by(&self, net: IpNet) -> Option<IpNet> {
        self.reached.iter().copied().find(|other| !subnet::is_free(net, &[*other]))
    }

    /// How many MAC addresses beside the guest's own the network around lets through, and what the guest is called;
    /// `None` outside of guests.
    pub(in crate::daemon) fn allowed_macs(&self) -> Option<(usize, &str)> {
        let outer = self.outer.as_ref()?;
        Some((usize::from(outer.macs), &outer.guest))
    }

    /// What a new network must not overlap.
    pub(in crate::daemon) fn reached(&self) -> &[IpNet] {
        &self.reached
    }

    /// The label of a network's domain.
    pub(in crate::daemon) fn zone(&self, network: &Name) -> Name {
        zone::choose(network, &self.domains)
    }

    /// Whether a plan that was kept fits in here: one that was made on the host itself may collide in a guest of it.
    pub(in crate::daemon) fn suits(&self, kept: &Plan) -> bool {
        self.outer.as_ref().is_none_or(|outer| {
            [IpNet::V4(kept.subnet()), prefix(kept)]
                .into_iter()
                .all(|net| subnet::is_free(net, &outer.occupied))
        })
    }

    /// The domains that a network inside a guest of this one must not have, `own` being this one's.
    pub(in crate::daemon) fn taken_domains(&self, own: String) -> Vec<String> {
        let mut domains = vec![own];
        for domain in self.outer.iter().flat_map(|outer| &outer.domains) {
            if !domains.contains(domain) {
                domains.push(domain.clone());
            }
        }
        domains.truncate(outer::DOMAINS_MAX);
        domains
    }

    /// The prefixes that such a network must not have. Prefixes that no network would choose need no mention.
    pub(in crate::daemon) fn occupied(&self, plan: &Plan) -> Vec<IpNet> {
        let mut nets = vec![IpNet::V4(plan.subnet()), prefix(plan)];
        nets.extend(self.reached.iter().copied().filter(subnet::could_collide));
        let mut nets = IpNet::aggregate(&nets);
        nets.truncate(outer::OCCUPIED_MAX);
        nets
    }
}

fn prefix(plan: &Plan) -> IpNet {
    IpNet::new(plan.prefix().into(), 64).map_or(IpNet::V4(plan.subnet()), |net| net.trunc())
}

/// What a configuration leaves to the network around: with the uplink `net:routed`, subnet, prefix and default
/// routes.
///
/// # Errors
/// Nothing is routed to the guest that we are, or we are none.
pub(in crate::daemon) fn settle(
    mut config: config::Network,
) -> Result<config::Network, ServeError> {
    if config.outside.uplink != Uplink::Net(Parent::Routed) {
        return Ok(config);
    }
    let wrong = |error: UplinkError| ServeError::Config(error.sentence);
    let routed = Routed::of(&parent::outer().map_err(wrong)?).map_err(wrong)?;
    config.subnet = routed.subnet;
    config.prefix = routed.prefix;
    let all = |unspecified: IpAddr| IpNet::new(unspecified, 0);
    let next4 = routed.next4().map(|next| (all(Ipv4Addr::UNSPECIFIED.into()), IpAddr::V4(next)));
    let next6 = routed.next6().map(|next| (all(Ipv6Addr::UNSPECIFIED.into()), IpAddr::V6(next)));
    for (to, next) in next4.into_iter().chain(next6) {
        if let Ok(to) = to {
            config.outside.routes.push(Route { to, via: Via::Station(next) });
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a net")
    }

    fn plan(subnet: &str, prefix: &str) -> Plan {
        let name = "default".parse().expect("a name");
        Plan::new(name, subnet.parse().expect("a subnet"), prefix.parse().expect("a prefix"))
    }

    fn inner() -> Around {
        let outer = Outer {
            domains: vec!["default-2.internal".to_owned(), "default.internal".to_owned()],
            occupied: vec![net("10.1.0.0/20"), net("fd00:1::/64")],
            ..Outer::default()
        };
        let mut reached = vec![net("10.2.0.0/20"), net("192.0.2.0/24"), net("2001:db8::/32")];
        reached.extend_from_slice(&outer.occupied);
        Around { domains: outer.domains.clone(), outer: Some(outer), reached }
    }

    #[test]
    fn the_third_level_has_a_domain_that_neither_of_the_others_has() {
        let name: Name = "default".parse().expect("a name");
        assert_eq!(inner().zone(&name).as_str(), "default-3");
        assert_eq!(
            inner().taken_domains("default-3.internal".to_owned()),
            ["default-3.internal", "default-2.internal", "default.internal"]
        );
        assert_eq!(Around::default().zone(&name), name);
    }

    #[test]
    fn those_inside_are_told_what_they_could_collide_with() {
        let told = inner().occupied(&plan("10.3.0.0/20", "fd00:3::"));
        for taken in ["10.1.0.0/20", "10.2.0.0/20", "10.3.0.0/20", "fd00:1::/64", "fd00:3::/64"] {
            assert!(!subnet::is_free(net(taken), &told), "{taken}");
        }
        assert_eq!(told.len(), 5, "{told:?}");
    }

    #[test]
    fn a_subnet_that_hides_what_the_host_reaches_is_noticed() {
        let hidden = |text: &str| inner().hidden_by(net(text));
        assert_eq!(hidden("192.0.0.0/16"), Some(net("192.0.2.0/24")));
        assert_eq!(hidden("10.2.0.0/24"), Some(net("10.2.0.0/20")));
        assert_eq!(hidden("10.3.0.0/20"), None);
        assert_eq!(hidden("2001:db8:1::/64"), Some(net("2001:db8::/32")));
        assert_eq!(hidden("fd00:9::/64"), None);
        let said = |text: &str| {
            let text = format!("[network.lab]\n{text}");
            let checked = config::parse(&text, Path::new("n.toml")).expect("a good one");
            super::super::hidden(&checked.networks()[0], &inner()).join(" ")
        };
        let both = said("subnet = \"192.0.0.0/16\"\nprefix = \"2001:db8:1::/64\"");
        assert!(both.contains("subnet 192.0.0.0/16") && both.contains("`prefix`"), "{both}");
        let elsewhere = said("uplink = \"tap:t\"\nprefix = \"2001:db8:1::/64\"");
        assert_eq!(elsewhere, "", "that is where its guests are");
    }

    #[test]
    fn a_kept_plan_is_given_up_where_it_collides() {
        let far = plan("10.9.0.0/20", "fd00:9::");
        assert!(inner().suits(&far));
        assert!(!inner().suits(&plan("10.1.0.0/20", "fd00:9::")));
        assert!(!inner().suits(&plan("10.9.0.0/20", "fd00:1::")));
        assert!(Around::default().suits(&plan("10.1.0.0/20", "fd00:1::")));
    }
}
