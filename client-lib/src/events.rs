//! The log of everything durable an app may need, followed from a cursor on.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use futures_core::Stream;
use imd_proto::imd::v1;
use imd_proto::imd::v1::event::Content;
use imd_proto::imd::v1::event_service_client::EventServiceClient;
use tokio::sync::mpsc;

use crate::call::{Call, DEADLINE};
use crate::client::Client;
use crate::error::Error;
use crate::message::{ConversationKey, Message};
use crate::status::system_time;

mod feed;

pub(crate) use feed::Feed;
use feed::pump;

/// How many of the daemon's pages wait for a reader; a slower one makes the daemon wait, and nobody else.
const PAGES: usize = 1;

/// An event's place in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// Random for each database file: offsets of another epoch say nothing.
    pub epoch: String,
    /// Grows with every event.
    pub offset: u64,
}

impl Cursor {
    fn from_wire(wire: Option<v1::Cursor>) -> Self {
        let v1::Cursor { epoch, offset } = wire.unwrap_or_default();
        Self { epoch, offset }
    }

    fn to_wire(&self) -> v1::Cursor {
        v1::Cursor {
            epoch: self.epoch.clone(),
            offset: self.offset,
        }
    }
}

/// Where a subscription begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this event. An app that keeps the cursor together with what an event made it do sees each event
    /// exactly once.
    Cursor(Cursor),
    /// Where [`Client::ack_events`] of this app and name left it; at the tail the first time. At least once.
    Named(String),
    /// Only what comes from here on.
    Tail,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Its place; to begin there again is to begin with the next one.
    pub cursor: Cursor,
    /// When it was logged.
    pub time: Option<SystemTime>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The subscription begins here: the first item, and again where the events that follow do not join those
    /// before (another account was opened, or the log was cut). That a subscription goes on with another daemon
    /// without a hole is not told.
    Started {
        /// False: the log does not reach back to the cursor asked for. Read the history.
        recovered: bool,
    },
    /// A message has been stored: received, or accepted from an app.
    Message(Message),
    /// The state of a message sent from here has changed.
    MessageState(Message),
    /// Something may be missing.
    Gap(Gap),
    /// What had waited at the server has been read: once per connect.
    OfflineSyncCompleted {
        /// False: the server never said where the messages that waited end.
        complete: bool,
    },
    /// A payload that cannot be read was kept aside.
    Unreadable {
        /// Where it came from.
        topic: String,
        /// Why it cannot be read.
        reason: String,
        /// How long it is.
        bytes: u64,
    },
    /// A message that this event was about has been deleted since.
    Deleted {
        /// The row it had.
        message_id: i64,
    },
    /// An event of a later daemon.
    Unlisted,
}

/// Why something may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapKind {
    /// A hole in a group sender's numbers.
    GroupSequence,
    /// Another installation was connected last: messages may have gone there.
    OtherInstallation,
    /// The server had lost the session.
    SessionLost,
    /// The database was damaged, and a new one was begun.
    DatabaseDamaged,
    /// A number a later daemon knows and this library does not.
    Unlisted(i32),
}

impl GapKind {
    /// The name; `UNLISTED` for a number this library does not know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GroupSequence => "GROUP_SEQUENCE",
            Self::OtherInstallation => "OTHER_INSTALLATION",
            Self::SessionLost => "SESSION_LOST",
            Self::DatabaseDamaged => "DATABASE_DAMAGED",
            Self::Unlisted(_) => "UNLISTED",
        }
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::GroupSequence => 1,
            Self::OtherInstallation => 2,
            Self::SessionLost => 3,
            Self::DatabaseDamaged => 4,
            Self::Unlisted(number) => number,
        }
    }
}

/// Something may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Why.
    pub kind: GapKind,
    /// Where, if that is known.
    pub conversation: Option<ConversationKey>,
    /// Whose messages; empty where that is not known.
    pub sender_user_id: String,
    /// How many, where that is known.
    pub missing: Option<u64>,
    /// For people to read.
    pub text: String,
}

impl Event {
    fn from_wire(wire: v1::Event) -> Self {
        let kind = match wire.content {
            Some(Content::Message(message)) => EventKind::Message(Message::from_wire(message)),
            Some(Content::MessageState(message)) => EventKind::MessageState(Message::from_wire(message)),
            Some(Content::Gap(gap)) => EventKind::Gap(Gap::from_wire(gap)),
            Some(Content::OfflineSyncCompleted(v1::OfflineSyncCompleted { complete })) => {
                EventKind::OfflineSyncCompleted { complete }
            }
            Some(Content::Unreadable(v1::Unreadable { topic, reason, bytes })) => {
                EventKind::Unreadable { topic, reason, bytes }
            }
            Some(Content::Deleted(v1::Deleted { message_id })) => EventKind::Deleted { message_id },
            None => EventKind::Unlisted,
        };
        Self {
            cursor: Cursor::from_wire(wire.cursor),
            time: wire.time.as_ref().and_then(system_time),
            kind,
        }
    }
}

impl Gap {
    fn from_wire(wire: v1::Gap) -> Self {
        let kind = match wire.kind() {
            v1::GapKind::GroupSequence => GapKind::GroupSequence,
            v1::GapKind::OtherInstallation => GapKind::OtherInstallation,
            v1::GapKind::SessionLost => GapKind::SessionLost,
            v1::GapKind::DatabaseDamaged => GapKind::DatabaseDamaged,
            v1::GapKind::Unspecified => GapKind::Unlisted(wire.kind),
        };
        Self {
            kind,
            conversation: wire.conversation.map(ConversationKey::from_wire),
            sender_user_id: wire.sender_user_id,
            missing: Some(wire.missing).filter(|missing| *missing > 0),
            text: wire.text,
        }
    }
}

/// The events after a cursor, then every one that comes.
///
/// A slow reader holds up nobody: the daemon reads on for it when it does. A daemon that is lost shows in the
/// status, and not here: with the next one the stream goes on after the last event it gave. It ends with an
/// error where the daemon refuses it, and without one when the last [`Client`] is dropped.
pub struct Events {
    pages: mpsc::Receiver<Result<Vec<Event>, Error>>,
    page: std::vec::IntoIter<Event>,
}

impl Stream for Events {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.page.next() {
                return Poll::Ready(Some(Ok(event)));
            }
            match ready!(self.pages.poll_recv(cx)) {
                Some(Ok(page)) => self.page = page.into_iter(),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Client {
    /// The events from there on; the first one says where they begin, once an account is open.
    pub fn subscribe(&self, start: Start) -> Events {
        let (tell, pages) = mpsc::channel(PAGES);
        self.spawn(|shared| pump(shared, start, tell));
        Events {
            pages,
            page: Vec::new().into_iter(),
        }
    }

    /// Moves the cursor that the daemon keeps for this app and `name`: what [`Start::Named`] begins after.
    pub fn ack_events(&self, name: impl Into<String>, cursor: &Cursor) -> Call<()> {
        let message = v1::AckEventsRequest {
            name: name.into(),
            cursor: Some(cursor.to_wire()),
        };
        self.call("AckEvents", |link| async move {
            link.unary("AckEvents", DEADLINE, message, |channel, request| async {
                EventServiceClient::new(channel).ack_events(request).await
            })
            .await
            .map(|v1::AckEventsResponse {}| ())
        })
    }
}
