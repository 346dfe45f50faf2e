//! Who may have one more relay, and how much of what he does is told.
//!
//! # Theory of operation
//!
//! The socket is open to everybody, and a user has more ids than one: a range of subordinate ones in a user namespace of
//! his own (subuid(5)). So a bound per id is none per user. What cannot be multiplied is to be on root's list. Those
//! who are on it, by id or group, have the relays; all others together have [`STRANGERS_MAX`] places, in which they are
//! told that they are not, and one share of the log.
//!
//! The list is read here to give places, not rights: it is kept while its file does not change, and a relay reads it
//! again before it gives anything. A relay that was given a device counts as a listed user's from then on, so that
//! whoever got an account or a group since the list was read has a stranger's place for a moment only.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::limiter::Limiter;
use crate::list::List;

/// Most relays of listed users, and most of one.
pub const RELAYS_MAX: usize = 256;
pub const RELAYS_PER_USER: usize = 32;

/// Most relays of all others, and most of one id.
pub const STRANGERS_MAX: usize = 16;
pub const STRANGERS_PER_USER: usize = 4;

/// Names of users and groups are looked up again after this, even if the list has not changed.
const AGE_MAX: Duration = Duration::from_secs(60);

/// Lines in the log about one listed user, or about all others: so many at once, then one per interval.
const LINES: u32 = 16;
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Users whose lines are counted; with more they begin anew.
const COUNTED_MAX: usize = 1024;

/// Whether somebody is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Listed(u32),
    Stranger,
}

/// What tells that a file is not the one that was read.
type Seen = (u64, u64, u64, i64, i64);

fn look(place: &Path) -> Option<Seen> {
    let about = std::fs::metadata(place).ok()?;
    Some((about.dev(), about.ino(), about.size(), about.ctime(), about.ctime_nsec()))
}

/// See the module.
#[derive(Debug)]
pub struct Admission {
    place: PathBuf,
    list: List,
    seen: Option<Seen>,
    read: Option<Instant>,
    lines: HashMap<Standing, Limiter>,
}

impl Admission {
    #[must_use]
    pub fn new(place: PathBuf) -> Admission {
        Admission { place, list: List::default(), seen: None, read: None, lines: HashMap::new() }
    }

    /// Where the list is.
    #[must_use]
    pub fn place(&self) -> &Path {
        &self.place
    }

    pub fn standing(&mut self, now: Instant, uid: u32, groups: &[u32]) -> Standing {
        let seen = look(&self.place);
        let is_old = self.read.is_none_or(|read| now.saturating_duration_since(read) > AGE_MAX);
        if is_old || seen != self.seen {
            // One that cannot be used makes everybody a stranger, and the relay says why.
            self.list = List::read(&self.place).unwrap_or_default();
            (self.seen, self.read) = (seen, Some(now));
        }
        if self.list.names(uid, groups) { Standing::Listed(uid) } else { Standing::Stranger }
    }

    /// Whether a line about such a user may be written, and how many were left out before it. `now` is in
    /// nanoseconds of the monotonic clock.
    pub fn may_tell(&mut self, now: u64, whom: Standing) -> Option<u64> {
        if self.lines.len() >= COUNTED_MAX && !self.lines.contains_key(&whom) {
            self.lines.clear();
        }
        let limiter = self.lines.entry(whom);
        limiter.or_insert_with(|| Limiter::new(LINES, LINE_EVERY)).admit(now)
    }
}

/// Whether there is a place for one more relay of `uid`, beside those there are.
#[must_use]
pub fn has_place(
    standing: Standing,
    uid: u32,
    relays: impl Iterator<Item = (u32, Standing)>,
) -> bool {
    let (mut all, mut of_user) = (0, 0);
    for (other, its) in relays {
        if matches!(its, Standing::Listed(_)) == matches!(standing, Standing::Listed(_)) {
            all += 1;
            of_user += usize::from(other == uid);
        }
    }
    match standing {
        Standing::Listed(_) => all < RELAYS_MAX && of_user < RELAYS_PER_USER,
        Standing::Stranger => all < STRANGERS_MAX && of_user < STRANGERS_PER_USER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_not_listed_take_no_listed_users_place() {
        let mut relays: Vec<(u32, Standing)> = Vec::new();
        // A user comes by all the subordinate ids that he has.
        for uid in (100_000..100_100).flat_map(|uid| [uid; 32]) {
            if has_place(Standing::Stranger, uid, relays.iter().copied()) {
                relays.push((uid, Standing::Stranger));
            }
        }
        assert_eq!(relays.len(), STRANGERS_MAX);
        let listed = Standing::Listed(1000);
        for _ in 0..RELAYS_PER_USER {
            assert!(has_place(listed, 1000, relays.iter().copied()));
            relays.push((1000, listed));
        }
        assert!(!has_place(listed, 1000, relays.iter().copied()));
        assert!(has_place(Standing::Listed(1001), 1001, relays.iter().copied()));
    }

    #[test]
    fn strangers_share_what_is_told_of_them() {
        let mut admission = Admission::new("/nowhere/nic.toml".into());
        let now = 1;
        assert_eq!(admission.standing(Instant::now(), 0, &[0]), Standing::Stranger);
        let told = (0..1000).filter(|_| admission.may_tell(now, Standing::Stranger).is_some());
        assert_eq!(told.count(), LINES as usize);
        assert_eq!(admission.may_tell(now, Standing::Listed(1)), Some(0));
        let later = now + LINE_EVERY.as_nanos() as u64;
        assert_eq!(admission.may_tell(later, Standing::Stranger), Some(1000 - u64::from(LINES)));
        for uid in 0..5000 {
            admission.may_tell(now, Standing::Listed(uid));
        }
        assert!(admission.lines.len() <= COUNTED_MAX);
    }
}
