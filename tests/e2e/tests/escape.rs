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
