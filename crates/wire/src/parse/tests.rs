extern crate std;

use super::*;
use crate::build::{self, Builder};
use crate::ipv6::extension;
use std::vec::Vec;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);

fn frame(make: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let len = make(Builder::new(&mut buffer).ethernet(B, A)).finish().unwrap();
    buffer[..len].to_vec()
}

/// One frame of each shape, with the length of its headers.
fn shapes() -> Vec<(Vec<u8>, usize)> {
    let v4 = build::Ipv4::default();
    let v6 = build::Ipv6::default();
    let tcp = build::Tcp::default();
    // Length 1, that is 16 bytes, filled with Pad1.
    let padding = [&[1][..], &[0; 14]].concat();
    std::vec![
        (frame(|b| b.ipv4(&v4).tcp(&tcp)), 54),
        (
            frame(|b| {
                b.ipv4(&build::Ipv4 { options: &[1; 40], ..v4 })
                    .tcp(&build::Tcp { options: &[1; 40], ..tcp })
                    .payload(&[7; 9])
            }),
            134
        ),
        (frame(|b| b.ipv4(&v4).udp(1, 2).payload(&[7; 9])), 42),
        (frame(|b| b.ipv4(&v4).icmpv4(8, 0, [0; 4])), 42),
        (frame(|b| b.ipv6(&v6).tcp(&tcp).payload(&[7; 9])), 74),
        (frame(|b| b.ipv6(&v6).udp(1, 2)), 62),
        (frame(|b| b.ipv6(&v6).icmpv6(128, 0).payload(&[0; 4])), 58),
        (frame(|b| b.tag(Tag::new(1)).ipv4(&v4).udp(1, 2)), 46),
        (
            frame(|b| {
                b.tag(Tag { tpid: ethertype::QINQ, tci: 5 }).tag(Tag::new(1)).ipv6(&v6).tcp(&tcp)
            }),
            82
        ),
        (
            frame(|b| {
                b.ipv6(&v6)
                    .extension(extension::HOP_BY_HOP, &[0, 1, 4, 0, 0, 0, 0])
                    .extension(extension::DESTINATION, &padding)
                    .udp(1, 2)
            }),
            86
        ),
    ]
}

#[test]
fn every_shape_up_to_its_payload() {
    for (bytes, headers_len) in shapes() {
        let parsed = parse(&bytes).unwrap();
        assert_eq!((parsed.dst, parsed.src), (B, A));
        assert_eq!(parsed.malformed, None, "{parsed:?}");
        assert_eq!(parsed.headers_len(), Some(headers_len), "{parsed:?}");
        assert_eq!(parsed.claimed_len(), Some(bytes.len()));
    }
}

#[test]
fn truncated_at_every_length() {
    for (bytes, headers_len) in shapes() {
        let whole = parse(&bytes).unwrap();
        let l2 = usize::from(whole.l3_offset);
        for len in 0..bytes.len() {
            match parse(&bytes[..len]) {
                Err(ParseError::ShortHeader) => assert!(len < 14),
                Err(ParseError::ShortTag) => assert!((14..l2).contains(&len)),
                Ok(parsed) if len < headers_len => {
                    assert_eq!(parsed.malformed, Some(Malformed::Truncated), "{len}");
                    assert_eq!(parsed.l4, None);
                    assert_eq!((parsed.vlan, parsed.ethertype), (whole.vlan, whole.ethertype));
                }
                Ok(parsed) => assert_eq!(parsed, whole),
            }
        }
    }
}

#[test]
fn tags() {
    let outer = Tag { tpid: ethertype::QINQ, tci: 0x6005 };
    let bytes = frame(|b| b.tag(outer).tag(Tag::new(9)).ethertype(0x88b5).payload(&[1; 4]));
    let parsed = parse(&bytes).unwrap();
    assert_eq!((parsed.vlan, parsed.inner_vlan, parsed.tags), (Some(outer), Some(Tag::new(9)), 2));
    assert_eq!((parsed.ethertype, parsed.l3_offset), (0x88b5, 22));
    assert_eq!((parsed.l3, parsed.l4, parsed.malformed), (None, None, None));
}

#[test]
fn a_third_tag_is_not_looked_behind() {
    let v4 = build::Ipv4::default();
    let bytes = frame(|b| b.tag(Tag::new(1)).tag(Tag::new(2)).tag(Tag::new(3)).ipv4(&v4).udp(1, 2));
    let parsed = parse(&bytes).unwrap();
    assert_eq!((parsed.tags, parsed.ethertype, parsed.l3_offset), (2, ethertype::VLAN, 22));
    assert_eq!((parsed.l3, parsed.l4), (None, None));
}

#[test]
fn the_l2_pass_agrees_and_goes_no_further() {
    for (bytes, _) in shapes() {
        let whole = parse(&bytes).unwrap();
        let l2 = ethernet(&bytes).unwrap();
        assert_eq!(l2, Parsed { l3: None, l4: None, ..whole });
    }
}

#[test]
fn arp_and_rarp() {
    let request = Arp {
        operation: arp::operation::REQUEST,
        sender_mac: A,
        sender_ip: Ipv4Addr::new(10, 0, 0, 1),
        target_mac: MacAddr::ZERO,
        target_ip: Ipv4Addr::new(10, 0, 0, 2),
    };
    let bytes = frame(|b| b.arp(&request));
    let parsed = parse(&bytes).unwrap();
    assert_eq!((parsed.l3, parsed.l4), (Some(L3::Arp(request)), None));
    let reverse = Arp { operation: arp::operation::REVERSE_REQUEST, ..request };
    let parsed = parse(&frame(|b| b.arp(&reverse))).unwrap();
    assert_eq!((parsed.ethertype, parsed.l3), (ethertype::RARP, Some(L3::Arp(reverse))));
    for len in 14..bytes.len() {
        assert_eq!(parse(&bytes[..len]).unwrap().malformed, Some(Malformed::Truncated));
    }
}

#[test]
fn ports_and_flags() {
    let tcp = build::Tcp { source: 1, destination: 2, flags: tcp::flag::SYN, ..Default::default() };
    let parsed = parse(&frame(|b| b.ipv4(&build::Ipv4::default()).tcp(&tcp))).unwrap();
    let expected = Transport::Tcp { source: 1, destination: 2, flags: tcp::flag::SYN };
    assert_eq!(parsed.l4.unwrap().transport, expected);
    let parsed = parse(&frame(|b| b.ipv6(&build::Ipv6::default()).udp(3, 4).payload(&[0; 5])));
    let expected = Transport::Udp { source: 3, destination: 4, len: 13 };
    assert_eq!(parsed.unwrap().l4.unwrap().transport, expected);
}

#[test]
fn icmp_of_the_other_family_is_another_protocol() {
    let bytes = frame(|b| b.ipv4(&build::Ipv4::default()).protocol(58).payload(&[0; 8]));
    assert_eq!(parse(&bytes).unwrap().l4.unwrap().transport, Transport::Other);
    let bytes = frame(|b| b.ipv6(&build::Ipv6::default()).protocol(1).payload(&[0; 8]));
    assert_eq!(parse(&bytes).unwrap().l4.unwrap().transport, Transport::Other);
}

#[test]
fn fragments_of_ipv4() {
    for (word, fragment, has_l4) in [
        (0x2000, Fragment::First, true),
        (0x2001, Fragment::Later, false),
        (0x0001, Fragment::Later, false),
    ] {
        let ip = build::Ipv4 { fragment: word, ..Default::default() };
        let parsed = parse(&frame(|b| b.ipv4(&ip).udp(1, 2))).unwrap();
        assert_eq!((parsed.fragment(), parsed.l4.is_some()), (fragment, has_l4));
        assert_eq!(parsed.malformed, None);
    }
}

#[test]
fn fragments_of_ipv6() {
    for (word, fragment, has_l4) in [
        (0x0000_u16, Fragment::Atomic, true),
        (0x0001, Fragment::First, true),
        (0x0009, Fragment::Later, false),
        (0x0008, Fragment::Later, false),
    ] {
        let [a, b] = word.to_be_bytes();
        let body = [0, a, b, 0, 0, 0, 7];
        let parsed = parse(&frame(|builder| {
            builder.ipv6(&build::Ipv6::default()).extension(extension::FRAGMENT, &body).udp(1, 2)
        }))
        .unwrap();
        assert_eq!((parsed.fragment(), parsed.l4.is_some()), (fragment, has_l4));
    }
}

#[test]
fn a_broken_network_header_is_named() {
    let v4 = frame(|b| b.ipv4(&build::Ipv4::default()).udp(1, 2));
    let v6 = frame(|b| {
        b.ipv6(&build::Ipv6::default()).extension(extension::DESTINATION, &[0; 7]).udp(1, 2)
    });
    let with = |frame: &[u8], at: usize, byte: u8| {
        let mut frame = frame.to_vec();
        frame[at] = byte;
        let parsed = parse(&frame).unwrap();
        assert_eq!(parsed.l4, None);
        (parsed.l3.is_some(), parsed.malformed)
    };
    assert_eq!(with(&v4, 14, 0x65), (false, Some(Malformed::Version)));
    assert_eq!(with(&v4, 14, 0x44), (false, Some(Malformed::HeaderLength)));
    assert_eq!(with(&v4, 17, 19), (false, Some(Malformed::TotalLength)));
    assert_eq!(with(&v4, 39, 7), (true, Some(Malformed::TotalLength)));
    assert_eq!(with(&v6, 14, 0x45), (false, Some(Malformed::Version)));
    assert_eq!(with(&v6, 19, 7), (false, Some(Malformed::TotalLength)));
    assert_eq!(with(&v6, 55, 32), (false, Some(Malformed::ExtensionChain)));
}

#[test]
fn no_next_header_is_no_transport() {
    let bytes = frame(|b| b.ipv6(&build::Ipv6::default()).protocol(59).payload(&[1, 2, 3]));
    let parsed = parse(&bytes).unwrap();
    assert_eq!((parsed.l4, parsed.malformed), (None, None));
    assert!(parsed.l3.is_some());
}
