//! The thread that owns the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

use super::StoreError;
use super::account::{Account, AccountKey, OpenError, OpenedAccount, Thoroughness};
use super::check::{AccountCheck, Checker};
use super::group_commit::{self, Fault, MAX_BYTES, MAX_WRITES, Tried, Write};
use super::idle::Idle;
use super::reader::ReadSide;
use super::rows::Tip;
use super::session::{Session, SessionFile};
use crate::clock;

/// How long a full disk is left alone, doubling.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(64);

/// A database that was found whole is not read from end to end again before this, whatever is said of it.
const CHECKED_FOR: Duration = Duration::from_mins(10);

/// What the thread is asked. Who has stopped waiting for the answer does not get it; the job is done all the
/// same.
pub(super) enum Job {
    SaveSession {
        session: Session,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    OpenAccount {
        key: AccountKey,
        answer: oneshot::Sender<Result<OpenedAccount, OpenError>>,
    },
    Write(Box<dyn Write>),
    Check {
        answer: oneshot::Sender<AccountCheck>,
    },
    Ping {
        answer: oneshot::Sender<()>,
    },
    Stop {
        answer: oneshot::Sender<()>,
    },
}

/// Who is told of commits.
pub(super) struct Published {
    pub(super) tip: watch::Sender<Tip>,
    pub(super) outbox: watch::Sender<u64>,
}

pub(super) struct Worker {
    data_dir: PathBuf,
    session_file: SessionFile,
    account: Option<Open>,
    read_side: ReadSide,
    published: Published,
    /// Times the waits of this thread.
    runtime: Runtime,
    checker: Checker,
    /// Somebody has seen damage in the open database: the next open reads all of it.
    suspect: Arc<AtomicBool>,
}

/// The open account, and what waits for it.
struct Open {
    account: Account,
    epoch: String,
    /// What happened to the database, for the next one who opens it.
    note: Option<String>,
    /// When all of it was read, and no damage found.
    found_whole: Option<Duration>,
    idle: Idle,
    stalled: Option<Stalled>,
}

/// Writes that wait until the disk has room. Times are on the boot clock.
struct Stalled {
    writes: Vec<Box<dyn Write>>,
    delay: Duration,
    at: Duration,
}

enum Woken {
    Job(Job),
    Time,
    /// Nobody can ask any more.
    End,
}

impl Worker {
    pub(super) fn new(
        data_dir: PathBuf,
        session_file: SessionFile,
        read_side: ReadSide,
        published: Published,
        runtime: Runtime,
        suspect: Arc<AtomicBool>,
    ) -> Self {
        Self {
            data_dir,
            session_file,
            account: None,
            read_side,
            published,
            runtime,
            checker: Checker::new(Arc::clone(&suspect)),
            suspect,
        }
    }

    /// Does one job after the other until the last handle is gone, or [`Job::Stop`].
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut next = None;
        loop {
            self.repair_if_suspect();
            if let Some(open) = &mut self.account {
                open.do_what_is_due(&self.published, &self.suspect);
            }
            let woken = next.take().map_or_else(|| self.wait(&mut jobs), Woken::Job);
            match woken {
                Woken::Time => {}
                Woken::End => break,
                Woken::Job(Job::Write(first)) => next = self.write(first, &mut jobs),
                Woken::Job(Job::SaveSession { session, answer }) => {
                    reply(answer, self.session_file.save(&session));
                }
                Woken::Job(Job::OpenAccount { key, answer }) => reply(answer, self.open(&key)),
                Woken::Job(Job::Check { answer }) => {
                    let path = self.account.as_ref().map(|open| open.account.path().to_owned());
                    self.checker.start(self.data_dir.clone(), path, answer);
                }
                Woken::Job(Job::Ping { answer }) => reply(answer, ()),
                Woken::Job(Job::Stop { answer }) => {
                    self.close();
                    reply(answer, ());
                    return;
                }
            }
        }
        self.close();
    }

    /// The next job, or the next point at which something is due without one.
    fn wait(&self, jobs: &mut mpsc::Receiver<Job>) -> Woken {
        let due = self.account.as_ref().map(Open::due);
        let received = match due {
            None => jobs.blocking_recv(),
            Some(due) => {
                if let Ok(job) = jobs.try_recv() {
                    return Woken::Job(job);
                }
                let wait = due.saturating_sub(now());
                let received = async { tokio::time::timeout(wait, jobs.recv()).await };
                match self.runtime.block_on(received) {
                    Ok(received) => received,
                    Err(_elapsed) => return Woken::Time,
                }
            }
        };
        received.map_or(Woken::End, Woken::Job)
    }

    /// Commits this write together with those that wait behind it. Returns the first job that is none.
    fn write(&mut self, first: Box<dyn Write>, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        let mut bytes = first.bytes();
        let mut writes = vec![first];
        let mut next = None;
        while writes.len() < MAX_WRITES && bytes < MAX_BYTES {
            match jobs.try_recv() {
                Ok(Job::Write(write)) if bytes.saturating_add(write.bytes()) <= MAX_BYTES => {
                    bytes += write.bytes();
                    writes.push(write);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_none) => break,
            }
        }
        match &mut self.account {
            Some(open) => open.write(writes, &self.published, &self.suspect),
            None => drop(Tried::refused(writes, &Fault::NoAccount).answer()),
        }
        next
    }

    fn open(&mut self, key: &AccountKey) -> Result<OpenedAccount, OpenError> {
        let is_suspect = self.suspect.load(Ordering::Relaxed);
        if !is_suspect
            && let Some(open) = &mut self.account
            && open.account.key() == key
            && open.account.is_in_place()
        {
            match open.account.opened() {
                Ok(mut opened) => {
                    opened.note = open.note.take();
                    return Ok(opened);
                }
                Err(error) => tracing::warn!(%error, "the open database is read again from the start"),
            }
        }
        let thoroughness = if is_suspect {
            Thoroughness::Everything
        } else {
            Thoroughness::Cheap
        };
        self.open_afresh(key, thoroughness)
    }

    /// Reads all of a database in which somebody has seen damage, and replaces it if that is so. Whoever
    /// opens it next is told.
    fn repair_if_suspect(&mut self) {
        if !self.suspect.load(Ordering::Relaxed) {
            return;
        }
        let Some(open) = &self.account else { return };
        if open.found_whole.is_some_and(|at| now() < at + CHECKED_FOR) {
            return;
        }
        let key = open.account.key().clone();
        match self.open_afresh(&key, Thoroughness::Everything) {
            Ok(opened) => {
                if let Some(open) = &mut self.account {
                    open.found_whole = opened.note.is_none().then(now);
                    open.note = opened.note;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the database cannot be repaired; an app has to connect again")
            }
        }
    }

    fn open_afresh(
        &mut self,
        key: &AccountKey,
        thoroughness: Thoroughness,
    ) -> Result<OpenedAccount, OpenError> {
        self.suspect.store(false, Ordering::Relaxed);
        // Closed before another is opened, and before a damaged one is moved.
        self.close();
        let (account, opened) = Account::open(&self.data_dir.join("accounts"), key, thoroughness)?;
        self.read_side.open(account.path()).map_err(|error| OpenError {
            text: format!(
                "the database {} of {key} cannot be opened for reading: {error}",
                account.path().display()
            ),
        })?;
        let open = self.account.insert(Open {
            account,
            epoch: opened.epoch.clone(),
            note: None,
            found_whole: None,
            idle: Idle::new(now()),
            stalled: None,
        });
        open.publish(&self.published);
        // What was to be published before this is to be published still.
        self.published.outbox.send_modify(|_| {});
        Ok(opened)
    }

    /// What waits for a full disk is given up: it has not been answered, so whoever sent it brings it again.
    fn close(&mut self) {
        self.read_side.close();
        self.account = None;
    }
}

impl Open {
    /// When [`Open::do_what_is_due`] has something to do.
    fn due(&self) -> Duration {
        let idle = self.idle.due();
        self.stalled.as_ref().map_or(idle, |stalled| idle.min(stalled.at))
    }

    fn do_what_is_due(&mut self, published: &Published, suspect: &AtomicBool) {
        let now = now();
        if self.idle.due() <= now {
            self.idle.run(self.account.connection(), now);
        }
        if let Some(mut stalled) = self.stalled.take_if(|stalled| stalled.at <= now) {
            // Whoever has gone will bring it again.
            stalled.writes.retain(|write| !write.is_abandoned());
            self.commit(stalled.writes, stalled.delay * 2, published, suspect);
            if self.stalled.is_none() {
                tracing::info!("what had waited for room on the disk is stored");
            }
        }
    }

    /// While some wait for room, what has to stay behind them waits too.
    fn write(&mut self, mut writes: Vec<Box<dyn Write>>, published: &Published, suspect: &AtomicBool) {
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
        let tried = group_commit::commit(self.account.connection(), writes);
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
        tracing::warn!(
            database = %self.account.path().display(), error = kept.why, retry_in = delay.as_secs(),
            "messages that came in cannot be stored, and are not acknowledged. Make room on this file system"
        );
        self.stalled = Some(Stalled {
            writes: kept.writes,
            delay,
            at: now() + delay,
        });
    }

    /// Tells how far the log is, and that there is something to publish. Both stand in SQLite's own counters
    /// of row ids, so no write can forget to say it.
    fn publish(&mut self, published: &Published) {
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

fn now() -> Duration {
    clock::now().boot.as_duration()
}

fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // An error means that nobody waits any more.
    let _: Result<(), T> = answer.send(value);
}
