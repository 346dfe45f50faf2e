//! Where a network is published.
//!
//! # Theory of operation
//!
//! A network is a directory; the file system is its name space and its permission system. By default it is
//! `$XDG_RUNTIME_DIR/netherd/NAME`. Where the variable is missing, wrong or not ours (after `su`, in cron, for
//! root by `sudo`) it is `/run/user/UID/netherd/NAME` if that runtime directory exists and is ours, else
//! `/tmp/netherd-UID/NAME`, made with mode 0700 and used only if it is ours and no symbolic link, because
//! anybody may make names in `/tmp`. Where somebody else has that name it is `/tmp/netherd-UID.2`, and so on: he
//! may want to be in the way, or be the user of that number outside of a user namespace, as for the root of a guest. `--dir PATH` publishes one network anywhere, with group and mode, for
//! other users.
//!
//! Invariants:
//! * Whoever holds the lock on `lock` serves the directory, nobody else binds or removes nodes in it.
//! * All steps after opening go through the directory's descriptor ([`sys::dir::Dir`]).
//! * A node is never open to more users than its mode says, not for a moment.
//! * Nodes of a daemon that was killed are removed by the next one, once it has the lock.

mod publish;
mod registry;
mod staged;

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use sys::dir::{Dir, Kind, Status};

use crate::names::{Name, NameError};

pub use publish::{Access, OWNER_MODE, PublishedDirectory};
pub use registry::covers;
pub use staged::Staged;

/// Files that a network's directory may hold besides VDE's data sockets.
pub(crate) const NODES: [&str; 5] = ["stream", "ctl", "dgram", "seqpacket", "api"];
pub(crate) const LOCK: &str = "lock";
pub(crate) const PLAN: &str = "plan.json";
pub(crate) const PORTS: &str = "ports";

/// What their names in `/tmp` begin with.
const LAST_RESORT: &str = "netherd-";
/// Names that are tried in `/tmp`. All have to be looked at each time, so that a network is found where it was
/// published even if a name before that has become free.
const FALLBACKS: u32 = 32;

/// Why a directory cannot be used, in sentences.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("{name:?} is not a valid network name: {why}.")]
    Name { name: String, why: NameError },
    #[error("The path {path:?} is not UTF-8 text; choose another directory.")]
    NotText { path: PathBuf },
    #[error(
        "The directory {path} belongs to {owner}, not to you: publish the network in a directory of your own, \
         with --dir."
    )]
    NotOurs { path: PathBuf, owner: String },
    #[error(
        "{path} is a symbolic link or no directory: remove it, or choose another place with --dir."
    )]
    NotADirectory { path: PathBuf },
    #[error(
        "Others may write to the directory {path} (mode {mode:04o}), so they could replace its nodes: take the \
        permission away with `chmod go-w {path}`, or choose another place with --dir."
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "The directory {path} has other content ({name:?}): a network needs a directory of its own; name an \
         empty or new one."
    )]
    OtherContent { path: PathBuf, name: String },
    #[error(
        "Another hypervisor{} serves the directory {path}: use that one, or end it with `netherd down`.",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Held { path: PathBuf, pid: Option<u32> },
    #[error(
        "There is no {what} {name:?} on this machine; name one that exists, or use its number."
    )]
    NoSuchOwner { what: &'static str, name: String },
    #[error(
        "You are not in the group {name:?}, so you cannot give it nodes: name one of your groups (`id -Gn`), or let \
         root serve the network."
    )]
    NotMember { name: String },
    #[error(
        "Only root can give nodes to another user, {name:?}: leave out the owner and give them to a group of \
        yours, or let root serve the network."
    )]
    NotGiven { name: String },
    #[error("{what} {path} failed: {source}.{remedy}")]
    Io { what: &'static str, path: PathBuf, source: io::Error, remedy: &'static str },
}

impl DirectoryError {
    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::NotFound => " Make the directory above it first.",
            io::ErrorKind::PermissionDenied => " Choose a place where you may write, with --dir.",
            io::ErrorKind::AddrInUse => {
                " Something that is not a socket of netherd's is in its place: remove it, or choose another place with --dir."
            }
            _ => "",
        };
        Self::Io { what, path: path.to_owned(), source, remedy }
    }

    /// Of a change of owner, group or mode.
    fn access(what: &'static str, path: &Path, source: io::Error) -> Self {
        let remedy = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                " You can give it to your own groups only, and only root to another user."
            }
            _ => "",
        };
        Self::Io { what, path: path.to_owned(), source, remedy }
    }
}

/// The directory of the network `net`: `dir` when given, else the default place. Nothing is made, and the
/// directory need not exist.
///
/// # Errors
/// When `net` is no name, or the place is not safe to use.
pub fn resolve(net: &str, dir: Option<&Path>) -> Result<PathBuf, DirectoryError> {
    resolve_in(&Environment::of_process(), net, dir)
}

/// What the default place depends on.
#[derive(Debug, Clone)]
pub(crate) struct Environment {
    pub(crate) uid: u32,
    pub(crate) xdg_runtime_dir: Option<PathBuf>,
    /// `/run/user` and `/tmp`; other directories in tests.
    pub(crate) run_user: PathBuf,
    pub(crate) tmp: PathBuf,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        Self {
            uid: sys::user::uid(),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            run_user: PathBuf::from("/run/user"),
            tmp: PathBuf::from("/tmp"),
        }
    }

    fn is_ours(&self, path: &Path) -> bool {
        // Looked at, not opened: a confined daemon may not open what is above its own places.
        let status = sys::dir::status_at(path);
        status.is_ok_and(|it| {
            it.kind == Kind::Directory && it.uid == self.uid && it.mode & 0o022 == 0
        })
    }

    /// All places in which networks of this user may be published by default, the used one first.
    pub(crate) fn bases(&self) -> Vec<PathBuf> {
        let mut bases = Vec::new();
        if let Some(xdg) = &self.xdg_runtime_dir
            && xdg.is_absolute()
            && self.is_ours(xdg)
        {
            bases.push(xdg.join("netherd"));
        }
        let run = self.run_user.join(self.uid.to_string());
        if self.is_ours(&run) {
            bases.push(run.join("netherd"));
        }
        bases.push(self.fallback());
        bases.dedup();
        bases
    }

    /// The place in `/tmp`: the first that is ours, else the first that is nobody's, else one that will be refused
    /// with its owner's name.
    fn fallback(&self) -> PathBuf {
        let first = self.tmp.join(format!("{LAST_RESORT}{}", self.uid));
        let more = (2..=FALLBACKS).map(|n| self.tmp.join(format!("{LAST_RESORT}{}.{n}", self.uid)));
        let mut free = None;
        for path in std::iter::once(first.clone()).chain(more) {
            match sys::dir::status_at(&path) {
                Ok(status) if status.uid == self.uid => return path,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    free.get_or_insert(path);
                }
                _ => {}
            }
        }
        free.unwrap_or(first)
    }

    /// The place that is used.
    pub(crate) fn base(&self) -> PathBuf {
        self.bases().swap_remove(0)
    }
}

pub(crate) fn resolve_in(
    environment: &Environment,
    net: &str,
    dir: Option<&Path>,
) -> Result<PathBuf, DirectoryError> {
    let name =
        Name::of_network(net).map_err(|why| DirectoryError::Name { name: net.to_owned(), why })?;
    if let Some(dir) = dir {
        let path = std::path::absolute(dir)
            .map_err(|error| DirectoryError::io("Finding the directory", dir, error))?;
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        return if path.to_str().is_some() {
            Ok(path)
        } else {
            Err(DirectoryError::NotText { path })
        };
    }
    let base = environment.base();
    check_base(environment, &base)?;
    let path = base.join(name.as_str());
    if path.to_str().is_some() { Ok(path) } else { Err(DirectoryError::NotText { path }) }
}

/// Whether a network's directory is in the place of last resort, in `/tmp`: no runtime directory can be used. One that
/// `XDG_RUNTIME_DIR` names may be below `/tmp` as well.
#[must_use]
pub fn is_last_resort(path: &Path) -> bool {
    let base = path.parent();
    let name = base.and_then(Path::file_name).and_then(|name| name.to_str());
    base.and_then(Path::parent) == Some(&Environment::of_process().tmp)
        && name.is_some_and(|name| name.starts_with(LAST_RESORT))
}

/// A base that exists must be ours: in `/tmp` anybody could have made it.
fn check_base(environment: &Environment, base: &Path) -> Result<(), DirectoryError> {
    let status = match sys::dir::status_at(base) {
        Ok(status) => status,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(DirectoryError::io("Looking at", base, error)),
    };
    check_owner(environment.uid, base, &status)
}

fn open_error(path: &Path, error: io::Error) -> DirectoryError {
    match error.kind() {
        io::ErrorKind::NotADirectory => DirectoryError::NotADirectory { path: path.to_owned() },
        _ => DirectoryError::io("Opening", path, error),
    }
}

fn check_owner(uid: u32, path: &Path, status: &Status) -> Result<(), DirectoryError> {
    let path = path.to_owned();
    if status.kind != Kind::Directory {
        return Err(DirectoryError::NotADirectory { path });
    }
    if status.uid != uid {
        return Err(DirectoryError::NotOurs { path, owner: user_name(status.uid) });
    }
    if status.mode & 0o022 != 0 {
        return Err(DirectoryError::TooOpen { path, mode: status.mode });
    }
    Ok(())
}

/// `alice (uid 1000)`, or `uid 1000` for a number without a name.
#[must_use]
pub fn user_name(uid: u32) -> String {
    match sys::user::by_uid(uid) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        _ => format!("uid {uid}"),
    }
}

/// Networks in the default places: name and directory, sorted. Whether one is served is for a connection to
/// find out.
#[must_use]
pub fn list() -> Vec<(String, PathBuf)> {
    list_in(&Environment::of_process())
}

pub(crate) fn list_in(environment: &Environment) -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for base in environment.bases() {
        if check_base(environment, &base).is_err() {
            continue;
        }
        let Ok(names) = Dir::open(&base).and_then(|dir| dir.names()) else { continue };
        for name in names {
            let path = base.join(&name);
            if name.parse::<Name>().is_ok() && path.join(LOCK).exists() {
                found.push((name, path));
            }
        }
        for path in registry::directories(&base) {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                found.push((name.to_owned(), path.clone()));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The places in which networks of this user are published by default, the used one first.
#[must_use]
pub fn default_places() -> Vec<PathBuf> {
    Environment::of_process().bases()
}

/// The log of a network that runs in the background: `$XDG_STATE_HOME/netherd/NET.log`, by default
/// `~/.local/state/netherd/NET.log`. Makes the directory; `None` where it cannot be made.
#[must_use]
pub fn log_path(net: &str) -> Option<PathBuf> {
    let directory = state_home()?;
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join(format!("{net}.log")))
}

/// Opens a log to write at its end. What is in it is for nobody but its owner: guests' output, and who talked to whom.
/// One that others could read, of an older version or because somebody opened it to them, is closed to them.
///
/// # Errors
/// As open(2).
pub fn open_log(path: &Path) -> io::Result<File> {
    let log = File::options().append(true).create(true).mode(0o600).open(path)?;
    let about = log.metadata()?;
    let mode = about.permissions().mode();
    // A terminal, a pipe or /dev/null is not ours to close.
    if about.is_file() && mode & 0o077 != 0 {
        // Nor is somebody else's file.
        let _theirs = log.set_permissions(Permissions::from_mode(mode & 0o700));
    }
    Ok(log)
}

/// Where a network keeps what should survive the end of a session: `$XDG_STATE_HOME/netherd/NET`, by default
/// `~/.local/state/netherd/NET`. Makes the directory; `None` where it cannot be made.
#[must_use]
pub fn state_path(net: &str) -> Option<PathBuf> {
    let directory = state_home()?.join(net);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    Some(directory)
}

fn state_home() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let state =
        std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).and_then(absolute).or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from).and_then(absolute);
            home.map(|home| home.join(".local/state"))
        })?;
    Some(state.join("netherd"))
}

#[cfg(test)]
mod tests;
