//! Uplinks to the network that the hypervisor itself is a guest of, where connections are not translated.
//!
//! *Bridged.* The link is a packet socket on the guest's own `eth0`: what inner guests send goes out there
//! with their own MAC addresses, and frames for them are seen there though they are not the guest's. The
//! outer port allows as many as `run --macs` said.
//!
//! *Routed.* The link is a tap, or a packet socket on a veth pair, whose interface is the guest's, in whose
//! namespace the kernel routes between it and `eth0`. The inner network's subnet and prefix are those that `run --route` routes to the guest.
//! The kernel has an address of each on that interface ([`Routed::next4`]), and is the next hop of the inner
//! router; the other way round it knows the inner guests as its neighbours.
//!
//! The guest's init gives both ([`crate::outer`]), because it made the guest and knows what was allowed.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};
use wire::OffloadSet;

use super::{Opened, UplinkError};
use crate::address::{MTU_IPV6, PREFIX_MAX, PREFIX_MIN, SERVICES_END};
use crate::link::LinkSetup;
use crate::outer::{self, Outer, OuterError, Question, Socket};

/// Bits of the prefix that a network has.
const PREFIX_BITS: u8 = 64;

/// What a routed network's addresses are, and who leads out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Routed {
    /// None where only IPv6 is routed.
    pub subnet: Option<Ipv4Net>,
    /// The first address of the /64; none where only IPv4 is routed.
    pub prefix: Option<Ipv6Addr>,
}

impl Routed {
    /// Takes the first prefix of each family that a network can have.
    ///
    /// # Errors
    /// Nothing is routed to the guest, or nothing that is large enough.
    pub fn of(outer: &Outer) -> Result<Self, UplinkError> {
        if outer.routes.is_empty() {
            return Err(UplinkError::lasting(format!(
                "The uplink net:routed needs a prefix that network {} routes to guest {}, and there is none: \
                 start the guest with `netherd run --route PREFIX`, such as 10.99.0.0/20 or fd00:99::/64.",
                outer.network, outer.guest
            )));
        }
        let fits = |net: &Ipv4Net| (PREFIX_MIN..=PREFIX_MAX).contains(&net.prefix_len());
        let subnet = outer.routes.iter().find_map(|route| match route {
            IpNet::V4(net) if fits(net) => Some(net.trunc()),
            _ => None,
        });
        let prefix = outer.routes.iter().find_map(|route| match route {
            IpNet::V6(net) if net.prefix_len() <= PREFIX_BITS => Some(net.network()),
            _ => None,
        });
        if subnet.is_none() && prefix.is_none() {
            let routes: Vec<String> = outer.routes.iter().map(ToString::to_string).collect();
            return Err(UplinkError::lasting(format!(
                "What is routed to guest {} ({}) is not a subnet for a network: an IPv4 prefix has to have \
                 {PREFIX_MIN} to {PREFIX_MAX} bits, an IPv6 prefix at most {PREFIX_BITS}.",
                outer.guest,
                routes.join(", ")
            )));
        }
        Ok(Self { subnet, prefix })
    }

    /// The kernel's address on the link: the way out of the inner network.
    #[must_use]
    pub fn next4(&self) -> Option<Ipv4Addr> {
        self.subnet.map(|net| Ipv4Addr::from_bits(net.network().to_bits() + SERVICES_END))
    }

    /// The same of IPv6.
    #[must_use]
    pub fn next6(&self) -> Option<Ipv6Addr> {
        self.prefix.map(|net| Ipv6Addr::from_bits(net.to_bits() | u128::from(SERVICES_END)))
    }
}

/// The guest that we are.
///
/// # Errors
/// We are none.
pub fn outer() -> Result<Outer, UplinkError> {
    outer::around().ok_or_else(|| refused(&OuterError::NotAGuest))
}

/// Opens the link of a bridged network.
///
/// # Errors
/// The guest may not use more MAC addresses.
pub fn bridged() -> Result<Opened, UplinkError> {
    let outer = outer()?;
    let (socket, fds) = outer::ask::<Socket>(&Question::Bridge).map_err(|why| refused(&why))?;
    let fd = fds.into_iter().next().ok_or_else(|| nothing("a packet socket"))?;
    let link = LinkSetup::Packet { fd, offloads: offloads(&socket.offloads) };
    Ok(Opened { link, mtu: outer.mtu })
}

/// Opens the link of a routed network of this MTU, which may be too short for IPv6.
///
/// # Errors
/// The prefixes are not routed to the guest, or no interface can be made in it.
pub fn routed(routed: &Routed, mtu: u16) -> Result<Opened, UplinkError> {
    let question = Question::Route {
        ipv4: routed.subnet.zip(routed.next4()).map(|(net, next)| (next, net.prefix_len())),
        ipv6: routed.next6().filter(|_| mtu >= MTU_IPV6).map(|next| (next, PREFIX_BITS)),
        mtu,
    };
    let (given, fds) = outer::ask::<outer::Routed>(&question).map_err(|why| refused(&why))?;
    let fd = fds.into_iter().next().ok_or_else(|| nothing("a link"))?;
    let offloads = offloads(&given.offloads);
    let link = if given.tap {
        LinkSetup::Tap { fd, offloads, vnet_hdr_len: given.vnet_hdr_len }
    } else {
        LinkSetup::Packet { fd, offloads }
    };
    Ok(Opened { link, mtu })
}

fn offloads(words: &[String]) -> OffloadSet {
    let known = words.iter().filter_map(|word| OffloadSet::from_short_name(word));
    known.fold(OffloadSet::empty(), |set, one| set | one)
}

fn refused(why: &OuterError) -> UplinkError {
    // Init's sentence has its end already.
    let why = why.to_string();
    let why = why.trim_end_matches('.');
    UplinkError::lasting(format!("There is no uplink to a network around this one: {why}."))
}

fn nothing(what: &str) -> UplinkError {
    UplinkError::lasting(format!(
        "The guest's init did not send {what}; start the guest again with this version of netherd."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outer(routes: &[&str]) -> Outer {
        Outer {
            network: "default".to_owned(),
            guest: "hub".to_owned(),
            routes: routes.iter().map(|route| route.parse().expect("a prefix")).collect(),
            ..Outer::default()
        }
    }

    #[test]
    fn the_first_prefixes_that_fit_are_the_networks() {
        let routed =
            Routed::of(&outer(&["10.9.0.0/24", "10.99.0.0/20", "10.98.0.0/16", "fd00:99::/60"]))
                .expect("there are some");
        assert_eq!(routed.subnet, Some("10.99.0.0/20".parse().expect("a subnet")));
        assert_eq!(routed.next4(), Some(Ipv4Addr::new(10, 99, 0, 15)));
        assert_eq!(routed.prefix, Some("fd00:99::".parse().expect("a prefix")));
        assert_eq!(routed.next6(), Some("fd00:99::f".parse().expect("an address")));
        let only6 = Routed::of(&outer(&["fd00:99::/64"])).expect("IPv6 alone");
        assert_eq!((only6.subnet, only6.next4()), (None, None));
    }

    #[test]
    fn a_sentence_ends_once() {
        let error = refused(&OuterError::Refused("start it with `netherd run --macs N`.".into()));
        assert!(error.sentence.ends_with("--macs N`."), "{}", error.sentence);
    }

    #[test]
    fn what_is_missing_is_said_with_the_option() {
        let error = Routed::of(&outer(&[])).expect_err("nothing is routed").to_string();
        assert!(error.contains("--route PREFIX") && error.contains("guest hub"), "{error}");
        let error = Routed::of(&outer(&["10.9.0.0/24", "fd00::/96"])).expect_err("too small");
        assert!(error.to_string().contains("10.9.0.0/24, fd00::/96"), "{error}");
    }
}
