//! Checks 45, 48 to 51.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::{MdnsPolicy, NetworkGuard, NetworkSpec, Rate, Reason, Storm};
use testkit::{TestNetwork, mac};
use wire::build::{Ipv4, Ipv6};
use wire::{MacAddr, igmp, mld, ndp, parse};

use crate::world::{
    Guest, PEER, a, both_refused, consumed, drain, network, passed, reaches, refused, strict, v4,
    v6, world, world_of,
};

pub(crate) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
pub(crate) const ALERT: &[u8] = &[148, 4, 0, 0];

pub(crate) fn group6() -> Ipv6Addr {
    "ff05::1234".parse().expect("a group")
}

pub(crate) fn group_mac(group: Ipv4Addr) -> MacAddr {
    let [_, b, c, d] = group.octets();
    MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
}

pub(crate) fn igmp(g: &Guest, kind: u8, group: Ipv4Addr, header: &Ipv4<'_>) -> Vec<u8> {
    let mut body = vec![kind, 0, 0, 0];
    body.extend(group.octets());
    let sum = !wire::checksum::sum(&body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    g.frame(group_mac(header.destination), |b| b.ipv4(header).protocol(2).payload(&body))
}

pub(crate) fn header(g: &Guest, destination: Ipv4Addr) -> Ipv4<'static> {
    Ipv4 { source: g.v4(), destination, ttl: 1, options: ALERT, ..Ipv4::default() }
}

pub(crate) fn join(g: &Guest, group: Ipv4Addr) -> Vec<u8> {
    igmp(g, igmp::kind::REPORT_V2, group, &header(g, group))
}

pub(crate) const HOP_ALERT: &[u8] = &[0, 5, 2, 0, 0, 1, 0];

pub(crate) fn mld(g: &Guest, kind: u8, group: Ipv6Addr, source: Ipv6Addr, hops: u8) -> Vec<u8> {
    let to =
        if kind == mld::kind::REPORT_V1 { group } else { "ff02::16".parse().expect("a group") };
    let header = Ipv6 { source, destination: to, hop_limit: hops, ..Ipv6::default() };
    g.frame(ndp::multicast_mac(to), |b| {
        let b = b.ipv6(&header).extension(0, HOP_ALERT).icmpv6(kind, 0);
        if kind == mld::kind::REPORT_V2 {
            b.payload(&[0, 0, 0, 1, 4, 0, 0, 0]).payload(&group.octets())
        } else {
            b.payload(&[0; 4]).payload(&group.octets())
        }
    })
}

pub(crate) fn snooping() -> NetworkSpec {
    let guard = NetworkGuard { snooping: true, ..network().guard };
    NetworkSpec { guard, ..network() }
}

pub(crate) fn to_group(g: &Guest, group: Ipv4Addr) -> Vec<u8> {
    let header = Ipv4 { destination: group, ..g.ip4() };
    g.frame(group_mac(group), |b| b.ipv4(&header).udp(1000, 2000).payload(&[7; 20]))
}

pub(crate) fn to_group6(g: &Guest, group: Ipv6Addr, port: u16) -> Vec<u8> {
    let header = Ipv6 { destination: group, ..g.ip6() };
    g.frame(ndp::multicast_mac(group), |b| b.ipv6(&header).udp(port, port).payload(&[7; 20]))
}

#[test]
fn igmp_messages() {
    both_refused(Reason::IgmpFormat, |g| {
        igmp(g, igmp::kind::REPORT_V2, GROUP, &Ipv4 { ttl: 2, ..header(g, GROUP) })
    });
    both_refused(Reason::IgmpFormat, |g| {
        igmp(g, igmp::kind::REPORT_V2, GROUP, &Ipv4 { options: &[], ..header(g, GROUP) })
    });
    both_refused(Reason::IgmpFormat, |g| igmp(g, 0x77, GROUP, &header(g, GROUP)));
    // To one station alone.
    for kind in [igmp::kind::REPORT_V1, igmp::kind::REPORT_V2, igmp::kind::LEAVE] {
        both_refused(Reason::IgmpFormat, |g| {
            let mut frame = igmp(g, kind, GROUP, &header(g, v4(PEER)));
            frame[..6].copy_from_slice(&mac(PEER).0);
            frame
        });
    }
    both_refused(Reason::IgmpFormat, |g| {
        let mut frame = join(g, GROUP);
        let last = frame.len() - 1;
        frame[last] ^= 1;
        frame
    });
    both_refused(Reason::IgmpQuery, |g| igmp(g, igmp::kind::QUERY, GROUP, &header(g, GROUP)));
    both_refused(Reason::Ipv4Source, |g| {
        let source = v4(PEER);
        igmp(g, igmp::kind::REPORT_V2, GROUP, &Ipv4 { source, ..header(g, GROUP) })
    });
    both_refused(Reason::FragmentGuarded, |g| {
        let header = Ipv4 { fragment: 0x2000, ..header(g, GROUP) };
        g.frame(group_mac(GROUP), |b| b.ipv4(&header).protocol(2).payload(&[0; 48]))
    });
    // Linux joins groups before it has an address: that is no violation, and no others' business.
    let mut net = world();
    let header = Ipv4 { source: Ipv4Addr::UNSPECIFIED, ..header(&a(), GROUP) };
    consumed(&mut net, "a", &igmp(&a(), igmp::kind::REPORT_V2, GROUP, &header));
    assert!(net.engine.poll_event().is_none());
}

#[test]
fn mld_messages() {
    let v2 = mld::kind::REPORT_V2;
    both_refused(Reason::MldFormat, |g| mld(g, v2, group6(), g.link_local(), 2));
    both_refused(Reason::MldFormat, |g| mld(g, v2, group6(), g.v6(), 1));
    both_refused(Reason::MldFormat, |g| {
        let to = group6();
        let header =
            Ipv6 { source: g.link_local(), destination: to, hop_limit: 1, ..Ipv6::default() };
        g.frame(ndp::multicast_mac(to), |b| {
            b.ipv6(&header).icmpv6(131, 0).payload(&[0; 4]).payload(&to.octets())
        })
    });
    both_refused(Reason::MldFormat, |g| {
        let (source, destination) = (g.link_local(), v6(PEER));
        let header = Ipv6 { source, destination, hop_limit: 1, ..Ipv6::default() };
        g.frame(mac(PEER), |b| {
            let b = b.ipv6(&header).extension(0, HOP_ALERT).icmpv6(mld::kind::REPORT_V1, 0);
            b.payload(&[0; 4]).payload(&group6().octets())
        })
    });
    both_refused(Reason::MldQuery, |g| mld(g, mld::kind::QUERY, group6(), g.link_local(), 1));
    let mut net = world();
    let none = Ipv6Addr::UNSPECIFIED;
    consumed(&mut net, "a", &mld(&a(), v2, group6(), none, 1));
    passed(&mut net, "a", &mld(&a(), v2, group6(), a().link_local(), 1));
}

#[test]
fn groups_per_port_and_reports_per_second_are_bounded() {
    let mut net = world();
    for last in 0..32 {
        passed(&mut net, "a", &join(&a(), Ipv4Addr::new(239, 0, 0, last)));
        let group = Ipv6Addr::from(u128::from(group6()) + u128::from(last));
        passed(&mut net, "a", &mld(&a(), mld::kind::REPORT_V2, group, a().link_local(), 1));
    }
    refused(&mut net, "a", &join(&a(), GROUP), Reason::IgmpGroups);
    let frame =
        mld(&a(), mld::kind::REPORT_V2, "ff05::99".parse().expect("a group"), a().link_local(), 1);
    refused(&mut net, "a", &frame, Reason::MldGroups);
    // One that it is in it may be in again; one that it left makes room.
    passed(&mut net, "a", &join(&a(), Ipv4Addr::new(239, 0, 0, 1)));
    let leave = Ipv4Addr::new(239, 0, 0, 1);
    passed(
        &mut net,
        "a",
        &igmp(&a(), igmp::kind::LEAVE, leave, &header(&a(), Ipv4Addr::new(224, 0, 0, 2))),
    );
    passed(&mut net, "a", &join(&a(), GROUP));
    let mut spec = strict(2);
    spec.guard.rates.groups = Rate::new(1, 1);
    net.change("a", spec);
    passed(&mut net, "a", &join(&a(), GROUP));
    refused(&mut net, "a", &join(&a(), GROUP), Reason::IgmpRate);
    refused(&mut net, "a", &frame, Reason::MldRate);
}

#[test]
fn multicast_goes_to_members() {
    let mut net = world_of(snooping());
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    reaches(&mut net, "a", &to_group(&a(), GROUP), &["router", "uplink"]);
    reaches(&mut net, "peer", &join(&peer, GROUP), &["router", "uplink"]);
    reaches(&mut net, "a", &to_group(&a(), GROUP), &["peer", "router", "uplink"]);
    reaches(&mut net, "a", &to_group6(&a(), group6(), 2000), &["router", "uplink"]);
    let report = mld(&peer, mld::kind::REPORT_V2, group6(), peer.link_local(), 1);
    reaches(&mut net, "peer", &report, &["router", "uplink"]);
    reaches(&mut net, "a", &to_group6(&a(), group6(), 2000), &["peer", "router", "uplink"]);
    // Those of the link go to all.
    let all = ["peer", "router", "t", "uplink"];
    reaches(&mut net, "a", &to_group(&a(), Ipv4Addr::new(224, 0, 0, 9)), &all);
    reaches(&mut net, "a", &to_group6(&a(), "ff02::9".parse().expect("a group"), 2000), &all);
    // Nobody routes, nobody is a member: it goes nowhere.
    net.unplug("router");
    net.unplug("uplink");
    net.forget_moved();
    let frame = to_group(&a(), Ipv4Addr::new(239, 9, 9, 9));
    assert_eq!(net.send("a", &frame), engine::Verdict::Drop(Reason::GroupUnregistered));
}

/// A report of IGMPv3 with one record of this type and so many sources.
fn report_v3(g: &Guest, kind: u8, group: Ipv4Addr, sources: u8) -> Vec<u8> {
    let routers = Ipv4Addr::new(224, 0, 0, 22);
    let mut body = vec![igmp::kind::REPORT_V3, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, sources];
    body.extend(group.octets());
    body.extend((0..sources).flat_map(|number| [192, 0, 2, number]));
    let sum = !wire::checksum::sum(&body);
    body[2..4].copy_from_slice(&sum.to_be_bytes());
    g.frame(group_mac(routers), |b| b.ipv4(&header(g, routers)).protocol(2).payload(&body))
}

/// The same of MLDv2.
fn report_v2(g: &Guest, kind: u8, group: Ipv6Addr, sources: u8) -> Vec<u8> {
    let routers = "ff02::16".parse().expect("a group");
    let header =
        Ipv6 { source: g.link_local(), destination: routers, hop_limit: 1, ..Ipv6::default() };
    g.frame(ndp::multicast_mac(routers), |b| {
        let b = b.ipv6(&header).extension(0, HOP_ALERT).icmpv6(mld::kind::REPORT_V2, 0);
        let b = b.payload(&[0, 0, 0, 1, kind, 0, 0, sources]).payload(&group.octets());
        (0..sources).fold(b, |b, number| b.payload(&v6(u32::from(number)).octets()))
    })
}

/// Who wants less of a group than before may want the rest of it.
#[test]
fn who_blocks_a_source_stays_in_the_group() {
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let (with, without) = (&["peer", "router", "uplink"][..], &["router", "uplink"][..]);
    let leave = igmp(&peer, igmp::kind::LEAVE, GROUP, &header(&peer, Ipv4Addr::new(224, 0, 0, 2)));
    let done = mld(&peer, mld::kind::DONE, group6(), peer.link_local(), 1);
    let record = |kind, sources| {
        [report_v3(&peer, kind, GROUP, sources), report_v2(&peer, kind, group6(), sources)]
    };
    for (frames, stays) in [
        (record(6, 1), true),
        (record(6, 3), true),
        (record(5, 0), true),
        (record(1, 0), true),
        (record(7, 0), true),
        (record(3, 1), true),
        (record(3, 0), false),
        ([leave, done], false),
    ] {
        let mut net = world_of(snooping());
        let data = [to_group(&a(), GROUP), to_group6(&a(), group6(), 2000)];
        let joins = record(4, 0);
        for ((frame, join), data) in frames.iter().zip(&joins).zip(&data) {
            // Nobody joins by it, unless it names a source to receive from.
            passed(&mut net, "peer", frame);
            let joined = frames == record(3, 1);
            reaches(&mut net, "a", data, if joined { with } else { without });
            passed(&mut net, "peer", join);
            reaches(&mut net, "a", data, with);
            passed(&mut net, "peer", frame);
            reaches(&mut net, "a", data, if stays { with } else { without });
        }
        // It answers no question either.
        if frames != record(3, 1) {
            for _ in 0..3 {
                net.wait(Duration::from_secs(125));
                drain(&mut net);
                frames.iter().for_each(|frame| passed(&mut net, "peer", frame));
            }
            data.iter().for_each(|data| reaches(&mut net, "a", data, without));
        }
    }
}

/// A group of which each listener names the senders is left by blocking the last of them (RFC 3376, 5.1;
/// RFC 3810, 6.1): whoever has not, answers the next query.
#[test]
fn who_blocks_the_last_sender_leaves() {
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let (with, without) = (&["peer", "router", "uplink"][..], &["router", "uplink"][..]);
    let groups = (Ipv4Addr::new(232, 1, 2, 3), "ff35::1234".parse().expect("a group"));
    let record = |kind, sources| {
        [report_v3(&peer, kind, groups.0, sources), report_v2(&peer, kind, groups.1, sources)]
    };
    let data = [to_group(&a(), groups.0), to_group6(&a(), groups.1, 2000)];
    // How it joins, what it answers, and whether it stays then.
    for (join, answer, stays) in [
        (record(5, 1), None, false),
        (record(1, 1), None, false),
        (record(3, 1), None, false),
        (record(4, 1), None, true),
        (record(5, 2), Some(record(1, 1)), true),
        (record(5, 2), Some(record(6, 1)), false),
    ] {
        let mut net = world_of(snooping());
        let sends = |net: &mut TestNetwork, frames: &[Vec<u8>]| {
            frames.iter().for_each(|frame| passed(net, "peer", frame));
        };
        sends(&mut net, &join);
        sends(&mut net, &record(6, 1));
        for _ in 0..2 {
            data.iter().for_each(|data| reaches(&mut net, "a", data, with));
            net.wait(Duration::from_secs(125));
            drain(&mut net);
            sends(&mut net, answer.as_ref().map_or(&[], |answer| answer));
        }
        let left = if stays { with } else { without };
        data.iter().for_each(|data| reaches(&mut net, "a", data, left));
    }
}

/// Many channels, one after the other.
#[test]
fn what_was_left_by_blocking_is_in_nobodys_way() {
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let channel = |number: u8| {
        let last = u128::from(number);
        let group6 = Ipv6Addr::from("ff35::".parse::<Ipv6Addr>().expect("it is").to_bits() | last);
        (Ipv4Addr::new(232, 0, 1, number), group6)
    };
    let record = |kind, number| {
        let (group4, group6) = channel(number);
        [report_v3(&peer, kind, group4, 1), report_v2(&peer, kind, group6, 1)]
    };
    let mut net = world_of(snooping());
    // What it wants to keep.
    record(5, 0).iter().for_each(|frame| passed(&mut net, "peer", frame));
    for number in 1..=100 {
        for kind in [5, 6] {
            record(kind, number).iter().for_each(|frame| passed(&mut net, "peer", frame));
        }
    }
    for (number, stays) in [(0, true), (1, false), (69, false), (70, true), (100, true)] {
        let (group4, group6) = channel(number);
        let with: &[_] = if stays { &["peer", "router", "uplink"] } else { &["router", "uplink"] };
        reaches(&mut net, "a", &to_group(&a(), group4), with);
        reaches(&mut net, "a", &to_group6(&a(), group6, 2000), with);
    }
    // Nothing gives way that is wanted.
    for number in 101..=131 {
        record(5, number).iter().for_each(|frame| passed(&mut net, "peer", frame));
    }
    let [last4, last6] = record(5, 132);
    refused(&mut net, "peer", &last4, Reason::IgmpGroups);
    refused(&mut net, "peer", &last6, Reason::MldGroups);
}

/// Several groups have one Ethernet address, and who leaves one of them stays in the others.
#[test]
fn who_leaves_a_group_stays_in_those_with_its_ethernet_address() {
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let (with, without) = (&["peer", "router", "uplink"][..], &["router", "uplink"][..]);
    let groups4 = [GROUP, Ipv4Addr::new(224, 1, 2, 3), Ipv4Addr::new(239, 129, 2, 3)];
    let groups6 =
        [group6(), "ff08::1234".parse().expect("it is"), "ff35::7:0:1234".parse().expect("it is")];
    let to_all = Ipv4Addr::new(224, 0, 0, 2);
    let data = [to_group(&a(), groups4[2]), to_group6(&a(), groups6[2], 2000)];
    for version1 in [false, true] {
        let joins = |number: usize| {
            [report_v3(&peer, 4, groups4[number], 0), report_v2(&peer, 4, groups6[number], 0)]
        };
        let leaves = |number: usize| {
            let (group4, group6) = (groups4[number], groups6[number]);
            if version1 {
                let done = mld(&peer, mld::kind::DONE, group6, peer.link_local(), 1);
                [igmp(&peer, igmp::kind::LEAVE, group4, &header(&peer, to_all)), done]
            } else {
                [report_v3(&peer, 3, group4, 0), report_v2(&peer, 3, group6, 0)]
            }
        };
        let mut net = world_of(snooping());
        (0..3).flat_map(joins).for_each(|frame| passed(&mut net, "peer", &frame));
        for number in 0..3 {
            data.iter().for_each(|data| reaches(&mut net, "a", data, with));
            leaves(number).iter().for_each(|frame| passed(&mut net, "peer", frame));
            // Twice is once.
            leaves(number).iter().for_each(|frame| passed(&mut net, "peer", frame));
        }
        data.iter().for_each(|data| reaches(&mut net, "a", data, without));
    }
}

#[track_caller]
pub(crate) fn queries(net: &mut TestNetwork, port: &str) -> usize {
    let frames = net.receive_plain(port);
    frames
        .iter()
        .filter(|frame| {
            let parsed = parse(frame).expect("a frame");
            let at = usize::from(parsed.l4.expect("a message").offset);
            [igmp::kind::QUERY, mld::kind::QUERY].contains(&frame[at]) && frame.len() >= 60
        })
        .count()
}

#[test]
fn the_network_asks_and_forgets_who_does_not_answer() {
    let mut net = world_of(snooping());
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    passed(&mut net, "peer", &join(&peer, GROUP));
    let frame = to_group(&a(), GROUP);
    for _ in 0..2 {
        assert_eq!(queries(&mut net, "a"), 0);
        // Nobody says anything meanwhile.
        net.wait(Duration::from_secs(125));
        assert!(net.ready().contains(&"a".to_owned()), "the link is told");
        assert_eq!(queries(&mut net, "a"), 2, "one for each version");
        assert_eq!(queries(&mut net, "peer"), 2);
        assert_eq!(queries(&mut net, "uplink"), 0, "the outside is not asked");
        drain(&mut net);
        reaches(&mut net, "a", &frame, &["peer", "router", "uplink"]);
    }
    net.wait(Duration::from_secs(125));
    drain(&mut net);
    reaches(&mut net, "a", &frame, &["router", "uplink"]);
    // A router outside asks: the network does not.
    let outside = Guest { port: "uplink", number: 200, tags: Vec::new() };
    let all = Ipv4Addr::new(224, 0, 0, 1);
    let query = igmp(&outside, igmp::kind::QUERY, Ipv4Addr::UNSPECIFIED, &header(&outside, all));
    let query6 = mld_query(&outside, Ipv6Addr::UNSPECIFIED, outside.link_local(), 1);
    reaches(&mut net, "uplink", &query, &["a", "peer", "router", "t"]);
    reaches(&mut net, "uplink", &query6, &["a", "peer", "router", "t"]);
    net.wait(Duration::from_secs(254));
    assert_eq!(queries(&mut net, "a"), 0);
    // It was silent for too long.
    net.wait(Duration::from_secs(1));
    assert_eq!(queries(&mut net, "a"), 2);
    drain(&mut net);
}

pub(crate) fn mld_query(g: &Guest, group: Ipv6Addr, source: Ipv6Addr, hops: u8) -> Vec<u8> {
    let to = "ff02::1".parse().expect("a group");
    let header = Ipv6 { source, destination: to, hop_limit: hops, ..Ipv6::default() };
    g.frame(ndp::multicast_mac(to), |b| {
        let b = b.ipv6(&header).extension(0, HOP_ALERT).icmpv6(mld::kind::QUERY, 0);
        b.payload(&[0; 4]).payload(&group.octets()).payload(&[2, 125, 0, 0])
    })
}

/// Nobody else answers a question about one group, nor one that stacks take for broken; so these end
/// no membership, and whoever asks them is no querier.
#[test]
fn only_sound_questions_about_all_groups_are_a_queriers() {
    let outside = Guest { port: "uplink", number: 200, tags: Vec::new() };
    let peer = Guest { port: "peer", number: PEER, tags: Vec::new() };
    let all = Ipv4Addr::new(224, 0, 0, 1);
    let (none, none6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
    let v4 = |group, ttl| {
        let header = Ipv4 { ttl, ..header(&outside, all) };
        igmp(&outside, igmp::kind::QUERY, group, &header)
    };
    let v6 = |group, source, hops| mld_query(&outside, group, source, hops);
    let broken = |mut frame: Vec<u8>| {
        let last = frame.len() - 1;
        frame[last] ^= 1;
        frame
    };
    let own = outside.link_local();
    let (good, good6) = (v4(none, 1), v6(none6, own, 1));
    for (sound, sound6, bad) in [
        (false, false, vec![v4(GROUP, 1), v4(none, 2), broken(good.clone())]),
        (
            false,
            false,
            vec![
                v6(group6(), own, 1),
                v6(none6, own, 2),
                v6(none6, outside.v6(), 1),
                broken(good6.clone()),
            ],
        ),
        (true, false, vec![good]),
        (false, true, vec![good6]),
    ] {
        let mut net = world_of(snooping());
        passed(&mut net, "peer", &join(&peer, GROUP));
        let report = mld(&peer, mld::kind::REPORT_V2, group6(), peer.link_local(), 1);
        passed(&mut net, "peer", &report);
        net.wait(Duration::from_secs(60));
        for _ in 0..3 {
            // A round is counted once in twenty seconds.
            net.wait(Duration::from_secs(21));
            for frame in &bad {
                passed(&mut net, "uplink", frame);
            }
        }
        net.receive("peer");
        assert!(net.send("a", &to_group(&a(), GROUP)) != engine::Verdict::Consumed);
        let heard = net.receive("peer").len();
        net.send("a", &to_group6(&a(), group6(), 2000));
        let heard6 = net.receive("peer").len();
        assert_eq!((heard == 0, heard6 == 0), (sound, sound6), "{bad:02x?}");
        // Those that nobody else asks about the network asks about itself.
        drain(&mut net);
        net.wait(Duration::from_secs(2));
        assert_eq!(queries(&mut net, "a"), 2 - usize::from(sound) - usize::from(sound6));
    }
}

#[test]
fn a_network_without_snooping_asks_nobody() {
    let mut net = world();
    net.wait(Duration::from_secs(300));
    assert_eq!(queries(&mut net, "a"), 0);
}

#[test]
fn storms() {
    let broadcast = |g: &Guest| {
        let header = Ipv4 { destination: Ipv4Addr::BROADCAST, ..g.ip4() };
        g.frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(1000, 2000).payload(&[7; 20]))
    };
    let unknown = |g: &Guest| g.frame(mac(77), |b| b.ipv4(&g.ip4()).udp(1, 2).payload(&[7; 20]));
    let multicast = |g: &Guest| to_group(g, Ipv4Addr::new(224, 0, 0, 9));
    let cases: [(Vec<u8>, Reason); 3] = [
        (broadcast(&a()), Reason::StormBroadcast),
        (multicast(&a()), Reason::StormMulticast),
        (unknown(&a()), Reason::StormUnknown),
    ];
    for (frame, reason) in cases {
        let mut net = world();
        let mut spec = strict(2);
        let rate = Some(Rate::new(10, 20));
        spec.guard.storm =
            Storm { broadcast: rate, multicast: rate, unknown: rate, ..Storm::default() };
        net.change("a", spec.clone());
        for _ in 0..20 {
            passed(&mut net, "a", &frame);
        }
        refused(&mut net, "a", &frame, reason);
        net.wait(Duration::from_millis(100));
        passed(&mut net, "a", &frame);
        refused(&mut net, "a", &frame, reason);
        // To one station it has no limit.
        for _ in 0..50 {
            passed(&mut net, "a", &a().udp4(&a().ip4(), 1, 2));
        }
        // In bytes.
        spec.guard.storm = Storm { bytes_per_second: Some(200), ..Storm::default() };
        net.change("a", spec.clone());
        net.wait(Duration::from_secs(1000));
        passed(&mut net, "a", &frame);
        passed(&mut net, "a", &frame);
        passed(&mut net, "a", &frame);
        refused(&mut net, "a", &frame, reason);
        // With consequences.
        spec.guard.storm = Storm {
            broadcast: Some(Rate::new(1, 0)),
            multicast: Some(Rate::new(1, 0)),
            unknown: Some(Rate::new(1, 0)),
            shutdown: Some(Duration::from_secs(30)),
            ..Storm::default()
        };
        net.change("a", spec);
        refused(&mut net, "a", &frame, reason);
        let good = a().udp4(&a().ip4(), 1, 2);
        if reason == Reason::StormUnknown {
            // Whose receiver left has done nothing.
            passed(&mut net, "a", &good);
            continue;
        }
        refused(&mut net, "a", &good, Reason::Quarantined);
        net.wait(Duration::from_secs(30));
        passed(&mut net, "a", &good);
    }
}

#[test]
fn multicast_dns_and_its_like() {
    let mdns = to_group(&a(), Ipv4Addr::new(224, 0, 0, 251));
    let mdns6 = to_group6(&a(), "ff02::fb".parse().expect("a group"), 5353);
    let llmnr = to_group(&a(), Ipv4Addr::new(224, 0, 0, 252));
    let llmnr6 = to_group6(&a(), "ff02::1:3".parse().expect("a group"), 5355);
    let ssdp = to_group(&a(), Ipv4Addr::new(239, 255, 255, 250));
    let others = [&llmnr, &llmnr6, &ssdp];
    let with = |mdns| {
        let guard = NetworkGuard { mdns, ..network().guard };
        world_of(NetworkSpec { guard, ..network() })
    };
    let all = ["peer", "router", "t", "uplink"];
    let mut net = with(MdnsPolicy::Flood);
    for frame in [&mdns, &mdns6].into_iter().chain(others) {
        reaches(&mut net, "a", frame, &all);
    }
    let mut net = with(MdnsPolicy::Off);
    let wider = ["ff0e::c", "ff05::fb", "ff08::c"]
        .map(|group| to_group6(&a(), group.parse().expect("a group"), 1900));
    for frame in [&mdns, &mdns6].into_iter().chain(others).chain(&wider) {
        refused(&mut net, "a", frame, Reason::Mdns);
    }
    let mut net = with(MdnsPolicy::Proxy);
    for frame in [&mdns, &mdns6].into_iter().chain(others) {
        reaches(&mut net, "a", frame, &["router"]);
    }
    let mut net = with(MdnsPolicy::Reflect);
    reaches(&mut net, "a", &mdns, &all);
    reaches(&mut net, "a", &mdns6, &all);
    for frame in others {
        refused(&mut net, "a", frame, Reason::Mdns);
    }
}
