//! The stateless DHCPv6 server (RFC 8415).
//!
//! # Theory of operation
//!
//! Addresses are made by the guests themselves, from router advertisements; here they learn what
//! else there is: name servers and the domain (RFC 3646), and when to ask again. Nothing is kept
//! about anybody.
//!
//! Who asks for addresses or prefixes all the same is told that there are none, inside each
//! request (RFC 8415, 18.3.9), and not to ask again soon (18.3.9 and RFC 7083). One who claims to
//! have an address from us is told that nothing is known of it. Requests that must be sent to the
//! group and came to our address alone are refused as such (18.4), or discarded (16).
//!
//! # Limits
//!
//! A guest that asks faster than [`RATE`] is not listened to; [`ASSOCIATIONS_MAX`] requests for
//! addresses in one message are answered.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use engine::{Instant, Rate};
use ipnet::Ipv6Net;
use wire::MacAddr;
use wire::dhcp6::{ALL_SERVERS, CLIENT_PORT, SERVER_PORT, message as kind, option};

use super::message::{Answer, Body, Datagram};
use super::pace::Pace;
use super::{Outbox, ServiceReason};
use crate::GuestKey;
use crate::plan::GatewayPlan;

/// Seconds until a client that needs no addresses asks again.
const REFRESH: u32 = 3600;
/// The longest time between two attempts of a client that gets no answer it likes: a day
/// (RFC 8415, 21.24 and 21.25).
const MAX_RT: u32 = 86_400;
/// Messages of one guest in a second, and at once.
const RATE: Rate = Rate::new(10, 40);
const ASSOCIATIONS_MAX: usize = 16;
/// Longest identifier that is sent back; RFC 8415 has 130 bytes (11.1).
const DUID_MAX: usize = 130;

/// Codes of the status option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Success = 0,
    NoAddresses = 2,
    NoBinding = 3,
    NotOnLink = 4,
    UseMulticast = 5,
    NoPrefix = 6,
}

/// What clients are told.
#[derive(Clone, Debug)]
struct Network {
    own: Ipv6Addr,
    gateway: Option<Ipv6Addr>,
    prefix: Ipv6Net,
    /// Our identifier: the MAC address, which never changes (DUID-LL, RFC 8415, 11.4).
    duid: [u8; 10],
    name_servers: Vec<Ipv6Addr>,
    /// As it stands in DNS messages.
    search: Vec<u8>,
}

/// The DHCPv6 server of one network.
#[derive(Debug)]
pub struct Server {
    /// `None` while the service is off.
    network: Option<Network>,
    pace: Pace,
}

fn network_of(plan: &GatewayPlan) -> Option<Network> {
    let prefix = plan.prefix.filter(|_| plan.dhcpv6)?;
    let MacAddr([a, b, c, d, e, f]) = plan.mac;
    let name_servers = super::name_servers(plan).into_iter().filter_map(|address| match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => None,
    });
    let domain = super::dns::Name::of([plan.name.as_str(), "internal"]);
    Some(Network {
        own: plan.link_local(),
        gateway: plan.gateway6(),
        prefix,
        duid: [0, 3, 0, 1, a, b, c, d, e, f],
        name_servers: name_servers.take(3).collect(),
        search: domain.map(|name| name.wire().to_vec()).unwrap_or_default(),
    })
}

impl Server {
    pub(crate) fn new(plan: &GatewayPlan) -> Self {
        Self { network: network_of(plan), pace: Pace::new(RATE) }
    }

    pub(crate) fn apply(&mut self, plan: &GatewayPlan) {
        self.network = network_of(plan);
    }

    pub(crate) fn listens(&self, destination: SocketAddr) -> bool {
        let Some(network) = &self.network else { return false };
        let IpAddr::V6(address) = destination.ip() else { return false };
        destination.port() == SERVER_PORT
            && (address == ALL_SERVERS
                || address == network.own
                || Some(address) == network.gateway)
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.pace.forget(guest);
    }

    pub(crate) fn receive(&mut self, now: Instant, datagram: &Datagram<'_>, out: &mut Outbox) {
        let Some(network) = &self.network else { return };
        if !self.pace.take(now, datagram.guest) {
            out.count(ServiceReason::Dhcp6Limited);
            return;
        }
        let IpAddr::V6(source) = datagram.source.ip() else { return };
        let Some(message) = Message::parse(datagram.payload) else {
            out.count(ServiceReason::Dhcp6Malformed);
            return;
        };
        let to_group = datagram.destination.ip() == IpAddr::V6(ALL_SERVERS);
        // A client sends from its link-local address (RFC 8415, 18.2).
        let link_local = source.segments()[0] & 0xffc0 == 0xfe80;
        let reply = if link_local { message.reply(network, to_group) } else { None };
        let Some(payload) = reply else {
            out.count(ServiceReason::Dhcp6Other);
            return;
        };
        out.count(ServiceReason::Dhcp6Reply);
        out.send(Answer {
            link: Some(datagram.mac),
            source: network.own.into(),
            destination: source.into(),
            body: Body::Udp { source: SERVER_PORT, destination: CLIENT_PORT, payload },
        });
    }
}

/// One option, or what is inside of one.
pub(super) type Found<'a> = (u16, &'a [u8]);

/// Takes options apart; nothing if one is longer than what is left.
pub(super) fn options(mut bytes: &[u8]) -> Option<Vec<Found<'_>>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let len = usize::from(u16::from_be_bytes([c, d]));
        found.push((u16::from_be_bytes([a, b]), bytes.get(4..4 + len)?));
        bytes = bytes.get(4 + len..)?;
    }
    Some(found)
}

/// A message of a client.
#[derive(Debug)]
struct Message<'a> {
    kind: u8,
    transaction: [u8; 3],
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    /// Codes that the client wants; `None` if it does not say.
    wanted: Option<&'a [u8]>,
    /// Requests for addresses and prefixes: what they are, and their identifiers and contents.
    associations: Vec<Found<'a>>,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let [kind, a, b, c] = *bytes.first_chunk()?;
        let options = options(bytes.get(4..)?)?;
        let find =
            |code: u16| options.iter().find(|(found, _)| *found == code).map(|(_, value)| *value);
        let client = find(option::CLIENT_ID);
        if client.is_some_and(|duid| duid.is_empty() || duid.len() > DUID_MAX) {
            return None;
        }
        let associations: Vec<Found<'_>> = options
            .iter()
            .filter(|(code, _)| matches!(*code, option::IA_NA | option::IA_TA | option::IA_PD))
            .copied()
            .collect();
        // Each begins with an identifier; two of the three have times behind it.
        let sound =
            |(code, value): &Found<'_>| value.len() >= if *code == option::IA_TA { 4 } else { 12 };
        if associations.len() > ASSOCIATIONS_MAX || !associations.iter().all(sound) {
            return None;
        }
        Some(Self {
            kind,
            transaction: [a, b, c],
            client,
            server: find(option::SERVER_ID),
            wanted: find(option::WANTED),
            associations,
        })
    }

    /// The answer, if the message is one that a server answers (RFC 8415, 16 and 18.3).
    fn reply(&self, network: &Network, to_group: bool) -> Option<Vec<u8>> {
        let for_us = self.server.map(|server| server == network.duid);
        let identified = match self.kind {
            kind::SOLICIT | kind::CONFIRM | kind::REBIND => {
                self.client.is_some() && self.server.is_none()
            }
            kind::REQUEST | kind::RENEW | kind::RELEASE | kind::DECLINE => {
                self.client.is_some() && for_us == Some(true)
            }
            kind::INFORMATION_REQUEST => for_us != Some(false) && self.associations.is_empty(),
            _ => false,
        };
        if !identified {
            return None;
        }
        let answer = if self.kind == kind::SOLICIT { kind::ADVERTISE } else { kind::REPLY };
        let mut reply = Reply::new(answer, self, network);
        if !to_group {
            // The others are discarded (16).
            let told = [kind::REQUEST, kind::RENEW, kind::RELEASE, kind::DECLINE];
            reply.status(Status::UseMulticast);
            return told.contains(&self.kind).then_some(reply.0);
        }
        match self.kind {
            kind::SOLICIT | kind::REQUEST => {
                for (code, value) in &self.associations {
                    let none =
                        if *code == option::IA_PD { Status::NoPrefix } else { Status::NoAddresses };
                    reply.association(*code, value, none);
                }
                reply.configuration(self, network);
            }
            kind::INFORMATION_REQUEST => reply.configuration(self, network),
            kind::RENEW => {
                for (code, value) in &self.associations {
                    reply.association(*code, value, Status::NoBinding);
                }
                reply.configuration(self, network);
            }
            kind::RELEASE | kind::DECLINE => {
                reply.status(Status::Success);
                for (code, value) in &self.associations {
                    reply.association(*code, value, Status::NoBinding);
                }
            }
            kind::CONFIRM => {
                let on_link = self.are_on_link(network)?;
                reply.status(if on_link { Status::Success } else { Status::NotOnLink });
            }
            // Another server may know of it; there is none, so the client begins anew.
            _ => return None,
        }
        Some(reply.0)
    }

    /// Whether all addresses that the client has are in the prefix; nothing if it names none.
    fn are_on_link(&self, network: &Network) -> Option<bool> {
        let mut answer = None;
        for (code, value) in &self.associations {
            let inside = match *code {
                option::IA_NA => value.get(12..)?,
                option::IA_TA => value.get(4..)?,
                _ => continue,
            };
            for (code, value) in options(inside)? {
                if code == option::ADDRESS {
                    let address = Ipv6Addr::from(*value.first_chunk::<16>()?);
                    let on_link = network.prefix.contains(&address);
                    answer = Some(answer.unwrap_or(true) && on_link);
                }
            }
        }
        answer
    }

    fn wants(&self, code: u16) -> bool {
        self.wanted.is_none_or(|wanted| {
            wanted.chunks_exact(2).any(|found| found == code.to_be_bytes().as_slice())
        })
    }
}

/// An answer being written.
#[derive(Debug)]
struct Reply(Vec<u8>);

impl Reply {
    fn new(kind: u8, message: &Message<'_>, network: &Network) -> Self {
        let [a, b, c] = message.transaction;
        let mut reply = Self(vec![kind, a, b, c]);
        if let Some(client) = message.client {
            reply.option(option::CLIENT_ID, client);
        }
        reply.option(option::SERVER_ID, &network.duid);
        reply
    }

    /// A value of at most 65,535 bytes; none of ours is longer than a few dozen.
    fn option(&mut self, code: u16, value: &[u8]) {
        if let Ok(len) = u16::try_from(value.len()) {
            self.0.extend_from_slice(&code.to_be_bytes());
            self.0.extend_from_slice(&len.to_be_bytes());
            self.0.extend_from_slice(value);
        }
    }

    fn status(&mut self, status: Status) {
        self.option(option::STATUS, &(status as u16).to_be_bytes());
    }

    /// The same request for addresses with nothing but a status in it.
    fn association(&mut self, code: u16, value: &[u8], status: Status) {
        let mut inside = value.get(..4).unwrap_or_default().to_vec();
        if code != option::IA_TA {
            inside.extend_from_slice(&[0; 8]);
        }
        let mut status_option = Self(Vec::new());
        status_option.status(status);
        inside.extend_from_slice(&status_option.0);
        self.option(code, &inside);
    }

    fn configuration(&mut self, message: &Message<'_>, network: &Network) {
        if !network.name_servers.is_empty() && message.wants(option::NAME_SERVERS) {
            let servers: Vec<u8> = network.name_servers.iter().flat_map(Ipv6Addr::octets).collect();
            self.option(option::NAME_SERVERS, &servers);
        }
        if message.wants(option::SEARCH) {
            self.option(option::SEARCH, &network.search);
        }
        if message.kind == kind::INFORMATION_REQUEST {
            if message.wants(option::REFRESH_TIME) {
                self.option(option::REFRESH_TIME, &REFRESH.to_be_bytes());
            }
            if message.wants(option::INFORMATION_MAX_RT) {
                self.option(option::INFORMATION_MAX_RT, &MAX_RT.to_be_bytes());
            }
        } else if message.wants(option::SOLICIT_MAX_RT) {
            self.option(option::SOLICIT_MAX_RT, &MAX_RT.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
