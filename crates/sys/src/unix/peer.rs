//! Socket files that others name.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::Address;

/// A socket file that a client named, pinned: the descriptor holds the inode, so what was checked
/// is what is reached, whatever happens to the path afterwards.
#[derive(Debug)]
pub struct PeerPath {
    inode: OwnedFd,
}

/// Why a named socket is not used.
#[derive(Debug)]
pub enum PeerPathError {
    /// Not absolute: it would be looked up from our directory, not from the client's.
    Relative,
    Open(io::Error),
    /// Not a socket (or a symbolic link to one).
    NotASocket,
    /// It belongs to another user: its owner.
    Owner(u32),
}

impl std::fmt::Display for PeerPathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            PeerPathError::Relative => f.write_str("it is not an absolute path"),
            PeerPathError::Open(e) => write!(f, "it cannot be opened ({e})"),
            PeerPathError::NotASocket => f.write_str("it is no socket (or a symbolic link)"),
            PeerPathError::Owner(uid) => write!(f, "it belongs to user {uid}, not to the client"),
        }
    }
}

impl std::error::Error for PeerPathError {}

impl PeerPath {
    /// Pins the socket at `path` if it is owned by `uid` and its last component is no symbolic
    /// link. Needs no permission on the socket itself (O_PATH).
    ///
    /// # Errors
    /// See [`PeerPathError`].
    pub fn open(path: &Path, uid: u32) -> Result<PeerPath, PeerPathError> {
        use rustix::fs::{FileType, Mode, OFlags};
        if !path.is_absolute() {
            return Err(PeerPathError::Relative);
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inode = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|e| PeerPathError::Open(e.into()))?;
        let stat = rustix::fs::fstat(&inode).map_err(|e| PeerPathError::Open(e.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
            return Err(PeerPathError::NotASocket);
        }
        if stat.st_uid != uid {
            return Err(PeerPathError::Owner(stat.st_uid));
        }
        Ok(PeerPath { inode })
    }

    /// The inode number and device as unix_diag tells them: the low 32 bits, and the kernel's own
    /// `dev_t` (12 bits of major number, 20 of minor).
    pub(crate) fn inode_and_device(&self) -> io::Result<(u32, u32)> {
        let stat = rustix::fs::fstat(&self.inode)?;
        let (major, minor) = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        Ok(((stat.st_ino & 0xffff_ffff) as u32, major << 20 | minor))
    }

    /// The address that reaches exactly this inode.
    #[must_use]
    pub fn address(&self) -> Address {
        let path = format!("/proc/self/fd/{}", self.inode.as_raw_fd());
        // At most 24 bytes: it always fits.
        Address::from_path(Path::new(&path)).unwrap_or_else(|_| Address::unnamed())
    }
}
