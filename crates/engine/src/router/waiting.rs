//! Packets that wait for a neighbour's address.
//!
//! One slab for all of them, with a list for each neighbour through it: the total is bounded, and no
//! neighbour that waits for nothing takes memory. Beyond the bound each port has [`SURE`] places for small
//! packets, so that those who fill the slab together keep nobody from finding his neighbours. These are
//! bounded as well, because every network has ports, and all of them have one pool: [`SURE_ALL`].

use alloc::vec::Vec;

use super::Arrival;
use crate::frame::Frame;

/// Packets of one port that may wait, whatever others have waiting.
pub(super) const SURE: u16 = 2;

/// Packets of all ports that may wait beyond the bound.
pub(super) const SURE_ALL: usize = 1024;

/// No packet.
const NONE: u32 = u32::MAX;

/// The packets of one neighbour, oldest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u8,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE, len: 0 }
    }
}

impl List {
    pub(super) fn len(self) -> usize {
        usize::from(self.len)
    }
}

#[derive(Debug)]
struct Place {
    packet: Option<(Arrival, Frame)>,
    next: u32,
}

#[derive(Debug)]
pub(super) struct Waiting {
    places: Vec<Place>,
    free: Vec<u32>,
    limit: usize,
}

impl Waiting {
    pub(super) fn new(limit: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), limit }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Adds a packet at the end of a list. Gives it back if there is no room for any more, unless it is
    /// one of those for which its port is `sure` of a place.
    pub(super) fn push(
        &mut self,
        list: &mut List,
        arrival: Arrival,
        frame: Frame,
        sure: bool,
    ) -> Result<(), Frame> {
        let sure = sure && !frame.body.is_large();
        let beyond = if sure { SURE_ALL } else { 0 };
        if self.len() >= self.limit.saturating_add(beyond) {
            return Err(frame);
        }
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { packet: None, next: NONE });
            u32::try_from(self.places.len() - 1).unwrap_or(NONE)
        });
        let Some(place) = self.places.get_mut(at as usize) else { return Err(frame) };
        *place = Place { packet: Some((arrival, frame)), next: NONE };
        match self.places.get_mut(list.tail as usize) {
            Some(last) => last.next = at,
            None => list.head = at,
        }
        list.tail = at;
        list.len += 1;
        Ok(())
    }

    /// The oldest packet of a list.
    pub(super) fn pop(&mut self, list: &mut List) -> Option<(Arrival, Frame)> {
        let at = list.head;
        let place = self.places.get_mut(at as usize)?;
        let packet = place.packet.take();
        list.head = place.next;
        list.len = list.len.saturating_sub(1);
        if list.head == NONE {
            *list = List::default();
        }
        self.free.push(at);
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::InterfaceId;
    use crate::{Pool, PoolLimits};
    use wire::Offload;

    #[test]
    fn what_is_sure_is_small_and_bounded() {
        let places = 2 + SURE_ALL;
        let mut pool = Pool::new(PoolLimits { small: places + 2, large: 1, headers: 1 });
        let (mut waiting, mut list) = (Waiting::new(2), List::default());
        let iface = InterfaceId { index: 0, generation: 0 };
        let arrival = Arrival { iface, port: Some(7), from_gateway: false };
        let mut push = |waiting: &mut Waiting, len: usize, sure| {
            let bytes = [7; 3000];
            let frame = pool.copy_in(&bytes[..len], Offload::NONE).expect("room");
            // A neighbour has a few, and there are many neighbours.
            let mut its = List::default();
            let pushed =
                waiting.push(if sure { &mut its } else { &mut list }, arrival, frame, sure);
            let fits = pushed.is_ok();
            if let Err(frame) = pushed {
                pool.release(frame);
            }
            fits
        };
        assert!(push(&mut waiting, 60, false) && push(&mut waiting, 60, false));
        assert!(!push(&mut waiting, 60, false));
        assert!(!push(&mut waiting, 3000, true), "a large one is not sure");
        for _ in 0..SURE_ALL {
            assert!(push(&mut waiting, 60, true));
        }
        assert!(!push(&mut waiting, 60, true));
        assert_eq!(waiting.len(), places);
    }
}
