//! The demo's talk: alice writes to bob, and his daemon is killed in the middle of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imd_client::{Direction, EventKind, Start, Status};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::stage::{App, Daemon};
use super::story::Failed;
use super::timeline::Timeline;

/// How many messages alice writes.
const MESSAGES: usize = 500;

/// After how many of them bob's daemon is killed.
const BEFORE_THE_KILL: usize = 200;

/// How long the talk may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of the talk.
pub(crate) struct Count {
    sent: usize,
    received: usize,
    lost: usize,
    twice: usize,
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            sent,
            received,
            lost,
            twice,
        } = self;
        write!(f, "sent {sent} received {received} lost {lost} twice {twice}")
    }
}

/// alice's app sends, bob's app reads; in between bob has no daemon, and his app does nothing about it.
pub(crate) async fn talk(
    timeline: &Timeline,
    alice: &App,
    bob: &App,
    daemon: &mut Daemon,
) -> Result<Count, Failed> {
    timeline.act(
        "alice writes 500 messages to bob, and his daemon is killed in the middle: his app does nothing",
    );
    let losses = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&losses);
    let _listener = bob.client.add_connection_status_listener(move |status| {
        count.fetch_add(usize::from(status.is_daemon_lost()), Ordering::Relaxed);
    });
    let reading = tokio::spawn(read(bob.client.subscribe(Start::Tail)));
    let mut sendings = Vec::new();
    for number in 1..=BEFORE_THE_KILL {
        sendings.push(send(alice, number).await?);
    }
    timeline.line(
        &alice.who,
        &format!("has sent {BEFORE_THE_KILL}: they are on disk, and on their way"),
    );
    daemon.kill9();
    timeline.line("imd bob", "killed with -9");
    bob.wait_status("DAEMON_LOST", PATIENCE, Status::is_daemon_lost)
        .await?;
    let told = bob.client.version().await;
    let error = told
        .err()
        .ok_or_else(|| Failed::new("a dead daemon has answered"))?;
    timeline.line(&bob.who, &format!("{}", bob.client.connection_status()));
    timeline.line(&bob.who, &format!("a call of it: {}", error.code()));
    for number in BEFORE_THE_KILL + 1..=MESSAGES {
        sendings.push(send(alice, number).await?);
    }
    timeline.line(&alice.who, &format!("has sent {MESSAGES}"));

    daemon.start_again().await?;
    timeline.line(
        "imd bob",
        &format!("runs again, pid {}, and connects by itself", daemon.pid()),
    );
    bob.wait_status("its daemon again", PATIENCE, |status| !status.is_daemon_lost())
        .await?;
    timeline.line(&bob.who, "is bound again, and reads on where it was");
    let texts = timeout(PATIENCE, reading)
        .await
        .map_err(|_| Failed::new("bob's app has not read all messages in time"))?
        .map_err(|error| Failed::new(format!("bob's app: {error}")))??;
    for sending in sendings {
        let received = timeout(PATIENCE, sending.received()).await;
        received
            .map_err(|_| Failed::new("a receipt did not come"))?
            .map_err(|error| Failed::new(format!("a message was not received: {error}")))?;
    }
    timeline.line(&alice.who, "has a receipt for every message");

    let losses = losses.load(Ordering::Relaxed);
    timeline.line(&bob.who, &format!("was told of the loss {losses} time(s)"));
    if losses != 1 {
        return Err(Failed::new("a loss is to be told once"));
    }

    let expected: Vec<String> = (1..=MESSAGES).map(text).collect();
    let distinct: BTreeSet<&String> = texts.iter().collect();
    let count = Count {
        sent: MESSAGES,
        received: texts.len(),
        lost: expected.iter().filter(|text| !distinct.contains(text)).count(),
        twice: texts.len().saturating_sub(distinct.len()),
    };
    if texts != expected {
        return Err(Failed::new(format!(
            "not every message came once and in order: {count}"
        )));
    }
    Ok(count)
}

fn text(number: usize) -> String {
    format!("message {number}")
}

async fn send(app: &App, number: usize) -> Result<imd_client::Sending, Failed> {
    let sending = app.client.send_text("bob", text(number));
    sending
        .accepted()
        .await
        .map_err(|error| Failed::new(format!("{} cannot send: {error}", app.who)))?;
    Ok(sending)
}

/// Reads all messages: one stream, whatever becomes of the daemon.
async fn read(mut events: imd_client::Events) -> Result<Vec<String>, Failed> {
    let mut texts = Vec::new();
    while texts.len() < MESSAGES {
        let event = events
            .next()
            .await
            .ok_or_else(|| Failed::new("bob's events have ended"))?
            .map_err(|error| Failed::new(format!("bob's events: {error}")))?;
        if let EventKind::Message(message) = &event.kind
            && message.direction == Direction::Receive
        {
            texts.extend(message.text());
        }
    }
    Ok(texts)
}
