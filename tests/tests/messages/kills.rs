//! Daemons and apps killed at random points.

use std::thread;
use std::time::Duration;

use imd_tests::mosquitto::Mosquitto;
use imd_tests::progress::Progress;
use imd_tests::{count, random};

use super::stage::Side;

/// More than a run can send.
const ENDLESS: usize = 100_000_000;

/// After a start, the next kill comes when the journal has grown by fewer lines than this: at once, too.
const FEW_LINES: usize = 40;

#[derive(Clone, Copy, Debug)]
enum Victim {
    SendingDaemon,
    ReceivingDaemon,
    SendingApp,
    ReceivingApp,
}

use Victim::{ReceivingApp, ReceivingDaemon, SendingApp, SendingDaemon};

/// Each of the four once, in random order: by chance alone one of them may be left out for long.
fn victims() -> [Victim; 4] {
    let mut victims = [SendingDaemon, ReceivingDaemon, SendingApp, ReceivingApp];
    for last in (1..victims.len()).rev() {
        victims.swap(last, random(last + 1));
    }
    victims
}

/// A sender, a receiver, and so many kills.
fn kill_often(rounds: usize) {
    let broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    alice.start_sender("bob", ENDLESS);
    let progress = Progress::of(rounds, "kills");
    let mut killed = 0;
    while killed < rounds {
        for victim in victims() {
            match victim {
                SendingDaemon | SendingApp => alice.await_growth(random(FEW_LINES)),
                ReceivingDaemon | ReceivingApp => bob.await_growth(random(FEW_LINES)),
            }
            match victim {
                SendingDaemon => alice.kill_daemon(),
                ReceivingDaemon => bob.kill_daemon(),
                SendingApp => alice.kill_app(),
                ReceivingApp => bob.kill_app(),
            }
            killed += 1;
            // In every eighth round two die at once.
            if killed % 8 == 0 {
                bob.kill_app();
                killed += 1;
            }
            progress.at(killed, || {
                let (accepted, received) = (alice.journal.length(), bob.journal.distinct());
                format!("accepted {accepted}, received {received}")
            });
        }
    }
    let accepted = alice.stop_sender();
    bob.journal.assert_receives(&accepted, Duration::from_secs(120));
    progress.done(&format!("accepted {}, lost 0, twice 0", accepted.len()));
}

#[test]
fn what_was_accepted_comes_once_whoever_is_killed() {
    // Most of a round is waiting: pairs beside each other wait together.
    let (rounds, pairs) = (count(60, 10_000), count(1, 4));
    thread::scope(|scope| {
        for _ in 0..pairs {
            scope.spawn(move || kill_often(rounds / pairs));
        }
    });
}
