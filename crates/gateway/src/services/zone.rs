//! The names of the network.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::plan::GatewayPlan;

/// The names of one network's guests.
#[derive(Debug)]
pub struct Zone {}

impl Zone {
    pub(crate) fn new(_plan: &GatewayPlan) -> Self {
        Self {}
    }
    pub(crate) fn apply(&mut self, _plan: &GatewayPlan) {}
    pub(crate) fn set(&mut self, _name: &str, _v4: Option<Ipv4Addr>, _v6: Option<Ipv6Addr>) {}
    pub(crate) fn remove(&mut self, _name: &str) {}
}
