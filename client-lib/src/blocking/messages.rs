//! Messages, events, conversations and groups, waited for.

use tokio_stream::StreamExt as _;

use super::BlockingClient;
use crate::conversations::{Conversation, ConversationChange, ConversationPage, PageToken};
use crate::error::Error;
use crate::events::{Cursor, Event, Events, Start};
use crate::groups::Group;
use crate::history::{MessagePage, Outbox, PageOptions, SearchOptions};
use crate::message::{Content, ConversationKey, Message};
use crate::sending::Sending;

impl BlockingClient {
    /// See [`Client::send_message`](crate::Client::send_message).
    pub fn send_message(&self, conversation: &ConversationKey, content: Content) -> BlockingSending {
        BlockingSending(self.client.send_message(conversation, content))
    }

    /// See [`Client::send_text`](crate::Client::send_text).
    pub fn send_text(&self, to_user_id: impl Into<String>, text: impl AsRef<str>) -> BlockingSending {
        BlockingSending(self.client.send_text(to_user_id, text))
    }

    /// See [`Client::subscribe`](crate::Client::subscribe).
    pub fn subscribe(&self, start: Start) -> BlockingEvents {
        BlockingEvents(self.client.subscribe(start))
    }

    /// See [`Client::ack_events`](crate::Client::ack_events).
    ///
    /// # Errors
    /// As all calls about messages: 34301 before an account is open, 33003 for a wrong argument, 34304 for what
    /// is not there, -2 without a daemon, 90001 with a silent one.
    pub fn ack_events(&self, name: impl Into<String>, cursor: &Cursor) -> Result<(), Error> {
        pollster::block_on(self.client.ack_events(name, cursor))
    }

    /// See [`Client::get_message`](crate::Client::get_message).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn get_message(&self, uid: impl Into<String>) -> Result<Message, Error> {
        pollster::block_on(self.client.get_message(uid))
    }

    /// See [`Client::get_message_by_id`](crate::Client::get_message_by_id).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn get_message_by_id(&self, message_id: i64) -> Result<Message, Error> {
        pollster::block_on(self.client.get_message_by_id(message_id))
    }

    /// See [`Client::list_messages`](crate::Client::list_messages).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn list_messages(&self, key: &ConversationKey, page: PageOptions) -> Result<MessagePage, Error> {
        pollster::block_on(self.client.list_messages(key, page))
    }

    /// See [`Client::search_messages`](crate::Client::search_messages).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn search_messages(
        &self,
        query: impl Into<String>,
        options: SearchOptions,
    ) -> Result<MessagePage, Error> {
        pollster::block_on(self.client.search_messages(query, options))
    }

    /// See [`Client::delete_messages`](crate::Client::delete_messages).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn delete_messages(&self, message_ids: impl Into<Vec<i64>>) -> Result<u32, Error> {
        pollster::block_on(self.client.delete_messages(message_ids))
    }

    /// See [`Client::retry_message`](crate::Client::retry_message).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn retry_message(&self, uid: impl Into<String>) -> Result<Message, Error> {
        pollster::block_on(self.client.retry_message(uid))
    }

    /// See [`Client::list_outbox`](crate::Client::list_outbox).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn list_outbox(&self, limit: u32, after: Option<i64>) -> Result<Outbox, Error> {
        pollster::block_on(self.client.list_outbox(limit, after))
    }

    /// See [`Client::conversations`](crate::Client::conversations).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn conversations(&self, limit: u32, page: Option<PageToken>) -> Result<ConversationPage, Error> {
        pollster::block_on(self.client.conversations(limit, page))
    }

    /// See [`Client::conversation`](crate::Client::conversation).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn conversation(&self, key: &ConversationKey) -> Result<Conversation, Error> {
        pollster::block_on(self.client.conversation(key))
    }

    /// See [`Client::update_conversation`](crate::Client::update_conversation).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn update_conversation(
        &self,
        key: &ConversationKey,
        change: ConversationChange,
    ) -> Result<Conversation, Error> {
        pollster::block_on(self.client.update_conversation(key, change))
    }

    /// See [`Client::mark_read`](crate::Client::mark_read).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn mark_read(&self, key: &ConversationKey, up_to: Option<i64>) -> Result<u64, Error> {
        pollster::block_on(self.client.mark_read(key, up_to))
    }

    /// See [`Client::unread_count`](crate::Client::unread_count).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn unread_count(&self, include_muted: bool) -> Result<u64, Error> {
        pollster::block_on(self.client.unread_count(include_muted))
    }

    /// See [`Client::delete_conversation`](crate::Client::delete_conversation).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn delete_conversation(&self, key: &ConversationKey, delete_messages: bool) -> Result<(), Error> {
        pollster::block_on(self.client.delete_conversation(key, delete_messages))
    }

    /// See [`Client::join_group`](crate::Client::join_group).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn join_group(&self, group_id: impl Into<String>) -> Result<(), Error> {
        pollster::block_on(self.client.join_group(group_id))
    }

    /// See [`Client::quit_group`](crate::Client::quit_group).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn quit_group(&self, group_id: impl Into<String>) -> Result<(), Error> {
        pollster::block_on(self.client.quit_group(group_id))
    }

    /// See [`Client::groups`](crate::Client::groups).
    ///
    /// # Errors
    /// As [`ack_events`](Self::ack_events).
    pub fn groups(&self) -> Result<Vec<Group>, Error> {
        pollster::block_on(self.client.groups())
    }
}

/// A message on its way; see [`Sending`].
#[must_use = "the message is sent without it, but whether it was accepted is told only here"]
pub struct BlockingSending(Sending);

impl BlockingSending {
    /// The message's id.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.0.uid()
    }

    /// See [`Sending::accepted`].
    ///
    /// # Errors
    /// See [`Sending::accepted`].
    pub fn accepted(&self) -> Result<Message, Error> {
        pollster::block_on(self.0.accepted())
    }

    /// See [`Sending::sent`].
    ///
    /// # Errors
    /// See [`Sending::sent`].
    pub fn sent(&self) -> Result<Message, Error> {
        pollster::block_on(self.0.sent())
    }

    /// See [`Sending::received`].
    ///
    /// # Errors
    /// See [`Sending::received`].
    pub fn received(&self) -> Result<Message, Error> {
        pollster::block_on(self.0.received())
    }
}

/// The events after a cursor, then every one that comes; `next` waits for it. See [`Events`].
pub struct BlockingEvents(Events);

impl Iterator for BlockingEvents {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.0.next())
    }
}
