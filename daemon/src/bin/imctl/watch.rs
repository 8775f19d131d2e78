//! `watch`: the status and the events, as they come.

use imd_client::{Client, Event, EventKind, Start};
use tokio_stream::StreamExt as _;

use crate::output::{Failure, Mood, Output, plain, say, unread};
use crate::{clock, messages, shapes, status};

/// Prints the status, then every change of it and every event. A daemon that is lost is waited for.
pub(crate) async fn watch(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut changes = client.connection_status_changes();
    let mut events = client.subscribe(Start::Tail);
    let mut unread = std::pin::pin!(unread());
    let mut is_refused = false;
    loop {
        tokio::select! {
            () = &mut unread => return Err(Failure::Closed),
            change = changes.next() => {
                let Some(change) = change else { return Ok(()) };
                output.print(&shapes::Status::from(&*change), |output| status::line(&change, output))?;
            }
            event = events.next(), if !is_refused => match event {
                Some(Ok(event)) => print(&event, output)?,
                Some(Err(error)) => {
                    is_refused = true;
                    say(&format!("no events are shown: {error}"));
                }
                None => return Ok(()),
            },
        }
    }
}

fn print(event: &Event, output: &mut Output) -> Result<(), Failure> {
    // That it begins is no news.
    if event.kind == (EventKind::Started { recovered: true }) {
        return Ok(());
    }
    output.print(&shapes::Event::from(event), |output| line(event, output))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
pub(crate) fn line(event: &Event, output: &Output) -> String {
    let time = clock::time_of_day(event.time.unwrap_or_else(clock::now));
    let name = |mood| output.paint(mood, &shapes::event_name(&event.kind).to_uppercase());
    let words = match &event.kind {
        EventKind::Message(message) | EventKind::MessageState(message) => messages::line(message, output),
        EventKind::Gap(gap) => {
            format!("{}  {}  {}", name(Mood::Bad), gap.kind.name(), plain(&gap.text))
        }
        EventKind::Unreadable { topic, reason, bytes } => {
            let (topic, reason) = (plain(topic), plain(reason));
            format!("{}  {topic}: {reason} ({bytes} bytes)", name(Mood::Bad))
        }
        EventKind::OfflineSyncCompleted { complete: true } => name(Mood::Good),
        EventKind::OfflineSyncCompleted { complete: false } => {
            format!("{}  the server did not say where it ends", name(Mood::Waiting))
        }
        EventKind::Started { .. } => {
            let words = "the events before this one are not to be had: read the history";
            format!("{}  {words}", name(Mood::Bad))
        }
        EventKind::Deleted { message_id } => format!("{}  message {message_id}", name(Mood::Plain)),
        _ => name(Mood::Plain),
    };
    format!("{time}  {words}")
}
