//! The demo's talk: alice writes to bob, and his daemon is killed while five of his apps read.

use std::time::Duration;

use imd_client::{ConnectOptions, Sending};
use imd_core::time::BootTime;
use tokio::sync::watch;

use super::audience::{PATIENCE, Reader, within};
use super::broker::{Event, Events};
use super::record::{Count, Heard, Recording};
use super::stage::{APP_KEY, App, Daemon, Stage};
use super::story::Failed;
use super::timeline::Timeline;
use crate::clock;

/// How many messages alice writes.
const MESSAGES: usize = 500;

/// After how many of them bob's daemon is killed.
const BEFORE_THE_KILL: usize = 200;

/// After how many it is started again.
const BEFORE_THE_START: usize = 250;

/// The apps that join bob's first one.
const OTHERS: [&str; 4] = ["Mail", "Calendar", "Tray", "Agent"];

/// What is left of the talk when it is over.
pub(super) struct Talk {
    pub(super) recording: Recording,
    pub(super) count: Count,
}

/// alice's app sends, bob's apps read; in between bob has no daemon, and his apps do nothing about it.
pub(super) async fn talk(
    timeline: &Timeline,
    stage: &Stage,
    alice: &App,
    first: App,
    daemon: &mut Daemon,
) -> Result<Talk, Failed> {
    timeline.act("alice writes 500 messages to bob, and his daemon is killed while five of his apps read");
    let mut readers = join(timeline, stage, first, daemon).await?;
    let mut events = stage.broker.events();
    events.skip_past();
    let link = tokio::spawn(watch_link(events));

    let (progress, mut so_far) = watch::channel(0);
    let writing = tokio::spawn(write(alice.clone(), progress));
    until(&alice.who, &mut so_far, BEFORE_THE_KILL).await?;
    timeline.line(
        &alice.who,
        &format!("has sent {BEFORE_THE_KILL} of {MESSAGES}, and goes on"),
    );
    let (killed, lost) = die(timeline, daemon, &mut readers).await?;
    until(&alice.who, &mut so_far, BEFORE_THE_START).await?;
    let (listened, rebound) = come_back(timeline, daemon, killed, &mut readers).await?;
    let link = link.await;
    let (link_down, link_up) =
        link.map_err(|error| Failed::new(format!("the broker's events: {error}")))??;

    let written = within(&alice.who, "its last message accepted", writing).await?;
    let written = written.map_err(|error| Failed::new(format!("{}: {error}", alice.who)))??;
    let mut apps = Vec::new();
    for ((reader, lost), rebound) in readers.iter_mut().zip(lost).zip(rebound) {
        let read = reader.finish().await?;
        apps.push(Heard {
            name: reader.app.who.clone(),
            lost,
            rebound,
            read,
        });
    }
    let mut sent = Vec::new();
    for (at, sending) in written {
        let received = within(&alice.who, "a receipt", sending.received()).await?;
        received.map_err(|error| Failed::new(format!("a message was not received: {error}")))?;
        sent.push(at);
    }
    timeline.line(&alice.who, "has a receipt for every message");
    let recording = Recording {
        sent,
        killed,
        listened,
        link_down,
        link_up,
        apps,
    };
    let count = judge(timeline, &recording, &mut readers)?;
    Ok(Talk { recording, count })
}

/// Four more apps of bob call connect and join the connection that is there; all five begin to read.
async fn join(
    timeline: &Timeline,
    stage: &Stage,
    first: App,
    daemon: &Daemon,
) -> Result<Vec<Reader>, Failed> {
    let mut apps = vec![first];
    for name in OTHERS {
        let app = daemon.app(name).await?;
        let connecting = app
            .client
            .connect(stage.token("bob", 3600), ConnectOptions::new());
        let user_id = within(&app.who, "the end of its connect", connecting).await?;
        let user_id = user_id.map_err(|error| Failed::new(format!("{}: {error}", app.who)))?;
        let line = format!("onSuccess({user_id}): it joins the connection that is there");
        timeline.line(&app.who, &line);
        apps.push(app);
    }
    let mut readers = Vec::new();
    for app in apps {
        readers.push(Reader::start(app, MESSAGES).await?);
    }
    Ok(readers)
}

/// Kills bob's daemon; when, and when each app was told.
async fn die(
    timeline: &Timeline,
    daemon: &mut Daemon,
    readers: &mut [Reader],
) -> Result<(BootTime, Vec<BootTime>), Failed> {
    let killed = clock::now().boot;
    daemon.kill9();
    timeline.line_of(killed, "imd bob", "killed with -9");
    let mut lost = Vec::new();
    for reader in readers {
        let at = reader.lost().await?;
        let read = reader.count();
        let after = milliseconds(at, killed);
        timeline.line_of(
            at,
            &reader.app.who,
            &format!("is told -2, IPC_DISCONNECT, {after:.1} ms later; it had read {read}"),
        );
        lost.push(at);
    }
    Ok((killed, lost))
}

/// Starts bob's daemon again; when it listened, and when each app was bound.
async fn come_back(
    timeline: &Timeline,
    daemon: &mut Daemon,
    killed: BootTime,
    readers: &mut [Reader],
) -> Result<(BootTime, Vec<BootTime>), Failed> {
    let listened = daemon.start_again().await?;
    let dead = milliseconds(listened, killed);
    let pid = daemon.pid();
    timeline.line_of(
        listened,
        "imd bob",
        &format!("listens again, pid {pid}, after {dead:.0} ms; it connects by itself"),
    );
    let mut rebound = Vec::new();
    for reader in readers {
        let at = reader.rebound().await?;
        let after = milliseconds(at, listened);
        timeline.line_of(
            at,
            &reader.app.who,
            &format!("is bound again, {after:.1} ms later"),
        );
        rebound.push(at);
    }
    Ok((listened, rebound))
}

fn judge(timeline: &Timeline, recording: &Recording, readers: &mut [Reader]) -> Result<Count, Failed> {
    let texts: Vec<String> = (1..=MESSAGES).map(text).collect();
    for (reader, heard) in readers.iter_mut().zip(&recording.apps) {
        let losses = reader.losses();
        let line = format!("has read {}; told -2 {losses} time", heard.read.len());
        timeline.line(&reader.app.who, &line);
        if losses != 1 {
            return Err(Failed::new("a loss is to be told once"));
        }
    }
    let count = recording.count(&texts);
    if !recording.is_whole(&texts) {
        return Err(Failed::new(format!(
            "not every app got every message once and in order: {count}"
        )));
    }
    Ok(count)
}

fn text(number: usize) -> String {
    format!("message {number}")
}

/// Writes all messages, one after the other; each with the time when it was accepted.
async fn write(app: App, progress: watch::Sender<usize>) -> Result<Vec<(BootTime, Sending)>, Failed> {
    let mut all = Vec::new();
    for number in 1..=MESSAGES {
        let sending = app.client.send_text("bob", text(number));
        let accepted = sending.accepted().await;
        accepted.map_err(|error| Failed::new(format!("{} cannot send: {error}", app.who)))?;
        all.push((clock::now().boot, sending));
        progress.send_replace(number);
    }
    Ok(all)
}

async fn until(who: &str, progress: &mut watch::Receiver<usize>, number: usize) -> Result<(), Failed> {
    let reached = within(
        who,
        "its messages accepted",
        progress.wait_for(|so_far| *so_far >= number),
    )
    .await?;
    reached
        .map(drop)
        .map_err(|_| Failed::new(format!("{who} has stopped writing")))
}

/// When the broker sees the connection of bob's daemon end, and come again.
async fn watch_link(mut events: Events) -> Result<(BootTime, BootTime), Failed> {
    let bob = format!("desktop:{APP_KEY}:bob");
    let mut times = Vec::new();
    for up in [false, true] {
        let wanted = |event: &Event| match event {
            Event::Connected { client_id, .. } => up && *client_id == bob,
            Event::Disconnected { client_id, .. } => !up && *client_id == bob,
            Event::Refused { .. }
            | Event::Misled { .. }
            | Event::Subscribed { .. }
            | Event::Unsubscribed { .. }
            | Event::Published { .. }
            | Event::Delivered { .. }
            | Event::Acknowledged { .. }
            | Event::Ping { .. } => false,
        };
        let seen = events.wait_for(wanted, PATIENCE).await;
        seen.map_err(|error| Failed::new(error.to_string()))?;
        times.push(clock::now().boot);
    }
    match times[..] {
        [down, up] => Ok((down, up)),
        _ => Err(Failed::new("the broker did not see both")),
    }
}

fn milliseconds(later: BootTime, earlier: BootTime) -> f64 {
    let forward: Duration = later.since(earlier);
    forward.as_secs_f64() * 1000.0
}
