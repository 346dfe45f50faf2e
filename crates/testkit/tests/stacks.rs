//! Row 1 of the mission: stack A sends to the address of stack B, and B gets it, whatever stacks
//! they are.
#![forbid(unsafe_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use engine::{Mode, NetworkSpec, PortSpec, SourceMode, VlanMode};
use testkit::simulator::{GuestId, Simulator};
use testkit::{Ip, mac};

fn address(ip: Ip, number: u16) -> IpAddr {
    match ip {
        Ip::V4 => Ipv4Addr::new(10, 1, (number >> 8) as u8, number as u8).into(),
        Ip::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number).into(),
    }
}

/// `count` guests with static addresses, numbered from one.
fn network(spec: NetworkSpec, seed: u64, count: u16) -> (Simulator, Vec<GuestId>) {
    let mut simulator = Simulator::new(spec, seed);
    let guests = (1..=count)
        .map(|number| {
            let own = mac(u32::from(number));
            let spec =
                PortSpec { macs: vec![own], source: SourceMode::Static, ..PortSpec::default() };
            simulator.add(own, &Ip::BOTH.map(|ip| address(ip, number)), spec)
        })
        .collect();
    (simulator, guests)
}

fn pings(simulator: &mut Simulator, from: GuestId, to: IpAddr) {
    for sequence in 1..=3 {
        simulator.guest(from).ping(to, sequence, b"are you there");
        let mut reply = None;
        let answered = simulator.run_until(Duration::from_secs(5), |simulator| {
            reply = simulator.guest(from).pong();
            reply.is_some()
        });
        assert!(answered, "{to} does not answer {from:?}");
        assert_eq!(reply, Some((to, sequence)));
    }
}

#[test]
fn every_stack_reaches_every_other() {
    for ip in Ip::BOTH {
        let (mut simulator, guests) = network(NetworkSpec::default(), 7, 8);
        for &from in &guests {
            for number in 1..=8 {
                if guests[usize::from(number) - 1] != from {
                    pings(&mut simulator, from, address(ip, number));
                }
            }
        }
    }
}

#[test]
fn every_stack_reaches_every_other_through_a_hub() {
    for ip in Ip::BOTH {
        let spec = NetworkSpec { mode: Mode::Hub, ..NetworkSpec::default() };
        let (mut simulator, guests) = network(spec, 8, 4);
        pings(&mut simulator, guests[0], address(ip, 4));
        pings(&mut simulator, guests[3], address(ip, 1));
    }
}

/// Moves `total` bytes from one guest to another over TCP; false if it takes longer than `limit`.
fn transfer(
    simulator: &mut Simulator,
    (from, to): (GuestId, GuestId),
    address: IpAddr,
    total: usize,
    limit: Duration,
) -> bool {
    let listener = simulator.guest(to).listen(80);
    let sender = simulator.guest(from).connect(address, 80, 50_000);
    let data: Vec<u8> = (0..total).map(|i| (i * 31 % 251) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    let done = simulator.run_until(limit, |simulator| {
        let socket = simulator.guest(from).tcp(sender);
        if sent < total && socket.can_send() {
            sent += socket.send_slice(&data[sent..]).expect("an open socket");
        }
        let socket = simulator.guest(to).tcp(listener);
        while socket.can_recv() {
            let more = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("open");
            got.extend(more);
        }
        got.len() == total
    });
    assert!(data.starts_with(&got), "TCP delivers the bytes in order");
    done
}

#[test]
fn tcp_carries_data_between_stacks() {
    for ip in Ip::BOTH {
        for mtu in [1500, 9000] {
            let (mut simulator, guests) =
                network(NetworkSpec { mtu, ..NetworkSpec::default() }, 9, 3);
            let pair = (guests[0], guests[2]);
            let limit = Duration::from_secs(30);
            assert!(transfer(&mut simulator, pair, address(ip, 3), 300_000, limit));
        }
    }
}

#[test]
fn tcp_survives_losses_and_a_stalled_guest() {
    for ip in Ip::BOTH {
        for seed in 0..4 {
            let (mut simulator, guests) = network(NetworkSpec::default(), seed, 3);
            simulator.lose(20);
            simulator.stall(guests[1], Duration::from_secs(3));
            let pair = (guests[0], guests[1]);
            let limit = Duration::from_secs(600);
            assert!(transfer(&mut simulator, pair, address(ip, 2), 50_000, limit));
        }
    }
}

#[test]
fn a_guest_that_never_reads_does_not_delay_the_others() {
    for ip in Ip::BOTH {
        let (mut simulator, guests) = network(NetworkSpec::default(), 5, 4);
        simulator.stall(guests[3], Duration::from_secs(1_000_000));
        let pair = (guests[0], guests[1]);
        assert!(transfer(&mut simulator, pair, address(ip, 2), 300_000, Duration::from_secs(30)));
        pings(&mut simulator, guests[2], address(ip, 1));
    }
}

#[test]
fn stacks_in_two_vlans_may_have_one_address_and_do_not_hear_each_other() {
    for ip in Ip::BOTH {
        let mut simulator = Simulator::new(NetworkSpec::default(), 11);
        let mut add = |vlan, own: u32, number| {
            let spec = PortSpec { vlan: VlanMode::Access(vlan), ..PortSpec::default() };
            simulator.add(mac(own), &[address(ip, number)], spec)
        };
        let (a, b) = (add(10, 1, 1), add(10, 2, 2));
        let (c, d) = (add(20, 3, 3), add(20, 4, 2));
        pings(&mut simulator, a, address(ip, 2));
        pings(&mut simulator, c, address(ip, 2));
        let answers = |simulator: &Simulator, guest| {
            simulator.engine.port_counters(simulator.port(guest)).expect("a live port").rx_unicast
        };
        assert!(answers(&simulator, b) >= 3 && answers(&simulator, d) >= 3);
        simulator.guest(c).ping(address(ip, 1), 1, b"over there");
        let limit = Duration::from_secs(20);
        assert!(!simulator.run_until(limit, |simulator| simulator.guest(c).pong().is_some()));
    }
}

#[test]
fn anonymous_stacks_learn_their_way() {
    for ip in Ip::BOTH {
        let mut simulator = Simulator::new(NetworkSpec::default(), 3);
        let guests: Vec<GuestId> = (1..=5)
            .map(|number| {
                let spec =
                    PortSpec { source: SourceMode::Learn { max_macs: 1 }, ..PortSpec::default() };
                simulator.add(mac(number.into()), &[address(ip, number)], spec)
            })
            .collect();
        pings(&mut simulator, guests[0], address(ip, 5));
        pings(&mut simulator, guests[3], address(ip, 2));
        // The impostor has the address of guest 5, and is not heard.
        let spec = PortSpec::default();
        let impostor = simulator.add(mac(5), &[address(ip, 9)], spec);
        simulator.guest(impostor).ping(address(ip, 1), 1, b"let me in");
        let answered = simulator.run_until(Duration::from_secs(20), |simulator| {
            simulator.guest(impostor).pong().is_some()
        });
        assert!(!answered);
        let port = simulator.port(impostor);
        let counters = simulator.engine.port_counters(port).expect("a live port");
        assert!(counters.dropped(engine::Reason::MacMoved) > 0);
        assert_eq!(counters.rx_frames, counters.dropped(engine::Reason::MacMoved));
        pings(&mut simulator, guests[0], address(ip, 5));
    }
}
