//! What is known of a port's membership in an Ethernet group.
//!
//! A group is forgotten after [`ROUNDS`] queries without a report, each group of IP for itself. A port that
//! wants a group from some senders alone leaves it by blocking the last one, and nobody but the port knows
//! which one that is (RFC 3376, 5.1). So a port that blocks a sender has to answer the next query, and
//! until then such a membership gives way to another of the port.

use super::share::Share;

/// A membership ends after so many rounds without a report.
pub(super) const ROUNDS: usize = 3;

/// A membership.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    /// The groups of IP that were reported, a bit for each (see [`Share`]): since the last query, since
    /// the one before it, and so on.
    heard: [u32; ROUNDS],
    /// Those of them that it was to be for everybody but some.
    open: u32,
    /// Those that the port has blocked somebody of since it last said that it wants them.
    doubtful: u32,
    /// Which doubt in the network that was, the first of all being 1.
    doubt: u64,
}

/// From whom a port wants a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Senders {
    /// From everybody, or everybody but some.
    All,
    /// From nobody but some.
    Named,
    /// From some more than before.
    More,
}

impl Member {
    /// It was reported.
    pub(super) fn hear(&mut self, share: Share, from: Senders) {
        let bit = share.bit();
        let open = match from {
            Senders::All => true,
            Senders::Named => false,
            Senders::More => self.groups() & self.open & bit != 0,
        };
        self.open = self.open & !bit | if open { bit } else { 0 };
        self.doubtful &= !bit;
        let [now, ..] = &mut self.heard;
        *now |= bit;
    }

    /// The port left this group.
    pub(super) fn leave(&mut self, share: Share) {
        for heard in &mut self.heard {
            *heard &= !share.bit();
        }
    }

    /// The port blocked somebody of this group: as if it had not answered the last query. False if it
    /// has the rest in any case.
    pub(super) fn block(&mut self, share: Share, doubt: u64) -> bool {
        let bit = share.bit();
        if self.groups() & bit & !self.open == 0 {
            return false;
        }
        let [now, before, ..] = &mut self.heard;
        *before |= *now & bit;
        *now &= !bit;
        self.doubtful |= bit;
        self.doubt = doubt;
        true
    }

    /// There was another query.
    pub(super) fn age(&mut self) {
        self.heard.rotate_right(1);
        let [now, ..] = &mut self.heard;
        *now = 0;
    }

    /// Which doubt it was that the port is still in the group at all, if there is one.
    pub(super) fn doubt(&self) -> Option<u64> {
        (self.groups() & !self.doubtful == 0).then_some(self.doubt)
    }

    /// It is for no group of IP any more.
    pub(super) fn is_over(&self) -> bool {
        self.groups() == 0
    }

    fn groups(&self) -> u32 {
        self.heard.iter().fold(0, |all, heard| all | heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Share = Share::nth(3);
    const OTHER: Share = Share::nth(31);

    #[test]
    fn each_group_is_forgotten_by_itself() {
        let mut member = Member::default();
        assert!(member.is_over());
        member.hear(ONE, Senders::All);
        for _ in 0..ROUNDS {
            member.hear(OTHER, Senders::All);
            member.age();
        }
        // It said nothing of this one for long, so that it is in the other alone.
        assert!(!member.is_over());
        member.leave(OTHER);
        assert!(member.is_over());
    }

    #[test]
    fn who_blocks_has_to_answer_the_next_query() {
        for (how, left) in [(Senders::All, 3), (Senders::Named, 2), (Senders::More, 2)] {
            let mut member = Member::default();
            member.hear(ONE, how);
            assert_eq!(member.doubt(), None);
            assert_eq!(member.block(ONE, 7), left == 2);
            assert_eq!(member.doubt(), (left == 2).then_some(7));
            // Again is no more than once.
            member.block(ONE, 8);
            for round in 0..left {
                assert!(!member.is_over(), "{how:?} {round}");
                member.age();
            }
            assert!(member.is_over(), "{how:?}");
            // It answers.
            member.hear(ONE, how);
            member.block(ONE, 9);
            member.age();
            member.hear(ONE, Senders::More);
            assert_eq!(member.doubt(), None);
            member.age();
            assert!(!member.is_over());
        }
    }

    #[test]
    fn what_is_not_doubtful_is_stronger() {
        let mut member = Member::default();
        member.hear(ONE, Senders::Named);
        member.hear(OTHER, Senders::Named);
        assert!(member.block(ONE, 1) && member.doubt().is_none());
        assert!(member.block(OTHER, 2) && member.doubt() == Some(2));
        member.hear(ONE, Senders::All);
        assert!(!member.block(ONE, 3) && member.doubt().is_none());
        member.hear(ONE, Senders::More);
        assert!(!member.block(ONE, 4), "that does not make less of it");
        member.hear(ONE, Senders::Named);
        assert!(member.block(ONE, 5) && member.doubt() == Some(5));
        assert!(!Member::default().block(ONE, 6), "nobody joins by it");
    }
}
