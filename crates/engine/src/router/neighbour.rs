//! The neighbours: which Ethernet address is behind an IP address, and how well that is known.
//!
//! # Theory of operation
//!
//! One table for ARP and neighbour discovery, with the states of RFC 4861 section 7.3.2. An entry is
//! made when a packet needs it, when a guest asks for an address of the router, or when a binding
//! says whose an address is. It is confirmed by an answer to a question of ours, and asked for again
//! when it is needed and was not confirmed for half a minute.
//!
//! Whom to believe:
//!
//! * About an address that is bound, its port alone, and if the binding names a MAC address, nobody:
//!   the binding is the answer.
//! * About any other address whoever answers first. While the neighbour is confirmed, a frame from
//!   another port does not change it; the neighbour that moved is found again when it is asked and
//!   does not answer, or within half a minute.
//!
//! What it may hold: entries that no binding made are bounded by
//! [`RouterLimits::neighbours`](super::RouterLimits::neighbours); a new one takes the place of one that is not in use. A port's
//! packets may have so many addresses asked for at a time, and addresses that did not answer count
//! as asked for until they are forgotten, so that a scan of a subnet costs its sender alone.

use alloc::collections::BTreeSet;
use core::net::IpAddr;
use core::time::Duration;

use wire::MacAddr;

use super::NeighbourState;
use super::spec::InterfaceId;
use super::waiting::List;
use crate::keyed_slab::{KeyedSlab, NO_NUMBER, Number};
use crate::time::Instant;

/// How long an answer is trusted (RFC 4861 section 10: 30 s).
const REACHABLE: Duration = Duration::from_secs(30);

/// How long after a packet for a neighbour that is not confirmed it is asked. Nothing up here sees
/// whether the packets arrive, so that the question always follows.
const DELAY: Duration = Duration::from_secs(5);

/// Time between two questions.
const RETRANSMIT: Duration = Duration::from_secs(1);

/// Questions before a neighbour counts as gone, to all and to itself.
const QUESTIONS: u8 = 3;

/// How long packets for a neighbour that did not answer are refused at once.
const FAILED: Duration = Duration::from_secs(3);

/// How long a neighbour is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(600);

/// A claim for an address that another station of the same port has just confirmed is not believed
/// for this long: two answers to one question.
const SETTLED: Duration = Duration::from_secs(1);

/// Neighbours that are found without a hash; a power of two.
const RECENT: usize = 256;

/// Entries that are looked at to find one that can go.
const SEARCH: usize = 64;

/// An address on the network of an interface, by its index.
pub(super) type Key = (u16, IpAddr);

/// Whose packet made the router ask: an interface, and a port of its network.
pub(super) type Asker = (InterfaceId, Option<u16>);

/// What a neighbour that is forgotten leaves behind, for its owner to settle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) waiting: List,
    pub(super) asked_by: Option<Asker>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) mac: Option<MacAddr>,
    pub(super) state: NeighbourState,
    /// The port that a binding says it is behind.
    pub(super) bound: Option<u16>,
    /// The port that said the MAC address.
    said_by: Option<u16>,
    confirmed: Instant,
    used: Instant,
    questions: u8,
    deadline: Option<Instant>,
    pub(super) waiting: List,
    /// Whose packet it was first asked for: interface and port.
    pub(super) asked_by: Option<Asker>,
}

/// What is to be done about a neighbour whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask all.
    Ask,
    /// Ask itself.
    Probe(MacAddr),
    /// It did not answer: what waits for it is refused.
    GiveUp,
    /// It is forgotten.
    Forget,
    /// Nothing.
    Rest,
}

/// What a claim changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// The neighbour is known now: what waits for it can go.
    Known,
    /// Nothing, as it was known.
    Old,
    /// Nothing, because it is not to be believed yet.
    NotNow,
    /// Nothing, because the address is somebody else's.
    Forged,
    /// There is no entry for the address.
    Unknown,
}

/// Somebody says who has an address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) mac: MacAddr,
    pub(super) port: Option<u16>,
    /// It answers a question.
    pub(super) solicited: bool,
    /// It is meant to change what was known.
    pub(super) overrides: bool,
}

/// Where a neighbour is noted when it is looked up.
#[inline]
fn recent_place(&(egress, address): &Key) -> usize {
    let low = match address {
        IpAddr::V4(ip) => ip.to_bits(),
        // The low half.
        IpAddr::V6(ip) => (ip.to_bits() & 0xffff_ffff) as u32,
    };
    (low as usize ^ usize::from(egress) << 4) % RECENT
}

#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) table: KeyedSlab<Key, Entry>,
    timers: BTreeSet<(Instant, Number)>,
    /// Entries that no binding made.
    learned: usize,
    limit: usize,
    /// Where the last search for one that can go ended.
    hand: usize,
    /// Entries that were looked up lately, by the low bits of their addresses: who is in use is few,
    /// and finding them here takes no hash. What a place names is looked at before it is believed.
    recent: [Number; RECENT],
}

impl Neighbours {
    pub(super) fn new(limit: usize, hash_key: &[u8; 16]) -> Self {
        Self {
            table: KeyedSlab::new(hash_key),
            timers: BTreeSet::new(),
            learned: 0,
            limit,
            hand: 0,
            recent: [NO_NUMBER; RECENT],
        }
    }

    /// The number of a neighbour, which is noted for [`Self::use_recent`].
    pub(super) fn look_up(&mut self, key: &Key) -> Option<Number> {
        let number = self.find(key)?;
        self.recent[recent_place(key)] = number;
        Some(number)
    }

    /// As [`Self::use_at`], for one of those that were looked up lately.
    #[inline]
    pub(super) fn use_recent(&mut self, key: &Key, now: Instant) -> Option<MacAddr> {
        self.use_at(self.recent[recent_place(key)], key, now)
    }

    #[inline]
    pub(super) fn find(&self, key: &Key) -> Option<Number> {
        self.table.find(key)
    }

    /// The address to send to, if the neighbour is known well enough; notes that it is used.
    #[inline]
    pub(super) fn use_at(&mut self, number: Number, key: &Key, now: Instant) -> Option<MacAddr> {
        let (its, entry) = self.table.at_mut(number)?;
        if its != *key {
            return None;
        }
        entry.used = now;
        match entry.state {
            NeighbourState::Bound
            | NeighbourState::Reachable
            | NeighbourState::Delay
            | NeighbourState::Probe => entry.mac,
            NeighbourState::Stale => {
                let mac = entry.mac;
                entry.state = NeighbourState::Delay;
                entry.questions = 0;
                self.set_deadline(number, Some(now + DELAY));
                mac
            }
            NeighbourState::Unknown | NeighbourState::Incomplete | NeighbourState::Failed => None,
        }
    }

    /// Whether one more entry that no binding made fits without forgetting another.
    pub(super) fn has_room(&self) -> bool {
        self.learned < self.limit
    }

    /// Room for one more entry that no binding made, by forgetting one that is not in use. The key of
    /// that one, or none if there is no room.
    pub(super) fn make_room(&mut self) -> Result<Option<Key>, ()> {
        if self.learned < self.limit {
            return Ok(None);
        }
        let numbers = self.table.numbers();
        let mut oldest: Option<(Instant, Key)> = None;
        for step in 0..numbers.min(SEARCH) {
            let at = (self.hand + step) % numbers.max(1);
            let Some((key, entry)) = Number::try_from(at).ok().and_then(|at| self.table.at(at))
            else {
                continue;
            };
            let idle = matches!(
                entry.state,
                NeighbourState::Stale | NeighbourState::Failed | NeighbourState::Reachable
            );
            if idle && entry.bound.is_none() && oldest.is_none_or(|(used, _)| entry.used < used) {
                oldest = Some((entry.used, *key));
            }
        }
        self.hand = (self.hand + SEARCH) % numbers.max(1);
        oldest.map(|(_, key)| Some(key)).ok_or(())
    }

    /// Adds an entry of which nothing is known; the caller has made room for it.
    pub(super) fn add(&mut self, key: Key, now: Instant, bound: Option<u16>) -> Number {
        self.learned += usize::from(bound.is_none());
        self.table.insert(
            key,
            Entry {
                mac: None,
                state: NeighbourState::Unknown,
                bound,
                said_by: None,
                confirmed: now,
                used: now,
                questions: 0,
                deadline: None,
                waiting: List::default(),
                asked_by: None,
            },
        )
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Left> {
        let (number, entry) = self.table.remove(key)?;
        if let Some(at) = entry.deadline {
            self.timers.remove(&(at, number));
        }
        self.learned -= usize::from(entry.bound.is_none());
        Some(Left { waiting: entry.waiting, asked_by: entry.asked_by })
    }

    /// Begins to ask for a neighbour.
    pub(super) fn ask(&mut self, number: Number, now: Instant) {
        if let Some((_, entry)) = self.table.at_mut(number) {
            entry.state = NeighbourState::Incomplete;
            entry.questions = 1;
            entry.used = now;
        }
        self.set_deadline(number, Some(now + RETRANSMIT));
    }

    /// A binding says whose an address is. True if that makes the neighbour known.
    pub(super) fn bind(&mut self, number: Number, mac: Option<MacAddr>, port: u16) -> bool {
        let Some((_, entry)) = self.table.at_mut(number) else { return false };
        if entry.bound.replace(port).is_none() {
            self.learned -= 1;
        }
        let Some((_, entry)) = self.table.at_mut(number) else { return false };
        if let Some(mac) = mac {
            entry.mac = Some(mac);
            entry.state = NeighbourState::Bound;
            self.set_deadline(number, None);
            return true;
        }
        if entry.state == NeighbourState::Bound || entry.said_by.is_some_and(|its| its != port) {
            entry.mac = None;
            entry.said_by = None;
            if entry.state != NeighbourState::Incomplete {
                entry.state = NeighbourState::Unknown;
                self.set_deadline(number, None);
            }
        }
        false
    }

    /// Somebody says who has an address.
    pub(super) fn claim(&mut self, key: &Key, said: Said, now: Instant) -> Claim {
        let Some(number) = self.table.find(key) else { return Claim::Unknown };
        let Some((_, entry)) = self.table.at_mut(number) else { return Claim::Unknown };
        let Said { mac, port, solicited, overrides } = said;
        // What came in by no port is the engine's own answer, from the same bindings.
        if port.is_some() && entry.bound.is_some() && entry.bound != port {
            return Claim::Forged;
        }
        let known = match entry.state {
            NeighbourState::Bound if entry.mac == Some(mac) => return Claim::Old,
            NeighbourState::Bound => return Claim::Forged,
            NeighbourState::Unknown | NeighbourState::Incomplete | NeighbourState::Failed => None,
            _ => entry.mac,
        };
        match known {
            Some(known) if known == mac && !solicited => return Claim::Old,
            Some(known) if known == mac => {}
            Some(_) => {
                let settled = entry.state != NeighbourState::Stale
                    && (entry.said_by != port || now < entry.confirmed + SETTLED);
                if !overrides || settled {
                    return Claim::NotNow;
                }
            }
            None => {}
        }
        entry.mac = Some(mac);
        entry.said_by = port;
        entry.confirmed = now;
        entry.questions = 0;
        let (state, time) = if solicited {
            (NeighbourState::Reachable, REACHABLE)
        } else {
            (NeighbourState::Stale, IDLE)
        };
        entry.state = state;
        self.set_deadline(number, Some(now + time));
        Claim::Known
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The next neighbour whose time has come, and what is to be done.
    pub(super) fn due(&mut self, now: Instant) -> Option<(Number, Key, Due)> {
        let &(at, number) = self.timers.first()?;
        if at > now {
            return None;
        }
        let Some((key, entry)) = self.table.at_mut(number) else {
            self.timers.remove(&(at, number));
            return Some((number, (0, IpAddr::from([0; 4])), Due::Rest));
        };
        let (due, next) = match (entry.state, entry.mac) {
            (NeighbourState::Incomplete, _) if entry.questions < QUESTIONS => {
                entry.questions += 1;
                (Due::Ask, Some(RETRANSMIT))
            }
            (NeighbourState::Incomplete, _) => {
                entry.state = NeighbourState::Failed;
                (Due::GiveUp, Some(FAILED))
            }
            (NeighbourState::Reachable, _) => {
                entry.state = NeighbourState::Stale;
                (Due::Rest, Some(IDLE))
            }
            (NeighbourState::Delay | NeighbourState::Probe, Some(mac))
                if entry.questions < QUESTIONS =>
            {
                entry.state = NeighbourState::Probe;
                entry.questions += 1;
                (Due::Probe(mac), Some(RETRANSMIT))
            }
            (NeighbourState::Stale, _) if now < entry.used + IDLE => (Due::Rest, Some(IDLE)),
            _ => (Due::Forget, None),
        };
        self.set_deadline(number, next.map(|time| now + time));
        Some((number, key, due))
    }

    /// Forgets an entry, or what it said if a binding holds it: then its queue and who asked stay
    /// behind, empty. Gives back what the caller has to settle.
    pub(super) fn forget(&mut self, number: Number) -> Option<Left> {
        let (key, entry) = self.table.at_mut(number)?;
        if entry.bound.is_none() {
            return self.remove(&key);
        }
        entry.mac = None;
        entry.said_by = None;
        entry.state = NeighbourState::Unknown;
        let (waiting, asked_by) = (core::mem::take(&mut entry.waiting), entry.asked_by.take());
        self.set_deadline(number, None);
        Some(Left { waiting, asked_by })
    }

    fn set_deadline(&mut self, number: Number, at: Option<Instant>) {
        let Some((_, entry)) = self.table.at_mut(number) else { return };
        if let Some(old) = core::mem::replace(&mut entry.deadline, at) {
            self.timers.remove(&(old, number));
        }
        if let Some(at) = at {
            self.timers.insert((at, number));
        }
    }

    /// The keys of entries that a port said something about.
    pub(super) fn said_by(&self, interface: u16, port: u16) -> alloc::vec::Vec<Key> {
        let its = self.table.iter().filter(|(_, key, entry)| {
            key.0 == interface
                && entry.state != NeighbourState::Bound
                && (entry.said_by == Some(port) || entry.bound == Some(port))
        });
        its.map(|(_, key, _)| *key).collect()
    }

    /// The keys of an interface's entries that `unwanted` says.
    pub(super) fn keys_of(
        &self,
        interface: u16,
        unwanted: impl Fn(IpAddr) -> bool,
    ) -> alloc::vec::Vec<Key> {
        let its = self.table.iter().filter(|(_, key, _)| key.0 == interface && unwanted(key.1));
        its.map(|(_, key, _)| *key).collect()
    }
}
