//! The daemon as a process of its own, confined with a filter that kills it at the first system call that is not on the
//! list, used through its sockets.
//!
//! The process is this test program again, which runs [`child`] alone; its runtime directory is a temporary one.

mod clients;
mod filters;
mod guard;
mod guests;
mod pages;
mod reload;
mod rewire;
mod routes;

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
/// IEEE 802's first EtherType for experiments: nothing but these tests sends it.
const EXPERIMENT: u16 = 0x88b5;
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
            .env("XDG_STATE_HOME", root.join("state"))
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

    /// Serves network `lab`, whose ports may also send frames of the [`EXPERIMENT`]al EtherType.
    fn laboratory(name: &str) -> Self {
        let root = Self::root(name);
        let config = root.join("lab.toml");
        let text = format!("[network.lab]\nguard.ethertypes = [{EXPERIMENT}]\n");
        std::fs::write(&config, text).expect("writable");
        Self::start_in(root, &format!("config={}", config.display())).ready()
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
        ..Join::default()
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
        let frame = [&to[..], &from, &EXPERIMENT.to_be_bytes(), payload].concat();
        let len = u32::try_from(frame.len()).expect("short").to_be_bytes();
        self.0.write_all(&[&len[..], &frame].concat()).expect("the daemon reads");
    }

    /// The next frame of these tests' own ethertype: the network's router says things as well.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            let frame = self.receive_any();
            if frame.get(12..14) == Some(&EXPERIMENT.to_be_bytes()) {
                return frame;
            }
        }
    }

    fn receive_any(&mut self) -> Vec<u8> {
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
    let mut daemon = Daemon::laboratory("calls");
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
    for (asked, kept) in [(0, 262_144), (1, 1), (96, 96), (262_145, 262_144), (u32::MAX, 262_144)] {
        let args = CaptureArgs { snaplen: asked, ..CaptureArgs::default() };
        let mut other = daemon.client("lab");
        let capturing: Capturing =
            other.call(&Call::Capture(args), &[writer.as_fd()]).expect("a capture").value;
        assert_eq!(capturing.snaplen, kept, "{asked}");
    }
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
    let mut known: Vec<(&str, &str)> = report
        .macs
        .iter()
        .map(|mac| (mac.port.as_deref().unwrap_or("nobody"), mac.kind.as_str()))
        .collect();
    known.sort_unstable();
    let ports = [("(router)", "static"), ("stream-1", "learned"), ("stream-2", "learned")];
    assert_eq!(known, ports);
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
    let reloaded: Reloaded =
        client.call(&Call::Reload { config: None }, &[]).expect("the file is good").value;
    assert_eq!(reloaded.changes, [""; 0], "it is the same");

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

/// A frame of 60 bytes.
fn frame(to: [u8; 6], from: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &[2, 0, 0, 0, 0, from], &EXPERIMENT.to_be_bytes(), payload].concat();
    frame.resize(60, 0);
    frame
}

/// The confined daemon serves every kind of node: the system calls of all links are on its list.
#[test]
fn all_kinds_of_nodes_are_served_in_confinement() {
    use sys::unix::{self, SocketKind};
    let mut daemon = Daemon::laboratory("nodes");
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
