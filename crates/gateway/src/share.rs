//! Who may have a place in a store that all guests use.
//!
//! A guest may have one more as long as it has fewer than are free. Alone it gets half of the store;
//! with `n` others that take what they can, one part of `n + 2`; and there are always places for one
//! that comes later. Nobody has to give anything back for that, and nothing is counted but who has
//! how many. (Choudhury and Hahne, "Dynamic queue length thresholds", 1998, with a factor of one.)

/// Whether a guest with `own` of the `used` places may have one more, of `limit` in all.
#[must_use]
pub(crate) fn allows(own: usize, used: usize, limit: usize) -> bool {
    own < limit.saturating_sub(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_room_for_who_comes_later() {
        let limit = 512;
        for greedy in 1..100 {
            let mut own = vec![0; greedy];
            let mut moved = true;
            while std::mem::take(&mut moved) {
                for at in 0..greedy {
                    let used = own.iter().sum();
                    if allows(own[at], used, limit) {
                        own[at] += 1;
                        moved = true;
                    }
                }
            }
            let used: usize = own.iter().sum();
            assert!(allows(0, used, limit), "{greedy}: {used}");
            let least = limit / (greedy + 1);
            assert!(own.iter().all(|own| (least..=least + 1).contains(own)), "{own:?}");
        }
        assert!(!allows(0, 512, 512) && !allows(0, 600, 512));
    }
}
