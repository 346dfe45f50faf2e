//! What a guest of `run` cannot do to the outside, as itself and as user id 0 of its namespace.
#![forbid(unsafe_code)]

use e2e::{Lab, Tun, User, need};

const NET: &str = "default";
const PROGRAM: &str = include_str!("programs/escape.py");
const TERMINAL: &str = include_str!("programs/terminal.py");
const CONTROL_GROUPS: &str = include_str!("programs/control_groups.sh");

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

/// Sockets of the session and of networks published elsewhere, each with somebody who listens.
#[test]
fn the_sockets_of_others_are_covered() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let elsewhere = lab.folder("elsewhere", person.user(), 0o755).join("net");
    let listen = "import os,socket,sys,time\n\
                  run=sys.argv[1]\n\
                  os.mkdir(run+'/systemd')\n\
                  kept=[]\n\
                  for name in ['bus','systemd/private','free']:\n\
                  \x20s=socket.socket(socket.AF_UNIX); s.bind(run+'/'+name); s.listen(); kept.append(s)\n\
                  print('listening',flush=True)\n\
                  time.sleep(600)\n";
    let mut listener = person.job("python3").args(["-c", listen]).arg(person.runtime()).spawn();
    listener.says("listening");
    let dir = elsewhere.to_str().expect("a path of ASCII");
    let neighbour = ["run", "--net", "lab", "--dir", dir, "--name", "far", "--", "sleep", "600"];
    let mut neighbour = person.netherd(neighbour).spawn();
    e2e::until("the network elsewhere", || elsewhere.join("api").exists().then_some(()));

    let probe = "import socket,sys\n\
                 for path in sys.argv[1:]:\n\
                 \x20s=socket.socket(socket.AF_UNIX)\n\
                 \x20try: s.connect(path); print('reached')\n\
                 \x20except OSError: print('covered')\n";
    let paths = [
        person.runtime().join("bus"),
        person.runtime().join("systemd/private"),
        elsewhere.join("api"),
        elsewhere.join("stream"),
        // What is nobody's promise shows that the probe works.
        person.runtime().join("free"),
    ];
    for options in [&[][..], &["--root"]] {
        let run = person.netherd(["run"]).args(options).args(["--", "python3", "-c", probe]);
        let said = run.args(&paths).run().ok();
        assert_eq!(said, "covered\ncovered\ncovered\ncovered\nreached\n", "{options:?}");
    }
    // A guest that starts in a covered directory does not stand below its cover.
    let inside = person.netherd(["run", "--", "sh", "-c", "ls"]).cwd(&elsewhere).run().ok();
    assert_eq!(inside, "");
    assert!(neighbour.alive() && listener.alive());
}

/// A server that starts again removes its socket and makes another one.
#[test]
fn a_socket_made_anew_is_covered_too() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let listen = "import os,socket,sys,time\n\
                  kept=[]\n\
                  for path in sys.argv[1:]:\n\
                  \x20if os.path.exists(path): os.unlink(path)\n\
                  \x20s=socket.socket(socket.AF_UNIX); s.bind(path); s.listen(); kept.append(s)\n\
                  print('listening',flush=True)\n\
                  time.sleep(600)\n";
    let paths = [person.runtime().join("bus"), person.home().join("free")];
    let listener = || {
        let mut listener = person.job("python3").args(["-c", listen]).args(&paths).spawn();
        listener.says("listening");
        listener
    };
    let first = listener();
    let probe = "import os,socket,sys,time\n\
                 print('ready',flush=True)\n\
                 while not os.path.exists('go'): time.sleep(0.01)\n\
                 for path in sys.argv[1:]:\n\
                 \x20s=socket.socket(socket.AF_UNIX)\n\
                 \x20try: s.connect(path); print('reached')\n\
                 \x20except OSError: print('covered')\n";
    let run = person.netherd(["run", "--root", "--", "python3", "-c", probe]).args(&paths);
    let mut guest = run.cwd(person.home()).spawn();
    guest.says("ready");
    let _ended = first.stop(rustix::process::Signal::KILL);
    let _second = listener();
    std::fs::write(person.home().join("go"), "").expect("a file in the person's home");
    assert_eq!(guest.end().ok(), "ready\ncovered\nreached\n");
}

/// A tree that shows the machine's own directories.
#[test]
fn another_root_has_the_covers_too() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    need!(e2e::skip::program("python3"));
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let user = person.user();
    let run = person.netherd(["run", "--name", "neighbour", "--", "sleep", "600"]);
    let _neighbour = person.guest(NET, "neighbour", run);
    let probe = "import socket,sys\n\
                 for path in sys.argv[1:]:\n\
                 \x20try: socket.socket(socket.AF_UNIX).connect(path); print('reached')\n\
                 \x20except OSError: print('covered')\n";
    let tree = lab.folder("tree", user, 0o755);
    let script = format!(
        "mount --rbind / $0 && mkdir -p $0/$0/again && mount --bind $3 $0/$0/again && \
         exec setpriv --reuid={} --regid={} --init-groups $1 run --root --rootfs $0 -- \
         python3 -c \"$2\" $3/{NET}/api $0/again/{NET}/api",
        user.uid, user.gid
    );
    let networks = person.network(NET);
    let networks = networks.parent().expect("a network's directory has one above it");
    let job = person.job("unshare").user(need!(User::root()));
    let job = job.args(["--mount", "--propagation", "private", "sh", "-c", &script]).arg(&tree);
    let job = job.arg(e2e::binary::netherd()).arg(probe).arg(networks);
    assert_eq!(job.run().ok(), "covered\ncovered\n");
}

#[test]
fn the_terminal_signals_nobody_for_a_guest() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::program("script"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let program = person.home().join("terminal.py");
    std::fs::write(&program, TERMINAL).expect("a file in the person's home");
    let netherd = e2e::binary::netherd().display();
    for before in [format!("{netherd} run"), format!("{netherd} run --root -- {netherd} run")] {
        let line = format!("{before} -- python3 {}", program.display());
        let output = person.job("script").args(["-qec", &line, "/dev/null"]).run();
        let account = output.account();
        assert_eq!(output.ok().trim(), "held", "{account}");
    }
}

/// In a control group of the test's own: what a guest could do there would hit all that is in it.
#[test]
fn the_control_group_is_out_of_reach() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(std::path::Path::new);
    let Some(root) = roots.into_iter().find(|root| root.join("cgroup.controllers").is_file())
    else {
        e2e::skip!("control groups of version 2 are not mounted")
    };
    let group = root.join(format!("netherd-test-{}", std::process::id()));
    if let Err(error) = std::fs::create_dir(&group) {
        e2e::skip!("no control group can be made: {error}");
    }
    let result = std::panic::catch_unwind(|| {
        for user in [need!(User::first()), need!(User::root())] {
            let lab = Lab::new();
            let person = lab.person(user);
            let user = person.user();
            // The user owns the group, as systemd delegates one.
            for name in ["", "cgroup.procs", "cgroup.kill", "cgroup.freeze"] {
                let _ = std::os::unix::fs::chown(group.join(name), Some(user.uid), Some(user.gid));
            }
            for options in ["", "--root"] {
                let script = format!(
                    "echo $$ >$0/cgroup.procs && sleep 600 & victim=$!; echo $$ >$0/cgroup.procs; \
                     setpriv --reuid={} --regid={} --init-groups \"$1\" run {options} -- sh -c \"$2\"; \
                     kill $victim && echo the victim lived",
                    user.uid, user.gid
                );
                // In the person's surroundings, but root, who may enter the group.
                let job = person.job("sh").user(need!(User::root())).args(["-c", &script]);
                let output = job.arg(&group).arg(e2e::binary::netherd()).arg(CONTROL_GROUPS).run();
                let account = output.account();
                assert!(output.stdout.ends_with("held\nthe victim lived\n"), "{account}");
                assert!(!output.stdout.contains("ESCAPED"), "{account}");
            }
        }
    });
    e2e::until("the end of the test's control group", || std::fs::remove_dir(&group).ok());
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// A chroot on the machine has a `/proc` of its own, and somebody may have bound a part of it elsewhere.
#[test]
fn other_mounts_of_procfs_are_covered() {
    need!(e2e::skip::root());
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::root()));
    let script = "mkdir chroot part && touch file && mount -t proc proc chroot && mount --bind /proc/1 part && \
                  mount --bind /proc/1/comm file && test -e chroot/1/comm && grep -q . file && \
                  exec \"$0\" run -- sh -c 'ls chroot part; cat file; ls -d /proc/1'";
    let output = person
        .job("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(e2e::binary::netherd())
        .run();
    let account = output.account();
    assert_eq!(output.ok(), "chroot:\n\npart:\n/proc/1\n", "{account}");
}

/// Addresses of virtual machines lead past the guest's interface.
#[test]
fn sockets_to_virtual_machines_are_none() {
    need!(e2e::skip::program("python3"));
    need!(e2e::skip::namespaces());
    let lab = Lab::new();
    let person = lab.person(need!(User::first()));
    let probe = "import errno,socket\n\
                 try: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); print('made')\n\
                 except OSError as e: print(errno.errorcode[e.errno])\n";
    for options in [&[][..], &["--root"]] {
        let run = person.netherd(["run"]).args(options).args(["--", "python3", "-c", probe]);
        assert_eq!(run.run().ok(), "EAFNOSUPPORT\n", "{options:?}");
    }
}
