//! Why a call failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a call failed: one word for programs, one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub code: Code,
    /// What, where, and what to do now.
    pub message: String,
}

impl Failure {
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The line is no request of this interface.
    BadRequest,
    /// The request names another version.
    BadVersion,
    /// An argument cannot be what it is.
    BadArgument,
    /// The caller may not do this.
    NotAllowed,
    NameTaken,
    NoSuchGuest,
    NoSuchPort,
    /// No such forward, route or other thing.
    NoSuchThing,
    /// A port of the host cannot be had: it is taken, or the user may not have it.
    PortTaken,
    /// The call does not fit the session's state, such as `link` before `join`.
    WrongState,
    /// A limit is reached.
    Limit,
    /// The configuration is wrong; nothing was changed.
    BadConfiguration,
    /// The system refused something.
    System,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}
