//! Nodes: names, caps, handshakes that never end, and the owner's own descriptors.

use super::*;
use sys::poll::Interest;

#[test]
fn connections_become_ports_with_the_lowest_free_name() {
    let mut s = Stage::new("names");
    s.node(NodeKind::Stream);
    let first = s.connect(NodeKind::Stream);
    let _second = s.connect(NodeKind::Stream);
    let about = s.worker.port_about(s.net, s.port("stream-1")).unwrap();
    assert_eq!(about.kind, LinkKind::Stream);
    assert_eq!(about.node.as_deref(), Some("stream"));
    assert_eq!(about.peer.unwrap().pid, i32::try_from(std::process::id()).unwrap());
    s.port("stream-2");
    drop(first);
    s.turns();
    assert_eq!(s.closed(), [("stream-1".to_owned(), CloseReason::PeerClosed)]);
    let _third = s.connect(NodeKind::Stream);
    s.port("stream-1");
}

#[test]
fn a_declared_port_has_its_name_and_its_limit() {
    let mut s = Stage::new("declared");
    let template = NodeTemplate {
        node: "ports/web/stream".into(),
        port_name: Some("web".into()),
        max_ports: 2,
        ..s.template(NodeKind::Stream)
    };
    s.node_as(NodeKind::Stream, template);
    let _a = s.connect(NodeKind::Stream);
    let _b = s.connect(NodeKind::Stream);
    let c = s.connect(NodeKind::Stream);
    s.port("web");
    s.port("web-2");
    assert_eq!(unix::receive(c.as_fd(), &mut [0; 1]).unwrap(), 0, "the third is closed");
    assert!(s.refusals()[0].contains("ports/web/stream already has 2 ports"));
}

#[test]
fn one_user_is_capped_and_a_closed_port_frees_its_place() {
    let mut s = Stage::new("caps");
    let template = NodeTemplate { max_ports_per_user: 1, ..s.template(NodeKind::Stream) };
    s.node_as(NodeKind::Stream, template);
    let a = s.connect(NodeKind::Stream);
    let _b = s.connect(NodeKind::Stream);
    assert_eq!(s.worker.ports(s.net).count(), 1);
    assert!(s.refusals()[0].contains("limit per user"), "{:?}", s.refusals());
    drop(a);
    s.turns();
    let _c = s.connect(NodeKind::Stream);
    assert_eq!(s.worker.ports(s.net).count(), 1);
}

#[test]
fn one_user_has_one_account_over_all_nodes() {
    let mut s = Stage::new("account");
    let capped = |s: &Stage, kind| NodeTemplate { max_ports_per_user: 4, ..s.template(kind) };
    let mut nodes = Vec::new();
    for kind in [NodeKind::Stream, NodeKind::Ctl, NodeKind::Dgram, NodeKind::Seqpacket] {
        let template = capped(&s, kind);
        nodes.push(s.node_as(kind, template));
    }
    let dgram = |s: &mut Stage, n: u32| {
        let fd = datagram_client(&s.path.join(format!("client-{n}")));
        unix::connect(fd.as_fd(), &Address::from_path(&s.path.join("dgram")).unwrap()).unwrap();
        send(&fd, &frame(1, 0, 60, n)).unwrap();
        s.turns();
        fd
    };
    let first = s.connect(NodeKind::Stream);
    let _second = s.connect(NodeKind::Seqpacket);
    let _third = dgram(&mut s, 3);
    let _fourth = dgram(&mut s, 4);
    assert_eq!(s.worker.ports(s.net).count(), 4);
    let _over =
        (s.connect(NodeKind::Stream), s.connect(NodeKind::Seqpacket), s.connect(NodeKind::Ctl));
    let _over = dgram(&mut s, 5);
    assert_eq!(s.worker.ports(s.net).count(), 4);
    assert_eq!(s.refusals().len(), 4);
    assert!(s.refusals().iter().all(|why| why.contains("already has 4 ports of this network")));
    // A reload makes nodes anew: who has a port still has it, and its name.
    s.worker.close_node(nodes[0]);
    std::fs::remove_file(s.path.join("stream")).unwrap();
    let template = capped(&s, NodeKind::Stream);
    s.node_as(NodeKind::Stream, template);
    let _over = s.connect(NodeKind::Stream);
    assert_eq!(s.refusals().len(), 5);
    drop(first);
    s.turns();
    let _another = s.connect(NodeKind::Stream);
    assert_eq!(s.worker.ports(s.net).count(), 4);
    s.port("stream-1");
}

#[test]
fn clients_of_nodes_leave_the_ports_that_are_kept_for_guests() {
    let mut s = Stage::new("kept");
    for kind in [NodeKind::Stream, NodeKind::Seqpacket] {
        let template = NodeTemplate { max_ports: 2, ..s.template(kind) };
        s.node_as(kind, template);
    }
    let _clients = (s.connect(NodeKind::Stream), s.connect(NodeKind::Seqpacket));
    let _over = s.connect(NodeKind::Stream);
    assert!(s.refusals()[0].contains("kept for guests"), "{:?}", s.refusals());
    let (_, _guest) = s.stream_port("guest", PortSpec::default());
    assert_eq!(s.worker.ports(s.net).count(), 3);
}

#[test]
fn frames_of_one_network_do_not_wait_for_those_of_another() {
    let mut s = Stage::new("two-networks");
    let other = s.worker.add_network(NetworkPlan::validate(NetworkSpec::default()).unwrap());
    let port = |s: &mut Stage, net, name: &str| {
        let (ours, theirs) = unix::pair(SocketKind::Stream, true).unwrap();
        let about = PortAbout::new(name, LinkKind::Stream, s.worker.now());
        let setup = LinkSetup::Stream { fd: ours };
        (s.worker.open_link(net, PortSpec::default(), setup, about).unwrap(), theirs)
    };
    let net = s.net;
    let ((a, _a), (_, _b)) = (port(&mut s, net, "a"), port(&mut s, net, "b"));
    let ((c, _c), (_, _d)) = (port(&mut s, other, "c"), port(&mut s, other, "d"));
    let now = s.worker.now();
    s.worker.heard(now, net, a, 60);
    s.worker.heard(now, other, c, 64);
    let waiting = |s: &Stage, net: NetworkId| s.worker.networks.get(net.0).unwrap().unflushed;
    assert_eq!((waiting(&s, net), waiting(&s, other)), (60, 0));
    s.worker.heard(now, net, a, 4);
    assert_eq!(waiting(&s, net), 0);
}

#[test]
fn seqpacket_clients_exchange_frames_and_end_with_their_connection() {
    let mut s = Stage::new("seqpacket");
    s.node(NodeKind::Seqpacket);
    let a = s.connect(NodeKind::Seqpacket);
    let b = s.connect(NodeKind::Seqpacket);
    let frames: Vec<_> = (0..100).map(|n| frame(1, 0, 60 + n as usize, n)).collect();
    for f in &frames {
        send(&a, f).unwrap();
    }
    s.turns();
    assert_eq!(read_packets(&b), frames);
    drop(b);
    s.turns();
    assert_eq!(s.closed(), [("seqpacket-2".to_owned(), CloseReason::PeerClosed)]);
    assert_eq!(s.buffers_in_use(), 0);
}

/// A packet of no bytes is a frame that is too short, and no end; the end is read as such packets.
#[test]
fn empty_packets_end_no_seqpacket_client() {
    let mut s = Stage::new("empty");
    s.node(NodeKind::Seqpacket);
    let a = s.connect(NodeKind::Seqpacket);
    let b = s.connect(NodeKind::Seqpacket);
    let frames: Vec<_> = (0..3).map(|n| frame(1, 0, 60, n)).collect();
    // Alone, before a frame, between two.
    send(&a, &[]).unwrap();
    s.turns();
    for packet in [&[][..], &frames[0], &[], &frames[1], &[], &[]] {
        send(&a, packet).unwrap();
    }
    s.turns();
    assert_eq!(s.closed(), []);
    assert_eq!(read_packets(&b), frames[..2]);
    let port = s.worker.port_named(s.net, "seqpacket-1").expect("it is open");
    assert_eq!(s.dropped(port, Reason::Runt), 5);
    // What was sent before the end comes through, also behind a packet of no bytes.
    send(&a, &[]).unwrap();
    send(&a, &frames[2]).unwrap();
    drop(a);
    s.turns();
    assert_eq!(read_packets(&b), frames[2..]);
    assert_eq!(s.closed(), [("seqpacket-1".to_owned(), CloseReason::PeerClosed)]);
    assert_eq!(s.buffers_in_use(), 0);
}

#[test]
fn the_wrong_socket_for_a_node_is_refused() {
    let mut s = Stage::new("wrong");
    let (a, _b) = unix::pair(SocketKind::Datagram, true).unwrap();
    let template = s.template(NodeKind::Stream);
    let e = s.worker.open_node(s.net, NodeKind::Stream, a, template).unwrap_err();
    assert!(e.to_string().contains("needs a Stream socket"), "{e}");
}

#[test]
fn names_are_unique_among_links_too() {
    let mut s = Stage::new("unique");
    let (_, _client) = s.stream_port("a", PortSpec::default());
    let (ours, _theirs) = unix::pair(SocketKind::Stream, true).unwrap();
    let about = PortAbout::new("a", LinkKind::Stream, s.worker.now());
    let setup = LinkSetup::Stream { fd: ours };
    let e = s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap_err();
    assert!(e.to_string().contains("\"a\" is taken"), "{e}");
    assert_eq!(s.worker.ports(s.net).count(), 1);
}

#[test]
fn the_owners_descriptors_are_reported_until_deregistered() {
    let mut s = Stage::new("owner");
    let (a, b) = unix::pair(SocketKind::Stream, true).unwrap();
    let token = s.worker.register(a.as_fd(), Interest::READABLE).unwrap();
    s.turn();
    assert!(s.events.is_empty());
    send(&b, b"x").unwrap();
    s.turn();
    assert!(matches!(
        s.events[..],
        [WorkerEvent::Ready { token: t, readable: true, hangup: false, .. }] if t == token
    ));
    s.worker.turn(Some(Instant::EPOCH)).unwrap();
    s.worker.deregister(token, a.as_fd()).unwrap();
    assert!(s.worker.poll_event().is_none(), "what waited is withdrawn");
    s.events.clear();
    s.turns();
    assert!(s.events.is_empty());
}

#[test]
fn a_removed_network_closes_everything_of_it() {
    let mut s = Stage::new("removed");
    s.node(NodeKind::Stream);
    let client = s.connect(NodeKind::Stream);
    s.worker.remove_network(s.net);
    s.turns();
    assert_eq!(s.closed(), [("stream-1".to_owned(), CloseReason::NetworkRemoved)]);
    assert_eq!(unix::receive(client.as_fd(), &mut [0; 1]).unwrap(), 0);
    let gone = s.net;
    assert!(s.worker.port_about(gone, PortIdOf::first()).is_none());
}

/// Any identifier: the network is gone.
struct PortIdOf;

impl PortIdOf {
    fn first() -> PortId {
        let mut s = Stage::new("any-port");
        s.stream_port("a", PortSpec::default()).0
    }
}

/// Set in the child that runs one test again with few descriptors.
const FEW_DESCRIPTORS: &str = "NETHERD_TEST_FEW_DESCRIPTORS";

/// The limit on open files belongs to the process, so this test runs itself again in one of its
/// own.
#[test]
fn when_descriptors_run_out_accepting_pauses_and_goes_on() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        let this = std::env::current_exe().unwrap();
        let child = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" --exact \"$1\""])
            .arg(this)
            .arg(std::thread::current().name().unwrap())
            .env(FEW_DESCRIPTORS, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let mut s = Stage::new("descriptors");
    let template =
        NodeTemplate { max_ports: 100, max_ports_per_user: 100, ..s.template(NodeKind::Stream) };
    let node = s.node_as(NodeKind::Stream, template);
    // Connections that wait, then every descriptor taken but one: the first of them gets it.
    let clients: Vec<_> = (0..3)
        .map(|_| unix::connect_path(&s.path.join("stream"), SocketKind::Stream).unwrap())
        .collect();
    let mut hoard: Vec<_> =
        std::iter::from_fn(|| unix::socket(SocketKind::Stream, true).ok()).collect();
    hoard.pop();
    s.turns();
    assert_eq!(s.worker.ports(s.net).count(), 1);
    assert_eq!(s.refusals().len(), 1, "told once, not at every turn: {:?}", s.refusals());
    assert!(s.refusals()[0].contains("ulimit -n"), "{:?}", s.refusals());
    // The node is not ready as long as it pauses, although connections wait: nothing spins.
    s.worker.turn(Some(Instant::EPOCH)).unwrap();
    assert!(s.worker.polled.is_empty());
    // The port that is open goes on.
    send(&clients[0], &record(&frame(1, 0, 60, 1))).unwrap();
    s.turns();
    assert_eq!(s.counter(s.port("stream-1"), "rx_frames"), 1);
    hoard.clear();
    s.worker.resume_accepting(node);
    s.turns();
    assert_eq!(s.worker.ports(s.net).count(), 3);
}
