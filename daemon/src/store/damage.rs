//! A damaged database is kept aside, and a fresh one with what could be read takes its place.
//!
//! The order makes a crash at any point harmless: the fresh database is complete before the damaged one
//! moves, and its log moves before it does, because SQLite would replay a log it finds beside a database
//! that it does not belong to.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::account::AccountKey;
use super::progress::Progress;
use super::rows::Gap;
use super::{files, log, migrate, salvage};
use crate::clock;

/// What SQLite keeps beside a database.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// Whether an error says that the file is not what was written into it.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
        // Not from SQLite: a value is missing, or of another type than its column.
        None => true,
    }
}

/// Why there is no fresh database.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Puts a fresh database in the place of a damaged one. Returns what to tell people; the log of the fresh one
/// begins with it.
pub(super) fn replace(
    path: &Path,
    key: &AccountKey,
    why: &str,
    progress: &Progress,
) -> Result<String, ReplaceError> {
    let fresh = fresh(path);
    remove_database(&fresh)?;
    files::write_atomically(&fresh, &[])?;
    let mut connection = Connection::open_with_flags(&fresh, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    progress.watch(&mut connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    migrate::migrate(&mut connection, 0, key)?;
    let aside = free_name(path);
    let now = clock::now().unix.as_millis();
    let transaction = connection.transaction()?;
    let salvaged = salvage::copy(path, &transaction, now, progress)?;
    let note = format!(
        "the database {} of {key} was damaged ({why}). It is kept as {}, and a fresh one has taken its place, with \
         {salvaged}",
        path.display(),
        aside.display()
    );
    log::gap(&transaction, now, &Gap::DatabaseDamaged { text: note.clone() })?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)?;

    for companion in COMPANIONS {
        rename_if_there(
            &files::with_suffix(path, companion),
            &files::with_suffix(&aside, companion),
        )?;
    }
    files::sync_directory(path)?;
    std::fs::rename(path, &aside)?;
    files::sync_directory(path)?;
    std::fs::rename(&fresh, path)?;
    files::sync_directory(path)?;
    Ok(note)
}

/// Ends a replacement that was cut short: once the damaged database has moved, the fresh one is complete.
pub(super) fn finish_replacement(path: &Path) -> io::Result<()> {
    let fresh = fresh(path);
    if !fresh.try_exists()? {
        return Ok(());
    }
    if path.try_exists()? {
        return remove_database(&fresh);
    }
    for companion in COMPANIONS {
        files::remove(&files::with_suffix(path, companion))?;
    }
    std::fs::rename(&fresh, path)?;
    files::sync_directory(path)
}

fn free_name(path: &Path) -> PathBuf {
    let seconds = clock::now().unix.as_millis().div_euclid(1000);
    (seconds..)
        .map(|seconds| files::with_suffix(path, &format!(".damaged-{seconds}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| files::with_suffix(path, ".damaged"))
}

fn fresh(path: &Path) -> PathBuf {
    files::with_suffix(path, ".fresh")
}

fn remove_database(path: &Path) -> io::Result<()> {
    files::remove(path)?;
    for companion in COMPANIONS.iter().chain(&["-journal"]) {
        files::remove(&files::with_suffix(path, companion))?;
    }
    Ok(())
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
