//! A Mosquitto killed under load.
//!
//! Mosquitto saves its database every 10 s. What it acknowledged after the last save and had not passed on is
//! gone with it: so is what it remembered of who had subscribed. The daemon publishes a private message
//! again when an hour has passed without a receipt. The tests do not wait for it: while alice's daemon is down
//! they move the times of the last tries back in her database.

use std::time::Duration;

use imd_tests::count;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::wait::{SOON, eventually, when};

use super::stage::{Side, random};

/// Two hours: more than the first wait.
const LONG_AGO_MS: i64 = 2 * 3600 * 1000;

#[test]
fn every_private_message_comes_once_though_mosquitto_is_killed_under_load() {
    let mut broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    alice.start_sender("bob", usize::MAX);
    for _ in 0..count(2, 100) {
        bob.await_growth(50 + random(200));
        broker.kill9();
        alice.await_refused();
        bob.await_refused();
        broker.restart();
        for (side, user) in [(&alice, "alice"), (&bob, "bob")] {
            side.daemon.connect(user, &broker.token(user));
        }
    }
    bob.await_growth(50);
    let accepted = alice.stop_sender();
    let app = alice.client();
    eventually(SOON * 3, "all to be sent", || {
        let outbox = app.list_outbox(1, None).unwrap();
        when(outbox.waiting_messages == 0, outbox.waiting_messages)
    });
    alice.daemon.kill9();
    let waiting = alice.pass_time(LONG_AGO_MS);
    eprintln!("{waiting} of {} were without a receipt", accepted.len());
    alice.daemon.start();
    eventually(Duration::from_secs(60), "every message", || {
        let missing = accepted.len() - bob.distinct().min(accepted.len());
        when(missing == 0, (missing, bob.told()))
    });
    let mut received = bob.received();
    received.sort_unstable();
    assert_eq!(received, accepted, "one came twice, or from nowhere");
}

#[test]
fn a_group_message_that_mosquitto_lost_shows_as_a_gap() {
    let mut broker = Mosquitto::start();
    let alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    let (alices, bobs) = (alice.client(), bob.client());
    alices.join_group("team").unwrap();
    bobs.join_group("team").unwrap();
    let send = |text: &str| {
        let content = imd_client::Content::text(text);
        let sending = alices.send_message(&imd_client::ConversationKey::group("team"), content);
        sending.sent().unwrap().uid
    };
    let first = send("before");
    eventually(SOON, "the first", || {
        when(bob.received() == [first.clone()], bob.lines())
    });
    // Bob is away, so that Mosquitto alone has what it then forgets.
    bob.daemon.terminate();
    send("lost");
    send("lost as well");
    broker.kill9();
    alice.await_refused();
    broker.restart();
    alice.daemon.connect("alice", &broker.token("alice"));
    bob.daemon.start();
    bob.daemon.await_status("CONNECTED");
    let after = send("after");
    eventually(SOON, "the message after the loss", || {
        when(bob.received() == [first.clone(), after.clone()], bob.lines())
    });
    eventually(SOON, "the gap of two", || {
        let told = bob.told();
        when(told.iter().any(|told| told == "gap GROUP_SEQUENCE 2"), told)
    });
}
