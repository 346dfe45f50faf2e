//! Storage that links share, because only one of them is being read at a time.

use sys::mmsg::ReceiveRing;

/// Bytes of a slot of the shared ring: the longest frame of a link without metadata
/// (libkrun's 65,562) and a vnet header, and an odd number of cache lines: slots that begin at pages
/// compete for the same few.
const RING_SLOT: usize = 1033 * 64;

/// Bytes a stream is read at a time. Large enough that a sender which batches is served with few
/// system calls, small enough for the second-level cache, and not less than the longest record.
pub(crate) const STREAM_READ: usize = 128 * 1024;

/// What was read and is not decoded yet.
pub(crate) struct Scratch {
    /// Datagrams: slots for the longest frame that any link may carry.
    pub(crate) ring: ReceiveRing,
    /// A stream's bytes of the current visit.
    pub(crate) bytes: Box<[u8]>,
    /// The part of `bytes` (or of the ring) that was read and not yet decoded.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Frames of the current visit that were shorter than an Ethernet header.
    pub(crate) runts: usize,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            ring: ReceiveRing::new(RING_SLOT),
            bytes: vec![0; STREAM_READ].into_boxed_slice(),
            from: 0,
            to: 0,
            runts: 0,
        }
    }

    /// Drops what was read and not decoded: its port is gone.
    pub(crate) fn forget(&mut self) {
        self.from = 0;
        self.to = 0;
        self.runts = 0;
    }
}
