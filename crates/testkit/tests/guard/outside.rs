//! Checks 11, 17, 38 and 56: the router and the outside.

use engine::{NetworkGuard, NetworkSpec, Reason, Verdict};
use testkit::mac;
use wire::MacAddr;
use wire::arp::operation::{REPLY, REQUEST};
use wire::build::Ipv6;
use wire::ndp::{multicast_mac, solicited_node};
use wire::parse::Arp;

use crate::world::{
    Guest, PEER, ROUTER, a, answered, drain, learning, network, passed, reaches, refused, taken,
    v4, v6, world, world_of,
};

fn outside() -> Guest {
    Guest { port: "uplink", number: 200, tags: Vec::new() }
}

#[test]
fn nobody_outside_is_a_guest() {
    let host = outside();
    let mut net = world();
    passed(&mut net, "uplink", &host.udp4(&host.ip4(), 1, 2));
    passed(&mut net, "uplink", &host.udp6(&host.ip6(), 1, 2));
    // Its Ethernet address, whatever is behind it.
    let frame = host.frame_from(mac(2), mac(PEER), |b| b.ipv4(&host.ip4()).udp(1, 2));
    refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
    for number in [2, PEER, ROUTER] {
        let header = wire::build::Ipv4 { source: v4(number), ..host.ip4() };
        refused(&mut net, "uplink", &host.udp4(&header, 1, 2), Reason::OutsideIdentity);
        let header = Ipv6 { source: v6(number), ..host.ip6() };
        refused(&mut net, "uplink", &host.udp6(&header, 1, 2), Reason::OutsideIdentity);
        let arp = Arp {
            operation: REPLY,
            sender_mac: host.mac(),
            sender_ip: v4(number),
            target_mac: mac(PEER),
            target_ip: v4(PEER),
        };
        let frame = host.frame(mac(PEER), |b| b.arp(&arp));
        refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
        let header = Ipv6 { hop_limit: 255, ..host.ip6() };
        let frame =
            host.frame(mac(PEER), |b| b.ipv6(&header).neighbour(136, 0x60, v6(number), host.mac()));
        refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
    }
    // Nor one that is away.
    net.engine.plan_address(v4(70).into(), mac(70)).expect("a plan");
    let header = wire::build::Ipv4 { source: v4(70), ..host.ip4() };
    refused(&mut net, "uplink", &host.udp4(&header, 1, 2), Reason::OutsideIdentity);
}

/// A guest could read more of such a frame than the network does, and find somebody inside in it.
#[test]
fn what_cannot_be_read_does_not_come_in() {
    use wire::ipv6::extension::{DESTINATION, FRAGMENT};
    let host = outside();
    let mut net = world();
    for (operation, to) in [(REQUEST, MacAddr::BROADCAST), (REPLY, mac(PEER))] {
        let arp = Arp {
            operation,
            sender_mac: host.mac(),
            sender_ip: v4(2),
            target_mac: mac(PEER),
            target_ip: v4(PEER),
        };
        let frame = host.frame(to, |b| b.arp(&arp));
        refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
        // Linux takes hardware type 6 for Ethernet's, too.
        let mut other = frame.clone();
        other[15] = 6;
        refused(&mut net, "uplink", &other, Reason::ArpFormat);
        other[12..14].copy_from_slice(&[0x80, 0x35]);
        refused(&mut net, "uplink", &other, Reason::ArpFormat);
        refused(&mut net, "uplink", &frame[..41], Reason::ArpFormat);
        let mut other = frame[..12].to_vec();
        other.extend([0, 36, 0xaa, 0xaa, 3, 0, 0, 0]);
        other.extend(&frame[12..]);
        refused(&mut net, "uplink", &other, Reason::Llc);
    }
    // Other frames of 802.3 are none of the guard's business.
    let bridge = host.frame(mac(PEER), |b| b.ethertype(38).payload(&[0x42, 0x42, 3, 0, 0, 0, 0]));
    passed(&mut net, "uplink", &bridge);
    let mut frame = host.udp4(&host.ip4(), 1, 2);
    frame[14] = 0x44;
    refused(&mut net, "uplink", &frame, Reason::Ipv4Header);
    refused(&mut net, "uplink", &host.udp4(&host.ip4(), 1, 2)[..33], Reason::Ipv4Header);
    // Hidden behind too many headers, and behind too long a one.
    let insider = Ipv6 { source: v6(2), hop_limit: 255, ..host.ip6() };
    let hide = |count: usize, len: usize| {
        host.frame(mac(PEER), |b| {
            let body = [&[(len / 8 - 1) as u8, 1, (len - 4) as u8], &vec![0; len - 4][..]].concat();
            let mut b = b.ipv6(&insider);
            for _ in 0..count {
                b = b.extension(DESTINATION, &body);
            }
            b.neighbour(136, 0x60, v6(2), host.mac())
        })
    };
    refused(&mut net, "uplink", &hide(8, 8), Reason::OutsideIdentity);
    refused(&mut net, "uplink", &hide(9, 8), Reason::Ipv6Chain);
    refused(&mut net, "uplink", &hide(1, 264), Reason::Ipv6Chain);
    let mut frame = hide(1, 8);
    frame[14] = 0x45;
    refused(&mut net, "uplink", &frame, Reason::Ipv6Header);
    // In pieces: a transport header that goes on in the next.
    for (protocol, len) in [(6, 8), (17, 0), (1, 0)] {
        let header = wire::build::Ipv4 { fragment: 0x2000, ..host.ip4() };
        let piece = |len: usize| {
            host.frame(mac(PEER), |b| b.ipv4(&header).protocol(protocol).payload(&vec![0x50; len]))
        };
        refused(&mut net, "uplink", &piece(len), Reason::L4Header);
        passed(&mut net, "uplink", &piece(48));
    }
    // In IPv6, headers that go on in the next, and what may not be in pieces at all.
    let piece = |more: u8, message: Option<u8>| {
        host.frame(mac(PEER), |b| {
            let b = b.ipv6(&Ipv6 { hop_limit: 255, ..host.ip6() });
            let b = b.extension(FRAGMENT, &[0, 0, more, 0, 0, 0, 7]);
            match message {
                Some(kind) => b.icmpv6(kind, 0).payload(&[0; 20]),
                None => b.protocol(58).payload(&[136, 0]),
            }
        })
    };
    refused(&mut net, "uplink", &piece(1, None), Reason::Ipv6Hidden);
    for kind in 133..=137 {
        refused(&mut net, "uplink", &piece(1, Some(kind)), Reason::NdFragment);
        refused(&mut net, "uplink", &piece(0, Some(kind)), Reason::NdFragment);
    }
    passed(&mut net, "uplink", &piece(1, Some(128)));
    let later = host.frame(mac(PEER), |b| {
        let b = b.ipv6(&host.ip6()).extension(FRAGMENT, &[0, 5, 0xa8, 0, 0, 0, 7]);
        b.protocol(58).payload(&[7; 20])
    });
    passed(&mut net, "uplink", &later);
}

/// Whoever is told such an Ethernet address sends to it from then on.
#[test]
fn nobody_outside_names_an_ethernet_address_of_the_inside() {
    let host = outside();
    let mut net = world();
    net.plug("client", learning());
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    net.send("client", &client.udp4(&client.ip4(), 1, 2));
    net.engine.reserve_mac(mac(70));
    drain(&mut net);
    // Bound, learned, kept; and nobody's, or the sender's own.
    for (number, inside) in [(PEER, true), (20, true), (70, true), (80, false), (200, false)] {
        let mut check = |frame: &[u8]| {
            if inside {
                refused(&mut net, "uplink", frame, Reason::OutsideIdentity);
            } else {
                passed(&mut net, "uplink", frame);
            }
        };
        let arp = Arp {
            operation: REPLY,
            sender_mac: mac(number),
            sender_ip: host.v4(),
            target_mac: mac(PEER),
            target_ip: v4(PEER),
        };
        check(&host.frame(mac(PEER), |b| b.arp(&arp)));
        let header = Ipv6 { hop_limit: 255, ..host.ip6() };
        for kind in [135, 136] {
            check(&host.frame(mac(PEER), |b| {
                b.ipv6(&header).neighbour(kind, 0x60, host.v6(), mac(number))
            }));
            // The second of two, and one that is too long for an Ethernet address.
            let more = [&[2, 1], &mac(number).0[..]].concat();
            let long = [&[2, 2], &mac(number).0[..], &[0; 8]].concat();
            for option in [more, long] {
                check(&host.frame(mac(PEER), |b| {
                    b.ipv6(&header).neighbour(kind, 0x60, host.v6(), host.mac()).payload(&option)
                }));
            }
        }
        let name = [&[1, 1], &mac(number).0[..]].concat();
        check(&advertisement(&host, 0, &[&name]));
        let header = Ipv6 { source: host.link_local(), ..header };
        check(
            &host.frame(mac(PEER), |b| {
                b.ipv6(&header).icmpv6(133, 0).payload(&[0; 4]).payload(&name)
            }),
        );
        check(
            &host.frame(mac(PEER), |b| {
                b.ipv6(&header).icmpv6(137, 0).payload(&[0; 36]).payload(&name)
            }),
        );
    }
}

/// What a guest would answer with is refused before it gets there: others must not make it fail its
/// checks.
#[test]
fn nobody_outside_makes_a_guest_fail() {
    let host = outside();
    let mut net = world();
    for options in [&[7, 7, 4, 0, 0, 0, 0, 0][..], &[131, 7, 4, 0, 0, 0, 0, 0], &[68, 4, 5, 0]] {
        let header = wire::build::Ipv4 { options, ..host.ip4() };
        refused(&mut net, "uplink", &host.udp4(&header, 1, 2), Reason::Ipv4Option);
    }
    for options in [&[148, 4, 0, 0][..], &[1, 1, 1, 0]] {
        passed(&mut net, "uplink", &host.udp4(&wire::build::Ipv4 { options, ..host.ip4() }, 1, 2));
    }
    for source in
        ["127.0.0.1", "0.0.0.1", "224.0.0.1", "240.0.0.1", "169.254.169.254", "100.100.100.200"]
    {
        let source = source.parse().expect("an address");
        let header = wire::build::Ipv4 { source, ..host.ip4() };
        refused(&mut net, "uplink", &host.udp4(&header, 1, 2), Reason::Ipv4SourceKind);
    }
    for source in ["::1", "ff02::1", "::ffff:10.0.0.9", "fd00:ec2::254", "fd20:ce::254"] {
        let source = source.parse().expect("an address");
        let header = Ipv6 { source, ..host.ip6() };
        refused(&mut net, "uplink", &host.udp6(&header, 1, 2), Reason::Ipv6SourceKind);
    }
    for source in ["2002:a00::1", "2001::1"] {
        let source = source.parse().expect("an address");
        passed(&mut net, "uplink", &host.udp6(&Ipv6 { source, ..host.ip6() }, 1, 2));
    }
    for reason in
        [Reason::AdvertisementRate, Reason::IgmpRate, Reason::MldRate, Reason::Ipv4LinkLocal]
    {
        assert!(!reason.is_violation(), "{reason}: others can bring a guest to it");
    }
}

/// A port remembers a few sources, to be fast. That is no bound on who may be outside.
#[test]
fn any_number_of_hosts_is_outside() {
    let mut net = world();
    for _ in 0..2 {
        for number in 1000..1300 {
            // All behind one router.
            let host = Guest { number: 200, ..outside() };
            let header = wire::build::Ipv4 { source: v4(0x10_0000 + number), ..host.ip4() };
            passed(&mut net, "uplink", &host.udp4(&header, 1, 2));
            let header = Ipv6 { source: v6(0x10_0000 + number), ..host.ip6() };
            passed(&mut net, "uplink", &host.udp6(&header, 1, 2));
        }
    }
}

#[test]
fn questions_of_the_outside_and_of_the_router_are_answered_here() {
    for sender in [outside(), Guest { port: "router", number: ROUTER, tags: Vec::new() }] {
        let mut net = world();
        let arp = Arp {
            operation: REQUEST,
            sender_mac: sender.mac(),
            sender_ip: sender.v4(),
            target_mac: MacAddr::ZERO,
            target_ip: v4(PEER),
        };
        answered(&mut net, sender.port, &sender.frame(MacAddr::BROADCAST, |b| b.arp(&arp)));
        let group = solicited_node(v6(PEER));
        let header = Ipv6 { destination: group, hop_limit: 255, ..sender.ip6() };
        let frame = sender.frame(multicast_mac(group), |b| {
            b.ipv6(&header).neighbour(135, 0, v6(PEER), sender.mac())
        });
        answered(&mut net, sender.port, &frame);
        // Who is not known is asked for where he may be, not at guests whose addresses are.
        net.plug("client", learning());
        drain(&mut net);
        let arp = Arp { target_ip: v4(50), ..arp };
        let other = if sender.port == "router" { "uplink" } else { "router" };
        reaches(
            &mut net,
            sender.port,
            &sender.frame(MacAddr::BROADCAST, |b| b.arp(&arp)),
            &[other],
        );
        assert_eq!(net.receive("client").len(), 1);
    }
}

#[test]
fn prefixes_of_outside_routers_are_for_guests_and_may_not_contradict() {
    let advertise = |prefix: &str| {
        let router = outside();
        let to = "ff02::1".parse().expect("an address");
        let header = Ipv6 {
            source: router.link_local(),
            destination: to,
            hop_limit: 255,
            ..Ipv6::default()
        };
        let prefix: std::net::Ipv6Addr = prefix.parse().expect("a prefix");
        router.frame(multicast_mac(to), |b| {
            b.ipv6(&header)
                .icmpv6(134, 0)
                .payload(&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
                .payload(&[3, 4, 64, 0xc0, 0, 0, 0, 60, 0, 0, 0, 60, 0, 0, 0, 0])
                .payload(&prefix.octets())
        })
    };
    let mut net = world();
    passed(&mut net, "uplink", &advertise("fd00::"));
    refused(&mut net, "uplink", &advertise("2001:db8::"), Reason::RouterAdvertisement);
    // A network without a prefix of its own learns those of the outside.
    let guard = NetworkGuard { announced: Vec::new(), ..network().guard };
    let mut net = world_of(NetworkSpec { guard, ..network() });
    let source = "2001:db8::2:2".parse().expect("an address");
    let frame = a().udp6(&Ipv6 { source, ..a().ip6() }, 1, 2);
    refused(&mut net, "a", &frame, Reason::Ipv6Source);
    passed(&mut net, "uplink", &advertise("2001:db8::"));
    taken(&mut net, "a", &frame);
}

/// A router advertisement: lifetime of the router, then options.
pub(crate) fn advertisement(sender: &Guest, lifetime: u16, options: &[&[u8]]) -> Vec<u8> {
    let to = "ff02::1".parse().expect("an address");
    let header =
        Ipv6 { source: sender.link_local(), destination: to, hop_limit: 255, ..Ipv6::default() };
    let [hi, lo] = lifetime.to_be_bytes();
    sender.frame(multicast_mac(to), |b| {
        let b = b.ipv6(&header).icmpv6(134, 0).payload(&[64, 0, hi, lo, 0, 0, 0, 0, 0, 0, 0, 0]);
        options.iter().fold(b, |b, option| b.payload(option))
    })
}

/// A prefix of 64 bits with flags, valid and preferred lifetime.
fn prefix(prefix: &str, flags: u8, valid: u8, preferred: u8) -> Vec<u8> {
    let prefix: std::net::Ipv6Addr = prefix.parse().expect("a prefix");
    let mut option = vec![3, 4, 64, flags, 0, 0, 0, valid, 0, 0, 0, preferred, 0, 0, 0, 0];
    option.extend(prefix.octets());
    option
}

fn resolver(address: &str) -> Vec<u8> {
    let address: std::net::Ipv6Addr = address.parse().expect("an address");
    let mut option = vec![25, 3, 0, 0, 0, 0, 7, 8];
    option.extend(address.octets());
    option
}

/// A route (RFC 4191), with as much of its prefix as fits into so many units of eight bytes.
fn route(text: &str, lifetime: u16, units: u8) -> Vec<u8> {
    let (address, len) = text.split_once('/').expect("a prefix");
    let address: std::net::Ipv6Addr = address.parse().expect("an address");
    let [hi, lo] = lifetime.to_be_bytes();
    let mut option = vec![24, units, len.parse().expect("a length"), 0x08, 0, 0, hi, lo];
    option.extend(&address.octets()[..usize::from(units - 1) * 8]);
    option
}

#[test]
fn the_outside_adds_no_route_to_those_of_the_network() {
    let router = Guest { port: "router", number: ROUTER, tags: Vec::new() };
    let other = route("2001:db8::/32", 60, 2);
    let mut net = world();
    // To what is inside nobody outside is the way, whoever has said what.
    for (own, units) in [("fd00::/64", 2), ("fd00::/64", 3), ("fd00::8:0:0:0/80", 3)] {
        let frame = advertisement(&outside(), 0, &[&route(own, 1, units)]);
        refused(&mut net, "uplink", &frame, Reason::RouterAdvertisement);
        passed(&mut net, "uplink", &advertisement(&outside(), 0, &[&route(own, 0, units)]));
    }
    // While the network's own router has said nothing, the outside may have the others.
    passed(&mut net, "uplink", &advertisement(&outside(), 0, &[&route("::/0", 600, 1), &other]));
    passed(&mut net, "router", &advertisement(&router, 600, &[&route("2001:db8::/32", 50, 3)]));
    for good in [route("::/0", 600, 1), route("::/0", 0, 3), route("2001:db8::/32", 50, 2)] {
        passed(&mut net, "uplink", &advertisement(&outside(), 0, &[&good]));
    }
    for bad in [
        route("::/0", 601, 1),
        route("::/1", 1, 2),
        route("2001:db8::/32", 51, 2),
        route("2001:db8::/33", 1, 2),
        other,
    ] {
        let frame = advertisement(&outside(), 0, &[&bad]);
        refused(&mut net, "uplink", &frame, Reason::RouterAdvertisement);
    }
    // Of no use to anybody, whoever says it.
    for sender in [outside(), router] {
        for broken in [
            route("::/129", 0, 3),
            route("2001:db8::/65", 0, 2),
            route("2001:db8::/1", 0, 1),
            route("fe80::/10", 0, 2),
            route("ff00::/8", 0, 2),
            [route("::/0", 0, 3), vec![0; 8]].concat(),
        ] {
            let mut broken = broken;
            if broken.len() == 32 {
                broken[1] = 4;
            }
            let frame = advertisement(&sender, 0, &[&broken]);
            refused(&mut net, sender.port, &frame, Reason::RouterAdvertisement);
        }
    }
}

#[test]
fn advertisements_that_no_host_may_believe_are_nobodys() {
    let router = Guest { port: "router", number: ROUTER, tags: Vec::new() };
    for sender in [outside(), router] {
        let good = prefix("fd00::", 0xc0, 60, 60);
        let mtu: &[u8] = &[5, 1, 0, 0, 0, 0, 5, 0];
        let mut net = world();
        passed(&mut net, sender.port, &advertisement(&sender, 1800, &[&good, mtu]));
        for options in [
            // Preferred for longer than valid; of the link; of groups.
            &[&*prefix("fd00::", 0xc0, 60, 61)][..],
            &[&*prefix("fe80::", 0xc0, 60, 60)],
            &[&*prefix("ff02::", 0xc0, 60, 60)],
            // No link of IPv6 has such an MTU.
            &[&[5, 1, 0, 0, 0, 0, 4, 255]],
            // Nobody answers there.
            &[&*resolver("ff02::fb")],
            &[&*resolver("::1")],
            &[&*resolver("::")],
            // Half an address; no address; no length.
            &[&[25, 2, 0, 0, 0, 0, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8]],
            &[&[25, 1, 0, 0, 0, 0, 7, 8]],
            &[&[200, 0, 0, 0, 0, 0, 0, 0]],
        ] {
            let frame = advertisement(&sender, 1800, options);
            refused(&mut net, sender.port, &frame, Reason::RouterAdvertisement);
        }
        let l3 = 14;
        let mut frame = advertisement(&sender, 1800, &[&good]);
        frame[l3 + 7] = 254;
        refused(&mut net, sender.port, &frame, Reason::RouterAdvertisement);
        // From an address that another link could have.
        let mut far = sender.clone();
        far.number = sender.number;
        let header = Ipv6 {
            destination: "ff02::1".parse().expect("an address"),
            hop_limit: 255,
            ..far.ip6()
        };
        let frame = far.frame(multicast_mac(header.destination), |b| {
            b.ipv6(&header).icmpv6(134, 0).payload(&[64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0])
        });
        refused(&mut net, sender.port, &frame, Reason::RouterAdvertisement);
    }
}

#[test]
fn the_outside_adds_no_router_and_no_resolver_to_those_of_the_network() {
    let router = Guest { port: "router", number: ROUTER, tags: Vec::new() };
    let own = prefix("fd00::", 0xc0, 60, 60);
    let (ours, theirs) = (resolver("fd00::1"), resolver("2001:db8::53"));
    let mut net = world();
    // While the network's own router has said nothing, only prefixes are compared.
    passed(&mut net, "uplink", &advertisement(&outside(), 1800, &[&own, &theirs]));
    passed(&mut net, "router", &advertisement(&router, 600, &[&own, &ours]));
    passed(&mut net, "uplink", &advertisement(&outside(), 600, &[&own, &ours]));
    passed(&mut net, "uplink", &advertisement(&outside(), 0, &[]));
    for (lifetime, options) in [
        (601, &[&*own, &*ours][..]),
        (600, &[&*own, &*theirs]),
        (600, &[&*own, &*ours, &*theirs]),
        // On the link, if not for addresses.
        (600, &[&*prefix("2001:db8::", 0x80, 60, 60)]),
    ] {
        let frame = advertisement(&outside(), lifetime, options);
        refused(&mut net, "uplink", &frame, Reason::RouterAdvertisement);
    }
    // The router is gone for long.
    net.wait(std::time::Duration::from_secs(1800));
    passed(&mut net, "uplink", &advertisement(&outside(), 1800, &[&own, &theirs]));
    // A network that announces nothing has its routers outside.
    let guard = NetworkGuard { announced: Vec::new(), ..network().guard };
    let mut net = world_of(NetworkSpec { guard, ..network() });
    let foreign = prefix("2001:db8::", 0xc0, 60, 60);
    passed(&mut net, "uplink", &advertisement(&outside(), 9000, &[&foreign, &theirs]));
}

#[test]
fn a_frame_that_comes_back_is_a_loop() {
    let mut net = world();
    let frame = a().frame(MacAddr::BROADCAST, |b| {
        let destination = std::net::Ipv4Addr::BROADCAST;
        b.ipv4(&wire::build::Ipv4 { destination, ..a().ip4() }).udp(1, 2).payload(&[7; 20])
    });
    assert!(matches!(net.send("a", &frame), Verdict::Flood { .. }));
    drain(&mut net);
    refused(&mut net, "uplink", &frame, Reason::Loop);
    refused(&mut net, "peer", &frame, Reason::Loop);
    net.wait(std::time::Duration::from_secs(3));
    refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
    refused(&mut net, "peer", &frame, Reason::MacForeign);
}
