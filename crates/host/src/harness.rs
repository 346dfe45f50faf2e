//! What the fuzzers and their replay call: each function takes any bytes, and asserts what must hold for them.

use crate::link::framing::{Decoder, PREFIX_LEN, RECORD_MAX, Step, prefix};
use crate::node::first_contact::{Contact, judge};
use crate::node::vde_request::{DataSocket, Parse, parse};

pub use crate::address::store::fuzz_plan as plan;
pub use crate::config::fuzz_config as config;

/// A line of the control interface, and a stream of lines however it is cut.
pub fn api(data: &[u8]) {
    crate::api::message::fuzz_decode(data);
    crate::api::line::fuzz_lines(data);
}

/// A QEMU stream: however it is cut into reads, the same frames come out, and no more is kept than one record.
/// The first byte chooses the size of the reads.
pub fn stream(data: &[u8]) {
    let Some((&step, stream)) = data.split_first() else { return };
    let whole = decode(stream, stream.len().max(1));
    assert_eq!(whole, decode(stream, usize::from(step) + 1), "the cuts make no difference");
    // What came out is what went in: the frames with their prefixes are the beginning of the stream.
    let mut again = Vec::new();
    for frame in &whole.0 {
        again.extend_from_slice(&prefix(frame.len()));
        again.extend_from_slice(frame);
    }
    assert!(stream.starts_with(&again), "frames come out as they were sent");
}

/// The frames of a stream read `size` bytes at a time, and the bad length that ended it.
fn decode(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Option<u32>) {
    let mut decoder = Decoder::new();
    let mut frames = Vec::new();
    for mut read in stream.chunks(size) {
        loop {
            match decoder.next(&mut read) {
                Step::Frame(frame) => frames.push(frame.to_vec()),
                Step::Incomplete => break,
                Step::BadLength(length) => return (frames, Some(length)),
            }
        }
        assert!(read.is_empty(), "an incomplete record has used its input up");
        assert!(decoder.capacity() <= 2 * (PREFIX_LEN + RECORD_MAX), "one record is kept at most");
    }
    (frames, None)
}

/// A VDE request: what is understood names a socket that can be connected to, and is understood only when it is whole.
pub fn vde(data: &[u8]) {
    match parse(data) {
        Parse::Incomplete => {}
        Parse::Bad(why) => {
            assert!(!why.is_empty());
            // More bytes do not make it better.
            assert!(!matches!(parse(&[data, b"more"].concat()), Parse::Request(_)));
        }
        Parse::Request(request) => {
            match &request.data {
                DataSocket::Path(path) => {
                    assert!(path.is_absolute() && path.as_os_str().len() <= 108);
                }
                DataSocket::Abstract(name) => assert!(name.len() <= 107),
            }
            assert!(request.description.chars().all(|c| c.is_ascii_graphic() || c == ' '));
            for length in 0..data.len().min(122) {
                assert!(!matches!(parse(&data[..length]), Parse::Request(_)), "half a request");
            }
        }
    }
}

/// A datagram of a client that may be answered: a greeting, or a frame with every byte that was sent.
pub fn dgram(data: &[u8]) {
    let sender = Some(sys::Cred { pid: 1, uid: 1000, gid: 1000 });
    match judge(true, sender, sender, data) {
        Contact::Greeting => assert!(data.len() == 4),
        Contact::Frame(frame) => assert_eq!(frame, data),
        Contact::Refused(why) | Contact::Other(why) => panic!("refused: {why}"),
    }
    let root = Some(sys::Cred { pid: 1, uid: 0, gid: 0 });
    assert!(matches!(judge(true, sender, root, data), Contact::Refused(_)));
    assert!(matches!(judge(false, sender, None, data), Contact::Refused(_)));
}
