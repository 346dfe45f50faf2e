//! Saying loudly what was not tested, and why.

use std::io::Write;
use std::time::Duration;

/// The file that collects the skips of a run; `./test` prints and sums it at the end.
pub const SKIPS: &str = "NETHERD_TEST_SKIPS";

/// Notes that `test` was skipped for `reason`, on standard error and in the file named by [`SKIPS`].
///
/// # Panics
/// When that file is named and cannot be written: an unreported skip would be a silent one.
pub fn note(test: &str, reason: &str) {
    let line = format!("SKIPPED: {test}: {reason}\n");
    eprint!("{line}");
    let Some(path) = std::env::var_os(SKIPS) else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
    // One write, so that tests running side by side do not mix their lines.
    file.and_then(|mut file| file.write_all(line.as_bytes())).unwrap_or_else(|error| {
        panic!("the skip could not be noted in {}: {error}", path.display())
    });
}

/// The name of the running test, as the harness gave it to its thread.
#[must_use]
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("main").to_owned()
}

/// Ends the test here, with the reason noted: `skip!("{program} is not installed")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skip::note(&$crate::skip::test_name(), &format!($($reason)*));
        return;
    }};
}

/// Takes the value of an `Ok`, or skips with the reason in its `Err`.
#[macro_export]
macro_rules! need {
    ($have:expr) => {
        match $have {
            Ok(value) => value,
            Err(reason) => $crate::skip!("{reason}"),
        }
    };
}

/// Where `program` is, or why the test that needs it must be skipped.
///
/// # Errors
/// A reason for [`skip!`].
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
/// A reason for [`skip!`] for everybody else.
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
/// A reason for [`skip!`], with what the kernel said.
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
/// A reason for [`skip!`], with what the attempt said.
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
