//! TCP options: those we understand, and those we send.
//!
//! The maximum segment size (RFC 9293, 3.7.1), window scaling (RFC 7323, 2) and selective
//! acknowledgement (RFC 2018). Timestamps are not negotiated: the sequence space does not wrap
//! within the life of a segment on a link inside one machine, and round trips are timed without
//! them.

use super::seq::Seq;

/// Blocks that fit an option list without anything else (RFC 2018, 3).
pub(super) const BLOCKS_MAX: usize = 4;

mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOP: u8 = 1;
    pub(super) const MSS: u8 = 2;
    pub(super) const WINDOW_SCALE: u8 = 3;
    pub(super) const SACK_PERMITTED: u8 = 4;
    pub(super) const SACK: u8 = 5;
}

/// What a list of options says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    /// At most 14.
    pub(super) window_scale: Option<u8>,
    pub(super) sack_permitted: bool,
    blocks: [(Seq, Seq); BLOCKS_MAX],
    block_count: u8,
}

impl Options {
    /// Reads a list. It ends where it cannot be read further; what was read until then holds.
    pub(super) fn parse(mut list: &[u8]) -> Self {
        let mut found = Self::default();
        while let [kind, rest @ ..] = list {
            match *kind {
                kind::END => break,
                kind::NOP => {
                    list = rest;
                    continue;
                }
                _ => {}
            }
            let len = rest.first().map_or(0, |len| usize::from(*len));
            let Some(body) = list.get(2..len) else { break };
            match (*kind, body) {
                (kind::MSS, &[a, b]) => found.mss = Some(u16::from_be_bytes([a, b])),
                (kind::WINDOW_SCALE, &[shift]) => found.window_scale = Some(shift.min(14)),
                (kind::SACK_PERMITTED, []) => found.sack_permitted = true,
                (kind::SACK, blocks) => found.read_blocks(blocks),
                _ => {}
            }
            list = list.get(len..).unwrap_or_default();
        }
        found
    }

    fn read_blocks(&mut self, bytes: &[u8]) {
        let (blocks, _) = bytes.as_chunks::<8>();
        for (&[a, b, c, d, e, f, g, h], to) in blocks.iter().zip(&mut self.blocks) {
            *to = (Seq(u32::from_be_bytes([a, b, c, d])), Seq(u32::from_be_bytes([e, f, g, h])));
        }
        self.block_count = blocks.len().min(BLOCKS_MAX) as u8;
    }

    /// Blocks of a selective acknowledgement: first byte, and the one behind the last.
    pub(super) fn blocks(&self) -> &[(Seq, Seq)] {
        self.blocks.get(..usize::from(self.block_count)).unwrap_or_default()
    }
}

/// A list of options to send, padded.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    bytes: [u8; 40],
    len: u8,
}

impl List {
    /// No options.
    pub(super) const fn new() -> Self {
        Self { bytes: [0; 40], len: 0 }
    }

    /// The options of a SYN.
    pub(super) fn of_syn(mss: u16, window_scale: Option<u8>, sack: bool) -> Self {
        let mut list = Self::new();
        let [a, b] = mss.to_be_bytes();
        list.push(&[kind::MSS, 4, a, b]);
        if sack {
            list.push(&[kind::NOP, kind::NOP, kind::SACK_PERMITTED, 2]);
        }
        if let Some(shift) = window_scale {
            list.push(&[kind::NOP, kind::WINDOW_SCALE, 3, shift]);
        }
        list
    }

    /// A selective acknowledgement of at most [`BLOCKS_MAX`] blocks.
    pub(super) fn of_blocks(blocks: &[(Seq, Seq)]) -> Self {
        let mut list = Self::new();
        let blocks = blocks.get(..BLOCKS_MAX).unwrap_or(blocks);
        if !blocks.is_empty() {
            list.push(&[kind::NOP, kind::NOP, kind::SACK, 2 + 8 * blocks.len() as u8]);
            for (from, to) in blocks {
                list.push(&from.0.to_be_bytes());
                list.push(&to.0.to_be_bytes());
            }
        }
        list
    }

    fn push(&mut self, bytes: &[u8]) {
        let at = usize::from(self.len);
        if let Some(room) = self.bytes.get_mut(at..at + bytes.len()) {
            room.copy_from_slice(bytes);
            self.len += bytes.len() as u8;
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read() {
        let syn = Options::parse(List::of_syn(1460, Some(7), true).bytes());
        assert_eq!((syn.mss, syn.window_scale, syn.sack_permitted), (Some(1460), Some(7), true));
        let plain = Options::parse(List::of_syn(536, None, false).bytes());
        assert_eq!((plain.mss, plain.window_scale, plain.sack_permitted), (Some(536), None, false));
        let blocks =
            [(Seq(1), Seq(5)), (Seq(u32::MAX), Seq(3)), (Seq(7), Seq(8)), (Seq(9), Seq(9))];
        for count in 0..=4 {
            let list = List::of_blocks(&blocks[..count]);
            assert_eq!(list.bytes().len() % 4, 0);
            assert_eq!(Options::parse(list.bytes()).blocks(), &blocks[..count]);
        }
    }

    #[test]
    fn broken_lists_end_quietly() {
        assert_eq!(Options::parse(&[2, 4, 5]), Options::default());
        assert_eq!(Options::parse(&[2, 0, 5, 5]), Options::default());
        assert_eq!(Options::parse(&[2, 1]), Options::default());
        assert_eq!(Options::parse(&[0, 2, 4, 5, 5]), Options::default());
        // An unknown option is stepped over, a scale beyond 14 is 14 (RFC 7323, 2.3).
        let found = Options::parse(&[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 3, 99]);
        assert_eq!(found.window_scale, Some(14));
    }
}
