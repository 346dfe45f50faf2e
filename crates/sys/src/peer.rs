//! Where the process at the other end of a socket lives: in our PID namespace, or in one inside of it.
//!
//! A process in a PID namespace has a number in each namespace around it. The kernel tells them for a pidfd
//! (`NSpid` in proc_pid_fdinfo(5), Linux 5.5), to whoever holds one, without any right over the process; and it gives
//! the pidfd of whoever connected a socket (`SO_PEERPIDFD`, Linux 6.5). Comparing user namespaces instead would need the
//! right to trace the peer, which Landlock takes away, and would refuse programs that only map ids.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::Cred;

/// Where a peer lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerPlace {
    /// In our PID namespace.
    Here,
    /// In a PID namespace inside of ours: a guest, a container.
    Inside,
    /// In one that is not inside of ours, so that it has no number here.
    Outside,
    /// The process has ended since it connected.
    Ended,
    /// This kernel cannot tell.
    Unknown,
}

/// Where the process lives that connected the other end of `socket`; `cred` is what
/// [`peer_cred`](crate::unix::peer_cred) says.
///
/// Before Linux 6.5 the process is found by its number, which another process may have by now if it has ended.
///
/// # Errors
/// When there are no descriptors left, or `/proc` is not there.
pub fn place(socket: BorrowedFd<'_>, cred: Cred) -> io::Result<PeerPlace> {
    match find(socket, cred)? {
        Ok(pidfd) => {
            let about =
                std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
            Ok(judge(&about))
        }
        Err(place) => Ok(place),
    }
}

/// A descriptor of that process, readable when it has ended; `None` when there is none any more, or none to be had.
///
/// # Errors
/// When there are no descriptors left.
pub fn process(socket: BorrowedFd<'_>, cred: Cred) -> io::Result<Option<OwnedFd>> {
    Ok(find(socket, cred)?.ok())
}

/// A descriptor of the process, or where it is if there is none.
fn find(socket: BorrowedFd<'_>, cred: Cred) -> io::Result<Result<OwnedFd, PeerPlace>> {
    let error = match peer_pidfd(socket) {
        Ok(pidfd) => return Ok(Ok(pidfd)),
        Err(error) => error,
    };
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) if cred.pid <= 0 => Ok(Err(PeerPlace::Outside)),
        Some(libc::ENOPROTOOPT) => match crate::process::open(cred.pid) {
            Ok(pidfd) => Ok(Ok(pidfd)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ESRCH) => Ok(Err(PeerPlace::Ended)),
                Some(libc::ENOSYS) => Ok(Err(PeerPlace::Unknown)),
                _ => Err(error),
            },
        },
        // The process was reaped, and this kernel does not make pidfds of such.
        Some(libc::ESRCH | libc::EINVAL) => Ok(Err(PeerPlace::Ended)),
        // No pidfd was kept: the other end was not connected by a process.
        Some(libc::ENODATA) => Ok(Err(PeerPlace::Unknown)),
        _ => Err(error),
    }
}

/// What the lines `Pid` and `NSpid` say.
fn judge(about: &str) -> PeerPlace {
    let line = |name: &str| about.lines().find_map(|line| line.strip_prefix(name));
    match line("Pid:").map(str::trim) {
        Some("-1") => PeerPlace::Ended,
        Some("0") => PeerPlace::Outside,
        Some(_) => match line("NSpid:").map(|numbers| numbers.split_whitespace().count()) {
            Some(0 | 1) => PeerPlace::Here,
            Some(_) => PeerPlace::Inside,
            None => PeerPlace::Unknown,
        },
        None => PeerPlace::Unknown,
    }
}

fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut number: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `number` is writable for `len` bytes.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut number).cast(),
            &raw mut len,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn numbers_tell_the_place() {
        for (about, place) in [
            ("pos:\t0\nPid:\t42\nNSpid:\t42\n", PeerPlace::Here),
            ("pos:\t0\nPid:\t42\nNSpid:\t42\t7\n", PeerPlace::Inside),
            ("Pid:\t42\nNSpid:\t42\t7\t1\n", PeerPlace::Inside),
            ("Pid:\t0\nNSpid:\t0\n", PeerPlace::Outside),
            ("Pid:\t-1\nNSpid:\t-1\n", PeerPlace::Ended),
            ("Pid:\t42\n", PeerPlace::Unknown),
            ("", PeerPlace::Unknown),
        ] {
            assert_eq!(judge(about), place, "{about:?}");
        }
    }

    #[test]
    fn we_live_here() {
        let path = std::env::temp_dir().join(format!("netherd-peer-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("free");
        let _client = UnixStream::connect(&path).expect("it listens");
        let (server, _) = listener.accept().expect("it waits");
        let cred = crate::unix::peer_cred(server.as_fd()).expect("a peer");
        assert_eq!(place(server.as_fd(), cred).expect("there is /proc"), PeerPlace::Here);
        let process = process(server.as_fd(), cred).expect("descriptors").expect("we live");
        let number = crate::process::number(process.as_fd()).expect("there is /proc");
        assert_eq!(number, Some(crate::process::own_pid()));
        std::fs::remove_file(path).expect("ours");
    }
}
