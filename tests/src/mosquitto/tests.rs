//! What the other suites take for granted of Mosquitto.

use super::*;
use crate::process::Running;

const NOT_AUTHORIZED: i32 = 135;

#[test]
fn a_good_token_is_taken_and_a_wrong_one_refused() {
    let broker = Mosquitto::start();
    let alice = broker.token("alice");
    broker
        .publish("alice", &alice, "im/demo/u/bob/alice", "hello")
        .expect_code(0);
    broker
        .publish("alice", "wrong", "im/demo/u/bob/alice", "hello")
        .expect_code(NOT_AUTHORIZED);
    broker
        .publish("nobody", &alice, "im/demo/u/bob/nobody", "hello")
        .expect_code(NOT_AUTHORIZED);
}

#[test]
fn a_changed_token_replaces_the_old_one_at_once() {
    let mut broker = Mosquitto::start();
    let old = broker.token("alice");
    broker.change_token("alice", "opaque");
    broker
        .publish("alice", &old, "im/demo/u/bob/alice", "hello")
        .expect_code(NOT_AUTHORIZED);
    broker
        .publish("alice", "opaque", "im/demo/u/bob/alice", "hello")
        .expect_code(0);
}

#[test]
fn the_rules_let_through_what_imd_does() {
    let broker = Mosquitto::start();
    for (from, to, topic, filter) in [
        ("alice", "bob", "im/demo/u/bob/alice", "im/demo/u/bob/+"),
        ("alice", "bob", "im/demo/g/team/alice", "im/demo/g/team/+"),
        ("system", "bob", "im/demo/s/bob", "im/demo/s/bob"),
        ("bob", "bob", "im/demo/c/bob/desktop", "im/demo/c/bob/+"),
    ] {
        let before = broker.subscriptions();
        let reader = Running::start(&mut broker.subscribe(to, &broker.token(to), filter, 20), b"");
        eventually(SOON, "the subscription", || {
            when(broker.subscriptions() > before, broker.log())
        });
        broker
            .publish(from, &broker.token(from), topic, "word")
            .expect_code(0);
        assert_eq!(
            reader.finish().expect_code(0).stdout,
            "word\n",
            "{from} to {topic}"
        );
    }
}

#[test]
fn the_rules_refuse_what_imd_must_not_do() {
    let broker = Mosquitto::start();
    for (from, topic) in [
        ("alice", "im/demo/u/bob/mallory"),
        ("alice", "im/demo/s/bob"),
        ("alice", "im/demo/c/bob/desktop"),
        ("alice", "im/demo/g/team/bob"),
        ("alice", "im/demo/g/others/alice"),
        ("alice", "im/other/u/bob/alice"),
    ] {
        let refused = broker.publish(from, &broker.token(from), topic, "word");
        assert!(
            refused.stderr.contains("Not authorized"),
            "{from} to {topic}: {refused:?}"
        );
    }
    let filters = [
        "im/demo/u/alice/+",
        "im/demo/#",
        "im/demo/s/alice",
        "im/demo/c/alice/+",
    ];
    let bob = broker.token("bob");
    let readers = filters.map(|filter| Running::start(&mut broker.subscribe("bob", &bob, filter, 20), b""));
    eventually(SOON, "the subscriptions", || {
        when(broker.subscriptions() == readers.len(), broker.log())
    });
    for (from, topic) in [
        ("bob", "im/demo/u/alice/bob"),
        ("system", "im/demo/s/alice"),
        ("alice", "im/demo/c/alice/desktop"),
    ] {
        broker
            .publish(from, &broker.token(from), topic, "private")
            .expect_code(0);
    }
    let log = broker.log();
    assert!(!log.contains("Sending PUBLISH to"), "{log}");
}

#[test]
fn where_client_ids_are_bound_a_foreign_one_is_refused_and_the_rules_hold() {
    let broker = Mosquitto::with_bound_client_ids();
    let (alice, bob) = (broker.token("alice"), broker.token("bob"));
    for foreign in ["desktop:demo:bob", "phone:demo:alice", "anything"] {
        let mut command = broker.client("mosquitto_pub", "alice", &alice);
        let finished = run(
            command.args(["-i", foreign, "-t", "im/demo/u/bob/alice", "-m", "word"]),
            b"",
        );
        finished.expect_code(NOT_AUTHORIZED);
    }
    for (filter, heard) in [("im/demo/u/bob/+", "word\n"), ("im/demo/u/system/+", "")] {
        let before = broker.subscriptions();
        let reader = Running::start(&mut broker.subscribe("bob", &bob, filter, 1), b"");
        eventually(SOON, "the subscription", || {
            when(broker.subscriptions() > before, broker.log())
        });
        for to in ["bob", "system"] {
            let inbox = format!("im/demo/u/{to}/alice");
            broker.publish("alice", &alice, &inbox, "word").expect_code(0);
        }
        let refused = broker.publish("alice", &alice, "im/demo/u/bob/mallory", "word");
        assert!(refused.stderr.contains("Not authorized"), "{refused:?}");
        assert_eq!(reader.finish().stdout, heard, "{filter}");
    }
}

#[test]
fn it_comes_back_on_its_port_with_what_it_had() {
    let mut broker = Mosquitto::start();
    let (address, bob) = (broker.address(), broker.token("bob"));
    let session = ["-c", "-i", "desktop:demo:bob", "-x", "3600"];
    run(
        broker.subscribe("bob", &bob, "im/demo/u/bob/+", 1).args(session),
        b"",
    )
    .expect_code(27);
    let alice = broker.token("alice");
    broker
        .publish("alice", &alice, "im/demo/u/bob/alice", "kept")
        .expect_code(0);
    broker.stop();
    broker.restart();
    assert_eq!(broker.address(), address);
    let read = run(
        broker.subscribe("bob", &bob, "im/demo/u/bob/+", 20).args(session),
        b"",
    );
    assert_eq!(read.expect_code(0).stdout, "kept\n");
    assert_eq!(
        broker
            .logins()
            .iter()
            .filter(|client| *client == "desktop:demo:bob")
            .count(),
        2
    );
    broker.kill9();
    broker.restart();
    broker
        .publish("alice", &alice, "im/demo/u/bob/alice", "again")
        .expect_code(0);
}
