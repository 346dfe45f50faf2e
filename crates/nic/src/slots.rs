//! The memory in which large frames travel between hypervisor and helper.
//!
//! # Theory of operation
//!
//! Copying 64 KiB into a socket and out again costs more than everything else that is done to a large
//! frame, so its bytes lie in memory that both ends map ([`sys::shared`]) and only their place is
//! told, in a message on the socket ([`crate::protocol`]). There are [`SLOTS`] places each way. Each
//! has one word: who sends sets it when he takes the slot, who receives clears it when he needs the
//! slot no more. Few slots are better than many: what lies in them is to be still in the cache. The
//! first that is free is taken.
//!
//! What the hypervisor sends lies in memory of its own already, from which it would have to be copied. So the hypervisor
//! may lend that memory: the helper can read it and nobody but the hypervisor can write to it. Then a slot has the first
//! bytes of a frame at most, and its word says until when the rest is needed where it lies.
//!
//! Neither end believes the other:
//!
//! * the size is sealed, the layout is fixed, and a number of a slot or a length out of range is a
//!   breach of the protocol;
//! * what decides about a frame is copied out first and looked at afterwards, so it cannot change
//!   any more; the helper sends the headers from that copy, only what is behind them from the slot;
//! * a word that lies spoils frames of the liar's own connection, nothing else.
//!
//! The helper has the device's frames put into a slot before it has judged them. That shows a user
//! nothing that is not his: the kernel's filter ([`sys::packet_filter`]) was there before and let only
//! frames to his addresses and to groups pass. While that filter is not exact, slots are not used
//! ([`Slots::take`] is not called).

use std::io;
use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};

use sys::shared::Memory;

use crate::protocol::FRAME_MAX;

/// Large frames that can be under way in one direction.
pub const SLOTS: u16 = 16;

/// Most bytes of memory that a hypervisor can lend. The helper is charged for pages of it that nobody has touched before.
pub const LENT_MAX: usize = 64 << 20;

/// Bytes of a slot: whole pages for a frame.
const SLOT: usize = 17 * 4096;

/// The words come first, in a page of their own.
const WORDS: usize = 4096;

/// Bytes of the memory.
const LEN: usize = WORDS + 2 * SLOTS as usize * SLOT;

const FREE: u32 = 0;
const TAKEN: u32 = 1;

/// Which way frames travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the hypervisor to the device.
    Out,
    /// From the device to the hypervisor.
    In,
}

/// One end's view of the memory.
#[derive(Debug)]
pub struct Slots(Memory);

const fn first(way: Way) -> usize {
    match way {
        Way::Out => 0,
        Way::In => SLOTS as usize,
    }
}

/// Where the word of a slot is.
fn word(way: Way, slot: u16) -> usize {
    (first(way) + usize::from(slot)) * size_of::<u32>()
}

impl Slots {
    /// Makes the memory; the descriptor is for the other end.
    ///
    /// # Errors
    /// EMFILE, ENOMEM.
    pub fn create() -> io::Result<(Slots, OwnedFd)> {
        Memory::create(LEN).map(|(memory, fd)| (Slots(memory), fd))
    }

    /// Maps what the other end has made.
    ///
    /// # Errors
    /// As [`Memory::map`].
    pub fn map(fd: BorrowedFd<'_>) -> io::Result<Slots> {
        Memory::map(fd, LEN).map(Slots)
    }

    /// The memory itself, for the calls that move frames.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.0
    }

    /// Takes the first free slot to send in; `None` when there is none.
    #[must_use]
    pub fn take(&self, way: Way) -> Option<u16> {
        let free = |slot: &u16| self.0.word(word(way, *slot)).is_ok_and(|it| it == FREE);
        let slot = (0..SLOTS).find(free)?;
        self.0.set_word(word(way, slot), TAKEN).ok()?;
        Some(slot)
    }

    /// Whether a slot that was taken has been given back.
    #[must_use]
    pub fn is_free(&self, way: Way, slot: u16) -> bool {
        slot < SLOTS && self.0.word(word(way, slot)).is_ok_and(|it| it == FREE)
    }

    /// Gives a slot back: its receiver, when the frame is no longer needed there.
    pub fn give_back(&self, way: Way, slot: u16) {
        if slot < SLOTS {
            // Within the first page, always.
            let _inside = self.0.set_word(word(way, slot), FREE);
        }
    }

    /// Where the bytes of a frame from `from` to `to` lie; `None` when slot or frame cannot be.
    #[must_use]
    pub fn place(way: Way, slot: u16, part: Range<usize>) -> Option<Range<usize>> {
        if slot >= SLOTS || part.start > part.end || part.end > FRAME_MAX {
            return None;
        }
        let start = WORDS + (first(way) + usize::from(slot)) * SLOT;
        Some(start + part.start..start + part.end)
    }

    /// Copies the front of a frame out of its slot; false when that cannot be.
    #[must_use]
    pub fn read(&self, way: Way, slot: u16, to: &mut [u8]) -> bool {
        self.read_at(way, slot, 0, to)
    }

    /// Copies a piece of a frame, from its byte `at` on, out of its slot; false when that cannot be.
    #[must_use]
    pub fn read_at(&self, way: Way, slot: u16, at: usize, to: &mut [u8]) -> bool {
        Slots::place(way, slot, at..at.saturating_add(to.len()))
            .is_some_and(|place| self.0.read(place.start, to).is_ok())
    }

    /// Copies a piece of a frame into its slot, at byte `at` of the frame; false when that cannot be.
    #[must_use]
    pub fn write(&self, way: Way, slot: u16, at: usize, from: &[u8]) -> bool {
        Slots::place(way, slot, at..at.saturating_add(from.len()))
            .is_some_and(|place| self.0.write(place.start, from).is_ok())
    }
}

const _: () = assert!(SLOT >= FRAME_MAX && 2 * SLOTS as usize * size_of::<u32>() <= WORDS);

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_slot_has_one_frame_until_it_is_given_back() {
        let (ours, fd) = Slots::create().unwrap();
        let theirs = Slots::map(fd.as_fd()).unwrap();
        for way in [Way::Out, Way::In] {
            let all: Vec<u16> = std::iter::from_fn(|| ours.take(way)).collect();
            assert_eq!(all, (0..SLOTS).collect::<Vec<_>>());
            theirs.give_back(way, 3);
            assert_eq!((ours.take(way), ours.take(way)), (Some(3), None));
        }
        theirs.give_back(Way::Out, SLOTS);
        theirs.give_back(Way::Out, u16::MAX);
        assert_eq!(
            ours.take(Way::In),
            None,
            "a number that is none frees no slot of the other way"
        );
    }

    #[test]
    fn slots_do_not_overlap_and_nothing_is_outside() {
        let (memory, _fd) = Slots::create().unwrap();
        let mut end = WORDS;
        for way in [Way::Out, Way::In] {
            for slot in 0..SLOTS {
                let place = Slots::place(way, slot, 0..FRAME_MAX).unwrap();
                assert!(place.start >= end && place.end <= LEN);
                end = place.end;
            }
            let mut one = [0];
            assert!(!memory.read(way, SLOTS, &mut one) && !memory.write(way, SLOTS, 0, &one));
            assert!(
                !memory.write(way, 0, FRAME_MAX, &one) && !memory.write(way, 0, usize::MAX, &one)
            );
            assert!(memory.write(way, 0, FRAME_MAX - 1, &one));
        }
    }
}
