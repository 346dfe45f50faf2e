//! Packet views and builders, checksums, offload metadata and software segmentation.
//!
//! Everything here is a pure function of bytes: no allocation, no clock, no state that outlives a
//! call except the small [`segment::Segmenter`]. The engine, the links and the tests share it.
//!
//! # Layout
//!
//! One file per protocol ([`ethernet`], [`vlan`], [`arp`], [`ipv4`], [`ipv6`], [`icmpv4`],
//! [`icmpv6`], [`ndp`], [`igmp`], [`mld`], [`tcp`], [`udp`], [`dhcp4`], [`dhcp6`]), each with constants, a read-only view of the header and
//! its tests. [`parse()`] walks all of them once and remembers the offsets. [`Offload`] is what a
//! frame carries beside its bytes: a checksum that is still partial, and the size of the segments
//! it must be cut into. [`vnet`] is the form of that metadata at the border of the kernel
//! (`linux/virtio_net.h`), [`offload`] checks it, [`checksum`] completes and [`segment`] cuts.
//!
//! # Frames in two pieces
//!
//! A frame is handed over as `&[&[u8]; 2]`: its own header copy and the shared rest, or everything
//! in the first piece and an empty second. Offsets count from the first byte of the Ethernet header
//! over both pieces. Nothing assumes that a header ends where a piece ends.
//!
//! # Panics
//!
//! **Nothing in this crate panics, whatever the bytes.** A view is built by a checked constructor
//! and holds a reference to an array of the header's length, so its accessors cannot be out of
//! bounds. Output buffers that are too small are refused or ignored as each function's
//! documentation says. Property tests and fuzz targets hold this.
//!
//! # Byte order
//!
//! All integers in this crate's types are in the host's order; the functions convert from and to
//! network order (big endian). [`vnet`] alone has another order, and says so.
#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod arp;
pub mod build;
pub mod checksum;
pub mod dhcp4;
pub mod dhcp6;
pub mod ethernet;
pub mod icmp_error;
pub mod icmpv4;
pub mod icmpv6;
pub mod igmp;
pub mod ipv4;
pub mod ipv6;
mod mac;
mod malformed;
pub mod mld;
pub mod ndp;
pub mod offload;
pub mod parse;
mod pieces;
pub mod segment;
pub mod tcp;
pub mod udp;
pub mod vlan;
pub mod vnet;

pub use mac::{MacAddr, MacParseError};
pub use malformed::Malformed;
pub use offload::{Gso, GsoKind, Offload, OffloadError, OffloadSet, PartialChecksum};
pub use parse::{L3, L4, ParseError, Parsed, Transport, parse};
pub use segment::{Segment, Segmenter};
pub use vlan::Tag;
pub use vnet::{VNET_HDR_LEN, VnetError};

/// Bytes of a header copy: the Ethernet header, tags, the network header with its options or
/// extensions, and the transport header of every frame whose checksum we complete or which we
/// segment end within it.
///
/// 14 + 2 * 4 (tags) + 60 (IPv4 with options) + 60 (TCP with options) = 142 fit with room to spare;
/// IPv6 leaves 134 bytes for extension headers beside the longest TCP header.
pub const HEADER_MAX: usize = 256;
