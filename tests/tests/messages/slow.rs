//! A subscriber that stops reading.

use std::fmt::Write as _;
use std::time::Duration;

use imd_tests::count;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::wait::timed;
use rustix::process::Signal;

use super::stage::Side;

/// What a subscriber that does not read may cost.
const MOST_KB: u64 = 5 * 1024;

/// How many messages one run of `mosquitto_pub` sends.
const LINES: usize = 20_000;

/// What a run left.
struct Left {
    memory_kb: u64,
    took: Duration,
}

/// So many system messages come; one subscriber reads all the time, and perhaps another is stopped.
fn run(with_stopped: bool, messages: usize) -> Left {
    let patience = Duration::from_secs(u64::try_from(messages).unwrap() / 100);
    let broker = Mosquitto::start();
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    let reader = bob.skimmer("reader");
    let stopped = with_stopped.then(|| {
        let stopped = bob.skimmer("stopped");
        stopped.process.signal(Signal::STOP);
        stopped
    });
    let sent: Vec<String> = (0..messages).map(|number| format!("n-{number:08}")).collect();
    let ((), took) = timed(|| {
        for part in sent.chunks(LINES) {
            let lines = part.iter().fold(String::new(), |mut lines, uid| {
                let _ = writeln!(lines, r#"{{"uid":"{uid}","content":"a notice"}}"#);
                lines
            });
            let published = broker.publish_lines("system", &broker.token("system"), "im/demo/s/bob", &lines);
            published.expect_code(0);
        }
        reader.journal.assert_receives(&sent, patience);
    });
    let memory_kb = bob.memory_kb();
    if let Some(stopped) = stopped {
        assert_eq!(stopped.journal.received().len(), 0);
        stopped.process.signal(Signal::CONT);
        stopped.journal.assert_receives(&sent, patience);
    }
    Left { memory_kb, took }
}

#[test]
fn a_subscriber_that_stops_reading_costs_little_and_reads_everything_later() {
    let messages = count(20_000, 200_000);
    let without = run(false, messages);
    let with = run(true, messages);
    eprintln!(
        "without: {} kB, {:?}; with: {} kB, {:?}",
        without.memory_kb, without.took, with.memory_kb, with.took
    );
    assert!(
        with.memory_kb < without.memory_kb + MOST_KB,
        "{} kB with the stopped subscriber, {} kB without",
        with.memory_kb,
        without.memory_kb
    );
    // The other subscriber sees no delay that grows with what is not read.
    assert!(
        with.took < without.took * 2,
        "{:?} with, {:?} without",
        with.took,
        without.took
    );
}
