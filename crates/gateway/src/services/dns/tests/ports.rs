//! A host whose ports others have taken.

use sys::netlink::{LinkChange, Netlink};

use super::*;

#[test]
fn where_the_host_has_no_port_left_no_resolver_is_blamed() {
    if let Err(e) = sys::ns::unshare(sys::ns::Namespaces::NETWORK) {
        testkit::skip!("few ports need a network namespace ({e}); run as root");
    }
    let mut netlink = Netlink::open().unwrap();
    let index = netlink.link("lo").unwrap().index;
    netlink.change_link(index, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
    for v6 in [false, true] {
        let [first, second] = [Resolver::new(v6), Resolver::new(v6)];
        let mut world = World::new(&[&first, &second]);
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        let former = std::fs::read_to_string(range).unwrap();
        std::fs::write(range, "20000 20001").unwrap();
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
        std::fs::write(range, former).unwrap();
    }
}
