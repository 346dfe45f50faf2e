//! Checks 33 and 46: what servers give, and who is none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::{BindingLimits, Owner};
use engine::{NetworkGuard, NetworkSpec, PortSpec, Reason, SourceMode, Verdict, VlanMode};
use ipnet::IpNet;
use testkit::{TestNetwork, mac};
use wire::arp::operation::{REPLY, REQUEST};
use wire::build::{Ipv4, Ipv6};
use wire::dhcp4::message;
use wire::parse::Arp;
use wire::{MacAddr, Tag};

use crate::dhcp::{by_dhcp, dhcpv6, from_nobody, message};
use crate::outside::advertisement;
use crate::world::{
    Guest, PEER, ROUTER, a, drain, learning, network, passed, reaches, refused, refused_on_egress,
    taken, uplink, v4, v6, world, world_of,
};

/// The network's router, or a station outside.
fn server(port: &'static str) -> Guest {
    let number = if port == "router" { ROUTER } else { 200 };
    Guest { port, number, tags: Vec::new() }
}

/// A guest asks for an address.
fn ask(net: &mut TestNetwork, guest: &Guest) {
    let bytes = message(1, guest.mac(), message::REQUEST, &[]);
    let frame =
        guest.frame(MacAddr::BROADCAST, |b| b.ipv4(&from_nobody()).udp(68, 67).payload(&bytes));
    passed(net, guest.port, &frame);
}

/// What a server says, from this address and port.
fn says(
    from: &Guest,
    source: (Ipv4Addr, u16),
    client: MacAddr,
    kind: u8,
    given: IpAddr,
) -> Vec<u8> {
    let IpAddr::V4(given) = given else { panic!("an address") };
    let header = Ipv4 { source: source.0, destination: given, ..Ipv4::default() };
    let mut bytes = message(2, client, kind, &[51, 4, 0, 0, 0, 60]);
    bytes[16..20].copy_from_slice(&given.octets());
    from.frame(client, |b| b.ipv4(&header).udp(source.1, 68).payload(&bytes))
}

/// Somebody outside says that he has an address.
fn heard(net: &mut TestNetwork, number: u32, address: Ipv4Addr) {
    let station = Guest { number, ..server("uplink") };
    let arp = Arp {
        operation: REQUEST,
        sender_mac: station.mac(),
        sender_ip: address,
        target_mac: MacAddr::ZERO,
        target_ip: address,
    };
    passed(net, "uplink", &station.frame(MacAddr::BROADCAST, |b| b.arp(&arp)));
}

fn owner(net: &TestNetwork, address: impl Into<IpAddr>) -> Option<Owner> {
    net.engine.owner_of(address.into())
}

#[test]
fn leases_of_trusted_servers_are_bindings_until_they_end() {
    for port in ["router", "uplink"] {
        let mut net = world();
        net.change("a", by_dhcp(2));
        let mine = v4(60);
        let frame = a().udp4(&Ipv4 { source: mine, ..a().ip4() }, 1000, 2000);
        refused(&mut net, "a", &frame, Reason::Ipv4Source);
        let from = server(port);
        if port == "uplink" {
            heard(&mut net, from.number, from.v4());
        }
        let says = |kind| says(&from, (from.v4(), 67), mac(2), kind, mine.into());
        passed(&mut net, port, &says(message::ACK));
        assert_eq!(owner(&net, mine), None, "nobody has asked");
        ask(&mut net, &a());
        // A client that can hear what is for an address it does not have is offered one that way.
        reaches(&mut net, port, &says(message::OFFER), &["a"]);
        assert_eq!(owner(&net, mine), None, "an offer binds nothing");
        reaches(&mut net, port, &says(message::ACK), &["a"]);
        assert_eq!(owner(&net, mine), Some(Owner::Port(net.id("a"))));
        passed(&mut net, "a", &frame);
        net.wait(Duration::from_secs(61));
        assert_eq!(owner(&net, mine), None);
        refused(&mut net, "a", &frame, Reason::Ipv4Source);
        passed(&mut net, port, &says(message::ACK));
        assert_eq!(owner(&net, mine), None, "one answer for one request");
        // What a guest says about leases is refused, and binds nothing.
        ask(&mut net, &a());
        let forger = Guest { port: "peer", number: PEER, tags: Vec::new() };
        let forged = self::says(&forger, (v4(PEER), 67), mac(2), message::ACK, mine.into());
        refused(&mut net, "peer", &forged, Reason::DhcpServer);
        assert_eq!(owner(&net, mine), None);
    }
}

/// Answers of another transaction, for another client, late, from another port, or of one that is not
/// the router, though it comes by it.
#[test]
fn what_answers_no_request_is_no_lease() {
    for port in ["router", "uplink"] {
        let from = server(port);
        let mine = v4(60);
        let ready = || {
            let mut net = world();
            net.change("a", by_dhcp(2));
            net.change("t", by_dhcp(3));
            if port == "uplink" {
                heard(&mut net, from.number, from.v4());
            }
            ask(&mut net, &a());
            net
        };
        let good = says(&from, (from.v4(), 67), mac(2), message::ACK, mine.into());
        let mut net = ready();
        passed(&mut net, port, &good);
        assert_eq!(owner(&net, mine), Some(Owner::Port(net.id("a"))));

        let mut transaction = good.clone();
        transaction[14 + 20 + 8 + 4] ^= 1;
        let client = says(&from, (from.v4(), 67), mac(3), message::ACK, mine.into());
        let service = says(&from, (from.v4(), 4444), mac(2), message::ACK, mine.into());
        for bad in [&transaction, &client, &service] {
            let mut net = ready();
            net.send(port, bad);
            drain(&mut net);
            assert_eq!(owner(&net, mine), None);
            // It does not take the request from who answers it.
            passed(&mut net, port, &good);
            assert_eq!(owner(&net, mine), Some(Owner::Port(net.id("a"))));
        }
        let mut net = ready();
        net.wait(Duration::from_secs(64));
        passed(&mut net, port, &good);
        assert_eq!(owner(&net, mine), None);

        let mut net = ready();
        let far =
            says(&from, (Ipv4Addr::new(203, 0, 113, 5), 67), mac(2), message::ACK, mine.into());
        net.send(port, &far);
        drain(&mut net);
        assert_eq!(owner(&net, mine), None, "by {port} from afar");
    }
}

/// What is for an address that the client does not have gets there only as what a server gives it.
#[test]
fn only_a_servers_answer_is_for_an_address_that_its_client_does_not_have() {
    for port in ["router", "uplink"] {
        let from = server(port);
        let mine = v4(60);
        let offer = |port| says(&from, (from.v4(), port), mac(2), message::OFFER, mine.into());
        let mut net = world();
        reaches(&mut net, port, &offer(67), &["a"]);
        let udp = 14 + 20 + 8;
        let mut request = offer(67);
        request[udp] = 1;
        let mut client = offer(67);
        client[udp + 33] ^= 1;
        let mut given = offer(67);
        given[udp + 19] ^= 1;
        for frame in [offer(4444), request, client, given] {
            refused_on_egress(&mut net, port, "a", &frame, Reason::NotDestination);
        }
    }
}

/// A server outside that nobody has heard yet is asked who it is, as early as at its offer.
#[test]
fn a_server_outside_stands_on_the_segment() {
    let from = server("uplink");
    let (far, mine) = (Ipv4Addr::new(203, 0, 113, 5), v4(60));
    let question = |target_ip| Arp {
        operation: REQUEST,
        sender_mac: mac(2),
        sender_ip: Ipv4Addr::UNSPECIFIED,
        target_mac: MacAddr::ZERO,
        target_ip,
    };
    for kind in [message::OFFER, message::ACK] {
        for (address, number) in [(from.v4(), 200), (far, 200), (from.v4(), 201)] {
            let mut net = world();
            net.change("a", by_dhcp(2));
            ask(&mut net, &a());
            let frame = says(&from, (address, 67), mac(2), kind, mine.into());
            assert!(matches!(net.send("uplink", &frame), Verdict::Forward(_)));
            let asked = a().frame(MacAddr::BROADCAST, |b| b.arp(&question(address)));
            let mut wanted = asked.clone();
            wanted.resize(60, 0);
            assert_eq!(net.receive_plain("uplink"), [wanted]);
            drain(&mut net);
            assert_eq!(owner(&net, mine), None);
            // The station that the datagram came from, or another.
            let station = Guest { number, ..server("uplink") };
            let answer = Arp {
                operation: REPLY,
                sender_mac: station.mac(),
                sender_ip: from.v4(),
                target_mac: mac(2),
                target_ip: Ipv4Addr::UNSPECIFIED,
            };
            passed(&mut net, "uplink", &station.frame(mac(2), |b| b.arp(&answer)));
            if kind == message::OFFER {
                assert_eq!(owner(&net, mine), None);
                let frame = says(&from, (address, 67), mac(2), message::ACK, mine.into());
                net.send("uplink", &frame);
                drain(&mut net);
            }
            let good = (address, number) == (from.v4(), 200);
            let its = good.then(|| Owner::Port(net.id("a")));
            assert_eq!(owner(&net, mine), its, "{address} {number}");
        }
    }
}

/// The relay, which stands on the segment, gives what the server behind it named. Later the server itself
/// renews it, and nobody else, for no longer than eight days where it was given for less.
#[test]
fn a_server_behind_a_relay_renews_what_it_gave() {
    let from = server("uplink");
    let [far, other] = [5, 6].map(|number| Ipv4Addr::new(203, 0, 113, number));
    let mine = v4(60);
    let acknowledges = |source: Ipv4Addr, named: Option<Ipv4Addr>, time: u32| {
        let mut options = [&[51, 4][..], &time.to_be_bytes()].concat();
        options.extend(
            named.map(|named| [&[54, 4][..], &named.octets()].concat()).into_iter().flatten(),
        );
        let mut bytes = message(2, mac(2), message::ACK, &options);
        bytes[16..20].copy_from_slice(&mine.octets());
        let header = Ipv4 { source, destination: mine, ..Ipv4::default() };
        from.frame(mac(2), |b| b.ipv4(&header).udp(67, 68).payload(&bytes))
    };
    // Who is named in the lease, who answers later and what he says, and for how long it holds then.
    for (named, source, says, left) in [
        (Some(far), far, 60, 60),
        (Some(far), far, 24 * 3600, 24 * 3600),
        (Some(far), far, u32::MAX, 8 * 24 * 3600),
        (Some(far), far, 40, 40),
        (Some(far), other, 60, 30),
        (None, far, 60, 30),
        (Some(far), from.v4(), 600, 600),
    ] {
        let mut net = world();
        net.change("a", by_dhcp(2));
        heard(&mut net, from.number, from.v4());
        ask(&mut net, &a());
        passed(&mut net, "uplink", &acknowledges(from.v4(), named, 60));
        for _ in 0..3 {
            net.wait(Duration::from_secs(30));
            ask(&mut net, &a());
            net.send("uplink", &acknowledges(source, Some(source), says));
            drain(&mut net);
            if left == 30 {
                break;
            }
        }
        net.wait(Duration::from_secs(left - 1));
        assert_eq!(owner(&net, mine), Some(Owner::Port(net.id("a"))), "{named:?} {source} {says}");
        net.wait(Duration::from_secs(1));
        assert_eq!(owner(&net, mine), None, "{named:?} {source} {says}");
        // It is over.
        ask(&mut net, &a());
        net.send("uplink", &acknowledges(far, Some(far), 60));
        drain(&mut net);
        assert_eq!(owner(&net, mine), None);
    }
}

/// As many as a port may have, each with its server. DHCPv6 needs none of it.
#[test]
fn every_lease_of_a_port_is_renewed_from_afar() {
    let (from, far) = (server("uplink"), Ipv4Addr::new(203, 0, 113, 5));
    let mut net = world();
    net.engine.set_binding_limits(BindingLimits { per_port: 64, total: 16_384 });
    net.plug("many", PortSpec { source: SourceMode::Learn { max_macs: 64 }, ..learning() });
    heard(&mut net, from.number, from.v4());
    let gives = |net: &mut TestNetwork, number: u32, source: Ipv4Addr| {
        let client = Guest { port: "many", number: 300 + number, tags: Vec::new() };
        let given = v4(100 + number);
        ask(net, &client);
        let [a, b, c, d] = far.octets();
        let mut bytes =
            message(2, client.mac(), message::ACK, &[51, 4, 0, 0, 0, 60, 54, 4, a, b, c, d]);
        bytes[16..20].copy_from_slice(&given.octets());
        let header = Ipv4 { source, destination: given, ..Ipv4::default() };
        net.send(
            "uplink",
            &from.frame(client.mac(), |b| b.ipv4(&header).udp(67, 68).payload(&bytes)),
        );
        net.receive("many");
        drain(net);
    };
    let its = Some(Owner::Port(net.id("many")));
    for number in 0..50 {
        gives(&mut net, number, from.v4());
        assert_eq!(owner(&net, v4(100 + number)), its, "{number}");
    }
    for _ in 0..2 {
        net.wait(Duration::from_secs(40));
        (0..50).for_each(|number| gives(&mut net, number, far));
    }
    assert!((0..50).all(|number| owner(&net, v4(100 + number)) == its));
}

/// Not the segment's router's, nor anybody's out there, nor what no station has.
#[test]
fn what_others_have_is_no_servers_to_give() {
    for spec in [by_dhcp(2), learning()] {
        let from = server("uplink");
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        let elsewhere = Ipv4Addr::new(10, 60, 0, 7);
        for given in [v4(40), metadata, v4(255), v4(0), v4(PEER), elsewhere] {
            let mut net = world();
            net.engine.set_other_networks(&["10.60.0.0/20".parse().expect("a prefix")]);
            net.change("a", spec.clone());
            ask(&mut net, &a());
            heard(&mut net, 200, from.v4());
            heard(&mut net, 240, v4(40));
            let before = owner(&net, given);
            net.send("uplink", &says(&from, (from.v4(), 67), mac(2), message::ACK, given.into()));
            drain(&mut net);
            assert_eq!(owner(&net, given), before, "{given}");
        }
    }
}

/// The same with DHCPv6.
#[test]
fn addresses_and_prefixes_of_dhcpv6_servers_are_bindings() {
    for port in ["router", "uplink"] {
        let guest = a();
        let inner: Ipv6Addr = "fd77:0:0:5::9".parse().expect("an address");
        let outer: Ipv6Addr = "fd88::9".parse().expect("an address");
        let from = |source: Ipv6Addr| guest.udp6(&Ipv6 { source, ..guest.ip6() }, 1000, 2000);
        let sender = server(port);
        let request = [3, 0, 0, 1, 0, 1, 0, 2, 7, 7];
        let request = || dhcpv6(&guest, guest.link_local(), (546, 547), &request);
        let reply = |given: Ipv6Addr, source: (Ipv6Addr, u16), transaction: u8, client: u8| {
            let mut reply = vec![7, 0, 0, transaction, 0, 1, 0, 2, 7, client, 0, 25, 0, 41];
            reply.extend([0; 12]);
            reply.extend([0, 26, 0, 25, 0, 0, 0, 60, 0, 0, 0, 60, 64]);
            reply.extend("fd77:0:0:5::".parse::<Ipv6Addr>().expect("a prefix").octets());
            reply.extend([0, 3, 0, 40]);
            reply.extend([0; 12]);
            reply.extend([0, 5, 0, 24]);
            reply.extend(given.octets());
            reply.extend([0, 0, 0, 60, 0, 0, 0, 60]);
            let header =
                Ipv6 { source: source.0, destination: guest.link_local(), ..Ipv6::default() };
            sender.frame(mac(2), |b| b.ipv6(&header).udp(source.1, 546).payload(&reply))
        };
        let good = reply(outer, (sender.link_local(), 547), 1, 7);
        let far: Ipv6Addr = "2001:db8:dead::1".parse().expect("an address");
        let others = [
            reply(outer, (sender.link_local(), 9999), 1, 7),
            reply(outer, (far, 547), 1, 7),
            reply(outer, (sender.link_local(), 547), 2, 7),
            reply(outer, (sender.link_local(), 547), 1, 8),
        ];
        let mut net = world();
        net.change("a", by_dhcp(2));
        // Its link-local address is known from a request of nothing.
        let information = [11, 0, 0, 1, 0, 1, 0, 2, 7, 7];
        passed(&mut net, "a", &dhcpv6(&guest, guest.link_local(), (546, 547), &information));
        refused(&mut net, "a", &from(inner), Reason::Ipv6Source);
        passed(&mut net, port, &good);
        refused(&mut net, "a", &from(outer), Reason::Ipv6Source);
        passed(&mut net, "a", &request());
        for other in &others {
            passed(&mut net, port, other);
            refused(&mut net, "a", &from(inner), Reason::Ipv6Source);
            refused(&mut net, "a", &from(outer), Reason::Ipv6Source);
        }
        reaches(&mut net, port, &good, &["a"]);
        passed(&mut net, "a", &from(inner));
        passed(&mut net, "a", &from(outer));
        net.wait(Duration::from_secs(61));
        drain(&mut net);
        refused(&mut net, "a", &from(inner), Reason::Ipv6Source);
        refused(&mut net, "a", &from(outer), Reason::Ipv6Source);
        passed(&mut net, port, &good);
        refused(&mut net, "a", &from(outer), Reason::Ipv6Source);
        // What somebody outside has, or no station.
        let host = server("uplink");
        let header = Ipv6 { source: v6(40), hop_limit: 255, ..host.ip6() };
        let says =
            host.frame(mac(PEER), |b| b.ipv6(&header).neighbour(136, 0x60, v6(40), host.mac()));
        passed(&mut net, "uplink", &says);
        let metadata = "fd00:ec2::254".parse().expect("an address");
        for given in [v6(40), metadata, v6(PEER)] {
            passed(&mut net, "a", &request());
            let before = owner(&net, given);
            net.send(port, &reply(given, (sender.link_local(), 547), 1, 7));
            drain(&mut net);
            assert_eq!(owner(&net, given), before, "{given}");
        }
    }
}

/// A reply of a DHCPv6 server with one option, to the client that has just asked.
fn replies(from: &Guest, client: &Guest, option: &[u8]) -> Vec<u8> {
    let reply = [&[7, 0, 0, 1, 0, 1, 0, 2, 7, 7], option].concat();
    let (source, destination) = (from.link_local(), client.link_local());
    let header = Ipv6 { source, destination, ..Ipv6::default() };
    from.frame(client.mac(), |b| b.ipv6(&header).udp(547, 546).payload(&reply))
}

/// Whoever has a prefix may send from all of it.
#[test]
fn what_others_have_is_in_no_delegated_prefix() {
    for port in ["router", "uplink"] {
        let (from, guest) = (server(port), a());
        let request = [3, 0, 0, 1, 0, 1, 0, 2, 7, 7];
        let mut net = world();
        net.engine.set_other_networks(&["fd60::/64".parse().expect("a prefix")]);
        net.change("a", by_dhcp(2));
        let host = server("uplink");
        let its: Ipv6Addr = "2001:db8:9::77".parse().expect("an address");
        let header = Ipv6 { source: its, hop_limit: 255, ..host.ip6() };
        let says = host.frame(mac(PEER), |b| b.ipv6(&header).neighbour(136, 0x60, its, host.mac()));
        passed(&mut net, "uplink", &says);
        let given = |net: &mut TestNetwork, text: &str| {
            let prefix: IpNet = text.parse().expect("a prefix");
            let IpAddr::V6(address) = prefix.addr() else { panic!("IPv6") };
            passed(net, "a", &dhcpv6(&guest, guest.link_local(), (546, 547), &request));
            let lifetimes = [0, 0, 0, 60, 0, 0, 0, 60, prefix.prefix_len()];
            let option = [&[0, 25, 0, 41], &[0; 12][..], &[0, 26, 0, 25], &lifetimes];
            let option = [&option.concat()[..], &address.octets()].concat();
            net.send(port, &replies(&from, &guest, &option));
            drain(net);
            let owner = net.engine.owner_of(prefix.trunc());
            assert!(owner.is_none() || owner == Some(Owner::Port(net.id("a"))));
            net.engine.unbind(prefix.trunc());
            owner.is_some()
        };
        for text in [
            // The link's, and what is announced there.
            "fe80::/64",
            "fe80:0:0:7::/64",
            "fd00::/64",
            "fd00::/48",
            "fd00::8:0:0:0/80",
            // Another network's, or with one in it.
            "fd60::/64",
            "fd60::/48",
            // No station's, or a cloud's.
            "ff05::/64",
            "2002:a00:1::/48",
            "64:ff9b::/96",
            "2001:0:7::/48",
            "100::/48",
            "fec0::/64",
            "fd00:ec2::/48",
            // The Internet's, and no prefix.
            "2001:db8::/32",
            "2001:db8:a::9/128",
        ] {
            assert!(!given(&mut net, text), "{text} by {port}");
        }
        for text in ["2001:db8:a::/56", "2001:db8:9:1::/64", "fd61::/48", "fd00:0:0:1::/64"] {
            assert!(given(&mut net, text), "{text} by {port}");
        }
        // A station's outside, or what a router outside announces, until it is over; but what the network's
        // own router delegates is not theirs to refuse.
        let own = port == "router";
        for text in ["2001:db8:9::/48", "2001:db8:9::70/124"] {
            assert_eq!(given(&mut net, text), own, "{text} by {port}");
        }
        let option = [3, 4, 64, 0xc0, 0, 0, 0x2a, 0x30, 0, 0, 0, 60, 0, 0, 0, 0];
        let prefix: Ipv6Addr = "2001:db8:b::".parse().expect("a prefix");
        let option = [&option[..], &prefix.octets()].concat();
        let guard = NetworkGuard { announced: Vec::new(), ..network().guard };
        net.apply(NetworkSpec { guard, ..network() });
        passed(&mut net, "uplink", &advertisement(&host, 0, &[&option]));
        assert_eq!(given(&mut net, "2001:db8:b::/56"), own);
        net.wait(Duration::from_secs(0x2a30));
        assert!(given(&mut net, "2001:db8:b::/56"), "by {port}");
        assert!(given(&mut net, "2001:db8:9::/48"), "by {port}");
    }
}

/// A server gives addresses for always and for a while.
#[test]
fn temporary_addresses_are_bindings_too() {
    for port in ["router", "uplink"] {
        for (code, head) in [(3_u8, 12_u8), (4, 4)] {
            let (from, guest) = (server(port), a());
            let given: Ipv6Addr = "2001:db8:a::9".parse().expect("an address");
            let mut net = world();
            net.change("a", by_dhcp(2));
            let association =
                [&[0, code, 0, head, 0, 0, 0, 1][..], &vec![0; usize::from(head) - 4]];
            let request = [&[3, 0, 0, 1, 0, 1, 0, 2, 7, 7], &association.concat()[..]].concat();
            passed(&mut net, "a", &dhcpv6(&guest, guest.link_local(), (546, 547), &request));
            let mut option = [&[0, code, 0, head + 28], &vec![0; usize::from(head)][..]].concat();
            option.extend([0, 5, 0, 24]);
            option.extend(given.octets());
            option.extend([0, 0, 0, 60, 0, 0, 0, 60]);
            reaches(&mut net, port, &replies(&from, &guest, &option), &["a"]);
            assert_eq!(owner(&net, given), Some(Owner::Port(net.id("a"))), "{code} by {port}");
            let frame = guest.udp6(&Ipv6 { source: given, ..guest.ip6() }, 1000, 2000);
            passed(&mut net, "a", &frame);
            net.wait(Duration::from_secs(61));
            assert_eq!(owner(&net, given), None);
            refused(&mut net, "a", &frame, Reason::Ipv6Source);
        }
    }
}

/// Two customers behind one trunk: what the server of one delegates is the other's business where that is.
#[test]
fn a_prefix_is_delegated_in_the_vlan_of_its_server() {
    let (from, guest) = (server("uplink"), a());
    let prefix: Ipv6Addr = "2001:db8:a::".parse().expect("a prefix");
    let source: Ipv6Addr = "2001:db8:a::9".parse().expect("an address");
    let mut net = world();
    let vlan = VlanMode::Trunk { native: Some(1), allowed: [2].into_iter().collect() };
    net.change("uplink", PortSpec { vlan, ..uplink() });
    net.plug("two", PortSpec { vlan: VlanMode::Access(2), ..learning() });
    net.change("a", by_dhcp(2));
    let request = [3, 0, 0, 1, 0, 1, 0, 2, 7, 7];
    passed(&mut net, "a", &dhcpv6(&guest, guest.link_local(), (546, 547), &request));
    let option = [&[0, 25, 0, 41], &[0; 12][..], &[0, 26, 0, 25, 0, 0, 0, 60, 0, 0, 0, 60, 56]];
    let option = [&option.concat()[..], &prefix.octets()].concat();
    passed(&mut net, "uplink", &replies(&from, &guest, &option));
    passed(&mut net, "a", &guest.udp6(&Ipv6 { source, ..guest.ip6() }, 1, 2));
    for (number, tags) in [(201, vec![]), (202, vec![Tag::new(2)])] {
        let station = Guest { port: "uplink", number, tags };
        let frame = station.frame(mac(77), |b| b.ipv6(&Ipv6 { source, ..guest.ip6() }).udp(1, 2));
        if station.tags.is_empty() {
            refused(&mut net, "uplink", &frame, Reason::OutsideIdentity);
        } else {
            passed(&mut net, "uplink", &frame);
        }
    }
    // There it is free.
    let two = Guest { port: "two", number: 30, tags: Vec::new() };
    let frame = two.frame(mac(77), |b| b.ipv6(&Ipv6 { source, ..guest.ip6() }).udp(1, 2));
    taken(&mut net, "two", &frame);
    passed(&mut net, "a", &guest.udp6(&Ipv6 { source, ..guest.ip6() }, 1, 2));
}

/// What is said outside about a prefix that a guest has does not end it, nor does what the guest said of
/// itself where it was before.
#[test]
fn a_delegated_prefix_is_renewed_whatever_is_said_outside() {
    for port in ["router", "uplink"] {
        let (from, guest, host) = (server(port), a(), server("uplink"));
        let prefix: Ipv6Addr = "2001:db8:b::".parse().expect("a prefix");
        let source: Ipv6Addr = "2001:db8:b::9".parse().expect("an address");
        let guard = NetworkGuard { announced: Vec::new(), ..network().guard };
        let mut net = world_of(NetworkSpec { guard, ..network() });
        net.change("a", by_dhcp(2));
        // The guest was outside, and has moved in.
        let header = Ipv6 { source, hop_limit: 255, ..host.ip6() };
        let says = host.frame_from(guest.mac(), mac(PEER), |b| {
            b.ipv6(&header).neighbour(136, 0x60, source, guest.mac())
        });
        net.unplug("a");
        net.forget_moved();
        net.send("uplink", &says);
        net.plug("a", by_dhcp(2));
        drain(&mut net);
        let renew = |net: &mut TestNetwork| {
            let request = [3, 0, 0, 1, 0, 1, 0, 2, 7, 7];
            passed(net, "a", &dhcpv6(&guest, guest.link_local(), (546, 547), &request));
            let option = [&[0, 25, 0, 41], &[0; 12][..], &[0, 26, 0, 25]].concat();
            let lifetimes = [0, 0, 0, 60, 0, 0, 0, 60, 56];
            let option = [&option[..], &lifetimes, &prefix.octets()].concat();
            passed(net, port, &replies(&from, &guest, &option));
        };
        let net56: IpNet = "2001:db8:b::/56".parse().expect("a prefix");
        let owner = |net: &TestNetwork| net.engine.owner_of(net56);
        renew(&mut net);
        let its = Some(Owner::Port(net.id("a")));
        assert_eq!(owner(&net), its);
        let option = [3, 4, 64, 0xc0, 0, 0, 0x2a, 0x30, 0, 0, 0, 60, 0, 0, 0, 0];
        let option = [&option[..], &prefix.octets()].concat();
        passed(&mut net, "uplink", &advertisement(&host, 0, &[&option]));
        net.wait(Duration::from_secs(50));
        drain(&mut net);
        renew(&mut net);
        net.wait(Duration::from_secs(50));
        assert_eq!(owner(&net), its, "by {port}");
        net.wait(Duration::from_secs(10));
        assert_eq!(owner(&net), None, "by {port}");
        // Somebody new does not get it from outside.
        renew(&mut net);
        assert_eq!(owner(&net).is_some(), port == "router");
    }
}
