//! Stands in until the store has these methods.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::async_trait;

use super::archive::Archive;
use crate::hub::{LogError, LogSource};
use crate::link::BoxFuture;
use crate::store::rows::{
    Conversation, ConversationKey, Group, LogPage, Message, OutboxSize, Outgoing, Page, SendError, Tip,
};
use crate::store::{ConversationChange, ConversationPage, ConversationToken, Store, StoreError};

fn none<T: Send + 'static>() -> BoxFuture<Result<T, LogError>> {
    Box::pin(std::future::ready(Err(StoreError::NoAccount.into())))
}

impl LogSource for Store {
    fn tip(&self) -> watch::Receiver<Tip> {
        watch::channel(Tip::default()).1
    }

    fn log_page(&self, _: String, _: u64, _: usize, _: usize) -> BoxFuture<Result<LogPage, LogError>> {
        none()
    }

    fn cursor(&self, _: String, _: Arc<str>, _: Arc<str>) -> BoxFuture<Result<Option<u64>, LogError>> {
        none()
    }

    fn set_cursor(&self, _: String, _: Arc<str>, _: Arc<str>, _: u64) -> BoxFuture<Result<(), LogError>> {
        none()
    }
}

#[async_trait]
impl Archive for Store {
    async fn enqueue(&self, _: Outgoing) -> Result<(Message, bool), SendError> {
        Err(SendError::NoAccount)
    }

    async fn retry(&self, _: String) -> Result<Option<Message>, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn message_by_uid(&self, _: String) -> Result<Option<Message>, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn message_by_id(&self, _: i64) -> Result<Option<Message>, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn history(
        &self,
        _: ConversationKey,
        _: Option<i64>,
        _: Option<i64>,
        _: usize,
    ) -> Result<Page, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn search(
        &self,
        _: String,
        _: Option<ConversationKey>,
        _: Option<i64>,
        _: usize,
    ) -> Result<Page, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn outbox(&self, _: Option<i64>, _: usize) -> Result<(Page, OutboxSize), StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn delete_messages(&self, _: Vec<i64>) -> Result<usize, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn conversations(
        &self,
        _: Option<ConversationToken>,
        _: usize,
    ) -> Result<ConversationPage, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn conversation(&self, _: ConversationKey) -> Result<Option<Conversation>, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn update_conversation(
        &self,
        _: ConversationKey,
        _: ConversationChange,
    ) -> Result<Conversation, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn mark_read(&self, _: ConversationKey, _: Option<i64>) -> Result<u64, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn unread_count(&self, _: bool) -> Result<u64, StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn delete_conversation(&self, _: ConversationKey, _: bool) -> Result<(), StoreError> {
        Err(StoreError::NoAccount)
    }

    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        Err(StoreError::NoAccount)
    }
}
