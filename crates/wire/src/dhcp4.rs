//! DHCP messages for IPv4 (RFC 2131, RFC 2132): the fixed part and the chain of options.

use core::net::Ipv4Addr;

use crate::{MacAddr, Malformed};

/// Bytes of the fixed part, the magic cookie included.
pub const HEADER_LEN: usize = 240;

/// The magic cookie (RFC 2131, 3).
pub const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// UDP port of servers and relays.
pub const SERVER_PORT: u16 = 67;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 68;

/// The `op` field.
pub mod op {
    /// From a client.
    pub const REQUEST: u8 = 1;
    /// From a server.
    pub const REPLY: u8 = 2;
}

/// Message types, option 53.
pub mod message {
    /// Client: is there a server?
    pub const DISCOVER: u8 = 1;
    /// Server: this can be had.
    pub const OFFER: u8 = 2;
    /// Client: I want this.
    pub const REQUEST: u8 = 3;
    /// Client: somebody uses what I was given.
    pub const DECLINE: u8 = 4;
    /// Server: it is yours.
    pub const ACK: u8 = 5;
    /// Server: it is not yours.
    pub const NAK: u8 = 6;
    /// Client: I do not need it any more.
    pub const RELEASE: u8 = 7;
    /// Client: I have an address, tell me the rest.
    pub const INFORM: u8 = 8;
}

/// Option codes (RFC 2132).
pub mod option {
    /// Nothing; the next one follows.
    pub const PAD: u8 = 0;
    /// Subnet mask.
    pub const SUBNET_MASK: u8 = 1;
    /// Routers.
    pub const ROUTER: u8 = 3;
    /// Name servers.
    pub const NAME_SERVER: u8 = 6;
    /// What the client calls itself, or is to be called.
    pub const HOST_NAME: u8 = 12;
    /// The domain of the network.
    pub const DOMAIN: u8 = 15;
    /// The longest IP packet of the network.
    pub const MTU: u8 = 26;
    /// Broadcast address.
    pub const BROADCAST: u8 = 28;
    /// Requested IP address.
    pub const REQUESTED_ADDRESS: u8 = 50;
    /// Lease time in seconds.
    pub const LEASE_TIME: u8 = 51;
    /// Options go on in the fields for names (RFC 2132, 9.3).
    pub const OVERLOAD: u8 = 52;
    /// Message type, see [`super::message`].
    pub const MESSAGE_TYPE: u8 = 53;
    /// The server that is meant, or that speaks.
    pub const SERVER_ID: u8 = 54;
    /// Codes of the options that the client asks for.
    pub const PARAMETERS: u8 = 55;
    /// A sentence for people.
    pub const MESSAGE: u8 = 56;
    /// Seconds after which the client asks its server again.
    pub const RENEWAL_TIME: u8 = 58;
    /// Seconds after which it asks any server.
    pub const REBINDING_TIME: u8 = 59;
    /// Client identifier.
    pub const CLIENT_ID: u8 = 61;
    /// An address by two messages (RFC 4039).
    pub const RAPID_COMMIT: u8 = 80;
    /// Relay agent information (RFC 3046).
    pub const RELAY: u8 = 82;
    /// Domains to search in (RFC 3397).
    pub const SEARCH: u8 = 119;
    /// Nothing more follows.
    pub const END: u8 = 255;
}

/// A view of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8; HEADER_LEN],
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// Looks at the payload of a UDP datagram.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer than [`HEADER_LEN`] bytes, and
    /// [`Malformed::Version`] without the magic cookie (a BOOTP message).
    pub fn new(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (bytes, options) = payload.split_first_chunk().ok_or(Malformed::Truncated)?;
        if bytes.last_chunk() != Some(&COOKIE) {
            return Err(Malformed::Version);
        }
        Ok(Self { bytes, options })
    }

    /// See [`op`].
    #[must_use]
    pub fn op(self) -> u8 {
        self.bytes[0]
    }

    /// Hardware type; 1 is Ethernet.
    #[must_use]
    pub fn hardware_type(self) -> u8 {
        self.bytes[1]
    }

    /// Bytes of the hardware address; 6 for Ethernet.
    #[must_use]
    pub fn hardware_len(self) -> u8 {
        self.bytes[2]
    }

    /// Relays on the way.
    #[must_use]
    pub fn hops(self) -> u8 {
        self.bytes[3]
    }

    /// Transaction, chosen by the client.
    #[must_use]
    pub fn transaction(self) -> u32 {
        u32::from_be_bytes(self.at(4))
    }

    /// The address that the client has and can answer on.
    #[must_use]
    pub fn client_address(self) -> Ipv4Addr {
        Ipv4Addr::from(self.at::<4>(12))
    }

    /// The address that the server gives.
    #[must_use]
    pub fn your_address(self) -> Ipv4Addr {
        Ipv4Addr::from(self.at::<4>(16))
    }

    /// The relay's address.
    #[must_use]
    pub fn relay_address(self) -> Ipv4Addr {
        Ipv4Addr::from(self.at::<4>(24))
    }

    /// The client's hardware address, where it is an Ethernet address.
    #[must_use]
    pub fn client_mac(self) -> MacAddr {
        MacAddr(self.at(28))
    }

    /// The options in order, without padding; they end at the end option or with the bytes. What a
    /// client puts into the name fields (option overload) is not looked at.
    #[must_use]
    pub fn options(self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The body of the first option of that code.
    #[must_use]
    pub fn option(self, code: u8) -> Option<&'a [u8]> {
        self.options().find(|option| option.0 == code).map(|option| option.1)
    }

    /// The message type, see [`message`].
    #[must_use]
    pub fn kind(self) -> Option<u8> {
        match self.option(option::MESSAGE_TYPE) {
            Some(&[kind]) => Some(kind),
            _ => None,
        }
    }

    fn at<const N: usize>(self, offset: usize) -> [u8; N] {
        self.bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

/// The chain of options: code and body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // Each step consumes at least one byte, so that the walk ends.
            let (&code, rest) = self.rest.split_first()?;
            self.rest = rest;
            match code {
                0 => {}
                255 => {
                    self.rest = &[];
                    return None;
                }
                _ => {
                    let (&len, rest) = self.rest.split_first()?;
                    let (body, rest) = rest.split_at_checked(usize::from(len))?;
                    self.rest = rest;
                    return Some((code, body));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn request(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..8].copy_from_slice(&[1, 1, 6, 0, 0xab, 0xcd, 0, 1]);
        bytes[16..20].copy_from_slice(&[10, 0, 0, 9]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
        bytes[236..].copy_from_slice(&COOKIE);
        bytes.extend_from_slice(options);
        bytes
    }

    #[test]
    fn fields() {
        let bytes = request(&[0, 53, 1, 3, 0, 50, 4, 10, 0, 0, 5, 255, 82, 0]);
        let message = Message::new(&bytes).unwrap();
        assert_eq!((message.op(), message.hardware_type(), message.hardware_len()), (1, 1, 6));
        assert_eq!((message.hops(), message.transaction()), (0, 0xabcd_0001));
        assert_eq!(message.client_address(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(message.your_address(), Ipv4Addr::new(10, 0, 0, 9));
        assert_eq!(message.relay_address(), Ipv4Addr::UNSPECIFIED);
        assert_eq!(message.client_mac(), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(message.kind(), Some(message::REQUEST));
        assert_eq!(message.option(option::REQUESTED_ADDRESS), Some(&[10, 0, 0, 5][..]));
        assert_eq!(message.option(option::RELAY), None, "behind the end");
        assert_eq!(message.options().count(), 2);
    }

    #[test]
    fn refused() {
        let bytes = request(&[]);
        for len in 0..HEADER_LEN {
            assert_eq!(Message::new(&bytes[..len]), Err(Malformed::Truncated));
        }
        let mut bytes = bytes;
        bytes[239] = 0;
        assert_eq!(Message::new(&bytes), Err(Malformed::Version));
        let bytes = request(&[53, 9, 1]);
        assert_eq!(Message::new(&bytes).unwrap().kind(), None, "cut short");
    }
}
