//! Who gets a connection to `api` when there are many.
//!
//! # Theory of operation
//!
//! A connection holds a descriptor, so they are bounded: [`CLIENTS_MAX`] of all users over all networks of the daemon. Of
//! these at most [`others_max`] are of users other than the owner and root. One user may have many ids (subordinate
//! ones), so a bound for each id would not keep a place for the owner; this one does.
//!
//! In each network a user has `clients_per_user` places, and [`SPARE`] more for connections that hold nothing
//! ([`Place::Spare`]): who has a guest in each of his places still looks at them, takes one away, or ends the network. A
//! spare connection becomes a whole one at its first call that holds something, if there is a place by then.
//!
//! When places are short, connections that hold neither a guest nor a capture and have asked nothing for a while
//! ([`SILENT`]) go, the longest silent first. Whoever gets no place is told so, in one line, and disconnected.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use sys::Cred;

use super::Daemon;
use super::caller::{Caller, Standing};
use super::clients::Client;
use crate::api::message::{Call, Code, Failure, Reply};
use crate::api::server::Over;
use crate::closer;
use crate::log;
use crate::worker::{NetworkId, Token, Worker};

/// Connections to `api` of all users together.
const CLIENTS_MAX: usize = 4096;
/// Of these, connections of users other than the owner and root, where descriptors allow it.
const OTHERS_MAX: usize = 3072;
/// Connections of one user in a network beyond its `clients_per_user`, for calls that hold nothing.
const SPARE: usize = 4;
/// A connection that asked nothing for so long gives its place to another.
const SILENT: Duration = Duration::from_secs(5);
/// The same of a spare place.
const SPARE_SILENT: Duration = Duration::from_secs(1);

/// What a connection may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Whole,
    /// No guest and no capture.
    Spare,
}

/// Connections of others than the owner and root that leave enough of all descriptors.
fn others_max(descriptors: Option<u64>) -> usize {
    let quarter = descriptors.and_then(|it| usize::try_from(it / 4).ok());
    quarter.map_or(OTHERS_MAX, |quarter| quarter.min(OTHERS_MAX))
}

/// Which bound is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Full {
    /// `clients_per_user`.
    User,
    /// [`others_max`].
    Others,
    /// [`CLIENTS_MAX`].
    All,
}

/// Connections that there are.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Of the user in the network.
    whole: usize,
    spare: usize,
    others: usize,
    all: usize,
}

impl Count {
    /// Whether another connection gets a whole place.
    fn whole(&self, standing: Standing, per_user: usize, others_max: usize) -> Result<(), Full> {
        if !standing.is_owner() && self.others >= others_max {
            Err(Full::Others)
        } else if self.whole >= per_user {
            Err(Full::User)
        } else if self.all >= CLIENTS_MAX {
            Err(Full::All)
        } else {
            Ok(())
        }
    }

    /// Whether it gets a spare place where `full` has no whole one.
    fn spare(&self, standing: Standing, full: Full) -> bool {
        let room = match full {
            Full::User => self.all < CLIENTS_MAX + usize::from(standing.is_owner()) * SPARE,
            Full::All => standing.is_owner() && self.all < CLIENTS_MAX + SPARE,
            Full::Others => false,
        };
        room && self.spare < SPARE
    }
}

impl Daemon {
    /// The place that a new connection gets; somebody silent may have to go for it.
    ///
    /// # Errors
    /// What the peer is to be told.
    pub(super) fn place(
        &mut self,
        worker: &mut Worker,
        at: usize,
        caller: Caller,
    ) -> Result<Place, Failure> {
        let (id, per_user) = (self.networks[at].id, self.networks[at].config.clients_per_user);
        let others_max = others_max(sys::confine::descriptor_limit());
        let mut count = self.count(id, caller.uid());
        let Err(full) = count.whole(caller.standing, per_user, others_max) else {
            return Ok(Place::Whole);
        };
        let is_alike = |client: &Client| match full {
            Full::User => client.network == id && client.caller.uid() == caller.uid(),
            Full::Others => !client.caller.is_owner(),
            Full::All => true,
        };
        if let Some(token) = self.longest_silent(worker, is_alike) {
            self.disconnect(worker, token, &Over::Silent);
            count = self.count(id, caller.uid());
            if count.whole(caller.standing, per_user, others_max).is_ok() {
                return Ok(Place::Whole);
            }
        }
        if count.spare(caller.standing, full) {
            return Ok(Place::Spare);
        }
        Err(self.shortage(id, full))
    }

    /// Whether a caller may make a call that holds something; a spare connection becomes a whole one if it can.
    ///
    /// # Errors
    /// There is no place.
    pub(super) fn hold(&mut self, token: Token, call: &Call) -> Result<(), Failure> {
        let Some(client) = self.clients.get(&token) else { return Ok(()) };
        if !call.about().holds || client.place == Place::Whole {
            return Ok(());
        }
        let (id, caller) = (client.network, client.caller);
        let Some(network) = self.network(id) else { return Ok(()) };
        let per_user = network.config.clients_per_user;
        let others_max = others_max(sys::confine::descriptor_limit());
        if let Err(full) = self.count(id, caller.uid()).whole(caller.standing, per_user, others_max)
        {
            return Err(self.shortage(id, full));
        }
        if let Some(client) = self.clients.get_mut(&token) {
            client.place = Place::Whole;
        }
        Ok(())
    }

    fn count(&self, id: NetworkId, uid: u32) -> Count {
        let mut count = Count::default();
        // A guest's processes may have the owner's uid: those who may not come in take no place of his.
        for client in self.clients.values().filter(|client| !client.is_refused()) {
            count.all += 1;
            count.others += usize::from(!client.caller.is_owner());
            if client.network == id && client.caller.uid() == uid {
                match client.place {
                    Place::Whole => count.whole += 1,
                    Place::Spare => count.spare += 1,
                }
            }
        }
        count
    }

    /// Who asked nothing for longest, and for too long, of those connections that hold nothing.
    fn longest_silent(&self, worker: &Worker, is_alike: impl Fn(&Client) -> bool) -> Option<Token> {
        let now = worker.now();
        let sessions: HashSet<Token> = self
            .networks
            .iter()
            .flat_map(|network| network.guests.values().map(|guest| guest.session))
            .collect();
        let silent = |client: &Client| {
            let patience = match client.place {
                Place::Whole => SILENT,
                Place::Spare => SPARE_SILENT,
            };
            client.asked + patience <= now
        };
        self.clients
            .iter()
            .filter(|(token, client)| {
                silent(client)
                    && !client.is_refused()
                    && client.captures.is_empty()
                    && !sessions.contains(token)
                    && is_alike(client)
            })
            .min_by_key(|(_, client)| client.asked)
            .map(|(token, _)| *token)
    }

    fn shortage(&self, id: NetworkId, full: Full) -> Failure {
        let (name, most) = self.network(id).map_or(("?", 0), |network| {
            (network.config.name.as_str(), network.config.clients_per_user)
        });
        let message = match full {
            Full::User => format!(
                "You have {most} connections to network {name}, counting its guests that are yours, and one user may \
                 have no more: end one of the guests (`netherd detach`) or programs, or raise `clients_per_user` in \
                 the network's configuration."
            ),
            Full::Others => format!(
                "The users of network {name} other than its owner have all the connections that they may have: try \
                again later, or use a network of your own."
            ),
            Full::All => format!(
                "The hypervisor of network {name} has {CLIENTS_MAX} connections, and can have no more: end some \
                guests (`netherd detach`), or serve each network by a hypervisor of its own."
            ),
        };
        Failure::new(Code::Limit, message)
    }
}

/// Tells a peer why it gets no connection, in the one line that a new socket always takes, and ends that.
pub(super) fn turn_away(stream: OwnedFd, cred: Cred, why: Failure) {
    log::guest(&format!("A connection of uid {} to api was refused: {why}", cred.uid));
    let line = Reply::Answer { id: 0, result: Err(why) }.encode();
    // It may have gone.
    let _told = sys::unix::send_with_fds(stream.as_fd(), &line, &[]);
    let _ended = sys::unix::end(stream.as_fd());
    closer::close(cred.uid, [stream]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_leave_places_to_the_owner() {
        let full = Count { others: OTHERS_MAX, all: OTHERS_MAX, ..Count::default() };
        assert_eq!(full.whole(Standing::Other, 512, OTHERS_MAX), Err(Full::Others));
        assert!(!full.spare(Standing::Other, Full::Others));
        assert_eq!(full.whole(Standing::Owner, 512, OTHERS_MAX), Ok(()));
        assert_eq!(others_max(None), OTHERS_MAX);
        assert_eq!(others_max(Some(1 << 20)), OTHERS_MAX);
        assert_eq!(others_max(Some(1024)), 256);
    }

    #[test]
    fn who_has_all_his_places_has_a_few_more_for_short_calls() {
        let mut full = Count { whole: 512, all: 512, ..Count::default() };
        for standing in [Standing::Owner, Standing::Other] {
            assert_eq!(full.whole(standing, 512, OTHERS_MAX), Err(Full::User));
            assert!(full.spare(standing, Full::User));
        }
        full.spare = SPARE;
        assert!(!full.spare(Standing::Owner, Full::User));
        // Even where the owner took every descriptor there is.
        let all = Count { whole: 100, all: CLIENTS_MAX, ..Count::default() };
        assert_eq!(all.whole(Standing::Owner, 512, OTHERS_MAX), Err(Full::All));
        assert!(all.spare(Standing::Owner, Full::All) && !all.spare(Standing::Other, Full::All));
    }
}
