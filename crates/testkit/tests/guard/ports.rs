//! What is a port's as a whole: modes, actions, quarantine, changes, and what it is sent (checks 52
//! to 55, 57 and 60).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bpf::expression::{Options, compile};
use engine::bindings::BindingSource::{Configuration, FirstUse, Lease};
use engine::bindings::{BindError, Lifetime, Owner};
use engine::{
    Action, CapturePlan, Check, Event, FIRST_COME_MAX, Fate, FirstCome, GuardMode, GuardSpec,
    NetworkGuard, NetworkSpec, PortError, PortFilter, PortPlan, PortSpec, Quarantine, Reason,
    Verdict,
};
use testkit::frames::{Ip, tcp_gso, udp_gso};
use testkit::{TestNetwork, mac};
use wire::arp::operation::REQUEST;
use wire::build::{Ipv4, Ipv6};
use wire::parse::Arp;
use wire::{L3, MacAddr, OffloadSet, Transport, parse};

use crate::world::{
    Guest, PEER, ROUTER, a, answered, drain, learning, network, passed, reaches, refused,
    refused_on_egress, strict, taken, v4, v6, world, world_of,
};

fn forged() -> Vec<u8> {
    a().udp4(&Ipv4 { source: v4(PEER), ..a().ip4() }, 1000, 2000)
}

#[test]
fn off_is_off() {
    let mut net = world();
    net.change("a", PortSpec { guard: GuardSpec::default(), ..strict(2) });
    passed(&mut net, "a", &forged());
    assert_eq!(net.engine.owner_of(v4(2)), None, "its guard named it");
}

#[test]
fn addresses_are_bound_to_one_port() {
    let mut net = world();
    let owner = net.id("a");
    let network = engine::NetworkPlan::validate(network()).expect("a network");
    let mut spec = strict(20);
    spec.guard.addresses = vec![v4(2).into()];
    let plan = PortPlan::validate(spec, &network).expect("a port");
    let taken = BindError::Taken { address: v4(2).into(), owner };
    assert_eq!(net.engine.add_port(plan), Err(PortError::Address(taken)));
    let mut guard = strict(PEER).guard;
    guard.addresses.push(v4(2).into());
    let peer = net.id("peer");
    assert_eq!(net.engine.set_guard(peer, guard.clone()), Err(PortError::Address(taken)));
    // Live, without a word to anybody.
    guard.addresses = vec![v4(33).into()];
    net.engine.set_guard(peer, guard).expect("free addresses");
    let guest = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let frame = |source| {
        let header = Ipv4 { source, destination: v4(2), ..guest.ip4() };
        guest.frame(mac(2), |b| b.ipv4(&header).udp(1, 2))
    };
    refused(&mut net, "peer", &frame(v4(PEER)), Reason::Ipv4Source);
    drain(&mut net);
    assert!(matches!(net.send("peer", &frame(v4(33))), Verdict::Forward(_)));
}

#[test]
fn a_binding_that_ends_takes_effect_at_once() {
    let mut net = world();
    let (now, port) = (net.now, net.id("a"));
    let until = Lifetime::Until(now + Duration::from_secs(60));
    net.engine.bind(port, v4(60), until, Lease).expect("a lease");
    drain(&mut net);
    let frame = a().udp4(&Ipv4 { source: v4(60), ..a().ip4() }, 1, 2);
    for _ in 0..3 {
        passed(&mut net, "a", &frame);
    }
    net.wait(Duration::from_secs(60));
    let ended = std::iter::from_fn(|| net.engine.poll_event()).any(
        |event| matches!(event, Event::BindingEnded { address, .. } if address == v4(60).into()),
    );
    assert!(ended, "whoever keeps something about the address is told");
    refused(&mut net, "a", &frame, Reason::Ipv4Source);
    net.engine.bind(port, v4(60), Lifetime::Forever, Configuration).expect("free");
    passed(&mut net, "a", &frame);
    assert!(net.engine.unbind(v4(60)));
    refused(&mut net, "a", &frame, Reason::Ipv4Source);
}

#[test]
fn learn_takes_free_addresses_up_to_its_cap() {
    let mut net = world();
    let mut spec = learning();
    spec.guard.first_come.v4 = 2;
    spec.guard.first_come.v6 = 2;
    net.plug("client", spec);
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    let from4 = |n| client.udp4(&Ipv4 { source: v4(n), ..client.ip4() }, 1, 2);
    let from6 = |n| client.udp6(&Ipv6 { source: v6(n), ..client.ip6() }, 1, 2);
    for stolen in [2, 3, PEER, ROUTER] {
        refused(&mut net, "client", &from4(stolen), Reason::Ipv4Source);
        refused(&mut net, "client", &from6(stolen), Reason::Ipv6Source);
    }
    net.engine.plan_address(v4(30).into(), mac(30)).expect("a plan");
    refused(&mut net, "client", &from4(30), Reason::Ipv4Source);
    for number in [20, 21] {
        taken(&mut net, "client", &from4(number));
        taken(&mut net, "client", &from6(number));
        assert_eq!(net.engine.owner_of(v4(number)), Some(Owner::Port(net.id("client"))));
    }
    refused(&mut net, "client", &from4(22), Reason::Ipv4SourceLimit);
    refused(&mut net, "client", &from6(22), Reason::Ipv6SourceLimit);
    // What nobody used for hours is nobody's.
    net.wait(Duration::from_secs(4 * 3600));
    assert_eq!(net.engine.owner_of(v4(20)), None);
    // What is used stays.
    taken(&mut net, "client", &from4(20));
    for _ in 0..5 {
        net.wait(Duration::from_secs(3600));
        passed(&mut net, "client", &from4(20));
    }
    assert_eq!(net.engine.owner_of(v4(20)), Some(Owner::Port(net.id("client"))));
    net.unplug("client");
    assert_eq!(net.engine.owner_of(v4(20)), None);
}

#[test]
fn who_may_take_many_addresses_can() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("peer", strict(PEER));
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    // Without the last one of every 256, which is nobody's.
    let number = |n: u32| 256 + n + n / 255;
    let from4 = |n| client.udp4(&Ipv4 { source: v4(number(n)), ..client.ip4() }, 1, 2);
    let from6 = |n| client.udp6(&Ipv6 { source: v6(number(n)), ..client.ip6() }, 1, 2);
    // What is said, and what is had, of each version.
    for (said, most) in [(64, 64), (u16::MAX, FIRST_COME_MAX)] {
        let mut spec = learning();
        spec.guard.first_come = FirstCome { v4: said, v6: said };
        net.plug("client", spec);
        let port = net.id("client");
        for number in 0..u32::from(most) {
            for frame in [from4(number), from6(number)] {
                let verdict = net.send("client", &frame);
                assert!(matches!(verdict, Verdict::Forward(_)), "{number} of {said}: {verdict:?}");
            }
            net.receive("peer");
        }
        let mut full = |frame: &[u8], reason| {
            assert_eq!(net.send("client", frame), Verdict::Drop(reason), "of {said}");
        };
        for number in [most, most + 1].map(u32::from) {
            full(&from4(number), Reason::Ipv4SourceLimit);
            full(&from6(number), Reason::Ipv6SourceLimit);
        }
        // A lease has its place beside them.
        net.engine.bind(port, v4(90), Lifetime::Forever, Lease).expect("room");
        net.unplug("client");
    }
    // The next port in its place has what every port has.
    let mut spec = learning();
    spec.guard.first_come = FirstCome::default();
    net.plug("client", spec);
    let port = net.id("client");
    let bind = |number| net.engine.bind(port, v4(number + 1000), Lifetime::Forever, FirstUse);
    assert_eq!((0..40u32).map(bind).filter(Result::is_ok).count(), 32);
}

#[test]
fn a_routed_prefix_is_the_ports() {
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.prefixes =
        vec!["10.9.0.0/16".parse().expect("a prefix"), "fd99::/48".parse().expect("a prefix")];
    net.change("a", spec);
    let inner = a().udp4(&Ipv4 { source: [10, 9, 3, 4].into(), ..a().ip4() }, 1, 2);
    passed(&mut net, "a", &inner);
    let source = "fd99:0:0:7::1".parse().expect("an address");
    passed(&mut net, "a", &a().udp6(&Ipv6 { source, ..a().ip6() }, 1, 2));
    let mut guest = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let frame = guest.udp4(&Ipv4 { source: [10, 9, 3, 4].into(), ..guest.ip4() }, 1, 2);
    guest.number = PEER;
    refused(&mut net, "peer", &frame, Reason::Ipv4Source);
}

#[test]
fn an_action_for_each_check() {
    let with = |action| {
        let mut net = world();
        let mut spec = strict(2);
        spec.guard.actions.set(Check::Ipv4Source, action).expect("settable");
        net.change("a", spec);
        drain(&mut net);
        net
    };
    let mut net = with(Action::Allow);
    passed(&mut net, "a", &forged());
    let mut net = with(Action::Audit);
    let frame = forged();
    assert!(matches!(net.send("a", &frame), Verdict::Forward(_)));
    net.moved(&[
        &format!("a rx_frames rx_bytes+{} rx_unicast rx_forwarded audit.ipv4-source", frame.len()),
        "peer tx_offered tx_queued",
    ]);
    let Some(Event::Violation { reason, fate: Fate::Passed, since: 1, .. }) =
        net.engine.poll_event()
    else {
        panic!("an audit is told");
    };
    assert_eq!((reason, reason.check()), (Reason::Ipv4Source, Some(Check::Ipv4Source)));
    // It was not accepted for good, only this once.
    drain(&mut net);
    assert!(matches!(net.send("a", &frame), Verdict::Forward(_)));
    let counters = net.engine.port_counters(net.id("a")).expect("a port");
    assert_eq!(counters.audited(Reason::Ipv4Source), 2);

    let mut net = with(Action::Reject);
    assert_eq!(net.send("a", &frame), Verdict::Drop(Reason::Ipv4Source));
    net.moved(&[&format!(
        "a rx_frames rx_bytes+{} rx_unicast drop.ipv4-source tx_own tx_offered tx_queued",
        frame.len()
    )]);
    let told = net.receive_plain("a").remove(0);
    let parsed = parse(&told).expect("a frame");
    assert_eq!((parsed.dst, parsed.src), (mac(2), mac(PEER)));
    assert_eq!(parsed.l4.expect("an error").transport, Transport::Icmpv4 { kind: 3, code: 13 });
    let Some(L3::Ipv4(ip)) = parsed.l3 else { panic!("{parsed:?}") };
    assert_eq!((ip.source, ip.destination), (v4(PEER), v4(PEER)));
    // At a bounded rate.
    for _ in 0..100 {
        net.send("a", &frame);
    }
    assert_eq!(net.receive("a").len(), 19);
    let mut net = with(Action::Drop);
    let mut spec = strict(2);
    spec.guard.actions.set(Check::Ipv6Source, Action::Reject).expect("settable");
    net.change("a", spec);
    let frame = a().udp6(&Ipv6 { source: v6(PEER), ..a().ip6() }, 1, 2);
    assert_eq!(net.send("a", &frame), Verdict::Drop(Reason::Ipv6Source));
    let told = net.receive_plain("a").remove(0);
    let transport = parse(&told).expect("a frame").l4.expect("an error").transport;
    assert_eq!(transport, Transport::Icmpv6 { kind: 1, code: 1 });
}

#[test]
fn violations_are_told_with_enough_to_act_on_and_not_too_often() {
    let mut net = world();
    for _ in 0..5 {
        net.send("a", &forged());
    }
    let Some(Event::Violation { port, reason, fate, summary, since }) = net.engine.poll_event()
    else {
        panic!("a violation is told");
    };
    assert_eq!((port, reason, fate, since), (net.id("a"), Reason::Ipv4Source, Fate::Dropped, 1));
    assert_eq!(
        summary.to_string(),
        format!(
            "{} > {}, VLAN 1, EtherType 0800, 10.0.0.9 > 10.0.0.9, UDP 1000 > 2000, 62 bytes",
            mac(2),
            mac(PEER)
        )
    );
    assert_eq!(net.engine.poll_event(), None);
    net.wait(Duration::from_secs(1));
    net.send("a", &forged());
    let told = net.engine.poll_event();
    assert!(matches!(told, Some(Event::Violation { since: 5, .. })), "{told:?}");
}

#[test]
fn quarantine_and_release() {
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.quarantine = Some(Quarantine {
        violations: 3,
        within: Duration::from_secs(10),
        release: Duration::from_secs(60),
    });
    spec.guard.bpdu_shutdown = Some(Duration::from_secs(5));
    net.change("a", spec);
    let good = a().udp4(&a().ip4(), 1, 2);
    for _ in 0..2 {
        refused(&mut net, "a", &forged(), Reason::Ipv4Source);
    }
    net.wait(Duration::from_secs(10));
    for _ in 0..2 {
        refused(&mut net, "a", &forged(), Reason::Ipv4Source);
    }
    passed(&mut net, "a", &good);
    refused(&mut net, "a", &forged(), Reason::Ipv4Source);
    let until = net.now + Duration::from_secs(60);
    let told = std::iter::from_fn(|| net.engine.poll_event()).last();
    let port = net.id("a");
    let cut = Event::Quarantined { port, reason: Reason::Ipv4Source, until };
    assert_eq!(told, Some(cut));
    assert_eq!(net.engine.quarantined_until(port), Some(until));
    refused(&mut net, "a", &good, Reason::Quarantined);
    net.wait(Duration::from_secs(59));
    refused(&mut net, "a", &good, Reason::Quarantined);
    net.wait(Duration::from_secs(1));
    assert!(matches!(net.send("a", &good), Verdict::Forward(_)));
    assert_eq!(net.engine.poll_event(), Some(Event::Released { port }));
    // By a bridge's frame at once; released by hand.
    let group = MacAddr([1, 0x80, 0xc2, 0, 0, 0]);
    let bpdu = a().frame(group, |b| b.ethertype(38).payload(&[0x42; 40]));
    refused(&mut net, "a", &bpdu, Reason::Bpdu);
    refused(&mut net, "a", &good, Reason::Quarantined);
    assert!(net.engine.release_port(port) && !net.engine.release_port(port));
    passed(&mut net, "a", &good);
}

#[test]
fn a_guest_is_sent_what_is_its_own() {
    let mut net = world();
    let to = |destination| a().udp4(&Ipv4 { destination, ..a().ip4() }, 1, 2);
    refused_on_egress(&mut net, "a", "peer", &to(v4(50)), Reason::NotDestination);
    let header = Ipv6 { destination: v6(50), ..a().ip6() };
    refused_on_egress(&mut net, "a", "peer", &a().udp6(&header, 1, 2), Reason::NotDestination);
    passed(&mut net, "a", &to(v4(PEER)));
    // Frames for a station nobody knows do not go to guests whose stations are known.
    drain(&mut net);
    let frame = a().frame(mac(77), |b| b.ipv4(&a().ip4()).udp(1, 2).payload(&[0; 20]));
    assert_eq!(net.send("a", &frame), Verdict::Flood { copies: 4 });
    net.moved(&[
        &format!("a rx_frames rx_bytes+{} rx_unicast rx_flooded rx_copies+4", frame.len()),
        "router tx_offered tx_queued",
        "uplink tx_offered tx_queued",
        "peer tx_offered drop.not-addressed",
        "t tx_offered drop.not-addressed",
    ]);
    // Audited, it is counted and goes.
    let mut spec = strict(PEER);
    spec.guard.actions.set(Check::NotDestination, Action::Audit).expect("settable");
    net.change("peer", spec);
    drain(&mut net);
    let frame = to(v4(50));
    assert!(matches!(net.send("a", &frame), Verdict::Forward(_)));
    net.moved(&[
        &format!("a rx_frames rx_bytes+{} rx_unicast rx_forwarded", frame.len()),
        "peer tx_offered tx_queued audit.not-destination",
    ]);
}

/// What was found a moment ago is not asked for again, until something is another.
#[test]
fn what_a_guest_is_sent_is_asked_about_again_when_something_changes() {
    let mut net = world();
    let port = net.id("peer");
    let lease: [IpAddr; 2] = [v4(60).into(), v6(60).into()];
    for address in lease {
        net.engine.bind(port, address, Lifetime::Forever, Lease).expect("it is free");
    }
    let old = a().udp4(&Ipv4 { destination: v4(60), ..a().ip4() }, 1, 2);
    let old6 = a().udp6(&Ipv6 { destination: v6(60), ..a().ip6() }, 1, 2);
    let other = a().udp4(&Ipv4 { destination: v4(PEER), ..a().ip4() }, 1, 2);
    for frame in [&old, &old6, &old, &old6, &other, &old, &other] {
        reaches(&mut net, "a", frame, &["peer"]);
    }
    for address in lease {
        assert!(net.engine.unbind(address));
    }
    refused_on_egress(&mut net, "a", "peer", &old, Reason::NotDestination);
    refused_on_egress(&mut net, "a", "peer", &old6, Reason::NotDestination);
    reaches(&mut net, "a", &other, &["peer"]);
    // A filter is asked about every frame, also about one that is like the last.
    let program = |text| Some(Arc::new(compile(text, &Options::default()).expect("a filter")));
    let filter = PortFilter { to_guest: program("tcp"), from_guest: None };
    net.engine.set_filter(port, filter).expect("the port is there");
    for _ in 0..2 {
        refused_on_egress(&mut net, "a", "peer", &other, Reason::FilterOut);
    }
    let filter = PortFilter { to_guest: program("udp"), from_guest: None };
    net.engine.set_filter(port, filter).expect("the port is there");
    for _ in 0..2 {
        reaches(&mut net, "a", &other, &["peer"]);
    }
}

#[test]
fn a_capture_tells_what_was_let_pass_under_audit() {
    let mut net = world();
    let mut spec = strict(2);
    for check in [Check::Ipv4Source, Check::ArpFormat] {
        spec.guard.actions.set(check, Action::Audit).expect("settable");
    }
    net.change("a", spec);
    net.engine.capture(Some(CapturePlan {
        port: None,
        snaplen: 64,
        queue_bytes: 1 << 20,
        filters: Vec::new(),
    }));
    net.send("a", &forged());
    net.send("a", &a().udp4(&a().ip4(), 1, 2));
    net.send("a", &forged());
    let shown: Vec<_> = std::iter::from_fn(|| net.engine.poll_capture())
        .map(|record| (record.verdict, record.audits.to_vec()))
        .collect();
    let to = Verdict::Forward(net.id("peer"));
    let audited = (to, vec![Reason::Ipv4Source]);
    assert_eq!(shown, [audited.clone(), (to, Vec::new()), audited]);
}

#[test]
fn communities() {
    let mut net = world();
    let community = |number, community| PortSpec { community: Some(community), ..strict(number) };
    net.change("a", community(2, 7));
    net.change("peer", community(PEER, 8));
    let frame = a().udp4(&a().ip4(), 1, 2);
    refused(&mut net, "a", &frame, Reason::Isolated);
    net.change("peer", community(PEER, 7));
    passed(&mut net, "a", &frame);
    net.change("peer", PortSpec { isolated: true, ..strict(PEER) });
    refused(&mut net, "a", &frame, Reason::Isolated);
    net.change("peer", strict(PEER));
    passed(&mut net, "a", &frame);
}

#[test]
fn routed_guests_see_the_router_alone() {
    let guard = NetworkGuard { routed: true, ..network().guard };
    let mut net = world_of(NetworkSpec { guard, ..network() });
    refused(&mut net, "a", &a().udp4(&a().ip4(), 1, 2), Reason::Routed);
    let arp = Arp {
        operation: REQUEST,
        sender_mac: mac(2),
        sender_ip: v4(2),
        target_mac: MacAddr::ZERO,
        target_ip: v4(PEER),
    };
    let answer = answered(&mut net, "a", &a().frame(MacAddr::BROADCAST, |b| b.arp(&arp)));
    assert_eq!(parse(&answer).expect("a frame").src, mac(ROUTER));
    let group = wire::ndp::solicited_node(v6(PEER));
    let header = Ipv6 { destination: group, hop_limit: 255, ..a().ip6() };
    let frame = a().frame(wire::ndp::multicast_mac(group), |b| {
        b.ipv6(&header).neighbour(135, 0, v6(PEER), mac(2))
    });
    let answer = answered(&mut net, "a", &frame);
    assert_eq!(parse(&answer).expect("a frame").src, mac(ROUTER));
    // Broadcast reaches those who are no guests.
    let header = Ipv4 { destination: [255; 4].into(), ..a().ip4() };
    let frame = a().frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(1, 2).payload(&[0; 20]));
    reaches(&mut net, "a", &frame, &["router", "uplink"]);
    let to_router = a().frame(mac(ROUTER), |b| b.ipv4(&a().ip4()).udp(1, 2).payload(&[0; 20]));
    reaches(&mut net, "a", &to_router, &["router"]);
}

#[test]
fn packets_for_others_do_not_reach_a_guest_whoever_sends_them() {
    let mut net = world();
    // A port without a guard.
    net.plug("free", PortSpec::default());
    let free = Guest { port: "free", number: 40, tags: Vec::new() };
    let to4 = |to| free.udp4(&Ipv4 { destination: v4(to), ..free.ip4() }, 1, 2);
    let to6 = |to| free.udp6(&Ipv6 { destination: v6(to), ..free.ip6() }, 1, 2);
    for build in [&to4 as &dyn Fn(u32) -> Vec<u8>, &to6] {
        reaches(&mut net, "free", &build(PEER), &["peer"]);
        refused_on_egress(&mut net, "free", "peer", &build(8), Reason::NotDestination);
        drain(&mut net);
    }
    // What is no IP packet names no other.
    let arp = Arp {
        operation: wire::arp::operation::REPLY,
        sender_mac: free.mac(),
        sender_ip: free.v4(),
        target_mac: mac(PEER),
        target_ip: v4(PEER),
    };
    reaches(&mut net, "free", &free.frame(mac(PEER), |b| b.arp(&arp)), &["peer"]);
}

#[test]
fn segments_are_bounded() {
    for ip in Ip::BOTH {
        let mut net = world();
        let mut spec = strict(2);
        spec.offloads_from_guest = OffloadSet::all();
        // The frames are from fd00::1 and 10.0.0.1.
        for check in [Check::Ipv4Source, Check::Ipv6Source] {
            spec.guard.actions.set(check, Action::Allow).expect("settable");
        }
        net.change("a", spec);
        let bomb = tcp_gso(ip, mac(PEER), mac(2), 60_000, 100);
        assert_eq!(net.send_rich("a", &bomb), Verdict::Drop(Reason::BadOffload));
        let small = tcp_gso(ip, mac(PEER), mac(2), 20_000, 255);
        assert_eq!(net.send_rich("a", &small), Verdict::Drop(Reason::BadOffload));
        let counters = net.engine.port_counters(net.id("a")).expect("a port");
        assert_eq!(counters.dropped(Reason::BadOffload), 2);
        // From the floor on, and the least that hosts must take (RFC 9293, 3.7.1).
        for size in [256, 536, 1220, 1400] {
            let good = tcp_gso(ip, mac(PEER), mac(2), 60_000, size);
            assert!(matches!(net.send_rich("a", &good), Verdict::Forward(_)), "{size}");
            drain(&mut net);
        }
        // The acknowledgements in a tunnel of WireGuard: 96 bytes each, handed over together.
        let tunnel = udp_gso(ip, mac(PEER), mac(2), 96 * 64, 96);
        assert!(matches!(net.send_rich("a", &tunnel), Verdict::Forward(_)));
        drain(&mut net);
        // A peer of a guest with less memory than that.
        let mut spec = strict(2);
        spec.offloads_from_guest = OffloadSet::all();
        spec.guard.segment_min = 64;
        for check in [Check::Ipv4Source, Check::Ipv6Source] {
            spec.guard.actions.set(check, Action::Allow).expect("settable");
        }
        net.change("a", spec);
        let tiny = tcp_gso(ip, mac(PEER), mac(2), 6_000, 88);
        assert!(matches!(net.send_rich("a", &tiny), Verdict::Forward(_)));
        drain(&mut net);
    }
}

#[test]
fn modes_are_what_they_say() {
    for (mode, v4_free, link_local) in [
        (GuardMode::Static, false, true),
        (GuardMode::Dhcp, false, true),
        (GuardMode::Learn, true, true),
    ] {
        let mut net = world();
        let mut spec = strict(2);
        spec.guard.mode = mode;
        net.change("a", spec);
        net.unplug("uplink");
        let frame = a().udp4(&Ipv4 { source: v4(61), ..a().ip4() }, 1, 2);
        assert_eq!(matches!(net.send("a", &frame), Verdict::Forward(_)), v4_free, "{mode:?}");
        let header = Ipv6 { source: a().link_local(), ..a().ip6() };
        let frame = a().udp6(&header, 1, 2);
        assert_eq!(matches!(net.send("a", &frame), Verdict::Forward(_)), link_local, "{mode:?}");
    }
}
