//! A whole stack (smoltcp) as the guest, behind a link that loses, doubles and reorders packets:
//! what one side sends is what the other gets, to the last byte, in both directions at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use engine::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpCidr};
use testkit::Random;
use wire::{HEADER_MAX, Offload, Segmenter, checksum};

use super::super::harness::{FakeStream, FakeStreams, Peer, Rig, edge};
use crate::GuestKey;
use crate::backend::StreamBackend;
use crate::tcp::{Incoming, TcpLimits};

const GUEST: GuestKey = GuestKey(1);

/// What the link does to packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// One in so many is lost; zero: none.
    pub(super) loses: usize,
    pub(super) doubles: usize,
    /// One in so many is held back, by up to three times the delay.
    pub(super) reorders: usize,
    pub(super) delay: Duration,
    /// Bytes a millisecond, zero: any.
    pub(super) rate: usize,
}

pub(super) const CLEAN: Link =
    Link { loses: 0, doubles: 0, reorders: 0, delay: Duration::from_micros(50), rate: 0 };

struct Wires {
    mtu: usize,
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut bytes = vec![0; len];
        let result = f(&mut bytes);
        self.0.push_back(bytes);
        result
    }
}

impl Device for Wires {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending<'_>)> {
        self.rx.pop_front().map(|bytes| (Received(bytes), Sending(&mut self.tx)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

pub(super) struct World<B: StreamBackend = FakeStreams> {
    pub(super) rig: Rig<B>,
    link: Link,
    random: Random,
    wires: Wires,
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    /// Packets under way: to the guest, or from it.
    under_way: BTreeMap<(Instant, u64), (bool, Vec<u8>)>,
    count: u64,
    /// When each direction's line is free.
    free: [Instant; 2],
    remote: SocketAddr,
    guest: SocketAddr,
}

fn ticks(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_nanos() / 1000).unwrap())
}

impl World {
    fn new(v6: bool, link: Link, seed: u64, window: usize) -> Self {
        let remote = if v6 { "[2001:db8::9]:80" } else { "192.0.2.9:80" };
        let start = Instant::EPOCH + Duration::from_millis(seed % 1_000_000 * 17_179);
        let rig = Rig::new(TcpLimits::default(), start);
        Self::over(rig, remote.parse().unwrap(), link, seed, window)
    }
}

impl<B: StreamBackend> World<B> {
    pub(super) fn over(
        rig: Rig<B>,
        remote: SocketAddr,
        link: Link,
        seed: u64,
        window: usize,
    ) -> Self {
        let (v6, start) = (remote.is_ipv6(), rig.now);
        let guest: SocketAddr =
            if v6 { "[fd00::5]:50000" } else { "10.0.0.5:50000" }.parse().unwrap();
        let mut wires = Wires { mtu: 1500, rx: VecDeque::new(), tx: VecDeque::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wires, ticks(start));
        interface.update_ip_addrs(|list| {
            list.push(IpCidr::new(guest.ip().into(), if v6 { 64 } else { 24 })).unwrap();
        });
        match guest.ip() {
            IpAddr::V4(_) => {
                interface
                    .routes_mut()
                    .add_default_ipv4_route(smoltcp::wire::Ipv4Address::new(10, 0, 0, 1))
                    .unwrap();
            }
            IpAddr::V6(_) => {
                interface.routes_mut().add_default_ipv6_route("fd00::1".parse().unwrap()).unwrap();
            }
        }
        let buffer = || tcp::SocketBuffer::new(vec![0; window]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // Our own side must do without its help.
        socket.set_nagle_enabled(seed.is_multiple_of(2));
        let mut sockets = SocketSet::new(Vec::new());
        let socket = sockets.add(socket);
        let random = Random::new(seed);
        Self {
            rig,
            link,
            random,
            wires,
            interface,
            sockets,
            socket,
            under_way: BTreeMap::new(),
            count: 0,
            free: [start; 2],
            remote,
            guest,
        }
    }

    pub(super) fn guest(&self) -> SocketAddr {
        self.guest
    }

    /// Has the guest connect.
    pub(super) fn connect(&mut self) {
        let Self { interface, sockets, socket, remote, guest, .. } = self;
        let socket = sockets.get_mut::<tcp::Socket<'_>>(*socket);
        socket.connect(interface.context(), *remote, guest.port()).unwrap();
        self.exchange();
    }

    pub(super) fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Puts a packet on the link.
    fn carry(&mut self, to_guest: bool, packet: &[u8]) {
        let lucky = |random: &mut Random, n: usize| n > 0 && random.one_in(n);
        if lucky(&mut self.random, self.link.loses) {
            return;
        }
        let copies = 1 + usize::from(lucky(&mut self.random, self.link.doubles));
        for _ in 0..copies {
            let mut at = self.rig.now.max(self.free[usize::from(to_guest)]);
            if self.link.rate > 0 {
                let time = packet.len() as u64 * 1_000_000 / self.link.rate as u64;
                at = at + Duration::from_nanos(time);
                self.free[usize::from(to_guest)] = at;
            }
            at = at + self.link.delay;
            if lucky(&mut self.random, self.link.reorders) {
                at = at + self.link.delay * (1 + self.random.below(3) as u32);
            }
            self.count += 1;
            self.under_way.insert((at, self.count), (to_guest, packet.to_vec()));
        }
    }

    /// Moves packets between the two stacks until both have nothing to say.
    pub(super) fn exchange(&mut self) {
        loop {
            self.interface.poll(ticks(self.rig.now), &mut self.wires, &mut self.sockets);
            let mut moved = false;
            while let Some(packet) = self.wires.tx.pop_front() {
                moved = true;
                self.carry(false, &packet);
            }
            self.rig.turn();
            while let Some(frame) = self.rig.out.pop_front() {
                moved = true;
                let bytes = self.rig.pool.pieces(&frame).concat();
                let offload = frame.offload();
                self.rig.pool.release(frame);
                for packet in segments(&bytes, &offload) {
                    self.carry(true, &packet);
                }
            }
            if !moved {
                return;
            }
        }
    }

    /// Goes to the next moment at which something happens. False when nothing ever will.
    pub(super) fn step(&mut self) -> bool {
        let now = self.rig.now;
        let guest = self.interface.poll_at(ticks(now), &self.sockets).map(|at| {
            Instant::EPOCH + Duration::from_micros(u64::try_from(at.total_micros()).unwrap())
        });
        let link = self.under_way.keys().next().map(|(at, _)| *at);
        let Some(next) = [guest, link, self.rig.table.next_deadline()].into_iter().flatten().min()
        else {
            return false;
        };
        self.advance(next.max(now + Duration::from_nanos(1)));
        true
    }

    /// Does everything that is due at a moment.
    pub(super) fn advance(&mut self, now: Instant) {
        self.rig.now = now;
        self.rig.with(|table, now, ctx| table.handle_timeout(now, ctx));
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > self.rig.now {
                break;
            }
            let (to_guest, packet) = entry.remove();
            if to_guest {
                self.wires.rx.push_back(packet);
            } else {
                let kind: [u8; 2] = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
                let frame = [&[0; 12][..], &kind, &packet].concat();
                self.rig.receive(GUEST, &frame, Offload::NONE);
            }
        }
        self.exchange();
    }
}

/// What a link without offloads makes of a frame: IP packets with all their checksums.
fn segments(bytes: &[u8], offload: &Offload) -> Vec<Vec<u8>> {
    let frame = [bytes, &[]];
    let mut header = [0; HEADER_MAX];
    if offload.gso.is_none() {
        let front = checksum::complete(offload, &frame, &mut header).unwrap();
        return vec![[&header[14..front], &bytes[front..]].concat()];
    }
    let mut segmenter = Segmenter::new(offload, &frame).unwrap();
    let mut all = Vec::new();
    while let Some(segment) = segmenter.next(&frame, &mut header) {
        all.push([&header[14..segment.header_len], &bytes[segment.payload]].concat());
    }
    all
}

/// The byte at a place of a stream of this seed.
pub(super) fn byte(seed: u64, place: usize) -> u8 {
    (((place as u64) ^ (seed << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

struct Outcome {
    time: Duration,
}

/// Both sides send `len` bytes and then end. Everything must arrive.
fn transfer(v6: bool, link: Link, seed: u64, inbound: bool, len: [usize; 2]) -> Outcome {
    let [out_len, in_len] = len;
    let mut world = World::new(v6, link, seed, 200_000);
    let start = world.rig.now;
    let (guest, remote) = (world.guest, world.remote);
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
    world.under_way.clear();
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
