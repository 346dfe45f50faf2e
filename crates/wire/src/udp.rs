//! The UDP header (RFC 768).

use crate::Malformed;

/// Bytes of the header.
pub const HEADER_LEN: usize = 8;

/// Offset of the length field in the header.
pub const LEN_AT: usize = 4;
/// Offset of the checksum field in the header.
pub const CHECKSUM_AT: usize = 6;

/// A view of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8; HEADER_LEN],
}

impl<'a> Header<'a> {
    /// Looks at the header that begins `datagram`; `datagram` may end behind it.
    ///
    /// # Errors
    /// [`Malformed::Truncated`], and [`Malformed::TotalLength`] when the datagram claims to be
    /// shorter than its header.
    #[inline]
    pub fn new(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let bytes = datagram.first_chunk().ok_or(Malformed::Truncated)?;
        let header = Self { bytes };
        if usize::from(header.len()) < HEADER_LEN {
            return Err(Malformed::TotalLength);
        }
        Ok(header)
    }

    /// Source port.
    #[inline]
    #[must_use]
    pub fn source(self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Destination port.
    #[inline]
    #[must_use]
    pub fn destination(self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Bytes of the datagram, header included, as the sender claims.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a field of the protocol, never below 8
    pub fn len(self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// The checksum field; 0 means that there is none (IPv4 only, RFC 8200, 8.1).
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DNS: [u8; 8] = [0xc0, 0x00, 0x00, 0x35, 0x00, 0x1c, 0xab, 0xcd];

    #[test]
    fn fields() {
        let header = Header::new(&DNS).unwrap();
        assert_eq!((header.source(), header.destination()), (49152, 53));
        assert_eq!((header.len(), header.checksum()), (28, 0xabcd));
    }

    #[test]
    fn refused() {
        for len in 0..DNS.len() {
            assert_eq!(Header::new(&DNS[..len]), Err(Malformed::Truncated));
        }
        let mut bytes = DNS;
        bytes[5] = 7;
        assert_eq!(Header::new(&bytes), Err(Malformed::TotalLength));
    }
}
