//! What waits to be sent or received, or has failed; the groups; and how far apps have read.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row;
use crate::store::message_row;
use crate::store::rows::{Group, OutboxSize, Page};

/// A page begins behind the place of message `?1`. One that has left the outbox since has no place any more:
/// the page then begins with the first of the messages accepted after it.
pub(super) const LIST: &str = concat!(
    "SELECT ",
    message_row::message_columns!(),
    " FROM outbox AS o CROSS JOIN messages AS m ON m.message_id = o.message_id \
     CROSS JOIN conversations AS c ON c.conversation_id = m.conversation_id \
     WHERE o.position > coalesce((SELECT position FROM outbox WHERE message_id = ?1), \
                                 (SELECT min(position) - 1 FROM outbox WHERE message_id > ?1), \
                                 9223372036854775807) \
     ORDER BY o.position LIMIT ?2"
);

/// A page of the outbox in the order of sending, and how much waits to be sent in all.
pub(in crate::store) fn outbox(
    connection: &Connection,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<(Page, OutboxSize)> {
    let mut statement = connection.prepare_cached(LIST)?;
    let rows = statement.query(params![after.unwrap_or(0), row::rows_to_read(limit)])?;
    let page = row::page(rows, limit)?;
    Ok((page, outbox_size(connection)?))
}

pub(in crate::store) fn outbox_size(connection: &Connection) -> rusqlite::Result<OutboxSize> {
    connection
        .prepare_cached("SELECT messages, bytes FROM outbox_size")?
        .query_row([], |row| {
            Ok(OutboxSize {
                messages: row.get::<_, i64>(0)?.unsigned_abs(),
                bytes: row.get::<_, i64>(1)?.unsigned_abs(),
            })
        })
}

/// All groups that are wanted.
pub(in crate::store) fn groups(connection: &Connection) -> rusqlite::Result<Vec<Group>> {
    connection
        .prepare_cached("SELECT group_id, joined, code FROM groups ORDER BY group_id")?
        .query_map([], |row| {
            Ok(Group {
                group_id: row.get(0)?,
                joined: row.get(1)?,
                code: row.get(2)?,
            })
        })?
        .collect()
}

/// Where an app's cursor of that name stands; `None`: it has never been set.
pub(in crate::store) fn cursor(
    connection: &Connection,
    app_id: &str,
    name: &str,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT event_offset FROM cursors WHERE app_id = ?1 AND name = ?2")?
        .query_row([app_id, name], |row| row.get::<_, i64>(0))
        .optional()
        .map(|found| found.map(i64::unsigned_abs))
}
