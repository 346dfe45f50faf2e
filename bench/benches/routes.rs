//! The router alone, in wall-clock time: longest-prefix match with few and many routes, and a frame
//! on its way between two networks beside one within a network.
//!
//! The aim is at most 1.5 times the cost of a look-up from 10 to 100,000 routes. `uniform` is the
//! worst case: each of a million look-ups is for another destination, uniform over all routes, and
//! nothing else is done; what it costs beyond 10 routes is the memory of the table. `busy` is how
//! networks are used: 256 destinations all over the table, the n-th as often as 1/n of the first.
//! `waiting` is `uniform` where each look-up waits for the answer of the one before it, so that
//! none of their ways to memory overlap. `frames/*-routes` shows what is left when a frame is
//! carried, to 4,096 destinations in turn. A switched frame passes one engine, a routed one two and
//! the router; what guests see of that is measured by `bench/compare`.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bench::crossing::{Crossing, Where};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::PrefixMap;
use ipnet::IpNet;

/// Look-ups of one round.
const LOOKUPS: usize = 1 << 20;

/// Destinations that are in use where a network is busy.
const BUSY: usize = 256;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// That many routes.
fn table(v6: bool, count: u32) -> (PrefixMap, Vec<IpNet>) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut map = PrefixMap::default();
    let mut routes = Vec::new();
    while routes.len() < count as usize {
        let bits = dice.roll();
        // From /17 to /24 and from /33 to /48, as many of each length, in a part of the space.
        let shorter = (bits >> 60) as u8;
        let (ip, len): (IpAddr, u8) = if v6 {
            let top = 0x2000_u128 << 112 | u128::from(bits & 0x0fff_ffff_ffff) << 80;
            (Ipv6Addr::from_bits(top).into(), 48 - shorter)
        } else {
            (Ipv4Addr::from_bits(bits as u32 & 0x3fff_ffff | 0x4000_0000).into(), 24 - shorter / 2)
        };
        let net = IpNet::new(ip, len).expect("a prefix").trunc();
        if map.insert(net, routes.len() as u32).is_none() {
            routes.push(net);
        }
    }
    (map, routes)
}

/// An address in one of the routes.
fn destination(dice: &mut Dice, routes: &[IpNet]) -> IpAddr {
    let low = dice.roll();
    match routes[(low >> 32) as usize % routes.len()] {
        IpNet::V4(net) => {
            let host = low as u32 & net.hostmask().to_bits();
            Ipv4Addr::from_bits(net.network().to_bits() | host).into()
        }
        IpNet::V6(net) => {
            let host = u128::from(low) << 64 | u128::from(dice.roll());
            Ipv6Addr::from_bits(net.network().to_bits() | host & net.hostmask().to_bits()).into()
        }
    }
}

/// Destinations uniform over the routes.
fn uniform(routes: &[IpNet]) -> Vec<IpAddr> {
    let mut dice = Dice(77);
    (0..LOOKUPS).map(|_| destination(&mut dice, routes)).collect()
}

/// A few destinations over and over, the n-th as often as 1/n of the first.
fn busy(routes: &[IpNet]) -> Vec<IpAddr> {
    let mut dice = Dice(77);
    let some: Vec<_> = (0..BUSY).map(|_| destination(&mut dice, routes)).collect();
    let shares: Vec<f64> = (1..=BUSY)
        .scan(0.0, |sum, nth| {
            *sum += 1.0 / nth as f64;
            Some(*sum)
        })
        .collect();
    let all = shares[BUSY - 1];
    (0..LOOKUPS)
        .map(|_| {
            let drawn = (dice.roll() >> 11) as f64 / (1_u64 << 53) as f64 * all;
            some[shares.partition_point(|share| *share < drawn).min(BUSY - 1)]
        })
        .collect()
}

fn lookup(c: &mut Criterion) {
    for (name, v6) in [("v4", false), ("v6", true)] {
        let tables = [10, 1000, 100_000].map(|count| (count, table(v6, count)));
        for (load, destinations) in
            [("uniform", uniform as fn(&[IpNet]) -> Vec<IpAddr>), ("busy", busy)]
        {
            let mut group = c.benchmark_group(format!("lookup-{name}-{load}"));
            group.throughput(Throughput::Elements(LOOKUPS as u64)).sample_size(10);
            for (count, (map, routes)) in &tables {
                let destinations = destinations(routes);
                group.bench_function(format!("{count}-routes"), |b| {
                    b.iter(|| {
                        let found = destinations.iter().filter_map(|ip| map.find(*ip));
                        black_box(found.map(u64::from).sum::<u64>())
                    });
                });
            }
            group.finish();
        }
        let mut group = c.benchmark_group(format!("lookup-{name}-waiting"));
        group.throughput(Throughput::Elements(LOOKUPS as u64)).sample_size(10);
        for (count, (map, routes)) in &tables {
            let destinations = uniform(routes);
            println!("{count} routes: {} KiB", map.bytes() >> 10);
            group.bench_function(format!("{count}-routes"), |b| {
                b.iter(|| {
                    destinations.iter().fold(0_u32, |last, ip| {
                        // Changes nothing, which the processor cannot know.
                        let bit = last >> 31;
                        let ip = match *ip {
                            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ bit).into(),
                            IpAddr::V6(ip) => {
                                Ipv6Addr::from_bits(ip.to_bits() ^ u128::from(bit)).into()
                            }
                        };
                        map.find(ip).unwrap_or(0)
                    })
                });
            });
        }
        group.finish();
    }
}

fn cross(c: &mut Criterion) {
    let mut group = c.benchmark_group("frames");
    for (name, place) in [("switched", Where::Switched), ("routed", Where::Routed)] {
        for flows in [1, 64] {
            let mut crossing = Crossing::new(place, flows);
            group.throughput(Throughput::Elements(crossing.frames_per_round() as u64));
            group.bench_function(format!("{name}-{flows}"), |b| b.iter(|| crossing.round()));
        }
    }
    for routes in [10, 1000, 100_000] {
        let mut crossing = Crossing::with_routes(Where::Routed, 1, routes);
        group.throughput(Throughput::Elements(crossing.frames_per_round() as u64));
        group.bench_function(format!("routed-{routes}-routes"), |b| b.iter(|| crossing.round()));
    }
    group.finish();
}

criterion_group!(benches, lookup, cross);
criterion_main!(benches);
