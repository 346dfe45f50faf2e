//! How a command fails: the sentence on standard error and the exit status.

use std::fmt;
use std::process::ExitCode;

/// Exit status of a command that failed, unless it says otherwise.
pub const FAILED: u8 = 1;
/// `run` and `exec`: we failed before the command could start (as `env` and `chroot` have it).
pub const NOT_STARTED: u8 = 125;
/// `run` and `exec`: the command was found but could not be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// `run` and `exec`: the command was not found.
pub const NOT_FOUND: u8 = 127;

/// An error with an exit status of its own.
///
/// It prints as the error inside it.
#[derive(Debug)]
pub struct Failure {
    status: u8,
    error: anyhow::Error,
}

impl Failure {
    /// Makes `error` end the program with `status`.
    pub fn new(status: u8, error: impl Into<anyhow::Error>) -> Failure {
        Failure { status, error: error.into() }
    }

    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Whoever read our standard output has closed it: `netherd show | head -1`. This ends the
/// command, but is nothing to complain about.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of standard output is gone")
    }
}

impl std::error::Error for ReaderGone {}

/// Prints `error` and what caused it as one `netherd: sentence` on standard error, and says with
/// which status to exit.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<ReaderGone>().is_some() {
        return ExitCode::SUCCESS;
    }
    super::note(&sentence(error));
    ExitCode::from(status(error))
}

/// The status that `error` asks for.
pub fn status(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(FAILED, Failure::status)
}

/// The chain of causes as one sentence, outermost first: with a capital, unless it begins with a
/// path, a quote or the like, and with a full stop, unless an excerpt of several lines follows.
///
/// Library errors often repeat their cause in their own text; what has been said is not said
/// twice.
pub fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let part = cause.to_string();
        if text.is_empty() {
            text = part;
        } else if !text.contains(part.trim_end_matches('.')) {
            text.truncate(text.trim_end_matches('.').len());
            text.push_str(": ");
            text.push_str(&part);
        }
    }
    finished(&text)
}

/// Our own errors are sentences already; those of libraries and of the system are not.
pub(super) fn finished(text: &str) -> String {
    let mut letters = text.chars();
    let first_word = text.split(char::is_whitespace).next().unwrap_or_default();
    let is_word = first_word.trim_end_matches([':', ',']).chars().all(char::is_alphabetic);
    let mut sentence = match letters.next() {
        Some(first) if is_word && first.is_lowercase() && first_word != "netherd" => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    };
    if !sentence.contains('\n') && !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn a_chain_is_one_line_without_repetition() {
        let inner = io::Error::new(io::ErrorKind::NotFound, "no such file");
        let error = anyhow::Error::new(inner)
            .context("cannot open a.toml: no such file")
            .context("cannot read the configuration");
        assert_eq!(
            sentence(&error),
            "Cannot read the configuration: cannot open a.toml: no such file."
        );
    }

    #[test]
    fn a_full_stop_does_not_end_a_sentence_that_goes_on() {
        let error = anyhow!("The file is not there.").context("Cannot read it.");
        assert_eq!(sentence(&error), "Cannot read it: The file is not there.");
    }

    #[test]
    fn a_failure_keeps_its_status_under_context_and_its_text_alone() {
        let error = anyhow::Error::new(Failure::new(NOT_FOUND, anyhow!("`frob` was not found")));
        assert_eq!(status(&error), 127);
        assert_eq!(sentence(&error), "`frob` was not found.");

        let deep: anyhow::Result<()> = Err(error);
        let error = deep.context("in guest web").unwrap_err();
        assert_eq!(status(&error), 127);
        assert_eq!(sentence(&error), "In guest web: `frob` was not found.");
    }

    #[test]
    fn every_error_becomes_a_sentence() {
        for (text, expected) in [
            ("permission denied", "Permission denied."),
            ("There is no port.", "There is no port."),
            ("/etc/passwd: is a file", "/etc/passwd: is a file."),
            ("netherd.toml:2:3: no key", "netherd.toml:2:3: no key."),
            ("--ipv4 is for one port", "--ipv4 is for one port."),
            ("`frob` failed", "`frob` failed."),
            ("éa va", "Éa va."),
            ("netherd cannot", "netherd cannot."),
            ("what now?", "What now?"),
            ("it makes no sense:\n  x\n  ^", "It makes no sense:\n  x\n  ^"),
            ("", "."),
        ] {
            assert_eq!(sentence(&anyhow!(text.to_owned())), expected);
        }
    }

    #[test]
    fn other_errors_are_status_1() {
        assert_eq!(status(&anyhow!("x")), FAILED);
    }
}
