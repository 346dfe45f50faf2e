//! The Internet checksum (RFC 1071), its incremental update (RFC 1624), and the completion of
//! partial checksums.
//!
//! A *sum* here is the one's complement sum of big-endian 16-bit words, folded to 16 bits and not
//! negated. A *checksum* is a sum negated, as header fields hold it. A *partial* checksum field
//! holds a sum, that of the pseudo header, not negated: rewriting an address of such a packet adds
//! to the field with the other sign, see [`update_partial`].

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use crate::{HEADER_MAX, Offload, OffloadError, pieces};

/// The sum of `bytes`; an odd last byte counts as the high half of a word.
#[inline]
#[must_use]
pub fn sum(bytes: &[u8]) -> u16 {
    u16::from_be(fold(sum_native(bytes)))
}

/// The sum over words in the host's order: one's complement addition does not mind which byte comes
/// first as long as all words agree (RFC 1071, 2(B)), so that the words need not be swapped.
///
/// Words of 32 bits go into 64-bit accumulators, which overflow only after 2^32 additions.
#[inline]
fn sum_native(bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut lanes = [0_u64; 8];
    for block in blocks {
        let (words, _) = block.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += u64::from(u32::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, rest) = rest.as_chunks::<4>();
    for word in words {
        total += u64::from(u32::from_ne_bytes(*word));
    }
    let (halves, rest) = rest.as_chunks::<2>();
    for half in halves {
        total += u64::from(u16::from_ne_bytes(*half));
    }
    if let [last] = *rest {
        total += u64::from(u16::from_ne_bytes([last, 0]));
    }
    total
}

/// Folds a wide sum to 16 bits by adding the carries back.
#[inline]
fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    // At most 0xffff + 1 before the last carry.
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Adds two sums.
#[inline]
#[must_use]
pub const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    // Two 16-bit numbers that overflow leave at most 0xfffe.
    sum + carry as u16
}

/// The sum of a range of a frame in two pieces. Where the first part has an odd length, the bytes of
/// the second change places in their words, which swaps the bytes of its sum.
#[inline]
#[must_use]
pub fn sum_pieces(frame: &[&[u8]; 2], range: &Range<usize>) -> u16 {
    let [a, b] = pieces::slice(frame, range);
    let second = if b.is_empty() { 0 } else { sum(b) };
    let second = if a.len() % 2 == 0 { second } else { second.swap_bytes() };
    add(sum(a), second)
}

/// The sum of IPv4's pseudo header (RFC 9293, 3.1; RFC 768): addresses, protocol, and the length of
/// the transport header with its payload.
#[inline]
#[must_use]
pub fn pseudo_v4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: u16) -> u16 {
    let addresses = add(sum(&source.octets()), sum(&destination.octets()));
    add(addresses, add(u16::from(protocol), len))
}

/// The sum of IPv6's pseudo header (RFC 8200, 8.1). With a routing header, `destination` is the last
/// stop.
#[inline]
#[must_use]
pub fn pseudo_v6(source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, len: u32) -> u16 {
    let addresses = add(sum(&source.octets()), sum(&destination.octets()));
    add(addresses, add(u16::from(protocol), sum(&len.to_be_bytes())))
}

/// The checksum after a 16-bit word that it covers changed from `old` to `new`: equation 3 of
/// RFC 1624.
#[inline]
#[must_use]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !add(add(!checksum, !old), new)
}

/// The value of a partial checksum's field after a word of the pseudo header changed from `old` to
/// `new`. The field is not negated, so that this is not [`update`].
#[inline]
#[must_use]
pub const fn update_partial(field: u16, old: u16, new: u16) -> u16 {
    add(add(field, !old), new)
}

/// Completes a partial checksum into a copy of the frame's front; the rest stays where it is.
///
/// Copies the frame's bytes up to the end of the checksum field into `out`, with the checksum
/// complete, and says how many they are: the frame is now those bytes of `out` and then its own
/// from there on. A frame without a partial checksum needs no copy, 0 bytes.
///
/// A result of zero is written as 0xffff, its other form, as Linux does for every protocol
/// (`skb_checksum_help`): in UDP zero would mean that there is no checksum (RFC 768).
///
/// # Errors
/// [`OffloadError::HeadersTooLong`] when the field lies beyond [`HEADER_MAX`], and
/// [`OffloadError::ChecksumPosition`] when it lies beyond the frame. That it is the transport
/// header's is [`crate::offload::check`]'s business.
#[inline]
pub fn complete(
    offload: &Offload,
    frame: &[&[u8]; 2],
    out: &mut [u8; HEADER_MAX],
) -> Result<usize, OffloadError> {
    let Some(checksum) = offload.checksum else {
        return Ok(0);
    };
    let at = checksum.field();
    let front = out.get_mut(..at + 2).ok_or(OffloadError::HeadersTooLong)?;
    let len = pieces::len(frame);
    if pieces::gather(frame, front) < at + 2 {
        return Err(OffloadError::ChecksumPosition);
    }
    let sum = sum_pieces(frame, &(usize::from(checksum.start)..len));
    write(front, at, mangle(!sum));
    Ok(at + 2)
}

/// Zero in its other form.
#[inline]
pub(crate) const fn mangle(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

/// Writes a big-endian word; nothing when it would not fit.
#[inline]
pub(crate) fn write(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *field = word.to_be_bytes();
    }
}

/// Reads a big-endian word; zero when there is none.
#[inline]
pub(crate) fn read(bytes: &[u8], at: usize) -> u16 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |field| u16::from_be_bytes(*field))
}

#[cfg(test)]
mod tests;
