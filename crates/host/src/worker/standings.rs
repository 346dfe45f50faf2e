//! What stands against clients whose ports are gone: quarantines that are not over, and violations that count towards one.
//!
//! # Theory of operation
//!
//! The engine keeps these with a port, and forgets them with it. A client that is cut off could close its connection
//! and come again, as could one that stops before the violation that would have it cut off. So what stands against a
//! port is kept here when it closes, and held against the next port of the same *client*: of the declared port, of the
//! guest of this name, or of the user at this node. A declared port may have several connections at a time; one that is
//! cut off keeps the others of its name from coming in.
//!
//! # Limits
//!
//! [`KEPT_MAX`] clients of a network; where there are more, what ends first is forgotten. What is over is forgotten when the
//! next is kept.

use std::collections::BTreeMap;

use engine::{Instant, Standing};

use crate::link::PortAbout;

/// Clients of a network against whom something is kept.
const KEPT_MAX: usize = 1024;

/// Who is behind a port, as far as that outlasts it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Client {
    Declared(String),
    Guest(String),
    User { node: String, uid: u32 },
}

impl Client {
    pub(super) fn of(about: &PortAbout) -> Client {
        match (&about.declared, &about.node, about.peer) {
            (Some(name), ..) => Client::Declared(name.clone()),
            (None, Some(node), Some(peer)) => Client::User { node: node.clone(), uid: peer.uid },
            _ => Client::Guest(about.name.clone()),
        }
    }

    /// Whether two ports of this name at the same time are one and the same client. The programs of one user are not.
    pub(super) fn is_one(&self) -> bool {
        matches!(self, Client::Declared(_))
    }
}

/// What is kept, of one network.
#[derive(Debug, Default)]
pub(super) struct Standings(BTreeMap<Client, Standing>);

impl Standings {
    /// A port closed against whose client this stands.
    pub(super) fn keep(&mut self, now: Instant, client: Client, standing: Standing) {
        self.0.retain(|_, kept| kept.ends() > now);
        let standing = self.0.get(&client).map_or(standing, |kept| kept.and(standing));
        if standing.ends() <= now {
            return;
        }
        self.0.insert(client, standing);
        if self.0.len() > KEPT_MAX {
            let first = self.0.iter().min_by_key(|(_, kept)| kept.ends());
            if let Some(client) = first.map(|(client, _)| client.clone()) {
                self.0.remove(&client);
            }
        }
    }

    /// What stands against a client that has a port again, which keeps it from now on.
    pub(super) fn take(&mut self, client: &Client) -> Option<Standing> {
        self.0.remove(client)
    }
}
