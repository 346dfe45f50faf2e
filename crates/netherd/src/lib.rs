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
pub mod subordinate;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Parses the command line, runs the command and maps its outcome to an exit status.
///
/// Errors are printed here and nowhere else.
pub fn main() -> ExitCode {
    let parsed = match cli::Cli::try_parse_from(asked(std::env::args_os().collect())) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error),
    };
    match command::dispatch(parsed.command) {
        Ok(status) => status,
        Err(error) => output::failure::report(&error),
    }
}

/// `netherd help run`, which other programs have taught people, is `netherd run --help`.
fn asked(mut words: Vec<OsString>) -> Vec<OsString> {
    if words.get(1).is_some_and(|word| word == "help") {
        words.remove(1);
        words.push("--help".into());
    }
    words
}

/// Prints help where it was asked for (status 0), or what is wrong with the command line (2).
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Help that nobody reads to its end is no failure, and help that cannot be written is one.
        return match output::written(error.print()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output::failure::report(&error),
        };
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Help as well, but nobody asked for it.
        let _ = error.print();
        return ExitCode::from(2);
    }
    // clap says `error:`; like all our errors, this one begins with who speaks.
    let text = error.render().to_string();
    output::note(text.strip_prefix("error: ").unwrap_or(&text).trim_end());
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_is_a_word_as_well_as_an_option() {
        for (typed, meant) in [
            ("netherd help", "netherd --help"),
            ("netherd help run", "netherd run --help"),
            ("netherd help publish add", "netherd publish add --help"),
            ("netherd run help", "netherd run help"),
            ("netherd", "netherd"),
        ] {
            let words = typed.split(' ').map(OsString::from).collect();
            assert_eq!(asked(words), meant.split(' ').map(OsString::from).collect::<Vec<_>>());
        }
    }
}
