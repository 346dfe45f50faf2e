//! Binding and unbinding: what the owner of the engine calls.

use super::{
    Address, BINDINGS_MAX, BindError, Binding, BindingLimits, BindingSource, EXPIRE_STEP, Entry,
    Lifetime, Owner, Place, binding, host_prefix, is_unicast, overlap,
};
use super::{Bindings, IpAddr, IpNet, MacAddr, Vec};

use crate::bindings::FirstCome;
use crate::engine::Engine;
use crate::event::{BindingEnd, Event};
use crate::port::{Port, PortId};
use crate::role::Role;
use crate::time::Instant;
use crate::vlan::VlanMode;

impl Engine {
    /// Binds an address to a port, in every VLAN; a first use in that of the port's frames without a
    /// tag, or else in the first that it carries. Binding what the port already has gives it the new
    /// source and lifetime, unless its source is stronger: then it stays as it is.
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
        let first = |port: &Port| port.spec.vlan.first();
        let vlan = match source {
            BindingSource::FirstUse => self.ports.get(port).and_then(first),
            BindingSource::Lease | BindingSource::Plan | BindingSource::Configuration => None,
        };
        self.bind_in(port, vlan, address.into(), lifetime, source)
    }

    /// The same, in this VLAN alone or in every one.
    pub(crate) fn bind_in(
        &mut self,
        port: PortId,
        vlan: Option<u16>,
        address: Address,
        lifetime: Lifetime,
        source: BindingSource,
    ) -> Result<(), BindError> {
        let address = normal(address);
        if self.ports.get(port).is_none() {
            return Err(BindError::NoSuchPort(port));
        }
        if !is_unicast(address) {
            return Err(BindError::NotUnicast(address));
        }
        let (place, ends) = match address {
            Address::Mac(mac) => {
                self.check_mac(port, mac)?;
                (Place::first(address), Vec::new())
            }
            Address::Ip(ip) => self.check_ip(port, vlan, ip, source)?,
            Address::Prefix(prefix) => {
                let given = source > BindingSource::FirstUse;
                let ends = self.bindings.check_prefix(port, vlan, prefix, given)?;
                (Place::first(address), ends)
            }
        };
        self.bindings.check_room_at(port, place, source, &ends)?;
        for used in ends {
            self.end_for(used, |owner| owner == port);
        }
        let fresh = self.bindings.set(port, place, vlan, lifetime, source);
        if let Address::Mac(mac) = address {
            self.macs.bind(core::iter::once(mac.as_u64()), port.index);
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

    /// The same of the one that holds in a VLAN.
    pub(crate) fn end_lease_in(&mut self, vlan: u16, address: IpAddr) {
        let source = self.bindings.source_in(vlan, address);
        if source.is_some_and(|(_, source)| source == BindingSource::Lease) {
            self.end_in(vlan, address, BindingEnd::Unbound);
        }
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
        let mut ends = Vec::new();
        for (place, entry) in self.bindings.places(address) {
            let Some(owner) = entry.port else { continue };
            let its = self.owns_mac(owner, mac);
            if its && place.beside.is_none() {
                continue;
            }
            if !its && !entry.is_first_use() {
                return Err(BindError::Taken { address: address.into(), owner });
            }
            // What is kept is kept in every VLAN.
            ends.push(place);
        }
        if let Some(owner) = self.bindings.prefix_in(None, address)
            && !self.owns_mac(owner, mac)
        {
            return Err(BindError::Taken { address: address.into(), owner });
        }
        self.bindings.check_room_for_plan(address)?;
        let owner = self.macs.owner(mac.as_u64());
        for place in ends {
            self.end_for(place, |port| Some(port.index) == owner);
        }
        self.bindings.plan(address, mac);
        Ok(())
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
            Address::Mac(mac) => self.macs.binding_of(mac.as_u64()).map(|port| {
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
            let address = Address::Mac(MacAddr::from_u64(mac));
            self.bindings.entry(address).is_none().then_some(Binding {
                address,
                port: port.and_then(|index| self.port_at(index)),
                planned: None,
                source: BindingSource::Configuration,
                lifetime: Lifetime::Forever,
                vlan: None,
            })
        });
        macs.chain(self.bindings.iter())
    }

    /// What the guard of a port lets it take, in each of its VLANs.
    pub(crate) fn allow_bindings(&mut self, port: PortId, first_come: FirstCome) {
        let vlans = self.ports.get(port).map_or(0, |port| port.spec.vlan.count());
        self.bindings.allow(port, first_come, vlans);
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

    /// Ends what is known of an address in a VLAN.
    pub(crate) fn end_in(&mut self, vlan: u16, ip: IpAddr, why: BindingEnd) -> bool {
        self.bindings.place_in(vlan, ip).is_some_and(|place| self.end_at(place, why))
    }

    /// Ends the first uses, of a port and of an address, that `ended` says.
    pub(crate) fn end_first_uses(&mut self, ended: impl Fn(&Self, PortId, IpAddr) -> bool) {
        let all = self.bindings.table.iter().filter(|(_, _, entry)| entry.is_first_use());
        let ends = all.filter_map(|(_, place, entry)| match (place.address, entry.port) {
            (Address::Ip(ip), Some(port)) if ended(self, port, ip) => Some(*place),
            _ => None,
        });
        let ends: Vec<Place> = ends.collect();
        for place in ends {
            self.end_at(place, BindingEnd::Unbound);
        }
    }

    /// A port is in other VLANs: what it had in those alone that it has left is not its own any more.
    pub(crate) fn end_what_is_elsewhere(&mut self, id: PortId) {
        let Some(port) = self.ports.get(id) else { return };
        let left = |entry: &Entry| {
            let here = entry.vlan.is_none_or(|vlan| port.carries(vlan, false));
            entry.port == Some(id) && !here
        };
        let all = self.bindings.table.iter().filter(|(_, _, entry)| left(entry));
        let ends: Vec<Place> = all.map(|(_, place, _)| *place).collect();
        for place in ends {
            self.end_at(place, BindingEnd::Unbound);
        }
    }

    pub(crate) fn end_binding(&mut self, address: Address, why: BindingEnd) -> bool {
        self.end_at(Place::first(address), why)
    }

    /// Ends what somebody has for what is given now: to another, or, if it is `its`, to the same port.
    fn end_for(&mut self, place: Place, its: impl Fn(PortId) -> bool) {
        let owner = self.bindings.at(&place).and_then(|entry| entry.port);
        let why = if owner.is_some_and(its) { BindingEnd::Unbound } else { BindingEnd::Given };
        self.end_at(place, why);
    }

    fn end_at(&mut self, place: Place, why: BindingEnd) -> bool {
        let address = place.address;
        let Some((port, vlan)) = self.bindings.clear(place) else { return false };
        if let Address::Mac(mac) = address {
            let owned = self.ports.get(port).is_some_and(|port| port.owns(mac));
            if !owned && self.macs.owner(mac.as_u64()) == Some(port.index) {
                self.macs.unbind(mac.as_u64());
            }
            if let Some(port) = self.ports.get_mut(port) {
                port.own = 0;
            }
        }
        self.events.push(Event::BindingEnded { port, address, vlan, why });
        true
    }

    fn owns_mac(&self, port: PortId, mac: MacAddr) -> bool {
        self.macs.owner(mac.as_u64()) == Some(port.index)
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
        match self.router_vlan() {
            Some(vid) => self.bindings.owner_in(vid, ip).0,
            None => self.bindings.owner_of_ip(ip),
        }
    }

    /// The VLAN of the network's router, if there is one and it has one.
    #[must_use]
    pub fn router_vlan(&self) -> Option<u16> {
        let mut servers = self.servers.iter().filter_map(|&index| self.ports.at(index));
        let router = servers.find(|port| port.spec.role == Role::Router)?;
        match router.spec.vlan {
            VlanMode::Access(vid) => Some(vid),
            VlanMode::Trunk { native, .. } => native,
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

    /// Whether an address is free for a port, in a VLAN or in every one: where it is to stand, and what
    /// has to end for it, which is what others, or the port itself beside others, have by first use.
    fn check_ip(
        &self,
        port: PortId,
        vlan: Option<u16>,
        ip: IpAddr,
        source: BindingSource,
    ) -> Result<(Place, Vec<Place>), BindError> {
        let address = Address::Ip(ip);
        let given = source > BindingSource::FirstUse;
        let (mut ends, mut its) = (Vec::new(), None);
        // Whether somebody stands first who stays there.
        let mut first = false;
        for (place, entry) in self.bindings.places(ip) {
            let meets = entry.holds_in(vlan);
            match entry.port {
                None => {}
                Some(owner) if owner != port && meets => {
                    if !(given && entry.is_first_use()) {
                        return Err(BindError::Taken { address, owner });
                    }
                    ends.push(place);
                }
                // Where it had it beside others it has it everywhere now.
                Some(owner) if owner == port && vlan.is_none() && place.beside.is_some() => {
                    ends.push(place);
                }
                Some(owner) if owner == port && meets => its = Some(place),
                Some(_) => first |= place.beside.is_none(),
            }
        }
        let entry = self.bindings.entry(address);
        if let Some(mac) = entry.and_then(|entry| entry.planned)
            && !self.owns_mac(port, mac)
        {
            return Err(BindError::Planned { address, mac });
        }
        if let Some(owner) = self.bindings.prefix_in(vlan, ip).filter(|owner| *owner != port) {
            return Err(BindError::Taken { address, owner });
        }
        let fresh = Place { address, beside: vlan.filter(|_| first) };
        Ok((its.unwrap_or(fresh), ends))
    }
}

impl Bindings {
    /// Whether the prefix is free for a port. What other ports have of it by first use is in nobody's
    /// way if the prefix is `given`, and returned. Prefixes overlap in no VLAN.
    fn check_prefix(
        &self,
        port: PortId,
        vlan: Option<u16>,
        prefix: IpNet,
        given: bool,
    ) -> Result<Vec<Place>, BindError> {
        let address = Address::Prefix(prefix);
        let mut used = Vec::new();
        for (_, known, entry) in self.table.iter() {
            let is_ip = match known.address {
                Address::Ip(ip) if prefix.contains(&host_prefix(ip)) => true,
                Address::Prefix(other) if overlap(prefix, other) => false,
                _ => continue,
            };
            if is_ip && !entry.holds_in(vlan) {
                continue;
            }
            match *entry {
                Entry { port: Some(owner), .. } if owner != port => {
                    if !(given && is_ip && entry.is_first_use()) {
                        return Err(BindError::Taken { address, owner });
                    }
                    used.push(*known);
                }
                Entry { port: None, planned: Some(mac), .. } => {
                    return Err(BindError::Planned { address, mac });
                }
                _ => {}
            }
        }
        Ok(used)
    }

    fn at(&self, place: &Place) -> Option<&Entry> {
        self.table.at(self.table.find(place)?).map(|(_, entry)| entry)
    }

    /// Whether a binding of this source fits in at a place, once what stands at those of `ends` has
    /// ended.
    fn check_room_at(
        &self,
        port: PortId,
        place: Place,
        source: BindingSource,
        ends: &[Place],
    ) -> Result<(), BindError> {
        let counts = |place: &Place| self.at(place).is_some_and(|old| old.grows_for(port));
        if source.grows() && !counts(&place) && !ends.iter().any(counts) {
            self.check_room(port, place)?;
        }
        if self.at(&place).is_none() && self.table.len().saturating_sub(ends.len()) >= BINDINGS_MAX
        {
            return Err(BindError::TableFull);
        }
        Ok(())
    }

    /// Binds what the caller has found to be free and to fit in. True if the port did not have it
    /// before.
    fn set(
        &mut self,
        port: PortId,
        place: Place,
        vlan: Option<u16>,
        lifetime: Lifetime,
        source: BindingSource,
    ) -> bool {
        let address = place.address;
        let number = self.table.find(&place);
        let old = number.and_then(|number| self.table.at(number)).map(|(_, entry)| *entry);
        let had = old.filter(|old| old.port == Some(port));
        if had.is_some_and(|old| old.source > source) {
            return false;
        }
        let planned = old.and_then(|old| old.planned);
        // What a server in one VLAN gives takes nothing from what the network gave in all.
        let leased_here = source == BindingSource::Lease && vlan.is_some();
        let is_networks = |old: Entry| {
            old.vlan.is_none()
                && match old.source {
                    // Its own, or the plan's address that such a server gave before.
                    BindingSource::Lease => old.got_in.is_none(),
                    _ => planned.is_some(),
                }
        };
        if leased_here && had.is_some_and(is_networks) {
            return false;
        }
        let counted = had.is_some_and(|old| old.source.grows());
        // What is planned, or is the port's in every VLAN, is so whoever gives it as well.
        let everywhere = planned.is_some() || had.is_some_and(|old| old.vlan.is_none());
        let got_in = vlan;
        let vlan = vlan.filter(|_| !everywhere);
        let entry = Entry { port: Some(port), planned, source, lifetime, vlan, got_in };
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
            (false, true) => self.count_in(port, place),
            (true, false) => self.count_out(port, place),
            _ => {}
        }
        // Who asked in another VLAN, or from outside, got another answer.
        if had.is_none_or(|old| (old.vlan, old.source) != (vlan, source)) {
            self.generation = self.generation.wrapping_add(1);
        }
        if had.is_none() {
            match address {
                Address::Prefix(prefix) => {
                    self.prefixes.insert(prefix, number);
                }
                Address::Ip(ip) => {
                    self.alike(port, ip).into_iter().for_each(|count| *count += 1);
                    self.beside.extend(place.beside.map(|vlan| (ip, vlan)));
                }
                Address::Mac(_) => {}
            }
        }
        had.is_none()
    }

    /// Ends the binding of an address to a port, and tells the port, and the VLAN if it was for one.
    fn clear(&mut self, place: Place) -> Option<(PortId, Option<u16>)> {
        let address = place.address;
        let number = self.table.find(&place)?;
        let (_, entry) = self.table.at_mut(number)?;
        let old = *entry;
        let port = old.port?;
        if old.planned.is_some() {
            entry.port = None;
            entry.source = BindingSource::Plan;
            entry.lifetime = Lifetime::Forever;
            entry.vlan = None;
            entry.got_in = None;
        } else {
            self.table.remove(&place);
        }
        if let Lifetime::Until(at) = old.lifetime {
            self.timers.remove(&(at, number));
        }
        if old.source.grows() {
            self.count_out(port, place);
        }
        match address {
            Address::Prefix(prefix) => {
                self.prefixes.remove(prefix);
            }
            Address::Ip(ip) => {
                let count = self.alike(port, ip);
                count.into_iter().for_each(|count| *count = count.saturating_sub(1));
                if let Some(vlan) = place.beside {
                    self.beside.remove(&(ip, vlan));
                }
            }
            Address::Mac(_) => {}
        }
        self.generation = self.generation.wrapping_add(1);
        Some((port, old.vlan))
    }

    /// Whether the plan of an address fits in.
    fn check_room_for_plan(&self, address: IpAddr) -> Result<(), BindError> {
        let known = self.entry(Address::Ip(address)).is_some();
        if known || self.table.len() < BINDINGS_MAX { Ok(()) } else { Err(BindError::TableFull) }
    }

    /// Plans what the caller has found to be free and to fit in.
    fn plan(&mut self, address: IpAddr, mac: MacAddr) {
        self.generation = self.generation.wrapping_add(1);
        let address = Place::first(Address::Ip(address));
        if let Some(number) = self.table.find(&address) {
            if let Some((_, entry)) = self.table.at_mut(number) {
                entry.planned = Some(mac);
                entry.vlan = None;
            }
            return;
        }
        let (source, lifetime) = (BindingSource::Plan, Lifetime::Forever);
        let planned = Some(mac);
        let entry = Entry { port: None, planned, source, lifetime, vlan: None, got_in: None };
        self.table.insert(address, entry);
    }

    /// Ends a plan. Who came for it and has it for no other reason has it from now on in the VLAN in which he
    /// came.
    fn unplan(&mut self, address: IpAddr) {
        let address = Place::first(Address::Ip(address));
        let Some(number) = self.table.find(&address) else { return };
        let Some((_, entry)) = self.table.at_mut(number) else { return };
        entry.planned = None;
        if entry.source.grows() {
            entry.vlan = entry.got_in;
        }
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
