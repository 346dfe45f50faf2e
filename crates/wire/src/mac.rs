//! The 48-bit Ethernet address.

use core::fmt;
use core::str::FromStr;

/// A 48-bit Ethernet (MAC) address, in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// `00:00:00:00:00:00`: no station's address.
    pub const ZERO: Self = Self([0; 6]);

    /// Whether this is a group address (the I/G bit), broadcast included.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 0x01 != 0
    }

    /// Whether this is the broadcast address.
    #[inline]
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        self.as_u64() == 0xffff_ffff_ffff
    }

    /// Whether every byte is zero.
    #[inline]
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.as_u64() == 0
    }

    /// Whether this can be the address of one station: neither a group address nor zero.
    #[inline]
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !self.is_zero()
    }

    /// Whether the address is locally administered (the U/L bit).
    #[inline]
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0[0] & 0x02 != 0
    }

    /// Whether a bridge must not forward frames to it: `01:80:c2:00:00:00` to `:0f`
    /// (IEEE 802.1Q-2022, table 8-1: STP, PAUSE, LACP, LLDP, EAPOL).
    #[inline]
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        self.as_u64() & !0x0f == 0x0180_c200_0000
    }

    /// The address as an integer below 2^48, the first byte the most significant.
    #[inline]
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address whose integer is `bits`, of which the upper 16 say nothing.
    #[inline]
    #[must_use]
    pub const fn from_u64(bits: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The modified EUI-64 interface identifier (RFC 4291, appendix A): the U/L bit inverted and
    /// `ff:fe` in the middle.
    #[must_use]
    pub const fn eui64_iid(self) -> [u8; 8] {
        let [a, b, c, d, e, f] = self.0;
        [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f]
    }

    /// The IPv6 link-local address `fe80::/64` with the EUI-64 identifier (RFC 4291, 2.5.6).
    #[must_use]
    pub const fn eui64_link_local(self) -> [u8; 16] {
        let [a, b, c, d, e, f, g, h] = self.eui64_iid();
        [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<[u8; 6]> for MacAddr {
    fn from(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }
}

/// The text is no MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "a MAC address is six pairs of hexadecimal digits with colons between them, such as \
     02:00:00:00:00:01"
)]
pub struct MacParseError;

impl FromStr for MacAddr {
    type Err = MacParseError;

    /// Reads `02:00:00:00:00:01`; `-` may stand for `:` throughout, and case does not matter.
    fn from_str(text: &str) -> Result<Self, MacParseError> {
        let text = text.as_bytes();
        if text.len() != 17 {
            return Err(MacParseError);
        }
        let separator = text[2];
        if separator != b':' && separator != b'-' {
            return Err(MacParseError);
        }
        let mut bytes = [0; 6];
        for (byte, group) in bytes.iter_mut().zip(text.chunks(3)) {
            let (&[high, low], rest) = group.split_first_chunk().ok_or(MacParseError)?;
            if !rest.iter().all(|&b| b == separator) {
                return Err(MacParseError);
            }
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(Self(bytes))
    }
}

fn digit(ascii: u8) -> Result<u8, MacParseError> {
    match ascii {
        b'0'..=b'9' => Ok(ascii - b'0'),
        b'a'..=b'f' => Ok(ascii - b'a' + 10),
        b'A'..=b'F' => Ok(ascii - b'A' + 10),
        _ => Err(MacParseError),
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn text_round_trip() {
        let mac = MacAddr([0x02, 0, 0xab, 0xcd, 0xef, 0x01]);
        assert_eq!(mac.to_string(), "02:00:ab:cd:ef:01");
        assert_eq!("02:00:ab:cd:ef:01".parse(), Ok(mac));
        assert_eq!("02-00-AB-CD-EF-01".parse(), Ok(mac));
    }

    #[test]
    fn refuses_what_is_not_an_address() {
        for text in [
            "",
            "02:00:ab:cd:ef",
            "02:00:ab:cd:ef:0",
            "02:00:ab:cd:ef:01:",
            "02:00:ab:cd:ef-01",
            "02 00 ab cd ef 01",
            "0g:00:ab:cd:ef:01",
            "+2:00:ab:cd:ef:01",
            "0200:ab:cd:ef:01:",
            "02:00:ab:cd:ef:é",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(MacParseError), "{text}");
        }
    }

    #[test]
    fn kinds() {
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(!MacAddr::BROADCAST.is_unicast());
        assert!(MacAddr::ZERO.is_zero() && !MacAddr::ZERO.is_unicast());
        let multicast = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        assert!(multicast.is_multicast() && !multicast.is_broadcast());
        let local = MacAddr([0x02, 0, 0, 0, 0, 1]);
        assert!(local.is_local() && local.is_unicast());
        assert!(!MacAddr([0x00, 0x16, 0x3e, 0, 0, 1]).is_local());
        assert!(MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x0e]).is_link_local());
        assert!(!MacAddr([0x01, 0x80, 0xc2, 0, 0, 0x10]).is_link_local());
    }

    #[test]
    fn eui64() {
        let mac = MacAddr([0x02, 0x42, 0xac, 0x11, 0x00, 0x02]);
        assert_eq!(mac.eui64_iid(), [0x00, 0x42, 0xac, 0xff, 0xfe, 0x11, 0x00, 0x02]);
        let address = core::net::Ipv6Addr::from(mac.eui64_link_local());
        assert_eq!(address.to_string(), "fe80::42:acff:fe11:2");
    }
}
