//! Which client has which IPv4 address.
//!
//! # Theory of operation
//!
//! A client is a MAC address and, where it sends one, an identifier (RFC 2131, 2). The MAC address
//! is what the guard vouches for, so a lease is never handed from one MAC address to another while
//! it runs; only one that has ended is found again by the identifier alone. One MAC address with
//! two identifiers is two clients; without one on either side it is the same (a boot loader, then
//! a system).
//!
//! An address that was a client's stays its own after the lease has ended, as long as nobody else
//! needs it. A new client gets the address that its MAC address and identifier hash to, or the
//! next that is free, so that it mostly gets the same one even if everything here was lost.
//!
//! # Who pays when there is too little
//!
//! A guest has at most so many leases; for one more, its own oldest gives way. When every address
//! is taken, these are reused, in this order: ended leases, the oldest first; offers that were not
//! taken up; leases of guests that are gone; and if the new client's guest has none at all, the
//! oldest of the guest that has the most, if that is more than one. So no guest, and no row of
//! guests that come and go, can keep another from having an address.
//!
//! An address that its client finds in use by somebody else is not given to anybody for
//! [`DECLINED`]; a guest can have [`DECLINED_PER_GUEST`] such addresses, its oldest gives way.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::net::Ipv4Addr;
use std::time::Duration;

use engine::Instant;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use wire::MacAddr;

use crate::GuestKey;

/// Leases that are remembered, of all kinds.
pub const LEASES_MAX: usize = 1024;
/// How long an offer is kept for its client.
pub const OFFERED: Duration = Duration::from_secs(60);
/// How long an address that is in use by somebody else is left alone.
pub const DECLINED: Duration = Duration::from_secs(600);
/// Addresses that one guest can have left alone.
pub const DECLINED_PER_GUEST: usize = 4;

/// One lease, as it is kept in the state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedLease {
    pub address: Ipv4Addr,
    /// Six bytes of the client's hardware address.
    pub mac: [u8; 6],
    /// What the client calls itself to servers (RFC 2132, 9.14); empty if nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_id: Vec<u8>,
    /// What the client calls itself to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// When it ends or ended, in seconds since 1970.
    pub until: u64,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) mac: MacAddr,
    /// Empty if it has none, or only its MAC address in other words.
    pub(crate) id: Vec<u8>,
}

impl Client {
    /// `id` as it was sent.
    pub(crate) fn new(mac: MacAddr, id: &[u8]) -> Self {
        // The type of the hardware, Ethernet, and its address.
        let is_mac = id.split_first() == Some((&1, &mac.0));
        Self { mac, id: if is_mac { Vec::new() } else { id.to_vec() } }
    }

    /// Whether both are one client.
    fn is(&self, other: &Client) -> bool {
        self.mac == other.mac && (self.id == other.id || self.id.is_empty() || other.id.is_empty())
    }
}

/// Where a lease is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The client was told of it and has not taken it yet.
    Offered,
    Bound,
    /// Over; the address is free, and still its last client's favourite.
    Ended,
    /// Somebody else has the address.
    Declined,
}

/// One address that is more than free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) client: Client,
    pub(crate) host_name: Option<String>,
    /// The port it is used on; `None` when that is gone.
    pub(crate) guest: Option<GuestKey>,
    pub(crate) state: State,
    /// When the state ends, or since when it has ended.
    pub(crate) until: Instant,
    /// Larger is later.
    given: u64,
}

impl Lease {
    /// Nobody else can have the address just now.
    fn is_held(&self) -> bool {
        matches!(self.state, State::Bound | State::Offered)
    }

    /// What gives way first is smallest: an offer, then what was given or renewed longest ago.
    fn age(self: &&Self) -> (bool, u64, Instant) {
        (self.state == State::Bound, self.given, self.until)
    }
}

/// An address changed its owner against the will of the last one, or ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Expired(Ipv4Addr),
    Reclaimed(Ipv4Addr),
}

/// All leases of one network.
#[derive(Debug)]
pub(crate) struct Leases {
    /// First address, and the one behind the last.
    range: std::ops::Range<u32>,
    per_guest: usize,
    by_address: BTreeMap<Ipv4Addr, Lease>,
    /// When states end, those of ended leases excepted.
    due: BTreeSet<(Instant, Ipv4Addr)>,
    given: u64,
    /// Addresses that are planned for somebody, whatever happens here.
    reserved: BTreeSet<Ipv4Addr>,
}

impl Leases {
    /// Leases of addresses from `first` to before `end`.
    pub(crate) fn new(first: Ipv4Addr, end: Ipv4Addr, per_guest: usize) -> Self {
        Self {
            range: first.to_bits()..end.to_bits(),
            per_guest: per_guest.max(1),
            by_address: BTreeMap::new(),
            due: BTreeSet::new(),
            given: 0,
            reserved: BTreeSet::new(),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_address.values()
    }

    /// The same leases in another range, without those that are outside of it.
    pub(crate) fn move_to(&mut self, other: Leases) -> Vec<Lost> {
        self.range = other.range;
        self.per_guest = other.per_guest;
        let outside: Vec<Ipv4Addr> = self
            .by_address
            .keys()
            .filter(|address| !self.range.contains(&address.to_bits()))
            .copied()
            .collect();
        outside.into_iter().filter_map(|address| self.take_away(address)).collect()
    }

    /// Addresses that leases are never given for. Who has one loses it.
    pub(crate) fn reserve(&mut self, reserved: BTreeSet<Ipv4Addr>) -> Vec<Lost> {
        self.reserved = reserved;
        let taken: Vec<Ipv4Addr> =
            self.reserved.iter().filter(|at| self.by_address.contains_key(at)).copied().collect();
        taken.into_iter().filter_map(|address| self.take_away(address)).collect()
    }

    /// Whether leases are given for this address.
    pub(crate) fn is_ours(&self, address: Ipv4Addr) -> bool {
        self.range.contains(&address.to_bits()) && !self.reserved.contains(&address)
    }

    /// The lease of an address that is this client's, whatever its state, except a declined one.
    pub(crate) fn of(&self, client: &Client, address: Ipv4Addr) -> Option<&Lease> {
        self.by_address
            .get(&address)
            .filter(|lease| lease.client.is(client) && lease.state != State::Declined)
    }

    /// The address for a client that asks for any, or for `wish`. It is offered from then on.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        guest: GuestKey,
        client: &Client,
        wish: Option<Ipv4Addr>,
        lost: &mut Vec<Lost>,
    ) -> Option<Ipv4Addr> {
        if let Some(address) = self.remembered(client) {
            let lease = self.by_address.get(&address)?;
            let mut lease = lease.clone();
            // Also for one that is bound and was another guest's: its client has moved here.
            if lease.state != State::Bound || lease.guest != Some(guest) {
                self.make_room_for(guest, Some(address), lost);
            }
            if lease.state != State::Bound {
                lease.state = State::Offered;
                lease.until = now + OFFERED;
            }
            lease.client = client.clone();
            lease.guest = Some(guest);
            self.put(lease);
            return Some(address);
        }
        let recycled = self.own_oldest(guest);
        let address = match recycled {
            Some(own) => own,
            None => self.free(client, wish).or_else(|| self.reclaimable(guest))?,
        };
        lost.extend(self.take_away(address));
        self.put(Lease {
            address,
            client: client.clone(),
            host_name: None,
            guest: Some(guest),
            state: State::Offered,
            until: now + OFFERED,
            given: 0,
        });
        Some(address)
    }

    /// Gives this address to a client until `until`; false if it is not for him.
    pub(crate) fn bind(
        &mut self,
        guest: GuestKey,
        client: &Client,
        address: Ipv4Addr,
        host_name: Option<String>,
        until: Instant,
        lost: &mut Vec<Lost>,
    ) -> bool {
        if !self.is_ours(address) {
            return false;
        }
        match self.by_address.get(&address) {
            Some(lease) if lease.state == State::Declined => return false,
            Some(lease) if lease.client.is(client) || lease.state == State::Ended => {}
            Some(_) => return false,
            None if self.by_address.len() >= LEASES_MAX => return false,
            None => {}
        }
        // A client has one address: it has moved here.
        let others: Vec<Ipv4Addr> = self
            .by_address
            .values()
            .filter(|lease| {
                lease.address != address
                    && lease.client.mac == client.mac
                    && lease.client.id == client.id
                    && lease.is_held()
            })
            .map(|lease| lease.address)
            .collect();
        for other in others {
            lost.extend(self.take_away(other));
        }
        self.make_room_for(guest, Some(address), lost);
        self.given += 1;
        self.put(Lease {
            address,
            client: client.clone(),
            host_name,
            guest: Some(guest),
            state: State::Bound,
            until,
            given: self.given,
        });
        true
    }

    /// The client gives its address back; false if it is not his.
    pub(crate) fn release(&mut self, now: Instant, client: &Client, address: Ipv4Addr) -> bool {
        let Some(mut lease) = self.of(client, address).cloned() else { return false };
        if lease.state == State::Ended {
            return false;
        }
        lease.state = State::Ended;
        lease.until = now;
        self.put(lease);
        true
    }

    /// Somebody else has this address; false if no lease of it is known.
    pub(crate) fn decline(&mut self, now: Instant, address: Ipv4Addr) -> bool {
        let Some(mut lease) = self.by_address.get(&address).cloned() else { return false };
        let mut own: Vec<(Instant, Ipv4Addr)> = self
            .by_address
            .values()
            .filter(|other| other.state == State::Declined && other.guest == lease.guest)
            .map(|other| (other.until, other.address))
            .collect();
        own.sort_unstable();
        let too_many = (own.len() + 1).saturating_sub(DECLINED_PER_GUEST);
        for (_, oldest) in own.into_iter().take(too_many) {
            self.forget(oldest);
        }
        lease.state = State::Declined;
        lease.until = now + DECLINED;
        self.put(lease);
        true
    }

    /// The port is gone: its leases run on, and may be reclaimed. What was only
    /// offered, or declined, is free: nobody fills the table by coming and going.
    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        let own: Vec<Ipv4Addr> = self
            .by_address
            .values()
            .filter(|lease| lease.guest == Some(guest))
            .map(|lease| lease.address)
            .collect();
        for address in own {
            match self.by_address.get_mut(&address) {
                Some(lease) if matches!(lease.state, State::Offered | State::Declined) => {
                    self.forget(address);
                }
                Some(lease) => lease.guest = None,
                None => {}
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// Ends what is due, and gives the leases that ended.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Lost> {
        let mut lost = Vec::new();
        while let Some((_, address)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            match self.by_address.get(&address).cloned() {
                Some(mut lease) if lease.state == State::Bound => {
                    lease.state = State::Ended;
                    self.put(lease);
                    lost.push(Lost::Expired(address));
                }
                _ => self.forget(address),
            }
        }
        lost
    }

    /// Takes a lease that was kept; false if it does not fit.
    pub(crate) fn restore(
        &mut self,
        client: Client,
        lease: SavedLease,
        until: Instant,
        over: bool,
    ) -> bool {
        if !self.is_ours(lease.address)
            || self.by_address.contains_key(&lease.address)
            || self.by_address.len() >= LEASES_MAX
        {
            return false;
        }
        self.given += 1;
        self.put(Lease {
            address: lease.address,
            client,
            host_name: lease.host_name,
            guest: None,
            state: if over { State::Ended } else { State::Bound },
            until,
            given: self.given,
        });
        true
    }

    fn put(&mut self, lease: Lease) {
        let address = lease.address;
        let due = (lease.state != State::Ended).then_some((lease.until, address));
        if let Some(old) = self.by_address.insert(address, lease) {
            self.due.remove(&(old.until, address));
        }
        self.due.extend(due);
    }

    fn forget(&mut self, address: Ipv4Addr) {
        if let Some(old) = self.by_address.remove(&address) {
            self.due.remove(&(old.until, address));
        }
    }

    /// Forgets a lease, and says so if it was running.
    fn take_away(&mut self, address: Ipv4Addr) -> Option<Lost> {
        let bound = self.by_address.get(&address)?.state == State::Bound;
        self.forget(address);
        bound.then_some(Lost::Reclaimed(address))
    }

    /// The address that is or was this client's.
    fn remembered(&self, client: &Client) -> Option<Ipv4Addr> {
        let usable = |lease: &&Lease| lease.state != State::Declined && self.is_ours(lease.address);
        let mine = self.by_address.values().filter(usable);
        // Exactly this client, then one that may be, then another interface of the same client.
        let rank = |lease: &Lease| {
            if lease.client == *client {
                Some(0)
            } else if lease.client.is(client) {
                Some(1)
            } else if lease.state == State::Ended
                && !client.id.is_empty()
                && lease.client.id == client.id
            {
                Some(2)
            } else {
                None
            }
        };
        mine.filter_map(|lease| Some((rank(lease)?, std::cmp::Reverse(lease.given), lease.address)))
            .min()
            .map(|(_, _, address)| address)
    }

    fn held(&self, guest: GuestKey) -> impl Iterator<Item = &Lease> {
        self.by_address.values().filter(move |lease| lease.guest == Some(guest) && lease.is_held())
    }

    /// The lease that a guest gives up for another one, if it has as many as it may: an offer
    /// first, then the oldest.
    fn own_oldest(&self, guest: GuestKey) -> Option<Ipv4Addr> {
        let full = self.held(guest).count() >= self.per_guest;
        self.held(guest).filter(|_| full).min_by_key(Lease::age).map(|lease| lease.address)
    }

    /// Sees to it that the guest may have one more lease, besides that of `but`.
    fn make_room_for(&mut self, guest: GuestKey, but: Option<Ipv4Addr>, lost: &mut Vec<Lost>) {
        // Ends: one goes each time.
        loop {
            let others = || self.held(guest).filter(|lease| Some(lease.address) != but);
            if others().count() < self.per_guest {
                return;
            }
            let Some(oldest) = others().min_by_key(Lease::age).map(|lease| lease.address) else {
                return;
            };
            lost.extend(self.take_away(oldest));
        }
    }

    /// An address that nobody has had: the client's wish, or where it hashes to.
    fn free(&self, client: &Client, wish: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let unknown =
            |address: &Ipv4Addr| self.is_ours(*address) && !self.by_address.contains_key(address);
        if self.by_address.len() >= LEASES_MAX {
            return None;
        }
        if let Some(wish) = wish.filter(unknown) {
            return Some(wish);
        }
        let count = self.range.end.saturating_sub(self.range.start);
        // The key is fixed on purpose, as that of planned addresses: the same client gets the same
        // address after everything was lost. It costs as many steps as there are leases at most.
        let mut hasher = SipHasher24::new_with_key(b"netherd lease v1");
        hasher.write(&client.mac.0);
        hasher.write(&client.id);
        let start = u32::try_from(hasher.finish() >> 32).unwrap_or(0).checked_rem(count)?;
        (0..count)
            .map(|step| Ipv4Addr::from_bits(self.range.start + (start + step) % count))
            .find(unknown)
    }

    /// The address that gives way when all are taken.
    fn reclaimable(&self, guest: GuestKey) -> Option<Ipv4Addr> {
        let ours = || self.by_address.values().filter(|lease| self.is_ours(lease.address));
        let ended = ours().filter(|lease| lease.state == State::Ended).min_by_key(|l| l.until);
        let gone = || {
            ours()
                .filter(|lease| lease.state == State::Bound && lease.guest.is_none())
                .min_by_key(|lease| lease.given)
        };
        if let Some(lease) = ended.or_else(gone) {
            return Some(lease.address);
        }
        if self.held(guest).next().is_some() {
            return None;
        }
        let mut counts: BTreeMap<GuestKey, usize> = BTreeMap::new();
        for lease in ours().filter(|lease| lease.is_held()) {
            if let Some(holder) = lease.guest {
                *counts.entry(holder).or_insert(0) += 1;
            }
        }
        let (richest, _) =
            counts.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(_, count)| *count)?;
        self.held(richest).min_by_key(Lease::age).map(|lease| lease.address)
    }
}
