//! The guest's `/sys`: it shows the guest's interfaces, not the machine's.
//!
//! Which interfaces a sysfs shows is settled when it is mounted, by the network namespace of who mounts it. The
//! one that a guest's mounts are copied from shows the machine's, whose MAC addresses, MTUs and counters
//! programs would take for those of `eth0`. So CMD mounts another over it, from inside. It is as read-only as
//! the one below: the kernel takes over what is locked there (`mnt_already_visible`, fs/namespace.c).

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

const SYS: &str = "/sys";
/// Mounted below it, and read by programs to see how much memory they have.
const CONTROL_GROUPS: &str = "/sys/fs/cgroup";
/// Where programs look for interfaces.
const INTERFACES: &str = "/sys/class/net";

/// Mounts it, in the guest's namespaces; nothing where a tree of `--rootfs` has no `/sys`.
///
/// # Errors
/// It cannot be mounted, as where the machine's is partly covered. The guest then sees the machine's, without
/// its list of interfaces: none is better than wrong ones.
pub fn mount() -> io::Result<()> {
    let Ok(before) = fs::metadata(SYS) else { return Ok(()) };
    // What is below the new mount stays within reach through this descriptor.
    let groups = fs::File::options()
        .read(true)
        .custom_flags(sys::mount::PATH_ONLY)
        .open(CONTROL_GROUPS)
        .ok()
        .filter(|it| it.metadata().is_ok_and(|it| it.dev() != before.dev()));
    if let Err(error) = sys::mount::sysfs(Path::new(SYS)) {
        let _ = sys::mount::empty(Path::new(INTERFACES));
        return Err(error);
    }
    if let Some(groups) = groups {
        let below = format!("/proc/self/fd/{}", groups.as_raw_fd());
        // A kernel that shows no place for them has had none before.
        sys::mount::bind_recursive(Path::new(&below), Path::new(CONTROL_GROUPS))?;
    }
    Ok(())
}
