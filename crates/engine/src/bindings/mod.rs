//! Which IP address belongs to which port.
//!
//! # Theory of operation
//!
//! A *binding* says that an address belongs to a port, where that is known from (its *source*) and
//! until when. The guard asks for it at every new source address of a port, the router before it
//! believes an answer about a neighbour, and the owner of the engine makes and ends bindings: from
//! the configuration, from leases, and, for ports that may, from what they used first.
//!
//! Invariants:
//!
//! * An address has at most one owner in a VLAN. Binding it to another port is refused, never a
//!   take-over; that holds across an address and a prefix that contains it, and across overlapping
//!   prefixes. But what a port has only by first use, nobody gave it: a lease, a plan or the
//!   configuration end that, or whoever computes which address a guest will be given could keep it out.
//! * An address may be *planned* for a MAC address: then only a port that owns that MAC address can
//!   have it, whether its guest is there or away.
//! * What was used first is its port's in the VLAN in which it was used (RFC 4007: link-local addresses
//!   are a link's), and what a server outside gave is in the server's VLAN: behind another there may be
//!   somebody else's network, which numbers its machines alike. Who has an address in another VLAN
//!   than those who had it before has it *beside* them. What the network itself gave is its port's in
//!   every VLAN.
//! * A weaker source takes nothing from a stronger one, its lifetime least of all: a lease of an address
//!   that the configuration gave ends when it likes.
//! * Ethernet addresses are in the MAC table, which was there first; binding one puts it there, and
//!   the listing here shows them.
//! * What guests can make grow (leases and first use) is bounded for each port and in total, and
//!   each port is sure of its share of the total, as in the MAC table. Configuration and plans are
//!   bounded by [`BINDINGS_MAX`] alone.
//! * A binding ends when its time is over, when it is unbound, and when its port goes. Every end is
//!   an [`Event::BindingEnded`](crate::Event::BindingEnded).
//!
//! Look-ups hash with a key that guests do not know. [`Bindings::generation`] changes whenever an
//! owner does, so that the frame path can remember an answer and compare one number.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use wire::MacAddr;

pub use first_come::{FIRST_COME_MAX, FirstCome};

use crate::keyed_slab::{KeyedSlab, Number};
use crate::port::PortId;
use crate::prefix_map::PrefixMap;
use crate::time::Instant;

mod first_come;
mod operations;
#[cfg(test)]
mod tests;

/// The most bindings and planned addresses of one network, whatever their source.
pub const BINDINGS_MAX: usize = 1 << 18;

/// Bindings that a port may have for each of its VLANs but one, beyond those that count: as many as the usual
/// first-come addresses of one version.
pub const PER_VLAN: u32 = 8;

/// VLANs of one port for which that is.
const VLANS_MAX: u32 = 256;

/// How many bindings one step of the expiry ends.
const EXPIRE_STEP: usize = 256;

/// What can be bound to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An Ethernet address, in every VLAN.
    Mac(MacAddr),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// Every address of a prefix that is routed to the port.
    Prefix(IpNet),
}

/// An IP address is looked for in every frame that the guard looks into, so it is hashed as few words:
/// a third of the time of the derived form, which writes the number of each choice and each length.
impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match *self {
            Self::Ip(IpAddr::V4(ip)) => state.write_u32(ip.to_bits()),
            Self::Ip(IpAddr::V6(ip)) => {
                let bits = ip.to_bits();
                state.write_u64((bits >> 64) as u64);
                state.write_u64(bits as u64);
            }
            Self::Mac(mac) => mac.hash(state),
            Self::Prefix(prefix) => prefix.hash(state),
        }
    }
}

impl From<MacAddr> for Address {
    fn from(mac: MacAddr) -> Self {
        Self::Mac(mac)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::Ip(address.into())
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::Ip(address.into())
    }
}

impl From<IpNet> for Address {
    fn from(prefix: IpNet) -> Self {
        Self::Prefix(prefix)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => mac.fmt(f),
            Self::Ip(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

/// Where a binding is known from, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindingSource {
    /// The port used the address first.
    FirstUse,
    /// The network's own services gave it to the guest for a time.
    Lease,
    /// It follows from the names of guest and network.
    Plan,
    /// It stands in the configuration, or was asked for when the port was made.
    Configuration,
}

impl BindingSource {
    /// The source as one word: `first-use`, `lease`, `plan`, `configuration`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstUse => "first-use",
            Self::Lease => "lease",
            Self::Plan => "plan",
            Self::Configuration => "configuration",
        }
    }

    /// Whether guests can make such bindings at will, so that they count against the bounds.
    const fn grows(self) -> bool {
        matches!(self, Self::FirstUse | Self::Lease)
    }
}

/// How long a binding holds, if its port lives that long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// Until this moment.
    Until(Instant),
    /// As long as the port.
    Forever,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// What is bound.
    pub address: Address,
    /// The port that has it; `None` while its guest is away.
    pub port: Option<PortId>,
    /// For whom it is planned, if it is.
    pub planned: Option<MacAddr>,
    /// Where it is known from.
    pub source: BindingSource,
    /// How long it holds.
    pub lifetime: Lifetime,
    /// The VLAN in which it holds; `None`: in every one.
    pub vlan: Option<u16>,
}

/// Whose an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A port has it.
    Port(PortId),
    /// It is kept for the guest with this MAC address, which is away.
    Planned(MacAddr),
    /// It is an Ethernet address that is reserved for a guest that is away.
    Reserved,
}

/// Why an address could not be bound. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// See the text.
    #[error("port {0} does not exist any more")]
    NoSuchPort(PortId),
    /// See the text.
    #[error("{address} already belongs to port {owner}: choose another address")]
    Taken {
        /// What was to be bound.
        address: Address,
        /// The port that has it, or an address or a prefix that overlaps with it.
        owner: PortId,
    },
    /// See the text.
    #[error("{address} is kept for the guest with the address {mac}: choose another one")]
    Planned {
        /// What was to be bound.
        address: Address,
        /// For whom it is kept.
        mac: MacAddr,
    },
    /// See the text.
    #[error("{0} is reserved for a guest that is away: choose another address")]
    Reserved(MacAddr),
    /// See the text.
    #[error("{0} cannot belong to one port: it is not an address of a single station")]
    NotUnicast(Address),
    /// See the text.
    #[error("port {port} already has {limit} addresses of its own choice, as many as it may")]
    PortLimit {
        /// The port.
        port: PortId,
        /// What it may have.
        limit: u32,
    },
    /// See the text.
    #[error("the network's table of bindings is full: raise its limit, or remove guests")]
    TableFull,
}

/// How many bindings guests can make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingLimits {
    /// Leases and first uses that one port may have. One whose guard lets it take more than the
    /// usual first-come addresses ([`FirstCome`]) may have as many more. An address that it has in several
    /// VLANs counts once; all in all it may have [`PER_VLAN`] more bindings for each VLAN but the first.
    pub per_port: u32,
    /// Leases and first uses that all ports together may have. Half of them are shared out among
    /// the ports that the network may have.
    pub total: u32,
}

impl Default for BindingLimits {
    fn default() -> Self {
        Self { per_port: 32, total: 16_384 }
    }
}

/// Where an address stands in the table: first, or beside others in this VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    address: Address,
    beside: Option<u16>,
}

impl Place {
    const fn first(address: Address) -> Self {
        Self { address, beside: None }
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.address.hash(state);
        if let Some(vlan) = self.beside {
            state.write_u16(vlan);
        }
    }
}

/// What the table knows of an address.
#[derive(Clone, Copy, Debug)]
struct Entry {
    port: Option<PortId>,
    planned: Option<MacAddr>,
    source: BindingSource,
    lifetime: Lifetime,
    /// The VLAN in which the port has it; in every one if there is none.
    vlan: Option<u16>,
    /// The VLAN in which the port would have it if it were not planned.
    got_in: Option<u16>,
}

impl Entry {
    /// Whether a port has it because it used it first or because it was leased to it.
    fn grows_for(&self, port: PortId) -> bool {
        self.port == Some(port) && self.source.grows()
    }
}

impl Entry {
    /// The port has it because it used it first, and for no better reason.
    fn is_first_use(&self) -> bool {
        self.port.is_some() && self.planned.is_none() && self.source == BindingSource::FirstUse
    }

    /// Whether it holds in a VLAN, or in one of all if none is named.
    fn holds_in(&self, vlan: Option<u16>) -> bool {
        self.vlan.is_none() || vlan.is_none() || self.vlan == vlan
    }
}

/// What a port may have beyond what every port may.
#[derive(Clone, Copy, Debug, Default)]
struct Extra {
    /// Addresses and prefixes.
    distinct: u32,
    /// Bindings of the same ones in other VLANs.
    again: u32,
}

/// The bindings of one network.
#[derive(Debug)]
pub(crate) struct Bindings {
    table: KeyedSlab<Place, Entry>,
    /// The VLANs in which somebody has an address beside others.
    beside: BTreeSet<(IpAddr, u16)>,
    /// The numbers of the entries of bound prefixes, of which a configuration may have thousands: the
    /// longest with an address in it says whose that is.
    prefixes: PrefixMap,
    /// What ends when, by the number of its entry.
    timers: BTreeSet<(Instant, Number)>,
    /// How many leases and first uses each port has, by its index.
    per_port: Vec<u32>,
    /// Of how many addresses and prefixes these are, by its index.
    distinct: Vec<u32>,
    /// What it may have beyond what every port may, by its index.
    extra: Vec<Extra>,
    /// How many addresses of each kind (see [`kind`]) each port has, whatever their source, by its
    /// index.
    addresses: Vec<[u32; KINDS]>,
    limits: BindingLimits,
    /// What each port is sure of.
    share: u32,
    /// How many of these bindings are beyond the shares.
    beyond: u32,
    generation: u32,
}

impl Bindings {
    pub(crate) fn new(hash_key: &[u8; 16], ports: usize) -> Self {
        let mut bindings = Self {
            table: KeyedSlab::new(hash_key),
            beside: BTreeSet::new(),
            prefixes: PrefixMap::default(),
            timers: BTreeSet::new(),
            per_port: Vec::new(),
            distinct: Vec::new(),
            extra: Vec::new(),
            addresses: Vec::new(),
            limits: BindingLimits::default(),
            share: 0,
            beyond: 0,
            generation: 0,
        };
        bindings.configure(BindingLimits::default(), ports);
        bindings
    }

    /// New limits. What is beyond them stays until it ends.
    pub(crate) fn configure(&mut self, limits: BindingLimits, ports: usize) {
        let ports = u32::try_from(ports.max(1)).unwrap_or(u32::MAX);
        self.limits = limits;
        self.share = limits.total / 2 / ports;
        self.beyond = self.per_port.iter().map(|count| count.saturating_sub(self.share)).sum();
    }

    pub(crate) fn limits(&self) -> BindingLimits {
        self.limits
    }

    /// What the guard of a port lets it take, and in how many VLANs: in each it has a link-local address,
    /// which may be the same.
    pub(crate) fn allow(&mut self, port: PortId, first_come: FirstCome, vlans: usize) {
        let usual = FirstCome::default();
        let beyond =
            |may: u16, usual: u16| u32::from(may.min(FIRST_COME_MAX).saturating_sub(usual));
        let others = u32::try_from(vlans.saturating_sub(1)).unwrap_or(u32::MAX);
        let extra = Extra {
            distinct: beyond(first_come.v4, usual.v4) + beyond(first_come.v6, usual.v6),
            again: others.min(VLANS_MAX) * PER_VLAN,
        };
        if self.extra.len() <= port.index() {
            self.extra.resize(port.index() + 1, Extra::default());
        }
        if let Some(place) = self.extra.get_mut(port.index()) {
            *place = extra;
        }
    }

    /// Changes with every change of an owner. An answer that was got at this generation holds for
    /// as long as it stays.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whose an IP address is, whatever the VLAN, as far as one stands first: its own binding, then the
    /// longest prefix.
    pub(crate) fn owner_of_ip(&self, address: IpAddr) -> Option<Owner> {
        match self.entry(Address::Ip(address)) {
            Some(Entry { port: Some(port), .. }) => Some(Owner::Port(*port)),
            Some(Entry { planned: Some(mac), .. }) => Some(Owner::Planned(*mac)),
            _ => self.prefix_in(None, address).map(Owner::Port),
        }
    }

    /// Whose an IP address is in a VLAN, and for whom it is planned.
    pub(crate) fn owner_in(&self, vlan: u16, address: IpAddr) -> (Option<Owner>, Option<MacAddr>) {
        match self.entry_in(vlan, address) {
            Some(Entry { port: Some(port), planned, .. }) => (Some(Owner::Port(*port)), *planned),
            Some(Entry { planned: Some(mac), .. }) => (Some(Owner::Planned(*mac)), Some(*mac)),
            _ => (self.prefix_in(Some(vlan), address).map(Owner::Port), None),
        }
    }

    /// The port that has the longest bound prefix with this address in it, of those that hold in a VLAN or
    /// in any.
    fn prefix_in(&self, vlan: Option<u16>, address: IpAddr) -> Option<PortId> {
        let (place, entry) = self.table.at(self.prefixes.find(address)?)?;
        if entry.holds_in(vlan) {
            return entry.port;
        }
        // One within another, where the inner one is another VLAN's.
        let Address::Prefix(longest) = place.address else { return None };
        (1..longest.prefix_len()).rev().find_map(|len| {
            let prefix = IpNet::new(address, len).ok()?.trunc();
            let entry = self.entry(Address::Prefix(prefix))?;
            entry.port.filter(|_| entry.holds_in(vlan))
        })
    }

    /// Why the port that has an address in a VLAN has it; not if it has it by a prefix.
    pub(crate) fn source_in(&self, vlan: u16, address: IpAddr) -> Option<(PortId, BindingSource)> {
        let entry = self.entry_in(vlan, address)?;
        Some((entry.port?, entry.source))
    }

    /// Whether a port has exactly this prefix in a VLAN because a server gave it.
    pub(crate) fn has_leased(&self, port: PortId, vlan: u16, prefix: IpNet) -> bool {
        self.entry(Address::Prefix(prefix)).is_some_and(|entry| {
            let its = (entry.port, entry.source) == (Some(port), BindingSource::Lease);
            its && entry.holds_in(Some(vlan))
        })
    }

    /// Whether an IP address is a port's in a VLAN because the port used it first, and for no better
    /// reason.
    pub(crate) fn is_first_use(&self, vlan: u16, address: IpAddr) -> bool {
        self.entry_in(vlan, address).is_some_and(Entry::is_first_use)
    }

    /// Who has an address, in whatever VLAN, for a better reason than that he used it first, or for whom it
    /// is planned; but for this port.
    pub(crate) fn kept_from(&self, port: Option<PortId>, address: IpAddr) -> Option<Owner> {
        let given = self.places(address).find_map(|(_, entry)| match entry {
            Entry { port: None, planned: Some(mac), .. } => Some(Owner::Planned(mac)),
            Entry { port: Some(owner), .. } if Some(owner) != port && !entry.is_first_use() => {
                Some(Owner::Port(owner))
            }
            _ => None,
        });
        let prefix = || self.prefix_in(None, address).filter(|owner| Some(*owner) != port);
        given.or_else(|| prefix().map(Owner::Port))
    }

    /// Whether who has the address, or a prefix with it, has it in every VLAN.
    pub(crate) fn is_everywhere(&self, address: IpAddr) -> bool {
        match self.entry(Address::Ip(address)) {
            Some(entry) => entry.vlan.is_none(),
            None => {
                let number = self.prefixes.find(address);
                let entry = number.and_then(|number| self.table.at(number));
                entry.is_some_and(|(_, entry)| entry.vlan.is_none())
            }
        }
    }

    /// Whether a port is known to have an address of the IP version of this one.
    pub(crate) fn has_alike(&self, port: PortId, address: IpAddr) -> bool {
        let [v4, v6, link_local] = self.addresses.get(port.index()).copied().unwrap_or_default();
        (if address.is_ipv4() { v4 } else { v6 + link_local }) > 0
    }

    /// The same of the kind of this one: every station has a link-local address of IPv6, whether it has
    /// another or not.
    pub(crate) fn has_of_kind(&self, port: PortId, address: IpAddr) -> bool {
        self.addresses.get(port.index()).is_some_and(|its| its[kind(address)] > 0)
    }

    /// How many addresses of the kind a port has, to be changed.
    fn alike(&mut self, port: PortId, address: IpAddr) -> Option<&mut u32> {
        if self.addresses.len() <= port.index() {
            self.addresses.resize(port.index() + 1, [0; KINDS]);
        }
        Some(&mut self.addresses.get_mut(port.index())?[kind(address)])
    }

    fn entry(&self, address: Address) -> Option<&Entry> {
        self.table.at(self.table.find(&Place::first(address))?).map(|(_, entry)| entry)
    }

    /// Where an address stands in a VLAN, if somebody has it there.
    fn place_in(&self, vlan: u16, address: IpAddr) -> Option<Place> {
        let first = self.entry(Address::Ip(address));
        let here = first.is_some_and(|entry| entry.holds_in(Some(vlan)));
        let beside = !here && self.beside.contains(&(address, vlan));
        let place = |beside| Place { address: Address::Ip(address), beside };
        if here { Some(place(None)) } else { beside.then(|| place(Some(vlan))) }
    }

    /// What is known of an address in a VLAN.
    fn entry_in(&self, vlan: u16, address: IpAddr) -> Option<&Entry> {
        let first = self.entry(Address::Ip(address));
        if first.is_some_and(|entry| entry.holds_in(Some(vlan))) || self.beside.is_empty() {
            return first.filter(|entry| entry.holds_in(Some(vlan)));
        }
        let place = Place { address: Address::Ip(address), beside: Some(vlan) };
        self.table.at(self.table.find(&place)?).map(|(_, entry)| entry)
    }

    /// Where an address stands, and what is known of it there.
    fn places(&self, address: IpAddr) -> impl Iterator<Item = (Place, Entry)> + '_ {
        let beside = self.beside.range((address, u16::MIN)..=(address, u16::MAX));
        let beside = beside.map(|(_, vlan)| Some(*vlan));
        core::iter::once(None).chain(beside).filter_map(move |beside| {
            let place = Place { address: Address::Ip(address), beside };
            let (_, entry) = self.table.at(self.table.find(&place)?)?;
            Some((place, *entry))
        })
    }

    /// Whether a port has an address in a VLAN, by its own binding or by a prefix.
    pub(crate) fn has(&self, port: PortId, vlan: u16, address: IpAddr) -> bool {
        self.owner_in(vlan, address).0 == Some(Owner::Port(port))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Binding> + '_ {
        self.table.iter().map(|(_, place, entry)| binding(place.address, entry))
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    fn count(&self, port: PortId) -> u32 {
        self.per_port.get(port.index()).copied().unwrap_or(0)
    }

    /// Whether a port has the address of a place by a lease or first use at another one as well.
    fn has_again(&self, port: PortId, place: Place) -> bool {
        let Address::Ip(ip) = place.address else { return false };
        self.places(ip).any(|(known, entry)| known != place && entry.grows_for(port))
    }

    /// What stands at a place counts for a port from now on.
    fn count_in(&mut self, port: PortId, place: Place) {
        let again = self.has_again(port, place);
        for counts in [&mut self.per_port, &mut self.distinct] {
            if counts.len() <= port.index() {
                counts.resize(port.index() + 1, 0);
            }
        }
        if let Some(count) = self.per_port.get_mut(port.index()) {
            self.beyond += u32::from(*count >= self.share);
            *count += 1;
        }
        if let Some(count) = self.distinct.get_mut(port.index()) {
            *count += u32::from(!again);
        }
    }

    /// What stands at a place, or stood there, does not count any more.
    fn count_out(&mut self, port: PortId, place: Place) {
        let again = self.has_again(port, place);
        if let Some(count) = self.per_port.get_mut(port.index()) {
            *count = count.saturating_sub(1);
            self.beyond = self.beyond.saturating_sub(u32::from(*count >= self.share));
        }
        if let Some(count) = self.distinct.get_mut(port.index()) {
            *count = count.saturating_sub(u32::from(!again));
        }
    }

    /// Whether a port may have one more binding that counts, at this place.
    fn check_room(&self, port: PortId, place: Place) -> Result<(), BindError> {
        let extra = self.extra.get(port.index()).copied().unwrap_or_default();
        let limit = self.limits.per_port.saturating_add(extra.distinct);
        let distinct = self.distinct.get(port.index()).copied().unwrap_or(0);
        let full = distinct >= limit && !self.has_again(port, place);
        if full || self.count(port) >= limit.saturating_add(extra.again) {
            return Err(BindError::PortLimit { port, limit });
        }
        let ports = self.limits.total - self.limits.total / 2;
        if self.count(port) >= self.share && self.beyond >= ports {
            return Err(BindError::TableFull);
        }
        Ok(())
    }
}

/// Kinds of addresses.
const KINDS: usize = 3;

/// Which kind an address is of: IPv4, IPv6, or link-local IPv6.
fn kind(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 0,
        IpAddr::V6(ip) => 1 + usize::from(ip.is_unicast_link_local()),
    }
}

fn binding(address: Address, entry: &Entry) -> Binding {
    let Entry { port, planned, source, lifetime, vlan, .. } = *entry;
    Binding { address, port, planned, source, lifetime, vlan }
}

/// Whether an address is that of one station.
fn is_unicast(address: Address) -> bool {
    match address {
        Address::Mac(mac) => mac.is_unicast(),
        Address::Ip(IpAddr::V4(ip)) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || ip.octets()[0] >= 240)
        }
        Address::Ip(IpAddr::V6(ip)) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback())
        }
        Address::Prefix(IpNet::V4(net)) => net.prefix_len() > 0 && !net.network().is_multicast(),
        Address::Prefix(IpNet::V6(net)) => net.prefix_len() > 0 && !net.network().is_multicast(),
    }
}

/// Whether two bindings could both be asked for one address.
fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn host_prefix(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(ip) => IpNet::V4(Ipv4Net::from(ip)),
        IpAddr::V6(ip) => IpNet::V6(Ipv6Net::from(ip)),
    }
}
