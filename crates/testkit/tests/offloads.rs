//! Partial checksums and segmentation, between links that take them and links that do not.
#![forbid(unsafe_code)]

use engine::{NetworkSpec, PoolLimits, PortSpec, Reason, Verdict};
use testkit::frames::{Rich, plain, tcp_gso, udp, udp_gso, udp_partial};
use testkit::model::trunk;
use testkit::{Ip, TestNetwork, mac};
use wire::{Gso, MacAddr, OffloadSet, PartialChecksum, Segmenter, Tag, parse};

fn offloads(set: OffloadSet) -> PortSpec {
    PortSpec { offloads_from_guest: set, offloads_to_guest: set, ..PortSpec::default() }
}

/// A tap with everything, one with checksums only, and a stream with nothing.
fn mixed() -> TestNetwork {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("tap", offloads(OffloadSet::all()));
    net.plug("tap2", offloads(OffloadSet::all()));
    net.plug("csum", offloads(OffloadSet::CSUM));
    net.plug("stream", PortSpec::default());
    net
}

/// The segments of a frame, whole.
fn cut(frame: &Rich) -> Vec<Vec<u8>> {
    let pieces = [&frame.bytes[..], &[]];
    let mut segmenter = Segmenter::new(&frame.offload, &pieces).expect("a frame to cut");
    let mut header = [0; wire::HEADER_MAX];
    let mut segments = Vec::new();
    while let Some(segment) = segmenter.next(&pieces, &mut header) {
        segments.push([&header[..segment.header_len], &frame.bytes[segment.payload]].concat());
    }
    segments
}

/// libkrun sent partial checksums over sockets that have no room to say so.
#[test]
fn each_link_gets_what_it_can_carry() {
    for ip in Ip::BOTH {
        let mut net = mixed();
        let frame = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 500);
        let len = frame.bytes.len();
        assert_eq!(net.send_rich("tap", &frame), Verdict::Flood { copies: 3 });
        assert_eq!(net.receive("tap2"), std::slice::from_ref(&frame));
        assert_eq!(net.receive("csum"), [frame]);
        let complete = udp(ip, MacAddr::BROADCAST, mac(1), &[], 500);
        assert_eq!(net.receive_plain("stream"), [complete]);
        net.moved(&[
            &format!("tap rx_frames rx_bytes+{len} rx_broadcast rx_flooded rx_copies+3"),
            &format!("tap2 tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast"),
            &format!("csum tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast"),
            &format!(
                "stream tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast \
                 tx_completed"
            ),
        ]);
        net.nothing_held();
    }
}

/// In vmnet-helper one member without offloads made all go without; in Open vSwitch a guest that had
/// not negotiated segmentation was sent frames to cut.
#[test]
fn a_large_frame_is_cut_only_for_the_links_that_need_it() {
    for ip in Ip::BOTH {
        for frame in [
            tcp_gso(ip, MacAddr::BROADCAST, mac(1), 60_000, 1400),
            udp_gso(ip, MacAddr::BROADCAST, mac(1), 60_000, 1400),
        ] {
            let mut net = mixed();
            assert_eq!(net.send_rich("tap", &frame), Verdict::Flood { copies: 3 });
            assert_eq!(net.receive("tap2"), std::slice::from_ref(&frame));
            let segments = cut(&frame);
            assert_eq!(segments.len(), 43);
            // Several polls are needed, since a batch is no more than 64; a small budget makes it
            // more.
            let mut got = Vec::new();
            while got.len() < segments.len() {
                let some = net.receive_some("stream", 5);
                assert!(!some.is_empty(), "the cut goes on");
                assert!(some.iter().all(|frame| frame.offload.is_none()));
                got.extend(some.into_iter().map(|frame| frame.bytes));
            }
            assert_eq!(got, segments);
            // Segments are complete, also for a link that could take partial checksums.
            assert_eq!(net.receive_plain("csum"), segments);
            assert!(got.iter().all(|bytes| parse(bytes).is_ok() && bytes.len() <= 1514));
            let wire: usize = segments.iter().map(Vec::len).sum();
            let len = frame.bytes.len();
            net.moved(&[
                &format!("tap rx_frames rx_bytes+{len} rx_broadcast rx_flooded rx_copies+3"),
                &format!(
                    "tap2 tx_offered tx_queued tx_taken tx_frames tx_bytes+{len} tx_broadcast"
                ),
                &format!(
                    "csum tx_offered tx_queued tx_taken tx_frames+43 tx_bytes+{wire} \
                     tx_broadcast+43 tx_segmented"
                ),
                &format!(
                    "stream tx_offered tx_queued tx_taken tx_frames+43 tx_bytes+{wire} \
                     tx_broadcast+43 tx_segmented"
                ),
            ]);
            net.nothing_held();
        }
    }
}

#[test]
fn segments_on_a_trunk_are_tagged() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("tap", offloads(OffloadSet::all()));
        net.plug("trunk", PortSpec { vlan: trunk(None, &[1]), ..PortSpec::default() });
        let frame = tcp_gso(ip, MacAddr::BROADCAST, mac(1), 5000, 1000);
        net.send_rich("tap", &frame);
        let tag = Tag::new(1).to_bytes();
        let tagged: Vec<Vec<u8>> = cut(&frame)
            .into_iter()
            .map(|bytes| [&bytes[..12], &tag, &bytes[12..]].concat())
            .collect();
        assert_eq!(net.receive_plain("trunk"), tagged);
        net.nothing_held();
    }
}

#[test]
fn a_link_that_takes_tcp_but_no_ecn_gets_ecn_frames_cut() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("tap", offloads(OffloadSet::all()));
        let most = OffloadSet::all() - OffloadSet::TSO_ECN;
        net.plug("old", offloads(most));
        let mut frame = tcp_gso(ip, MacAddr::BROADCAST, mac(1), 3000, 1000);
        net.send_rich("tap", &frame);
        assert_eq!(net.receive("old").len(), 1);
        if let Some(gso) = &mut frame.offload.gso {
            gso.ecn = true;
        }
        net.send_rich("tap", &frame);
        assert_eq!(net.receive("old").len(), 3);
    }
}

#[test]
fn metadata_that_was_not_declared_is_refused() {
    for ip in Ip::BOTH {
        let mut net = mixed();
        let partial = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 500);
        let large = tcp_gso(ip, MacAddr::BROADCAST, mac(1), 5000, 1000);
        let undeclared = Verdict::Drop(Reason::OffloadUndeclared);
        assert_eq!(net.send_rich("stream", &partial), undeclared);
        assert_eq!(net.send_rich("stream", &large), undeclared);
        assert_eq!(net.send_rich("csum", &large), undeclared);
        let (a, b) = (partial.bytes.len() + large.bytes.len(), large.bytes.len());
        net.moved(&[
            &format!("stream rx_frames+2 rx_bytes+{a} rx_broadcast+2 drop.offload-undeclared+2"),
            &format!("csum rx_frames rx_bytes+{b} rx_broadcast drop.offload-undeclared"),
        ]);
        net.nothing_held();
    }
}

#[test]
fn metadata_that_contradicts_the_bytes_is_refused() {
    for ip in Ip::BOTH {
        let mut net = mixed();
        let good = tcp_gso(ip, MacAddr::BROADCAST, mac(1), 5000, 1000);
        let with = |change: &dyn Fn(&mut Rich)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad
        };
        let cases = [
            with(&|f| f.offload.checksum = None),
            with(&|f| f.offload.checksum = Some(PartialChecksum { start: 14, offset: 10 })),
            with(&|f| f.offload.checksum = Some(PartialChecksum { start: 60_000, offset: 6 })),
            with(&|f| f.offload.gso.as_mut().expect("gso").size = 1),
            with(&|f| f.offload.gso.as_mut().expect("gso").kind = wire::GsoKind::Udp),
            with(&|f| f.bytes.truncate(40)),
            with(&|f| f.bytes[12..14].copy_from_slice(&[0x88, 0xb5])),
        ];
        for bad in &cases {
            assert_eq!(net.send_rich("tap", bad), Verdict::Drop(Reason::BadOffload), "{bad:?}");
        }
        // A segment longer than the MTU is too long, whatever the frame's length.
        let long = with(&|f| f.offload.gso.as_mut().expect("gso").size = 1480);
        assert_eq!(net.send_rich("tap", &long), Verdict::Drop(Reason::Oversize));
        assert_eq!(net.send_rich("tap", &good), Verdict::Flood { copies: 3 });
        let counters = net.engine.port_counters(net.id("tap")).expect("a live port");
        assert_eq!(counters.dropped(Reason::BadOffload), 7);
    }
}

#[test]
fn a_long_frame_without_segmentation_is_too_long() {
    let mut net = mixed();
    let frame = udp_partial(Ip::V4, MacAddr::BROADCAST, mac(1), &[], 1473);
    assert_eq!(net.send_rich("tap", &frame), Verdict::Drop(Reason::Oversize));
    let frame = udp_partial(Ip::V4, MacAddr::BROADCAST, mac(1), &[], 1472);
    assert_eq!(net.send_rich("tap", &frame), Verdict::Flood { copies: 3 });
}

#[test]
fn the_checksum_of_a_packet_in_a_tunnel_is_completed_at_once() {
    let mut net = mixed();
    // The payload of the outer datagram is a whole frame whose checksum is partial.
    let inner = udp_partial(Ip::V4, mac(8), mac(7), &[], 100);
    let complete = udp(Ip::V4, mac(8), mac(7), &[], 100);
    let mut outer = udp(Ip::V4, MacAddr::BROADCAST, mac(1), &[], inner.bytes.len());
    let at = outer.len() - inner.bytes.len();
    let expected = [&outer[..at], &complete].concat();
    outer.truncate(at);
    outer.extend(&inner.bytes);
    let checksum = inner.offload.checksum.map(|c| PartialChecksum {
        start: c.start + u16::try_from(at).expect("short"),
        offset: c.offset,
    });
    let frame = Rich { bytes: outer, offload: wire::Offload { checksum, gso: None } };
    assert_eq!(net.send_rich("tap", &frame), Verdict::Flood { copies: 3 });
    for name in ["tap2", "csum", "stream"] {
        assert_eq!(net.receive_plain(name), std::slice::from_ref(&expected), "{name}");
    }
    net.nothing_held();
}

#[test]
fn without_header_buffers_frames_are_dropped_by_name_and_the_rest_flows() {
    for ip in Ip::BOTH {
        let limits = PoolLimits { small: 64, large: 8, headers: 0 };
        let mut net = TestNetwork::with_pool(NetworkSpec::default(), limits);
        net.plug("tap", offloads(OffloadSet::all()));
        net.plug("stream", PortSpec::default());
        net.plug("stream2", PortSpec::default());
        net.send_rich("tap", &tcp_gso(ip, MacAddr::BROADCAST, mac(1), 5000, 1000));
        net.send_rich("tap", &udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 100));
        let plain = plain(MacAddr::BROADCAST, mac(1), 60);
        net.send("tap", &plain);
        // The partial checksum is still shared with the other stream: it needs a header buffer as
        // well.
        assert_eq!(net.receive_plain("stream"), std::slice::from_ref(&plain));
        // Here it is not shared any more, and is completed where it is.
        let complete = udp(ip, MacAddr::BROADCAST, mac(1), &[], 100);
        assert_eq!(net.receive_plain("stream2"), [complete, plain]);
        let counters = net.engine.port_counters(net.id("stream")).expect("a live port");
        assert_eq!(counters.dropped(Reason::NoHeader), 2);
        testkit::ledger::conservation(&net.engine);
        net.nothing_held();
    }
}

#[test]
fn links_can_be_given_more_later() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("tap", offloads(OffloadSet::all()));
    net.plug("b", PortSpec::default());
    let frame = udp_gso(Ip::V4, MacAddr::BROADCAST, mac(1), 3000, 1000);
    net.send_rich("tap", &frame);
    net.change("b", offloads(OffloadSet::all()));
    assert_eq!(net.receive("b"), std::slice::from_ref(&frame));
    let gso = frame.offload.gso;
    assert!(matches!(gso, Some(Gso { size: 1000, .. })));
}
