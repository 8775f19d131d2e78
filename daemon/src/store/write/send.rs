//! The outbox: what an app wants sent is on disk before the app is told that it is accepted.

use rusqlite::{OptionalExtension as _, Row, Transaction};

use super::message::{self, FAILED, NewMessage, SENDING};
use super::{me, now};
use crate::store::figures::Counters;
use crate::store::rows::{ConversationKey, Due, Message, Outgoing, SendError};
use crate::store::{Store, StoreError, message_row};

/// The outbox holds no more that waits to be sent.
const MAX_MESSAGES: i64 = 100_000;
const MAX_BYTES: i64 = 1024 * 1024 * 1024;

/// So long a message of the server's is left alone before it is published again; doubled with every try.
const FIRST_WAIT: i64 = 60 * 60 * 1000;

/// More doublings than this would leave what an integer can count.
const MAX_DOUBLINGS: i64 = 20;

impl Store {
    /// Puts a message in the outbox; answered when it is on disk. The same uid again is the same message:
    /// then `true` comes with it. If it has been deleted since, its id is 0.
    ///
    /// # Errors
    /// It is not in the outbox, and never was.
    pub async fn enqueue(&self, outgoing: Outgoing) -> Result<(Message, bool), SendError> {
        let seen_for = self.seen_for();
        let enqueued = self
            .write(move |transaction| enqueue(transaction, now(), seen_for, &outgoing))
            .await;
        self.count_enqueued(enqueued.iter());
        enqueued.unwrap_or_else(|error| Err(refusal(error)))
    }

    /// As [`Store::enqueue`], for many in their order and in one commit: one answer for each.
    ///
    /// # Errors
    /// None of them is in the outbox.
    pub async fn enqueue_all(
        &self,
        outgoings: Vec<Outgoing>,
    ) -> Result<Vec<Result<(Message, bool), SendError>>, SendError> {
        let seen_for = self.seen_for();
        let enqueued = self.write(move |transaction| {
            let now = now();
            let all = outgoings.iter();
            all.map(|outgoing| enqueue(transaction, now, seen_for, outgoing))
                .collect()
        });
        let enqueued: Vec<_> = enqueued.await.map_err(refusal)?;
        self.count_enqueued(&enqueued);
        Ok(enqueued)
    }

    fn count_enqueued<'a>(&self, enqueued: impl IntoIterator<Item = &'a Result<(Message, bool), SendError>>) {
        let fresh = enqueued
            .into_iter()
            .filter(|enqueued| matches!(enqueued, Ok((_, false))));
        Counters::count(&self.shared.counters.enqueued, fresh.count());
    }

    /// Puts a FAILED message at the outbox's end, under its uid and with its number. One that is not FAILED
    /// stays as it is. `None`: there is no such message.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn retry(&self, uid: String) -> Result<Option<Message>, StoreError> {
        self.write(move |transaction| retry(transaction, now(), &uid))
            .await
    }

    /// What is to be sent behind this position, in order.
    ///
    /// # Errors
    /// The outbox cannot be read.
    pub async fn due(&self, after_position: i64, limit: usize) -> Result<Vec<Due>, StoreError> {
        // Not beside the writer: a long read there must not hold up what is sent.
        self.write(move |transaction| due(transaction, after_position, limit))
            .await
    }

    /// Private messages that the server has had for an hour (then two, four, …) since the last try, while the
    /// peer has not confirmed them; and those that were sent before `forgotten_before`, when the server lost
    /// what it had (0: it did not). After `expiry_ms` they leave the outbox, and stay SENT.
    ///
    /// # Errors
    /// Nothing has changed.
    pub async fn due_again(
        &self,
        now_ms: i64,
        limit: usize,
        expiry_ms: i64,
        forgotten_before: i64,
    ) -> Result<Vec<Due>, StoreError> {
        self.write(move |transaction| due_again(transaction, now_ms, limit, expiry_ms, forgotten_before))
            .await
    }
}

fn refusal(error: StoreError) -> SendError {
    match error {
        StoreError::NoAccount => SendError::NoAccount,
        StoreError::Disk(text) | StoreError::Database(text) => SendError::Storage(text),
        other @ (StoreError::File { .. }
        | StoreError::Thread(_)
        | StoreError::Stopped
        | StoreError::Late(_)) => SendError::Store(other.to_string()),
    }
}

fn enqueue(
    transaction: &Transaction<'_>,
    now: i64,
    seen_for: i64,
    outgoing: &Outgoing,
) -> rusqlite::Result<Result<(Message, bool), SendError>> {
    if let Some(known) = message_row::sent(transaction, &outgoing.uid)? {
        return Ok(Ok((known, true)));
    }
    let me = me(transaction)?;
    let bytes = i64::try_from(outgoing.content.len()).unwrap_or(i64::MAX);
    let (waiting, waiting_bytes): (i64, i64) = transaction
        .prepare_cached("SELECT messages, bytes FROM outbox_size")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let is_full = waiting >= MAX_MESSAGES || waiting_bytes.saturating_add(bytes) > MAX_BYTES;
    let mut accepted = Message {
        message_id: 0,
        conversation: outgoing.conversation.clone(),
        uid: outgoing.uid.clone(),
        sender: me,
        sent_by_me: true,
        object_name: outgoing.object_name.clone(),
        content: outgoing.content.clone(),
        flags: outgoing.flags,
        sent_time: outgoing.sent_time,
        received_time: now,
        sent_status: SENDING,
        code: 0,
        code_text: String::new(),
        no_receiver: false,
        unread: false,
    };
    if is_full && !is_seen(transaction, &accepted)? {
        return Ok(Err(SendError::Full {
            messages: waiting.unsigned_abs(),
            bytes: waiting_bytes.unsigned_abs(),
        }));
    }
    let expires = now.saturating_add(seen_for);
    if !message::note_seen(transaction, &accepted.sender, &accepted.uid, expires)? {
        return Ok(Ok((accepted, true)));
    }
    let new = NewMessage {
        conversation: &accepted.conversation,
        uid: &accepted.uid,
        sender: &accepted.sender,
        sent_by_me: true,
        object_name: &accepted.object_name,
        content: &accepted.content,
        flags: accepted.flags,
        sent_time: accepted.sent_time,
        sent_status: SENDING,
        unread: false,
    };
    accepted.message_id = message::insert(transaction, now, &new)?;
    let seq = next_seq(transaction, &accepted.conversation)?;
    put_in_outbox(transaction, accepted.message_id, seq, bytes)?;
    Ok(Ok((accepted, false)))
}

fn is_seen(transaction: &Transaction<'_>, message: &Message) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("SELECT 1 FROM seen WHERE sender = ?1 AND uid = ?2")?
        .exists((&message.sender, &message.uid))
}

fn next_seq(transaction: &Transaction<'_>, conversation: &ConversationKey) -> rusqlite::Result<i64> {
    transaction
        .prepare_cached(
            "UPDATE conversations SET send_seq = send_seq + 1 WHERE kind = ?1 AND target_id = ?2
             RETURNING send_seq",
        )?
        .query_row((conversation.kind.number(), &conversation.target), |row| {
            row.get(0)
        })
}

fn put_in_outbox(
    transaction: &Transaction<'_>,
    message_id: i64,
    seq: i64,
    bytes: i64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO outbox (message_id, seq, bytes, state) VALUES (?1, ?2, ?3, ?4)")?
        .execute((message_id, seq, bytes, SENDING))?;
    Ok(())
}

fn retry(transaction: &Transaction<'_>, now: i64, uid: &str) -> rusqlite::Result<Option<Message>> {
    let Some(message) = message_row::sent(transaction, uid)? else {
        return Ok(None);
    };
    let message_id = message.message_id;
    let failed: Option<(i64, i64)> = transaction
        .prepare_cached("DELETE FROM outbox WHERE message_id = ?1 AND state = ?2 RETURNING seq, bytes")?
        .query_row((message_id, FAILED), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((seq, bytes)) = failed else {
        return Ok(Some(message));
    };
    put_in_outbox(transaction, message_id, seq, bytes)?;
    message::set_status(transaction, now, message_id, SENDING, 0, "")?;
    message_row::by_id(transaction, message_id)
}

/// A query of the outbox: `WHERE …` follows.
macro_rules! select_due {
    ($rest:literal) => {
        concat!(
            "SELECT o.position, c.kind, c.target_id, m.uid, o.seq, m.object_name, m.content, m.flags, m.sent_time
             FROM outbox o JOIN messages m USING (message_id) JOIN conversations c USING (conversation_id) ",
            $rest
        )
    };
}

fn due(transaction: &Transaction<'_>, after_position: i64, limit: usize) -> rusqlite::Result<Vec<Due>> {
    transaction
        .prepare_cached(select_due!(
            "WHERE o.state = ?1 AND o.position > ?2 ORDER BY o.position LIMIT ?3"
        ))?
        .query_map((SENDING, after_position, rows(limit)), row_of_due)?
        .collect()
}

fn due_again(
    transaction: &Transaction<'_>,
    now: i64,
    limit: usize,
    expiry_ms: i64,
    forgotten_before: i64,
) -> rusqlite::Result<Vec<Due>> {
    transaction
        .prepare_cached("DELETE FROM outbox WHERE state = 30 AND taken <= ?1")?
        .execute([now.saturating_sub(expiry_ms)])?;
    // A last try in the future was made under a clock that has been set back since.
    let due: Vec<Due> = transaction
        .prepare_cached(select_due!(
            "WHERE o.state = 30 AND (o.last_try + (?1 << min(max(o.tries, 1) - 1, ?2)) <= ?3 OR o.last_try > ?3
                  OR o.last_try < ?5)
             ORDER BY o.position LIMIT ?4"
        ))?
        .query_map((FIRST_WAIT, MAX_DOUBLINGS, now, rows(limit), forgotten_before), row_of_due)?
        .collect::<Result<_, _>>()?;
    // The next page of this round does not hold them again. The try counts when the server has it; those that
    // a server has forgotten were none, or the waits of a server that often dies would outgrow the expiry.
    let mut tried = transaction.prepare_cached(
        "UPDATE outbox SET last_try = ?2, tries = CASE WHEN last_try < ?3 THEN 0 ELSE tries END
         WHERE position = ?1",
    )?;
    for entry in &due {
        tried.execute((entry.position, now, forgotten_before))?;
    }
    Ok(due)
}

fn row_of_due(row: &Row<'_>) -> rusqlite::Result<Due> {
    Ok(Due {
        position: row.get(0)?,
        conversation: ConversationKey {
            kind: message_row::kind(row, 1)?,
            target: message_row::text(row, 2)?,
        },
        uid: message_row::text(row, 3)?,
        seq: row.get::<_, i64>(4)?.unsigned_abs(),
        object_name: message_row::text(row, 5)?,
        content: row.get(6)?,
        flags: message_row::number(row, 7)?,
        sent_time: row.get(8)?,
    })
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
