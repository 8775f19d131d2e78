//! Time limits, sign-out, a daemon that dies.

use std::time::Duration;

use imd::demo::broker::{ConnectAnswer, End, Event, Gate, Sessions, Times, Who};
use imd_client::Sent;
use imd_proto::code::Code;
use imd_tests::daemon::Daemon;
use imd_tests::wait::{SOON, eventually, timed, when};

use super::stage::{ALICE, Ended, Left, Stage, TOKEN, assert_says};

const LIMIT: Duration = Duration::from_secs(1);

/// A daemon whose broker is down.
fn without_broker() -> Stage {
    let stage = Stage::start();
    stage.broker.wait(stage.broker.broker().kill());
    stage
}

fn start_broker(stage: &Stage) {
    stage
        .broker
        .wait(stage.broker.broker().restart(Sessions::Keep))
        .unwrap();
}

#[test]
fn a_time_limit_ends_a_first_connect_with_34006_and_the_loop_with_it() {
    let stage = without_broker();
    let app = stage.app("First");
    let (error, took) = timed(|| app.connect_within("alice", LIMIT).error());
    assert_eq!(error.code(), Code::RC_CONNECT_TIMEOUT);
    assert!(took >= LIMIT && took < LIMIT * 5, "{took:?}");
    start_broker(&stage);
    stage.assert_ended(&Ended {
        code: Code::RC_CONNECT_TIMEOUT,
        status: 14,
        name: "TIMEOUT",
        token: Left::Kept,
        says: &["no connection within the time limit", "refused"],
    });
}

#[test]
fn a_time_limit_ends_a_connect_whose_server_hangs() {
    let stage = Stage::start();
    let gate = Gate::new();
    stage.answer(ConnectAnswer::Hold(gate.clone()));
    let connect = stage.app("First").connect_within("alice", LIMIT);
    assert_eq!(connect.error().code(), Code::RC_CONNECT_TIMEOUT);
    stage.behave();
    gate.open();
    stage.assert_ended(&Ended {
        code: Code::RC_CONNECT_TIMEOUT,
        status: 14,
        name: "TIMEOUT",
        token: Left::Kept,
        says: &["no connection within the time limit"],
    });
}

#[test]
fn one_apps_time_limit_is_not_anothers() {
    let stage = without_broker();
    let (patient, hasty) = (stage.app("Patient"), stage.app("Hasty"));
    let long = patient.connect("alice", TOKEN);
    long.await_database();
    let error = hasty.connect_within("alice", LIMIT).error();
    assert_eq!(error.code(), Code::RC_CONNECT_TIMEOUT);
    assert!(long.is_waiting());
    assert!([1, 13].contains(&stage.daemon.status().status));
    start_broker(&stage);
    assert_eq!(long.success(), "alice");
    // The one whose time was up may connect again.
    hasty.connect("alice", TOKEN).success();
    assert_eq!(stage.connects(), [format!("{ALICE} V5 0x00")]);
}

#[test]
fn a_time_limit_of_a_joiner_does_not_end_a_connection_that_was_up() {
    let stage = Stage::start();
    let _app = stage.alice();
    stage.broker.wait(stage.broker.broker().kill());
    let error = stage.app("Second").connect_within("alice", LIMIT).error();
    assert_eq!(error.code(), Code::RC_CONNECT_TIMEOUT);
    assert!([1, 13].contains(&stage.daemon.status().status));
    assert_eq!(stage.session()["wanted"], true);
    start_broker(&stage);
    stage.app("Third").connect("alice", TOKEN).success();
    stage.assert_connected();
}

#[test]
fn a_connect_before_the_broker_is_there_succeeds_when_it_is() {
    let stage = without_broker();
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.await_suspend(Code::CONNECTION_REFUSED);
    // The callback and the status come by streams of their own.
    eventually(SOON, "onDatabaseOpened", || when(connect.is_opened(), ()));
    assert!(connect.is_waiting());
    start_broker(&stage);
    assert_eq!(connect.success(), "alice");
    stage.assert_connected();
}

#[test]
fn another_apps_disconnect_is_told_with_its_name_and_pid_and_keeps_the_session() {
    let stage = Stage::start();
    let (first, second) = (stage.alice(), stage.app("Second"));
    second.client.blocking().disconnect().unwrap();
    let seen = first.await_status("SIGN_OUT");
    let pid = format!("pid {}", std::process::id());
    assert_says(&seen.reason, &["disconnected", "org.example.Second", &pid]);
    assert_eq!((seen.number(), seen.last_code, seen.next_retry), (12, None, None));
    let session = stage.session();
    assert_eq!(
        (&session["wanted"], &session["token"]),
        (&false.into(), &TOKEN.into())
    );
    await_farewell(&stage);
    assert!(stage.broker.broker().session(ALICE).is_some());
    stage.assert_nothing_goes_on();
}

#[test]
fn another_apps_logout_ends_the_session_and_erases_the_token() {
    let stage = Stage::start();
    let (first, second) = (stage.alice(), stage.app("Second"));
    second.client.blocking().logout().unwrap();
    let seen = first.await_status("SIGN_OUT");
    let pid = format!("pid {}", std::process::id());
    assert_says(&seen.reason, &["logged out", "org.example.Second", &pid]);
    let session = stage.session();
    assert!(session["wanted"] == false && session["token"].is_null());
    await_farewell(&stage);
    eventually(SOON, "the session's end", || {
        let session = stage.broker.broker().session(ALICE);
        when(session.is_none(), session)
    });
    stage.assert_nothing_goes_on();
}

fn await_farewell(stage: &Stage) {
    stage.broker.await_event(|event| {
        matches!(
            event,
            Event::Disconnected { client_id, how: End::ByClient(0) } if client_id == ALICE
        )
    });
}

#[test]
fn a_connect_that_waits_is_told_of_the_disconnect_with_31016() {
    let stage = Stage::start();
    let gate = Gate::new();
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Anyone, Times::Next(1), ConnectAnswer::Hold(gate.clone()));
    let (first, second) = (stage.app("First"), stage.app("Second"));
    let connect = first.connect("alice", TOKEN);
    stage.broker.wait(gate.wait_arrived(1));
    second.client.blocking().disconnect().unwrap();
    let error = connect.error();
    assert_eq!(error.code(), Code::RC_CONN_CANCELED);
    assert_says(error.text(), &["org.example.Second"]);
    first.await_status("SIGN_OUT");
    stage.assert_nothing_goes_on();
    gate.open();
}

#[test]
fn a_daemon_that_is_killed_while_an_app_connects_does_not_end_the_connect() {
    let mut stage = Stage::start();
    let gate = Gate::new();
    stage.answer(ConnectAnswer::Hold(gate.clone()));
    let app = stage.app("First");
    let connect = app.connect("alice", TOKEN);
    stage.broker.wait(gate.wait_arrived(1));
    stage.daemon.kill9();
    app.await_status("DAEMON_LOST");
    let (refused, took) = timed(|| app.client.blocking().disconnect().unwrap_err());
    assert_eq!((refused.code(), refused.sent()), (Code::IPC_DISCONNECT, Sent::No));
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(connect.is_waiting());

    // The next daemon does not remember a connect that had not succeeded: it is the app's library that asks.
    stage.behave();
    gate.open();
    stage.daemon.start();
    assert_eq!(connect.success(), "alice");
    app.await_status("CONNECTED");
}

#[test]
fn a_daemon_that_is_killed_leaves_the_time_limit_of_a_connect_to_the_library() {
    let mut stage = Stage::start();
    stage.answer(ConnectAnswer::Hold(Gate::new()));
    let app = stage.app("First");
    let connect = app.connect_within("alice", Duration::from_secs(2));
    connect.await_database();
    stage.daemon.kill9();
    assert_eq!(connect.error().code(), Code::RC_CONNECT_TIMEOUT);

    // A first connect that nobody waits for any more is not taken up again.
    stage.behave();
    stage.daemon.start();
    stage.assert_nothing_goes_on();
}

#[test]
fn without_a_server_in_the_configuration_connect_says_which_file_is_missing() {
    let daemon = Daemon::configured("");
    let refused = daemon.home().connect(TOKEN, &["--user-id", "alice"]);
    refused.expect_code(1);
    assert_says(&refused.stderr, &["IMD_NO_SERVER (90002)", "imd.toml"]);
}
