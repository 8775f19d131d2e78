//! The store itself as the archive.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::async_trait;

use super::Archive;
use crate::hub::{LogError, LogSource};
use crate::link::BoxFuture;
use crate::store::read::{ConversationChange, ConversationPage, ConversationToken, UpdateError};
use crate::store::rows::{
    Conversation, ConversationKey, Group, LogPage, Message, OutboxSize, Outgoing, Page, SendError, Tip,
};
use crate::store::{Figures, OtherEpoch, StatusNote, Store, StoreError};

impl LogSource for Store {
    fn tip(&self) -> watch::Receiver<Tip> {
        Self::tip(self)
    }

    fn log_page(
        &self,
        epoch: String,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> BoxFuture<Result<LogPage, LogError>> {
        let store = self.clone();
        Box::pin(async move { in_epoch(store.log_page_in(epoch, after, max_entries, max_bytes).await) })
    }

    fn cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
    ) -> BoxFuture<Result<Option<u64>, LogError>> {
        let store = self.clone();
        Box::pin(async move {
            let (app_id, name) = (app_id.as_ref().to_owned(), name.as_ref().to_owned());
            in_epoch(store.cursor_in(epoch, app_id, name).await)
        })
    }

    fn set_cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
        offset: u64,
    ) -> BoxFuture<Result<(), LogError>> {
        let store = self.clone();
        Box::pin(async move {
            let (app_id, name) = (app_id.as_ref().to_owned(), name.as_ref().to_owned());
            in_epoch(store.set_cursor_in(epoch, app_id, name, offset).await)
        })
    }
}

fn in_epoch<T>(answer: Result<Result<T, OtherEpoch>, StoreError>) -> Result<T, LogError> {
    match answer {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(OtherEpoch)) => Err(LogError::OtherEpoch),
        Err(error) => Err(error.into()),
    }
}

#[async_trait]
impl Archive for Store {
    async fn enqueue(&self, outgoing: Outgoing) -> Result<(Message, bool), SendError> {
        Self::enqueue(self, outgoing).await
    }

    async fn enqueue_all(
        &self,
        outgoings: Vec<Outgoing>,
    ) -> Result<Vec<Result<(Message, bool), SendError>>, SendError> {
        Self::enqueue_all(self, outgoings).await
    }

    async fn retry(&self, uid: String) -> Result<Option<Message>, StoreError> {
        Self::retry(self, uid).await
    }

    async fn message_by_uid(&self, uid: String) -> Result<Option<Message>, StoreError> {
        Self::message_by_uid(self, uid).await
    }

    async fn message_by_id(&self, message_id: i64) -> Result<Option<Message>, StoreError> {
        Self::message_by_id(self, message_id).await
    }

    async fn history(
        &self,
        key: ConversationKey,
        before: Option<i64>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        Self::history(self, key, before, after, limit).await
    }

    async fn search(
        &self,
        query: String,
        key: Option<ConversationKey>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        Self::search(self, query, key, before, limit).await
    }

    async fn outbox(&self, after: Option<i64>, limit: usize) -> Result<(Page, OutboxSize), StoreError> {
        Self::outbox(self, after, limit).await
    }

    async fn delete_messages(&self, message_ids: Vec<i64>) -> Result<usize, StoreError> {
        Self::delete_messages(self, message_ids).await
    }

    async fn conversations(
        &self,
        after: Option<ConversationToken>,
        limit: usize,
    ) -> Result<ConversationPage, StoreError> {
        Self::conversations(self, after, limit).await
    }

    async fn conversation(&self, key: ConversationKey) -> Result<Option<Conversation>, StoreError> {
        Self::conversation(self, key).await
    }

    async fn update_conversation(
        &self,
        key: ConversationKey,
        change: ConversationChange,
    ) -> Result<Conversation, UpdateError> {
        Self::update_conversation(self, key, change).await
    }

    async fn mark_read(&self, key: ConversationKey, up_to: Option<i64>) -> Result<u64, StoreError> {
        Self::mark_read(self, key, up_to).await
    }

    async fn unread_count(&self, include_muted: bool) -> Result<u64, StoreError> {
        Self::unread_count(self, include_muted).await
    }

    async fn delete_conversation(&self, key: ConversationKey, with_messages: bool) -> Result<(), StoreError> {
        Self::delete_conversation(self, key, with_messages).await
    }

    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        Self::groups(self).await
    }

    async fn statuses_since(&self, time: i64) -> Result<Vec<StatusNote>, StoreError> {
        Self::statuses_since(self, time).await
    }

    async fn measure(&self) -> Result<Figures, StoreError> {
        Self::measure(self).await
    }
}
