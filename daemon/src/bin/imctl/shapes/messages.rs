//! Messages, conversations, groups and events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imd_client::{Code, ConversationKey, Direction, EventKind};
use serde::Serialize;

use super::filled;
use crate::clock::rfc3339;

/// A stored message.
#[derive(Serialize)]
pub(crate) struct Message<'a> {
    message_id: i64,
    uid: &'a str,
    #[serde(flatten)]
    conversation: Key<'a>,
    sender_user_id: &'a str,
    direction: &'static str,
    object_name: &'a str,
    /// Of a text.
    text: Option<String>,
    /// Where it is UTF-8.
    content: Option<&'a str>,
    /// Where it is not.
    content_base64: Option<String>,
    counted: bool,
    sent_time: Option<String>,
    received_time: Option<String>,
    sent_status: Option<i32>,
    sent_status_name: Option<&'static str>,
    code: Option<i32>,
    code_name: Option<&'static str>,
    code_text: Option<&'a str>,
    no_receiver: bool,
    read: bool,
}

/// A conversation's name.
#[derive(Serialize)]
struct Key<'a> {
    conversation_type: i32,
    conversation_type_name: &'static str,
    target_id: &'a str,
}

impl<'a> From<&'a ConversationKey> for Key<'a> {
    fn from(key: &'a ConversationKey) -> Self {
        Self {
            conversation_type: key.kind.number(),
            conversation_type_name: key.kind.name(),
            target_id: &key.target_id,
        }
    }
}

impl<'a> From<&'a imd_client::Message> for Message<'a> {
    fn from(message: &'a imd_client::Message) -> Self {
        let content = std::str::from_utf8(&message.content).ok();
        let failure = message.failure.as_ref();
        Self {
            message_id: message.id,
            uid: &message.uid,
            conversation: Key::from(&message.conversation),
            sender_user_id: &message.sender_user_id,
            direction: direction(message.direction),
            object_name: &message.object_name,
            text: message.text(),
            content,
            content_base64: content.is_none().then(|| STANDARD.encode(&message.content)),
            counted: message.is_counted,
            sent_time: message.sent_time.map(rfc3339),
            received_time: message.received_time.map(rfc3339),
            sent_status: message.sent_status.map(imd_client::SentStatus::number),
            sent_status_name: message.sent_status.map(imd_client::SentStatus::name),
            code: failure.map(|failure| failure.code.0),
            code_name: failure.map(|failure| failure.code.name()),
            code_text: failure.map(|failure| failure.text.as_str()),
            no_receiver: message.no_receiver,
            read: message.is_read,
        }
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Send => "SEND",
        Direction::Receive => "RECEIVE",
        _ => "UNKNOWN",
    }
}

/// A conversation as the list shows it.
#[derive(Serialize)]
pub(crate) struct Conversation<'a> {
    #[serde(flatten)]
    key: Key<'a>,
    unread_count: u64,
    pinned: bool,
    muted: bool,
    draft: Option<&'a str>,
    update_time: Option<String>,
    last_message: Option<Message<'a>>,
}

impl<'a> From<&'a imd_client::Conversation> for Conversation<'a> {
    fn from(conversation: &'a imd_client::Conversation) -> Self {
        Self {
            key: Key::from(&conversation.key),
            unread_count: conversation.unread_count,
            pinned: conversation.is_pinned,
            muted: conversation.is_muted,
            draft: filled(&conversation.draft),
            update_time: conversation.updated.map(rfc3339),
            last_message: conversation.last_message.as_ref().map(Message::from),
        }
    }
}

/// A group whose messages are wanted.
#[derive(Serialize)]
pub(crate) struct Group<'a> {
    group_id: &'a str,
    join_time: Option<String>,
    code: Option<i32>,
    code_name: Option<&'static str>,
}

impl<'a> From<&'a imd_client::Group> for Group<'a> {
    fn from(group: &'a imd_client::Group) -> Self {
        Self {
            group_id: &group.group_id,
            join_time: group.joined.map(rfc3339),
            code: group.code.map(|code| code.0),
            code_name: group.code.map(Code::name),
        }
    }
}

/// An event.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    event: &'static str,
    epoch: &'a str,
    offset: u64,
    time: Option<String>,
    #[serde(flatten)]
    content: Content<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Started {
        recovered: bool,
    },
    Message {
        message: Message<'a>,
    },
    Gap {
        gap_kind: i32,
        gap_kind_name: &'static str,
        conversation: Option<Key<'a>>,
        sender_user_id: Option<&'a str>,
        missing: Option<u64>,
        text: &'a str,
    },
    OfflineSyncCompleted {
        complete: bool,
    },
    Unreadable {
        topic: &'a str,
        reason: &'a str,
        bytes: u64,
    },
    Deleted {
        message_id: i64,
    },
    Unlisted {},
}

impl<'a> From<&'a imd_client::Event> for Event<'a> {
    fn from(event: &'a imd_client::Event) -> Self {
        Self {
            event: event_name(&event.kind),
            epoch: &event.cursor.epoch,
            offset: event.cursor.offset,
            time: event.time.map(rfc3339),
            content: content(&event.kind),
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
pub(crate) fn event_name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Started { .. } => "started",
        EventKind::Message(_) => "message",
        EventKind::MessageState(_) => "message_state",
        EventKind::Gap(_) => "gap",
        EventKind::OfflineSyncCompleted { .. } => "offline_sync_completed",
        EventKind::Unreadable { .. } => "unreadable",
        EventKind::Deleted { .. } => "deleted",
        _ => "unlisted",
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
fn content(kind: &EventKind) -> Content<'_> {
    match kind {
        EventKind::Started { recovered } => Content::Started {
            recovered: *recovered,
        },
        EventKind::Message(message) | EventKind::MessageState(message) => Content::Message {
            message: Message::from(message),
        },
        EventKind::Gap(gap) => Content::Gap {
            gap_kind: gap.kind.number(),
            gap_kind_name: gap.kind.name(),
            conversation: gap.conversation.as_ref().map(Key::from),
            sender_user_id: filled(&gap.sender_user_id),
            missing: gap.missing,
            text: &gap.text,
        },
        EventKind::OfflineSyncCompleted { complete } => Content::OfflineSyncCompleted { complete: *complete },
        EventKind::Unreadable { topic, reason, bytes } => Content::Unreadable {
            topic,
            reason,
            bytes: *bytes,
        },
        EventKind::Deleted { message_id } => Content::Deleted {
            message_id: *message_id,
        },
        _ => Content::Unlisted {},
    }
}
