//! Domain names (RFC 1035, 3.1), in lower case.

use std::fmt;

/// Longest name in the message, root label included.
const NAME_MAX: usize = 255;
/// Longest label.
const LABEL_MAX: usize = 63;

/// A name in lower case, as it stands in messages: each label behind its length, and a zero.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

impl Name {
    /// The root, a name without labels.
    #[must_use]
    pub fn root() -> Self {
        Self(vec![0])
    }

    /// Reads the name that begins `bytes`, without following pointers: what begins a question can
    /// point to nothing. Also gives the bytes it takes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut at = 0;
        loop {
            let len = usize::from(*bytes.get(at)?);
            at += 1 + len;
            if len == 0 {
                break;
            }
            if len > LABEL_MAX || at >= NAME_MAX {
                return None;
            }
        }
        // Lengths are below 64, and 'A' is 65: only letters change.
        Some((Self(bytes.get(..at)?.to_ascii_lowercase()), at))
    }

    /// The name of these labels, the nearest to the root last.
    ///
    /// `None` if a label is empty or too long, or all together are.
    #[must_use]
    pub fn of<'a>(labels: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut wire = Vec::new();
        for label in labels {
            let len = u8::try_from(label.len()).ok()?;
            if len == 0 || label.len() > LABEL_MAX {
                return None;
            }
            wire.push(len);
            wire.extend_from_slice(label.to_ascii_lowercase().as_bytes());
        }
        wire.push(0);
        (wire.len() <= NAME_MAX).then_some(Self(wire))
    }

    /// The name that people write with dots. A dot at the end changes nothing.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() { Some(Self::root()) } else { Self::of(text.split('.')) }
    }

    /// As it stands in a message.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels, the nearest to the root last.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (&len, behind) = rest.split_first()?;
            let label = behind.get(..usize::from(len)).filter(|label| !label.is_empty())?;
            rest = behind.get(usize::from(len)..)?;
            Some(label)
        })
    }

    /// How many labels it has; the root has none.
    #[must_use]
    pub fn count(&self) -> usize {
        self.labels().count()
    }

    /// The labels below `zone`, of a name in it; none for the zone itself. `None` for a name that
    /// is elsewhere.
    #[must_use]
    pub fn below(&self, zone: &Name) -> Option<Vec<&[u8]>> {
        let mine: Vec<&[u8]> = self.labels().collect();
        let theirs: Vec<&[u8]> = zone.labels().collect();
        let own = mine.len().checked_sub(theirs.len())?;
        let (below, at) = mine.split_at(own);
        (at == theirs).then(|| below.to_vec())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dot = "";
        for label in self.labels() {
            write!(f, "{dot}{}", label.escape_ascii())?;
            dot = ".";
        }
        if dot.is_empty() { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn text_and_wire_are_the_same_name() {
        let web = name("Web.Default.internal.");
        assert_eq!(web.wire(), b"\x03web\x07default\x08internal\x00");
        assert_eq!(web.to_string(), "web.default.internal");
        assert_eq!(web.count(), 3);
        let mut message = b"\x03wEB\x07dEfaulT\x08INTERNAL\x00".to_vec();
        message.extend_from_slice(b"behind");
        assert_eq!(Name::parse(&message), Some((web, 22)));
        assert_eq!(name(".").to_string(), ".");
        assert_eq!(Name::root(), name(""));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        assert_eq!(Name::parse(b""), None);
        assert_eq!(Name::parse(b"\x03we"), None);
        assert_eq!(Name::parse(b"\x03web"), None, "no root label");
        assert_eq!(Name::parse(b"\xc0\x0c"), None, "a pointer");
        assert_eq!(Name::parse(&[b"\x40".as_slice(), &[b'a'; 64], b"\0"].concat()), None);
        let longest = [[3, b'a', b'b', b'c'].repeat(63).as_slice(), b"\x01x\x00"].concat();
        assert_eq!(longest.len(), 255);
        assert!(Name::parse(&longest).is_some());
        let longer = [[3, b'a', b'b', b'c'].repeat(63).as_slice(), b"\x02xy\x00"].concat();
        assert_eq!(Name::parse(&longer), None);
        assert_eq!(Name::from_text("a..b"), None);
        assert_eq!(Name::from_text(&"a".repeat(64)), None);
    }

    #[test]
    fn a_name_is_below_its_zones() {
        let zone = name("default.internal");
        assert_eq!(name("web.default.internal").below(&zone), Some(vec![b"web".as_slice()]));
        assert_eq!(zone.below(&zone), Some(vec![]));
        assert_eq!(name("default.internal.org").below(&zone), None);
        assert_eq!(name("xdefault.internal").below(&zone), None);
        assert_eq!(name("internal").below(&zone), None);
        assert_eq!(name("a.b").below(&Name::root()).map(|labels| labels.len()), Some(2));
    }
}
