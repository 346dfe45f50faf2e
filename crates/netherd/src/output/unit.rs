//! Numbers with units, as people write them: three significant digits at most.

/// `value` with a decimal prefix: `12.3 M` of whatever follows.
fn scaled(value: f64, base: f64, prefixes: &[&str]) -> (String, usize) {
    let mut value = value.max(0.0);
    let mut step = 0;
    // 999.5 would print as 1000 with three digits.
    while value >= base - 0.5 && step + 1 < prefixes.len() {
        value /= base;
        step += 1;
    }
    let digits = match value {
        v if step == 0 && v.fract() == 0.0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    (format!("{value:.digits$}"), step)
}

/// A rate of data: `0 bit/s`, `1.20 Mbit/s`.
pub fn bit_rate(bits_per_second: f64) -> String {
    const PREFIXES: [&str; 5] = ["", "k", "M", "G", "T"];
    let (number, step) = scaled(bits_per_second, 1000.0, &PREFIXES);
    format!("{number} {}bit/s", PREFIXES[step])
}

/// A rate of frames: `0 frames/s`, `12.3 k frames/s`.
pub fn frame_rate(frames_per_second: f64) -> String {
    const PREFIXES: [&str; 4] = ["", " k", " M", " G"];
    let (number, step) = scaled(frames_per_second, 1000.0, &PREFIXES);
    format!("{number}{} frames/s", PREFIXES[step])
}

/// An amount of data: `0 B`, `1.50 KiB`.
pub fn bytes(count: u64) -> String {
    const PREFIXES: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    // Above 2^53 the last digits are lost, and not shown either.
    #[allow(clippy::cast_precision_loss)]
    let (number, step) = scaled(count as f64, 1024.0, &PREFIXES);
    format!("{number} {}", PREFIXES[step])
}

/// A time span in its two largest units: `0 s`, `4 min 10 s`, `3 d 2 h`.
pub fn span(seconds: f64) -> String {
    // A span is no longer than the machine is up; what does not fit is shown as the most that does.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let seconds = seconds.max(0.0) as u64;
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[largest];
    let mut text = format!("{} {name}", seconds / unit);
    if let Some((next, name)) = UNITS.get(largest + 1) {
        let rest = seconds % unit / next;
        if rest > 0 {
            text.push_str(&format!(" {rest} {name}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_three_digits_and_a_prefix() {
        for (value, expected) in [
            (0.0, "0 bit/s"),
            (1.0, "1 bit/s"),
            (0.5, "0.50 bit/s"),
            (999.4, "999 bit/s"),
            (999.6, "1.00 kbit/s"),
            (1_234_567.0, "1.23 Mbit/s"),
            (98_765_432_100.0, "98.8 Gbit/s"),
            (1e18, "1000000 Tbit/s"),
            (-3.0, "0 bit/s"),
        ] {
            assert_eq!(bit_rate(value), expected);
        }
        assert_eq!(frame_rate(0.0), "0 frames/s");
        assert_eq!(frame_rate(12_345.0), "12.3 k frames/s");
    }

    #[test]
    fn amounts_are_binary() {
        for (value, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (5 << 30, "5.00 GiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes(value), expected);
        }
    }

    #[test]
    fn spans_have_two_units() {
        for (value, expected) in [
            (0.4, "0 s"),
            (59.9, "59 s"),
            (60.0, "1 min"),
            (250.0, "4 min 10 s"),
            (3_600.0, "1 h"),
            (7_384.0, "2 h 3 min"),
            (270_000.0, "3 d 3 h"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(span(value), expected);
        }
    }
}
