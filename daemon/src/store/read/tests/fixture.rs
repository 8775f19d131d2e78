//! A database, and ways to put something into it.

use rusqlite::{Connection, Transaction, params};

use crate::store::rows::{ConversationKey, ConversationKind};

pub(super) struct Fixture {
    pub(super) connection: Connection,
}

pub(super) fn private(target: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Private,
        target: target.to_owned(),
    }
}

pub(super) fn group(target: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Group,
        target: target.to_owned(),
    }
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::on(Connection::open_in_memory().unwrap())
    }

    pub(super) fn on(connection: Connection) -> Self {
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection
            .execute_batch(include_str!("../../migrations/001_account.sql"))
            .unwrap();
        connection
            .execute_batch(include_str!("../../migrations/002_messages.sql"))
            .unwrap();
        Self { connection }
    }

    /// Runs a write, and commits it.
    pub(super) fn write<T>(&mut self, job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> T {
        let transaction = self.connection.transaction().unwrap();
        let value = job(&transaction).unwrap();
        transaction.commit().unwrap();
        value
    }

    /// A text that has come in, counted and unread, `time` being when.
    pub(super) fn receive(&self, key: &ConversationKey, text: &str, time: i64) -> i64 {
        let content = serde_json::json!({ "content": text }).to_string();
        self.insert(key, "RC:TxtMsg", content.as_bytes(), time, true)
    }

    /// A text of our own that waits to be sent.
    pub(super) fn send(&self, key: &ConversationKey, text: &str, time: i64) -> i64 {
        let content = serde_json::json!({ "content": text }).to_string();
        let message_id = self.insert(key, "RC:TxtMsg", content.as_bytes(), time, false);
        self.connection
            .execute(
                "UPDATE messages SET sender = 'me', sent_by_me = 1, sent_status = 10 WHERE message_id = ?1",
                [message_id],
            )
            .unwrap();
        self.connection
            .execute(
                "INSERT INTO outbox (message_id, seq, bytes, state) VALUES (?1, 1, ?2, 10)",
                params![message_id, content.len() as i64],
            )
            .unwrap();
        message_id
    }

    pub(super) fn insert(
        &self,
        key: &ConversationKey,
        object_name: &str,
        content: &[u8],
        time: i64,
        unread: bool,
    ) -> i64 {
        insert(&self.connection, key, object_name, content, time, unread).unwrap()
    }

    pub(super) fn log(&self, kind: i64, message_id: i64, detail: &str) -> u64 {
        self.connection
            .prepare_cached("INSERT INTO events (time, kind, message_id, detail) VALUES (1, ?1, ?2, ?3)")
            .unwrap()
            .insert(params![kind, message_id, detail])
            .unwrap()
            .unsigned_abs()
    }

    /// How many rows a table has that fulfil a condition.
    pub(super) fn count(&self, table_and_condition: &str) -> i64 {
        self.connection
            .query_row(
                &format!("SELECT count(*) FROM {table_and_condition}"),
                [],
                |row| row.get(0),
            )
            .unwrap()
    }
}

/// A message that has come in, as the writer stores it, and its place in the index's queue.
pub(super) fn insert(
    connection: &Connection,
    key: &ConversationKey,
    object_name: &str,
    content: &[u8],
    time: i64,
    unread: bool,
) -> rusqlite::Result<i64> {
    let conversation_id: i64 = connection
        .prepare_cached(
            "INSERT INTO conversations (kind, target_id, unread, sort_time) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (kind, target_id) DO UPDATE SET unread = unread + excluded.unread, \
             sort_time = excluded.sort_time, listed = 1 RETURNING conversation_id",
        )?
        .query_row(params![key.kind.number(), key.target, unread, time], |row| {
            row.get(0)
        })?;
    let message_id = connection
        .prepare_cached(
            "INSERT INTO messages (conversation_id, uid, sender, sent_by_me, object_name, content, flags, \
             sent_time, received_time, unread) VALUES (?1, 'uid-' || ?2, ?3, 0, ?4, ?5, 3, ?2, ?2, ?6)",
        )?
        .insert(params![
            conversation_id,
            time,
            key.target,
            object_name,
            content,
            unread
        ])?;
    connection
        .prepare_cached("UPDATE conversations SET last_message = ?2 WHERE conversation_id = ?1")?
        .execute([conversation_id, message_id])?;
    connection
        .prepare_cached("INSERT INTO search_queue (message_id) VALUES (?1)")?
        .execute([message_id])?;
    Ok(message_id)
}
