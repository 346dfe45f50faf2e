//! When to poll instead of sleeping.
//!
//! Going to sleep and being woken costs several microseconds each way. In a ping-pong the answer
//! comes before that, so polling a little is faster and no dearer. But polling that finds nothing
//! burns a processor, perhaps the one that the guest needs. So the wait adapts: it remembers how
//! long the last waits after traffic were, and polls only when the next is expected within
//! [`LONGEST`]. One long wait ends the polling; a few short ones bring it back. A worker that moves
//! no frames never polls.
//!
//! Bulk traffic waits shortly as well, but there polling only makes the batches smaller: the time
//! a wake-up takes is when the next frames gather. So polling is for a *dialogue*: turns of one
//! frame each, from another port than the turn before.

use std::time::Duration;

/// The longest time to poll.
pub(super) const LONGEST: Duration = Duration::from_micros(50);

/// A longer wait counts as this: how much one pause weighs against the short waits.
const PAUSE: Duration = Duration::from_micros(400);

/// Two looks at the clock further apart than this mean that the processor was taken away: someone
/// else needs it more.
const PREEMPTED: Duration = Duration::from_micros(30);

#[derive(Debug)]
pub(super) struct Spin {
    /// Moving average of the waits after traffic.
    expected: Duration,
    /// How much the last turns were a dialogue, 0 to 255; a moving average too.
    dialogue: u16,
}

/// Of 255: most of the last turns.
const DIALOGUE: u16 = 190;

impl Default for Spin {
    fn default() -> Spin {
        // Starts without spinning: the first waits must earn it.
        Spin { expected: PAUSE, dialogue: 0 }
    }
}

impl Spin {
    /// How long to poll before sleeping, given whether the last turn moved frames.
    pub(super) fn window(&self, traffic: bool) -> Duration {
        if !traffic || self.expected > LONGEST || self.dialogue < DIALOGUE {
            return Duration::ZERO;
        }
        (self.expected * 2 + Duration::from_micros(5)).min(LONGEST)
    }

    /// A turn moved frames: so many, and the first of them from another port than the turn before.
    pub(super) fn turned(&mut self, frames: usize, other_port: bool) {
        let dialogue = if frames == 1 && other_port { 255 } else { 0 };
        self.dialogue = (self.dialogue * 7 + dialogue).div_ceil(8);
    }

    /// The wait after traffic took this long, polling and sleeping together.
    pub(super) fn waited(&mut self, wait: Duration) {
        let wait = wait.min(PAUSE);
        // Slow to believe in short waits, quick to give up.
        self.expected = (self.expected * 7 + wait) / 8;
    }

    /// The poll loop was interrupted for `gap`: tells whether to stop polling.
    pub(super) fn preempted(&mut self, gap: Duration) -> bool {
        gap > PREEMPTED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_is_earned_by_short_waits_and_lost_by_pauses() {
        let mut spin = Spin::default();
        assert_eq!(spin.window(true), Duration::ZERO);
        let mut short_waits = 0;
        for _ in 0..50 {
            spin.turned(1, true);
        }
        while spin.window(true) == Duration::ZERO {
            spin.waited(Duration::from_micros(8));
            short_waits += 1;
            assert!(short_waits < 100);
        }
        assert!((10..30).contains(&short_waits), "{short_waits} waits to earn it");
        assert!(spin.window(true) <= LONGEST);
        assert_eq!(spin.window(false), Duration::ZERO, "no traffic, no polling");
        for _ in 0..50 {
            spin.waited(Duration::from_micros(8));
        }
        assert!(spin.window(true) < Duration::from_micros(30));
        spin.waited(Duration::from_secs(1));
        assert_eq!(spin.window(true), Duration::ZERO, "one pause ends it");
    }

    #[test]
    fn bulk_traffic_is_not_polled_for() {
        let mut spin = Spin::default();
        for turn in 0..100 {
            spin.waited(Duration::from_micros(5));
            // Data in twos, each pair acknowledged.
            spin.turned(if turn % 2 == 0 { 2 } else { 1 }, true);
            assert_eq!(spin.window(true), Duration::ZERO);
        }
        for _ in 0..20 {
            spin.waited(Duration::from_micros(5));
            spin.turned(1, true);
        }
        assert!(spin.window(true) > Duration::ZERO);
        for _ in 0..3 {
            spin.turned(1, false);
        }
        assert_eq!(spin.window(true), Duration::ZERO, "one side goes on talking");
    }

    #[test]
    fn waits_longer_than_the_window_never_earn_it() {
        let mut spin = Spin::default();
        for _ in 0..1000 {
            spin.waited(Duration::from_micros(60));
            assert_eq!(spin.window(true), Duration::ZERO);
        }
    }
}
