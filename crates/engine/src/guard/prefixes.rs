//! Prefixes that routers announce for stateless configuration (checks 34 and 38; RFC 4862, 5.5.3).
//!
//! Guests take addresses of them, and what is of one is of this link. Those of the network's own router
//! and those of the outside do not compete for places: whatever is said out there, what the network
//! itself announces is known. Where the outside says more than is remembered, the prefix that ends first
//! gives way. None is believed for longer than routers usually say ([`LONGEST`]), so among those for long
//! it is the one that was not heard for the longest time. What holds for hosts holds here: nobody outside
//! ends a prefix at once.

use core::net::Ipv6Addr;
use core::time::Duration;

use arrayvec::ArrayVec;
use ipnet::Ipv6Net;

use crate::time::Instant;

/// Prefixes of routers outside that are remembered.
const OUTSIDE_MAX: usize = 8;

/// Prefixes of the network's own router: as many as one of its advertisements may have.
const OWN_MAX: usize = 16;

/// For how long a prefix that is not repeated is remembered at most: what routers say if they are told
/// nothing else (RFC 4861, 6.2.1: AdvValidLifetime, 30 days).
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Less than this is left only of what had not more before (RFC 4862, 5.5.3 e).
const TWO_HOURS: Duration = Duration::from_secs(2 * 3600);

/// A prefix, and until when it holds.
type Known = (Ipv6Net, Instant);

#[derive(Debug, Default)]
pub(crate) struct Prefixes {
    own: ArrayVec<Known, OWN_MAX>,
    outside: ArrayVec<Known, OUTSIDE_MAX>,
}

impl Prefixes {
    /// The network's own router announces a prefix; for no time, if it is over.
    pub(super) fn own(&mut self, now: Instant, prefix: Ipv6Net, valid: Duration) {
        let prefix = prefix.trunc();
        match self.own.iter_mut().find(|(known, _)| *known == prefix) {
            Some((_, until)) => *until = now + valid,
            None if !valid.is_zero() => note(&mut self.own, (prefix, now + valid)),
            None => {}
        }
    }

    /// A router outside announces a prefix.
    pub(super) fn outside(&mut self, now: Instant, prefix: Ipv6Net, valid: Duration) {
        let prefix = prefix.trunc();
        if self.own.iter().any(|(known, until)| *known == prefix && *until > now) {
            return;
        }
        let end = now + valid.min(LONGEST);
        match self.outside.iter_mut().find(|(known, _)| *known == prefix) {
            Some((_, until)) if valid > TWO_HOURS || end > *until => *until = end,
            Some((_, until)) => *until = (*until).min(now + TWO_HOURS),
            None if !valid.is_zero() => note(&mut self.outside, (prefix, end)),
            None => {}
        }
    }

    /// Whether a router announced a prefix that the address is of, be it over or not.
    pub(super) fn had(&self, address: Ipv6Addr) -> bool {
        self.all().any(|(prefix, _)| prefix.contains(&address))
    }

    /// Whether a router announces a prefix that the address is of.
    pub(super) fn have(&self, now: Instant, address: Ipv6Addr) -> bool {
        self.all().any(|(prefix, until)| *until > now && prefix.contains(&address))
    }

    /// Whether the network's own router announces something of a prefix.
    pub(super) fn own_meet(&self, now: Instant, prefix: &Ipv6Net) -> bool {
        some_meet(&self.own, now, prefix)
    }

    /// Whether a router outside announces something of a prefix.
    pub(super) fn outside_meet(&self, now: Instant, prefix: &Ipv6Net) -> bool {
        some_meet(&self.outside, now, prefix)
    }

    fn all(&self) -> impl Iterator<Item = &Known> {
        self.own.iter().chain(&self.outside)
    }
}

/// Whether something of a prefix is of one that is announced.
fn some_meet(announced: &[Known], now: Instant, prefix: &Ipv6Net) -> bool {
    announced.iter().any(|(known, until)| *until > now && meet(known, prefix))
}

/// Whether two prefixes have an address in common.
pub(super) fn meet(one: &Ipv6Net, other: &Ipv6Net) -> bool {
    one.contains(other) || other.contains(one)
}

/// Takes note of a prefix that is not known, instead of the one that ends first if there are too many.
fn note<const MAX: usize>(known: &mut ArrayVec<Known, MAX>, prefix: Known) {
    if known.is_full() {
        let first = known.iter().enumerate().min_by_key(|(_, (_, until))| *until);
        if let Some((place, _)) = first {
            known.remove(place);
        }
    }
    let _ = known.try_push(prefix);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(number: u16) -> Ipv6Net {
        Ipv6Net::new(Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 9), 64).expect("a prefix")
    }

    const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

    #[test]
    fn nobody_outside_ends_one_at_once() {
        let now = Instant::from_nanos(1);
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        // What was announced for so many hours, what was said then, and what is left.
        for (before, said, left) in
            [(9, 0, 2), (9, 1, 2), (9, 3, 3), (1, 0, 1), (1, 2, 2), (2, 0, 2), (1, 9, 9)]
        {
            let mut prefixes = Prefixes::default();
            let ip = net(1).addr();
            prefixes.outside(now, net(1), hours(before));
            prefixes.outside(now, net(1), hours(said));
            let end = now + hours(left);
            assert!(prefixes.have(now, ip) && !prefixes.have(end, ip), "{before} {said}");
            assert!(prefixes.have(now + (hours(left) - Duration::from_nanos(1)), ip));
            assert!(prefixes.had(ip) && !prefixes.had(net(2).addr()));
            // The network itself does, and nobody else about its own.
            prefixes.own(now, net(1), hours(before));
            prefixes.own(now, net(2), hours(before));
            prefixes.outside(now, net(2), FOREVER);
            prefixes.own(now, net(2), Duration::ZERO);
            assert!(!prefixes.have(now, net(2).addr()), "{before} {said}");
        }
        let mut prefixes = Prefixes::default();
        prefixes.outside(now, net(1), Duration::ZERO);
        assert!(!prefixes.had(net(1).addr()));
    }

    #[test]
    fn the_one_that_ends_first_gives_way() {
        let mut prefixes = Prefixes::default();
        let mut now = Instant::from_nanos(1);
        for number in 1..=16 {
            prefixes.own(now, net(number), Duration::from_secs(60));
        }
        prefixes.outside(now, net(100), FOREVER);
        for number in 101..1000 {
            now = now + Duration::from_millis(1);
            prefixes.outside(now, net(number), FOREVER);
            // Who says so again from time to time is not forgotten for those who do not.
            if number % 4 == 0 {
                prefixes.outside(now, net(100), Duration::from_secs(u32::MAX.into()));
            }
        }
        assert!(prefixes.have(now, net(100).addr()) && prefixes.have(now, net(999).addr()));
        assert!(!prefixes.had(net(990).addr()));
        assert!((1..=16).all(|number| prefixes.have(now, net(number).addr())));
        assert!(!prefixes.have(now + LONGEST, net(999).addr()));
        // What is over is in the place of nothing that is not.
        prefixes.own(now, net(17), Duration::ZERO);
        assert!((1..=16).all(|number| prefixes.have(now, net(number).addr())));
        prefixes.own(now, net(17), Duration::from_secs(60));
        assert_eq!((1..=17).filter(|number| prefixes.had(net(*number).addr())).count(), 16);
    }
}
