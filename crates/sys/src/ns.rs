//! Namespaces: making them, entering them, mapping ids into them, asking who owns them.
//!
//! The rules this rests on are in user_namespaces(7), pid_namespaces(7) and ioctl_ns(2).

use std::fs::File;
use std::io;
use std::ops::BitOr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// A set of kinds of namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces(i32);

impl Namespaces {
    pub const NONE: Self = Self(0);
    pub const USER: Self = Self(libc::CLONE_NEWUSER);
    pub const MOUNT: Self = Self(libc::CLONE_NEWNS);
    pub const NETWORK: Self = Self(libc::CLONE_NEWNET);
    pub const PID: Self = Self(libc::CLONE_NEWPID);
    pub const IPC: Self = Self(libc::CLONE_NEWIPC);
    pub const UTS: Self = Self(libc::CLONE_NEWUTS);

    /// Name of the file in `/proc/PID/ns`, for a set of exactly one kind.
    #[must_use]
    pub fn file_name(self) -> Option<&'static str> {
        Some(match self {
            Self::USER => "user",
            Self::MOUNT => "mnt",
            Self::NETWORK => "net",
            Self::PID => "pid",
            Self::IPC => "ipc",
            Self::UTS => "uts",
            _ => return None,
        })
    }
}

impl BitOr for Namespaces {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Whether a descriptor is of a namespace: on the kernel's own file system of them. Never waits, whatever it is.
///
/// # Errors
/// As statx(2); when there is no `/proc`.
pub fn is_namespace(fd: BorrowedFd<'_>) -> io::Result<bool> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
    // A file system that has to ask a server for attributes (FUSE, NFS) is not asked.
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let it = statx(fd, c"", flags, StatxFlags::TYPE)?;
    let ours = statx(CWD, c"/proc/self/ns/user", AtFlags::STATX_DONT_SYNC, StatxFlags::TYPE)?;
    Ok((it.stx_dev_major, it.stx_dev_minor) == (ours.stx_dev_major, ours.stx_dev_minor))
}

/// A process that we have made.
#[derive(Debug)]
pub struct Child {
    /// Its number in our PID namespace.
    pub pid: i32,
    /// A descriptor of it (pidfd_open(2)): readable when it has ended, never another process.
    pub pidfd: OwnedFd,
}

/// Which side of a fork we are on.
#[derive(Debug)]
pub enum Forked {
    Parent(Child),
    Child,
}

/// Who waits for a new process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parenthood {
    /// The process that makes it.
    Own,
    /// That process's own parent (`CLONE_PARENT`): its sibling, not its child.
    Grand,
}

/// Forks into new namespaces in one step (clone(2) without shared memory).
///
/// # Errors
/// `EDEADLK` if the process has more than one thread: only the calling one would exist in the
/// child, and a lock held by another would stay held forever. `EPERM`, `ENOSPC` (limits in
/// `/proc/sys/user`) and `EUSERS` (nesting) are clone's own.
pub fn fork(namespaces: Namespaces, parenthood: Parenthood) -> io::Result<Forked> {
    // Leaving the thread group is possible for its only member, for whom it means nothing
    // (check_unshare_flags, kernel/fork.c). Needs no /proc, which may be another namespace's.
    // SAFETY: unshare has no memory arguments, and this flag changes nothing.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } != 0 {
        return Err(io::Error::from_raw_os_error(libc::EDEADLK));
    }
    let mut flags = namespaces.0 | libc::CLONE_PIDFD;
    if parenthood == Parenthood::Grand {
        flags |= libc::CLONE_PARENT;
    } else {
        flags |= libc::SIGCHLD;
    }
    let mut pidfd: RawFd = -1;
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: without CLONE_VM and with no stack given, this is fork: the child runs on a copy of
    // our memory. We are its only thread (checked above), so no lock is held by a thread that the
    // child lacks. The kernel writes the descriptor to `pidfd` in the parent before returning.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone, libc::c_long::from(flags), null, &raw mut pidfd, null, null)
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: clone succeeded, so the kernel stored a fresh descriptor that nobody else has.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent(Child { pid: i32::try_from(pid).unwrap_or(i32::MAX), pidfd }))
        }
    }
}

/// Moves the calling process to new namespaces (unshare(2)).
///
/// # Errors
/// `EINVAL` for a new user namespace in a process with threads, else as unshare.
pub fn unshare(namespaces: Namespaces) -> io::Result<()> {
    // SAFETY: unshare has no memory arguments; file-table sharing is not asked for.
    if unsafe { libc::unshare(namespaces.0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Enters the namespace behind a descriptor (setns(2)); `kind` is checked by the kernel. A PID
/// namespace takes effect for children only.
pub fn enter(namespace: BorrowedFd<'_>, kind: Namespaces) -> io::Result<()> {
    // SAFETY: setns has no memory arguments.
    if unsafe { libc::setns(namespace.as_raw_fd(), kind.0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Opens one of our own namespaces.
pub fn own(kind: Namespaces) -> io::Result<OwnedFd> {
    let name = kind.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(File::open(Path::new("/proc/self/ns").join(name))?.into())
}

/// Opens a namespace of another process, as our `/proc` numbers processes.
pub fn of(pid: i32, kind: Namespaces) -> io::Result<OwnedFd> {
    let name = kind.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(File::open(format!("/proc/{pid}/ns/{name}"))?.into())
}

fn ask(namespace: BorrowedFd<'_>, request: libc::Ioctl) -> io::Result<OwnedFd> {
    // SAFETY: the two requests used answer a new descriptor and read no argument (ioctl_ns(2)).
    let fd = unsafe { libc::ioctl(namespace.as_raw_fd(), request) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The user namespace that owns a namespace. `EPERM` if it is not ours or below ours.
pub fn owner(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    ask(namespace, libc::NS_GET_USERNS)
}

/// The parent of a user or PID namespace. `EPERM` if it is not ours or below ours.
pub fn parent(namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    ask(namespace, libc::NS_GET_PARENT)
}

/// The user who made a user namespace, as numbered in ours.
pub fn owner_uid(user_namespace: BorrowedFd<'_>) -> io::Result<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the request writes one uid_t to the pointer, which is valid for that.
    let result =
        unsafe { libc::ioctl(user_namespace.as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(uid)
}

/// The kind of namespace behind a descriptor; `ENOTTY` if it is none.
pub fn kind(namespace: BorrowedFd<'_>) -> io::Result<Namespaces> {
    // SAFETY: the request answers a number and reads no argument.
    let kind = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Namespaces(kind))
}

/// Whether two descriptors are of the same namespace.
pub fn same(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(identity(a)? == identity(b)?)
}

/// Device and inode: what tells one namespace from another while it lives.
pub fn identity(namespace: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(namespace)?;
    Ok((stat.st_dev, stat.st_ino))
}

/// A range of ids in a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First id inside.
    pub inside: u32,
    /// First id in the parent user namespace.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// Lines of `/proc/PID/uid_map` and `gid_map`.
#[must_use]
pub fn map_text(extents: &[Extent]) -> String {
    extents.iter().map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count)).collect()
}

/// Reads `uid_map` or `gid_map`; lines that are none are left out.
#[must_use]
pub fn parse_map(text: &str) -> Vec<Extent> {
    let extent = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) =
            (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        (numbers.next().is_none()).then_some(Extent { inside, outside, count })
    };
    text.lines().filter_map(extent).collect()
}

/// The ids that exist in our own user namespace, users and groups.
pub fn own_maps() -> io::Result<(Vec<Extent>, Vec<Extent>)> {
    let read = |name| std::fs::read_to_string(format!("/proc/self/{name}"));
    Ok((parse_map(&read("uid_map")?), parse_map(&read("gid_map")?)))
}

/// Maps ids into the user namespace of a process. Each map can be written once.
///
/// `deny_setgroups` must be set by who has no privilege in the parent namespace: it would allow
/// dropping a group that forbids something (user_namespaces(7)).
pub fn write_maps(
    pid: i32,
    users: &[Extent],
    groups: &[Extent],
    deny_setgroups: bool,
) -> io::Result<()> {
    let write = |name: &str, text: &str| {
        // One write: the kernel takes the map from the first one.
        let mut file = File::options().write(true).open(format!("/proc/{pid}/{name}"))?;
        io::Write::write_all(&mut file, text.as_bytes())
    };
    if deny_setgroups {
        write("setgroups", "deny")?;
    }
    write("gid_map", &map_text(groups))?;
    write("uid_map", &map_text(users))
}

/// Whether a user or PID namespace is `ancestor` or below it, as far as the kernel tells us (ours, and those below).
pub fn is_within(namespace: BorrowedFd<'_>, ancestor: BorrowedFd<'_>) -> io::Result<bool> {
    let wanted = identity(ancestor)?;
    if identity(namespace)? == wanted {
        return Ok(true);
    }
    // The kernel allows 32 levels of either (MAX_PID_NS_LEVEL, and `level` in create_user_ns).
    let mut current = parent(namespace);
    for _ in 0..32 {
        let Ok(above) = current else { return Ok(false) };
        if identity(above.as_fd())? == wanted {
            return Ok(true);
        }
        current = parent(above.as_fd());
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_survive_their_text() {
        let extents = [
            Extent { inside: 0, outside: 1000, count: 1 },
            Extent { inside: 1, outside: 100_000, count: 65_536 },
        ];
        assert_eq!(map_text(&extents), "0 1000 1\n1 100000 65536\n");
        assert_eq!(parse_map(&map_text(&extents)), extents);
        assert_eq!(parse_map("         0          0 4294967295\n")[0].count, u32::MAX);
        assert!(parse_map("0 1\nx y z\n1 2 3 4\n").is_empty());
    }

    #[test]
    fn our_own_namespaces_have_kinds_and_identities() {
        for kind in [Namespaces::USER, Namespaces::NETWORK, Namespaces::PID, Namespaces::MOUNT] {
            let a = own(kind).unwrap();
            let b = of(i32::try_from(std::process::id()).unwrap(), kind).unwrap();
            assert!(same(a.as_fd(), b.as_fd()).unwrap());
            assert_eq!(super::kind(a.as_fd()).unwrap(), kind);
        }
        let pid = own(Namespaces::PID).unwrap();
        assert!(is_within(pid.as_fd(), pid.as_fd()).unwrap());
        let net = own(Namespaces::NETWORK).unwrap();
        assert!(!is_within(net.as_fd(), pid.as_fd()).unwrap());
    }

    #[test]
    fn a_process_with_threads_is_not_forked() {
        // The test harness itself has threads.
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || wait.recv());
        let error = fork(Namespaces::NONE, Parenthood::Own).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EDEADLK));
        drop(stop);
        let _ = thread.join();
    }
}
