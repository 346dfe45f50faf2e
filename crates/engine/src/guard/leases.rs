//! Leases: what servers of DHCP and DHCPv6 give is bound to the port of the client (checks 33 and 46;
//! RFC 7513).
//!
//! # Theory of operation
//!
//! A lease is stronger than a first use and holds against the outside, so not every datagram to a
//! client's port makes one. It has to answer a request of that port (RFC 7513, 6.3.1): transaction and
//! client are compared, and one request is good for one answer. And it has to come from a server that
//! stands on the segment. What somebody far away sends, together with a guest that tells him its
//! transactions, comes by a router: in the router's name and with his address.
//!
//! * From the network's own router the source is the router's own address.
//! * A link-local source, which servers of DHCPv6 and relays have towards clients (RFC 8415, 7.2), and
//!   the limited broadcast address pass no router (RFC 4291, 2.5.6; RFC 1812, 5.3.5.1).
//! * Of any other source outside a station must have said, by ARP and from the Ethernet address of the
//!   datagram, that the address is its own. It is asked for it where it has not: as early as at its offer, so that
//!   the lease need not wait for the answer.
//! * What a port has by lease is renewed by the server that the lease named, wherever it stands: one
//!   behind a relay answers renewals without it (RFC 2131, 4.4.5). Who that is can be feigned, so it
//!   gives no more than a week's time, unless the lease, which somebody on the segment had to confirm, did.
//!
//! An address that somebody outside has, or that no station can have, is no server's to give. And what a
//! server outside gives holds in its VLAN alone: behind another there may be another segment, which
//! nobody asked to number its stations differently, and which could be given away from here otherwise.
//! Whoever is given a prefix may send from all of it, so that nothing of it may be this link's, another
//! network's or somebody's out there. Who has it already keeps it, whatever is said out there meanwhile; and
//! what the network's own router delegates is not the outside's to refuse.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use arrayvec::ArrayVec;
use ipnet::{IpNet, Ipv6Net};
use wire::dhcp4::{self, Message, message, op, option};
use wire::parse::{Ipv4, Ipv6};
use wire::{MacAddr, dhcp6};

use crate::bindings::{Address, BindingSource, Lifetime, Owner};
use crate::frame::Cast;
use crate::guard::Judge;
use crate::guard::dhcp::Version;
use crate::guard::fast::Packed;
use crate::guard::port::{Local, PortGuard};
use crate::guard::prefixes::meet;
use crate::guard::spec::GuardMode;
use crate::guard::special::has_special;
use crate::keyed::Key;
use crate::port::PortId;
use crate::role::Role;
use crate::time::Instant;
use crate::time::tick;

/// Requests of one port that are remembered.
const REQUESTS: usize = 16;

/// For how long a request may be answered: as long as a client waits at most before it sends the next
/// one (RFC 2131, 4.1).
const REQUEST_TIME: Duration = Duration::from_secs(64);

/// Leases of servers that are being asked whether they are there.
const UNPROVEN: usize = 8;

/// For how long a server that is far away renews a lease, whatever time it was given for at first: a week
/// and a day. Two servers that stand in for each other give an hour or so first, and what they are told to
/// give when it is renewed.
const FAR: Duration = Duration::from_secs(8 * 24 * 3600);

/// Leases of one port of which it is remembered who gave them, before those that are over are forgotten.
const GRANTS: usize = 32;

/// What servers on the segment gave the clients of one port, the oldest first: by the address, the
/// server that they named and the time. There are hardly more of them than leases of the port.
#[derive(Debug, Default)]
pub(crate) struct Grants(Vec<(Local, Ipv4Addr, Duration)>);

impl Grants {
    /// `holds`: whether the lease of an address is not over.
    fn note(
        &mut self,
        address: Local,
        server: Ipv4Addr,
        time: Duration,
        holds: impl Fn(Local) -> bool,
    ) {
        let many = self.0.len() >= GRANTS;
        self.0.retain(|(known, ..)| *known != address && (!many || holds(*known)));
        self.0.push((address, server, time));
    }

    /// For how long the server gave the address, if it did.
    fn time(&self, address: Local, server: Ipv4Addr) -> Option<Duration> {
        let its = self.0.iter().find(|(known, by, _)| (*known, *by) == (address, server));
        its.map(|(.., time)| *time)
    }
}

/// What a client asked a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) version: Version,
    /// The client's VLAN and Ethernet address.
    pub(super) client: Key,
    /// Of its identifier, in DHCPv6.
    pub(super) identifier: u64,
    pub(super) transaction: u32,
}

/// The requests of one port, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Requests(Vec<(Request, Instant)>);

impl Requests {
    pub(super) fn note(&mut self, now: Instant, request: Request) {
        self.0.retain(|(known, _)| *known != request);
        if self.0.len() >= REQUESTS {
            self.0.remove(0);
        }
        self.0.push((request, now));
    }

    fn find(&self, now: Instant, answers: impl Fn(&Request) -> bool) -> Option<Request> {
        let fresh = |at: Instant| now.saturating_since(at) < REQUEST_TIME;
        let (request, _) = self.0.iter().find(|(known, at)| fresh(*at) && answers(known))?;
        Some(*request)
    }

    fn end(&mut self, request: &Request) {
        self.0.retain(|(known, _)| known != request);
    }
}

/// An address that a server gave a client.
#[derive(Clone, Copy, Debug)]
struct Lease {
    port: PortId,
    /// Its Ethernet address, and the VLAN in which it asked.
    client: MacAddr,
    vid: u16,
    address: IpAddr,
    until: Instant,
    /// The server that a lease of DHCP names, and for how long it gives the address.
    server: Option<(Ipv4Addr, Duration)>,
}

/// Leases whose servers have not been heard yet, on which Ethernet addresses they are, and when they
/// came.
#[derive(Debug, Default)]
pub(super) struct Unproven(ArrayVec<(Lease, Ipv4Addr, MacAddr, Instant), UNPROVEN>);

impl Judge<'_> {
    /// A datagram of a trusted server: what it gives is bound to the port of the client.
    pub(super) fn dhcp4_served(&mut self, ip: &Ipv4, source: u16) {
        let Ok(message) = Message::new(self.datagram()) else { return };
        if source != dhcp4::SERVER_PORT || message.op() != op::REPLY {
            return;
        }
        let to_client = self.cast == Cast::Broadcast || message.client_mac() == self.parsed.dst;
        let given = message.your_address() == ip.destination || ip.destination.is_broadcast();
        if to_client && given {
            // It may go to an address that its client does not have yet.
            self.said.destination = Packed::ANYBODY;
        }
        let client = Key::new(self.vid(), message.client_mac().as_u64());
        let Some(port) = self.client_port(client) else { return };
        let Some(request) = self.requests(port).and_then(|requests| {
            requests.find(self.now, |request| {
                let asked = (request.version, request.client, request.transaction);
                asked == (Version::V4, client, message.transaction())
            })
        }) else {
            return;
        };
        match message.kind() {
            Some(message::OFFER) if !self.is_server(ip) => self.ask_server(ip, &request, port),
            Some(message::ACK) => {
                self.acknowledged(ip, &message, &request, port);
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, ip: &Ipv4, message: &Message<'_>, request: &Request, port: PortId) {
        let address = message.your_address();
        let time = message.option(option::LEASE_TIME).and_then(|body| body.first_chunk::<4>());
        let Some(time) = time.map(|time| u32::from_be_bytes(*time)) else { return };
        if address.is_unspecified() {
            return;
        }
        let time = Duration::from_secs(time.into());
        let named = message.option(option::SERVER_ID).and_then(|body| body.first_chunk::<4>());
        let server = named.map_or(ip.source, |named| Ipv4Addr::from(*named));
        let lease = Lease {
            port,
            client: message.client_mac(),
            vid: self.vid(),
            address: address.into(),
            until: self.now + time,
            server: Some((server, time)),
        };
        if self.is_server(ip) {
            self.forget_request(port, request);
            self.lease(&lease);
        } else if let Some(most) = self.may_renew(&lease, ip.source) {
            self.forget_request(port, request);
            let server = Some((server, most));
            self.lease(&Lease { until: self.now + time.min(most.max(FAR)), server, ..lease });
        } else if self.me.role == Role::Uplink {
            self.forget_request(port, request);
            let (now, mac) = (self.now, self.mac());
            let Unproven(waiting) = &mut self.engine.memory.stations.unproven;
            // One for each client: it uses what it was given last.
            waiting.retain(|(known, _, _, at)| {
                (known.port, known.client, known.vid) != (lease.port, lease.client, lease.vid)
                    && now.saturating_since(*at) < REQUEST_TIME
            });
            if waiting.is_full() {
                waiting.remove(0);
            }
            waiting.push((lease, ip.source, mac, now));
            self.ask_server(ip, request, port);
        }
    }

    /// Whether a datagram is from a server that is known to stand on this segment.
    fn is_server(&self, ip: &Ipv4) -> bool {
        match self.me.role {
            Role::Router => self.has(ip.source.into()),
            Role::Uplink => {
                ip.destination.is_broadcast()
                    || self.engine.memory.stations.mac_of(self.now, self.vid(), ip.source.into())
                        == Some(self.mac())
            }
            Role::Guest => false,
        }
    }

    /// Asks the outside who the server is, in the name of its client. It is a probe, because the client
    /// has no address yet, and because a router that answers for others leaves probes to their owners.
    fn ask_server(&mut self, ip: &Ipv4, request: &Request, client: PortId) {
        let server = IpAddr::V4(ip.source);
        if self.me.role != Role::Uplink || ip.source.is_unspecified() || self.is_inside(server) {
            return;
        }
        let (now, guard) = (self.now, self.guard_of(client));
        let may = guard.is_some_and(|guard| {
            let rate = guard.spec.rates.unknown;
            guard.buckets.unknown.take(now, rate)
        });
        if may {
            self.ask_for(MacAddr::from_u64(request.client.mac()), server);
        }
    }

    /// A station outside has said, with this frame, that it has the address: what it gave before is
    /// good if it is the server.
    pub(super) fn server_heard(&mut self, address: IpAddr) {
        let (now, mac, vid) = (self.now, self.mac(), self.vid());
        let Unproven(waiting) = &mut self.engine.memory.stations.unproven;
        let mut proven = ArrayVec::<Lease, UNPROVEN>::new();
        waiting.retain(|(lease, server, from, at)| {
            let its = IpAddr::V4(*server) == address && *from == mac && lease.vid == vid;
            if its && now.saturating_since(*at) < REQUEST_TIME {
                proven.push(*lease);
            }
            !its
        });
        for lease in proven {
            self.lease(&lease);
        }
    }

    fn guard_of(&mut self, port: PortId) -> Option<&mut PortGuard> {
        self.engine.ports.get_mut(port)?.guard.as_deref_mut()
    }

    fn requests(&self, port: PortId) -> Option<&Requests> {
        Some(&self.engine.ports.get(port)?.guard.as_ref()?.requests)
    }

    fn forget_request(&mut self, port: PortId, request: &Request) {
        if let Some(guard) = self.guard_of(port) {
            guard.requests.end(request);
        }
    }

    /// The guest port that a client is behind, if its leases are to be learned.
    fn client_port(&self, client: Key) -> Option<PortId> {
        let index = self.engine.macs.port_of(self.vid(), client.mac(), tick(self.now))?;
        self.learns_leases(index)
    }

    fn learns_leases(&self, index: u16) -> Option<PortId> {
        let port = self.engine.ports.at(index)?;
        // What a server outside gave holds better than first use.
        let learns = match port.spec.guard.mode {
            GuardMode::Dhcp => true,
            GuardMode::Learn => self.me.role == Role::Uplink,
            GuardMode::Static | GuardMode::Off => false,
        };
        (port.spec.role == Role::Guest && learns).then_some(port.id)
    }

    /// A datagram of a trusted server: addresses and prefixes that it gives.
    pub(super) fn dhcpv6_served(&mut self, ip: &Ipv6, source: u16) {
        use dhcp6::option::{ADDRESS, CLIENT_ID, IA_NA, IA_PD, IA_TA, PREFIX};
        let Ok(message) = dhcp6::Message::new(self.datagram()) else { return };
        let from_server = source == dhcp6::SERVER_PORT && ip.source.is_unicast_link_local();
        if !from_server || message.kind() != dhcp6::message::REPLY {
            return;
        }
        let Some(Owner::Port(client)) = self.owner(ip.destination.into()) else { return };
        let identifier = self.fingerprint(message.option(CLIENT_ID).unwrap_or_default());
        let Some(request) = self.requests(client).and_then(|requests| {
            requests.find(self.now, |request| {
                let asked = (request.version, request.identifier, request.transaction);
                request.client.vid() == self.vid()
                    && asked == (Version::V6, identifier, message.transaction())
            })
        }) else {
            return;
        };
        self.forget_request(client, &request);
        let Some(port) = self.engine.ports.get(client) else { return };
        let addresses = self.learns_leases(client.index).is_some();
        let prefixes = port.spec.role == Role::Guest && port.spec.guard.delegated_prefixes;
        let mut given: [Option<(IpNet, u32)>; GIVEN_MAX] = [None; GIVEN_MAX];
        let mut places = given.iter_mut();
        for (code, body) in message.options() {
            for (part, bytes) in association(code, body) {
                let found = match (code, part) {
                    (IA_NA | IA_TA, ADDRESS) if addresses => address_option(bytes),
                    // One address is no prefix to delegate.
                    (IA_PD, PREFIX) if prefixes => prefix_option(bytes)
                        .filter(|(net, _)| net.prefix_len() < net.max_prefix_len()),
                    _ => None,
                };
                if let (Some(found), Some(place)) = (found, places.next()) {
                    *place = Some(found);
                }
            }
        }
        for (net, seconds) in given.into_iter().flatten() {
            let until = self.now + Duration::from_secs(seconds.into());
            let mac = MacAddr::from_u64(request.client.mac());
            if net.prefix_len() == net.max_prefix_len() {
                let vid = self.vid();
                let (address, server) = (net.addr(), None);
                self.lease(&Lease { port: client, client: mac, vid, address, until, server });
            } else if self.may_be_delegated(net, client, mac) {
                self.bind_lease(client, net.into(), until);
            }
        }
    }

    fn has_by_lease(&self, lease: &Lease) -> bool {
        self.engine.bindings.source_in(lease.vid, lease.address)
            == Some((lease.port, BindingSource::Lease))
    }

    /// For how long a lease was given that somebody who is not known to stand on the segment may renew.
    fn may_renew(&self, lease: &Lease, server: Ipv4Addr) -> Option<Duration> {
        let guard = self.engine.ports.get(lease.port)?.guard.as_ref()?;
        let most = guard.grants.time((lease.vid, lease.address), server)?;
        self.has_by_lease(lease).then_some(most)
    }

    /// Binds what a server gave to a port. What is in the way stays, but for what another port has by
    /// first use.
    fn lease(&mut self, lease: &Lease) {
        let Lease { port, client, vid, address, until, server } = *lease;
        let outside = self.engine.memory.stations.has(self.now, vid, address, client);
        if outside || self.is_no_station(address) || self.engine.is_of_other_network(address) {
            return;
        }
        self.bind_lease(port, address.into(), until);
        if let Some((server, time)) = server
            && self.has_by_lease(lease)
            && let Some(guard) = self.guard_of(port)
        {
            let mut grants = core::mem::take(&mut guard.grants);
            let bindings = &self.engine.bindings;
            grants.note((vid, address), server, time, |(vid, address)| {
                bindings.source_in(vid, address) == Some((port, BindingSource::Lease))
            });
            if let Some(guard) = self.guard_of(port) {
                guard.grants = grants;
            }
        }
        self.engine.memory.forget_questions();
    }

    /// Whether a server may give the client with this Ethernet address, at this port, a prefix to have
    /// behind him: it leads somewhere, and nobody else is known to have anything of it, here or outside. For a
    /// client that has it, that was asked before.
    fn may_be_delegated(&self, prefix: IpNet, port: PortId, client: MacAddr) -> bool {
        let IpNet::V6(net) = prefix else { return false };
        let (memory, guard) = (&self.engine.memory, &self.engine.network.guard);
        let of_link = |net| guard.announced.iter().any(|of_link| meet(of_link, net));
        if has_special(net) || of_link(&net) {
            return false;
        }
        if self.engine.bindings.has_leased(port, self.vid(), prefix) {
            return true;
        }
        let here = memory.prefixes.own_meet(self.now, &net) || memory.others.meet(prefix);
        let outside = self.me.role == Role::Uplink
            && (memory.prefixes.outside_meet(self.now, &net)
                || memory.stations.has_of(self.now, self.vid(), prefix, client));
        !(here || outside)
    }

    /// Binds what a server gave, where it may give it.
    fn bind_lease(&mut self, port: PortId, given: Address, until: Instant) {
        let vlan = (self.me.role == Role::Uplink).then(|| self.vid());
        let lifetime = Lifetime::Until(until);
        let _ = self.engine.bind_in(port, vlan, given, lifetime, BindingSource::Lease);
    }
}

/// Addresses and prefixes of one reply that are looked at.
const GIVEN_MAX: usize = 8;

/// What is in an association of DHCPv6 (RFC 8415, 21.4, 21.5 and 21.21): behind an identifier, and two
/// times for what is renewed.
pub(super) fn association(code: u16, body: &[u8]) -> dhcp6::Options<'_> {
    let head = if code == dhcp6::option::IA_TA { 4 } else { 12 };
    dhcp6::Options::new(body.get(head..).unwrap_or_default())
}

/// Address, preferred and valid lifetime (RFC 8415, 21.6).
pub(super) fn address_option(bytes: &[u8]) -> Option<(IpNet, u32)> {
    let (address, rest) = bytes.split_first_chunk::<16>()?;
    let valid = rest.get(4..)?.first_chunk::<4>()?;
    Some((IpAddr::from(*address).into(), u32::from_be_bytes(*valid)))
}

/// Preferred and valid lifetime, length, prefix (RFC 8415, 21.22).
pub(super) fn prefix_option(bytes: &[u8]) -> Option<(IpNet, u32)> {
    let (&[_, _, _, _, a, b, c, d, len], rest) = bytes.split_first_chunk::<9>()?;
    let prefix = Ipv6Addr::from(*rest.first_chunk::<16>()?);
    // No guest is given the Internet.
    let net = Ipv6Net::new(prefix, len).ok().filter(|net| net.prefix_len() >= 48)?;
    Some((net.trunc().into(), u32::from_be_bytes([a, b, c, d])))
}
