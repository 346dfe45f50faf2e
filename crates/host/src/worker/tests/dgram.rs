//! The shared datagram socket: first contact, one full client among others, clients that go.

use std::ffi::OsStr;

use super::*;

fn client(s: &mut Stage, name: &str) -> OwnedFd {
    let fd = datagram_client(&s.path.join(name));
    unix::connect(fd.as_fd(), &Address::from_path(&s.path.join("dgram")).unwrap()).unwrap();
    fd
}

#[test]
fn many_clients_share_one_socket_and_are_told_apart() {
    let mut s = Stage::new("dgram");
    s.node(NodeKind::Dgram);
    let a = client(&mut s, "a");
    let b = client(&mut s, "b");
    send(&a, b"VFKT").unwrap();
    s.turns();
    assert_eq!(s.counter(s.port("dgram-1"), "rx_frames"), 0, "the greeting is no frame");
    send(&b, &frame(2, 0, 60, 1)).unwrap();
    s.turns();
    assert_eq!(read_packets(&a), [frame(2, 0, 60, 1)], "answered from the shared socket");
    let about = s.worker.port_about(s.net, s.port("dgram-2")).unwrap();
    assert_eq!(about.peer.unwrap().uid, unix::effective_uid());
    // A datagram socket that is not connected to its sender takes 11 at a time
    // (net.unix.max_dgram_qlen, 10 by default), all senders together.
    let (mut of_a, mut of_b) = (0, 0);
    for n in 0..100 {
        send(&a, &frame(1, 2, 60, n)).unwrap();
        send(&b, &frame(2, 1, 60, n)).unwrap();
        if n % 5 == 4 {
            s.turns();
            of_a += read_packets(&a).len();
            of_b += read_packets(&b).len();
        }
    }
    assert_eq!((of_a, of_b), (100, 100));
    assert_eq!(s.counter(s.port("dgram-1"), "rx_unicast"), 100);
    assert_eq!(s.counter(s.port("dgram-2"), "rx_unicast"), 100);
    assert_eq!(s.buffers_in_use(), 0);
}

#[test]
fn a_sender_that_cannot_be_answered_gets_no_port() {
    let mut s = Stage::new("dgram-refused");
    s.node(NodeKind::Dgram);
    let node = Address::from_path(&s.path.join("dgram")).unwrap();
    let unnamed = unix::socket(SocketKind::Datagram, true).unwrap();
    unix::connect(unnamed.as_fd(), &node).unwrap();
    send(&unnamed, &frame(1, 0, 60, 1)).unwrap();
    s.turns();
    assert!(s.refusals()[0].contains("without a name"), "{:?}", s.refusals());
    // A name that was moved away: what is there now is not the sender.
    let path = s.path.join("moved");
    let moved = datagram_client(&path);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"").unwrap();
    unix::connect(moved.as_fd(), &node).unwrap();
    send(&moved, &frame(1, 0, 60, 1)).unwrap();
    s.turns();
    assert!(s.refusals()[1].contains("not a socket"), "{:?}", s.refusals());
    assert_eq!(s.worker.ports(s.net).count(), 0);
}

#[test]
fn the_clients_socket_file_may_go_after_first_contact() {
    let mut s = Stage::new("dgram-unlinked");
    s.node(NodeKind::Dgram);
    let a = client(&mut s, "a");
    let b = client(&mut s, "b");
    send(&a, b"VFKT").unwrap();
    s.turns();
    std::fs::remove_file(s.path.join("a")).unwrap();
    send(&b, &frame(2, 0, 60, 1)).unwrap();
    s.turns();
    assert_eq!(read_packets(&a).len(), 1, "the socket was pinned, not its name");
}

#[test]
fn abstract_names_are_answered_too() {
    let mut s = Stage::new("dgram-abstract");
    s.node(NodeKind::Dgram);
    let a = unix::socket(SocketKind::Datagram, true).unwrap();
    let name = format!("nh-dgram-{}", std::process::id());
    unix::bind(a.as_fd(), &Address::from_abstract(name.as_bytes()).unwrap()).unwrap();
    unix::connect(a.as_fd(), &Address::from_path(&s.path.join("dgram")).unwrap()).unwrap();
    send(&a, b"VFKT").unwrap();
    let b = client(&mut s, "b");
    send(&b, &frame(2, 0, 60, 1)).unwrap();
    s.turns();
    assert_eq!(read_packets(&a).len(), 1);
}

#[test]
fn full_clients_do_not_fill_the_shared_socket_for_the_others() {
    let mut s = Stage::new("dgram-full");
    s.node(NodeKind::Dgram);
    let flooder = client(&mut s, "flooder");
    let full: Vec<_> = (0..3).map(|n| client(&mut s, &format!("full-{n}"))).collect();
    let quick = client(&mut s, "quick");
    for c in full.iter().chain([&flooder, &quick]) {
        send(c, b"VFKT").unwrap();
    }
    s.turns();
    let mut got = 0;
    for n in 0..3000 {
        send(&flooder, &frame(1, 0, 1000, n)).unwrap();
        if n % 10 == 9 {
            s.turns();
            got += read_packets(&quick).len();
            // Its retry timer, if it met its window: the clock is real here.
            let mut tries = 0;
            while s.worker.engine(s.net).queue_len(s.port("dgram-5")).0 > 0 && tries < 100_000 {
                s.turn();
                got += read_packets(&quick).len();
                tries += 1;
            }
        }
    }
    got += read_packets(&quick).len();
    assert_eq!(got, 3000, "the client that reads loses nothing");
    let lost = s.dropped(s.port("dgram-2"), Reason::QueueFull);
    assert!(lost > 1000, "{lost}");
    // A full client that reads again gets what its queue kept, by the timer.
    let mut read = 0;
    let mut tries = 0;
    while (read as u64) + lost < 3000 && tries < 1_000_000 {
        read += read_packets(&full[0]).len();
        s.turn();
        tries += 1;
    }
    assert_eq!(read as u64 + lost, 3000);
}

#[test]
fn a_client_that_is_gone_loses_its_port() {
    let mut s = Stage::new("dgram-gone");
    let node = s.node(NodeKind::Dgram);
    let a = client(&mut s, "a");
    let b = client(&mut s, "b");
    let c = client(&mut s, "c");
    for fd in [&a, &b, &c] {
        send(fd, b"VFKT").unwrap();
    }
    s.turns();
    assert_eq!(s.worker.ports(s.net).count(), 3);
    drop(b);
    send(&a, &frame(1, 0, 60, 1)).unwrap();
    s.turns();
    assert_eq!(s.closed(), [("dgram-2".to_owned(), CloseReason::PeerClosed)]);
    assert_eq!(read_packets(&c).len(), 1, "the flood reached the one behind it");
    // One that nothing is sent to is found by the look after silent clients.
    drop(c);
    let now = s.worker.now();
    s.worker.look_after_clients(now, node);
    assert_eq!(s.worker.ports(s.net).count(), 2, "it was heard a moment ago");
    s.worker.look_after_clients(now, node);
    s.turns();
    assert_eq!(s.closed().len(), 2);
    assert_eq!(s.closed()[1].0, "dgram-3");
    s.port("dgram-1");
    // The name may be used again.
    std::fs::remove_file(s.path.join("b")).unwrap();
    let b = client(&mut s, "b");
    send(&b, b"VFKT").unwrap();
    s.turns();
    s.port("dgram-2");
}

#[test]
fn closing_the_node_closes_its_ports() {
    let mut s = Stage::new("dgram-close");
    let node = s.node(NodeKind::Dgram);
    let a = client(&mut s, "a");
    send(&a, b"VFKT").unwrap();
    s.turns();
    s.worker.close_node(node);
    s.turns();
    assert_eq!(s.closed(), [("dgram-1".to_owned(), CloseReason::Requested)]);
    assert!(send(&a, b"VFKT").is_err());
}

const OTHER: &str = "NETHERD_TEST_DGRAM_OTHER";

/// Another process, when a test started this program for it: binds a name and sends a frame from it. Nothing otherwise.
#[test]
fn other_process() {
    let Some(arguments) = std::env::var_os(OTHER) else { return };
    let arguments = arguments.into_string().unwrap();
    let (name, node) = arguments.split_once(' ').unwrap();
    let name = match name.strip_prefix('@') {
        Some(name) => Address::from_abstract(name.as_bytes()).unwrap(),
        None => Address::from_path(Path::new(name)).unwrap(),
    };
    let fd = unix::socket(SocketKind::Datagram, true).unwrap();
    unix::bind(fd.as_fd(), &name).unwrap();
    unix::connect(fd.as_fd(), &Address::from_path(Path::new(node)).unwrap()).unwrap();
    send(&fd, &frame(0xba, 0, 60, 1)).unwrap();
}

/// Has [`other_process`] send from `name`, started by `prefix`; whether it could.
fn other(s: &Stage, prefix: &[&str], name: &str) -> bool {
    let program = std::env::current_exe().unwrap();
    let mut words = prefix.iter().map(OsStr::new).chain([program.as_os_str()]);
    let mut command = std::process::Command::new(words.next().unwrap());
    let node = s.path.join("dgram");
    let output = command
        .args(words)
        .args(["--exact", "worker::tests::dgram::other_process", "--test-threads=1"])
        .env(OTHER, format!("{name} {}", node.display()))
        .output();
    output.is_ok_and(|output| output.status.success())
}

/// A program of the same user that binds the victim's name elsewhere does not send as the victim.
#[test]
fn another_process_with_the_same_name_is_not_the_client() {
    let mut s = Stage::new("dgram-other");
    s.node(NodeKind::Dgram);
    let path = s.path.join("a");
    let victim = client(&mut s, "a");
    send(&victim, &frame(1, 0, 60, 1)).unwrap();
    s.turns();
    let port = s.port("dgram-1");
    assert_eq!(s.counter(port, "rx_frames"), 1);
    // As in another mount namespace: the name leads to another socket there.
    std::fs::remove_file(&path).unwrap();
    assert!(other(&s, &[], path.to_str().unwrap()));
    s.turns();
    assert!(s.refusals()[0].contains("which still runs"), "{:?}", s.refusals());
    assert_eq!(s.counter(port, "rx_frames"), 1, "nothing was taken for the victim's");
    assert_eq!(s.worker.ports(s.net).count(), 1);
    send(&victim, &frame(1, 0, 60, 2)).unwrap();
    s.turns();
    assert_eq!(s.counter(port, "rx_frames"), 2);
}

#[test]
fn a_socket_that_another_process_has_now_keeps_its_port_and_a_new_one_gets_its_own() {
    let mut s = Stage::new("dgram-next");
    s.node(NodeKind::Dgram);
    let path = s.path.join("a");
    assert!(other(&s, &[], path.to_str().unwrap()));
    s.turns();
    let first = s.port("dgram-1");
    assert_eq!(s.counter(first, "rx_frames"), 1);
    // The first process has ended. What is bound there now is another socket, and another client.
    std::fs::remove_file(&path).unwrap();
    let next = client(&mut s, "a");
    send(&next, &frame(2, 0, 60, 1)).unwrap();
    s.turns();
    assert_eq!(s.closed(), [("dgram-1".to_owned(), CloseReason::PeerClosed)]);
    assert_eq!(s.worker.ports(s.net).count(), 1);
    let port = s.worker.ports(s.net).next().unwrap();
    assert_eq!(s.counter(port, "rx_frames"), 1);
    assert_eq!(s.refusals(), Vec::<String>::new());
}

/// Abstract names belong to a network namespace: what a client in another one is called is nobody's here, or somebody
/// else's, who would get the frames.
#[test]
fn an_abstract_name_of_another_network_namespace_gets_no_port() {
    let mut s = Stage::new("dgram-netns");
    s.node(NodeKind::Dgram);
    let name = format!("nh-netns-{}", std::process::id());
    let unshare = ["unshare", "--map-root-user", "--net", "--"];
    if !other(&s, &unshare, &format!("@{name}")) {
        testkit::skip!("no network namespace can be made here");
    }
    s.turns();
    assert!(s.refusals()[0].contains("nobody has this name"), "{:?}", s.refusals());
    assert_eq!(s.worker.ports(s.net).count(), 0);
}

#[test]
fn a_frame_with_descriptors_is_refused() {
    let mut s = Stage::new("dgram-rights");
    s.node(NodeKind::Dgram);
    let a = client(&mut s, "a");
    match unix::send_with_fds(a.as_fd(), &frame(1, 0, 60, 1), &[a.as_fd()]) {
        Ok(_) => {
            s.turns();
            assert!(s.refusals()[0].contains("descriptors"), "{:?}", s.refusals());
        }
        Err(e) => {
            assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied, "as Linux 6.16 says it");
        }
    }
    assert_eq!(s.worker.ports(s.net).count(), 0);
}
