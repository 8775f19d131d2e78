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
use super::rows::{Latest, LogEntry, Tip};
use super::{check, files, read};
use crate::clock;

/// How long a full disk is left alone, doubling.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(64);

/// How much of the log's end is told with the tip. A commit of more is read by whoever wants it.
const LATEST_ENTRIES: usize = 16;
const LATEST_BYTES: usize = 64 * 1024;

/// Who is told of commits, and of what takes long.
pub(super) struct Published {
    pub(super) tip: watch::Sender<Tip>,
    pub(super) outbox: watch::Sender<u64>,
    /// Why what comes in is not stored at the moment.
    pub(super) full_disk: watch::Sender<Option<String>>,
    pub(super) counters: Arc<Counters>,
    pub(super) progress: Progress,
}

impl Published {
    /// Whether anybody but the store itself holds the tip.
    fn is_followed(&self) -> bool {
        self.tip.receiver_count() > 1
    }
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
        let epoch = &self.epoch;
        let connection = self.account.connection();
        let before = connection.total_changes();
        let begun = now();
        let (tried, progressed) = group_commit::commit(connection, writes, |transaction| {
            let is_changed = transaction.total_changes() != before;
            is_changed.then(|| Progressed::read(transaction, epoch, published))
        });
        published.counters.committed(now().saturating_sub(begun));
        if tried.has_found_damage() {
            tracing::warn!("a write has found damage: the whole database is checked");
            suspect.store(true, Ordering::Relaxed);
        }
        if let Some(progressed) = progressed.flatten() {
            progressed.publish(published);
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

    /// Tells how far the log is, and that there is something to publish.
    pub(super) fn publish(&mut self, published: &Published) {
        Progressed::read(self.account.connection(), &self.epoch, published).publish(published);
    }
}

/// How far the log and the outbox have come, where that is to be told. Both stand in SQLite's own counters of row
/// ids, so no write can forget to say it.
#[derive(Default)]
struct Progressed {
    tip: Option<Tip>,
    outbox: Option<u64>,
}

impl Progressed {
    fn read(connection: &Connection, epoch: &str, published: &Published) -> Self {
        let (newest, outbox) = match counters(connection) {
            Ok(counters) => counters,
            Err(error) => {
                tracing::warn!(%error, "how far the log is cannot be read");
                return Self::default();
            }
        };
        let told = published.tip.borrow().clone();
        let is_told = told.newest == newest && told.epoch == epoch;
        let tip = (!is_told).then(|| Tip {
            epoch: epoch.to_owned(),
            newest,
            latest: if published.is_followed() && told.epoch == epoch {
                latest(connection, &told, newest)
            } else {
                Latest::default()
            },
        });
        Self {
            tip,
            outbox: Some(outbox),
        }
    }

    fn publish(self, published: &Published) {
        if let Some(tip) = self.tip {
            published.tip.send_replace(tip);
        }
        if let Some(outbox) = self.outbox {
            published
                .outbox
                .send_if_modified(|value| std::mem::replace(value, outbox) != outbox);
        }
    }
}

/// What has been logged since the tip was told last, behind what was told then as far as there is room: a
/// subscriber that missed one tip finds its entries in the next.
fn latest(connection: &Connection, told: &Tip, newest: u64) -> Latest {
    match read::log_end(connection, told.newest, newest, LATEST_ENTRIES, LATEST_BYTES) {
        Ok(Some(fresh)) => joined(told, fresh),
        Ok(None) => Latest::default(),
        Err(error) => {
            // Whoever reads them finds it again, and says it.
            tracing::debug!(%error, "the log's newest entries cannot be read");
            Latest::default()
        }
    }
}

/// `fresh` follows what has been told; the oldest go first.
fn joined(told: &Tip, fresh: Vec<LogEntry>) -> Latest {
    let mut bytes = 0_usize;
    let fresh = fresh.into_iter().map(Arc::new);
    let mut entries: Vec<_> = told.latest.entries.iter().cloned().chain(fresh).collect();
    let kept = entries
        .iter()
        .rev()
        .take(LATEST_ENTRIES)
        .take_while(|entry| {
            bytes = bytes.saturating_add(read::log_entry_bytes(entry));
            bytes <= LATEST_BYTES
        })
        .count();
    let dropped = entries.drain(..entries.len() - kept).next_back();
    let after = match dropped {
        Some(last) => last.offset,
        None if told.latest.entries.is_empty() => told.newest,
        None => told.latest.after,
    };
    Latest {
        after,
        entries: Arc::new(entries),
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
