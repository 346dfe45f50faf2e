//! Telling a guest that its packet was refused: ICMP errors "administratively prohibited" (RFC 1812,
//! 5.2.7.1; RFC 4443, 3.1).
//!
//! The error comes from the packet's destination, as a firewall's on the destination itself would,
//! since a switch has no address of its own.

use wire::build;
use wire::ipv4::Fragment;
use wire::{L3, Transport};

use crate::frame::Cast;
use crate::guard::Judge;
use crate::rate::Rate;

/// Errors that one port is told.
const RATE: Rate = Rate::new(10, 20);

/// Bytes of the refused packet that are quoted.
const QUOTED: usize = 96;

impl Judge<'_> {
    pub(super) fn reject(&mut self) {
        let wanted = self.cast == Cast::Unicast
            && self.parsed.tags == 0
            && !self.is_error()
            && self.parsed.fragment() != Fragment::Later
            && self.me.buckets.rejections.take(self.now, RATE);
        if !wanted {
            return;
        }
        let packet = self.packet();
        let mut quote = [0; QUOTED];
        let len = packet.len().min(QUOTED);
        if let (Some(to), Some(from)) = (quote.get_mut(..len), packet.get(..len)) {
            to.copy_from_slice(from);
        }
        let quote = quote.get(..len).unwrap_or_default();
        let (station, me) = (self.parsed.src, self.parsed.dst);
        match self.parsed.l3 {
            Some(L3::Ipv4(ip)) if !ip.source.is_unspecified() => {
                let header = build::Ipv4 {
                    source: ip.destination,
                    destination: ip.source,
                    ..build::Ipv4::default()
                };
                self.say(|builder| {
                    builder.ethernet(station, me).ipv4(&header).icmpv4(3, 13, [0; 4]).payload(quote)
                });
            }
            Some(L3::Ipv6(ip)) if !ip.source.is_unspecified() && !ip.source.is_multicast() => {
                let header = build::Ipv6 {
                    source: ip.destination,
                    destination: ip.source,
                    ..build::Ipv6::default()
                };
                self.say(|builder| {
                    builder
                        .ethernet(station, me)
                        .ipv6(&header)
                        .icmpv6(1, 1)
                        .payload(&[0; 4])
                        .payload(quote)
                });
            }
            _ => {}
        }
    }

    /// No error is sent about an error.
    fn is_error(&self) -> bool {
        match self.parsed.l4.map(|l4| l4.transport) {
            Some(Transport::Icmpv4 { kind, .. }) => !matches!(kind, 0 | 8),
            Some(Transport::Icmpv6 { kind, .. }) => !matches!(kind, 128 | 129),
            _ => false,
        }
    }
}
