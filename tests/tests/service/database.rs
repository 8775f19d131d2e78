//! Another program that uses an account's database, as a backup might.

use std::fs;
use std::path::{Path, PathBuf};

use imd_tests::home::Home;
use rusqlite::Connection;

/// Holds the database's write lock until it is dropped: whoever writes waits.
pub(crate) struct Lock {
    _connection: Connection,
}

impl Lock {
    /// Takes the lock of the one account of this home.
    pub(crate) fn take(home: &Home) -> Self {
        let connection = Connection::open(account(&home.data_directory())).unwrap();
        connection.busy_timeout(imd_tests::wait::SOON).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Self {
            _connection: connection,
        }
    }
}

fn account(data_directory: &Path) -> PathBuf {
    let accounts = fs::read_dir(data_directory.join("accounts")).unwrap();
    let mut databases = accounts.map(|entry| entry.unwrap().path().join("account.db"));
    let database = databases.next().unwrap();
    assert_eq!(databases.next(), None, "there is one account");
    database
}
