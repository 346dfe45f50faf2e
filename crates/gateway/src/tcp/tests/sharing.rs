//! What guests have in common: the room for what waits.

use std::net::SocketAddr;

use engine::Instant;
use wire::Offload;
use wire::build::Tcp;
use wire::tcp::flag::{ACK, FIN, SYN};

use super::super::harness::{Rig, edge, segment};
use crate::tcp::TcpLimits;
use crate::{GuestKey, Reason};

/// A connection that a guest has opened.
struct Connection {
    guest: GuestKey,
    ends: (SocketAddr, SocketAddr),
    ours: u32,
}

/// The number of a guest's first byte.
const FIRST: u32 = 1001;

fn open(rig: &mut Rig, v6: bool, guest: u32, port: u16) -> Connection {
    let (inside, remote) = if v6 {
        (format!("[fd00::{guest}]:{port}"), "[2001:db8::9]:80")
    } else {
        (format!("10.0.0.{guest}:{port}"), "192.0.2.9:80")
    };
    let ends: (SocketAddr, SocketAddr) = (inside.parse().unwrap(), remote.parse().unwrap());
    let guest = GuestKey(guest);
    while rig.take().is_some() {}
    let syn = Tcp { sequence: FIRST - 1, flags: SYN, window: 65_535, ..Tcp::default() };
    rig.receive(guest, &segment(ends.0, ends.1, &syn, &[]), Offload::NONE);
    rig.turn();
    rig.connect(&rig.peer(), Ok(()));
    rig.turn();
    let answer = std::iter::from_fn(|| rig.take()).find(|seen| seen.flags & SYN != 0);
    let ours = answer.expect("an answer").sequence.wrapping_add(1);
    let connection = Connection { guest, ends, ours };
    connection.send(rig, 0, 0);
    assert!(rig.take().is_none());
    connection
}

impl Connection {
    /// The first `len` bytes, and the guest's end.
    fn end(&self, rig: &mut Rig, len: usize) {
        self.say(rig, ACK | FIN, 0, len);
    }

    /// A segment of `len` bytes, `offset` behind the first.
    fn send(&self, rig: &mut Rig, offset: u32, len: usize) {
        self.say(rig, ACK, offset, len);
    }

    /// The last acknowledgement of both ends.
    fn acknowledge_end(&self, rig: &mut Rig) {
        let after = Self { ours: self.ours.wrapping_add(1), ..*self };
        after.say(rig, ACK, 1, 0);
    }

    fn say(&self, rig: &mut Rig, flags: u8, offset: u32, len: usize) {
        let header = Tcp {
            sequence: FIRST + offset,
            acknowledgement: self.ours,
            flags,
            window: 65_535,
            ..Tcp::default()
        };
        let bytes = segment(self.ends.0, self.ends.1, &header, &vec![7; len]);
        rig.receive(self.guest, &bytes, Offload::NONE);
        rig.turn();
    }
}

#[test]
fn what_waits_for_one_guest_leaves_room_for_another() {
    for v6 in [false, true] {
        let limits = TcpLimits { held: 16, ..TcpLimits::default() };
        let mut rig = Rig::new(limits, Instant::EPOCH);
        // One guest leaves out the first byte of four connections, and sends the rest.
        let greedy: Vec<Connection> =
            (0..4).map(|port| open(&mut rig, v6, 5, 1000 + port)).collect();
        for connection in &greedy {
            for nth in 0..10 {
                connection.send(&mut rig, 1 + nth * 100, 100);
            }
        }
        assert_eq!((rig.table.held(), rig.count(Reason::TcpNoRoom)), (8, 32));
        // Another's socket is full. What it sends in order is kept.
        let other = open(&mut rig, v6, 6, 1000);
        rig.peer().borrow_mut().room = 0;
        let before = rig.count(Reason::TcpNoRoom);
        for nth in 0..4 {
            other.send(&mut rig, nth * 100, 100);
        }
        assert_eq!((rig.table.held(), rig.count(Reason::TcpNoRoom)), (12, before));
        other.send(&mut rig, 400, 100);
        assert_eq!((rig.table.held(), rig.count(Reason::TcpNoRoom)), (12, before + 1));
        // What is missing is always taken, and its guest may hold as much again.
        greedy[0].send(&mut rig, 0, 1);
        let held = rig.table.held();
        assert!(held < 12, "{held}");
        // A guest that is gone leaves nothing behind.
        for guest in [5, 6] {
            rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(guest)));
        }
        while rig.take().is_some() {}
        rig.assert_empty();
    }
}

/// A connection that is over and only lingers is no room for another one.
#[test]
fn what_lingers_is_not_evicted() {
    for v6 in [false, true] {
        let limits = TcpLimits { flows: 3, ..TcpLimits::default() };
        let mut rig = Rig::new(limits, Instant::EPOCH);
        let over = open(&mut rig, v6, 5, 999);
        let peer = rig.peer();
        peer.borrow_mut().has_ended = true;
        rig.report(&peer, &edge(true, false, true));
        rig.turn();
        over.end(&mut rig, 0);
        over.acknowledge_end(&mut rig);
        assert_eq!(rig.table.len(), 0);
        rig.pass(std::time::Duration::from_millis(10));
        for port in 0..3 {
            open(&mut rig, v6, 5, 1000 + port);
        }
        open(&mut rig, v6, 6, 1000);
        assert_eq!((rig.table.len(), rig.count(Reason::Evicted)), (3, 1));
        for guest in [5, 6] {
            rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(guest)));
        }
        while rig.take().is_some() {}
        rig.assert_empty();
    }
}

/// Connections whose guests are gone have their own bound, and are the first to give way.
#[test]
fn orphans_are_bounded_and_give_way() {
    for v6 in [false, true] {
        let limits = TcpLimits { flows: 100, ..TcpLimits::default() };
        let mut rig = Rig::new(limits, Instant::EPOCH);
        for port in 0..70 {
            let connection = open(&mut rig, v6, 5, 1000 + port);
            rig.peer().borrow_mut().room = 0;
            connection.end(&mut rig, 10);
        }
        rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(5)));
        assert_eq!((rig.table.len(), rig.table.held()), (64, 64));
        assert_eq!(rig.count(Reason::TcpLeftBehind), 6);
        for port in 0..90 {
            open(&mut rig, v6, 6, 1000 + port);
        }
        assert_eq!((rig.table.len(), rig.table.len_of(GuestKey(6))), (100, 90));
        assert_eq!(rig.count(Reason::TcpLeftBehind), 60);
        rig.pass(std::time::Duration::from_secs(60));
        assert_eq!((rig.table.len(), rig.table.held()), (90, 0));
        assert_eq!(rig.count(Reason::TcpLeftBehind), 70);
        rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(6)));
        while rig.take().is_some() {}
        rig.assert_empty();
    }
}

/// A guest that leaves much behind does so at its own cost.
#[test]
fn orphans_of_one_guest_leave_those_of_another() {
    for v6 in [false, true] {
        let mut rig = Rig::new(TcpLimits::default(), Instant::EPOCH);
        let other = open(&mut rig, v6, 6, 1000);
        let peer = rig.peer();
        peer.borrow_mut().room = 0;
        other.end(&mut rig, 10);
        rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(6)));
        for port in 0..70 {
            let connection = open(&mut rig, v6, 5, 1000 + port);
            rig.peer().borrow_mut().room = 0;
            connection.end(&mut rig, 10);
        }
        rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(5)));
        assert_eq!((rig.table.len(), rig.count(Reason::TcpLeftBehind)), (64, 7));
        // It is delivered as if the others were not there.
        peer.borrow_mut().room = usize::MAX;
        rig.report(&peer, &edge(false, true, false));
        rig.turn();
        assert_eq!((peer.borrow().got.len(), peer.borrow().got_end), (10, true));
        assert!(!peer.borrow().aborted);
        rig.pass(std::time::Duration::from_secs(60));
        while rig.take().is_some() {}
        rig.assert_empty();
    }
}

/// Frames of guests that are gone give way to those of guests that hold fewer.
#[test]
fn what_orphans_hold_gives_way() {
    for v6 in [false, true] {
        let limits = TcpLimits { held: 16, ..TcpLimits::default() };
        let mut rig = Rig::new(limits, Instant::EPOCH);
        // One guest leaves a little behind.
        let modest = open(&mut rig, v6, 7, 1000);
        let little = rig.peer();
        little.borrow_mut().room = 0;
        modest.end(&mut rig, 10);
        rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(7)));
        // Another comes again and again, and leaves as much as it may hold.
        for port in 0..6 {
            let connection = open(&mut rig, v6, 5, 1000 + port);
            rig.peer().borrow_mut().room = 0;
            let before = rig.count(Reason::TcpNoRoom);
            for nth in 0..10 {
                connection.send(&mut rig, nth * 100, 100);
            }
            let kept = 10 - (rig.count(Reason::TcpNoRoom) - before) as u32;
            connection.say(&mut rig, ACK | FIN, kept * 100, 0);
            rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(5)));
            assert_eq!(rig.table.len_of(GuestKey(5)), 0);
        }
        let other = open(&mut rig, v6, 6, 1000);
        rig.peer().borrow_mut().room = 0;
        let before = rig.count(Reason::TcpNoRoom);
        for nth in 0..7 {
            other.send(&mut rig, nth * 100, 100);
        }
        assert_eq!(rig.count(Reason::TcpNoRoom), before);
        assert!(rig.table.held() <= 16, "{}", rig.table.held());
        // Who has more than was left behind takes nothing.
        other.send(&mut rig, 700, 1000);
        other.send(&mut rig, 1800, 1000);
        assert_eq!(rig.count(Reason::TcpNoRoom), before + 1);
        assert!(!little.borrow().aborted);
        rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(6)));
        rig.pass(std::time::Duration::from_secs(60));
        while rig.take().is_some() {}
        rig.assert_empty();
    }
}
