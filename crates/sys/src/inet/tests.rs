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
        set_error_queue(a.as_fd(), v6).unwrap();
        let (b, to) = bound(v6);
        drop(b);
        send::datagrams(a.as_fd(), to, std::iter::once([&b"lost"[..], b" letter"])).unwrap();
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
    set_error_queue(a.as_fd(), false).unwrap();
    let (_b, to) = bound(false);
    set_fragmentation(a.as_fd(), false, Fragmentation::Refused).unwrap();
    set_ttl(a.as_fd(), false, 3).unwrap();
    let long = vec![0; 65_507];
    let sent = send::datagrams(a.as_fd(), to, std::iter::once([&long[..], b""]));
    assert!(sent.is_ok() || crate::errno::is_too_long(&sent.unwrap_err()));
    set_fragmentation(a.as_fd(), false, Fragmentation::Allowed).unwrap();
    let sent = send::datagrams(a.as_fd(), to, std::iter::once([&long[..], b""]));
    assert_eq!(sent.unwrap(), 1);
}
