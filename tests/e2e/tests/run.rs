//! `netherd run`: what a guest has, who it is, how it is refused, and that its link outlives the hypervisor.
#![forbid(unsafe_code)]

use e2e::{Lab, Output, Person, Tun, User, need, until};
use rustix::process::{Pid, Signal, kill_process};

const NET: &str = "default";

/// Runs a shell script in a guest.
fn sh(person: &Person<'_>, options: &[&str], tun: Tun, script: &str) -> Output {
    let run = person.netherd(["run"]).args(options).args(["--", "sh", "-c", script]);
    run.tun(tun).run()
}

fn has_an_interface(tun: Tun) {
    need!(tun.possible());
    need!(e2e::skip::program("ip"));
    need!(e2e::skip::program("ping"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "hostname; ip -o -4 addr show dev eth0; ip -o -6 addr show dev eth0; ip -o link; \
                  ping -c 1 -W 2 127.0.0.1 >/dev/null && echo lo answers; \
                  cat /proc/sys/net/ipv4/ping_group_range; ip -4 route; echo pid $$; ls /proc/self/fd";
    let said = sh(&person, &["--name", "web", "--mac", "02:00:5e:10:00:01"], tun, script).ok();
    assert!(said.starts_with("web\n"), "{said}");
    // EUI-64 of the MAC, and usable at once: no address is tentative.
    assert!(said.contains("fe80::5eff:fe10:1/64 scope link"), "{said}");
    assert!(!said.contains("tentative") && !said.contains("dadfailed"), "{said}");
    assert!(said.contains("link/ether 02:00:5e:10:00:01"), "{said}");
    assert!(said.contains("mtu 1500"), "{said}");
    assert!(said.contains("/20 brd "), "{said}");
    assert!(said.contains("inet6 fd"), "{said}");
    assert!(said.contains("lo answers"), "{said}");
    let gid = person.user().gid;
    assert!(said.contains(&format!("{gid}\t{gid}")), "{said}");
    assert!(said.contains("default via"), "the gateway is the way out: {said}");
    assert!(said.contains("pid 2\n"), "{said}");
    // 0 to 2, and the one that ls itself opens.
    assert!(said.ends_with("0\n1\n2\n3\n"), "{said}");
}

#[test]
fn a_guest_has_its_interface_on_a_tap() {
    has_an_interface(Tun::Open);
}

#[test]
fn a_guest_has_its_interface_on_a_packet_socket() {
    has_an_interface(Tun::Closed);
}

/// `/sys` is the guest's own: what programs read there is about its interfaces, and nobody can write to it.
#[test]
fn sysfs_shows_the_guests_interfaces() {
    need!(e2e::skip::program("ip"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let script = "for i in $(ls /sys/class/net); do ip link show dev $i >/dev/null || echo foreign $i; done; \
                  cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; ls /sys/fs/cgroup | sort | md5sum; \
                  mount -o remount,rw /sys 2>/dev/null && echo writable; \
                  mount -o remount,bind,rw /sys 2>/dev/null && echo writable; \
                  touch /sys/class/net/eth0/mtu 2>/dev/null && echo written; true";
    let outside = lab.person(need!(User::first())).job("sh").args(["-c"]);
    let groups = outside.args(["ls /sys/fs/cgroup | sort | md5sum"]).run().ok();
    let expected = format!("02:00:5e:10:00:02\n1500\n{groups}");
    for user in [User::first(), User::root()] {
        let person = lab.person(need!(user));
        for options in
            [&["--mac", "02:00:5e:10:00:02"][..], &["--mac", "02:00:5e:10:00:02", "--root"]]
        {
            let output = sh(&person, options, Tun::AsIs, script);
            assert_eq!(output.stderr, "", "{}", output.account());
            assert_eq!(output.ok(), expected, "{options:?}");
        }
    }
}

#[test]
fn capabilities_are_those_asked_for() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let uid = person.user().uid;
    let script = "id -u; grep -E 'CapEff|CapAmb|NoNewPrivs' /proc/self/status | tr -d '\\t\\n'";
    for (options, expected) in [
        (&[][..], format!("{uid}\nCapEff:0000000000003400CapAmb:0000000000003400NoNewPrivs:0")),
        (
            &["--caps", "none"],
            format!("{uid}\nCapEff:0000000000000000CapAmb:0000000000000000NoNewPrivs:0"),
        ),
        (
            &["--root", "--caps", "net"],
            "0\nCapEff:0000000000003400CapAmb:0000000000000000NoNewPrivs:0".to_owned(),
        ),
    ] {
        assert_eq!(sh(&person, options, Tun::AsIs, script).ok(), expected, "{options:?}");
    }
    let said = sh(&person, &["--root"], Tun::AsIs, "id -u; id -g; chown 0:0 . && echo may").ok();
    assert_eq!(said, "0\n0\nmay\n");
}

#[test]
fn subordinate_ids_are_mapped() {
    need!(e2e::skip::program("newuidmap"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let name = &person.user().name;
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !text.lines().any(|line| line.starts_with(&format!("{name}:"))) {
            e2e::skip!("{name} has no line in {file}");
        }
    }
    let script = "id -u; touch f; chown 33:33 f; stat -c %u:%g f; rm f; grep -c . /proc/self/uid_map; \
                  cat /proc/sys/net/ipv4/ping_group_range";
    let said = sh(&person, &["--map-auto"], Tun::AsIs, script).ok();
    assert!(said.starts_with("0\n33:33\n2\n0\t"), "{said}");
}

#[test]
fn another_root_is_used() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // The machine's own programs, in a tree that is not its root.
    let script = "set -e; mkdir -p t/proc t/dev t/tmp t/sys; for d in bin sbin lib lib32 lib64 libx32; do \
                  [ -L /$d ] && cp -P /$d t/$d || { [ -d /$d ] && mkdir t/$d; } || true; done; mkdir -p t/usr; \
                  echo t";
    person.job("sh").args(["-c", script]).run().ok();
    let tree = person.home().join("t");
    // An empty tree has no shell: the sentence says so, and the status is that of a missing command.
    let output = person.netherd(["run", "--rootfs"]).arg(&tree).args(["--", "/usr/bin/env"]).run();
    assert_eq!(output.status.code(), Some(127), "{}", output.account());
    assert!(output.stderr.contains("There is no /usr/bin/env in the guest"), "{}", output.stderr);
    // With one program in it, that one runs, in a root that has nothing else.
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| std::path::Path::new(p).is_file());
    let Some(busybox) = busybox else { e2e::skip!("busybox is not installed") };
    std::fs::copy(busybox, tree.join("busybox")).expect("a copy of busybox in the tree");
    let script =
        "/busybox ls /; /busybox ls /dev; /busybox ls /sys/class/net; /busybox cat /proc/1/comm";
    let said = person
        .netherd(["run", "--root", "--rootfs"])
        .arg(&tree)
        .args(["--", "/busybox", "sh", "-c", script])
        .run()
        .ok();
    assert!(said.contains("busybox\n") && !said.contains("home\n"), "{said}");
    assert!(said.contains("null\n") && said.contains("pts\n"), "{said}");
    assert!(said.ends_with("netherd\n"), "{said}");
    // The caller's terminal is none of the tree's, and has a name in it all the same.
    need!(e2e::skip::program("script"));
    let netherd = e2e::binary::netherd();
    let (netherd, tree) = (netherd.display(), tree.display());
    let command = format!("{netherd} run --root --rootfs {tree} -- /busybox tty");
    let said = person.job("script").args(["-qec", &command, "/dev/null"]).run().ok();
    assert_eq!(said.trim_end(), "/dev/console");
}

#[test]
fn a_refusal_is_a_sentence_with_a_status() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "web", "--", "sleep", "600"]);
    let _web = person.guest(NET, "web", run);
    for (line, status, words) in [
        (&["--", "no-such-command"][..], 127, "was not found in $PATH"),
        (&["--", "/no/such/command"], 127, "There is no /no/such/command"),
        (&["--", "/etc/passwd"], 126, "permission denied"),
        (&["--", "/"], 126, "it is a directory"),
        (&["--name", "web", "--", "true"], 125, "web"),
        (&["--name", "b@d", "--", "true"], 2, "not a valid guest name"),
        (&["--name", "localhost", "--", "true"], 2, "to every program"),
        (&["--net", "host", "--", "true"], 125, "`host.internal` is the host"),
        (&["--mac", "01:00:00:00:00:01", "--", "true"], 2, "cannot be the address"),
        (&["--rootfs", "/etc/passwd", "--", "true"], 125, "is not a directory"),
        (&["--rootfs", "/no/such", "--", "true"], 125, "/no/such"),
        (&["--rootfs", "/", "--", "true"], 125, "leave the option out"),
    ] {
        let output = person.netherd(["run"]).args(line).run();
        assert_eq!(output.status.code(), Some(status), "{}", output.account());
        let said = output.refused();
        assert!(said.contains(words), "{line:?}: {said}");
        assert!(said.starts_with("netherd: ") || status == 2, "{said}");
    }
    assert_eq!(person.show(NET).ports().count(), 1, "nothing changed");
    // Nor was a name or a network taken for what cannot run.
    let planned = person.show(NET).0["planned"].as_array().map(Vec::len);
    assert_eq!(planned, Some(1), "{:?}", person.show(NET).0["planned"]);
    for command in ["no-such-command", "/no/such/command", "/etc/passwd", "/"] {
        let _ = person.netherd(["run", "--net", "other", "--", command]).run().refused();
        assert!(!person.network("other").exists(), "{command} started a network");
    }
}

/// Makes the limit on user namespaces 0 for a namespace of the test, as an administrator would.
#[test]
fn forbidden_user_namespaces_are_explained() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && \"$0\" run -- true";
    let output = person
        .job("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(e2e::binary::netherd())
        .run();
    assert_eq!(output.status.code(), Some(125), "{}", output.account());
    let said = output.refused();
    assert!(said.contains("sysctl -w user.max_user_namespaces=15000"), "{said}");
}

#[test]
fn a_detached_guest_stays_until_it_is_ended() {
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let started = person.netherd(["run", "-d", "--name", "bg", "--", "sleep", "600"]).run();
    assert!(!started.held, "{}", started.account());
    assert_eq!(started.ok(), "bg\n");
    assert!(person.show(NET).find("bg").is_some());
    let failed = person.netherd(["run", "-d", "--", "no-such-command"]).run();
    assert_eq!(failed.status.code(), Some(127), "{}", failed.account());
    person.netherd(["detach", "bg"]).run().ok();
    until("the end of bg", || person.show(NET).find("bg").is_none().then_some(()));
}

fn the_link_outlives_the_hypervisor(tun: Tun) {
    need!(tun.possible());
    need!(e2e::skip::program("ping"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let run = person.netherd(["run", "--name", "server", "--", "sleep", "600"]).tun(tun);
    let mut server = person.guest(NET, "server", run);
    let before = person.show(NET);
    let address = before.port("server").ipv4();
    let daemon = Pid::from_raw(before.pid()).expect("a process id");
    kill_process(daemon, Signal::KILL).expect("the daemon is the test's");
    let after = until("another hypervisor with the guest", || {
        let report = person.try_show(NET)?;
        (report.pid() != before.pid() && report.find("server").is_some()).then_some(report)
    });
    assert!(server.alive());
    assert_eq!(after.port("server").ipv4(), address);
    assert_eq!(after.port("server").mac(), before.port("server").mac());
    let ping = person.netherd(["run", "--", "ping", "-c", "1", "-W", "5", &address]).tun(tun).run();
    assert!(ping.ok().contains("1 received"));
}

#[test]
fn a_tap_outlives_the_hypervisor() {
    the_link_outlives_the_hypervisor(Tun::Open);
}

#[test]
fn a_packet_socket_outlives_the_hypervisor() {
    the_link_outlives_the_hypervisor(Tun::Closed);
}

#[test]
fn root_is_a_guest_like_another_with_every_id() {
    let lab = Lab::new();
    let person = lab.person(need!(User::root()));
    let said =
        sh(&person, &[], Tun::AsIs, "id -u; cat /proc/self/uid_map | tr -s ' '; echo $$").ok();
    assert!(said.starts_with("0\n 0 0 4294967295\n"), "{said}");
}

/// A container whose `/proc` is partly covered does not let anybody mount a fresh one.
#[test]
fn a_covered_proc_is_explained() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let user = person.user();
    let script = format!(
        "mount -t tmpfs tmpfs /proc/scsi 2>/dev/null || mount -t tmpfs tmpfs /proc/fs && \
         exec setpriv --reuid={} --regid={} --clear-groups -- \"$0\" run -- true",
        user.uid, user.gid
    );
    let output = Person::job(&lab.person(need!(User::root())), "unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(e2e::binary::netherd())
        .env("XDG_RUNTIME_DIR", person.runtime())
        .env("HOME", person.home())
        .env("XDG_STATE_HOME", person.home().join("state"))
        .run();
    assert_eq!(output.status.code(), Some(125), "{}", output.account());
    assert!(output.refused().contains("fresh /proc cannot be mounted"));
}

/// In a guest whose user is another one outside, the usual place in `/tmp` may be somebody else's.
#[test]
fn a_place_of_somebody_else_is_not_in_the_way() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    // Root's own: other tests may have made it, and it stays for them.
    let _exists = std::fs::create_dir("/tmp/netherd-0");
    std::os::unix::fs::chown("/tmp/netherd-0", Some(0), Some(0)).expect("we are root");
    let netherd = e2e::binary::netherd();
    let run = person.netherd(["run", "--root", "--"]).arg(netherd);
    let output = run.args(["run", "--", "sh", "-c", "echo started"]).run();
    let account = output.account();
    assert_eq!(output.ok(), "started\n", "{account}");
    let doctor = person.netherd(["run", "--root", "--"]).arg(netherd).arg("doctor").run();
    assert!(!doctor.stdout.contains("belongs to"), "{}", doctor.account());
}

/// A netherd in a guest makes a network of its own, whoever the guest's user is there.
#[test]
fn a_guest_has_guests() {
    need!(e2e::skip::program("ip"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let netherd = e2e::binary::netherd();
    for user in [User::first(), User::root()] {
        let person = lab.person(need!(user));
        for outer in [&["run"][..], &["run", "--root"]] {
            for inner in [&["run"][..], &["run", "--root"]] {
                let script = "ip -o -4 addr show dev eth0 | grep -c 'inet 10\\.'; echo $$";
                let run = person.netherd(outer).arg("--").arg(netherd).args(inner);
                let output = run.args(["--", "sh", "-c", script]).run();
                let account = output.account();
                assert_eq!(output.ok(), "1\n2\n", "{account}");
            }
        }
    }
}
