//! The account database and the remembered session, on their own thread. Knows neither core nor rpc: its
//! rows are its own types.
//!
//! ```text
//!   link, rpc, watchdog ── jobs (64) ──▶ imd-store ──▶ session.json          (session)
//!            ◀── one answer to each ──             ──▶ accounts/…/account.db (account, damage)
//!                                        imd-check ──▶ the same, read only   (check)
//! ```
//! There is one writer, and it does one job at a time, in the order they came. When 64 jobs wait, the next
//! caller waits too.

mod account;
mod check;
mod damage;
mod files;
mod installation;
mod migrate;
pub mod read;
pub mod rows;
mod session;
mod thread;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub use account::{AccountKey, OpenError, OpenedAccount};
pub use check::{AccountCheck, AccountReport, QuickCheck};
pub use session::{Secret, Session};

use session::SessionFile;
use thread::{Job, Worker};

const QUEUE: usize = 64;

/// A small write with its fsync. A disk that takes longer is as good as gone.
const SAVE_DEADLINE: Duration = Duration::from_secs(30);

/// A damaged database is read from end to end before it is replaced.
const OPEN_DEADLINE: Duration = Duration::from_secs(120);

/// It also reads everything, on a thread of its own.
const CHECK_DEADLINE: Duration = Duration::from_secs(60);

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
    #[error("the store did not answer within {} s: the disk hangs, or is very slow", .0.as_secs())]
    Late(Duration),
}

/// A way to the store's thread. Cheap to clone; when the last one goes, the thread does what it has been
/// asked, closes the database and is joined.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` only while it is dropped.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    installation: String,
}

impl Store {
    /// Reads what the last run left, and starts the thread. Without `remember` nothing is kept in the
    /// session file, and an existing one is removed.
    ///
    /// # Errors
    /// A file that is neither readable nor merely damaged, or no thread.
    pub fn start(paths: StorePaths, remember: bool) -> Result<(Self, Option<Session>), StoreError> {
        let installation = installation::read_or_make(&paths.data_dir.join("installation"))?;
        let (session_file, remembered) = SessionFile::start(paths.session_file, remember)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        let worker = Worker::new(paths.data_dir, session_file);
        let thread = std::thread::Builder::new()
            .name("imd-store".to_owned())
            .spawn(move || worker.run(queue))
            .map_err(StoreError::Thread)?;
        let shared = Shared {
            jobs: Some(jobs),
            thread: Mutex::new(Some(thread)),
            installation,
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

    /// Once through the thread and back: it lives.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] and [`StoreError::Late`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.ask(PING_DEADLINE, |answer| Job::Ping { answer }).await
    }

    /// Closes the database once all jobs before are done. Whoever asks later is told that the store has
    /// stopped. The caller says how long it waits.
    pub async fn stop(&self) {
        // An error means that it has stopped already.
        let _: Result<(), _> = self.ask(OPEN_DEADLINE, |answer| Job::Stop { answer }).await;
    }

    /// Gives the thread up: dropping the last handle no longer waits for it. For a stop that has to end even
    /// if the disk hangs.
    pub fn abandon(&self) {
        // Without its handle the thread is detached, and the end of the process ends it.
        drop(
            self.shared
                .thread
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    async fn ask<T>(
        &self,
        deadline: Duration,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let jobs = self.shared.jobs.as_ref().ok_or(StoreError::Stopped)?;
        let round_trip = async {
            jobs.send(job(answer)).await.map_err(|_| StoreError::Stopped)?;
            answered.await.map_err(|_| StoreError::Stopped)
        };
        tokio::time::timeout(deadline, round_trip)
            .await
            .unwrap_or(Err(StoreError::Late(deadline)))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        drop(self.jobs.take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the store's thread panicked");
        }
    }
}

#[cfg(test)]
mod tests;
