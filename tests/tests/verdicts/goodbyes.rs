//! DISCONNECT, and ends without one.

use std::time::Duration;

use imd::demo::broker::{Cut, Reply, Who};
use imd_proto::code::Code;

use super::stage::{ALICE, Ended, Left, Stage, TOKEN, assert_says};

#[test]
fn a_session_that_was_taken_over_is_kicked() {
    let stage = Stage::start();
    let app = stage.alice();
    let taken_over = Reply::code(0x8E).reason("a tablet").user_property("where", "Ulm");
    assert_eq!(stage.broker.broker().disconnect(Who::Anyone, taken_over), 1);
    let seen = app.await_status("KICKED_OFFLINE_BY_OTHER_CLIENT");
    assert_eq!(seen.last_code, Some(Code::RC_DISCONN_KICK));
    stage.assert_ended(&Ended {
        code: Code::RC_DISCONN_KICK,
        status: 3,
        name: "KICKED_OFFLINE_BY_OTHER_CLIENT",
        token: Left::Kept,
        says: &["0x8E session taken over", "a tablet", "Ulm"],
    });
}

#[test]
fn after_kicked_the_same_app_may_connect_again() {
    let stage = Stage::start();
    let app = stage.alice();
    stage.broker.disconnect_all(0x8E);
    app.await_status("KICKED_OFFLINE_BY_OTHER_CLIENT");
    app.connect("alice", TOKEN).success();
    stage.assert_connected();
}

/// The server's DISCONNECT shows as SUSPEND with these, and the connection comes back.
#[track_caller]
fn assert_comes_back(reply: Reply, code: Code, says: &[&str]) {
    let stage = Stage::start();
    let _app = stage.alice();
    assert_eq!(stage.broker.broker().disconnect(Who::Anyone, reply), 1);
    stage.await_connects(2);
    stage.assert_connected();
    stage.assert_was(13, code, says);
    assert_eq!(
        stage.connects(),
        [format!("{ALICE} V5 0x00"), format!("{ALICE} V5 0x00")]
    );
}

#[test]
fn a_server_that_shuts_down_is_waited_for() {
    let reply = Reply::code(0x8B).reason("back at noon");
    assert_comes_back(
        reply,
        Code::UNKNOWN,
        &["0x8B server shutting down", "back at noon", "trying again in"],
    );
}

#[test]
fn an_administrative_action_is_no_verdict() {
    assert_comes_back(
        Reply::code(0x98),
        Code::UNKNOWN,
        &["0x98 administrative action", "trying again in"],
    );
}

#[test]
fn not_authorized_in_a_disconnect_is_no_verdict_on_the_token() {
    assert_comes_back(
        Reply::code(0x87),
        Code::UNKNOWN,
        &["0x87 not authorized", "trying again in"],
    );
}

#[test]
fn a_busy_server_that_disconnects_is_waited_for_with_30015() {
    assert_comes_back(
        Reply::code(0x89),
        Code::CONNECT_OVER_FREQUENCY,
        &["0x89 server busy", "trying again in"],
    );
}

#[test]
fn a_ban_in_a_disconnect_is_left_to_the_next_connack() {
    assert_comes_back(Reply::code(0x8A), Code::UNKNOWN, &["0x8A banned"]);
}

#[test]
fn a_disconnect_that_no_table_knows_keeps_its_number() {
    assert_comes_back(
        Reply::code(0xB7),
        Code::UNKNOWN,
        &["0xB7 a reason code imd does not know"],
    );
}

#[test]
fn a_disconnect_that_names_a_time_is_waited_out() {
    let stage = Stage::start();
    let _app = stage.alice();
    let later = Reply::code(0x8B).user_property("im-retry-after", "2");
    stage.broker.broker().disconnect(Who::Anyone, later);
    let status = stage.await_suspend(Code::UNKNOWN);
    assert_says(&status.reason, &["trying again in 2 s"]);
    stage.assert_connected();
}

#[test]
fn a_connection_that_breaks_comes_back() {
    let stage = Stage::start();
    let _app = stage.alice();
    assert_eq!(stage.broker.broker().cut(Who::Anyone, Cut::Reset), 1);
    stage.await_connects(2);
    stage.assert_connected();
    stage.assert_was(13, Code::RC_SOCKET_DISCONNECTED, &["broke"]);
}

#[test]
fn three_ends_without_a_word_soon_after_login_mean_that_somebody_else_signed_in() {
    let stage = Stage::start();
    let _app = stage.alice();
    for life in 1..=3 {
        stage.await_connects(life);
        stage.assert_connected();
        assert_eq!(stage.broker.broker().cut(Who::Anyone, Cut::Close), 1);
    }
    let status = stage.daemon.await_status_that("the guard", |status| {
        status.reason.contains("signed in elsewhere?")
    });
    assert_eq!(
        (status.status, status.last_code),
        (13, Code::RC_SOCKET_DISCONNECTED.0),
        "{status:?}"
    );
    let left = Duration::try_from(status.next_retry_in.unwrap()).unwrap();
    assert!(
        left <= Duration::from_secs(64) && left > Duration::from_secs(44),
        "{left:?}"
    );
    assert_eq!(stage.connects().len(), 3);

    stage.app("Second").connect("alice", TOKEN).success();
    stage.assert_connected();
    assert_eq!(stage.connects().len(), 4);
}
