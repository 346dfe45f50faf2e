//! How often the router speaks, and for whom.

use crate::time::Instant;

/// Ports share this many accounts, by the remainder of their index, so that an interface's memory
/// does not depend on how many ports its network may have.
pub(super) const ACCOUNTS: usize = 256;

/// The account of frames that came in by no port: those of the gateway.
const GATEWAY: usize = ACCOUNTS - 1;

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

/// The place of a port's account.
pub(super) fn account_of(port: Option<u16>) -> usize {
    port.map_or(GATEWAY, |index| usize::from(index) % ACCOUNTS)
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
}
