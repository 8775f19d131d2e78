//! The table of verdicts, row by row.

use imd_core::Code;
use imd_core::io::{Accepted, ConnectionStatus, FaultKind, HangUp, LinkEvent, Network, Protocol};

use super::support::*;

/// `chat` waits as alice, and the server is being asked.
fn dialing() -> Imd {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.forget();
    imd
}

#[track_caller]
fn ends_with(imd: &Imd, code: Code, status: ConnectionStatus) {
    assert_eq!(imd.told("chat"), [Told::Error(code)]);
    imd.is(status);
    assert_eq!(imd.status().last_code, Some(code));
    assert!(!imd.wanted());
    assert_eq!(imd.next_wake_up(), None, "nothing is tried again");
}

#[track_caller]
fn loops_with(imd: &mut Imd, code: Code) {
    assert_eq!(imd.told("chat"), []);
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.status().last_code, Some(code));
    assert!(imd.wanted());
    imd.redials();
    imd.is(ConnectionStatus::Connecting);
}

#[test]
fn a_server_without_mqtt_5_is_asked_in_3_1_1_once_and_at_once() {
    let mut imd = dialing();
    imd.refuses(words(0x84));
    assert_eq!(imd.dialed().protocol, Protocol::V311);
    assert_eq!(imd.status().attempt, 1, "it is the same attempt");
    imd.refuses(words(0x84));
    ends_with(
        &imd,
        Code::RC_CONN_PROTO_VERSION_ERROR,
        ConnectionStatus::Unconnected,
    );
}

#[test]
fn a_server_that_closes_on_mqtt_5_twice_without_a_word_is_asked_in_3_1_1() {
    let mut imd = dialing();
    for _ in 1..=2 {
        assert_eq!(imd.dialed().protocol, Protocol::V5);
        imd.fails(FaultKind::BareEof);
        imd.redials();
    }
    assert_eq!(imd.dialed().protocol, Protocol::V311);
    imd.comes_up();
    for _ in 1..=2 {
        imd.fails(FaultKind::Io);
        imd.redials();
        assert_eq!(imd.dialed().protocol, Protocol::V311, "it has answered in 3.1.1");
        imd.fails(FaultKind::BareEof);
        imd.redials();
        assert_eq!(imd.dialed().protocol, Protocol::V311);
        imd.comes_up();
    }
}

#[test]
fn a_server_that_answers_neither_version_is_asked_in_both_in_turn() {
    let mut imd = dialing();
    let mut asked = Vec::new();
    for _ in 1..=6 {
        asked.push(imd.dialed().protocol);
        imd.fails(FaultKind::BareEof);
        imd.redials();
    }
    let (newer, older) = (Protocol::V5, Protocol::V311);
    assert_eq!(asked, [newer, newer, older, older, newer, newer]);
}

#[test]
fn a_server_that_had_spoken_mqtt_5_is_never_asked_in_3_1_1_for_closing() {
    let mut imd = Imd::online();
    for _ in 1..=4 {
        imd.fails(FaultKind::BareEof);
        imd.redials();
        assert_eq!(imd.dialed().protocol, Protocol::V5);
    }
}

#[test]
fn a_server_that_refuses_3_1_1_after_it_closed_on_mqtt_5_is_asked_in_5_again() {
    let mut imd = dialing();
    for _ in 1..=2 {
        imd.fails(FaultKind::BareEof);
        imd.redials();
    }
    imd.refuses(words(0x84));
    loops_with(&mut imd, Code::RC_CONN_PROTO_VERSION_ERROR);
    assert_eq!(imd.dialed().protocol, Protocol::V5);
}

#[test]
fn a_refused_client_id_is_31002() {
    let mut imd = dialing();
    imd.refuses(words(0x85));
    ends_with(&imd, Code::RC_CONN_ID_REJECT, ConnectionStatus::Unconnected);
}

#[test]
fn a_refused_inbox_or_marker_is_31002_and_the_link_that_is_still_open_is_ended() {
    let mut imd = dialing();
    imd.accepts();
    let what = "the own inbox".to_owned();
    imd.link(LinkEvent::LoginRefused { what });
    ends_with(&imd, Code::RC_CONN_ID_REJECT, ConnectionStatus::Unconnected);
    assert!(imd.hung_up().is_some());
}

#[test]
fn a_server_that_is_unavailable_or_busy_is_waited_for() {
    for (reason, code) in [
        (0x88, Code::RC_CONN_SERVER_UNAVAILABLE),
        (0x89, Code::CONNECT_OVER_FREQUENCY),
        (0x97, Code::CONNECT_OVER_FREQUENCY),
        (0x9F, Code::CONNECT_OVER_FREQUENCY),
    ] {
        let mut imd = dialing();
        imd.refuses(words(reason));
        loops_with(&mut imd, code);
    }
}

#[test]
fn a_refused_token_is_31004_and_is_erased() {
    for reason in [0x86, 0x87, 0x8C, 0x95] {
        let mut imd = dialing();
        imd.refuses(words(reason));
        ends_with(
            &imd,
            Code::RC_CONN_TOKEN_INCORRECT,
            ConnectionStatus::TokenIncorrect,
        );
        assert_eq!(imd.remembered_token(), None);
    }
}

#[test]
fn a_refused_jwt_is_31020_when_it_ended_more_than_five_minutes_ago() {
    for (ended, code) in [
        (301, Code::RC_CONN_TOKEN_EXPIRE),
        (299, Code::RC_CONN_TOKEN_INCORRECT),
    ] {
        let mut imd = Imd::with_apps();
        let token = jwt(&format!(r#"{{"sub":"alice","exp":{}}}"#, BEGIN - ended));
        assert_eq!(imd.connect("chat", with(&token)), Ok(()));
        imd.forget();
        imd.refuses(words(0x87));
        ends_with(&imd, code, ConnectionStatus::TokenIncorrect);
    }
}

#[test]
fn a_banned_user_is_31009() {
    let mut imd = dialing();
    imd.refuses(words(0x8A));
    ends_with(
        &imd,
        Code::RC_CONN_USER_BLOCKED,
        ConnectionStatus::ConnUserBlocked,
    );
    assert!(imd.remembered_token().is_some(), "the token is not to blame");
}

const TERMINAL: [(i32, ConnectionStatus); 10] = [
    (31_004, ConnectionStatus::TokenIncorrect),
    (31_005, ConnectionStatus::Unconnected),
    (31_008, ConnectionStatus::ConnUserBlocked),
    (31_009, ConnectionStatus::ConnUserBlocked),
    (31_010, ConnectionStatus::KickedOfflineByOtherClient),
    (31_011, ConnectionStatus::ConnUserBlocked),
    (31_020, ConnectionStatus::TokenIncorrect),
    (31_023, ConnectionStatus::KickedOfflineByOtherClient),
    (31_027, ConnectionStatus::TokenIncorrect),
    (31_030, ConnectionStatus::Unconnected),
];

#[test]
fn a_terminal_im_code_outranks_the_reason_of_a_refusal() {
    for (code, status) in TERMINAL {
        for reason in [0x80, 0x88, 0x8A] {
            let mut imd = dialing();
            imd.refuses(imd_core::io::ServerWords {
                reason,
                ..im_code(code)
            });
            ends_with(&imd, Code(code), status);
        }
    }
}

#[test]
fn a_terminal_im_code_ends_a_login_that_was_taken() {
    for (code, status) in TERMINAL {
        let mut imd = dialing();
        imd.link(LinkEvent::Accepted(Accepted {
            im_code: Some(Code(code)),
            ..Accepted::default()
        }));
        ends_with(&imd, Code(code), status);
        assert!(imd.hung_up().is_some());
    }
}

#[test]
fn a_terminal_im_code_on_a_disconnect_ends_the_connection() {
    for (code, status) in TERMINAL {
        let mut imd = Imd::online();
        imd.disconnects(im_code(code));
        imd.is(status);
        assert!(!imd.wanted());
        assert_eq!(
            imd.told("chat"),
            [Told::Opened, success("alice")],
            "onSuccess stays true"
        );
    }
}

#[test]
fn an_im_code_of_no_terminal_row_passes_through_and_the_reason_decides() {
    for code in [31_099, -77, Code::RC_CONN_SERVER_UNAVAILABLE.0] {
        let mut imd = dialing();
        imd.refuses(im_code(code));
        loops_with(&mut imd, Code(code));
    }
    let mut imd = dialing();
    imd.refuses(imd_core::io::ServerWords {
        reason: 0x8A,
        ..im_code(31_099)
    });
    assert_eq!(imd.told("chat"), [Told::Error(Code(31_099))]);
    assert!(!imd.wanted());
}

#[test]
fn a_takeover_kicks_every_app_and_keeps_the_token() {
    let mut imd = Imd::online();
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
    imd.disconnects(words(0x8E));
    imd.is(ConnectionStatus::KickedOfflineByOtherClient);
    assert_eq!(imd.status().last_code, Some(Code::RC_DISCONN_KICK));
    assert!(!imd.wanted());
    assert_eq!(imd.remembered_token().as_deref(), Some("t1"));
    for app in ["chat", "mail"] {
        assert_eq!(imd.connect(app, with("t1")), Ok(()), "{app} may connect again");
    }
}

#[test]
fn any_other_disconnect_goes_to_the_loop_whatever_its_number_means_in_a_connack() {
    for reason in [
        0x00, 0x80, 0x81, 0x82, 0x87, 0x8A, 0x8B, 0x8D, 0x93, 0x95, 0x98, 0xFE,
    ] {
        let mut imd = Imd::online();
        imd.disconnects(words(reason));
        imd.is(ConnectionStatus::Suspend);
        imd.redials();
    }
}

#[test]
fn a_number_in_no_row_is_unknown_with_the_number_in_its_text() {
    let mut imd = dialing();
    imd.refuses(words(0xC3));
    assert!(imd.status().reason.contains("0xC3"), "{}", imd.status().reason);
    loops_with(&mut imd, Code::UNKNOWN);
}

#[test]
fn a_server_reference_is_followed_at_once_on_the_same_transport() {
    let mut imd = dialing();
    imd.refuses(elsewhere("two.example:99"));
    assert_eq!(imd.dialed().server.to_string(), "mqtt://two.example:99");
    imd.is(ConnectionStatus::Connecting);
    imd.comes_up();
    assert_eq!(imd.told("chat"), [success("alice")]);
}

#[test]
fn a_server_reference_does_not_send_the_token_unencrypted_where_the_configuration_may_not() {
    let mut imd = Imd::online();
    imd.forbid_plaintext();
    imd.restart();
    imd.refuses(elsewhere("two.example"));
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.status().last_code, Some(Code::RC_CONN_REDIRECTED));
    assert!(
        imd.status().reason.contains("plaintext = true"),
        "{}",
        imd.status().reason
    );
    imd.redials();
    imd.refuses(elsewhere("127.0.0.2"));
    assert_eq!(&*imd.dialed().server.host, "127.0.0.2");
}

#[test]
fn five_references_are_followed_and_no_sixth_before_a_wait() {
    let mut imd = dialing();
    for hop in 1..=5 {
        imd.refuses(elsewhere(&format!("hop{hop}.example")));
        assert_eq!(&*imd.dialed().server.host, format!("hop{hop}.example"));
    }
    imd.refuses(elsewhere("hop6.example"));
    loops_with(&mut imd, Code::RC_CONN_REDIRECTED);
    assert_eq!(
        &*imd.dialed().server.host,
        "one.example",
        "the references are dropped"
    );
    imd.comes_up();
    imd.disconnects(elsewhere("hop1.example"));
    assert_eq!(&*imd.dialed().server.host, "hop1.example");
}

#[test]
fn two_servers_that_take_each_login_and_point_to_each_other_are_left_for_a_while() {
    let mut imd = dialing();
    for hop in ["two", "one", "two", "one", "two"].map(|name| format!("{name}.example")) {
        imd.comes_up();
        imd.disconnects(elsewhere(&hop));
        assert_eq!(&*imd.dialed().server.host, hop);
    }
    imd.comes_up();
    imd.disconnects(elsewhere("one.example"));
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.status().last_code, Some(Code::RC_CONN_REDIRECTED));
    imd.redials();
    assert_eq!(&*imd.dialed().server.host, "one.example");
}

#[test]
fn after_a_stable_life_five_more_references_are_followed() {
    let mut imd = dialing();
    for hop in 1..=12 {
        imd.comes_up();
        if hop % 5 == 0 {
            imd.wait(secs(20));
        }
        imd.disconnects(elsewhere(&format!("hop{hop}.example")));
        assert_eq!(&*imd.dialed().server.host, format!("hop{hop}.example"));
    }
}

#[test]
fn a_reference_that_cannot_be_used_goes_to_the_loop() {
    for reference in ["", "mqtt://two.example", "two.example:0", "user@two.example"] {
        let mut imd = dialing();
        imd.refuses(elsewhere(reference));
        loops_with(&mut imd, Code::RC_CONN_REDIRECTED);
    }
}

#[test]
fn every_fault_of_the_way_goes_to_the_loop_under_its_own_code() {
    for (kind, code) in [
        (FaultKind::NameNotResolved, Code::RC_DOMAIN_NOT_RESOLVE),
        (FaultKind::ConnectionRefused, Code::CONNECTION_REFUSED),
        (FaultKind::Unreachable, Code::RC_SOCKET_NOT_CREATED),
        (FaultKind::BareEof, Code::RC_TCP_DISCONNECTED_NO_RMTP),
        (FaultKind::Io, Code::RC_TCP_DISCONNECTED_NO_RMTP),
        (FaultKind::Protocol, Code::RC_MSG_DATA_INCOMPLETE),
        (FaultKind::Certificate, Code::IMD_CERTIFICATE),
        (FaultKind::Tls, Code::IMD_TLS),
        (FaultKind::NavUnreachable, Code::RC_HTTP_SEND_FAIL),
        (FaultKind::NavSilent, Code::RC_HTTP_REQ_TIMEOUT),
        (FaultKind::NavRefused, Code::RC_NAVI_REQ_FAILED),
        (FaultKind::NavMalformed, Code::RC_NODE_NOT_FOUND),
    ] {
        let mut imd = dialing();
        imd.fails(kind);
        loops_with(&mut imd, code);
    }
}

#[test]
fn a_proxy_that_cannot_be_reached_ends_a_first_connect_and_no_later_one() {
    let mut imd = dialing();
    imd.fails(FaultKind::Proxy);
    ends_with(
        &imd,
        Code::RC_CONN_PROXY_UNAVAILABLE,
        ConnectionStatus::ProxyUnavailable,
    );

    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.fails(FaultKind::Proxy);
    imd.is(ConnectionStatus::Suspend);
}

#[test]
fn a_server_that_does_not_answer_is_given_up_after_15_s() {
    let mut imd = dialing();
    imd.wait(ms(14_999));
    assert_eq!(imd.hung_up(), None);
    imd.wait(ms(1));
    assert_eq!(imd.hung_up(), Some(HangUp::Abort));
    loops_with(&mut imd, Code::RC_CONN_ACK_TIMEOUT);

    let mut imd = dialing();
    imd.wait(secs(14));
    imd.accepts();
    imd.wait(ms(14_999));
    assert_eq!(imd.hung_up(), None, "the login has 15 s of its own");
    imd.wait(ms(1));
    assert_eq!(imd.hung_up(), Some(HangUp::Abort));
}

#[test]
fn a_user_other_than_the_token_s_is_31004_naming_both() {
    let mut imd = dialing();
    imd.accepts_as("bob");
    let reason = imd.status().reason;
    assert!(reason.contains("bob") && reason.contains("alice"), "{reason}");
    ends_with(
        &imd,
        Code::RC_CONN_TOKEN_INCORRECT,
        ConnectionStatus::TokenIncorrect,
    );
}

#[test]
fn a_hint_of_the_server_beats_the_table() {
    let mut imd = dialing();
    imd.refuses(hint(45));
    assert_eq!(imd.redials(), secs(45));
    let mut imd = Imd::online();
    imd.disconnects(hint(200));
    assert_eq!(imd.redials(), secs(200));
}

#[test]
fn a_hint_of_0_is_none_and_no_hint_counts_for_more_than_an_hour() {
    let mut imd = dialing();
    imd.refuses(hint(0));
    assert_eq!(imd.redials(), ms(50));
    imd.refuses(hint(1_000_000));
    assert_eq!(imd.redials(), secs(3_600));
}

#[test]
fn a_redirect_that_comes_while_there_is_no_network_waits_for_it() {
    let mut imd = Imd::online();
    imd.network(Network::Unavailable);
    let dials = imd.dials();
    imd.disconnects(elsewhere("two.example"));
    assert_eq!(imd.dials(), dials);
    imd.is(ConnectionStatus::NetworkUnavailable);
    imd.network(Network::Available);
    assert_eq!(imd.dials(), dials + 1);
}
