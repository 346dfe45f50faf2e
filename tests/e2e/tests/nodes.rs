//! The published nodes, each by a client written to the letter of its protocol: frames arrive whole and once,
//! every counter that moved is named, and no client is another's business.
#![forbid(unsafe_code)]

use std::io::Write;
use std::os::unix::net::UnixStream;

use e2e::client::dgram::{Dgram, VFKIT_GREETING};
use e2e::client::frame::{BROADCAST, frame, mac, payload};
use e2e::client::seqpacket::Seqpacket;
use e2e::client::stream::Stream;
use e2e::client::vde::{Vde, request};
use e2e::{Lab, User, need};

const NET: &str = "n";

/// One client of each kind on one network: a broadcast by one reaches the other three, an answer reaches only
/// the one asked.
#[test]
fn the_four_kinds_of_node_make_one_segment() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let directory = person.network(NET);

    let mut stream = Stream::connect(&person.node(NET, "stream"));
    let vde = Vde::attach(&directory, &person.runtime().join("v")).expect("the switch takes us");
    let dgram = Dgram::connect(&person.node(NET, "dgram"), &person.runtime().join("d"));
    let seqpacket = Seqpacket::connect(&person.node(NET, "seqpacket"));
    let [of_stream, of_vde, of_dgram, of_seqpacket] = [1, 2, 3, 4].map(mac);

    // Each says hello to all; who was there before hears it. A datagram client is a port from its first frame on.
    dgram.send(VFKIT_GREETING);
    dgram.send(&frame(BROADCAST, of_dgram, b"hello from dgram"));
    assert_eq!(
        payload(&stream.receive().expect("a frame")).map(|p| &p[..16]),
        Some(&b"hello from dgram"[..])
    );
    vde.send(&frame(BROADCAST, of_vde, b"hello from vde"));
    seqpacket.send(&frame(BROADCAST, of_seqpacket, b"hello from seqpacket"));
    stream.send(&frame(BROADCAST, of_stream, b"hello from stream"));
    for (name, heard) in [("vde", vde.receive()), ("dgram", dgram.receive())] {
        assert!(payload(&heard).is_some_and(|p| p.starts_with(b"hello from")), "{name}");
    }
    let says = |frame: &[u8], text: &[u8]| payload(frame).is_some_and(|p| p.starts_with(text));
    while !says(&dgram.receive(), b"hello from stream") {}
    while !says(&vde.receive(), b"hello from stream") {}
    while !seqpacket.receive().is_some_and(|frame| says(&frame, b"hello from stream")) {}

    // All four are learned: a frame to one goes to that one alone.
    let before = person.show_until(NET, "four learned addresses", |report| {
        [of_stream, of_vde, of_dgram, of_seqpacket]
            .iter()
            .all(|mac| report.behind(*mac).is_some())
            .then(|| report.clone())
    });
    let long: Vec<u8> = (0..1500).map(|i: u32| i.to_le_bytes()[0]).collect();
    stream.send(&frame(of_seqpacket, of_stream, &long));
    assert_eq!(payload(&seqpacket.receive().expect("a frame")), Some(long.as_slice()));
    seqpacket.send(&frame(of_vde, of_seqpacket, &long));
    assert_eq!(payload(&vde.receive()), Some(long.as_slice()));
    vde.send(&frame(of_dgram, of_vde, &long));
    assert_eq!(payload(&dgram.receive()), Some(long.as_slice()));
    dgram.send(&frame(of_stream, of_dgram, &long));
    let heard = stream.receive_until(|frame| payload(frame) == Some(long.as_slice()));
    assert_eq!(heard[..6], of_stream);

    let after = person.show(NET);
    for mac in [of_stream, of_vde, of_dgram, of_seqpacket] {
        let old = before.behind(mac).expect("learned");
        let new = after.behind(mac).expect("still learned");
        let moved = |name: &str| new.counter(name) - old.counter(name);
        for (counter, by) in [
            ("rx_frames", 1),
            ("rx_bytes", 1514),
            ("rx_unicast", 1),
            ("rx_forwarded", 1),
            ("rx_flooded", 0),
            ("tx_frames", 1),
            ("tx_bytes", 1514),
            ("tx_unicast", 1),
            ("tx_broadcast", 0),
        ] {
            assert_eq!(moved(counter), by, "{counter} of {}", new.name());
        }
        assert_eq!(new.drops(), 0, "{:#}", new.0);
    }
}

/// Who connected is on record, by the kernel's word.
#[test]
fn the_peer_of_a_port_is_shown() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let node = person.node(NET, "stream");
    let client = person
        .job("socat")
        .args(["-u", "FILE:/dev/null,ignoreeof", &format!("UNIX-CONNECT:{}", node.display())])
        .spawn();
    let port = person.show_until(NET, "the client's port", |report| report.ports().next());
    assert_eq!(port.0["uid"], person.user().uid);
    assert_eq!(port.0["user"], person.user().name.as_str());
    assert_eq!(port.0["pid"], client.pid());
    assert_eq!(port.0["node"], "stream");
    drop(client);
    person.show_until(NET, "the end of the port", |report| {
        report.ports().next().is_none().then_some(())
    });
}

/// Several clients on one datagram socket are several ports, told apart by their addresses.
#[test]
fn datagram_clients_are_told_apart() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let node = person.node(NET, "dgram");
    let clients: Vec<Dgram> =
        (0..3).map(|i| Dgram::connect(&node, &person.runtime().join(format!("d{i}")))).collect();
    for (number, client) in (10..).zip(&clients) {
        client.send(VFKIT_GREETING);
        client.send(&frame(BROADCAST, mac(number), b"here"));
    }
    let report = person.show_until(NET, "three ports", |report| {
        (0..3).all(|i| report.behind(mac(10 + i)).is_some()).then(|| report.clone())
    });
    let mut names: Vec<String> =
        (0..3).filter_map(|i| Some(report.behind(mac(10 + i))?.name().to_owned())).collect();
    names.dedup();
    assert_eq!(names.len(), 3, "each client has a port of its own");
    // The greeting is no frame: it is neither counted nor dropped.
    for i in 0..3 {
        let port = report.behind(mac(10 + i)).expect("learned");
        assert_eq!((port.counter("rx_frames"), port.drops()), (1, 0), "{:#}", port.0);
    }
    clients[0].send(&frame(mac(12), mac(10), b"to the third alone"));
    let heard = loop {
        let heard = clients[2].receive();
        if heard[..6] == mac(12) {
            break heard;
        }
    };
    assert!(payload(&heard).is_some_and(|p| p.starts_with(b"to the third alone")));
}

/// Rubbish, half messages and impossible lengths end the client's connection, and nothing else.
#[test]
fn a_client_that_talks_rubbish_is_alone_in_it() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let mut daemon = person.up_for_frames(NET, "");
    let node = person.node(NET, "stream");
    let mut good = Stream::connect(&node);
    good.send(&frame(BROADCAST, mac(1), b"good"));

    for rubbish in
        [&[0xff; 64][..], &[0, 0, 0, 0], &[0, 0, 0, 13], &[0, 1], &[0x7f, 0xff, 0xff, 0xff]]
    {
        let mut bad = UnixStream::connect(&node).expect("the node listens");
        // It may be closed while we still write: that is its end, as wanted.
        let _ = bad.write_all(rubbish);
    }
    for rubbish in
        [&b""[..], b"\xce", &[0; 256], &request(b"/etc/passwd", ""), &request(b"relative", "")]
    {
        let mut bad = UnixStream::connect(person.node(NET, "ctl")).expect("the node listens");
        let _ = bad.write_all(rubbish);
    }
    let dgram = Dgram::connect(&person.node(NET, "dgram"), &person.runtime().join("d"));
    dgram.send(b"x");
    dgram.send(&[0; 13]);

    // The good client never noticed.
    let mut other = Stream::connect(&node);
    other.send(&frame(mac(1), mac(2), b"still there?"));
    let heard = good.receive_until(|frame| frame[..6] == mac(1));
    assert!(payload(&heard).is_some_and(|p| p.starts_with(b"still there?")));
    assert!(daemon.alive());
    person.show_until(NET, "the end of the bad clients", |report| {
        report.ports().all(|port| port.link() != "vde").then_some(())
    });
}

/// A frame longer than the network's MTU is dropped for its sender, by name.
#[test]
fn a_frame_too_long_is_counted() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let mut client = Stream::connect(&person.node(NET, "stream"));
    client.send(&frame(BROADCAST, mac(1), &[0; 1500]));
    client.send(&frame(BROADCAST, mac(1), &[0; 1501]));
    let port = person.show_until(NET, "both frames", |report| {
        report.ports().find(|port| port.counter("rx_frames") == 2)
    });
    assert_eq!(port.dropped("oversize"), 1);
    assert_eq!(port.drops(), 1);
}
