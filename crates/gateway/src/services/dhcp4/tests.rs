use super::*;
use crate::services::ServiceReason as R;

const ONE: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 5, 16, 1);

/// A message of a client, with what the scenarios change.
#[derive(Clone)]
struct Says {
    kind: u8,
    mac: MacAddr,
    ciaddr: Ipv4Addr,
    giaddr: Ipv4Addr,
    broadcast: bool,
    options: Vec<(u8, Vec<u8>)>,
}

impl Says {
    fn new(kind: Kind, mac: MacAddr) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        let kind = kind as u8;
        Self { kind, mac, ciaddr: none, giaddr: none, broadcast: false, options: Vec::new() }
    }

    fn with(mut self, code: u8, value: &[u8]) -> Self {
        self.options.push((code, value.to_vec()));
        self
    }

    fn wants(self, address: Ipv4Addr) -> Self {
        self.with(option::REQUESTED_ADDRESS, &address.octets())
    }

    /// The client chose this server.
    fn chose(self, address: Ipv4Addr) -> Self {
        self.wants(address).with(option::SERVER_ID, &GATEWAY.octets())
    }

    fn has(mut self, ciaddr: Ipv4Addr) -> Self {
        self.ciaddr = ciaddr;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 240];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[9, 8, 7, 6]);
        bytes[10] = if self.broadcast { 0x80 } else { 0 };
        bytes[12..16].copy_from_slice(&self.ciaddr.octets());
        bytes[24..28].copy_from_slice(&self.giaddr.octets());
        bytes[28..34].copy_from_slice(&self.mac.0);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend_from_slice(&[53, 1, self.kind]);
        for (code, value) in &self.options {
            bytes.extend_from_slice(&[*code, value.len() as u8]);
            bytes.extend_from_slice(value);
        }
        bytes.push(255);
        bytes
    }
}

/// An answer, read again.
#[derive(Debug, PartialEq, Eq)]
struct Heard {
    kind: u8,
    yours: Ipv4Addr,
    to: Ipv4Addr,
    link: Option<MacAddr>,
    payload: Vec<u8>,
}

impl Heard {
    fn option(&self, code: u8) -> Option<&[u8]> {
        let mut rest = &self.payload[240..];
        loop {
            match rest {
                [255, ..] | [] => return None,
                [0, behind @ ..] => rest = behind,
                [found, len, behind @ ..] => {
                    let (value, behind) = behind.split_at(usize::from(*len));
                    if *found == code {
                        return Some(value);
                    }
                    rest = behind;
                }
                [_] => panic!("an option without a length"),
            }
        }
    }
}

struct World {
    server: Server,
    out: Outbox,
    now: Instant,
}

fn plan() -> GatewayPlan {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    GatewayPlan::new("lab", mac, "10.5.16.0/20".parse().ok(), None)
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut GatewayPlan)) -> Self {
        let mut plan = plan();
        change(&mut plan);
        let now = Instant::EPOCH + Duration::from_secs(1000);
        Self { server: Server::new(&plan), out: Outbox::default(), now }
    }

    fn say(&mut self, says: &Says) -> Option<Heard> {
        self.say_as(GuestKey(u32::from(says.mac.0[5])), says)
    }

    fn say_as(&mut self, guest: GuestKey, says: &Says) -> Option<Heard> {
        self.say_bytes(guest, says.mac, says.ciaddr, &says.bytes())
    }

    fn say_bytes(
        &mut self,
        guest: GuestKey,
        mac: MacAddr,
        source: Ipv4Addr,
        payload: &[u8],
    ) -> Option<Heard> {
        let destination = (Ipv4Addr::BROADCAST, 67).into();
        let source = (source, 68).into();
        assert!(self.server.listens(destination));
        let datagram = Datagram { guest, mac, source, destination, payload };
        self.server.receive(self.now, &datagram, &mut self.out);
        let answer = self.out.answers.pop_front()?;
        assert!(self.out.answers.is_empty());
        assert_eq!(answer.source, IpAddr::V4(GATEWAY));
        let IpAddr::V4(to) = answer.destination else { panic!() };
        let Body::Udp { source: 67, destination: 68, payload } = answer.body else { panic!() };
        assert_eq!(payload[..4], [2, 1, 6, 0]);
        assert_eq!(payload[4..8], [9, 8, 7, 6]);
        assert!((300..=548).contains(&payload.len()), "{}", payload.len());
        let yours = Ipv4Addr::new(payload[16], payload[17], payload[18], payload[19]);
        let mut heard = Heard { kind: 0, yours, to, link: answer.link, payload };
        heard.kind = heard.option(53).unwrap()[0];
        assert_eq!(heard.option(54).unwrap(), GATEWAY.octets());
        Some(heard)
    }

    /// A client that takes what it is offered.
    fn join(&mut self, guest: GuestKey, mac: MacAddr, id: &[u8]) -> Option<Ipv4Addr> {
        let identify =
            |says: Says| if id.is_empty() { says } else { says.with(option::CLIENT_ID, id) };
        let offer = self.say_as(guest, &identify(Says::new(Kind::Discover, mac)))?;
        assert_eq!(offer.kind, Kind::Offer as u8);
        let request = identify(Says::new(Kind::Request, mac)).chose(offer.yours);
        let ack = self.say_as(guest, &request)?;
        assert_eq!((ack.kind, ack.yours), (Kind::Ack as u8, offer.yours));
        Some(ack.yours)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.server.handle_timeout(self.now, &mut self.out);
    }

    /// Events since the last look, in words.
    fn events(&mut self) -> Vec<String> {
        let say = |event| match event {
            GatewayEvent::Bind { guest, mac, address, lifetime } => {
                format!("bind {address} to {} {mac} for {}", guest.0, lifetime.as_secs())
            }
            GatewayEvent::Unbind { address } => format!("unbind {address}"),
            GatewayEvent::LeasesChanged => "changed".to_owned(),
            other => format!("{other:?}"),
        };
        self.out.events.drain(..).map(say).collect()
    }

    /// Every counter that moved since the last look.
    fn counted(&mut self) -> Vec<(R, u64)> {
        std::mem::take(&mut self.out.counters).iter().collect()
    }
}

fn in_range(address: Ipv4Addr) -> bool {
    (Ipv4Addr::new(10, 5, 24, 0)..Ipv4Addr::new(10, 5, 28, 0)).contains(&address)
}

#[test]
fn a_client_gets_an_address_and_keeps_it() {
    let mut world = World::new();
    let offer = world.say(&Says::new(Kind::Discover, ONE)).unwrap();
    assert_eq!(offer.kind, Kind::Offer as u8);
    assert!(in_range(offer.yours));
    assert_eq!((offer.to, offer.link), (offer.yours, Some(ONE)), "to its Ethernet address");
    assert_eq!(world.events(), [""; 0], "an offer binds nothing");
    let ack = world.say(&Says::new(Kind::Request, ONE).chose(offer.yours)).unwrap();
    assert_eq!((ack.kind, ack.yours), (Kind::Ack as u8, offer.yours));
    let bind = format!("bind {} to 1 {ONE} for 3610", offer.yours);
    assert_eq!(world.events(), [bind.as_str(), "changed"]);
    // Renewal, to the client's address.
    world.pass(Duration::from_secs(1800));
    let renew = world.say(&Says::new(Kind::Request, ONE).has(offer.yours)).unwrap();
    assert_eq!((renew.kind, renew.yours), (Kind::Ack as u8, offer.yours));
    assert_eq!((renew.to, renew.link), (offer.yours, Some(ONE)));
    assert_eq!(renew.payload[12..16], offer.yours.octets());
    world.events();
    // It goes without a word, and is remembered.
    world.pass(Duration::from_secs(3611));
    assert_eq!(world.events(), [format!("unbind {}", offer.yours), "changed".to_owned()]);
    assert_eq!(world.server.leases(world.now), []);
    assert_eq!(world.join(GuestKey(1), ONE, b""), Some(offer.yours));
    let expected = [(R::DhcpOffer, 2), (R::DhcpAck, 3), (R::DhcpExpired, 1)];
    assert_eq!(world.counted(), expected);
}

#[test]
fn a_client_is_told_what_it_asks_for() {
    let mut world = World::with(|plan| plan.mtu = 9000);
    let all = world.say(&Says::new(Kind::Discover, ONE)).unwrap();
    assert_eq!(all.option(1), Some([255, 255, 240, 0].as_slice()));
    assert_eq!(all.option(3), Some(GATEWAY.octets().as_slice()));
    assert_eq!(all.option(6), Some(GATEWAY.octets().as_slice()));
    assert_eq!(all.option(15), Some(b"lab.internal".as_slice()));
    assert_eq!(all.option(26), Some(9000_u16.to_be_bytes().as_slice()));
    assert_eq!(all.option(28), Some([10, 5, 31, 255].as_slice()));
    assert_eq!(all.option(51), Some(3600_u32.to_be_bytes().as_slice()));
    assert_eq!(all.option(58), Some(1800_u32.to_be_bytes().as_slice()));
    assert_eq!(all.option(59), Some(3150_u32.to_be_bytes().as_slice()));
    assert_eq!(all.option(119), Some(b"\x03lab\x08internal\x00".as_slice()));
    let some = Says::new(Kind::Discover, ONE).with(option::PARAMETERS, &[6, 42]);
    let some = world.say(&some).unwrap();
    let codes: Vec<u8> = (1..=254).filter(|code| some.option(*code).is_some()).collect();
    assert_eq!(codes, [1, 6, 51, 53, 54, 58, 59]);
    for (wish, given) in [(60, 120), (600, 600), (u32::MAX, 86_400)] {
        let says = Says::new(Kind::Discover, ONE).with(option::LEASE_TIME, &u32::to_be_bytes(wish));
        let heard = world.say(&says).unwrap();
        assert_eq!(heard.option(51), Some(u32::to_be_bytes(given).as_slice()));
    }
}

#[test]
fn without_our_dns_the_configured_resolvers_are_told() {
    let mut world = World::with(|plan| {
        plan.dns = false;
        plan.resolvers = ["127.0.0.53:53", "192.0.2.53:53", "192.0.2.54:5353", "[2001:db8::1]:53"]
            .map(|resolver| resolver.parse().unwrap())
            .to_vec();
    });
    let heard = world.say(&Says::new(Kind::Discover, ONE)).unwrap();
    assert_eq!(heard.option(6), Some([192, 0, 2, 53].as_slice()));
}

#[test]
fn where_an_answer_goes() {
    let mut world = World::new();
    let mut discover = Says::new(Kind::Discover, ONE);
    discover.broadcast = true;
    let heard = world.say(&discover).unwrap();
    let all = (Ipv4Addr::BROADCAST, Some(MacAddr::BROADCAST));
    assert_eq!((heard.to, heard.link), all, "a client that asked for that");
    assert_eq!(heard.payload[10..12], [0x80, 0]);
    let nak = world.say(&Says::new(Kind::Request, ONE).wants([10, 9, 9, 9].into())).unwrap();
    assert_eq!((nak.kind, nak.to, nak.link), (Kind::Nak as u8, all.0, all.1), "a refusal");
    assert_eq!(nak.yours, Ipv4Addr::UNSPECIFIED);
}

#[test]
fn identifiers_are_sent_back() {
    let mut world = World::new();
    let identify = |kind| Says::new(kind, ONE).with(option::CLIENT_ID, b"\xffsomething");
    for says in [identify(Kind::Discover), identify(Kind::Request).wants([10, 0, 0, 1].into())] {
        let heard = world.say(&says).unwrap();
        assert_eq!(heard.option(61), Some(b"\xffsomething".as_slice()));
    }
}

#[test]
fn a_planned_guest_gets_its_address_and_no_other() {
    let mut world = World::new();
    let planned = Ipv4Addr::new(10, 5, 16, 20);
    world.server.reserve("web", Some(ONE), Some(planned), &mut world.out);
    let says = Says::new(Kind::Discover, ONE).wants([10, 5, 24, 9].into());
    let offer = world.say(&says.with(option::PARAMETERS, &[12])).unwrap();
    assert_eq!((offer.kind, offer.yours), (Kind::Offer as u8, planned));
    assert_eq!(offer.option(12), Some(b"web".as_slice()));
    let ack = world.say(&Says::new(Kind::Request, ONE).chose(planned)).unwrap();
    assert_eq!((ack.kind, ack.yours), (Kind::Ack as u8, planned));
    let nak = world.say(&Says::new(Kind::Request, ONE).wants([10, 5, 24, 9].into())).unwrap();
    assert_eq!(nak.kind, Kind::Nak as u8);
    assert_eq!(world.events(), [""; 0], "the address is its own anyhow");
    assert!(world.say(&Says::new(Kind::Release, ONE).has(planned)).is_none());
    assert_eq!(world.events(), [""; 0], "and stays that");
    // Nobody else gets it, whatever he asks for or gives back.
    assert!(world.say(&Says::new(Kind::Release, OTHER).has(planned)).is_none());
    let nak = world.say(&Says::new(Kind::Request, OTHER).wants(planned)).unwrap();
    assert_eq!(nak.kind, Kind::Nak as u8);
    let offer = world.say(&Says::new(Kind::Discover, OTHER).wants(planned)).unwrap();
    assert!(in_range(offer.yours));
    world.server.unreserve("web");
    assert!(in_range(world.say(&Says::new(Kind::Discover, ONE)).unwrap().yours));
    let expected = [
        (R::DhcpOffer, 3),
        (R::DhcpAck, 1),
        (R::DhcpNak, 2),
        (R::DhcpRelease, 1),
        (R::DhcpOther, 1),
    ];
    assert_eq!(world.counted(), expected);
}

#[test]
fn a_plan_takes_an_address_out_of_the_leases() {
    let mut world = World::new();
    let leased = world.join(GuestKey(2), OTHER, b"").unwrap();
    world.events();
    world.server.reserve("web", Some(ONE), Some(leased), &mut world.out);
    assert_eq!(world.events(), [format!("unbind {leased}"), "changed".to_owned()]);
    let nak = world.say(&Says::new(Kind::Request, OTHER).has(leased)).unwrap();
    assert_eq!(nak.kind, Kind::Nak as u8);
    assert_ne!(world.join(GuestKey(2), OTHER, b""), Some(leased));
}

#[test]
fn leases_are_found_again_by_address_and_identifier() {
    let mut world = World::new();
    let address = world.join(GuestKey(1), ONE, b"").unwrap();
    // The same interface under a system that calls itself something, and by its address.
    assert_eq!(world.join(GuestKey(1), ONE, b"\xffsystem"), Some(address));
    let by_address = [[1].as_slice(), &ONE.0].concat();
    assert_eq!(world.join(GuestKey(1), ONE, &by_address), Some(address));
    assert_eq!(world.join(GuestKey(1), ONE, b"\xffsystem"), Some(address));
    // Another interface with that name does not get it while it is in use.
    let clone = world.join(GuestKey(2), OTHER, b"\xffsystem").unwrap();
    assert_ne!(clone, address);
    // A new interface of a machine that went away gets it.
    let release = Says::new(Kind::Release, ONE).with(option::CLIENT_ID, b"\xffsystem").has(address);
    assert_eq!(world.say(&release), None);
    let new = MacAddr([2, 0, 0, 0, 1, 3]);
    let release = Says::new(Kind::Release, OTHER).with(option::CLIENT_ID, b"\xffsystem").has(clone);
    assert_eq!(world.say(&release), None);
    assert!([address, clone].contains(&world.join(GuestKey(3), new, b"\xffsystem").unwrap()));
    // Two names on one interface are two clients.
    let third = world.join(GuestKey(3), new, b"\xffcontainer").unwrap();
    assert!(![address, clone].contains(&third));
}

#[test]
fn an_address_that_was_forgotten_is_given_again() {
    let mut world = World::new();
    let address = Ipv4Addr::new(10, 5, 25, 77);
    let ack = world.say(&Says::new(Kind::Request, ONE).wants(address)).unwrap();
    assert_eq!((ack.kind, ack.yours), (Kind::Ack as u8, address), "a client that boots");
    let nak = world.say(&Says::new(Kind::Request, OTHER).has(address)).unwrap();
    assert_eq!(nak.kind, Kind::Nak as u8, "it has an owner now");
    for outside in [[10, 5, 16, 1], [10, 5, 16, 99], [10, 5, 28, 0], [192, 168, 0, 1]] {
        let nak = world.say(&Says::new(Kind::Request, OTHER).wants(outside.into())).unwrap();
        assert_eq!(nak.kind, Kind::Nak as u8);
    }
    // A wish is heard if the address is nobody's.
    let wish = Ipv4Addr::new(10, 5, 25, 78);
    assert_eq!(world.say(&Says::new(Kind::Discover, OTHER).wants(wish)).unwrap().yours, wish);
    let third = MacAddr([2, 0, 0, 0, 1, 3]);
    assert_ne!(world.say(&Says::new(Kind::Discover, third).wants(wish)).unwrap().yours, wish);
}

#[test]
fn a_lease_is_given_at_once_to_who_takes_that() {
    let mut world = World::new();
    let heard = world.say(&Says::new(Kind::Discover, ONE).with(option::RAPID_COMMIT, b"")).unwrap();
    assert_eq!(heard.kind, Kind::Ack as u8);
    assert_eq!(heard.option(80), Some([].as_slice()));
    assert_eq!(world.events().len(), 2);
    assert_eq!(world.counted(), [(R::DhcpAck, 1)]);
}

#[test]
fn a_client_gives_back_or_declines() {
    let mut world = World::new();
    let address = world.join(GuestKey(1), ONE, b"").unwrap();
    world.events();
    world.counted();
    // Not what is another's.
    assert_eq!(world.say(&Says::new(Kind::Release, OTHER).has(address)), None);
    assert_eq!(world.say(&Says::new(Kind::Decline, OTHER).wants(address)), None);
    assert_eq!(world.counted(), [(R::DhcpOther, 2)]);
    assert_eq!(world.say(&Says::new(Kind::Decline, ONE).wants(address)), None);
    assert_eq!(world.events(), [format!("unbind {address}"), "changed".to_owned()]);
    let next = world.join(GuestKey(1), ONE, b"").unwrap();
    assert_ne!(next, address);
    let nak = world.say(&Says::new(Kind::Request, OTHER).wants(address)).unwrap();
    assert_eq!(nak.kind, Kind::Nak as u8, "somebody else has it");
    world.events();
    assert_eq!(world.say(&Says::new(Kind::Release, ONE).has(next)), None);
    assert_eq!(world.events(), [format!("unbind {next}"), "changed".to_owned()]);
    world.pass(Duration::from_secs(600));
    let ack = world.say(&Says::new(Kind::Request, OTHER).wants(address)).unwrap();
    assert_eq!(ack.kind, Kind::Ack as u8, "a while later");
    let expected = [
        (R::DhcpOffer, 1),
        (R::DhcpAck, 2),
        (R::DhcpNak, 1),
        (R::DhcpRelease, 1),
        (R::DhcpDecline, 1),
    ];
    assert_eq!(world.counted(), expected);
}

/// A planned address that another uses is a person's business, until its guest has used it for long enough to renew it.
#[test]
fn who_renews_a_planned_address_has_it() {
    let mut world = World::new();
    let planned = [10, 5, 16, 9].into();
    world.server.reserve("web", Some(ONE), Some(planned), &mut world.out);
    world.say(&Says::new(Kind::Request, ONE).has(planned)).unwrap();
    assert_eq!(world.out.events.len(), 0, "nothing was wrong");
    for _ in 0..2 {
        world.say(&Says::new(Kind::Request, ONE).wants(planned)).unwrap();
        assert_eq!(world.out.events.len(), 0, "it may still find another there");
        assert_eq!(world.say(&Says::new(Kind::Decline, ONE).wants(planned)), None);
        let trouble = world.out.events.pop_front();
        let web = Subject::Address("web".to_owned());
        assert!(
            matches!(&trouble, Some(GatewayEvent::Trouble { about, .. }) if *about == web),
            "{trouble:?}"
        );
        world.say(&Says::new(Kind::Request, ONE).has(planned)).unwrap();
        assert_eq!(world.out.events.pop_front(), Some(GatewayEvent::Well(web)));
    }
    assert_eq!(world.out.events.len(), 0);
}

#[test]
fn somebody_else_had_the_address() {
    let mut world = World::new();
    let address = world.join(GuestKey(1), ONE, b"").unwrap();
    world.events();
    world.server.refuse(world.now, address, &mut world.out);
    assert_eq!(world.events(), [format!("unbind {address}"), "changed".to_owned()]);
    let nak = world.say(&Says::new(Kind::Request, ONE).has(address)).unwrap();
    assert_eq!(nak.kind, Kind::Nak as u8);
    assert_ne!(world.join(GuestKey(1), ONE, b""), Some(address));
}

#[test]
fn who_sets_its_address_itself_is_told_about_the_network() {
    let mut world = World::new();
    let own = Ipv4Addr::new(10, 5, 29, 5);
    let heard = world.say(&Says::new(Kind::Inform, ONE).has(own)).unwrap();
    assert_eq!((heard.kind, heard.yours, heard.to), (Kind::Ack as u8, [0; 4].into(), own));
    assert_eq!(heard.link, Some(ONE));
    assert_eq!((heard.option(51), heard.option(3)), (None, Some(GATEWAY.octets().as_slice())));
    assert_eq!(world.say(&Says::new(Kind::Inform, ONE).has([192, 0, 2, 1].into())), None);
    assert_eq!(world.server.leases(world.now), []);
    assert_eq!(world.counted(), [(R::DhcpInform, 1), (R::DhcpOther, 1)]);
}

#[test]
fn messages_that_are_not_for_us() {
    let mut world = World::new();
    let good = Says::new(Kind::Discover, ONE);
    let bytes = good.bytes();
    let none = Ipv4Addr::UNSPECIFIED;
    let guest = GuestKey(1);
    assert_eq!(world.say_bytes(guest, OTHER, none, &bytes), None, "for another");
    let mut relayed = good.clone();
    relayed.giaddr = [10, 5, 16, 9].into();
    assert_eq!(world.say(&relayed), None);
    let mut group = good.clone();
    group.mac = MacAddr([3, 0, 0, 0, 0, 1]);
    assert_eq!(world.say(&group), None);
    assert_eq!(world.counted(), [(R::DhcpForged, 3)]);
    let other_server = [10, 5, 16, 3];
    let chose = Says::new(Kind::Request, ONE).with(option::SERVER_ID, &other_server);
    assert_eq!(world.say(&chose.wants([10, 5, 24, 3].into())), None);
    assert_eq!(world.say(&Says::new(Kind::Offer, ONE)), None);
    assert_eq!(world.counted(), [(R::DhcpOther, 2)]);
    for wrong in [
        &bytes[..239],
        &[&bytes[..236], &[0; 20]].concat(),
        &[&bytes[..240], [255].as_slice()].concat(),
        &[&bytes[..240], [53, 1].as_slice()].concat(),
        &[&bytes[..240], [53, 1, 9].as_slice()].concat(),
        &[&bytes[..243], [61, 65].as_slice(), &[7; 65], &[255]].concat(),
    ] {
        assert_eq!(world.say_bytes(guest, ONE, none, wrong), None);
    }
    assert_eq!(world.say(&Says::new(Kind::Request, ONE)), None, "without an address");
    assert_eq!(world.counted(), [(R::DhcpMalformed, 7)]);
    for _ in 0..RATE.burst {
        world.say(&good);
    }
    assert!(world.counted().iter().any(|(reason, _)| *reason == R::DhcpLimited));
}

#[test]
fn options_may_be_long_and_anywhere() {
    let mut bytes = Says::new(Kind::Discover, ONE).bytes();
    let end = bytes.len() - 1;
    bytes.truncate(end);
    // An identifier in two pieces, the second one where the name of the server would be.
    bytes.extend_from_slice(&[52, 1, 3, 61, 4, 0xff, b'a', b'b', b'c', 255]);
    bytes[44..48].copy_from_slice(&[61, 1, b'e', 255]);
    bytes[108..112].copy_from_slice(&[61, 1, b'd', 255]);
    let request = Request::parse(&bytes).unwrap();
    assert_eq!(request.client_id, b"\xffabcde");
    bytes[44..48].copy_from_slice(&[61, 200, b'e', 255]);
    assert_eq!(Request::parse(&bytes), None);
}

#[test]
fn one_guest_does_not_exhaust_the_addresses() {
    let mut world = World::with(|plan| {
        plan.subnet = "10.5.16.0/28".parse().ok();
        plan.limits.leases_per_guest = 2;
    });
    // Four addresses: .8 to .11.
    let mac = |n: u8| MacAddr([2, 0, 0, 0, 9, n]);
    let greedy = GuestKey(1);
    let first = world.join(greedy, mac(1), b"").unwrap();
    let second = world.join(greedy, mac(2), b"").unwrap();
    world.events();
    let third = world.join(greedy, mac(3), b"").unwrap();
    assert_eq!(third, first, "its own oldest is given up");
    let expected = [
        format!("unbind {first}"),
        "changed".to_owned(),
        format!("bind {first} to 1 {} for 3610", mac(3)),
    ];
    assert_eq!(world.events(), expected);
    assert_eq!(world.say_as(greedy, &Says::new(Kind::Request, mac(1)).has(first)).unwrap().kind, 6);
    // Others have the other two, and then one of the greedy guest's.
    let fourth = world.join(GuestKey(2), mac(4), b"").unwrap();
    let fifth = world.join(GuestKey(3), mac(5), b"").unwrap();
    let mut all = [first, second, fourth, fifth];
    all.sort_unstable();
    assert_eq!(all, [8, 9, 10, 11].map(|n| Ipv4Addr::new(10, 5, 16, n)));
    let sixth = world.join(GuestKey(4), mac(6), b"").unwrap();
    assert_eq!(sixth, second, "the older one of the guest that has most");
    // Four guests with one each: now there is nothing left.
    assert_eq!(world.join(GuestKey(5), mac(7), b""), None);
    assert!(world.counted().contains(&(R::DhcpExhausted, 1)));
    // One goes; its lease runs on, but others may have the address.
    world.server.guest_gone(GuestKey(2));
    assert_eq!(world.server.leases(world.now).len(), 4);
    assert_eq!(world.join(GuestKey(5), mac(7), b""), Some(fourth));
}

#[test]
fn a_row_of_guests_does_not_exhaust_the_addresses() {
    let mut world = World::with(|plan| plan.subnet = "10.5.16.0/28".parse().ok());
    for n in 1..100 {
        let mac = MacAddr([2, 0, 0, 0, 8, n]);
        let guest = GuestKey(u32::from(n));
        let address = world.join(guest, mac, b"").expect("an address");
        // Half of them find it in use, and get another.
        if n % 2 == 0 {
            world.say_as(guest, &Says::new(Kind::Decline, mac).wants(address));
            assert_ne!(world.join(guest, mac, b""), Some(address));
        }
        world.server.guest_gone(guest);
    }
    // One that declines all it gets loses only what it declined before.
    let mac = MacAddr([2, 0, 0, 0, 8, 200]);
    for _ in 0..3 {
        let address = world.join(GuestKey(200), mac, b"").unwrap();
        world.say_as(GuestKey(200), &Says::new(Kind::Decline, mac).wants(address));
    }
    assert!(world.join(GuestKey(201), OTHER, b"").is_some());
}

#[test]
fn offers_are_kept_for_a_while() {
    let mut world = World::with(|plan| plan.subnet = "10.5.16.0/29".parse().ok());
    let mac = |n: u8| MacAddr([2, 0, 0, 0, 9, n]);
    let one = world.say(&Says::new(Kind::Discover, mac(1))).unwrap().yours;
    let two = world.say(&Says::new(Kind::Discover, mac(2))).unwrap().yours;
    assert_ne!(one, two);
    assert_eq!(world.say(&Says::new(Kind::Discover, mac(3))), None, "all are offered");
    assert_eq!(world.say(&Says::new(Kind::Request, mac(3)).wants(one)).unwrap().kind, 6);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.server.next_deadline(), None);
    assert!(world.say(&Says::new(Kind::Discover, mac(3))).is_some());
    assert_eq!(world.events(), [""; 0]);
    let expected = [(R::DhcpOffer, 3), (R::DhcpNak, 1), (R::DhcpExhausted, 1)];
    assert_eq!(world.counted(), expected);
}

#[test]
fn leases_survive_a_restart() {
    let mut world = World::new();
    let named = Says::new(Kind::Request, ONE).with(option::HOST_NAME, b"my\x1b[1m box");
    world.say(&named.with(option::CLIENT_ID, b"\xffid").wants([10, 5, 24, 5].into()));
    world.pass(Duration::from_secs(3600));
    world.say(&Says::new(Kind::Request, OTHER).wants([10, 5, 24, 6].into()));
    world.pass(Duration::from_secs(100));
    let shown = world.server.leases(world.now);
    assert_eq!((shown.len(), shown[0].remaining), (1, Duration::from_secs(3510)));
    let saved = world.server.saved_leases(world.now, 1_000_000);
    let expected = [
        SavedLease {
            address: [10, 5, 24, 5].into(),
            mac: ONE.0,
            client_id: b"\xffid".to_vec(),
            host_name: Some("my1mbox".to_owned()),
            until: 1_000_000 - 90,
        },
        SavedLease {
            address: [10, 5, 24, 6].into(),
            mac: OTHER.0,
            client_id: Vec::new(),
            host_name: None,
            until: 1_000_000 + 3510,
        },
    ];
    assert_eq!(saved, expected);

    let mut later = World::new();
    later.now = Instant::EPOCH + Duration::from_secs(5);
    let mut loaded = saved.clone();
    loaded.push(SavedLease { address: [192, 0, 2, 1].into(), ..saved[1].clone() });
    loaded.push(SavedLease { mac: [1; 6], address: [10, 5, 24, 7].into(), ..saved[1].clone() });
    later.server.load_leases(later.now, 1_000_010, loaded);
    let shown = later.server.leases(later.now);
    assert_eq!(shown.len(), 1);
    assert_eq!((shown[0].mac, shown[0].guest), (OTHER, None));
    assert_eq!(shown[0].remaining, Duration::from_secs(3500));
    // Both get what they had.
    assert_eq!(later.join(GuestKey(1), ONE, b"\xffid"), Some([10, 5, 24, 5].into()));
    assert_eq!(later.join(GuestKey(2), OTHER, b""), Some([10, 5, 24, 6].into()));
}

#[test]
fn another_plan_other_addresses() {
    let mut world = World::new();
    let address = world.join(GuestKey(1), ONE, b"").unwrap();
    world.events();
    let mut other = plan();
    other.mtu = 1400;
    world.server.apply(&other, &mut world.out);
    assert_eq!(world.events(), [""; 0]);
    assert_eq!(world.server.leases(world.now).len(), 1);
    other.subnet = "10.7.0.0/20".parse().ok();
    world.server.apply(&other, &mut world.out);
    assert_eq!(world.events(), [format!("unbind {address}"), "changed".to_owned()]);
    assert_eq!(world.server.leases(world.now), []);
    other.dhcp = false;
    world.server.apply(&other, &mut world.out);
    assert!(!world.server.listens((Ipv4Addr::BROADCAST, 67).into()));
}
