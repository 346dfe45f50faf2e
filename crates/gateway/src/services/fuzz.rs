//! What the fuzzers and their replay call: each function takes any bytes, and asserts what must
//! hold for them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use engine::Instant;
use wire::MacAddr;
use wire::ndp::Options;

use super::message::{Answer, Body, Datagram, Solicitation};
use super::{Outbox, advert, dhcp4, dhcp6, zone};
use crate::event::GatewayEvent;
use crate::{GatewayPlan, GuestKey};

pub use super::dns::fuzz as dns;

const START: Instant = Instant::from_nanos(1_000_000_000_000);

fn plan() -> GatewayPlan {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    // Few addresses, so that clients meet: .16 to .23 are leased.
    let subnet = "10.9.0.0/27".parse().ok();
    let mut plan = GatewayPlan::new("lab", mac, subnet, "fd00:9::/64".parse().ok());
    plan.limits.leases_per_guest = 2;
    plan
}

pub(super) fn test_zone() -> zone::Zone {
    let mut zone = zone::Zone::new(&plan());
    zone.set("web", Some([10, 9, 0, 5].into()), "fd00:9::5".parse().ok());
    zone.set("db", Some([10, 9, 0, 6].into()), None);
    zone
}

/// The answers that wait, each of which must be a frame.
fn answers(out: &mut Outbox) -> Vec<Answer> {
    let answers: Vec<Answer> = out.answers.drain(..).collect();
    for answer in &answers {
        let mut frame = [0; super::ANSWER_MAX];
        let len = answer.write(&mut frame).expect("it fits");
        let parsed = wire::parse(frame.get(..len).unwrap_or_default()).expect("a frame");
        assert!(parsed.malformed.is_none() && parsed.l4.is_some());
    }
    answers
}

/// A DHCP message as it is, and a program of clients that come, ask, decline, release and leave
/// while time passes. Whatever they do: an address is bound to one client at a time, only after its
/// last owner was told to have lost it; a guest has as many as it may; a planned address goes to
/// its guest alone.
pub fn dhcp4(data: &[u8]) {
    let mut out = Outbox::default();
    let mut server = dhcp4::Server::new(&plan());
    let mac = MacAddr(*data.get(28..).and_then(|data| data.first_chunk()).unwrap_or(&[2; 6]));
    let datagram = Datagram {
        guest: GuestKey(1),
        mac,
        source: (Ipv4Addr::UNSPECIFIED, 68).into(),
        destination: (Ipv4Addr::BROADCAST, 67).into(),
        payload: data,
    };
    server.receive(START, &datagram, &mut out);
    assert!(answers(&mut out).len() <= 1);
    Clients::default().run(data);
}

/// What the clients of [`mod@dhcp4`] know.
#[derive(Debug, Default)]
struct Clients {
    /// Who was told to have which address.
    bound: BTreeMap<Ipv4Addr, (u32, MacAddr)>,
    now: Duration,
}

const PLANNED: (MacAddr, Ipv4Addr) = (MacAddr([2, 0, 0, 0, 7, 0]), Ipv4Addr::new(10, 9, 0, 9));

impl Clients {
    fn run(&mut self, program: &[u8]) {
        let mut out = Outbox::default();
        let mut server = dhcp4::Server::new(&plan());
        server.reserve("planned", Some(PLANNED.0), Some(PLANNED.1), &mut out);
        for step in program.chunks_exact(4).take(256) {
            let &[action, who, address, extra] = step else { return };
            let now = START + self.now;
            let guest = u32::from(who % 5);
            let mac = MacAddr([2, 0, 0, 0, 7, who % 10]);
            let address = Ipv4Addr::new(10, 9, 0, address % 32);
            match action % 12 {
                0 => self.now += Duration::from_secs(u64::from(extra)),
                1 => self.now += Duration::from_secs(60 * u64::from(extra)),
                2 => {
                    server.guest_gone(GuestKey(guest));
                    // The owner of bindings ends those of a port that is gone.
                    self.bound.retain(|_, (owner, _)| *owner != guest);
                }
                3 => server.refuse(now, address, &mut out),
                4 => {
                    let saved = server.saved_leases(now, 1_000_000);
                    server = dhcp4::Server::new(&plan());
                    server.reserve("planned", Some(PLANNED.0), Some(PLANNED.1), &mut out);
                    server.load_leases(now, 1_000_000 + u64::from(extra), saved);
                    // What ended while nobody was there, bindings have noticed by themselves.
                    let kept = server.leases(now);
                    self.bound.retain(|at, _| kept.iter().any(|lease| lease.address == *at));
                }
                _ => {
                    let payload = client_message(action, mac, address, extra);
                    let datagram = Datagram {
                        guest: GuestKey(guest),
                        mac,
                        source: (Ipv4Addr::UNSPECIFIED, 68).into(),
                        destination: (Ipv4Addr::BROADCAST, 67).into(),
                        payload: &payload,
                    };
                    server.receive(now, &datagram, &mut out);
                }
            }
            server.handle_timeout(START + self.now, &mut out);
            self.check(&server, mac, &mut out);
        }
    }

    fn check(&mut self, server: &dhcp4::Server, mac: MacAddr, out: &mut Outbox) {
        for event in out.events.drain(..) {
            match event {
                GatewayEvent::Bind { guest, mac, address: IpAddr::V4(address), .. } => {
                    assert!((16..24).contains(&address.octets()[3]), "{address} is leased");
                    let before = self.bound.insert(address, (guest.0, mac));
                    assert!(before.is_none_or(|(_, owner)| owner == mac), "{address} has two");
                }
                GatewayEvent::Unbind { address: IpAddr::V4(address) } => {
                    self.bound.remove(&address);
                }
                GatewayEvent::LeasesChanged
                | GatewayEvent::Trouble { .. }
                | GatewayEvent::Well(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let mut count = BTreeMap::new();
        for lease in server.leases(START + self.now) {
            if let Some(guest) = lease.guest {
                *count.entry(guest).or_insert(0) += 1;
            }
        }
        assert!(count.values().all(|count| *count <= 2), "{count:?}");
        for answer in answers(out) {
            let Body::Udp { payload, .. } = answer.body else { panic!() };
            assert!((300..=548).contains(&payload.len()));
            let yours: [u8; 4] = payload.get(16..20).expect("an address").try_into().expect("four");
            let yours = Ipv4Addr::from(yours);
            assert_eq!(payload.get(28..34), Some(mac.0.as_slice()));
            if mac == PLANNED.0 {
                assert!(yours == PLANNED.1 || yours.is_unspecified());
            } else {
                assert_ne!(yours, PLANNED.1);
            }
        }
    }
}

/// A message that is well formed more often than not.
fn client_message(action: u8, mac: MacAddr, address: Ipv4Addr, extra: u8) -> Vec<u8> {
    let mut bytes = vec![0; 240];
    let mut put = |at: usize, value: &[u8]| {
        bytes.get_mut(at..at + value.len()).expect("room").copy_from_slice(value);
    };
    put(0, &[1, 1, 6]);
    put(10, &[extra & 0x80]);
    put(28, &mac.0);
    put(236, &[99, 130, 83, 99]);
    let kind = [1, 3, 3, 3, 4, 7, 8, 1].get(usize::from(action % 8)).copied().unwrap_or(1);
    if extra & 1 != 0 {
        put(12, &address.octets());
    }
    bytes.extend_from_slice(&[53, 1, kind]);
    if extra & 2 != 0 || kind == 4 {
        bytes.extend_from_slice(&[50, 4]);
        bytes.extend_from_slice(&address.octets());
    }
    if extra & 4 != 0 {
        bytes.extend_from_slice(&[54, 4, 10, 9, 0, 1]);
    }
    if extra & 8 != 0 {
        bytes.extend_from_slice(&[61, 2, 0xff, extra >> 5]);
    }
    if extra & 16 != 0 {
        bytes.extend_from_slice(&[80, 0]);
    }
    bytes.push(255);
    bytes
}

/// A DHCPv6 message: at most one answer, in which every option is whole.
pub fn dhcp6(data: &[u8]) {
    let mut out = Outbox::default();
    let mut server = dhcp6::Server::new(&plan());
    for group in [true, false] {
        let to: Ipv6Addr = if group { "ff02::1:2" } else { "fd00:9::1" }.parse().expect("v6");
        let datagram = Datagram {
            guest: GuestKey(1),
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
            source: "[fe80::9]:546".parse().expect("an address"),
            destination: SocketAddr::new(to.into(), 547),
            payload: data,
        };
        server.receive(START, &datagram, &mut out);
        let answers = answers(&mut out);
        assert!(answers.len() <= 1);
        for answer in answers {
            let Body::Udp { payload, .. } = answer.body else { panic!() };
            assert!(matches!(payload.first(), Some(2 | 7)));
            assert_eq!(payload.get(1..4), data.get(1..4));
            assert!(dhcp6::options(payload.get(4..).unwrap_or_default()).is_some());
        }
    }
}

/// A router solicitation behind a byte that says where it comes from: at most one answer in its
/// time, whose options are whole.
pub fn solicit(data: &[u8]) {
    let Some((how, message)) = data.split_first() else { return };
    let mut out = Outbox::default();
    let mut advert = advert::Advertiser::new(&plan(), &[0; 16]);
    let source: Ipv6Addr = if how & 1 == 0 { "fe80::9" } else { "::" }.parse().expect("v6");
    let hop_limit = if how & 2 == 0 { 255 } else { *how };
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    let solicitation = Solicitation { guest: GuestKey(1), mac, source, hop_limit, message };
    advert.handle_timeout(START, &mut out);
    answers(&mut out);
    assert!(advert.receive(START, &solicitation, &mut out));
    advert.handle_timeout(START + advert::SPACING, &mut out);
    let answers = answers(&mut out);
    assert!(answers.len() <= 1);
    for answer in answers {
        let Body::Icmpv6 { payload, .. } = answer.body else { panic!() };
        assert!(Options::new(payload.get(12..).unwrap_or_default()).is_sound());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn dhcp4(data in prop::collection::vec(any::<u8>(), 0..800)) {
            super::dhcp4(&data);
        }

        #[test]
        fn dhcp6(head in prop::sample::select(vec![1_u8, 3, 4, 5, 6, 8, 9, 11, 7]), tail in prop::collection::vec(0_u8..40, 0..120)) {
            super::dhcp6(&[&[head], tail.as_slice()].concat());
        }

        #[test]
        fn solicit(how in any::<u8>(), tail in prop::collection::vec(0_u8..9, 0..60)) {
            super::solicit(&[&[how, 133, 0, 0, 0], tail.as_slice()].concat());
        }

        #[test]
        fn dns(data in prop::collection::vec(any::<u8>(), 0..300)) {
            super::dns(&data);
        }
    }
}
