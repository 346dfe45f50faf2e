//! Holding a network's directory: the lock, the nodes, and leaving nothing behind.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sys::dir::{Dir, Kind, Status};
use sys::lock::{Lock, LockError};

use super::{DirectoryError, Environment, LOCK, NODES, PLAN, PORTS, registry, staged};
use super::{check_owner, open_error};

/// What its owner needs of a network's mode: to read and to write.
pub const OWNER_MODE: u32 = 0o600;

/// Who may open nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Owner of the nodes, when it is not us: only root can give nodes away.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Mode of the nodes.
    pub mode: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self { uid: None, gid: None, mode: OWNER_MODE }
    }
}

impl Access {
    /// Looks up owner and group by name or number.
    ///
    /// # Errors
    /// When one does not exist, or is not ours to give nodes to.
    pub fn named(
        owner: Option<&str>,
        group: Option<&str>,
        mode: Option<u32>,
    ) -> Result<Self, DirectoryError> {
        let none = |what, name: &str| DirectoryError::NoSuchOwner { what, name: name.to_owned() };
        let uid = match owner {
            Some(name) => match sys::user::by_name(name) {
                Ok(Some(user)) if ![0, user.uid].contains(&sys::user::uid()) => {
                    return Err(DirectoryError::NotGiven { name: name.to_owned() });
                }
                Ok(Some(user)) => Some(user.uid),
                _ => return Err(none("user", name)),
            },
            None => None,
        };
        let gid = match group {
            Some(name) => match sys::user::group_by_name(name) {
                Ok(Some(gid)) if sys::user::uid() != 0 && !sys::user::groups().contains(&gid) => {
                    return Err(DirectoryError::NotMember { name: name.to_owned() });
                }
                Ok(Some(gid)) => Some(gid),
                _ => return Err(none("group", name)),
            },
            None => None,
        };
        let mode = mode.unwrap_or(if gid.is_some() { 0o660 } else { 0o600 });
        Ok(Self { uid, gid, mode: mode & 0o777 })
    }

    /// The mode of a directory whose nodes have this access: whoever may open a node may search it, and whoever
    /// may read a node may list it. Nobody else may write to it: he could exchange nodes.
    #[must_use]
    pub fn directory_mode(&self) -> u32 {
        let readable = self.mode & 0o044;
        let writable = self.mode & 0o022;
        let search = (readable >> 2) | (writable >> 1);
        // An owner that is not us is reached through the bits for others.
        let owner = if self.uid.is_some() { 0o005 } else { 0 };
        0o700 | readable | search | owner
    }
}

/// A network's directory, held by us.
#[derive(Debug)]
pub struct PublishedDirectory {
    path: PathBuf,
    dir: Dir,
    /// Held as long as this lives.
    _lock: Lock,
    nodes: BTreeSet<String>,
    /// Sockets of nodes that somebody else (systemd) made and will serve again after us: such a node stays.
    adopted: BTreeMap<String, OwnedFd>,
    /// We keep the directory in the register of this base.
    registered: Option<PathBuf>,
    /// Tells when something beside the directory, or itself, was removed or renamed; none where that cannot be watched.
    watch: Option<OwnedFd>,
}

impl PublishedDirectory {
    /// Makes or opens the directory `path`, takes its lock and removes what a killed daemon left.
    ///
    /// `adopted` are sockets that are bound to nodes already, by the nodes' names; [`PublishedDirectory::bind`] hands them
    /// out, and the nodes stay when we go.
    ///
    /// # Errors
    /// A sentence for each way in which the directory is not ours to use. Nothing was changed then, except that
    /// the directory may have been made.
    pub fn open(
        path: &Path,
        access: &Access,
        adopted: BTreeMap<String, OwnedFd>,
    ) -> Result<Self, DirectoryError> {
        Self::open_in(&Environment::of_process(), path, access, adopted)
    }

    pub(crate) fn open_in(
        environment: &Environment,
        path: &Path,
        access: &Access,
        adopted: BTreeMap<String, OwnedFd>,
    ) -> Result<Self, DirectoryError> {
        let base = environment.base();
        let is_default = path.parent() == Some(base.as_path());
        if is_default {
            make(environment, &base)?;
        }
        make(environment, path)?;
        let dir = Dir::open(path).map_err(|error| open_error(path, error))?;
        let status = dir.status().map_err(|error| DirectoryError::io("Looking at", path, error))?;
        check_owner(environment.uid, path, &status)?;
        check_content(&dir, path)?;
        let lock = Lock::take(dir.as_fd(), LOCK).map_err(|error| match error {
            LockError::Held { pid } => DirectoryError::Held { path: path.to_owned(), pid },
            LockError::Io(error) => DirectoryError::io("Locking", path, error),
        })?;
        let mut published = Self {
            path: path.to_owned(),
            dir,
            _lock: lock,
            nodes: BTreeSet::new(),
            adopted,
            registered: None,
            watch: path.parent().and_then(watch_place),
        };
        // Also when it was there: it may have been shared before, and a private network is for its owner only.
        published.set_directory_access(access)?;
        published.remove_stale()?;
        if !is_default {
            registry::add(&base, path);
            published.registered = Some(base);
        }
        Ok(published)
    }

    /// Readable when [`PublishedDirectory::is_in_place`] may have changed.
    #[must_use]
    pub fn watch(&self) -> Option<BorrowedFd<'_>> {
        self.watch.as_ref().map(AsFd::as_fd)
    }

    /// Whether its path leads to it: a directory that somebody removes under us is ours still, lock and all, but nobody
    /// would find it, and another hypervisor could publish the same network.
    #[must_use]
    pub fn is_in_place(&self) -> bool {
        if let Some(watch) = &self.watch {
            sys::process::drain(watch.as_fd());
        }
        let here = |status: Status| (status.device, status.inode);
        match (self.dir.status(), sys::dir::status_at(&self.path)) {
            (Ok(ours), Ok(there)) => here(ours) == here(there),
            // Not to be looked at is not gone.
            (_, Err(error)) => error.kind() != std::io::ErrorKind::NotFound,
            (Err(_), _) => true,
        }
    }

    /// Its absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its handle.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Nodes that are bound, as paths below the directory.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(String::as_str)
    }

    /// Binds a socket to `node` (`stream`, or `ports/web/stream`) and gives it its owner, group and mode, or
    /// hands out the adopted one, whose maker has seen to that. A stream or seqpacket socket does not listen yet, so nobody connects before all is in place.
    ///
    /// # Errors
    /// When the node exists or cannot be made.
    pub fn bind(
        &mut self,
        node: &str,
        kind: sys::unix::SocketKind,
        access: &Access,
    ) -> Result<OwnedFd, DirectoryError> {
        let path = self.path.join(node);
        let failed = |error| DirectoryError::io("Making the node", &path, error);
        if let Some(socket) = self.adopted(node).map_err(failed)? {
            self.nodes.insert(node.to_owned());
            return Ok(socket);
        }
        let (dir, name) = self.parent_of(node, access).map_err(failed)?;
        let socket = dir.bind(name, kind).map_err(failed)?;
        if let Err(error) = dir.set_access(name, access.uid, access.gid, access.mode) {
            let _left = dir.remove(name);
            self.remove_empty_parents(node);
            return Err(DirectoryError::access("Setting owner, group and mode of", &path, error));
        }
        self.nodes.insert(node.to_owned());
        Ok(socket)
    }

    /// Gives a bound node another owner, group or mode.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn set_access(&self, node: &str, access: &Access) -> Result<(), DirectoryError> {
        let path = self.path.join(node);
        self.parent_of(node, access)
            .and_then(|(dir, name)| dir.set_access(name, access.uid, access.gid, access.mode))
            .map_err(|error| {
                DirectoryError::access("Setting owner, group and mode of", &path, error)
            })
    }

    /// Gives the directory itself another group or mode.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn set_directory_access(&self, access: &Access) -> Result<(), DirectoryError> {
        self.dir
            .set_owner(None, access.gid)
            .and_then(|()| self.dir.set_mode(access.directory_mode()))
            .map_err(|error| DirectoryError::access("Setting group and mode of", &self.path, error))
    }

    /// Removes one node.
    pub fn unbind(&mut self, node: &str) {
        if self.nodes.remove(node) {
            self.remove_node(node);
        }
    }

    /// The socket of `node` that somebody else made.
    pub(super) fn adopted(&self, node: &str) -> std::io::Result<Option<OwnedFd>> {
        self.adopted.get(node).map(OwnedFd::try_clone).transpose()
    }

    pub(super) fn is_bound(&self, node: &str) -> bool {
        self.nodes.contains(node)
    }

    pub(super) fn note_bound(&mut self, node: String) {
        self.nodes.insert(node);
    }

    /// The directory in which `node` is, and the last component of `node`. A directory that is missing is made with
    /// what `access` gives it.
    pub(super) fn parent_of<'a>(
        &self,
        node: &'a str,
        access: &Access,
    ) -> std::io::Result<(Dir, &'a str)> {
        let mut dir = self.dir.try_clone()?;
        let mut rest = node;
        let mut depth = 0;
        while let Some((first, later)) = rest.split_once('/') {
            // `ports` is searchable for everybody who may search the network's directory; the port's own
            // directory has the port's permissions.
            let mode = if depth == 0 { 0o711 } else { access.directory_mode() };
            let is_new = dir.status_of(first)?.is_none();
            dir = dir.make_in(first, mode)?;
            if depth > 0 && is_new {
                dir.set_owner(None, access.gid)?;
                dir.set_mode(mode)?;
            }
            rest = later;
            depth += 1;
        }
        Ok((dir, rest))
    }

    fn remove_node(&self, node: &str) {
        if self.adopted.contains_key(node) {
            return;
        }
        let (parent, name) = node.rsplit_once('/').unwrap_or(("", node));
        let _left = self.below(parent).and_then(|dir| dir.remove(name));
        self.remove_empty_parents(node);
    }

    /// The directory `path` below this one, or this one itself.
    fn below(&self, path: &str) -> std::io::Result<Dir> {
        let parts = path.split('/').filter(|part| !part.is_empty());
        parts.fold(self.dir.try_clone(), |dir, part| dir?.open_in(part))
    }

    /// Directories go when their last node has gone.
    pub(super) fn remove_empty_parents(&self, node: &str) {
        let mut below = node;
        while let Some((parent, _)) = below.rsplit_once('/') {
            let (above, name) = parent.rsplit_once('/').unwrap_or(("", parent));
            if self.below(above).and_then(|dir| dir.remove_dir(name)).is_err() {
                break;
            }
            below = parent;
        }
    }

    /// Removes sockets that a killed daemon left. We have the lock, so nobody serves them.
    fn remove_stale(&self) -> Result<(), DirectoryError> {
        let failed = |error| DirectoryError::io("Cleaning", &self.path, error);
        for name in self.dir.names().map_err(failed)? {
            if is_stale(&name) && !self.adopted.contains_key(&name) && is_socket(&self.dir, &name) {
                self.dir.remove(&name).map_err(failed)?;
            }
        }
        let Ok(ports) = self.dir.open_in(PORTS) else { return Ok(()) };
        for port in ports.names().map_err(failed)? {
            let Ok(dir) = ports.open_in(&port) else { continue };
            for name in dir.names().map_err(failed)? {
                let node = format!("{PORTS}/{port}/{name}");
                if is_stale(&name) && !self.adopted.contains_key(&node) && is_socket(&dir, &name) {
                    dir.remove(&name).map_err(failed)?;
                }
            }
            let _not_empty = ports.remove_dir(&port);
        }
        let _not_empty = self.dir.remove_dir(PORTS);
        Ok(())
    }
}

impl Drop for PublishedDirectory {
    /// Removes the nodes; the plan stays for the next time, and so does the lock's file.
    fn drop(&mut self) {
        for node in std::mem::take(&mut self.nodes) {
            if let Some(directory) = node.strip_suffix("ctl")
                && let Ok(directory) = self.below(directory)
            {
                remove_vde_data_sockets(&directory);
            }
            self.remove_node(&node);
        }
        // Whoever publishes at the same path, because ours was removed under us, has the entry now.
        if let Some(base) = self.registered.as_ref().filter(|_| self.is_in_place()) {
            registry::remove(base, &self.path);
        }
    }
}

/// Watches a directory for what is removed from it, unless others may write there: they could keep us busy with files that
/// come and go, and it has the sticky bit anyway.
fn watch_place(parent: &Path) -> Option<OwnedFd> {
    let status = sys::dir::status_at(parent).ok()?;
    if status.mode & 0o022 != 0 {
        return None;
    }
    sys::process::watch_deletions(parent).ok()
}

/// Makes `path` with mode 0700 unless it exists.
fn make(environment: &Environment, path: &Path) -> Result<(), DirectoryError> {
    use std::os::unix::fs::DirBuilderExt;
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            super::check_base(environment, path)
        }
        Err(error) => Err(DirectoryError::io("Making the directory", path, error)),
    }
}

/// A network is not published among other files: removing its stale nodes could hit one of them.
fn check_content(dir: &Dir, path: &Path) -> Result<(), DirectoryError> {
    let names = dir.names().map_err(|error| DirectoryError::io("Listing", path, error))?;
    let ours = |name: &str| {
        NODES.contains(&name) || [LOCK, PLAN, PORTS].contains(&name) || name.starts_with('.')
    };
    match names.into_iter().find(|name| !ours(name) && !is_vde_data_socket(name)) {
        Some(name) => Err(DirectoryError::OtherContent { path: path.to_owned(), name }),
        None => Ok(()),
    }
}

fn is_socket(dir: &Dir, name: &str) -> bool {
    dir.status_of(name).is_ok_and(|it| it.is_some_and(|it| it.kind == Kind::Socket))
}

/// A socket of this name in a directory whose lock we have is nobody's.
fn is_stale(name: &str) -> bool {
    NODES.contains(&name) || is_vde_data_socket(name) || staged::is_temporary(name)
}

/// Links remove their own; this is for those that clients left, and for a worker that did not come to it.
fn remove_vde_data_sockets(dir: &Dir) {
    for name in dir.names().unwrap_or_default() {
        if is_vde_data_socket(&name) && is_socket(dir, &name) {
            let _left = dir.remove(&name);
        }
    }
}

/// `003.12` is a switch's data socket, `.12345-00001` a client's (VDE, `datasock.c`).
fn is_vde_data_socket(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let pair = match name.strip_prefix('.') {
        Some(rest) => rest.split_once('-'),
        None => name.split_once('.'),
    };
    pair.is_some_and(|(first, second)| digits(first) && digits(second))
}
