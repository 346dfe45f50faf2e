//! How a command gets a running hypervisor: it connects, or starts one and connects.
//!
//! # Theory of operation
//!
//! The daemon is this program again (`/proc/self/exe up --detached`), so there is nothing to install. Its
//! standard output is a pipe to us; it moves to the background (own session, no terminal, directory `/`, all
//! descriptors but its own closed) and writes one line when the network can be used, or the sentence why not.
//!
//! Races: whoever holds the lock in the network's directory serves it. Of two first users that start a daemon
//! at the same time, one's daemon finds the lock held, says so on its pipe and ends without another word;
//! both users then connect to the one that serves. A daemon that is just ending still holds its lock for a
//! moment; the same retries cover it.

use std::ffi::CStr;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::api::client::{Client, ClientError};
use crate::api::message::{Call, Nothing, Restart};
use crate::directory::{self, DirectoryError};

/// What ps(1) calls a hypervisor or keeper in the background. By its file it would be `exe`: it may have been started by
/// `/proc/self/exe`.
pub const PROCESS_NAME: &CStr = c"netherd";

/// How long a start may take in all.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two tries to connect while another daemon starts or ends.
const RETRY: Duration = Duration::from_millis(2);
/// So long the holder of the lock is given to serve before another daemon is tried.
const HOLDER_PATIENCE: Duration = Duration::from_millis(100);

/// How a daemon is started when none serves the network.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// The network stays when its last guest has gone.
    pub stay: bool,
    /// How long after the last guest until the daemon ends; the default is [`crate::config::IDLE_TIMEOUT`].
    pub idle_timeout: Option<Duration>,
    /// Group of the directory and its nodes, by name or number.
    pub group: Option<String>,
    /// Mode of the nodes.
    pub mode: Option<u32>,
    /// The way out of the network, in the words of the configuration.
    pub uplink: Option<String>,
    /// Where the daemon logs; by default [`directory::log_path`].
    pub log: Option<PathBuf>,
    /// The program to start instead of this one: for tests.
    pub program: Option<PathBuf>,
}

impl From<&Restart> for StartOptions {
    /// The network as it was.
    fn from(restart: &Restart) -> Self {
        Self {
            stay: restart.stay,
            // A duration that cannot be is none of ours.
            idle_timeout: restart.idle.and_then(|idle| Duration::try_from_secs_f64(idle).ok()),
            group: restart.group.clone(),
            mode: restart.mode,
            uplink: restart.uplink.clone(),
            ..Self::default()
        }
    }
}

/// Why there is no hypervisor to talk to.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("The hypervisor for network {network} could not be started: {source}.")]
    Spawn { network: String, source: std::io::Error },
    /// The daemon's own sentence.
    #[error("{sentence}")]
    Failed { sentence: String },
    #[error(
        "The hypervisor for network {network} ended while it started and said nothing; its log {log} may tell \
         more."
    )]
    Silent { network: String, log: PathBuf },
    #[error("Something holds {lock} but does not answer{holder}: end it (kill), then try again.")]
    Stuck { lock: PathBuf, holder: String },
}

/// What a starting daemon says on its pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The network can be used.
    Ready,
    /// Another daemon holds the directory; its process number when it is known.
    Held(Option<u32>),
    /// The sentence why not.
    Failed(String),
}

impl Readiness {
    /// The line for the pipe.
    #[must_use]
    pub fn to_line(&self) -> String {
        match self {
            Self::Ready => "ready\n".to_owned(),
            Self::Held(Some(pid)) => format!("held {pid}\n"),
            Self::Held(None) => "held\n".to_owned(),
            Self::Failed(sentence) => format!("failed {}\n", sentence.replace('\n', "\t")),
        }
    }

    /// Reads the line; `None` when it is none of ours.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Self> {
        let line = line.trim_end_matches('\n');
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ready", _) => Some(Self::Ready),
            ("held", pid) => Some(Self::Held(pid.parse().ok())),
            ("failed", sentence) => Some(Self::Failed(sentence.replace('\t', "\n"))),
            _ => None,
        }
    }
}

/// Connects to the hypervisor that serves `net`, and starts one if there is none.
///
/// # Errors
/// A sentence that says what is in the way: of the directory, of the daemon, or of the connection.
pub fn connect_or_start(
    net: &str,
    dir: Option<&Path>,
    opts: &StartOptions,
) -> Result<Client, StartError> {
    let path = directory::resolve(net, dir)?;
    let deadline = Instant::now() + START_TIMEOUT;
    let mut held = None;
    let mut next_start = Instant::now();
    loop {
        let connected = try_connect(&path).and_then(|mut client| {
            if opts.stay {
                client.call::<Nothing>(&Call::Stay { stay: true }, &[])?;
            }
            Ok(client)
        });
        match connected {
            Ok(client) => return Ok(client),
            Err(ClientError::NotServed { .. } | ClientError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let now = Instant::now();
        if now >= deadline {
            let holder = held.map(|pid| format!(" (process {pid})")).unwrap_or_default();
            return Err(StartError::Stuck { lock: path.join("lock"), holder });
        }
        if now < next_start {
            std::thread::sleep(RETRY);
            continue;
        }
        match start(net, dir, opts)? {
            Readiness::Ready => {}
            Readiness::Held(pid) => {
                held = pid;
                next_start = Instant::now() + HOLDER_PATIENCE;
            }
            Readiness::Failed(sentence) => return Err(StartError::Failed { sentence }),
        }
    }
}

/// Connects to the hypervisor that serves `net` and starts none: for a network that only its owner can start as it
/// was.
///
/// # Errors
/// [`ClientError::NotServed`] or [`ClientError::Gone`] while nobody serves it.
pub fn connect(net: &str, dir: Option<&Path>) -> Result<Client, StartError> {
    Ok(try_connect(&directory::resolve(net, dir)?)?)
}

/// A connection whose other side has accepted it: one that only waits in the queue of a daemon that is ending
/// is closed before it answers.
fn try_connect(path: &Path) -> Result<Client, ClientError> {
    let mut client = Client::connect(path)?;
    client.hello()?;
    Ok(client)
}

/// Starts a daemon and waits for its word.
fn start(net: &str, dir: Option<&Path>, opts: &StartOptions) -> Result<Readiness, StartError> {
    let failed = |source| StartError::Spawn { network: net.to_owned(), source };
    let program = opts.program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    let log = opts.log.clone().or_else(|| directory::log_path(net));
    let mut command = Command::new(program);
    command.arg0("netherd").args(["up", "--detached", "--ready-fd", "1"]);
    if let Some(dir) = dir {
        // The daemon leaves our directory.
        command.arg("--dir").arg(std::path::absolute(dir).map_err(failed)?);
    }
    if let Some(group) = &opts.group {
        command.arg("--group").arg(group);
    }
    if let Some(mode) = opts.mode {
        command.arg("--mode").arg(format!("{mode:o}"));
    }
    if let Some(uplink) = &opts.uplink {
        command.arg("--uplink").arg(uplink);
    }
    if !opts.stay {
        let idle = opts.idle_timeout.unwrap_or(crate::config::IDLE_TIMEOUT);
        command.arg("--idle").arg(idle.as_secs_f64().to_string());
    }
    if let Some(log) = &log {
        command.arg("--log").arg(log);
    }
    command.arg("--").arg(net);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(pipe) = child.stdout.take() {
        pipe.take(64 * 1024).read_to_string(&mut line).map_err(failed)?;
    }
    // The child has forked the daemon and ended, so this does not wait for the daemon.
    let _status = child.wait().map_err(failed)?;
    Readiness::from_line(&line).ok_or_else(|| StartError::Silent {
        network: net.to_owned(),
        log: log.unwrap_or_else(|| PathBuf::from("/dev/null")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_of_a_daemon_survives_the_pipe() {
        for word in [
            Readiness::Ready,
            Readiness::Held(Some(42)),
            Readiness::Held(None),
            Readiness::Failed("two\nlines, and what to do".to_owned()),
        ] {
            assert_eq!(Readiness::from_line(&word.to_line()), Some(word));
        }
        assert_eq!(Readiness::from_line(""), None);
        assert_eq!(Readiness::from_line("panicked at"), None);
    }
}
