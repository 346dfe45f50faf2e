//! Choosing a subnet that collides with nothing the host reaches.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::PREFIX_MAX;
use crate::names::{self, Name};

/// Where subnets are taken from, in this order: private use (RFC 1918), and where the host uses all of that,
/// shared address space (RFC 6598). Base address and prefix length.
const POOLS: [(Ipv4Addr, u8); 4] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// Prefixes that are tried for IPv6 before giving up; a second one is needed only in a nested network of the
/// same name.
const PREFIX_TRIES: u32 = 64;

/// What the host reaches: the destinations of its routes and the subnets of its addresses, without default
/// routes.
///
/// # Errors
/// When the kernel does not tell.
pub fn occupied() -> std::io::Result<Vec<IpNet>> {
    let mut netlink = sys::netlink::Netlink::open()?;
    let mut nets = Vec::new();
    for route in netlink.routes()? {
        push(&mut nets, route.destination, route.prefix_len);
    }
    for address in netlink.addresses()? {
        push(&mut nets, address.address, address.prefix_len);
    }
    nets.sort();
    nets.dedup();
    Ok(nets)
}

fn push(nets: &mut Vec<IpNet>, address: IpAddr, prefix_len: u8) {
    // Routes that cover everything, whole or in halves (as VPNs do it), say nothing about a subnet.
    if prefix_len > 1
        && let Ok(net) = IpNet::new(address, prefix_len)
    {
        nets.push(net.trunc());
    }
}

/// The IPv4 subnet for a network, a /20: where its name hashes to, or the next that overlaps nothing in
/// `occupied`. `None` when there is none.
#[must_use]
pub fn choose(network: &Name, occupied: &[IpNet]) -> Option<Ipv4Net> {
    let seed = names::subnet_seed(network);
    POOLS.iter().find_map(|(base, length)| {
        let count = 1_u64 << (PREFIX_MAX - length);
        (0..count).find_map(|step| {
            let index = seed.wrapping_add(step) % count;
            // The first and last subnets of a pool are what people choose by hand.
            if index == 0 || index == count - 1 {
                return None;
            }
            let bits = base.to_bits() | ((index as u32) << (32 - PREFIX_MAX));
            let subnet = Ipv4Net::new(Ipv4Addr::from_bits(bits), PREFIX_MAX).ok()?;
            is_free(subnet.into(), occupied).then_some(subnet)
        })
    })
}

/// The IPv6 prefix for a network, a /64: the function of its name, or where the host reaches that one already,
/// the next in its unique local /48.
#[must_use]
pub fn choose_prefix(network: &Name, occupied: &[IpNet]) -> Option<Ipv6Addr> {
    let free = prefixes(network).find(|prefix| is_free((*prefix).into(), occupied))?;
    Some(free.addr())
}

/// The prefix of a network that has `had` and whose configuration says none: `had`, if it comes from the name and not
/// from what the configuration said before.
#[must_use]
pub fn keep_prefix(network: &Name, had: Ipv6Addr, occupied: &[IpNet]) -> Ipv6Addr {
    if prefixes(network).any(|prefix| prefix.addr() == had) {
        return had;
    }
    choose_prefix(network, occupied).unwrap_or(had)
}

/// The prefixes that a network may have by its name, the first one first.
fn prefixes(network: &Name) -> impl Iterator<Item = Ipv6Net> {
    let first = names::ipv6_prefix(network).to_bits();
    (0..PREFIX_TRIES).filter_map(move |step| {
        let subnet_id = ((first >> 64) as u16).wrapping_add(step as u16);
        let bits = (first & !(0xffff << 64)) | (u128::from(subnet_id) << 64);
        Ipv6Net::new(Ipv6Addr::from_bits(bits), 64).ok()
    })
}

/// Whether a network could choose addresses of `net`: it overlaps where subnets are taken from, or unique local
/// addresses.
#[must_use]
pub fn could_collide(net: &IpNet) -> bool {
    /// Unique local addresses (RFC 4193).
    const UNIQUE_LOCAL: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
    let overlaps = |base: IpAddr, length| {
        IpNet::new(base, length).is_ok_and(|pool| pool.contains(net) || net.contains(&pool))
    };
    POOLS.iter().any(|(base, length)| overlaps((*base).into(), *length))
        || overlaps(UNIQUE_LOCAL.0.into(), UNIQUE_LOCAL.1)
}

/// Whether `net` overlaps nothing in `occupied`.
#[must_use]
pub fn is_free(net: IpNet, occupied: &[IpNet]) -> bool {
    !occupied.iter().any(|other| other.contains(&net) || net.contains(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().expect("a good name")
    }

    fn net(text: &str) -> IpNet {
        text.parse().expect("a good net")
    }

    #[test]
    fn the_choice_is_stable_and_private() {
        let subnet = choose(&name("default"), &[]).expect("all are free");
        assert_eq!(choose(&name("default"), &[]), Some(subnet));
        assert!(subnet.network().is_private());
        assert_eq!(subnet.prefix_len(), 20);
        assert_ne!(choose(&name("other"), &[]), Some(subnet));
    }

    #[test]
    fn an_occupied_subnet_is_stepped_over_v4() {
        let subnet = choose(&name("default"), &[]).expect("all are free");
        let inside = IpNet::new(IpAddr::V4(subnet.broadcast()), 32).expect("a host route");
        let next = choose(&name("default"), &[inside]).expect("others are free");
        assert_eq!(next.network().to_bits(), subnet.network().to_bits() + 4096);
        let subnet = choose(&name("default"), &[net("10.0.0.0/8")]).expect("172.16/12 is free");
        assert!(net("172.16.0.0/12").contains(&IpNet::from(subnet)));
        let rfc1918 = [net("10.0.0.0/8"), net("172.16.0.0/12"), net("192.168.0.0/16")];
        let subnet = choose(&name("default"), &rfc1918).expect("100.64/10 is free");
        assert!(net("100.64.0.0/10").contains(&IpNet::from(subnet)));
        let mut all = rfc1918.to_vec();
        all.push(net("100.64.0.0/10"));
        assert_eq!(choose(&name("default"), &all), None);
    }

    #[test]
    fn an_occupied_prefix_is_stepped_over_v6() {
        let first = choose_prefix(&name("default"), &[]).expect("all are free");
        assert_eq!(first, names::ipv6_prefix(&name("default")));
        let taken = IpNet::new(IpAddr::V6(first), 64).expect("a prefix");
        let next = choose_prefix(&name("default"), &[taken]).expect("others are free");
        assert_ne!(next, first);
        assert_eq!(next.octets()[..6], first.octets()[..6]);
        assert_eq!(choose_prefix(&name("default"), &[net("fc00::/7")]), None);
    }

    #[test]
    fn only_a_prefix_that_comes_from_the_name_is_kept() {
        let own = choose_prefix(&name("default"), &[]).expect("all are free");
        let taken = IpNet::new(IpAddr::V6(own), 64).expect("a prefix");
        let next = choose_prefix(&name("default"), &[taken]).expect("others are free");
        let keep = |had| keep_prefix(&name("default"), had, &[]);
        assert_eq!(keep(own), own);
        assert_eq!(keep(next), next, "it was chosen where the first was taken");
        assert_eq!(keep("fd12:3456:789a:1::".parse().expect("a prefix")), own);
    }

    #[test]
    fn default_routes_occupy_nothing() {
        let mut nets = Vec::new();
        push(&mut nets, "0.0.0.0".parse().expect("v4"), 0);
        push(&mut nets, "128.0.0.0".parse().expect("v4"), 1);
        push(&mut nets, "::".parse().expect("v6"), 0);
        assert_eq!(nets, []);
        push(&mut nets, "10.1.2.3".parse().expect("v4"), 24);
        assert_eq!(nets, [net("10.1.2.0/24")]);
    }

    #[test]
    fn only_private_prefixes_can_collide() {
        for private in ["10.0.0.0/8", "10.1.0.0/20", "172.16.0.0/12", "100.64.1.0/24", "fd00::/64"]
        {
            assert!(could_collide(&net(private)), "{private}");
        }
        for other in ["192.0.2.0/24", "2001:db8::/32", "fe80::/64", "127.0.0.0/8"] {
            assert!(!could_collide(&net(other)), "{other}");
        }
        assert!(could_collide(&net("0.0.0.0/2")));
    }

    #[test]
    fn the_host_tells_what_it_reaches() {
        let nets = occupied().expect("netlink answers");
        assert!(nets.iter().all(|net| net.prefix_len() > 1));
    }
}
