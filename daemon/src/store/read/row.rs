//! Rows of conversations, and what a page holds.

use rusqlite::{Row, Rows};

use crate::store::message_row::{self, AFTER_MESSAGE};
use crate::store::rows::{Conversation, ConversationKey, Page};

/// A page holds 1 to 200 rows.
const MAX_ROWS: usize = 200;

/// The content on one page; the next page goes on where it ends. gRPC clients take answers of at most 4 MiB
/// unless told otherwise, and one message has at most 128 KiB.
pub(super) const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// What [`conversation`] reads of `conversations AS c` and its last message `m`, which may be missing.
macro_rules! conversation_columns {
    () => {
        concat!(
            crate::store::message_row::message_columns!(),
            ", c.kind, c.target_id, c.unread, c.draft, c.pinned, c.muted, c.sort_time, c.conversation_id"
        )
    };
}

pub(super) use conversation_columns;

/// How many rows a page holds, and one more that tells whether there is a next page.
pub(super) fn rows_to_read(limit: usize) -> i64 {
    i64::try_from(clamped(limit) + 1).unwrap_or(i64::MAX)
}

fn clamped(limit: usize) -> usize {
    limit.clamp(1, MAX_ROWS)
}

/// A conversation, with its place in the list.
pub(super) fn conversation(row: &Row<'_>) -> rusqlite::Result<(Conversation, i64)> {
    let conversation = Conversation {
        key: ConversationKey {
            kind: message_row::kind(row, AFTER_MESSAGE)?,
            target: message_row::text(row, AFTER_MESSAGE + 1)?,
        },
        last_message: message_row::message_if_any(row)?,
        unread: row.get::<_, i64>(AFTER_MESSAGE + 2)?.unsigned_abs(),
        draft: message_row::text(row, AFTER_MESSAGE + 3)?,
        pinned: row.get(AFTER_MESSAGE + 4)?,
        muted: row.get(AFTER_MESSAGE + 5)?,
        update_time: row.get(AFTER_MESSAGE + 6)?,
    };
    Ok((conversation, row.get(AFTER_MESSAGE + 7)?))
}

/// A page of messages from rows that were read with [`rows_to_read`].
pub(super) fn page(rows: Rows<'_>, limit: usize) -> rusqlite::Result<Page> {
    let (messages, has_more) = take(rows, limit, message_row::message, |message| message.content.len())?;
    Ok(Page { messages, has_more })
}

/// Takes as many rows as a page holds, and says whether more follow. `size` is the content of one.
pub(super) fn take<T>(
    mut rows: Rows<'_>,
    limit: usize,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    size: impl Fn(&T) -> usize,
) -> rusqlite::Result<(Vec<T>, bool)> {
    let limit = clamped(limit);
    let mut taken = Vec::with_capacity(limit);
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        if taken.len() == limit {
            return Ok((taken, true));
        }
        let item = read(row)?;
        bytes += size(&item);
        if bytes > MAX_PAGE_BYTES && !taken.is_empty() {
            return Ok((taken, true));
        }
        taken.push(item);
    }
    Ok((taken, false))
}
