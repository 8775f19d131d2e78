//! A message and what always comes with it: its conversation, its place in the log, its turn for the search
//! index.

use rusqlite::{OptionalExtension as _, Transaction, params};

use crate::store::log;
use crate::store::rows::{ConversationKey, ConversationKind};

/// SENDING, FAILED, SENT, RECEIVED.
pub(super) const SENDING: i32 = 10;
pub(super) const FAILED: i32 = 20;
pub(super) const SENT: i32 = 30;
pub(super) const RECEIVED: i32 = 40;

/// The message of ours that a peer has received. The message comes first: from the conversation on, SQLite
/// would walk through all there is with this peer.
pub(in crate::store) const RECEIVED_BY: &str = "
    SELECT m.message_id FROM messages m CROSS JOIN conversations c ON c.conversation_id = m.conversation_id
    WHERE m.uid = ?1 AND m.sent_by_me = 1 AND c.kind = ?2 AND c.target_id = ?3 AND m.sent_status <> ?4";

/// A row to be.
pub(super) struct NewMessage<'a> {
    pub(super) conversation: &'a ConversationKey,
    pub(super) uid: &'a str,
    pub(super) sender: &'a str,
    pub(super) sent_by_me: bool,
    pub(super) object_name: &'a str,
    pub(super) content: &'a [u8],
    pub(super) flags: u32,
    pub(super) sent_time: i64,
    /// 0: received.
    pub(super) sent_status: i32,
    pub(super) unread: bool,
}

/// Stores it at the end of its conversation, which is on the list from then on. Returns its id.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    now: i64,
    message: &NewMessage<'_>,
) -> rusqlite::Result<i64> {
    let conversation_id = conversation_id(transaction, message.conversation)?;
    transaction
        .prepare_cached(
            "INSERT INTO messages (conversation_id, uid, sender, sent_by_me, object_name, content, flags,
                                   sent_time, received_time, sent_status, unread)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            conversation_id,
            message.uid,
            message.sender,
            message.sent_by_me,
            message.object_name,
            message.content,
            message.flags,
            message.sent_time,
            now,
            message.sent_status,
            message.unread,
        ])?;
    let message_id = transaction.last_insert_rowid();
    transaction
        .prepare_cached(
            "UPDATE conversations SET listed = 1, last_message = ?2, sort_time = ?3, unread = unread + ?4
             WHERE conversation_id = ?1",
        )?
        .execute((conversation_id, message_id, now, message.unread))?;
    transaction
        .prepare_cached("INSERT INTO search_queue (message_id) VALUES (?1)")?
        .execute([message_id])?;
    log::message(transaction, now, message_id, message.sent_status)?;
    Ok(message_id)
}

/// Notes that (sender, uid) is stored. `false`: it had been, and is known longer from here on.
pub(super) fn note_seen(
    transaction: &Transaction<'_>,
    sender: &str,
    uid: &str,
    expires: i64,
) -> rusqlite::Result<bool> {
    let inserted = transaction
        .prepare_cached("INSERT OR IGNORE INTO seen (sender, uid, expires) VALUES (?1, ?2, ?3)")?
        .execute((sender, uid, expires))?;
    if inserted == 0 {
        transaction
            .prepare_cached("UPDATE seen SET expires = max(expires, ?3) WHERE sender = ?1 AND uid = ?2")?
            .execute((sender, uid, expires))?;
    }
    Ok(inserted > 0)
}

/// Marks a private message of ours as received by the peer's daemon, if it went to this peer, and takes it
/// out of the outbox. `false`: there is none, or it had been marked.
pub(super) fn mark_received(
    transaction: &Transaction<'_>,
    now: i64,
    peer: &str,
    uid: &str,
) -> rusqlite::Result<bool> {
    let found: Option<i64> = transaction
        .prepare_cached(RECEIVED_BY)?
        .query_row((uid, ConversationKind::Private.number(), peer, RECEIVED), |row| {
            row.get(0)
        })
        .optional()?;
    let Some(message_id) = found else {
        return Ok(false);
    };
    transaction
        .prepare_cached("DELETE FROM outbox WHERE message_id = ?1")?
        .execute([message_id])?;
    set_status(transaction, now, message_id, RECEIVED, 0, "")?;
    Ok(true)
}

/// Brings a message to a status, and logs it.
pub(super) fn set_status(
    transaction: &Transaction<'_>,
    now: i64,
    message_id: i64,
    sent_status: i32,
    code: i32,
    code_text: &str,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE messages SET sent_status = ?2, code = ?3, code_text = ?4 WHERE message_id = ?1",
        )?
        .execute((message_id, sent_status, code, code_text))?;
    log::message_state(transaction, now, message_id, sent_status)
}

fn conversation_id(transaction: &Transaction<'_>, key: &ConversationKey) -> rusqlite::Result<i64> {
    let kind = key.kind.number();
    let found = transaction
        .prepare_cached("SELECT conversation_id FROM conversations WHERE kind = ?1 AND target_id = ?2")?
        .query_row((kind, &key.target), |row| row.get(0))
        .optional()?;
    if let Some(conversation_id) = found {
        return Ok(conversation_id);
    }
    transaction
        .prepare_cached("INSERT INTO conversations (kind, target_id) VALUES (?1, ?2)")?
        .execute((kind, &key.target))?;
    Ok(transaction.last_insert_rowid())
}
