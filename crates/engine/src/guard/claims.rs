//! Whose an address is, and how a port comes by one that is nobody's (RFC 6620).

use core::net::IpAddr;
use core::time::Duration;

use ipnet::IpNet;
use wire::MacAddr;

use crate::bindings::{BindError, BindingSource, Lifetime, Owner};
use crate::guard::Judge;
use crate::guard::spec::{GuardMode, Role};
use crate::port::PortId;
use crate::time::Instant;

/// How long a first-come address holds after it was last seen to be used: long enough for a guest
/// that sleeps, short enough for the temporary addresses of RFC 8981, which change every day.
const CLAIM_TIME: Duration = Duration::from_secs(4 * 3600);

/// A claim is renewed when this much of its time has passed.
const RENEWAL: Duration = Duration::from_secs(600);

/// A port that has as many first-come addresses as it may gives up one that was not used for so
/// long when it takes another.
const IDLE: Duration = Duration::from_secs(1800);

/// What becomes of a port's wish to use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is the port's.
    Own,
    /// It is not.
    Foreign,
    /// It could be the port's, but the port has as many as it may.
    Limit,
}

/// What is known of who has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Station {
    /// Nobody is known to have it.
    Unknown,
    /// Its guest is away.
    Away(MacAddr),
    /// A port has it, with this Ethernet address if there is only one that it can have.
    At(PortId, Option<MacAddr>),
}

impl Judge<'_> {
    /// Whether the port has the address; takes it for the port if it may.
    pub(super) fn claim(&mut self, address: IpAddr) -> Claim {
        match self.engine.bindings.owner_of_ip(address) {
            Some(Owner::Port(owner)) if owner == self.id => {
                self.renew(address);
                return Claim::Own;
            }
            Some(Owner::Planned(mac)) if mac == self.mac() && self.may_return(mac) => {}
            Some(_) => return Claim::Foreign,
            None if self.within_prefixes(address) => return Claim::Own,
            None if !self.is_claimable(address) => return Claim::Foreign,
            None => {}
        }
        self.take(address)
    }

    /// Whether the port has the address, without taking it.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        match self.engine.bindings.owner_of_ip(address) {
            Some(Owner::Port(owner)) => owner == self.id,
            Some(_) => false,
            None => self.within_prefixes(address),
        }
    }

    /// The owner of a planned address is back under its Ethernet address.
    fn may_return(&self, mac: MacAddr) -> bool {
        self.engine.macs.owner(mac.as_u64()) == Some(self.id.index)
    }

    fn within_prefixes(&self, address: IpAddr) -> bool {
        self.me.spec.prefixes.iter().any(|prefix| prefix.contains(&address))
    }

    /// Whether the port may take an address that is nobody's.
    fn is_claimable(&self, address: IpAddr) -> bool {
        match (self.me.spec.mode, address) {
            (GuardMode::Off, _) => false,
            (GuardMode::Learn, IpAddr::V4(ip)) => !ip.is_unspecified(),
            (_, IpAddr::V4(_)) => false,
            (mode, IpAddr::V6(ip)) => {
                let link_local = ip.octets().starts_with(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0]);
                link_local
                    || mode == GuardMode::Learn
                    || self.engine.network.guard.announced.iter().any(|net| net.contains(&ip))
                    || self.engine.memory.is_announced(self.now, ip)
            }
        }
    }

    fn take(&mut self, address: IpAddr) -> Claim {
        let limit = match address {
            IpAddr::V4(_) => self.me.spec.first_come.v4,
            IpAddr::V6(_) => self.me.spec.first_come.v6,
        };
        // Those that ended meanwhile are nobody's, or somebody else's.
        let (engine, id) = (&*self.engine, self.id);
        self.me
            .claims
            .retain(|(known, _)| engine.bindings.owner_of_ip(*known) == Some(Owner::Port(id)));
        let version = |known: &IpAddr| known.is_ipv4() == address.is_ipv4();
        let count = self.me.claims.iter().filter(|(known, _)| version(known)).count();
        if count >= usize::from(limit) {
            let now = self.now;
            let idle = |at: Instant| now.saturating_since(at) >= IDLE;
            let oldest = self
                .me
                .claims
                .iter()
                .enumerate()
                .filter(|(_, (known, at))| version(known) && idle(*at))
                .min_by_key(|(_, (_, at))| *at)
                .map(|(place, (known, _))| (place, *known));
            let Some((place, known)) = oldest else { return Claim::Limit };
            self.me.claims.swap_remove(place);
            self.engine.unbind(known);
        }
        match self.bind(address) {
            Ok(()) => {
                self.me.claims.push((address, self.now));
                self.engine.memory.forget_questions();
                Claim::Own
            }
            Err(BindError::PortLimit { .. } | BindError::TableFull) => Claim::Limit,
            Err(_) => Claim::Foreign,
        }
    }

    /// Gives a first-come address that is in use its time again.
    fn renew(&mut self, address: IpAddr) {
        let now = self.now;
        let Some(claim) = self.me.claims.iter_mut().find(|(known, _)| *known == address) else {
            return;
        };
        if now.saturating_since(claim.1) >= RENEWAL {
            claim.1 = now;
            // It is the port's already, so that nothing can be in the way.
            let _ = self.bind(address);
        }
    }

    fn bind(&mut self, address: IpAddr) -> Result<(), BindError> {
        let lifetime = Lifetime::Until(self.now + CLAIM_TIME);
        self.engine.bind(self.now, self.id, address, lifetime, BindingSource::FirstUse)
    }

    /// Who has an address, as far as this port may know: not who is in another VLAN, or apart.
    pub(super) fn station(&self, address: IpAddr) -> Station {
        match self.engine.bindings.owner_of_ip(address) {
            None => Station::Unknown,
            Some(Owner::Planned(mac)) => Station::Away(mac),
            Some(Owner::Reserved) => Station::Unknown,
            Some(Owner::Port(owner)) if owner == self.id => Station::At(owner, None),
            Some(Owner::Port(owner)) => {
                let Some(port) = self.engine.ports.get(owner) else { return Station::Unknown };
                if !port.carries(self.vid(), false) || self.engine.are_apart(self.id, port) {
                    return Station::Unknown;
                }
                let mac = match (self.engine.bindings.planned_for(address), &*port.spec.macs) {
                    (Some(mac), _) => Some(mac),
                    (None, [mac]) if port.guard.as_ref().is_none_or(|guard| guard.fixed_macs) => {
                        Some(*mac)
                    }
                    _ => None,
                };
                Station::At(owner, mac)
            }
        }
    }

    /// Whether the address belongs to a guest of this network, present or away.
    pub(super) fn is_inside(&self, address: IpAddr) -> bool {
        match self.engine.bindings.owner_of_ip(address) {
            None | Some(Owner::Reserved) => false,
            Some(Owner::Planned(_)) => true,
            Some(Owner::Port(owner)) => {
                self.engine.ports.get(owner).is_some_and(|port| port.spec.role != Role::Uplink)
                    && owner != self.id
            }
        }
    }

    /// The network's router as an Ethernet station, if it has one in this VLAN.
    pub(super) fn router_mac(&self) -> Option<MacAddr> {
        let vid = self.vid();
        self.engine
            .ports
            .iter()
            .find(|port| port.spec.role == Role::Router && port.carries(vid, false))
            .and_then(|port| port.spec.macs.first().copied())
    }

    /// Binds what a trusted server gave to a port; what is in the way stays.
    pub(super) fn lease(&mut self, port: PortId, address: IpAddr, time: Duration) {
        let lifetime = Lifetime::Until(self.now + time);
        let _ = self.engine.bind(self.now, port, address, lifetime, BindingSource::Lease);
        self.engine.memory.forget_questions();
    }

    /// The same for a delegated prefix.
    pub(super) fn delegate(&mut self, port: PortId, prefix: IpNet, time: Duration) {
        let lifetime = Lifetime::Until(self.now + time);
        let _ = self.engine.bind(self.now, port, prefix, lifetime, BindingSource::Lease);
    }
}
