//! Two routers, alike but that one forgets before each packet what it was told by the last, so that it
//! never finds one usual: both do the same.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use proptest::prelude::*;
use wire::build::{Builder, Ipv4, Ipv6};
use wire::{MacAddr, Offload};

use super::super::{
    InterfaceId, InterfaceSpec, Output, Route, Router, RouterCounters, RouterLimits, Via,
};
use crate::pool::{Pool, PoolLimits};
use crate::time::Instant;

const GUEST: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const NEIGHBOUR: MacAddr = MacAddr([2, 0, 0, 0, 0, 10]);

/// What comes out: where to, and the bytes.
type Sent = (bool, InterfaceId, Vec<u8>);

/// A router between three networks, the third of which carries little, and the buffers of its frames.
struct Lab {
    router: Router,
    pool: Pool,
    ifaces: Vec<InterfaceId>,
}

fn mac(net: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, net])
}

impl Lab {
    fn new(outside: bool) -> Self {
        let mut pool = Pool::new(PoolLimits { small: 64, large: 16, headers: 64 });
        let mut router = Router::new(RouterLimits::default(), [7; 16]);
        let mut ifaces = Vec::new();
        for net in 0..3 {
            let spec = InterfaceSpec {
                mac: mac(net),
                mtu: if net == 2 { 1300 } else { 1500 },
                v4: vec![([10, net, 0, 1].into(), 16)],
                v6: vec![(Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, 1), 32)],
                gateway: net == 0,
                outside: outside && net == 0,
                ..InterfaceSpec::default()
            };
            ifaces.push(router.add_interface(spec).unwrap());
        }
        let now = Instant::EPOCH;
        for (iface, net) in ifaces.iter().zip(0..3_u16) {
            let v4 = [10, net as u8, 0, 9].into();
            let v6 = Ipv6Addr::new(0xfd00, net, 0, 0, 0, 0, 0, 9).into();
            for address in [v4, v6] {
                router.learn_neighbour(now, &mut pool, *iface, address, Some(NEIGHBOUR), Some(3));
            }
        }
        let next = Via::NextHop { iface: ifaces[1], addr: [10, 1, 0, 9].into() };
        for (prefix, via) in [
            ("172.16.0.0/16", next),
            ("172.17.0.0/16", Via::Gateway(ifaces[0])),
            ("172.18.0.0/16", Via::Unreachable),
            ("172.19.0.0/16", Via::Prohibit),
        ] {
            router.add_route(Route::new(prefix.parse().unwrap(), via)).unwrap();
        }
        Self { router, pool, ifaces }
    }

    fn send(&mut self, bytes: &[u8], offload: Offload) -> (Vec<Sent>, RouterCounters) {
        let frame = self.pool.copy_in(bytes, offload).unwrap();
        self.router.receive(Instant::EPOCH, &mut self.pool, self.ifaces[0], frame);
        let mut sent = Vec::new();
        while let Some(output) = self.router.poll_output() {
            let (gateway, iface, frame) = match output {
                Output::Transmit { iface, frame } => (false, iface, frame),
                Output::Gateway { iface, frame } => (true, iface, frame),
            };
            sent.push((gateway, iface, self.pool.pieces(&frame).concat()));
            self.pool.release(frame);
        }
        (sent, self.router.counters(self.ifaces[0]).unwrap().clone())
    }

    fn forget(&mut self) {
        self.router.remove_route("192.0.2.0/24".parse().unwrap());
    }
}

/// A packet, and what is wrong with it.
#[derive(Clone, Debug)]
struct Case {
    to: MacAddr,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    options: usize,
    payload: usize,
    padding: usize,
    fragment: u16,
    /// A byte of the frame that is changed, and by how much.
    damage: Option<(usize, u8)>,
}

impl Case {
    fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; 2000];
        let builder = Builder::new(&mut out).ethernet(self.to, GUEST);
        let builder = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let options = [1; 8];
                let options = &options[..self.options];
                let (ttl, fragment) = (self.ttl, self.fragment);
                let header =
                    Ipv4 { source, destination, ttl, options, fragment, ..Ipv4::default() };
                builder.ipv4(&header)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let hop_limit = self.ttl;
                builder.ipv6(&Ipv6 { source, destination, hop_limit, ..Ipv6::default() })
            }
            _ => builder,
        };
        let len = builder.udp(1, 2).payload(&[7; 1800][..self.payload]).finish().unwrap();
        out.truncate(len + self.padding);
        if let Some((at, by)) = self.damage {
            let at = at % len.min(60);
            out[at] = out[at].wrapping_add(by);
        }
        out
    }
}

fn one_of<T: Clone + core::fmt::Debug + 'static>(
    usual: T,
    others: Vec<T>,
) -> impl Strategy<Value = T> {
    prop_oneof![3 => Just(usual), 2 => prop::sample::select(others)]
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn case() -> impl Strategy<Value = Case> {
    let all = |texts: &[&str]| texts.iter().map(|text| address(text)).collect::<Vec<_>>();
    let v4 = (
        one_of(address("10.0.0.9"), all(&["10.0.0.8", "10.1.0.9", "10.0.0.1", "127.0.0.1"])),
        one_of(
            address("10.1.0.9"),
            all(&[
                "10.1.0.8",
                "10.2.0.9",
                "10.0.0.9",
                "10.0.0.1",
                "10.1.0.1",
                "10.1.255.255",
                "10.1.0.0",
                "172.16.1.1",
                "172.17.1.1",
                "172.18.1.1",
                "172.19.1.1",
                "9.9.9.9",
                "169.254.1.1",
                "127.0.0.1",
                "0.0.0.9",
                "224.0.0.9",
                "240.0.0.1",
                "255.255.255.255",
            ]),
        ),
    );
    let v6 = (
        one_of(address("fd00::9"), all(&["fd00::8", "fd00:1::9", "fe80::9", "::1"])),
        one_of(
            address("fd00:1::9"),
            all(&[
                "fd00:1::8",
                "fd00:2::9",
                "fd00::9",
                "fd00::1",
                "fd00:1::1",
                "2001:db8::1",
                "fe80::9",
                "ff02::1",
                "::1",
                "::",
                "::ffff:9.9.9.9",
                "64:ff9b::9.9.9.9",
            ]),
        ),
    );
    let to = one_of(mac(0), vec![mac(1), MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 9])]);
    (
        to,
        prop_oneof![v4, v6],
        one_of(64, vec![0_u8, 1, 2]),
        one_of(0_usize, vec![4, 8]),
        one_of(64_usize, vec![0, 1250, 1280, 1400, 1472, 1473]),
        one_of(0_usize, vec![1, 20]),
        one_of(0x4000_u16, vec![0, 0x2000, 0x2010, 0x0010]),
        prop::option::weighted(0.2, (0..60_usize, 1..=255_u8)),
    )
        .prop_map(
            |(to, (source, destination), ttl, options, payload, padding, fragment, damage)| Case {
                to,
                source,
                destination,
                ttl,
                options,
                payload,
                padding,
                fragment,
                damage,
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn the_short_way_does_what_the_long_one_does(
        outside in any::<bool>(),
        cases in prop::collection::vec(case(), 1..40),
    ) {
        let (mut short, mut long) = (Lab::new(outside), Lab::new(outside));
        for case in cases {
            let bytes = case.bytes();
            long.forget();
            prop_assert_eq!(short.send(&bytes, Offload::NONE), long.send(&bytes, Offload::NONE));
        }
        prop_assert_eq!(short.router.strays(), 0);
        prop_assert_eq!(short.pool.usage().small.used, long.pool.usage().small.used);
    }
}

/// Or else the test above compares nothing.
#[test]
fn usual_packets_take_the_short_way() {
    let usual = Case {
        to: mac(0),
        source: address("10.0.0.9"),
        destination: address("10.1.0.9"),
        ttl: 64,
        options: 0,
        payload: 64,
        padding: 0,
        fragment: 0,
        damage: None,
    };
    let v6 =
        Case { source: address("fd00::9"), destination: address("fd00:1::9"), ..usual.clone() };
    let routed = Case { destination: address("172.16.1.1"), ..usual.clone() };
    let out = Case { destination: address("9.9.9.9"), ..usual.clone() };
    for case in [usual, v6, routed, out] {
        let mut lab = Lab::new(true);
        let bytes = case.bytes();
        for known in [false, true] {
            let mut frame = lab.pool.copy_in(&bytes, Offload::NONE).unwrap();
            let now = Instant::EPOCH;
            let passed = lab.router.pass(now, &mut lab.pool, lab.ifaces[0], &mut frame);
            assert_eq!(passed.is_some(), known, "{case:?}");
            lab.pool.release(frame);
            lab.send(&bytes, Offload::NONE);
        }
    }
}
