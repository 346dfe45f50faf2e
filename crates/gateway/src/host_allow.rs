//! Ports of the host that guests may reach as `host.internal`.

use std::collections::HashMap;

use crate::GuestKey;
use crate::keyed::Keyed;
use crate::plan::{HostPort, Protocol};

/// Ports for one guest at most; what a person wrote on a command line.
const OF_GUEST_MAX: usize = 256;

/// What is allowed, to all and to some.
#[derive(Debug)]
pub(crate) struct AllowHost {
    /// By configuration.
    configured: Vec<HostPort>,
    /// Added for all since.
    added: Vec<HostPort>,
    guests: HashMap<GuestKey, Vec<HostPort>, Keyed>,
}

impl AllowHost {
    pub(crate) fn new(configured: Vec<HostPort>, keyed: Keyed) -> Self {
        Self { configured, added: Vec::new(), guests: HashMap::with_hasher(keyed) }
    }

    pub(crate) fn configure(&mut self, configured: Vec<HostPort>) {
        self.configured = configured;
    }

    pub(crate) fn add(&mut self, guest: Option<GuestKey>, port: HostPort) {
        let list = match guest {
            Some(guest) => self.guests.entry(guest).or_default(),
            None => &mut self.added,
        };
        if !list.contains(&port) && list.len() < OF_GUEST_MAX {
            list.push(port);
        }
    }

    pub(crate) fn guest_gone(&mut self, guest: GuestKey) {
        self.guests.remove(&guest);
    }

    pub(crate) fn permits(&self, guest: GuestKey, protocol: Protocol, port: u16) -> bool {
        let own = self.guests.get(&guest).map(Vec::as_slice).unwrap_or_default();
        let mut all = self.configured.iter().chain(&self.added).chain(own);
        all.any(|allowed| {
            allowed.port == port && allowed.protocol.is_none_or(|only| only == protocol)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_all_and_for_one() {
        let configured = vec!["tcp/5432".parse().unwrap(), "53".parse().unwrap()];
        let mut allow = AllowHost::new(configured, Keyed::new([0; 16]));
        let (a, b) = (GuestKey(1), GuestKey(2));
        allow.add(Some(a), "udp/9".parse().unwrap());
        assert!(allow.permits(b, Protocol::Tcp, 5432));
        assert!(!allow.permits(b, Protocol::Udp, 5432));
        assert!(allow.permits(a, Protocol::Udp, 53) && allow.permits(a, Protocol::Tcp, 53));
        assert!(allow.permits(a, Protocol::Udp, 9) && !allow.permits(b, Protocol::Udp, 9));
        allow.configure(Vec::new());
        assert!(!allow.permits(a, Protocol::Udp, 53));
        allow.add(None, "53".parse().unwrap());
        allow.guest_gone(a);
        assert!(!allow.permits(a, Protocol::Udp, 9) && allow.permits(a, Protocol::Udp, 53));
    }
}
