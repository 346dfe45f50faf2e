//! The one command of netherd, a network hypervisor for ordinary users.
//!
//! [`cli`] says what can be typed, [`command`] has one module for each subcommand, [`output`]
//! what they print with, and [`sandbox`] makes the namespaces that `run`, `exec` and `attach`
//! need. The hypervisor itself is in the crates `host` and `engine`.

#![forbid(unsafe_code)]

pub mod cli;
pub mod command;
pub mod output;
pub mod sandbox;

use std::process::ExitCode;

use clap::Parser;

/// Parses the command line, runs the command and maps its outcome to an exit status.
///
/// Errors are printed here and nowhere else.
pub fn main() -> ExitCode {
    let parsed = match cli::Cli::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    match command::dispatch(parsed.command) {
        Ok(status) => status,
        Err(error) => output::failure::report(&error),
    }
}

/// Prints help where it was asked for (status 0), or what is wrong with the command line (2).
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // clap says `error:`; like all our errors, this one begins with who speaks.
    let text = error.render().to_string();
    output::note(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(2)
}
