//! The demo's story: every promise of the README about connecting, made to happen and checked.

use std::path::Path;
use std::time::Duration;

use imd_client::{Code, ConnectOptions, ConnectionStatus};

use super::broker::Sessions;
use super::draw::drawing;
use super::stage::{APP_KEY, App, Called, Daemon, Stage, next};
use super::talk::{Talk, talk};
use super::timeline::Timeline;
use crate::clock;

/// A step that did not happen.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Failed {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Plays the story; with `keep` everything is left running afterwards until Ctrl-C. The daemon's death is drawn
/// into the file `draw`, as SVG.
///
/// # Errors
/// The first step that did not happen.
pub async fn run(keep: bool, draw: Option<&Path>) -> Result<(), Failed> {
    let timeline = Timeline::start();
    let stage = Stage::build()?;

    timeline.act("A broker, and a daemon for each of two users");
    timeline.line("broker", &format!("listens at {}", stage.broker.url()));
    let alice = stage.daemon("alice").await?;
    timeline.line("imd alice", &format!("runs, pid {}", alice.pid()));
    let mut bob = stage.daemon("bob").await?;
    timeline.line("imd bob", &format!("runs, pid {}", bob.pid()));

    let apps = one_connection(&timeline, &stage, &alice).await?;
    once_only(&timeline, &stage, &apps).await?;
    let bobs = tokens(&timeline, &stage, &bob).await?;
    broker_dies(&timeline, &stage, &apps).await?;
    let Talk { recording, count } = talk(&timeline, &stage, first(&apps)?, bobs, &mut bob).await?;
    let laptop = takeover(&timeline, &stage, &apps).await?;

    timeline.act(&format!("Every step was seen, in {:.1} s.", timeline.seconds()));
    if keep {
        leave_running(&timeline, &stage, &[&alice, &bob, &laptop]).await?;
    }
    if let Some(file) = draw {
        let drawn = drawing(&recording, &count, clock::now().unix);
        std::fs::write(file, drawn).map_err(|error| Failed::new(format!("{}: {error}", file.display())))?;
    }
    timeline.text(&format!("\n{count}"));
    drop(apps);
    Ok(())
}

/// Five apps call connect, each gets its own callbacks, and the broker sees one connection.
async fn one_connection(timeline: &Timeline, stage: &Stage, alice: &Daemon) -> Result<Vec<App>, Failed> {
    timeline
        .act("Five apps of alice call connect: each has its own callbacks, the broker sees one connection");
    let mut apps = Vec::new();
    for name in ["Chat", "Mail", "Calendar", "Tray", "Agent"] {
        apps.push(alice.app(name).await?);
    }
    let options = ConnectOptions::new().time_limit(Duration::from_secs(5));
    let mut waiting = Vec::new();
    for app in &apps {
        let called = timeline.seconds();
        timeline.line(&app.who, "connect(token, time limit 5 s)");
        waiting.push((app, called, app.connect(stage.token("alice", 3600), &options)));
    }
    for (app, since, calls) in &mut waiting {
        expect_success(timeline, app, *since, "alice", calls).await?;
    }
    let connections = stage.broker.connections();
    timeline.line(
        "broker",
        &format!("connections: {} ({})", connections.len(), connections.join(", ")),
    );
    if connections.len() != 1 {
        return Err(Failed::new("five apps should share one connection"));
    }
    Ok(apps)
}

async fn expect_success(
    timeline: &Timeline,
    app: &App,
    since: f64,
    user: &str,
    calls: &mut tokio::sync::mpsc::Receiver<Called>,
) -> Result<(), Failed> {
    let after = |timeline: &Timeline| (timeline.seconds() - since) * 1000.0;
    match next(&app.who, calls).await? {
        Called::DatabaseOpened(status) if status.is_open() => {
            timeline.line(
                &app.who,
                &format!("onDatabaseOpened()      after {:4.0} ms", after(timeline)),
            );
        }
        other @ (Called::DatabaseOpened(_) | Called::Success(_) | Called::Error(_)) => {
            return Err(unexpected(&app.who, "onDatabaseOpened", &other));
        }
    }
    match next(&app.who, calls).await? {
        Called::Success(user_id) if user_id.as_str() == user => {
            timeline.line(
                &app.who,
                &format!("onSuccess({user_id})        after {:4.0} ms", after(timeline)),
            );
            Ok(())
        }
        other @ (Called::DatabaseOpened(_) | Called::Success(_) | Called::Error(_)) => {
            Err(unexpected(&app.who, "onSuccess", &other))
        }
    }
}

/// A second connect of the same app is refused, and harms nothing.
async fn once_only(timeline: &Timeline, stage: &Stage, apps: &[App]) -> Result<(), Failed> {
    timeline.act("An app that calls connect again is refused, and its first connect is unharmed");
    let chat = first(apps)?;
    let mut calls = chat.connect(stage.token("alice", 3600), &ConnectOptions::new());
    expect_error(timeline, chat, Code::RC_CONNECTION_EXIST, &mut calls).await?;
    chat.wait_status("CONNECTED", Duration::from_secs(1), |status| {
        status.connection == ConnectionStatus::Connected
    })
    .await
}

async fn expect_error(
    timeline: &Timeline,
    app: &App,
    code: Code,
    calls: &mut tokio::sync::mpsc::Receiver<Called>,
) -> Result<(), Failed> {
    loop {
        match next(&app.who, calls).await? {
            // The user is known from the token, so the history is there before the server is asked.
            Called::DatabaseOpened(_) => timeline.line(&app.who, "onDatabaseOpened()"),
            Called::Error(error) if error.code() == code => {
                timeline.line(&app.who, &format!("onError({code}): {}", error.text()));
                return Ok(());
            }
            other @ (Called::Error(_) | Called::Success(_)) => {
                return Err(unexpected(&app.who, &format!("onError({code})"), &other));
            }
        }
    }
}

/// A wrong token, an expired one, a good one.
async fn tokens(timeline: &Timeline, stage: &Stage, bob: &Daemon) -> Result<App, Failed> {
    timeline.act("bob's app brings a wrong token, then an expired one, then a good one");
    let app = bob.app("Chat").await?;
    let mut forged = stage.token("bob", 3600);
    forged.truncate(forged.len().saturating_sub(8));
    forged.push_str("AAAAAAAA");
    let mut calls = app.connect(forged, &ConnectOptions::new());
    expect_error(timeline, &app, Code::RC_CONN_TOKEN_INCORRECT, &mut calls).await?;
    let mut calls = app.connect(stage.token("bob", -3600), &ConnectOptions::new());
    expect_error(timeline, &app, Code::RC_CONN_TOKEN_EXPIRE, &mut calls).await?;
    let since = timeline.seconds();
    let mut calls = app.connect(stage.token("bob", 3600), &ConnectOptions::new());
    expect_success(timeline, &app, since, "bob", &mut calls).await?;
    Ok(app)
}

/// The broker is killed and comes back; the apps do nothing.
async fn broker_dies(timeline: &Timeline, stage: &Stage, apps: &[App]) -> Result<(), Failed> {
    timeline.act("The broker is killed, and comes back after a while: the apps do nothing");
    let chat = first(apps)?;
    let mut shown = chat.client.connection_status().generation;
    let mut show = |status: &imd_client::Status| {
        if std::mem::replace(&mut shown, status.generation) != status.generation {
            timeline.line(
                &chat.who,
                &format!("status {}: {}", status.connection, status.reason),
            );
        }
    };
    timeline.line("broker", "killed");
    stage.broker.kill().await;
    let mut failures = 0;
    chat.wait_status("three attempts that fail", Duration::from_secs(5), |status| {
        show(status);
        failures += u32::from(status.connection == ConnectionStatus::Suspend);
        failures > 3
    })
    .await?;
    let restarted = stage.broker.restart(Sessions::Keep).await;
    restarted.map_err(|error| Failed::new(format!("the broker: {error}")))?;
    let back = timeline.seconds();
    timeline.line("broker", "is back");
    chat.wait_status("CONNECTED", Duration::from_secs(5), |status| {
        show(status);
        status.connection == ConnectionStatus::Connected
    })
    .await?;
    let took = timeline.seconds() - back;
    timeline.line(
        &chat.who,
        &format!("connected again {took:.2} s after the broker was back; no callback, no call"),
    );
    for app in apps {
        app.wait_status("CONNECTED", Duration::from_secs(5), |status| {
            status.connection == ConnectionStatus::Connected
        })
        .await?;
    }
    Ok(())
}

/// alice signs in on her laptop: one login of a class, so the desktop is kicked and stays off.
async fn takeover(timeline: &Timeline, stage: &Stage, apps: &[App]) -> Result<Daemon, Failed> {
    timeline.act("alice signs in on another machine: this one is kicked, and does not fight back");
    let laptop = stage.daemon("laptop").await?;
    let app = laptop.app("Chat").await?;
    let since = timeline.seconds();
    let mut calls = app.connect(stage.token("alice", 3600), &ConnectOptions::new());
    expect_success(timeline, &app, since, "alice", &mut calls).await?;
    for app in apps {
        app.wait_status(
            "KICKED_OFFLINE_BY_OTHER_CLIENT",
            Duration::from_secs(5),
            |status| status.connection == ConnectionStatus::KickedOfflineByOtherClient,
        )
        .await?;
    }
    let chat = first(apps)?;
    let status = chat.client.connection_status();
    timeline.line(
        &chat.who,
        &format!("status {}: {}", status.connection, status.reason),
    );
    Ok(laptop)
}

async fn leave_running(timeline: &Timeline, stage: &Stage, daemons: &[&Daemon]) -> Result<(), Failed> {
    let imctl = match std::env::current_exe()
        .ok()
        .map(|imd| imd.with_file_name("imctl"))
    {
        Some(beside) if beside.exists() => beside.display().to_string(),
        Some(_) | None => "cargo run --release --bin imctl --".to_owned(),
    };
    timeline.text("\nAll is left running. Try, in another terminal:\n");
    for daemon in daemons {
        timeline.text(&format!("  {imctl} --socket {} status", daemon.socket.display()));
    }
    let Some(alice) = daemons.first() else {
        return Ok(());
    };
    let socket = alice.socket.display();
    let token = stage.token_file("alice")?;
    timeline.text(&format!("  {imctl} --socket {socket} watch"));
    timeline.text(&format!(
        "  {imctl} --socket {socket} connect --app-key {APP_KEY} --token-file {}",
        token.display()
    ));
    timeline.text(&format!("  {imctl} --socket {socket} apps"));
    timeline.text(&format!("  {imctl} --socket {socket} doctor"));
    timeline.text(&format!(
        "  grpcurl -plaintext -unix -authority localhost {socket} list"
    ));
    timeline.text(&format!(
        "\nThe daemons' logs and folders are in {}.",
        stage.directory().display()
    ));
    timeline.text("Ctrl-C ends everything and removes the folder.");
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| Failed::new(format!("cannot wait for Ctrl-C: {error}")))
}

fn first(apps: &[App]) -> Result<&App, Failed> {
    apps.first().ok_or_else(|| Failed::new("the demo has no app"))
}

fn unexpected(who: &str, wanted: &str, got: &Called) -> Failed {
    let got = match got {
        Called::DatabaseOpened(status) => format!("onDatabaseOpened({})", status.code),
        Called::Success(user_id) => format!("onSuccess({user_id})"),
        Called::Error(error) => format!("onError({}): {}", error.code(), error.text()),
    };
    Failed::new(format!("{who} expected {wanted} and got {got}"))
}
