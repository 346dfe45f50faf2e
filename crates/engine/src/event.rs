//! What the owner of an engine may want to know, log or act on.
//!
//! Events are hints, not a ledger: the queue is bounded, and when nobody reads it the newest are
//! lost and counted. The counters are the ledger. Events that a guest can cause at will (refusals)
//! come at most once a second per port.

use alloc::collections::VecDeque;
use core::fmt;
use core::net::IpAddr;

use wire::MacAddr;

use crate::bindings::{Address, BindingSource};
use crate::guard::Fate;
use crate::port::PortId;
use crate::reason::Reason;
use crate::time::Instant;

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
        /// What the frame was.
        summary: Summary,
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
        /// What the frame was.
        summary: Summary,
    },
    /// A port used an address that is not one of its own.
    MacForeignRefused {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address.
        mac: MacAddr,
        /// What the frame was.
        summary: Summary,
    },
    /// A port used more addresses than it may.
    MacLimit {
        /// The port whose frame was dropped.
        port: PortId,
        /// The address that was one too many.
        mac: MacAddr,
        /// What the frame was.
        summary: Summary,
    },
    /// A frame failed a check of the guard. At most one event a second and port tells of it; the
    /// counters know of all.
    Violation {
        /// The port that the frame came from.
        port: PortId,
        /// Why it failed; [`Reason::check`] has the number.
        reason: Reason,
        /// What became of the frame.
        fate: Fate,
        /// What it was.
        summary: Summary,
        /// Violations of this port since the last event about one.
        since: u32,
    },
    /// A port was cut off, for too many violations or for one that is reason enough.
    Quarantined {
        /// The port.
        port: PortId,
        /// The last violation.
        reason: Reason,
        /// When it may send again.
        until: Instant,
    },
    /// A port that was cut off may send again.
    Released {
        /// The port.
        port: PortId,
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
        /// The VLAN in which the port had it; `None`: in every one.
        vlan: Option<u16>,
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
    /// It was of first use, and somebody outside has the address.
    Outside,
    /// It was of first use, and another guest was given the address: by a lease, a plan or the
    /// configuration.
    Given,
}

/// What a frame was, in as much as an event tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Source of the Ethernet header.
    pub source: MacAddr,
    /// Destination of the Ethernet header.
    pub destination: MacAddr,
    /// The VLAN.
    pub vlan: u16,
    /// The EtherType behind the tags.
    pub ethertype: u16,
    /// Source and destination of the packet: IPv4, IPv6, or sender and target of ARP.
    pub addresses: Option<(IpAddr, IpAddr)>,
    /// Its protocol and the two ports, or type and code.
    pub transport: Option<(u8, u16, u16)>,
    /// Bytes of the frame.
    pub len: u32,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, vlan, ethertype, addresses, transport, len } = self;
        write!(f, "{source} > {destination}, VLAN {vlan}, EtherType {ethertype:04x}")?;
        if let Some((from, to)) = addresses {
            write!(f, ", {from} > {to}")?;
        }
        match transport {
            Some((6, from, to)) => write!(f, ", TCP {from} > {to}")?,
            Some((17, from, to)) => write!(f, ", UDP {from} > {to}")?,
            Some((protocol, kind, code)) => {
                write!(f, ", protocol {protocol} type {kind} code {code}")?;
            }
            None => {}
        }
        write!(f, ", {len} bytes")
    }
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
