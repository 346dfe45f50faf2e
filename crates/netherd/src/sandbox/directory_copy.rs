//! A copy of a directory over itself: in memory, with the entries shown one by one, and without what is
//! hidden. Other entries can be added to it, where the directory itself is not ours to write.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

/// The most that a copy holds of its own: names, and what is added to it. Its entries are mounts.
const COPY_BYTES: u64 = 16 << 20;
/// Sockets below this depth are none that systemd makes.
const DEPTH_MAX: u32 = 4;
/// Entries of a directory that are shown in its copy.
const ENTRIES_MAX: usize = 4096;

/// What the copy of a directory leaves out.
#[derive(Debug, PartialEq, Eq)]
pub enum Hidden {
    /// Nothing: the copy is made for what can be added to it.
    Nothing,
    /// These names, whatever they are now or later.
    Names(BTreeSet<OsString>),
    /// Sockets, also below.
    Sockets,
}

/// Covers a directory with a copy of itself. An entry that cannot be shown is left out.
///
/// # Errors
/// The directory cannot be read, or nothing can be mounted over it.
pub fn copy(directory: &Path, hidden: &Hidden) -> io::Result<()> {
    copy_at(directory, hidden, 0)
}

/// `depth` is that of the directory below the one whose copy was asked for.
fn copy_at(directory: &Path, hidden: &Hidden, depth: u32) -> io::Result<()> {
    // What is below the cover stays within reach through this descriptor.
    let below =
        fs::File::options().read(true).custom_flags(sys::mount::PATH_ONLY).open(directory)?;
    let mode = below.metadata()?.mode() & 0o7777;
    let entries: Vec<fs::DirEntry> = fs::read_dir(directory)?.flatten().take(ENTRIES_MAX).collect();
    sys::mount::tmpfs(directory, mode, COPY_BYTES)?;
    let below = PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd()));
    for entry in entries {
        let _ = show(&entry, &below, directory, hidden, depth);
    }
    if *hidden == Hidden::Sockets && depth == 0 {
        sys::mount::make_read_only(directory)?;
    }
    Ok(())
}

fn show(
    entry: &fs::DirEntry,
    below: &Path,
    directory: &Path,
    hidden: &Hidden,
    depth: u32,
) -> io::Result<()> {
    let name = entry.file_name();
    let kind = entry.file_type()?;
    let (source, target) = (below.join(&name), directory.join(&name));
    let is_hidden = match hidden {
        Hidden::Nothing => false,
        Hidden::Names(names) => names.contains(&name),
        Hidden::Sockets => kind.is_socket(),
    };
    if kind.is_symlink() {
        if !is_hidden {
            symlink(fs::read_link(&source)?, &target)?;
        }
    } else if kind.is_dir() {
        fs::create_dir(&target)?;
        if !is_hidden {
            sys::mount::bind_recursive(&source, &target)?;
            if *hidden == Hidden::Sockets
                && depth < DEPTH_MAX
                && has_socket_from(&target, depth + 1)
            {
                copy_at(&target, hidden, depth + 1)?;
            }
        }
    } else if !is_hidden {
        fs::File::create(&target)?;
        sys::mount::bind(&source, &target)?;
    }
    Ok(())
}

/// Whether systemd's directory has a socket here or below. What we may not look into, the guest may not
/// either.
pub fn has_socket(directory: &Path) -> bool {
    has_socket_from(directory, 0)
}

fn has_socket_from(directory: &Path, depth: u32) -> bool {
    let Ok(entries) = fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        entry.file_type().is_ok_and(|kind| {
            kind.is_socket()
                || (kind.is_dir() && depth < DEPTH_MAX && has_socket_from(&entry.path(), depth + 1))
        })
    })
}
