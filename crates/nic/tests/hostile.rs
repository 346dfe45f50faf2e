//! The helper on a real packet socket, in front of a wire that tells the truth, and behind it a hypervisor that lies.
//!
//! Runs as root, in network namespaces of its own; skipped loudly elsewhere.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "tests")]

mod lab;

use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use lab::{Client, Heard, Lab, MACS, OTHER, OURS, OUTSIDE, PATIENCE, ip, make_device, message};
use nic::protocol::{self, FRAME_MAX, Place};
use nic::reason::Reason;
use nic::slots::{SLOTS, Way};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::parse::Arp;
use wire::{Gso, GsoKind, MacAddr, Offload, Tag, VNET_HDR_LEN, vnet};

fn frame(to: MacAddr, from: MacAddr, build: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let len = build(Builder::new(&mut buffer).ethernet(to, from)).finish().expect("room");
    buffer.truncate(len);
    buffer
}

fn udp(to: MacAddr, from: MacAddr, word: &str) -> Vec<u8> {
    frame(to, from, |b| b.ipv4(&Ipv4::default()).udp(4000, 5000).payload(word.as_bytes()))
}

fn arp(from: MacAddr, sender: MacAddr) -> Vec<u8> {
    let packet = Arp {
        operation: 1,
        sender_mac: sender,
        sender_ip: [192, 0, 2, 1].into(),
        target_mac: MacAddr::ZERO,
        target_ip: [192, 0, 2, 2].into(),
    };
    frame(MacAddr::BROADCAST, from, |b| b.arp(&packet))
}

#[test]
fn forged_frames_never_reach_the_wire() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    let all = MacAddr::BROADCAST;
    let v4 = Ipv4::default();
    let v6 = Ipv6::default();
    let target: Ipv6Addr = "fe80::1".parse().expect("an address");
    let forged = [
        (Reason::SourceMac, udp(all, OTHER, "not claimed")),
        (Reason::SourceMac, udp(all, OUTSIDE, "not allowed")),
        (Reason::SourceMac, udp(all, MacAddr([2, 0, 0, 0x88, 0, 1]), "the host's")),
        (Reason::ArpSender, arp(OURS, OUTSIDE)),
        (
            Reason::NeighbourSender,
            frame(all, OURS, |b| b.ipv6(&v6).neighbour(136, 0x20, target, OUTSIDE)),
        ),
        (Reason::RouterMessage, frame(all, OURS, |b| b.ipv6(&v6).icmpv6(134, 0).payload(&[0; 12]))),
        (
            Reason::RouterMessage,
            frame(all, OURS, |b| {
                b.ipv6(&v6)
                    .extension(60, &[0; 7])
                    .extension(0, &[0; 7])
                    .icmpv6(134, 0)
                    .payload(&[0; 12])
            }),
        ),
        (Reason::RouterMessage, frame(all, OURS, |b| b.ipv4(&v4).icmpv4(5, 1, [0; 4]))),
        (Reason::DhcpServer, frame(all, OURS, |b| b.ipv4(&v4).udp(67, 68).payload(&[2; 240]))),
        (Reason::DhcpServer, frame(all, OURS, |b| b.ipv6(&v6).udp(547, 546).payload(&[7; 8]))),
        (Reason::Tagged, frame(all, OURS, |b| b.tag(Tag::new(7)).ipv4(&v4).udp(1, 2))),
        (Reason::Tagged, frame(all, OURS, |b| b.tag(Tag::new(0)).ipv6(&v6).icmpv6(134, 0))),
        (Reason::Ethertype, frame(all, OURS, |b| b.ethertype(0x88cc).payload(&[0; 50]))),
        (Reason::Malformed, frame(all, OURS, |b| b.ipv4(&v4).protocol(17).payload(&[0, 67]))),
        (Reason::Oversize, frame(all, OURS, |b| b.ipv4(&v4).udp(1, 2).payload(&[0; 1500]))),
        (Reason::Runt, vec![0; 13]),
    ];
    let marker = udp(all, OURS, "the end");
    for (reason, frame) in &forged {
        let before = client.counter(*reason);
        client.send(&[frame.clone(), frame.clone()]);
        assert_eq!(client.counter(*reason), before + 2, "{reason:?}");
    }
    // Good ones among bad ones of the same message.
    client.send(&[forged[0].1.clone(), arp(OURS, OURS), forged[3].1.clone(), marker.clone()]);
    assert_eq!(wire.until(&marker), [arp(OURS, OURS)]);
    let counters = client.counters();
    assert_eq!(counters.iter().find(|it| it.0 == "sent"), Some(&("sent", 2)));
}

#[test]
fn metadata_that_lies_never_reaches_the_kernel() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    let plain = udp(MacAddr::BROADCAST, OURS, "plain");
    for header in [
        [0xff; VNET_HDR_LEN],
        // A checksum far behind the frame, one in its addresses, segments of a byte, another kind.
        [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 34, 0, 16, 0, 0, 0],
        [1, 5, 0, 0, 1, 0, 34, 0, 6, 0, 0, 0],
        [0, 1, 54, 0, 0xa0, 5, 0, 0, 0, 0, 0, 0],
        [0, 3, 54, 0, 0xa0, 5, 0, 0, 0, 0, 0, 0],
    ] {
        client.say(&message(&header, std::slice::from_ref(&plain)));
    }
    let marker = udp(MacAddr::BROADCAST, OURS, "the end");
    client.send(std::slice::from_ref(&marker));
    let passed = wire.until(&marker);
    // Segments of one byte of a UDP datagram of five are what UDP segmentation is; all else is gone.
    let bad = client.counter(Reason::BadOffload) + client.counter(Reason::BadVnetHeader);
    assert_eq!((passed.len() as u64) + bad, 7, "{:?}", client.counters());
    assert!(bad >= 6, "{:?}", client.counters());
}

#[test]
fn large_frames_pass_whole_both_ways() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    for v6 in [false, true] {
        let tcp = |to, from| {
            let mut buffer = vec![0; 61_000];
            let b = Builder::new(&mut buffer).ethernet(to, from);
            let b = if v6 { b.ipv6(&Ipv6::default()) } else { b.ipv4(&Ipv4::default()) };
            let b = b.tcp(&Tcp::default()).payload(&[0x5a; 60_000]);
            let (len, checksum) = b.finish_partial().expect("room");
            buffer.truncate(len);
            let kind = if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
            let gso = Some(Gso { kind, size: 1400, ecn: false });
            (Offload { checksum: Some(checksum), gso }, buffer)
        };
        let (offload, out) = tcp(OUTSIDE, OURS);
        let mut header = [0; VNET_HDR_LEN];
        vnet::encode(&offload, &out, &mut header);
        client.say(&message(&header, std::slice::from_ref(&out)));
        assert!(wire.receive(PATIENCE) == Some((offload, out.clone())), "out");
        client.send_in_slot(header, &out);
        assert!(wire.receive(PATIENCE) == Some((offload, out)), "out of a slot");
        let (offload, inward) = tcp(OURS, OUTSIDE);
        for way in ["as it comes", "in a slot"] {
            wire.send_with(&offload, &inward);
            let heard = client.hear();
            assert!(heard == Some(Heard::Frames(vec![(offload, inward.clone())])), "in {way}");
        }
        // A small one after large ones.
        let small = udp(OURS, OUTSIDE, "small");
        wire.send(&small);
        assert_eq!(client.hear(), Some(Heard::Frames(vec![(Offload::NONE, small)])));
    }
    assert_eq!(client.counters(), [("sent", 4), ("delivered", 6)]);
}

#[test]
fn what_lies_in_a_slot_is_judged_as_what_comes_in_a_message() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    let all = MacAddr::BROADCAST;
    let plain = [0; VNET_HDR_LEN];
    let neighbour: Ipv6Addr = "fe80::1".parse().expect("an address");
    for (reason, frame) in [
        (Reason::SourceMac, udp(all, OTHER, "not claimed")),
        (Reason::ArpSender, arp(OURS, OUTSIDE)),
        (
            Reason::NeighbourSender,
            frame(all, OURS, |b| b.ipv6(&Ipv6::default()).neighbour(136, 0x20, neighbour, OUTSIDE)),
        ),
        (Reason::Tagged, frame(all, OURS, |b| b.tag(Tag::new(7)).ipv4(&Ipv4::default()).udp(1, 2))),
        (Reason::DhcpServer, frame(all, OURS, |b| b.ipv4(&Ipv4::default()).udp(67, 68))),
        (Reason::Runt, vec![0; 13]),
        (Reason::Runt, Vec::new()),
        (Reason::Oversize, {
            let mut long = udp(all, OURS, "");
            long.resize(60_000, 0);
            long
        }),
    ] {
        let before = client.counter(reason);
        // More often than there are slots: those of refused frames are free again.
        for _ in 0..2 * SLOTS {
            client.send_in_slot(plain, &frame);
        }
        assert_eq!(client.counter(reason), before + 2 * u64::from(SLOTS), "{reason:?}");
    }
    let good = udp(all, OURS, "the end");
    client.send_in_slot(plain, &good);
    assert_eq!(wire.until(&good), Vec::<Vec<u8>>::new());
    assert_eq!(client.counter(Reason::Sent), 1);
}

#[test]
fn a_front_that_changes_after_it_was_told_is_judged_as_it_is_sent() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    // The source is ours and another's in turn, as fast as it can be written, while the helper looks.
    let frames = [udp(OUTSIDE, OURS, "mine"), udp(OUTSIDE, OTHER, "mine")];
    let slots = client.slots.get().expect("mapped");
    let slot = slots.take(Way::Out).expect("a free slot");
    let len = frames[0].len();
    let place = Place { slot, len, header: [0; VNET_HDR_LEN], lent: None }.encode();
    let message = [&protocol::places_header(1)[..], &place].concat();
    let (mut said, start) = (0, Instant::now());
    while said < 2000 && start.elapsed() < Duration::from_secs(3) {
        for turn in 0..64 {
            assert!(slots.write(Way::Out, slot, 0, &frames[turn % 2]));
        }
        said += u64::from(client.try_say(&message));
    }
    let (sent, refused) = (client.counter(Reason::Sent), client.counter(Reason::SourceMac));
    // What was half written is no frame of anybody's; what passed is ours.
    assert!(sent + refused <= said && sent + refused > 0, "{:?}", client.counters());
    for _ in 0..sent {
        let (_, frame) = wire.receive(PATIENCE).expect("what was sent arrives");
        assert_eq!(frame[6..12], OURS.0);
    }
}

#[test]
fn places_that_are_none_end_their_connection() {
    let Some(lab) = Lab::new(&format!("{MACS}connections = 32\n")) else { return };
    let header = [0; VNET_HDR_LEN];
    for place in [
        Place { slot: SLOTS, len: 60, header, lent: None },
        Place { slot: u16::MAX, len: 60, header, lent: None },
        Place { slot: 0, len: FRAME_MAX + 1, header, lent: None },
        Place { slot: 0, len: u32::MAX as usize, header, lent: None },
    ] {
        let client = lab.connect();
        client.say(&[&protocol::places_header(1)[..], &place.encode()].concat());
        assert_eq!(client.hear(), None, "{place:?}");
    }
    // More, or fewer, than the message has.
    let place = Place { slot: 0, len: 60, header, lent: None }.encode();
    for count in [0, 2, 65] {
        let client = lab.connect();
        client.say(&[&protocol::places_header(count)[..], &place].concat());
        assert_eq!(client.hear(), None, "{count} places");
    }
}

#[test]
fn words_that_lie_spoil_the_liars_frames_only() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let (liar, alive) = (lab.connect(), lab.connect());
    assert!(liar.claim(OURS) && alive.claim(OTHER));
    let slots = liar.slots.get().expect("mapped");
    // It keeps all slots of what comes in: frames come in messages as they did before.
    while slots.take(Way::In).is_some() {}
    let large = |to| {
        let mut buffer = vec![0; 61_000];
        let b = Builder::new(&mut buffer).ethernet(to, OUTSIDE).ipv4(&Ipv4::default());
        let b = b.tcp(&Tcp::default()).payload(&[0x5a; 60_000]);
        let (len, checksum) = b.finish_partial().expect("room");
        buffer.truncate(len);
        let gso = Some(Gso { kind: GsoKind::Tcp4, size: 1400, ecn: false });
        (Offload { checksum: Some(checksum), gso }, buffer)
    };
    for client in [&liar, &alive] {
        let (offload, frame) =
            large(if std::ptr::eq(client, &raw const liar) { OURS } else { OTHER });
        for _ in 0..3 {
            wire.send_with(&offload, &frame);
            assert!(client.hear() == Some(Heard::Frames(vec![(offload, frame.clone())])));
        }
    }
}

#[test]
fn addresses_have_one_owner_and_frames_one_receiver() {
    let Some(lab) = Lab::new(&format!("{MACS}max_macs = 2\nconnections = 2\n")) else { return };
    let wire = lab.wire();
    let (a, b) = (lab.connect(), lab.connect());
    let third = Client::raw(&lab.socket());
    third.say(&protocol::hello("nic0", false).expect("a name"));
    assert!(matches!(third.hear(), Some(Heard::Refused(why)) if why.contains("2 networks")));
    assert!(a.claim(OURS) && a.claim(OURS));
    assert!(!b.claim(OURS), "taken");
    assert!(b.claim(OTHER));
    assert!(!a.claim(OUTSIDE), "not in the list");
    assert!(!a.claim(MacAddr::BROADCAST) && !a.claim(MacAddr([3, 0, 0, 0x12, 0, 1])));
    assert!(a.claim(MacAddr([2, 0, 0, 0x12, 0, 3])));
    assert!(!a.claim(MacAddr([2, 0, 0, 0x12, 0, 4])), "max_macs");

    let everybody = udp(MacAddr::BROADCAST, OUTSIDE, "all");
    for frame in [
        udp(OUTSIDE, OUTSIDE, "others'"),
        udp(OTHER, OUTSIDE, "b's"),
        frame(OURS, OUTSIDE, |b| b.tag(Tag::new(3)).ipv4(&Ipv4::default()).udp(1, 2)),
        udp(OURS, OURS, "from ourselves"),
        frame(OURS, OUTSIDE, |b| b.ethertype(0x88cc).payload(&[0; 50])),
        udp(OURS, OUTSIDE, "a's"),
        everybody.clone(),
    ] {
        wire.send(&frame);
    }
    assert_eq!(a.frames_until(&everybody), [udp(OURS, OUTSIDE, "a's")]);
    assert_eq!(b.frames_until(&everybody), [udp(OTHER, OUTSIDE, "b's")]);
    // The kernel's sieve has kept the others' frame from both.
    assert_eq!(
        a.counters(),
        [
            ("delivered", 2),
            ("in-tagged", 1),
            ("in-ethertype", 1),
            ("in-own-source", 1),
            ("claims-refused", 4),
        ]
    );
    // What is released, or left behind by one who is gone, is free.
    a.say(&protocol::release(OURS));
    assert!(a.claim(MacAddr([2, 0, 0, 0x12, 0, 4])));
    drop(a);
    let start = Instant::now();
    while !b.claim(OURS) {
        assert!(start.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(6));
    }
}

#[test]
fn whoever_breaks_the_protocol_is_sent_away_alone() {
    // Those that were sent away are counted until the broker has buried them.
    let Some(lab) = Lab::new(&format!("{MACS}connections = 32\n")) else { return };
    let good = lab.connect();
    assert!(good.claim(OURS));
    let mut lie = message(&[0; VNET_HDR_LEN], &[udp(OUTSIDE, OTHER, "x")]);
    lie[4] = 0xff;
    let hello = protocol::hello("nic0", false).expect("a name");
    for bad in [&[][..], &[0], &[9, 0, 0, 0], &[4, 0, 0, 0], &lie, &hello, &vec![4; 70_000]] {
        let client = lab.connect();
        if client.try_say(bad) {
            assert_eq!(client.hear(), None, "{} bytes", bad.len());
        }
        // And as the first words.
        let client = Client::raw(&lab.socket());
        if bad != hello && client.try_say(bad) {
            assert_eq!(client.hear(), None, "{} bytes", bad.len());
        }
    }
    assert_eq!(good.counters(), []);
}

#[test]
fn who_asks_without_reading_is_sent_away() {
    let Some(lab) = Lab::new(MACS) else { return };
    let client = lab.connect();
    let start = Instant::now();
    // Its own buffer is full some day; then either it reads, or it may ask no more.
    let mut said = 0;
    while client.try_say(&protocol::ask_counters()) || said < 100_000 {
        said += 1;
        if start.elapsed() > Duration::from_secs(2) {
            break;
        }
    }
    let other = lab.connect();
    assert!(other.claim(OURS), "nobody else notices");
}

#[test]
fn a_rate_delays_and_drops_nothing() {
    let Some(lab) = Lab::new(&format!("{MACS}frames_per_second = 2000\n")) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    let start = Instant::now();
    let batch = vec![udp(OUTSIDE, OURS, "flood"); 50];
    for _ in 0..30 {
        client.send(&batch);
    }
    for n in 0..1500 {
        assert!(wire.receive(PATIENCE).is_some(), "frame {n}");
    }
    // The first 200 are the burst.
    let least = Duration::from_millis(1250 / 2 - 50);
    assert!(start.elapsed() > least, "{:?}", start.elapsed());
    assert!(client.counter(Reason::Throttled) > 5);
    assert_eq!(client.counter(Reason::Sent), 1500);
}

#[test]
fn who_does_not_read_harms_nobody() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let (stuck, alive) = (lab.connect(), lab.connect());
    assert!(stuck.claim(OURS) && alive.claim(OTHER));
    let long = frame(OURS, OUTSIDE, |b| b.ipv4(&Ipv4::default()).udp(1, 2).payload(&[7; 1400]));
    for _ in 0..20_000 {
        wire.send(&long);
    }
    // The kernel's own queue may still be full of the flood, and drops what comes then.
    let marker = udp(OTHER, OUTSIDE, "still here");
    let heard = (0..100).any(|_| {
        wire.send(&marker);
        let waits = Some(Duration::from_millis(100));
        sys::wait::readable(alive.socket.as_fd(), waits).expect("poll")
    });
    assert!(heard, "the helper says nothing");
    assert_eq!(alive.frames_until(&marker), Vec::<Vec<u8>>::new());
    alive.send(&[udp(OUTSIDE, OTHER, "and out")]);
    assert_eq!(wire.receive(PATIENCE).map(|it| it.1), Some(udp(OUTSIDE, OTHER, "and out")));
    // What the stuck one can still say is heard when he reads again; what he missed was counted.
    let dropped = stuck.counter(Reason::InKernelDrops);
    let delivered = stuck.counter(Reason::Delivered);
    assert!(dropped > 0 && delivered < 20_000, "{dropped} dropped, {delivered} delivered");
}

/// What was left of small frames, when he reads again, is told in a message of its own: not with the large ones.
#[test]
fn who_reads_late_is_told_of_small_frames_and_large_ones_apart() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    let small = udp(OURS, OUTSIDE, "small");
    let mut large = vec![0; 31_000];
    let builder = Builder::new(&mut large).ethernet(OURS, OUTSIDE).ipv4(&Ipv4::default());
    let made = builder.tcp(&Tcp::default()).payload(&[0x5a; 30_000]).finish_partial();
    let (len, checksum) = made.expect("room");
    large.truncate(len);
    let gso = Some(Gso { kind: GsoKind::Tcp4, size: 1400, ecn: false });
    let offload = Offload { checksum: Some(checksum), gso };
    let mut heard = [0; 2];
    for round in 0..40 {
        // More than the socket takes, of both kinds, in an order that differs from round to round.
        for nth in 0..200 {
            if nth % (2 + round % 7) == 0 {
                wire.send_with(&offload, &large);
            } else {
                wire.send(&small);
            }
        }
        let waits = Some(Duration::from_millis(20));
        while sys::wait::readable(client.socket.as_fd(), waits).expect("poll") {
            let Some(Heard::Frames(frames)) = client.hear() else { panic!("frames, nothing else") };
            for (metadata, frame) in frames {
                let is_large = metadata == offload && frame == large;
                assert!(
                    is_large || (metadata == Offload::NONE && frame == small),
                    "{}",
                    frame.len()
                );
                heard[usize::from(is_large)] += 1;
            }
        }
    }
    assert!(heard.iter().all(|count| *count > 100), "{heard:?}");
}

#[test]
fn groups_are_passed_on_within_bounds() {
    let Some(lab) = Lab::new(&format!("{MACS}groups_per_second = 100\n")) else { return };
    let wire = lab.wire();
    let client = lab.connect();
    assert!(client.claim(OURS));
    for _ in 0..500 {
        wire.send(&udp(MacAddr::BROADCAST, OUTSIDE, "storm"));
    }
    let marker = udp(OURS, OUTSIDE, "to us");
    wire.send(&marker);
    let seen = client.frames_until(&marker).len();
    assert!((10..200).contains(&seen), "{seen}");
    assert_eq!(client.counter(Reason::InGroupRate), 500 - seen as u64);
}

#[test]
fn a_device_goes_and_comes_back() {
    let Some(lab) = Lab::new(MACS) else { return };
    let client = lab.connect();
    assert!(client.claim(OURS));
    let out = udp(OUTSIDE, OURS, "out");
    let inward = udp(OURS, OUTSIDE, "in");
    let works = || {
        let wire = lab.wire();
        client.send(std::slice::from_ref(&out));
        assert_eq!(wire.until(&out), Vec::<Vec<u8>>::new());
        wire.send(&inward);
        assert_eq!(client.frames_until(&inward), Vec::<Vec<u8>>::new());
    };
    works();
    for anew in [false, true] {
        ip(if anew { "link delete nic0" } else { "link set nic0 down" });
        assert_eq!(client.hear(), Some(Heard::Carrier(false)));
        client.send(std::slice::from_ref(&out));
        assert!(client.counter(Reason::DeviceDown) > 0);
        if anew {
            make_device();
        } else {
            ip("link set nic0 up");
        }
        assert_eq!(client.hear(), Some(Heard::Carrier(true)));
        works();
    }
    assert_eq!(client.counter(Reason::DeviceLost), 2);
    assert_eq!(client.counter(Reason::DeviceBack), 2);
}

#[test]
fn only_the_listed_are_served_and_a_changed_list_counts() {
    let Some(lab) = Lab::new(MACS) else { return };
    let refused = |device: &str, word: &str| {
        let client = Client::raw(&lab.socket());
        client.say(&protocol::hello(device, false).expect("a name"));
        match client.hear() {
            Some(Heard::Refused(why)) => assert!(why.contains(word), "{why}"),
            other => panic!("{other:?}"),
        }
    };
    refused("wire0", "may not use the network device wire0");
    let client = lab.connect();
    let list = lab.socket().with_file_name("nic.toml");
    std::fs::write(&list, "").expect("ours");
    lab.reload();
    assert_eq!(client.hear(), None);
    refused("nic0", "may not use");
    std::fs::write(&list, "what").expect("ours");
    refused("nic0", "cannot use its list");
    std::fs::write(&list, format!("[[allow]]\n{}", MACS.replace("nic0", "nic9"))).expect("ours");
    refused("nic9", "There is no network device nic9");
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(&list, format!("[[allow]]\n{MACS}")).expect("ours");
    drop(lab.connect());
    std::fs::set_permissions(&list, std::fs::Permissions::from_mode(0o646)).expect("ours");
    refused("nic0", "cannot use its list");
}

/// Subordinate ids make many users of one. None of them is on the list, and together they keep nobody out who is.
#[test]
fn who_is_not_listed_takes_nobodys_place() {
    let Some(lab) = Lab::new(MACS) else { return };
    let socket = lab.socket();
    let strangers: Vec<_> = (0..40)
        .map(|id| {
            let socket = socket.clone();
            // The kernel's ids are a thread's.
            let connected = std::thread::spawn(move || {
                sys::user::become_user(200_000 + id, 200_000 + id).expect("root");
                (0..8).map(|_| Client::raw(&socket)).collect::<Vec<_>>()
            });
            connected.join().expect("they connect")
        })
        .collect();
    let children = format!("/proc/{0}/task/{0}/children", lab.helper_pid());
    let relays = || std::fs::read_to_string(&children).expect("a broker").split(' ').count();
    assert!(relays() <= nic::admission::STRANGERS_MAX + 1, "{}", relays());
    let client = lab.connect();
    assert!(client.claim(OURS));
    drop(strangers);
}

#[test]
fn relays_have_nothing_left_to_lose() {
    let Some(lab) = Lab::new(MACS) else { return };
    let _client = lab.connect();
    let broker = lab.helper_pid();
    let children = format!("/proc/{broker}/task/{broker}/children");
    let relay = std::fs::read_to_string(children).expect("a broker");
    let status = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/status")).expect("alive");
    let line = |status: &str, name: &str| {
        let line = status.lines().find_map(|it| it.strip_prefix(name)).expect("a status line");
        line.trim_start_matches(':').trim().to_owned()
    };
    let relay = status(relay.trim());
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(line(&relay, set), "0000000000000000", "{set}");
    }
    assert_eq!((line(&relay, "NoNewPrivs"), line(&relay, "Seccomp")), ("1".into(), "2".into()));
    assert!(!line(&relay, "Uid").contains("0\t0"), "{}", line(&relay, "Uid"));
    let broker = status(&broker.to_string());
    assert_eq!(line(&broker, "CapEff"), "0000000000003000");
    assert!(!line(&broker, "Uid").starts_with("0\t"));
}
