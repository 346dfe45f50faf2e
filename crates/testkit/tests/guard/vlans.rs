//! Addresses of the same kind in several VLANs: link-local ones are a link's (RFC 4007), and networks behind
//! different VLANs may number their machines alike (checks 14, 21, 34 and 44).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::Owner;
use engine::{PortSpec, Reason, SourceMode, Verdict, VlanMode};
use testkit::{TestNetwork, mac};
use wire::arp::operation::REQUEST;
use wire::build::{Ipv4, Ipv6};
use wire::dhcp4::message::ACK;
use wire::ndp::{multicast_mac, solicited_node};
use wire::parse::Arp;
use wire::{MacAddr, Tag, parse};

use crate::dhcp::{discover, message};
use crate::world::{Guest, drain, learning, passed, refused, taken, uplink, world};

const SHARED: [&str; 2] = ["192.168.1.1", "fe80::1"];

const ONE: Guest = Guest { port: "one", number: 20, tags: Vec::new() };
const TWO: Guest = Guest { port: "two", number: 30, tags: Vec::new() };

fn shared() -> impl Iterator<Item = IpAddr> {
    SHARED.into_iter().map(|address| address.parse().expect("an address"))
}

fn second(spec: PortSpec) -> PortSpec {
    PortSpec { vlan: VlanMode::Access(2), ..spec }
}

/// A datagram from an address to a station that nobody knows.
fn from(g: &Guest, address: IpAddr) -> Vec<u8> {
    to(g, mac(77), address, address)
}

fn to(g: &Guest, station: MacAddr, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(to)) => {
            let destination = if to == source { "192.168.1.9".parse().expect("it is") } else { to };
            let header = Ipv4 { source, destination, ..Ipv4::default() };
            g.frame(station, |b| b.ipv4(&header).udp(1, 2).payload(&[7; 20]))
        }
        (IpAddr::V6(source), IpAddr::V6(to)) => {
            let destination = if to == source { "fe80::9".parse().expect("it is") } else { to };
            let header = Ipv6 { source, destination, ..Ipv6::default() };
            g.frame(station, |b| b.ipv6(&header).udp(1, 2).payload(&[7; 20]))
        }
        _ => unreachable!("one version"),
    }
}

fn probe(g: &Guest, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(target_ip) => {
            let arp = Arp {
                operation: REQUEST,
                sender_mac: g.mac(),
                sender_ip: [0; 4].into(),
                target_mac: MacAddr::ZERO,
                target_ip,
            };
            g.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        IpAddr::V6(target) => {
            let group = solicited_node(target);
            let source = Ipv6Addr::UNSPECIFIED;
            let header = Ipv6 { source, destination: group, hop_limit: 255, ..Ipv6::default() };
            g.frame(multicast_mac(group), |b| {
                b.ipv6(&header).icmpv6(135, 0).payload(&[0; 4]).payload(&target.octets())
            })
        }
    }
}

fn foreign(address: IpAddr) -> Reason {
    if address.is_ipv4() { Reason::Ipv4Source } else { Reason::Ipv6Source }
}

/// Whether the port is told that the address is taken, and by whom.
fn told(net: &mut TestNetwork, port: &str, frame: &[u8]) -> Option<MacAddr> {
    drain(net);
    net.receive(port);
    let verdict = net.send(port, frame);
    let answer = net.receive_plain(port).pop();
    assert_eq!(verdict == Verdict::Answered, answer.is_some());
    answer.map(|answer| parse(&answer).expect("a frame").src)
}

/// A client in each of two VLANs, which have the same address.
fn both(address: IpAddr) -> TestNetwork {
    let mut net = world();
    net.plug("one", learning());
    net.plug("two", second(learning()));
    taken(&mut net, "one", &from(&ONE, address));
    assert_eq!(told(&mut net, "two", &probe(&TWO, address)), None, "{address} is free there");
    passed(&mut net, "two", &from(&TWO, address));
    net
}

#[test]
fn an_address_of_another_vlan_is_free() {
    for address in shared() {
        let mut net = both(address);
        passed(&mut net, "one", &from(&ONE, address));
        passed(&mut net, "two", &from(&TWO, address));
        let [third, fourth] =
            ["third", "fourth"].map(|port| Guest { port, number: 40, tags: Vec::new() });
        net.plug("third", learning());
        net.plug("fourth", second(learning()));
        assert_eq!(told(&mut net, "third", &probe(&third, address)), Some(ONE.mac()));
        assert_eq!(told(&mut net, "fourth", &probe(&fourth, address)), Some(TWO.mac()));
        refused(&mut net, "third", &from(&third, address), foreign(address));
        refused(&mut net, "fourth", &from(&fourth, address), foreign(address));
        // Each gets what is sent to it there.
        for (g, target) in [(&third, &ONE), (&fourth, &TWO)] {
            let own = if address.is_ipv4() { "192.168.1.40" } else { "fe80::40" };
            let own: IpAddr = own.parse().expect("an address");
            net.send(g.port, &from(g, own));
            net.wait(Duration::from_millis(900));
            net.send(g.port, &from(g, own));
            drain(&mut net);
            net.receive(target.port);
            net.send(g.port, &to(g, target.mac(), own, address));
            assert_eq!(net.receive(target.port).len(), 1, "{address}");
        }
    }
}

#[test]
fn who_is_in_both_vlans_has_it_in_neither() {
    for address in shared() {
        let mut net = both(address);
        let allowed = [1, 2].into_iter().collect();
        let vlan = VlanMode::Trunk { native: None, allowed };
        net.plug(
            "trunk",
            PortSpec { vlan, source: SourceMode::Learn { max_macs: 4 }, ..learning() },
        );
        for (vid, owner) in [(1, ONE), (2, TWO)] {
            let g = Guest { port: "trunk", number: 50, tags: vec![Tag::new(vid)] };
            assert_eq!(told(&mut net, "trunk", &probe(&g, address)), Some(owner.mac()));
            refused(&mut net, "trunk", &from(&g, address), foreign(address));
        }
        // Nor where it is free, while it is not in the other.
        net.unplug("one");
        net.forget_moved();
        let g = Guest { port: "trunk", number: 50, tags: vec![Tag::new(1)] };
        net.send("trunk", &from(&g, address));
        net.wait(Duration::from_millis(900));
        refused(&mut net, "trunk", &from(&g, address), foreign(address));
    }
}

#[test]
fn it_ends_in_each_for_itself() {
    for address in shared() {
        // With the port.
        for (gone, stays) in [(ONE, TWO), (TWO, ONE)] {
            let mut net = both(address);
            net.unplug(gone.port);
            net.forget_moved();
            passed(&mut net, stays.port, &from(&stays, address));
            let spec = if gone.port == "one" { learning() } else { second(learning()) };
            net.plug("next", spec);
            let next = Guest { port: "next", number: 60, tags: Vec::new() };
            net.send("next", &from(&next, address));
            net.wait(Duration::from_millis(900));
            passed(&mut net, "next", &from(&next, address));
            passed(&mut net, stays.port, &from(&stays, address));
        }
        // With a station outside, that is in one of them.
        let mut net = both(address);
        let outside = Guest { port: "uplink", number: 200, tags: Vec::new() };
        passed(&mut net, "uplink", &announce(&outside, address));
        refused(&mut net, "one", &from(&ONE, address), foreign(address));
        passed(&mut net, "two", &from(&TWO, address));
        // When it was not used for long.
        let mut net = both(address);
        net.wait(Duration::from_secs(4 * 3600));
        net.plug("next", second(learning()));
        let next = Guest { port: "next", number: 60, tags: Vec::new() };
        passed(&mut net, "next", &from(&next, address));
        refused(&mut net, "two", &from(&TWO, address), foreign(address));
        // With the VLAN.
        let mut net = both(address);
        net.change("two", learning());
        net.forget_moved();
        refused(&mut net, "two", &from(&TWO, address), foreign(address));
        passed(&mut net, "one", &from(&ONE, address));
    }
}

#[test]
fn what_is_given_is_given_in_every_vlan() {
    for address in shared() {
        let mut net = both(address);
        net.engine.plan_address(address, mac(70)).expect("they were first, and no more");
        assert_eq!(net.engine.owner_of(address), Some(Owner::Planned(mac(70))));
        refused(&mut net, "one", &from(&ONE, address), foreign(address));
        refused(&mut net, "two", &from(&TWO, address), foreign(address));
        assert_eq!(net.engine.bindings().filter(|it| it.address == address.into()).count(), 1);
    }
}

/// Networks that are routed beside this one: what was taken beside another ends as what was taken first.
#[test]
fn addresses_of_other_networks_are_free_in_no_vlan() {
    let others = ["192.168.9.0/24", "fd99::/64"].map(|it| it.parse().expect("a prefix"));
    for address in ["192.168.9.9", "fd99::c0de"] {
        let address: IpAddr = address.parse().expect("an address");
        let mut net = both(address);
        net.engine.set_other_networks(&others);
        assert_eq!(net.engine.bindings().filter(|it| it.address == address.into()).count(), 0);
        refused(&mut net, "one", &from(&ONE, address), foreign(address));
        refused(&mut net, "two", &from(&TWO, address), foreign(address));
    }
}

/// "It is mine", to all.
fn announce(g: &Guest, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => {
            let arp = Arp {
                operation: REQUEST,
                sender_mac: g.mac(),
                sender_ip: ip,
                target_mac: MacAddr::ZERO,
                target_ip: ip,
            };
            g.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        IpAddr::V6(ip) => {
            let all = "ff02::1".parse().expect("an address");
            let header = Ipv6 { source: ip, destination: all, hop_limit: 255, ..Ipv6::default() };
            g.frame(multicast_mac(all), |b| b.ipv6(&header).neighbour(136, 0x20, ip, g.mac()))
        }
    }
}

/// Two customers behind one trunk number their machines alike.
#[test]
fn who_is_outside_in_another_vlan_is_in_nobodys_way() {
    for address in shared() {
        let mut net = world();
        let vlan = VlanMode::Trunk { native: Some(1), allowed: [1, 2].into_iter().collect() };
        net.change("uplink", PortSpec { vlan, ..uplink() });
        net.plug("one", learning());
        net.plug("two", second(learning()));
        let station = Guest { port: "uplink", number: 200, tags: vec![Tag::new(2)] };
        passed(&mut net, "uplink", &announce(&station, address));
        let known = told(&mut net, "two", &probe(&TWO, address));
        assert_eq!(known, Some(station.mac()), "{address} is taken there");
        refused(&mut net, "two", &from(&TWO, address), foreign(address));
        assert_eq!(told(&mut net, "one", &probe(&ONE, address)), None, "{address} is free here");
        net.wait(Duration::from_millis(900));
        passed(&mut net, "one", &from(&ONE, address));
        // The station keeps it there, and another here takes it from who was only first.
        passed(&mut net, "uplink", &announce(&station, address));
        passed(&mut net, "one", &from(&ONE, address));
    }
}

/// A server in one VLAN, and a station in the other that has what it gives.
#[test]
fn a_server_gives_what_somebody_outside_has_in_another_vlan() {
    for (seen, given) in [(2, true), (1, false)] {
        let mut net = world();
        let vlan = VlanMode::Trunk { native: None, allowed: [1, 2].into_iter().collect() };
        net.change("uplink", PortSpec { vlan, ..uplink() });
        net.plug("one", learning());
        let outside = |number, vid| Guest { port: "uplink", number, tags: vec![Tag::new(vid)] };
        let [server, address] = [Ipv4Addr::new(192, 168, 1, 2), Ipv4Addr::new(192, 168, 1, 50)];
        passed(&mut net, "uplink", &announce(&outside(201, seen), address.into()));
        passed(&mut net, "uplink", &announce(&outside(200, 1), server.into()));
        passed(&mut net, "one", &discover(&ONE, |_| {}));
        let mut bytes = message(2, ONE.mac(), ACK, &[51, 4, 0, 0, 0, 60]);
        bytes[16..20].copy_from_slice(&address.octets());
        let header = Ipv4 { source: server, destination: address, ..Ipv4::default() };
        let frame =
            outside(200, 1).frame(ONE.mac(), |b| b.ipv4(&header).udp(67, 68).payload(&bytes));
        passed(&mut net, "uplink", &frame);
        let owner = given.then(|| Owner::Port(net.id("one")));
        assert_eq!(net.engine.owner_of(address), owner, "seen in {seen}");
    }
}
