//! Servers that do not speak MQTT, or not to the end.

use std::net::TcpListener;
use std::time::Duration;

use imd::demo::broker::{ConnectAnswer, Then, Times, Who};
use imd_proto::code::Code;
use imd_tests::daemon::Daemon;
use imd_tests::wait::{eventually, timed, when};

use super::stage::{Stage, TOKEN};

fn raw(bytes: &'static [u8], then: Then) -> ConnectAnswer {
    ConnectAnswer::Raw {
        bytes: bytes.into(),
        then,
    }
}

#[track_caller]
fn assert_waited_for(answer: ConnectAnswer, code: Code, says: &[&str]) -> Stage {
    let stage = Stage::answering(answer);
    let connect = stage.app("First").connect("alice", TOKEN);
    let address = stage.broker.url();
    stage.assert_loops(&connect, code, &[says, &[address.as_str()]].concat());
    stage
}

#[test]
fn a_web_server_is_told_from_a_broker() {
    assert_waited_for(
        raw(b"HTTP/1.1 400 Bad Request\r\n\r\n", Then::Close),
        Code::RC_MSG_DATA_INCOMPLETE,
        &["speaks HTTP", "ws:// or wss://"],
    );
}

#[test]
fn a_server_that_encrypts_is_told_from_one_that_does_not() {
    assert_waited_for(
        // The alert "unexpected message" of TLS 1.2.
        raw(b"\x15\x03\x03\x00\x02\x02\x0a", Then::Close),
        Code::RC_MSG_DATA_INCOMPLETE,
        &["speaks TLS", "mqtts://"],
    );
}

#[test]
fn half_a_connack_is_a_connection_that_broke_off() {
    assert_waited_for(
        raw(&[0x20, 0x08, 0x00], Then::Close),
        Code::RC_TCP_DISCONNECTED_NO_RMTP,
        &["in the middle of a packet"],
    );
}

#[test]
fn a_packet_of_256_megabytes_is_refused_by_its_header() {
    let mut stage = assert_waited_for(
        raw(&[0x20, 0xFF, 0xFF, 0xFF, 0x7F], Then::Stay),
        Code::RC_MSG_DATA_INCOMPLETE,
        &["268435460 bytes", "at most 1048576"],
    );
    let peak = stage.daemon.process().peak_memory_mb();
    assert!(peak < 64, "{peak} MB");
}

#[test]
fn a_server_that_closes_at_once_is_waited_for() {
    assert_waited_for(
        ConnectAnswer::Silent(Then::Close),
        Code::RC_TCP_DISCONNECTED_NO_RMTP,
        &["closed the connection without a word"],
    );
}

#[test]
fn a_server_that_resets_at_once_is_waited_for() {
    assert_waited_for(
        ConnectAnswer::Silent(Then::Reset),
        Code::RC_TCP_DISCONNECTED_NO_RMTP,
        &["broke"],
    );
}

#[test]
fn a_connack_that_is_not_as_mqtt_wants_it_is_waited_for() {
    assert_waited_for(
        raw(&[0x20, 0x03, 0x02, 0x00, 0x00], Then::Stay),
        Code::RC_MSG_DATA_INCOMPLETE,
        &["CONNACK that is not as MQTT wants it"],
    );
}

#[test]
fn a_server_that_stays_silent_is_left_after_15_seconds() {
    let stage = Stage::start();
    let silent = ConnectAnswer::Silent(Then::Stay);
    stage
        .broker
        .broker()
        .script()
        .on_connect(Who::Anyone, Times::Next(1), silent);
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.await_connects(1);
    let ((), took) = timed(|| {
        eventually(Duration::from_secs(40), "the second CONNECT", || {
            let seen = stage.connects();
            when(seen.len() > 1, seen)
        });
    });
    assert!(took > Duration::from_secs(14), "{took:?}");
    connect.success();
    stage.assert_connected();
    let says = ["no answer to the login within 15 s", &stage.broker.url()];
    stage.assert_was(13, Code::RC_CONN_ACK_TIMEOUT, &says);
}

#[test]
fn a_port_where_nobody_listens_is_waited_for_with_its_own_code() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let daemon = Daemon::for_server(&format!("mqtt://{address}"));
    let connect = daemon.home().start_connect(TOKEN, &["--user-id", "alice"]);
    let status = daemon.await_status("SUSPEND");
    assert_eq!(status.last_code, Code::CONNECTION_REFUSED.0, "{status:?}");
    assert!(status.reason.contains(&address.to_string()), "{status:?}");
    drop(connect);
}
