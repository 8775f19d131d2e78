//! The thread that reads, beside the writer, with a connection of its own that can only read.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;
use super::group_commit::Fault;

/// The open account's connection for reading. The writer puts it there, and takes it away before it closes
/// the database; a read holds the lock while it runs.
#[derive(Clone, Default)]
pub(super) struct ReadSide(Arc<Mutex<Option<Connection>>>);

impl ReadSide {
    /// No read runs while this is held.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the database at this path for reading.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.pragma_update(None, "query_only", true)?;
    super::set_up(&connection)?;
    Ok(connection)
}

/// One read, with the connection, if an account is open.
pub(super) type Read = Box<dyn FnOnce(Option<&Connection>) + Send>;

/// Reads one after the other until the last handle is gone.
pub(super) fn run(side: &ReadSide, mut reads: mpsc::Receiver<Read>) {
    while let Some(read) = reads.blocking_recv() {
        read(side.lock().as_ref());
    }
}

/// A read that sees one state of the database from its begin to its end.
pub(super) fn snapshot<T: Send + 'static>(
    read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    suspect: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<T, StoreError>>,
) -> Read {
    Box::new(move |connection| {
        let result = match connection {
            None => Err(Fault::NoAccount),
            Some(connection) => connection
                .unchecked_transaction()
                .and_then(|transaction| read(&transaction))
                .map_err(|error| Fault::of(&error)),
        };
        if let Err(Fault::Damage(error)) = &result {
            tracing::warn!(error, "a read has found damage: the whole database is checked");
            suspect.store(true, Ordering::Relaxed);
        }
        // An error means that nobody waits any more.
        let _: Result<(), _> = answer.send(result.map_err(StoreError::from));
    })
}
