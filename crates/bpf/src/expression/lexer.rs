//! Text to tokens.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use super::Error;
use super::syntax::Span;

/// One token and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) what: What,
    pub(super) at: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    Number(u32),
    /// Two to four octets; fewer are the first ones.
    V4(Ipv4Addr, u8),
    V6(Ipv6Addr),
    Mac([u8; 6]),
    /// A word of the language, or a name.
    Word(String),
    /// A name that is no word of the language: it had a backslash.
    Escaped(String),
    Sign(Sign),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Colon,
    Not,
    And,
    Or,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Plus,
    Minus,
    Times,
    Slash,
    Percent,
    Ampersand,
    Bar,
    Caret,
    ShiftLeft,
    ShiftRight,
}

impl Sign {
    /// Whether it stands between two numbers and makes a condition of them.
    pub(super) fn compares(self) -> bool {
        matches!(self, Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge)
    }
}

/// Signs, the longer ones first.
const SIGNS: [(&str, Sign); 27] = [
    ("&&", Sign::And),
    ("||", Sign::Or),
    ("==", Sign::Eq),
    ("!=", Sign::Ne),
    ("<=", Sign::Le),
    (">=", Sign::Ge),
    ("<<", Sign::ShiftLeft),
    (">>", Sign::ShiftRight),
    ("<", Sign::Lt),
    (">", Sign::Gt),
    ("=", Sign::Eq),
    ("!", Sign::Not),
    ("(", Sign::Open),
    (")", Sign::Close),
    ("[", Sign::OpenBracket),
    ("]", Sign::CloseBracket),
    (":", Sign::Colon),
    ("+", Sign::Plus),
    ("-", Sign::Minus),
    ("*", Sign::Times),
    ("/", Sign::Slash),
    ("%", Sign::Percent),
    ("&", Sign::Ampersand),
    ("|", Sign::Bar),
    ("^", Sign::Caret),
    // What editors make of them.
    ("\u{2212}", Sign::Minus),
    ("\u{2013}", Sign::Minus),
];

pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Error> {
    let mut tokens = Vec::new();
    // Within brackets a colon stands before a size, elsewhere only in addresses.
    let mut brackets = 0usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let first = rest.chars().next().unwrap_or(' ');
        if first.is_ascii_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (what, len) = if let Some(name) = rest.strip_prefix('\\') {
            let len = word_len(name);
            if len == 0 {
                let why = "a backslash goes before a name, as in \"ip proto \\tcp\"";
                return Err(Error::new(at..at + 1, why));
            }
            (What::Escaped(name.get(..len).unwrap_or_default().into()), len + 1)
        } else if brackets == 0
            && let text = address_like(rest)
            && text.contains(':')
        {
            let whole = address(rest).filter(|(_, len)| *len == text.len());
            whole.ok_or_else(|| colons(text, at))?
        } else if let Some(found) = address(rest) {
            found
        } else if first.is_ascii_alphanumeric() {
            let len = word_len(rest);
            let word = rest.get(..len).unwrap_or_default();
            (number_or_word(word, at)?, len)
        } else {
            match SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)) {
                Some((sign, what)) => {
                    match what {
                        Sign::OpenBracket => brackets += 1,
                        Sign::CloseBracket => brackets = brackets.saturating_sub(1),
                        _ => {}
                    }
                    (What::Sign(*what), sign.len())
                }
                None => return Err(foreign(first, at)),
            }
        };
        tokens.push(Token { what, at: at..at + len });
        at += len;
    }
    Ok(tokens)
}

/// A character that is in no token.
fn foreign(character: char, at: usize) -> Error {
    let code = u32::from(character);
    let what = if character.is_ascii_graphic() {
        alloc::format!("'{character}'")
    } else if character.is_alphanumeric() {
        alloc::format!("'{character}' (U+{code:04X})")
    } else {
        // It may be invisible, or look like another.
        alloc::format!("the character U+{code:04X}")
    };
    let why = alloc::format!("{what} has no meaning in a filter expression");
    Error::new(at..at + character.len_utf8(), why)
}

/// What is written without a space and might have been meant as an address; nothing if it begins
/// as none does.
fn address_like(text: &str) -> &str {
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':') {
        return "";
    }
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.')))
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// What is wrong with an address that has colons and is none.
fn colons(text: &str, at: usize) -> Error {
    let whole = at..at + text.len();
    let groups = text.split(':').count();
    let v6 = text.contains("::") || groups > 7 || text.split(':').any(|group| group.len() == 4);
    let allowed = if v6 { 4 } else { 2 };
    if groups == 2 {
        let why = alloc::format!(
            "\"{text}\" is not an address; except in addresses, a colon is only used within brackets, as in ip[2:2]"
        );
        return Error::new(whole, why);
    }
    let mut start = at;
    for group in text.split(':') {
        let digits = group.bytes().all(|b| b.is_ascii_hexdigit()) && group.len() <= allowed;
        let embedded_v4 = v6 && group.contains('.');
        if !(digits || embedded_v4) {
            let why = if v6 {
                alloc::format!(
                    "\"{group}\" is not a part of an IPv6 address: one to four hexadecimal digits"
                )
            } else {
                alloc::format!(
                    "\"{group}\" is not a byte of a MAC address: one or two hexadecimal digits"
                )
            };
            return Error::new(start..start + group.len(), why);
        }
        start += group.len() + 1;
    }
    let why = if v6 {
        alloc::format!(
            "{text} is not an IPv6 address: it has eight numbers with colons between them, or \"::\" once instead \
            of some"
        )
    } else {
        alloc::format!("{text} is not a MAC address: it has six bytes, as in 02:00:5e:00:53:01")
    };
    Error::new(whole, why)
}

/// Letters, digits and, within, hyphens and underscores; it ends in a letter, a digit or a dot.
fn word_len(text: &str) -> usize {
    let run = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(text.len());
    text.get(..run).map_or(0, |word| word.trim_end_matches(['-', '_']).len())
}

/// An address with colons, hyphens or dots between its parts.
fn address(text: &str) -> Option<(What, usize)> {
    let run = |allowed: fn(char) -> bool| {
        let len = text.find(|c: char| !allowed(c)).unwrap_or(text.len());
        text.get(..len).unwrap_or_default()
    };
    let colons = run(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
    if let Some(mac) = mac_of_bytes(colons, ':') {
        return Some((What::Mac(mac), colons.len()));
    }
    if colons.matches(':').count() >= 2
        && let Ok(v6) = colons.parse::<Ipv6Addr>()
    {
        return Some((What::V6(v6), colons.len()));
    }
    let len = word_len(text);
    let word = text.get(..len)?;
    if let Some(mac) =
        mac_of_bytes(word, '-').or_else(|| mac_of_bytes(word, '.')).or_else(|| mac_of_digits(word))
    {
        return Some((What::Mac(mac), len));
    }
    let mut octets = [0u8; 4];
    let mut count = 0u8;
    for part in word.split('.') {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        *octets.get_mut(usize::from(count)).filter(|_| digits)? = part.parse().ok()?;
        count += 1;
    }
    (count >= 2).then(|| (What::V4(Ipv4Addr::from(octets), count), len))
}

/// `2:0:5e:0:53:1`, with one or two digits a byte.
fn mac_of_bytes(text: &str, separator: char) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(separator);
    for byte in &mut mac {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| !part.starts_with('+'))?;
    }
    parts.next().is_none().then_some(mac)
}

/// `0200.5e00.5301`, or the twelve digits without dots.
fn mac_of_digits(text: &str) -> Option<[u8; 6]> {
    let dots = text.len() == 14
        && text.split('.').count() == 3
        && text.split('.').all(|part| part.len() == 4);
    let digits: String = match text.len() {
        14 if dots => text.chars().filter(|c| *c != '.').collect(),
        12 => text.into(),
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()?;
    value.to_be_bytes().last_chunk().copied()
}

fn number_or_word(word: &str, at: usize) -> Result<What, Error> {
    let hexadecimal = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X"));
    let all_digits = word.bytes().all(|b| b.is_ascii_digit());
    let parsed = if let Some(digits) = hexadecimal.filter(|digits| !digits.is_empty()) {
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(What::Word(word.into()));
        }
        u32::from_str_radix(digits, 16)
    } else if all_digits && word.len() > 1 && word.starts_with('0') {
        u32::from_str_radix(word, 8)
    } else if all_digits {
        word.parse()
    } else {
        return Ok(What::Word(word.to_string()));
    };
    parsed.map(What::Number).map_err(|_| {
        let why = if all_digits && word.starts_with('0') && word.contains(['8', '9']) {
            alloc::format!("{word} is not a number: one that begins with 0 is octal")
        } else {
            alloc::format!("{word} is not a number of 32 bits")
        };
        Error::new(at..at + word.len(), why)
    })
}
