//! A token near its end: who is asked for another one, and what UpdateToken does.

use std::fs;
use std::sync::{Arc, Mutex};

use imd::clock;
use imd::demo::broker::{Accounts, BrokerConfig, Cut, Who};
use imd_client::{Client, TokenProvider};
use imd_core::account::{AppKey, UserId};
use imd_proto::code::Code;
use imd_tests::APP_KEY;
use imd_tests::daemon::{Daemon, config};
use imd_tests::scripted::Scripted;
use imd_tests::token;
use imd_tests::wait::{SOON, eventually, when};
use serde_json::{Value, json};

use super::app::App;
use super::canary::{CANARY, files, session_file};
use super::stage::{Stage, assert_says};

const BROUGHT: &str = "has brought the token for the next login";

/// A token of alice's that was made so many seconds ago and ends in so many.
fn made(ago: i64, left: i64) -> String {
    let now = clock::now().unix.as_millis() / 1000;
    token::jwt(&json!({ "sub": "alice", "iat": now - ago, "exp": now + left }))
}

/// The apps that were asked for a token, in order.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<&'static str>>>);

impl Asked {
    fn all(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }

    /// The provider of this app: for each question it does what `answers` gives for its place in the order of all.
    fn provider(
        &self,
        app: &App,
        name: &'static str,
        answers: impl Fn(usize) -> Answer + Send + 'static,
    ) -> TokenProvider {
        let asked = Arc::clone(&self.0);
        app.client.set_token_provider(move |_expiring| {
            let mut all = asked.lock().unwrap();
            let answer = answers(all.len());
            all.push(name);
            async move {
                match answer {
                    Answer::Token(token) => Ok(token),
                    Answer::Failure => Err("the app's server is away"),
                    Answer::Nothing => std::future::pending().await,
                }
            }
        })
    }

    #[track_caller]
    fn await_count(&self, count: usize) -> Vec<&'static str> {
        eventually(SOON, &format!("{count} questions"), || {
            let all = self.all();
            when(all.len() >= count, format!("{all:?}"))
        });
        self.all()
    }
}

enum Answer {
    Token(String),
    Failure,
    Nothing,
}

/// Alice is connected with the first of these tokens, and the broker knows them all.
fn connected(tokens: &[&str]) -> (Stage, Accounts, App) {
    let (stage, accounts) = Stage::with_tokens(tokens);
    let app = stage.app("First");
    app.connect("alice", tokens.first().unwrap()).success();
    stage.assert_connected();
    (stage, accounts, app)
}

#[track_caller]
fn await_updated(stage: &Stage, token: &str) {
    eventually(SOON, "the new token to be remembered", || {
        when(stage.session()["updated_token"] == *token, "it is not")
    });
}

#[track_caller]
fn assert_in_use(stage: &Stage, token: &str) {
    stage.assert_connected();
    let session = stage.session();
    assert!(session["token"] == *token, "another token is remembered");
    assert_eq!(
        session["updated_token"],
        Value::Null,
        "nothing waits for the next login"
    );
}

#[test]
fn one_of_three_apps_is_asked_and_the_next_when_it_does_nothing_and_the_link_stays() {
    let (old, new) = (made(100, 8), made(0, 3600));
    let (stage, accounts, first) = connected(&[&old, &new]);
    let (second, third) = (stage.app("Second"), stage.app("Third"));
    let asked = Asked::default();
    let _providers = [(&first, "first"), (&second, "second"), (&third, "third")].map(|(app, name)| {
        let new = new.clone();
        asked.provider(app, name, move |before| match before {
            0 => Answer::Nothing,
            _ => Answer::Token(new.clone()),
        })
    });
    await_updated(&stage, &new);
    // It is published after it is written.
    stage
        .daemon
        .await_status_that("the new token", |status| status.reason.contains(BROUGHT));
    let names = asked.all();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_ne!(names.first(), names.last(), "the next app is another one");
    assert_eq!(stage.connects().len(), 1, "the link stays");
    stage.assert_was(0, Code(0), &["is asked for another one"]);

    accounts.remove_token(&old);
    assert_eq!(stage.broker.broker().cut(Who::Anyone, Cut::Reset), 1);
    stage.await_connects(2);
    assert_in_use(&stage, &new);
    let connects = stage.connects();
    assert!(
        connects.iter().all(|connect| connect.ends_with("0x00")),
        "{connects:?}"
    );
    assert_eq!(asked.all(), names, "nobody else is asked");
}

#[test]
fn an_app_that_dies_with_the_question_passes_it_on() {
    // Its lease would be of 30 seconds.
    let (old, new) = (made(10_000, 300), made(0, 3600));
    let (stage, _accounts, first) = connected(&[&old, &new]);
    let asked = Asked::default();
    let provider = asked.provider(&first, "first", |_| Answer::Nothing);
    asked.await_count(1);
    let second = stage.app("Second");
    let fresh = new.clone();
    let _second = asked.provider(&second, "second", move |_| Answer::Token(fresh.clone()));
    drop((provider, first));
    await_updated(&stage, &new);
    assert_eq!(asked.all(), ["first", "second"]);
}

#[test]
fn nobody_is_asked_for_a_token_that_is_opaque_or_has_time() {
    for token in ["opaque".to_owned(), made(10, 3600)] {
        let (stage, _accounts, first) = connected(&[&token, "later"]);
        let asked = Asked::default();
        let _provider = asked.provider(&first, "first", |_| Answer::Failure);
        first.client.blocking().update_token("later").unwrap();
        assert_eq!(stage.broker.broker().cut(Who::Anyone, Cut::Reset), 1);
        stage.await_connects(2);
        assert_in_use(&stage, "later");
        assert_eq!(asked.all(), [""; 0]);
    }
}

#[test]
fn the_next_daemon_asks_anew_for_what_is_due() {
    let old = made(10_000, 300);
    let (mut stage, _accounts, first) = connected(&[&old]);
    let asked = Asked::default();
    let _provider = asked.provider(&first, "first", |_| Answer::Failure);
    asked.await_count(1);
    stage.daemon.kill9();
    stage.daemon.start();
    asked.await_count(2);
}

#[test]
fn a_daemon_that_is_killed_after_the_update_logs_in_with_the_new_token() {
    let (old, new) = (made(10, 3600), made(0, 7200));
    let (mut stage, accounts, first) = connected(&[&old, &new]);
    let ends = first.client.blocking().update_token(new.as_str()).unwrap();
    assert!(ends.is_some());
    accounts.remove_token(&old);
    stage.daemon.kill9();
    stage.daemon.start();
    assert_in_use(&stage, &new);
}

#[test]
fn a_wrong_new_token_is_dropped_for_the_one_before() {
    let (stage, _accounts, first) = connected(&["good"]);
    assert_eq!(first.client.blocking().update_token("wrong").unwrap(), None);
    assert_eq!(stage.broker.broker().cut(Who::Anyone, Cut::Reset), 1);
    stage.await_connects(3);
    assert_in_use(&stage, "good");
    stage.assert_was(
        13,
        Code::RC_CONN_TOKEN_INCORRECT,
        &["the updated token is dropped for the one before"],
    );
}

#[test]
fn a_token_that_fits_nothing_is_refused_and_changes_nothing() {
    let (stage, _accounts, first) = connected(&["good"]);
    let before = stage.session();
    let refused = |client: &Client, token: &str| client.blocking().update_token(token).unwrap_err();
    for (token, code) in [
        (token::of("mallory"), Code::RC_CONN_TOKEN_INCORRECT),
        (
            token::jwt(&json!({ "sub": "alice", "app": "other" })),
            Code::RC_CONN_TOKEN_INCORRECT,
        ),
        (String::new(), Code::INVALID_PARAMETER_TOKEN),
        ("x".repeat(8 * 1024 + 1), Code::INVALID_PARAMETER_TOKEN),
    ] {
        let error = refused(&first.client, &token);
        assert_eq!(error.code(), code, "{error:?}");
    }
    assert!(stage.session() == before, "the session file is as it was");
    let observer = Client::observer()
        .socket(stage.daemon.home().socket())
        .build()
        .unwrap();
    assert_eq!(refused(&observer, "new").code(), Code::RC_CLIENT_NOT_INIT);
    first.client.blocking().disconnect().unwrap();
    let error = refused(&first.client, "new");
    assert_eq!(error.code(), Code::IMD_NO_CONNECTION);
    assert_says(error.text(), &["connect with the new token"]);
}

#[test]
fn imctl_brings_a_token_from_a_file() {
    let new = made(0, 3600);
    let (stage, _accounts, _first) = connected(&["good", &new]);
    let file = stage.daemon.home().root().join("token");
    fs::write(&file, format!("{new}\n")).unwrap();
    let file = file.to_str().unwrap();
    let finished = stage
        .daemon
        .imctl(&["--json", "update-token", "--token-file", file]);
    finished.expect_code(0);
    let printed: Value = serde_json::from_str(&finished.stdout).unwrap();
    assert!(printed["expires"].is_string(), "{printed}");
    await_updated(&stage, &new);
    let status = stage.daemon.await_status("CONNECTED");
    assert_says(
        &status.reason,
        &["imd.imctl", "has brought the token for the next login"],
    );
}

#[test]
fn old_and_new_tokens_are_seen_in_the_session_file_alone() {
    let accounts = Accounts::new();
    let app_key = AppKey::parse(APP_KEY).unwrap();
    let (old, new) = (
        format!("{}{CANARY}-old", made(10_000, 300)),
        format!("{}{CANARY}-new", made(0, 3600)),
    );
    for token in [&old, &new] {
        accounts.add_token(token, &app_key, &UserId::parse("alice").unwrap());
    }
    let broker = Scripted::with(BrokerConfig::with_accounts(accounts));
    let daemon = Daemon::with(&config(&broker.url(), ""), &[("IMD_LOG", "trace")]);
    let stage = Stage { daemon, broker };
    let first = stage.app("First");
    first.connect("alice", &old).success();
    let asked = Asked::default();
    let fresh = new.clone();
    let _provider = asked.provider(&first, "first", move |_| Answer::Token(fresh.clone()));
    await_updated(&stage, &new);
    let wrong = format!("{}{CANARY}-wrong", token::of("mallory"));
    let mut shown = format!("{:?}", first.client.blocking().update_token(wrong.as_str()));
    for command in [&["status"][..], &["timeline"], &["doctor"]] {
        let finished = stage.daemon.imctl(&[&["--json"], command].concat());
        shown.push_str(&format!("{finished:?}"));
    }
    assert!(!shown.contains(CANARY), "{shown}");
    assert_says(
        &shown,
        &[
            "is asked for another one",
            "a newer token waits for the next login",
        ],
    );
    assert_says(&stage.daemon.log(), &["TRACE"]);
    assert_eq!(files(&stage), [session_file(&stage)]);
}
