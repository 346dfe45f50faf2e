//! The router's interfaces: what they are, and what each remembers of its frames.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::MacAddr;

use super::counters::{RouterCounters, RouterReason};
use super::limit::{Account, Accounts};
use super::routes::{Routes, Target, host_prefix};
use super::spec::{
    ADDRESSES_MAX, INTERFACES_MAX, InterfaceId, InterfaceSpec, RouteSource, RouterError, Via,
};
use crate::rate::{Bucket, Seldom};
use crate::time::Instant;

/// What the last packets of an interface were, so that the next need no look-up if they are the
/// same. The generation is the router's; see [`super::Router`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hints {
    /// A source that passed the reverse-path check.
    pub(super) source: Option<(IpAddr, u32)>,
    /// A destination, and the way to it.
    pub(super) way: Option<(IpAddr, u32, Way)>,
}

/// The way to a destination: out by an interface, to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) egress: u16,
    pub(super) next: IpAddr,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) id: InterfaceId,
    pub(super) spec: InterfaceSpec,
    pub(super) link_local: Option<Ipv6Addr>,
    pub(super) counters: RouterCounters,
    pub(super) hints: Hints,
    pub(super) errors: Bucket,
    pub(super) solicitations: Bucket,
    /// When the last event about what guests said was raised, and when an own address was defended.
    pub(super) told: Seldom,
    pub(super) defended: Option<Instant>,
    accounts: Accounts,
}

impl Interface {
    pub(super) fn new(id: InterfaceId, spec: InterfaceSpec) -> Self {
        Self {
            id,
            link_local: link_local(&spec),
            spec,
            counters: RouterCounters::default(),
            hints: Hints::default(),
            errors: Bucket::default(),
            solicitations: Bucket::default(),
            told: Seldom::default(),
            defended: None,
            accounts: Accounts::default(),
        }
    }

    pub(super) fn configure(&mut self, spec: InterfaceSpec) {
        self.link_local = link_local(&spec);
        self.spec = spec;
        self.hints = Hints::default();
    }

    /// The account of a port's frames.
    pub(super) fn account(&mut self, port: Option<u16>) -> &mut Account {
        self.accounts.of(port)
    }

    /// Whether an address is one of this interface's own.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        let own = match address {
            IpAddr::V4(ip) => self.spec.v4.iter().any(|(own, _)| *own == ip),
            IpAddr::V6(ip) => {
                self.link_local == Some(ip) || self.spec.v6.iter().any(|(own, _)| *own == ip)
            }
        };
        own || self.spec.extra.contains(&address)
    }

    /// Whether an address is in one of the interface's subnets, so that its owner is a neighbour.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        if let IpAddr::V6(ip) = address
            && ip.is_unicast_link_local()
        {
            return self.link_local.is_some();
        }
        connected(&self.spec).any(|prefix| prefix.contains(&address))
    }

    /// Whether an Ethernet address can be a neighbour's.
    pub(super) fn may_be_neighbour(&self, mac: MacAddr) -> bool {
        mac.is_unicast() && mac != self.spec.mac
    }

    /// The own address to speak from, to this one: in its subnet if there is one.
    pub(super) fn address_for(&self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(to) => {
                let own = &self.spec.v4;
                let near = own
                    .iter()
                    .find(|(ip, len)| Ipv4Net::new(*ip, *len).is_ok_and(|net| net.contains(&to)));
                near.or(own.first()).map(|(ip, _)| (*ip).into())
            }
            IpAddr::V6(to) => {
                if to.is_unicast_link_local() {
                    return self.link_local.map(IpAddr::V6);
                }
                let own = &self.spec.v6;
                let near = own
                    .iter()
                    .find(|(ip, len)| Ipv6Net::new(*ip, *len).is_ok_and(|net| net.contains(&to)));
                near.or(own.first()).map(|(ip, _)| *ip).or(self.link_local).map(IpAddr::V6)
            }
        }
    }

    /// Whether the interface takes part in a version of IP.
    pub(super) fn speaks(&self, v6: bool) -> bool {
        if v6 {
            self.link_local.is_some() || !self.spec.v6.is_empty()
        } else {
            !self.spec.v4.is_empty()
        }
    }

    /// Whether an event may be raised now.
    pub(super) fn may_tell(&mut self, now: Instant) -> bool {
        self.told.may(now, core::time::Duration::from_secs(1))
    }

    pub(super) fn drop(&mut self, reason: RouterReason) {
        self.counters.count_drop(reason);
    }
}

fn link_local(spec: &InterfaceSpec) -> Option<Ipv6Addr> {
    spec.link_local.then(|| Ipv6Addr::from(spec.mac.eui64_link_local()))
}

/// The subnets of an interface, without host bits.
fn connected(spec: &InterfaceSpec) -> impl Iterator<Item = IpNet> + '_ {
    let v4 = spec.v4.iter().filter_map(|(ip, len)| Ipv4Net::new(*ip, *len).ok());
    let v6 = spec.v6.iter().filter_map(|(ip, len)| Ipv6Net::new(*ip, *len).ok());
    v4.map(|net| IpNet::V4(net.trunc())).chain(v6.map(|net| IpNet::V6(net.trunc())))
}

/// The interfaces of one router: a slab, whose indices are used again with another generation.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    slots: Vec<(u32, Option<Interface>)>,
}

impl Interfaces {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Interface> + '_ {
        self.slots.iter().filter_map(|(_, interface)| interface.as_ref())
    }

    #[inline]
    pub(super) fn get(&self, id: InterfaceId) -> Option<&Interface> {
        self.at(id.index).filter(|interface| interface.id == id)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: InterfaceId) -> Option<&mut Interface> {
        self.at_mut(id.index).filter(|interface| interface.id == id)
    }

    #[inline]
    pub(super) fn at(&self, index: u16) -> Option<&Interface> {
        self.slots.get(usize::from(index))?.1.as_ref()
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: u16) -> Option<&mut Interface> {
        self.slots.get_mut(usize::from(index))?.1.as_mut()
    }

    pub(super) fn add(&mut self, spec: InterfaceSpec) -> Result<InterfaceId, RouterError> {
        let free = self.slots.iter().position(|(_, interface)| interface.is_none());
        let index = free.unwrap_or(self.slots.len());
        if index >= INTERFACES_MAX {
            return Err(RouterError::TooManyInterfaces);
        }
        if index == self.slots.len() {
            self.slots.push((0, None));
        }
        let small = u16::try_from(index).map_err(|_| RouterError::TooManyInterfaces)?;
        let Some((generation, place)) = self.slots.get_mut(index) else {
            return Err(RouterError::TooManyInterfaces);
        };
        let id = InterfaceId { index: small, generation: *generation };
        *place = Some(Interface::new(id, spec));
        Ok(id)
    }

    pub(super) fn remove(&mut self, id: InterfaceId) -> Option<Interface> {
        self.get(id)?;
        let (generation, place) = self.slots.get_mut(id.index())?;
        *generation = generation.wrapping_add(1);
        place.take()
    }

    /// Whether a spec makes sense beside the other interfaces.
    pub(super) fn check(
        &self,
        spec: &InterfaceSpec,
        me: Option<InterfaceId>,
    ) -> Result<(), RouterError> {
        if !spec.mac.is_unicast() {
            return Err(RouterError::Mac(spec.mac));
        }
        if spec.mtu < crate::plan::MTU_MIN {
            return Err(RouterError::Mtu(spec.mtu));
        }
        if spec.v4.len() + spec.v6.len() + spec.extra.len() > ADDRESSES_MAX {
            return Err(RouterError::TooManyAddresses);
        }
        let v4 = spec.v4.iter().map(|(ip, len)| (IpAddr::from(*ip), *len, 32));
        let v6 = spec.v6.iter().map(|(ip, len)| (IpAddr::from(*ip), *len, 128));
        for (ip, len, most) in v4.chain(v6) {
            if len > most {
                return Err(RouterError::PrefixLength(ip, len));
            }
            if !is_station(ip) {
                return Err(RouterError::NotUnicast(ip));
            }
        }
        if let Some(ip) = spec.extra.iter().find(|ip| !is_station(**ip)) {
            return Err(RouterError::NotUnicast(*ip));
        }
        for other in self.iter().filter(|other| Some(other.id) != me) {
            for prefix in connected(spec) {
                let clash = connected(&other.spec)
                    .find(|there| there.contains(&prefix) || prefix.contains(there));
                if let Some(other) = clash {
                    return Err(RouterError::Overlap { prefix, other });
                }
            }
        }
        Ok(())
    }
}

/// Whether an address is that of one station.
fn is_station(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.octets()[0] >= 240)
        }
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_loopback() || ip.is_multicast()),
    }
}

/// Adds what an interface has by itself: its addresses, broadcast addresses and subnets. What is
/// there already, as the same subnet of two addresses, stays.
pub(super) fn connect(routes: &mut Routes, id: InterfaceId, spec: &InterfaceSpec) {
    let own = spec.v4.iter().map(|(ip, _)| IpAddr::from(*ip));
    let own = own.chain(spec.v6.iter().map(|(ip, _)| IpAddr::from(*ip)));
    for address in own.chain(spec.extra.iter().copied()) {
        let _ = routes.add(host_prefix(address), Target::Own(id), RouteSource::Connected);
    }
    for net in spec.v4.iter().filter_map(|(ip, len)| Ipv4Net::new(*ip, *len).ok()) {
        // In the longest two prefixes every address is a station's (RFC 3021).
        if net.prefix_len() < 31 {
            for address in [net.network(), net.broadcast()] {
                let prefix = host_prefix(address.into());
                let _ = routes.add(prefix, Target::Broadcast(id), RouteSource::Connected);
            }
        }
    }
    for prefix in connected(spec) {
        let _ = routes.add(prefix, Target::Via(Via::Interface(id)), RouteSource::Connected);
    }
}

/// The Ethernet address of a group that a packet is for.
pub(super) fn group_mac(address: IpAddr) -> Option<MacAddr> {
    match address {
        IpAddr::V4(ip) if ip.is_broadcast() => Some(MacAddr::BROADCAST),
        IpAddr::V4(ip) if ip.is_multicast() => {
            // RFC 1112 section 6.4: the low 23 bits.
            let [_, b, c, d] = ip.octets();
            Some(MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d]))
        }
        IpAddr::V6(ip) if ip.is_multicast() => Some(wire::ndp::multicast_mac(ip)),
        _ => None,
    }
}
