//! Full-text search. The index has no copy of the text; its rows are named by the messages' ids.
//!
//! Only the text of `RC:TxtMsg`, the JSON field `content`, is indexed: of other object names imd does not
//! know what a person would look for. Whoever stores a message that may be found puts its id in
//! `search_queue`, in the same transaction; [`index_some`] empties the queue later.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Deserialize;

use super::{row, tokens};
use crate::store::message_row;
use crate::store::rows::{ConversationKey, Page};

const TEXT_MESSAGE: &str = "RC:TxtMsg";

/// The conversation is a column of the index, because going through the matches in all conversations for
/// those in one takes seconds.
macro_rules! search_query {
    () => {
        concat!(
            "SELECT ",
            message_row::message_columns!(),
            " FROM search CROSS JOIN messages AS m ON m.message_id = search.rowid \
             CROSS JOIN conversations AS c ON c.conversation_id = m.conversation_id \
             WHERE search MATCH ?1 AND search.rowid < ?2 ORDER BY search.rowid DESC LIMIT ?3"
        )
    };
}

pub(super) const SEARCH: &str = search_query!();

/// More content than this is not indexed in one go, unless one message alone has more.
const MAX_BATCH_BYTES: usize = 1024 * 1024;

/// How many messages are indexed in one go while nobody wants the writer, and while a search waits for it.
const IDLE_BATCH: usize = 200;
pub(super) const CATCH_UP_BATCH: usize = 2000;

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
}

/// Indexes the messages that have waited longest, at most `limit` of them. Returns the first one that still
/// waits.
pub(in crate::store) fn index_some(
    transaction: &Transaction<'_>,
    limit: usize,
) -> rusqlite::Result<Option<i64>> {
    let mut queue = transaction.prepare_cached(
        "SELECT q.message_id, coalesce(m.conversation_id, 0), coalesce(m.object_name, ''), coalesce(m.content, x'') \
         FROM search_queue AS q LEFT JOIN messages AS m ON m.message_id = q.message_id \
         ORDER BY q.message_id LIMIT ?1",
    )?;
    let mut insert =
        transaction.prepare_cached("INSERT INTO search (rowid, tokens, conversation) VALUES (?1, ?2, ?3)")?;
    let mut done = None;
    let mut bytes = 0;
    let mut rows = queue.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    while let Some(row) = rows.next()? {
        let message_id: i64 = row.get(0)?;
        let content = row.get_ref(3)?.as_bytes()?;
        bytes += content.len();
        if bytes > MAX_BATCH_BYTES && done.is_some() {
            break;
        }
        let text = searchable(row.get_ref(2)?.as_bytes()?, content);
        if !text.is_empty() {
            insert.execute(params![message_id, text, row.get::<_, i64>(1)?.to_string()])?;
        }
        done = Some(message_id);
    }
    drop(rows);
    if let Some(done) = done {
        transaction
            .prepare_cached("DELETE FROM search_queue WHERE message_id <= ?1")?
            .execute([done])?;
    }
    first_waiting(transaction)
}

/// Work for the writer's idle moments. Returns whether there is more.
pub(in crate::store) fn index_when_idle(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    index_some(transaction, IDLE_BATCH).map(|first_waiting| first_waiting.is_some())
}

/// The first message that waits to be indexed.
fn first_waiting(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT min(message_id) FROM search_queue")?
        .query_row([], |row| row.get(0))
}

/// The last message that waits to be indexed.
pub(super) fn last_waiting(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT max(message_id) FROM search_queue")?
        .query_row([], |row| row.get(0))
}

/// What has been indexed and holds every part of the query, newest first. Any text is a query; one without
/// letters and digits finds nothing.
pub(in crate::store) fn search(
    connection: &Connection,
    query: &str,
    key: Option<&ConversationKey>,
    before: Option<i64>,
    limit: usize,
) -> rusqlite::Result<Page> {
    let Some(text) = tokens::expression(query) else {
        return Ok(Page::default());
    };
    let mut expression = format!("tokens : ({text})");
    if let Some(key) = key {
        let conversation = connection
            .prepare_cached("SELECT conversation_id FROM conversations WHERE kind = ?1 AND target_id = ?2")?
            .query_row(params![key.kind.number(), key.target], |row| row.get::<_, i64>(0))
            .optional()?;
        let Some(conversation_id) = conversation else {
            return Ok(Page::default());
        };
        expression.push_str(&format!(" AND conversation : \"{conversation_id}\""));
    }
    let mut statement = connection.prepare_cached(SEARCH)?;
    let rows = statement.query(params![
        expression,
        before.unwrap_or(i64::MAX),
        row::rows_to_read(limit)
    ])?;
    row::page(rows, limit)
}

/// What of a message can be found.
fn searchable(object_name: &[u8], content: &[u8]) -> String {
    if object_name != TEXT_MESSAGE.as_bytes() {
        return String::new();
    }
    serde_json::from_slice::<Text<'_>>(content)
        .map(|text| tokens::index_text(&text.content))
        .unwrap_or_default()
}
