//! How guests end, and what is left of them: commands that do not heed a signal, that have stopped, that have deleted
//! their own interface.
#![forbid(unsafe_code)]

use std::time::Duration;

use e2e::{Lab, Tun, User, need, until};

const NET: &str = "default";

/// Less than after which a command is killed.
const SOON: Duration = Duration::from_secs(8);

/// An interactive shell, the default command, is of this kind.
#[test]
fn detach_ends_who_does_not_heed_sigterm() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "trap '' TERM; echo up; while :; do sleep 1; done";
    let run = person.netherd(["run", "--name", "deaf", "--", "sh", "-c", script]);
    let mut deaf = person.guest(NET, "deaf", run);
    deaf.says("up");
    person.netherd(["detach", "deaf"]).run().ok();
    let output = deaf.end_within(SOON);
    assert!(!output.status.success(), "{}", output.account());
}

#[test]
fn a_guest_in_the_background_that_has_stopped_ends_with_its_network() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "sleep 600 & kill -STOP $$; wait";
    person.netherd(["run", "-d", "--name", "still", "--", "sh", "-c", script]).run().ok();
    let stopped = || {
        lab.processes().into_iter().find(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
        })
    };
    until("the command to stop", stopped);
    person.netherd(["down"]).run().ok();
    until("the end of all of it", || lab.processes().is_empty().then_some(()));
}

fn a_guest_without_its_interface(tun: Tun) {
    need!(tun.possible());
    need!(e2e::skip::program("ip"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "read go; ip link del eth0 && echo deleted; exec sleep 600";
    let (read, write) = std::io::pipe().expect("a pipe");
    let run = person.netherd(["run", "--name", "cut", "--", "sh", "-c", script]);
    let mut guest = person.guest(NET, "cut", run.stdin(read).tun(tun));
    std::io::Write::write_all(&mut &write, b"go\n").expect("it reads");
    guest.says("deleted");
    until("its port to close", || person.show(NET).find("cut").is_none().then_some(()));
    until("to be told", || guest.stderr().contains("interface was deleted").then_some(()));
    assert!(guest.alive(), "it may have more to do than the network");
    assert!(person.show(NET).find("cut").is_none());
}

#[test]
fn a_guest_that_deletes_its_tap_is_in_no_network_any_more() {
    a_guest_without_its_interface(Tun::Open);
}

#[test]
fn a_guest_that_deletes_its_veth_is_in_no_network_any_more() {
    a_guest_without_its_interface(Tun::Closed);
}
