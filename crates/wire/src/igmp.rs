//! IGMP, versions 1 to 3 (RFC 1112, RFC 2236, RFC 3376).

use core::net::{Ipv4Addr, Ipv6Addr};

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
    /// What the sender wants of it afterwards.
    pub wish: Wish,
}

/// What the sender of a report wants of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// It wants to receive it, from everybody or from everybody but some.
    Receive,
    /// It wants to receive it, from nobody but some.
    ReceiveFrom,
    /// It wants to receive it from some more than before.
    Allow,
    /// It wants to receive it from some less than before. Who wants it from nobody but some, and from these
    /// no more, says nothing else (RFC 3376, 5.1; RFC 3810, 6.1).
    Block,
    /// It wants nothing of it any more.
    Leave,
    /// That does not follow: nobody is named, or the record is of a type that has no meaning.
    Unsaid,
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
    pub fn records(self) -> Records<'a, Ipv4Addr> {
        match self.kind() {
            kind::REPORT_V1 | kind::REPORT_V2 => {
                Records::One(Some(Record { group: self.group(), wish: Wish::Receive }))
            }
            kind::LEAVE => Records::One(Some(Record { group: self.group(), wish: Wish::Leave })),
            kind::REPORT_V3 => {
                let count = u16::from_be_bytes([self.head[6], self.head[7]]);
                Records::Many { rest: self.bytes.get(HEADER_LEN..).unwrap_or_default(), count }
            }
            _ => Records::One(None),
        }
    }
}

/// The groups of a report of IGMP, or of MLD.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Records<'a, A> {
    /// Of versions that name one group a message: IGMP 1 and 2, MLD 1.
    One(Option<Record<A>>),
    /// IGMP version 3, MLD version 2.
    Many {
        /// The records to come.
        rest: &'a [u8],
        /// How many of them the message claims.
        count: u16,
    },
}

impl<A: Group> Records<'_, A> {
    /// Whether a report of many records has those that it claims.
    #[must_use]
    pub fn is_sound(mut self) -> bool {
        while self.next().is_some() {}
        matches!(self, Self::One(_) | Self::Many { count: 0, .. })
    }
}

impl<A: Group> Iterator for Records<'_, A> {
    type Item = Record<A>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::One(record) => record.take(),
            Self::Many { rest, count } => {
                let left = count.checked_sub(1)?;
                let (record, after) = record(rest)?;
                (*rest, *count) = (after, left);
                Some(record)
            }
        }
    }
}

/// An address of a group, as records carry it.
pub trait Group: Copy {
    /// Bytes of an address.
    const LEN: usize;

    /// Takes the address at the front.
    fn split(bytes: &[u8]) -> Option<(Self, &[u8])>;
}

impl Group for Ipv4Addr {
    const LEN: usize = 4;

    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        bytes.split_first_chunk::<4>().map(|(address, rest)| ((*address).into(), rest))
    }
}

impl Group for Ipv6Addr {
    const LEN: usize = 16;

    fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        bytes.split_first_chunk::<16>().map(|(address, rest)| ((*address).into(), rest))
    }
}

/// Types of records (RFC 3376, 4.2.12; RFC 3810, 5.2.12).
mod record_kind {
    pub(super) const IS_INCLUDE: u8 = 1;
    pub(super) const IS_EXCLUDE: u8 = 2;
    pub(super) const CHANGE_TO_INCLUDE: u8 = 3;
    pub(super) const CHANGE_TO_EXCLUDE: u8 = 4;
    pub(super) const ALLOW: u8 = 5;
    pub(super) const BLOCK: u8 = 6;
}

/// One record of a report (RFC 3376, 4.2.4; RFC 3810, 5.2.5), and what follows.
fn record<A: Group>(bytes: &[u8]) -> Option<(Record<A>, &[u8])> {
    let (&[kind, auxiliary, hi, lo], rest) = bytes.split_first_chunk()?;
    let (group, rest) = A::split(rest)?;
    let sources = u16::from_be_bytes([hi, lo]);
    let len = usize::from(sources) * A::LEN + usize::from(auxiliary) * 4;
    let wish = match kind {
        record_kind::IS_EXCLUDE | record_kind::CHANGE_TO_EXCLUDE => Wish::Receive,
        // What it has included is not to be so any more: it leaves.
        record_kind::CHANGE_TO_INCLUDE if sources == 0 => Wish::Leave,
        record_kind::IS_INCLUDE | record_kind::CHANGE_TO_INCLUDE if sources > 0 => {
            Wish::ReceiveFrom
        }
        record_kind::ALLOW if sources > 0 => Wish::Allow,
        record_kind::BLOCK if sources > 0 => Wish::Block,
        // What is unknown is to be ignored (RFC 3376, 4.2.12; RFC 3810, 5.2.12).
        _ => Wish::Unsaid,
    };
    Some((Record { group, wish }, rest.get(len..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_1_and_2() {
        let group = Ipv4Addr::new(224, 1, 2, 3);
        for (kind, wish) in [
            (kind::REPORT_V1, Some(Wish::Receive)),
            (kind::REPORT_V2, Some(Wish::Receive)),
            (kind::LEAVE, Some(Wish::Leave)),
            (kind::QUERY, None),
            (0x99, None),
        ] {
            let bytes = [kind, 0, 0, 0, 224, 1, 2, 3];
            let message = Message::new(&bytes).unwrap();
            assert_eq!((message.kind(), message.group()), (kind, group));
            assert!(message.records().eq(wish.map(|wish| Record { group, wish })), "{kind}");
            assert!(message.records().is_sound());
            for len in 0..HEADER_LEN {
                assert_eq!(Message::new(&bytes[..len]), Err(Malformed::Truncated));
            }
        }
    }

    #[test]
    fn the_checksum_is_of_the_whole_message() {
        let mut bytes = [0x16, 0, 0x07, 0xfb, 224, 1, 2, 3, 0, 0];
        assert!(Message::new(&bytes).unwrap().checksum_is_good());
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(!Message::new(&bytes).unwrap().checksum_is_good(), "{at}");
            bytes[at] ^= 1;
        }
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
            Record { group: Ipv4Addr::new(224, 1, 2, 3), wish: Wish::Receive },
            Record { group: Ipv4Addr::new(224, 1, 2, 4), wish: Wish::Leave },
            Record { group: Ipv4Addr::new(232, 1, 2, 5), wish: Wish::ReceiveFrom },
        ];
        let message = Message::new(&bytes).unwrap();
        assert!(message.records().eq(expected));
        assert!(message.records().is_sound());
        for len in HEADER_LEN..bytes.len() {
            assert!(!Message::new(&bytes[..len]).unwrap().records().is_sound(), "{len}");
        }
    }

    #[test]
    fn wishes() {
        use Wish::{Allow, Block, Leave, Receive, ReceiveFrom, Unsaid};
        // Without and with a source.
        for (kind, without, with) in [
            (0, Unsaid, Unsaid),
            (1, Unsaid, ReceiveFrom),
            (2, Receive, Receive),
            (3, Leave, ReceiveFrom),
            (4, Receive, Receive),
            (5, Unsaid, Allow),
            (6, Unsaid, Block),
            (7, Unsaid, Unsaid),
        ] {
            let bytes = [0x22, 0, 0, 0, 0, 0, 0, 1, kind, 0, 0, 0, 224, 1, 2, 3];
            let wish = |bytes| Message::new(bytes).unwrap().records().next().unwrap().wish;
            assert_eq!(wish(&bytes), without, "{kind}");
            let mut bytes = [&bytes[..], &[10, 0, 0, 1]].concat();
            bytes[11] = 1;
            assert_eq!(wish(&bytes), with, "{kind}");
        }
    }
}
