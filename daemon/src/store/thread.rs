//! The thread that owns the files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::account::{Account, AccountKey, OpenError, OpenedAccount};
use super::check::{AccountCheck, Checker};
use super::session::{Session, SessionFile};
use super::{StoreError, account};

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
    account: Option<Account>,
    checker: Checker,
    /// Somebody has seen damage in the open database: the next open reads all of it.
    suspect: Arc<AtomicBool>,
}

impl Worker {
    pub(super) fn new(data_dir: PathBuf, session_file: SessionFile) -> Self {
        let suspect = Arc::new(AtomicBool::new(false));
        Self {
            data_dir,
            session_file,
            account: None,
            checker: Checker::new(Arc::clone(&suspect)),
            suspect,
        }
    }

    /// Does one job after the other until the last handle is gone, or [`Job::Stop`].
    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            match job {
                Job::SaveSession { session, answer } => reply(answer, self.session_file.save(&session)),
                Job::OpenAccount { key, answer } => reply(answer, self.open(&key)),
                Job::Check { answer } => {
                    let path = self.account.as_ref().map(|account| account.path().to_owned());
                    self.checker.start(self.data_dir.clone(), path, answer);
                }
                Job::Ping { answer } => reply(answer, ()),
                Job::Stop { answer } => {
                    self.account = None;
                    reply(answer, ());
                    return;
                }
            }
        }
    }

    fn open(&mut self, key: &AccountKey) -> Result<OpenedAccount, OpenError> {
        let suspect = self.suspect.swap(false, Ordering::Relaxed);
        if !suspect
            && let Some(account) = &self.account
            && account.key() == key
            && account.is_in_place()
        {
            match account.opened() {
                Ok(opened) => return Ok(opened),
                Err(error) => tracing::warn!(%error, "the open database is read again from the start"),
            }
        }
        // Closed before another is opened, and before a damaged one is moved.
        self.account = None;
        let thoroughness = if suspect {
            account::Thoroughness::Everything
        } else {
            account::Thoroughness::Cheap
        };
        let (account, opened) = Account::open(&self.data_dir.join("accounts"), key, thoroughness)?;
        self.account = Some(account);
        Ok(opened)
    }
}

fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // An error means that nobody waits any more.
    let _: Result<(), T> = answer.send(value);
}
