//! The stateless DHCPv6 server.

use std::net::SocketAddr;

use engine::Instant;

use super::Outbox;
use super::message::Datagram;
use crate::GuestKey;
use crate::plan::GatewayPlan;

/// The DHCPv6 server of one network.
#[derive(Debug)]
pub struct Server {}

impl Server {
    pub(crate) fn new(_plan: &GatewayPlan) -> Self {
        Self {}
    }
    pub(crate) fn listens(&self, _destination: SocketAddr) -> bool {
        false
    }
    pub(crate) fn receive(&mut self, _now: Instant, _datagram: &Datagram<'_>, _out: &mut Outbox) {}
    pub(crate) fn guest_gone(&mut self, _guest: GuestKey) {}
}
