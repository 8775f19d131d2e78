//! A link that is cut at random points.

use std::time::Duration;

use imd_tests::mosquitto::Mosquitto;
use imd_tests::progress::Progress;
use imd_tests::proxy::Proxy;
use imd_tests::wait::{SOON, eventually, when};
use imd_tests::{count, random};

use super::stage::Side;

#[test]
fn every_message_comes_once_and_in_order_over_a_link_that_is_cut() {
    let (messages, cuts) = (count(2_000, 100_000), count(10, 100));
    let patience = Duration::from_secs(u64::try_from(messages).unwrap() / 10);
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.address());
    let mut alice = Side::connected(&proxy.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&proxy.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    alice.start_sender("bob", messages);

    // Each cut comes while messages are on their way: no point is after the last of them.
    let mut points: Vec<usize> = (0..cuts).map(|_| random(messages * 9 / 10)).collect();
    points.sort_unstable();
    let progress = Progress::of(messages, "messages");
    for point in points {
        eventually(patience, &format!("message {point} at bob's"), || {
            let received = bob.journal.distinct();
            progress.at(received, || format!("the next cut comes after {point}"));
            when(
                received > point,
                (received, alice.daemon.status().reason, bob.daemon.status().reason),
            )
        });
        proxy.cut();
        // A connect starts the waits of the backoff again from the shortest.
        eventually(SOON, "both to be back", || {
            for (side, user) in [(&alice, "alice"), (&bob, "bob")] {
                let token = broker.token(user);
                let _ = side.daemon.home().connect(&token, &["--user-id", user]);
            }
            when(proxy.open() == 2, proxy.open())
        });
    }
    let accepted = alice.await_sent(patience);
    assert_eq!(accepted.len(), messages);
    bob.journal.assert_receives(&accepted, patience);
    progress.done(&format!("{cuts} cuts, lost 0, twice 0, in order"));
}
