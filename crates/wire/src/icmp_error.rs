//! ICMP error messages: which packets may be answered with one, and how it is built.
//!
//! An error quotes the packet that it is about, so that its sender finds the flow: as much of it as
//! fits 576 bytes in IPv4 (RFC 1812, 4.3.2.3), or the least MTU of 1280 in IPv6 (RFC 4443, 3.1). The
//! rules about when to keep silent (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e)) keep two
//! stations from answering each other for ever, and one packet from making many answer. How often
//! somebody may send errors at all is the caller's business.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::build::{BufferFull, Builder, Ipv4, Ipv6};
use crate::ipv4::{Fragment, protocol};
use crate::{MacAddr, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndp};

/// Most bytes of an IPv4 packet that carries an error (RFC 1812, 4.3.2.3).
pub const V4_LEN_MAX: usize = 576;

/// Most bytes of an IPv6 packet that carries an error (RFC 4443, 3.1 to 3.4).
pub const V6_LEN_MAX: usize = 1280;

/// Bytes of a buffer that every error fits, with its Ethernet header.
pub const FRAME_LEN_MAX: usize = ethernet::HEADER_LEN + V6_LEN_MAX;

/// DSCP CS6: internetwork control, as RFC 1812, 4.3.2.5 wants it for errors.
const TRAFFIC_CLASS: u8 = 0xc0;

/// What went wrong, for either version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IcmpError {
    /// No route leads to the destination.
    NoRoute,
    /// The next hop, or the destination on its own network, does not answer.
    AddressUnreachable,
    /// The destination does not know the protocol. IPv6 says that with a parameter problem, whose
    /// pointer is that of the next-header field: its offset in the packet.
    ProtocolUnreachable {
        /// Offset of the next-header field; IPv4 does not tell.
        pointer: u32,
    },
    /// Nobody listens on the port.
    PortUnreachable,
    /// A rule forbids it.
    Prohibited,
    /// The source's scope ends before the destination; IPv4 has only "prohibited" for it.
    BeyondScope,
    /// The packet is longer than the MTU of the next network, and must not be fragmented.
    TooBig {
        /// That MTU in bytes.
        mtu: u32,
    },
    /// TTL or hop limit ran out on the way.
    TimeExceeded,
    /// Fragments did not all come in time.
    ReassemblyTimeExceeded,
    /// A field makes no sense.
    ParameterProblem {
        /// Offset of the field in the packet.
        pointer: u32,
    },
}

impl IcmpError {
    /// Type, code, and the four bytes that follow the checksum, for IPv4.
    #[must_use]
    pub const fn v4(self) -> (u8, u8, [u8; 4]) {
        use icmpv4::kind;
        let nothing = [0; 4];
        match self {
            Self::NoRoute => (kind::UNREACHABLE, 0, nothing),
            Self::AddressUnreachable => (kind::UNREACHABLE, 1, nothing),
            Self::ProtocolUnreachable { .. } => (kind::UNREACHABLE, 2, nothing),
            Self::PortUnreachable => (kind::UNREACHABLE, 3, nothing),
            Self::Prohibited | Self::BeyondScope => (kind::UNREACHABLE, 13, nothing),
            Self::TooBig { mtu } => {
                let [hi, lo] = (if mtu > 0xffff { 0xffff } else { mtu as u16 }).to_be_bytes();
                (kind::UNREACHABLE, 4, [0, 0, hi, lo])
            }
            Self::TimeExceeded => (kind::TIME_EXCEEDED, 0, nothing),
            Self::ReassemblyTimeExceeded => (kind::TIME_EXCEEDED, 1, nothing),
            Self::ParameterProblem { pointer } => {
                let pointer = if pointer > 0xff { 0xff } else { pointer as u8 };
                (kind::PARAMETER_PROBLEM, 0, [pointer, 0, 0, 0])
            }
        }
    }

    /// Type, code, and the four bytes that follow the checksum, for IPv6.
    #[must_use]
    pub const fn v6(self) -> (u8, u8, [u8; 4]) {
        use icmpv6::kind;
        let nothing = [0; 4];
        match self {
            Self::NoRoute => (kind::UNREACHABLE, 0, nothing),
            Self::Prohibited => (kind::UNREACHABLE, 1, nothing),
            Self::BeyondScope => (kind::UNREACHABLE, 2, nothing),
            Self::AddressUnreachable => (kind::UNREACHABLE, 3, nothing),
            Self::PortUnreachable => (kind::UNREACHABLE, 4, nothing),
            Self::TooBig { mtu } => (kind::TOO_BIG, 0, mtu.to_be_bytes()),
            Self::TimeExceeded => (kind::TIME_EXCEEDED, 0, nothing),
            Self::ReassemblyTimeExceeded => (kind::TIME_EXCEEDED, 1, nothing),
            Self::ParameterProblem { pointer } => {
                (kind::PARAMETER_PROBLEM, 0, pointer.to_be_bytes())
            }
            Self::ProtocolUnreachable { pointer } => {
                (kind::PARAMETER_PROBLEM, 1, pointer.to_be_bytes())
            }
        }
    }
}

/// Whether a packet may be answered with `error`. `packet` begins with its IP header and holds at
/// least its headers; a packet that cannot be read may not.
///
/// The link-layer destination is not in here: what came in as a link-layer broadcast or multicast
/// must not be answered either.
#[must_use]
pub fn may_answer(error: IcmpError, packet: &[u8]) -> bool {
    if let Ok(header) = ipv4::Header::new(packet) {
        may_answer_v4(header, packet)
    } else if let Ok(header) = ipv6::Header::new(packet) {
        may_answer_v6(error, header, packet)
    } else {
        false
    }
}

fn may_answer_v4(header: ipv4::Header<'_>, packet: &[u8]) -> bool {
    if !is_single_v4(header.source()) || header.fragment() == Fragment::Later {
        return false;
    }
    let to = header.destination();
    if to.is_multicast() || to.is_broadcast() {
        return false;
    }
    if header.protocol() != protocol::ICMP {
        return true;
    }
    // An error about an error begets a third. What has no type may have been one.
    let kind = packet.get(header.header_len()).copied();
    !matches!(
        kind,
        None | Some(
            icmpv4::kind::UNREACHABLE
                | icmpv4::kind::SOURCE_QUENCH
                | icmpv4::kind::REDIRECT
                | icmpv4::kind::TIME_EXCEEDED
                | icmpv4::kind::PARAMETER_PROBLEM
        )
    )
}

fn may_answer_v6(error: IcmpError, header: ipv6::Header<'_>, packet: &[u8]) -> bool {
    // Path MTU discovery works for multicast too: RFC 4443, 2.4 (e.3).
    let for_many = matches!(error, IcmpError::TooBig { .. });
    if !is_single_v6(header.source()) || (header.destination().is_multicast() && !for_many) {
        return false;
    }
    let rest = packet.get(ipv6::HEADER_LEN..).unwrap_or_default();
    let Ok(chain) = ipv6::walk(header.next_header(), rest) else { return false };
    if chain.fragment == Fragment::Later {
        return false;
    }
    if chain.protocol != protocol::ICMPV6 {
        return true;
    }
    // Errors are the types below 128.
    let kind = rest.get(usize::from(chain.len)).copied();
    kind.is_some_and(|kind| kind >= 128 && kind != ndp::kind::REDIRECT)
}

/// Whether the address can be that of one station, so that an answer reaches nobody else.
fn is_single_v4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn is_single_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_multicast() || address.is_loopback())
}

/// Builds an error about `packet` at the beginning of `out`, as an Ethernet frame, and tells how
/// long it is. `packet` is the IP packet in two pieces, without padding; `source` the address of who
/// complains. The destination is the packet's source. Whether it may be sent, [`may_answer`] tells.
///
/// # Errors
/// [`BufferFull`] when `out` is too small ([`FRAME_LEN_MAX`] is enough), or when the packet's header
/// cannot be read or is not of the version of `source`.
pub fn build(
    out: &mut [u8],
    to: MacAddr,
    from: MacAddr,
    source: IpAddr,
    error: IcmpError,
    packet: &[&[u8]; 2],
) -> Result<usize, BufferFull> {
    let builder = Builder::new(out).ethernet(to, from);
    match source {
        IpAddr::V4(source) => {
            let about = ipv4::Header::new(packet[0]).map_err(|_| BufferFull)?;
            let (kind, code, rest) = error.v4();
            let header = Ipv4 {
                source,
                destination: about.source(),
                traffic_class: TRAFFIC_CLASS,
                ..Ipv4::default()
            };
            let builder = builder.ipv4(&header).icmpv4(kind, code, rest);
            quote(builder, packet, V4_LEN_MAX - ipv4::HEADER_LEN - icmpv4::HEADER_LEN)
        }
        IpAddr::V6(source) => {
            let about = ipv6::Header::new(packet[0]).map_err(|_| BufferFull)?;
            let (kind, code, rest) = error.v6();
            let header = Ipv6 {
                source,
                destination: about.source(),
                traffic_class: TRAFFIC_CLASS,
                ..Ipv6::default()
            };
            let builder = builder.ipv6(&header).icmpv6(kind, code).payload(&rest);
            quote(builder, packet, V6_LEN_MAX - ipv6::HEADER_LEN - 8)
        }
    }
}

fn quote(builder: Builder<'_>, packet: &[&[u8]; 2], len: usize) -> Result<usize, BufferFull> {
    let first = packet[0].get(..len).unwrap_or(packet[0]);
    let second = packet[1].get(..len - first.len()).unwrap_or(packet[1]);
    builder.payload(first).payload(second).finish()
}

#[cfg(test)]
mod tests;
