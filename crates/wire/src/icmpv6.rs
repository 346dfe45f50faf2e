//! The ICMPv6 header (RFC 4443).

use crate::Malformed;

/// Bytes of the header without what depends on the type.
pub const HEADER_LEN: usize = 4;

/// Bytes of the shortest message that there is: no kind has less than four of its own (RFC 4443, 4861, 3810).
pub const MESSAGE_MIN: usize = 8;

/// Offset of the checksum field in the header.
pub const CHECKSUM_AT: usize = 2;

/// Types; those of neighbour discovery are in [`crate::ndp::kind`].
pub mod kind {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
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
    /// [`Malformed::Truncated`] when there are fewer than four bytes.
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

    /// The checksum field; it covers a pseudo header (RFC 8200, 8.1).
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let header = Header::new(&[128, 1, 0xab, 0xcd]).unwrap();
        assert_eq!((header.kind(), header.code()), (kind::ECHO_REQUEST, 1));
        assert_eq!(header.checksum(), 0xabcd);
    }

    #[test]
    fn truncated() {
        for len in 0..HEADER_LEN {
            assert_eq!(Header::new(&[128, 0, 0, 0][..len]), Err(Malformed::Truncated));
        }
    }
}
