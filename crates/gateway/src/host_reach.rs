//! Is this destination the host itself?
//!
//! # Theory of operation
//!
//! A socket of this process reaches everything that the host reaches, the host's own services
//! included: those that listen on loopback only, because their owner trusted that nobody else is
//! there. A guest must not. So the kernel is asked, once per new flow, what it would do with a
//! packet to the destination (RTM_GETROUTE): where it says *local*, *broadcast* or *anycast*, the
//! flow is refused. The kernel's own answer includes every address of every interface, every rule
//! and every table, which no list of ours would.
//!
//! Answers are kept in a small bounded cache. The kernel tells of every change of addresses, routes,
//! rules and interfaces, upon which all answers are forgotten and the *epoch* rises: a flow that once
//! asked compares the epoch, and asks again. Before a new flow is judged, what the kernel has told
//! so far is read, so that a new address is the host's at once. For datagrams of flows that are there,
//! what the kernel had told when the owner's turn began counts: notices are taken first
//! ([`crate::poll::is_notice`]). One that comes later in the turn finds datagrams that the guest sent
//! before it, and to ask for each of them would cost a system call where the datagram itself has four.
//!
//! Some destinations are the host without being in its tables, and some are IPv4 in disguise:
//!
//! * `0.0.0.0/8` and `::` are this host to a socket; `127.0.0.0/8` and `::1` always are.
//! * An IPv6 address that carries an IPv4 one (v4-mapped `::ffff:0:0/96`, v4-compatible `::/96`,
//!   NAT64 `64:ff9b::/96` and `64:ff9b:1::/48`, 6to4 `2002::/16`, Teredo `2001::/32`, ISATAP) may be
//!   led to that IPv4 address by the kernel or a translator on the way. It is refused if either form
//!   is the host.
//! * Link-local destinations are not routed (RFC 3927, 7; RFC 4291, 2.5.6), although the host would
//!   reach them: among them is the address at which clouds give out the host's credentials.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sys::route::RouteKind;

use crate::backend::datagram::Routes;
use crate::keyed::Keyed;

/// Answers that are kept.
const CACHE_MAX: usize = 4096;

/// Addresses that nobody has (RFC 5737, RFC 3849): a unicast route to them is a default route.
const NOWHERE_4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 1)];
const NOWHERE_6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1),
];

/// What lies behind a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Something outside, that the host has a route to.
    Outside,
    /// The host itself, in one form or another, or its broadcast.
    Host,
    /// A group.
    Multicast,
    /// A link that no router forwards to.
    LinkLocal,
    /// The host has no route there.
    NoRoute,
}

/// The answers of the kernel.
#[derive(Debug)]
pub(crate) struct HostReach {
    cache: HashMap<IpAddr, Reach, Keyed>,
    epoch: u32,
    /// The kernel told of a change that nobody has asked for yet.
    changed: bool,
}

impl HostReach {
    pub(crate) fn new(keyed: Keyed) -> Self {
        Self { cache: HashMap::with_hasher(keyed), epoch: 0, changed: false }
    }

    /// Changes whenever an answer may have changed.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The host's addresses or routes have changed.
    pub(crate) fn forget(&mut self) {
        self.cache.clear();
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Takes the notices that the kernel has sent. To be called before a new flow is judged: a change
    /// is told before whoever made it goes on, so that no answer is used that does not hold any more.
    pub(crate) fn refresh(&mut self, routes: &mut impl Routes) {
        if routes.changed() {
            self.forget();
            self.changed = true;
        }
    }

    /// Whether there was a change since it was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Judges a destination. What the kernel does not answer is refused, and asked again the next time.
    pub(crate) fn judge(&mut self, routes: &mut impl Routes, destination: IpAddr) -> Reach {
        if let Some(reach) = self.cache.get(&destination) {
            return *reach;
        }
        let Ok(reach) = judge(routes, destination) else { return Reach::Host };
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        self.cache.insert(destination, reach);
        reach
    }
}

fn judge(routes: &mut impl Routes, destination: IpAddr) -> io::Result<Reach> {
    match destination {
        IpAddr::V4(v4) => judge_v4(routes, v4),
        IpAddr::V6(v6) => {
            let reach = judge_v6(routes, v6)?;
            let inner = embedded(v6).map(|v4| judge_v4(routes, v4)).transpose()?;
            Ok(match inner {
                Some(inner @ (Reach::Host | Reach::LinkLocal | Reach::Multicast)) => inner,
                _ => reach,
            })
        }
    }
}

fn judge_v4(routes: &mut impl Routes, v4: Ipv4Addr) -> io::Result<Reach> {
    if v4.octets()[0] == 0 || v4.is_loopback() || v4.is_broadcast() {
        Ok(Reach::Host)
    } else if v4.is_multicast() {
        Ok(Reach::Multicast)
    } else if v4.is_link_local() {
        Ok(Reach::LinkLocal)
    } else {
        ask(routes, v4.into())
    }
}

fn judge_v6(routes: &mut impl Routes, v6: Ipv6Addr) -> io::Result<Reach> {
    if v6.is_unspecified() || v6.is_loopback() {
        Ok(Reach::Host)
    } else if v6.is_multicast() {
        Ok(Reach::Multicast)
    } else if v6.is_unicast_link_local() {
        Ok(Reach::LinkLocal)
    } else if v6.to_ipv4_mapped().is_some() {
        // Never on a wire (RFC 4291, 2.5.5.2).
        Ok(Reach::NoRoute)
    } else {
        ask(routes, v6.into())
    }
}

fn ask(routes: &mut impl Routes, destination: IpAddr) -> io::Result<Reach> {
    Ok(match routes.kind(destination)? {
        RouteKind::Unicast => Reach::Outside,
        RouteKind::Multicast => Reach::Multicast,
        RouteKind::Unreachable => Reach::NoRoute,
        RouteKind::Local | RouteKind::Broadcast | RouteKind::Anycast => Reach::Host,
    })
}

/// The IPv4 address inside an IPv6 one.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = v6.octets();
    let last = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    let s = v6.segments();
    match s {
        // ::ffff:a.b.c.d, ::a.b.c.d and, of old, ::ffff:0:a.b.c.d (RFC 4291, RFC 2765)
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(last),
        // RFC 6052, 2.1, with its longest prefix; RFC 8215 has room for prefixes of other lengths,
        // of which the two usual ones are read.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(last),
        [0x64, 0xff9b, 1, 0, 0, 0, ..] => Some(last),
        [0x64, 0xff9b, 1, ..] => Some(Ipv4Addr::new(o[6], o[7], o[9], o[10])),
        // RFC 3056
        [0x2002, ..] => Some(Ipv4Addr::new(o[2], o[3], o[4], o[5])),
        // RFC 4380: the client's address, every bit turned
        [0x2001, 0, ..] => Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15])),
        // ISATAP, RFC 5214
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(last),
        _ => None,
    }
}

/// Whether the host has a default route: of IPv4, of IPv6.
pub(crate) fn outside(routes: &mut impl Routes) -> (bool, bool) {
    let mut any = |addresses: &[IpAddr]| {
        addresses.iter().any(|nowhere| matches!(routes.kind(*nowhere), Ok(RouteKind::Unicast)))
    };
    (any(&NOWHERE_4.map(IpAddr::V4)), any(&NOWHERE_6.map(IpAddr::V6)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::FakeRoutes;

    fn reach(routes: &mut FakeRoutes, address: &str) -> Reach {
        HostReach::new(Keyed::new([0; 16])).judge(routes, address.parse().unwrap())
    }

    #[test]
    fn the_host_in_every_form() {
        let mut routes = FakeRoutes::with_default();
        routes.local("192.0.2.7");
        routes.local("2001:db8:1::7");
        for address in [
            "192.0.2.7",
            "2001:db8:1::7",
            "127.0.0.1",
            "127.255.0.9",
            "0.0.0.0",
            "0.1.2.3",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.7",
            "::192.0.2.7",
            "64:ff9b::192.0.2.7",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::192.0.2.7",
            "64:ff9b:1:c000:2:700::",
            "2002:c000:207::1",
            "2002:7f00:1::1",
            "2001:0:1234::8000:3fff:fdf8",
            "fd00::5efe:192.0.2.7",
        ] {
            assert_eq!(reach(&mut routes, address), Reach::Host, "{address}");
        }
    }

    /// A translator on the way would bring it to the IPv4 address that is inside.
    #[test]
    fn what_ipv4_does_not_route_is_not_routed_inside_ipv6() {
        let mut routes = FakeRoutes::with_default();
        for address in [
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "2002:a9fe:a9fe::1",
            "2001:0:1234::8000:5601:5601",
            "2001:db8::5efe:169.254.169.254",
        ] {
            assert_eq!(reach(&mut routes, address), Reach::LinkLocal, "{address}");
        }
        for address in ["64:ff9b::224.0.0.251", "2002:e000:fb::1"] {
            assert_eq!(reach(&mut routes, address), Reach::Multicast, "{address}");
        }
    }

    #[test]
    fn what_is_not_the_host() {
        let mut routes = FakeRoutes::with_default();
        routes.local("192.0.2.7");
        for (address, expected) in [
            ("192.0.2.8", Reach::Outside),
            ("2001:db8::1", Reach::Outside),
            ("64:ff9b::192.0.2.8", Reach::Outside),
            ("2002:c000:208::1", Reach::Outside),
            ("::ffff:192.0.2.8", Reach::NoRoute),
            ("224.0.0.1", Reach::Multicast),
            ("ff02::1", Reach::Multicast),
            ("169.254.169.254", Reach::LinkLocal),
            ("fe80::1", Reach::LinkLocal),
        ] {
            assert_eq!(reach(&mut routes, address), expected, "{address}");
        }
        let mut routes = FakeRoutes::default();
        assert_eq!(reach(&mut routes, "192.0.2.8"), Reach::NoRoute);
        assert_eq!(reach(&mut routes, "2001:db8::1"), Reach::NoRoute);
    }

    #[test]
    fn a_change_is_followed() {
        let mut routes = FakeRoutes::with_default();
        let mut known = HostReach::new(Keyed::new([0; 16]));
        let address = "192.0.2.9".parse().unwrap();
        assert_eq!(known.judge(&mut routes, address), Reach::Outside);
        routes.local("192.0.2.9");
        assert_eq!(known.judge(&mut routes, address), Reach::Outside, "until the kernel tells");
        let epoch = known.epoch();
        known.refresh(&mut routes);
        assert_ne!(known.epoch(), epoch);
        assert_eq!(known.judge(&mut routes, address), Reach::Host);
        assert!(known.take_changed() && !known.take_changed(), "told on, once");
        let epoch = known.epoch();
        known.refresh(&mut routes);
        assert!(known.epoch() == epoch && !known.take_changed(), "nothing new");
    }

    #[test]
    fn what_the_kernel_does_not_answer_is_refused_and_asked_again() {
        let mut routes = FakeRoutes::with_default();
        let mut known = HostReach::new(Keyed::new([0; 16]));
        let failed = sys::errno::ENOBUFS;
        // Of the last two, both forms are asked about.
        for (address, answers) in [
            ("192.0.2.9", &[failed][..]),
            ("2001:db8::9", &[failed]),
            ("64:ff9b::192.0.2.10", &[failed]),
            ("64:ff9b::192.0.2.11", &[0, failed]),
        ] {
            let destination = address.parse().unwrap();
            routes.fail.extend(answers);
            assert_eq!(known.judge(&mut routes, destination), Reach::Host, "{address}");
            assert!(routes.fail.is_empty());
            assert_eq!(known.judge(&mut routes, destination), Reach::Outside, "{address}");
            routes.fail.push_back(failed);
            assert_eq!(known.judge(&mut routes, destination), Reach::Outside, "known by now");
            routes.fail.clear();
        }
    }

    #[test]
    fn the_cache_is_bounded() {
        let mut routes = FakeRoutes::with_default();
        let mut known = HostReach::new(Keyed::new([0; 16]));
        for i in 0..3 * CACHE_MAX {
            let i = u32::try_from(i).unwrap();
            known.judge(&mut routes, Ipv4Addr::from(0x0900_0000 + i).into());
        }
        assert!(known.cache.len() <= CACHE_MAX);
    }

    #[test]
    fn default_routes_are_found() {
        assert_eq!(outside(&mut FakeRoutes::with_default()), (true, true));
        assert_eq!(outside(&mut FakeRoutes::default()), (false, false));
    }
}
