mod crowd;
mod marks;
mod pauses;

use std::net::{Ipv6Addr, TcpListener, UdpSocket};

use super::*;
use crate::backend::HostBackend;
use crate::backend::datagram::{Local, Origin, SocketError};
use crate::backend::fake::FakeRoutes;
use crate::harness::{BOTH, Family, GUEST, Got, Lab, Shape, plan};
use crate::{Gateway, Reason};

fn spec(protocol: Protocol, port: u16) -> PublishSpec {
    PublishSpec { protocol, bind: None, ports: (port, port), guest: "web".to_owned(), to: 80 }
}

fn here() -> GuestAddresses {
    GuestAddresses {
        key: Some(GUEST),
        mac: None,
        v4: Some(Ipv4Addr::new(10, 9, 0, 5)),
        v6: Some("fd00:9::5".parse().unwrap()),
    }
}

/// A lab with port 5000 of UDP published on both loopback addresses; sockets 0 and 1.
fn lab() -> (Lab, PublishId) {
    let mut lab = Lab::new(plan());
    let id = lab.gateway.publish(spec(Protocol::Udp, 5000)).unwrap();
    lab.gateway.set_guest("web", here());
    (lab, id)
}

fn socket(family: Family) -> u32 {
    u32::from(family.v6)
}

#[test]
fn a_client_is_heard_and_answered() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let client = family.outside(4444);
        lab.host().arrive(socket(family), client, b"question", None);
        lab.host_side();
        lab.moved(&[(Reason::PublishedIn, 1)]);
        let got = lab.one();
        got.check();
        let web = family.guest(80);
        assert_eq!((got.ends(), got.payload()), ((client, web), &b"question"[..]));
        lab.udp(web, client, b"answer");
        lab.moved(&[(Reason::PublishedOut, 1)]);
        let sent = lab.host().sent.pop().unwrap();
        assert_eq!(
            (sent.socket, sent.to, &sent.bytes[..]),
            (socket(family), client, &b"answer"[..])
        );
        // Another port of the guest is another flow, that the guest opens itself.
        lab.udp(family.guest(81), client, b"mine");
        lab.moved(&[(Reason::UdpOut, 1)]);
        let flows: Vec<_> = lab.gateway.flows(lab.now).filter(|flow| flow.inbound).collect();
        assert_eq!(flows.len(), 1);
        assert_eq!((flows[0].bytes_in, flows[0].bytes_out), (8, 6));
        lab.idle();
    }
}

/// An address of the host, by its number.
fn local(family: Family, number: u8) -> Local {
    let ip: IpAddr = if family.v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(192, 0, 2, number).into()
    };
    Local { ip, interface: 0 }
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let (web, a, b) = (family.guest(80), local(family, 1), local(family, 2));
        // Two clients, each at another address of the host, and one of the host's loopback at both,
        // which are two flows as it appears as the gateway.
        let clients = [family.outside(4444), family.outside(4445), family.loopback(4446)];
        for (asked, client) in [(a, clients[0]), (b, clients[1]), (a, clients[2]), (b, clients[2])]
        {
            lab.host().arrive_at(socket(family), asked, client, b"x");
        }
        lab.host_side();
        lab.moved(&[(Reason::PublishedIn, 4)]);
        let seen: Vec<SocketAddr> = lab.got().iter().map(|got| got.ends().0).collect();
        for (at, (asked, client)) in
            [(a, clients[0]), (b, clients[1]), (a, clients[2]), (b, clients[2])].iter().enumerate()
        {
            lab.udp(web, seen[at], b"y");
            let sent = lab.host().sent.pop().unwrap();
            assert_eq!((sent.socket, sent.from, sent.to), (socket(family), Some(*asked), *client));
        }
        lab.moved(&[(Reason::PublishedOut, 4)]);
        assert_eq!(lab.gateway.flows(lab.now).count(), 4);
        // One that the guest cannot tell from itself hears where it asked last.
        lab.host().arrive_at(socket(family), b, clients[0], b"x");
        lab.host_side();
        lab.got();
        lab.udp(web, clients[0], b"y");
        let sent = lab.host().sent.pop().unwrap();
        assert_eq!((sent.from, sent.to), (Some(b), clients[0]));
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::PublishedOut, 1)]);
        assert_eq!(lab.gateway.flows(lab.now).count(), 4);
    }
}

#[test]
fn an_error_is_about_the_client_of_the_address_that_was_asked() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let (asked, other) = (local(family, 1), local(family, 2));
        let client = family.outside(4444);
        lab.host().arrive_at(socket(family), asked, client, b"x");
        lab.host_side();
        lab.got();
        let mut error = refused(family, client);
        for local in [None, Some(other)] {
            error.local = local;
            lab.host().fail(socket(family), error, b"answer");
        }
        lab.host_side();
        lab.moved(&[(Reason::PublishedIn, 1)]);
        error.local = Some(asked);
        lab.host().fail(socket(family), error, b"answer");
        lab.host_side();
        lab.moved(&[(Reason::IcmpErrorIn, 1)]);
        assert_eq!(lab.one().quoted().ends(), (family.guest(80), client));
    }
}

/// Nobody hears at a client's port any more.
fn refused(family: Family, client: SocketAddr) -> SocketError {
    SocketError {
        origin: if family.v6 {
            Origin::Icmpv6 { kind: 1, code: 4 }
        } else {
            Origin::Icmp { kind: 3, code: 3 }
        },
        errno: 111,
        info: 0,
        offender: Some(client.ip()),
        destination: Some(client),
        local: None,
        len: 0,
    }
}

#[test]
fn who_cannot_be_answered_appears_as_the_gateway() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let inside = SocketAddr::new(family.host_internal(0).ip(), 4444);
        for client in [family.loopback(4444), inside, family.loopback(4445)] {
            lab.host().arrive(socket(family), client, b"x", None);
        }
        lab.host_side();
        lab.moved(&[(Reason::PublishedIn, 3)]);
        let from: Vec<SocketAddr> = lab.got().iter().map(|got| got.ends().0).collect();
        assert_eq!((from[0], from[2]), (family.gateway(4444), family.gateway(4445)));
        assert_eq!(from[1].ip(), family.gateway(0).ip());
        assert!(from[1].port() != 4444 && from[1].port() >= 1024, "{}", from[1]);
        // Each hears its own answer.
        for (seen, client) in
            from.iter().zip([family.loopback(4444), inside, family.loopback(4445)])
        {
            lab.udp(family.guest(80), *seen, b"y");
            assert_eq!(lab.host().sent.pop().unwrap().to, client);
        }
        lab.moved(&[(Reason::PublishedOut, 3)]);
    }
}

/// The network's router would send the answer elsewhere, or to nobody.
#[test]
fn who_is_where_no_answer_comes_from_appears_as_the_gateway() {
    for family in BOTH {
        let mut plan = plan();
        plan.unanswerable =
            vec!["198.51.100.0/24".parse().unwrap(), "2001:db8::/48".parse().unwrap()];
        let mut lab = Lab::new(plan);
        lab.gateway.publish(spec(Protocol::Udp, 5000)).unwrap();
        lab.gateway.set_guest("web", here());
        let elsewhere = SocketAddr::new(family.router(), 4444);
        for client in [family.outside(4444), elsewhere] {
            lab.host().arrive(socket(family), client, b"x", None);
        }
        if !family.v6 {
            for (port, nobody) in [(4445, "240.0.0.2"), (4446, "0.1.2.3")] {
                let client = SocketAddr::new(nobody.parse().unwrap(), port);
                lab.host().arrive(socket(family), client, b"x", None);
            }
        }
        lab.host_side();
        let from: Vec<SocketAddr> = lab.got().iter().map(|got| got.ends().0).collect();
        assert_eq!(from[..2], [family.gateway(4444), elsewhere]);
        if !family.v6 {
            assert_eq!(from[2..], [family.gateway(4445), family.gateway(4446)]);
        }
    }
}

#[test]
fn a_guest_of_the_other_version_is_reached_through_the_gateway() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let mut only = here();
        if family.v6 {
            only.v6 = None;
        } else {
            only.v4 = None;
        }
        lab.gateway.set_guest("web", only);
        let other = BOTH[usize::from(!family.v6)];
        for client in [family.loopback(4444), family.outside(4445)] {
            lab.host().arrive(socket(family), client, b"x", None);
            lab.host_side();
            let got = lab.one();
            assert_eq!(got.ends(), (other.gateway(client.port()), other.guest(80)));
            lab.udp(other.guest(80), got.ends().0, b"y");
            assert_eq!(lab.host().sent.pop().unwrap().to, client);
        }
        lab.moved(&[(Reason::PublishedIn, 2), (Reason::PublishedOut, 2)]);
    }
}

#[test]
fn guests_come_and_go() {
    for family in BOTH {
        let (mut lab, id) = lab();
        lab.host().arrive(socket(family), family.outside(1), b"x", None);
        lab.host_side();
        lab.got();
        assert!(lab.gateway.published().next().unwrap().reachable);
        assert_eq!(lab.gateway.status().flows, [0, 1, 0]);
        lab.gateway.guest_gone(lab.now, &mut lab.pool, &crate::Unbounded, GUEST);
        assert!(!lab.gateway.published().next().unwrap().reachable);
        // Its key may come again for another guest, whose flow this is not.
        assert_eq!((lab.gateway.flows(lab.now).count(), lab.gateway.status().flows[1]), (0, 0));
        lab.host().arrive(socket(family), family.outside(1), b"x", None);
        lab.host_side();
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::PublishedUnknown, 1)]);
        // Back with other addresses.
        let back = GuestAddresses {
            v4: Some(Ipv4Addr::new(10, 9, 0, 6)),
            v6: Some("fd00:9::6".parse().unwrap()),
            ..here()
        };
        lab.gateway.set_guest("web", back);
        lab.host().arrive(socket(family), family.outside(1), b"x", None);
        lab.host_side();
        let to = lab.one().ends().1.ip();
        let expected: IpAddr =
            if family.v6 { "fd00:9::6".parse().unwrap() } else { "10.9.0.6".parse().unwrap() };
        assert_eq!(to, expected);
        assert_eq!(lab.gateway.flows(lab.now).count(), 1);
        assert!(lab.gateway.unpublish(id));
        assert!(!lab.gateway.unpublish(id));
        assert_eq!(lab.gateway.flows(lab.now).count(), 0);
        assert_eq!(lab.gateway.published().count(), 0);
    }
}

#[test]
fn an_error_of_the_guest_is_counted_and_an_error_of_the_client_is_told() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let client = family.outside(4444);
        lab.host().arrive(socket(family), client, b"x", None);
        lab.host_side();
        let about = lab.one();
        let mut bytes = vec![0; 1500];
        let frame = wire::build::Builder::new(&mut bytes)
            .ethernet(wire::MacAddr::ZERO, wire::MacAddr([2, 0, 0, 0, 0, 9]));
        let frame = crate::harness::ip(frame, family.guest(0), client, Shape::default());
        let frame = if family.v6 {
            frame.icmpv6(1, 4).payload(&[0; 4])
        } else {
            frame.icmpv4(3, 3, [0; 4])
        };
        let len = frame.payload(&about.bytes[14..]).finish().unwrap();
        lab.frame(GUEST, &bytes[..len], wire::Offload::NONE);
        lab.flush();
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::IcmpFromGuest, 1)]);
        assert!(lab.host().sent.is_empty() && lab.got().is_empty());
        let error = refused(family, client);
        lab.host().fail(socket(family), error, b"answer");
        lab.host_side();
        lab.moved(&[(Reason::IcmpErrorIn, 1)]);
        let got = lab.one();
        assert_eq!(got.quoted().ends(), (family.guest(80), client));
    }
}

/// Nobody can tell the client, but what it sends can be cut.
#[test]
fn what_is_too_long_for_the_way_to_the_guest_is_cut() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let (client, longest) = (family.outside(4444), vec![7; 1500 - family.header_len() - 8]);
        lab.host().arrive(socket(family), client, &longest, None);
        lab.host_side();
        let about = lab.one();
        lab.too_long(GUEST, family, &about, 1400);
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::IcmpFromGuest, 1)]);
        lab.host().arrive(socket(family), client, &longest, None);
        lab.host_side();
        assert_eq!(lab.got().len(), if family.v6 { 2 } else { 1 });
        lab.moved(&[(Reason::PublishedIn, 1)]);
        lab.idle();
    }
}

/// Who has the address of a guest next answers nobody in its name.
#[test]
fn clients_of_an_address_end_with_it() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let client = family.outside(4444);
        lab.host().arrive(socket(family), client, b"x", None);
        lab.host_side();
        lab.got();
        let (web, other) = (family.guest(80), BOTH[usize::from(!family.v6)].guest(80));
        lab.gateway.addresses_gone(lab.now, &mut lab.pool, &crate::Unbounded, other.ip().into());
        assert_eq!(lab.gateway.status().flows, [0, 1, 0]);
        lab.gateway.addresses_gone(lab.now, &mut lab.pool, &crate::Unbounded, web.ip().into());
        assert_eq!(lab.gateway.status().flows, [0, 0, 0]);
        lab.udp(web, client, b"y");
        // It is a flow of whoever sent it now, by a socket of its own.
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::UdpOut, 1)]);
        assert_eq!(lab.host().sent.pop().unwrap().socket, lab.host().newest());
    }
}

#[test]
fn clients_are_counted_and_bounded() {
    let (mut lab, id) = lab();
    let guests = lab.gateway.limits().flows;
    assert_eq!(lab.gateway.status().flows_max, guests + clients::CLIENTS_MAX);
    for number in 0..clients::CLIENTS_MAX + 3 {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let client = SocketAddr::new(Ipv4Addr::new(198, 51, high, low).into(), 4444);
        lab.host().arrive(0, client, b"x", None);
        lab.host_side();
        lab.got();
    }
    assert_eq!(lab.gateway.status().flows, [0, clients::CLIENTS_MAX, 0]);
    assert_eq!(lab.gateway.flows(lab.now).count(), clients::CLIENTS_MAX);
    let came = clients::CLIENTS_MAX as u64 + 3;
    lab.moved(&[(Reason::PublishedIn, came), (Reason::Evicted, 3)]);
    assert!(lab.gateway.unpublish(id));
    let status = lab.gateway.status();
    assert_eq!((status.flows, status.flows_max), ([0, 0, 0], guests));
}

#[test]
fn silent_clients_are_forgotten() {
    let (mut lab, _) = lab();
    let family = BOTH[0];
    lab.host().arrive(0, family.outside(1), b"x", None);
    lab.host_side();
    lab.got();
    lab.pass(180);
    assert_eq!(lab.gateway.flows(lab.now).count(), 1);
    lab.pass(2);
    assert_eq!(lab.gateway.flows(lab.now).count(), 0);
    lab.moved(&[(Reason::PublishedIn, 1), (Reason::Expired, 1)]);
    assert_eq!(lab.gateway.next_deadline(), None);
}

#[test]
fn large_answers_are_sent_in_their_segments() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let client = family.outside(4444);
        lab.host().arrive(socket(family), client, b"x", None);
        lab.host_side();
        lab.got();
        let shape = Shape { segment: Some(1000), ..Shape::default() };
        lab.udp_as(GUEST, family.guest(80), client, &[3; 2500], shape);
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::PublishedOut, 3)]);
        let sent: Vec<usize> = lab.host().sent.drain(..).map(|sent| sent.bytes.len()).collect();
        assert_eq!(sent, [1000, 1000, 500]);
        lab.idle();
    }
}

#[test]
fn without_a_way_out_every_client_is_the_gateway() {
    let mut plan = plan();
    plan.nat = false;
    for family in BOTH {
        let found = way(&plan, true, &here(), family.outside(4000), 80).unwrap();
        assert_eq!((found.client, found.stand_in), (family.gateway(4000), true));
        assert_eq!(found.guest, family.guest(80));
    }
    assert!(way(&plan, true, &GuestAddresses::default(), BOTH[0].outside(1), 80).is_none());
}

/// Guests have an IPv6 default route only while the host has one; its neighbours reach published ports all the same.
#[test]
fn without_a_way_out_over_ipv6_its_clients_are_the_gateway() {
    for family in BOTH {
        let (mut lab, _) = lab();
        let routes_are = |lab: &mut Lab, routes| {
            lab.host().routes = routes;
            lab.gateway.apply(lab.now, plan()).unwrap();
            lab.pass(1);
            lab.got();
        };
        routes_are(&mut lab, FakeRoutes::default());
        let client = family.outside(4444);
        lab.host().arrive(socket(family), client, b"x", None);
        lab.host_side();
        let seen = if family.v6 { family.gateway(4444) } else { client };
        assert_eq!(lab.one().ends(), (seen, family.guest(80)));
        lab.udp(family.guest(80), seen, b"y");
        assert_eq!(lab.host().sent.pop().unwrap().to, client);
        lab.moved(&[(Reason::PublishedIn, 1), (Reason::PublishedOut, 1)]);
        // The way comes, and clients appear as themselves.
        routes_are(&mut lab, FakeRoutes::with_default());
        let client = family.outside(4445);
        lab.host().arrive(socket(family), client, b"x", None);
        lab.host_side();
        assert_eq!(lab.one().ends(), (client, family.guest(80)));
        lab.moved(&[(Reason::PublishedIn, 1)]);
    }
}

#[test]
fn who_could_answer() {
    let plan = plan();
    for (address, answerable) in [
        ("198.51.100.1", true),
        ("192.168.1.1", true),
        ("127.0.0.1", false),
        ("169.254.1.1", false),
        ("10.9.0.77", false),
        ("0.0.0.0", false),
        ("2001:db8::1", true),
        ("::1", false),
        ("::", false),
        ("fe80::1", false),
        ("fd00:9::77", false),
        ("::ffff:192.0.2.1", false),
    ] {
        assert_eq!(is_answerable(&plan, address.parse().unwrap()), answerable, "{address}");
    }
}

/// A gateway on the host's sockets.
fn real() -> Gateway<HostBackend> {
    Gateway::new(plan(), [3; 16]).unwrap()
}

#[test]
fn a_taken_port_is_a_sentence_and_opens_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut gateway = real();
    let error = gateway.publish(spec(Protocol::Tcp, port)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("port {port} of 127.0.0.1 is in use")), "{error}");
    assert_eq!(gateway.published().count(), 0);
    drop(taken);
    let id = gateway.publish(spec(Protocol::Tcp, port)).unwrap();
    assert!(!gateway.published().next().unwrap().listening.is_empty());
    TcpListener::bind(("127.0.0.1", port)).unwrap_err();
    // UDP has ports of its own.
    gateway.publish(spec(Protocol::Udp, port)).unwrap();
    UdpSocket::bind(("127.0.0.1", port)).unwrap_err();
    assert!(gateway.unpublish(id));
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());
}

#[test]
fn what_cannot_be_published_says_why() {
    let mut gateway = real();
    let mut try_with = |change: &dyn Fn(&mut PublishSpec)| {
        let mut spec = spec(Protocol::Tcp, 40_000);
        change(&mut spec);
        gateway.publish(spec).unwrap_err().to_string()
    };
    let error = try_with(&|spec| spec.ports = (9, 8));
    assert_eq!(error, "9-8 is not a range of ports: ports are 1 to 65535, the first one first");
    let error = try_with(&|spec| {
        spec.ports = (40_000, 40_010);
        spec.to = 65_530;
    });
    assert!(error.contains("not have 10 ports from port 65530"), "{error}");
    let error = try_with(&|spec| spec.bind = Some("192.0.2.77".parse().unwrap()));
    assert!(error.starts_with("the host has no address 192.0.2.77"), "{error}");
    let error = try_with(&|spec| {
        spec.bind = Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77).into());
    });
    assert!(error.ends_with("or on all with [::]"), "{error}");
    let error = try_with(&|spec| spec.ports = (1, 60_000));
    assert!(error.contains("4096 sockets"), "{error}");
    let error = PublishError::socket(
        Protocol::Tcp,
        "127.0.0.1:80".parse().unwrap(),
        std::io::Error::from_raw_os_error(13),
    );
    assert!(error.to_string().starts_with("port 80 of the host is privileged"), "{error}");
}

#[test]
fn a_client_of_an_absent_guest_is_reset() {
    use std::io::Read;
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut gateway = real();
    gateway.publish(spec(Protocol::Tcp, free)).unwrap();
    let mut client = std::net::TcpStream::connect(("127.0.0.1", free)).unwrap();
    let mut pool = engine::Pool::new(engine::PoolLimits { small: 16, large: 4, headers: 4 });
    gateway.turn(Instant::EPOCH, &mut pool, &crate::Unbounded);
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(gateway.counters().get(Reason::PublishedUnknown), 1);
    // With the guest there, it gets a SYN from the gateway.
    gateway.set_guest("web", here());
    let client = std::net::TcpStream::connect(("127.0.0.1", free)).unwrap();
    gateway.turn(Instant::EPOCH, &mut pool, &crate::Unbounded);
    let frame = gateway.poll_frame().expect("a SYN");
    let bytes = pool.pieces(&frame).concat();
    let parsed = wire::parse(&bytes).unwrap();
    let got = Got { bytes, offload: frame.offload(), parsed };
    let port = client.local_addr().unwrap().port();
    assert_eq!(got.ends(), (BOTH[0].gateway(port), BOTH[0].guest(80)));
    assert_eq!(gateway.flows(Instant::EPOCH).filter(|flow| flow.inbound).count(), 1);
}
