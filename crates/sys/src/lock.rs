//! One holder of a directory: a lock file taken with flock(2).
//!
//! The kernel lets go of the lock when the holder ends, however it ends, so a killed holder leaves nothing to
//! clean up. The file itself stays: removing it would let two holders lock two different files.

use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};

/// The held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    file: std::fs::File,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it; its number, when it has written one.
    Held { pid: Option<u32> },
    /// A system call failed.
    Io(io::Error),
}

impl std::fmt::Display for LockError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Held { pid: Some(pid) } => write!(f, "process {pid} holds it"),
            Self::Held { pid: None } => f.write_str("another process holds it"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

impl From<rustix::io::Errno> for LockError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Lock {
    /// Takes the lock file `name` in `directory` without waiting and writes our process number into it. The
    /// file is created with mode 0600; a symbolic link is not followed.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it.
    pub fn take(directory: BorrowedFd<'_>, name: &str) -> Result<Self, LockError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd: OwnedFd = openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = std::fs::File::from(fd);
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = match (&mut file).take(16).read_to_string(&mut text) {
                    Ok(_) => text.trim().parse().ok(),
                    Err(_) => None,
                };
                return Err(LockError::Held { pid });
            }
            Err(errno) => return Err(errno.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { file })
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_learns_who_holds_it() {
        let path = std::env::temp_dir().join(format!("netherd-lock-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        let directory = std::fs::File::open(&path).expect("the directory");
        let first = Lock::take(directory.as_fd(), "lock").expect("nobody holds it");
        match Lock::take(directory.as_fd(), "lock") {
            Err(LockError::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("the lock was taken twice: {other:?}"),
        }
        drop(first);
        Lock::take(directory.as_fd(), "lock").expect("the first holder let go");
        std::os::unix::fs::symlink("lock", path.join("link")).expect("a link");
        assert!(matches!(Lock::take(directory.as_fd(), "link"), Err(LockError::Io(_))));
        std::fs::remove_dir_all(&path).expect("clean up");
    }
}
