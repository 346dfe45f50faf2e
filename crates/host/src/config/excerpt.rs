//! Errors in a configuration, with the place shown.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 120;

/// What is wrong in a configuration, and where. Its text is
///
/// ```text
/// netherd.toml:3:1: There is no key `mtuu` here, only `dir`, `group`, ...
///   3 | mtuu = 1500
///     | ^^^^
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: PathBuf,
    place: Option<Place>,
    why: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    text: String,
    /// Characters to underline, at least one.
    width: usize,
}

impl ConfigError {
    /// An error that concerns the file as a whole.
    pub(crate) fn whole(path: &Path, why: impl Into<String>) -> Self {
        Self { path: path.to_owned(), place: None, why: begun(&why.into()) }
    }

    /// An error at a range of bytes of `text`.
    pub(crate) fn at(path: &Path, text: &str, span: Option<Range<usize>>, why: &str) -> Self {
        let place = span.map(|span| Place::of(text, span));
        Self { path: path.to_owned(), place, why: begun(why.trim_end()) }
    }

    /// Line and column, from 1, where the error has a place.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        self.place.as_ref().map(|place| (place.line, place.column))
    }

    /// What is wrong.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

/// A sentence begins with a capital, unless it begins with what somebody wrote: a quoted text, an address, a number.
fn begun(why: &str) -> String {
    let word = why.split(' ').next().unwrap_or_default().trim_end_matches(',');
    let mut letters = why.chars();
    match letters.next() {
        Some(first) if word.chars().all(|c| c.is_ascii_lowercase()) => {
            first.to_uppercase().chain(letters).collect()
        }
        _ => why.to_owned(),
    }
}

impl Place {
    fn of(text: &str, span: Range<usize>) -> Self {
        let boundary = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(span.start);
        let end = boundary(span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let width = text[start..end.clamp(start, line_end)].chars().count();
        Self {
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            text: text[line_start..line_end].trim_end().to_owned(),
            width: width.max(1),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let Some(place) = &self.place else { return write!(f, "{path}: {}", self.why) };
        write!(f, "{path}:{}:{}: {}", place.line, place.column, self.why)?;
        let number = place.line.to_string();
        let skip = place.column.saturating_sub(SHOWN / 2);
        // Tabs would move the caret away from its place; other control characters have none in a terminal.
        let shown: String = place
            .text
            .chars()
            .skip(skip)
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let before = " ".repeat(place.column - 1 - skip);
        let caret = "^".repeat(place.width.min(SHOWN));
        let margin = " ".repeat(number.len());
        write!(f, "\n  {number} | {shown}\n  {margin} | {before}{caret}")
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_a_capital_and_what_was_written_keeps_its_form() {
        for (why, begins) in [
            ("it is empty", "It is empty"),
            ("choose, or leave it", "Choose, or leave it"),
            ("`mtu` takes", "`mtu` takes"),
            ("\"x\" is none", "\"x\" is none"),
            ("fe80::1 is none", "fe80::1 is none"),
            ("udp/53:a:1 and", "udp/53:a:1 and"),
            ("web-2 is", "web-2 is"),
            ("MTU", "MTU"),
            ("", ""),
        ] {
            assert_eq!(begun(why), begins);
        }
    }

    fn shown(text: &str, span: Range<usize>) -> String {
        ConfigError::at(Path::new("f.toml"), text, Some(span), "why").to_string()
    }

    #[test]
    fn the_place_is_underlined() {
        assert_eq!(shown("a = 1\nbc = 2\n", 6..8), "f.toml:2:1: Why\n  2 | bc = 2\n    | ^^");
        assert_eq!(shown("a = 1", 4..5), "f.toml:1:5: Why\n  1 | a = 1\n    |     ^");
    }

    #[test]
    fn any_span_is_shown_somewhere() {
        assert_eq!(shown("", 0..0), "f.toml:1:1: Why\n  1 | \n    | ^");
        assert_eq!(shown("é = 1", 1..99), "f.toml:1:1: Why\n  1 | é = 1\n    | ^^^^^");
        assert_eq!(shown("a\n", 99..100), "f.toml:2:1: Why\n  2 | \n    | ^");
        assert_eq!(shown("\ta\nb", 1..4), "f.toml:1:2: Why\n  1 |  a\n    |  ^");
        let long = format!("{} = 1", "x".repeat(1000));
        assert!(shown(&long, 900..901).len() < 400);
        assert_eq!(ConfigError::whole(Path::new("f.toml"), "why").to_string(), "f.toml: Why");
    }
}
