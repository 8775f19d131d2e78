//! The log of events, followed from a cursor on.

#![cfg(test)]

mod fake;

use fake::archive::{private, text};
use fake::{FakeDaemon, wait};
use imd_client::{Client, Code, ConversationKey, Cursor, Event, EventKind, Events, GapKind, Start};
use imd_proto::imd::v1;
use imd_proto::imd::v1::event::Content;
use tokio_stream::StreamExt as _;

fn client(daemon: &FakeDaemon) -> Client {
    Client::builder("demo").socket(daemon.socket()).build().unwrap()
}

fn message(daemon: &FakeDaemon, uid: &str) {
    daemon
        .script
        .archive
        .store(text(uid, private("bob"), "bob", "hello"));
}

#[track_caller]
fn next(events: &mut Events) -> Event {
    wait(events.next()).unwrap().unwrap()
}

#[track_caller]
fn uid(event: Event) -> String {
    let EventKind::Message(message) = event.kind else {
        panic!("it is no message: {event:?}");
    };
    message.uid
}

#[test]
fn the_tail_begins_with_its_cursor_and_gives_what_comes() {
    let daemon = FakeDaemon::start();
    message(&daemon, "before");
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    let started = next(&mut events);
    assert_eq!(started.kind, EventKind::Started { recovered: true });
    let cursor = Cursor {
        epoch: "first".to_owned(),
        offset: 1,
    };
    assert_eq!(started.cursor, cursor);
    message(&daemon, "after");
    let event = next(&mut events);
    assert_eq!(event.cursor.offset, 2);
    assert_eq!(uid(event), "after");
}

#[test]
fn a_cursor_goes_on_with_the_next_event() {
    let daemon = FakeDaemon::start();
    for uid in ["one", "two", "three"] {
        message(&daemon, uid);
    }
    let client = client(&daemon);
    let cursor = |epoch: &str, offset| {
        let epoch = epoch.to_owned();
        Start::Cursor(Cursor { epoch, offset })
    };
    let mut events = client.subscribe(cursor("first", 1));
    assert_eq!(next(&mut events).kind, EventKind::Started { recovered: true });
    assert_eq!(uid(next(&mut events)), "two");
    assert_eq!(uid(next(&mut events)), "three");

    let mut events = client.subscribe(cursor("of another database", 1));
    let started = next(&mut events);
    assert_eq!(started.kind, EventKind::Started { recovered: false });
    assert_eq!(started.cursor.offset, 3);
}

#[test]
fn a_name_goes_on_where_it_was_acknowledged() {
    let daemon = FakeDaemon::start();
    message(&daemon, "one");
    message(&daemon, "two");
    let client = client(&daemon);
    let cursor = Cursor {
        epoch: "first".to_owned(),
        offset: 1,
    };
    wait(client.ack_events("main", &cursor)).unwrap();
    let mut events = client.subscribe(Start::Named("main".to_owned()));
    assert_eq!(next(&mut events).cursor, cursor);
    assert_eq!(uid(next(&mut events)), "two");
}

#[test]
fn every_kind_of_event_is_told() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    next(&mut events);
    let archive = &daemon.script.archive;
    archive.log(Content::Gap(v1::Gap {
        kind: v1::GapKind::GroupSequence.into(),
        conversation: Some(fake::archive::group("team")),
        sender_user_id: "bob".to_owned(),
        missing: 3,
        text: "3 are missing".to_owned(),
    }));
    archive.log(Content::OfflineSyncCompleted(v1::OfflineSyncCompleted {
        complete: true,
    }));
    archive.log(Content::Unreadable(v1::Unreadable {
        topic: "im/demo/u/alice/bob".to_owned(),
        reason: "no envelope".to_owned(),
        bytes: 7,
    }));
    archive.log(Content::Deleted(v1::Deleted { message_id: 5 }));

    let EventKind::Gap(gap) = next(&mut events).kind else {
        panic!("it is a gap");
    };
    assert_eq!((gap.kind, gap.missing), (GapKind::GroupSequence, Some(3)));
    assert_eq!(gap.conversation, Some(ConversationKey::group("team")));
    assert_eq!(
        next(&mut events).kind,
        EventKind::OfflineSyncCompleted { complete: true }
    );
    assert!(matches!(
        next(&mut events).kind,
        EventKind::Unreadable { bytes: 7, .. }
    ));
    assert_eq!(next(&mut events).kind, EventKind::Deleted { message_id: 5 });
}

#[test]
fn another_account_is_told_as_another_start() {
    let daemon = FakeDaemon::start();
    daemon.script.archive.open("");
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    daemon.script.wait_for_subscribed(1);
    daemon.script.archive.open("alices");
    assert_eq!(next(&mut events).kind, EventKind::Started { recovered: true });
    daemon.script.archive.open("bobs");
    let started = next(&mut events);
    assert_eq!(started.kind, EventKind::Started { recovered: false });
    assert_eq!(started.cursor.epoch, "bobs");
}

#[test]
fn a_refused_subscription_tells_its_code() {
    let daemon = FakeDaemon::start();
    daemon
        .script
        .refuse("Subscribe", Code::BIZ_ERROR_INVALID_PARAMETER);
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Named("\0".to_owned()));
    let error = wait(events.next()).unwrap().unwrap_err();
    assert_eq!(error.code(), Code::BIZ_ERROR_INVALID_PARAMETER);
    assert!(wait(events.next()).is_none());
}

#[test]
fn a_dropped_stream_ends_the_subscription() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let events = client.subscribe(Start::Tail);
    daemon.script.wait_for_subscribed(1);
    drop(events);
    daemon.script.wait_for_subscribed(0);
}

#[test]
fn readers_that_have_stopped_hold_up_neither_each_other_nor_the_calls() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let stopped: Vec<_> = (0..40).map(|_| client.subscribe(Start::Tail)).collect();
    daemon.script.wait_for_subscribed(40);
    let mut reading = client.subscribe(Start::Tail);
    next(&mut reading);
    let filler = "x".repeat(100_000);
    for at in 0..20 {
        let message = text(&at.to_string(), private("bob"), "bob", &filler);
        daemon.script.archive.store(message);
        assert_eq!(uid(next(&mut reading)), at.to_string());
    }
    assert!(client.blocking().version().is_ok());
    drop(stopped);
}
