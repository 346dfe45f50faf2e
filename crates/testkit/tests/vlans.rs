//! Access and trunk ports of IEEE 802.1Q, with a table per VLAN.
#![forbid(unsafe_code)]

use engine::{NetworkSpec, PortSpec, Reason, SourceMode, Verdict, VlanMode};
use testkit::frames::{plain, tagged, udp, udp_partial};
use testkit::model::trunk;
use testkit::{Ip, TestNetwork, mac};
use wire::{MacAddr, OffloadSet, Tag};

/// A port with a few stations behind it: one address in two VLANs counts twice.
fn vlan(mode: VlanMode) -> PortSpec {
    let source = SourceMode::Learn { max_macs: 16 };
    PortSpec { vlan: mode, source, ..PortSpec::default() }
}

/// Access ports in 10 and 20, and a trunk that carries 10 and 20 tagged and 1 untagged.
fn office() -> TestNetwork {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("ten", vlan(VlanMode::Access(10)));
    net.plug("twenty", vlan(VlanMode::Access(20)));
    net.plug("trunk", vlan(trunk(Some(1), &[10, 20])));
    net
}

#[test]
fn a_frame_stays_in_its_vlan_and_is_tagged_on_the_trunk() {
    let mut net = office();
    let bytes = plain(MacAddr::BROADCAST, mac(1), 60);
    assert_eq!(net.send("ten", &bytes), Verdict::Flood { copies: 1 });
    let expected = tagged(MacAddr::BROADCAST, mac(1), &[Tag::new(10)], 60);
    assert_eq!(net.receive_plain("trunk"), [expected]);
    net.moved(&[
        "ten rx_frames rx_bytes+60 rx_broadcast rx_flooded rx_copies",
        "trunk tx_offered tx_queued tx_taken tx_frames tx_bytes+64 tx_broadcast",
    ]);
    let reply = tagged(mac(1), mac(2), &[Tag::new(10)], 60);
    assert_eq!(net.send("trunk", &reply), Verdict::Forward(net.id("ten")));
    assert_eq!(net.receive_plain("ten"), [plain(mac(1), mac(2), 60)]);
    net.moved(&[
        "trunk rx_frames rx_bytes+64 rx_unicast rx_forwarded",
        "ten tx_offered tx_queued tx_taken tx_frames tx_bytes+60 tx_unicast",
    ]);
    net.nothing_held();
}

#[test]
fn one_address_may_be_in_two_vlans_and_behind_two_ports() {
    let mut net = office();
    net.send("ten", &plain(mac(9), mac(1), 60));
    net.send("twenty", &plain(mac(9), mac(1), 60));
    let ten = tagged(mac(1), mac(2), &[Tag::new(10)], 60);
    let twenty = tagged(mac(1), mac(2), &[Tag::new(20)], 60);
    assert_eq!(net.send("trunk", &ten), Verdict::Forward(net.id("ten")));
    assert_eq!(net.send("trunk", &twenty), Verdict::Forward(net.id("twenty")));
}

#[test]
fn a_bound_address_holds_in_every_vlan() {
    let mut net = office();
    let own = PortSpec {
        macs: vec![mac(1)],
        source: SourceMode::Static,
        vlan: VlanMode::Access(10),
        ..PortSpec::default()
    };
    net.plug("owner", own);
    assert_eq!(net.send("twenty", &plain(mac(9), mac(1), 60)), Verdict::Drop(Reason::MacBound));
    // In a VLAN that the owner is not in, nobody is known to have it.
    assert_eq!(net.send("twenty", &plain(mac(1), mac(2), 60)), Verdict::Flood { copies: 1 });
    assert_eq!(net.send("ten", &plain(mac(1), mac(3), 60)), Verdict::Forward(net.id("owner")));
}

#[test]
fn an_access_port_takes_no_tag_but_a_priority() {
    let mut net = office();
    let frame = |tags: &[Tag]| tagged(MacAddr::BROADCAST, mac(1), tags, 60);
    let service = Tag { tpid: 0x88a8, tci: 10 };
    let cases = [
        (frame(&[Tag::new(10)]), Reason::VlanTagged),
        (frame(&[Tag::new(20)]), Reason::VlanTagged),
        (frame(&[service]), Reason::VlanTagged),
        (frame(&[Tag::new(0), Tag::new(20)]), Reason::VlanDouble),
        (frame(&[Tag::new(10), Tag::new(20)]), Reason::VlanDouble),
        (frame(&[service, Tag::new(20)]), Reason::VlanDouble),
        (frame(&[Tag::new(10)])[..16].to_vec(), Reason::Runt),
    ];
    for (bytes, reason) in cases {
        assert_eq!(net.send("ten", &bytes), Verdict::Drop(reason), "{bytes:02x?}");
    }
    let priority = Tag { tpid: 0x8100, tci: 0xa000 };
    assert_eq!(net.send("ten", &frame(&[priority])), Verdict::Flood { copies: 1 });
    // The priority lives on where there is a tag to carry it.
    let expected = frame(&[Tag { tpid: 0x8100, tci: 0xa00a }]);
    assert_eq!(net.receive_plain("trunk"), [expected]);
    net.moved(&[
        "ten rx_frames+8 rx_bytes+476 rx_broadcast+8 rx_flooded rx_copies drop.vlan-tagged+3 \
         drop.vlan-double+3 drop.runt",
        "trunk tx_offered tx_queued tx_taken tx_frames tx_bytes+64 tx_broadcast",
    ]);
}

#[test]
fn a_trunk_takes_what_it_is_allowed() {
    let mut net = office();
    net.plug("native-less", vlan(trunk(None, &[10])));
    let frame = |tags: &[Tag]| tagged(MacAddr::BROADCAST, mac(1), tags, 60);
    let send = |net: &mut TestNetwork, port: &str, tags: &[Tag]| net.send(port, &frame(tags));
    let service = Tag { tpid: 0x88a8, tci: 10 };
    assert_eq!(send(&mut net, "trunk", &[Tag::new(30)]), Verdict::Drop(Reason::VlanNotAllowed));
    assert_eq!(send(&mut net, "trunk", &[service]), Verdict::Drop(Reason::VlanTagged));
    assert_eq!(send(&mut net, "native-less", &[]), Verdict::Drop(Reason::VlanUntagged));
    assert_eq!(send(&mut net, "native-less", &[Tag::new(0)]), Verdict::Drop(Reason::VlanUntagged));
    // The native VLAN comes untagged, with a priority, or with its tag; nobody else is in it.
    for tags in [&[][..], &[Tag::new(0)], &[Tag::new(1)]] {
        assert_eq!(send(&mut net, "trunk", tags), Verdict::Flood { copies: 0 });
    }
    assert_eq!(send(&mut net, "trunk", &[Tag::new(10)]), Verdict::Flood { copies: 2 });
}

#[test]
fn inner_tags_travel_between_trunks_and_cannot_hop() {
    let mut net = office();
    net.plug("far", vlan(trunk(Some(1), &[10, 20])));
    // On VLAN 10: to the other trunk with both tags, not to the access port.
    let double = tagged(MacAddr::BROADCAST, mac(1), &[Tag::new(10), Tag::new(20)], 60);
    assert_eq!(net.send("trunk", &double), Verdict::Flood { copies: 1 });
    assert_eq!(net.receive_plain("far"), [double]);
    // Unicast to the access port: refused by name.
    net.send("ten", &plain(mac(9), mac(2), 60));
    net.receive("far");
    let double = tagged(mac(2), mac(1), &[Tag::new(10), Tag::new(20)], 60);
    assert_eq!(net.send("trunk", &double), Verdict::Drop(Reason::VlanDouble));
    // On the native VLAN the outer tag stays on, or the inner one would be taken for it.
    let double = tagged(MacAddr::BROADCAST, mac(1), &[Tag::new(1), Tag::new(20)], 60);
    assert_eq!(net.send("trunk", &double), Verdict::Flood { copies: 1 });
    assert_eq!(net.receive_plain("far"), [double]);
}

#[test]
fn the_mtu_does_not_count_tags() {
    let mut net = office();
    let frame = |tags: &[Tag], len| tagged(MacAddr::BROADCAST, mac(1), tags, len);
    assert_eq!(net.send("trunk", &frame(&[Tag::new(10)], 1514)), Verdict::Flood { copies: 1 });
    assert_eq!(net.send("trunk", &frame(&[Tag::new(10)], 1515)), Verdict::Drop(Reason::Oversize));
    let two = [Tag::new(10), Tag::new(20)];
    assert_eq!(net.send("trunk", &frame(&two, 1514)), Verdict::Flood { copies: 0 });
    assert_eq!(net.send("trunk", &frame(&two, 1515)), Verdict::Drop(Reason::Oversize));
}

#[test]
fn a_shared_frame_is_tagged_for_the_trunk_only() {
    for ip in Ip::BOTH {
        let mut net = office();
        net.plug("second-ten", vlan(VlanMode::Access(10)));
        net.plug("second-trunk", vlan(trunk(None, &[10])));
        let bytes = udp(ip, MacAddr::BROADCAST, mac(1), &[], 100);
        let expected = udp(ip, MacAddr::BROADCAST, mac(1), &[Tag::new(10)], 100);
        assert_eq!(net.send("ten", &bytes), Verdict::Flood { copies: 3 });
        assert_eq!(net.receive_plain("trunk"), std::slice::from_ref(&expected));
        assert_eq!(net.receive_plain("second-ten"), [bytes]);
        assert_eq!(net.receive_plain("second-trunk"), [expected]);
        net.nothing_held();
    }
}

#[test]
fn a_frame_that_an_engine_gave_out_does_not_change_under_the_others() {
    let mut net = office();
    net.plug("second-ten", vlan(VlanMode::Access(10)));
    net.plug("loop", vlan(trunk(None, &[10])));
    let bytes = plain(MacAddr::BROADCAST, mac(1), 60);
    net.send("ten", &bytes);
    // Somebody hands the trunk's frame in again, as it came out: it has a header piece of its own.
    let (trunk, loop_) = (net.id("trunk"), net.id("loop"));
    let mut out = engine::TxBatch::new();
    let budget = engine::Budget::FULL;
    net.engine.poll_transmit(&mut net.pool, trunk, budget, &mut out);
    let mut batch = engine::RxBatch::new();
    batch.push(out.pop().expect("a frame")).expect("room");
    net.engine.ingress(net.now, &mut net.pool, loop_, &mut batch);
    assert_eq!(batch.verdicts(), [Verdict::Drop(Reason::BadFraming)]);
    assert_eq!(net.receive_plain("second-ten"), [bytes]);
    assert_eq!(net.receive_plain("loop").len(), 1);
    net.nothing_held();
}

#[test]
fn a_tag_moves_the_place_of_a_partial_checksum() {
    for ip in Ip::BOTH {
        let csum = PortSpec {
            offloads_from_guest: OffloadSet::CSUM,
            offloads_to_guest: OffloadSet::CSUM,
            ..PortSpec::default()
        };
        let mut net = TestNetwork::new(NetworkSpec::default());
        net.plug("access", PortSpec { vlan: VlanMode::Access(10), ..csum.clone() });
        net.plug("trunk", PortSpec { vlan: trunk(None, &[10]), ..csum });
        net.plug("plain", vlan(trunk(None, &[10])));
        let untagged = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[], 99);
        let with_tag = udp_partial(ip, MacAddr::BROADCAST, mac(1), &[Tag::new(10)], 99);
        let complete = udp(ip, MacAddr::BROADCAST, mac(1), &[Tag::new(10)], 99);
        net.send_rich("access", &untagged);
        assert_eq!(net.receive("trunk"), std::slice::from_ref(&with_tag));
        assert_eq!(net.receive_plain("plain"), [complete]);
        let back = udp_partial(ip, mac(1), mac(2), &[Tag::new(10)], 99);
        assert_eq!(net.send_rich("trunk", &back), Verdict::Forward(net.id("access")));
        assert_eq!(net.receive("access"), [udp_partial(ip, mac(1), mac(2), &[], 99)]);
        net.nothing_held();
    }
}
