//! Rows of messages and conversations: which columns are read, and what is made of them.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Row, Rows};

use crate::store::rows::{Conversation, ConversationKey, ConversationKind, Message, Page};

/// A page holds 1 to 200 rows.
const MAX_ROWS: usize = 200;

/// The content on one page; the next page goes on where it ends. gRPC clients take answers of at most 4 MiB
/// unless told otherwise, and one message has at most 128 KiB.
pub(super) const MAX_PAGE_BYTES: usize = 2 * 1024 * 1024;

/// What [`message`] reads, in its order, of `messages AS m` and its conversation `c`.
macro_rules! message_columns {
    () => {
        "c.kind, c.target_id, m.message_id, m.uid, m.sender, m.sent_by_me, m.object_name, m.content, m.flags, \
         m.sent_time, m.received_time, m.sent_status, m.code, m.code_text, m.no_receiver, m.unread"
    };
}

/// The first column after those of a message.
pub(super) const AFTER_MESSAGE: usize = 16;

/// Where the message's own columns begin: NULL here says that an outer join found none.
const MESSAGE_ID: usize = 2;

/// What [`conversation`] reads of `conversations AS c` and its last message `m`, which may be missing.
macro_rules! conversation_columns {
    () => {
        concat!(
            crate::store::read::row::message_columns!(),
            ", c.unread, c.draft, c.pinned, c.muted, c.sort_time, c.conversation_id"
        )
    };
}

pub(super) use {conversation_columns, message_columns};

impl FromSql for ConversationKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        [Self::Private, Self::Group, Self::System]
            .into_iter()
            .find(|kind| kind.number() == number)
            .ok_or(FromSqlError::OutOfRange(number))
    }
}

/// How many rows a page holds, and one more that tells whether there is a next page.
pub(super) fn rows_to_read(limit: usize) -> i64 {
    i64::try_from(clamped(limit) + 1).unwrap_or(i64::MAX)
}

fn clamped(limit: usize) -> usize {
    limit.clamp(1, MAX_ROWS)
}

fn key(row: &Row<'_>) -> rusqlite::Result<ConversationKey> {
    Ok(ConversationKey {
        kind: row.get(0)?,
        target: row.get(1)?,
    })
}

pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        conversation: key(row)?,
        message_id: row.get(MESSAGE_ID)?,
        uid: row.get(3)?,
        sender: row.get(4)?,
        sent_by_me: row.get(5)?,
        object_name: row.get(6)?,
        content: row.get(7)?,
        flags: row.get(8)?,
        sent_time: row.get(9)?,
        received_time: row.get(10)?,
        sent_status: row.get(11)?,
        code: row.get(12)?,
        code_text: row.get(13)?,
        no_receiver: row.get(14)?,
        unread: row.get(15)?,
    })
}

/// The message of an outer join.
pub(super) fn message_if_any(row: &Row<'_>) -> rusqlite::Result<Option<Message>> {
    let found: Option<i64> = row.get(MESSAGE_ID)?;
    found.map(|_| message(row)).transpose()
}

/// A conversation, with its place in the list.
pub(super) fn conversation(row: &Row<'_>) -> rusqlite::Result<(Conversation, i64)> {
    let conversation = Conversation {
        key: key(row)?,
        last_message: message_if_any(row)?,
        unread: row.get::<_, i64>(AFTER_MESSAGE)?.unsigned_abs(),
        draft: row.get(AFTER_MESSAGE + 1)?,
        pinned: row.get(AFTER_MESSAGE + 2)?,
        muted: row.get(AFTER_MESSAGE + 3)?,
        update_time: row.get(AFTER_MESSAGE + 4)?,
    };
    Ok((conversation, row.get(AFTER_MESSAGE + 5)?))
}

/// A page of messages from rows that were read with [`rows_to_read`].
pub(super) fn page(rows: Rows<'_>, limit: usize) -> rusqlite::Result<Page> {
    let (messages, has_more) = take(rows, limit, message, |message| message.content.len())?;
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
