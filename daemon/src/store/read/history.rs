//! Messages: one by its name, or a page of a conversation in the order of arrival, which is that of their ids.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row;
use crate::store::message_row;
use crate::store::rows::{ConversationKey, Message, Page};

/// The conversation's row comes second, so that one index walk gives the page in its order.
macro_rules! page_query {
    ($order:literal) => {
        concat!(
            "SELECT ",
            message_row::message_columns!(),
            " FROM messages AS m CROSS JOIN conversations AS c ON c.conversation_id = m.conversation_id \
             WHERE m.conversation_id = (SELECT conversation_id FROM conversations WHERE kind = ?1 AND target_id = ?2) \
             AND m.message_id < ?3 AND m.message_id > ?4 ORDER BY m.message_id ",
            $order,
            " LIMIT ?5"
        )
    };
}

pub(super) const OLDER: &str = page_query!("DESC");
pub(super) const NEWER: &str = page_query!("ASC");
pub(super) const BY_UID: &str =
    message_row::select_messages!("WHERE m.uid = ?1 ORDER BY m.message_id DESC LIMIT 1");

/// The message of that uid; where two senders chose the same, the newest.
pub(in crate::store) fn message_by_uid(
    connection: &Connection,
    uid: &str,
) -> rusqlite::Result<Option<Message>> {
    connection
        .prepare_cached(BY_UID)?
        .query_row([uid], message_row::message)
        .optional()
}

/// A page, oldest message first. With `after` it begins behind that message and `has_more` speaks of newer
/// ones; else it ends before `before`, or with the newest message, and `has_more` speaks of older ones.
pub(in crate::store) fn history(
    connection: &Connection,
    key: &ConversationKey,
    before: Option<i64>,
    after: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Page> {
    let query = if after.is_some() { NEWER } else { OLDER };
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query(params![
        key.kind.number(),
        key.target,
        before.unwrap_or(i64::MAX),
        after.unwrap_or(0),
        row::rows_to_read(limit),
    ])?;
    let mut page = row::page(rows, limit)?;
    if after.is_none() {
        page.messages.reverse();
    }
    Ok(page)
}
