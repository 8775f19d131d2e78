//! The store's own types for messages: what it is given and what it gives. It knows neither MQTT nor gRPC.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// RongCloud's conversation types, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConversationKind {
    Private,
    Group,
    System,
}

impl ConversationKind {
    #[must_use]
    pub const fn number(self) -> i64 {
        match self {
            Self::Private => 1,
            Self::Group => 3,
            Self::System => 6,
        }
    }

    /// The other way round.
    #[must_use]
    pub const fn of_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Private),
            3 => Some(Self::Group),
            6 => Some(Self::System),
            _ => None,
        }
    }
}

/// A conversation's name. Private: the peer. Group: the group. System: `system`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationKey {
    pub kind: ConversationKind,
    pub target: String,
}

/// A message that came in and could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    pub conversation: ConversationKey,
    /// From the topic, never from the payload.
    pub sender: String,
    /// It is from this account itself: another device of ours, or the echo of a group message.
    pub sent_by_me: bool,
    pub uid: String,
    pub origin: String,
    /// 0: the sender does not count (a plain JSON message).
    pub seq: u64,
    pub object_name: String,
    pub content: Vec<u8>,
    pub flags: u32,
    pub sent_time: i64,
    /// Whether the sender is told that it has been committed (private messages of other users).
    pub wants_receipt: bool,
}

/// Anything the link hands over to be stored before it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    Message(Incoming),
    /// The peer's daemon has committed these messages of ours.
    Receipt {
        peer: String,
        uids: Vec<String>,
    },
    /// Kept aside: it must not stop the flow.
    Unreadable {
        topic: String,
        reason: String,
        payload: Vec<u8>,
    },
}

/// What became of an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    Fresh,
    /// It had been stored before.
    Duplicate,
}

/// A message an app wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub conversation: ConversationKey,
    pub uid: String,
    pub object_name: String,
    pub content: Vec<u8>,
    pub flags: u32,
    pub sent_time: i64,
}

/// An outbox entry, ready to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its place: the order of acceptance.
    pub position: i64,
    pub conversation: ConversationKey,
    pub uid: String,
    pub seq: u64,
    pub object_name: String,
    pub content: Vec<u8>,
    pub flags: u32,
    pub sent_time: i64,
}

/// Receipts to be sent to one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueReceipts {
    pub peer: String,
    pub uids: Vec<String>,
}

/// What the server answered to a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Published {
    /// It has it. `no_receiver`: nobody was subscribed (0x10).
    Taken {
        no_receiver: bool,
    },
    Refused {
        code: i32,
        text: String,
    },
}

/// A stored message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub message_id: i64,
    pub conversation: ConversationKey,
    pub uid: String,
    pub sender: String,
    pub sent_by_me: bool,
    pub object_name: String,
    pub content: Vec<u8>,
    pub flags: u32,
    pub sent_time: i64,
    pub received_time: i64,
    /// 10 SENDING, 20 FAILED, 30 SENT, 40 RECEIVED; 0 for messages that were received.
    pub sent_status: i32,
    pub code: i32,
    pub code_text: String,
    pub no_receiver: bool,
    pub unread: bool,
}

/// A page of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub messages: Vec<Message>,
    pub has_more: bool,
}

/// A conversation as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub key: ConversationKey,
    pub unread: u64,
    pub last_message: Option<Message>,
    pub draft: String,
    pub pinned: bool,
    pub muted: bool,
    pub update_time: i64,
}

/// A group whose messages are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub group_id: String,
    pub joined: i64,
    /// 0, or 22406: the server refused.
    pub code: i32,
}

/// Why something may be missing. Its JSON stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Gap {
    GroupSequence {
        group: String,
        sender: String,
        missing: u64,
    },
    OtherInstallation {
        installation: String,
    },
    SessionLost,
    DatabaseDamaged {
        text: String,
    },
}

/// One entry of the log, with what it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub offset: u64,
    pub time: i64,
    pub content: LogContent,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogContent {
    Message(Message),
    MessageState(Message),
    Gap(Gap),
    OfflineSyncCompleted {
        complete: bool,
    },
    Unreadable {
        topic: String,
        reason: String,
        bytes: u64,
    },
    /// The message it was about has been deleted since.
    Deleted {
        message_id: i64,
    },
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    pub entries: Vec<LogEntry>,
    /// The oldest offset still in the log; a cursor before it (less one) is too old.
    pub oldest: u64,
    /// The newest offset given out; 0: none yet.
    pub newest: u64,
}

/// How far the log of the open account is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// Offsets of another epoch say nothing. Empty: no account has been opened yet.
    pub epoch: String,
    /// The newest offset given out; 0: none yet.
    pub newest: u64,
    /// The entries that end at `newest`, as far as they are few and small and somebody follows the log: whoever
    /// is that near its end needs no read. Often none.
    pub latest: Latest,
}

/// Entries without a hole between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latest {
    /// What comes before the first of them.
    pub after: u64,
    pub entries: Arc<Vec<Arc<LogEntry>>>,
}

/// How much waits to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxSize {
    pub messages: u64,
    pub bytes: u64,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("no account is open: connect first")]
    NoAccount,
    #[error("outbox full: {messages} messages, {bytes} bytes wait")]
    Full { messages: u64, bytes: u64 },
    /// Disk full, or a fault of the file system.
    #[error("the message cannot be stored: {0}")]
    Storage(String),
    #[error("the store is not there: {0}")]
    Store(String),
}
