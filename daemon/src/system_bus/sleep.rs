//! logind's word on sleep: told before, and held up until the server has been told too.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use zbus::{Connection, OwnedFd};

use super::answered;

/// How long the sleep is held up at most: below the 5 seconds that logind waits.
const HELD_UP: Duration = Duration::from_secs(2);

/// What the machine does.
pub enum Sleep {
    /// It is about to sleep, and waits until `done` is dropped.
    Begins { done: oneshot::Sender<()> },
    /// It is awake, or did not sleep after all.
    Ends,
}

#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;

    #[zbus(signal)]
    fn prepare_for_sleep(&self, start: bool) -> zbus::Result<()>;
}

/// Tells of each sleep, until the bus is gone or nobody listens.
pub(super) async fn tell(bus: &Connection, sleeps: &mpsc::Sender<Sleep>) -> zbus::Result<()> {
    let logind = answered(ManagerProxy::new(bus)).await?;
    let mut signals = answered(logind.receive_prepare_for_sleep()).await?;
    let mut delay = Some(delay(&logind).await?);
    while let Some(signal) = signals.next().await {
        let begins = *signal.args()?.start();
        let told = if begins {
            let (done, is_done) = oneshot::channel();
            let told = sleeps.send(Sleep::Begins { done }).await;
            if timeout(HELD_UP, is_done).await.is_err() {
                tracing::warn!("the server could not be told in time that the machine goes to sleep");
            }
            delay = None;
            told
        } else {
            if delay.is_none() {
                delay = Some(self::delay(&logind).await?);
            }
            sleeps.send(Sleep::Ends).await
        };
        if told.is_err() {
            break;
        }
    }
    drop(delay);
    Ok(())
}

/// Takes the lock that delays a sleep for as long as it is held.
async fn delay(logind: &ManagerProxy<'_>) -> zbus::Result<OwnedFd> {
    let why = "To say goodbye to the messaging server";
    answered(logind.inhibit("sleep", "imd", why, "delay")).await
}
