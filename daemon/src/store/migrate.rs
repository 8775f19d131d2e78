//! Numbered steps from one layout of the database to the next. Forward only; a step that is in a release is
//! never changed, and none deletes what has not been sent.

use rusqlite::{Connection, TransactionBehavior, params};
use uuid::Uuid;

use super::account::AccountKey;
use crate::clock;

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/001_account.sql"),
    include_str!("migrations/002_messages.sql"),
];

/// The version of a database after all steps.
pub(super) const NEWEST: usize = MIGRATIONS.len();

/// All tables of the newest layout: one that is missing is damage.
pub(super) const TABLES: [&str; 14] = [
    "meta",
    "groups",
    "conversations",
    "messages",
    "seen",
    "outbox",
    "outbox_size",
    "receipts_due",
    "group_senders",
    "events",
    "cursors",
    "unreadable",
    "search_queue",
    "search",
];

/// Takes a database from `version` to the newest layout, in one transaction with its version number. One
/// that was empty also gets its name plate.
pub(super) fn migrate(connection: &mut Connection, version: usize, key: &AccountKey) -> rusqlite::Result<()> {
    let pending = MIGRATIONS.get(version..).unwrap_or_default();
    if pending.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in pending {
        transaction.execute_batch(step)?;
    }
    if version == 0 {
        let created = clock::now().unix.as_millis().to_string();
        let epoch = Uuid::new_v4().simple().to_string();
        for (name, value) in [
            ("app_key", key.app_key.as_str()),
            ("user_id", &key.user_id),
            ("epoch", &epoch),
            ("created", &created),
        ] {
            transaction.execute(
                "INSERT INTO meta (key, value) VALUES (?1, ?2)",
                params![name, value],
            )?;
        }
    }
    transaction.pragma_update(None, "user_version", NEWEST as i64)?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(connection: &Connection) -> Vec<(String, String, String)> {
        let mut statement = connection
            .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name")
            .unwrap();
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, bare(&row.get::<_, String>(2)?)))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    /// The words of a statement, without its comments and its layout.
    fn bare(statement: &str) -> String {
        let lines = statement
            .lines()
            .map(|line| line.split_once("--").map_or(line, |(code, _)| code));
        lines
            .flat_map(str::chars)
            .filter(|c| !c.is_whitespace())
            .collect()
    }

    #[test]
    fn schema_sql_says_what_the_migrations_make() {
        let key = AccountKey {
            app_key: "k".to_owned(),
            user_id: "u".to_owned(),
        };
        let mut made = Connection::open_in_memory().unwrap();
        migrate(&mut made, 0, &key).unwrap();
        let documented = Connection::open_in_memory().unwrap();
        documented.execute_batch(include_str!("schema.sql")).unwrap();
        assert_eq!(layout(&made), layout(&documented));
    }

    #[test]
    fn the_list_of_tables_is_whole() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let mut statement = connection
            .prepare(
                "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual') \
                 AND name NOT LIKE 'sqlite_%' ORDER BY name",
            )
            .unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0));
        let names: Vec<_> = names.unwrap().map(Result::unwrap).collect();
        let mut listed = TABLES;
        listed.sort_unstable();
        assert_eq!(names, listed);
    }

    #[test]
    fn every_table_is_strict() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("schema.sql")).unwrap();
        let loose: i64 = connection
            .query_row(
                "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
                 AND name NOT LIKE 'sqlite_%' AND strict = 0",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(loose, 0);
    }
}
