use std::time::Duration;

use super::*;
use crate::services::ServiceReason as R;

const CLIENT: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 1, 1];
const SERVER: [u8; 10] = [0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);

fn plan() -> GatewayPlan {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    GatewayPlan::new("lab", mac, None, "fd00:1:2:3::/64".parse().ok())
}

fn opt(code: u16, value: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &(value.len() as u16).to_be_bytes(), value].concat()
}

fn message(kind: u8, options: &[Vec<u8>]) -> Vec<u8> {
    [[kind, 7, 8, 9].as_slice(), &options.concat()].concat()
}

/// Codes that the client wants.
fn wanted(codes: &[u16]) -> Vec<u8> {
    let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_be_bytes()).collect();
    opt(option::WANTED, &bytes)
}

/// A request for an address, with one in it if the client has one.
fn association(address: Option<&str>) -> Vec<u8> {
    let mut inside = vec![0, 0, 0, 42, 0, 0, 1, 0, 0, 0, 2, 0];
    if let Some(address) = address {
        let address: Ipv6Addr = address.parse().unwrap();
        let value = [address.octets().as_slice(), &[0; 8]].concat();
        inside.extend_from_slice(&opt(option::ADDRESS, &value));
    }
    opt(option::IA_NA, &inside)
}

struct World {
    server: Server,
    out: Outbox,
}

impl World {
    fn new() -> Self {
        Self { server: Server::new(&plan()), out: Outbox::default() }
    }

    fn say_from(&mut self, source: &str, to: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let source = SocketAddr::new(source.parse().unwrap(), 546);
        let destination = SocketAddr::new(to.parse().unwrap(), 547);
        assert!(self.server.listens(destination));
        let datagram = Datagram { guest: GuestKey(3), mac: MAC, source, destination, payload };
        let now = Instant::EPOCH + Duration::from_secs(9);
        self.server.receive(now, &datagram, &mut self.out);
        let answer = self.out.answers.pop_front()?;
        assert_eq!(answer.link, Some(MAC));
        assert_eq!(answer.source, "fe80::ff:fe00:1".parse::<IpAddr>().unwrap());
        assert_eq!(answer.destination, source.ip());
        let Body::Udp { source: 547, destination: 546, payload } = answer.body else { panic!() };
        assert_eq!(payload[1..4], [7, 8, 9]);
        Some(payload)
    }

    fn say(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        self.say_from("fe80::1:1", "ff02::1:2", payload)
    }

    fn counted(&mut self) -> Vec<(R, u64)> {
        std::mem::take(&mut self.out.counters).iter().collect()
    }
}

/// The identifiers that begin each answer.
fn ids() -> [Vec<u8>; 2] {
    [opt(option::CLIENT_ID, &CLIENT), opt(option::SERVER_ID, &SERVER)]
}

fn name_servers() -> Vec<u8> {
    let own: Ipv6Addr = "fd00:1:2:3::1".parse().unwrap();
    opt(option::NAME_SERVERS, &own.octets())
}

fn search() -> Vec<u8> {
    opt(option::SEARCH, b"\x03lab\x08internal\x00")
}

#[test]
fn a_client_is_told_what_it_asks_for() {
    let mut world = World::new();
    let [client, server] = ids();
    let asks = message(11, &[client.clone(), wanted(&[23, 24, 32, 99])]);
    let refresh = opt(option::REFRESH_TIME, &3600_u32.to_be_bytes());
    let all = [client.clone(), server.clone(), name_servers(), search(), refresh];
    assert_eq!(world.say(&asks), Some(message(7, &all)));
    let asks = message(11, &[client.clone(), server.clone(), wanted(&[24])]);
    assert_eq!(world.say(&asks), Some(message(7, &[client, server.clone(), search()])));
    // Anonymous, and without a wish: everything.
    let max_rt = opt(option::INFORMATION_MAX_RT, &86_400_u32.to_be_bytes());
    let refresh = opt(option::REFRESH_TIME, &3600_u32.to_be_bytes());
    let all = [server, name_servers(), search(), refresh, max_rt];
    assert_eq!(world.say(&message(11, &[])), Some(message(7, &all)));
    assert_eq!(world.counted(), [(R::Dhcp6Reply, 3)]);
}

#[test]
fn who_asks_for_addresses_is_told_that_there_are_none() {
    let mut world = World::new();
    let [client, server] = ids();
    let prefix = opt(option::IA_PD, &[0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    let temporary = opt(option::IA_TA, &[0, 0, 0, 8]);
    let none = |code, id, status| {
        let inside = [0, 0, 0, id, 0, 0, 0, 0, 0, 0, 0, 0];
        let inside = if code == option::IA_TA { &inside[..4] } else { &inside[..] };
        opt(code, &[inside, &opt(option::STATUS, &[0, status])].concat())
    };
    let answers =
        [none(option::IA_NA, 42, 2), none(option::IA_PD, 7, 6), none(option::IA_TA, 8, 2)];
    let asks = [association(None), prefix, temporary, wanted(&[23, 82])];
    let max_rt = opt(option::SOLICIT_MAX_RT, &86_400_u32.to_be_bytes());
    let expected =
        |kind| message(kind, &[ids().concat(), answers.concat(), name_servers(), max_rt.clone()]);
    let solicit = message(1, &[client.clone(), asks.concat()]);
    assert_eq!(world.say(&solicit), Some(expected(2)));
    let request = message(3, &[client, server, asks.concat()]);
    assert_eq!(world.say(&request), Some(expected(7)));
}

#[test]
fn who_claims_an_address_is_told_what_is_known_of_it() {
    let mut world = World::new();
    let [client, server] = ids();
    let unknown = opt(
        option::IA_NA,
        &[[0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0, 0].as_slice(), &opt(option::STATUS, &[0, 3])].concat(),
    );
    let asks = [client.clone(), server.clone(), association(Some("fd00:1:2:3::9")), wanted(&[])];
    let both = [client.clone(), server.clone()].concat();
    assert_eq!(world.say(&message(5, &asks)), Some(message(7, &[both.clone(), unknown.clone()])));
    for kind in [8, 9] {
        let success = opt(option::STATUS, &[0, 0]);
        let expected = message(7, &[both.clone(), success, unknown.clone()]);
        assert_eq!(world.say(&message(kind, &asks)), Some(expected));
    }
    for (address, status) in [("fd00:1:2:3::9", 0), ("fd00:9::9", 4)] {
        let asks = message(4, &[client.clone(), association(Some(address))]);
        let expected = message(7, &[both.clone(), opt(option::STATUS, &[0, status])]);
        assert_eq!(world.say(&asks), Some(expected));
    }
    assert_eq!(world.say(&message(4, &[client.clone(), association(None)])), None);
    assert_eq!(world.say(&message(6, &[client, association(Some("fd00::9"))])), None);
    assert_eq!(world.counted(), [(R::Dhcp6Reply, 5), (R::Dhcp6Other, 2)]);
}

#[test]
fn what_must_be_sent_to_the_group() {
    let mut world = World::new();
    let [client, server] = ids();
    let both = [client.clone(), server].concat();
    for own in ["fe80::ff:fe00:1", "fd00:1:2:3::1"] {
        for kind in [3, 5, 8, 9] {
            let asks = message(kind, &[both.clone(), association(None)]);
            let expected = message(7, &[both.clone(), opt(option::STATUS, &[0, 5])]);
            assert_eq!(world.say_from("fe80::1:1", own, &asks), Some(expected));
        }
        for kind in [1, 4, 6, 11] {
            let asks = message(kind, std::slice::from_ref(&client));
            assert_eq!(world.say_from("fe80::1:1", own, &asks), None);
        }
    }
    assert_eq!(world.counted(), [(R::Dhcp6Reply, 8), (R::Dhcp6Other, 8)]);
}

#[test]
fn messages_that_are_not_for_us() {
    let mut world = World::new();
    let [client, server] = ids();
    let foreign = opt(option::SERVER_ID, &[0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
    for wrong in [
        message(1, &[]),
        message(1, &[client.clone(), server.clone()]),
        message(3, &[client.clone(), foreign.clone()]),
        message(3, std::slice::from_ref(&client)),
        message(11, &[client.clone(), foreign]),
        message(11, &[client.clone(), association(None)]),
        message(2, &[client.clone(), server.clone()]),
        message(7, &[client.clone(), server.clone()]),
        message(12, std::slice::from_ref(&client)),
    ] {
        assert_eq!(world.say(&wrong), None, "{wrong:?}");
    }
    let good = message(11, std::slice::from_ref(&client));
    assert_eq!(world.say_from("fd00:1:2:3::9", "ff02::1:2", &good), None);
    assert_eq!(world.counted(), [(R::Dhcp6Other, 10)]);
    for wrong in [
        b"\x0b\x07\x08".as_slice(),
        &message(11, &[vec![0, 1, 0]]),
        &message(11, &[vec![0, 1, 0, 9, 1]]),
        &message(11, &[opt(option::CLIENT_ID, &[])]),
        &message(11, &[opt(option::CLIENT_ID, &[1; 131])]),
        &message(1, &[client.clone(), opt(option::IA_NA, &[0; 11])]),
        &message(1, &[client.clone(), association(None).repeat(17)]),
    ] {
        assert_eq!(world.say(wrong), None, "{wrong:?}");
    }
    assert_eq!(world.counted(), [(R::Dhcp6Malformed, 7)]);
    for _ in 0..RATE.burst {
        world.say(&good);
    }
    assert!(world.counted().iter().any(|(reason, _)| *reason == R::Dhcp6Limited));
}

#[test]
fn the_service_can_be_off() {
    let mut world = World::new();
    let group: SocketAddr = "[ff02::1:2]:547".parse().unwrap();
    assert!(world.server.listens(group));
    assert!(!world.server.listens("[ff02::1:2]:546".parse().unwrap()));
    assert!(!world.server.listens("[ff02::1]:547".parse().unwrap()));
    let mut off = plan();
    off.dhcpv6 = false;
    world.server.apply(&off);
    assert!(!world.server.listens(group));
}
