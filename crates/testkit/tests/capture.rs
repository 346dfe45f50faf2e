//! Capture: every frame once, with its verdict, bounded.

use engine::{CapturePlan, NetworkSpec, PortSpec, RECORD_OVERHEAD, Reason, Verdict, VlanMode};
use testkit::frames::{plain, tagged, udp_partial};
use testkit::model::trunk;
use testkit::{Ip, Lan, mac};
use wire::{MacAddr, OffloadSet, Tag};

fn lan() -> Lan {
    let mut lan = Lan::new(NetworkSpec::default());
    lan.plug("a", PortSpec { offloads_from_guest: OffloadSet::CSUM, ..PortSpec::default() });
    lan.plug("b", PortSpec::default());
    lan.plug("c", PortSpec { vlan: VlanMode::Access(7), ..PortSpec::default() });
    lan.plug("trunk", PortSpec { vlan: trunk(None, &[1, 7]), ..PortSpec::default() });
    lan
}

const PLAN: CapturePlan = CapturePlan { port: None, snaplen: 262_144, queue_bytes: 1 << 20 };

#[test]
fn a_network_capture_shows_every_frame_once_with_its_verdict() {
    let mut lan = lan();
    lan.send("a", &plain(mac(2), mac(1), 60));
    lan.engine.capture(Some(PLAN));
    let flood = plain(MacAddr::BROADCAST, mac(1), 61);
    let bad = plain(mac(2), MacAddr([0; 6]), 62);
    let tag = tagged(mac(1), mac(3), &[Tag::new(1)], 63);
    lan.send("a", &flood);
    lan.send("a", &bad);
    lan.send("trunk", &tag);
    let mut shown = Vec::new();
    while let Some(record) = lan.engine.poll_capture() {
        assert_eq!((record.now, record.len), (lan.now, record.bytes.len()));
        shown.push((record.port, record.verdict, record.bytes));
    }
    let expected = [
        (lan.id("a"), Verdict::Flood { copies: 2 }, flood),
        (lan.id("a"), Verdict::Drop(Reason::BadSource), bad),
        (lan.id("trunk"), Verdict::Forward(lan.id("a")), tag),
    ];
    assert_eq!(shown, expected);
    lan.engine.capture(None);
    lan.send("a", &plain(mac(2), mac(1), 60));
    assert_eq!(lan.engine.poll_capture(), None);
}

#[test]
fn a_port_capture_shows_what_comes_from_it_and_what_goes_to_it() {
    let mut lan = lan();
    lan.send("b", &plain(mac(9), mac(2), 60));
    lan.engine.capture(Some(CapturePlan { port: Some(lan.id("b")), ..PLAN }));
    lan.send("a", &plain(mac(2), mac(1), 61));
    lan.send("b", &plain(mac(1), mac(2), 62));
    lan.send("a", &plain(MacAddr::BROADCAST, mac(1), 63));
    // Not for b: another VLAN, another port, a drop.
    lan.send("c", &plain(MacAddr::BROADCAST, mac(3), 64));
    lan.send("trunk", &tagged(mac(1), mac(4), &[Tag::new(1)], 65));
    lan.send("a", &plain(mac(2), mac(2), 66));
    let lens: Vec<usize> =
        std::iter::from_fn(|| lan.engine.poll_capture()).map(|record| record.len).collect();
    assert_eq!(lens, [61, 62, 63]);
}

#[test]
fn a_capture_is_cut_to_its_snaplen_and_keeps_the_length_and_the_metadata() {
    for ip in Ip::BOTH {
        let mut lan = lan();
        lan.engine.capture(Some(CapturePlan { snaplen: 20, ..PLAN }));
        let frame = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 300);
        lan.send_rich("a", &frame);
        let tag = tagged(mac(1), mac(3), &[Tag::new(7)], 100);
        lan.send("trunk", &tag);
        let record = lan.engine.poll_capture().expect("a record");
        assert_eq!((record.len, &record.bytes[..]), (frame.bytes.len(), &frame.bytes[..20]));
        assert_eq!(record.offload, frame.offload);
        let record = lan.engine.poll_capture().expect("a record");
        assert_eq!((record.len, &record.bytes[..]), (104, &tag[..20]));
    }
}

#[test]
fn a_capture_that_nobody_reads_is_bounded_and_delays_nothing() {
    let mut lan = lan();
    let queue_bytes = 10 * (60 + RECORD_OVERHEAD);
    lan.engine.capture(Some(CapturePlan { queue_bytes, ..PLAN }));
    for _ in 0..25 {
        assert_eq!(
            lan.send("a", &plain(MacAddr::BROADCAST, mac(1), 60)),
            Verdict::Flood { copies: 2 }
        );
    }
    assert_eq!(lan.receive("b").len(), 25);
    assert_eq!(lan.engine.capture_drops(), 15);
    assert_eq!(std::iter::from_fn(|| lan.engine.poll_capture()).count(), 10);
    lan.send("a", &plain(MacAddr::BROADCAST, mac(1), 60));
    assert!(lan.engine.poll_capture().is_some(), "there is room again");
    assert_eq!(lan.engine.capture_drops(), 15);
}
