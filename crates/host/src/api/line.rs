//! Cutting a byte stream into bounded lines.

/// Collects bytes until a line is whole. Never holds more than its limit.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Bytes of `bytes` that are known to hold no newline.
    searched: usize,
    limit: usize,
}

/// A line grew beyond its limit; the stream cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a line has more than {limit} bytes")]
pub struct LineTooLong {
    pub limit: usize,
}

impl LineBuffer {
    /// A buffer for lines of at most `limit` bytes, newline included.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, limit }
    }

    /// Bytes that may still be read from the stream before a line has to be taken.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit - self.bytes.len().min(self.limit)
    }

    /// Whether nothing is held: neither a line that is to be taken nor the beginning of one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds what was read.
    ///
    /// # Errors
    /// When no line ends within the limit.
    pub fn push(&mut self, read: &[u8]) -> Result<(), LineTooLong> {
        let too_long = LineTooLong { limit: self.limit };
        if self.bytes.len() + read.len() <= self.limit {
            self.bytes.extend_from_slice(read);
            let full = self.bytes.len() == self.limit;
            return if full && !self.bytes.contains(&b'\n') { Err(too_long) } else { Ok(()) };
        }
        // More than the limit at once is only possible when a caller ignores `room`.
        Err(too_long)
    }

    /// Takes the next whole line, without its newline.
    pub fn next_line(&mut self) -> Option<Vec<u8>> {
        let Some(at) = self.bytes[self.searched..].iter().position(|&byte| byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let end = self.searched + at;
        let rest = self.bytes.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.bytes, rest);
        line.truncate(end);
        self.searched = 0;
        Some(line)
    }
}

/// For fuzzing: however a stream is cut into reads, the same lines come out.
///
/// The first byte chooses the size of the reads; the rest is the stream.
pub fn fuzz_lines(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let limit = 256;
    let mut buffer = LineBuffer::new(limit);
    let mut lines = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let take = (usize::from(step) + 1).min(buffer.room()).min(rest.len());
        let (read, later) = rest.split_at(take);
        rest = later;
        if buffer.push(read).is_err() {
            break;
        }
        while let Some(line) = buffer.next_line() {
            lines.push(line);
        }
        assert!(buffer.room() > 0, "a buffer without a whole line has room or has failed");
    }
    for (line, expected) in lines.iter().zip(stream.split(|&byte| byte == b'\n')) {
        assert_eq!(line, expected, "lines come out as they were sent");
    }
    for line in lines {
        super::message::fuzz_decode(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_waits_for_its_end() {
        let mut buffer = LineBuffer::new(16);
        buffer.push(b"{\"v\"").expect("short");
        assert_eq!(buffer.next_line(), None);
        assert!(!buffer.is_empty());
        buffer.push(b":1}\nab").expect("short");
        assert_eq!(buffer.next_line().as_deref(), Some(&b"{\"v\":1}"[..]));
        assert_eq!(buffer.next_line(), None);
        assert_eq!(buffer.room(), 14);
        buffer.push(b"\n\n").expect("short");
        assert_eq!(buffer.next_line().as_deref(), Some(&b"ab"[..]));
        assert_eq!(buffer.next_line().as_deref(), Some(&b""[..]));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_line_without_end_is_refused_at_the_limit() {
        let mut buffer = LineBuffer::new(8);
        buffer.push(b"1234567").expect("one byte is left");
        assert_eq!(buffer.push(b"8"), Err(LineTooLong { limit: 8 }));
        let mut buffer = LineBuffer::new(8);
        buffer.push(b"1234567\n").expect("the newline is the eighth byte");
        assert_eq!(buffer.next_line().map(|line| line.len()), Some(7));
    }

    #[test]
    fn the_cut_of_the_stream_does_not_matter() {
        for step in [0, 1, 2, 7, 255] {
            let mut data = vec![step];
            data.extend_from_slice(b"{\"v\":1,\"id\":1,\"call\":\"hello\"}\n\n{}\nrest");
            fuzz_lines(&data);
        }
        fuzz_lines(&[&[3u8][..], &[b'x'; 600]].concat());
    }
}
