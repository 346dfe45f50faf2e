//! What the kernel's own file systems show and take: outer processes through other mounts of procfs, and control
//! groups, which reach outer processes without a number.
//!
//! Like the covers ([`super::cover`]), what is mounted here is mounted in M1, so it is locked in the guest's M2.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use sys::errno::{EACCES, EINVAL, ENOENT};

use super::mounts;

/// Covers every mount of procfs but the guest's own: a chroot's, or one that somebody bound into a tree. Through it,
/// outer processes would have numbers inside.
///
/// # Errors
/// A place that cannot be covered: the guest must not start with it.
pub fn hide_processes() -> anyhow::Result<()> {
    for mount in mounts::table()? {
        let ours = mount.place.starts_with("/proc");
        if mount.kind != "proc" || ours {
            continue;
        }
        let hidden = match fs::metadata(&mount.place) {
            Ok(about) if about.is_dir() => sys::mount::empty(&mount.place),
            Ok(_) => sys::mount::bind(Path::new("/dev/null"), &mount.place),
            Err(error) => Err(error),
        };
        match hidden {
            Err(error) if is_out_of_sight(&error) => {}
            result => result.with_context(|| {
                format!("{} cannot be covered, and a guest must not see it", mount.place.display())
            })?,
        }
    }
    Ok(())
}

/// Makes sysfs and every mount of control groups read-only for guests: writing to a control group that the
/// user owns ends or freezes processes in it, outer ones too.
///
/// # Errors
/// A place that cannot be made so: the guest must not start with it.
pub fn freeze_control_groups() -> anyhow::Result<()> {
    let mut places = BTreeSet::from([PathBuf::from("/sys")]);
    places.extend(
        mounts::table()?
            .into_iter()
            .filter(|mount| matches!(mount.kind.as_str(), "cgroup" | "cgroup2" | "sysfs"))
            .map(|mount| mount.place),
    );
    for place in places {
        match sys::mount::make_read_only(&place) {
            Err(error) if is_out_of_sight(&error) => {}
            result => result.with_context(|| {
                format!("{} cannot be made read-only for the guest", place.display())
            })?,
        }
    }
    Ok(())
}

/// Sees to it that nobody in the guest makes a control group namespace: its owner may mount the hierarchy
/// anew and write to it, and its root would be the guest's own group, which outer processes share. The limit
/// holds for all user namespaces below ours, whose owners can lower their own limits only.
///
/// # Errors
/// The limit cannot be set: the guest must not start.
pub fn forbid_control_group_namespaces() -> anyhow::Result<()> {
    match fs::write("/proc/sys/user/max_cgroup_namespaces", "0") {
        // A kernel without control groups.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.context("control group namespaces cannot be forbidden to the guest"),
    }
}

/// Whether a mount could not be changed because nobody sees it: the place is not there, hidden below another
/// mount, or no mount point.
fn is_out_of_sight(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENOENT | EINVAL | EACCES))
}
