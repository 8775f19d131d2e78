//! What can wait until nobody else wants the writer.

use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::read;
use super::write::housekeeping;

/// It begins when so long nothing has been committed …
const QUIET: Duration = Duration::from_millis(100);

/// … or when it has waited this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// A little of the work. `true`: there is more.
pub(super) type Work = fn(&Transaction<'_>) -> rusqlite::Result<bool>;

/// Done after other commits, until there is no more. Each call is a short transaction of its own.
const AFTER_COMMITS: &[Work] = &[read::index_when_idle];

/// Done when a database is opened, and then every hour.
const HOURLY: &[Work] = &[housekeeping::trim_events, housekeeping::trim_seen];

const HOUR: Duration = Duration::from_hours(1);

/// What is left to do. Times are on the boot clock.
pub(super) struct Idle {
    /// Since when there is something to do after commits.
    waits_since: Option<Duration>,
    /// Which of the hourly work is next.
    hourly: usize,
    hourly_at: Duration,
    /// When something was committed last.
    committed: Duration,
}

impl Idle {
    /// A database has been opened: everything may be left to do.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            waits_since: Some(now),
            hourly: 0,
            hourly_at: now,
            committed: now,
        }
    }

    /// Something has been committed.
    pub(super) fn committed(&mut self, now: Duration) {
        self.waits_since.get_or_insert(now);
        self.committed = now;
    }

    /// When [`Idle::run`] has something to do.
    pub(super) fn due(&self) -> Duration {
        let quiet = self.committed + QUIET;
        match self.waits_since {
            Some(since) if !AFTER_COMMITS.is_empty() => quiet.min(since + PATIENCE),
            Some(_) | None => self.hourly_at.max(quiet),
        }
    }

    /// Does a little of what is due.
    pub(super) fn run(&mut self, connection: &mut Connection, now: Duration) {
        if self.waits_since.is_some() {
            let more = AFTER_COMMITS.iter().any(|work| little(connection, *work));
            self.waits_since = more.then_some(now);
        } else if self.hourly_at <= now {
            match HOURLY.get(self.hourly) {
                Some(work) if little(connection, *work) => {}
                Some(_) => self.hourly += 1,
                None => {
                    self.hourly = 0;
                    self.hourly_at = now + HOUR;
                }
            }
        }
    }
}

/// Without an fsync of its own: what a power cut takes back is done again, because what is left to do stands
/// in the database too.
fn little(connection: &mut Connection, work: Work) -> bool {
    let done = (|| {
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let more = work(&transaction)?;
        transaction.commit()?;
        Ok(more)
    })();
    let restored = connection.pragma_update(None, "synchronous", "FULL");
    match (done, restored) {
        (Ok(more), Ok(())) => more,
        (Err(error), _) | (Ok(_), Err(error)) => {
            let error: rusqlite::Error = error;
            tracing::warn!(%error, "work in the database that can wait was not done; it is tried again");
            false
        }
    }
}
