//! `netherd attach`: an interface for namespaces that others made.
#![forbid(unsafe_code)]

use std::time::Duration;

use e2e::{Lab, Person, Running, Tun, User, need, until, until_for};
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

    // Gone when the command returns, so that the place can be taken again at once.
    for _ in 0..3 {
        person.netherd(["detach", "two"]).run().ok();
        assert!(!inside(&person, space.pid(), "ip -o link").contains("eth1"));
        assert!(person.show(NET).find("two").is_none());
        attach("two", "eth1").ok();
    }
    person.netherd(["detach", "two"]).run().ok();
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
    assert!(output.refused().contains("is not a network namespace"));
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

/// A shell in namespaces of its own that types `script`, with netherd as `$0`, says `typed` and stays. The `&&` keeps it
/// from becoming its last command.
fn types(person: &Person<'_>, script: &str) -> (Running, String) {
    let script = format!("{script} && echo typed && sleep 600 && true");
    let mut shell = person
        .job("unshare")
        .args(["-Urn", "sh", "-c", &script])
        .arg(e2e::binary::netherd())
        .spawn();
    let said = shell.says("typed");
    (shell, said)
}

/// Ends all that runs in a shell's namespaces and is no netherd.
fn leaves(lab: &Lab, person: &Person<'_>, shell: Running) {
    // The shell's only child.
    let pid = shell.pid();
    let sleep = until("its sleep", || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        rustix::process::Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)
    });
    let _ended = shell.stop(Signal::KILL);
    rustix::process::kill_process(sleep, Signal::KILL).expect("the test's own process");
    until("the end of the port", || {
        person.try_show(NET).is_none_or(|it| it.find("self").is_none()).then_some(())
    });
    until("the end of the keepers", || {
        let is_keeper = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.split(|byte| *byte == 0).nth(1) == Some(b"attach")
        };
        (!lab.processes().iter().any(is_keeper)).then_some(())
    });
}

#[test]
fn typed_inside_its_namespace_it_goes_with_the_others() {
    need!(e2e::skip::program("unshare"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "server", "--", "sleep", "600"]);
    let _server = person.guest(NET, "server", run);
    // Two of them, which must not wait for each other, and each by a way that ends with the command.
    let (shell, _) = types(
        &person,
        "\"$0\" attach --pid $$ --name self && \
         \"$0\" attach --netns /proc/self/ns/net --name self-2 --ifname eth1 && ip -o link",
    );
    let report = person.show(NET);
    assert!(report.find("self").is_some() && report.find("self-2").is_some());
    leaves(&lab, &person, shell);
    until("the end of the other port", || person.show(NET).find("self-2").is_none().then_some(()));
}

/// The hypervisor that the command started is in the namespace as well.
#[test]
fn a_hypervisor_started_inside_does_not_keep_the_namespace() {
    need!(e2e::skip::program("unshare"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let (shell, _) = types(&person, "\"$0\" attach --netns /proc/self/ns/net --name self");
    assert!(person.show(NET).find("self").is_some());
    leaves(&lab, &person, shell);
    // It has no guest any more.
    until_for(Duration::from_secs(60), "the end of all", || {
        lab.processes().is_empty().then_some(())
    });
}

/// A path that ends with the command names the namespace all the same; the name is that of whoever typed it.
#[test]
fn a_namespace_is_attached_by_the_path_of_itself() {
    need!(e2e::skip::program("unshare"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let (shell, said) = types(
        &person,
        "\"$0\" attach --netns /proc/self/ns/net && \
         \"$0\" attach --netns /proc/thread-self/ns/net --ifname eth1",
    );
    assert!(said.starts_with("sh\nsh-2\n"), "{said}");
    for guest in ["sh", "sh-2"] {
        person.netherd(["detach", guest]).run().ok();
    }
    let _ended = shell.stop(Signal::KILL);

    let alone = person
        .job("unshare")
        .args(["-Urn"])
        .arg(e2e::binary::netherd())
        .args(["attach", "--netns", "/proc/self/ns/net"])
        .run();
    assert_eq!(alone.status.code(), Some(1), "{}", alone.account());
    let said = alone.refused();
    assert!(said.contains("No process but this command"), "{said}");
    let hosts = person.netherd(["attach", "--netns", "/proc/self/ns/net"]).run();
    assert_eq!(hosts.status.code(), Some(1), "{}", hosts.account());
    let said = hosts.refused();
    assert!(said.contains("run netherd as root"), "{said}");
}

/// Keepers end, and the hypervisor has the descriptors that it had.
#[test]
fn attaching_and_detaching_namespaces_leaks_nothing() {
    const CYCLES: usize = 30;
    need!(e2e::skip::program("unshare"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let daemon = person.up(NET);
    let space = namespace(&person);
    let pid = space.pid().to_string();
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it lives").count();
    let cycle = || {
        person.netherd(["attach", "--pid", &pid, "--name", "one"]).run().ok();
        person.netherd(["detach", "one"]).run().ok();
    };
    // The first one opens what is opened at need, and kept.
    cycle();
    let processes = lab.processes();
    let mut before = 0;
    until("the last connection's end", || {
        let now = descriptors();
        std::mem::replace(&mut before, now).eq(&now).then_some(())
    });
    (0..CYCLES).for_each(|_| cycle());
    // A socket of the gateway's that is opened at need and kept may come on top.
    until("the descriptors back", || (descriptors() <= before + 2).then_some(()));
    until("the end of the keepers", || (lab.processes() == processes).then_some(()));
    assert_eq!(person.show(NET).ports().count(), 0);
}
