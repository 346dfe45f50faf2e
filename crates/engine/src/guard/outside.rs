//! Ports that are trusted: the router and the outside (checks 17, 33 and 56).
//!
//! Their questions are answered from the bindings like a guest's, what their servers give is taken
//! note of, and the outside may not claim to be somebody inside.

use core::net::IpAddr;

use wire::arp::operation;
use wire::ndp::{self, Neighbour, kind};
use wire::parse::Ipv6;
use wire::{L3, Transport, dhcp4, dhcp6, igmp, mld};

use crate::frame::Cast;
use crate::guard::fast::Packed;
use crate::guard::multicast::Group;
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;

impl Judge<'_> {
    pub(super) fn router(&mut self) -> Result<Outcome, Reason> {
        self.trusted()
    }

    pub(super) fn uplink(&mut self) -> Result<Outcome, Reason> {
        // The packet's source, and what the sender says that is its own.
        let mut source = None;
        let mut stated = [None; 2];
        match self.parsed.l3 {
            Some(L3::Arp(arp)) => stated[0] = Some(IpAddr::V4(arp.sender_ip)),
            Some(L3::Ipv4(ip)) => {
                source = Some(IpAddr::V4(ip.source));
                // Where it broadcasts to, no station is. Nobody told us of that address, if we do
                // not know the subnet.
                let last = ip.destination.octets()[3] & 3 == 3;
                if self.cast == Cast::Broadcast
                    && last
                    && self.engine.network.guard.subnet.is_none()
                {
                    stated[0] = Some(IpAddr::V4(ip.destination));
                }
            }
            Some(L3::Ipv6(ip)) => {
                source = Some(IpAddr::V6(ip.source));
                if self.is_discovery(&ip) {
                    stated = [source, self.advertised(&ip).map(IpAddr::V6)];
                }
            }
            None => {}
        }
        if source.is_some_and(|source| !self.may_be_outside(source)) && stated[0] != source {
            self.refuse(Reason::OutsideIdentity)?;
        }
        for address in stated.into_iter().flatten().filter(is_station) {
            if !self.heard_outside(address) {
                self.refuse(Reason::OutsideIdentity)?;
            }
        }
        self.accepted = source;
        self.trusted()
    }

    /// Whether the packet is neighbour discovery of this link.
    fn is_discovery(&self, ip: &Ipv6) -> bool {
        let kind = self.parsed.l4.map(|l4| l4.transport);
        matches!(kind, Some(Transport::Icmpv6 { kind, .. }) if super::ipv6::is_discovery(kind))
            && ip.hop_limit == ndp::HOP_LIMIT
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
                match self.parsed.l4.map(|l4| (l4.transport, usize::from(l4.offset))) {
                    Some((Transport::Udp { destination: dhcp4::CLIENT_PORT, .. }, _)) => {
                        self.dhcp4_served();
                    }
                    Some((Transport::Other, at))
                        if ip.protocol == wire::ipv4::protocol::IGMP
                            && self.bytes.get(at) == Some(&igmp::kind::QUERY) =>
                    {
                        self.queried();
                    }
                    _ => {}
                }
                self.flooded(Group::V4(ip.destination))
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
            Some(Transport::Udp { destination: dhcp6::CLIENT_PORT, .. }) => self.dhcpv6_served(),
            Some(Transport::Icmpv6 { kind: mld::kind::QUERY, .. }) => self.queried(),
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

/// Whether an address can be that of one station.
fn is_station(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    }
}
