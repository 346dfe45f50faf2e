//! The router alone, in wall-clock time: longest-prefix match with few and many routes, and a frame
//! on its way between two networks beside one within a network.
//!
//! The aim is at most 1.5 times the cost of a look-up from 10 to 100,000 routes. `lookup` shows the
//! worst case, destinations uniform over all routes and nothing else to do: what it costs beyond 10
//! routes is the memory of the table, which no cache holds. `frames/*-routes` shows what is left of
//! that when a frame is carried, to 4,096 destinations in turn. A switched frame passes one engine, a
//! routed one two and the router; what guests see of that is measured by `bench/compare`.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bench::crossing::{Crossing, Where};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::router::PrefixMap;
use ipnet::IpNet;

/// Look-ups of one round.
const LOOKUPS: usize = 4096;

struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// That many routes, and destinations uniform over them.
fn table(v6: bool, count: u32) -> (PrefixMap, Vec<IpAddr>) {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut map = PrefixMap::default();
    let mut routes = Vec::new();
    while routes.len() < count as usize {
        let bits = dice.roll();
        // As in the Internet's tables: mostly /24 and /48, some shorter, in a part of the space.
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
    let destinations = (0..LOOKUPS)
        .map(|_| {
            let low = dice.roll();
            match routes[low as usize % routes.len()] {
                IpNet::V4(net) => {
                    let host = low as u32 & net.hostmask().to_bits();
                    Ipv4Addr::from_bits(net.network().to_bits() | host).into()
                }
                IpNet::V6(net) => {
                    let host = u128::from(low) & net.hostmask().to_bits();
                    Ipv6Addr::from_bits(net.network().to_bits() | host).into()
                }
            }
        })
        .collect();
    (map, destinations)
}

fn lookup(c: &mut Criterion) {
    for (name, v6) in [("lookup-v4", false), ("lookup-v6", true)] {
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(LOOKUPS as u64));
        for count in [10, 1000, 100_000] {
            let (map, destinations) = table(v6, count);
            group.bench_function(format!("{count}-routes"), |b| {
                b.iter(|| {
                    let found = destinations.iter().filter_map(|ip| map.find(*ip));
                    black_box(found.map(u64::from).sum::<u64>())
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
