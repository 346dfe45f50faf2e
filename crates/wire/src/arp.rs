//! ARP for IPv4 over Ethernet (RFC 826), and RARP, which has the same layout (RFC 903).

use core::net::Ipv4Addr;

use crate::{MacAddr, Malformed};

/// Bytes of the packet behind the Ethernet header; what follows is padding.
pub const PACKET_LEN: usize = 28;

/// Hardware type, protocol type and address lengths of IPv4 over Ethernet.
pub const FORMAT: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];

/// Operations.
pub mod operation {
    /// Who has the target address?
    pub const REQUEST: u16 = 1;
    /// The sender has it.
    pub const REPLY: u16 = 2;
    /// RARP: which protocol address have I?
    pub const REVERSE_REQUEST: u16 = 3;
    /// RARP: the answer.
    pub const REVERSE_REPLY: u16 = 4;
}

/// A view of the packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<'a> {
    bytes: &'a [u8; PACKET_LEN],
}

impl<'a> Packet<'a> {
    /// Looks at the first [`PACKET_LEN`] bytes behind the Ethernet header.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer, [`Malformed::ArpFormat`] when types or
    /// lengths are not those of IPv4 over Ethernet.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; PACKET_LEN] = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        if !bytes.starts_with(&FORMAT) {
            return Err(Malformed::ArpFormat);
        }
        Ok(Self { bytes })
    }

    /// Operation, see [`operation`].
    #[inline]
    #[must_use]
    pub fn operation(self) -> u16 {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]])
    }

    /// Sender hardware address.
    #[inline]
    #[must_use]
    pub fn sender_mac(self) -> MacAddr {
        let [a, b, c, d, e, f] = self.at(8);
        MacAddr([a, b, c, d, e, f])
    }

    /// Sender protocol address; `0.0.0.0` in a probe (RFC 5227).
    #[inline]
    #[must_use]
    pub fn sender_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(self.at::<4>(14))
    }

    /// Target hardware address.
    #[inline]
    #[must_use]
    pub fn target_mac(self) -> MacAddr {
        let [a, b, c, d, e, f] = self.at(18);
        MacAddr([a, b, c, d, e, f])
    }

    /// Target protocol address.
    #[inline]
    #[must_use]
    pub fn target_ip(self) -> Ipv4Addr {
        Ipv4Addr::from(self.at::<4>(24))
    }

    /// `N` bytes from `offset`; the constant offsets above all lie inside the packet, so the
    /// fallback is never taken.
    #[inline]
    fn at<const N: usize>(self, offset: usize) -> [u8; N] {
        self.bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; PACKET_LEN] = [
        0, 1, 8, 0, 6, 4, 0, 1, //
        2, 0, 0, 0, 0, 1, 10, 0, 0, 1, //
        0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];

    #[test]
    fn fields() {
        let packet = Packet::new(&REQUEST).unwrap();
        assert_eq!(packet.operation(), operation::REQUEST);
        assert_eq!(packet.sender_mac(), MacAddr([2, 0, 0, 0, 0, 1]));
        assert_eq!(packet.sender_ip(), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(packet.target_mac(), MacAddr::ZERO);
        assert_eq!(packet.target_ip(), Ipv4Addr::new(10, 0, 0, 2));
    }

    #[test]
    fn truncated() {
        for len in 0..PACKET_LEN {
            assert_eq!(Packet::new(&REQUEST[..len]), Err(Malformed::Truncated));
        }
    }

    #[test]
    fn other_formats() {
        for at in 0..FORMAT.len() {
            let mut bytes = REQUEST;
            bytes[at] ^= 0x10;
            assert_eq!(Packet::new(&bytes), Err(Malformed::ArpFormat), "byte {at}");
        }
    }
}
