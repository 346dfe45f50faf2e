//! Uplinks that are network devices: from the word in the configuration to a link that is open.
//!
//! # Theory of operation
//!
//! An uplink is a port with the role [`engine::Role::Uplink`]: frames from it that carry an address
//! of a guest as their source are refused, and what guests send to unknown addresses goes to it as
//! to every port. Which link carries its frames is said by an [`UplinkPlan`]:
//!
//! * `nic:IFNAME`: through the privileged helper `netherd-nic` ([`nic`]), which shares a device that
//!   the host uses as well;
//! * `net:bridged`, `net:routed`: the network that the hypervisor is a guest of ([`parent`]);
//! * `tap:IFNAME`, `macvtap:IFNAME`: a device that an administrator made for this user ([`tap`]).
//!
//! [`open`] either gives a link or says in a sentence what is missing and what to do. The device may
//! come later, or go: [`Retry`] says when to try again.

mod nic;
pub mod parent;
mod plan;
mod retry;
mod tap;

pub use self::nic::{address_within, addresses};
pub use self::parent::Routed;
pub use self::plan::{PlanError, UplinkPlan};
pub use self::retry::Retry;
pub use self::tap::macvtap_file;

use std::os::fd::BorrowedFd;

use crate::link::LinkSetup;

/// Where the helper for real devices listens.
pub const HELPER: &str = ::nic::protocol::SOCKET;

/// An uplink that is open.
#[derive(Debug)]
pub struct Opened {
    pub link: LinkSetup,
    /// Bytes of the longest packet that the outside takes: a network with a larger MTU loses frames.
    pub mtu: u16,
}

/// Why an uplink could not be opened: a sentence of what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct UplinkError {
    pub sentence: String,
    /// It may work later without anybody changing the configuration: the device may come.
    pub passing: bool,
}

impl UplinkError {
    fn lasting(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), passing: false }
    }

    fn passing(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), passing: true }
    }
}

/// Opens the link of an uplink.
///
/// Waits for the helper's answer for at most a second. `memory` is that of the worker's pool, which the helper may read.
///
/// # Errors
/// [`UplinkError`]; nothing is left open.
pub fn open(plan: &UplinkPlan, memory: Option<BorrowedFd<'_>>) -> Result<Opened, UplinkError> {
    match plan {
        UplinkPlan::Nic(device) => nic::open(device, memory),
        UplinkPlan::Tap(device) => tap::open(device),
        UplinkPlan::Macvtap(device) => tap::open_macvtap(device),
        UplinkPlan::Bridged => parent::bridged(),
        UplinkPlan::Routed { prefixes, mtu } => parent::routed(prefixes, *mtu),
    }
}
