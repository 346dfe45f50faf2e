//! Live captures: frames with their verdicts as pcapng, to a descriptor that a client passed.
//!
//! # Theory of operation
//!
//! The engine copies frames into its own bounded queue (one capture plan per network). After each turn the daemon
//! takes them out and offers each to every capture that wants it. A capture is a thread with a bounded channel:
//! encoding and writing happen there, so a client that does not read delays nobody. What does not fit is counted
//! and shown in the capture itself, before the next frame and at the end.
//!
//! Filters are asked in the engine, before a frame is copied and cut, one for each capture: [`CaptureRecord::wanted`]
//! says which of them want it.
//!
//! A capture ends when its client's connection ends, when the descriptor cannot be written to, or with the network.
//!
//! Limits: [`CAPTURES_MAX`] threads per network, [`QUEUE_BYTES`] of frames waiting in each.

pub mod pcapng;
pub mod writer;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bpf::Program;
use engine::{
    CAPTURE_FILTERS, CapturePlan, CaptureRecord, Engine, Instant, PortId, Verdict, VlanMode,
};
use wire::MacAddr;

use crate::names::Name;
use writer::{Leaving, Writer};

/// Most captures of one network at a time: each has one of the engine's filters.
pub const CAPTURES_MAX: usize = CAPTURE_FILTERS;
/// Bytes of frames that wait for one writer, and in the engine.
pub const QUEUE_BYTES: usize = 4 << 20;
/// Largest number of bytes that is kept of a frame: more than any frame has.
pub const SNAPLEN_MAX: u32 = 262_144;

/// Identifies a capture to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaptureId(u64);

/// What is told of a port in a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// The link, the guest and who opened it, in a line.
    pub about: String,
    pub mac: Option<MacAddr>,
}

/// What a capture is to show.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Only frames that come from this port or go to it.
    pub port: Option<PortId>,
    /// The same of a port that is yet to be opened, by its name.
    pub awaited: Option<String>,
    /// Only frames that this program wants, as they are before they are cut to `snaplen`.
    pub filter: Option<Arc<Program>>,
    /// Bytes to keep of each frame.
    pub snaplen: u32,
}

struct Capture {
    id: CaptureId,
    wish: Wish,
    /// Which of the engine's filters is this capture's: a bit of [`CaptureRecord::wanted`].
    place: usize,
    writer: Writer,
}

/// The captures of one network.
#[derive(Default)]
pub struct Captures {
    running: Vec<Capture>,
    next: u64,
    /// Drops of the engine's queue that were told to the captures.
    told_drops: u64,
    /// Frames that captures which have ended could not take.
    ended_drops: u64,
    /// Taken from the engine, not yet offered.
    pending: Vec<CaptureRecord>,
    /// Threads of captures that were stopped, as long as their clients keep them from ending.
    leaving: Vec<Leaving>,
}

/// What is left of the captures of a network that has ended: threads that still write.
#[derive(Default)]
pub struct Remains(Vec<Leaving>);

impl std::fmt::Debug for Remains {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Remains").field(&self.0.len()).finish()
    }
}

impl Remains {
    /// Adds those of another network.
    pub fn add(&mut self, more: Self) {
        self.0.retain(|it| !it.has_ended());
        self.0.extend(more.0);
    }

    /// Waits until all have written what they hold, at most `patience`: for the end of the process, when nobody else
    /// waits for this thread.
    pub fn wait(&self, patience: Duration) {
        let deadline = std::time::Instant::now() + patience;
        while !self.0.iter().all(Leaving::has_ended) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl std::fmt::Debug for Captures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Captures").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

/// Why a capture was not started.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    #[error(
        "The network has {CAPTURES_MAX} captures already, the most that it may have: end one of them first. One \
        that was stopped counts until its reader has read the rest, or is gone."
    )]
    TooMany,
    #[error("The capture could not be started: {0}.")]
    Io(#[from] std::io::Error),
}

impl Captures {
    /// Whether any capture runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Frames that captures could not keep up with.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.ended_drops + self.running.iter().map(|it| it.writer.drops()).sum::<u64>()
    }

    /// Starts a capture that writes to `out`.
    ///
    /// # Errors
    /// At the limit, or when no thread can be made.
    pub fn start(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        network: &Name,
        mut wish: Wish,
        out: std::os::fd::OwnedFd,
    ) -> Result<CaptureId, CaptureError> {
        self.leaving.retain(|it| !it.has_ended());
        if self.running.len() + self.leaving.len() >= CAPTURES_MAX {
            return Err(CaptureError::TooMany);
        }
        wish.snaplen = wish.snaplen.clamp(1, SNAPLEN_MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The engine's clock has no calendar: the difference makes one, as of the start of the capture.
        let epoch = wall.saturating_sub(Duration::from_nanos(now.as_nanos()));
        let writer = Writer::start(out, network, wish.snaplen, epoch)?;
        let id = CaptureId(self.next);
        self.next += 1;
        let taken = |place: usize| self.running.iter().any(|it| it.place == place);
        let Some(place) = (0..CAPTURE_FILTERS).find(|place| !taken(*place)) else {
            return Err(CaptureError::TooMany);
        };
        self.running.push(Capture { id, wish, place, writer });
        self.plan(engine);
        // What came before is not for this capture, and was judged by whatever filter had its place.
        for record in &mut self.pending {
            record.wanted &= !(1 << place);
        }
        Ok(id)
    }

    /// Ends a capture; its file gets its statistics if it can still be written to.
    pub fn stop(&mut self, engine: &mut Engine, id: CaptureId) {
        let Some(at) = self.running.iter().position(|it| it.id == id) else { return };
        let capture = self.running.remove(at);
        self.ended_drops += capture.writer.drops();
        self.leaving.push(capture.writer.finish());
        self.plan(engine);
    }

    /// Ends all captures, at the end of the network.
    pub fn finish(mut self, engine: &mut Engine) -> Remains {
        engine.capture(None);
        self.leaving.extend(self.running.drain(..).map(|it| it.writer.finish()));
        Remains(self.leaving)
    }

    /// Captures that end because their descriptor cannot be written to any more, or their port is gone.
    pub fn ended(&self) -> Vec<CaptureId> {
        self.running.iter().filter(|it| it.writer.has_ended()).map(|it| it.id).collect()
    }

    /// The engine has one plan: that of the only capture, or one that is enough for all.
    fn plan(&mut self, engine: &mut Engine) {
        // Another plan makes the engine forget what was not taken.
        self.pending = self.take(engine);
        self.told_drops = 0;
        let Some(first) = self.running.first() else { return engine.capture(None) };
        let same = self.running.iter().all(|it| it.wish.port == first.wish.port);
        let snaplen = self.running.iter().map(|it| it.wish.snaplen).max().unwrap_or(0);
        // All frames, without asking, if nobody has a filter.
        let mut filters = Vec::new();
        if self.running.iter().any(|it| it.wish.filter.is_some()) {
            let last = self.running.iter().map(|it| it.place).max().unwrap_or(0);
            filters =
                std::iter::repeat_with(|| Arc::new(Program::constant(0))).take(last + 1).collect();
            for capture in &self.running {
                let wanted = capture.wish.filter.clone();
                if let Some(filter) = filters.get_mut(capture.place) {
                    *filter = wanted.unwrap_or_else(|| Arc::new(Program::constant(SNAPLEN_MAX)));
                }
            }
        }
        engine.capture(Some(CapturePlan {
            port: if same { first.wish.port } else { None },
            snaplen: usize::try_from(snaplen).unwrap_or(usize::MAX),
            queue_bytes: QUEUE_BYTES,
            filters,
        }));
    }

    /// Takes the engine's records, whose number its queue bounds.
    pub fn take(&mut self, engine: &mut Engine) -> Vec<CaptureRecord> {
        let lost = engine.capture_drops().saturating_sub(self.told_drops);
        if lost > 0 {
            self.told_drops += lost;
            for capture in &mut self.running {
                capture.writer.lost(lost);
            }
        }
        let mut records = std::mem::take(&mut self.pending);
        records.extend(std::iter::from_fn(|| engine.poll_capture()));
        records
    }

    /// Offers records to the captures. `describe` tells about a port that a capture has not seen before.
    pub fn offer(
        &mut self,
        engine: &Engine,
        records: Vec<CaptureRecord>,
        describe: &impl Fn(PortId) -> Described,
    ) {
        let Some((last, others)) = self.running.split_last_mut() else { return };
        for record in records {
            for capture in &mut *others {
                capture.meet(&record, describe);
                if capture.wants(engine, &record) {
                    capture.writer.offer(record.clone(), describe);
                }
            }
            last.meet(&record, describe);
            if last.wants(engine, &record) {
                last.writer.offer(record, describe);
            }
        }
    }

    /// A port is gone: its name may come again for another.
    pub fn port_closed(&mut self, port: PortId) {
        for capture in &mut self.running {
            capture.writer.forget(port);
        }
    }
}

impl Capture {
    /// Recognizes the port that is waited for by its first frame. Until another capture comes or goes, the engine
    /// goes on to copy the other ports' frames too.
    fn meet(&mut self, record: &CaptureRecord, describe: &impl Fn(PortId) -> Described) {
        let Some(name) = &self.wish.awaited else { return };
        let to = match record.verdict {
            Verdict::Forward(to) => Some(to),
            _ => None,
        };
        let met = std::iter::once(record.port).chain(to).find(|it| describe(*it).name == *name);
        if met.is_some() {
            self.wish.port = met;
            self.wish.awaited = None;
        }
    }

    fn wants(&self, engine: &Engine, record: &CaptureRecord) -> bool {
        if record.wanted >> self.place & 1 == 0 {
            return false;
        }
        if self.wish.awaited.is_some() {
            return false;
        }
        match (self.wish.port, record.verdict) {
            (None, _) => true,
            (Some(port), _) if record.port == port => true,
            (Some(port), Verdict::Forward(to)) => to == port,
            (Some(port), Verdict::Flood { .. }) => had_copy(engine, record, port),
            (Some(_), Verdict::Answered | Verdict::Consumed | Verdict::Drop(_)) => false,
        }
    }
}

/// Whether a flooded frame went to `port`: the record does not say who had a copy, so it is what the ports are now.
fn had_copy(engine: &Engine, record: &CaptureRecord, port: PortId) -> bool {
    let (Some(from), Some(to)) = (engine.port(record.port), engine.port(port)) else {
        return false;
    };
    let vlan = match &from.vlan {
        VlanMode::Access(vlan) => Some(*vlan),
        VlanMode::Trunk { native, .. } => match record.bytes.get(12..16) {
            // IEEE 802.1Q: the tag's type, and the VLAN in the low twelve bits; 0 is a priority only.
            Some(&[0x81, 0x00, high, low]) => {
                Some(u16::from_be_bytes([high & 0x0f, low])).filter(|vlan| *vlan != 0).or(*native)
            }
            _ => *native,
        },
    };
    let member = vlan.is_some_and(|vlan| match &to.vlan {
        VlanMode::Access(access) => *access == vlan,
        VlanMode::Trunk { native, allowed } => *native == Some(vlan) || allowed.contains(vlan),
    });
    member && !(from.isolated && to.isolated)
}

#[cfg(test)]
mod tests;
