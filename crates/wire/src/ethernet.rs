//! The Ethernet II header (IEEE 802.3, 3.2.6; no preamble, no FCS).

use crate::{MacAddr, Malformed};

/// Bytes of the untagged header.
pub const HEADER_LEN: usize = 14;

/// Smallest EtherType; below it the field is the length of an 802.3 frame.
pub const ETHERTYPE_MIN: u16 = 0x0600;

/// EtherTypes this project names.
pub mod ethertype {
    /// IPv4 (RFC 894).
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// RARP (RFC 903).
    pub const RARP: u16 = 0x8035;
    /// IPv6 (RFC 2464).
    pub const IPV6: u16 = 0x86dd;
    /// Customer VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// Service VLAN tag (IEEE 802.1ad, QinQ).
    pub const QINQ: u16 = 0x88a8;
    /// The older, vendors' number of the outer tag.
    pub const QINQ_OLD: u16 = 0x9100;
}

/// A view of the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8; HEADER_LEN],
}

impl<'a> Header<'a> {
    /// Looks at the first [`HEADER_LEN`] bytes of `frame`.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer.
    #[inline]
    pub fn new(frame: &'a [u8]) -> Result<Self, Malformed> {
        frame.first_chunk().map(|bytes| Self { bytes }).ok_or(Malformed::Truncated)
    }

    /// Destination address.
    #[inline]
    #[must_use]
    pub fn destination(self) -> MacAddr {
        let [a, b, c, d, e, f, ..] = *self.bytes;
        MacAddr([a, b, c, d, e, f])
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn source(self) -> MacAddr {
        let [_, _, _, _, _, _, a, b, c, d, e, f, ..] = *self.bytes;
        MacAddr([a, b, c, d, e, f])
    }

    /// EtherType, the tag's when the frame is tagged; a length below [`ETHERTYPE_MIN`].
    #[inline]
    #[must_use]
    pub fn ethertype(self) -> u16 {
        u16::from_be_bytes([self.bytes[12], self.bytes[13]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 16] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0];

    #[test]
    fn fields() {
        let header = Header::new(&FRAME).unwrap();
        assert_eq!(header.destination(), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(header.source(), MacAddr([2, 0, 0, 0, 0, 2]));
        assert_eq!(header.ethertype(), ethertype::IPV6);
    }

    #[test]
    fn truncated() {
        for len in 0..HEADER_LEN {
            assert_eq!(Header::new(&FRAME[..len]), Err(Malformed::Truncated));
        }
    }
}
