//! The address plan of a network: its subnet, and which guest has which addresses.
//!
//! # Theory of operation
//!
//! Goals: a guest that comes back has the address it had; two guests never have one; and nothing collides
//! with what the host already reaches.
//!
//! * MAC and IPv6 follow from the names ([`crate::names`]); only what a caller chose instead is kept.
//! * IPv4 has too few addresses for that: a named guest gets the host number that its name hashes to, or the
//!   next free one, and the plan remembers it ([`store`]).
//! * The subnet ([`subnet`]) is chosen once, when the network is new.
//!
//! Ranges of host numbers are disjoint, so that a lease never takes a planned address:
//!
//! | host number | for |
//! |---|---|
//! | 0 | the subnet itself |
//! | 1 | the gateway |
//! | 2 | the host, as `host.internal` |
//! | 3 to 15 | declared ports, where the configuration says so |
//! | 16 to half | named guests |
//! | half to three quarters | DHCP leases |
//! | three quarters to the end | first-come addresses of anonymous clients |
//! | last | broadcast |
//!
//! Limits: [`GUESTS_MAX`] assignments, [`GUESTS_PER_USER`] for one user. At a limit the newcomer's user pays: that one
//! of his guests that has been away longest loses its own, counted in joins, not in time, so no clock can be wrong.
//! A present guest never loses it, nor does another user's; without one to give way the newcomer is refused.
//!
//! After the daemon was killed, guests that were present are *expected*: they run on, with the addresses they had, and
//! their keepers are on the way back. Until they are here, or the time for that is over ([`Plan::expect_no_more`]), their
//! names are for those who resume only.
//!
//! Ports that the configuration declares have their place in the plan as well ([`Plan::declare`]), by name like guests
//! or with the address that the configuration says, and nobody else's coming takes it from them.

pub mod leases;
pub mod store;
pub mod subnet;
pub mod zone;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use ipnet::Ipv4Net;
use wire::MacAddr;

use crate::names::{self, Name};

/// Most guests that the plan remembers. A /20 has 2032 host numbers for them.
pub const GUESTS_MAX: usize = 1024;
/// Most of them that one user's guests have: he cannot drive the others out of the plan.
pub const GUESTS_PER_USER: usize = GUESTS_MAX / 2;
/// Longest prefix of a subnet: a /20 has room for the ranges above.
pub const PREFIX_MAX: u8 = 20;
/// Shortest prefix of a subnet.
pub const PREFIX_MIN: u8 = 8;
/// Host number of the gateway.
pub const GATEWAY: u32 = 1;
/// Host number of `host.internal`.
pub const HOST: u32 = 2;
/// Last host number, and last IPv6 interface identifier, that is kept for what is not a guest.
pub const SERVICES_END: u32 = 15;
/// Smallest MTU with which a network has IPv6 (RFC 8200 section 5), in bytes.
pub const MTU_IPV6: u16 = wire::ipv6::MTU_MIN;
const FIRST_GUEST: u32 = SERVICES_END + 1;

/// What a host number is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Not an address of a station: the subnet or its broadcast.
    None,
    Gateway,
    /// `host.internal`.
    Host,
    /// For ports whose address the configuration says.
    Fixed,
    Guest,
    Lease,
    FirstCome,
}

/// Where a guest is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Away,
    /// It was present when the last daemon was killed, and lives on.
    Expected,
    Present,
    /// It is no guest but a declared port.
    Declared,
}

/// The addresses of one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    pub ipv4: Ipv4Addr,
    pub mac: MacAddr,
    pub ipv6: Ipv6Addr,
    /// The user whose guest it was; another user cannot take its name.
    pub uid: u32,
    /// Larger is later, in joins of this network.
    used: u64,
    presence: Presence,
}

impl Assignment {
    /// Whether the guest is in the network.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Present
    }

    /// Whether it is a declared port's.
    #[must_use]
    pub fn is_declared(&self) -> bool {
        self.presence == Presence::Declared
    }
}

/// A port that the configuration declares, as the plan needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub name: Name,
    pub mac: MacAddr,
    /// The address that the configuration says; by name without one.
    pub ipv4: Option<Ipv4Addr>,
}

/// Why a guest cannot have addresses, as sentences.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AssignError {
    #[error(
        "A guest named {0} is in the network already: choose another --name, or end that guest."
    )]
    Present(Name),
    #[error(
        "Guest {0} was in the network when its hypervisor was killed, and its addresses are kept until it is back: \
         choose another --name, or wait a minute."
    )]
    Expected(Name),
    #[error("The name {name} belongs to a guest of uid {uid}: choose another --name.")]
    OtherUser { name: Name, uid: u32 },
    #[error("The MAC address {mac} belongs to {owner}: choose another --mac, or leave it out.")]
    MacTaken { mac: MacAddr, owner: Name },
    #[error(
        "{0} is not the MAC address of a station: give a unicast address that is not zero, such as \
         02:00:5e:00:53:01."
    )]
    BadMac(MacAddr),
    #[error(
        "{address}, which the configuration gives to port {port}, belongs to guest {owner}: end that guest first."
    )]
    AddressTaken { address: Ipv4Addr, port: Name, owner: Name },
    #[error(
        "The network has {GUESTS_MAX} guests, and its plan has no room for more: end one, or use a second network."
    )]
    Full,
    #[error(
        "Your guests have {GUESTS_PER_USER} addresses in this network, the most that one user may have, and none \
        of them is away: end one."
    )]
    UserFull,
}

/// The plan of one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    network: Name,
    subnet: Ipv4Net,
    prefix: Ipv6Addr,
    uses: u64,
    guests: BTreeMap<Name, Assignment>,
}

/// What [`Plan::assign`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    pub assignment: Assignment,
    /// The guest that lost its assignment for this one: its addresses are free.
    pub evicted: Option<(Name, Assignment)>,
    /// The MAC that the guest had before, when it is another now.
    pub previous_mac: Option<MacAddr>,
}

impl Plan {
    /// A plan without guests.
    ///
    /// `subnet` has a prefix of [`PREFIX_MIN`] to [`PREFIX_MAX`] bits, `prefix` is a /64; both are cut to
    /// their network part.
    #[must_use]
    pub fn new(network: Name, subnet: Ipv4Net, prefix: Ipv6Addr) -> Self {
        let prefix = Ipv6Addr::from_bits(prefix.to_bits() & !u128::from(u64::MAX));
        Self { network, subnet: subnet.trunc(), prefix, uses: 0, guests: BTreeMap::new() }
    }

    /// The network it is for.
    #[must_use]
    pub fn network(&self) -> &Name {
        &self.network
    }

    /// The IPv4 subnet.
    #[must_use]
    pub fn subnet(&self) -> Ipv4Net {
        self.subnet
    }

    /// The IPv6 prefix, a /64.
    #[must_use]
    pub fn prefix(&self) -> Ipv6Addr {
        self.prefix
    }

    /// The gateway's IPv4 address.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.address(GATEWAY)
    }

    /// The gateway's IPv6 address: interface identifier 1.
    #[must_use]
    pub fn gateway_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix.to_bits() | 1)
    }

    /// The address that stands for the host.
    #[must_use]
    pub fn host(&self) -> Ipv4Addr {
        self.address(HOST)
    }

    /// The IPv6 address that stands for the host: interface identifier 2.
    #[must_use]
    pub fn host_ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.prefix.to_bits() | u128::from(HOST))
    }

    /// First and last address that a configuration can give to a port.
    #[must_use]
    pub fn fixed_range(&self) -> (Ipv4Addr, Ipv4Addr) {
        (self.address(HOST + 1), self.address(self.guest_numbers().end - 1))
    }

    /// Number of addresses in the subnet.
    fn size(&self) -> u32 {
        1 << (32 - self.subnet.prefix_len())
    }

    fn address(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.subnet.network().to_bits() | number)
    }

    fn number(&self, address: Ipv4Addr) -> Option<u32> {
        self.subnet.contains(&address).then(|| address.to_bits() & (self.size() - 1))
    }

    fn guest_numbers(&self) -> Range<u32> {
        FIRST_GUEST..self.size() / 2
    }

    /// Host numbers of DHCP leases.
    #[must_use]
    pub fn lease_numbers(&self) -> Range<u32> {
        self.size() / 2..self.size() / 4 * 3
    }

    /// Host numbers of first-come addresses.
    #[must_use]
    pub fn first_come_numbers(&self) -> Range<u32> {
        self.size() / 4 * 3..self.size() - 1
    }

    /// The first and the last first-come address.
    #[must_use]
    pub fn first_come(&self) -> (Ipv4Addr, Ipv4Addr) {
        let Range { start, end } = self.first_come_numbers();
        (self.address(start), self.address(end - 1))
    }

    /// What an address of the subnet is for; `None` for addresses outside of it.
    #[must_use]
    pub fn use_of(&self, address: Ipv4Addr) -> Option<Use> {
        let number = self.number(address)?;
        Some(match number {
            0 => Use::None,
            GATEWAY => Use::Gateway,
            HOST => Use::Host,
            _ if number < FIRST_GUEST => Use::Fixed,
            _ if self.guest_numbers().contains(&number) => Use::Guest,
            _ if self.lease_numbers().contains(&number) => Use::Lease,
            _ if self.first_come_numbers().contains(&number) => Use::FirstCome,
            _ => Use::None,
        })
    }

    /// All assignments by name.
    pub fn guests(&self) -> impl Iterator<Item = (&Name, &Assignment)> {
        self.guests.iter()
    }

    /// The assignment of one guest.
    #[must_use]
    pub fn guest(&self, name: &Name) -> Option<&Assignment> {
        self.guests.get(name)
    }

    /// The first name of `base`, `base-2`, `base-3`, ... that `uid` can use now, and that is not `taken` by
    /// something else.
    #[must_use]
    pub fn free_name(&self, base: &Name, uid: u32, taken: impl Fn(&Name) -> bool) -> Option<Name> {
        // One of GUESTS_MAX + 1 names is free or its guest away, unless all belong to others.
        let limit = u32::try_from(GUESTS_MAX).unwrap_or(u32::MAX) + 1;
        std::iter::once(base.clone())
            .chain((2..=limit).map(|number| base.numbered(number)))
            .filter(|name| {
                self.guests
                    .get(name)
                    .is_none_or(|it| it.presence == Presence::Away && it.uid == uid)
            })
            .find(|name| !taken(name))
    }

    /// Whether a guest of a user may have this name; `resume`: it may have been present when the last daemon was killed.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_name(&self, name: &Name, uid: u32, resume: bool) -> Result<(), AssignError> {
        let Some(known) = self.guests.get(name) else { return Ok(()) };
        let other = known.uid != uid;
        match known.presence {
            Presence::Declared => Err(AssignError::Present(name.clone())),
            _ if other => Err(AssignError::OtherUser { name: name.clone(), uid: known.uid }),
            Presence::Present => Err(AssignError::Present(name.clone())),
            Presence::Expected if !resume => Err(AssignError::Expected(name.clone())),
            _ => Ok(()),
        }
    }

    /// Brings a guest into the network: its addresses are those it had, or new ones.
    ///
    /// # Errors
    /// A sentence; the plan is unchanged.
    pub fn assign(
        &mut self,
        name: &Name,
        uid: u32,
        mac: Option<MacAddr>,
    ) -> Result<Assigned, AssignError> {
        self.check_name(name, uid, false)?;
        self.resume(name, uid, mac)
    }

    /// As [`Plan::assign`], for a guest that may have been present when the last daemon was killed.
    ///
    /// # Errors
    /// As there.
    pub fn resume(
        &mut self,
        name: &Name,
        uid: u32,
        mac: Option<MacAddr>,
    ) -> Result<Assigned, AssignError> {
        self.check_name(name, uid, true)?;
        let known = self.guests.get(name);
        let chosen = mac.unwrap_or_else(|| names::mac(&self.network, name));
        if chosen.is_multicast() || chosen.is_zero() {
            return Err(AssignError::BadMac(chosen));
        }
        let owner = self.guests.iter().find(|(other, it)| *other != name && it.mac == chosen);
        if let Some((owner, _)) = owner {
            return Err(AssignError::MacTaken { mac: chosen, owner: owner.clone() });
        }
        let previous_mac = known.map(|it| it.mac).filter(|previous| *previous != chosen);
        let had = known.map(|known| known.ipv4);
        let of_user = self
            .guests
            .values()
            .filter(|guest| guest.uid == uid && guest.presence != Presence::Declared)
            .count();
        let evicted = match had {
            Some(_) => None,
            None if of_user >= GUESTS_PER_USER => {
                Some(self.evict(uid).ok_or(AssignError::UserFull)?)
            }
            None if self.guests.len() >= GUESTS_MAX => {
                Some(self.evict(uid).ok_or(AssignError::Full)?)
            }
            None => None,
        };
        let ipv4 = had.or_else(|| self.free_address(name)).ok_or(AssignError::Full)?;
        self.uses += 1;
        let assignment = Assignment {
            ipv4,
            mac: chosen,
            ipv6: names::ipv6_address(self.prefix, chosen),
            uid,
            used: self.uses,
            presence: Presence::Present,
        };
        self.guests.insert(name.clone(), assignment.clone());
        Ok(Assigned { assignment, evicted, previous_mac })
    }

    /// Gives the ports that the configuration declares their place, and no others.
    ///
    /// # Errors
    /// A guest that is present has what one of them needs; the plan is unchanged.
    pub fn declare(&mut self, ports: &[Declared]) -> Result<(), AssignError> {
        let mut plan = self.clone();
        for guest in plan.guests.values_mut() {
            if guest.presence == Presence::Declared {
                guest.presence = Presence::Away;
            }
        }
        for port in ports {
            plan.declare_one(port)?;
        }
        *self = plan;
        Ok(())
    }

    fn declare_one(&mut self, port: &Declared) -> Result<(), AssignError> {
        let name = &port.name;
        let collides = |it: &Assignment| {
            it.mac == port.mac || port.ipv4.is_some_and(|address| it.ipv4 == address)
        };
        let others: Vec<Name> = self
            .guests
            .iter()
            .filter(|(other, it)| *other != name && collides(it))
            .map(|(other, _)| other.clone())
            .collect();
        for owner in others {
            // A guest that is away makes way, as its address is said to be somebody else's.
            if self.guests.get(&owner).is_some_and(|it| it.presence == Presence::Away) {
                self.guests.remove(&owner);
                continue;
            }
            return Err(match port.ipv4 {
                Some(address) if self.guests.get(&owner).is_some_and(|it| it.ipv4 == address) => {
                    AssignError::AddressTaken { address, port: name.clone(), owner }
                }
                _ => AssignError::MacTaken { mac: port.mac, owner },
            });
        }
        let known = self.guests.get(name);
        if known.is_some_and(|it| matches!(it.presence, Presence::Present | Presence::Expected)) {
            return Err(AssignError::Present(name.clone()));
        }
        // What was fixed and is not any more goes back to the range of guests.
        let had = known.map(|it| it.ipv4).filter(|it| self.use_of(*it) == Some(Use::Guest));
        let ipv4 =
            port.ipv4.or(had).or_else(|| self.free_address(name)).ok_or(AssignError::Full)?;
        self.uses += 1;
        let assignment = Assignment {
            ipv4,
            mac: port.mac,
            ipv6: names::ipv6_address(self.prefix, port.mac),
            uid: sys::user::uid(),
            used: self.uses,
            presence: Presence::Declared,
        };
        self.guests.insert(name.clone(), assignment);
        Ok(())
    }

    /// A guest has left; its assignment stays.
    pub fn leave(&mut self, name: &Name) {
        self.uses += 1;
        let used = self.uses;
        if let Some(guest) = self.guests.get_mut(name) {
            guest.presence = Presence::Away;
            guest.used = used;
        }
    }

    /// Whether guests are expected back.
    #[must_use]
    pub fn expects_any(&self) -> bool {
        self.guests.values().any(|guest| guest.presence == Presence::Expected)
    }

    /// Guests that have not come back by now are away like any other.
    pub fn expect_no_more(&mut self) {
        for guest in self.guests.values_mut() {
            if guest.presence == Presence::Expected {
                guest.presence = Presence::Away;
            }
        }
    }

    /// The plan in another subnet and prefix: host numbers stay where the new subnet has them as guests'.
    /// `None` while guests are present, whose addresses cannot change under them.
    #[must_use]
    pub fn moved(&self, subnet: Ipv4Net, prefix: Ipv6Addr) -> Option<Self> {
        if self.guests.values().any(Assignment::is_present) {
            return None;
        }
        let mut plan = Self::new(self.network.clone(), subnet, prefix);
        plan.uses = self.uses;
        for (name, guest) in &self.guests {
            let number = self.number(guest.ipv4).filter(|it| plan.guest_numbers().contains(it));
            let Some(number) = number else { continue };
            let ipv6 = names::ipv6_address(plan.prefix, guest.mac);
            let moved = Assignment { ipv4: plan.address(number), ipv6, ..guest.clone() };
            plan.guests.insert(name.clone(), moved);
        }
        Some(plan)
    }

    /// Gives up the assignment of that guest of the user that has been away longest.
    fn evict(&mut self, uid: u32) -> Option<(Name, Assignment)> {
        let gives_way = |guest: &Assignment| guest.uid == uid && guest.presence == Presence::Away;
        let away = self.guests.iter().filter(|(_, guest)| gives_way(guest));
        let name = away.min_by_key(|(_, guest)| guest.used).map(|(name, _)| name.clone())?;
        let guest = self.guests.remove(&name)?;
        Some((name, guest))
    }

    fn free_address(&self, name: &Name) -> Option<Ipv4Addr> {
        let taken: std::collections::BTreeSet<Ipv4Addr> =
            self.guests.values().map(|guest| guest.ipv4).collect();
        let range = self.guest_numbers();
        let count = u64::from(range.end - range.start);
        let start = names::host_seed(&self.network, name);
        (0..count)
            // Below `count`, so it fits.
            .map(|step| range.start + ((start.wrapping_add(step) % count) as u32))
            .map(|number| self.address(number))
            .find(|address| !taken.contains(address))
    }
}

#[cfg(test)]
mod tests;
