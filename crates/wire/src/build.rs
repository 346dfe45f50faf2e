//! A small builder of frames, for the tests and for the answers a switch gives itself.
//!
//! Layers are pushed in order, then [`Builder::finish`] fills what depends on what follows: the
//! EtherType and protocol numbers are written by the layer that comes next, lengths and checksums
//! at the end. A buffer that is too small is remembered and reported there.
//!
//! ```
//! use wire::build::{Builder, Ipv4};
//! use wire::{MacAddr, parse};
//!
//! let mut buffer = [0; 64];
//! let len = Builder::new(&mut buffer)
//!     .ethernet(MacAddr::BROADCAST, MacAddr([2, 0, 0, 0, 0, 1]))
//!     .ipv4(&Ipv4::default())
//!     .udp(68, 67)
//!     .payload(b"hello")
//!     .finish()?;
//! assert!(parse(&buffer[..len]).is_ok_and(|parsed| parsed.l4.is_some()));
//! # Ok::<(), wire::build::BufferFull>(())
//! ```

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::{add, mangle, pseudo_v4, pseudo_v6, sum, write};
use crate::ethernet::ethertype;
use crate::ipv4::protocol;
use crate::parse::Arp;
use crate::{MacAddr, PartialChecksum, Tag, arp, icmpv4, icmpv6, ipv4, ipv6, ndp, tcp, udp};

/// The frame does not fit its buffer, or is longer than its length fields can say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the frame does not fit its buffer")]
pub struct BufferFull;

/// Fields of an IPv4 header that are not computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4<'a> {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Identification.
    pub id: u16,
    /// The flags and fragment offset word.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Options, padded to a multiple of four, at most 40 bytes.
    pub options: &'a [u8],
}

impl Default for Ipv4<'_> {
    /// 10.0.0.1 to 10.0.0.2, don't fragment, TTL 64.
    fn default() -> Self {
        Self {
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            traffic_class: 0,
            id: 0,
            fragment: 0x4000,
            ttl: 64,
            options: &[],
        }
    }
}

/// Fields of an IPv6 header that are not computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The low 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
}

impl Default for Ipv6 {
    /// fd00::1 to fd00::2, hop limit 64.
    fn default() -> Self {
        Self {
            source: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1),
            destination: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2),
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
        }
    }
}

/// Fields of a TCP header that are not computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tcp<'a> {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// See [`tcp::flag`].
    pub flags: u8,
    /// Receive window.
    pub window: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options, padded to a multiple of four, at most 40 bytes.
    pub options: &'a [u8],
}

impl Default for Tcp<'_> {
    /// An acknowledgement from port 49152 to port 5001.
    fn default() -> Self {
        Self {
            source: 49152,
            destination: 5001,
            sequence: 1,
            acknowledgement: 1,
            flags: tcp::flag::ACK,
            window: 0xffff,
            urgent: 0,
            options: &[],
        }
    }
}

/// Where the number of the next layer is to be written.
#[derive(Clone, Copy, Debug)]
enum Next {
    Nowhere,
    EtherType(usize),
    Protocol(usize),
}

/// The network layer that was pushed, and where.
#[derive(Clone, Copy, Debug)]
enum Network {
    None,
    V4 { at: usize, source: Ipv4Addr, destination: Ipv4Addr },
    V6 { at: usize, source: Ipv6Addr, destination: Ipv6Addr },
}

/// The transport layer that was pushed, where it is and where its checksum is in it.
#[derive(Clone, Copy, Debug)]
struct Transport {
    protocol: u8,
    at: usize,
    checksum_at: usize,
}

/// A frame being built.
#[derive(Debug)]
pub struct Builder<'a> {
    out: &'a mut [u8],
    len: usize,
    full: bool,
    next: Next,
    network: Network,
    transport: Option<Transport>,
}

impl<'a> Builder<'a> {
    /// Begins a frame at the beginning of `out`.
    #[must_use]
    pub fn new(out: &'a mut [u8]) -> Self {
        Self {
            out,
            len: 0,
            full: false,
            next: Next::Nowhere,
            network: Network::None,
            transport: None,
        }
    }

    /// The Ethernet header; the EtherType comes with the next layer.
    #[must_use]
    pub fn ethernet(mut self, destination: MacAddr, source: MacAddr) -> Self {
        self.push(&destination.0);
        self.push(&source.0);
        self.next = Next::EtherType(self.len);
        self.push(&[0, 0]);
        self
    }

    /// A VLAN tag.
    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.announce(tag.tpid, 0);
        self.push(&tag.tci.to_be_bytes());
        self.next = Next::EtherType(self.len);
        self.push(&[0, 0]);
        self
    }

    /// An EtherType without a layer of its own; what follows is [`Builder::payload`].
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.announce(ethertype, 0);
        self
    }

    /// An ARP packet, or a RARP packet by its operation.
    #[must_use]
    pub fn arp(mut self, packet: &Arp) -> Self {
        use arp::operation::{REVERSE_REPLY, REVERSE_REQUEST};
        let reverse = matches!(packet.operation, REVERSE_REQUEST | REVERSE_REPLY);
        self.announce(if reverse { ethertype::RARP } else { ethertype::ARP }, 0);
        self.push(&arp::FORMAT);
        self.push(&packet.operation.to_be_bytes());
        self.push(&packet.sender_mac.0);
        self.push(&packet.sender_ip.octets());
        self.push(&packet.target_mac.0);
        self.push(&packet.target_ip.octets());
        self
    }

    /// An IPv4 header.
    #[must_use]
    pub fn ipv4(mut self, header: &Ipv4<'_>) -> Self {
        self.announce(ethertype::IPV4, 4);
        let at = self.len;
        let header_len = ipv4::HEADER_LEN + header.options.len();
        self.full |= !header_len.is_multiple_of(4) || header_len > ipv4::HEADER_LEN_MAX;
        self.push(&[0x40 | (header_len / 4) as u8 & 0x0f, header.traffic_class, 0, 0]);
        self.push(&header.id.to_be_bytes());
        self.push(&header.fragment.to_be_bytes());
        self.push(&[header.ttl, 0, 0, 0]);
        self.push(&header.source.octets());
        self.push(&header.destination.octets());
        self.push(header.options);
        self.next = Next::Protocol(at + 9);
        self.network = Network::V4 { at, source: header.source, destination: header.destination };
        self
    }

    /// An IPv6 header.
    #[must_use]
    pub fn ipv6(mut self, header: &Ipv6) -> Self {
        self.announce(ethertype::IPV6, 41);
        let at = self.len;
        let word =
            6 << 28 | u32::from(header.traffic_class) << 20 | header.flow_label & 0x000f_ffff;
        self.push(&word.to_be_bytes());
        self.push(&[0, 0, 0, header.hop_limit]);
        self.push(&header.source.octets());
        self.push(&header.destination.octets());
        self.next = Next::Protocol(at + 6);
        self.network = Network::V6 { at, source: header.source, destination: header.destination };
        self
    }

    /// An IPv6 extension header: `kind` is its number, `body` everything behind its next-header
    /// byte, its own length byte included.
    #[must_use]
    pub fn extension(mut self, kind: u8, body: &[u8]) -> Self {
        self.announce(0, kind);
        self.next = Next::Protocol(self.len);
        self.push(&[protocol::NO_NEXT]);
        self.push(body);
        self
    }

    /// A transport protocol without a layer of its own; what follows is [`Builder::payload`].
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.announce(0, protocol);
        self
    }

    /// A TCP header.
    #[must_use]
    pub fn tcp(mut self, header: &Tcp<'_>) -> Self {
        let header_len = tcp::HEADER_LEN + header.options.len();
        self.full |= !header_len.is_multiple_of(4) || header_len > tcp::HEADER_LEN_MAX;
        self.transport(protocol::TCP, tcp::CHECKSUM_AT);
        self.push(&header.source.to_be_bytes());
        self.push(&header.destination.to_be_bytes());
        self.push(&header.sequence.to_be_bytes());
        self.push(&header.acknowledgement.to_be_bytes());
        self.push(&[((header_len / 4) as u8) << 4, header.flags]);
        self.push(&header.window.to_be_bytes());
        self.push(&[0, 0]);
        self.push(&header.urgent.to_be_bytes());
        self.push(header.options);
        self
    }

    /// A UDP header.
    #[must_use]
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        self.transport(protocol::UDP, udp::CHECKSUM_AT);
        self.push(&source.to_be_bytes());
        self.push(&destination.to_be_bytes());
        self.push(&[0; 4]);
        self
    }

    /// An ICMP header with the four bytes that depend on the type.
    #[must_use]
    pub fn icmpv4(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.transport(protocol::ICMP, icmpv4::CHECKSUM_AT);
        self.push(&[kind, code, 0, 0]);
        self.push(&rest);
        self
    }

    /// An ICMPv6 header; what depends on the type is [`Builder::payload`].
    #[must_use]
    pub fn icmpv6(mut self, kind: u8, code: u8) -> Self {
        self.transport(protocol::ICMPV6, icmpv6::CHECKSUM_AT);
        self.push(&[kind, code, 0, 0]);
        self
    }

    /// A neighbour solicitation or advertisement (`kind`) with one link-layer address option.
    #[must_use]
    pub fn neighbour(self, kind: u8, flags: u8, target: Ipv6Addr, address: MacAddr) -> Self {
        let option = match kind {
            ndp::kind::NEIGHBOUR_SOLICITATION => ndp::option::SOURCE_LINK_ADDRESS,
            _ => ndp::option::TARGET_LINK_ADDRESS,
        };
        self.icmpv6(kind, 0)
            .payload(&[flags, 0, 0, 0])
            .payload(&target.octets())
            .payload(&[option, 1])
            .payload(&address.0)
    }

    /// Bytes behind the last header; may be called several times.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.push(bytes);
        self
    }

    /// `len` bytes of payload that are in their place in the buffer already.
    #[must_use]
    pub fn payload_in_place(mut self, len: usize) -> Self {
        self.full |= self.out.len().saturating_sub(self.len) < len;
        self.len += len;
        self
    }

    /// Fills lengths and checksums and says how long the frame is.
    ///
    /// # Errors
    /// [`BufferFull`].
    pub fn finish(mut self) -> Result<usize, BufferFull> {
        self.lengths()?;
        if let Some(transport) = self.transport {
            let checksum = !add(self.pseudo(transport), sum(self.from(transport.at)));
            // Only UDP has no other way to say zero (RFC 768).
            let checksum =
                if transport.protocol == protocol::UDP { mangle(checksum) } else { checksum };
            write(self.out, transport.at + transport.checksum_at, checksum);
        }
        Ok(self.len)
    }

    /// As [`Builder::finish`], but leaves the transport checksum partial: the field holds the
    /// un-negated sum of the pseudo header.
    ///
    /// # Errors
    /// [`BufferFull`], also for a frame without a transport header.
    pub fn finish_partial(mut self) -> Result<(usize, PartialChecksum), BufferFull> {
        self.lengths()?;
        let transport = self.transport.ok_or(BufferFull)?;
        let pseudo = self.pseudo(transport);
        write(self.out, transport.at + transport.checksum_at, pseudo);
        let start = u16::try_from(transport.at).map_err(|_| BufferFull)?;
        Ok((self.len, PartialChecksum { start, offset: transport.checksum_at as u16 }))
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.out.get_mut(self.len..end) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.full = true,
        }
    }

    /// Writes the number of the layer that begins here where the one before has room for it.
    fn announce(&mut self, ethertype: u16, protocol: u8) {
        match core::mem::replace(&mut self.next, Next::Nowhere) {
            Next::Nowhere => {}
            Next::EtherType(at) => write(self.out, at, ethertype),
            Next::Protocol(at) => {
                if let Some(byte) = self.out.get_mut(at) {
                    *byte = protocol;
                }
            }
        }
    }

    fn transport(&mut self, protocol: u8, checksum_at: usize) {
        self.announce(0, protocol);
        self.transport = Some(Transport { protocol, at: self.len, checksum_at });
    }

    fn from(&self, at: usize) -> &[u8] {
        self.out.get(at..self.len).unwrap_or_default()
    }

    fn pseudo(&self, transport: Transport) -> u16 {
        let len = self.from(transport.at).len() as u16;
        match self.network {
            // ICMP for IPv4 has no pseudo header (RFC 792).
            Network::V4 { .. } if transport.protocol == protocol::ICMP => 0,
            Network::V4 { source, destination, .. } => {
                pseudo_v4(source, destination, transport.protocol, len)
            }
            Network::V6 { source, destination, .. } => {
                pseudo_v6(source, destination, transport.protocol, u32::from(len))
            }
            Network::None => 0,
        }
    }

    fn lengths(&mut self) -> Result<(), BufferFull> {
        if self.full {
            return Err(BufferFull);
        }
        let word = |len: usize| u16::try_from(len).map_err(|_| BufferFull);
        match self.network {
            Network::None => {}
            Network::V4 { at, .. } => {
                write(self.out, at + ipv4::TOTAL_LEN_AT, word(self.len - at)?);
                let header_len = self.out.get(at).map_or(0, |byte| usize::from(byte & 0x0f) * 4);
                let checksum = !sum(self.out.get(at..at + header_len).unwrap_or_default());
                write(self.out, at + ipv4::CHECKSUM_AT, checksum);
            }
            Network::V6 { at, .. } => {
                let len = word(self.len - at - ipv6::HEADER_LEN)?;
                write(self.out, at + ipv6::PAYLOAD_LEN_AT, len);
            }
        }
        if let Some(Transport { protocol: protocol::UDP, at, .. }) = self.transport {
            write(self.out, at + udp::LEN_AT, word(self.len - at)?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{L3, parse};

    #[test]
    fn a_neighbour_advertisement() {
        let mut buffer = [0; 128];
        let target = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
        let mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let len = Builder::new(&mut buffer)
            .ethernet(MacAddr([2; 6]), mac)
            .ipv6(&Ipv6 { hop_limit: 255, source: target, ..Ipv6::default() })
            .neighbour(ndp::kind::NEIGHBOUR_ADVERTISEMENT, ndp::flag::SOLICITED, target, mac)
            .finish()
            .unwrap();
        assert_eq!(len, 86);
        let message = ndp::Neighbour::new(&buffer[54..len]).unwrap();
        assert_eq!(message.target(), target);
        assert_eq!(message.link_address(ndp::option::TARGET_LINK_ADDRESS), Some(mac));
        let pseudo = pseudo_v6(target, Ipv6::default().destination, 58, 32);
        assert_eq!(add(pseudo, sum(&buffer[54..len])), 0xffff);
    }

    #[test]
    fn an_arp_reply_behind_a_tag() {
        let mut buffer = [0; 64];
        let packet = Arp {
            operation: arp::operation::REPLY,
            sender_mac: MacAddr([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(10, 0, 0, 1),
            target_mac: MacAddr([2, 0, 0, 0, 0, 2]),
            target_ip: Ipv4Addr::new(10, 0, 0, 2),
        };
        let len = Builder::new(&mut buffer)
            .ethernet(packet.target_mac, packet.sender_mac)
            .tag(Tag::new(7))
            .arp(&packet)
            .finish()
            .unwrap();
        let parsed = parse(&buffer[..len]).unwrap();
        assert_eq!(parsed.l3, Some(L3::Arp(packet)));
        assert_eq!(parsed.vlan, Some(Tag::new(7)));
    }

    #[test]
    fn a_buffer_that_is_too_small_is_an_error() {
        let mut buffer = [0; 60];
        for size in 0..buffer.len() {
            let frame = Builder::new(&mut buffer[..size])
                .ethernet(MacAddr::BROADCAST, MacAddr([2; 6]))
                .ipv4(&Ipv4::default())
                .udp(1, 2)
                .payload(&[7; 18]);
            assert_eq!(frame.finish(), Err(BufferFull), "{size}");
        }
    }
}
