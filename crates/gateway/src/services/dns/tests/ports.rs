//! A host whose ports others have taken.

use super::*;
use crate::harness::few_ports;

#[test]
fn where_the_host_has_no_port_left_no_resolver_is_blamed() {
    if let Err(why) = few_ports(4) {
        testkit::skip!("{why}");
    }
    for v6 in [false, true] {
        let [first, second] = [Resolver::new(v6), Resolver::new(v6)];
        let mut world = World::new(&[&first, &second]);
        let any = first.address().ip();
        let taken = [0, 0].map(|port| UdpSocket::bind((any, port)).unwrap());
        world.send(&ask(1, "example.org", kind::A));
        assert_eq!(head(&world.answer().unwrap()), (1, 0x8182, [1, 0, 0, 0]));
        let expected = [(R::DnsForwarded, 1), (R::DnsFailed, 1), (R::OutOfDescriptors, 1)];
        assert_eq!(world.counted(), expected);
        drop(taken);
        world.send(&ask(2, "example.org", kind::A));
        first.hear();
        second.hears_nothing();
        assert_eq!(world.counted(), [(R::DnsForwarded, 1)]);
    }
}

#[test]
fn where_the_host_has_no_port_left_for_tcp_no_resolver_is_blamed() {
    if let Err(why) = few_ports(4) {
        testkit::skip!("{why}");
    }
    for v6 in [false, true] {
        let [first, second] = [Resolver::new(v6), Resolver::new(v6)];
        let mut world = World::with(|plan| {
            plan.resolvers = vec![first.address(), second.address()];
            plan.mtu = 9000;
        });
        let mut taken = Vec::new();
        while let Ok(stream) = TcpStream::connect(first.address()) {
            taken.push(stream);
        }
        world.send(&ask_edns(1, "example.org", kind::A, 4096));
        let (question, from) = first.hear();
        first.udp.send_to(&respond(&question, 0x0200, [0; 4]), from).unwrap();
        world.turn();
        // The guest has the hint as it came, and can try itself.
        assert_eq!(head(&world.answer().unwrap()).1, 0x8380);
        let expected = [
            (R::DnsForwarded, 1),
            (R::DnsAnswered, 1),
            (R::DnsOverTcp, 1),
            (R::OutOfDescriptors, 1),
        ];
        assert_eq!(world.counted(), expected);
        world.send(&ask(2, "example.org", kind::A));
        first.hear();
        second.hears_nothing();
        assert_eq!(world.counted(), [(R::DnsForwarded, 1)]);
    }
}
