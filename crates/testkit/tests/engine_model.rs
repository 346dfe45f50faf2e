//! The engine against the naive model: action sequences with time.
#![forbid(unsafe_code)]

use engine::{PortCounters, Reason};
use proptest::prelude::*;
use testkit::Random;
use testkit::harness::engine_actions;

#[test]
fn seeded_programs_agree_with_the_model_and_reach_everything() {
    let mut random = Random::new(1);
    let mut all = PortCounters::default();
    for _ in 0..400 {
        let mut program = vec![0; 1000 + random.below(8000)];
        random.fill(&mut program);
        all += &engine_actions(&program);
    }
    // What the programs cannot do: offloads, links that fail, a pool that runs out, ports that are
    // gone.
    let beyond = [
        Reason::OffloadUndeclared,
        Reason::BadOffload,
        Reason::NoBuffer,
        Reason::BadFraming,
        Reason::PortGone,
        Reason::QueueShare,
        Reason::NoHeader,
        Reason::SegmentFailed,
        Reason::LinkFull,
        Reason::LinkRefused,
    ];
    // And the guard, which is off on their ports.
    let base = Reason::ALL.into_iter().filter(|reason| *reason <= Reason::LinkClosed);
    for reason in base.filter(|reason| !beyond.contains(reason)) {
        assert!(all.dropped(reason) > 0, "no program met {reason}");
    }
    assert!(all.rx_forwarded > 1000 && all.rx_copies > 1000 && all.tx_frames > 1000, "{all:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_program_agrees_with_the_model(program in prop::collection::vec(any::<u8>(), 0..4000)) {
        engine_actions(&program);
    }
}
