//! Addresses of the same kind in several VLANs: link-local ones are a link's (RFC 4007), and networks behind
//! different VLANs may number their machines alike (checks 14, 21, 34 and 44).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::{BindError, BindingSource, Lifetime, Owner};
use engine::{FirstCome, GuardMode, PortSpec, Reason, SourceMode, Verdict, VlanMode};
use testkit::{TestNetwork, mac};
use wire::arp::operation::REQUEST;
use wire::build::{Ipv4, Ipv6};
use wire::dhcp4::message::ACK;
use wire::ndp::{multicast_mac, solicited_node};
use wire::parse::Arp;
use wire::{MacAddr, Tag, parse};

use crate::dhcp::{dhcpv6, discover, message};
use crate::world::{Guest, drain, learning, passed, refused, taken, uplink, world};

const SHARED: [&str; 2] = ["192.168.1.1", "fe80::1"];

const ONE: Guest = Guest { port: "one", number: 20, tags: Vec::new() };
const TWO: Guest = Guest { port: "two", number: 30, tags: Vec::new() };

pub(crate) fn shared() -> impl Iterator<Item = IpAddr> {
    SHARED.into_iter().map(|address| address.parse().expect("an address"))
}

pub(crate) fn second(spec: PortSpec) -> PortSpec {
    PortSpec { vlan: VlanMode::Access(2), ..spec }
}

/// A datagram from an address to a station that nobody knows.
pub(crate) fn from(g: &Guest, address: IpAddr) -> Vec<u8> {
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

pub(crate) fn probe(g: &Guest, address: IpAddr) -> Vec<u8> {
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

/// A port of VLANs 1 and 2, both with tags.
pub(crate) fn trunked(spec: PortSpec) -> PortSpec {
    let vlan = VlanMode::Trunk { native: None, allowed: [1, 2].into_iter().collect() };
    PortSpec { vlan, ..spec }
}

/// A client in both VLANs.
pub(crate) fn client_of_both() -> PortSpec {
    trunked(PortSpec { source: SourceMode::Learn { max_macs: 4 }, ..learning() })
}

/// It sends in one of them.
pub(crate) fn trunk(vid: u16) -> Guest {
    Guest { port: "trunk", number: 50, tags: vec![Tag::new(vid)] }
}

/// A station outside, in a VLAN.
pub(crate) fn outside(number: u32, vid: u16) -> Guest {
    Guest { port: "uplink", number, tags: vec![Tag::new(vid)] }
}

#[test]
fn who_is_in_both_vlans_has_it_where_it_is_free() {
    for address in shared() {
        let mut net = both(address);
        net.plug("trunk", client_of_both());
        for (vid, owner) in [(1, ONE), (2, TWO)] {
            let g = trunk(vid);
            assert_eq!(told(&mut net, "trunk", &probe(&g, address)), Some(owner.mac()));
            refused(&mut net, "trunk", &from(&g, address), foreign(address));
        }
        net.unplug("one");
        net.forget_moved();
        net.send("trunk", &from(&trunk(1), address));
        net.wait(Duration::from_millis(900));
        passed(&mut net, "trunk", &from(&trunk(1), address));
        refused(&mut net, "trunk", &from(&trunk(2), address), foreign(address));
        passed(&mut net, "two", &from(&TWO, address));
        // It leaves this VLAN, and what it had there is free.
        let vlan = VlanMode::Access(2);
        net.change("trunk", PortSpec { vlan, ..client_of_both() });
        net.plug("one", learning());
        taken(&mut net, "one", &from(&ONE, address));
        passed(&mut net, "two", &from(&TWO, address));
    }
}

/// Every guest has its link-local address in each of its VLANs, and a router may have one address in all.
#[test]
fn an_address_in_many_vlans_is_one_of_those_that_a_port_may_have() {
    let addresses = [["192.168.1.1", "192.168.1.2"], ["fe80::1", "2001:db8::2"]];
    for (nth, addresses) in addresses.into_iter().enumerate() {
        let [first, second] = addresses.map(|it| it.parse::<IpAddr>().expect("an address"));
        let third: IpAddr =
            if nth == 0 { "192.168.1.3" } else { "2001:db8::3" }.parse().expect("an address");
        let mut net = world();
        net.unplug("uplink");
        let mut spec = client_of_both();
        let vlan = VlanMode::Trunk { native: None, allowed: (1..=40).collect() };
        spec.source = SourceMode::Learn { max_macs: 64 };
        spec.guard.first_come = FirstCome { v4: 2, v6: 2 };
        net.plug("trunk", PortSpec { vlan, ..spec.clone() });
        let its = Some(net.id("trunk"));
        let sends = |net: &mut TestNetwork, vid, address| {
            net.forget_moved();
            net.send("trunk", &from(&trunk(vid), address))
        };
        let full = if nth == 0 { Reason::Ipv4SourceLimit } else { Reason::Ipv6SourceLimit };
        for vid in 1..=40 {
            sends(&mut net, vid, first);
        }
        assert_eq!(bindings(&net, first).len(), 40);
        sends(&mut net, 7, second);
        assert_eq!(bindings(&net, second), [(its, Some(7))]);
        assert_eq!(sends(&mut net, 7, third), Verdict::Drop(full));
        // One is idle where it is in none of them used: then it goes in all.
        net.wait(Duration::from_secs(1200));
        sends(&mut net, 3, first);
        net.wait(Duration::from_secs(600));
        sends(&mut net, 7, third);
        assert_eq!(bindings(&net, third), [(its, Some(7))]);
        assert_eq!((bindings(&net, first).len(), bindings(&net, second).len()), (40, 0));
        net.wait(Duration::from_secs(1300));
        sends(&mut net, 7, third);
        sends(&mut net, 7, second);
        assert_eq!((bindings(&net, first).len(), bindings(&net, second).len()), (0, 1));
    }
}

/// A router of another customer, in the other VLAN of a guest.
#[test]
fn what_is_taken_in_one_vlan_is_not_taken_in_another() {
    for address in shared() {
        let ready = || {
            let mut net = world();
            net.change("uplink", trunked(uplink()));
            net.plug("trunk", client_of_both());
            net
        };
        let take = |net: &mut TestNetwork, vid| {
            drain(net);
            let verdict = net.send("trunk", &from(&trunk(vid), address));
            assert_eq!(verdict, Verdict::Drop(Reason::AddressAsked));
            net.wait(Duration::from_millis(900));
            passed(net, "trunk", &from(&trunk(vid), address));
        };
        let router = outside(200, 2);
        // The router is heard first.
        let mut net = ready();
        passed(&mut net, "uplink", &announce(&router, address));
        take(&mut net, 1);
        refused(&mut net, "trunk", &from(&trunk(2), address), foreign(address));
        let claim = if address.is_ipv4() { Reason::ArpGratuitous } else { Reason::Ipv6Source };
        refused(&mut net, "trunk", &announce(&trunk(2), address), claim);
        assert_eq!(told(&mut net, "trunk", &probe(&trunk(2), address)), Some(router.mac()));
        // It is heard afterwards, and ends nothing where it is not.
        let mut net = ready();
        take(&mut net, 1);
        passed(&mut net, "uplink", &announce(&router, address));
        passed(&mut net, "trunk", &from(&trunk(1), address));
        refused(&mut net, "trunk", &from(&trunk(2), address), foreign(address));
        // Each has its own end.
        let mut net = ready();
        take(&mut net, 1);
        take(&mut net, 2);
        passed(&mut net, "uplink", &announce(&router, address));
        refused(&mut net, "trunk", &from(&trunk(2), address), foreign(address));
        passed(&mut net, "trunk", &from(&trunk(1), address));
    }
}

/// What is for another of its VLAN does not get to a guest that has the address in the other one, or
/// might have it there (check 54).
#[test]
fn what_is_for_it_in_one_vlan_is_not_for_it_in_another() {
    for address in shared() {
        let mut net = world();
        net.plug("two", second(learning()));
        passed(&mut net, "two", &from(&TWO, address));
        net.plug("trunk", client_of_both());
        let [third, fourth] =
            ["third", "fourth"].map(|port| Guest { port, number: 60, tags: Vec::new() });
        let third = Guest { number: 61, ..third };
        net.plug("third", learning());
        net.plug("fourth", second(learning()));
        let (other, own) = if address.is_ipv4() {
            ("192.168.1.77", "192.168.1.60")
        } else {
            ("fe80::77", "fe80::60")
        };
        let [other, own]: [IpAddr; 2] = [other, own].map(|it| it.parse().expect("an address"));
        for g in [&third, &fourth] {
            net.send(g.port, &from(g, own));
            net.wait(Duration::from_millis(900));
            passed(&mut net, g.port, &from(g, own));
        }
        // Its Ethernet address is known in both.
        for vid in [1, 2] {
            net.send("trunk", &probe(&trunk(vid), other));
        }
        let arrives = |net: &mut TestNetwork, g: &Guest, wanted: bool| {
            drain(net);
            net.receive("trunk");
            net.forget_moved();
            net.send(g.port, &to(g, trunk(1).mac(), own, address));
            assert_eq!(net.receive("trunk").len(), usize::from(wanted), "{address} by {}", g.port);
            let counters = net.engine.port_counters(net.id("trunk")).expect("a port");
            counters.dropped(Reason::NotDestination)
        };
        // It has said nothing of this IP version, so what nobody has there may be its own.
        if address.is_ipv4() {
            assert_eq!(arrives(&mut net, &third, true), 0);
            assert_eq!(arrives(&mut net, &fourth, false), 1);
        }
        let before = arrives(&mut net, &fourth, false);
        net.send("trunk", &from(&trunk(1), address));
        net.wait(Duration::from_millis(900));
        passed(&mut net, "trunk", &from(&trunk(1), address));
        for _ in 0..2 {
            assert_eq!(arrives(&mut net, &third, true), before);
        }
        assert_eq!(arrives(&mut net, &fourth, false), before + 1);
        assert_eq!(arrives(&mut net, &third, true), before + 1);
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
pub(crate) fn announce(g: &Guest, address: IpAddr) -> Vec<u8> {
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

/// A client asks, and a server outside, which has been heard, gives it an address for a minute.
fn lease(net: &mut TestNetwork, client: &Guest, server: &Guest, address: IpAddr) {
    let (question, answer) = match address {
        IpAddr::V4(address) => {
            let own = Ipv4Addr::new(192, 168, 1, 2);
            passed(net, "uplink", &announce(server, own.into()));
            let mut bytes = message(2, client.mac(), ACK, &[51, 4, 0, 0, 0, 60]);
            bytes[16..20].copy_from_slice(&address.octets());
            let header = Ipv4 { source: own, destination: address, ..Ipv4::default() };
            let answer =
                server.frame(client.mac(), |b| b.ipv4(&header).udp(67, 68).payload(&bytes));
            (discover(client, |_| {}), answer)
        }
        IpAddr::V6(address) => {
            let request = [3, 0, 0, 1, 0, 1, 0, 2, 7, 7];
            let mut reply = vec![7, 0, 0, 1, 0, 1, 0, 2, 7, 7, 0, 3, 0, 40];
            reply.extend([0; 12]);
            reply.extend([0, 5, 0, 24]);
            reply.extend(address.octets());
            reply.extend([0, 0, 0, 60, 0, 0, 0, 60]);
            let (source, destination) = (server.link_local(), client.link_local());
            let header = Ipv6 { source, destination, ..Ipv6::default() };
            let answer =
                server.frame(client.mac(), |b| b.ipv6(&header).udp(547, 546).payload(&reply));
            (dhcpv6(client, client.link_local(), (546, 547), &request), answer)
        }
    };
    passed(net, client.port, &question);
    net.send("uplink", &answer);
    drain(net);
}

const LEASED: [&str; 2] = ["192.168.1.50", "2001:db8::50"];

fn leased() -> impl Iterator<Item = IpAddr> {
    LEASED.into_iter().map(|address| address.parse().expect("an address"))
}

pub(crate) fn bindings(
    net: &TestNetwork,
    address: IpAddr,
) -> Vec<(Option<engine::PortId>, Option<u16>)> {
    let its = net.engine.bindings().filter(|it| it.address == address.into());
    let mut its: Vec<_> = its.map(|it| (it.port, it.vlan)).collect();
    its.sort_unstable();
    its
}

/// A server in one VLAN, and a station in the other that has what it gives.
#[test]
fn a_server_gives_what_somebody_outside_has_in_another_vlan() {
    for (seen, given) in [(2, true), (1, false)] {
        for address in leased() {
            let mut net = world();
            net.change("uplink", trunked(uplink()));
            net.plug("one", learning());
            let station = outside(201, seen);
            passed(&mut net, "uplink", &announce(&station, address));
            lease(&mut net, &ONE, &outside(200, 1), address);
            let owner = given.then(|| Owner::Port(net.id("one")));
            assert_eq!(net.engine.owner_of(address), owner, "seen in {seen}");
            // The station keeps it where it is, and who asks there hears of it.
            passed(&mut net, "uplink", &announce(&station, address));
            net.plug("two", second(learning()));
            passed(&mut net, "uplink", &from(&station, address));
            if given {
                let taken = told(&mut net, "two", &probe(&TWO, address));
                assert_eq!(taken, Some(station.mac()));
                // Where it was given, it is nobody's out there.
                let frame = announce(&outside(201, 1), address);
                refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
            }
        }
    }
}

/// Two customers behind one trunk, with a server each.
#[test]
fn what_a_server_outside_gives_it_gives_in_its_vlan() {
    for address in leased() {
        let mut net = world();
        net.change("uplink", trunked(uplink()));
        net.plug("one", learning());
        net.plug("two", second(learning()));
        let [one, two] = ["one", "two"].map(|port| Some(net.id(port)));
        lease(&mut net, &ONE, &outside(200, 1), address);
        assert_eq!(bindings(&net, address), [(one, Some(1))]);
        // Whose it is in the other VLAN is up to that: it may be somebody's out there ...
        refused(&mut net, "uplink", &announce(&outside(202, 1), address), Reason::OutsideIdentity);
        // ... or be given by the server there.
        net.wait(Duration::from_secs(30));
        lease(&mut net, &TWO, &outside(201, 2), address);
        assert_eq!(bindings(&net, address), [(one, Some(1)), (two, Some(2))]);
        for (g, vid) in [(&ONE, 1), (&TWO, 2)] {
            passed(&mut net, g.port, &from(g, address));
            let frame = announce(&outside(202, vid), address);
            refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
        }
        // It ends for each by itself.
        net.wait(Duration::from_secs(31));
        assert_eq!(bindings(&net, address), [(two, Some(2))]);
        passed(&mut net, "two", &from(&TWO, address));
        // Now it is somebody's again, out there.
        passed(&mut net, "uplink", &announce(&outside(202, 1), address));
        refused(&mut net, "one", &from(&ONE, address), foreign(address));
        net.wait(Duration::from_secs(30));
        assert_eq!(bindings(&net, address), []);
    }
}

/// A guest of both VLANs has a lease in the one, whatever else is done to it there.
#[test]
fn a_lease_in_one_vlan_is_none_in_another() {
    for address in leased() {
        let mut net = world();
        net.change("uplink", trunked(uplink()));
        let mut spec = client_of_both();
        spec.guard.mode = GuardMode::Dhcp;
        net.plug("trunk", spec.clone());
        let its = Some(net.id("trunk"));
        lease(&mut net, &trunk(1), &outside(200, 1), address);
        passed(&mut net, "trunk", &from(&trunk(1), address));
        refused(&mut net, "trunk", &from(&trunk(2), address), foreign(address));
        passed(&mut net, "uplink", &announce(&outside(201, 2), address));
        // What is configured is so in every VLAN, and a lease takes nothing from it.
        let (forever, source) = (Lifetime::Forever, BindingSource::Configuration);
        let port = net.id("trunk");
        net.engine.bind(port, address, forever, source).expect("it has it");
        assert_eq!(bindings(&net, address), [(its, None)]);
        lease(&mut net, &trunk(1), &outside(200, 1), address);
        assert_eq!(bindings(&net, address), [(its, None)]);
        passed(&mut net, "trunk", &from(&trunk(2), address));
        let frame = announce(&outside(201, 2), address);
        refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
        // And what somebody was leased in any VLAN is not to be configured for another.
        net.engine.unbind(address);
        lease(&mut net, &trunk(2), &outside(200, 2), address);
        assert_eq!(bindings(&net, address), [], "it is the station's");
        net.wait(Duration::from_secs(600));
        lease(&mut net, &trunk(2), &outside(200, 2), address);
        assert_eq!(bindings(&net, address), [(its, Some(2))]);
        let peer = net.id("peer");
        let taken = BindError::Taken { address: address.into(), owner: port };
        assert_eq!(net.engine.bind(peer, address, forever, source), Err(taken));
        assert_eq!(net.engine.plan_address(address, mac(70)), Err(taken));
        // With the VLAN it goes.
        net.change("trunk", PortSpec { vlan: VlanMode::Access(1), ..spec });
        assert_eq!(bindings(&net, address), []);
    }
}
