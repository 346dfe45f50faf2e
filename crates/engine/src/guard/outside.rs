//! Ports that are trusted: the router and the outside (checks 17, 33 and 56).
//!
//! Their questions are answered from the bindings like a guest's, what their servers give is taken
//! note of, and the outside may not claim to be somebody inside. What cannot be read does not come in
//! from there: a guest might read more of it than we do, and find a sender in it.

use core::net::IpAddr;

use wire::arp::operation;
use wire::ethernet::{ETHERTYPE_MIN, ethertype};
use wire::ipv4::{Fragment, Header, protocol};
use wire::ndp::{self, Neighbour, kind, option};
use wire::parse::Ipv6;
use wire::{L3, MacAddr, Transport, dhcp4, dhcp6, mld};

use crate::frame::Cast;
use crate::guard::fast::Packed;
use crate::guard::ipv4::{Options, router_alert};
use crate::guard::multicast::Group;
use crate::guard::special::is_metadata;
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;
use crate::role::Role;
use crate::time::tick;

impl Judge<'_> {
    pub(super) fn router(&mut self) -> Result<Outcome, Reason> {
        self.trusted()
    }

    pub(super) fn uplink(&mut self) -> Result<Outcome, Reason> {
        // The packet's source, what the sender says that is its own, and where it broadcasts to.
        let mut source = None;
        let mut stated = [None; 2];
        let mut broadcast = None;
        match self.parsed.l3 {
            Some(L3::Arp(arp)) => {
                self.demand(!self.is_macs_inside(arp.sender_mac), Reason::OutsideIdentity)?;
                stated[0] = Some(IpAddr::V4(arp.sender_ip));
            }
            Some(L3::Ipv4(ip)) => {
                source = Some(IpAddr::V4(ip.source));
                self.demand(may_be_answered(ip.source.into()), Reason::Ipv4SourceKind)?;
                // Hosts put the same options into their answers, where a guest's are refused.
                let options = Header::new(self.packet()).map_or(&[][..], Header::options);
                let odd = !options.is_empty() && router_alert(options) == Options::Other;
                self.demand(!odd, Reason::Ipv4Option)?;
                // As in `pieces_v6`.
                let hidden = ip.fragment == Fragment::First && self.parsed.l4.is_none();
                self.demand(!hidden, Reason::L4Header)?;
                // Where it broadcasts to, no station is. Nobody told us of that address, if we do
                // not know the subnet.
                let last = ip.destination.octets()[3] & 3 == 3;
                if self.cast == Cast::Broadcast
                    && last
                    && self.engine.network.guard.subnet.is_none()
                {
                    broadcast = Some(IpAddr::V4(ip.destination));
                }
            }
            Some(L3::Ipv6(ip)) => {
                source = Some(IpAddr::V6(ip.source));
                self.demand(may_be_answered(ip.source.into()), Reason::Ipv6SourceKind)?;
                self.pieces_v6(&ip)?;
                if self.is_discovery(&ip) {
                    self.demand(!self.names_inside(&ip), Reason::OutsideIdentity)?;
                    stated = [source, self.advertised(&ip).map(IpAddr::V6)];
                }
            }
            None => self.unreadable()?,
        }
        if source.is_some_and(|source| !self.may_be_outside(source)) && stated[0] != source {
            self.refuse(Reason::OutsideIdentity)?;
        }
        for address in stated.into_iter().flatten().filter(is_station) {
            if !self.heard_outside(address, self.mac()) {
                self.refuse(Reason::OutsideIdentity)?;
            }
        }
        if let Some(address) = broadcast.filter(is_station)
            && !self.is_stations_outside(address)
            && !self.heard_outside(address, MacAddr::BROADCAST)
        {
            self.refuse(Reason::OutsideIdentity)?;
        }
        self.accepted = source;
        self.trusted()
    }

    /// A frame without a packet that we could read: it may not be of a protocol in which it would
    /// name a sender.
    fn unreadable(&mut self) -> Result<(), Reason> {
        match self.parsed.ethertype {
            ethertype::ARP | ethertype::RARP => self.refuse(Reason::ArpFormat),
            ethertype::IPV4 => self.refuse(Reason::Ipv4Header),
            ethertype::IPV6 => self.refuse(self.broken_v6()),
            // Some stacks take IP and ARP behind an 802.3 length and SNAP (RFC 1042) as well.
            length if length < ETHERTYPE_MIN => {
                let wrapped = matches!(self.packet(), [0xaa, 0xaa, 3, 0, 0, _, kind @ ..]
                    if matches!(kind, [8, 0 | 6, ..] | [0x86, 0xdd, ..] | [0x80, 0x35, ..]));
                self.demand(!wrapped, Reason::Llc)
            }
            _ => Ok(()),
        }
    }

    /// What a first fragment must show (RFC 7112), and what no fragment may carry (RFC 6980): hosts
    /// that put it together anyway would find what was looked at nowhere.
    fn pieces_v6(&mut self, ip: &Ipv6) -> Result<(), Reason> {
        if ip.chain.fragment == Fragment::Whole {
            return Ok(());
        }
        let shown = self.parsed.l4.is_some()
            || ip.chain.fragment == Fragment::Later
            || ip.chain.protocol == protocol::NO_NEXT;
        self.demand(shown, Reason::Ipv6Hidden)?;
        let discovery = matches!(self.parsed.l4.map(|l4| l4.transport),
            Some(Transport::Icmpv6 { kind, .. }) if super::ipv6::is_discovery(kind));
        self.demand(!discovery, Reason::NdFragment)
    }

    /// Whether the packet is neighbour discovery of this link.
    fn is_discovery(&self, ip: &Ipv6) -> bool {
        let kind = self.parsed.l4.map(|l4| l4.transport);
        matches!(kind, Some(Transport::Icmpv6 { kind, .. }) if super::ipv6::is_discovery(kind))
            && ip.hop_limit == ndp::HOP_LIMIT
    }

    /// Whether an Ethernet address is another's than the sender's own, in here: bound, kept, or in
    /// use.
    fn is_macs_inside(&self, mac: MacAddr) -> bool {
        if mac == self.mac() {
            return false;
        }
        let macs = &self.engine.macs;
        let index = match macs.binding_of(mac.as_u64()) {
            Some(None) => return true,
            Some(Some(index)) => Some(index),
            None => macs.port_of(self.vid(), mac.as_u64(), tick(self.now)),
        };
        let port = index.and_then(|index| self.engine.ports.at(index));
        port.is_some_and(|port| port.spec.role != Role::Uplink)
    }

    /// Whether a message of neighbour discovery names such an address in an option.
    fn names_inside(&self, ip: &Ipv6) -> bool {
        let fixed = match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Icmpv6 { kind: kind::ROUTER_SOLICITATION, .. }) => 8,
            Some(Transport::Icmpv6 { kind: kind::ROUTER_ADVERTISEMENT, .. }) => 16,
            Some(Transport::Icmpv6 { kind: kind::REDIRECT, .. }) => 40,
            _ => ndp::NEIGHBOUR_LEN,
        };
        let options = self.icmpv6_message(ip).get(fixed..).unwrap_or_default();
        let mut links = ndp::Options::new(options).filter(|option| {
            matches!(option.kind, option::SOURCE_LINK_ADDRESS | option::TARGET_LINK_ADDRESS)
        });
        // Some look into one that is too long.
        links.any(|link| {
            link.body.first_chunk().is_some_and(|mac| self.is_macs_inside(MacAddr(*mac)))
        })
    }

    /// The target of a neighbour advertisement.
    fn advertised(&self, ip: &Ipv6) -> Option<core::net::Ipv6Addr> {
        match self.parsed.l4?.transport {
            Transport::Icmpv6 { kind: kind::NEIGHBOUR_ADVERTISEMENT, .. } => {
                Some(Neighbour::new(self.icmpv6_message(ip)).ok()?.target())
            }
            _ => None,
        }
    }

    fn trusted(&mut self) -> Result<Outcome, Reason> {
        match self.parsed.l3 {
            Some(L3::Arp(arp)) => {
                let question = arp.operation == operation::REQUEST
                    && self.cast == Cast::Broadcast
                    && arp.sender_ip != arp.target_ip
                    && arp.sender_mac == self.mac();
                if question {
                    return self.resolve_v4(&arp, arp.sender_ip.is_unspecified());
                }
                Ok(Outcome::Pass)
            }
            Some(L3::Ipv4(ip)) => {
                self.said.destination = Packed::v4(ip.destination.into());
                match self.parsed.l4.map(|l4| l4.transport) {
                    Some(Transport::Udp { source, destination: dhcp4::CLIENT_PORT, .. }) => {
                        self.dhcp4_served(&ip, source);
                    }
                    _ if ip.protocol == protocol::IGMP => self.trusted_igmp(&ip),
                    _ => {}
                }
                let outcome = self.flooded(Group::V4(ip.destination))?;
                if ip.protocol == protocol::IGMP {
                    self.queried_v4(&ip);
                }
                Ok(outcome)
            }
            Some(L3::Ipv6(ip)) => {
                self.said.destination = Packed::v6(&ip.destination.octets());
                self.trusted_v6(&ip)
            }
            None => Ok(Outcome::Pass),
        }
    }

    fn trusted_v6(&mut self, ip: &Ipv6) -> Result<Outcome, Reason> {
        match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Udp { source, destination: dhcp6::CLIENT_PORT, .. }) => {
                self.dhcpv6_served(ip, source);
            }
            Some(Transport::Icmpv6 { kind: mld::kind::QUERY, .. }) => {
                let outcome = self.flooded(Group::V6(ip.destination))?;
                self.queried_v6(ip);
                return Ok(outcome);
            }
            Some(Transport::Icmpv6 {
                kind: mld::kind::REPORT_V1 | mld::kind::REPORT_V2 | mld::kind::DONE,
                ..
            }) => self.for_routers(),
            Some(Transport::Icmpv6 { kind: kind::ROUTER_ADVERTISEMENT, .. }) => {
                self.router_advertisement(ip)?;
            }
            Some(Transport::Icmpv6 { kind: kind::NEIGHBOUR_SOLICITATION, .. }) => {
                let Ok(message) = Neighbour::new(self.icmpv6_message(ip)) else {
                    return Ok(Outcome::Pass);
                };
                let target = message.target();
                let question = ip.hop_limit == ndp::HOP_LIMIT
                    && self.cast == Cast::Multicast
                    && ip.destination == ndp::solicited_node(target);
                if question {
                    return self.resolve_v6(ip.source, target, ip.source.is_unspecified());
                }
            }
            _ => {}
        }
        self.flooded(Group::V6(ip.destination))
    }
}

/// Whether a guest may answer a packet with this source. If it may not, others would make it fail the
/// checks of what it sends (23).
fn may_be_answered(source: IpAddr) -> bool {
    let kind = match source {
        IpAddr::V4(ip) => ip.is_unspecified() || !matches!(ip.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_loopback() && ip.to_ipv4_mapped().is_none(),
    };
    kind && !is_metadata(source)
}

/// Whether an address can be that of one station.
fn is_station(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}
