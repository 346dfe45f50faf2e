//! Checks 14 and 44: nobody gives an address up because somebody else asks for it. A station that
//! tries its address takes any probe of another for a conflict (RFC 5227, 2.1.1; RFC 4862, 5.4.3), so
//! that it must not hear one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::Owner;
use engine::{NetworkGuard, NetworkSpec, PortSpec, Rate, Reason, SourceMode, Verdict, VlanMode};
use testkit::frames::Ip;
use testkit::{TestNetwork, mac};
use wire::arp::operation::REQUEST;
use wire::build::Ipv6;
use wire::ndp::{multicast_mac, solicited_node};
use wire::parse::Arp;
use wire::{MacAddr, parse};

use crate::world::{
    Guest, PEER, ROUTER, a, answered, both_refused, drain, learning, network, passed, refused,
    strict, taken, v4, v6, world, world_of,
};

const CLIENT: Guest = Guest { port: "client", number: 20, tags: Vec::new() };
const OTHER: Guest = Guest { port: "other", number: 21, tags: Vec::new() };
const OUTSIDE: Guest = Guest { port: "uplink", number: 200, tags: Vec::new() };

fn address(version: Ip, number: u32) -> IpAddr {
    match version {
        Ip::V4 => v4(number).into(),
        Ip::V6 => v6(number).into(),
    }
}

/// Whether somebody has the address (RFC 5227; duplicate address detection).
fn probe(who: &Guest, version: Ip, number: u32) -> Vec<u8> {
    match version {
        Ip::V4 => {
            let arp = arp_probe(who, number);
            who.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        Ip::V6 => {
            let target = v6(number);
            let group = solicited_node(target);
            let source = Ipv6Addr::UNSPECIFIED;
            let header = Ipv6 { source, destination: group, hop_limit: 255, ..Ipv6::default() };
            who.frame(multicast_mac(group), |b| {
                b.ipv6(&header).icmpv6(135, 0).payload(&[0; 4]).payload(&target.octets())
            })
        }
    }
}

fn arp_probe(who: &Guest, number: u32) -> Arp {
    Arp {
        operation: REQUEST,
        sender_mac: who.mac(),
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: MacAddr::ZERO,
        target_ip: v4(number),
    }
}

fn datagram(who: &Guest, version: Ip) -> Vec<u8> {
    match version {
        Ip::V4 => who.udp4(&who.ip4(), 1, 2),
        Ip::V6 => who.udp6(&who.ip6(), 1, 2),
    }
}

fn crowd() -> TestNetwork {
    let mut net = world();
    net.plug("client", learning());
    net.plug("other", learning());
    drain(&mut net);
    net
}

fn hears(net: &mut TestNetwork, port: &str) -> usize {
    net.receive(port).len()
}

#[test]
fn a_probe_is_for_all() {
    both_refused(Reason::ArpSenderIp, |g| g.frame(mac(PEER), |b| b.arp(&arp_probe(g, PEER))));
    // Nobody's address, or the sender's own.
    both_refused(Reason::ArpSenderIp, |g| g.frame(mac(PEER), |b| b.arp(&arp_probe(g, 50))));
    both_refused(Reason::ArpSenderIp, |g| g.frame(mac(PEER), |b| b.arp(&arp_probe(g, g.number))));
    // The group of the address is the only place for one of IPv6.
    both_refused(Reason::NeighbourSolicitation, |g| {
        let header = Ipv6 {
            source: Ipv6Addr::UNSPECIFIED,
            destination: "ff02::1".parse().expect("an address"),
            hop_limit: 255,
            ..Ipv6::default()
        };
        g.frame(multicast_mac(header.destination), |b| {
            b.ipv6(&header).icmpv6(135, 0).payload(&[0; 4]).payload(&v6(PEER).octets())
        })
    });
}

#[test]
fn who_has_an_address_of_its_choice_does_not_hear_of_probes_for_it() {
    for version in Ip::BOTH {
        let mut net = crowd();
        taken(&mut net, "client", &datagram(&CLIENT, version));
        let its = address(version, CLIENT.number);
        assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("client"))));
        for prober in [a(), OTHER, OUTSIDE] {
            hears(&mut net, "client");
            let answer = answered(&mut net, prober.port, &probe(&prober, version, CLIENT.number));
            assert_eq!(parse(&answer).expect("a frame").src, CLIENT.mac());
            assert_eq!(hears(&mut net, "client"), 0, "{prober:?}");
        }
        // Not as often as the prober likes.
        let mut spec = strict(2);
        spec.guard.rates.duplicates = Rate::new(1, 1);
        net.change("a", spec);
        net.wait(Duration::from_secs(1));
        answered(&mut net, "a", &probe(&a(), version, CLIENT.number));
        let frame = probe(&a(), version, CLIENT.number);
        refused(&mut net, "a", &frame, Reason::DuplicateRate);
        assert_eq!(hears(&mut net, "client"), 0);
    }
}

#[test]
fn whose_ethernet_address_is_not_known_yet_is_asked() {
    for version in Ip::BOTH {
        let mut net = crowd();
        let mut spec = learning();
        spec.source = SourceMode::Learn { max_macs: 3 };
        spec.guard.addresses = vec![address(version, CLIENT.number)];
        net.change("client", spec);
        passed(&mut net, "a", &probe(&a(), version, CLIENT.number));
        assert_eq!(hears(&mut net, "client"), 1);
        passed(&mut net, "client", &datagram(&CLIENT, version));
        let answer = answered(&mut net, "a", &probe(&a(), version, CLIENT.number));
        assert_eq!(parse(&answer).expect("a frame").src, CLIENT.mac());
        assert_eq!(hears(&mut net, "client"), 0);
    }
}

#[test]
fn two_that_try_one_address_do_not_hear_each_other() {
    for version in Ip::BOTH {
        let mut net = crowd();
        let (its, theirs) = (probe(&CLIENT, version, 60), probe(&OTHER, version, 60));
        // Who tries nothing may have it.
        passed(&mut net, "client", &its);
        assert_eq!((hears(&mut net, "other"), hears(&mut net, "client")), (1, 0));
        // Whether or not the second one's goes anywhere.
        net.send("other", &theirs);
        assert_eq!(hears(&mut net, "client"), 0);
        drain(&mut net);
        passed(&mut net, "client", &its);
        assert_eq!(hears(&mut net, "other"), 0);
        assert_eq!(net.engine.owner_of(address(version, 60)), None);
        // Another address is another matter.
        passed(&mut net, "client", &probe(&CLIENT, version, 61));
        assert_eq!(hears(&mut net, "other"), 1);
        // Who uses it first has it, and the other is told.
        net.wait(Duration::from_millis(900));
        let guest = Guest { number: 60, ..CLIENT };
        let frame = match version {
            Ip::V4 => CLIENT.udp4(&guest.ip4(), 1, 2),
            Ip::V6 => CLIENT.udp6(&guest.ip6(), 1, 2),
        };
        passed(&mut net, "client", &frame);
        let answer = answered(&mut net, "other", &theirs);
        assert_eq!(parse(&answer).expect("a frame").src, CLIENT.mac());
        assert_eq!(hears(&mut net, "client"), 0);
    }
}

/// A router that starts anew tries its address, too.
#[test]
fn a_station_outside_does_not_hear_of_probes_for_its_address() {
    for version in Ip::BOTH {
        let says = |who: &Guest| match version {
            Ip::V4 => question(who, version, PEER),
            Ip::V6 => {
                let header = Ipv6 { hop_limit: 255, ..who.ip6() };
                who.frame(mac(PEER), |b| b.ipv6(&header).neighbour(136, 0x60, who.v6(), who.mac()))
            }
        };
        let mut net = crowd();
        net.send("uplink", &says(&OUTSIDE));
        drain(&mut net);
        for prober in [a(), CLIENT] {
            let answer = answered(&mut net, prober.port, &probe(&prober, version, OUTSIDE.number));
            assert_eq!(parse(&answer).expect("a frame").src, OUTSIDE.mac());
            assert_eq!((hears(&mut net, "uplink"), hears(&mut net, "other")), (0, 0));
        }
        // Who asks and does not try it asks the station itself.
        passed(&mut net, "a", &question(&a(), version, OUTSIDE.number));
        // One that is silent for long is forgotten.
        net.wait(Duration::from_secs(600));
        drain(&mut net);
        assert!(matches!(
            net.send("client", &probe(&CLIENT, version, OUTSIDE.number)),
            Verdict::Flood { .. } | Verdict::Forward(_)
        ));
        assert_eq!(hears(&mut net, "uplink"), 1);
    }
}

/// An address can be planned for a port whose client brings an Ethernet address of its own.
#[test]
fn nobody_is_told_a_planned_ethernet_address_that_its_client_does_not_use() {
    for version in Ip::BOTH {
        let its = address(version, CLIENT.number);
        let mut net = crowd();
        net.unplug("client");
        net.engine.plan_address(its, mac(70)).expect("a plan");
        let mut spec = strict(70);
        spec.source = SourceMode::Learn { max_macs: 1 };
        spec.guard.addresses = vec![its];
        net.plug("client", spec);
        drain(&mut net);
        passed(&mut net, "client", &datagram(&CLIENT, version));
        // It is asked itself, and probes are answered as it would.
        hears(&mut net, "client");
        passed(&mut net, "a", &question(&a(), version, CLIENT.number));
        assert_eq!(hears(&mut net, "client"), 1);
        let answer = answered(&mut net, "a", &probe(&a(), version, CLIENT.number));
        assert_eq!(parse(&answer).expect("a frame").src, CLIENT.mac());
        // One that has no other address is answered for.
        let mut spec = strict(70);
        spec.guard.addresses = vec![its];
        net.change("client", spec);
        let answer = answered(&mut net, "a", &question(&a(), version, CLIENT.number));
        assert_eq!(parse(&answer).expect("a frame").src, mac(70));
    }
}

/// Who has the address?
fn question(who: &Guest, version: Ip, number: u32) -> Vec<u8> {
    match version {
        Ip::V4 => {
            let arp = Arp { sender_ip: who.v4(), ..arp_probe(who, number) };
            who.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        Ip::V6 => {
            let group = solicited_node(v6(number));
            let header =
                Ipv6 { source: who.v6(), destination: group, hop_limit: 255, ..Ipv6::default() };
            who.frame(multicast_mac(group), |b| {
                b.ipv6(&header).neighbour(135, 0, v6(number), who.mac())
            })
        }
    }
}

/// Who may not have an address has to learn it, or he keeps it and is refused with whatever he sends.
#[test]
fn who_is_apart_from_the_owner_learns_that_an_address_is_taken_and_not_by_whom() {
    let own = MacAddr([0x02, 0x6e, 0x64, 0x71, 0x00, 0x01]);
    let isolated = |spec| PortSpec { isolated: true, ..spec };
    let second = |spec| PortSpec { vlan: VlanMode::Access(2), ..spec };
    let community = |number, spec| PortSpec { community: Some(number), ..spec };
    let routed =
        NetworkSpec { guard: NetworkGuard { routed: true, ..network().guard }, ..network() };
    let cases = [
        (network(), isolated(learning()), isolated(learning()), own),
        (network(), community(1, learning()), community(2, learning()), own),
        (network(), strict(CLIENT.number), second(learning()), own),
        (routed, learning(), learning(), mac(ROUTER)),
    ];
    for (spec, owner, prober, answerer) in cases {
        for version in Ip::BOTH {
            let mut net = world_of(spec.clone());
            net.plug("client", owner.clone());
            net.plug("other", prober.clone());
            drain(&mut net);
            net.send("client", &datagram(&CLIENT, version));
            net.wait(Duration::from_millis(900));
            net.send("client", &datagram(&CLIENT, version));
            let its = address(version, CLIENT.number);
            assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("client"))));
            drain(&mut net);
            hears(&mut net, "client");
            let answer = answered(&mut net, "other", &probe(&OTHER, version, CLIENT.number));
            let parsed = parse(&answer).expect("a frame");
            assert_eq!(parsed.src, answerer);
            assert!(!answer.windows(6).any(|bytes| bytes == CLIENT.mac().0), "{answer:02x?}");
            assert_eq!(hears(&mut net, "client"), 0);
            // Not as often as the prober likes.
            let mut bounded = prober.clone();
            bounded.guard.rates.duplicates = Rate::new(1, 1);
            net.change("other", bounded);
            net.wait(Duration::from_secs(1));
            answered(&mut net, "other", &probe(&OTHER, version, CLIENT.number));
            let frame = probe(&OTHER, version, CLIENT.number);
            refused(&mut net, "other", &frame, Reason::DuplicateRate);
        }
    }
}

/// A question that is no probe is not answered so.
#[test]
fn who_is_apart_finds_nobody() {
    for version in Ip::BOTH {
        let mut net = world();
        net.plug("client", PortSpec { isolated: true, ..strict(CLIENT.number) });
        net.plug("other", PortSpec { isolated: true, ..strict(OTHER.number) });
        drain(&mut net);
        let question = match version {
            Ip::V4 => {
                let arp = Arp { sender_ip: OTHER.v4(), ..arp_probe(&OTHER, CLIENT.number) };
                OTHER.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
            }
            Ip::V6 => {
                let target = v6(CLIENT.number);
                let destination = solicited_node(target);
                let header = Ipv6 { destination, hop_limit: 255, ..OTHER.ip6() };
                OTHER.frame(multicast_mac(destination), |b| {
                    b.ipv6(&header).neighbour(135, 0, target, OTHER.mac())
                })
            }
        };
        assert!(matches!(net.send("other", &question), Verdict::Flood { .. }));
        assert_eq!((hears(&mut net, "client"), hears(&mut net, "other")), (0, 0));
    }
}
