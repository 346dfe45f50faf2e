//! The engine against the naive model: action sequences with time.

use proptest::prelude::*;
use testkit::Random;
use testkit::harness::engine_actions;

#[test]
fn seeded_programs_agree_with_the_model() {
    let mut random = Random::new(1);
    for _ in 0..400 {
        let mut program = vec![0; 200 + random.below(2000)];
        random.fill(&mut program);
        engine_actions(&program);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_program_agrees_with_the_model(program in prop::collection::vec(any::<u8>(), 0..1500)) {
        engine_actions(&program);
    }
}
