//! Why a header could not be read.

/// What is wrong with a header. A unit per cause: callers drop the frame or stop the walk, and name
/// the cause in a counter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Malformed {
    /// The bytes end inside the header.
    #[error("the bytes end inside the header")]
    Truncated,
    /// The version field of an IP header is not the one the EtherType promised.
    #[error("the IP version does not match the EtherType")]
    Version,
    /// A header length field is below the fixed header's length.
    #[error("the header length field is below the shortest header")]
    HeaderLength,
    /// A total or payload length field is below the length of the headers it covers.
    #[error("the length field is below the length of the headers")]
    TotalLength,
    /// An ARP packet that is not for IPv4 over Ethernet (RFC 826: 1, 0x0800, 6, 4).
    #[error("the ARP packet is not for IPv4 over Ethernet")]
    ArpFormat,
    /// More than [`crate::ipv6::EXTENSIONS_MAX`] extension headers, or more than
    /// [`crate::ipv6::EXTENSION_BYTES_MAX`] bytes of them.
    #[error("the chain of IPv6 extension headers is too long")]
    ExtensionChain,
}
