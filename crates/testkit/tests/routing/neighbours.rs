//! Who is behind an address: asking, being told, and whom to believe.

use std::time::Duration;

use engine::router::{NeighbourState, RouterEvent, RouterLimits};
use testkit::Ip;
use testkit::routed::Routed;
use wire::parse::Arp;
use wire::{arp, ndp};

use crate::*;

/// Two networks, guest a on the first, guests b and c on the second; nobody is known.
fn strangers(limits: RouterLimits) -> Routed {
    let mut routed = Routed::new(limits);
    routed.network(interface(0, 1500));
    routed.network(interface(1, 1500));
    for (net, name, number) in [(0, "a", 2), (1, "b", 3), (1, "c", 4)] {
        routed.plug(net, name, mac(number));
    }
    routed
}

fn asks(version: Ip) -> &'static str {
    match version {
        Ip::V4 => "arp_sent",
        Ip::V6 => "nd_sent",
    }
}

/// A claim of `from` that it has `address`, in answer to a question of the router or not.
fn claim(net: u8, from: MacAddr, address: IpAddr, solicited: bool) -> Vec<u8> {
    said(net, from, from, address, solicited)
}

fn said(net: u8, from: MacAddr, its: MacAddr, address: IpAddr, solicited: bool) -> Vec<u8> {
    let mut out = vec![0; 100];
    let len = match address {
        IpAddr::V4(ip) => {
            let IpAddr::V4(router) = addr(Ip::V4, net, 1) else { unreachable!("IPv4") };
            let packet = Arp {
                operation: arp::operation::REPLY,
                sender_mac: its,
                sender_ip: ip,
                target_mac: router_mac(net),
                target_ip: if solicited { router } else { ip },
            };
            let to = if solicited { router_mac(net) } else { MacAddr::BROADCAST };
            Builder::new(&mut out).ethernet(to, from).arp(&packet).finish()
        }
        IpAddr::V6(ip) => {
            let IpAddr::V6(router) = addr(Ip::V6, net, 1) else { unreachable!("IPv6") };
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let (to, destination, flags) = if solicited {
                (router_mac(net), router, ndp::flag::SOLICITED | ndp::flag::OVERRIDE)
            } else {
                (ndp::multicast_mac(all), all, ndp::flag::OVERRIDE)
            };
            let header = Ipv6 { source: ip, destination, hop_limit: 255, ..Ipv6::default() };
            Builder::new(&mut out)
                .ethernet(to, from)
                .ipv6(&header)
                .neighbour(ndp::kind::NEIGHBOUR_ADVERTISEMENT, flags, ip, its)
                .finish()
        }
    };
    out.truncate(len.expect("fits"));
    out
}

/// A question for `address`; from nobody if `source` is not given.
fn question(from: MacAddr, source: Option<IpAddr>, address: IpAddr) -> Vec<u8> {
    let mut out = vec![0; 100];
    let len = match address {
        IpAddr::V4(ip) => {
            let source = match source {
                Some(IpAddr::V4(source)) => source,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let packet = Arp {
                operation: arp::operation::REQUEST,
                sender_mac: from,
                sender_ip: source,
                target_mac: MacAddr::ZERO,
                target_ip: ip,
            };
            Builder::new(&mut out).ethernet(MacAddr::BROADCAST, from).arp(&packet).finish()
        }
        IpAddr::V6(ip) => {
            let group = ndp::solicited_node(ip);
            let builder = Builder::new(&mut out).ethernet(ndp::multicast_mac(group), from);
            let kind = ndp::kind::NEIGHBOUR_SOLICITATION;
            let header =
                |source| Ipv6 { source, destination: group, hop_limit: 255, ..Ipv6::default() };
            match source {
                Some(IpAddr::V6(source)) => {
                    builder.ipv6(&header(source)).neighbour(kind, 0, ip, from).finish()
                }
                _ => builder
                    .ipv6(&header(Ipv6Addr::UNSPECIFIED))
                    .icmpv6(kind, 0)
                    .payload(&[0; 4])
                    .payload(&ip.octets())
                    .finish(),
            }
        }
    };
    out.truncate(len.expect("fits"));
    out
}

#[track_caller]
fn state(routed: &mut Routed, address: IpAddr) -> Option<(NeighbourState, Option<MacAddr>)> {
    routed.router.neighbours().find(|it| it.addr == address).map(|it| (it.state, it.mac))
}

#[test]
fn a_neighbour_is_asked_for_and_what_waits_follows_in_order() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received waited", &format!("1 {}", asks(version))]);
        routed.send("a", &from_a(version, 64, 20));
        routed.moved(&["0 received waited"]);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Incomplete, None)));
        let [heard] = &routed.receive_plain("b")[..] else { panic!("one question") };
        let parsed = parse(heard).expect("a question");
        assert!(parsed.dst.is_multicast() && parsed.src == router_mac(1));
        match (version, parsed.l3) {
            (Ip::V4, Some(L3::Arp(arp))) => {
                assert_eq!((IpAddr::from(arp.target_ip), arp.sender_mac), (b, router_mac(1)));
                assert_eq!(IpAddr::from(arp.sender_ip), addr(version, 1, 1));
            }
            (Ip::V6, Some(L3::Ipv6(_))) => {
                assert_eq!(icmp_of(&read(heard)), (135, 0));
                let message = ndp::Neighbour::new(&heard[54..]).expect("a solicitation");
                let link = message.link_address(ndp::option::SOURCE_LINK_ADDRESS);
                assert_eq!((IpAddr::from(message.target()), link), (b, Some(router_mac(1))));
            }
            other => panic!("{other:?}"),
        }
        routed.send("b", &claim(1, mac(3), b, true));
        routed.moved(&["0 forwarded+2", "1 received noted"]);
        let lengths: Vec<usize> = routed.receive_plain("b").iter().map(Vec::len).collect();
        let expected = [10, 20].map(|payload| from_a(version, 64, payload).len());
        assert_eq!(lengths, expected);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Reachable, Some(mac(3)))));
        assert_eq!(routed.router.waiting(), 0);
        assert_eq!(routed.receive("c").len(), 1, "the question was for all");
        routed.nothing_held();
    }
}

#[test]
fn nobody_answers() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        for nth in 0..6 {
            routed.send("a", &from_a(version, 64, 10 + nth));
        }
        // Four wait; the oldest made place for the newest.
        let asked = format!("1 {}", asks(version));
        routed.moved(&["0 received+6 waited+6 drop.waiting-full+2", &asked]);
        routed.wait(Duration::from_millis(2900));
        routed.moved(&[&format!("{asked}+2")]);
        routed.wait(Duration::from_millis(200));
        routed.moved(&["0 drop.neighbour-unreachable+4 errors_sent+4"]);
        let errors = routed.receive_plain("a");
        let code = if version == Ip::V4 { (3, 1) } else { (1, 3) };
        for (error, payload) in errors.iter().zip(12..) {
            assert_eq!(icmp_of(&read(error)), code);
            let quote = if version == Ip::V4 { 42 } else { 62 };
            assert_eq!(error[quote..], from_a(version, 64, payload)[14..]);
        }
        assert_eq!(
            (errors.len(), state(&mut routed, b)),
            (4, Some((NeighbourState::Failed, None)))
        );
        // For a moment nobody is asked again.
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received drop.neighbour-unreachable errors_sent"]);
        routed.wait(Duration::from_secs(4));
        assert_eq!(state(&mut routed, b), None);
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received waited", &asked]);
    }
}

#[test]
fn a_neighbour_is_asked_again_when_it_is_needed_again() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        routed.send("a", &from_a(version, 64, 10));
        routed.send("b", &claim(1, mac(3), b, true));
        let asked = format!("1 {}", asks(version));
        routed.moved(&["0 received waited forwarded", &format!("{asked} received noted")]);
        routed.receive("b");
        routed.wait(Duration::from_secs(31));
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Stale, Some(mac(3)))));
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received forwarded"]);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Delay, Some(mac(3)))));
        routed.receive("b");
        routed.wait(Duration::from_millis(5100));
        routed.moved(&[&asked]);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Probe, Some(mac(3)))));
        let parsed = parse(&routed.receive_plain("b")[0]).expect("a question");
        assert_eq!(parsed.dst, mac(3), "it alone is asked");
        routed.send("b", &claim(1, mac(3), b, true));
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Reachable, Some(mac(3)))));
        routed.moved(&["1 received noted"]);
        // The next time it does not answer, and is asked for anew.
        routed.wait(Duration::from_secs(31));
        routed.send("a", &from_a(version, 64, 10));
        routed.wait(Duration::from_secs(9));
        routed.moved(&["0 received forwarded", &format!("{asked}+3")]);
        assert_eq!(state(&mut routed, b), None);
        // One that nobody needs is forgotten.
        routed.send("a", &from_a(version, 64, 10));
        routed.send("b", &claim(1, mac(3), b, true));
        routed.wait(Duration::from_secs(1300));
        assert_eq!(state(&mut routed, b), None);
        assert_eq!(routed.router.next_deadline(), None);
    }
}

#[test]
fn a_binding_is_the_answer() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        let (iface, now) = (routed.net(1).iface, routed.now);
        let port = u16::try_from(routed.id("b").index()).ok();
        routed.send("a", &from_a(version, 64, 10));
        let asked = format!("1 {}", asks(version));
        routed.moved(&["0 received waited", &asked]);
        // It comes while a packet waits.
        routed.router.learn_neighbour(now, &mut routed.pool, iface, b, Some(mac(3)), port);
        routed.settle();
        routed.moved(&["0 forwarded"]);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Bound, Some(mac(3)))));
        // Nobody changes it: not another port, not the port itself by another address.
        for (name, from) in [("c", mac(4)), ("b", mac(33))] {
            for solicited in [true, false] {
                routed.send(name, &claim(1, from, b, solicited));
                routed.moved(&["1 received drop.neighbour-forged"]);
            }
        }
        let port = u16::try_from(routed.id("c").index()).ok();
        let told = RouterEvent::Forged { iface, addr: b, mac: mac(4), port };
        assert_eq!(routed.router.poll_event(), Some(told));
        assert_eq!(routed.router.poll_event(), None, "one event a second");
        routed.wait(Duration::from_secs(10_000));
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Bound, Some(mac(3)))));
        routed.router.purge_address(&mut routed.pool, iface, b);
        assert_eq!(state(&mut routed, b), None);
    }
}

#[test]
fn of_a_bound_port_without_an_address_only_the_port_is_believed() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        let (iface, now) = (routed.net(1).iface, routed.now);
        let port = u16::try_from(routed.id("b").index()).ok();
        routed.router.learn_neighbour(now, &mut routed.pool, iface, b, None, port);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Unknown, None)));
        routed.send("a", &from_a(version, 64, 10));
        let asked = format!("1 {}", asks(version));
        routed.moved(&["0 received waited", &asked]);
        routed.send("c", &claim(1, mac(4), b, true));
        routed.moved(&["1 received drop.neighbour-forged"]);
        routed.send("b", &claim(1, mac(3), b, true));
        routed.moved(&["0 forwarded", "1 received noted"]);
        // The binding outlives the neighbour.
        routed.wait(Duration::from_secs(1300));
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Unknown, None)));
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received waited", &asked]);
    }
}

#[test]
fn an_address_that_answers_is_not_taken_over() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        routed.send("a", &from_a(version, 64, 10));
        routed.send("b", &claim(1, mac(3), b, true));
        routed.wait(Duration::from_secs(5));
        for solicited in [true, false] {
            routed.send("c", &claim(1, mac(4), b, solicited));
        }
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Reachable, Some(mac(3)))));
        // It moved, and the old place is silent: believed once the old answer is old.
        routed.wait(Duration::from_secs(31));
        routed.send("c", &claim(1, mac(4), b, false));
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Stale, Some(mac(4)))));
        let iface = routed.net(1).iface;
        let c = u16::try_from(routed.id("c").index()).expect("small");
        routed.router.purge_port(&mut routed.pool, iface, c);
        assert_eq!(state(&mut routed, b), None, "the port took it along");
    }
}

#[test]
fn nobody_speaks_for_another_ethernet_address() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let b = addr(version, 1, 3);
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received waited", &format!("1 {}", asks(version))]);
        routed.send("c", &said(1, mac(4), mac(3), b, true));
        routed.moved(&["1 received drop.neighbour-forged"]);
        assert_eq!(state(&mut routed, b), Some((NeighbourState::Incomplete, None)));
    }
}

#[test]
fn own_addresses_are_answered_for() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let (me, router) = (addr(version, 1, 3), addr(version, 1, 1));
        routed.send("b", &question(mac(3), Some(me), router));
        routed.moved(&[&format!("1 received answered {}", asks(version))]);
        let [answer] = &routed.receive_plain("b")[..] else { panic!("one answer") };
        let parsed = parse(answer).expect("an answer");
        assert_eq!((parsed.dst, parsed.src), (mac(3), router_mac(1)));
        match version {
            Ip::V4 => {
                let Some(L3::Arp(arp)) = parsed.l3 else { panic!("ARP") };
                assert_eq!((arp.operation, IpAddr::from(arp.sender_ip)), (2, router));
                assert_eq!((arp.sender_mac, arp.target_mac), (router_mac(1), mac(3)));
            }
            Ip::V6 => {
                assert_eq!(icmp_of(&read(answer)), (136, 0));
                let message = ndp::Neighbour::new(&answer[54..]).expect("an advertisement");
                assert_eq!((IpAddr::from(message.target()), message.flags()), (router, 0xe0));
                let link = message.link_address(ndp::option::TARGET_LINK_ADDRESS);
                assert_eq!(link, Some(router_mac(1)));
            }
        }
        // Who asked will be answered more: the router knows it now.
        assert_eq!(state(&mut routed, me), Some((NeighbourState::Stale, Some(mac(3)))));
        // Nobody else's address is ours.
        routed.send("b", &question(mac(3), Some(me), addr(version, 1, 9)));
        routed.moved(&["1 received drop.neighbour-ignored"]);
        // From another network's address nothing is learned.
        routed.send("b", &question(mac(3), Some(addr(version, 0, 9)), router));
        routed.moved(&["1 received drop.neighbour-ignored"]);
        assert!(routed.receive("b").is_empty());
    }
}

#[test]
fn who_asks_whether_an_own_address_is_free_is_told() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        routed.send("b", &question(mac(3), None, addr(version, 1, 1)));
        routed.moved(&[&format!("1 received answered {}", asks(version))]);
        let answer = parse(&routed.receive_plain("b")[0]).expect("an answer");
        match version {
            Ip::V4 => assert_eq!(answer.dst, mac(3)),
            Ip::V6 => assert!(answer.dst.is_multicast(), "RFC 4861, 7.2.4: to all nodes"),
        }
        assert_eq!(routed.router.neighbours().count(), 0);
    }
}

#[test]
fn own_addresses_are_defended() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        let router = addr(version, 1, 1);
        let iface = routed.net(1).iface;
        routed.send("c", &claim(1, mac(4), router, false));
        routed.moved(&[&format!("1 received noted {}", asks(version))]);
        let port = u16::try_from(routed.id("c").index()).ok();
        let told = RouterEvent::AddressConflict { iface, addr: router, mac: mac(4), port };
        assert_eq!(routed.router.poll_event(), Some(told));
        let heard = routed.receive_plain("b");
        let defence = parse(heard.last().expect("a defence")).expect("a frame");
        assert!(defence.dst.is_multicast() && defence.src == router_mac(1));
        // Not for ever, or two of this mind would shout for ever.
        routed.send("c", &claim(1, mac(4), router, false));
        routed.moved(&["1 received noted"]);
        routed.wait(Duration::from_secs(10));
        routed.send("c", &claim(1, mac(4), router, false));
        routed.moved(&[&format!("1 received noted {}", asks(version))]);
    }
}

#[test]
fn a_scan_costs_its_sender_alone() {
    for version in Ip::BOTH {
        let limits = RouterLimits {
            resolving_per_port: 8,
            neighbours: 20,
            waiting: 30,
            ..RouterLimits::default()
        };
        let mut routed = strangers(limits);
        routed.plug(0, "other", mac(5));
        let to = |number| (addr(version, 0, 2), addr(version, 1, number));
        for number in 100..120 {
            routed.send("a", &udp((router_mac(0), mac(2)), to(number), 64, 10));
        }
        let asked = format!("1 {}", asks(version));
        routed.moved(&["0 received+20 waited+8 drop.resolving-limit+12", &format!("{asked}+8")]);
        let ips = (addr(version, 0, 5), addr(version, 1, 200));
        routed.send("other", &udp((router_mac(0), mac(5)), ips, 64, 10));
        routed.moved(&["0 received waited", &asked]);
        // Those that did not answer count for a moment longer.
        routed.wait(Duration::from_secs(5));
        routed.send("a", &udp((router_mac(0), mac(2)), to(130), 64, 10));
        routed.moved(&[
            "0 received drop.neighbour-unreachable+9 errors_sent+9 drop.resolving-limit",
            &format!("{asked}+18"),
        ]);
        routed.wait(Duration::from_secs(2));
        assert_eq!(routed.router.neighbours().count(), 0);
        routed.send("a", &udp((router_mac(0), mac(2)), to(130), 64, 10));
        routed.moved(&["0 received waited", &asked]);
    }
}

#[test]
fn packets_that_wait_are_counted_for_their_port() {
    for version in Ip::BOTH {
        let limits = RouterLimits { waiting_per_port: 3, waiting: 5, ..RouterLimits::default() };
        let mut routed = strangers(limits);
        for (name, number) in [("d", 5_u16), ("e", 6)] {
            routed.plug(0, name, mac(number.into()));
        }
        let send = |routed: &mut Routed, name: &str, from: u16, to| {
            let ips = (addr(version, 0, from), addr(version, 1, to));
            routed.send(name, &udp((router_mac(0), mac(from.into())), ips, 64, 10));
        };
        for to in 100..104 {
            send(&mut routed, "a", 2, to);
        }
        let asked = format!("1 {}", asks(version));
        routed.moved(&["0 received+4 waited+3 drop.waiting-full", &format!("{asked}+4")]);
        for to in 100..102 {
            send(&mut routed, "d", 5, to);
        }
        routed.moved(&["0 received+2 waited+2"]);
        // Whoever fills the room for all, each port is sure of two places.
        for to in 100..103 {
            send(&mut routed, "e", 6, to);
        }
        routed.moved(&["0 received+3 waited+2 drop.waiting-full"]);
        send(&mut routed, "d", 5, 102);
        routed.moved(&["0 received drop.waiting-full"]);
        assert_eq!(routed.router.waiting(), 7);
        // What went on its way makes room.
        routed.send("c", &claim(1, mac(4), addr(version, 1, 100), true));
        routed.moved(&["0 forwarded+3", "1 received noted"]);
        send(&mut routed, "a", 2, 101);
        routed.moved(&["0 received waited"]);
        assert_eq!(routed.router.waiting(), 5);
        send(&mut routed, "d", 5, 102);
        routed.moved(&["0 received waited"]);
        send(&mut routed, "d", 5, 102);
        routed.moved(&["0 received drop.waiting-full"]);
    }
}

#[test]
fn a_full_table_forgets_whom_nobody_needs() {
    for version in Ip::BOTH {
        let limits = RouterLimits { neighbours: 2, ..RouterLimits::default() };
        let mut routed = strangers(limits);
        let to = |number| {
            let ips = (addr(version, 0, 2), addr(version, 1, number));
            udp((router_mac(0), mac(2)), ips, 64, 10)
        };
        let asked = format!("1 {}", asks(version));
        for number in [3, 4] {
            routed.send("a", &to(number));
            routed.wait(Duration::from_millis(1));
        }
        routed.moved(&["0 received+2 waited+2", &format!("{asked}+2")]);
        // Both are being asked for: there is no room.
        routed.send("a", &to(5));
        routed.moved(&["0 received drop.neighbours-full"]);
        routed.send("b", &claim(1, mac(3), addr(version, 1, 3), true));
        routed.moved(&["0 forwarded", "1 received noted"]);
        routed.send("a", &to(5));
        routed.moved(&["0 received waited", &asked]);
        assert_eq!(state(&mut routed, addr(version, 1, 3)), None, "it made room");
        assert_eq!(routed.router.neighbours().count(), 2);
    }
}

#[test]
fn an_interface_that_goes_takes_its_neighbours_along() {
    for version in Ip::BOTH {
        let mut routed = strangers(RouterLimits::default());
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received waited", &format!("1 {}", asks(version))]);
        let iface = routed.net(1).iface;
        assert!(routed.router.remove_interface(&mut routed.pool, iface).is_some());
        routed.moved(&["0 drop.neighbour-unreachable"]);
        assert_eq!(routed.router.neighbours().count(), 0);
        routed.send("a", &from_a(version, 64, 10));
        routed.moved(&["0 received drop.no-route errors_sent"]);
        routed.receive("b");
        routed.receive("c");
        routed.receive("a");
        routed.nothing_held();
    }
}
