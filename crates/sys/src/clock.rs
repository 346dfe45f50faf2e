//! The monotonic clock.
//!
//! CLOCK_MONOTONIC does not count time spent suspended and never steps back, which is what ages,
//! deadlines and rates are computed from. The call is served by the vDSO (about 20 ns).

/// Nanoseconds of CLOCK_MONOTONIC (clock_gettime(2)), from an epoch the kernel chose at boot.
#[must_use]
pub fn monotonic_nanos() -> u64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // Both fields are non-negative on this clock; 2^64 ns are 584 years of uptime.
    u64::try_from(t.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(t.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::monotonic_nanos;

    #[test]
    fn never_steps_back() {
        let mut last = monotonic_nanos();
        for _ in 0..1000 {
            let now = monotonic_nanos();
            assert!(now >= last);
            last = now;
        }
    }
}
