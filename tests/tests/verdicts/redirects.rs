//! Use another server: Server Reference.

use imd::demo::broker::{ConnectAnswer, Event, Reply, Times, Who};
use imd_proto::code::Code;
use imd_tests::scripted::Scripted;

use super::stage::{ALICE, Stage, TOKEN, assert_says, connects};

fn to(code: u8, broker: &Scripted) -> Reply {
    Reply::code(code).server_reference(&broker.broker().address().to_string())
}

#[track_caller]
fn assert_followed(code: u8) {
    let stage = Stage::start();
    let other = Scripted::start();
    stage.answer(ConnectAnswer::Connack(to(code, &other)));
    let connect = stage.app("First").connect("alice", TOKEN);
    assert_eq!(connect.success(), "alice");
    let status = stage.daemon.await_status("CONNECTED");
    assert_eq!(status.server, other.url());
    assert_eq!(stage.connects(), [format!("{ALICE} V5 {code:#04x}")]);
    assert_eq!(connects(&other), [format!("{ALICE} V5 0x00")]);
    // One attempt, with no wait in it.
    assert!(
        stage.history().iter().all(|change| change.status != 13),
        "{:#?}",
        stage.history()
    );
    stage.assert_was(1, Code::RC_CONN_REDIRECTED, &[&other.url()]);
}

#[test]
fn use_another_server_is_followed_at_once() {
    assert_followed(0x9C);
}

#[test]
fn server_moved_is_followed_at_once() {
    assert_followed(0x9D);
}

#[test]
fn a_disconnect_that_names_another_server_is_followed_too() {
    let stage = Stage::start();
    let other = Scripted::start();
    let _app = stage.alice();
    stage.broker.broker().disconnect(Who::Anyone, to(0x9C, &other));
    other.await_event(|event| matches!(event, Event::Connected { .. }));
    stage.assert_connected();
    assert_eq!(stage.daemon.status().server, other.url());
    assert_eq!(stage.connects().len(), 1);
}

#[test]
fn after_a_fault_of_the_other_server_the_configured_one_is_asked_again() {
    let stage = Stage::start();
    let other = Scripted::start();
    stage.answer(ConnectAnswer::Connack(to(0x9C, &other)));
    let _app = stage.alice();
    stage.behave();
    other.wait(other.broker().kill());
    stage.await_connects(2);
    stage.assert_connected();
    assert_eq!(stage.daemon.status().server, stage.broker.url());
}

#[test]
fn references_in_a_circle_are_followed_five_times_and_then_it_waits() {
    let stage = Stage::start();
    let other = Scripted::start();
    stage.answer(ConnectAnswer::Connack(to(0x9C, &other)));
    other.broker().script().on_connect(
        Who::Anyone,
        Times::Always,
        ConnectAnswer::Connack(to(0x9C, &stage.broker)),
    );
    let connect = stage.app("First").connect("alice", TOKEN);
    let status = stage.await_suspend(Code::RC_CONN_REDIRECTED);
    assert_says(&status.reason, &["0x9C use another server", "five references"]);
    assert!(connect.is_waiting());
    // Six dials to an attempt, three at each of the two; further attempts may have begun.
    let history = stage.history();
    let first_wait = history.iter().position(|change| change.status == 13).unwrap();
    let dials = history[..first_wait]
        .iter()
        .filter(|change| change.reason.ends_with("attempt 1"));
    assert_eq!(dials.count(), 6, "{history:#?}");
    assert!(stage.connects().len() >= 3 && connects(&other).len() >= 3);

    other.broker().script().clear();
    connect.success();
    assert_eq!(stage.daemon.status().server, other.url());
}

#[track_caller]
fn assert_unusable(reference: Option<&str>, says: &[&str]) {
    let mut reply = Reply::code(0x9C).reason("go away");
    if let Some(reference) = reference {
        reply = reply.server_reference(reference);
    }
    let stage = Stage::refusing(reply);
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_loops(
        &connect,
        Code::RC_CONN_REDIRECTED,
        &[&["0x9C use another server", "go away"], says].concat(),
    );
    assert_eq!(stage.daemon.status().server, stage.broker.url());
}

#[test]
fn a_reference_that_names_another_scheme_is_not_followed() {
    let other = Scripted::start();
    for scheme in ["mqtts", "ws", "mqtt"] {
        let reference = format!("{scheme}://{}", other.broker().address());
        assert_unusable(
            Some(&reference),
            &["no server reference that can be used", &reference],
        );
    }
    assert_eq!(other.broker().total_network_connections(), 0);
}

#[test]
fn another_server_that_is_not_named_is_waited_for() {
    assert_unusable(None, &["no server reference that can be used"]);
}
