//! Towards the guest: who gets a frame that goes to many, and what a guest gets at all (checks 52 to
//! 55).

use wire::L3;

use crate::bindings::{Bindings, Owner};
use crate::frame::Frame;
use crate::guard::fast::Packed;
use crate::guard::memory::Memory;
use crate::guard::port::PortGuard;
use crate::guard::spec::Action;
use crate::keyed::Key;
use crate::plan::PortSpec;
use crate::pool::Pool;
use crate::port::{Port, PortId};
use crate::reason::Reason;
use crate::role::Role;

/// The destinations that a port was last found to have, one of each IP version, for the frame path:
/// while they are these, nothing has to be asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastDestinations {
    /// The generation of the bindings that they hold for.
    generation: u32,
    /// The second word of the IPv4 address.
    v4: u64,
    v6: Packed,
}

impl LastDestinations {
    /// None, of which a frame's destination is not one either.
    pub(crate) const NONE: Self = Self { generation: 0, v4: 1 << 32, v6: Packed::ANYBODY };

    #[inline]
    pub(crate) fn hold(&self, generation: u32, destination: Packed) -> bool {
        let known =
            if destination.is_v4() { destination.1 == self.v4 } else { destination == self.v6 };
        known && self.generation == generation
    }

    fn remember(&mut self, generation: u32, destination: Packed) {
        if self.generation != generation {
            *self = Self { generation, ..Self::NONE };
        }
        if destination.is_v4() {
            self.v4 = destination.1;
        } else {
            self.v6 = destination;
        }
    }
}

/// To which ports a flooded frame may go, among those of its VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To all.
    #[default]
    All,
    /// To those behind which anybody may be: uplinks, the router, guests whose addresses are first
    /// come or unguarded.
    Open,
    /// The same, but not to those that try this address in this VLAN themselves: the probe of
    /// another would make them give it up (RFC 5227, 2.1.1; RFC 4862, 5.4.3). Who uses it first has
    /// it.
    Probe(u16, Packed),
    /// To those that may serve: uplinks, the router, unguarded guests.
    Servers,
    /// To the router.
    Router,
    /// To this one.
    Port(u16),
    /// To those that have joined this group (VLAN and Ethernet address), and to those that
    /// [`Reach::Servers`] names.
    Members(Key),
    /// To nobody.
    Nobody,
}

impl Reach {
    /// Whether the frame may go to this port.
    #[inline]
    pub(crate) fn includes(self, to: &Port, memory: &Memory) -> bool {
        match self {
            Self::All => true,
            other => other.includes_some(to, memory),
        }
    }

    #[cold]
    fn includes_some(self, to: &Port, memory: &Memory) -> bool {
        let guard = to.guard.as_ref();
        let serves = guard.is_none_or(|guard| guard.role != Role::Guest);
        match self {
            Self::All => true,
            Self::Open => guard.is_none_or(|guard| guard.may_be_anybody()),
            Self::Probe(vid, address) => guard.is_none_or(|guard| {
                guard.may_be_anybody() && !guard.tried.contains(&(vid, address.address()))
            }),
            Self::Servers => serves || guard.is_some_and(|guard| guard.allows_service()),
            Self::Router => to.spec.role == Role::Router,
            Self::Port(index) => to.id.index == index,
            Self::Members(group) => serves || memory.groups.has(group, to.id.index),
            Self::Nobody => false,
        }
    }
}

impl PortGuard {
    /// The port was allowed to answer as a DHCP server (check 29).
    fn allows_service(&self) -> bool {
        matches!(self.spec.actions.of(Reason::DhcpServer), Action::Allow | Action::Audit)
    }
}

/// Whether a frame for one station may leave by this port. `destination` is that of its packet, if
/// the guard of its sender has looked. `known`: the frame's destination is known to be there, so
/// that it is not one of many that get it.
#[inline]
pub(crate) fn takes(
    to: &mut Port,
    bindings: &Bindings,
    pool: &Pool,
    frame: &Frame,
    destination: Packed,
    known: bool,
) -> Result<(), Reason> {
    let Some(guard) = &mut to.guard else { return Ok(()) };
    if !frame.is_unicast() || !guard.looks_at_destinations() {
        return Ok(());
    }
    let strict = guard.is_strict();
    // A sender without a guard has not been asked.
    let destination = if destination.is_none() { destination_of(pool, frame) } else { destination };
    let mut failed = None;
    if !known && guard.fixed_macs && strict {
        failed = Some(Reason::NotAddressed);
    } else if !destination.is_none() && destination != Packed::ANYBODY {
        let generation = bindings.generation();
        guard.renew_egress(generation);
        let vid = frame.tci & 0xfff;
        let key = Key::new(vid, 0);
        let known = guard.egress.holds(key, destination);
        let its = known
            || is_its(bindings, to.id, vid, destination)
            || !strict && may_be_its(bindings, to.id, vid, &to.spec, destination);
        if its {
            guard.egress.remember(key, destination);
            // The frame path does not ask for the VLAN: on a trunk the address may be another's there.
            let everywhere =
                to.access != 0 || !known && bindings.is_everywhere(destination.address());
            // A filter has to be asked about every frame.
            if everywhere && to.spec.filter.to_guest.is_none() {
                to.last_destinations.remember(generation, destination);
            }
            return Ok(());
        }
        failed = Some(Reason::NotDestination);
    }
    let Some(reason) = failed else { return Ok(()) };
    match guard.spec.actions.of(reason) {
        Action::Drop | Action::Reject => return Err(reason),
        Action::Audit => to.counters.count_audit(reason),
        Action::Allow => {}
    }
    Ok(())
}

/// The destination of a frame's packet, behind any tag; none of what is no IP packet.
#[cold]
fn destination_of(pool: &Pool, frame: &Frame) -> Packed {
    let parsed = wire::parse(pool.front(frame).unwrap_or_default());
    match parsed.ok().and_then(|parsed| parsed.l3) {
        Some(L3::Ipv4(ip)) => Packed::v4(ip.destination.into()),
        Some(L3::Ipv6(ip)) => Packed::v6(&ip.destination.octets()),
        Some(L3::Arp(_)) | None => Packed::default(),
    }
}

/// Whether an address that a port is not known to have may be its all the same, because it takes its
/// addresses as it comes: as long as nobody has it, and the port has not said which it has. From then
/// on a packet for another is one that somebody has the guest pass on, for which it would be taken for
/// a forger if it routes.
#[cold]
fn may_be_its(
    bindings: &Bindings,
    port: PortId,
    vid: u16,
    spec: &PortSpec,
    destination: Packed,
) -> bool {
    let address = destination.address();
    match bindings.owner_in(vid, address).0 {
        None => !bindings.has_alike(port, address),
        Some(Owner::Planned(mac)) => spec.macs.contains(&mac),
        Some(Owner::Port(_) | Owner::Reserved) => false,
    }
}

#[cold]
fn is_its(bindings: &Bindings, port: PortId, vid: u16, destination: Packed) -> bool {
    let address = destination.address();
    address.is_multicast() || bindings.has(port, vid, address)
}
