//! Ways to guests that carry less than their network does.
//!
//! # Theory of operation
//!
//! A guest may be a router, with a tunnel behind it: then the router on the way to whom a datagram is for says
//! that it is too long (RFC 4443, 3.2). Nobody outside could be told, since the kernel has taken the datagram
//! for us; so what follows is cut as it goes (RFC 8201; RFC 8200, 4.5). TCP has its own for each
//! connection. In IPv4 the routers cut themselves what we send.
//!
//! Only the guest whose flow it is may say so, and what it says ends after [`LIFETIME`] (RFC 8201, 5.3), or with
//! the guest or the address. There are at most [`PATHS_MAX`], of which no guest has more than are left for
//! others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use engine::Instant;
use ipnet::IpNet;
use wire::ipv6::MTU_MIN;

use crate::guests::GuestKey;
use crate::keyed::Keyed;
use crate::share;

/// Ways that are remembered.
const PATHS_MAX: usize = 256;

/// How long one is, before the next datagram may find out whether it carries more.
const LIFETIME: Duration = Duration::from_secs(600);

#[derive(Debug)]
struct Path {
    /// Bytes of an IP packet.
    mtu: u16,
    guest: GuestKey,
    until: Instant,
}

/// What is known of the ways to guests, by where they lead.
#[derive(Debug)]
pub(crate) struct PathMtus {
    paths: HashMap<Ipv6Addr, Path, Keyed>,
}

impl PathMtus {
    pub(crate) fn new(keyed: Keyed) -> Self {
        Self { paths: HashMap::with_hasher(keyed) }
    }

    /// Bytes of an IP packet that the way to this address carries, of a network that carries `most`.
    #[inline]
    pub(crate) fn of(&self, destination: IpAddr, most: usize) -> usize {
        match destination {
            IpAddr::V6(v6) if !self.paths.is_empty() => {
                self.paths.get(&v6).map_or(most, |path| most.min(path.mtu.into()))
            }
            _ => most,
        }
    }

    /// A router tells how much the way to an address of this guest's carries. False if that is no news, or
    /// there is no place for it.
    pub(crate) fn learn(
        &mut self,
        now: Instant,
        guest: GuestKey,
        destination: Ipv6Addr,
        told: u32,
        most: usize,
    ) -> bool {
        // No way carries less, whatever a router says (RFC 8201, 4).
        let mtu = u16::try_from(told).unwrap_or(u16::MAX).max(MTU_MIN);
        if usize::from(mtu) >= most {
            return false;
        }
        let until = now + LIFETIME;
        if let Some(known) = self.paths.get_mut(&destination).filter(|known| known.guest == guest) {
            // Nor does it come to carry more that way.
            known.mtu = known.mtu.min(mtu);
            known.until = until;
            return true;
        }
        let own = self.paths.values().filter(|path| path.guest == guest).count();
        if !share::allows(own, self.paths.len(), PATHS_MAX) {
            return false;
        }
        self.paths.insert(destination, Path { mtu, guest, until });
        true
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.paths.values().map(|path| path.until).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.paths.retain(|_, path| path.until > now);
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.paths.retain(|_, path| path.guest != guest);
    }

    /// Addresses belong to nobody any more, or to another.
    pub(crate) fn addresses_gone(&mut self, addresses: IpNet) {
        self.paths.retain(|address, _| !addresses.contains(&IpAddr::V6(*address)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: GuestKey = GuestKey(1);
    const B: GuestKey = GuestKey(2);

    fn address(number: u32) -> Ipv6Addr {
        Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(number))
    }

    #[test]
    fn a_way_carries_what_was_told_for_a_while() {
        let mut paths = PathMtus::new(Keyed::new([3; 16]));
        let mut now = Instant::EPOCH;
        let of = |paths: &PathMtus| paths.of(address(1).into(), 1500);
        for (told, news, mtu) in [
            (1500, false, 1500),
            (70_000, false, 1500),
            (1400, true, 1400),
            (1450, true, 1400),
            (68, true, 1280),
        ] {
            assert_eq!((paths.learn(now, A, address(1), told, 1500), of(&paths)), (news, mtu));
        }
        assert_eq!(paths.of(address(2).into(), 1500), 1500);
        assert_eq!(paths.of(address(1).into(), 1000), 1000, "the network carries less now");
        assert_eq!(paths.of([10, 0, 0, 1].into(), 1500), 1500);
        now = now + Duration::from_secs(500);
        assert!(paths.learn(now, A, address(1), 1400, 1500));
        now = now + Duration::from_secs(599);
        paths.handle_timeout(now);
        assert_eq!(of(&paths), 1280);
        now = now + Duration::from_secs(1);
        assert_eq!(paths.next_deadline(), Some(now));
        paths.handle_timeout(now);
        assert_eq!((of(&paths), paths.next_deadline()), (1500, None));
    }

    #[test]
    fn they_are_bounded_and_end_with_their_guest_or_address() {
        let mut paths = PathMtus::new(Keyed::new([3; 16]));
        let now = Instant::EPOCH;
        let learnt = (0..1000).filter(|n| paths.learn(now, A, address(*n), 1400, 1500)).count();
        assert_eq!(learnt, PATHS_MAX / 2);
        assert!(paths.learn(now, B, address(5000), 1300, 1500));
        let learnt = (6000..7000).filter(|n| paths.learn(now, B, address(*n), 1400, 1500)).count();
        assert_eq!((learnt, paths.paths.len()), (PATHS_MAX / 4 - 1, PATHS_MAX * 3 / 4));
        paths.guest_gone(A);
        assert_eq!(paths.of(address(2).into(), 1500), 1500);
        assert_eq!(paths.of(address(5000).into(), 1500), 1300);
        paths.addresses_gone(IpNet::from(IpAddr::V6(address(5000))));
        assert_eq!(paths.of(address(5000).into(), 1500), 1500);
    }
}
