//! A whole stack (smoltcp) as the guest, behind a link that loses, doubles and reorders packets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::Medium;
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpCidr};
use testkit::Random;
use testkit::wires::Wires;
use wire::{HEADER_MAX, Offload, Segmenter, checksum};

use super::super::harness::{FakeStreams, Rig};
use crate::GuestKey;
use crate::backend::StreamBackend;
use crate::tcp::TcpLimits;

/// The guest that the stack is.
pub(super) const GUEST: GuestKey = GuestKey(1);

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
    pub(super) fn new(v6: bool, link: Link, seed: u64, window: usize) -> Self {
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
        let mut wires = Wires::of(Medium::Ip, 1500);
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

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Loses what is under way.
    pub(super) fn forget_under_way(&mut self) {
        self.under_way.clear();
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
