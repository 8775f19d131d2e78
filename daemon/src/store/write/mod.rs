//! The writes of messages: each is a small function over a transaction, and a method of the store that runs
//! it in the group commit.

pub(super) mod cursors;
mod groups;
pub(super) mod housekeeping;
mod log;
pub(super) mod message;
mod outcome;
mod receipts;
mod receive;
mod send;

use rusqlite::Transaction;

use crate::clock;

/// The user the open database belongs to.
fn me(transaction: &Transaction<'_>) -> rusqlite::Result<String> {
    transaction
        .prepare_cached("SELECT value FROM meta WHERE key = 'user_id'")?
        .query_row([], |row| row.get(0))
}

/// The wall clock, in milliseconds since 1970.
fn now() -> i64 {
    clock::now().unix.as_millis()
}

#[cfg(test)]
mod tests;
