//! The parser against etherparse, and against anything at all.
#![forbid(unsafe_code)]

mod common;

use common::{checksums_hold, spec};
use etherparse::{LinkExtSlice, LinkSlice, NetSlice, SlicedPacket, TransportSlice};
use proptest::collection::vec;
use proptest::prelude::*;
use wire::{
    Gso, GsoKind, HEADER_MAX, L3, MacAddr, Offload, PartialChecksum, Segmenter, Transport,
    checksum, offload, parse, vnet,
};

/// What a parser says of a frame, in the words of neither.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    dst: [u8; 6],
    src: [u8; 6],
    vids: Vec<u16>,
    ethertype: u16,
    source: Vec<u8>,
    destination: Vec<u8>,
    transport: (u8, u16, u16, Option<u8>),
    payload: Vec<u8>,
}

fn etherparse_says(frame: &[u8]) -> Said {
    let packet = SlicedPacket::from_ethernet(frame).expect("etherparse reads the frame");
    let Some(LinkSlice::Ethernet2(ethernet)) = &packet.link else { panic!("no Ethernet header") };
    let vids = packet.link_exts.iter().map(|tag| match tag {
        LinkExtSlice::Vlan(tag) => tag.vlan_identifier().value(),
        LinkExtSlice::Macsec(tag) => panic!("{tag:?}"),
    });
    let ethertype = match packet.link_exts.last() {
        Some(LinkExtSlice::Vlan(tag)) => tag.ether_type().0,
        _ => ethernet.ether_type().0,
    };
    let (source, destination) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        NetSlice::Ipv6(ip) => (ip.header().source().to_vec(), ip.header().destination().to_vec()),
        NetSlice::Arp(arp) => panic!("{arp:?}"),
    };
    let (transport, payload) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(tcp) => (
            (6, tcp.source_port(), tcp.destination_port(), Some(tcp.slice()[13])),
            tcp.payload().to_vec(),
        ),
        TransportSlice::Udp(udp) => {
            ((17, udp.source_port(), udp.destination_port(), None), udp.payload().to_vec())
        }
        TransportSlice::Icmpv4(icmp) => (
            (1, u16::from(icmp.type_u8()), u16::from(icmp.code_u8()), None),
            icmp.slice()[8..].to_vec(),
        ),
        TransportSlice::Icmpv6(icmp) => (
            (58, u16::from(icmp.type_u8()), u16::from(icmp.code_u8()), None),
            icmp.slice()[4..].to_vec(),
        ),
        TransportSlice::Igmp(igmp) => panic!("{igmp:?}"),
    };
    Said {
        dst: ethernet.destination(),
        src: ethernet.source(),
        vids: vids.collect(),
        ethertype,
        source,
        destination,
        transport,
        payload,
    }
}

fn we_say(frame: &[u8]) -> Said {
    let parsed = parse(frame).unwrap();
    assert_eq!(parsed.malformed, None);
    let (source, destination) = match parsed.l3.unwrap() {
        L3::Ipv4(ip) => (ip.source.octets().to_vec(), ip.destination.octets().to_vec()),
        L3::Ipv6(ip) => (ip.source.octets().to_vec(), ip.destination.octets().to_vec()),
        L3::Arp(arp) => panic!("{arp:?}"),
    };
    let l4 = parsed.l4.unwrap();
    let (a, b, flags) = match l4.transport {
        Transport::Tcp { source, destination, flags } => (source, destination, Some(flags)),
        Transport::Udp { source, destination, .. } => (source, destination, None),
        Transport::Icmpv4 { kind, code } | Transport::Icmpv6 { kind, code } => {
            (kind.into(), code.into(), None)
        }
        Transport::Other => panic!("{l4:?}"),
    };
    Said {
        dst: parsed.dst.0,
        src: parsed.src.0,
        vids: [parsed.vlan, parsed.inner_vlan].into_iter().flatten().map(|tag| tag.vid()).collect(),
        ethertype: parsed.ethertype,
        source,
        destination,
        transport: (l4.protocol, a, b, flags),
        payload: frame[parsed.headers_len().unwrap()..parsed.claimed_len().unwrap()].to_vec(),
    }
}

/// An Ethernet header in front of bytes that often look like a network layer.
fn rubbish() -> impl Strategy<Value = Vec<u8>> {
    let ethertype = prop::sample::select(vec![
        0x0800_u16, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x8035, 0x0040,
    ]);
    let first = prop::sample::select(vec![0x45_u8, 0x46, 0x4f, 0x60, 0x6f, 0x00]);
    (any::<[u8; 12]>(), ethertype, prop::option::of(first), vec(any::<u8>(), 0..400)).prop_map(
        |(addresses, ethertype, first, mut rest)| {
            if let (Some(first), Some(byte)) = (first, rest.first_mut()) {
                *byte = first;
            }
            [&addresses[..], &ethertype.to_be_bytes(), &rest].concat()
        },
    )
}

fn any_offload() -> impl Strategy<Value = Offload> {
    let checksum = prop_oneof![
        (any::<u16>(), any::<u16>()),
        (0..300_u16, 0..40_u16),
        (prop::sample::select(vec![34, 38, 54, 58]), prop::sample::select(vec![6, 16])),
    ];
    let kind = prop::sample::select(vec![GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp]);
    let gso = (kind, prop_oneof![any::<u16>(), 0..64_u16], any::<bool>());
    (prop::option::of(checksum), prop::option::of(gso)).prop_map(|(checksum, gso)| Offload {
        checksum: checksum.map(|(start, offset)| PartialChecksum { start, offset }),
        gso: gso.map(|(kind, size, ecn)| Gso { kind, size, ecn }),
    })
}

/// Everything that a guest's bytes reach.
fn feed(frame: &[u8], border: usize, offload: &Offload) {
    let parsed = parse(frame);
    let l2 = parse::ethernet(frame);
    assert_eq!(parsed.is_ok(), l2.is_ok());
    if let Ok(parsed) = parsed {
        let headers = parsed.headers_len().unwrap_or(0);
        assert!(headers <= frame.len());
        assert!(usize::from(parsed.l3_offset) <= frame.len());
    }
    let checked = offload::check(offload, frame, frame.len(), 1500);
    assert!(offload::max_wire_len(offload, frame, frame.len()) <= frame.len());
    let mut header = [0; 12];
    vnet::encode(offload, frame, &mut header);
    let (a, b) = frame.split_at(border.min(frame.len()));
    let pieces = [a, b];
    let mut out = [0; HEADER_MAX];
    let front = checksum::complete(offload, &pieces, &mut out);
    match Segmenter::new(offload, &pieces) {
        Ok(mut segmenter) => {
            // What is cut was consistent but for the MTU and the room for a tag.
            assert!(offload.checksum.is_some() && offload.gso.is_some());
            let mut at = parse(frame).unwrap().headers_len().unwrap();
            let mut left = segmenter.remaining();
            assert!(left <= offload::TCP_SEGMENTS_MAX);
            while let Some(segment) = segmenter.next(&pieces, &mut out) {
                assert!(segment.header_len <= HEADER_MAX);
                assert_eq!(segment.payload.start, at);
                at = segment.payload.end;
                left -= 1;
            }
            assert_eq!((at, left), (frame.len(), 0));
        }
        Err(_) => assert!(checked.is_err() || offload.gso.is_none()),
    }
    if checked.is_ok() && offload.checksum.is_some() {
        assert!(front.is_ok_and(|front| front <= frame.len()));
    }
}

proptest! {
    #[test]
    fn etherparse_agrees(spec in spec(64), padding in vec(any::<u8>(), 0..20)) {
        let mut frame = spec.build();
        prop_assert!(checksums_hold(&frame));
        frame.extend(&padding);
        prop_assert_eq!(we_say(&frame), etherparse_says(&frame));
    }

    #[test]
    fn the_first_256_bytes_are_enough(spec in spec(600)) {
        let frame = spec.build();
        let whole = parse(&frame).unwrap();
        if whole.headers_len().is_some_and(|len| len <= HEADER_MAX) {
            let front = &frame[..frame.len().min(HEADER_MAX)];
            prop_assert_eq!(parse(front).unwrap(), whole);
        }
    }

    #[test]
    fn truncated_at_every_length(spec in spec(8), offload in any_offload(), border in 0..120_usize) {
        let frame = spec.build();
        for len in 0..=frame.len() {
            feed(&frame[..len], border, &offload);
        }
    }

    #[test]
    fn nothing_panics(frame in rubbish(), offload in any_offload(), border in 0..300_usize) {
        feed(&frame, border, &offload);
    }

    #[test]
    fn one_changed_byte(
        spec in spec(80),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        size in 0..100_u16,
        border in 0..200_usize,
    ) {
        let (mut frame, checksum) = spec.build_partial();
        let gso = spec.gso_kind().map(|kind| Gso { kind, size, ecn: false });
        let offload = Offload { checksum: Some(checksum), gso };
        feed(&frame, border, &offload);
        let at = at.index(frame.len());
        frame[at] = byte;
        feed(&frame, border, &offload);
    }

    #[test]
    fn a_vnet_header_that_is_read_is_written_the_same(bytes in any::<[u8; 12]>()) {
        if let Ok(offload) = vnet::decode(&bytes) {
            let mut out = [0; 12];
            vnet::encode(&offload, &[], &mut out);
            prop_assert_eq!(vnet::decode(&out), Ok(offload));
        }
    }

    #[test]
    fn a_mac_address_is_read_as_it_is_written(bytes in any::<[u8; 6]>()) {
        let mac = MacAddr(bytes);
        prop_assert_eq!(mac.to_string().parse::<MacAddr>(), Ok(mac));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,20}") {
        let _ = text.parse::<MacAddr>();
    }
}
