//! Killed and stopped, a thousand times in the long run.

use std::time::Duration;

use imd_tests::progress::{Progress, say};
use imd_tests::{count, random};

use super::app::{ANSWER, App, Calls, LOST, NEVER_SENT, NOT_OPEN, SILENT};
use super::daemon::{How, die};
use super::stage::Stage;

/// The next death comes when an app has read fewer messages more than this: at once, too.
const FEW_LINES: usize = 40;

/// One death of so many is an orderly stop.
const STOPS: usize = 8;

#[test]
fn each_app_lives_through_every_death_of_its_daemon() {
    let rounds = count(60, 1_000);
    let mut stage = Stage::start();
    let progress = Progress::of(rounds, "deaths");
    let mut deaths = Vec::with_capacity(rounds);
    while deaths.len() < rounds {
        stage.await_growth(random(stage.apps.len()), random(FEW_LINES));
        let how = match random(STOPS) {
            0 => How::Stopped,
            _ => How::Killed,
        };
        deaths.push(die(&mut stage.daemon, how));
        stage.await_bound_after(deaths.len());
        progress.at(deaths.len(), || {
            let losses: Vec<_> = stage.apps.iter().map(App::losses).collect();
            format!("losses told {losses:?}")
        });
    }
    // A disk that stalls lets a living daemon be silent.
    let outcome = stage.end(&deaths, &[ANSWER, NEVER_SENT, LOST, NOT_OPEN, SILENT]);

    let stopped = deaths.iter().filter(|death| death.how == How::Stopped).count();
    let killed = rounds - stopped;
    progress.done(&format!(
        "{killed} SIGKILL, {stopped} SIGTERM; {} messages from alice and {} from bob, lost 0, twice 0",
        outcome.from_alice, outcome.from_bob
    ));
    let (mut all, mut calls) = (Vec::new(), Calls::default());
    for app in &outcome.apps {
        say(&format!("{:8} rebind {}", app.name, percentiles(&app.rebinds)));
        let after_kills = app.rebinds.iter().zip(&deaths);
        all.extend(after_kills.filter_map(|(rebind, death)| (death.how == How::Killed).then_some(*rebind)));
        calls.add(&app.calls);
    }
    say(&format!("all, after SIGKILL: {}", percentiles(&all)));
    say(&format!("calls: {calls}"));
    assert!(calls.of(NEVER_SENT) + calls.of(LOST) > 0, "no death met a call");
}

fn percentiles(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("p50 {:.1?}, p99 {:.1?}, max {:.1?}", at(50), at(99), at(100))
}
