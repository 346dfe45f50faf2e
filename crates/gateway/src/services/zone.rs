//! The names of the network, and which questions are answered from them.
//!
//! # Theory of operation
//!
//! For these names the gateway knows everything there is to know, and nobody else is asked:
//!
//! | name | is |
//! |---|---|
//! | `NET.internal` | the gateway itself |
//! | `GUEST.NET.internal` | a guest with that name |
//! | `GUEST` | the same, for clients that do not complete names |
//! | `host.internal` | the address that stands for the host |
//! | `localhost` and below | the loopback addresses (RFC 6761, 6.3) |
//! | `resolver.arpa` and below | nothing: what the host's resolvers offer is not for guests (RFC 9462, 6.4) |
//! | names of addresses in the network's prefixes | the guest, the gateway, or the host behind them |
//! | any other single label | nothing: such names are of this network or of none |
//!
//! All other names under `internal` are passed on, because a network around this one may have them;
//! that is why a nested network must not have the name of an outer one. What is known to be absent
//! is told as RFC 2308 and RFC 8020 say: `NXDOMAIN` only where nothing is at the name nor below it,
//! and always with the SOA record that says for how long.
//!
//! Questions about the delegation and keys (NS, SOA, DS, DNSKEY) of a single label are passed on once a
//! name below it was (`dns::tops`): a guest that validates DNSSEC cannot do without those of
//! top-level domains.
//!
//! A guest has a name because it was given one by its owner; what DHCP clients call themselves
//! never comes here. The table has as many entries as there are named guests, which the plan
//! bounds.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::dns::{Data, Name, Record, kind};
use crate::plan::GatewayPlan;

/// Seconds that an address may be kept: guests come and go.
pub const TTL: u32 = 10;
/// Seconds that the absence of a name may be kept: a guest that is expected may come at once.
pub const NEGATIVE_TTL: u32 = 1;

/// What the zone says about a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// At least one record; the owner is the name that was asked for.
    Records(Vec<Record>),
    /// The name exists, or one below it; there is no such record. With zone and SOA.
    NoData(Box<(Name, Record)>),
    /// Nothing is at the name or below it. With zone and SOA.
    NoName(Box<(Name, Record)>),
}

/// The addresses of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Addresses {
    fn records(self, asked: u16) -> Vec<Record> {
        let data = match asked {
            kind::A => self.v4.map(Data::A),
            kind::AAAA => self.v6.map(Data::Aaaa),
            _ => None,
        };
        data.map(|data| Record { ttl: TTL, data }).into_iter().collect()
    }

    fn each(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// The names of one network.
#[derive(Debug)]
pub struct Zone {
    apex: Name,
    host_name: Name,
    internal: Name,
    localhost: Name,
    resolver: Name,
    in_addr: Name,
    ip6: Name,
    gateway: Addresses,
    host: Addresses,
    subnet: Option<Ipv4Net>,
    prefix: Option<Ipv6Net>,
    guests: BTreeMap<String, Addresses>,
    /// Who has an address: the last guest that was given it.
    owners: HashMap<IpAddr, String>,
    serial: u32,
}

/// A name that is in the program.
fn fixed(labels: &[&'static str]) -> Name {
    Name::of(labels.iter().copied()).unwrap_or_else(Name::root)
}

impl Zone {
    pub(crate) fn new(plan: &GatewayPlan) -> Self {
        let mut zone = Self {
            apex: Name::root(),
            host_name: fixed(&["host", "internal"]),
            internal: fixed(&["internal"]),
            localhost: fixed(&["localhost"]),
            resolver: fixed(&["resolver", "arpa"]),
            in_addr: fixed(&["in-addr", "arpa"]),
            ip6: fixed(&["ip6", "arpa"]),
            gateway: Addresses::default(),
            host: Addresses::default(),
            subnet: None,
            prefix: None,
            guests: BTreeMap::new(),
            owners: HashMap::new(),
            serial: 0,
        };
        zone.apply(plan);
        zone
    }

    pub(crate) fn apply(&mut self, plan: &GatewayPlan) {
        self.apex =
            Name::of([plan.name.as_str(), "internal"]).unwrap_or_else(|| self.internal.clone());
        self.gateway = Addresses { v4: plan.gateway4(), v6: plan.gateway6() };
        self.host = Addresses { v4: plan.host4(), v6: plan.host6() };
        self.subnet = plan.subnet;
        self.prefix = plan.prefix;
        self.serial = self.serial.wrapping_add(1);
    }

    /// A guest has these addresses now. A name that is not one label is left out.
    pub(crate) fn set(&mut self, name: &str, v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) {
        if Name::of([name]).is_none() || name.contains('.') {
            return;
        }
        self.remove(name);
        let addresses = Addresses { v4, v6 };
        for address in addresses.each() {
            self.owners.insert(address, name.to_owned());
        }
        self.guests.insert(name.to_owned(), addresses);
        self.serial = self.serial.wrapping_add(1);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let Some(addresses) = self.guests.remove(name) else { return };
        for address in addresses.each() {
            if self.owners.get(&address).is_some_and(|owner| owner == name) {
                self.owners.remove(&address);
            }
        }
        self.serial = self.serial.wrapping_add(1);
    }

    /// What there is to say, or `None` where others must be asked.
    pub(crate) fn find(&self, name: &Name, asked: u16) -> Option<Found> {
        if let Some(below) = name.below(&self.host_name) {
            // A network named `host` has no other names than the host's.
            let here = below.is_empty().then_some(self.host);
            return Some(self.at(name, &self.host_name, here, asked));
        }
        if let Some(below) = name.below(&self.apex) {
            let here = match below.as_slice() {
                [] => Some(self.gateway),
                [label] => self.guest(label),
                _ => None,
            };
            if below.is_empty() && asked == kind::NS {
                let data = Data::Ns(self.apex.clone());
                return Some(Found::Records(vec![Record { ttl: TTL, data }]));
            }
            return Some(self.at(name, &self.apex, here, asked));
        }
        if name.below(&self.localhost).is_some() {
            let loopback =
                Addresses { v4: Some(Ipv4Addr::LOCALHOST), v6: Some(Ipv6Addr::LOCALHOST) };
            return Some(self.at(name, &self.localhost, Some(loopback), asked));
        }
        if let Some(below) = name.below(&self.resolver) {
            let here = below.is_empty().then(Addresses::default);
            return Some(self.at(name, &self.resolver, here, asked));
        }
        if let Some(labels) = name.below(&self.in_addr) {
            return self.reverse_v4(&labels, asked);
        }
        if let Some(labels) = name.below(&self.ip6) {
            return self.reverse_v6(&labels, asked);
        }
        if name.count() == 1 {
            return self.single(name, asked);
        }
        None
    }

    fn guest(&self, label: &[u8]) -> Option<Addresses> {
        std::str::from_utf8(label).ok().and_then(|name| self.guests.get(name)).copied()
    }

    fn single(&self, name: &Name, asked: u16) -> Option<Found> {
        let guest = name.labels().next().and_then(|label| self.guest(label));
        if guest.is_none() && matches!(asked, kind::NS | kind::SOA | kind::DS | kind::DNSKEY) {
            return None;
        }
        // `internal` has names below it, so that it exists.
        let here = guest.or_else(|| (*name == self.internal).then(Addresses::default));
        Some(self.at(name, &Name::root(), here, asked))
    }

    /// What is said of a single label that [`Self::find`] knows nothing of, and nobody is to be asked for.
    pub(crate) fn no_single(&self, name: &Name) -> Option<Found> {
        let single = name.count() == 1 && *name != self.internal;
        single.then(|| Found::NoName(self.absent(&Name::root())))
    }

    /// What is said of a `name` in `zone` at which there are addresses, maybe none, or nothing.
    fn at(&self, name: &Name, zone: &Name, here: Option<Addresses>, asked: u16) -> Found {
        let Some(here) = here else { return Found::NoName(self.absent(zone)) };
        if asked == kind::SOA && name == zone {
            return Found::Records(vec![self.soa(zone)]);
        }
        let records = here.records(asked);
        if records.is_empty() { Found::NoData(self.absent(zone)) } else { Found::Records(records) }
    }

    fn soa(&self, zone: &Name) -> Record {
        let data = Data::Soa {
            server: self.apex.clone(),
            mailbox: fixed(&["nobody", "invalid"]),
            serial: self.serial,
            negative_ttl: NEGATIVE_TTL,
        };
        let ttl = if *zone == Name::root() { NEGATIVE_TTL } else { TTL };
        Record { ttl, data }
    }

    /// The SOA record of an answer that says that something is absent; the shorter of its two
    /// times counts (RFC 2308, 5), so that both are short.
    fn absent(&self, zone: &Name) -> Box<(Name, Record)> {
        let soa = Record { ttl: NEGATIVE_TTL, ..self.soa(zone) };
        Box::new((zone.clone(), soa))
    }

    fn owner(&self, address: IpAddr) -> Option<Name> {
        if self.gateway.each().any(|own| own == address) {
            return Some(self.apex.clone());
        }
        if self.host.each().any(|host| host == address) {
            return Some(self.host_name.clone());
        }
        let guest = self.owners.get(&address)?;
        let [net, internal] = [&self.apex, &self.internal].map(|name| {
            name.labels().next().map(|label| String::from_utf8_lossy(label).into_owned())
        });
        Name::of([guest.as_str(), net?.as_str(), internal?.as_str()])
    }

    /// Every address that has a name here.
    fn known(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let own = self.gateway.each().chain(self.host.each());
        own.chain(self.owners.keys().copied())
    }

    fn reverse_v4(&self, labels: &[&[u8]], asked: u16) -> Option<Found> {
        let subnet = self.subnet?;
        // The labels nearest to the root are the first bytes of the address.
        let mut octets = [0_u8; 4];
        let mut given = 0_u8;
        let mut is_number = true;
        for label in labels.iter().rev() {
            let number = std::str::from_utf8(label).ok().and_then(|text| {
                let plain = text == "0" || !text.starts_with('0');
                text.parse::<u8>().ok().filter(|_| plain && !text.starts_with('+'))
            });
            match (octets.get_mut(usize::from(given)), number) {
                (Some(octet), Some(number)) => *octet = number,
                _ => {
                    is_number = false;
                    break;
                }
            }
            given += 1;
        }
        let place = Ipv4Net::new(octets.into(), given * 8).ok()?;
        if !subnet.contains(&place) {
            return None;
        }
        let zone = self.reverse_zone(place.into(), subnet.prefix_len().div_ceil(8) * 8);
        let found = self.reverse(&zone, place.into(), is_number, given == 4, asked);
        Some(found)
    }

    fn reverse_v6(&self, labels: &[&[u8]], asked: u16) -> Option<Found> {
        let prefix = self.prefix?;
        let mut bits = 0_u128;
        let mut given = 0_u8;
        let mut is_number = true;
        for label in labels.iter().rev() {
            let digit = match label {
                [digit] => char::from(*digit).to_digit(16),
                _ => None,
            };
            let Some(digit) = digit.filter(|_| given < 32) else {
                is_number = false;
                break;
            };
            bits |= u128::from(digit) << (124 - 4 * u32::from(given));
            given += 1;
        }
        let place = Ipv6Net::new(bits.into(), given * 4).ok()?;
        if !prefix.contains(&place) {
            return None;
        }
        let zone = self.reverse_zone(place.into(), prefix.prefix_len().div_ceil(4) * 4);
        Some(self.reverse(&zone, place.into(), is_number, given == 32, asked))
    }

    fn reverse(
        &self,
        zone: &Name,
        place: ipnet::IpNet,
        is_number: bool,
        is_address: bool,
        asked: u16,
    ) -> Found {
        let named = is_number
            && if is_address {
                self.owner(place.addr()).is_some()
            } else {
                self.known().any(|address| place.contains(&address))
            };
        let top = is_number && self.reverse_zone(place, place.prefix_len()) == *zone;
        if !named && !top {
            return Found::NoName(self.absent(zone));
        }
        match self.owner(place.addr()).filter(|_| is_address && asked == kind::PTR) {
            Some(owner) => Found::Records(vec![Record { ttl: TTL, data: Data::Ptr(owner) }]),
            None if top && asked == kind::SOA => Found::Records(vec![self.soa(zone)]),
            None => Found::NoData(self.absent(zone)),
        }
    }

    /// The name of the first `len` bits of an address. A subnet whose length is not that of a name
    /// is served as the several zones, each with a name, that make it up.
    fn reverse_zone(&self, place: ipnet::IpNet, len: u8) -> Name {
        let labels: Vec<String> = match place.addr() {
            IpAddr::V4(address) => {
                let octets = address.octets();
                octets.iter().take(usize::from(len / 8)).rev().map(u8::to_string).collect()
            }
            IpAddr::V6(address) => {
                let bits = u128::from(address);
                let digits = (0..u32::from(len / 4)).rev();
                digits.map(|digit| format!("{:x}", (bits >> (124 - 4 * digit)) & 15)).collect()
            }
        };
        let family = match place {
            ipnet::IpNet::V4(_) => ["in-addr", "arpa"],
            ipnet::IpNet::V6(_) => ["ip6", "arpa"],
        };
        Name::of(labels.iter().map(String::as_str).chain(family)).unwrap_or_else(Name::root)
    }
}

#[cfg(test)]
mod tests;
