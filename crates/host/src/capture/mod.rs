//! Live captures: frames with their verdicts as pcapng, to a descriptor that a client passed.
//!
//! # Theory of operation
//!
//! The engine copies frames into its own bounded queue (one capture plan per network). After each turn the daemon
//! takes them out and offers each to every capture that wants it. A capture is a thread with a bounded channel:
//! encoding and writing happen there, so a client that does not read delays nobody. What does not fit is counted
//! and shown in the capture itself, before the next frame and at the end.
//!
//! A capture ends when its client's connection ends, when the descriptor cannot be written to, or with the network.
//!
//! Limits: [`CAPTURES_MAX`] per network, [`QUEUE_BYTES`] of frames waiting in each.

pub mod pcapng;
pub mod writer;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::{CapturePlan, CaptureRecord, Engine, Instant, PortId};
use wire::MacAddr;

use crate::names::Name;
use writer::Writer;

/// Most captures of one network at a time.
pub const CAPTURES_MAX: usize = 8;
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

struct Capture {
    id: CaptureId,
    port: Option<PortId>,
    snaplen: u32,
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
        "The network has {CAPTURES_MAX} captures already, which is the most: end one of them first."
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

    /// Frames that captures could not take.
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
        port: Option<PortId>,
        snaplen: u32,
        out: std::os::fd::OwnedFd,
    ) -> Result<CaptureId, CaptureError> {
        if self.running.len() >= CAPTURES_MAX {
            return Err(CaptureError::TooMany);
        }
        let snaplen = snaplen.clamp(1, SNAPLEN_MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The engine's clock has no calendar: the difference makes one, as of the start of the capture.
        let epoch = wall.saturating_sub(Duration::from_nanos(now.as_nanos()));
        let writer = Writer::start(out, network, snaplen, epoch)?;
        let id = CaptureId(self.next);
        self.next += 1;
        self.running.push(Capture { id, port, snaplen, writer });
        self.plan(engine);
        Ok(id)
    }

    /// Ends a capture; its file gets its statistics if it can still be written to.
    pub fn stop(&mut self, engine: &mut Engine, id: CaptureId) {
        let before = self.running.len();
        let ended = self.running.iter().filter(|it| it.id == id);
        self.ended_drops += ended.map(|it| it.writer.drops()).sum::<u64>();
        self.running.retain(|it| it.id != id);
        if self.running.len() != before {
            self.plan(engine);
        }
    }

    /// Ends all captures, at the end of the network: each gets a moment to write what it holds.
    pub fn finish(&mut self, engine: &mut Engine) {
        engine.capture(None);
        let writers: Vec<Writer> = self.running.drain(..).map(|it| it.writer).collect();
        Writer::finish_all(writers, Duration::from_millis(300));
    }

    /// Captures that end because their descriptor cannot be written to any more, or their port is gone.
    pub fn ended(&self) -> Vec<CaptureId> {
        self.running.iter().filter(|it| it.writer.has_ended()).map(|it| it.id).collect()
    }

    /// The engine has one plan: that of the only capture, or one that is enough for all.
    fn plan(&mut self, engine: &mut Engine) {
        self.told_drops = 0;
        let Some(first) = self.running.first() else { return engine.capture(None) };
        let same = self.running.iter().all(|it| it.port == first.port);
        let snaplen = self.running.iter().map(|it| it.snaplen).max().unwrap_or(0);
        engine.capture(Some(CapturePlan {
            port: if same { first.port } else { None },
            snaplen: usize::try_from(snaplen).unwrap_or(usize::MAX),
            queue_bytes: QUEUE_BYTES,
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
        std::iter::from_fn(|| engine.poll_capture()).collect()
    }

    /// Offers records to the captures. `describe` tells about a port that a capture has not seen before.
    pub fn offer(&mut self, records: Vec<CaptureRecord>, describe: &impl Fn(PortId) -> Described) {
        let Some((last, others)) = self.running.split_last_mut() else { return };
        for record in records {
            for capture in &mut *others {
                if capture.wants(&record) {
                    capture.writer.offer(record.clone(), describe);
                }
            }
            if last.wants(&record) {
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
    fn wants(&self, record: &CaptureRecord) -> bool {
        match (self.port, record.verdict) {
            (None, _) => true,
            (Some(port), _) if record.port == port => true,
            (Some(port), engine::Verdict::Forward(to)) => to == port,
            // The record does not say who had a copy.
            (Some(_), engine::Verdict::Flood { copies }) => copies > 0,
            (Some(_), _) => false,
        }
    }
}

#[cfg(test)]
mod tests;
