//! The log goes on where it was.

use imd_client::{Code, Cursor, Event, EventKind, Events, Start};
use imd_proto::imd::v1;
use imd_proto::imd::v1::subscribe_request;
use tokio_stream::StreamExt as _;

use super::client;
use super::fake::archive::{private, text};
use super::fake::{FakeDaemon, wait};

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
fn uid(events: &mut Events) -> String {
    let event = next(events);
    let EventKind::Message(message) = event.kind else {
        panic!("it is no message: {event:?}");
    };
    message.uid
}

fn starts(daemon: &FakeDaemon) -> Vec<subscribe_request::Start> {
    let starts = daemon.script.archive.starts.lock().unwrap();
    starts.iter().cloned().map(Option::unwrap).collect()
}

fn at(offset: u64) -> subscribe_request::Start {
    subscribe_request::Start::Cursor(v1::Cursor {
        epoch: "first".to_owned(),
        offset,
    })
}

#[test]
fn a_stream_goes_on_after_the_last_event_it_gave() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    assert_eq!(next(&mut events).kind, EventKind::Started { recovered: true });
    message(&daemon, "one");
    assert_eq!(uid(&mut events), "one");
    for (number, name) in ["two", "three", "four"].into_iter().enumerate() {
        daemon.kill();
        // It came while nobody could be told.
        message(&daemon, name);
        daemon.restart();
        assert_eq!(uid(&mut events), name, "no error, no start, nothing twice");
        assert_eq!(starts(&daemon).last(), Some(&at(number as u64 + 1)));
    }
}

#[test]
fn the_tail_is_where_it_was_first_found() {
    let mut daemon = FakeDaemon::start();
    message(&daemon, "before");
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    assert_eq!(next(&mut events).cursor.offset, 1);
    daemon.kill();
    message(&daemon, "meanwhile");
    daemon.restart();
    assert_eq!(uid(&mut events), "meanwhile");
}

#[test]
fn a_stream_that_has_not_begun_begins_with_the_next_daemon() {
    let mut daemon = FakeDaemon::start();
    daemon.script.archive.open("");
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Named("main".to_owned()));
    daemon.script.wait_for_subscribed(1);
    daemon.kill();
    daemon.script.archive.open("first");
    daemon.restart();
    assert_eq!(next(&mut events).kind, EventKind::Started { recovered: true });
    let name = subscribe_request::Start::Name("main".to_owned());
    assert_eq!(starts(&daemon), [name.clone(), name]);
    message(&daemon, "one");
    assert_eq!(uid(&mut events), "one");
    daemon.restart();
    message(&daemon, "two");
    assert_eq!(uid(&mut events), "two");
    assert_eq!(starts(&daemon).last(), Some(&at(1)), "after that by its cursor");
}

#[test]
fn a_cursor_of_the_apps_own_is_told_to_begin_even_if_the_first_daemon_never_said_so() {
    let mut daemon = FakeDaemon::start();
    daemon.script.silence("Subscribe");
    let client = client(&daemon);
    let cursor = Cursor {
        epoch: "first".to_owned(),
        offset: 0,
    };
    let mut events = client.subscribe(Start::Cursor(cursor));
    daemon.script.wait_for_call("Subscribe");
    daemon.script.behave();
    daemon.restart();
    assert_eq!(next(&mut events).kind, EventKind::Started { recovered: true });
}

#[test]
fn a_log_that_does_not_reach_back_any_longer_is_told() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    next(&mut events);
    daemon.kill();
    daemon.script.archive.open("another");
    daemon.restart();
    let started = next(&mut events);
    assert_eq!(started.kind, EventKind::Started { recovered: false });
    assert_eq!(started.cursor.epoch, "another");
}

#[test]
fn a_stream_that_is_called_for_while_there_is_no_daemon_begins_with_the_next_one() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    daemon.kill();
    let mut events = client.subscribe(Start::Tail);
    daemon.restart();
    assert_eq!(next(&mut events).kind, EventKind::Started { recovered: true });
}

#[test]
fn a_daemon_that_refuses_a_stream_that_goes_on_ends_it() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut events = client.subscribe(Start::Tail);
    next(&mut events);
    daemon.kill();
    daemon.script.refuse("Subscribe", Code::BIZ_ERROR_DATABASE_ERROR);
    daemon.restart();
    let error = wait(events.next()).unwrap().unwrap_err();
    assert_eq!(error.code(), Code::BIZ_ERROR_DATABASE_ERROR);
    assert!(wait(events.next()).is_none());
}

#[test]
fn many_streams_and_a_connect_are_all_taken_up() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut streams: Vec<_> = (0..40).map(|_| client.subscribe(Start::Tail)).collect();
    for events in &mut streams {
        next(events);
    }
    daemon.restart();
    daemon.script.wait_for_subscribed(40);
    message(&daemon, "one");
    for events in &mut streams {
        assert_eq!(uid(events), "one");
    }
}
