//! Messages: accepted once, whatever dies.

use std::sync::mpsc;
use std::time::Duration;

use imd_client::{Code, Sending, Sent};

use super::fake::archive::{private, text};
use super::fake::{FakeDaemon, wait};
use super::{client, next_loss};

fn sends(daemon: &FakeDaemon) -> Vec<String> {
    daemon.script.archive.sends.lock().unwrap().clone()
}

fn uids(sendings: &[Sending]) -> Vec<String> {
    sendings.iter().map(|sending| sending.uid().to_owned()).collect()
}

#[test]
fn a_daemon_killed_between_a_message_and_its_answer_has_it_once() {
    let mut daemon = FakeDaemon::start();
    daemon.script.swallow("SendMessages");
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    daemon.script.wait_for_call("SendMessages unanswered");
    daemon.script.behave();
    daemon.restart();
    assert_eq!(wait(sending.accepted()).unwrap().uid, sending.uid());
    // The log may tell that it was accepted before it is sent again.
    daemon.script.wait_for_calls("SendMessages", 2);
    assert_eq!(sends(&daemon), [sending.uid(), sending.uid()], "the same uid");
    let stored = wait(client.get_message(sending.uid())).unwrap();
    assert_eq!(stored.id, 1);
    // It is seen to be sent and received by the new daemon.
    daemon.script.archive.settle(sending.uid(), 40, 0);
    wait(sending.received()).unwrap();
}

#[test]
fn messages_wait_for_the_next_daemon_in_their_order() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    wait(client.send_text("bob", "first").accepted()).unwrap();
    daemon.kill();
    next_loss(&mut changes);
    let sendings: Vec<_> = (0..100)
        .map(|at| client.send_text("bob", at.to_string()))
        .collect();
    daemon.restart();
    for sending in &sendings {
        wait(sending.accepted()).unwrap();
    }
    assert_eq!(sends(&daemon).split_off(1), uids(&sendings));
}

#[test]
fn what_waits_is_bounded_without_a_daemon_too() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    daemon.kill();
    let sendings: Vec<_> = (0..1025)
        .map(|at| client.send_text("bob", at.to_string()))
        .collect();
    let error = wait(sendings.last().unwrap().accepted()).unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IMD_TOO_MANY, Sent::No));
}

#[test]
fn an_account_that_the_next_daemon_has_yet_to_open_is_waited_for() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    wait(client.send_text("bob", "first").accepted()).unwrap();
    daemon.kill();
    daemon.script.archive.open("");
    let sending = client.send_text("bob", "second");
    daemon.restart();
    daemon.script.wait_for_call("SendMessages refused");
    daemon.script.archive.open("first");
    wait(sending.accepted()).unwrap();
    assert_eq!(
        sends(&daemon).len(),
        3,
        "it was asked when it could be, and not before"
    );
}

#[test]
fn a_listener_that_sends_as_soon_as_it_is_told_of_the_next_daemon_waits_for_the_account_too() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    daemon.kill();
    daemon.script.archive.open("");
    let (tell, told) = mpsc::channel();
    let sender = client.clone();
    let _listener = client.add_connection_status_listener(move |status| {
        if status.daemon_run_id == "run 2" && !status.is_daemon_lost() {
            tell.send(sender.send_text("bob", "I am back")).unwrap();
        }
    });
    daemon.restart();
    let sending = told.recv_timeout(Duration::from_secs(20)).unwrap();
    daemon.script.wait_for_call("SendMessages refused");
    daemon.script.archive.open("first");
    wait(sending.accepted()).unwrap();
    assert_eq!(sends(&daemon), [sending.uid(); 2], "the same uid");
}

#[test]
fn what_becomes_of_an_accepted_message_is_seen_over_a_death() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    wait(sending.accepted()).unwrap();
    daemon.script.wait_for_call("GetMessage");
    daemon.kill();
    // It is sent while the app has no daemon to be told by.
    daemon.script.archive.settle(sending.uid(), 30, 0);
    daemon.restart();
    wait(sending.sent()).unwrap();
    daemon.restart();
    daemon.script.archive.settle(sending.uid(), 40, 0);
    wait(sending.received()).unwrap();
}

#[test]
fn a_message_is_asked_for_again_where_the_log_does_not_tell() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    wait(sending.accepted()).unwrap();
    daemon.script.wait_for_call("GetMessage");
    daemon.kill();
    daemon.script.archive.set(sending.uid(), 40, 0, false);
    daemon.script.archive.open("another log");
    daemon.restart();
    wait(sending.received()).unwrap();
}

#[test]
fn a_silence_about_one_message_does_not_end_the_wait_for_all() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("GetMessage");
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    wait(sending.accepted()).unwrap();
    daemon.script.wait_for_call("GetMessage");
    // The log does not tell it.
    daemon.script.archive.set(sending.uid(), 40, 0, false);
    daemon.script.behave();
    wait(sending.received()).unwrap();
}

#[test]
fn a_log_that_is_not_opened_in_time_is_opened_later() {
    for call in ["silent", "full"] {
        let daemon = FakeDaemon::start();
        match call {
            "silent" => daemon.script.silence("Subscribe"),
            _ => daemon.script.refuse("Subscribe", Code::IMD_TOO_MANY),
        }
        let client = client(&daemon);
        let sending = client.send_text("bob", "hello");
        wait(sending.accepted()).unwrap();
        daemon.script.wait_for_call("Subscribe");
        daemon.script.behave();
        daemon.script.archive.settle(sending.uid(), 40, 0);
        wait(sending.received()).unwrap();
    }
}

#[test]
fn a_refusal_is_told_and_is_not_waited_out_without_a_death() {
    let daemon = FakeDaemon::start();
    daemon.script.archive.open("");
    let client = client(&daemon);
    let error = wait(client.send_text("bob", "hello").accepted()).unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::RC_DB_NOT_INIT, Sent::Yes));
    daemon.script.archive.open("first");
    daemon
        .script
        .archive
        .store(text("x", private("bob"), "bob", "hi"));
    wait(client.send_text("bob", "hello").accepted()).unwrap();
}
