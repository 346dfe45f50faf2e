//! Taps and packet sockets between real kernels' TCP, in network namespaces of the test's own
//! thread. Where namespaces cannot be made the tests say so and pass.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use engine::{Frame, Pool, TxBatch};
use sys::netlink::{LinkChange, Netlink, PeerNamespace};
use sys::ns::Namespaces;
use wire::OffloadSet;

use super::super::timers::Timer;
use super::*;
use crate::link::{Intake, Link, LinkState, Progress, Sent, tap_offloads};

/// Bytes that each test moves through the network.
const VOLUME: usize = 4 << 20;

/// Moves the calling thread to a new, empty network namespace.
fn fresh_namespace() -> bool {
    match sys::ns::unshare(Namespaces::NETWORK) {
        Ok(()) => true,
        Err(e) => {
            testkit::skipped(&format!("no network namespace can be made here ({e}); run as root"));
            false
        }
    }
}

/// The calling thread's network namespace.
fn here() -> OwnedFd {
    std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
}

fn address(v6: bool, host: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(host)).into()
    } else {
        Ipv4Addr::new(10, 91, 0, host).into()
    }
}

fn bring_up(name: &str, host: u8) {
    let mut netlink = Netlink::open().unwrap();
    let link = netlink.link(name).unwrap();
    for (v6, prefix) in [(false, 24), (true, 64)] {
        netlink.add_address(link.index, address(v6, host), prefix).unwrap();
    }
    netlink.change_link(link.index, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
}

/// A tap in this thread's namespace, as a link, with the address of `host`.
fn tap(s: &mut Stage, name: &str, host: u8, offloads: bool) -> Option<PortId> {
    let tap = match sys::tap::open("eth0") {
        Ok(tap) => tap,
        Err(e) => {
            testkit::skipped(&format!("/dev/net/tun cannot be used here ({e})"));
            return None;
        }
    };
    assert_eq!(tap.name, "eth0");
    let set = if offloads {
        tap_offloads(tap.offloads)
    } else {
        sys::tap::set_offloads(tap.fd.as_fd(), sys::tap::TapOffloads::NONE).unwrap();
        OffloadSet::empty()
    };
    bring_up("eth0", host);
    let about = PortAbout::new(name, LinkKind::Tap, s.worker.now());
    let setup = LinkSetup::Tap { fd: tap.fd, offloads: set, vnet_hdr_len: sys::tap::VNET_HDR_LEN };
    Some(s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap())
}

/// A veth pair: the inner end in this thread's namespace with the address of `host`, the outer in
/// `outer`, where the packet socket is.
fn veth(s: &mut Stage, name: &str, host: u8) -> PortId {
    let inner = here();
    assert!(fresh_namespace());
    let mut netlink = Netlink::open().unwrap();
    let change = LinkChange { no_arp: true, index: Some(100), ..Default::default() };
    netlink
        .add_veth(
            "outer",
            &change,
            "eth0",
            &LinkChange::default(),
            PeerNamespace::Fd(inner.as_fd()),
        )
        .unwrap();
    let outer = netlink.link("outer").unwrap();
    let fd = sys::packet::open(outer.index, 4 << 20).unwrap();
    assert_eq!(sys::packet::bound_interface(fd.as_fd()).unwrap(), outer.index);
    netlink.change_link(outer.index, &LinkChange { up: Some(true), ..Default::default() }).unwrap();
    let about = PortAbout::new(name, LinkKind::Packet, s.worker.now());
    let offloads = OffloadSet::CSUM | OffloadSet::TSO4 | OffloadSet::TSO6 | OffloadSet::TSO_ECN;
    let setup = LinkSetup::Packet { fd, offloads };
    let port = s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap();
    sys::ns::enter(inner.as_fd(), Namespaces::NETWORK).unwrap();
    bring_up("eth0", host);
    port
}

/// Sends [`VOLUME`] bytes by the kernels' TCP from one namespace to the other, on a second thread,
/// while this one turns the worker that carries them.
fn transfer(s: &mut Stage, from: &OwnedFd, to: &OwnedFd, v6: bool) {
    sys::ns::enter(to.as_fd(), Namespaces::NETWORK).unwrap();
    let listener = TcpListener::bind(SocketAddr::new(address(v6, 2), 4000)).unwrap();
    // The second thread begins where this one is.
    sys::ns::enter(from.as_fd(), Namespaces::NETWORK).unwrap();
    let traffic = std::thread::spawn(move || {
        let pattern: Vec<u8> = (0..VOLUME).map(|i| (i * 7 + i / 251) as u8).collect();
        let mut sender = TcpStream::connect(SocketAddr::new(address(v6, 2), 4000)).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        let sent = pattern.clone();
        let sending = std::thread::spawn(move || sender.write_all(&sent).unwrap());
        let mut got = Vec::with_capacity(VOLUME);
        receiver.read_to_end(&mut got).unwrap();
        sending.join().unwrap();
        assert!(got == pattern, "the bytes that arrived are not those that were sent");
    });
    while !traffic.is_finished() {
        let soon = s.worker.now() + Duration::from_millis(5);
        s.worker.turn(Some(soon)).unwrap();
        while let Some(event) = s.worker.poll_event() {
            s.events.push(event);
        }
    }
    traffic.join().unwrap();
}

/// Average bytes of the frames that came from a port.
fn mean_frame(s: &Stage, port: PortId) -> u64 {
    s.counter(port, "rx_bytes") / s.counter(port, "rx_frames")
}

/// Both ends as the test wants them, a transfer, and the counters.
fn between(
    test: &str,
    v6: bool,
    near: impl Fn(&mut Stage, &str, u8) -> Option<PortId>,
    far: impl Fn(&mut Stage, &str, u8) -> Option<PortId>,
    check: impl Fn(&Stage, PortId, PortId),
) {
    if !fresh_namespace() {
        return;
    }
    let mut s = Stage::new(test);
    let from = here();
    let Some(a) = near(&mut s, "a", 1) else { return };
    assert!(fresh_namespace());
    let to = here();
    let Some(b) = far(&mut s, "b", 2) else { return };
    transfer(&mut s, &from, &to, v6);
    for port in [a, b] {
        for reason in [Reason::BadFraming, Reason::BadOffload, Reason::OffloadUndeclared] {
            assert_eq!(s.dropped(port, reason), 0, "{reason}");
        }
    }
    check(&s, a, b);
}

fn large_frames_cross_uncut(s: &Stage, a: PortId, b: PortId) {
    assert!(mean_frame(s, a) > 3000, "{} bytes a frame", mean_frame(s, a));
    assert_eq!(s.counter(b, "tx_segmented"), 0);
    assert_eq!(s.counter(b, "tx_completed"), 0);
}

fn large_frames_are_cut(s: &Stage, a: PortId, b: PortId) {
    assert!(mean_frame(s, a) > 3000);
    assert!(s.counter(b, "tx_segmented") > 0);
    assert!(s.counter(b, "tx_bytes") / s.counter(b, "tx_frames") <= 1514);
}

fn both_taps(test: &str, v6: bool) {
    let near = |s: &mut Stage, n: &str, h| tap(s, n, h, true);
    between(test, v6, near, near, large_frames_cross_uncut);
}

fn tap_to_plain_tap(test: &str, v6: bool) {
    let near = |s: &mut Stage, n: &str, h| tap(s, n, h, true);
    let far = |s: &mut Stage, n: &str, h| tap(s, n, h, false);
    between(test, v6, near, far, large_frames_are_cut);
}

fn both_veths(test: &str, v6: bool) {
    let end = |s: &mut Stage, n: &str, h| Some(veth(s, n, h));
    between(test, v6, end, end, large_frames_cross_uncut);
}

#[test]
fn two_taps_exchange_unsegmented_tcp_over_ipv4() {
    both_taps("taps-v4", false);
}

#[test]
fn two_taps_exchange_unsegmented_tcp_over_ipv6() {
    both_taps("taps-v6", true);
}

#[test]
fn a_tap_without_offloads_gets_what_the_kernel_would_have_sent_over_ipv4() {
    tap_to_plain_tap("plain-v4", false);
}

#[test]
fn a_tap_without_offloads_gets_what_the_kernel_would_have_sent_over_ipv6() {
    tap_to_plain_tap("plain-v6", true);
}

#[test]
fn two_packet_sockets_exchange_unsegmented_tcp_over_ipv4() {
    both_veths("veths-v4", false);
}

#[test]
fn two_packet_sockets_exchange_unsegmented_tcp_over_ipv6() {
    both_veths("veths-v6", true);
}

#[test]
fn a_tap_and_a_packet_socket_understand_each_other() {
    let near = |s: &mut Stage, n: &str, h| tap(s, n, h, true);
    let far = |s: &mut Stage, n: &str, h| Some(veth(s, n, h));
    between("tap-veth", false, near, far, large_frames_cross_uncut);
}

#[test]
fn a_vlan_tag_that_the_kernel_took_out_is_put_back() {
    if !fresh_namespace() {
        return;
    }
    let mut s = Stage::new("packet-vlan");
    let port = veth(&mut s, "a", 1);
    // Sent through the inner end by a packet socket of its own, as a guest's VLAN device would.
    let index = Netlink::open().unwrap().link("eth0").unwrap().index;
    let inner = sys::packet::open(index, 1 << 16).unwrap();
    let mut tagged = frame(1, 0, 64, 7);
    tagged.splice(12..12, [0x81, 0x00, 0x00, 0x05]);
    let with_header = [&[0; 10][..], &tagged].concat();
    send(&inner, &with_header).unwrap();
    s.turns();
    assert_eq!(s.dropped(port, Reason::VlanTagged), 1, "an access port refuses it");
    send(&inner, &[&[0; 10][..], &frame(1, 0, 64, 8)].concat()).unwrap();
    s.turns();
    assert_eq!(s.dropped(port, Reason::VlanTagged), 1);
    assert!(s.counter(port, "rx_broadcast") >= 1);
    assert_eq!(s.worker.link_drops(s.net, port), Some(0));
}

#[test]
fn a_device_that_is_deleted_closes_its_port() {
    if !fresh_namespace() {
        return;
    }
    let mut s = Stage::new("deleted");
    veth(&mut s, "a", 1);
    let mut netlink = Netlink::open().unwrap();
    let index = netlink.link("eth0").unwrap().index;
    netlink.delete_link(index).unwrap();
    s.turns();
    assert_eq!(s.closed(), [("a".to_owned(), CloseReason::DeviceGone)]);
    if tap(&mut s, "b", 2, true).is_some() {
        let index = netlink.link("eth0").unwrap().index;
        netlink.delete_link(index).unwrap();
        s.turns();
        assert_eq!(s.closed()[1], ("b".to_owned(), CloseReason::DeviceGone));
    }
    assert_eq!(s.buffers_in_use(), 0);
}

/// O_NONBLOCK belongs to the open file description, which `netherd run` and everybody who hands a
/// tap over share with the worker.
#[test]
fn whoever_keeps_a_taps_descriptor_cannot_make_the_worker_wait() {
    if !fresh_namespace() {
        return;
    }
    let mut s = Stage::new("tap-flags");
    let tap = match sys::tap::open("eth0") {
        Ok(tap) => tap,
        Err(e) => testkit::skip!("/dev/net/tun cannot be used here ({e})"),
    };
    let kept = tap.fd.try_clone().unwrap();
    let about = PortAbout::new("a", LinkKind::Tap, s.worker.now());
    let setup = LinkSetup::Tap { fd: tap.fd, offloads: OffloadSet::empty(), vnet_hdr_len: 12 };
    let port = s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap();
    let (_, client) = s.stream_port("b", PortSpec::default());
    unix::set_nonblocking(kept.as_fd(), false).unwrap();
    // The kernel's neighbour discovery gives the worker something to read, and the client
    // something to write; a turn that waits for more never ends.
    bring_up("eth0", 1);
    let mut tries = 0;
    while s.counter(port, "rx_frames") == 0 && tries < 1_000_000 {
        s.turn();
        tries += 1;
    }
    assert!(s.counter(port, "rx_frames") > 0);
    send(&client, &record(&frame(1, 0, 60, 1))).unwrap();
    s.turns();
    assert_eq!(s.counter(port, "tx_broadcast"), 1);
    assert_eq!(s.dropped(port, Reason::LinkRefused), 0);
    assert!(s.closed().is_empty());
}

#[test]
fn a_descriptor_that_is_no_tap_is_refused() {
    let mut s = Stage::new("no-tap");
    let (fd, _other) = unix::pair(SocketKind::Stream, true).unwrap();
    let about = PortAbout::new("a", LinkKind::Tap, s.worker.now());
    let setup = LinkSetup::Tap { fd, offloads: OffloadSet::empty(), vnet_hdr_len: 12 };
    let e = s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap_err();
    assert!(e.to_string().contains("/dev/net/tun"), "{e}");
    let (fd, _other) = unix::pair(SocketKind::Seqpacket, true).unwrap();
    let about = PortAbout::new("a", LinkKind::Packet, s.worker.now());
    let setup = LinkSetup::Packet { fd, offloads: OffloadSet::empty() };
    let e = s.worker.open_link(s.net, PortSpec::default(), setup, about).unwrap_err();
    assert!(e.to_string().contains("packet socket"), "{e}");
    assert_eq!(s.worker.ports(s.net).count(), 0);
}

/// A link whose frame somebody perhaps still reads.
#[derive(Debug)]
struct Lending(Option<Frame>);

impl Link for Lending {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn receive(&mut self, _: &mut Intake<'_>) -> Result<Progress, CloseReason> {
        Ok(Progress::Done)
    }

    fn transmit(&mut self, _: &mut Pool, _: &mut TxBatch) -> Sent {
        Sent { state: Ok(LinkState::Free), refused: 0 }
    }

    fn lent(&mut self) -> Vec<Frame> {
        self.0.take().into_iter().collect()
    }
}

#[test]
fn what_a_link_has_lent_is_nobody_elses_for_a_while_after_its_end() {
    let mut stage = Stage::new("lent");
    let worker = &mut stage.worker;
    let frame = worker.pool.copy_in(&[7; 5000], wire::Offload::NONE).unwrap();
    let about = PortAbout::new("lending", LinkKind::Nic, worker.now());
    let link = Box::new(Lending(Some(frame)));
    let port = worker.open_boxed(stage.net, PortSpec::default(), link, about, None).unwrap();
    let now = worker.now();
    worker.close_port(stage.net, port, CloseReason::Requested);
    let end = worker.timers.next().expect("it is looked at again");
    assert!(end >= now + Duration::from_secs(5));
    let used = |worker: &Worker| worker.pool.usage().large.used;
    assert_eq!(used(worker), 1);
    worker.release_retired(now);
    assert_eq!(used(worker), 1, "too soon");
    worker.fire(end, Timer::Retired);
    assert_eq!(used(worker), 0);
}
