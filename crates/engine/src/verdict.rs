//! What the engine decided for a frame.

use crate::port::PortId;
use crate::reason::Reason;

/// The decision for one ingress frame. Every frame gets exactly one.
///
/// A verdict says what the network decided, not what became of the copies afterwards: a copy that
/// met a full queue was still `Forward`, and the drop is counted on the egress port
/// ([`crate::Side::Egress`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// To one port.
    Forward(PortId),
    /// To every port that may have it; `copies` can be zero, when nobody else is on the VLAN.
    Flood {
        /// How many ports were offered a copy.
        copies: u16,
    },
    /// To nobody: the network answered it itself, as it answers ARP and neighbour solicitations for
    /// addresses whose owner it knows.
    Answered,
    /// To nobody: it was for the network itself, which has taken note of it, as of reports of
    /// multicast membership.
    Consumed,
    /// To nobody, for this reason.
    Drop(Reason),
}
