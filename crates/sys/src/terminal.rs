//! The controlling terminal and its foreground process group (credentials(7), tcsetpgrp(3)).

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::signal::{SignalSet, block, set_mask};

/// The terminal that controls this process's session.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl Terminal {
    /// `None` if the session has no terminal.
    #[must_use]
    pub fn controlling() -> Option<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_CLOEXEC)
            .open("/dev/tty")
            .ok()?;
        Some(Self(file.into()))
    }

    /// The group that the terminal's keys act on; 0 if it is outside of our PID namespace.
    pub fn foreground(&self) -> io::Result<i32> {
        // SAFETY: tcgetpgrp has no memory arguments.
        let group = unsafe { libc::tcgetpgrp(self.0.as_raw_fd()) };
        if group < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(group)
    }

    /// Gives the terminal to a group of this session, also when we are in the background now.
    pub fn set_foreground(&self, group: i32) -> io::Result<()> {
        // A background process that does this is stopped, unless it blocks SIGTTOU.
        let before = block(&SignalSet::of(&[libc::SIGTTOU]))?;
        // SAFETY: tcsetpgrp has no memory arguments.
        let result = unsafe { libc::tcsetpgrp(self.0.as_raw_fd(), group) };
        let error = io::Error::last_os_error();
        set_mask(&before)?;
        if result != 0 {
            return Err(error);
        }
        Ok(())
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The process group of this process; 0 if it began outside of our PID namespace, as the group of a guest's
/// command does.
#[must_use]
pub fn own_group() -> i32 {
    // Not rustix's getpgrp, which takes 0 for impossible.
    crate::process::group(0).unwrap_or(0)
}
