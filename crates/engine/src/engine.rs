//! The engine of one network: its ports, their coming and going, and what is asked about them.
//!
//! The way of a frame is in `ingress` and `transmit`.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use wire::MacAddr;

use crate::batch::BATCH;
use crate::bindings::{Address, BindError, BindingSource, Bindings, Lifetime, Owner};
use crate::capture::{Capture, CapturePlan, CaptureRecord};
use crate::classify::Work;
use crate::counters::PortCounters;
use crate::event::{Event, EventQueue};
use crate::filter::PortFilter;
use crate::guard::{GuardSpec, Memory, PortGuard, Reach};
use crate::mac_table::{Hold, MacTable};
use crate::plan::{Mode, NetworkPlan, NetworkSpec, PortPlan, PortSpec};
use crate::pool::Pool;
use crate::port::PortId;
use crate::ports::Ports;
use crate::ready::Ready;
use crate::reason::Reason;
use crate::role::Role;
use crate::time::Instant;
use crate::time::tick;

/// Why a port could not be added or changed. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// See the text.
    #[error("the network already has {0} ports, as many as it may: raise its number of ports")]
    TooManyPorts(usize),
    /// See the text.
    #[error("{mac} already belongs to port {owner}: choose another address")]
    MacTaken {
        /// The address.
        mac: MacAddr,
        /// The port that has it.
        owner: PortId,
    },
    /// One of the addresses that its guard was to bind is not free; see the text.
    #[error(transparent)]
    Address(#[from] BindError),
    /// See the text.
    #[error("port {0} does not exist any more")]
    NoSuchPort(PortId),
}

/// Why an address is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MacKind {
    /// It belongs to a port by configuration.
    Static,
    /// It is reserved for a guest that is away.
    Reserved,
    /// A port uses it.
    Learned,
}

/// One line of the MAC table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacEntry {
    /// The address.
    pub mac: MacAddr,
    /// Its VLAN; `None` for entries that hold in all.
    pub vlan: Option<u16>,
    /// The port; `None` for a reserved address.
    pub port: Option<PortId>,
    /// Why it is there.
    pub kind: MacKind,
    /// When a learned address was last used, to 2^20 ns.
    pub seen: Option<Instant>,
}

/// The hypervisor of one network. See the crate's documentation for how to drive it.
#[derive(Debug)]
pub struct Engine {
    pub(crate) network: NetworkSpec,
    pub(crate) ports: Ports,
    pub(crate) macs: MacTable,
    pub(crate) bindings: Bindings,
    /// What the guards of all ports remember together.
    pub(crate) memory: Memory,
    /// How many ports have a guard.
    pub(crate) guarded: usize,
    /// The ports that [`Reach::Servers`] names.
    pub(crate) servers: Vec<u16>,
    /// The ports that get the frame whose verdict is `Flood`. Kept to keep its memory.
    pub(crate) targets: Vec<u16>,
    pub(crate) events: EventQueue,
    pub(crate) ready: Ready,
    pub(crate) capture: Option<Capture>,
    pub(crate) capture_drops: u64,
    /// What the passes of one ingress call tell each other. Kept to keep its memory.
    pub(crate) work: Box<[Work]>,
    /// What was counted on ports that are gone.
    retired: PortCounters,
    /// Frames handed in for ports that are gone.
    pub(crate) strays: u64,
}

impl Engine {
    /// An engine without ports. `hash_key` must be random and unknown to guests: it keeps them from
    /// choosing addresses that collide in the MAC table.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a plan is used once")]
    pub fn new(plan: NetworkPlan, hash_key: [u8; 16]) -> Self {
        let network = plan.spec().clone();
        Self {
            macs: MacTable::new(&hash_key, &network),
            bindings: Bindings::new(&hash_key, network.ports),
            memory: Memory::new(&hash_key),
            guarded: 0,
            servers: Vec::new(),
            targets: Vec::new(),
            network,
            ports: Ports::default(),
            events: EventQueue::default(),
            ready: Ready::default(),
            capture: None,
            capture_drops: 0,
            work: vec![Work::default(); BATCH].into_boxed_slice(),
            retired: PortCounters::default(),
            strays: 0,
        }
    }

    /// What the network is asked to be.
    #[must_use]
    pub fn network(&self) -> &NetworkSpec {
        &self.network
    }

    /// Changes the network while it runs. Ports stay, even if the new plan allows fewer; a hub
    /// forgets what was learned.
    #[expect(clippy::needless_pass_by_value, reason = "a plan is used once")]
    pub fn apply(&mut self, plan: NetworkPlan) {
        self.network = plan.spec().clone();
        self.macs.configure(&self.network);
        self.bindings.configure(self.bindings.limits(), self.network.ports);
        if self.network.mode == Mode::Hub {
            self.macs.forget_all_learned();
        }
    }

    /// Adds a port. Its own addresses are bound to it, and no longer to whoever had learned them.
    ///
    /// # Errors
    ///
    /// The network is full, or an address belongs to another port; nothing is changed. A reserved
    /// address is no obstacle: its guest has come back.
    pub fn add_port(&mut self, plan: PortPlan) -> Result<PortId, PortError> {
        let spec = plan.into_spec();
        // The router's port is not one of those that the network has for guests.
        let guests = self.ports.iter().filter(|port| port.spec.role != Role::Router).count();
        if spec.role != Role::Router && guests >= self.network.ports {
            return Err(PortError::TooManyPorts(self.ports.len()));
        }
        self.check_macs_free(&spec, None)?;
        self.check_addresses_free(&spec.guard, &spec.macs, None)?;
        let (macs, guard) = (spec.macs.clone(), spec.guard.clone());
        let full = PortError::TooManyPorts(self.ports.len());
        let hold = Hold::of(&spec);
        let id = self.ports.insert(spec).ok_or(full)?;
        self.macs.add_port(id.index);
        self.macs.set_hold(id.index, hold);
        self.macs.bind(macs.into_iter().map(MacAddr::as_u64), id.index);
        self.count_guards();
        self.bind_addresses(id, &GuardSpec::default(), &guard);
        Ok(id)
    }

    /// Changes a port while it runs. What is queued stays; what the port has learned is forgotten.
    ///
    /// # Errors
    ///
    /// The port is gone, or an address belongs to another port; nothing is changed.
    pub fn change_port(&mut self, port: PortId, plan: PortPlan) -> Result<(), PortError> {
        let spec = plan.into_spec();
        self.check_macs_free(&spec, Some(port))?;
        self.check_addresses_free(&spec.guard, &spec.macs, Some(port))?;
        let guard = spec.guard.clone();
        let Some(target) = self.ports.get_mut(port) else {
            return Err(PortError::NoSuchPort(port));
        };
        for &mac in target.spec.macs.iter().filter(|mac| !spec.macs.contains(mac)) {
            self.macs.unbind(mac.as_u64());
        }
        self.macs.bind(spec.macs.iter().copied().map(MacAddr::as_u64), port.index);
        let moved = target.spec.vlan != spec.vlan;
        let old = core::mem::take(&mut target.spec.guard);
        let hold = Hold::of(&spec);
        target.configure(spec);
        self.macs.forget_learned(port.index);
        self.macs.set_hold(port.index, hold);
        if moved {
            self.end_what_is_elsewhere(port);
        }
        self.guard_changed(port, &old, &guard);
        Ok(())
    }

    /// Changes the guard of a port while it runs, and nothing else. First-come addresses, groups and
    /// the count of violations stay.
    ///
    /// # Errors
    ///
    /// The port is gone, or an address belongs to another port; nothing is changed.
    #[expect(clippy::needless_pass_by_value, reason = "a spec is used once")]
    pub fn set_guard(&mut self, port: PortId, guard: GuardSpec) -> Result<(), PortError> {
        let Some(target) = self.ports.get(port) else {
            return Err(PortError::NoSuchPort(port));
        };
        self.check_addresses_free(&guard, &target.spec.macs, Some(port))?;
        let Some(target) = self.ports.get_mut(port) else {
            return Err(PortError::NoSuchPort(port));
        };
        let old = core::mem::replace(&mut target.spec.guard, guard.clone());
        target.set_guard(PortGuard::new(&target.spec));
        self.macs.set_hold(port.index, Hold::of(&target.spec));
        self.guard_changed(port, &old, &guard);
        Ok(())
    }

    /// What follows from another guard of a port.
    fn guard_changed(&mut self, port: PortId, old: &GuardSpec, new: &GuardSpec) {
        self.count_guards();
        self.bind_addresses(port, old, new);
        if old.mode != new.mode {
            self.end_what_mode_forbids(port, new.mode);
        }
    }

    /// Changes the filter of a port while it runs, and nothing else: every frame is judged by the one
    /// or by the other, and none is lost. What is in the port's queue was judged before and stays.
    ///
    /// # Errors
    ///
    /// The port is gone.
    pub fn set_filter(&mut self, port: PortId, filter: PortFilter) -> Result<(), PortError> {
        let target = self.ports.get_mut(port).ok_or(PortError::NoSuchPort(port))?;
        target.set_filter(filter);
        Ok(())
    }

    /// Removes a port and gives its last counters. What was in its queue is dropped
    /// (`link-closed`, or `link-full` if its link had given it back), what it had learned is forgotten, its own addresses are free again, or
    /// reserved if they were.
    ///
    /// `None` if the port is already gone.
    pub fn remove_port(&mut self, pool: &mut Pool, port: PortId) -> Option<PortCounters> {
        let mut gone = self.ports.remove(port)?;
        self.end_bindings_of(port);
        self.memory.groups.forget(port.index);
        self.count_guards();
        for &mac in &gone.spec.macs {
            self.macs.unbind(mac.as_u64());
        }
        self.macs.forget_learned(port.index);
        if gone.queue.is_listed() {
            self.ready.remove(port.index);
        }
        let (taken, untaken) = gone.queue.clear(pool);
        gone.counters.count_drop(Reason::LinkFull, taken);
        gone.counters.count_drop(Reason::LinkClosed, untaken);
        self.retired += &gone.counters;
        Some(gone.counters)
    }

    /// Takes note of what the ports are together, after one of them changed.
    fn count_guards(&mut self) {
        self.guarded = self.ports.iter().filter(|port| port.guard.is_some()).count();
        let servers = self.ports.iter().filter(|port| Reach::Servers.includes(port, &self.memory));
        self.servers = servers.map(|port| port.id.index).collect();
        self.targets.reserve(self.ports.len());
    }

    /// Whether the addresses that a guard names are free for a port with these Ethernet addresses.
    fn check_addresses_free(
        &self,
        guard: &GuardSpec,
        macs: &[MacAddr],
        me: Option<PortId>,
    ) -> Result<(), PortError> {
        for &ip in &guard.addresses {
            match self.bindings.kept_from(me, ip) {
                Some(Owner::Port(owner)) => {
                    return Err(BindError::Taken { address: ip.into(), owner }.into());
                }
                Some(Owner::Planned(mac)) if !macs.contains(&mac) => {
                    return Err(BindError::Planned { address: ip.into(), mac }.into());
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Binds what a guard names, and ends what the guard before it named.
    fn bind_addresses(&mut self, port: PortId, old: &GuardSpec, new: &GuardSpec) {
        self.allow_bindings(port, new.first_come);
        let all = |guard: &GuardSpec| -> Vec<Address> {
            let prefixes = guard.prefixes.iter().copied().map(Address::from);
            guard.addresses.iter().copied().map(Address::from).chain(prefixes).collect()
        };
        let (old, new) = (all(old), all(new));
        for &address in old.iter().filter(|address| !new.contains(address)) {
            if self.owner_of(address) == Some(Owner::Port(port)) {
                self.unbind(address);
            }
        }
        for address in new {
            // Checked to be free; what is left is a table that is full, which the guard then refuses
            // the port for.
            let source = BindingSource::Configuration;
            let _ = self.bind(port, address, Lifetime::Forever, source);
        }
    }

    fn check_macs_free(&self, spec: &PortSpec, me: Option<PortId>) -> Result<(), PortError> {
        for &mac in &spec.macs {
            let owner = self.macs.owner(mac.as_u64()).and_then(|index| self.ports.at(index));
            if let Some(owner) = owner.filter(|owner| Some(owner.id) != me) {
                return Err(PortError::MacTaken { mac, owner: owner.id });
            }
        }
        Ok(())
    }

    /// Keeps an address for a guest that is away: nobody else may use it, and frames for it go
    /// nowhere. A port that is added with it takes it over, and leaves it reserved when it goes.
    pub fn reserve_mac(&mut self, mac: MacAddr) {
        self.macs.reserve(mac.as_u64(), true);
    }

    /// Ends a reservation. A port that has the address keeps it.
    pub fn unreserve_mac(&mut self, mac: MacAddr) {
        self.macs.reserve(mac.as_u64(), false);
    }

    /// The live ports, in the order they came.
    pub fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        self.ports.iter().map(|port| port.id)
    }

    /// The live port with this index, as [`Frame::origin`](crate::Frame::origin) gives it.
    #[must_use]
    pub fn port_at(&self, index: u16) -> Option<PortId> {
        self.ports.at(index).map(|port| port.id)
    }

    /// What a port is asked to be; `None` if it is gone.
    #[must_use]
    pub fn port(&self, port: PortId) -> Option<&PortSpec> {
        self.ports.get(port).map(|port| &*port.spec)
    }

    /// A port's counters; `None` if it is gone.
    #[must_use]
    pub fn port_counters(&self, port: PortId) -> Option<&PortCounters> {
        self.ports.get(port).map(|port| &port.counters)
    }

    /// The sum of the counters of all ports that are gone.
    #[must_use]
    pub fn retired_counters(&self) -> &PortCounters {
        &self.retired
    }

    /// Frames that were handed in for ports that were gone, and therefore are in no port's
    /// counters.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// Frames and bytes that wait for a port's link. A GSO frame that is being cut counts whole.
    #[must_use]
    pub fn queue_len(&self, port: PortId) -> (usize, usize) {
        self.ports.get(port).map_or((0, 0), |port| (port.queue.len(), port.queue.bytes()))
    }

    /// The MAC table, in no order. Learned entries that have aged but were not swept yet are in it.
    pub fn mac_table(&self) -> impl Iterator<Item = MacEntry> + '_ {
        self.macs.rows().map(|row| MacEntry {
            mac: MacAddr::from_u64(row.key.mac()),
            vlan: row.seen.map(|_| row.key.vid()),
            port: row.port.and_then(|index| self.ports.at(index)).map(|port| port.id),
            kind: match (row.seen, row.port) {
                (Some(_), _) => MacKind::Learned,
                (None, Some(_)) => MacKind::Static,
                (None, None) => MacKind::Reserved,
            },
            seen: row.seen,
        })
    }

    /// The next event, oldest first. The crate's documentation says which calls make events, [`Event`]
    /// what they tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Events that were lost because nobody polled for them.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.events.lost()
    }

    /// When [`Self::handle_timeout`] wants to be called. May change with every call that takes
    /// `now`.
    ///
    /// May be in the past: then there is more to do at once, in another bounded step.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let tables = self.macs.deadline().into_iter().chain(self.bindings.deadline());
        tables.chain(self.querier_deadline()).min()
    }

    /// Does what is due. Every call is bounded; calls before the deadline, or without one, do
    /// nothing. What the network itself has to ask its ports is in their queues then.
    pub fn handle_timeout(&mut self, now: Instant, pool: &mut Pool) {
        self.macs.sweep(tick(now));
        self.expire_bindings(now);
        self.ask_for_groups(now, pool);
    }

    /// Starts a capture, replacing one that runs, or stops it. Records that were not polled are
    /// forgotten.
    pub fn capture(&mut self, plan: Option<CapturePlan>) {
        self.capture = plan.map(Capture::new);
        self.capture_drops = 0;
    }

    /// The next captured frame, oldest first. Frames come from `ingress`.
    pub fn poll_capture(&mut self) -> Option<CaptureRecord> {
        self.capture.as_mut()?.pop()
    }

    /// Frames that the capture had no room for since it was started.
    #[must_use]
    pub fn capture_drops(&self) -> u64 {
        self.capture_drops
    }
}
