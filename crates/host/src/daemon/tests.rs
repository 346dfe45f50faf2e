//! The daemon as a process of its own, confined with a filter that kills it at the first system call that is not on the
//! list, used through its sockets.
//!
//! The process is this test program again, which runs [`child`] alone; its runtime directory is a temporary one.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Options, serve};
use crate::api::client::{Client, ClientError};
use crate::api::message::{
    Call, CaptureArgs, Capturing, Code, Entrance, Event, GuestKind, Join, Joined, LinkArgs,
    LinkMechanism, Metrics, Nothing, Reloaded,
};
use crate::report::{Network, Networks};
use crate::start::Readiness;

const ARGUMENTS: &str = "NETHERD_TEST_DAEMON";
/// A hung daemon fails a test after this; nothing waits so long otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

/// The daemon, when a test started this program for it; nothing otherwise.
#[test]
fn child() {
    let Some(arguments) = std::env::var_os(ARGUMENTS) else { return };
    let arguments = arguments.into_string().expect("text");
    let mut options = Options { ready_fd: Some(0), ..Options::default() };
    for argument in arguments.split(' ').filter(|it| !it.is_empty()) {
        let (key, value) = argument.split_once('=').expect("key=value");
        match key {
            "net" => options.network = Some(value.to_owned()),
            "dir" => options.dir = Some(value.into()),
            "config" => options.config = Some(value.into()),
            "mode" => options.mode = u32::from_str_radix(value, 8).ok(),
            // As few descriptors as a daemon with a full house has left.
            "descriptors" => sys::confine::limit_descriptors(value.parse().expect("a number")),
            "idle" => options.idle = value.parse().ok().map(Duration::from_millis),
            other => panic!("no such key: {other}"),
        }
    }
    let code = match serve(options) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    };
    std::process::exit(code);
}

struct Daemon {
    root: PathBuf,
    process: Child,
    readiness: Option<Readiness>,
}

impl Daemon {
    fn root(name: &str) -> PathBuf {
        use std::os::unix::fs::DirBuilderExt;
        let root = std::env::temp_dir().join(format!("nhd-{}-{name}", std::process::id()));
        let _gone = std::fs::remove_dir_all(&root);
        std::fs::DirBuilder::new().mode(0o700).create(&root).expect("a directory");
        root
    }

    fn start(name: &str, arguments: &str) -> Self {
        Self::start_in(Self::root(name), arguments)
    }

    fn start_in(root: PathBuf, arguments: &str) -> Self {
        let (mut ready, theirs) = UnixStream::pair().expect("a pair");
        let process = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "daemon::tests::child", "--nocapture", "--test-threads=1"])
            .env(ARGUMENTS, arguments)
            .env("XDG_RUNTIME_DIR", &root)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(root.join("log")).expect("writable"))
            .spawn()
            .expect("this program runs");
        ready.set_read_timeout(Some(PATIENCE)).expect("ours");
        let mut line = String::new();
        let mut reader = BufReader::new(&mut ready);
        reader.read_line(&mut line).expect("a word before the patience ends");
        Self { root, process, readiness: Readiness::from_line(&line) }
    }

    fn ready(self) -> Self {
        assert_eq!(self.readiness, Some(Readiness::Ready), "{}", self.log());
        self
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    fn path(&self, network: &str) -> PathBuf {
        self.root.join("netherd").join(network)
    }

    fn client(&self, network: &str) -> Client {
        Client::connect(&self.path(network))
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// Waits for the end; the exit code, or none when a signal killed it.
    fn end(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().expect("our child") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the daemon does not end\n{}", self.log());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.process.kill();
        let _status = self.process.wait();
        if !std::thread::panicking() {
            let _left = std::fs::remove_dir_all(&self.root);
        }
    }
}

fn show(client: &mut Client) -> Network {
    client.call(&Call::Show { port: None }, &[]).expect("a report").value
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> (Code, String) {
    match result {
        Err(ClientError::Refused(failure)) => (failure.code, failure.message),
        other => panic!("no refusal: {other:?}"),
    }
}

fn join(guest: Option<&str>, command: &str) -> Call {
    Call::Join(newcomer(guest, command))
}

fn newcomer(guest: Option<&str>, command: &str) -> Join {
    Join {
        guest: guest.map(str::to_owned),
        command: command.to_owned(),
        mac: None,
        kind: GuestKind::Run,
        resume: false,
    }
}

fn until(daemon: &Daemon, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} does not come\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn sockets_in(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .expect("there")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|it| it.is_socket()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}

/// A client of the node `stream`.
struct Stream(UnixStream);

impl Stream {
    fn open(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("a node");
        stream.set_read_timeout(Some(PATIENCE)).expect("ours");
        Self(stream)
    }

    fn send(&mut self, to: [u8; 6], from: [u8; 6], payload: &[u8]) {
        let frame = [&to[..], &from, &[0x88, 0xb5], payload].concat();
        let len = u32::try_from(frame.len()).expect("short").to_be_bytes();
        self.0.write_all(&[&len[..], &frame].concat()).expect("the daemon reads");
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut len = [0; 4];
        self.0.read_exact(&mut len).expect("a frame before the patience ends");
        let mut frame = vec![0; u32::from_be_bytes(len) as usize];
        self.0.read_exact(&mut frame).expect("the rest of it");
        frame
    }
}

const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];

#[test]
fn two_clients_exchange_frames_and_all_calls_answer() {
    let mut daemon = Daemon::start("calls", "net=lab").ready();
    let path = daemon.path("lab");
    assert_eq!(sockets_in(&path), ["api", "ctl", "dgram", "seqpacket", "stream"]);
    let mut client = daemon.client("lab");
    let hello = client.hello().expect("an answer");
    assert_eq!((hello.network.as_str(), hello.api, hello.control), ("lab", 1, true));
    assert_eq!(hello.directory, path);
    assert_eq!(hello.pid, daemon.process.id());

    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut captor = daemon.client("lab");
    let args = CaptureArgs::default();
    let capturing: Capturing =
        captor.call(&Call::Capture(args), &[writer.as_fd()]).expect("a capture").value;
    assert_eq!(capturing.snaplen, 262_144);
    drop(writer);

    let mut a = Stream::open(&path.join("stream"));
    let mut b = Stream::open(&path.join("stream"));
    // The second connection is accepted once its frame has come to the first.
    a.send([0xff; 6], A, b"first");
    b.send([0xff; 6], B, b"hello");
    assert_eq!(a.receive()[14..], *b"hello");
    a.send(B, A, b"to b");
    let received = loop {
        let frame = b.receive();
        if frame[14..] != *b"first" {
            break frame;
        }
    };
    assert_eq!(received[..12], [B, A].concat());
    assert_eq!(received[14..], *b"to b");

    let report = show(&mut client);
    assert_eq!(
        (report.network.as_str(), report.mode.as_str(), report.mtu),
        ("lab", "switch", 1500)
    );
    assert_eq!(report.ports.len(), 2);
    let rx: u64 = report.ports.iter().map(|port| port.counters["rx_frames"]).sum();
    assert_eq!(rx, 3);
    assert!(report.ports.iter().all(|port| port.link == "stream" && port.drops.is_empty()));
    assert!(report.ports.iter().all(|port| port.pid == Some(std::process::id() as i32)));
    let learned: Vec<&str> = report.macs.iter().map(|mac| mac.kind.as_str()).collect();
    assert_eq!(learned, ["learned", "learned"]);
    let one: Network =
        client.call(&Call::Show { port: Some("stream-1".into()) }, &[]).expect("a report").value;
    assert_eq!(one.ports.len(), 1);
    let (code, message) =
        refusal(client.call::<Network>(&Call::Show { port: Some("nobody".into()) }, &[]));
    assert_eq!(code, Code::NoSuchPort);
    assert!(message.contains("nobody") && message.contains("lab"), "{message}");

    let networks: Networks = client.call(&Call::Networks {}, &[]).expect("a list").value;
    assert_eq!(networks.networks.len(), 1);
    assert_eq!(networks.networks[0].ports, 2);
    let metrics: Metrics = client.call(&Call::Metrics {}, &[]).expect("a text").value;
    assert!(metrics.text.contains("netherd_network_ports{network=\"lab\"} 2\n"));
    let (code, message) = refusal(client.call::<Reloaded>(&Call::Reload { config: None }, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("without a configuration file"), "{message}");

    drop(captor);
    let mut capture = Vec::new();
    std::fs::File::from(OwnedFd::from(reader)).read_to_end(&mut capture).expect("a pipe");
    assert_eq!(capture[..4], 0x0a0d_0d0a_u32.to_le_bytes());
    let comment = b"forwarded to stream-";
    assert!(capture.windows(comment.len()).any(|window| window == comment));

    let _: Nothing = client.call(&Call::Down {}, &[]).expect("an answer before the end").value;
    assert_eq!(daemon.end(), Some(0), "{}", daemon.log());
    assert_eq!(sockets_in(&path), [""; 0]);
    assert!(path.join("plan.json").exists());
}

#[test]
fn guests_have_names_addresses_and_sessions() {
    let daemon = Daemon::start("guests", "net=lab").ready();
    let mut web = daemon.client("lab");
    let joined: Joined = web.call(&join(Some("web"), "httpd"), &[]).expect("free").value;
    assert_eq!((joined.network.as_str(), joined.guest.as_str()), ("lab", "web"));
    assert!(joined.ipv4.ends_with("/20") && joined.ipv6.ends_with("/64"));
    assert!(joined.covers.contains(&daemon.root.join("netherd")));
    let (code, message) = refusal(daemon.client("lab").call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::NameTaken);
    assert!(message.contains("web"), "{message}");
    let (code, _) = refusal(web.call::<Joined>(&join(Some("db"), ""), &[]));
    assert_eq!(code, Code::WrongState, "a session has one guest");
    let (code, _) = refusal(daemon.client("lab").call::<Joined>(&join(Some("Web"), ""), &[]));
    assert_eq!(code, Code::BadArgument);

    let mut shells: Vec<Client> = (0..3).map(|_| daemon.client("lab")).collect();
    let names: Vec<String> = shells
        .iter_mut()
        .map(|it| it.call::<Joined>(&join(None, "/bin/sh"), &[]).expect("free").value.guest)
        .collect();
    assert_eq!(names, ["sh", "sh-2", "sh-3"]);

    // No tap here: what is no link is refused, and its descriptor does not stay open.
    let link = Call::Link(LinkArgs {
        link: LinkMechanism::Tap,
        vnet_hdr_len: 12,
        offloads: vec!["csum".into()],
        init_pid: None,
        namespaces: vec!["net".into()],
    });
    let file = std::fs::File::open("/dev/null").expect("there");
    let (code, _) = refusal(web.call::<Nothing>(&link, &[file.as_fd()]));
    assert_eq!(code, Code::BadRequest, "two descriptors are needed");
    let (code, _) = refusal(web.call::<Nothing>(&link, &[file.as_fd(), file.as_fd()]));
    assert_eq!(code, Code::BadArgument, "it is no tap");
    let exec = Call::Exec { guest: "web".into() };
    let (code, _) = refusal(web.call::<Entrance>(&exec, &[]));
    assert_eq!(code, Code::WrongState, "it has no link");
    let (code, _) = refusal(web.call::<Entrance>(&Call::Exec { guest: "x".into() }, &[]));
    assert_eq!(code, Code::NoSuchGuest);

    let mut client = daemon.client("lab");
    let _: Nothing = client.call(&Call::Detach { guest: "web".into() }, &[]).expect("ours").value;
    let Event::Closed(closed) = web.wait_event().expect("its session is told") else {
        panic!("another event")
    };
    assert_eq!((closed.guest.as_str(), closed.wanted, closed.end), ("web", true, true));

    // It comes back to its addresses, also in a daemon that comes after one that was killed.
    let mut again = daemon.client("lab");
    let back: Joined = again.call(&join(Some("web"), ""), &[]).expect("free again").value;
    assert_eq!((&back.ipv4, &back.ipv6, &back.mac), (&joined.ipv4, &joined.ipv6, &joined.mac));
    let path = daemon.path("lab");
    until(&daemon, "the plan with web in it", || {
        let plan = std::fs::read_to_string(path.join("plan.json")).expect("always whole");
        let web = plan.split("\"web\"").nth(1).and_then(|rest| rest.split('}').next());
        web.is_some_and(|web| web.contains("\"present\": true"))
    });
    let root = daemon.root.clone();
    let mut daemon = daemon;
    daemon.process.kill().expect("ours");
    let _status = daemon.process.wait();
    assert!(matches!(again.wait_event(), Err(ClientError::Gone { .. })));
    assert_eq!(sockets_in(&path).len(), 5, "a killed daemon cleans nothing");
    let second = Daemon::start_in(root, "net=lab").ready();
    // Its name is not for whoever comes first: the guest lives, and its keeper is on the way.
    let mut early = second.client("lab");
    let (code, message) = refusal(early.call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::NameTaken);
    assert!(message.contains("wait a minute"), "{message}");
    let other: Joined = early.call(&join(None, "web"), &[]).expect("free").value;
    assert_eq!(other.guest, "web-2");
    let keeper = Call::Join(Join { resume: true, ..newcomer(Some("web"), "") });
    let mut keepers = second.client("lab");
    let resumed: Joined = keepers.call(&keeper, &[]).expect("kept for it").value;
    let (code, _) = refusal(second.client("lab").call::<Joined>(&keeper, &[]));
    assert_eq!(code, Code::NameTaken, "it is back: one guest has a name");
    assert_eq!(
        (&resumed.ipv4, &resumed.ipv6, &resumed.mac),
        (&joined.ipv4, &joined.ipv6, &joined.mac)
    );
}

#[test]
fn a_chosen_mac_takes_nothing_from_a_live_port() {
    let daemon = Daemon::start("mac", "net=lab").ready();
    let mut virtual_machine = Stream::open(&daemon.path("lab").join("stream"));
    virtual_machine.send([0xff; 6], A, b"hello");
    let mut client = daemon.client("lab");
    until(&daemon, "its address", || !show(&mut client).macs.is_empty());
    let choose = |mac: &str| Call::Join(Join { mac: Some(mac.into()), ..newcomer(None, "sh") });
    let (code, message) = refusal(client.call::<Joined>(&choose("02:00:00:00:00:0a"), &[]));
    assert_eq!(code, Code::BadArgument);
    assert!(message.contains("in use at an open port"), "{message}");
    let macs = show(&mut client).macs;
    let table: Vec<_> = macs.iter().map(|it| (it.mac.as_str(), it.kind.as_str())).collect();
    assert_eq!(table, [("02:00:00:00:00:0a", "learned")], "it is as it was");
    let joined: Joined = client.call(&choose("02:00:00:00:00:0c"), &[]).expect("free").value;
    assert_eq!(joined.mac, "02:00:00:00:00:0c");
}

#[test]
fn a_second_hypervisor_on_a_directory_is_refused() {
    let first = Daemon::start("second", "net=lab").ready();
    let second = Daemon::start_in(first.root.clone(), "net=lab");
    let pid = first.process.id();
    assert_eq!(second.readiness, Some(Readiness::Held(Some(pid))));
    // It has taken nothing away.
    assert_eq!(first.client("lab").hello().expect("the first serves on").pid, pid);
    // The root is the first's to remove.
    let mut second = std::mem::ManuallyDrop::new(second);
    assert_eq!(second.process.wait().expect("our child").code(), Some(1));
}

#[test]
fn a_configuration_is_reloaded_as_a_whole_or_not_at_all() {
    let root = Daemon::root("reload");
    let config = root.join("netherd.toml");
    let write = |text: &str| std::fs::write(&config, text).expect("writable");
    write("[network.a]\n[network.a.port.web]\nmac = \"02:00:5e:00:53:01\"\nmode = \"0666\"\n");
    let mut daemon =
        Daemon::start_in(root.clone(), &format!("config={}", config.display())).ready();
    let declared = daemon.path("a").join("ports/web/stream");
    assert!(declared.exists());
    let mut client = daemon.client("a");
    let reload = Call::Reload { config: None };

    write("[network.a]\nmtu = 9000\n[network.b]\nmut = 1\n");
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("netherd.toml:4:1"), "{message}");
    assert_eq!(show(&mut client).mtu, 1500, "nothing has changed");
    assert!(declared.exists() && !daemon.path("b").exists());

    let mut port = Stream::open(&declared);
    port.send([0xff; 6], [2, 0, 0x5e, 0, 0x53, 1], b"x");
    let (code, message) = refusal(client.call::<Joined>(&join(Some("web"), ""), &[]));
    assert_eq!(code, Code::NameTaken, "{message}");
    write("[network.a]\ngroup = \"no-such-group\"\n");
    let (code, message) = refusal(client.call::<Reloaded>(&reload, &[]));
    assert_eq!(code, Code::BadConfiguration);
    assert!(message.contains("no-such-group"), "accounts can still be looked up: {message}");
    assert!(declared.exists());

    write(
        "[network.a]\nmtu = 9000\nnodes = [\"stream\"]\n[network.a.port.web]\nmac = \"02:00:5e:00:53:01\"\n\
         mode = \"0600\"\n[network.b]\nidle_timeout = 3600\n",
    );
    let reloaded: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(show(&mut client).mtu, 9000);
    assert_eq!(sockets_in(&daemon.path("a")), ["api", "stream"]);
    assert!(reloaded.changes.iter().any(|it| it.contains("Network b is new")), "{reloaded:?}");
    let mode = std::os::unix::fs::MetadataExt::mode(&declared.metadata().expect("there"));
    assert_eq!(mode & 0o777, 0o600);
    // The open port lives on.
    let report = show(&mut client);
    assert_eq!(report.ports.len(), 1);
    assert_eq!((report.ports[0].name.as_str(), report.ports[0].counters["rx_frames"]), ("web", 1));
    let again: Reloaded = client.call(&reload, &[]).expect("valid").value;
    assert_eq!(again.changes, [""; 0]);

    let mut b = daemon.client("b");
    assert_eq!(b.hello().expect("it is served").network, "b");
    // A text that comes with the call takes the place of the file's.
    let given = Call::Reload { config: Some("[network.a]\n".to_owned()) };
    let reloaded: Reloaded = client.call(&given, &[]).expect("valid").value;
    assert!(reloaded.changes.iter().any(|it| it == "Network b is gone."), "{reloaded:?}");
    assert!(matches!(b.wait_event(), Err(ClientError::Gone { .. })));
    assert_eq!(show(&mut client).mtu, 1500);
    assert!(!declared.exists());
    let _: Nothing = client.call(&Call::Down {}, &[]).expect("an answer before the end").value;
    assert_eq!(daemon.end(), Some(0), "{}", daemon.log());
    assert_eq!(sockets_in(&daemon.path("a")), [""; 0]);
    assert_eq!(sockets_in(&daemon.path("b")), [""; 0]);
}

#[test]
fn an_idle_network_ends_and_a_needed_one_does_not() {
    let mut daemon = Daemon::start("idle", "net=lab idle=50").ready();
    // A connection to api is a need; so it can be asked whether it still serves, however slow this test is.
    let mut client = daemon.client("lab");
    for _ in 0..40 {
        client.hello().expect("it serves");
        std::thread::sleep(Duration::from_millis(3));
    }
    let _: Nothing = client.call(&Call::Stay { stay: true }, &[]).expect("an answer").value;
    assert!(show(&mut client).stay);
    let _: Nothing = client.call(&Call::Stay { stay: false }, &[]).expect("an answer").value;
    drop(client);
    assert_eq!(daemon.end(), Some(0), "{}", daemon.log());
    assert_eq!(sockets_in(&daemon.path("lab")), [""; 0]);
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

/// A frame of 60 bytes.
fn frame(to: [u8; 6], from: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, from], &[0x88, 0xb5], payload].concat();
    frame.resize(60, 0);
    frame
}

/// The confined daemon serves every kind of node: the system calls of all links are on its list.
#[test]
fn all_kinds_of_nodes_are_served_in_confinement() {
    use sys::unix::{self, SocketKind};
    let mut daemon = Daemon::start("nodes", "net=lab").ready();
    let path = daemon.path("lab");
    let mut stream = Stream::open(&path.join("stream"));
    stream.send([0xff; 6], A, b"first");
    let mut client = daemon.client("lab");
    // Its port is there before the others send.
    let deadline = Instant::now() + PATIENCE;
    while show(&mut client).ports.is_empty() {
        assert!(Instant::now() < deadline, "{}", daemon.log());
        std::thread::sleep(Duration::from_millis(2));
    }

    let packets =
        unix::connect_path(&path.join("seqpacket"), SocketKind::Seqpacket).expect("served");
    unix::send_with_fds(packets.as_fd(), &frame([0xff; 6], 1, b"packets"), &[]).expect("room");
    assert_eq!(stream.receive()[14..21], *b"packets");

    let datagrams = std::os::unix::net::UnixDatagram::bind(daemon.root.join("d")).expect("free");
    datagrams.set_read_timeout(Some(PATIENCE)).expect("ours");
    datagrams.connect(path.join("dgram")).expect("served");
    datagrams.send(b"VFKT").expect("room");
    datagrams.send(&frame([0xff; 6], 2, b"datagrams")).expect("room");
    assert_eq!(stream.receive()[14..23], *b"datagrams");
    stream.send([2, 0, 0, 0, 0, 2], A, b"back");
    let mut back = [0; 2048];
    let len = datagrams.recv(&mut back).expect("a frame before the patience ends");
    assert_eq!(back[14..len.min(18)], *b"back");

    let data_path = daemon.root.join("v");
    let data = std::os::unix::net::UnixDatagram::bind(&data_path).expect("free");
    data.set_read_timeout(Some(PATIENCE)).expect("ours");
    let mut control = UnixStream::connect(path.join("ctl")).expect("served");
    control.set_read_timeout(Some(PATIENCE)).expect("ours");
    let mut request = Vec::new();
    for word in [0xfeed_face_u32, 3, 1] {
        request.extend_from_slice(&word.to_ne_bytes());
    }
    request.extend_from_slice(&unix::Address::from_path(&data_path).expect("short").to_wire());
    request.extend_from_slice(b"a test");
    control.write_all(&request).expect("room");
    let mut answer = [0; unix::SOCKADDR_UN_LEN];
    control.read_exact(&mut answer).expect("an answer before the patience ends");
    let name: Vec<u8> = answer[2..].iter().copied().take_while(|byte| *byte != 0).collect();
    data.connect(Path::new(std::str::from_utf8(&name).expect("text"))).expect("it is bound");
    data.send(&frame([0xff; 6], 3, b"vde")).expect("room");
    assert_eq!(stream.receive()[14..17], *b"vde");

    let mut links: Vec<String> = show(&mut client).ports.into_iter().map(|it| it.link).collect();
    links.sort();
    assert_eq!(links, ["dgram", "seqpacket", "stream", "vde"]);
    let _: Nothing = client.call(&Call::Down {}, &[]).expect("an answer before the end").value;
    assert_eq!(daemon.end(), Some(0), "{}", daemon.log());
    let mut left: Vec<String> = std::fs::read_dir(&path)
        .expect("there")
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    left.sort();
    assert_eq!(left, ["lock", "plan.json"]);
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
