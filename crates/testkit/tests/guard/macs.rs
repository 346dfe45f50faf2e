//! Whose an Ethernet address is (checks 2 and 10), also when its station is silent.

use std::net::Ipv4Addr;
use std::time::Duration;

use engine::{GuardMode, Mode, NetworkSpec, PortSpec, Reason, SourceMode, Verdict};
use testkit::{TestNetwork, mac};
use wire::MacAddr;
use wire::build::{Ipv4, Ipv6};

use crate::world::{PEER, ROUTER, a, drain, learning, network, refused, uplink, world, world_of};

const AGEING: Duration = Duration::from_secs(300);

/// After this nobody remembers a station outside.
const OUTSIDE: Duration = Duration::from_secs(4_200);

fn two() -> TestNetwork {
    let mut net = world();
    net.plug("b", learning());
    net.plug("c", learning());
    net
}

/// A frame from the address that a station makes of its Ethernet address, which needs no question.
fn from(number: u32) -> Vec<u8> {
    from_port(number, 1)
}

fn from_port(number: u32, port: u16) -> Vec<u8> {
    let source = mac(number).eui64_link_local().into();
    let header = Ipv6 { source, ..a().ip6() };
    a().frame_from(mac(number), mac(PEER), |b| b.ipv6(&header).udp(port, 2))
}

fn owner(net: &TestNetwork, number: u32) -> Option<engine::PortId> {
    net.engine.mac_table().find(|entry| entry.mac == mac(number)).and_then(|entry| entry.port)
}

#[test]
fn a_guest_keeps_its_one_address_however_silent_it_is() {
    let mut net = two();
    let b = net.id("b");
    net.send("b", &from(20));
    net.wait(100 * AGEING);
    assert_eq!(owner(&net, 20), Some(b));
    refused(&mut net, "c", &from(20), Reason::MacMoved);
    // What is for it goes there, and to nobody else.
    let frame = a().frame(mac(20), |b| b.ipv4(&a().ip4()).udp(1, 2).payload(&[0; 20]));
    assert_eq!(net.send("a", &frame), Verdict::Forward(b));
    // It asks for no work of anybody.
    assert!(net.engine.next_deadline().is_none_or(|at| at >= net.now + Duration::from_secs(60)));
    // It may have another one instead, when it has not used the old one for the ageing time.
    net.send("b", &from(20));
    assert_eq!(net.send("b", &from(21)), Verdict::Drop(Reason::MacLimit));
    net.wait(AGEING + Duration::from_secs(1));
    net.send("b", &from(21));
    assert_eq!((owner(&net, 20), owner(&net, 21)), (None, Some(b)));
    net.send("c", &from(20));
    assert_eq!(owner(&net, 20), Some(net.id("c")));
    // With its port it goes.
    net.unplug("b");
    assert_eq!(owner(&net, 21), None);
}

#[test]
fn addresses_behind_a_cable_to_a_switch_age() {
    for spec in [
        PortSpec { source: SourceMode::Learn { max_macs: 2 }, ..learning() },
        PortSpec { source: SourceMode::Learn { max_macs: 1 }, ..PortSpec::default() },
    ] {
        let mut net = world();
        net.plug("b", spec);
        net.plug("c", learning());
        net.send("b", &from(20));
        refused(&mut net, "c", &from(20), Reason::MacMoved);
        net.wait(AGEING + Duration::from_secs(1));
        net.send("c", &from(20));
        assert_eq!(owner(&net, 20), Some(net.id("c")));
    }
}

#[test]
fn another_guard_has_another_word() {
    let mut net = two();
    net.send("b", &from(20));
    let b = net.id("b");
    let off = engine::GuardSpec { mode: GuardMode::Off, ..learning().guard };
    net.engine.set_guard(b, off).expect("a guard");
    net.wait(2 * AGEING);
    assert_eq!(owner(&net, 20), None, "it has aged");
    net.engine.set_guard(b, learning().guard).expect("a guard");
    net.send("b", &from(20));
    net.wait(2 * AGEING);
    assert_eq!(owner(&net, 20), Some(b));
}

#[test]
fn a_silent_router_of_the_outside_is_nobody_else() {
    let mut net = two();
    net.plug("second", uplink());
    net.send("uplink", &from(90));
    net.wait(AGEING + Duration::from_secs(1));
    refused(&mut net, "c", &from(90), Reason::MacMoved);
    assert_eq!(owner(&net, 90), Some(net.id("uplink")));
    // Outside it may move, as behind any bridge.
    net.send("second", &from(90));
    assert_eq!(owner(&net, 90), Some(net.id("second")));
    net.wait(OUTSIDE + Duration::from_secs(60));
    assert_eq!(owner(&net, 90), None, "nobody remembers it");
    net.send("c", &from(90));
    assert_eq!(owner(&net, 90), Some(net.id("c")));
}

#[test]
fn a_hub_shows_everybody_everything_and_lets_nobody_be_another() {
    let hub = NetworkSpec { mode: Mode::Hub, ..network() };
    let mut net = world_of(hub);
    net.plug("b", learning());
    net.plug("c", learning());
    drain(&mut net);
    let frame = a().udp4(&a().ip4(), 1, 2);
    assert_eq!(net.send("a", &frame), Verdict::Flood { copies: 6 });
    for name in ["b", "c", "peer", "router", "t", "uplink"] {
        assert_eq!(net.receive(name).len(), 1, "{name}");
    }
    net.send("b", &from(20));
    drain(&mut net);
    refused(&mut net, "c", &from_port(20, 3), Reason::MacMoved);
    refused(&mut net, "c", &from(PEER), Reason::MacBound);
    refused(&mut net, "a", &from(ROUTER), Reason::MacForeign);
    net.send("c", &from(30));
    assert_eq!(net.send("c", &from(31)), Verdict::Drop(Reason::MacLimit));
}

#[test]
fn what_a_hub_shows_everybody_is_no_storm() {
    let frame = a().udp4(&a().ip4(), 1, 2);
    let flooded = |mode| {
        let mut net = world_of(NetworkSpec { mode, ..network() });
        let sent = (0..5_000).map(|_| {
            let verdict = net.send("a", &frame);
            drain(&mut net);
            verdict
        });
        sent.filter(|verdict| matches!(verdict, Verdict::Flood { .. })).count()
    };
    // All in one moment of the network's clock. A switch floods none: it knows the receiver.
    assert_eq!((flooded(Mode::Hub), flooded(Mode::Switch)), (5_000, 0));
    // What is for everybody is a storm here as there.
    let mut net = world_of(NetworkSpec { mode: Mode::Hub, ..network() });
    let to_all = Ipv4 { destination: Ipv4Addr::BROADCAST, ..a().ip4() };
    let shout = a().frame(MacAddr::BROADCAST, |b| b.ipv4(&to_all).udp(1, 2));
    let drops = (0..5_000).filter(|_| {
        let verdict = net.send("a", &shout);
        drain(&mut net);
        verdict == Verdict::Drop(Reason::StormBroadcast)
    });
    assert!(drops.count() > 3_000);
}

/// Where the network has no router, it asks for groups from an address of its own.
#[test]
fn nobody_has_the_networks_own_address() {
    let own = MacAddr([0x02, 0x6e, 0x64, 0x71, 0x00, 0x01]);
    let frames = |source| {
        let header = Ipv6 { source, ..a().ip6() };
        [
            a().frame_from(own, mac(PEER), |b| b.ipv6(&header).udp(1, 2)),
            a().frame_from(own, mac(PEER), |b| b.ipv4(&a().ip4()).udp(1, 2)),
        ]
    };
    let frames = frames(own.eui64_link_local().into());
    let mut net = world();
    net.plug("b", learning());
    net.plug("several", PortSpec { source: SourceMode::Learn { max_macs: 8 }, ..learning() });
    net.plug("off", PortSpec { source: SourceMode::Learn { max_macs: 8 }, ..PortSpec::default() });
    for port in ["b", "several", "off", "a"] {
        for frame in &frames {
            refused(&mut net, port, frame, Reason::MacForeign);
        }
    }
    // Nor its link-local address.
    let header = Ipv6 { source: own.eui64_link_local().into(), ..a().ip6() };
    let frame = a().frame(mac(PEER), |b| b.ipv6(&header).udp(1, 2));
    refused(&mut net, "a", &frame, Reason::Ipv6Source);
    let plan = engine::NetworkPlan::validate(network()).expect("a plan");
    let spec = PortSpec { macs: vec![own], ..PortSpec::default() };
    assert!(engine::PortPlan::validate(spec, &plan).is_err());
}
