//! One SQLite database for each account, in a directory named by a hash of (App Key, user id).

use std::fmt;
use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};

use super::damage::{self, is_damage};
use super::progress::{Progress, unwatch};
use super::{check, files, migrate};
use crate::paths;

/// No table has had so many rows; SQLite would say that the disk is full when it runs out of ids.
pub(super) const LARGEST_ID: i64 = 1 << 52;

/// Whose database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountKey {
    pub app_key: String,
    pub user_id: String,
}

impl AccountKey {
    /// The name of the account's directory: no user id can leave it, and none is too long for it.
    pub(super) fn directory(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.app_key.as_bytes());
        hash.update([0]);
        hash.update(self.user_id.as_bytes());
        hash.finalize()
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Display for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of App Key {}", self.user_id, self.app_key)
    }
}

/// The account's database is open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenedAccount {
    /// What happened to it (damage, salvage), for people to read.
    pub note: Option<String>,
    /// Random, made with the file: an offset counts within one epoch only.
    pub epoch: String,
}

/// The account's database cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct OpenError {
    /// Which file, and why.
    pub text: String,
}

/// How much is read before a database counts as healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thoroughness {
    /// Its header, its layout and its name plate: the same for a large database as for a small one.
    Cheap,
    /// Every page, because something has been seen.
    Everything,
}

/// Why one attempt at opening did not succeed.
pub(super) enum Trouble {
    /// The file is not what was written into it.
    Damaged(String),
    /// It is not ours, or cannot be read at all: it stays as it is.
    Unusable(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            Self::Damaged(error.to_string())
        } else {
            Self::Unusable(error.to_string())
        }
    }
}

/// An open database.
pub(super) struct Account {
    key: AccountKey,
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
    connection: Connection,
}

impl Account {
    /// Opens, makes, migrates or repairs.
    pub(super) fn open(
        accounts: &Path,
        key: &AccountKey,
        thoroughness: Thoroughness,
        progress: &Progress,
    ) -> Result<(Self, OpenedAccount), OpenError> {
        let directory = accounts.join(key.directory());
        for (what, made) in [
            ("accounts directory", accounts),
            ("account directory", &directory),
        ] {
            paths::private_directory(what, made).map_err(|error| OpenError {
                text: format!("the database of {key} cannot be opened: {error}"),
            })?;
        }
        let path = directory.join("account.db");
        let unusable = |why: String| OpenError {
            text: format!("the database {} of {key} cannot be opened: {why}", path.display()),
        };
        damage::finish_replacement(&path).map_err(|error| unusable(error.to_string()))?;
        prepare_file(&path).map_err(|error| unusable(error.to_string()))?;
        let (connection, note) = match attempt(&path, key, thoroughness, progress) {
            Ok(connection) => (connection, None),
            Err(Trouble::Unusable(why)) => return Err(unusable(why)),
            Err(Trouble::Damaged(why)) => {
                let note = damage::replace(&path, key, &why, progress).map_err(|error| {
                    unusable(format!("it is damaged ({why}) and cannot be replaced: {error}"))
                })?;
                tracing::warn!(note, "a database was damaged");
                match attempt(&path, key, Thoroughness::Cheap, progress) {
                    Ok(connection) => (connection, Some(note)),
                    Err(Trouble::Unusable(why) | Trouble::Damaged(why)) => return Err(unusable(why)),
                }
            }
        };
        let file = inode(&path).map_err(|error| unusable(error.to_string()))?;
        let account = Self {
            key: key.clone(),
            file,
            connection,
            path: path.clone(),
        };
        let epoch = account.epoch().map_err(|error| unusable(error.to_string()))?;
        Ok((account, OpenedAccount { note, epoch }))
    }

    pub(super) fn key(&self) -> &AccountKey {
        &self.key
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the open file is still the one with the name.
    pub(super) fn is_in_place(&self) -> bool {
        inode(&self.path).is_ok_and(|found| found == self.file)
    }

    /// The answer for one who opens what is open; it reads the name plate again.
    pub(super) fn opened(&self) -> rusqlite::Result<OpenedAccount> {
        Ok(OpenedAccount {
            note: None,
            epoch: self.epoch()?,
        })
    }

    fn epoch(&self) -> rusqlite::Result<String> {
        read_meta(&self.connection, "epoch")
    }
}

/// Makes the file if it is missing, for its owner alone: SQLite gives its log the same mode.
fn prepare_file(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => return Err(io::Error::other("it is not a regular file")),
        Ok(found) if found.mode() & 0o077 != 0 => {
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)?;
            files::sync_directory(path)?;
        }
        Err(error) => return Err(error),
    }
    // SQLite would say only that it is unable to open the file, not why.
    OpenOptions::new().read(true).write(true).open(path).map(drop)
}

/// Opens, and proves that it is ours and whole. A file that is not ours is left as it is, to the byte.
fn attempt(
    path: &Path,
    key: &AccountKey,
    thoroughness: Thoroughness,
    progress: &Progress,
) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    progress.watch(&mut connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // The doctor's check reads at the same time.
    connection.busy_timeout(Duration::from_secs(5))?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let version = usize::try_from(version)
        .ok()
        .filter(|version| *version <= migrate::NEWEST)
        .ok_or_else(|| {
            Trouble::Unusable(format!(
                "it is of version {version}, and this imd knows versions up to {}. Run the imd that wrote it",
                migrate::NEWEST
            ))
        })?;
    if version == 0 && objects > 0 {
        return Err(Trouble::Unusable(
            "it holds tables that imd did not make".to_owned(),
        ));
    }
    let read_all = thoroughness == Thoroughness::Everything || has_odd_length(&connection, path)?;
    if read_all && let Some(found) = check::quick_check(&connection)? {
        return Err(Trouble::Damaged(found));
    }
    configure(&connection)?;
    migrate::migrate(&mut connection, version, key)?;
    verify(&connection, key)?;
    if read_all {
        mend_indexes(&connection)?;
    }
    recount_outbox(&connection)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    unwatch(&mut connection)?;
    Ok(connection)
}

fn configure(connection: &Connection) -> Result<(), Trouble> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Trouble::Unusable(format!(
            "its file system allows no write-ahead log (journal mode {mode})"
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(super::set_up(connection)?)
}

/// The name plate is there, and the name is the account's.
fn verify(connection: &Connection, key: &AccountKey) -> Result<(), Trouble> {
    let mut there =
        connection.prepare("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1")?;
    for table in migrate::TABLES {
        let count: i64 = there.query_row([table], |row| row.get(0))?;
        if count != 1 {
            return Err(Trouble::Damaged(format!("the table {table} is missing")));
        }
    }
    let found = AccountKey {
        app_key: read_meta(connection, "app_key")?,
        user_id: read_meta(connection, "user_id")?,
    };
    read_meta(connection, "epoch")?;
    let counters = connection
        .prepare("SELECT name, seq FROM sqlite_sequence")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, i64)>>>()?;
    for (table, used) in counters {
        let largest = format!(
            "SELECT coalesce(max(rowid), 0) FROM \"{}\"",
            table.replace('"', "\"\"")
        );
        let largest: i64 = connection.query_row(&largest, [], |row| row.get(0))?;
        if used.max(largest) > LARGEST_ID {
            return Err(Trouble::Damaged(format!(
                "the table {table} has no room for another row"
            )));
        }
    }
    if found != *key {
        return Err(Trouble::Unusable(format!("it is the database of {found}")));
    }
    Ok(())
}

/// A damaged index is made again from its table. What is then still contradictory is damage.
fn mend_indexes(connection: &Connection) -> Result<(), Trouble> {
    let Some(found) = check::whole_check(connection)? else {
        return Ok(());
    };
    connection.execute_batch("REINDEX")?;
    if let Some(found) = check::whole_check(connection)? {
        return Err(Trouble::Damaged(found));
    }
    tracing::warn!(
        found,
        "an index of the database was damaged, and has been made again"
    );
    Ok(())
}

/// The count decides whether anything can be sent, so it is not believed for ever.
fn recount_outbox(connection: &Connection) -> rusqlite::Result<()> {
    const COUNTED: &str = "SELECT 1, count(*), coalesce(sum(bytes), 0) FROM outbox WHERE state = 10";
    let is_right = connection
        .prepare(&format!(
            "SELECT row, messages, bytes FROM outbox_size EXCEPT {COUNTED}"
        ))?
        .query([])?
        .next()?
        .is_none();
    let rows: i64 = connection.query_row("SELECT count(*) FROM outbox_size", [], |row| row.get(0))?;
    if !is_right || rows != 1 {
        connection.execute(
            &format!("INSERT OR REPLACE INTO outbox_size (row, messages, bytes) {COUNTED}"),
            [],
        )?;
    }
    Ok(())
}

fn read_meta(connection: &Connection, name: &str) -> rusqlite::Result<String> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [name], |row| row.get(0))
}

/// SQLite writes whole pages, so a file of another length has been cut or added to by somebody else.
fn has_odd_length(connection: &Connection, path: &Path) -> Result<bool, Trouble> {
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let length = std::fs::metadata(path)
        .map_err(|error| Trouble::Unusable(error.to_string()))?
        .len();
    Ok(length
        .checked_rem(page.unsigned_abs())
        .is_some_and(|rest| rest != 0))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests;
