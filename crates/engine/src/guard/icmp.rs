//! ICMP and ICMPv6 but neighbour and listener discovery (checks 27, 39 and 47; RFC 792, RFC 4443,
//! RFC 4890).

use wire::icmpv4;
use wire::parse::Ipv6;

use crate::guard::extension::Extensions;
use crate::guard::ipv6::{is_discovery, is_listener};
use crate::guard::multicast::Group;
use crate::guard::{Judge, Outcome};
use crate::reason::Reason;

impl Judge<'_> {
    pub(super) fn icmpv4(&mut self, kind: u8) -> Result<(), Reason> {
        match kind {
            // Source quench, redirect, router advertisement; timestamp, information and mask
            // requests.
            4 | icmpv4::kind::REDIRECT | icmpv4::kind::ROUTER_ADVERTISEMENT | 13 | 15 | 17 => {
                self.refuse(Reason::IcmpKind)
            }
            icmpv4::kind::UNREACHABLE | icmpv4::kind::TIME_EXCEEDED | 12 => self.error(),
            _ => Ok(()),
        }
    }

    pub(super) fn icmpv6(
        &mut self,
        ip: &Ipv6,
        extensions: &Extensions,
        kind: u8,
        code: u8,
    ) -> Result<Outcome, Reason> {
        if is_discovery(kind) {
            return self.discovery(ip, kind, code);
        }
        if is_listener(kind) {
            return self.mld(ip, extensions, kind);
        }
        match kind {
            1..=4 => self.error()?,
            128 | 129 => {}
            // Router renumbering, node information.
            138..=140 => self.refuse(Reason::Icmpv6Kind)?,
            0..=127 => {}
            _ => self.refuse(Reason::Icmpv6Unknown)?,
        }
        self.flooded(Group::V6(ip.destination))
    }

    fn error(&mut self) -> Result<(), Reason> {
        let rate = self.me.spec.rates.errors;
        if self.me.buckets.errors.take(self.now, rate) {
            Ok(())
        } else {
            self.refuse(Reason::ErrorRate)
        }
    }
}
