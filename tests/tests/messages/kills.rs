//! Daemons and apps killed at random points.

use std::time::Duration;

use imd_tests::count;
use imd_tests::mosquitto::Mosquitto;

use super::stage::{Side, random};

/// More than a run can send.
const ENDLESS: usize = 100_000_000;

#[test]
fn what_was_accepted_comes_once_whoever_is_killed() {
    let broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    alice.start_sender("bob", ENDLESS);
    // One after the other in random order would leave one of them out now and then.
    for round in 0..count(60, 10_000) {
        let (side, other) = if round % 2 == 0 {
            (&mut alice, &mut bob)
        } else {
            (&mut bob, &mut alice)
        };
        side.await_growth(1 + random(40));
        if round % 4 < 2 {
            side.kill_daemon();
        } else {
            side.kill_app();
        }
        // In every eighth round two die at once.
        if round % 8 == 0 {
            other.kill_app();
        }
    }
    let accepted = alice.stop_sender();
    bob.assert_receives(&accepted, Duration::from_secs(120));
}
