//! Checks 20 to 28.

use std::net::Ipv4Addr;

use engine::{Check, PortSpec, Reason, VlanMode};
use testkit::mac;
use wire::MacAddr;
use wire::build::Ipv4;
use wire::tcp::flag::{ACK, FIN, PSH, RST, SYN, URG};

use crate::world::{
    Guest, PEER, a, both_passed, both_refused, drain, learning, passed, refused, strict, t, taken,
    v4, world,
};

/// Makes the header checksum right again.
fn mend(frame: &mut [u8], at: usize) {
    let len = usize::from(frame[at] & 0xf) * 4;
    frame[at + 10..at + 12].fill(0);
    let sum = !wire::checksum::sum(&frame[at..at + len]);
    frame[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
}

fn changed(guest: &Guest, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut frame = guest.udp4(&guest.ip4(), 1000, 2000);
    change(&mut frame[guest.l3()..]);
    mend(&mut frame, guest.l3());
    frame
}

#[test]
fn headers() {
    both_refused(Reason::Ipv4Header, |g| changed(g, |ip| ip[0] = 0x65));
    both_refused(Reason::Ipv4Header, |g| changed(g, |ip| ip[0] = 0x44));
    both_refused(Reason::Ipv4Header, |g| changed(g, |ip| ip[3] = 19));
    both_refused(Reason::Ipv4Header, |g| changed(g, |ip| ip[3] = 49));
    both_refused(Reason::Ipv4Header, |g| changed(g, |ip| ip[6] |= 0x80));
    both_refused(Reason::Ipv4Header, |g| {
        let frame = changed(g, |_| {});
        frame[..g.l3() + 19].to_vec()
    });
    both_refused(Reason::Ipv4Checksum, |g| {
        let mut frame = changed(g, |_| {});
        frame[g.l3() + 10] ^= 1;
        frame
    });
    both_refused(Reason::TtlZero, |g| g.udp4(&Ipv4 { ttl: 0, ..g.ip4() }, 1000, 2000));
    both_passed(|g| g.udp4(&Ipv4 { ttl: 1, ..g.ip4() }, 1000, 2000));
    // What is behind the packet is padding.
    both_passed(|g| [changed(g, |_| {}), vec![0; 8]].concat());
}

#[test]
fn the_source_is_the_ports() {
    for number in [PEER, 1, 77] {
        both_refused(Reason::Ipv4Source, |g| {
            g.udp4(&Ipv4 { source: v4(number), ..g.ip4() }, 1000, 2000)
        });
    }
    for source in
        ["127.0.0.1", "0.0.0.1", "224.0.0.5", "240.0.0.1", "255.255.255.255", "10.0.0.255"]
    {
        let source: Ipv4Addr = source.parse().expect("an address");
        both_refused(Reason::Ipv4SourceKind, |g| g.udp4(&Ipv4 { source, ..g.ip4() }, 1000, 2000));
    }
    both_refused(Reason::Ipv4Unspecified, |g| {
        g.udp4(&Ipv4 { source: Ipv4Addr::UNSPECIFIED, ..g.ip4() }, 1000, 2000)
    });
    // Also when the last frame was good, and when the next one comes in a fragment.
    for guest in [a(), t()] {
        let mut net = world();
        passed(&mut net, guest.port, &guest.udp4(&guest.ip4(), 1000, 2000));
        let forged = Ipv4 { source: v4(PEER), ..guest.ip4() };
        refused(&mut net, guest.port, &guest.udp4(&forged, 1000, 2000), Reason::Ipv4Source);
        let forged = Ipv4 { fragment: 0x2000, ..forged };
        let frame = guest.frame(mac(PEER), |b| b.ipv4(&forged).udp(1000, 2000).payload(&[0; 72]));
        refused(&mut net, guest.port, &frame, Reason::Ipv4Source);
    }
}

#[test]
fn destinations_that_no_wire_leads_to() {
    for (destination, reason) in [
        ("127.0.0.1", Reason::Destination),
        ("0.1.2.3", Reason::Destination),
        ("245.0.0.1", Reason::Destination),
        ("169.254.169.254", Reason::Metadata),
        ("100.100.100.200", Reason::Metadata),
        ("168.63.129.16", Reason::Metadata),
        ("192.0.0.192", Reason::Metadata),
        ("169.254.1.1", Reason::Ipv4LinkLocal),
    ] {
        let destination: Ipv4Addr = destination.parse().expect("an address");
        both_refused(reason, |g| g.udp4(&Ipv4 { destination, ..g.ip4() }, 1000, 2000));
    }
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.link_local_v4 = true;
    net.change("a", spec);
    let to = |destination| a().udp4(&Ipv4 { destination, ..a().ip4() }, 1000, 2000);
    let frame = to(Ipv4Addr::new(169, 254, 1, 1));
    assert!(matches!(net.send("a", &frame), engine::Verdict::Forward(_)));
    for metadata in
        [[169, 254, 169, 254], [169, 254, 170, 2], [169, 254, 170, 23], [169, 254, 42, 42]]
    {
        refused(&mut net, "a", &to(metadata.into()), Reason::Metadata);
    }
    // Who needs one is allowed the check.
    let mut spec = strict(2);
    spec.guard.actions.set(Check::Destination, engine::Action::Allow).expect("settable");
    net.change("a", spec);
    let frame = to(Ipv4Addr::new(168, 63, 129, 16));
    assert!(matches!(net.send("a", &frame), engine::Verdict::Forward(_)));
}

/// Guests in `learn` may have a subnet of their own beside the network's.
#[test]
fn a_subnet_of_a_guests_own_has_a_broadcast_address() {
    let mut net = world();
    net.plug("client", learning());
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    let (source, last) = (Ipv4Addr::new(192, 168, 7, 5), Ipv4Addr::new(192, 168, 7, 255));
    let send = |g: &Guest, source: Ipv4Addr, destination: Ipv4Addr| {
        let header = Ipv4 { source, destination, ..g.ip4() };
        g.frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(138, 138).payload(&[7; 20]))
    };
    taken(&mut net, "client", &client.udp4(&Ipv4 { source, ..client.ip4() }, 1, 2));
    passed(&mut net, "client", &send(&client, source, last));
    // Of an address of the network's subnet, to one there, or where one station may be.
    let others = [(v4(20), last), (source, v4(63)), (source, Ipv4Addr::new(192, 168, 7, 254))];
    for (source, destination) in others {
        let frame = send(&client, source, destination);
        refused(&mut net, "client", &frame, Reason::CastMismatch);
    }
    net.engine.set_other_networks(&["192.168.6.0/23".parse().expect("a prefix")]);
    drain(&mut net);
    refused(&mut net, "client", &send(&client, source, last), Reason::CastMismatch);
}

/// Nobody takes it to shut out the others, here or from another VLAN.
#[test]
fn the_broadcast_address_of_a_guests_own_subnet_is_nobodys() {
    let mut net = world();
    let vlan = VlanMode::Access(2);
    net.plug("client", learning());
    net.plug("other", PortSpec { vlan, ..learning() });
    let client = Guest { port: "client", number: 20, tags: Vec::new() };
    let other = Guest { port: "other", number: 21, tags: Vec::new() };
    let ip = |last| Ipv4Addr::new(192, 168, 7, last);
    let from = |g: &Guest, source| g.udp4(&Ipv4 { source, ..g.ip4() }, 1, 2);
    let shout = |g: &Guest, source, destination| {
        let header = Ipv4 { source, destination, ..g.ip4() };
        g.frame(MacAddr::BROADCAST, |b| b.ipv4(&header).udp(138, 138).payload(&[7; 20]))
    };
    refused(&mut net, "client", &from(&client, ip(255)), Reason::Ipv4Source);
    taken(&mut net, "client", &from(&client, ip(127)));
    passed(&mut net, "other", &from(&other, ip(5)));
    passed(&mut net, "other", &shout(&other, ip(5), ip(127)));
    passed(&mut net, "other", &shout(&other, ip(5), ip(255)));
}

#[test]
fn frames_and_packets_are_for_the_same() {
    let group = Ipv4Addr::new(224, 0, 0, 9);
    let group_mac = MacAddr([1, 0, 0x5e, 0, 0, 9]);
    let send = |g: &Guest, to: MacAddr, destination: Ipv4Addr| {
        let header = Ipv4 { destination, ..g.ip4() };
        g.frame(to, |b| b.ipv4(&header).udp(1000, 2000).payload(&[7; 20]))
    };
    both_refused(Reason::CastMismatch, |g| send(g, MacAddr::BROADCAST, v4(PEER)));
    both_refused(Reason::CastMismatch, |g| send(g, MacAddr::BROADCAST, group));
    both_refused(Reason::CastMismatch, |g| send(g, group_mac, v4(PEER)));
    both_refused(Reason::CastMismatch, |g| send(g, MacAddr([1, 0, 0x5e, 0, 0, 8]), group));
    both_refused(Reason::CastMismatch, |g| send(g, mac(PEER), group));
    both_refused(Reason::CastMismatch, |g| send(g, mac(PEER), v4(255)));
    both_refused(Reason::CastMismatch, |g| send(g, mac(PEER), Ipv4Addr::BROADCAST));
    both_passed(|g| send(g, MacAddr::BROADCAST, v4(255)));
    both_passed(|g| send(g, MacAddr::BROADCAST, Ipv4Addr::BROADCAST));
    both_passed(|g| send(g, group_mac, group));
}

#[test]
fn options() {
    // Loose and strict source route, record route, timestamp, security; router alert on UDP.
    for options in [
        &[131, 3, 4, 0][..],
        &[137, 3, 4, 0],
        &[7, 3, 4, 0],
        &[68, 4, 5, 0],
        &[130, 4, 0, 0],
        &[148, 4, 0, 0],
    ] {
        both_refused(Reason::Ipv4Option, |g| g.udp4(&Ipv4 { options, ..g.ip4() }, 1000, 2000));
    }
    both_passed(|g| g.udp4(&Ipv4 { options: &[1, 1, 1, 0], ..g.ip4() }, 1000, 2000));
}

fn fragment(g: &Guest, offset: u16, more: bool, len: usize) -> Vec<u8> {
    let word = (offset / 8) | if more { 0x2000 } else { 0 };
    let header = Ipv4 { id: 7, fragment: word, ..g.ip4() };
    if offset == 0 {
        g.frame(mac(PEER), |b| b.ipv4(&header).udp(1000, 2000).payload(&vec![0; len - 8]))
    } else {
        g.frame(mac(PEER), |b| b.ipv4(&header).protocol(17).payload(&vec![0; len]))
    }
}

#[test]
fn fragments() {
    for guest in [a(), t()] {
        let mut net = world();
        let port = guest.port;
        refused(&mut net, port, &fragment(&guest, 1480, false, 80), Reason::FragmentOrphan);
        refused(&mut net, port, &fragment(&guest, 0, true, 40), Reason::FragmentTiny);
        passed(&mut net, port, &fragment(&guest, 0, true, 1480));
        refused(&mut net, port, &fragment(&guest, 8, true, 80), Reason::FragmentTiny);
        refused(&mut net, port, &fragment(&guest, 0, true, 1480), Reason::FragmentOverlap);
        refused(&mut net, port, &fragment(&guest, 800, true, 80), Reason::FragmentOverlap);
        refused(&mut net, port, &fragment(&guest, 65_528, false, 16), Reason::FragmentOverlap);
        passed(&mut net, port, &fragment(&guest, 1480, true, 1480));
        passed(&mut net, port, &fragment(&guest, 2960, false, 100));
        refused(&mut net, port, &fragment(&guest, 3064, false, 100), Reason::FragmentOrphan);
    }
    both_refused(Reason::FragmentGuarded, |g| {
        let header = Ipv4 { fragment: 0x2000, ..g.ip4() };
        g.frame(mac(PEER), |b| b.ipv4(&header).udp(67, 68).payload(&[0; 80]))
    });
    both_refused(Reason::L4Header, |g| {
        let header = Ipv4 { fragment: 0x2000, ..g.ip4() };
        // A TCP header that says it is longer than the fragment.
        let mut tcp = [0; 48];
        tcp[12] = 0xf0;
        g.frame(mac(PEER), |b| b.ipv4(&header).protocol(6).payload(&tcp))
    });
    let guest = a();
    let mut net = world();
    for id in 0..64 {
        let header = Ipv4 { id, fragment: 0x2000, ..guest.ip4() };
        let frame = guest.frame(mac(PEER), |b| b.ipv4(&header).udp(1, 2).payload(&[0; 72]));
        passed(&mut net, "a", &frame);
    }
    let header = Ipv4 { id: 64, fragment: 0x2000, ..guest.ip4() };
    let frame = guest.frame(mac(PEER), |b| b.ipv4(&header).udp(1, 2).payload(&[0; 72]));
    refused(&mut net, "a", &frame, Reason::FragmentLimit);
}

#[test]
fn transport_headers_are_all_there() {
    both_refused(Reason::L4Header, |g| {
        g.frame(mac(PEER), |b| b.ipv4(&g.ip4()).protocol(6).payload(&[0; 19]))
    });
    both_refused(Reason::L4Header, |g| {
        // There in the frame, but not in the packet.
        let mut frame = g.tcp4(ACK);
        frame[g.l3() + 3] = 39;
        mend(&mut frame, g.l3());
        frame
    });
    both_refused(Reason::L4Header, |g| {
        let mut frame = g.udp4(&g.ip4(), 1000, 2000);
        frame[g.l3() + 25] = 29;
        frame
    });
    for flags in [0, FIN, SYN | FIN, SYN | RST, FIN | PSH | URG, 0x3f] {
        both_refused(Reason::TcpFlags, |g| g.tcp4(flags));
        both_refused(Reason::TcpFlags, |g| g.tcp6(flags));
    }
    for flags in [SYN, SYN | ACK, ACK, FIN | ACK, RST, RST | ACK, PSH | ACK] {
        both_passed(|g| g.tcp4(flags));
        both_passed(|g| g.tcp6(flags));
    }
}

#[test]
fn icmp_kinds() {
    let icmp = |g: &Guest, kind| {
        g.frame(mac(PEER), |b| b.ipv4(&g.ip4()).icmpv4(kind, 0, [0; 4]).payload(&[0; 28]))
    };
    for kind in [4, 5, 9, 13, 15, 17] {
        both_refused(Reason::IcmpKind, |g| icmp(g, kind));
    }
    for kind in [0, 3, 8, 11, 12] {
        both_passed(|g| icmp(g, kind));
    }
    let mut net = world();
    let mut spec = strict(2);
    spec.guard.rates.errors = engine::Rate::new(1, 2);
    net.change("a", spec);
    passed(&mut net, "a", &icmp(&a(), 3));
    passed(&mut net, "a", &icmp(&a(), 3));
    refused(&mut net, "a", &icmp(&a(), 3), Reason::ErrorRate);
    passed(&mut net, "a", &icmp(&a(), 8));
}
