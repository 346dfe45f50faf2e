//! Copies of frames for `netherd capture`.
//!
//! A frame is shown once, as it came from its link (tag included), with its verdict; a capture of
//! one port shows what came from it and what was sent to it. When no capture runs it costs one
//! branch per batch. When one runs, the first `snaplen` bytes are copied to a queue that is bounded
//! in bytes; what does not fit is counted, and never delays a frame. Another thread writes the
//! file.
//!
//! A frame with a partial checksum is shown as it is: its checksum field holds the pseudo-header
//! sum, and the record's metadata says so.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bpf::Program;
use wire::Offload;

use crate::engine::Engine;
use crate::filter::{tag_bytes, wants};
use crate::frame::Frame;
use crate::guard::Audits;
use crate::origin::Origin;
use crate::pool::Pool;
use crate::port::PortId;
use crate::time::Instant;
use crate::verdict::Verdict;

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturePlan {
    /// Only frames that come from this port or go to it; `None` for the whole network.
    pub port: Option<PortId>,
    /// Bytes to keep of each frame.
    pub snaplen: usize,
    /// Bytes that may wait to be polled, counting [`RECORD_OVERHEAD`] for each record.
    pub queue_bytes: usize,
    /// Only frames that one of these programs wants, which are asked about the whole frame; empty
    /// for all frames. Programs behind the first [`CAPTURE_FILTERS`] are not asked.
    pub filters: Vec<Arc<Program>>,
}

/// How many programs a capture may have: so that several readers, each with a filter of its own,
/// share one capture.
pub const CAPTURE_FILTERS: usize = 8;

/// What a record costs in the queue beside its bytes.
pub const RECORD_OVERHEAD: usize = 64;

/// One captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureRecord {
    /// When the engine got the frame.
    pub now: Instant,
    /// The port it came from.
    pub port: PortId,
    /// What was decided.
    pub verdict: Verdict,
    /// Checks of the guard that the frame failed, and whose action is to let it go on; the first
    /// eight.
    pub audits: Audits,
    /// What was missing from the frame.
    pub offload: Offload,
    /// Which of the plan's filters want the frame, the first in the lowest bit; all bits if the plan
    /// has none.
    pub wanted: u8,
    /// Length of the frame in bytes.
    pub len: usize,
    /// Its first bytes, at most the plan's `snaplen`.
    pub bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Capture {
    pub(crate) plan: CapturePlan,
    queue: VecDeque<CaptureRecord>,
    queued_bytes: usize,
}

/// The frame to show, beside what the engine did to it since it was read.
struct Subject<'a> {
    frame: &'a Frame,
    /// The tag that was taken off the frame when it came in.
    removed_tag: Option<u16>,
    port: PortId,
    verdict: Verdict,
    audits: Audits,
    /// Which of the plan's filters want it.
    wanted: u8,
}

impl Engine {
    /// Shows a frame that was decided, if it is wanted.
    #[cold]
    pub(crate) fn show(
        &mut self,
        now: Instant,
        pool: &Pool,
        from: &mut Origin,
        frame: &Frame,
        removed_tag: Option<u16>,
        verdict: Verdict,
    ) {
        let audits = core::mem::take(&mut from.audits);
        let Some(capture) = &self.capture else { return };
        let wanted = match capture.plan.port {
            None => true,
            Some(port) if port == from.id => true,
            Some(port) => match verdict {
                Verdict::Forward(to) => to == port,
                Verdict::Flood { .. } => {
                    self.ports.get(port).is_some() && self.targets.contains(&port.index)
                }
                Verdict::Answered | Verdict::Consumed | Verdict::Drop(_) => false,
            },
        };
        let Some(capture) = &mut self.capture else { return };
        let wanted = if wanted { capture.wanted(pool, frame, removed_tag) } else { 0 };
        if wanted != 0 {
            let subject = Subject { frame, removed_tag, port: from.id, verdict, audits, wanted };
            self.capture_drops += u64::from(!capture.record(now, pool, subject));
        }
    }
}

impl Capture {
    pub(crate) fn new(plan: CapturePlan) -> Self {
        Self { plan, queue: VecDeque::new(), queued_bytes: 0 }
    }

    /// Which of the plan's filters want the frame.
    fn wanted(&self, pool: &Pool, frame: &Frame, removed_tag: Option<u16>) -> u8 {
        if self.plan.filters.is_empty() {
            return u8::MAX;
        }
        let filters = self.plan.filters.iter().take(CAPTURE_FILTERS).enumerate();
        filters.fold(0, |bits, (nth, program)| {
            bits | u8::from(wants(program, pool, frame, removed_tag)) << nth
        })
    }

    /// Copies the frame; false when the queue has no room for it.
    #[must_use]
    fn record(&mut self, now: Instant, pool: &Pool, subject: Subject<'_>) -> bool {
        let Subject { frame, removed_tag, port, verdict, audits, wanted } = subject;
        let [head, tail] = pool.pieces(frame);
        let tag_len = if removed_tag.is_some() { 4 } else { 0 };
        let len = frame.len() + tag_len;
        let kept = len.min(self.plan.snaplen);
        let cost = kept + RECORD_OVERHEAD;
        if self.queued_bytes + cost > self.plan.queue_bytes {
            return false;
        }
        let mut bytes = Vec::with_capacity(kept);
        let mut offload = frame.offload();
        match (removed_tag, head.split_at_checked(12)) {
            (Some(tci), Some((addresses, rest))) => {
                let tag = tag_bytes(tci);
                bytes.extend(addresses.iter().chain(&tag).chain(rest).chain(tail).take(kept));
                offload = offload.with_tag_pushed();
            }
            _ => {
                let head = head.get(..kept).unwrap_or(head);
                bytes.extend_from_slice(head);
                bytes.extend_from_slice(tail.get(..kept - head.len()).unwrap_or(tail));
            }
        }
        self.queued_bytes += cost;
        self.queue.push_back(CaptureRecord {
            now,
            port,
            verdict,
            audits,
            offload,
            wanted,
            len,
            bytes,
        });
        true
    }

    pub(crate) fn pop(&mut self) -> Option<CaptureRecord> {
        let record = self.queue.pop_front()?;
        self.queued_bytes -= record.bytes.len() + RECORD_OVERHEAD;
        Some(record)
    }
}
