//! How guests end, and what is left of them: commands that do not heed a signal, that have stopped, that have deleted
//! their own interface.
#![forbid(unsafe_code)]

use std::time::Duration;

use e2e::{Lab, Tun, User, need, until};

/// Fills standard error, which it has from `run`, up to the last byte; then loses its interface.
const FILLER: &str = "import os,subprocess,time\n\
    os.set_blocking(2,False)\n\
    try:\n\
    \x20while True: os.write(2,b'x'*4096)\n\
    except BlockingIOError: pass\n\
    try:\n\
    \x20while True: os.write(2,b'x')\n\
    except BlockingIOError: pass\n\
    os.set_blocking(2,True)\n\
    subprocess.run(['ip','link','del','eth0'],check=True,stderr=subprocess.DEVNULL)\n\
    print('deleted',flush=True)\n\
    time.sleep(600)\n";
/// Starts `run` with a standard error that nobody reads, ends it with SIGTERM once it is told on standard input, and
/// says how it ended. Arguments: netherd, FILLER.
const STARTER: &str = "import os,subprocess,sys\n\
    unread,error=os.pipe()\n\
    run=subprocess.Popen([sys.argv[1],'run','--name','full','--','python3','-c',sys.argv[2]],\n\
    \x20stdin=subprocess.DEVNULL,stderr=error)\n\
    os.close(error)\n\
    sys.stdin.read(1)\n\
    run.terminate()\n\
    try: print('ended with',run.wait(8))\n\
    except subprocess.TimeoutExpired: print('did not end'); run.kill()\n";

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

/// What `run` has to say about its network it says in passing: who shares its standard error can have filled it.
#[test]
fn run_is_not_deaf_while_nobody_reads_its_standard_error() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::program("ip"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let (read, write) = std::io::pipe().expect("a pipe");
    let starter = person.job("python3").args(["-c", STARTER]).arg(e2e::binary::netherd());
    let mut starter = starter.arg(FILLER).stdin(read).spawn();
    starter.says("deleted");
    until("its port to close", || person.show(NET).find("full").is_none().then_some(()));
    std::io::Write::write_all(&mut &write, b"x").expect("it reads");
    let output = starter.end_within(Duration::from_secs(20));
    assert!(output.stdout.ends_with("ended with -15\n"), "{}", output.account());
}
