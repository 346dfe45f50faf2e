//! The request of the VDE v3 switch protocol, without I/O.
//!
//! A client sends it in one write on the control connection, in its own byte order and packed
//! (vde-2 `src/vde_switch/datasock.c`, vdeplug4 `libvdeplug_vde.c`, UML `arch/um/drivers/daemon`):
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic 0xfeedface |
//! | 4 | 4 | version, 3 |
//! | 8 | 4 | type in the low byte (0 or 1), wanted port number above it (0: any) |
//! | 12 | 110 | `struct sockaddr_un` of the client's datagram socket |
//! | 122 | up to 128 | a description, without a terminating NUL |
//!
//! The description has no length of its own: it is what came with the same read. UML sends none.

use std::path::{Path, PathBuf};

use sys::unix::SOCKADDR_UN_LEN;

/// Bytes of a request without its description.
pub const REQUEST_LEN: usize = 12 + SOCKADDR_UN_LEN;

/// The longest request: vde_switch reads at most 256 bytes.
pub const REQUEST_MAX: usize = 256;

/// The highest port number that our socket names have room for (`%03d`).
pub const PORT_MAX: u32 = 999;

const MAGIC: u32 = 0xfeed_face;
const VERSION: u32 = 3;

/// AF_UNIX of Linux.
const FAMILY: u16 = 1;

/// The client's datagram socket, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSocket {
    /// A file.
    Path(PathBuf),
    /// An abstract name, all 107 bytes of it: UML binds its socket with the whole structure.
    Abstract(Vec<u8>),
}

/// A request that makes sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// 0: any.
    pub port: u32,
    pub data: DataSocket,
    /// Printable characters only.
    pub description: String,
}

/// What the bytes so far are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The beginning of a request; more is needed.
    Incomplete,
    Request(Request),
    /// A sentence why this is none.
    Bad(String),
}

/// Reads a request.
#[must_use]
pub fn parse(bytes: &[u8]) -> Parse {
    let word =
        |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|word| u32::from_ne_bytes(*word));
    match word(0) {
        None => return Parse::Incomplete,
        Some(MAGIC) => {}
        Some(other) => {
            return Parse::Bad(format!(
                "a client of ctl began with {other:#010x} where a VDE client says {MAGIC:#010x}; ctl speaks only \
                 VDE"
            ));
        }
    }
    match word(4) {
        None => return Parse::Incomplete,
        Some(VERSION) => {}
        Some(_) => {
            return Parse::Bad(
                "a client of ctl speaks an old version of VDE; version 3 is served (vde2 2.0 and \
                 later)"
                    .into(),
            );
        }
    }
    let Some(kind) = word(8) else { return Parse::Incomplete };
    if kind & 0xff > 1 {
        return Parse::Bad(format!("a VDE client made a request of unknown type {}", kind & 0xff));
    }
    let port = kind >> 8;
    if port > PORT_MAX {
        return Parse::Bad(format!(
            "a VDE client asked for port {port}; numbers up to {PORT_MAX} can be asked for, and 0 \
             for any"
        ));
    }
    let Some(address) = bytes.get(12..REQUEST_LEN) else { return Parse::Incomplete };
    let data = match data_socket(address) {
        Ok(data) => data,
        Err(why) => return Parse::Bad(why),
    };
    let description = bytes[REQUEST_LEN..bytes.len().min(REQUEST_MAX)]
        .iter()
        .take_while(|b| **b != 0)
        .map(|b| char::from(*b))
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .collect::<String>();
    Parse::Request(Request { port, data, description: description.trim().to_owned() })
}

fn data_socket(address: &[u8]) -> Result<DataSocket, String> {
    use std::os::unix::ffi::OsStrExt;
    let (family, path) = address.split_at(2);
    if u16::from_ne_bytes([family[0], family[1]]) != FAMILY {
        return Err("a VDE client named a data socket that is not of AF_UNIX".into());
    }
    if path[0] == 0 {
        if path.iter().all(|b| *b == 0) {
            return Err("a VDE client named no data socket".into());
        }
        // Not 108: the kernel's own length of an abstract name counts the leading NUL.
        return Ok(DataSocket::Abstract(path[1..].to_vec()));
    }
    let end = path.iter().position(|b| *b == 0).unwrap_or(path.len());
    let path = Path::new(std::ffi::OsStr::from_bytes(&path[..end]));
    if !path.is_absolute() {
        return Err(format!(
            "a VDE client named its data socket {} relative to its own directory, which we do not \
             know; it must be an absolute path",
            path.display()
        ));
    }
    Ok(DataSocket::Path(path.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn request(port: u32, path: &[u8], description: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [MAGIC, VERSION, port << 8] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&FAMILY.to_ne_bytes());
        bytes.extend_from_slice(path);
        bytes.resize(REQUEST_LEN, 0);
        bytes.extend_from_slice(description);
        bytes
    }

    #[test]
    fn a_client_of_libvdeplug_is_understood() {
        let bytes = request(0, b"/tmp/vde.01234-00001", b"vde_plug: user=me PID=1 \x1b[2J");
        let Parse::Request(r) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(r.port, 0);
        assert_eq!(r.data, DataSocket::Path("/tmp/vde.01234-00001".into()));
        assert_eq!(r.description, "vde_plug: user=me PID=1 [2J");
        assert!(matches!(parse(&request(7, b"/x", b"")), Parse::Request(Request { port: 7, .. })));
    }

    #[test]
    fn a_client_of_uml_is_understood() {
        let bytes = request(0, b"\0\x10\x27\0\0\x40\xe2\x01\0", b"");
        assert_eq!(bytes.len(), REQUEST_LEN);
        let Parse::Request(r) = parse(&bytes) else { panic!() };
        let DataSocket::Abstract(name) = r.data else { panic!() };
        assert_eq!(name.len(), 107);
        assert_eq!(&name[..8], b"\x10\x27\0\0\x40\xe2\x01\0");
    }

    #[test]
    fn every_prefix_is_incomplete() {
        let bytes = request(1, b"/tmp/x", b"");
        for len in 0..REQUEST_LEN {
            assert_eq!(parse(&bytes[..len]), Parse::Incomplete, "{len} bytes");
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_soon_as_it_is_seen() {
        let bad = |bytes: &[u8]| match parse(bytes) {
            Parse::Bad(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(bad(b"GET ").contains("only VDE"));
        let mut old = request(0, b"/x", b"");
        old[4..8].copy_from_slice(&2_u32.to_ne_bytes());
        assert!(bad(&old[..8]).contains("version 3"));
        let mut kind = request(0, b"/x", b"");
        kind[8..12].copy_from_slice(&9_u32.to_ne_bytes());
        assert!(bad(&kind).contains("unknown type 9"));
        assert!(bad(&request(1000, b"/x", b"")).contains("999"));
        assert!(bad(&request(0, b"", b"")).contains("named no data socket"));
        assert!(bad(&request(0, b"tmp/x", b"")).contains("absolute"));
        let mut family = request(0, b"/x", b"");
        family[12..14].copy_from_slice(&2_u16.to_ne_bytes());
        assert!(bad(&family).contains("AF_UNIX"));
    }

    #[test]
    fn a_path_that_fills_the_structure_needs_no_nul() {
        let path = [b'/'; 108];
        let Parse::Request(r) = parse(&request(0, &path, b"d")) else { panic!() };
        assert!(matches!(r.data, DataSocket::Path(p) if p.as_os_str().len() == 108));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(parse(&bytes));
            let mut dressed = request(0, b"", b"");
            dressed.truncate(12);
            dressed.extend_from_slice(&bytes);
            drop(parse(&dressed));
        }
    }
}
