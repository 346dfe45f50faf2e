//! The socket that the broker listens on, where no systemd holds one for it.
//!
//! # Theory of operation
//!
//! A socket in the file system outlives who made it, so one that is there may be served or not, and a second helper that
//! replaced a served one would have all users to itself, while the first still has the devices and the addresses that
//! it gave out. So:
//!
//! * Who makes a socket NAME holds the lock on `NAME.lock` beside it for as long as it lives; the kernel lets go of
//!   that, however it ends. Of two that start at once, one has the lock. The lock's file stays.
//! * Somebody else's socket, such as systemd's, has no such lock: whether one is served is asked by connecting to it.
//! * What is there, is a socket, and is served by nobody, is a dead helper's, and replaced.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use sys::errno;
use sys::lock::{Lock, LockError};
use sys::unix::{self, SocketKind};

/// Connections that wait to be taken.
const BACKLOG: i32 = 64;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("{0} cannot be a socket: name a file in a directory with --listen.")]
    Name(String),
    #[error(
        "Another {} serves the socket {path} already: one helper serves all users, so stop that one first, or name \
         another place with --listen.", .pid.map_or("process".to_owned(), |pid| format!("netherd-nic (process {pid})"))
    )]
    Served { path: String, pid: Option<u32> },
    #[error("{0} is there, and is not a socket: remove it, or name another place with --listen.")]
    Occupied(String),
    #[error("The socket {path} cannot be made: {error}.")]
    Io { path: String, error: io::Error },
}

/// A socket at `path` for everybody, since who may do what is the list's to say; and the lock that keeps it ours.
///
/// # Errors
/// [`ListenError`]; whatever is at `path` is as it was.
pub fn listen(path: &Path) -> Result<(OwnedFd, Lock), ListenError> {
    let text = || path.display().to_string();
    let failed = |error| ListenError::Io { path: text(), error };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(ListenError::Name(text()));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let lock = name.to_str().map(|name| format!("{name}.lock"));
    let lock = lock.ok_or_else(|| ListenError::Name(text()))?;
    std::fs::create_dir_all(parent).map_err(failed)?;
    let directory = unix::open_directory(parent).map_err(failed)?;
    let directory = directory.as_fd();
    let lock = Lock::take(directory, &lock).map_err(|error| match error {
        LockError::Held { pid } => ListenError::Served { path: text(), pid },
        LockError::Io(error) => failed(error),
    })?;
    match std::fs::symlink_metadata(path) {
        Ok(about) if !about.file_type().is_socket() => return Err(ListenError::Occupied(text())),
        Ok(_) if is_served(directory, name).map_err(failed)? => {
            return Err(ListenError::Served { path: text(), pid: None });
        }
        Ok(_) => unix::unlink_at(directory, name).map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let socket =
        unix::listen_at(directory, name, SocketKind::Seqpacket, BACKLOG).map_err(failed)?;
    unix::set_mode_at(directory, name, 0o666).map_err(failed)?;
    Ok((socket, lock))
}

/// Whether somebody listens at a socket.
fn is_served(directory: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    let address = unix::address_at(directory, name)?;
    let probe = unix::socket(SocketKind::Seqpacket, true)?;
    match unix::connect(probe.as_fd(), &address) {
        Ok(()) => Ok(true),
        Err(e) if e.raw_os_error() == Some(errno::ECONNREFUSED) => Ok(false),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        // As many wait as may, or it is a socket of another kind, which nobody but its owner knows the use of.
        Err(e) if errno::is_transient(&e) || e.raw_os_error() == Some(errno::EPROTOTYPE) => {
            Ok(true)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::path::PathBuf;

    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let number = std::process::id();
            let place = std::env::temp_dir().join(format!("netherd-nic-{name}-{number}"));
            let _none = std::fs::remove_dir_all(&place);
            std::fs::create_dir_all(&place).unwrap();
            Place(place)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("below").join("nic.sock")
        }

        fn number(&self) -> u64 {
            std::fs::symlink_metadata(self.socket()).unwrap().ino()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _removed = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_served_socket_stays_and_a_dead_ones_is_replaced() {
        let place = Place::new("served");
        let first = listen(&place.socket()).unwrap();
        let mode = std::fs::metadata(place.socket()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let number = place.number();
        let said = listen(&place.socket()).unwrap_err().to_string();
        assert!(said.contains(&format!("netherd-nic (process {})", std::process::id())), "{said}");
        assert!(said.contains("--listen"), "{said}");
        assert_eq!(place.number(), number, "nothing was changed");
        unix::connect_path(&place.socket(), SocketKind::Seqpacket).unwrap();
        // The socket of a dead one is there still.
        drop(first);
        let gone = unix::connect_path(&place.socket(), SocketKind::Seqpacket).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(errno::ECONNREFUSED));
        let _second = listen(&place.socket()).unwrap();
        unix::connect_path(&place.socket(), SocketKind::Seqpacket).unwrap();
    }

    #[test]
    fn a_socket_without_a_lock_is_asked() {
        let place = Place::new("systemd");
        let (held, lock) = listen(&place.socket()).unwrap();
        // As systemd holds one: it listens, and has no lock.
        drop(lock);
        std::fs::remove_file(place.0.join("below").join("nic.sock.lock")).unwrap();
        let number = place.number();
        let refused = listen(&place.socket()).unwrap_err();
        assert!(matches!(refused, ListenError::Served { pid: None, .. }), "{refused}");
        // With as many that wait as may, asking does not wait with them.
        let mut waiting = Vec::new();
        let directory = unix::open_directory(place.socket().parent().unwrap()).unwrap();
        let address = unix::address_at(directory.as_fd(), OsStr::new("nic.sock")).unwrap();
        loop {
            let one = unix::socket(SocketKind::Seqpacket, true).unwrap();
            match unix::connect(one.as_fd(), &address) {
                Ok(()) => waiting.push(one),
                Err(e) => break assert!(errno::is_transient(&e), "{e}"),
            }
        }
        let refused = listen(&place.socket()).unwrap_err();
        assert!(matches!(refused, ListenError::Served { pid: None, .. }), "{refused}");
        assert_eq!(place.number(), number);
        drop(held);
    }

    #[test]
    fn what_is_somebody_elses_stays() {
        let place = Place::new("other");
        let path = place.socket();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "a text").unwrap();
        let said = listen(&path).unwrap_err().to_string();
        assert!(said.contains("is not a socket"), "{said}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a text");
        std::fs::remove_file(&path).unwrap();
        // A socket of another kind.
        let stream = UnixListener::bind(&path).unwrap();
        let refused = listen(&path).unwrap_err();
        assert!(matches!(refused, ListenError::Served { pid: None, .. }), "{refused}");
        UnixStream::connect(&path).unwrap();
        drop(stream);
        let _ours = listen(&path).unwrap();
        let said = listen(Path::new("/")).unwrap_err().to_string();
        assert!(said.contains("cannot be a socket"), "{said}");
    }
}
