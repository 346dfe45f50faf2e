//! What goes into the services and what comes out of them: messages with their addresses, without
//! the headers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use wire::build::{BufferFull, Builder, Ipv4, Ipv6};
use wire::{MacAddr, ndp};

use crate::GuestKey;

/// Longest answer of a service, with all headers: a DNS answer of the size that a guest may ask
/// for at most.
pub const ANSWER_MAX: usize = 14 + 40 + 8 + super::dns::UDP_ANSWER_MAX;

/// A UDP datagram of a guest. Its checksum is right, and it is whole.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub guest: GuestKey,
    /// The Ethernet address it came from.
    pub mac: MacAddr,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub payload: &'a [u8],
}

/// An ICMPv6 message of a guest. Its checksum is right, and it is whole.
#[derive(Clone, Copy, Debug)]
pub struct Solicitation<'a> {
    /// Who sent it.
    pub guest: GuestKey,
    /// The Ethernet address it came from.
    pub mac: MacAddr,
    pub source: Ipv6Addr,
    pub hop_limit: u8,
    /// From the type on.
    pub message: &'a [u8],
}

/// A packet towards guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The Ethernet address it goes to, where the IP address does not tell: the receiver may not
    /// have that address yet, and would not answer who asks for it.
    pub link: Option<MacAddr>,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub body: Body,
}

/// What an [`Answer`] carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Udp {
        source: u16,
        destination: u16,
        payload: Vec<u8>,
    },
    /// An ICMPv6 message behind its checksum. Neighbour discovery: the hop limit is 255.
    Icmpv6 {
        kind: u8,
        payload: Vec<u8>,
    },
}

impl Answer {
    /// Writes the frame with all its headers, checksums complete. The Ethernet destination is
    /// [`Self::link`] or zero, the source is zero: both are the router's business.
    ///
    /// # Errors
    /// `buffer` is too small, or the two addresses are of different families.
    pub fn write(&self, buffer: &mut [u8]) -> Result<usize, BufferFull> {
        let hop_limit = match self.body {
            // Neighbours see by it that nobody forwarded it (RFC 6762, 11).
            Body::Udp { source: 5353, .. } => u8::MAX,
            Body::Udp { .. } => 64,
            Body::Icmpv6 { .. } => ndp::HOP_LIMIT,
        };
        let frame =
            Builder::new(buffer).ethernet(self.link.unwrap_or(MacAddr::ZERO), MacAddr::ZERO);
        let frame = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.ipv4(&Ipv4 { source, destination, ttl: hop_limit, ..Ipv4::default() })
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                frame.ipv6(&Ipv6 { source, destination, hop_limit, ..Ipv6::default() })
            }
            _ => return Err(BufferFull),
        };
        match &self.body {
            Body::Udp { source, destination, payload } => {
                frame.udp(*source, *destination).payload(payload).finish()
            }
            Body::Icmpv6 { kind, payload } => frame.icmpv6(*kind, 0).payload(payload).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{L3, parse};

    fn udp(source: IpAddr, destination: IpAddr) -> Answer {
        let body = Body::Udp { source: 53, destination: 4000, payload: b"hello".to_vec() };
        Answer { link: None, source, destination, body }
    }

    #[test]
    fn a_datagram_v4() {
        let answer = udp([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
        let mut buffer = [0; 128];
        let len = answer.write(&mut buffer).unwrap();
        assert_eq!(len, 14 + 20 + 8 + 5);
        let parsed = parse(&buffer[..len]).unwrap();
        assert_eq!((parsed.dst, parsed.src), (MacAddr::ZERO, MacAddr::ZERO));
        let Some(L3::Ipv4(ip)) = parsed.l3 else { panic!("{parsed:?}") };
        assert_eq!((ip.ttl, ip.total_len), (64, 33));
    }

    #[test]
    fn a_datagram_v6() {
        let answer = udp("fd00::1".parse().unwrap(), "fd00::9".parse().unwrap());
        let mut buffer = [0; 128];
        let len = answer.write(&mut buffer).unwrap();
        assert_eq!(len, 14 + 40 + 8 + 5);
        let Some(L3::Ipv6(ip)) = parse(&buffer[..len]).unwrap().l3 else { panic!() };
        assert_eq!((ip.hop_limit, ip.payload_len), (64, 13));
    }

    #[test]
    fn families_do_not_mix_and_buffers_are_not_overrun() {
        let mixed = udp([10, 0, 0, 1].into(), "fd00::9".parse().unwrap());
        assert_eq!(mixed.write(&mut [0; 128]), Err(BufferFull));
        let answer = udp([10, 0, 0, 1].into(), [10, 0, 0, 9].into());
        assert_eq!(answer.write(&mut [0; 46]), Err(BufferFull));
    }
}
