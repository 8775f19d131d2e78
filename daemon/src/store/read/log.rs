//! Parts of the event log. A log entry has a reference, and the message comes with it when it is read.

use rusqlite::types::FromSqlError;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Deserialize;

use super::row;
use crate::store::rows::{Gap, LogContent, LogEntry, LogPage, Message};

pub(super) const PAGE: &str = concat!(
    "SELECT ",
    row::message_columns!(),
    ", e.event_offset, e.time, e.kind, e.message_id, e.detail FROM events AS e \
     LEFT JOIN messages AS m ON m.message_id = e.message_id \
     LEFT JOIN conversations AS c ON c.conversation_id = m.conversation_id \
     WHERE e.event_offset > ?1 ORDER BY e.event_offset LIMIT ?2"
);

/// What an entry takes beside its content.
const ENTRY_BYTES: usize = 256;

/// The details of entries that are not about a message, as the writer keeps them.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum GapDetail {
    GroupSequence {
        group: String,
        sender: String,
        missing: u64,
    },
    OtherInstallation {
        installation: String,
    },
    SessionLost,
    DatabaseDamaged {
        text: String,
    },
}

#[derive(Deserialize)]
struct SyncDetail {
    complete: bool,
}

#[derive(Deserialize)]
struct UnreadableDetail {
    topic: String,
    reason: String,
    bytes: u64,
}

/// The entries after an offset: at most `max_entries` of them, and at most about `max_bytes` unless the
/// first alone is larger.
pub(in crate::store) fn log_page(
    connection: &Connection,
    after: u64,
    max_entries: usize,
    max_bytes: usize,
) -> rusqlite::Result<LogPage> {
    let newest = newest(connection)?;
    let oldest = connection
        .prepare_cached("SELECT min(event_offset) FROM events")?
        .query_row([], |row| row.get::<_, Option<i64>>(0))?
        .map_or(newest + 1, i64::unsigned_abs);
    let mut entries = Vec::new();
    let mut bytes = 0;
    let mut statement = connection.prepare_cached(PAGE)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let limit = i64::try_from(max_entries).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![after, limit])?;
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        bytes += size(&entry.content);
        if bytes > max_bytes && !entries.is_empty() {
            break;
        }
        entries.push(entry);
    }
    Ok(LogPage {
        entries,
        oldest,
        newest,
    })
}

/// The newest offset given out, also when its entry has gone; 0: none yet.
pub(in crate::store) fn newest(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?
        .query_row([], |row| row.get::<_, i64>(0))
        .optional()
        .map(|found| found.map_or(0, i64::unsigned_abs))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    let kind: i64 = row.get(row::AFTER_MESSAGE + 2)?;
    let message_id: i64 = row.get(row::AFTER_MESSAGE + 3)?;
    let content = match (kind, row::message_if_any(row)?) {
        (1, Some(message)) => LogContent::Message(as_it_was(row, message)?),
        (2, Some(message)) => LogContent::MessageState(as_it_was(row, message)?),
        (1 | 2, None) => LogContent::Deleted { message_id },
        (3, _) => LogContent::Gap(match detail(row)? {
            GapDetail::GroupSequence {
                group,
                sender,
                missing,
            } => Gap::GroupSequence {
                group,
                sender,
                missing,
            },
            GapDetail::OtherInstallation { installation } => Gap::OtherInstallation { installation },
            GapDetail::SessionLost => Gap::SessionLost,
            GapDetail::DatabaseDamaged { text } => Gap::DatabaseDamaged { text },
        }),
        (4, _) => {
            let SyncDetail { complete } = detail(row)?;
            LogContent::OfflineSyncCompleted { complete }
        }
        (5, _) => {
            let UnreadableDetail { topic, reason, bytes } = detail(row)?;
            LogContent::Unreadable { topic, reason, bytes }
        }
        (unknown, _) => return Err(FromSqlError::OutOfRange(unknown).into()),
    };
    Ok(LogEntry {
        offset: row.get::<_, i64>(row::AFTER_MESSAGE)?.unsigned_abs(),
        time: row.get(row::AFTER_MESSAGE + 1)?,
        content,
    })
}

/// The message with the state that this entry told, whatever has become of it since: a reader that is behind
/// sees each step.
fn as_it_was(row: &Row<'_>, mut message: Message) -> rusqlite::Result<Message> {
    let state = row.get_ref(row::AFTER_MESSAGE + 4)?.as_str()?.parse::<i32>();
    let told = state.map_err(|error| FromSqlError::Other(Box::new(error)))?;
    if told != message.sent_status {
        message.sent_status = told;
        message.code = 0;
        message.code_text.clear();
    }
    Ok(message)
}

fn detail<'a, T: Deserialize<'a>>(row: &'a Row<'_>) -> rusqlite::Result<T> {
    let text = row.get_ref(row::AFTER_MESSAGE + 4)?.as_str()?;
    serde_json::from_str(text).map_err(|error| FromSqlError::Other(Box::new(error)).into())
}

fn size(content: &LogContent) -> usize {
    let body = match content {
        LogContent::Message(message) | LogContent::MessageState(message) => message.content.len(),
        LogContent::Unreadable { topic, reason, .. } => topic.len() + reason.len(),
        LogContent::Gap(_) | LogContent::OfflineSyncCompleted { .. } | LogContent::Deleted { .. } => 0,
    };
    body + ENTRY_BYTES
}
