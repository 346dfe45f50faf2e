//! Who is cut off, for what he did himself and for nothing that others did to him.

use std::time::Duration;

use engine::bindings::BindingLimits;
use engine::{PortSpec, Quarantine, Rate, Rates, Reason, SourceMode, Storm, Verdict};
use testkit::{TestNetwork, mac};
use wire::MacAddr;
use wire::arp::operation::REQUEST;
use wire::build::{Ipv4, Ipv6};
use wire::ipv6::extension::FRAGMENT;
use wire::parse::Arp;

use crate::world::{
    Guest, PEER, a, answered, drain, learning, refused, strict, taken, v4, v6, wide, world,
};

fn watched(spec: PortSpec) -> PortSpec {
    let mut spec = spec;
    spec.guard.quarantine = Some(Quarantine {
        violations: 3,
        within: Duration::from_secs(60),
        release: Duration::from_secs(300),
    });
    spec
}

#[track_caller]
fn is_free(net: &TestNetwork, port: &str) {
    assert_eq!(net.engine.quarantined_until(net.id(port)), None);
}

/// A frame from the address that a station makes of its Ethernet address.
fn from(number: u32) -> Vec<u8> {
    let source = mac(number).eui64_link_local().into();
    let header = Ipv6 { source, ..a().ip6() };
    a().frame_from(mac(number), mac(PEER), |b| b.ipv6(&header).udp(1, 2))
}

#[test]
fn a_station_whose_address_somebody_used_first_does_not_end_its_port() {
    let mut net = world();
    let several = PortSpec { source: SourceMode::Learn { max_macs: 8 }, ..learning() };
    net.plug("thief", learning());
    net.plug("cable", watched(several));
    net.send("cable", &from(21));
    net.send("thief", &from(20));
    for _ in 0..5 {
        refused(&mut net, "cable", &from(20), Reason::MacMoved);
    }
    // It is bound by somebody who came first.
    net.plug("bound", strict(22));
    for _ in 0..5 {
        refused(&mut net, "cable", &from(22), Reason::MacBound);
    }
    is_free(&net, "cable");
    // Nor does a client that has never been heard, and cannot know.
    net.plug("client", watched(learning()));
    for _ in 0..5 {
        refused(&mut net, "client", &from(20), Reason::MacMoved);
    }
    is_free(&net, "client");
    // Who has an address and uses another's is no victim.
    net.send("client", &from(23));
    for _ in 0..3 {
        refused(&mut net, "client", &from(20), Reason::MacMoved);
    }
    refused(&mut net, "client", &from(23), Reason::Quarantined);
}

#[test]
fn a_receiver_that_leaves_does_not_end_its_sender() {
    for shutdown in [None, Some(Duration::from_secs(30))] {
        let mut net = world();
        let mut spec = watched(strict(2));
        spec.guard.storm = Storm {
            unknown: Some(Rate::new(10, 20)),
            bytes_per_second: Some(2000),
            shutdown,
            ..Storm::default()
        };
        net.change("a", spec);
        let v4 = a().frame(mac(77), |b| b.ipv4(&a().ip4()).udp(1, 2).payload(&[7; 60]));
        let v6 = a().frame(mac(77), |b| b.ipv6(&a().ip6()).udp(1, 2).payload(&[7; 60]));
        let mut dropped = 0;
        for frame in [&v4, &v6].into_iter().cycle().take(60) {
            dropped += usize::from(net.send("a", frame) == Verdict::Drop(Reason::StormUnknown));
            drain(&mut net);
        }
        assert!(dropped >= 40, "{dropped}");
        is_free(&net, "a");
        // Nor does it silence him: what he says to all has its own bounds.
        let header = Ipv4 { destination: std::net::Ipv4Addr::BROADCAST, ..a().ip4() };
        let to_all = a().frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(1000, 2000));
        assert!(matches!(net.send("a", &to_all), Verdict::Flood { .. }));
        is_free(&net, "a");
    }
}

#[test]
fn fragments_whose_first_was_lost_do_not_end_a_port() {
    let later4 = |id| {
        let header = Ipv4 { id, fragment: 185, ..a().ip4() };
        a().frame(mac(PEER), |b| b.ipv4(&header).protocol(17).payload(&[0; 80]))
    };
    let later6 = |id: u16| {
        let [hi, lo] = id.to_be_bytes();
        a().frame(mac(PEER), |b| {
            let b = b.ipv6(&a().ip6()).extension(FRAGMENT, &[0, 0x05, 0xa0, 0, 0, hi, lo]);
            b.protocol(17).payload(&[0; 80])
        })
    };
    for later in [&later4 as &dyn Fn(u16) -> Vec<u8>, &later6] {
        let mut net = world();
        net.change("a", watched(strict(2)));
        for id in 0..10 {
            refused(&mut net, "a", &later(id), Reason::FragmentOrphan);
        }
        is_free(&net, "a");
    }
    // More under way than are remembered.
    let first4 = |id| {
        let header = Ipv4 { id, fragment: 0x2000, ..a().ip4() };
        a().frame(mac(PEER), |b| b.ipv4(&header).udp(1, 2).payload(&[0; 72]))
    };
    let first6 = |id: u16| {
        let [hi, lo] = id.to_be_bytes();
        a().frame(mac(PEER), |b| {
            let b = b.ipv6(&a().ip6()).extension(FRAGMENT, &[0, 0, 1, 0, 0, hi, lo]);
            b.udp(1, 2).payload(&[0; 72])
        })
    };
    for first in [&first4 as &dyn Fn(u16) -> Vec<u8>, &first6] {
        let mut net = world();
        net.change("a", watched(strict(2)));
        for id in 0..64 {
            net.send("a", &first(id));
            drain(&mut net);
        }
        for id in 64..74 {
            refused(&mut net, "a", &first(id), Reason::FragmentLimit);
        }
        is_free(&net, "a");
    }
}

/// Somebody outside says that a guest's first-come address is his.
#[test]
fn an_address_that_the_outside_took_does_not_end_a_port() {
    let outside = Guest { port: "uplink", number: 200, tags: Vec::new() };
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    for frames in [
        [client.udp4(&client.ip4(), 1, 2), {
            let arp = Arp {
                operation: REQUEST,
                sender_mac: outside.mac(),
                sender_ip: client.v4(),
                target_mac: MacAddr::ZERO,
                target_ip: client.v4(),
            };
            outside.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }],
        [client.udp6(&client.ip6(), 1, 2), {
            let all = "ff02::1".parse().expect("an address");
            let header =
                Ipv6 { source: client.v6(), destination: all, hop_limit: 255, ..Ipv6::default() };
            outside.frame(wire::ndp::multicast_mac(all), |b| {
                b.ipv6(&header).neighbour(136, 0x20, client.v6(), outside.mac())
            })
        }],
    ] {
        let [its, claim] = frames;
        let mut net = world();
        net.plug("client", watched(learning()));
        taken(&mut net, "client", &its);
        net.send("uplink", &claim);
        for _ in 0..10 {
            drain(&mut net);
            assert!(matches!(net.send("client", &its), Verdict::Drop(_)));
        }
        is_free(&net, "client");
    }
}

/// Whose address somebody used while he was away is no forger; who has one of his own is.
#[test]
fn an_address_that_somebody_used_first_does_not_end_a_port() {
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    let thief = Guest { port: "thief", number: 21, tags: Vec::new() };
    let own6 = Ipv6 { source: client.link_local(), ..client.ip6() };
    let with = |g: &Guest, number: u32, six: bool| {
        if six {
            g.udp6(&Ipv6 { source: v6(number), ..g.ip6() }, 1, 2)
        } else {
            g.udp4(&Ipv4 { source: v4(number), ..g.ip4() }, 1, 2)
        }
    };
    for six in [false, true] {
        let reason = if six { Reason::Ipv6Source } else { Reason::Ipv4Source };
        let mut net = world();
        net.plug("thief", learning());
        net.plug("client", watched(learning()));
        // It is only being asked for.
        assert_eq!(net.send("thief", &with(&thief, 40, six)), Verdict::Drop(Reason::AddressAsked));
        drain(&mut net);
        // Every station has one of these.
        net.send("client", &client.udp6(&own6, 1, 2));
        for _ in 0..5 {
            refused(&mut net, "client", &with(&client, 40, six), reason);
        }
        taken(&mut net, "thief", &with(&thief, 41, six));
        for _ in 0..5 {
            refused(&mut net, "client", &with(&client, 41, six), reason);
        }
        is_free(&net, "client");
        // It takes another: now it knows.
        taken(&mut net, "client", &with(&client, 42, six));
        for _ in 0..3 {
            is_free(&net, "client");
            refused(&mut net, "client", &with(&client, 41, six), reason);
        }
        refused(&mut net, "client", &with(&client, 42, six), Reason::Quarantined);
        // What was given to somebody was never its own.
        let mut net = world();
        net.plug("client", watched(learning()));
        for _ in 0..3 {
            is_free(&net, "client");
            refused(&mut net, "client", &with(&client, PEER, six), reason);
        }
        refused(&mut net, "client", &with(&client, 42, six), Reason::Quarantined);
    }
}

/// Others have filled the table that all share.
#[test]
fn a_table_that_others_filled_does_not_end_a_port() {
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    for six in [false, true] {
        let with = |number: u32| {
            if six {
                client.udp6(&Ipv6 { source: v6(number), ..client.ip6() }, 1, 2)
            } else {
                client.udp4(&Ipv4 { source: v4(number), ..client.ip4() }, 1, 2)
            }
        };
        let reason = if six { Reason::Ipv6SourceLimit } else { Reason::Ipv4SourceLimit };
        for (limits, ends) in [
            (BindingLimits { per_port: 32, total: 0 }, false),
            (BindingLimits { per_port: 0, total: 16_384 }, true),
        ] {
            let mut net = world();
            net.unplug("uplink");
            net.engine.set_binding_limits(limits);
            net.plug("client", watched(learning()));
            net.forget_moved();
            for _ in 0..3 {
                assert_eq!(net.send("client", &with(40)), Verdict::Drop(reason));
            }
            let cut_off = net.engine.quarantined_until(net.id("client")).is_some();
            assert_eq!(cut_off, ends, "{limits:?}");
        }
    }
}

/// A client pings from many addresses and leaves: its victim has to ask for them, and for others.
#[test]
fn questions_about_those_that_are_gone_leave_room_for_others() {
    let mut net = world();
    let mut spec = watched(strict(2));
    spec.guard.rates = Rates { arp: Rate::new(1, 8), nd: Rate::new(1, 8), ..wide() };
    net.change("a", spec);
    let ask4 = |number: u32| {
        let arp = Arp {
            operation: REQUEST,
            sender_mac: a().mac(),
            sender_ip: a().v4(),
            target_mac: MacAddr::ZERO,
            target_ip: v4(number),
        };
        a().frame(MacAddr::BROADCAST, |b| b.arp(&arp))
    };
    let ask6 = |number: u32| {
        let destination = wire::ndp::solicited_node(v6(number));
        let header = Ipv6 { destination, hop_limit: 255, ..a().ip6() };
        a().frame(wire::ndp::multicast_mac(destination), |b| {
            b.ipv6(&header).neighbour(135, 0, v6(number), a().mac())
        })
    };
    for ask in [&ask4 as &dyn Fn(u32) -> Vec<u8>, &ask6] {
        for number in 100..150 {
            net.send("a", &ask(number));
            drain(&mut net);
        }
        for _ in 0..8 {
            answered(&mut net, "a", &ask(PEER));
        }
        drain(&mut net);
        assert!(matches!(
            net.send("a", &ask(PEER)),
            Verdict::Drop(Reason::ArpRate | Reason::NdRate)
        ));
    }
    // And what they leave may be used up as well.
    let mut spec = watched(strict(2));
    spec.guard.rates = Rates { unknown: Rate::new(1, 1), ..wide() };
    net.change("a", spec);
    for ask in [&ask4 as &dyn Fn(u32) -> Vec<u8>, &ask6] {
        for number in 150..200 {
            net.send("a", &ask(number));
            drain(&mut net);
        }
    }
    is_free(&net, "a");
}

#[test]
fn what_others_can_do_is_no_violation() {
    for reason in [
        Reason::StormUnknown,
        Reason::FragmentOrphan,
        Reason::FragmentLimit,
        Reason::MacTableFull,
        Reason::IgmpGroups,
        Reason::MldGroups,
        Reason::ArpScan,
    ] {
        assert!(!reason.is_violation(), "{reason}");
    }
    assert!(Reason::FragmentOverlap.is_violation() && Reason::StormBroadcast.is_violation());
}
