//! The router between networks: every step of a scenario names every counter that moved.
#![forbid(unsafe_code)]

mod errors;
mod gateway;
mod neighbours;
mod paths;
mod stacks;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::router::InterfaceSpec;
use testkit::routed::Routed;
use testkit::{Ip, mac};
use wire::build::{Builder, Ipv4, Ipv6};
use wire::{L3, MacAddr, Parsed, parse};

/// The address of a station: host `number` of network `net`.
fn addr(ip: Ip, net: u8, number: u16) -> IpAddr {
    match ip {
        Ip::V4 => {
            let [hi, lo] = number.to_be_bytes();
            Ipv4Addr::new(10, 0, 16 * (net + 1) + hi, lo).into()
        }
        Ip::V6 => Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, number).into(),
    }
}

fn router_mac(net: u8) -> MacAddr {
    mac(0xff00 + u32::from(net))
}

fn interface(net: u8, mtu: u16) -> InterfaceSpec {
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (addr(Ip::V4, net, 1), addr(Ip::V6, net, 1)) else {
        unreachable!("versions")
    };
    InterfaceSpec {
        mac: router_mac(net),
        mtu,
        v4: vec![(v4, 20)],
        v6: vec![(v6, 64)],
        ..InterfaceSpec::default()
    }
}

/// Two networks of this MTU each, with a guest: `a` is host 2 of network 0 with the address mac(2),
/// `b` host 3 of network 1 with mac(3). The router knows both by their bindings.
fn pair_of(mtus: [u16; 2]) -> Routed {
    let mut routed = Routed::default();
    for (net, mtu) in (0..).zip(mtus) {
        let place = routed.network(interface(net, mtu));
        let (name, number) = [("a", 2), ("b", 3)][place];
        let port = routed.plug(place, name, mac(number));
        let index = u16::try_from(port.index()).ok();
        for ip in Ip::BOTH {
            let iface = routed.net(place).iface;
            let address = addr(ip, net, number as u16);
            let (now, its) = (routed.now, Some(mac(number)));
            routed.router.learn_neighbour(now, &mut routed.pool, iface, address, its, index);
        }
    }
    routed
}

fn pair() -> Routed {
    pair_of([1500, 1500])
}

/// An IP packet's layers up to the transport header.
fn ip<'a>(
    out: &'a mut [u8],
    (to, from): (MacAddr, MacAddr),
    (source, destination): (IpAddr, IpAddr),
    ttl: u8,
) -> Builder<'a> {
    let builder = Builder::new(out).ethernet(to, from);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            builder.ipv4(&Ipv4 { source, destination, ttl, ..Ipv4::default() })
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            builder.ipv6(&Ipv6 { source, destination, hop_limit: ttl, ..Ipv6::default() })
        }
        _ => panic!("two versions in one packet"),
    }
}

/// A UDP datagram of this many bytes of payload.
fn udp(macs: (MacAddr, MacAddr), ips: (IpAddr, IpAddr), ttl: u8, payload: usize) -> Vec<u8> {
    let mut out = vec![0; 66_000];
    let body: Vec<u8> = (0..payload).map(|i| (i * 13) as u8).collect();
    let len = ip(&mut out, macs, ips, ttl).udp(4000, 5000).payload(&body).finish().expect("fits");
    out.truncate(len);
    out
}

/// From guest a of network 0 to b of network 1, by the router.
fn from_a(version: Ip, ttl: u8, payload: usize) -> Vec<u8> {
    let ips = (addr(version, 0, 2), addr(version, 1, 3));
    udp((router_mac(0), mac(2)), ips, ttl, payload)
}

/// An echo request.
fn echo(macs: (MacAddr, MacAddr), ips: (IpAddr, IpAddr)) -> Vec<u8> {
    let mut out = vec![0; 200];
    let builder = ip(&mut out, macs, ips, 64);
    let builder = match ips.0 {
        IpAddr::V4(_) => builder.icmpv4(8, 0, [0, 7, 0, 1]),
        IpAddr::V6(_) => builder.icmpv6(128, 0).payload(&[0, 7, 0, 1]),
    };
    let len = builder.payload(b"are you there?").finish().expect("fits");
    out.truncate(len);
    out
}

/// Reads a frame whose checksums must all be right.
#[track_caller]
fn read(bytes: &[u8]) -> Parsed {
    let parsed = parse(bytes).expect("a frame");
    assert_eq!(parsed.malformed, None);
    let l3 = usize::from(parsed.l3_offset);
    let claimed = parsed.claimed_len().expect("an IP packet");
    assert_eq!(claimed, bytes.len(), "no padding behind the packet");
    let pseudo = match parsed.l3 {
        Some(L3::Ipv4(header)) => {
            let view = wire::ipv4::Header::new(&bytes[l3..]).expect("a header");
            assert!(view.checksum_is_good());
            let len = header.total_len - u16::from(header.header_len);
            match header.protocol {
                1 => 0,
                protocol => {
                    wire::checksum::pseudo_v4(header.source, header.destination, protocol, len)
                }
            }
        }
        Some(L3::Ipv6(header)) => wire::checksum::pseudo_v6(
            header.source,
            header.destination,
            header.chain.protocol,
            u32::from(header.payload_len - header.chain.len),
        ),
        other => panic!("no IP: {other:?}"),
    };
    if !parsed.fragment().is_part() {
        let l4 = usize::from(parsed.l4.expect("a transport header").offset);
        let sum = wire::checksum::add(pseudo, wire::checksum::sum(&bytes[l4..]));
        assert_eq!(sum, 0xffff, "the checksum of the payload");
    }
    parsed
}

/// TTL, source and destination of a packet.
fn route_of(parsed: &Parsed) -> (u8, IpAddr, IpAddr) {
    match parsed.l3 {
        Some(L3::Ipv4(header)) => (header.ttl, header.source.into(), header.destination.into()),
        Some(L3::Ipv6(header)) => {
            (header.hop_limit, header.source.into(), header.destination.into())
        }
        other => panic!("no IP: {other:?}"),
    }
}

/// Type and code of an ICMP message of either version.
fn icmp_of(parsed: &Parsed) -> (u8, u8) {
    match parsed.l4.map(|l4| l4.transport) {
        Some(wire::Transport::Icmpv4 { kind, code } | wire::Transport::Icmpv6 { kind, code }) => {
            (kind, code)
        }
        other => panic!("no ICMP: {other:?}"),
    }
}
