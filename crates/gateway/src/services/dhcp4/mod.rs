//! The DHCPv4 server (RFC 2131).
//!
//! # Theory of operation
//!
//! The gateway is the only server of its network, so it refuses what cannot be instead of keeping
//! silent, and gives a client that asks for an address it had the same one again, also when the
//! lease was forgotten. The guard sees to it that there is no other server.
//!
//! * A guest that the address plan knows, by its MAC address, gets its planned address and no
//!   other ([`Server::reserve`]). No bindings are told of it: the address is the guest's anyhow.
//! * Everybody else gets a lease ([`super::leases`]) from the part of the subnet that the plan
//!   leaves for that: half to three quarters of its host numbers. Each lease given or renewed is
//!   told as a [`GatewayEvent::Bind`], each that ends as an `Unbind`.
//! * A client that sets its address itself is told about the network only (DHCPINFORM).
//!
//! A message must come from the MAC address that it is about; there are no relays. What a client
//! calls itself is shown to people and goes nowhere else. An offered address is not probed first:
//! whoever uses one that was not given to him is stopped by the guard.
//!
//! An answer goes to the client's address if it has one that it can be reached at; else to all,
//! if the client asked for that or is refused; else to its Ethernet address, because it cannot
//! answer ARP for the address it is being told of (RFC 2131, 4.1).

mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use engine::{Instant, Rate};
use ipnet::Ipv4Net;
use wire::MacAddr;
use wire::dhcp4::{CLIENT_PORT, SERVER_PORT, option};

use super::leases::{Client, Lease, Leases, Lost, SavedLease, State};
use super::message::{Answer, Body, Datagram};
use super::pace::Pace;
use super::{Outbox, ServiceReason};
use crate::GuestKey;
use crate::event::{GatewayEvent, Subject};
use crate::plan::GatewayPlan;
use crate::report::LeaseReport;
use message::{Kind, Reply, Request};

/// How long a lease is, when the client does not ask for another time.
pub const LEASE: Duration = Duration::from_secs(3600);
/// Shortest and longest lease that a client can ask for.
const LEASE_MIN: Duration = Duration::from_secs(120);
const LEASE_MAX: Duration = Duration::from_secs(86_400);
/// How much longer a lease runs here than at the client, whose clock began later.
const GRACE: Duration = Duration::from_secs(10);
/// Messages of one guest in a second, and at once.
const RATE: Rate = Rate::new(10, 40);

/// What clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Network {
    subnet: Ipv4Net,
    server: Ipv4Addr,
    mtu: u16,
    name_servers: Vec<Ipv4Addr>,
    domain: String,
    /// The domain as it stands in DNS messages.
    search: Vec<u8>,
}

/// The planned address of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reservation {
    mac: MacAddr,
    address: Ipv4Addr,
}

/// The DHCPv4 server of one network.
#[derive(Debug)]
pub struct Server {
    /// `None` while the service is off.
    network: Option<Network>,
    reservations: BTreeMap<String, Reservation>,
    /// Guests that found their planned address in use by another, and have not renewed it since.
    conflicts: BTreeSet<String>,
    leases: Leases,
    pace: Pace,
}

/// The addresses that leases are given of.
fn leases_of(plan: &GatewayPlan) -> Leases {
    let none = Ipv4Addr::UNSPECIFIED;
    let (first, end) = plan.subnet.map_or((none, none), |subnet| {
        let size = 1_u32.checked_shl(32 - u32::from(subnet.prefix_len())).unwrap_or(0);
        let base = subnet.network().to_bits();
        (Ipv4Addr::from_bits(base + size / 2), Ipv4Addr::from_bits(base + size / 4 * 3))
    });
    Leases::new(first, end, plan.limits.leases_per_guest)
}

fn network_of(plan: &GatewayPlan) -> Option<Network> {
    let subnet = plan.subnet.filter(|_| plan.dhcp)?;
    let mut name_servers: Vec<Ipv4Addr> = super::name_servers(plan)
        .into_iter()
        .filter_map(|address| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        })
        .collect();
    name_servers.truncate(3);
    let domain = format!("{}.internal", plan.name);
    let search = super::dns::Name::from_text(&domain).map(|name| name.wire().to_vec());
    Some(Network {
        subnet,
        server: plan.gateway4()?,
        mtu: plan.mtu,
        name_servers,
        domain,
        search: search.unwrap_or_default(),
    })
}

impl Server {
    pub(crate) fn new(plan: &GatewayPlan) -> Self {
        Self {
            network: network_of(plan),
            reservations: BTreeMap::new(),
            conflicts: BTreeSet::new(),
            leases: leases_of(plan),
            pace: Pace::new(RATE),
        }
    }

    pub(crate) fn apply(&mut self, plan: &GatewayPlan, out: &mut Outbox) {
        self.network = network_of(plan);
        let lost = self.leases.move_to(leases_of(plan));
        tell_lost(lost, out);
    }

    pub(crate) fn listens(&self, destination: SocketAddr) -> bool {
        let Some(network) = &self.network else { return false };
        let IpAddr::V4(address) = destination.ip() else { return false };
        destination.port() == SERVER_PORT
            && (address == network.server
                || address == Ipv4Addr::BROADCAST
                || address == network.subnet.broadcast())
    }

    /// The planned address of a guest, or that it has none.
    pub(crate) fn reserve(
        &mut self,
        name: &str,
        mac: Option<MacAddr>,
        address: Option<Ipv4Addr>,
        out: &mut Outbox,
    ) {
        match (mac, address) {
            (Some(mac), Some(address)) => {
                self.reservations.insert(name.to_owned(), Reservation { mac, address });
            }
            _ => {
                self.reservations.remove(name);
            }
        }
        let reserved = self.reservations.values().map(|reservation| reservation.address).collect();
        tell_lost(self.leases.reserve(reserved), out);
    }

    pub(crate) fn unreserve(&mut self, name: &str) {
        self.conflicts.remove(name);
        self.reservations.remove(name);
        let reserved = self.reservations.values().map(|reservation| reservation.address).collect();
        // Fewer than before: nobody loses anything.
        self.leases.reserve(reserved);
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.leases.guest_gone(guest);
        self.pace.forget(guest);
    }

    /// Somebody else has an address that was leased.
    pub(crate) fn refuse(&mut self, now: Instant, address: Ipv4Addr, out: &mut Outbox) {
        if self.leases.decline(now, address) {
            out.count(ServiceReason::DhcpDecline);
            unbind(address, out);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.leases.next_deadline()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        tell_lost(self.leases.expire(now), out);
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: &Datagram<'_>, out: &mut Outbox) {
        let Some(network) = self.network.clone() else { return };
        if !self.pace.take(now, datagram.guest) {
            out.count(ServiceReason::DhcpLimited);
            return;
        }
        let Some(request) = Request::parse(datagram.payload) else {
            out.count(ServiceReason::DhcpMalformed);
            return;
        };
        if request.mac != datagram.mac
            || !request.mac.is_unicast()
            || !request.giaddr.is_unspecified()
        {
            out.count(ServiceReason::DhcpForged);
            return;
        }
        if request.server.is_some_and(|server| server != network.server) {
            out.count(ServiceReason::DhcpOther);
            return;
        }
        let turn = Turn { now, guest: datagram.guest, network: &network, request: &request };
        match request.kind {
            Kind::Discover => self.discover(&turn, out),
            Kind::Request => self.request(&turn, out),
            Kind::Decline => self.declined(&turn, out),
            Kind::Release => self.released(&turn, out),
            Kind::Inform => turn.inform(datagram.source, out),
            Kind::Offer | Kind::Ack | Kind::Nak => out.count(ServiceReason::DhcpOther),
        }
    }

    /// The planned address of the client, and the name it is planned under.
    fn planned(&self, mac: MacAddr) -> Option<(&str, Ipv4Addr)> {
        self.reservations
            .iter()
            .find(|(_, reservation)| reservation.mac == mac)
            .map(|(name, reservation)| (name.as_str(), reservation.address))
    }

    fn discover(&mut self, turn: &Turn<'_>, out: &mut Outbox) {
        if let Some((name, address)) = self.planned(turn.request.mac) {
            let kind = turn.first_answer(out);
            return turn.answer(kind, address, Some(name), out);
        }
        let client = turn.client();
        let mut lost = Vec::new();
        let wish = turn.request.requested;
        let offered = self.leases.offer(turn.now, turn.guest, &client, wish, &mut lost);
        tell_lost(lost, out);
        let Some(address) = offered else {
            out.count(ServiceReason::DhcpExhausted);
            return;
        };
        let kind = turn.first_answer(out);
        if kind == Kind::Ack && !self.bind(turn, address, out) {
            return;
        }
        turn.answer(kind, address, None, out);
    }

    fn request(&mut self, turn: &Turn<'_>, out: &mut Outbox) {
        let request = turn.request;
        // A client that chose, or that boots with an address it remembers, names it in an option;
        // one that renews uses it (RFC 2131, 4.3.2).
        let Some(address) =
            request.requested.or(Some(request.ciaddr).filter(|ciaddr| !ciaddr.is_unspecified()))
        else {
            out.count(ServiceReason::DhcpMalformed);
            return;
        };
        if let Some((name, planned)) = self.planned(request.mac) {
            if planned == address {
                let name = name.to_owned();
                out.count(ServiceReason::DhcpAck);
                turn.answer(Kind::Ack, address, Some(&name), out);
                // Who renews it uses it; who takes it may yet find that another does (RFC 2131, 4.4.1).
                if request.requested.is_none() && self.conflicts.remove(&name) {
                    let about = Subject::Address(name);
                    out.events.push_back(GatewayEvent::Well(about));
                }
            } else {
                turn.refuse(out);
            }
        } else if self.bind(turn, address, out) {
            out.count(ServiceReason::DhcpAck);
            turn.answer(Kind::Ack, address, None, out);
        } else {
            turn.refuse(out);
        }
    }

    /// Gives or renews a lease, and tells whose the address is now.
    fn bind(&mut self, turn: &Turn<'_>, address: Ipv4Addr, out: &mut Outbox) -> bool {
        let lifetime = turn.lease() + GRACE;
        let mut lost = Vec::new();
        let host_name = turn.request.host_name.clone();
        let until = turn.now + lifetime;
        let client = turn.client();
        let bound = self.leases.bind(turn.guest, &client, address, host_name, until, &mut lost);
        tell_lost(lost, out);
        if bound {
            out.events.push_back(GatewayEvent::Bind {
                guest: turn.guest,
                mac: turn.request.mac,
                address: address.into(),
                lifetime,
            });
            leases_changed(out);
        }
        bound
    }

    fn released(&mut self, turn: &Turn<'_>, out: &mut Outbox) {
        let address = turn.request.ciaddr;
        if self.leases.release(turn.now, &turn.client(), address) {
            out.count(ServiceReason::DhcpRelease);
            unbind(address, out);
        } else if self.planned(turn.request.mac).is_some_and(|(_, planned)| planned == address) {
            // It stays the guest's all the same.
            out.count(ServiceReason::DhcpRelease);
        } else {
            out.count(ServiceReason::DhcpOther);
        }
    }

    fn declined(&mut self, turn: &Turn<'_>, out: &mut Outbox) {
        let Some(address) = turn.request.requested else {
            out.count(ServiceReason::DhcpMalformed);
            return;
        };
        let planned = self.planned(turn.request.mac);
        if let Some((name, planned)) = planned.map(|(name, at)| (name.to_owned(), at)) {
            out.count(ServiceReason::DhcpDecline);
            // There is nothing else to give; a person has to look.
            if planned == address {
                let sentence = format!(
                    "Guest {name} found that another uses its address {address}: look it up with `netherd show \
                    bindings`, and end whoever has it."
                );
                self.conflicts.insert(name.clone());
                let about = Subject::Address(name);
                out.events.push_back(GatewayEvent::Trouble { about, sentence });
            }
        } else if self.leases.of(&turn.client(), address).is_some() {
            self.leases.decline(turn.now, address);
            out.count(ServiceReason::DhcpDecline);
            unbind(address, out);
        } else {
            out.count(ServiceReason::DhcpOther);
        }
    }

    pub(crate) fn leases(&self, now: Instant) -> Vec<LeaseReport> {
        let bound = self.leases.iter().filter(|lease| lease.state == State::Bound);
        let report = |lease: &Lease| LeaseReport {
            address: lease.address.into(),
            mac: lease.client.mac,
            guest: lease.guest,
            host_name: lease.host_name.clone(),
            remaining: lease.until.saturating_since(now),
        };
        bound.map(report).collect()
    }

    pub(crate) fn saved_leases(&self, now: Instant, unix: u64) -> Vec<SavedLease> {
        let kept = |lease: &&Lease| matches!(lease.state, State::Bound | State::Ended);
        let save = |lease: &Lease| SavedLease {
            address: lease.address,
            mac: lease.client.mac.0,
            client_id: lease.client.id.clone(),
            host_name: lease.host_name.clone(),
            until: (unix + lease.until.saturating_since(now).as_secs())
                .saturating_sub(now.saturating_since(lease.until).as_secs()),
        };
        self.leases.iter().filter(kept).map(save).collect()
    }

    pub(crate) fn load_leases(&mut self, now: Instant, unix: u64, saved: Vec<SavedLease>) {
        for lease in saved {
            let client = Client::new(MacAddr(lease.mac), &lease.client_id);
            if client.mac.is_unicast() && client.id.len() <= message::CLIENT_ID_MAX {
                // A clock that was set back does not make leases longer.
                let left = Duration::from_secs(lease.until.saturating_sub(unix));
                let until = now + left.min(LEASE_MAX + GRACE);
                self.leases.restore(client, lease, until, left.is_zero());
            }
        }
    }
}

/// One message and its surroundings.
#[derive(Clone, Copy)]
struct Turn<'a> {
    now: Instant,
    guest: GuestKey,
    network: &'a Network,
    request: &'a Request,
}

impl Turn<'_> {
    fn client(&self) -> Client {
        Client::new(self.request.mac, &self.request.client_id)
    }

    fn lease(&self) -> Duration {
        let wish = self.request.lease_time.map(u64::from).map(Duration::from_secs);
        wish.map_or(LEASE, |wish| wish.clamp(LEASE_MIN, LEASE_MAX))
    }

    /// What a discovery is answered with: the lease itself, if the client takes that (RFC 4039).
    fn first_answer(&self, out: &mut Outbox) -> Kind {
        if self.request.rapid_commit {
            out.count(ServiceReason::DhcpAck);
            Kind::Ack
        } else {
            out.count(ServiceReason::DhcpOffer);
            Kind::Offer
        }
    }

    /// An offer, or a lease.
    fn answer(&self, kind: Kind, address: Ipv4Addr, name: Option<&str>, out: &mut Outbox) {
        let mut reply = Reply::new(self.request, kind, address, self.network.server);
        let lease = self.lease();
        // Renewal at half, rebinding at seven eighths (RFC 2131, 4.4.5).
        for (code, time) in [
            (option::LEASE_TIME, lease),
            (option::RENEWAL_TIME, lease / 2),
            (option::REBINDING_TIME, lease / 8 * 7),
        ] {
            // A day at most.
            reply.option(code, &(time.as_secs() as u32).to_be_bytes());
        }
        if kind == Kind::Ack && self.request.kind == Kind::Discover {
            reply.option(option::RAPID_COMMIT, &[]);
        }
        self.configuration(&mut reply, name);
        self.send(reply, address, out);
    }

    /// What every host of the network is told, as far as the client wants to know.
    fn configuration(&self, reply: &mut Reply, name: Option<&str>) {
        let network = self.network;
        // The mask stands before the router (RFC 2132, 3.3).
        let mut option = |code: u8, value: &[u8]| {
            if !value.is_empty() && (code == option::SUBNET_MASK || self.request.asks_for(code)) {
                reply.option(code, value);
            }
        };
        let servers: Vec<u8> = network.name_servers.iter().flat_map(Ipv4Addr::octets).collect();
        option(option::SUBNET_MASK, &network.subnet.netmask().octets());
        option(option::ROUTER, &network.server.octets());
        option(option::NAME_SERVER, &servers);
        option(option::DOMAIN, network.domain.as_bytes());
        option(option::BROADCAST, &network.subnet.broadcast().octets());
        option(option::MTU, &network.mtu.to_be_bytes());
        option(option::SEARCH, &network.search);
        option(option::HOST_NAME, name.unwrap_or_default().as_bytes());
    }

    fn inform(&self, source: SocketAddr, out: &mut Outbox) {
        let IpAddr::V4(source) = source.ip() else { return };
        let named = [self.request.ciaddr, source].into_iter().find(|ip| !ip.is_unspecified());
        let Some(address) = named.filter(|address| self.network.subnet.contains(address)) else {
            out.count(ServiceReason::DhcpOther);
            return;
        };
        out.count(ServiceReason::DhcpInform);
        let none = Ipv4Addr::UNSPECIFIED;
        let mut reply = Reply::new(self.request, Kind::Ack, none, self.network.server);
        self.configuration(&mut reply, None);
        self.send_to(reply, address, Some(self.request.mac), out);
    }

    fn refuse(&self, out: &mut Outbox) {
        out.count(ServiceReason::DhcpNak);
        let none = Ipv4Addr::UNSPECIFIED;
        let mut reply = Reply::new(self.request, Kind::Nak, none, self.network.server);
        reply.option(option::MESSAGE, b"this address is not yours");
        self.send_to(reply, Ipv4Addr::BROADCAST, Some(MacAddr::BROADCAST), out);
    }

    fn send(&self, reply: Reply, yours: Ipv4Addr, out: &mut Outbox) {
        let request = self.request;
        if !request.ciaddr.is_unspecified() {
            self.send_to(reply, request.ciaddr, Some(request.mac), out);
        } else if request.wants_broadcast() {
            self.send_to(reply, Ipv4Addr::BROADCAST, Some(MacAddr::BROADCAST), out);
        } else {
            self.send_to(reply, yours, Some(request.mac), out);
        }
    }

    fn send_to(
        &self,
        reply: Reply,
        destination: Ipv4Addr,
        link: Option<MacAddr>,
        out: &mut Outbox,
    ) {
        let payload = reply.finish();
        let body = Body::Udp { source: SERVER_PORT, destination: CLIENT_PORT, payload };
        let source = self.network.server.into();
        out.send(Answer { link, source, destination: destination.into(), body });
    }
}

fn tell_lost(lost: Vec<Lost>, out: &mut Outbox) {
    for lost in lost {
        let (reason, address) = match lost {
            Lost::Expired(address) => (ServiceReason::DhcpExpired, address),
            Lost::Reclaimed(address) => (ServiceReason::DhcpReclaimed, address),
        };
        out.count(reason);
        unbind(address, out);
    }
}

fn unbind(address: Ipv4Addr, out: &mut Outbox) {
    out.events.push_back(GatewayEvent::Unbind { address: address.into() });
    leases_changed(out);
}

/// Once is enough until it was heard.
fn leases_changed(out: &mut Outbox) {
    if !out.events.contains(&GatewayEvent::LeasesChanged) {
        out.events.push_back(GatewayEvent::LeasesChanged);
    }
}

#[cfg(test)]
mod tests;
