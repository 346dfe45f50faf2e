//! What a guest runs: the given command or the user's shell.

use std::borrow::Cow;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::output::failure::{NOT_EXECUTABLE, NOT_FOUND};

/// A program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub program: OsString,
    pub arguments: Vec<OsString>,
}

impl CommandLine {
    /// The given words, or the user's shell: `$SHELL`, the one in the user database, `/bin/sh`.
    #[must_use]
    pub fn new(words: &[OsString]) -> Self {
        match words.split_first() {
            Some((program, arguments)) => {
                Self { program: program.clone(), arguments: arguments.to_vec() }
            }
            None => Self { program: shell(), arguments: Vec::new() },
        }
    }

    /// The name that a guest is derived from.
    #[must_use]
    pub fn name(&self) -> String {
        Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Becomes the program, with no signal blocked. Returns only if that fails: the exit status and
    /// the sentence.
    #[must_use]
    pub fn exec(&self) -> (u8, String) {
        // All are blocked in our processes, and exec would pass that on.
        if let Err(error) = sys::signal::set_mask(&sys::signal::SignalSet::empty()) {
            return (NOT_EXECUTABLE, format!("signals cannot be unblocked: {error}"));
        }
        let error = Command::new(&self.program).args(&self.arguments).exec();
        match error.kind() {
            io::ErrorKind::NotFound if self.is_path() && Path::new(&self.program).exists() => (
                NOT_EXECUTABLE,
                format!(
                    "{} cannot be executed: the interpreter it names is missing; install that, or \
                     correct its first line",
                    self.shown()
                ),
            ),
            io::ErrorKind::NotFound if self.is_path() => self.missing(),
            // The search says "permission denied" also when it could not look into a directory of $PATH.
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied if !self.is_in_path() => {
                self.missing()
            }
            io::ErrorKind::PermissionDenied => self.not_executable(),
            _ => (NOT_EXECUTABLE, format!("{} cannot be executed: {error}", self.shown())),
        }
    }

    /// Looks for the program before anything is made for it, where the guest has the caller's files. What is not
    /// sure is left to [`CommandLine::exec`].
    ///
    /// # Errors
    /// It cannot be executed: the exit status and the sentence.
    pub fn look(&self) -> Result<(), (u8, String)> {
        let path = std::env::var_os("PATH");
        let places: Vec<PathBuf> = match (&path, self.is_path()) {
            (_, true) => vec![PathBuf::from(&self.program)],
            (Some(path), false) => {
                std::env::split_paths(path).map(|dir| dir.join(&self.program)).collect()
            }
            // execvp(3) has places of its own then.
            (None, false) => return Ok(()),
        };
        let mut found = false;
        for place in places {
            match place.metadata() {
                // Without one such bit not even root may execute it.
                Ok(about) if about.is_file() && about.mode() & 0o111 != 0 => return Ok(()),
                Ok(about) => found |= about.is_file() || self.is_path(),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
                // The guest's user may be able to look where the caller is not.
                Err(_) => return Ok(()),
            }
        }
        Err(if found { self.not_executable() } else { self.missing() })
    }

    fn missing(&self) -> (u8, String) {
        let shown = self.shown();
        let sentence = if self.is_path() {
            format!("there is no {shown} in the guest; check the path")
        } else {
            format!(
                "the command `{shown}` was not found in $PATH; check its spelling or give its path"
            )
        };
        (NOT_FOUND, sentence)
    }

    fn not_executable(&self) -> (u8, String) {
        let shown = self.shown();
        let sentence = if Path::new(&self.program).is_dir() && self.is_path() {
            format!("{shown} cannot be executed: it is a directory; name a program in it")
        } else {
            format!("{shown} cannot be executed: permission denied; is it a program (chmod +x)?")
        };
        (NOT_EXECUTABLE, sentence)
    }

    fn shown(&self) -> Cow<'_, str> {
        self.program.to_string_lossy()
    }

    /// Whether it is named by a path, and not looked for.
    fn is_path(&self) -> bool {
        self.program.as_encoded_bytes().contains(&b'/')
    }

    fn is_in_path(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        self.is_path() || std::env::split_paths(&path).any(|dir| dir.join(&self.program).is_file())
    }
}

/// Goes to the directory in which a command starts, or to the root where the guest does not have it.
///
/// # Errors
/// Not even the root can be entered.
pub fn start_in(directory: Option<&Path>) -> anyhow::Result<()> {
    if directory.is_some_and(|directory| sys::process::set_directory(directory).is_ok()) {
        return Ok(());
    }
    sys::process::set_directory(Path::new("/")).context("the guest's root cannot be entered")
}

fn shell() -> OsString {
    let of_environment = std::env::var_os("SHELL").filter(|s| Path::new(s).is_absolute());
    of_environment
        .or_else(|| {
            let name = sys::user::by_uid(sys::user::uid()).ok().flatten()?.name;
            let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
            shell_in(&passwd, &name).map(OsString::from)
        })
        .unwrap_or_else(|| OsString::from("/bin/sh"))
}

/// The seventh field of passwd(5).
fn shell_in(passwd: &str, name: &str) -> Option<String> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(6).filter(|shell| shell.starts_with('/')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_named_by_the_last_part_of_its_command() {
        let words = ["/usr/bin/python3", "-m", "http.server"].map(OsString::from);
        let command = CommandLine::new(&words);
        assert_eq!(command.name(), "python3");
        assert_eq!(command.arguments, ["-m", "http.server"]);
        assert!(!CommandLine::new(&[]).program.is_empty());
    }

    #[test]
    fn a_program_is_looked_for_as_exec_does() {
        let look = |word: &str| CommandLine::new(&[OsString::from(word)]).look();
        assert_eq!(look("sh"), Ok(()));
        assert_eq!(look("/bin/sh"), Ok(()));
        for (word, status, words) in [
            ("no-such-command", NOT_FOUND, "$PATH"),
            ("/no/such/command", NOT_FOUND, "check the path"),
            ("/etc/passwd/x", NOT_FOUND, "check the path"),
            ("/etc/passwd", NOT_EXECUTABLE, "chmod +x"),
            ("/", NOT_EXECUTABLE, "is a directory"),
            ("./", NOT_EXECUTABLE, "is a directory"),
        ] {
            let (have, sentence) = look(word).expect_err(word);
            assert_eq!(have, status, "{word}");
            assert!(sentence.contains(words), "{word}: {sentence}");
        }
    }

    #[test]
    fn the_shell_is_the_seventh_field() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nana:x:1000:1000::/home/ana:\nodd:x:1\n";
        assert_eq!(shell_in(passwd, "root").as_deref(), Some("/bin/bash"));
        assert_eq!(shell_in(passwd, "ana"), None);
        assert_eq!(shell_in(passwd, "odd"), None);
    }
}
