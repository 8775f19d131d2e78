//! Init, connect, join, connect once, time limits, discovery.

use imd_core::io::{Action, Callback, ConnectionStatus, FaultKind, HangUp, Identity, LinkEvent, Network};
use imd_core::server::{Server, Transport};
use imd_core::{Code, ConnectPhase};

use super::support::*;

#[test]
fn connect_before_init_is_33001() {
    let mut imd = Imd::new();
    assert_eq!(imd.connect("chat", with("t1")), Err(Code::RC_CLIENT_NOT_INIT));
    assert_eq!(imd.dials(), 0);
}

#[test]
fn a_one_call_binding_names_its_app_key_in_connect() {
    let mut imd = Imd::new();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").one_call("demo")),
        Ok(())
    );
    imd.comes_up();
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
}

#[test]
fn an_app_key_in_connect_other_than_that_of_init_is_33003() {
    let mut imd = Imd::with_apps();
    let refused = imd.connect("chat", with("t1").one_call("other"));
    assert_eq!(refused, Err(Code::BIZ_ERROR_INVALID_PARAMETER));
}

#[test]
fn init_may_be_repeated_and_changed_but_not_under_a_connect() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.init("chat", "demo"), Ok(()));
    assert_eq!(imd.init("chat", "other"), Ok(()));
    assert_eq!(imd.init("chat", "demo"), Ok(()));
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    assert_eq!(imd.init("chat", "other"), Err(Code::RC_CONNECTION_EXIST));
    imd.comes_up();
    assert_eq!(imd.init("chat", "other"), Err(Code::RC_CONNECTION_EXIST));
    assert_eq!(imd.init("chat", "demo"), Ok(()));
    imd.disconnect("chat");
    assert_eq!(imd.init("chat", "other"), Ok(()));
}

#[test]
fn an_app_key_without_a_server_is_90002() {
    let mut imd = Imd::new();
    assert_eq!(imd.init("chat", "nowhere"), Ok(()));
    assert_eq!(imd.connect("chat", with("t1")), Err(Code::IMD_NO_SERVER));
}

/// `chat`, whose App Key has three servers, is being connected.
fn with_several_servers() -> Imd {
    let mut imd = Imd::new();
    assert_eq!(imd.init("chat", "several"), Ok(()));
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd
}

fn dialed(imd: &Imd) -> Vec<String> {
    let dial = imd.dialed();
    std::iter::once(&dial.server)
        .chain(&dial.others)
        .map(|server| server.host.to_string())
        .collect()
}

#[test]
fn all_servers_are_dialled_together_and_the_one_that_answers_comes_first_ever_after() {
    let mut imd = with_several_servers();
    assert_eq!(dialed(&imd), ["first.example", "second.example", "third.example"]);
    let server = imd.dialed().others[1].clone();
    imd.link(LinkEvent::Reached {
        server: server.clone(),
    });
    assert_eq!(imd.status().server, Some(server.clone()));
    assert!(
        imd.status().reason.contains("third.example"),
        "{}",
        imd.status().reason
    );
    imd.comes_up();
    assert_eq!(imd.status().server, Some(server));
    imd.fails(FaultKind::Io);
    imd.redials();
    assert_eq!(dialed(&imd), ["third.example", "first.example", "second.example"]);
    imd.fails(FaultKind::Unreachable);
    imd.redials();
    assert_eq!(dialed(&imd)[0], "first.example", "who is not reached goes last");
}

#[test]
fn where_a_server_reference_leads_no_other_is_dialled() {
    let mut imd = with_several_servers();
    imd.refuses(elsewhere("other.example"));
    assert_eq!(dialed(&imd), ["other.example"]);
}

/// Alice is connected at a server that the App Key's nav has named.
fn connected_through_a_nav() -> Imd {
    let mut imd = Imd::new();
    assert_eq!(imd.init("chat", "nav"), Ok(()));
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    assert_eq!(dialed(&imd), ["nav.example"]);
    let server = Server {
        transport: Transport::Tls,
        host: "one.example".into(),
        port: 8883,
        path: "".into(),
    };
    imd.link(LinkEvent::Reached { server });
    imd.comes_up();
    imd
}

/// How often what a nav said was to be forgotten.
fn forgotten(imd: &Imd) -> usize {
    let is = |action: &&Action| matches!(action, Action::ForgetServers { .. });
    imd.actions.iter().filter(is).count()
}

#[test]
fn whoever_is_sent_elsewhere_forgets_what_the_nav_said_and_asks_it_again_when_that_fails() {
    let mut imd = connected_through_a_nav();
    assert_eq!(forgotten(&imd), 0);
    imd.disconnects(elsewhere("two.example"));
    assert_eq!(forgotten(&imd), 1);
    assert_eq!(imd.dialed().server.to_string(), "mqtts://two.example:8883");
    imd.fails(FaultKind::Unreachable);
    imd.redials();
    assert_eq!(dialed(&imd), ["nav.example"]);
}

#[test]
fn nothing_is_forgotten_where_the_servers_are_configured_or_the_link_only_breaks() {
    let mut imd = with_several_servers();
    imd.refuses(elsewhere("other.example"));
    assert_eq!(forgotten(&imd), 0);
    let mut imd = connected_through_a_nav();
    imd.fails(FaultKind::Io);
    imd.redials();
    assert_eq!(forgotten(&imd), 0);
    assert_eq!(dialed(&imd), ["nav.example"]);
}

#[test]
fn a_nav_cannot_send_the_token_elsewhere() {
    let mut imd = Imd::new();
    assert_eq!(imd.init("chat", "nav"), Ok(()));
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.refuses(elsewhere("two.example"));
    imd.redials();
    assert_eq!(dialed(&imd), ["nav.example"]);
}

#[test]
fn a_jwt_that_contradicts_app_key_or_user_is_31004_at_the_door() {
    for claims in [
        r#"{"sub":"alice","app":"other"}"#,
        r#"{"sub":"bob"}"#,
        r#"{"sub":"a/b"}"#,
    ] {
        let mut imd = Imd::with_apps();
        let refused = imd.connect("chat", with(&jwt(claims)).user("alice"));
        assert_eq!(refused, Err(Code::RC_CONN_TOKEN_INCORRECT), "{claims}");
        assert_eq!(imd.dials(), 0);
    }
}

#[test]
fn the_database_opens_before_the_network_and_success_comes_with_the_login() {
    let mut imd = Imd::with_apps();
    imd.databases_answer = false;
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    assert_eq!(imd.dials(), 0);
    imd.database("alice", true);
    assert_eq!(imd.told("chat"), [Told::Opened]);
    assert_eq!(imd.dialed().identity, Identity::Known(account("alice")));
    assert_eq!(imd.dialed().client_id, "desktop:demo:alice");
    imd.accepts();
    assert_eq!(imd.told("chat"), [Told::Opened], "CONNACK is no success yet");
    imd.link(LinkEvent::LoggedIn);
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
    let connected = imd.first(
        |action| matches!(action, Action::Publish(status) if status.status == ConnectionStatus::Connected),
    );
    let success = imd.first(|action| {
        matches!(
            action,
            Action::Callback {
                callback: Callback::Success(_),
                ..
            }
        )
    });
    assert!(connected < success);
}

#[test]
fn a_database_that_cannot_be_opened_is_told_and_ends_the_connect_before_any_dial() {
    let mut imd = Imd::with_apps();
    imd.databases_open = false;
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    let code = Code::BIZ_ERROR_DATABASE_ERROR;
    assert_eq!(imd.told("chat"), [Told::NotOpened, Told::Error(code)]);
    assert_eq!(imd.dials(), 0);
    assert!(!imd.wanted());
    imd.is(ConnectionStatus::Unconnected);
    imd.databases_open = true;
    assert_eq!(
        imd.connect("chat", with("t1").user("alice")),
        Ok(()),
        "and may be tried again"
    );
    imd.comes_up();
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn a_database_of_the_last_run_that_fails_late_harms_no_other_connect() {
    let mut imd = Imd::online();
    imd.disconnect("chat");
    imd.databases_answer = false;
    imd.restart();
    assert_eq!(imd.connect("chat", with("unknown").one_call("demo")), Ok(()));
    assert_eq!(imd.dialed().identity, Identity::Discover);
    imd.database("alice", false);
    assert_eq!(imd.told("chat"), []);
    imd.is(ConnectionStatus::Connecting);
}

#[test]
fn the_time_limit_ends_a_first_connect_with_34006() {
    let mut imd = Imd::with_apps();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(5))),
        Ok(())
    );
    imd.wait(ms(4_999));
    assert_eq!(imd.told("chat"), [Told::Opened]);
    imd.wait(ms(1));
    assert_eq!(
        imd.told("chat"),
        [Told::Opened, Told::Error(Code::RC_CONNECT_TIMEOUT)]
    );
    imd.is(ConnectionStatus::Timeout);
    assert!(!imd.wanted());
    assert_eq!(imd.next_wake_up(), None);
    assert_eq!(
        imd.connect("chat", with("t1").user("alice")),
        Ok(()),
        "that app may connect again"
    );
}

#[test]
fn the_end_is_written_before_the_last_caller_is_told_of_it() {
    let mut imd = Imd::with_apps();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(5))),
        Ok(())
    );
    imd.forget();
    imd.wait(secs(5));
    let written = imd.first(|action| matches!(action, Action::Persist(remembered) if !remembered.wanted));
    let told = imd.first(|action| matches!(action, Action::Callback { .. }));
    assert!(written < told);
}

#[test]
fn a_limit_of_0_is_over_at_once() {
    let mut imd = Imd::with_apps();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(0))),
        Ok(())
    );
    assert_eq!(
        imd.told("chat").last(),
        Some(&Told::Error(Code::RC_CONNECT_TIMEOUT))
    );
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn a_late_wake_up_makes_no_attempt_for_callers_whose_time_is_over() {
    let mut imd = Imd::with_apps();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(5))),
        Ok(())
    );
    imd.refuses(words(0x88));
    let dials = imd.dials();
    imd.pass(secs(60));
    imd.input(imd_core::io::Input::Timeout);
    assert_eq!(
        imd.told("chat").last(),
        Some(&Told::Error(Code::RC_CONNECT_TIMEOUT))
    );
    assert_eq!(imd.dials(), dials);
}

#[test]
fn the_loop_lives_as_long_as_any_caller_s_limit() {
    let mut imd = Imd::with_apps();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(5))),
        Ok(())
    );
    assert_eq!(
        imd.connect("mail", with("t1").user("alice").limit(secs(60))),
        Ok(())
    );
    imd.wait(secs(5));
    assert_eq!(
        imd.told("chat").last(),
        Some(&Told::Error(Code::RC_CONNECT_TIMEOUT))
    );
    assert_eq!(imd.told("mail"), [Told::Opened]);
    imd.is(ConnectionStatus::Connecting);
    imd.wait(secs(55));
    assert_eq!(
        imd.told("mail").last(),
        Some(&Told::Error(Code::RC_CONNECT_TIMEOUT))
    );
    imd.is(ConnectionStatus::Timeout);
}

#[test]
fn without_a_limit_a_connect_waits_for_days() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.wait(secs(72 * 3_600));
    assert_eq!(imd.told("chat"), [Told::Opened]);
    assert!(imd.dials() > 1_000, "{}", imd.dials());
    imd.is_trying();
}

#[test]
fn a_joiner_s_limit_does_not_end_a_connection_that_has_been_up() {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    assert_eq!(imd.connect("mail", with("t1").limit(secs(5))), Ok(()));
    imd.wait(secs(5));
    assert_eq!(
        imd.told("mail").last(),
        Some(&Told::Error(Code::RC_CONNECT_TIMEOUT))
    );
    assert!(imd.wanted());
    imd.is_trying();
}

#[test]
fn a_limit_counts_again_after_a_sign_out_however_often_the_account_was_up_before() {
    let mut imd = Imd::online();
    imd.disconnect("chat");
    assert_eq!(imd.connect("chat", with("t1").limit(secs(5))), Ok(()));
    imd.wait(secs(5));
    imd.is(ConnectionStatus::Timeout);
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn a_second_connect_of_one_app_is_34001_and_harms_nothing() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    assert_eq!(
        imd.connect("chat", with("t2").user("alice")),
        Err(Code::RC_CONNECTION_EXIST)
    );
    imd.comes_up();
    assert_eq!(
        imd.connect("chat", with("t1").user("alice")),
        Err(Code::RC_CONNECTION_EXIST)
    );
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
    assert_eq!(imd.core().instance(&instance("chat")).1, ConnectPhase::Succeeded);
    imd.disconnect("mail");
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
}

#[test]
fn another_app_of_the_same_account_joins_with_callbacks_of_its_own() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    assert_eq!(imd.connect("mail", with("t1").user("alice")), Ok(()));
    imd.comes_up();
    assert_eq!(imd.connect("bot", with("t1").user("alice")), Ok(()));
    for app in ["chat", "mail", "bot"] {
        assert_eq!(imd.told(app), [Told::Opened, success("alice")], "{app}");
    }
    assert_eq!(imd.dials(), 1);
}

#[test]
fn another_account_is_34001() {
    let mut imd = Imd::online();
    assert_eq!(
        imd.connect("mail", with("t1").user("bob")),
        Err(Code::RC_CONNECTION_EXIST)
    );
    assert_eq!(imd.init("mail", "other"), Ok(()));
    assert_eq!(
        imd.connect("mail", with("t1").user("alice")),
        Err(Code::RC_CONNECTION_EXIST)
    );
    assert_eq!(imd.told("mail"), []);
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn a_token_of_nobody_known_joins_only_if_it_is_the_one_in_use() {
    let mut imd = Imd::online();
    assert_eq!(imd.connect("mail", with("t2")), Err(Code::RC_CONNECTION_EXIST));
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
}

#[test]
fn the_same_connect_once_more_is_never_34001_and_tells_nothing_twice() {
    let mut imd = Imd::with_apps();
    let wish = with("t1").user("alice").id("c1");
    assert_eq!(imd.connect("chat", wish.clone()), Ok(()));
    assert_eq!(imd.connect("chat", wish.clone().database_opened_seen()), Ok(()));
    assert_eq!(imd.told("chat"), [Told::Opened]);
    imd.comes_up();
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
    assert_eq!(imd.connect("chat", wish.clone().database_opened_seen()), Ok(()));
    assert_eq!(
        imd.told("chat").len(),
        3,
        "its outcome is told once more to who asks once more"
    );
    assert_eq!(imd.told("chat").last(), Some(&success("alice")));
}

#[test]
fn an_outcome_that_came_while_the_app_was_away_is_told_when_it_is_back() {
    let mut imd = Imd::with_apps();
    let wish = with("t1").user("alice").id("c1");
    assert_eq!(imd.connect("chat", wish.clone()), Ok(()));
    imd.unbind("chat");
    imd.refuses(words(0x87));
    imd.forget();
    assert_eq!(imd.init("chat", "demo"), Ok(()));
    assert_eq!(imd.connect("chat", wish.database_opened_seen()), Ok(()));
    assert_eq!(imd.told("chat"), [Told::Error(Code::RC_CONN_TOKEN_INCORRECT)]);
    assert_eq!(imd.dials(), 2 - 1, "nothing is tried again");
}

#[test]
fn closing_an_app_cancels_nothing() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    imd.unbind("chat");
    imd.comes_up();
    imd.is(ConnectionStatus::Connected);
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
    imd.wait(secs(3_600));
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn an_unknown_user_is_asked_for_under_a_name_that_is_nobody_s() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
    let discovery = imd.dialed();
    assert_eq!(discovery.identity, Identity::Discover);
    assert!(discovery.session_expiry.is_zero());
    assert!(!discovery.client_id.contains("demo"));
    imd.accepts_as("alice");
    let login = imd.dialed();
    assert_eq!(login.identity, Identity::Known(account("alice")));
    assert_eq!(imd.status().attempt, 1, "it is the same attempt");
    assert_eq!(
        imd.told("chat"),
        [Told::Opened],
        "the database opens between the two"
    );
    imd.comes_up();
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
}

#[test]
fn a_user_that_the_server_does_not_name_or_names_badly_is_31004() {
    for named in [None, Some("a/b"), Some("")] {
        let mut imd = Imd::with_apps();
        assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
        match named {
            Some(user) => imd.accepts_as(user),
            None => imd.accepts(),
        }
        assert_eq!(imd.told("chat"), [Told::Error(Code::RC_CONN_TOKEN_INCORRECT)]);
        assert!(imd.hung_up().is_some());
        imd.is(ConnectionStatus::TokenIncorrect);
    }
}

#[test]
fn a_server_of_3_1_1_cannot_name_a_user_and_31004_says_so() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
    imd.refuses(words(0x84));
    assert_eq!(imd.told("chat"), [Told::Error(Code::RC_CONN_TOKEN_INCORRECT)]);
    assert_eq!(imd.dials(), 1);
    assert!(imd.status().reason.contains("3.1.1"), "{}", imd.status().reason);
}

#[test]
fn who_expects_another_user_than_the_discovered_one_is_turned_away_with_34001() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
    assert_eq!(imd.connect("mail", with("opaque").user("bob")), Ok(()));
    imd.accepts_as("alice");
    assert_eq!(imd.told("mail"), [Told::Error(Code::RC_CONNECTION_EXIST)]);
    imd.comes_up();
    assert_eq!(imd.told("chat"), [Told::Opened, success("alice")]);
}

#[test]
fn a_discovered_user_whom_nobody_expects_ends_the_connection_without_being_remembered_as_wanted() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("opaque").limit(secs(5))), Ok(()));
    assert_eq!(imd.connect("mail", with("t2").user("bob")), Ok(()));
    imd.wait(secs(5));
    imd.forget();
    imd.accepts_as("alice");
    assert_eq!(imd.told("mail"), [Told::Error(Code::RC_CONNECTION_EXIST)]);
    let wanted = |action: &Action| matches!(action, Action::Persist(remembered) if remembered.wanted);
    assert!(!imd.actions.iter().any(wanted));
    assert_eq!(imd.next_wake_up(), None);
}

#[test]
fn a_discovery_that_ends_while_there_is_no_network_dials_when_it_is_back() {
    let mut imd = Imd::with_apps();
    imd.databases_answer = false;
    assert_eq!(imd.connect("chat", with("opaque")), Ok(()));
    imd.accepts_as("alice");
    imd.network(Network::Unavailable);
    imd.database("alice", true);
    assert_eq!(imd.dials(), 1);
    imd.is(ConnectionStatus::NetworkUnavailable);
    imd.network(Network::Available);
    assert_eq!(imd.dialed().identity, Identity::Known(account("alice")));
}

#[test]
fn without_a_network_history_is_readable_and_the_limit_still_counts() {
    let mut imd = Imd::with_apps();
    imd.network(Network::Unavailable);
    assert_eq!(
        imd.connect("chat", with("t1").user("alice").limit(secs(5))),
        Ok(())
    );
    assert_eq!(imd.told("chat"), [Told::Opened]);
    imd.is(ConnectionStatus::NetworkUnavailable);
    assert_eq!(imd.wake().0, secs(5));
    imd.is(ConnectionStatus::Timeout);
    assert_eq!((imd.dials(), imd.hung_up()), (0, None::<HangUp>));
}
