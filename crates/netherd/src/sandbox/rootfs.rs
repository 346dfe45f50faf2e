//! `--rootfs DIR`: another tree as the root of the guest's file system.
//!
//! The tree itself is used as it is. What a system needs beside it is mounted: `/proc`, `/sys`, and a
//! `/dev` with the devices that are harmless, terminals of the guest's own, and the tun device.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use anyhow::{Context, anyhow, bail};

const DEV_BYTES: u64 = 64 << 10;
const SHM_BYTES: u64 = 1 << 30;
/// The group of terminals on every distribution; used where the guest has that id.
const TTY_GROUP: u32 = 5;

/// Checks the tree before anything is made.
///
/// # Errors
/// A sentence that says what is missing.
pub fn check(root: &Path) -> anyhow::Result<()> {
    let meta = fs::metadata(root).map_err(|error| {
        anyhow!(
            "--rootfs {} cannot be used: {error}; name the root of a tree, such as debootstrap makes",
            root.display()
        )
    })?;
    if !meta.is_dir() {
        bail!("--rootfs {} is not a directory; name the root of a tree", root.display());
    }
    if fs::canonicalize(root).is_ok_and(|root| root == Path::new("/")) {
        bail!(
            "--rootfs {} is the root that the guest has anyway; leave the option out",
            root.display()
        );
    }
    for needed in ["proc", "dev"] {
        if !root.join(needed).is_dir() {
            bail!(
                "--rootfs {} has no directory {needed} to mount on; make it: mkdir {}",
                root.display(),
                root.join(needed).display()
            );
        }
    }
    Ok(())
}

/// Mounts what belongs into the tree, before it becomes the root.
pub fn prepare(root: &Path, groups: &[sys::ns::Extent]) -> anyhow::Result<()> {
    let what = |name: &str| format!("{name} cannot be mounted in --rootfs {}", root.display());
    // A mount point, as pivot_root(2) needs; recursive, because what is below may not be left out.
    sys::mount::bind_recursive(root, root).with_context(|| what("the tree"))?;
    sys::mount::proc(&root.join("proc"))
        .map_err(|error| anyhow::anyhow!(super::refusal::explain_proc(&error)))?;
    if root.join("sys").is_dir() {
        sys::mount::bind_recursive(Path::new("/sys"), &root.join("sys"))
            .with_context(|| what("sys"))?;
    }
    devices(&root.join("dev"), groups).with_context(|| what("dev"))
}

fn devices(dev: &Path, groups: &[sys::ns::Extent]) -> io::Result<()> {
    sys::mount::tmpfs(dev, 0o755, DEV_BYTES)?;
    for name in ["null", "zero", "full", "random", "urandom", "tty", "net/tun"] {
        let outer = Path::new("/dev").join(name);
        if !outer.exists() {
            continue;
        }
        let inner = dev.join(name);
        if let Some(parent) = inner.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(&inner)?;
        sys::mount::bind(&outer, &inner)?;
    }
    show_terminal(&dev.join("console"));
    for name in ["pts", "shm"] {
        fs::create_dir(dev.join(name))?;
    }
    let has_tty = groups.iter().any(|e| (e.inside..=e.inside + (e.count - 1)).contains(&TTY_GROUP));
    sys::mount::devpts(&dev.join("pts"), has_tty.then_some(TTY_GROUP))?;
    sys::mount::tmpfs(&dev.join("shm"), 0o1777, SHM_BYTES)?;
    for (name, target) in [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ] {
        symlink(target, dev.join(name))?;
    }
    Ok(())
}

/// Shows the caller's terminal at `place`. It is of the machine's terminals, which the tree does not have, and tty(1)
/// and ttyname(3) would not find a name for it; all else works without one.
fn show_terminal(place: &Path) {
    let is_terminal =
        [io::stdin().is_terminal(), io::stdout().is_terminal(), io::stderr().is_terminal()];
    let Some(fd) = is_terminal.iter().position(|it| *it) else { return };
    let open = format!("/proc/self/fd/{fd}");
    // By its name: what was opened in another mount namespace cannot be mounted from the descriptor.
    let Ok(name) = fs::read_link(&open) else { return };
    let device = |path: &Path| fs::metadata(path).map(|about| about.rdev());
    let is_same = match (device(Path::new(&open)), device(&name)) {
        (Ok(open), Ok(named)) => open == named,
        _ => false,
    };
    if is_same
        && name.starts_with("/dev")
        && fs::File::create(place).is_ok()
        && sys::mount::bind(&name, place).is_err()
    {
        let _ = fs::remove_file(place);
    }
}

/// Makes the prepared tree the root.
pub fn enter(root: &Path) -> anyhow::Result<()> {
    sys::mount::change_root(root)
        .with_context(|| format!("--rootfs {} cannot become the root", root.display()))
}
