//! Socket names.

use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::io;
use std::mem::size_of;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{PATH_MAX_BYTES, SOCKADDR_UN_LEN};

/// A socket name: path, abstract name, or none. Stored inline; no allocation.
#[derive(Clone, Copy)]
pub struct Address {
    pub(super) raw: libc::sockaddr_un,
    len: u8,
}

impl Address {
    /// The length of the family field alone: an unnamed socket.
    const UNNAMED: u8 = 2;

    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for an empty path, one of more than [`PATH_MAX_BYTES`], or
    /// one with a NUL in it.
    pub fn from_path(path: &Path) -> io::Result<Address> {
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() > PATH_MAX_BYTES || bytes.contains(&0) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "the socket path {} has {} bytes; it must have 1 to {PATH_MAX_BYTES} bytes without NUL",
                    path.display(),
                    bytes.len()
                ),
            ));
        }
        let mut a = Address::unnamed();
        for (to, from) in a.raw.sun_path.iter_mut().zip(bytes) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        // The terminating NUL is part of the length, as SUN_LEN() + 1 in unix(7).
        a.len = Address::UNNAMED + u8::try_from(bytes.len()).unwrap_or(107) + 1;
        Ok(a)
    }

    /// An abstract name (without the leading NUL byte that marks it), at most 107 bytes.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is longer.
    pub fn from_abstract(name: &[u8]) -> io::Result<Address> {
        if name.len() > PATH_MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("an abstract socket name has at most 107 bytes, this has {}", name.len()),
            ));
        }
        let mut a = Address::unnamed();
        for (to, from) in a.raw.sun_path[1..].iter_mut().zip(name) {
            *to = libc::c_char::from_ne_bytes([*from]);
        }
        a.len = Address::UNNAMED + 1 + u8::try_from(name.len()).unwrap_or(107);
        Ok(a)
    }

    /// The name of a socket that has none.
    #[must_use]
    pub fn unnamed() -> Address {
        Address {
            raw: libc::sockaddr_un {
                sun_family: libc::AF_UNIX.cast_unsigned() as libc::sa_family_t,
                sun_path: [0; 108],
            },
            len: Address::UNNAMED,
        }
    }

    /// What the kernel wrote: `raw` with `len` valid bytes.
    pub(crate) fn from_kernel(raw: &libc::sockaddr_un, len: libc::socklen_t) -> Address {
        let valid = (len as usize).min(SOCKADDR_UN_LEN);
        let mut a = Address::unnamed();
        let path_bytes = valid.saturating_sub(size_of::<libc::sa_family_t>());
        a.raw.sun_path[..path_bytes].copy_from_slice(&raw.sun_path[..path_bytes]);
        a.len = Address::UNNAMED + u8::try_from(path_bytes).unwrap_or(108);
        a
    }

    pub(crate) fn as_raw(&self) -> (*const libc::sockaddr_un, libc::socklen_t) {
        (&raw const self.raw, libc::socklen_t::from(self.len))
    }

    fn bytes(&self) -> &[u8] {
        let path = usize::from(self.len - Address::UNNAMED);
        let signed = &self.raw.sun_path[..path];
        // SAFETY: c_char and u8 have the same size and alignment, every bit pattern is valid for
        // both, and the borrow of `self` keeps the bytes alive.
        unsafe { std::slice::from_raw_parts(signed.as_ptr().cast::<u8>(), signed.len()) }
    }

    #[must_use]
    pub fn is_unnamed(&self) -> bool {
        self.len == Address::UNNAMED
    }

    /// The path, without terminating NULs.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        let bytes = self.bytes();
        if bytes.first().is_none_or(|b| *b == 0) {
            return None;
        }
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Some(Path::new(OsStr::from_bytes(&bytes[..end])))
    }

    /// The abstract name, without the NUL byte that marks it.
    #[must_use]
    pub fn abstract_name(&self) -> Option<&[u8]> {
        match self.bytes() {
            [0, name @ ..] => Some(name),
            _ => None,
        }
    }

    /// The layout of `struct sockaddr_un`, native byte order, as VDE puts it on the wire.
    #[must_use]
    pub fn to_wire(&self) -> [u8; SOCKADDR_UN_LEN] {
        let mut out = [0; SOCKADDR_UN_LEN];
        out[..2].copy_from_slice(&self.raw.sun_family.to_ne_bytes());
        let bytes = self.bytes();
        out[2..2 + bytes.len()].copy_from_slice(bytes);
        out
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Address) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Address {}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(path) = self.path() {
            write!(f, "{}", path.display())
        } else if let Some(name) = self.abstract_name() {
            write!(f, "@{}", name.escape_ascii())
        } else {
            f.write_str("an unnamed socket")
        }
    }
}
