//! Receipts: telling senders that their messages are committed here.

use rusqlite::Transaction;

use crate::store::rows::DueReceipts;
use crate::store::{Store, StoreError, message_row};

impl Store {
    /// Receipts to be sent, oldest first, put together by peer. `limit` counts messages.
    ///
    /// # Errors
    /// They cannot be read.
    pub async fn due_receipts(&self, limit: usize) -> Result<Vec<DueReceipts>, StoreError> {
        self.write(move |transaction| due(transaction, limit)).await
    }

    /// The server has these.
    ///
    /// # Errors
    /// They are still due.
    pub async fn receipts_sent(&self, sent: Vec<DueReceipts>) -> Result<(), StoreError> {
        self.write(move |transaction| {
            let mut delete =
                transaction.prepare_cached("DELETE FROM receipts_due WHERE peer = ?1 AND uid = ?2")?;
            for DueReceipts { peer, uids } in &sent {
                for uid in uids {
                    delete.execute((peer, uid))?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn due(transaction: &Transaction<'_>, limit: usize) -> rusqlite::Result<Vec<DueReceipts>> {
    let mut statement =
        transaction.prepare_cached("SELECT peer, uid FROM receipts_due ORDER BY receipt_id LIMIT ?1")?;
    let mut rows = statement.query([i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut due: Vec<DueReceipts> = Vec::new();
    while let Some(row) = rows.next()? {
        let (peer, uid) = (message_row::text(row, 0)?, message_row::text(row, 1)?);
        match due.iter_mut().find(|receipts| receipts.peer == peer) {
            Some(receipts) => receipts.uids.push(uid),
            None => due.push(DueReceipts {
                peer,
                uids: vec![uid],
            }),
        }
    }
    Ok(due)
}
