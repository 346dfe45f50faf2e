//! How often the router speaks, and for whom.

use alloc::vec::Vec;

use crate::rate::{Bucket, Rate};

/// So many a second, of which a tenth of a second's worth, and at least ten, may come at once beside
/// the one that is due; none if there are to be none.
pub(super) fn rate(per_second: u32) -> Rate {
    if per_second == 0 {
        return Rate::new(0, 0);
    }
    Rate::new(per_second, (per_second / 10).max(10) + 1)
}

/// What the router does because of one port's frames.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Account {
    pub(super) errors: Bucket,
    pub(super) echoes: Bucket,
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
    use crate::time::Instant;
    use core::time::Duration;

    #[test]
    fn a_rate_is_kept_over_time_and_exceeded_for_a_moment_only() {
        for per_second in [1, 10, 100, 1000] {
            let mut limit = Bucket::default();
            let start = Instant::from_nanos(5_000_000_000);
            let mut allowed = 0;
            for milli in 0..10_000 {
                for _ in 0..3 {
                    let now = start + Duration::from_millis(milli);
                    allowed += u32::from(limit.take(now, rate(per_second)));
                }
            }
            let (burst, all) = ((per_second / 10).max(10) + 1, per_second * 10);
            assert!((all..=all + burst).contains(&allowed), "{per_second}: {allowed}");
        }
        assert!(!Bucket::default().take(Instant::EPOCH, rate(0)));
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
