//! Whatever a link can take, what it is sent says the same as what was sent.
#![forbid(unsafe_code)]

use engine::{NetworkSpec, PoolLimits, PortSpec};
use proptest::prelude::*;
use testkit::frames::{Rich, plain, tcp_gso, udp, udp_gso, udp_partial};
use testkit::model::trunk;
use testkit::{Ip, TestNetwork, mac};
use wire::{HEADER_MAX, MacAddr, OffloadSet, Segmenter, Tag, checksum};

/// Sets that a link can have.
const SETS: [OffloadSet; 5] = [
    OffloadSet::empty(),
    OffloadSet::CSUM,
    OffloadSet::CSUM.union(OffloadSet::TSO4),
    OffloadSet::CSUM.union(OffloadSet::TSO4).union(OffloadSet::TSO6).union(OffloadSet::TSO_ECN),
    OffloadSet::all(),
];

/// The frames as they are on a wire, where nothing is left to do.
fn on_the_wire(frame: &Rich) -> Vec<Vec<u8>> {
    let pieces = [&frame.bytes[..], &[]];
    let mut front = [0; HEADER_MAX];
    if frame.offload.gso.is_none() {
        let done = checksum::complete(&frame.offload, &pieces, &mut front).expect("complete");
        return vec![[&front[..done], &frame.bytes[done..]].concat()];
    }
    let mut segmenter = Segmenter::new(&frame.offload, &pieces).expect("a frame to cut");
    let mut segments = Vec::new();
    while let Some(segment) = segmenter.next(&pieces, &mut front) {
        segments.push([&front[..segment.header_len], &frame.bytes[segment.payload]].concat());
    }
    segments
}

fn frame() -> impl Strategy<Value = Rich> {
    let ip = prop_oneof![Just(Ip::V4), Just(Ip::V6)];
    (ip, 0..5, 1..20_000_usize, 200..1400_u16, any::<bool>()).prop_map(
        |(ip, kind, payload, size, ecn)| {
            let (dst, src) = (MacAddr::BROADCAST, mac(1));
            let short = payload % 1400;
            let bare = |bytes| Rich { bytes, offload: wire::Offload::NONE };
            match kind {
                0 => bare(plain(dst, src, 60 + short)),
                1 => bare(udp(ip, dst, src, &[], short)),
                2 => udp_partial(ip, dst, src, &[], short),
                3 => udp_gso(ip, dst, src, payload, size),
                _ => {
                    let mut rich = tcp_gso(ip, dst, src, payload, size);
                    if let Some(gso) = &mut rich.offload.gso {
                        gso.ecn = ecn;
                    }
                    rich
                }
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_link_is_told_the_same(
        frames in prop::collection::vec(frame(), 1..12),
        links in prop::collection::vec((0..SETS.len(), any::<bool>()), 1..5),
        budget in 1..70_usize,
        headers in prop_oneof![Just(4096_usize), 0..40_usize],
    ) {
        let limits = PoolLimits { small: 512, large: 64, headers };
        let mut net = TestNetwork::with_pool(NetworkSpec::default(), limits);
        let all = OffloadSet::all();
        net.plug("tap", PortSpec { offloads_from_guest: all, ..PortSpec::default() });
        for (nth, &(set, tagged)) in links.iter().enumerate() {
            let mut spec = PortSpec { offloads_to_guest: SETS[set], ..PortSpec::default() };
            if tagged {
                spec.vlan = trunk(None, &[1]);
            }
            net.plug(&nth.to_string(), spec);
        }
        for frame in &frames {
            net.send_rich("tap", frame);
        }
        for (nth, &(set, tagged)) in links.iter().enumerate() {
            let mut got = Vec::new();
            loop {
                let some = net.receive_some(&nth.to_string(), budget);
                if some.is_empty() {
                    break;
                }
                for frame in &some {
                    prop_assert!(SETS[set].takes(&frame.offload));
                    got.extend(on_the_wire(frame));
                }
            }
            // Without enough header buffers some is lost, and counted.
            if headers == 4096 {
                let mut expected: Vec<_> = frames.iter().flat_map(on_the_wire).collect();
                if tagged {
                    for bytes in &mut expected {
                        bytes.splice(12..12, Tag::new(1).to_bytes());
                    }
                }
                prop_assert_eq!(got, expected);
            }
        }
        testkit::ledger::conservation(&net.engine);
        net.nothing_held();
    }
}
