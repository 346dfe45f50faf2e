//! The daemon: composition of everything that serves networks.

pub mod log;

use std::path::PathBuf;
use std::time::Duration;

/// What `netherd up` was asked to do.
#[derive(Debug, Default)]
pub struct Options {
    /// The network to serve; else those of the configuration, else `default`.
    pub network: Option<String>,
    /// The configuration file; an absolute path.
    pub config: Option<PathBuf>,
    /// Publish the one network here.
    pub dir: Option<PathBuf>,
    /// Group of the directory and its nodes, by name or number.
    pub group: Option<String>,
    /// Mode of the nodes.
    pub mode: Option<u32>,
    /// End after this long without guests; `None` stays.
    pub idle: Option<Duration>,
    /// Leave the caller's terminal, session, directory and descriptors.
    pub detached: bool,
    /// Number of the descriptor that gets the word of [`crate::start::Readiness`].
    pub ready_fd: Option<i32>,
    /// Log file, in place of standard error.
    pub log: Option<PathBuf>,
}

/// Why the daemon did not start, or ended other than by request.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Directory(#[from] crate::directory::DirectoryError),
    /// A sentence, with the place in the file where there is one.
    #[error("{0}")]
    Config(String),
    #[error("{what} failed: {source}.")]
    Io { what: &'static str, source: std::io::Error },
}

/// Serves until a signal, `down`, or the idle time ends it. Reports readiness, or the reason for failing, on
/// `ready_fd` and to systemd.
///
/// # Errors
/// A sentence; it was also written to the readiness descriptor.
pub fn serve(options: Options) -> Result<(), ServeError> {
    let _ = options;
    Err(ServeError::Config("The daemon is not composed yet.".to_owned()))
}
