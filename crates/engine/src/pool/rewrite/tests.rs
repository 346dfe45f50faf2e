use alloc::vec;
use alloc::vec::Vec;

use wire::build::{Builder, Ipv4, Ipv6, Tcp};
use wire::{Gso, GsoKind, MacAddr};

use super::*;
use crate::pool::PoolLimits;

fn pool() -> Pool {
    Pool::new(PoolLimits { small: 8, large: 4, headers: 64 })
}

fn bytes_of(pool: &Pool, frame: &Frame) -> Vec<u8> {
    pool.pieces(frame).concat()
}

#[track_caller]
fn nothing_held(pool: &Pool) {
    let usage = pool.usage();
    assert_eq!((usage.small.used, usage.large.used, usage.headers.used), (0, 0, 0));
}

fn counting(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7) as u8).collect()
}

#[test]
fn a_header_changes_in_place_or_in_a_piece_of_its_own() {
    for len in [60, 256, 1500, 9000] {
        let mut pool = pool();
        let original = counting(len);
        let mut changed = original.clone();
        changed[..34].fill(0xee);
        let mut alone = pool.copy_in(&original, Offload::NONE).expect("a buffer");
        pool.header_mut(&mut alone, 34).expect("it is long enough").fill(0xee);
        assert_eq!(bytes_of(&pool, &alone), changed);
        assert_eq!(pool.usage().headers.used, 0, "nobody shares it");
        pool.release(alone);

        let mut first = pool.copy_in(&original, Offload::NONE).expect("a buffer");
        let second = pool.share(&first).expect("no header to copy");
        pool.header_mut(&mut first, 34).expect("a header buffer").fill(0xee);
        assert_eq!(bytes_of(&pool, &first), changed);
        assert_eq!(bytes_of(&pool, &second), original);
        assert_eq!(pool.front(&first).expect("whole headers").len(), len.min(256));
        assert!(pool.header_mut(&mut first, 257).is_none());
        // A copy of a frame with a header piece has its own.
        let mut third = pool.share(&first).expect("a header buffer");
        pool.header_mut(&mut third, 1).expect("its own piece").fill(0);
        assert_eq!(bytes_of(&pool, &first), changed);
        for frame in [first, second, third] {
            pool.release(frame);
        }
        nothing_held(&pool);
    }
}

#[test]
fn without_header_buffers_nothing_changes() {
    let mut pool = Pool::new(PoolLimits { small: 8, large: 1, headers: 1 });
    let original = counting(300);
    let mut frames: Vec<Frame> = Vec::new();
    frames.push(pool.copy_in(&original, Offload::NONE).expect("a buffer"));
    for _ in 0..2 {
        let copy = pool.share(&frames[0]).expect("no header to copy");
        frames.push(copy);
    }
    assert!(pool.header_mut(&mut frames[0], 20).is_some());
    assert!(pool.header_mut(&mut frames[1], 20).is_none());
    assert!(pool.share(&frames[0]).is_err());
    assert!(pool.compose(&[1, 2, 3], &frames[1], 0..10).is_err());
    for frame in &frames {
        assert_eq!(bytes_of(&pool, frame), original);
    }
    assert!(pool.header_mut(&mut frames[2], 400).is_none(), "longer than the frame");
    for frame in frames {
        pool.release(frame);
    }
    nothing_held(&pool);
}

#[test]
fn a_frame_is_composed_of_a_new_front_and_any_range_of_another() {
    for len in [20, 200, 300, 700, 3000] {
        for with_header in [false, true] {
            let mut pool = pool();
            let original = counting(len);
            let mut frame = pool.copy_in(&original, Offload::NONE).expect("a buffer");
            let copy = with_header.then(|| pool.share(&frame).expect("no header to copy"));
            if with_header {
                assert!(pool.header_mut(&mut frame, 1).is_some());
            }
            let front = [0xf0; 54];
            for (start, end) in [(0, len), (10, 20), (54, len), (len / 2, len), (len, len)] {
                let (start, end) = (start.min(end), end);
                let piece = pool.compose(&front, &frame, start..end);
                let fits = !with_header || 256_usize.min(end).saturating_sub(start) + 54 <= 256;
                let Ok(piece) = piece else {
                    assert!(!fits, "{len} {start}..{end}");
                    continue;
                };
                assert_eq!(bytes_of(&pool, &piece), [&front, &original[start..end]].concat());
                let seen = pool.front(&piece).expect("whole headers").len();
                assert_eq!(seen, piece.len().min(256));
                pool.release(piece);
            }
            pool.release(frame);
            if let Some(copy) = copy {
                pool.release(copy);
            }
            nothing_held(&pool);
        }
    }
}

/// A TCP frame to be cut, and its metadata.
fn tcp(v6: bool, payload: usize) -> (Vec<u8>, Offload) {
    let mut out = vec![0; 20_000];
    let builder = Builder::new(&mut out).ethernet(MacAddr([2; 6]), MacAddr([4; 6]));
    let builder = if v6 { builder.ipv6(&Ipv6::default()) } else { builder.ipv4(&Ipv4::default()) };
    let builder = builder.tcp(&Tcp::default()).payload(&counting(payload));
    let (len, checksum) = builder.finish_partial().expect("fits");
    out.truncate(len);
    let kind = if v6 { GsoKind::Tcp6 } else { GsoKind::Tcp4 };
    let gso = Some(Gso { kind, size: 100, ecn: false });
    (out, Offload { checksum: Some(checksum), gso })
}

#[test]
fn a_frame_with_a_header_piece_is_cut_and_completed_as_any_other() {
    for v6 in [false, true] {
        for payload in [100, 101, 190, 1000, 9000] {
            let mut pool = pool();
            let (bytes, offload) = tcp(v6, payload);
            let mut plain = pool.copy_in(&bytes, offload).expect("a buffer");
            let mut other = pool.share(&plain).expect("no header to copy");
            assert!(pool.header_mut(&mut other, 54).is_some());
            let mut segments = [Vec::new(), Vec::new()];
            for (frame, segments) in [&plain, &other].into_iter().zip(&mut segments) {
                let mut segmenter = pool.segmenter(frame).expect("GSO");
                while segmenter.remaining() > 0 {
                    let piece = pool.next_segment(frame, &mut segmenter).expect("a header");
                    segments.push(bytes_of(&pool, &piece));
                    pool.release(piece);
                }
            }
            let [expected, got] = segments;
            assert_eq!(got, expected);
            for frame in [&mut plain, &mut other] {
                frame.set_offload(Offload { gso: None, ..frame.offload() });
                pool.complete(frame).expect("a header buffer");
                assert!(frame.offload().is_none());
            }
            assert_eq!(bytes_of(&pool, &plain), bytes_of(&pool, &other));
            pool.release(plain);
            pool.release(other);
            nothing_held(&pool);
        }
    }
}

#[test]
fn a_frame_is_cut_to_its_beginning() {
    for with_header in [false, true] {
        for len in [0, 10, 256, 257, 400] {
            let mut pool = pool();
            let original = counting(400);
            let mut frame = pool.copy_in(&original, Offload::NONE).expect("a buffer");
            let copy = with_header.then(|| pool.share(&frame).expect("no header to copy"));
            if with_header {
                assert!(pool.header_mut(&mut frame, 1).is_some());
            }
            Pool::truncate(&mut frame, len);
            assert_eq!(bytes_of(&pool, &frame), original[..len]);
            pool.release(frame);
            if let Some(copy) = copy {
                pool.release(copy);
            }
            nothing_held(&pool);
        }
    }
}
