//! Many writes, one commit: each has a savepoint (one that is alone needs none), so that one that fails takes
//! nothing with it, and nobody is answered before all of it is on disk.

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

use super::StoreError;

/// No more writes than this share a commit.
pub(super) const MAX_WRITES: usize = 256;

/// No more content than this shares a commit, unless one write alone has more.
pub(super) const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Why a write or a read was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    NoAccount,
    /// The disk is full, or the file system refuses.
    Disk(String),
    /// The file is not what was written into it.
    Damage(String),
    Database(String),
}

impl Fault {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => Self::Disk(error.to_string()),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damage(error.to_string()),
            Some(ErrorCode::ConstraintViolation) if is_contradiction(error) => {
                Self::Damage(error.to_string())
            }
            Some(_) => Self::Database(error.to_string()),
            None if is_odd_value(error) => Self::Damage(error.to_string()),
            None => Self::Database(error.to_string()),
        }
    }
}

/// A row is missing that another one is about, or is there twice: an index and its table do not agree.
fn is_contradiction(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{
        SQLITE_CONSTRAINT_FOREIGNKEY, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID,
        SQLITE_CONSTRAINT_UNIQUE,
    };
    error.sqlite_error().is_some_and(|error| {
        [
            SQLITE_CONSTRAINT_FOREIGNKEY,
            SQLITE_CONSTRAINT_PRIMARYKEY,
            SQLITE_CONSTRAINT_ROWID,
            SQLITE_CONSTRAINT_UNIQUE,
        ]
        .contains(&error.extended_code)
    })
}

/// A column holds what imd never writes into it.
fn is_odd_value(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{
        FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, QueryReturnedNoRows, Utf8Error,
    };
    matches!(
        error,
        FromSqlConversionFailure(..)
            | IntegralValueOutOfRange(..)
            | InvalidColumnType(..)
            | QueryReturnedNoRows
            | Utf8Error(..)
    )
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NoAccount => Self::NoAccount,
            Fault::Disk(text) => Self::Disk(text),
            Fault::Damage(text) | Fault::Database(text) => Self::Database(text),
        }
    }
}

/// One write of a group.
pub(super) trait Write: Send {
    /// How much of [`MAX_BYTES`] it takes.
    fn bytes(&self) -> usize;

    /// Whether it is kept and tried again while the disk is full. It is then run more than once.
    fn is_kept(&self) -> bool;

    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;

    fn run(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()>;

    /// Committed, or not.
    fn answer(self: Box<Self>, outcome: Result<(), Fault>);
}

/// A write made of a closure and the way to the one who waits for its result.
pub(super) struct Task<F, T> {
    pub(super) bytes: usize,
    pub(super) is_kept: bool,
    pub(super) run: F,
    pub(super) result: Option<T>,
    pub(super) answer: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Write for Task<F, T>
where
    F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_kept(&self) -> bool {
        self.is_kept
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        self.result = Some((self.run)(transaction)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), Fault>) {
        let answer = match (outcome, self.result) {
            (Ok(()), Some(result)) => Ok(result),
            (Ok(()), None) => Err(StoreError::Stopped),
            (Err(fault), _) => Err(fault.into()),
        };
        // An error means that nobody waits any more.
        let _: Result<(), _> = self.answer.send(answer);
    }
}

/// Writes that have been tried, in their order. Nobody has been told.
pub(super) struct Tried(Vec<(Box<dyn Write>, Result<(), Fault>)>);

/// What could not be written for want of room, and is kept.
pub(super) struct Kept {
    pub(super) writes: Vec<Box<dyn Write>>,
    pub(super) why: String,
}

impl Tried {
    /// None of them was run.
    pub(super) fn refused(writes: Vec<Box<dyn Write>>, fault: &Fault) -> Self {
        Self(
            writes
                .into_iter()
                .map(|write| (write, Err(fault.clone())))
                .collect(),
        )
    }

    pub(super) fn has_found_damage(&self) -> bool {
        self.0
            .iter()
            .any(|(_, outcome)| matches!(outcome, Err(Fault::Damage(_))))
    }

    /// Tells everybody, except for those who wait until there is room.
    pub(super) fn answer(self) -> Option<Kept> {
        let mut kept: Option<Kept> = None;
        for (write, outcome) in self.0 {
            match outcome {
                Err(Fault::Disk(why)) if write.is_kept() => {
                    let kept = kept.get_or_insert_with(|| Kept {
                        writes: Vec::new(),
                        why,
                    });
                    kept.writes.push(write);
                }
                outcome => write.answer(outcome),
            }
        }
        kept
    }
}

/// Runs them in one transaction, and commits it. What `look` finds behind the last of them is returned if it
/// was committed.
pub(super) fn commit<T>(
    connection: &mut Connection,
    writes: Vec<Box<dyn Write>>,
    look: impl FnOnce(&Connection) -> T,
) -> (Tried, Option<T>) {
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(error) => return (Tried::refused(writes, &Fault::of(&error)), None),
    };
    let mut tried = Vec::with_capacity(writes.len());
    let mut lost = None;
    // A kept write that has to wait: those behind it wait too, or their order would change.
    let mut blocked = None;
    let is_alone = writes.len() == 1;
    for mut write in writes {
        if let Some(fault) = &lost {
            tried.push((write, Err(Fault::clone(fault))));
            continue;
        }
        if write.is_kept()
            && let Some(fault) = &blocked
        {
            tried.push((write, Err(Fault::clone(fault))));
            continue;
        }
        let outcome = if is_alone {
            write.run(&transaction)
        } else {
            in_savepoint(&transaction, write.as_mut())
        };
        let outcome = outcome.map_err(|error| Fault::of(&error));
        if let Err(fault) = &outcome {
            // Some faults make SQLite give up the whole transaction.
            if is_alone || transaction.is_autocommit() {
                lost = Some(fault.clone());
            }
            if write.is_kept() && matches!(fault, Fault::Disk(_)) {
                blocked = Some(fault.clone());
            }
        }
        tried.push((write, outcome));
    }
    let committed = match lost {
        None => {
            let seen = look(&transaction);
            let committed = transaction.commit().map_err(|error| Fault::of(&error));
            committed.map(|()| seen)
        }
        Some(fault) => Err(fault),
    };
    let seen = match committed {
        Ok(seen) => Some(seen),
        Err(fault) => {
            for (_, outcome) in tried.iter_mut().filter(|(_, outcome)| outcome.is_ok()) {
                *outcome = Err(fault.clone());
            }
            None
        }
    };
    (Tried(tried), seen)
}

fn in_savepoint(transaction: &Transaction<'_>, write: &mut dyn Write) -> rusqlite::Result<()> {
    transaction.prepare_cached("SAVEPOINT one_write")?.execute([])?;
    let outcome = write.run(transaction);
    if outcome.is_err() && !transaction.is_autocommit() {
        transaction.prepare_cached("ROLLBACK TO one_write")?.execute([])?;
    }
    if !transaction.is_autocommit() {
        transaction.prepare_cached("RELEASE one_write")?.execute([])?;
    }
    outcome
}
