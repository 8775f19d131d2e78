//! Killed between commit and PUBACK, and between PUBLISH and PUBACK: each forced.

use std::time::Duration;

use imd::demo::broker::{Event, PublishAnswer, Times, Who};
use imd_client::{ConversationKey, PageOptions, SentStatus};
use imd_tests::proxy::Proxy;
use imd_tests::scripted::Scripted;
use imd_tests::wait::{SOON, eventually, when};

use super::stage::Side;

const TO_BOB: &str = "im/demo/u/bob/alice";
const TO_ALICE: &str = "im/demo/u/alice/bob";

/// Between a PUBLISH and its PUBACK on the wire. It only has to be longer than a commit.
const FAR: Duration = Duration::from_secs(2);

/// How often the broker passed a message on to bob: first, and again.
fn deliveries(broker: &Scripted) -> Vec<bool> {
    let records = broker.broker().events().take().into_iter();
    records
        .filter_map(|record| {
            if let Event::Delivered { topic, dup, .. } = record.event {
                (topic == TO_BOB).then_some(dup)
            } else {
                None
            }
        })
        .collect()
}

#[test]
fn killed_between_commit_and_puback_it_takes_the_message_once() {
    let broker = Scripted::start();
    let proxy = Proxy::start(broker.broker().address());
    let mut bob = Side::connected(&proxy.url(), "bob", "opaque");
    let alice = Side::connected(&broker.url(), "alice", "opaque");
    bob.start_reader();
    // The PUBACK is on its way through the proxy when the message is already committed.
    proxy.delay(FAR);
    alice.client().send_text("bob", "once").accepted().unwrap();
    eventually(SOON, "the commit", || {
        when(bob.journal.received().len() == 1, bob.journal.lines())
    });
    bob.daemon.kill9();
    proxy.cut();
    let acknowledged = broker
        .broker()
        .events()
        .take()
        .into_iter()
        .any(|record| matches!(record.event, Event::Acknowledged { topic, .. } if topic == TO_BOB));
    assert!(!acknowledged, "the kill came too late");
    proxy.delay(Duration::ZERO);
    bob.daemon.start();
    broker.await_event(|event| matches!(event, Event::Acknowledged { topic, .. } if topic == TO_BOB));
    assert_eq!(deliveries(&broker), [false, true]);

    // What follows is a mark: nothing can come of the first message after it.
    alice.client().send_text("bob", "after").received().unwrap();
    eventually(SOON, "the second message", || {
        when(bob.journal.received().len() >= 2, bob.journal.lines())
    });
    assert_eq!(bob.journal.received().len(), 2, "{:?}", bob.journal.lines());
    let key = ConversationKey::private("alice");
    let page = bob.client().list_messages(&key, PageOptions::newest()).unwrap();
    assert_eq!(page.messages.len(), 2);
    assert_eq!(bob.client().unread_count(true).unwrap(), 2);
}

#[test]
fn killed_between_publish_and_puback_it_sends_the_message_again_and_it_comes_once() {
    let broker = Scripted::start();
    let mut alice = Side::connected(&broker.url(), "alice", "opaque");
    let mut bob = Side::connected(&broker.url(), "bob", "opaque");
    bob.start_reader();
    let script = broker.broker().script();
    script.on_publish(Who::Anyone, TO_BOB, Times::Next(1), PublishAnswer::Withhold);
    // A receipt would be as good as the PUBACK.
    script.lose_deliveries(Who::Anyone, TO_ALICE, Times::Next(1));
    let sending = alice.client().send_text("bob", "once");
    let uid = sending.accepted().unwrap().uid;
    eventually(SOON, "the message at bob's", || {
        when(bob.journal.received().len() == 1, bob.journal.lines())
    });
    alice.kill_daemon();
    alice.daemon.await_status("CONNECTED");
    eventually(SOON, "the message to be sent again", || {
        let seen = deliveries(&broker);
        when(seen.len() == 2, seen)
    });
    alice.client().send_text("bob", "after").received().unwrap();
    eventually(SOON, "the second message", || {
        when(bob.journal.received().len() >= 2, bob.journal.lines())
    });
    assert_eq!(bob.journal.received().len(), 2, "{:?}", bob.journal.lines());
    assert_eq!(bob.journal.received()[0], uid);
    eventually(SOON, "the second receipt", || {
        let first = alice.client().get_message(&uid).unwrap();
        when(first.sent_status == Some(SentStatus::Received), first.sent_status)
    });
}
