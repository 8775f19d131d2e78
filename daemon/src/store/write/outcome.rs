//! What the server said to a publish.

use rusqlite::{OptionalExtension as _, Transaction};

use super::message::{self, FAILED, SENDING, SENT};
use super::{me, now};
use crate::store::figures::Counters;
use crate::store::rows::{ConversationKind, Published};
use crate::store::{Store, StoreError, log, message_row};

impl Store {
    /// Notes what the server answered, by outbox position: SENT or FAILED. Group and system messages that are
    /// SENT leave the outbox; private ones stay until the peer has confirmed them. A position that is gone is
    /// passed over.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn published(&self, answers: Vec<(i64, Published)>) -> Result<(), StoreError> {
        let seen_for = self.seen_for();
        let taken = answers
            .iter()
            .filter(|(_, published)| matches!(published, Published::Taken { .. }))
            .count();
        let refused = answers.len() - taken;
        self.write(move |transaction| {
            let now = now();
            for (position, published) in &answers {
                note(transaction, now, seen_for, *position, published)?;
            }
            Ok(())
        })
        .await?;
        let counters = &self.shared.counters;
        Counters::count(&counters.sent, taken);
        Counters::count(&counters.failed, refused);
        Ok(())
    }
}

struct Entry {
    message_id: i64,
    state: i32,
    kind: ConversationKind,
    uid: String,
    status: i32,
    no_receiver: bool,
}

fn note(
    transaction: &Transaction<'_>,
    now: i64,
    seen_for: i64,
    position: i64,
    published: &Published,
) -> rusqlite::Result<()> {
    let found = transaction
        .prepare_cached(
            "SELECT o.message_id, o.state, c.kind, m.uid, m.sent_status, m.no_receiver
             FROM outbox o JOIN messages m USING (message_id) JOIN conversations c USING (conversation_id)
             WHERE o.position = ?1",
        )?
        .query_row([position], |row| {
            Ok(Entry {
                message_id: row.get(0)?,
                state: message_row::number(row, 1)?,
                kind: message_row::kind(row, 2)?,
                uid: message_row::text(row, 3)?,
                status: message_row::number(row, 4)?,
                no_receiver: row.get(5)?,
            })
        })
        .optional()?;
    let Some(entry) = found else { return Ok(()) };
    match published {
        Published::Taken { no_receiver } => taken(transaction, now, seen_for, position, &entry, *no_receiver),
        Published::Refused { code, text } if entry.state == SENDING => {
            transaction
                .prepare_cached("UPDATE outbox SET state = ?2 WHERE position = ?1")?
                .execute((position, FAILED))?;
            message::set_status(transaction, now, entry.message_id, FAILED, *code, text)
        }
        // The server had taken it once: that this try was refused does not make it FAILED.
        Published::Refused { .. } => Ok(()),
    }
}

fn taken(
    transaction: &Transaction<'_>,
    now: i64,
    seen_for: i64,
    position: i64,
    entry: &Entry,
    no_receiver: bool,
) -> rusqlite::Result<()> {
    if entry.kind == ConversationKind::Private {
        transaction
            .prepare_cached(
                "UPDATE outbox SET state = ?2, tries = tries + 1, last_try = ?3,
                                   taken = CASE WHEN state = ?2 THEN taken ELSE ?3 END
                 WHERE position = ?1",
            )?
            .execute((position, SENT, now))?;
    } else {
        transaction
            .prepare_cached("DELETE FROM outbox WHERE position = ?1")?
            .execute([position])?;
    }
    // From here on the server may bring it back.
    message::note_seen(
        transaction,
        &me(transaction)?,
        &entry.uid,
        now.saturating_add(seen_for),
    )?;
    if entry.no_receiver != no_receiver {
        transaction
            .prepare_cached("UPDATE messages SET no_receiver = ?2 WHERE message_id = ?1")?
            .execute((entry.message_id, no_receiver))?;
    }
    if entry.status != SENT {
        message::set_status(transaction, now, entry.message_id, SENT, 0, "")
    } else if entry.no_receiver != no_receiver {
        log::message_state(transaction, now, entry.message_id, SENT)
    } else {
        Ok(())
    }
}
