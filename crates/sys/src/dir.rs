//! A directory held open: everything in it is reached through its descriptor, so nobody can exchange the
//! directory or one above it between two steps, and no path is too long for a socket address.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, RenameFlags};

use crate::unix::{self, SocketKind};

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Socket,
    Symlink,
    Other,
}

/// Owner, permissions and kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    pub kind: Kind,
    pub uid: u32,
    pub gid: u32,
    /// Permission bits, 12 of them.
    pub mode: u32,
    pub device: u64,
    pub inode: u64,
}

impl From<fs::Stat> for Status {
    fn from(stat: fs::Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Kind::Directory,
            FileType::RegularFile => Kind::File,
            FileType::Socket => Kind::Socket,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        };
        Self {
            kind,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mode: stat.st_mode & 0o7777,
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// About what is at `path`, without following a symbolic link in its last component.
///
/// # Errors
/// As lstat(2).
pub fn status_at(path: &Path) -> io::Result<Status> {
    Ok(fs::statat(fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)?.into())
}

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

const OPEN: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens `path`; its last component may be no symbolic link.
    ///
    /// # Errors
    /// As openat(2): `ENOTDIR` or `ELOOP` when it is something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { fd: fs::open(path, OPEN, Mode::empty())? })
    }

    /// Opens the directory `name` in this one.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub fn open_in(&self, name: &str) -> io::Result<Self> {
        Ok(Self { fd: fs::openat(&self.fd, name, OPEN, Mode::empty())? })
    }

    /// Makes the directory `name` in this one with exactly this mode, and opens it. One that exists is opened
    /// as it is.
    ///
    /// # Errors
    /// As mkdirat(2) and [`Dir::open`].
    pub fn make_in(&self, name: &str, mode: u32) -> io::Result<Self> {
        match fs::mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => {
                let made = self.open_in(name)?;
                made.set_mode(mode)?;
                Ok(made)
            }
            Err(rustix::io::Errno::EXIST) => self.open_in(name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Another handle of the same directory.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// About the directory itself.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn status(&self) -> io::Result<Status> {
        Ok(fs::fstat(&self.fd)?.into())
    }

    /// About `name` in it, without following a symbolic link; `None` when there is nothing.
    ///
    /// # Errors
    /// As fstatat(2), except `ENOENT`.
    pub fn status_of(&self, name: &str) -> io::Result<Option<Status>> {
        match fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat.into())),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sets the permissions of the directory itself.
    ///
    /// # Errors
    /// As fchmod(2).
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(&self.fd, Mode::from_raw_mode(mode))?)
    }

    /// Sets owner and group of the directory itself; `None` leaves one as it is.
    ///
    /// # Errors
    /// As fchown(2).
    pub fn set_owner(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        Ok(fs::fchown(&self.fd, uid.map(owner), gid.map(group))?)
    }

    /// Sets owner, group and then permissions of the node `name`, in this order, so that the new group never
    /// has the permissions that were meant for the old one. A symbolic link is never followed.
    ///
    /// # Errors
    /// As fchownat(2) and chmod(2).
    pub fn set_access(
        &self,
        name: &str,
        uid: Option<u32>,
        gid: Option<u32>,
        mode: u32,
    ) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let node = fs::openat(&self.fd, name, flags, Mode::empty())?;
        if uid.is_some() || gid.is_some() {
            fs::chownat(&node, "", uid.map(owner), gid.map(group), AtFlags::EMPTY_PATH)?;
        }
        // fchmod refuses O_PATH descriptors; their magic link leads to the node itself.
        let path = format!("/proc/self/fd/{}", node.as_raw_fd());
        Ok(fs::chmod(path, Mode::from_raw_mode(mode))?)
    }

    /// Removes the node `name`, no directory. Nothing there is no error.
    ///
    /// # Errors
    /// As unlinkat(2).
    pub fn remove(&self, name: &str) -> io::Result<()> {
        ignore_missing(fs::unlinkat(&self.fd, name, AtFlags::empty()))
    }

    /// Removes the empty directory `name`. Nothing there is no error.
    ///
    /// # Errors
    /// As unlinkat(2); `ENOTEMPTY` when it is not empty.
    pub fn remove_dir(&self, name: &str) -> io::Result<()> {
        ignore_missing(fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR))
    }

    /// Gives the node `from` the name `to`, which nothing has.
    ///
    /// # Errors
    /// As renameat2(2): `EEXIST` when something has that name. A file system that cannot refuse that by itself is
    /// asked before.
    pub fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        match fs::renameat_with(&self.fd, from, &self.fd, to, RenameFlags::NOREPLACE) {
            Err(rustix::io::Errno::INVAL) if self.status_of(to)?.is_none() => {
                Ok(fs::renameat(&self.fd, from, &self.fd, to)?)
            }
            done => Ok(done?),
        }
    }

    /// Exchanges the names of two nodes, in one step.
    ///
    /// # Errors
    /// As renameat2(2): `EINVAL` where the file system cannot do it.
    pub fn exchange(&self, a: &str, b: &str) -> io::Result<()> {
        Ok(fs::renameat_with(&self.fd, a, &self.fd, b, RenameFlags::EXCHANGE)?)
    }

    /// Names of all nodes that are UTF-8 text, in no order.
    ///
    /// # Errors
    /// As getdents(2).
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&self.fd)? {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if let Ok(name) = name.into_string()
                && name != "."
                && name != ".."
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Reads the regular file `name`, at most `limit` bytes; `None` when there is none.
    ///
    /// # Errors
    /// When it is no regular file, longer than `limit`, or cannot be read.
    pub fn read(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if Status::from(fs::fstat(&fd)?).kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
        }
        let mut bytes = Vec::new();
        let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::from(fd).take(bound).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too long"));
        }
        Ok(Some(bytes))
    }

    /// Replaces the file `name` as a whole: readers see the old text or the new one, also when this process is killed
    /// between the two. After a crash of the machine the file may be empty or the old one.
    ///
    /// # Errors
    /// When the new file cannot be written or renamed; the old one is untouched then.
    pub fn write_atomic(&self, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
        let temporary = format!(".{name}.new");
        self.remove(&temporary)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = fs::openat(&self.fd, &temporary, flags, Mode::from_raw_mode(mode))?;
        std::fs::File::from(fd).write_all(bytes)?;
        Ok(fs::renameat(&self.fd, &temporary, &self.fd, name)?)
    }

    /// Binds a new Unix socket to `name`, non-blocking and close-on-exec. The node is created for nobody but
    /// its owner; [`Dir::set_access`] opens it to others.
    ///
    /// # Errors
    /// As bind(2): `EADDRINUSE` when a node of that name exists.
    pub fn bind(&self, name: &str, kind: SocketKind) -> io::Result<OwnedFd> {
        let socket = unix::socket(kind, true)?;
        // The mode of the socket's inode becomes the node's (net/unix/af_unix.c, unix_bind_bsd), so there is
        // no moment in which the umask's permissions hold.
        fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        let address = unix::address_at(self.fd.as_fd(), OsStr::new(name))?;
        unix::bind(socket.as_fd(), &address)?;
        Ok(socket)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.fd
    }
}

fn owner(uid: u32) -> fs::Uid {
    fs::Uid::from_raw(uid)
}

fn group(gid: u32) -> fs::Gid {
    fs::Gid::from_raw(gid)
}

fn ignore_missing(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn temporary(name: &str) -> (PathBuf, Dir) {
        let path = std::env::temp_dir().join(format!("netherd-dir-{}-{name}", std::process::id()));
        let _gone = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a directory");
        let dir = Dir::open(&path).expect("the directory");
        (path, dir)
    }

    #[test]
    fn a_node_is_private_until_it_is_opened_to_others() {
        let (path, dir) = temporary("bind");
        let _socket = dir.bind("stream", SocketKind::Stream).expect("a free name");
        let status = dir.status_of("stream").expect("readable").expect("bound");
        assert_eq!((status.kind, status.mode), (Kind::Socket, 0o600));
        dir.set_access("stream", None, None, 0o660).expect("ours");
        assert_eq!(dir.status_of("stream").expect("readable").expect("there").mode, 0o660);
        let again = dir.bind("stream", SocketKind::Stream).expect_err("taken");
        assert_eq!(again.kind(), io::ErrorKind::AddrInUse);
        dir.remove("stream").expect("ours");
        dir.remove("stream").expect("nothing there is no error");
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn links_are_not_followed() {
        let (path, dir) = temporary("links");
        std::fs::write(path.join("file"), "text").expect("writable");
        std::os::unix::fs::symlink("file", path.join("link")).expect("a link");
        std::os::unix::fs::symlink(".", path.join("dir-link")).expect("a link");
        assert_eq!(dir.status_of("link").expect("there").expect("there").kind, Kind::Symlink);
        assert!(dir.read("link", 100).is_err());
        assert!(dir.open_in("dir-link").is_err());
        assert_eq!(dir.read("file", 4).expect("readable").as_deref(), Some(&b"text"[..]));
        assert!(dir.read("file", 3).is_err(), "longer than the limit");
        assert_eq!(dir.read("none", 3).expect("no error"), None);
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn names_are_exchanged_and_never_taken() {
        let (path, dir) = temporary("rename");
        let read = |name: &str| dir.read(name, 10).expect("readable");
        dir.write_atomic("a", b"one", 0o600).expect("writable");
        dir.write_atomic("b", b"two", 0o600).expect("writable");
        let taken = dir.rename_new("a", "b").expect_err("b is taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        dir.exchange("a", "b").expect("both are there");
        assert_eq!(
            (read("a").as_deref(), read("b").as_deref()),
            (Some(&b"two"[..]), Some(&b"one"[..]))
        );
        dir.rename_new("a", "c").expect("free");
        assert_eq!((read("a"), read("c").as_deref()), (None, Some(&b"two"[..])));
        std::fs::remove_dir_all(path).expect("clean up");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let (path, dir) = temporary("atomic");
        dir.write_atomic("plan", b"one", 0o600).expect("writable");
        dir.write_atomic("plan", b"two", 0o600).expect("writable");
        assert_eq!(dir.read("plan", 100).expect("readable").as_deref(), Some(&b"two"[..]));
        assert_eq!(dir.names().expect("readable"), ["plan"]);
        std::fs::remove_dir_all(path).expect("clean up");
    }
}
