//! Parts of the event log. A log entry has a reference, and the message comes with it when it is read.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::store::log;
use crate::store::message_row::{self, AFTER_MESSAGE};
use crate::store::rows::{LogContent, LogEntry, LogPage};

pub(super) const PAGE: &str = concat!(
    "SELECT ",
    message_row::message_columns!(),
    ", e.event_offset, e.time, e.kind, e.message_id, e.detail FROM events AS e \
     LEFT JOIN messages AS m ON m.message_id = e.message_id \
     LEFT JOIN conversations AS c ON c.conversation_id = m.conversation_id \
     WHERE e.event_offset > ?1 ORDER BY e.event_offset LIMIT ?2"
);

/// What an entry takes beside its content.
const ENTRY_BYTES: usize = 256;

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
        bytes += log_entry_bytes(&entry);
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

/// All entries after an offset up to and with the newest one; `None`: those are more than `max_entries` or
/// `max_bytes`.
pub(in crate::store) fn log_end(
    connection: &Connection,
    after: u64,
    newest: u64,
    max_entries: usize,
    max_bytes: usize,
) -> rusqlite::Result<Option<Vec<LogEntry>>> {
    if newest.saturating_sub(after) > u64::try_from(max_entries).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(PAGE)?;
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let entries = statement
        .query_map(params![after, i64::MAX], entry)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let bytes: usize = entries.iter().map(log_entry_bytes).sum();
    let is_whole = entries.last().is_some_and(|last| last.offset == newest);
    Ok(Some(entries).filter(|_| is_whole && bytes <= max_bytes))
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
    let detail = message_row::text(row, AFTER_MESSAGE + 4)?;
    let content = log::content(
        row.get(AFTER_MESSAGE + 2)?,
        row.get(AFTER_MESSAGE + 3)?,
        &detail,
        message_row::message_if_any(row)?,
    );
    Ok(LogEntry {
        offset: row.get::<_, i64>(AFTER_MESSAGE)?.unsigned_abs(),
        time: row.get(AFTER_MESSAGE + 1)?,
        content,
    })
}

/// What an entry takes in memory, about.
pub(in crate::store) fn log_entry_bytes(entry: &LogEntry) -> usize {
    let body = match &entry.content {
        LogContent::Message(message) | LogContent::MessageState(message) => message.content.len(),
        LogContent::Unreadable { topic, reason, .. } => topic.len() + reason.len(),
        LogContent::Gap(_) | LogContent::OfflineSyncCompleted { .. } | LogContent::Deleted { .. } => 0,
    };
    body + ENTRY_BYTES
}
