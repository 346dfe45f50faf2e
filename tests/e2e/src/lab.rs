//! A test's own ground: its folder, its users' directories, and the end of all it started.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::job::Job;
use crate::user::User;
use crate::wait::until;

/// The environment variable that marks what a lab started.
pub const MARK: &str = "NETHERD_LAB";

/// One test's ground.
#[derive(Debug)]
pub struct Lab {
    root: PathBuf,
    mark: String,
}

impl Lab {
    /// Makes an empty lab.
    ///
    /// # Panics
    /// When `/tmp` takes no folder.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "making one has an effect on the file system")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short, and unique on this machine: the process id and a count.
        let mark = format!("nl{}-{number}", std::process::id());
        let root = Path::new("/tmp").join(&mark);
        let _ = fs::remove_dir_all(&root);
        fs::create_dir(&root).expect("a folder under /tmp");
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("our folder's mode");
        Self { root, mark }
    }

    /// The lab's folder: everybody may look, its maker may write.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder in the lab that belongs to `user`, with `mode`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn folder(&self, name: &str, user: &User, mode: u32) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(&path).expect("a folder in the lab");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        chown(&path, Some(user.uid), Some(user.gid)).expect("its owner");
        path
    }

    /// Lets `user` act in this lab, with a runtime directory and a home of his own.
    #[must_use]
    pub fn person(&self, user: User) -> Person<'_> {
        // One letter: the VDE node needs the network's directory + 12 within 107 bytes.
        let letter = user.name.chars().last().unwrap_or('x');
        let home = self.folder(&format!("{letter}-home"), &user, 0o700);
        let runtime = self.folder(&format!("{letter}"), &user, 0o700);
        Person { lab: self, user, home, runtime }
    }

    /// The process ids of all that carry this lab's mark, and live.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let wanted = format!("{MARK}={}", self.mark);
        let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
        all.flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes())
            })
            .collect()
    }

    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Twice: what was being started during the first look is found by the second.
        for _ in 0..2 {
            for pid in self.processes() {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        if std::thread::panicking() {
            eprintln!("--- the lab's logs ---");
            print_logs(&self.root, 0);
        }
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Prints every `*.log` below `folder`, for the reader of a failed test.
fn print_logs(folder: &Path, depth: u32) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() && depth < 6 {
            print_logs(&path, depth + 1);
        } else if path.extension() == Some(OsStr::new("log")) {
            let text = fs::read(&path).unwrap_or_default();
            eprintln!("{}:\n{}", path.display(), String::from_utf8_lossy(&text));
        }
    }
}

/// A user at work in a lab.
#[derive(Debug)]
pub struct Person<'lab> {
    lab: &'lab Lab,
    user: User,
    home: PathBuf,
    runtime: PathBuf,
}

impl Person<'_> {
    /// Who he is.
    #[must_use]
    pub fn user(&self) -> &User {
        &self.user
    }

    /// His home in the lab.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// His runtime directory: what `XDG_RUNTIME_DIR` says to his programs.
    #[must_use]
    pub fn runtime(&self) -> &Path {
        &self.runtime
    }

    /// Where his network `name` is published.
    #[must_use]
    pub fn network(&self, name: &str) -> PathBuf {
        self.runtime.join("netherd").join(name)
    }

    /// A program to be started as him.
    pub fn job(&self, program: impl AsRef<OsStr>) -> Job {
        Job::new(program.as_ref())
            .user(self.user.clone())
            .cwd(&self.home)
            .env(MARK, self.lab.mark())
            .env("HOME", &self.home)
            .env("USER", &self.user.name)
            .env("LOGNAME", &self.user.name)
            .env("SHELL", "/bin/sh")
            .env("XDG_RUNTIME_DIR", &self.runtime)
            .env("XDG_STATE_HOME", self.home.join("state"))
    }

    /// The netherd under test, to be started as him.
    pub fn netherd<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Job {
        self.job(crate::binary::netherd()).args(arguments)
    }

    /// Waits until his network `name` publishes `node`, and returns the node's path.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn node(&self, network: &str, node: &str) -> PathBuf {
        let path = self.network(network).join(node);
        until(&format!("the node {}", path.display()), || path.exists().then(|| path.clone()))
    }
}
