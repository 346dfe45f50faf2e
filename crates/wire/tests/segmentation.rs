//! Segmentation and completion against frames that were built small in the first place, with
//! etherparse as the judge of their checksums.
#![forbid(unsafe_code)]

mod common;

use common::{Network, Spec, Transport, checksums_hold, spec};
use proptest::prelude::*;
use wire::tcp::flag;
use wire::{Gso, GsoKind, HEADER_MAX, Offload, OffloadError, Segmenter, checksum, offload, parse};

/// The frames that the sender would have built had it cut the payload itself.
fn built_small(spec: &Spec, size: usize) -> Vec<Vec<u8>> {
    let chunks: Vec<&[u8]> = spec.payload.chunks(size).collect();
    let last = chunks.len() - 1;
    let cut = chunks.iter().enumerate().map(|(index, chunk)| {
        let mut spec = Spec { payload: chunk.to_vec(), ..spec.clone() };
        if let Network::V4 { id, .. } = &mut spec.network {
            *id = id.wrapping_add(index as u16);
        }
        if let Transport::Tcp { sequence, flags, .. } = &mut spec.transport {
            *sequence = sequence.wrapping_add((index * size) as u32);
            if index != 0 {
                *flags &= !flag::CWR;
            }
            if index != last {
                *flags &= !(flag::FIN | flag::PSH);
            }
        }
        spec.build()
    });
    cut.collect()
}

fn cut(offload: &Offload, frame: &[u8], border: usize) -> Result<Vec<Vec<u8>>, OffloadError> {
    let (a, b) = frame.split_at(border.min(frame.len()));
    let mut segmenter = Segmenter::new(offload, &[a, b])?;
    let mut out = [0; HEADER_MAX];
    let mut segments = Vec::new();
    while let Some(segment) = segmenter.next(&[a, b], &mut out) {
        segments.push([&out[..segment.header_len], &frame[segment.payload]].concat());
    }
    Ok(segments)
}

fn gso_spec(payload_max: usize) -> impl Strategy<Value = (Spec, GsoKind)> {
    spec(payload_max).prop_filter_map("a frame that may be cut", |spec| {
        let kind = spec.gso_kind()?;
        (!spec.payload.is_empty()).then_some((spec, kind))
    })
}

proptest! {
    #[test]
    fn segments_are_the_frames_built_small(
        (spec, kind) in gso_spec(1000),
        size in 8..400_u16,
        border in 0..1300_usize,
    ) {
        let (frame, checksum) = spec.build_partial();
        let offload = Offload { checksum: Some(checksum), gso: Some(Gso { kind, size, ecn: false }) };
        let headers_len = parse(&frame).unwrap().headers_len().unwrap();
        let segments = cut(&offload, &frame, border);
        if headers_len > HEADER_MAX {
            prop_assert_eq!(segments, Err(OffloadError::HeadersTooLong));
            return Ok(());
        }
        let segments = segments.unwrap();
        for segment in &segments {
            prop_assert!(checksums_hold(segment));
        }
        let payloads = segments.iter().flat_map(|segment| &segment[headers_len..]).copied();
        prop_assert_eq!(payloads.collect::<Vec<u8>>(), spec.payload.clone());
        prop_assert_eq!(segments, built_small(&spec, size.into()));
    }

    #[test]
    fn what_passed_the_check_can_be_cut_even_behind_another_tag(
        (spec, kind) in gso_spec(1000),
        size in any::<u16>(),
        ecn in any::<bool>(),
    ) {
        let (frame, checksum) = spec.build_partial();
        let offload = Offload { checksum: Some(checksum), gso: Some(Gso { kind, size, ecn }) };
        let checked = offload::check(&offload, &frame, frame.len(), 1500);
        if spec.tags.len() < 2 && checked.is_ok() {
            let tagged = [&frame[..12], &wire::Tag::new(5).to_bytes(), &frame[12..]].concat();
            let moved = offload.with_tag_pushed();
            let segments = cut(&moved, &tagged, 16).unwrap();
            let longest = offload::max_wire_len(&moved, &tagged, tagged.len());
            prop_assert_eq!(segments.iter().map(Vec::len).max(), Some(longest));
            prop_assert!(longest <= 1500 + 14 + 4 * 3);
        }
    }

    #[test]
    fn completion_is_the_frame_built_complete(spec in spec(300), border in 0..600_usize) {
        let (frame, partial) = spec.build_partial();
        let offload = Offload { checksum: Some(partial), gso: None };
        let (a, b) = frame.split_at(border.min(frame.len()));
        let mut out = [0; HEADER_MAX];
        let front = match checksum::complete(&offload, &[a, b], &mut out) {
            Ok(front) => front,
            Err(error) => {
                prop_assert_eq!(error, OffloadError::HeadersTooLong);
                prop_assert!(partial.field() + 2 > HEADER_MAX);
                return Ok(());
            }
        };
        let complete = [&out[..front], &frame[front..]].concat();
        prop_assert!(checksums_hold(&complete));
        let mut expected = spec.build();
        // Zero has two forms; completion writes the one that UDP needs.
        if expected[partial.field()..][..2] == [0, 0] {
            expected[partial.field()..][..2].fill(0xff);
        }
        prop_assert_eq!(complete, expected);
    }

    #[test]
    fn sums_over_two_pieces(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        border in any::<prop::sample::Index>(),
        range in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let (a, b) = bytes.split_at(border.index(bytes.len() + 1));
        let (x, y) = (range.0.index(bytes.len() + 1), range.1.index(bytes.len() + 1));
        let range = x.min(y)..x.max(y);
        prop_assert_eq!(checksum::sum_pieces(&[a, b], &range), checksum::sum(&bytes[range]));
    }
}
