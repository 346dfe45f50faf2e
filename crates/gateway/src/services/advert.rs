//! Router advertisement (RFC 4861, 6.2).
//!
//! # Theory of operation
//!
//! Guests learn the prefix, and make their addresses in it (RFC 4862); the MTU; the name server and
//! the domain (RFC 8106); and whether the gateway is a way to everywhere. It is that only while the
//! host has a default route of IPv6 itself: otherwise the lifetime is zero, so that guests do not
//! try, and prefixes of networks that are routed to this one are told by themselves (RFC 4191).
//!
//! Advertisements go to all guests at random times between [`INTERVAL_MIN`] and [`INTERVAL_MAX`],
//! the first [`INITIAL_COUNT`] after a start or a change sooner, and never two within
//! [`SPACING`]. A guest that asks is answered alone, after a random delay, which is short: it is
//! there to keep several routers apart, and this is the only one. A guest that asks from the
//! unspecified address cannot be answered alone; all get that answer.
//!
//! A prefix that the network does not have any more is told with a preferred lifetime of zero for
//! two hours, which is as long as hosts keep it at least (RFC 4862, 5.5.3). Name servers, domains and
//! routes that it does not have any more are told with a lifetime of zero ([`former`]).
//!
//! # Limits
//!
//! [`ANSWERS_MAX`] solicited answers wait at one time, one for each guest; a guest that asks faster
//! than [`RATE`] is not listened to. [`OLD_PREFIXES_MAX`] former prefixes, [`ROUTES_MAX`] routes with
//! former ones.

mod former;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use engine::{Instant, Rate};
use ipnet::{IpNet, Ipv6Net};
use wire::MacAddr;
use wire::ipv6::ALL_NODES;
use wire::ndp::{self, Options, option};

use super::chance::Chance;
use super::message::{Answer, Body, Solicitation};
use super::pace::Pace;
use super::{Outbox, ServiceReason};
use crate::GuestKey;
use crate::plan::GatewayPlan;

use former::Former;

/// Shortest and longest time between two periodic advertisements (MinRtrAdvInterval,
/// MaxRtrAdvInterval).
pub const INTERVAL_MIN: Duration = Duration::from_secs(200);
pub const INTERVAL_MAX: Duration = Duration::from_secs(600);
/// The longest time between the first few (MAX_INITIAL_RTR_ADVERT_INTERVAL).
pub const INITIAL_INTERVAL: Duration = Duration::from_secs(16);
/// How many of them there are (MAX_INITIAL_RTR_ADVERTISEMENTS).
pub const INITIAL_COUNT: u8 = 3;
/// The shortest time between two advertisements to all (MIN_DELAY_BETWEEN_RAS).
pub const SPACING: Duration = Duration::from_secs(3);
/// The longest time until a solicitation is answered; at most MAX_RA_DELAY_TIME, half a second.
pub const DELAY_MAX: Duration = Duration::from_millis(20);

/// How long the gateway is a default router, and how long DNS and routes hold.
const LIFETIME: u16 = 1800;
const KEPT: Duration = Duration::from_secs(LIFETIME as u64);
/// How long addresses of the prefix are valid and preferred.
const VALID: u32 = 86_400;
const PREFERRED: u32 = 14_400;
/// How long a former prefix is told, and the most that hosts make of its lifetime.
const FAREWELL: Duration = Duration::from_secs(7200);

/// Answers to single guests that wait for their time.
const ANSWERS_MAX: usize = 256;
const OLD_PREFIXES_MAX: usize = 4;
const ROUTES_MAX: usize = 16;
/// Solicitations of one guest in a second, and at once.
const RATE: Rate = Rate::new(2, 10);

/// What is advertised.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Network {
    prefix: Ipv6Net,
    own: Ipv6Addr,
    mac: MacAddr,
    mtu: u16,
    nat: bool,
    /// DHCPv6 has more to tell.
    other: bool,
    name_servers: Vec<Ipv6Addr>,
    /// As it stands in DNS messages.
    search: Vec<u8>,
    routes: Vec<Ipv6Net>,
}

/// An answer to one guest.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Instant,
    guest: GuestKey,
    mac: MacAddr,
    address: Ipv6Addr,
}

/// Advertises the gateway and the prefix of one network.
#[derive(Debug)]
pub struct Advertiser {
    /// `None` while the service is off.
    network: Option<Network>,
    outside: bool,
    chance: Chance,
    pace: Pace,
    /// When all are told next.
    due: Instant,
    /// How many of the first advertisements are left.
    initial: u8,
    last: Option<Instant>,
    waiting: Vec<Waiting>,
    /// Former prefixes, and until when they are told.
    old: Vec<(Ipv6Net, Instant)>,
    former: Former,
}

impl Network {
    /// What is told with name servers.
    fn domain(&self) -> Option<&[u8]> {
        Some(self.search.as_slice()).filter(|_| !self.name_servers.is_empty())
    }
}

fn network_of(plan: &GatewayPlan) -> Option<Network> {
    let prefix = plan.prefix.filter(|_| plan.advertise)?;
    let v6 = |net: &IpNet| match net {
        IpNet::V6(net) => Some(*net),
        IpNet::V4(_) => None,
    };
    let name_servers = super::name_servers(plan).into_iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    let domain = super::dns::Name::of([plan.name.as_str(), "internal"]);
    Some(Network {
        prefix: prefix.trunc(),
        own: plan.link_local(),
        mac: plan.mac,
        mtu: plan.mtu,
        nat: plan.nat,
        other: plan.dhcpv6,
        name_servers: name_servers.take(3).collect(),
        search: domain.map(|name| name.wire().to_vec()).unwrap_or_default(),
        routes: plan.inside.iter().filter_map(v6).take(ROUTES_MAX).collect(),
    })
}

impl Advertiser {
    pub(crate) fn new(plan: &GatewayPlan, hash_key: &[u8; 16]) -> Self {
        Self {
            network: network_of(plan),
            outside: false,
            chance: Chance::new(hash_key, b'a'),
            pace: Pace::new(RATE),
            due: Instant::EPOCH,
            initial: INITIAL_COUNT,
            last: None,
            waiting: Vec::new(),
            old: Vec::new(),
            former: Former::default(),
        }
    }

    pub(crate) fn apply(&mut self, now: Instant, plan: &GatewayPlan, out: &mut Outbox) {
        let new = network_of(plan);
        if new == self.network {
            return;
        }
        if let Some(old) = &self.network {
            match &new {
                None => {
                    self.farewell(now, out);
                    self.old.clear();
                    self.former.clear();
                }
                Some(new) => {
                    if new.prefix != old.prefix {
                        self.old.insert(0, (old.prefix, now + FAREWELL));
                        self.old.truncate(OLD_PREFIXES_MAX);
                    }
                    self.former.change(now, old, new);
                }
            }
        }
        if let Some(new) = &new {
            self.old.retain(|(prefix, _)| *prefix != new.prefix);
        }
        self.network = new;
        self.tell_soon(now);
    }

    /// Whether the host has a default route of its own.
    pub(crate) fn set_outside(&mut self, now: Instant, outside: bool) {
        if self.outside != outside {
            self.outside = outside;
            self.tell_soon(now);
        }
    }

    /// Something changed: all are told, a few times in a row.
    fn tell_soon(&mut self, now: Instant) {
        self.initial = INITIAL_COUNT;
        self.due = self.last.map_or(now, |last| (last + SPACING).max(now));
    }

    /// Takes a router solicitation; false if the service is off.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        solicitation: &Solicitation<'_>,
        out: &mut Outbox,
    ) -> bool {
        if self.network.is_none() {
            return false;
        }
        if !self.pace.take(now, solicitation.guest) {
            out.count(ServiceReason::SolicitLimited);
            return true;
        }
        if !is_valid(solicitation) {
            out.count(ServiceReason::SolicitMalformed);
            return true;
        }
        let delay = self.chance.between(Duration::ZERO, DELAY_MAX);
        let address = solicitation.source;
        if address.is_unspecified() {
            let spaced = self.last.map_or(now, |last| last + SPACING);
            self.due = self.due.min((now + delay).max(spaced));
        } else if self.waiting.iter().any(|waiting| waiting.guest == solicitation.guest)
            || self.waiting.len() >= ANSWERS_MAX
        {
            out.count(ServiceReason::SolicitLimited);
        } else {
            let Solicitation { guest, mac, .. } = *solicitation;
            self.waiting.push(Waiting { due: now + delay, guest, mac, address });
        }
        true
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.network.as_ref()?;
        let waiting = self.waiting.iter().map(|waiting| waiting.due).min();
        Some(waiting.map_or(self.due, |waiting| waiting.min(self.due)))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        let Some(network) = self.network.clone() else { return };
        self.old.retain(|(_, until)| *until > now);
        self.former.expire(now);
        let lifetime = if self.outside && network.nat { LIFETIME } else { 0 };
        let message = self.message(now, &network, lifetime);
        let (due, waiting) = self.waiting.iter().partition(|waiting| waiting.due <= now);
        self.waiting = waiting;
        for Waiting { mac, address, .. } in due {
            out.count(ServiceReason::AdvertSolicited);
            out.send(answer(&network, Some(mac), address, message.clone()));
        }
        if self.due <= now {
            out.count(ServiceReason::AdvertPeriodic);
            out.send(answer(&network, None, ALL_NODES, message));
            self.last = Some(now);
            let mut interval = self.chance.between(INTERVAL_MIN, INTERVAL_MAX);
            self.initial = self.initial.saturating_sub(1);
            if self.initial > 0 {
                interval = interval.min(INITIAL_INTERVAL);
            }
            self.due = now + interval;
        }
    }

    /// Tells all that the gateway is none any more, and takes back what hosts may still know of before.
    pub(crate) fn farewell(&mut self, now: Instant, out: &mut Outbox) {
        self.old.retain(|(_, until)| *until > now);
        self.former.expire(now);
        let Some(network) = &self.network else { return };
        let mut message = head(network, 0);
        prefix(&mut message, network.prefix, FAREWELL.as_secs() as u32, 0);
        self.old_prefixes(now, &mut message);
        lasting(&mut message, network, 0);
        self.former.write(&mut message);
        out.count(ServiceReason::AdvertPeriodic);
        out.send(answer(network, None, ALL_NODES, message));
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.waiting.retain(|waiting| waiting.guest != guest);
        self.pace.forget(guest);
    }

    /// Everything behind the checksum.
    fn message(&self, now: Instant, network: &Network, lifetime: u16) -> Vec<u8> {
        let mut message = head(network, lifetime);
        prefix(&mut message, network.prefix, VALID, PREFERRED);
        self.old_prefixes(now, &mut message);
        lasting(&mut message, network, u32::from(LIFETIME));
        self.former.write(&mut message);
        message
    }

    /// Former prefixes, each for as long as hosts may keep it.
    fn old_prefixes(&self, now: Instant, message: &mut Vec<u8>) {
        for (old, until) in &self.old {
            prefix(message, *old, until.saturating_since(now).as_secs() as u32, 0);
        }
    }
}

/// RFC 4861, 6.1.1. The checksum was looked at before.
fn is_valid(solicitation: &Solicitation<'_>) -> bool {
    let message = solicitation.message;
    let Some([ndp::kind::ROUTER_SOLICITATION, 0, ..]) = message.first_chunk::<8>() else {
        return false;
    };
    let mut options = Options::new(message.get(8..).unwrap_or_default());
    let is_sound = options.is_sound();
    let names_itself = options.any(|found| found.kind == option::SOURCE_LINK_ADDRESS);
    let source = solicitation.source;
    solicitation.hop_limit == ndp::HOP_LIMIT
        && is_sound
        && !source.is_multicast()
        && !(source.is_unspecified() && names_itself)
}

fn answer(
    network: &Network,
    link: Option<MacAddr>,
    destination: Ipv6Addr,
    payload: Vec<u8>,
) -> Answer {
    let body = Body::Icmpv6 { kind: ndp::kind::ROUTER_ADVERTISEMENT, payload };
    Answer { link, source: network.own.into(), destination: destination.into(), body }
}

/// The fixed part, our Ethernet address and the MTU (RFC 4861, 4.2).
fn head(network: &Network, lifetime: u16) -> Vec<u8> {
    let mut message = Vec::with_capacity(160);
    message.extend_from_slice(&[64, if network.other { 0x40 } else { 0 }]);
    message.extend_from_slice(&lifetime.to_be_bytes());
    // Reachable time and retransmission timer are the hosts' own.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[option::SOURCE_LINK_ADDRESS, 1]);
    message.extend_from_slice(&network.mac.0);
    message.extend_from_slice(&[option::MTU, 1, 0, 0]);
    message.extend_from_slice(&u32::from(network.mtu).to_be_bytes());
    message
}

/// A prefix that is on the link and that addresses are made in (RFC 4861, 4.6.2).
fn prefix(message: &mut Vec<u8>, prefix: Ipv6Net, valid: u32, preferred: u32) {
    message.extend_from_slice(&[option::PREFIX, 4, prefix.prefix_len(), 0xc0]);
    message.extend_from_slice(&valid.to_be_bytes());
    message.extend_from_slice(&preferred.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&prefix.network().octets());
}

/// What hosts keep for this time: name servers, domain, routes.
fn lasting(message: &mut Vec<u8>, network: &Network, lifetime: u32) {
    name_servers(message, &network.name_servers, lifetime);
    if let Some(search) = network.domain() {
        domain(message, search, lifetime);
    }
    for net in &network.routes {
        route(message, *net, lifetime);
    }
}

/// RFC 8106, 5.1. A few of them, or none.
fn name_servers(message: &mut Vec<u8>, servers: &[Ipv6Addr], lifetime: u32) {
    if servers.is_empty() {
        return;
    }
    message.extend_from_slice(&[option::RDNSS, 1 + 2 * servers.len() as u8, 0, 0]);
    message.extend_from_slice(&lifetime.to_be_bytes());
    for server in servers {
        message.extend_from_slice(&server.octets());
    }
}

/// RFC 8106, 5.2. A name of at most 43 bytes.
fn domain(message: &mut Vec<u8>, search: &[u8], lifetime: u32) {
    let padded = search.len().div_ceil(8) * 8;
    message.extend_from_slice(&[option::DNSSL, 1 + (padded / 8) as u8, 0, 0]);
    message.extend_from_slice(&lifetime.to_be_bytes());
    message.extend_from_slice(search);
    message.resize(message.len() + padded - search.len(), 0);
}

/// RFC 4191, 2.3: a whole address, medium preference.
fn route(message: &mut Vec<u8>, net: Ipv6Net, lifetime: u32) {
    message.extend_from_slice(&[option::ROUTE, 3, net.prefix_len(), 0]);
    message.extend_from_slice(&lifetime.to_be_bytes());
    message.extend_from_slice(&net.network().octets());
}

#[cfg(test)]
mod tests;
