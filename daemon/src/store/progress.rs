//! Signs of life from a job that may take minutes: a database that is read from end to end, or repaired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

/// How much SQLite does between two signs: a few milliseconds' worth.
const INSTRUCTIONS: i32 = 100_000;

/// Counts the signs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Moves for as long as something gets done.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One step is done.
    pub(super) fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what this connection does, until [`unwatch`].
    pub(super) fn watch(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let progress = self.clone();
        let sign = move || {
            progress.step();
            // It is not to be interrupted.
            false
        };
        connection.progress_handler(INSTRUCTIONS, Some(sign))
    }
}

/// Nobody counts what the connection does any longer.
pub(super) fn unwatch(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.progress_handler(0, None::<fn() -> bool>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_read_gives_signs_of_life_and_none_when_it_is_not_watched() {
        let mut connection = Connection::open_in_memory().unwrap();
        let long = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
                    SELECT sum(i) FROM n";
        let read = |connection: &Connection| {
            connection
                .query_row(long, [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        let progress = Progress::default();
        progress.watch(&mut connection).unwrap();
        read(&connection);
        let signs = progress.count();
        assert!(signs > 1, "{signs}");
        unwatch(&mut connection).unwrap();
        read(&connection);
        assert_eq!(progress.count(), signs);
    }

    #[test]
    fn a_check_of_a_whole_database_gives_signs_of_life() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT);
                 WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 200000)
                 INSERT INTO t SELECT i, 'text ' || i FROM n;
                 CREATE INDEX t_b ON t (b);",
            )
            .unwrap();
        let progress = Progress::default();
        progress.watch(&mut connection).unwrap();
        assert_eq!(super::super::check::quick_check(&connection).unwrap(), None);
        assert!(progress.count() > 1, "{}", progress.count());
    }
}
