//! A message as its row has it.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::rows::{ConversationKey, ConversationKind, Message};

/// A query of messages: `WHERE …` follows. The table is `m`, its conversation `c`.
macro_rules! select_messages {
    ($rest:literal) => {
        concat!(
            "SELECT m.message_id, c.kind, c.target_id, m.uid, m.sender, m.sent_by_me, m.object_name, m.content,
                    m.flags, m.sent_time, m.received_time, m.sent_status, m.code, m.code_text, m.no_receiver,
                    m.unread
             FROM messages m JOIN conversations c USING (conversation_id) ",
            $rest
        )
    };
}

pub(super) use select_messages;

/// A row of [`select_messages`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        message_id: row.get(0)?,
        conversation: ConversationKey {
            kind: kind(row, 1)?,
            target: row.get(2)?,
        },
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

/// The conversation kind in a column.
pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<ConversationKind> {
    let number: i64 = row.get(column)?;
    ConversationKind::of_number(number)
        .ok_or_else(|| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

/// The message with this id.
pub(super) fn by_id(connection: &Connection, message_id: i64) -> rusqlite::Result<Option<Message>> {
    connection
        .prepare_cached(select_messages!("WHERE m.message_id = ?1"))?
        .query_row([message_id], message)
        .optional()
}

/// The message this account has sent under this uid.
pub(super) fn sent(connection: &Connection, uid: &str) -> rusqlite::Result<Option<Message>> {
    connection
        .prepare_cached(select_messages!(
            "WHERE m.uid = ?1 AND m.sent_by_me = 1 ORDER BY m.message_id DESC LIMIT 1"
        ))?
        .query_row([uid], message)
        .optional()
}
