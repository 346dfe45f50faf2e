//! Connections to `api` that are many, slow, greedy or wrong.

use super::*;

/// A client that asks for eight reports at once delays frames, and other clients, by one.
#[test]
fn reports_are_given_one_a_turn_and_in_turn() {
    let daemon = Daemon::start("reports", "net=lab").ready();
    let api = daemon.path("lab").join("api");
    let mut clients: Vec<UnixStream> =
        (0..2).map(|_| UnixStream::connect(&api).expect("served")).collect();
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE)).expect("ours");
        client.write_all(b"{\"v\":1,\"id\":1,\"call\":\"hello\"}\n").expect("room");
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).expect("both are accepted");
    }
    // Stopped, so that both have asked before either is answered.
    let signal = |name: &str| {
        let pid = daemon.process.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill runs").success());
    };
    signal("-STOP");
    for client in &mut clients {
        client.write_all(&b"{\"v\":1,\"id\":1,\"call\":\"show\"}\n".repeat(8)).expect("room");
    }
    signal("-CONT");
    // The reports say when they were made.
    let made: Vec<Vec<f64>> = clients
        .iter_mut()
        .map(|client| {
            let lines = BufReader::new(client).lines().take(8);
            let reply = |line: std::io::Result<String>| {
                serde_json::from_str::<serde_json::Value>(&line.expect("a report")).expect("JSON")
            };
            lines.map(|line| reply(line)["ok"]["uptime"].as_f64().expect("seconds")).collect()
        })
        .collect();
    for turn in 1..8 {
        let before = made[0][turn - 1].max(made[1][turn - 1]);
        let after = made[0][turn].min(made[1][turn]);
        assert!(before < after, "both had {turn} before either had {}: {made:?}", turn + 1);
    }
}

#[test]
fn descriptors_without_a_request_are_few() {
    let daemon = Daemon::start("parked", "net=lab").ready();
    let api = daemon.path("lab").join("api");
    let file = std::fs::File::open("/dev/null").expect("there");
    let fds = [file.as_fd(); 8];
    let clients: Vec<UnixStream> = (0..12)
        .map(|_| {
            let client = UnixStream::connect(&api).expect("served");
            client.set_read_timeout(Some(PATIENCE)).expect("ours");
            sys::unix::send_with_fds(client.as_fd(), b"{", &fds).expect("room");
            client
        })
        .collect();
    // 64 descriptors wait for the rest of their requests; who brought more than that is not served.
    until(&daemon, "the end of four of them", || {
        let closed = |mut it: &UnixStream| {
            it.set_nonblocking(true).expect("ours");
            !matches!(it.read(&mut [0]), Err(why) if why.kind() == std::io::ErrorKind::WouldBlock)
        };
        clients.iter().filter(|it| closed(it)).count() == 4
    });
    let mut client = daemon.client("lab");
    client.hello().expect("it serves");
}

/// What another user is told is the same whether a port exists or not.
#[test]
fn ports_of_others_are_as_good_as_none() {
    let root = Daemon::root("others");
    std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("ours");
    let daemon =
        Daemon::start_in(root.clone(), &format!("net=lab mode=666 dir={}/lab", root.display()))
            .ready();
    let directory = root.join("lab");
    let _port = Stream::open(&directory.join("stream"));
    let mut owner = Client::connect(&directory).expect("served");
    until(&daemon, "the port", || show(&mut owner).ports.len() == 1);
    if sys::user::uid() != 0 {
        eprintln!("SKIPPED: only root can be another user here");
        return;
    }
    let ask = |port: &str| {
        let line =
            format!("{{\"v\":1,\"id\":1,\"call\":\"show\",\"args\":{{\"port\":\"{port}\"}}}}");
        use std::os::unix::process::CommandExt;
        let mut socat = Command::new("socat");
        socat.uid(65534).gid(65534);
        answer(&mut socat, &directory.join("api"), &line).replace(port, "PORT")
    };
    let (open, none) = (ask("stream-1"), ask("stream-2"));
    assert!(none.contains("no-such-port"), "{none}");
    assert_eq!(open, none);
}

#[test]
fn clients_that_send_rubbish_or_half_a_request_delay_nobody() {
    let daemon = Daemon::start("rubbish", "net=lab").ready();
    let api = daemon.path("lab").join("api");
    let mut half = UnixStream::connect(&api).expect("served");
    half.write_all(b"{\"v\":1,\"id\":1,").expect("room");
    let mut endless = UnixStream::connect(&api).expect("served");
    endless.set_read_timeout(Some(PATIENCE)).expect("ours");
    // The daemon may close before all is written.
    let _closed = endless.write_all(&[b'x'; 200_000]);
    let mut rest = Vec::new();
    let ended = endless.read_to_end(&mut rest);
    assert!(ended.is_err() || rest.is_empty(), "a line without end is no request");
    let mut rubbish = UnixStream::connect(&api).expect("served");
    rubbish.set_read_timeout(Some(PATIENCE)).expect("ours");
    rubbish
        .write_all(b"\xff\xfe\n{\"v\":2,\"id\":9}\n{\"v\":1,\"id\":3,\"call\":\"fly\"}\n")
        .expect("room");
    let mut lines = BufReader::new(&mut rubbish).lines();
    for code in ["bad-request", "bad-version", "bad-request"] {
        let line = lines.next().expect("an answer").expect("text");
        assert!(line.contains(&format!("\"code\":\"{code}\"")), "{line}");
    }
    // One that asks and sends no more still gets its answers, all of them.
    let mut finished = UnixStream::connect(&api).expect("served");
    finished.set_read_timeout(Some(PATIENCE)).expect("ours");
    let asked = "{\"v\":1,\"id\":1,\"call\":\"hello\"}\n".repeat(50);
    finished.write_all(asked.as_bytes()).expect("room");
    finished.shutdown(std::net::Shutdown::Write).expect("ours");
    assert_eq!(BufReader::new(&mut finished).lines().count(), 50);
    // A client that asks and asks and does not read.
    let mut greedy = UnixStream::connect(&api).expect("served");
    greedy.set_nonblocking(true).expect("ours");
    for _ in 0..20_000 {
        if greedy.write(b"{\"v\":1,\"id\":1,\"call\":\"metrics\"}\n").is_err() {
            break;
        }
    }
    let mut client = daemon.client("lab");
    assert_eq!(client.hello().expect("others are served").network, "lab");
    half.write_all(b"\"call\":\"hello\"}\n").expect("room");
    let mut line = String::new();
    half.set_read_timeout(Some(PATIENCE)).expect("ours");
    BufReader::new(&mut half).read_line(&mut line).expect("an answer");
    assert!(line.contains("\"ok\""), "{line}");
}

#[test]
fn without_descriptors_clients_wait_and_nothing_spins() {
    let daemon = Daemon::start("descriptors", "net=lab descriptors=40").ready();
    let mut first = daemon.client("lab");
    first.hello().expect("it serves");
    let api = daemon.path("lab").join("api");
    let many: Vec<UnixStream> =
        (0..60).map(|_| UnixStream::connect(&api).expect("queued")).collect();
    let deadline = Instant::now() + PATIENCE;
    while !daemon.log().contains("was not accepted") {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }
    first.hello().expect("those who are in are served");
    drop(many);
    let mut late = daemon.client("lab");
    late.hello().expect("and who comes later as well");
}

/// What `api` answers to a line that socat sends, run as `command` says; the arguments are added.
fn answer(command: &mut Command, api: &Path, line: &str) -> String {
    let mut socat = command
        // It waits for the answer when it has asked.
        .args(["-t", "20", "-"])
        .arg(format!("UNIX-CONNECT:{}", api.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("socat runs");
    let mut stdin = socat.stdin.take().expect("a pipe");
    writeln!(stdin, "{line}").expect("room");
    drop(stdin);
    String::from_utf8(socat.wait_with_output().expect("it ends").stdout).expect("text")
}

/// A guest that finds the socket, in a directory that was published after it had started, is not served.
#[test]
fn peers_in_inner_pid_namespaces_may_not_use_api_unless_it_is_said() {
    let inside = ["--user", "--map-root-user", "--pid", "--fork"];
    let possible = Command::new("unshare").args(inside).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: this user may make no PID namespaces");
        return;
    }
    let root = Daemon::root("peers");
    let config = root.join("netherd.toml");
    std::fs::write(&config, "[network.a]\n[network.b]\npeers = \"any\"\n").expect("writable");
    let daemon = Daemon::start_in(root, &format!("config={}", config.display())).ready();
    let hello = "{\"v\":1,\"id\":1,\"call\":\"hello\"}";
    let ask = |namespaces: &[&str], network: &str| {
        let mut command = Command::new("unshare");
        command.args(namespaces).arg("socat");
        answer(&mut command, &daemon.path(network).join("api"), hello)
    };
    let refused = ask(&inside, "a");
    assert!(refused.contains("not-allowed") && refused.contains("peers = "), "{refused}");
    assert!(ask(&inside, "b").contains("\"ok\""));
    // Programs that only map ids or change the network are no guests: vdens, rootless tools before they start one.
    assert!(ask(&["--user", "--map-root-user", "--net"], "a").contains("\"ok\""));
    assert!(daemon.log().contains("was refused"), "{}", daemon.log());
}
