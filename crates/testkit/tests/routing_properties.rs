//! Random programs for the router; what must hold is in the harness.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use testkit::Random;
use testkit::harness::{routing, routing_counters};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_happens_every_frame_has_one_end(
        bytes in prop::collection::vec(any::<u8>(), 0..1500),
    ) {
        routing(&bytes);
    }
}

/// What no program of this harness can bring about: buffers and output do not run out.
const NEVER: [&str; 3] = ["drop.no-buffer", "drop.output-full", "drop.interface-gone"];

#[test]
fn long_programs_reach_every_end() {
    let mut counted = BTreeMap::new();
    for seed in 0..40 {
        let mut bytes = vec![0; 20_000];
        Random::new(seed).fill(&mut bytes);
        for (name, count) in routing_counters(&bytes) {
            *counted.entry(name).or_insert(0) += count;
        }
    }
    let mut missed: Vec<&str> =
        counted.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    missed.retain(|name| !NEVER.contains(name));
    assert_eq!(missed, [""; 0], "every counter moves, or the programs test too little");
}
