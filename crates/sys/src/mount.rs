//! Mounts of the calling process's mount namespace (mount_namespaces(7)).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount,
    mount_bind, mount_bind_recursive, mount_change, move_mount, open_tree, unmount,
};

/// Opens a place in the tree of files without opening the file (`O_PATH`), as a flag for
/// [`std::os::unix::fs::OpenOptionsExt::custom_flags`].
pub const PATH_ONLY: i32 = libc::O_PATH | libc::O_CLOEXEC;

/// Opens without waiting for another side, as a FIFO has it (`O_NONBLOCK`); for the same use.
pub const NO_WAIT: i32 = libc::O_NONBLOCK | libc::O_CLOEXEC;

/// From now on no mount travels between this namespace and the one it was copied from.
pub fn make_private() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

/// A fresh `/proc` of the calling process's PID namespace. `EPERM` where the one that is visible now
/// is partly covered, as in many containers (`mount_too_revealing` in fs/namespace.c).
pub fn proc(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", target, "proc", flags, None)?)
}

/// A fresh `/sys`, showing the interfaces of the calling process's network namespace.
pub fn sysfs(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    Ok(mount("sysfs", target, "sysfs", flags, None)?)
}

/// An empty file system in memory: `mode` is the root's permissions, `bytes` the most it holds.
pub fn tmpfs(target: &Path, mode: u32, bytes: u64) -> io::Result<()> {
    let options = format!("mode={mode:o},size={bytes}");
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    Ok(mount("tmpfs", target, "tmpfs", flags, options.as_c_str())?)
}

/// An empty, read-only directory over `target`.
pub fn empty(target: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    Ok(mount("tmpfs", target, "tmpfs", flags, c"mode=0555,size=4k,nr_inodes=1")?)
}

/// Pseudo-terminals of this namespace alone; `tty_group` owns them where that id is mapped.
pub fn devpts(target: &Path, tty_group: Option<u32>) -> io::Result<()> {
    let mut options = String::from("newinstance,ptmxmode=0666,mode=0620");
    if let Some(group) = tty_group {
        options.push_str(&format!(",gid={group}"));
    }
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    Ok(mount("devpts", target, "devpts", flags, options.as_c_str())?)
}

/// Shows `source` at `target` too.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount_bind(source, target)?)
}

/// Shows `source` and all that is mounted below it at `target` too. What came from a more
/// privileged namespace can only be shown like this.
pub fn bind_recursive(source: &Path, target: &Path) -> io::Result<()> {
    Ok(mount_bind_recursive(source, target)?)
}

/// A mount of `path`, a file or a directory, that has no place yet (open_tree(2), Linux 5.2). It ends with
/// the descriptor unless [`attach`] gives it a place.
pub fn detached(path: &Path) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    Ok(open_tree(CWD, path, flags)?)
}

/// Gives a [`detached`] mount its place. A symbolic link is covered itself, wherever it leads and whether
/// or not that exists.
pub fn attach(mount: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    Ok(move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Takes the mount at `target` out of the tree of files; what is open of it stays open.
pub fn detach(target: &Path) -> io::Result<()> {
    Ok(unmount(target, UnmountFlags::DETACH)?)
}

/// Makes a mount and all below it read-only (mount_setattr(2), Linux 5.12).
pub fn make_read_only(target: &Path) -> io::Result<()> {
    let path = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is NUL-terminated and the structure is as long as the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes `root`, which must be a mount point, the root of this namespace, and lets go of all that was
/// mounted before (pivot_root(2), the way with `.` twice).
pub fn change_root(root: &Path) -> io::Result<()> {
    rustix::process::chdir(root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}
