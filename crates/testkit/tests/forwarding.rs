//! Learning, ageing, flooding, hub mode, isolation: every counter that moved is named.
#![forbid(unsafe_code)]

use std::time::Duration;

use engine::{Event, Mode, NetworkSpec, PortSpec, Reason, SourceMode, Verdict};
use testkit::frames::{FRAME_MIN, plain};
use testkit::{TestNetwork, mac};
use wire::MacAddr;

const AGEING: Duration = Duration::from_secs(300);

/// Three learning ports, a, b and c.
fn three() -> TestNetwork {
    let mut net = TestNetwork::new(NetworkSpec::default());
    for name in ["a", "b", "c"] {
        net.plug(name, PortSpec::default());
    }
    net
}

#[test]
fn an_unknown_address_is_flooded_and_a_learned_one_is_not() {
    let mut net = three();
    let (a, b) = (mac(1), mac(2));
    let frame = plain(b, a, FRAME_MIN);
    assert_eq!(net.send("a", &frame), Verdict::Flood { copies: 2 });
    net.moved(&[
        "a rx_frames rx_bytes+60 rx_unicast rx_flooded rx_copies+2",
        "b tx_offered tx_queued",
        "c tx_offered tx_queued",
    ]);
    assert_eq!(
        net.engine.poll_event(),
        Some(Event::MacLearned { port: net.id("a"), mac: a, vlan: 1 })
    );
    assert_eq!(net.ready(), ["b", "c"]);
    assert_eq!(net.receive_plain("b"), std::slice::from_ref(&frame));
    assert_eq!(net.receive_plain("c"), [frame]);
    net.moved(&[
        "b tx_taken tx_frames tx_bytes+60 tx_unicast",
        "c tx_taken tx_frames tx_bytes+60 tx_unicast",
    ]);

    let reply = plain(a, b, 100);
    assert_eq!(net.send("b", &reply), Verdict::Forward(net.id("a")));
    assert_eq!(net.receive_plain("a"), [reply]);
    net.moved(&[
        "b rx_frames rx_bytes+100 rx_unicast rx_forwarded",
        "a tx_offered tx_queued tx_taken tx_frames tx_bytes+100 tx_unicast",
    ]);
    net.nothing_held();
}

#[test]
fn groups_go_to_everybody_and_count_as_what_they_are() {
    let mut net = three();
    net.send("a", &plain(MacAddr::BROADCAST, mac(1), FRAME_MIN));
    net.send("a", &plain(MacAddr([0x33, 0x33, 0, 0, 0, 1]), mac(1), FRAME_MIN));
    net.moved(&[
        "a rx_frames+2 rx_bytes+120 rx_broadcast rx_multicast rx_flooded+2 rx_copies+4",
        "b tx_offered+2 tx_queued+2",
        "c tx_offered+2 tx_queued+2",
    ]);
    assert_eq!(net.receive("b").len(), 2);
    net.moved(&["b tx_taken+2 tx_frames+2 tx_bytes+120 tx_broadcast tx_multicast"]);
}

#[test]
fn an_address_ages_and_is_flooded_again() {
    let mut net = three();
    net.send("a", &plain(mac(9), mac(1), FRAME_MIN));
    net.wait(AGEING - Duration::from_secs(1));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Forward(net.id("a")));
    net.wait(Duration::from_secs(2));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Flood { copies: 2 });
    // Swept: a's entry is gone from the table, b's is fresh.
    let left: Vec<_> = net.engine.mac_table().map(|entry| entry.mac).collect();
    assert_eq!(left, [mac(2)]);
    assert!(net.engine.next_deadline().is_some());
    net.wait(AGEING * 2);
    assert_eq!(net.engine.mac_table().count(), 0);
    assert_eq!(net.engine.next_deadline(), None, "an empty table wants nothing");
}

#[test]
fn use_keeps_an_address_young() {
    let mut net = three();
    for _ in 0..10 {
        net.send("a", &plain(mac(9), mac(1), FRAME_MIN));
        net.wait(AGEING / 2);
    }
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Forward(net.id("a")));
}

#[test]
fn a_frame_for_an_address_behind_the_same_port_goes_nowhere() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec { source: SourceMode::Learn { max_macs: 2 }, ..PortSpec::default() });
    net.plug("b", PortSpec::default());
    net.plug("c", PortSpec::default());
    net.send("a", &plain(mac(9), mac(1), FRAME_MIN));
    assert_eq!(net.send("a", &plain(mac(1), mac(2), 60)), Verdict::Drop(Reason::SamePort));
    net.moved(&[
        "a rx_frames+2 rx_bytes+120 rx_unicast+2 rx_flooded rx_copies+2 drop.same-port",
        "b tx_offered tx_queued",
        "c tx_offered tx_queued",
    ]);
}

#[test]
fn a_hub_sends_everything_to_everybody_and_learns_nothing() {
    let mut net = TestNetwork::new(NetworkSpec { mode: Mode::Hub, ..NetworkSpec::default() });
    for name in ["a", "b", "c"] {
        net.plug(name, PortSpec::default());
    }
    net.send("a", &plain(mac(2), mac(1), FRAME_MIN));
    // Two ports use one address, and even the addresses that never leave a link are passed on.
    net.send("b", &plain(MacAddr([0x01, 0x80, 0xc2, 0, 0, 0]), mac(1), FRAME_MIN));
    net.moved(&[
        "a rx_frames rx_bytes+60 rx_unicast rx_flooded rx_copies+2 tx_offered tx_queued",
        "b rx_frames rx_bytes+60 rx_multicast rx_flooded rx_copies+2 tx_offered tx_queued",
        "c tx_offered+2 tx_queued+2",
    ]);
    assert_eq!(net.engine.mac_table().count(), 0);
    assert_eq!(net.engine.next_deadline(), None);
}

#[test]
fn a_network_that_becomes_a_hub_forgets_and_one_that_becomes_a_switch_learns() {
    let mut net = three();
    net.send("a", &plain(mac(9), mac(1), FRAME_MIN));
    net.apply(NetworkSpec { mode: Mode::Hub, ..NetworkSpec::default() });
    assert_eq!(net.engine.mac_table().count(), 0);
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Flood { copies: 2 });
    net.apply(NetworkSpec::default());
    net.send("b", &plain(mac(1), mac(2), 60));
    assert_eq!(net.send("a", &plain(mac(2), mac(1), 60)), Verdict::Forward(net.id("b")));
}

#[test]
fn isolated_ports_reach_the_others_and_not_each_other() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    let isolated = PortSpec { isolated: true, ..PortSpec::default() };
    net.plug("a", isolated.clone());
    net.plug("b", isolated);
    net.plug("uplink", PortSpec::default());
    assert_eq!(net.send("b", &plain(mac(9), mac(2), 60)), Verdict::Flood { copies: 1 });
    assert_eq!(net.send("a", &plain(mac(2), mac(1), 60)), Verdict::Drop(Reason::Isolated));
    assert_eq!(net.send("uplink", &plain(mac(2), mac(3), 60)), Verdict::Forward(net.id("b")));
    assert_eq!(
        net.send("uplink", &plain(MacAddr::BROADCAST, mac(3), 60)),
        Verdict::Flood { copies: 2 }
    );
    net.moved(&[
        "a rx_frames rx_bytes+60 rx_unicast drop.isolated tx_offered tx_queued",
        "b rx_frames rx_bytes+60 rx_unicast rx_flooded rx_copies tx_offered+2 tx_queued+2",
        "uplink rx_frames+2 rx_bytes+120 rx_unicast rx_broadcast rx_forwarded rx_flooded \
         rx_copies+2 tx_offered tx_queued",
    ]);
}

#[test]
fn malformed_frames_are_refused_by_name() {
    let mut net = three();
    let own = mac(1);
    let cases = [
        (vec![], Reason::Runt),
        (plain(mac(2), own, 14)[..13].to_vec(), Reason::Runt),
        (plain(mac(2), MacAddr([0; 6]), 60), Reason::BadSource),
        (plain(mac(2), MacAddr::BROADCAST, 60), Reason::BadSource),
        (plain(mac(2), MacAddr([3, 0, 0, 0, 0, 1]), 60), Reason::BadSource),
        (plain(mac(2), own, 1515), Reason::Oversize),
        (plain(MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0f]), own, 60), Reason::ReservedGroup),
    ];
    for (bytes, reason) in cases {
        assert_eq!(net.send("a", &bytes), Verdict::Drop(reason));
    }
    net.moved(&["a rx_frames+7 rx_bytes+1768 rx_unicast+6 rx_multicast drop.runt+2 \
                 drop.bad-source+3 drop.oversize drop.reserved-group"]);
    assert_eq!(net.engine.mac_table().count(), 0, "a refused frame teaches nothing");
    net.nothing_held();
}

/// vde_switch dropped jumbo frames without a word.
#[test]
fn a_jumbo_network_takes_jumbo_frames_and_no_longer_ones() {
    let mut net = TestNetwork::new(NetworkSpec { mtu: 9000, ..NetworkSpec::default() });
    net.plug("a", PortSpec::default());
    net.plug("b", PortSpec::default());
    let frame = plain(MacAddr::BROADCAST, mac(1), 9014);
    assert_eq!(net.send("a", &frame), Verdict::Flood { copies: 1 });
    assert_eq!(net.receive_plain("b"), [frame]);
    let longer = plain(MacAddr::BROADCAST, mac(1), 9015);
    assert_eq!(net.send("a", &longer), Verdict::Drop(Reason::Oversize));
    net.nothing_held();
}

#[test]
fn a_removed_port_takes_its_addresses_with_it() {
    let mut net = three();
    net.send("a", &plain(mac(9), mac(1), FRAME_MIN));
    let old = net.id("a");
    let counters = net.unplug("a");
    assert_eq!((counters.rx_frames, counters.rx_copies), (1, 2));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Flood { copies: 1 });

    // The place is used again; the old name does not reach the new port.
    let new = net.plug("d", PortSpec::default());
    assert_eq!(new.index(), old.index());
    assert_ne!(new, old);
    assert_eq!(net.engine.port_counters(old), None);
    assert_eq!(net.engine.queue_len(old), (0, 0));
    let mut batch = engine::RxBatch::new();
    let frame = net.pool.copy_in(&plain(mac(2), mac(1), 60), wire::Offload::default()).unwrap();
    batch.push(frame).unwrap();
    net.engine.ingress(net.now, &mut net.pool, old, &mut batch);
    assert_eq!(batch.verdicts(), [Verdict::Drop(Reason::PortGone)]);
    assert_eq!(net.engine.strays(), 1);
    net.send("d", &plain(mac(2), mac(1), 60));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Forward(new));
}

#[test]
fn a_lonely_port_floods_to_nobody() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec::default());
    let verdict = net.send("a", &plain(MacAddr::BROADCAST, mac(1), 60));
    assert_eq!(verdict, Verdict::Flood { copies: 0 });
    net.moved(&["a rx_frames rx_bytes+60 rx_broadcast rx_flooded"]);
    net.nothing_held();
}
