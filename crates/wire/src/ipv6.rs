//! The IPv6 header and its chain of extension headers (RFC 8200, 3 and 4).
//!
//! The walk is bounded twice, in headers and in bytes, because the chain is the sender's to choose
//! and a longer one hides the transport header from whoever must look at it (RFC 7112).

use core::net::Ipv6Addr;

use crate::Malformed;
use crate::ipv4::Fragment;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;

/// Offset of the payload length field in the header.
pub const PAYLOAD_LEN_AT: usize = 4;

/// Most extension headers a packet may have.
pub const EXTENSIONS_MAX: usize = 8;

/// Most bytes the extension headers of a packet may have.
pub const EXTENSION_BYTES_MAX: usize = 256;

/// Next header values of extension headers (IANA).
pub mod extension {
    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// Destination options.
    pub const DESTINATION: u8 = 60;
    /// Mobility header (RFC 6275).
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol (RFC 7401).
    pub const HIP: u8 = 139;
    /// Shim6 (RFC 5533).
    pub const SHIM6: u8 = 140;
}

/// A view of the fixed header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    bytes: &'a [u8; HEADER_LEN],
}

impl<'a> Header<'a> {
    /// Looks at the header that begins `packet`; `packet` may end behind it.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] and [`Malformed::Version`].
    #[inline]
    pub fn new(packet: &'a [u8]) -> Result<Self, Malformed> {
        let bytes: &[u8; HEADER_LEN] = packet.first_chunk().ok_or(Malformed::Truncated)?;
        if bytes[0] >> 4 != 6 {
            return Err(Malformed::Version);
        }
        Ok(Self { bytes })
    }

    /// Traffic class: DSCP (6 bits) and ECN (2).
    #[inline]
    #[must_use]
    pub fn traffic_class(self) -> u8 {
        self.bytes[0] << 4 | self.bytes[1] >> 4
    }

    /// Flow label, 20 bits.
    #[inline]
    #[must_use]
    pub fn flow_label(self) -> u32 {
        u32::from_be_bytes([0, self.bytes[1] & 0x0f, self.bytes[2], self.bytes[3]])
    }

    /// Bytes behind the fixed header, extension headers included, as the sender claims.
    #[inline]
    #[must_use]
    pub fn payload_len(self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// What follows the fixed header: see [`extension`] and [`crate::ipv4::protocol`].
    #[inline]
    #[must_use]
    pub fn next_header(self) -> u8 {
        self.bytes[6]
    }

    /// Hop limit.
    #[inline]
    #[must_use]
    pub fn hop_limit(self) -> u8 {
        self.bytes[7]
    }

    /// Source address.
    #[inline]
    #[must_use]
    pub fn source(self) -> Ipv6Addr {
        Ipv6Addr::from(self.at(8))
    }

    /// Destination address. With a routing header that is the next stop, not the last.
    #[inline]
    #[must_use]
    pub fn destination(self) -> Ipv6Addr {
        Ipv6Addr::from(self.at(24))
    }

    /// An address; the constant offsets above lie inside the header, so the fallback is never
    /// taken.
    #[inline]
    fn at(self, offset: usize) -> [u8; 16] {
        self.bytes.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; 16])
    }
}

/// The least MTU of a link that carries IPv6 (RFC 8200, 5).
pub const MTU_MIN: u16 = 1280;

/// All nodes of a link (RFC 4291, 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers of a link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Where the chain of extension headers ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    /// The upper layer's protocol; [`crate::ipv4::protocol::NO_NEXT`] when there is none.
    pub protocol: u8,
    /// Bytes of all extension headers.
    pub len: u16,
    /// Number of extension headers.
    pub headers: u8,
    /// Bytes of all but the last of them.
    pub before_last: u16,
    /// Whether there is a fragment header, and what it says. Behind that of a later fragment the
    /// bytes are payload, and `protocol` is the one that the first fragment's chain goes on with.
    pub fragment: Fragment,
    /// Whether there is a routing header, so that the pseudo header's destination is not the fixed
    /// header's (RFC 8200, 8.1).
    pub routed: bool,
}

impl Chain {
    /// Where in the packet the field is that names [`Self::protocol`] (RFC 4443, 3.4).
    #[must_use]
    pub const fn pointer(&self) -> u32 {
        if self.headers == 0 { NEXT_HEADER_AT } else { HEADER_LEN as u32 + self.before_last as u32 }
    }
}

/// Where the fixed header names what follows it.
const NEXT_HEADER_AT: u32 = 6;

/// Walks the extension headers: `first` is the fixed header's next header, `bytes` what follows it.
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end inside the chain, [`Malformed::ExtensionChain`] when
/// it is longer than [`EXTENSIONS_MAX`] or [`EXTENSION_BYTES_MAX`].
#[inline]
pub fn walk(first: u8, bytes: &[u8]) -> Result<Chain, Malformed> {
    let chain = Chain {
        protocol: first,
        len: 0,
        headers: 0,
        before_last: 0,
        fragment: Fragment::Whole,
        routed: false,
    };
    // Most packets have no extension header, and no loop.
    if is_extension(first) { walk_extensions(chain, bytes) } else { Ok(chain) }
}

#[inline]
const fn is_extension(protocol: u8) -> bool {
    use extension::{
        AUTHENTICATION, DESTINATION, FRAGMENT, HIP, HOP_BY_HOP, MOBILITY, ROUTING, SHIM6,
    };
    matches!(
        protocol,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | MOBILITY | HIP | SHIM6
    )
}

#[cold]
fn walk_extensions(mut chain: Chain, bytes: &[u8]) -> Result<Chain, Malformed> {
    let mut rest = bytes;
    let mut len = 0;
    while is_extension(chain.protocol) {
        if usize::from(chain.headers) == EXTENSIONS_MAX {
            return Err(Malformed::ExtensionChain);
        }
        // Every extension header has at least eight bytes and begins with the next header and,
        // the fragment header excepted, its own length (RFC 6564).
        let head: &[u8; 8] = rest.first_chunk().ok_or(Malformed::Truncated)?;
        let this = match chain.protocol {
            extension::FRAGMENT => 8,
            // Twelve bytes are fixed (RFC 4302, 2).
            extension::AUTHENTICATION if head[1] == 0 => return Err(Malformed::ExtensionChain),
            extension::AUTHENTICATION => (usize::from(head[1]) + 2) * 4,
            _ => (usize::from(head[1]) + 1) * 8,
        };
        len += this;
        if len > EXTENSION_BYTES_MAX {
            return Err(Malformed::ExtensionChain);
        }
        rest = rest.get(this..).ok_or(Malformed::Truncated)?;
        // `len` is at most `EXTENSION_BYTES_MAX`.
        chain.before_last = u16::try_from(len - this).map_err(|_| Malformed::ExtensionChain)?;
        chain.headers += 1;
        let kind = core::mem::replace(&mut chain.protocol, head[0]);
        if kind == extension::ROUTING {
            chain.routed = true;
        }
        if kind == extension::FRAGMENT {
            let field = u16::from_be_bytes([head[2], head[3]]);
            chain.fragment = match (field >> 3, field & 1) {
                (0, 0) => Fragment::Atomic,
                (0, _) => Fragment::First,
                _ => Fragment::Later,
            };
            if chain.fragment == Fragment::Later {
                break;
            }
        }
    }
    // `len` is at most `EXTENSION_BYTES_MAX`.
    chain.len = u16::try_from(len).map_err(|_| Malformed::ExtensionChain)?;
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipv4::protocol;

    const HEADER: [u8; HEADER_LEN] = [
        0x6a, 0xb1, 0x23, 0x45, 0x00, 0x08, 17, 64, //
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, //
        0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    ];

    #[test]
    fn fields() {
        let header = Header::new(&HEADER).unwrap();
        assert_eq!((header.traffic_class(), header.flow_label()), (0xab, 0x12345));
        assert_eq!((header.payload_len(), header.next_header(), header.hop_limit()), (8, 17, 64));
        assert_eq!(header.source(), "fd00::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(header.destination(), "fd00::2".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn refused() {
        for len in 0..HEADER_LEN {
            assert_eq!(Header::new(&HEADER[..len]), Err(Malformed::Truncated));
        }
        let mut bytes = HEADER;
        bytes[0] = 0x4a;
        assert_eq!(Header::new(&bytes), Err(Malformed::Version));
    }

    #[test]
    fn no_extension() {
        let chain = walk(protocol::TCP, &[]).unwrap();
        assert_eq!((chain.protocol, chain.len, chain.headers), (protocol::TCP, 0, 0));
        assert_eq!(chain.pointer(), 6);
        assert_eq!(chain.fragment, Fragment::Whole);
    }

    #[test]
    fn each_kind_has_its_length() {
        // hop-by-hop of 16 bytes, routing of 8, authentication of 12, destination of 8, then UDP
        let mut bytes = [0; 44];
        bytes[..2].copy_from_slice(&[extension::ROUTING, 1]);
        bytes[16..18].copy_from_slice(&[extension::AUTHENTICATION, 0]);
        bytes[24..26].copy_from_slice(&[extension::DESTINATION, 1]);
        bytes[36..38].copy_from_slice(&[protocol::UDP, 0]);
        let chain = walk(extension::HOP_BY_HOP, &bytes).unwrap();
        assert_eq!((chain.protocol, chain.len, chain.headers), (protocol::UDP, 44, 4));
        assert_eq!(chain.pointer(), 40 + 36);
        assert!(chain.routed);
        for len in 0..bytes.len() {
            assert_eq!(walk(0, &bytes[..len]), Err(Malformed::Truncated), "{len}");
        }
    }

    #[test]
    fn an_authentication_header_has_twelve_bytes_at_least() {
        let mut bytes = [protocol::UDP; 20];
        bytes[1] = 0;
        assert_eq!(walk(extension::AUTHENTICATION, &bytes), Err(Malformed::ExtensionChain));
        bytes[1] = 1;
        assert_eq!(walk(extension::AUTHENTICATION, &bytes).unwrap().len, 12);
    }

    #[test]
    fn fragments() {
        for (field, fragment, protocol, headers) in [
            (0x0000_u16, Fragment::Atomic, 17, 2),
            (0x0001, Fragment::First, 17, 2),
            (0x0008, Fragment::Later, 60, 1),
            (0x0009, Fragment::Later, 60, 1),
        ] {
            let mut bytes = [60, 0, 0, 0, 0, 0, 0, 1, 17, 0, 0, 0, 0, 0, 0, 0];
            bytes[2..4].copy_from_slice(&field.to_be_bytes());
            let chain = walk(extension::FRAGMENT, &bytes).unwrap();
            assert_eq!(chain.fragment, fragment);
            assert_eq!((chain.protocol, chain.headers), (protocol, headers));
        }
    }

    #[test]
    fn bounded() {
        // Nine headers of eight bytes.
        let mut bytes = [0; 9 * 8];
        for header in bytes.chunks_mut(8) {
            header[0] = extension::DESTINATION;
        }
        assert_eq!(walk(extension::DESTINATION, &bytes), Err(Malformed::ExtensionChain));
        bytes[7 * 8] = protocol::TCP;
        assert_eq!(walk(extension::DESTINATION, &bytes).unwrap().headers, 8);
        // One header of 264 bytes.
        let mut bytes = [0; 264];
        bytes[..2].copy_from_slice(&[protocol::TCP, 32]);
        assert_eq!(walk(extension::DESTINATION, &bytes), Err(Malformed::ExtensionChain));
        bytes[1] = 31;
        assert_eq!(walk(extension::DESTINATION, &bytes).unwrap().len, 256);
    }
}
