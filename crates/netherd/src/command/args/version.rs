//! Which version of a client is installed.

use std::io::Read;
use std::process::{Command, Stdio};

/// A release, as far as our choices depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl Version {
    pub const fn new(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    /// The first `N.N` in `text`, as in `QEMU emulator version 7.2.22 (Debian ...)`.
    pub fn find(text: &str) -> Option<Version> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
            let mut numbers = word.split('.');
            let major = numbers.next()?.parse().ok()?;
            let minor = numbers.next()?.parse().ok()?;
            Some(Version { major, minor })
        })
    }
}

/// Asks programs what they are; tests answer in their place.
pub trait Ask {
    /// What `program` prints when called with `arguments`, on either stream; `None` when there is
    /// no such program.
    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String>;
}

/// The programs of this machine, found by `$PATH`.
#[derive(Debug)]
pub struct Installed;

/// More than any program says about its version, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;

impl Ask for Installed {
    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut text = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let _ = stdout.take(ANSWER_MAX).read_to_end(&mut text);
        }
        let _ = child.wait();
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (text, expected) in [
            ("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)", Some(Version::new(7, 2))),
            ("QEMU emulator version 10.0.2", Some(Version::new(10, 0))),
            ("1.15.1\n", Some(Version::new(1, 15))),
            ("vfkit version: v0.6.1", Some(Version::new(0, 6))),
            ("6.1.176\n", Some(Version::new(6, 1))),
            ("no digits", None),
            ("7", None),
            (".5", None),
            ("99999999999999999999.1", None),
        ] {
            assert_eq!(Version::find(text), expected, "{text}");
        }
        assert!(Version::new(9, 2) > Version::new(8, 9));
    }

    #[test]
    fn a_program_that_does_not_exist_says_nothing() {
        assert_eq!(Installed.ask("/nonexistent/qemu", &["--version"]), None);
    }
}
