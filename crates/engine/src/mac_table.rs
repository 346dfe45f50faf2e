//! Which address is behind which port.
//!
//! # Theory of operation
//!
//! Two tables. *Bound* addresses belong to a port by configuration, or are *reserved* for a guest
//! that is away; they hold in every VLAN of the network and never age. *Learned* addresses belong
//! to the port that used them first, per VLAN, and age: one that was not used for the ageing time
//! counts as absent everywhere, and is removed by a sweep.
//!
//! * An address that is bound is not learned, on any port, in any VLAN: binding removes what was
//!   learned.
//! * A learned address does not move while its port is alive and it has not aged. The newcomer is
//!   refused.
//! * A port may learn a number of addresses, the network another; whoever meets a bound is refused.
//!   Half of the table is shared out among the ports that there may be, and each is sure of its
//!   *share*; the other half is for whoever needs more, first come first served. So ports that use
//!   as many addresses as they may cannot keep others from having some. Addresses that aged count
//!   against all bounds until the sweep removed them.
//!
//! * A guest that may have one address, and that the guard looks at, keeps it for as long as its port
//!   lives, silent or not, and what is outside is kept from those inside for an hour: see [`Hold`].
//!
//! Ageing has a resolution of 2^20 nanoseconds (1.05 ms), so that an entry fits 16 bytes.

mod hold;
mod sweep;

use alloc::vec::Vec;

pub(crate) use hold::Hold;
use sweep::Sweep;

use crate::classify::Work;
use crate::keyed::{Key, Keyed, Place};
use crate::plan::NetworkSpec;
use crate::port::NO_PORT;
use crate::reason::Reason;
use crate::time::{Instant, TICK_SHIFT, Tick, instant};

/// A learned entry's value: 48 bits of the tick it was last seen, 16 of the port.
#[derive(Clone, Copy)]
struct Seen(u64);

impl Seen {
    #[inline]
    fn new(port: u16, tick: Tick) -> Self {
        Self(tick << 16 | u64::from(port))
    }

    #[inline]
    fn port(self) -> u16 {
        self.0 as u16
    }

    #[inline]
    fn tick(self) -> Tick {
        self.0 >> 16
    }
}

/// A bound entry's value: 16 bits of the port, one that says whether the address is also reserved, and
/// one that is always set, so that no value is zero.
#[derive(Clone, Copy)]
struct Binding(u64);

impl Binding {
    fn new(port: u16, reserved: bool) -> Self {
        Self(1 << 17 | u64::from(reserved) << 16 | u64::from(port))
    }

    #[inline]
    fn port(self) -> Option<u16> {
        Some(self.0 as u16).filter(|&port| port != NO_PORT)
    }

    fn is_reserved(self) -> bool {
        self.0 >> 16 & 1 == 1
    }
}

/// Where frames for an address go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Unknown,
    Port(u16),
    /// Reserved, and its guest is away.
    Away,
}

/// What became of a source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is the port's.
    Known,
    /// It was not known, and is the port's now.
    New,
    /// It is the port's own by configuration.
    Own,
    /// It is not the port's, for this reason; the port that has it, if one has.
    Refused(Reason, Option<u16>),
}

#[derive(Debug)]
pub(crate) struct MacTable {
    bound: Keyed,
    learned: Keyed,
    /// What there is to know of each port, by its index.
    per_port: Vec<PerPort>,
    ageing: Tick,
    /// What each port is sure of.
    share: u32,
    /// What there is beyond the shares, for all ports together.
    common: usize,
    /// How many addresses ports have learned beyond their shares.
    beyond: usize,
    sweep: Sweep,
}

/// One port's part of the table.
#[derive(Clone, Copy, Debug, Default)]
struct PerPort {
    /// How many addresses it has learned.
    count: u32,
    hold: Hold,
    /// When its aged addresses may be looked for again.
    next_look: Tick,
}

/// A configured or learned entry, for `netherd show`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) port: Option<u16>,
    pub(crate) reserved: bool,
    /// Ticks of the last use; none for bound entries.
    pub(crate) seen: Option<Instant>,
}

impl MacTable {
    pub(crate) fn new(hash_key: &[u8; 16], network: &NetworkSpec) -> Self {
        let mut table = Self {
            bound: Keyed::new(hash_key),
            learned: Keyed::new(hash_key),
            per_port: Vec::new(),
            ageing: 0,
            share: 0,
            common: 0,
            beyond: 0,
            sweep: Sweep::default(),
        };
        table.configure(network);
        table
    }

    /// New limits. Entries beyond them stay until they age.
    pub(crate) fn configure(&mut self, network: &NetworkSpec) {
        let nanos = u64::try_from(network.mac_ageing.as_nanos()).unwrap_or(u64::MAX);
        self.ageing = nanos.div_ceil(1 << TICK_SHIFT).max(1);
        let (total, ports) = (network.mac_total, network.ports.max(1));
        self.share = u32::try_from(total / 2 / ports).unwrap_or(u32::MAX);
        self.common = total.saturating_sub(self.share as usize * ports);
        self.beyond = self.per_port.iter().map(|port| self.beyond_share(port.count)).sum();
        if !self.learned.is_empty() {
            self.sweep.due = Some(0);
        }
    }

    pub(crate) fn add_port(&mut self, port: u16) {
        let needed = usize::from(port) + 1;
        if self.per_port.len() < needed {
            self.per_port.resize(needed, PerPort::default());
        }
    }

    /// How long what a port has learned is kept for it.
    pub(crate) fn set_hold(&mut self, port: u16, hold: Hold) {
        if let Some(port) = self.per_port.get_mut(usize::from(port))
            && port.hold != hold
        {
            port.hold = hold;
            if port.count > 0 {
                self.sweep.due = Some(0);
            }
        }
    }

    /// Forgets what a port has learned.
    pub(crate) fn forget_learned(&mut self, port: u16) {
        let count = self.count(port);
        if count > 0 {
            self.learned.remove_all(|_, value| Seen(value).port() == port);
            self.sweep.disturbed = true;
            self.beyond -= self.beyond_share(count);
            if let Some(port) = self.per_port.get_mut(usize::from(port)) {
                port.count = 0;
            }
        }
    }

    /// How many of a port's addresses are beyond its share.
    fn beyond_share(&self, count: u32) -> usize {
        count.saturating_sub(self.share) as usize
    }

    /// Whether the table has no room for one more address of this port.
    fn is_full_for(&self, port: u16) -> bool {
        self.count(port) >= self.share && self.beyond >= self.common
    }

    /// Forgets everything that was learned.
    pub(crate) fn forget_all_learned(&mut self) {
        self.learned.remove_all(|_, _| true);
        self.per_port.iter_mut().for_each(|port| port.count = 0);
        self.beyond = 0;
        self.sweep = Sweep::default();
    }

    /// The port that has `mac` by configuration.
    pub(crate) fn owner(&self, mac: u64) -> Option<u16> {
        self.bound.get(Key::new(0, mac)).and_then(|value| Binding(value).port())
    }

    /// The port of a bound address, or that it is reserved; none if it is neither.
    pub(crate) fn binding_of(&self, mac: u64) -> Option<Option<u16>> {
        self.bound.get(Key::new(0, mac)).map(|value| Binding(value).port())
    }

    /// Every bound or reserved address with its port.
    pub(crate) fn bound_rows(&self) -> impl Iterator<Item = (u64, Option<u16>)> + '_ {
        self.bound.iter().map(|(key, value)| (key.mac(), Binding(value).port()))
    }

    /// Binds addresses to a port, and forgets where they were learned. The caller has checked that
    /// no other port has them.
    pub(crate) fn bind(&mut self, macs: impl Iterator<Item = u64>, port: u16) {
        let fresh: Vec<u64> =
            macs.filter(|&mac| self.change_binding(mac, |_, kept| (Some(port), kept))).collect();
        self.forget_addresses(&fresh);
    }

    /// Ends a port's binding; the address stays reserved if it was.
    pub(crate) fn unbind(&mut self, mac: u64) {
        self.change_binding(mac, |_, kept| (None, kept));
    }

    /// Keeps `mac` for a guest that may be away, or no longer.
    pub(crate) fn reserve(&mut self, mac: u64, reserved: bool) {
        if self.change_binding(mac, |port, _| (port, reserved)) {
            self.forget_addresses(&[mac]);
        }
    }

    /// Changes the port and the reservation of an address. True if it was not bound before.
    fn change_binding(
        &mut self,
        mac: u64,
        change: impl FnOnce(Option<u16>, bool) -> (Option<u16>, bool),
    ) -> bool {
        let key = Key::new(0, mac);
        let place = self.bound.find(key);
        let old = place.and_then(|place| self.bound.at(place, key)).map(Binding);
        let (port, reserved) =
            change(old.and_then(Binding::port), old.is_some_and(Binding::is_reserved));
        let wanted = port.is_some() || reserved;
        let value = Binding::new(port.unwrap_or(NO_PORT), reserved).0;
        match place {
            Some(place) if wanted => self.bound.set(place, value),
            Some(place) => self.bound.remove_at(place as usize),
            None if wanted => {
                self.bound.insert(key, value);
            }
            None => {}
        }
        wanted && place.is_none()
    }

    /// Forgets where addresses were learned, in every VLAN.
    fn forget_addresses(&mut self, macs: &[u64]) {
        let Self { learned, per_port, sweep, share, beyond, .. } = self;
        if macs.is_empty() || learned.is_empty() {
            return;
        }
        let removed = learned.remove_all(|key, value| {
            let hit = macs.contains(&key.mac());
            if hit && let Some(port) = per_port.get_mut(usize::from(Seen(value).port())) {
                port.count -= 1;
                *beyond -= usize::from(port.count >= *share);
            }
            hit
        });
        sweep.disturbed |= removed > 0;
    }

    #[inline]
    pub(crate) fn has_bound(&self) -> bool {
        !self.bound.is_empty()
    }

    #[inline]
    pub(crate) fn has_learned(&self) -> bool {
        !self.learned.is_empty()
    }

    /// The learned table, for the first passes of ingress.
    #[inline]
    pub(crate) fn learned(&self) -> &Keyed {
        &self.learned
    }

    /// The bound table, likewise.
    #[inline]
    pub(crate) fn bound(&self) -> &Keyed {
        &self.bound
    }

    /// The port that has an address, bound or learned.
    pub(crate) fn port_of(&self, vid: u16, mac: u64, now: Tick) -> Option<u16> {
        let key = Key::new(vid, mac);
        match self.destination(key, now) {
            Destination::Port(port) => Some(port),
            Destination::Unknown | Destination::Away => None,
        }
    }

    /// Where a frame for this address goes, in full: also when it was not found at the first try.
    pub(crate) fn destination(&self, key: Key, now: Tick) -> Destination {
        if let Some(bound) = self.bound.get(key.anywhere()) {
            return Binding(bound).port().map_or(Destination::Away, Destination::Port);
        }
        match self.learned.get(key) {
            Some(value) if now < self.end(Seen(value)) => Destination::Port(Seen(value).port()),
            _ => Destination::Unknown,
        }
    }

    /// Has the lines of large tables fetched that the first tries will look at. A processor waits for
    /// as many of them at a time as it sees ahead, and that is many more here than among the look-ups
    /// themselves.
    #[inline(never)]
    pub(crate) fn fetch(&self, work: &[Work]) {
        if self.learned.is_large() {
            let lines = work.iter().fold(0, |all, work| {
                all ^ self.learned.fetch(work.src_home) ^ self.learned.fetch(work.dst_home)
            });
            core::hint::black_box(lines);
        }
        if self.bound.is_large() {
            let lines = work.iter().fold(0, |all, work| all ^ self.bound.fetch(work.bound_home));
            core::hint::black_box(lines);
        }
    }

    /// The port where the first try finds the address, bound or learned and not aged; else
    /// [`NO_PORT`], which says nothing.
    #[inline]
    pub(crate) fn try_destination(&self, work: &Work, now: Tick) -> u16 {
        if self.has_bound() {
            let bound = self.bound.first_try(work.bound_home, work.dst.anywhere());
            if bound != 0 {
                return bound as u16;
            }
        }
        let seen = self.learned.first_try(work.dst_home, work.dst);
        if seen == 0 || self.aged(Seen(seen), now) { NO_PORT } else { Seen(seen).port() }
    }

    /// Whether the first try finds the source address to be this port's by learning. Refreshes it.
    ///
    /// Not one that has aged: that it is known again must not be seen by frames that came before.
    #[inline]
    pub(crate) fn try_source(&mut self, work: &Work, port: u16, now: Tick) -> bool {
        let oldest = now.saturating_sub(self.ageing);
        match self.learned.first_try_mut(work.src_home, work.src) {
            Some(value) if Seen(*value).port() == port && Seen(*value).tick() > oldest => {
                // Written in any case: to ask whether it is another value costs more.
                *value = Seen::new(port, now).0.max(*value);
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn aged(&self, seen: Seen, now: Tick) -> bool {
        now.saturating_sub(seen.tick()) >= self.ageing
    }

    /// The quick case of [`Self::learn`]: the entry at `place` is this port's. Refreshes it.
    #[inline]
    pub(crate) fn refresh(&mut self, place: Place, key: Key, port: u16, now: Tick) -> bool {
        match self.learned.at(place, key) {
            Some(value) if Seen(value).port() == port => {
                let fresh = Seen::new(port, now);
                if fresh.0 > value {
                    self.learned.set(place, fresh.0);
                }
                true
            }
            _ => false,
        }
    }

    /// When an entry is nobody's any more, if it is not used again.
    fn end(&self, seen: Seen) -> Tick {
        let hold = self.hold(seen.port());
        hold.time(self.ageing).map_or(Tick::MAX, |time| seen.tick() + time)
    }

    fn hold(&self, port: u16) -> Hold {
        self.per_port.get(usize::from(port)).map_or(Hold::Ageing, |port| port.hold)
    }

    /// Whether `port` may not have what another port has learned.
    fn is_kept_from(&self, seen: Seen, port: u16, now: Tick) -> bool {
        let both = [self.hold(seen.port()), self.hold(port)];
        // Outside a station moves as from port to port of any bridge.
        let outside = both == [Hold::Outside; 2];
        if outside { !self.aged(seen, now) } else { now < self.end(seen) }
    }

    /// Takes note that `port` uses an address, if it may.
    pub(crate) fn learn(&mut self, key: Key, port: u16, max: u32, now: Tick) -> Source {
        let mut place = self.learned.find(key);
        if place.is_some_and(|place| self.refresh(place, key, port, now)) {
            return Source::Known;
        }
        if (self.count(port) >= max || self.is_full_for(port)) && self.give_up_aged(port, now) {
            place = self.learned.find(key);
        }
        if let Some(place) = place {
            let seen = Seen(self.learned.at(place, key).unwrap_or(0));
            if self.is_kept_from(seen, port, now) {
                return Source::Refused(Reason::MacMoved, Some(seen.port()));
            }
            // The old owner has been silent for too long. Its entry changes hands, if the newcomer
            // has room.
            if self.count(port) >= max {
                return Source::Refused(Reason::MacLimit, None);
            }
            self.remove_one(seen.port());
            if self.is_full_for(port) {
                self.add_one(seen.port());
                return Source::Refused(Reason::MacTableFull, None);
            }
            self.add_one(port);
            self.learned.set(place, Seen::new(port, now).0);
            return Source::New;
        }
        if let Some(refused) = self.check_bound(key.mac(), port) {
            return refused;
        }
        if self.count(port) >= max {
            return Source::Refused(Reason::MacLimit, None);
        }
        if self.is_full_for(port) {
            return Source::Refused(Reason::MacTableFull, None);
        }
        let (_, moved) = self.learned.insert(key, Seen::new(port, now).0);
        self.sweep.disturbed |= moved;
        self.add_one(port);
        if let Some(time) = self.hold(port).time(self.ageing) {
            self.sweep.due.get_or_insert(now + time);
        }
        Source::New
    }

    /// Makes room for a port that wants another address: what is kept for it longer than for others
    /// is given up if it has aged. Looked for now and then only, because all of the table is looked at.
    fn give_up_aged(&mut self, port: u16, now: Tick) -> bool {
        let ageing = self.ageing;
        let Some(its) = self.per_port.get_mut(usize::from(port)) else { return false };
        if its.hold == Hold::Ageing || now < its.next_look {
            return false;
        }
        its.next_look = now + (ageing / 8).max(1);
        let removed = self.learned.remove_all(|_, value| {
            let seen = Seen(value);
            seen.port() == port && now.saturating_sub(seen.tick()) >= ageing
        });
        (0..removed).for_each(|_| self.remove_one(port));
        self.sweep.disturbed |= removed > 0;
        removed > 0
    }

    /// Whether the address is bound: to this port, or elsewhere.
    pub(crate) fn check_bound(&self, mac: u64, port: u16) -> Option<Source> {
        if self.bound.is_empty() {
            return None;
        }
        Some(match Binding(self.bound.get(Key::new(0, mac))?).port() {
            Some(owner) if owner == port => Source::Own,
            owner => Source::Refused(Reason::MacBound, owner),
        })
    }

    fn count(&self, port: u16) -> u32 {
        self.per_port.get(usize::from(port)).map_or(0, |port| port.count)
    }

    fn add_one(&mut self, port: u16) {
        if let Some(port) = self.per_port.get_mut(usize::from(port)) {
            self.beyond += usize::from(port.count >= self.share);
            port.count += 1;
        }
    }

    fn remove_one(&mut self, port: u16) {
        if let Some(port) = self.per_port.get_mut(usize::from(port)) {
            port.count -= 1;
            self.beyond -= usize::from(port.count >= self.share);
        }
    }

    /// Every entry, in no order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        let bound = self.bound.iter().map(|(key, value)| Row {
            key,
            port: Binding(value).port(),
            reserved: Binding(value).is_reserved(),
            seen: None,
        });
        let learned = self.learned.iter().map(|(key, value)| Row {
            key,
            port: Some(Seen(value).port()),
            reserved: false,
            seen: Some(instant(Seen(value).tick())),
        });
        bound.chain(learned)
    }
}
