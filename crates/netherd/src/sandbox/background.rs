//! Leaving a guest running: a keeper in the background plays `run`, and tells when the guest runs.
//!
//! The keeper is a fork of the command, in a session of its own. Until it is ready it can still print on
//! the caller's terminal; errors go through a pipe, so that the command fails as it does in the foreground.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use sys::ns::{Forked, Namespaces, Parenthood};

use super::front::Front;
use crate::output;
use crate::output::failure::{self, Failure, NOT_STARTED};

/// The keeper's way back to the command that the user waits for.
#[derive(Debug)]
pub struct Ready(File);

impl Ready {
    /// Leaves the caller's standard streams; output of the guest's command goes to a file beside the
    /// network's log.
    pub fn leave_caller(&self, net: &str, guest: &str) -> anyhow::Result<()> {
        let log = host::directory::log_path(net)
            .map(|path| path.with_file_name(format!("{net}.{guest}.log")))
            .and_then(|path| host::directory::open_log(&path).ok());
        let log = log.as_ref().map(AsFd::as_fd);
        sys::detach::replace_standard_streams(log).context("the terminal cannot be left")?;
        if let Some(log) = log {
            sys::process::replace_stream(log, 1).context("the terminal cannot be left")?;
        }
        Ok(())
    }

    fn tell(mut self, line: &str) {
        // The user may have gone; the guest is not worse for it.
        let _ = self.0.write_all(line.as_bytes());
    }
}

/// Runs `start` in a keeper. The command ends when the guest runs, with its name on standard output, or
/// with the keeper's error.
pub fn start(
    start: impl FnOnce(&Ready) -> anyhow::Result<(Front, String)>,
) -> anyhow::Result<ExitCode> {
    keep(NOT_STARTED, |ready| {
        let (mut front, name) = start(ready)?;
        front.ends_with_network = true;
        Ok((name, move || {
            // The guest's directory is its own; the keeper must not hold one busy.
            let _ = sys::process::set_directory(Path::new("/"));
            let _ended = front.attend();
        }))
    })
}

/// Runs `start` in a keeper, and then what it returned until that ends. The command prints the keeper's
/// line; an error without a status of its own gives `failed`.
pub fn keep<K: FnOnce()>(
    failed: u8,
    start: impl FnOnce(&Ready) -> anyhow::Result<(String, K)>,
) -> anyhow::Result<ExitCode> {
    let (read, write) = sys::process::pipe().context("the keeper cannot be reached")?;
    match sys::ns::fork(Namespaces::NONE, Parenthood::Own)
        .context("the keeper cannot be started")?
    {
        Forked::Child => {
            drop(read);
            let _ = sys::process::new_session();
            let _ = sys::process::set_name(host::start::PROCESS_NAME);
            let ready = Ready(write.into());
            match start(&ready) {
                Ok((line, keeping)) => {
                    ready.tell(&format!("ok {line}"));
                    keeping();
                    sys::process::exit_now(0)
                }
                Err(error) => {
                    let status = match failure::status(&error) {
                        failure::FAILED => failed,
                        status => status,
                    };
                    ready.tell(&format!("{status} {}", failure::sentence(&error)));
                    sys::process::exit_now(i32::from(status))
                }
            }
        }
        Forked::Parent(_) => {
            drop(write);
            let mut said = String::new();
            File::from(read).read_to_string(&mut said).context("the keeper cannot be read")?;
            match said.split_once(' ') {
                Some(("ok", "")) => Ok(ExitCode::SUCCESS),
                Some(("ok", line)) => {
                    output::print(&format!("{line}\n"))?;
                    Ok(ExitCode::SUCCESS)
                }
                Some((status, sentence)) => Err(Failure::new(
                    status.parse().unwrap_or(NOT_STARTED),
                    anyhow!(sentence.to_owned()),
                )
                .into()),
                None => Err(Failure::new(
                    NOT_STARTED,
                    anyhow!(
                        "the keeper ended without a word; try again without --detach to see more"
                    ),
                )
                .into()),
            }
        }
    }
}
