//! VDE's own programs on the `ctl` node: the network's directory is a VDE switch.
#![forbid(unsafe_code)]

use e2e::client::frame::{BROADCAST, frame, mac, payload};
use e2e::client::stream::Stream;
use e2e::{Lab, Plug, User, need};

const NET: &str = "n";

/// `vde_plug` speaks frames on its standard streams, each behind a 16-bit big-endian length.
#[test]
fn vde_plug_carries_frames_both_ways() {
    need!(e2e::skip::program("vde_plug"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up_for_frames(NET, "");
    let mut other = Stream::connect(&person.node(NET, "stream"));
    other.send(&frame(BROADCAST, mac(2), b"first"));

    let sent = frame(mac(2), mac(1), b"from vde_plug");
    let mut record = u16::try_from(sent.len()).expect("short").to_be_bytes().to_vec();
    record.extend_from_slice(&sent);
    let input = person.home().join("input");
    std::fs::write(&input, &record).expect("the lab is ours");
    let directory = person.network(NET);
    // What is sent into a plug whose input ends is cut off, so the input stays open.
    let script =
        format!("(cat {}; sleep 30) | exec vde_plug {}", input.display(), directory.display());
    let plug = person.job("sh").args(["-c", &script]).spawn();

    let heard = other.receive_until(|frame| frame[..6] == mac(2));
    assert!(payload(&heard).is_some_and(|p| p.starts_with(b"from vde_plug")));
    other.send(&frame(mac(1), mac(2), b"answer to vde_plug"));
    e2e::until("the answer on vde_plug's output", || {
        plug.stdout().contains("answer to vde_plug").then_some(())
    });
    let port = person.show(NET).behind(mac(1)).expect("learned");
    assert_eq!((port.link(), port.drops()), ("vde", 0), "{:#}", port.0);
    assert_eq!(port.0["uid"], person.user().uid);
}

/// Two namespaces whose taps hang on `vde_plug2tap`: two kernels' stacks talk through the network.
#[test]
fn two_plugged_taps_reach_each_other() {
    need!(e2e::skip::program("iperf3"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let root = lab.person(need!(User::root()));
    let _daemon = person.up(NET);
    let directory = person.network(NET);
    let report = person.show(NET);

    let mut sides = Vec::new();
    for number in [1_u32, 2] {
        let plug = need!(Plug::new(&root, &directory));
        let netns = &plug.netns;
        let (ipv4, length4) = report.spare_ipv4(number);
        let (ipv6, length6) = report.spare_ipv6(number);
        netns.ip(&["addr", "add", &format!("{ipv4}/{length4}"), "dev", "tap0"]);
        netns.ip(&["addr", "add", &format!("{ipv6}/{length6}"), "dev", "tap0", "nodad"]);
        netns.ip(&["link", "set", "tap0", "up"]);
        sides.push((plug, ipv4.to_string(), ipv6.to_string()));
    }
    let [(one, ..), (other, ipv4, ipv6)] = &sides[..] else { panic!("two sides") };
    for address in [ipv4, ipv6] {
        let ping = one.job(&root, "ping").args(["-c", "3", "-i", "0.2", "-W", "5", address]);
        let said = ping.run().ok();
        assert!(said.contains(" 3 received"), "{said}");
    }
    let server = other.job(&root, "iperf3").args(["-s", "-1"]).spawn();
    e2e::until("iperf3's listening socket", || {
        let said =
            other.netns.command("ss").args(["-Hltn", "sport", "=", ":5201"]).output().ok()?;
        (!said.stdout.is_empty()).then_some(())
    });
    let said = one.job(&root, "iperf3").args(["-c", ipv4, "-n", "10M"]).run().ok();
    assert!(said.contains("receiver"), "{said}");
    drop(server);
    for port in person.show(NET).ports() {
        assert_eq!(port.link(), "vde");
        assert_eq!(port.dropped("oversize") + port.dropped("bad-framing"), 0, "{:#}", port.0);
    }
}

/// The path that a client names is followed only when it is a socket of its own.
#[test]
fn a_data_socket_of_another_is_not_used() {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _daemon = person.up(NET);
    let folder = lab.folder("open", person.user(), 0o777);
    let real = folder.join("real");
    let _data = UnixDatagram::bind(&real).expect("a data socket");
    let link = folder.join("link");
    std::os::unix::fs::symlink(&real, &link).expect("a symbolic link");
    let plain = folder.join("plain");
    std::fs::write(&plain, b"").expect("a plain file");
    let mut refused = vec![link, plain, folder.join("missing"), folder.clone()];
    if let Ok(other) = User::second() {
        let foreign = folder.join("foreign");
        let _ = UnixDatagram::bind(&foreign).expect("a socket");
        std::os::unix::fs::chown(&foreign, Some(other.uid), Some(other.gid)).expect("root may");
        refused.push(foreign);
    }
    for path in refused {
        let mut control = UnixStream::connect(person.node(NET, "ctl")).expect("the switch listens");
        control.set_read_timeout(Some(e2e::wait::PATIENCE)).expect("a socket takes a timeout");
        let request = e2e::client::vde::request(path.as_os_str().as_encoded_bytes(), "");
        control.write_all(&request).expect("the switch reads");
        // VDE's only way to say no is to hang up.
        assert_eq!(control.read(&mut [0; 110]).unwrap_or(0), 0, "{} was used", path.display());
    }
    assert_eq!(person.show(NET).ports().count(), 0);
}
