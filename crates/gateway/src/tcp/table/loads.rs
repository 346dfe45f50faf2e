//! Who has how much of what all share: connections, those that are not open yet, and frames held.

use std::collections::HashMap;

use super::super::flow::Opener;
use crate::GuestKey;

/// What one guest has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) flows: usize,
    /// Those of `flows` that are not open yet: of the guest's own, and of clients.
    pub(super) opening: usize,
    pub(super) arriving: usize,
    /// Frames held by the inboxes of its connections.
    pub(super) held: usize,
}

impl Load {
    fn not_open(&mut self, opener: Opener) -> &mut usize {
        match opener {
            Opener::Guest => &mut self.opening,
            Opener::Client => &mut self.arriving,
        }
    }
}

/// The accounts of all guests, and what there is in all. A connection without a guest counts only there.
#[derive(Debug, Default)]
pub(super) struct Loads {
    /// Only of guests that have connections.
    of: HashMap<GuestKey, Load>,
    live: usize,
    held: usize,
}

impl Loads {
    /// There is one more connection, which is not open yet.
    pub(super) fn opened(&mut self, owner: Option<GuestKey>, opener: Option<Opener>) {
        self.live += 1;
        if let Some(owner) = owner {
            self.adopted(owner, opener);
        }
    }

    /// A connection that was nobody's is this guest's. It holds nothing yet.
    pub(super) fn adopted(&mut self, owner: GuestKey, opener: Option<Opener>) {
        let load = self.of.entry(owner).or_default();
        load.flows += 1;
        if let Some(opener) = opener {
            *load.not_open(opener) += 1;
        }
    }

    /// A connection of those that were not open is.
    pub(super) fn is_open(&mut self, owner: Option<GuestKey>, opener: Opener) {
        if let Some(load) = owner.and_then(|owner| self.of.get_mut(&owner)) {
            let count = load.not_open(opener);
            *count = count.saturating_sub(1);
        }
    }

    /// An open connection has nothing more to give, and counts for nobody.
    pub(super) fn lingers(&mut self, owner: Option<GuestKey>) {
        self.closed(owner, None);
    }

    /// A connection that did not linger is gone, and holds nothing any more.
    pub(super) fn closed(&mut self, owner: Option<GuestKey>, opener: Option<Opener>) {
        self.live -= 1;
        self.lost(owner, opener);
    }

    /// An inbox of this guest's has changed.
    pub(super) fn holds(&mut self, owner: Option<GuestKey>, before: usize, after: usize) {
        self.held = (self.held + after).saturating_sub(before);
        if let Some(load) = owner.and_then(|owner| self.of.get_mut(&owner)) {
            load.held = (load.held + after).saturating_sub(before);
        }
    }

    /// A connection has lost its guest. It goes on, and what it holds is nobody's share.
    pub(super) fn orphaned(
        &mut self,
        owner: Option<GuestKey>,
        opener: Option<Opener>,
        held: usize,
    ) {
        self.holds(owner, held, 0);
        self.holds(None, 0, held);
        self.lost(owner, opener);
    }

    fn lost(&mut self, owner: Option<GuestKey>, opener: Option<Opener>) {
        let Some(owner) = owner else { return };
        if let Some(load) = self.of.get_mut(&owner) {
            load.flows = load.flows.saturating_sub(1);
            if let Some(opener) = opener {
                let count = load.not_open(opener);
                *count = count.saturating_sub(1);
            }
            if load.flows == 0 {
                self.of.remove(&owner);
            }
        }
    }

    /// Who has most connections, and how many.
    pub(super) fn richest(&self) -> Option<(GuestKey, usize)> {
        let most = self.of.iter().max_by_key(|(_, load)| load.flows);
        most.map(|(guest, load)| (*guest, load.flows))
    }

    pub(super) fn of(&self, guest: GuestKey) -> Load {
        self.of.get(&guest).copied().unwrap_or_default()
    }

    /// Guests that have connections.
    pub(super) fn owners(&self) -> impl Iterator<Item = GuestKey> + '_ {
        self.of.keys().copied()
    }

    /// Connections that do not linger, of guests and of nobody.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    /// Frames held by all inboxes.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use testkit::Random;

    use super::*;

    /// A connection as the table would count it from the start.
    struct Counted {
        owner: Option<GuestKey>,
        opening: Option<Opener>,
        held: usize,
    }

    fn recounted(all: &[Counted], guest: GuestKey) -> Load {
        let own: Vec<&Counted> = all.iter().filter(|one| one.owner == Some(guest)).collect();
        Load {
            flows: own.len(),
            opening: own.iter().filter(|one| one.opening == Some(Opener::Guest)).count(),
            arriving: own.iter().filter(|one| one.opening == Some(Opener::Client)).count(),
            held: own.iter().map(|one| one.held).sum(),
        }
    }

    #[test]
    fn the_accounts_are_what_a_recount_says() {
        let mut random = Random::new(11);
        let guests = [1, 2, 3].map(GuestKey);
        let (mut loads, mut all) = (Loads::default(), Vec::<Counted>::new());
        for _ in 0..20_000 {
            let what = random.below(8);
            if all.is_empty() || (what == 0 && all.len() < 30) {
                let owner = guests.get(random.below(4)).copied();
                let opening = Some([Opener::Guest, Opener::Client][random.below(2)]);
                loads.opened(owner, opening);
                all.push(Counted { owner, opening, held: 0 });
            } else {
                let at = random.below(all.len());
                let one = &mut all[at];
                match (what, one.owner) {
                    (1, None) if one.held == 0 => {
                        let guest = guests[random.below(3)];
                        loads.adopted(guest, one.opening);
                        one.owner = Some(guest);
                    }
                    (2, owner) => {
                        if let Some(opener) = one.opening.take() {
                            loads.is_open(owner, opener);
                        }
                    }
                    (3, Some(owner)) => {
                        loads.orphaned(Some(owner), one.opening, one.held);
                        (one.owner, one.opening) = (None, None);
                    }
                    (4, owner) => {
                        loads.holds(owner, one.held, 0);
                        match one.opening {
                            None => loads.lingers(owner),
                            opening => loads.closed(owner, opening),
                        }
                        all.swap_remove(at);
                    }
                    (5.., owner) => {
                        let after = random.below(9);
                        loads.holds(owner, one.held, after);
                        one.held = after;
                    }
                    _ => {}
                }
            }
            assert_eq!(loads.live(), all.len());
            assert_eq!(loads.held(), all.iter().map(|one| one.held).sum::<usize>());
            for guest in guests {
                assert_eq!(loads.of(guest), recounted(&all, guest));
            }
            let most = guests.map(|guest| loads.of(guest).flows).into_iter().max();
            assert_eq!(loads.richest().map(|(_, flows)| flows), most.filter(|most| *most > 0));
            assert!(loads.owners().all(|guest| loads.of(guest).flows > 0));
        }
    }
}
