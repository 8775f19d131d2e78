//! What keeps the tables that only grow within their bounds.

use rusqlite::Transaction;

use super::now;

/// The event log is kept this long …
const EVENTS_FOR: i64 = 7 * 24 * 60 * 60 * 1000;

/// … and has no more rows than this.
const MAX_EVENTS: i64 = 1_000_000;

const MAX_UNREADABLE: i64 = 1_000;
const MAX_UNREADABLE_BYTES: i64 = 16 * 1024 * 1024;

/// Nobody waits long behind this many rows.
const AT_ONCE: i64 = 2_000;

/// Takes the oldest events off the log. `true`: there are more. Only ever from its beginning: whatever the
/// clock did, there is no hole in what is left.
pub(in crate::store) fn trim_events(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let newest: i64 = transaction
        .prepare_cached("SELECT coalesce(max(event_offset), 0) FROM events")?
        .query_row([], |row| row.get(0))?;
    let old = now().saturating_sub(EVENTS_FOR);
    let mut statement =
        transaction.prepare_cached("SELECT event_offset, time FROM events ORDER BY event_offset LIMIT ?1")?;
    let mut rows = statement.query([AT_ONCE])?;
    let (mut last, mut count) = (0, 0);
    while let Some(row) = rows.next()? {
        let (offset, time): (i64, i64) = (row.get(0)?, row.get(1)?);
        if time >= old && offset > newest - MAX_EVENTS {
            break;
        }
        last = offset;
        count += 1;
    }
    if count > 0 {
        transaction
            .prepare_cached("DELETE FROM events WHERE event_offset <= ?1")?
            .execute([last])?;
    }
    Ok(count == AT_ONCE)
}

/// Forgets messages that nobody can bring again. `true`: there are more. One that is still in the outbox is
/// not forgotten: it has yet to be sent.
pub(in crate::store) fn trim_seen(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let deleted = transaction
        .prepare_cached(
            "DELETE FROM seen WHERE (sender, uid) IN (
                 SELECT sender, uid FROM seen
                 WHERE expires < ?1 AND NOT EXISTS (
                     SELECT 1 FROM messages m JOIN outbox USING (message_id)
                     WHERE m.uid = seen.uid AND m.sender = seen.sender
                 )
                 LIMIT ?2
             )",
        )?
        .execute((now(), AT_ONCE))?;
    Ok(deleted > 0)
}

/// Drops the oldest unreadable payloads that are too many or too large, and counts them.
pub(super) fn trim_unreadable(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    let dropped = transaction
        .prepare_cached(
            "DELETE FROM unreadable WHERE unreadable_id IN (
                 SELECT unreadable_id FROM (
                     SELECT unreadable_id,
                            row_number() OVER newest_first AS number,
                            sum(length(payload)) OVER newest_first AS bytes
                     FROM unreadable
                     WINDOW newest_first AS (ORDER BY unreadable_id DESC)
                 ) WHERE number > ?1 OR bytes > ?2
             )",
        )?
        .execute((MAX_UNREADABLE, MAX_UNREADABLE_BYTES))?;
    if dropped > 0 {
        transaction
            .prepare_cached(
                "INSERT INTO meta (key, value) VALUES ('unreadable_dropped', ?1)
                 ON CONFLICT DO UPDATE SET value = CAST(CAST(value AS INTEGER) + ?1 AS TEXT)",
            )?
            .execute([dropped.to_string()])?;
    }
    Ok(())
}
