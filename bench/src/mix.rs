//! Frames as a network of guests has them: TCP segments and UDP datagrams of both IP versions, and a
//! few of what keeps a network together, ARP, neighbour discovery and DHCP.
//!
//! Of a hundred frames 60 are TCP, 34 UDP, two ARP requests, two neighbour solicitations and two DHCP
//! requests; every second one is IPv6 (and without control frames, 60 and 40). That is far more control traffic than real guests send, and
//! so the worse case for the guard, which answers for it.

use engine::{GuardMode, GuardSpec, NetworkGuard, Rate, Rates, Storm};
use std::net::{Ipv4Addr, Ipv6Addr};
use wire::MacAddr;
use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::ndp::{self, kind};
use wire::parse::Arp;

use crate::switchboard::address;

/// What the guards of the mix's network have in common.
pub(crate) fn network_guard() -> NetworkGuard {
    NetworkGuard {
        subnet: Some("10.0.0.0/16".parse().expect("a subnet")),
        announced: vec!["fd00::/64".parse().expect("a prefix")],
        snooping: true,
        ..NetworkGuard::default()
    }
}

/// The guard of a guest of the mix. Its rates are wide, because a benchmark is in a hurry; every
/// check is made all the same.
pub(crate) fn guard(number: u32) -> GuardSpec {
    let rate = Rate::new(u32::MAX, u32::MAX);
    let storm = Some(rate);
    GuardSpec {
        mode: GuardMode::Static,
        addresses: vec![v4(number).into(), v6(number).into()],
        rates: Rates {
            arp: rate,
            unknown: rate,
            dhcp: rate,
            nd: rate,
            solicitations: rate,
            duplicates: rate,
            groups: rate,
            errors: rate,
        },
        storm: Storm {
            broadcast: storm,
            multicast: storm,
            unknown: storm,
            bytes_per_second: Some(u32::MAX),
            shutdown: None,
        },
        ..GuardSpec::default()
    }
}

fn v4(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0100 + number)
}

fn v6(number: u32) -> Ipv6Addr {
    Ipv6Addr::from(0xfd00_u128 << 112 | 0x1_0000 | u128::from(number))
}

/// The frames, made once for every pair of guests, so that none is put together while the clock runs.
#[derive(Debug)]
pub(crate) struct Mix {
    /// Of each kind one for each pair, one behind the other: a link has its frame at hand, and does
    /// not look for it all over the memory.
    kinds: [Frames; KINDS],
    guests: u32,
    control: bool,
    next: usize,
}

const KINDS: usize = 7;

impl Mix {
    pub(crate) fn new(guests: u32, control: bool) -> Self {
        let pairs = || (0..guests).flat_map(|from| (0..guests).map(move |to| (from, to)));
        let kinds = std::array::from_fn(|kind| {
            let frames: Vec<_> = pairs().map(|(from, to)| build(kind, from, to)).collect();
            Frames { len: frames[0].len(), bytes: frames.concat() }
        });
        Self { kinds, guests, control, next: 0 }
    }

    /// The next frame of the mix, from one guest to another.
    pub(crate) fn frame(&mut self, from: u32, to: u32) -> &[u8] {
        let nth = self.next;
        self.next = (self.next + 1) % 100;
        let kind = match nth {
            17 | 67 if self.control => 4,
            33 | 83 if self.control => 5,
            0 | 50 if self.control => 6,
            nth if nth % 10 < 6 => nth % 2,
            nth => 2 + nth % 2,
        };
        let Frames { len, bytes } = &self.kinds[kind];
        &bytes[(from * self.guests + to) as usize * len..][..*len]
    }
}

/// Frames of one length.
#[derive(Debug)]
struct Frames {
    len: usize,
    bytes: Vec<u8>,
}

fn build(kind: usize, from: u32, to: u32) -> Vec<u8> {
    let mut bytes = vec![0; 400];
    let (source, station) = (address(from), address(to));
    let ip4 = Ipv4 { source: v4(from), destination: v4(to), ..Ipv4::default() };
    let ip6 = Ipv6 { source: v6(from), destination: v6(to), ..Ipv6::default() };
    let group = ndp::solicited_node(v6(to));
    let mut dhcp = [0; 244];
    dhcp[..3].copy_from_slice(&[1, 1, 6]);
    dhcp[28..34].copy_from_slice(&source.0);
    dhcp[236..].copy_from_slice(&[99, 130, 83, 99, 53, 1, 3, 255]);
    let nobody =
        Ipv4 { source: Ipv4Addr::UNSPECIFIED, destination: Ipv4Addr::BROADCAST, ..Ipv4::default() };
    let arp = Arp {
        operation: 1,
        sender_mac: source,
        sender_ip: v4(from),
        target_mac: MacAddr::ZERO,
        target_ip: v4(to),
    };
    let asking = Ipv6 { destination: group, hop_limit: 255, ..ip6 };
    let b = Builder::new(&mut bytes);
    let b = match kind {
        0 => b.ethernet(station, source).ipv4(&ip4).tcp(&Tcp::default()).payload(&[0; 6]),
        1 => b.ethernet(station, source).ipv6(&ip6).tcp(&Tcp::default()),
        2 => b.ethernet(station, source).ipv4(&ip4).udp(5000, 6000).payload(&[0; 18]),
        3 => b.ethernet(station, source).ipv6(&ip6).udp(5000, 6000),
        4 => b.ethernet(MacAddr::BROADCAST, source).arp(&arp).payload(&[0; 18]),
        5 => b.ethernet(ndp::multicast_mac(group), source).ipv6(&asking).neighbour(
            kind::NEIGHBOUR_SOLICITATION,
            0,
            v6(to),
            source,
        ),
        _ => b.ethernet(MacAddr::BROADCAST, source).ipv4(&nobody).udp(68, 67).payload(&dhcp),
    };
    let len = b.finish().expect("a frame");
    bytes.truncate(len);
    bytes
}
