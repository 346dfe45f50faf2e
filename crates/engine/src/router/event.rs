//! What the owner of a router may want to know or log. As the engine's events these are hints: the
//! queue is bounded, and what guests can cause at will comes at most once a second per interface.

use alloc::collections::VecDeque;
use core::net::IpAddr;

use wire::MacAddr;

use super::spec::InterfaceId;

/// How many events wait at most.
const CAPACITY: usize = 256;

/// Something happened that the counters alone do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouterEvent {
    /// Somebody else uses an address of the router.
    AddressConflict {
        /// The interface.
        iface: InterfaceId,
        /// The address.
        addr: IpAddr,
        /// Who uses it.
        mac: MacAddr,
        /// The index of the port that said so.
        port: Option<u16>,
    },
    /// An ARP or neighbour discovery packet spoke for an address that belongs to somebody else.
    Forged {
        /// The interface.
        iface: InterfaceId,
        /// The address.
        addr: IpAddr,
        /// Who is said to have it.
        mac: MacAddr,
        /// The index of the port that said so.
        port: Option<u16>,
    },
}

/// Events that wait to be polled.
#[derive(Debug, Default)]
pub(crate) struct Events(VecDeque<RouterEvent>);

impl Events {
    pub(crate) fn push(&mut self, event: RouterEvent) {
        if self.0.len() < CAPACITY {
            self.0.push_back(event);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<RouterEvent> {
        self.0.pop_front()
    }
}
