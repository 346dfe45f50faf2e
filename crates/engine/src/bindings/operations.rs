//! Binding and unbinding: what the owner of the engine calls.

use super::{
    Address, BINDINGS_MAX, BindError, Binding, BindingLimits, BindingSource, EXPIRE_STEP, Entry,
    Lifetime, Owner, Place, binding, host_prefix, is_unicast, overlap,
};
use super::{Bindings, IpAddr, IpNet, MacAddr, Vec};
use crate::engine::{Engine, mac_addr, mac_bits};
use crate::event::{BindingEnd, Event};
use crate::guard::Role;
use crate::port::PortId;
use crate::time::Instant;
use crate::vlan::VlanMode;

impl Engine {
    /// Binds an address to a port. Binding what the port already has gives it the new lifetime, and
    /// the stronger of the two sources.
    ///
    /// # Errors
    ///
    /// The port is gone, a bound is met, or the address is not free; nothing is changed. A planned
    /// address is free for a port that owns the MAC address that it is planned for, and one that
    /// another port has by first use is free for every other source.
    pub fn bind(
        &mut self,
        port: PortId,
        address: impl Into<Address>,
        lifetime: Lifetime,
        source: BindingSource,
    ) -> Result<(), BindError> {
        let address = normal(address.into());
        if self.ports.get(port).is_none() {
            return Err(BindError::NoSuchPort(port));
        }
        if !is_unicast(address) {
            return Err(BindError::NotUnicast(address));
        }
        let mut place = Place::first(address);
        match address {
            Address::Mac(mac) => self.check_mac(port, mac)?,
            Address::Ip(ip) if source > BindingSource::FirstUse => {
                self.end_first_use(ip, |owner| owner == port);
                self.check_ip(port, ip)?;
            }
            Address::Ip(ip) => place.beside = self.check_first_use(port, ip)?,
            Address::Prefix(prefix) => {
                let given = source > BindingSource::FirstUse;
                for (owner, ip) in self.bindings.check_prefix(port, prefix, given)? {
                    self.end_its(owner, ip, BindingEnd::Given);
                }
            }
        }
        let fresh = self.bindings.set(port, place, lifetime, source)?;
        if let Address::Mac(mac) = address {
            self.macs.bind(core::iter::once(mac_bits(mac)), port.index);
        }
        if fresh {
            self.events.push(Event::BindingMade { port, address, source });
        }
        Ok(())
    }

    /// Ends a binding. A planned address stays planned. False if there was no such binding; the
    /// addresses of [`PortSpec::macs`](crate::PortSpec::macs) are none.
    pub fn unbind(&mut self, address: impl Into<Address>) -> bool {
        self.end_binding(normal(address.into()), BindingEnd::Unbound)
    }

    /// Ends the binding of an address if it is a lease: what a port has by another right, it keeps.
    /// False if it is none.
    pub fn end_lease(&mut self, address: IpAddr) -> bool {
        let leased = self
            .bindings
            .entry(Address::Ip(address))
            .is_some_and(|entry| entry.source == BindingSource::Lease);
        leased && self.unbind(address)
    }

    /// Keeps an IP address for the guest with this MAC address: no port but one that owns the MAC
    /// address can have it, now or while the guest is away. Whoever has it by first use loses it.
    ///
    /// # Errors
    ///
    /// The address is no station's, a port without that MAC address was given it, or the table is
    /// full.
    pub fn plan_address(&mut self, address: IpAddr, mac: MacAddr) -> Result<(), BindError> {
        if !is_unicast(address.into()) {
            return Err(BindError::NotUnicast(address.into()));
        }
        let bits = mac_bits(mac);
        let owner = self.macs.owner(bits);
        self.end_first_use(address, |port| owner == Some(port.index));
        if let Some(Owner::Port(owner)) = self.bindings.owner_of_ip(address)
            && !self.owns_mac(owner, mac)
        {
            return Err(BindError::Taken { address: address.into(), owner });
        }
        self.bindings.plan(address, mac)
    }

    /// Ends the plan of [`Self::plan_address`]. A port that has the address keeps it.
    pub fn unplan_address(&mut self, address: IpAddr) {
        self.bindings.unplan(address);
    }

    /// Whose an address is, as the network's router has it where several have it in VLANs of their own; for
    /// a prefix, who has exactly that prefix.
    #[must_use]
    pub fn owner_of(&self, address: impl Into<Address>) -> Option<Owner> {
        let address = normal(address.into());
        match address {
            Address::Ip(ip) => self.owner_at_router(ip),
            Address::Mac(mac) => self.macs.binding_of(mac_bits(mac)).map(|port| {
                port.and_then(|index| self.port_at(index)).map_or(Owner::Reserved, Owner::Port)
            }),
            Address::Prefix(_) => self.bindings.entry(address)?.port.map(Owner::Port),
        }
    }

    /// The binding of an IP address itself, not of a prefix that it is in; with no port while it is only
    /// planned.
    #[must_use]
    pub fn binding_of(&self, address: IpAddr) -> Option<Binding> {
        let address = Address::Ip(address);
        self.bindings.entry(address).map(|entry| binding(address, entry))
    }

    /// Every binding, in no order: Ethernet addresses that ports own or that are reserved, IP
    /// addresses with their plans, prefixes. Learned Ethernet addresses are in
    /// [`Self::mac_table`].
    pub fn bindings(&self) -> impl Iterator<Item = Binding> + '_ {
        let macs = self.macs.bound_rows().filter_map(|(mac, port)| {
            let address = Address::Mac(mac_addr(mac));
            self.bindings.entry(address).is_none().then_some(Binding {
                address,
                port: port.and_then(|index| self.port_at(index)),
                planned: None,
                source: BindingSource::Configuration,
                lifetime: Lifetime::Forever,
            })
        });
        macs.chain(self.bindings.iter())
    }

    /// Changes how many bindings guests can make. What is there stays.
    pub fn set_binding_limits(&mut self, limits: BindingLimits) {
        self.bindings.configure(limits, self.network.ports);
    }

    /// Ends what has expired, a bounded number.
    pub(crate) fn expire_bindings(&mut self, now: Instant) {
        for _ in 0..EXPIRE_STEP {
            let Some(&(at, number)) = self.bindings.timers.first() else { return };
            if at > now {
                return;
            }
            match self.bindings.table.at(number) {
                Some(&(place, _)) => {
                    self.end_at(place, BindingEnd::Expired);
                }
                None => {
                    self.bindings.timers.remove(&(at, number));
                }
            }
        }
    }

    /// Ends the bindings of a port that goes.
    pub(crate) fn end_bindings_of(&mut self, port: PortId) {
        let all = self.bindings.table.iter();
        let its: Vec<Place> = all
            .filter(|(_, _, entry)| entry.port == Some(port))
            .map(|(_, place, _)| *place)
            .collect();
        for place in its {
            self.end_at(place, BindingEnd::PortRemoved);
        }
    }

    /// What was only used first gives way to who is given the address, unless he has it.
    fn end_first_use(&mut self, ip: IpAddr, is_his: impl Fn(PortId) -> bool) {
        if let Some(Owner::Port(owner)) = self.bindings.owner_of_ip(ip)
            && !is_his(owner)
            && self.bindings.is_first_use(ip)
        {
            self.end_binding(Address::Ip(ip), BindingEnd::Given);
        }
        // What was given is whose it is in every VLAN.
        let beside: Vec<PortId> = self.bindings.beside(ip).collect();
        for port in beside {
            let place = Place { address: ip.into(), beside: Some(port) };
            self.end_at(place, BindingEnd::Given);
        }
    }

    /// Ends what a port has of an address, be it beside others.
    pub(crate) fn end_its(&mut self, port: PortId, ip: IpAddr, why: BindingEnd) -> bool {
        let beside = self.bindings.is_beside(port, ip).then_some(port);
        self.end_at(Place { address: ip.into(), beside }, why)
    }

    pub(crate) fn end_binding(&mut self, address: Address, why: BindingEnd) -> bool {
        self.end_at(Place::first(address), why)
    }

    fn end_at(&mut self, place: Place, why: BindingEnd) -> bool {
        let address = place.address;
        let Some(port) = self.bindings.clear(place) else { return false };
        if let Address::Mac(mac) = address {
            let owned = self.ports.get(port).is_some_and(|port| port.owns(mac));
            if !owned && self.macs.owner(mac_bits(mac)) == Some(port.index) {
                self.macs.unbind(mac_bits(mac));
            }
            if let Some(port) = self.ports.get_mut(port) {
                port.own = 0;
            }
        }
        self.events.push(Event::BindingEnded { port, address, why });
        true
    }

    fn owns_mac(&self, port: PortId, mac: MacAddr) -> bool {
        self.macs.owner(mac_bits(mac)) == Some(port.index)
    }

    fn check_mac(&self, port: PortId, mac: MacAddr) -> Result<(), BindError> {
        match self.owner_of(mac) {
            Some(Owner::Port(owner)) if owner != port => {
                Err(BindError::Taken { address: mac.into(), owner })
            }
            Some(Owner::Reserved) => Err(BindError::Reserved(mac)),
            _ => Ok(()),
        }
    }

    fn owner_at_router(&self, ip: IpAddr) -> Option<Owner> {
        if self.bindings.beside.is_empty() {
            return self.bindings.owner_of_ip(ip);
        }
        let servers = self.servers.iter().filter_map(|&index| self.ports.at(index));
        let router = servers.clone().find(|port| port.spec.role == Role::Router);
        match router.map(|port| &port.spec.vlan) {
            Some(VlanMode::Access(vid) | VlanMode::Trunk { native: Some(vid), .. }) => {
                self.owner_in(*vid, ip).0
            }
            _ => self.bindings.owner_of_ip(ip),
        }
    }

    /// Whose an address is in a VLAN, and for whom it is planned.
    pub(crate) fn owner_in(&self, vid: u16, ip: IpAddr) -> (Option<Owner>, Option<MacAddr>) {
        self.owner_of_known(vid, ip, self.bindings.owner_and_plan(ip))
    }

    /// The same, where it is known who stands first in the table.
    pub(crate) fn owner_of_known(
        &self,
        vid: u16,
        ip: IpAddr,
        known: (Option<Owner>, Option<MacAddr>),
    ) -> (Option<Owner>, Option<MacAddr>) {
        let carries =
            |port: PortId| self.ports.get(port).is_some_and(|port| port.carries(vid, false));
        let beside = || self.bindings.beside(ip).find(|port| carries(*port)).map(Owner::Port);
        match known {
            (None, _) if self.bindings.beside.is_empty() => (None, None),
            (None, _) => (beside(), None),
            (Some(Owner::Port(port)), None) if !carries(port) && self.bindings.is_first_use(ip) => {
                (beside(), None)
            }
            known => known,
        }
    }

    /// Whether two ports exchange frames of some VLAN.
    #[must_use]
    pub fn share_vlan(&self, one: PortId, other: PortId) -> bool {
        let (Some(one), Some(other)) = (self.ports.get(one), self.ports.get(other)) else {
            return false;
        };
        one.spec.vlan.meets(&other.spec.vlan)
    }

    /// Whether a port may use an address first, and if it is to have it beside others.
    fn check_first_use(&self, port: PortId, ip: IpAddr) -> Result<Option<PortId>, BindError> {
        let address = Address::Ip(ip);
        if self.bindings.is_beside(port, ip) {
            return Ok(Some(port));
        }
        let taken = |owner| Err(BindError::Taken { address, owner });
        let met = self.bindings.beside(ip).find(|other| self.share_vlan(*other, port));
        if let Some(owner) = met {
            return taken(owner);
        }
        match self.bindings.owner_of_ip(ip) {
            Some(Owner::Port(owner)) if owner != port && self.bindings.is_first_use(ip) => {
                if self.share_vlan(owner, port) {
                    return taken(owner);
                }
                Ok(Some(port))
            }
            _ => self.check_ip(port, ip).map(|()| None),
        }
    }

    fn check_ip(&self, port: PortId, ip: IpAddr) -> Result<(), BindError> {
        let address = Address::Ip(ip);
        let entry = self.bindings.entry(address);
        if let Some(owner) = entry.and_then(|entry| entry.port).filter(|owner| *owner != port) {
            return Err(BindError::Taken { address, owner });
        }
        if let Some(mac) = entry.and_then(|entry| entry.planned)
            && !self.owns_mac(port, mac)
        {
            return Err(BindError::Planned { address, mac });
        }
        match self.bindings.prefix_of(ip) {
            Some(owner) if owner != port => Err(BindError::Taken { address, owner }),
            _ => Ok(()),
        }
    }
}

impl Bindings {
    /// Whether the prefix is free for a port. What other ports have of it by first use is in nobody's
    /// way if the prefix is `given`, and returned.
    fn check_prefix(
        &self,
        port: PortId,
        prefix: IpNet,
        given: bool,
    ) -> Result<Vec<(PortId, IpAddr)>, BindError> {
        let address = Address::Prefix(prefix);
        let mut used = Vec::new();
        for (_, known, entry) in self.table.iter() {
            let ip = match known.address {
                Address::Ip(ip) if prefix.contains(&host_prefix(ip)) => Some(ip),
                Address::Prefix(other) if overlap(prefix, other) => None,
                _ => continue,
            };
            match *entry {
                Entry {
                    port: Some(owner), source: BindingSource::FirstUse, planned: None, ..
                } if owner != port && given && ip.is_some() => {
                    used.extend(ip.map(|ip| (owner, ip)));
                }
                Entry { port: Some(owner), .. } if owner != port => {
                    return Err(BindError::Taken { address, owner });
                }
                Entry { port: None, planned: Some(mac), .. } => {
                    return Err(BindError::Planned { address, mac });
                }
                _ => {}
            }
        }
        Ok(used)
    }

    /// Binds what the caller has found to be free. True if the port did not have it before.
    fn set(
        &mut self,
        port: PortId,
        place: Place,
        lifetime: Lifetime,
        source: BindingSource,
    ) -> Result<bool, BindError> {
        let address = place.address;
        let number = self.table.find(&place);
        let old = number.and_then(|number| self.table.at(number)).map(|(_, entry)| *entry);
        let had = old.filter(|old| old.port == Some(port));
        let source = had.map_or(source, |old| old.source.max(source));
        let counted = had.is_some_and(|old| old.source.grows());
        if source.grows() && !counted {
            self.check_room(port)?;
        }
        if number.is_none() && self.table.len() >= BINDINGS_MAX {
            return Err(BindError::TableFull);
        }
        let entry =
            Entry { port: Some(port), planned: old.and_then(|old| old.planned), source, lifetime };
        let number = match number {
            Some(number) => {
                if let Some((_, known)) = self.table.at_mut(number) {
                    *known = entry;
                }
                number
            }
            None => self.table.insert(place, entry),
        };
        if let Some(Lifetime::Until(at)) = old.map(|old| old.lifetime) {
            self.timers.remove(&(at, number));
        }
        if let Lifetime::Until(at) = lifetime {
            self.timers.insert((at, number));
        }
        match (counted, source.grows()) {
            (false, true) => self.count_in(port),
            (true, false) => self.count_out(port),
            _ => {}
        }
        if had.is_none() {
            self.generation = self.generation.wrapping_add(1);
            match address {
                Address::Prefix(prefix) => {
                    self.prefixes.insert(prefix, number);
                }
                Address::Ip(ip) => {
                    self.alike(port, ip).into_iter().for_each(|count| *count += 1);
                    self.beside.extend(place.beside.map(|port| (ip, port)));
                }
                Address::Mac(_) => {}
            }
        }
        Ok(had.is_none())
    }

    /// Ends the binding of an address to a port, and tells the port.
    fn clear(&mut self, place: Place) -> Option<PortId> {
        let address = place.address;
        let number = self.table.find(&place)?;
        let (_, entry) = self.table.at_mut(number)?;
        let old = *entry;
        let port = old.port?;
        if old.planned.is_some() {
            entry.port = None;
            entry.source = BindingSource::Plan;
            entry.lifetime = Lifetime::Forever;
        } else {
            self.table.remove(&place);
        }
        if let Lifetime::Until(at) = old.lifetime {
            self.timers.remove(&(at, number));
        }
        if old.source.grows() {
            self.count_out(port);
        }
        match address {
            Address::Prefix(prefix) => {
                self.prefixes.remove(prefix);
            }
            Address::Ip(ip) => {
                let count = self.alike(port, ip);
                count.into_iter().for_each(|count| *count = count.saturating_sub(1));
                if let Some(port) = place.beside {
                    self.beside.remove(&(ip, port));
                }
            }
            Address::Mac(_) => {}
        }
        self.generation = self.generation.wrapping_add(1);
        Some(port)
    }

    fn plan(&mut self, address: IpAddr, mac: MacAddr) -> Result<(), BindError> {
        self.generation = self.generation.wrapping_add(1);
        let address = Place::first(Address::Ip(address));
        if let Some(number) = self.table.find(&address) {
            if let Some((_, entry)) = self.table.at_mut(number) {
                entry.planned = Some(mac);
            }
            return Ok(());
        }
        if self.table.len() >= BINDINGS_MAX {
            return Err(BindError::TableFull);
        }
        let (source, lifetime) = (BindingSource::Plan, Lifetime::Forever);
        self.table.insert(address, Entry { port: None, planned: Some(mac), source, lifetime });
        Ok(())
    }

    fn unplan(&mut self, address: IpAddr) {
        let address = Place::first(Address::Ip(address));
        let Some(number) = self.table.find(&address) else { return };
        let Some((_, entry)) = self.table.at_mut(number) else { return };
        entry.planned = None;
        if entry.port.is_none() {
            self.table.remove(&address);
        }
        self.generation = self.generation.wrapping_add(1);
    }
}

/// A prefix without host bits; anything else as it is.
fn normal(address: Address) -> Address {
    match address {
        Address::Prefix(prefix) => Address::Prefix(prefix.trunc()),
        other => other,
    }
}
