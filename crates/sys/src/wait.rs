//! Waiting for one descriptor.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Waits until `fd` can be read, or its peer hung up; `false` when `timeout` passed first. Without a timeout it
/// waits for ever.
///
/// # Errors
/// As ppoll(2), except that an interruption by a signal handler only costs another round.
pub fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> io::Result<bool> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        match poll(&mut fds, left.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bytes_and_hang_ups_end_the_wait() {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        assert!(!readable(near.as_fd(), Some(Duration::ZERO)).expect("no error"));
        far.write_all(b"x").expect("room");
        assert!(readable(near.as_fd(), None).expect("no error"));
        let (near, far) = UnixStream::pair().expect("a pair");
        drop(far);
        assert!(readable(near.as_fd(), None).expect("no error"));
    }
}
