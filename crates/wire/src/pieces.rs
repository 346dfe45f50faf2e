//! A frame in two pieces, seen as one run of bytes.

use core::ops::Range;

/// Bytes of the frame.
#[inline]
pub(crate) fn len(frame: &[&[u8]; 2]) -> usize {
    frame[0].len() + frame[1].len()
}

/// The parts of `range` in each piece; what lies beyond the frame is left out.
#[inline]
pub(crate) fn slice<'a>(frame: &[&'a [u8]; 2], range: &Range<usize>) -> [&'a [u8]; 2] {
    let [first, second] = *frame;
    let border = first.len();
    let a = first.get(range.start..range.end.min(border)).unwrap_or_default();
    let start = range.start.saturating_sub(border);
    let end = range.end.saturating_sub(border).min(second.len());
    let b = second.get(start..end).unwrap_or_default();
    [a, b]
}

/// Copies the frame's first bytes into `out`, as many as both have, and says how many.
#[inline]
pub(crate) fn gather(frame: &[&[u8]; 2], out: &mut [u8]) -> usize {
    let len = len(frame).min(out.len());
    let [a, b] = slice(frame, &(0..len));
    // The two parts are `len` bytes together, and `out` has as many.
    if let Some((head, tail)) = out.split_at_mut_checked(a.len()) {
        head.copy_from_slice(a);
        if let Some(tail) = tail.get_mut(..b.len()) {
            tail.copy_from_slice(b);
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_border_and_range() {
        let bytes = [0, 1, 2, 3, 4, 5, 6];
        for border in 0..=bytes.len() {
            let (a, b) = bytes.split_at(border);
            for start in 0..=bytes.len() + 1 {
                for end in start..=bytes.len() + 2 {
                    let parts = slice(&[a, b], &(start..end));
                    let expected = &bytes[start.min(bytes.len())..end.min(bytes.len())];
                    let mut joined = [0; 7];
                    let len = gather(&parts, &mut joined);
                    assert_eq!(&joined[..len], expected, "{border} {start}..{end}");
                }
            }
        }
    }

    #[test]
    fn gathers_no_more_than_fits() {
        let mut out = [9; 3];
        assert_eq!(gather(&[&[1, 2], &[3, 4]], &mut out), 3);
        assert_eq!(out, [1, 2, 3]);
        assert_eq!(gather(&[&[], &[7]], &mut out), 1);
        assert_eq!(out, [7, 2, 3]);
    }
}
