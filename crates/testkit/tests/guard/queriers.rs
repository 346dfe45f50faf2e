//! Who asks for groups (checks 45, 49 and 50): what others ask ends nobody's membership.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::{PortSpec, VlanMode};
use testkit::{TestNetwork, mac};
use wire::build::{Ipv4, Ipv6};
use wire::{MacAddr, igmp, mld, ndp};

use crate::groups::{
    GROUP, HOP_ALERT, group_mac, group6, header, igmp, join, mld, mld_query, queries, snooping,
    to_group, to_group6,
};
use crate::world::{Guest, PEER, a, drain, passed, reaches, strict, t, uplink, world_of};

const ALL: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

fn all6() -> Ipv6Addr {
    "ff02::1".parse().expect("a group")
}

fn outside() -> Guest {
    Guest { port: "uplink", number: 200, tags: Vec::new() }
}

fn peer() -> Guest {
    Guest { port: "peer", number: PEER, tags: Vec::new() }
}

/// A query of IGMPv3 about all groups: its time to answer, and how it is sent.
fn v4(code: u8, station: MacAddr, header: &Ipv4<'_>) -> Vec<u8> {
    let mut body = [igmp::kind::QUERY, code, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0];
    let sum = !wire::checksum::sum(&body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    outside().frame(station, |b| b.ipv4(header).protocol(2).payload(&body))
}

/// The same of MLDv2.
fn v6(code: u16, station: MacAddr, destination: Ipv6Addr, alert: bool) -> Vec<u8> {
    let source = outside().link_local();
    let header = Ipv6 { source, destination, hop_limit: 1, ..Ipv6::default() };
    let [hi, lo] = code.to_be_bytes();
    let mut body = [0; 24];
    (body[0], body[1], body[20], body[21]) = (hi, lo, 2, 125);
    outside().frame(station, |b| {
        let b = b.ipv6(&header);
        let b = if alert { b.extension(0, HOP_ALERT) } else { b };
        b.icmpv6(mld::kind::QUERY, 0).payload(&body)
    })
}

/// Whether guests of "peer" are still members, of a group of each version.
fn members(net: &mut TestNetwork) -> [bool; 2] {
    drain(net);
    [to_group(&a(), GROUP), to_group6(&a(), group6(), 2000)].map(|frame| {
        net.send("a", &frame);
        !net.receive("peer").is_empty()
    })
}

fn with_members() -> TestNetwork {
    let mut net = world_of(snooping());
    passed(&mut net, "peer", &join(&peer(), GROUP));
    passed(&mut net, "peer", &mld(&peer(), mld::kind::REPORT_V2, group6(), peer().link_local(), 1));
    net
}

#[test]
fn who_asks_others_than_all_or_leaves_them_no_time_is_no_querier() {
    let (all, all6_mac) = (group_mac(ALL), ndp::multicast_mac(all6()));
    let elsewhere = Ipv4Addr::new(239, 127, 127, 127);
    let elsewhere6: Ipv6Addr = "ff05::7777".parse().expect("a group");
    let sound = header(&outside(), ALL);
    let cases = [
        v4(100, group_mac(elsewhere), &header(&outside(), elsewhere)),
        // One station is asked, or nobody.
        v4(100, mac(PEER), &sound),
        v4(100, group_mac(elsewhere), &sound),
        v4(100, all, &Ipv4 { options: &[], ..sound }),
        // An hour to answer.
        v4(0xff, all, &sound),
        v6(10_000, ndp::multicast_mac(elsewhere6), elsewhere6, true),
        v6(10_000, ndp::multicast_mac(elsewhere6), elsewhere6, false),
        v6(10_000, mac(PEER), all6(), true),
        v6(10_000, ndp::multicast_mac(elsewhere6), all6(), true),
        v6(10_000, all6_mac, all6(), false),
        v6(0xffff, all6_mac, all6(), true),
    ];
    for frame in cases {
        let mut net = with_members();
        net.wait(Duration::from_secs(50));
        for _ in 0..3 {
            net.wait(Duration::from_secs(21));
            net.send("uplink", &frame);
        }
        assert_eq!(members(&mut net), [true, true], "{frame:02x?}");
        drain(&mut net);
        net.wait(Duration::from_secs(12));
        assert_eq!(queries(&mut net, "peer"), 2, "the network asks: {frame:02x?}");
    }
    // A querier is one, and is answered.
    for (frame, still) in
        [(v4(100, all, &sound), [false, true]), (v6(10_000, all6_mac, all6(), true), [true, false])]
    {
        let mut net = with_members();
        net.wait(Duration::from_secs(50));
        for _ in 0..3 {
            net.wait(Duration::from_secs(21));
            reaches(&mut net, "uplink", &frame, &["a", "peer", "router", "t"]);
        }
        assert_eq!(members(&mut net), still);
    }
}

#[test]
fn a_query_in_one_vlan_is_none_in_another() {
    let mut net = with_members();
    let second = |spec| PortSpec { vlan: VlanMode::Access(2), ..spec };
    net.plug("b", second(strict(5)));
    net.plug("c", second(strict(6)));
    net.plug("second", second(uplink()));
    let [b, c] = [5, 6].map(|number| Guest { port: "b", number, tags: Vec::new() });
    passed(&mut net, "b", &join(&b, GROUP));
    passed(&mut net, "b", &mld(&b, mld::kind::REPORT_V2, group6(), b.link_local(), 1));
    let query =
        igmp(&outside(), igmp::kind::QUERY, Ipv4Addr::UNSPECIFIED, &header(&outside(), ALL));
    let query6 = mld_query(&outside(), Ipv6Addr::UNSPECIFIED, outside().link_local(), 1);
    net.wait(Duration::from_secs(50));
    for _ in 0..3 {
        net.wait(Duration::from_secs(21));
        net.send("second", &query);
        net.send("second", &query6);
    }
    assert_eq!(members(&mut net), [true, true]);
    net.receive("b");
    for frame in [to_group(&c, GROUP), to_group6(&c, group6(), 2000)] {
        net.send("c", &frame);
        assert!(net.receive("b").is_empty(), "nobody answered there");
    }
    // There, the network is not the one who asks.
    drain(&mut net);
    net.wait(Duration::from_secs(12));
    assert_eq!((queries(&mut net, "peer"), queries(&mut net, "b")), (2, 0));
}

#[test]
fn reports_of_others_do_not_silence_a_members_own() {
    let mut net = with_members();
    let report = join(&outside(), GROUP);
    reaches(&mut net, "uplink", &report, &["router"]);
    let source = outside().link_local();
    reaches(
        &mut net,
        "uplink",
        &mld(&outside(), mld::kind::REPORT_V1, group6(), source, 1),
        &["router"],
    );
    reaches(
        &mut net,
        "uplink",
        &mld(&outside(), mld::kind::REPORT_V2, group6(), source, 1),
        &["router"],
    );
}

#[test]
fn a_trunk_is_asked_where_it_is_a_member() {
    let mut net = world_of(snooping());
    drain(&mut net);
    net.wait(Duration::from_secs(125));
    assert_eq!(queries(&mut net, "t"), 0);
    passed(&mut net, "t", &join(&t(), GROUP));
    passed(&mut net, "t", &mld(&t(), mld::kind::REPORT_V2, group6(), t().link_local(), 1));
    net.wait(Duration::from_secs(125));
    let asked = net.receive_plain("t");
    assert_eq!(asked.len(), 2);
    for query in asked {
        assert_eq!(wire::parse(&query).expect("a frame").vlan, t().tags.first().copied());
    }
}
