//! The demo's talk: alice writes to bob, and his daemon is killed in the middle of it.

use std::collections::BTreeSet;
use std::time::Duration;

use imd_client::{Cursor, Direction, EventKind, Start};
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

/// What bob's app has read, with the cursor it keeps beside it: its own journal, not the daemon's word.
#[derive(Default)]
struct Journal {
    texts: Vec<String>,
    cursor: Option<Cursor>,
}

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

/// alice's app sends, bob's app reads by its cursor; in between bob has no daemon.
pub(crate) async fn talk(
    timeline: &Timeline,
    alice: &App,
    bob: &App,
    daemon: &mut Daemon,
) -> Result<Count, Failed> {
    timeline.act("alice writes 500 messages to bob, and his daemon is killed in the middle");
    let journal = Journal {
        texts: Vec::new(),
        cursor: None,
    };
    let reading = tokio::spawn(read(bob.client.subscribe(Start::Tail), journal, usize::MAX));
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
    let journal = reading
        .await
        .map_err(|error| Failed::new(format!("bob's journal: {error}")))?;
    timeline.line(
        &bob.who,
        &format!(
            "had read {}; its calls answer IPC_DISCONNECT (-2)",
            journal.texts.len()
        ),
    );
    for number in BEFORE_THE_KILL + 1..=MESSAGES {
        sendings.push(send(alice, number).await?);
    }
    timeline.line(&alice.who, &format!("has sent {MESSAGES}"));

    daemon.start_again().await?;
    timeline.line(
        "imd bob",
        &format!("runs again, pid {}, and connects by itself", daemon.pid()),
    );
    let again = daemon.app("Chat").await?;
    let start = match &journal.cursor {
        Some(cursor) => Start::Cursor(cursor.clone()),
        None => return Err(Failed::new("bob's app never had a cursor")),
    };
    let reading = read(again.client.subscribe(start), journal, MESSAGES);
    let journal = timeout(PATIENCE, reading)
        .await
        .map_err(|_| Failed::new("bob's app has not read all messages in time"))?;
    timeline.line(&again.who, "reads on from the cursor it had kept");
    for sending in sendings {
        let received = timeout(PATIENCE, sending.received()).await;
        received
            .map_err(|_| Failed::new("a receipt did not come"))?
            .map_err(|error| Failed::new(format!("a message was not received: {error}")))?;
    }
    timeline.line(&alice.who, "has a receipt for every message");

    let expected: Vec<String> = (1..=MESSAGES).map(text).collect();
    let distinct: BTreeSet<&String> = journal.texts.iter().collect();
    let count = Count {
        sent: MESSAGES,
        received: journal.texts.len(),
        lost: expected.iter().filter(|text| !distinct.contains(text)).count(),
        twice: journal.texts.len().saturating_sub(distinct.len()),
    };
    if journal.texts != expected {
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

/// Reads until the daemon is gone, or so many messages are there.
async fn read(mut events: imd_client::Events, mut journal: Journal, enough: usize) -> Journal {
    while journal.texts.len() < enough {
        let Some(Ok(event)) = events.next().await else {
            break;
        };
        if let EventKind::Message(message) = &event.kind
            && message.direction == Direction::Receive
        {
            journal.texts.extend(message.text());
        }
        journal.cursor = Some(event.cursor);
    }
    journal
}
