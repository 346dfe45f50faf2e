//! Stream ports: framing over real sockets, slow, dead and greedy clients.

use super::*;

#[test]
fn frames_pass_both_ways_and_every_counter_that_moves_is_known() {
    let mut s = Stage::new("both-ways");
    let (a, client_a) = s.stream_port("a", PortSpec::default());
    let (b, client_b) = s.stream_port("b", PortSpec::default());
    let hello = frame(1, 0, 60, 1);
    send(&client_a, &record(&hello)).unwrap();
    s.turns();
    let mut of_b = Decoder::new();
    assert_eq!(read_records(&client_b, &mut of_b), [hello]);
    let answers: Vec<_> = (0..100).map(|n| frame(2, 1, 60 + n as usize, n)).collect();
    send(&client_b, &answers.iter().flat_map(|f| record(f)).collect::<Vec<_>>()).unwrap();
    s.turns();
    assert_eq!(read_records(&client_a, &mut Decoder::new()), answers);
    let moved = |s: &Stage, port| -> Vec<(String, u64)> {
        let counters = s.worker.engine(s.net).port_counters(port).unwrap();
        counters.iter().filter(|(_, n)| *n > 0).map(|(n, v)| (n.into(), v)).collect()
    };
    let bytes: u64 = answers.iter().map(|f| f.len() as u64).sum();
    let expect = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect()
    };
    let sorted = |mut v: Vec<(String, u64)>| {
        v.sort();
        v
    };
    assert_eq!(
        sorted(moved(&s, a)),
        sorted(expect(&[
            ("rx_frames", 1),
            ("rx_bytes", 60),
            ("rx_broadcast", 1),
            ("rx_flooded", 1),
            ("rx_copies", 1),
            ("tx_offered", 100),
            ("tx_queued", 100),
            ("tx_taken", 100),
            ("tx_frames", 100),
            ("tx_bytes", bytes),
            ("tx_unicast", 100),
        ]))
    );
    assert_eq!(
        sorted(moved(&s, b)),
        sorted(expect(&[
            ("rx_frames", 100),
            ("rx_bytes", bytes),
            ("rx_unicast", 100),
            ("rx_forwarded", 100),
            ("tx_offered", 1),
            ("tx_queued", 1),
            ("tx_taken", 1),
            ("tx_frames", 1),
            ("tx_bytes", 60),
            ("tx_broadcast", 1),
        ]))
    );
    assert_eq!(s.buffers_in_use(), 0);
}

#[test]
fn a_record_may_arrive_byte_by_byte() {
    let mut s = Stage::new("bytes");
    let (_, client_a) = s.stream_port("a", PortSpec::default());
    let (_, client_b) = s.stream_port("b", PortSpec::default());
    let hello = frame(1, 0, 60, 1);
    let mut decoder = Decoder::new();
    for (i, byte) in record(&hello).iter().enumerate() {
        assert!(read_records(&client_b, &mut decoder).is_empty(), "after {i} bytes");
        send(&client_a, &[*byte]).unwrap();
        s.turn();
    }
    assert_eq!(read_records(&client_b, &mut decoder), [hello]);
}

#[test]
fn a_bad_length_closes_with_a_sentence_and_only_that_port() {
    let mut s = Stage::new("bad-length");
    let (_, client_a) = s.stream_port("a", PortSpec::default());
    let (_, client_b) = s.stream_port("b", PortSpec::default());
    let (_, client_c) = s.stream_port("c", PortSpec::default());
    // A good frame before it still counts.
    let hello = frame(1, 0, 60, 1);
    send(&client_a, &[record(&hello), b"\xff\xff\xff\xff".to_vec()].concat()).unwrap();
    s.turns();
    let closed = s.closed();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].0, "a");
    assert!(matches!(&closed[0].1, CloseReason::Protocol(why) if why.contains("4294967295 bytes")));
    assert_eq!(unix::receive(client_a.as_fd(), &mut [0; 1]).unwrap(), 0);
    assert_eq!(read_records(&client_b, &mut Decoder::new()), [hello]);
    send(&client_c, &record(&frame(3, 0, 60, 9))).unwrap();
    s.turns();
    assert_eq!(read_records(&client_b, &mut Decoder::new()).len(), 1);
}

#[test]
fn half_a_message_delays_nobody() {
    let mut s = Stage::new("half");
    let (_, client_a) = s.stream_port("a", PortSpec::default());
    let (_, client_b) = s.stream_port("b", PortSpec::default());
    let (_, client_c) = s.stream_port("c", PortSpec::default());
    let half = record(&frame(1, 0, 1000, 1));
    send(&client_a, &half[..500]).unwrap();
    s.turns();
    send(&client_b, &record(&frame(2, 0, 60, 2))).unwrap();
    s.turns();
    assert_eq!(read_records(&client_c, &mut Decoder::new()).len(), 1);
    send(&client_a, &half[500..]).unwrap();
    s.turns();
    assert_eq!(read_records(&client_c, &mut Decoder::new()), [&half[4..]]);
}

#[test]
fn a_client_that_stops_reading_fills_only_its_own_queue() {
    let mut s = Stage::new("slow");
    let spec = PortSpec { queue_frames: 100, ..PortSpec::default() };
    let (_, flooder) = s.stream_port("flooder", spec.clone());
    let (slow, slow_client) = s.stream_port("slow", spec.clone());
    let (quick, quick_client) = s.stream_port("quick", spec);
    let mut of_quick = Decoder::new();
    let mut sent = 0_u32;
    let mut got_quick = 0;
    // Far more than the sockets and the queue hold.
    while sent < 3000 {
        let frames: Vec<u8> = (0..20).flat_map(|i| record(&frame(1, 0, 1000, sent + i))).collect();
        send(&flooder, &frames).unwrap();
        sent += 20;
        s.turns();
        got_quick += read_records(&quick_client, &mut of_quick).len();
    }
    assert_eq!(got_quick, 3000, "the reader got everything");
    assert_eq!(s.dropped(quick, Reason::QueueFull), 0);
    let lost = s.dropped(slow, Reason::QueueFull);
    assert!(lost > 2000, "{lost} lost");
    assert_eq!(s.worker.engine(s.net).queue_len(slow).0, 100);
    // Its queue, and one batch that its link gave back.
    assert!(s.buffers_in_use() <= 164, "{}", s.buffers_in_use());
    // It wakes up: what it gets is whole records in order, and it can go on.
    let mut of_slow = Decoder::new();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        for f in read_records(&slow_client, &mut of_slow) {
            assert_eq!(f.len(), 1000);
            numbers.push(u32::from_be_bytes([f[14], f[15], f[16], f[17]]));
        }
        s.turns();
    }
    assert!(numbers.is_sorted());
    assert_eq!(numbers.len() as u64 + lost, 3000, "every frame is accounted for");
    assert_eq!(s.buffers_in_use(), 0);
}

/// 256 is as many as one user may have. The sockets are small, so that each client stalls in the
/// middle of the first frame.
#[test]
fn many_clients_that_stop_reading_leave_buffers_for_the_others() {
    let limits = PoolLimits { small: 4096, large: 64, headers: 64 };
    let mut s = Stage::with_pool("stalled", limits);
    let (attacker, attacker_client) = s.stream_port("attacker", PortSpec::default());
    let (x, x_client) = s.stream_port("x", PortSpec::default());
    let (y, y_client) = s.stream_port("y", PortSpec::default());
    send(&y_client, &record(&frame(2, 2, 60, 0))).unwrap();
    let stalled: Vec<_> = (0..256_u32)
        .map(|n| {
            let (ours, theirs) = unix::pair(SocketKind::Stream, true).unwrap();
            unix::set_buffers(ours.as_fd(), 4096, 4096).unwrap();
            let about = PortAbout::new(format!("s{n}"), LinkKind::Stream, s.worker.now());
            let setup = LinkSetup::Stream { fd: ours };
            let port = s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap();
            let mut hello = frame(3, 3, 60, 0);
            for address in [0, 6] {
                hello[address + 1..address + 5].copy_from_slice(&(n + 1).to_be_bytes());
            }
            send(&theirs, &record(&hello)).unwrap();
            (port, theirs)
        })
        .collect();
    s.turns();
    let mut of_y = Decoder::new();
    let mut got = 0;
    for n in 0..256_u32 {
        let mut burst = frame(1, 3, 1400, n);
        burst[1..5].copy_from_slice(&(n + 1).to_be_bytes());
        // Two batches: the first finds the link free, the second its port stalled.
        send(&attacker_client, &record(&burst).repeat(64)).unwrap();
        s.turn();
        send(&attacker_client, &record(&burst).repeat(64)).unwrap();
        s.turn();
        let batch: Vec<u8> = (0..64).flat_map(|n| record(&frame(4, 2, 1400, n))).collect();
        send(&x_client, &batch).unwrap();
        s.turn();
        got += read_records(&y_client, &mut of_y).len();
    }
    assert_eq!(got, 256 * 64, "the pair that reads lost nothing");
    for port in [attacker, x] {
        assert_eq!(s.dropped(port, Reason::NoBuffer), 0);
    }
    assert_eq!(s.dropped(y, Reason::QueueShare), 0);
    let lost = stalled.iter().map(|(port, _)| s.dropped(*port, Reason::QueueShare)).sum::<u64>();
    assert!(lost > 0, "who stalled pays");
    assert!(s.worker.pool_usage().small.used > 4096 / 2, "the test needs a pool that runs short");
    // One that reads again gets whole records, the one that was cut included.
    let (first, client) = &stalled[0];
    let mut of_first = Decoder::new();
    let mut records = 0;
    for _ in 0..200 {
        records += read_records(client, &mut of_first).len();
        s.turn();
    }
    assert_eq!(records as u64, s.counter(*first, "tx_frames"));
    drop(stalled);
    s.turns();
    assert_eq!(s.buffers_in_use(), 0);
}

#[test]
fn a_client_that_dies_in_a_flood_takes_nobody_along() {
    let mut s = Stage::new("dead");
    let (_, flooder) = s.stream_port("flooder", PortSpec::default());
    let (_, dying) = s.stream_port("dying", PortSpec::default());
    let (_, living) = s.stream_port("living", PortSpec::default());
    let mut of_living = Decoder::new();
    let mut dying = Some(dying);
    let mut got = 0;
    for round in 0..50 {
        let frames: Vec<u8> =
            (0..20).flat_map(|i| record(&frame(1, 0, 1000, round * 20 + i))).collect();
        send(&flooder, &frames).unwrap();
        if round == 25 {
            // With frames unread in its socket, and more in its queue.
            dying = None;
        }
        s.turns();
        got += read_records(&living, &mut of_living).len();
    }
    drop(dying);
    assert_eq!(got, 1000);
    assert_eq!(s.closed(), [("dying".to_owned(), CloseReason::PeerClosed)]);
    assert_eq!(s.buffers_in_use(), 0);
}

#[test]
fn a_greedy_client_gets_one_visit_per_turn_like_everyone() {
    let mut s = Stage::new("greedy");
    let (greedy, greedy_client) = s.stream_port("greedy", PortSpec::default());
    let (modest, modest_client) = s.stream_port("modest", PortSpec::default());
    let (_, _sink) = s.stream_port("sink", PortSpec::default());
    let burst: Vec<u8> = (0..4000).flat_map(|i| record(&frame(1, 0, 60, i))).collect();
    let written = send(&greedy_client, &burst).unwrap();
    assert!(
        written > crate::link::scratch::STREAM_READ,
        "the test needs more than one visit's worth"
    );
    send(&modest_client, &record(&frame(2, 0, 60, 0))).unwrap();
    s.turn();
    assert_eq!(s.counter(modest, "rx_frames"), 1, "served in the same turn");
    let first = s.counter(greedy, "rx_frames");
    let per_visit = (crate::link::scratch::STREAM_READ / 64) as u64;
    assert!((1..=per_visit).contains(&first), "{first} frames in one visit");
    s.turn();
    assert!(s.counter(greedy, "rx_frames") > first);
}

#[test]
fn runts_are_the_engines_business_and_are_counted() {
    let mut s = Stage::new("runts");
    let (a, client) = s.stream_port("a", PortSpec::default());
    send(&client, &[record(&[]), record(&[1; 13]), record(&frame(1, 0, 14 + 4, 0))].concat())
        .unwrap();
    s.turns();
    assert_eq!(s.dropped(a, Reason::Runt), 2);
    assert_eq!(s.counter(a, "rx_frames"), 3);
    assert!(s.closed().is_empty());
}

/// Records without a byte are four bytes each: a visit reads tens of thousands of them.
#[test]
fn a_flood_of_empty_records_troubles_the_engine_with_a_batch_per_visit() {
    let mut s = Stage::new("empty");
    let (a, client) = s.stream_port("a", PortSpec::default());
    let written = send(&client, &[0; 100_000]).unwrap();
    let records = (written / 4) as u64;
    assert!(records > 1000, "the test needs many in one visit");
    s.worker.engine_mut(s.net).capture(Some(engine::CapturePlan {
        port: None,
        snaplen: 64,
        queue_bytes: 1 << 20,
        filters: Vec::new(),
    }));
    s.turn();
    assert_eq!(s.dropped(a, Reason::Runt), records, "each is counted");
    assert_eq!(s.counter(a, "rx_frames"), records);
    let shown = std::iter::from_fn(|| s.worker.engine_mut(s.net).poll_capture()).count();
    assert_eq!(shown, engine::BATCH);
    assert_eq!(written % 4, 0, "no record was cut");
    send(&client, &record(&frame(1, 0, 60, 0))).unwrap();
    s.turns();
    assert_eq!(s.counter(a, "rx_broadcast"), 1, "and the stream goes on");
}

#[test]
fn an_oversize_record_is_dropped_and_the_stream_goes_on() {
    let mut s = Stage::new("oversize");
    let (a, client) = s.stream_port("a", PortSpec::default());
    let long = record(&vec![2; framing::RECORD_MAX]);
    let mut rest = &long[..];
    while !rest.is_empty() {
        let n = send(&client, rest).unwrap();
        rest = &rest[n..];
        s.turns();
    }
    send(&client, &record(&frame(1, 0, 60, 0))).unwrap();
    s.turns();
    assert_eq!((s.dropped(a, Reason::Oversize), s.dropped(a, Reason::NoBuffer)), (1, 0));
    assert_eq!(s.counter(a, "rx_broadcast"), 1);
    assert!(s.closed().is_empty());
}
