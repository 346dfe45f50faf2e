mod closed;
mod connections;
mod joined;
mod ports;
mod silent;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::services::ServiceReason as R;

const GUEST: GuestKey = GuestKey(7);

/// A resolver on the loopback address: a socket that the test answers from.
struct Resolver {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Resolver {
    fn new(v6: bool) -> Self {
        let ip: std::net::IpAddr =
            if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        // The same port for both; another test may just have one of them.
        loop {
            let udp = UdpSocket::bind((ip, 0)).unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()) {
                udp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                return Self { udp, tcp };
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.udp.local_addr().unwrap()
    }

    /// The next question, and where it came from.
    fn hear(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.udp.recv_from(&mut buffer).expect("a question");
        (buffer[..len].to_vec(), from)
    }

    fn hears_nothing(&self) {
        self.udp.set_nonblocking(true).unwrap();
        assert!(self.udp.recv_from(&mut [0; 2048]).is_err(), "a question too many");
        self.udp.set_nonblocking(false).unwrap();
    }

    /// The next connection, and the question on it.
    fn accept(&self) -> (Vec<u8>, TcpStream) {
        let (mut stream, _) = self.tcp.accept().unwrap();
        let mut len = [0; 2];
        stream.read_exact(&mut len).unwrap();
        let mut question = vec![0; usize::from(u16::from_be_bytes(len))];
        stream.read_exact(&mut question).unwrap();
        (question, stream)
    }
}

struct World {
    dns: Dns,
    zone: Zone,
    out: Outbox,
    now: Instant,
    own: SocketAddr,
}

impl World {
    fn new(resolvers: &[&Resolver]) -> Self {
        Self::with(|plan| {
            plan.resolvers = resolvers.iter().map(|resolver| resolver.address()).collect();
        })
    }

    fn with(change: impl FnOnce(&mut GatewayPlan)) -> Self {
        let mac = wire::MacAddr([2, 0, 0, 0, 0, 1]);
        let subnet = "10.5.16.0/20".parse().ok();
        let prefix = "fd00::/64".parse().ok();
        let mut plan = GatewayPlan::new("lab", mac, subnet, prefix);
        change(&mut plan);
        let mut zone = Zone::new(&plan);
        zone.set("web", Some([10, 5, 16, 20].into()), "fd00::20".parse().ok());
        let own = SocketAddr::new(plan.gateway4().unwrap().into(), 53);
        Self {
            dns: Dns::new(&plan, &[3; 16]).unwrap(),
            zone,
            out: Outbox::default(),
            now: Instant::EPOCH + Duration::from_secs(100),
            own,
        }
    }

    fn send(&mut self, message: &[u8]) {
        self.send_as(GUEST, 4000, message);
    }

    fn send_as(&mut self, guest: GuestKey, port: u16, message: &[u8]) {
        let datagram = Datagram {
            guest,
            mac: wire::MacAddr([2, 0, 0, 0, 0, 9]),
            source: SocketAddr::new([10, 5, 16, 20].into(), port),
            destination: self.own,
            payload: message,
        };
        self.dns.receive(self.now, &datagram, &self.zone, &mut self.out);
    }

    /// Waits until the epoll reports something, and has it done.
    fn turn(&mut self) {
        let watch = Poller::new().unwrap();
        watch.add(self.dns.as_fd(), 0, sys::poll::Interest::READABLE).unwrap();
        let mut events = Events::with_capacity(1);
        watch.wait(&mut events, Some(Duration::from_secs(10))).unwrap();
        assert_eq!(events.len(), 1, "nothing is ready");
        self.dns.turn(self.now, &self.zone, &mut self.out);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.dns.handle_timeout(self.now, &mut self.out);
    }

    fn answer(&mut self) -> Option<Vec<u8>> {
        let answer = self.out.answers.pop_front()?;
        assert_eq!((answer.source, answer.link), (self.own.ip(), None));
        assert_eq!(answer.destination, std::net::IpAddr::from([10, 5, 16, 20]));
        match answer.body {
            Body::Udp { source: 53, payload, .. } => Some(payload),
            other => panic!("{other:?}"),
        }
    }

    /// Every counter that moved since the last look.
    fn counted(&mut self) -> Vec<(R, u64)> {
        let counters = std::mem::take(&mut self.out.counters);
        counters.iter().collect()
    }
}

fn ask(id: u16, name: &str, kind: u16) -> Vec<u8> {
    build(id, 0x0100, name, kind, CLASS_IN, None)
}

/// A question with EDNS that takes so many bytes.
fn ask_edns(id: u16, name: &str, kind: u16, size: u16) -> Vec<u8> {
    build(id, 0x0100, name, kind, CLASS_IN, Some((size, 0)))
}

fn build(
    id: u16,
    flags: u16,
    name: &str,
    kind: u16,
    class: u16,
    edns: Option<(u16, u8)>,
) -> Vec<u8> {
    let mut message = Vec::new();
    for word in [id, flags, 1, 0, 0, u16::from(edns.is_some())] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    // Letters stay as they are.
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&class.to_be_bytes());
    if let Some((size, version)) = edns {
        message.extend_from_slice(&[0, 0, 41]);
        message.extend_from_slice(&size.to_be_bytes());
        message.extend_from_slice(&[0, version, 0x80, 0, 0, 0]);
    }
    message
}

/// The answer to a question as it was asked, with one A record whose owner points to it.
fn respond(question: &[u8], flags: u16, address: [u8; 4]) -> Vec<u8> {
    let query = Query::parse(question).unwrap();
    let record = Record { ttl: 60, data: Data::A(address.into()) };
    let mut message = query.answer(Rcode::NoError, false, &[record], None);
    message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    message
}

/// Identifier, flags, counts.
fn head(message: &[u8]) -> (u16, u16, [u16; 4]) {
    let id = u16::from_be_bytes([message[0], message[1]]);
    (id, flags(message).unwrap(), message::counts(message).unwrap())
}

#[test]
fn a_guest_is_known_by_name() {
    let mut world = World::new(&[]);
    world.send(&ask(5, "wEb.lab.Internal", kind::A));
    let answer = world.answer().unwrap();
    assert_eq!(head(&answer), (5, 0x8580, [1, 1, 0, 0]));
    assert!(answer.windows(4).any(|bytes| bytes == b"\x03wEb"), "the spelling is the asker's");
    assert_eq!(answer[answer.len() - 4..], [10, 5, 16, 20]);
    assert_eq!(world.counted(), [(R::DnsLocal, 1)]);
}

#[test]
fn what_is_absent_is_told_with_a_soa() {
    let mut world = World::new(&[]);
    world.send(&ask(5, "db.lab.internal", kind::A));
    assert_eq!(head(&world.answer().unwrap()), (5, 0x8583, [1, 0, 1, 0]));
    world.send(&ask(6, "web.lab.internal", 16));
    assert_eq!(head(&world.answer().unwrap()), (6, 0x8580, [1, 0, 1, 0]));
    world.send(&ask_edns(7, "printer", kind::A, 1232));
    assert_eq!(head(&world.answer().unwrap()), (7, 0x8583, [1, 0, 1, 1]));
    assert_eq!(world.counted(), [(R::DnsLocal, 3)]);
}

#[test]
fn a_single_label_is_asked_of_nobody_before_a_name_below_it_was() {
    const CHECKS: [u16; 4] = [kind::NS, kind::SOA, kind::DS, kind::DNSKEY];
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    for (name, asked) in ["printer", "com"].iter().flat_map(|name| CHECKS.map(|it| (name, it))) {
        world.send(&ask_edns(7, name, asked, 1232));
        assert_eq!(head(&world.answer().unwrap()), (7, 0x8583, [1, 0, 1, 1]), "{name} {asked}");
    }
    assert_eq!(world.counted(), [(R::DnsLocal, 8)]);
    resolver.hears_nothing();
    // As a validating resolver in a guest does it: the name, then what leads to it.
    world.send(&ask_edns(1, "www.example.com", kind::A, 1232));
    for (id, asked) in [2, 3, 4, 5].into_iter().zip(CHECKS) {
        world.send(&ask_edns(id, "COM", asked, 1232));
        world.send(&ask_edns(id + 10, ".", asked, 1232));
    }
    assert_eq!(world.counted(), [(R::DnsForwarded, 9)]);
    world.send(&ask_edns(7, "printer", kind::DS, 1232));
    assert_eq!(head(&world.answer().unwrap()).1, 0x8583);
    assert_eq!(world.counted(), [(R::DnsLocal, 1)]);
}

#[test]
fn what_nobody_should_ask_is_refused() {
    let mut world = World::new(&[]);
    for asked in [kind::ANY, kind::AXFR, kind::IXFR, kind::MAILA, kind::MAILB, kind::TSIG, 0] {
        world.send(&ask(1, "web.lab.internal", asked));
        assert_eq!(head(&world.answer().unwrap()).1 & 15, 5, "{asked}");
    }
    world.send(&build(1, 0x0100, "version.bind", 16, 3, None));
    assert_eq!(head(&world.answer().unwrap()).1 & 15, 5, "another class");
    world.send(&build(1, 0x0100, "web.lab.internal", 1, 1, Some((1232, 1))));
    let bad_version = world.answer().unwrap();
    assert_eq!(head(&bad_version), (1, 0x8180, [1, 0, 0, 1]));
    assert_eq!(bad_version[bad_version.len() - 6..][..2], [1, 0], "BADVERS, of version 0");
    world.send(&build(1, 0x2100, "web.lab.internal", 1, 1, None));
    assert_eq!(head(&world.answer().unwrap()), (1, 0xa184, [0; 4]), "an update");
    assert_eq!(world.counted(), [(R::DnsRefused, 10)]);
}

#[test]
fn what_is_no_question_is_not_answered_or_as_such() {
    let mut world = World::new(&[]);
    world.send(b"short");
    let good = ask(9, "web", kind::A);
    world.send(&build(9, 0x8100, "web", kind::A, 1, None));
    world.send_as(GUEST, 53, &good);
    assert_eq!(world.answer(), None);
    assert_eq!(world.counted(), [(R::DnsMalformed, 1), (R::DnsNotQuery, 2)]);
    let mut two = good.clone();
    two[5] = 2;
    let mut pointer = good.clone();
    pointer.splice(12..17, [0xc0, 0x0c]);
    let mut cut = good.clone();
    cut.truncate(good.len() - 1);
    let opt = &ask_edns(9, "web", kind::A, 512)[good.len()..];
    let mut twice = [good.as_slice(), opt, opt].concat();
    twice[11] = 2;
    for wrong in [two, pointer, cut, twice] {
        world.send(&wrong);
        assert_eq!(head(&world.answer().unwrap()), (9, 0x8181, [0; 4]));
    }
    assert_eq!(world.counted(), [(R::DnsMalformed, 4)]);
}

fn is_passed_on(v6: bool) {
    let resolver = Resolver::new(v6);
    let mut world = World::new(&[&resolver]);
    world.send(&ask_edns(77, "eXample.org", kind::A, 4096));
    let (question, from) = resolver.hear();
    let asked = Query::parse(&question).unwrap();
    assert_eq!(asked.spelling, b"\x07eXample\x03org\x00");
    let edns = asked.edns.unwrap();
    assert_eq!((edns.size, edns.dnssec, asked.flags), (1232, true, 0x0100));
    let answer = respond(&question, 0, [192, 0, 2, 1]);
    // Somebody who guesses: another identifier, another question.
    let mut forged = answer.clone();
    forged[1] ^= 1;
    resolver.udp.send_to(&forged, from).unwrap();
    let mut forged = answer.clone();
    forged[14] ^= 1;
    resolver.udp.send_to(&forged, from).unwrap();
    resolver.udp.send_to(&answer, from).unwrap();
    while world.out.answers.is_empty() {
        world.turn();
    }
    let got = world.answer().unwrap();
    assert_eq!(head(&got), (77, 0x8180, [1, 1, 0, 1]));
    assert_eq!(world.dns.next_deadline(), None);
    let expected = [(R::DnsForwarded, 1), (R::DnsAnswered, 1), (R::DnsForged, 2)];
    assert_eq!(world.counted(), expected);
}

#[test]
fn everything_else_is_passed_on_v4() {
    is_passed_on(false);
}

#[test]
fn everything_else_is_passed_on_v6() {
    is_passed_on(true);
}

#[test]
fn identifiers_and_ports_differ_from_question_to_question() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..20 {
        world.send(&ask(1, &format!("n{number}.example"), kind::A));
        let (question, from) = resolver.hear();
        seen.insert((question[0], question[1]));
        assert!(seen.len() > number, "the same identifier");
        assert_ne!(from.port(), 4000);
    }
}

#[test]
fn a_resolver_that_is_silent_is_followed_by_the_next() {
    let (first, second) = (Resolver::new(false), Resolver::new(true));
    let mut world = World::new(&[&first, &second]);
    world.send(&ask(1, "example.org", kind::A));
    let (question, from) = first.hear();
    second.hears_nothing();
    world.pass(upstream::PATIENCE - Duration::from_millis(1));
    second.hears_nothing();
    world.pass(Duration::from_millis(1));
    second.hear();
    // The first one was only slow.
    first.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()).1, 0x8180);
    let expected = [(R::DnsForwarded, 1), (R::DnsAnswered, 1), (R::DnsRetried, 1)];
    assert_eq!(world.counted(), expected);
    // It answered, so it is the first again.
    world.send(&ask(2, "example.net", kind::A));
    first.hear();
    second.hears_nothing();
}

#[test]
fn a_resolver_that_is_not_there_is_followed_at_once() {
    let gone = Resolver::new(false).address();
    let second = Resolver::new(false);
    let mut world = World::with(|plan| plan.resolvers = vec![gone, second.address()]);
    world.send(&ask(1, "example.org", kind::A));
    world.turn();
    let (question, from) = second.hear();
    second.udp.send_to(&respond(&question, 0, [192, 0, 2, 1]), from).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()).1, 0x8180);
    let expected =
        [(R::DnsForwarded, 1), (R::DnsAnswered, 1), (R::DnsRetried, 1), (R::DnsResolverRefused, 1)];
    assert_eq!(world.counted(), expected);
    // It is left aside for a while.
    world.send(&ask(2, "example.net", kind::A));
    second.hear();
    assert_eq!(world.counted(), [(R::DnsForwarded, 1)]);
}

#[test]
fn no_resolver_at_all_is_a_failure_in_bounded_time() {
    let gone = Resolver::new(false).address();
    let mut world = World::with(|plan| plan.resolvers = vec![gone]);
    for id in 1..=3 {
        world.send(&ask(id, "example.org", kind::A));
        // The kernel may tell at once or a moment later.
        while world.out.answers.is_empty() {
            world.turn();
        }
        assert_eq!(head(&world.answer().unwrap()), (id, 0x8182, [1, 0, 0, 0]));
    }
    assert_eq!(world.dns.next_deadline(), None);
    let counted = world.counted();
    assert!(counted.contains(&(R::DnsFailed, 3)), "{counted:?}");
    let trouble = world.out.events.pop_front();
    let Some(GatewayEvent::Trouble { about: Subject::Names, sentence }) = trouble else {
        panic!("{trouble:?}")
    };
    assert!(sentence.contains("127.0.0.1"), "{sentence}");
    assert_eq!(world.out.events.len(), 0);
    // It is back.
    let back = UdpSocket::bind(gone).unwrap();
    world.send(&ask(4, "example.org", kind::A));
    let mut question = [0; 2048];
    let (len, from) = back.recv_from(&mut question).unwrap();
    back.send_to(&respond(&question[..len], 0, [192, 0, 2, 1]), from).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()).0, 4);
    assert_eq!(world.out.events.pop_front(), Some(GatewayEvent::Well(Subject::Names)));
    assert_eq!(world.out.events.len(), 0);

    let silent = Resolver::new(false);
    let mut world = World::new(&[&silent]);
    world.send(&ask(1, "example.org", kind::A));
    let mut waited = Duration::ZERO;
    while let Some(due) = world.dns.next_deadline() {
        let step = due.saturating_since(world.now);
        waited += step;
        world.pass(step);
        assert!(waited <= upstream::GIVE_UP);
    }
    assert_eq!(waited, upstream::GIVE_UP);
    assert_eq!(head(&world.answer().unwrap()), (1, 0x8182, [1, 0, 0, 0]));
    let expected = [(R::DnsForwarded, 1), (R::DnsFailed, 1), (R::DnsRetried, 2)];
    assert_eq!(world.counted(), expected);
    // All three came by one socket.
    let from = [silent.hear().1, silent.hear().1, silent.hear().1];
    assert!(from.iter().all(|address| *address == from[0]));
}

#[test]
fn a_resolver_that_fails_is_followed_and_its_word_is_the_last_resort() {
    let (first, second) = (Resolver::new(false), Resolver::new(false));
    let mut world = World::new(&[&first, &second]);
    world.send(&ask(1, "example.org", kind::A));
    let (question, from) = first.hear();
    first.udp.send_to(&respond(&question, 5, [0; 4]), from).unwrap();
    world.turn();
    let (question, from) = second.hear();
    second.udp.send_to(&respond(&question, 2, [0; 4]), from).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()).1, 0x8185, "the first answer");
    // No such name is an answer like any other.
    world.send(&ask(2, "example.net", kind::A));
    let (question, from) = first.hear();
    first.udp.send_to(&respond(&question, 3, [0; 4]), from).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()).1, 0x8183);
    second.hears_nothing();
    let expected = [(R::DnsForwarded, 2), (R::DnsAnswered, 2), (R::DnsRetried, 1)];
    assert_eq!(world.counted(), expected);
}

#[test]
fn a_long_answer_is_cut_for_who_takes_little() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    // Two in one: the one takes 512 bytes, the other 4096, and the network 1472.
    world.send_as(GUEST, 4000, &ask_edns(1, "example.org", kind::A, 512));
    world.send_as(GUEST, 4001, &ask_edns(2, "example.org", kind::A, 1232));
    let (question, from) = resolver.hear();
    let query = Query::parse(&question).unwrap();
    let records: Vec<Record> =
        (0..60).map(|n| Record { ttl: 1, data: Data::A([192, 0, 2, n].into()) }).collect();
    let long = query.answer(Rcode::NoError, false, &records, None);
    assert!(long.len() > 512 && long.len() < 1232);
    resolver.udp.send_to(&long, from).unwrap();
    world.turn();
    let cut = world.answer().unwrap();
    assert_eq!(head(&cut), (1, 0x8380, [1, 0, 0, 1]));
    assert_eq!(head(&world.answer().unwrap()), (2, 0x8180, [1, 60, 0, 1]));
    let expected =
        [(R::DnsForwarded, 1), (R::DnsJoined, 1), (R::DnsAnswered, 2), (R::DnsTruncated, 1)];
    assert_eq!(world.counted(), expected);
}

#[test]
fn a_truncated_answer_is_fetched_by_tcp_for_who_takes_more() {
    let resolver = Resolver::new(false);
    let mut world = World::with(|plan| {
        plan.resolvers = vec![resolver.address()];
        plan.mtu = 9000;
    });
    world.send(&ask_edns(1, "example.org", kind::A, 4096));
    let (question, from) = resolver.hear();
    resolver.udp.send_to(&respond(&question, 0x0200, [0; 4]), from).unwrap();
    world.turn();
    world.turn();
    let (question, mut stream) = resolver.accept();
    let query = Query::parse(&question).unwrap();
    let records: Vec<Record> =
        (0..200).map(|n| Record { ttl: 1, data: Data::A([192, 0, 2, n].into()) }).collect();
    let long = query.answer(Rcode::NoError, false, &records, None);
    let framed = [(long.len() as u16).to_be_bytes().as_slice(), &long].concat();
    let (early, late) = framed.split_at(700);
    stream.write_all(early).unwrap();
    world.turn();
    assert_eq!(world.answer(), None);
    stream.write_all(late).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()), (1, 0x8180, [1, 200, 0, 1]));
    let expected = [(R::DnsForwarded, 1), (R::DnsAnswered, 1), (R::DnsOverTcp, 1)];
    assert_eq!(world.counted(), expected);
    // Who takes no more than was asked for gets the hint as it came.
    world.send(&ask(2, "example.net", kind::A));
    let (question, from) = resolver.hear();
    resolver.udp.send_to(&respond(&question, 0x0200, [0; 4]), from).unwrap();
    world.turn();
    assert_eq!(head(&world.answer().unwrap()).1, 0x8380);
}

#[test]
fn without_edns_there_is_none_in_the_answer() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    world.send(&ask(1, "example.org", kind::A));
    let (question, from) = resolver.hear();
    assert_eq!(message::counts(&question), Some([1, 0, 0, 0]));
    let mut answer = respond(&question, 0, [192, 0, 2, 1]);
    answer[11] = 1;
    answer.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 4, 0, 10, 0, 0]);
    resolver.udp.send_to(&answer, from).unwrap();
    world.turn();
    let got = world.answer().unwrap();
    assert_eq!(head(&got), (1, 0x8180, [1, 1, 0, 0]));
    assert_eq!(got.len(), answer.len() - 15);
}

#[test]
fn questions_of_one_guest_are_bounded_and_do_not_stop_another() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    let limit = u64::from(upstream::WAITING_PER_GUEST);
    for number in 0..limit + 3 {
        world.send(&ask(1, &format!("n{number}.example"), kind::A));
    }
    assert_eq!(world.counted(), [(R::DnsForwarded, limit), (R::DnsBusy, 3)]);
    assert_eq!(world.answer(), None, "it asks again by itself");
    world.send_as(GuestKey(8), 4000, &ask(1, "example.org", kind::A));
    assert_eq!(world.counted(), [(R::DnsForwarded, 1)]);
    // A guest that is gone has no questions.
    world.dns.guest_gone(GUEST);
    world.send(&ask(1, "example.com", kind::A));
    assert_eq!(world.counted(), [(R::DnsForwarded, 1)]);
    let rest = u64::from(RATE.burst);
    for _ in 0..rest + 5 {
        world.send_as(GuestKey(9), 4000, &ask(1, "web", kind::A));
    }
    assert_eq!(world.counted(), [(R::DnsLocal, rest), (R::DnsLimited, 5)]);
}

#[test]
fn eight_guests_that_ask_all_they_may_leave_room_for_others() {
    let resolver = Resolver::new(false);
    let mut world = World::new(&[&resolver]);
    let limit = upstream::WAITING_PER_GUEST;
    let (mut forwarded, mut busy) = (0, 0);
    for number in 0..limit {
        for guest in 10..18 {
            world.send_as(
                GuestKey(guest),
                4000,
                &ask(1, &format!("{guest}-{number}.example"), kind::A),
            );
        }
    }
    for (reason, count) in world.counted() {
        match reason {
            R::DnsForwarded => forwarded += count,
            R::DnsBusy => busy += count,
            other => panic!("{other:?}"),
        }
    }
    let most = upstream::QUESTIONS_MAX as u64;
    assert_eq!(forwarded + busy, most);
    // Eight of nine parts.
    assert!((most * 8 / 9..=most * 8 / 9 + 8).contains(&forwarded), "{forwarded}");
    for number in 0..16 {
        world.send_as(GuestKey(30), 4000, &ask(1, &format!("n{number}.example"), kind::A));
    }
    assert_eq!(world.counted(), [(R::DnsForwarded, 16)]);
}

#[test]
fn the_service_can_be_off() {
    let mut world = World::with(|plan| plan.dns = false);
    assert!(!world.dns.listens(world.own));
    let mac = wire::MacAddr([2, 0, 0, 0, 0, 1]);
    let plan = GatewayPlan::new("lab", mac, None, "fd00::/64".parse().ok());
    world.dns.apply(&plan);
    assert!(!world.dns.listens(world.own), "there is no IPv4 any more");
    for own in ["[fd00::1]:53", "[fe80::ff:fe00:1]:53"] {
        assert!(world.dns.listens(own.parse().unwrap()), "{own}");
    }
    assert!(!world.dns.listens("[fd00::1]:54".parse().unwrap()));
    assert!(!world.dns.listens("[fd00::2]:53".parse().unwrap()));
}
