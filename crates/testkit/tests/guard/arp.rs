//! Checks 12 to 19.

use std::net::Ipv4Addr;
use std::time::Duration;

use engine::{GuardMode, Rate, Reason, Verdict};
use testkit::mac;
use wire::arp::operation::{REPLY, REQUEST, REVERSE_REQUEST};
use wire::build::Ipv6;
use wire::ndp::{flag, kind};
use wire::parse::{Arp, L3};
use wire::{MacAddr, parse};

use crate::world::{
    Guest, PEER, ROUTER, a, answered, both_passed, both_refused, consumed, drain, learning, passed,
    reaches, refused, strict, t, taken, v4, v6, world,
};

fn request(guest: &Guest, target: Ipv4Addr) -> Arp {
    Arp {
        operation: REQUEST,
        sender_mac: guest.mac(),
        sender_ip: guest.v4(),
        target_mac: MacAddr::ZERO,
        target_ip: target,
    }
}

fn reply(guest: &Guest, to: u32) -> Arp {
    Arp {
        operation: REPLY,
        sender_mac: guest.mac(),
        sender_ip: guest.v4(),
        target_mac: mac(to),
        target_ip: v4(to),
    }
}

fn broadcast(guest: &Guest, arp: &Arp) -> Vec<u8> {
    guest.frame(MacAddr::BROADCAST, |b| b.arp(arp))
}

fn unicast(guest: &Guest, to: u32, arp: &Arp) -> Vec<u8> {
    guest.frame(mac(to), |b| b.arp(arp))
}

#[test]
fn format() {
    for (at, value) in [(1, 6), (2, 9), (4, 8), (5, 16)] {
        both_refused(Reason::ArpFormat, |g| {
            let mut frame = broadcast(g, &request(g, v4(PEER)));
            frame[g.l3() + at] = value;
            frame
        });
    }
    both_refused(Reason::ArpFormat, |g| {
        let frame = broadcast(g, &request(g, v4(PEER)));
        frame[..frame.len() - 1].to_vec()
    });
    both_refused(Reason::ArpFormat, |g| {
        let mut frame = broadcast(g, &request(g, v4(PEER)));
        frame.extend([0; 40]);
        frame
    });
    both_refused(Reason::ArpOperation, |g| {
        broadcast(g, &Arp { operation: 9, ..request(g, v4(PEER)) })
    });
}

#[test]
fn the_sender_is_the_port() {
    both_refused(Reason::ArpSenderMac, |g| {
        broadcast(g, &Arp { sender_mac: mac(PEER), ..request(g, v4(ROUTER)) })
    });
    both_refused(Reason::ArpSenderIp, |g| {
        broadcast(g, &Arp { sender_ip: v4(PEER), ..request(g, v4(ROUTER)) })
    });
    // Nobody's address is not the port's either.
    both_refused(Reason::ArpSenderIp, |g| {
        broadcast(g, &Arp { sender_ip: v4(77), ..request(g, v4(ROUTER)) })
    });
    both_refused(Reason::ArpSenderIp, |g| {
        unicast(g, ROUTER, &Arp { sender_ip: v4(PEER), ..reply(g, ROUTER) })
    });
    both_refused(Reason::ArpSenderIp, |g| {
        unicast(g, ROUTER, &Arp { sender_ip: Ipv4Addr::UNSPECIFIED, ..reply(g, ROUTER) })
    });
}

#[test]
fn announcements_are_of_own_addresses() {
    for operation in [REQUEST, REPLY] {
        both_refused(Reason::ArpGratuitous, |g| {
            let arp = Arp { operation, sender_ip: v4(PEER), ..request(g, v4(PEER)) };
            broadcast(g, &arp)
        });
        both_passed(|g| broadcast(g, &Arp { operation, ..request(g, g.v4()) }));
    }
    let guest = a();
    let frame = broadcast(&guest, &request(&guest, guest.v4()));
    reaches(&mut world(), "a", &frame, &["peer", "router", "t", "uplink"]);
}

#[test]
fn replies_go_to_whom_they_name() {
    both_passed(|g| unicast(g, PEER, &reply(g, PEER)));
    both_refused(Reason::ArpReply, |g| broadcast(g, &reply(g, PEER)));
    both_refused(Reason::ArpReply, |g| {
        unicast(g, PEER, &Arp { target_mac: mac(ROUTER), ..reply(g, PEER) })
    });
    both_refused(Reason::ArpReply, |g| {
        unicast(g, PEER, &Arp { target_ip: v4(ROUTER), ..reply(g, PEER) })
    });
}

/// Who asks chooses from which of its addresses, and whether it waits for the answer: that makes no
/// forger of the one who answers.
#[test]
fn a_reply_may_go_to_any_address_of_the_one_who_asked() {
    let answers = |net: &mut testkit::TestNetwork, number: u32| {
        let reply = Arp { target_ip: v4(30), ..reply(&a(), number) };
        passed(net, "a", &unicast(&a(), number, &reply));
        let header = Ipv6 { destination: v6(30), hop_limit: 255, ..a().ip6() };
        let advertisement = a().frame(mac(number), |b| {
            b.ipv6(&header).neighbour(kind::NEIGHBOUR_ADVERTISEMENT, flag::SOLICITED, v6(2), mac(2))
        });
        passed(net, "a", &advertisement);
    };
    let mut net = world();
    for (address, of) in [(v4(30).into(), mac(30)), (v6(30).into(), mac(30))] {
        net.engine.plan_address(address, of).expect("a plan");
    }
    for number in [30, 31] {
        net.engine.reserve_mac(mac(number));
    }
    let mut spec = strict(30);
    spec.macs.push(mac(31));
    spec.guard.mode = GuardMode::Learn;
    net.plug("two", spec);
    for number in [30, 31] {
        answers(&mut net, number);
    }
    let another = Arp { target_ip: v4(30), ..reply(&a(), PEER) };
    refused(&mut net, "a", &unicast(&a(), PEER, &another), Reason::ArpReply);
    // It asked and left. Nobody gets this.
    net.unplug("two");
    for number in [30, 31] {
        let reply = Arp { target_ip: v4(30), ..reply(&a(), number) };
        refused(&mut net, "a", &unicast(&a(), number, &reply), Reason::MacAway);
    }
    assert!(!Reason::MacAway.is_violation());
}

#[track_caller]
fn says(frame: &[u8], arp: &Arp) {
    let parsed = parse(frame).expect("a frame");
    assert_eq!((parsed.l3, parsed.dst), (Some(L3::Arp(*arp)), arp.target_mac));
    assert_eq!(parsed.src, arp.sender_mac);
}

#[test]
fn questions_about_known_stations_are_answered_here() {
    for guest in [a(), t()] {
        for target in [PEER, ROUTER] {
            let mut net = world();
            let frame = broadcast(&guest, &request(&guest, v4(target)));
            let answer = answered(&mut net, guest.port, &frame);
            let expected = Arp {
                operation: REPLY,
                sender_mac: mac(target),
                sender_ip: v4(target),
                target_mac: guest.mac(),
                target_ip: guest.v4(),
            };
            says(&answer, &expected);
            assert_eq!(parse(&answer).expect("a frame").vlan, guest.tags.first().copied());
        }
    }
    // Who is known to be there is asked himself.
    both_passed(|g| unicast(g, PEER, &request(g, v4(PEER))));
}

#[test]
fn a_probe_for_an_address_in_use_is_answered_and_others_go_where_somebody_may_be() {
    let guest = a();
    let probe = |target| Arp { sender_ip: Ipv4Addr::UNSPECIFIED, ..request(&guest, target) };
    let mut net = world();
    let answer = answered(&mut net, "a", &broadcast(&guest, &probe(v4(PEER))));
    assert_eq!(parse(&answer).expect("a frame").src, mac(PEER));
    reaches(&mut net, "a", &broadcast(&guest, &probe(guest.v4())), &["router", "uplink"]);
    reaches(&mut net, "a", &broadcast(&guest, &probe(v4(50))), &["router", "uplink"]);
    let mut spec = strict(2);
    spec.guard.rates.duplicates = Rate::new(1, 1);
    net.change("a", spec);
    let frame = broadcast(&guest, &probe(v4(PEER)));
    answered(&mut net, "a", &frame);
    refused(&mut net, "a", &frame, Reason::DuplicateRate);
}

#[test]
fn questions_about_unknown_stations_are_few_and_go_where_they_may_be() {
    let guest = a();
    let ask = |number| broadcast(&guest, &request(&guest, v4(number)));
    let mut net = world();
    net.plug("client", learning());
    drain(&mut net);
    reaches(&mut net, "a", &ask(50), &["router", "uplink"]);
    assert_eq!(net.receive("client").len(), 1);
    drain(&mut net);
    // The same again, too soon.
    refused(&mut net, "a", &ask(50), Reason::ArpNegative);
    net.wait(Duration::from_secs(1));
    reaches(&mut net, "a", &ask(50), &["router", "uplink"]);
    // A scan.
    let mut spec = strict(2);
    spec.guard.rates.unknown = Rate::new(1, 4);
    net.change("a", spec);
    net.wait(Duration::from_secs(5));
    for number in 100..104 {
        passed(&mut net, "a", &ask(number));
    }
    refused(&mut net, "a", &ask(104), Reason::ArpScan);
}

#[test]
fn too_many() {
    let guest = a();
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.rates.arp = Rate::new(15, 30);
    net.change("a", spec);
    let frame = unicast(&guest, PEER, &reply(&guest, PEER));
    for _ in 0..30 {
        passed(&mut net, "a", &frame);
    }
    refused(&mut net, "a", &frame, Reason::ArpRate);
    net.wait(Duration::from_millis(67));
    passed(&mut net, "a", &frame);
    refused(&mut net, "a", &frame, Reason::ArpRate);
    // Others can make it answer so often: it may still ask, and it has done no wrong.
    let question = broadcast(&guest, &request(&guest, v4(PEER)));
    answered(&mut net, "a", &question);
    assert!(!Reason::ArpRate.is_violation() && !Reason::NdRate.is_violation());
    assert!(!Reason::ErrorRate.is_violation());
}

#[test]
fn rarp_announces_the_port_itself() {
    let rarp = |g: &Guest| Arp {
        operation: REVERSE_REQUEST,
        sender_mac: g.mac(),
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: g.mac(),
        target_ip: Ipv4Addr::UNSPECIFIED,
    };
    let mut net = world();
    let frame = broadcast(&a(), &rarp(&a()));
    for _ in 0..5 {
        passed(&mut net, "a", &frame);
    }
    refused(&mut net, "a", &frame, Reason::RarpRate);
    net.wait(Duration::from_secs(1));
    passed(&mut net, "a", &frame);
    refused(&mut net, "a", &frame, Reason::RarpRate);
    both_refused(Reason::Rarp, |g| broadcast(g, &Arp { target_mac: mac(PEER), ..rarp(g) }));
    both_refused(Reason::Rarp, |g| broadcast(g, &Arp { sender_mac: mac(PEER), ..rarp(g) }));
    both_refused(Reason::Rarp, |g| broadcast(g, &Arp { sender_ip: g.v4(), ..rarp(g) }));
    both_refused(Reason::Rarp, |g| broadcast(g, &Arp { operation: 4, ..rarp(g) }));
    // To one station, and with something behind it.
    both_refused(Reason::Rarp, |g| {
        let mut frame = broadcast(g, &rarp(g));
        frame[..6].copy_from_slice(&mac(PEER).0);
        frame
    });
    let padded = |g: &Guest, len: usize| [broadcast(g, &rarp(g)), vec![7; len - 28]].concat();
    both_refused(Reason::Rarp, |g| padded(g, 51));
    both_refused(Reason::Rarp, |g| padded(g, 1500));
    passed(&mut world(), "a", &padded(&a(), 50));
}

#[test]
fn a_client_takes_a_free_address_and_no_other() {
    let mut net = world();
    net.plug("client", learning());
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    taken(&mut net, "client", &broadcast(&client, &request(&client, v4(50))));
    // Now it is its own: others are told, and refused.
    let guest = a();
    let owner = net.engine.owner_of(v4(20));
    assert_eq!(owner, Some(engine::bindings::Owner::Port(net.id("client"))));
    refused(
        &mut net,
        "a",
        &broadcast(&guest, &Arp { sender_ip: v4(20), ..request(&guest, v4(50)) }),
        Reason::ArpSenderIp,
    );
    // It has one Ethernet address of its choice, which nobody vouches for: it is asked itself.
    drain(&mut net);
    passed(&mut net, "a", &broadcast(&guest, &request(&guest, v4(20))));
    for stolen in [2, PEER, ROUTER] {
        let frame = broadcast(&client, &Arp { sender_ip: v4(stolen), ..request(&client, v4(51)) });
        refused(&mut net, "client", &frame, Reason::ArpSenderIp);
    }
    let other = Arp { sender_ip: v4(21), ..request(&client, v4(20)) };
    let frame = broadcast(&client, &other);
    assert_eq!(net.send("client", &frame), Verdict::Drop(Reason::AddressAsked));
    net.wait(Duration::from_millis(900));
    consumed(&mut net, "client", &frame);
}
