//! IPv6 and what it carries (checks 23, 25, 26, 28 and 34 to 37; RFC 8200, RFC 7112, RFC 6980,
//! RFC 5722, RFC 5095).

use core::net::{IpAddr, Ipv6Addr};

use wire::ipv4::{Fragment, protocol};
use wire::parse::Ipv6;
use wire::{L3, L4, Malformed, Transport, ipv6, mld, ndp};

use crate::frame::Cast;
use crate::guard::claims::Claim;
use crate::guard::extension::{self, Extensions};
use crate::guard::fast::{Packed, is_guarded};
use crate::guard::fragments::{Datagram, Piece};
use crate::guard::multicast::Group;
use crate::guard::special::{is_metadata, of_nat64};
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;

impl Judge<'_> {
    pub(super) fn ipv6(&mut self) -> Result<Outcome, Reason> {
        let packet = self.packet();
        let (Some(L3::Ipv6(ip)), Ok(header)) = (self.parsed.l3, ipv6::Header::new(packet)) else {
            self.refuse(self.broken_v6())?;
            return Ok(Outcome::Pass);
        };
        let body = packet.get(ipv6::HEADER_LEN..).unwrap_or_default();
        let extensions = extension::walk(header.next_header(), body);
        let claimed = ipv6::HEADER_LEN + usize::from(ip.payload_len);
        self.demand(claimed <= self.packet_len(), Reason::Ipv6Header)?;
        self.demand(ip.hop_limit > 0, Reason::TtlZero)?;
        self.said.destination = Packed::v6(&ip.destination.octets());
        self.destination_v6(ip.destination)?;
        self.cast_v6(ip.destination)?;
        self.demand(!extensions.misplaced, Reason::Ipv6Chain)?;
        self.demand(!extensions.routing, Reason::Ipv6Routing)?;
        self.demand(!extensions.odd_option, Reason::Ipv6Option)?;
        let piece = self.fragment_v6(&ip, &extensions)?;
        self.transport_v6(&ip)?;
        self.source_v6(&ip)?;
        if let Some((datagram, piece)) = piece {
            self.me.fragments.note(self.now, &datagram, piece);
        }
        self.upper_v6(&ip, &extensions)
    }

    /// Why the headers could not be read.
    pub(super) fn broken_v6(&self) -> Reason {
        let chained = self
            .packet()
            .get(6)
            .is_some_and(|&next| matches!(next, 0 | 43 | 44 | 51 | 60 | 135 | 139 | 140));
        match self.parsed.malformed {
            Some(Malformed::ExtensionChain) => Reason::Ipv6Chain,
            Some(Malformed::Truncated) if chained => Reason::Ipv6Hidden,
            _ => Reason::Ipv6Header,
        }
    }

    fn upper_v6(&mut self, ip: &Ipv6, extensions: &Extensions) -> Result<Outcome, Reason> {
        match self.parsed.l4 {
            Some(L4 { transport: Transport::Udp { source, destination, .. }, .. })
                if is_guarded(source) || is_guarded(destination) =>
            {
                self.dhcpv6(source, destination)?;
            }
            Some(L4 { transport: Transport::Icmpv6 { kind, code }, .. }) => {
                return self.icmpv6(ip, extensions, kind, code);
            }
            _ => {}
        }
        self.flooded(Group::V6(ip.destination))
    }

    fn destination_v6(&mut self, destination: Ipv6Addr) -> Result<(), Reason> {
        if destination.is_unspecified()
            || destination.is_loopback()
            || destination.to_ipv4_mapped().is_some()
        {
            self.refuse(Reason::Destination)?;
        }
        if let Some(inside) = of_nat64(destination) {
            self.destination_v4(inside)?;
        }
        self.demand(!is_metadata(destination.into()), Reason::Metadata)
    }

    fn cast_v6(&mut self, destination: Ipv6Addr) -> Result<(), Reason> {
        let good = match self.cast {
            Cast::Unicast => !destination.is_multicast(),
            Cast::Multicast => {
                destination.is_multicast() && self.parsed.dst == ndp::multicast_mac(destination)
            }
            // IPv6 has no broadcast.
            Cast::Broadcast => false,
        };
        self.demand(good, Reason::CastMismatch)
    }

    fn fragment_v6(
        &mut self,
        ip: &Ipv6,
        extensions: &Extensions,
    ) -> Result<Option<(Datagram, Piece)>, Reason> {
        let Some(fragment) = extensions.fragment else { return Ok(None) };
        let extension::Fragment { id, offset, more, start } = fragment;
        let guarded = match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Udp { source, destination, .. }) => {
                is_guarded(source) || is_guarded(destination)
            }
            Some(Transport::Icmpv6 { kind, .. }) if is_discovery(kind) => {
                self.refuse(Reason::NdFragment)?;
                false
            }
            Some(Transport::Icmpv6 { kind, .. }) => is_listener(kind),
            _ => false,
        };
        self.demand(!guarded, Reason::FragmentGuarded)?;
        if ip.chain.fragment == Fragment::Atomic {
            return Ok(None);
        }
        // All that follows the fragment header, the headers in a first fragment too: the next one
        // has to begin behind them.
        let len = u32::from(ip.payload_len).saturating_sub(start);
        let piece = Piece { offset, len, more };
        if more && !len.is_multiple_of(8) {
            self.refuse(Reason::FragmentOverlap)?;
        }
        let datagram = Datagram {
            source: Packed::v6(&ip.source.octets()),
            destination: Packed::v6(&ip.destination.octets()),
            protocol: 0,
            id,
        };
        if let Err(reason) = self.me.fragments.check(self.now, &datagram, piece) {
            self.refuse(reason)?;
        }
        Ok(Some((datagram, piece)))
    }

    fn transport_v6(&mut self, ip: &Ipv6) -> Result<(), Reason> {
        if ip.chain.fragment == Fragment::Later || ip.chain.protocol == protocol::NO_NEXT {
            return Ok(());
        }
        let first = ip.chain.fragment == Fragment::First;
        let body = usize::from(ip.payload_len) - usize::from(ip.chain.len);
        let hidden = if first { Reason::Ipv6Hidden } else { Reason::L4Header };
        let Some(l4) = self.parsed.l4 else { return self.refuse(hidden) };
        self.demand(usize::from(l4.header_len) <= body, hidden)?;
        self.transport(&l4, body, first)
    }

    fn source_v6(&mut self, ip: &Ipv6) -> Result<(), Reason> {
        let source = ip.source;
        if source.is_unspecified() {
            return self.unspecified_v6(ip);
        }
        if self.is_no_station(source.into()) && !self.has(source.into()) {
            return self.refuse(Reason::Ipv6SourceKind);
        }
        match self.claim(IpAddr::V6(source)) {
            Claim::Own => {
                self.accepted = Some(IpAddr::V6(source));
                Ok(())
            }
            Claim::Asked => self.refuse(Reason::AddressAsked),
            Claim::Limit => self.refuse(Reason::Ipv6SourceLimit),
            Claim::Foreign => self.refuse(Reason::Ipv6Source),
        }
    }

    /// Without an address a host may ask whether an address is free, who is the router, and say
    /// which groups it joins (RFC 4862, 5.4; RFC 3810, 5.2.13).
    fn unspecified_v6(&mut self, ip: &Ipv6) -> Result<(), Reason> {
        use ndp::kind::{NEIGHBOUR_SOLICITATION, ROUTER_SOLICITATION};
        let good = match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Icmpv6 { kind, .. }) => {
                ip.destination.is_multicast()
                    && matches!(
                        kind,
                        NEIGHBOUR_SOLICITATION
                            | ROUTER_SOLICITATION
                            | mld::kind::REPORT_V1
                            | mld::kind::DONE
                            | mld::kind::REPORT_V2
                    )
            }
            _ => false,
        };
        self.demand(good, Reason::Ipv6Unspecified)
    }
}

/// Neighbour discovery (RFC 4861) and its redirects.
pub(super) fn is_discovery(kind: u8) -> bool {
    (ndp::kind::ROUTER_SOLICITATION..=ndp::kind::REDIRECT).contains(&kind)
}

/// Multicast listener discovery.
pub(super) fn is_listener(kind: u8) -> bool {
    matches!(kind, mld::kind::QUERY | mld::kind::REPORT_V1 | mld::kind::DONE | mld::kind::REPORT_V2)
}
