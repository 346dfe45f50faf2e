//! How often the router speaks, and for whom.

use alloc::vec::Vec;

use crate::time::Instant;

/// A rate that may be exceeded for a moment: one time stamp (generic cell rate algorithm, ITU-T
/// I.371). It holds when the next event would be due if all came evenly.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rate(Instant);

impl Rate {
    /// Whether one more event is within `rate` a second; a tenth of a second's worth, and at least
    /// ten, may come at once.
    pub(super) fn allows(&mut self, now: Instant, rate: u32) -> bool {
        if rate == 0 {
            return false;
        }
        let interval = 1_000_000_000 / u64::from(rate);
        let burst = u64::from((rate / 10).max(10)).saturating_mul(interval);
        let due = self.0.as_nanos().max(now.as_nanos());
        if due - now.as_nanos() > burst {
            return false;
        }
        self.0 = Instant::from_nanos(due.saturating_add(interval));
        true
    }
}

/// What the router does because of one port's frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    pub(super) errors: Rate,
    pub(super) echoes: Rate,
    /// Neighbours that are asked for because of the port.
    pub(super) resolving: u16,
    /// Packets of the port that wait for neighbours.
    pub(super) waiting: u16,
}

/// One account for each port, and one for the gateway, whose frames come in by none. There are as
/// many as the network has had ports at a time.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    ports: Vec<Account>,
    gateway: Account,
}

impl Accounts {
    /// The account of a port, by its index, or of the gateway.
    pub(super) fn of(&mut self, port: Option<u16>) -> &mut Account {
        let Some(index) = port.map(usize::from) else { return &mut self.gateway };
        if self.ports.len() <= index {
            self.ports.resize(index + 1, Account::default());
        }
        self.ports.get_mut(index).unwrap_or(&mut self.gateway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn a_rate_is_kept_over_time_and_exceeded_for_a_moment_only() {
        for rate in [1, 10, 100, 1000] {
            let mut limit = Rate::default();
            let start = Instant::from_nanos(5_000_000_000);
            let mut allowed = 0;
            for milli in 0..10_000 {
                for _ in 0..3 {
                    let now = start + Duration::from_millis(milli);
                    allowed += u32::from(limit.allows(now, rate));
                }
            }
            let burst = (rate / 10).max(10) + 1;
            assert!((rate * 10..=rate * 10 + burst).contains(&allowed), "{rate}: {allowed}");
        }
        assert!(!Rate::default().allows(Instant::EPOCH, 0));
    }

    #[test]
    fn nobody_shares_an_account() {
        let mut accounts = Accounts::default();
        let all = [None, Some(0), Some(255), Some(256), Some(511), Some(u16::MAX)];
        for (nth, port) in (1..).zip(all) {
            accounts.of(port).waiting = nth;
        }
        for (nth, port) in (1..).zip(all) {
            assert_eq!(accounts.of(port).waiting, nth, "{port:?}");
        }
    }
}
