//! What the gateway tells its owner.

use std::net::IpAddr;
use std::time::Duration;

use wire::MacAddr;

use crate::GuestKey;

/// Something happened that the engine's bindings, the log or the reports must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GatewayEvent {
    /// A lease was given or renewed: the address belongs to this guest for that long.
    Bind { guest: GuestKey, mac: MacAddr, address: IpAddr, lifetime: Duration },
    /// A lease was released or has ended.
    Unbind { address: IpAddr },
    /// The leases changed, and should be kept.
    LeasesChanged,
    /// The host's default routes came or went.
    OutsideChanged { v4: bool, v6: bool },
    /// Something that a person should know: a sentence with what, where and what to do. It is so until
    /// [`GatewayEvent::Well`] names the same subject.
    Trouble { about: Subject, sentence: String },
    /// What a trouble was about is well.
    Well(Subject),
}

/// What a [`GatewayEvent::Trouble`] is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// Names of the outside.
    Names,
    /// The planned address of the guest of this name.
    Address(String),
    /// The lease of this address.
    Lease(IpAddr),
}
