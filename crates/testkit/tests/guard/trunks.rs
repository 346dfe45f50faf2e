//! Ports of several VLANs: what they have, ask and try in one of them says nothing of the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::{Event, GuardMode, PortSpec, Reason, SourceMode, Verdict, VlanMode};
use testkit::{TestNetwork, mac};
use wire::MacAddr;
use wire::arp::operation::REQUEST;
use wire::build::{Ipv4, Ipv6};
use wire::dhcp4::message::ACK;
use wire::ndp::{multicast_mac, solicited_node};
use wire::parse::Arp;

use crate::dhcp::{discover, message};
use crate::vlans::{
    announce, bindings, client_of_both, from, outside, probe, second, shared, trunk, trunked,
};
use crate::world::{Guest, drain, learning, passed, uplink, world};

/// Two addresses that a port has in each of many VLANs are two.
#[test]
fn several_addresses_in_many_vlans_are_as_many_as_they_are() {
    for addresses in [["192.168.1.1", "192.168.1.2"], ["fe80::1", "2001:db8::2"]] {
        let mut net = world();
        net.unplug("uplink");
        let mut spec = client_of_both();
        let vlan = VlanMode::Trunk { native: None, allowed: (1..=40).collect() };
        spec.source = SourceMode::Learn { max_macs: 64 };
        net.plug("trunk", PortSpec { vlan, ..spec.clone() });
        for address in addresses.map(|it| it.parse::<IpAddr>().expect("an address")) {
            for vid in 1..=40 {
                net.forget_moved();
                net.send("trunk", &from(&trunk(vid), address));
            }
            assert_eq!(bindings(&net, address).len(), 40, "{address}");
        }
        let counters = net.engine.port_counters(net.id("trunk")).expect("a port");
        let limits = [Reason::Ipv4SourceLimit, Reason::Ipv6SourceLimit];
        assert_eq!(limits.map(|limit| counters.dropped(limit)), [0, 0]);
    }
}

/// It is used in another VLAN than the one in which it came for it.
#[test]
fn what_is_planned_is_in_use_in_every_vlan() {
    for address in shared() {
        let mut net = world();
        net.unplug("uplink");
        net.engine.plan_address(address, mac(50)).expect("nobody's");
        net.plug("trunk", PortSpec { macs: vec![mac(50)], ..client_of_both() });
        let its = Some(net.id("trunk"));
        let sends = |net: &mut TestNetwork, vid| {
            net.forget_moved();
            net.send("trunk", &from(&trunk(vid), address));
        };
        sends(&mut net, 1);
        assert_eq!(bindings(&net, address), [(its, None)]);
        for _ in 0..5 {
            net.wait(Duration::from_secs(3600));
            sends(&mut net, 2);
        }
        while let Some(event) = net.engine.poll_event() {
            assert!(!matches!(event, Event::BindingEnded { .. }), "{event:?}");
        }
        // Four hours after the last use it is kept for it, and no more.
        net.wait(Duration::from_secs(4 * 3600));
        assert_eq!(bindings(&net, address), [(None, None)]);
    }
}

/// "Who has it?", from an address of the guest's own.
fn question(g: &Guest, own: IpAddr, target: IpAddr) -> Vec<u8> {
    match (own, target) {
        (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
            let (sender_mac, target_mac) = (g.mac(), MacAddr::ZERO);
            let arp = Arp { operation: REQUEST, sender_mac, sender_ip, target_mac, target_ip };
            g.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let group = solicited_node(target);
            let header = Ipv6 { source, destination: group, hop_limit: 255, ..Ipv6::default() };
            g.frame(multicast_mac(group), |b| b.ipv6(&header).neighbour(135, 0, target, g.mac()))
        }
        _ => unreachable!("one version"),
    }
}

/// Who has asked in one VLAN for an address that nobody has there may ask in the other at once.
#[test]
fn what_is_asked_in_one_vlan_is_not_asked_in_another() {
    for own in shared() {
        let target: IpAddr = match own {
            IpAddr::V4(_) => Ipv4Addr::new(192, 168, 1, 77).into(),
            IpAddr::V6(_) => "fe80::77".parse::<Ipv6Addr>().expect("an address").into(),
        };
        let mut net = world();
        net.unplug("uplink");
        net.plug("trunk", client_of_both());
        net.plug("one", learning());
        net.plug("two", second(learning()));
        let asks = |net: &mut TestNetwork, vid| {
            net.forget_moved();
            net.send("trunk", &question(&trunk(vid), own, target))
        };
        for vid in [1, 2] {
            net.forget_moved();
            net.send("trunk", &from(&trunk(vid), own));
        }
        for vid in [1, 2] {
            let passes = asks(&mut net, vid);
            assert!(!matches!(passes, Verdict::Drop(_)), "{vid} {passes:?}");
        }
        for vid in [1, 2] {
            assert!(matches!(asks(&mut net, vid), Verdict::Drop(_)), "{vid}: not twice");
        }
    }
}

/// Who tries an address in one VLAN hears of those who try it in the other.
#[test]
fn what_is_tried_in_one_vlan_is_not_tried_in_another() {
    for address in shared() {
        let mut net = world();
        net.unplug("uplink");
        net.plug("trunk", client_of_both());
        net.plug("one", learning());
        net.plug("two", second(learning()));
        let heard = |net: &mut TestNetwork, port: &'static str, number| {
            net.forget_moved();
            net.receive("trunk");
            net.send(port, &probe(&Guest { port, number, tags: Vec::new() }, address));
            net.receive("trunk").len()
        };
        net.forget_moved();
        net.send("trunk", &probe(&trunk(1), address));
        assert_eq!(heard(&mut net, "one", 20), 0, "it would give the address up");
        assert_eq!(heard(&mut net, "two", 30), 1);
        net.forget_moved();
        net.send("trunk", &probe(&trunk(2), address));
        assert_eq!(heard(&mut net, "two", 30), 0);
    }
}

/// A guest asks in both VLANs, and servers that nobody has heard yet answer: each lease waits for its own. This
/// is about IPv4 alone, as servers of DHCPv6 answer from the link.
#[test]
fn a_lease_that_waits_for_its_server_gives_way_to_none_of_another_vlan() {
    let mut net = world();
    net.change("uplink", trunked(uplink()));
    let mut spec = client_of_both();
    spec.guard.mode = GuardMode::Dhcp;
    net.plug("trunk", spec);
    let its = Some(net.id("trunk"));
    let given = |vid: u16| Ipv4Addr::new(192, 168, vid as u8, 50);
    let own = |vid: u16| Ipv4Addr::new(192, 168, vid as u8, 2);
    for vid in [1, 2] {
        let (client, server) = (trunk(vid), outside(200, vid));
        passed(&mut net, "trunk", &discover(&client, |_| {}));
        let mut bytes = message(2, client.mac(), ACK, &[51, 4, 0, 0, 0, 60]);
        bytes[16..20].copy_from_slice(&given(vid).octets());
        let header = Ipv4 { source: own(vid), destination: given(vid), ..Ipv4::default() };
        let answer = server.frame(client.mac(), |b| b.ipv4(&header).udp(67, 68).payload(&bytes));
        net.send("uplink", &answer);
        drain(&mut net);
        assert_eq!(bindings(&net, given(vid).into()), []);
    }
    for vid in [1, 2] {
        passed(&mut net, "uplink", &announce(&outside(200, vid), own(vid).into()));
        assert_eq!(bindings(&net, given(vid).into()), [(its, Some(vid))]);
    }
}
