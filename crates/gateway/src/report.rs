//! What people are shown.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wire::MacAddr;

use crate::GuestKey;
use crate::plan::Protocol;

/// What a flow is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// The host's socket is connecting, or the guest has not answered yet.
    Opening,
    Open,
    /// One side has ended.
    Closing,
}

/// One flow through the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowReport {
    pub protocol: Protocol,
    pub guest: Option<GuestKey>,
    /// The guest's address and port (echo: its identifier).
    pub guest_end: SocketAddr,
    /// The other end as the guest sees it.
    pub remote: SocketAddr,
    /// The other end as the host sees it, where that differs.
    pub host: Option<SocketAddr>,
    /// Opened from outside, by a published port.
    pub inbound: bool,
    pub state: FlowState,
    /// Payload bytes from the guest, and to it.
    pub bytes_out: u64,
    pub bytes_in: u64,
    /// Since the last packet.
    pub idle: Duration,
}

/// One lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseReport {
    pub address: IpAddr,
    pub mac: MacAddr,
    pub guest: Option<GuestKey>,
    /// What the client calls itself; never used as a name of the network.
    pub host_name: Option<String>,
    pub remaining: Duration,
}

/// What works at this host, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayStatus {
    /// The host has a default route.
    pub outside_v4: bool,
    pub outside_v6: bool,
    /// Why echo requests are answered with an error, if they are.
    pub echo_v4: Option<String>,
    pub echo_v6: Option<String>,
    /// Where names are asked.
    pub resolvers: Vec<SocketAddr>,
    /// Flows now: TCP, UDP with the clients of published ports, echo.
    pub flows: [usize; 3],
    /// As many as there may be together: those with a socket of their own, and clients of published
    /// UDP ports.
    pub flows_max: usize,
    /// Why the last flow could not get a descriptor, if one could not.
    pub out_of_descriptors: bool,
}
