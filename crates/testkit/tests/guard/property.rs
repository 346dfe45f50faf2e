//! Whatever a guest sends, nothing leaves that claims to be another.

use proptest::prelude::*;

#[test]
fn seeded_programs() {
    let mut random = testkit::Random::new(7);
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..300 {
        let mut program = vec![0; 200 + random.below(4000)];
        random.fill(&mut program);
        let tally = testkit::harness::guard(&program);
        passed += tally.passed;
        refused += tally.refused;
    }
    assert!(passed > 1000 && refused > 1000, "{passed} passed, {refused} refused");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_program(program in prop::collection::vec(any::<u8>(), 0..3000)) {
        testkit::harness::guard(&program);
    }
}
