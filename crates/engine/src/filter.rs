//! The filters of ports: programs of the administrator that say which frames may pass.
//!
//! # Theory of operation
//!
//! A port has at most one program in each direction ([`PortFilter`]). A program was checked and
//! decoded when it was made and is shared by reference count, so a frame only runs it: nothing is
//! checked, counted or allocated for it. Where there is none, a frame pays one branch.
//!
//! *From the guest* a program is asked when the guard has let the frame pass, before its
//! destination is looked up: what it refuses has its verdict (`filter-in`), but its source has been
//! learned, and what the guard answers itself never gets here. *Towards the guest* it is asked when
//! the frame is offered to the port's queue, before the queue's limits are: what it refuses takes no
//! room, and is counted on that port alone (`filter-out`). Both directions leave alone what the
//! network itself says to the guest on behalf of its guard, or a port that lets only web traffic
//! pass could not resolve an address.
//!
//! A program sees the frame as it is on the wire of its port, from the destination address on. The
//! outer VLAN tag, which stands beside the frame inside the engine, is put back as a piece of its
//! own, without a copy. Two things are not on the wire: a frame that is to be cut is judged once and
//! whole, for all its segments; and a checksum that is still to be completed is in its field what
//! [`wire::Offload`] says.
//!
//! A change holds for every frame that is judged after it. What is in a queue was judged, and stays.

use alloc::sync::Arc;

use bpf::{Pieces, Program};

use crate::frame::Frame;
use crate::plan::PortSpec;
use crate::pool::Pool;
use crate::vlan::VlanMode;

/// Which frames a port lets pass; all, where there is no program. A program lets a frame pass by
/// any result but zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortFilter {
    /// Asked about frames that come from the guest.
    pub from_guest: Option<Arc<Program>>,
    /// Asked about frames that are to go to the guest.
    pub to_guest: Option<Arc<Program>>,
}

/// The 802.1Q tag as it stands behind the two addresses.
#[inline]
pub(crate) fn tag_bytes(tci: u16) -> [u8; 4] {
    let [hi, lo] = tci.to_be_bytes();
    [0x81, 0x00, hi, lo]
}

/// Whether a program wants a frame that is on the wire with this tag.
#[inline]
pub(crate) fn wants(program: &Program, pool: &Pool, frame: &Frame, tag: Option<u16>) -> bool {
    if tag.is_none() && !frame.has_header() {
        // The usual case: all in one piece.
        return program.accepts(pool.body(frame));
    }
    match (tag, pool.pieces(frame)) {
        (None, pieces) => program.accepts(&Pieces(pieces)),
        (Some(tci), [front, rest]) => {
            let (addresses, front) = front.split_at_checked(12).unwrap_or((front, &[]));
            program.accepts(&Pieces([addresses, &tag_bytes(tci), front, rest]))
        }
    }
}

/// The tag that a frame leaves a port with.
///
/// On a trunk the native VLAN goes without, unless the payload is tagged: its inner tag would pass
/// for the outer one, and the frame would change its VLAN on the way.
#[inline]
pub(crate) fn tag_for(spec: &PortSpec, frame: &Frame) -> Option<u16> {
    match &spec.vlan {
        VlanMode::Access(_) => None,
        VlanMode::Trunk { native, .. } => {
            let vid = frame.tci & 0xfff;
            (*native != Some(vid) || frame.has_inner_tag()).then_some(frame.tci)
        }
    }
}

/// Whether a frame may leave by a port with this filter.
#[inline]
pub(crate) fn lets_out(spec: &PortSpec, pool: &Pool, frame: &Frame) -> bool {
    match &spec.filter.to_guest {
        None => true,
        Some(program) => wants(program, pool, frame, tag_for(spec, frame)),
    }
}
