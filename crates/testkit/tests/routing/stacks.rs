//! Whole stacks on different networks.

use std::time::Duration;

use smoltcp::socket::tcp;
use testkit::Ip;
use testkit::routed::Routed;

use crate::*;

fn stacks(mtus: [u16; 3]) -> Routed {
    let mut routed = Routed::default();
    for (net, mtu) in (0..).zip(mtus) {
        let place = routed.network(interface(net, mtu));
        for number in [2, 3] {
            let addresses = Ip::BOTH.map(|version| addr(version, net, number));
            let mac = mac(u32::from(net) * 16 + u32::from(number));
            routed.attach(place, &format!("{net}.{number}"), mac, &addresses);
        }
    }
    routed
}

#[track_caller]
fn pings(routed: &mut Routed, from: &str, to: IpAddr) {
    for sequence in 0..3 {
        routed.guest(from).ping(to, sequence, b"through the router");
        let answered = routed.run_until(Duration::from_secs(20), |routed| {
            routed.guest(from).pong() == Some((to, sequence))
        });
        assert!(answered, "{from} pings {to}");
    }
}

#[test]
fn every_stack_reaches_every_other() {
    for version in Ip::BOTH {
        let mut routed = stacks([1500, 1500, 1500]);
        for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 2)] {
            for (a, b) in [(2, 2), (2, 3), (3, 2)] {
                pings(&mut routed, &format!("{from}.{a}"), addr(version, to, b));
            }
        }
        // Within a network they need no router, and its own addresses answer too.
        pings(&mut routed, "0.2", addr(version, 0, 3));
        pings(&mut routed, "0.2", addr(version, 0, 1));
        pings(&mut routed, "0.2", addr(version, 2, 1));
    }
}

#[test]
fn tcp_carries_data_from_network_to_network() {
    for version in Ip::BOTH {
        for mtus in [[1500, 1500, 1500], [9000, 1500, 1500], [1500, 9000, 1500]] {
            // smoltcp does no path MTU discovery: it is told by the segment size of its peer.
            let mut routed = stacks(mtus);
            let listener = routed.guest("1.3").listen(80);
            let sender = routed.guest("0.2").connect(addr(version, 1, 3), 80, 50_000);
            let data: Vec<u8> = (0..200_000).map(|i: u32| (i * 31 % 251) as u8).collect();
            let (mut sent, mut got) = (0, Vec::new());
            let done = routed.run_until(Duration::from_secs(60), |routed| {
                let socket: &mut tcp::Socket<'_> = routed.guest("0.2").tcp(sender);
                if sent < data.len() && socket.can_send() {
                    sent += socket.send_slice(&data[sent..]).expect("an open socket");
                }
                let socket = routed.guest("1.3").tcp(listener);
                while socket.can_recv() {
                    let more = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("open");
                    got.extend(more);
                }
                got.len() == data.len()
            });
            assert!(done && got == data, "MTUs {mtus:?}, {version:?}");
            let iface = routed.net(0).iface;
            let counters = routed.router.counters(iface).expect("counters");
            assert!(counters.forwarded > 100 && counters.drops.iter().sum::<u64>() <= 2);
        }
    }
}
