//! How many addresses a port may take by using them first.

/// The most first-come addresses of each IP version that a port may have, whatever its
/// [`FirstCome`] says: the guard looks through them.
pub const FIRST_COME_MAX: u16 = 256;

/// How many addresses a port may take without being given them, up to [`FIRST_COME_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstCome {
    /// IPv4, in mode [`GuardMode::Learn`](crate::GuardMode::Learn) only.
    pub v4: u16,
    /// IPv6: link-local ones and those of announced prefixes; in mode [`GuardMode::Learn`](crate::GuardMode::Learn) others
    /// too.
    pub v6: u16,
}

impl FirstCome {
    /// What a port may take behind which a network is: its stations, at most `macs` by their
    /// Ethernet addresses, have addresses of their own. Never fewer than a port of one station.
    #[must_use]
    pub fn for_stations(macs: u16) -> Self {
        let Self { v4, v6 } = Self::default();
        Self {
            v4: v4.max(macs).min(FIRST_COME_MAX),
            v6: v6.saturating_mul(macs.max(1)).min(FIRST_COME_MAX),
        }
    }
}

impl Default for FirstCome {
    fn default() -> Self {
        Self { v4: 8, v6: 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_may_take_no_fewer_addresses_than_one() {
        let usual = FirstCome::default();
        for macs in 0..=u16::MAX {
            let FirstCome { v4, v6 } = FirstCome::for_stations(macs);
            assert!(v4 >= usual.v4 && v6 >= usual.v6, "{macs}: {v4}, {v6}");
            assert!(v4 <= FIRST_COME_MAX && v6 <= FIRST_COME_MAX, "{macs}: {v4}, {v6}");
        }
        assert_eq!(FirstCome::for_stations(20), FirstCome { v4: 20, v6: 160 });
    }
}
