//! `netherd attach`: an interface for namespaces that others made.
#![forbid(unsafe_code)]

use e2e::{Lab, Person, Running, Tun, User, need, until};
use rustix::process::Signal;

const NET: &str = "default";

/// A process in namespaces made by unshare(1).
fn namespace(person: &Person<'_>) -> Running {
    let mut inside =
        person.job("unshare").args(["-Urn", "sh", "-c", "echo $$ made; exec sleep 600"]).spawn();
    inside.says("made");
    inside
}

fn inside(person: &Person<'_>, pid: i32, script: &str) -> String {
    let line = ["--user", "--net", "--preserve-credentials", "sh", "-c", script];
    person.job("nsenter").arg("-t").arg(pid.to_string()).args(line).run().ok()
}

fn is_attached_and_taken_back(tun: Tun) {
    need!(tun.possible());
    for program in ["unshare", "nsenter", "ip", "ping"] {
        need!(e2e::skip::program(program));
    }
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "server", "--", "sleep", "600"]).tun(tun);
    let _server = person.guest(NET, "server", run);
    let address = person.port(NET, "server").ipv4();
    let space = namespace(&person);
    let pid = space.pid().to_string();

    let attach = |name: &str, ifname: &str| {
        let line = ["attach", "--pid", &pid, "--name", name, "--ifname", ifname];
        person.netherd(line).tun(tun).run()
    };
    let attached = attach("one", "eth0");
    assert!(!attached.held, "{}", attached.account());
    assert_eq!(attached.ok(), "one\n");
    // Usable when the command returns.
    let said = inside(&person, space.pid(), &format!("ping -c 1 -W 5 {address}; ip -o -6 addr"));
    assert!(said.contains("1 received") && !said.contains("tentative"), "{said}");
    let taken = attach("two", "eth0");
    assert_eq!(taken.status.code(), Some(1), "{}", taken.account());
    assert!(taken.refused().contains("--ifname"));
    attach("two", "eth1").ok();
    assert!(inside(&person, space.pid(), "ip -o link").contains("eth1"));

    person.netherd(["detach", "two"]).run().ok();
    until("the end of eth1", || {
        (!inside(&person, space.pid(), "ip -o link").contains("eth1")).then_some(())
    });
    // The other goes with its namespace.
    let _ended = space.stop(Signal::KILL);
    until("the end of one", || person.show(NET).find("one").is_none().then_some(()));
    let names: Vec<String> = person.show(NET).ports().map(|p| p.name().to_owned()).collect();
    assert_eq!(names, ["server"]);
}

#[test]
fn a_namespace_is_attached_by_a_tap() {
    is_attached_and_taken_back(Tun::Open);
}

#[test]
fn a_namespace_is_attached_by_a_packet_socket() {
    is_attached_and_taken_back(Tun::Closed);
}

#[test]
fn the_sandbox_of_bubblewrap_is_attached() {
    need!(e2e::skip::program("bwrap"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "exec 3>info; bwrap --unshare-all --dev-bind / / --info-fd 3 sleep 600 & \
                  until grep -q child-pid info; do sleep 0.02; done; \
                  pid=$(grep -o '[0-9][0-9]*' info | head -n 1); \"$0\" attach --pid $pid --name bw && \
                  nsenter -t $pid -U -n --preserve-credentials ip -o -4 addr show dev eth0; status=$?; kill $!; exit $status";
    let said = person.job("sh").args(["-c", script]).arg(e2e::binary::netherd()).run().ok();
    assert!(said.starts_with("bw\n") && said.contains("inet 10."), "{said}");
}

#[test]
fn a_namespace_is_attached_by_its_path_and_goes_with_it() {
    need!(e2e::skip::root());
    let lab = Lab::new();
    let person = lab.person(need!(User::root()));
    let netns = need!(e2e::Netns::new("attach"));
    person.netherd(["attach", "--netns", &netns.path(), "--name", "path"]).run().ok();
    assert!(netns.ip(&["-o", "link"]).contains("eth0"));
    assert!(person.show(NET).find("path").is_some());
    drop(netns);
    until("the end of its port", || person.show(NET).find("path").is_none().then_some(()));
}

#[test]
fn what_is_not_the_callers_is_refused_with_its_owner() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let other = lab.person(need!(User::second()));
    let space = namespace(&other);
    for (pid, words) in [
        (space.pid().to_string(), other.user().name.as_str()),
        (std::process::id().to_string(), "root (uid 0)"),
        (i32::MAX.to_string(), "There is no process"),
    ] {
        let output = person.netherd(["attach", "--pid", &pid]).run();
        assert_eq!(output.status.code(), Some(1), "{}", output.account());
        let said = output.refused();
        assert!(said.contains(words), "{said}");
    }
    let output = person.netherd(["attach", "--netns", "/etc/passwd"]).run();
    assert!(output.refused().contains("is no network namespace"));
}

#[test]
fn the_interface_stays_while_any_process_is_in_the_namespace() {
    need!(e2e::skip::program("unshare"));
    need!(e2e::skip::program("nsenter"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "sleep 600 & echo $! made; exec sleep 601";
    let mut first = person.job("unshare").args(["-Urn", "sh", "-c", script]).spawn();
    let said = first.says("made");
    let second: i32 = said.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a number");
    let pid = first.pid().to_string();
    person.netherd(["attach", "--pid", &pid, "--name", "one"]).run().ok();
    let _ended = first.stop(Signal::KILL);
    // Longer than a keeper needs to see the end of the process.
    person.netherd(["run", "--", "true"]).run().ok();
    assert!(person.show(NET).find("one").is_some());
    assert!(inside(&person, second, "ip -o link").contains("eth0"));
    let second = rustix::process::Pid::from_raw(second).expect("a process");
    rustix::process::kill_process(second, Signal::KILL).expect("the test's own process");
    until("the end of the port", || person.show(NET).find("one").is_none().then_some(()));
}
