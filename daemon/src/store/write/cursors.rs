//! How far apps have read the log.

use rusqlite::OptionalExtension as _;

use crate::store::{Store, StoreError};

impl Store {
    /// Where this app left this cursor; `None`: it has never set it.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn cursor(&self, app_id: String, name: String) -> Result<Option<u64>, StoreError> {
        self.write(move |transaction| {
            transaction
                .prepare_cached("SELECT event_offset FROM cursors WHERE app_id = ?1 AND name = ?2")?
                .query_row((&app_id, &name), |row| row.get::<_, i64>(0))
                .map(i64::unsigned_abs)
                .optional()
        })
        .await
    }

    /// Moves a cursor forward; it never moves back, so the order of two acknowledgements does not matter.
    ///
    /// # Errors
    /// It is where it was.
    pub async fn set_cursor(&self, app_id: String, name: String, offset: u64) -> Result<(), StoreError> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        self.write(move |transaction| {
            transaction
                .prepare_cached(
                    "INSERT INTO cursors (app_id, name, event_offset) VALUES (?1, ?2, ?3)
                     ON CONFLICT DO UPDATE SET event_offset = excluded.event_offset
                     WHERE excluded.event_offset > event_offset",
                )?
                .execute((&app_id, &name, offset))?;
            Ok(())
        })
        .await
    }
}
