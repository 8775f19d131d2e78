//! Reading what is stored, and the small writes around it. All of it works with the network down.
//!
//! | file | what is in it |
//! |---|---|
//! | `row` | rows of conversations; what a page holds |
//! | `history` | messages: one, or a page in the order of arrival |
//! | `conversations` | the conversation list, what is unread |
//! | `change` | draft, pin, mute, read, delete |
//! | `search`, `tokens` | the full-text index: what is put in, and what a query asks |
//! | `outbox` | what waits to be sent or received |
//! | `log` | the event log |
//!
//! The functions take a connection or a transaction and have no other state; [`Store`](super::Store) runs
//! them on its reader and its writer.

mod change;
mod conversations;
mod history;
mod log;
mod outbox;
mod row;
mod search;
mod tokens;

use rusqlite::Transaction;

use super::rows::{Conversation, ConversationKey, LogPage, Message, OutboxSize, Page};
use super::{Store, StoreError, message_row};
use crate::clock;

pub use change::ConversationChange;
pub use conversations::{ConversationPage, ConversationToken, InvalidToken};
pub(super) use log::{log_end, log_entry_bytes, log_page};
pub(super) use search::index_when_idle;

/// The bytes of a draft.
pub const MAX_DRAFT: usize = 8 * 1024;

/// How many messages of a conversation are deleted in one go.
const DELETE_BATCH: usize = 200;

/// Why a conversation was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    #[error("a draft has at most {MAX_DRAFT} bytes, and this one has {0}")]
    DraftTooLong(usize),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Every call fails with [`StoreError`] if no account is open, if the store is late or has stopped, and with
/// what the database says. Pages hold 1 to 200 rows; a page of large messages ends early, and says so.
impl Store {
    /// The message of that uid; where two senders chose the same, the newest.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn message_by_uid(&self, uid: String) -> Result<Option<Message>, StoreError> {
        self.read(move |connection| history::message_by_uid(connection, &uid))
            .await
    }

    /// The message with that id.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn message_by_id(&self, message_id: i64) -> Result<Option<Message>, StoreError> {
        self.read(move |connection| message_row::by_id(connection, message_id))
            .await
    }

    /// A page of a conversation, oldest message first: the newest one, the one before a message, or, with
    /// `after`, the one that follows a message. `has_more` speaks of the direction of paging.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn history(
        &self,
        key: ConversationKey,
        before: Option<i64>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.read(move |connection| history::history(connection, &key, before, after, limit))
            .await
    }

    /// Messages that hold every part of the query, newest first. What waits to be indexed is indexed first;
    /// if the disk has no room for that, the search goes without it.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn search(
        &self,
        query: String,
        key: Option<ConversationKey>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        match self.catch_up().await {
            Err(StoreError::Disk(error)) => {
                tracing::warn!(
                    error,
                    "a search goes without the newest messages: they cannot be indexed"
                );
            }
            caught_up => caught_up?,
        }
        self.read(move |connection| search::search(connection, &query, key.as_ref(), before, limit))
            .await
    }

    /// Indexes what waits at this moment; what comes meanwhile does not keep the caller.
    async fn catch_up(&self) -> Result<(), StoreError> {
        let last_waiting = self.read(search::last_waiting).await?;
        let mut is_behind = last_waiting.is_some();
        while is_behind {
            let batch =
                |transaction: &Transaction<'_>| search::index_some(transaction, search::CATCH_UP_BATCH);
            let first_waiting = self.write(batch).await?;
            is_behind = first_waiting.is_some() && first_waiting <= last_waiting;
        }
        Ok(())
    }

    /// A page of what waits to be sent or received, or has failed, in the order of sending, and how much
    /// waits to be sent in all. `after`: the last message of the page before.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn outbox(&self, after: Option<i64>, limit: usize) -> Result<(Page, OutboxSize), StoreError> {
        self.read(move |connection| outbox::outbox(connection, after, limit))
            .await
    }

    /// A page of the conversation list: pinned ones first, then by time, newest first.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn conversations(
        &self,
        after: Option<ConversationToken>,
        limit: usize,
    ) -> Result<ConversationPage, StoreError> {
        self.read(move |connection| conversations::conversations(connection, after, limit))
            .await
    }

    /// A conversation, if it is on the list.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn conversation(&self, key: ConversationKey) -> Result<Option<Conversation>, StoreError> {
        self.read(move |connection| conversations::conversation(connection, &key))
            .await
    }

    /// Sets what the change names. A draft or a pin brings the conversation on the list, and makes it if it
    /// was not there.
    ///
    /// # Errors
    /// A draft longer than [`MAX_DRAFT`], and as for all calls here.
    pub async fn update_conversation(
        &self,
        key: ConversationKey,
        change: ConversationChange,
    ) -> Result<Conversation, UpdateError> {
        let draft = change.draft.as_ref().map_or(0, String::len);
        if draft > MAX_DRAFT {
            return Err(UpdateError::DraftTooLong(draft));
        }
        let now = clock::now().unix.as_millis();
        let update =
            move |transaction: &Transaction<'_>| change::update_conversation(transaction, &key, &change, now);
        Ok(self.write(update).await?)
    }

    /// Marks messages as read, up to and with one, or all. Returns how many stay unread.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn mark_read(&self, key: ConversationKey, up_to: Option<i64>) -> Result<u64, StoreError> {
        self.write(move |transaction| change::mark_read(transaction, &key, up_to))
            .await
    }

    /// Unread messages over all conversations on the list, with those of muted ones or without.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn unread_count(&self, include_muted: bool) -> Result<u64, StoreError> {
        self.read(move |connection| conversations::unread_count(connection, include_muted))
            .await
    }

    /// Deletes messages, all in one commit; what waited to be sent is not sent any more. Returns how many
    /// there were.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn delete_messages(&self, message_ids: Vec<i64>) -> Result<usize, StoreError> {
        self.write(move |transaction| change::delete_messages(transaction, &message_ids))
            .await
    }

    /// Takes a conversation off the list, where its next message brings it back. Its messages are read, and
    /// with `with_messages` deleted, in many small commits: once begun this goes on, also if the caller stops
    /// waiting.
    ///
    /// # Errors
    /// As for all calls here. Some messages may be deleted by then; the call can be repeated.
    pub async fn delete_conversation(
        &self,
        key: ConversationKey,
        with_messages: bool,
    ) -> Result<(), StoreError> {
        let removed = self
            .write(move |transaction| change::remove_conversation(transaction, &key))
            .await?;
        let Some(doomed) = removed.filter(|_| with_messages) else {
            return Ok(());
        };
        let store = self.clone();
        let deletion = tokio::spawn(async move {
            let batch =
                move |transaction: &Transaction<'_>| change::delete_some(transaction, doomed, DELETE_BATCH);
            while store.write(batch).await? {}
            Ok(())
        });
        deletion.await.map_err(|_| StoreError::Stopped)?
    }

    /// The log's entries after an offset: at most `max_entries`, and at most about `max_bytes` unless the
    /// first alone is larger.
    ///
    /// # Errors
    /// As for all calls here.
    pub async fn log_page(
        &self,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<LogPage, StoreError> {
        self.read(move |connection| log_page(connection, after, max_entries, max_bytes))
            .await
    }
}

#[cfg(test)]
mod tests;
