//! Reading what is stored, and changing it. All of it works with the network down.

use imd_proto::imd::v1;
use imd_proto::imd::v1::get_message_request::Id;
use imd_proto::imd::v1::message_service_client::MessageServiceClient;

use crate::call::{Call, DEADLINE, MAX_ANSWER, SEARCH_DEADLINE};
use crate::client::Client;
use crate::error::Error;
use crate::message::{ConversationKey, Message};

/// Which part of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageOptions {
    /// Messages older than the one with this id; without it and `after`, the newest.
    pub before: Option<i64>,
    /// Messages newer than the one with this id. Only one of the two can be asked for.
    pub after: Option<i64>,
    /// At most so many: 1 to 200; 0 is 50.
    pub limit: u32,
}

impl PageOptions {
    /// The newest messages.
    #[must_use]
    pub fn newest() -> Self {
        Self::default()
    }

    /// The messages before this id.
    #[must_use]
    pub fn before(message_id: i64) -> Self {
        Self {
            before: Some(message_id),
            ..Self::default()
        }
    }

    /// The messages after this id.
    #[must_use]
    pub fn after(message_id: i64) -> Self {
        Self {
            after: Some(message_id),
            ..Self::default()
        }
    }

    /// At most so many: 1 to 200; 0 is 50.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// Where to search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// Only there.
    pub conversation: Option<ConversationKey>,
    /// Only messages before this id: the next page.
    pub before: Option<i64>,
    /// At most so many: 1 to 200; 0 is 50.
    pub limit: u32,
}

impl SearchOptions {
    /// Everywhere, the newest first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only there.
    #[must_use]
    pub fn conversation(mut self, key: ConversationKey) -> Self {
        self.conversation = Some(key);
        self
    }

    /// Only messages before this id: the next page.
    #[must_use]
    pub fn before(mut self, message_id: i64) -> Self {
        self.before = Some(message_id);
        self
    }

    /// At most so many: 1 to 200; 0 is 50.
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = limit;
        self
    }
}

/// A part of a history or of what a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessagePage {
    /// A history: in the order of arrival, oldest first. A search: newest first.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction asked for.
    pub has_more: bool,
}

/// What waits to be sent or to be received by the peer, and what has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outbox {
    /// In the order of sending.
    pub messages: Vec<Message>,
    /// Whether there are more behind the last one.
    pub has_more: bool,
    /// How many messages wait to be sent, on all pages.
    pub waiting_messages: u64,
    /// And how many bytes of content they have.
    pub waiting_bytes: u64,
}

impl Client {
    /// One message by its uid: 34304 RC_DB_DATA_NOT_FOUND where there is none.
    pub fn get_message(&self, uid: impl Into<String>) -> Call<Message> {
        self.message(Id::Uid(uid.into()))
    }

    /// One message by its id on this machine: 34304 RC_DB_DATA_NOT_FOUND where there is none.
    pub fn get_message_by_id(&self, message_id: i64) -> Call<Message> {
        self.message(Id::MessageId(message_id))
    }

    fn message(&self, id: Id) -> Call<Message> {
        let message = v1::GetMessageRequest { id: Some(id) };
        self.call("GetMessage", |link| async move {
            link.unary("GetMessage", DEADLINE, message, |channel, request| async {
                MessageServiceClient::new(channel).get_message(request).await
            })
            .await?
            .message
            .map(Message::from_wire)
            .ok_or_else(|| Error::lacks("GetMessage", "message"))
        })
    }

    /// A page of a conversation's history, in the order of arrival.
    pub fn list_messages(&self, key: &ConversationKey, page: PageOptions) -> Call<MessagePage> {
        let message = v1::ListMessagesRequest {
            conversation: Some(key.to_wire()),
            before_message_id: page.before.unwrap_or_default(),
            after_message_id: page.after.unwrap_or_default(),
            limit: page.limit,
        };
        self.call("ListMessages", |link| async move {
            link.unary("ListMessages", DEADLINE, message, |channel, request| async {
                MessageServiceClient::new(channel)
                    .max_decoding_message_size(MAX_ANSWER)
                    .list_messages(request)
                    .await
            })
            .await
            .map(|answer| MessagePage::from_wire(answer.messages, answer.has_more))
        })
    }

    /// Full-text search, newest first: 1 to 256 bytes. Chinese, Japanese and Korean are found by any
    /// characters in a row, other languages by words and beginnings of words. It may take 30 seconds where
    /// the index is behind.
    pub fn search_messages(&self, query: impl Into<String>, options: SearchOptions) -> Call<MessagePage> {
        let message = v1::SearchMessagesRequest {
            query: query.into(),
            conversation: options.conversation.map(|key| key.to_wire()),
            before_message_id: options.before.unwrap_or_default(),
            limit: options.limit,
        };
        self.call("SearchMessages", |link| async move {
            link.unary(
                "SearchMessages",
                SEARCH_DEADLINE,
                message,
                |channel, request| async {
                    MessageServiceClient::new(channel)
                        .max_decoding_message_size(MAX_ANSWER)
                        .search_messages(request)
                        .await
                },
            )
            .await
            .map(|answer| MessagePage::from_wire(answer.messages, answer.has_more))
        })
    }

    /// Deletes messages from this machine, at most 1,000; gives how many there were. One that has not been
    /// sent is not sent any more.
    pub fn delete_messages(&self, message_ids: impl Into<Vec<i64>>) -> Call<u32> {
        let message_ids = message_ids.into();
        let message = v1::DeleteMessagesRequest {
            message_ids: message_ids.clone(),
        };
        let tell = self.deleted();
        self.call("DeleteMessages", |link| async move {
            let answer = link
                .unary("DeleteMessages", DEADLINE, message, |channel, request| async {
                    MessageServiceClient::new(channel).delete_messages(request).await
                })
                .await?;
            tell(&message_ids);
            Ok(answer.deleted)
        })
    }

    /// Puts a FAILED message at the outbox's tail again, under the same uid; gives its state. What becomes of
    /// it is told by events.
    pub fn retry_message(&self, uid: impl Into<String>) -> Call<Message> {
        let message = v1::RetryMessageRequest { uid: uid.into() };
        self.call("RetryMessage", |link| async move {
            link.unary("RetryMessage", DEADLINE, message, |channel, request| async {
                MessageServiceClient::new(channel).retry_message(request).await
            })
            .await?
            .message
            .map(Message::from_wire)
            .ok_or_else(|| Error::lacks("RetryMessage", "message"))
        })
    }

    /// What waits to be sent or to be received by the peer, in order, and what has failed: the first page, or
    /// the one after this id. `limit` is 1 to 200; 0 is 50.
    pub fn list_outbox(&self, limit: u32, after: Option<i64>) -> Call<Outbox> {
        let message = v1::ListOutboxRequest {
            limit,
            after_message_id: after.unwrap_or_default(),
        };
        self.call("ListOutbox", |link| async move {
            link.unary("ListOutbox", DEADLINE, message, |channel, request| async {
                MessageServiceClient::new(channel)
                    .max_decoding_message_size(MAX_ANSWER)
                    .list_outbox(request)
                    .await
            })
            .await
            .map(Outbox::from_wire)
        })
    }
}

impl MessagePage {
    fn from_wire(messages: Vec<v1::Message>, has_more: bool) -> Self {
        Self {
            messages: messages.into_iter().map(Message::from_wire).collect(),
            has_more,
        }
    }
}

impl Outbox {
    fn from_wire(wire: v1::ListOutboxResponse) -> Self {
        Self {
            messages: wire.messages.into_iter().map(Message::from_wire).collect(),
            has_more: wire.has_more,
            waiting_messages: wire.waiting_messages,
            waiting_bytes: wire.waiting_bytes,
        }
    }
}
