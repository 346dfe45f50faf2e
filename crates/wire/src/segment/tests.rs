extern crate std;

use super::*;
use crate::build::{self, Builder};
use crate::{Gso, GsoKind, MacAddr};
use std::vec::Vec;

fn frame(
    kind: GsoKind,
    size: u16,
    payload: usize,
    make: impl FnOnce(Builder<'_>) -> Builder<'_>,
) -> (Vec<u8>, Offload) {
    let mut buffer = std::vec![0; 70_000];
    let payload: Vec<u8> = (0..payload).map(|i| (i * 7 + i / 251) as u8).collect();
    let builder = Builder::new(&mut buffer).ethernet(MacAddr([2; 6]), MacAddr([6; 6]));
    let (len, checksum) = make(builder).payload(&payload).finish_partial().unwrap();
    buffer.truncate(len);
    let gso = Some(Gso { kind, size, ecn: false });
    (buffer, Offload { checksum: Some(checksum), gso })
}

fn segments(offload: &Offload, pieces: &[&[u8]; 2]) -> Vec<Vec<u8>> {
    let whole = pieces.concat();
    let mut segmenter = Segmenter::new(offload, pieces).unwrap();
    let mut out = [0; HEADER_MAX];
    let mut segments = Vec::new();
    let (count, bytes) = (segmenter.remaining(), segmenter.remaining_bytes());
    while let Some(segment) = segmenter.next(pieces, &mut out) {
        let frame = [&out[..segment.header_len], &whole[segment.payload.clone()]].concat();
        assert_eq!(frame.len(), segment.len());
        segments.push(frame);
        assert_eq!(segmenter.remaining(), count - segments.len());
    }
    assert_eq!(segments.len(), count);
    assert_eq!(segments.iter().map(Vec::len).sum::<usize>(), bytes);
    assert_eq!(segmenter.next(pieces, &mut out), None);
    segments
}

#[test]
fn tcp_fields_from_segment_to_segment() {
    let flags = flag::ACK | flag::PSH | flag::FIN | flag::CWR | flag::URG;
    let tcp = build::Tcp { sequence: u32::MAX - 99, flags, ..Default::default() };
    let ip = build::Ipv4 { id: 0xfffe, ..Default::default() };
    let (bytes, offload) = frame(GsoKind::Tcp4, 100, 350, |b| b.ipv4(&ip).tcp(&tcp));
    let segments = segments(&offload, &[&bytes, &[]]);
    let fields: Vec<_> = segments
        .iter()
        .map(|segment| {
            let ip = ipv4::Header::new(&segment[14..]).unwrap();
            let tcp = tcp::Header::new(&segment[34..]).unwrap();
            assert!(ip.checksum_is_good());
            (ip.total_len(), ip.id(), tcp.sequence(), tcp.flags())
        })
        .collect();
    let middle = flag::ACK | flag::URG;
    assert_eq!(
        fields,
        [
            (140, 0xfffe, u32::MAX - 99, middle | flag::CWR),
            (140, 0xffff, 0, middle),
            (140, 0x0000, 100, middle),
            (90, 0x0001, 200, middle | flag::PSH | flag::FIN),
        ]
    );
}

#[test]
fn udp_fields_from_segment_to_segment() {
    let (bytes, offload) =
        frame(GsoKind::Udp, 100, 250, |b| b.ipv6(&build::Ipv6::default()).udp(1, 2));
    let lengths: Vec<_> = segments(&offload, &[&bytes, &[]])
        .iter()
        .map(|segment| {
            let ip = ipv6::Header::new(&segment[14..]).unwrap();
            let udp = udp::Header::new(&segment[54..]).unwrap();
            (segment.len(), ip.payload_len(), udp.len())
        })
        .collect();
    assert_eq!(lengths, [(162, 108, 108), (162, 108, 108), (112, 58, 58)]);
}

#[test]
fn a_frame_that_needs_no_cut_is_completed() {
    let tcp = build::Tcp { flags: flag::ACK | flag::PSH | flag::CWR, ..Default::default() };
    let (bytes, offload) =
        frame(GsoKind::Tcp6, 1000, 1000, |b| b.ipv6(&build::Ipv6::default()).tcp(&tcp));
    let segments = segments(&offload, &[&bytes, &[]]);
    let mut out = [0; HEADER_MAX];
    let front = crate::checksum::complete(&offload, &[&bytes, &[]], &mut out).unwrap();
    assert_eq!(segments, [[&out[..front], &bytes[front..]].concat()]);
}

#[test]
fn pieces_may_join_anywhere() {
    let tcp = build::Tcp { options: &[1, 1, 1, 1], ..Default::default() };
    let (bytes, offload) =
        frame(GsoKind::Tcp4, 33, 120, |b| b.ipv4(&build::Ipv4::default()).tcp(&tcp));
    let expected = segments(&offload, &[&bytes, &[]]);
    assert_eq!(expected.len(), 4);
    for border in 0..=bytes.len() {
        let (a, b) = bytes.split_at(border);
        assert_eq!(segments(&offload, &[a, b]), expected, "{border}");
    }
}

#[test]
fn another_frame_ends_the_segmentation() {
    let (bytes, offload) =
        frame(GsoKind::Udp, 100, 250, |b| b.ipv4(&build::Ipv4::default()).udp(1, 2));
    let mut segmenter = Segmenter::new(&offload, &[&bytes, &[]]).unwrap();
    let mut out = [0; HEADER_MAX];
    assert_eq!(segmenter.next(&[&bytes[..20], &[]], &mut out), None);
    assert_eq!(segmenter.next(&[&bytes[..100], &[]], &mut out), None);
    assert!(segmenter.next(&[&bytes, &[]], &mut out).is_some());
}

#[test]
fn refused() {
    let (bytes, offload) =
        frame(GsoKind::Udp, 100, 250, |b| b.ipv4(&build::Ipv4::default()).udp(1, 2));
    let new = |offload: Offload, bytes: &[u8]| Segmenter::new(&offload, &[bytes, &[]]).err();
    assert_eq!(new(Offload { gso: None, ..offload }, &bytes), Some(OffloadError::NotGso));
    assert_eq!(new(offload, &bytes[..41]), Some(OffloadError::NoTransport));
    assert_eq!(new(offload, &bytes[..200]), Some(OffloadError::Length));
    let kind = Some(Gso { kind: GsoKind::Tcp4, size: 100, ecn: false });
    assert_eq!(new(Offload { gso: kind, ..offload }, &bytes), Some(OffloadError::GsoKind));
}

#[test]
fn a_udp_checksum_of_zero_becomes_ffff() {
    let build = |tail: [u8; 2]| {
        frame(GsoKind::Udp, 4, 0, |b| {
            b.ipv4(&build::Ipv4::default()).udp(1, 2).payload(&[1, 2]).payload(&tail).payload(b"xy")
        })
    };
    let (bytes, offload) = build([0, 0]);
    let first = &segments(&offload, &[&bytes, &[]])[0];
    // Give the missing sum to the payload.
    let rest = udp::Header::new(&first[34..]).unwrap().checksum();
    let (bytes, offload) = build(rest.to_be_bytes());
    let first = &segments(&offload, &[&bytes, &[]])[0];
    assert_eq!(udp::Header::new(&first[34..]).unwrap().checksum(), 0xffff);
}
