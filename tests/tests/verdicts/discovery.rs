//! The server names the user.

use imd::demo::broker::{ConnectAnswer, End, Event, Gate, Protocol, Reply, Times, Who};
use imd_client::ConnectOptions;
use imd_proto::code::Code;

use super::stage::{ALICE, Ended, Left, Stage, TOKEN, assert_says};

fn names(user: &str) -> ConnectAnswer {
    ConnectAnswer::Connack(Reply::code(0).user_property("im-user-id", user))
}

fn refused(says: &'static [&'static str]) -> Ended {
    Ended {
        code: Code::RC_CONN_TOKEN_INCORRECT,
        status: 4,
        name: "TOKEN_INCORRECT",
        token: Left::Erased,
        says,
    }
}

#[test]
fn the_server_names_the_user_of_a_token_that_does_not() {
    let stage = Stage::answering(names("alice"));
    let app = stage.app("First");
    let connect = app.connect_as(TOKEN, ConnectOptions::new());
    assert_eq!(connect.success(), "alice");
    stage.assert_connected();
    assert_eq!(stage.daemon.status().user_id, "alice");
    assert_eq!(stage.session()["user_id"], "alice");

    let events: Vec<Event> = stage
        .broker
        .broker()
        .events()
        .take()
        .into_iter()
        .map(|record| record.event)
        .collect();
    let [
        Event::Connected {
            client_id,
            user_name: None,
            protocol: Protocol::V5,
            clean: true,
            session_expiry: 0,
            ..
        },
        Event::Disconnected {
            how: End::ByClient(0),
            ..
        },
        Event::Connected {
            client_id: second,
            user_name: Some(user_name),
            clean: false,
            ..
        },
        ..,
    ] = &events[..]
    else {
        panic!("{events:#?}");
    };
    assert!(client_id.starts_with("discover-"), "{client_id}");
    assert_eq!((second.as_str(), user_name.as_str()), (ALICE, "alice"));
    // The same attempt: no wait, and no second number.
    let history = stage.history();
    assert!(
        history.iter().all(|change| change.status != 13)
            && history.iter().all(|change| !change.reason.contains("attempt 2")),
        "{history:#?}"
    );

    // The user of this token is remembered.
    app.client.blocking().disconnect().unwrap();
    app.connect_as(TOKEN, ConnectOptions::new()).success();
    assert_eq!(stage.connects()[2..], [format!("{ALICE} V5 0x00")]);
}

#[test]
fn two_discoveries_have_two_client_ids() {
    let stage = Stage::answering(names("alice"));
    let app = stage.app("First");
    for token in ["one", "two"] {
        app.connect_as(token, ConnectOptions::new()).success();
        app.client.blocking().disconnect().unwrap();
    }
    let connects = stage.connects();
    let mut discoveries: Vec<_> = connects.iter().filter(|id| id.starts_with("discover-")).collect();
    discoveries.dedup();
    assert_eq!(discoveries.len(), 2, "{connects:?}");
}

#[test]
fn a_server_that_does_not_name_the_user_is_31004_saying_so() {
    let stage = Stage::start();
    let connect = stage.app("First").connect_as(TOKEN, ConnectOptions::new());
    let error = connect.error();
    assert!(!connect.is_opened(), "there is no account to open");
    assert_eq!(error.code(), Code::RC_CONN_TOKEN_INCORRECT);
    stage.assert_refused(
        &connect,
        &refused(&["nobody says whose token it is", "im-user-id", "userId"]),
    );
}

#[test]
fn a_server_that_names_a_user_who_cannot_be_one_is_31004() {
    for user in ["a/b", "+", "..", ""] {
        let stage = Stage::answering(names(user));
        let connect = stage.app("First").connect_as(TOKEN, ConnectOptions::new());
        stage.assert_refused(&connect, &refused(&["names a user that cannot be one"]));
    }
}

#[test]
fn a_server_that_names_another_user_is_31004_naming_both() {
    let stage = Stage::answering(names("mallory"));
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.assert_refused(&connect, &refused(&["mallory", "alice"]));
}

#[test]
fn a_server_that_names_the_known_user_is_right() {
    let stage = Stage::answering(names("alice"));
    stage.app("First").connect("alice", TOKEN).success();
    stage.assert_connected();
}

#[test]
fn a_refused_discovery_is_31004_with_the_servers_words() {
    let stage = Stage::refusing(Reply::code(0x86).reason("no such token"));
    let connect = stage.app("First").connect_as(TOKEN, ConnectOptions::new());
    stage.assert_refused(&connect, &refused(&["0x86", "no such token"]));
}

#[test]
fn a_discovery_goes_on_after_a_fault() {
    let stage = Stage::start();
    stage.broker.broker().script().on_connect(
        Who::Anyone,
        Times::Next(3),
        ConnectAnswer::Connack(Reply::code(0x88)),
    );
    stage.answer(names("alice"));
    let connect = stage.app("First").connect_as(TOKEN, ConnectOptions::new());
    assert_eq!(connect.success(), "alice");
    stage.assert_was(13, Code::RC_CONN_SERVER_UNAVAILABLE, &["0x88"]);
}

#[test]
fn an_app_that_expected_another_user_than_the_server_names_is_34001() {
    let (stage, _) = Stage::with_tokens(&[TOKEN]);
    let gate = Gate::new();
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Anyone, Times::Next(1), ConnectAnswer::Hold(gate.clone()));
    let (first, second) = (stage.app("First"), stage.app("Second"));
    let alice = first.connect_as(TOKEN, ConnectOptions::new());
    stage.broker.wait(gate.wait_arrived(1));
    let bob = second.connect("bob", "bob's");
    stage.await_pending("org.example.Second");
    gate.open();
    let error = bob.error();
    assert_eq!(error.code(), Code::RC_CONNECTION_EXIST);
    assert_says(error.text(), &["alice"]);
    assert_eq!(alice.success(), "alice");
    stage.assert_connected();
    assert_eq!(stage.connects().len(), 2);
}
