//! The router as the worker keeps it informed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::router::InterfaceSpec;
use engine::{GuardMode, GuardSpec, SourceMode, VlanMode};
use wire::build::{Builder, Ipv6};
use wire::parse::Arp;
use wire::{MacAddr, arp, ndp};

use super::*;

const ROUTER: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 0, 0, 1), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const GUEST: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(10, 0, 0, 2), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));

/// A guest's questions for the router's addresses, which tell the guest's own.
fn questions(from: MacAddr) -> [Vec<u8>; 2] {
    let arp = Arp {
        operation: arp::operation::REQUEST,
        sender_mac: from,
        sender_ip: GUEST.0,
        target_mac: MacAddr::ZERO,
        target_ip: ROUTER.0,
    };
    let group = ndp::solicited_node(ROUTER.1);
    let header = Ipv6 { source: GUEST.1, destination: group, hop_limit: 255, ..Ipv6::default() };
    let kind = ndp::kind::NEIGHBOUR_SOLICITATION;
    let mut out = [vec![0; 100], vec![0; 100]];
    let v4 = Builder::new(&mut out[0]).ethernet(MacAddr::BROADCAST, from).arp(&arp).finish();
    let v6 = Builder::new(&mut out[1]).ethernet(ndp::multicast_mac(group), from);
    let v6 = v6.ipv6(&header).neighbour(kind, 0, ROUTER.1, from).finish();
    for (frame, len) in out.iter_mut().zip([v4, v6]) {
        frame.truncate(len.expect("fits"));
    }
    out
}

fn open_router(s: &mut Stage) {
    let spec = InterfaceSpec {
        mac: MacAddr([2, 0, 0, 0, 0xff, 1]),
        v4: vec![(ROUTER.0, 24)],
        v6: vec![(ROUTER.1, 64)],
        ..InterfaceSpec::default()
    };
    s.worker.open_router(s.net, spec).unwrap();
}

/// The stations that the router knows, and their Ethernet addresses.
fn known_macs(s: &Stage) -> Vec<(IpAddr, Option<MacAddr>)> {
    let mut known: Vec<_> = s.worker.router().neighbours().map(|it| (it.addr, it.mac)).collect();
    known.sort_unstable_by_key(|it| it.0);
    known
}

/// The same, and at which ports they are bound.
fn known_ports(s: &Stage) -> Vec<(IpAddr, Option<u16>)> {
    let mut known: Vec<_> = s.worker.router().neighbours().map(|it| (it.addr, it.port)).collect();
    known.sort_unstable();
    known
}

/// Nothing binds what an unguarded port says of itself, so that no binding's end takes it back.
#[test]
fn a_port_that_goes_takes_along_what_it_said() {
    let mut s = Stage::new("said");
    open_router(&mut s);
    let mac = MacAddr([2, 0, 0, 0, 0, 7]);
    let (port, client) = s.stream_port("a", PortSpec::default());
    for question in questions(mac) {
        send(&client, &record(&question)).unwrap();
    }
    s.turns();
    assert_eq!(known_macs(&s), [(GUEST.0.into(), Some(mac)), (GUEST.1.into(), Some(mac))]);
    s.worker.close_port(s.net, port, CloseReason::Requested);
    assert_eq!(known_macs(&s), []);
    assert_eq!(s.worker.router().waiting(), 0);
}

/// A guest of one network cannot take an address of another, from when that comes until it goes.
#[test]
fn networks_know_of_each_other() {
    let mut s = Stage::new("beside");
    let spec = |number: u8| InterfaceSpec {
        mac: MacAddr([2, 0, 0, 0, 0xff, number]),
        v4: vec![(Ipv4Addr::new(10, number, 0, 1), 16)],
        v6: vec![(Ipv6Addr::new(0xfd00, number.into(), 0, 0, 0, 0, 0, 1), 64)],
        ..InterfaceSpec::default()
    };
    s.worker.open_router(s.net, spec(1)).unwrap();
    let guard = GuardSpec { mode: GuardMode::Learn, ..GuardSpec::default() };
    let (port, client) = s.stream_port("a", PortSpec { guard, ..PortSpec::default() });
    let mac = MacAddr([2, 0, 0, 0, 0, 7]);
    let takes = |s: &mut Stage, number: u8| -> bool {
        let source = Ipv4Addr::new(10, number, 0, 9);
        let mut frame = vec![0; 100];
        let announcement = Arp {
            operation: arp::operation::REQUEST,
            sender_mac: mac,
            sender_ip: source,
            target_mac: MacAddr::ZERO,
            target_ip: source,
        };
        let builder = Builder::new(&mut frame).ethernet(MacAddr::BROADCAST, mac);
        let len = builder.arp(&announcement).finish().expect("fits");
        frame.truncate(len);
        send(&client, &record(&frame)).unwrap();
        s.turns();
        s.worker.engine(s.net).owner_of(source) == Some(engine::bindings::Owner::Port(port))
    };
    assert!(takes(&mut s, 2));
    let other = s.worker.add_network(NetworkPlan::validate(NetworkSpec::default()).unwrap());
    s.worker.open_router(other, spec(2)).unwrap();
    assert!(!takes(&mut s, 2) && takes(&mut s, 1) && takes(&mut s, 3));
    s.worker.change_router(other, spec(3)).unwrap();
    assert!(takes(&mut s, 2) && !takes(&mut s, 3));
    s.worker.remove_network(other);
    assert!(takes(&mut s, 3));
}

/// Two have an address in VLANs of their own: when the one whom the router does not reach loses it, the
/// router knows the other still.
#[test]
fn who_loses_an_address_in_another_vlan_takes_it_from_nobody() {
    let mut s = Stage::new("vlans");
    open_router(&mut s);
    let guard = GuardSpec { mode: GuardMode::Learn, ..GuardSpec::default() };
    let of =
        |vid| PortSpec { vlan: VlanMode::Access(vid), guard: guard.clone(), ..PortSpec::default() };
    let [(one, client), (two, other)] = [("a", 1, 7), ("b", 2, 8)].map(|(name, vid, last)| {
        let place = s.stream_port(name, of(vid));
        let (_, client) = &place;
        for question in questions(MacAddr([2, 0, 0, 0, 0, last])) {
            send(client, &record(&question)).unwrap();
        }
        s.turns();
        place
    });
    let number = u16::try_from(one.index()).unwrap();
    let its = [(IpAddr::V4(GUEST.0), Some(number)), (IpAddr::V6(GUEST.1), Some(number))];
    let beside = |s: &Stage, port| {
        s.worker.engine(s.net).bindings().filter(|it| it.port == Some(port)).count()
    };
    assert_eq!(known_ports(&s), its);
    assert!(beside(&s, two) >= 2, "it has them too, in its VLAN");
    drop(other);
    s.worker.close_port(s.net, two, CloseReason::Requested);
    s.turns();
    assert_eq!(known_ports(&s), its);
    s.worker.close_port(s.net, one, CloseReason::Requested);
    s.turns();
    assert_eq!(known_ports(&s), []);
    drop(client);
}

/// A guest of two VLANs has an address in the one that the router is not in, then in both, then in the
/// router's alone.
#[test]
fn a_guest_of_two_vlans_is_where_it_has_the_address() {
    let mut s = Stage::new("both");
    open_router(&mut s);
    let of = |vids: &[u16]| PortSpec {
        vlan: VlanMode::Trunk { native: None, allowed: vids.iter().copied().collect() },
        source: SourceMode::Learn { max_macs: 4 },
        guard: GuardSpec { mode: GuardMode::Learn, ..GuardSpec::default() },
        ..PortSpec::default()
    };
    let (port, client) = s.stream_port("a", of(&[1, 2]));
    let asks = |s: &mut Stage, vid: u8| {
        for mut question in questions(MacAddr([2, 0, 0, 0, 0, 7])) {
            question.splice(12..12, [0x81, 0, 0, vid]);
            send(&client, &record(&question)).unwrap();
        }
        s.turns();
        let its = s.worker.engine(s.net).bindings();
        its.filter(|it| it.vlan == Some(vid.into())).count()
    };
    assert_eq!(asks(&mut s, 2), 2);
    assert_eq!(known_ports(&s), []);
    assert_eq!(asks(&mut s, 1), 2);
    let number = u16::try_from(port.index()).unwrap();
    let its = [(IpAddr::V4(GUEST.0), Some(number)), (IpAddr::V6(GUEST.1), Some(number))];
    assert_eq!(known_ports(&s), its);
    s.worker.change_port(s.net, port, of(&[1])).unwrap();
    s.turns();
    assert_eq!(s.worker.engine(s.net).bindings().filter(|it| it.vlan.is_some()).count(), 2);
    assert_eq!(known_ports(&s), its);
}

/// Somebody whom nothing binds has said that he has an address. Who has it in another VLAN, and loses it, takes
/// nothing from him.
#[test]
fn what_ends_in_another_vlan_is_none_of_the_routers() {
    let mut s = Stage::new("elsewhere");
    open_router(&mut s);
    let mac = MacAddr([2, 0, 0, 0, 0, 7]);
    let (_port, client) = s.stream_port("a", PortSpec::default());
    for question in questions(mac) {
        send(&client, &record(&question)).unwrap();
    }
    s.turns();
    let its = [(IpAddr::V4(GUEST.0), Some(mac)), (IpAddr::V6(GUEST.1), Some(mac))];
    assert_eq!(known_macs(&s), its);
    let guard = GuardSpec { mode: GuardMode::Learn, ..GuardSpec::default() };
    let of =
        |vid| PortSpec { vlan: VlanMode::Access(vid), guard: guard.clone(), ..PortSpec::default() };
    let (two, other) = s.stream_port("b", of(2));
    for question in questions(MacAddr([2, 0, 0, 0, 0, 8])) {
        send(&other, &record(&question)).unwrap();
    }
    s.turns();
    let bound = |s: &Stage| {
        let all = s.worker.engine(s.net).bindings();
        all.filter(|it| it.port == Some(two) && it.vlan == Some(2)).count()
    };
    assert_eq!(bound(&s), 2);
    s.worker.change_port(s.net, two, of(3)).unwrap();
    s.turns();
    assert_eq!(bound(&s), 0);
    assert_eq!(known_macs(&s), its);
}
