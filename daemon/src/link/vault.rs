//! What the link wants stored, and from whom: a border, so that the link knows no database.

use std::future::Future;
use std::pin::Pin;

use imd_core::account::Account;
use imd_core::io::{OpenFailure, Opened, Remembered};
use tokio::sync::watch;

use crate::store::rows::{Arrival, Due, DueReceipts, Gap, Group, Published, Stored};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What the vault answers; an error says why it cannot, for people to read.
pub type Kept<T> = BoxFuture<Result<T, String>>;

/// Where the wanted state and the account's database are kept. What concerns messages is about the account
/// that was opened last, and asked for only while one is open.
pub trait Vault: Send + Sync + 'static {
    /// Makes the wanted state safe on disk; done when it is. The error says why it is not, for people to
    /// read.
    fn persist(&self, remembered: Remembered) -> BoxFuture<Result<(), String>>;

    /// Opens this account's database, and closes another one's.
    fn open_account(&self, account: Account) -> BoxFuture<Result<Opened, OpenFailure>>;

    /// Stores what came in; answered when it is committed, one answer for each. On an error nothing is
    /// acknowledged.
    fn receive(&self, arrivals: Vec<Arrival>) -> Kept<Vec<Stored>>;

    /// What is to be sent, in its order, from behind this position.
    fn due(&self, after_position: i64, limit: usize) -> Kept<Vec<Due>>;

    /// What was sent long ago, or before the server lost what it had (`forgotten_before`, 0 if it did not), and
    /// was not received yet; what is older than the expiry is given up. Each call gives others.
    fn due_again(&self, now_ms: i64, limit: usize, expiry_ms: i64, forgotten_before: i64) -> Kept<Vec<Due>>;

    /// What the server answered, by position.
    fn published(&self, answers: Vec<(i64, Published)>) -> Kept<()>;

    /// Receipts to be sent: about at most `limit` messages, the same ones until
    /// [`Vault::receipts_sent`].
    fn due_receipts(&self, limit: usize) -> Kept<Vec<DueReceipts>>;

    /// The server has these.
    fn receipts_sent(&self, receipts: Vec<DueReceipts>) -> Kept<()>;

    /// Something may be missing.
    fn note_gap(&self, gap: Gap) -> Kept<()>;

    /// The messages that waited at the server have been read.
    fn offline_sync_completed(&self, complete: bool) -> Kept<()>;

    /// The groups whose messages are wanted.
    fn groups(&self) -> Kept<Vec<Group>>;

    /// Remembers a group.
    fn join_group(&self, group: String) -> Kept<()>;

    /// Forgets a group.
    fn quit_group(&self, group: String) -> Kept<()>;

    /// How the server answered a group's subscription: 0, or why it refused.
    fn group_code(&self, group: String, code: i32) -> Kept<()>;

    /// Moves when something is to be sent, messages or receipts.
    fn outbox_changed(&self) -> watch::Receiver<u64>;

    /// Why what comes in cannot be stored, for people to read; `None`: it can.
    fn storage_full(&self) -> watch::Receiver<Option<String>>;
}
