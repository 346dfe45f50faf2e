//! DNS.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use engine::Instant;

use super::Outbox;
use super::message::Datagram;
use super::zone::Zone;
use crate::GuestKey;
use crate::plan::GatewayPlan;

/// Longest answer that is sent in one datagram, whatever the guest would take.
pub const UDP_ANSWER_MAX: usize = 4096;

/// The DNS service of one network.
#[derive(Debug)]
pub struct Dns {
    poller: sys::poll::Poller,
}

impl Dns {
    pub(crate) fn new(_plan: &GatewayPlan, _hash_key: &[u8; 16]) -> std::io::Result<Self> {
        Ok(Self { poller: sys::poll::Poller::new()? })
    }
    pub(crate) fn apply(&mut self, _now: Instant, _plan: &GatewayPlan) {}
    pub(crate) fn listens(&self, _destination: SocketAddr) -> bool {
        false
    }
    pub(crate) fn receive(
        &mut self,
        _now: Instant,
        _datagram: &Datagram<'_>,
        _zone: &Zone,
        _out: &mut Outbox,
    ) {
    }
    pub(crate) fn stream(
        &mut self,
        _now: Instant,
        _guest: GuestKey,
        _local: OwnedFd,
        _out: &mut Outbox,
    ) {
    }
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
    pub(crate) fn turn(&mut self, _now: Instant, _zone: &Zone, _out: &mut Outbox) {}
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        None
    }
    pub(crate) fn handle_timeout(&mut self, _now: Instant, _out: &mut Outbox) {}
    pub(crate) fn guest_gone(&mut self, _guest: GuestKey) {}
    pub(crate) fn resolvers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}
