//! MQTT 3.1.1, with a server that has no MQTT 5.

use imd::demo::broker::{ConnectAnswer, Cut, Event, Protocol, Reply, Times, Who};
use imd_client::ConnectOptions;
use imd_proto::code::Code;
use imd_tests::wait::{SOON, eventually, when};

use super::stage::{ALICE, Connect, Ended, Left, Stage, TOKEN};

/// A server without MQTT 5.
fn old() -> Stage {
    let stage = Stage::start();
    forget_version_5(&stage);
    stage
}

fn forget_version_5(stage: &Stage) {
    let old = ConnectAnswer::Version311(1);
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Speaks(Protocol::V5), Times::Always, old);
}

/// One that refuses 3.1.1 with this return code.
fn refusing(code: u8) -> (Stage, Connect) {
    let stage = old();
    stage.broker.broker().script().on_connect(
        Who::Speaks(Protocol::V3_1_1),
        Times::Always,
        ConnectAnswer::Connack(Reply::code(code)),
    );
    let connect = stage.app("First").connect("alice", TOKEN);
    (stage, connect)
}

const TOKEN_INCORRECT: Ended = Ended {
    code: Code::RC_CONN_TOKEN_INCORRECT,
    status: 4,
    name: "TOKEN_INCORRECT",
    token: Left::Erased,
    says: &[],
};

#[test]
fn the_login_is_made_in_3_1_1_and_kept_there() {
    let stage = old();
    let _app = stage.alice();
    stage.assert_connected();
    assert!(
        stage.history().iter().all(|change| change.status != 13),
        "the second version is tried at once"
    );
    stage.broker.broker().cut(Who::Anyone, Cut::Reset);
    stage.await_connects(3);
    stage.assert_connected();
    assert_eq!(
        stage.connects(),
        [
            format!("{ALICE} V5 0x01"),
            format!("{ALICE} 3.1.1 0x00"),
            format!("{ALICE} 3.1.1 0x00")
        ]
    );
}

#[test]
fn return_code_1_is_31001() {
    let (stage, connect) = refusing(1);
    let ended = Ended {
        code: Code::RC_CONN_PROTO_VERSION_ERROR,
        status: 2,
        name: "UNCONNECTED",
        token: Left::Kept,
        says: &["(1 in MQTT 3.1.1)"],
    };
    stage.assert_refused(&connect, &ended);
}

#[test]
fn return_code_2_is_31002() {
    let (stage, connect) = refusing(2);
    let ended = Ended {
        code: Code::RC_CONN_ID_REJECT,
        status: 2,
        name: "UNCONNECTED",
        token: Left::Kept,
        says: &["client identifier not valid", "(2 in MQTT 3.1.1)"],
    };
    stage.assert_refused(&connect, &ended);
}

#[test]
fn return_code_3_is_waited_for_with_31003() {
    let (stage, connect) = refusing(3);
    stage.assert_loops(
        &connect,
        Code::RC_CONN_SERVER_UNAVAILABLE,
        &["server unavailable", "(3 in MQTT 3.1.1)"],
    );
}

#[test]
fn return_code_4_is_31004() {
    let (stage, connect) = refusing(4);
    let says = &["bad user name or password", "(4 in MQTT 3.1.1)"];
    stage.assert_refused(
        &connect,
        &Ended {
            says,
            ..TOKEN_INCORRECT
        },
    );
}

#[test]
fn return_code_5_is_31004() {
    let (stage, connect) = refusing(5);
    let says = &["not authorized", "(5 in MQTT 3.1.1)"];
    stage.assert_refused(
        &connect,
        &Ended {
            says,
            ..TOKEN_INCORRECT
        },
    );
}

#[test]
fn a_return_code_that_3_1_1_does_not_have_is_waited_for_with_its_number() {
    let (stage, connect) = refusing(9);
    stage.assert_loops(&connect, Code::UNKNOWN, &["0x09 a reason code imd does not know"]);
}

#[test]
fn a_refused_inbox_is_31002() {
    let stage = old();
    stage
        .broker
        .broker()
        .script()
        .on_subscribe(Who::Anyone, "im/demo/u/+/+", Times::Always, 0x87);
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(
        &connect,
        &Ended {
            code: Code::RC_CONN_ID_REJECT,
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["the own inbox"],
        },
    );
}

#[test]
fn a_user_whom_nobody_names_cannot_be_asked_for_and_is_31004() {
    let stage = old();
    let connect = stage.app("First").connect_as(TOKEN, ConnectOptions::new());
    let says = &["MQTT 3.1.1", "userId"];
    stage.assert_refused(
        &connect,
        &Ended {
            says,
            ..TOKEN_INCORRECT
        },
    );
}

#[test]
fn disconnect_keeps_the_session() {
    let stage = old();
    let app = stage.alice();
    app.client.blocking().disconnect().unwrap();
    stage
        .broker
        .await_event(|event| matches!(event, Event::Disconnected { client_id, .. } if client_id == ALICE));
    assert!(stage.broker.broker().session(ALICE).is_some());
    stage.behave();
    stage.assert_nothing_goes_on();
}

#[test]
fn logout_ends_the_session_with_a_clean_connect() {
    let stage = old();
    let app = stage.alice();
    app.client.blocking().logout().unwrap();
    assert!(stage.session()["token"].is_null());
    stage.broker.await_event(|event| {
        matches!(
            event,
            Event::Connected { client_id, clean: true, protocol: Protocol::V3_1_1, .. } if client_id == ALICE
        )
    });
    eventually(SOON, "the session's end", || {
        let session = stage.broker.broker().session(ALICE);
        when(session.is_none(), session)
    });
    assert_eq!(stage.daemon.status().status_name, "SIGN_OUT");
    assert_eq!(stage.connects().len(), 3);
    stage.assert_nothing_goes_on();
}
