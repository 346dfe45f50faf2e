//! The TCP header (RFC 9293, 3.1).

use crate::Malformed;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;

/// Bytes of the longest header: a data offset field of 15.
pub const HEADER_LEN_MAX: usize = 60;

/// Offset of the sequence number in the header.
pub const SEQUENCE_AT: usize = 4;
/// Offset of the flags in the header.
pub const FLAGS_AT: usize = 13;
/// Offset of the checksum field in the header.
pub const CHECKSUM_AT: usize = 16;

/// Flag bits of the byte at [`FLAGS_AT`].
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number is valid.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer is valid.
    pub const URG: u8 = 0x20;
    /// ECN echo (RFC 3168).
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced (RFC 3168).
    pub const CWR: u8 = 0x80;
}

/// A view of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8; HEADER_LEN],
    options: &'a [u8],
}

impl<'a> Header<'a> {
    /// Looks at the header that begins `segment`; `segment` may end behind it.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when the bytes end inside the header with its options, and
    /// [`Malformed::HeaderLength`] below 20 bytes.
    #[inline]
    pub fn new(segment: &'a [u8]) -> Result<Self, Malformed> {
        let (bytes, rest) = segment.split_first_chunk().ok_or(Malformed::Truncated)?;
        let header_len = usize::from(bytes[12] >> 4) * 4;
        let options_len = header_len.checked_sub(HEADER_LEN).ok_or(Malformed::HeaderLength)?;
        let options = rest.get(..options_len).ok_or(Malformed::Truncated)?;
        Ok(Self { bytes, options })
    }

    /// Bytes of the header, options included: 20 to 60.
    #[inline]
    #[must_use]
    pub fn header_len(self) -> usize {
        HEADER_LEN + self.options.len()
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

    /// Sequence number of the first byte.
    #[inline]
    #[must_use]
    pub fn sequence(self) -> u32 {
        let b = self.bytes;
        u32::from_be_bytes([b[4], b[5], b[6], b[7]])
    }

    /// Acknowledgement number.
    #[inline]
    #[must_use]
    pub fn acknowledgement(self) -> u32 {
        let b = self.bytes;
        u32::from_be_bytes([b[8], b[9], b[10], b[11]])
    }

    /// Flags, see [`flag`].
    #[inline]
    #[must_use]
    pub fn flags(self) -> u8 {
        self.bytes[13]
    }

    /// Receive window, unscaled.
    #[inline]
    #[must_use]
    pub fn window(self) -> u16 {
        u16::from_be_bytes([self.bytes[14], self.bytes[15]])
    }

    /// The checksum field.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        u16::from_be_bytes([self.bytes[16], self.bytes[17]])
    }

    /// Urgent pointer.
    #[inline]
    #[must_use]
    pub fn urgent(self) -> u16 {
        u16::from_be_bytes([self.bytes[18], self.bytes[19]])
    }

    /// The options with their padding, 0 to 40 bytes.
    #[inline]
    #[must_use]
    pub fn options(self) -> &'a [u8] {
        self.options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN with the maximum segment size option.
    const SYN: [u8; 24] = [
        0xc0, 0x00, 0x00, 0x50, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, //
        0x60, 0x02, 0xfa, 0xf0, 0x12, 0x34, 0x00, 0x07, 0x02, 0x04, 0x05, 0xb4,
    ];

    #[test]
    fn fields() {
        let header = Header::new(&SYN).unwrap();
        assert_eq!(header.header_len(), 24);
        assert_eq!((header.source(), header.destination()), (49152, 80));
        assert_eq!((header.sequence(), header.acknowledgement()), (0x0102_0304, 0x0506_0708));
        assert_eq!((header.flags(), header.window()), (flag::SYN, 64240));
        assert_eq!((header.checksum(), header.urgent()), (0x1234, 7));
        assert_eq!(header.options(), [2, 4, 5, 0xb4]);
    }

    #[test]
    fn refused() {
        for len in 0..SYN.len() {
            assert_eq!(Header::new(&SYN[..len]), Err(Malformed::Truncated), "{len}");
        }
        let mut bytes = SYN;
        bytes[12] = 0x40;
        assert_eq!(Header::new(&bytes), Err(Malformed::HeaderLength));
    }
}
