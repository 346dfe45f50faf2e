//! A small Linux in QEMU, as `tests/e2e/vm` makes it.

use std::path::PathBuf;
use std::time::Duration;

use crate::job::Job;
use crate::lab::Person;

/// The folder with `vmlinuz` and `initramfs`; `./test` sets it.
pub const FOLDER: &str = "NETHERD_TEST_VM";

/// How long the machine may take to boot and to ping. Emulation needs 4 s when it has a core for itself.
pub const BOOT: Duration = Duration::from_secs(90);

/// The folder of the machine's kernel.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!).
pub fn folder() -> Result<PathBuf, String> {
    crate::skip::program("qemu-system-x86_64")?;
    let named = std::env::var_os(FOLDER).map(PathBuf::from);
    named
        .filter(|folder| folder.join("initramfs").is_file())
        .ok_or_else(|| format!("{FOLDER} names no folder with a kernel (./test makes one)"))
}

/// The machine, to be started by `person`, with `netdev` (whose id is `net`) behind its virtio-net card. What it is
/// to do it is told in `words` on its kernel command line, and what it did it says on standard output: both as
/// `tests/e2e/vm/init` has it.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!).
pub fn machine(
    person: &Person<'_>,
    netdev: &[String],
    mac: &str,
    words: &str,
) -> Result<Job, String> {
    let folder = folder()?;
    let append = format!("console=ttyS0 quiet panic=-1 {words}");
    Ok(person
        .job("qemu-system-x86_64")
        // Emulated, always: a machine whose /dev/kvm half works would hang the test.
        .args(["-machine", "q35,accel=tcg", "-m", "160", "-smp", "1", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio", "-append", &append])
        .arg("-kernel")
        .arg(folder.join("vmlinuz"))
        .arg("-initrd")
        .arg(folder.join("initramfs"))
        .args(netdev)
        .args(["-device", &format!("virtio-net-pci,netdev=net,mac={mac},romfile=")])
        .limit(BOOT))
}
