//! What the router refuses, what it says about it, and when it keeps silent.

use std::time::Duration;

use engine::router::RouterLimits;
use testkit::Ip;
use testkit::routed::Routed;
use wire::build::Tcp;

use crate::*;

fn plain(bytes: &mut Vec<u8>, build: impl FnOnce(Builder<'_>) -> Builder<'_>) {
    bytes.resize(2000, 0);
    let len = build(Builder::new(bytes).ethernet(router_mac(0), mac(2))).finish().expect("fits");
    bytes.truncate(len);
}

#[test]
fn a_packet_that_was_forwarded_too_often() {
    for version in Ip::BOTH {
        for ttl in [0, 1] {
            let mut routed = pair();
            let frame = from_a(version, ttl, 40);
            routed.send("a", &frame);
            routed.moved(&["0 received drop.time-exceeded errors_sent"]);
            let bytes = &routed.receive_plain("a")[0];
            let error = read(bytes);
            assert_eq!(route_of(&error), (64, addr(version, 0, 1), addr(version, 0, 2)));
            assert_eq!(icmp_of(&error), if version == Ip::V4 { (11, 0) } else { (3, 0) });
            let quote = usize::from(error.l4.expect("ICMP").offset) + 8;
            assert_eq!(bytes[quote..], frame[14..], "it is quoted as it was sent");
            routed.nothing_held();
        }
    }
}

#[test]
fn nothing_that_must_not_be_answered_is() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let (from, to) = (addr(version, 0, 2), addr(version, 1, 3));
        let macs = (router_mac(0), mac(2));
        let mut frames = Vec::new();
        let mut out = vec![0; 300];
        let kinds: &[u8] = if version == Ip::V4 { &[3, 4, 5, 11, 12] } else { &[1, 2, 3, 4, 127] };
        for &kind in kinds {
            let builder = ip(&mut out, macs, (from, to), 1);
            let builder = match version {
                Ip::V4 => builder.icmpv4(kind, 0, [0; 4]),
                Ip::V6 => builder.icmpv6(kind, 0).payload(&[0; 4]),
            };
            let len = builder.payload(&[0; 40]).finish().expect("fits");
            frames.push(out[..len].to_vec());
        }
        // A later fragment.
        let mut fragment = Vec::new();
        match (from, to) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => plain(&mut fragment, |b| {
                let header = Ipv4 { source, destination, fragment: 5, ttl: 1, ..Ipv4::default() };
                b.ipv4(&header).protocol(17).payload(&[0; 40])
            }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => plain(&mut fragment, |b| {
                let header = Ipv6 { source, destination, hop_limit: 1, ..Ipv6::default() };
                let extension = [0, 0, 40, 0, 0, 0, 9];
                b.ipv6(&header).extension(44, &extension).protocol(17).payload(&[0; 40])
            }),
            _ => unreachable!("one version"),
        }
        frames.push(fragment);
        for frame in frames {
            routed.send("a", &frame);
            routed.moved(&["0 received drop.time-exceeded"]);
            assert!(routed.receive("a").is_empty());
        }
        routed.nothing_held();
    }
}

#[test]
fn sources_that_cannot_be() {
    let mut routed = pair();
    let macs = (router_mac(0), mac(2));
    let v4 = ["127.0.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.5", "240.0.0.1", "255.255.255.255"];
    let own = [addr(Ip::V4, 0, 1), addr(Ip::V4, 1, 1)].map(|ip| ip.to_string());
    let edges = ["10.0.16.0", "10.0.31.255"];
    for text in v4.iter().copied().chain(own.iter().map(String::as_str)).chain(edges) {
        let ips = (text.parse().expect("an address"), addr(Ip::V4, 1, 3));
        routed.send("a", &udp(macs, ips, 64, 10));
        routed.moved(&["0 received drop.martian-source"]);
    }
    let own = [addr(Ip::V6, 0, 1), addr(Ip::V6, 1, 1)].map(|ip| ip.to_string());
    for text in ["::", "::1", "ff02::1"].into_iter().chain(own.iter().map(String::as_str)) {
        let ips = (text.parse().expect("an address"), addr(Ip::V6, 1, 3));
        routed.send("a", &udp(macs, ips, 64, 10));
        routed.moved(&["0 received drop.martian-source"]);
    }
    assert!(routed.receive("a").is_empty() && routed.receive("b").is_empty());
}

#[test]
fn sources_that_belong_elsewhere() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let macs = (router_mac(0), mac(2));
        let outside = match version {
            Ip::V4 => "198.51.100.1",
            Ip::V6 => "2001:db8::1",
        };
        for source in [addr(version, 1, 9), outside.parse().expect("an address")] {
            routed.send("a", &udp(macs, (source, addr(version, 1, 3)), 64, 10));
            routed.moved(&["0 received drop.reverse-path"]);
            // Not even an echo: it would be answered to somebody who did not ask.
            routed.send("a", &echo(macs, (source, addr(version, 0, 1))));
            routed.moved(&["0 received drop.reverse-path"]);
        }
        assert!(routed.receive("a").is_empty() && routed.receive("b").is_empty());
    }
}

#[test]
fn destinations_that_cannot_be() {
    let mut routed = pair();
    let macs = (router_mac(0), mac(2));
    for (text, reason) in [
        ("127.0.0.1", "martian-destination"),
        ("0.0.0.1", "martian-destination"),
        ("240.0.0.1", "martian-destination"),
        ("169.254.1.1", "link-scope"),
        ("10.0.47.255", "directed-broadcast"),
        ("10.0.32.0", "directed-broadcast"),
        ("10.0.31.255", "directed-broadcast"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "multicast"),
    ] {
        let ips = (addr(Ip::V4, 0, 2), text.parse().expect("an address"));
        routed.send("a", &udp(macs, ips, 64, 10));
        routed.moved(&[&format!("0 received drop.{reason}")]);
    }
    for (text, reason) in [
        ("::1", "martian-destination"),
        ("::ffff:10.0.32.3", "martian-destination"),
        ("fe80::99", "link-scope"),
        ("ff02::fb", "multicast"),
    ] {
        let ips = (addr(Ip::V6, 0, 2), text.parse().expect("an address"));
        routed.send("a", &udp(macs, ips, 64, 10));
        routed.moved(&[&format!("0 received drop.{reason}")]);
    }
    assert!(routed.receive("a").is_empty() && routed.receive("b").is_empty());
    // A link-local source stays where it means something, and is told so where it can be.
    routed.send("a", &from_a(Ip::V6, 64, 10));
    routed.moved(&["0 received forwarded"]);
    assert_eq!(routed.receive("b").len(), 1, "the way is known now");
    let ips = ("fe80::2".parse().expect("an address"), addr(Ip::V6, 1, 3));
    routed.send("a", &udp(macs, ips, 64, 10));
    routed.moved(&["0 received drop.link-scope errors_sent"]);
    assert_eq!(icmp_of(&read(&routed.receive_plain("a")[0])), (1, 2));
    let ips = ("169.254.0.2".parse().expect("an address"), addr(Ip::V4, 1, 3));
    routed.send("a", &udp(macs, ips, 64, 10));
    routed.moved(&["0 received drop.link-scope"]);
}

#[test]
fn unicast_in_an_ethernet_broadcast_is_not_for_us() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let ips = (addr(version, 0, 2), addr(version, 1, 3));
        routed.send("a", &udp((MacAddr::BROADCAST, mac(2)), ips, 1, 10));
        routed.moved(&["0 received drop.multicast"]);
        let ips = (addr(version, 0, 2), addr(version, 0, 1));
        routed.send("a", &echo((MacAddr::BROADCAST, mac(2)), ips));
        routed.moved(&["0 received drop.multicast"]);
        assert!(routed.receive("a").is_empty());
    }
}

#[test]
fn frames_that_are_no_packets() {
    let mut routed = pair();
    let macs = (router_mac(0), mac(2));
    let send = |routed: &mut Routed, bytes: &[u8], reason: &str| {
        routed.send("a", bytes);
        routed.moved(&[&format!("0 received drop.{reason}")]);
        assert!(routed.receive("a").is_empty());
    };
    send(&mut routed, &testkit::frames::plain(macs.0, macs.1, 60), "protocol");
    let stranger = udp((mac(77), mac(2)), (addr(Ip::V4, 0, 2), addr(Ip::V4, 1, 3)), 64, 10);
    send(&mut routed, &stranger, "other-station");
    for version in Ip::BOTH {
        let good = from_a(version, 64, 10);
        send(&mut routed, &good[..30], "malformed");
        send(&mut routed, &good[..good.len() - 1], "malformed");
        let mut bad = good.clone();
        bad[14] ^= 0x20;
        send(&mut routed, &bad, "malformed");
    }
    let mut bad = from_a(Ip::V4, 64, 10);
    bad[22] ^= 1;
    send(&mut routed, &bad, "checksum");
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (addr(Ip::V4, 0, 2), addr(Ip::V4, 1, 3))
    else {
        unreachable!("IPv4")
    };
    for options in [&[131, 7, 4, 10, 0, 0, 9, 0][..], &[1, 137, 7, 4, 10, 0, 0, 9][..]] {
        let header = Ipv4 { source, destination, options, ..Ipv4::default() };
        let mut bytes = Vec::new();
        plain(&mut bytes, |b| b.ipv4(&header).udp(1, 2));
        send(&mut routed, &bytes, "source-routed");
    }
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (addr(Ip::V6, 0, 2), addr(Ip::V6, 0, 1))
    else {
        unreachable!("IPv6")
    };
    let header = Ipv6 { source, destination, ..Ipv6::default() };
    let mut bytes = Vec::new();
    plain(&mut bytes, |b| b.ipv6(&header).extension(43, &[0, 0, 1, 0, 0, 0, 0]).udp(1, 2));
    send(&mut routed, &bytes, "source-routed");
    routed.nothing_held();
}

#[test]
fn own_addresses_answer_echoes_and_say_what_they_do_not_serve() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let macs = (router_mac(0), mac(2));
        // The other network's address is as good, as long as the networks are routed.
        for net in [0, 1] {
            let ips = (addr(version, 0, 2), addr(version, net, 1));
            routed.send("a", &echo(macs, ips));
            routed.moved(&["0 received answered echoes_sent"]);
            let reply = read(&routed.receive_plain("a")[0]);
            assert_eq!((reply.dst, reply.src), (mac(2), router_mac(0)));
            assert_eq!(route_of(&reply), (64, addr(version, net, 1), addr(version, 0, 2)));
            assert_eq!(icmp_of(&reply), if version == Ip::V4 { (0, 0) } else { (129, 0) });
        }
        let ips = (addr(version, 0, 2), addr(version, 0, 1));
        let mut out = vec![0; 200];
        for (nth, code) in [(0, 3), (1, 3), (2, 2)] {
            let builder = ip(&mut out, macs, ips, 64);
            let builder = match nth {
                0 => builder.udp(1, 2),
                1 => builder.tcp(&Tcp::default()),
                _ => builder.protocol(132),
            };
            let len = builder.payload(&[0; 12]).finish().expect("fits");
            routed.send("a", &out[..len]);
            routed.moved(&["0 received drop.no-service errors_sent"]);
            let bytes = routed.receive_plain("a").remove(0);
            let expected = match (version, code) {
                (Ip::V4, code) => (3, code),
                (Ip::V6, 3) => (1, 4),
                (Ip::V6, _) => (4, 1),
            };
            assert_eq!(icmp_of(&read(&bytes)), expected);
        }
        // The services of another network are none of a guest's business.
        let ips = (addr(version, 0, 2), addr(version, 1, 1));
        routed.send("a", &udp(macs, ips, 64, 10));
        routed.moved(&["0 received drop.no-service errors_sent"]);
        let code = icmp_of(&read(&routed.receive_plain("a")[0]));
        assert_eq!(code, if version == Ip::V4 { (3, 13) } else { (1, 1) });
        routed.nothing_held();
    }
}

#[test]
fn errors_and_echoes_have_a_rate_for_each_port() {
    for version in Ip::BOTH {
        let limits =
            RouterLimits { errors_per_port: 20, echoes_per_port: 20, ..Default::default() };
        let mut routed = Routed::new(limits);
        routed.network(interface(0, 1500));
        routed.network(interface(1, 1500));
        for (name, number) in [("loud", 2), ("quiet", 5)] {
            routed.plug(0, name, mac(number));
        }
        let frame = |number: u16, ttl| {
            let ips = (addr(version, 0, number), addr(version, 1, 3));
            udp((router_mac(0), mac(number.into())), ips, ttl, 10)
        };
        for _ in 0..100 {
            routed.send("loud", &frame(2, 1));
        }
        // Ten at once, and the one that begins the count.
        routed
            .moved(&["0 received+100 drop.time-exceeded+100 errors_sent+11 errors_suppressed+89"]);
        routed.send("quiet", &frame(5, 1));
        routed.moved(&["0 received drop.time-exceeded errors_sent"]);
        routed.wait(Duration::from_secs(1));
        routed.send("loud", &frame(2, 1));
        routed.moved(&["0 received drop.time-exceeded errors_sent"]);
        let ips = |number| (addr(version, 0, number), addr(version, 0, 1));
        for _ in 0..50 {
            routed.send("loud", &echo((router_mac(0), mac(2)), ips(2)));
        }
        routed.moved(&["0 received+50 answered+11 echoes_sent+11 drop.rate-limited+39"]);
        routed.send("quiet", &echo((router_mac(0), mac(5)), ips(5)));
        routed.moved(&["0 received answered echoes_sent"]);
    }
}

#[test]
fn errors_have_a_rate_for_the_network_too() {
    let limits = RouterLimits { errors: 20, ..RouterLimits::default() };
    let mut routed = Routed::new(limits);
    routed.network(interface(0, 1500));
    for number in 2..42_u16 {
        let name = format!("g{number}");
        routed.plug(0, &name, mac(number.into()));
        let ips = (addr(Ip::V4, 0, number), addr(Ip::V4, 1, 3));
        routed.send(&name, &udp((router_mac(0), mac(number.into())), ips, 64, 10));
    }
    routed.moved(&["0 received+40 drop.no-route+40 errors_sent+11 errors_suppressed+29"]);
}
