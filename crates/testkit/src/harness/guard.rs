//! Guests that claim to be others, against the guard.
//!
//! The bytes are read as a program: guests of strict and of learning ports send frames of every
//! kind, whose addresses are their own, their neighbours' or nobody's, and of which some bytes are
//! then changed. Whatever leaves another port must claim nothing that is not the sender's, but for
//! the forms without a source that checks 14, 22 and 35 allow. Another parser than ours looks at it.
//!
//! An uplink sends, too: whatever of that reaches anybody names nobody inside, in no place where a
//! receiver would look, and is nothing of which a receiver could read more than the network.
//!
//! Every program runs on two networks, one of which forgets before every frame which sources it
//! has accepted: so the guard's short way must agree with its long way about every frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::bindings::Owner;
use engine::{
    GuardMode, GuardSpec, Instant, NetworkGuard, NetworkSpec, PortSpec, Role, SourceMode, Verdict,
    VlanMode,
};
use etherparse::err::{Layer, packet::SliceError};
use etherparse::{LinkSlice, NetSlice, SlicedPacket, TransportSlice};
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::parse::Arp;
use wire::{MacAddr, Tag, ndp};

use super::program::Program;
use crate::frames::{Rich, mac};
use crate::ledger::conservation;
use crate::network::TestNetwork;

/// Senders, with the number of their address.
const SENDERS: [(&str, u32); 4] = [("a", 2), ("t", 3), ("c", 4), ("uplink", OUTSIDE)];

/// A station outside.
const OUTSIDE: u32 = 200;

/// Everybody.
const PORTS: [&str; 6] = ["router", "a", "t", "c", "peer", "uplink"];

/// What became of a program's frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Frames that left.
    pub passed: u32,
    /// Frames that were dropped.
    pub refused: u32,
}

/// Runs the program.
///
/// # Panics
///
/// If a frame leaves that claims to be another's, or the two ways of the guard disagree.
pub fn guard(bytes: &[u8]) -> Tally {
    let mut program = Program(bytes);
    let mut tally = Tally::default();
    let (mut short, mut long) = (world(), world());
    while let Some((sender, frame)) = step(&mut program, &mut short, &mut long) {
        let verdict = short.send(sender, &frame);
        forget_sources(&mut long, sender);
        assert_eq!(verdict, long.send(sender, &frame), "the two ways agree: {frame:02x?}");
        match verdict {
            Verdict::Drop(_) => tally.refused += 1,
            _ => tally.passed += 1,
        }
        for port in PORTS {
            let frames = short.receive(port);
            let others = long.receive(port);
            assert_eq!(unasked(&frames, &frame), unasked(&others, &frame), "{port}");
            for left in frames.iter().filter(|_| port != sender) {
                match sender {
                    "uplink" => foreign(&short, &left.bytes),
                    _ => honest(&short, sender, &left.bytes),
                }
            }
        }
        owners_are_kept(&short);
    }
    conservation(&short.engine);
    short.nothing_held();
    tally
}

/// What was received but for questions that the network itself asks the outside on a guest's behalf: the long way may
/// ask once more about a source that the short way has accepted a moment ago.
fn unasked<'a>(frames: &'a [Rich], sent: &[u8]) -> Vec<&'a Rich> {
    let asks = |bytes: &[u8]| match bytes.get(12..14) {
        Some([8, 6]) => bytes.get(28..32) == Some(&[0; 4]),
        Some([0x86, 0xdd]) => bytes.get(22..38) == Some(&[0; 16]) && bytes.get(54) == Some(&135),
        _ => false,
    };
    frames.iter().filter(|it| it.bytes == sent || !asks(&it.bytes)).collect()
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 | number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(number))
}

fn spec(name: &str, number: u32) -> PortSpec {
    let mode = if name == "c" { GuardMode::Learn } else { GuardMode::Static };
    let addresses =
        if name == "c" { Vec::new() } else { vec![IpAddr::V4(v4(number)), v6(number).into()] };
    let vlan = match name {
        "t" => VlanMode::Trunk { native: None, allowed: [1, 2].into_iter().collect() },
        _ => VlanMode::Access(1),
    };
    let role = match name {
        "router" => Role::Router,
        "uplink" => Role::Uplink,
        _ => Role::Guest,
    };
    let learns = matches!(name, "c" | "uplink");
    PortSpec {
        role,
        macs: if learns { Vec::new() } else { vec![mac(number)] },
        source: if learns { SourceMode::Learn { max_macs: 2 } } else { SourceMode::Static },
        vlan,
        guard: GuardSpec {
            mode,
            addresses: if name == "uplink" { Vec::new() } else { addresses },
            ..GuardSpec::default()
        },
        ..PortSpec::default()
    }
}

fn world() -> TestNetwork {
    let guard = NetworkGuard {
        subnet: Some("10.0.0.0/24".parse().expect("a subnet")),
        announced: vec!["fd00::/64".parse().expect("a prefix")],
        ..NetworkGuard::default()
    };
    let mut net = TestNetwork::new(NetworkSpec { guard, ..NetworkSpec::default() });
    for (name, number) in PORTS.into_iter().zip(1..) {
        net.plug(name, spec(name, number));
    }
    net
}

/// The port's guard starts with nothing accepted, and keeps everything else.
fn forget_sources(net: &mut TestNetwork, port: &str) {
    let id = net.id(port);
    let guard = net.engine.port(id).expect("a port").guard.clone();
    net.engine.set_guard(id, guard).expect("the same guard");
}

/// The next frame and its sender; lets time pass.
fn step(
    program: &mut Program<'_>,
    short: &mut TestNetwork,
    long: &mut TestNetwork,
) -> Option<(&'static str, Vec<u8>)> {
    let time = Duration::from_millis(program.of(&[0, 1, 100, 1000, 5000, 70_000])?);
    short.wait(time);
    long.wait(time);
    while short.engine.poll_event().is_some() {}
    while long.engine.poll_event().is_some() {}
    let (port, number) = program.of(&SENDERS)?;
    let mut frame = if program.of(&[false, false, false, false, false, true])? {
        raw(program, number)?
    } else {
        build(program, port, number)?
    };
    for _ in 0..program.of(&[0, 0, 0, 0, 1, 2])? {
        let at = usize::from(program.byte()?) % frame.len();
        frame[at] = program.byte()?;
    }
    if program.of(&[false, false, false, false, true])? {
        frame.truncate(usize::from(program.byte()?).max(1));
    }
    Some((port, frame))
}

/// Any bytes at all, behind an address that may be the sender's or not.
fn raw(program: &mut Program<'_>, number: u32) -> Option<Vec<u8>> {
    let mut frame = program.of(&[mac(5), mac(1), MacAddr::BROADCAST])?.0.to_vec();
    if program.of(&[true, true, true, false])? {
        frame.extend(mac(number).0);
    }
    let kind: [u8; 2] = program.of(&[[8, 0], [0x86, 0xdd], [8, 6], [0x81, 0], [0x80, 0x35]])?;
    frame.extend(kind);
    for _ in 0..program.byte()? {
        frame.push(program.byte()?);
    }
    Some(frame)
}

fn build(program: &mut Program<'_>, port: &str, number: u32) -> Option<Vec<u8>> {
    // Half of the frames are honest, so that much gets through for the others to lean on.
    let honest = program.of(&[true, false])?;
    let whose = |program: &mut Program<'_>| {
        let picked = program.of(&[number, number, number, 5, 1, 7, 99])?;
        Some(if honest { number } else { picked })
    };
    let from = mac(whose(program)?);
    let claimed = whose(program)?;
    let nobody4 = if honest { v4(number) } else { Ipv4Addr::UNSPECIFIED };
    let source4 = program.of(&[v4(claimed), v4(number), nobody4])?;
    let link_local = Ipv6Addr::from(mac(number).eui64_link_local());
    let source6 = program.of(&[v6(claimed), link_local, Ipv6Addr::UNSPECIFIED])?;
    let other = whose(program)?;
    let target = v6(other);
    let all = "ff02::1".parse().ok()?;
    let to6 = program.of(&[v6(5), v6(5), ndp::solicited_node(target), all])?;
    let to4 = program.of(&[v4(5), v4(5), Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 9)])?;
    let hop_limit = program.of(&[255, 255, 64, 1])?;
    let station4 = match to4 {
        Ipv4Addr::BROADCAST => MacAddr::BROADCAST,
        to if to.is_multicast() => MacAddr([1, 0, 0x5e, 0, 0, 9]),
        _ if honest => mac(5),
        _ => program.of(&[mac(1), MacAddr::BROADCAST])?,
    };
    let station6 = if to6.is_multicast() { ndp::multicast_mac(to6) } else { mac(5) };
    let kind = program.byte()? % 12;
    let fragment = program.of(&[0, 0, 0, 0x2000, 0x2001, 0x0002])?;
    let fragment = if honest { 0x4000 } else { fragment };
    let options: &[u8] = program.of(&[&[][..], &[], &[148, 4, 0, 0], &[131, 3, 4, 0]])?;
    let options = if honest { &[] } else { options };
    let extra = program.of(&[0, 0, 1, 2, 3])?;
    let extra = if honest { 0 } else { extra };
    let mut bytes = vec![0; 600];
    let station = match kind {
        0 | 1 => program.of(&[MacAddr::BROADCAST, mac(5)])?,
        2..=5 => station4,
        _ => station6,
    };
    let mut b = Builder::new(&mut bytes).ethernet(station, from);
    let usual = u8::from(port == "t");
    let tags = program.of(&[usual, usual, usual, 1 - usual, 2])?;
    for _ in 0..if honest { usual } else { tags } {
        let vid = program.of(&[1, 1, 1, 2, 0])?;
        b = b.tag(Tag::new(if honest { 1 } else { vid }));
    }
    let ip4 = Ipv4 {
        source: source4,
        destination: to4,
        ttl: program.of(&[64, 1])?,
        id: 7,
        fragment,
        options,
        ..Ipv4::default()
    };
    let ip6 = Ipv6 { source: source6, destination: to6, hop_limit, ..Ipv6::default() };
    b = match kind {
        0 | 1 => b.arp(&Arp {
            operation: program.of(&[1, 1, 2, 3])?,
            sender_mac: mac(whose(program)?),
            sender_ip: source4,
            target_mac: mac(other),
            target_ip: program.of(&[v4(other), v4(5), source4])?,
        }),
        2 => b.ipv4(&ip4).udp(1000, 2000).payload(&[7; 70]),
        3 => b.ipv4(&ip4).tcp(&Tcp { flags: program.of(&[2, 16, 24, 3])?, ..Tcp::default() }),
        4 => {
            let mut dhcp = [0; 244];
            dhcp[..4].copy_from_slice(&[program.of(&[1, 1, 2])?, 1, 6, 0]);
            dhcp[28..34].copy_from_slice(&mac(whose(program)?).0);
            dhcp[236..].copy_from_slice(&[99, 130, 83, 99, 53, 1, program.of(&[1, 3, 5, 7])?, 255]);
            b.ipv4(&ip4).udp(program.of(&[68, 68, 67])?, program.of(&[67, 67, 68])?).payload(&dhcp)
        }
        5 => {
            let protocol = program.of(&[1, 2, 2, 4])?;
            b.ipv4(&ip4).protocol(protocol).payload(&[0x16, 0, 8, 0xfb, 225, 1, 0, 1, 0, 0, 0, 0])
        }
        _ => {
            let mut b = b.ipv6(&ip6);
            for _ in 0..extra {
                let header = program.of(&[0, 43, 44, 44, 60])?;
                b = b.extension(header, &[0, 5, program.of(&[2, 0, 1])?, 0, 0, 1, 0]);
            }
            match kind {
                6 => b.udp(program.of(&[1000, 546, 547])?, program.of(&[2000, 547, 546])?),
                7 => b.tcp(&Tcp::default()),
                8 | 9 => {
                    let b = b.neighbour(
                        program.of(&[135, 135, 136, 136, 133, 134, 137])?,
                        program.of(&[0, 0x40, 0x60, 0x80])?,
                        target,
                        mac(whose(program)?),
                    );
                    // Another name behind the first, or what only looks like one.
                    let more: [&[u8]; 5] = [&[], &[], &[1, 1], &[2, 1], &[1, 2]];
                    let more = program.of(&more)?;
                    if honest || more.is_empty() {
                        b
                    } else {
                        let padding = [0; 8];
                        let padding = &padding[..usize::from(more[1] - 1) * 8];
                        b.payload(more).payload(&mac(whose(program)?).0).payload(padding)
                    }
                }
                // A probe.
                10 => b.icmpv6(135, 0).payload(&[0; 4]).payload(&target.octets()),
                _ => b
                    .icmpv6(program.of(&[143, 131, 130, 128, 1])?, 0)
                    .payload(&[0, 0, 0, 1, 4, 0, 0, 0])
                    .payload(&to6.octets()),
            }
        }
    };
    let len = b.finish().ok()?;
    bytes.truncate(len);
    Some(bytes)
}

/// What a guest was given stays its own.
fn owners_are_kept(net: &TestNetwork) {
    for (name, number) in
        PORTS.into_iter().zip(1..).filter(|(name, _)| !["c", "uplink"].contains(name))
    {
        let owner = Some(Owner::Port(net.id(name)));
        assert_eq!(net.engine.owner_of(v4(number)), owner, "{name}");
        assert_eq!(net.engine.owner_of(v6(number)), owner, "{name}");
    }
}

/// The frame claims nothing that is not the sender's.
fn honest(net: &TestNetwork, sender: &str, frame: &[u8]) {
    let id = net.id(sender);
    let mut other = frame.to_vec();
    if let Err(SliceError::Len(short)) = SlicedPacket::from_ethernet(frame)
        && matches!(short.layer, Layer::Icmpv4Timestamp | Layer::Icmpv4TimestampReply)
    {
        // That it is too short for its kind is its receiver's business; whose it is matters all the same.
        other[short.layer_start_offset] = 8;
    }
    let packet = SlicedPacket::from_ethernet(&other)
        .unwrap_or_else(|why| panic!("{why}: a frame that another parser refuses: {frame:02x?}"));
    let Some(LinkSlice::Ethernet2(ethernet)) = packet.link else { panic!("no Ethernet header") };
    let source = MacAddr(ethernet.source());
    let own = if sender == "c" {
        net.engine.mac_table().any(|row| row.mac == source && row.port == Some(id))
    } else {
        net.engine.port(id).expect("a port").macs == [source]
    };
    assert!(own, "{source} is not {sender}'s: {frame:02x?}");
    assert!(packet.link_exts.len() <= 1, "a second tag: {frame:02x?}");
    let has = |address: IpAddr| net.engine.owner_of(address) == Some(Owner::Port(id));
    match &packet.net {
        Some(NetSlice::Arp(arp)) => {
            assert_eq!(arp.sender_hw_addr(), source.0, "{frame:02x?}");
            let ip: [u8; 4] = arp.sender_protocol_addr().try_into().expect("an IPv4 address");
            let ip = Ipv4Addr::from(ip);
            let probe = ip.is_unspecified() && arp.operation().0 == 1;
            let rarp = frame.windows(2).nth(12 + 4 * packet.link_exts.len()) == Some(&[0x80, 0x35]);
            assert!(probe || rarp || has(ip.into()), "{ip} is not {sender}'s: {frame:02x?}");
        }
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header().source_addr();
            let dhcp = matches!(&packet.transport, Some(TransportSlice::Udp(udp))
                if udp.source_port() == 68
                    && udp.destination_port() == 67
                    && udp.payload().get(28..34) == Some(&source.0[..]));
            let nobody = ip.is_unspecified() && dhcp;
            assert!(nobody || has(ip.into()), "{ip} is not {sender}'s: {frame:02x?}");
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header().source_addr();
            let message = match &packet.transport {
                Some(TransportSlice::Icmpv6(icmp)) => Some(icmp.slice()),
                _ => None,
            };
            let kind = message.and_then(|message| message.first().copied());
            let nobody = ip.is_unspecified() && matches!(kind, Some(131 | 132 | 133 | 135 | 143));
            assert!(nobody || has(ip.into()), "{ip} is not {sender}'s: {frame:02x?}");
            assert!(!matches!(kind, Some(134 | 137..=140)), "{kind:?}: {frame:02x?}");
            if let (Some(136), Some(message)) = (kind, message) {
                let target: [u8; 16] = message[8..24].try_into().expect("a target");
                assert!(has(IpAddr::from(target)), "the target is not {sender}'s: {frame:02x?}");
            }
            let options = match kind {
                Some(133) => 8,
                Some(135 | 136) => 24,
                _ => usize::MAX,
            };
            let mut rest = message.and_then(|message| message.get(options..)).unwrap_or_default();
            while let [kind, units, ..] = *rest {
                let len = usize::from(units) * 8;
                let option = rest.get(..len).filter(|_| len > 0);
                let option = option.unwrap_or_else(|| panic!("a broken option: {frame:02x?}"));
                assert!(
                    !matches!(kind, 1 | 2) || option[2..] == source.0,
                    "an option names another: {frame:02x?}"
                );
                rest = &rest[len..];
            }
        }
        None => {
            // RARP, which the other parser does not know.
            let at = 12 + 4 * packet.link_exts.len();
            assert_eq!(frame.get(at..at + 2), Some(&[0x80, 0x35][..]), "{frame:02x?}");
            assert_eq!(frame.get(at + 10..at + 16), Some(&source.0[..]), "{frame:02x?}");
        }
    }
}

/// The frame came in and names nobody inside.
fn foreign(net: &TestNetwork, frame: &[u8]) {
    let uplink = net.id("uplink");
    let is_inside = |address: IpAddr| match net.engine.owner_of(address) {
        Some(Owner::Port(port)) => port != uplink,
        Some(Owner::Planned(_)) => true,
        Some(Owner::Reserved) | None => false,
    };
    let outside = |mac: [u8; 6]| {
        let mac = MacAddr(mac);
        // What was not used for the ageing time is nobody's, also before it is swept away.
        let ageing = NetworkSpec::default().mac_ageing;
        let lives = |seen: Instant| net.now.saturating_since(seen) < ageing;
        let row = net.engine.mac_table().find(|row| row.mac == mac && row.seen.is_none_or(lives));
        let inside = row.is_some_and(|row| row.port.is_none_or(|port| port != uplink));
        assert!(!inside, "{mac} is inside: {frame:02x?}");
    };
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
        // Cut short, and so for nobody, but with a source all the same.
        let behind = if frame[12..14] == [0x81, 0] { &frame[16..] } else { &frame[12..] };
        match behind {
            [8, 0, ip @ ..] => {
                let source: [u8; 4] = ip[12..16].try_into().expect("four bytes");
                assert!(!is_inside(Ipv4Addr::from(source).into()), "{frame:02x?}");
            }
            [0x86, 0xdd, ip @ ..] => {
                let source: [u8; 16] = ip[8..24].try_into().expect("sixteen bytes");
                let link = source[0] == 0xfe || source[0] == 0xfd;
                assert!(!(link && is_inside(Ipv6Addr::from(source).into())), "{frame:02x?}");
            }
            _ => panic!("a frame that another parser refuses: {frame:02x?}"),
        }
        return;
    };
    let Some(LinkSlice::Ethernet2(ethernet)) = packet.link else { panic!("no Ethernet header") };
    outside(ethernet.source());
    let at = 12 + 4 * packet.link_exts.len();
    let kind = frame.get(at..at + 2).expect("a number");
    match &packet.net {
        Some(NetSlice::Arp(arp)) => {
            assert_eq!((arp.hw_addr_size(), arp.proto_addr_size()), (6, 4), "{frame:02x?}");
            assert_eq!(arp.hw_addr_type().0, 1, "{frame:02x?}");
            outside(arp.sender_hw_addr().try_into().expect("an Ethernet address"));
            let ip: [u8; 4] = arp.sender_protocol_addr().try_into().expect("an IPv4 address");
            assert!(!is_inside(Ipv4Addr::from(ip).into()), "{frame:02x?}");
        }
        Some(NetSlice::Ipv4(ip)) => {
            assert!(!is_inside(ip.header().source_addr().into()), "{frame:02x?}");
        }
        Some(NetSlice::Ipv6(ip)) => {
            let source = ip.header().source_addr();
            // A first use of an address that is not of this link shuts out nobody.
            let link = source.octets().starts_with(&[0xfe, 0x80]) || source.octets()[0] == 0xfd;
            assert!(!(link && is_inside(source.into())), "{frame:02x?}");
            let message = match &packet.transport {
                Some(TransportSlice::Icmpv6(icmp)) => icmp.slice(),
                _ => return,
            };
            let (fixed, target) = match message.first() {
                Some(133) => (8, None),
                Some(134) => (16, None),
                Some(135) => (24, None),
                Some(136) => (24, message.get(8..24)),
                Some(137) => (40, None),
                _ => return,
            };
            if ip.header().hop_limit() != 255 {
                return;
            }
            assert!(!ip.is_payload_fragmented(), "{frame:02x?}");
            if let Some(target) = target {
                let target: [u8; 16] = target.try_into().expect("a target");
                assert!(!is_inside(Ipv6Addr::from(target).into()), "{frame:02x?}");
            }
            let mut rest = message.get(fixed..).unwrap_or_default();
            while let [kind, units, ..] = *rest {
                let len = usize::from(units) * 8;
                let Some(option) = rest.get(..len).filter(|_| len > 0) else { break };
                if matches!(kind, 1 | 2) {
                    outside(option[2..8].try_into().expect("six bytes"));
                }
                rest = &rest[option.len()..];
            }
        }
        None => {
            // Only what is none of these; RARP, which the other parser does not know, names its sender.
            assert!(!matches!(kind, [8, 0 | 6] | [0x86, 0xdd]), "{frame:02x?}");
            if kind == [0x80, 0x35] {
                outside(frame[at + 10..at + 16].try_into().expect("six bytes"));
                let ip: [u8; 4] = frame[at + 16..at + 20].try_into().expect("four bytes");
                assert!(!is_inside(Ipv4Addr::from(ip).into()), "{frame:02x?}");
            }
        }
    }
}
