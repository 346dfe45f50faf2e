//! Signals: blocking them, and reading them from a descriptor together with who sent them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The signals that netherd itself deals with (signal(7)), for code that makes no system calls of its own.
pub use libc::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP};

/// A set of signals, as sigsetops(3) has it.
#[derive(Clone, Copy)]
pub struct SignalSet(libc::sigset_t);

impl std::fmt::Debug for SignalSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((1..=64).filter(|s| self.contains(*s))).finish()
    }
}

impl SignalSet {
    /// No signal.
    #[must_use]
    pub fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the whole set it is given.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Every signal there is.
    #[must_use]
    pub fn all() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset initialises the whole set it is given.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// Exactly these signals; numbers that are none are left out.
    #[must_use]
    pub fn of(signals: &[i32]) -> Self {
        let mut set = Self::empty();
        for &signal in signals {
            // SAFETY: the set is initialised; a number that is no signal gives EINVAL only.
            unsafe { libc::sigaddset(&raw mut set.0, signal) };
        }
        set
    }

    /// The set without one signal.
    #[must_use]
    pub fn without(mut self, signal: i32) -> Self {
        // SAFETY: the set is initialised; a number that is no signal gives EINVAL only.
        unsafe { libc::sigdelset(&raw mut self.0, signal) };
        self
    }

    #[must_use]
    pub fn contains(&self, signal: i32) -> bool {
        // SAFETY: the set is initialised; a number that is no signal gives -1.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }
}

fn change_mask(how: i32, set: &SignalSet) -> io::Result<SignalSet> {
    let mut old = SignalSet::empty();
    // SAFETY: both sets are initialised and live across the call.
    let error = unsafe { libc::pthread_sigmask(how, &raw const set.0, &raw mut old.0) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(old)
}

/// Blocks these signals in the calling thread (threads it starts inherit that) and answers the
/// mask there was before.
pub fn block(set: &SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_BLOCK, set)
}

/// Unblocks these signals in the calling thread and answers the mask there was before.
pub fn unblock(set: &SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_UNBLOCK, set)
}

/// Makes the calling thread's mask exactly this one and answers the one before.
pub fn set_mask(set: &SignalSet) -> io::Result<SignalSet> {
    change_mask(libc::SIG_SETMASK, set)
}

/// Gives one signal its default action.
pub fn reset(signal: i32) -> io::Result<()> {
    set_action(signal, libc::SIG_DFL)
}

fn set_action(signal: i32, action: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is a valid one without flags and with an empty mask.
    let mut new: libc::sigaction = unsafe { std::mem::zeroed() };
    new.sa_sigaction = action;
    // SAFETY: `new` is initialised; SIG_DFL and SIG_IGN run no code of ours.
    if unsafe { libc::sigaction(signal, &raw const new, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The signals that are ignored by this process, so that what we start can inherit exactly that.
#[must_use]
pub fn ignored() -> SignalSet {
    let mut set = SignalSet::empty();
    for signal in 1..=64 {
        // SAFETY: an all-zero sigaction is valid, and the call only writes the old one to it.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0
                && old.sa_sigaction == libc::SIG_IGN
            {
                libc::sigaddset(&raw mut set.0, signal);
            }
        }
    }
    set
}

/// One signal as signalfd(2) reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub signal: i32,
    /// `si_code`: 0 and below come from a process (`SI_USER`, `SI_QUEUE`, `SI_TKILL`), above 0
    /// from the kernel (`SI_KERNEL` for a terminal's keys), sigaction(2).
    pub code: i32,
    /// Sender, as the reader's PID namespace numbers it; 0 if outside of it or the kernel.
    pub pid: i32,
    pub uid: u32,
}

impl Received {
    /// Sent by a process to us rather than raised by the kernel.
    #[must_use]
    pub fn from_process(&self) -> bool {
        self.code <= 0
    }
}

/// A descriptor that becomes readable when one of a set of blocked signals is pending.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Non-blocking and close-on-exec. The signals must be blocked ([`block`]) in every thread.
    pub fn new(set: &SignalSet) -> io::Result<Self> {
        // SAFETY: the set is initialised; -1 asks for a new descriptor.
        let fd =
            unsafe { libc::signalfd(-1, &raw const set.0, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, or `None`.
    pub fn read(&self) -> io::Result<Option<Received>> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: the buffer is writable for `size` bytes.
            let got = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            if got < 0 {
                let error = io::Error::last_os_error();
                match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => return Err(error),
                }
            }
            if usize::try_from(got) != Ok(size) {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            // SAFETY: the kernel has written the whole structure.
            let info = unsafe { info.assume_init() };
            return Ok(Some(Received {
                signal: i32::try_from(info.ssi_signo).unwrap_or(0),
                code: info.ssi_code,
                pid: i32::try_from(info.ssi_pid).unwrap_or(0),
                uid: info.ssi_uid,
            }));
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to one process (never a group: `pid` must be above 0).
pub fn send(pid: i32, signal: i32) -> io::Result<()> {
    if pid <= 0 {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    // SAFETY: kill has no memory arguments.
    if unsafe { libc::kill(pid, signal) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sends a signal to every other process of our PID namespace.
///
/// # Errors
/// EPERM unless this is process 1 of a namespace: elsewhere these processes would be other people's. ESRCH when it is
/// alone.
pub fn send_to_all_others(signal: i32) -> io::Result<()> {
    if crate::process::own_pid() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EPERM));
    }
    // SAFETY: kill has no memory arguments. -1 is everybody whom we may signal but ourselves.
    if unsafe { libc::kill(-1, signal) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a process group has a living member.
#[must_use]
pub fn group_exists(group: i32) -> bool {
    // SAFETY: kill has no memory arguments; signal 0 only asks. Groups 0 and 1 would mean something else.
    group > 1
        && (unsafe { libc::kill(-group, 0) } == 0
            || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM))
}

/// The conventional name, "SIGTERM", for messages.
#[must_use]
pub fn name(signal: i32) -> String {
    let known = [
        (SIGHUP, "SIGHUP"),
        (SIGINT, "SIGINT"),
        (SIGQUIT, "SIGQUIT"),
        (libc::SIGILL, "SIGILL"),
        (libc::SIGABRT, "SIGABRT"),
        (libc::SIGFPE, "SIGFPE"),
        (SIGKILL, "SIGKILL"),
        (libc::SIGSEGV, "SIGSEGV"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGALRM, "SIGALRM"),
        (SIGTERM, "SIGTERM"),
        (libc::SIGBUS, "SIGBUS"),
        (libc::SIGSYS, "SIGSYS"),
    ];
    match known.iter().find(|(number, _)| *number == signal) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_read_with_its_sender() {
        let set = SignalSet::of(&[libc::SIGUSR2]);
        let before = block(&set).unwrap();
        let fd = SignalFd::new(&set).unwrap();
        assert_eq!(fd.read().unwrap(), None);
        // To this thread alone: the other tests' threads do not block it.
        // SAFETY: tgkill has no memory arguments.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::gettid(), libc::SIGUSR2) };
        let got = fd.read().unwrap().expect("it is pending");
        assert_eq!(got.signal, libc::SIGUSR2);
        assert!(got.from_process());
        assert_eq!(u32::try_from(got.pid).unwrap(), std::process::id());
        assert_eq!(fd.read().unwrap(), None);
        set_mask(&before).unwrap();
    }

    #[test]
    fn sets_hold_what_they_were_given() {
        let set = SignalSet::of(&[SIGINT, 0, 4711]);
        assert!(set.contains(SIGINT) && !set.contains(SIGTERM));
        assert!(!set.without(SIGINT).contains(SIGINT));
        assert!(SignalSet::all().contains(SIGTERM));
    }

    #[test]
    fn a_group_is_never_signalled() {
        for pid in [0, -1, -5] {
            assert_eq!(send(pid, SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        }
    }
}
