//! Capture: every frame once, with its verdict, bounded.
#![forbid(unsafe_code)]

use engine::{CapturePlan, NetworkSpec, PortSpec, RECORD_OVERHEAD, Reason, Verdict, VlanMode};
use testkit::frames::{plain, tagged, udp_partial};
use testkit::model::trunk;
use testkit::{Ip, TestNetwork, mac};
use wire::{MacAddr, OffloadSet, Tag};

fn net() -> TestNetwork {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec { offloads_from_guest: OffloadSet::CSUM, ..PortSpec::default() });
    net.plug("b", PortSpec::default());
    net.plug("c", PortSpec { vlan: VlanMode::Access(7), ..PortSpec::default() });
    net.plug("trunk", PortSpec { vlan: trunk(None, &[1, 7]), ..PortSpec::default() });
    net
}

const PLAN: CapturePlan =
    CapturePlan { port: None, snaplen: 262_144, queue_bytes: 1 << 20, filters: Vec::new() };

#[test]
fn a_network_capture_shows_every_frame_once_with_its_verdict() {
    let mut net = net();
    net.send("a", &plain(mac(2), mac(1), 60));
    net.engine.capture(Some(PLAN));
    let flood = plain(MacAddr::BROADCAST, mac(1), 61);
    let bad = plain(mac(2), MacAddr([0; 6]), 62);
    let tag = tagged(mac(1), mac(3), &[Tag::new(1)], 63);
    net.send("a", &flood);
    net.send("a", &bad);
    net.send("trunk", &tag);
    let mut shown = Vec::new();
    while let Some(record) = net.engine.poll_capture() {
        assert_eq!((record.now, record.len), (net.now, record.bytes.len()));
        shown.push((record.port, record.verdict, record.bytes));
    }
    let expected = [
        (net.id("a"), Verdict::Flood { copies: 2 }, flood),
        (net.id("a"), Verdict::Drop(Reason::BadSource), bad),
        (net.id("trunk"), Verdict::Forward(net.id("a")), tag),
    ];
    assert_eq!(shown, expected);
    net.engine.capture(None);
    net.send("a", &plain(mac(2), mac(1), 60));
    assert_eq!(net.engine.poll_capture(), None);
}

#[test]
fn a_port_capture_shows_what_comes_from_it_and_what_goes_to_it() {
    let mut net = net();
    net.send("b", &plain(mac(9), mac(2), 60));
    net.engine.capture(Some(CapturePlan { port: Some(net.id("b")), ..PLAN }));
    net.send("a", &plain(mac(2), mac(1), 61));
    net.send("b", &plain(mac(1), mac(2), 62));
    net.send("a", &plain(MacAddr::BROADCAST, mac(1), 63));
    // Not for b: another VLAN, another port, a drop.
    net.send("c", &plain(MacAddr::BROADCAST, mac(3), 64));
    net.send("trunk", &tagged(mac(1), mac(4), &[Tag::new(1)], 65));
    net.send("a", &plain(mac(2), mac(2), 66));
    let lens: Vec<usize> =
        std::iter::from_fn(|| net.engine.poll_capture()).map(|record| record.len).collect();
    assert_eq!(lens, [61, 62, 63]);
}

#[test]
fn a_capture_is_cut_to_its_snaplen_and_keeps_the_length_and_the_metadata() {
    for ip in Ip::BOTH {
        let mut net = net();
        net.engine.capture(Some(CapturePlan { snaplen: 20, ..PLAN }));
        let frame = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 300);
        net.send_rich("a", &frame);
        let tag = tagged(mac(1), mac(3), &[Tag::new(7)], 100);
        net.send("trunk", &tag);
        let record = net.engine.poll_capture().expect("a record");
        assert_eq!((record.len, &record.bytes[..]), (frame.bytes.len(), &frame.bytes[..20]));
        assert_eq!(record.offload, frame.offload);
        let record = net.engine.poll_capture().expect("a record");
        assert_eq!((record.len, &record.bytes[..]), (104, &tag[..20]));
    }
}

#[test]
fn a_capture_that_nobody_reads_is_bounded_and_delays_nothing() {
    let mut net = net();
    let queue_bytes = 10 * (60 + RECORD_OVERHEAD);
    net.engine.capture(Some(CapturePlan { queue_bytes, ..PLAN }));
    for _ in 0..25 {
        assert_eq!(
            net.send("a", &plain(MacAddr::BROADCAST, mac(1), 60)),
            Verdict::Flood { copies: 2 }
        );
    }
    assert_eq!(net.receive("b").len(), 25);
    assert_eq!(net.engine.capture_drops(), 15);
    assert_eq!(std::iter::from_fn(|| net.engine.poll_capture()).count(), 10);
    net.send("a", &plain(MacAddr::BROADCAST, mac(1), 60));
    assert!(net.engine.poll_capture().is_some(), "there is room again");
    assert_eq!(net.engine.capture_drops(), 15);
}
