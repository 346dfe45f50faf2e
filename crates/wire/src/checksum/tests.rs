extern crate std;

use super::*;
use crate::build::{self, Builder};
use crate::{MacAddr, PartialChecksum};
use std::vec::Vec;

/// RFC 1071 as its text has it, word by word.
fn naive(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Bytes without a pattern that a sum could hide.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[test]
fn the_example_of_rfc_1071() {
    // Section 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
    assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    assert_eq!(sum(&[]), 0);
    assert_eq!(sum(&[0xab]), 0xab00);
}

#[test]
fn every_short_length_and_alignment() {
    let bytes = noise(200);
    for start in 0..8 {
        for end in start..bytes.len() {
            let part = &bytes[start..end];
            assert_eq!(sum(part), naive(part), "{start}..{end}");
        }
    }
}

#[test]
fn carries_are_not_lost() {
    let ones = std::vec![0xff; 70_000];
    for len in [1, 2, 3, 31, 32, 33, 65_535, 65_536, 70_000] {
        assert_eq!(sum(&ones[..len]), naive(&ones[..len]), "{len}");
    }
}

#[test]
fn pieces_join_anywhere() {
    let bytes = noise(67);
    for border in 0..=bytes.len() {
        let (a, b) = bytes.split_at(border);
        for start in 0..bytes.len() {
            assert_eq!(
                sum_pieces(&[a, b], &(start..bytes.len())),
                naive(&bytes[start..]),
                "{border} {start}"
            );
        }
    }
}

#[test]
fn updates_agree_with_a_new_sum() {
    let mut bytes = noise(40);
    let before = !sum(&bytes);
    let partial_before = sum(&bytes[..20]);
    for at in (0..20).step_by(2) {
        for new in [0_u16, 1, 0x1234, 0xfffe, 0xffff] {
            let old = read(&bytes, at);
            write(&mut bytes, at, new);
            assert_eq!(update(before, old, new), !sum(&bytes), "{at} {new:04x}");
            let partial = update_partial(partial_before, old, new);
            assert_eq!(partial, sum(&bytes[..20]), "{at} {new:04x}");
            write(&mut bytes, at, old);
        }
    }
}

#[test]
fn the_case_of_rfc_1624() {
    // Section 4: equation 2 of RFC 1141 would give 0xffff here.
    assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
}

fn partial(payload: &[u8]) -> (Vec<u8>, Offload) {
    let mut buffer = std::vec![0; 2048];
    let (len, checksum) = Builder::new(&mut buffer)
        .ethernet(MacAddr([2; 6]), MacAddr([6; 6]))
        .ipv4(&build::Ipv4::default())
        .udp(1000, 2000)
        .payload(payload)
        .finish_partial()
        .unwrap();
    buffer.truncate(len);
    (buffer, Offload { checksum: Some(checksum), gso: None })
}

#[test]
fn completion_over_every_border() {
    let payload = noise(33);
    let (bytes, offload) = partial(&payload);
    let mut expected = std::vec![0; 2048];
    let len = Builder::new(&mut expected)
        .ethernet(MacAddr([2; 6]), MacAddr([6; 6]))
        .ipv4(&build::Ipv4::default())
        .udp(1000, 2000)
        .payload(&payload)
        .finish()
        .unwrap();
    expected.truncate(len);
    for border in 0..=bytes.len() {
        let (a, b) = bytes.split_at(border);
        let mut out = [0xee; HEADER_MAX];
        let front = complete(&offload, &[a, b], &mut out).unwrap();
        assert_eq!(front, 42);
        assert_eq!([&out[..front], &bytes[front..]].concat(), expected);
        assert!(out[front..].iter().all(|&byte| byte == 0xee));
    }
}

#[test]
fn a_checksum_of_zero_is_written_in_its_other_form() {
    // The last word makes the sum 0xffff.
    let (bytes, offload) = partial(&[0, 0]);
    let mut payload = [0; 2];
    write(&mut payload, 0, !sum(&bytes[34..]));
    let (bytes, _) = partial(&payload);
    let mut out = [0; HEADER_MAX];
    complete(&offload, &[&bytes, &[]], &mut out).unwrap();
    assert_eq!(read(&out, 40), 0xffff);
}

#[test]
fn nothing_to_complete() {
    let mut out = [0; HEADER_MAX];
    assert_eq!(complete(&Offload::NONE, &[&[], &[]], &mut out), Ok(0));
}

#[test]
fn fields_out_of_reach() {
    let frame = std::vec![0; 400];
    let at = |start, offset, len: usize| {
        let checksum = Some(PartialChecksum { start, offset });
        let mut out = [0; HEADER_MAX];
        complete(&Offload { checksum, gso: None }, &[&frame[..len], &[]], &mut out)
    };
    assert_eq!(at(200, 54, 400), Ok(256));
    assert_eq!(at(200, 55, 400), Err(OffloadError::HeadersTooLong));
    assert_eq!(at(u16::MAX, u16::MAX, 400), Err(OffloadError::HeadersTooLong));
    assert_eq!(at(34, 16, 52), Ok(52));
    assert_eq!(at(34, 16, 51), Err(OffloadError::ChecksumPosition));
    assert_eq!(at(34, 16, 0), Err(OffloadError::ChecksumPosition));
}
