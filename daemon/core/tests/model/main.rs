//! The connection against a reference model: random days of apps, servers, networks, clocks and crashes.
//!
//! - `transition` and `strategy`: what may happen, and how often.
//! - `world`, with `apps` and `server`: lets it happen, and carries out what the core asks for.
//! - `reference`, with `calls`, `wire`, `tokens`, `renewal`, `around`, `verdict`, `link` and `pace`: what must follow, from
//!   the design alone.
//! - `checks` and `settled`: hold the two together, action by action and after every step.
//! - `chart` and `drawing`: the chart of the status, from what happens in it.
//!
//! A failure prints the shortest case found and all that was seen in it. `PROPTEST_CASES` sets the count.

mod apps;
mod around;
mod calls;
#[cfg(test)]
mod chart;
mod checks;
#[cfg(test)]
mod drawing;
mod link;
mod pace;
mod reference;
mod renewal;
mod server;
mod settled;
mod strategy;
mod tokens;
mod transition;
mod verdict;
mod wire;
mod words;
mod world;

use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, RngSeed};

use crate::checks::Checked;
use crate::transition::Transition;
use crate::world::World;

const CASES: u32 = 10_000;
const FAILURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/model.txt");

fn config() -> ProptestConfig {
    let given = std::env::var_os("PROPTEST_CASES").is_some_and(|cases| !cases.is_empty());
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: if given { usual.cases } else { CASES },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(FAILURES))),
        max_shrink_iters: 2_000,
        // The gate runs the same cases every time; who sets the count explores others.
        rng_seed: if given {
            usual.rng_seed
        } else {
            RngSeed::Fixed(0x1D_0001)
        },
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
    fn whatever_happens_the_design_holds(seed in 0_u64..1_000, case in strategy::case()) {
        if let (Err(wrong), _) = run(seed, &case, false) {
            let (_, trace) = run(seed, &case, true);
            return Err(TestCaseError::fail(format!("{wrong}\n{}", trace.join("\n"))));
        }
    }
}
