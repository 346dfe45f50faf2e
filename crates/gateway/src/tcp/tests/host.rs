//! The same stack in front of real sockets on the loopback interface.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use engine::Instant;
use rustix::net::SendFlags;
use smoltcp::socket::tcp;

use super::super::harness::Rig;
use super::world::{CLEAN, Link, World, byte};
use crate::backend::{HostStreams, StreamBackend};
use crate::poll::{Events, Poller};
use crate::tcp::{Incoming, TcpLimits};
use crate::{GuestKey, Reason};

const DEADLINE: Duration = Duration::from_secs(60);

fn now() -> Instant {
    Instant::from_nanos(sys::clock::monotonic_nanos())
}

/// Takes the reports of the poller and lets everything go on until the clock as it is now.
fn go_on(world: &mut World<HostStreams>, events: &mut Events) {
    world.rig.now = now();
    if world.rig.poller.take(events).unwrap() == 0 {
        std::thread::sleep(Duration::from_micros(50));
    }
    for event in events.iter() {
        let token = Poller::token(&event).unwrap();
        world.rig.with(|table, now, ctx| table.host_ready(now, ctx, token, &event));
    }
    world.advance(now());
}

fn world(backend: HostStreams, remote: std::net::SocketAddr, link: Link) -> World<HostStreams> {
    let mut rig = Rig::over(backend, TcpLimits::default(), now());
    // No stack talks to the loopback addresses over a link.
    rig.redirect = Some(remote);
    let stands_for = if remote.is_ipv6() { "[2001:db8::9]:80" } else { "192.0.2.9:80" };
    World::over(rig, stands_for.parse().unwrap(), link, 5, 400_000)
}

/// What the program on the host does: sends and receives `LEN` bytes at once, then looks for the
/// end.
const LEN: usize = 5_000_000;

fn converse(stream: &TcpStream) {
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let all: Vec<u8> = (0..LEN).map(|i| byte(1, i)).collect();
        writer.write_all(&all).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut got = Vec::new();
    let mut reader = stream;
    reader.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), LEN);
    assert!(got.iter().enumerate().all(|(i, b)| *b == byte(2, i)));
    writing.join().unwrap();
}

/// The guest's half of [`converse`].
fn guest_converses(world: &mut World<HostStreams>, events: &mut Events) {
    let (mut written, mut read) = (0, 0);
    let end = now() + DEADLINE;
    loop {
        assert!(now() < end, "it takes too long: {written} {read}");
        let socket = world.socket();
        while socket.can_send() && written < LEN {
            let chunk: Vec<u8> = (written..LEN.min(written + 60_000)).map(|i| byte(2, i)).collect();
            let n = socket.send_slice(&chunk).unwrap();
            if n == 0 {
                break;
            }
            written += n;
        }
        if written == LEN && socket.may_send() {
            socket.close();
        }
        while socket.can_recv() {
            read += socket
                .recv(|bytes| {
                    for (i, b) in bytes.iter().enumerate() {
                        assert_eq!(*b, byte(1, read + i), "at {}", read + i);
                    }
                    (bytes.len(), bytes.len())
                })
                .unwrap();
        }
        let state = world.socket().state();
        if matches!(state, tcp::State::Closed | tcp::State::TimeWait) && world.rig.table.is_empty()
        {
            break;
        }
        go_on(world, events);
    }
    assert_eq!((written, read), (LEN, LEN));
}

fn outbound(backend: HostStreams, address: &str, link: Link) {
    let listener = testkit::need!(TcpListener::bind(address));
    let mut events = Events::with_capacity(64);
    let mut world = world(backend, listener.local_addr().unwrap(), link);
    let host = std::thread::spawn(move || converse(&listener.accept().unwrap().0));
    world.connect();
    guest_converses(&mut world, &mut events);
    host.join().unwrap();
    assert_eq!(world.rig.count(Reason::TcpOpened), 1);
    assert_eq!(world.rig.count(Reason::TcpClosed), 1);
}

#[test]
fn both_ways_over_both_families() {
    outbound(HostStreams::new(), "127.0.0.1:0", CLEAN);
    outbound(HostStreams::new(), "[::1]:0", CLEAN);
}

#[test]
fn on_a_kernel_that_cannot_peek_at_an_offset() {
    outbound(HostStreams::without_peek_offset(), "127.0.0.1:0", CLEAN);
}

#[test]
fn over_a_link_that_loses() {
    outbound(HostStreams::new(), "127.0.0.1:0", Link { loses: 200, ..CLEAN });
}

#[test]
fn a_client_of_a_published_port() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let backend = HostStreams::new();
    let mut events = Events::with_capacity(64);
    let mut world = world(backend, "192.0.2.9:80".parse().unwrap(), CLEAN);
    let host = std::thread::spawn(move || converse(&TcpStream::connect(address).unwrap()));
    let (stream, client) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let stream = backend.accepted(stream.into(), address).unwrap();
    world.socket().listen(50_000).unwrap();
    let incoming = Incoming {
        stream,
        client,
        stand_in: false,
        guest: world.guest(),
        owner: Some(GuestKey(1)),
    };
    world.rig.with(|table, now, ctx| table.accepted(now, ctx, incoming));
    guest_converses(&mut world, &mut events);
    host.join().unwrap();
    assert_eq!(world.rig.count(Reason::TcpAccepted), 1);
}

#[test]
fn a_client_that_the_guest_refuses_is_reset() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, from) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let backend = HostStreams::new();
    let mut world = world(backend, from, CLEAN);
    let stream = backend.accepted(stream.into(), from).unwrap();
    let incoming = Incoming {
        stream,
        client: from,
        stand_in: false,
        guest: world.guest(),
        owner: Some(GuestKey(1)),
    };
    world.rig.with(|table, now, ctx| table.accepted(now, ctx, incoming));
    let mut events = Events::with_capacity(8);
    let end = now() + DEADLINE;
    while !world.rig.table.is_empty() {
        assert!(now() < end);
        go_on(&mut world, &mut events);
    }
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(world.rig.count(Reason::TcpGuestRefused), 1);
}

#[test]
fn resets_pass_both_ways() {
    for guest_resets in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut events = Events::with_capacity(8);
        let mut world = world(HostStreams::new(), listener.local_addr().unwrap(), CLEAN);
        world.connect();
        let end = now() + DEADLINE;
        while world.socket().state() != tcp::State::Established {
            assert!(now() < end);
            go_on(&mut world, &mut events);
        }
        let (mut peer, _) = listener.accept().unwrap();
        if guest_resets {
            world.socket().abort();
        } else {
            let fd = std::os::fd::OwnedFd::from(peer.try_clone().unwrap());
            drop(peer);
            sys::tcp::abort(fd);
            peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        }
        while !world.rig.table.is_empty() || world.socket().is_open() {
            assert!(now() < end);
            go_on(&mut world, &mut events);
        }
        if guest_resets {
            let error = peer.read(&mut [0]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        } else {
            assert_eq!(world.rig.count(Reason::TcpReset), 1);
        }
    }
}

/// A guest whose data was all acknowledged, and that is gone before the outside, which reads late, has it.
#[test]
fn what_a_guest_that_is_gone_has_sent_arrives() {
    const SENT: usize = 150_000;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(address) else { continue };
        let mut events = Events::with_capacity(8);
        let mut world = world(HostStreams::new(), listener.local_addr().unwrap(), CLEAN);
        world.connect();
        let end = now() + DEADLINE;
        let mut written = 0;
        while written < SENT || world.socket().send_queue() > 0 {
            assert!(now() < end, "{written}");
            if world.socket().can_send() {
                let rest: Vec<u8> = (written..SENT).map(|i| byte(2, i)).collect();
                written += world.socket().send_slice(&rest).unwrap();
                if written == SENT {
                    world.socket().close();
                }
            }
            go_on(&mut world, &mut events);
        }
        let (mut peer, _) = listener.accept().unwrap();
        world.rig.with(|table, now, ctx| table.guest_gone(now, ctx, GuestKey(1)));
        let host = std::thread::spawn(move || {
            let mut got = Vec::new();
            peer.read_to_end(&mut got).map(|_| got)
        });
        while !world.rig.table.is_empty() {
            assert!(now() < end);
            go_on(&mut world, &mut events);
        }
        let got = host.join().unwrap().unwrap();
        assert_eq!(got.len(), SENT);
        assert!(got.iter().enumerate().all(|(i, b)| *b == byte(2, i)));
    }
}

#[test]
fn a_port_where_nothing_listens_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut events = Events::with_capacity(8);
    let mut world = world(HostStreams::new(), address, CLEAN);
    world.connect();
    let end = now() + DEADLINE;
    while world.socket().is_open() {
        assert!(now() < end);
        go_on(&mut world, &mut events);
    }
    assert_eq!(world.rig.count(Reason::TcpRefused), 1);
    assert!(world.rig.table.is_empty());
}

/// The kernel ends every read before an urgent byte, whatever is asked of it: what lies behind comes
/// all the same, and the guest's acknowledgement of both sides at once is as any other.
fn urgent(backend: HostStreams, address: &str) {
    let listener = testkit::need!(TcpListener::bind(address));
    let mut events = Events::with_capacity(8);
    let mut world = world(backend, listener.local_addr().unwrap(), CLEAN);
    world.connect();
    let end = now() + DEADLINE;
    while world.socket().state() != tcp::State::Established {
        assert!(now() < end);
        go_on(&mut world, &mut events);
    }
    let (mut peer, _) = listener.accept().unwrap();
    let mut all = Vec::new();
    for round in 0..20 {
        peer.write_all(b"abc").unwrap();
        assert_eq!(rustix::net::send(&peer, b"U", SendFlags::OOB).unwrap(), 1);
        peer.write_all(b"def").unwrap();
        if round % 2 == 0 {
            // All of it is there before anything is read, or it comes little by little.
            std::thread::sleep(Duration::from_millis(5));
        }
        while all.len() < 7 * (round + 1) {
            assert!(now() < end, "{round}: {:?}", String::from_utf8_lossy(&all));
            go_on(&mut world, &mut events);
            while world.socket().can_recv() {
                world.socket().recv(|bytes| (bytes.len(), all.extend_from_slice(bytes))).unwrap();
            }
        }
        world.socket().send_slice(b"x").unwrap();
        let mut answer = [0];
        peer.set_nonblocking(true).unwrap();
        while peer.read(&mut answer).is_err() {
            assert!(now() < end, "{round}: the guest is not heard");
            assert_eq!(world.rig.count(Reason::TcpReset), 0, "{round}");
            go_on(&mut world, &mut events);
        }
    }
    assert_eq!(all, b"abcUdef".repeat(20));
    assert_eq!(world.socket().state(), tcp::State::Established);
    assert_eq!(world.rig.count(Reason::TcpReset), 0);
}

#[test]
fn urgent_data_is_inline() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        urgent(HostStreams::new(), address);
        urgent(HostStreams::without_peek_offset(), address);
    }
}

/// What ten thousand open connections cost of our own memory.
#[test]
fn a_connection_is_small() {
    let size = size_of::<super::super::flow::Flow<<HostStreams as StreamBackend>::Stream>>();
    assert!(size <= 1024, "{size}");
}
