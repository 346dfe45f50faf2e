//! Packets that wait for a neighbour's address.
//!
//! One slab for all of them, with a list for each neighbour through it: the total is bounded, and no
//! neighbour that waits for nothing takes memory. Beyond the bound each port has [`SURE`] places, so that
//! those who fill the slab together keep nobody from finding his neighbours.

use alloc::vec::Vec;

use super::Arrival;
use crate::frame::Frame;

/// Packets of one port that may wait, whatever others have waiting.
pub(super) const SURE: u16 = 2;

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
        if !sure && self.len() >= self.limit {
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
