//! Colours, which only terminals get, and only where nobody said `NO_COLOR`.

use std::env;
use std::io::IsTerminal;

/// How a word is to stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accent {
    /// As it is
    Plain,
    /// Headings
    Bold,
    /// Of less interest
    Dim,
    /// Works
    Good,
    /// Works in part
    Warning,
    /// Does not work
    Bad,
}

impl Accent {
    /// The SGR parameter of ECMA-48, 8.3.117.
    fn code(self) -> Option<u8> {
        match self {
            Accent::Plain => None,
            Accent::Bold => Some(1),
            Accent::Dim => Some(2),
            Accent::Good => Some(32),
            Accent::Warning => Some(33),
            Accent::Bad => Some(31),
        }
    }
}

/// Whether accents become escape sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// No escape sequences, for files and tests.
    pub const PLAIN: Style = Style { colours: false };
    /// Always escape sequences.
    pub const COLOURED: Style = Style { colours: true };

    /// What standard output and the environment allow.
    pub fn of_stdout() -> Style {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_none_or(|term| term == "dumb");
        Style { colours: std::io::stdout().is_terminal() && !refused && !dumb }
    }

    /// `text` with `accent`, if this style has any.
    pub fn paint(self, accent: Accent, text: &str) -> String {
        match accent.code() {
            Some(code) if self.colours => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}
