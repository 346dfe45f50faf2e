//! The table of routes, and what else an address can be to the router.
//!
//! The router's own addresses and the broadcast addresses of its subnets are in the same tries as
//! the routes, as prefixes of full length: one look-up tells everything about an address.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::spec::{InterfaceId, ROUTES_MAX, Route, RouteSource, RouterError, Via};
use super::trie::Trie;

/// What an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Somewhere that a route leads to.
    Via(Via),
    /// An own address of this interface.
    Own(InterfaceId),
    /// The broadcast address of a subnet of this interface.
    Broadcast(InterfaceId),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    target: Target,
    source: RouteSource,
}

/// All prefixes, of both versions.
#[derive(Debug)]
pub(super) struct Routes {
    v4: Trie<u32>,
    v6: Trie<u128>,
    /// What the numbers in the tries mean. Entries that are free are never looked at.
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_prefix: BTreeMap<IpNet, u32>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self {
            v4: Trie::new(),
            v6: Trie::new(),
            entries: Vec::new(),
            free: Vec::new(),
            by_prefix: BTreeMap::new(),
        }
    }

    /// What the longest prefix with the address in it leads to.
    #[inline]
    pub(super) fn find(&self, address: IpAddr) -> Option<Target> {
        let number = match address {
            IpAddr::V4(ip) => self.v4.find(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.find(ip.to_bits()),
        };
        self.entries.get(number? as usize).map(|entry| entry.target)
    }

    pub(super) fn add(
        &mut self,
        prefix: IpNet,
        target: Target,
        source: RouteSource,
    ) -> Result<(), RouterError> {
        if self.by_prefix.contains_key(&prefix) {
            return Err(RouterError::RouteExists(prefix));
        }
        if self.by_prefix.len() >= ROUTES_MAX {
            return Err(RouterError::TooManyRoutes);
        }
        let entry = Entry { target, source };
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                self.entries.push(entry);
                u32::try_from(self.entries.len() - 1).map_err(|_| RouterError::TooManyRoutes)?
            }
        };
        if let Some(place) = self.entries.get_mut(number as usize) {
            *place = entry;
        }
        self.by_prefix.insert(prefix, number);
        match prefix {
            IpNet::V4(net) => self.v4.insert(net.network().to_bits(), net.prefix_len(), number),
            IpNet::V6(net) => self.v6.insert(net.network().to_bits(), net.prefix_len(), number),
        };
        Ok(())
    }

    /// Removes a prefix from this source.
    pub(super) fn remove(&mut self, prefix: IpNet, source: RouteSource) -> bool {
        let Some(&number) = self.by_prefix.get(&prefix) else { return false };
        if self.entries.get(number as usize).is_none_or(|entry| entry.source != source) {
            return false;
        }
        self.by_prefix.remove(&prefix);
        match prefix {
            IpNet::V4(net) => self.v4.remove(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.remove(net.network().to_bits(), net.prefix_len()),
        };
        self.free.push(number);
        true
    }

    /// Removes what leads to an interface, from this source or from any.
    pub(super) fn remove_of(&mut self, interface: InterfaceId, source: Option<RouteSource>) {
        let its: Vec<(IpNet, RouteSource)> = self
            .all()
            .filter(|(_, entry)| source.is_none_or(|source| entry.source == source))
            .filter(|(_, entry)| match entry.target {
                Target::Via(via) => via.interface() == Some(interface),
                Target::Own(its) | Target::Broadcast(its) => its == interface,
            })
            .map(|(prefix, entry)| (prefix, entry.source))
            .collect();
        for (prefix, source) in its {
            self.remove(prefix, source);
        }
    }

    fn all(&self) -> impl Iterator<Item = (IpNet, &Entry)> + '_ {
        self.by_prefix
            .iter()
            .filter_map(|(prefix, number)| Some((*prefix, self.entries.get(*number as usize)?)))
    }

    /// Every route, IPv4 first, in the order of prefixes.
    pub(super) fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.all().filter_map(|(prefix, entry)| match entry.target {
            Target::Via(via) => Some(Route { prefix, via, source: entry.source }),
            Target::Own(_) | Target::Broadcast(_) => None,
        })
    }
}

/// The prefix of one address.
pub(super) fn host_prefix(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::from(ip)),
        IpAddr::V6(ip) => IpNet::V6(Ipv6Net::from(ip)),
    }
}
