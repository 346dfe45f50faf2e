//! IGMP, versions 1 to 3 (RFC 1112, RFC 2236, RFC 3376).

use core::net::Ipv4Addr;

use crate::{Malformed, checksum};

/// Bytes of the shortest message.
pub const HEADER_LEN: usize = 8;

/// Message types.
pub mod kind {
    /// Who is in the group, or in any?
    pub const QUERY: u8 = 0x11;
    /// Version 1: I am in this group.
    pub const REPORT_V1: u8 = 0x12;
    /// Version 2: I am in this group.
    pub const REPORT_V2: u8 = 0x16;
    /// Version 2: I leave this group.
    pub const LEAVE: u8 = 0x17;
    /// Version 3: what I want of several groups.
    pub const REPORT_V3: u8 = 0x22;
}

/// What one group's record of a report says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<A> {
    /// The group.
    pub group: A,
    /// Whether the sender wants anything of it afterwards.
    pub joined: bool,
}

/// A view of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    head: &'a [u8; HEADER_LEN],
}

impl<'a> Message<'a> {
    /// Looks at a whole message.
    ///
    /// # Errors
    /// [`Malformed::Truncated`] when there are fewer than eight bytes.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let head = bytes.first_chunk().ok_or(Malformed::Truncated)?;
        Ok(Self { bytes, head })
    }

    /// See [`kind`].
    #[must_use]
    pub fn kind(self) -> u8 {
        self.head[0]
    }

    /// Whether the checksum holds.
    #[must_use]
    pub fn checksum_is_good(self) -> bool {
        checksum::sum(self.bytes) == 0xffff
    }

    /// The group of every message but version 3's report.
    #[must_use]
    pub fn group(self) -> Ipv4Addr {
        let [.., a, b, c, d] = *self.head;
        Ipv4Addr::new(a, b, c, d)
    }

    /// What the message says about groups; a query says nothing.
    #[must_use]
    pub fn records(self) -> Records<'a> {
        match self.kind() {
            kind::REPORT_V1 | kind::REPORT_V2 => {
                Records::One(Some(Record { group: self.group(), joined: true }))
            }
            kind::LEAVE => Records::One(Some(Record { group: self.group(), joined: false })),
            kind::REPORT_V3 => {
                let count = u16::from_be_bytes([self.head[6], self.head[7]]);
                Records::Many { rest: self.bytes.get(HEADER_LEN..).unwrap_or_default(), count }
            }
            _ => Records::One(None),
        }
    }
}

/// The groups of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Records<'a> {
    /// Versions 1 and 2.
    One(Option<Record<Ipv4Addr>>),
    /// Version 3.
    Many {
        /// The records to come.
        rest: &'a [u8],
        /// How many of them the message claims.
        count: u16,
    },
}

impl Records<'_> {
    /// Whether a version 3 report has the records that it claims.
    #[must_use]
    pub fn is_sound(mut self) -> bool {
        while self.next().is_some() {}
        matches!(self, Self::One(_) | Self::Many { count: 0, .. })
    }
}

impl Iterator for Records<'_> {
    type Item = Record<Ipv4Addr>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(record) => record.take(),
            Self::Many { rest, count } => {
                let left = count.checked_sub(1)?;
                let (group, joined, after) = record::<4>(rest)?;
                (*rest, *count) = (after, left);
                Some(Record { group: Ipv4Addr::from(group), joined })
            }
        }
    }
}

/// One record of a version 3 report of IGMP or version 2 report of MLD (RFC 3376, 4.2.4; RFC 3810,
/// 5.2.4), with addresses of `N` bytes: the group, whether anything of it is wanted, what follows.
pub(crate) fn record<const N: usize>(bytes: &[u8]) -> Option<([u8; N], bool, &[u8])> {
    let (&[kind, auxiliary, hi, lo], rest) = bytes.split_first_chunk()?;
    let (&group, rest) = rest.split_first_chunk()?;
    let sources = u16::from_be_bytes([hi, lo]);
    let len = usize::from(sources) * N + usize::from(auxiliary) * 4;
    // "Include nothing" is how a member leaves; to block sources is no wish to receive.
    let joined = match kind {
        1 | 3 => sources > 0,
        2 | 4 | 5 => true,
        _ => false,
    };
    Some((group, joined, rest.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports() {
        let bytes = [0x16, 0, 0x07, 0xfb, 224, 1, 2, 3];
        let message = Message::new(&bytes).unwrap();
        assert!(message.checksum_is_good());
        let group = Ipv4Addr::new(224, 1, 2, 3);
        assert!(message.records().eq([Record { group, joined: true }]));
        let bytes = [0x17, 0, 0, 0, 224, 1, 2, 3];
        let message = Message::new(&bytes).unwrap();
        assert!(!message.checksum_is_good());
        assert!(message.records().eq([Record { group, joined: false }]));
        let bytes = [0x11, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Message::new(&bytes).unwrap().records().count(), 0);
        assert_eq!(Message::new(&bytes[1..]), Err(Malformed::Truncated));
    }

    #[test]
    fn version_3() {
        let bytes = [
            0x22, 0, 0, 0, 0, 0, 0, 3, //
            4, 0, 0, 0, 224, 1, 2, 3, //
            3, 1, 0, 0, 224, 1, 2, 4, 9, 9, 9, 9, //
            1, 0, 0, 1, 232, 1, 2, 5, 10, 0, 0, 1,
        ];
        let expected = [
            Record { group: Ipv4Addr::new(224, 1, 2, 3), joined: true },
            Record { group: Ipv4Addr::new(224, 1, 2, 4), joined: false },
            Record { group: Ipv4Addr::new(232, 1, 2, 5), joined: true },
        ];
        let message = Message::new(&bytes).unwrap();
        assert!(message.records().eq(expected));
        assert!(message.records().is_sound());
        for len in HEADER_LEN..bytes.len() {
            assert!(!Message::new(&bytes[..len]).unwrap().records().is_sound(), "{len}");
        }
    }
}
