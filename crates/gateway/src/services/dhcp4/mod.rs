//! The DHCPv4 server.

use std::net::{Ipv4Addr, SocketAddr};

use engine::Instant;
use wire::MacAddr;

use super::Outbox;
use super::leases::SavedLease;
use super::message::Datagram;
use crate::GuestKey;
use crate::plan::GatewayPlan;
use crate::report::LeaseReport;

/// The DHCPv4 server of one network.
#[derive(Debug)]
pub struct Server {}

impl Server {
    pub(crate) fn new(_plan: &GatewayPlan) -> Self {
        Self {}
    }
    pub(crate) fn apply(&mut self, _now: Instant, _plan: &GatewayPlan, _out: &mut Outbox) {}
    pub(crate) fn listens(&self, _destination: SocketAddr) -> bool {
        false
    }
    pub(crate) fn receive(&mut self, _now: Instant, _datagram: &Datagram<'_>, _out: &mut Outbox) {}
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        None
    }
    pub(crate) fn handle_timeout(&mut self, _now: Instant, _out: &mut Outbox) {}
    pub(crate) fn reserve(
        &mut self,
        _now: Instant,
        _name: &str,
        _mac: Option<MacAddr>,
        _v4: Option<Ipv4Addr>,
        _out: &mut Outbox,
    ) {
    }
    pub(crate) fn unreserve(&mut self, _name: &str) {}
    pub(crate) fn guest_gone(&mut self, _guest: GuestKey, _out: &mut Outbox) {}
    pub(crate) fn refuse(&mut self, _now: Instant, _address: Ipv4Addr, _out: &mut Outbox) {}
    pub(crate) fn leases(&self, _now: Instant) -> Vec<LeaseReport> {
        Vec::new()
    }
    pub(crate) fn saved_leases(&self, _now: Instant, _unix: u64) -> Vec<SavedLease> {
        Vec::new()
    }
    pub(crate) fn load_leases(&mut self, _now: Instant, _unix: u64, _saved: Vec<SavedLease>) {}
}
