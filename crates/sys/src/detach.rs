//! Leaving the caller: its session, terminal, directory, standard streams and descriptors.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

pub use libc::{SIGHUP, SIGINT, SIGPIPE, SIGTERM};

/// Takes over a descriptor whose number came on the command line, and marks it close-on-exec.
///
/// # Errors
/// When no such descriptor is open, or it is one of the standard streams' numbers that is not given away.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes plain numbers; a number that is not open gives EBADF.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if copy < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// A copy of a descriptor that programs started from here inherit: what careless programs have, for tests.
///
/// # Errors
/// As dup(2).
pub fn inheritable_copy(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let copy = fd.try_clone_to_owned()?;
    rustix::io::fcntl_setfd(&copy, rustix::io::FdFlags::empty())?;
    Ok(copy)
}

/// Forks once more and goes on only in the child, in a session of its own without a terminal, in the directory
/// `/`. The parent ends at once with status 0, so whoever waits for it goes on.
///
/// # Errors
/// When the process has more than one thread (a fork would lose them), or a system call fails.
pub fn into_background() -> io::Result<()> {
    if std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() != 1) {
        return Err(io::Error::other("a process with threads cannot move to the background"));
    }
    // Refused to the leader of a process group; the child of the fork is none.
    let leads_session = rustix::process::setsid().is_ok();
    // SAFETY: the process has one thread (checked above), so the child's memory is consistent.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        // SAFETY: ends this process without running exit handlers, which belong to the child.
        _ => unsafe { libc::_exit(0) },
    }
    if !leads_session {
        rustix::process::setsid()?;
    }
    rustix::process::chdir("/")?;
    // A caller that reads its signals from a descriptor has them blocked, and we inherited that.
    crate::signal::set_mask(&crate::signal::SignalSet::empty())?;
    Ok(())
}

/// Puts `/dev/null` in place of standard input and output, and `log` (or `/dev/null`) in place of standard
/// error.
///
/// # Errors
/// When `/dev/null` cannot be opened.
pub fn replace_standard_streams(log: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(null.as_fd())?;
    rustix::stdio::dup2_stdout(null.as_fd())?;
    rustix::stdio::dup2_stderr(log.unwrap_or(null.as_fd()))?;
    Ok(())
}

/// Puts `log` in place of standard error.
///
/// # Errors
/// As dup2(2).
pub fn replace_standard_error(log: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(log)?)
}

/// Closes every descriptor from 3 up but those in `keep`: what a careless caller left open must not be kept alive by
/// a daemon.
///
/// To be called before the process has opened anything that is not in `keep`.
///
/// # Errors
/// When the kernel has no close_range(2) (before 5.9).
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut numbers: Vec<u32> =
        keep.iter().filter_map(|fd| fd.as_raw_fd().try_into().ok()).collect();
    numbers.sort_unstable();
    let mut first = 3_u32;
    for number in numbers.into_iter().filter(|number| *number >= 3).chain([u32::MAX]) {
        let last = if number == u32::MAX { u32::MAX } else { number - 1 };
        if first <= last {
            // SAFETY: closes descriptors by number. Called at the start of a process whose own descriptors are
            // all in `keep` (this function's contract), so none of an owner's is closed behind its back.
            let code = unsafe { libc::close_range(first, last, 0) };
            if code < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        if number != u32::MAX {
            first = number + 1;
        }
    }
    Ok(())
}
