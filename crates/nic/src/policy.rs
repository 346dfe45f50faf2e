//! What a user's frame may be, and which frames of the device are the user's.
//!
//! # Theory of operation
//!
//! Pure functions of bytes. A frame goes out only if everything that matters of it can be read:
//! where the headers hide what is behind them (a chain of extension headers that does not end within
//! its bounds, a first fragment that ends within the transport header), the frame is refused,
//! because the receiver may read more than we did. What is behind the first fragment needs no look:
//! an IPv6 receiver drops fragments that overlap (RFC 5722), and of an IPv4 datagram only a second
//! *first* fragment could change the ports, which is looked at like the first.
//!
//! A later fragment carries no header to be judged by. It is harmless without its first fragment.

use wire::ethernet::{self, ethertype};
use wire::ipv4::Fragment;
use wire::parse::Arp;
use wire::{
    Gso, GsoKind, HEADER_MAX, L3, L4, MacAddr, Offload, Parsed, PartialChecksum, Transport,
    VNET_HDR_LEN, arp, checksum, icmpv4, ndp, offload, parse, tcp, vlan, vnet,
};

use crate::reason::Reason;

/// Bytes of a frame that are looked at, from its first on: more than any headers, and a whole
/// message of neighbour discovery. One that were longer is refused.
pub(crate) const FRONT: usize = 2048;

/// How much of a frame of `len` bytes has to be at hand to judge it, by its vnet header: what says that it is to be
/// segmented is TCP or UDP, or refused, and of these nothing behind the headers matters.
#[must_use]
pub(crate) fn front_len(header: &[u8; VNET_HDR_LEN], len: usize) -> usize {
    let [_, gso_type, ..] = *header;
    len.min(if gso_type == 0 { FRONT } else { HEADER_MAX })
}

/// Ports of DHCP (RFC 2131, 4.1) and DHCPv6 (RFC 8415, 7.2).
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCPV6_CLIENT: u16 = 546;
const DHCPV6_SERVER: u16 = 547;

/// A frame that may go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub offload: Offload,
    /// Frames and bytes that it becomes on the wire.
    pub frames: u64,
    pub bytes: u64,
}

/// Judges a frame of the user: `header` is the vnet header it came with, `front` its first
/// [`front_len`] bytes or more, `mtu` the device's; `claimed` says which addresses are the
/// connection's.
///
/// # Errors
/// The reason for which it is dropped.
pub(crate) fn outgoing(
    header: &[u8],
    front: &[u8],
    len: usize,
    mtu: usize,
    claimed: impl Fn(MacAddr) -> bool,
) -> Result<Outgoing, Reason> {
    let offload = vnet::decode(header).map_err(|_| Reason::BadVnetHeader)?;
    let parsed = parse(&front[..front.len().min(HEADER_MAX)])
        .map_err(|_| if len < ethernet::HEADER_LEN { Reason::Runt } else { Reason::Tagged })?;
    // Before anything is believed that stands behind a tag.
    if parsed.tags > 0 || vlan::is_tag(parsed.ethertype) {
        return Err(Reason::Tagged);
    }
    if !parsed.src.is_unicast() || !claimed(parsed.src) {
        return Err(Reason::SourceMac);
    }
    if !is_carried(parsed.ethertype) || parsed.dst.is_link_local() {
        return Err(Reason::Ethertype);
    }
    if parsed.malformed.is_some() {
        return Err(Reason::Malformed);
    }
    let Some(l3) = &parsed.l3 else { return Err(Reason::Malformed) };
    match l3 {
        L3::Arp(arp) => check_arp(arp, parsed.src)?,
        L3::Ipv4(_) | L3::Ipv6(_) => check_transport(&parsed, front, len)?,
    }
    offload::check_parsed(&offload, &parsed, len, mtu).map_err(|_| Reason::BadOffload)?;
    if offload.gso.is_none() && len > ethernet::HEADER_LEN + mtu {
        return Err(Reason::Oversize);
    }
    let (frames, bytes) = on_the_wire(&offload, &parsed, len);
    Ok(Outgoing { offload, frames, bytes })
}

fn is_carried(ethertype: u16) -> bool {
    matches!(ethertype, ethertype::IPV4 | ethertype::ARP | ethertype::IPV6)
}

fn check_arp(packet: &Arp, source: MacAddr) -> Result<(), Reason> {
    if !matches!(packet.operation, arp::operation::REQUEST | arp::operation::REPLY) {
        return Err(Reason::Malformed);
    }
    if packet.sender_mac == source { Ok(()) } else { Err(Reason::ArpSender) }
}

fn check_transport(parsed: &Parsed, front: &[u8], len: usize) -> Result<(), Reason> {
    // What stands behind the packet's own end is Ethernet's padding, and no receiver reads it. A header that was found
    // there is not the one that they will find.
    let end = parsed.claimed_len().unwrap_or(len);
    if end > len || parsed.headers_len().is_some_and(|headers| headers > end) {
        return Err(Reason::Malformed);
    }
    let Some(l4) = &parsed.l4 else {
        // A later fragment, or IPv6 that says that nothing follows.
        return Ok(());
    };
    match l4.transport {
        Transport::Udp { source, destination, .. } => {
            let is_server = match &parsed.l3 {
                Some(L3::Ipv4(_)) => source == DHCP_SERVER || destination == DHCP_CLIENT,
                _ => source == DHCPV6_SERVER || destination == DHCPV6_CLIENT,
            };
            if is_server { Err(Reason::DhcpServer) } else { Ok(()) }
        }
        Transport::Icmpv4 {
            kind: icmpv4::kind::REDIRECT | icmpv4::kind::ROUTER_ADVERTISEMENT,
            ..
        } => Err(Reason::RouterMessage),
        Transport::Icmpv6 { kind, .. } => check_icmpv6(kind, parsed, l4, front.get(..end)),
        _ => Ok(()),
    }
}

/// Bytes of a router solicitation without options (RFC 4861, 4.1).
const SOLICITATION_LEN: usize = 8;

/// `packet` is the frame as far as its packet goes, if all of that is at hand.
fn check_icmpv6(kind: u8, parsed: &Parsed, l4: &L4, packet: Option<&[u8]>) -> Result<(), Reason> {
    let options_at = match kind {
        ndp::kind::ROUTER_ADVERTISEMENT | ndp::kind::REDIRECT => return Err(Reason::RouterMessage),
        ndp::kind::ROUTER_SOLICITATION => SOLICITATION_LEN,
        ndp::kind::NEIGHBOUR_SOLICITATION | ndp::kind::NEIGHBOUR_ADVERTISEMENT => {
            ndp::NEIGHBOUR_LEN
        }
        _ => return Ok(()),
    };
    // Neighbour discovery is never fragmented (RFC 6980): its options could hide in the rest.
    if parsed.fragment() != Fragment::Whole {
        return Err(Reason::Malformed);
    }
    let packet = packet.ok_or(Reason::Malformed)?;
    let message = packet.get(usize::from(l4.offset)..).ok_or(Reason::Malformed)?;
    let options = ndp::Options::new(message.get(options_at..).ok_or(Reason::Malformed)?);
    if !options.is_sound() {
        return Err(Reason::Malformed);
    }
    let speaks_for_another = options.into_iter().any(|option| {
        matches!(option.kind, ndp::option::SOURCE_LINK_ADDRESS | ndp::option::TARGET_LINK_ADDRESS)
            && option.body != parsed.src.0
    });
    if speaks_for_another { Err(Reason::NeighbourSender) } else { Ok(()) }
}

/// Frames and bytes that a frame becomes.
fn on_the_wire(offload: &Offload, parsed: &Parsed, len: usize) -> (u64, u64) {
    let (Some(gso), Some(headers)) = (offload.gso, parsed.headers_len()) else {
        return (1, len as u64);
    };
    let payload = len.saturating_sub(headers);
    let segments = payload.div_ceil(usize::from(gso.size).max(1)).max(1);
    (segments as u64, (payload + segments * headers) as u64)
}

/// A frame that is the user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Incoming {
    pub offload: Offload,
    /// It is for a group.
    pub group: bool,
}

/// Judges a frame of the device, whose vnet header said `offload`. `front`: its first
/// [`HEADER_MAX`] bytes or more, or all of its `len`. `tagged`: it had a VLAN tag.
///
/// A frame that the device itself has put together from several (LRO, hardware GRO) has its checksum
/// verified and nothing left undone, which no other frame to be segmented may say: its checksum is
/// made a partial one, in the frame.
///
/// # Errors
/// The reason for which it is dropped.
pub(crate) fn incoming(
    offload: Offload,
    tagged: bool,
    front: &mut [u8],
    len: usize,
    mtu: usize,
    claimed: impl Fn(MacAddr) -> bool,
) -> Result<Incoming, Reason> {
    let header = ethernet::Header::new(front).map_err(|_| Reason::InUnreadable)?;
    if tagged || vlan::is_tag(header.ethertype()) {
        return Err(Reason::InTagged);
    }
    let (to, from) = (header.destination(), header.source());
    let group = to.is_multicast();
    if (!group && !claimed(to)) || to.is_link_local() {
        return Err(Reason::InNotForUs);
    }
    if claimed(from) {
        return Err(Reason::InOwnSource);
    }
    if !is_carried(header.ethertype()) {
        return Err(Reason::InEthertype);
    }
    if offload.is_none() {
        return Ok(Incoming { offload, group });
    }
    let parsed = parse(&front[..front.len().min(HEADER_MAX)]).map_err(|_| Reason::InBadOffload)?;
    let offload = match offload {
        Offload { checksum: None, gso: Some(gso) } => merged_by_hardware(gso, &parsed, front),
        other => other,
    };
    offload::check_parsed(&offload, &parsed, len, mtu).map_err(|_| Reason::InBadOffload)?;
    Ok(Incoming { offload, group })
}

fn merged_by_hardware(gso: Gso, parsed: &Parsed, front: &mut [u8]) -> Offload {
    let plain = Offload { checksum: None, gso: Some(gso) };
    let (Some(l4), Some(end)) = (&parsed.l4, parsed.claimed_len()) else { return plain };
    let offset = usize::from(l4.offset);
    let len = end.saturating_sub(offset);
    let sum = match (&parsed.l3, gso.kind, u16::try_from(len), u32::try_from(len)) {
        (Some(L3::Ipv4(ip)), GsoKind::Tcp4, Ok(len), _) => {
            checksum::pseudo_v4(ip.source, ip.destination, l4.protocol, len)
        }
        (Some(L3::Ipv6(ip)), GsoKind::Tcp6, _, Ok(len)) => {
            checksum::pseudo_v6(ip.source, ip.destination, l4.protocol, len)
        }
        _ => return plain,
    };
    let at = offset + tcp::CHECKSUM_AT;
    let Some(field) = front.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) else {
        return plain;
    };
    *field = sum.to_be_bytes();
    let partial = PartialChecksum { start: l4.offset, offset: tcp::CHECKSUM_AT as u16 };
    Offload { checksum: Some(partial), gso: Some(gso) }
}

#[cfg(test)]
mod tests;
