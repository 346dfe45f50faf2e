//! Checks 36 and 38 to 44.

use std::net::Ipv6Addr;
use std::time::Duration;

use engine::bindings::Owner;
use engine::{Rate, Reason};
use testkit::mac;
use wire::build::Ipv6;
use wire::ndp::flag::{OVERRIDE, ROUTER as ROUTER_FLAG, SOLICITED};
use wire::ndp::kind::{NEIGHBOUR_ADVERTISEMENT as NA, NEIGHBOUR_SOLICITATION as NS};
use wire::ndp::{Neighbour, multicast_mac, option, solicited_node};
use wire::{L3, MacAddr, parse};

use crate::world::{
    Guest, PEER, ROUTER, a, answered, both_passed, both_refused, drain, passed, reaches, refused,
    strict, t, v6, world,
};

fn nd(source: Ipv6Addr, destination: Ipv6Addr) -> Ipv6 {
    Ipv6 { source, destination, hop_limit: 255, ..Ipv6::default() }
}

fn solicit(g: &Guest, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let header = nd(g.v6(), group);
    g.frame(multicast_mac(group), |b| b.ipv6(&header).neighbour(NS, 0, target, g.mac()))
}

/// Duplicate address detection.
fn probe(g: &Guest, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let header = nd(Ipv6Addr::UNSPECIFIED, group);
    g.frame(multicast_mac(group), |b| {
        b.ipv6(&header).icmpv6(NS, 0).payload(&[0; 4]).payload(&target.octets())
    })
}

fn advertise(g: &Guest, flags: u8, target: Ipv6Addr) -> Vec<u8> {
    let header = nd(g.v6(), v6(PEER));
    g.frame(mac(PEER), |b| b.ipv6(&header).neighbour(NA, flags, target, g.mac()))
}

fn all_nodes() -> Ipv6Addr {
    "ff02::1".parse().expect("an address")
}

fn all_routers() -> Ipv6Addr {
    "ff02::2".parse().expect("an address")
}

#[test]
fn router_advertisements_are_the_routers() {
    let advertisement = |g: &Guest, header: &Ipv6| {
        g.frame(multicast_mac(all_nodes()), |b| {
            b.ipv6(header).icmpv6(134, 0).payload(&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
        })
    };
    both_refused(Reason::RouterAdvertisement, |g| {
        advertisement(g, &nd(g.link_local(), all_nodes()))
    });
    // Behind extension headers (RFC 7113).
    both_refused(Reason::RouterAdvertisement, |g| {
        g.frame(multicast_mac(all_nodes()), |b| {
            b.ipv6(&nd(g.link_local(), all_nodes()))
                .extension(60, &[0, 1, 4, 0, 0, 0, 0])
                .icmpv6(134, 0)
                .payload(&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
        })
    });
    let router = Guest { port: "router", number: ROUTER, tags: Vec::new() };
    let frame = advertisement(&router, &nd(router.link_local(), all_nodes()));
    reaches(&mut world(), "router", &frame, &["a", "peer", "t", "uplink"]);
}

#[test]
fn from_this_link_only() {
    both_refused(Reason::NdHopLimit, |g| {
        let group = solicited_node(v6(PEER));
        let header = Ipv6 { hop_limit: 254, ..nd(g.v6(), group) };
        g.frame(multicast_mac(group), |b| b.ipv6(&header).neighbour(NS, 0, v6(PEER), g.mac()))
    });
}

#[test]
fn solicitations_name_their_sender() {
    let with = |g: &Guest, target: Ipv6Addr, to: Ipv6Addr, source: Ipv6Addr, named: MacAddr| {
        let header = nd(source, to);
        let station = if to.is_multicast() { multicast_mac(to) } else { mac(PEER) };
        g.frame(station, |b| b.ipv6(&header).neighbour(NS, 0, target, named))
    };
    let group = solicited_node(v6(PEER));
    let reason = Reason::NeighbourSolicitation;
    both_refused(reason, |g| with(g, v6(PEER), group, g.v6(), mac(PEER)));
    both_refused(reason, |g| with(g, v6(PEER), all_nodes(), g.v6(), g.mac()));
    both_refused(reason, |g| with(g, v6(PEER), v6(ROUTER), g.v6(), g.mac()));
    both_refused(reason, |g| with(g, v6(PEER), group, Ipv6Addr::UNSPECIFIED, g.mac()));
    both_refused(reason, |g| with(g, all_nodes(), solicited_node(all_nodes()), g.v6(), g.mac()));
    both_refused(Reason::Ipv6Source, |g| with(g, v6(PEER), group, v6(ROUTER), g.mac()));
    both_refused(reason, |g| {
        // An option of length zero.
        let header = nd(g.v6(), group);
        g.frame(multicast_mac(group), |b| {
            let b = b.ipv6(&header).icmpv6(NS, 0).payload(&[0; 4]).payload(&v6(PEER).octets());
            b.payload(&[option::SOURCE_LINK_ADDRESS, 0]).payload(&g.mac().0)
        })
    });
    // Who is known to be there is asked himself.
    both_passed(|g| with(g, v6(PEER), v6(PEER), g.v6(), g.mac()));
}

/// Receivers believe the first option of a kind, or the last, and some look into one that is too long.
#[test]
fn no_option_names_another() {
    let options = |g: &Guest, kind: u8, nth: usize| {
        let other = 3 - kind;
        let own = [&[kind, 1], &g.mac().0[..]].concat();
        match nth {
            // The other's behind one's own, of the same kind and of the other.
            0 => [&own[..], &[kind, 1], &mac(66).0].concat(),
            1 => [&own[..], &[other, 1], &mac(66).0].concat(),
            // One's own twice is no honest message either.
            2 => [&own[..], &own].concat(),
            // Longer than an Ethernet address is.
            3 => [&[kind, 2], &mac(66).0[..], &[0; 8]].concat(),
            _ => [&[kind, 2], &g.mac().0[..], &[0; 8]].concat(),
        }
    };
    for nth in 0..5 {
        let message = |g: &Guest, number: u8, flags: u8, target: Ipv6Addr, to: Ipv6Addr| {
            let kind = if number == NA { 2 } else { 1 };
            let body = [&[flags, 0, 0, 0], &target.octets()[..]].concat();
            let body = if number == 133 { &body[..4] } else { &body[..] };
            let station = if to.is_multicast() { multicast_mac(to) } else { mac(PEER) };
            g.frame(station, |b| {
                let b = b.ipv6(&nd(g.v6(), to)).icmpv6(number, 0);
                b.payload(body).payload(&options(g, kind, nth))
            })
        };
        let reason = Reason::NeighbourSolicitation;
        both_refused(reason, |g| message(g, NS, 0, v6(PEER), v6(PEER)));
        both_refused(reason, |g| message(g, NS, 0, v6(PEER), solicited_node(v6(PEER))));
        let reason = Reason::NeighbourAdvertisement;
        both_refused(reason, |g| message(g, NA, SOLICITED, g.v6(), v6(PEER)));
        let reason = Reason::RouterSolicitation;
        both_refused(reason, |g| message(g, 133, 0, Ipv6Addr::UNSPECIFIED, all_routers()));
    }
}

#[track_caller]
fn says(frame: &[u8], target: Ipv6Addr, from: MacAddr, to: Ipv6Addr, flags: u8) {
    let parsed = parse(frame).expect("a frame");
    let Some(L3::Ipv6(ip)) = parsed.l3 else { panic!("{parsed:?}") };
    assert_eq!((ip.source, ip.destination, ip.hop_limit), (target, to, 255));
    let message = Neighbour::new(&frame[usize::from(parsed.l4.expect("a message").offset)..]);
    let message = message.expect("an advertisement");
    assert_eq!((message.target(), message.flags()), (target, flags));
    assert_eq!(message.link_address(option::TARGET_LINK_ADDRESS), Some(from));
    assert_eq!(parsed.src, from);
}

#[test]
fn questions_about_known_stations_are_answered_here() {
    for guest in [a(), t()] {
        let mut net = world();
        let answer = answered(&mut net, guest.port, &solicit(&guest, v6(PEER)));
        says(&answer, v6(PEER), mac(PEER), guest.v6(), OVERRIDE | SOLICITED);
        let answer = answered(&mut net, guest.port, &solicit(&guest, v6(ROUTER)));
        says(&answer, v6(ROUTER), mac(ROUTER), guest.v6(), OVERRIDE | SOLICITED | ROUTER_FLAG);
    }
}

#[test]
fn questions_about_unknown_stations_are_few() {
    let guest = a();
    let mut net = world();
    reaches(&mut net, "a", &solicit(&guest, v6(50)), &["router", "uplink"]);
    refused(&mut net, "a", &solicit(&guest, v6(50)), Reason::NdNegative);
    let mut spec = strict(2);
    spec.guard.rates.unknown = Rate::new(1, 4);
    net.change("a", spec);
    for number in 100..104 {
        passed(&mut net, "a", &solicit(&guest, v6(number)));
    }
    refused(&mut net, "a", &solicit(&guest, v6(104)), Reason::NdRate);
    let mut spec = strict(2);
    spec.guard.rates.nd = Rate::new(1, 1);
    net.change("a", spec);
    net.wait(Duration::from_secs(5));
    passed(&mut net, "a", &advertise(&guest, SOLICITED, guest.v6()));
    refused(&mut net, "a", &advertise(&guest, SOLICITED, guest.v6()), Reason::NdRate);
    // It may still ask.
    answered(&mut net, "a", &solicit(&guest, v6(PEER)));
}

#[test]
fn a_probe_takes_a_free_address_and_is_told_of_one_in_use() {
    for guest in [a(), t()] {
        let mut net = world();
        let fresh: Ipv6Addr = "fe80::1234".parse().expect("an address");
        reaches(&mut net, guest.port, &probe(&guest, fresh), &["router", "uplink"]);
        assert_eq!(net.engine.owner_of(fresh), None, "somebody outside may have it");
        net.wait(Duration::from_millis(900));
        passed(&mut net, guest.port, &advertise(&guest, SOLICITED, fresh));
        assert_eq!(net.engine.owner_of(fresh), Some(Owner::Port(net.id(guest.port))));
        let answer = answered(&mut net, guest.port, &probe(&guest, v6(PEER)));
        says(&answer, v6(PEER), mac(PEER), all_nodes(), OVERRIDE);
        // Nobody's, but not for the taking.
        let foreign = "2001:db8::7".parse().expect("an address");
        refused(&mut net, guest.port, &probe(&guest, foreign), Reason::Ipv6Source);
    }
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.rates.duplicates = Rate::new(1, 1);
    net.change("a", spec);
    answered(&mut net, "a", &probe(&a(), v6(PEER)));
    refused(&mut net, "a", &probe(&a(), v6(PEER)), Reason::DuplicateRate);
}

#[test]
fn a_probe_for_the_address_of_a_guest_that_is_away_is_answered() {
    let mut net = world();
    net.engine.plan_address(v6(70).into(), mac(70)).expect("a plan");
    let answer = answered(&mut net, "a", &probe(&a(), v6(70)));
    says(&answer, v6(70), mac(70), all_nodes(), OVERRIDE);
}

#[test]
fn advertisements_are_of_own_addresses() {
    let reason = Reason::NeighbourAdvertisement;
    both_passed(|g| advertise(g, SOLICITED | OVERRIDE, g.v6()));
    both_refused(reason, |g| advertise(g, SOLICITED, v6(PEER)));
    both_refused(reason, |g| advertise(g, SOLICITED | ROUTER_FLAG, g.v6()));
    // Who has a network behind him is a router, and may say so.
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.prefixes = vec!["fd09::/64".parse().expect("a prefix")];
    net.change("a", spec);
    passed(&mut net, "a", &advertise(&a(), SOLICITED | ROUTER_FLAG, a().v6()));
    both_refused(reason, |g| {
        let header = nd(g.v6(), v6(PEER));
        g.frame(mac(PEER), |b| b.ipv6(&header).neighbour(NA, SOLICITED, g.v6(), mac(PEER)))
    });
    both_refused(reason, |g| {
        let header = nd(g.v6(), all_nodes());
        let group = multicast_mac(all_nodes());
        g.frame(group, |b| b.ipv6(&header).neighbour(NA, SOLICITED, g.v6(), g.mac()))
    });
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.rates.duplicates = Rate::new(1, 1);
    net.change("a", spec);
    passed(&mut net, "a", &advertise(&a(), 0, a().v6()));
    refused(&mut net, "a", &advertise(&a(), 0, a().v6()), Reason::AdvertisementRate);
}

#[test]
fn router_solicitations() {
    let ask = |g: &Guest, source: Ipv6Addr, to: Ipv6Addr, named: Option<MacAddr>| {
        g.frame(multicast_mac(to), |b| {
            let b = b.ipv6(&nd(source, to)).icmpv6(133, 0).payload(&[0; 4]);
            match named {
                Some(mac) => b.payload(&[1, 1]).payload(&mac.0),
                None => b,
            }
        })
    };
    let reason = Reason::RouterSolicitation;
    both_passed(|g| ask(g, Ipv6Addr::UNSPECIFIED, all_routers(), None));
    both_refused(reason, |g| ask(g, Ipv6Addr::UNSPECIFIED, all_routers(), Some(g.mac())));
    both_refused(reason, |g| ask(g, g.v6(), all_routers(), Some(mac(PEER))));
    both_refused(reason, |g| ask(g, g.v6(), all_nodes(), Some(g.mac())));
    let mut net = world();
    let frame = ask(&a(), a().v6(), all_routers(), Some(a().mac()));
    reaches(&mut net, "a", &frame, &["router", "uplink"]);
    let mut spec = strict(2);
    spec.guard.rates.solicitations = Rate::new(1, 1);
    net.change("a", spec);
    drain(&mut net);
    net.wait(Duration::from_secs(2));
    passed(&mut net, "a", &frame);
    refused(&mut net, "a", &frame, Reason::SolicitationRate);
}
