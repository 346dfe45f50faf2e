//! Whom an address belongs to where others are outside (checks 14, 15, 21, 34, 41, 44 and 56): no
//! guest takes what a station there has, whether that has spoken before, speaks when it is asked, or
//! speaks later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::{BindingSource, Lifetime, Owner};
use engine::{
    BindingEnd, Event, FirstCome, GuardMode, NetworkSpec, PortSpec, Rate, Reason, SourceMode,
    Verdict,
};
use testkit::frames::Ip;
use testkit::{TestNetwork, mac};
use wire::arp::operation::{REPLY, REQUEST};
use wire::build::{Ipv4, Ipv6};
use wire::dhcp4::message;
use wire::ndp::{flag, kind, multicast_mac, solicited_node};
use wire::parse::Arp;
use wire::{L3, MacAddr, Transport, parse};

use crate::world::{Guest, refused, uplink, wide};

const THIEF: Guest = Guest { port: "thief", number: 20, tags: Vec::new() };
const VICTIM: Guest = Guest { port: "victim", number: 21, tags: Vec::new() };
/// The router of the segment, which the network knows nothing of.
const GATEWAY: Guest = Guest { port: "uplink", number: 200, tags: Vec::new() };

/// The time that the outside is waited for.
const ANSWER: Duration = Duration::from_millis(900);

/// A guest on a segment whose addresses others give: its Ethernet address is its own.
fn bridged(number: u32) -> PortSpec {
    let mut spec = PortSpec {
        macs: vec![mac(number)],
        source: SourceMode::Static,
        ..crate::world::learning()
    };
    spec.guard.first_come = FirstCome { v4: 4, v6: 8 };
    spec
}

fn segment() -> TestNetwork {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("thief", bridged(THIEF.number));
    net.plug("victim", bridged(VICTIM.number));
    net.plug("uplink", uplink());
    net
}

fn quiet(net: &mut TestNetwork) {
    while net.engine.poll_event().is_some() {}
    for port in ["thief", "victim", "uplink"] {
        net.receive(port);
    }
    net.forget_moved();
}

fn address(version: Ip, number: u32) -> IpAddr {
    match version {
        Ip::V4 => Ipv4Addr::from(0xc0a8_0100 | number).into(),
        Ip::V6 => Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(number)).into(),
    }
}

/// The station says to all that the address is its own.
fn announce(who: &Guest, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => {
            let arp = Arp {
                operation: REQUEST,
                sender_mac: who.mac(),
                sender_ip: ip,
                target_mac: MacAddr::ZERO,
                target_ip: ip,
            };
            who.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        IpAddr::V6(ip) => {
            let all = "ff02::1".parse().expect("an address");
            let header = Ipv6 { source: ip, destination: all, hop_limit: 255, ..Ipv6::default() };
            who.frame(multicast_mac(all), |b| {
                let flags = flag::OVERRIDE;
                b.ipv6(&header).neighbour(kind::NEIGHBOUR_ADVERTISEMENT, flags, ip, who.mac())
            })
        }
    }
}

/// It asks who has an address.
fn ask(who: &Guest, source: IpAddr, target: IpAddr) -> Vec<u8> {
    match (source, target) {
        (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
            let arp = Arp {
                operation: REQUEST,
                sender_mac: who.mac(),
                sender_ip,
                target_mac: MacAddr::ZERO,
                target_ip,
            };
            who.frame(MacAddr::BROADCAST, |b| b.arp(&arp))
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let group = solicited_node(target);
            let header = Ipv6 { source, destination: group, hop_limit: 255, ..Ipv6::default() };
            who.frame(multicast_mac(group), |b| {
                let b = b.ipv6(&header).icmpv6(kind::NEIGHBOUR_SOLICITATION, 0).payload(&[0; 4]);
                let b = b.payload(&target.octets());
                if source.is_unspecified() {
                    return b;
                }
                b.payload(&[1, 1]).payload(&who.mac().0)
            })
        }
        _ => panic!("two versions"),
    }
}

fn nobody(version: Ip) -> IpAddr {
    match version {
        Ip::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Ip::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// It answers a question of a guest.
fn answer(who: &Guest, address: IpAddr, to: &Guest) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => {
            let arp = Arp {
                operation: REPLY,
                sender_mac: who.mac(),
                sender_ip: ip,
                target_mac: to.mac(),
                target_ip: Ipv4Addr::UNSPECIFIED,
            };
            who.frame(to.mac(), |b| b.arp(&arp))
        }
        IpAddr::V6(_) => announce(who, address),
    }
}

/// A datagram from an address to a station.
fn datagram(who: &Guest, source: IpAddr, to: &Guest) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => {
            let IpAddr::V4(destination) = address(Ip::V4, 99) else { panic!("an address") };
            let header = Ipv4 { source, destination, ..Ipv4::default() };
            who.frame(to.mac(), |b| b.ipv4(&header).udp(1, 2).payload(&[7; 20]))
        }
        IpAddr::V6(source) => {
            let IpAddr::V6(destination) = address(Ip::V6, 99) else { panic!("an address") };
            let header = Ipv6 { source, destination, ..Ipv6::default() };
            who.frame(to.mac(), |b| b.ipv6(&header).udp(1, 2).payload(&[7; 20]))
        }
    }
}

fn cast(frame: &[u8]) -> &'static str {
    match (frame[0] & 1, frame[0]) {
        (1, 0xff) => "rx_broadcast",
        (1, _) => "rx_multicast",
        _ => "rx_unicast",
    }
}

/// The outside is asked, once, as the guest would ask, and the frame goes nowhere.
#[track_caller]
fn asked(net: &mut TestNetwork, who: &Guest, frame: &[u8], address: IpAddr) {
    quiet(net);
    assert_eq!(net.send(who.port, frame), Verdict::Drop(Reason::AddressAsked));
    net.moved(&[
        &format!(
            "{} rx_frames rx_bytes+{} {} drop.address-asked",
            who.port,
            frame.len(),
            cast(frame)
        ),
        "uplink tx_own tx_offered tx_queued",
    ]);
    let probe = net.receive_plain("uplink");
    assert_eq!(probe.len(), 1);
    let parsed = parse(&probe[0]).expect("a frame");
    assert_eq!(parsed.src, who.mac());
    match (parsed.l3.expect("a packet"), address) {
        (L3::Arp(arp), IpAddr::V4(ip)) => {
            let probe = Arp {
                operation: REQUEST,
                sender_mac: who.mac(),
                sender_ip: Ipv4Addr::UNSPECIFIED,
                target_mac: MacAddr::ZERO,
                target_ip: ip,
            };
            assert_eq!((arp, parsed.dst), (probe, MacAddr::BROADCAST));
        }
        (L3::Ipv6(header), IpAddr::V6(ip)) => {
            let group = solicited_node(ip);
            assert_eq!((header.source, header.destination), (Ipv6Addr::UNSPECIFIED, group));
            let l4 = parsed.l4.expect("a message");
            assert!(matches!(l4.transport, Transport::Icmpv6 { kind: 135, code: 0 }));
        }
        (other, _) => panic!("{other:?}"),
    }
    quiet(net);
}

#[track_caller]
fn passed(net: &mut TestNetwork, port: &str, frame: &[u8]) {
    match net.send(port, frame) {
        Verdict::Forward(_) | Verdict::Flood { .. } => {}
        other => panic!("from {port}: {other:?}: {frame:02x?}"),
    }
    quiet(net);
}

/// What the guest is refused for when it says, and when it sends, in another's name.
fn reasons(version: Ip) -> [Reason; 2] {
    match version {
        Ip::V4 => [Reason::ArpGratuitous, Reason::Ipv4Source],
        Ip::V6 => [Reason::Ipv6Source, Reason::Ipv6Source],
    }
}

#[track_caller]
fn is_not_the_thiefs(net: &mut TestNetwork, version: Ip, address: IpAddr) {
    let [says, sends] = reasons(version);
    refused(net, "thief", &announce(&THIEF, address), says);
    refused(net, "thief", &datagram(&THIEF, address, &VICTIM), sends);
    assert_eq!(net.engine.owner_of(address), None);
    // Questions go where the owner is, and nobody answers in its place.
    quiet(net);
    let own = match version {
        Ip::V4 => address_of_victim(version),
        Ip::V6 => VICTIM.link_local().into(),
    };
    let question = ask(&VICTIM, own, address);
    let verdict = net.send("victim", &question);
    assert!(matches!(verdict, Verdict::Flood { .. }), "{verdict:?}");
    assert_eq!(net.receive("uplink").len(), 1);
    quiet(net);
}

fn address_of_victim(version: Ip) -> IpAddr {
    address(version, VICTIM.number)
}

/// The victim has an address of its own, as a lease.
fn settle(net: &mut TestNetwork, version: Ip) {
    let victim = net.id("victim");
    let forever = Lifetime::Forever;
    let its = address_of_victim(version);
    net.engine.bind(victim, its, forever, BindingSource::Lease).expect("a lease");
}

#[test]
fn the_router_outside_keeps_its_address() {
    for version in Ip::BOTH {
        let address = address(version, 1);
        // It was heard before.
        let mut net = segment();
        settle(&mut net, version);
        passed(&mut net, "uplink", &announce(&GATEWAY, address));
        is_not_the_thiefs(&mut net, version, address);
        // It was silent until somebody else took its address.
        let mut net = segment();
        settle(&mut net, version);
        asked(&mut net, &THIEF, &announce(&THIEF, address), address);
        passed(&mut net, "uplink", &answer(&GATEWAY, address, &THIEF));
        is_not_the_thiefs(&mut net, version, address);
        net.wait(ANSWER);
        is_not_the_thiefs(&mut net, version, address);
        // So also for the first packet of another kind.
        let mut net = segment();
        settle(&mut net, version);
        asked(&mut net, &THIEF, &datagram(&THIEF, address, &VICTIM), address);
        passed(&mut net, "uplink", &answer(&GATEWAY, address, &THIEF));
        net.wait(ANSWER);
        is_not_the_thiefs(&mut net, version, address);
    }
}

#[test]
fn the_router_outside_gets_its_address_back() {
    for version in Ip::BOTH {
        let address = address(version, 1);
        let mut net = segment();
        settle(&mut net, version);
        asked(&mut net, &THIEF, &announce(&THIEF, address), address);
        net.wait(ANSWER);
        passed(&mut net, "thief", &announce(&THIEF, address));
        assert_eq!(net.engine.owner_of(address), Some(Owner::Port(net.id("thief"))));
        passed(&mut net, "thief", &datagram(&THIEF, address, &VICTIM));
        // It was off, and comes back: its own word counts more than a first use.
        assert!(matches!(net.send("uplink", &announce(&GATEWAY, address)), Verdict::Flood { .. }));
        let ended = Event::BindingEnded {
            port: net.id("thief"),
            address: address.into(),
            vlan: Some(1),
            why: BindingEnd::Outside,
        };
        assert!(std::iter::from_fn(|| net.engine.poll_event()).any(|event| event == ended));
        assert_eq!(net.receive("victim").len(), 1, "and everybody hears it");
        is_not_the_thiefs(&mut net, version, address);
        // For some minutes nobody even asks. Then the outside is asked again.
        net.wait(Duration::from_secs(599));
        is_not_the_thiefs(&mut net, version, address);
        net.wait(Duration::from_secs(2));
        asked(&mut net, &THIEF, &announce(&THIEF, address), address);
    }
}

#[test]
fn leases_and_configuration_hold_against_the_outside() {
    for version in Ip::BOTH {
        for source in [BindingSource::Lease, BindingSource::Configuration] {
            let mut net = segment();
            let victim = net.id("victim");
            let its = address_of_victim(version);
            net.engine.bind(victim, its, Lifetime::Forever, source).expect("it is free");
            for frame in [announce(&GATEWAY, its), datagram(&GATEWAY, its, &THIEF)] {
                refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
            }
            assert_eq!(net.engine.owner_of(its), Some(Owner::Port(victim)));
            passed(&mut net, "victim", &datagram(&VICTIM, its, &THIEF));
        }
    }
}

#[test]
fn nobody_shuts_out_an_address_that_is_not_of_this_link() {
    for (version, address) in Ip::BOTH.into_iter().zip(["8.8.8.8", "2001:4860:4860::8888"]) {
        let address: IpAddr = address.parse().expect("an address");
        let mut net = segment();
        settle(&mut net, version);
        asked(&mut net, &THIEF, &datagram(&THIEF, address, &VICTIM), address);
        net.wait(ANSWER);
        passed(&mut net, "thief", &datagram(&THIEF, address, &VICTIM));
        let owner = Some(Owner::Port(net.id("thief")));
        assert_eq!(net.engine.owner_of(address), owner);
        // What comes from there comes by a router, and says nothing about who is here.
        passed(&mut net, "uplink", &datagram(&GATEWAY, address, &VICTIM));
        assert_eq!(net.engine.owner_of(address), owner);
    }
    // Of this link for certain: who has it would have said so.
    let mut net = segment();
    let its: IpAddr = "fe80::77".parse().expect("an address");
    asked(&mut net, &VICTIM, &datagram(&VICTIM, its, &THIEF), its);
    net.wait(ANSWER);
    passed(&mut net, "victim", &datagram(&VICTIM, its, &THIEF));
    refused(&mut net, "uplink", &datagram(&GATEWAY, its, &THIEF), Reason::OutsideIdentity);
}

#[test]
fn who_asks_before_need_not_wait_again() {
    for version in Ip::BOTH {
        let its = address(version, 30);
        let mut net = segment();
        // Its own probe goes out, and ours is not needed.
        let probe = ask(&VICTIM, nobody(version), its);
        for _ in 0..2 {
            assert!(matches!(net.send("victim", &probe), Verdict::Flood { .. }));
            assert_eq!(net.receive_plain("uplink"), std::slice::from_ref(&probe));
            assert_eq!(net.engine.owner_of(its), None);
            quiet(&mut net);
        }
        // Who asks later has it later.
        refused(&mut net, "thief", &datagram(&THIEF, its, &VICTIM), reasons(version)[1]);
        net.wait(ANSWER);
        passed(&mut net, "victim", &announce(&VICTIM, its));
        assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("victim"))));
        refused(&mut net, "thief", &datagram(&THIEF, its, &VICTIM), reasons(version)[1]);
        // Who asks and does not come keeps nobody waiting for long.
        let unused = address(version, 32);
        assert!(matches!(
            net.send("thief", &ask(&THIEF, nobody(version), unused)),
            Verdict::Flood { .. }
        ));
        quiet(&mut net);
        let frame = datagram(&VICTIM, unused, &THIEF);
        refused(&mut net, "victim", &frame, reasons(version)[1]);
        net.wait(Duration::from_secs(10));
        asked(&mut net, &VICTIM, &frame, unused);
        net.wait(ANSWER);
        passed(&mut net, "victim", &frame);
        // A probe for an address that is known to be outside is answered for its owner.
        let other = address(version, 31);
        passed(&mut net, "uplink", &announce(&GATEWAY, other));
        let probe = ask(&VICTIM, nobody(version), other);
        assert_eq!(net.send("victim", &probe), Verdict::Answered);
        assert_eq!(net.receive("uplink").len(), 0);
        net.wait(ANSWER);
        refused(&mut net, "victim", &datagram(&VICTIM, other, &THIEF), reasons(version)[1]);
    }
}

#[test]
fn what_is_made_of_an_own_ethernet_address_needs_no_question() {
    let mut net = segment();
    let its = IpAddr::from(VICTIM.link_local());
    passed(&mut net, "victim", &datagram(&VICTIM, its, &THIEF));
    assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("victim"))));
    // Of another's it is not to be had at all, here or outside, whoever is there. A group has no such address.
    let other = Guest { number: 50, ..VICTIM }.link_local();
    let global = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(other) & u128::from(u64::MAX));
    for other in [IpAddr::from(other), global.into()] {
        for frame in [datagram(&VICTIM, other, &THIEF), ask(&VICTIM, nobody(Ip::V6), other)] {
            refused(&mut net, "victim", &frame, Reason::Ipv6Source);
        }
    }
    let group = IpAddr::from(Ipv6Addr::from(u128::from(other) ^ 1 << 56));
    asked(&mut net, &VICTIM, &datagram(&VICTIM, group, &THIEF), group);
    // Nor when it is in use outside.
    let mut net = segment();
    passed(&mut net, "uplink", &announce(&GATEWAY, its));
    refused(&mut net, "victim", &datagram(&VICTIM, its, &THIEF), Reason::Ipv6Source);
}

#[test]
fn a_station_that_moves_in_keeps_its_address() {
    for version in Ip::BOTH {
        let its = address(version, 30);
        let mut net = segment();
        net.unplug("victim");
        // It was outside, and comes with its Ethernet address.
        let before = Guest { port: "uplink", ..VICTIM };
        assert!(matches!(net.send("uplink", &announce(&before, its)), Verdict::Flood { .. }));
        net.plug("victim", bridged(VICTIM.number));
        refused(&mut net, "thief", &datagram(&THIEF, its, &VICTIM), reasons(version)[1]);
        let frame = datagram(&VICTIM, its, &THIEF);
        asked(&mut net, &VICTIM, &frame, its);
        net.wait(ANSWER);
        passed(&mut net, "victim", &frame);
        assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("victim"))));
    }
}

#[test]
fn without_an_outside_nobody_is_asked() {
    for version in Ip::BOTH {
        let mut net = segment();
        net.unplug("uplink");
        let its = address(version, 30);
        // To ask for an IPv4 address is not to have it.
        if version == Ip::V4 {
            let probe = ask(&VICTIM, nobody(version), its);
            assert!(matches!(net.send("victim", &probe), Verdict::Flood { .. }));
            assert_eq!(net.engine.owner_of(its), None);
        }
        let frame = datagram(&VICTIM, its, &THIEF);
        assert!(matches!(net.send("victim", &frame), Verdict::Forward(_)));
        assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("victim"))));
    }
}

#[test]
fn questions_are_few_however_many_addresses_a_guest_tries() {
    for (version, full) in
        Ip::BOTH.into_iter().zip([Reason::Ipv4SourceLimit, Reason::Ipv6SourceLimit])
    {
        let mut net = segment();
        let mut spec = bridged(THIEF.number);
        spec.guard.rates.unknown = Rate::new(1, 4);
        net.change("thief", spec);
        for number in 100..104 {
            let its = address(version, number);
            asked(&mut net, &THIEF, &datagram(&THIEF, its, &VICTIM), its);
        }
        for number in 104..120 {
            refused(&mut net, "thief", &datagram(&THIEF, address(version, number), &VICTIM), full);
        }
        // Another's are its own business.
        let its = address(version, 60);
        asked(&mut net, &VICTIM, &datagram(&VICTIM, its, &THIEF), its);
        // Who has as many as it may is not asked for more.
        let mut spec = bridged(THIEF.number);
        spec.guard.first_come = FirstCome { v4: 1, v6: 1 };
        spec.guard.rates.unknown = Rate::new(1, 4);
        net.change("thief", spec);
        net.wait(ANSWER);
        passed(&mut net, "thief", &datagram(&THIEF, address(version, 100), &VICTIM));
        refused(&mut net, "thief", &datagram(&THIEF, address(version, 101), &VICTIM), full);
        refused(&mut net, "thief", &datagram(&THIEF, address(version, 110), &VICTIM), full);
        // That costs it none of its questions for whom it wants to speak to.
        net.wait(ANSWER);
        for number in 101..111 {
            refused(&mut net, "thief", &datagram(&THIEF, address(version, number), &VICTIM), full);
        }
        passed(&mut net, "thief", &ask(&THIEF, address(version, 100), address(version, 240)));
    }
}

#[test]
fn more_questions_than_wait_in_one_batch_are_asked_later() {
    let mut net = segment();
    let frames: Vec<Vec<u8>> =
        (100..112).map(|n| datagram(&THIEF, address(Ip::V6, n), &VICTIM)).collect();
    let mut spec = bridged(THIEF.number);
    spec.guard.rates = wide();
    spec.guard.first_come.v6 = 32;
    net.change("thief", spec);
    quiet(&mut net);
    let verdicts = net.send_batch("thief", &frames);
    assert_eq!(verdicts, vec![Verdict::Drop(Reason::AddressAsked); 12]);
    assert_eq!(net.receive("uplink").len(), 8);
    // The others have not been asked for, so that waiting does not make them the port's.
    net.wait(ANSWER);
    net.forget_moved();
    for (nth, frame) in frames.iter().enumerate() {
        let verdict = net.send("thief", frame);
        match nth {
            0..8 => assert!(matches!(verdict, Verdict::Forward(_)), "{nth}: {verdict:?}"),
            _ => assert_eq!(verdict, Verdict::Drop(Reason::AddressAsked), "{nth}"),
        }
    }
    assert_eq!(net.receive("uplink").len(), 4);
}

#[test]
fn what_is_used_for_long_is_asked_for_again() {
    for version in Ip::BOTH {
        let its = address(version, 30);
        let frame = datagram(&VICTIM, its, &THIEF);
        let mut net = segment();
        asked(&mut net, &VICTIM, &frame, its);
        net.wait(ANSWER);
        passed(&mut net, "victim", &frame);
        net.wait(Duration::from_secs(601));
        quiet(&mut net);
        assert!(matches!(net.send("victim", &frame), Verdict::Forward(_)));
        assert_eq!(net.receive("uplink").len(), 1);
        // Whoever moved there meanwhile says so.
        passed(&mut net, "uplink", &answer(&GATEWAY, its, &VICTIM));
        refused(&mut net, "victim", &frame, reasons(version)[1]);
    }
}

/// A client asks for an address.
fn request(client: &Guest) -> Vec<u8> {
    let bytes = crate::dhcp::message(1, client.mac(), message::REQUEST, &[]);
    let header = crate::dhcp::from_nobody();
    client.frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(68, 67).payload(&bytes))
}

/// What a server outside acknowledges to a client.
fn acknowledge(client: &Guest, given: Ipv4Addr) -> Vec<u8> {
    let mut bytes = crate::dhcp::message(2, client.mac(), message::ACK, &[51, 4, 0, 0, 0, 60]);
    bytes[16..20].copy_from_slice(&given.octets());
    let IpAddr::V4(source) = address(Ip::V4, 1) else { panic!("an address") };
    let header = Ipv4 { source, destination: Ipv4Addr::BROADCAST, ..Ipv4::default() };
    GATEWAY.frame(client.mac(), |b| b.ipv4(&header).udp(67, 68).payload(&bytes))
}

#[test]
fn what_a_server_outside_gives_is_the_clients() {
    let IpAddr::V4(its) = address(Ip::V4, 57) else { panic!("an address") };
    let mut net = segment();
    // Somebody sits on it.
    asked(&mut net, &THIEF, &datagram(&THIEF, its.into(), &VICTIM), its.into());
    net.wait(ANSWER);
    passed(&mut net, "thief", &datagram(&THIEF, its.into(), &VICTIM));
    passed(&mut net, "victim", &request(&VICTIM));
    passed(&mut net, "uplink", &acknowledge(&VICTIM, its));
    assert_eq!(net.engine.owner_of(its), Some(Owner::Port(net.id("victim"))));
    refused(&mut net, "thief", &datagram(&THIEF, its.into(), &VICTIM), Reason::Ipv4Source);
    // No question, no wait; and the outside does not take it.
    passed(&mut net, "victim", &datagram(&VICTIM, its.into(), &THIEF));
    refused(&mut net, "uplink", &announce(&GATEWAY, its.into()), Reason::OutsideIdentity);
    // What the network gave itself is not the server's to give.
    let thief = net.id("thief");
    let other = Ipv4Addr::new(192, 168, 1, 58);
    let source = BindingSource::Configuration;
    net.engine.bind(thief, other, Lifetime::Forever, source).expect("it is free");
    passed(&mut net, "victim", &request(&VICTIM));
    passed(&mut net, "uplink", &acknowledge(&VICTIM, other));
    assert_eq!(net.engine.owner_of(other), Some(Owner::Port(thief)));
}

/// Who broadcasts to an address has not said that it is his own.
#[test]
fn a_server_is_not_heard_by_a_broadcast_to_its_address() {
    let mut net = segment();
    let ip = |number| match address(Ip::V4, number) {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => unreachable!("an IPv4 address"),
    };
    let (server, given) = (ip(203), ip(57));
    passed(&mut net, "victim", &request(&VICTIM));
    let mut bytes = crate::dhcp::message(2, VICTIM.mac(), message::ACK, &[51, 4, 0, 0, 0, 60]);
    bytes[16..20].copy_from_slice(&given.octets());
    let header = Ipv4 { source: server, destination: given, ..Ipv4::default() };
    let frame = GATEWAY.frame(VICTIM.mac(), |b| b.ipv4(&header).udp(67, 68).payload(&bytes));
    passed(&mut net, "uplink", &frame);
    let header = Ipv4 { source: ip(1), destination: server, ..Ipv4::default() };
    let shout = GATEWAY.frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(137, 137));
    passed(&mut net, "uplink", &shout);
    assert_eq!(net.engine.owner_of(given), None);
    passed(&mut net, "uplink", &announce(&GATEWAY, server.into()));
    assert_eq!(net.engine.owner_of(given), Some(Owner::Port(net.id("victim"))));
}

#[test]
fn the_broadcast_address_is_nobodys() {
    // Nobody told the network of its subnet.
    let mut net = segment();
    settle(&mut net, Ip::V4);
    let shout = |who: &Guest, source: IpAddr, destination: Ipv4Addr| {
        let IpAddr::V4(source) = source else { panic!("an address") };
        let header = Ipv4 { source, destination, ..Ipv4::default() };
        who.frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(137, 137).payload(&[7; 20]))
    };
    let victims = address_of_victim(Ip::V4);
    let usual = Ipv4Addr::new(192, 168, 1, 255);
    refused(&mut net, "thief", &announce(&THIEF, usual.into()), Reason::ArpGratuitous);
    refused(&mut net, "thief", &datagram(&THIEF, usual.into(), &VICTIM), Reason::Ipv4Source);
    passed(&mut net, "victim", &shout(&VICTIM, victims, usual));
    // Of a smaller subnet, once anybody outside uses it.
    let small = Ipv4Addr::new(192, 168, 1, 127);
    asked(&mut net, &THIEF, &announce(&THIEF, small.into()), small.into());
    net.wait(ANSWER);
    passed(&mut net, "thief", &announce(&THIEF, small.into()));
    passed(&mut net, "uplink", &shout(&GATEWAY, address(Ip::V4, 1), small));
    assert_eq!(net.engine.owner_of(small), None);
    refused(&mut net, "thief", &announce(&THIEF, small.into()), Reason::ArpGratuitous);
    passed(&mut net, "victim", &shout(&VICTIM, victims, small));
    refused(
        &mut net,
        "victim",
        &shout(&VICTIM, victims, Ipv4Addr::new(192, 168, 1, 126)),
        Reason::CastMismatch,
    );
    // What a station outside has is no broadcast address, whoever sends there like that.
    let station = Ipv4Addr::new(192, 168, 1, 63);
    passed(&mut net, "victim", &shout(&VICTIM, victims, station));
    passed(&mut net, "uplink", &announce(&GATEWAY, station.into()));
    refused(&mut net, "victim", &shout(&VICTIM, victims, station), Reason::CastMismatch);
    passed(&mut net, "uplink", &shout(&GATEWAY, address(Ip::V4, 1), station));
    refused(&mut net, "victim", &shout(&VICTIM, victims, station), Reason::CastMismatch);
    // A packet for one station, in a broadcast frame, is none.
    let one = Ipv4Addr::new(192, 168, 1, 40);
    passed(&mut net, "uplink", &shout(&GATEWAY, address(Ip::V4, 1), one));
    asked(&mut net, &VICTIM, &announce(&VICTIM, one.into()), one.into());
    // Where the subnet is known its broadcast address is too, and no other.
    let mut spec = NetworkSpec::default();
    spec.guard.subnet = Some("192.168.0.0/16".parse().expect("a subnet"));
    net.apply(spec);
    asked(&mut net, &THIEF, &announce(&THIEF, usual.into()), usual.into());
    assert_eq!(bridged(1).guard.mode, GuardMode::Learn);
}
