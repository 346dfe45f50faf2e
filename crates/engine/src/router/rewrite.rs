//! What changes in a packet on its way through: Ethernet addresses, TTL, and fragments.

use alloc::collections::VecDeque;

use wire::ethernet::{HEADER_LEN as ETHERNET, ethertype};
use wire::{MacAddr, checksum, ipv4, ipv6};

use super::Output;
use super::counters::RouterReason;
use super::spec::InterfaceId;
use crate::frame::Frame;
use crate::pool::Pool;

/// Offset of the flags and fragment offset in an IPv4 header.
const FRAGMENT_AT: usize = 6;

/// The flag that says that more fragments follow.
const MORE: u16 = 0x2000;

/// The option bit that says that the option is in every fragment (RFC 791, 3.1).
const COPIED: u8 = 0x80;

/// Sets the TTL of an IPv4 header, and the checksum with it (RFC 1624).
#[inline]
pub(super) fn set_ttl(ip: &mut [u8], ttl: u8) {
    let Some([_, _, _, _, _, _, _, _, old, protocol, hi, lo]) = ip.first_chunk_mut() else {
        return;
    };
    let before = u16::from_be_bytes([*old, *protocol]);
    let after = u16::from_be_bytes([ttl, *protocol]);
    let sum = checksum::update(u16::from_be_bytes([*hi, *lo]), before, after);
    [*hi, *lo] = sum.to_be_bytes();
    *old = ttl;
}

/// Gives a frame its Ethernet addresses for the next network, and takes one from its TTL if it is
/// forwarded. The body stays where it is.
#[inline]
pub(super) fn rewrite(
    pool: &mut Pool,
    frame: &mut Frame,
    to: MacAddr,
    from: MacAddr,
    forwarded: bool,
) -> Result<(), RouterReason> {
    let front = pool.front(frame).and_then(|front| front.get(12..ETHERNET));
    let v6 = front == Some(&ethertype::IPV6.to_be_bytes());
    let len = ETHERNET + if v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
    let bytes = pool.header_mut(frame, len).ok_or(RouterReason::NoBuffer)?;
    readdress(bytes, v6, to, from, forwarded);
    Ok(())
}

/// The same for the bytes of the headers, of which there are enough.
#[inline]
pub(super) fn readdress(bytes: &mut [u8], v6: bool, to: MacAddr, from: MacAddr, forwarded: bool) {
    let Some((head, ip)) = bytes.split_first_chunk_mut::<ETHERNET>() else { return };
    let [t0, t1, t2, t3, t4, t5, f0, f1, f2, f3, f4, f5, ..] = head;
    [*t0, *t1, *t2, *t3, *t4, *t5] = to.0;
    [*f0, *f1, *f2, *f3, *f4, *f5] = from.0;
    if forwarded {
        if v6 {
            if let Some(hop_limit) = ip.get_mut(7) {
                *hop_limit = hop_limit.saturating_sub(1);
            }
        } else if let Some(&ttl) = ip.get(8) {
            set_ttl(ip, ttl.saturating_sub(1));
        }
    }
}

/// Cuts an IPv4 packet, whose headers are already those of the next network, into fragments that
/// fit `mtu`, and puts them out. How many they are, and their bytes; the packet is released.
///
/// The fragments share the body; each has its header in a piece of its own.
pub(super) fn fragment(
    pool: &mut Pool,
    mut frame: Frame,
    mtu: usize,
    iface: InterfaceId,
    output: &mut VecDeque<Output>,
) -> Result<(u64, u64), RouterReason> {
    // The sum over the whole payload cannot be left to whoever gets the parts.
    let complete = frame.offload().is_none() || pool.complete(&mut frame).is_ok();
    let done =
        if complete { cut(pool, &frame, mtu, iface, output) } else { Err(RouterReason::NoBuffer) };
    pool.release(frame);
    done
}

fn cut(
    pool: &mut Pool,
    frame: &Frame,
    mtu: usize,
    iface: InterfaceId,
    output: &mut VecDeque<Output>,
) -> Result<(u64, u64), RouterReason> {
    let mut headers = [0; ETHERNET + ipv4::HEADER_LEN_MAX];
    let front = pool.front(frame).ok_or(RouterReason::Malformed)?;
    let header = front.get(ETHERNET..).and_then(|packet| ipv4::Header::new(packet).ok());
    let header = header.ok_or(RouterReason::Malformed)?;
    let header_len = header.header_len();
    let total = usize::from(header.total_len());
    let word = front.get(ETHERNET + FRAGMENT_AT..ETHERNET + FRAGMENT_AT + 2);
    let word = word.map_or(0, |word| word.iter().fold(0, |w, b| w << 8 | u16::from(*b)));
    let mut filled = ETHERNET + header_len;
    let place = headers.get_mut(..filled).ok_or(RouterReason::Malformed)?;
    place.copy_from_slice(front.get(..filled).ok_or(RouterReason::Malformed)?);

    let room = mtu.saturating_sub(header_len) & !7;
    if room == 0 {
        return Err(RouterReason::TooBig);
    }
    let start = ETHERNET + header_len;
    let payload = total - header_len;
    let (mut offset, mut count, mut bytes) = (0, 0, 0);
    while offset < payload {
        let len = room.min(payload - offset);
        let more = if offset + len < payload { MORE } else { word & MORE };
        // The offset of a fragment's fragment is at most that of a packet of 64 KiB.
        let units = (word & 0x1fff).wrapping_add(u16::try_from(offset / 8).unwrap_or(0));
        let front = headers.get_mut(..filled).ok_or(RouterReason::Malformed)?;
        let ip_len = filled - ETHERNET;
        finish_header(front, ip_len + len, more | (units & 0x1fff));
        let range = start + offset..start + offset + len;
        let piece = pool.compose(front, frame, range).map_err(|_| RouterReason::NoBuffer)?;
        bytes += piece.len() as u64;
        count += 1;
        output.push_back(Output::Transmit { iface, frame: piece });
        if offset == 0 {
            filled = ETHERNET + keep_copied(headers.get_mut(ETHERNET..filled).unwrap_or_default());
        }
        offset += len;
    }
    Ok((count, bytes))
}

/// Fills in what is a fragment's own.
fn finish_header(front: &mut [u8], len: usize, word: u16) {
    let Some(ip) = front.get_mut(ETHERNET..) else { return };
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    if let Some([_, _, l0, l1, _, _, f0, f1, _, _, c0, c1]) = ip.first_chunk_mut() {
        [*l0, *l1] = len.to_be_bytes();
        [*f0, *f1] = word.to_be_bytes();
        [*c0, *c1] = [0; 2];
    }
    let sum = !checksum::sum(ip);
    if let Some(place) = ip.get_mut(ipv4::CHECKSUM_AT..ipv4::CHECKSUM_AT + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}

/// Leaves only those options in an IPv4 header that every fragment has, and tells its length.
fn keep_copied(ip: &mut [u8]) -> usize {
    let mut at = ipv4::HEADER_LEN;
    let mut kept = ipv4::HEADER_LEN;
    while let Some(&kind) = ip.get(at) {
        let len = match kind {
            0 => break,
            1 => 1,
            _ => ip.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        if len == 0 || at + len > ip.len() {
            break;
        }
        if kind & COPIED != 0 {
            ip.copy_within(at..at + len, kept);
            kept += len;
        }
        at += len;
    }
    let len = kept.next_multiple_of(4).min(ip.len());
    if let Some(padding) = ip.get_mut(kept..len) {
        padding.fill(0);
    }
    if let Some(first) = ip.first_mut() {
        // At most 60 bytes.
        #[expect(clippy::cast_possible_truncation)]
        let words = (len / 4) as u8;
        *first = *first & 0xf0 | words & 0x0f;
    }
    len
}
