//! What the daemon gives up once it has started.
//!
//! # Theory of operation
//!
//! A guest that finds a fault in the daemon gets what the daemon can do; this makes that little:
//!
//! * no new privileges by exec, and no core files;
//! * a seccomp filter: only the system calls that serving needs. Calls by which a process becomes another, changes its
//!   namespaces or looks into others kill it; all else that is not listed fails with EPERM;
//! * Landlock, where the kernel has it: of the file system only the networks' directories and the register of
//!   directories can be written to, and only those, the configuration, the account files and what says where names are
//!   asked can be read.
//!
//! What must still work afterwards is what `tests` in the daemon does under it: all calls, all nodes, reload with new
//! ports and new networks in the default place, captures, the end. What does not: publishing in a directory that was
//! not known at the start; the error says so.

use std::path::{Path, PathBuf};

use crate::directory;

/// Descriptors that are enough where the system sets no limit: two for a port, four for a guest, one for a connection
/// to the outside.
const DESCRIPTORS: u64 = 1 << 20;

/// The part of the file system that stays.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Directories of networks.
    pub writable: Vec<PathBuf>,
    /// The configuration file, for reload.
    pub config: Option<PathBuf>,
}

/// Raises the limit of descriptors as far as the system allows without privilege.
pub fn raise_descriptor_limit() {
    sys::confine::raise_descriptor_limit(DESCRIPTORS);
}

/// Where `/etc/resolv.conf` and what it points to are. Who writes them replaces them, so it is their directories that
/// have to stay readable, for as far as this user can read what is in them.
fn resolver_places() -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/etc")];
    let mut path = PathBuf::from("/etc/resolv.conf");
    // A chain of links, each relative to the directory that it is in.
    for _ in 0..8 {
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("/")).join(target);
        let directory = path.parent().and_then(|it| it.canonicalize().ok());
        places.extend(directory.filter(|it| it.parent().is_some()));
    }
    places.dedup();
    places
}

/// Confines the process. To be called once, while it has one thread.
///
/// # Errors
/// When the kernel refuses no_new_privs or the filter. A kernel without Landlock is no error; it is logged.
pub fn confine(places: &Places) -> std::io::Result<()> {
    sys::confine::no_core_files()?;
    sys::confine::no_new_privileges()?;
    let mut writable = places.writable.clone();
    writable.extend(directory::default_places().into_iter().filter(|place| place.exists()));
    let mut readable: Vec<PathBuf> =
        ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/proc/self", "/dev/null"]
            .iter()
            .map(PathBuf::from)
            .collect();
    // An editor replaces the file, so it is the directory that has to stay readable.
    readable.extend(places.config.as_deref().and_then(Path::parent).map(Path::to_owned));
    readable.extend(resolver_places());
    match sys::confine::restrict_files(&writable, &readable) {
        Ok(sys::confine::Landlocked::Yes) => {}
        Ok(sys::confine::Landlocked::No) => crate::log::debug(
            "The kernel has no Landlock: the file system stays open to the daemon.",
        ),
        Err(error) => crate::log::warn(&format!(
            "Landlock was refused ({error}): the file system stays open to the daemon."
        )),
    }
    // A test of the list dies of what is missing on it; in service the one call fails.
    let unlisted =
        if cfg!(test) { sys::confine::Unlisted::Kill } else { sys::confine::Unlisted::Refuse };
    sys::confine::filter_system_calls(unlisted)
}
