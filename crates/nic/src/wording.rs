//! What a library says of a value that it cannot take, in the words of the documentation.
//!
//! # Theory of operation
//!
//! serde tells in one line what it found and what the program wanted, in names of Rust's types: `invalid type: string
//! "x", expected u16`. The lines have few forms ([`Complaint`]), so they are read here, in one place, and told again.
//! What a type of ours wants is said at the type (`expecting`), in words that fit behind "takes".

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Characters of a text that are shown.
const SHOWN: usize = 40;

/// What a library complained of.
#[derive(Debug, PartialEq, Eq)]
enum Complaint<'a> {
    /// One thing is there, and another was expected.
    Other { found: Option<&'a str>, expected: &'a str },
    /// This name is none of the expected ones.
    Unknown { name: &'a str, expected: &'a str },
    /// This one is not there.
    Missing(&'a str),
    /// There are two of it.
    Twice,
    /// Too large for any type.
    Overflow,
    /// Something else: a syntax error, or words of our own.
    Said(&'a str),
}

impl<'a> Complaint<'a> {
    fn read(line: &'a str) -> Self {
        let line = line.trim_end();
        // What is found may be a text that has anything in it, also "expected".
        let parts = |start: &str| line.strip_prefix(start)?.rsplit_once(", expected ");
        if let Some((found, expected)) = parts("invalid type: ").or(parts("invalid value: ")) {
            return Self::Other { found: Some(found), expected };
        }
        if let Some((name, expected)) = parts("unknown field ").or(parts("unknown variant ")) {
            return Self::Unknown { name, expected };
        }
        if let Some(name) = line.strip_prefix("missing field ") {
            return Self::Missing(name);
        }
        if let Some(expected) = line.strip_prefix("expected ") {
            return Self::Other { found: None, expected };
        }
        match line {
            "duplicate key" => Self::Twice,
            "integer number overflowed" | "floating-point number overflowed" => Self::Overflow,
            "wanted string or table" => Self::Other { found: None, expected: "a string" },
            _ => Self::Said(line),
        }
    }
}

/// A fault in a TOML text: `line` is what the library said of the place `span`.
#[must_use]
pub fn of_toml(text: &str, line: &str, span: Option<Range<usize>>) -> String {
    // Where the syntax is wrong there are no values yet.
    let document = DeTable::parse(text).ok();
    let place = document
        .as_ref()
        .zip(span)
        .and_then(|(document, span)| in_table(document.get_ref(), &span));
    let (key, found) = match &place {
        Some((key, value)) => (Some(*key), Some(described(value))),
        None => (None, None),
    };
    told(&Complaint::read(line), "key", key, found)
}

/// A fault in the arguments of a request in JSON.
#[must_use]
pub fn of_json(line: &str) -> String {
    told(&Complaint::read(line), "member", None, None)
}

fn told(complaint: &Complaint<'_>, what: &str, key: Option<&str>, at: Option<String>) -> String {
    match complaint {
        Complaint::Other { found, expected } => {
            let expected = expectation(expected);
            match (key, at.or_else(|| found.map(finding))) {
                (Some(key), Some(found)) => format!("`{key}` takes {expected}, not {found}"),
                (Some(key), None) => format!("`{key}` takes {expected}"),
                (None, Some(found)) => format!("{expected} is expected, not {found}"),
                (None, None) => format!("{expected} is expected"),
            }
        }
        Complaint::Unknown { name, expected } => {
            let there = expected.strip_prefix("one of ").unwrap_or(expected).replace(" or ", ", ");
            let there = match there.rsplit_once(", ") {
                Some((first, last)) => format!("{first} and {last}"),
                None => there,
            };
            format!("there is no {what} {name} here, only {there}")
        }
        Complaint::Missing(name) => format!("the {what} {name} is missing here; add it"),
        Complaint::Twice => format!("this {what} appears twice; keep only one"),
        Complaint::Overflow => match key {
            Some(key) => format!("`{key}` takes no number as large as this; give a smaller one"),
            None => "this number is too large; give a smaller one".to_owned(),
        },
        Complaint::Said(line) => (*line).to_owned(),
    }
}

/// What a type takes.
fn expectation(expected: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => "a whole number that is not negative".to_owned(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" | "a borrowed string" => "a text in quotes".to_owned(),
        "a sequence" => "a list in brackets".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

/// What was found, as serde tells it.
fn finding(found: &str) -> String {
    let quoted = |start: &str| found.strip_prefix(start)?.strip_suffix('`');
    let number = quoted("integer `").or(quoted("floating point `")).or(quoted("boolean `"));
    if let Some(plain) = number {
        return plain.to_owned();
    }
    if let Some(text) = found.strip_prefix("string ") {
        return format!("the text {text}");
    }
    match found {
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        "null" | "unit value" | "Option value" => "nothing".to_owned(),
        other => other.to_owned(),
    }
}

/// The same of a value that is at hand.
fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let more = if text.chars().count() > SHOWN { "..." } else { "" };
            let shown: String = text.chars().take(SHOWN).collect();
            format!("the text {:?}", shown + more)
        }
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(is) => is.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The value at exactly this place, with the key that it belongs to.
fn in_table<'a>(table: &'a DeTable<'_>, span: &Range<usize>) -> Option<(&'a str, &'a DeValue<'a>)> {
    table.iter().find_map(|(key, value)| in_value(key.get_ref(), value, span))
}

fn in_value<'a>(
    key: &'a str,
    value: &'a Spanned<DeValue<'_>>,
    span: &Range<usize>,
) -> Option<(&'a str, &'a DeValue<'a>)> {
    if value.span() == *span {
        return Some((key, value.get_ref()));
    }
    match value.get_ref() {
        DeValue::Table(table) => in_table(table, span),
        DeValue::Array(list) => list.iter().find_map(|one| in_value(key, one, span)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_complaint_is_read() {
        for (line, told) in [
            ("invalid type: integer `5`, expected a string", "a text in quotes is expected, not 5"),
            (
                "invalid type: string \"a, expected b\", expected u16",
                "a whole number from 0 to 65535 is expected, not the text \"a, expected b\"",
            ),
            (
                "invalid value: integer `1099511627776`, expected u32",
                "a whole number from 0 to 4294967295 is expected, not 1099511627776",
            ),
            ("invalid type: null, expected a boolean", "true or false is expected, not nothing"),
            (
                "invalid type: map, expected a sequence",
                "a list in brackets is expected, not a table",
            ),
            ("invalid type: sequence, expected struct Page", "a table is expected, not a list"),
            (
                "unknown field `x`, expected `a` or `b`",
                "there is no member `x` here, only `a` and `b`",
            ),
            (
                "unknown field `x`, expected one of `a`, `b`, `c`",
                "there is no member `x` here, only `a`, `b` and `c`",
            ),
            ("unknown field `x`, expected `a`", "there is no member `x` here, only `a`"),
            ("missing field `to`", "the member `to` is missing here; add it"),
            ("duplicate key", "this member appears twice; keep only one"),
            ("integer number overflowed", "this number is too large; give a smaller one"),
            ("unclosed table, expected `]`", "unclosed table, expected `]`"),
        ] {
            assert_eq!(of_json(line), told);
        }
    }
}
