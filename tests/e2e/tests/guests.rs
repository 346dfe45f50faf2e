//! The main job: two programs, each with an Ethernet of its own, reach each other.
#![forbid(unsafe_code)]

use std::os::unix::fs::PermissionsExt;

use e2e::{Lab, Person, Running, Tun, User, need};
use serde_json::Value;

const NET: &str = "default";

/// A guest that stays, with its port up.
fn stays(person: &Person<'_>, name: &str, tun: Tun, command: &[&str]) -> Running {
    person.guest(NET, name, person.netherd(["run", "--name", name, "--"]).args(command).tun(tun))
}

/// Ping and iperf3 between two guests over `tun`'s mechanism, which must be `link`.
fn reach_each_other(tun: Tun, link: &str) {
    need!(tun.possible());
    need!(e2e::skip::program("ping"));
    need!(e2e::skip::program("iperf3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _server = stays(&person, "server", tun, &["iperf3", "-s"]);
    let server = person.port(NET, "server");
    assert_eq!(server.link(), link);

    let client = |command: &[&str]| {
        person.netherd(["run", "--name", "client", "--"]).args(command).tun(tun).run().ok()
    };
    for address in [server.ipv4(), server.ipv6()] {
        let said = client(&["ping", "-c", "3", "-i", "0.2", "-W", "5", &address]);
        assert!(said.contains("3 packets transmitted, 3 received, 0% packet loss"), "{said}");
    }
    for address in [server.ipv4(), server.ipv6()] {
        let said = client(&["iperf3", "-c", &address, "-n", "30M", "-J"]);
        let result: Value = serde_json::from_str(&said).expect("iperf3 -J prints JSON");
        let bytes = |side: &str| result["end"][side]["bytes"].as_u64().expect("a number of bytes");
        assert!(bytes("sum_sent") >= 30_000_000, "{} by TCP to {address}", result["end"]);
        // The receiver stops counting when the sender says it is done, some frames before the last.
        assert!(bytes("sum_received") >= 20_000_000, "{} by TCP to {address}", result["end"]);

        let said = client(&["iperf3", "-c", &address, "-u", "-b", "20M", "-n", "2M", "-J"]);
        let result: Value = serde_json::from_str(&said).expect("iperf3 -J prints JSON");
        let sum = &result["end"]["sum"];
        let number = |name: &str| sum[name].as_u64().expect("a number of datagrams");
        assert!(number("packets") > 1000, "{sum}");
        // Some may be lost in the receiver's own socket, when it has to wait for a processor.
        assert!(number("lost_packets") * 10 < number("packets"), "{sum}");
    }
    // Nothing of this was foreign, bad or too much.
    let after = person.port(NET, "server");
    for reason in [
        "mac-foreign",
        "bad-offload",
        "offload-undeclared",
        "oversize",
        "bad-framing",
        "segment-failed",
        "link-refused",
    ] {
        assert_eq!(after.dropped(reason), 0, "{reason}: {:#}", after.0);
    }
}

#[test]
fn guests_on_taps_reach_each_other() {
    reach_each_other(Tun::Open, "tap");
}

#[test]
fn guests_on_packet_sockets_reach_each_other() {
    reach_each_other(Tun::Closed, "packet");
}

/// The two mechanisms on one network: offloads differ, the network does not.
#[test]
fn a_tap_and_a_packet_socket_reach_each_other() {
    need!(Tun::Closed.possible());
    need!(e2e::skip::program("iperf3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _server = stays(&person, "server", Tun::Open, &["iperf3", "-s"]);
    let server = person.port(NET, "server");
    for direction in ["--bidir", "-R"] {
        let said = person
            .netherd(["run", "--", "iperf3", "-c", &server.ipv4(), "-t", "1", direction])
            .tun(Tun::Closed)
            .run()
            .ok();
        assert!(said.contains("receiver"), "{said}");
    }
}

/// A hub carries what a switch does, and by name, with the guard that guests of `run` have.
#[test]
fn guests_on_a_hub_reach_each_other() {
    need!(e2e::skip::program("ping"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let config = person.home().join("hub.toml");
    std::fs::write(&config, format!("[network.{NET}]\nforwarding = \"hub\"\n")).expect("ours");
    std::fs::set_permissions(&config, PermissionsExt::from_mode(0o644)).expect("ours");
    let _daemon = person.serving(NET, person.netherd(["up", "-c"]).arg(&config));
    let _one = stays(&person, "one", Tun::AsIs, &["sleep", "60"]);
    for family in ["-4", "-6"] {
        let ping = ["run", "--", "ping", family, "-c", "2", "-i", "0.2", "-W", "5", "one"];
        let said = person.netherd(ping).run().ok();
        assert!(said.contains("2 received"), "{said}");
    }
    assert_eq!(person.port(NET, "one").dropped("not-addressed"), 0);
}

/// Root is a user too: everything works for him, in his own directory.
#[test]
fn root_runs_guests_too() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let root = lab.person(need!(User::root()));
    let _one = stays(&root, "one", Tun::AsIs, &["sleep", "60"]);
    let one = root.port(NET, "one");
    for address in [one.ipv4(), one.ipv6()] {
        let said = root.netherd(["run", "--", "ping", "-c", "1", "-W", "5", &address]).run().ok();
        assert!(said.contains("1 received"), "{said}");
    }
}

/// Two networks of one user do not hear each other.
#[test]
fn networks_are_apart() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _one = stays(&person, "one", Tun::Open, &["sleep", "60"]);
    let address = person.port(NET, "one").ipv4();
    let said = person
        .netherd(["run", "--net", "other", "--", "ping", "-c", "1", "-W", "1", &address])
        .run();
    assert!(!said.status.success(), "{}", said.account());
    let one = person.port(NET, "one");
    // The router of its own network may have answered its question for one.
    assert!(one.counter("tx_unicast") <= 1, "{:#}", one.0);
}
