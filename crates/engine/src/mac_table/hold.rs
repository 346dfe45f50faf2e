//! For how long what a port has learned is kept for it.

use crate::guard::GuardMode;
use crate::plan::{PortSpec, SourceMode};
use crate::role::Role;
use crate::time::Tick;

/// An hour and ten minutes, in ticks of 2^20 ns. Stations outside speak more often, at least to
/// whoever routes for them.
const OUTSIDE: Tick = 4_000_000;

/// Who has to be silent for how long before another port may have its address.
///
/// The ageing of bridges (IEEE 802.1Q, 8.8.3) is for stations that move. A guest does not: whoever
/// waits until it is silent and takes its address would be sent what is for it. Nor does a router of
/// the outside move inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    /// For the ageing time: many stations may be behind the port.
    #[default]
    Ageing,
    /// An uplink: from other uplinks for the ageing time, from guests for longer.
    Outside,
    /// A guest with one address: for as long as its port lives, or until it wants another one after
    /// the ageing time.
    Life,
}

impl Hold {
    /// That of a port.
    pub(crate) fn of(spec: &PortSpec) -> Self {
        let one = matches!(spec.source, SourceMode::Learn { max_macs: 0 | 1 });
        match spec.role {
            Role::Uplink => Self::Outside,
            Role::Guest if one && spec.guard.mode != GuardMode::Off => Self::Life,
            Role::Guest | Role::Router => Self::Ageing,
        }
    }

    /// How long an entry lasts that is not used; none if it has no end.
    pub(super) fn time(self, ageing: Tick) -> Option<Tick> {
        match self {
            Self::Ageing => Some(ageing),
            Self::Outside => Some(ageing.max(OUTSIDE)),
            Self::Life => None,
        }
    }
}
