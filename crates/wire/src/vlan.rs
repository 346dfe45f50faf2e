//! The VLAN tag (IEEE 802.1Q-2022, 9.6), four bytes between the source address and the EtherType.

use crate::Malformed;
use crate::ethernet::ethertype;

/// Bytes a tag adds to a frame: tag protocol identifier and tag control information.
pub const TAG_LEN: usize = 4;

/// Whether an EtherType announces a tag.
#[inline]
#[must_use]
pub const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::VLAN | ethertype::QINQ | ethertype::QINQ_OLD)
}

/// One tag: its protocol identifier and its control information.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tag {
    /// Tag protocol identifier, an EtherType: 0x8100, 0x88a8 or 0x9100.
    pub tpid: u16,
    /// Tag control information: priority (3 bits), drop eligible (1), VLAN identifier (12).
    pub tci: u16,
}

impl Tag {
    /// An 802.1Q tag of VLAN `vid` (its low 12 bits) with priority 0.
    #[must_use]
    pub const fn new(vid: u16) -> Self {
        Self { tpid: ethertype::VLAN, tci: vid & 0x0fff }
    }

    /// VLAN identifier, 0 to 4095. 0 means that the tag carries a priority alone.
    #[inline]
    #[must_use]
    pub const fn vid(self) -> u16 {
        self.tci & 0x0fff
    }

    /// The four bytes as they stand in a frame.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; TAG_LEN] {
        let [a, b] = self.tpid.to_be_bytes();
        let [c, d] = self.tci.to_be_bytes();
        [a, b, c, d]
    }

    /// Reads the control information and the EtherType that follows it: `after` begins behind the
    /// tag protocol identifier `tpid`.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when fewer than four bytes are left.
    #[inline]
    pub fn read(tpid: u16, after: &[u8]) -> Result<(Self, u16), Malformed> {
        let &[a, b, c, d] = after.first_chunk().ok_or(Malformed::Truncated)?;
        Ok((Self { tpid, tci: u16::from_be_bytes([a, b]) }, u16::from_be_bytes([c, d])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let (tag, ethertype) = Tag::read(0x8100, &[0xb0, 0x64, 0x08, 0x00, 0xff]).unwrap();
        assert_eq!(tag.vid(), 100);
        assert_eq!(ethertype, 0x0800);
        assert_eq!(tag.to_bytes(), [0x81, 0x00, 0xb0, 0x64]);
    }

    #[test]
    fn truncated() {
        for len in 0..4 {
            assert_eq!(Tag::read(0x8100, &[0; 4][..len]), Err(Malformed::Truncated));
        }
    }

    #[test]
    fn new_keeps_twelve_bits() {
        assert_eq!(Tag::new(0xf00a).vid(), 0x00a);
        assert_eq!(Tag::new(0xf00a).to_bytes(), [0x81, 0x00, 0x00, 0x0a]);
    }
}
