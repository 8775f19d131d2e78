//! Through verdicts, joins, redirects and both versions, a token is in the session file and nowhere else.

use std::fs;
use std::path::{Path, PathBuf};

use imd::demo::broker::{Accounts, BrokerConfig, ConnectAnswer, Cut, Gate, Protocol, Reply, Times, Who};
use imd_client::ConnectOptions;
use imd_core::account::{AppKey, UserId};
use imd_proto::code::Code;
use imd_tests::APP_KEY;
use imd_tests::daemon::{Daemon, config};
use imd_tests::scripted::Scripted;
use imd_tests::token;

use super::stage::{Stage, assert_says};

/// What every token of this test has in it, as it stands or as a JWT's signature does.
pub(crate) const CANARY: &str = "canary-3f9d-not-to-be-seen";

#[test]
fn tokens_pass_through_every_verdict_unseen() {
    let accounts = Accounts::new();
    let app_key = AppKey::parse(APP_KEY).unwrap();
    let good = format!("{CANARY}-good");
    let better = format!("{CANARY}-better");
    for token in [&good, &better] {
        accounts.add_token(token, &app_key, &UserId::parse("alice").unwrap());
    }
    let broker = Scripted::with(BrokerConfig::with_accounts(accounts.clone()));
    let daemon = Daemon::with(&config(&broker.url(), ""), &[("IMD_LOG", "trace")]);
    let mut stage = Stage { daemon, broker };
    let script = stage.broker.broker().script().clone();
    let (first, second) = (stage.app("First"), stage.app("Second"));
    let mut shown = String::new();

    // Refused, expired, and meant for another user.
    let expired = format!("{}{CANARY}", token::until("alice", -3600));
    let foreign = format!("{}{CANARY}", token::of("mallory"));
    for token in [&format!("{CANARY}-wrong"), &expired, &foreign] {
        let error = first.connect("alice", token).error();
        shown.push_str(&format!("{error} {error:?} {}", error.action()));
    }
    // A wrong one and, joined to it, a good one, over a server that has no MQTT 5.
    let gate = Gate::new();
    script.on_connect(
        Who::Speaks(Protocol::V5),
        Times::Next(1),
        ConnectAnswer::Version311(1),
    );
    script.on_connect(
        Who::Speaks(Protocol::V3_1_1),
        Times::Next(1),
        ConnectAnswer::Hold(gate.clone()),
    );
    let wrong = first.connect("alice", &format!("{CANARY}-wrong-too"));
    stage.broker.wait(gate.wait_arrived(1));
    let right = second.connect("alice", &good);
    right.await_database();
    gate.open();
    shown.push_str(&format!("{:?}", wrong.error()));
    right.success();
    second.client.blocking().logout().unwrap();
    // A discovery, a redirect to the server itself, and a fault or two.
    let here = stage.broker.broker().address().to_string();
    for answer in [
        ConnectAnswer::Connack(Reply::code(0x9C).server_reference(&here)),
        ConnectAnswer::Connack(Reply::code(0x88).reason("later")),
    ] {
        script.on_connect(Who::Anyone, Times::Next(1), answer);
    }
    first.connect_as(&good, ConnectOptions::new()).success();
    // Good before, refused now; a joiner's is better.
    accounts.remove_token(&good);
    let seen = stage.connects().len();
    stage.broker.broker().cut(Who::Anyone, Cut::Reset);
    stage.await_connects(seen + 1);
    shown.push_str(&stage.await_suspend(Code::RC_CONN_TOKEN_INCORRECT).reason);
    second.connect("alice", &better).success();
    assert_eq!(files(&stage), [session_file(&stage)]);

    stage.daemon.kill9();
    stage.daemon.start();
    stage.assert_connected();
    for change in stage.history() {
        shown.push_str(&format!("{change:?}"));
    }
    for command in [&["status"][..], &["apps"], &["timeline"]] {
        let finished = stage.daemon.imctl(&[&["--json"], command].concat());
        shown.push_str(&format!("{finished:?}"));
    }
    assert!(!shown.contains(CANARY), "{shown}");
    assert_says(&stage.daemon.log(), &["TRACE"]);
    assert_eq!(files(&stage), [session_file(&stage)]);

    stage.daemon.imctl(&["logout"]).expect_code(0);
    assert_eq!(files(&stage), Vec::<PathBuf>::new(), "logout erases it");
}

pub(crate) fn session_file(stage: &Stage) -> PathBuf {
    stage.daemon.home().state_directory().join("session.json")
}

/// The files of the test's home, the log among them, in which a token shows.
pub(crate) fn files(stage: &Stage) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![stage.daemon.home().root().to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() && has_canary(&entry.path()) {
                found.push(entry.path());
            }
        }
    }
    found
}

fn has_canary(path: &Path) -> bool {
    fs::read(path)
        .unwrap()
        .windows(CANARY.len())
        .any(|window| window == CANARY.as_bytes())
}
