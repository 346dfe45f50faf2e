//! What a program may look at.

/// The bytes of a frame, from the first byte of its Ethernet header.
///
/// Loads are big endian, as on the wire, and `None` when any byte of them is behind the end.
pub trait Packet {
    /// Bytes of the frame.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One byte.
    fn byte(&self, at: usize) -> Option<u8>;

    /// Two bytes.
    #[inline]
    fn half(&self, at: usize) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte(at)?, self.byte(at.checked_add(1)?)?]))
    }

    /// Four bytes.
    #[inline]
    fn word(&self, at: usize) -> Option<u32> {
        let low = at.checked_add(2)?;
        Some(u32::from(self.half(at)?) << 16 | u32::from(self.half(low)?))
    }
}

impl Packet for [u8] {
    #[inline]
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }

    #[inline]
    fn half(&self, at: usize) -> Option<u16> {
        // One comparison with the length where `at` is known to be small, as a program's places are.
        let bytes = self.get(at..at.checked_add(2)?)?;
        Some(u16::from_be_bytes(*bytes.first_chunk()?))
    }

    #[inline]
    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.get(at..at.checked_add(4)?)?;
        Some(u32::from_be_bytes(*bytes.first_chunk()?))
    }
}

/// A frame in pieces, one behind the other: what the engine has after it took a tag out is the
/// addresses, the tag, and the rest, in one piece or two.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a, const N: usize>(pub [&'a [u8]; N]);

impl<const N: usize> Pieces<'_, N> {
    /// What is at an offset, up to the end of its piece.
    #[inline]
    fn rest(&self, mut at: usize) -> Option<&[u8]> {
        for piece in self.0 {
            if at < piece.len() {
                return piece.get(at..);
            }
            at -= piece.len();
        }
        None
    }
}

impl<const N: usize> Packet for Pieces<'_, N> {
    #[inline]
    fn len(&self) -> usize {
        self.0.iter().map(|piece| piece.len()).sum()
    }

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.rest(at)?.first().copied()
    }

    #[inline]
    fn half(&self, at: usize) -> Option<u16> {
        match self.rest(at)?.first_chunk() {
            Some(half) => Some(u16::from_be_bytes(*half)),
            None => Some(u16::from_be_bytes([self.byte(at)?, self.byte(at.checked_add(1)?)?])),
        }
    }

    #[inline]
    fn word(&self, at: usize) -> Option<u32> {
        if let Some(word) = self.rest(at)?.first_chunk() {
            return Some(u32::from_be_bytes(*word));
        }
        let low = at.checked_add(2)?;
        Some(u32::from(self.half(at)?) << 16 | u32::from(self.half(low)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_read_as_the_whole(
            bytes in proptest::collection::vec(any::<u8>(), 0..64),
            cuts in (0usize..64, 0usize..64),
            at in prop_oneof![0usize..70, Just(usize::MAX), Just(usize::MAX - 1)],
        ) {
            let first = cuts.0.min(bytes.len());
            let second = cuts.1.clamp(first, bytes.len().max(first));
            let pieces = Pieces([&bytes[..first], &bytes[first..second], &bytes[second..]]);
            prop_assert_eq!(Packet::len(&pieces), bytes.len());
            prop_assert_eq!(pieces.byte(at), bytes.byte(at));
            prop_assert_eq!(pieces.half(at), bytes.half(at));
            prop_assert_eq!(pieces.word(at), bytes.word(at));
        }
    }
}
