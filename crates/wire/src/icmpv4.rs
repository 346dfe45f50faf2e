//! The ICMP header for IPv4 (RFC 792).

use crate::Malformed;

/// Bytes of the header, the four that depend on the type included.
pub const HEADER_LEN: usize = 8;

/// Offset of the checksum field in the header.
pub const CHECKSUM_AT: usize = 2;

/// Types.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench, deprecated by RFC 6633.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Router advertisement (RFC 1256).
    pub const ROUTER_ADVERTISEMENT: u8 = 9;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// A view of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8; HEADER_LEN],
}

impl<'a> Header<'a> {
    /// Looks at the header that begins `message`.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer than eight bytes.
    #[inline]
    pub fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        message.first_chunk().map(|bytes| Self { bytes }).ok_or(Malformed::Truncated)
    }

    /// Type, see [`kind`].
    #[inline]
    #[must_use]
    pub fn kind(self) -> u8 {
        self.bytes[0]
    }

    /// Code.
    #[inline]
    #[must_use]
    pub fn code(self) -> u8 {
        self.bytes[1]
    }

    /// The checksum field.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Identifier of an echo message.
    #[inline]
    #[must_use]
    pub fn echo_id(self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// Sequence number of an echo message.
    #[inline]
    #[must_use]
    pub fn echo_sequence(self) -> u16 {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: [u8; 8] = [8, 0, 0x12, 0x34, 0x00, 0x07, 0x00, 0x02];

    #[test]
    fn fields() {
        let header = Header::new(&ECHO).unwrap();
        assert_eq!((header.kind(), header.code()), (kind::ECHO_REQUEST, 0));
        assert_eq!((header.checksum(), header.echo_id(), header.echo_sequence()), (0x1234, 7, 2));
    }

    #[test]
    fn truncated() {
        for len in 0..ECHO.len() {
            assert_eq!(Header::new(&ECHO[..len]), Err(Malformed::Truncated));
        }
    }
}
