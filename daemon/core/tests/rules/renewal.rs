//! A token near its end: who is asked for another one, and when.

use imd_core::io::{Action, ConnectionStatus, FaultKind, Input, Request, TokenUpdate};
use imd_core::time::UnixTime;
use imd_core::{Code, WakeUp};

use super::support::*;

impl Imd {
    fn update_token(&mut self, app: &str, token: &str) -> Result<(), Code> {
        self.call(Request::UpdateToken(TokenUpdate {
            instance: Some(instance(app)),
            app_key: None,
            token: secret(token),
            by: requester(app),
        }))
    }

    fn can_provide(&mut self, app: &str) {
        self.input(Input::TokenProvider {
            instance: instance(app),
            app: requester(app),
        });
    }

    fn cannot_provide(&mut self, app: &str) {
        let instance = instance(app);
        self.input(Input::NoTokenProvider { instance });
    }

    /// Somebody sets the wall clock by so many seconds, and something happens.
    fn wall_clock_jumps(&mut self, seconds: i64) {
        self.now.unix = UnixTime::from_millis(self.now.unix.as_millis() + seconds * 1_000);
        self.input(Input::Timeout);
    }

    /// The apps that were asked for a token, in order.
    fn asked(&self) -> Vec<&str> {
        let mut asked = Vec::new();
        for action in &self.actions {
            if let Action::AskForToken { instance, .. } = action {
                asked.push(&*instance.0);
            }
        }
        asked
    }

    /// What UpdateToken has brought and no server has answered to, as it is on disk.
    fn updated_token(&self) -> Option<String> {
        let token = self.disk.as_ref()?.updated_token.as_ref()?;
        Some(token.reveal().to_owned())
    }
}

/// A token of alice's that was made at the test's begin and lives for so many seconds.
fn lives(seconds: i64) -> String {
    jwt(&format!(
        r#"{{"sub":"alice","iat":{BEGIN},"exp":{}}}"#,
        BEGIN + seconds
    ))
}

/// `chat` is connected with this token; `chat`, `mail` and `bot` can all bring another.
fn with_providers(token: &str) -> Imd {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with(token).user("alice")), Ok(()));
    imd.comes_up();
    for app in ["chat", "mail", "bot"] {
        imd.can_provide(app);
    }
    imd
}

#[test]
fn one_app_is_asked_at_80_percent_of_the_token_s_life() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(799));
    assert_eq!(imd.asked(), [""; 0]);
    imd.wait(secs(1));
    assert_eq!(imd.asked(), ["chat"]);
    imd.is(ConnectionStatus::Connected);
    let reason = imd.status().reason;
    assert!(
        reason.contains("the token ends in 3 min: org.example.chat (pid 4711) is asked for another one"),
        "{reason}"
    );
}

#[test]
fn a_token_that_does_not_say_when_it_was_made_is_counted_from_when_it_was_seen() {
    let mut imd = with_providers(&jwt(&format!(r#"{{"sub":"alice","exp":{}}}"#, BEGIN + 1000)));
    imd.wait(secs(799));
    assert_eq!(imd.asked(), [""; 0]);
    imd.wait(secs(1));
    assert_eq!(imd.asked(), ["chat"]);
}

#[test]
fn nobody_is_asked_for_an_opaque_token_or_one_without_an_end() {
    for token in ["opaque".to_owned(), jwt(r#"{"sub":"alice","iat":5}"#)] {
        let mut imd = Imd::with_apps();
        assert_eq!(imd.connect("chat", with(&token).user("alice")), Ok(()));
        imd.comes_up();
        imd.can_provide("chat");
        imd.wait(secs(200_000));
        assert_eq!(imd.asked(), [""; 0]);
    }
}

#[test]
fn a_token_that_no_server_has_taken_is_not_asked_for() {
    let mut imd = Imd::with_apps();
    imd.can_provide("mail");
    assert_eq!(imd.connect("chat", with(&lives(10))), Ok(()));
    imd.fails(FaultKind::Io);
    imd.pass(secs(20));
    imd.redials();
    assert_eq!(imd.asked(), [""; 0]);
    imd.comes_up();
    assert_eq!(imd.asked(), ["mail"]);
}

#[test]
fn the_lease_passes_on_when_it_is_over_and_all_are_asked_again_after_a_pause_that_grows() {
    let mut imd = with_providers(&lives(100_000));
    imd.wait(secs(80_000));
    imd.wait(secs(29));
    assert_eq!(imd.asked(), ["chat"], "the first has the question for 30 s");
    imd.wait(secs(1));
    assert_eq!(imd.asked(), ["chat", "mail"]);
    imd.wait(secs(30));
    assert_eq!(imd.asked(), ["chat", "mail", "bot"]);
    imd.wait(secs(59));
    assert_eq!(imd.asked().len(), 3, "30 s of the lease and 30 s of the pause");
    imd.wait(secs(1));
    assert_eq!(imd.asked().len(), 4);
    imd.wait(secs(149));
    assert_eq!(imd.asked().len(), 6, "the second pause is of 60 s");
    imd.wait(secs(1));
    assert_eq!(imd.asked().len(), 7);
}

#[test]
fn an_app_that_is_gone_passes_the_question_on_at_once() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(800));
    imd.unbind("chat");
    assert_eq!(imd.asked(), ["chat", "mail"]);
    imd.cannot_provide("mail");
    assert_eq!(imd.asked(), ["chat", "mail", "bot"]);
    imd.cannot_provide("bot");
    imd.wait(secs(50));
    assert_eq!(imd.asked().len(), 3, "there is nobody left");
}

#[test]
fn without_an_app_the_first_that_comes_is_asked_at_once_and_one_that_comes_in_the_pause_too() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with(&lives(100_000))), Ok(()));
    imd.comes_up();
    imd.wait(secs(90_000));
    imd.can_provide("mail");
    assert_eq!(imd.asked(), ["mail"]);
    imd.wait(secs(31));
    imd.can_provide("bot");
    assert_eq!(imd.asked(), ["mail", "bot"]);
}

#[test]
fn near_the_end_leases_are_short_and_after_it_the_link_stays() {
    let mut imd = with_providers(&lives(20));
    imd.wait(secs(16));
    assert_eq!(imd.asked(), ["chat"]);
    imd.wait(secs(1));
    assert_eq!(
        imd.asked(),
        ["chat", "mail"],
        "a quarter of the 4 s that were left"
    );
    imd.wait(secs(600));
    imd.is(ConnectionStatus::Connected);
    assert_eq!(imd.dials(), 1);
    let asked = imd.asked().len();
    assert!(asked < 25, "{asked} questions in ten minutes");
}

#[test]
fn a_new_token_waits_for_the_next_dial_and_ends_the_asking() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(800));
    let fresh = lives(5000);
    assert_eq!(imd.update_token("chat", &fresh), Ok(()));
    imd.is(ConnectionStatus::Connected);
    imd.wait(secs(600));
    assert_eq!(imd.asked(), ["chat"]);
    assert_eq!(imd.dials(), 1, "the link stays");
    assert_eq!(
        imd.remembered_token(),
        Some(lives(1000)),
        "the one that was taken"
    );
    assert_eq!(imd.updated_token(), Some(fresh.clone()));
    imd.fails(FaultKind::Io);
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), fresh);
    imd.comes_up();
    assert_eq!(imd.remembered_token(), Some(fresh));
    assert_eq!(imd.updated_token(), None);
    imd.wait(secs(2600));
    assert_eq!(imd.asked().len(), 2, "the next one's 80 % are over");
}

#[test]
fn the_same_token_again_is_no_answer_and_the_next_app_is_asked() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(800));
    assert_eq!(imd.update_token("chat", &lives(1000)), Ok(()));
    assert_eq!(imd.asked(), ["chat", "mail"]);
    assert_eq!(imd.updated_token(), None);
}

#[test]
fn apps_that_bring_what_is_stale_are_asked_no_more_often_than_those_that_bring_nothing() {
    let mut imd = with_providers(&lives(100_000));
    imd.wait(secs(80_000));
    for stale in 1..200 {
        let asked = imd.asked();
        let last = (*asked.last().unwrap()).to_owned();
        let token = jwt(&format!(
            r#"{{"sub":"alice","iat":{BEGIN},"exp":{}}}"#,
            BEGIN + stale
        ));
        assert_eq!(imd.update_token(&last, &token), Ok(()));
    }
    assert_eq!(imd.asked().len(), 3);
}

#[test]
fn the_question_dies_with_the_connection() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(800));
    imd.disconnect("mail");
    assert_eq!(imd.next_wake_up(), None);
    assert!(!imd.status().reason.contains("asked"), "{}", imd.status().reason);
    assert_eq!(
        imd.update_token("chat", &lives(5000)),
        Err(Code::IMD_NO_CONNECTION)
    );
    imd.wait(secs(3600));
    assert_eq!(imd.asked(), ["chat"]);
}

#[test]
fn a_restarted_daemon_asks_for_what_was_due_and_dials_with_what_was_brought() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(850));
    imd.restart();
    imd.comes_up();
    imd.can_provide("mail");
    assert_eq!(imd.asked(), ["mail"]);
    assert_eq!(imd.init("mail", "demo"), Ok(()));
    assert_eq!(imd.update_token("mail", &lives(5000)), Ok(()));
    imd.restart();
    assert_eq!(imd.dialed().token.reveal(), lives(5000));
    imd.refuses(words(0x87));
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), lives(1000));
    imd.comes_up();
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn a_wall_clock_that_is_set_to_and_fro_asks_nobody_twice() {
    let mut imd = with_providers(&lives(100_000));
    for _ in 0..100 {
        imd.wall_clock_jumps(90_000);
        imd.wall_clock_jumps(-90_000);
    }
    assert_eq!(imd.asked(), ["chat"]);
}

#[test]
fn a_wall_clock_that_is_behind_asks_later_and_wakes_nobody_over_and_over() {
    let mut imd = with_providers(&lives(1000));
    imd.wait(secs(790));
    imd.wall_clock_jumps(-3600);
    let mut woken = 0;
    for _ in 0..200 {
        woken += usize::from(imd.wake().1 == WakeUp::TokenRenewal);
        if !imd.asked().is_empty() {
            break;
        }
    }
    assert_eq!((imd.asked(), woken), (vec!["chat"], 1));
}

#[test]
fn absurd_claims_ask_within_bounds() {
    for claims in [
        r#"{"sub":"alice","iat":1900009999,"exp":1900000100}"#,
        r#"{"sub":"alice","exp":1e300}"#,
        r#"{"sub":"alice","iat":-1e308,"exp":1e308}"#,
        r#"{"sub":"alice","exp":0}"#,
        r#"{"sub":"alice","iat":4e9,"exp":4.1e9}"#,
    ] {
        let mut imd = with_providers(&jwt(claims));
        imd.wait(secs(3600));
        imd.is(ConnectionStatus::Connected);
        let asked = imd.asked().len();
        assert!(asked < 40, "{claims}: {asked} questions in an hour");
    }
}

#[test]
fn a_wrong_new_token_is_dropped_for_the_one_before_and_that_one_keeps_its_leniency() {
    let mut imd = with_providers("t1-of-alice");
    assert_eq!(imd.update_token("bot", "wrong"), Ok(()));
    imd.fails(FaultKind::Io);
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), "wrong");
    imd.refuses(words(0x87));
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.updated_token(), None);
    assert!(
        imd.redials() < secs(1),
        "the one before was not refused, and does not wait"
    );
    assert_eq!(imd.dialed().token.reveal(), "t1-of-alice");
    for wait in [4, 16, 64] {
        imd.refuses(words(0x87));
        assert_eq!(imd.redials(), secs(wait));
    }
    imd.refuses(words(0x87));
    imd.is(ConnectionStatus::TokenIncorrect);
    assert_eq!(imd.remembered_token(), None);
    assert_eq!(imd.update_token("chat", "t2"), Err(Code::IMD_NO_CONNECTION));
}

#[test]
fn a_new_token_does_not_share_the_verdict_on_the_one_that_is_being_sent() {
    let mut imd = with_providers("t1-of-alice");
    imd.fails(FaultKind::Io);
    imd.redials();
    assert_eq!(imd.update_token("bot", "t2"), Ok(()));
    imd.comes_up();
    assert_eq!(imd.remembered_token().as_deref(), Some("t1-of-alice"));
    assert_eq!(imd.updated_token().as_deref(), Some("t2"));
}

#[test]
fn a_new_token_does_not_wait_out_the_leniency_of_the_one_before() {
    let mut imd = with_providers("t1-of-alice");
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.refuses(words(0x87));
    assert_eq!(imd.update_token("bot", "t2"), Ok(()));
    assert_eq!(imd.redials(), ms(50));
    assert_eq!(imd.dialed().token.reveal(), "t2");
}

#[test]
fn who_waits_for_the_first_connect_is_told_nothing_before_the_new_token_was_tried() {
    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("stale").user("alice")), Ok(()));
    assert_eq!(imd.update_token("chat", "fresh"), Ok(()));
    imd.refuses(words(0x87));
    assert_eq!(imd.told("chat"), [Told::Opened]);
    imd.redials();
    assert_eq!(imd.dialed().token.reveal(), "fresh");
    imd.refuses(words(0x87));
    assert_eq!(
        imd.told("chat"),
        [Told::Opened, Told::Error(Code::RC_CONN_TOKEN_INCORRECT)]
    );
    imd.is(ConnectionStatus::TokenIncorrect);
}

#[test]
fn a_token_of_another_user_or_app_is_refused_and_changes_nothing() {
    let mut imd = with_providers("t1-of-alice");
    for claims in [r#"{"sub":"bob"}"#, r#"{"app":"other"}"#, r#"{"sub":"a/b"}"#] {
        let refused = imd.update_token("chat", &jwt(claims));
        assert_eq!(refused, Err(Code::RC_CONN_TOKEN_INCORRECT), "{claims}");
    }
    assert_eq!(imd.update_token("stranger", "t2"), Err(Code::RC_CLIENT_NOT_INIT));
    assert_eq!(imd.init("stranger", "other"), Ok(()));
    assert_eq!(imd.update_token("stranger", "t2"), Err(Code::RC_CONNECTION_EXIST));
    assert_eq!(imd.updated_token(), None);
}

#[test]
fn tokens_that_were_replaced_are_not_kept_for_ever() {
    let mut imd = with_providers("t0");
    for round in 1..50 {
        assert_eq!(imd.update_token("chat", &format!("t{round}")), Ok(()));
        imd.wait(secs(30));
        imd.fails(FaultKind::Io);
        imd.redials();
        imd.comes_up();
    }
    imd.fails(FaultKind::Io);
    imd.redials();
    let mut sent = Vec::new();
    while imd.status().status != ConnectionStatus::TokenIncorrect {
        sent.push(imd.dialed().token.reveal().to_owned());
        imd.refuses(words(0x87));
        if imd.next_wake_up().is_some() {
            imd.redials();
        }
    }
    sent.dedup();
    assert!(sent.len() <= 2, "{sent:?}");
}
