//! Events that come from the connection, not from a message.

use super::now;
use crate::store::rows::Gap;
use crate::store::{Store, StoreError, log};

impl Store {
    /// Logs that something may be missing.
    ///
    /// # Errors
    /// It is not logged.
    pub async fn note_gap(&self, gap: Gap) -> Result<(), StoreError> {
        self.write(move |transaction| log::gap(transaction, now(), &gap))
            .await
    }

    /// Logs that what had waited at the server has been read (`complete`), or that nobody can say.
    ///
    /// # Errors
    /// It is not logged.
    pub async fn offline_sync_completed(&self, complete: bool) -> Result<(), StoreError> {
        self.write(move |transaction| log::offline_sync_completed(transaction, now(), complete))
            .await
    }
}
