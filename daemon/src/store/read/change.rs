//! Small writes around conversations: draft, pin, mute, read, delete.

use std::collections::BTreeSet;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{conversations, row};
use crate::store::rows::{Conversation, ConversationKey};

/// What is to be set; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationChange {
    /// At most [`MAX_DRAFT`](super::MAX_DRAFT) bytes; empty: no draft.
    pub draft: Option<String>,
    pub pinned: Option<bool>,
    pub muted: Option<bool>,
}

impl ConversationChange {
    /// A draft or a pin is of no use on a conversation that nobody sees.
    fn brings_it_on_the_list(&self) -> bool {
        self.pinned == Some(true) || self.draft.as_ref().is_some_and(|draft| !draft.is_empty())
    }
}

/// Messages that a conversation's removal leaves to [`delete_some`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Doomed {
    conversation_id: i64,
    /// Later ones came after the removal, and stay.
    up_to: i64,
}

/// Changes a conversation, made if there is none. `now` is its place if this brings it on the list.
pub(in crate::store) fn update_conversation(
    transaction: &Transaction<'_>,
    key: &ConversationKey,
    change: &ConversationChange,
    now: i64,
) -> rusqlite::Result<Conversation> {
    let conversation_id = match conversation_id(transaction, key)? {
        Some(known) => known,
        None => transaction
            .prepare_cached("INSERT INTO conversations (kind, target_id, listed) VALUES (?1, ?2, 0)")?
            .insert(params![key.kind.number(), key.target])?,
    };
    transaction
        .prepare_cached(
            "UPDATE conversations SET draft = coalesce(?2, draft), pinned = coalesce(?3, pinned), \
             muted = coalesce(?4, muted) WHERE conversation_id = ?1",
        )?
        .execute(params![
            conversation_id,
            change.draft,
            change.pinned,
            change.muted
        ])?;
    if change.brings_it_on_the_list() {
        transaction
            .prepare_cached(
                "UPDATE conversations SET listed = 1, sort_time = ?2 WHERE conversation_id = ?1 AND listed = 0",
            )?
            .execute([conversation_id, now])?;
    }
    transaction
        .prepare_cached(conversations::BY_ID)?
        .query_row([conversation_id], row::conversation)
        .map(|(conversation, _)| conversation)
}

/// Marks messages as read, up to and with one, or all. Returns how many stay unread.
pub(in crate::store) fn mark_read(
    transaction: &Transaction<'_>,
    key: &ConversationKey,
    up_to: Option<i64>,
) -> rusqlite::Result<u64> {
    let Some(conversation_id) = conversation_id(transaction, key)? else {
        return Ok(0);
    };
    mark(transaction, conversation_id, up_to.unwrap_or(i64::MAX))?;
    let unread = count_unread(transaction, conversation_id)?;
    transaction
        .prepare_cached("UPDATE conversations SET unread = ?2 WHERE conversation_id = ?1")?
        .execute([conversation_id, unread])?;
    Ok(unread.unsigned_abs())
}

/// Deletes messages, in whatever conversation they are; one that waited to be sent is not sent any more.
/// That they have been seen stays known. Returns how many there were.
pub(in crate::store) fn delete_messages(
    transaction: &Transaction<'_>,
    message_ids: &[i64],
) -> rusqlite::Result<usize> {
    let mut touched = BTreeSet::new();
    let mut deleted = 0;
    let mut of_message =
        transaction.prepare_cached("SELECT conversation_id FROM messages WHERE message_id = ?1")?;
    for message_id in message_ids {
        let found = of_message
            .query_row([message_id], |row| row.get::<_, i64>(0))
            .optional()?;
        if let Some(conversation_id) = found {
            delete_message(transaction, *message_id)?;
            touched.insert(conversation_id);
            deleted += 1;
        }
    }
    for conversation_id in touched {
        recount(transaction, conversation_id)?;
    }
    Ok(deleted)
}

/// Takes a conversation off the list: read, unpinned, without its draft. It stays muted, and it keeps its
/// count of what was sent, which must never begin again. Its messages are left to [`delete_some`].
pub(in crate::store) fn remove_conversation(
    transaction: &Transaction<'_>,
    key: &ConversationKey,
) -> rusqlite::Result<Option<Doomed>> {
    let Some(conversation_id) = conversation_id(transaction, key)? else {
        return Ok(None);
    };
    mark(transaction, conversation_id, i64::MAX)?;
    transaction
        .prepare_cached(
            "UPDATE conversations SET listed = 0, unread = 0, pinned = 0, draft = '' WHERE conversation_id = ?1",
        )?
        .execute([conversation_id])?;
    let up_to = newest_message(transaction, conversation_id)?;
    Ok(Some(Doomed {
        conversation_id,
        up_to,
    }))
}

/// Deletes some messages of a removed conversation, the oldest first. Returns whether there are more: one
/// transaction for a long history would hold up everybody else.
pub(in crate::store) fn delete_some(
    transaction: &Transaction<'_>,
    doomed: Doomed,
    limit: usize,
) -> rusqlite::Result<bool> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let message_ids: Vec<i64> = transaction
        .prepare_cached(
            "SELECT message_id FROM messages WHERE conversation_id = ?1 AND message_id <= ?2 \
             ORDER BY message_id LIMIT ?3",
        )?
        .query_map([doomed.conversation_id, doomed.up_to, limit], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for message_id in &message_ids {
        delete_message(transaction, *message_id)?;
    }
    recount(transaction, doomed.conversation_id)?;
    Ok(message_ids.last().is_some_and(|last| *last < doomed.up_to))
}

/// The outbox's row goes with the message's.
fn delete_message(transaction: &Transaction<'_>, message_id: i64) -> rusqlite::Result<()> {
    for statement in [
        "DELETE FROM search_queue WHERE message_id = ?1",
        "DELETE FROM search WHERE rowid = ?1",
        "DELETE FROM messages WHERE message_id = ?1",
    ] {
        transaction.prepare_cached(statement)?.execute([message_id])?;
    }
    Ok(())
}

/// What a conversation says of its messages, after some of them have gone. Its place in the list follows its
/// last message; the last one that goes leaves it where it is.
fn recount(transaction: &Transaction<'_>, conversation_id: i64) -> rusqlite::Result<()> {
    let unread = count_unread(transaction, conversation_id)?;
    let last_message = newest_message(transaction, conversation_id)?;
    transaction
        .prepare_cached(
            "UPDATE conversations SET unread = ?2, last_message = ?3, sort_time = CASE WHEN last_message = ?3 \
             THEN sort_time ELSE coalesce((SELECT received_time FROM messages WHERE message_id = ?3), sort_time) END \
             WHERE conversation_id = ?1",
        )?
        .execute([conversation_id, unread, last_message])?;
    Ok(())
}

fn mark(transaction: &Transaction<'_>, conversation_id: i64, up_to: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "UPDATE messages INDEXED BY messages_unread SET unread = 0 \
             WHERE conversation_id = ?1 AND unread = 1 AND message_id <= ?2",
        )?
        .execute([conversation_id, up_to])?;
    Ok(())
}

fn count_unread(transaction: &Transaction<'_>, conversation_id: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "SELECT count(*) FROM messages INDEXED BY messages_unread WHERE conversation_id = ?1 AND unread = 1",
        )?
        .query_row([conversation_id], |row| row.get(0))
}

/// 0: none.
fn newest_message(transaction: &Transaction<'_>, conversation_id: i64) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached("SELECT coalesce(max(message_id), 0) FROM messages WHERE conversation_id = ?1")?
        .query_row([conversation_id], |row| row.get(0))
}

fn conversation_id(transaction: &Transaction<'_>, key: &ConversationKey) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached("SELECT conversation_id FROM conversations WHERE kind = ?1 AND target_id = ?2")?
        .query_row(params![key.kind.number(), key.target], |row| row.get(0))
        .optional()
}
