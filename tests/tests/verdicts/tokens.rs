//! Refused and expired tokens, the further tries of a good one, the better one of another app.

use std::time::Duration;

use imd::demo::broker::{ConnectAnswer, Cut, Gate, Reply, Times, Who};
use imd_proto::code::Code;
use imd_tests::APP_KEY;
use imd_tests::token;
use serde_json::json;

use super::stage::{ALICE, Ended, Left, Stage, TOKEN, assert_says};

const REFUSED: Ended = Ended {
    code: Code::RC_CONN_TOKEN_INCORRECT,
    status: 4,
    name: "TOKEN_INCORRECT",
    token: Left::Erased,
    says: &[],
};

const EXPIRED: Ended = Ended {
    code: Code::RC_CONN_TOKEN_EXPIRE,
    says: &["the token has expired"],
    ..REFUSED
};

#[track_caller]
fn assert_refused_at_once(reason: u8, says: &'static [&'static str]) {
    let stage = Stage::refusing(Reply::code(reason).reason("no such token"));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(&connect, &Ended { says, ..REFUSED });
    assert_eq!(stage.connects().len(), 2, "one try, and then the next app's");
}

#[test]
fn a_bad_user_name_or_password_is_31004_at_once() {
    assert_refused_at_once(0x86, &["0x86 bad user name or password", "no such token"]);
}

#[test]
fn not_authorized_is_31004_at_once() {
    assert_refused_at_once(0x87, &["0x87 not authorized", "no such token"]);
}

#[test]
fn a_bad_authentication_method_is_31004_at_once() {
    assert_refused_at_once(0x8C, &["0x8C bad authentication method", "no such token"]);
}

#[test]
fn a_connect_that_is_too_large_is_31004_at_once() {
    assert_refused_at_once(0x95, &["0x95 packet too large", "no such token"]);
}

#[test]
fn a_token_past_its_end_is_31020() {
    for reason in [0x86, 0x87] {
        let stage = Stage::refusing(Reply::code(reason));
        let connect = stage.app("First").connect("alice", &token::until("alice", -330));
        stage.assert_refused(&connect, &EXPIRED);
    }
}

#[test]
fn within_five_minutes_of_its_end_a_refused_token_is_31004() {
    let stage = Stage::refusing(Reply::code(0x87));
    let connect = stage.app("First").connect("alice", &token::until("alice", -270));
    stage.assert_refused(&connect, &REFUSED);
}

#[test]
fn an_expired_token_that_the_server_takes_is_no_error() {
    let stage = Stage::start();
    let app = stage.app("First");
    app.connect("alice", &token::until("alice", -3600)).success();
    stage.assert_connected();
}

#[test]
fn a_token_of_another_user_or_app_key_is_31004_without_asking_the_server() {
    let stage = Stage::start();
    let error = stage.app("First").connect("alice", &token::of("mallory")).error();
    assert_eq!(error.code(), Code::RC_CONN_TOKEN_INCORRECT);
    assert_says(error.text(), &["mallory", "alice"]);
    let foreign = token::jwt(&json!({ "sub": "alice", "app": "other" }));
    let error = stage.app("Second").connect("alice", &foreign).error();
    assert_eq!(error.code(), Code::RC_CONN_TOKEN_INCORRECT);
    assert_says(error.text(), &["other", APP_KEY]);
    assert_eq!(stage.broker.broker().total_network_connections(), 0);
}

/// Refuses the reconnect of a connection that was up.
fn refused_reconnect(stage: &Stage, reply: Reply) {
    stage.answer(ConnectAnswer::Connack(reply));
    assert_eq!(stage.broker.broker().cut(Who::Anyone, Cut::Reset), 1);
}

#[track_caller]
fn assert_lenient(stage: &Stage, code: Code) {
    let status = stage.await_suspend(code);
    let left = Duration::try_from(status.next_retry_in.unwrap()).unwrap();
    assert!(
        left <= Duration::from_secs(4) && left > Duration::from_secs(1),
        "{left:?}"
    );
    assert_says(
        &status.reason,
        &["the token was good before", "trying again in 4 s"],
    );
    let session = stage.session();
    assert!(session["wanted"] == true && session["token"].is_string());
}

#[test]
fn a_token_that_was_good_is_tried_again_after_4_seconds() {
    let stage = Stage::start();
    let _app = stage.alice();
    refused_reconnect(&stage, Reply::code(0x86));
    stage.await_connects(2);
    assert_lenient(&stage, Code::RC_CONN_TOKEN_INCORRECT);
    stage.behave();
    stage.assert_connected();
    let all = ["0x00", "0x86", "0x00"].map(|code| format!("{ALICE} V5 {code}"));
    assert_eq!(stage.connects(), all);
}

#[test]
fn each_way_to_refuse_a_token_that_was_good_is_waited_out() {
    for reason in [0x87, 0x8C, 0x95] {
        let stage = Stage::start();
        let _app = stage.alice();
        refused_reconnect(&stage, Reply::code(reason));
        stage.await_connects(2);
        assert_lenient(&stage, Code::RC_CONN_TOKEN_INCORRECT);
    }
}

#[test]
fn a_token_that_was_good_and_has_expired_since_is_waited_out_with_31020() {
    let stage = Stage::start();
    let app = stage.app("First");
    app.connect("alice", &token::until("alice", -3600)).success();
    refused_reconnect(&stage, Reply::code(0x87));
    stage.await_connects(2);
    assert_lenient(&stage, Code::RC_CONN_TOKEN_EXPIRE);
}

#[test]
fn a_server_that_is_explicit_about_a_good_token_is_believed_at_once() {
    let stage = Stage::start();
    let _app = stage.alice();
    refused_reconnect(&stage, Reply::code(0x87).user_property("im-code", "31004"));
    stage.assert_ended(&Ended {
        says: &["im-code 31004"],
        ..REFUSED
    });
}

#[test]
fn a_restarted_daemon_gives_a_good_token_its_further_tries_too() {
    let mut stage = Stage::start();
    drop(stage.alice());
    stage.daemon.terminate();
    stage.answer(ConnectAnswer::Connack(Reply::code(0x86)));
    stage.daemon.start();
    stage.await_connects(2);
    assert_lenient(&stage, Code::RC_CONN_TOKEN_INCORRECT);
}

#[test]
fn a_better_token_of_another_app_does_not_wait_for_the_refused_one() {
    let (stage, accounts) = Stage::with_tokens(&["old", "new"]);
    let app = stage.app("First");
    app.connect("alice", "old").success();
    accounts.remove_token("old");
    stage.broker.broker().cut(Who::Anyone, Cut::Reset);
    stage.await_connects(2);
    assert_lenient(&stage, Code::RC_CONN_TOKEN_INCORRECT);

    stage.app("Second").connect("alice", "new").success();
    stage.assert_connected();
    assert_eq!(stage.session()["token"], "new");
    let all = ["0x00", "0x86", "0x00"].map(|code| format!("{ALICE} V5 {code}"));
    assert_eq!(stage.connects(), all);
}

#[test]
fn a_wrong_token_is_told_to_its_own_app_alone_and_the_joiners_is_tried() {
    let (stage, _) = Stage::with_tokens(&["good"]);
    let gate = Gate::new();
    let held = ConnectAnswer::Hold(gate.clone());
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Anyone, Times::Next(1), held);
    let (first, second) = (stage.app("First"), stage.app("Second"));
    let wrong = first.connect("alice", "wrong");
    stage.broker.wait(gate.wait_arrived(1));
    let right = second.connect("alice", "good");
    right.await_database();
    gate.open();
    assert_eq!(wrong.error().code(), Code::RC_CONN_TOKEN_INCORRECT);
    assert_eq!(right.success(), "alice");
    stage.assert_connected();
    assert_eq!(stage.session()["token"], "good");
    assert!(stage.history().iter().all(|change| change.status != 4));

    first.connect("alice", "wrong").success();
    assert_eq!(
        stage.connects().len(),
        2,
        "a joiner's token is tried only if it must be"
    );
}

#[test]
fn a_joiner_gets_no_verdict_before_its_own_token_was_tried() {
    let (stage, _) = Stage::with_tokens(&[]);
    let gate = Gate::new();
    let held = ConnectAnswer::Hold(gate.clone());
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Anyone, Times::Next(1), held);
    let (first, second) = (stage.app("First"), stage.app("Second"));
    let wrong = first.connect("alice", "wrong");
    stage.broker.wait(gate.wait_arrived(1));
    let expired = second.connect("alice", &token::until("alice", -3600));
    expired.await_database();
    gate.open();
    assert_eq!(wrong.error().code(), Code::RC_CONN_TOKEN_INCORRECT);
    stage.assert_refused(&expired, &EXPIRED);
    assert_eq!(stage.connects().len(), 3, "each token once, and the next app's");
}

#[test]
fn after_a_refused_token_the_same_app_connects_with_a_better_one() {
    let (stage, _) = Stage::with_tokens(&["good"]);
    let app = stage.app("First");
    assert_eq!(
        app.connect("alice", "wrong").error().code(),
        Code::RC_CONN_TOKEN_INCORRECT
    );
    assert!(stage.session()["token"].is_null());
    app.connect("alice", "good").success();
    stage.assert_connected();
}
