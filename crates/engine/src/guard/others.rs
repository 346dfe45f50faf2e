//! The other networks of the same hypervisor (checks 21 and 34).
//!
//! Their guests reach this network's by the router, so that a guest here that took the address of one
//! would be believed to be it, and the router would send the answers there. Who may have an address of
//! another network is that network's business alone.

use alloc::vec::Vec;
use core::net::IpAddr;

use ipnet::IpNet;

use crate::engine::Engine;

/// The prefixes of other networks, in order, none within another.
#[derive(Debug, Default)]
pub(crate) struct Others(Vec<IpNet>);

impl Others {
    fn new(prefixes: &[IpNet]) -> Self {
        let mut prefixes = IpNet::aggregate(&prefixes.to_vec());
        prefixes.sort_unstable_by_key(IpNet::network);
        Self(prefixes)
    }

    pub(super) fn have(&self, address: IpAddr) -> bool {
        let behind = self.0.partition_point(|prefix| prefix.network() <= address);
        let last = behind.checked_sub(1).and_then(|place| self.0.get(place));
        last.is_some_and(|prefix| prefix.contains(&address))
    }

    /// Whether something of a prefix is theirs.
    pub(super) fn meet(&self, prefix: IpNet) -> bool {
        self.0.iter().any(|known| known.contains(&prefix) || prefix.contains(known))
    }
}

impl Engine {
    /// The subnets and prefixes of the networks that are routed beside this one: no guest here may take
    /// an address of theirs, nor keep one that it took before, but for addresses of this network's own
    /// subnet and prefixes.
    pub fn set_other_networks(&mut self, prefixes: &[IpNet]) {
        self.memory.others = Others::new(prefixes);
        self.end_first_uses(|engine, _, ip| engine.is_of_other_network(ip));
    }

    pub(super) fn is_of_other_network(&self, address: IpAddr) -> bool {
        let own = match address {
            IpAddr::V4(ip) => self.network.guard.subnet.is_some_and(|subnet| subnet.contains(&ip)),
            IpAddr::V6(ip) => self.network.guard.announced.iter().any(|net| net.contains(&ip)),
        };
        !own && self.memory.others.have(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let of = |text: &[&str]| -> Others {
            Others::new(&text.iter().map(|it| it.parse().expect("a prefix")).collect::<Vec<_>>())
        };
        let others =
            of(&["fd01::/64", "10.2.0.0/16", "10.2.3.0/24", "192.0.2.0/25", "fd01:0:0:8::/64"]);
        let have = |text: &str| others.have(text.parse().expect("an address"));
        for inside in
            ["10.2.0.0", "10.2.3.4", "10.2.255.255", "192.0.2.127", "fd01::7", "fd01:0:0:8::"]
        {
            assert!(have(inside), "{inside}");
        }
        for outside in
            ["0.0.0.0", "10.1.255.255", "10.3.0.0", "192.0.2.128", "::", "fd01:0:0:1::", "fe80::1"]
        {
            assert!(!have(outside), "{outside}");
        }
        assert!(!of(&[]).have("10.2.0.0".parse().expect("an address")));
        let meet = |text: &str| others.meet(text.parse().expect("a prefix"));
        for text in
            ["fd01::/48", "fd01::/64", "fd01:0:0:0:7::/80", "fd01:0:0:8::/61", "10.2.7.0/24"]
        {
            assert!(meet(text), "{text}");
        }
        assert!(!meet("fd01:0:0:1::/64") && !meet("fd02::/48") && !meet("10.3.0.0/16"));
    }
}
