//! What the calls about messages want from the store: a border, so that a test can play it.

mod of_store;

use std::time::Duration;

use tonic::{Status, async_trait};

use super::convert;
use crate::hub::LogSource;
use crate::store::read::{ConversationChange, ConversationPage, ConversationToken, UpdateError};
use crate::store::rows::{
    Conversation, ConversationKey, Group, Message, OutboxSize, Outgoing, Page, SendError,
};
use crate::store::{Figures, StatusNote, StoreError};

/// How long the store may take to answer a call.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);

/// A search first brings its index up to date.
pub(super) const SEARCH_DEADLINE: Duration = Duration::from_secs(30);

/// The open account's messages. The methods are the store's own.
#[async_trait]
pub trait Archive: LogSource {
    /// Puts a message in the outbox; whether its uid was there already.
    async fn enqueue(&self, outgoing: Outgoing) -> Result<(Message, bool), SendError>;

    /// As [`Archive::enqueue`], for many in their order; one answer for each, or an error that concerns all.
    async fn enqueue_all(
        &self,
        outgoings: Vec<Outgoing>,
    ) -> Result<Vec<Result<(Message, bool), SendError>>, SendError>;

    /// Puts a failed message at the outbox's tail again. One that has not failed stays as it is.
    async fn retry(&self, uid: String) -> Result<Option<Message>, StoreError>;

    async fn message_by_uid(&self, uid: String) -> Result<Option<Message>, StoreError>;

    async fn message_by_id(&self, message_id: i64) -> Result<Option<Message>, StoreError>;

    /// Oldest first. With `after` the messages behind it, else those before `before`, else the newest.
    async fn history(
        &self,
        key: ConversationKey,
        before: Option<i64>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// Newest first.
    async fn search(
        &self,
        query: String,
        key: Option<ConversationKey>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError>;

    /// In the order of sending, and how much waits in all.
    async fn outbox(&self, after: Option<i64>, limit: usize) -> Result<(Page, OutboxSize), StoreError>;

    /// Returns how many there were.
    async fn delete_messages(&self, message_ids: Vec<i64>) -> Result<usize, StoreError>;

    async fn conversations(
        &self,
        after: Option<ConversationToken>,
        limit: usize,
    ) -> Result<ConversationPage, StoreError>;

    async fn conversation(&self, key: ConversationKey) -> Result<Option<Conversation>, StoreError>;

    /// Makes the conversation if there is none.
    async fn update_conversation(
        &self,
        key: ConversationKey,
        change: ConversationChange,
    ) -> Result<Conversation, UpdateError>;

    /// Up to and with a message, or all; returns how many stay unread.
    async fn mark_read(&self, key: ConversationKey, up_to: Option<i64>) -> Result<u64, StoreError>;

    async fn unread_count(&self, include_muted: bool) -> Result<u64, StoreError>;

    async fn delete_conversation(&self, key: ConversationKey, with_messages: bool) -> Result<(), StoreError>;

    async fn groups(&self) -> Result<Vec<Group>, StoreError>;

    /// The status changes that were noted since then, by this run of the daemon and earlier ones.
    async fn statuses_since(&self, time: i64) -> Result<Vec<StatusNote>, StoreError>;

    /// What was counted, and how the store is.
    async fn measure(&self) -> Result<Figures, StoreError>;
}

/// What the archive answers, within the deadline. Who has stopped waiting does not undo what was asked.
pub(super) async fn answered<T, E>(
    call: &str,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, Status>
where
    E: convert::Failed,
{
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(answer) => answer.map_err(convert::failed),
        Err(_) => Err(convert::late(call, DEADLINE)),
    }
}
