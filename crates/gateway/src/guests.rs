//! What each guest has of the tables, and may have.
//!
//! Flows of datagrams are counted here, those of TCP in its table; the bound of a guest is one
//! number for both. The bound is not a wall: a guest that meets it loses its own oldest idle flow, see
//! [`crate::Gateway`]; the bound of all guests together protects the process, and is met when two
//! guests are at theirs: then whoever has most of both kinds gives one up for one that has less.
//!
//! ICMP errors towards a guest have a rate, too: answering each of a flood would double it.

use std::collections::HashMap;

use engine::{Bucket, Instant, Rate};

use crate::counters::Reason;
use crate::keyed::Keyed;
use crate::plan::{Limits, Protocol};

/// ICMP errors that a guest gets per second, and at once.
const ERRORS: Rate = Rate::new(100, 64);

/// Who sent a packet: a number that its owner chose, and that stands for one port of the network
/// as long as that port lives. Limits are kept per guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GuestKey(pub u32);

/// Flows and error credit of all guests.
#[derive(Debug)]
pub struct Guests {
    limits: Limits,
    guests: HashMap<GuestKey, Guest, Keyed>,
    total: usize,
    flows: [usize; 3],
}

#[derive(Debug, Default)]
struct Guest {
    flows: usize,
    errors: Bucket,
}

impl Guests {
    pub(crate) fn new(limits: Limits, key: Keyed) -> Self {
        Self { limits, guests: HashMap::with_hasher(key), total: 0, flows: [0; 3] }
    }

    pub(crate) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    fn guest(&mut self, guest: GuestKey) -> &mut Guest {
        self.guests.entry(guest).or_default()
    }

    /// Whether the guest may have one more flow, and why not.
    ///
    /// # Errors
    /// [`Reason::GuestLimit`] or [`Reason::FlowLimit`].
    pub fn may_open(&self, guest: GuestKey) -> Result<(), Reason> {
        self.may_open_beside(guest, 0, 0)
    }

    /// As [`Self::may_open`], with flows that are counted elsewhere: of the guest, and of all.
    ///
    /// # Errors
    /// As [`Self::may_open`].
    pub fn may_open_beside(
        &self,
        guest: GuestKey,
        of_guest: usize,
        of_all: usize,
    ) -> Result<(), Reason> {
        let flows = self.guests.get(&guest).map_or(0, |guest| guest.flows);
        if flows + of_guest >= self.limits.flows_per_guest {
            return Err(Reason::GuestLimit);
        }
        if self.total + of_all >= self.limits.flows {
            return Err(Reason::FlowLimit);
        }
        Ok(())
    }

    /// Counts one more flow of the guest.
    ///
    /// # Errors
    /// As [`Self::may_open`]; nothing is changed.
    pub fn open(&mut self, guest: GuestKey, protocol: Protocol) -> Result<(), Reason> {
        self.may_open(guest)?;
        self.guest(guest).flows += 1;
        self.total += 1;
        self.flows[protocol as usize] += 1;
        Ok(())
    }

    /// Counts one flow less.
    pub fn close(&mut self, guest: GuestKey, protocol: Protocol) {
        if let Some(entry) = self.guests.get_mut(&guest) {
            debug_assert!(entry.flows > 0, "every flow that closes was opened");
            entry.flows = entry.flows.saturating_sub(1);
            self.total = self.total.saturating_sub(1);
            let of = &mut self.flows[protocol as usize];
            *of = of.saturating_sub(1);
        }
    }

    /// Takes credit for one ICMP error towards a guest; false if there is none.
    pub fn may_err(&mut self, now: Instant, guest: GuestKey) -> bool {
        self.guest(guest).errors.take(now, ERRORS)
    }

    /// Flows of datagrams of one guest.
    pub(crate) fn flows_of(&self, guest: GuestKey) -> usize {
        self.guests.get(&guest).map_or(0, |entry| entry.flows)
    }

    /// All guests that are known here.
    pub(crate) fn all(&self) -> impl Iterator<Item = GuestKey> + '_ {
        self.guests.keys().copied()
    }

    /// Forgets a guest whose flows have ended.
    pub(crate) fn forget(&mut self, guest: GuestKey) {
        if self.guests.get(&guest).is_some_and(|entry| entry.flows == 0) {
            self.guests.remove(&guest);
        }
    }

    /// Flows now: TCP, UDP, echo.
    #[must_use]
    pub fn flows(&self) -> [usize; 3] {
        self.flows
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn guests(flows: usize, flows_per_guest: usize) -> Guests {
        let limits = Limits { flows, flows_per_guest, ..Limits::default() };
        Guests::new(limits, Keyed::new([7; 16]))
    }

    #[test]
    fn one_bound_for_whatever_a_guest_opens() {
        let mut guests = guests(3, 2);
        let (a, b) = (GuestKey(1), GuestKey(2));
        guests.open(a, Protocol::Tcp).unwrap();
        guests.open(a, Protocol::Udp).unwrap();
        assert_eq!(guests.open(a, Protocol::Echo), Err(Reason::GuestLimit));
        guests.open(b, Protocol::Echo).unwrap();
        assert_eq!(guests.open(b, Protocol::Udp), Err(Reason::FlowLimit));
        assert_eq!(guests.flows(), [1, 1, 1]);
        guests.close(a, Protocol::Tcp);
        guests.open(b, Protocol::Udp).unwrap();
        assert_eq!(guests.flows(), [0, 2, 1]);
    }

    #[test]
    fn errors_have_a_rate() {
        let mut guests = guests(1, 1);
        let now = Instant::EPOCH + Duration::from_secs(1);
        let at_once = (0..1000).filter(|_| guests.may_err(now, GuestKey(1))).count();
        assert_eq!(at_once, 64);
        let later = now + Duration::from_millis(50);
        let then = (0..1000).filter(|_| guests.may_err(later, GuestKey(1))).count();
        assert_eq!(then, 5);
        assert!(guests.may_err(now, GuestKey(2)), "another guest has its own");
    }

    /// Of two errors that are 0.99 of what one costs after one another, the time beyond that counts too.
    #[test]
    fn errors_have_the_rate_that_was_promised_however_they_fall() {
        let mut guests = guests(1, 1);
        let now = Instant::EPOCH + Duration::from_secs(1);
        for _ in 0..ERRORS.burst {
            assert!(guests.may_err(now, GuestKey(1)));
        }
        let falls = (1..=1010).map(|n| now + Duration::from_micros(9900) * n);
        let sent = falls.filter(|at| guests.may_err(*at, GuestKey(1))).count();
        assert!((999..=1001).contains(&sent), "{sent}");
    }
}
