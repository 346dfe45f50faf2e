//! Checks 34 and 38: prefixes from which guests make their addresses. This is about IPv6 alone.

use std::net::Ipv6Addr;
use std::time::Duration;

use engine::{NetworkGuard, NetworkSpec, Reason, Verdict};
use testkit::TestNetwork;
use wire::build::Ipv6;

use crate::outside::advertisement;
use crate::world::{Guest, ROUTER, a, drain, network, passed, refused, world, world_of};

const OUTSIDE: Guest = Guest { port: "uplink", number: 200, tags: Vec::new() };
const INSIDE: Guest = Guest { port: "router", number: ROUTER, tags: Vec::new() };

/// A prefix for stateless configuration, with valid and preferred lifetime in seconds.
fn prefix(prefix: &str, valid: u32, preferred: u32) -> Vec<u8> {
    let prefix: Ipv6Addr = prefix.parse().expect("a prefix");
    let lifetimes = [valid.to_be_bytes(), preferred.to_be_bytes()].concat();
    [&[3, 4, 64, 0xc0], &lifetimes[..], &[0; 4], &prefix.octets()].concat()
}

fn announces(net: &mut TestNetwork, router: &Guest, text: &str, valid: u32) {
    let frame = advertisement(router, 0, &[&prefix(text, valid, valid)]);
    passed(net, router.port, &frame);
}

/// Whether a guest whose addresses the network gives may take this one.
fn may_take(net: &mut TestNetwork, text: &str) -> bool {
    let source = text.parse().expect("an address");
    drain(net);
    match net.send("a", &a().udp6(&Ipv6 { source, ..a().ip6() }, 1, 2)) {
        Verdict::Drop(Reason::AddressAsked) => true,
        Verdict::Drop(Reason::Ipv6Source) => false,
        other => panic!("{text}: {other:?}"),
    }
}

/// A network whose routers announce what they like.
fn open() -> TestNetwork {
    let guard = NetworkGuard { announced: Vec::new(), ..network().guard };
    world_of(NetworkSpec { guard, ..network() })
}

#[test]
fn nobody_outside_crowds_out_a_prefix() {
    let mut net = open();
    announces(&mut net, &INSIDE, "2001:db8:1::", 600);
    announces(&mut net, &OUTSIDE, "2001:db8:2::", 600);
    assert!(may_take(&mut net, "2001:db8:1::71") && may_take(&mut net, "2001:db8:2::71"));
    for number in 0..40 {
        announces(&mut net, &OUTSIDE, &format!("2001:db8:7:{number:x}::"), u32::MAX);
    }
    assert!(may_take(&mut net, "2001:db8:1::72"), "it is the network's own");
    assert!(may_take(&mut net, "2001:db8:7:27::7"), "the last one");
    assert!(!may_take(&mut net, "2001:db8:2::72") && !may_take(&mut net, "2001:db8:7::7"));
    // The router says it again, whose prefix was forgotten.
    announces(&mut net, &OUTSIDE, "2001:db8:2::", 600);
    assert!(may_take(&mut net, "2001:db8:2::73"));
}

#[test]
fn nobody_outside_ends_a_prefix_at_once() {
    let mut net = open();
    announces(&mut net, &OUTSIDE, "2001:db8:2::", 86_400);
    announces(&mut net, &OUTSIDE, "2001:db8:2::", 0);
    net.wait(Duration::from_secs(7199));
    assert!(may_take(&mut net, "2001:db8:2::71"));
    announces(&mut net, &OUTSIDE, "2001:db8:2::", 0);
    net.wait(Duration::from_secs(1));
    assert!(!may_take(&mut net, "2001:db8:2::72"));
    // The network's own router does as it likes.
    announces(&mut net, &INSIDE, "2001:db8:1::", 86_400);
    assert!(may_take(&mut net, "2001:db8:1::71"));
    announces(&mut net, &INSIDE, "2001:db8:1::", 0);
    assert!(!may_take(&mut net, "2001:db8:1::72"));
}

#[test]
fn nobody_outside_shortens_what_the_network_announces() {
    let mut net = world();
    // While the network's own router has said nothing, others may.
    let says =
        |valid, preferred| advertisement(&OUTSIDE, 0, &[&prefix("fd00::", valid, preferred)]);
    passed(&mut net, "uplink", &says(0, 0));
    let own = advertisement(&INSIDE, 600, &[&prefix("fd00::", 3600, 1800)]);
    passed(&mut net, "router", &own);
    for (valid, preferred) in [(3600, 1800), (3601, 1801), (u32::MAX, u32::MAX)] {
        passed(&mut net, "uplink", &says(valid, preferred));
    }
    for (valid, preferred) in [(0, 0), (3599, 1800), (3600, 1799), (3600, 0), (u32::MAX, 0)] {
        refused(&mut net, "uplink", &says(valid, preferred), Reason::RouterAdvertisement);
    }
    // The same prefix, written with bits of a host.
    let host = advertisement(&OUTSIDE, 0, &[&prefix("fd00::7", 3600, 0)]);
    refused(&mut net, "uplink", &host, Reason::RouterAdvertisement);
    // Until it says so itself.
    passed(&mut net, "router", &advertisement(&INSIDE, 600, &[&prefix("fd00::", 3600, 0)]));
    passed(&mut net, "uplink", &says(3600, 0));
}
