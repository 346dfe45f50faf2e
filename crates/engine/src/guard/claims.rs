//! Whose an address is, and how a port comes by one that is nobody's (RFC 6620).
//!
//! # Theory of operation
//!
//! In a network without an uplink the bindings know everybody, and an address that is nobody's is
//! the port's as soon as it uses it. With an uplink others may have it whom nobody told us of, so it
//! is given in two steps, as a careful station would take it (RFC 5227, 2.1; RFC 4862, 5.4): the
//! first use has the outside asked, in the guest's name, and the frame goes no further; a use after
//! [`ANSWER_TIME`] is good, if nobody outside was heard to have the address. A guest that asks
//! itself, by a probe, saves us the question and itself the wait. Two ports that want one address are
//! served in the order in which they asked.
//!
//! What nobody else can have is given at once: the addresses that a guest makes of an Ethernet
//! address that is its own (RFC 4291, 2.5.1), and of course what is a lease, planned or configured.
//!
//! A first-come address is the port's towards all others in here, in the VLAN in which it used it.
//! It is no reason to shut out somebody outside: if a station there says that the address is its
//! own, the port loses it, because the network has nothing but its own silence to set against that.
//! Leases, plans and configuration are stronger: they hold, and end another port's first use of the
//! address. So that this happens to nobody who does no wrong, IPv4 addresses that the network gives
//! out itself are not first come ([`NetworkGuard::first_come`](crate::NetworkGuard::first_come)).
//!
//! In a network that gives a port its addresses (`static`, `dhcp`), those that it takes beside them
//! are its own while it lives, for nobody asks it whether it still has them. Elsewhere they end some
//! hours after their last use, and questions about them go to the ports where somebody may be.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use wire::parse::Arp;
use wire::{MacAddr, build, ndp};

use crate::bindings::{BindError, BindingSource, FIRST_COME_MAX, Lifetime, Owner};
use crate::engine::Engine;
use crate::event::BindingEnd;
use crate::frame::Cast;
use crate::guard::Judge;
use crate::guard::arp::compose;
use crate::guard::spec::{GuardMode, NetworkGuard};
use crate::plan::SourceMode;
use crate::port::PortId;
use crate::role::Role;

/// How long a first-come address holds after it was last seen to be used: long enough for a guest
/// that sleeps, short enough for the temporary addresses of RFC 8981, which change every day.
const CLAIM_TIME: Duration = Duration::from_secs(4 * 3600);

/// A claim is renewed when this much of its time has passed.
const RENEWAL: Duration = Duration::from_secs(600);

/// A port that has as many first-come addresses as it may gives up one that was not used for so
/// long when it takes another.
const IDLE: Duration = Duration::from_secs(1800);

/// First-come addresses that are looked through at every wish for one more. Where there are more of
/// them, that is done once in [`FULL_TIME`] for as long as the port has as many as it may.
const FEW: usize = 64;
const FULL_TIME: Duration = Duration::from_millis(1);

/// How long the outside is waited for: about the second that stations wait after their own probes,
/// and less than the second after which stacks send again what was not answered.
const ANSWER_TIME: Duration = Duration::from_millis(900);

/// For how long a question to the outside stands for what its silence meant: as long as those who
/// speak up meanwhile are remembered.
pub(super) const ASKED_TIME: Duration = Duration::from_secs(600);

/// For how long an address is kept for the port that asked for it first.
const KEPT_TIME: Duration = Duration::from_secs(10);

/// What becomes of a port's wish to use an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is the port's.
    Own,
    /// It is not.
    Foreign,
    /// It is, if nobody outside has it, and the outside is being asked.
    Asked,
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
    /// It is a guest's in here with whom this port exchanges no frames: apart, or in another VLAN.
    Apart,
    /// A port has it, with this Ethernet address if there is only one that it can have.
    At(PortId, Option<MacAddr>),
}

impl Judge<'_> {
    /// Whether the port has the address; takes it for the port if it may.
    pub(super) fn claim(&mut self, address: IpAddr) -> Claim {
        match self.owner(address) {
            Some(Owner::Port(owner)) if owner == self.id => {
                self.renew(address);
                return Claim::Own;
            }
            Some(Owner::Planned(mac)) if mac == self.mac() && self.may_return(mac) => {}
            Some(_) => {
                if self.is_first_use(address) {
                    self.excuse_newcomer(address);
                }
                return Claim::Foreign;
            }
            None if self.within_prefixes(address) => return Claim::Own,
            None if !self.is_claimable(address) => {
                // A server may have given it, and does not know that somebody outside has it.
                self.said.excused |=
                    self.me.spec.mode == GuardMode::Dhcp && self.is_in_use_outside(address);
                return Claim::Foreign;
            }
            None => return self.take_beside_outside(address, true),
        }
        self.take(address)
    }

    /// As [`Self::claim`], by a probe of the guest's own, so that the outside need not be asked by us
    /// (RFC 4862, 5.4; RFC 6620, 3.2.3).
    pub(super) fn claim_by_probe(&mut self, address: IpAddr) -> Claim {
        match self.owner(address) {
            None if !self.within_prefixes(address) && self.is_claimable(address) => {
                self.take_beside_outside(address, false)
            }
            _ => self.claim(address),
        }
    }

    /// The guest asks whether anybody has the address, which says that it may want it, and no more
    /// (RFC 5227, 2.1): if it uses it, the outside has been asked.
    pub(super) fn probed(&mut self, address: IpAddr) {
        let free = self.owner(address).is_none()
            && !self.within_prefixes(address)
            && self.is_claimable(address)
            && !self.is_in_use_outside(address);
        if free
            && self.engine.has_outside(self.vid())
            && self.me.asked_for(self.now, (self.vid(), address)).is_none()
        {
            self.begin_to_ask(address, false);
        }
    }

    /// Takes an address that is nobody's in here, once the outside has been asked. `ask`: it is to
    /// be asked by us.
    fn take_beside_outside(&mut self, address: IpAddr, ask: bool) -> Claim {
        let now = self.now;
        if self.is_in_use_outside(address) {
            // Whether that is true, and whether the guest was first, nobody in here can know.
            self.said.excused = true;
            return Claim::Foreign;
        }
        if self.is_made_of_mac(address) || !self.engine.has_outside(self.vid()) {
            return self.take(address);
        }
        let local = (self.vid(), address);
        if let Some(at) = self.me.asked_for(now, local) {
            if now.saturating_since(at) < ANSWER_TIME {
                return Claim::Asked;
            }
            self.me.asked.retain(|(known, _)| *known != local);
            return self.take(address);
        }
        self.begin_to_ask(address, ask)
    }

    fn begin_to_ask(&mut self, address: IpAddr, ask: bool) -> Claim {
        let now = self.now;
        let rate = self.me.spec.rates.unknown;
        // Where looking for room is cheap it comes first, and costs the guest none of its questions.
        let is_cheap = self.me.claims.len() <= FEW;
        if (is_cheap && self.room_for(address).is_err())
            || !self.me.buckets.unknown.take(now, rate)
            || (!is_cheap && self.room_for(address).is_err())
        {
            return Claim::Limit;
        }
        let local = (self.vid(), address);
        let others = self.engine.ports.iter().filter_map(|port| port.guard.as_ref());
        let kept = others
            .filter_map(|other| other.asked_for(now, local))
            .any(|at| now.saturating_since(at) < KEPT_TIME);
        if kept {
            self.excuse_newcomer(address);
            return Claim::Foreign;
        }
        if !ask || self.ask(address) {
            self.me.asked.retain(|(_, at)| now.saturating_since(*at) < ASKED_TIME);
            if self.me.asked.is_full() {
                self.me.asked.remove(0);
            }
            self.me.asked.push((local, now));
        }
        Claim::Asked
    }

    /// Somebody in here used the address first, or is about to. If the port has shown no other of this
    /// kind, it may be its own of before, which it cannot know to be gone.
    fn excuse_newcomer(&mut self, address: IpAddr) {
        self.said.excused |= !self.engine.bindings.has_of_kind(self.id, address);
    }

    /// Asks the outside for an address in the guest's name, as the guest would; false if there is no
    /// room for the question. The answer comes as any frame from outside does.
    fn ask(&mut self, address: IpAddr) -> bool {
        self.ask_for(self.mac(), address)
    }

    /// The same in the name of the guest with this Ethernet address.
    pub(super) fn ask_for(&mut self, mac: MacAddr, address: IpAddr) -> bool {
        let (cast, question) = match address {
            IpAddr::V4(target_ip) => {
                let probe = Arp {
                    operation: wire::arp::operation::REQUEST,
                    sender_mac: mac,
                    sender_ip: Ipv4Addr::UNSPECIFIED,
                    target_mac: MacAddr::ZERO,
                    target_ip,
                };
                let to = MacAddr::BROADCAST;
                (Cast::Broadcast, compose(|builder| builder.ethernet(to, mac).arp(&probe)))
            }
            IpAddr::V6(target) => {
                let group = ndp::solicited_node(target);
                let header = build::Ipv6 {
                    source: Ipv6Addr::UNSPECIFIED,
                    destination: group,
                    hop_limit: ndp::HOP_LIMIT,
                    ..build::Ipv6::default()
                };
                let to = ndp::multicast_mac(group);
                let probe = compose(|builder| {
                    let builder = builder.ethernet(to, mac).ipv6(&header);
                    let builder = builder.icmpv6(ndp::kind::NEIGHBOUR_SOLICITATION, 0);
                    builder.payload(&[0; 4]).payload(&target.octets())
                });
                (Cast::Multicast, probe)
            }
        };
        question.is_some_and(|question| self.engine.memory.stations.ask(self.vid(), cast, question))
    }

    /// Whether the address ends in the interface identifier of the guest's Ethernet address.
    fn is_made_of_mac(&self, address: IpAddr) -> bool {
        let IpAddr::V6(ip) = address else { return false };
        let own = Ipv6Addr::from(self.mac().eui64_link_local());
        ip.octets()[8..] == own.octets()[8..]
    }

    /// Whether an address is of this link, as far as that is known.
    fn is_on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(ip) => {
                self.engine.network.guard.subnet.is_some_and(|subnet| subnet.contains(&ip))
            }
            IpAddr::V6(ip) => is_link_local(ip) || self.is_announced(ip),
        }
    }

    fn is_announced(&self, ip: Ipv6Addr) -> bool {
        self.engine.network.guard.announced.iter().any(|net| net.contains(&ip))
            || self.engine.memory.prefixes.have(self.now, ip)
    }

    /// Whether a packet from outside may have this source.
    pub(super) fn may_be_outside(&self, source: IpAddr) -> bool {
        // Of an address that is not of this link all that is said in here is that a guest used it.
        !self.is_inside(source) || self.is_first_use(source) && !self.is_on_link(source)
    }

    /// Whether another station than the guest is known to have the address, outside.
    pub(super) fn is_in_use_outside(&self, address: IpAddr) -> bool {
        self.engine.memory.stations.has(self.now, self.vid(), address, self.mac())
    }

    /// Whether a station outside is known to have the address, and it is not that all have it.
    pub(super) fn is_stations_outside(&self, address: IpAddr) -> bool {
        self.engine.memory.stations.has(self.now, self.vid(), address, MacAddr::BROADCAST)
    }

    /// A station outside says that it has the address, or that all have it; false if it may not.
    pub(super) fn heard_outside(&mut self, address: IpAddr, mac: MacAddr) -> bool {
        if self.is_inside(address) {
            // What was given here in its VLAN stays here.
            if !self.is_first_use(address) {
                return false;
            }
            self.engine.end_in(self.vid(), address, BindingEnd::Outside);
        }
        let (now, vid) = (self.now, self.vid());
        self.engine.memory.stations.note(now, vid, address, mac);
        // What all have the sender has not said to be its own.
        if mac == self.mac() {
            self.server_heard(address);
        }
        true
    }

    /// Whose the address is in this VLAN.
    pub(super) fn owner(&self, address: IpAddr) -> Option<Owner> {
        self.engine.bindings.owner_in(self.vid(), address).0
    }

    /// Whether who has the address in this VLAN has it by first use alone.
    fn is_first_use(&self, address: IpAddr) -> bool {
        self.engine.bindings.is_first_use(self.vid(), address)
    }

    /// Whether the port has the address, without taking it.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        match self.owner(address) {
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
        self.engine.is_first_come(self.me.spec.mode, address, |ip| self.is_announced(ip))
            && !self.is_made_of_anothers_mac(address)
    }

    /// Whether the address ends in the interface identifier of another's Ethernet address (RFC 4291,
    /// appendix A): it is that station's to take, whenever it comes. A random identifier looks so
    /// once in 2^17, and is chosen anew then.
    fn is_made_of_anothers_mac(&self, address: IpAddr) -> bool {
        let IpAddr::V6(ip) = address else { return false };
        let [.., first, _, _, 0xff, 0xfe, _, _, _] = ip.octets() else { return false };
        // The bit for groups; the one beside it is turned over.
        first & 1 == 0 && !self.is_made_of_mac(address)
    }

    pub(super) fn is_no_station(&self, address: IpAddr) -> bool {
        self.engine.is_no_station(address)
    }

    /// Whether the port may have one more first-come address, and which one it has to give up for it.
    /// One that it has in several VLANs counts once: a guest has its link-local address in each.
    fn room_for(&mut self, address: IpAddr) -> Result<Option<IpAddr>, ()> {
        let limit = match address {
            IpAddr::V4(_) => self.me.spec.first_come.v4,
            IpAddr::V6(_) => self.me.spec.first_come.v6,
        };
        let limit = limit.min(FIRST_COME_MAX);
        // Who has many and tries for more costs the others little.
        let found_full = self.me.found_full;
        if self.me.claims.len() > FEW
            && found_full.is_some_and(|at| self.now.saturating_since(at) < FULL_TIME)
        {
            return Err(());
        }
        // Those that ended meanwhile are nobody's, or somebody else's, or were given.
        let (engine, id, now) = (&*self.engine, self.id, self.now);
        self.me.claims.retain(|((vid, known), _)| {
            engine.bindings.source_in(*vid, *known) == Some((id, BindingSource::FirstUse))
        });
        // Each address of the version, and when it was last used in any VLAN.
        let its = || {
            let same = self.me.claims.chunk_by(|((_, one), _), ((_, next), _)| one == next);
            let last = same.filter_map(|same| {
                let ((_, known), _) = same.first()?;
                Some((*known, same.iter().map(|(_, at)| *at).max()?))
            });
            last.filter(|(known, _)| known.is_ipv4() == address.is_ipv4())
        };
        if its().any(|(known, _)| known == address) || its().count() < usize::from(limit) {
            return Ok(None);
        }
        let idle = its().filter(|(_, at)| now.saturating_since(*at) >= IDLE);
        let idle = idle.min_by_key(|(_, at)| *at).map(|(known, _)| Some(known));
        if idle.is_none() {
            self.me.found_full = Some(now);
        }
        idle.ok_or(())
    }

    fn take(&mut self, address: IpAddr) -> Claim {
        let Ok(idle) = self.room_for(address) else { return Claim::Limit };
        if let Some(idle) = idle {
            let Self { engine, me, .. } = self;
            me.claims.retain(|((vid, known), _)| {
                let stays = *known != idle;
                if !stays {
                    engine.end_in(*vid, idle, BindingEnd::Unbound);
                }
                stays
            });
        }
        match self.bind(address) {
            Ok(()) => {
                let (vid, claims) = (self.vid(), &mut self.me.claims);
                let place = claims.iter().position(|((_, known), _)| *known >= address);
                claims.insert(place.unwrap_or(claims.len()), ((vid, address), self.now));
                self.engine.memory.forget_questions();
                Claim::Own
            }
            Err(BindError::TableFull) => {
                // Others have filled it.
                self.said.excused = true;
                Claim::Limit
            }
            Err(BindError::PortLimit { .. }) => {
                self.me.found_full = Some(self.now);
                Claim::Limit
            }
            Err(_) => Claim::Foreign,
        }
    }

    /// Gives a first-come address that is in use its time again, and asks the outside once more.
    fn renew(&mut self, address: IpAddr) {
        let (now, local) = (self.now, (self.vid(), address));
        let claims = &self.me.claims;
        let place = claims.iter().position(|(known, _)| *known == local).or_else(|| {
            // What is planned for the port is its own in every VLAN, wherever it used it first.
            let place = claims.iter().position(|((_, known), _)| *known == address)?;
            self.engine.bindings.is_everywhere(address).then_some(place)
        });
        let Some((place, claim)) =
            place.and_then(|place| Some((place, self.me.claims.get_mut(place)?)))
        else {
            return;
        };
        if now.saturating_since(claim.1) >= RENEWAL {
            let source = self.engine.bindings.source_in(local.0, address);
            if source.is_some_and(|(port, why)| port == self.id && why > BindingSource::FirstUse) {
                // It holds as long as who gave it says.
                self.me.claims.remove(place);
                return;
            }
            claim.1 = now;
            // It is the port's already, so that nothing can be in the way.
            let _ = self.bind(address);
            if self.engine.has_outside(self.vid()) && !self.is_made_of_mac(address) {
                self.ask(address);
            }
        }
    }

    fn bind(&mut self, address: IpAddr) -> Result<(), BindError> {
        let lifetime = if self.me.is_strict() {
            Lifetime::Forever
        } else {
            Lifetime::Until(self.now + CLAIM_TIME)
        };
        let (vlan, source) = (Some(self.vid()), BindingSource::FirstUse);
        self.engine.bind_in(self.id, vlan, address.into(), lifetime, source)
    }

    /// Who has an address, as far as this port may know: of who is in another VLAN, or apart, only that
    /// there is somebody.
    pub(super) fn station(&self, address: IpAddr) -> Station {
        let (owner, planned) = self.engine.bindings.owner_in(self.vid(), address);
        match owner {
            None => Station::Unknown,
            Some(Owner::Planned(mac)) => Station::Away(mac),
            Some(Owner::Reserved) => Station::Unknown,
            Some(Owner::Port(owner)) if owner == self.id => Station::At(owner, None),
            Some(Owner::Port(owner)) => {
                let Some(port) = self.engine.ports.get(owner) else { return Station::Unknown };
                if !port.carries(self.vid(), false) || self.engine.are_apart(self.id, port) {
                    return Station::Apart;
                }
                // A client may bring an address of its own to a port that one is planned for.
                let fixed = port.spec.source == SourceMode::Static;
                let mac = match (planned, &*port.spec.macs) {
                    (Some(mac), _) if fixed => Some(mac),
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
        match self.owner(address) {
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
        // The router is among those that may serve.
        self.engine
            .servers
            .iter()
            .filter_map(|&index| self.engine.ports.at(index))
            .find(|port| port.spec.role == Role::Router && port.carries(vid, false))
            .and_then(|port| port.spec.macs.first().copied())
    }
}

impl Engine {
    /// Whether a port of this mode may take an address that is nobody's. `announced`: whether an
    /// address is of a prefix from which hosts make theirs.
    fn is_first_come(
        &self,
        mode: GuardMode,
        address: IpAddr,
        announced: impl Fn(Ipv6Addr) -> bool,
    ) -> bool {
        if self.is_no_station(address) || self.is_of_other_network(address) {
            return false;
        }
        match (mode, address) {
            (GuardMode::Off, _) => false,
            (GuardMode::Learn, IpAddr::V4(ip)) => {
                let NetworkGuard { subnet, first_come, .. } = &self.network.guard;
                match subnet {
                    Some(subnet) if subnet.contains(&ip) => {
                        first_come.is_none_or(|(first, last)| first <= ip && ip <= last)
                    }
                    // Nobody knows its broadcast address, but what it most often is.
                    Some(_) | None => ip.octets()[3] != 255,
                }
            }
            (_, IpAddr::V4(_)) => false,
            (_, IpAddr::V6(ip)) if self.is_kept(ip) => false,
            (mode, IpAddr::V6(ip)) => {
                is_link_local(ip) || mode == GuardMode::Learn || announced(ip)
            }
        }
    }

    /// The guard of a port has this mode now, and had another: what the port took first and could
    /// not take now is nobody's again.
    pub(crate) fn end_what_mode_forbids(&mut self, port: PortId, mode: GuardMode) {
        self.end_first_uses(|engine, its, ip| {
            // Whether a prefix is still announced is no question of the mode.
            its == port && !engine.is_first_come(mode, ip, |ip| engine.is_of_prefix(ip))
        });
    }

    fn is_of_prefix(&self, ip: Ipv6Addr) -> bool {
        self.network.guard.announced.iter().any(|net| net.contains(&ip))
            || self.memory.prefixes.had(ip)
    }
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.octets().starts_with(&[0xfe, 0x80, 0, 0, 0, 0, 0, 0])
}
