//! A whole stack as the guest, behind a link that loses, doubles and reorders packets ([`super::world`]):
//! what one side sends is what the other gets, to the last byte, in both directions at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use smoltcp::socket::tcp;
use testkit::Random;

use super::super::harness::{FakeStream, Peer, edge};
use super::world::{CLEAN, GUEST, Link, World, byte};
use crate::tcp::Incoming;

struct Outcome {
    time: Duration,
}

/// Both sides send `len` bytes and then end. Everything must arrive.
fn transfer(v6: bool, link: Link, seed: u64, inbound: bool, len: [usize; 2]) -> Outcome {
    let [out_len, in_len] = len;
    let mut world = World::new(v6, link, seed, 200_000);
    let start = world.rig.now;
    let (guest, remote) = (world.guest(), world.remote());
    let peer: Rc<RefCell<Peer>>;
    if inbound {
        world.socket().listen(guest.port()).unwrap();
        let stream = FakeStream::connected();
        peer = Rc::clone(&stream.0);
        let incoming =
            Incoming { stream, client: remote, stand_in: false, guest, owner: Some(GUEST) };
        world.rig.with(|table, now, ctx| table.accepted(now, ctx, incoming));
        world.exchange();
    } else {
        world.connect();
        while world.rig.table.backend().peers.is_empty() {
            assert!(world.step());
        }
        peer = world.rig.peer();
        world.rig.connect(&peer, Ok(()));
        world.exchange();
    }
    let (mut written, mut read, mut queued) = (0, 0, 0);
    let mut chaos = Random::new(seed ^ 99);
    peer.borrow_mut().room = 10_000;
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(
            steps < 3_000_000,
            "it goes on for ever: {written} {read} {queued} {link:?} {seed}"
        );
        // The guest's program.
        let socket = world.socket();
        while socket.can_send() && written < out_len {
            let chunk: Vec<u8> =
                (written..out_len.min(written + 5000)).map(|i| byte(seed, i)).collect();
            let n = socket.send_slice(&chunk).unwrap();
            if n == 0 {
                break;
            }
            written += n;
        }
        if written == out_len && socket.may_send() && socket.state() != tcp::State::SynReceived {
            socket.close();
        }
        while socket.can_recv() {
            read += socket
                .recv(|bytes| {
                    for (i, b) in bytes.iter().enumerate() {
                        assert_eq!(*b, byte(seed + 1, read + i), "at {}", read + i);
                    }
                    (bytes.len(), bytes.len())
                })
                .unwrap();
        }
        // The host's.
        let mut event = edge(false, false, false);
        {
            let mut peer = peer.borrow_mut();
            if queued < in_len && peer.sent.len() < 300_000 && chaos.one_in(2) {
                let more = (1 + chaos.below(60_000)).min(in_len - queued);
                peer.sent.extend((queued..queued + more).map(|i| byte(seed + 1, i)));
                queued += more;
                event.readable = true;
            }
            if queued == in_len && !peer.has_ended {
                peer.has_ended = true;
                (event.readable, event.hangup) = (true, true);
            }
            if peer.room < 10_000 && chaos.one_in(3) {
                peer.room += 1 + chaos.below(100_000);
                event.writable = std::mem::take(&mut peer.was_full);
            }
        }
        if event.readable || event.writable {
            world.rig.report(&peer, &event);
        }
        world.exchange();
        let state = world.socket().state();
        if matches!(state, tcp::State::Closed | tcp::State::TimeWait) && world.rig.table.is_empty()
        {
            break;
        }
        if !world.step() && !event.readable {
            // Only the host's side can go on now.
            world.rig.now = world.rig.now + Duration::from_millis(1);
        }
    }
    let time = world.rig.now.saturating_since(start);
    assert_eq!((written, read), (out_len, in_len));
    let peer = peer.borrow();
    assert_eq!(peer.got.len(), out_len);
    assert!(peer.got.iter().enumerate().all(|(i, b)| *b == byte(seed, i)));
    assert!(peer.got_end && peer.closed && !peer.aborted, "both ended in order");
    drop(peer);
    while world.rig.table.flows(world.rig.now).next().is_some() && world.step() {}
    world.forget_under_way();
    world.rig.assert_empty();
    Outcome { time }
}

#[test]
fn over_a_clean_link() {
    for (seed, v6) in [(1, false), (2, true), (3, false), (4, true)] {
        transfer(v6, CLEAN, seed, seed > 2, [400_000, 400_000]);
        transfer(v6, CLEAN, seed + 10, seed > 2, [0, 400_000]);
        transfer(v6, CLEAN, seed + 20, seed > 2, [400_000, 0]);
        transfer(v6, CLEAN, seed + 30, seed > 2, [0, 0]);
    }
}

#[test]
fn over_links_that_lose() {
    for seed in 0..24_u64 {
        let loses = [100, 50, 20, 10, 5, 3][seed as usize % 6];
        let delay = Duration::from_micros([50, 1000, 10_000][seed as usize % 3]);
        let link = Link { loses, delay, ..CLEAN };
        transfer(seed % 2 == 1, link, 100 + seed, seed % 4 > 1, [100_000, 100_000]);
    }
}

#[test]
fn over_links_that_double_and_reorder() {
    for seed in 0..24_u64 {
        let link = Link {
            loses: [0, 30][seed as usize % 2],
            doubles: [0, 10, 2][seed as usize % 3],
            reorders: [3, 10, 2][seed as usize / 2 % 3],
            delay: Duration::from_millis(1),
            rate: 0,
        };
        transfer(seed % 2 == 1, link, 200 + seed, seed % 4 > 1, [100_000, 100_000]);
    }
}

/// What a loss costs: a link of 100 Mbit/s and 2 ms that loses one packet in a hundred still
/// carries most of what it would.
#[test]
fn a_loss_in_a_hundred_costs_little_towards_the_guest() {
    let link = Link { delay: Duration::from_millis(1), rate: 12_500, ..CLEAN };
    let clean = transfer(false, link, 7, false, [0, 3_000_000]);
    let lossy = transfer(false, Link { loses: 100, ..link }, 7, false, [0, 3_000_000]);
    println!("clean {:?}, lossy {:?}", clean.time, lossy.time);
    assert!(lossy.time < clean.time * 3, "{:?} {:?}", clean.time, lossy.time);
}
