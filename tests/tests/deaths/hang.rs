//! SIGSTOP, and SIGCONT.

use std::time::Duration;

use imd_tests::count;
use imd_tests::progress::say;
use imd_tests::wait::never;
use rustix::process::Signal;

use super::app::{ANSWER, SILENT};
use super::stage::Stage;

/// How many messages each app reads before and after.
const SOME_LINES: usize = 20;

#[test]
fn every_call_to_a_stopped_daemon_ends_in_time_and_all_is_well_when_it_goes_on() {
    let span = Duration::from_secs(count(8, 60).try_into().unwrap());
    let mut stage = Stage::start();
    let everyone_reads = |stage: &Stage| {
        (0..stage.apps.len()).for_each(|app| stage.await_growth(app, SOME_LINES));
    };
    everyone_reads(&stage);
    stage.daemon.process().signal(Signal::STOP);
    // It is silent, and it is there: shorter than the keep-alive nobody loses it.
    never(span, "a loss", || {
        stage
            .apps
            .iter()
            .find_map(|app| (app.losses() > 0).then_some(&app.name))
    });
    stage.daemon.process().signal(Signal::CONT);
    everyone_reads(&stage);
    let outcome = stage.end(&[], &[ANSWER, SILENT]);
    say(&format!(
        "stopped for {span:?}: {} messages from alice and {} from bob, lost 0, twice 0",
        outcome.from_alice, outcome.from_bob
    ));
    for app in &outcome.apps {
        say(&format!("{:8} {}", app.name, app.calls));
        assert!(app.calls.of(SILENT) > 0, "{} made no call meanwhile", app.name);
    }
}
