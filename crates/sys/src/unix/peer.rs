//! Socket files that others name.
//!
//! A path that a client chose may lead into a file system whose server is the client (FUSE), or is
//! away (NFS, an automount): looking it up could wait for ever. So only what the kernel's own cache
//! answers is looked up (`RESOLVE_CACHED`, Linux 5.12); a socket that was bound a moment ago is in
//! it. Where openat2(2) cannot say that (an older kernel, or a system call filter around us that
//! does not know the call), the path is opened as usual, and a client can make the caller wait.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use super::Address;

/// A socket file that a client named, pinned: the descriptor holds the inode, so what was checked
/// is what is reached, whatever happens to the path afterwards.
#[derive(Debug)]
pub struct PeerPath {
    inode: OwnedFd,
    /// As unix_diag tells them: the low 32 bits of the inode number, and the kernel's own `dev_t`
    /// (12 bits of major number, 20 of minor).
    number: u32,
    device: u32,
}

/// Which socket a name means. Only as long as somebody holds it: afterwards another may be known by the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketIs {
    /// The one bound to this inode, of this file system.
    Inode(u32, u32),
    /// The one of our network namespace that the kernel knows by this.
    Socket(crate::diag::SocketId),
}

/// Why a named socket is not used.
#[derive(Debug)]
pub enum PeerPathError {
    /// Not absolute: it would be looked up from our directory, not from the client's.
    Relative,
    Open(io::Error),
    /// The kernel would have to ask the file system: the name does not exist, was not used for
    /// long, or is on a server.
    NotCached,
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
            PeerPathError::NotCached => f.write_str(
                "it cannot be opened (the kernel's cache does not know it, and looking it up might \
                 wait); bind the socket just before it is named, in a local file system",
            ),
            PeerPathError::NotASocket => f.write_str("it is not a socket (or a symbolic link)"),
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
        use rustix::fs::{AtFlags, FileType, StatxFlags};
        if !path.is_absolute() {
            return Err(PeerPathError::Relative);
        }
        let inode = open_cached(path)?;
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(&inode, c"", flags, StatxFlags::BASIC_STATS)
            .map_err(|e| PeerPathError::Open(e.into()))?;
        if FileType::from_raw_mode(stat.stx_mode.into()) != FileType::Socket {
            return Err(PeerPathError::NotASocket);
        }
        if stat.stx_uid != uid {
            return Err(PeerPathError::Owner(stat.stx_uid));
        }
        let number = (stat.stx_ino & 0xffff_ffff) as u32;
        let device = stat.stx_dev_major << 20 | stat.stx_dev_minor;
        Ok(PeerPath { inode, number, device })
    }

    /// The inode number and device as unix_diag tells them.
    pub(crate) fn inode_and_device(&self) -> (u32, u32) {
        (self.number, self.device)
    }

    /// The inode as something to compare.
    #[must_use]
    pub fn socket(&self) -> SocketIs {
        SocketIs::Inode(self.number, self.device)
    }

    /// The address that reaches exactly this inode.
    #[must_use]
    pub fn address(&self) -> Address {
        let path = format!("/proc/self/fd/{}", self.inode.as_raw_fd());
        // At most 24 bytes: it always fits.
        Address::from_path(Path::new(&path)).unwrap_or_else(|_| Address::unnamed())
    }
}

/// Times that a look-up is repeated which a rename or a mount somewhere else disturbed.
const TRIES: usize = 4;

fn open_cached(path: &Path) -> Result<OwnedFd, PeerPathError> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use rustix::io::Errno;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::CACHED | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..TRIES {
        match rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve) {
            Ok(inode) => return Ok(inode),
            Err(Errno::AGAIN) => {}
            // ENOSYS and EINVAL of older kernels, EPERM of filters that do not know the call.
            Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
                return rustix::fs::open(path, flags, Mode::empty())
                    .map_err(|e| PeerPathError::Open(e.into()));
            }
            Err(e) => return Err(PeerPathError::Open(e.into())),
        }
    }
    Err(PeerPathError::NotCached)
}
