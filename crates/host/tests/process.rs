//! The daemon as a process with one thread: signals, moving to the background, and starting it on demand.
//!
//! The program has three roles. Without arguments it runs itself as the driver, with a runtime directory of its own;
//! as `up ...` it is the daemon that the driver starts, with the arguments that `netherd up` understands.
#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use host::api::client::{Client, ClientError};
use host::api::message::{Call, GuestKind, Join, Joined, Nothing};
use host::daemon::{Options, serve};
use host::report::Network;
use host::start::{Readiness, StartError, StartOptions, connect_or_start};

const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The protocol of test runners (cargo-nextest's book, "Custom test harnesses").
    if arguments.iter().any(|argument| argument == "--list") {
        if !arguments.iter().any(|argument| argument == "--ignored") {
            println!("the_daemon_as_a_process: test");
        }
        return ExitCode::SUCCESS;
    }
    match arguments.first().map(String::as_str) {
        Some("up") => up(&arguments[1..]),
        Some("drive") => drive(Path::new(&arguments[1])),
        _ => begin(),
    }
}

fn begin() -> ExitCode {
    let root = std::env::temp_dir().join(format!("nhp-{}", std::process::id()));
    std::fs::DirBuilder::new().mode(0o700).create(&root).expect("a directory");
    let status = Command::new(std::env::current_exe().expect("this program"))
        .arg("drive")
        .arg(&root)
        .env("XDG_RUNTIME_DIR", &root)
        .env("XDG_STATE_HOME", root.join("state"))
        .env_remove("NOTIFY_SOCKET")
        .status()
        .expect("this program runs");
    std::fs::remove_dir_all(&root).expect("clean up");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What `netherd up` does with its arguments.
fn up(arguments: &[String]) -> ExitCode {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().expect("a value").clone();
        match argument.as_str() {
            "--detached" => options.detached = true,
            "--ready-fd" => options.ready_fd = value().parse().ok(),
            "--config" => options.config = Some(value().into()),
            "--dir" => options.dir = Some(value().into()),
            "--mode" => options.mode = u32::from_str_radix(&value(), 8).ok(),
            "--idle" => options.idle = value().parse().ok().map(Duration::from_secs_f64),
            "--log" => options.log = Some(value().into()),
            "--" => options.network = Some(value()),
            other => panic!("no such option: {other}"),
        }
    }
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn drive(root: &Path) -> ExitCode {
    type Check = (&'static str, fn(&Path));
    let checks: [Check; 6] = [
        ("signals reload and end it", signals_reload_and_end_it),
        ("it is started on demand and leaves its starter", it_is_started_and_leaves_its_starter),
        ("many first users end on one daemon", many_first_users_end_on_one_daemon),
        ("a daemon that cannot start says why", a_daemon_that_cannot_start_says_why),
        ("an idle daemon ends and is started again", an_idle_daemon_ends_and_is_started_again),
        ("systemd's sockets are taken", sockets_that_systemd_holds_are_taken),
    ];
    for (name, check) in checks {
        println!("process: {name}");
        check(root);
    }
    ExitCode::SUCCESS
}

fn end_of(mut child: std::process::Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("our child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("our child");
    panic!("the daemon does not end");
}

fn show(client: &mut Client) -> Network {
    client.call(&Call::Show { port: None }, &[]).expect("a report").value
}

fn join(command: &str, resume: bool) -> Call {
    Call::Join(Join {
        guest: None,
        command: command.to_owned(),
        mac: None,
        kind: GuestKind::Run,
        resume,
        ..Join::default()
    })
}

fn down(client: &mut Client) {
    let _: Nothing = client.call(&Call::Down {}, &[]).expect("an answer").value;
    assert!(matches!(client.wait_event(), Err(ClientError::Gone { .. })));
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signals_reload_and_end_it(root: &Path) {
    let config = root.join("netherd.toml");
    std::fs::write(&config, "[network.sig]\nmtu = 1400\n").expect("writable");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["up", "--ready-fd", "1", "--config"])
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(root.join("sig.log")).expect("writable"))
        .spawn()
        .expect("this program runs");
    let mut line = String::new();
    let pipe = child.stdout.take().expect("a pipe");
    BufReader::new(pipe).read_line(&mut line).expect("a word");
    assert_eq!(Readiness::from_line(&line), Some(Readiness::Ready));
    let pid = i32::try_from(child.id()).expect("a process number");
    let path = root.join("netherd/sig");
    let mut client = Client::connect(&path).expect("served");
    assert_eq!(show(&mut client).mtu, 1400);
    // A keeper that would start it without its configuration made another network of it, and took the lock.
    assert_eq!(client.hello().expect("an answer").restart, None);
    std::fs::write(&config, "[network.sig]\nmtu = 3000\n").expect("writable");
    sys::signal::send(pid, sys::detach::SIGHUP).expect("our child");
    until("the other MTU", || show(&mut client).mtu == 3000);
    let joined: Joined = client.call(&join("web", false), &[]).expect("free").value;
    assert_eq!(joined.restart, None);
    // A guest that is present has its device with the MTU of when it came.
    std::fs::write(&config, "[network.sig]\nmtu = 1400\n").expect("writable");
    sys::signal::send(pid, sys::detach::SIGHUP).expect("our child");
    until("the refusal", || {
        std::fs::read_to_string(root.join("sig.log"))
            .expect("there")
            .contains("The MTU of network sig cannot change")
    });
    assert_eq!(show(&mut client).mtu, 3000);
    std::fs::write(&config, "[network.sig]\nmtuu = 4000\n").expect("writable");
    sys::signal::send(pid, sys::detach::SIGHUP).expect("our child");
    until("the sentence", || {
        std::fs::read_to_string(root.join("sig.log")).expect("there").contains("netherd.toml:2:1")
    });
    assert_eq!(show(&mut client).mtu, 3000);
    sys::signal::send(pid, sys::detach::SIGTERM).expect("our child");
    assert_eq!(end_of(child), Some(0));
    assert!(!path.join("api").exists() && !path.join("stream").exists());
}

fn it_is_started_and_leaves_its_starter(root: &Path) {
    // A descriptor that is not close-on-exec, as careless callers have them.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let leaked = sys::detach::inheritable_copy(std::os::fd::AsFd::as_fd(&writer)).expect("a copy");
    drop(writer);
    let options = StartOptions::default();
    let mut client = connect_or_start("fresh", None, &options).expect("it starts");
    drop(leaked);
    // The daemon has not kept it: the pipe has no writer left.
    assert!(
        sys::wait::readable(std::os::fd::AsFd::as_fd(&reader), Some(PATIENCE)).expect("a pipe")
    );
    let hello = client.hello().expect("an answer");
    let restart = hello.restart.expect("it was started on demand, and can be again");
    assert_eq!(StartOptions::from(&restart).idle_timeout, Some(host::config::IDLE_TIMEOUT));
    let own = |pid: u32, field: usize| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let rest = stat.rsplit_once(')').expect("a command").1.to_owned();
        rest.split_whitespace().nth(field).expect("a field").parse::<i64>().expect("a number")
    };
    let us = std::process::id();
    // Fields 3 to 5 after the command: process group, session, terminal.
    assert_ne!(own(hello.pid, 3), own(us, 3), "a session of its own");
    assert_eq!(own(hello.pid, 4), 0, "no terminal");
    assert_ne!(own(hello.pid, 3), i64::from(hello.pid), "not its leader, so it never gets one");
    let link =
        |name: &str| std::fs::read_link(format!("/proc/{}/{name}", hello.pid)).expect("it runs");
    assert_eq!(link("cwd"), Path::new("/"));
    assert_eq!(link("fd/0"), Path::new("/dev/null"));
    assert_eq!(link("fd/1"), Path::new("/dev/null"));
    let log = root.join("state/netherd/fresh.log");
    assert_eq!(link("fd/2"), log);
    assert_eq!(log.metadata().expect("there").mode() & 0o777, 0o600);
    let comm = std::fs::read_to_string(format!("/proc/{}/comm", hello.pid)).expect("it runs");
    assert_eq!(comm, "netherd\n");
    let status = std::fs::read_to_string(format!("/proc/{}/status", hello.pid)).expect("it runs");
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // A second user finds it.
    let mut second = connect_or_start("fresh", None, &options).expect("it serves");
    assert_eq!(second.hello().expect("an answer").pid, hello.pid);
    down(&mut client);
}

fn many_first_users_end_on_one_daemon(_root: &Path) {
    let users: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(|| {
                let mut client =
                    connect_or_start("race", None, &StartOptions::default()).expect("it starts");
                let joined: Joined = client.call(&join("sh", false), &[]).expect("free").value;
                (client.hello().expect("an answer").pid, joined.guest, joined.ipv4, client)
            })
        })
        .collect();
    let mut users: Vec<_> = users.into_iter().map(|it| it.join().expect("it ends")).collect();
    assert!(users.iter().all(|it| it.0 == users[0].0), "one daemon");
    let mut guests: Vec<&str> = users.iter().map(|it| it.1.as_str()).collect();
    guests.sort_unstable();
    assert_eq!(guests, ["sh", "sh-2", "sh-3", "sh-4", "sh-5", "sh-6"]);
    let mut addresses: Vec<&str> = users.iter().map(|it| it.2.as_str()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);
    down(&mut users[0].3);
}

fn a_daemon_that_cannot_start_says_why(root: &Path) {
    let place = root.join("thesis");
    std::fs::create_dir(&place).expect("new");
    std::fs::write(place.join("thesis.tex"), "").expect("writable");
    let error =
        connect_or_start("lab", Some(&place), &StartOptions::default()).expect_err("other content");
    let StartError::Failed { sentence } = error else { panic!("{error}") };
    assert!(sentence.contains("thesis.tex"), "{sentence}");
    let program = Some(PathBuf::from("/bin/true"));
    let options = StartOptions { program, ..StartOptions::default() };
    let error = connect_or_start("silent", None, &options).expect_err("it says nothing");
    assert!(matches!(error, StartError::Silent { .. }), "{error}");
    let error = connect_or_start("Bad Name", None, &StartOptions::default()).expect_err("no name");
    assert!(error.to_string().contains("\"Bad Name\""), "{error}");
}

fn an_idle_daemon_ends_and_is_started_again(root: &Path) {
    let place = root.join("elsewhere");
    let idle_timeout = Some(Duration::from_millis(30));
    let options = StartOptions { idle_timeout, mode: Some(0o660), ..StartOptions::default() };
    let mut client = connect_or_start("idle", Some(&place), &options).expect("it starts");
    assert_eq!(place.metadata().expect("made").mode() & 0o7777, 0o750);
    assert_eq!(place.join("stream").metadata().expect("made").mode() & 0o777, 0o660);
    assert!(host::directory::covers().contains(&place));
    let hello = client.hello().expect("an answer");
    let restart = StartOptions::from(&hello.restart.expect("on demand"));
    assert_eq!((restart.idle_timeout, restart.mode), (idle_timeout, Some(0o660)));
    let pid = hello.pid;
    drop(client);
    until("the end", || !place.join("api").exists());
    until("the register", || !host::directory::covers().contains(&place));
    assert!(matches!(host::start::connect("idle", Some(&place)), Err(StartError::Client(_))));
    assert!(!place.join("api").exists(), "connecting starts nothing");
    // Whoever comes while it ends, or after, gets one that serves.
    let options = StartOptions { stay: true, ..options };
    let mut client = connect_or_start("idle", Some(&place), &options).expect("it starts again");
    assert_ne!(client.hello().expect("an answer").pid, pid);
    assert!(show(&mut client).stay);
    down(&mut client);
}

fn sockets_that_systemd_holds_are_taken(root: &Path) {
    // What a socket unit does: bind, listen, and start the service at the first connection, with the socket as
    // descriptor 3.
    let path = root.join("netherd/held");
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&path).expect("a directory");
    let listener = std::os::unix::net::UnixListener::bind(path.join("api")).expect("free");
    let datagrams = std::os::unix::net::UnixDatagram::bind(path.join("dgram")).expect("free");
    let early = std::os::unix::net::UnixStream::connect(path.join("api")).expect("it listens");
    let program = std::env::current_exe().expect("this program");
    let script = format!(
        "exec 3<&0 4<&1 0</dev/null 1>&2; LISTEN_FDS=2 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec '{}' up -- held",
        program.display()
    );
    let child = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
        .stdout(Stdio::from(std::os::fd::OwnedFd::from(datagrams)))
        .stderr(std::fs::File::create(root.join("held.log")).expect("writable"))
        .spawn()
        .expect("a shell");
    let mut client = Client::over(early.into(), path.join("api"));
    assert_eq!(client.hello().expect("the first client is served").network, "held");
    assert!(path.join("stream").exists(), "the other nodes are made");
    // A client of the other kind of socket that the unit holds.
    let machine = std::os::unix::net::UnixDatagram::bind(path.join("machine")).expect("free");
    let mut frame = [0xff; 60];
    frame[6..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 8, 6]);
    machine.send_to(&frame, path.join("dgram")).expect("it is served");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !show(&mut client).ports.iter().any(|port| port.link == "dgram") {
        assert!(Instant::now() < deadline, "no port was opened");
    }
    std::fs::remove_file(path.join("machine")).expect("ours");
    down(&mut client);
    assert_eq!(end_of(child), Some(0));
    assert!(
        path.join("dgram").exists() && path.join("api").exists(),
        "systemd goes on listening on it"
    );
    assert!(!path.join("stream").exists(), "what was ours is gone");
}
