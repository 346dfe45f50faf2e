//! The worker over real sockets. Each test drives the turns by itself: nothing runs in the
//! background, and a turn with a deadline in the past does not wait.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use engine::{Instant, NetworkPlan, NetworkSpec, PoolLimits, PortId, PortSpec, Reason};
use sys::unix::{self, Address, SocketKind};

use super::{NetworkId, NodeId, Worker, WorkerEvent, WorkerLimits};
use crate::link::framing::{self, Decoder, Step};
use crate::link::{CloseReason, LinkKind, LinkSetup, PortAbout};
use crate::node::{NodeKind, NodeTemplate};

mod clients;
mod devices;
mod dgram;
mod router;
mod standings;
mod stream;
mod vde;

/// A worker with one network and a directory of its own.
struct Stage {
    worker: Worker,
    net: NetworkId,
    path: PathBuf,
    events: Vec<WorkerEvent>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.path));
    }
}

impl Stage {
    fn new(name: &str) -> Stage {
        Stage::with_pool(name, WorkerLimits::default().pool)
    }

    fn with_pool(name: &str, pool: PoolLimits) -> Stage {
        let path = std::env::temp_dir().join(format!("nh-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        let mut worker = Worker::new(WorkerLimits { pool, ..WorkerLimits::default() }).unwrap();
        let net = worker.add_network(NetworkPlan::validate(NetworkSpec::default()).unwrap());
        Stage { worker, net, path, events: Vec::new() }
    }

    fn directory(&self) -> OwnedFd {
        unix::open_directory(&self.path).unwrap()
    }

    fn template(&self, kind: NodeKind) -> NodeTemplate {
        NodeTemplate {
            node: kind.file_name().into(),
            directory: Some(self.directory()),
            directory_path: self.path.clone(),
            spec: PortSpec { queue_frames: 128, ..PortSpec::default() },
            port_name: None,
            max_ports: 16,
            max_ports_per_user: 16,
            raw_offload: false,
        }
    }

    fn node(&mut self, kind: NodeKind) -> NodeId {
        let template = self.template(kind);
        self.node_as(kind, template)
    }

    fn node_as(&mut self, kind: NodeKind, template: NodeTemplate) -> NodeId {
        let directory = self.directory();
        let name = OsStr::new(kind.file_name());
        let socket = match kind.socket_kind() {
            SocketKind::Datagram => {
                unix::bind_at(directory.as_fd(), name, SocketKind::Datagram, true).unwrap()
            }
            other => unix::listen_at(directory.as_fd(), name, other, 64).unwrap(),
        };
        self.worker.open_node(self.net, kind, socket, template).unwrap()
    }

    fn connect(&mut self, kind: NodeKind) -> OwnedFd {
        let fd = unix::connect_path(&self.path.join(kind.file_name()), kind.socket_kind()).unwrap();
        unix::set_nonblocking(fd.as_fd(), true).unwrap();
        self.turns();
        fd
    }

    /// A stream port on a socket pair, without a node.
    fn stream_port(&mut self, name: &str, spec: PortSpec) -> (PortId, OwnedFd) {
        let (ours, theirs) = unix::pair(SocketKind::Stream, true).unwrap();
        let about = PortAbout::new(name, LinkKind::Stream, self.worker.now());
        let setup = LinkSetup::Stream { fd: ours };
        (self.worker.open_link(self.net, spec, setup, about).unwrap(), theirs)
    }

    /// Turns until nothing is ready any more, for a bounded number of turns.
    fn turns(&mut self) {
        for _ in 0..50 {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.worker.turn(Some(Instant::EPOCH)).unwrap();
        while let Some(event) = self.worker.poll_event() {
            self.events.push(event);
        }
    }

    fn port(&self, name: &str) -> PortId {
        self.worker
            .port_named(self.net, name)
            .unwrap_or_else(|| panic!("no port {name}: {:?}", self.events))
    }

    fn counter(&self, port: PortId, name: &str) -> u64 {
        let counters = self.worker.engine(self.net).port_counters(port).unwrap();
        counters.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no {name}")).1
    }

    fn dropped(&self, port: PortId, reason: Reason) -> u64 {
        self.worker.engine(self.net).port_counters(port).unwrap().dropped(reason)
    }

    fn closed(&self) -> Vec<(String, CloseReason)> {
        self.events
            .iter()
            .filter_map(|e| match e {
                WorkerEvent::PortClosed { about, why, .. } => {
                    Some((about.name.clone(), why.clone()))
                }
                _ => None,
            })
            .collect()
    }

    fn refusals(&self) -> Vec<String> {
        self.events
            .iter()
            .filter_map(|e| match e {
                WorkerEvent::Refused { why, .. } => Some(why.clone()),
                _ => None,
            })
            .collect()
    }

    /// Every buffer that frames hold now.
    fn buffers_in_use(&self) -> usize {
        let usage = self.worker.pool_usage();
        usage.small.used + usage.large.used + usage.headers.used
    }
}

/// A frame from station `from` to station `to` (0 is broadcast), `len` bytes long, whose payload
/// tells its number.
fn frame(from: u8, to: u8, len: usize, number: u32) -> Vec<u8> {
    let mut f = vec![0; len];
    f[..6].copy_from_slice(&if to == 0 { [0xff; 6] } else { [2, 0, 0, 0, 0, to] });
    f[6..12].copy_from_slice(&[2, 0, 0, 0, 0, from]);
    f[12..14].copy_from_slice(&0x88b5_u16.to_be_bytes());
    f[14..18].copy_from_slice(&number.to_be_bytes());
    f
}

fn record(frame: &[u8]) -> Vec<u8> {
    [&framing::prefix(frame.len())[..], frame].concat()
}

fn send(fd: &OwnedFd, bytes: &[u8]) -> std::io::Result<usize> {
    unix::send_vectored(fd.as_fd(), &[IoSlice::new(bytes)])
}

/// Everything that waits on a stream client, decoded.
fn read_records(fd: &OwnedFd, decoder: &mut Decoder) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(n @ 1..) = unix::receive(fd.as_fd(), &mut buffer) {
        let mut input = &buffer[..n];
        loop {
            match decoder.next(&mut input) {
                Step::Frame(f) => frames.push(f.to_vec()),
                Step::Incomplete => break,
                Step::BadLength(n) => panic!("the worker wrote a record of {n} bytes"),
            }
        }
    }
    frames
}

/// Everything that waits on a packet client.
fn read_packets(fd: &OwnedFd) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 128 * 1024];
    std::iter::from_fn(|| match unix::receive(fd.as_fd(), &mut buffer) {
        Ok(n) if n > 0 => Some(buffer[..n].to_vec()),
        _ => None,
    })
    .collect()
}

fn datagram_client(path: &Path) -> OwnedFd {
    let fd = unix::socket(SocketKind::Datagram, true).unwrap();
    unix::bind(fd.as_fd(), &Address::from_path(path).unwrap()).unwrap();
    fd
}
