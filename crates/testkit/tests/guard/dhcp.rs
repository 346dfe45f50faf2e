//! Checks 22, 29 to 33 and 46.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::{BindingSource, Lifetime, Owner};
use engine::{GuardMode, GuardSpec, Instant, PortSpec, Quarantine, Rate, Reason, SourceMode};
use testkit::mac;
use wire::MacAddr;
use wire::build::{Ipv4, Ipv6};
use wire::dhcp4::{COOKIE, HEADER_LEN, message};
use wire::parse::Arp;

use crate::world::{
    Guest, PEER, ROUTER, a, both_passed, both_refused, learning, passed, reaches, refused, strict,
    t, v4, v6, world,
};

/// A message with its options.
pub(crate) fn message(op: u8, client: MacAddr, kind: u8, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_LEN];
    bytes[..8].copy_from_slice(&[op, 1, 6, 0, 1, 2, 3, 4]);
    bytes[28..34].copy_from_slice(&client.0);
    bytes[236..].copy_from_slice(&COOKIE);
    bytes.extend([53, 1, kind]);
    bytes.extend(options);
    bytes.push(255);
    bytes
}

pub(crate) fn from_nobody() -> Ipv4<'static> {
    Ipv4 { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::BROADCAST, ..Ipv4::default() }
}

pub(crate) fn discover(g: &Guest, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = message(1, g.mac(), message::DISCOVER, &[]);
    change(&mut bytes);
    g.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(68, 67).payload(&bytes))
}

#[test]
fn a_client_asks_for_itself() {
    both_passed(|g| discover(g, |_| {}));
    reaches(&mut world(), "a", &discover(&a(), |_| {}), &["router", "uplink"]);
    for (at, value) in [(1, 6), (2, 16), (3, 1), (24, 10), (33, 0xee), (236, 0)] {
        both_refused(Reason::DhcpClient, |g| discover(g, |m| m[at] = value));
    }
    both_refused(Reason::DhcpClient, |g| {
        // The relay option (RFC 3046).
        discover(g, |m| {
            m.pop();
            m.extend([82, 2, 1, 0, 255]);
        })
    });
    for options in [
        // What looks for a relay's option further on, in the fields for names.
        &[52, 1, 1][..],
        // An Ethernet address that is another's.
        &[61, 7, 1, 2, 0, 0, 0, 0, 99],
    ] {
        both_refused(Reason::DhcpClient, |g| {
            discover(g, |m| {
                m.pop();
                m.extend(options);
                m.push(255);
            })
        });
    }
    both_passed(|g| {
        discover(g, |m| {
            m.pop();
            m.extend([61, 7, 1]);
            m.extend(g.mac().0);
            m.push(255);
        })
    });
    both_refused(Reason::DhcpClient, |g| discover(g, |m| m.truncate(100)));
    // Without an address only from 68 to 67, to all.
    for (from, to) in [(67, 67), (68, 68), (1000, 67)] {
        both_refused(Reason::Ipv4Unspecified, |g| {
            g.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(from, to).payload(&[0; 300]))
        });
    }
    both_refused(Reason::Ipv4Unspecified, |g| {
        let header = Ipv4 { destination: v4(PEER), ..from_nobody() };
        let bytes = message(1, g.mac(), message::DISCOVER, &[]);
        g.frame(mac(PEER), |b| b.ipv4(&header).udp(68, 67).payload(&bytes))
    });
    // With one, it renews it.
    both_passed(|g| {
        let header = Ipv4 { destination: v4(ROUTER), ..g.ip4() };
        let bytes = message(1, g.mac(), message::REQUEST, &[]);
        g.frame(mac(ROUTER), |b| b.ipv4(&header).udp(68, 67).payload(&bytes))
    });
}

#[test]
fn no_guest_is_a_server() {
    both_refused(Reason::DhcpServer, |g| {
        let bytes = message(2, mac(PEER), message::OFFER, &[]);
        g.frame(mac(PEER), |b| b.ipv4(&g.ip4()).udp(67, 68).payload(&bytes))
    });
    both_refused(Reason::DhcpServer, |g| {
        let bytes = message(2, mac(PEER), message::OFFER, &[]);
        g.frame(mac(PEER), |b| b.ipv4(&g.ip4()).udp(1000, 68).payload(&bytes))
    });
    both_refused(Reason::DhcpServer, |g| discover(g, |m| m[0] = 2));
}

/// Whoever asks a service of a guest from a port of DHCP has it answer there.
#[test]
fn what_others_bring_a_guest_to_send_to_a_port_of_dhcp_goes_nowhere_and_is_no_violation() {
    for body in [&[7; 300][..], &[2, 1, 0x81, 0x80], &[2, 1, 6], &[]] {
        for (from, to) in [(53, 67), (53, 68), (67, 1000)] {
            both_refused(Reason::DhcpPort, |g| {
                g.frame(mac(PEER), |b| b.ipv4(&g.ip4()).udp(from, to).payload(body))
            });
        }
    }
    // The answer of a name server, say, whose first bytes are whatever its question began with.
    for kind in [1, 2, 7, 12, 13] {
        let answer = [&[kind, 1, 0x81, 0x80][..], &[0, 1, 0, 0, 0, 0, 0, 0], &[9; 40]].concat();
        for (from, to) in [(53, 546), (53, 547), (547, 1000)] {
            both_refused(Reason::Dhcpv6Port, |g| {
                g.frame(mac(PEER), |b| b.ipv6(&g.ip6()).udp(from, to).payload(&answer))
            });
        }
    }
    for reason in [Reason::DhcpPort, Reason::Dhcpv6Port] {
        assert!(!reason.is_violation(), "{reason}");
    }
    assert!(Reason::DhcpServer.is_violation() && Reason::Dhcpv6Server.is_violation());
    // BOOTP knows no options (RFC 951).
    let mut bootp = message(2, mac(PEER), message::OFFER, &[]);
    bootp[236..].fill(0);
    both_refused(Reason::DhcpServer, |g| {
        g.frame(mac(PEER), |b| b.ipv4(&g.ip4()).udp(67, 68).payload(&bootp))
    });
}

/// The guard would look at one of them, and the server at the other.
#[test]
fn nothing_that_matters_is_said_twice() {
    for option in [&[53, 1, message::RELEASE][..], &[50, 4, 10, 0, 0, 9], &[61, 2, 0, 9]] {
        both_refused(Reason::DhcpClient, |g| {
            discover(g, |m| {
                m.pop();
                m.extend(option);
                m.extend(option);
                m.push(255);
            })
        });
    }
    both_refused(Reason::DhcpClient, |g| {
        let [a, b, c, d] = g.v4().octets();
        let bytes = message(1, g.mac(), message::DECLINE, &[50, 4, a, b, c, d, 50, 4, 10, 0, 0, 9]);
        g.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(68, 67).payload(&bytes))
    });
    both_passed(|g| {
        discover(g, |m| {
            m.pop();
            // Options that ask for nothing may be long, and so in two parts (RFC 3396).
            m.extend([50, 4, 10, 0, 0, 9, 61, 2, 0, 9, 60, 1, 7, 60, 1, 7, 255]);
        })
    });
}

#[test]
fn only_own_leases_are_given_up() {
    let release = |g: &Guest, address: Ipv4Addr| {
        let mut bytes = message(1, g.mac(), message::RELEASE, &[]);
        bytes[12..16].copy_from_slice(&address.octets());
        let header = Ipv4 { destination: v4(ROUTER), ..g.ip4() };
        g.frame(mac(ROUTER), |b| b.ipv4(&header).udp(68, 67).payload(&bytes))
    };
    both_passed(|g| release(g, g.v4()));
    both_refused(Reason::DhcpRelease, |g| release(g, v4(PEER)));
    both_refused(Reason::DhcpRelease, |g| {
        let [a, b, c, d] = v4(PEER).octets();
        let bytes = message(1, g.mac(), message::DECLINE, &[50, 4, a, b, c, d]);
        g.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(68, 67).payload(&bytes))
    });
}

/// A station outside says that it has .40 and ::40.
fn heard_outside() -> [Vec<u8>; 2] {
    let host = Guest { port: "uplink", number: 200, tags: Vec::new() };
    let arp = Arp {
        operation: wire::arp::operation::REQUEST,
        sender_mac: host.mac(),
        sender_ip: v4(40),
        target_mac: MacAddr::ZERO,
        target_ip: v4(40),
    };
    let header = Ipv6 { source: v6(40), hop_limit: 255, ..host.ip6() };
    [
        host.frame(MacAddr::BROADCAST, |b| b.arp(&arp)),
        host.frame(mac(PEER), |b| b.ipv6(&header).neighbour(136, 0x60, v6(40), host.mac())),
    ]
}

/// A client asks whether the address that a server gave it is taken, is told so, and tells the server.
#[test]
fn what_somebody_outside_has_may_be_declined() {
    let heard = heard_outside();
    for guest in [a(), t()] {
        let mut net = world();
        let four = |guest: &Guest, kind: [u8; 2]| give_up_v4(guest, kind[0], v4(40));
        let six = |guest: &Guest, kind: [u8; 2]| give_up_v6(guest, kind[1], 3, v6(40));
        let (release, decline) = ([message::RELEASE, 8], [message::DECLINE, 9]);
        refused(&mut net, guest.port, &four(&guest, decline), Reason::DhcpRelease);
        refused(&mut net, guest.port, &six(&guest, decline), Reason::Dhcpv6Release);
        for frame in &heard {
            passed(&mut net, "uplink", frame);
        }
        passed(&mut net, guest.port, &four(&guest, decline));
        passed(&mut net, guest.port, &six(&guest, decline));
        refused(&mut net, guest.port, &four(&guest, release), Reason::DhcpRelease);
        refused(&mut net, guest.port, &six(&guest, release), Reason::Dhcpv6Release);
    }
}

/// One that does not ask first is refused what its server gave it, and cannot know why.
#[test]
fn who_was_given_what_somebody_outside_has_is_not_cut_off() {
    let mut net = world();
    let mut spec = by_dhcp(2);
    spec.guard.quarantine = Some(Quarantine {
        violations: 3,
        within: Duration::from_secs(60),
        release: Duration::from_secs(300),
    });
    net.change("a", spec);
    for frame in heard_outside() {
        passed(&mut net, "uplink", &frame);
    }
    let from = |number| {
        let four = a().udp4(&Ipv4 { source: v4(number), ..a().ip4() }, 1, 2);
        let six = a().udp6(&Ipv6 { source: v6(number), ..a().ip6() }, 1, 2);
        [(four, Reason::Ipv4Source), (six, Reason::Ipv6Source)]
    };
    for _ in 0..5 {
        for (frame, reason) in from(40) {
            refused(&mut net, "a", &frame, reason);
        }
    }
    assert_eq!(net.engine.quarantined_until(net.id("a")), None);
    // What nobody told it is its own doing.
    for _ in 0..3 {
        refused(&mut net, "a", &from(PEER)[0].0, Reason::Ipv4Source);
    }
    assert!(net.engine.quarantined_until(net.id("a")).is_some());
}

/// In every mode, and nothing else that it has.
#[test]
fn who_gives_up_a_lease_has_it_no_longer() {
    let until = Lifetime::Until(Instant::from_nanos(u64::MAX));
    for spec in [by_dhcp(2), learning(), strict(2)] {
        for kind in [[message::RELEASE, 8], [message::DECLINE, 9]] {
            let mut net = world();
            net.change("a", spec.clone());
            let id = net.id("a");
            for (address, frame) in [
                (IpAddr::V4(v4(60)), give_up_v4(&a(), kind[0], v4(60))),
                (v6(60).into(), give_up_v6(&a(), kind[1], 3, v6(60))),
            ] {
                let configured = BindingSource::Configuration;
                net.engine.bind(id, address, until, BindingSource::Lease).expect("it is free");
                passed(&mut net, "a", &frame);
                assert_eq!(net.engine.owner_of(address), None, "{address}");
                net.engine.bind(id, address, Lifetime::Forever, configured).expect("it is free");
                passed(&mut net, "a", &frame);
                assert_eq!(net.engine.owner_of(address), Some(Owner::Port(id)), "{address}");
            }
        }
    }
}

/// A client of DHCP gives up an address.
fn give_up_v4(g: &Guest, kind: u8, address: Ipv4Addr) -> Vec<u8> {
    let [a, b, c, d] = address.octets();
    if kind == message::DECLINE {
        let bytes = message(1, g.mac(), kind, &[50, 4, a, b, c, d]);
        return g.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(68, 67).payload(&bytes));
    }
    let mut bytes = message(1, g.mac(), kind, &[]);
    bytes[12..16].copy_from_slice(&address.octets());
    g.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(68, 67).payload(&bytes))
}

/// One of DHCPv6 does, in an association of this kind.
fn give_up_v6(g: &Guest, kind: u8, association: u8, address: Ipv6Addr) -> Vec<u8> {
    let lease = [&[0, 5, 0, 24], &address.octets()[..], &[0; 8]].concat();
    let head = if association == 4 { 4 } else { 12 };
    let len = head + lease.len() as u8;
    let start = [kind, 0, 0, 1, 0, association, 0, len];
    let bytes = [&start, &[0; 12][..usize::from(head)], &lease].concat();
    dhcpv6(g, g.link_local(), (546, 547), &bytes)
}

#[test]
fn starvation() {
    for guest in [a(), t()] {
        let mut net = world();
        let ask = |number: u8| {
            discover(&guest, |m| {
                m.pop();
                m.extend([61, 2, 0, number, 255]);
            })
        };
        for number in 0..5 {
            passed(&mut net, guest.port, &ask(number));
        }
        refused(&mut net, guest.port, &ask(5), Reason::DhcpStarvation);
        passed(&mut net, guest.port, &ask(4));
        net.wait(Duration::from_secs(600));
        passed(&mut net, guest.port, &ask(5));
    }
    // FNV-1a made one number of these, and so one client of all.
    let mut net = world();
    let ask = |number: usize| {
        discover(&a(), |m| {
            m.pop();
            let mut identifier = vec![0xd5, 0x6b, 0xb9, 0x53, 0x42, 0x87, 0x08, 0x36];
            identifier.resize(8 + number, 0);
            m.extend([61, identifier.len() as u8]);
            m.extend(identifier);
            m.push(255);
        })
    };
    for number in 0..5 {
        passed(&mut net, "a", &ask(number));
    }
    refused(&mut net, "a", &ask(5), Reason::DhcpStarvation);
    // A cable to a switch has as many stations behind it as the port may learn.
    let guest = a();
    let mut net = world();
    let mut spec = strict(2);
    spec.source = SourceMode::Learn { max_macs: 3 };
    net.change("a", spec);
    for number in 0..8 {
        let ask = discover(&guest, |m| {
            m.pop();
            m.extend([61, 2, 0, number, 255]);
        });
        passed(&mut net, "a", &ask);
    }
    let ask = discover(&guest, |m| {
        m.pop();
        m.extend([61, 2, 0, 8, 255]);
    });
    refused(&mut net, "a", &ask, Reason::DhcpStarvation);
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.rates.dhcp = Rate::new(1, 2);
    net.change("a", spec);
    passed(&mut net, "a", &discover(&a(), |_| {}));
    passed(&mut net, "a", &discover(&a(), |_| {}));
    refused(&mut net, "a", &discover(&a(), |_| {}), Reason::DhcpRate);
}

/// A port whose addresses come from the network's DHCP servers alone.
pub(crate) fn by_dhcp(number: u32) -> PortSpec {
    let spec = strict(number);
    PortSpec {
        guard: GuardSpec {
            mode: GuardMode::Dhcp,
            addresses: Vec::new(),
            delegated_prefixes: true,
            ..spec.guard.clone()
        },
        ..spec
    }
}

pub(crate) fn dhcpv6(g: &Guest, source: Ipv6Addr, ports: (u16, u16), bytes: &[u8]) -> Vec<u8> {
    let to: Ipv6Addr = "ff02::1:2".parse().expect("an address");
    let header = Ipv6 { source, destination: to, ..Ipv6::default() };
    let station = wire::ndp::multicast_mac(to);
    g.frame(station, |b| b.ipv6(&header).udp(ports.0, ports.1).payload(bytes))
}

#[test]
fn dhcpv6_clients_and_servers() {
    let solicit = [1, 0, 0, 1, 0, 1, 0, 2, 7, 7];
    both_passed(|g| dhcpv6(g, g.link_local(), (546, 547), &solicit));
    reaches(
        &mut world(),
        "a",
        &dhcpv6(&a(), a().link_local(), (546, 547), &solicit),
        &["router", "uplink"],
    );
    both_refused(Reason::Dhcpv6Client, |g| dhcpv6(g, g.v6(), (546, 547), &solicit));
    both_refused(Reason::Dhcpv6Client, |g| dhcpv6(g, g.link_local(), (546, 547), &[1]));
    for (ports, kind) in [((546, 547), 2), ((546, 547), 7), ((547, 546), 10), ((1000, 546), 7)] {
        // A server names itself, a relay has a message inside.
        let server = [kind, 0, 0, 1, 0, 2, 0, 2, 7, 7];
        both_refused(Reason::Dhcpv6Server, |g| dhcpv6(g, g.link_local(), ports, &server));
    }
    for kind in [12, 13] {
        let relay = [&[kind, 1][..], &[0; 32], &[0, 9, 0, 4, 1, 0, 0, 1]].concat();
        both_refused(Reason::Dhcpv6Server, |g| dhcpv6(g, g.link_local(), (547, 547), &relay));
    }
    // Two identifiers: the second one could be another's.
    let twice = [&solicit[..], &[0, 1, 0, 2, 7, 8]].concat();
    both_refused(Reason::Dhcpv6Client, |g| dhcpv6(g, g.link_local(), (546, 547), &twice));
    // Only what is its own does a client give up: an address of a lease, in an association.
    for (kind, association) in [(8, 3), (9, 3), (8, 4), (9, 4)] {
        both_passed(|g| give_up_v6(g, kind, association, g.v6()));
        both_refused(Reason::Dhcpv6Release, |g| give_up_v6(g, kind, association, v6(PEER)));
    }
    // Few clients, as with the other version, and beside its own.
    for guest in [a(), t()] {
        let mut net = world();
        let ask = |number: u8| {
            let bytes = [1, 0, 0, 1, 0, 1, 0, 2, 7, number];
            dhcpv6(&guest, guest.link_local(), (546, 547), &bytes)
        };
        for number in 0..5 {
            passed(&mut net, guest.port, &ask(number));
        }
        refused(&mut net, guest.port, &ask(5), Reason::Dhcpv6Starvation);
        passed(&mut net, guest.port, &ask(4));
        passed(&mut net, guest.port, &discover(&guest, |_| {}));
        net.wait(Duration::from_secs(600));
        passed(&mut net, guest.port, &ask(5));
    }
    // One client with many associations is as many, in one message or in several.
    let association = |number: u8| [&[0, 3, 0, 12, 0, 0, 0, number][..], &[0; 8]].concat();
    let ask = |guest: &Guest, numbers: core::ops::Range<u8>| {
        let start = [1, 0, 0, 1, 0, 1, 0, 2, 7, 7];
        let bytes = [&start[..], &numbers.flat_map(association).collect::<Vec<_>>()].concat();
        dhcpv6(guest, guest.link_local(), (546, 547), &bytes)
    };
    both_passed(|g| ask(g, 0..5));
    both_refused(Reason::Dhcpv6Starvation, |g| ask(g, 0..6));
    for guest in [a(), t()] {
        let mut net = world();
        for number in 0..5 {
            passed(&mut net, guest.port, &ask(&guest, number..number + 1));
        }
        refused(&mut net, guest.port, &ask(&guest, 5..6), Reason::Dhcpv6Starvation);
        refused(&mut net, guest.port, &ask(&guest, 4..6), Reason::Dhcpv6Starvation);
        passed(&mut net, guest.port, &ask(&guest, 1..3));
    }
    // For a while and for always, a server gives one each, whatever their numbers.
    let temporary = |number: u8| [0, 4, 0, 4, 0, 0, 0, number];
    let both = |guest: &Guest, most: u8| {
        let start = [1, 0, 0, 1, 0, 1, 0, 2, 7, 7];
        let other = (0..2).flat_map(temporary).collect::<Vec<_>>();
        let bytes = [&start[..], &(0..most).flat_map(association).collect::<Vec<_>>(), &other];
        dhcpv6(guest, guest.link_local(), (546, 547), &bytes.concat())
    };
    both_passed(|g| both(g, 3));
    both_refused(Reason::Dhcpv6Starvation, |g| both(g, 4));
    // A prefix only where it is allowed.
    let prefix = [1, 0, 0, 1, 0, 25, 0, 12, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    both_refused(Reason::Dhcpv6Client, |g| dhcpv6(g, g.link_local(), (546, 547), &prefix));
    let mut net = world();
    net.change("a", by_dhcp(2));
    passed(&mut net, "a", &dhcpv6(&a(), a().link_local(), (546, 547), &prefix));
    let mut spec = strict(2);
    spec.guard.rates.dhcp = Rate::new(1, 1);
    net.change("a", spec);
    passed(&mut net, "a", &dhcpv6(&a(), a().link_local(), (546, 547), &solicit));
    let frame = dhcpv6(&a(), a().link_local(), (546, 547), &solicit);
    refused(&mut net, "a", &frame, Reason::Dhcpv6Rate);
}
