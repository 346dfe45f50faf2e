use super::*;
use crate::services::ServiceReason as R;

const GUEST: GuestKey = GuestKey(4);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);

fn plan() -> GatewayPlan {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    GatewayPlan::new("lab", mac, None, "fd00:1:2:3::/64".parse().ok())
}

fn link_local() -> Ipv6Addr {
    "fe80::200:ff:fe00:101".parse().unwrap()
}

struct World {
    advert: Advertiser,
    out: Outbox,
    now: Instant,
}

impl World {
    /// Past the first few advertisements, so that nothing is due soon.
    fn new() -> Self {
        let mut world = Self::started();
        for _ in 0..INITIAL_COUNT {
            let due = world.advert.next_deadline().unwrap();
            world.now = due.max(world.now);
            world.turn();
        }
        world.out = Outbox::default();
        world.now = world.now + Duration::from_secs(10);
        world
    }

    fn started() -> Self {
        let now = Instant::EPOCH + Duration::from_secs(1000);
        Self { advert: Advertiser::new(&plan(), &[1; 16]), out: Outbox::default(), now }
    }

    fn turn(&mut self) {
        self.advert.handle_timeout(self.now, &mut self.out);
    }

    /// Until what is due next, but no longer than this.
    fn wait(&mut self, most: Duration) -> Duration {
        let due = self.advert.next_deadline().unwrap();
        let waited = due.saturating_since(self.now);
        assert!(waited <= most, "{waited:?} is more than {most:?}");
        self.now = self.now + waited;
        self.turn();
        waited
    }

    fn solicit(&mut self, source: Ipv6Addr, message: &[u8]) {
        let solicitation = Solicitation { guest: GUEST, mac: MAC, source, hop_limit: 255, message };
        assert!(self.advert.receive(self.now, &solicitation, &mut self.out));
    }

    fn answer(&mut self) -> Option<Answer> {
        self.out.answers.pop_front()
    }

    fn counted(&mut self) -> Vec<(R, u64)> {
        std::mem::take(&mut self.out.counters).iter().collect()
    }
}

/// A solicitation that names its sender's Ethernet address.
fn named() -> Vec<u8> {
    [[133, 0, 0, 0, 0, 0, 0, 0].as_slice(), &[1, 1], &MAC.0].concat()
}

const BARE: [u8; 8] = [133, 0, 0, 0, 0, 0, 0, 0];

fn payload(answer: &Answer) -> &[u8] {
    let Body::Icmpv6 { kind: 134, payload } = &answer.body else { panic!("{answer:?}") };
    payload
}

/// The router lifetime.
fn lifetime(answer: &Answer) -> u16 {
    u16::from_be_bytes([payload(answer)[2], payload(answer)[3]])
}

/// Options by their type.
fn options(answer: &Answer) -> Vec<(u8, Vec<u8>)> {
    let options = Options::new(&payload(answer)[12..]);
    assert!(options.is_sound());
    options.map(|option| (option.kind, option.body.to_vec())).collect()
}

#[test]
fn a_guest_that_asks_is_answered_alone_and_soon() {
    let mut world = World::new();
    world.solicit(link_local(), &named());
    assert_eq!(world.answer(), None);
    world.wait(DELAY_MAX);
    let answer = world.answer().unwrap();
    assert_eq!(answer.link, Some(MAC));
    assert_eq!(answer.destination, IpAddr::V6(link_local()));
    assert_eq!(answer.source, "fe80::ff:fe00:1".parse::<IpAddr>().unwrap());
    assert_eq!(world.answer(), None);
    assert_eq!(world.counted(), [(R::AdvertSolicited, 1)]);
    let mut frame = [0; 512];
    let len = answer.write(&mut frame).unwrap();
    assert_eq!(frame[14 + 7], 255, "hop limit");
    let parsed = wire::parse(&frame[..len]).unwrap();
    assert!(parsed.l4.is_some());
}

#[test]
fn what_is_advertised() {
    let mut world = World::new();
    world.solicit(link_local(), &BARE);
    world.wait(DELAY_MAX);
    let answer = world.answer().unwrap();
    // Hop limit 64, other configuration, no lifetime, the hosts' own timers.
    assert_eq!(payload(&answer)[..12], [64, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let prefix: Ipv6Addr = "fd00:1:2:3::".parse().unwrap();
    let own: Ipv6Addr = "fd00:1:2:3::1".parse().unwrap();
    let info = [64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0];
    let lifetime = [0, 0, 0, 0, 7, 8];
    let name = b"\x03lab\x08internal\x00\x00\x00";
    let expected = vec![
        (1, vec![2, 0, 0, 0, 0, 1]),
        (5, vec![0, 0, 0, 0, 5, 220]),
        (3, [info.as_slice(), &prefix.octets()].concat()),
        (25, [lifetime.as_slice(), &own.octets()].concat()),
        (31, [lifetime.as_slice(), name].concat()),
    ];
    assert_eq!(options(&answer), expected);
}

#[test]
fn the_gateway_is_a_way_out_only_if_the_host_has_one() {
    let mut world = World::new();
    world.solicit(link_local(), &BARE);
    world.wait(DELAY_MAX);
    assert_eq!(lifetime(&world.answer().unwrap()), 0);
    // All are told at once that it is one now, and that it is none.
    world.advert.set_outside(world.now, true);
    world.wait(Duration::ZERO);
    let all = world.answer().unwrap();
    assert_eq!((all.link, all.destination), (None, IpAddr::V6(ALL_NODES)));
    assert_eq!(lifetime(&all), 1800);
    world.advert.set_outside(world.now, true);
    world.advert.set_outside(world.now, false);
    assert_eq!(world.wait(SPACING), SPACING);
    assert_eq!(lifetime(&world.answer().unwrap()), 0);
    assert_eq!(world.counted(), [(R::AdvertPeriodic, 2), (R::AdvertSolicited, 1)]);
    // Without translation it never is.
    let mut plan = plan();
    plan.nat = false;
    world.advert.apply(world.now, &plan, &mut world.out);
    world.advert.set_outside(world.now, true);
    world.wait(SPACING);
    assert_eq!(lifetime(&world.answer().unwrap()), 0);
}

#[test]
fn prefixes_behind_the_gateway_are_told_by_themselves() {
    let mut world = World::new();
    let mut plan = plan();
    plan.inside = vec!["10.9.0.0/16".parse().unwrap(), "fd00:9::/48".parse().unwrap()];
    world.advert.apply(world.now, &plan, &mut world.out);
    world.wait(Duration::ZERO);
    let answer = world.answer().unwrap();
    let net: Ipv6Addr = "fd00:9::".parse().unwrap();
    let route = [[48, 0, 0, 0, 7, 8].as_slice(), &net.octets()].concat();
    assert_eq!(options(&answer).pop(), Some((24, route)));
}

#[test]
fn all_are_told_from_time_to_time() {
    let mut world = World::started();
    let mut waits = Vec::new();
    for _ in 0..30 {
        let due = world.advert.next_deadline().unwrap();
        waits.push(due.saturating_since(world.now));
        world.now = world.now.max(due);
        world.turn();
        assert_eq!(world.answer().unwrap().destination, IpAddr::V6(ALL_NODES));
        assert_eq!(world.answer(), None);
    }
    assert_eq!(waits[0], Duration::ZERO);
    assert!(waits[1..3].iter().all(|wait| *wait <= INITIAL_INTERVAL), "{waits:?}");
    let rest = &waits[3..];
    assert!(rest.iter().all(|wait| (INTERVAL_MIN..=INTERVAL_MAX).contains(wait)), "{waits:?}");
    assert!(rest.iter().any(|wait| *wait != rest[0]), "they are random");
    assert_eq!(world.counted(), [(R::AdvertPeriodic, 30)]);
}

#[test]
fn who_has_no_address_yet_is_answered_with_all_and_not_too_often() {
    let mut world = World::new();
    world.solicit(Ipv6Addr::UNSPECIFIED, &BARE);
    world.wait(DELAY_MAX);
    assert_eq!(world.answer().unwrap().destination, IpAddr::V6(ALL_NODES));
    world.solicit(Ipv6Addr::UNSPECIFIED, &BARE);
    world.solicit(Ipv6Addr::UNSPECIFIED, &BARE);
    assert_eq!(world.wait(SPACING), SPACING);
    assert!(world.answer().is_some());
    assert_eq!(world.answer(), None);
    assert_eq!(world.counted(), [(R::AdvertPeriodic, 2)]);
}

#[test]
fn solicitations_that_are_none() {
    let mut world = World::new();
    let far = Solicitation {
        guest: GuestKey(5),
        mac: MAC,
        source: link_local(),
        hop_limit: 254,
        message: &BARE,
    };
    assert!(world.advert.receive(world.now, &far, &mut world.out));
    world.solicit(link_local(), &BARE[..7]);
    world.solicit(link_local(), &[133, 1, 0, 0, 0, 0, 0, 0]);
    world.solicit(link_local(), &[BARE.as_slice(), &[1, 0, 0, 0, 0, 0, 0, 0]].concat());
    world.solicit(link_local(), &[BARE.as_slice(), &[1]].concat());
    world.solicit(Ipv6Addr::UNSPECIFIED, &named());
    world.solicit(ALL_NODES, &BARE);
    assert_eq!(world.counted(), [(R::SolicitMalformed, 7)]);
    assert!(world.advert.next_deadline().unwrap() > world.now + DELAY_MAX);
}

#[test]
fn who_asks_too_fast_is_not_heard() {
    let mut world = World::new();
    for _ in 0..RATE.burst + 3 {
        world.solicit(link_local(), &BARE);
    }
    world.wait(DELAY_MAX);
    assert!(world.answer().is_some());
    assert_eq!(world.answer(), None, "one answer for all");
    let limited = u64::from(RATE.burst) - 1 + 3;
    assert_eq!(world.counted(), [(R::AdvertSolicited, 1), (R::SolicitLimited, limited)]);
    // A guest that is gone is not answered.
    world.now = world.now + Duration::from_secs(10);
    world.solicit(link_local(), &BARE);
    world.advert.guest_gone(GUEST);
    world.now = world.now + DELAY_MAX;
    world.turn();
    assert_eq!(world.answer(), None);
}

#[test]
fn a_former_prefix_is_deprecated() {
    let mut world = World::new();
    let mut other = plan();
    other.prefix = "fd00:7::/64".parse().ok();
    world.advert.apply(world.now, &other, &mut world.out);
    world.wait(Duration::ZERO);
    let prefixes = |answer: &Answer| -> Vec<(Vec<u8>, Ipv6Addr)> {
        let found = options(answer).into_iter().filter(|(kind, _)| *kind == 3);
        let split = |(_, body): (u8, Vec<u8>)| {
            let net: [u8; 16] = body[14..].try_into().unwrap();
            (body[2..10].to_vec(), net.into())
        };
        found.map(split).collect()
    };
    let told = prefixes(&world.answer().unwrap());
    let [new, old] = ["fd00:7::", "fd00:1:2:3::"].map(|net| net.parse::<Ipv6Addr>().unwrap());
    let valid = vec![0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40];
    assert_eq!(told[0], (valid.clone(), new));
    assert_eq!(told[1], (vec![0, 0, 0x1c, 0x20, 0, 0, 0, 0], old), "two hours, not preferred");
    world.now = world.now + FAREWELL;
    world.turn();
    assert_eq!(prefixes(&world.answer().unwrap()), [(valid, new)]);
    // It comes back before it is forgotten.
    world.advert.apply(world.now, &plan(), &mut world.out);
    world.advert.apply(world.now, &other, &mut world.out);
    world.now = world.now + SPACING;
    world.turn();
    let told = prefixes(&world.answer().unwrap());
    assert_eq!(told.iter().map(|(_, net)| *net).collect::<Vec<_>>(), [new, old]);
}

/// Options of name servers, domains and routes, each with its lifetime.
fn lasting(answer: &Answer) -> Vec<(u8, u32, Vec<u8>)> {
    let all = options(answer).into_iter().filter(|(kind, _)| matches!(kind, 24 | 25 | 31));
    all.map(|(kind, body)| {
        let lifetime = u32::from_be_bytes(body[2..6].try_into().unwrap());
        let mut rest = body[6..].to_vec();
        if kind == 24 {
            rest.push(body[0]);
        }
        (kind, lifetime, rest)
    })
    .collect()
}

/// Hosts would keep a name server for half an hour that is none.
#[test]
fn what_is_not_advertised_any_more_is_taken_back() {
    let mut world = World::new();
    let own = "fd00:1:2:3::1".parse::<Ipv6Addr>().unwrap().octets().to_vec();
    let name = b"\x03lab\x08internal\x00\x00\x00".to_vec();
    let net = |text: &str| {
        let net: Ipv6Net = text.parse().unwrap();
        [net.network().octets().as_slice(), &[net.prefix_len()]].concat()
    };
    let mut full = plan();
    full.inside = vec!["fd00:8::/48".parse().unwrap(), "fd00:9::/48".parse().unwrap()];
    world.advert.apply(world.now, &full, &mut world.out);
    world.wait(Duration::ZERO);
    let all = vec![
        (25, 1800, own.clone()),
        (31, 1800, name.clone()),
        (24, 1800, net("fd00:8::/48")),
        (24, 1800, net("fd00:9::/48")),
    ];
    assert_eq!(lasting(&world.answer().unwrap()), all);

    let mut less = plan();
    less.dns = false;
    less.inside = vec!["fd00:9::/48".parse().unwrap()];
    world.advert.apply(world.now, &less, &mut world.out);
    let taken_back = vec![
        (24, 1800, net("fd00:9::/48")),
        (25, 0, own),
        (31, 0, name),
        (24, 0, net("fd00:8::/48")),
    ];
    world.wait(SPACING);
    assert_eq!(lasting(&world.answer().unwrap()), taken_back);
    // Whoever was away hears it as well, as long as it may believe otherwise.
    world.now = world.now + Duration::from_secs(1790);
    world.turn();
    world.out.answers.clear();
    world.solicit(link_local(), &BARE);
    world.wait(DELAY_MAX);
    assert_eq!(lasting(&world.answer().unwrap()), taken_back);
    world.now = world.now + Duration::from_secs(10);
    world.solicit(link_local(), &BARE);
    world.wait(DELAY_MAX);
    assert_eq!(lasting(&world.answer().unwrap()), taken_back[..1]);

    // What comes back is not taken back.
    for plan in [&full, &less, &full] {
        world.advert.apply(world.now, plan, &mut world.out);
    }
    world.now = world.now + SPACING;
    world.turn();
    assert_eq!(lasting(&world.answer().unwrap()), all);
    // At the end everything is.
    world.advert.farewell(world.now, &mut world.out);
    let last = lasting(&world.answer().unwrap());
    let zero: Vec<_> = all.into_iter().map(|(kind, _, rest)| (kind, 0, rest)).collect();
    assert_eq!(last, zero);
}

#[test]
fn an_advertisement_fits_the_least_mtu_whatever_was_before() {
    let mut world = World::new();
    for round in 0..6_u16 {
        let mut other = plan();
        other.name = format!("{round}23456789-123456789-123456789-12");
        other.prefix = format!("fd00:1:2:{round}::/64").parse().ok();
        let nets = (0..20).map(|net| format!("fd00:{round}:{net}::/48").parse().unwrap());
        other.inside = nets.collect();
        world.advert.apply(world.now, &other, &mut world.out);
    }
    world.wait(Duration::ZERO);
    let answer = world.answer().unwrap();
    let mut frame = [0; 2048];
    assert!(answer.write(&mut frame).unwrap() <= 14 + usize::from(wire::ipv6::MTU_MIN));
    let told = lasting(&answer);
    let count = |kind: u8, lifetime: u32| {
        told.iter().filter(|(its, left, _)| (*its, *left) == (kind, lifetime)).count()
    };
    assert_eq!([count(25, 1800), count(31, 1800), count(24, 1800)], [1, 1, 16]);
    assert_eq!([count(25, 0), count(31, 0), count(24, 0)], [1, 2, 8]);
    let (_, _, servers) = told.iter().find(|(kind, left, _)| (*kind, *left) == (25, 0)).unwrap();
    assert_eq!(servers.len(), 4 * 16);
}

#[test]
fn the_end_is_told() {
    let mut world = World::new();
    world.advert.set_outside(world.now, true);
    world.advert.farewell(world.now, &mut world.out);
    let last = world.answer().unwrap();
    assert_eq!((lifetime(&last), last.destination), (0, IpAddr::V6(ALL_NODES)));
    assert!(options(&last).iter().any(|(kind, body)| *kind == 25 && body[2..6] == [0; 4]));
    // So it is when the service is turned off; then nothing more comes.
    let mut off = plan();
    off.advertise = false;
    world.advert.apply(world.now, &off, &mut world.out);
    assert_eq!(lifetime(&world.answer().unwrap()), 0);
    assert_eq!(world.advert.next_deadline(), None);
    let message = &BARE;
    let source = link_local();
    let solicitation = Solicitation { guest: GUEST, mac: MAC, source, hop_limit: 255, message };
    assert!(!world.advert.receive(world.now, &solicitation, &mut world.out));
    world.advert.apply(world.now, &plan(), &mut world.out);
    world.wait(Duration::ZERO);
    assert!(world.answer().is_some());
}

/// A network that ends soon after it was changed.
#[test]
fn the_end_takes_back_what_was_before() {
    for off in [false, true] {
        let mut world = World::new();
        let mut full = plan();
        full.inside = vec!["fd00:8::/48".parse().unwrap()];
        world.advert.apply(world.now, &full, &mut world.out);
        let mut less = plan();
        less.dns = false;
        less.prefix = "fd00:7::/64".parse().ok();
        world.advert.apply(world.now, &less, &mut world.out);
        let own = "fd00:1:2:3::1".parse::<Ipv6Addr>().unwrap().octets().to_vec();
        let route = [&[0xfd, 0, 0, 8][..], &[0; 12], &[48]].concat();
        let name = b"\x03lab\x08internal\x00\x00\x00".to_vec();
        let end = |world: &mut World, after: u64| {
            world.now = world.now + Duration::from_secs(after);
            if off {
                let off = GatewayPlan { advertise: false, ..less.clone() };
                world.advert.apply(world.now, &off, &mut world.out);
            } else {
                world.advert.farewell(world.now, &mut world.out);
            }
            let last = world.answer().unwrap();
            assert_eq!(lifetime(&last), 0);
            let prefixes = options(&last).into_iter().filter(|(kind, _)| *kind == 3);
            let times: Vec<Vec<u8>> = prefixes.map(|(_, body)| body[2..10].to_vec()).collect();
            (times, lasting(&last))
        };
        let taken_back = vec![(25, 0, own), (31, 0, name), (24, 0, route)];
        let (times, told) = end(&mut world, 200);
        let now = vec![0, 0, 0x1c, 0x20, 0, 0, 0, 0];
        let old = [&7000_u32.to_be_bytes()[..], &[0; 4]].concat();
        assert_eq!((times, told), (vec![now.clone(), old], taken_back));
        if !off {
            // Nobody knows them any more.
            assert_eq!(end(&mut world, 7000), (vec![now], vec![]));
        }
    }
}
