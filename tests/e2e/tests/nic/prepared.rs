//! Devices that an administrator prepared for one user: a tap in a bridge, and a macvtap.

use std::os::unix::fs::chown;
use std::path::PathBuf;

use e2e::{Lab, Person, Running, User, need, until};
use wire::MacAddr;

use super::{NET, STRANGER, Segment, datagram, guest, path};

/// The part of the segment's subnet that is left to the network; the wire has the first address of each.
const SUBNET: &str = "198.18.0.0/16";
const WIRE: &str = "198.18.0.1";
const PREFIX: &str = "2001:db8:18::/64";
const WIRE6: &str = "2001:db8:18::1";

fn needs() -> Result<(), String> {
    for program in ["ip", "ping", "iperf3", "python3"] {
        e2e::skip::program(program)?;
    }
    e2e::skip::namespaces()
}

fn segment(word: &str) -> Result<Segment, String> {
    let segment = Segment::new(word)?;
    segment.wire.ip(&["address", "add", &format!("{WIRE}/16"), "dev", "wire0"]);
    segment.wire.ip(&["address", "add", &format!("{WIRE6}/64"), "dev", "wire0", "nodad"]);
    Ok(segment)
}

fn network(person: &Person<'_>, segment: &Segment, uplink: &str) -> Running {
    let config = person.home().join("lan.toml");
    let text = format!(
        "[network.{NET}]\nuplink = \"{uplink}\"\naddresses = \"plan\"\nsubnet = \"{SUBNET}\"\n\
         prefix = \"{PREFIX}\"\n"
    );
    std::fs::write(&config, text).expect("a configuration");
    person.serving(NET, person.netherd(["up", "-c", path(&config)]).netns(&segment.host))
}

/// Guests and the wire reach each other, large frames too, and nobody outside can be a guest.
fn is_a_segment(person: &Person<'_>, segment: &Segment) {
    let script = "iperf3 -s -1 > /dev/null; iperf3 -s -1 > /dev/null; echo done; exec sleep 600";
    let mut web = person.guest(NET, "web", guest(person, segment, "web", script));
    let port = person.port(NET, "web");
    let (v4, v6, mac) = (port.ipv4(), port.ipv6(), MacAddr(port.mac()));
    segment.ping(&[&v4, &v6]);
    segment.stream_both_ways(&v4);
    web.says("done");
    let count = 5;
    // To everybody: the bridge believes what it sees last, and brings the guest nothing until that speaks again.
    let as_mac = datagram((mac, WIRE), (MacAddr::BROADCAST, &v4));
    let as_ip = datagram((STRANGER, &v4), (MacAddr::BROADCAST, &v4));
    let before = person.port(NET, "uplink").dropped("outside-identity");
    segment.send(&[&as_mac, &as_ip], count);
    let dropped = before + 2 * count as u64;
    person.show_until(NET, "the forged frames' drops", |report| {
        (report.port("uplink").dropped("outside-identity") == dropped).then_some(())
    });

    let script = [WIRE, WIRE6, &v4, &v6].map(|to| format!("ping -c 2 -W 5 {to}")).join(" && ");
    let said = guest(person, segment, "other", &script).run().ok();
    assert_eq!(said.matches(" 0% packet loss").count(), 4, "{said}");
}

#[test]
fn a_tap_in_a_bridge_leads_to_the_segment_and_back_after_it_was_gone() {
    need!(needs());
    need!(e2e::Tun::Open.possible());
    let segment = need!(segment("tap"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let make = || {
        let line = ["tuntap", "add", "dev", "tap0", "mode", "tap", "user", &person.user().name];
        segment.host.ip(&line);
    };
    let enslave = |device: &str| segment.host.ip(&["link", "set", device, "up", "master", "br0"]);
    segment.host.ip(&["link", "add", "br0", "type", "bridge", "stp_state", "0"]);
    segment.host.ip(&["link", "set", "br0", "up"]);
    make();
    enslave("tap0");
    enslave("nic0");
    let _daemon = network(&person, &segment, "tap:tap0");
    assert_eq!(person.port(NET, "uplink").link(), "tap");
    is_a_segment(&person, &segment);

    // The administrator takes the device away and makes it again; guests keep their links.
    let listener = guest(&person, &segment, "stays", "echo up; exec sleep 600");
    let _listener = person.guest(NET, "stays", listener);
    let address = person.port(NET, "stays").ipv4();
    segment.host.ip(&["link", "delete", "tap0"]);
    person.show_until(NET, "the uplink's end", |report| {
        report.find("uplink").is_none().then_some(())
    });
    make();
    enslave("tap0");
    until("the uplink's return", || person.try_show(NET)?.find("uplink").map(drop));
    segment.ping(&[&address]);
}

#[test]
fn a_macvtap_leads_to_the_segment() {
    need!(needs());
    let segment = need!(segment("mvt"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // Indexes are counted in each namespace, the character devices of all are in one /dev.
    let index = 10_000 + std::process::id() % 1_000_000;
    let line = format!("link add link nic0 name mv0 index {index} type macvtap mode passthru");
    let words: Vec<&str> = line.split(' ').collect();
    let made = segment.host.command("ip").args(words).output().expect("iproute2 runs");
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).trim().to_owned();
        e2e::skip!("this kernel has no macvtap: {why}");
    }
    let device = PathBuf::from(format!("/dev/tap{index}"));
    if !device.exists() {
        e2e::skip!(
            "{} does not appear: /dev is no devtmpfs and there is no udev",
            device.display()
        );
    }
    chown(&device, Some(person.user().uid), None).expect("root gives the device away");
    segment.host.ip(&["link", "set", "mv0", "up", "allmulticast", "on"]);
    let _daemon = network(&person, &segment, "macvtap:mv0");
    assert_eq!(person.port(NET, "uplink").link(), "tap");
    is_a_segment(&person, &segment);
}
