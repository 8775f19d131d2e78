//! The log of events.

use imd_core::time::UnixTime;
use imd_proto::imd::v1;
use imd_proto::imd::v1::event::Content;
use imd_proto::imd::v1::subscribe_response::Content as Told;

use super::message::{key, message};
use super::timestamp;
use crate::hub::{Cursor, News};
use crate::store::rows::{ConversationKey, ConversationKind, Gap, LogContent, LogEntry};

pub(in crate::rpc) fn news(news: News) -> v1::SubscribeResponse {
    let content = match news {
        News::Started {
            cursor: at,
            recovered,
        } => Told::Started(v1::Started {
            cursor: Some(cursor(at)),
            recovered,
        }),
        News::Entries { epoch, entries } => Told::Events(v1::Events {
            events: entries.iter().map(|entry| event(&epoch, entry)).collect(),
        }),
    };
    v1::SubscribeResponse {
        content: Some(content),
    }
}

fn cursor(cursor: Cursor) -> v1::Cursor {
    v1::Cursor {
        epoch: cursor.epoch,
        offset: cursor.offset,
    }
}

fn event(epoch: &str, entry: &LogEntry) -> v1::Event {
    let content = match &entry.content {
        LogContent::Message(stored) => Content::Message(message(stored.clone())),
        LogContent::MessageState(stored) => Content::MessageState(message(stored.clone())),
        LogContent::Gap(found) => Content::Gap(gap(found)),
        LogContent::OfflineSyncCompleted { complete } => {
            Content::OfflineSyncCompleted(v1::OfflineSyncCompleted { complete: *complete })
        }
        LogContent::Unreadable { topic, reason, bytes } => Content::Unreadable(v1::Unreadable {
            topic: topic.clone(),
            reason: reason.clone(),
            bytes: *bytes,
        }),
        LogContent::Deleted { message_id } => Content::Deleted(v1::Deleted {
            message_id: *message_id,
        }),
    };
    v1::Event {
        cursor: Some(v1::Cursor {
            epoch: epoch.to_owned(),
            offset: entry.offset,
        }),
        time: Some(timestamp(UnixTime::from_millis(entry.time))),
        content: Some(content),
    }
}

fn gap(gap: &Gap) -> v1::Gap {
    match gap {
        Gap::GroupSequence {
            group,
            sender,
            missing,
        } => v1::Gap {
            kind: v1::GapKind::GroupSequence.into(),
            conversation: Some(key(ConversationKey {
                kind: ConversationKind::Group,
                target: group.clone(),
            })),
            sender_user_id: sender.clone(),
            missing: *missing,
            text: format!("{missing} messages of {sender} in the group {group} have not come"),
        },
        Gap::OtherInstallation { installation } => v1::Gap {
            kind: v1::GapKind::OtherInstallation.into(),
            text: format!(
                "the installation {installation} of this account was connected in between: messages may have \
                 gone there"
            ),
            ..v1::Gap::default()
        },
        Gap::SessionLost => v1::Gap {
            kind: v1::GapKind::SessionLost.into(),
            text: "the server had lost the session: messages that waited there may be gone".to_owned(),
            ..v1::Gap::default()
        },
        Gap::DatabaseDamaged { text } => v1::Gap {
            kind: v1::GapKind::DatabaseDamaged.into(),
            text: text.clone(),
            ..v1::Gap::default()
        },
    }
}
