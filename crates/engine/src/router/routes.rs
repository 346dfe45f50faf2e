//! The table of routes, and what else an address can be to the router.
//!
//! The router's own addresses and the broadcast addresses of its subnets are in the same tries as
//! the routes, as prefixes of full length: one look-up tells everything about an address.
//!
//! However many routes there are, few are the targets that they lead to. Each is kept once, so that
//! it stays in the cache, and the tries hold its number.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::spec::{InterfaceId, ROUTES_MAX, Route, RouteSource, RouterError, Via};
use crate::prefix_map::trie::Trie;

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// Somewhere that a route leads to.
    Via(Via),
    /// An own address of this interface.
    Own(InterfaceId),
    /// The broadcast address of a subnet of this interface.
    Broadcast(InterfaceId),
}

/// All prefixes, of both versions.
#[derive(Debug)]
pub(super) struct Routes {
    v4: Trie<u32, RouteSource>,
    v6: Trie<u128, RouteSource>,
    targets: Targets,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { v4: Trie::new(), v6: Trie::new(), targets: Targets::default() }
    }

    /// What the longest prefix with the address in it leads to.
    #[inline]
    pub(super) fn find(&self, address: IpAddr) -> Option<Target> {
        let number = match address {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        };
        self.targets.get(number?)
    }

    pub(super) fn add(
        &mut self,
        prefix: IpNet,
        target: Target,
        source: RouteSource,
    ) -> Result<(), RouterError> {
        if self.source(prefix).is_some() {
            return Err(RouterError::RouteExists(prefix));
        }
        if self.v4.len() + self.v6.len() >= ROUTES_MAX {
            return Err(RouterError::TooManyRoutes);
        }
        let number = self.targets.take(target);
        match prefix {
            IpNet::V4(net) => {
                self.v4.insert(net.network().to_bits(), net.prefix_len(), number, source)
            }
            IpNet::V6(net) => {
                self.v6.insert(net.network().to_bits(), net.prefix_len(), number, source)
            }
        };
        Ok(())
    }

    /// Where the route of exactly this prefix comes from.
    fn source(&self, prefix: IpNet) -> Option<RouteSource> {
        let found = match prefix {
            IpNet::V4(net) => self.v4.get(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.get(net.network().to_bits(), net.prefix_len()),
        };
        found.map(|(_, source)| *source)
    }

    /// Removes a prefix from this source.
    pub(super) fn remove(&mut self, prefix: IpNet, source: RouteSource) -> bool {
        if self.source(prefix) != Some(source) {
            return false;
        }
        let number = match prefix {
            IpNet::V4(net) => self.v4.remove(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(net.network().to_bits(), net.prefix_len()),
        };
        if let Some(number) = number {
            self.targets.give(number);
        }
        true
    }

    /// Removes what leads to an interface, from this source or from any.
    pub(super) fn remove_of(&mut self, interface: InterfaceId, source: Option<RouteSource>) {
        let its: Vec<(IpNet, RouteSource)> = self
            .all()
            .filter(|(.., its)| source.is_none_or(|source| *its == source))
            .filter(|(_, target, _)| match target {
                Target::Via(via) => via.interface() == Some(interface),
                Target::Own(its) | Target::Broadcast(its) => *its == interface,
            })
            .map(|(prefix, _, source)| (prefix, source))
            .collect();
        for (prefix, source) in its {
            self.remove(prefix, source);
        }
    }

    fn all(&self) -> impl Iterator<Item = (IpNet, Target, RouteSource)> + '_ {
        let v4 = self.v4.iter().filter_map(|(path, len, number, source)| {
            Some((Ipv4Net::new(path.into(), len).ok()?.into(), number, source))
        });
        let v6 = self.v6.iter().filter_map(|(path, len, number, source)| {
            Some((Ipv6Net::new(path.into(), len).ok()?.into(), number, source))
        });
        v4.chain(v6).filter_map(|(prefix, number, source)| {
            Some((prefix, self.targets.get(number)?, source))
        })
    }

    /// Every route, IPv4 first, in the order of prefixes.
    pub(super) fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.all().filter_map(|(prefix, target, source)| match target {
            Target::Via(via) => Some(Route { prefix, via, source }),
            Target::Own(_) | Target::Broadcast(_) => None,
        })
    }
}

/// Targets by number, each once.
#[derive(Debug, Default)]
struct Targets {
    /// With the number of prefixes that lead there. Those that none leads to are free.
    list: Vec<(Target, u32)>,
    free: Vec<u32>,
    numbers: BTreeMap<Target, u32>,
}

impl Targets {
    #[inline]
    fn get(&self, number: u32) -> Option<Target> {
        self.list.get(number as usize).map(|(target, _)| *target)
    }

    /// The number of a target that one more prefix leads to.
    fn take(&mut self, target: Target) -> u32 {
        let number = match self.numbers.get(&target) {
            Some(&number) => number,
            None => {
                let number = self.free.pop().unwrap_or_else(|| {
                    self.list.push((target, 0));
                    // No more than there are routes.
                    u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX)
                });
                self.numbers.insert(target, number);
                number
            }
        };
        if let Some(place) = self.list.get_mut(number as usize) {
            *place = (target, place.1 + 1);
        }
        number
    }

    /// A prefix does not lead there any more.
    fn give(&mut self, number: u32) {
        let Some((target, count)) = self.list.get_mut(number as usize) else { return };
        *count = count.saturating_sub(1);
        if *count == 0 {
            self.numbers.remove(target);
            self.free.push(number);
        }
    }
}

/// The prefix of one address.
pub(super) fn host_prefix(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::from(ip)),
        IpAddr::V6(ip) => IpNet::V6(Ipv6Net::from(ip)),
    }
}
