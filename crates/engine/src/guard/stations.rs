//! Addresses that are in use outside, and questions to the outside whether one is.
//!
//! # Theory of operation
//!
//! Behind an uplink there are stations that nobody told the network about: a router, servers, other
//! people's machines. What they say of themselves in ARP and neighbour discovery is remembered here,
//! VLAN by VLAN,
//! so that no guest takes a first-come address that one of them has. This memory is a help and not
//! the wall: it is bounded, and a station may have been silent for long. Therefore an address that
//! is not known is asked for before a port gets it (see [`claims`](super::claims)); the questions
//! wait here until the batch is decided.
//!
//! # Limits
//!
//! [`SETS`] times [`WAYS`] addresses; in a full set the one that was silent for the longest time is
//! forgotten. Sets are chosen by a keyed hash, so that nobody outside can choose whom the network
//! forgets. Questions that find no room are not asked, and the address is not given.

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::IpAddr;
use core::time::Duration;

use arrayvec::ArrayVec;
use ipnet::IpNet;
use siphasher::sip::SipHasher13;
use wire::MacAddr;

use crate::engine::Engine;
use crate::frame::Cast;
use crate::guard::Answer;
use crate::guard::fast::Packed;
use crate::guard::leases::Unproven;
use crate::pool::Pool;
use crate::role::Role;
use crate::time::Instant;

const SETS: usize = 512;
const WAYS: usize = 4;

/// For how long an address belongs to a station outside that is silent. Routers and servers are
/// heard several times in this time, also by those who are not talked to; one that starts anew keeps
/// its address.
const SILENCE: Duration = Duration::from_secs(600);

/// Questions of one batch.
const QUESTIONS: usize = 8;

/// A station's IP address and VLAN, its Ethernet address, and when it was heard.
type Heard = ((Packed, u16), MacAddr, Instant);

#[derive(Debug)]
pub(crate) struct Stations {
    hasher: SipHasher13,
    /// Empty until there is one.
    sets: Vec<[Heard; WAYS]>,
    questions: ArrayVec<(u16, Cast, Answer), QUESTIONS>,
    /// Leases of servers that have not been heard yet.
    pub(super) unproven: Unproven,
}

impl Stations {
    pub(super) fn new(hash_key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(hash_key),
            sets: Vec::new(),
            questions: ArrayVec::new(),
            unproven: Unproven::default(),
        }
    }

    fn place(&self, (address, vid): (Packed, u16)) -> usize {
        let mut hasher = self.hasher;
        hasher.write_u64(address.0);
        hasher.write_u64(address.1);
        hasher.write_u16(vid);
        #[expect(clippy::cast_possible_truncation)]
        let place = hasher.finish() as usize % SETS;
        place
    }

    /// A station outside has said that it has the address, in this VLAN.
    pub(super) fn note(&mut self, now: Instant, vid: u16, address: IpAddr, mac: MacAddr) {
        let address = (Packed::new(address), vid);
        let place = self.place(address);
        if self.sets.is_empty() {
            let nobody = ((Packed::default(), 0), MacAddr::ZERO, Instant::EPOCH);
            self.sets.resize(SETS, [nobody; WAYS]);
        }
        let Some(set) = self.sets.get_mut(place) else { return };
        let known = set.iter().position(|(known, ..)| *known == address);
        let oldest = || set.iter().enumerate().min_by_key(|(_, heard)| heard.2).map(|(way, _)| way);
        let way = known.or_else(oldest).unwrap_or(0);
        if let Some(entry) = set.get_mut(way) {
            *entry = (address, mac, now);
        }
    }

    /// Whether a station outside is known to have the address, another than the one with this
    /// Ethernet address: a guest may have moved in from there.
    pub(super) fn has(&self, now: Instant, vid: u16, address: IpAddr, but: MacAddr) -> bool {
        self.mac_of(now, vid, address).is_some_and(|mac| mac != but)
    }

    /// The Ethernet address of the station outside that is known to have the address.
    pub(super) fn mac_of(&self, now: Instant, vid: u16, address: IpAddr) -> Option<MacAddr> {
        let address = (Packed::new(address), vid);
        let mut set = self.sets.get(self.place(address))?.iter();
        let known = set.find(|(known, ..)| *known == address);
        known.filter(|(.., heard)| now.saturating_since(*heard) < SILENCE).map(|(_, mac, _)| *mac)
    }

    /// Whether a station outside, another than the one with this Ethernet address, is known to have an
    /// address of a prefix. All are looked through.
    pub(super) fn has_of(&self, now: Instant, vid: u16, prefix: IpNet, but: MacAddr) -> bool {
        self.sets.iter().flatten().any(|((address, known), mac, heard)| {
            *known == vid
                && *mac != but
                && now.saturating_since(*heard) < SILENCE
                && prefix.contains(&address.address())
        })
    }

    /// Has a question sent to the outside, in this VLAN. False if there is no room for it.
    pub(super) fn ask(&mut self, vid: u16, cast: Cast, question: Answer) -> bool {
        self.questions.try_push((vid, cast, question)).is_ok()
    }
}

impl Engine {
    /// Whether somebody could be outside, in this VLAN.
    pub(super) fn has_outside(&self, vid: u16) -> bool {
        // An uplink is among those that may serve.
        self.servers
            .iter()
            .filter_map(|&index| self.ports.at(index))
            .any(|port| port.spec.role == Role::Uplink && port.carries(vid, false))
    }

    /// Sends the questions that a batch left.
    #[inline]
    pub(crate) fn ask_outside(&mut self, pool: &mut Pool) {
        if !self.memory.stations.questions.is_empty() {
            self.send_questions(pool);
        }
    }

    #[cold]
    fn send_questions(&mut self, pool: &mut Pool) {
        for (vid, cast, question) in core::mem::take(&mut self.memory.stations.questions) {
            let mut nth = 0;
            while let Some(index) = self.ports.nth(nth) {
                nth += 1;
                let outside = self
                    .ports
                    .at(index)
                    .is_some_and(|port| port.spec.role == Role::Uplink && port.carries(vid, false));
                if outside {
                    self.send_own(pool, index, vid, cast, &question);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn address(number: u32) -> IpAddr {
        Ipv4Addr::from(0xc0a8_0000 | number).into()
    }

    #[test]
    fn remembered_for_a_time_and_bounded() {
        let mut stations = Stations::new(&[7; 16]);
        let now = Instant::from_nanos(7);
        assert!(!stations.has(now, 1, address(1), MacAddr::ZERO));
        stations.note(now, 1, address(1), MAC);
        let nearly = now + (SILENCE - Duration::from_nanos(1));
        assert!(
            stations.has(nearly, 1, address(1), MacAddr::ZERO)
                && !stations.has(now + SILENCE, 1, address(1), MacAddr::ZERO)
        );
        assert!(!stations.has(nearly, 1, address(1), MAC), "it is this station");
        // A hundred thousand others: one that is heard of now and then is not forgotten for those
        // that are heard of once, as long as it is heard of often enough.
        for number in 2..100_000 {
            stations.note(now + Duration::from_nanos(number.into()), 1, address(number), MAC);
            if number % 256 == 0 {
                stations.note(now + Duration::from_nanos(number.into()), 1, address(1), MAC);
            }
        }
        assert!(stations.has(now + Duration::from_micros(200), 1, address(1), MacAddr::ZERO));
        assert_eq!(stations.sets.len(), SETS);
    }

    #[test]
    fn questions_are_bounded() {
        let mut stations = Stations::new(&[7; 16]);
        for _ in 0..QUESTIONS {
            assert!(stations.ask(1, Cast::Broadcast, Answer::new()));
        }
        assert!(!stations.ask(1, Cast::Broadcast, Answer::new()));
    }
}
