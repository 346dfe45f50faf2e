//! Removing what has ended.
//!
//! The sweep looks at a bounded number of slots per call and starts when the first entry may have
//! ended, but not more often than eight times per ageing time, so that a table with steadily ageing
//! entries is not walked all the time. What has no end asks for none.

use crate::mac_table::{MacTable, Seen};
use crate::time::Instant;
use crate::time::{Tick, instant};

/// How many slots one step looks at.
const STEP: usize = 4096;

/// The state of the sweep.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// When it starts, or goes on; none when nothing ends.
    pub(super) due: Option<Tick>,
    /// The next slot, while one is under way.
    cursor: Option<usize>,
    /// The first end of an entry that it has kept.
    first: Tick,
    /// Entries moved under its feet: it may have missed some.
    pub(super) disturbed: bool,
}

impl MacTable {
    /// When [`Self::sweep`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.sweep.due.map(instant)
    }

    /// One bounded step of the sweep, if it is due.
    pub(crate) fn sweep(&mut self, now: Tick) {
        if self.sweep.due.is_none_or(|due| now < due) {
            return;
        }
        let mut place = self.sweep.cursor.unwrap_or_else(|| {
            self.sweep.first = Tick::MAX;
            self.sweep.disturbed = false;
            0
        });
        let slots = self.learned.slots();
        for _ in 0..STEP {
            let Some((_, value)) = self.learned.peek(place) else {
                place += 1;
                if place >= slots {
                    break;
                }
                continue;
            };
            let seen = Seen(value);
            let end = self.end(seen);
            if now >= end {
                self.learned.remove_at(place);
                self.remove_one(seen.port());
            } else {
                self.sweep.first = self.sweep.first.min(end);
                place += 1;
            }
        }
        if place < slots {
            self.sweep.cursor = Some(place);
            self.sweep.due = Some(now);
            return;
        }
        self.sweep.cursor = None;
        let pause = now + (self.ageing / 8).max(1);
        self.sweep.due = if self.learned.is_empty() {
            None
        } else if self.sweep.disturbed {
            Some(pause)
        } else {
            Some(self.sweep.first).filter(|first| *first < Tick::MAX).map(|first| pause.max(first))
        };
    }
}
