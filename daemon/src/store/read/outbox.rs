//! What waits to be sent or received, or has failed.

use rusqlite::{Connection, params};

use super::row;
use crate::store::message_row;
use crate::store::rows::{OutboxSize, Page};

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
