//! The thread that owns the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use super::account::{Account, AccountKey, OpenError, OpenedAccount, Thoroughness};
use super::check::{AccountCheck, Checker};
use super::figures::Figures;
use super::group_commit::{Fault, MAX_BYTES, MAX_WRITES, Tried, Write};
use super::journal::{Journal, StatusNote};
use super::open::{Open, Published, now};
use super::reader::ReadSide;
use super::session::{Session, SessionFile};
use super::{StoreError, check, reader};

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
    NoteStatuses {
        notes: Vec<StatusNote>,
        answer: oneshot::Sender<()>,
    },
    StatusesSince {
        time: i64,
        answer: oneshot::Sender<Result<Vec<StatusNote>, StoreError>>,
    },
    Measure {
        answer: oneshot::Sender<Figures>,
    },
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

pub(super) struct Worker {
    data_dir: PathBuf,
    session_file: SessionFile,
    journal: Journal,
    account: Option<Open>,
    read_side: ReadSide,
    published: Published,
    /// Times the waits of this thread.
    runtime: Runtime,
    checker: Checker,
    /// Somebody has seen damage in the open database: the next open reads all of it.
    suspect: Arc<AtomicBool>,
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
        journal: Journal,
        read_side: ReadSide,
        published: Published,
        runtime: Runtime,
        suspect: Arc<AtomicBool>,
    ) -> Self {
        Self {
            data_dir,
            session_file,
            journal,
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
                Woken::Job(Job::NoteStatuses { notes, answer }) => {
                    self.journal.note(&notes);
                    reply(answer, ());
                }
                Woken::Job(Job::StatusesSince { time, answer }) => {
                    reply(answer, self.journal.since(time));
                }
                Woken::Job(Job::Measure { answer }) => {
                    let account = self.account.as_mut().and_then(Open::measure);
                    let measured = Figures {
                        counted: self.published.counters.read(),
                        queue: 0,
                        free_disk: check::free_disk(&self.data_dir),
                        account,
                    };
                    reply(answer, measured);
                }
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
        // Reads wait for the end of it.
        let read_side = self.read_side.clone();
        let mut reading = read_side.lock();
        // Closed before another is opened, and before a damaged one is moved.
        *reading = None;
        self.account = None;
        let (account, opened) = Account::open(
            &self.data_dir.join("accounts"),
            key,
            thoroughness,
            &self.published.progress,
        )?;
        let connection = reader::open(account.path()).map_err(|error| OpenError {
            text: format!(
                "the database {} of {key} cannot be opened for reading: {error}",
                account.path().display()
            ),
        })?;
        *reading = Some(connection);
        let open = self.account.insert(Open::new(account, opened.epoch.clone()));
        open.publish(&self.published);
        self.published.full_disk.send_replace(None);
        // What was to be published before this is to be published still.
        self.published.outbox.send_modify(|_| {});
        Ok(opened)
    }

    /// What waits for a full disk is given up: it has not been answered, so whoever sent it brings it again.
    fn close(&mut self) {
        *self.read_side.lock() = None;
        self.account = None;
    }
}

fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // An error means that nobody waits any more.
    let _: Result<(), T> = answer.send(value);
}
