//! The conversation list. All of it works with the network down.

use std::time::SystemTime;

use imd_proto::imd::v1;
use imd_proto::imd::v1::conversation_service_client::ConversationServiceClient;

use crate::call::{Call, DEADLINE, MAX_ANSWER};
use crate::client::Client;
use crate::error::Error;
use crate::message::{ConversationKey, Message};
use crate::status::system_time;

/// A conversation as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conversation {
    /// Its name.
    pub key: ConversationKey,
    /// How many of its messages have not been read.
    pub unread_count: u64,
    /// Its newest message.
    pub last_message: Option<Message>,
    /// What was being written; empty: nothing.
    pub draft: String,
    /// It stands before the others: RongCloud's "top".
    pub is_pinned: bool,
    /// It should not disturb.
    pub is_muted: bool,
    /// When it last changed.
    pub updated: Option<SystemTime>,
}

/// Where the next page of the list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken(String);

/// A part of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversationPage {
    /// Pinned ones first, then by the last message, newest first.
    pub conversations: Vec<Conversation>,
    /// `None`: this is the last page.
    pub next: Option<PageToken>,
}

/// What is to be changed of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConversationChange {
    /// At most 8 KiB; empty: no draft.
    pub draft: Option<String>,
    /// Whether it stands before the others.
    pub pinned: Option<bool>,
    /// Whether it should not disturb.
    pub muted: Option<bool>,
}

impl ConversationChange {
    /// Nothing, so far.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is being written: at most 8 KiB; empty: nothing.
    #[must_use]
    pub fn draft(mut self, draft: impl Into<String>) -> Self {
        self.draft = Some(draft.into());
        self
    }

    /// Whether it stands before the others.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Self {
        self.pinned = Some(pinned);
        self
    }

    /// Whether it should not disturb.
    #[must_use]
    pub fn muted(mut self, muted: bool) -> Self {
        self.muted = Some(muted);
        self
    }
}

impl Client {
    /// A page of the conversation list: the first, or the one after. `limit` is 1 to 200; 0 is 50.
    pub fn conversations(&self, limit: u32, page: Option<PageToken>) -> Call<ConversationPage> {
        let message = v1::ListConversationsRequest {
            limit,
            page_token: page.map(|PageToken(token)| token).unwrap_or_default(),
        };
        self.call("ListConversations", |link| async move {
            link.unary("ListConversations", DEADLINE, message, |channel, request| async {
                ConversationServiceClient::new(channel)
                    .max_decoding_message_size(MAX_ANSWER)
                    .list_conversations(request)
                    .await
            })
            .await
            .map(ConversationPage::from_wire)
        })
    }

    /// One conversation; 34304 RC_DB_DATA_NOT_FOUND where there is none.
    pub fn conversation(&self, key: &ConversationKey) -> Call<Conversation> {
        let message = v1::GetConversationRequest {
            key: Some(key.to_wire()),
        };
        self.call("GetConversation", |link| async move {
            link.unary("GetConversation", DEADLINE, message, |channel, request| async {
                ConversationServiceClient::new(channel)
                    .get_conversation(request)
                    .await
            })
            .await?
            .conversation
            .map(Conversation::from_wire)
            .ok_or_else(|| Error::lacks("GetConversation", "conversation"))
        })
    }

    /// Sets what is named in the change, and leaves the rest.
    pub fn update_conversation(
        &self,
        key: &ConversationKey,
        change: ConversationChange,
    ) -> Call<Conversation> {
        let message = v1::UpdateConversationRequest {
            key: Some(key.to_wire()),
            draft: change.draft,
            pinned: change.pinned,
            muted: change.muted,
        };
        self.call("UpdateConversation", |link| async move {
            link.unary(
                "UpdateConversation",
                DEADLINE,
                message,
                |channel, request| async {
                    ConversationServiceClient::new(channel)
                        .update_conversation(request)
                        .await
                },
            )
            .await?
            .conversation
            .map(Conversation::from_wire)
            .ok_or_else(|| Error::lacks("UpdateConversation", "conversation"))
        })
    }

    /// Marks messages as read, up to and with this one, or all; gives how many stay unread.
    pub fn mark_read(&self, key: &ConversationKey, up_to: Option<i64>) -> Call<u64> {
        let message = v1::MarkReadRequest {
            key: Some(key.to_wire()),
            message_id: up_to.unwrap_or_default(),
        };
        self.call("MarkRead", |link| async move {
            link.unary("MarkRead", DEADLINE, message, |channel, request| async {
                ConversationServiceClient::new(channel).mark_read(request).await
            })
            .await
            .map(|answer| answer.unread_count)
        })
    }

    /// Unread messages over all conversations, with or without those of muted ones.
    pub fn unread_count(&self, include_muted: bool) -> Call<u64> {
        self.call("GetUnreadCount", move |link| async move {
            let message = v1::GetUnreadCountRequest { include_muted };
            link.unary("GetUnreadCount", DEADLINE, message, |channel, request| async {
                ConversationServiceClient::new(channel)
                    .get_unread_count(request)
                    .await
            })
            .await
            .map(|answer| answer.unread_count)
        })
    }

    /// Takes a conversation off the list, with its messages if asked to. Its next message brings it back.
    pub fn delete_conversation(&self, key: &ConversationKey, delete_messages: bool) -> Call<()> {
        let message = v1::DeleteConversationRequest {
            key: Some(key.to_wire()),
            delete_messages,
        };
        self.call("DeleteConversation", |link| async move {
            link.unary(
                "DeleteConversation",
                DEADLINE,
                message,
                |channel, request| async {
                    ConversationServiceClient::new(channel)
                        .delete_conversation(request)
                        .await
                },
            )
            .await
            .map(|v1::DeleteConversationResponse {}| ())
        })
    }
}

impl ConversationPage {
    fn from_wire(wire: v1::ListConversationsResponse) -> Self {
        Self {
            conversations: wire
                .conversations
                .into_iter()
                .map(Conversation::from_wire)
                .collect(),
            next: Some(wire.next_page_token)
                .filter(|token| !token.is_empty())
                .map(PageToken),
        }
    }
}

impl Conversation {
    fn from_wire(wire: v1::Conversation) -> Self {
        Self {
            key: ConversationKey::from_wire(wire.key.unwrap_or_default()),
            unread_count: wire.unread_count,
            last_message: wire.last_message.map(Message::from_wire),
            draft: wire.draft,
            is_pinned: wire.pinned,
            is_muted: wire.muted,
            updated: wire.update_time.as_ref().and_then(system_time),
        }
    }
}
