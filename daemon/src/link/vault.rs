//! What the link wants stored, and from whom: a border, so that the link knows no database.

use std::future::Future;
use std::pin::Pin;

use imd_core::account::Account;
use imd_core::io::{OpenFailure, Opened, Remembered};

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where the wanted state and the account's database are kept.
pub trait Vault: Send + Sync + 'static {
    /// Makes the wanted state safe on disk; done when it is. The error says why it is not, for people to
    /// read.
    fn persist(&self, remembered: Remembered) -> BoxFuture<Result<(), String>>;

    /// Opens this account's database, and closes another one's.
    fn open_account(&self, account: Account) -> BoxFuture<Result<Opened, OpenFailure>>;
}
