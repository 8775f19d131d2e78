//! The event log: how an event is written into its row, and read from it.

use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

use super::rows::{Gap, LogContent, Message};

/// What `events.kind` says. The numbers are in the schema's documentation.
pub(super) mod kind {
    pub(in crate::store) const MESSAGE: i64 = 1;
    pub(in crate::store) const MESSAGE_STATE: i64 = 2;
    pub(in crate::store) const GAP: i64 = 3;
    pub(in crate::store) const OFFLINE_SYNC_COMPLETED: i64 = 4;
    pub(in crate::store) const UNREADABLE: i64 = 5;
}

#[derive(Serialize, Deserialize)]
struct OfflineSync {
    complete: bool,
}

#[derive(Serialize, Deserialize)]
struct UnreadablePayload {
    topic: String,
    reason: String,
    bytes: u64,
}

/// A message has been stored, with this status.
pub(super) fn message(
    transaction: &Transaction<'_>,
    now: i64,
    message_id: i64,
    sent_status: i32,
) -> rusqlite::Result<()> {
    append(
        transaction,
        now,
        kind::MESSAGE,
        message_id,
        &sent_status.to_string(),
    )
}

/// A message has come to this status.
pub(super) fn message_state(
    transaction: &Transaction<'_>,
    now: i64,
    message_id: i64,
    sent_status: i32,
) -> rusqlite::Result<()> {
    let detail = sent_status.to_string();
    append(transaction, now, kind::MESSAGE_STATE, message_id, &detail)
}

pub(super) fn gap(transaction: &Transaction<'_>, now: i64, gap: &Gap) -> rusqlite::Result<()> {
    append(transaction, now, kind::GAP, 0, &json(gap)?)
}

pub(super) fn offline_sync_completed(
    transaction: &Transaction<'_>,
    now: i64,
    complete: bool,
) -> rusqlite::Result<()> {
    let detail = json(&OfflineSync { complete })?;
    append(transaction, now, kind::OFFLINE_SYNC_COMPLETED, 0, &detail)
}

pub(super) fn unreadable(
    transaction: &Transaction<'_>,
    now: i64,
    topic: &str,
    reason: &str,
    bytes: u64,
) -> rusqlite::Result<()> {
    let detail = json(&UnreadablePayload {
        topic: topic.to_owned(),
        reason: reason.to_owned(),
        bytes,
    })?;
    append(transaction, now, kind::UNREADABLE, 0, &detail)
}

/// What a row of the log says. `message`: the message it refers to, if that is still there; it is shown with
/// the status it had then.
pub(super) fn content(kind: i64, message_id: i64, detail: &str, message: Option<Message>) -> LogContent {
    let read = match kind {
        kind::MESSAGE | kind::MESSAGE_STATE => {
            let Some(message) = message else {
                return LogContent::Deleted { message_id };
            };
            detail.parse().ok().map(|sent_status| {
                let message = as_it_was(message, sent_status);
                if kind == kind::MESSAGE {
                    LogContent::Message(message)
                } else {
                    LogContent::MessageState(message)
                }
            })
        }
        kind::GAP => serde_json::from_str(detail).ok().map(LogContent::Gap),
        kind::OFFLINE_SYNC_COMPLETED => serde_json::from_str(detail)
            .ok()
            .map(|OfflineSync { complete }| LogContent::OfflineSyncCompleted { complete }),
        kind::UNREADABLE => {
            serde_json::from_str(detail)
                .ok()
                .map(|read: UnreadablePayload| LogContent::Unreadable {
                    topic: read.topic,
                    reason: read.reason,
                    bytes: read.bytes,
                })
        }
        _ => None,
    };
    read.unwrap_or_else(|| {
        LogContent::Gap(Gap::DatabaseDamaged {
            text: format!("an event of kind {kind} cannot be read"),
        })
    })
}

fn as_it_was(message: Message, sent_status: i32) -> Message {
    if message.sent_status == sent_status {
        return message;
    }
    // Why it FAILED says nothing about another status.
    Message {
        sent_status,
        code: 0,
        code_text: String::new(),
        ..message
    }
}

fn append(
    transaction: &Transaction<'_>,
    now: i64,
    kind: i64,
    message_id: i64,
    detail: &str,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO events (time, kind, message_id, detail) VALUES (?1, ?2, ?3, ?4)")?
        .execute((now, kind, message_id, detail))?;
    Ok(())
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn what_is_logged_is_read_again() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let transaction = connection.transaction().unwrap();
        let gaps = [
            Gap::GroupSequence {
                group: "读书会".to_owned(),
                sender: "bob".to_owned(),
                missing: 3,
            },
            Gap::OtherInstallation {
                installation: "other".to_owned(),
            },
            Gap::SessionLost,
            Gap::DatabaseDamaged {
                text: "\"page 7\"".to_owned(),
            },
        ];
        for content in &gaps {
            gap(&transaction, 1, content).unwrap();
        }
        offline_sync_completed(&transaction, 2, true).unwrap();
        unreadable(&transaction, 3, "im/k/u/me/bob", "no envelope", 5).unwrap();
        message(&transaction, 4, 17, 0).unwrap();
        let mut statement = transaction
            .prepare("SELECT kind, message_id, detail FROM events ORDER BY event_offset")
            .unwrap();
        let read: Vec<_> = statement
            .query_map([], |row| {
                let detail: String = row.get(2)?;
                Ok(content(row.get(0)?, row.get(1)?, &detail, None))
            })
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut logged: Vec<_> = gaps.map(LogContent::Gap).into();
        logged.push(LogContent::OfflineSyncCompleted { complete: true });
        logged.push(LogContent::Unreadable {
            topic: "im/k/u/me/bob".to_owned(),
            reason: "no envelope".to_owned(),
            bytes: 5,
        });
        logged.push(LogContent::Deleted { message_id: 17 });
        assert_eq!(read, logged);
    }

    #[test]
    fn an_event_that_cannot_be_read_is_a_gap() {
        for (kind, detail) in [(kind::GAP, "{"), (kind::UNREADABLE, ""), (99, "")] {
            let read = content(kind, 0, detail, None);
            assert!(
                matches!(read, LogContent::Gap(Gap::DatabaseDamaged { .. })),
                "{read:?}"
            );
        }
    }
}
