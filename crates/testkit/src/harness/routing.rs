//! Frames and time into the router.
//!
//! The bytes are read as a program: guests and gateways send frames, well made, with fields that the
//! program chose, or raw; interfaces, routes and bindings come and go; time passes. After every
//! action each frame must be accounted for, nothing may hold more than it may, and what leaves must
//! be a frame of the router's: with its address, a header checksum that holds, a length that fits,
//! and a TTL that is one less than it was.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::router::{
    InterfaceId, InterfaceSpec, Output, Route, Router, RouterCounters, RouterLimits, RouterReason,
    Via,
};
use engine::{Instant, Pool, PoolLimits};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::parse::Arp;
use wire::{Gso, GsoKind, L3, MacAddr, Offload, ipv4, offload, parse};

use super::program::Program;
use crate::frames::mac;

/// Interfaces at most.
const INTERFACES: usize = 3;

const LIMITS: RouterLimits = RouterLimits {
    neighbours: 4,
    resolving_per_port: 3,
    waiting_per_neighbour: 2,
    waiting_per_port: 3,
    waiting: 4,
    errors_per_port: 5,
    errors: 8,
    echoes_per_port: 5,
    solicitations: 20,
};

/// Runs the program, and gives what was counted on all interfaces, by the counters' names.
///
/// # Panics
///
/// If the router does what it must not.
pub fn routing_counters(bytes: &[u8]) -> BTreeMap<&'static str, u64> {
    let mut program = Program(bytes);
    let mut world = World {
        router: Router::new(LIMITS, *b"a key for routes"),
        pool: Pool::new(PoolLimits { small: 512, large: 8, headers: 256 }),
        now: Instant::from_nanos(1_000_000_000),
        interfaces: Vec::new(),
        gone: (0, 0),
        removed: 0,
        counted: BTreeMap::new(),
    };
    for net in 0..INTERFACES {
        let spec = interface(net, &mut program).unwrap_or_else(|| interface_of(net, 1500, true));
        let id = world.router.add_interface(spec).expect("networks of their own");
        world.interfaces.push(Some(id));
        for v6 in [false, true] {
            let its = Some(mac(2));
            let World { router, pool, now, .. } = &mut world;
            router.learn_neighbour(*now, pool, id, guest(net, v6), its, Some(2));
        }
    }
    while world.step(&mut program).is_some() {
        world.check();
    }
    world.check();
    for net in 0..INTERFACES {
        world.remove(net);
    }
    while let Some(Output::Transmit { frame, .. } | Output::Gateway { frame, .. }) =
        world.router.poll_output()
    {
        world.pool.release(frame);
    }
    let usage = world.pool.usage();
    for class in [usage.small, usage.large, usage.headers] {
        assert_eq!(class.used, 0, "every frame was released: {usage:?}");
    }
    world.counted
}

struct World {
    router: Router,
    pool: Pool,
    now: Instant,
    interfaces: Vec<Option<InterfaceId>>,
    /// What interfaces that are gone had taken, and what of it had ended.
    gone: (u64, u64),
    /// How many they are.
    removed: u64,
    counted: BTreeMap<&'static str, u64>,
}

fn router_mac(net: usize) -> MacAddr {
    mac(0x100 + net as u32)
}

fn interface_of(net: usize, mtu: u16, gateway: bool) -> InterfaceSpec {
    InterfaceSpec {
        mac: router_mac(net),
        mtu,
        v4: vec![(Ipv4Addr::new(10, net as u8, 0, 1), 24)],
        v6: vec![(Ipv6Addr::new(0xfd00, net as u16, 0, 0, 0, 0, 0, 1), 64)],
        gateway,
        outside: gateway,
        ..InterfaceSpec::default()
    }
}

fn interface(net: usize, program: &mut Program<'_>) -> Option<InterfaceSpec> {
    let mtu = program.of(&[1500, 1500, 1280, 576, 68, 9000])?;
    let flags = program.byte()?;
    let mut spec = interface_of(net, mtu, flags & 1 != 0);
    spec.hairpin = flags & 2 != 0;
    spec.routed = flags & 12 != 12;
    if flags & 48 == 48 {
        spec.v4.clear();
    }
    if flags & 192 == 192 {
        spec.v6.clear();
        spec.link_local = flags & 1 != 0;
    }
    Some(spec)
}

/// A guest that its network's router knows, if it has not forgotten.
fn guest(net: usize, v6: bool) -> IpAddr {
    host(net, v6, 2)
}

fn host(net: usize, v6: bool, number: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, net as u16, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(10, net as u8, 0, number).into()
    }
}

/// An address, most of the time of a station.
fn address(program: &mut Program<'_>, v6: bool) -> Option<IpAddr> {
    let (net, number) = (program.byte()?, program.byte()?);
    let (net, host) = (net % 4, number % 16);
    Some(match (v6, number) {
        (false, 250) => Ipv4Addr::BROADCAST.into(),
        (false, 251) => Ipv4Addr::new(224, 0, 0, net).into(),
        (false, 252) => Ipv4Addr::new(10, net, 0, 255).into(),
        (false, 253) => Ipv4Addr::UNSPECIFIED.into(),
        (false, 254) => Ipv4Addr::new(169, 254, 0, host).into(),
        (false, 255) => Ipv4Addr::new(198, 51, 100, host).into(),
        (false, _) => Ipv4Addr::new(10, net, 0, host).into(),
        (true, 250) => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, u16::from(net) + 1).into(),
        (true, 251) => Ipv6Addr::UNSPECIFIED.into(),
        (true, 252) => Ipv6Addr::from(router_mac(usize::from(net)).eui64_link_local()).into(),
        (true, 253 | 254) => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host.into()).into(),
        (true, 255) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into(),
        (true, _) => Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, host.into()).into(),
    })
}

impl World {
    fn step(&mut self, program: &mut Program<'_>) -> Option<()> {
        match program.pick(24)? {
            0 => self.change(program),
            1 => self.route(program),
            2 => self.binding(program),
            3 => self.wait(program),
            4 | 5 => self.raw(program),
            6..=9 => self.neighbour(program),
            _ => self.packet(program),
        }
    }

    fn net(&mut self, program: &mut Program<'_>) -> Option<(usize, Option<InterfaceId>)> {
        let net = program.pick(INTERFACES)?;
        Some((net, self.interfaces[net]))
    }

    fn change(&mut self, program: &mut Program<'_>) -> Option<()> {
        let (net, id) = self.net(program)?;
        match (program.pick(4)?, id) {
            (0, Some(_)) => self.remove(net),
            (_, Some(id)) => {
                let spec = interface(net, program)?;
                let _ = self.router.change_interface(&mut self.pool, id, spec);
            }
            (_, None) => {
                self.interfaces[net] = self.router.add_interface(interface(net, program)?).ok();
            }
        }
        Some(())
    }

    fn remove(&mut self, net: usize) {
        let Some(id) = self.interfaces[net].take() else { return };
        let counters = self.router.remove_interface(&mut self.pool, id);
        let counters = counters.expect("a live interface");
        let (taken, ended) = sums(&counters);
        for (name, count) in counters.iter() {
            *self.counted.entry(name).or_default() += count;
        }
        self.removed += 1;
        self.gone.0 += taken;
        self.gone.1 += ended;
    }

    fn route(&mut self, program: &mut Program<'_>) -> Option<()> {
        let v6 = program.pick(2)? == 1;
        let to = address(program, v6)?;
        let len = program.byte()? % if v6 { 129 } else { 33 };
        let prefix = ipnet::IpNet::new(to, len).expect("a prefix").trunc();
        let (_, id) = self.net(program)?;
        let via = match (program.pick(6)?, id) {
            (0, _) => {
                self.router.remove_route(prefix);
                return Some(());
            }
            (1, Some(id)) => Via::Interface(id),
            (2, Some(iface)) => Via::NextHop { iface, addr: address(program, v6)? },
            (3, Some(id)) => Via::Gateway(id),
            (4, _) => Via::Prohibit,
            _ => Via::Unreachable,
        };
        let _ = self.router.add_route(Route::new(prefix, via));
        Some(())
    }

    fn binding(&mut self, program: &mut Program<'_>) -> Option<()> {
        let (_, id) = self.net(program)?;
        let v6 = program.pick(2)? == 1;
        let addr = address(program, v6)?;
        let its = Some(mac(u32::from(program.byte()? % 8)));
        let action = program.pick(5)?;
        let Some(id) = id else { return Some(()) };
        let Self { router, pool, now, .. } = self;
        match action {
            0 => router.learn_neighbour(*now, pool, id, addr, None, Some(3)),
            1 => router.learn_neighbour(*now, pool, id, addr, its, Some(3)),
            2 => router.learn_neighbour(*now, pool, id, addr, its, None),
            3 => router.purge_address(pool, id, addr),
            _ => router.purge_port(pool, id, 3),
        }
        self.drain(None);
        Some(())
    }

    fn wait(&mut self, program: &mut Program<'_>) -> Option<()> {
        let millis = program.of(&[1, 10, 900, 1_000, 3_000, 31_000, 700_000])?;
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.router.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.router.handle_timeout(self.now, &mut self.pool);
            self.drain(None);
        }
        self.now = end;
        Some(())
    }

    fn raw(&mut self, program: &mut Program<'_>) -> Option<()> {
        let (net, id) = self.net(program)?;
        let kind = program.of(&[0x0800_u16, 0x86dd, 0x0806, 0])?;
        let len = usize::from(program.byte()?);
        let mut bytes = Vec::new();
        if kind != 0 {
            bytes.extend(router_mac(net).0);
            bytes.extend(mac(7).0);
            bytes.extend(kind.to_be_bytes());
        }
        bytes.extend(program.bytes(len));
        self.give(id, &bytes, Offload::NONE, false);
        Some(())
    }

    fn neighbour(&mut self, program: &mut Program<'_>) -> Option<()> {
        let (net, id) = self.net(program)?;
        let v6 = program.pick(2)? == 1;
        let (from, flags) = (mac(u32::from(program.byte()? % 8)), program.byte()?);
        let its = if flags & 6 == 6 { mac(9) } else { from };
        let to = if flags & 8 == 0 { router_mac(net) } else { MacAddr::BROADCAST };
        let mut out = [0; 200];
        let built = match (address(program, v6)?, address(program, v6)?) {
            (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => Builder::new(&mut out)
                .ethernet(to, from)
                .arp(&Arp {
                    operation: 1 + u16::from(flags & 1),
                    sender_mac: its,
                    sender_ip,
                    target_mac: router_mac(net),
                    target_ip,
                })
                .finish(),
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let destination = match flags & 48 {
                    0 => Ipv6Addr::new(0xfd00, net as u16, 0, 0, 0, 0, 0, 1),
                    16 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                    _ => wire::ndp::solicited_node(target),
                };
                let hop_limit = if flags & 64 == 0 { 255 } else { 64 };
                let header = Ipv6 { source, destination, hop_limit, ..Ipv6::default() };
                Builder::new(&mut out)
                    .ethernet(to, from)
                    .ipv6(&header)
                    .neighbour(135 + (flags & 1), flags & 0xe0, target, its)
                    .finish()
            }
            _ => return Some(()),
        };
        let bytes = out[..built.expect("fits")].to_vec();
        self.give(id, &bytes, Offload::NONE, false);
        Some(())
    }

    fn packet(&mut self, program: &mut Program<'_>) -> Option<()> {
        let (net, id) = self.net(program)?;
        let v6 = program.pick(2)? == 1;
        let (mut source, mut destination) = (address(program, v6)?, address(program, v6)?);
        // Most packets are from one guest to another, or to the router.
        let next = (net + 1) % INTERFACES;
        match program.pick(4)? {
            0 => (source, destination) = (guest(net, v6), guest(next, v6)),
            1 => (source, destination) = (guest(net, v6), host(next, v6, 1)),
            2 => source = guest(net, v6),
            _ => {}
        }
        let times = program.of(&[1, 1, 1, 1, 1, 1, 1, 30])?;
        let ttl = program.of(&[64, 64, 64, 2, 1, 0])?;
        let shape = program.byte()?;
        let payload = program.of(&[0, 8, 30, 100, 600, 1400, 1472, 1473, 4000])?;
        let from_gateway = program.pick(8)? == 0;
        let nobody = (MacAddr::ZERO, MacAddr::ZERO);
        let (to, from) = if from_gateway { nobody } else { (router_mac(net), mac(7)) };
        let mut out = vec![0; 6000];
        let builder = Builder::new(&mut out).ethernet(to, from);
        let builder = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let fragment = [0x4000, 0, 0x2000, 0x2005, 5][usize::from(shape >> 5) % 5];
                let options: &[u8] = [&[][..], &[7, 3, 4, 1], &[131, 3, 4, 0], &[148, 4, 0, 0]]
                    [usize::from(shape >> 3) % 4];
                builder.ipv4(&Ipv4 {
                    source,
                    destination,
                    ttl,
                    fragment,
                    options,
                    ..Ipv4::default()
                })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let builder =
                    builder.ipv6(&Ipv6 { source, destination, hop_limit: ttl, ..Ipv6::default() });
                match shape >> 5 {
                    0 => builder.extension(44, &[0, 0, 9, 0, 0, 0, 1]),
                    1 => builder.extension(43, &[0, 0, 1, 0, 0, 0, 0]),
                    2 => builder.extension(60, &[0, 0, 0, 0, 0, 0, 0]),
                    _ => builder,
                }
            }
            _ => return Some(()),
        };
        let builder = match (shape & 7, v6) {
            (0, false) => builder.icmpv4(8, 0, [0; 4]),
            (0, true) => builder.icmpv6(128, 0).payload(&[0; 4]),
            (1, false) => builder.icmpv4(3, 0, [0; 4]),
            (1, true) => builder.icmpv6(133, 0).payload(&[0; 4]),
            (2, _) => builder.udp(68, if v6 { 547 } else { 67 }),
            (3, _) => builder.protocol(132),
            (4, _) => builder.udp(1, 2),
            _ => builder.tcp(&Tcp::default()),
        };
        let builder = builder.payload(&vec![0x5a; payload]);
        let rich = shape & 7 > 3 && shape & 8 != 0;
        let (len, mut offload) = if rich {
            let Ok((len, checksum)) = builder.finish_partial() else { return Some(()) };
            (len, Offload { checksum: Some(checksum), gso: None })
        } else {
            (builder.finish().ok()?, Offload::NONE)
        };
        if rich && shape & 16 != 0 && shape & 7 > 4 {
            let kind = if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
            offload.gso = Some(Gso { kind, size: 500, ecn: false });
        }
        out.truncate(len);
        for _ in 0..times {
            self.give(id, &out, offload, from_gateway);
        }
        Some(())
    }

    /// Hands in a frame and looks at what comes of it at once.
    fn give(&mut self, id: Option<InterfaceId>, bytes: &[u8], offload: Offload, gateway: bool) {
        let Some(id) = id else { return };
        // The engine lets nothing through that is too long for the network, or whose metadata is not
        // the frame's.
        let mtu = usize::from(self.router.interface(id).expect("a live interface").mtu);
        let fits = offload.gso.is_some() || bytes.len() <= mtu + 14;
        if !fits || offload::check(&offload, bytes, bytes.len(), mtu).is_err() {
            return;
        }
        let Ok(frame) = self.pool.copy_in(bytes, offload) else { return };
        if gateway {
            self.router.send(self.now, &mut self.pool, id, frame);
        } else {
            self.router.receive(self.now, &mut self.pool, id, frame);
        }
        self.drain((!gateway).then_some(bytes));
    }

    /// Takes what the router has; `sent` is the frame that was handed in last, from a guest.
    fn drain(&mut self, sent: Option<&[u8]>) {
        let sent = sent.and_then(|bytes| parse(bytes).ok()).and_then(|parsed| ttl_of(parsed.l3));
        while let Some(output) = self.router.poll_output() {
            let (id, frame, leaves) = match output {
                Output::Transmit { iface, frame } => (iface, frame, true),
                Output::Gateway { iface, frame } => (iface, frame, false),
            };
            let bytes = self.pool.pieces(&frame).concat();
            let offload = frame.offload();
            self.pool.release(frame);
            let spec = self.router.interface(id).expect("frames are for live interfaces");
            assert!(
                leaves || spec.gateway || spec.outside || bytes[..12] == [0; 12] || sent.is_some()
            );
            if leaves {
                leaving(spec, &bytes, &offload, sent);
            }
        }
    }

    fn check(&mut self) {
        let (mut taken, mut ended) = self.gone;
        for id in self.interfaces.iter().flatten() {
            let (more, done) = sums(self.router.counters(*id).expect("a live interface"));
            taken += more;
            ended += done;
        }
        let waiting = self.router.waiting() as u64;
        // What waits for an interface that is there may have come in by one that is gone.
        assert!(taken >= ended && taken - ended >= waiting, "{taken} {ended} {waiting}");
        // All of these come in by no port, so that each interface counts as one.
        let sure = 2 * (INTERFACES as u64 + self.removed);
        assert!(waiting <= LIMITS.waiting as u64 + sure);
        let learned = self.router.neighbours().filter(|it| it.port.is_none());
        let learned = learned.filter(|it| it.state != engine::router::NeighbourState::Bound);
        assert!(learned.count() <= LIMITS.neighbours, "neighbours are bounded");
        while self.router.poll_event().is_some() {}
    }
}

/// What an interface took, and what of it has ended.
fn sums(counters: &RouterCounters) -> (u64, u64) {
    let drops: u64 = RouterReason::ALL.into_iter().map(|reason| counters.dropped(reason)).sum();
    let ended = counters.forwarded + counters.to_gateway + counters.answered + counters.noted;
    (counters.received + counters.sent_by_gateway, ended + drops)
}

fn ttl_of(l3: Option<L3>) -> Option<(IpAddr, IpAddr, u8)> {
    match l3? {
        L3::Ipv4(ip) => Some((ip.source.into(), ip.destination.into(), ip.ttl)),
        L3::Ipv6(ip) => Some((ip.source.into(), ip.destination.into(), ip.hop_limit)),
        L3::Arp(_) => None,
    }
}

/// A frame that leaves must be one of the router's.
fn leaving(
    spec: &InterfaceSpec,
    bytes: &[u8],
    offload: &Offload,
    sent: Option<(IpAddr, IpAddr, u8)>,
) {
    let parsed = parse(bytes).expect("a frame");
    assert_eq!(parsed.src, spec.mac);
    assert!(!parsed.dst.is_zero());
    if offload.gso.is_none() {
        assert!(bytes.len() <= usize::from(spec.mtu) + 14);
    } else {
        let longest = offload::max_wire_len(offload, bytes, bytes.len());
        assert!(longest <= usize::from(spec.mtu) + 14);
    }
    if let Some(L3::Ipv4(_)) = parsed.l3 {
        let header = ipv4::Header::new(&bytes[14..]).expect("a header");
        assert!(header.checksum_is_good());
    }
    if let (Some((source, destination, ttl)), Some((from, to, before))) = (ttl_of(parsed.l3), sent)
        && (source, destination) == (from, to)
        && !is_own(spec, source)
    {
        assert_eq!(Some(ttl), before.checked_sub(1).filter(|ttl| *ttl > 0));
    }
}

fn is_own(spec: &InterfaceSpec, address: IpAddr) -> bool {
    spec.v4.iter().any(|(ip, _)| *ip == address) || spec.v6.iter().any(|(ip, _)| *ip == address)
}
