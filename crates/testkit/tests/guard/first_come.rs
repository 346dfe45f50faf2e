//! What a guest may take beside what it was given, and what it has to give back (checks 14, 15, 21,
//! 34, 41 and 60).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::{BindError, BindingSource, Lifetime, Owner};
use engine::{
    BindingEnd, Event, GuardMode, Instant, NetworkGuard, NetworkPlan, NetworkSpec, PortPlan,
    Reason, Verdict,
};
use testkit::{TestNetwork, mac};
use wire::MacAddr;
use wire::arp::operation::REQUEST;
use wire::build::{Ipv4, Ipv6};
use wire::ndp::{kind, multicast_mac, solicited_node};
use wire::parse::Arp;

use crate::world::{Guest, a, learning, network, refused, strict, v4, v6};

const CLIENT: Guest = Guest { port: "client", number: 20, tags: Vec::new() };

/// A network without an outside, so that nobody has to be asked, and a client in it.
fn segment(guard: NetworkGuard) -> TestNetwork {
    let mut net = TestNetwork::new(NetworkSpec { guard, ..network() });
    net.plug("client", learning());
    net.plug("a", strict(2));
    net.send("a", &a().udp4(&a().ip4(), 1, 2));
    quiet(&mut net);
    net
}

fn quiet(net: &mut TestNetwork) {
    while net.engine.poll_event().is_some() {}
    for port in ["client", "a"] {
        net.receive(port);
    }
    net.forget_moved();
}

#[track_caller]
fn passed(net: &mut TestNetwork, port: &str, frame: &[u8]) {
    let verdict = net.send(port, frame);
    assert!(matches!(verdict, Verdict::Forward(_) | Verdict::Flood { .. }), "{verdict:?}");
    quiet(net);
}

/// A datagram from this address to the other one.
fn from(guest: &Guest, source: IpAddr) -> Vec<u8> {
    let to = if guest.number == 2 { CLIENT.number } else { 2 };
    guest.frame(mac(to), |b| {
        match source {
            IpAddr::V4(source) => b.ipv4(&Ipv4 { source, destination: v4(to), ..Ipv4::default() }),
            IpAddr::V6(source) => b.ipv6(&Ipv6 { source, destination: v6(to), ..Ipv6::default() }),
        }
        .udp(1, 2)
        .payload(&[7; 30])
    })
}

/// "It is mine", to all.
fn announce(guest: &Guest, address: Ipv4Addr) -> Vec<u8> {
    let arp = Arp {
        operation: REQUEST,
        sender_mac: guest.mac(),
        sender_ip: address,
        target_mac: MacAddr::ZERO,
        target_ip: address,
    };
    guest.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
}

/// "Does anybody have it?"
fn probe(guest: &Guest, target: Ipv6Addr) -> Vec<u8> {
    let group = solicited_node(target);
    let header = Ipv6 {
        source: Ipv6Addr::UNSPECIFIED,
        destination: group,
        hop_limit: 255,
        ..Ipv6::default()
    };
    guest.frame(multicast_mac(group), |b| {
        let b = b.ipv6(&header).icmpv6(kind::NEIGHBOUR_SOLICITATION, 0);
        b.payload(&[0; 4]).payload(&target.octets())
    })
}

#[test]
fn no_station_has_an_address_of_these_kinds() {
    for address in [
        "10.0.0.255",
        "10.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "240.0.0.1",
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
    ] {
        let address: Ipv4Addr = address.parse().expect("an address");
        let mut net = segment(network().guard);
        refused(&mut net, "client", &announce(&CLIENT, address), Reason::ArpGratuitous);
        refused(&mut net, "client", &from(&CLIENT, address.into()), Reason::Ipv4SourceKind);
        assert_eq!(net.engine.owner_of(address), None);
    }
    for address in [
        "::1",
        "2002:a00:1::1",
        "2001:0:1::1",
        "::ffff:10.0.0.1",
        "::10.1.2.3",
        "64:ff9b::7f00:1",
        "100::7",
        "fec0::7",
        "fd00::",
        "2001:db8::",
        "fe80::",
        "fd00::fdff:ffff:ffff:fffe",
        "fe80::fdff:ffff:ffff:ff80",
        "fd00:ec2::254",
        "fd20:ce::254",
    ] {
        let address: Ipv6Addr = address.parse().expect("an address");
        let mut net = segment(network().guard);
        // Who would like to know whether it is free has not got it by that.
        let asked = net.send("client", &probe(&CLIENT, address));
        assert!(matches!(asked, Verdict::Drop(_)), "{address}: {asked:?}");
        quiet(&mut net);
        refused(&mut net, "client", &from(&CLIENT, address.into()), Reason::Ipv6SourceKind);
        assert_eq!(net.engine.owner_of(address), None);
    }
}

/// The network keeps them for its router.
#[test]
fn the_first_of_the_networks_prefix_are_not_first_come() {
    for spec in [learning(), strict(CLIENT.number)] {
        let mut net = segment(network().guard);
        net.change("client", spec);
        for number in [1, 3, 15] {
            refused(&mut net, "client", &probe(&CLIENT, v6(number)), Reason::Ipv6Source);
            refused(&mut net, "client", &from(&CLIENT, v6(number).into()), Reason::Ipv6Source);
        }
        passed(&mut net, "client", &from(&CLIENT, v6(16).into()));
        // Elsewhere a guest may have them.
        let link_local = "fe80::7".parse().expect("an address");
        passed(&mut net, "client", &from(&CLIENT, IpAddr::V6(link_local)));
    }
}

#[test]
fn what_the_network_gives_out_is_not_first_come() {
    let guard = NetworkGuard { first_come: Some((v4(192), v4(254))), ..network().guard };
    for number in [16, 128, 191] {
        let mut net = segment(guard.clone());
        refused(&mut net, "client", &announce(&CLIENT, v4(number)), Reason::ArpGratuitous);
        refused(&mut net, "client", &from(&CLIENT, v4(number).into()), Reason::Ipv4Source);
    }
    for number in [192, 254] {
        let mut net = segment(guard.clone());
        passed(&mut net, "client", &from(&CLIENT, v4(number).into()));
        assert_eq!(net.engine.owner_of(v4(number)), Some(Owner::Port(net.id("client"))));
    }
    // What is not of the subnet is not the network's to give.
    let mut net = segment(guard);
    passed(&mut net, "client", &from(&CLIENT, IpAddr::from([192, 0, 2, 7])));
}

#[test]
fn who_is_given_an_address_gets_it() {
    for address in [IpAddr::V4(v4(200)), v6(200).into()] {
        let lease = (Lifetime::Until(Instant::from_nanos(u64::MAX)), BindingSource::Lease);
        let configured = (Lifetime::Forever, BindingSource::Configuration);
        for (lifetime, source) in [lease, configured] {
            let mut net = segment(network().guard);
            passed(&mut net, "client", &from(&CLIENT, address));
            let (client, guest) = (net.id("client"), net.id("a"));
            assert_eq!(net.engine.owner_of(address), Some(Owner::Port(client)));
            quiet(&mut net);
            net.engine.bind(guest, address, lifetime, source).expect("it was only used first");
            let ended = Event::BindingEnded {
                port: client,
                address: address.into(),
                vlan: Some(1),
                why: BindingEnd::Given,
            };
            assert_eq!(net.engine.poll_event(), Some(ended));
            let made = Event::BindingMade { port: guest, address: address.into(), source };
            assert_eq!(net.engine.poll_event(), Some(made));
            let reason = if address.is_ipv4() { Reason::Ipv4Source } else { Reason::Ipv6Source };
            refused(&mut net, "client", &from(&CLIENT, address), reason);
            // What was given is nobody else's, however it is tried.
            let taken = BindError::Taken { address: address.into(), owner: guest };
            for (lifetime, source) in [lease, configured] {
                assert_eq!(net.engine.bind(client, address, lifetime, source), Err(taken));
            }
            assert_eq!(net.engine.plan_address(address, mac(77)), Err(taken));
            assert_eq!(net.engine.end_lease(address), source == BindingSource::Lease);
        }
        // A guest that is not here yet: its plan, and itself.
        let mut net = segment(network().guard);
        passed(&mut net, "client", &from(&CLIENT, address));
        net.engine.plan_address(address, mac(30)).expect("it was only used first");
        assert_eq!(net.engine.owner_of(address), Some(Owner::Planned(mac(30))));
        let mut net = segment(network().guard);
        passed(&mut net, "client", &from(&CLIENT, address));
        let mut spec = strict(30);
        spec.guard.addresses = vec![address];
        let plan = PortPlan::validate(spec, &NetworkPlan::validate(network()).expect("one"));
        let id = net.engine.add_port(plan.expect("a port")).expect("it was only used first");
        assert_eq!(net.engine.owner_of(address), Some(Owner::Port(id)));
        // A first use is no lease, so the end of somebody's lease is not its end.
        let mut net = segment(network().guard);
        passed(&mut net, "client", &from(&CLIENT, address));
        assert!(!net.engine.end_lease(address));
        assert_eq!(net.engine.owner_of(address), Some(Owner::Port(net.id("client"))));
    }
}

/// What was a first use is renewed by use, what is a lease by its server.
#[test]
fn use_does_not_prolong_a_lease() {
    for spec in [learning(), strict(CLIENT.number)] {
        for address in [IpAddr::V4(v4(200)), v6(200).into()] {
            if address.is_ipv4() && spec.guard.mode == GuardMode::Static {
                continue;
            }
            let mut net = segment(network().guard);
            net.change("client", spec.clone());
            passed(&mut net, "client", &from(&CLIENT, address));
            let (client, end) = (net.id("client"), Instant::from_nanos(3_600_000_000_000));
            let (lifetime, source) = (Lifetime::Until(end), BindingSource::Lease);
            net.engine.bind(client, address, lifetime, source).expect("it has it");
            for _ in 0..2 {
                net.wait(Duration::from_secs(700));
                passed(&mut net, "client", &from(&CLIENT, address));
                let binding = net.engine.binding_of(address).expect("a binding");
                assert_eq!((binding.source, binding.lifetime), (source, lifetime));
            }
        }
    }
}

#[test]
fn a_guest_that_nobody_asks_keeps_its_addresses_while_it_is_silent() {
    let mut net = segment(network().guard);
    let address = v6(0x1234);
    passed(&mut net, "a", &from(&a(), address.into()));
    passed(&mut net, "client", &from(&CLIENT, v6(0x1235).into()));
    quiet(&mut net);
    net.wait(Duration::from_secs(5 * 3600));
    assert_eq!(net.engine.owner_of(address), Some(Owner::Port(net.id("a"))));
    assert_eq!(net.engine.owner_of(v6(0x1235)), None, "it is asked when somebody wants to know");
}

/// What a port took as long as it could choose is not its own where others choose for it.
#[test]
fn another_mode_ends_what_it_would_not_give() {
    let addresses: [IpAddr; 4] = ["10.0.0.250", "2001:db8::5", "fd00::250", "fe80::250"]
        .map(|text| text.parse().expect("an address"));
    let owners =
        |net: &TestNetwork| addresses.map(|address| net.engine.owner_of(address).is_some());
    let world = || {
        let mut net = segment(NetworkGuard { ..network().guard });
        for address in addresses {
            passed(&mut net, "client", &from(&CLIENT, address));
        }
        assert_eq!(owners(&net), [true; 4]);
        net
    };
    let mut given = learning();
    given.guard.mode = GuardMode::Static;
    given.guard.addresses = vec![v4(20).into()];
    let kept = [false, false, true, true];
    // By a reload, and by a call.
    let mut net = world();
    net.change("client", given.clone());
    assert_eq!(owners(&net), kept);
    refused(&mut net, "client", &from(&CLIENT, addresses[0]), Reason::Ipv4Source);
    refused(&mut net, "client", &from(&CLIENT, addresses[1]), Reason::Ipv6Source);
    passed(&mut net, "client", &from(&CLIENT, addresses[2]));
    let mut net = world();
    let id = net.id("client");
    net.engine.set_guard(id, given.guard.clone()).expect("it is free");
    assert_eq!(owners(&net), kept);
    // The same mode ends nothing, nor does one that gives more; no guard at all gives nothing.
    let mut net = world();
    let mut other = learning();
    other.guard.groups = 5;
    net.change("client", other);
    assert_eq!(owners(&net), [true; 4]);
    net.engine.set_guard(id, given.guard).expect("it is free");
    net.engine.set_guard(id, learning().guard).expect("it is free");
    assert_eq!(owners(&net), kept);
    let off = engine::GuardSpec::default();
    net.engine.set_guard(id, off).expect("it is free");
    assert_eq!(owners(&net), [false; 4]);
}

/// A network that is routed beside this one: its guests are no guests here (checks 21 and 34).
#[test]
fn addresses_of_other_networks_are_not_first_come() {
    let others = ["10.60.0.0/20", "fd60::/64"].map(|it| it.parse().expect("a prefix"));
    let own: [IpAddr; 2] = [v4(30).into(), v6(30).into()];
    let theirs: [IpAddr; 2] =
        ["10.60.15.40", "fd60::c0de"].map(|it| it.parse().expect("an address"));
    let reasons = [Reason::Ipv4Source, Reason::Ipv6Source];
    let mut net = segment(network().guard);
    for address in own.into_iter().chain(theirs) {
        passed(&mut net, "client", &from(&CLIENT, address));
        assert_eq!(net.engine.owner_of(address), Some(Owner::Port(net.id("client"))));
    }
    // A network comes, and one with our own subnet in it: what is ours stays so.
    let wide = ["10.0.0.0/8", "fd00::/16"].map(|it| it.parse().expect("a prefix"));
    net.engine.set_other_networks(&[others, wide].concat());
    quiet(&mut net);
    for (address, reason) in theirs.into_iter().zip(reasons) {
        assert_eq!(net.engine.owner_of(address), None);
        refused(&mut net, "client", &from(&CLIENT, address), reason);
    }
    let IpAddr::V4(its) = theirs[0] else { panic!("an address") };
    refused(&mut net, "client", &announce(&CLIENT, its), Reason::ArpGratuitous);
    for address in own {
        assert_eq!(net.engine.owner_of(address), Some(Owner::Port(net.id("client"))));
        passed(&mut net, "client", &from(&CLIENT, address));
    }
    // What was given to a port is its own all the same.
    let client = net.id("client");
    let configured = BindingSource::Configuration;
    net.engine.bind(client, theirs[0], Lifetime::Forever, configured).expect("it is free");
    net.engine.set_other_networks(&others);
    passed(&mut net, "client", &from(&CLIENT, theirs[0]));
    // It goes.
    net.engine.set_other_networks(&[]);
    passed(&mut net, "client", &from(&CLIENT, theirs[1]));
}
