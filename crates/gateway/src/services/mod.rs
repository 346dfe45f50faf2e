//! The network's own services: DHCP, router advertisement, DNS.
//!
//! # Theory of operation
//!
//! [`Services`] is what the gateway drives. Messages of guests go in without their headers
//! ([`Datagram`], [`Solicitation`]) together with `now`; answers come out as [`Answer`]s, which
//! know how to write themselves as frames. No service reads a clock. The only one that touches the
//! host is DNS, which has sockets towards the host's resolvers and takes the local ends of guests'
//! TCP connections; they are watched by an epoll of its own, which the gateway watches in turn
//! ([`Services::as_fd`]).
//!
//! | service | where it listens |
//! |---|---|
//! | [`dhcp4`] | UDP port 67, at the gateway's address and 255.255.255.255 |
//! | [`advert`] | router solicitations, to `ff02::2` or the gateway |
//! | [`dhcp6`] | UDP port 547, at `ff02::1:2` and the gateway |
//! | [`dns`] | UDP and TCP port 53, at the gateway's addresses |
//! | `mdns` | UDP ports 5353 and 5355, at the groups of multicast DNS and LLMNR |
//!
//! Each can be off, and then takes nothing. What guests can make grow is bounded for each guest
//! and in all: leases, declined addresses, unanswered questions, connections, and the answers that
//! wait to be sent. Every message ends in a counted [`ServiceReason`].

pub mod advert;
mod chance;
pub mod dhcp4;
pub mod dhcp6;
pub mod dns;
pub mod fuzz;
pub mod leases;
mod mdns;
mod message;
mod pace;
mod reason;
pub mod zone;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use engine::Instant;

pub use message::{ANSWER_MAX, Answer, Body, Datagram, Solicitation};
pub use reason::{ServiceCounters, ServiceReason};

use crate::event::GatewayEvent;
use crate::gateway::GuestAddresses;
use crate::guests::GuestKey;
use crate::plan::GatewayPlan;
use crate::report::LeaseReport;

/// Answers that may wait for [`Services::poll_answer`].
const BACKLOG_MAX: usize = 1024;

/// Where a service puts what it has to say.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    answers: VecDeque<Answer>,
    pub(crate) events: VecDeque<GatewayEvent>,
    pub(crate) counters: ServiceCounters,
}

impl Outbox {
    pub(crate) fn send(&mut self, answer: Answer) {
        if self.answers.len() < BACKLOG_MAX {
            self.answers.push_back(answer);
        } else {
            self.count(ServiceReason::Backlog);
        }
    }

    pub(crate) fn count(&mut self, reason: ServiceReason) {
        self.counters.count(reason);
    }
}

/// All services of one network.
#[derive(Debug)]
pub struct Services {
    out: Outbox,
    zone: zone::Zone,
    dhcp4: dhcp4::Server,
    dhcp6: dhcp6::Server,
    advert: advert::Advertiser,
    dns: dns::Dns,
    mdns: mdns::Responder,
}

impl Services {
    /// The services that `plan` asks for. `hash_key` is secret and random.
    ///
    /// # Errors
    /// No descriptor is left for the epoll of DNS.
    pub fn new(plan: &GatewayPlan, hash_key: [u8; 16]) -> std::io::Result<Self> {
        Ok(Self {
            out: Outbox::default(),
            zone: zone::Zone::new(plan),
            dhcp4: dhcp4::Server::new(plan),
            dhcp6: dhcp6::Server::new(plan),
            advert: advert::Advertiser::new(plan, &hash_key),
            dns: dns::Dns::new(plan, &hash_key)?,
            mdns: mdns::Responder::new(plan),
        })
    }

    /// Takes a changed plan: leases and names stay, as far as they fit it.
    pub fn apply(&mut self, now: Instant, plan: &GatewayPlan) {
        self.zone.apply(plan);
        self.dhcp4.apply(plan, &mut self.out);
        self.dhcp6.apply(plan);
        self.advert.apply(now, plan, &mut self.out);
        self.dns.apply(plan);
        self.mdns.apply(plan);
    }

    /// Whether the host has a default route of IPv6, so that the gateway may be one.
    pub fn set_outside(&mut self, now: Instant, v6: bool) {
        self.advert.set_outside(now, v6);
    }

    /// Takes a datagram for the gateway's own address or a group, if a service listens there;
    /// false if none does.
    pub fn datagram(&mut self, now: Instant, datagram: &Datagram<'_>) -> bool {
        if self.dhcp4.listens(datagram.destination) {
            self.dhcp4.receive(now, datagram, &mut self.out);
        } else if self.dhcp6.listens(datagram.destination) {
            self.dhcp6.receive(now, datagram, &mut self.out);
        } else if self.dns.listens(datagram.destination) {
            self.dns.receive(now, datagram, &self.zone, &mut self.out);
        } else if self.mdns.listens(datagram.destination) {
            self.mdns.receive(now, datagram, &self.zone, &mut self.out);
        } else {
            return false;
        }
        true
    }

    /// Whether a service listens at this group and port: what is sent to other groups is nobody's.
    #[must_use]
    pub fn hears_group(&self, destination: SocketAddr) -> bool {
        self.mdns.listens(destination)
    }

    /// Takes an ICMPv6 message of type 133; false if advertisement is off.
    pub fn solicitation(&mut self, now: Instant, solicitation: &Solicitation<'_>) -> bool {
        self.advert.receive(now, solicitation, &mut self.out)
    }

    /// Whether TCP connections to `destination` are for [`Self::stream`].
    #[must_use]
    pub fn takes_stream(&self, destination: SocketAddr) -> bool {
        self.dns.listens(destination)
    }

    /// Takes the local end of a TCP connection that a guest opened to port 53: a stream socket,
    /// whose other end the translation of TCP has. It is closed when the connection has ended.
    pub fn stream(&mut self, now: Instant, guest: GuestKey, local: OwnedFd) {
        self.dns.stream(now, guest, local, &mut self.out);
    }

    /// Readable when [`Self::turn`] has something to do; level triggered.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.dns.as_fd()
    }

    /// Does what descriptors have ready: at most one batch of them.
    pub fn turn(&mut self, now: Instant) {
        self.dns.turn(now, &self.zone, &mut self.out);
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.dhcp4.next_deadline(), self.advert.next_deadline(), self.dns.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.dhcp4.handle_timeout(now, &mut self.out);
        self.advert.handle_timeout(now, &mut self.out);
        self.dns.handle_timeout(now, &mut self.out);
    }

    /// The next packet towards guests.
    pub fn poll_answer(&mut self) -> Option<Answer> {
        self.out.answers.pop_front()
    }

    /// What happened since it was last asked: bindings, changed leases, trouble.
    pub fn poll_event(&mut self) -> Option<GatewayEvent> {
        self.out.events.pop_front()
    }

    /// The network is about to end: guests are told that this is no way out any more.
    pub fn farewell(&mut self, now: Instant) {
        self.advert.farewell(now, &mut self.out);
    }

    /// Tells where a named guest is, or would be. Its name enters the zone, and its MAC address,
    /// if it has an IPv4 address too, a reservation.
    pub fn set_guest(&mut self, name: &str, addresses: &GuestAddresses) {
        self.zone.set(name, addresses.v4, addresses.v6);
        self.mdns.set_guest(name, addresses.key);
        self.dhcp4.reserve(name, addresses.mac, addresses.v4, &mut self.out);
    }

    /// A name is no longer in use.
    pub fn remove_guest(&mut self, name: &str) {
        self.zone.remove(name);
        self.mdns.set_guest(name, None);
        self.dhcp4.unreserve(name);
    }

    /// The port behind a key is gone. Its leases stay, for when the client comes back, until
    /// others need the addresses.
    pub fn guest_gone(&mut self, guest: GuestKey) {
        self.dhcp4.guest_gone(guest);
        self.dhcp6.guest_gone(guest);
        self.advert.guest_gone(guest);
        self.dns.guest_gone(guest);
        self.mdns.guest_gone(guest);
    }

    /// Somebody else has an address that was leased: its client is refused when it renews, and
    /// nobody gets the address for a while.
    pub fn refuse_lease(&mut self, now: Instant, address: Ipv4Addr) {
        self.dhcp4.refuse(now, address, &mut self.out);
    }

    /// All leases, for people.
    #[must_use]
    pub fn leases(&self, now: Instant) -> Vec<LeaseReport> {
        self.dhcp4.leases(now)
    }

    /// All leases, to be kept. `unix` is the time of day that `now` is, in seconds since 1970.
    #[must_use]
    pub fn saved_leases(&self, now: Instant, unix: u64) -> Vec<leases::SavedLease> {
        self.dhcp4.saved_leases(now, unix)
    }

    /// Leases that were kept. Those that do not fit the plan, or have ended, are left out.
    pub fn load_leases(&mut self, now: Instant, unix: u64, saved: Vec<leases::SavedLease>) {
        self.dhcp4.load_leases(now, unix, saved);
    }

    /// Where names are asked now.
    #[must_use]
    pub fn resolvers(&self) -> Vec<SocketAddr> {
        self.dns.resolvers()
    }

    /// Where every message ended.
    #[must_use]
    pub fn counters(&self) -> &ServiceCounters {
        &self.out.counters
    }
}

/// The addresses at which guests find DNS: the gateway's own where the service is on, else
/// whatever was configured. None that only the host could reach.
pub(crate) fn name_servers(plan: &GatewayPlan) -> Vec<IpAddr> {
    if plan.dns {
        let v4 = plan.gateway4().map(IpAddr::V4);
        let v6 = plan.gateway6().map(IpAddr::V6);
        return v4.into_iter().chain(v6).collect();
    }
    let mut servers: Vec<IpAddr> = plan
        .resolvers
        .iter()
        .filter(|resolver| resolver.port() == 53 && !resolver.ip().is_loopback())
        .map(SocketAddr::ip)
        .collect();
    servers.truncate(3);
    servers
}
