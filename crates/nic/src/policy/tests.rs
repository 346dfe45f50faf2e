use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::parse::Arp;
use wire::{Tag, VNET_HDR_LEN};

use super::*;

const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEIRS: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const MTU: usize = 1500;
const PLAIN: [u8; VNET_HDR_LEN] = [0; VNET_HDR_LEN];

fn ours(mac: MacAddr) -> bool {
    mac == OURS
}

/// A frame of which the front is shown, as the relay does.
fn outgoing(
    header: &[u8],
    frame: &[u8],
    mtu: usize,
    claimed: impl Fn(MacAddr) -> bool,
) -> Result<Outgoing, Reason> {
    let len = frame.len();
    let front = header.try_into().map_or(len.min(FRONT), |header| front_len(header, len));
    super::outgoing(header, &frame[..front], len, mtu, claimed)
}

fn incoming(
    offload: Offload,
    tagged: bool,
    frame: &mut [u8],
    mtu: usize,
    claimed: impl Fn(MacAddr) -> bool,
) -> Result<Incoming, Reason> {
    let len = frame.len();
    super::incoming(offload, tagged, &mut frame[..len.min(HEADER_MAX)], len, mtu, claimed)
}

fn built(build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
    from(OURS, build)
}

fn from(source: MacAddr, build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let len = build(Builder::new(&mut buffer).ethernet(MacAddr::BROADCAST, source))
        .finish()
        .expect("room enough");
    buffer.truncate(len);
    buffer
}

fn judge(frame: &[u8]) -> Result<(), Reason> {
    outgoing(&PLAIN, frame, MTU, ours).map(|outgoing| {
        assert_eq!(outgoing.offload, Offload::NONE);
        assert_eq!((outgoing.frames, outgoing.bytes), (1, frame.len() as u64));
    })
}

/// The same for both families.
fn twins(build: impl Fn(Builder<'_>, bool) -> Builder<'_>, expected: Result<(), Reason>) {
    for v6 in [false, true] {
        let frame = built(|b| {
            let b = if v6 { b.ipv6(&Ipv6::default()) } else { b.ipv4(&Ipv4::default()) };
            build(b, v6)
        });
        assert_eq!(judge(&frame), expected, "IPv{}", if v6 { 6 } else { 4 });
    }
}

#[test]
fn ordinary_traffic_passes() {
    twins(|b, _| b.tcp(&Tcp::default()).payload(&[7; 1400]), Ok(()));
    twins(|b, _| b.udp(5000, 53).payload(b"who"), Ok(()));
    twins(
        |b, v6| if v6 { b.icmpv6(128, 0).payload(&[0; 4]) } else { b.icmpv4(8, 0, [0; 4]) },
        Ok(()),
    );
    // Another protocol (GRE).
    twins(|b, _| b.protocol(47).payload(&[0; 20]), Ok(()));
    // Clients ask; only servers answer.
    assert_eq!(judge(&built(|b| b.ipv4(&Ipv4::default()).udp(68, 67).payload(&[1; 240]))), Ok(()));
    assert_eq!(judge(&built(|b| b.ipv6(&Ipv6::default()).udp(546, 547).payload(&[1]))), Ok(()));
}

#[test]
fn only_claimed_addresses_speak() {
    let frame = |source| from(source, |b| b.ipv4(&Ipv4::default()).udp(1, 2));
    assert_eq!(judge(&frame(THEIRS)), Err(Reason::SourceMac));
    let everything = |_: MacAddr| true;
    for none in [MacAddr::ZERO, MacAddr::BROADCAST, MacAddr([3, 0, 0, 0, 0, 1])] {
        assert_eq!(outgoing(&PLAIN, &frame(none), MTU, everything), Err(Reason::SourceMac));
    }
}

#[test]
fn arp_speaks_for_its_sender_only() {
    let arp = |operation, sender| {
        let packet = Arp {
            operation,
            sender_mac: sender,
            sender_ip: Ipv4Addr::new(192, 0, 2, 1),
            target_mac: THEIRS,
            target_ip: Ipv4Addr::new(192, 0, 2, 2),
        };
        judge(&built(|b| b.arp(&packet)))
    };
    for operation in [1, 2] {
        assert_eq!(arp(operation, OURS), Ok(()));
        assert_eq!(arp(operation, THEIRS), Err(Reason::ArpSender));
    }
    for operation in [0, 8, 9, 0xffff] {
        assert_eq!(arp(operation, OURS), Err(Reason::Malformed));
    }
    // RARP is another protocol.
    for operation in [3, 4] {
        assert_eq!(arp(operation, OURS), Err(Reason::Ethertype));
    }
}

#[test]
fn of_what_is_to_be_segmented_only_the_headers_are_looked_at() {
    let target = "fe80::1".parse().unwrap();
    let mut frame = built(|b| b.ipv6(&Ipv6::default()).neighbour(136, 0, target, OURS));
    frame.resize(3000, 0);
    for (gso_type, front) in [(0, FRONT), (1, HEADER_MAX), (4, HEADER_MAX), (5, HEADER_MAX)] {
        let header = [1, gso_type, 0, 0, 0xa0, 5, 54, 0, 16, 0, 1, 0];
        assert_eq!(front_len(&header, 3000), front);
        assert_eq!(front_len(&header, 60), 60);
        assert!(outgoing(&header, &frame, MTU, ours).is_err(), "no such frame is one of these");
    }
}

#[test]
fn neighbour_discovery_that_goes_on_behind_what_is_looked_at_is_refused() {
    let message = |nonces: usize| {
        let mut body = vec![0; 20];
        for _ in 0..nonces {
            // Options of 1024 bytes that mean nothing here.
            body.extend_from_slice(&[14, 128]);
            body.resize(body.len() + 1022, 0);
        }
        body.extend_from_slice(&[1, 1]);
        body.extend_from_slice(&THEIRS.0);
        built(|b| b.ipv6(&Ipv6::default()).icmpv6(135, 0).payload(&body))
    };
    let judge = |frame: &[u8]| outgoing(&PLAIN, frame, 9000, ours).map(|_| ());
    assert_eq!(judge(&message(1)), Err(Reason::NeighbourSender));
    assert_eq!(judge(&message(2)), Err(Reason::Malformed));
}

#[test]
fn neighbour_discovery_speaks_for_its_sender_only() {
    let target: Ipv6Addr = "fe80::1".parse().unwrap();
    for kind in [135, 136] {
        for (address, expected) in [(OURS, Ok(())), (THEIRS, Err(Reason::NeighbourSender))] {
            let frame = built(|b| b.ipv6(&Ipv6::default()).neighbour(kind, 0, target, address));
            assert_eq!(judge(&frame), expected);
        }
    }
    let icmp = |kind: u8, body: &[u8]| {
        judge(&built(|b| b.ipv6(&Ipv6::default()).icmpv6(kind, 0).payload(body)))
    };
    let solicit = |mac: MacAddr| [&[0; 4][..], &[1, 1], &mac.0].concat();
    assert_eq!(icmp(133, &solicit(OURS)), Ok(()));
    assert_eq!(icmp(133, &solicit(THEIRS)), Err(Reason::NeighbourSender));
    assert_eq!(icmp(133, &[0; 4]), Ok(()));
    // A second option behind a good one, and one of another length.
    let two = |second: &[u8]| [&[0; 20][..], &[2, 1], &OURS.0, second].concat();
    assert_eq!(icmp(136, &two(&[&[2, 1][..], &OURS.0].concat())), Ok(()));
    assert_eq!(icmp(136, &two(&[&[2, 1][..], &THEIRS.0].concat())), Err(Reason::NeighbourSender));
    assert_eq!(
        icmp(136, &two(&[2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        Err(Reason::NeighbourSender)
    );
    assert_eq!(icmp(136, &two(&[2, 0, 0, 0, 0, 0, 0, 0])), Err(Reason::Malformed));
    assert_eq!(icmp(136, &[0; 19]), Err(Reason::Malformed));
}

#[test]
fn what_routers_and_servers_say_is_refused() {
    let v6 =
        |kind: u8| judge(&built(|b| b.ipv6(&Ipv6::default()).icmpv6(kind, 0).payload(&[0; 36])));
    let v4 = |kind: u8| judge(&built(|b| b.ipv4(&Ipv4::default()).icmpv4(kind, 0, [0; 4])));
    for (v4_kind, v6_kind) in [(9, 134), (5, 137)] {
        assert_eq!(v4(v4_kind), Err(Reason::RouterMessage));
        assert_eq!(v6(v6_kind), Err(Reason::RouterMessage));
    }
    for (source, destination) in [(67, 68), (67, 67), (67, 5), (1067, 68)] {
        let frame = built(|b| b.ipv4(&Ipv4::default()).udp(source, destination));
        assert_eq!(judge(&frame), Err(Reason::DhcpServer));
    }
    for (source, destination) in [(547, 546), (547, 547), (547, 5), (1547, 546)] {
        let frame = built(|b| b.ipv6(&Ipv6::default()).udp(source, destination));
        assert_eq!(judge(&frame), Err(Reason::DhcpServer));
    }
}

#[test]
fn headers_hide_nothing() {
    // Behind one to eight extension headers; with more than are walked, the frame is refused.
    for count in 1..=9 {
        for kind in [0, 43, 60] {
            let frame = built(|b| {
                let mut b = b.ipv6(&Ipv6::default());
                for _ in 0..count {
                    b = b.extension(kind, &[0; 7]);
                }
                b.icmpv6(134, 0).payload(&[0; 12])
            });
            let refused = judge(&frame);
            let known = [Err(Reason::RouterMessage), Err(Reason::Malformed)];
            assert!(known.contains(&refused), "{count} of kind {kind}: {refused:?}");
        }
    }
    // In a first fragment, whole or cut within the header.
    let fragment = |body: &[u8]| {
        let mut packet = vec![58, 0, 0, 1, 0, 0, 0, 9];
        packet.extend_from_slice(body);
        judge(&built(|b| b.ipv6(&Ipv6::default()).protocol(44).payload(&packet)))
    };
    assert_eq!(fragment(&[134, 0, 0, 0, 0, 0, 0, 0]), Err(Reason::RouterMessage));
    assert_eq!(fragment(&[136, 0, 0, 0, 0, 0, 0, 0]), Err(Reason::Malformed));
    assert_eq!(fragment(&[134, 0]), Err(Reason::Malformed));
    assert_eq!(fragment(&[]), Err(Reason::Malformed));
    let first = Ipv4 { fragment: 0x2000, ..Ipv4::default() };
    assert_eq!(judge(&built(|b| b.ipv4(&first).udp(67, 68))), Err(Reason::DhcpServer));
    assert_eq!(
        judge(&built(|b| b.ipv4(&first).protocol(17).payload(&[0, 67]))),
        Err(Reason::Malformed)
    );
}

/// Receivers read a packet to its own end. An innocent header behind it, in the padding of the Ethernet frame, would be
/// judged instead of the one that comes with the next fragment.
#[test]
fn padding_is_no_part_of_the_packet() {
    // A UDP header that begins within the packet and ends within the padding, in the first of two fragments.
    let mut v4 = built(|b| {
        b.ipv4(&Ipv4 { fragment: 0x2000, ..Ipv4::default() }).udp(5000, 53).payload(&[0; 18])
    });
    assert_eq!(judge(&v4), Ok(()));
    for (len, expected) in
        [(20, Err(Reason::Malformed)), (24, Err(Reason::Malformed)), (28, Ok(()))]
    {
        v4[16..18].copy_from_slice(&u16::to_be_bytes(len));
        assert_eq!(judge(&v4), expected, "{len} bytes");
    }
    let mut v6 = built(|b| {
        let fragment = [17, 0, 0, 1, 0, 0, 0, 9];
        let udp = [&5000_u16.to_be_bytes()[..], &53_u16.to_be_bytes(), &[0, 26, 0, 0]].concat();
        let packet = [&fragment[..], &udp, &[0; 18]].concat();
        b.ipv6(&Ipv6::default()).protocol(44).payload(&packet)
    });
    assert_eq!(judge(&v6), Ok(()));
    for (len, expected) in [(8, Err(Reason::Malformed)), (12, Err(Reason::Malformed)), (16, Ok(()))]
    {
        v6[18..20].copy_from_slice(&u16::to_be_bytes(len));
        assert_eq!(judge(&v6), expected, "{len} bytes");
    }
    // And none that says it is longer than its frame.
    twins(|b, _| b.udp(5000, 53).payload(b"who"), Ok(()));
    for (at, v6) in [(16, false), (18, true)] {
        let mut frame = built(|b| {
            let b = if v6 { b.ipv6(&Ipv6::default()) } else { b.ipv4(&Ipv4::default()) };
            b.udp(5000, 53).payload(b"who")
        });
        frame[at..at + 2].copy_from_slice(&u16::to_be_bytes(1000));
        assert_eq!(judge(&frame), Err(Reason::Malformed), "IPv6: {v6}");
    }
}

#[test]
fn tags_and_other_protocols_are_refused() {
    let tagged = built(|b| b.tag(Tag::new(5)).ipv4(&Ipv4::default()).udp(1, 2));
    assert_eq!(judge(&tagged), Err(Reason::Tagged));
    assert_eq!(judge(&tagged[..15]), Err(Reason::Tagged), "cut within the tag");
    for ethertype in [0x8035, 0x8808, 0x88cc, 0x8847, 0x0026, 0xffff] {
        let frame = built(|b| b.ethertype(ethertype).payload(&[0; 46]));
        assert_eq!(judge(&frame), Err(Reason::Ethertype), "{ethertype:#x}");
    }
    let mut pause = built(|b| b.ipv4(&Ipv4::default()).udp(1, 2));
    pause[..6].copy_from_slice(&[0x01, 0x80, 0xc2, 0, 0, 1]);
    assert_eq!(judge(&pause), Err(Reason::Ethertype));
}

#[test]
fn lengths_are_the_devices() {
    assert_eq!(judge(&[0; 13]), Err(Reason::Runt));
    let longest =
        |payload| built(|b| b.ipv4(&Ipv4::default()).udp(1, 2).payload(&vec![0; payload]));
    assert_eq!(judge(&longest(MTU - 28)), Ok(()));
    assert_eq!(judge(&longest(MTU - 27)), Err(Reason::Oversize));
}

/// A TCP frame of so much payload with a partial checksum, to be cut into `size`.
fn gso(v6: bool, payload: usize, size: u16) -> (Offload, Vec<u8>) {
    let mut buffer = vec![0; payload + 200];
    let b = Builder::new(&mut buffer).ethernet(MacAddr::BROADCAST, OURS);
    let b = if v6 { b.ipv6(&Ipv6::default()) } else { b.ipv4(&Ipv4::default()) };
    let b = b.tcp(&Tcp::default()).payload(&vec![7; payload]);
    let (len, checksum) = b.finish_partial().expect("room enough");
    buffer.truncate(len);
    let kind = if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
    let gso = Some(Gso { kind, size, ecn: false });
    (Offload { checksum: Some(checksum), gso }, buffer)
}

fn header(offload: &Offload, frame: &[u8]) -> [u8; VNET_HDR_LEN] {
    let mut header = PLAIN;
    vnet::encode(offload, frame, &mut header);
    header
}

#[test]
fn large_frames_pass_whole_and_are_counted_as_what_they_become() {
    for (v6, headers) in [(false, 54), (true, 74)] {
        let (offload, frame) = gso(v6, 10_000, 1400);
        let outgoing = outgoing(&header(&offload, &frame), &frame, MTU, ours).unwrap();
        assert_eq!(outgoing.offload, offload);
        assert_eq!((outgoing.frames, outgoing.bytes), (8, 10_000 + 8 * headers));
    }
}

#[test]
fn metadata_that_lies_is_refused() {
    let (good, frame) = gso(false, 10_000, 1400);
    let refused = |offload: Offload, frame: &[u8]| {
        outgoing(&header(&offload, frame), frame, MTU, ours).expect_err("a lie")
    };
    let checksum = good.checksum.unwrap();
    let far = PartialChecksum { start: 60_000, ..checksum };
    let near = PartialChecksum { start: 0, offset: 0 };
    for checksum in [far, near] {
        assert_eq!(
            refused(Offload { checksum: Some(checksum), ..good }, &frame),
            Reason::BadOffload
        );
    }
    let gso = good.gso.unwrap();
    for gso in [
        Gso { size: 1, ..gso },
        Gso { size: 9000, ..gso },
        Gso { kind: GsoKind::Tcp6, ..gso },
        Gso { kind: GsoKind::Udp, ..gso },
    ] {
        assert_eq!(refused(Offload { gso: Some(gso), ..good }, &frame), Reason::BadOffload);
    }
    assert_eq!(refused(Offload { checksum: None, ..good }, &frame), Reason::BadOffload);
    // A frame that ends before its packet, and one that goes on behind it.
    assert_eq!(refused(good, &frame[..5000]), Reason::Malformed);
    assert_eq!(refused(good, &[&frame[..], &[0]].concat()), Reason::BadOffload);
    for bad in [[0xff; VNET_HDR_LEN], [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(outgoing(&bad, &frame, MTU, ours), Err(Reason::BadVnetHeader));
    }
    assert_eq!(outgoing(&PLAIN[..9], &frame, MTU, ours), Err(Reason::BadVnetHeader));
}

#[test]
fn the_user_is_given_his_own_and_groups() {
    let incoming = |to: MacAddr, from: MacAddr, tagged| {
        let mut frame = built(|b| b.ipv4(&Ipv4::default()).udp(1, 2));
        frame[..6].copy_from_slice(&to.0);
        frame[6..12].copy_from_slice(&from.0);
        incoming(Offload::NONE, tagged, &mut frame, MTU, ours).map(|it| it.group)
    };
    assert_eq!(incoming(OURS, THEIRS, false), Ok(false));
    assert_eq!(incoming(MacAddr::BROADCAST, THEIRS, false), Ok(true));
    assert_eq!(incoming(MacAddr([0x33, 0x33, 0, 0, 0, 1]), THEIRS, false), Ok(true));
    assert_eq!(incoming(THEIRS, THEIRS, false), Err(Reason::InNotForUs));
    assert_eq!(incoming(MacAddr([1, 0x80, 0xc2, 0, 0, 0]), THEIRS, false), Err(Reason::InNotForUs));
    assert_eq!(incoming(OURS, THEIRS, true), Err(Reason::InTagged));
    assert_eq!(incoming(OURS, OURS, false), Err(Reason::InOwnSource));
    let mut frame = built(|b| b.ethertype(0x88cc).payload(&[0; 46]));
    frame[6..12].copy_from_slice(&THEIRS.0);
    assert_eq!(
        self::incoming(Offload::NONE, false, &mut frame, MTU, ours),
        Err(Reason::InEthertype)
    );
    assert_eq!(
        self::incoming(Offload::NONE, false, &mut [0; 13], MTU, ours),
        Err(Reason::InUnreadable)
    );
}

#[test]
fn what_hardware_has_merged_becomes_a_frame_to_be_cut() {
    for v6 in [false, true] {
        let (good, expected) = gso(v6, 10_000, 1400);
        let mut expected = expected;
        expected[6..12].copy_from_slice(&THEIRS.0);
        let mut frame = expected.clone();
        let at = good.checksum.unwrap().field();
        frame[at..at + 2].copy_from_slice(&[0xab, 0xcd]);
        let merged = Offload { checksum: None, ..good };
        let result = incoming(merged, false, &mut frame, MTU, ours);
        assert_eq!(result, Ok(Incoming { offload: good, group: true }));
        assert_eq!(frame, expected, "the field holds the sum of the pseudo header");
        let lie = Offload {
            gso: Some(Gso { kind: GsoKind::Udp, size: 1400, ecn: false }),
            checksum: None,
        };
        assert_eq!(incoming(lie, false, &mut frame, MTU, ours), Err(Reason::InBadOffload));
    }
}

/// What a receiver of the frame might see in it, read by nobody's parser but this: the fields at
/// fixed places, and the plain chain of extension headers. Errs on the side of seeing too much.
fn forbidden(frame: &[u8]) -> Option<&'static str> {
    let word = |at: usize| frame.get(at..at + 2).map(|it| u16::from_be_bytes([it[0], it[1]]));
    if frame.get(6..12) != Some(&OURS.0[..]) {
        return Some("source");
    }
    match word(12)? {
        0x0800 => {
            let options = usize::from(frame[14] & 15) * 4;
            let later = word(20)? & 0x1fff != 0;
            let at = 14 + options;
            match frame.get(23)? {
                17 if !later && (word(at) == Some(67) || word(at + 2) == Some(68)) => Some("dhcp"),
                1 if !later && matches!(frame.get(at), Some(5 | 9)) => Some("router"),
                _ => None,
            }
        }
        0x0806 => (frame.get(22..28) != Some(&OURS.0[..])).then_some("arp"),
        0x86dd => {
            let (mut next, mut at) = (*frame.get(20)?, 54);
            loop {
                match next {
                    0 | 43 | 60 | 135 | 139 | 140 => {
                        next = *frame.get(at)?;
                        at += 8 + usize::from(*frame.get(at + 1)?) * 8;
                    }
                    51 => {
                        next = *frame.get(at)?;
                        at += 8 + usize::from(*frame.get(at + 1)?) * 4;
                    }
                    44 => {
                        if word(at + 2)? & 0xfff8 != 0 {
                            return None;
                        }
                        next = *frame.get(at)?;
                        at += 8;
                    }
                    17 => {
                        let server = word(at) == Some(547) || word(at + 2) == Some(546);
                        return server.then_some("dhcpv6");
                    }
                    58 => return matches!(frame.get(at), Some(134 | 137)).then_some("router"),
                    _ => return None,
                }
            }
        }
        _ => Some("ethertype"),
    }
}

fn ports() -> impl Strategy<Value = u16> {
    prop_oneof![Just(67), Just(68), Just(546), Just(547), any::<u16>()]
}

fn a_frame() -> impl Strategy<Value = Vec<u8>> {
    let chain = proptest::collection::vec(
        prop_oneof![Just(0_u8), Just(43), Just(60), Just(44), Just(51)],
        0..10,
    );
    let kinds = prop_oneof![
        Just(134_u8),
        Just(137),
        Just(136),
        Just(135),
        Just(133),
        Just(9),
        Just(5),
        any::<u8>()
    ];
    (
        any::<bool>(),
        chain,
        0..4_u8,
        ports(),
        ports(),
        kinds,
        proptest::collection::vec(any::<u8>(), 0..64),
        any::<bool>(),
    )
        .prop_map(|(v6, chain, what, source, destination, kind, body, own)| {
            let source_mac = if own { OURS } else { THEIRS };
            from(source_mac, |b| {
                let mut b = if v6 { b.ipv6(&Ipv6::default()) } else { b.ipv4(&Ipv4::default()) };
                if v6 {
                    for extension in chain {
                        b = b.extension(extension, &[0; 7]);
                    }
                }
                let b = match what {
                    0 => b.udp(source, destination),
                    1 if v6 => b.icmpv6(kind, 0),
                    1 => b.icmpv4(kind, 0, [0; 4]),
                    2 => b.tcp(&Tcp::default()),
                    _ => b,
                };
                b.payload(&body)
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever passes is none of what is forbidden, also after bytes of it were changed.
    #[test]
    fn nothing_forbidden_passes(
        frame in a_frame(),
        changes in proptest::collection::vec((0..120_usize, any::<u8>()), 0..4),
        cut in 0..200_usize,
        header in prop_oneof![Just(PLAIN), any::<[u8; VNET_HDR_LEN]>()],
    ) {
        let mut frame = frame;
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if cut < 100 {
            frame.truncate(frame.len().saturating_sub(cut));
        }
        if outgoing(&header, &frame, MTU, ours).is_ok() {
            prop_assert_eq!(forbidden(&frame), None);
        }
    }

    /// And arbitrary bytes do no harm in either direction.
    #[test]
    fn any_bytes_are_judged(
        header in any::<[u8; VNET_HDR_LEN]>(),
        mut frame in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        if outgoing(&header, &frame, MTU, |_| true).is_ok() {
            prop_assert!(frame.len() >= 14);
        }
        if let Ok(offload) = vnet::decode(&header) {
            let _judged = incoming(offload, false, &mut frame, MTU, |mac| mac.0[5] & 1 == 0);
        }
    }
}
