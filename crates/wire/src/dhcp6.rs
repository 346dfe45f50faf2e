//! DHCPv6 messages (RFC 8415): the type and the chain of options.

use core::net::Ipv6Addr;

use crate::Malformed;

/// Bytes of a client's or server's message before the options: type and transaction.
pub const HEADER_LEN: usize = 4;

/// Bytes of a relay's message before the options: type, hops, two addresses (RFC 8415, 9).
pub const RELAY_HEADER_LEN: usize = 34;

/// UDP port of servers and relays.
pub const SERVER_PORT: u16 = 547;
/// UDP port of clients.
pub const CLIENT_PORT: u16 = 546;

/// All servers and relays of a link (RFC 8415, 7.1).
pub const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Message types (RFC 8415, 7.3).
pub mod message {
    /// Client: who gives addresses?
    pub const SOLICIT: u8 = 1;
    /// Server: this can be had.
    pub const ADVERTISE: u8 = 2;
    /// Client: I want this.
    pub const REQUEST: u8 = 3;
    /// Client: are my addresses still of this link?
    pub const CONFIRM: u8 = 4;
    /// Client, to the server that it has: I need it for longer.
    pub const RENEW: u8 = 5;
    /// Client, to any server: I need it for longer.
    pub const REBIND: u8 = 6;
    /// Server: it is yours.
    pub const REPLY: u8 = 7;
    /// Client: I do not need it any more.
    pub const RELEASE: u8 = 8;
    /// Client: somebody uses what I was given.
    pub const DECLINE: u8 = 9;
    /// Server: ask again.
    pub const RECONFIGURE: u8 = 10;
    /// Client: I need no address, tell me the rest.
    pub const INFORMATION_REQUEST: u8 = 11;
    /// Relay to server.
    pub const RELAY_FORWARD: u8 = 12;
    /// Server to relay.
    pub const RELAY_REPLY: u8 = 13;
}

/// Option codes.
pub mod option {
    /// Client identifier (DUID).
    pub const CLIENT_ID: u16 = 1;
    /// Server identifier (DUID).
    pub const SERVER_ID: u16 = 2;
    /// Addresses, for as long as the server says.
    pub const IA_NA: u16 = 3;
    /// Addresses for a short while (RFC 8415, 21.5).
    pub const IA_TA: u16 = 4;
    /// One address, inside [`IA_NA`] or [`IA_TA`].
    pub const ADDRESS: u16 = 5;
    /// Codes of the options that the client asks for.
    pub const WANTED: u16 = 6;
    /// The message that a relay passes on.
    pub const RELAY_MESSAGE: u16 = 9;
    /// How a request ended.
    pub const STATUS: u16 = 13;
    /// Name servers (RFC 3646).
    pub const NAME_SERVERS: u16 = 23;
    /// Domains to search in (RFC 3646).
    pub const SEARCH: u16 = 24;
    /// Prefixes for a network behind the client.
    pub const IA_PD: u16 = 25;
    /// One prefix, inside [`IA_PD`].
    pub const PREFIX: u16 = 26;
    /// Seconds after which a client without addresses asks again.
    pub const REFRESH_TIME: u16 = 32;
    /// The longest time between two of its [`message::SOLICIT`](super::message::SOLICIT).
    pub const SOLICIT_MAX_RT: u16 = 82;
    /// The same of [`message::INFORMATION_REQUEST`](super::message::INFORMATION_REQUEST).
    pub const INFORMATION_MAX_RT: u16 = 83;
}

/// A view of a message between client and server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8; HEADER_LEN],
    options: &'a [u8],
}

impl<'a> Message<'a> {
    /// Looks at the payload of a UDP datagram.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer than four bytes.
    pub fn new(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (bytes, options) = payload.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Self { bytes, options })
    }

    /// See [`message`].
    #[must_use]
    pub fn kind(self) -> u8 {
        self.bytes[0]
    }

    /// Transaction, 24 bits, chosen by the client.
    #[must_use]
    pub fn transaction(self) -> u32 {
        let [_, a, b, c] = *self.bytes;
        u32::from_be_bytes([0, a, b, c])
    }

    /// The options in order. Meaningless in a relay's message, whose header is longer.
    #[must_use]
    pub fn options(self) -> Options<'a> {
        Options::new(self.options)
    }

    /// The body of the first option of that code.
    #[must_use]
    pub fn option(self, code: u16) -> Option<&'a [u8]> {
        self.options().find(|option| option.0 == code).map(|option| option.1)
    }
}

/// A chain of options: code and body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// The options in `bytes`, of a message or inside another option.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        // Each step consumes at least four bytes, so that the walk ends.
        let (&[a, b, c, d], rest) = self.rest.split_first_chunk()?;
        let len = u16::from_be_bytes([c, d]);
        let (body, rest) = rest.split_at_checked(usize::from(len))?;
        self.rest = rest;
        Some((u16::from_be_bytes([a, b]), body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_options() {
        let bytes = [1, 0xab, 0xcd, 0xef, 0, 1, 0, 2, 7, 8, 0, 25, 0, 1, 9, 0, 3, 0, 9];
        let message = Message::new(&bytes).unwrap();
        assert_eq!((message.kind(), message.transaction()), (1, 0x00ab_cdef));
        assert_eq!(message.option(option::CLIENT_ID), Some(&[7, 8][..]));
        assert_eq!(message.option(option::IA_PD), Some(&[9][..]));
        assert_eq!(message.option(option::IA_NA), None, "cut short");
        assert_eq!(message.options().count(), 2);
        for len in 0..HEADER_LEN {
            assert_eq!(Message::new(&bytes[..len]), Err(Malformed::Truncated));
        }
    }
}
