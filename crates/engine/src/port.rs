//! Ports, and the handles that name them.

use alloc::boxed::Box;
use core::fmt;

use wire::{MacAddr, OffloadSet};

use crate::counters::PortCounters;
use crate::filter::PortFilter;
use crate::frame::Frame;
use crate::guard::{LastDestinations, PortGuard};
use crate::plan::{PortSpec, SourceMode};
use crate::queue::Queue;
use crate::rate::Seldom;
use crate::ready::Ready;
use crate::vlan::VlanMode;

/// The most ports of one network.
pub const MAX_PORTS: usize = 8192;

/// The index of no port.
pub(crate) const NO_PORT: u16 = u16::MAX;

/// Names a port of one engine. A port that was removed is never named again: the generation of its
/// place has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

impl PortId {
    /// The port's place among the ports of its network, below [`MAX_PORTS`]. Another port may get
    /// it later; it is for tables on the side and for captures, which number interfaces.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.index)
    }
}

/// The order of the fields is that of their use: what every frame needs comes first.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Port {
    pub(crate) id: PortId,
    /// The VLAN of an access port; 0 for a trunk. A copy of what `spec` says, for the frame path.
    pub(crate) access: u16,
    /// Not every frame for the guest gets there: a guard or a filter has to be asked.
    pub(crate) picky: bool,
    /// The link takes frames whose checksum is partial. A copy as well.
    pub(crate) takes_partial: bool,
    /// Destinations for which a picky port need not be asked.
    pub(crate) last_destinations: LastDestinations,
    /// The guard, unless it is off; `ingress` has it while it works on a batch of the port.
    pub(crate) guard: Option<Box<PortGuard>>,
    pub(crate) queue: Queue,
    pub(crate) counters: PortCounters,
    /// The last source that passed as the port's own by configuration, in any VLAN; zero if none
    /// has since the spec or a binding changed.
    pub(crate) own: u64,
    /// When the last event about a refused frame of this port was raised.
    pub(crate) refusal_told: Seldom,
    pub(crate) spec: Box<PortSpec>,
}

impl Port {
    /// Puts a frame into the queue, which admits it, and the port into the list of ready ports if it
    /// has to be there. The handle is not to be used again.
    #[inline]
    pub(crate) fn enqueue(&mut self, ready: &mut Ready, frame: &Frame) {
        self.counters.tx_queued += 1;
        let list = self.queue.push(frame);
        ready.push_if(list, self.id.index);
    }

    pub(crate) fn new(id: PortId, spec: PortSpec) -> Self {
        let queue = Queue::new(spec.queue_frames, spec.queue_bytes);
        let mut port = Self {
            id,
            access: 0,
            picky: false,
            takes_partial: false,
            last_destinations: LastDestinations::NONE,
            guard: None,
            queue,
            counters: PortCounters::default(),
            own: 0,
            refusal_told: Seldom::default(),
            spec: Box::default(),
        };
        port.configure(spec);
        port
    }

    pub(crate) fn configure(&mut self, spec: PortSpec) {
        self.queue.set_limits(spec.queue_frames, spec.queue_bytes);
        self.access = match &spec.vlan {
            VlanMode::Access(vid) => *vid,
            VlanMode::Trunk { .. } => 0,
        };
        self.takes_partial = spec.offloads_to_guest.contains(OffloadSet::CSUM);
        self.own = 0;
        let guard = PortGuard::new(&spec);
        *self.spec = spec;
        self.set_guard(guard);
    }

    /// Other filters.
    pub(crate) fn set_filter(&mut self, filter: PortFilter) {
        self.spec.filter = filter;
        self.look_at_egress();
    }

    fn look_at_egress(&mut self) {
        self.last_destinations = LastDestinations::NONE;
        self.picky = self.spec.filter.to_guest.is_some()
            || self.guard.as_ref().is_some_and(|guard| guard.looks_at_destinations());
    }

    /// Another guard; what the port is and did stays known.
    pub(crate) fn set_guard(&mut self, guard: Option<Box<PortGuard>>) {
        let old = core::mem::replace(&mut self.guard, guard);
        if let (Some(new), Some(mut old)) = (&mut self.guard, old) {
            new.inherit(&mut old);
        }
        self.look_at_egress();
    }

    /// Whether frames of this VLAN may leave here.
    #[inline]
    pub(crate) fn carries(&self, vid: u16, inner_tag: bool) -> bool {
        if self.access != 0 {
            self.access == vid && !inner_tag
        } else {
            self.spec.vlan.carries(vid, inner_tag)
        }
    }

    pub(crate) fn max_learned(&self) -> u32 {
        match self.spec.source {
            SourceMode::Static => 0,
            SourceMode::Learn { max_macs } => u32::from(max_macs),
        }
    }

    pub(crate) fn owns(&self, mac: MacAddr) -> bool {
        self.spec.macs.contains(&mac)
    }
}
