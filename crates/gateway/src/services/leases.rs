//! Which client has which IPv4 address.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use wire::MacAddr;

/// One lease, as it is kept in the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLease {
    pub address: Ipv4Addr,
    /// Six bytes of the client's hardware address.
    pub mac: [u8; 6],
    /// What the client calls itself to servers (RFC 2132, 9.14), in hexadecimal; empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// What the client calls itself to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// When it ends, in seconds since 1970.
    pub until: u64,
}

impl SavedLease {
    /// The client's hardware address.
    #[must_use]
    pub fn mac(&self) -> MacAddr {
        MacAddr(self.mac)
    }
}
