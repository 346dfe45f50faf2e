//! The IPv4 header with its options (RFC 791, 3.1).

use core::net::Ipv4Addr;

use crate::Malformed;

/// Bytes of the header without options.
pub const HEADER_LEN: usize = 20;

/// Bytes of the longest header: a header length field of 15.
pub const HEADER_LEN_MAX: usize = 60;

/// Offset of the identification field in the header.
pub const ID_AT: usize = 4;
/// Offset of the total length field in the header.
pub const TOTAL_LEN_AT: usize = 2;
/// Offset of the checksum field in the header.
pub const CHECKSUM_AT: usize = 10;

/// Protocol numbers (IANA), shared with IPv6's next header.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// IGMP.
    pub const IGMP: u8 = 2;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6: nothing follows.
    pub const NO_NEXT: u8 = 59;
}

/// Where a packet stands in a fragmented datagram.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fragment {
    /// Not a fragment.
    Whole,
    /// IPv6 only: a fragment header, but offset 0 and no more to follow (RFC 6946).
    Atomic,
    /// Offset 0, more to follow: the transport header, or its beginning, is here.
    First,
    /// A later one: no transport header.
    Later,
}

impl Fragment {
    /// Whether this is a part of a datagram, so that its length and checksum are not its own.
    #[inline]
    #[must_use]
    pub const fn is_part(self) -> bool {
        matches!(self, Self::First | Self::Later)
    }
}

/// A view of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8; HEADER_LEN],
    options: &'a [u8],
}

impl<'a> Header<'a> {
    /// Looks at the header that begins `packet`; `packet` may end behind it.
    ///
    /// The header checksum is not verified, see [`Header::checksum_is_good`].
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when the bytes end inside the header with its options,
    /// [`Malformed::Version`], [`Malformed::HeaderLength`] below 20 bytes, and
    /// [`Malformed::TotalLength`] when the packet claims to be shorter than its header.
    #[inline]
    pub fn new(packet: &'a [u8]) -> Result<Self, Malformed> {
        let (bytes, rest) = packet.split_first_chunk().ok_or(Malformed::Truncated)?;
        if bytes[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        let header_len = usize::from(bytes[0] & 0x0f) * 4;
        let options_len = header_len.checked_sub(HEADER_LEN).ok_or(Malformed::HeaderLength)?;
        let options = rest.get(..options_len).ok_or(Malformed::Truncated)?;
        let header = Self { bytes, options };
        if usize::from(header.total_len()) < header_len {
            return Err(Malformed::TotalLength);
        }
        Ok(header)
    }

    /// Bytes of the header, options included: 20 to 60.
    #[inline]
    #[must_use]
    pub fn header_len(self) -> usize {
        HEADER_LEN + self.options.len()
    }

    /// The type of service byte: DSCP (6 bits) and ECN (2).
    #[inline]
    #[must_use]
    pub fn traffic_class(self) -> u8 {
        self.bytes[1]
    }

    /// Bytes of the packet, header included, as the sender claims.
    #[inline]
    #[must_use]
    pub fn total_len(self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// Identification.
    #[inline]
    #[must_use]
    pub fn id(self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// Whether the packet must not be fragmented.
    #[inline]
    #[must_use]
    pub fn dont_fragment(self) -> bool {
        self.bytes[6] & 0x40 != 0
    }

    /// Fragment offset in bytes, a multiple of 8.
    #[inline]
    #[must_use]
    pub fn fragment_offset(self) -> u16 {
        (u16::from_be_bytes([self.bytes[6], self.bytes[7]]) & 0x1fff) << 3
    }

    /// Where the packet stands in a fragmented datagram.
    #[inline]
    #[must_use]
    pub fn fragment(self) -> Fragment {
        let more = self.bytes[6] & 0x20 != 0;
        match (self.fragment_offset(), more) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        }
    }

    /// Time to live.
    #[inline]
    #[must_use]
    pub fn ttl(self) -> u8 {
        self.bytes[8]
    }

    /// Protocol of the payload, see [`protocol`].
    #[inline]
    #[must_use]
    pub fn protocol(self) -> u8 {
        self.bytes[9]
    }

    /// The header checksum field.
    #[inline]
    #[must_use]
    pub fn checksum(self) -> u16 {
        u16::from_be_bytes([self.bytes[10], self.bytes[11]])
    }

    /// Whether the header checksum holds.
    #[inline]
    #[must_use]
    pub fn checksum_is_good(self) -> bool {
        use crate::checksum::{add, sum};
        // Header and options are both whole 16-bit words, so that the sums join without a shift.
        add(sum(self.bytes), sum(self.options)) == 0xffff
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn source(self) -> Ipv4Addr {
        let b = self.bytes;
        Ipv4Addr::new(b[12], b[13], b[14], b[15])
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn destination(self) -> Ipv4Addr {
        let b = self.bytes;
        Ipv4Addr::new(b[16], b[17], b[18], b[19])
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

    /// An IGMP report's header, with a router alert option (RFC 2113).
    const IGMP: [u8; 24] = [
        0x46, 0xc0, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x01, 0x02, 0xfa, 0x00, //
        0x0a, 0x00, 0x00, 0x01, 0xe0, 0x00, 0x00, 0x16, 0x94, 0x04, 0x00, 0x00,
    ];

    #[test]
    fn fields() {
        let header = Header::new(&IGMP).unwrap();
        assert_eq!(header.header_len(), 24);
        assert_eq!(header.total_len(), 32);
        assert_eq!(header.protocol(), protocol::IGMP);
        assert_eq!((header.ttl(), header.traffic_class(), header.id()), (1, 0xc0, 0));
        assert_eq!(header.source(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(header.destination(), Ipv4Addr::new(224, 0, 0, 22));
        assert_eq!(header.options(), [0x94, 0x04, 0x00, 0x00]);
        assert!(header.dont_fragment());
        assert_eq!(header.fragment(), Fragment::Whole);
        assert!(header.checksum_is_good(), "{:04x}", header.checksum());
    }

    #[test]
    fn a_flipped_bit_breaks_the_checksum() {
        for bit in 0..IGMP.len() * 8 {
            let mut bytes = IGMP;
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(header) = Header::new(&bytes) {
                // A shorter header length drops the option, whose sum may be anything.
                assert!(!header.checksum_is_good(), "bit {bit}");
            }
        }
    }

    #[test]
    fn fragments() {
        let mut bytes = IGMP;
        for (field, fragment, offset) in [
            (0x2000_u16, Fragment::First, 0),
            (0x2001, Fragment::Later, 8),
            (0x1fff, Fragment::Later, 65528),
            (0x4000, Fragment::Whole, 0),
        ] {
            bytes[6..8].copy_from_slice(&field.to_be_bytes());
            let header = Header::new(&bytes).unwrap();
            assert_eq!((header.fragment(), header.fragment_offset()), (fragment, offset));
        }
    }

    #[test]
    fn refused() {
        for len in 0..IGMP.len() {
            assert_eq!(Header::new(&IGMP[..len]), Err(Malformed::Truncated), "{len}");
        }
        let mut bytes = IGMP;
        bytes[0] = 0x66;
        assert_eq!(Header::new(&bytes), Err(Malformed::Version));
        bytes[0] = 0x44;
        assert_eq!(Header::new(&bytes), Err(Malformed::HeaderLength));
        bytes[0] = 0x46;
        bytes[3] = 23;
        assert_eq!(Header::new(&bytes), Err(Malformed::TotalLength));
    }
}
