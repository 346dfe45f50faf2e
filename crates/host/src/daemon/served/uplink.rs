//! A network whose way out is a network device: its uplink's port, and the device's coming and going.
//!
//! # Theory of operation
//!
//! The port `uplink` has the role [`Role::Uplink`]: frames from outside that carry an address of a guest are refused, and
//! what guests send to unknown addresses goes there. If its link cannot be opened when the network starts, the network
//! does not start, and the sentence says why. If the link ends later (the helper was restarted, the device is gone), it
//! is opened again, with growing pauses; guests stay and notice nothing but lost frames.
//!
//! A helper allows only some addresses ([`addresses`](DeviceUplink::ranges)): guests that have not chosen one get one of
//! those, the same at every start as long as nobody else has it.

use std::path::PathBuf;

use engine::{FirstCome, GuardMode, Instant, PortSpec, Role, SourceMode};
use nic::protocol::MacRange;
use wire::MacAddr;

use super::Served;
use super::guests::Guest;
use super::troubles::Subject;
use crate::config::outside::Parent;
use crate::config::{self, Uplink};
use crate::daemon::{Daemon, ServeError};
use crate::link::{CloseReason, LinkSetup, PortAbout};
use crate::log;
use crate::names::{self, Name};
use crate::uplink::{self, Opened, Retry, Routed, UplinkPlan};
use crate::worker::Worker;

/// The name of the uplink's port.
pub(in crate::daemon) const PORT: &str = "uplink";

/// Stations of a segment that are remembered; with more, their frames are flooded.
const STATIONS: u16 = 4096;

/// Addresses that a guest may take from outside.
const FIRST_COME: FirstCome = FirstCome { v4: 4, v6: 8 };

/// The uplink of one network.
#[derive(Debug)]
pub(in crate::daemon) struct DeviceUplink {
    plan: UplinkPlan,
    port: Option<engine::PortId>,
    retry: Retry,
    /// Addresses that guests may have; empty: any.
    ranges: Vec<MacRange>,
}

/// The device that a network's uplink is, if it is one.
fn plan(config: &config::Network) -> Option<UplinkPlan> {
    Some(match &config.outside.uplink {
        Uplink::Nic(device) => UplinkPlan::Nic(device.clone()),
        Uplink::Tap(device) => UplinkPlan::Tap(device.clone()),
        Uplink::Macvtap(device) => UplinkPlan::Macvtap(device.clone()),
        Uplink::Net(Parent::Bridged) => UplinkPlan::Bridged,
        Uplink::Net(Parent::Routed) => UplinkPlan::Routed {
            prefixes: Routed { subnet: config.subnet, prefix: config.prefix },
            mtu: config.plan.spec().mtu,
        },
        Uplink::Nat | Uplink::None | Uplink::Net(Parent::Nat) => return None,
    })
}

/// What guests' ports are held to where the addresses come from outside.
pub(in crate::daemon) fn guard_guests(config: &config::Network, spec: &mut PortSpec) {
    let fixed = spec.guard.mode == GuardMode::Static;
    if plan(config).is_some() && !config.outside.guests_planned && fixed {
        spec.guard.mode = GuardMode::Learn;
        spec.guard.first_come = FIRST_COME;
        spec.guard.addresses.clear();
    }
}

impl Served {
    /// Opens the uplink of a network that has just been made.
    ///
    /// # Errors
    /// A sentence.
    pub(in crate::daemon) fn open_uplink(&mut self, worker: &mut Worker) -> Result<(), ServeError> {
        let Some(plan) = plan(&self.config) else { return Ok(()) };
        let opened =
            uplink::open(&plan, worker.memory()).map_err(|e| ServeError::Config(e.sentence))?;
        self.device =
            Some(DeviceUplink { plan, port: None, retry: Retry::default(), ranges: Vec::new() });
        self.connect_uplink(worker, opened).map_err(ServeError::Config)
    }

    fn connect_uplink(&mut self, worker: &mut Worker, opened: Opened) -> Result<(), String> {
        let Some(device) = &mut self.device else { return Ok(()) };
        let Opened { link, mtu } = opened;
        let own = self.config.plan.spec().mtu;
        if mtu < own {
            log::warn(&format!(
                "Network {}: its MTU is {own}, and {} takes packets of {mtu} bytes: longer ones are lost. Set `mtu`.",
                self.config.name, device.plan
            ));
        }
        if let LinkSetup::Nic { welcome, .. } = &link {
            device.ranges.clone_from(&welcome.ranges);
        }
        let mut spec = PortSpec {
            role: Role::Uplink,
            source: SourceMode::Learn { max_macs: STATIONS },
            queue_frames: self.config.anonymous.queue_frames,
            queue_bytes: self.config.anonymous.queue_bytes,
            ..PortSpec::default()
        };
        spec.guard.mode = GuardMode::Learn;
        let about = PortAbout::new(PORT, link.kind(), worker.now());
        let port = worker.open_link(self.id, spec, link, about).map_err(|why| {
            format!(
                "The uplink {} of network {} cannot be opened: {why}.",
                device.plan, self.config.name
            )
        })?;
        device.port = Some(port);
        device.retry.opened();
        self.troubles.well(&Subject::Uplink);
        log::info(&format!("Network {}: the uplink {} is open.", self.config.name, device.plan));
        // Guests that are here already may only listen.
        for mac in self.guests.values().filter_map(Guest::live_mac) {
            worker.uplink_address(self.id, mac, true);
        }
        Ok(())
    }

    /// A port has closed: if it was the uplink's, that is tried again.
    pub(in crate::daemon) fn uplink_closed(
        &mut self,
        now: Instant,
        port: engine::PortId,
        why: &CloseReason,
    ) {
        let Some(device) = self.device.as_mut().filter(|it| it.port == Some(port)) else {
            return;
        };
        device.port = None;
        device.retry.failed(now);
        log::warn(&format!(
            "Network {}: the uplink {} is gone ({why}); it is opened again when it can be.",
            self.config.name, device.plan
        ));
    }

    /// Tries again to open an uplink that is gone.
    pub(in crate::daemon) fn retry_uplink(&mut self, worker: &mut Worker) {
        let now = worker.now();
        let Some(device) = self.device.as_mut().filter(|it| it.retry.is_due(now)) else { return };
        // Set for the case that it fails; forgotten when it is open.
        device.retry.failed(now);
        let result = uplink::open(&device.plan, worker.memory()).map_err(|e| e.sentence);
        if let Err(sentence) = result.and_then(|opened| self.connect_uplink(worker, opened)) {
            log::debug(&format!("Network {}: {sentence}", self.config.name));
            self.troubles.tell(Subject::Uplink, sentence);
        }
    }

    /// When [`Served::retry_uplink`] has something to do.
    pub(in crate::daemon) fn uplink_deadline(&self) -> Option<Instant> {
        self.device.as_ref().and_then(|device| device.retry.deadline())
    }

    /// Files that are needed to open the uplink again.
    pub(in crate::daemon) fn uplink_places(&self) -> Vec<PathBuf> {
        match self.device.as_ref().map(|device| &device.plan) {
            Some(UplinkPlan::Tap(_)) => vec![PathBuf::from("/dev/net/tun")],
            Some(UplinkPlan::Macvtap(device)) => uplink::macvtap_file(device).into_iter().collect(),
            Some(UplinkPlan::Nic(_) | UplinkPlan::Bridged | UplinkPlan::Routed { .. }) | None => {
                Vec::new()
            }
        }
    }

    /// Whether a port is the uplink's, which needs no network if nobody else does.
    pub(in crate::daemon) fn is_uplink(&self, port: engine::PortId) -> bool {
        self.device.as_ref().is_some_and(|device| device.port == Some(port))
    }

    /// What is in the way of guests whose addresses the outside does not take, a sentence each.
    pub(in crate::daemon) fn unheard(&self, worker: &Worker) -> Vec<String> {
        let unheard = self.unheard_guests(worker).into_iter().map(|(_, sentence)| sentence);
        unheard.chain(self.too_many_inside()).collect()
    }

    /// Those guests, and the sentence about each.
    fn unheard_guests(&self, worker: &Worker) -> Vec<(&Name, String)> {
        let mut unheard: Vec<(&Name, MacAddr, &str)> = Vec::new();
        for (mac, why) in worker.uplink_refusals(self.id) {
            let mut guests = self.plan.guests().filter(|(name, _)| self.guests.contains_key(name));
            if let Some((name, _)) = guests.find(|(_, guest)| guest.mac == mac) {
                unheard.push((name, mac, why));
            }
        }
        unheard.sort();
        let sentence = |name: &Name, mac: MacAddr, why: &str| {
            format!(
                "Guest {name} is not heard outside: its address {mac} {why}. See docs/real-device.md about the list of \
                 netherd-nic."
            )
        };
        unheard.into_iter().map(|(name, mac, why)| (name, sentence(name, mac, why))).collect()
    }

    /// What is in the way where more guests are bridged to the network around than that lets through: it does not say
    /// which of them.
    fn too_many_inside(&self) -> Option<String> {
        if self.config.outside.uplink != Uplink::Net(Parent::Bridged) {
            return None;
        }
        let (allowed, around) = self.around.allowed_macs()?;
        let here = self.guests.values().filter(|guest| guest.port().is_some()).count();
        (here > allowed).then(|| {
            format!(
                "{here} guests are here, but the network around lets only {allowed} through: those that came last \
                are not heard outside. Start guest {around} there with `run --macs {here}`."
            )
        })
    }

    /// What is to be said of an address with which a guest has just come.
    pub(in crate::daemon) fn note_on(
        &self,
        worker: &Worker,
        guest: &Name,
        mac: MacAddr,
    ) -> Option<String> {
        let ranges =
            self.device.as_ref().map(|device| device.ranges.as_slice()).unwrap_or_default();
        if !ranges.is_empty() && !ranges.iter().any(|range| range.contains(mac)) {
            return Some(format!(
                "Guest {guest} is not heard outside: its address {mac} is not in your list of netherd-nic. Leave \
                out --mac, or choose one from the list."
            ));
        }
        let about_it = self.unheard_guests(worker).into_iter().find(|(name, _)| *name == guest);
        about_it.map(|(_, sentence)| sentence).or_else(|| self.too_many_inside())
    }

    /// The address of a guest that has not chosen one, where the outside does not take every one.
    /// `None`: the plan's own.
    pub(in crate::daemon) fn outside_mac(&self, guest: &Name) -> Option<MacAddr> {
        if self.config.outside.uplink == Uplink::Net(Parent::Bridged) {
            return self.around.inner_mac(&self.config.name, guest);
        }
        let device = self.device.as_ref().filter(|device| !device.ranges.is_empty())?;
        if let Some(known) = self.plan.guest(guest)
            && device.ranges.iter().any(|range| range.contains(known.mac))
        {
            return Some(known.mac);
        }
        let wanted = names::mac(&self.config.name, guest);
        let taken = |mac: MacAddr| {
            self.plan.guests().any(|(name, other)| name != guest && other.mac == mac)
                || self.config.ports.iter().any(|port| port.spec.macs.contains(&mac))
        };
        uplink::address_within(&device.ranges, wanted, taken)
    }
}

impl Daemon {
    /// Opens uplinks again that are gone.
    pub(in crate::daemon) fn retry_uplinks(&mut self, worker: &mut Worker) {
        for network in &mut self.networks {
            network.retry_uplink(worker);
        }
    }
}
