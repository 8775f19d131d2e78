//! Calls that count in one epoch only. Which database is open is looked at in one step with the rest, for
//! another may be opened at any time.

use rusqlite::Connection;

use super::read::log_page;
use super::rows::LogPage;
use super::write::cursors;
use super::{Store, StoreError};

/// The open database is of another epoch: nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the database that is open is of another epoch")]
pub struct OtherEpoch;

impl Store {
    /// As [`Store::log_page`], of one epoch.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn log_page_in(
        &self,
        epoch: String,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Result<LogPage, OtherEpoch>, StoreError> {
        self.read(move |connection| {
            if !is_open(connection, &epoch)? {
                return Ok(Err(OtherEpoch));
            }
            log_page(connection, after, max_entries, max_bytes).map(Ok)
        })
        .await
    }

    /// As [`Store::cursor`], of one epoch.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn cursor_in(
        &self,
        epoch: String,
        app_id: String,
        name: String,
    ) -> Result<Result<Option<u64>, OtherEpoch>, StoreError> {
        self.write(move |transaction| {
            if !is_open(transaction, &epoch)? {
                return Ok(Err(OtherEpoch));
            }
            cursors::cursor(transaction, &app_id, &name).map(Ok)
        })
        .await
    }

    /// As [`Store::set_cursor`], of one epoch.
    ///
    /// # Errors
    /// It is where it was.
    pub async fn set_cursor_in(
        &self,
        epoch: String,
        app_id: String,
        name: String,
        offset: u64,
    ) -> Result<Result<(), OtherEpoch>, StoreError> {
        self.write(move |transaction| {
            if !is_open(transaction, &epoch)? {
                return Ok(Err(OtherEpoch));
            }
            cursors::set_cursor(transaction, &app_id, &name, offset).map(Ok)
        })
        .await
    }
}

fn is_open(connection: &Connection, epoch: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT value = ?1 FROM meta WHERE key = 'epoch'")?
        .query_row([epoch], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::rows::Gap;
    use crate::store::{AccountKey, StorePaths};

    #[tokio::test]
    async fn what_is_asked_of_another_epoch_is_neither_read_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StorePaths {
            data_dir: dir.path().to_owned(),
            session_file: dir.path().join("session.json"),
        };
        let (store, _) = Store::start(paths, true, Duration::from_secs(60)).unwrap();
        let key = AccountKey {
            app_key: "key".to_owned(),
            user_id: "alice".to_owned(),
        };
        let opened = store.open_account(key).await.unwrap();
        store.note_gap(Gap::SessionLost).await.unwrap();
        let ask = |epoch: &str| {
            let (store, epoch) = (store.clone(), epoch.to_owned());
            async move {
                let (app_id, name) = ("org.example.Chat".to_owned(), "main".to_owned());
                let set = store.set_cursor_in(epoch.clone(), app_id.clone(), name.clone(), 1);
                let set = set.await.unwrap();
                let page = store.log_page_in(epoch.clone(), 0, 10, 1000).await.unwrap();
                let cursor = store.cursor_in(epoch, app_id, name).await.unwrap();
                (set, page.map(|page| page.entries.len()), cursor)
            }
        };
        assert_eq!(
            ask("another").await,
            (Err(OtherEpoch), Err(OtherEpoch), Err(OtherEpoch))
        );
        let kept = store
            .cursor("org.example.Chat".to_owned(), "main".to_owned())
            .await;
        assert_eq!(kept.unwrap(), None);
        assert_eq!(ask(&opened.epoch).await, (Ok(()), Ok(1), Ok(Some(1))));
    }
}
