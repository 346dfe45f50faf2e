//! The short way of a packet through the router: everything that [`decide`](super::decide) would
//! find out about it is as usual.
//!
//! Most packets are like those before them: for the router's own Ethernet address, with a sound
//! header without options, from a source that has just been found to belong here, with hops left,
//! to an address that can be nobody's but a station's, and no longer than the next network carries.
//! Here all of this is held against one read of the header. Whatever is not so is left as it was for
//! `decide`, which knows why not and what is to be done about it; so a mistake on this side costs
//! time, as long as nothing passes that `decide` would refuse. The tests hold one against the other.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ethernet::{HEADER_LEN as ETHERNET, ethertype};
use wire::{MacAddr, checksum, ipv4, ipv6};

use super::routes::Target;
use super::spec::{InterfaceId, Via};
use super::{OUTPUT_MAX, Router, rewrite};
use crate::frame::Frame;
use crate::pool::Pool;
use crate::time::Instant;

/// Where a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// To the network of this interface; its header is rewritten.
    Out(InterfaceId),
    /// To the gateway of this one; it is as it was.
    Gateway(InterfaceId),
}

/// What the short way reads of a packet.
#[derive(Clone, Copy)]
struct Usual {
    source: IpAddr,
    destination: IpAddr,
    /// TTL or hop limit.
    ttl: u8,
    /// Bytes of the packet.
    len: usize,
}

impl Router {
    /// Readies the frame of a packet from a network for where it goes, if all about it is usual. If
    /// not, None, and the frame is as it was.
    #[inline]
    pub(super) fn pass(
        &mut self,
        now: Instant,
        pool: &mut Pool,
        iface: InterfaceId,
        frame: &mut Frame,
    ) -> Option<Passed> {
        let here = self.interfaces.get(iface)?;
        let packet = Usual::read(pool.front(frame)?, here.spec.mac)?;
        let known = here.hints.source == Some((packet.source, self.generation));
        let whole = frame.len() == ETHERNET + packet.len && !frame.has_gso();
        if !known || !whole || packet.ttl <= 1 || self.output.len() >= OUTPUT_MAX {
            return None;
        }
        let (egress, next) = match self.routes.find(packet.destination) {
            Some(Target::Via(Via::Interface(egress))) => (egress, packet.destination),
            Some(Target::Via(Via::NextHop { iface, addr })) => (iface, addr),
            Some(Target::Via(Via::Gateway(gateway))) if gateway == iface => {
                return Some(Passed::Gateway(iface));
            }
            None if here.spec.outside => return Some(Passed::Gateway(iface)),
            _ => return None,
        };
        let out = self.interfaces.get(egress)?;
        let routed = here.spec.routed && out.spec.routed && egress != iface;
        if !routed || packet.len > usize::from(out.spec.mtu) {
            return None;
        }
        let from = out.spec.mac;
        let to = self.neighbours.use_recent(&(egress.index, next), now)?;
        let v6 = packet.destination.is_ipv6();
        let len = ETHERNET + if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        rewrite::readdress(pool.header_mut(frame, len)?, v6, to, from, true);
        Some(Passed::Out(egress))
    }
}

impl Usual {
    /// Reads a packet for a station by `mac`, if its header is of the usual form and right, and its
    /// destination is that of a station, with a meaning beyond its own network.
    #[inline]
    fn read(front: &[u8], mac: MacAddr) -> Option<Self> {
        let head = front.first_chunk::<{ ETHERNET + ipv4::HEADER_LEN }>()?;
        let (ethernet, header) = head.split_first_chunk::<ETHERNET>()?;
        let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *ethernet;
        if [d0, d1, d2, d3, d4, d5] != mac.0 {
            return None;
        }
        match u16::from_be_bytes([t0, t1]) {
            ethertype::IPV4 => Self::v4(header),
            ethertype::IPV6 => Self::v6(front.get(ETHERNET..)?.first_chunk()?),
            _ => None,
        }
    }

    #[inline]
    fn v4(header: &[u8]) -> Option<Self> {
        // Version 4, and a header of five words: no options.
        const FIRST: u8 = 0x45;
        let [first, _, len0, len1, _, _, _, _, ttl, _, _, _, s0, s1, s2, s3, d0, d1, d2, d3] =
            *header.first_chunk::<{ ipv4::HEADER_LEN }>()?;
        let len = usize::from(u16::from_be_bytes([len0, len1]));
        // This host, loopback, groups, reserved; and the link's own.
        let special = matches!(d0, 0 | 127 | 224..) || [d0, d1] == [169, 254];
        if first != FIRST || special || len < ipv4::HEADER_LEN || checksum::sum(header) != 0xffff {
            return None;
        }
        let source = Ipv4Addr::new(s0, s1, s2, s3).into();
        Some(Self { source, destination: Ipv4Addr::new(d0, d1, d2, d3).into(), ttl, len })
    }

    #[inline]
    fn v6(header: &[u8; ipv6::HEADER_LEN]) -> Option<Self> {
        let header = ipv6::Header::new(header).ok()?;
        let destination: Ipv6Addr = header.destination();
        // The unspecified address, loopback and mapped addresses are in the first of these, the
        // link's own in the second, groups are the third.
        if matches!(destination.octets()[0], 0 | 0xfe | 0xff) {
            return None;
        }
        Some(Self {
            source: header.source().into(),
            destination: destination.into(),
            ttl: header.hop_limit(),
            len: ipv6::HEADER_LEN + usize::from(header.payload_len()),
        })
    }
}

#[cfg(test)]
mod tests;
