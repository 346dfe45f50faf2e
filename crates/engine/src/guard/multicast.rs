//! What goes to many: multicast DNS and its like, groups that somebody joined, storms (checks 48, 49
//! and 51; RFC 4541).

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::frame::Cast;
use crate::guard::egress::Reach;
use crate::guard::port::PortGuard;
use crate::guard::spec::{Action, MdnsPolicy};
use crate::guard::violation::Fate;
use crate::guard::{Judge, Outcome};
use crate::keyed::Key;
use crate::rate::Rate;
use crate::reason::Reason;
use crate::role::Role;
use crate::time::Instant;

/// The group that a packet goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// A frame that is no IP packet.
    Other,
}

/// What a group is for, as far as it matters here.
enum Use {
    /// Multicast DNS (RFC 6762).
    Mdns,
    /// LLMNR (RFC 4795), SSDP.
    Discovery,
    /// Of the link alone: everybody gets it (RFC 4541, 2.1.2).
    Link,
    /// Whoever joined.
    Other,
}

impl Group {
    fn purpose(self) -> Use {
        match self {
            Self::V4(group) => match group.octets() {
                [224, 0, 0, 251] => Use::Mdns,
                [224, 0, 0, 252] | [239, 255, 255, 250] => Use::Discovery,
                [224, 0, 0, _] => Use::Link,
                _ => Use::Other,
            },
            Self::V6(group) => match group.segments() {
                [0xff02, 0, 0, 0, 0, 0, 0, 0xfb] => Use::Mdns,
                // Multicast DNS beyond the link, and SSDP, in any scope.
                [0xff00..=0xff0f, 0, 0, 0, 0, 0, 0, 0xfb | 0xc] | [0xff02, 0, 0, 0, 0, 0, 1, 3] => {
                    Use::Discovery
                }
                // Interface and link scope.
                [0xff01 | 0xff02, ..] => Use::Link,
                _ => Use::Other,
            },
            Self::Other => Use::Link,
        }
    }
}

impl Judge<'_> {
    /// Settles who gets a frame that passed every check of its contents.
    pub(super) fn flooded(&mut self, group: Group) -> Result<Outcome, Reason> {
        if self.cast != Cast::Multicast || self.said.reach != Reach::All {
            return Ok(Outcome::Pass);
        }
        let guest = self.me.role == Role::Guest;
        let purpose = group.purpose();
        match (self.engine.network.guard.mdns, &purpose) {
            (MdnsPolicy::Off, Use::Mdns | Use::Discovery)
            | (MdnsPolicy::Reflect, Use::Discovery)
                if guest =>
            {
                self.refuse(Reason::Mdns)?;
            }
            (MdnsPolicy::Proxy, Use::Mdns | Use::Discovery) if guest => {
                self.said.reach = Reach::Router;
            }
            _ => {}
        }
        if self.said.reach == Reach::All
            && self.engine.network.guard.snooping
            && matches!(purpose, Use::Other | Use::Discovery)
        {
            self.members()?;
        }
        Ok(Outcome::Pass)
    }

    /// To those who joined, and to those who route.
    fn members(&mut self) -> Result<(), Reason> {
        let key = Key::new(self.vid(), self.parsed.dst.as_u64());
        let reach = Reach::Members(key);
        // Not port by port: there may be many, and this is asked before storms are held back.
        let engine = &*self.engine;
        let serves = |index: &u16| {
            let port = engine.ports.at(*index).filter(|port| port.id != self.id);
            port.is_some_and(|port| reach.includes(port, &engine.memory))
        };
        let somebody = engine.memory.groups.somebody_but(key, self.id.index)
            || engine.servers.iter().any(serves);
        if !somebody {
            self.refuse(Reason::GroupUnregistered)?;
        }
        self.said.reach = reach;
        Ok(())
    }
}

impl PortGuard {
    /// What becomes of one more frame that the port sends to many, and for which reason, if they are
    /// too many (check 48).
    pub(crate) fn storm(&mut self, now: Instant, cast: Cast, len: usize) -> Option<(Reason, Fate)> {
        if self.role != Role::Guest {
            return None;
        }
        let (buckets, storm) = (&mut self.buckets, self.spec.storm);
        let (reason, bucket, rate, all) = match cast {
            Cast::Broadcast => {
                let bucket = &mut buckets.broadcast;
                (Reason::StormBroadcast, bucket, storm.broadcast, &mut buckets.bytes)
            }
            Cast::Multicast => {
                let bucket = &mut buckets.multicast;
                (Reason::StormMulticast, bucket, storm.multicast, &mut buckets.bytes)
            }
            Cast::Unicast => {
                let bucket = &mut buckets.unicast;
                (Reason::StormUnknown, bucket, storm.unknown, &mut buckets.unicast_bytes)
            }
        };
        let action = self.spec.actions.of(reason);
        if action == Action::Allow {
            return None;
        }
        let frames = rate.is_none_or(|rate| bucket.take(now, rate));
        let bytes = storm.bytes_per_second.is_none_or(|rate| {
            let len = u32::try_from(len).unwrap_or(u32::MAX);
            all.take_many(now, Rate::new(rate, rate), len)
        });
        let fate = if action == Action::Audit { Fate::Passed } else { Fate::Dropped };
        (!(frames && bytes)).then_some((reason, fate))
    }
}
