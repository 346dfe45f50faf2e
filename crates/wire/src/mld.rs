//! Multicast listener discovery, versions 1 and 2 (RFC 2710, RFC 3810): ICMPv6 messages.

use core::net::Ipv6Addr;

use crate::Malformed;
use crate::igmp::{Record, Records, Wish};

/// Bytes of a query or of a version 1 message, the ICMPv6 header included.
pub const HEADER_LEN: usize = 24;

/// ICMPv6 types.
pub mod kind {
    /// Who is in the group, or in any?
    pub const QUERY: u8 = 130;
    /// Version 1: I am in this group.
    pub const REPORT_V1: u8 = 131;
    /// Version 1: I leave this group.
    pub const DONE: u8 = 132;
    /// Version 2: what I want of several groups.
    pub const REPORT_V2: u8 = 143;
}

/// The groups of a message that is one of [`kind`].
///
/// # Errors
/// [`Malformed::Truncated`] when the message is shorter than its kind demands.
pub fn records(message: &[u8]) -> Result<Records<'_, Ipv6Addr>, Malformed> {
    let (&[kind, .., hi, lo], rest) =
        message.split_first_chunk::<8>().ok_or(Malformed::Truncated)?;
    if kind == kind::REPORT_V2 {
        return Ok(Records::Many { rest, count: u16::from_be_bytes([hi, lo]) });
    }
    let group = Ipv6Addr::from(*rest.first_chunk::<16>().ok_or(Malformed::Truncated)?);
    Ok(Records::One(match kind {
        kind::REPORT_V1 => Some(Record { group, wish: Wish::Receive }),
        kind::DONE => Some(Record { group, wish: Wish::Leave }),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xfb];

    #[test]
    fn version_1() {
        for (kind, wish) in [
            (kind::REPORT_V1, Some(Wish::Receive)),
            (kind::DONE, Some(Wish::Leave)),
            (kind::QUERY, None),
        ] {
            let mut bytes = [0; HEADER_LEN];
            bytes[0] = kind;
            bytes[8..].copy_from_slice(&GROUP);
            let group = Ipv6Addr::from(GROUP);
            let expected = wish.map(|wish| Record { group, wish });
            assert!(records(&bytes).unwrap().eq(expected));
            for len in 0..HEADER_LEN {
                assert_eq!(records(&bytes[..len]), Err(Malformed::Truncated));
            }
        }
    }

    #[test]
    fn version_2() {
        let mut bytes = [0; 48];
        bytes[0] = kind::REPORT_V2;
        bytes[7] = 2;
        bytes[8] = 4;
        bytes[12..28].copy_from_slice(&GROUP);
        bytes[28] = 3;
        bytes[32..].copy_from_slice(&GROUP);
        let group = Ipv6Addr::from(GROUP);
        let found = records(&bytes).unwrap();
        let wishes = [Wish::Receive, Wish::Leave];
        assert!(found.eq(wishes.map(|wish| Record { group, wish })));
        assert!(found.is_sound());
        for len in 8..bytes.len() {
            assert!(!records(&bytes[..len]).unwrap().is_sound(), "{len}");
        }
        for len in 0..8 {
            assert_eq!(records(&bytes[..len]), Err(Malformed::Truncated));
        }
    }
}
