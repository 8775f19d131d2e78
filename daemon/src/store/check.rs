//! The doctor's look at the open database: read only, on a thread of its own, because it reads everything.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tokio::sync::oneshot;

use super::account::AccountKey;
use super::files;

/// What the doctor is told of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountCheck {
    pub data_dir: PathBuf,
    /// Bytes that can still be written; `None` if the file system does not say.
    pub free_disk: Option<u64>,
    /// `None` while no account is open.
    pub account: Option<AccountReport>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountReport {
    pub path: PathBuf,
    /// Bytes of the database and its log.
    pub size: u64,
    pub quick_check: QuickCheck,
    /// How many messages came in that could not be read; 0 as well while the database cannot be.
    pub unreadable: u64,
    /// Damaged databases beside it.
    pub kept_aside: Vec<PathBuf>,
}

/// What SQLite's own check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuickCheck {
    Healthy,
    /// What it found first. The next open repairs it.
    Damaged(String),
    /// Why there is no answer.
    NotRun(String),
}

/// Starts checks, one at a time.
pub(super) struct Checker {
    running: Arc<AtomicBool>,
    suspect: Arc<AtomicBool>,
}

impl Checker {
    pub(super) fn new(suspect: Arc<AtomicBool>) -> Self {
        Self {
            running: Arc::default(),
            suspect,
        }
    }

    /// Answers when the check is done.
    pub(super) fn start(
        &self,
        data_dir: PathBuf,
        database: Option<PathBuf>,
        answer: oneshot::Sender<AccountCheck>,
    ) {
        if self.running.swap(true, Ordering::AcqRel) {
            let busy = QuickCheck::NotRun("another check is running".to_owned());
            reply(answer, &data_dir, database, |_| busy);
            return;
        }
        let running = Running(Arc::clone(&self.running));
        let suspect = Arc::clone(&self.suspect);
        let started = std::thread::Builder::new()
            .name("imd-check".to_owned())
            .spawn(move || {
                reply(answer, &data_dir, database, |path| {
                    let result = run(path);
                    if matches!(result, QuickCheck::Damaged(_)) {
                        suspect.store(true, Ordering::Relaxed);
                    }
                    // The next check may start before this answer is read.
                    drop(running);
                    result
                });
            });
        if let Err(error) = started {
            tracing::warn!(%error, "the database check has no thread to run on");
        }
    }
}

struct Running(Arc<AtomicBool>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn reply(
    answer: oneshot::Sender<AccountCheck>,
    data_dir: &Path,
    database: Option<PathBuf>,
    check: impl FnOnce(&Path) -> QuickCheck,
) {
    // An error means that nobody waits any more.
    let _: Result<(), AccountCheck> = answer.send(report(data_dir, database, check));
}

fn report(
    data_dir: &Path,
    database: Option<PathBuf>,
    check: impl FnOnce(&Path) -> QuickCheck,
) -> AccountCheck {
    let account = database.map(|path| AccountReport {
        size: size(&path) + size(&files::with_suffix(&path, "-wal")),
        unreadable: unreadable(&path),
        kept_aside: kept_aside(&path),
        quick_check: check(&path),
        path,
    });
    AccountCheck {
        data_dir: data_dir.to_owned(),
        free_disk: free_disk(data_dir),
        account,
    }
}

/// The doctor's look while no daemon runs. `key`: whose database.
#[must_use]
pub fn look_at_account(data_dir: &Path, key: Option<&AccountKey>) -> AccountCheck {
    let path = key.map(|key| data_dir.join("accounts").join(key.directory()).join("account.db"));
    report(data_dir, path.filter(|path| path.exists()), run)
}

fn unreadable(path: &Path) -> u64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let count = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.query_row("SELECT count(*) FROM unreadable", [], |row| row.get::<_, i64>(0))
    });
    count.map_or(0, i64::unsigned_abs)
}

fn kept_aside(path: &Path) -> Vec<PathBuf> {
    let beside = path
        .parent()
        .and_then(|directory| std::fs::read_dir(directory).ok());
    let mut aside: Vec<PathBuf> = beside
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("account.db.damaged") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
        .collect();
    aside.sort();
    aside
}

fn run(path: &Path) -> QuickCheck {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let checked = Connection::open_with_flags(path, flags).and_then(|connection| quick_check(&connection));
    match checked {
        Ok(None) => QuickCheck::Healthy,
        Ok(Some(damage)) => QuickCheck::Damaged(damage),
        Err(error) if super::damage::is_damage(&error) => QuickCheck::Damaged(error.to_string()),
        Err(error) => QuickCheck::NotRun(error.to_string()),
    }
}

/// Reads the whole database; the first damage found.
pub(super) fn quick_check(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(if found == "ok" { None } else { Some(found) })
}

/// The indexes against their tables, and the references, besides; the first damage found. It takes longer.
pub(super) fn whole_check(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Ok(Some(found));
    }
    let dangling: Option<String> = connection
        .query_row("PRAGMA foreign_key_check", [], |row| row.get(0))
        .optional()?;
    Ok(dangling.map(|table| format!("the table {table} refers to rows that are not there")))
}

pub(super) fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

pub(super) fn free_disk(path: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(path).ok()?;
    found.f_bavail.checked_mul(found.f_frsize)
}
