//! Router advertisement.

use engine::Instant;

use super::Outbox;
use super::message::Solicitation;
use crate::GuestKey;
use crate::plan::GatewayPlan;

/// Advertises the gateway and the prefix of one network.
#[derive(Debug)]
pub struct Advertiser {}

impl Advertiser {
    pub(crate) fn new(_plan: &GatewayPlan, _hash_key: &[u8; 16]) -> Self {
        Self {}
    }
    pub(crate) fn apply(&mut self, _now: Instant, _plan: &GatewayPlan) {}
    pub(crate) fn set_outside(&mut self, _now: Instant, _v6: bool) {}
    pub(crate) fn receive(
        &mut self,
        _now: Instant,
        _solicitation: &Solicitation<'_>,
        _out: &mut Outbox,
    ) -> bool {
        false
    }
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        None
    }
    pub(crate) fn handle_timeout(&mut self, _now: Instant, _out: &mut Outbox) {}
    pub(crate) fn farewell(&mut self, _out: &mut Outbox) {}
    pub(crate) fn guest_gone(&mut self, _guest: GuestKey) {}
}
