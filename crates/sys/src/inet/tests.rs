use std::os::fd::AsFd;

use super::errqueue::Origin;
use super::ring::Ring;
use super::*;

fn wait(fd: BorrowedFd<'_>) {
    let poller = crate::poll::Poller::new().unwrap();
    poller.add(fd, 1, crate::poll::Interest::READABLE).unwrap();
    let mut events = crate::poll::Events::with_capacity(1);
    poller.wait(&mut events, Some(std::time::Duration::from_secs(5))).unwrap();
    assert_eq!(events.len(), 1, "nothing arrived");
}

fn loopback(v6: bool) -> SocketAddr {
    let ip: IpAddr = if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
    SocketAddr::new(ip, 0)
}

fn bound(v6: bool) -> (OwnedFd, SocketAddr) {
    let fd = datagram(Carries::Udp, v6).unwrap();
    bind(fd.as_fd(), loopback(v6)).unwrap();
    let address = local_address(fd.as_fd()).unwrap();
    (fd, address)
}

#[test]
fn a_batch_arrives_with_sender_and_room() {
    for v6 in [false, true] {
        let (a, from) = bound(v6);
        let (b, to) = bound(v6);
        set_receive_traffic_class(b.as_fd(), v6).unwrap();
        set_traffic_class(a.as_fd(), v6, 0x28).unwrap();
        let texts: [&[u8]; 3] = [b"one", b"second", b""];
        let sent = send::datagrams(
            a.as_fd(),
            None,
            to,
            texts.iter().map(|text| text.split_at(text.len() / 2).into()),
        );
        assert_eq!(sent.unwrap(), 3);
        wait(b.as_fd());
        let mut ring = Ring::new(48);
        assert_eq!(ring.receive(b.as_fd(), 16).unwrap(), 3);
        for (i, text) in texts.iter().enumerate() {
            let got = ring.get(i).unwrap();
            assert_eq!(&got.bytes[48..], *text);
            assert_eq!((got.from, got.segment, got.truncated), (from, None, false));
            assert_eq!(got.traffic_class, 0x28);
        }
        assert!(ring.get(3).is_none());
        assert_eq!(ring.receive(b.as_fd(), 16).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}

/// Gives the loopback device of this thread's namespace an address, and tells the device's number. The
/// kernel makes the route to an IPv6 address later, so that is waited for.
fn give_loopback(address: Ipv6Addr, prefix_len: u8) -> u32 {
    let mut netlink = crate::netlink::Netlink::open().unwrap();
    let index = netlink.link("lo").unwrap().index;
    let up = crate::netlink::LinkChange { up: Some(true), ..Default::default() };
    netlink.change_link(index, &up).unwrap();
    netlink.add_address(index, address.into(), prefix_len).unwrap();
    let mut lookup = crate::route::Lookup::new().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while lookup.kind(address.into()).unwrap() != crate::route::RouteKind::Local {
        assert!(std::time::Instant::now() < end, "the address does not become the host's");
        std::thread::yield_now();
    }
    index
}

/// Two addresses of this host: for IPv6 in a network namespace of this thread's own, where one can
/// be made.
fn two_addresses(v6: bool) -> Option<[IpAddr; 2]> {
    if !v6 {
        return Some([Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 2).into()]);
    }
    if let Err(e) = crate::ns::unshare(crate::ns::Namespaces::NETWORK) {
        testkit::skipped(&format!(
            "two IPv6 addresses need a network namespace ({e}); run as root"
        ));
        return None;
    }
    let other = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    give_loopback(other, 128);
    Some([Ipv6Addr::LOCALHOST.into(), other.into()])
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    for v6 in [false, true] {
        let Some(addresses) = two_addresses(v6) else { continue };
        let any: IpAddr =
            if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let server = datagram(Carries::Udp, v6).unwrap();
        bind(server.as_fd(), SocketAddr::new(any, 0)).unwrap();
        local::set_receive_local(server.as_fd(), v6).unwrap();
        // Everything else that a socket may tell has to fit as well.
        set_receive_traffic_class(server.as_fd(), v6).unwrap();
        set_gro(server.as_fd()).unwrap();
        set_error_queue(server.as_fd(), v6, true).unwrap();
        let port = local_address(server.as_fd()).unwrap().port();
        let (mut asks, mut answers) = (Ring::new(0), Ring::new(0));
        for asked in addresses {
            let (client, client_address) = bound(v6);
            let to = SocketAddr::new(asked, port);
            let question = [7; 2500];
            send::train(client.as_fd(), to, std::iter::once(&question[..]), 1000).unwrap();
            wait(server.as_fd());
            assert_eq!(asks.receive(server.as_fd(), 1).unwrap(), 1);
            let got = asks.get(0).unwrap();
            assert_eq!(
                (got.from, got.segment, got.bytes.len()),
                (client_address, Some(1000), 2500)
            );
            assert_eq!(got.local, Some(local::Local { ip: asked, interface: 0 }));
            let local = got.local;
            // One, one in two pieces, and many at once take three different calls.
            let single: [send::Pieces<'_>; 1] = [[b"one", b""]];
            let cut: [send::Pieces<'_>; 1] = [[b"o", b"ne"]];
            let many: [send::Pieces<'_>; 3] = [[b"one", b""]; 3];
            for datagrams in [&single[..], &cut[..], &many[..]] {
                let datagrams = datagrams.iter().copied();
                let count = datagrams.len();
                let sent = send::datagrams(server.as_fd(), local, client_address, datagrams);
                assert_eq!(sent.unwrap(), count);
                wait(client.as_fd());
                assert_eq!(answers.receive(client.as_fd(), 16).unwrap(), count);
                for i in 0..count {
                    let got = answers.get(i).unwrap();
                    assert_eq!((got.from, &*got.bytes), (to, &b"one"[..]), "{asked}");
                    // A socket that was not asked to tell does not.
                    assert_eq!(got.local, None);
                }
            }
            // What nobody hears any more is told with the address that it left from.
            drop(client);
            send::datagrams(server.as_fd(), local, client_address, single.into_iter()).unwrap();
            let error = errqueue::receive(server.as_fd(), &mut []).unwrap();
            assert_eq!((error.destination, error.local), (Some(client_address), local));
        }
        // An address that is not the host's is refused.
        let (_client, client_address) = bound(v6);
        let foreign = if v6 { "2001:db8::77" } else { "192.0.2.77" }.parse().unwrap();
        let foreign = Some(local::Local { ip: foreign, interface: 0 });
        let one = std::iter::once([&b"one"[..], b""]);
        // EINVAL or ENETUNREACH, by the kernel's version.
        send::datagrams(server.as_fd(), foreign, client_address, one).unwrap_err();
    }
}

/// Link-local addresses are nothing without their interface, so an answer needs both.
#[test]
fn a_link_local_address_is_told_with_its_interface() {
    if let Err(e) = crate::ns::unshare(crate::ns::Namespaces::NETWORK) {
        testkit::skip!("a link-local address needs a network namespace ({e}); run as root");
    }
    let near = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
    let index = give_loopback(near, 64);
    let server = datagram(Carries::Udp, true).unwrap();
    bind(server.as_fd(), SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)).unwrap();
    local::set_receive_local(server.as_fd(), true).unwrap();
    let port = local_address(server.as_fd()).unwrap().port();
    // The client is a global address of the host: nothing in it says which link is meant.
    let (client, client_address) = bound(true);
    let asked = SocketAddrV6::new(near, port, 0, index).into();
    let one = || std::iter::once([&b"one"[..], b""]);
    send::datagrams(client.as_fd(), None, asked, one()).unwrap();
    wait(server.as_fd());
    let mut ring = Ring::new(0);
    ring.receive(server.as_fd(), 1).unwrap();
    let local = ring.get(0).unwrap().local;
    assert_eq!(local, Some(local::Local { ip: near.into(), interface: index }));
    send::datagrams(server.as_fd(), local, client_address, one()).unwrap();
    wait(client.as_fd());
    ring.receive(client.as_fd(), 1).unwrap();
    assert_eq!(ring.get(0).unwrap().from, asked);
}

#[test]
fn a_train_stays_whole_over_loopback() {
    for v6 in [false, true] {
        let (a, _) = bound(v6);
        let (b, to) = bound(v6);
        set_gro(b.as_fd()).unwrap();
        let bytes: Vec<u8> = (0..5000_u32).map(|i| i.to_le_bytes()[0]).collect();
        send::train(a.as_fd(), to, bytes.chunks(700), 1000).unwrap();
        wait(b.as_fd());
        let mut ring = Ring::new(0);
        assert_eq!(ring.receive(b.as_fd(), 16).unwrap(), 1);
        let got = ring.get(0).unwrap();
        assert_eq!((&*got.bytes, got.segment), (&bytes[..], Some(1000)));
    }
}

#[test]
fn a_closed_port_is_an_error_with_an_offender() {
    for v6 in [false, true] {
        let (a, _) = bound(v6);
        set_error_queue(a.as_fd(), v6, true).unwrap();
        let (b, to) = bound(v6);
        drop(b);
        send::datagrams(a.as_fd(), None, to, std::iter::once([&b"lost"[..], b" letter"])).unwrap();
        let mut payload = [0; 64];
        let error = errqueue::receive(a.as_fd(), &mut payload).unwrap();
        let origin = if v6 {
            Origin::Icmpv6 { kind: 1, code: 4 }
        } else {
            Origin::Icmp { kind: 3, code: 3 }
        };
        assert_eq!((error.origin, error.errno), (origin, libc::ECONNREFUSED));
        assert_eq!((error.offender, error.destination), (Some(to.ip()), Some(to)));
        assert_eq!(&payload[..error.len], b"lost letter");
        let none = errqueue::receive(a.as_fd(), &mut payload).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}

#[test]
fn what_must_not_be_cut_is_refused_with_the_mtu() {
    // 65507 bytes fit loopback's MTU of 65536 only in pieces or not at all, by the headers.
    let (a, _) = bound(false);
    set_error_queue(a.as_fd(), false, true).unwrap();
    let (_b, to) = bound(false);
    set_fragmentation(a.as_fd(), false, Fragmentation::Refused).unwrap();
    set_ttl(a.as_fd(), false, 3).unwrap();
    let long = vec![0; 65_507];
    let sent = send::datagrams(a.as_fd(), None, to, std::iter::once([&long[..], b""]));
    assert!(sent.is_ok() || crate::errno::is_too_long(&sent.unwrap_err()));
    set_fragmentation(a.as_fd(), false, Fragmentation::Allowed).unwrap();
    let sent = send::datagrams(a.as_fd(), None, to, std::iter::once([&long[..], b""]));
    assert_eq!(sent.unwrap(), 1);
}
