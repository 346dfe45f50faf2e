//! One bounded pass over the headers of a frame.
//!
//! [`parse()`] reads Ethernet, up to two VLAN tags, then ARP, IPv4 with its options or IPv6 with its
//! extension headers, then the header of TCP, UDP, ICMP or ICMPv6. It touches at most 378 bytes and
//! takes at most [`crate::ipv6::EXTENSIONS_MAX`] steps in the only loop.
//!
//! A switch forwards frames whose network layer it does not know or cannot read. So only a broken
//! Ethernet header or tag is an error; anything wrong above ends the walk, is named in
//! [`Parsed::malformed`] and leaves [`Parsed::l3`] or [`Parsed::l4`] empty. Lengths that headers
//! claim are reported, not compared with the frame's: the caller knows how long the frame is, and
//! may have given its first bytes alone.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::ethernet::{self, ethertype};
use crate::ipv4::{Fragment, protocol};
use crate::ipv6::Chain;
use crate::vlan::{self, Tag};
use crate::{MacAddr, Malformed, arp, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

/// What [`parse()`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parsed {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// The outermost tag.
    pub vlan: Option<Tag>,
    /// The tag behind it.
    pub inner_vlan: Option<Tag>,
    /// Number of tags read, 0 to 2.
    pub tags: u8,
    /// The EtherType behind the tags. Below [`ethernet::ETHERTYPE_MIN`] it is a length; a third
    /// tag's number stays here.
    pub ethertype: u16,
    /// Where the network layer begins: 14, 18 or 22.
    pub l3_offset: u16,
    /// The network layer, if it is one we know and could be read.
    pub l3: Option<L3>,
    /// The transport layer. Absent in ARP, in later fragments, behind IPv6's "no next header" and
    /// when its header could not be read.
    pub l4: Option<L4>,
    /// What ended the walk early.
    pub malformed: Option<Malformed>,
}

/// A network layer header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum L3 {
    /// ARP, or RARP by the EtherType.
    Arp(Arp),
    /// IPv4.
    Ipv4(Ipv4),
    /// IPv6.
    Ipv6(Ipv6),
}

/// The fields of an ARP packet for IPv4 over Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// See [`arp::operation`].
    pub operation: u16,
    /// Sender hardware address.
    pub sender_mac: MacAddr,
    /// Sender protocol address.
    pub sender_ip: Ipv4Addr,
    /// Target hardware address.
    pub target_mac: MacAddr,
    /// Target protocol address.
    pub target_ip: Ipv4Addr,
}

/// What matters of an IPv4 header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv4 {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Bytes of the header with its options: 20 to 60.
    pub header_len: u8,
    /// Bytes of the packet as its header claims; not below `header_len`.
    pub total_len: u16,
    /// See [`ipv4::protocol`].
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Whether this is a fragment.
    pub fragment: Fragment,
}

/// What matters of an IPv6 header and its extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ipv6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address of the fixed header.
    pub destination: Ipv6Addr,
    /// Bytes behind the fixed header as it claims; not below the extension headers' length.
    pub payload_len: u16,
    /// Hop limit.
    pub hop_limit: u8,
    /// Where the extension headers end.
    pub chain: Chain,
}

/// A transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct L4 {
    /// Its protocol number, see [`ipv4::protocol`].
    pub protocol: u8,
    /// Where it begins in the frame.
    pub offset: u16,
    /// Its bytes; 0 for [`Transport::Other`].
    pub header_len: u16,
    /// What it says.
    pub transport: Transport,
}

/// What matters of a transport header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// See [`tcp::flag`].
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Bytes of the datagram as its header claims; not below 8.
        len: u16,
    },
    /// ICMP for IPv4.
    Icmpv4 {
        /// See [`icmpv4::kind`].
        kind: u8,
        /// Code.
        code: u8,
    },
    /// ICMP for IPv6.
    Icmpv6 {
        /// See [`icmpv6::kind`] and [`crate::ndp::kind`].
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, whose header is not looked at. ICMP on IPv6 and ICMPv6 on IPv4 are this.
    Other,
}

/// The frame has no readable Ethernet header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParseError {
    /// Fewer than 14 bytes.
    #[error("the frame is shorter than an Ethernet header")]
    ShortHeader,
    /// The bytes end inside a VLAN tag or the EtherType behind it.
    #[error("the frame ends inside a VLAN tag")]
    ShortTag,
}

impl Parsed {
    /// Bytes of everything up to the end of the transport header: the payload begins there. Without
    /// a transport header, `None`.
    #[inline]
    #[must_use]
    pub fn headers_len(&self) -> Option<usize> {
        self.l4.map(|l4| usize::from(l4.offset) + usize::from(l4.header_len))
    }

    /// Whether the frame carries a part of a fragmented datagram.
    #[inline]
    #[must_use]
    pub fn fragment(&self) -> Fragment {
        match &self.l3 {
            Some(L3::Ipv4(ip)) => ip.fragment,
            Some(L3::Ipv6(ip)) => ip.chain.fragment,
            Some(L3::Arp(_)) | None => Fragment::Whole,
        }
    }

    /// Bytes of the frame as the network header claims: what is behind is padding. `None` for what
    /// is neither IPv4 nor IPv6.
    #[inline]
    #[must_use]
    pub fn claimed_len(&self) -> Option<usize> {
        let l3 = usize::from(self.l3_offset);
        match &self.l3 {
            Some(L3::Ipv4(ip)) => Some(l3 + usize::from(ip.total_len)),
            Some(L3::Ipv6(ip)) => Some(l3 + ipv6::HEADER_LEN + usize::from(ip.payload_len)),
            Some(L3::Arp(_)) | None => None,
        }
    }
}

/// Reads the Ethernet header and up to two tags, and no further: `l3`, `l4` and
/// `malformed` are empty. For paths that decide on addresses and VLANs alone.
///
/// # Errors
/// [`ParseError`] when the bytes end inside the header or a tag.
#[inline]
pub fn ethernet(headers: &[u8]) -> Result<Parsed, ParseError> {
    let header = ethernet::Header::new(headers).map_err(|_| ParseError::ShortHeader)?;
    let mut parsed = Parsed {
        dst: header.destination(),
        src: header.source(),
        vlan: None,
        inner_vlan: None,
        tags: 0,
        ethertype: header.ethertype(),
        l3_offset: 14,
        l3: None,
        l4: None,
        malformed: None,
    };
    if vlan::is_tag(parsed.ethertype) {
        tags(headers, &mut parsed)?;
    }
    Ok(parsed)
}

#[inline]
fn tags(headers: &[u8], parsed: &mut Parsed) -> Result<(), ParseError> {
    let mut next = || -> Result<Option<Tag>, ParseError> {
        if !vlan::is_tag(parsed.ethertype) {
            return Ok(None);
        }
        let after = headers.get(usize::from(parsed.l3_offset)..).unwrap_or_default();
        let (tag, ethertype) =
            Tag::read(parsed.ethertype, after).map_err(|_| ParseError::ShortTag)?;
        parsed.ethertype = ethertype;
        parsed.l3_offset += 4;
        parsed.tags += 1;
        Ok(Some(tag))
    };
    let outer = next()?;
    let inner = next()?;
    parsed.vlan = outer;
    parsed.inner_vlan = inner;
    Ok(())
}

/// Reads all headers at the beginning of a frame. `headers` is the frame or its first bytes; 256 of
/// them, [`crate::HEADER_MAX`], are enough for every frame whose offloads we serve.
///
/// # Errors
/// [`ParseError`] when the bytes end inside the Ethernet header or a tag. All else that is wrong is
/// in [`Parsed::malformed`].
#[inline]
pub fn parse(headers: &[u8]) -> Result<Parsed, ParseError> {
    let mut parsed = ethernet(headers)?;
    if let Err(why) = network(headers, &mut parsed) {
        parsed.malformed = Some(why);
    }
    Ok(parsed)
}

#[inline]
fn network(headers: &[u8], parsed: &mut Parsed) -> Result<(), Malformed> {
    let packet = headers.get(usize::from(parsed.l3_offset)..).unwrap_or_default();
    match parsed.ethertype {
        ethertype::IPV4 => {
            let header = ipv4::Header::new(packet)?;
            // At most 60.
            let header_len = header.header_len() as u8;
            let fragment = header.fragment();
            let protocol = header.protocol();
            parsed.l3 = Some(L3::Ipv4(Ipv4 {
                source: header.source(),
                destination: header.destination(),
                header_len,
                total_len: header.total_len(),
                protocol,
                ttl: header.ttl(),
                fragment,
            }));
            if fragment == Fragment::Later {
                return Ok(());
            }
            let body = packet.get(usize::from(header_len)..).unwrap_or_default();
            parsed.l4 =
                Some(transport(protocol, parsed.l3_offset + u16::from(header_len), body, false)?);
        }
        ethertype::IPV6 => {
            let header = ipv6::Header::new(packet)?;
            let body = packet.get(ipv6::HEADER_LEN..).unwrap_or_default();
            let chain = ipv6::walk(header.next_header(), body)?;
            if header.payload_len() < chain.len {
                return Err(Malformed::TotalLength);
            }
            parsed.l3 = Some(L3::Ipv6(Ipv6 {
                source: header.source(),
                destination: header.destination(),
                payload_len: header.payload_len(),
                hop_limit: header.hop_limit(),
                chain,
            }));
            if chain.fragment == Fragment::Later || chain.protocol == protocol::NO_NEXT {
                return Ok(());
            }
            let body = body.get(usize::from(chain.len)..).unwrap_or_default();
            let offset = parsed.l3_offset + ipv6::HEADER_LEN as u16 + chain.len;
            parsed.l4 = Some(transport(chain.protocol, offset, body, true)?);
        }
        ethertype::ARP | ethertype::RARP => {
            let packet = arp::Packet::new(packet)?;
            parsed.l3 = Some(L3::Arp(Arp {
                operation: packet.operation(),
                sender_mac: packet.sender_mac(),
                sender_ip: packet.sender_ip(),
                target_mac: packet.target_mac(),
                target_ip: packet.target_ip(),
            }));
        }
        _ => {}
    }
    Ok(())
}

#[inline]
fn transport(protocol: u8, offset: u16, body: &[u8], v6: bool) -> Result<L4, Malformed> {
    let (header_len, transport) = match (protocol, v6) {
        (protocol::TCP, _) => {
            let header = tcp::Header::new(body)?;
            let transport = Transport::Tcp {
                source: header.source(),
                destination: header.destination(),
                flags: header.flags(),
            };
            // At most 60.
            (header.header_len() as u16, transport)
        }
        (protocol::UDP, _) => {
            let header = udp::Header::new(body)?;
            let transport = Transport::Udp {
                source: header.source(),
                destination: header.destination(),
                len: header.len(),
            };
            (udp::HEADER_LEN as u16, transport)
        }
        (protocol::ICMP, false) => {
            let header = icmpv4::Header::new(body)?;
            let transport = Transport::Icmpv4 { kind: header.kind(), code: header.code() };
            (icmpv4::HEADER_LEN as u16, transport)
        }
        (protocol::ICMPV6, true) => {
            let header = icmpv6::Header::new(body)?;
            let transport = Transport::Icmpv6 { kind: header.kind(), code: header.code() };
            (icmpv6::HEADER_LEN as u16, transport)
        }
        _ => (0, Transport::Other),
    };
    Ok(L4 { protocol, offset, header_len, transport })
}

#[cfg(test)]
mod tests;
