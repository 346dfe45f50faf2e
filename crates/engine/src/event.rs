//! What the owner of an engine may want to know, log or act on.
//!
//! Events are hints, not a ledger: the queue is bounded, and when nobody reads it the newest are
//! lost and counted. The counters are the ledger. Events that a guest can cause at will (refusals)
//! come at most once a second per port.

use alloc::collections::VecDeque;

use wire::MacAddr;

use crate::bindings::{Address, BindingSource};
use crate::port::PortId;

/// How many events wait at most.
pub const EVENT_CAPACITY: usize = 256;

/// Something happened that the counters alone do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A port began to use an address.
    MacLearned {
        /// The port.
        port: PortId,
        /// The address.
        mac: MacAddr,
        /// The VLAN it was seen in.
        vlan: u16,
    },
    /// A port used an address that another live port is using. Two guests have the same address, or
    /// one is forging.
    MacMoveRefused {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address.
        mac: MacAddr,
        /// The VLAN it was seen in.
        vlan: u16,
        /// The port that has the address.
        owner: PortId,
    },
    /// A port used an address that is bound to another port (`owner`) or kept for a guest that is
    /// away (`None`).
    MacBoundRefused {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address.
        mac: MacAddr,
        /// The port that has the address, if its guest is there.
        owner: Option<PortId>,
    },
    /// A port used an address that is not one of its own.
    MacForeignRefused {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address.
        mac: MacAddr,
    },
    /// A port used more addresses than it may.
    MacLimit {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address that was one too many.
        mac: MacAddr,
    },
    /// A port used a new address while the network's table was full.
    MacTableFull {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address that found no place.
        mac: MacAddr,
    },
    /// An address belongs to a port now that did not before.
    BindingMade {
        /// The port.
        port: PortId,
        /// What was bound.
        address: Address,
        /// Where it is known from.
        source: BindingSource,
    },
    /// An address does not belong to its port any more.
    BindingEnded {
        /// The port that had it; it may be gone.
        port: PortId,
        /// What was bound.
        address: Address,
        /// Why it ended.
        why: BindingEnd,
    },
}

/// Why a binding ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingEnd {
    /// Its time was over.
    Expired,
    /// The owner of the engine ended it.
    Unbound,
    /// Its port was removed.
    PortRemoved,
}

/// Events that wait to be polled.
#[derive(Debug, Default)]
pub(crate) struct EventQueue {
    events: VecDeque<Event>,
    lost: u64,
}

impl EventQueue {
    pub(crate) fn push(&mut self, event: Event) {
        if self.events.len() < EVENT_CAPACITY {
            self.events.push_back(event);
        } else {
            self.lost += 1;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }
}
