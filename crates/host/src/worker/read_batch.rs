//! How many frames to look for when a port is readable.
//!
//! Asking a descriptor for a batch costs a look that finds nothing when there was only one frame,
//! and the calls that take many frames cost more for one than those that take one: together a
//! fifth of what a lone frame costs. So a port that had one frame in each of the last visits is
//! asked for one. Should more wait, the poller reports the port again at once; and every fourth
//! visit asks for a batch, so a burst is met with single frames for three visits at most.

use engine::BATCH;

/// Visits in a row that found one frame, before the next ask for one.
const HABIT: u8 = 4;

/// One visit in so many asks for a batch nevertheless.
const PROBE: u8 = 4;

/// What the last visits of one port found.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// Visits in a row that found one frame; goes round within 4 to 7 once it is a habit.
    alone: u8,
}

impl Look {
    /// Frames that the next visit asks for.
    pub(super) fn limit(self) -> usize {
        if self.alone < HABIT || self.alone.is_multiple_of(PROBE) { BATCH } else { 1 }
    }

    /// A visit found so many frames.
    pub(super) fn found(&mut self, frames: usize) {
        self.alone = match frames {
            1 if self.alone < HABIT + PROBE - 1 => self.alone + 1,
            1 => HABIT,
            _ => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_frames_are_asked_for_one_by_one_and_a_burst_is_noticed() {
        let mut look = Look::default();
        for _ in 0..HABIT {
            assert_eq!(look.limit(), BATCH);
            look.found(1);
        }
        let asked: Vec<usize> = (0..8)
            .map(|_| {
                let limit = look.limit();
                look.found(1);
                limit
            })
            .collect();
        assert_eq!(asked, [BATCH, 1, 1, 1, BATCH, 1, 1, 1]);
        // More than `limit` frames wait from now on.
        let visits = (0..).take_while(|_| {
            let limit = look.limit();
            look.found(limit.min(20));
            limit == 1
        });
        assert!(visits.count() < usize::from(PROBE));
        assert_eq!(look.limit(), BATCH);
    }
}
