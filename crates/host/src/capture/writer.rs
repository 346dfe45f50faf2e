//! The thread that writes one capture.

use std::collections::HashMap;
use std::collections::HashSet;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use engine::{CaptureRecord, PortId, RECORD_OVERHEAD, Reason, Verdict};
use wire::MacAddr;

use super::pcapng::{self, Packet, Reception};
use super::{Described, QUEUE_BYTES};
use crate::names::Name;

/// Items that wait for the thread, whatever their size.
const QUEUE_ITEMS: usize = 8192;
/// Bytes that are gathered before a write, while more is waiting.
const WRITE_BYTES: usize = 64 * 1024;

/// What the thread is told.
enum Item {
    Port(PortId, Described),
    Closed(PortId),
    Frame(CaptureRecord, u64),
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    ended: AtomicBool,
}

/// A thread that was told to end.
pub(super) struct Leaving(Arc<Shared>);

impl Leaving {
    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

/// The daemon's end of one capture. Dropping it ends the thread after what is queued.
pub(super) struct Writer {
    items: SyncSender<Item>,
    shared: Arc<Shared>,
    described: HashSet<PortId>,
    /// Lost since the last frame that was queued.
    lost: u64,
    drops: u64,
}

impl Writer {
    pub(super) fn start(
        out: OwnedFd,
        network: &Name,
        snaplen: u32,
        epoch: Duration,
    ) -> std::io::Result<Self> {
        let (items, queue) = sync_channel(QUEUE_ITEMS);
        let shared = Arc::new(Shared::default());
        let comment =
            format!("Network {network} as netherd saw it; each frame once, where it came in.");
        let mut file = Encoder {
            out: File::from(out),
            snaplen,
            epoch,
            buffer: pcapng::section_header(
                concat!("netherd ", env!("CARGO_PKG_VERSION")),
                &comment,
            ),
            ports: HashMap::new(),
            interfaces: Vec::new(),
            lost: 0,
            last: epoch,
        };
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new().name("capture".to_owned()).stack_size(256 * 1024).spawn(
            move || {
                let _gone = file.run(&queue, &theirs);
                theirs.ended.store(true, Ordering::Release);
            },
        )?;
        Ok(Self { items, shared, described: HashSet::new(), lost: 0, drops: 0 })
    }

    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    pub(super) fn has_ended(&self) -> bool {
        self.shared.ended.load(Ordering::Acquire)
    }

    /// Frames were lost before they came here.
    pub(super) fn lost(&mut self, frames: u64) {
        self.lost += frames;
        self.drops += frames;
    }

    pub(super) fn forget(&mut self, port: PortId) {
        if self.described.remove(&port) {
            let _full = self.items.try_send(Item::Closed(port));
        }
    }

    pub(super) fn offer(&mut self, record: CaptureRecord, describe: &impl Fn(PortId) -> Described) {
        let cost = record.bytes.len() + RECORD_OVERHEAD;
        let fits = self.shared.queued_bytes.load(Ordering::Relaxed) + cost <= QUEUE_BYTES;
        if !fits || !self.describe(record.port, describe) {
            return self.lost(1);
        }
        if let Verdict::Forward(to) = record.verdict
            && !self.describe(to, describe)
        {
            return self.lost(1);
        }
        self.shared.queued_bytes.fetch_add(cost, Ordering::Relaxed);
        match self.items.try_send(Item::Frame(record, self.lost)) {
            Ok(()) => self.lost = 0,
            Err(_) => {
                self.shared.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
                self.lost(1);
            }
        }
    }

    /// Tells the thread to end after what is queued; a client that does not read may keep it.
    pub(super) fn finish(self) -> Leaving {
        Leaving(self.shared)
    }

    fn describe(&mut self, port: PortId, describe: &impl Fn(PortId) -> Described) -> bool {
        if self.described.contains(&port) {
            return true;
        }
        let sent = self.items.try_send(Item::Port(port, describe(port))).is_ok();
        if sent {
            self.described.insert(port);
        }
        sent
    }
}

struct Interface {
    received: u64,
}

/// The thread's side: items in, blocks out.
struct Encoder {
    out: File,
    snaplen: u32,
    /// Wall clock at the engine's time 0.
    epoch: Duration,
    buffer: Vec<u8>,
    ports: HashMap<PortId, (u32, String)>,
    interfaces: Vec<Interface>,
    lost: u64,
    last: Duration,
}

impl Encoder {
    fn run(&mut self, queue: &Receiver<Item>, shared: &Shared) -> std::io::Result<()> {
        // The header goes out at once: a reader sees that the capture runs.
        self.flush()?;
        while let Ok(first) = queue.recv() {
            self.encode(first, shared);
            // What is waiting goes out with it; a lone frame is not delayed.
            while self.buffer.len() < WRITE_BYTES {
                let Ok(item) = queue.try_recv() else { break };
                self.encode(item, shared);
            }
            self.flush()?;
        }
        for (number, interface) in self.interfaces.iter().enumerate() {
            // What the capture lost has no interface; it is told with the first one.
            let lost = if number == 0 { self.lost } else { 0 };
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let block = pcapng::statistics(number, nanos(self.last), interface.received, lost);
            self.buffer.extend_from_slice(&block);
        }
        self.flush()
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        written
    }

    fn encode(&mut self, item: Item, shared: &Shared) {
        match item {
            Item::Port(port, described) => {
                let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
                let mac = described.mac.map(|mac| mac.0);
                let block = pcapng::interface(&described.name, &described.about, mac, self.snaplen);
                self.buffer.extend_from_slice(&block);
                self.interfaces.push(Interface { received: 0 });
                self.ports.insert(port, (number, described.name));
            }
            Item::Closed(port) => {
                self.ports.remove(&port);
            }
            Item::Frame(record, lost) => {
                let cost = record.bytes.len() + RECORD_OVERHEAD;
                shared.queued_bytes.fetch_sub(cost, Ordering::Relaxed);
                self.frame(&record, lost);
            }
        }
    }

    fn frame(&mut self, record: &CaptureRecord, lost: u64) {
        self.lost += lost;
        let Some((interface, _)) = self.ports.get(&record.port) else { return };
        let interface = *interface;
        let kept = record.bytes.len().min(usize::try_from(self.snaplen).unwrap_or(usize::MAX));
        self.last = self.epoch + Duration::from_nanos(record.now.as_nanos());
        let comment = self.comment(record);
        let block = pcapng::packet(&Packet {
            interface,
            time: nanos(self.last),
            len: u32::try_from(record.len).unwrap_or(u32::MAX),
            bytes: &record.bytes[..kept],
            reception: reception(&record.bytes),
            lost,
            comment: &comment,
            verdict: verdict(record.verdict),
        });
        self.buffer.extend_from_slice(&block);
        if let Some(interface) =
            usize::try_from(interface).ok().and_then(|number| self.interfaces.get_mut(number))
        {
            interface.received += 1;
        }
    }

    fn comment(&self, record: &CaptureRecord) -> String {
        let mut comment = match record.verdict {
            Verdict::Forward(to) => match self.ports.get(&to) {
                Some((_, name)) => format!("forwarded to {name}"),
                None => "forwarded".to_owned(),
            },
            Verdict::Flood { copies } => format!("flooded to {copies} ports"),
            Verdict::Answered => "answered by the network".to_owned(),
            Verdict::Consumed => "noted by the network".to_owned(),
            Verdict::Drop(reason) => format!("dropped: {}", in_words(reason)),
        };
        for reason in &record.audits {
            comment.push_str(&format!("; audited: {}", in_words(*reason)));
        }
        if let Some(gso) = record.offload.gso {
            comment.push_str(&format!("; to be cut into segments of {} bytes", gso.size));
        }
        if record.offload.checksum.is_some() {
            comment.push_str("; checksum left for the receiver to complete");
        }
        comment
    }
}

/// A reason, its check, and what happened.
fn in_words(reason: Reason) -> String {
    match reason.check() {
        Some(check) => format!("{} (check {check}): {}", reason.name(), reason.describe()),
        None => format!("{}: {}", reason.name(), reason.describe()),
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn reception(frame: &[u8]) -> Reception {
    match frame.first_chunk::<6>().map(|mac| MacAddr(*mac)) {
        Some(MacAddr::BROADCAST) => Reception::Broadcast,
        Some(mac) if mac.is_multicast() => Reception::Multicast,
        _ => Reception::Unicast,
    }
}

fn verdict(verdict: Verdict) -> [u8; 2] {
    match verdict {
        Verdict::Forward(_) => [0, 0],
        Verdict::Flood { .. } => [1, 0],
        Verdict::Drop(reason) => [2, reason as u8],
        Verdict::Answered => [3, 0],
        Verdict::Consumed => [4, 0],
    }
}
