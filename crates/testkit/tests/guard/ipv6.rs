//! Checks 23, 25, 26, 34 to 37 and 47 for IPv6.

use std::net::Ipv6Addr;

use engine::{Rate, Reason, Verdict};
use testkit::mac;
use wire::build::Ipv6;
use wire::ipv6::extension::{DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
use wire::{MacAddr, ndp};

use crate::world::{
    Guest, PEER, a, both_passed, both_refused, passed, refused, strict, t, taken, v6, world,
};

fn addr(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

#[test]
fn headers() {
    both_refused(Reason::Ipv6Header, |g| {
        let mut frame = g.udp6(&g.ip6(), 1000, 2000);
        frame[g.l3()] = 0x45;
        frame
    });
    both_refused(Reason::Ipv6Header, |g| {
        let mut frame = g.udp6(&g.ip6(), 1000, 2000);
        frame[g.l3() + 5] += 1;
        frame
    });
    both_refused(Reason::Ipv6Header, |g| {
        let frame = g.udp6(&g.ip6(), 1000, 2000);
        frame[..g.l3() + 39].to_vec()
    });
    both_refused(Reason::TtlZero, |g| g.udp6(&Ipv6 { hop_limit: 0, ..g.ip6() }, 1000, 2000));
    both_refused(Reason::L4Header, |g| {
        g.frame(mac(PEER), |b| b.ipv6(&g.ip6()).protocol(6).payload(&[0; 19]))
    });
    for len in 0..4 {
        both_refused(Reason::L4Header, |g| {
            g.frame(mac(PEER), |b| b.ipv6(&g.ip6()).icmpv6(128, 0).payload(&[0; 4][..len]))
        });
    }
    both_passed(|g| g.frame(mac(PEER), |b| b.ipv6(&g.ip6()).icmpv6(128, 0).payload(&[0; 4])));
}

#[test]
fn the_source_is_the_ports() {
    for source in [v6(PEER), v6(1), addr("fd01::5"), addr("2001:db8::1")] {
        both_refused(Reason::Ipv6Source, |g| g.udp6(&Ipv6 { source, ..g.ip6() }, 1000, 2000));
    }
    for source in ["::1", "ff02::1", "::ffff:10.0.0.2", "::10.0.0.2", "2002::1", "2001::1"] {
        let source = addr(source);
        both_refused(Reason::Ipv6SourceKind, |g| g.udp6(&Ipv6 { source, ..g.ip6() }, 1000, 2000));
    }
    both_refused(Reason::Ipv6Unspecified, |g| {
        g.udp6(&Ipv6 { source: Ipv6Addr::UNSPECIFIED, ..g.ip6() }, 1000, 2000)
    });
    for guest in [a(), t()] {
        let mut net = world();
        passed(&mut net, guest.port, &guest.udp6(&guest.ip6(), 1000, 2000));
        let forged = Ipv6 { source: v6(PEER), ..guest.ip6() };
        refused(&mut net, guest.port, &guest.udp6(&forged, 1000, 2000), Reason::Ipv6Source);
        // Behind extension headers, and in a fragment.
        let frame = guest.frame(mac(PEER), |b| {
            b.ipv6(&forged).extension(DESTINATION, &[0, 1, 4, 0, 0, 0, 0]).udp(1000, 2000)
        });
        refused(&mut net, guest.port, &frame, Reason::Ipv6Source);
        let frame = guest.frame(mac(PEER), |b| {
            b.ipv6(&forged).extension(FRAGMENT, &[0, 0, 1, 0, 0, 0, 7]).udp(1000, 2000)
        });
        refused(&mut net, guest.port, &frame, Reason::Ipv6Source);
    }
}

#[test]
fn a_few_addresses_are_first_come() {
    for guest in [a(), t()] {
        let mut net = world();
        for number in 0..8 {
            let prefix = if number < 4 { "fe80::" } else { "fd00::" };
            let source = Ipv6Addr::from(u128::from(addr(prefix)) | 0x1000 | number);
            taken(&mut net, guest.port, &guest.udp6(&Ipv6 { source, ..guest.ip6() }, 1, 2));
        }
        let source = addr("fe80::1:1");
        let frame = guest.udp6(&Ipv6 { source, ..guest.ip6() }, 1, 2);
        refused(&mut net, guest.port, &frame, Reason::Ipv6SourceLimit);
        // One that was not used for long makes room.
        net.wait(std::time::Duration::from_secs(1801));
        taken(&mut net, guest.port, &frame);
        // What one has, others do not get.
        let thief = Guest { port: "peer", number: PEER, tags: Vec::new() };
        let frame = thief
            .frame(mac(2), |b| b.ipv6(&Ipv6 { source, ..thief.ip6() }).udp(1, 2).payload(&[0; 8]));
        refused(&mut net, "peer", &frame, Reason::Ipv6Source);
    }
}

#[test]
fn destinations_and_casts() {
    for (destination, reason) in [
        ("::1", Reason::Destination),
        ("::", Reason::Destination),
        ("::ffff:10.0.0.9", Reason::Destination),
        ("fd00:ec2::254", Reason::Metadata),
        ("fd00:ec2::23", Reason::Metadata),
        ("fd20:ce::254", Reason::Metadata),
        ("fd00:c1::a9fe:a9fe", Reason::Metadata),
        ("fd00:42::42", Reason::Metadata),
        ("fe80::a9fe:a9fe", Reason::Metadata),
        // What a translator would make of them.
        ("64:ff9b::a9fe:a9fe", Reason::Metadata),
        ("64:ff9b::6464:64c8", Reason::Metadata),
        ("64:ff9b::7f00:1", Reason::Destination),
    ] {
        let destination = addr(destination);
        both_refused(reason, |g| g.udp6(&Ipv6 { destination, ..g.ip6() }, 1000, 2000));
    }
    let group = addr("ff02::9");
    let send = |g: &Guest, to: MacAddr, destination: Ipv6Addr| {
        let header = Ipv6 { destination, ..g.ip6() };
        g.frame(to, |b| b.ipv6(&header).udp(1000, 2000).payload(&[7; 20]))
    };
    both_refused(Reason::CastMismatch, |g| send(g, MacAddr::BROADCAST, v6(PEER)));
    both_refused(Reason::CastMismatch, |g| send(g, MacAddr::BROADCAST, group));
    both_refused(Reason::CastMismatch, |g| send(g, mac(PEER), group));
    both_refused(Reason::CastMismatch, |g| send(g, ndp::multicast_mac(group), v6(PEER)));
    both_refused(Reason::CastMismatch, |g| send(g, ndp::multicast_mac(addr("ff02::8")), group));
    both_passed(|g| send(g, ndp::multicast_mac(group), group));
}

#[test]
fn extension_headers() {
    let with = |g: &Guest, chain: &[(u8, &[u8])]| {
        g.frame(mac(PEER), |b| {
            let mut b = b.ipv6(&g.ip6());
            for (kind, body) in chain {
                b = b.extension(*kind, body);
            }
            b.udp(1000, 2000).payload(&[0; 20])
        })
    };
    let pad: &[u8] = &[0, 1, 4, 0, 0, 0, 0];
    both_passed(|g| with(g, &[(HOP_BY_HOP, pad), (DESTINATION, pad)]));
    both_passed(|g| with(g, &[(HOP_BY_HOP, &[0, 5, 2, 0, 0, 1, 0])]));
    both_refused(Reason::Ipv6Chain, |g| with(g, &[(DESTINATION, pad), (HOP_BY_HOP, pad)]));
    both_refused(Reason::Ipv6Chain, |g| with(g, &[(DESTINATION, pad); 9]));
    both_refused(Reason::Ipv6Chain, |g| {
        let mut long = vec![32];
        long.extend([0; 262]);
        with(g, &[(DESTINATION, &long)])
    });
    for kind in [0, 2, 3, 4] {
        both_refused(Reason::Ipv6Routing, |g| with(g, &[(ROUTING, &[0, kind, 0, 0, 0, 0, 0])]));
    }
    // A jumbogram, a home address, an option nobody knows.
    both_refused(Reason::Ipv6Option, |g| with(g, &[(HOP_BY_HOP, &[0, 0xc2, 4, 0, 1, 0, 0])]));
    both_refused(Reason::Ipv6Option, |g| with(g, &[(DESTINATION, &[0, 0xc9, 4, 0, 0, 0, 0])]));
    both_refused(Reason::Ipv6Option, |g| with(g, &[(DESTINATION, &[0, 0x1e, 4, 0, 0, 0, 0])]));
    // Cut off inside the chain.
    both_refused(Reason::Ipv6Hidden, |g| {
        let mut frame = with(g, &[(DESTINATION, pad)]);
        frame.truncate(g.l3() + 44);
        frame[g.l3() + 5] = 4;
        frame
    });
}

/// A fragment: the first with a UDP header.
fn fragment(g: &Guest, offset: u16, more: bool, len: usize) -> Vec<u8> {
    let [hi, lo] = (offset | u16::from(more)).to_be_bytes();
    g.frame(mac(PEER), |b| {
        let b = b.ipv6(&g.ip6()).extension(FRAGMENT, &[0, hi, lo, 0, 0, 0, 7]);
        if offset == 0 {
            b.udp(1000, 2000).payload(&vec![0; len - 8])
        } else {
            b.protocol(17).payload(&vec![0; len])
        }
    })
}

#[test]
fn fragments() {
    for guest in [a(), t()] {
        let mut net = world();
        let port = guest.port;
        refused(&mut net, port, &fragment(&guest, 1440, false, 80), Reason::FragmentOrphan);
        passed(&mut net, port, &fragment(&guest, 0, true, 1440));
        refused(&mut net, port, &fragment(&guest, 8, true, 80), Reason::FragmentTiny);
        refused(&mut net, port, &fragment(&guest, 0, true, 1440), Reason::FragmentOverlap);
        refused(&mut net, port, &fragment(&guest, 1432, true, 80), Reason::FragmentOverlap);
        passed(&mut net, port, &fragment(&guest, 1440, false, 80));
        // Alone, with a fragment header (RFC 6946).
        passed(&mut net, port, &fragment(&guest, 0, false, 80));
    }
    // What the first has behind its fragment header is the datagram's beginning, with headers and all:
    // the next one may not write over the transport header.
    for guest in [a(), t()] {
        let mut net = world();
        let first = guest.frame(mac(PEER), |b| {
            let b = b.ipv6(&guest.ip6()).extension(FRAGMENT, &[0, 0, 1, 0, 0, 0, 7]);
            let mut pad = vec![0; 127];
            pad[..3].copy_from_slice(&[15, 1, 124]);
            b.extension(60, &pad).udp(1000, 2000).payload(&[0; 56])
        });
        passed(&mut net, guest.port, &first);
        for offset in [64, 128, 184] {
            let frame = fragment(&guest, offset, true, 80);
            refused(&mut net, guest.port, &frame, Reason::FragmentOverlap);
        }
        passed(&mut net, guest.port, &fragment(&guest, 192, true, 80));
        // Behind a hole the receiver waits on: the same datagram cannot begin anew.
        passed(&mut net, guest.port, &fragment(&guest, 280, false, 80));
        refused(&mut net, guest.port, &fragment(&guest, 0, true, 80), Reason::FragmentOverlap);
    }
    // Only the last may end anywhere (RFC 8200, 4.5).
    both_refused(Reason::FragmentOverlap, |g| fragment(g, 0, true, 1441));
    both_refused(Reason::Ipv6Hidden, |g| {
        g.frame(mac(PEER), |b| {
            b.ipv6(&g.ip6())
                .extension(FRAGMENT, &[0, 0, 1, 0, 0, 0, 7])
                .protocol(6)
                .payload(&[0; 16])
        })
    });
    both_refused(Reason::Ipv6Chain, |g| {
        g.frame(mac(PEER), |b| {
            b.ipv6(&g.ip6())
                .extension(FRAGMENT, &[0, 0, 0, 0, 0, 0, 7])
                .extension(FRAGMENT, &[0, 0, 0, 0, 0, 0, 7])
                .udp(1, 2)
        })
    });
    both_refused(Reason::FragmentGuarded, |g| {
        g.frame(mac(PEER), |b| {
            b.ipv6(&g.ip6()).extension(FRAGMENT, &[0, 0, 1, 0, 0, 0, 7]).udp(547, 546)
        })
    });
    for word in [0, 1] {
        both_refused(Reason::NdFragment, |g| {
            let header = Ipv6 { hop_limit: 255, ..g.ip6() };
            g.frame(mac(PEER), |b| {
                b.ipv6(&header).extension(FRAGMENT, &[0, 0, word, 0, 0, 0, 7]).neighbour(
                    136,
                    0,
                    g.v6(),
                    g.mac(),
                )
            })
        });
    }
}

#[test]
fn icmpv6_kinds() {
    let icmp = |g: &Guest, kind| {
        g.frame(mac(PEER), |b| b.ipv6(&g.ip6()).icmpv6(kind, 0).payload(&[0; 48]))
    };
    for kind in [137, 138, 139, 140] {
        both_refused(Reason::Icmpv6Kind, |g| icmp(g, kind));
    }
    for kind in [141, 144, 151, 155, 200, 255] {
        both_refused(Reason::Icmpv6Unknown, |g| icmp(g, kind));
    }
    for kind in [1, 2, 3, 4, 128, 129] {
        both_passed(|g| icmp(g, kind));
    }
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.rates.errors = Rate::new(1, 1);
    net.change("a", spec);
    passed(&mut net, "a", &icmp(&a(), 1));
    refused(&mut net, "a", &icmp(&a(), 1), Reason::ErrorRate);
    assert!(matches!(net.send("a", &icmp(&a(), 128)), Verdict::Forward(_)));
}
