//! Frames of a link's own memory, while they are on their way to another link.
//!
//! # Theory of operation
//!
//! The rest of a large frame that came through the helper of a network device may stay where the helper has put it
//! ([`engine::Foreign`]) until a tap's link writes it from there. The place is the helper's again when the frame ends.
//! A guest that does not read keeps its frames, so only so many places are lent at a time; with more, frames are copied.

use std::any::Any;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

use ::nic::protocol::{ALONE, Place, Places};
use ::nic::slots::{SLOTS, Slots, Way};
use engine::{Elsewhere, Foreign, Frame, Pool, PoolEmpty, RxBatch};
use sys::shared::Memory;
use wire::{Gso, GsoKind, HEADER_MAX, Offload, vnet};

use super::{Lost, push_frame};

/// Places that frames may have at a time; the others are for frames that are copied at once.
const LENT_MAX: u16 = SLOTS - 4;

/// The memory that is shared with the helper, and what of it is lent.
#[derive(Debug)]
pub(crate) struct Lender {
    pub(crate) slots: Slots,
    lent: Cell<u16>,
}

impl Lender {
    pub(crate) fn new(slots: Slots) -> Lender {
        Lender { slots, lent: Cell::new(0) }
    }

    /// Whether a frame may stay in its place; if so, it has to be given back as [`Foreign`].
    pub(crate) fn lend(&self) -> bool {
        let may = self.lent.get() < LENT_MAX;
        self.lent.update(|lent| lent + u16::from(may));
        may
    }
}

impl Foreign for Lender {
    fn read(&self, place: u32, at: usize, to: &mut [u8]) {
        let slot = u16::try_from(place).unwrap_or(u16::MAX);
        let read = self.slots.read_at(Way::In, slot, at, to);
        debug_assert!(read, "the place was looked at before it was lent");
    }

    fn give_back(&self, place: u32) {
        self.lent.update(|lent| lent.saturating_sub(1));
        self.slots.give_back(Way::In, u16::try_from(place).unwrap_or(u16::MAX));
    }
}

/// The memory and the range of it in which a frame's rest lies.
pub(super) fn place(elsewhere: &Elsewhere) -> Option<(&Memory, Range<usize>)> {
    let lender = (&*elsewhere.memory as &dyn Any).downcast_ref::<Lender>()?;
    let slot = u16::try_from(elsewhere.place).ok()?;
    let range = Slots::place(Way::In, slot, elsewhere.range.clone())?;
    Some((lender.slots.memory(), range))
}

/// Takes frames out of their slots until the batch is full: copies, or the front of those that may stay there. Returns
/// how many bytes came.
pub(super) fn take_from_slots(
    pool: &mut Pool,
    batch: &mut RxBatch,
    lost: &mut Lost,
    places: &mut Places<'_>,
    memory: &Rc<Lender>,
) -> usize {
    let mut bytes = 0;
    while !batch.is_full() {
        let Some(place) = places.next() else { break };
        bytes += place.len;
        match vnet::decode(&place.header) {
            // The helper has nothing to lend to us.
            Ok(offload) if place.lent.is_none() => match take_one(pool, &place, offload, memory) {
                Ok(frame) => push_frame(pool, batch, lost, frame),
                Err(PoolEmpty) => lost.no_buffer += 1,
            },
            _ => {
                lost.bad_framing += 1;
                memory.slots.give_back(Way::In, place.slot);
            }
        }
    }
    bytes
}

/// One frame out of its slot.
fn take_one(
    pool: &mut Pool,
    place: &Place,
    offload: Offload,
    memory: &Rc<Lender>,
) -> Result<Frame, PoolEmpty> {
    let slots = &memory.slots;
    // Nothing behind the headers of TCP is anybody's business; of other protocols the whole message may be.
    let mut front = [0; HEADER_MAX];
    if is_tcp(&offload)
        && place.len > ALONE
        && slots.read(Way::In, place.slot, &mut front)
        && is_ip(&front)
        && memory.lend()
    {
        let rest = Elsewhere {
            memory: Rc::<Lender>::clone(memory),
            place: place.slot.into(),
            range: HEADER_MAX..place.len,
        };
        return pool.borrow_in(&front, rest, offload);
    }
    let copied = pool.lease_large().map(|lease| {
        let room = pool.lease_mut(&lease).get_mut(..place.len).unwrap_or_default();
        let read = slots.read(Way::In, place.slot, room);
        debug_assert!(read, "the place was looked at by the protocol");
        pool.fill(lease, 0..place.len, offload)
    });
    slots.give_back(Way::In, place.slot);
    copied
}

fn is_tcp(offload: &Offload) -> bool {
    matches!(offload.gso, Some(Gso { kind: GsoKind::Tcp4 | GsoKind::Tcp6, .. }))
}

/// Whether the frame has no VLAN tag, which would have to be taken out of it.
fn is_ip(front: &[u8]) -> bool {
    matches!(front.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]))
}
