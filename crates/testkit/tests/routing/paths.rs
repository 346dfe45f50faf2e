//! Forwarding itself: what leaves is what came in, one hop further.

use engine::PortSpec;
use engine::router::{InterfaceSpec, Route, RouterError, Via};
use testkit::frames::{Rich, tcp_gso};
use testkit::routed::Routed;
use testkit::{Ip, mac};
use wire::{L3, Offload, Segmenter};

use crate::*;

#[test]
fn a_packet_goes_from_one_network_to_another() {
    for version in Ip::BOTH {
        let mut routed = pair();
        for round in 0..3 {
            routed.send("a", &from_a(version, 64, 100 + round));
            routed.moved(&["0 received forwarded"]);
            let [frame] = &routed.receive_plain("b")[..] else { panic!("one frame") };
            let parsed = read(frame);
            assert_eq!((parsed.dst, parsed.src), (mac(3), router_mac(1)));
            assert_eq!(route_of(&parsed), (63, addr(version, 0, 2), addr(version, 1, 3)));
            let original = from_a(version, 64, 100 + round);
            assert_eq!(frame[34..].last_chunk::<80>(), original.last_chunk::<80>());
        }
        assert!(routed.receive("a").is_empty());
        routed.nothing_held();
    }
}

#[test]
fn padding_stays_behind() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let mut bytes = from_a(version, 64, 2);
        let len = bytes.len();
        bytes.extend([0xaa; 30]);
        routed.send("a", &bytes);
        routed.moved(&["0 received forwarded"]);
        assert_eq!(routed.receive_plain("b")[0].len(), len);
    }
}

#[test]
fn large_frames_stay_whole_and_checksums_partial() {
    for version in Ip::BOTH {
        let mut routed = pair_of([9000, 1500]);
        let (from, to) = (addr(version, 0, 2), addr(version, 1, 3));
        let mut out = vec![0; 66_000];
        let tcp = wire::build::Tcp::default();
        let builder = ip(&mut out, (router_mac(0), mac(2)), (from, to), 64).tcp(&tcp);
        let (len, checksum) = builder.payload(&[7; 40_000]).finish_partial().expect("fits");
        out.truncate(len);
        let template = tcp_gso(version, router_mac(0), mac(2), 100, 1400);
        let mut offload = Offload { checksum: Some(checksum), gso: template.offload.gso };
        routed.send_rich("a", &Rich { bytes: out.clone(), offload });
        routed.moved(&["0 received forwarded"]);
        let [frame] = &routed.receive("b")[..] else { panic!("one frame") };
        assert_eq!(frame.offload, offload);
        assert_eq!(frame.bytes.len(), out.len());
        let mut segmenter = Segmenter::new(&frame.offload, &[&frame.bytes, &[]]).expect("GSO");
        let mut header = [0; wire::HEADER_MAX];
        while let Some(segment) = segmenter.next(&[&frame.bytes, &[]], &mut header) {
            let bytes = [&header[..segment.header_len], &frame.bytes[segment.payload]].concat();
            assert_eq!(route_of(&read(&bytes)).0, 63);
        }
        // A segment counts, not the frame: these do not fit the second network.
        if let Some(gso) = &mut offload.gso {
            gso.size = 1500;
        }
        routed.send_rich("a", &Rich { bytes: out, offload });
        routed.moved(&["0 received drop.too-big errors_sent"]);
        assert!(routed.receive("b").is_empty());
        let [error] = &routed.receive("a")[..] else { panic!("one error") };
        let parsed = read(&error.bytes);
        assert_eq!(icmp_of(&parsed), if version == Ip::V4 { (3, 4) } else { (2, 0) });
        let at = usize::from(parsed.l4.expect("ICMP").offset);
        assert_eq!(error.bytes[at + 6..at + 8], 1500_u16.to_be_bytes());
        routed.nothing_held();
    }
}

#[test]
fn a_packet_that_may_be_cut_is_cut() {
    for payload in [1473, 3000, 8000] {
        for (options, partial) in [(&[][..], false), (&[7, 3, 4, 1, 148, 4, 0, 0][..], true)] {
            let mut routed = pair_of([9000, 1500]);
            let mut out = vec![0; 10_000];
            let (IpAddr::V4(source), IpAddr::V4(destination)) =
                (addr(Ip::V4, 0, 2), addr(Ip::V4, 1, 3))
            else {
                unreachable!("IPv4")
            };
            let header =
                Ipv4 { source, destination, fragment: 0, id: 77, options, ..Ipv4::default() };
            let body: Vec<u8> = (0..payload).map(|i| (i * 31 % 251) as u8).collect();
            let builder = Builder::new(&mut out).ethernet(router_mac(0), mac(2)).ipv4(&header);
            let builder = builder.udp(4000, 5000).payload(&body);
            let (len, offload) = if partial {
                let (len, checksum) = builder.finish_partial().expect("fits");
                (len, Offload { checksum: Some(checksum), gso: None })
            } else {
                (builder.finish().expect("fits"), Offload::NONE)
            };
            out.truncate(len);
            routed.send_rich("a", &Rich { bytes: out, offload });
            let fragments = routed.receive_plain("b");
            let count = fragments.len();
            assert!(count >= 2);
            routed.moved(&[&format!("0 received forwarded fragmented fragments_sent+{count}")]);
            let mut datagram = Vec::new();
            for (nth, bytes) in fragments.iter().enumerate() {
                let parsed = parse(bytes).expect("a frame");
                let Some(L3::Ipv4(ip)) = parsed.l3 else { panic!("IPv4") };
                let view = wire::ipv4::Header::new(&bytes[14..]).expect("a header");
                assert!(view.checksum_is_good() && bytes.len() <= 1514);
                assert_eq!((ip.ttl, view.id()), (63, 77));
                assert_eq!(usize::from(view.fragment_offset()), datagram.len());
                let last = nth + 1 == count;
                assert_eq!(bytes[20] & 0x20 == 0, last, "more fragments but the last");
                // Record route stays in the first, router alert is in all.
                let expected = match (options.is_empty(), nth) {
                    (true, _) => &[][..],
                    (false, 0) => options,
                    _ => &[148, 4, 0, 0][..],
                };
                assert_eq!(view.options(), expected);
                datagram.extend(&bytes[14 + view.header_len()..]);
            }
            assert_eq!(&datagram[8..], &body[..]);
            let len = u16::try_from(datagram.len()).expect("short");
            let pseudo = wire::checksum::pseudo_v4(source, destination, 17, len);
            assert_eq!(wire::checksum::add(pseudo, wire::checksum::sum(&datagram)), 0xffff);
            routed.nothing_held();
        }
    }
}

#[test]
fn a_packet_that_must_not_be_cut_is_refused() {
    for version in Ip::BOTH {
        let mut routed = pair_of([9000, 1500]);
        routed.send("a", &from_a(version, 64, 2000));
        routed.moved(&["0 received drop.too-big errors_sent"]);
        assert!(routed.receive("b").is_empty());
        let error = read(&routed.receive_plain("a")[0]);
        assert_eq!((error.dst, error.src), (mac(2), router_mac(0)));
        assert_eq!(route_of(&error), (64, addr(version, 0, 1), addr(version, 0, 2)));
        assert_eq!(icmp_of(&error), if version == Ip::V4 { (3, 4) } else { (2, 0) });
    }
}

#[test]
fn a_next_hop_is_asked_for_and_gets_what_is_behind_it() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let iface = routed.net(1).iface;
        let (prefix, far) = match version {
            Ip::V4 => ("10.9.0.0/16", "10.9.8.7"),
            Ip::V6 => ("fd09::/32", "fd09::8:7"),
        };
        let (prefix, far): (ipnet::IpNet, IpAddr) =
            (prefix.parse().expect("a prefix"), far.parse().expect("an address"));
        let via = Via::NextHop { iface, addr: addr(version, 1, 3) };
        routed.router.add_route(Route::new(prefix, via)).expect("a route");
        let again = routed.router.add_route(Route::new(prefix, via));
        assert_eq!(again, Err(RouterError::RouteExists(prefix)));
        let elsewhere = Via::NextHop { iface, addr: addr(version, 0, 2) };
        let longer = ipnet::IpNet::new(far, 64.min(prefix.max_prefix_len())).expect("a prefix");
        let refused = routed.router.add_route(Route::new(longer, elsewhere));
        assert!(matches!(refused, Err(RouterError::NextHopElsewhere { .. })));

        let there = udp((router_mac(0), mac(2)), (addr(version, 0, 2), far), 64, 10);
        routed.send("a", &there);
        routed.moved(&["0 received forwarded"]);
        let parsed = read(&routed.receive_plain("b")[0]);
        assert_eq!((parsed.dst, route_of(&parsed).2), (mac(3), far));
        // And back: the source is where the route leads.
        routed.send("b", &udp((router_mac(1), mac(3)), (far, addr(version, 0, 2)), 64, 10));
        routed.moved(&["1 received forwarded"]);
        assert_eq!(read(&routed.receive_plain("a")[0]).dst, mac(2));
        assert!(routed.router.remove_route(prefix));
        assert!(!routed.router.remove_route(prefix));
        routed.send("a", &there);
        routed.moved(&["0 received drop.no-route errors_sent"]);
    }
}

#[test]
fn routes_that_lead_nowhere_say_so() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let (shut, gone) = match version {
            Ip::V4 => ("10.8.0.0/16", "10.7.0.0/16"),
            Ip::V6 => ("fd08::/32", "fd07::/32"),
        };
        for (text, via) in [(shut, Via::Prohibit), (gone, Via::Unreachable)] {
            let prefix = text.parse().expect("a prefix");
            routed.router.add_route(Route::new(prefix, via)).expect("a route");
        }
        let codes = match version {
            Ip::V4 => [(3, 13), (3, 1), (3, 0)],
            Ip::V6 => [(1, 1), (1, 3), (1, 0)],
        };
        let far: [&str; 3] = match version {
            Ip::V4 => ["10.8.0.1", "10.7.0.1", "10.6.0.1"],
            Ip::V6 => ["fd08::1", "fd07::1", "fd06::1"],
        };
        let reasons = ["prohibited", "unreachable", "no-route"];
        for ((to, code), reason) in far.into_iter().zip(codes).zip(reasons) {
            let ips = (addr(version, 0, 2), to.parse().expect("an address"));
            routed.send("a", &udp((router_mac(0), mac(2)), ips, 64, 10));
            routed.moved(&[&format!("0 received drop.{reason} errors_sent")]);
            assert_eq!(icmp_of(&read(&routed.receive_plain("a")[0])), code);
        }
    }
}

#[test]
fn networks_that_are_not_routed_are_apart() {
    for version in Ip::BOTH {
        for shut in [0, 1] {
            let mut routed = pair();
            let iface = routed.net(shut).iface;
            let spec = routed.router.interface(iface).expect("an interface").clone();
            let spec = InterfaceSpec { routed: false, ..spec };
            let changed = routed.router.change_interface(&mut routed.pool, iface, spec);
            changed.expect("a changed interface");
            routed.send("a", &from_a(version, 64, 10));
            routed.moved(&["0 received drop.prohibited errors_sent"]);
            // Not even the router's address over there answers.
            let ips = (addr(version, 0, 2), addr(version, 1, 1));
            routed.send("a", &echo((router_mac(0), mac(2)), ips));
            routed.moved(&["0 received drop.prohibited errors_sent"]);
            assert!(routed.receive("b").is_empty());
        }
    }
}

#[test]
fn what_would_turn_back_must_be_allowed_to() {
    for version in Ip::BOTH {
        let mut routed = pair();
        routed.plug(0, "c", mac(4));
        let (iface, now) = (routed.net(0).iface, routed.now);
        let (its, third) = (Some(mac(4)), addr(version, 0, 4));
        routed.router.learn_neighbour(now, &mut routed.pool, iface, third, its, None);
        let frame = udp((router_mac(0), mac(2)), (addr(version, 0, 2), third), 64, 10);
        routed.send("a", &frame);
        routed.moved(&["0 received drop.hairpin errors_sent"]);
        assert_eq!(routed.receive("a").len(), 1);
        let spec = InterfaceSpec { hairpin: true, ..interface(0, 1500) };
        routed.router.change_interface(&mut routed.pool, iface, spec).expect("changed");
        routed.send("a", &frame);
        routed.moved(&["0 received forwarded"]);
        assert_eq!(read(&routed.receive_plain("c")[0]).src, router_mac(0));
        assert!(routed.receive("a").is_empty(), "no redirect");
    }
}

#[test]
fn two_communities_do_not_meet_by_way_of_the_router() {
    for version in Ip::BOTH {
        let mut routed = pair();
        let iface = routed.net(0).iface;
        for number in [4, 5] {
            let community = Some(number as u16);
            let spec = PortSpec { macs: vec![mac(number)], community, ..PortSpec::default() };
            routed.plug_as(0, ["d", "e"][number as usize - 4], spec);
            let address = addr(version, 0, number as u16);
            let its = Some(mac(number));
            routed.router.learn_neighbour(routed.now, &mut routed.pool, iface, address, its, None);
        }
        let ips = (addr(version, 0, 4), addr(version, 0, 5));
        routed.send("d", &udp((mac(5), mac(4)), ips, 64, 10));
        routed.moved(&[]);
        routed.send("d", &udp((router_mac(0), mac(4)), ips, 64, 10));
        routed.moved(&["0 received drop.hairpin errors_sent"]);
        assert!(routed.receive("e").is_empty());
        assert_eq!(routed.receive("d").len(), 1, "it is told");
    }
}

#[test]
fn interfaces_that_make_no_sense_are_refused() {
    let mut routed = pair();
    let router = &mut routed.router;
    let mut refused = |spec: InterfaceSpec| router.add_interface(spec).expect_err("refused");
    let fine = interface(7, 1500);
    let overlap = InterfaceSpec { v6: Vec::new(), ..interface(0, 1500) };
    assert!(matches!(refused(overlap), RouterError::Overlap { .. }));
    let group = MacAddr([1, 0, 0, 0, 0, 1]);
    assert_eq!(refused(InterfaceSpec { mac: group, ..fine.clone() }), RouterError::Mac(group));
    assert_eq!(refused(InterfaceSpec { mtu: 67, ..fine.clone() }), RouterError::Mtu(67));
    let loopback = Ipv4Addr::LOCALHOST;
    let spec = InterfaceSpec { v4: vec![(loopback, 8)], ..fine.clone() };
    assert_eq!(refused(spec), RouterError::NotUnicast(loopback.into()));
    let ip = Ipv4Addr::new(10, 5, 0, 1);
    let spec = InterfaceSpec { v4: vec![(ip, 33)], ..fine.clone() };
    assert_eq!(refused(spec), RouterError::PrefixLength(ip.into(), 33));
    let id = router.add_interface(fine).expect("sense");
    assert!(router.routes().any(|route| route.via == Via::Interface(id)));
    assert!(routed.router.remove_interface(&mut routed.pool, id).is_some());
    assert!(routed.router.remove_interface(&mut routed.pool, id).is_none());
    assert!(routed.router.routes().all(|route| route.via != Via::Interface(id)));
    let fine = routed.router.add_interface(interface(7, 1500)).expect("its addresses are free");
    assert_ne!(fine, id, "a handle is never used again");
}

#[test]
fn a_hub_shares_its_frames_and_the_router_changes_its_own_copy() {
    for version in Ip::BOTH {
        let mut routed = pair();
        routed.plug(0, "c", mac(4));
        let spec = engine::NetworkSpec { mode: engine::Mode::Hub, ..Default::default() };
        let plan = engine::NetworkPlan::validate(spec).expect("a network");
        for net in [0, 1] {
            routed.net(net).engine.apply(plan.clone());
        }
        let frame = from_a(version, 64, 900);
        routed.send("a", &frame);
        routed.moved(&["0 received forwarded"]);
        assert_eq!(routed.receive_plain("c"), [frame], "the other copy is as it was sent");
        let parsed = read(&routed.receive_plain("b")[0]);
        assert_eq!((parsed.dst, route_of(&parsed).0), (mac(3), 63));
        routed.nothing_held();
    }
}

#[test]
fn three_networks_and_back() {
    for version in Ip::BOTH {
        let mut routed = Routed::default();
        for net in 0..3 {
            let place = routed.network(interface(net, 1500));
            let name = ["x", "y", "z"][place];
            let number = 2 + u32::from(net);
            routed.plug(place, name, mac(number));
            let (iface, now) = (routed.net(place).iface, routed.now);
            let address = addr(version, net, 2);
            let its = Some(mac(number));
            routed.router.learn_neighbour(now, &mut routed.pool, iface, address, its, None);
        }
        for (from, name) in (0..3).zip(["x", "y", "z"]) {
            for to in (0..3).filter(|to| *to != from) {
                let macs = (router_mac(from), mac(2 + u32::from(from)));
                let ips = (addr(version, from, 2), addr(version, to, 2));
                routed.send(name, &udp(macs, ips, 9, 10));
                routed.moved(&[&format!("{from} received forwarded")]);
                let parsed = read(&routed.receive_plain(["x", "y", "z"][usize::from(to)])[0]);
                assert_eq!((parsed.src, route_of(&parsed).0), (router_mac(to), 8));
            }
        }
    }
}
