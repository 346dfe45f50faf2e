//! Processes: ids, waiting, ending, and what a process may not be asked to reveal.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, set_dumpable_behavior,
    set_parent_process_death_signal,
};

/// What wait(2) tells about a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It ended with this status, 0 to 255.
    Exited(i32),
    /// It died of this signal.
    Killed(i32),
    /// It is stopped by this signal.
    Stopped(i32),
}

/// Which children to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Any,
    Pid(i32),
}

/// Whether to wait until something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// Answer at once.
    Now,
    /// Wait for it.
    Block,
}

/// The next child that ended or stopped. `None` when there is none to tell of now, or none at all.
/// Children made with [`crate::ns::Parenthood::Grand`] count too.
pub fn wait(which: Which, patience: Patience) -> io::Result<Option<(i32, Status)>> {
    let pid = match which {
        Which::Any => None,
        Which::Pid(pid) => Some(Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?),
    };
    let mut options = WaitOptions::UNTRACED;
    if patience == Patience::Now {
        options |= WaitOptions::NOHANG;
    }
    // A child of CLONE_PARENT without an exit signal is a "clone child" (wait(2), __WALL).
    options |= WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    loop {
        let waited = match pid {
            // Not waitpid without a number, which means those of our own process group.
            None => rustix::process::wait(options),
            some => rustix::process::waitpid(some, options),
        };
        return match waited {
            Ok(None) | Err(rustix::io::Errno::CHILD) => Ok(None),
            Ok(Some((pid, status))) => {
                let status = if let Some(code) = status.exit_status() {
                    Status::Exited(code)
                } else if let Some(signal) = status.terminating_signal() {
                    Status::Killed(signal)
                } else if let Some(signal) = status.stopping_signal() {
                    Status::Stopped(signal)
                } else {
                    continue;
                };
                Ok(Some((pid.as_raw_nonzero().get(), status)))
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

/// A descriptor of a process (pidfd_open(2)), readable when it has ended.
pub fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?)
}

/// Whether a process runs that has this number here. One that has ended and was not waited for does not. Where that
/// cannot be told it is said to run: without descriptors, or for the number 0, a process of another PID namespace.
#[must_use]
pub fn is_running(pid: i32) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec};
    if pid <= 0 {
        return true;
    }
    match open(pid) {
        Ok(pidfd) => {
            let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            !matches!(rustix::event::poll(&mut ended, Some(&now)), Ok(1))
        }
        Err(error) => error.raw_os_error() != Some(libc::ESRCH),
    }
}

/// Whether a descriptor lies on the kernel's own file system of process descriptors. Before Linux 6.9 they share
/// one with epoll, eventfd and timerfd, which are no more trouble to hold or to close. Never waits, whatever it is.
///
/// # Errors
/// As statx(2) and pidfd_open(2).
pub fn is_pidfd(fd: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    // A file system that has to ask a server for attributes (FUSE, NFS) is not asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let own = rustix::process::pidfd_open(
        rustix::process::getpid(),
        rustix::process::PidfdFlags::empty(),
    )?;
    let it = statx(fd, c"", flags, StatxFlags::TYPE)?;
    let ours = statx(&own, c"", flags, StatxFlags::TYPE)?;
    Ok((it.stx_dev_major, it.stx_dev_minor) == (ours.stx_dev_major, ours.stx_dev_minor))
}

/// Sends a signal to the process behind a pidfd (pidfd_send_signal(2)).
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no siginfo is given and no flags are set; nothing else is memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The number that our PID namespace has for the process behind a pidfd; `None` once it is gone or
/// if it is not in our namespace.
pub fn number(pidfd: BorrowedFd<'_>) -> io::Result<Option<i32>> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
    let pid = text.lines().find_map(|l| l.strip_prefix("Pid:")).and_then(|p| p.trim().parse().ok());
    Ok(pid.filter(|pid| *pid > 0))
}

/// The signal this process gets when its parent's thread ends; forgotten when credentials change.
pub fn set_death_signal(signal: i32) -> io::Result<()> {
    let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(set_parent_process_death_signal(Some(signal))?)
}

/// Takes away from other processes of the same user what ptrace(2) guards: memory, descriptors and
/// namespaces in `/proc/PID`. The next exec gives it back.
pub fn set_undumpable() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// Marks every descriptor from `first` on as close-on-exec, those we do not know of too.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: marks descriptors only; no owner of one is affected before exec.
    let result =
        unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result == 0 {
        return Ok(());
    }
    // Kernels before 5.11 have no such flag: go through the list.
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(fd) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
        if fd >= first {
            // SAFETY: sets the close-on-exec flag of a descriptor; it stays open and owned.
            unsafe {
                libc::fcntl(i32::try_from(fd).unwrap_or(-1), libc::F_SETFD, libc::FD_CLOEXEC)
            };
        }
    }
    Ok(())
}

/// Gives this process a new, empty session keyring, so that it possesses none of the caller's keys
/// (session-keyring(7)). Kernels without keys have none to lose.
pub fn leave_session_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: i32 = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing else is memory.
    let result = unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<u8>())
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        let absent = [libc::ENOSYS, libc::EPERM];
        if !error.raw_os_error().is_some_and(|e| absent.contains(&e)) {
            return Err(error);
        }
    }
    Ok(())
}

/// Leaves all supplementary groups.
pub fn clear_groups() -> io::Result<()> {
    // SAFETY: a count of 0 reads no memory. The process has one thread, so the raw call, which acts
    // on the calling thread alone, acts on the process.
    if unsafe { libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Names this UTS namespace (sethostname(2), at most 64 bytes).
pub fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: the kernel reads exactly the bytes whose number is given.
    if unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What ps(1) and `/proc/PID/comm` call this process (`PR_SET_NAME`, at most 15 bytes), if its first thread asks.
pub fn set_name(name: &std::ffi::CStr) -> io::Result<()> {
    // SAFETY: the kernel reads the string up to its end, or 16 bytes of it.
    if unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Becomes the leader of a new session without a terminal (setsid(2)).
pub fn new_session() -> io::Result<()> {
    rustix::process::setsid()?;
    Ok(())
}

/// Effective user and group.
#[must_use]
pub fn ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Process group of a process; 0 if the group's first process is outside of our PID namespace.
pub fn group(pid: i32) -> io::Result<i32> {
    // SAFETY: getpgid has no memory arguments.
    let group = unsafe { libc::getpgid(pid) };
    if group < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(group)
}

/// Our own number.
#[must_use]
pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Makes a directory the working one, of the whole process: for one that has a single thread, as after a
/// fork.
pub fn set_directory(path: &std::path::Path) -> io::Result<()> {
    Ok(rustix::process::chdir(path)?)
}

/// Ends at once, without the destructors and buffers of a process that continues elsewhere.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: ends the process; there is no after.
    unsafe { libc::_exit(status) }
}

/// Dies of a signal, without a core, so that who waits for us sees what happened to our child.
/// Returns only if the signal's default is not to end a process.
pub fn die_by(signal: i32) {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = crate::signal::reset(signal);
    let _ = crate::signal::unblock(&crate::signal::SignalSet::of(&[signal]));
    let _ = crate::signal::send(own_pid(), signal);
}

/// Watches a directory for a name that goes away (inotify(7)): readable when any entry of the
/// directory was deleted or moved, or the directory itself is gone.
pub fn watch_deletions(directory: &std::path::Path) -> io::Result<OwnedFd> {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let what = inotify::WatchFlags::DELETE
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::DELETE_SELF;
    inotify::add_watch(&watch, directory, what)?;
    Ok(watch)
}

/// A descriptor that is readable after entries of `directory` were made, replaced, renamed or removed.
pub fn watch_entries(directory: &std::path::Path) -> io::Result<OwnedFd> {
    use rustix::fs::inotify;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    let what = inotify::WatchFlags::CREATE
        | inotify::WatchFlags::MOVED_TO
        | inotify::WatchFlags::MOVED_FROM
        | inotify::WatchFlags::DELETE;
    inotify::add_watch(&watch, directory, what)?;
    Ok(watch)
}

/// Reads away what is pending on a descriptor that only announces something.
pub fn drain(fd: BorrowedFd<'_>) {
    let mut buffer = [0_u8; 4096];
    while matches!(rustix::io::read(fd, &mut buffer), Ok(n) if n > 0) {}
}

/// A pipe, both ends close-on-exec: (read, write).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

/// Duplicates a descriptor, close-on-exec.
pub fn duplicate(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 3)?)
}

/// Puts a descriptor in the place of one of the three standard streams.
pub fn replace_stream(fd: BorrowedFd<'_>, stream: i32) -> io::Result<()> {
    if !(0..=2).contains(&stream) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: descriptors 0 to 2 are the process's standard streams, which no `OwnedFd` owns.
    if unsafe { libc::dup2(fd.as_raw_fd(), stream) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes sure that descriptors 0 to 2 are open, so that no descriptor of ours takes their place and
/// ends up as a guest's standard stream.
pub fn fill_standard_streams() -> io::Result<()> {
    loop {
        // SAFETY: the path is a NUL-terminated literal.
        let fd = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        if fd > 2 {
            // SAFETY: just opened, owned by nobody else; dropping closes it.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
            return Ok(());
        }
        // SAFETY: marks a standard stream to stay open across exec.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
}

/// Which of some descriptors are ready to read or hung up; waits until one is, or until the
/// timeout in milliseconds (poll(2)). A signal handler's interruption counts as none.
pub fn poll(fds: &[BorrowedFd<'_>], timeout: Option<u32>) -> io::Result<Vec<bool>> {
    use rustix::event::{PollFd, PollFlags, Timespec};
    let mut set: Vec<_> = fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let timeout = timeout.map(|ms| Timespec {
        tv_sec: i64::from(ms / 1000),
        tv_nsec: (i64::from(ms % 1000)) * 1_000_000,
    });
    match rustix::event::poll(&mut set, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(set.iter().map(|p| !p.revents().is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_pidfd_is_told_from_files_sockets_and_namespaces() {
        let own = open(own_pid()).expect("ours");
        assert!(is_pidfd(own.as_fd()).expect("statx"));
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        for other in ["/proc/self/ns/user", "/dev/null", "/"] {
            let file = std::fs::File::open(other).expect(other);
            assert!(!is_pidfd(file.as_fd()).expect(other), "{other}");
        }
        assert!(!is_pidfd(socket.as_fd()).expect("statx"));
    }

    #[test]
    fn a_pidfd_knows_its_process() {
        let me = open(own_pid()).unwrap();
        assert_eq!(number(me.as_fd()).unwrap(), Some(own_pid()));
        signal(me.as_fd(), 0).unwrap();
        assert!(open(0).is_err());
    }

    #[test]
    fn poll_tells_the_ready_from_the_others() {
        let (a, b) = pipe().unwrap();
        let (c, _d) = pipe().unwrap();
        assert_eq!(poll(&[a.as_fd(), c.as_fd()], Some(0)).unwrap(), [false, false]);
        drop(b);
        assert_eq!(poll(&[a.as_fd(), c.as_fd()], None).unwrap(), [true, false]);
    }
}
