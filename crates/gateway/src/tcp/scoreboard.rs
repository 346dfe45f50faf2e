//! What a guest has selectively acknowledged (RFC 2018), and what that says is lost (RFC 6675).

use super::seq::Seq;

/// Ranges that are remembered. A guest that reports more has lost every other segment; the lowest
/// are kept, because they are needed first.
const RANGES_MAX: usize = 64;

/// Ranges above what is acknowledged, in order, apart from each other.
#[derive(Debug, Default)]
pub(super) struct Scoreboard {
    ranges: Vec<(Seq, Seq)>,
}

impl Scoreboard {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Takes note of a block that lies between `una` and `max`. True if it says something new.
    pub(super) fn add(&mut self, from: Seq, to: Seq) -> bool {
        let first = self.ranges.iter().position(|range| from.upto(range.1));
        let first = first.unwrap_or(self.ranges.len());
        let touched = self.ranges.iter().skip(first).take_while(|range| range.0.upto(to)).count();
        if touched == 0 {
            if self.ranges.len() == RANGES_MAX {
                if first == RANGES_MAX {
                    return false;
                }
                self.ranges.pop();
            }
            self.ranges.insert(first, (from, to));
            return true;
        }
        let last = first + touched - 1;
        let (Some(&low), Some(&high)) = (self.ranges.get(first), self.ranges.get(last)) else {
            return false;
        };
        let merged = (low.0.min(from), high.1.max(to));
        let is_new = touched > 1 || merged != low;
        if let Some(range) = self.ranges.get_mut(first) {
            *range = merged;
        }
        self.ranges.drain(first + 1..=last);
        is_new
    }

    /// Everything before `una` is acknowledged.
    pub(super) fn acknowledge(&mut self, una: Seq) {
        let done = self.ranges.iter().take_while(|range| range.1.upto(una)).count();
        self.ranges.drain(..done);
        if let Some(range) = self.ranges.first_mut() {
            range.0 = range.0.max(una);
        }
    }

    /// Bytes reported.
    pub(super) fn bytes(&self) -> u32 {
        self.ranges.iter().map(|range| range.1.since(range.0)).sum()
    }

    /// Bytes not reported between `from` and `to`.
    pub(super) fn unreported(&self, from: Seq, to: Seq) -> u32 {
        let inside = self.ranges.iter().map(|range| range.1.min(to).since(range.0.max(from)));
        to.since(from).saturating_sub(inside.sum())
    }

    /// The end of the highest range.
    pub(super) fn top(&self) -> Option<Seq> {
        self.ranges.last().map(|range| range.1)
    }

    /// The beginning of the highest range.
    pub(super) fn top_start(&self) -> Option<Seq> {
        self.ranges.last().map(|range| range.0)
    }

    /// The first run of unreported bytes at or behind `from` and before `to`.
    pub(super) fn hole(&self, from: Seq, to: Seq) -> Option<(Seq, Seq)> {
        let mut start = from;
        for range in &self.ranges {
            if start.before(range.0) {
                let end = range.0.min(to);
                return start.before(end).then_some((start, end));
            }
            start = start.max(range.1);
        }
        start.before(to).then_some((start, to))
    }

    /// Unreported bytes before this are lost: more than two segments' worth was received behind
    /// them (`IsLost` of RFC 6675, by bytes).
    pub(super) fn lost_before(&self, mss: u32) -> Option<Seq> {
        let mut above = 0;
        for range in self.ranges.iter().rev() {
            above += range.1.since(range.0);
            if above > 2 * mss {
                return Some(range.0);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a set of bytes, around the wrap.
        #[test]
        fn behaves_as_a_set(
            base in prop_oneof![Just(0_u32), Just(u32::MAX - 50), any::<u32>()],
            blocks in prop::collection::vec((0_u32..200, 1_u32..30, 0_u32..6), 1..40),
        ) {
            let mut board = Scoreboard::default();
            let mut model = [false; 240];
            let mut una = 0_u32;
            for (from, len, advance) in blocks {
                if advance == 0 {
                    una = (una + len).min(200);
                    model[..una as usize].fill(false);
                    board.acknowledge(Seq(base) + una);
                } else if from >= una {
                    let range = from as usize..(from + len) as usize;
                    let news = model[range.clone()].iter().any(|set| !set);
                    model[range].fill(true);
                    prop_assert_eq!(board.add(Seq(base) + from, Seq(base) + from + len), news);
                }
                let count = model.iter().filter(|set| **set).count() as u32;
                prop_assert_eq!(board.bytes(), count);
                prop_assert_eq!(board.is_empty(), count == 0);
                let top = model.iter().rposition(|set| *set).map(|at| Seq(base) + at as u32 + 1);
                prop_assert_eq!(board.top(), top);
                for start in (una..240).step_by(7) {
                    let hole = model[start as usize..].iter().position(|set| !set)
                        .map(|at| start + at as u32);
                    let found = board.hole(Seq(base) + start, Seq(base) + 240);
                    prop_assert_eq!(found.map(|hole| hole.0), hole.map(|at| Seq(base) + at));
                    let free = model[start as usize..].iter().filter(|set| !**set).count();
                    prop_assert_eq!(
                        board.unreported(Seq(base) + start, Seq(base) + 240), free as u32
                    );
                }
            }
        }
    }

    #[test]
    fn it_is_bounded_and_keeps_the_lowest() {
        let mut board = Scoreboard::default();
        for i in (0..200_u32).rev() {
            board.add(Seq(i * 10), Seq(i * 10 + 5));
        }
        assert_eq!(board.ranges.len(), RANGES_MAX);
        assert_eq!((board.ranges[0].0, board.ranges[63].0), (Seq(0), Seq(630)));
        assert!(!board.add(Seq(5000), Seq(5001)));
    }

    #[test]
    fn three_segments_behind_a_hole_say_that_it_is_lost() {
        let mut board = Scoreboard::default();
        board.add(Seq(200), Seq(300));
        assert_eq!(board.lost_before(100), None);
        board.add(Seq(300), Seq(400));
        assert_eq!(board.lost_before(100), None);
        board.add(Seq(500), Seq(600));
        assert_eq!(board.lost_before(100), Some(Seq(200)));
        board.add(Seq(600), Seq(800));
        assert_eq!(board.lost_before(100), Some(Seq(500)));
    }
}
