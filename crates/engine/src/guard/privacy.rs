//! Who exchanges no frames with whom (checks 52 and 55).

use crate::engine::Engine;
use crate::plan::PortSpec;
use crate::port::{Port, PortId};
use crate::reason::Reason;
use crate::role::Role;

/// What a port's spec says about it. Two isolated ports are apart, and two of different communities;
/// where the network has its guests behind the router, so are any two guests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Privacy {
    isolated: bool,
    community: Option<u16>,
    /// A guest whose network has all guests behind the router.
    routed: bool,
}

impl Privacy {
    /// That of a port in a network that has its guests behind the router, or not.
    pub(crate) fn new(spec: &PortSpec, routed: bool) -> Self {
        let PortSpec { isolated, community, role, .. } = *spec;
        Self { isolated, community, routed: routed && role == Role::Guest }
    }

    /// Whether there may be ports that this one is apart from.
    pub(crate) fn is_any(self) -> bool {
        self.isolated || self.community.is_some() || self.routed
    }

    /// Why the port exchanges no frames with another one, if it does not.
    pub(crate) fn refuses(self, to: &PortSpec) -> Option<Reason> {
        let isolated = match (self.isolated, to.isolated) {
            (true, true) => true,
            (true, false) => to.community.is_some(),
            (false, true) => self.community.is_some(),
            (false, false) => match (self.community, to.community) {
                (Some(own), Some(other)) => own != other,
                _ => false,
            },
        };
        if isolated {
            return Some(Reason::Isolated);
        }
        (self.routed && to.role == Role::Guest).then_some(Reason::Routed)
    }
}

impl Engine {
    /// Whether a port exchanges no frames with another.
    pub(crate) fn are_apart(&self, from: PortId, to: &Port) -> bool {
        let Some(from) = self.ports.get(from) else { return true };
        Privacy::new(&from.spec, self.network.guard.routed).refuses(&to.spec).is_some()
    }
}
