//! The app that reads.

use imd_client::{BlockingClient, Cursor, Direction, Event, EventKind, Start};

use crate::Outcome;
use crate::file::Journal;

/// Reads for ever.
pub(crate) fn read(app: &BlockingClient, journal: &Journal) -> Outcome<()> {
    let start = match journal.last()? {
        Some(line) => Start::Cursor(cursor(&line)?),
        None => Start::Tail,
    };
    for event in app.subscribe(start) {
        if let Some(line) = line(&event?) {
            journal.append(&line)?;
        }
    }
    Err("the events have ended".into())
}

fn cursor(line: &str) -> Outcome<Cursor> {
    let mut words = line.split(' ');
    let epoch = words.next().unwrap_or_default().to_owned();
    let offset = words.next().unwrap_or_default().parse()?;
    Ok(Cursor { epoch, offset })
}

fn line(event: &Event) -> Option<String> {
    let Cursor { epoch, offset } = &event.cursor;
    let rest = match &event.kind {
        EventKind::Started { recovered: true } => "started".to_owned(),
        EventKind::Started { recovered: false } => "not-recovered".to_owned(),
        EventKind::Message(message) if message.direction == Direction::Receive => {
            format!("message {} {}", message.uid, message.text().unwrap_or_default())
        }
        EventKind::Gap(gap) => format!("gap {} {}", gap.kind.name(), gap.missing.unwrap_or_default()),
        EventKind::Unreadable { topic, reason, .. } => format!("unreadable {topic} {reason}"),
        EventKind::Message(_)
        | EventKind::MessageState(_)
        | EventKind::OfflineSyncCompleted { .. }
        | EventKind::Deleted { .. } => return None,
        other => format!("other {other:?}"),
    };
    Some(format!("{epoch} {offset} {rest}"))
}
