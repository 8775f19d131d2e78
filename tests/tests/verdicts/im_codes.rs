//! The server's own codes (the user property `im-code`), which outrank the table.

use imd::demo::broker::{ConnectAnswer, Reply, Who};
use imd_proto::code::Code;

use super::stage::{ALICE, Ended, Left, Stage, TOKEN};

fn coded(reason: u8, code: &str) -> Reply {
    Reply::code(reason)
        .reason("ask the operator")
        .user_property("im-code", code)
}

#[track_caller]
fn assert_connack_ends(reason: u8, code: &str, ended: &Ended) {
    let stage = Stage::refusing(coded(reason, code));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(&connect, ended);
    assert_eq!(stage.connects().len(), 2, "one try, and then the next app's");
}

#[track_caller]
fn assert_disconnect_ends(reason: u8, code: &str, ended: &Ended) {
    let stage = Stage::start();
    let app = stage.alice();
    stage.broker.broker().disconnect(Who::Anyone, coded(reason, code));
    app.await_status(ended.name);
    stage.assert_ended(ended);
}

#[test]
fn im_code_31005_ends_a_connect_that_the_table_would_let_wait() {
    assert_connack_ends(
        0x88,
        "31005",
        &Ended {
            code: Code::RC_CONN_NOT_AUTHRORIZED,
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["0x88 server unavailable", "im-code 31005", "ask the operator"],
        },
    );
}

#[test]
fn im_code_31005_outranks_a_refused_token() {
    assert_connack_ends(
        0x87,
        "31005",
        &Ended {
            code: Code::RC_CONN_NOT_AUTHRORIZED,
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["im-code 31005"],
        },
    );
}

const BLOCKED: Ended = Ended {
    code: Code::RC_CONN_APP_BLOCKED_OR_DELETED,
    status: 6,
    name: "CONN_USER_BLOCKED",
    token: Left::Kept,
    says: &["im-code 31008", "ask the operator"],
};

#[test]
fn im_code_31008_is_a_blocked_app() {
    assert_connack_ends(0x87, "31008", &BLOCKED);
}

#[test]
fn im_code_31008_ends_a_connection_that_is_up() {
    assert_disconnect_ends(0x98, "31008", &BLOCKED);
}

#[test]
fn im_code_31010_is_kicked_in_a_connack_and_in_a_disconnect() {
    let kicked = Ended {
        code: Code::RC_DISCONN_KICK,
        status: 3,
        name: "KICKED_OFFLINE_BY_OTHER_CLIENT",
        token: Left::Kept,
        says: &["im-code 31010", "ask the operator"],
    };
    assert_connack_ends(0x87, "31010", &kicked);
    assert_disconnect_ends(0x98, "31010", &kicked);
}

#[test]
fn im_code_31023_is_the_other_device_that_stays() {
    let kicked = Ended {
        code: Code::RC_DISCONN_SAME_CLIENT_ON_LINE,
        status: 3,
        name: "KICKED_OFFLINE_BY_OTHER_CLIENT",
        token: Left::Kept,
        says: &["im-code 31023", "ask the operator"],
    };
    assert_connack_ends(0x97, "31023", &kicked);
    assert_disconnect_ends(0x98, "31023", &kicked);
}

#[test]
fn im_code_31020_in_a_disconnect_is_an_expired_token() {
    assert_disconnect_ends(
        0x87,
        "31020",
        &Ended {
            code: Code::RC_CONN_TOKEN_EXPIRE,
            status: 4,
            name: "TOKEN_INCORRECT",
            token: Left::Erased,
            says: &["im-code 31020"],
        },
    );
}

#[test]
fn an_im_code_on_a_connack_that_takes_the_login_ends_it_all_the_same() {
    let stage = Stage::answering(ConnectAnswer::Connack(coded(0, "31005")));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(
        &connect,
        &Ended {
            code: Code::RC_CONN_NOT_AUTHRORIZED,
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["im-code 31005", "ask the operator"],
        },
    );
}

#[test]
fn an_im_code_that_nobody_knows_passes_through_and_the_table_decides() {
    let stage = Stage::refusing(coded(0x88, "31999"));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_loops(
        &connect,
        Code(31_999),
        &["0x88 server unavailable", "im-code 31999"],
    );

    let stage = Stage::refusing(coded(0x85, "31999"));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(
        &connect,
        &Ended {
            code: Code(31_999),
            status: 2,
            name: "UNCONNECTED",
            token: Left::Kept,
            says: &["0x85 client identifier not valid", "im-code 31999"],
        },
    );
}

#[test]
fn an_im_code_of_a_fault_that_heals_does_not_end_the_loop() {
    let stage = Stage::refusing(coded(0x89, "31003"));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_loops(&connect, Code::RC_CONN_SERVER_UNAVAILABLE, &["im-code 31003"]);
}

#[test]
fn an_im_code_that_is_no_number_is_only_a_word() {
    let stage = Stage::refusing(coded(0x88, "soon"));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_loops(&connect, Code::RC_CONN_SERVER_UNAVAILABLE, &["0x88", "soon"]);
    assert!(stage.connects().iter().all(|connect| connect.starts_with(ALICE)));
}
