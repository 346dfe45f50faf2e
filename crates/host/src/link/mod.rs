//! Links: the mechanisms that carry a port's frames.
//!
//! # Theory of operation
//!
//! A link moves frames between one guest's descriptor and the worker. It knows its framing and
//! nothing of switching. The worker calls it in two situations only:
//!
//! * its descriptor is readable: [`Link::receive`] fills a batch, which the worker hands to the
//!   engine; it is called again at once while it answers [`Progress::More`], which means that bytes
//!   it has already read hold more frames. One visit is bounded: no guest starves another.
//! * frames wait in its port's queue: the worker pulls a batch and hands it over with
//!   [`Link::transmit`]. What the descriptor does not take stays in the batch, and the worker gives
//!   it back to the engine, where it is in its port's account again. So a link holds no buffers of
//!   the pool between two calls, the queue is the engine's alone, and a guest that stops reading
//!   fills only its own. A stream that was cut within a frame keeps a copy of that frame's rest. The link to the
//!   helper of a network device is the exception: a few frames that were sent stay its own until the
//!   helper has read them where they lie ([`Link::lent`]).
//!
//! A link never waits, never allocates per frame, and never closes its port itself: it returns a
//! [`CloseReason`] and the worker closes the port. Errors that concern one frame are counted
//! (`link-refused`, `bad-framing`, `no-buffer`) and do not close anything.

pub(crate) mod borrowed;
pub(crate) mod datagram;
pub mod framing;
pub(crate) mod nic;
pub(crate) mod packet;
pub mod raw_offload;
pub(crate) mod scratch;
pub(crate) mod shared;
pub(crate) mod stream;
pub(crate) mod tap;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use engine::{Engine, Frame, Instant, LARGE_CAPACITY, Pool, PortId, Reason, RxBatch, TxBatch};
use wire::{MacAddr, OffloadSet};

use scratch::Scratch;

/// How a port's frames are carried, to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LinkKind {
    Tap,
    Packet,
    Stream,
    Vde,
    Dgram,
    Seqpacket,
    /// None: the worker's own router is there.
    Router,
    Nic,
}

impl LinkKind {
    /// The word that commands, nodes and the control interface use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            LinkKind::Tap => "tap",
            LinkKind::Packet => "packet",
            LinkKind::Stream => "stream",
            LinkKind::Vde => "vde",
            LinkKind::Dgram => "dgram",
            LinkKind::Seqpacket => "seqpacket",
            LinkKind::Router => "router",
            LinkKind::Nic => "nic",
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A link to be opened with [`Worker::open_link`](crate::worker::Worker::open_link).
#[derive(Debug)]
pub enum LinkSetup {
    /// A tap with `IFF_NO_PI` and `IFF_VNET_HDR`, and the offloads that were set on it.
    Tap { fd: OwnedFd, offloads: OffloadSet, vnet_hdr_len: u8 },
    /// A macvtap that we opened ourselves, set up as a tap.
    Macvtap { fd: OwnedFd, offloads: OffloadSet, vnet_hdr_len: u8 },
    /// A packet socket bound to one interface, with `PACKET_VNET_HDR`.
    Packet { fd: OwnedFd, offloads: OffloadSet },
    /// A connected stream socket: QEMU's framing.
    Stream { fd: OwnedFd },
    /// A VDE connection after its handshake.
    Vde { control: OwnedFd, data: OwnedFd },
    /// A connected seqpacket (or datagram) socket: one frame per packet.
    Seqpacket { fd: OwnedFd },
    /// A connection to the helper that has a network device, after its welcome, and the memory that came
    /// with it.
    Nic {
        fd: OwnedFd,
        slots: ::nic::slots::Slots,
        welcome: ::nic::protocol::Welcome,
        /// The helper reads the memory of the worker's pool ([`Worker::memory`](crate::worker::Worker::memory)).
        lent: bool,
    },
}

impl LinkSetup {
    #[must_use]
    pub fn kind(&self) -> LinkKind {
        match self {
            LinkSetup::Tap { .. } | LinkSetup::Macvtap { .. } => LinkKind::Tap,
            LinkSetup::Packet { .. } => LinkKind::Packet,
            LinkSetup::Stream { .. } => LinkKind::Stream,
            LinkSetup::Vde { .. } => LinkKind::Vde,
            LinkSetup::Seqpacket { .. } => LinkKind::Seqpacket,
            LinkSetup::Nic { .. } => LinkKind::Nic,
        }
    }

    /// What this link can carry, in both directions.
    #[must_use]
    pub fn offloads(&self) -> OffloadSet {
        match self {
            LinkSetup::Tap { offloads, .. }
            | LinkSetup::Macvtap { offloads, .. }
            | LinkSetup::Packet { offloads, .. } => *offloads,
            LinkSetup::Nic { welcome, .. } => welcome.offloads,
            _ => OffloadSet::empty(),
        }
    }
}

/// The engine's words for what a tap agreed to carry.
#[must_use]
pub fn tap_offloads(tap: sys::tap::TapOffloads) -> OffloadSet {
    use sys::tap::TapOffloads;
    [
        (TapOffloads::CSUM, OffloadSet::CSUM),
        (TapOffloads::TSO4, OffloadSet::TSO4),
        (TapOffloads::TSO6, OffloadSet::TSO6),
        (TapOffloads::TSO_ECN, OffloadSet::TSO_ECN),
        (TapOffloads::USO, OffloadSet::USO4 | OffloadSet::USO6),
    ]
    .into_iter()
    .filter(|(theirs, _)| tap.contains(*theirs))
    .fold(OffloadSet::empty(), |set, (_, ours)| set | ours)
}

/// What is known of a port beside the engine's own state, for `show` and the logs.
#[derive(Clone, Debug)]
pub struct PortAbout {
    /// Unique among the live ports of its network.
    pub name: String,
    pub kind: LinkKind,
    /// The port of the configuration that it is a connection to: the name of the first one, and of
    /// every further one too, which have names of their own.
    pub declared: Option<String>,
    /// The node it came through; `None` for a link that was handed to us.
    pub node: Option<String>,
    /// Who is at the other end, by the kernel's word.
    pub peer: Option<sys::Cred>,
    pub opened: Instant,
    /// Addresses the plan gave it, with prefix length, as shown.
    pub ipv4: Vec<String>,
    pub ipv6: Vec<String>,
    /// What the client says about itself (VDE's description), printable and at most 128 bytes.
    pub description: Option<String>,
}

impl PortAbout {
    /// A port that is known by its name and kind only.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: LinkKind, opened: Instant) -> PortAbout {
        PortAbout {
            name: name.into(),
            kind,
            declared: None,
            node: None,
            peer: None,
            opened,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
            description: None,
        }
    }
}

/// Why a port was closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client closed its end.
    PeerClosed,
    /// The descriptor failed: the system's words.
    Failed(String),
    /// The client broke the protocol; a sentence.
    Protocol(String),
    /// A network device behind the link is gone.
    DeviceGone,
    /// Its guest or session ended.
    SessionEnded,
    /// The operator or the configuration closed it.
    Requested,
    /// Its network was removed.
    NetworkRemoved,
}

impl CloseReason {
    /// The reason in an error of reading or writing a socket.
    pub(crate) fn of(error: &io::Error) -> CloseReason {
        match error.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof => CloseReason::PeerClosed,
            _ => CloseReason::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CloseReason::PeerClosed => f.write_str("the client closed the connection"),
            CloseReason::Failed(e) => write!(f, "the connection failed: {e}"),
            CloseReason::Protocol(sentence) => f.write_str(sentence),
            CloseReason::DeviceGone => f.write_str("the network device is gone"),
            CloseReason::SessionEnded => f.write_str("the guest ended"),
            CloseReason::Requested => f.write_str("it was closed on request"),
            CloseReason::NetworkRemoved => f.write_str("the network was stopped"),
        }
    }
}

/// Where a link puts the frames it reads.
pub(crate) struct Intake<'a> {
    pub(crate) pool: &'a mut Pool,
    /// Empty when the link is called.
    pub(crate) batch: &'a mut RxBatch,
    pub(crate) scratch: &'a mut Scratch,
    /// The network's MTU, for links whose frames do not carry their segment size.
    pub(crate) mtu: u16,
    /// Frames to ask the descriptor for, 1 to [`BATCH`](engine::BATCH); for links that pay by the
    /// look.
    pub(crate) limit: usize,
    pub(crate) lost: Lost,
}

impl Intake<'_> {
    pub(crate) fn push(&mut self, frame: Frame) {
        push_frame(self.pool, self.batch, &mut self.lost, frame);
    }
}

/// What was read and is not in the batch, to be counted on its port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Frames for which the pool had no buffer.
    pub(crate) no_buffer: u64,
    /// Frames longer than any buffer, and so than any network takes.
    pub(crate) oversize: u64,
    /// Frames shorter than an Ethernet header, beyond those that the engine is shown.
    pub(crate) runts: u64,
    /// Bytes or messages that were no frames.
    pub(crate) bad_framing: u64,
}

impl Lost {
    /// Counts everything on its port.
    pub(crate) fn report(self, engine: &mut Engine, port: PortId) {
        for (reason, frames) in [
            (Reason::NoBuffer, self.no_buffer),
            (Reason::Oversize, self.oversize),
            (Reason::Runt, self.runts),
            (Reason::BadFraming, self.bad_framing),
        ] {
            if frames > 0 {
                engine.receive_failed(port, reason, frames);
            }
        }
    }
}

/// Copies one frame into the batch, or counts why not; for callers that hold the parts of an
/// [`Intake`] apart.
#[inline]
pub(crate) fn copy_frame(
    pool: &mut Pool,
    batch: &mut RxBatch,
    lost: &mut Lost,
    bytes: &[u8],
    offload: wire::Offload,
) {
    match pool.copy_in(bytes, offload) {
        Ok(frame) => push_frame(pool, batch, lost, frame),
        Err(_) if bytes.len() > LARGE_CAPACITY => lost.oversize += 1,
        Err(_) => lost.no_buffer += 1,
    }
}

#[inline]
pub(crate) fn push_frame(pool: &mut Pool, batch: &mut RxBatch, lost: &mut Lost, frame: Frame) {
    if let Err(frame) = batch.push(frame) {
        // Links stop at a full batch; this is a second line of defence.
        pool.release(frame);
        lost.no_buffer += 1;
    }
}

/// What [`Link::receive`] left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The visit is over; the poller will report the descriptor again if there is more.
    Done,
    /// The descriptor reported an error that is over now: not its end, though nothing was read.
    Recovered,
    /// The scratch space holds more frames of this link: call again before anything else uses it.
    More,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Whether the link takes more, or why its port has to be closed.
    pub(crate) state: Result<LinkState, CloseReason>,
    /// Frames the link could not deliver and gave up, counted as `link-refused`.
    pub(crate) refused: u64,
}

/// Whether a link can take the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// It wrote everything.
    Free,
    /// It takes no more until its descriptor is writable.
    Blocked,
    /// It takes no more, and nothing reports when there is room: to be tried again after this time.
    RetryAfter(Duration),
}

/// One mechanism that carries frames. See the module's theory of operation.
///
/// What a link will need that fills descriptor chains of a guest's memory instead of writing to a
/// socket is here as well: it is handed whole frames in pieces and says how many it took.
pub(crate) trait Link: fmt::Debug {
    /// What the poller watches; `None` when somebody else reads for this link (a shared socket).
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;

    /// A second descriptor whose end closes the port (VDE's control connection).
    fn control(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Reads what is there, within the budget of one visit. The batch may hold frames even when
    /// the result is an error: they arrived before it.
    fn receive(&mut self, intake: &mut Intake<'_>) -> Result<Progress, CloseReason>;

    /// Writes the batch from its front, and releases what it wrote or gave up. What is left in the
    /// batch could not be written now; a link that is [`LinkState::Free`] leaves nothing. With an
    /// empty batch it goes on with the rest of a frame that was cut.
    fn transmit(&mut self, pool: &mut Pool, batch: &mut TxBatch) -> Sent;

    /// Frames that somebody may still read, at the end: their buffers are not to be used for others yet.
    fn lent(&mut self) -> Vec<Frame> {
        Vec::new()
    }

    /// Frames that are partly out, at the end.
    fn unfinished(&self) -> u64 {
        0
    }

    /// A guest's address is, or is no longer, one of those behind this network: for links to the
    /// outside that have to be told.
    fn address(&mut self, _mac: MacAddr, _present: bool) {}

    /// Addresses of guests that the outside does not take, each with what follows "it ...".
    fn refusals(&self) -> Vec<(MacAddr, &'static str)> {
        Vec::new()
    }

    /// Frames the kernel dropped before we could read them, where it tells.
    fn kernel_drops(&mut self) -> Option<u64> {
        None
    }
}

/// Releases the first `count` frames of a batch: they are out, or given up.
pub(crate) fn release_front(pool: &mut Pool, batch: &mut TxBatch, count: usize) {
    pool.release_front(batch, count);
}
