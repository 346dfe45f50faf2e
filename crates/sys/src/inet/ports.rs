//! The ports that the host gives to sockets which ask for none in particular (ip(7),
//! `ip_local_port_range`).

use std::sync::OnceLock;

/// The range holds for IPv6 too.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// As many as there are unless somebody changed it: 32768 to 60999 (inet_init_net of the kernel).
const DEFAULT: usize = 28_232;

/// How many there are, of each protocol and IP version, as it was when this was first asked: a process that
/// has confined itself can read it no more. The kernel's default where it cannot be read.
pub fn given_out() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let text = std::fs::read_to_string(RANGE).ok();
        text.and_then(|text| count(&text)).unwrap_or(DEFAULT)
    })
}

/// How many there are from the first to the last.
fn count(range: &str) -> Option<usize> {
    let mut words = range.split_ascii_whitespace().map(str::parse::<u16>);
    let (first, last) = (words.next()?.ok()?, words.next()?.ok()?);
    Some(usize::from(last.checked_sub(first)?) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_counted() {
        for (text, expected) in [
            ("32768\t60999\n", Some(DEFAULT)),
            ("1024 65535", Some(64_512)),
            ("40000\t40000\n", Some(1)),
            ("5 4", None),
            ("1 65536", None),
            ("7", None),
            ("", None),
        ] {
            assert_eq!(count(text), expected, "{text:?}");
        }
        assert!(given_out() > 0);
    }
}
