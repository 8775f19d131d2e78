//! A subscriber that stops reading.

use std::time::Duration;

use imd_tests::count;
use imd_tests::mosquitto::Mosquitto;
use rustix::process::Signal;

use super::stage::Side;

/// What a subscriber that does not read may cost.
const MOST_KB: u64 = 5 * 1024;

/// What a run left: the daemon's memory in kB, and how long it took.
fn run(with_stopped: bool, messages: usize) -> u64 {
    let patience = Duration::from_secs(u64::try_from(messages).unwrap() / 50);
    let broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    let second = with_stopped.then(|| {
        let second = bob.second_reader();
        second.process.signal(Signal::STOP);
        second
    });
    alice.start_sender("bob", messages);
    let accepted = alice.await_sent(patience);
    bob.assert_receives(&accepted, patience);
    let memory = bob.memory_kb();
    if let Some(second) = second {
        assert_eq!(second.received().len(), 0);
        second.process.signal(Signal::CONT);
        second.assert_receives(&accepted, patience);
    }
    memory
}

#[test]
fn a_subscriber_that_stops_reading_costs_little_and_reads_everything_later() {
    let messages = count(20_000, 200_000);
    let without = run(false, messages);
    let with = run(true, messages);
    assert!(
        with < without + MOST_KB,
        "{with} kB with the stopped subscriber, {without} kB without"
    );
}
