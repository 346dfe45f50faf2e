//! Files of the guest's own, laid over those of the machine or the tree: see [`super::lookup`].
//!
//! # Theory of operation
//!
//! *Over what.* The file is laid over the entry itself, not over what it leads to: `/etc/resolv.conf` is
//! often a symbolic link into `/run`, sometimes to nowhere, on a root that is read-only. Nothing is written
//! to the machine's file systems. Where there is no entry to lay it over, the directory is covered with a
//! copy of itself ([`directory_copy`]) that has one; in a tree of `--rootfs`, which is the user's, an
//! empty file is made instead, as programs that manage such trees do.
//!
//! *For how long.* A mount on an entry ends when the entry is removed or replaced outside, in all
//! namespaces, and network managers replace `resolv.conf` whenever the machine changes networks. Then the
//! guest would see the machine's file. So init watches the directory, and lays its file over the new entry:
//! in its own namespace, where it can be compared, and in the guest's, by a helper that goes there. Until the
//! entry is there again, and for the moment the helper takes, the guest sees what the machine has.
//!
//! The files live in a small file system in memory that only init has mounted (over its `/dev`, of which it
//! has opened what it needs), so that they are the same before and after, also if the guest has written to them.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sys::ns::{Forked, Namespaces, Parenthood};

use super::directory_copy::{self, Hidden};
use super::lookup::Lookup;

/// A directory that is there in every tree, and that init can do without.
const STORE: &str = "/dev";
const DIRECTORY: &str = "/etc";
const RESOLV_CONF: &str = "resolv.conf";
const HOSTS: &str = "hosts";
/// Of a `hosts` file that is longer, the rest is left out.
const HOSTS_MAX: usize = 4 << 20;
const STORE_BYTES: u64 = 16 << 20;

/// One file that is laid over another.
#[derive(Debug)]
struct File {
    name: &'static str,
    identity: (u64, u64),
}

impl File {
    fn target(&self) -> PathBuf {
        Path::new(DIRECTORY).join(self.name)
    }

    /// Whether the entry shows our file in this namespace.
    fn is_seen(&self) -> bool {
        identity(&self.target()).is_some_and(|seen| seen == self.identity)
    }
}

/// The files, laid; kept by init.
#[derive(Debug)]
pub struct BindFiles {
    files: Vec<File>,
    /// The file system they live in: without a place until [`BindFiles::keep`].
    store: OwnedFd,
    /// Tells of changes in the directory; none where that cannot be watched.
    watch: Option<OwnedFd>,
}

/// Lays the guest's files, in init's mount namespace, before the guest's is made from it. `in_tree` says
/// that the root is a tree of `--rootfs`.
///
/// # Errors
/// The files cannot be laid: the guest must not start with the machine's.
pub fn lay(lookup: &Lookup, in_tree: bool) -> anyhow::Result<BindFiles> {
    let directory = Path::new(DIRECTORY);
    let before = read_text(&directory.join(HOSTS));
    let contents = [(RESOLV_CONF, lookup.resolv_conf()), (HOSTS, lookup.hosts(&before))];
    if in_tree {
        // A tree that cannot have the directory has nothing that would read the files.
        let _ = fs::create_dir(directory);
    }
    let (store, files) =
        fill_store(&contents).context("the guest's /etc/resolv.conf cannot be made")?;
    let mut is_ours = in_tree;
    for name in files.iter().map(|(file, _)| file.name) {
        make_entry(directory, name, &mut is_ours)?;
    }
    for (file, mount) in &files {
        let target = file.target();
        match sys::mount::attach(mount.as_fd(), &target) {
            Err(error) if in_tree && error.kind() == io::ErrorKind::NotFound => {}
            result => result.with_context(|| {
                format!("the guest cannot have a {} of its own", target.display())
            })?,
        }
    }
    let watch = sys::process::watch_entries(directory).ok();
    Ok(BindFiles { files: files.into_iter().map(|(file, _)| file).collect(), store, watch })
}

/// Makes the file system with the files: itself and each file as a mount without a place.
fn fill_store(contents: &[(&'static str, String)]) -> io::Result<(OwnedFd, Vec<(File, OwnedFd)>)> {
    let store = Path::new(STORE);
    sys::mount::tmpfs(store, 0o755, STORE_BYTES)?;
    let filled = contents
        .iter()
        .map(|(name, text)| {
            let path = store.join(name);
            fs::write(&path, text)?;
            // Whatever the caller's umask: programs that give up their ids look names up as well.
            fs::set_permissions(&path, Permissions::from_mode(0o644))?;
            let identity = identity(&path).ok_or(io::ErrorKind::NotFound)?;
            Ok((File { name, identity }, sys::mount::detached(&path)?))
        })
        .collect::<io::Result<Vec<_>>>()
        .and_then(|files| Ok((sys::mount::detached(store)?, files)));
    sys::mount::detach(store)?;
    filled
}

/// Sees to it that there is something to lay the file over. `is_ours` says whether the directory is one in
/// which files may be made: of a tree, or a copy.
fn make_entry(directory: &Path, name: &str, is_ours: &mut bool) -> anyhow::Result<()> {
    let target = directory.join(name);
    if fs::symlink_metadata(&target).is_ok() || !directory.is_dir() {
        return Ok(());
    }
    if *is_ours && make_file(&target).is_ok() {
        return Ok(());
    }
    *is_ours = true;
    directory_copy::copy(directory, &Hidden::Nothing)
        .and_then(|()| make_file(&target))
        .with_context(|| {
            format!("{} is missing and cannot be shown to the guest", target.display())
        })
}

fn make_file(path: &Path) -> io::Result<()> {
    fs::File::options().write(true).create_new(true).mode(0o644).open(path).map(drop)
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A file's text, if it is a file, up to a length; nothing otherwise.
fn read_text(path: &Path) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    // Not one that would wait for a writer.
    if let Ok(file) = fs::File::options().read(true).custom_flags(sys::mount::NO_WAIT).open(path)
        && file.metadata().is_ok_and(|meta| meta.is_file())
    {
        let _ = file.take(HOSTS_MAX as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl BindFiles {
    /// Keeps the files' file system, in init's namespace alone: to be called once the guest's is made.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn keep(&self) -> io::Result<()> {
        sys::mount::attach(self.store.as_fd(), Path::new(STORE))
    }

    /// Readable when [`BindFiles::attend`] is to be called.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Lays the files again where they are no longer seen, here and in `namespace`, the guest's.
    pub fn attend(&self, namespace: BorrowedFd<'_>) {
        if let Some(watch) = &self.watch {
            sys::process::drain(watch.as_fd());
        }
        for file in &self.files {
            let target = file.target();
            if file.is_seen() || fs::symlink_metadata(&target).is_err() {
                continue;
            }
            // What fails now is tried again at the next change.
            let source = Path::new(STORE).join(file.name);
            let (Ok(ours), Ok(guests)) =
                (sys::mount::detached(&source), sys::mount::detached(&source))
            else {
                continue;
            };
            if sys::mount::attach(ours.as_fd(), &target).is_ok() {
                lay_in(namespace, guests.as_fd(), &target);
            }
        }
    }
}

/// A helper enters the guest's mount namespace and gives the mount its place there.
fn lay_in(namespace: BorrowedFd<'_>, mount: BorrowedFd<'_>, target: &Path) {
    // Reaped with init's other children.
    let Ok(Forked::Child) = sys::ns::fork(Namespaces::NONE, Parenthood::Own) else { return };
    let _ = sys::ns::enter(namespace, Namespaces::MOUNT)
        .and_then(|()| sys::mount::attach(mount, target));
    sys::process::exit_now(0)
}
