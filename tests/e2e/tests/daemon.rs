//! The hypervisor's life: who starts it, that there is one, what a crash leaves, and its end.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use e2e::client::frame::{BROADCAST, frame, mac};
use e2e::client::stream::Stream;
use e2e::job::gone;
use e2e::wait::PATIENCE;
use e2e::{Lab, Running, User, need, until, until_for};
use rustix::process::{Pid, Signal, kill_process};

const NET: &str = "n";

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).expect("not 0"), signal).expect("our daemon can be signalled");
}

/// Many first users at once: one daemon, all on it.
#[test]
fn racing_first_users_end_on_one_network() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let guests: Vec<Running> = (0..6)
        .map(|i| {
            person
                .netherd(["run", "--net", NET, "--name", &format!("g{i}"), "--", "sleep", "60"])
                .spawn()
        })
        .collect();
    let report = person.show_until(NET, "all six guests on one network", |report| {
        (0..6).all(|i| report.find(&format!("g{i}")).is_some()).then(|| report.clone())
    });
    let listed = person.netherd(["ls", "--json"]).run().ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("ls --json prints JSON");
    let networks = listed.as_array().expect("a list");
    assert_eq!(networks.len(), 1, "{listed:#}");
    assert_eq!(networks[0]["pid"], report.pid());
    // Those that lost the race to serve are gone.
    let serving = || {
        lab.processes().into_iter().filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"up")
        })
    };
    until("one daemon", || (serving().count() == 1).then_some(()));
    drop(guests);
}

/// The second hypervisor on a directory is refused with a sentence that names the first, which notices nothing.
#[test]
fn a_second_hypervisor_is_refused() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let first = person.up(NET);
    let said = person.netherd(["up", NET]).run().refused();
    assert!(said.contains(&first.pid().to_string()) || said.contains("already"), "{said}");
    assert_eq!(person.show(NET).pid(), first.pid());
}

/// The daemon that `run` starts lets go of the caller's terminal, session, directory and streams.
#[test]
fn the_started_daemon_is_detached() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let said = person.netherd(["run", "--net", NET, "--", "true"]).run();
    assert!(!said.held, "the daemon holds the caller's output");
    let _ = said.ok();
    // It outlives its last guest for some seconds.
    let pid = person.show(NET).pid();
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).expect("it lives");
    assert_eq!(comm, "netherd\n");
    let field = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).expect("it lives");
    assert_eq!(field("cwd"), Path::new("/"));
    for stream in ["fd/0", "fd/1"] {
        assert_eq!(field(stream), Path::new("/dev/null"), "{stream}");
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = stat.rsplit(") ").next().expect("after the name").split(' ').collect();
    let (parent, session, terminal) = (fields[1], fields[3], fields[4]);
    assert_eq!(terminal, "0", "no terminal");
    assert_ne!(session, "0");
    assert_ne!(parent.parse::<u32>().expect("a number"), std::process::id());
    let log = person.home().join("state/netherd").join(format!("{NET}.log"));
    assert!(log.is_file(), "its log is at {}", log.display());
}

/// With its last guest gone, a network that `run` started ends, and takes its nodes with it.
#[test]
fn an_idle_network_ends() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let _ = person.netherd(["run", "--net", NET, "--", "true"]).run().ok();
    let pid = person.show(NET).pid();
    gone(pid, Duration::from_secs(60));
    for node in ["api", "stream", "ctl", "dgram", "seqpacket"] {
        let path = person.network(NET).join(node);
        assert!(!path.exists(), "{} is left behind", path.display());
    }
}

/// A guest keeps its network up; `down` ends both, by name and cleanly.
#[test]
fn down_ends_a_network() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let guest = person.guest(
        NET,
        "g",
        person.netherd(["run", "--net", NET, "--name", "g", "--", "sleep", "60"]),
    );
    let pid = person.show(NET).pid();
    let _ = person.netherd(["down", NET]).run().ok();
    gone(pid, PATIENCE);
    assert!(person.try_show(NET).is_none());
    drop(guest);
}

/// Nobody would find it any more, and another hypervisor could publish the same network.
#[test]
fn a_network_whose_directory_is_removed_ends() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up("default");
    person.netherd(["run", "-d", "--name", "web", "--", "sleep", "600"]).run().ok();
    let api = person.node("default", "api");
    let directory = api.parent().expect("a directory");
    std::fs::remove_dir_all(directory).expect("it is removed");
    let output = daemon.end_within(Duration::from_secs(10));
    assert!(output.stderr.contains("Somebody removed its directory"), "{}", output.account());
    until("the end of the guest", || lab.processes().is_empty().then_some(()));
    // And another one is served there.
    let said = person.netherd(["run", "--", "echo", "anew"]).run().ok();
    assert_eq!(said, "anew\n");
}

/// A guest in the background ends with its network, be it politely or not; one at a terminal goes on.
#[test]
fn guests_in_the_background_end_with_their_network() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = ["run", "--net", NET, "--name", "front", "--", "sleep", "600"];
    let mut front = person.guest(NET, "front", person.netherd(run));
    let start = |name: &str, script: &str| {
        let run = ["run", "-d", "--net", NET, "--name", name, "--", "sh", "-c", script];
        assert_eq!(person.netherd(run).run().ok(), format!("{name}\n"));
    };
    start("polite", "trap 'exit 0' TERM; while :; do sleep 0.1; done; # mark-86399");
    start("deaf", "trap '' TERM HUP; while :; do sleep 0.1; done; # mark-86399");
    let marked = || {
        let mut count = 0;
        for pid in lab.processes() {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let marked = line.windows(10).any(|part| part == b"mark-86399");
            count += usize::from(marked && line.starts_with(b"sh\0"));
        }
        count
    };
    until("both in the background", || (marked() == 2).then_some(()));
    let _ = person.netherd(["down", NET]).run().ok();
    until("the end of the polite one", || (marked() == 1).then_some(()));
    until_for(Duration::from_secs(30), "the end of the deaf one", || (marked() == 0).then_some(()));
    assert!(front.alive());
    assert!(front.stderr().contains("stopped with `netherd down`"), "{}", front.stderr());
}

/// However `down` and a new guest meet: the guest starts, in the network that ends or in the next one.
#[test]
fn a_guest_that_meets_down_starts() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    for _ in 0..12 {
        let _ = person.netherd(["run", "--net", NET, "--", "true"]).run().ok();
        let guest = person.netherd(["run", "--net", NET, "--name", "g", "--", "true"]).spawn();
        let _down = person.netherd(["down", NET]).run();
        let output = guest.end_within(PATIENCE);
        assert!(output.status.success(), "{}", output.account());
    }
}

/// The service manager hears how we are, also where its socket has an abstract name.
#[test]
fn the_service_manager_is_told() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let name = format!("netherd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("short");
    let manager = UnixDatagram::bind_addr(&address).expect("nobody has the name");
    manager.set_read_timeout(Some(PATIENCE)).expect("ours");
    let heard = || {
        let mut words = [0; 256];
        let length = manager.recv(&mut words).expect("a word before the patience ends");
        String::from_utf8_lossy(&words[..length]).into_owned()
    };
    let job = person.netherd(["up", NET]).env("NOTIFY_SOCKET", format!("@{name}"));
    let daemon = person.serving(NET, job);
    assert_eq!(heard(), "READY=1\n");
    let _ = daemon.stop(Signal::TERM).ok();
    assert_eq!(heard(), "STOPPING=1\n");
}

/// SIGTERM and ^C end a foreground daemon well, with its nodes removed.
#[test]
fn a_foreground_daemon_ends_cleanly() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = person.up(NET);
        let _ = daemon.stop(signal).ok();
        assert!(!person.network(NET).join("stream").exists(), "{signal:?} left its nodes");
    }
}

/// A killed hypervisor: its successor cleans up, guests come back with their eth0 and addresses, clients by
/// themselves.
#[test]
fn guests_survive_a_killed_hypervisor() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // What the guest sees of its eth0, over and over: the index tells whether it is still the same device.
    let watch = "while :; do cat /sys/class/net/eth0/ifindex /sys/class/net/eth0/address; \
                 ip -o -4 addr show eth0 | awk '{ print $4 }'; sleep 0.2; done";
    let guest = person.guest(
        NET,
        "g",
        person.netherd(["run", "--net", NET, "--name", "g", "--", "sh", "-c", watch]),
    );
    let before = person.port(NET, "g");
    let first = person.show(NET).pid();
    let seen: Vec<String> = until("the guest's eth0", || {
        let lines: Vec<String> = guest.stdout().lines().take(3).map(str::to_owned).collect();
        (lines.len() == 3).then_some(lines)
    });

    kill(first, Signal::KILL);
    gone(first, PATIENCE);
    let after = person.show_until(NET, "the guest's return", |report| {
        (report.pid() != first).then(|| report.find("g"))?
    });
    assert_eq!(
        (after.mac(), after.ipv4(), after.ipv6()),
        (before.mac(), before.ipv4(), before.ipv6())
    );
    let heard = guest.stdout().lines().count();
    let now: Vec<String> = until("what the guest sees now", || {
        let lines: Vec<String> = guest.stdout().lines().map(str::to_owned).collect();
        let from = heard.div_ceil(3) * 3;
        lines.get(from..from + 3).map(<[String]>::to_vec)
    });
    assert_eq!(now, seen, "eth0 is the same device with the same addresses");
    for address in [after.ipv4(), after.ipv6()] {
        let said = person
            .netherd([
                "run", "--net", NET, "--", "ping", "-c", "2", "-i", "0.2", "-W", "5", &address,
            ])
            .run()
            .ok();
        assert!(said.contains(" 2 received"), "{said}");
    }
}

/// What a killed foreground daemon leaves in its directory does not hinder the next.
#[test]
fn a_restart_cleans_up() {
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let first = person.up_for_frames(NET, "");
    let mut client = Stream::connect(&person.node(NET, "stream"));
    client.send(&frame(BROADCAST, mac(1), b"here"));
    person.show_until(NET, "the client's address", |report| report.behind(mac(1)));
    let _ = first.stop(Signal::KILL);
    assert!(client.receive().is_none(), "the client learns that the hypervisor is gone");
    assert!(person.network(NET).join("stream").exists(), "killed, it could not clean up");

    let second = person.up_for_frames(NET, "");
    let report = person.show(NET);
    assert_eq!((report.pid(), report.ports().count()), (second.pid(), 0));
    let mut client = Stream::connect(&person.node(NET, "stream"));
    client.send(&frame(BROADCAST, mac(1), b"again"));
    person.show_until(NET, "the client's address", |report| report.behind(mac(1)));
}

/// How many descriptors a daemon has, once those of connections that have just ended are closed.
fn descriptors(daemon: i32) -> usize {
    let count = || std::fs::read_dir(format!("/proc/{daemon}/fd")).expect("it lives").count();
    let mut before = 0;
    until("a number that stays", || {
        let now = count();
        (std::mem::replace(&mut before, now) == now).then_some(now)
    })
}

/// Clients come and go; what they used comes back, but for a few descriptors that are opened at need and kept, and less
/// than a MiB.
#[test]
fn attaching_and_detaching_leaks_nothing() {
    const CYCLES: u32 = 200;
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up_for_frames(NET, "");
    let descriptors = || descriptors(daemon.pid());
    let memory = || {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it lives");
        let line =
            status.lines().find(|line| line.starts_with("RssAnon:")).expect("a kernel tells");
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("kB")
    };
    let cycle = |number: u32| {
        let mut stream = Stream::connect(&person.node(NET, "stream"));
        stream.send(&frame(BROADCAST, mac(number), b"hello"));
        let own = person.runtime().join("v");
        let vde =
            e2e::client::vde::Vde::attach(&person.network(NET), &own).expect("the switch takes us");
        vde.send(&frame(mac(number), mac(number + 1_000_000), b"hello"));
        let _ = stream.receive_until(|frame| frame[..6] == mac(number));
    };
    let empty = |what: &str| {
        person.show_until(NET, what, |report| (report.ports().count() == 0).then_some(()));
    };
    // The first cycles fill what is kept and reused.
    (0..20).for_each(cycle);
    empty("the end of the first clients");
    let (descriptors_before, memory_before) = (descriptors(), memory());
    (20..20 + CYCLES).for_each(cycle);
    empty("the end of the last clients");
    // None stays of a cycle; a socket that is opened at need and kept may come on top.
    until_for(PATIENCE, "the descriptors back", || {
        (descriptors() <= descriptors_before + 2).then_some(())
    });
    let grown = memory().saturating_sub(memory_before);
    assert!(grown < 1024, "{CYCLES} cycles left {grown} KiB more");
}

/// The same for guests of `run`, whose ports bring namespaces and taps.
#[test]
fn running_guests_leaks_nothing() {
    const CYCLES: usize = 25;
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up(NET);
    let run = || person.netherd(["run", "--net", NET, "--name", "g", "--", "true"]).run().ok();
    let _ = run();
    until("the end of the first guest", || person.show(NET).find("g").is_none().then_some(()));
    let before = descriptors(daemon.pid());
    for _ in 0..CYCLES {
        let _ = run();
    }
    // A socket of the gateway's that is opened at need and kept may come on top.
    until("the descriptors back", || (descriptors(daemon.pid()) <= before + 2).then_some(()));
    assert_eq!(person.show(NET).ports().count(), 0);
}
