//! Disconnect, logout, and what outlives the daemon.

use imd_core::Code;
use imd_core::io::{
    Accepted, Action, ConnectionStatus, Event, FaultKind, HangUp, Input, LinkEvent, LoginPolicy, Protocol,
};

use super::support::*;

fn marker(installation: &str) -> LinkEvent {
    LinkEvent::MarkerFound {
        installation: imd_core::account::InstallationId::new(installation),
    }
}

#[test]
fn disconnect_ends_the_connection_for_every_app_says_who_asked_and_keeps_session_and_token() {
    let mut imd = Imd::online();
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
    imd.disconnect("bot");
    imd.is(ConnectionStatus::SignOut);
    let reason = imd.status().reason;
    assert!(
        reason.contains("org.example.bot") && reason.contains("4711"),
        "{reason}"
    );
    assert_eq!(imd.hung_up(), Some(HangUp::KeepSession));
    assert_eq!(imd.remembered_token().as_deref(), Some("t1"));
    assert!(!imd.wanted());
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn who_waits_when_somebody_disconnects_is_told_31016() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.disconnect("mail");
    assert_eq!(
        imd.told("chat"),
        [Told::Opened, Told::Error(Code::RC_CONN_CANCELED)]
    );
}

#[test]
fn logout_ends_the_session_and_erases_the_token() {
    let mut imd = Imd::online();
    imd.logout("chat");
    imd.is(ConnectionStatus::SignOut);
    assert_eq!(imd.hung_up(), Some(HangUp::EndSession));
    assert_eq!(imd.remembered_token(), None);
}

#[test]
fn logout_in_3_1_1_ends_the_session_by_a_clean_connect_that_nobody_sees() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.refuses(words(0x84));
    imd.comes_up();
    imd.logout("chat");
    assert_eq!(imd.hung_up(), Some(HangUp::KeepSession));
    let clean = imd.dialed();
    assert!(clean.clean);
    assert_eq!(clean.protocol, Protocol::V311);
    assert_eq!(clean.client_id, "desktop:demo:alice");
    imd.is(ConnectionStatus::SignOut);
    imd.accepts();
    imd.is(ConnectionStatus::SignOut);
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn a_clean_connect_after_logout_that_fails_is_given_up_quietly() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.refuses(words(0x84));
    imd.comes_up();
    imd.logout("chat");
    imd.wait(secs(15));
    imd.is(ConnectionStatus::SignOut);
    assert_eq!(imd.hung_up(), Some(HangUp::Abort));
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn to_disconnect_twice_is_to_disconnect_once() {
    let mut imd = Imd::online();
    imd.disconnect("chat");
    let status = imd.status();
    imd.disconnect("mail");
    assert_eq!(imd.status(), status);
}

#[test]
fn an_end_that_has_come_before_disconnect_keeps_its_status() {
    let mut imd = Imd::with_apps();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(1))),
        Ok(())
    );
    imd.wait(secs(1));
    imd.disconnect("chat");
    imd.is(ConnectionStatus::Timeout);
    imd.logout("chat");
    imd.is(ConnectionStatus::Timeout);
    assert_eq!(imd.remembered_token(), None, "but a logout erases the token");
}

#[test]
fn a_daemon_that_was_connected_dials_by_itself_after_its_death() {
    let mut imd = Imd::online();
    imd.restart();
    assert_eq!(imd.dials(), 1);
    imd.comes_up();
    imd.is(ConnectionStatus::Connected);
    assert_eq!(imd.connect("mail", with("t1").one_call("demo")), Ok(()));
    assert_eq!(imd.told("mail"), [Told::Opened, success("alice")]);
}

#[test]
fn after_an_end_a_restarted_daemon_stays_offline_with_its_history_open() {
    let ends: [fn(&mut Imd); 6] = [
        |imd| imd.disconnects(words(0x8E)),
        |imd| imd.disconnects(im_code(31_004)),
        |imd| imd.disconnects(im_code(31_020)),
        |imd| imd.disconnects(im_code(31_009)),
        |imd| imd.disconnect("chat"),
        |imd| imd.logout("chat"),
    ];
    for end in ends {
        let mut imd = Imd::online();
        end(&mut imd);
        imd.restart();
        assert_eq!((imd.dials(), imd.next_wake_up()), (0, None));
        imd.first(|action| matches!(action, Action::OpenAccount(_)));
    }
}

#[test]
fn a_connect_that_never_succeeded_is_the_library_s_to_repeat_after_a_restart() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice").id("c1")), Ok(()));
    imd.restart();
    assert_eq!((imd.dials(), imd.next_wake_up()), (0, None));
    assert_eq!(imd.init("chat", "demo"), Ok(()));
    let again = with("t1").user("alice").id("c1").database_opened_seen();
    assert_eq!(imd.connect("chat", again), Ok(()));
    imd.comes_up();
    assert_eq!(
        imd.told("chat"),
        [success("alice")],
        "onDatabaseOpened is not repeated"
    );
}

#[test]
fn what_had_succeeded_is_taken_up_where_the_connection_is_wanted_or_nothing_is_known() {
    let resumed = || with("t1").user("alice").id("c1").resumed();
    let mut imd = Imd::online();
    imd.restart();
    assert_eq!(imd.init("chat", "demo"), Ok(()));
    assert_eq!(imd.connect("chat", resumed()), Ok(()), "it is wanted");
    assert_eq!(imd.dials(), 1);
    // It was not to remember.
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", resumed()), Ok(()));
    assert_eq!(imd.dials(), 1);
}

#[test]
fn what_had_succeeded_is_never_taken_up_against_whoever_has_signed_out_since() {
    let resumed = || with("t1").user("alice").id("c1").resumed();
    let ends: [fn(&mut Imd); 3] = [
        |imd| imd.disconnect("mail"),
        |imd| imd.logout("mail"),
        |imd| imd.refuses(im_code(31_009)),
    ];
    for end in ends {
        let mut imd = Imd::online();
        imd.restart();
        assert_eq!(imd.init("chat", "demo"), Ok(()));
        end(&mut imd);
        assert_eq!(imd.connect("chat", resumed()), Err(Code::RC_CONN_CANCELED));
        assert!(!imd.wanted());
        assert_eq!(
            imd.connect("chat", with("t1").user("alice")),
            Ok(()),
            "a new wish"
        );
    }
    // It knew nothing, and was told: there was nothing to remember either.
    let mut imd = Imd::with_apps();
    imd.disconnect("mail");
    assert_eq!(imd.connect("chat", resumed()), Err(Code::RC_CONN_CANCELED));
    assert_eq!(imd.dials(), 0);
}

#[test]
fn a_restarted_daemon_whose_database_fails_leaves_the_wanted_state_for_the_next_start() {
    let mut imd = Imd::online();
    imd.databases_open = false;
    imd.restart();
    assert_eq!(imd.dials(), 0);
    imd.is(ConnectionStatus::Unconnected);
    assert_eq!(imd.status().last_code, Some(Code::BIZ_ERROR_DATABASE_ERROR));
    assert!(imd.wanted());
    imd.databases_open = true;
    imd.restart();
    assert_eq!(imd.dials(), 1);
}

#[test]
fn a_disconnect_that_finds_nothing_going_on_still_ends_what_the_next_start_would_take_up() {
    let mut imd = Imd::online();
    imd.databases_open = false;
    imd.restart();
    imd.disconnect("chat");
    assert!(!imd.wanted());
}

#[test]
fn a_restarted_daemon_asks_leniently_with_the_token_that_was_good() {
    let mut imd = Imd::online();
    imd.restart();
    imd.refuses(words(0x87));
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.redials(), secs(4));
}

#[test]
fn the_wanted_state_is_written_before_it_is_published() {
    let mut imd = Imd::online();
    let persisted = |wanted: bool, verified: bool| {
        move |action: &Action| {
            matches!(action, Action::Persist(remembered)
                if remembered.wanted == wanted && remembered.verified == verified)
        }
    };
    let published = |status: ConnectionStatus| move |action: &Action| matches!(action, Action::Publish(published) if published.status == status);
    assert!(imd.first(persisted(true, false)) < imd.first(published(ConnectionStatus::Connecting)));
    assert!(imd.first(persisted(true, true)) < imd.first(published(ConnectionStatus::Connected)));
    imd.disconnect("chat");
    assert!(imd.first(persisted(false, true)) < imd.first(published(ConnectionStatus::SignOut)));
}

#[test]
fn a_stop_keeps_session_and_wanted_state_and_calls_nobody_back() {
    let mut imd = Imd::online();
    imd.forget();
    imd.input(Input::Stop);
    assert_eq!(imd.hung_up(), Some(HangUp::KeepSession));
    assert!(matches!(imd.actions.last(), Some(Action::Stopped)));
    assert!(imd.wanted());
    assert_eq!(imd.connect("chat", with("t1")), Err(Code::IMD_STOPPING));
    imd.restart();
    assert_eq!(imd.dials(), 1);

    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.input(Input::Stop);
    assert_eq!(imd.told("chat"), [Told::Opened]);
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn a_session_that_the_server_has_lost_is_told_but_not_on_an_account_s_first_login() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.link(LinkEvent::Accepted(Accepted::default()));
    imd.link(LinkEvent::LoggedIn);
    assert_eq!(imd.events(), []);
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.link(LinkEvent::Accepted(Accepted::default()));
    assert_eq!(imd.events(), [Event::SessionLost]);
}

#[test]
fn another_installation_that_was_connected_last_is_told_but_not_on_a_first_login() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.accepts();
    imd.link(marker("elsewhere"));
    imd.link(LinkEvent::LoggedIn);
    assert_eq!(imd.events(), []);
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.accepts();
    imd.link(marker("here"));
    assert_eq!(imd.events(), []);
    imd.link(marker("elsewhere"));
    assert_eq!(imd.events().len(), 1);
}

#[test]
fn what_was_missed_while_signed_out_is_told_at_the_next_login_of_the_same_account() {
    for restarted in [false, true] {
        let mut imd = Imd::online();
        imd.disconnect("chat");
        if restarted {
            imd.restart();
        }
        imd.forget();
        assert_eq!(
            imd.connect("mail", with("t1").user("alice").one_call("demo")),
            Ok(())
        );
        imd.link(LinkEvent::Accepted(Accepted::default()));
        imd.link(marker("elsewhere"));
        assert_eq!(imd.events().len(), 2, "the session, and the other installation");
    }
}

#[test]
fn after_a_logout_nothing_was_missed() {
    for restarted in [false, true] {
        let mut imd = Imd::online();
        imd.logout("chat");
        if restarted {
            imd.restart();
        }
        imd.forget();
        assert_eq!(
            imd.connect("mail", with("t1").user("alice").one_call("demo")),
            Ok(())
        );
        imd.link(LinkEvent::Accepted(Accepted::default()));
        imd.link(marker("elsewhere"));
        assert_eq!(imd.events(), []);
    }
}

#[test]
fn many_logins_of_one_class_are_clients_of_their_own() {
    let mut imd = Imd::with_login(LoginPolicy::Many);
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").one_call("demo")),
        Ok(())
    );
    assert_eq!(imd.dialed().client_id, "desktop.here:demo:alice");
}

#[test]
fn a_refused_group_is_told_and_ends_nothing() {
    let mut imd = Imd::online();
    let group = "g1".to_owned();
    imd.link(LinkEvent::GroupRefused { group: group.clone() });
    assert_eq!(imd.events(), [Event::GroupRefused { group }]);
    imd.is(ConnectionStatus::Connected);
}
