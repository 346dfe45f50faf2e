//! Where connections of guests lead, and what a guest is told where they lead nowhere.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wire::build::{Builder, Tcp};
use wire::parse::Transport;
use wire::tcp::flag;
use wire::{MacAddr, Offload};

use crate::backend::fake::FakeRoutes;
use crate::harness::{BOTH, Family, GUEST, Got, Lab, Shape, ip, plan};
use crate::poll::{Event, Kind, Token};
use crate::{GuestKey, Reason};

mod clients;
mod discovery;
mod failed;
mod places;
mod too_long;

const OTHER: GuestKey = GuestKey(8);

fn tcp(lab: &mut Lab, guest: GuestKey, ends: [SocketAddr; 2], sequence: u32, ack: u32, flags: u8) {
    tcp_with(lab, guest, ends, (sequence, ack, flags), &[]);
}

fn tcp_with(
    lab: &mut Lab,
    guest: GuestKey,
    ends: [SocketAddr; 2],
    (sequence, ack, flags): (u32, u32, u8),
    payload: &[u8],
) {
    let mut bytes = [0; 200];
    let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
    let header = Tcp {
        source: ends[0].port(),
        destination: ends[1].port(),
        sequence,
        acknowledgement: ack,
        flags,
        window: 60_000,
        ..Tcp::default()
    };
    let frame = ip(frame, ends[0], ends[1], Shape::default()).tcp(&header).payload(payload);
    let len = frame.finish().unwrap();
    lab.frame(guest, &bytes[..len], Offload::NONE);
}

fn syn(lab: &mut Lab, guest: GuestKey, from: SocketAddr, to: SocketAddr) {
    tcp(lab, guest, [from, to], 1000, 0, flag::SYN);
}

/// Flags and acknowledgement of a segment.
fn segment(got: &Got) -> (u8, u32) {
    got.check();
    assert!(matches!(got.parsed.l4.unwrap().transport, Transport::Tcp { .. }));
    let header = wire::tcp::Header::new(&got.bytes[usize::from(got.parsed.l4.unwrap().offset)..]);
    let header = header.unwrap();
    (header.flags(), header.acknowledgement())
}

#[test]
fn a_connection_to_where_there_is_no_way_meets_an_icmp_error() {
    let mut lab = Lab::new(plan());
    for (from, to, reason, icmp) in [
        ("10.9.0.5:1", "169.254.169.254:80", Reason::LinkLocal, (3, 13)),
        ("[fd00:9::5]:1", "[fe80::1]:80", Reason::LinkLocal, (1, 2)),
        ("10.9.0.5:1", "10.9.0.77:9", Reason::NoRoute, (3, 1)),
        ("[fd00:9::5]:1", "[fd00:9::77]:9", Reason::NoRoute, (1, 3)),
        ("10.9.0.5:1", "10.9.0.2:22", Reason::HostRefused, (3, 13)),
        ("[fd00:9::5]:1", "[fd00:9::2]:22", Reason::HostRefused, (1, 1)),
        ("10.9.0.5:1", "127.0.0.1:22", Reason::HostRefused, (3, 13)),
        ("[fd00:9::5]:1", "[::1]:22", Reason::HostRefused, (1, 1)),
    ] {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        syn(&mut lab, GUEST, from, to);
        lab.flush();
        lab.moved(&[(reason, 1)]);
        let got = lab.one();
        got.check();
        assert_eq!(got.icmp(), icmp, "{from} {to}");
        // The guest finds its own SYN in it.
        let quoted = got.quoted();
        assert_eq!(quoted.ends(), (from, to));
        assert_eq!(quoted.bytes[quoted.bytes.len() - 16..][..4], 1000_u32.to_be_bytes());
    }
    lab.idle();
}

#[test]
fn a_host_without_a_route_says_so() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        lab.host().routes = FakeRoutes::default();
        let ends = (family.guest(4000), family.outside(80));
        syn(&mut lab, GUEST, ends.0, ends.1);
        lab.flush();
        lab.moved(&[(Reason::NoRoute, 1)]);
        assert_eq!(lab.one().icmp(), if family.v6 { (1, 0) } else { (3, 0) });
        // A segment of a connection that never was gets what it always gets.
        tcp(&mut lab, GUEST, [ends.0, ends.1], 1001, 77, flag::ACK);
        lab.flush();
        lab.moved(&[(Reason::TcpUnknown, 1), (Reason::TcpIn, 1)]);
        assert_eq!(segment(&lab.one()).0, flag::RST);
        lab.idle();
    }
}

#[test]
fn a_port_of_the_gateway_where_nothing_listens_refuses() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        syn(&mut lab, GUEST, family.guest(4000), family.gateway(25));
        lab.flush();
        lab.moved(&[(Reason::NoService, 1), (Reason::TcpIn, 1)]);
        assert_eq!(segment(&lab.one()), (flag::RST | flag::ACK, 1001));
        lab.idle();
    }
}

/// The pointer says where the protocol is named, also behind other headers (RFC 4443, 3.4).
#[test]
fn a_protocol_that_is_not_carried_is_pointed_at() {
    for family in BOTH {
        for (extensions, pointer) in [(0, 6), (1, 40), (2, 48)] {
            let mut lab = Lab::new(plan());
            let mut bytes = [0; 200];
            let frame =
                Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
            let mut frame = ip(frame, family.guest(0), family.outside(0), Shape::default());
            for _ in 0..if family.v6 { extensions } else { 0 } {
                frame = frame.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
            }
            let len = frame.protocol(132).payload(&[0; 20]).finish().unwrap();
            lab.frame(GUEST, &bytes[..len], Offload::NONE);
            lab.moved(&[(Reason::Protocol, 1)]);
            let got = lab.one();
            got.check();
            assert_eq!(got.icmp(), if family.v6 { (4, 1) } else { (3, 2) });
            if family.v6 {
                let l4 = usize::from(got.parsed.l4.unwrap().offset);
                assert_eq!(got.bytes[l4 + 4..l4 + 8], u32::to_be_bytes(pointer));
            }
        }
    }
}

#[test]
fn whom_nobody_can_answer_gets_no_answer() {
    let mut lab = Lab::new(plan());
    for (from, to, reason) in [
        ("10.9.0.5:1", "224.0.0.251:80", Reason::Multicast),
        ("[fd00:9::5]:1", "[ff02::fb]:80", Reason::Multicast),
        ("127.0.0.1:1", "198.51.100.9:80", Reason::Source),
        ("[::1]:1", "[2001:db8::9]:80", Reason::Source),
        ("10.9.0.1:1", "198.51.100.9:80", Reason::Source),
        ("[fd00:9::1]:1", "[2001:db8::9]:80", Reason::Source),
    ] {
        syn(&mut lab, GUEST, from.parse().unwrap(), to.parse().unwrap());
        lab.flush();
        lab.moved(&[(reason, 1)]);
        assert!(lab.got().is_empty(), "{from} {to}");
    }
    lab.idle();
}

/// The guest's SYN from this port was answered by a connection to the outside, which opens. The number
/// of our SYN.
fn opens(lab: &mut Lab, guest: GuestKey, family: Family, port: u16) -> u32 {
    let ends = [family.guest(port), family.outside(443)];
    syn(lab, guest, ends[0], ends[1]);
    lab.flush();
    let (target, token): (SocketAddr, Token) =
        *lab.gateway.tcp.backend_mut().connects.last().unwrap();
    assert_eq!(target, ends[1]);
    let event = Event { token: 0, readable: false, writable: true, hangup: false, urgent: false };
    lab.gateway.host_ready(lab.now, &mut lab.pool, &*lab.room, token, &event);
    let got = lab.one();
    assert_eq!(segment(&got), (flag::SYN | flag::ACK, 1001));
    let header = wire::tcp::Header::new(&got.bytes[usize::from(got.parsed.l4.unwrap().offset)..]);
    let ours = header.unwrap().sequence();
    tcp(lab, guest, ends, 1001, ours + 1, flag::ACK);
    lab.flush();
    assert!(lab.got().is_empty());
    ours
}

/// The kernel goes on with a connection that was begun, to whoever has the address by then.
#[test]
fn a_connection_that_is_not_open_is_refused_when_its_address_becomes_the_hosts() {
    for (family, told) in BOTH.into_iter().flat_map(|family| [(family, true), (family, false)]) {
        let mut plan = plan();
        plan.allow_host = vec!["tcp/443".parse().unwrap()];
        let mut lab = Lab::new(plan);
        let allowed = [family.guest(4001), family.host_internal(443)];
        syn(&mut lab, GUEST, allowed[0], allowed[1]);
        let ends = [family.guest(4000), family.outside(443)];
        syn(&mut lab, GUEST, ends[0], ends[1]);
        lab.flush();
        let (_, token) = *lab.gateway.tcp.backend_mut().connects.last().unwrap();
        lab.moved(&[(Reason::TcpOut, 2)]);
        lab.host().routes.local(&family.outside(443).ip().to_string());
        let notice = Token { kind: Kind::Route, ..token };
        // By the kernel's notice, or at the latest when the connection opens.
        let token = if told { notice } else { token };
        let event =
            Event { token: 0, readable: true, writable: true, hangup: false, urgent: false };
        lab.gateway.host_ready(lab.now, &mut lab.pool, &*lab.room, token, &event);
        lab.flush();
        let got = lab.one();
        assert_eq!(got.icmp(), if family.v6 { (1, 1) } else { (3, 13) });
        assert_eq!(got.quoted().ends(), (ends[0], ends[1]));
        lab.moved(&[(Reason::TcpUnreachable, 1)]);
        assert_eq!(lab.gateway.tcp.len(), 1, "host.internal is what it was");
    }
}

#[test]
fn a_flood_of_one_guest_stops_no_other() {
    for family in BOTH {
        let mut lab = Lab::new(plan());
        let attacker = |n: u32| {
            let mut from = family.guest((n % 60_000) as u16 + 1);
            from.set_ip(if family.v6 { "fd00:9::66" } else { "10.9.0.66" }.parse().unwrap());
            from
        };
        let mut told = 0;
        // To where nobody answers, to what refuses at once, and to where there is no way.
        let refuses = family.outside(81);
        lab.gateway.tcp.backend_mut().refusing.insert(refuses);
        let nowhere = if family.v6 { "[fd00:9::77]:9" } else { "10.9.0.77:9" }.parse().unwrap();
        for n in 0..6000 {
            let to = [family.outside(80), refuses, nowhere][n as usize % 3];
            syn(&mut lab, GUEST, attacker(n), to);
            if n % 64 == 63 || n % 1000 == 999 {
                lab.flush();
                told += lab.got().len();
            }
            if n % 1000 == 999 {
                opens(&mut lab, OTHER, family, n as u16);
            }
        }
        lab.flush();
        told += lab.got().len();
        // It has the connections that it may have, and that are not open; the others had theirs.
        assert_eq!(lab.gateway.tcp.len_of(GUEST), 1024);
        assert_eq!(lab.gateway.tcp.len_of(OTHER), 6);
        // Each refusal is told, each error as long as there is credit for it.
        assert_eq!(told, 1023 + 64);
        lab.moved(&[
            (Reason::TcpOut, 1024 + 12),
            // From the 1024th on, it may not even ask.
            (Reason::GuestLimit, 976 + 977),
            (Reason::TcpRefused, 1023),
            (Reason::NoRoute, 2000),
            (Reason::RateLimited, 1936),
            (Reason::TcpIn, 1023 + 6),
            (Reason::TcpOpened, 6),
        ]);
        // Nothing is kept of it in buffers, and nothing for ever: who goes takes all with him.
        lab.idle();
        lab.now = lab.now + Duration::from_secs(1);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &*lab.room, GUEST);
        assert_eq!((lab.gateway.tcp.len_of(GUEST), lab.gateway.tcp.len_of(OTHER)), (0, 6));
        lab.moved(&[]);
    }
}
