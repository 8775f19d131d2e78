//! Connect: onDatabaseOpened at most once, then exactly one of onSuccess and onError, whatever becomes of the
//! daemon in between.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use imd_proto::code::Code;
use tokio::sync::watch;

use crate::driver::Driver;
use crate::error::Error;

mod pursuit;

pub(crate) use pursuit::{Pursuit, refresh};

const NAME: &str = "Connect";

/// How to connect.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Bounds this app's first connect; `None` or zero: until success or a terminal code.
    pub time_limit: Option<Duration>,
    /// The user the token belongs to, where the app knows it: then the history can be read at once, even
    /// with no network.
    pub user_id: Option<String>,
}

impl ConnectOptions {
    /// No time limit, and the user is whoever the token says.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// After this time without success: onError with 34006 RC_CONNECT_TIMEOUT. Counted in whole seconds,
    /// rounded up.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = Some(time_limit);
        self
    }

    /// The user the token belongs to.
    #[must_use]
    pub fn user_id(mut self, user_id: impl Into<String>) -> Self {
        self.user_id = Some(user_id.into());
        self
    }

    /// In whole seconds; `None` without a limit.
    fn limit(&self) -> Option<Duration> {
        let limit = self.time_limit.filter(|limit| !limit.is_zero())?;
        Some(Duration::from_secs(seconds(limit).unsigned_abs().into()))
    }
}

/// In the wire's whole seconds, rounded up: a limit is never cut down to none.
fn seconds(limit: Duration) -> i32 {
    let seconds = limit
        .as_secs()
        .saturating_add(u64::from(limit.subsec_nanos() > 0));
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// The user a connection belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

impl UserId {
    /// The id itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for UserId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<UserId> for String {
    fn from(user_id: UserId) -> Self {
        user_id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// What onDatabaseOpened says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseOpenStatus {
    /// 0: the local history can be read. 33002: it can't, and onError follows.
    pub code: Code,
    /// What happened to the database, for people to read: empty unless something did.
    pub text: String,
}

impl DatabaseOpenStatus {
    /// Whether the local history can be read.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.code.0 == 0
    }
}

/// The three callbacks of a connect. They run on a thread of the library, never two at a time.
///
/// The types make it so that at most one of `on_success` and `on_error` is ever called. A refused connect
/// (33001, 34001, a bad argument) is an `on_error` too.
pub trait ConnectCallback: Send + 'static {
    /// The local history can be read, or never will be: at most once, before the other two.
    fn on_database_opened(&mut self, status: DatabaseOpenStatus);

    /// The connection is up. The daemon keeps it so from here on.
    fn on_success(self: Box<Self>, user_id: UserId);

    /// The daemon has given up for this app, and does nothing further until it connects again.
    fn on_error(self: Box<Self>, error: Error);
}

/// How far a connect is.
#[derive(Default)]
pub(crate) struct Progress {
    opened: Option<DatabaseOpenStatus>,
    outcome: Option<Result<UserId, Error>>,
}

/// A connect that has been asked for: a future of its user.
///
/// It can be awaited on any executor. Dropping it stops waiting and cancels nothing.
#[must_use = "the connect is made without it, but whether it succeeded is told only here"]
pub struct Connecting {
    outcome: Pin<Box<dyn Future<Output = Result<UserId, Error>> + Send>>,
    progress: watch::Receiver<Progress>,
    /// The last Client's end would end the wait.
    _driver: Arc<Driver>,
}

impl Connecting {
    pub(crate) fn new(driver: Arc<Driver>, progress: watch::Receiver<Progress>) -> Self {
        Self {
            outcome: Box::pin(outcome(progress.clone())),
            progress,
            _driver: driver,
        }
    }

    /// When the account's database is open, which is before any network where the user is known.
    ///
    /// # Errors
    /// The connect's own error, where it ends before the database was opened.
    pub fn database_opened(&self) -> impl Future<Output = Result<DatabaseOpenStatus, Error>> + Send + use<> {
        database_opened(self.progress.clone())
    }
}

impl Future for Connecting {
    type Output = Result<UserId, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.as_mut().poll(cx)
    }
}

async fn outcome(mut progress: watch::Receiver<Progress>) -> Result<UserId, Error> {
    let done = progress.wait_for(|progress| progress.outcome.is_some()).await;
    done.ok()
        .and_then(|progress| progress.outcome.clone())
        .unwrap_or_else(|| Err(Error::client_dropped(NAME)))
}

async fn database_opened(mut progress: watch::Receiver<Progress>) -> Result<DatabaseOpenStatus, Error> {
    let told = progress
        .wait_for(|progress| progress.opened.is_some() || progress.outcome.is_some())
        .await;
    let Ok(progress) = told else {
        return Err(Error::client_dropped(NAME));
    };
    match (&progress.opened, &progress.outcome) {
        (Some(opened), _) => Ok(opened.clone()),
        (None, Some(Err(error))) => Err(error.clone()),
        // A connection without an open database does not exist.
        (None, Some(Ok(_)) | None) => Ok(DatabaseOpenStatus {
            code: Code(0),
            text: String::new(),
        }),
    }
}

/// Tells the callbacks what the connect comes to.
pub(crate) async fn call_back<C: ConnectCallback>(progress: watch::Receiver<Progress>, mut callback: Box<C>) {
    let mut waiting = progress.clone();
    let opened = waiting
        .wait_for(|progress| progress.opened.is_some() || progress.outcome.is_some())
        .await
        .ok()
        .and_then(|progress| progress.opened.clone());
    if let Some(opened) = opened {
        callback.on_database_opened(opened);
    }
    match outcome(progress).await {
        Ok(user_id) => callback.on_success(user_id),
        Err(error) => callback.on_error(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_never_cut_down_to_none() {
        let limit = |limit| ConnectOptions::new().time_limit(limit).limit();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(limit(Duration::from_millis(1)), seconds(1));
        assert_eq!(limit(Duration::from_secs(30)), seconds(30));
        assert_eq!(limit(Duration::ZERO), None);
        assert_eq!(limit(Duration::MAX), seconds(i32::MAX.unsigned_abs().into()));
        assert_eq!(ConnectOptions::new().limit(), None);
    }
}
