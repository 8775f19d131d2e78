//! The open account: its writes, what waits for it, and who is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::watch;

use super::account::Account;
use super::figures::{AccountFigures, Counters};
use super::group_commit::{self, Write};
use super::idle::Idle;
use super::progress::Progress;
use super::rows::Tip;
use super::{check, files};
use crate::clock;

/// How long a full disk is left alone, doubling.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(64);

/// Who is told of commits, and of what takes long.
pub(super) struct Published {
    pub(super) tip: watch::Sender<Tip>,
    pub(super) outbox: watch::Sender<u64>,
    /// Why what comes in is not stored at the moment.
    pub(super) full_disk: watch::Sender<Option<String>>,
    pub(super) counters: Arc<Counters>,
    pub(super) progress: Progress,
}

/// The open account, and what waits for it.
pub(super) struct Open {
    pub(super) account: Account,
    epoch: String,
    /// What happened to the database, for the next one who opens it.
    pub(super) note: Option<String>,
    /// When all of it was read, and no damage found.
    pub(super) found_whole: Option<Duration>,
    idle: Idle,
    stalled: Option<Stalled>,
}

/// Writes that wait until the disk has room. Times are on the boot clock.
struct Stalled {
    writes: Vec<Box<dyn Write>>,
    delay: Duration,
    at: Duration,
}

impl Open {
    pub(super) fn new(account: Account, epoch: String) -> Self {
        Self {
            account,
            epoch,
            note: None,
            found_whole: None,
            idle: Idle::new(now()),
            stalled: None,
        }
    }

    /// When [`Open::do_what_is_due`] has something to do.
    pub(super) fn due(&self) -> Duration {
        let idle = self.idle.due();
        self.stalled.as_ref().map_or(idle, |stalled| idle.min(stalled.at))
    }

    pub(super) fn do_what_is_due(&mut self, published: &Published, suspect: &AtomicBool) {
        let now = now();
        if self.idle.due() <= now {
            self.idle.run(self.account.connection(), now);
        }
        if let Some(mut stalled) = self.stalled.take_if(|stalled| stalled.at <= now) {
            // Whoever has gone will bring it again.
            stalled.writes.retain(|write| !write.is_abandoned());
            self.commit(stalled.writes, stalled.delay * 2, published, suspect);
            if self.stalled.is_none() {
                published.full_disk.send_replace(None);
                tracing::info!("nothing waits for room on the disk any more");
            }
        }
    }

    /// While some wait for room, what has to stay behind them waits too.
    pub(super) fn write(
        &mut self,
        mut writes: Vec<Box<dyn Write>>,
        published: &Published,
        suspect: &AtomicBool,
    ) {
        if let Some(stalled) = &mut self.stalled {
            stalled
                .writes
                .extend(writes.extract_if(.., |write| write.is_kept()));
        }
        self.commit(writes, FIRST_DELAY, published, suspect);
    }

    fn commit(
        &mut self,
        writes: Vec<Box<dyn Write>>,
        delay: Duration,
        published: &Published,
        suspect: &AtomicBool,
    ) {
        if writes.is_empty() {
            return;
        }
        let before = self.account.connection().total_changes();
        let begun = now();
        let tried = group_commit::commit(self.account.connection(), writes);
        published.counters.committed(now().saturating_sub(begun));
        if tried.has_found_damage() {
            tracing::warn!("a write has found damage: the whole database is checked");
            suspect.store(true, Ordering::Relaxed);
        }
        if self.account.connection().total_changes() != before {
            self.publish(published);
            self.idle.committed(now());
        }
        let Some(kept) = tried.answer() else { return };
        let delay = delay.min(LONGEST_DELAY);
        let database = self.account.path().display();
        tracing::warn!(
            %database, error = kept.why, retry_in = delay.as_secs(),
            "messages that came in cannot be stored, and are not acknowledged. Make room on this file system"
        );
        published.full_disk.send_replace(Some(format!(
            "{database} cannot be written ({}): make room on this file system",
            kept.why
        )));
        self.stalled = Some(Stalled {
            writes: kept.writes,
            delay,
            at: now() + delay,
        });
    }

    /// `None`: the database does not answer, which the log tells.
    pub(super) fn measure(&mut self) -> Option<AccountFigures> {
        let path = self.account.path();
        let bytes = check::size(path) + check::size(&files::with_suffix(path, "-wal"));
        match figures(self.account.connection()) {
            Ok(figures) => Some(AccountFigures { bytes, ..figures }),
            Err(error) => {
                tracing::warn!(%error, "the database cannot be measured");
                None
            }
        }
    }

    /// Tells how far the log is, and that there is something to publish. Both stand in SQLite's own counters
    /// of row ids, so no write can forget to say it.
    pub(super) fn publish(&mut self, published: &Published) {
        match counters(self.account.connection()) {
            Ok((events, outbox)) => {
                published.tip.send_if_modified(|tip| {
                    let moved = tip.newest != events || tip.epoch != self.epoch;
                    if moved {
                        tip.epoch.clone_from(&self.epoch);
                        tip.newest = events;
                    }
                    moved
                });
                published
                    .outbox
                    .send_if_modified(|value| std::mem::replace(value, outbox) != outbox);
            }
            Err(error) => tracing::warn!(%error, "how far the log is cannot be read"),
        }
    }
}

fn counters(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(CASE WHEN name = 'events' THEN seq END), 0),
                    coalesce(sum(CASE WHEN name IN ('outbox', 'receipts_due') THEN seq END), 0)
             FROM sqlite_sequence",
        )?
        .query_row([], |row| {
            let count = |column| row.get(column).map(i64::unsigned_abs);
            Ok((count(0)?, count(1)?))
        })
}

/// The log's length is that of its range of offsets: counting the rows would read them all.
fn figures(connection: &Connection) -> rusqlite::Result<AccountFigures> {
    connection
        .prepare_cached(
            "SELECT messages, bytes,
                    coalesce((SELECT max(event_offset) - min(event_offset) + 1 FROM events), 0),
                    (SELECT count(*) FROM unreadable)
             FROM outbox_size",
        )?
        .query_row([], |row| {
            let count = |column| row.get(column).map(i64::unsigned_abs);
            Ok(AccountFigures {
                bytes: 0,
                outbox_messages: count(0)?,
                outbox_bytes: count(1)?,
                events: count(2)?,
                unreadable: count(3)?,
            })
        })
}

/// The boot clock.
pub(super) fn now() -> Duration {
    clock::now().boot.as_duration()
}
