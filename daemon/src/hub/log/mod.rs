//! The log of events, as its subscribers see it. Each is a cursor, and nothing else is kept for it: one
//! that does not read costs no memory and is waited for by nobody.
//!
//! ```text
//!   store ── tip ──▶ subscriber ── near the log's end ──▶ tail: in memory, one for all, bounded;
//!                                                         whoever misses something there fills it
//!                               ── behind ─────────────▶ its own page from disk, a few at a time
//! ```

mod subscribers;
mod subscription;
mod tail;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imd_core::io::InstanceId;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

pub use subscribers::Lag;
pub use subscription::{News, Start, Subscription};

use crate::link::BoxFuture;
use crate::store::StoreError;
use crate::store::rows::{LogEntry, LogPage, Tip};
use subscribers::Subscribers;
use tail::{Look, Tail};

/// How much is handed over at once. A longer entry goes alone.
const PAGE_ENTRIES: usize = 256;
const PAGE_BYTES: usize = 64 * 1024;

/// How many of those who are behind read at once: what those near the log's end wait for at most.
const BEHIND: usize = 2;

/// How long a page may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// An event's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which log: random for each database file.
    pub epoch: String,
    pub offset: u64,
}

/// Why the log did not answer.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The epoch asked for is not that of the database that is open.
    #[error("the log of this epoch is not the one that is open")]
    OtherEpoch,
    /// The cursor is beyond the log's end.
    #[error("the log ends at {newest}")]
    Beyond { newest: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the log is kept: the store, as the hub wants it. What is asked of an epoch that is not the open
/// database's answers [`LogError::OtherEpoch`], looked at in one step with the rest: another account may be
/// opened at any time.
pub trait LogSource: Send + Sync + 'static {
    /// Moves after every commit that logged something, and when another database is opened.
    fn tip(&self) -> watch::Receiver<Tip>;

    /// What follows an offset: at least one entry where there is one, and not many more bytes than asked for.
    fn log_page(
        &self,
        epoch: String,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> BoxFuture<Result<LogPage, LogError>>;

    /// The cursor kept for an app id and a name.
    fn cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
    ) -> BoxFuture<Result<Option<u64>, LogError>>;

    /// Keeps a cursor; one that is further on stays.
    fn set_cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
        offset: u64,
    ) -> BoxFuture<Result<(), LogError>>;
}

/// The way to subscribe. Cheap to clone.
#[derive(Clone)]
pub struct EventLog {
    shared: Arc<Shared>,
}

impl EventLog {
    /// The log of this source.
    #[must_use]
    pub fn new(source: Arc<dyn LogSource>) -> Self {
        Self {
            shared: Arc::new(Shared {
                source,
                tail: Mutex::default(),
                filling: tokio::sync::Mutex::default(),
                behind: Semaphore::new(BEHIND),
                subscribers: Mutex::default(),
            }),
        }
    }

    /// Subscribes from there on.
    #[must_use]
    pub fn subscribe(&self, start: Start) -> Subscription {
        Subscription::new(Arc::clone(&self.shared), start, None)
    }

    /// Subscribes from there on, for this app.
    #[must_use]
    pub fn subscribe_for(&self, app: Option<InstanceId>, start: Start) -> Subscription {
        Subscription::new(Arc::clone(&self.shared), start, app)
    }

    /// How far each subscriber is behind the log's end.
    #[must_use]
    pub fn lags(&self) -> Vec<Lag> {
        let tip = self.shared.source.tip().borrow().clone();
        self.shared.subscribers().lags(&tip)
    }

    /// Keeps a cursor for an app id and a name; one that is further on stays.
    ///
    /// # Errors
    /// [`LogError::OtherEpoch`], [`LogError::Beyond`], and what the store says.
    pub async fn acknowledge(
        &self,
        app_id: Arc<str>,
        name: Arc<str>,
        cursor: Cursor,
    ) -> Result<(), LogError> {
        let source = &self.shared.source;
        let tip = source.tip().borrow().clone();
        if tip.epoch.is_empty() {
            return Err(StoreError::NoAccount.into());
        }
        if tip.epoch != cursor.epoch {
            return Err(LogError::OtherEpoch);
        }
        if cursor.offset > tip.newest {
            return Err(LogError::Beyond { newest: tip.newest });
        }
        source.set_cursor(cursor.epoch, app_id, name, cursor.offset).await
    }
}

struct Shared {
    source: Arc<dyn LogSource>,
    tail: Mutex<Tail>,
    /// Held by the one who fills the tail, while all the others who need the same page wait for it.
    filling: tokio::sync::Mutex<()>,
    behind: Semaphore,
    subscribers: Mutex<Subscribers>,
}

/// What follows a cursor.
enum Read {
    Entries(Vec<Arc<LogEntry>>),
    /// The log does not go back so far.
    TooOld,
    /// The tip has not told all yet: it will move.
    NotYet,
}

impl Shared {
    /// What follows a cursor that is not at the log's end.
    ///
    /// What has to be read is read in a task of its own: a subscriber that is not polled any more, because nobody
    /// reads what it was told before, must not keep the turn that others wait for.
    async fn read(self: &Arc<Self>, cursor: &Cursor, tip: &Tip) -> Result<Read, LogError> {
        let newest = tip.newest;
        let look = {
            let mut tail = self.tail();
            tail.join(cursor, tip);
            tail.look(cursor, newest)
        };
        if let Look::Have(entries) = look {
            return Ok(Read::Entries(entries));
        }
        let (log, cursor) = (Arc::clone(self), cursor.clone());
        // Ends with whoever waits for it.
        let mut task = JoinSet::new();
        task.spawn(async move { log.read_in_turn(&cursor, newest).await });
        match task.join_next().await {
            Some(Ok(read)) => read,
            Some(Err(_)) | None => Err(StoreError::Stopped.into()),
        }
    }

    async fn read_in_turn(&self, cursor: &Cursor, newest: u64) -> Result<Read, LogError> {
        let turn = self.filling.lock().await;
        loop {
            // Another may have filled it meanwhile.
            let look = self.tail().look(cursor, newest);
            let after = match look {
                Look::Have(entries) => return Ok(Read::Entries(entries)),
                Look::Behind => break,
                Look::Fill { after } => after,
            };
            match self.page(&cursor.epoch, after).await? {
                Page::Entries(entries) => self.tail().fill(&cursor.epoch, after, entries),
                // It was the tail that is too old, not the cursor.
                Page::TooOld if after < cursor.offset => *self.tail() = Tail::default(),
                Page::TooOld => return Ok(Read::TooOld),
                Page::Nothing => return Ok(Read::NotYet),
            }
        }
        drop(turn);
        let _turn = self.behind.acquire().await;
        Ok(match self.page(&cursor.epoch, cursor.offset).await? {
            Page::Entries(entries) => Read::Entries(entries.into_iter().map(Arc::new).collect()),
            Page::TooOld => Read::TooOld,
            Page::Nothing => Read::NotYet,
        })
    }

    async fn page(&self, epoch: &str, after: u64) -> Result<Page, LogError> {
        let page = self
            .source
            .log_page(epoch.to_owned(), after, PAGE_ENTRIES, PAGE_BYTES);
        let page = match tokio::time::timeout(DEADLINE, page).await {
            Ok(Ok(page)) => page,
            Ok(Err(LogError::OtherEpoch | LogError::Store(StoreError::NoAccount))) => {
                return Ok(Page::Nothing);
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(StoreError::Late(DEADLINE).into()),
        };
        let first_wanted = after.saturating_add(1);
        Ok(if page.oldest > first_wanted {
            Page::TooOld
        } else if !page.entries.is_empty() {
            Page::Entries(page.entries)
        } else if page.newest > after {
            // All that followed has been removed, and the log is empty.
            Page::TooOld
        } else {
            Page::Nothing
        })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subscribers(&self) -> MutexGuard<'_, Subscribers> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last one frees the tail.
    fn leave(&self, subscriber: u64) {
        if self.subscribers().leave(subscriber) {
            *self.tail() = Tail::default();
        }
    }
}

enum Page {
    Entries(Vec<LogEntry>),
    TooOld,
    Nothing,
}

#[cfg(test)]
mod tests;
