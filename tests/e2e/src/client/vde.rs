//! The VDE v3 request, as libvdeplug makes it: for handshakes that no well-behaved client would send.

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};

/// The first word of every request.
pub const MAGIC: u32 = 0xfeed_face;
/// The version spoken.
pub const VERSION: u32 = 3;
/// `REQ_NEW_PORT0` for any port number.
pub const NEW_PORT: u32 = 1;
/// `sizeof(struct sockaddr_un)` on Linux.
pub const ADDRESS_LENGTH: usize = 110;

/// A client of a `ctl` node, attached.
#[derive(Debug)]
pub struct Vde {
    pub control: UnixStream,
    pub data: UnixDatagram,
    path: PathBuf,
}

/// The bytes of a request that names `path` as the client's data socket.
#[must_use]
pub fn request(path: &[u8], description: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&MAGIC.to_ne_bytes());
    bytes.extend_from_slice(&VERSION.to_ne_bytes());
    bytes.extend_from_slice(&NEW_PORT.to_ne_bytes());
    bytes.extend_from_slice(&rustix::net::AddressFamily::UNIX.as_raw().to_ne_bytes());
    let mut field = path[..path.len().min(ADDRESS_LENGTH - 2)].to_vec();
    field.resize(ADDRESS_LENGTH - 2, 0);
    bytes.extend_from_slice(&field);
    bytes.extend_from_slice(description.as_bytes());
    bytes
}

impl Vde {
    /// Attaches to the switch at `directory` with a data socket at `own`; `None` when the switch refuses.
    ///
    /// # Panics
    /// When the socket cannot be made or the switch cannot be reached at all.
    #[must_use]
    pub fn attach(directory: &Path, own: &Path) -> Option<Self> {
        let data = UnixDatagram::bind(own).expect("a data socket");
        super::open_to_all(own);
        data.set_read_timeout(Some(crate::wait::PATIENCE)).expect("a socket takes a timeout");
        let mut control = UnixStream::connect(directory.join("ctl")).expect("the switch listens");
        control.set_read_timeout(Some(crate::wait::PATIENCE)).expect("a socket takes a timeout");
        let path = own.to_owned();
        control.write_all(&request(own.as_os_str().as_encoded_bytes(), "netherd test")).ok()?;
        let mut answer = [0; ADDRESS_LENGTH];
        control.read_exact(&mut answer).ok()?;
        let name = answer[2..].split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).expect("the switch's path is text");
        data.connect(name).unwrap_or_else(|error| panic!("cannot connect to {name}: {error}"));
        Some(Self { control, data, path })
    }

    /// Sends one frame.
    ///
    /// # Panics
    /// When the other side is gone.
    pub fn send(&self, frame: &[u8]) {
        self.data.send(frame).expect("the network reads its datagrams");
    }

    /// The next frame.
    ///
    /// # Panics
    /// When none comes for 20 s.
    #[must_use]
    pub fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 1 << 17];
        let length = self.data.recv(&mut frame).expect("a frame comes");
        frame.truncate(length);
        frame
    }
}

impl Drop for Vde {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
