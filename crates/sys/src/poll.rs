//! The poller: epoll(7) with waits of nanosecond precision.
//!
//! Registration is level triggered: a descriptor that a budget left half read is reported again
//! by the next wait, behind the others, so that the kernel's ready list is our round robin. The
//! exception is [`Poller::add_edges`], for sockets in which data stays that was read already.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What a registration waits for. Hang-up and error are always reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Interest {
    pub readable: bool,
    pub writable: bool,
}

impl Interest {
    pub const NONE: Interest = Interest { readable: false, writable: false };
    pub const READABLE: Interest = Interest { readable: true, writable: false };
    pub const WRITABLE: Interest = Interest { readable: false, writable: true };
    pub const BOTH: Interest = Interest { readable: true, writable: true };

    fn bits(self) -> u32 {
        let mut bits = 0;
        if self.readable {
            // RDHUP rides with IN only: a half-closed peer whose reading is paused must not
            // be reported again and again.
            bits |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if self.writable {
            bits |= libc::EPOLLOUT;
        }
        bits.cast_unsigned()
    }
}

/// One report of [`Poller::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token given at registration.
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
    /// There is urgent data (EPOLLPRI); only where [`Poller::add_edges`] asked.
    pub urgent: bool,
    /// The peer closed (EPOLLHUP, EPOLLRDHUP) or the descriptor has an error (EPOLLERR). There
    /// may still be something to read.
    pub hangup: bool,
}

/// Storage for the reports of one wait, reused from wait to wait.
pub struct Events {
    buffer: Box<[libc::epoll_event]>,
    filled: usize,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Events {
    /// Room for `capacity` reports (at least one).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Events {
        let empty = libc::epoll_event { events: 0, u64: 0 };
        Events { buffer: vec![empty; capacity.max(1)].into_boxed_slice(), filled: 0 }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Forgets the last wait.
    pub fn clear(&mut self) {
        self.filled = 0;
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Report number `i` of the last wait.
    #[must_use]
    pub fn get(&self, i: usize) -> Option<Event> {
        self.buffer[..self.filled].get(i).map(|raw| {
            let bits = raw.events.cast_signed();
            Event {
                token: raw.u64,
                readable: bits & libc::EPOLLIN != 0,
                writable: bits & libc::EPOLLOUT != 0,
                urgent: bits & libc::EPOLLPRI != 0,
                hangup: bits & (libc::EPOLLHUP | libc::EPOLLRDHUP | libc::EPOLLERR) != 0,
            }
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        (0..self.filled).filter_map(|i| self.get(i))
    }
}

/// An epoll instance. It does not own what is registered with it: closing the last descriptor of
/// an open file description removes the registration.
#[derive(Debug)]
pub struct Poller {
    fd: OwnedFd,
    /// False once the kernel or a system call filter refused epoll_pwait2 (Linux 5.11).
    nanoseconds: AtomicBool,
}

impl Poller {
    /// # Errors
    /// EMFILE, ENFILE, ENOMEM of epoll_create1(2).
    pub fn new() -> io::Result<Poller> {
        // SAFETY: no pointers; the result is checked before use.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: epoll_create1 has just returned this descriptor; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Poller { fd, nanoseconds: AtomicBool::new(true) })
    }

    /// The same instance once more: what is registered with either is reported by the waits of
    /// both, once.
    ///
    /// # Errors
    /// EMFILE.
    pub fn share(&self) -> io::Result<Poller> {
        let nanoseconds = AtomicBool::new(self.nanoseconds.load(Ordering::Relaxed));
        Ok(Poller { fd: self.fd.try_clone()?, nanoseconds })
    }

    /// Starts to watch `fd`; its reports carry `token`.
    ///
    /// # Errors
    /// EEXIST when it is registered already, EPERM when it cannot be polled (a regular file),
    /// ENOSPC when /proc/sys/fs/epoll/max_user_watches is reached.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, token, interest)
    }

    /// Starts to watch `fd` for everything, edge triggered: each report tells that something came,
    /// room became free, or the peer ended, since the last one.
    ///
    /// # Errors
    /// As [`Poller::add`].
    pub fn add_edges(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let bits = Interest::BOTH.bits() | (libc::EPOLLPRI | libc::EPOLLET).cast_unsigned();
        self.control_bits(libc::EPOLL_CTL_ADD, fd, token, bits)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// ENOENT when `fd` is not registered.
    pub fn modify(&self, fd: BorrowedFd<'_>, token: u64, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, token, interest)
    }

    /// Stops to watch `fd`. Needed before closing it when a copy of the descriptor lives on.
    ///
    /// # Errors
    /// ENOENT when `fd` is not registered.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, Interest::NONE)
    }

    fn control(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        interest: Interest,
    ) -> io::Result<()> {
        self.control_bits(operation, fd, token, interest.bits())
    }

    fn control_bits(
        &self,
        operation: libc::c_int,
        fd: BorrowedFd<'_>,
        token: u64,
        bits: u32,
    ) -> io::Result<()> {
        let mut event = libc::epoll_event { events: bits, u64: token };
        // SAFETY: `event` lives over the call and the kernel does not keep the pointer; both
        // descriptors are open because they are borrowed.
        let r = unsafe {
            libc::epoll_ctl(self.fd.as_raw_fd(), operation, fd.as_raw_fd(), &raw mut event)
        };
        if r < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits until something is ready or `timeout` has passed (`None`: for ever, zero: not at
    /// all). A signal ends the wait early with no events.
    ///
    /// # Errors
    /// Only for a descriptor that is not an epoll instance any more (EBADF, EINVAL).
    pub fn wait(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<usize> {
        events.filled = 0;
        let n = match timeout {
            // The plain call is the cheapest one, and the spin makes it often.
            Some(Duration::ZERO) => self.wait_millis(events, 0),
            None => self.wait_millis(events, -1),
            Some(t) if self.nanoseconds.load(Ordering::Relaxed) => {
                match self.wait_nanos(events, t) {
                    Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
                        self.nanoseconds.store(false, Ordering::Relaxed);
                        self.wait_millis(events, round_up_to_millis(t))
                    }
                    other => other,
                }
            }
            Some(t) => self.wait_millis(events, round_up_to_millis(t)),
        };
        match n {
            Ok(n) => {
                events.filled = n;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(e) => Err(e),
        }
    }

    fn wait_millis(&self, events: &mut Events, millis: libc::c_int) -> io::Result<usize> {
        let capacity = libc::c_int::try_from(events.buffer.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the buffer is writable for `capacity` events and outlives the call.
        let n = unsafe {
            libc::epoll_wait(self.fd.as_raw_fd(), events.buffer.as_mut_ptr(), capacity, millis)
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }

    fn wait_nanos(&self, events: &mut Events, timeout: Duration) -> io::Result<usize> {
        let capacity = libc::c_int::try_from(events.buffer.len()).unwrap_or(libc::c_int::MAX);
        // struct __kernel_timespec: two 64-bit fields on every architecture.
        let timeout: [i64; 2] = [
            i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            i64::from(timeout.subsec_nanos()),
        ];
        // SAFETY: the buffer is writable for `capacity` events, the timespec is readable, both
        // outlive the call; a null signal mask (of size 0) leaves the mask alone.
        let n = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.fd.as_raw_fd(),
                events.buffer.as_mut_ptr(),
                capacity,
                timeout.as_ptr(),
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(n).map_err(|_| io::Error::last_os_error())
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn round_up_to_millis(t: Duration) -> libc::c_int {
    // Up, not down: a deadline that is polled too early makes the loop spin until it is due.
    let millis = t.as_nanos().div_ceil(1_000_000);
    libc::c_int::try_from(millis).unwrap_or(libc::c_int::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn reports_carry_the_token_and_stay_until_read() {
        let poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(4);
        let (mut a, b) = UnixStream::pair().unwrap();
        poller.add(b.as_fd(), 77, Interest::READABLE).unwrap();
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        a.write_all(b"x").unwrap();
        for _ in 0..2 {
            assert_eq!(poller.wait(&mut events, Some(Duration::from_nanos(1))).unwrap(), 1);
            let e = events.get(0).unwrap();
            assert_eq!((e.token, e.readable, e.writable, e.hangup), (77, true, false, false));
        }
        (&b).read_exact(&mut [0]).unwrap();
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        poller.modify(b.as_fd(), 78, Interest::BOTH).unwrap();
        assert_eq!(poller.wait(&mut events, None).unwrap(), 1);
        assert_eq!(events.get(0).unwrap().token, 78);
        assert!(events.get(0).unwrap().writable);
        drop(a);
        poller.wait(&mut events, None).unwrap();
        assert!(events.get(0).unwrap().hangup);
        poller.remove(b.as_fd()).unwrap();
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
    }

    #[test]
    fn an_edge_is_reported_once() {
        let poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(4);
        let (mut a, b) = UnixStream::pair().unwrap();
        poller.add_edges(b.as_fd(), 5).unwrap();
        let mut wait = |poller: &Poller| {
            poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
            events.get(0)
        };
        let first = wait(&poller).unwrap();
        assert_eq!((first.readable, first.writable, first.urgent), (false, true, false));
        assert_eq!(wait(&poller), None);
        for _ in 0..2 {
            a.write_all(b"x").unwrap();
            assert!(wait(&poller).unwrap().readable);
            assert_eq!(wait(&poller), None);
        }
        drop(a);
        assert!(wait(&poller).unwrap().hangup);
    }

    #[test]
    fn nobody_interested_reports_only_hangup() {
        let poller = Poller::new().unwrap();
        let mut events = Events::with_capacity(1);
        let (mut a, b) = UnixStream::pair().unwrap();
        poller.add(b.as_fd(), 1, Interest::NONE).unwrap();
        a.write_all(b"x").unwrap();
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 0);
        drop(a);
        assert_eq!(poller.wait(&mut events, Some(Duration::ZERO)).unwrap(), 1);
        assert!(events.get(0).unwrap().hangup);
    }

    #[test]
    fn timeouts_round_up() {
        assert_eq!(round_up_to_millis(Duration::from_nanos(1)), 1);
        assert_eq!(round_up_to_millis(Duration::from_millis(3)), 3);
        assert_eq!(round_up_to_millis(Duration::MAX), libc::c_int::MAX);
    }
}
