//! What the router reads of a packet: the fixed header, once.

use core::net::{IpAddr, Ipv4Addr};

use wire::ethernet::{HEADER_LEN as ETHERNET, ethertype};
use wire::ipv4::{Fragment, protocol};
use wire::{ipv4, ipv6};

use super::counters::RouterReason;

/// The IPv4 options that name the way (RFC 791, 3.1), which routers refuse (RFC 7126, 4.3 and 4.4).
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// The fixed header of an IP packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) ttl: u8,
    /// Bytes of the packet.
    pub(super) len: usize,
    /// Bytes of the IPv4 header, or 40.
    pub(super) header_len: usize,
    /// The protocol, or IPv6's next header.
    pub(super) protocol: u8,
    /// IPv4: the packet must not be fragmented. IPv6: always.
    pub(super) dont_fragment: bool,
    /// IPv4: the packet is a fragment. IPv6's fragments are told from the chain.
    pub(super) fragment: Fragment,
}

impl Packet {
    /// Reads the packet of a frame. `front` is the frame's beginning, `frame_len` its whole length.
    #[inline]
    pub(super) fn read(front: &[u8], frame_len: usize) -> Result<Self, RouterReason> {
        let bytes = front.get(ETHERNET..).ok_or(RouterReason::Malformed)?;
        let packet = match front.get(12..14) {
            Some([hi, lo]) if u16::from_be_bytes([*hi, *lo]) == ethertype::IPV4 => Self::v4(bytes)?,
            Some([hi, lo]) if u16::from_be_bytes([*hi, *lo]) == ethertype::IPV6 => Self::v6(bytes)?,
            _ => return Err(RouterReason::Protocol),
        };
        if ETHERNET + packet.len > frame_len {
            return Err(RouterReason::Malformed);
        }
        Ok(packet)
    }

    #[inline]
    fn v4(bytes: &[u8]) -> Result<Self, RouterReason> {
        let header = ipv4::Header::new(bytes).map_err(|_| RouterReason::Malformed)?;
        if !header.checksum_is_good() {
            return Err(RouterReason::Checksum);
        }
        if !header.options().is_empty() && is_source_routed(header.options()) {
            return Err(RouterReason::SourceRouted);
        }
        Ok(Self {
            source: header.source().into(),
            destination: header.destination().into(),
            ttl: header.ttl(),
            len: header.total_len().into(),
            header_len: header.header_len(),
            protocol: header.protocol(),
            dont_fragment: header.dont_fragment(),
            fragment: header.fragment(),
        })
    }

    #[inline]
    fn v6(bytes: &[u8]) -> Result<Self, RouterReason> {
        let header = ipv6::Header::new(bytes).map_err(|_| RouterReason::Malformed)?;
        Ok(Self {
            source: header.source().into(),
            destination: header.destination().into(),
            ttl: header.hop_limit(),
            len: ipv6::HEADER_LEN + usize::from(header.payload_len()),
            header_len: ipv6::HEADER_LEN,
            protocol: header.next_header(),
            dont_fragment: true,
            fragment: Fragment::Whole,
        })
    }

    #[inline]
    pub(super) fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Whether the packet is for a DHCP server, of either version, and whole.
    pub(super) fn is_for_dhcp_server(&self, front: &[u8]) -> bool {
        self.is_for_port(front, if self.is_v6() { 547 } else { 67 })
    }

    /// Whether the packet is a whole UDP datagram to this port, without extension headers.
    pub(super) fn is_for_port(&self, front: &[u8], port: u16) -> bool {
        let at = ETHERNET + self.header_len + 2;
        self.protocol == protocol::UDP
            && self.fragment == Fragment::Whole
            && front.get(at..at + 2) == Some(&u16::to_be_bytes(port))
    }
}

fn is_source_routed(mut options: &[u8]) -> bool {
    // Each step takes at least one byte.
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest.first()) {
            (0, _) => return false,
            (1, _) => rest,
            (kind, _) if SOURCE_ROUTES.contains(&kind) => return true,
            (_, Some(&len)) if len >= 2 => options.get(usize::from(len)..).unwrap_or_default(),
            _ => return false,
        };
    }
    false
}

/// Whether a packet can come from this address, on any network.
#[inline]
pub(super) fn is_martian_source(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => matches!(ip.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback() || ip.is_multicast(),
    }
}

/// Whether a packet can be sent to this address, which is no group's.
#[inline]
pub(super) fn is_martian_destination(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => matches!(ip.octets()[0], 0 | 127 | 240..),
        IpAddr::V6(ip) => ip.is_unspecified() || ip.is_loopback() || is_mapped(ip.octets()),
    }
}

/// `::ffff:0:0/96`, which is never on a network (RFC 4038, 4.2; RFC 6890).
fn is_mapped(octets: [u8; 16]) -> bool {
    octets.starts_with(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff])
}

/// Whether an address has a meaning on its own link only.
#[inline]
pub(super) fn is_link_scope(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Whether an address is that of many.
#[inline]
pub(super) fn is_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => ip.is_multicast() || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}
