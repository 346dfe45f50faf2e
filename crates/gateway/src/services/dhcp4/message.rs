//! DHCP messages (RFC 2131, 2; options: RFC 2132).

use std::net::Ipv4Addr;

use wire::MacAddr;
use wire::dhcp4::{COOKIE, HEADER_LEN, message, option};

/// What some clients and relays insist on (RFC 1542, 2.1).
const LEN_MIN: usize = 300;
/// Longest identifier of a client that is kept.
pub(crate) const CLIENT_ID_MAX: usize = 64;
/// Longest host name that is kept.
const HOST_NAME_MAX: usize = 64;

/// What a message is (RFC 2132, 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Discover = message::DISCOVER,
    Offer = message::OFFER,
    Request = message::REQUEST,
    Decline = message::DECLINE,
    Ack = message::ACK,
    Nak = message::NAK,
    Release = message::RELEASE,
    Inform = message::INFORM,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind::{Ack, Decline, Discover, Inform, Nak, Offer, Release, Request};
        [Discover, Offer, Request, Decline, Ack, Nak, Release, Inform]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) xid: [u8; 4],
    pub(crate) secs: [u8; 2],
    pub(crate) flags: [u8; 2],
    /// The client's address, if it has one that it can answer ARP for.
    pub(crate) ciaddr: Ipv4Addr,
    /// The relay that the message came by.
    pub(crate) giaddr: Ipv4Addr,
    pub(crate) mac: MacAddr,
    pub(crate) requested: Option<Ipv4Addr>,
    pub(crate) server: Option<Ipv4Addr>,
    /// Empty if the client has none.
    pub(crate) client_id: Vec<u8>,
    pub(crate) host_name: Option<String>,
    /// Options that the client asks for; empty if it does not say.
    pub(crate) parameters: Vec<u8>,
    /// Seconds that it would like to have a lease.
    pub(crate) lease_time: Option<u32>,
    pub(crate) rapid_commit: bool,
}

/// The values of one option, joined where it stands several times (RFC 3396).
#[derive(Default)]
struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// Reads one area; false if an option is longer than what is left.
    fn read(&mut self, mut area: &[u8]) -> bool {
        loop {
            match area.split_first() {
                None => return true,
                Some((&option::PAD, rest)) => area = rest,
                Some((&option::END, _)) => return true,
                Some((&code, rest)) => {
                    let Some((&len, rest)) = rest.split_first() else { return false };
                    let Some((value, rest)) = rest.split_at_checked(usize::from(len)) else {
                        return false;
                    };
                    match self.0.iter_mut().find(|(known, _)| *known == code) {
                        Some((_, known)) => known.extend_from_slice(value),
                        None => self.0.push((code, value.to_vec())),
                    }
                    area = rest;
                }
            }
        }
    }

    fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|(known, _)| *known == code).map(|(_, value)| value.as_slice())
    }

    fn fixed<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.get(code)?.try_into().ok()
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.fixed::<4>(code).map(Ipv4Addr::from)
    }
}

impl Request {
    /// Reads a message of a client on Ethernet. Nothing if it is none.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_LEN] = message.first_chunk()?;
        // Boot request, Ethernet, six bytes of address.
        if head.get(..3)? != [1, 1, 6] || head.get(236..)? != COOKIE {
            return None;
        }
        let mut options = Options::default();
        if !options.read(message.get(HEADER_LEN..)?) {
            return None;
        }
        // The fields for the names of file and server may hold options too (RFC 2132, 9.3).
        let overload = options.fixed::<1>(option::OVERLOAD).map_or(0, |[fields]| fields);
        if overload & 1 != 0 && !options.read(head.get(108..236)?) {
            return None;
        }
        if overload & 2 != 0 && !options.read(head.get(44..108)?) {
            return None;
        }
        let address = |at: usize| -> Option<Ipv4Addr> {
            head.get(at..at + 4)?.first_chunk::<4>().copied().map(Ipv4Addr::from)
        };
        let client_id = options.get(option::CLIENT_ID).unwrap_or_default();
        if client_id.len() > CLIENT_ID_MAX {
            return None;
        }
        Some(Self {
            kind: Kind::from_byte(options.fixed::<1>(option::MESSAGE_TYPE)?[0])?,
            xid: head.get(4..8)?.try_into().ok()?,
            secs: head.get(8..10)?.try_into().ok()?,
            flags: head.get(10..12)?.try_into().ok()?,
            ciaddr: address(12)?,
            giaddr: address(24)?,
            mac: MacAddr(head.get(28..34)?.try_into().ok()?),
            requested: options.address(option::REQUESTED_ADDRESS),
            server: options.address(option::SERVER_ID),
            client_id: client_id.to_vec(),
            host_name: options.get(option::HOST_NAME).and_then(host_name),
            parameters: options.get(option::PARAMETERS).unwrap_or_default().to_vec(),
            lease_time: options.fixed(option::LEASE_TIME).map(u32::from_be_bytes),
            rapid_commit: options.get(option::RAPID_COMMIT).is_some(),
        })
    }

    /// The client cannot receive a datagram to an address it does not have yet.
    pub(crate) fn wants_broadcast(&self) -> bool {
        self.flags[0] & 0x80 != 0
    }

    pub(crate) fn asks_for(&self, code: u8) -> bool {
        self.parameters.is_empty() || self.parameters.contains(&code)
    }
}

/// A name that can be shown: what else the client sent is left out.
fn host_name(bytes: &[u8]) -> Option<String> {
    let shown = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let name: String =
        bytes.iter().copied().map(char::from).filter(shown).take(HOST_NAME_MAX).collect();
    (!name.is_empty()).then_some(name)
}

/// An answer being written.
#[derive(Debug)]
pub(crate) struct Reply(Vec<u8>);

impl Reply {
    /// The answer to `request`, whose address the client may use is `yours`.
    pub(crate) fn new(request: &Request, kind: Kind, yours: Ipv4Addr, server: Ipv4Addr) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        // RFC 2131, table 3. A refusal has no address of the client in it.
        let ciaddr = if kind == Kind::Ack { request.ciaddr } else { Ipv4Addr::UNSPECIFIED };
        let mut put = |at: usize, value: &[u8]| {
            if let Some(field) = bytes.get_mut(at..at + value.len()) {
                field.copy_from_slice(value);
            }
        };
        put(0, &[2, 1, 6, 0]);
        put(4, &request.xid);
        put(10, &request.flags);
        put(12, &ciaddr.octets());
        put(16, &yours.octets());
        put(24, &request.giaddr.octets());
        put(28, &request.mac.0);
        put(236, &COOKIE);
        let mut reply = Self(bytes);
        reply.option(option::MESSAGE_TYPE, &[kind as u8]);
        reply.option(option::SERVER_ID, &server.octets());
        // Who sent one gets it back, in refusals too (RFC 6842).
        if !request.client_id.is_empty() {
            reply.option(option::CLIENT_ID, &request.client_id);
        }
        reply
    }

    /// A value of at most 255 bytes.
    pub(crate) fn option(&mut self, code: u8, value: &[u8]) {
        if let Ok(len) = u8::try_from(value.len()) {
            self.0.extend_from_slice(&[code, len]);
            self.0.extend_from_slice(value);
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.push(option::END);
        let len = self.0.len().max(LEN_MIN);
        self.0.resize(len, option::PAD);
        self.0
    }
}
