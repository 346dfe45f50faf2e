//! Which addresses a user may have, as an administrator writes them.
//!
//! | written | means |
//! |---|---|
//! | `02:00:00:12:00:01` | one address |
//! | `02:00:00:12:00:00/32` | all that begin with these 32 bits |
//! | `02:00:00:12:00:10-02:00:00:12:00:1f` | from the first to the last |
//! | `local` | every locally administered address (the second bit of the first byte set) |

use wire::MacAddr;

use crate::protocol::{MacRange, RANGES_MAX};

/// Why a text names no addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MacListError {
    #[error("\"{0}\" is not a MAC address, such as \"02:00:00:12:00:01\"")]
    Address(String),
    #[error(
        "\"{0}\" is not a prefix: write 1 to 48 bits after the slash, and zeros after those bits"
    )]
    Prefix(String),
    #[error("\"{0}\" ends before it begins")]
    Backwards(String),
    #[error("\"{0}\" names group addresses, which no guest can have")]
    Group(String),
    #[error(
        "\"{0}\" names 00:00:00:00:00:00, which belongs to no station: begin with 00:00:00:00:00:01"
    )]
    Zero(String),
    #[error("there are more than {RANGES_MAX} ranges of addresses")]
    TooMany,
}

/// The ranges that some texts name, in order and without overlaps.
///
/// # Errors
/// [`MacListError`].
pub(crate) fn parse<'a>(
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<MacRange>, MacListError> {
    let mut ranges = Vec::new();
    for text in texts {
        if text == "local" {
            // 64 values of the first byte.
            ranges.extend((0..=u8::MAX).filter(|byte| byte & 3 == 2).map(|byte| {
                let first = u64::from(byte) << 40;
                MacRange { first, last: first | ((1 << 40) - 1) }
            }));
        } else {
            ranges.push(parse_one(text)?);
        }
    }
    ranges.sort_unstable();
    let mut merged: Vec<MacRange> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => {
                last.last = last.last.max(range.last);
            }
            _ => merged.push(range),
        }
    }
    if merged.len() > RANGES_MAX { Err(MacListError::TooMany) } else { Ok(merged) }
}

fn parse_one(text: &str) -> Result<MacRange, MacListError> {
    let address = |part: &str| {
        let mac = part.trim().parse::<MacAddr>();
        mac.map(MacAddr::as_u64).map_err(|_| MacListError::Address(part.trim().to_owned()))
    };
    let range = if let Some((base, bits)) = text.split_once('/') {
        let first = address(base)?;
        let bits = bits.parse::<u32>().ok().filter(|bits| (1..=48).contains(bits));
        let host = (1_u64 << (48 - bits.ok_or_else(|| MacListError::Prefix(text.into()))?)) - 1;
        if first & host != 0 {
            return Err(MacListError::Prefix(text.into()));
        }
        MacRange { first, last: first | host }
    } else if let Some((first, last)) = two_addresses(text) {
        MacRange { first: address(first)?, last: address(last)? }
    } else {
        let only = address(text)?;
        MacRange { first: only, last: only }
    };
    if range.first > range.last {
        return Err(MacListError::Backwards(text.into()));
    }
    // The group bit is in the first byte: a range within one first byte is all groups or none, and a
    // wider one has both.
    let group = |number: u64| number >> 40 & 1 == 1;
    let wide = range.first >> 40 != range.last >> 40;
    if group(range.first) || wide {
        return Err(MacListError::Group(text.into()));
    }
    if range.first == 0 {
        return Err(MacListError::Zero(text.into()));
    }
    Ok(range)
}

/// Addresses may be written with hyphens, so a range is told by its length.
fn two_addresses(text: &str) -> Option<(&str, &str)> {
    let middle = text.char_indices().filter(|(_, c)| *c == '-').map(|(i, _)| i);
    middle
        .map(|i| (&text[..i], &text[i + 1..]))
        .find(|(first, last)| first.trim().len() == 17 && last.trim().len() == 17)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Vec<MacRange>, MacListError> {
        parse([text].into_iter())
    }

    #[test]
    fn every_form_is_read() {
        let range = |first, last| Ok(vec![MacRange { first, last }]);
        assert_eq!(one("02:00:00:12:00:01"), range(0x0200_0012_0001, 0x0200_0012_0001));
        assert_eq!(one("02-00-00-12-00-01"), range(0x0200_0012_0001, 0x0200_0012_0001));
        assert_eq!(one("02:00:00:12:00:00/32"), range(0x0200_0012_0000, 0x0200_0012_ffff));
        assert_eq!(one("02:00:00:00:00:00/48"), range(0x0200_0000_0000, 0x0200_0000_0000));
        assert_eq!(
            one("02:00:00:12:00:10-02:00:00:12:00:1f"),
            range(0x0200_0012_0010, 0x0200_0012_001f)
        );
        assert_eq!(
            one("02-00-00-12-00-10 - 02-00-00-12-00-1f"),
            range(0x0200_0012_0010, 0x0200_0012_001f)
        );
    }

    #[test]
    fn local_is_every_locally_administered_station() {
        let ranges = one("local").unwrap();
        for byte in 0..=u8::MAX {
            let inside = ranges.iter().any(|it| it.contains(MacAddr([byte, 1, 2, 3, 4, 5])));
            assert_eq!(inside, byte & 3 == 2, "{byte:#x}");
        }
    }

    #[test]
    fn ranges_that_touch_become_one() {
        let texts =
            ["02:00:00:00:00:02", "02:00:00:00:00:00-02:00:00:00:00:01", "02:00:00:00:00:01"];
        assert_eq!(
            parse(texts.into_iter()),
            Ok(vec![MacRange { first: 0x0200_0000_0000, last: 0x0200_0000_0002 }])
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for (text, why) in [
            ("", MacListError::Address(String::new())),
            ("eth0", MacListError::Address("eth0".into())),
            ("02:00:00:00:00:00/0", MacListError::Prefix("02:00:00:00:00:00/0".into())),
            ("02:00:00:00:00:00/49", MacListError::Prefix("02:00:00:00:00:00/49".into())),
            ("02:00:00:00:00:01/32", MacListError::Prefix("02:00:00:00:00:01/32".into())),
            (
                "02:00:00:00:00:02-02:00:00:00:00:01",
                MacListError::Backwards("02:00:00:00:00:02-02:00:00:00:00:01".into()),
            ),
            ("01:00:5e:00:00:01", MacListError::Group("01:00:5e:00:00:01".into())),
            ("ff:ff:ff:ff:ff:ff", MacListError::Group("ff:ff:ff:ff:ff:ff".into())),
            ("00:00:00:00:00:00", MacListError::Zero("00:00:00:00:00:00".into())),
            ("00:00:00:00:00:00/24", MacListError::Zero("00:00:00:00:00:00/24".into())),
            (
                "00:00:00:00:00:00-00:00:00:00:00:09",
                MacListError::Zero("00:00:00:00:00:00-00:00:00:00:00:09".into()),
            ),
            ("04:00:00:00:00:00/6", MacListError::Group("04:00:00:00:00:00/6".into())),
        ] {
            assert_eq!(one(text), Err(why));
        }
    }
}
