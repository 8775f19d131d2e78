//! The connection against a reference model: random days of apps, servers, networks, clocks and crashes.
//!
//! `transition.rs` says what may happen, `world.rs` lets it happen, `reference.rs` says what must follow, and
//! `checks.rs` compares after every step. A failure prints the shortest case found and what was seen in it.

mod checks;
mod link;
mod pace;
mod reference;
mod transition;
mod verdict;
mod words;
mod world;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::checks::Checked;
use crate::transition::Transition;
use crate::world::World;

const CASES: u32 = 10_000;
const FAILURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/model.txt");

fn config() -> ProptestConfig {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: if given { usual.cases } else { CASES },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILURES))),
        max_shrink_iters: 2_000,
        ..usual
    }
}

fn run(seed: u64, case: &[Transition], traced: bool) -> (Checked, Vec<String>) {
    let mut world = match World::new(seed) {
        Ok(world) => world,
        Err(wrong) => return (Err(wrong), Vec::new()),
    };
    world.trace = traced.then(Vec::new);
    let checked = world.run(case);
    (checked, world.trace.unwrap_or_default())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_the_design_holds(seed in 0_u64..1_000, case in transition::case()) {
        if let (Err(wrong), _) = run(seed, &case, false) {
            let (_, trace) = run(seed, &case, true);
            return Err(TestCaseError::fail(format!("{wrong}\n{}", trace.join("\n"))));
        }
    }
}
