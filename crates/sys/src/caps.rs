//! Capabilities of the calling process (capabilities(7)). One thread is assumed, as after a fork.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// A set of capabilities by their numbers (linux/capability.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    pub const NONE: Self = Self(0);
    pub const ALL: Self = Self(u64::MAX);
    /// Configure interfaces, addresses and routes; raw sockets; ports below 1024.
    pub const NETWORK: Self = Self(1 << 12 | 1 << 13 | 1 << 10);
    pub const KILL: Self = Self(1 << 5);
    /// Packet sockets, and socket buffers beyond the limit.
    pub const DEVICES: Self = Self(1 << 12 | 1 << 13);

    /// The set as a number, bit n for capability n.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |n| self.0 & (1 << n) != 0)
    }
}

/// The number of the last capability this kernel has.
fn last() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(40)
}

/// Reduces this process to `set`, kept across exec by the ambient set whatever the user id is.
pub fn keep_across_exec(set: Capabilities) -> io::Result<()> {
    let held = CapabilitySet::from_bits_retain(set.0 & ((2_u64 << last()) - 1));
    rustix::thread::clear_ambient_capability_set()?;
    set_capabilities(None, CapabilitySets { effective: held, permitted: held, inheritable: held })?;
    for number in set.iter().filter(|n| *n <= last()) {
        rustix::thread::configure_capability_in_ambient_set(
            CapabilitySet::from_bits_retain(1 << number),
            true,
        )?;
    }
    Ok(())
}

/// Reduces this process to those of `set` that it has; none of them survives an exec.
pub fn reduce(set: Capabilities) -> io::Result<()> {
    let held = capabilities(None)?.permitted & CapabilitySet::from_bits_retain(set.0);
    // There may be no ambient set to clear (before Linux 4.3), and then nothing is in it.
    let _none = rustix::thread::clear_ambient_capability_set();
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: held, permitted: held, inheritable: none })?;
    Ok(())
}

/// The capabilities that this process may use.
pub fn effective() -> io::Result<Capabilities> {
    Ok(Capabilities(capabilities(None)?.effective.bits()))
}

/// Takes every capability outside of `set` from what any later exec can give, user id 0 included.
pub fn bound(set: Capabilities) -> io::Result<()> {
    for number in (0..=last()).filter(|n| set.0 & (1 << n) == 0) {
        rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        ))?;
    }
    Ok(())
}

/// Marks this process with an inheritable set, without changing what it holds. Anybody can read it in
/// `/proc/PID/status`, and nobody but the process can change it.
pub fn set_inheritable(set: Capabilities) -> io::Result<()> {
    let mut sets = capabilities(None)?;
    sets.inheritable = sets.permitted & CapabilitySet::from_bits_retain(set.0);
    Ok(set_capabilities(None, sets)?)
}

/// A `Cap...` line of a process's status, such as `CapInh`.
pub fn of_status(status: &str, line: &str) -> Option<Capabilities> {
    let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'))?;
    u64::from_str_radix(value.trim(), 16).ok().map(Capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_set_is_the_three_of_the_kernel_headers() {
        assert_eq!(Capabilities::NETWORK.iter().collect::<Vec<_>>(), [10, 12, 13]);
        assert!(Capabilities::ALL.contains(Capabilities::NETWORK));
        assert!(!Capabilities::NONE.contains(Capabilities::KILL));
    }

    #[test]
    fn status_lines_are_read_as_hexadecimal() {
        let status = "Name:\tx\nCapInh:\t0000000000003400\nCapEff:\t00\n";
        assert_eq!(of_status(status, "CapInh"), Some(Capabilities::NETWORK));
        assert_eq!(of_status(status, "CapEff"), Some(Capabilities::NONE));
        assert_eq!(of_status(status, "CapPrm"), None);
        assert!(
            of_status(&std::fs::read_to_string("/proc/self/status").unwrap(), "CapEff").is_some()
        );
    }
}
