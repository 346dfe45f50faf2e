//! What reaches a guest that passes packets on, as routers and machines with containers do (check 54).

use std::net::IpAddr;

use engine::{GuardMode, PortSpec, Reason, SourceMode, Verdict};
use testkit::{TestNetwork, mac};
use wire::build::{Ipv4, Ipv6};

use crate::world::{
    Guest, ROUTER, a, drain, learning, passed, refused_on_egress, strict, taken, world,
};

fn client() -> Guest {
    Guest { port: "client", number: 20, tags: Vec::new() }
}

fn to(g: &Guest, station: u32, address: &str) -> Vec<u8> {
    match address.parse().expect("an address") {
        IpAddr::V4(destination) => {
            let header = Ipv4 { destination, ..g.ip4() };
            g.frame(mac(station), |b| b.ipv4(&header).udp(1, 2).payload(&[7; 20]))
        }
        IpAddr::V6(destination) => {
            let header = Ipv6 { destination, ..g.ip6() };
            g.frame(mac(station), |b| b.ipv6(&header).udp(1, 2).payload(&[7; 20]))
        }
    }
}

/// Addresses of nobody, on the link and off it, and of others.
const OTHERS: [&str; 8] = [
    "198.51.100.5",
    "10.0.0.50",
    "10.0.0.9",
    "10.0.0.1",
    "2001:db8::5",
    "fd00::50",
    "fd00::9",
    "fe80::77",
];

fn with(spec: PortSpec) -> TestNetwork {
    let mut net = world();
    net.plug("client", spec);
    net
}

#[test]
fn a_client_is_sent_what_is_its_own_once_it_has_said_what_that_is() {
    for spec in [
        learning(),
        PortSpec { source: SourceMode::Learn { max_macs: 8 }, ..learning() },
        PortSpec {
            guard: engine::GuardSpec { mode: GuardMode::Learn, ..strict(20).guard },
            ..strict(20)
        },
    ] {
        let configured = !spec.guard.addresses.is_empty();
        let mut net = with(spec);
        if configured {
            passed(&mut net, "client", &client().udp4(&client().ip4(), 1, 2));
        } else {
            taken(&mut net, "client", &client().udp4(&client().ip4(), 1, 2));
            taken(&mut net, "client", &client().udp6(&client().ip6(), 1, 2));
        }
        for sender in ["a", "router"] {
            let g = if sender == "a" {
                a()
            } else {
                Guest { port: "router", number: ROUTER, tags: Vec::new() }
            };
            for address in OTHERS {
                let frame = to(&g, 20, address);
                refused_on_egress(&mut net, sender, "client", &frame, Reason::NotDestination);
            }
            for address in ["10.0.0.20", "fd00::14"] {
                assert_eq!(
                    net.send(sender, &to(&g, 20, address)),
                    Verdict::Forward(net.id("client"))
                );
                assert_eq!(net.receive("client").len(), 1);
            }
        }
        drain(&mut net);
    }
}

#[test]
fn one_that_has_said_nothing_may_have_what_nobody_has() {
    let mut net = with(learning());
    // Its Ethernet address is known, by a frame that says nothing else.
    let frame = client().udp6(&Ipv6 { source: client().link_local(), ..client().ip6() }, 1, 2);
    net.send("client", &frame);
    drain(&mut net);
    assert_eq!(net.send("a", &to(&a(), 20, "10.0.0.50")), Verdict::Forward(net.id("client")));
    assert_eq!(net.receive("client").len(), 1);
    drain(&mut net);
    refused_on_egress(&mut net, "a", "client", &to(&a(), 20, "10.0.0.9"), Reason::NotDestination);
    // Of the other version it has said something.
    refused_on_egress(&mut net, "a", "client", &to(&a(), 20, "fd00::50"), Reason::NotDestination);
}

#[test]
fn a_network_behind_a_client_is_reached() {
    let mut spec = learning();
    spec.guard.prefixes =
        ["192.0.2.0/24", "2001:db8:1::/64"].map(|net| net.parse().expect("a prefix")).to_vec();
    let mut net = with(spec);
    taken(&mut net, "client", &client().udp4(&client().ip4(), 1, 2));
    taken(&mut net, "client", &client().udp6(&client().ip6(), 1, 2));
    for address in ["192.0.2.7", "2001:db8:1::7"] {
        assert_eq!(net.send("a", &to(&a(), 20, address)), Verdict::Forward(net.id("client")));
        assert_eq!(net.receive("client").len(), 1);
    }
    drain(&mut net);
    for address in ["198.51.100.5", "2001:db8::5"] {
        refused_on_egress(&mut net, "a", "client", &to(&a(), 20, address), Reason::NotDestination);
    }
}
