use std::time::Duration;

use super::*;
use crate::services::ServiceReason as R;

const GUEST: GuestKey = GuestKey(7);

struct World {
    responder: Responder,
    zone: Zone,
    out: Outbox,
    now: Instant,
    v6: bool,
}

/// IPv4 and IPv6.
fn twins() -> [World; 2] {
    [false, true].map(|v6| {
        let mac = wire::MacAddr([2, 0, 0, 0, 0, 1]);
        let subnet = "10.5.16.0/20".parse().ok();
        let prefix = "fd00::/64".parse().ok();
        let mut plan = GatewayPlan::new("lab", mac, subnet, prefix);
        assert!(!Responder::new(&plan).listens(group(v6, MDNS)), "off by default");
        plan.mdns = true;
        let mut zone = Zone::new(&plan);
        zone.set("web", Some([10, 5, 16, 20].into()), "fd00::20".parse().ok());
        zone.set("old", Some([10, 5, 16, 21].into()), None);
        let now = Instant::EPOCH + Duration::from_secs(100);
        World { responder: Responder::new(&plan), zone, out: Outbox::default(), now, v6 }
    })
}

fn group(v6: bool, port: u16) -> SocketAddr {
    let ip = match (v6, port) {
        (false, LLMNR) => LLMNR_V4.into(),
        (true, LLMNR) => LLMNR_V6.into(),
        (false, _) => MDNS_V4.into(),
        (true, _) => IpAddr::from(MDNS_V6),
    };
    SocketAddr::new(ip, port)
}

impl World {
    fn asker(&self) -> IpAddr {
        if self.v6 { "fd00::99".parse().unwrap() } else { [10, 5, 16, 99].into() }
    }

    /// What is answered to a message from `port` to the group of `to`.
    fn ask(&mut self, port: u16, to: u16, payload: &[u8]) -> Option<Answer> {
        self.ask_as(GUEST, port, to, payload)
    }

    fn ask_as(&mut self, guest: GuestKey, port: u16, to: u16, payload: &[u8]) -> Option<Answer> {
        let datagram = Datagram {
            guest,
            mac: wire::MacAddr([2, 0, 0, 0, 0, 9]),
            source: SocketAddr::new(self.asker(), port),
            destination: group(self.v6, to),
            payload,
        };
        assert!(self.responder.listens(datagram.destination));
        self.responder.receive(self.now, &datagram, &self.zone, &mut self.out);
        self.out.answers.pop_front()
    }

    fn count(&self, reason: R) -> u64 {
        self.out.counters.get(reason)
    }
}

fn question(name: &str, kind: u16, class: u16) -> Vec<u8> {
    let mut bytes = Name::from_text(name).unwrap().wire().to_vec();
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&class.to_be_bytes());
    bytes
}

fn message(id: u16, counts: [u16; 2], sections: &[&[u8]]) -> Vec<u8> {
    let words = [id, 0, counts[0], counts[1], 0, 0];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
    sections.iter().for_each(|section| bytes.extend_from_slice(section));
    bytes
}

fn body(answer: &Answer) -> (u16, u16, &[u8]) {
    let Body::Udp { source, destination, payload } = &answer.body else { panic!("{answer:?}") };
    (*source, *destination, payload)
}

/// A record as it is written: name, type, class, time, address.
fn record(name: &str, kind: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = question(name, kind, class);
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&(data.len() as u16).to_be_bytes());
    bytes.extend_from_slice(data);
    bytes
}

const WEB4: &[u8] = &[10, 5, 16, 20];

fn web6() -> [u8; 16] {
    "fd00::20".parse::<Ipv6Addr>().unwrap().octets()
}

#[test]
fn a_guest_is_found_by_its_name_and_all_hear_it() {
    for mut world in twins() {
        let asked = [question("web.local", kind::A, 1), question("web.local", kind::AAAA, 1)];
        let both = message(0, [2, 0], &[&asked[0], &asked[1]]);
        let answer = world.ask(MDNS, MDNS, &both).expect("an answer");
        assert_eq!((answer.destination, answer.link), (group(world.v6, MDNS).ip(), None));
        let own: IpAddr = world.responder.v4.unwrap().into();
        assert_eq!(answer.source.is_ipv6(), world.v6);
        assert!(world.v6 || answer.source == own);
        let (source, destination, payload) = body(&answer);
        assert_eq!((source, destination), (MDNS, MDNS));
        let mut expected = vec![0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0];
        expected.extend(record("web.local", kind::A, 0x8001, 10, WEB4));
        expected.extend(record("web.local", kind::AAAA, 0x8001, 10, &web6()));
        assert_eq!(payload, expected);
        assert_eq!(world.count(R::MdnsAnswered), 1);
        // The frame says that it has not been forwarded (RFC 6762, 11).
        let mut frame = [0; 512];
        let len = answer.write(&mut frame).unwrap();
        match wire::parse(&frame[..len]).unwrap().l3 {
            Some(wire::L3::Ipv4(ip)) => assert_eq!(ip.ttl, 255),
            Some(wire::L3::Ipv6(ip)) => assert_eq!(ip.hop_limit, 255),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whoever_wants_it_alone_or_is_simple_is_answered_alone() {
    for mut world in twins() {
        let asked = question("web.local", kind::A, 0x8001);
        let answer = world.ask(MDNS, MDNS, &message(5, [1, 0], &[&asked])).expect("an answer");
        assert_eq!(answer.destination, world.asker());
        assert_eq!(answer.link, Some(wire::MacAddr([2, 0, 0, 0, 0, 9])));
        assert_eq!((body(&answer).1, &body(&answer).2[..2]), (MDNS, &[0, 0][..]));
        // A client as of DNS: its identifier, its question, and no class that it does not know.
        let asked = question("WEB.local", kind::A, 1);
        let answer = world.ask(4000, MDNS, &message(5, [1, 0], &[&asked])).expect("an answer");
        assert_eq!((answer.destination, body(&answer).1), (world.asker(), 4000));
        let mut expected = vec![0, 5, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend(question("web.local", kind::A, 1));
        expected.extend(record("web.local", kind::A, 1, 10, WEB4));
        assert_eq!(body(&answer).2, expected);
        // LLMNR: the bare name, and neither of the bits that mean something else there.
        let asked = question("web", kind::AAAA, 1);
        let answer = world.ask(4000, LLMNR, &message(5, [1, 0], &[&asked])).expect("an answer");
        assert_eq!((answer.destination, body(&answer).0), (world.asker(), LLMNR));
        let mut expected = vec![0, 5, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend(question("web", kind::AAAA, 1));
        expected.extend(record("web", kind::AAAA, 1, 10, &web6()));
        assert_eq!(body(&answer).2, expected);
        assert_eq!(world.count(R::MdnsAnswered), 3);
    }
}

#[test]
fn an_address_has_the_name_of_its_guest() {
    for mut world in twins() {
        for (text, found) in [("20.16.5.10.in-addr.arpa", true), ("1.16.5.10.in-addr.arpa", false)]
        {
            let asked = message(0, [1, 0], &[&question(text, kind::PTR, 1)]);
            let answer = world.ask(MDNS, MDNS, &asked);
            assert_eq!(answer.is_some(), found, "{text}");
            let Some(answer) = answer else { continue };
            let name = Name::from_text("web.local").unwrap();
            let mut expected = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
            expected.extend(record(text, kind::PTR, 0x8001, 10, name.wire()));
            assert_eq!(body(&answer).2, expected);
        }
        assert_eq!((world.count(R::MdnsAnswered), world.count(R::MdnsUnknown)), (1, 1));
    }
}

#[test]
fn what_is_known_is_not_said_again() {
    for mut world in twins() {
        let asked = question("web.local", kind::A, 1);
        for (ttl, heard) in [(10, false), (5, false), (4, true)] {
            // The owner by a pointer, as responders write it.
            let mut known = vec![0xc0, 12];
            known.extend(&record("", kind::A, 1, ttl, WEB4)[1..]);
            world.now = world.now + SPACING;
            let answer = world.ask(MDNS, MDNS, &message(0, [1, 1], &[&asked, &known]));
            assert_eq!(answer.is_some(), heard, "{ttl}");
        }
        world.now = world.now + SPACING;
        // Another address is no answer.
        let known = record("web.local", kind::A, 1, 120, &[10, 5, 16, 66]);
        assert!(world.ask(MDNS, MDNS, &message(0, [1, 1], &[&asked, &known])).is_some());
    }
}

#[test]
fn what_is_nobodys_has_no_answer() {
    for mut world in twins() {
        for (name, kind, class) in [
            ("nobody.local", kind::A, 1),
            ("old.local", kind::AAAA, 1),
            ("a.web.local", kind::A, 1),
            ("local", kind::A, 1),
            ("_http._tcp.local", kind::PTR, 1),
            ("web.local", 16, 1),
            ("web.local", kind::A, 3),
            ("web.lab.internal", kind::A, 1),
            ("example.org", kind::A, 1),
        ] {
            let asked = message(0, [1, 0], &[&question(name, kind, class)]);
            assert_eq!(world.ask(MDNS, MDNS, &asked), None, "{name}");
        }
        assert_eq!(world.count(R::MdnsUnknown), 9);
        // A guest that announces itself, or answers for another, is heard by nobody.
        let mut announced = message(0, [0, 1], &[&record("web.local", kind::A, 1, 9, &[1; 4])]);
        announced[2] = 0x84;
        assert_eq!(world.ask(MDNS, MDNS, &announced), None);
        assert_eq!(world.count(R::MdnsOther), 1);
    }
}

#[test]
fn what_cannot_be_read_is_counted() {
    for mut world in twins() {
        let good = question("web.local", kind::A, 1);
        // A pointer to itself, one forwards, a label that is none, a count that is too large.
        let pointers: [&[u8]; 3] =
            [&[0xc0, 12, 0, 1, 0, 1], &[0xc0, 200, 0, 1, 0, 1], &[0x80, 0, 0, 1, 0, 1]];
        let mut count = 0;
        for bad in pointers {
            assert_eq!(world.ask(MDNS, MDNS, &message(0, [1, 0], &[bad])), None);
            count += 1;
        }
        for bad in [message(0, [2, 0], &[&good]), message(0, [17, 0], &[&good]), vec![0; 11]] {
            assert_eq!(world.ask(MDNS, MDNS, &bad), None);
            count += 1;
        }
        for len in 12..12 + good.len() {
            let whole = message(0, [1, 0], &[&good]);
            assert_eq!(world.ask(MDNS, MDNS, &whole[..len]), None);
            count += 1;
        }
        assert_eq!(world.count(R::MdnsMalformed), count);
    }
}

#[test]
fn a_guest_that_asks_too_fast_pays_alone() {
    let [mut world, _] = twins();
    let asked = message(0, [1, 0], &[&question("web.local", kind::A, 0x8001)]);
    let answered = (0..RATE.burst + 5).filter(|_| world.ask(MDNS, MDNS, &asked).is_some()).count();
    assert_eq!(answered, RATE.burst as usize);
    assert_eq!(world.count(R::MdnsLimited), 5);
    world.responder.guest_gone(GUEST);
    assert!(world.ask(MDNS, MDNS, &asked).is_some());
}

/// Or it would take us for another of its name, and call itself otherwise (RFC 6762, 8.1 and 9).
#[test]
fn a_guest_is_left_to_its_own_name() {
    const WEB: GuestKey = GuestKey(20);
    for mut world in twins() {
        world.responder.set_guest("web", Some(WEB));
        // What it is about to use, in the section for that (8.2). It asks from an address that nobody planned.
        let asked = question("web.local", kind::ANY, 0x8001);
        let claimed = record("web.local", kind::A, 1, 120, WEB4);
        let mut probe = message(0, [1, 0], &[&asked, &claimed]);
        probe[9] = 1;
        let back = message(0, [1, 0], &[&question("20.16.5.10.in-addr.arpa", kind::PTR, 1)]);
        let llmnr = message(0, [1, 0], &[&question("web", kind::ANY, 1)]);
        for (from, to, payload) in
            [(MDNS, MDNS, &probe), (MDNS, MDNS, &back), (4000, LLMNR, &llmnr)]
        {
            assert_eq!(world.ask_as(WEB, from, to, payload), None);
        }
        assert_eq!((world.count(R::MdnsOwn), world.count(R::MdnsAnswered)), (3, 0));
        // About others it is answered, in the same message too.
        let both = [question("web.local", kind::A, 1), question("old.local", kind::A, 1)];
        let both = message(0, [2, 0], &[&both[0], &both[1]]);
        let answer = world.ask_as(WEB, MDNS, MDNS, &both).expect("an answer");
        let mut expected = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        expected.extend(record("old.local", kind::A, 0x8001, 10, &[10, 5, 16, 21]));
        assert_eq!(body(&answer).2, expected);
        // And so is a program in it that only asks, and another guest that wants the name.
        let simple = message(5, [1, 0], &[&question("web.local", kind::A, 1)]);
        assert!(world.ask_as(WEB, 4000, MDNS, &simple).is_some());
        assert!(world.ask(MDNS, MDNS, &probe).is_some());
        // Who has the name later is another guest.
        world.responder.guest_gone(WEB);
        assert!(world.ask_as(WEB, MDNS, MDNS, &probe).is_some());
        world.responder.set_guest("web", Some(WEB));
        world.responder.set_guest("web", None);
        assert!(world.ask_as(WEB, MDNS, MDNS, &probe).is_some());
        assert_eq!((world.count(R::MdnsOwn), world.count(R::MdnsAnswered)), (3, 5));
    }
}

#[test]
fn the_group_hears_a_record_once_a_second() {
    const PROBER: GuestKey = GuestKey(8);
    for mut world in twins() {
        let web = message(0, [1, 0], &[&question("web.local", kind::A, 1)]);
        let after = |world: &mut World, ms: u64| world.now = world.now + Duration::from_millis(ms);
        assert!(world.ask(MDNS, MDNS, &web).is_some());
        after(&mut world, 999);
        assert_eq!(world.ask_as(PROBER, MDNS, MDNS, &web), None);
        assert_eq!((world.count(R::MdnsAnswered), world.count(R::MdnsRecent)), (1, 1));
        // What it has not heard is said, and whoever wants an answer alone has it.
        let both = message(
            0,
            [2, 0],
            &[&question("web.local", kind::A, 1), &question("web.local", kind::AAAA, 1)],
        );
        let answer = world.ask(MDNS, MDNS, &both).expect("an answer");
        let mut expected = vec![0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        expected.extend(record("web.local", kind::AAAA, 0x8001, 10, &web6()));
        assert_eq!(body(&answer).2, expected);
        let alone = message(0, [1, 0], &[&question("web.local", kind::A, 0x8001)]);
        assert!(world.ask(MDNS, MDNS, &alone).is_some());
        let simple = message(5, [1, 0], &[&question("web.local", kind::A, 1)]);
        assert!(world.ask(4000, MDNS, &simple).is_some());
        after(&mut world, 1);
        assert!(world.ask(MDNS, MDNS, &web).is_some());
        assert_eq!((world.count(R::MdnsAnswered), world.count(R::MdnsRecent)), (5, 1));
        // A guest that is about to use the name asks three times, a quarter of a second apart.
        let asked = question("web.local", kind::ANY, 1);
        let claimed = record("web.local", kind::A, 1, 120, &[10, 5, 16, 66]);
        let mut probe = message(0, [1, 0], &[&asked, &claimed]);
        probe[9] = 1;
        after(&mut world, 249);
        assert_eq!(body(&world.ask_as(PROBER, MDNS, MDNS, &probe).expect("AAAA")).2.len(), 49);
        after(&mut world, 1);
        assert_eq!(body(&world.ask_as(PROBER, MDNS, MDNS, &probe).expect("A")).2.len(), 37);
        // The group of the other version is another one.
        world.v6 = !world.v6;
        assert!(world.ask(MDNS, MDNS, &web).is_some());
        // Nothing is remembered for longer.
        after(&mut world, 1000);
        assert!(world.ask(MDNS, MDNS, &web).is_some());
        let recent = &world.responder.recent;
        assert_eq!((recent.heard.len(), recent.order.len()), (1, 1));
    }
}
