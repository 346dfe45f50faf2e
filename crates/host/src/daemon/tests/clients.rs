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
fn ports_and_guests_of_others_are_as_good_as_none() {
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
        testkit::skip!("only root can be another user here");
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
    let mut web = Client::connect(&directory).expect("served");
    let join = Join { guest: Some("web".into()), ..Join::default() };
    let _: Joined = web.call(&Call::Join(join), &[]).expect("free").value;
    let enter = |guest: &str| {
        let line =
            format!("{{\"v\":1,\"id\":1,\"call\":\"exec\",\"args\":{{\"guest\":\"{guest}\"}}}}");
        use std::os::unix::process::CommandExt;
        let mut socat = Command::new("socat");
        socat.uid(65534).gid(65534);
        answer(&mut socat, &directory.join("api"), &line).replace(guest, "GUEST")
    };
    let (joined, none) = (enter("web"), enter("cat"));
    assert!(none.contains("no-such-guest"), "{none}");
    assert_eq!(joined, none, "nor whether a guest does");
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
        testkit::skip!("this user may make no PID namespaces");
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

/// A TCP socket whose last close waits for a far host that takes nothing, for as long as its owner asked.
fn lingering() -> (OwnedFd, std::net::TcpListener) {
    let far = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let near = std::net::TcpStream::connect(far.local_addr().expect("bound")).expect("it listens");
    near.set_nonblocking(true).expect("ours");
    while (&near).write(&[0; 65536]).is_ok() {}
    rustix::net::sockopt::set_socket_linger(&near, Some(PATIENCE)).expect("ours");
    (near.into(), far)
}

/// Whoever passes descriptors that take long to close delays himself. Each of these would hold the daemon, and the
/// frames of everybody, for 20 seconds.
#[test]
fn closing_what_clients_sent_delays_nobody() {
    let daemon = Daemon::start("closing", "net=lab").ready();
    let api = daemon.path("lab").join("api");
    let mut client = daemon.client("lab");
    let mut far_ends = Vec::new();
    let start = Instant::now();
    let mut send = |to: &UnixStream, line: &str, count: usize| {
        let (near, far) = lingering();
        far_ends.push(far);
        let fds = vec![near.as_fd(); count];
        sys::unix::send_with_fds(to.as_fd(), line.as_bytes(), &fds).expect("room");
        drop(fds);
        // The daemon's are the last now; where it was quicker, ours is, which must not delay the test.
        std::thread::spawn(move || drop(near));
    };
    let answer = |to: &UnixStream| {
        to.set_read_timeout(Some(PATIENCE)).expect("ours");
        let mut line = String::new();
        BufReader::new(to).read_line(&mut line).expect("an answer");
        line
    };
    // With a request that takes none.
    let plain = UnixStream::connect(&api).expect("served");
    send(&plain, "{\"v\":1,\"id\":1,\"call\":\"hello\"}\n", 1);
    assert!(answer(&plain).contains("\"ok\""));
    // As what they are not.
    let web = UnixStream::connect(&api).expect("served");
    let join =
        "{\"v\":1,\"id\":1,\"call\":\"join\",\"args\":{\"guest\":\"web\",\"kind\":\"run\"}}\n";
    (&web).write_all(join.as_bytes()).expect("room");
    let joined = answer(&web);
    assert!(joined.contains("\"ok\""), "{joined}");
    for (link, more) in [("tap", ""), ("packet", ""), ("tap", "\"net\"")] {
        let line = format!(
            "{{\"v\":1,\"id\":2,\"call\":\"link\",\"args\":{{\"link\":\"{link}\",\
             \"vnet_hdr_len\":12,\"offloads\":[],\"namespaces\":[{more}]}}}}\n"
        );
        send(&web, &line, 1 + usize::from(!more.is_empty()));
        let answer = answer(&web);
        assert!(answer.contains("bad-argument") && answer.contains("was not"), "{answer}");
    }
    // More than may come.
    let greedy = UnixStream::connect(&api).expect("served");
    send(&greedy, "{", 32);
    assert_eq!(answer(&greedy), "", "its connection is ended");
    // Not read when the connection ends.
    let gone = UnixStream::connect(&api).expect("served");
    send(&gone, "{", 1);
    drop(gone);
    drop(web);
    until(&daemon, "the end of guest web", || daemon.log().contains("Guest web left"));
    for _ in 0..3 {
        client.hello().expect("it serves");
    }
    assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
}

/// Processes of a guest may have the owner's uid. Those that `api` refuses, and that ask nothing, keep him out of it for
/// no moment, and do not stay.
#[test]
fn refused_connections_take_no_place_and_end() {
    let inside = ["--user", "--map-root-user", "--pid", "--fork"];
    let possible = Command::new("unshare").args(inside).arg("true").status();
    if !possible.is_ok_and(|status| status.success()) {
        testkit::skip!("this user may make no PID namespaces");
    }
    let root = Daemon::root("refused");
    let config = root.join("netherd.toml");
    std::fs::write(&config, "[network.lab]\nclients_per_user = 4\n").expect("ours");
    let daemon = Daemon::start_in(root, &format!("config={}", config.display())).ready();
    let api = daemon.path("lab").join("api");
    // Silent connections that stay until the other side ends them: `socat` with nothing to say, which says when it ends.
    let mut silent: Vec<Child> = (0..6)
        .map(|_| {
            Command::new("unshare")
                .args(inside)
                .args(["socat", "-u"])
                .arg(format!("UNIX-CONNECT:{}", api.display()))
                .arg("OPEN:/dev/null")
                .spawn()
                .expect("unshare runs")
        })
        .collect();
    until(&daemon, "six refusals", || daemon.log().matches("was refused").count() == 6);
    let mut owners: Vec<Client> = (0..4).map(|_| daemon.client("lab")).collect();
    for client in &mut owners {
        client.hello().expect("he has all his places");
    }
    // A few more look and end, but hold nothing; then there is a sentence, and no silence.
    let mut spare: Vec<Client> = (0..4).map(|_| daemon.client("lab")).collect();
    for client in &mut spare {
        client.hello().expect("short calls have places of their own");
    }
    let (code, message) = refusal(spare[0].call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::Limit);
    assert!(message.contains("clients_per_user"), "{message}");
    let (code, message) = refusal(daemon.client("lab").hello());
    assert_eq!(code, Code::Limit);
    assert!(message.contains("network lab") && message.contains("netherd detach"), "{message}");
    until(&daemon, "the end of those who ask nothing", || {
        silent.iter_mut().all(|it| matches!(it.try_wait(), Ok(Some(_))))
    });
    drop(owners.pop());
    let _: Joined = spare[0].call(&join(Some("web"), ""), &[]).expect("there is a place now").value;
}
