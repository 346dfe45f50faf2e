//! IPv4 and what it carries (checks 20 to 28; RFC 791, RFC 1122, RFC 1858, BCP 38).

use core::net::{IpAddr, Ipv4Addr};

use wire::ipv4::{Fragment, Header, protocol};
use wire::parse::Ipv4;
use wire::{L3, L4, MacAddr, Transport, icmpv6, igmp, ipv4};

use crate::frame::Cast;
use crate::guard::claims::Claim;
use crate::guard::fast::{Packed, TCP_FLAGS, is_guarded};
use crate::guard::fragments::{Datagram, FIRST_MIN, Piece};
use crate::guard::multicast::Group;
use crate::guard::special::is_metadata;
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;

/// IPv4 option numbers with their copy flag and class (RFC 791, 3.1; RFC 2113).
mod option {
    pub(super) const END: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const ROUTER_ALERT: u8 = 148;
}

impl Judge<'_> {
    pub(super) fn ipv4(&mut self) -> Result<Outcome, Reason> {
        let packet = self.packet();
        let (Some(L3::Ipv4(ip)), Ok(header)) = (self.parsed.l3, Header::new(packet)) else {
            self.refuse(Reason::Ipv4Header)?;
            return Ok(Outcome::Pass);
        };
        let (checksum, options) = (header.checksum_is_good(), router_alert(header.options()));
        let reserved = packet.get(6).is_some_and(|flags| flags & 0x80 != 0);
        let total = usize::from(ip.total_len);
        self.demand(total <= self.packet_len() && !reserved, Reason::Ipv4Header)?;
        self.demand(checksum, Reason::Ipv4Checksum)?;
        self.demand(ip.ttl > 0, Reason::TtlZero)?;
        self.said.destination = Packed::v4(ip.destination.into());
        self.destination_v4(ip.destination)?;
        self.cast_v4(&ip)?;
        let alert = match options {
            Options::None => true,
            Options::RouterAlert => ip.protocol == protocol::IGMP,
            Options::Other => false,
        };
        self.demand(alert, Reason::Ipv4Option)?;
        let piece = self.fragment_v4(&ip, &header_of(packet))?;
        self.transport_v4(&ip, total)?;
        self.source_v4(&ip)?;
        if let Some((datagram, piece)) = piece {
            self.me.fragments.note(self.now, &datagram, piece);
        }
        self.upper_v4(&ip, options == Options::RouterAlert)
    }

    /// What the packet carries, once everything about the packet is settled.
    fn upper_v4(&mut self, ip: &Ipv4, alert: bool) -> Result<Outcome, Reason> {
        match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Udp { source, destination, .. })
                if is_guarded(source) || is_guarded(destination) =>
            {
                self.dhcp4(source, destination)?;
            }
            Some(Transport::Icmpv4 { kind, .. }) => self.icmpv4(kind)?,
            Some(Transport::Other) if ip.protocol == protocol::IGMP => {
                return self.igmp(ip, alert);
            }
            _ => {}
        }
        self.flooded(Group::V4(ip.destination))
    }

    /// Where no wire leads (check 23).
    pub(super) fn destination_v4(&mut self, destination: Ipv4Addr) -> Result<(), Reason> {
        let [net, second, ..] = destination.octets();
        if is_metadata(destination.into()) {
            return self.refuse(Reason::Metadata);
        }
        match net {
            0 | 127 => self.refuse(Reason::Destination),
            240..=255 if !destination.is_broadcast() => self.refuse(Reason::Destination),
            169 if second == 254 && !self.me.spec.link_local_v4 => {
                self.refuse(Reason::Ipv4LinkLocal)
            }
            _ => Ok(()),
        }
    }

    /// The frame's and the packet's destination are of one kind (check 26): a broadcast frame with a
    /// packet for one station would get behind whatever looks at addresses of frames.
    fn cast_v4(&mut self, ip: &Ipv4) -> Result<(), Reason> {
        let destination = ip.destination;
        let subnet = self.engine.network.guard.subnet;
        let of_subnet = subnet
            .filter(|net| net.prefix_len() < 31)
            .is_some_and(|net| net.broadcast() == destination);
        let broadcast = destination.is_broadcast() || of_subnet;
        let good = match self.cast {
            Cast::Broadcast => {
                let known = |ip| subnet.is_some_and(|subnet| subnet.contains(&ip));
                broadcast
                    || !known(ip.source)
                        && !known(destination)
                        && self.may_be_broadcast(destination)
            }
            Cast::Multicast => {
                destination.is_multicast() && self.parsed.dst == group_mac(destination)
            }
            Cast::Unicast => !broadcast && !destination.is_multicast(),
        };
        self.demand(good, Reason::CastMismatch)
    }

    /// Whether an address may be the broadcast address of a subnet that nobody told us of: it ends in
    /// ones, and no station is known to have it, in here, in another network or outside.
    fn may_be_broadcast(&self, address: Ipv4Addr) -> bool {
        address.octets()[3] & 3 == 3
            && !address.is_multicast()
            && self.owner(address.into()).is_none()
            && !self.engine.is_of_other_network(address.into())
            && !self.is_stations_outside(address.into())
    }

    fn fragment_v4(
        &mut self,
        ip: &Ipv4,
        header: &Fields,
    ) -> Result<Option<(Datagram, Piece)>, Reason> {
        if ip.fragment == Fragment::Whole {
            return Ok(None);
        }
        let len = u32::from(ip.total_len) - u32::from(ip.header_len);
        let piece = Piece { offset: header.offset, len, more: header.more };
        let datagram = Datagram {
            source: Packed::v4(ip.source.into()),
            destination: Packed::v4(ip.destination.into()),
            protocol: ip.protocol,
            id: header.id,
        };
        if ip.fragment == Fragment::First && usize::from(ip.total_len) < FIRST_MIN {
            self.refuse(Reason::FragmentTiny)?;
        }
        if piece.more && !len.is_multiple_of(8) {
            self.refuse(Reason::FragmentOverlap)?;
        }
        if let Err(reason) = self.me.fragments.check(self.now, &datagram, piece) {
            self.refuse(reason)?;
        }
        let guarded = match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Udp { source, destination, .. }) => {
                is_guarded(source) || is_guarded(destination)
            }
            _ => ip.protocol == protocol::IGMP,
        };
        self.demand(!guarded, Reason::FragmentGuarded)?;
        Ok(Some((datagram, piece)))
    }

    /// The transport header is all there, and in the packet (check 28).
    fn transport_v4(&mut self, ip: &Ipv4, total: usize) -> Result<(), Reason> {
        if ip.fragment == Fragment::Later {
            return Ok(());
        }
        let body = total - usize::from(ip.header_len);
        let Some(l4) = self.parsed.l4 else { return self.refuse(Reason::L4Header) };
        self.transport(&l4, body, ip.fragment == Fragment::First)?;
        if ip.protocol == protocol::IGMP {
            return self.demand(body >= igmp::HEADER_LEN, Reason::IgmpFormat);
        }
        Ok(())
    }

    /// What is asked of a transport header, for both versions. `body` is the bytes from it to the
    /// packet's end.
    pub(super) fn transport(&mut self, l4: &L4, body: usize, first: bool) -> Result<(), Reason> {
        self.demand(usize::from(l4.header_len) <= body, Reason::L4Header)?;
        match l4.transport {
            Transport::Udp { len, .. } if !first => {
                self.demand(usize::from(len) <= body, Reason::L4Header)
            }
            Transport::Icmpv6 { .. } => self.demand(body >= icmpv6::MESSAGE_MIN, Reason::L4Header),
            Transport::Tcp { flags, .. } => {
                self.demand(TCP_FLAGS >> (flags & 0x3f) & 1 == 1, Reason::TcpFlags)
            }
            _ => Ok(()),
        }
    }

    /// The source is the port's (checks 21 and 22).
    fn source_v4(&mut self, ip: &Ipv4) -> Result<(), Reason> {
        let source = ip.source;
        if source.is_unspecified() {
            return self.unspecified_v4(ip);
        }
        // Somebody may be given the metadata service's address, to be one.
        let given = is_metadata(source.into()) && self.has(source.into());
        if self.is_no_station(source.into()) && !given {
            return self.refuse(Reason::Ipv4SourceKind);
        }
        match self.claim(IpAddr::V4(source)) {
            Claim::Own => {
                self.accepted = Some(IpAddr::V4(source));
                Ok(())
            }
            Claim::Asked => self.refuse(Reason::AddressAsked),
            Claim::Limit => self.refuse(Reason::Ipv4SourceLimit),
            Claim::Foreign => self.refuse(Reason::Ipv4Source),
        }
    }

    /// 0.0.0.0 is the source of a DHCP client that has no address yet, and of a host that joins
    /// groups before it has one.
    fn unspecified_v4(&mut self, ip: &Ipv4) -> Result<(), Reason> {
        let good = match self.parsed.l4.map(|l4| l4.transport) {
            // That it is for this client is check 30's business.
            Some(Transport::Udp { source: 68, destination: 67, .. }) => {
                ip.destination.is_broadcast() && self.cast == Cast::Broadcast
            }
            Some(Transport::Other) => ip.protocol == protocol::IGMP,
            _ => false,
        };
        self.demand(good, Reason::Ipv4Unspecified)
    }
}

/// Fields of the header that [`Ipv4`] does not have.
struct Fields {
    id: u32,
    offset: u32,
    more: bool,
}

fn header_of(packet: &[u8]) -> Fields {
    match Header::new(packet) {
        Ok(header) => Fields {
            id: header.id().into(),
            offset: header.fragment_offset().into(),
            more: packet.get(6).is_some_and(|flags| flags & 0x20 != 0),
        },
        Err(_) => Fields { id: 0, offset: 0, more: false },
    }
}

/// What options there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Options {
    None,
    /// A router alert and nothing else but padding.
    RouterAlert,
    Other,
}

pub(super) fn router_alert(options: &[u8]) -> Options {
    let mut found = Options::None;
    let mut rest = options;
    while let Some((&kind, after)) = rest.split_first() {
        rest = match (kind, after) {
            (option::END, _) => break,
            (option::NOTHING, _) => after,
            (option::ROUTER_ALERT, [4, 0, 0, after @ ..]) => {
                found = Options::RouterAlert;
                after
            }
            _ => return Options::Other,
        };
    }
    if options.is_empty() { Options::None } else { found }
}

/// The Ethernet group address of an IPv4 multicast address: 01:00:5e and its last 23 bits (RFC 1112,
/// 6.4).
pub(super) fn group_mac(group: Ipv4Addr) -> MacAddr {
    let [_, b, c, d] = group.octets();
    MacAddr([0x01, 0x00, 0x5e, b & 0x7f, c, d])
}

const _: () = assert!(ipv4::HEADER_LEN_MAX + 8 == FIRST_MIN);
