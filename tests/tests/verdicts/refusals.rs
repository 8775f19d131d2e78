//! CONNACK: versions, client ids, bans, and the answers that only make it wait.

use std::time::Duration;

use imd::demo::broker::{ConnectAnswer, Reply, Times, Who};
use imd_proto::code::Code;
use imd_tests::wait::timed;

use super::stage::{ALICE, Ended, Left, Stage, TOKEN, assert_says};

/// What the server adds for people to read.
fn said(code: u8) -> Reply {
    Reply::code(code)
        .reason("ask the\u{7} operator")
        .server_reference("other.example:1884")
        .user_property("ticket", "4711")
}

/// All of what [`said`] says, fit to be shown.
const SAID: &[&str] = &["ask the operator", "other.example:1884", "ticket", "4711"];

#[track_caller]
fn assert_loops_at(reason: u8, code: Code, name: &'static str) {
    let stage = Stage::refusing(said(reason));
    let connect = stage.app("First").connect("alice", TOKEN);
    let number = format!("0x{reason:02X}");
    stage.assert_loops(&connect, code, &[&[number.as_str(), name], SAID].concat());
}

#[test]
fn a_server_without_mqtt_5_is_asked_once_in_3_1_1_and_then_it_is_31001() {
    let stage = Stage::refusing(Reply::code(0x84));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(
        &connect,
        &Ended {
            code: Code::RC_CONN_PROTO_VERSION_ERROR,
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["0x84 unsupported protocol version"],
        },
    );
    assert_eq!(
        stage.connects()[..2],
        [format!("{ALICE} V5 0x84"), format!("{ALICE} 3.1.1 0x84")]
    );
}

#[test]
fn a_connack_of_3_1_1_to_mqtt_5_is_31001_only_if_3_1_1_is_refused_too() {
    let stage = Stage::answering(ConnectAnswer::Version311(1));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(
        &connect,
        &Ended {
            code: Code::RC_CONN_PROTO_VERSION_ERROR,
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["0x84 unsupported protocol version", "(1 in MQTT 3.1.1)"],
        },
    );
    assert_eq!(
        stage.connects()[..2],
        [format!("{ALICE} V5 0x01"), format!("{ALICE} 3.1.1 0x01")]
    );
}

#[test]
fn a_refused_client_id_is_31002_and_the_servers_words_are_kept() {
    let stage = Stage::refusing(said(0x85));
    let connect = stage.app("First").connect("alice", TOKEN);
    let ended = Ended {
        code: Code::RC_CONN_ID_REJECT,
        status: 2,
        name: "UNCONNECTED",
        token: Left::Kept,
        says: &["0x85 client identifier not valid"],
    };
    assert_says(connect.error().text(), SAID);
    stage.assert_refused(&connect, &ended);
}

#[test]
fn a_banned_user_is_31009() {
    let stage = Stage::refusing(said(0x8A));
    let connect = stage.app("First").connect("alice", TOKEN);
    assert_says(connect.error().text(), SAID);
    stage.assert_refused(
        &connect,
        &Ended {
            code: Code::RC_CONN_USER_BLOCKED,
            status: 6,
            name: "CONN_USER_BLOCKED",
            token: Left::Kept,
            says: &["0x8A banned"],
        },
    );
}

#[test]
fn a_verified_connection_ends_with_a_ban_too() {
    let stage = Stage::start();
    let app = stage.alice();
    stage.answer(ConnectAnswer::Connack(Reply::code(0x8A)));
    stage.broker.disconnect_all(0x98);
    app.await_status("CONN_USER_BLOCKED");
    stage.assert_ended(&Ended {
        code: Code::RC_CONN_USER_BLOCKED,
        status: 6,
        name: "CONN_USER_BLOCKED",
        token: Left::Kept,
        says: &["0x8A banned"],
    });
}

#[test]
fn an_unavailable_server_is_waited_for_with_31003() {
    assert_loops_at(0x88, Code::RC_CONN_SERVER_UNAVAILABLE, "server unavailable");
}

#[test]
fn a_busy_server_is_waited_for_with_30015() {
    assert_loops_at(0x89, Code::CONNECT_OVER_FREQUENCY, "server busy");
}

#[test]
fn a_spent_quota_is_waited_for_with_30015() {
    assert_loops_at(0x97, Code::CONNECT_OVER_FREQUENCY, "quota exceeded");
}

#[test]
fn a_rate_that_was_exceeded_is_waited_for_with_30015() {
    assert_loops_at(0x9F, Code::CONNECT_OVER_FREQUENCY, "connection rate exceeded");
}

#[test]
fn a_reason_without_a_row_is_waited_for_with_unknown_and_its_number() {
    assert_loops_at(0x80, Code::UNKNOWN, "unspecified error");
}

#[test]
fn a_reason_that_no_table_knows_is_waited_for_with_its_number() {
    assert_loops_at(0xA5, Code::UNKNOWN, "a reason code imd does not know");
}

#[test]
fn the_time_the_server_names_is_waited_and_no_connect_shortens_it() {
    const NAMED: Duration = Duration::from_secs(3);
    let stage = Stage::start();
    let busy = Reply::code(0x89).user_property("im-retry-after", "3");
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Anyone, Times::Next(1), ConnectAnswer::Connack(busy));
    let (first, second) = (stage.app("First"), stage.app("Second"));
    let connect = first.connect("alice", TOKEN);
    stage.await_connects(1);
    let ((), waited) = timed(|| {
        let status = stage.await_suspend(Code::CONNECT_OVER_FREQUENCY);
        let left = Duration::try_from(status.next_retry_in.unwrap()).unwrap();
        assert!(left <= NAMED && left > Duration::from_secs(1), "{left:?}");
        assert_says(&status.reason, &["trying again in 3 s"]);
        let joined = second.connect("alice", TOKEN);
        joined.await_database();
        stage.await_connects(2);
        connect.success();
        joined.success();
    });
    assert!(waited > NAMED - Duration::from_millis(500), "{waited:?}");
    assert_eq!(
        stage.connects(),
        [format!("{ALICE} V5 0x89"), format!("{ALICE} V5 0x00")]
    );
}
