//! What came in: stored before it is acknowledged, and each message once.

use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction};

use super::message::{self, NewMessage, SENT};
use super::{housekeeping, now};
use crate::store::figures::Counters;
use crate::store::rows::{Arrival, ConversationKind, Gap, Incoming, Stored};
use crate::store::thread::Job;
use crate::store::{Store, StoreError, log, task};

/// The flag that makes a message count as unread.
const COUNTED: u32 = 2;

/// How much an arrival takes in a commit beside its content.
const ROW: usize = 256;

impl Store {
    /// Stores what came in; answered only when all of it is committed. While the disk is full it is tried
    /// again and again, so the answer may take long; sixty-four calls may wait so, the next one waits before
    /// it is taken.
    ///
    /// # Errors
    /// Nothing of it is stored: the database is damaged, closed or of another account by now, or the store
    /// has stopped.
    pub async fn receive(&self, arrivals: Vec<Arrival>) -> Result<Vec<Stored>, StoreError> {
        let receives = Arc::clone(&self.shared.receives);
        let place = receives.acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let seen_for = self.seen_for();
        let bytes = arrivals.iter().map(size).sum();
        let are_messages: Vec<bool> = arrivals
            .iter()
            .map(|arrival| matches!(arrival, Arrival::Message(_)))
            .collect();
        let run = move |transaction: &Transaction<'_>| {
            // Given back when the store has done with it, which may be after the caller has gone.
            let _held = &place;
            let now = now();
            let mut stored = Vec::with_capacity(arrivals.len());
            for arrival in &arrivals {
                stored.push(store(transaction, now, now.saturating_add(seen_for), arrival)?);
            }
            Ok(stored)
        };
        let stored = self
            .ask_without_deadline(|answer| Job::Write(task(bytes, true, run, answer)))
            .await??;
        let messages = |wanted: Stored| {
            let of_messages = stored.iter().zip(&are_messages);
            of_messages
                .filter(|(stored, is_message)| **is_message && **stored == wanted)
                .count()
        };
        Counters::count(&self.shared.counters.received, messages(Stored::Fresh));
        Counters::count(&self.shared.counters.duplicate, messages(Stored::Duplicate));
        Ok(stored)
    }
}

fn size(arrival: &Arrival) -> usize {
    let content = match arrival {
        Arrival::Message(message) => message.content.len(),
        Arrival::Receipt { uids, .. } => uids.len().saturating_mul(ROW),
        Arrival::Unreadable { payload, .. } => payload.len(),
    };
    content.saturating_add(ROW)
}

fn store(
    transaction: &Transaction<'_>,
    now: i64,
    expires: i64,
    arrival: &Arrival,
) -> rusqlite::Result<Stored> {
    let is_fresh = match arrival {
        Arrival::Message(incoming) => store_message(transaction, now, expires, incoming)?,
        Arrival::Receipt { peer, uids } => {
            let mut any = false;
            for uid in uids {
                any |= message::mark_received(transaction, now, peer, uid)?;
            }
            any
        }
        Arrival::Unreadable {
            topic,
            reason,
            payload,
        } => {
            keep_unreadable(transaction, now, topic, reason, payload)?;
            true
        }
    };
    Ok(if is_fresh {
        Stored::Fresh
    } else {
        Stored::Duplicate
    })
}

/// `false`: it had been stored before.
fn store_message(
    transaction: &Transaction<'_>,
    now: i64,
    expires: i64,
    incoming: &Incoming,
) -> rusqlite::Result<bool> {
    let is_fresh = message::note_seen(transaction, &incoming.sender, &incoming.uid, expires)?;
    if incoming.wants_receipt {
        // A message that comes again is one whose receipt may have been lost.
        transaction
            .prepare_cached("INSERT OR IGNORE INTO receipts_due (peer, uid) VALUES (?1, ?2)")?
            .execute((&incoming.sender, &incoming.uid))?;
    }
    if !is_fresh {
        let is_note_to_self = incoming.sent_by_me
            && incoming.conversation.kind == ConversationKind::Private
            && incoming.conversation.target == incoming.sender;
        if is_note_to_self {
            message::mark_received(transaction, now, &incoming.sender, &incoming.uid)?;
        }
        return Ok(false);
    }
    if incoming.conversation.kind == ConversationKind::Group {
        note_group_sequence(transaction, now, incoming)?;
    }
    let new = NewMessage {
        conversation: &incoming.conversation,
        uid: &incoming.uid,
        sender: &incoming.sender,
        sent_by_me: incoming.sent_by_me,
        object_name: &incoming.object_name,
        content: &incoming.content,
        flags: incoming.flags,
        sent_time: incoming.sent_time,
        // From another device of ours, and it has come back from the server.
        sent_status: if incoming.sent_by_me { SENT } else { 0 },
        unread: incoming.flags & COUNTED != 0 && !incoming.sent_by_me,
    };
    message::insert(transaction, now, &new)?;
    Ok(true)
}

/// A hole is told once, when the number behind it comes. The first number of an installation says nothing
/// about those before it.
fn note_group_sequence(transaction: &Transaction<'_>, now: i64, incoming: &Incoming) -> rusqlite::Result<()> {
    let seq = i64::try_from(incoming.seq).unwrap_or(i64::MAX);
    if seq == 0 {
        return Ok(());
    }
    let group = &incoming.conversation.target;
    let last: Option<i64> = transaction
        .prepare_cached(
            "SELECT last_seq FROM group_senders WHERE group_id = ?1 AND sender = ?2 AND origin = ?3",
        )?
        .query_row((group, &incoming.sender, &incoming.origin), |row| row.get(0))
        .optional()?;
    if last.is_some_and(|last| seq <= last) {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO group_senders (group_id, sender, origin, last_seq) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET last_seq = excluded.last_seq",
        )?
        .execute((group, &incoming.sender, &incoming.origin, seq))?;
    let missing = last.map_or(0, |last| seq.abs_diff(last).saturating_sub(1));
    if missing == 0 {
        return Ok(());
    }
    let gap = Gap::GroupSequence {
        group: group.clone(),
        sender: incoming.sender.clone(),
        missing,
    };
    log::gap(transaction, now, &gap)
}

fn keep_unreadable(
    transaction: &Transaction<'_>,
    now: i64,
    topic: &str,
    reason: &str,
    payload: &[u8],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO unreadable (time, topic, reason, payload) VALUES (?1, ?2, ?3, ?4)")?
        .execute((now, topic, reason, payload))?;
    let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
    log::unreadable(transaction, now, topic, reason, bytes)?;
    housekeeping::trim_unreadable(transaction)
}
