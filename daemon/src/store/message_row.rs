//! A message as its row has it.
//!
//! A flipped bit in a value is damage that SQLite cannot see. Such a value is shown as far as it goes: it must
//! not keep people from all others.

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::rows::{ConversationKey, ConversationKind, Message};

/// What [`message`] reads. The table is `m`, its conversation `c`; other columns may follow.
macro_rules! message_columns {
    () => {
        "m.message_id, c.kind, c.target_id, m.uid, m.sender, m.sent_by_me, m.object_name, m.content,
         m.flags, m.sent_time, m.received_time, m.sent_status, m.code, m.code_text, m.no_receiver,
         m.unread"
    };
}

/// The first column after [`message_columns`].
pub(super) const AFTER_MESSAGE: usize = 16;

/// A query of messages: `WHERE …` follows.
macro_rules! select_messages {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            crate::store::message_row::message_columns!(),
            " FROM messages m JOIN conversations c USING (conversation_id) ",
            $rest
        )
    };
}

pub(super) use {message_columns, select_messages};

/// A row that begins with [`message_columns`].
pub(super) fn message(row: &Row<'_>) -> rusqlite::Result<Message> {
    Ok(Message {
        message_id: row.get(0)?,
        conversation: ConversationKey {
            kind: kind(row, 1)?,
            target: text(row, 2)?,
        },
        uid: text(row, 3)?,
        sender: text(row, 4)?,
        sent_by_me: row.get(5)?,
        object_name: text(row, 6)?,
        content: row.get(7)?,
        flags: number(row, 8)?,
        sent_time: row.get(9)?,
        received_time: row.get(10)?,
        sent_status: number(row, 11)?,
        code: number(row, 12)?,
        code_text: text(row, 13)?,
        no_receiver: row.get(14)?,
        unread: row.get(15)?,
    })
}

/// The message of an outer join.
pub(super) fn message_if_any(row: &Row<'_>) -> rusqlite::Result<Option<Message>> {
    let found: Option<i64> = row.get(0)?;
    found.map(|_| message(row)).transpose()
}

/// A text column, with a sign for what is no text.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes()?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// A column with a number that has less than 64 bits; one that has more counts as 0.
pub(super) fn number<T: TryFrom<i64> + Default>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    Ok(T::try_from(row.get(column)?).unwrap_or_default())
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
