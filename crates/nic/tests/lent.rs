//! The helper, and memory that a hypervisor has lent it, who lies about it.
//!
//! Runs as root, in network namespaces of its own; skipped loudly elsewhere.
#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "tests")]
#![allow(dead_code, reason = "the laboratory is for other tests as well")]

mod lab;

use std::hint::black_box;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use lab::{Client, Heard, Lab, MACS, OTHER, OURS, OUTSIDE, PATIENCE};
use nic::protocol::{self, ALONE, Lent, Place};
use nic::reason::Reason;
use nic::slots::{LENT_MAX, SLOTS, Way};
use sys::shared::{self, Memory};
use wire::build::{Builder, Ipv4, Tcp};
use wire::{Gso, GsoKind, MacAddr, Offload, VNET_HDR_LEN, vnet};

const LEN: usize = 1 << 20;

/// A frame of TCP to be segmented, and what its vnet header says.
fn large(from: MacAddr) -> (Offload, Vec<u8>) {
    let mut buffer = vec![0; 61_000];
    let b = Builder::new(&mut buffer).ethernet(OUTSIDE, from).ipv4(&Ipv4::default());
    let payload: Vec<u8> = (0..60_000).map(|i: u32| (i ^ (i >> 8)) as u8).collect();
    let b = b.tcp(&Tcp::default()).payload(&payload);
    let (len, checksum) = b.finish_partial().expect("room");
    buffer.truncate(len);
    let gso = Some(Gso { kind: GsoKind::Tcp4, size: 1400, ecn: false });
    (Offload { checksum: Some(checksum), gso }, buffer)
}

/// Says hello and that there is memory to lend; it was asked for.
fn begin(lab: &Lab) -> Client {
    let client = Client::raw(&lab.socket());
    client.say(&protocol::hello("nic0", true).expect("a name"));
    assert_eq!(client.hear(), Some(Heard::Lend));
    client
}

fn hand_over(client: &Client, fds: &[BorrowedFd<'_>]) {
    sys::unix::send_with_fds(client.socket.as_fd(), &protocol::memory(), fds).expect("it asked");
}

fn connect(lab: &Lab) -> (Client, &'static mut [u8], OwnedFd) {
    let (memory, fd) = shared::lend(LEN).expect("memory");
    let client = begin(lab);
    hand_over(&client, &[fd.as_fd()]);
    assert!(matches!(client.hear(), Some(Heard::Welcome(_))));
    (client, memory, fd)
}

/// Tells of a frame whose first bytes are in a slot.
fn send(client: &Client, offload: &Offload, frame: &[u8], memory: &mut [u8], lent: Lent) {
    let slots = client.slots.get().expect("mapped with the welcome");
    let start = Instant::now();
    let slot = loop {
        if let Some(slot) = slots.take(Way::Out) {
            break slot;
        }
        assert!(start.elapsed() < PATIENCE, "the helper gives no slot back");
        std::thread::yield_now();
    };
    let (front, rest) = frame.split_at(lent.front);
    assert!(slots.write(Way::Out, slot, 0, front));
    memory[lent.at..lent.at + rest.len()].copy_from_slice(rest);
    black_box(memory);
    let mut header = [0; VNET_HDR_LEN];
    vnet::encode(offload, frame, &mut header);
    let place = Place { slot, len: frame.len(), header, lent: Some(lent) };
    client.say(&[&protocol::places_header(1)[..], &place.encode()].concat());
}

#[test]
fn a_frame_in_lent_memory_is_judged_like_any_other_and_sent_from_there() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let (client, memory, _fd) = connect(&lab);
    assert!(client.claim(OURS));
    let (offload, good) = large(OURS);
    let places = [(0, 0), (0, LEN - good.len()), (1, 7), (270, 64), (ALONE, 4095)];
    for (front, at) in places {
        send(&client, &offload, &good, memory, Lent { front, at });
        let got = wire.receive(PATIENCE).expect("it arrives");
        assert!(got == (offload, good.clone()), "{front} bytes in the slot, the rest at {at}");
    }
    let sent = places.len() as u64;
    assert_eq!(client.counters(), [("sent", sent)]);
    // More often than there are slots: those of refused frames are free again.
    let (offload, bad) = large(OTHER);
    for i in 0..2 * usize::from(SLOTS) {
        send(&client, &offload, &bad, memory, Lent { front: i * 7, at: i });
    }
    assert_eq!(client.counters(), [("sent", sent), ("source-mac", 2 * u64::from(SLOTS))]);
}

#[test]
fn lent_memory_that_changes_after_it_was_told_is_judged_as_it_is_sent() {
    let Some(lab) = Lab::new(MACS) else { return };
    let wire = lab.wire();
    let (client, memory, _fd) = connect(&lab);
    assert!(client.claim(OURS));
    let slots = client.slots.get().expect("mapped");
    let slot = slots.take(Way::Out).expect("a free slot");
    let (offload, frame) = large(OURS);
    memory[..frame.len()].copy_from_slice(&frame);
    let mut header = [0; VNET_HDR_LEN];
    vnet::encode(&offload, &frame, &mut header);
    let lent = Some(Lent { front: 0, at: 0 });
    let place = Place { slot, len: frame.len(), header, lent }.encode();
    let message = [&protocol::places_header(1)[..], &place].concat();
    let (mut said, start) = (0, Instant::now());
    while said < 500 && start.elapsed() < Duration::from_secs(3) {
        for turn in 0..256 {
            memory[6..12].copy_from_slice(&[OURS.0, OTHER.0][turn % 2]);
            black_box(&mut *memory);
        }
        said += u64::from(client.try_say(&message));
    }
    let (sent, refused) = (client.counter(Reason::Sent), client.counter(Reason::SourceMac));
    assert!(sent + refused <= said && sent + refused > 0, "{:?}", client.counters());
    let mut seen = 0;
    while let Some((_, frame)) = wire.receive(Duration::from_millis(200)) {
        assert_eq!(frame[6..12], OURS.0);
        seen += 1;
    }
    assert!(seen > 0 || sent == 0);
}

#[test]
fn what_was_not_lent_ends_its_connection() {
    let Some(lab) = Lab::new(&format!("{MACS}connections = 32\n")) else { return };
    let (offload, frame) = large(OURS);
    let mut header = [0; VNET_HDR_LEN];
    vnet::encode(&offload, &frame, &mut header);
    let tell = |client: &Client, len, front, at| {
        let place = Place { slot: 0, len, header, lent: Some(Lent { front, at }) };
        client.say(&[&protocol::places_header(1)[..], &place.encode()].concat());
    };
    let beyond = u32::MAX as usize - 1;
    for (len, front, at) in [
        (60_000, 0, LEN - 59_999),
        (60_000, 0, LEN),
        (60_000, 100, LEN - 59_899),
        (2048, 2047, LEN),
        (60_000, 0, beyond),
        (60_000, ALONE + 1, 0),
        (60, 60, 0),
        (0, 0, 0),
    ] {
        let (client, _memory, _fd) = connect(&lab);
        tell(&client, len, front, at);
        assert_eq!(client.hear(), None, "{front} of {len} bytes, the rest at {at}");
    }
    let client = lab.connect();
    tell(&client, 60_000, 0, 0);
    assert_eq!(client.hear(), None, "nothing was lent");
    let (client, _memory, fd) = connect(&lab);
    // Whether it can be sent at all depends on the kernel (SO_PASSRIGHTS).
    match sys::unix::send_with_fds(client.socket.as_fd(), &protocol::memory(), &[fd.as_fd()]) {
        Ok(_) => assert_eq!(client.hear(), None, "it was not asked for"),
        Err(_) => assert_eq!(client.counters(), [], "it is served on"),
    }
}

#[test]
fn memory_that_could_end_the_helper_is_not_taken() {
    let Some(lab) = Lab::new(&format!("{MACS}connections = 32\n")) else { return };
    let (_memory, both) = Memory::create(LEN).expect("memory");
    let (_ours, much) = shared::lend(LENT_MAX + 4096).expect("memory");
    let file = std::fs::File::open("/proc/self/exe").expect("ourselves");
    let other = lab.connect();
    for (what, fd) in [
        ("it can be written to", both.as_fd()),
        ("too much", much.as_fd()),
        ("a file", file.as_fd()),
        ("a socket", other.socket.as_fd()),
    ] {
        let client = begin(&lab);
        hand_over(&client, &[fd]);
        assert_eq!(client.hear(), None, "{what}");
    }
    let client = begin(&lab);
    hand_over(&client, &[]);
    assert_eq!(client.hear(), None, "none");
    let client = begin(&lab);
    client.say(&protocol::ask_counters());
    assert_eq!(client.hear(), None, "something else");
    // Others are served.
    assert!(lab.connect().claim(OURS));
}
