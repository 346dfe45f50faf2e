//! VDE's handshake and data sockets, with clients made by hand.

use super::*;

/// The request of a client whose data socket is `path`, as libvdeplug writes it.
fn request(path: &[u8], description: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xfeed_face_u32, 3, 0] {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    bytes.extend_from_slice(&1_u16.to_ne_bytes());
    bytes.extend_from_slice(path);
    bytes.resize(122, 0);
    bytes.extend_from_slice(description);
    bytes
}

struct VdeClient {
    control: OwnedFd,
    data: OwnedFd,
    answer: PathBuf,
}

/// What a client does: bind, ask, connect to the answer, forget its own name.
fn plug(s: &mut Stage, name: &str) -> VdeClient {
    let path = s.path.join(name);
    let data = datagram_client(&path);
    let control = s.connect(NodeKind::Ctl);
    send(&control, &request(path.to_str().unwrap().as_bytes(), b"test PID=1")).unwrap();
    s.turns();
    let mut answer = [0; 200];
    let n = unix::receive(control.as_fd(), &mut answer).unwrap();
    assert_eq!(n, 110, "a bare sockaddr_un; {:?}", s.refusals());
    assert_eq!(answer[..2], 1_u16.to_ne_bytes());
    let end = answer[2..].iter().position(|b| *b == 0).unwrap();
    let answer = PathBuf::from(std::str::from_utf8(&answer[2..2 + end]).unwrap());
    assert!(answer.is_absolute());
    unix::connect(data.as_fd(), &Address::from_path(&answer).unwrap()).unwrap();
    std::fs::remove_file(&path).unwrap();
    VdeClient { control, data, answer }
}

#[test]
fn clients_plug_in_exchange_frames_and_leave_nothing() {
    let mut s = Stage::new("vde");
    s.node(NodeKind::Ctl);
    let a = plug(&mut s, "client-a");
    let b = plug(&mut s, "client-b");
    let about = s.worker.port_about(s.net, s.port("ctl-1")).unwrap();
    assert_eq!(about.kind, LinkKind::Vde);
    assert_eq!(about.description.as_deref(), Some("test PID=1"));
    assert!(a.answer.starts_with(&s.path) && a.answer != b.answer);
    // Frames shorter than 60 bytes are common on VDE and not padded.
    let frames: Vec<_> = (0..150).map(|n| frame(1, 0, 20 + n as usize, n)).collect();
    for f in &frames {
        send(&a.data, f).unwrap();
    }
    s.turns();
    assert_eq!(read_packets(&b.data), frames);
    send(&b.data, &frame(2, 1, 60, 7)).unwrap();
    s.turns();
    assert_eq!(read_packets(&a.data).len(), 1);
    let name = a.answer.clone();
    assert!(name.exists());
    drop(a.control);
    s.turns();
    assert_eq!(s.closed(), [("ctl-1".to_owned(), CloseReason::PeerClosed)]);
    assert!(!name.exists(), "our socket file goes with the port");
    assert_eq!(s.buffers_in_use(), 0);
}

#[test]
fn nobody_else_can_send_to_a_ports_data_socket() {
    let mut s = Stage::new("vde-intruder");
    s.node(NodeKind::Ctl);
    let a = plug(&mut s, "client-a");
    let intruder = unix::socket(SocketKind::Datagram, true).unwrap();
    let e = unix::connect(intruder.as_fd(), &Address::from_path(&a.answer).unwrap()).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied);
}

#[test]
fn a_request_in_pieces_is_waited_for_and_half_of_one_ends() {
    let mut s = Stage::new("vde-pieces");
    s.node(NodeKind::Ctl);
    let path = s.path.join("client");
    let _data = datagram_client(&path);
    let whole = request(path.to_str().unwrap().as_bytes(), b"");
    let control = s.connect(NodeKind::Ctl);
    for byte in &whole {
        assert_eq!(s.worker.ports(s.net).count(), 0);
        send(&control, &[*byte]).unwrap();
        s.turn();
    }
    s.turns();
    assert_eq!(s.worker.ports(s.net).count(), 1);
    let half = s.connect(NodeKind::Ctl);
    send(&half, &whole[..50]).unwrap();
    s.turns();
    assert_eq!(s.worker.handshakes.len(), 1);
    let now = s.worker.now();
    s.worker.handshakes_expire(now);
    assert_eq!(s.worker.handshakes.len(), 1, "it still has time");
    s.worker.handshakes_expire(now + std::time::Duration::from_secs(5));
    s.turns();
    assert_eq!(s.worker.handshakes.len(), 0);
    assert_eq!(unix::receive(half.as_fd(), &mut [0; 1]).unwrap(), 0);
    assert!(s.refusals()[0].contains("did not say what it wants"), "{:?}", s.refusals());
    // A client that hangs up in the middle is nobody's news.
    let gone = s.connect(NodeKind::Ctl);
    send(&gone, &whole[..50]).unwrap();
    drop(gone);
    s.turns();
    assert_eq!(s.worker.handshakes.len(), 0);
    assert_eq!(s.refusals().len(), 1);
}

#[test]
fn connections_that_come_and_go_leave_no_timers() {
    let mut s = Stage::new("vde-timers");
    s.node(NodeKind::Ctl);
    for _ in 0..100 {
        drop(s.connect(NodeKind::Ctl));
        s.turns();
    }
    assert_eq!(s.worker.handshakes.len(), 0);
    assert_eq!(s.worker.timers.len(), 1);
}

#[test]
fn a_data_socket_that_is_not_the_clients_is_not_used() {
    let mut s = Stage::new("vde-deputy");
    s.node(NodeKind::Ctl);
    let victim = s.path.join("victim");
    let victim_socket = datagram_client(&victim);
    let link = s.path.join("link");
    std::os::unix::fs::symlink(&victim, &link).unwrap();
    let file = s.path.join("file");
    std::fs::write(&file, b"").unwrap();
    let long = format!("/{}", "x".repeat(107));
    let cases: [(&[u8], &str); 6] = [
        (link.to_str().unwrap().as_bytes(), "symbolic link"),
        (file.to_str().unwrap().as_bytes(), "not a socket"),
        (b"/nonexistent/socket", "cannot be opened"),
        (b"victim", "absolute"),
        (b"", "no data socket"),
        (long.as_bytes(), "cannot be opened"),
    ];
    for (n, (path, says)) in cases.into_iter().enumerate() {
        let control = s.connect(NodeKind::Ctl);
        send(&control, &request(path, b"")).unwrap();
        s.turns();
        assert_eq!(unix::receive(control.as_fd(), &mut [0; 1]).unwrap(), 0, "case {n}");
        assert!(s.refusals()[n].contains(says), "{says}: {:?}", s.refusals());
    }
    assert!(read_packets(&victim_socket).is_empty());
    assert_eq!(s.worker.ports(s.net).count(), 0);
}

#[test]
fn garbage_on_ctl_closes_only_that_connection() {
    let mut s = Stage::new("vde-garbage");
    s.node(NodeKind::Ctl);
    let a = plug(&mut s, "client-a");
    let http = s.connect(NodeKind::Ctl);
    send(&http, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    s.turns();
    assert_eq!(unix::receive(http.as_fd(), &mut [0; 1]).unwrap(), 0);
    assert!(s.refusals()[0].contains("only VDE"));
    // A client that goes on talking on its control connection is not listened to.
    send(&a.control, &[7; 4000]).unwrap();
    s.turns();
    assert!(s.closed().is_empty());
}

#[test]
fn a_client_with_an_abstract_data_socket_is_served_as_uml_does_it() {
    let mut s = Stage::new("vde-uml");
    s.node(NodeKind::Ctl);
    let mut name = vec![0; 107];
    name[..4].copy_from_slice(&std::process::id().to_ne_bytes());
    name[4] = 0x5a;
    let data = unix::socket(SocketKind::Datagram, true).unwrap();
    unix::bind(data.as_fd(), &Address::from_abstract(&name).unwrap()).unwrap();
    let control = s.connect(NodeKind::Ctl);
    send(&control, &request(&[&[0], &name[..]].concat(), b"")).unwrap();
    s.turns();
    let mut answer = [0; 200];
    assert_eq!(unix::receive(control.as_fd(), &mut answer).unwrap(), 110, "{:?}", s.refusals());
    s.port("ctl-1");
}

#[test]
fn a_directory_that_vde_cannot_tell_is_refused_with_a_sentence() {
    let mut s = Stage::new("vde-long");
    let template = NodeTemplate {
        directory_path: PathBuf::from(format!("/{}", "d".repeat(95))),
        ..s.template(NodeKind::Ctl)
    };
    let (socket, _other) = unix::pair(SocketKind::Stream, true).unwrap();
    let e = s.worker.open_node(s.net, NodeKind::Ctl, socket, template).unwrap_err();
    assert!(e.to_string().contains("96 bytes where at most 95 fit"), "{e}");
}

#[test]
fn a_client_that_stops_reading_loses_frames_and_another_does_not() {
    let mut s = Stage::new("vde-slow");
    s.node(NodeKind::Ctl);
    let a = plug(&mut s, "client-a");
    let slow = plug(&mut s, "client-b");
    let quick = plug(&mut s, "client-c");
    let mut got = 0;
    for n in 0..2000 {
        send(&a.data, &frame(1, 0, 1000, n)).unwrap();
        if n % 50 == 49 {
            s.turns();
            got += read_packets(&quick.data).len();
        }
    }
    assert_eq!(got, 2000);
    let lost = s.dropped(s.port("ctl-2"), Reason::QueueFull);
    assert!(lost > 0);
    let mut read = 0;
    for _ in 0..20 {
        read += read_packets(&slow.data).len();
        s.turns();
    }
    assert_eq!(read as u64 + lost, 2000);
    // Its data socket goes: so does its port.
    drop(slow.data);
    send(&a.data, &frame(1, 0, 60, 0)).unwrap();
    s.turns();
    assert_eq!(s.closed(), [("ctl-2".to_owned(), CloseReason::PeerClosed)]);
}

#[test]
fn another_users_socket_is_not_used_even_if_we_could_reach_it() {
    let mut s = Stage::new("vde-owner");
    s.node(NodeKind::Ctl);
    let victim = s.path.join("victim");
    let victim_socket = datagram_client(&victim);
    if let Err(e) = std::os::unix::fs::chown(&victim, Some(12_345), None) {
        testkit::skip!("a file cannot be given to another user here ({e}); run as root");
    }
    let control = s.connect(NodeKind::Ctl);
    send(&control, &request(victim.to_str().unwrap().as_bytes(), b"")).unwrap();
    s.turns();
    assert!(s.refusals()[0].contains("belongs to user 12345"), "{:?}", s.refusals());
    assert!(read_packets(&victim_socket).is_empty());
    assert_eq!(s.worker.ports(s.net).count(), 0);
}
