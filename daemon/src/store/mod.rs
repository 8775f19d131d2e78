//! The account database and the remembered session, on their own thread. Knows neither core nor rpc: its
//! rows are its own types.
//!
//! ```text
//!   link, rpc, watchdog ── jobs (256) ──▶ imd-store  ──▶ session.json          (session)
//!            ◀── one answer to each ──              ──▶ accounts/…/account.db (account, damage)
//!                    ── reads (64) ───▶ imd-reader ──▶ the same, read only   (reader)
//!                                        imd-check  ──▶ the same, read only   (check)
//! ```
//! There is one writer. It does the jobs in the order they came; writes that wait together share one commit
//! (`group_commit`), and are answered after it. When a queue is full, the next caller waits too.

mod account;
mod check;
mod damage;
mod epoch;
mod figures;
mod files;
mod group_commit;
mod idle;
mod ids;
mod installation;
mod journal;
mod log;
mod message_row;
mod migrate;
mod open;
mod progress;
pub mod read;
mod reader;
pub mod rows;
mod salvage;
mod session;
mod thread;
mod write;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use account::{AccountKey, OpenError, OpenedAccount};
pub use check::{AccountCheck, AccountReport, QuickCheck, look_at_account};
pub use epoch::OtherEpoch;
pub use figures::{AccountFigures, COMMIT_BOUNDS, Counted, Figures};
pub(crate) use files::write_atomically;
pub use ids::ids_on_disk;
pub use journal::StatusNote;
pub use session::{Secret, Session, SessionLook, look_at_session};

use figures::Counters;
use group_commit::Task;
use journal::Journal;
use open::Published;
use progress::Progress;
use reader::{Read, ReadSide};
use rows::Tip;
use session::SessionFile;
use thread::{Job, Worker};

const QUEUE: usize = group_commit::MAX_WRITES;
const READS: usize = 64;
const RECEIVES: usize = 64;

/// A message is known for this long after the server has forgotten it.
const SEEN_BEYOND_SESSION: Duration = Duration::from_hours(7 * 24);

/// How many prepared statements a connection keeps: more than there are.
const STATEMENTS: usize = 128;

/// What is set on every connection to an account's database. Without the stable plans SQLite prepares a
/// statement with `LIMIT ?` afresh each time it is bound.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// A small write with its fsync. A disk that takes longer is as good as gone.
const SAVE_DEADLINE: Duration = Duration::from_secs(30);

/// A write with those that share its commit.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// A search in a large database, behind others.
const READ_DEADLINE: Duration = Duration::from_secs(30);

/// A damaged database is read from end to end before it is replaced.
const OPEN_DEADLINE: Duration = Duration::from_secs(120);

/// It also reads everything, on a thread of its own.
const CHECK_DEADLINE: Duration = Duration::from_secs(60);

/// A few small queries, behind the commit that runs.
const MEASURE_DEADLINE: Duration = Duration::from_secs(1);

/// Longer than any job that is not a repair.
const PING_DEADLINE: Duration = Duration::from_secs(30);

/// Where the store's files are. The directories must be there.
#[derive(Clone, Debug)]
pub struct StorePaths {
    /// Holds the installation id and the accounts. The caller holds its lock.
    pub data_dir: PathBuf,
    pub session_file: PathBuf,
}

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    #[error("the {what} {path} cannot be {action}: {source}")]
    File {
        what: &'static str,
        path: PathBuf,
        action: &'static str,
        source: io::Error,
    },
    #[error("the store's thread cannot be started: {0}")]
    Thread(io::Error),
    #[error("the store has stopped")]
    Stopped,
    #[error("no account is open: connect first")]
    NoAccount,
    #[error("the disk is full or refuses: {0}")]
    Disk(String),
    #[error("the account's database: {0}")]
    Database(String),
    #[error("the store did not answer within {} s: the disk hangs, or is very slow", .0.as_secs())]
    Late(Duration),
}

/// A way to the store's threads. Cheap to clone; when the last one goes, they do what they have been asked,
/// close the database and are joined.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    reads: Option<mpsc::Sender<Read>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    installation: String,
    tip: watch::Receiver<Tip>,
    outbox: watch::Receiver<u64>,
    full_disk: watch::Receiver<Option<String>>,
    /// Somebody has seen damage in the open database: the next open reads all of it.
    suspect: Arc<AtomicBool>,
    counters: Arc<Counters>,
    progress: Progress,
    /// How long a message is known to have been stored.
    seen_for: Duration,
    /// Places for what came in and is not yet committed.
    receives: Arc<Semaphore>,
}

impl Store {
    /// Reads what the last run left, and starts the thread. Without `remember` nothing is kept in the
    /// session file, and an existing one is removed. `session_expiry`: how long the server keeps messages
    /// for a device that is away, which is how long one may come a second time.
    ///
    /// # Errors
    /// A file that is neither readable nor merely damaged, or no thread.
    pub fn start(
        paths: StorePaths,
        remember: bool,
        session_expiry: Duration,
    ) -> Result<(Self, Option<Session>), StoreError> {
        let installation = installation::read_or_make(&paths.data_dir.join("installation"))?;
        let journal = Journal::new(paths.session_file.with_file_name("status.jsonl"));
        let (session_file, remembered) = SessionFile::start(paths.session_file, remember)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (reads, read_queue) = mpsc::channel(READS);
        let (tip_sender, tip) = watch::channel(Tip::default());
        let (outbox_sender, outbox) = watch::channel(0);
        let (full_disk_sender, full_disk) = watch::channel(None);
        let suspect = Arc::new(AtomicBool::new(false));
        let read_side = ReadSide::default();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StoreError::Thread)?;
        let counters = Arc::<Counters>::default();
        let progress = Progress::default();
        let worker = Worker::new(
            paths.data_dir,
            session_file,
            journal,
            read_side.clone(),
            Published {
                tip: tip_sender,
                outbox: outbox_sender,
                full_disk: full_disk_sender,
                counters: Arc::clone(&counters),
                progress: progress.clone(),
            },
            runtime,
            Arc::clone(&suspect),
        );
        let threads = vec![
            spawn("imd-store", move || worker.run(queue))?,
            spawn("imd-reader", move || reader::run(&read_side, read_queue))?,
        ];
        let shared = Shared {
            jobs: Some(jobs),
            reads: Some(reads),
            threads: Mutex::new(threads),
            installation,
            tip,
            outbox,
            full_disk,
            suspect,
            counters,
            progress,
            seen_for: session_expiry.saturating_add(SEEN_BEYOND_SESSION),
            receives: Arc::new(Semaphore::new(RECEIVES)),
        };
        let store = Self {
            shared: Arc::new(shared),
        };
        Ok((store, remembered))
    }

    /// The random id of this data directory: made once, kept for its life.
    #[must_use]
    pub fn installation(&self) -> &str {
        &self.shared.installation
    }

    /// Makes the session safe on disk. Without `remember` it does nothing.
    ///
    /// # Errors
    /// The file could not be written; the one before is unharmed.
    pub async fn save_session(&self, session: Session) -> Result<(), StoreError> {
        self.ask(SAVE_DEADLINE, |answer| Job::SaveSession { session, answer })
            .await?
    }

    /// Opens an account's database, makes or repairs it, and closes the one that was open.
    ///
    /// # Errors
    /// The text says which file, and why.
    pub async fn open_account(&self, key: AccountKey) -> Result<OpenedAccount, OpenError> {
        let shown = key.clone();
        self.ask(OPEN_DEADLINE, |answer| Job::OpenAccount { key, answer })
            .await
            .unwrap_or_else(|error| {
                Err(OpenError {
                    text: format!("the database of {shown} was not opened: {error}"),
                })
            })
    }

    /// Looks at the open account's database for the doctor. It reads all of it, and holds nobody up.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] and [`StoreError::Late`]; what the check finds is in its answer.
    pub async fn check(&self) -> Result<AccountCheck, StoreError> {
        self.ask(CHECK_DEADLINE, |answer| Job::Check { answer }).await
    }

    /// Adds to the journal of status changes, behind what the store is at. Whether it could be written is told
    /// to the log alone: the connection does not depend on it.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] and [`StoreError::Late`].
    pub async fn note_statuses(&self, notes: Vec<StatusNote>) -> Result<(), StoreError> {
        self.ask(SAVE_DEADLINE, |answer| Job::NoteStatuses { notes, answer })
            .await
    }

    /// What the journal has since then (milliseconds since 1970), oldest first, and what was so before.
    ///
    /// # Errors
    /// The file cannot be read; [`StoreError::Stopped`] and [`StoreError::Late`].
    pub async fn statuses_since(&self, time: i64) -> Result<Vec<StatusNote>, StoreError> {
        self.ask(READ_DEADLINE, |answer| Job::StatusesSince { time, answer })
            .await?
    }

    /// What it has counted, and how it is.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] and [`StoreError::Late`].
    pub async fn measure(&self) -> Result<Figures, StoreError> {
        let queue = self
            .shared
            .jobs
            .as_ref()
            .map_or(0, |jobs| jobs.max_capacity() - jobs.capacity());
        let measured = self
            .ask(MEASURE_DEADLINE, |answer| Job::Measure { answer })
            .await?;
        Ok(Figures { queue, ..measured })
    }

    /// Once through the thread and back: it lives.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] and [`StoreError::Late`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.ask(PING_DEADLINE, |answer| Job::Ping { answer }).await
    }

    /// Moves while a database is read from end to end or repaired: that may take minutes, in which
    /// [`Store::ping`] is not answered.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.shared.progress.count()
    }

    /// Closes the database once all jobs before are done. Whoever asks later is told that the store has
    /// stopped. The caller says how long it waits.
    pub async fn stop(&self) {
        // An error means that it has stopped already.
        let _: Result<(), _> = self.ask(OPEN_DEADLINE, |answer| Job::Stop { answer }).await;
    }

    /// Gives the threads up: dropping the last handle no longer waits for them. For a stop that has to end
    /// even if the disk hangs.
    pub fn abandon(&self) {
        // Without its handle a thread is detached, and the end of the process ends it.
        self.shared
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// How far the log is: moves after every commit that logged something, and when another account opens.
    #[must_use]
    pub fn tip(&self) -> watch::Receiver<Tip> {
        self.shared.tip.clone()
    }

    /// Moves when something is to be published: messages or receipts.
    #[must_use]
    pub fn outbox_changed(&self) -> watch::Receiver<u64> {
        self.shared.outbox.clone()
    }

    /// Why what comes in is not stored at the moment, and what to do, for people to read.
    #[must_use]
    pub fn full_disk(&self) -> watch::Receiver<Option<String>> {
        self.shared.full_disk.clone()
    }

    /// Does this in the open account's database; answers when it is committed.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut job = Some(job);
        let run = move |transaction: &Transaction<'_>| match job.take() {
            Some(job) => job(transaction),
            None => Err(rusqlite::Error::InvalidQuery),
        };
        self.ask(WRITE_DEADLINE, |answer| Job::Write(task(0, false, run, answer)))
            .await?
    }

    /// Reads in the open account's database, beside the writer; all of it sees one state.
    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let reads = self.shared.reads.as_ref().ok_or(StoreError::Stopped)?;
        let read = reader::snapshot(job, Arc::clone(&self.shared.suspect), answer);
        let round_trip = async {
            reads.send(read).await.map_err(|_| StoreError::Stopped)?;
            answered.await.map_err(|_| StoreError::Stopped)?
        };
        tokio::time::timeout(READ_DEADLINE, round_trip)
            .await
            .unwrap_or(Err(StoreError::Late(READ_DEADLINE)))
    }

    /// In milliseconds.
    fn seen_for(&self) -> i64 {
        i64::try_from(self.shared.seen_for.as_millis()).unwrap_or(i64::MAX)
    }

    async fn ask<T>(
        &self,
        deadline: Duration,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Result<T, StoreError> {
        tokio::time::timeout(deadline, self.ask_without_deadline(job))
            .await
            .unwrap_or(Err(StoreError::Late(deadline)))
    }

    async fn ask_without_deadline<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.shared.jobs.as_ref().ok_or(StoreError::Stopped)?;
        jobs.send(job(answer)).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(StoreError::Thread)
}

fn task<T: Send + 'static>(
    bytes: usize,
    is_kept: bool,
    run: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    answer: oneshot::Sender<Result<T, StoreError>>,
) -> Box<dyn group_commit::Write> {
    Box::new(Task {
        bytes,
        is_kept,
        run,
        result: None,
        answer,
    })
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.jobs.take());
        drop(self.reads.take());
        let threads = std::mem::take(self.threads.get_mut().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the store panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests;
