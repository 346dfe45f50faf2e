use etherparse::{Icmpv4Slice, Icmpv6Slice, NetSlice, SlicedPacket, TransportSlice};

use super::*;
use crate::Tag;
use crate::build::Tcp;

const TO: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const FROM: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

const ERRORS: [IcmpError; 10] = [
    IcmpError::NoRoute,
    IcmpError::AddressUnreachable,
    IcmpError::ProtocolUnreachable { pointer: 6 },
    IcmpError::PortUnreachable,
    IcmpError::Prohibited,
    IcmpError::BeyondScope,
    IcmpError::TooBig { mtu: 1400 },
    IcmpError::TimeExceeded,
    IcmpError::ReassemblyTimeExceeded,
    IcmpError::ParameterProblem { pointer: 40 },
];

/// An IP packet with `payload` bytes of UDP.
fn packet(v6: bool, payload: usize, out: &mut [u8]) -> &[u8] {
    let builder = Builder::new(out).ethernet(TO, FROM);
    let builder = if v6 { builder.ipv6(&Ipv6::default()) } else { builder.ipv4(&Ipv4::default()) };
    let body = [0x5a; 2000];
    let len = builder.udp(1, 2).payload(&body[..payload]).finish().unwrap();
    &out[14..len]
}

#[test]
fn another_parser_reads_every_error_with_its_quote() {
    for v6 in [false, true] {
        for payload in [0, 100, 1900] {
            let (mut bytes, mut out) = ([0; 2100], [0; FRAME_LEN_MAX]);
            let packet = packet(v6, payload, &mut bytes);
            let source: IpAddr =
                if v6 { "fd00::fe".parse().unwrap() } else { "10.0.0.254".parse().unwrap() };
            for error in ERRORS {
                // The pieces may join anywhere behind the header.
                for border in [packet.len().min(60), packet.len()] {
                    let (a, b) = packet.split_at(border);
                    let len = build(&mut out, TO, FROM, source, error, &[a, b]).unwrap();
                    check(&out[..len], source, error, packet);
                }
            }
        }
    }
}

fn check(frame: &[u8], source: IpAddr, error: IcmpError, packet: &[u8]) {
    let sliced = SlicedPacket::from_ethernet(frame).expect("a frame");
    let (kind, code, rest, quote) = match (sliced.net, sliced.transport) {
        (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Icmpv4(icmp))) => {
            assert_eq!(IpAddr::V4(ip.header().source_addr()), source);
            assert_eq!(ip.header().destination_addr(), Ipv4Addr::new(10, 0, 0, 1));
            let checksum = ip.header().to_header().calc_header_checksum();
            assert_eq!(ip.header().header_checksum(), checksum);
            assert_eq!(crate::checksum::sum(icmp.slice()), 0xffff);
            assert!(frame.len() <= 14 + V4_LEN_MAX);
            let at: Icmpv4Slice<'_> = icmp;
            assert_eq!((at.type_u8(), at.code_u8()), (error.v4().0, error.v4().1));
            (error.v4().0, error.v4().1, error.v4().2, at.slice())
        }
        (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
            assert_eq!(IpAddr::V6(ip.header().source_addr()), source);
            let at: Icmpv6Slice<'_> = icmp;
            let octets = (ip.header().source(), ip.header().destination());
            assert!(at.is_checksum_valid(octets.0, octets.1));
            assert!(frame.len() <= 14 + V6_LEN_MAX);
            assert_eq!((at.type_u8(), at.code_u8()), (error.v6().0, error.v6().1));
            (error.v6().0, error.v6().1, error.v6().2, at.slice())
        }
        other => panic!("no ICMP: {other:?}"),
    };
    assert_eq!((quote[0], quote[1], &quote[4..8]), (kind, code, &rest[..]));
    assert!(packet.starts_with(&quote[8..]));
    let whole = packet.len() == quote.len() - 8;
    assert!(whole || frame.len() == 14 + V4_LEN_MAX || frame.len() == 14 + V6_LEN_MAX);
}

#[test]
fn a_buffer_that_is_too_small_is_an_error() {
    for v6 in [false, true] {
        let (mut bytes, mut out) = ([0; 2100], [0; FRAME_LEN_MAX]);
        let packet = packet(v6, 10, &mut bytes);
        let source: IpAddr =
            if v6 { "fd00::fe".parse().unwrap() } else { "10.0.0.254".parse().unwrap() };
        for len in 0..70 {
            let error = IcmpError::NoRoute;
            let built = build(&mut out[..len], TO, FROM, source, error, &[packet, &[]]);
            assert_eq!(built, Err(BufferFull));
        }
        let other: IpAddr =
            if v6 { "10.0.0.1".parse().unwrap() } else { "fd00::1".parse().unwrap() };
        let built = build(&mut out, TO, FROM, other, IcmpError::NoRoute, &[packet, &[]]);
        assert_eq!(built, Err(BufferFull), "the versions differ");
    }
}

/// What one frame is answered with, if anything.
fn answered(build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> bool {
    let mut out = [0; 200];
    let len = build(Builder::new(&mut out).ethernet(TO, FROM)).finish().unwrap();
    may_answer(IcmpError::NoRoute, &out[14..len])
}

#[test]
fn silence_where_the_standards_want_it_v4() {
    let ip = Ipv4::default();
    assert!(answered(|b| b.ipv4(&ip).tcp(&Tcp::default())));
    assert!(answered(|b| b.ipv4(&ip).icmpv4(8, 0, [0; 4])));
    assert!(answered(|b| b.ipv4(&Ipv4 { fragment: 0x2000, ..ip }).udp(1, 2)));
    for kind in [3, 4, 5, 11, 12] {
        assert!(!answered(|b| b.ipv4(&ip).icmpv4(kind, 0, [0; 4])), "type {kind}");
    }
    assert!(!answered(|b| b.ipv4(&Ipv4 { fragment: 1, ..ip }).payload(&[0; 8])));
    assert!(!answered(|b| b.ipv4(&ip).protocol(protocol::ICMP)), "no type at all");
    for text in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"] {
        let source = text.parse().unwrap();
        assert!(!answered(|b| b.ipv4(&Ipv4 { source, ..ip }).udp(1, 2)), "from {text}");
    }
    for text in ["224.0.0.1", "255.255.255.255"] {
        let destination = text.parse().unwrap();
        assert!(!answered(|b| b.ipv4(&Ipv4 { destination, ..ip }).udp(1, 2)), "to {text}");
    }
}

#[test]
fn silence_where_the_standards_want_it_v6() {
    let ip = Ipv6::default();
    assert!(answered(|b| b.ipv6(&ip).tcp(&Tcp::default())));
    assert!(answered(|b| b.ipv6(&ip).icmpv6(128, 0).payload(&[0; 4])));
    assert!(answered(|b| b.ipv6(&ip).extension(44, &[0, 0, 1, 0, 0, 0, 1]).udp(1, 2)));
    for kind in [1, 2, 3, 4, 127, 137] {
        assert!(!answered(|b| b.ipv6(&ip).icmpv6(kind, 0).payload(&[0; 4])), "type {kind}");
    }
    assert!(!answered(|b| b.ipv6(&ip).extension(44, &[0, 0, 8, 0, 0, 0, 1]).payload(&[0; 8])));
    assert!(!answered(|b| b.ipv6(&ip).protocol(protocol::ICMPV6)), "no type at all");
    for text in ["::", "::1", "ff02::1"] {
        let source = text.parse().unwrap();
        assert!(!answered(|b| b.ipv6(&Ipv6 { source, ..ip }).udp(1, 2)), "from {text}");
    }
    let many = Ipv6 { destination: "ff0e::1".parse().unwrap(), ..ip };
    assert!(!answered(|b| b.ipv6(&many).udp(1, 2)));
    let mut out = [0; 200];
    let len = Builder::new(&mut out).ethernet(TO, FROM).ipv6(&many).udp(1, 2).finish().unwrap();
    assert!(may_answer(IcmpError::TooBig { mtu: 1280 }, &out[14..len]), "path MTU discovery");
}

#[test]
fn what_is_no_packet_is_not_answered() {
    let mut out = [0; 100];
    let tag = Tag::new(5);
    let len = Builder::new(&mut out).ethernet(TO, FROM).tag(tag).ipv4(&Ipv4::default());
    let len = len.udp(1, 2).finish().unwrap();
    for start in [0, 14] {
        assert!(!may_answer(IcmpError::NoRoute, &out[start..len]));
    }
    for end in 18..38 {
        assert!(!may_answer(IcmpError::NoRoute, &out[18..end]));
    }
}
