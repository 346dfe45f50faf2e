//! What a network and its ports are asked to be, and the proof that it makes sense.
//!
//! A *spec* is what configuration or a client asks for. A *plan* is a spec that was checked: the
//! engine accepts only plans, so it has no half-valid states to guard against.

use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

use wire::{MacAddr, OffloadSet};

use crate::filter::PortFilter;
use crate::frame::HEADERS_MAX;
use crate::guard::{GuardSpec, NetworkGuard, QUERIER};
use crate::port::MAX_PORTS;
use crate::role::Role;
use crate::vlan::{self, VlanMode};

/// The smallest MTU: what every IPv4 module must take unfragmented (RFC 791 section 3.2).
pub const MTU_MIN: u16 = 68;

/// The most learned addresses that a network's table may be asked to hold.
pub const MAC_TOTAL_MAX: usize = 1 << 20;

/// The most addresses that one port may own by configuration.
pub const OWN_MACS_MAX: usize = 256;

/// The most frames that a port's queue may be asked to hold.
pub const QUEUE_FRAMES_MAX: usize = 1 << 16;

/// What a network does with a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Learns which address is behind which port, and sends a frame there.
    #[default]
    Switch,
    /// Sends every frame to every other port and learns nothing. Bound addresses stay protected.
    Hub,
}

/// A network as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The longest payload of an Ethernet frame, in bytes. One per network.
    pub mtu: u16,
    /// Switch or hub.
    pub mode: Mode,
    /// How many ports there may be.
    pub ports: usize,
    /// How many learned addresses the table holds. Half of it is shared out among `ports`, so that
    /// each is sure of some; the rest is first come, first served.
    pub mac_total: usize,
    /// How long a learned address lives after its last frame.
    pub mac_ageing: Duration,
    /// What the guards of all ports have in common.
    pub guard: NetworkGuard,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            mtu: 1500,
            mode: Mode::Switch,
            ports: 1024,
            mac_total: 8192,
            // The recommended value of IEEE 802.1Q table 8-6.
            mac_ageing: Duration::from_secs(300),
            guard: NetworkGuard::default(),
        }
    }
}

/// A network that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPlan(NetworkSpec);

/// Where the source addresses of a port's frames may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceMode {
    /// Only the port's own addresses ([`PortSpec::macs`]).
    Static,
    /// Its own addresses, and others as they come, first come first served.
    Learn {
        /// How many it may learn. One address in two VLANs counts twice.
        max_macs: u16,
    },
}

impl Default for SourceMode {
    /// One address, as a station has. What has a network behind it says so.
    fn default() -> Self {
        Self::Learn { max_macs: 1 }
    }
}

/// A port as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// What is behind it.
    pub role: Role,
    /// What it may claim to be, and say about others.
    pub guard: GuardSpec,
    /// Which of its frames, and of those for it, may pass.
    pub filter: PortFilter,
    /// The port's own addresses: bound to it, in every VLAN, for as long as it lives.
    pub macs: Vec<MacAddr>,
    /// Whether it may use others.
    pub source: SourceMode,
    /// Its VLANs.
    pub vlan: VlanMode,
    /// An isolated port exchanges frames only with ports that are neither isolated nor of a
    /// community.
    pub isolated: bool,
    /// A port of a community exchanges frames with the others of the same community, and with ports
    /// that are neither isolated nor of a community.
    pub community: Option<u16>,
    /// What its link can carry towards the guest.
    pub offloads_to_guest: OffloadSet,
    /// What its link may carry from the guest.
    pub offloads_from_guest: OffloadSet,
    /// Frames that its egress queue holds.
    pub queue_frames: usize,
    /// Bytes that its egress queue holds; one frame always fits.
    pub queue_bytes: usize,
}

impl Default for PortSpec {
    fn default() -> Self {
        Self {
            role: Role::default(),
            guard: GuardSpec::default(),
            filter: PortFilter::default(),
            macs: Vec::new(),
            source: SourceMode::default(),
            vlan: VlanMode::default(),
            isolated: false,
            community: None,
            offloads_to_guest: OffloadSet::empty(),
            offloads_from_guest: OffloadSet::empty(),
            queue_frames: 1024,
            queue_bytes: 4 << 20,
        }
    }
}

/// A port that was checked against its network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan(PortSpec);

/// Why a spec makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// See the text.
    #[error("an MTU of {0} is too small: IPv4 needs at least {MTU_MIN} bytes; 1500 is usual")]
    Mtu(u16),
    /// See the text.
    #[error("a network cannot have {0} ports: choose between 1 and {MAX_PORTS}")]
    Ports(usize),
    /// See the text.
    #[error("a table of {0} addresses is out of range: choose between 1 and {MAC_TOTAL_MAX}")]
    MacTotal(usize),
    /// See the text.
    #[error("an ageing time of {0:?} is too short: choose at least one second")]
    MacAgeing(Duration),
    /// See the text.
    #[error("{0} cannot be a port's address: it is zero, a group address, or the network's own")]
    Mac(MacAddr),
    /// See the text.
    #[error("{0} is listed twice for one port: list it once")]
    MacTwice(MacAddr),
    /// See the text.
    #[error("a port cannot own {0} addresses: list at most {OWN_MACS_MAX}")]
    TooManyMacs(usize),
    /// See the text.
    #[error("a static port needs at least one address of its own, or all its frames are dropped")]
    NoMac,
    /// See the text.
    #[error("a port that learns must be allowed at least one address: set max_macs to 1 or more")]
    LearnNone,
    /// See the text.
    #[error("{0} is not a VLAN: choose between 1 and {max}", max = vlan::VLAN_MAX)]
    Vlan(u16),
    /// See the text.
    #[error("a trunk port carries no VLAN at all: allow one, or give it a native one")]
    NoVlan,
    /// See the text.
    #[error("a link that accepts segmentation must also accept partial checksums: add csum")]
    OffloadWithoutChecksum,
    /// See the text.
    #[error("tso_ecn needs tso4 or tso6")]
    EcnWithoutTso,
    /// See the text.
    #[error(
        "uso4 and uso6 come together or not at all, because the metadata does not tell them apart"
    )]
    HalfUso,
    /// See the text.
    #[error("{0} cannot be a port's address: it is unspecified, loopback or a group address")]
    Address(IpAddr),
    /// See the text.
    #[error("a queue of {0} frames is out of range: choose between 1 and {QUEUE_FRAMES_MAX}")]
    QueueFrames(usize),
    /// See the text.
    #[error(
        "a queue of {bytes} bytes holds no frame of this network: it must hold at least {least}"
    )]
    QueueBytes {
        /// What was asked.
        bytes: usize,
        /// The longest ordinary frame of the network.
        least: usize,
    },
}

impl NetworkPlan {
    /// Checks a network.
    ///
    /// # Errors
    ///
    /// The first thing found that makes no sense.
    pub fn validate(spec: NetworkSpec) -> Result<Self, PlanError> {
        if spec.mtu < MTU_MIN {
            return Err(PlanError::Mtu(spec.mtu));
        }
        if !(1..=MAX_PORTS).contains(&spec.ports) {
            return Err(PlanError::Ports(spec.ports));
        }
        if !(1..=MAC_TOTAL_MAX).contains(&spec.mac_total) {
            return Err(PlanError::MacTotal(spec.mac_total));
        }
        if spec.mac_ageing < Duration::from_secs(1) {
            return Err(PlanError::MacAgeing(spec.mac_ageing));
        }
        Ok(Self(spec))
    }

    /// What was checked.
    #[must_use]
    pub fn spec(&self) -> &NetworkSpec {
        &self.0
    }
}

impl PortPlan {
    /// Checks a port of `network`.
    ///
    /// # Errors
    ///
    /// The first thing found that makes no sense.
    pub fn validate(spec: PortSpec, network: &NetworkPlan) -> Result<Self, PlanError> {
        if spec.macs.len() > OWN_MACS_MAX {
            return Err(PlanError::TooManyMacs(spec.macs.len()));
        }
        for (i, &mac) in spec.macs.iter().enumerate() {
            if mac.is_zero() || mac.is_multicast() || mac == QUERIER {
                return Err(PlanError::Mac(mac));
            }
            if spec.macs.iter().skip(i + 1).any(|&other| other == mac) {
                return Err(PlanError::MacTwice(mac));
            }
        }
        match spec.source {
            SourceMode::Static if spec.macs.is_empty() => return Err(PlanError::NoMac),
            SourceMode::Learn { max_macs: 0 } => return Err(PlanError::LearnNone),
            SourceMode::Static | SourceMode::Learn { .. } => {}
        }
        match &spec.vlan {
            VlanMode::Access(vid) | VlanMode::Trunk { native: Some(vid), .. }
                if !vlan::is_usable(*vid) =>
            {
                return Err(PlanError::Vlan(*vid));
            }
            VlanMode::Trunk { native: None, allowed } if allowed.is_empty() => {
                return Err(PlanError::NoVlan);
            }
            VlanMode::Access(_) | VlanMode::Trunk { .. } => {}
        }
        for &address in &spec.guard.addresses {
            if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                return Err(PlanError::Address(address));
            }
        }
        check_offloads(spec.offloads_to_guest)?;
        check_offloads(spec.offloads_from_guest)?;
        if !(1..=QUEUE_FRAMES_MAX).contains(&spec.queue_frames) {
            return Err(PlanError::QueueFrames(spec.queue_frames));
        }
        let least = usize::from(network.0.mtu) + HEADERS_MAX;
        if spec.queue_bytes < least {
            return Err(PlanError::QueueBytes { bytes: spec.queue_bytes, least });
        }
        Ok(Self(spec))
    }

    /// What was checked.
    #[must_use]
    pub fn spec(&self) -> &PortSpec {
        &self.0
    }

    pub(crate) fn into_spec(self) -> PortSpec {
        self.0
    }
}

fn check_offloads(set: OffloadSet) -> Result<(), PlanError> {
    let tso = OffloadSet::TSO4 | OffloadSet::TSO6;
    let uso = OffloadSet::USO4 | OffloadSet::USO6;
    if set.intersects(tso | uso | OffloadSet::TSO_ECN) && !set.contains(OffloadSet::CSUM) {
        return Err(PlanError::OffloadWithoutChecksum);
    }
    if set.contains(OffloadSet::TSO_ECN) && !set.intersects(tso) {
        return Err(PlanError::EcnWithoutTso);
    }
    if set.intersects(uso) && !set.contains(uso) {
        return Err(PlanError::HalfUso);
    }
    Ok(())
}
