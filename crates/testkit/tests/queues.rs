//! Egress queues: bounded, fair to the pool, and nobody else's business.
#![forbid(unsafe_code)]

use engine::{
    Budget, NetworkSpec, Pool, PoolEmpty, PoolLimits, PortSpec, Reason, TxBatch, Verdict,
};
use testkit::frames::{plain, tcp_gso};
use testkit::{Ip, TestNetwork, mac};
use wire::{MacAddr, Offload, OffloadSet};

fn queue(frames: usize, bytes: usize) -> PortSpec {
    PortSpec { queue_frames: frames, queue_bytes: bytes, ..PortSpec::default() }
}

#[test]
fn a_full_queue_drops_at_its_tail_and_counts_on_its_own_port() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec::default());
    net.plug("slow", queue(3, 100_000));
    net.plug("fine", PortSpec::default());
    let frames: Vec<_> = (0..5).map(|n| plain(MacAddr::BROADCAST, mac(1), 60 + n)).collect();
    for frame in &frames {
        // The verdict is what the network decided; the drop is the egress port's.
        assert_eq!(net.send("a", frame), Verdict::Flood { copies: 2 });
    }
    net.moved(&[
        "a rx_frames+5 rx_bytes+310 rx_broadcast+5 rx_flooded+5 rx_copies+10",
        "slow tx_offered+5 tx_queued+3 drop.queue-full+2",
        "fine tx_offered+5 tx_queued+5",
    ]);
    assert_eq!(net.engine.queue_len(net.id("slow")), (3, 183));
    assert_eq!(net.receive_plain("fine"), frames);
    assert_eq!(net.receive_plain("slow"), frames[..3]);
    net.nothing_held();
}

#[test]
fn a_queue_is_bounded_in_bytes_too() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec::default());
    net.plug("slow", queue(1000, 3000));
    for _ in 0..3 {
        net.send("a", &plain(MacAddr::BROADCAST, mac(1), 1400));
    }
    // What is too long now does not keep out what is short enough.
    net.send("a", &plain(MacAddr::BROADCAST, mac(1), 200));
    net.moved(&[
        "a rx_frames+4 rx_bytes+4400 rx_broadcast+4 rx_flooded+4 rx_copies+4",
        "slow tx_offered+4 tx_queued+3 drop.queue-full",
    ]);
    assert_eq!(net.engine.queue_len(net.id("slow")), (3, 3000));
}

#[test]
fn an_empty_queue_takes_a_frame_of_any_length() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    let spec = PortSpec { offloads_from_guest: OffloadSet::all(), ..PortSpec::default() };
    net.plug("tap", spec);
    net.plug("small", queue(10, 2000));
    let large = tcp_gso(Ip::V4, MacAddr::BROADCAST, mac(1), 60_000, 1000);
    net.send_rich("tap", &large);
    net.send_rich("tap", &large);
    assert_eq!(net.receive("small").len(), 60);
    let counters = net.engine.port_counters(net.id("small")).expect("a live port");
    assert_eq!((counters.tx_queued, counters.dropped(Reason::QueueFull)), (1, 1));
}

#[test]
fn a_port_is_listed_when_its_queue_fills_and_while_frames_are_left() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec::default());
    net.plug("b", PortSpec::default());
    let frame = plain(MacAddr::BROADCAST, mac(1), 60);
    assert_eq!(net.ready(), [""; 0]);
    net.send("a", &frame);
    net.send("a", &frame);
    assert_eq!(net.ready(), ["b"], "listed once");
    net.send("a", &frame);
    assert_eq!(net.ready(), [""; 0], "its queue was not empty");
    assert_eq!(net.receive_some("b", 1).len(), 1);
    assert_eq!(net.ready(), ["b"], "frames are left");
    assert_eq!(net.receive_some("b", 2).len(), 2);
    assert_eq!(net.ready(), [""; 0], "nothing is left");
    net.send("a", &frame);
    assert_eq!(net.ready(), ["b"]);
}

#[test]
fn a_budget_bounds_frames_and_bytes() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    net.plug("a", PortSpec::default());
    net.plug("b", PortSpec::default());
    for _ in 0..100 {
        net.send("a", &plain(MacAddr::BROADCAST, mac(1), 100));
    }
    let b = net.id("b");
    let mut out = TxBatch::new();
    let mut poll = |frames, bytes, out: &mut TxBatch| {
        net.engine.poll_transmit(&mut net.pool, b, Budget { frames, bytes }, out)
    };
    assert_eq!(poll(0, 1000, &mut out), 0);
    assert_eq!(poll(10, 0, &mut out), 0);
    assert_eq!(poll(10, 1, &mut out), 1, "one frame always fits");
    assert_eq!(poll(10, 250, &mut out), 3, "the frame that crosses the limit is given");
    assert_eq!(poll(10, usize::MAX, &mut out), 10);
    assert_eq!(poll(usize::MAX, usize::MAX, &mut out), 50, "no more than the batch holds");
    assert_eq!(poll(usize::MAX, usize::MAX, &mut out), 0, "a full batch takes nothing");
    for frame in out.drain(..) {
        net.pool.release(frame);
    }
}

/// A switch whose flood loop ends at the first client that cannot take a frame cuts off all behind
/// it, as gvisor-tap-vsock's did.
#[test]
fn a_dead_guest_in_the_middle_of_a_flood_delays_nobody() {
    let mut net = TestNetwork::new(NetworkSpec::default());
    for name in ["a", "b", "dead", "c"] {
        net.plug(name, queue(64, 1 << 20));
    }
    let frame = plain(MacAddr::BROADCAST, mac(1), 1000);
    for _ in 0..10_000 {
        assert_eq!(net.send("a", &frame), Verdict::Flood { copies: 3 });
        assert_eq!(net.receive_plain("b"), std::slice::from_ref(&frame));
        assert_eq!(net.receive_plain("c"), std::slice::from_ref(&frame));
    }
    net.moved(&[
        "a rx_frames+10000 rx_bytes+10000000 rx_broadcast+10000 rx_flooded+10000 rx_copies+30000",
        "b tx_offered+10000 tx_queued+10000 tx_taken+10000 tx_frames+10000 tx_bytes+10000000 \
         tx_broadcast+10000",
        "c tx_offered+10000 tx_queued+10000 tx_taken+10000 tx_frames+10000 tx_bytes+10000000 \
         tx_broadcast+10000",
        "dead tx_offered+10000 tx_queued+64 drop.queue-full+9936",
    ]);
    assert_eq!(net.pool.usage().small.used, 64, "what it holds is bounded");
    let counters = net.unplug("dead");
    assert_eq!(counters.dropped(Reason::LinkClosed), 64);
    net.nothing_held();
}

#[test]
fn dead_guests_never_take_the_whole_pool() {
    let limits = PoolLimits { small: 128, large: 4, headers: 8 };
    let mut net = TestNetwork::with_pool(NetworkSpec::default(), limits);
    for name in ["a", "b", "dead1", "dead2", "dead3"] {
        net.plug(name, PortSpec::default());
    }
    // Every port is known, so that the frames are for one port each and share nothing.
    for (number, name) in [(2, "b"), (11, "dead1"), (12, "dead2"), (13, "dead3")] {
        net.send(name, &plain(mac(number), mac(number), 60));
    }
    for _ in 0..1000 {
        for number in 11..=13 {
            net.send("a", &plain(mac(number), mac(1), 60));
        }
        net.send("a", &plain(mac(2), mac(1), 60));
        assert_eq!(net.receive("b").len(), 1, "b's frames still find buffers");
    }
    assert!(net.pool.usage().small.used < 128);
    for name in ["dead1", "dead2", "dead3"] {
        let counters = net.engine.port_counters(net.id(name)).expect("a live port");
        assert_eq!(counters.dropped(Reason::QueueShare) + counters.tx_queued, 1000);
        assert!(counters.tx_queued >= 30, "and the dead have their share: {counters:?}");
    }
    testkit::ledger::conservation(&net.engine);
}

#[test]
fn what_a_link_gives_back_comes_again_first_and_is_counted_once() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        let rich = PortSpec { offloads_from_guest: OffloadSet::all(), ..PortSpec::default() };
        net.plug("a", rich);
        net.plug("b", PortSpec::default());
        let numbered: Vec<_> =
            (0..100).map(|n| plain(MacAddr::BROADCAST, mac(1), 60 + n)).collect();
        for frame in &numbered {
            net.send("a", frame);
        }
        net.stall("b", 10);
        assert_eq!(net.engine.queue_len(net.id("b")).0, 36, "what no link has taken");
        // The second time it gives back part of what it gave back.
        net.stall("b", 4);
        net.send("a", &numbered[0]);
        let mut expected = numbered[14..].to_vec();
        expected.push(numbered[0].clone());
        assert_eq!(net.receive_some("b", 1).len(), 1, "a small budget leaves the rest");
        assert_eq!(net.receive_plain("b"), expected[1..]);
        let bytes: usize = numbered.iter().map(Vec::len).sum::<usize>() + 60;
        net.moved(&[
            &format!(
                "a rx_frames+101 rx_bytes+{bytes} rx_broadcast+101 rx_flooded+101 rx_copies+101"
            ),
            &format!(
                "b tx_offered+101 tx_queued+101 tx_taken+101 tx_frames+101 tx_bytes+{bytes} \
                 tx_broadcast+101"
            ),
        ]);
        // Segments that were given back are not cut again.
        net.send_rich("a", &tcp_gso(ip, MacAddr::BROADCAST, mac(1), 10_000, 1000));
        net.stall("b", 3);
        net.stall("b", 3);
        assert_eq!(net.receive("b").len(), 4);
        let counters = net.engine.port_counters(net.id("b")).expect("a live port");
        assert_eq!((counters.tx_segmented, counters.tx_frames), (1, 111));
        // And a port that goes loses what its link gave back.
        net.send("a", &numbered[0]);
        net.stall("b", 0);
        assert_eq!(net.unplug("b").dropped(Reason::LinkFull), 1);
        net.nothing_held();
    }
}

/// Each in its turn takes what the queue rules give it, with a link that has just taken a batch and
/// could not write it.
#[test]
fn however_many_links_stall_a_live_pair_finds_buffers() {
    // Small frames; jumbo frames, of which there are fewer buffers; and segments, whose headers
    // run out first.
    for (mtu, limits, segments) in [
        (1500, PoolLimits { small: 2048, large: 64, headers: 2048 }, false),
        (9000, PoolLimits { small: 64, large: 512, headers: 2048 }, false),
        (1500, PoolLimits { small: 2048, large: 512, headers: 1024 }, true),
    ] {
        let mut net = TestNetwork::with_pool(NetworkSpec { mtu, ..NetworkSpec::default() }, limits);
        let rich = PortSpec { offloads_from_guest: OffloadSet::all(), ..PortSpec::default() };
        for name in ["attacker", "x"] {
            net.plug(name, rich.clone());
        }
        net.plug("y", PortSpec::default());
        let y = mac(2);
        net.send("y", &plain(y, y, 60));
        let dead: Vec<String> = (0..256).map(|n| format!("dead{n}")).collect();
        let long = usize::from(mtu);
        for round in 0..3 {
            for (number, name) in (100..).zip(&dead) {
                if round == 0 {
                    net.plug(name, PortSpec::default());
                    net.send(name, &plain(mac(number), mac(number), 60));
                }
                if segments {
                    net.send_rich("attacker", &tcp_gso(Ip::V4, mac(number), mac(3), 60_000, 1000));
                } else {
                    let burst: Vec<_> = (0..64).map(|_| plain(mac(number), mac(3), long)).collect();
                    net.send_batch("attacker", &burst);
                }
                net.stall(name, 0);
            }
            // The pair's traffic, a whole batch of it, is as it was.
            let burst: Vec<_> = (0..64).map(|_| plain(y, mac(1), long)).collect();
            assert!(net.send_batch("x", &burst).iter().all(|v| matches!(v, Verdict::Forward(_))));
            assert_eq!(net.receive("y").len(), 64);
            if segments {
                net.send_rich("x", &tcp_gso(Ip::V6, y, mac(1), 60_000, 1000));
                assert_eq!(net.receive("y").len(), 60);
            }
        }
        let counters = net.engine.port_counters(net.id("y")).expect("a live port");
        assert_eq!(counters.tx_offered, counters.tx_taken, "nothing was lost: {counters:?}");
        for name in dead {
            net.unplug(&name);
        }
        net.nothing_held();
    }
}

#[test]
fn large_frames_that_have_left_count_no_more() {
    let limits = PoolLimits { small: 64, large: 8, headers: 64 };
    let mut net =
        TestNetwork::with_pool(NetworkSpec { mtu: 9000, ..NetworkSpec::default() }, limits);
    net.plug("a", PortSpec::default());
    net.plug("b", PortSpec::default());
    for _ in 0..100 {
        net.send("a", &plain(MacAddr::BROADCAST, mac(1), 5000));
        net.send("a", &plain(MacAddr::BROADCAST, mac(1), 100));
        assert_eq!(net.receive("b").len(), 2);
    }
    net.nothing_held();
}

#[test]
fn an_empty_pool_is_the_links_to_count() {
    let mut net = TestNetwork::with_pool(
        NetworkSpec::default(),
        PoolLimits { small: 1, large: 1, headers: 0 },
    );
    net.plug("a", PortSpec::default());
    net.plug("b", PortSpec::default());
    let held = net.pool.copy_in(&plain(mac(2), mac(1), 60), Offload::default()).expect("one");
    let refused = net.pool.copy_in(&plain(mac(2), mac(1), 60), Offload::default());
    assert_eq!(refused.err(), Some(PoolEmpty));
    let lease = net.pool.lease_large().expect("one");
    assert!(net.pool.lease_large().is_err());
    let (a, b) = (net.id("a"), net.id("b"));
    net.engine.receive_failed(a, Reason::NoBuffer, 1);
    net.engine.receive_failed(a, Reason::BadFraming, 2);
    net.engine.transmit_failed(b, Reason::LinkFull, 3);
    net.moved(&["a rx_frames+3 drop.no-buffer drop.bad-framing+2", "b drop.link-full+3"]);
    net.pool.release(held);
    net.pool.give_back(lease);
    net.nothing_held();
}

#[test]
fn the_pool_is_limited_by_class_and_grows_in_chunks() {
    let mut pool = Pool::new(PoolLimits { small: 100, large: 3, headers: 10 });
    assert_eq!(pool.usage().small.grown, 0, "nothing is taken before it is needed");
    let small: Vec<_> =
        (0..100).map(|_| pool.copy_in(&[1; 2048], Offload::default()).expect("small")).collect();
    assert!(pool.copy_in(&[1; 60], Offload::default()).is_err());
    let large: Vec<_> =
        (0..3).map(|_| pool.copy_in(&[2; 2049], Offload::default()).expect("large")).collect();
    assert!(pool.copy_in(&[2; 2049], Offload::default()).is_err());
    assert_eq!((pool.usage().small.used, pool.usage().large.used), (100, 3));
    for frame in small.into_iter().chain(large) {
        assert!(pool.pieces(&frame).concat().iter().all(|&byte| byte == 1 || byte == 2));
        pool.release(frame);
    }
    let longest = engine::LARGE_CAPACITY;
    let frame = pool.copy_in(&vec![3; longest], Offload::default()).expect("the longest frame");
    assert_eq!(frame.len(), longest);
    pool.release(frame);
    assert!(pool.copy_in(&vec![3; longest + 1], Offload::default()).is_err());
    assert_eq!((pool.usage().small.used, pool.usage().large.used), (0, 0));
    assert_eq!((pool.usage().small.grown, pool.usage().large.grown), (100, 3));
}

#[test]
fn a_lease_becomes_a_frame_of_the_range_that_was_read() {
    let mut pool = Pool::new(PoolLimits { small: 2, large: 1, headers: 0 });
    let lease = pool.lease_large().expect("a large buffer");
    assert_eq!(pool.lease_mut(&lease).len(), engine::LARGE_CAPACITY);
    for (i, byte) in pool.lease_mut(&lease).iter_mut().enumerate() {
        *byte = i as u8;
    }
    // A short frame moves to a small buffer, and the large one is free again.
    let frame = pool.fill(lease, 12..112, Offload::default());
    assert_eq!(pool.pieces(&frame).concat(), (12..112).collect::<Vec<u8>>());
    assert_eq!((pool.usage().small.used, pool.usage().large.used), (1, 0));
    let lease = pool.lease_large().expect("a large buffer");
    let long = pool.fill(lease, 10..9010, Offload::default());
    assert_eq!(pool.pieces(&long).concat().len(), 9000);
    assert_eq!(pool.pieces(&long).concat()[0], 10);
    pool.release(long);
    // Without a free small buffer a short frame stays where it is, and a range is cut to the
    // buffer.
    let other = pool.copy_in(&[0; 60], Offload::default()).expect("the last small buffer");
    let lease = pool.lease_large().expect("a large buffer");
    let short = pool.fill(lease, 100..200, Offload::default());
    assert_eq!(pool.usage().large.used, 1);
    assert_eq!(pool.pieces(&short).concat(), (100..200).collect::<Vec<u8>>());
    pool.release(short);
    let lease = pool.lease_large().expect("a large buffer");
    let beyond = pool.fill(lease, 60_000..70_000, Offload::default());
    assert_eq!(beyond.len(), engine::LARGE_CAPACITY - 60_000);
    for frame in [frame, other, beyond] {
        pool.release(frame);
    }
    assert_eq!((pool.usage().small.used, pool.usage().large.used), (0, 0));
}

#[test]
fn a_port_that_goes_in_the_middle_of_a_cut_gives_everything_back() {
    for ip in Ip::BOTH {
        let mut net = TestNetwork::new(NetworkSpec::default());
        let offloads = OffloadSet::all();
        net.plug("a", PortSpec { offloads_from_guest: offloads, ..PortSpec::default() });
        net.plug("b", PortSpec::default());
        net.send_rich("a", &tcp_gso(ip, MacAddr::BROADCAST, mac(1), 30_000, 1000));
        net.send_rich("a", &tcp_gso(ip, MacAddr::BROADCAST, mac(1), 30_000, 1000));
        assert_eq!(net.receive_some("b", 10).len(), 10);
        assert_eq!(net.engine.queue_len(net.id("b")).0, 2, "a frame that is being cut is queued");
        let counters = net.unplug("b");
        assert_eq!(counters.dropped(Reason::LinkClosed), 2);
        assert_eq!((counters.tx_frames, counters.tx_taken), (10, 0));
        net.nothing_held();
    }
}
