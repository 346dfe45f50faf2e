//! What the translation is asked and answers beside segments.

use std::net::{IpAddr, SocketAddr};

use engine::Frame;
use wire::{icmpv4, icmpv6};

use crate::GuestKey;
use crate::backend::StreamError;
use crate::backend::datagram::SocketError;

/// What became of a guest's segment, and what the caller does with its frame.
#[derive(Debug)]
#[must_use]
pub enum Segment {
    /// It is dealt with: the frame is to be released.
    Done,
    /// Its payload is wanted: the frame goes to [`Table::keep`](super::Table::keep).
    Keep(Kept),
    /// It asks for a new connection: the caller looks where to, then calls
    /// [`Table::open`](super::Table::open) or [`Table::refuse`](super::Table::refuse), and releases
    /// the frame.
    Opening,
}

/// Where the payload of a segment belongs.
#[derive(Debug)]
#[must_use]
pub struct Kept {
    pub(super) index: u32,
    /// Sequence number of the first wanted byte.
    pub(super) sequence: super::seq::Seq,
    /// Offset of that byte in the frame.
    pub(super) offset: u32,
    pub(super) len: u32,
}

/// Where a new connection of a guest leads.
#[derive(Debug)]
pub enum Target<S> {
    /// To an address of the outside, or of the host itself where that is allowed.
    Outside(SocketAddr),
    /// To a service of this process, whose other end somebody has already.
    Local(S),
}

/// No descriptor is left for a connection to this address. If somebody gives one up, it can be opened
/// again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoDescriptor(pub SocketAddr);

/// A connection from outside that wants to a guest.
#[derive(Debug)]
pub struct Incoming<S> {
    pub stream: S,
    /// The client as the guest shall see it.
    pub client: SocketAddr,
    /// `client` is the gateway standing in for somebody else, so that its port may be another where
    /// this one is in use.
    pub stand_in: bool,
    /// Where the guest listens.
    pub guest: SocketAddr,
    /// The guest's port, if it is known.
    pub owner: Option<GuestKey>,
}

/// A connection that a guest asked for and that the outside did not give, in a way that a router
/// would tell by an ICMP error.
#[derive(Debug)]
pub struct Unreachable {
    pub guest: GuestKey,
    /// The guest's SYN as it would have to be quoted. It must be released.
    pub quote: Frame,
    /// The guest's address, and the one that it wanted to reach.
    pub ends: (IpAddr, IpAddr),
    /// [`StreamError::HostUnreachable`], [`StreamError::NetUnreachable`] or
    /// [`StreamError::Prohibited`], unless there is a report.
    pub error: StreamError,
    /// The ICMP message of the outside that says so.
    pub report: Option<SocketError>,
}

/// What every path takes, so that nothing less is believed (RFC 791, 3.2; RFC 8200, 5; RFC 8201, 4).
const MTU_LEAST_V4: usize = 68;
const MTU_LEAST_V6: usize = 1280;

/// What a path most likely takes whose router, an old one, does not say it (RFC 1191, 7.1).
const PLATEAUS: [usize; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];

/// An ICMP error about a segment that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Fragmentation needed, packet too big: the path takes so many bytes of IP packet.
    TooBig { mtu: usize },
    /// The guest's stack, or a filter, says that nobody takes this: no such port or protocol, or it is
    /// prohibited.
    Refused,
    /// What may pass, or says nothing of the connection. None ends for it.
    Passing,
}

impl IcmpError {
    /// What the first bytes of an ICMP error's message mean (RFC 9293, 3.9.2.2), about a packet that was
    /// `quoted` bytes long. Prohibitions are younger than the list of RFC 1122 that it refers to; they
    /// do not pass by themselves.
    #[must_use]
    pub fn read(v6: bool, front: [u8; 8], quoted: usize) -> Self {
        let [kind, code, .., a, b, c, d] = front;
        match (v6, kind, code) {
            (false, icmpv4::kind::UNREACHABLE, 4) => {
                let said = usize::from(u16::from_be_bytes([c, d]));
                let likely = || PLATEAUS.into_iter().find(|plateau| *plateau < quoted);
                let mtu = if said == 0 { likely() } else { Some(said) };
                mtu.filter(|mtu| *mtu >= MTU_LEAST_V4)
                    .map_or(Self::Passing, |mtu| Self::TooBig { mtu })
            }
            (true, icmpv6::kind::TOO_BIG, _) => {
                let mtu = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
                if mtu < MTU_LEAST_V6 { Self::Passing } else { Self::TooBig { mtu } }
            }
            (false, icmpv4::kind::UNREACHABLE, 2 | 3 | 9 | 10 | 13)
            | (true, icmpv6::kind::UNREACHABLE, 1 | 4 | 5 | 6) => Self::Refused,
            _ => Self::Passing,
        }
    }
}

/// How many connections one guest, or all of them, may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpLimits {
    /// Of all guests.
    pub flows: usize,
    /// Of one guest; clients leave a quarter of them to what it opens itself.
    pub flows_per_guest: usize,
    /// Of one guest, that it opens, and that are not open yet.
    pub opening_per_guest: usize,
    /// Of clients to one guest, that are not open yet.
    pub arriving_per_guest: usize,
    /// Frames of guests that are held until a host socket takes them. One guest gets half of that, or
    /// less while others hold some.
    pub held: usize,
}

impl Default for TcpLimits {
    fn default() -> Self {
        Self {
            flows: 32_768,
            flows_per_guest: 16_384,
            opening_per_guest: 1024,
            arriving_per_guest: 512,
            held: 4096,
        }
    }
}
