//! A device, its wire, and the helper between them and a hypervisor that may be anything.
//!
//! Each test moves its thread to a network namespace of its own: what it makes and starts is there.

use std::cell::OnceCell;
use std::io::{BufRead, BufReader, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nic::protocol::{self, FromHelper, MESSAGE_MAX, Place, Welcome, frames_header, record_header};
use nic::reason::Reason;
use nic::slots::{Slots, Way};
use sys::packet;
use sys::unix::SocketKind;
use wire::{MacAddr, Offload, VNET_HDR_LEN, vnet};

/// How long what must happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const OURS: MacAddr = MacAddr([2, 0, 0, 0x12, 0, 1]);
pub(crate) const OTHER: MacAddr = MacAddr([2, 0, 0, 0x12, 0, 2]);
pub(crate) const OUTSIDE: MacAddr = MacAddr([2, 0, 0, 0x99, 0, 1]);

/// What the list says, but for the entry's own words.
pub(crate) const MACS: &str =
    "user = \"0\"\ndevice = \"nic0\"\nmacs = [\"02:00:00:12:00:00/32\"]\n";

pub(crate) struct Lab {
    place: PathBuf,
    helper: Child,
    index: u32,
}

pub(crate) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

impl Lab {
    /// `None`, with the reason noted, where only root could make one.
    pub(crate) fn new(entry: &str) -> Option<Lab> {
        if sys::unix::effective_uid() != 0 {
            testkit::skipped(
                "only root may open packet sockets, and the tests run as an ordinary user",
            );
            return None;
        }
        if let Err(e) = sys::ns::unshare(sys::ns::Namespaces::NETWORK) {
            testkit::skipped(&format!("no network namespaces here: {e}"));
            return None;
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let place = PathBuf::from(format!("/tmp/nn{}-{number}", std::process::id()));
        std::fs::create_dir_all(&place).expect("a folder under /tmp");
        make_device();
        std::fs::write(place.join("nic.toml"), format!("[[allow]]\n{entry}\n")).expect("a list");
        let mut helper = Command::new(env!("CARGO_BIN_EXE_netherd-nic"))
            .arg("--listen")
            .arg(place.join("nic.sock"))
            .arg("--list")
            .arg(place.join("nic.toml"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("the helper starts");
        let log = BufReader::new(helper.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|it| eprintln!("{it}"));
        });
        let mut lab = Lab { place, helper, index: 0 };
        lab.index = lab.index_of("wire0");
        Some(lab)
    }

    pub(crate) fn index_of(&self, name: &str) -> u32 {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
        sys::device::index(socket.as_fd(), name).expect("the device is there")
    }

    /// The other end of the device.
    pub(crate) fn wire(&self) -> Wire {
        Wire(packet::open(self.index_of("wire0"), 8 << 20).expect("root opens packet sockets"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.join("nic.sock")
    }

    /// A connection that was welcomed.
    pub(crate) fn connect(&self) -> Client {
        let client = Client::raw(&self.socket());
        client.say(&protocol::hello("nic0", false).expect("a name"));
        match client.hear() {
            Some(Heard::Welcome(_)) => client,
            other => panic!("no welcome: {other:?}"),
        }
    }

    pub(crate) fn helper_pid(&self) -> u32 {
        self.helper.id()
    }

    pub(crate) fn reload(&self) {
        let pid = i32::try_from(self.helper.id()).expect("a number");
        sys::signal::send(pid, sys::detach::SIGHUP).expect("it lives");
    }
}

/// A veth pair whose ends say nothing by themselves.
pub(crate) fn make_device() {
    ip("link add nic0 address 02:00:00:88:00:01 type veth peer name wire0");
    ip("link set nic0 addrgenmode none");
    ip("link set wire0 addrgenmode none up");
    ip("link set nic0 up");
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ended = self.helper.kill();
        let _reaped = self.helper.wait();
        let _removed = std::fs::remove_dir_all(&self.place);
    }
}

/// The far end of the device, seen as it is.
pub(crate) struct Wire(OwnedFd);

impl Wire {
    /// The next frame that comes within `limit`, with its metadata.
    pub(crate) fn receive(&self, limit: Duration) -> Option<(Offload, Vec<u8>)> {
        if !sys::wait::readable(self.0.as_fd(), Some(limit)).expect("poll") {
            return None;
        }
        let mut header = [0; 10];
        let mut buffer = vec![0; 70_000];
        let received = packet::receive(self.0.as_fd(), &mut header, &mut buffer).ok()?;
        let frame = buffer[received.range].to_vec();
        Some((vnet::decode(&header).expect("the kernel's header"), frame))
    }

    /// All frames until `marker`, which must come.
    pub(crate) fn until(&self, marker: &[u8]) -> Vec<Vec<u8>> {
        let start = Instant::now();
        let mut seen = Vec::new();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let (_, frame) = self.receive(left).expect("the marker comes");
            if frame == marker {
                return seen;
            }
            seen.push(frame);
        }
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        self.send_with(&Offload::NONE, frame);
    }

    pub(crate) fn send_with(&self, offload: &Offload, frame: &[u8]) {
        let mut header = [0; 10];
        vnet::encode(offload, frame, &mut header);
        let pieces = [IoSlice::new(&header), IoSlice::new(frame)];
        let start = Instant::now();
        while sys::unix::send_vectored(self.0.as_fd(), &pieces).is_err() {
            assert!(start.elapsed() < PATIENCE, "the wire takes no frame");
            std::thread::yield_now();
        }
    }
}

/// What a client heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Welcome(Welcome),
    Refused(String),
    Lend,
    Claimed(MacAddr, bool),
    Frames(Vec<(Offload, Vec<u8>)>),
    Carrier(bool),
    Counters(Vec<u64>),
}

/// A hypervisor, or somebody who plays one.
pub(crate) struct Client {
    pub(crate) socket: OwnedFd,
    /// The memory that came with the welcome.
    pub(crate) slots: OnceCell<Slots>,
}

impl Client {
    pub(crate) fn raw(place: &Path) -> Client {
        let start = Instant::now();
        loop {
            match sys::unix::connect_path(place, SocketKind::Seqpacket) {
                Ok(socket) => return Client { socket, slots: OnceCell::new() },
                Err(e) => assert!(start.elapsed() < PATIENCE, "no helper: {e}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn try_say(&self, message: &[u8]) -> bool {
        sys::unix::send_vectored(self.socket.as_fd(), &[IoSlice::new(message)]).is_ok()
    }

    pub(crate) fn say(&self, message: &[u8]) {
        let start = Instant::now();
        while !self.try_say(message) {
            assert!(start.elapsed() < PATIENCE, "the helper does not read");
            std::thread::yield_now();
        }
    }

    /// The next message; `None` at the end.
    pub(crate) fn hear(&self) -> Option<Heard> {
        let readable = sys::wait::readable(self.socket.as_fd(), Some(PATIENCE)).expect("poll");
        assert!(readable, "the helper says nothing");
        let mut buffer = vec![0; MESSAGE_MAX];
        let received = sys::unix::receive_with_fds(self.socket.as_fd(), &mut buffer, 1).ok()?;
        let len = received.len;
        if len == 0 {
            return None;
        }
        if let Some(fd) = received.fds.first() {
            let first = self.slots.set(Slots::map(fd.as_fd()).expect("sealed memory"));
            assert!(first.is_ok(), "only the welcome brings a descriptor");
        }
        Some(match FromHelper::decode(&buffer[..len]).expect("the helper speaks its protocol") {
            FromHelper::Welcome(welcome) => Heard::Welcome(welcome),
            FromHelper::Refused(sentence) => Heard::Refused(sentence.to_owned()),
            FromHelper::Lend => Heard::Lend,
            FromHelper::Claimed(mac, result) => Heard::Claimed(mac, result.is_ok()),
            FromHelper::Frames(records) => Heard::Frames(
                records
                    .map(|it| (vnet::decode(it.header).expect("a header"), it.frame.to_vec()))
                    .collect(),
            ),
            FromHelper::Places(places) => Heard::Frames(
                places
                    .map(|place| {
                        let slots = self.slots.get().expect("mapped with the welcome");
                        let mut frame = vec![0; place.len];
                        assert!(slots.read(Way::In, place.slot, &mut frame));
                        slots.give_back(Way::In, place.slot);
                        (vnet::decode(&place.header).expect("a header"), frame)
                    })
                    .collect(),
            ),
            FromHelper::Carrier(up) => Heard::Carrier(up),
            FromHelper::Counters(numbers) => {
                Heard::Counters((0..Reason::COUNT).map(|i| numbers.get(i)).collect())
            }
        })
    }

    pub(crate) fn claim(&self, mac: MacAddr) -> bool {
        self.say(&protocol::claim(mac));
        loop {
            match self.hear() {
                Some(Heard::Claimed(of, granted)) if of == mac => return granted,
                Some(_) => {}
                None => panic!("the helper ended the connection"),
            }
        }
    }

    /// Puts one frame into a slot and tells it.
    pub(crate) fn send_in_slot(&self, header: [u8; VNET_HDR_LEN], frame: &[u8]) {
        let slots = self.slots.get().expect("mapped with the welcome");
        let start = Instant::now();
        let slot = loop {
            if let Some(slot) = slots.take(Way::Out) {
                break slot;
            }
            assert!(start.elapsed() < PATIENCE, "the helper gives no slot back");
            std::thread::yield_now();
        };
        assert!(slots.write(Way::Out, slot, 0, frame));
        let mut message = protocol::places_header(1).to_vec();
        message.extend_from_slice(&Place { slot, len: frame.len(), header, lent: None }.encode());
        self.say(&message);
    }

    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        self.say(&message(&[0; VNET_HDR_LEN], frames));
    }

    /// The counters that moved, by name.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        self.say(&protocol::ask_counters());
        loop {
            match self.hear() {
                Some(Heard::Counters(numbers)) => {
                    let named = Reason::ALL.into_iter().map(Reason::name).zip(numbers);
                    return named.filter(|(_, count)| *count > 0).collect();
                }
                Some(_) => {}
                None => panic!("the helper ended the connection"),
            }
        }
    }

    pub(crate) fn counter(&self, reason: Reason) -> u64 {
        self.counters()
            .into_iter()
            .find(|(it, _)| *it == reason.name())
            .map_or(0, |(_, count)| count)
    }

    /// Frames until `marker`, which must come.
    pub(crate) fn frames_until(&self, marker: &[u8]) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        loop {
            match self.hear() {
                Some(Heard::Frames(frames)) => {
                    for (_, frame) in frames {
                        if frame == marker {
                            return seen;
                        }
                        seen.push(frame);
                    }
                }
                Some(_) => {}
                None => panic!("the helper ended the connection"),
            }
        }
    }
}

pub(crate) fn message(header: &[u8; VNET_HDR_LEN], frames: &[Vec<u8>]) -> Vec<u8> {
    let mut message = frames_header(frames.len().try_into().expect("few")).to_vec();
    for frame in frames {
        message.extend_from_slice(&record_header(frame.len().try_into().expect("short"), *header));
        message.extend_from_slice(frame);
    }
    message
}
