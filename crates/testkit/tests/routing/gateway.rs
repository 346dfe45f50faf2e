//! Between the router and the gateway of a network.

use std::time::Duration;

use engine::router::{InterfaceSpec, Route, Via};
use testkit::Ip;
use testkit::frames::Rich;
use testkit::routed::Routed;
use wire::Offload;

use crate::*;

/// A network with a gateway and a way out, and guest a; `other` is a network without.
fn outside() -> Routed {
    let mut routed = Routed::default();
    let spec = interface(0, 1500);
    let extra = vec![addr(Ip::V4, 0, 77), addr(Ip::V6, 0, 77)];
    routed.network(InterfaceSpec { gateway: true, outside: true, extra, ..spec });
    routed.network(interface(1, 1500));
    routed.plug(0, "a", mac(2));
    routed.plug(1, "b", mac(3));
    routed
}

fn far(version: Ip) -> IpAddr {
    match version {
        Ip::V4 => "192.0.2.80".parse().expect("an address"),
        Ip::V6 => "2001:db8::80".parse().expect("an address"),
    }
}

fn plain(bytes: Vec<u8>) -> Rich {
    Rich { bytes, offload: Offload::NONE }
}

#[test]
fn what_no_route_leads_to_goes_out_by_the_network_s_own_gateway() {
    for version in Ip::BOTH {
        let mut routed = outside();
        let frame = udp((router_mac(0), mac(2)), (addr(version, 0, 2), far(version)), 64, 10);
        routed.send("a", &frame);
        routed.moved(&["0 received to_gateway"]);
        assert_eq!(routed.for_gateway(0), [plain(frame)], "as it was sent, TTL and all");
        routed.send("a", &udp((router_mac(0), mac(2)), (addr(version, 0, 2), far(version)), 1, 9));
        routed.moved(&["0 received drop.time-exceeded errors_sent"]);
        // The other network has no way out of its own.
        let there = udp((router_mac(1), mac(3)), (addr(version, 1, 3), far(version)), 64, 10);
        routed.send("b", &there);
        routed.moved(&["1 received drop.no-route errors_sent"]);
        // Unless a route lends it one.
        let prefix = match version {
            Ip::V4 => "0.0.0.0/0",
            Ip::V6 => "::/0",
        };
        let via = Via::Gateway(routed.net(0).iface);
        let route = Route::new(prefix.parse().expect("a prefix"), via);
        routed.router.add_route(route).expect("a route");
        routed.send("b", &there);
        routed.moved(&["1 received to_gateway"]);
        assert_eq!(routed.for_gateway(0), [plain(there)]);
        // A default route is no leave to speak for the whole world.
        let forged = udp((router_mac(0), mac(2)), (far(version), addr(version, 1, 3)), 64, 10);
        routed.send("a", &forged);
        routed.moved(&["0 received drop.reverse-path"]);
    }
}

#[test]
fn own_addresses_are_the_gateway_s_but_for_echoes() {
    for version in Ip::BOTH {
        let mut routed = outside();
        for number in [1, 77] {
            let ips = (addr(version, 0, 2), addr(version, 0, number));
            let frame = udp((router_mac(0), mac(2)), ips, 1, 10);
            routed.send("a", &frame);
            routed.moved(&["0 received to_gateway"]);
            assert_eq!(routed.for_gateway(0), [plain(frame)]);
            routed.send("a", &echo((router_mac(0), mac(2)), ips));
            routed.moved(&["0 received answered echoes_sent"]);
        }
    }
}

/// Fragments of an ICMP message of this type: the first one, and a later one whose bytes look like
/// another message.
fn fragments(macs: (MacAddr, MacAddr), ips: (IpAddr, IpAddr), kind: u8) -> [Vec<u8>; 2] {
    let head = [kind, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    let tail = [135, 0, 0, 0, 1, 2, 3, 4];
    [(0_u16, true, &head[..]), (2, false, &tail)].map(|(at, more, bytes)| {
        let mut out = vec![0; 200];
        let frame = Builder::new(&mut out).ethernet(macs.0, macs.1);
        let frame = match ips {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let fragment = at | u16::from(more) << 13;
                frame.ipv4(&Ipv4 { source, destination, fragment, ..Ipv4::default() }).protocol(1)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let [hi, lo] = (at << 3 | u16::from(more)).to_be_bytes();
                let header = Ipv6 { source, destination, ..Ipv6::default() };
                frame.ipv6(&header).extension(44, &[0, hi, lo, 0, 0, 0, 9]).protocol(58)
            }
            _ => unreachable!("one version"),
        };
        let len = frame.payload(bytes).finish().expect("fits");
        out.truncate(len);
        out
    })
}

/// A router answers what is whole. What comes in pieces is for whoever puts pieces together.
#[test]
fn an_echo_request_in_fragments_is_the_gateway_s_wherever_it_comes_from() {
    for version in Ip::BOTH {
        let request = if version == Ip::V4 { 8 } else { 128 };
        let mut routed = outside();
        let gateway = addr(version, 0, 1);
        for (net, name, macs, source) in [
            (0, "a", (router_mac(0), mac(2)), addr(version, 0, 2)),
            (1, "b", (router_mac(1), mac(3)), addr(version, 1, 3)),
        ] {
            for frame in fragments(macs, (source, gateway), request) {
                routed.send(name, &frame);
                routed.moved(&[&format!("{net} received to_gateway")]);
                assert_eq!(routed.for_gateway(0), [plain(frame)]);
            }
        }
        // Nothing else of ICMP comes from elsewhere, nor is there anybody where there is no gateway.
        let macs = (router_mac(1), mac(3));
        let question = if version == Ip::V4 { 13 } else { 139 };
        let [other, _] = fragments(macs, (addr(version, 1, 3), gateway), question);
        routed.send("b", &other);
        routed.moved(&["1 received drop.no-service errors_sent"]);
        routed.receive("b");
        for frame in fragments(macs, (addr(version, 1, 3), addr(version, 1, 1)), request) {
            routed.send("b", &frame);
            routed.moved(&["1 received drop.no-service"]);
        }
        routed.nothing_held();
    }
}

/// A link has its own addresses of this kind, and they may be the same on every link.
#[test]
fn nobody_outside_speaks_as_a_neighbour() {
    for version in Ip::BOTH {
        let mut routed = outside();
        let (now, guest) = (routed.now, addr(version, 0, 2));
        let iface = routed.net(0).iface;
        routed.router.learn_neighbour(now, &mut routed.pool, iface, guest, Some(mac(2)), None);
        let nobody = (MacAddr::ZERO, MacAddr::ZERO);
        let neighbour = match version {
            Ip::V4 => "169.254.9.9".parse().expect("an address"),
            Ip::V6 => "fe80::9".parse().expect("an address"),
        };
        routed.from_gateway(0, &plain(udp(nobody, (neighbour, guest), 64, 33)));
        routed.moved(&["0 sent_by_gateway drop.link-scope"]);
        assert!(routed.receive("a").is_empty());
        if version == Ip::V6 {
            // The router has one itself, from which its gateway advertises it.
            let own = Ipv6Addr::from(router_mac(0).eui64_link_local()).into();
            routed.from_gateway(0, &plain(udp(nobody, (own, guest), 64, 33)));
            routed.moved(&["0 sent_by_gateway forwarded"]);
            assert_eq!(routed.receive("a").len(), 1);
        }
        routed.nothing_held();
    }
}

/// The pointer says where the protocol that is not known is named, also behind other headers.
#[test]
fn a_protocol_that_is_not_known_is_pointed_at() {
    let mut routed = pair();
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (addr(Ip::V6, 0, 2), addr(Ip::V6, 0, 1))
    else {
        unreachable!("versions")
    };
    for (extensions, pointer) in [(0, 6), (1, 40), (2, 48)] {
        let mut out = vec![0; 200];
        let mut frame = Builder::new(&mut out).ethernet(router_mac(0), mac(2)).ipv6(&Ipv6 {
            source,
            destination,
            ..Ipv6::default()
        });
        for _ in 0..extensions {
            frame = frame.extension(60, &[0, 1, 4, 0, 0, 0, 0]);
        }
        let len = frame.protocol(132).payload(&[0; 20]).finish().expect("fits");
        routed.send("a", &out[..len]);
        routed.moved(&["0 received drop.no-service errors_sent"]);
        let got = routed.receive_plain("a").remove(0);
        let parsed = read(&got);
        assert_eq!(icmp_of(&parsed), (4, 1));
        let l4 = usize::from(parsed.l4.expect("a message").offset);
        assert_eq!(got[l4 + 4..l4 + 8], u32::to_be_bytes(pointer));
    }
}

#[test]
fn questions_for_services_reach_the_gateway() {
    let mut routed = outside();
    let mut out = vec![0; 400];
    // DHCP, from a guest without an address.
    let header =
        Ipv4 { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::BROADCAST, ..Ipv4::default() };
    let builder = Builder::new(&mut out).ethernet(MacAddr::BROADCAST, mac(2)).ipv4(&header);
    let len = builder.udp(68, 67).payload(&[1; 240]).finish().expect("fits");
    routed.send("a", &out[..len]);
    routed.moved(&["0 received to_gateway"]);
    // DHCPv6 and a router solicitation.
    let source = Ipv6Addr::from(mac(2).eui64_link_local());
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
    let header = Ipv6 { source, destination: all, hop_limit: 1, ..Ipv6::default() };
    let to = wire::ndp::multicast_mac(all);
    let builder = Builder::new(&mut out).ethernet(to, mac(2)).ipv6(&header);
    let len = builder.udp(546, 547).payload(&[1; 20]).finish().expect("fits");
    routed.send("a", &out[..len]);
    routed.moved(&["0 received to_gateway"]);
    let routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
    for (hop_limit, counter) in [(255, "to_gateway"), (254, "drop.multicast")] {
        let header = Ipv6 { source, destination: routers, hop_limit, ..Ipv6::default() };
        let to = wire::ndp::multicast_mac(routers);
        let builder = Builder::new(&mut out).ethernet(to, mac(2)).ipv6(&header);
        let len = builder.icmpv6(133, 0).payload(&[0; 4]).finish().expect("fits");
        routed.send("a", &out[..len]);
        routed.moved(&[&format!("0 received {counter}")]);
    }
    assert_eq!(routed.for_gateway(0).len(), 3);
    // A network without a gateway has nobody to ask.
    let header =
        Ipv4 { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::BROADCAST, ..Ipv4::default() };
    let builder = Builder::new(&mut out).ethernet(MacAddr::BROADCAST, mac(3)).ipv4(&header);
    let len = builder.udp(68, 67).payload(&[1; 240]).finish().expect("fits");
    routed.send("b", &out[..len]);
    routed.moved(&["1 received drop.multicast"]);
}

#[test]
fn the_gateway_s_packets_find_their_guest() {
    for version in Ip::BOTH {
        let mut routed = outside();
        let now = routed.now;
        for (net, number) in [(0, 2), (1, 3)] {
            let iface = routed.net(net).iface;
            let (address, its) = (addr(version, net as u8, number), Some(mac(number.into())));
            routed.router.learn_neighbour(now, &mut routed.pool, iface, address, its, None);
        }
        let nobody = (MacAddr::ZERO, MacAddr::ZERO);
        for (net, name, number) in [(0, "a", 2), (1, "b", 3)] {
            let ips = (far(version), addr(version, net, number));
            routed.from_gateway(0, &plain(udp(nobody, ips, 64, 33)));
            routed.moved(&["0 sent_by_gateway forwarded"]);
            let parsed = read(&routed.receive_plain(name)[0]);
            assert_eq!((parsed.dst, parsed.src), (mac(number.into()), router_mac(net)));
            assert_eq!(route_of(&parsed).0, 64, "the gateway is the router");
        }
        // To all, and to one whose Ethernet address the gateway knows.
        let all: IpAddr = match version {
            Ip::V4 => Ipv4Addr::BROADCAST.into(),
            Ip::V6 => "ff02::1".parse().expect("an address"),
        };
        routed.from_gateway(0, &plain(udp(nobody, (addr(version, 0, 1), all), 64, 33)));
        routed.moved(&["0 sent_by_gateway forwarded"]);
        assert!(read(&routed.receive_plain("a")[0]).dst.is_multicast());
        let fresh = (addr(version, 0, 1), addr(version, 0, 99));
        routed.from_gateway(0, &plain(udp((mac(2), MacAddr::ZERO), fresh, 64, 33)));
        routed.moved(&["0 sent_by_gateway forwarded"]);
        assert_eq!(read(&routed.receive_plain("a")[0]).dst, mac(2));
        routed.nothing_held();
    }
}

#[test]
fn the_gateway_is_told_what_became_of_its_packets() {
    for version in Ip::BOTH {
        let mut routed = outside();
        let nobody = (MacAddr::ZERO, MacAddr::ZERO);
        let lost = (far(version), far(version));
        routed.from_gateway(0, &plain(udp(nobody, lost, 64, 33)));
        routed.moved(&["0 sent_by_gateway drop.no-route errors_sent"]);
        let away = (far(version), addr(version, 0, 9));
        routed.from_gateway(0, &plain(udp(nobody, away, 64, 33)));
        let asks = if version == Ip::V4 { "arp_sent" } else { "nd_sent" };
        routed.moved(&[&format!("0 sent_by_gateway waited {asks}")]);
        routed.wait(Duration::from_secs(4));
        routed.moved(&[&format!("0 drop.neighbour-unreachable errors_sent {asks}+2")]);
        let errors = routed.for_gateway(0);
        let codes = match version {
            Ip::V4 => [(3, 0), (3, 1)],
            Ip::V6 => [(1, 0), (1, 3)],
        };
        assert_eq!(errors.len(), 2);
        for (error, code) in errors.iter().zip(codes) {
            let parsed = read(&error.bytes);
            assert_eq!((parsed.dst, icmp_of(&parsed)), (MacAddr::ZERO, code));
            assert_eq!(route_of(&parsed).2, far(version));
        }
    }
}

#[test]
fn multicast_dns_is_the_gateway_s_where_it_answers_it() {
    for version in Ip::BOTH {
        for discovery in [false, true] {
            let mut routed = Routed::default();
            let spec = interface(0, 1500);
            routed.network(InterfaceSpec { gateway: true, discovery, ..spec });
            routed.plug(0, "a", mac(2));
            for (port, group, group6) in [
                (5353, "224.0.0.251", "ff02::fb"),
                (5355, "224.0.0.252", "ff02::1:3"),
                (1900, "239.255.255.250", "ff02::c"),
            ] {
                let destination: IpAddr = match version {
                    Ip::V4 => group.parse().expect("a group"),
                    Ip::V6 => group6.parse().expect("a group"),
                };
                let station = match destination {
                    IpAddr::V4(group) => {
                        let [_, b, c, d] = group.octets();
                        MacAddr([1, 0, 0x5e, b & 0x7f, c, d])
                    }
                    IpAddr::V6(group) => wire::ndp::multicast_mac(group),
                };
                let ips = (addr(version, 0, 2), destination);
                let mut out = vec![0; 200];
                let len = ip(&mut out, (station, mac(2)), ips, 255)
                    .udp(port, port)
                    .payload(&[0; 30])
                    .finish()
                    .expect("fits");
                out.truncate(len);
                routed.send("a", &out);
                if discovery && port != 1900 {
                    routed.moved(&["0 received to_gateway"]);
                    assert_eq!(routed.for_gateway(0), [plain(out)]);
                } else {
                    routed.moved(&["0 received drop.multicast"]);
                }
            }
        }
    }
}
