//! Declared ports: nodes of their own, with an address, a VLAN and permissions of their own.
#![forbid(unsafe_code)]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use e2e::client::frame::{BROADCAST, EXPERIMENT, frame, mac, payload};
use e2e::client::stream::Stream;
use e2e::{Lab, Person, Running, User, need, until};

const NET: &str = "n";

fn serve(person: &Person<'_>, config: &str) -> Running {
    let file = person.home().join("c.toml");
    let frames = format!("[network.n]\nguard.ethertypes = [{EXPERIMENT}]\n");
    std::fs::write(&file, frames + config).expect("the lab is ours");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("ours");
    person.serving(NET, person.netherd(["up", "-c"]).arg(&file))
}

/// A frame with an 802.1Q tag.
fn tagged(destination: [u8; 6], source: [u8; 6], vlan: u16, text: &[u8]) -> Vec<u8> {
    let mut bytes = [destination, source].concat();
    for field in [0x8100, vlan, EXPERIMENT] {
        bytes.extend_from_slice(&field.to_be_bytes());
    }
    bytes.extend_from_slice(text);
    bytes.resize(64, 0);
    bytes
}

#[test]
fn access_and_trunk_ports_share_a_vlan() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = serve(
        &person,
        "[network.n.port.ten]\nvlan = 10\n[network.n.port.twenty]\nvlan = 20\n\
         [network.n.port.trunk]\ntrunk = { native = 1, allowed = [10] }\nmax_macs = 4\n",
    );
    let [mut ten, mut twenty, mut trunk, mut plain] =
        ["ports/ten/stream", "ports/twenty/stream", "ports/trunk/stream", "stream"]
            .map(|node| Stream::connect(&person.node(NET, node)));
    until("four ports", || (person.show(NET).ports().count() == 4).then_some(()));

    // Tagged on the trunk, untagged on the access port, and nowhere else.
    ten.send(&frame(BROADCAST, mac(10), b"from ten"));
    let heard = trunk.receive().expect("a frame");
    assert_eq!(heard[12..16], [0x81, 0, 0, 10]);
    assert!(heard[18..].starts_with(b"from ten"), "{heard:?}");
    trunk.send(&tagged(mac(10), mac(1), 10, b"back to ten"));
    assert!(
        payload(&ten.receive().expect("a frame")).is_some_and(|p| p.starts_with(b"back to ten"))
    );
    // The trunk's untagged frames are VLAN 1's, where the anonymous clients are.
    trunk.send(&frame(BROADCAST, mac(1), b"untagged"));
    assert!(
        payload(&plain.receive().expect("a frame")).is_some_and(|p| p.starts_with(b"untagged"))
    );

    // What is not allowed is dropped for its sender, by name.
    trunk.send(&tagged(BROADCAST, mac(1), 20, b"not allowed"));
    plain.send(&tagged(BROADCAST, mac(2), 10, b"no tags here"));
    let report = person.show_until(NET, "both refusals", |report| {
        let trunk = report.port("trunk").dropped("vlan-not-allowed");
        let plain = report.ports().map(|port| port.dropped("vlan-tagged")).max()?;
        (trunk == 1 && plain == 1).then(|| report.clone())
    });
    assert_eq!(report.port("ten").counter("tx_frames"), 1, "{:#}", report.0);
    assert_eq!(report.port("twenty").counter("tx_frames"), 0, "{:#}", report.0);
    twenty.send(&frame(mac(10), mac(20), b"another VLAN's address"));
    person.show_until(NET, "its verdict", |report| {
        (report.port("twenty").counter("rx_frames") == 1).then_some(())
    });
    assert_eq!(person.show(NET).port("ten").counter("tx_frames"), 1, "VLANs leak");
}

#[test]
fn isolated_ports_do_not_talk_to_each_other() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = serve(
        &person,
        "[network.n.port.a]\nisolated = true\n[network.n.port.b]\nisolated = true\n",
    );
    let [mut a, mut b, mut server] = ["ports/a/stream", "ports/b/stream", "stream"]
        .map(|node| Stream::connect(&person.node(NET, node)));
    until("three ports", || (person.show(NET).ports().count() == 3).then_some(()));
    a.send(&frame(BROADCAST, mac(1), b"from a"));
    assert!(payload(&server.receive().expect("a frame")).is_some_and(|p| p.starts_with(b"from a")));
    b.send(&frame(mac(1), mac(2), b"to a"));
    server.send(&frame(mac(1), mac(3), b"from the server"));
    let heard = a.receive().expect("a frame");
    assert!(payload(&heard).is_some_and(|p| p.starts_with(b"from the server")), "{heard:?}");
    let report = person.show(NET);
    assert_eq!(report.port("b").dropped("isolated"), 1, "{:#}", report.0);
    assert_eq!(report.port("a").counter("tx_frames"), 1, "{:#}", report.0);
    assert_eq!(report.port("b").counter("tx_frames"), 0, "{:#}", report.0);
}

/// A declared address is the port's, present or away; and one connection at a time holds the port.
#[test]
fn a_declared_address_is_kept_for_its_port() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let declared = e2e::report::mac_text(mac(7));
    let _daemon =
        serve(&person, &format!("[network.n.port.web]\nmac = \"{declared}\"\nmode = \"0600\"\n"));
    let node = person.node(NET, "ports/web/stream");
    assert_eq!(node.metadata().expect("a node").mode() & 0o777, 0o600);

    let mut thief = Stream::connect(&person.node(NET, "stream"));
    thief.send(&frame(BROADCAST, mac(7), b"I am web"));
    thief.send(&frame(BROADCAST, mac(8), b"I am not"));
    person.show_until(NET, "the thief's two verdicts", |report| {
        let port = report.behind(mac(8))?;
        (port.dropped("mac-bound") == 1).then_some(())
    });

    let mut web = Stream::connect(&node);
    web.send(&frame(BROADCAST, mac(9), b"not my address"));
    web.send(&frame(mac(8), mac(7), b"mine"));
    let heard = thief.receive_until(|frame| frame[..6] == mac(8));
    assert!(payload(&heard).is_some_and(|p| p.starts_with(b"mine")));
    assert_eq!(person.show(NET).port("web").dropped("mac-foreign"), 1);
    // The second connection is hung up on, and the first does not notice.
    let mut second = UnixStream::connect(&node).expect("the node listens");
    second.set_read_timeout(Some(e2e::wait::PATIENCE)).expect("a socket takes a timeout");
    assert_eq!(std::io::Read::read(&mut second, &mut [0; 4]).unwrap_or(0), 0, "it was served");
    thief.send(&frame(mac(7), mac(8), b"still there"));
    assert!(
        payload(&web.receive_until(|f| f[..6] == mac(7)))
            .is_some_and(|p| p.starts_with(b"still there"))
    );
}

/// A network that somebody configured does not come back as another one: its guests wait for its owner.
#[test]
fn guests_of_a_killed_network_wait_for_its_configuration() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = "mtu = 1400\nnodes = [\"stream\"]\n[network.n.port.web]\n";
    let first = serve(&person, config);
    let run = person.netherd(["run", "--net", NET, "--name", "g", "--", "sleep", "60"]);
    let guest = person.guest(NET, "g", run);
    let before = person.port(NET, "g");

    let pid = rustix::process::Pid::from_raw(first.pid()).expect("not 0");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ours");
    e2e::job::gone(first.pid(), e2e::wait::PATIENCE);
    // Its keeper tries at once, tries again, and says that it waits.
    let waits = "Network n is down; guest g waits until its owner serves it again";
    until("the keeper's word", || guest.stderr().contains(waits).then_some(()));
    let log = person.home().join(".local/state/netherd/n.log");
    assert!(!log.exists() && person.try_show(NET).is_none(), "nobody started another network");

    let second = serve(&person, config);
    let after = person.show_until(NET, "the guest's return", |report| report.find("g"));
    assert_eq!(person.show(NET).pid(), second.pid());
    assert!(person.node(NET, "ports/web/stream").exists());
    assert!(!person.node(NET, "stream").with_file_name("ctl").exists());
    assert_eq!(
        (after.mac(), after.ipv4(), after.ipv6()),
        (before.mac(), before.ipv4(), before.ipv6())
    );
}

/// A declared port is known while nobody has it open, and can be captured from its first frame on.
#[test]
fn a_port_is_captured_from_its_first_frame() {
    need!(e2e::skip::program("tcpdump"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = serve(&person, "nodes = [\"stream\"]\n[network.n.port.web]\n");
    let said = person.netherd(["show", "web", "--net", NET]).run().refused();
    assert!(said.contains("declared") && said.contains("ports/web/stream"), "{said}");
    let said = person.netherd(["capture", "nobody", "--net", NET, "-w", "x"]).run().refused();
    assert!(said.contains("nobody"), "{said}");
    let file = person.home().join("web.pcapng");
    let capture = person.netherd(["capture", "web", "--net", NET, "-w"]).arg(&file).spawn();
    until("the head of the file", || {
        std::fs::metadata(&file).is_ok_and(|it| it.len() > 0).then_some(())
    });
    let mut other = Stream::connect(&person.node(NET, "stream"));
    other.send(&frame(BROADCAST, mac(7), b"of another port"));
    person.show_until(NET, "the other's address", |report| report.behind(mac(7)));
    let mut web = Stream::connect(&person.node(NET, "ports/web/stream"));
    web.send(&frame(BROADCAST, mac(8), b"the first"));
    person.show_until(NET, "its address", |report| report.behind(mac(8)));
    let _ = capture.stop(rustix::process::Signal::INT).ok();
    let said = person.job("tcpdump").args(["-n", "-e", "-A", "-r"]).arg(&file).run().ok();
    let (its, others) = (e2e::report::mac_text(mac(8)), e2e::report::mac_text(mac(7)));
    assert!(said.contains(&its) && !said.contains(&others), "{said}");
}
