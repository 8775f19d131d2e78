//! What is taken from a damaged database into the fresh one: what has not been sent, what must not be stored
//! twice, the conversations and the groups. The history is not: it is counted, and stays in the damaged file.
//!
//! Nothing that is read is trusted: a row that is not as imd writes it is left out, and the tables' own rules
//! hold for what is written.

use std::fmt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, Row, Transaction, params_from_iter};

use super::account::LARGEST_ID;
use super::progress::Progress;

/// How long a message is known that is in no readable list of known ones: as with the longest session that
/// is usual.
const SEEN_FOR: i64 = 14 * 24 * 60 * 60 * 1000;

/// How many rows there were, as far as they could be read.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    groups: usize,
    conversations: usize,
    outbox: usize,
    seen: usize,
    /// Messages that stay in the damaged file alone.
    left: usize,
    /// Something could not be read.
    is_partial: bool,
}

impl fmt::Display for Salvaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} groups, {} conversations, {} messages of the outbox and the ids of {} messages; {} messages of \
             the history are in the damaged file alone",
            self.groups, self.conversations, self.outbox, self.seen, self.left
        )?;
        if self.is_partial {
            f.write_str(", and some of it could not be read")?;
        }
        Ok(())
    }
}

/// A table that is copied row by row. The columns of its key come first.
struct Table {
    read: &'static str,
    key: &'static [&'static str],
    write: &'static str,
}

const GROUPS: Table = Table {
    read: "SELECT group_id, joined FROM groups",
    key: &["group_id"],
    write: "INSERT OR IGNORE INTO groups (group_id, joined) VALUES (?1, ?2)",
};

/// As they were before there were messages.
const FIRST_GROUPS: Table = Table {
    read: "SELECT group_id FROM groups",
    key: &["group_id"],
    write: "INSERT OR IGNORE INTO groups (group_id) VALUES (?1)",
};

const CONVERSATIONS: Table = Table {
    read: "SELECT conversation_id, kind, target_id, listed, pinned, muted, draft, sort_time, send_seq
           FROM conversations",
    key: &["conversation_id"],
    write: "INSERT OR IGNORE INTO conversations
                (conversation_id, kind, target_id, listed, pinned, muted, draft, sort_time, send_seq)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
};

const SEEN: Table = Table {
    read: "SELECT sender, uid, expires FROM seen",
    key: &["sender", "uid"],
    write: "INSERT OR IGNORE INTO seen (sender, uid, expires) VALUES (?1, ?2, ?3)",
};

const OUTBOX: Table = Table {
    read: "SELECT position, message_id, seq, bytes, state, tries, last_try, taken FROM outbox",
    key: &["position"],
    write: "INSERT OR IGNORE INTO outbox (position, message_id, seq, bytes, state, tries, last_try, taken)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
};

/// Messages, as what must not be stored twice.
const STORED: Table = Table {
    read: "SELECT message_id, sender, uid, received_time FROM messages",
    key: &["message_id"],
    write: "INSERT OR IGNORE INTO seen (sender, uid, expires) VALUES (?2, ?3, ?4)",
};

const READ_MESSAGE: &str = "SELECT message_id, conversation_id, uid, sender, object_name, content, flags,
                                   sent_time, received_time, sent_status, code, code_text, no_receiver
                            FROM messages WHERE message_id = ?1 AND sent_by_me = 1";
const WRITE_MESSAGE: &str = "INSERT OR IGNORE INTO messages
                                 (message_id, conversation_id, uid, sender, object_name, content, flags,
                                  sent_time, received_time, sent_status, code, code_text, no_receiver, sent_by_me)
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 1)";

/// Copies what can be read of the damaged database into the fresh one.
///
/// # Errors
/// The fresh one cannot be written. What cannot be read is no error.
pub(super) fn copy(
    damaged: &Path,
    fresh: &Transaction<'_>,
    now: i64,
    progress: &Progress,
) -> rusqlite::Result<Salvaged> {
    let mut salvaged = Salvaged::default();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(damaged, flags).and_then(|mut old| {
        progress.watch(&mut old)?;
        old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(old)
    });
    let Ok(old) = opened else {
        salvaged.is_partial = true;
        return Ok(salvaged);
    };
    let groups = if old.prepare(GROUPS.read).is_ok() {
        GROUPS
    } else {
        FIRST_GROUPS
    };
    let mut whole = copy_table(&old, fresh, &groups, &mut salvaged.groups)?;
    if old.prepare(STORED.read).is_ok() || old.prepare(OUTBOX.read).is_ok() {
        whole &= copy_table(&old, fresh, &CONVERSATIONS, &mut salvaged.conversations)?;
        whole &= copy_outbox(&old, fresh, &mut salvaged.outbox)?;
        whole &= copy_seen(&old, fresh, now, &mut salvaged.seen)?;
        finish(&old, fresh, now)?;
        let (messages, all_counted) = count_messages(&old);
        salvaged.left = messages.saturating_sub(salvaged.outbox);
        whole &= all_counted;
    }
    salvaged.is_partial = !whole;
    Ok(salvaged)
}

/// `false`: not all of it could be read. So in all that follows.
fn copy_table(
    old: &Connection,
    fresh: &Transaction<'_>,
    table: &Table,
    copied: &mut usize,
) -> rusqlite::Result<bool> {
    from_both_ends(old, table, |row| {
        let written = insert(fresh, table.write, row)?;
        *copied += usize::from(written == Written::Fresh);
        Ok(written != Written::Refused)
    })
}

fn copy_outbox(old: &Connection, fresh: &Transaction<'_>, copied: &mut usize) -> rusqlite::Result<bool> {
    from_both_ends(old, &OUTBOX, |entry| {
        let Some(message) = entry.get(1).and_then(|id| one_row(old, READ_MESSAGE, id)) else {
            return Ok(false);
        };
        if insert(fresh, WRITE_MESSAGE, message)? == Written::Refused {
            return Ok(false);
        }
        let written = insert(fresh, OUTBOX.write, entry)?;
        *copied += usize::from(written == Written::Fresh);
        Ok(written != Written::Refused)
    })
}

/// A message whose id is in no readable list is still one that has been stored.
fn copy_seen(
    old: &Connection,
    fresh: &Transaction<'_>,
    now: i64,
    copied: &mut usize,
) -> rusqlite::Result<bool> {
    if copy_table(old, fresh, &SEEN, copied)? {
        return Ok(true);
    }
    from_both_ends(old, &STORED, |mut row| {
        let expires = match row.get_mut(3) {
            Some(Value::Integer(time)) => {
                *time = time.saturating_add(SEEN_FOR);
                *time
            }
            Some(Value::Null | Value::Real(_) | Value::Text(_) | Value::Blob(_)) | None => 0,
        };
        if expires > now {
            *copied += usize::from(insert(fresh, STORED.write, row)? == Written::Fresh);
        }
        Ok(true)
    })?;
    Ok(false)
}

/// What follows from the rows that were copied. Row ids go on where they were: none is used twice.
fn finish(old: &Connection, fresh: &Transaction<'_>, now: i64) -> rusqlite::Result<()> {
    fresh.execute_batch(
        "DELETE FROM messages WHERE NOT EXISTS (
             SELECT 1 FROM outbox WHERE outbox.message_id = messages.message_id);
         INSERT INTO search_queue (message_id) SELECT message_id FROM messages;
         UPDATE conversations SET last_message = coalesce((
             SELECT max(m.message_id) FROM messages m
             WHERE m.conversation_id = conversations.conversation_id), 0);",
    )?;
    fresh.execute(
        "INSERT OR IGNORE INTO seen (sender, uid, expires) SELECT sender, uid, ?1 FROM messages",
        [now.saturating_add(SEEN_FOR)],
    )?;
    let counters = Table {
        read: "SELECT name, seq FROM sqlite_sequence WHERE name IN ('messages', 'conversations', 'outbox')",
        key: &["name"],
        write: "",
    };
    from_both_ends(old, &counters, |row| {
        fresh.execute(
            "DELETE FROM sqlite_sequence WHERE name = ?1 AND seq < ?2",
            params_from_iter(&row),
        )?;
        fresh.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2
             WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)",
            params_from_iter(&row),
        )?;
        Ok(true)
    })?;
    Ok(())
}

/// The table, or else an index of it.
fn count_messages(old: &Connection) -> (usize, bool) {
    let count = |sql: &str| {
        old.query_row(sql, [], |row| row.get::<_, i64>(0))
            .ok()
            .and_then(|count| usize::try_from(count).ok())
    };
    match count("SELECT count(*) FROM messages NOT INDEXED") {
        Some(count) => (count, true),
        None => (count("SELECT count(*) FROM messages").unwrap_or(0), false),
    }
}

/// Gives the rows from the begin; if that does not reach the end, those from the end too, and then a row may
/// come twice. `take` says whether the row was good.
fn from_both_ends(
    old: &Connection,
    table: &Table,
    mut take: impl FnMut(Vec<Value>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<bool> {
    let mut all_good = true;
    for direction in ["ASC", "DESC"] {
        let order: Vec<_> = table.key.iter().map(|key| format!("{key} {direction}")).collect();
        let sql = format!("{} ORDER BY {}", table.read, order.join(", "));
        let Ok(mut statement) = old.prepare(&sql) else {
            return Ok(false);
        };
        let columns = statement.column_count();
        let Ok(mut rows) = statement.query([]) else {
            return Ok(false);
        };
        let mut last: Option<Vec<Value>> = None;
        let reached_end = loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break true,
                Err(_damage) => break false,
            };
            let Some(values) = values(row, columns) else {
                all_good = false;
                continue;
            };
            let key: Vec<_> = values.iter().take(table.key.len()).cloned().collect();
            // A damaged tree may lead round in a circle.
            if last.is_some_and(|last| !are_in_order(&last, &key, direction == "ASC")) {
                break false;
            }
            last = Some(key);
            all_good &= take(values)?;
        };
        if reached_end {
            // The second way round was taken because the first had not reached the end.
            return Ok(all_good && direction == "ASC");
        }
    }
    Ok(false)
}

fn are_in_order(before: &[Value], after: &[Value], is_ascending: bool) -> bool {
    let (small, large) = if is_ascending {
        (before, after)
    } else {
        (after, before)
    };
    small
        .iter()
        .zip(large)
        .map(|values| match values {
            (Value::Integer(small), Value::Integer(large)) => small.cmp(large),
            (Value::Text(small), Value::Text(large)) => small.cmp(large),
            // No key of ours has a value of another type.
            _ => std::cmp::Ordering::Greater,
        })
        .find(|order| order.is_ne())
        .is_some_and(std::cmp::Ordering::is_lt)
}

fn one_row(old: &Connection, sql: &str, id: &Value) -> Option<Vec<Value>> {
    let mut statement = old.prepare_cached(sql).ok()?;
    let columns = statement.column_count();
    let mut rows = statement.query([id]).ok()?;
    rows.next().ok()?.and_then(|row| values(row, columns))
}

/// `None`: a value is none that imd writes.
fn values(row: &Row<'_>, columns: usize) -> Option<Vec<Value>> {
    (0..columns)
        .map(|column| match row.get_ref(column).ok()? {
            ValueRef::Integer(value) if value.unsigned_abs() <= LARGEST_ID.unsigned_abs() => {
                Some(Value::Integer(value))
            }
            ValueRef::Text(bytes) => Some(Value::Text(str::from_utf8(bytes).ok()?.to_owned())),
            ValueRef::Blob(bytes) => Some(Value::Blob(bytes.to_owned())),
            ValueRef::Integer(_) | ValueRef::Null | ValueRef::Real(_) => None,
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    Fresh,
    /// It had been there.
    Known,
    /// A rule of the table is against it.
    Refused,
}

fn insert(fresh: &Transaction<'_>, sql: &str, row: Vec<Value>) -> rusqlite::Result<Written> {
    let mut statement = fresh.prepare_cached(sql)?;
    let wanted = statement.parameter_count();
    match statement.execute(params_from_iter(row.into_iter().take(wanted))) {
        Ok(0) => Ok(Written::Known),
        Ok(_) => Ok(Written::Fresh),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Ok(Written::Refused)
        }
        Err(error) => Err(error),
    }
}
