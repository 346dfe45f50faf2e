//! The ports that the host gives to sockets which ask for none in particular (ip(7),
//! `ip_local_port_range`).

use std::sync::OnceLock;

/// The range holds for IPv6 too.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Ports and ranges, separated by commas, that are not given out although they are in it.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// As many as there are unless somebody changed it: 32768 to 60999 (inet_init_net of the kernel).
const DEFAULT: usize = 28_232;

/// How many there are, of each protocol and IP version, as it was when this was first asked: a process that
/// has confined itself can read it no more. The kernel's default where it cannot be read.
pub fn given_out() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let range = std::fs::read_to_string(RANGE).ok();
        let reserved = std::fs::read_to_string(RESERVED).unwrap_or_default();
        range.and_then(|range| count(&range, &reserved)).unwrap_or(DEFAULT)
    })
}

/// How many there are from the first to the last, without those that are reserved.
fn count(range: &str, reserved: &str) -> Option<usize> {
    let mut words = range.split_ascii_whitespace().map(str::parse::<u16>);
    let (first, last) = (words.next()?.ok()?, words.next()?.ok()?);
    let all = usize::from(last.checked_sub(first)?) + 1;
    // The kernel shows them in order, and none twice.
    let taken = reserved.trim().split(',').filter_map(|text| {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let (from, to) = (from.parse::<u16>().ok()?.max(first), to.parse::<u16>().ok()?.min(last));
        Some(usize::from(to.checked_sub(from)?) + 1)
    });
    Some(all.saturating_sub(taken.sum()))
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
            assert_eq!(count(text, "\n"), expected, "{text:?}");
        }
        for (reserved, expected) in [
            ("40000\n", 999),
            ("39990-40009,40100,40900-50000\n", 889 - 100 + 100),
            ("1-65535\n", 0),
            ("8080,9148-9150\n", 1000),
            ("nonsense\n", 1000),
        ] {
            assert_eq!(count("40000 40999", reserved), Some(expected), "{reserved:?}");
        }
        assert!(given_out() > 0);
    }
}
