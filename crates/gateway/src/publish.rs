//! Ports of the host that lead to a guest.

use std::net::SocketAddr;

use crate::plan::Protocol;

/// What to publish: a range of ports of the host, and the guest and ports they lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishSpec {
    pub protocol: Protocol,
    /// Where it listens; `None`: on both loopback addresses.
    pub bind: Option<std::net::IpAddr>,
    /// First and last port of the host.
    pub ports: (u16, u16),
    /// The guest's name.
    pub guest: String,
    /// First port of the guest; the others follow.
    pub to: u16,
}

/// The name of a published range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublishId(pub u32);

/// One published range, as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub id: PublishId,
    pub spec: PublishSpec,
    /// Where it listens.
    pub listening: Vec<SocketAddr>,
    /// The guest is here.
    pub reachable: bool,
}

/// Why something was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error("there are {0} published ranges already, which is as many as there may be")]
    TooMany(usize),
}
