//! What was advertised, is no more, and what hosts may still know.
//!
//! A host keeps a name server, a domain or a route for as long as it was told, which may be half an hour from
//! now. So each is told with a lifetime of zero for that time (RFC 8106, 5.1; RFC 4191, 2.3): in the
//! advertisements that follow a change at once, and to whoever asks or was away.

use std::net::Ipv6Addr;

use engine::Instant;
use ipnet::Ipv6Net;

use super::{KEPT, Network, domain, name_servers, route};

/// Former ones that are told; with these, and all else, an advertisement fits the least MTU of IPv6. Of
/// routes there are this many with those that are there.
const SERVERS_MAX: usize = 4;
const DOMAINS_MAX: usize = 2;
const ROUTES_MAX: usize = 24;

/// All of them, the youngest first, each with the time until which it is told.
#[derive(Debug, Default)]
pub(super) struct Former {
    servers: Vec<(Ipv6Addr, Instant)>,
    domains: Vec<(Vec<u8>, Instant)>,
    routes: Vec<(Ipv6Net, Instant)>,
}

impl Former {
    /// One network's word has followed another's.
    pub(super) fn change(&mut self, now: Instant, old: &Network, new: &Network) {
        let until = now + KEPT;
        replace(&mut self.servers, until, &old.name_servers, &new.name_servers, SERVERS_MAX);
        let domain = |network: &Network| -> Vec<Vec<u8>> {
            network.domain().map(<[u8]>::to_vec).into_iter().collect()
        };
        replace(&mut self.domains, until, &domain(old), &domain(new), DOMAINS_MAX);
        let most = ROUTES_MAX.saturating_sub(new.routes.len());
        replace(&mut self.routes, until, &old.routes, &new.routes, most);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets what no host knows any more.
    pub(super) fn expire(&mut self, now: Instant) {
        self.servers.retain(|(_, until)| *until > now);
        self.domains.retain(|(_, until)| *until > now);
        self.routes.retain(|(_, until)| *until > now);
    }

    /// Takes all of them back.
    pub(super) fn write(&self, message: &mut Vec<u8>) {
        let servers: Vec<Ipv6Addr> = self.servers.iter().map(|(server, _)| *server).collect();
        name_servers(message, &servers, 0);
        for (search, _) in &self.domains {
            domain(message, search, 0);
        }
        for (net, _) in &self.routes {
            route(message, *net, 0);
        }
    }
}

/// Puts what is in `old` and not in `new` in front; what is in `new` is not former.
fn replace<T: Clone + PartialEq>(
    former: &mut Vec<(T, Instant)>,
    until: Instant,
    old: &[T],
    new: &[T],
    most: usize,
) {
    former.retain(|(known, _)| !new.contains(known) && !old.contains(known));
    let dropped = old.iter().filter(|it| !new.contains(it)).map(|it| (it.clone(), until));
    former.splice(0..0, dropped);
    former.truncate(most);
}
