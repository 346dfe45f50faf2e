//! The router's longest-prefix match against another implementation of it.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use engine::PrefixMap;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap as Oracle;
use proptest::prelude::*;

/// Addresses that share beginnings of every length.
fn v4() -> impl Strategy<Value = Ipv4Addr> {
    (any::<u32>(), 0u32..=32).prop_map(|(bits, shared)| {
        let mask = u32::MAX.checked_shr(shared).unwrap_or(0);
        Ipv4Addr::from_bits((0x0a14_2837 & !mask) | (bits & mask))
    })
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    (any::<u128>(), 0u32..=128).prop_map(|(bits, shared)| {
        let base = 0x2001_0db8_aaaa_5555_0123_4567_89ab_cdef_u128;
        let mask = u128::MAX.checked_shr(shared).unwrap_or(0);
        Ipv6Addr::from_bits((base & !mask) | (bits & mask))
    })
}

/// One step: an address, a prefix length, and a value to add, or none to remove.
type Step<A> = (A, u8, Option<u32>);

fn compare<A: Copy + Into<IpAddr>, P: prefix_trie::Prefix + Copy + Into<IpNet>>(
    steps: &[Step<A>],
    prefix: impl Fn(A, u8) -> P,
) {
    let (mut map, mut oracle) = (PrefixMap::default(), Oracle::new());
    for &(address, len, value) in steps {
        let net = prefix(address, len);
        match value {
            Some(value) => assert_eq!(map.insert(net.into(), value), oracle.insert(net, value)),
            None => assert_eq!(map.remove(net.into()), oracle.remove(&net)),
        }
        for &(address, ..) in steps {
            let host = prefix(address, u8::MAX);
            let expected = oracle.get_lpm(&host).map(|(_, value)| *value);
            assert_eq!(map.find(address.into()), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn agrees_with_prefix_trie_v4(
        steps in prop::collection::vec((v4(), 0u8..=32, prop::option::weighted(0.7, 0u32..100)), 1..50),
    ) {
        compare(&steps, |ip, len| Ipv4Net::new(ip, len.min(32)).expect("a prefix").trunc());
    }

    #[test]
    fn agrees_with_prefix_trie_v6(
        steps in prop::collection::vec((v6(), 0u8..=128, prop::option::weighted(0.7, 0u32..100)), 1..50),
    ) {
        compare(&steps, |ip, len| Ipv6Net::new(ip, len.min(128)).expect("a prefix").trunc());
    }
}

#[test]
fn a_large_table_agrees() {
    let mut random = testkit::Random::new(9);
    let (mut map, mut oracle) = (PrefixMap::default(), Oracle::new());
    let mut addresses = Vec::new();
    for value in 0..30_000 {
        let ip = Ipv4Addr::from_bits(random.next_u64() as u32 & 0x3fff_ffff);
        let len = 8 + random.below(25) as u8;
        let net = Ipv4Net::new(ip, len).expect("a prefix").trunc();
        assert_eq!(map.insert(net.into(), value), oracle.insert(net, value));
        addresses.push((ip, net));
    }
    let check = |map: &PrefixMap, oracle: &Oracle<Ipv4Net, u32>| {
        for (ip, _) in &addresses {
            let expected = oracle.get_lpm(&Ipv4Net::from(*ip)).map(|(_, value)| *value);
            assert_eq!(map.find((*ip).into()), expected);
        }
    };
    check(&map, &oracle);
    for (_, net) in addresses.iter().step_by(2) {
        assert_eq!(map.remove((*net).into()), oracle.remove(net));
    }
    check(&map, &oracle);
}
