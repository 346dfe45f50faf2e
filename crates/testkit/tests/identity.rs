//! Whose address is it: static, reserved, learned, moved, and how many.
#![forbid(unsafe_code)]

use std::time::Duration;

use engine::{
    EVENT_CAPACITY, Event, MacKind, NetworkPlan, NetworkSpec, PortError, PortPlan, PortSpec,
    Reason, SourceMode, Summary, Verdict,
};
use testkit::frames::plain;
use testkit::{TestNetwork, mac};
use wire::MacAddr;

fn fixed(address: MacAddr) -> PortSpec {
    PortSpec { macs: vec![address], source: SourceMode::Static, ..PortSpec::default() }
}

fn learning(max_macs: u16) -> PortSpec {
    PortSpec { source: SourceMode::Learn { max_macs }, ..PortSpec::default() }
}

/// What an event says of a plain frame.
fn told(destination: MacAddr, source: MacAddr) -> Summary {
    let frame = plain(destination, source, 60);
    let ethertype = u16::from_be_bytes([frame[12], frame[13]]);
    let (addresses, transport) = (None, None);
    Summary { source, destination, vlan: 1, ethertype, addresses, transport, len: 60 }
}

#[test]
fn a_static_port_speaks_with_its_own_address_only() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", fixed(mac(1)));
    net.plug("b", fixed(mac(2)));
    // Known before it ever spoke.
    assert_eq!(net.send("a", &plain(mac(2), mac(1), 60)), Verdict::Forward(net.id("b")));
    assert_eq!(net.send("a", &plain(mac(2), mac(3), 60)), Verdict::Drop(Reason::MacForeign));
    assert_eq!(net.send("a", &plain(mac(1), mac(2), 60)), Verdict::Drop(Reason::MacForeign));
    net.moved(&[
        "a rx_frames+3 rx_bytes+180 rx_unicast+3 rx_forwarded drop.mac-foreign+2",
        "b tx_offered tx_queued",
    ]);
    let (a, forged) = (net.id("a"), mac(3));
    let summary = told(mac(2), forged);
    assert_eq!(
        net.engine.poll_event(),
        Some(Event::MacForeignRefused { port: a, mac: forged, summary }),
        "one event for both, a moment apart"
    );
    assert_eq!(net.engine.poll_event(), None);
}

#[test]
fn a_bound_address_is_refused_to_others_in_every_order() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("thief", learning(16));
    net.plug("other", learning(16));
    // The thief was first: it is told to go when the owner comes.
    net.send("thief", &plain(mac(9), mac(1), 60));
    net.plug("owner", fixed(mac(1)));
    assert_eq!(net.send("other", &plain(mac(1), mac(2), 60)), Verdict::Forward(net.id("owner")));
    while net.engine.poll_event().is_some() {}
    let verdict = net.send("thief", &plain(mac(2), mac(1), 60));
    assert_eq!(verdict, Verdict::Drop(Reason::MacBound));
    let (port, owner) = (net.id("thief"), Some(net.id("owner")));
    let summary = told(mac(2), mac(1));
    let refused = Event::MacBoundRefused { port, mac: mac(1), owner, summary };
    assert_eq!(net.engine.poll_event(), Some(refused));
    // When the owner has gone, first come is first served again.
    net.unplug("owner");
    assert_eq!(net.send("thief", &plain(mac(2), mac(1), 60)), Verdict::Forward(net.id("other")));
}

#[test]
fn a_reserved_address_waits_for_its_guest() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", learning(16));
    net.send("a", &plain(mac(9), mac(1), 60));
    net.engine.reserve_mac(mac(1));
    assert_eq!(net.send("a", &plain(mac(9), mac(1), 60)), Verdict::Drop(Reason::MacBound));
    assert_eq!(net.send("a", &plain(mac(1), mac(2), 60)), Verdict::Drop(Reason::MacAway));

    net.plug("guest", fixed(mac(1)));
    assert_eq!(net.send("a", &plain(mac(1), mac(2), 60)), Verdict::Forward(net.id("guest")));
    net.unplug("guest");
    let entry = net.engine.mac_table().find(|entry| entry.mac == mac(1)).expect("reserved");
    assert_eq!((entry.kind, entry.port, entry.vlan), (MacKind::Reserved, None, None));
    assert_eq!(net.send("a", &plain(mac(1), mac(2), 60)), Verdict::Drop(Reason::MacAway));

    // A reservation that ends while the guest is there does not take its address.
    net.plug("guest", fixed(mac(1)));
    net.engine.unreserve_mac(mac(1));
    assert_eq!(net.send("a", &plain(mac(9), mac(1), 60)), Verdict::Drop(Reason::MacBound));
    net.unplug("guest");
    assert_eq!(net.send("a", &plain(mac(9), mac(1), 60)), Verdict::Flood { copies: 0 });
}

#[test]
fn a_learned_address_does_not_move_while_its_port_lives_and_speaks() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    for name in ["a", "b", "c"] {
        net.plug(name, learning(16));
    }
    net.send("a", &plain(mac(9), mac(1), 60));
    while net.engine.poll_event().is_some() {}
    net.moved(&[
        "a rx_frames rx_bytes+60 rx_unicast rx_flooded rx_copies+2",
        "b tx_offered tx_queued",
        "c tx_offered tx_queued",
    ]);
    for _ in 0..5 {
        let verdict = net.send("b", &plain(mac(9), mac(1), 60));
        assert_eq!(verdict, Verdict::Drop(Reason::MacMoved));
    }
    net.moved(&["b rx_frames+5 rx_bytes+300 rx_unicast+5 drop.mac-moved+5"]);
    let (port, owner) = (net.id("b"), net.id("a"));
    let summary = told(mac(9), mac(1));
    let refused = Event::MacMoveRefused { port, mac: mac(1), vlan: 1, owner, summary };
    assert_eq!(net.engine.poll_event(), Some(refused));
    assert_eq!(net.engine.poll_event(), None, "once a second at most");
    net.wait(Duration::from_secs(2));
    net.send("b", &plain(mac(9), mac(1), 60));
    assert_eq!(net.engine.poll_event(), Some(refused));

    // Silent for too long, a loses it.
    net.wait(Duration::from_secs(300));
    assert_eq!(net.send("b", &plain(mac(9), mac(1), 60)), Verdict::Flood { copies: 2 });
    assert_eq!(net.send("a", &plain(mac(9), mac(1), 60)), Verdict::Drop(Reason::MacMoved));
}

#[test]
fn an_address_changes_hands_at_the_moment_it_has_aged() {
    // Without a timeout in between: the table still holds the old entry.
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", learning(1));
    net.plug("b", learning(1));
    net.send("a", &plain(mac(9), mac(1), 60));
    net.now = net.now + Duration::from_secs(301);
    assert_eq!(net.send("b", &plain(mac(9), mac(1), 60)), Verdict::Flood { copies: 1 });
    assert_eq!(net.engine.mac_table().next().and_then(|entry| entry.port), Some(net.id("b")));
    // a has room for another address again, b has not.
    assert_eq!(net.send("b", &plain(mac(9), mac(2), 60)), Verdict::Drop(Reason::MacLimit));
    assert_eq!(net.send("a", &plain(mac(9), mac(3), 60)), Verdict::Flood { copies: 1 });
}

#[test]
fn an_aged_address_is_no_way_around_the_limit() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", learning(1));
    net.plug("b", learning(1));
    net.send("a", &plain(mac(9), mac(1), 60));
    net.now = net.now + Duration::from_secs(200);
    net.send("b", &plain(mac(9), mac(2), 60));
    net.now = net.now + Duration::from_secs(150);
    assert_eq!(net.send("b", &plain(mac(9), mac(1), 60)), Verdict::Drop(Reason::MacLimit));
    assert_eq!(net.send("a", &plain(mac(2), mac(1), 60)), Verdict::Forward(net.id("b")));
}

/// vde_switch's table grew with every address that a client made up.
#[test]
fn the_port_that_meets_its_limit_pays() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("greedy", learning(16));
    net.plug("modest", learning(1));
    for number in 0..1000 {
        net.send("greedy", &plain(mac(5000), mac(number), 60));
    }
    assert_eq!(
        net.send("modest", &plain(mac(0), mac(2000), 60)),
        Verdict::Forward(net.id("greedy"))
    );
    assert_eq!(net.send("modest", &plain(mac(0), mac(2001), 60)), Verdict::Drop(Reason::MacLimit));
    net.moved(&[
        "greedy rx_frames+1000 rx_bytes+60000 rx_unicast+1000 rx_flooded+16 rx_copies+16 \
         drop.mac-limit+984 tx_offered tx_queued",
        "modest rx_frames+2 rx_bytes+120 rx_unicast+2 rx_forwarded drop.mac-limit \
         tx_offered+16 tx_queued+16",
    ]);
    assert_eq!(net.engine.mac_table().count(), 17);
}

#[test]
fn a_full_table_refuses_the_newcomer_and_nobody_else() {
    let mut net = TestNetwork::new(NetworkSpec { mac_total: 20, ..NetworkSpec::default() });
    net.plug("a", learning(16));
    net.plug("b", learning(16));
    for number in 0..16 {
        net.send("a", &plain(mac(5000), mac(number), 60));
        net.send("b", &plain(mac(5000), mac(100 + number), 60));
    }
    // Both have ten; whoever comes with one more is refused, whoever is known goes on.
    let counts = net.engine.mac_table().count();
    assert_eq!(counts, 20);
    assert_eq!(net.send("a", &plain(mac(100), mac(0), 60)), Verdict::Forward(net.id("b")));
    let verdict = net.send("b", &plain(mac(0), mac(115), 60));
    assert_eq!(verdict, Verdict::Drop(Reason::MacTableFull));
    let counters = net.engine.port_counters(net.id("b")).expect("a live port");
    assert_eq!(counters.dropped(Reason::MacTableFull), 7);
}

#[test]
fn ports_that_use_all_they_may_leave_every_other_port_its_share() {
    let spec = NetworkSpec { mac_total: 40, ports: 4, ..NetworkSpec::default() };
    let mut net = TestNetwork::new(spec);
    for name in ["a", "b", "c", "d"] {
        net.plug(name, learning(16));
    }
    let learn = |net: &mut TestNetwork, name: &str, first: u32, count: u32| {
        for number in first..first + count {
            net.send(name, &plain(mac(number), mac(number), 60));
        }
        let id = net.id(name);
        net.engine.mac_table().filter(|entry| entry.port == Some(id)).count()
    };
    // Shares of five, and twenty for whoever comes first.
    assert_eq!(learn(&mut net, "a", 100, 16), 16);
    assert_eq!(learn(&mut net, "b", 200, 16), 14, "the common half is used up");
    assert_eq!(learn(&mut net, "c", 300, 16), 5);
    assert_eq!(learn(&mut net, "d", 400, 5), 5, "and each has its share");
    // What one gives up others may have, and a port that comes again has its share again.
    net.unplug("a");
    assert_eq!(learn(&mut net, "c", 300, 16), 16);
    net.plug("a", learning(16));
    assert_eq!(learn(&mut net, "a", 100, 16), 5);
    // An address that changes hands after its time takes part in the count.
    net.now = net.now + Duration::from_secs(301);
    assert_eq!(learn(&mut net, "a", 300, 1), 6, "one that was beyond the share of its old port");
    assert_eq!(learn(&mut net, "a", 400, 1), 6, "one that was not");
    net.wait(Duration::ZERO);
    assert_eq!(learn(&mut net, "a", 300, 1), 1);
}

#[test]
fn the_sweep_is_bounded_and_comes_to_an_end() {
    let mut net = TestNetwork::new(NetworkSpec { mac_total: 100_000, ..NetworkSpec::default() });
    net.plug("a", learning(40_000));
    for number in 0..40_000 {
        net.send("a", &plain(mac(number), mac(number), 60));
    }
    assert_eq!(net.engine.mac_table().count(), 40_000);
    net.now = net.now + Duration::from_secs(301);
    let mut steps = 0;
    while net.engine.next_deadline().is_some_and(|at| at <= net.now) {
        let before = net.engine.mac_table().count();
        net.engine.handle_timeout(net.now, &mut net.pool);
        let after = net.engine.mac_table().count();
        assert!(before - after <= 4096, "one step is bounded");
        steps += 1;
    }
    assert!(steps > 10);
    assert_eq!(net.engine.mac_table().count(), 0);
    // And the port may learn again.
    assert_eq!(net.send("a", &plain(mac(9), mac(1), 60)), Verdict::Flood { copies: 0 });
}

#[test]
fn events_are_bounded_and_the_lost_ones_are_counted() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", learning(1000));
    for number in 0..1000 {
        net.send("a", &plain(mac(number), mac(number), 60));
    }
    let polled = std::iter::from_fn(|| net.engine.poll_event()).count();
    assert_eq!(polled, EVENT_CAPACITY);
    assert_eq!(net.engine.events_lost(), 1000 - EVENT_CAPACITY as u64);
}

#[test]
fn an_address_is_given_to_one_port_only() {
    let mut net = TestNetwork::new(NetworkSpec { ports: 2, ..NetworkSpec::default() });
    let owner = net.plug("a", fixed(mac(1)));
    let network = NetworkPlan::validate(NetworkSpec::default()).expect("a network");
    let plan = |spec| PortPlan::validate(spec, &network).expect("a port");
    let taken = PortError::MacTaken { mac: mac(1), owner };
    assert_eq!(net.engine.add_port(plan(fixed(mac(1)))), Err(taken));
    net.plug("b", fixed(mac(2)));
    let b = net.id("b");
    assert_eq!(net.engine.change_port(b, plan(fixed(mac(1)))), Err(taken));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Forward(owner));
    let full = PortError::TooManyPorts(2);
    assert_eq!(net.engine.add_port(plan(fixed(mac(3)))), Err(full));
    // A change frees what is no longer wanted, and binds what is.
    net.change("b", fixed(mac(3)));
    assert_eq!(net.send("b", &plain(mac(1), mac(2), 60)), Verdict::Drop(Reason::MacForeign));
    assert_eq!(net.send("a", &plain(mac(3), mac(1), 60)), Verdict::Forward(b));
    net.unplug("b");
    let gone = PortError::NoSuchPort(b);
    assert_eq!(net.engine.change_port(b, plan(fixed(mac(4)))), Err(gone));
}
