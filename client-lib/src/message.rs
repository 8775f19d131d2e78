//! Messages and conversations' names, in the library's own types.

use std::fmt;
use std::time::SystemTime;

use imd_proto::code::Code;
use imd_proto::imd::v1;

use crate::error::{Error, Sent};
use crate::status::system_time;

/// RongCloud's object name of a text.
const TEXT: &str = "RC:TxtMsg";

/// What a conversation is. The numbers are RongCloud's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConversationType {
    /// With one other user.
    Private,
    /// With a group's members.
    Group,
    /// What the server side has to say; apps cannot write there.
    System,
    /// A number a later daemon knows and this library does not.
    Unlisted(i32),
}

impl ConversationType {
    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Private => 1,
            Self::Group => 3,
            Self::System => 6,
            Self::Unlisted(number) => number,
        }
    }

    /// The name; `UNLISTED` for a number this library does not know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Private => "PRIVATE",
            Self::Group => "GROUP",
            Self::System => "SYSTEM",
            Self::Unlisted(_) => "UNLISTED",
        }
    }

    fn from_number(number: i32) -> Self {
        match number {
            1 => Self::Private,
            3 => Self::Group,
            6 => Self::System,
            other => Self::Unlisted(other),
        }
    }
}

/// A conversation's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ConversationKey {
    /// What it is.
    pub kind: ConversationType,
    /// Private: the other user. Group: the group. System: `system`.
    pub target_id: String,
}

impl ConversationKey {
    /// The conversation with this user.
    #[must_use]
    pub fn private(user_id: impl Into<String>) -> Self {
        Self {
            kind: ConversationType::Private,
            target_id: user_id.into(),
        }
    }

    /// The conversation of this group.
    #[must_use]
    pub fn group(group_id: impl Into<String>) -> Self {
        Self {
            kind: ConversationType::Group,
            target_id: group_id.into(),
        }
    }

    /// What the server side has to say.
    #[must_use]
    pub fn system() -> Self {
        Self {
            kind: ConversationType::System,
            target_id: "system".to_owned(),
        }
    }

    pub(crate) fn to_wire(&self) -> v1::ConversationKey {
        v1::ConversationKey {
            r#type: self.kind.number(),
            target_id: self.target_id.clone(),
        }
    }

    pub(crate) fn from_wire(wire: v1::ConversationKey) -> Self {
        Self {
            kind: ConversationType::from_number(wire.r#type),
            target_id: wire.target_id,
        }
    }
}

/// Who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// From this account: this machine or another device.
    Send,
    /// From others.
    Receive,
}

/// How far a message sent from here is. The numbers are RongCloud's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SentStatus {
    /// In the outbox, on disk.
    Sending,
    /// It will not go as it is: [`Message::failure`] says why. It can be retried or deleted.
    Failed,
    /// The server has it.
    Sent,
    /// The peer's daemon has it on disk.
    Received,
    /// A number a later daemon knows and this library does not.
    Unlisted(i32),
}

impl SentStatus {
    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::Sending => 10,
            Self::Failed => 20,
            Self::Sent => 30,
            Self::Received => 40,
            Self::Unlisted(number) => number,
        }
    }

    /// The name; `UNLISTED` for a number this library does not know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sending => "SENDING",
            Self::Failed => "FAILED",
            Self::Sent => "SENT",
            Self::Received => "RECEIVED",
            Self::Unlisted(_) => "UNLISTED",
        }
    }

    fn from_number(number: i32) -> Option<Self> {
        match number {
            0 => None,
            10 => Some(Self::Sending),
            20 => Some(Self::Failed),
            30 => Some(Self::Sent),
            40 => Some(Self::Received),
            other => Some(Self::Unlisted(other)),
        }
    }
}

impl fmt::Display for SentStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    pub(crate) object_name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) uid: Option<String>,
    pub(crate) is_counted: bool,
}

impl Content {
    /// The longest content, in bytes.
    pub const MAX_BYTES: usize = 128 * 1024;

    /// A text: RongCloud's `RC:TxtMsg`.
    #[must_use]
    pub fn text(text: impl AsRef<str>) -> Self {
        let object = serde_json::json!({ "content": text.as_ref() });
        Self::new(TEXT, object.to_string())
    }

    /// Anything else, under an object name of 1 to 64 bytes of printable ASCII: `RC:ImgMsg`, `app:Poll`.
    #[must_use]
    pub fn new(object_name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            object_name: object_name.into(),
            bytes: bytes.into(),
            uid: None,
            is_counted: true,
        }
    }

    /// The message's own id, for an app that keeps it: what is sent under the same id is the same message,
    /// across any crash. 1 to 64 bytes of `A-Z a-z 0-9 - _`. Without it the library makes one.
    #[must_use]
    pub fn uid(mut self, uid: impl Into<String>) -> Self {
        self.uid = Some(uid.into());
        self
    }

    /// The receiver does not count it as unread.
    #[must_use]
    pub fn uncounted(mut self) -> Self {
        self.is_counted = false;
        self
    }

    pub(crate) fn flags(&self) -> u32 {
        if self.is_counted { 3 } else { 1 }
    }
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendFailure {
    /// The code; a server's own number arrives unharmed.
    pub code: Code,
    /// What happened, for people to read.
    pub text: String,
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The row on this machine: grows with arrival, and is never used twice.
    pub id: i64,
    /// The sender's id for it.
    pub uid: String,
    /// Where it belongs.
    pub conversation: ConversationKey,
    /// Who sent it.
    pub sender_user_id: String,
    /// Whether it is from this account.
    pub direction: Direction,
    /// What the content is: `RC:TxtMsg`.
    pub object_name: String,
    /// The content; [`text`](Self::text) reads that of a text.
    pub content: Vec<u8>,
    /// Whether it counts as unread where it is received.
    pub is_counted: bool,
    /// The sender's clock.
    pub sent_time: Option<SystemTime>,
    /// This machine's clock when it was stored.
    pub received_time: Option<SystemTime>,
    /// How far it is, if it was sent from here.
    pub sent_status: Option<SentStatus>,
    /// Why it failed.
    pub failure: Option<SendFailure>,
    /// The server had nobody to give it to when it took it.
    pub no_receiver: bool,
    /// Whether it has been read here.
    pub is_read: bool,
}

impl Message {
    /// The text of an `RC:TxtMsg`; `None` for what is none.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        if self.object_name != TEXT {
            return None;
        }
        let object: serde_json::Value = serde_json::from_slice(&self.content).ok()?;
        object.get("content")?.as_str().map(str::to_owned)
    }

    /// The failure as an error; `None` while there is none.
    pub(crate) fn error(&self) -> Option<Error> {
        if self.sent_status != Some(SentStatus::Failed) {
            return None;
        }
        let (code, text) = self.failure.as_ref().map_or_else(
            || (Code::UNKNOWN, "the daemon does not say why it failed"),
            |failure| (failure.code, failure.text.as_str()),
        );
        Some(Error::new(code, text, Sent::Yes))
    }

    pub(crate) fn from_wire(wire: v1::Message) -> Self {
        let direction = match wire.direction() {
            v1::Direction::Send => Direction::Send,
            v1::Direction::Receive | v1::Direction::Unspecified => Direction::Receive,
        };
        let sent_status = SentStatus::from_number(wire.sent_status);
        let has_failed = sent_status == Some(SentStatus::Failed);
        Self {
            id: wire.message_id,
            uid: wire.uid,
            conversation: ConversationKey::from_wire(wire.conversation.unwrap_or_default()),
            sender_user_id: wire.sender_user_id,
            direction,
            object_name: wire.object_name,
            content: wire.content.into(),
            is_counted: wire.flags == 3,
            sent_time: wire.sent_time.as_ref().and_then(system_time),
            received_time: wire.received_time.as_ref().and_then(system_time),
            sent_status,
            failure: has_failed.then_some(SendFailure {
                code: Code(wire.code),
                text: wire.code_text,
            }),
            no_receiver: wire.no_receiver,
            is_read: wire.read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_written() {
        for text in ["", "开会 at \"9\"\n", "\u{1b}[31m\\"] {
            let content = Content::text(text);
            let message = Message::from_wire(v1::Message {
                object_name: content.object_name,
                content: content.bytes.into(),
                ..v1::Message::default()
            });
            assert_eq!(message.text().as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_text_has_none() {
        let message = |object_name: &str, content: &'static [u8]| {
            Message::from_wire(v1::Message {
                object_name: object_name.to_owned(),
                content: content.into(),
                ..v1::Message::default()
            })
        };
        assert_eq!(message("RC:ImgMsg", br#"{"content":"x"}"#).text(), None);
        assert_eq!(message(TEXT, b"x").text(), None);
        assert_eq!(message(TEXT, br#"{"content":1}"#).text(), None);
    }

    #[test]
    fn numbers_come_back_as_themselves() {
        for number in 0..50 {
            assert_eq!(ConversationType::from_number(number).number(), number);
            assert_eq!(
                SentStatus::from_number(number).map_or(0, SentStatus::number),
                number
            );
        }
    }
}
