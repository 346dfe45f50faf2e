//! When to poll instead of sleeping.
//!
//! Going to sleep and being woken costs several microseconds each way. In a ping-pong the answer
//! comes before that, so polling a little is faster and no dearer. But polling that finds nothing
//! burns a processor, perhaps the one that the guest needs. So the wait adapts: it remembers how
//! long the last waits after traffic were, and polls only when the next is expected within
//! [`LONGEST`]. One long wait ends the polling; a few short ones bring it back. A worker that moves
//! no frames never polls.
//!
//! Who spoke last tells how long the wait will be: after a question the answer follows at once,
//! after the answer nothing does until somebody thinks of the next question. So what is remembered
//! is remembered for each speaker, the last few of them, and a slow dialogue is polled for after
//! its questions alone.
//!
//! Bulk traffic waits shortly as well, but there polling only makes the batches smaller: the time
//! a wake-up takes is when the next frames gather. So polling is for a *dialogue*: turns of one
//! frame each, from another port than the turn before.

use std::time::Duration;

use engine::PortId;

use super::NetworkId;

/// The longest time to poll.
pub(super) const LONGEST: Duration = Duration::from_micros(50);

/// A longer wait counts as this: how much one pause weighs against the short waits.
const PAUSE: Duration = Duration::from_micros(400);

/// How much shorter a wait would have been without sleep: what it takes a processor to wake.
const WAKING: Duration = Duration::from_micros(20);

/// Two looks at the clock further apart than this mean that the processor was taken away: someone
/// else needs it more.
const PREEMPTED: Duration = Duration::from_micros(30);

/// Speakers that are remembered.
const PLACES: usize = 16;

/// A port that handed in frames. Another may be taken for it once it is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Speaker {
    net: u32,
    port: usize,
}

impl Speaker {
    pub(super) fn new(net: NetworkId, port: PortId) -> Speaker {
        Speaker { net: net.0.index(), port: port.index() }
    }

    /// Where it is remembered. The first ports of a few networks do not meet.
    fn place(self) -> usize {
        (self.net as usize * 5 + self.port) % PLACES
    }
}

/// How a wait after traffic ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Polling found something.
    Polled,
    /// There was no polling.
    Slept,
    /// There was nothing within the window, and then there was sleep.
    InVain,
}

#[derive(Debug)]
pub(super) struct Spin {
    /// Moving averages of the waits after traffic, by who spoke last.
    expected: [(Option<Speaker>, Duration); PLACES],
    /// Who did.
    speaker: Option<Speaker>,
    /// How much the last turns were a dialogue, 0 to 255; a moving average too.
    dialogue: u16,
}

/// Of 255: most of the last turns.
const DIALOGUE: u16 = 190;

impl Default for Spin {
    fn default() -> Spin {
        // Starts without spinning: the first waits must earn it.
        Spin { expected: [(None, PAUSE); PLACES], speaker: None, dialogue: 0 }
    }
}

impl Spin {
    /// How long to poll before sleeping, given whether the last turn moved frames.
    pub(super) fn window(&mut self, traffic: bool) -> Duration {
        if !traffic || self.dialogue < DIALOGUE {
            return Duration::ZERO;
        }
        let expected = *self.expected();
        if expected > LONGEST {
            return Duration::ZERO;
        }
        (expected * 2 + Duration::from_micros(5)).min(LONGEST)
    }

    /// A turn moved so many frames, and this port was the last that handed in some.
    pub(super) fn turned(&mut self, frames: usize, speaker: Option<Speaker>) {
        let dialogue = if frames == 1 && self.speaker != speaker { 255 } else { 0 };
        self.dialogue = (self.dialogue * 7 + dialogue).div_ceil(8);
        self.speaker = speaker;
    }

    /// The wait after traffic took this long, polling and sleeping together.
    pub(super) fn waited(&mut self, wait: Duration, how: Wait) {
        let wait = match how {
            Wait::Polled => wait,
            Wait::Slept => wait.saturating_sub(WAKING),
            // A longer window would have been better, if there is one.
            Wait::InVain if wait < LONGEST => wait,
            Wait::InVain => PAUSE,
        };
        let expected = self.expected();
        // Slow to believe in short waits, quick to give up.
        *expected = (*expected * 7 + wait.min(PAUSE)) / 8;
    }

    /// The poll loop was interrupted for `gap`: tells whether to stop polling.
    pub(super) fn preempted(&self, gap: Duration) -> bool {
        gap > PREEMPTED
    }

    /// The expected wait after who spoke last. Another speaker may have had its place.
    fn expected(&mut self) -> &mut Duration {
        let place = self.speaker.map_or(0, Speaker::place);
        let (speaker, expected) = &mut self.expected[place];
        if *speaker != self.speaker {
            (*speaker, *expected) = (self.speaker, PAUSE);
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(8);

    /// Ports that speak in turn.
    #[derive(Default)]
    struct Talk {
        spin: Spin,
    }

    impl Talk {
        /// A turn with so many frames of this port, and how long is polled for the next.
        fn turn(&mut self, port: usize, frames: usize) -> Duration {
            self.spin.turned(frames, Some(Speaker { net: 0, port }));
            self.spin.window(true)
        }
    }

    #[test]
    fn polling_is_earned_by_short_waits_and_lost_by_pauses() {
        let mut talk = Talk::default();
        assert_eq!(talk.spin.window(true), Duration::ZERO);
        let mut earned = 0;
        while talk.turn(earned % 2, 1) == Duration::ZERO {
            talk.spin.waited(SHORT, Wait::Polled);
            earned += 1;
            assert!(earned < 200);
        }
        assert!((20..60).contains(&earned), "{earned} waits to earn it");
        assert!(talk.spin.window(true) <= LONGEST);
        assert_eq!(talk.spin.window(false), Duration::ZERO, "no traffic, no polling");
        for turn in 0..100 {
            talk.turn(turn % 2, 1);
            talk.spin.waited(SHORT, Wait::Polled);
        }
        assert!(talk.turn(0, 1) < Duration::from_micros(30));
        talk.spin.waited(Duration::from_secs(1), Wait::InVain);
        assert!(talk.turn(1, 1) > Duration::ZERO, "the other side is quick all the same");
        talk.spin.waited(SHORT, Wait::Polled);
        assert_eq!(talk.turn(0, 1), Duration::ZERO, "one pause ends it");
    }

    #[test]
    fn a_slow_dialogue_is_polled_for_after_its_questions() {
        let mut talk = Talk::default();
        let mut polled = 0;
        for _ in 0..200 {
            polled += u32::from(talk.turn(0, 1) > Duration::ZERO);
            talk.spin.waited(SHORT + WAKING, Wait::Slept);
            assert_eq!(talk.turn(1, 1), Duration::ZERO);
            talk.spin.waited(Duration::from_millis(3), Wait::Slept);
        }
        assert!((170..190).contains(&polled), "after {polled} of 200 questions");
    }

    #[test]
    fn bulk_traffic_is_not_polled_for() {
        let mut talk = Talk::default();
        for turn in 0..100 {
            // Data in twos, each pair acknowledged.
            assert_eq!(talk.turn(turn % 2, 2 - turn % 2), Duration::ZERO);
            talk.spin.waited(SHORT, Wait::Slept);
        }
        for turn in 0..20 {
            talk.turn(turn % 2, 1);
            talk.spin.waited(SHORT, Wait::Slept);
        }
        assert!(talk.turn(0, 1) > Duration::ZERO);
        for _ in 0..3 {
            talk.turn(0, 1);
        }
        assert_eq!(talk.spin.window(true), Duration::ZERO, "one side goes on talking");
    }

    #[test]
    fn waits_longer_than_the_window_never_earn_it() {
        let mut talk = Talk::default();
        for turn in 0..1000 {
            assert_eq!(talk.turn(turn % 2, 1), Duration::ZERO);
            talk.spin.waited(LONGEST + WAKING + SHORT, Wait::Slept);
        }
    }

    #[test]
    fn what_another_port_has_earned_counts_for_nobody_else() {
        let mut talk = Talk::default();
        for turn in 0..200 {
            talk.turn(turn % 2, 1);
            talk.spin.waited(SHORT, Wait::Polled);
        }
        assert!(talk.turn(0, 1) > Duration::ZERO);
        assert_eq!(talk.turn(PLACES + 1, 1), Duration::ZERO, "it has the place of the second");
        talk.spin.waited(SHORT, Wait::Slept);
        assert!(talk.turn(0, 1) > Duration::ZERO);
        talk.spin.waited(SHORT, Wait::Polled);
        assert_eq!(talk.turn(1, 1), Duration::ZERO);
    }
}
