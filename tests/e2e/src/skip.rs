//! What a test needs of the machine, and the reasons to skip it.

use std::time::Duration;

/// Where `program` is, or why the test that needs it must be skipped.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!).
pub fn program(program: &str) -> Result<std::path::PathBuf, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"])
        .map(|folder| std::path::Path::new(folder).join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| format!("{program} is not installed (./test as root installs it)"))
}

/// `Ok` for root.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!) for everybody else.
pub fn root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err("only root may do this, and the tests run as an ordinary user".to_owned())
    }
}

/// `Ok` where the kernel of Debian's user-mode-linux runs programs. It knows registers up to AVX-512, and
/// on a processor that has more (AMX) the first program dies.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!), with what the kernel said.
pub fn user_mode_linux() -> Result<(), String> {
    let uml = program("linux.uml")?;
    let lab = crate::Lab::new();
    let person = lab.person(crate::User::first()?);
    let options =
        "mem=64M quiet root=/dev/root rootfstype=hostfs ro init=/bin/true con=null con0=null,fd:1";
    let said = person.job(uml).args(options.split(' ')).limit(Duration::from_secs(30)).run();
    match said.stdout.lines().chain(said.stderr.lines()).find(|line| line.contains("set fp regs")) {
        None => Ok(()),
        Some(line) => Err(format!("linux.uml runs no program on this processor: {line}")),
    }
}

/// `Ok` where the first user may make user and network namespaces: without them nobody can have a guest.
///
/// # Errors
/// A reason for [`skip!`](crate::skip!), with what the attempt said.
pub fn namespaces() -> Result<(), String> {
    let lab = crate::Lab::new();
    let person = lab.person(crate::User::first()?);
    let output = person.job("unshare").args(["--user", "--map-root-user", "--net", "true"]).run();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("no user namespaces for ordinary users here: {}", output.stderr.trim()))
    }
}
