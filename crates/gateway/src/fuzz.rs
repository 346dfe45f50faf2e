//! What the fuzz targets run: guests, a host and time against a gateway without a real host.
//!
//! The bytes are read as a program of actions. Whatever they are, nothing panics, every frame
//! towards a guest is one that the engine takes, and when all guests are gone and time has passed,
//! no buffer and no flow is left.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use engine::{Instant, Pool, PoolLimits};
use sys::inet::errqueue::{Origin, SocketError};
use sys::inet::local::Local;
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::{Gso, GsoKind, MacAddr, Offload, PartialChecksum};

use crate::backend::fake::FakeBackend;
use crate::ctx::Room;
use crate::poll::{Event, Kind, Token};
use crate::{
    Gateway, GatewayPlan, GuestAddresses, GuestKey, Limits, Protocol, PublishId, PublishSpec,
};

/// Actions of one program.
const ACTIONS_MAX: usize = 256;

/// The MTU of the network.
const MTU: u16 = 1500;

/// The ends that packets have most of the time.
const ENDS: [&str; 14] = [
    "10.9.0.5:4000",
    "10.9.0.1:53",
    "10.9.0.2:80",
    "198.51.100.9:53",
    "198.51.100.10:80",
    "127.0.0.1:80",
    "255.255.255.255:67",
    "[fd00:9::5]:4000",
    "[fd00:9::1]:53",
    "[fd00:9::2]:80",
    "[2001:db8::9]:53",
    "[fe80::1]:547",
    "[ff02::2]:80",
    "[64:ff9b::7f00:1]:80",
];

/// The program, read from the front. It ends when its bytes do.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn half(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self, most: usize) -> Option<&'a [u8]> {
        let len = usize::from(self.half()?) % (most + 1);
        let (front, rest) = self.0.split_at_checked(len).unwrap_or((self.0, &[]));
        self.0 = rest;
        Some(front)
    }

    fn end(&mut self) -> Option<SocketAddr> {
        let i = usize::from(self.byte()?);
        ENDS.get(i % ENDS.len())?.parse().ok()
    }

    fn guest(&mut self) -> Option<GuestKey> {
        Some(GuestKey(u32::from(self.byte()? % 4)))
    }
}

/// As much room as the program says.
#[derive(Debug)]
struct Given(usize);

impl Room for Given {
    fn room(&self, _: IpAddr) -> usize {
        self.0
    }
}

struct World {
    gateway: Gateway<FakeBackend>,
    pool: Pool,
    now: Instant,
    room: Given,
}

/// Runs a program.
///
/// # Panics
///
/// If the gateway breaks a promise.
pub fn gateway(bytes: &[u8]) {
    let Some(mut world) = World::new() else { return };
    let mut program = Program(bytes);
    for _ in 0..ACTIONS_MAX {
        if world.step(&mut program).is_none() {
            break;
        }
    }
    world.end();
}

impl World {
    fn new() -> Option<Self> {
        let mut plan = GatewayPlan::new(
            "lab",
            MacAddr([2, 0, 0, 0, 0, 1]),
            "10.9.0.0/24".parse().ok(),
            "fd00:9::/64".parse().ok(),
        );
        // It would ask the resolvers of the machine that this runs on.
        plan.dns = false;
        plan.mtu = MTU;
        plan.limits = Limits { flows: 24, flows_per_guest: 8, ..Limits::default() };
        plan.allow_host = vec![crate::HostPort { protocol: None, port: 80 }];
        let gateway = Gateway::with_backend(plan, [5; 16], FakeBackend::with_default()).ok()?;
        let pool = Pool::new(PoolLimits { small: 1024, large: 64, headers: 64 });
        Some(Self { gateway, pool, now: Instant::EPOCH, room: Given(usize::MAX) })
    }

    fn step(&mut self, program: &mut Program<'_>) -> Option<()> {
        match program.byte()? % 12 {
            0 => {
                let guest = program.guest()?;
                let bytes = program.bytes(2000)?;
                self.frame(guest, bytes, Offload::NONE);
            }
            1..=4 => self.packet(program)?,
            5 => {
                let choice = program.byte()?;
                let socket = u32::from(choice % 16);
                let from = program.end()?;
                let segment = Some(program.half()? % 2000).filter(|size| *size > 0);
                let bytes = program.bytes(6000)?;
                let backend = &mut self.gateway.host.backend;
                // One in four tells which address of the host was asked.
                if choice >> 6 == 3 {
                    let local = Local { ip: program.end()?.ip(), interface: 0 };
                    backend.arrive_at(socket, local, from, bytes);
                } else {
                    backend.arrive(socket, from, bytes, segment);
                }
            }
            6 => self.error(program)?,
            7 => {
                let backend = &mut self.gateway.host.backend;
                let errno = i32::from(program.byte()?);
                if program.byte()? % 2 == 0 {
                    backend.fail_open.push_back(errno.max(1));
                } else {
                    backend.fail_send.push_back(errno);
                }
            }
            8 => {
                self.now = self.now + Duration::from_millis(u64::from(program.half()?) * 10);
                self.gateway.handle_timeout(self.now, &mut self.pool, &self.room);
            }
            9 => self.people(program)?,
            10 => self.room.0 = usize::from(program.half()?) * 16,
            _ => {}
        }
        self.host_side();
        Some(())
    }

    /// A packet that is right but for what the program changes.
    fn packet(&mut self, program: &mut Program<'_>) -> Option<()> {
        let guest = program.guest()?;
        let (from, to) = (program.end()?, program.end()?);
        let shape = program.byte()?;
        let payload = program.bytes(3000)?;
        let mut bytes = [0; 4096];
        let frame = Builder::new(&mut bytes).ethernet(MacAddr::ZERO, MacAddr([2, 0, 0, 0, 0, 9]));
        let frame = match (from.ip(), to.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.ipv4(&Ipv4 { source, destination, ..Ipv4::default() })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.ipv6(&Ipv6 { source, destination, ..Ipv6::default() })
            }
            _ => return Some(()),
        };
        let v6 = from.is_ipv6();
        let frame = match shape % 6 {
            0 | 1 => frame.udp(from.port(), to.port()).payload(payload),
            2 => frame
                .tcp(&Tcp {
                    source: from.port(),
                    destination: to.port(),
                    flags: payload.first().copied().unwrap_or(2),
                    ..Tcp::default()
                })
                .payload(payload),
            3 if v6 => frame.icmpv6(128, 0).payload(payload),
            3 => frame.icmpv4(8, 0, [1, 2, 3, 4]).payload(payload),
            4 if v6 => frame.icmpv6(shape >> 5, 0).payload(payload),
            4 => frame.icmpv4(shape >> 4, 0, [0; 4]).payload(payload),
            _ => frame.protocol(shape).payload(payload),
        };
        let len = frame.finish().ok()?;
        let frame = bytes.get_mut(..len)?;
        for _ in 0..program.byte()? % 4 {
            let at = usize::from(program.half()?) % len;
            let value = program.byte()?;
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
        }
        let mut offload = Offload::NONE;
        if shape & 0x80 != 0 {
            let start = if v6 { 54 } else { 34 };
            let (offset, kind) = match shape % 6 {
                2 if v6 => (16, GsoKind::Tcp6),
                2 => (16, GsoKind::Tcp4),
                _ => (6, GsoKind::Udp),
            };
            offload.checksum = Some(PartialChecksum { start, offset });
            let size = u16::from(shape >> 1).max(8) * 8;
            offload.gso = (shape & 0x40 != 0).then_some(Gso { kind, size, ecn: false });
            // The engine holds the metadata against the bytes before anything comes here.
            if wire::offload::check(&offload, frame, len, usize::from(MTU)).is_err() {
                return Some(());
            }
        }
        let frame = frame.to_vec();
        self.frame(guest, &frame, offload);
        Some(())
    }

    fn frame(&mut self, guest: GuestKey, bytes: &[u8], offload: Offload) {
        if let Ok(frame) = self.pool.copy_in(bytes, offload) {
            self.gateway.receive(self.now, &mut self.pool, &self.room, guest, frame);
        }
    }

    fn error(&mut self, program: &mut Program<'_>) -> Option<()> {
        let socket = u32::from(program.byte()? % 16);
        let (kind, code) = (program.byte()?, program.byte()?);
        let origin = match program.byte()? % 3 {
            0 => Origin::Local,
            1 => Origin::Icmp { kind, code },
            _ => Origin::Icmpv6 { kind, code },
        };
        let error = SocketError {
            origin,
            errno: i32::from(kind),
            info: u32::from(program.half()?),
            offender: Some(program.end()?.ip()),
            destination: Some(program.end()?),
            local: None,
            len: 0,
        };
        let payload = program.bytes(1500)?;
        self.gateway.host.backend.fail(socket, error, payload);
        Some(())
    }

    /// What people and the network do.
    fn people(&mut self, program: &mut Program<'_>) -> Option<()> {
        match program.byte()? % 6 {
            0 => {
                let key = program.guest()?;
                let addresses = GuestAddresses {
                    key: Some(key),
                    mac: None,
                    v4: "10.9.0.5".parse().ok().filter(|_| key.0 != 1),
                    v6: "fd00:9::5".parse().ok().filter(|_| key.0 != 2),
                };
                self.gateway.set_guest("web", addresses);
            }
            1 => self.gateway.remove_guest("web"),
            2 => {
                let guest = program.guest()?;
                self.gateway.guest_gone(self.now, &mut self.pool, &self.room, guest);
            }
            3 => {
                let first = program.half()?;
                let spec = PublishSpec {
                    protocol: if first % 2 == 0 { Protocol::Udp } else { Protocol::Tcp },
                    bind: None,
                    ports: (first, first.saturating_add(u16::from(program.byte()? % 3))),
                    guest: "web".to_owned(),
                    to: program.half()?,
                };
                let _ = self.gateway.publish(spec);
            }
            4 => {
                self.gateway.unpublish(PublishId(u32::from(program.byte()? % 8)));
            }
            _ => {
                let address = program.end()?.ip().to_string();
                self.gateway.host.backend.routes.local(&address);
                self.ready(Token::new(Kind::Route, 0, 0), true, false);
            }
        }
        Some(())
    }

    fn ready(&mut self, token: Token, readable: bool, hangup: bool) {
        let event = Event { token: 0, readable, writable: true, hangup, urgent: false };
        self.gateway.host_ready(self.now, &mut self.pool, &self.room, token, &event);
    }

    fn host_side(&mut self) {
        for (token, readable, hangup) in self.gateway.host.backend.ready() {
            self.ready(token, readable, hangup);
        }
        self.gateway.turn(self.now, &mut self.pool, &self.room);
        self.gateway.flush(self.now, &mut self.pool, &self.room);
        self.gateway.host.backend.sent.clear();
        while self.gateway.poll_event().is_some() {}
        while let Some(frame) = self.gateway.poll_frame() {
            let bytes = self.pool.pieces(&frame).concat();
            let parsed = wire::parse(&bytes).expect("an Ethernet frame");
            assert_eq!(parsed.malformed, None, "{bytes:02x?}");
            let checked =
                wire::offload::check(&frame.offload(), &bytes, bytes.len(), usize::from(MTU));
            assert_eq!(checked, Ok(()), "{bytes:02x?}");
            let longest = wire::offload::max_wire_len(&frame.offload(), &bytes, bytes.len());
            assert!(longest <= 14 + usize::from(MTU), "{longest}");
            self.pool.release(frame);
        }
        let flows = self.gateway.status().flows;
        assert!(flows[1] + flows[2] <= 24, "{flows:?}");
    }

    fn end(&mut self) {
        self.room = Given(usize::MAX);
        for guest in 0..4 {
            self.gateway.guest_gone(self.now, &mut self.pool, &self.room, GuestKey(guest));
        }
        for _ in 0..4 {
            self.now = self.now + Duration::from_secs(10_000);
            self.gateway.handle_timeout(self.now, &mut self.pool, &self.room);
            self.host_side();
        }
        assert_eq!(self.gateway.status().flows, [0, 0, 0]);
        let usage = self.pool.usage();
        assert_eq!((usage.small.used, usage.large.used, usage.headers.used), (0, 0, 0));
    }
}

#[cfg(test)]
mod tests {
    /// A few mutations of each entry of the corpus; `tests/e2e/tests/fuzz_replay.rs` runs many more.
    #[test]
    fn programs_run() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random >> 12;
            random ^= random << 25;
            random ^= random >> 27;
            random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
        };
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/gateway");
        let mut entries: Vec<_> =
            std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        let programs: Vec<Vec<u8>> =
            entries.iter().map(|path| std::fs::read(path).unwrap()).collect();
        for program in &programs {
            super::gateway(program);
            for _ in 0..100 {
                let other = &programs[usize::try_from(next()).unwrap() % programs.len()];
                let mut bytes = [&program[..], other].concat();
                for _ in 0..=next() % 4 {
                    let at = usize::try_from(next()).unwrap() % bytes.len();
                    bytes[at] = next().to_le_bytes()[0];
                }
                super::gateway(&bytes);
            }
        }
    }
}
