//! Fragments of one port under way (check 25; RFC 1858, RFC 3128, RFC 5722).
//!
//! Fragments are not put together. It is enough to see that they come as stacks send them, and as a
//! link delivers them: in order. The first one is held against every other check; a later one is
//! let through if its datagram's first was, and if it begins where or behind the last one ended. So
//! no fragment can change what was checked, and nothing that was not checked gets a transport
//! header.

use alloc::vec::Vec;
use core::time::Duration;

use crate::guard::fast::Packed;
use crate::reason::Reason;
use crate::time::Instant;

/// Datagrams under way that are remembered per port.
const DATAGRAMS: usize = 64;

/// How long a datagram may take. The sender emits all of it at once.
const TIME: Duration = Duration::from_secs(2);

/// Bytes of the shortest first fragment: the longest IPv4 header and eight bytes (RFC 791, 3.2).
pub(super) const FIRST_MIN: usize = 68;

/// Bytes of a datagram at most.
const DATAGRAM_MAX: u32 = 65_535;

/// What makes fragments one datagram's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) source: Packed,
    pub(super) destination: Packed,
    pub(super) protocol: u8,
    pub(super) id: u32,
}

/// Where a fragment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Its first byte in the datagram.
    pub(super) offset: u32,
    /// Its bytes.
    pub(super) len: u32,
    /// Others follow.
    pub(super) more: bool,
}

/// The datagrams of a port.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    datagrams: Vec<(Datagram, Seen, Instant)>,
}

/// What came of a datagram, whose first fragment came at the instant beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    /// The offset behind the last fragment, where the next may begin; none may after the datagram's
    /// last one.
    end: u32,
    /// Nothing is missing up to there.
    whole: bool,
}

/// No fragment begins so far behind.
const CLOSED: u32 = u32::MAX;

impl Fragments {
    /// Holds a fragment against those that came before, without a note of it.
    pub(super) fn check(&self, now: Instant, which: &Datagram, piece: Piece) -> Result<(), Reason> {
        if piece.offset + piece.len > DATAGRAM_MAX {
            return Err(Reason::FragmentOverlap);
        }
        let known = self
            .datagrams
            .iter()
            .find(|(known, _, at)| known == which && now.saturating_since(*at) < TIME);
        match (piece.offset, known) {
            // The transport header would go on in it (RFC 1858, 3.2).
            (1..=15, _) => Err(Reason::FragmentTiny),
            (0, Some(_)) => Err(Reason::FragmentOverlap),
            (0, None) => {
                let full = self.datagrams.len() >= DATAGRAMS
                    && self.datagrams.iter().all(|(.., at)| now.saturating_since(*at) < TIME);
                if full { Err(Reason::FragmentLimit) } else { Ok(()) }
            }
            (_, None) => Err(Reason::FragmentOrphan),
            (offset, Some((_, seen, _))) if offset < seen.end => Err(Reason::FragmentOverlap),
            (_, Some(_)) => Ok(()),
        }
    }

    /// Takes note of a fragment that is let through.
    pub(super) fn note(&mut self, now: Instant, which: &Datagram, piece: Piece) {
        let place = self.datagrams.iter().position(|(known, ..)| known == which);
        match (place, piece.more) {
            (Some(place), more) => {
                let Some((_, seen, at)) = self.datagrams.get_mut(place) else { return };
                if piece.offset == 0 {
                    // What is left of another datagram is too old to matter.
                    (*seen, *at) = (Seen { end: 0, whole: true }, now);
                }
                seen.whole &= seen.end == piece.offset;
                // With a piece missing its receiver waits on for whatever would fill the hole, so
                // the note stays.
                seen.end = if more { piece.offset + piece.len } else { CLOSED };
                if !more && seen.whole {
                    self.datagrams.swap_remove(place);
                }
            }
            (None, _) => {
                if self.datagrams.len() >= DATAGRAMS {
                    self.datagrams.retain(|(.., at)| now.saturating_since(*at) < TIME);
                }
                if self.datagrams.len() < DATAGRAMS && piece.more {
                    self.datagrams.push((*which, Seen { end: piece.len, whole: true }, now));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn piece(offset: u32, len: u32, more: bool) -> Piece {
        Piece { offset, len, more }
    }

    fn datagram(id: u32) -> Datagram {
        let (source, destination) = (Packed::v4(1), Packed::v4(2));
        Datagram { source, destination, protocol: 17, id }
    }

    fn pass(table: &mut Fragments, now: Instant, id: u32, piece: Piece) -> Result<(), Reason> {
        table.check(now, &datagram(id), piece)?;
        table.note(now, &datagram(id), piece);
        Ok(())
    }

    #[test]
    fn in_order_and_without_overlap() {
        let mut table = Fragments::default();
        let now = Instant::from_nanos(7);
        assert_eq!(pass(&mut table, now, 1, piece(1480, 10, false)), Err(Reason::FragmentOrphan));
        assert_eq!(pass(&mut table, now, 1, piece(0, 1480, true)), Ok(()));
        assert_eq!(pass(&mut table, now, 1, piece(0, 1480, true)), Err(Reason::FragmentOverlap));
        assert_eq!(pass(&mut table, now, 1, piece(8, 80, true)), Err(Reason::FragmentTiny));
        assert_eq!(pass(&mut table, now, 1, piece(1472, 80, true)), Err(Reason::FragmentOverlap));
        assert_eq!(pass(&mut table, now, 1, piece(1480, 1480, true)), Ok(()));
        assert_eq!(pass(&mut table, now, 1, piece(1480, 80, true)), Err(Reason::FragmentOverlap));
        assert_eq!(
            pass(&mut table, now, 1, piece(65_528, 8, false)),
            Err(Reason::FragmentOverlap),
            "beyond the longest datagram"
        );
        assert_eq!(pass(&mut table, now, 1, piece(4000, 80, false)), Ok(()), "one was lost");
        for (offset, more) in [(0, true), (2960, true), (4000, false), (4040, true), (4080, false)]
        {
            // It is waited for, and nothing else may be in its place, nor behind the last one.
            let piece = piece(offset, 80, more);
            assert_eq!(pass(&mut table, now, 1, piece), Err(Reason::FragmentOverlap), "{offset}");
        }
        assert_eq!(pass(&mut table, now, 2, piece(0, 1480, true)), Ok(()));
        assert_eq!(pass(&mut table, now, 2, piece(1480, 80, false)), Ok(()));
        assert_eq!(pass(&mut table, now, 2, piece(0, 1480, true)), Ok(()), "it was complete");
        // A hole in the middle is none the less one when the last fragment joins the one before.
        assert_eq!(pass(&mut table, now, 3, piece(0, 80, true)), Ok(()));
        assert_eq!(pass(&mut table, now, 3, piece(160, 80, true)), Ok(()));
        assert_eq!(pass(&mut table, now, 3, piece(240, 80, false)), Ok(()));
        assert_eq!(pass(&mut table, now, 3, piece(0, 80, true)), Err(Reason::FragmentOverlap));
    }

    #[test]
    fn bounded_and_forgotten_in_time() {
        let mut table = Fragments::default();
        let now = Instant::from_nanos(7);
        for id in 0..64 {
            assert_eq!(pass(&mut table, now, id, piece(0, 80, true)), Ok(()));
        }
        assert_eq!(pass(&mut table, now, 64, piece(0, 80, true)), Err(Reason::FragmentLimit));
        let later = now + TIME;
        assert_eq!(pass(&mut table, later, 1, piece(80, 8, false)), Err(Reason::FragmentOrphan));
        assert_eq!(pass(&mut table, later, 64, piece(0, 80, true)), Ok(()));
        assert_eq!(table.datagrams.len(), 1);
        // A number that is used again.
        let again = later + TIME;
        assert_eq!(pass(&mut table, again, 64, piece(0, 80, true)), Ok(()));
        assert_eq!(pass(&mut table, again, 64, piece(80, 8, false)), Ok(()));
        assert_eq!(pass(&mut table, again, 64, piece(0, 80, true)), Ok(()), "it was complete");
    }
}
