//! Neighbour discovery messages (RFC 4861, 4): solicitation, advertisement and the options' chain.

use core::net::Ipv6Addr;

use crate::{MacAddr, Malformed};

/// Bytes of a neighbour solicitation or advertisement without options: the ICMPv6 header, flags or
/// reserved bytes, and the target.
pub const NEIGHBOUR_LEN: usize = 24;

/// The hop limit every neighbour discovery message must arrive with: no router forwarded it.
pub const HOP_LIMIT: u8 = 255;

/// ICMPv6 types.
pub mod kind {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// Option types.
pub mod option {
    /// Source link-layer address.
    pub const SOURCE_LINK_ADDRESS: u8 = 1;
    /// Target link-layer address.
    pub const TARGET_LINK_ADDRESS: u8 = 2;
    /// Prefix information.
    pub const PREFIX: u8 = 3;
    /// MTU.
    pub const MTU: u8 = 5;
    /// Route information (RFC 4191, 2.3).
    pub const ROUTE: u8 = 24;
    /// Recursive DNS servers (RFC 8106, 5.1).
    pub const RDNSS: u8 = 25;
    /// Domains to search in (RFC 8106, 5.2).
    pub const DNSSL: u8 = 31;
}

/// Flags of an advertisement, the first byte behind the ICMPv6 header.
pub mod flag {
    /// The sender is a router.
    pub const ROUTER: u8 = 0x80;
    /// The advertisement answers a solicitation.
    pub const SOLICITED: u8 = 0x40;
    /// The link-layer address overrides a cached one.
    pub const OVERRIDE: u8 = 0x20;
}

/// A view of a neighbour solicitation or advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour<'a> {
    bytes: &'a [u8; NEIGHBOUR_LEN],
    options: &'a [u8],
}

impl<'a> Neighbour<'a> {
    /// Looks at a whole ICMPv6 message of type [`kind::NEIGHBOUR_SOLICITATION`] or
    /// [`kind::NEIGHBOUR_ADVERTISEMENT`]; the caller has looked at the type.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer than 24 bytes.
    pub fn new(message: &'a [u8]) -> Result<Self, Malformed> {
        let (bytes, options) = message.split_first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Self { bytes, options })
    }

    /// Flags of an advertisement, see [`flag`]; zero in a solicitation.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.bytes[4]
    }

    /// The address asked for or advertised.
    #[must_use]
    pub fn target(self) -> Ipv6Addr {
        let target = self.bytes.last_chunk().copied().unwrap_or([0; 16]);
        Ipv6Addr::from(target)
    }

    /// The options in order.
    #[must_use]
    pub fn options(self) -> Options<'a> {
        Options { rest: self.options }
    }

    /// The Ethernet address in the first option of type `kind`, if there is one of the right
    /// length. There may be more, in messages of who wants to confuse.
    #[must_use]
    pub fn link_address(self, kind: u8) -> Option<MacAddr> {
        self.options().find(|option| option.kind == kind).and_then(|option| {
            let bytes: &[u8; 6] = option.body.try_into().ok()?;
            Some(MacAddr(*bytes))
        })
    }
}

/// One option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdpOption<'a> {
    /// Type, see [`option`].
    pub kind: u8,
    /// What follows type and length.
    pub body: &'a [u8],
}

/// The chain of options. It ends where the bytes do, and at the first option of length zero or
/// longer than what is left: such a message is to be discarded as a whole, which
/// [`Options::is_sound`] tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// The options in `bytes`, which begin where a message's fixed part ends.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether the chain ends exactly where the bytes do (RFC 4861, 4.6: length zero is invalid).
    #[must_use]
    pub fn is_sound(mut self) -> bool {
        while self.next().is_some() {}
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = NdpOption<'a>;

    fn next(&mut self) -> Option<NdpOption<'a>> {
        let &[kind, units] = self.rest.first_chunk()?;
        // Each step consumes at least eight bytes, so that the walk ends.
        let len = usize::from(units) * 8;
        let body = self.rest.get(2..len)?;
        self.rest = self.rest.get(len..)?;
        Some(NdpOption { kind, body })
    }
}

/// The solicited-node multicast address of `target`: `ff02::1:ff00:0/104` and its last 24 bits
/// (RFC 4291, 2.7.1).
#[must_use]
pub fn solicited_node(target: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = target.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The Ethernet group address of an IPv6 multicast address: `33:33` and its last 32 bits
/// (RFC 2464, 7).
#[must_use]
pub fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADVERTISEMENT: [u8; 32] = [
        136, 0, 0x12, 0x34, 0x60, 0, 0, 0, //
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xbb, 0xcc, //
        2, 1, 2, 0, 0, 0, 0, 7,
    ];

    #[test]
    fn fields() {
        let message = Neighbour::new(&ADVERTISEMENT).unwrap();
        assert_eq!(message.flags(), flag::SOLICITED | flag::OVERRIDE);
        assert_eq!(message.target(), "fd00::aa:bbcc".parse::<Ipv6Addr>().unwrap());
        assert_eq!(
            message.link_address(option::TARGET_LINK_ADDRESS),
            Some(MacAddr([2, 0, 0, 0, 0, 7]))
        );
        assert_eq!(message.link_address(option::SOURCE_LINK_ADDRESS), None);
        assert!(message.options().is_sound());
    }

    #[test]
    fn truncated() {
        for len in 0..NEIGHBOUR_LEN {
            assert_eq!(Neighbour::new(&ADVERTISEMENT[..len]), Err(Malformed::Truncated));
        }
        for len in NEIGHBOUR_LEN + 1..ADVERTISEMENT.len() {
            let message = Neighbour::new(&ADVERTISEMENT[..len]).unwrap();
            assert_eq!(message.options().count(), 0);
            assert!(!message.options().is_sound());
        }
    }

    #[test]
    fn an_option_of_length_zero_ends_the_chain() {
        let mut bytes = ADVERTISEMENT;
        bytes[25] = 0;
        let message = Neighbour::new(&bytes).unwrap();
        assert_eq!(message.options().next(), None);
        assert!(!message.options().is_sound());
    }

    #[test]
    fn groups() {
        let group = solicited_node("fd00::aa:bbcc".parse().unwrap());
        assert_eq!(group, "ff02::1:ffaa:bbcc".parse::<Ipv6Addr>().unwrap());
        assert_eq!(multicast_mac(group), MacAddr([0x33, 0x33, 0xff, 0xaa, 0xbb, 0xcc]));
    }
}
