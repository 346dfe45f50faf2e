//! What the guard of a network remembers: questions nobody answered, frames that were flooded,
//! groups, prefixes that routers announced, stations outside.

use alloc::boxed::Box;
use alloc::vec;
use core::hash::Hasher;
use core::net::IpAddr;
use core::time::Duration;

use siphasher::sip::SipHasher13;

use crate::guard::advertisement::Own;
use crate::guard::fast::Packed;
use crate::guard::groups::Groups;
use crate::guard::others::Others;
use crate::guard::prefixes::Prefixes;
use crate::guard::stations::Stations;
use crate::time::Instant;

/// Questions that are remembered.
const QUESTIONS: usize = 1024;

/// For how long a question that found nobody is not passed on again. Shorter than the second after
/// which stacks ask again (RFC 4861, 10: RETRANS_TIMER; Linux asks for IPv4 in the same rhythm).
const NEGATIVE: Duration = Duration::from_millis(900);

/// Flooded frames that are remembered.
const FLOODS: usize = 64;

/// For how long a flooded frame that comes back is known again.
const LOOP_TIME: Duration = Duration::from_secs(2);

/// A question: the port, and the VLAN and address that it asked for.
type Asked = (u16, u16, Packed);

const NOTHING: (Asked, Instant) = ((u16::MAX, 0, Packed::ANYBODY), Instant::EPOCH);

#[derive(Debug)]
pub(crate) struct Memory {
    hasher: SipHasher13,
    /// By the hash of what was asked.
    questions: Box<[(Asked, Instant)]>,
    floods: [(u64, Instant); FLOODS],
    next_flood: usize,
    pub(crate) groups: Groups,
    pub(crate) stations: Stations,
    pub(super) others: Others,
    pub(super) prefixes: Prefixes,
    /// What the network's own router announced last.
    pub(crate) own_advertisement: Option<Own>,
}

impl Memory {
    pub(crate) fn new(hash_key: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(hash_key),
            questions: vec![NOTHING; QUESTIONS].into_boxed_slice(),
            floods: [(0, Instant::EPOCH); FLOODS],
            next_flood: 0,
            groups: Groups::default(),
            stations: Stations::new(hash_key),
            others: Others::default(),
            prefixes: Prefixes::default(),
            own_advertisement: None,
        }
    }

    /// Whether `port` asked for `address` in this VLAN a moment ago. If not, it has now.
    pub(crate) fn asked(&mut self, now: Instant, port: u16, vid: u16, address: IpAddr) -> bool {
        let packed = Packed::new(address);
        let mut hasher = self.hasher;
        hasher.write_u64(packed.0);
        hasher.write_u64(packed.1);
        hasher.write_u16(port);
        hasher.write_u16(vid);
        #[expect(clippy::cast_possible_truncation)]
        let place = hasher.finish() as usize % QUESTIONS;
        let Some(entry) = self.questions.get_mut(place) else { return false };
        let (known, at) = *entry;
        let asked = (port, vid, packed);
        let again = known == asked && now.saturating_since(at) < NEGATIVE;
        if !again {
            *entry = (asked, now);
        }
        again
    }

    /// Forgets what was asked: an address has an owner now.
    pub(crate) fn forget_questions(&mut self) {
        self.questions.fill(NOTHING);
    }

    /// Takes note of a frame that is flooded.
    pub(crate) fn flooded(&mut self, now: Instant, bytes: &[u8]) {
        let digest = self.digest(bytes);
        if let Some(place) = self.floods.get_mut(self.next_flood) {
            *place = (digest, now);
        }
        self.next_flood = (self.next_flood + 1) % FLOODS;
    }

    /// Whether this frame was flooded a moment ago.
    pub(crate) fn was_flooded(&self, now: Instant, bytes: &[u8]) -> bool {
        let digest = self.digest(bytes);
        self.floods
            .iter()
            .any(|(other, at)| *other == digest && now.saturating_since(*at) < LOOP_TIME)
    }

    /// A number for some bytes in parts, of which nobody who does not know the key finds two that have
    /// the same.
    pub(super) fn fingerprint(&self, parts: &[&[u8]]) -> u64 {
        let mut hasher = self.hasher;
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        hasher.finish()
    }

    fn digest(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(bytes.get(..128).unwrap_or(bytes));
        hasher.write_usize(bytes.len());
        hasher.finish() | 1
    }
}
