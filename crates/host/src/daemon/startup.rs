//! Becoming a daemon: leaving the caller, the log, sockets that systemd holds, and the word that all is ready.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use sd_notify::NotifyState;
use sys::service::Manager;

use super::{Options, ServeError};
use crate::directory;
use crate::log;
use crate::start::{PROCESS_NAME, Readiness};

/// A log that has grown beyond this is begun anew when a daemon starts; the old one is kept as `.old`.
const LOG_MAX: u64 = 1 << 20;

/// What exists only until the daemon is ready.
#[derive(Debug, Default)]
pub(super) struct Startup {
    ready: Option<File>,
    /// Sockets that systemd holds for us, by their path.
    sockets: BTreeMap<PathBuf, OwnedFd>,
    /// The network is what a guest that needs it starts: in the background, without a configuration.
    on_demand: bool,
}

impl Startup {
    /// Takes what the caller gave, and leaves the caller if asked to.
    pub(super) fn begin(options: &Options) -> Result<Self, ServeError> {
        let failed = |what| move |source| ServeError::Io { what, source };
        let ready = match options.ready_fd {
            Some(number) => {
                let fd = sys::detach::adopt(number)
                    .map_err(failed("Taking the descriptor for readiness"))?;
                Some(File::from(fd))
            }
            None => None,
        };
        let on_demand = options.detached && options.config.is_none();
        let mut startup = Self { ready, sockets: given_sockets(), on_demand };
        let begun = startup.leave_caller(options);
        if let Err(error) = &begun {
            startup.say(&Readiness::Failed(error.to_string()));
        }
        begun.map(|()| startup)
    }

    fn leave_caller(&mut self, options: &Options) -> Result<(), ServeError> {
        let failed = |what| move |source| ServeError::Io { what, source };
        let log = match &options.log {
            Some(path) => open_log(path),
            None => None,
        };
        if options.detached {
            let keep: Vec<BorrowedFd<'_>> = self
                .ready
                .iter()
                .map(AsFd::as_fd)
                .chain(self.sockets.values().map(AsFd::as_fd))
                .chain(log.iter().map(AsFd::as_fd))
                .collect();
            sys::detach::close_all_but(&keep)
                .map_err(failed("Closing the caller's descriptors"))?;
            sys::detach::into_background().map_err(failed("Moving to the background"))?;
            sys::process::set_name(PROCESS_NAME).map_err(failed("Naming the process"))?;
            sys::detach::replace_standard_streams(log.as_ref().map(AsFd::as_fd))
                .map_err(failed("Replacing the standard streams"))?;
        } else if let Some(log) = &log {
            sys::detach::replace_standard_error(log.as_fd())
                .map_err(failed("Replacing standard error"))?;
        }
        Ok(())
    }

    /// The sockets that systemd holds in a directory, by the names of their nodes.
    pub(super) fn sockets_in(&mut self, directory: &Path) -> BTreeMap<String, OwnedFd> {
        let mut found = BTreeMap::new();
        let paths: Vec<PathBuf> = self.sockets.keys().cloned().collect();
        for path in paths {
            let Ok(node) = path.strip_prefix(directory) else { continue };
            if let (Some(node), Some(socket)) = (node.to_str(), self.sockets.remove(&path)) {
                found.insert(node.to_owned(), socket);
            }
        }
        found
    }

    /// Whether whoever needs the network may start it again as it is.
    pub(super) fn is_on_demand(&self) -> bool {
        self.on_demand
    }

    fn say(&mut self, word: &Readiness) {
        if let Some(mut ready) = self.ready.take() {
            // Whoever asked may have gone; the daemon serves on.
            let _gone = ready.write_all(word.to_line().as_bytes());
        }
    }

    /// All networks can be used.
    pub(super) fn ready(mut self) {
        self.say(&Readiness::Ready);
        notify(&[NotifyState::Ready]);
        for path in self.sockets.keys() {
            log::warn(&format!(
                "The socket {} that systemd holds belongs to no network of this daemon; it is closed.",
                path.display()
            ));
        }
    }

    /// The daemon does not start.
    pub(super) fn failed(mut self, error: &ServeError) {
        let word = match error {
            ServeError::Directory(directory::DirectoryError::Held { pid, .. }) => {
                Readiness::Held(*pid)
            }
            error => Readiness::Failed(error.to_string()),
        };
        self.say(&word);
    }
}

/// Tells systemd, where it is there to be told.
pub(super) fn notify(state: &[NotifyState<'_>]) {
    if let Some(manager) = Manager::of_process() {
        manager.tell(&state.iter().map(|it| format!("{it}\n")).collect::<String>());
    }
}

/// Opens the log. A log that cannot be opened is no reason not to serve.
fn open_log(path: &Path) -> Option<File> {
    if path.metadata().is_ok_and(|about| about.len() > LOG_MAX) {
        // It is closed to others before it is kept.
        let _closed = directory::open_log(path);
        let mut old = path.as_os_str().to_owned();
        old.push(".old");
        let _kept_long = std::fs::rename(path, old);
    }
    match directory::open_log(path) {
        Ok(log) => Some(log),
        Err(error) => {
            log::warn(&format!("The log {} cannot be opened: {error}.", path.display()));
            None
        }
    }
}

/// Sockets of a socket unit (sd_listen_fds(3)), told apart by the paths they are bound to.
fn given_sockets() -> BTreeMap<PathBuf, OwnedFd> {
    let mut sockets = BTreeMap::new();
    let Ok(numbers) = sd_notify::listen_fds() else { return sockets };
    for number in numbers {
        let Ok(socket) = sys::detach::adopt(number) else { continue };
        let listener = UnixListener::from(socket);
        let path = listener.local_addr().ok().and_then(|it| it.as_pathname().map(PathBuf::from));
        if let Some(path) = path
            && listener.set_nonblocking(true).is_ok()
        {
            sockets.insert(path, listener.into());
        }
    }
    sockets
}
