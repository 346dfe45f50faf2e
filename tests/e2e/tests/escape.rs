//! What a guest of `run` cannot do to the outside, as itself and as user id 0 of its namespace.
#![forbid(unsafe_code)]

use e2e::{Lab, Tun, User, need};

const NET: &str = "default";
const PROGRAM: &str = include_str!("programs/escape.py");

fn is_held(tun: Tun, root: bool) {
    need!(tun.possible());
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "neighbour", "--", "sleep", "600"]).tun(tun);
    let mut neighbour = person.guest(NET, "neighbour", run);
    let before = person.show(NET);

    let mut line = vec!["run", "--name", "prisoner"];
    line.extend(root.then_some("--root"));
    line.extend(["--", "python3", "-c", PROGRAM]);
    let output = person
        .netherd(line)
        .arg(person.network(NET))
        .arg(before.pid().to_string())
        .arg(neighbour.pid().to_string())
        .arg(e2e::binary::netherd())
        .tun(tun)
        .run();
    let account = output.account();
    let said = output.ok();
    assert!(!said.contains("ESCAPED"), "{account}");
    assert!(!said.contains("nested run"), "a netherd inside must work: {account}");
    assert!(said.ends_with("held\n"), "{account}");

    // Nobody outside was touched, and nobody joined.
    assert!(neighbour.alive());
    let after = person.show(NET);
    assert_eq!(after.pid(), before.pid());
    let names: Vec<String> = after.ports().map(|port| port.name().to_owned()).collect();
    assert_eq!(names, ["neighbour"]);
}

#[test]
fn a_guest_on_a_packet_socket_is_held() {
    is_held(Tun::Closed, false);
}

#[test]
fn a_guest_on_a_tap_is_held() {
    is_held(Tun::Open, false);
}

#[test]
fn user_0_of_a_guest_on_a_packet_socket_is_held() {
    is_held(Tun::Closed, true);
}

#[test]
fn user_0_of_a_guest_on_a_tap_is_held() {
    is_held(Tun::Open, true);
}
