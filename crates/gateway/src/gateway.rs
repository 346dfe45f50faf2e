//! The gateway of one network: where packets from the router are sorted, and the parts are driven.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd};

use engine::{Frame, Instant, Pool};
use wire::MacAddr;

use crate::counters::GatewayCounters;
use crate::ctx::Room;
use crate::event::GatewayEvent;
use crate::plan::{GatewayError, GatewayPlan, HostPort};
use crate::poll::Poller;
use crate::publish::{PublishError, PublishId, PublishSpec, Published};
use crate::report::{FlowReport, GatewayStatus, LeaseReport};

/// Who sent a packet: a number that its owner chose, and that stands for one port of the network
/// as long as that port lives. Limits are kept per guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestKey(pub u32);

/// Where a named guest is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestAddresses {
    /// The port, while the guest is here.
    pub key: Option<GuestKey>,
    pub mac: Option<MacAddr>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// The gateway of one network.
#[derive(Debug)]
pub struct Gateway {
    plan: GatewayPlan,
    poller: Poller,
    counters: GatewayCounters,
    out: VecDeque<Frame>,
    events: VecDeque<GatewayEvent>,
}

impl Gateway {
    /// A gateway without flows. `hash_key` is secret and random: tables that guests fill are
    /// hashed with it.
    ///
    /// # Errors
    /// The plan cannot be carried out, or no descriptor is left.
    pub fn new(plan: GatewayPlan, _hash_key: [u8; 16]) -> Result<Self, GatewayError> {
        plan.check()?;
        Ok(Self {
            plan,
            poller: Poller::new().map_err(GatewayError::Poller)?,
            counters: GatewayCounters::default(),
            out: VecDeque::new(),
            events: VecDeque::new(),
        })
    }

    /// Takes a changed plan. Flows stay where they still may.
    ///
    /// # Errors
    /// The plan cannot be carried out; nothing is changed.
    pub fn apply(&mut self, _now: Instant, plan: GatewayPlan) -> Result<(), GatewayError> {
        plan.check()?;
        self.plan = plan;
        Ok(())
    }

    /// What it does now.
    #[must_use]
    pub fn plan(&self) -> &GatewayPlan {
        &self.plan
    }

    /// Readable when [`Self::turn`] has something to do; level triggered.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }

    /// Takes a packet that the router has for the gateway's own addresses or for the outside.
    pub fn receive(
        &mut self,
        _now: Instant,
        pool: &mut Pool,
        _room: &dyn Room,
        _guest: GuestKey,
        frame: Frame,
    ) {
        pool.release(frame);
    }

    /// Does what the host's side has ready: at most one batch of descriptors.
    pub fn turn(&mut self, _now: Instant, _pool: &mut Pool, _room: &dyn Room) {}

    /// Whether something waits in host sockets for room in a guest's queue, so that
    /// [`Self::turn`] should be called after such a queue has drained.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        false
    }

    /// The next packet towards a guest, for the router.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.out.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, _now: Instant, _pool: &mut Pool, _room: &dyn Room) {}

    /// What happened since it was last asked.
    pub fn poll_event(&mut self) -> Option<GatewayEvent> {
        self.events.pop_front()
    }

    /// Tells where a named guest is, or what it would have if it came (`key` is `None` then).
    pub fn set_guest(&mut self, _name: &str, _addresses: GuestAddresses) {}

    /// A name is no longer in use.
    pub fn remove_guest(&mut self, _name: &str) {}

    /// The port behind a key is gone: its flows end, and the key may come again for another.
    pub fn guest_gone(&mut self, _now: Instant, _guest: GuestKey) {}

    /// Opens ports of the host that lead to a guest.
    ///
    /// # Errors
    /// A sentence for people: a port is taken or privileged, an address is not the host's ...
    pub fn publish(&mut self, _spec: PublishSpec) -> Result<PublishId, PublishError> {
        Err(PublishError::TooMany(0))
    }

    /// Closes them again. False if there were none of this name. Flows that are open stay.
    pub fn unpublish(&mut self, _id: PublishId) -> bool {
        false
    }

    /// What is published.
    pub fn published(&self) -> impl Iterator<Item = Published> + '_ {
        std::iter::empty()
    }

    /// Lets one guest (or all) reach a port of the host as `host.internal`.
    pub fn allow_host(&mut self, _guest: Option<GuestKey>, _port: HostPort) {}

    /// The flows that are open now.
    pub fn flows(&self, _now: Instant) -> impl Iterator<Item = FlowReport> + '_ {
        std::iter::empty()
    }

    /// The leases that are given out now.
    pub fn leases(&self, _now: Instant) -> impl Iterator<Item = LeaseReport> + '_ {
        std::iter::empty()
    }

    /// What became of the packets.
    #[must_use]
    pub fn counters(&self) -> &GatewayCounters {
        &self.counters
    }

    /// What works at this host.
    #[must_use]
    pub fn status(&self) -> GatewayStatus {
        GatewayStatus::default()
    }
}
