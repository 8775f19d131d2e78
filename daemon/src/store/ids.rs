//! The ids of people and groups that stand in the databases.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

/// So many of each kind in each database.
const MOST: usize = 100_000;

const ALL: [&str; 2] = [
    "SELECT target_id FROM conversations LIMIT ?1",
    "SELECT group_id FROM groups LIMIT ?1",
];

/// The next sender behind one: found by the index, however many messages there are.
const NEXT_SENDER: &str = "SELECT min(sender) FROM seen WHERE sender > ?1";

/// All ids in the databases of a data directory, as far as they can be read. Nothing is changed.
#[must_use]
pub fn ids_on_disk(data_dir: &Path) -> BTreeSet<String> {
    let accounts = std::fs::read_dir(data_dir.join("accounts"));
    let databases = accounts
        .into_iter()
        .flatten()
        .flatten()
        .map(|account| account.path().join("account.db"));
    let mut ids = BTreeSet::new();
    for database in databases.filter(|path| path.exists()) {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read = Connection::open_with_flags(&database, flags)
            .and_then(|connection| collect(&connection, &mut ids));
        if let Err(error) = read {
            tracing::warn!(database = %database.display(), %error, "not all ids can be read");
        }
    }
    ids
}

fn collect(connection: &Connection, ids: &mut BTreeSet<String>) -> rusqlite::Result<()> {
    let owner = connection
        .query_row("SELECT value FROM meta WHERE key = 'user_id'", [], |row| {
            row.get(0)
        })
        .optional()?;
    ids.extend(owner);
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    for all in ALL {
        let mut statement = connection.prepare(all)?;
        for id in statement.query_map([most], |row| row.get(0))? {
            ids.insert(id?);
        }
    }
    let mut statement = connection.prepare(NEXT_SENDER)?;
    let mut last = String::new();
    for _ in 0..MOST {
        let found: Option<String> = statement.query_row([&last], |row| row.get(0))?;
        let Some(id) = found else { break };
        ids.insert(id.clone());
        last = id;
    }
    Ok(())
}
