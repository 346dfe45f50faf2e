//! QEMU's stream framing, without I/O.
//!
//! Each frame follows its length as a 32-bit big-endian integer (QEMU `net/stream_data.c`,
//! `net_fill_rstate`; also spoken by passt, gvproxy, socket_vmnet and libkrun). There is no way
//! to find the next record after a wrong length, so that is an error for good.
//!
//! The decoder is fed whatever a read returned and gives out frames: in place when a record lies
//! whole in the input, stitched together in a buffer of its own when reads cut it. That buffer is
//! what a client can make us keep: one record, [`RECORD_MAX`] and its prefix, never more, and it
//! is allocated only when a record is cut.

/// The longest record: `NET_BUFSIZE` of QEMU, 4096 + 65536.
pub const RECORD_MAX: usize = 4096 + 65536;

/// Bytes of the length before each frame.
pub const PREFIX_LEN: usize = 4;

/// What the input held.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// One frame. It can be empty or shorter than an Ethernet header: that is not the framing's
    /// business.
    Frame(&'a [u8]),
    /// The input is used up; the beginning of a record may have been kept.
    Incomplete,
    /// A record longer than [`RECORD_MAX`]: the client speaks something else. Every further call
    /// says the same.
    BadLength(u32),
}

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Decoder {
    /// A record that a read cut: its prefix and what came of it so far. Bytes of a finished record
    /// stay until the next call, because the caller reads the frame from here.
    partial: Vec<u8>,
    finished: bool,
    bad: Option<u32>,
}

impl Decoder {
    #[must_use]
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// The next frame of `input`, whose start moves behind what was used.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i [u8]) -> Step<'s> {
        if let Some(length) = self.bad {
            return Step::BadLength(length);
        }
        if self.finished {
            self.partial.clear();
            self.finished = false;
        }
        if self.partial.is_empty() {
            let Some((prefix, rest)) = input.split_first_chunk::<PREFIX_LEN>() else {
                return self.keep(input);
            };
            let length = match self.checked_length(*prefix) {
                Ok(length) => length,
                Err(step) => return step,
            };
            if rest.len() < length {
                self.partial.reserve_exact(PREFIX_LEN + length);
                return self.keep(input);
            }
            let (frame, rest) = rest.split_at(length);
            *input = rest;
            return Step::Frame(frame);
        }
        if self.partial.len() < PREFIX_LEN {
            self.move_up_to(PREFIX_LEN, input);
        }
        let Some(prefix) = self.partial.first_chunk::<PREFIX_LEN>() else {
            return Step::Incomplete;
        };
        let length = match self.checked_length(*prefix) {
            Ok(length) => length,
            Err(step) => return step,
        };
        self.partial.reserve_exact((PREFIX_LEN + length).saturating_sub(self.partial.len()));
        self.move_up_to(PREFIX_LEN + length, input);
        if self.partial.len() < PREFIX_LEN + length {
            return Step::Incomplete;
        }
        self.finished = true;
        Step::Frame(&self.partial[PREFIX_LEN..])
    }

    /// Bytes of an unfinished record that wait here.
    #[must_use]
    pub fn pending(&self) -> usize {
        if self.finished { 0 } else { self.partial.len() }
    }

    /// Bytes allocated.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.partial.capacity()
    }

    fn checked_length(&mut self, prefix: [u8; PREFIX_LEN]) -> Result<usize, Step<'static>> {
        let length = u32::from_be_bytes(prefix);
        match usize::try_from(length) {
            Ok(n) if n <= RECORD_MAX => Ok(n),
            _ => {
                self.bad = Some(length);
                self.partial = Vec::new();
                Err(Step::BadLength(length))
            }
        }
    }

    fn keep(&mut self, input: &mut &[u8]) -> Step<'static> {
        self.partial.extend_from_slice(input);
        *input = &[];
        Step::Incomplete
    }

    fn move_up_to(&mut self, total: usize, input: &mut &[u8]) {
        let missing = total.saturating_sub(self.partial.len()).min(input.len());
        let (taken, rest) = input.split_at(missing);
        self.partial.extend_from_slice(taken);
        *input = rest;
    }
}

/// The prefix of a frame of `len` bytes.
#[must_use]
pub fn prefix(len: usize) -> [u8; PREFIX_LEN] {
    // Frames in the pool have at most 64 KiB and a little.
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(frames: &[Vec<u8>]) -> Vec<u8> {
        frames.iter().flat_map(|f| [&prefix(f.len())[..], f].concat()).collect()
    }

    /// Feeds `stream` in chunks and collects the frames.
    fn decode(decoder: &mut Decoder, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, u32> {
        let mut frames = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            loop {
                match decoder.next(&mut input) {
                    Step::Frame(f) => frames.push(f.to_vec()),
                    Step::Incomplete => break,
                    Step::BadLength(n) => return Err(n),
                }
            }
            assert!(input.is_empty());
        }
        Ok(frames)
    }

    #[test]
    fn a_stream_may_be_cut_at_every_byte() {
        let frames = vec![vec![1; 60], vec![], vec![2; 1514], vec![3; 1]];
        let stream = encode(&frames);
        for cut in 0..=stream.len() {
            let mut decoder = Decoder::new();
            let (a, b) = stream.split_at(cut);
            assert_eq!(decode(&mut decoder, &[a, b]).unwrap(), frames, "cut at {cut}");
            assert_eq!(decoder.pending(), 0);
        }
        let mut decoder = Decoder::new();
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(decode(&mut decoder, &bytes).unwrap(), frames);
    }

    #[test]
    fn the_longest_record_passes_and_one_byte_more_does_not() {
        let stream = encode(&[vec![7; RECORD_MAX]]);
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, &[&stream]).unwrap()[0].len(), RECORD_MAX);
        assert_eq!(decoder.capacity(), 0, "nothing is kept of a record that came whole");
        let over = u32::try_from(RECORD_MAX + 1).unwrap();
        assert_eq!(decode(&mut decoder, &[&over.to_be_bytes()]), Err(over));
        assert_eq!(decode(&mut decoder, &[&stream]), Err(over), "it stays refused");
    }

    #[test]
    fn half_a_message_is_bounded() {
        let mut decoder = Decoder::new();
        let length = u32::try_from(RECORD_MAX).unwrap().to_be_bytes();
        assert_eq!(decode(&mut decoder, &[&length[..3], &length[3..], &[0; 1000]]), Ok(vec![]));
        assert_eq!(decoder.pending(), PREFIX_LEN + 1000);
        assert!(decoder.capacity() <= PREFIX_LEN + RECORD_MAX);
    }

    #[test]
    fn text_is_refused_as_a_length() {
        assert!(decode(&mut Decoder::new(), &[b"GET / HTTP/1.1\r\n"]).is_err());
    }

    proptest! {
        #[test]
        fn any_frames_in_any_chunks_come_out_as_they_went_in(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            sizes in prop::collection::vec(1_usize..700, 1..40),
        ) {
            let stream = encode(&frames);
            let mut rest = &stream[..];
            let mut chunks = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, tail) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            prop_assert_eq!(decode(&mut Decoder::new(), &chunks).unwrap(), frames);
        }

        #[test]
        fn garbage_never_panics_nor_grows(bytes in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut decoder = Decoder::new();
            drop(decode(&mut decoder, &bytes.chunks(97).collect::<Vec<_>>()));
            prop_assert!(decoder.capacity() <= PREFIX_LEN + RECORD_MAX);
        }
    }
}
